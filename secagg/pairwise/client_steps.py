"""The steps of a client: validates messages of the server, and masks the input.

Privacy depends on these checks. A malformed message raises `DecodeError` and changes nothing; a
well-formed one that is unsafe to act on raises `Aborted`.
"""

import logging
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..arithmetic.binding import Vector
from ..arithmetic.field import KEY_BYTES, Field
from ..codes import Code
from ..encoding.chunks import encode_pieces
from ..encoding.codec import Codec
from ..errors import SERVER, Aborted
from ..events import ClientEvent, Finished, InputNeeded, Randomness, Send
from ..machine.wire import MessageType, PartySet, Reader
from ..params.mode import Mode
from ..params.params import Round
from ..params.policy import Release, asked
from ..primitives import agreement, seal
from ..primitives.secret import Secret, draw
from ..sharing import shamir
from ..tracebacks import keeps_no_locals
from . import derivation, transcript
from .authentication import Authentication
from .graph import graph_of
from .memory import ClientMemory
from .messages import (
    Consistency,
    Delivery,
    MaskedInput,
    PublicKeys,
    Roster,
    ShareKeys,
    Signatures,
    Survivors,
    Unmask,
    proof_bytes,
)

_log: Final = logging.getLogger("secagg")


class ReleaseRaisedError(Exception):
    """What a policy's `release` raised, of any kind: the client ends the round, and raises it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class ClientSteps:
    """The steps of one client, which read and change its memory; `Client` checks their order.

    Args:
        agreed: the round.
        h0: hash of the round that this client was given.
        index: the client's place in the cohort.
        authentication: signs and verifies for this client.
        codec: encodes the input.
        memory: the client's memory.
        random: source of random bytes.
        release: is asked before this client lets a sum be opened, if there is one.
    """

    def __init__(
        self,
        agreed: Round,
        h0: bytes,
        index: int,
        authentication: Authentication,
        codec: Codec,
        memory: ClientMemory,
        random: Randomness,
        release: Release | None = None,
    ) -> None:
        self.round: Final = agreed
        self.index: Final = index
        self.authentication: Final = authentication
        self.memory: Final = memory
        self.h0: Final = h0
        self._params: Final = agreed.params
        self._graph: Final = graph_of(agreed.params, h0)
        self._random: Final = random
        self._codec: Final = codec
        self._release: Final = release

    def mask(self, values: ArrayLike | Iterator[ArrayLike], weight: int) -> tuple[bytes, int, bool]:
        """Returns the message with the masked input, and what was clipped (see `Encoded`).

        Beside the message itself, of an input in chunks only one piece is in memory at a time. The
        mask keys are not wiped yet. Raises RangeError if the input is unusable.
        """
        memory, params = self.memory, self._params
        field = Field(params.field_bits)
        peers = self._graph.neighbours(self.index, memory.members)
        signs = [1] + [derivation.pairwise_sign(self.index, peer) for peer in peers]
        size = field.packed_bytes(params.vector_length)
        message = MaskedInput.begin(self.round.session, memory.h2, size, proof_bytes(params))
        head, start, clipped, is_long = message.size, 0, 0, False
        for piece in encode_pieces(self._codec, params, values, weight, self._random):
            self._add_masks(field, piece.vector, signs, start)
            field.pack_into(message, piece.vector)
            start += piece.vector.size
            clipped, is_long = clipped + piece.clipped, piece.is_long
        packed = message.since(head)
        message.append(self.authentication.prove_input(memory.h2, self.index, packed))
        return message.finish(), clipped, is_long

    def _add_masks(self, field: Field, vector: Vector, signs: list[int], start: int) -> None:
        """Adds all masks to one piece; no frame holds the keys while the next piece is made.

        The caller's iterator makes it, and reporters print the frames below it with variables.
        """
        keys = [key.expose() for key in self.memory.mask_keys]
        field.accumulate(vector, keys, signs, self._params.suite.generator, start)

    @keeps_no_locals  # before the reason of an `Aborted` is logged
    def handle(self, kind: MessageType, reader: Reader) -> list[ClientEvent]:
        """Handles a message of a type that is due; returns the events.

        Raises:
            DecodeError: the message is malformed; nothing has changed.
            Aborted: acting on it would be unsafe.
        """
        if kind == MessageType.ROSTER:
            return self._on_roster(Roster.read(reader, self._params, self._graph, self.index))
        if kind == MessageType.DELIVERY:
            return self._on_delivery(Delivery.read(reader, self._params, self._graph, self.index))
        if kind == MessageType.SURVIVORS:
            return self._on_survivors(Survivors.read(reader, self._params))
        return self._on_signatures(Signatures.read(reader, self._params))

    def _require_quorum(self, name: str, members: PartySet) -> None:
        """Raises Aborted unless the set has a quorum of members, this party among them."""
        if self.index not in members:
            raise Aborted(f"this party is not in {name}", Code.EXCLUDED)
        least = self._params.quorum
        if len(members) < least:
            raise Aborted(f"{name} has {len(members)} members, {least} are required", Code.QUORUM)

    def _require_neighbours(self, name: str, count: int) -> None:
        """Raises Aborted if too few neighbours are left to hold shares of this party's seeds.

        A threshold of holders is needed, and this party is one of them. On the complete graph a
        quorum always has enough, as it is not below the threshold.
        """
        least = self._params.threshold - 1
        if count < least:
            raise Aborted(
                f"{name} has {count} of this party's neighbours, {least} are required",
                Code.NEIGHBOURS,
            )

    def _on_roster(self, message: Roster) -> list[ClientEvent]:
        memory = self.memory
        roster = dict(message.keys)
        self._require_quorum("the roster", message.members)
        self._require_neighbours("the roster", len(roster) - 1)
        if roster[self.index] != memory.keys:
            raise Aborted(
                "the roster has other keys for this party than those it advertised", Code.ROSTER
            )
        all_keys = [key for entry in roster.values() for key in (entry.channel, entry.mask)]
        if len(set(all_keys)) != len(all_keys):
            raise Aborted("the roster has the same key twice", Code.DUPLICATE_KEY)
        for peer, entry in roster.items():
            if peer != self.index:
                self._check_entry(peer, entry)
        cohort = self._params.cohort
        h1 = message.h1 or transcript.h1(self.h0, roster, cohort)
        roster_digest = transcript.roster_digest(h1, roster, cohort) if message.h1 else h1
        shares = shamir.deal(
            [memory.mask_seed.expose(), memory.self_seed.expose()],
            self._params.threshold,
            list(roster),
            self._params.suite.generator,
            draw(self._random, KEY_BYTES),
        )
        packed = shamir.pack_shares(shares)
        size = 2 * shamir.SHARE_BYTES
        sealed: dict[int, bytes] = {}
        inbound: dict[int, Secret] = {}
        secret = memory.channel_secret.expose()
        for row, peer in enumerate(roster):
            if peer == self.index:
                held = shares[row].copy()
                continue
            try:
                shared = agreement.agree(secret, roster[peer].channel)
            except agreement.WeakKeyError as error:
                raise Aborted(f"channel key of party {peer}: {error}", Code.WEAK_KEY) from None
            sealed[peer] = seal.seal(
                derivation.channel_key(shared, h1, self.index, peer, roster),
                packed[row * size : (row + 1) * size],
                derivation.channel_data(h1, self.index, peer),
            )
            inbound[peer] = Secret(derivation.channel_key(shared, h1, peer, self.index, roster))
        shares.fill(0)
        memory.channel_secret.wipe()
        memory.advertised, memory.h1, memory.roster = message.members, h1, roster
        memory.inbound = inbound
        memory.held = {self.index: held}
        commitment = derivation.commitment(memory.self_seed.expose(), h1, self.index)
        return [
            Send(SERVER, ShareKeys(roster_digest, commitment, sealed).encode(self.round.session))
        ]

    def _check_entry(self, party: int, entry: PublicKeys) -> None:
        """Raises Aborted if an entry is not signed by its party, or a key in it is weak."""
        if not self.authentication.entry_valid(self.h0, party, entry):
            raise Aborted(
                f"the roster's entry of party {party} is not signed with the key that is pinned "
                "for it: if the sites' directories are the same (compare `Directory.fingerprint`), "
                "suspect the server",
                Code.SIGNATURE,
            )
        try:
            agreement.check_public_key(entry.channel)
            agreement.check_public_key(entry.mask)
        except agreement.WeakKeyError as error:
            raise Aborted(f"the roster's entry of party {party}: {error}", Code.WEAK_KEY) from None

    def _on_delivery(self, message: Delivery) -> list[ClientEvent]:
        memory = self.memory
        members = message.members
        self._require_quorum("the sharing set", members)
        self._require_neighbours("the sharing set", len(message.sealed))
        if not members <= memory.advertised:
            raise Aborted(
                "the sharing set has parties that are not in the roster", Code.SHARING_SET
            )
        unopened = self._open_shares(message)
        for peer in unopened:
            _log.info("%s: share from party %d did not open", self.round.session.hex(), peer)
        opened = len(message.sealed) - len(unopened)
        if opened < self._params.threshold - 1:
            raise Aborted(
                f"{opened} ciphertexts of other parties can be opened, "
                f"{self._params.threshold - 1} are required",
                Code.SHARES,
            )
        secret = memory.mask_secret.expose()
        mask_keys = [Secret(derivation.self_key(memory.self_seed.expose(), memory.h1, self.index))]
        for peer in message.sealed:
            try:
                key = derivation.pairwise_key(secret, memory.h1, self.index, peer, memory.roster)
            except agreement.WeakKeyError as error:
                raise Aborted(f"mask key of party {peer}: {error}", Code.WEAK_KEY) from None
            mask_keys.append(Secret(key))
        memory.mask_keys = mask_keys
        memory.members = members
        memory.h2 = transcript.h2(memory.h1, members, self._params.cohort)
        for used in (
            memory.mask_secret,
            memory.mask_seed,
            memory.self_seed,
            *memory.inbound.values(),
        ):
            used.wipe()
        return [InputNeeded()]

    def _open_shares(self, message: Delivery) -> set[int]:
        """Opens the ciphertexts, and keeps both shares of each peer as one row of six elements.

        Returns the peers whose ciphertext does not open. They are logged when no frame holds a
        share any more, as a handler may print the stack with variables.
        """
        plaintexts: dict[int, bytes] = {}
        for peer, ciphertext in message.sealed.items():
            key = self.memory.inbound[peer].expose()
            plaintext = seal.unseal(
                key, ciphertext, derivation.channel_data(self.memory.h1, peer, self.index)
            )
            if plaintext is not None:
                plaintexts[peer] = plaintext
        shares, canonical = shamir.split_shares(b"".join(plaintexts.values()))
        both = canonical[0::2] & canonical[1::2]
        rows = shares.reshape(-1, 2 * shamir.LIMBS)
        opened = {peer: row for peer, row, good in zip(plaintexts, rows, both, strict=True) if good}
        self.memory.held |= opened
        return message.sealed.keys() - opened.keys()

    def _on_survivors(self, message: Survivors) -> list[ClientEvent]:
        memory = self.memory
        survivors = message.members
        self._require_quorum("the survivor set", survivors)
        near = self._graph.neighbours(self.index, survivors)
        self._require_neighbours("the survivor set", len(near))
        if not survivors <= memory.members:
            raise Aborted(
                "the survivor set has parties that are not in the sharing set", Code.SURVIVOR_SET
            )
        if not self._graph.connected(survivors):
            raise Aborted(
                "the survivor set falls apart into groups that share no masks", Code.DISCONNECTED
            )
        self._require_release(survivors)
        if self._params.mode == Mode.SEMI_HONEST:
            memory.survivors = survivors
            return self._unmask()
        h3 = transcript.h3(memory.h2, survivors, self._params.cohort)
        signature = self.authentication.sign_consistency(h3)
        memory.survivors, memory.h3 = survivors, h3
        return [Send(SERVER, Consistency(signature).encode(self.round.session))]

    def _require_release(self, survivors: PartySet) -> None:
        """Raises Aborted if the policy's function has a reason; ReleaseRaisedError if it raises."""
        if self._release is None:
            return
        try:
            reason = asked(self._release, survivors)
        except Exception as error:
            raise ReleaseRaisedError(error) from None
        if reason:
            raise Aborted(reason, Code.POLICY_RELEASE)

    def _on_signatures(self, message: Signatures) -> list[ClientEvent]:
        signers = message.signatures
        if not signers.keys() <= self.memory.survivors:
            raise Aborted("the survivor set is signed by parties that are not in it", Code.SIGNERS)
        least = self._params.threshold
        if len(signers) < least:
            raise Aborted(
                f"{len(signers)} parties signed the survivor set, {least} are required",
                Code.TOO_FEW_SIGNATURES,
            )
        for party, signature in signers.items():
            if not self.authentication.consistency_valid(self.memory.h3, party, signature):
                raise Aborted(
                    f"the signature of party {party} on the survivor set does not verify",
                    Code.SIGNATURE,
                )
        return self._unmask()

    def _unmask(self) -> list[ClientEvent]:
        """Returns the one answer of this client: its shares, chosen by the survivor set.

        It gives a share of the self seed of a survivor, and of the mask seed of any other party:
        both shares of one party would unmask its input.
        """
        memory = self.memory
        dealers, cohort = sorted(memory.held), self._params.cohort
        shares = np.empty((len(dealers), shamir.LIMBS), np.uint64)
        for row, dealer in enumerate(dealers):
            held, alive = memory.held[dealer], dealer in memory.survivors
            shares[row] = held[shamir.LIMBS :] if alive else held[: shamir.LIMBS]
        answer = Unmask(PartySet.of(dealers, cohort), shares).encode(self.round.session, cohort)
        memory.erase()
        return [Send(SERVER, answer), Finished()]
