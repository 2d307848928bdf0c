"""The messages of the protocol as values, with one encoder and one strict decoder each.

Every length follows from `Params` and from sets that were accepted before. A decoder checks form
only: whether a well-formed message is acceptable is for the state machines to say.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..field import Field
from ..params import Mode, Params
from ..primitives.agreement import PUBLIC_KEY_BYTES
from ..primitives.labels import DIGEST_BYTES
from ..primitives.seal import TAG_BYTES
from ..primitives.shamir import SHARE_BYTES, Shares, pack_shares, unpack_shares
from ..primitives.sign import SIGNATURE_BYTES
from ..wire import MessageType, Reader, bitmap, header

CHECKSUM_BYTES: Final = 16
SEALED_BYTES: Final = 2 * SHARE_BYTES + TAG_BYTES


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """One party's entry in the roster: its keys and, in malicious mode, its signature on them."""

    channel: bytes
    mask: bytes
    signature: bytes = b""

    def encode(self) -> bytes:
        """The entry, 64 or 128 bytes."""
        return self.channel + self.mask + self.signature

    @classmethod
    def read(cls, reader: Reader, mode: Mode) -> "PublicKeys":
        """Reads an entry."""
        return cls(
            reader.take(PUBLIC_KEY_BYTES),
            reader.take(PUBLIC_KEY_BYTES),
            reader.take(SIGNATURE_BYTES if mode == Mode.MALICIOUS else 0),
        )


@dataclass(frozen=True, slots=True)
class AdvertiseKeys:
    """Client to server, step 0: what round it believes in, and its keys."""

    h0: bytes
    keys: PublicKeys

    def encode(self, session: bytes) -> bytes:
        """The message."""
        return header(MessageType.ADVERTISE_KEYS, session) + self.h0 + self.keys.encode()

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "AdvertiseKeys":
        """Reads the body."""
        message = cls(reader.take(DIGEST_BYTES), PublicKeys.read(reader, params.mode))
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Roster:
    """Server to client, step 0: U1 and its keys, ascending."""

    keys: Mapping[int, PublicKeys]

    def encode(self, session: bytes, cohort: int) -> bytes:
        """The message; one encoding serves every client."""
        entries = b"".join(keys.encode() for keys in self.keys.values())
        return header(MessageType.ROSTER, session) + bitmap(self.keys, cohort) + entries

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "Roster":
        """Reads the body."""
        members = reader.bitmap(params.cohort)
        roster = cls({party: PublicKeys.read(reader, params.mode) for party in members})
        reader.end()
        return roster


@dataclass(frozen=True, slots=True)
class ShareKeys:
    """Client to server, step 1: what roster it believes in, the commitment to its self seed, and a
    ciphertext for each other member of U1.
    """

    h1: bytes
    commitment: bytes
    sealed: Mapping[int, bytes]

    def encode(self, session: bytes) -> bytes:
        """The message; `sealed` is in ascending order."""
        return (
            header(MessageType.SHARE_KEYS, session)
            + self.h1
            + self.commitment
            + b"".join(self.sealed.values())
        )

    @classmethod
    def read(cls, reader: Reader, receivers: Iterable[int]) -> "ShareKeys":
        """Reads the body; `receivers` are the others in U1, ascending."""
        h1, commitment = reader.take(DIGEST_BYTES), reader.take(DIGEST_BYTES)
        message = cls(h1, commitment, {party: reader.take(SEALED_BYTES) for party in receivers})
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Delivery:
    """Server to client, step 1: U2, and the ciphertexts of its other members."""

    members: tuple[int, ...]
    sealed: Mapping[int, bytes]

    def encode(self, session: bytes, cohort: int) -> bytes:
        """The message; `sealed` is in ascending order."""
        return (
            header(MessageType.DELIVERY, session)
            + bitmap(self.members, cohort)
            + b"".join(self.sealed.values())
        )

    @classmethod
    def read(cls, reader: Reader, params: Params, receiver: int) -> "Delivery":
        """Reads the body."""
        members = reader.bitmap(params.cohort)
        sealed = {party: reader.take(SEALED_BYTES) for party in members if party != receiver}
        reader.end()
        return cls(members, sealed)


@dataclass(frozen=True, slots=True)
class MaskedInput:
    """Client to server, step 2: what sets it believes in, its masked vector, and a checksum or, in
    malicious mode, a signature over both.
    """

    h2: bytes
    packed: bytes
    proof: bytes

    def encode(self, session: bytes) -> bytes:
        """The message."""
        return b"".join(
            (header(MessageType.MASKED_INPUT, session), self.h2, self.packed, self.proof)
        )

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "MaskedInput":
        """Reads the body."""
        size = Field(params.field_bits).packed_bytes(params.vector_length)
        proof = SIGNATURE_BYTES if params.mode == Mode.MALICIOUS else CHECKSUM_BYTES
        message = cls(reader.take(DIGEST_BYTES), reader.take(size), reader.take(proof))
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Survivors:
    """Server to client: U3. It names no other set, so it can ask for no second share."""

    members: tuple[int, ...]

    def encode(self, session: bytes, cohort: int) -> bytes:
        """The message."""
        return header(MessageType.SURVIVORS, session) + bitmap(self.members, cohort)

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "Survivors":
        """Reads the body."""
        message = cls(reader.bitmap(params.cohort))
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Consistency:
    """Client to server, step 3: its signature on the survivor set that it was told."""

    signature: bytes

    def encode(self, session: bytes) -> bytes:
        """The message."""
        return header(MessageType.CONSISTENCY, session) + self.signature

    @classmethod
    def read(cls, reader: Reader) -> "Consistency":
        """Reads the body."""
        message = cls(reader.take(SIGNATURE_BYTES))
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Signatures:
    """Server to client, step 3: who signed the survivor set, and their signatures, ascending."""

    signatures: Mapping[int, bytes]

    def encode(self, session: bytes, cohort: int) -> bytes:
        """The message; one encoding serves every client."""
        return (
            header(MessageType.SIGNATURES, session)
            + bitmap(self.signatures, cohort)
            + b"".join(self.signatures.values())
        )

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "Signatures":
        """Reads the body."""
        members = reader.bitmap(params.cohort)
        message = cls({party: reader.take(SIGNATURE_BYTES) for party in members})
        reader.end()
        return message


@dataclass(frozen=True, slots=True, eq=False)
class Unmask:
    """Client to server, step 4: one share for each dealer, shape (dealers, 3)."""

    dealers: tuple[int, ...]
    shares: Shares

    def __repr__(self) -> str:
        return f"Unmask({len(self.dealers)} shares)"

    def encode(self, session: bytes, cohort: int) -> bytes:
        """The message."""
        return (
            header(MessageType.UNMASK, session)
            + bitmap(self.dealers, cohort)
            + pack_shares(self.shares)
        )

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "Unmask":
        """Reads the body."""
        dealers = reader.bitmap(params.cohort)
        data = reader.take(SHARE_BYTES * len(dealers))
        reader.end()
        try:
            shares = unpack_shares(data)
        except ValueError as error:
            raise reader.error(str(error)) from None
        return cls(dealers, shares)
