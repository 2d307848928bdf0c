"""A client of one round: bytes and calls in, bytes and events out. No I/O, no clock.

The checks here are what an input's privacy rests on; each names what it refuses. A malformed
message changes nothing; a well-formed one that it would be unsafe to act on ends the round for
this client (`Aborted`), with its secrets wiped.
"""

import logging
import os
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..directory import Directory
from ..encoding import codec_for
from ..errors import (
    SERVER,
    Aborted,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
    StateError,
)
from ..events import ClientEvent, Finished, InputNeeded, Randomness, Send
from ..field import KEY_BYTES, Field
from ..formats import require_int
from ..identity import Identity
from ..ledger import Ledger, Once
from ..params import Mode, Params, Policy, Round
from ..primitives import agreement, seal, shamir
from ..secret import Secret
from ..wire import MessageType, Reader, open_message
from . import keys
from .authentication import Authentication, for_client
from .memory import ClientMemory
from .messages import (
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
from .session import Session, exclusive
from .state import StoredClient, open_client, seal_client
from .transitions import CLIENT, Call, ClientState, Input, step

_log: Final = logging.getLogger("secagg")
_DEFAULT_POLICY: Final = Policy()


class Client(Session):
    """One party of one round; use a fresh object for every round.

    Threads take turns on it; a forked child may not use it.

    Args:
        agreed: the round, as offered by the server (`Round.decode`).
        index: this party's place in the cohort, 0..cohort-1.
        policy: what this client insists on.
        random: source of random bytes; another one than the operating system's is for test
            vectors and simulation only.
        identity: malicious mode: this party's long-lived signing key.
        directory: malicious mode: the pinned verify keys of the whole cohort.
        ledger: malicious mode: the record of what this identity has contributed to, unless the
            policy allows repeats.

    Raises:
        ParameterError: the policy refuses the round, the index is outside the cohort, or identity,
            directory and ledger do not fit the mode or each other.
    """

    def __init__(
        self,
        agreed: Round,
        index: int,
        policy: Policy = _DEFAULT_POLICY,
        random: Randomness = os.urandom,
        *,
        identity: Identity | None = None,
        directory: Directory | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        policy.check(agreed)
        require_int("index", index, 0, agreed.params.cohort - 1)
        authentication = for_client(agreed.params, index, identity, directory)
        record = _record(agreed.params, policy, ledger)
        h0 = keys.h0(agreed, authentication.pinned)
        channel_secret = Secret(random(agreement.SECRET_KEY_BYTES))
        mask_seed = Secret(random(shamir.SEED_BYTES))
        self_seed = Secret(random(shamir.SEED_BYTES))
        mask_secret = Secret(keys.mask_key(mask_seed.expose(), h0, index))
        advertised = PublicKeys(
            agreement.public_key(channel_secret.expose()),
            agreement.public_key(mask_secret.expose()),
        )
        entry = authentication.sign_entry(h0, index, advertised)
        memory = ClientMemory(entry, channel_secret, mask_seed, self_seed, mask_secret)
        self._set_up(agreed, index, policy.quorum(agreed.params), authentication, memory)
        self._random, self._ledger = random, record

    def _set_up(
        self,
        agreed: Round,
        index: int,
        quorum: int,
        authentication: Authentication,
        memory: ClientMemory,
    ) -> None:
        super().__init__()
        self.round = agreed
        self.index = index
        self._params = agreed.params
        self._quorum = quorum
        self._table = CLIENT[agreed.params.mode]
        self._authentication = authentication
        self._h0 = keys.h0(agreed, authentication.pinned)
        self._memory = memory

    @classmethod
    def resume(
        cls,
        stored: bytes,
        key: bytes,
        ledger: Ledger,
        random: Randomness = os.urandom,
        *,
        identity: Identity | None = None,
        directory: Directory | None = None,
    ) -> "Client":
        """The client that `suspend` stored, in whatever process. Works once for each stored state.

        What it said last is in `resend()`.

        Args:
            stored: what `suspend` gave.
            key: the 32 bytes that it was sealed under.
            ledger: where the resumption is claimed; in malicious mode the client's own.
            random: as for a new client.
            identity, directory: malicious mode: the same as before.

        Raises:
            StateError: another key, altered bytes, another directory than before, or resumed
                before.
            ParameterError: identity and directory do not fit.
        """
        state = open_client(stored, key)
        params = state.round.params
        authentication = for_client(params, state.index, identity, directory)
        if keys.h0(state.round, authentication.pinned) != state.h0:
            raise StateError("the directory is another one than when this client was suspended")
        if not ledger.claim(Once.RESUMPTION, state.id):
            raise StateError("this stored client was resumed before")
        client = cls.__new__(cls)
        client._set_up(state.round, state.index, state.quorum, authentication, state.memory)
        client._random, client._ledger = random, ledger if state.once else None
        return client

    def __repr__(self) -> str:
        return f"<secagg.Client {self.index} of {self._params.cohort}: {self.state.value}>"

    @property
    def state(self) -> ClientState:
        """Where this client stands."""
        return self._memory.state

    @property
    def clipped(self) -> int:
        """How many values of the input were clipped, after `submit`."""
        return self._memory.clipped

    # -- what the caller does -------------------------------------------------------------

    @exclusive
    def start(self) -> bytes:
        """The first message to the server.

        Raises:
            LocalProtocolError: called twice.
        """
        memory = self._memory
        self._advance(Call.START)
        memory.said = AdvertiseKeys(self._h0, memory.keys).encode(self.round.session)
        return memory.said

    @exclusive
    def receive(self, data: bytes) -> list[ClientEvent]:
        """Takes one message from the server and says what to do.

        A repetition of the last message that was accepted gets the same answer, of an earlier one
        none.

        Raises:
            RemoteProtocolError: the message is malformed (`DecodeError`), of another session,
                or out of order; nothing has changed.
            Aborted: going on would be unsafe; the client is finished and wiped.
            LocalProtocolError: not bytes, or the identity to sign with was wiped.
        """
        session = self.round.session
        kind, reader, digest = open_message(data, SERVER, session)
        memory = self._memory
        if memory.accepted.get(kind) == digest:
            return self._said() if kind == memory.latest else []
        cause = next((known for known in self._table[self.state] if known == kind), None)
        if not isinstance(cause, MessageType):
            raise RemoteProtocolError(
                SERVER, f"message of type {kind:#04x} while {self.state.value}"
            )
        try:
            events = self._handle(cause, reader)
        except Aborted as unsafe:
            self._give_up(unsafe)
            raise
        self._advance(cause)
        memory.accepted[kind], memory.latest = digest, kind
        memory.said = next((event.payload for event in events if isinstance(event, Send)), b"")
        return events

    @exclusive
    def submit(self, values: ArrayLike, weight: int = 1) -> bytes:
        """The masked input, to be sent to the server. Call it once, after `InputNeeded`.

        How many values were clipped is in `clipped` afterwards.

        Args:
            values: shape (params.length,); what the format takes. Never written to.
            weight: this client's weight, 1..max_weight.

        Raises:
            RangeError: the input is unusable; nothing has changed and no mask was used.
            Aborted: this identity has contributed in this context before, says the ledger.
            StateError: the ledger failed; nothing has changed, and nothing may leave.
            LocalProtocolError: not the time for it.
        """
        memory = self._memory
        if Call.SUBMIT not in self._table[self.state]:
            raise LocalProtocolError(f"submit() while {self.state.value}")
        encoded = codec_for(self._params).encode(values, weight, self._random)
        field = Field(self._params.field_bits)
        peers = [peer for peer in memory.members if peer != self.index]
        signs = [1] + [keys.pairwise_sign(self.index, peer) for peer in peers]
        masked = field.accumulate(
            encoded.vector,
            [key.expose() for key in memory.mask_keys],
            signs,
            self._params.suite,
        )
        packed = field.pack(masked)
        proof = self._authentication.prove_input(memory.h2, self.index, packed)
        self._claim_contribution()
        for key in memory.mask_keys:
            key.wipe()
        memory.clipped = encoded.clipped
        self._advance(Call.SUBMIT)
        memory.said = MaskedInput(memory.h2, packed, proof).encode(self.round.session)
        return memory.said

    @exclusive
    def resend(self) -> list[ClientEvent]:
        """What this client said or asked for last, for a connection that was lost or a process that
        ended: the same bytes, never computed anew.
        """
        if self.state is ClientState.AWAITING_INPUT:
            return [InputNeeded()]
        return [*self._said(), *([Finished()] if self.state is ClientState.FINISHED else [])]

    @exclusive
    def suspend(self, key: bytes) -> bytes:
        """Everything this client knows, sealed; the object is of no more use.

        Store the bytes before a message is sent that was made since the last time. Keep them as
        private as an identity: whoever has them and the key is this client for the round.

        Args:
            key: 32 secret bytes that stay on this device, the same for any number of clients.

        Raises:
            ParameterError: not such a key; nothing has changed.
            LocalProtocolError: the client was suspended before, or has aborted.
        """
        step(self._table, self.state, Call.SUSPEND)
        stored = seal_client(
            StoredClient(
                self.round,
                self.index,
                self._quorum,
                self._ledger is not None,
                self._h0,
                self._memory,
            ),
            key,
        )
        self._advance(Call.SUSPEND)
        self._forget()
        return stored

    @exclusive
    def wipe(self) -> None:
        """Gives up the round, unless it is finished: every secret is overwritten, and what was said
        last is forgotten.
        """
        if Call.ABORT in self._table[self.state]:
            self._advance(Call.ABORT)
        self._forget()

    # -- what the server's messages do ----------------------------------------------------

    def _forget(self) -> None:
        self._memory.erase()
        self._memory.said = b""

    def _give_up(self, unsafe: Aborted) -> None:
        self.wipe()
        _log.warning("%s: %r aborted: %s", self.round.session.hex(), self, unsafe.reason)

    def _said(self) -> list[ClientEvent]:
        return [Send(SERVER, self._memory.said)] if self._memory.said else []

    def _claim_contribution(self) -> None:
        """Raises unless this is this identity's only contribution in this context."""
        if self._ledger is None:
            return
        key = self._authentication.verify_key + self.round.context
        if not self._ledger.claim(Once.CONTRIBUTION, key):
            unsafe = Aborted("this identity has contributed in this context before")
            self._give_up(unsafe)
            raise unsafe

    def _advance(self, cause: Input) -> None:
        self._memory.state = step(self._table, self.state, cause)
        _log.debug("%s: %r", self.round.session.hex(), self)

    def _handle(self, kind: MessageType, reader: Reader) -> list[ClientEvent]:
        if kind == MessageType.ROSTER:
            return self._on_roster(Roster.read(reader, self._params))
        if kind == MessageType.DELIVERY:
            return self._on_delivery(Delivery.read(reader, self._params, self.index))
        if kind == MessageType.SURVIVORS:
            return self._on_survivors(Survivors.read(reader, self._params))
        return self._on_signatures(Signatures.read(reader, self._params))

    def _require_quorum(self, name: str, members: tuple[int, ...]) -> None:
        if self.index not in members:
            raise Aborted(f"this party is not in {name}")
        if len(members) < self._quorum:
            raise Aborted(f"{name} has {len(members)} members, {self._quorum} are required")

    def _on_roster(self, message: Roster) -> list[ClientEvent]:
        memory = self._memory
        roster = dict(message.keys)
        members = tuple(roster)
        self._require_quorum("the roster", members)
        if roster[self.index] != memory.keys:
            raise Aborted("the roster has other keys for this party than it advertised")
        all_keys = [key for entry in roster.values() for key in (entry.channel, entry.mask)]
        if len(set(all_keys)) != len(all_keys):
            raise Aborted("the roster has the same key twice")
        for peer, entry in roster.items():
            if peer != self.index:
                self._check_entry(peer, entry)
        h1 = keys.h1(self._h0, roster, self._params.cohort)
        shares = shamir.deal(
            [memory.mask_seed.expose(), memory.self_seed.expose()],
            self._params.threshold,
            members,
            self._params.suite,
            self._random(KEY_BYTES),
        )
        packed = shamir.pack_shares(shares)
        size = 2 * shamir.SHARE_BYTES
        sealed: dict[int, bytes] = {}
        inbound: dict[int, Secret] = {}
        secret = memory.channel_secret.expose()
        for row, peer in enumerate(members):
            if peer == self.index:
                held = shares[row].copy()
                continue
            try:
                shared = agreement.agree(secret, roster[peer].channel)
            except agreement.WeakKeyError as error:
                raise Aborted(f"channel key of party {peer}: {error}") from None
            sealed[peer] = seal.seal(
                keys.channel_key(shared, h1, self.index, peer, roster),
                packed[row * size : (row + 1) * size],
                keys.channel_data(h1, self.index, peer),
            )
            inbound[peer] = Secret(keys.channel_key(shared, h1, peer, self.index, roster))
        shares.fill(0)
        memory.channel_secret.wipe()
        memory.h1, memory.roster, memory.inbound = h1, roster, inbound
        memory.held = {self.index: held}
        commitment = keys.commitment(memory.self_seed.expose(), h1, self.index)
        return [Send(SERVER, ShareKeys(h1, commitment, sealed).encode(self.round.session))]

    def _check_entry(self, party: int, entry: PublicKeys) -> None:
        """Refuses an entry that its party did not sign, or whose keys are weak."""
        if not self._authentication.entry_valid(self._h0, party, entry):
            raise Aborted(f"the roster's entry of party {party} is not signed by it")
        try:
            agreement.check_public_key(entry.channel)
            agreement.check_public_key(entry.mask)
        except agreement.WeakKeyError as error:
            raise Aborted(f"the roster's entry of party {party}: {error}") from None

    def _on_delivery(self, message: Delivery) -> list[ClientEvent]:
        memory = self._memory
        members = message.members
        self._require_quorum("the sharing set", members)
        if not set(members) <= set(memory.roster):
            raise Aborted("the sharing set holds parties that are not in the roster")
        opened = self._open(message)
        if len(opened) < self._params.threshold - 1:
            raise Aborted(
                f"{len(opened)} ciphertexts of others open, "
                f"{self._params.threshold - 1} are required"
            )
        secret = memory.mask_secret.expose()
        mask_keys = [Secret(keys.self_key(memory.self_seed.expose(), memory.h1, self.index))]
        for peer in members:
            if peer == self.index:
                continue
            try:
                key = keys.pairwise_key(secret, memory.h1, self.index, peer, memory.roster)
            except agreement.WeakKeyError as error:
                raise Aborted(f"mask key of party {peer}: {error}") from None
            mask_keys.append(Secret(key))
        memory.held |= opened
        memory.mask_keys = mask_keys
        memory.members = members
        memory.h2 = keys.h2(memory.h1, members, self._params.cohort)
        for used in (
            memory.mask_secret,
            memory.mask_seed,
            memory.self_seed,
            *memory.inbound.values(),
        ):
            used.wipe()
        return [InputNeeded()]

    def _open(self, message: Delivery) -> dict[int, shamir.Shares]:
        """Both shares of each peer as one row of six; one that does not open is left out."""
        plaintexts: dict[int, bytes] = {}
        for peer, ciphertext in message.sealed.items():
            key = self._memory.inbound[peer].expose()
            plaintext = seal.unseal(
                key, ciphertext, keys.channel_data(self._memory.h1, peer, self.index)
            )
            if plaintext is not None:
                plaintexts[peer] = plaintext
        shares, canonical = shamir.split_shares(b"".join(plaintexts.values()))
        both = canonical[0::2] & canonical[1::2]
        rows = shares.reshape(-1, 2 * shamir.LIMBS)
        opened = {peer: row for peer, row, good in zip(plaintexts, rows, both, strict=True) if good}
        for peer in message.sealed.keys() - opened.keys():
            _log.info("%s: share from party %d did not open", self.round.session.hex(), peer)
        return opened

    def _on_survivors(self, message: Survivors) -> list[ClientEvent]:
        memory = self._memory
        survivors = set(message.members)
        self._require_quorum("the survivor set", message.members)
        if not survivors <= set(memory.members):
            raise Aborted("the survivor set holds parties that are not in the sharing set")
        if self._params.mode == Mode.SEMI_HONEST:
            memory.survivors = message.members
            return self._unmask()
        h3 = keys.h3(memory.h2, message.members, self._params.cohort)
        signature = self._authentication.sign_consistency(h3)
        memory.survivors, memory.h3 = message.members, h3
        return [Send(SERVER, Consistency(signature).encode(self.round.session))]

    def _on_signatures(self, message: Signatures) -> list[ClientEvent]:
        signers = message.signatures
        if not signers.keys() <= set(self._memory.survivors):
            raise Aborted("parties that are not in the survivor set signed it")
        least = self._params.threshold
        if len(signers) < least:
            raise Aborted(f"{len(signers)} parties signed the survivor set, {least} are required")
        for party, signature in signers.items():
            if not self._authentication.consistency_valid(self._memory.h3, party, signature):
                raise Aborted(f"party {party} did not sign this survivor set")
        return self._unmask()

    def _unmask(self) -> list[ClientEvent]:
        """The one answer of this client: its shares, by the survivor set that it was told."""
        memory = self._memory
        survivors = set(memory.survivors)
        dealers = tuple(dealer for dealer in memory.members if dealer in memory.held)
        shares = np.stack(
            [
                memory.held[dealer][3:] if dealer in survivors else memory.held[dealer][:3]
                for dealer in dealers
            ]
        )
        answer = Unmask(dealers, shares).encode(self.round.session, self._params.cohort)
        memory.erase()
        return [Send(SERVER, answer), Finished()]


def _record(params: Params, policy: Policy, ledger: Ledger | None) -> Ledger | None:
    """Where contributions are claimed, if they are."""
    if params.mode == Mode.SEMI_HONEST:
        if ledger is not None:
            raise ParameterError(
                "the round is semi-honest, where no identity contributes: take part without a "
                "ledger, or insist on malicious mode"
            )
        return None
    if policy.allow_repeats:
        return None
    if ledger is None:
        raise ParameterError(
            "malicious mode needs a ledger of what this identity has contributed to "
            "(SqliteLedger), or a policy that allows repeats"
        )
    return ledger
