"""The codec: headers, integers and bitmaps, with every length known before it is read.

`docs/WIRE.md` describes the format byte by byte.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Set
from enum import IntEnum
from typing import Final

import numpy as np

from ..codes import Code
from ..errors import DecodeError, LocalProtocolError

MAGIC: Final = b"SA"
VERSION: Final = 1
SESSION_BYTES: Final = 16
HEADER_BYTES: Final = len(MAGIC) + 2 + SESSION_BYTES


class MessageType(IntEnum):
    """The type byte of the header; the server's messages have bit 4 set."""

    ADVERTISE_KEYS = 0x01
    SHARE_KEYS = 0x02
    MASKED_INPUT = 0x03
    CONSISTENCY = 0x04
    UNMASK = 0x05
    OFFER = 0x10
    ROSTER = 0x11
    DELIVERY = 0x12
    SURVIVORS = 0x13
    SIGNATURES = 0x14


def as_bytes(data: object) -> bytes:
    """A message as immutable bytes; LocalProtocolError if the caller passed something else."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise LocalProtocolError(f"a message is bytes, not {type(data).__name__}", Code.ARGUMENT)
    return bytes(data)


class PartySet(Set[int]):
    """A set of party indices as its bitmap: a bit a party, however large the cohort.

    Args:
        octets: the encoding; party i is bit i mod 8 (least significant first) of byte i div 8.
    """

    __slots__ = ("octets",)

    def __init__(self, octets: bytes = b"") -> None:
        self.octets: Final = octets

    @classmethod
    def of(cls, members: Iterable[int], size: int) -> "PartySet":
        """The set of these indices below `size`."""
        octets = bytearray((size + 7) // 8)
        for member in members:
            octets[member >> 3] |= 1 << (member & 7)
        return cls(bytes(octets))

    def __repr__(self) -> str:
        return f"PartySet({list(self)})"

    def __contains__(self, party: object) -> bool:
        return (
            isinstance(party, int)
            and 0 <= party < 8 * len(self.octets)
            and bool(self.octets[party >> 3] >> (party & 7) & 1)
        )

    def __iter__(self) -> Iterator[int]:
        bits = np.unpackbits(np.frombuffer(self.octets, np.uint8), bitorder="little")
        return iter(np.flatnonzero(bits).tolist())

    def __len__(self) -> int:
        return self._mask().bit_count()

    def __le__(self, other: Set[object]) -> bool:
        if isinstance(other, PartySet):
            return not self._mask() & ~other._mask()
        return super().__le__(other)

    def _mask(self) -> int:
        return int.from_bytes(self.octets, "little")


class Reader:
    """Reads one message from a party, from front to back. Errors name the party."""

    def __init__(self, data: bytes, party: int) -> None:
        self._data = data
        self._at = 0
        self.party = party
        self.size = len(data)

    def error(self, reason: str, code: Code = Code.MALFORMED) -> DecodeError:
        """The exception to raise for these bytes."""
        return DecodeError(self.party, reason, code)

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        end = self._at + length
        if end > len(self._data):
            raise self.error(f"message of {len(self._data)} bytes ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _unpack(self, code: str, length: int) -> int:
        value: int = struct.unpack("<" + code, self.take(length))[0]
        return value

    def u8(self) -> int:
        """An unsigned byte."""
        return self._unpack("B", 1)

    def u32(self) -> int:
        """An unsigned 32-bit integer."""
        return self._unpack("I", 4)

    def u64(self) -> int:
        """An unsigned 64-bit integer."""
        return self._unpack("Q", 8)

    def i64(self) -> int:
        """A signed 64-bit integer."""
        return self._unpack("q", 8)

    def f64(self) -> float:
        """An IEEE 754 double."""
        value: float = struct.unpack("<d", self.take(8))[0]
        return value

    def bitmap(self, size: int) -> "PartySet":
        """A set of indices below `size`."""
        octets = self.take((size + 7) // 8)
        if size % 8 and octets[-1] >> size % 8:
            raise self.error("padding of a bitmap is not zero")
        return PartySet(octets)

    def end(self) -> None:
        """Refuses left-over bytes."""
        if self._at != len(self._data):
            raise self.error(f"{len(self._data) - self._at} bytes too many")

    def header(self) -> tuple[int, bytes]:
        """Type and session of the message; refuses other formats and versions by name."""
        if self.take(len(MAGIC)) != MAGIC:
            raise self.error("not a secagg message")
        version = self.u8()
        if version != VERSION:
            raise self.error(
                f"wire version {version}, this library speaks version {VERSION}", Code.VERSION
            )
        return self.u8(), self.take(SESSION_BYTES)


def open_message(data: object, party: int, session: bytes) -> tuple[int, Reader, bytes]:
    """Type, body still to be read, and digest of a message that must belong to a session.

    Raises:
        LocalProtocolError: not bytes.
        DecodeError: not of this format, version or session.
    """
    message = as_bytes(data)
    reader = Reader(message, party)
    kind, of = reader.header()
    if of != session:
        raise reader.error("message of another session", Code.SESSION)
    return kind, reader, hashlib.blake2b(message).digest()


def header(kind: MessageType, session: bytes) -> bytes:
    """The 20 bytes that begin a message."""
    return MAGIC + bytes((VERSION, kind)) + session


def u8(value: int) -> bytes:
    """An unsigned byte."""
    return struct.pack("<B", value)


def u32(value: int) -> bytes:
    """An unsigned 32-bit integer."""
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    """An unsigned 64-bit integer."""
    return struct.pack("<Q", value)


def i64(value: int) -> bytes:
    """A signed 64-bit integer."""
    return struct.pack("<q", value)


def f64(value: float) -> bytes:
    """An IEEE 754 double."""
    return struct.pack("<d", value)


def bitmap(members: Iterable[int], size: int) -> bytes:
    """The encoding of a set of indices below `size`."""
    if isinstance(members, PartySet):
        return members.octets.ljust((size + 7) // 8, b"\0")
    return PartySet.of(members, size).octets
