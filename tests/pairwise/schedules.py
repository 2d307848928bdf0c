"""Random schedules of a lying server and its colluders, and the interpreter that plays them.

A schedule is a plan (who is told which sets) and a few lies about it, so that most of a round
makes sense and the lies meet clients that are deep in it. What is not said is done as well for
the adversary as can be: it gives everybody all valid signatures that there are, and ciphertexts
that open wherever it holds the keys. `judge.py` says what the adversary then holds.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

from harness import CONTEXT, SESSION, identity_of, seeded
from hypothesis import strategies as st
from pairwise.attacks import LOW_ORDER, NON_CANONICAL, body
from pairwise.judge import SUBMIT, Evidence, Seat, Witness
from pairwise.malicious import STRANGER, hard_tight, signed

import secagg
from secagg import Params, Policy, Round
from secagg.pairwise import keys
from secagg.pairwise.messages import (
    SEALED_BYTES,
    Delivery,
    PublicKeys,
    Roster,
    ShareKeys,
    Signatures,
    Survivors,
)
from secagg.primitives import agreement, seal, shamir
from secagg.wire import MessageType

Mask = frozenset[int]
EARLIER = bytes(range(100, 116))  # the session of a round that is over


def legal(sizes: tuple[int, ...]) -> list[Params]:
    """All parameters of malicious mode for these cohorts, each number of colluders included."""
    found = []
    for n in sizes:
        for t in range(2 * n // 3 + 1, n + 1):
            for least in range(t, n + 1):
                for c in range(n):
                    try:
                        params = hard_tight(n, threshold=t, min_survivors=least, colluders=c)
                    except secagg.ParameterError:
                        continue
                    found.append(params)
    return found


# Those with something to lose come more often: dropouts, and colluders up to 2t = n + c + 1.
_SMALL = [one for one in legal((2, 3, 4, 5, 6)) if one.cohort < 6 or one.colluders > 0]
CASES = [
    hard_tight(4, threshold=3, colluders=1),
    *[one for one in _SMALL if one.threshold < one.cohort and one.colluders > 0] * 2,
    *_SMALL,
    hard_tight(5, threshold=4, colluders=2),
    hard_tight(7, threshold=5, colluders=2),
]
DROPPING = [one for one in CASES if one.quorum < one.cohort]


@dataclass(frozen=True)
class Lie:
    """One departure from the plan; what the numbers mean is for the kind to say."""

    kind: str
    victim: int = 0  # counts the honest parties; beyond them: all of them
    a: int = 0
    b: int = 0  # of noise: the step before which it comes


@dataclass(frozen=True)
class Plan:
    """What a lying server sets out to tell, in two versions, and the lies on top.

    Attributes:
        missing: who is left out of U1 (of everybody), of U2, and of U3, in each version.
        second: the honest parties that are told the second version.
        pushy: whoever is left out is told all the same that it is in.
    """

    params: Params
    colluders: tuple[int, ...]
    missing: tuple[tuple[Mask, Mask, Mask], tuple[Mask, Mask, Mask]]
    second: Mask = frozenset()
    pushy: bool = False
    lies: tuple[Lie, ...] = ()


# -- lies, by the step that they change -----------------------------------------------------------

ROSTER: dict[str, Callable[["LyingServer", int, dict[int, PublicKeys], Lie], None]] = {}
DELIVERY: dict[str, Callable[["LyingServer", int, set[int], dict[int, bytes], Lie], None]] = {}
SURVIVORS: dict[str, Callable[["LyingServer", int, set[int], Lie], None]] = {}
SIGNATURES: dict[str, Callable[["LyingServer", int, dict[int, bytes], Lie], None]] = {}
NOISE: dict[str, Callable[["LyingServer", int, bytes, Lie], bytes]] = {}
OFFERS = ("context", "session", "threshold", "length", "policy", "own minimum", "refused")
TIMES = ("vanish", "again survivors", "again roster", "again delivery", "again signatures")


@lru_cache(maxsize=1024)
def made_up(label: object) -> tuple[bytes, bytes]:
    """A secret and a public key of the adversary."""
    secret = seeded(("adversary", label))(32)
    return secret, agreement.public_key(secret)


@lru_cache(maxsize=1024)
def entry_by(signer: int, h0: bytes, party: int, channel: bytes, mask: bytes) -> PublicKeys:
    """An entry, signed by anybody whose key the adversary has; -1 is a stranger."""
    bare = PublicKeys(channel, mask)
    identity = identity_of(signer) if signer >= 0 else STRANGER
    return replace(bare, signature=identity.sign(keys.entry_digest(h0, party, bare)))


@lru_cache(maxsize=4096)
def sealed_by(
    secret: bytes, h1: bytes, sender: int, receiver: int, own: PublicKeys, theirs: PublicKeys,
    plain: bytes,
) -> bytes:  # fmt: skip
    """A ciphertext that opens, by whoever holds the sender's channel key; junk if none can be."""
    try:
        shared = agreement.agree(secret, theirs.channel)
    except agreement.WeakKeyError:
        return bytes(SEALED_BYTES)
    key = keys.channel_key(shared, h1, sender, receiver, {sender: own, receiver: theirs})
    return seal.seal(key, plain, keys.channel_data(h1, sender, receiver))


