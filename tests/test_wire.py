"""The codec: every integer, bitmap and header of docs/WIRE.md, forwards and backwards."""

import math
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import protocol
from refusals import refused

from secagg import SERVER, Code, DecodeError
from secagg.machine import wire
from secagg.machine.wire import HEADER_BYTES, MAGIC, SESSION_BYTES, VERSION, MessageType, Reader

DOCS = Path(__file__).parents[1] / "docs"
SESSION = bytes(range(16))

INTEGERS: dict[str, tuple[Callable[[int], bytes], int, int, int]] = {
    "u8": (wire.u8, 1, 0, 2**8 - 1),
    "u32": (wire.u32, 4, 0, 2**32 - 1),
    "u64": (wire.u64, 8, 0, 2**64 - 1),
    "i64": (wire.i64, 8, -(2**63), 2**63 - 1),
}

every_integer = pytest.mark.parametrize("name", INTEGERS)


# -- integers and doubles ---------------------------------------------------------------------


@every_integer
def test_integers_are_little_endian(name: str) -> None:
    """Fixed width, least significant byte first, and back; the ends of the range included."""
    write, size, low, high = INTEGERS[name]
    for value in (low, low + 1, 0, 1, 2, 127, high // 3, high - 1, high):
        data = write(value)
        assert data == (value % 2 ** (8 * size)).to_bytes(size, "little")
        reader = Reader(data, 0)
        assert getattr(reader, name)() == value
        reader.end()


@every_integer
def test_integers_out_of_range_are_not_written(name: str) -> None:
    """No value is cut to fit."""
    write, _, low, high = INTEGERS[name]
    for value in (low - 1, high + 1):
        with pytest.raises(struct.error):
            write(value)


@given(st.floats())
def test_doubles(value: float) -> None:
    """IEEE 754, eight bytes, with the sign of zero and the bits of a NaN."""
    data = wire.f64(value)
    assert data == struct.pack("<d", value)
    back = Reader(data, 0).f64()
    assert back == value or (math.isnan(back) and math.isnan(value))
    assert math.copysign(1, back) == math.copysign(1, value)


@pytest.mark.parametrize(
    ("name", "size"), [("u8", 1), ("u32", 4), ("u64", 8), ("i64", 8), ("f64", 8)]
)
def test_a_message_that_ends_too_early(name: str, size: int) -> None:
    """Every field of every shorter length is refused, and nothing is taken."""
    for length in range(size):
        reader = Reader(bytes(length), 3)
        with refused(
            DecodeError, Code.MALFORMED, match=f"party 3: message of {length} bytes ends too early"
        ):
            getattr(reader, name)()
        assert reader.take(length) == bytes(length)
        reader.end()


def test_take() -> None:
    """Bytes from front to back; none are skipped, none read twice."""
    reader = Reader(b"abcdef", 0)
    assert (reader.take(2), reader.take(0), reader.take(3)) == (b"ab", b"", b"cde")
    with refused(DecodeError, Code.MALFORMED):
        reader.take(2)
    assert reader.take(1) == b"f"
    reader.end()


def test_left_over_bytes_are_refused() -> None:
    """A message ends where its last field does."""
    reader = Reader(b"abc", SERVER)
    for left in (3, 2, 1):
        with refused(DecodeError, Code.MALFORMED, match=f"the server: {left} bytes too many"):
            reader.end()
        reader.take(1)
    reader.end()


# -- bitmaps ----------------------------------------------------------------------------------


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_bitmaps(case: tuple[int, set[int]]) -> None:
    """Party i is bit i mod 8 of byte i div 8; members come back in ascending order."""
    size, members = case
    data = wire.bitmap(members, size)
    assert len(data) == (size + 7) // 8
    for i in range(8 * len(data)):
        assert data[i // 8] >> i % 8 & 1 == (i in members)
    assert data == protocol.bitmap(members, size)
    reader = Reader(data, 0)
    found = reader.bitmap(size)
    assert list(found) == sorted(members)
    reader.end()
    for stranger in (-1, *range(size, 10 * len(data)), size + 10**6, "0", None, 0.0):
        assert stranger not in found


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 15, 16, 17, 1000, 65536])
def test_the_padding_of_a_bitmap_is_zero(size: int) -> None:
    """A member beyond the cohort is refused, so each set has one encoding."""
    length = (size + 7) // 8
    full = wire.bitmap(range(size), size)
    assert list(Reader(full, 0).bitmap(size)) == list(range(size))
    for bit in range(size, 8 * length):
        altered = bytearray(full)
        altered[bit // 8] |= 1 << bit % 8
        with refused(DecodeError, Code.MALFORMED, match="party 9: "):
            Reader(bytes(altered), 9).bitmap(size)
    with refused(DecodeError, Code.MALFORMED, match="party 9: "):
        Reader(full[:-1], 9).bitmap(size)


def test_a_member_counts_once() -> None:
    """A bitmap is a set."""
    assert wire.bitmap([3, 3, 0], 8) == b"\x09"


# -- headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MessageType)
def test_headers(kind: MessageType) -> None:
    """Magic, version, type and session in 20 bytes."""
    data = wire.header(kind, SESSION)
    assert data == b"SA" + bytes([1, kind]) + SESSION
    assert (MAGIC, VERSION, SESSION_BYTES, HEADER_BYTES) == (b"SA", 1, 16, 20)
    assert len(data) == HEADER_BYTES
    reader = Reader(data, 0)
    assert reader.header() == (kind, SESSION)
    reader.end()


def test_other_magics_and_versions_are_refused_by_name() -> None:
    """Whoever sent something else is told what this library speaks."""
    good = wire.header(MessageType.OFFER, SESSION)
    for data in (b"sa" + good[2:], b"AS" + good[2:], bytes(20), b"{}" + good[2:]):
        with refused(DecodeError, Code.MALFORMED, match="party 1: "):
            Reader(data, 1).header()
    for version in (0, 2, 255):
        with refused(
            DecodeError, Code.VERSION, match=f"version {version}, this library speaks version 1"
        ):
            Reader(b"SA" + bytes([version]) + good[3:], 1).header()
    for length in range(20):
        with refused(DecodeError, Code.MALFORMED):
            Reader(good[:length], 1).header()


def test_the_types_are_those_of_the_document() -> None:
    """The tables of all protocols and the enum say the same, and the server's have bit 4 set."""
    text = "".join(path.read_text() for path in sorted(DOCS.glob("*.md")))
    rows = re.findall(r"^\| 0x(\w\w) \| ([a-z ]+) \| (server|client|helper) \|", text, re.M)
    documented = {name.replace(" ", "_").upper(): int(code, 16) for code, name, _ in rows}
    assert documented == {kind.name: int(kind) for kind in MessageType}
    for code, _, sender in rows:
        assert bool(int(code, 16) & 0x10) == (sender == "server")


def test_errors_name_the_party() -> None:
    """A reader's errors carry the party whose bytes they are."""
    for party, name in ((0, "party 0"), (17, "party 17"), (SERVER, "the server")):
        error = Reader(b"", party).error("wrong")
        assert isinstance(error, DecodeError)
        assert (error.party, error.reason, str(error)) == (party, "wrong", f"{name}: wrong")
