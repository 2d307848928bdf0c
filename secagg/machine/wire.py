"""Encoding of headers, integers and bitmaps; every length is known before it is read.

`docs/WIRE.md` describes the format byte by byte.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Set
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
    """Returns a message as immutable bytes; raises LocalProtocolError if it is not bytes."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise LocalProtocolError(
            f"a message must be bytes, not {type(data).__name__}", Code.ARGUMENT
        )
    return bytes(data)


class PartySet(Set[int]):
    """A set of party indices, kept as a bitmap with one bit per party.

    Args:
        octets: the encoding; party i is bit i mod 8 (least significant first) of byte i div 8.
    """

    __slots__ = ("octets",)

    def __init__(self, octets: bytes = b"") -> None:
        self.octets: Final = octets

    @classmethod
    def of(cls, members: Iterable[int], size: int) -> "PartySet":
        """Returns the set of these indices, all below `size`."""
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
        return iter(self.indices().tolist())

    def indices(self) -> NDArray[np.intp]:
        """Returns the members as an array, ascending."""
        bits = np.unpackbits(np.frombuffer(self.octets, np.uint8), bitorder="little")
        return np.flatnonzero(bits)

    def __len__(self) -> int:
        return self._mask().bit_count()

    def __le__(self, other: Set[object]) -> bool:
        if isinstance(other, PartySet):
            return not self._mask() & ~other._mask()
        return super().__le__(other)

    def _mask(self) -> int:
        return int.from_bytes(self.octets, "little")


class Reader:
    """Reads one message of a party from front to back; its errors name the party."""

    def __init__(self, data: bytes, party: int) -> None:
        self._data = data
        self._at = 0
        self.party = party
        self.size = len(data)

    def error(self, reason: str, code: Code = Code.MALFORMED) -> DecodeError:
        """Returns the exception to raise about these bytes."""
        return DecodeError(self.party, reason, code)

    def take(self, length: int) -> bytes:
        """Reads the next `length` bytes."""
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
        """Reads an unsigned byte."""
        return self._unpack("B", 1)

    def u32(self) -> int:
        """Reads an unsigned 32-bit integer."""
        return self._unpack("I", 4)

    def u64(self) -> int:
        """Reads an unsigned 64-bit integer."""
        return self._unpack("Q", 8)

    def i64(self) -> int:
        """Reads a signed 64-bit integer."""
        return self._unpack("q", 8)

    def f64(self) -> float:
        """Reads an IEEE 754 double."""
        value: float = struct.unpack("<d", self.take(8))[0]
        return value

    def bitmap(self, size: int) -> "PartySet":
        """Reads a set of indices below `size`; padding bits must be zero."""
        octets = self.take((size + 7) // 8)
        if size % 8 and octets[-1] >> size % 8:
            raise self.error("the padding bits of a bitmap are not zero")
        return PartySet(octets)

    def expect(self, length: int) -> None:
        """Rejects the message unless exactly `length` bytes are left to read.

        A decoder calls it before it does anything for each of many parties.
        """
        left = len(self._data) - self._at
        if left < length:
            raise self.error(f"message of {len(self._data)} bytes ends too early")
        if left > length:
            raise self.error(f"{left - length} bytes too many")

    def digest(self) -> bytes:
        """Returns the digest of the whole message, by which a repetition is known."""
        return hashlib.blake2b(self._data).digest()

    def rest(self) -> bytes:
        """Reads all that is left."""
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        """Rejects bytes that are left over."""
        self.expect(0)

    def header(self) -> tuple[int, bytes]:
        """Reads the header; returns type and session, and rejects other formats and versions."""
        if self.take(len(MAGIC)) != MAGIC:
            raise self.error("not a secagg message")
        version = self.u8()
        if version != VERSION:
            raise self.error(
                f"wire version {version}, this library speaks version {VERSION}", Code.VERSION
            )
        return self.u8(), self.take(SESSION_BYTES)


def open_message(data: object, party: int, session: bytes, largest: int) -> tuple[int, Reader]:
    """Reads the header of a message, and nothing else of it.

    Args:
        data: the message.
        party: its sender.
        session: the session that it must be of.
        largest: the most bytes that a message can have.

    Returns:
        The message type, and a reader that stands at the body.

    Raises:
        LocalProtocolError: `data` is not bytes.
        DecodeError: the message is of another format, version or session, or too long.
    """
    reader = Reader(as_bytes(data), party)
    kind, of = reader.header()
    if of != session:
        raise reader.error("the message is of another session", Code.SESSION)
    if reader.size > largest:
        raise reader.error(
            f"message of {reader.size} bytes, and none has more than {largest} in this round"
        )
    return kind, reader


def header(kind: MessageType, session: bytes) -> bytes:
    """Encodes the 20 bytes with which a message begins."""
    return MAGIC + bytes((VERSION, kind)) + session


def u8(value: int) -> bytes:
    """Encodes an unsigned byte."""
    return struct.pack("<B", value)


def u32(value: int) -> bytes:
    """Encodes an unsigned 32-bit integer."""
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    """Encodes an unsigned 64-bit integer."""
    return struct.pack("<Q", value)


def i64(value: int) -> bytes:
    """Encodes a signed 64-bit integer."""
    return struct.pack("<q", value)


def f64(value: float) -> bytes:
    """Encodes an IEEE 754 double."""
    return struct.pack("<d", value)


def bitmap(members: Iterable[int], size: int) -> bytes:
    """Encodes a set of indices below `size`, one bit per index."""
    if isinstance(members, PartySet):
        return members.octets.ljust((size + 7) // 8, b"\0")
    return PartySet.of(members, size).octets
