"""The lying server of a schedule: it plays its plan and its lies to real clients."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, lru_cache

from harness import CONTEXT, SESSION, WILLING, identity_of
from pairwise.attacks import body
from pairwise.malicious import signed
from pairwise.schedules.replayed_client import SUBMIT, ClientSetup, ObservedClient
from pairwise.schedules.roster_lies import ROSTER, adversary_keys, entry_signed_by
from pairwise.schedules.server_judge import Evidence
from pairwise.schedules.server_plan import EARLIER_SESSION, OFFERS, Lie, Mask, Plan, legal_params_of
from pairwise.schedules.set_lies import DELIVERY, NOISE, SIGNATURES, SURVIVORS, other_u3

import secagg
from secagg import Params, Round
from secagg.machine.wire import MessageType
from secagg.pairwise import derivation
from secagg.pairwise.messages import (
    SEALED_BYTES,
    Delivery,
    PublicKeys,
    Roster,
    ShareKeys,
    Signatures,
    Survivors,
)
from secagg.primitives import agreement, seal
from secagg.sharing import shamir


@lru_cache(maxsize=4096)
def sealed_by(
    secret: bytes, h1: bytes, sender: int, receiver: int, own: PublicKeys, theirs: PublicKeys,
    plain: bytes,
) -> bytes:  # fmt: skip
    """Seals by the sender's channel key; junk if the receiver's is weak."""
    try:
        shared = agreement.agree(secret, theirs.channel)
    except agreement.WeakKeyError:
        return bytes(SEALED_BYTES)
    key = derivation.channel_key(shared, h1, sender, receiver, {sender: own, receiver: theirs})
    return seal.seal(key, plain, derivation.channel_data(h1, sender, receiver))


class LyingServer:
    """Plays a plan and its lies to real clients, for colluders of which it holds everything.

    Args:
        session, label: other ones, for the round that is over.
    """

    def __init__(self, plan: Plan, session: bytes = SESSION, label: str = "") -> None:
        self.plan, self.params, self.colluders = plan, plan.params, plan.colluders
        self.evidence = Evidence(plan.colluders)
        self.honest = self.evidence.clients
        self.used: Counter[str] = Counter()  # lies that came to be told
        self.effect: Counter[str] = Counter()  # lies whose message was not simply refused
        self.sealed: dict[tuple[int, int], bytes] = {}
        self.last: dict[int, bytes] = {}  # the last message that each party was sent
        self.silent: set[int] = set()
        self.telling: list[str] = []
        agreed = plan.params.round(CONTEXT, session)
        everybody = [one for one in range(self.params.cohort) if one not in plan.colluders]
        self._places, self._label = everybody, label
        for party in everybody:
            self._invite(party, agreed)
        for party, client in self.honest.items():
            self.evidence.entries.add((client.h0, party, client.entry))
        if session != EARLIER_SESSION:  # a client may be told that it is in that one
            past = earlier_round(self.params).evidence
            self.evidence.entries |= past.entries
            self.evidence.sealed |= past.sealed
            self.evidence.signatures |= past.signatures

    def _invite(self, party: int, agreed: Round) -> None:
        policy = WILLING
        for lie in self._lies(party, OFFERS):
            self.used[lie.kind] += 1
            params = agreed.params
            if lie.kind == "context":
                agreed = replace(agreed, context=bytes(32))
            elif lie.kind == "session":
                agreed = replace(agreed, session=EARLIER_SESSION)
            elif lie.kind == "length":
                agreed = replace(agreed, params=replace(params, length=2))
            elif lie.kind == "policy":
                policy = replace(policy, params=self.params)
            elif lie.kind == "own minimum":
                policy = replace(policy, min_survivors=params.cohort - lie.a % 2)
            elif lie.kind == "threshold":
                others = [
                    one
                    for one in legal_params_of(params.cohort)
                    if one.colluders >= len(self.colluders) and one != params
                ]
                if others:
                    agreed = replace(agreed, params=others[(7 * lie.a + lie.b) % len(others)])
            elif lie.kind == "refused":
                policy = replace(policy, context=bytes(32))
        try:
            policy.check(agreed)
        except secagg.ParameterError:
            self.effect["refused offer"] += 1
            return
        self.honest[party] = ObservedClient(ClientSetup(agreed, party, policy, self._label))

    def _lies(self, party: int, kinds: Iterable[str]) -> Iterator[Lie]:
        """Yields the lies of these kinds to this party."""
        for lie in self.plan.lies:
            place = lie.victim % (len(self._places) + 2)
            if lie.kind in kinds and self._places[place : place + 1] in ([], [party]):
                yield lie

    def _planned(self, party: int, kinds: Iterable[str]) -> Iterator[Lie]:
        """Yields the same, for lies that shape the next message."""
        for lie in self._lies(party, kinds):
            self.used[lie.kind] += 1
            self.telling.append(lie.kind)
            yield lie

    def past(self) -> "LyingServer":
        """Returns the round that is over, whose messages can be replayed."""
        return earlier_round(self.params)

    # -- what colluders do

    def entries_for(self, h0: bytes) -> dict[int, PublicKeys]:
        """Returns the true entries of the cohort, for a client that believes in this round."""
        found = {}
        for party in range(self.params.cohort):
            if party in self.honest:
                found[party] = self.honest[party].entry
            elif party in self.colluders:
                (channel, public), (mask, masked) = (
                    adversary_keys((role, party, h0)) for role in ("channel", "mask")
                )
                self.evidence.secrets |= {public: channel, masked: mask}
                found[party] = entry_signed_by(party, h0, party, public, masked)
                self.evidence.entries.add((h0, party, found[party]))
        return found

    def forge(
        self, victim: int, entries: dict[int, PublicKeys], liar: int, channel: bytes, mask: bytes
    ) -> None:
        """Puts any keys of a colluder, truly signed, among the entries."""
        h0 = self.honest[victim].h0
        entries[liar] = entry_signed_by(liar, h0, liar, channel, mask)
        self.evidence.entries.add((h0, liar, entries[liar]))

    def sign(self, party: int, h3: bytes) -> bytes:
        """Returns a colluder's signature on any survivor set."""
        signature = signed(identity_of(party), h3)
        self.evidence.signatures.add((h3, party, signature))
        return signature

    def seal_for(self, victim: int, sender: int, plain: bytes) -> bytes | None:
        """Seals under the victim's h1, as a sender whose channel key the adversary has."""
        client = self.honest[victim]
        entry = client.roster.get(sender)
        if entry is None or entry.channel not in self.evidence.secrets:
            return None
        secret = self.evidence.secrets[entry.channel]
        sealed = sealed_by(secret, client.h1, sender, victim, entry, client.entry, plain)
        self.evidence.sealed.add((client.h1, sender, victim, sealed))
        return sealed

    # -- the steps

    def play(self) -> "LyingServer":
        """Plays the whole schedule."""
        for step in (self._roster, self._delivery, self._submit, self._survivors, self._sign):
            for party in list(self.honest):
                self.telling = []
                if not self.honest[party].over and party not in self.silent:
                    step(party)
        for party in self.honest:
            for lie in self._lies(party, ("again survivors",)):
                self.telling = []
                self._tell(party, self._u3(party, lie), lie.kind)
        return self

    def _sets(self, party: int) -> tuple[set[int], set[int], set[int]]:
        version = self.plan.missing[party in self.plan.second]
        first = self.plan.missing[0][0]
        u1 = set(range(self.params.cohort)) - first
        u2 = u1 - version[1]
        u3 = u2 - version[2]
        own = {party} if self.plan.pushy else set()
        return u1 | own, u2 | own, u3 | own

    def _send(self, party: int, kind: MessageType, message: bytes) -> None:
        """Sends a message, after the noise that comes before it."""
        client = self.honest[party]
        for lie in self._lies(party, NOISE):
            if kind == MessageType.ROSTER + lie.b:
                self._tell(party, NOISE[lie.kind](self, party, message, lie), lie.kind)
        before = len(client.history)
        self._tell(party, message, "")
        if len(client.history) > before and not client.over:
            self.effect.update(self.telling)

    def _tell(self, party: int, message: bytes, lie: str) -> None:
        client = self.honest[party]
        if not message or client.over:
            return
        before, shared = len(client.history), len(client.shared)
        now = client.tell(message)
        self.last[party] = message
        if lie:
            self.used[lie] += 1
            self.effect[lie] += len(client.history) > before
        if len(client.shared) > shared:
            receivers = [one for one in client.roster if one != party]
            sealed = ShareKeys.read(body(client.shared[-1]), receivers).sealed
            for receiver, one in sealed.items():
                self.sealed[party, receiver] = one
                self.evidence.sealed.add((client.h1, party, receiver, one))
        for h3, _, signature in client.signed:
            self.evidence.signatures.add((h3, party, signature))
        if now.aborted and lie:
            self.effect["aborts by " + lie] += 1

    def _vanishes(self, party: int, step: int) -> bool:
        for lie in self._lies(party, ("vanish",)):
            if lie.b + lie.a % 2 == step:
                self.silent.add(party)
                self.used["vanish"] += 1
                self.effect["vanish"] += 1
        return party in self.silent

    def _roster(self, party: int) -> None:
        client = self.honest[party]
        u1 = self._sets(party)[0]
        if self._vanishes(party, 0) or party not in u1:
            self.silent.add(party)
            return
        true = self.entries_for(client.h0)
        entries = {one: true[one] for one in u1 if one in true}
        for lie in self._planned(party, ROSTER):
            ROSTER[lie.kind](self, party, entries, lie)
        entries = dict(sorted(entries.items()))
        session, n = client.setup.round.session, self.params.cohort
        self._send(party, MessageType.ROSTER, Roster(entries, entries).encode(session, n))
        if list(self._lies(party, ("again roster",))):
            entries = {one: true[one] for one in sorted(true)[: self.params.quorum]}
            self._tell(party, Roster(entries, entries).encode(session, n), "again roster")

    def _ciphertexts(self, party: int, members: set[int]) -> dict[int, bytes]:
        zeros = bytes(2 * shamir.SHARE_BYTES)
        return {
            sender: self.seal_for(party, sender, zeros)
            or self.sealed.get((sender, party))
            or bytes(SEALED_BYTES)
            for sender in members
            if sender != party
        }

    def _delivery(self, party: int) -> None:
        client = self.honest[party]
        members = self._sets(party)[1]
        if self._vanishes(party, 1) or party not in members:
            self.silent.add(party)
            return
        special: dict[int, bytes] = {}
        for lie in self._planned(party, DELIVERY):
            DELIVERY[lie.kind](self, party, members, special, lie)
        sealed = {**self._ciphertexts(party, members), **special}
        sealed = {one: sealed[one] for one in sorted(members) if one != party}
        session, n = client.setup.round.session, self.params.cohort
        message = Delivery(tuple(sorted(members)), sealed).encode(session, n)
        self._send(party, MessageType.DELIVERY, message)
        if list(self._lies(party, ("again delivery",))):
            fewer = set(sorted(members)[1:]) | {party}
            sealed = self._ciphertexts(party, fewer)
            sealed = {one: sealed[one] for one in sorted(fewer) if one != party}
            message = Delivery(tuple(sorted(fewer)), sealed).encode(session, n)
            self._tell(party, message, "again delivery")

    def _submit(self, party: int) -> None:
        if not self._vanishes(party, 2):
            self.honest[party].tell(SUBMIT)

    def _u3(self, party: int, lie: Lie | None = None) -> bytes:
        members = self._sets(party)[2]
        lies = [lie] if lie else list(self._planned(party, SURVIVORS))
        for one in lies:
            SURVIVORS.get(one.kind, other_u3)(self, party, members, one)
        session = self.honest[party].setup.round.session
        return Survivors(tuple(sorted(members))).encode(session, self.params.cohort)

    def _survivors(self, party: int) -> None:
        if self._vanishes(party, 3) or party not in self._sets(party)[2]:
            self.silent.add(party)
            return
        self._send(party, MessageType.SURVIVORS, self._u3(party))
        for lie in self._lies(party, ("again survivors",)):
            if lie.a % 2:
                self._tell(party, self._u3(party, lie), lie.kind)

    def _sign(self, party: int) -> None:
        client = self.honest[party]
        if self._vanishes(party, 4) or not client.signed:
            return
        again = list(self._lies(party, ("again signatures",)))
        h3s = [h3 for h3, _, _ in client.signed]
        for h3 in h3s if len(h3s) > 1 else [client.h3]:
            chosen = {
                one: signature
                for of, one, signature in self.evidence.signatures
                if of == h3 and one in client.survivors
            }
            chosen |= {one: self.sign(one, h3) for one in self.colluders
                       if one in client.survivors}  # fmt: skip
            for lie in self._planned(party, SIGNATURES):
                SIGNATURES[lie.kind](self, party, chosen, lie)
            self._send(party, MessageType.SIGNATURES, self._signatures(party, chosen))
        for _ in again:
            chosen = {one: self.sign(one, client.h3) for one in self.colluders}
            self._tell(party, self._signatures(party, chosen), "again signatures")

    def _signatures(self, party: int, chosen: dict[int, bytes]) -> bytes:
        session = self.honest[party].setup.round.session
        return Signatures(dict(sorted(chosen.items()))).encode(session, self.params.cohort)


@cache
def earlier_round(params: Params) -> LyingServer:
    """Plays a round that is over, with other keys: its messages can be replayed."""
    none: Mask = frozenset()
    nobody = (none, none, none)
    return LyingServer(Plan(params, (), (nobody, nobody)), EARLIER_SESSION, "earlier").play()


def progress_of(server: LyingServer) -> dict[str, bool]:
    """Returns how far the honest clients of a schedule came."""
    honest = server.honest.values()
    return {
        "masked": any(one.inputs for one in honest),
        "signed": any(one.signed for one in honest),
        "unmasked": any(one.answers for one in honest),
        "aborted": any(one.over for one in honest),
    }