def pick(lie: Lie, parties: "list[int] | tuple[int, ...]") -> int:
    """One of some parties."""
    return parties[lie.a % len(parties)]


def _peer(world: "LyingServer", victim: int, lie: Lie) -> int:
    return pick(lie, [one for one in range(world.params.cohort) if one != victim])


def _roster_without(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                    lie: Lie) -> None:  # fmt: skip
    """Without one, the victim itself, or all but a few."""
    if lie.b == 0:
        entries.pop(_peer(world, victim, lie), None)
    elif lie.b == 1:
        entries.pop(victim, None)
    else:
        for party in sorted(entries)[lie.a :]:
            if party != victim:
                del entries[party]


def _replace(world: "LyingServer", victim: int, entries: dict[int, PublicKeys], peer: int,
             how: int) -> None:  # fmt: skip
    """The server's own keys in a peer's place, with whatever signature there is."""
    h0 = world.honest[victim].h0
    (channel, public), (mask, masked) = made_up(("channel", peer)), made_up(("mask", peer))
    world.evidence.secrets |= {public: channel, masked: mask}
    signer = world.colluders[0] if how == 1 and world.colluders else -1
    if peer in world.colluders:
        signer = peer
    entry = entry_by(signer, h0, peer, public, masked)
    if peer in world.colluders:
        world.evidence.entries.add((h0, peer, entry))
    elif how == 2 and peer in entries:
        entry = replace(entry, signature=entries[peer].signature)
    entries[peer] = entry


def _one_replaced(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                  lie: Lie) -> None:  # fmt: skip
    _replace(world, victim, entries, _peer(world, victim, lie), lie.b)


def _all_replaced(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                  lie: Lie) -> None:  # fmt: skip
    """Everybody else, or (b = 3) everybody."""
    for peer in list(entries):
        if peer != victim or lie.b == 3:
            _replace(world, victim, entries, peer, lie.b)


def _own_entry(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
               lie: Lie) -> None:  # fmt: skip
    true = world.honest[victim].entry
    secret, public = made_up("own")
    world.evidence.secrets[public] = secret
    entries[victim] = (
        replace(true, channel=true.mask, mask=true.channel),
        replace(true, mask=public),
        replace(true, channel=public),
        replace(true, signature=bytes(64)),
    )[lie.b]


def _exchanged(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
               lie: Lie) -> None:  # fmt: skip
    """Entries, or only their signatures, of two others exchanged; or one's roles."""
    others = [one for one in sorted(entries) if one != victim]
    if len(others) > 1:
        one, two = others[lie.a % len(others)], others[(lie.a + 1) % len(others)]
        first, second = entries[one], entries[two]
        if lie.b == 0:
            entries[one], entries[two] = second, first
        elif lie.b == 1:
            entries[one] = replace(first, signature=second.signature)
        else:
            entries[one] = replace(first, channel=first.mask, mask=first.channel)


def _of_the_past(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                 lie: Lie) -> None:  # fmt: skip
    """An entry of an earlier session (or all of them, the victim's own included)."""
    old = earlier(world.params)
    for peer in old.honest if lie.b == 3 else [_peer(world, victim, lie)]:
        entries[peer] = old.honest[peer].entry


