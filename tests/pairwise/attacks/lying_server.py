"""The toolbox of a lying server: messages that it makes up, and what it computes from answers."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
from harness import (
    CONTEXT,
    SESSION,
    WILLING,
    client_of,
    clone,
    identity_of,
    input_of,
    locals_kept,
    pinned,
    secrets_of,
    seeded,
    state_of,
)

import secagg
from secagg import Client, Ledger, Mode, Params, Policy
from secagg.arithmetic.field import Field
from secagg.identity.identity import sign_digest
from secagg.machine.wire import Reader
from secagg.pairwise import derivation, transcript
from secagg.pairwise.messages import (
    AdvertiseKeys,
    Consistency,
    Delivery,
    MaskedInput,
    PublicKeys,
    Roster,
    ShareKeys,
    Signatures,
    Survivors,
    Unmask,
)
from secagg.pairwise.transitions import ClientState
from secagg.primitives import agreement
from secagg.sharing import rebuilding


def body(message: bytes) -> Reader:
    """Returns a reader behind the header."""
    reader = Reader(message, 0)
    reader.header()
    return reader


def only_message(events: Iterable[object]) -> bytes:
    """Returns the one message in these events."""
    (payload,) = [event.payload for event in events if isinstance(event, secagg.Send)]
    return payload


def attacker_keys(label: object) -> tuple[bytes, bytes]:
    """Returns a secret and a public key of the attacker."""
    secret = seeded(("attacker", label))(32)
    return secret, agreement.public_key(secret)


def signed_entry(params: Params, h0: bytes, party: int, entry: PublicKeys) -> PublicKeys:
    """Returns the entry as its party, a liar, advertises it."""
    if params.mode is Mode.SEMI_HONEST:
        return entry
    signature = sign_digest(identity_of(party), transcript.entry_digest(h0, party, entry))
    return dataclasses.replace(entry, signature=signature)


def with_proof(params: Params, h2: bytes, party: int, packed: bytes) -> MaskedInput:
    """Returns a made-up masked input of a liar, with the right checksum or signature."""
    if params.mode is Mode.SEMI_HONEST:
        return MaskedInput(h2, packed, transcript.checksum(h2, party, packed))
    return MaskedInput(
        h2, packed, sign_digest(identity_of(party), transcript.input_digest(h2, party, packed))
    )


def refuses(client: Client, message: bytes) -> bool:
    """Returns whether the client refuses this message as it must.

    An unsafe message: `Aborted`, with every secret wiped, and nothing accepted afterwards. A
    malformed one: `RemoteProtocolError`, with nothing changed.
    """
    before = state_of(client)
    try:
        client.receive(message)
    except secagg.RemoteProtocolError as error:
        refusal: secagg.SecAggError = error
        assert state_of(client) == before, "a refused message changed the client"
    except secagg.Aborted as error:
        refusal = error
        assert_dead(client, message)
    else:
        return False
    assert locals_kept(refusal) == [], "a refusal shows what the client knows"
    return True


def assert_dead(client: Client, message: bytes) -> None:
    """Asserts that an aborted client holds no secret and takes nothing more."""
    assert client.state is ClientState.ABORTED
    assert secrets_of(client) == [], "an aborted client still holds secrets"
    before = state_of(client)
    for kind in (0x10, 0x11, 0x12, 0x13, 0x14):
        other = message[:3] + bytes([kind]) + message[4:] + b"\0"
        for data in (other, message):
            try:
                events = client.receive(data)
            except secagg.RemoteProtocolError:
                continue
            raise AssertionError(f"an aborted client answered with {events}")
    for call in (client.start, lambda: client.submit(np.zeros(4, np.int64))):
        try:
            call()
        except secagg.LocalProtocolError:
            continue
        raise AssertionError("an aborted client went on")
    assert state_of(client) == before


class Liar:
    """A lying server: it makes up its messages, and sees every byte that clients send.

    Its colluders sign for it what it wants. (They play on honestly all the same; an attack that
    needs more of what they know takes it from them.)
    """

    def __init__(
        self,
        params: Params,
        policy: Policy = WILLING,
        label: object = "",
        session: bytes = SESSION,
        context: bytes = CONTEXT,
        colluders: Iterable[int] = (),
        ledgers: Mapping[int, Ledger] | None = None,
    ) -> None:
        self.params = params
        self.colluders = tuple(colluders)
        assert len(self.colluders) <= params.colluders
        self.round = params.round(context, session)
        self.clients = {
            party: client_of(
                self.round, party, policy, seeded((label, party)), (ledgers or {}).get(party)
            )
            for party in range(params.cohort)
        }
        self.entries = {
            party: AdvertiseKeys.read(body(client.start()), client.round.params).keys
            for party, client in self.clients.items()
        }
        self.shared: dict[int, ShareKeys] = {}
        self.inputs: dict[int, MaskedInput] = {}

    @property
    def everybody(self) -> tuple[int, ...]:
        """The whole cohort."""
        return tuple(self.clients)

    def roster(self, entries: Mapping[int, PublicKeys] | None = None) -> bytes:
        """Returns a roster, the true one unless told otherwise."""
        entries = self.entries if entries is None else entries
        entries = dict(sorted(entries.items()))
        return Roster(entries, entries).encode(self.round.session, self.params.cohort)

    def altered(self, party: int, **changed: bytes) -> dict[int, PublicKeys]:
        """Returns the true entries but for one."""
        return self.entered({party: dataclasses.replace(self.entries[party], **changed)})

    def entered(self, entries: Mapping[int, PublicKeys]) -> dict[int, PublicKeys]:
        """Returns the true entries but for these; a colluder signs its own."""
        return {**self.entries} | {
            party: signed_entry(self.params, self.h0, party, entry)
            if party in self.colluders
            else entry
            for party, entry in entries.items()
        }

    @property
    def h0(self) -> bytes:
        """The transcript hash h0, of the true directory."""
        return transcript.h0(self.round, pinned(self.params))

    @property
    def h1(self) -> bytes:
        """The transcript hash h1, of the true roster."""
        return transcript.h1(self.h0, self.entries, self.params.cohort)

    def share(self, parties: Iterable[int] | None = None) -> "Liar":
        """Plays step 1 honestly for these parties (all): their ciphertexts are in `shared`."""
        for party in self.everybody if parties is None else parties:
            payload = only_message(self.clients[party].receive(self.roster()))
            receivers = [peer for peer in self.entries if peer != party]
            self.shared[party] = ShareKeys.read(body(payload), receivers)
        return self

    def delivery(
        self, receiver: int, members: Iterable[int], sealed: Mapping[int, bytes] | None = None
    ) -> bytes:
        """Returns a delivery with the true ciphertexts, except for those given."""
        members = tuple(sorted(members))
        chosen = {
            sender: (sealed or {}).get(sender) or self.shared[sender].sealed[receiver]
            for sender in members
            if sender != receiver
        }
        return Delivery(members, chosen).encode(self.round.session, self.params.cohort)

    def deliver(self, members: Iterable[int], receivers: Iterable[int] | None = None) -> "Liar":
        """Plays step 2 honestly for these receivers: their masked inputs are in `inputs`."""
        members = tuple(sorted(members))
        for party in members if receivers is None else receivers:
            self.clients[party].receive(self.delivery(party, members))
            self.submit(party)
        return self

    def submit(self, party: int) -> None:
        """Takes the masked input of a party that was asked for it."""
        message = self.clients[party].submit(input_of(party, self.params.length))
        self.inputs[party] = MaskedInput.read(body(message), self.params)

    def survivors(self, members: Iterable[int]) -> bytes:
        """Returns a survivors message."""
        return Survivors(tuple(sorted(members))).encode(self.round.session, self.params.cohort)

    def answers(self, told: Mapping[int, Iterable[int]]) -> dict[int, Unmask | None]:
        """Returns the answers of clients to the survivor set that each is told; None for a refusal.

        In malicious mode all of them sign first. Then each is given what the server has of
        signatures on its set, its colluders' among them, or else all that members of its set
        signed, whatever it was.
        """
        if self.params.mode is Mode.SEMI_HONEST:
            return {party: self._answer(party, survivors) for party, survivors in told.items()}
        views = {party: tuple(sorted(survivors)) for party, survivors in told.items()}
        given = {party: self.sign(party, view) for party, view in views.items()}
        h3 = {
            party: transcript.h3(self.inputs[party].h2, view, self.params.cohort)
            for party, view in views.items()
        }
        answers: dict[int, Unmask | None] = {}
        for party, view in views.items():
            answers[party] = None
            signed = {one: given[one] for one in view if given.get(one)}
            for chosen in ({one: signed[one] for one in signed if h3[one] == h3[party]}, signed):
                if given[party] is not None and answers[party] is None:
                    answers[party] = self.unmask(party, self._padded(chosen, view, h3[party]))
        return answers

    def _padded(
        self, given: Mapping[int, bytes], view: Iterable[int], h3: bytes
    ) -> dict[int, bytes]:
        """Adds to the signatures on a survivor set those that colluders make on it."""
        return {**given} | {
            colluder: sign_digest(identity_of(colluder), transcript.consistency_digest(h3))
            for colluder in set(view).intersection(self.colluders)
        }

    def answer(self, party: int, survivors: Iterable[int]) -> Unmask | None:
        """Returns a client's answer to a survivor set that only it is told; None if it refuses."""
        return self.answers({party: survivors})[party]

    def _answer(self, party: int, survivors: Iterable[int]) -> Unmask | None:
        try:
            events = self.clients[party].receive(self.survivors(survivors))
        except (secagg.Aborted, secagg.RemoteProtocolError):
            return None
        payloads = [event.payload for event in events if isinstance(event, secagg.Send)]
        return Unmask.read(body(payloads[0]), self.params) if payloads else None

    # -- malicious mode: one step more

    def sign(self, party: int, survivors: Iterable[int]) -> bytes | None:
        """Returns a client's signature on a survivor set; None if it refuses."""
        try:
            payload = only_message(self.clients[party].receive(self.survivors(survivors)))
        except (secagg.Aborted, secagg.RemoteProtocolError):
            return None
        return Consistency.read(body(payload)).signature

    def signatures(self, chosen: Mapping[int, bytes]) -> bytes:
        """Returns a signatures message."""
        chosen = dict(sorted(chosen.items()))
        return Signatures(chosen).encode(self.round.session, self.params.cohort)

    def unmask(self, party: int, chosen: Mapping[int, bytes]) -> Unmask | None:
        """Returns a client's answer to these signatures; None if it refuses as it must."""
        message = self.signatures(chosen)
        client = clone(self.clients[party])
        if refuses(client, message):
            return None
        payload = only_message(self.clients[party].receive(message))
        return Unmask.read(body(payload), self.params)

    # -- from shares to an input ------------------------------------------------------------

    def seed(self, shares: Mapping[int, np.ndarray]) -> bytes | None:
        """Rebuilds a seed from these shares, by holder; None with fewer than t."""
        if len(shares) < self.params.threshold:
            return None
        rows = np.stack([shares[holder] for holder in sorted(shares)]).astype(np.uint64)
        rebuilder = rebuilding.Rebuilder(self.params.threshold, sorted(shares))
        return rebuilder.rebuild(rows, lambda _number, _seed: True).seeds[0]

    def strip(
        self,
        victim: int,
        members: Iterable[int],
        self_seed: bytes | None,
        mask_secrets: Mapping[int, bytes],
    ) -> list[int] | None:
        """Computes the victim's input, if the attacker knows all that masks it.

        Args:
            members: U2 as the victim was told.
            mask_secrets: X25519 secrets, the victim's own or of all others in `members`.
        """
        if self_seed is None:
            return None
        mask_keys, signs = [derivation.self_key(self_seed, self.h1, victim)], [1]
        for peer in members:
            if peer == victim:
                continue
            if victim in mask_secrets:
                one, other = victim, peer
            elif peer in mask_secrets:
                one, other = peer, victim
            else:
                return None
            mask_keys.append(
                derivation.pairwise_key(mask_secrets[one], self.h1, one, other, self.entries)
            )
            signs.append(derivation.pairwise_sign(victim, peer))
        field = Field(self.params.field_bits)
        vector = field.unpack(self.inputs[victim].packed, self.params.vector_length)
        field.accumulate(vector, mask_keys, [-sign for sign in signs], self.params.suite.generator)
        low = self.params.format.low  # type: ignore[union-attr]
        return [int(element) + low for element in vector]

    def strip_sum(
        self,
        parties: Iterable[int],
        self_seeds: Mapping[int, bytes | None],
        mask_secrets: Mapping[int, bytes],
    ) -> list[int] | None:
        """Computes the sum of these parties' inputs, whose masks with each other cancel.

        Args:
            mask_secrets: X25519 secrets of all others in U2.
        """
        field = Field(self.params.field_bits)
        total, parties = field.zeros(self.params.vector_length), tuple(parties)
        for party in parties:
            seed = self_seeds[party]
            if seed is None:
                return None
            field.unpack_add(total, self.inputs[party].packed)
            keys, signs = [derivation.self_key(seed, self.h1, party)], [-1]
            for peer, secret in mask_secrets.items():
                keys.append(derivation.pairwise_key(secret, self.h1, peer, party, self.entries))
                signs.append(-derivation.pairwise_sign(party, peer))
            field.accumulate(total, keys, signs, self.params.suite.generator)
        low = self.params.format.low  # type: ignore[union-attr]
        return [int(element) + len(parties) * low for element in total]

    def gained(self, victim: int, found: list[int] | None) -> str:
        """Returns the gain, if the attacker's result is the input of the victim."""
        return "recovered the input" if found == self.secret_input(victim) else ""

    def secret_input(self, victim: int) -> list[int]:
        """Returns the victim's input, which the attacker is after."""
        return [int(value) for value in input_of(victim, self.params.length)]


def shares_of_dealer(answers: Mapping[int, Unmask | None], dealer: int) -> dict[int, np.ndarray]:
    """Returns the shares of one dealer in these answers, by holder."""
    return {
        holder: answer.shares[list(answer.dealers).index(dealer)]
        for holder, answer in answers.items()
        if answer is not None and dealer in answer.dealers
    }


def gain_unless_refused(liar: Liar, victim: int, message: bytes, gain: str) -> str:
    """Returns the gain if the victim takes this message, "" if it refuses."""
    return "" if refuses(liar.clients[victim], message) else gain
