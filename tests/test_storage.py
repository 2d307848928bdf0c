"""Stored state is read as it was written, and a body that is anything else is a typed error.

Bodies are sealed, so wrong ones come from the library itself: from a bug, or another version.
"""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairwise.restarts import four
from refusals import refused

from secagg import Code, Dropped, Mode, Phase, StateError
from secagg.errors import SERVER
from secagg.machine.storage import (
    BYTES,
    DROPPED,
    FLAG,
    TEXT,
    Piece,
    Table,
    bytes_of,
    dict_of,
    list_of,
    member_of,
    number_below,
    parties,
    read_attributes,
    read_whole,
    secret_of,
    write_attributes,
)
from secagg.machine.wire import PartySet, Reader, u32, u64
from secagg.pairwise import stored
from secagg.primitives.secret import Secret

TABLES = {
    f"{side}, {mode}": table(four(mode))
    for side, table in (("client", stored._client_memory), ("server", stored._server_memory))
    for mode in Mode
}

WRITTEN: dict[str, tuple[Piece, object]] = {
    "number": (number_below(2**64), 2**64 - 1),
    "flag": (FLAG, True),
    "bytes": (BYTES, b"\0 some bytes"),
    "no bytes": (BYTES, b""),
    "text": (TEXT, "why a party dropped, in ünicode"),
    "secret": (secret_of(16), Secret(b"16 secret bytes.")),
    "enum": (member_of(Phase), Phase.UNMASK),
    "parties": (parties(11), PartySet.of([0, 7, 10], 11)),
    "list": (list_of(TEXT, 3), ["a", "", "b"]),
    "nested": (dict_of(dict_of(BYTES, [2]), range(4)), {3: {}, 1: {2: b"x"}}),
    "dropped": (DROPPED, Dropped(3, "no share keys in time", Code.TIMEOUT)),
}


def read(table: Table, body: bytes) -> dict[str, object]:
    return read_whole(Reader(body, SERVER), lambda reader: read_attributes(table, reader))


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_read(name: str) -> None:
    """Alone, between others, and with a byte missing or too many."""
    piece, value = WRITTEN[name]
    table: Table = {"before": TEXT, "this": piece, "after": number_below(8)}

    class Holder:
        before, this, after = "text", value, 7

    body = write_attributes(table, Holder)
    assert read(table, body) == {"before": "text", "this": value, "after": 7}
    for wrong in (body[:-1], body + b"\0"):
        with refused(StateError, Code.CORRUPT):
            read(table, wrong)


def test_a_wiped_secret_stays_wiped() -> None:
    """It is stored as no bytes at all."""
    secret = Secret(b"16 secret bytes.")
    secret.wipe()
    body = secret_of(16).write(secret)
    assert b"secret" not in body
    assert not secret_of(16).read(Reader(body, SERVER))


@pytest.mark.parametrize("name", TABLES)
@given(body=st.binary(max_size=600))
def test_any_other_body_is_a_typed_error(name: str, body: bytes) -> None:
    """Nothing but StateError, whatever the bytes are."""
    with refused(StateError, Code.CORRUPT):
        read(TABLES[name], body)


@pytest.mark.parametrize("size", [2**33, 2**62, 2**64 - 1])
def test_lengths_are_tested_before_memory_is_taken(size: int) -> None:
    """A sum of so many elements, bytes of this length, entries of this number: none is there."""
    total = {"total": TABLES["server, malicious"]["total"]}
    tables: list[Table] = [total, {"bytes": BYTES}, {"text": TEXT}, {"secret": secret_of(16)}]
    tracemalloc.start()
    try:
        for table in tables:
            with refused(StateError, Code.CORRUPT):
                read(table, u64(size))
        for item in (dict_of(BYTES, range(4)), list_of(secret_of(16), 4)):
            with refused(StateError, Code.CORRUPT):
                read({"items": item}, b"\xff" * 8)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_names_that_this_version_does_not_know() -> None:
    """A state or a code of another version."""
    for piece, body in (
        (member_of(Phase), b"\xff"),
        (DROPPED, b"\0" * 4 + TEXT.write("reason") + TEXT.write("no_such_code")),
        (TEXT, BYTES.write(b"\xff")),
    ):
        with refused(StateError, Code.CORRUPT):
            read({"this": piece}, body)


@pytest.mark.parametrize(
    ("piece", "body"),
    [
        (number_below(4), u64(4)),
        (bytes_of(0, 2), BYTES.write(b"1")),
        (secret_of(2), BYTES.write(b"1")),
        (list_of(FLAG, 1), u32(2) + b"\0\0"),
        (dict_of(FLAG, range(2)), u32(1) + u32(2) + b"\0"),
        (dict_of(FLAG, range(2)), u32(2) + 2 * (u32(1) + b"\0")),
    ],
    ids=["number", "bytes", "secret", "list", "unknown key", "repeated key"],
)
def test_values_outside_their_range(piece: Piece, body: bytes) -> None:
    """A number, a length, a count or a key that this piece never writes."""
    with refused(StateError, Code.CORRUPT):
        read({"this": piece}, body)
