"""Envelopes: what drivers tell each other about a round, which the protocol does not say.

`docs/DRIVERS.md` describes them byte by byte. A message of the protocol travels as it is, except
the one that asks for an input, which an `Ask` can carry together with the task. An envelope begins
with other bytes than a message. Nothing in it is trusted more than the transport is: a server can
lie in all of it, and a client decides by its own policy, pins and ledger.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import ClassVar, Final

from .. import texts
from ..codes import Code
from ..machine.wire import (
    SESSION_BYTES,
    Reader,
    as_bytes,
    u8,
    u32,
    u64,
)
from ..machine.wire import VERSION as WIRE_VERSION

MAGIC: Final = b"SD"
VERSION: Final = 1
LARGEST_REASON: Final = 300  # characters
LARGEST_NAME: Final = 64
NO_SESSION: Final = bytes(SESSION_BYTES)
MAX_MEMBERS: Final = 2**16
_LONGEST: Final = 4 * LARGEST_REASON  # bytes of a text


class Kind(IntEnum):
    """The byte after magic and version; the server's envelopes have bit 4 set, as in messages."""

    HELLO = 0x01
    REFUSAL = 0x02
    INVITATION = 0x10
    ASK = 0x11
    OVER = 0x12
    REJECTION = 0x13


@dataclass(frozen=True, slots=True)
class Hello:
    """Client: the first envelope on a connection. It names the peer; the transport proves it.

    Attributes:
        name: what the client calls itself, at most 64 characters.
        library: version of its library.
        wire: versions of the protocol that it speaks.
        verify_key: its verify key in malicious mode (32 bytes), else empty.
    """

    kind: ClassVar = Kind.HELLO

    name: str = ""
    library: str = ""
    wire: tuple[int, ...] = (WIRE_VERSION,)
    verify_key: bytes = b""

    def body(self) -> bytes:
        return (
            _text(self.name)
            + _text(self.library)
            + u8(len(self.wire))
            + bytes(self.wire)
            + u8(len(self.verify_key))
            + self.verify_key
        )

    @classmethod
    def read(cls, reader: Reader) -> "Hello":
        name, library = _read_text(reader)[:LARGEST_NAME], _read_text(reader)
        wire = tuple(reader.take(reader.u8()))
        size = reader.u8()
        if size not in (0, 32):
            raise reader.error(f"a verify key of {size} bytes")
        return cls(name, library, wire, reader.take(size))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Client: it does not go on with a round.

    Attributes:
        session: the round; `NO_SESSION` if it did not get so far.
        code: of `secagg.Code`, as text: the peer may be of a newer version.
        reason: one line; it shows nothing of the client's data.
    """

    kind: ClassVar = Kind.REFUSAL

    session: bytes
    code: str
    reason: str

    def body(self) -> bytes:
        return self.session + _text(self.code) + _text(self.reason)

    @classmethod
    def read(cls, reader: Reader) -> "Refusal":
        return cls(reader.take(SESSION_BYTES), _read_text(reader), _read_text(reader))


@dataclass(frozen=True, slots=True)
class Rejection(Refusal):
    """Server: it does not deal with this peer, because of its version for example."""

    kind: ClassVar = Kind.REJECTION


@dataclass(frozen=True, slots=True)
class Invitation:
    """Server: the offer of a round, with what a client needs to join.

    Attributes:
        offer: the protocol's first message.
        index: the place of the client in the cohort.
        members: the cohort's indices in the directory of all who are pinned, ascending; empty if
            the cohort is the whole directory, or there is none.
        attempt: number of the attempt on what the round is about, from 0.
    """

    kind: ClassVar = Kind.INVITATION

    offer: bytes = field(repr=False)
    index: int
    members: tuple[int, ...] = ()
    attempt: int = 0

    def body(self) -> bytes:
        return (
            u32(self.index)
            + u32(self.attempt)
            + u32(len(self.members))
            + b"".join(map(u32, self.members))
            + self.offer
        )

    @classmethod
    def read(cls, reader: Reader) -> "Invitation":
        index, attempt, count = reader.u32(), reader.u32(), reader.u32()
        if count > MAX_MEMBERS or (count and index >= count):
            raise reader.error(f"an invitation of index {index} among {count} members")
        members = tuple(reader.u32() for _ in range(count))
        if any(low >= high for low, high in pairwise(members)):
            raise reader.error("the members of an invitation are not in ascending order")
        return cls(reader.rest(), index, members, attempt)


@dataclass(frozen=True, slots=True)
class Ask:
    """Server: the protocol's message that asks for the input, and the task of the application.

    Attributes:
        task: what the input is to be computed from, such as a model; the application's bytes.
        message: the protocol's message.
    """

    kind: ClassVar = Kind.ASK

    task: bytes = field(repr=False)
    message: bytes = field(repr=False)

    def body(self) -> bytes:
        return u64(len(self.task)) + self.task + self.message

    @classmethod
    def read(cls, reader: Reader) -> "Ask":
        return cls(reader.take(reader.u64()), reader.rest())


@dataclass(frozen=True, slots=True)
class Over:
    """Server: a round is over, by its own word.

    Attributes:
        session: the round.
        code: why it failed; "" if there is a sum.
        reason: the same for people.
        survivors: number of inputs in the sum.
    """

    kind: ClassVar = Kind.OVER

    session: bytes
    code: str = ""
    reason: str = ""
    survivors: int = 0

    def body(self) -> bytes:
        return self.session + _text(self.code) + _text(self.reason) + u32(self.survivors)

    @classmethod
    def read(cls, reader: Reader) -> "Over":
        return cls(reader.take(SESSION_BYTES), _read_text(reader), _read_text(reader), reader.u32())


Envelope = Hello | Refusal | Rejection | Invitation | Ask | Over
_KINDS: Final = {each.kind: each for each in (Hello, Refusal, Rejection, Invitation, Ask, Over)}


def seal(envelope: Envelope) -> bytes:
    """Returns the bytes of an envelope."""
    return MAGIC + bytes((VERSION, envelope.kind)) + envelope.body()


def is_envelope(data: bytes) -> bool:
    """Returns whether these bytes are an envelope of some version, not a message."""
    return data[: len(MAGIC)] == MAGIC


def opened(data: bytes, party: int) -> Envelope:
    """Returns the envelope that a party sent.

    Raises:
        DecodeError: the bytes are none, or of another version.
        LocalProtocolError: `data` is not bytes.
    """
    reader = Reader(as_bytes(data), party)
    if reader.take(len(MAGIC)) != MAGIC:
        raise reader.error("not an envelope of secagg's drivers")
    version = reader.u8()
    if version != VERSION:
        raise reader.error(
            f"envelope version {version}, this library speaks version {VERSION}", Code.VERSION
        )
    kind = reader.u8()
    if kind not in list(Kind):
        raise reader.error(f"an envelope of the unknown kind {kind:#04x}")
    envelope: Envelope = _KINDS[Kind(kind)].read(reader)
    reader.end()
    return envelope


def _text(text: str) -> bytes:
    encoded = texts.one_line(text, LARGEST_REASON).encode(errors="replace")
    return u32(len(encoded)) + encoded


def _read_text(reader: Reader) -> str:
    size = reader.u32()
    if size > _LONGEST:
        raise reader.error(f"a text of {size} bytes, {_LONGEST} are allowed")
    return texts.one_line(reader.take(size).decode(errors="replace"), LARGEST_REASON)
