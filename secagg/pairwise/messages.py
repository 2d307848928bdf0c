"""The messages of the protocol, each with one encoder and one strict decoder.

All lengths follow from `Params` and from sets that were accepted before. A decoder checks the form
only; the state machines check whether a well-formed message is acceptable.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ..arithmetic.binding import BytesBuilder
from ..arithmetic.field import Field
from ..errors import RangeError
from ..machine.wire import HEADER_BYTES, MessageType, PartySet, Reader, bitmap, header
from ..params.mode import Mode
from ..params.params import Params
from ..primitives.agreement import PUBLIC_KEY_BYTES
from ..primitives.labels import DIGEST_BYTES
from ..primitives.seal import TAG_BYTES
from ..primitives.sign import SIGNATURE_BYTES
from ..sharing.shamir import SHARE_BYTES, Shares, pack_shares, unpack_shares
from .graph import Graph

CHECKSUM_BYTES: Final = 16
SEALED_BYTES: Final = 2 * SHARE_BYTES + TAG_BYTES


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """The roster entry of a party: public keys and, in malicious mode, a signature on them."""

    channel: bytes
    mask: bytes
    signature: bytes = b""

    def encode(self) -> bytes:
        """Encodes the entry, 64 or 128 bytes."""
        return self.channel + self.mask + self.signature

    @staticmethod
    def size(mode: Mode) -> int:
        """Returns the bytes of an entry."""
        return 2 * PUBLIC_KEY_BYTES + (SIGNATURE_BYTES if mode == Mode.MALICIOUS else 0)

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
    """Client to server, step 0: the hash h0 of the round that it was offered, and its keys."""

    h0: bytes
    keys: PublicKeys

    def encode(self, session: bytes) -> bytes:
        """Encodes the message."""
        return header(MessageType.ADVERTISE_KEYS, session) + self.h0 + self.keys.encode()

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "AdvertiseKeys":
        """Reads the body."""
        message = cls(reader.take(DIGEST_BYTES), PublicKeys.read(reader, params.mode))
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Roster:
    """Server to client, step 0: U1 and its keys.

    On a sparse graph it has the keys of the receiver and its neighbours only, and it also has h1,
    which the receiver cannot compute from them.

    Attributes:
        members: U1.
        keys: entries by party, ascending.
        h1: on a sparse graph, 32 bytes; otherwise empty.
    """

    members: PartySet
    keys: Mapping[int, PublicKeys]
    h1: bytes = b""

    def encode(self, session: bytes, cohort: int) -> bytes:
        """Encodes the message; on the complete graph it is the same for every client."""
        entries = b"".join(keys.encode() for keys in self.keys.values())
        return b"".join(
            (header(MessageType.ROSTER, session), bitmap(self.members, cohort), self.h1, entries)
        )

    @classmethod
    def read(cls, reader: Reader, params: Params, graph: Graph, receiver: int) -> "Roster":
        """Reads the body."""
        members = reader.bitmap(params.cohort)
        h1 = reader.take(DIGEST_BYTES) if params.degree else b""
        count = graph.count_neighbours(receiver, members) + (receiver in members)
        reader.expect(count * PublicKeys.size(params.mode))
        near = graph.holders(receiver, members)
        return cls(members, {party: PublicKeys.read(reader, params.mode) for party in near}, h1)


@dataclass(frozen=True, slots=True)
class ShareKeys:
    """Client to server, step 1: encrypted shares, one ciphertext per neighbour in U1.

    Attributes:
        roster_digest: of the roster that it was told: h1, or on a sparse graph
            `transcript.roster_digest`.
        commitment: to its self seed.
        sealed: the ciphertexts by receiver, ascending.
    """

    roster_digest: bytes
    commitment: bytes
    sealed: Mapping[int, bytes]

    def encode(self, session: bytes) -> bytes:
        """Encodes the message."""
        return (
            header(MessageType.SHARE_KEYS, session)
            + self.roster_digest
            + self.commitment
            + b"".join(self.sealed.values())
        )

    @staticmethod
    def size(receivers: int) -> int:
        """Returns the bytes of the body for this number of receivers."""
        return 2 * DIGEST_BYTES + receivers * SEALED_BYTES

    @classmethod
    def read(cls, reader: Reader, receivers: Iterable[int]) -> "ShareKeys":
        """Reads the body; `receivers` are the sender's neighbours in U1, ascending."""
        roster_digest, commitment = reader.take(DIGEST_BYTES), reader.take(DIGEST_BYTES)
        message = cls(
            roster_digest, commitment, {party: reader.take(SEALED_BYTES) for party in receivers}
        )
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Delivery:
    """Server to client, step 1: U2, and the ciphertexts from the receiver's neighbours in U2.

    Attributes:
        members: U2.
        sealed: the ciphertexts by sender, ascending.
    """

    members: PartySet
    sealed: Mapping[int, bytes]

    def encode(self, session: bytes, cohort: int) -> bytes:
        """Encodes the message."""
        return (
            header(MessageType.DELIVERY, session)
            + bitmap(self.members, cohort)
            + b"".join(self.sealed.values())
        )

    @classmethod
    def read(cls, reader: Reader, params: Params, graph: Graph, receiver: int) -> "Delivery":
        """Reads the body."""
        members = reader.bitmap(params.cohort)
        reader.expect(SEALED_BYTES * graph.count_neighbours(receiver, members))
        near = graph.neighbours(receiver, members)
        return cls(members, {party: reader.take(SEALED_BYTES) for party in near})


