"""Envelopes: their bytes, the one encoding of each, and that any other bytes are refused."""

import re
import string
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from levels import amount
from refusals import refused

from secagg import SERVER, Code, DecodeError, Identity, LocalProtocolError, ParameterError
from secagg.drivers import envelope as envelopes
from secagg.drivers.envelope import (
    LARGEST_INVITATION,
    LARGEST_OFFER,
    LARGEST_SHORT,
    NO_SESSION,
    Ask,
    Envelope,
    Hello,
    Invitation,
    Kind,
    Over,
    Refusal,
    Rejection,
    is_envelope,
    opened,
    seal,
)
from secagg.texts import one_line

SESSION = bytes(range(16))
KEY = bytes(range(100, 132))

# Written by hand from docs/DRIVERS.md.
KNOWN: dict[str, tuple[Envelope, str]] = {
    "hello": (
        Hello("site-1", "0.1.0", (1,), KEY),
        "5344010106000000736974652d3105000000302e312e30010120" + KEY.hex(),
    ),
    "hello of nobody": (Hello(), "534401010000000000000000010100"),
    "refusal": (
        Refusal(SESSION, "policy", "zu groß"),
        "53440102" + SESSION.hex() + "06000000706f6c696379080000007a752067726fc39f",
    ),
    "invitation": (
        Invitation(b"\xaa\xbb", 1, (3, 256), 2),
        "534401100100000002000000020000000300000000010000aabb",
    ),
    "invitation of all": (Invitation(b"\xaa", 7), "53440110070000000000000000000000aa"),
    "ask": (Ask(b"\x01\x02\x03", b"\xff"), "534401110300000000000000010203ff"),
    "over": (
        Over(SESSION, "", "", 5),
        "53440112" + SESSION.hex() + "000000000000000005000000",
    ),
    "over, failed": (
        Over(SESSION, "quorum", "2 left"),
        "53440112" + SESSION.hex() + "0600000071756f72756d0600000032206c65667400000000",
    ),
    "rejection": (
        Rejection(NO_SESSION, "version", "v2"),
        "53440113" + "00" * 16 + "0700000076657273696f6e020000007632",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_bytes_are_those_of_the_document(name: str) -> None:
    """In both directions; no shorter and no longer bytes are an envelope."""
    envelope, hexadecimal = KNOWN[name]
    data = bytes.fromhex(hexadecimal)
    assert seal(envelope) == data
    assert opened(data, 3) == envelope
    assert opened(bytearray(data), 3) == envelope  # type: ignore[arg-type]
    assert is_envelope(data)
    open_ended = isinstance(envelope, Invitation | Ask)  # the last field is all that is left
    for size in range(len(data) - (1 if open_ended else 0)):
        with pytest.raises(DecodeError):
            opened(data[:size], 3)
    if not open_ended:
        with refused(DecodeError, Code.MALFORMED, "party 3: 1 bytes too many"):
            opened(data + b"\0", 3)


def test_every_kind_is_known_here() -> None:
    """The tests above leave none out, and no message of the protocol is one."""
    assert {type(envelope).kind for envelope, _ in KNOWN.values()} == set(Kind)
    assert not is_envelope(b"SA\1\1" + bytes(50))
    assert not is_envelope(b"S")
    with refused(DecodeError, Code.MALFORMED, "not an envelope"):
        opened(b"SA\1\1" + bytes(50), 0)


def test_the_kinds_are_those_of_the_document() -> None:
    """With the sizes that a reader need not go beyond, and bit 4 set in those of a server."""
    text = (Path(__file__).parents[2] / "docs" / "DRIVERS.md").read_text()
    row = r"^\| ([a-z]+) \| 0x(\w\w) \| (client|server) \| .* \| ([^|]+) \|$"
    found = {name: each for name, *each in re.findall(row, text, re.MULTILINE)}
    assert {name.upper(): int(code, 16) for name, (code, *_) in found.items()} == dict(
        Kind.__members__
    )
    for name, (code, sender, largest) in found.items():
        assert bool(int(code, 16) & 0x10) is (sender == "server")
        limit = LARGEST_INVITATION if name == "invitation" else LARGEST_SHORT
        assert name == "ask" or int(largest.replace(",", "")) == limit


# ---- any value, any bytes ----------------------------------------------------------------------

LETTERS = string.ascii_letters + string.digits
codes = st.text(string.ascii_lowercase + string.digits + "_", min_size=1, max_size=64)
texts = st.text(max_size=400)
sessions = st.binary(min_size=16, max_size=16)
indices = st.integers(0, 2**16 - 1)
members = st.sets(indices, min_size=1, max_size=20).map(lambda some: tuple(sorted(some)))
values: st.SearchStrategy[Envelope] = st.one_of(
    st.builds(
        Hello,
        st.just("") | st.text(LETTERS + "._@-", max_size=63).map(lambda some: f"a{some}"),
        st.text(LETTERS + ".+!_-", max_size=64),
        st.sets(st.integers(0, 255), min_size=1, max_size=16).map(lambda some: tuple(sorted(some))),
        st.just(b"") | st.binary(min_size=32, max_size=32),
    ),
    st.builds(Refusal, sessions, codes, texts),
    st.builds(Rejection, sessions, codes, texts),
    st.builds(Over, sessions, st.just("") | codes, texts, indices),
    st.builds(Ask, st.binary(max_size=300), st.binary(min_size=1, max_size=300)),
    st.builds(Invitation, st.binary(min_size=1, max_size=300), indices, attempt=indices),
    members.flatmap(
        lambda some: st.builds(
            Invitation, st.binary(min_size=1), st.integers(0, len(some) - 1), st.just(some), indices
        )
    ),
)


@given(values)
def test_what_is_sealed_opens_as_it_was(envelope: Envelope) -> None:
    """Whatever its fields; a text is shown as one line."""
    data = seal(envelope)
    assert opened(data, SERVER) == envelope
    if not isinstance(envelope, Ask | Invitation):
        assert len(data) <= LARGEST_SHORT
    reason = getattr(envelope, "reason", "")
    assert reason == one_line(reason, 300)


def opened_if_possible(data: bytes) -> Envelope | None:
    """Opens what a party sent; the one exception that may come of it names the party."""
    try:
        return opened(data, 5)
    except DecodeError as error:
        if error.party != 5:
            raise
        return None


@given(st.sampled_from(sorted(KNOWN)), st.data())
def test_altered_bytes_raise_nothing_else(name: str, data: st.DataObject) -> None:
    """A byte changed, bytes left out or put in: another envelope, or DecodeError with the party."""
    known = bytes.fromhex(KNOWN[name][1])
    for _ in range(amount("altered envelopes of an example")):
        at = data.draw(st.integers(0, len(known) - 1))
        removed = data.draw(st.integers(0, 4))
        put_in = data.draw(st.binary(max_size=6))
        altered = known[:at] + put_in + known[at + removed :]
        envelope = opened_if_possible(altered)
        assert envelope is None or opened(seal(envelope), 5) == envelope


@given(st.sampled_from(list(Kind)), st.binary(max_size=200))
def test_any_bytes_raise_nothing_else(kind: Kind, body: bytes) -> None:
    """Behind the first four."""
    envelope = opened_if_possible(b"SD\1" + bytes([kind]) + body)
    assert envelope is None or type(envelope).kind is kind


NOT_CANONICAL = {
    "no UTF-8": "53440102" + "00" * 16 + "010000006102000000c328",
    "a surrogate": "53440102" + "00" * 16 + "010000006103000000eda080",
    "a code of capitals": "53440102" + "00" * 16 + "010000004100000000",
    "no code": "53440102" + "00" * 16 + "0000000000000000",
    "a long code": "53440102" + "00" * 16 + "41000000" + "61" * 65 + "00000000",
    "a long reason": "53440102" + "00" * 16 + "01000000612d010000" + "61" * 301,
    "a reason of 4 GB": "53440102" + "00" * 16 + "0100000061ffffffff" + "61" * 301,
    "a name with a line end": "53440101020000006f0a00000000010100",
    "a name of another alphabet": "5344010102000000d18100000000010100",
    "a name that begins with a dot": "53440101020000002e6100000000010100",
    "a long name": "5344010141000000" + "61" * 65 + "00000000010100",
    "a library of spaces": "53440101000000000100000020010100",
    "no version of the protocol": "5344010100000000000000000000",
    "versions that descend": "53440101000000000000000002020100",
    "seventeen versions": "53440101000000000000000011" + bytes(range(17)).hex() + "00",
    "half a key": "534401010000000000000000010110" + "00" * 16,
    "no offer": "53440110000000000000000000000000",
    "a large offer": "53440110000000000000000000000000" + "00" * (LARGEST_OFFER + 1),
    "members that descend": "534401100000000000000000020000000200000001000000aa",
    "a member twice": "534401100000000000000000020000000100000001000000aa",
    "a member outside all directories": "5344011000000000000000000100000000000100aa",
    "an index outside the members": "5344011001000000000000000100000000000000aa",
    "an index outside all cohorts": "53440110000001000000000000000000aa",
    "2^32 members": "534401100000000000000000ffffffff00000000aa",
    "a task of 2^64 bytes": "53440111ffffffffffffffff00",
    "no message": "53440111010000000000000000",
    "more survivors than parties": "53440112" + "00" * 24 + "01000100",
    "an unknown kind": "5344010300000000",
}


@pytest.mark.parametrize("kind", NOT_CANONICAL)
def test_what_is_not_canonical_is_refused(kind: str) -> None:
    with refused(DecodeError, Code.MALFORMED, "party 3: "):
        opened(bytes.fromhex(NOT_CANONICAL[kind]), 3)


def test_the_largest_are_read_and_no_larger() -> None:
    """Before anything of them is read: a server need not take more than these bytes."""
    largest = Refusal(SESSION, "c" * 64, "\N{MUSICAL SYMBOL G CLEF}" * 400)
    assert len(seal(largest)) < LARGEST_SHORT
    assert opened(seal(largest), 0) == largest
    everybody = Invitation(bytes(LARGEST_OFFER), 0, tuple(range(2**16)))
    assert len(seal(everybody)) < LARGEST_INVITATION
    assert opened(seal(everybody), SERVER) == everybody
    for kind in set(Kind) - {Kind.ASK}:
        limit = LARGEST_INVITATION if kind is Kind.INVITATION else LARGEST_SHORT
        with refused(DecodeError, Code.MALFORMED, f"of {limit + 1} bytes.*at most {limit}"):
            opened(b"SD\1" + bytes([kind]) + bytes(limit - 3), 0)
    task = Ask(bytes(10**6), b"m")
    assert opened(seal(task), SERVER) == task


WRONG = {
    "session": lambda: Refusal(b"short", "policy", ""),
    "code": lambda: Refusal(SESSION, "Too Small", ""),
    "no code": lambda: Rejection(SESSION, "", ""),
    "name": lambda: Hello("a b"),
    "type of a name": lambda: Hello(3),  # type: ignore[arg-type]
    "library": lambda: Hello(library="ä"),
    "wire": lambda: Hello(wire=()),
    "key": lambda: Hello(verify_key=b"short"),
    "index": lambda: Invitation(b"o", -1),
    "index among members": lambda: Invitation(b"o", 2, (4, 5)),
    "type of an index": lambda: Invitation(b"o", "0"),  # type: ignore[arg-type]
    "attempt": lambda: Invitation(b"o", 0, attempt=2**32),
    "members": lambda: Invitation(b"o", 0, (2, 1)),
    "type of a member": lambda: Invitation(b"o", 0, (0.5,)),  # type: ignore[arg-type]
    "offer": lambda: Invitation(b"", 0),
    "survivors": lambda: Over(SESSION, survivors=2**20),
    "message": lambda: Ask(b"", b""),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_be_opened_is_not_sealed(kind: str) -> None:
    says = "ascending, each once" if kind in ("members", "wire") else None
    with refused(ParameterError, Code.ARGUMENT, match=says):
        seal(WRONG[kind]())


def test_bytes_are_bytes() -> None:
    """Of whatever type; a text is none."""
    for wrong in (Ask("text", b"m"), Ask(b"", "text"), Invitation("text", 0)):  # type: ignore[arg-type]
        with refused(LocalProtocolError, Code.ARGUMENT, "bytes, not str"):
            seal(wrong)
    with refused(LocalProtocolError, Code.ARGUMENT, "bytes, not str"):
        opened("text", 0)  # type: ignore[arg-type]
    words = array("H", [1, 2])  # two elements, four bytes
    ask = Ask(memoryview(words), bytearray(b"m"))  # type: ignore[arg-type]
    assert opened(seal(ask), SERVER) == Ask(words.tobytes(), b"m")


def test_a_name_is_one_of_a_directory() -> None:
    """Any name that can be pinned can be said, and a verify key is that of an identity."""
    longest = "A" + "z" * 63
    assert opened(seal(Hello(longest)), 0) == Hello(longest)
    key = Identity.generate().verify_key
    assert opened(seal(Hello("a.b_c-d@e", verify_key=key)), 0).verify_key == key  # type: ignore[union-attr]


# ---- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 2, 255])
@pytest.mark.parametrize("name", KNOWN)
def test_another_version_is_refused_by_name(name: str, version: int) -> None:
    """With both versions, whatever its body is; only why a peer was rejected can be read."""
    envelope, hexadecimal = KNOWN[name]
    data = bytearray.fromhex(hexadecimal)
    data[2] = version
    if isinstance(envelope, Rejection):
        assert opened(data, SERVER) == envelope  # type: ignore[arg-type]
        return
    text = f"party 1: envelope version {version}, this library speaks version 1"
    with refused(DecodeError, Code.VERSION, text):
        opened(bytes(data), 1)
    with refused(DecodeError, Code.VERSION, text):
        opened(b"SD" + bytes([version, 0x77]) + bytes(10**6), 1)


def test_a_rejection_is_no_refusal() -> None:
    """A caller that handles the one does not get the other."""
    assert not isinstance(Rejection(SESSION, "version", ""), Refusal)
    assert envelopes.VERSION == 1
