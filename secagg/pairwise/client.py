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
from ..errors import SERVER, Aborted, LocalProtocolError, RemoteProtocolError
from ..events import ClientEvent, Finished, InputNeeded, Randomness, Send
from ..field import KEY_BYTES, Field
from ..formats import require_int
from ..identity import Identity
from ..params import Mode, Policy, Round
from ..primitives import agreement, seal, shamir
from ..secret import Secret
from ..wire import MessageType, Reader, open_message
from . import keys
from .authentication import for_client
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
from .transitions import CLIENT, Call, ClientState, Input, step

_log: Final = logging.getLogger("secagg")
_DEFAULT_POLICY: Final = Policy()


class Client:
    """One party of one round; use a fresh object for every round.

    Args:
        agreed: the round, as offered by the server (`Round.decode`).
        index: this party's place in the cohort, 0..cohort-1.
        policy: what this client insists on.
        random: source of random bytes; another one than the operating system's is for test
            vectors and simulation only.
        identity: malicious mode: this party's long-lived signing key.
        directory: malicious mode: the pinned verify keys of the whole cohort.

    Raises:
        ParameterError: the policy refuses the round, the index is outside the cohort, or identity
            and directory do not fit the mode or each other.
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
    ) -> None:
        policy.check(agreed)
        require_int("index", index, 0, agreed.params.cohort - 1)
        self.round: Final = agreed
        self.index: Final = index
        self.state = ClientState.CREATED
        self.clipped = 0
        self._params: Final = agreed.params
        self._quorum: Final = policy.quorum(agreed.params)
        self._table: Final = CLIENT[agreed.params.mode]
        self._authentication: Final = for_client(agreed.params, index, identity, directory)
        self._random = random
        self._accepted: dict[int, bytes] = {}
        self._h0 = keys.h0(agreed, self._authentication.pinned)
        self._h1 = b""
        self._h2 = b""
        self._h3 = b""
        self._roster: dict[int, PublicKeys] = {}
        self._members: tuple[int, ...] = ()
        self._survivors: tuple[int, ...] = ()
        self._channel_secret = Secret(random(agreement.SECRET_KEY_BYTES))
        self._mask_seed = Secret(random(shamir.SEED_BYTES))
        self._self_seed = Secret(random(shamir.SEED_BYTES))
        self._mask_secret = Secret(keys.mask_key(self._mask_seed.expose(), self._h0, index))
        self._inbound: dict[int, Secret] = {}
        self._mask_keys: list[Secret] = []
        # Shares by dealer: columns 0..2 of its mask seed, 3..5 of its self seed.
        self._held: dict[int, shamir.Shares] = {}
        self._keys: Final = self._authentication.sign_entry(
            self._h0,
            index,
            PublicKeys(
                agreement.public_key(self._channel_secret.expose()),
                agreement.public_key(self._mask_secret.expose()),
            ),
        )

    def __repr__(self) -> str:
        return f"<secagg.Client {self.index} of {self._params.cohort}: {self.state.value}>"

    # -- what the caller does -------------------------------------------------------------

    def start(self) -> bytes:
        """The first message to the server.

        Raises:
            LocalProtocolError: called twice.
        """
        self._advance(Call.START)
        return AdvertiseKeys(self._h0, self._keys).encode(self.round.session)

    def receive(self, data: bytes) -> list[ClientEvent]:
        """Takes one message from the server and says what to do.

        A repetition of a message that was accepted is ignored.

        Raises:
            RemoteProtocolError: the message is malformed (`DecodeError`), of another session,
                or out of order; nothing has changed.
            Aborted: going on would be unsafe; the client is finished and wiped.
            LocalProtocolError: not bytes, or the identity to sign with was wiped.
        """
        session = self.round.session
        kind, reader, digest = open_message(data, SERVER, session)
        if self._accepted.get(kind) == digest:
            return []
        cause = next((known for known in self._table[self.state] if known == kind), None)
        if not isinstance(cause, MessageType):
            raise RemoteProtocolError(
                SERVER, f"message of type {kind:#04x} while {self.state.value}"
            )
        try:
            events = self._handle(cause, reader)
        except Aborted as unsafe:
            self.wipe()
            _log.warning("%s: %r aborted: %s", session.hex(), self, unsafe.reason)
            raise
        self._advance(cause)
        self._accepted[kind] = digest
        return events

    def submit(self, values: ArrayLike, weight: int = 1) -> bytes:
        """The masked input, to be sent to the server. Call it once, after `InputNeeded`.

        How many values were clipped is in `clipped` afterwards.

        Args:
            values: shape (params.length,); what the format takes. Never written to.
            weight: this client's weight, 1..max_weight.

        Raises:
            RangeError: the input is unusable; nothing has changed and no mask was used.
            LocalProtocolError: not the time for it.
        """
        if Call.SUBMIT not in self._table[self.state]:
            raise LocalProtocolError(f"submit() while {self.state.value}")
        encoded = codec_for(self._params).encode(values, weight, self._random)
        field = Field(self._params.field_bits)
        peers = [peer for peer in self._members if peer != self.index]
        signs = [1] + [keys.pairwise_sign(self.index, peer) for peer in peers]
        masked = field.accumulate(
            encoded.vector, [key.expose() for key in self._mask_keys], signs, self._params.suite
        )
        packed = field.pack(masked)
        proof = self._authentication.prove_input(self._h2, self.index, packed)
        for key in self._mask_keys:
            key.wipe()
        self.clipped = encoded.clipped
        self._advance(Call.SUBMIT)
        return MaskedInput(self._h2, packed, proof).encode(self.round.session)

    def wipe(self) -> None:
        """Gives up the round, unless it is finished: every secret is overwritten."""
        if Call.ABORT in self._table[self.state]:
            self._advance(Call.ABORT)
        self._erase()

    # -- what the server's messages do ----------------------------------------------------

    def _erase(self) -> None:
        fixed = (self._channel_secret, self._mask_seed, self._self_seed, self._mask_secret)
        for secret in (*fixed, *self._inbound.values(), *self._mask_keys):
            secret.wipe()
        for row in self._held.values():
            row.fill(0)
        self._held.clear()

    def _advance(self, cause: Input) -> None:
        self.state = step(self._table, self.state, cause)
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
        roster = dict(message.keys)
        members = tuple(roster)
        self._require_quorum("the roster", members)
        if roster[self.index] != self._keys:
            raise Aborted("the roster has other keys for this party than it advertised")
        all_keys = [key for entry in roster.values() for key in (entry.channel, entry.mask)]
        if len(set(all_keys)) != len(all_keys):
            raise Aborted("the roster has the same key twice")
        for peer, entry in roster.items():
            if peer != self.index:
                self._check_entry(peer, entry)
        h1 = keys.h1(self._h0, roster, self._params.cohort)
        shares = shamir.deal(
            [self._mask_seed.expose(), self._self_seed.expose()],
            self._params.threshold,
            members,
            self._params.suite,
            self._random(KEY_BYTES),
        )
        packed = shamir.pack_shares(shares)
        size = 2 * shamir.SHARE_BYTES
        sealed: dict[int, bytes] = {}
        inbound: dict[int, Secret] = {}
        secret = self._channel_secret.expose()
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
        self._channel_secret.wipe()
        self._h1, self._roster, self._inbound = h1, roster, inbound
        self._held = {self.index: held}
        commitment = keys.commitment(self._self_seed.expose(), h1, self.index)
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
        members = message.members
        self._require_quorum("the sharing set", members)
        if not set(members) <= set(self._roster):
            raise Aborted("the sharing set holds parties that are not in the roster")
        opened = self._open(message)
        if len(opened) < self._params.threshold - 1:
            raise Aborted(
                f"{len(opened)} ciphertexts of others open, "
                f"{self._params.threshold - 1} are required"
            )
        secret = self._mask_secret.expose()
        mask_keys = [Secret(keys.self_key(self._self_seed.expose(), self._h1, self.index))]
        for peer in members:
            if peer == self.index:
                continue
            try:
                key = keys.pairwise_key(secret, self._h1, self.index, peer, self._roster)
            except agreement.WeakKeyError as error:
                raise Aborted(f"mask key of party {peer}: {error}") from None
            mask_keys.append(Secret(key))
        self._held |= opened
        self._mask_keys = mask_keys
        self._members = members
        self._h2 = keys.h2(self._h1, members, self._params.cohort)
        for used in (self._mask_secret, self._mask_seed, self._self_seed, *self._inbound.values()):
            used.wipe()
        return [InputNeeded()]

    def _open(self, message: Delivery) -> dict[int, shamir.Shares]:
        """Both shares of each peer as one row of six; one that does not open is left out."""
        plaintexts: dict[int, bytes] = {}
        for peer, ciphertext in message.sealed.items():
            key = self._inbound[peer].expose()
            plaintext = seal.unseal(key, ciphertext, keys.channel_data(self._h1, peer, self.index))
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
        survivors = set(message.members)
        self._require_quorum("the survivor set", message.members)
        if not survivors <= set(self._members):
            raise Aborted("the survivor set holds parties that are not in the sharing set")
        if self._params.mode == Mode.SEMI_HONEST:
            self._survivors = message.members
            return self._unmask()
        h3 = keys.h3(self._h2, message.members, self._params.cohort)
        signature = self._authentication.sign_consistency(h3)
        self._survivors, self._h3 = message.members, h3
        return [Send(SERVER, Consistency(signature).encode(self.round.session))]

    def _on_signatures(self, message: Signatures) -> list[ClientEvent]:
        signers = message.signatures
        if not signers.keys() <= set(self._survivors):
            raise Aborted("parties that are not in the survivor set signed it")
        least = self._params.threshold
        if len(signers) < least:
            raise Aborted(f"{len(signers)} parties signed the survivor set, {least} are required")
        for party, signature in signers.items():
            if not self._authentication.consistency_valid(self._h3, party, signature):
                raise Aborted(f"party {party} did not sign this survivor set")
        return self._unmask()

    def _unmask(self) -> list[ClientEvent]:
        """The one answer of this client: its shares, by the survivor set that it was told."""
        survivors = set(self._survivors)
        dealers = tuple(dealer for dealer in self._members if dealer in self._held)
        shares = np.stack(
            [
                self._held[dealer][3:] if dealer in survivors else self._held[dealer][:3]
                for dealer in dealers
            ]
        )
        answer = Unmask(dealers, shares).encode(self.round.session, self._params.cohort)
        self._erase()
        return [Send(SERVER, answer), Finished()]