def _odd_entry(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
               lie: Lie) -> None:  # fmt: skip
    """A colluder signs somebody else's key, others than it told before, or one key twice."""
    if world.colluders:
        liar = pick(lie, world.colluders)
        true = world.entries_for(world.honest[victim].h0)[liar]
        other = made_up(("other", liar))
        world.evidence.secrets[other[1]] = other[0]
        stolen = world.honest[sorted(world.honest)[lie.a % len(world.honest)]].entry
        masks = (other[1], stolen.mask, other[1], true.channel)
        world.forge(victim, entries, liar, true.channel, masks[lie.b])


def _weak_entry(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                lie: Lie) -> None:  # fmt: skip
    """A colluder signs a key of low order, or one that is not canonical."""
    if world.colluders:
        liar = world.colluders[0]
        true = world.entries_for(world.honest[victim].h0)[liar]
        weak = list((LOW_ORDER, NON_CANONICAL)[lie.b // 2].values())[::-1]
        odd = weak[lie.a % len(weak)]
        pair = (odd, true.mask) if lie.b % 2 else (true.channel, odd)
        world.forge(victim, entries, liar, *pair)


ROSTER |= {
    "roster without": _roster_without,
    "one entry replaced": _one_replaced,
    "all entries replaced": _all_replaced,
    "own entry": _own_entry,
    "entries exchanged": _exchanged,
    "entry of the past": _of_the_past,
    "odd entry of a colluder": _odd_entry,
    "weak entry of a colluder": _weak_entry,
}


def _other_u2(world: "LyingServer", victim: int, members: set[int], sealed: dict[int, bytes],
              lie: Lie) -> None:  # fmt: skip
    """Any set: the victim alone, it and the colluders, without it, with others than U1."""
    everybody = set(range(world.params.cohort))
    members.clear()
    if lie.b == 0:
        members |= {victim, *sorted(everybody - {victim})[: lie.a]}
    elif lie.b == 1:
        least = world.params.threshold - 1
        company = [*world.colluders, *(everybody - set(world.colluders))]
        members |= {victim, *[one for one in company if one != victim][:least]}
    elif lie.b == 2:
        members |= everybody - {victim}
    else:
        members |= everybody


def _some_ciphertexts(world: "LyingServer", victim: int, members: set[int],
                      sealed: dict[int, bytes], lie: Lie) -> None:  # fmt: skip
    """Ciphertexts of some (b = 0) or all: junk, reflected, misrouted, or of an earlier session."""
    past = earlier(world.params)
    for peer in sorted(members - {victim}) if lie.b else [_peer(world, victim, lie)]:
        honest = world.honest.get(peer)
        taken = next((one for one in world.sealed if one[0] == peer and one[1] != victim), None)
        sealed[peer] = (
            bytes([lie.a]) * SEALED_BYTES,
            world.sealed.get((victim, peer), bytes(SEALED_BYTES)),
            world.sealed[taken] if taken and honest else bytes(SEALED_BYTES),
            past.sealed.get((peer, victim), bytes(SEALED_BYTES)),
            world.sealed.get((victim, peer), bytes(SEALED_BYTES)),
        )[lie.a % 5]


def _dealt_by_a_colluder(world: "LyingServer", victim: int, members: set[int],
                         sealed: dict[int, bytes], lie: Lie) -> None:  # fmt: skip
    """Any shares, or none at all, under a key that opens."""
    if not world.colluders:
        return
    liar = pick(lie, world.colluders)
    if liar in members and liar != victim:
        plain = (seeded(("dealt", lie.a))(2 * shamir.SHARE_BYTES), bytes([255]) * 46)[lie.b % 2]
        if lie.b < 2:
            plain = bytes(x & 0x0F for x in plain[:22]) + b"\0" + plain[:22] + b"\0"
        sealed[liar] = world.seal_for(victim, liar, plain) or bytes(SEALED_BYTES)


DELIVERY |= {
    "another U2": _other_u2,
    "other ciphertexts": _some_ciphertexts,
    "dealt by a colluder": _dealt_by_a_colluder,
}


def _other_u3(world: "LyingServer", victim: int, members: set[int], lie: Lie) -> None:
    """Any set: few, without the victim, with others than U2, all but one, as many as sign."""
    everybody = set(range(world.params.cohort))
    base = set(members)
    members.clear()
    if lie.b == 0:
        members |= (base or everybody) - {_peer(world, victim, lie)}
    elif lie.b == 1:
        members |= (base or everybody) - {victim}
    elif lie.b == 2:
        members |= everybody
    else:
        few = [*world.colluders, *sorted(everybody - set(world.colluders))]
        members |= set(few[: world.params.threshold - lie.a % 2])


def _without_colluders(world: "LyingServer", victim: int, members: set[int], lie: Lie) -> None:
    """The colluders are no survivors, so that they can sign from outside."""
    if lie.b % 2 == 0:
        members -= set(world.colluders)


SURVIVORS |= {"another U3": _other_u3, "signers outside U3": _without_colluders}


def _signers(world: "LyingServer", victim: int, chosen: dict[int, bytes], lie: Lie) -> None:
    """Some left out: one, all but one, all honest ones, all."""
    gone = (
        sorted(chosen)[lie.a % (len(chosen) or 1) :][:1],
        sorted(chosen)[1:],
        sorted(chosen.keys() & world.honest.keys()),
        sorted(chosen),
    )[lie.b]
    for party in gone:
        del chosen[party]


def _filled(world: "LyingServer", victim: int, chosen: dict[int, bytes], lie: Lie) -> None:
    """Whoever of the survivors has not signed: what it signed elsewhere, or a forgery."""
    witness = world.honest[victim]
    for party in set(witness.survivors) - chosen.keys():
        own = world.honest[party].signed if party in world.honest else []
        elsewhere = own[-1][2] if own else bytes(64)
        chosen[party] = (
            elsewhere,
            signed(STRANGER, witness.h3),
            earlier(world.params).honest[party].signed[0][2],
            elsewhere[:32] + bytes(32),
        )[lie.b]


def _outsiders(world: "LyingServer", victim: int, chosen: dict[int, bytes], lie: Lie) -> None:
    """Colluders that are no survivors sign as well, in place of one that is (b > 1)."""
    witness = world.honest[victim]
    outside = set(world.colluders) - set(witness.survivors)
    chosen |= {party: world.sign(party, witness.h3) for party in outside}
    inside = sorted(chosen.keys() - outside)
    if lie.b > 1 and outside and inside:
        del chosen[inside[lie.a % len(inside)]]


def _one_forged(world: "LyingServer", victim: int, chosen: dict[int, bytes], lie: Lie) -> None:
    """One signature of those: by another, on another set, with a bit flipped, twice."""
    if not chosen:
        return
    party = pick(lie, sorted(chosen))
    true = chosen[party]
    chosen[party] = (
        signed(STRANGER, world.honest[victim].h3),
        true[:40] + bytes([true[40] ^ 1]) + true[41:],
        next(iter(chosen.values())),
        bytes(64),
    )[lie.b]


SIGNATURES |= {
    "signers left out": _signers,
    "signatures filled up": _filled,
    "signers outside U3": _outsiders,
    "one signature forged": _one_forged,
}

NOISE |= {
    "cut": lambda world, victim, true, lie: true[: len(true) - 1 - 9 * lie.a],
    "longer": lambda world, victim, true, lie: true + bytes(1 + lie.a),
    "bit flipped": lambda world, victim, true, lie: _flipped(true, 131 * lie.a + 7),
    "bit of a set flipped": lambda world, victim, true, lie: _flipped(true, 160 + lie.a),
    "of another session": lambda world, victim, true, lie: true[:4] + EARLIER + true[20:],
    "of another version": lambda world, victim, true, lie: (
        true[:2] + bytes([true[2] ^ (1 + lie.a)]) + true[3:]
    ),
    "of another type": lambda world, victim, true, lie: (
        true[:3] + bytes([(0x11, 0x12, 0x13, 0x14)[lie.a % 4]]) + true[4:]
    ),
    "of another victim": lambda world, victim, true, lie: world.last.get(
        sorted(world.honest)[lie.a % len(world.honest)], true
    ),
    "early": lambda world, victim, true, lie: (
        true[:3] + bytes([(0x13, 0x12, 0x14)[lie.a % 3]]) + true[4:20] + b"\x0f"
    ),
    "again": lambda world, victim, true, lie: (world.honest[victim].history or (b"",))[
        lie.a % (len(world.honest[victim].history) or 1)
    ],
    "of the past": lambda world, victim, true, lie: _relabelled(
        earlier(world.params).last.get(victim, true), true
    ),
}


def _flipped(message: bytes, bit: int) -> bytes:
    data = bytearray(message)
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(data)


def _relabelled(old: bytes, true: bytes) -> bytes:
    """An old message under today's header."""
    return true[:3] + old[3:4] + true[4:20] + old[20:]


# -- the adversary --------------------------------------------------------------------------------


class LyingServer:
    """Plays a plan and its lies to real clients, for colluders of which it holds everything.

    Args:
        session, label: other ones, for the round that is over.
    """

    def __init__(self, plan: Plan, session: bytes = SESSION, label: str = "") -> None:
        self.plan, self.params, self.colluders = plan, plan.params, plan.colluders
        self.evidence = Evidence(plan.colluders)
        self.honest = self.evidence.witnesses
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
        for party, witness in self.honest.items():
            self.evidence.entries.add((witness.h0, party, witness.entry))
        if session != EARLIER:  # a client may be told that it is in that one
            past = earlier(self.params).evidence
            self.evidence.entries |= past.entries
            self.evidence.sealed |= past.sealed
            self.evidence.signatures |= past.signatures

    def _invite(self, party: int, agreed: Round) -> None:
        policy = Policy(allow_pair=True)
        for lie in self._lies(party, OFFERS):
            self.used[lie.kind] += 1
            params = agreed.params
            if lie.kind == "context":
                agreed = replace(agreed, context=bytes(32))
            elif lie.kind == "session":
                agreed = replace(agreed, session=EARLIER)
            elif lie.kind == "length":
                agreed = replace(agreed, params=replace(params, length=2))
            elif lie.kind == "policy":
                policy = replace(policy, params=self.params)
            elif lie.kind == "own minimum":
                policy = replace(policy, min_survivors=params.cohort - lie.a % 2)
            elif lie.kind == "threshold":
                others = [
                    one
                    for one in legal_for(params.cohort)
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
        self.honest[party] = Witness(Seat(agreed, party, policy, self._label))

    def _lies(self, party: int, kinds: Iterable[str]) -> Iterator[Lie]:
        """The lies to this party of these kinds."""
        for lie in self.plan.lies:
            place = lie.victim % (len(self._places) + 2)
            if lie.kind in kinds and self._places[place : place + 1] in ([], [party]):
                yield lie

    def _planned(self, party: int, kinds: Iterable[str]) -> Iterator[Lie]:
        """The same, for lies that shape the next message."""
        for lie in self._lies(party, kinds):
            self.used[lie.kind] += 1
            self.telling.append(lie.kind)
            yield lie

    # -- what colluders do

    def entries_for(self, h0: bytes) -> dict[int, PublicKeys]:
        """The true entries of the cohort, for a client that believes in this round."""
        found = {}
        for party in range(self.params.cohort):
            if party in self.honest:
                found[party] = self.honest[party].entry
            elif party in self.colluders:
                (channel, public), (mask, masked) = (
                    made_up((role, party, h0)) for role in ("channel", "mask")
                )
                self.evidence.secrets |= {public: channel, masked: mask}
                found[party] = entry_by(party, h0, party, public, masked)
                self.evidence.entries.add((h0, party, found[party]))
        return found

    def forge(
        self, victim: int, entries: dict[int, PublicKeys], liar: int, channel: bytes, mask: bytes
    ) -> None:
        """Puts any keys of a colluder, truly signed, among the entries."""
        h0 = self.honest[victim].h0
        entries[liar] = entry_by(liar, h0, liar, channel, mask)
        self.evidence.entries.add((h0, liar, entries[liar]))

    def sign(self, party: int, h3: bytes) -> bytes:
        """A colluder's signature on any survivor set."""
        signature = signed(identity_of(party), h3)
        self.evidence.signatures.add((h3, party, signature))
        return signature

    def seal_for(self, victim: int, sender: int, plain: bytes) -> bytes | None:
        """A ciphertext from a sender whose channel key the adversary has, under the victim's h1."""
        witness = self.honest[victim]
        entry = witness.roster.get(sender)
        if entry is None or entry.channel not in self.evidence.secrets:
            return None
        secret = self.evidence.secrets[entry.channel]
        sealed = sealed_by(secret, witness.h1, sender, victim, entry, witness.entry, plain)
        self.evidence.sealed.add((witness.h1, sender, victim, sealed))
        return sealed

    # -- the steps

    def play(self) -> "LyingServer":
        """The whole schedule."""
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
        """A message, after the noise that comes before it."""
        witness = self.honest[party]
        for lie in self._lies(party, NOISE):
            if kind == MessageType.ROSTER + lie.b:
                self._tell(party, NOISE[lie.kind](self, party, message, lie), lie.kind)
        before = len(witness.history)
        self._tell(party, message, "")
        if len(witness.history) > before and not witness.over:
            self.effect.update(self.telling)

    def _tell(self, party: int, message: bytes, lie: str) -> None:
        witness = self.honest[party]
        if not message or witness.over:
            return
        before, shared = len(witness.history), len(witness.shared)
        now = witness.tell(message)
        self.last[party] = message
        if lie:
            self.used[lie] += 1
            self.effect[lie] += len(witness.history) > before
        if len(witness.shared) > shared:
            receivers = [one for one in witness.roster if one != party]
            sealed = ShareKeys.read(body(witness.shared[-1]), receivers).sealed
            for receiver, one in sealed.items():
                self.sealed[party, receiver] = one
                self.evidence.sealed.add((witness.h1, party, receiver, one))
        for h3, _, signature in witness.signed:
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
        witness = self.honest[party]
        u1 = self._sets(party)[0]
        if self._vanishes(party, 0) or party not in u1:
            self.silent.add(party)
            return
        true = self.entries_for(witness.h0)
        entries = {one: true[one] for one in u1 if one in true}
        for lie in self._planned(party, ROSTER):
            ROSTER[lie.kind](self, party, entries, lie)
        entries = dict(sorted(entries.items()))
        session, n = witness.seat.round.session, self.params.cohort
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
        witness = self.honest[party]
        members = self._sets(party)[1]
        if self._vanishes(party, 1) or party not in members:
            self.silent.add(party)
            return
        special: dict[int, bytes] = {}
        for lie in self._planned(party, DELIVERY):
            DELIVERY[lie.kind](self, party, members, special, lie)
        sealed = {**self._ciphertexts(party, members), **special}
        sealed = {one: sealed[one] for one in sorted(members) if one != party}
        session, n = witness.seat.round.session, self.params.cohort
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
            SURVIVORS.get(one.kind, _other_u3)(self, party, members, one)
        session = self.honest[party].seat.round.session
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
        witness = self.honest[party]
        if self._vanishes(party, 4) or not witness.signed:
            return
        again = list(self._lies(party, ("again signatures",)))
        h3s = [h3 for h3, _, _ in witness.signed]
        for h3 in h3s if len(h3s) > 1 else [witness.h3]:
            chosen = {
                one: signature
                for of, one, signature in self.evidence.signatures
                if of == h3 and one in witness.survivors
            }
            chosen |= {one: self.sign(one, h3) for one in self.colluders
                       if one in witness.survivors}  # fmt: skip
            for lie in self._planned(party, SIGNATURES):
                SIGNATURES[lie.kind](self, party, chosen, lie)
            self._send(party, MessageType.SIGNATURES, self._signatures(party, chosen))
        for _ in again:
            chosen = {one: self.sign(one, witness.h3) for one in self.colluders}
            self._tell(party, self._signatures(party, chosen), "again signatures")

    def _signatures(self, party: int, chosen: dict[int, bytes]) -> bytes:
        session = self.honest[party].seat.round.session
        return Signatures(dict(sorted(chosen.items()))).encode(session, self.params.cohort)


@cache
def legal_for(cohort: int) -> list[Params]:
    """All legal parameters of a cohort."""
    return legal((cohort,))


@cache
def earlier(params: Params) -> LyingServer:
    """A round that is over, with other keys: its messages can be replayed."""
    none: Mask = frozenset()
    nobody = (none, none, none)
    return LyingServer(Plan(params, (), (nobody, nobody)), EARLIER, "earlier").play()


# -- drawing a plan -------------------------------------------------------------------------------

# What the lies of one schedule are mostly about.
THEMES: dict[str, tuple[str, ...]] = {
    "any": (*ROSTER, *DELIVERY, *SURVIVORS, *SIGNATURES, *OFFERS, *TIMES, *NOISE, *TIMES),
    "split": (*SIGNATURES, *SIGNATURES, "signatures filled up", "signatures filled up",
              "signers outside U3", "another U3", "again survivors", "again survivors",
              "again signatures", "vanish", "own minimum", "early"),
    "small sets": ("another U2", "another U2", "another U3", "another U3", "another U3",
                   "signers left out", "vanish", "own minimum", "roster without",
                   "roster without", "signatures filled up"),
    "keys": (*ROSTER, *ROSTER, *("weak entry of a colluder",) * 4,
             "roster without", "again roster", *OFFERS),
    "shares": (*DELIVERY, "other ciphertexts", "again delivery", "vanish"),
    "noise": (*NOISE, *NOISE, *TIMES),
}  # fmt: skip


# Strategies that are made once: making them costs more than drawing from them.
@cache
def upto(most: int) -> st.SearchStrategy[int]:
    """Numbers from 0."""
    return st.integers(0, most)


@cache
def among(*things: object) -> st.SearchStrategy[Any]:
    """One of these; failures shrink towards the first."""
    return st.sampled_from(things)


@cache
def _missing(n: int, most: int) -> st.SearchStrategy[Mask]:
    """Who is left out: nobody most often, then up to as many as may drop out, then one more."""
    sets = [frozenset(i for i in range(n) if bits >> i & 1) for bits in range(2**n)]
    few = [one for one in sets if 0 < len(one) <= most] or [frozenset({n - 1})]
    more = [one for one in sets if len(one) == most + 1]
    return among(*[frozenset()] * (len(few) * 2), *few * 2, *more[: len(few) // 2])


def _lies_about(theme: str) -> st.SearchStrategy[list[Lie]]:
    lie = st.builds(Lie, among(*THEMES[theme]), upto(7), upto(7), upto(3))
    return st.lists(lie, min_size=theme != "any", max_size=3)


ANY_CASE, DROPPING_CASE = st.sampled_from(CASES), st.sampled_from(DROPPING)
LIES_ABOUT = {theme: _lies_about(theme) for theme in THEMES}


@st.composite
def plans(draw: st.DrawFn, cases: tuple[Params, ...] = ()) -> Plan:
    """A plan that mostly makes sense, and up to three lies about one theme."""
    theme = draw(among("any", "split", "keys", "split", *THEMES))
    split = theme == "split" or draw(upto(3)) == 3
    dropping = split or (theme == "small sets" and draw(upto(1)) == 1)
    params = draw(st.sampled_from(cases) if cases else (ANY_CASE, DROPPING_CASE)[dropping])
    n, c = params.cohort, params.colluders
    some = draw(among(c, c, c, 0, c // 2))
    at = draw(upto(n - 1))
    colluders = tuple(sorted((at + place) % n for place in range(some)))
    absent = _missing(n, n - params.quorum)
    none: Mask = frozenset()
    u1 = draw(absent) if draw(upto(15)) == 15 else none
    versions = [(u1, draw(absent) if draw(upto(1)) else none, draw(absent))]
    second, pushy = none, draw(upto(1)) == 1
    if split:
        u2 = draw(absent) if draw(upto(3)) == 3 else versions[0][1]
        u3 = draw(absent) if draw(upto(1)) else frozenset({draw(upto(n - 1))})
        versions.append((u1, u2, u3))
        honest = [party for party in range(n) if party not in colluders]
        size = 1 + draw(upto(len(honest) // 2 - 1))
        at = draw(upto(len(honest) - 1))
        second = frozenset((honest * 2)[at : at + size])
    lies = tuple(draw(LIES_ABOUT[theme]))
    return Plan(params, colluders, (versions[0], versions[-1]), second, pushy or split, lies)


def reached(world: LyingServer) -> dict[str, bool]:
    """How far the honest clients of a schedule came."""
    honest = world.honest.values()
    return {
        "masked": any(one.inputs for one in honest),
        "signed": any(one.signed for one in honest),
        "unmasked": any(one.answers for one in honest),
        "aborted": any(one.over for one in honest),
    }