@dataclass(frozen=True, slots=True)
class MaskedInput:
    """Client to server, step 2: the masked input.

    Attributes:
        h2: hash of the sets that it was told.
        packed: the masked vector.
        proof: a checksum of both; in malicious mode a signature.
    """

    h2: bytes
    packed: bytes
    proof: bytes

    def encode(self, session: bytes) -> bytes:
        """Encodes the message; a client, whose vector may be long, uses `begin`."""
        message = self.begin(session, self.h2, len(self.packed), len(self.proof))
        message.append(self.packed)
        message.append(self.proof)
        return message.finish()

    @staticmethod
    def begin(session: bytes, h2: bytes, packed_bytes: int, proof_bytes: int) -> BytesBuilder:
        """Returns the beginning of a message, to which packed vector and proof are appended."""
        head = header(MessageType.MASKED_INPUT, session) + h2
        message = BytesBuilder(len(head) + packed_bytes + proof_bytes)
        message.append(head)
        return message

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "MaskedInput":
        """Reads the body."""
        packed, proof = _packed_bytes(params), proof_bytes(params)
        reader.expect(DIGEST_BYTES + packed + proof)
        return cls(reader.take(DIGEST_BYTES), reader.take(packed), reader.take(proof))


@dataclass(frozen=True, slots=True)
class Survivors:
    """Server to client: U3. It has no other set, so it cannot ask for two shares of one party."""

    members: PartySet

    def encode(self, session: bytes, cohort: int) -> bytes:
        """Encodes the message."""
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
        """Encodes the message."""
        return header(MessageType.CONSISTENCY, session) + self.signature

    @classmethod
    def read(cls, reader: Reader) -> "Consistency":
        """Reads the body."""
        message = cls(reader.take(SIGNATURE_BYTES))
        reader.end()
        return message


@dataclass(frozen=True, slots=True)
class Signatures:
    """Server to client, step 3: signatures of the survivor set by party, ascending."""

    signatures: Mapping[int, bytes]

    def encode(self, session: bytes, cohort: int) -> bytes:
        """Encodes the message; it is the same for every client."""
        return (
            header(MessageType.SIGNATURES, session)
            + bitmap(self.signatures, cohort)
            + b"".join(self.signatures.values())
        )

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "Signatures":
        """Reads the body."""
        members = reader.bitmap(params.cohort)
        reader.expect(SIGNATURE_BYTES * len(members))
        return cls({party: reader.take(SIGNATURE_BYTES) for party in members})


@dataclass(frozen=True, slots=True, eq=False)
class Unmask:
    """Client to server, step 4: one share per dealer, shape (dealers, 3)."""

    dealers: PartySet
    shares: Shares

    def __repr__(self) -> str:
        return f"Unmask({len(self.dealers)} shares)"

    def encode(self, session: bytes, cohort: int) -> bytes:
        """Encodes the message."""
        return (
            header(MessageType.UNMASK, session)
            + bitmap(self.dealers, cohort)
            + pack_shares(self.shares)
        )

    @classmethod
    def read(cls, reader: Reader, params: Params) -> "Unmask":
        """Reads the body."""
        return cls.read_shares(reader, cls.read_dealers(reader, params))

    @staticmethod
    def read_dealers(reader: Reader, params: Params) -> PartySet:
        """Reads whose shares follow; there are as many as they need."""
        dealers = reader.bitmap(params.cohort)
        reader.expect(SHARE_BYTES * len(dealers))
        return dealers

    @classmethod
    def read_shares(cls, reader: Reader, dealers: PartySet) -> "Unmask":
        """Reads the shares of these dealers."""
        try:
            shares = unpack_shares(reader.take(SHARE_BYTES * len(dealers)))
        except RangeError as error:
            raise reader.error(str(error)) from None
        return cls(dealers, shares)


def _packed_bytes(params: Params) -> int:
    return Field(params.field_bits).packed_bytes(params.vector_length)


def proof_bytes(params: Params) -> int:
    """Returns the bytes of the checksum or signature of a masked input."""
    return SIGNATURE_BYTES if params.mode == Mode.MALICIOUS else CHECKSUM_BYTES


def largest_to_server(params: Params) -> int:
    """Returns the most bytes that a message from a client can have in a round."""
    bodies = (
        DIGEST_BYTES + PublicKeys.size(params.mode),
        ShareKeys.size(params.degree or params.cohort - 1),
        DIGEST_BYTES + _packed_bytes(params) + proof_bytes(params),
        # The bitmap alone decides about the length: a message with too many dealers is well-formed.
        (params.cohort + 7) // 8 + params.cohort * SHARE_BYTES,
    )
    return HEADER_BYTES + max(bodies)


def largest_to_client(params: Params) -> int:
    """Returns the most bytes that a message from the server can have: those of a whole roster."""
    h1 = DIGEST_BYTES if params.degree else 0
    entries = (params.degree + 1 if params.degree else params.cohort) * PublicKeys.size(params.mode)
    return HEADER_BYTES + (params.cohort + 7) // 8 + h1 + entries
