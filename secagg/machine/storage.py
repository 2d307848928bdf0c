"""The layout of stored state: one `Piece` per kind of value.

A machine lists its attributes in a table of pieces, and they are written and read in that order.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..codes import Code
from ..errors import DecodeError, StateError
from ..events import Dropped
from ..primitives.secret import Secret
from .wire import PartySet, Reader, bitmap, u8, u32, u64

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True)
class Piece(Generic[T]):
    """The writer and the reader of one kind of value; the reader finds the end by itself."""

    write: Callable[[T], bytes]
    read: Callable[[Reader], T]


Table = Mapping[str, Piece[Any]]


def _write_bytes(data: bytes) -> bytes:
    return u64(len(data)) + data


def _read_bytes(reader: Reader) -> bytes:
    return reader.take(reader.u64())


def number_below(limit: int) -> Piece[int]:
    """Returns the piece for a number in 0..limit-1, where limit is at most 2**64."""

    def read(reader: Reader) -> int:
        number = reader.u64()
        if number >= limit:
            raise reader.error(f"a number is {number}, and must be below {limit}")
        return number

    return Piece(u64, read)


def bytes_of(*sizes: int) -> Piece[bytes]:
    """Returns the piece for bytes of which there are so many, for example a hash or none."""

    def read(reader: Reader) -> bytes:
        data = _read_bytes(reader)
        if len(data) not in sizes:
            raise reader.error(f"{len(data)} bytes where {' or '.join(map(str, sizes))} belong")
        return data

    return Piece(_write_bytes, read)


def secret_of(size: int) -> Piece[Secret]:
    """Returns the piece for a secret of so many bytes.

    A wiped secret is stored with length zero, and read back as a wiped secret.
    """
    data = bytes_of(0, size)
    return Piece(
        lambda secret: data.write(secret.expose() if secret else b""),
        lambda reader: Secret(data.read(reader)),
    )


FLAG: Final[Piece[bool]] = Piece(u8, lambda reader: bool(reader.u8()))
BYTES: Final[Piece[bytes]] = Piece(_write_bytes, _read_bytes)
TEXT: Final[Piece[str]] = Piece(
    lambda text: _write_bytes(text.encode()), lambda reader: _read_bytes(reader).decode()
)


def member_of(kind: type[E]) -> Piece[E]:
    """Returns the piece for a member of an enum, stored as its position."""
    members = list(kind)

    def read(reader: Reader) -> E:
        number = reader.u8()
        if number >= len(members):
            raise reader.error(f"{kind.__name__} has {len(members)} members, not {number + 1}")
        return members[number]

    return Piece(lambda member: u8(members.index(member)), read)


def parties(cohort: int) -> Piece[PartySet]:
    """Returns the piece for a set of indices below `cohort`."""
    return Piece(lambda members: bitmap(members, cohort), lambda reader: reader.bitmap(cohort))


def ascending_parties(cohort: int) -> Piece[tuple[int, ...]]:
    """Returns the piece for ascending indices below `cohort`."""
    return Piece(
        lambda members: bitmap(members, cohort), lambda reader: tuple(reader.bitmap(cohort))
    )


def list_of(item: Piece[T], most: int) -> Piece[list[T]]:
    """Returns the piece for a list of at most so many items."""

    def read(reader: Reader) -> list[T]:
        count = reader.u32()
        if count > most:
            raise reader.error(f"a list has {count} items, and may have {most}")
        return [item.read(reader) for _ in range(count)]

    return Piece(lambda items: u32(len(items)) + b"".join(map(item.write, items)), read)


def dict_of(item: Piece[T], keys: Container[int]) -> Piece[dict[int, T]]:
    """Returns the piece for a dict whose keys, parties or message types, are some of these."""

    def write(items: dict[int, T]) -> bytes:
        parts: Iterable[bytes] = (u32(key) + item.write(value) for key, value in items.items())
        return u32(len(items)) + b"".join(parts)

    def read(reader: Reader) -> dict[int, T]:
        items: dict[int, T] = {}
        for _ in range(reader.u32()):
            key = reader.u32()
            if key in items or key not in keys:
                raise reader.error(f"the key {key} is unknown, or comes twice")
            items[key] = item.read(reader)
        return items

    return Piece(write, read)


def vector_of(field: Field) -> Piece[Vector]:
    """Returns the piece for a vector of elements of a field."""

    def read(reader: Reader) -> Vector:
        size = reader.u64()
        packed = reader.take(field.packed_bytes(size))  # before memory is taken for a wrong size
        return field.unpack_add(field.zeros(size), packed)

    return Piece(lambda vector: u64(vector.size) + field.pack(vector), read)


_CODES: Final = {code.value: code for code in Code}


def _read_dropped(reader: Reader) -> Dropped:
    party, reason, name = reader.u32(), TEXT.read(reader), TEXT.read(reader)
    code = _CODES.get(name)
    if code is None:
        raise reader.error(f"there is no code {name!r}")
    return Dropped(party, reason, code)


DROPPED: Final[Piece[Dropped]] = Piece(
    lambda dropped: u32(dropped.party) + TEXT.write(dropped.reason) + TEXT.write(dropped.code),
    _read_dropped,
)


def write_attributes(table: Table, value: object) -> bytes:
    """Encodes the attributes of an object that the table names, in the order of the table."""
    return b"".join(piece.write(getattr(value, name)) for name, piece in table.items())


def read_attributes(table: Table, reader: Reader) -> dict[str, Any]:
    """Reads what `write_attributes` wrote; returns the values by name."""
    return {name: piece.read(reader) for name, piece in table.items()}


def read_whole(reader: Reader, read: Callable[[Reader], T]) -> T:
    """Reads a whole body and checks that nothing is left over.

    Raises:
        StateError: the body is not in the layout that this version writes. The seal was intact,
            so the library itself wrote it in this form.
    """
    try:
        value = read(reader)
        reader.end()
    except (DecodeError, ValueError) as error:
        raise StateError(f"stored state cannot be read: {error}", Code.CORRUPT) from None
    return value
