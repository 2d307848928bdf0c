"""Domain separation: labels, and hashes of lists of parts."""

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference import protocol

from secagg.primitives.labels import DIGEST_BYTES, Label, hash_parts, kdf

parts_lists = st.lists(st.binary(max_size=20), max_size=6)


def by_hand(key: bytes, label: bytes, *parts: bytes) -> bytes:
    """The construction of docs/WIRE.md, written out."""
    message = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
    person = label + bytes(16 - len(label))
    return hashlib.blake2b(message, digest_size=32, key=key, person=person).digest()


def test_labels_are_distinct_after_padding() -> None:
    """BLAKE2b pads the personalisation with zeros: no label is another one with zeros behind."""
    padded = {label.value.ljust(16, b"\0") for label in Label}
    assert len(padded) == len(Label) == len(Label.__members__)
    for label in Label:
        assert 0 < len(label.value) <= 16
        assert label.value.isascii()
        assert b"\0" not in label.value


def test_the_labels_of_the_wire_format() -> None:
    """The labels that docs/WIRE.md names are there under these bytes: changing one breaks v0."""
    named = {
        *("params", "h0", "h1", "h2", "mask key", "self mask", "self commitment"),
        *("pairwise mask", "share channel", "input checksum"),
    }
    assert named <= {label.value.decode() for label in Label}


def test_known_answer() -> None:
    """The empty list under the label h0, from RFC 7693 by way of hashlib alone."""
    empty = hashlib.blake2b(digest_size=32, person=b"h0" + bytes(14)).digest()
    assert hash_parts(Label.H0) == empty
    assert hash_parts(Label.H0) != hash_parts(Label.H0, b"")


@given(st.sampled_from(Label), parts_lists, st.binary(min_size=16, max_size=64))
def test_both_constructions(label: Label, parts: list[bytes], key: bytes) -> None:
    """H and kdf are what docs/WIRE.md says, by hand and by the reference model."""
    text = label.value.decode()
    assert hash_parts(label, *parts) == by_hand(b"", label.value, *parts)
    assert hash_parts(label, *parts) == protocol.hashed(text, *parts)
    assert kdf(key, label, *parts) == by_hand(key, label.value, *parts)
    assert kdf(key, label, *parts) == protocol.kdf(key, text, *parts)
    assert len(kdf(key, label, *parts)) == DIGEST_BYTES == 32


@given(parts_lists, parts_lists)
def test_two_lists_never_hash_alike(a: list[bytes], b: list[bytes]) -> None:
    """Other parts, another hash."""
    assume(a != b)
    assert hash_parts(Label.H1, *a) != hash_parts(Label.H1, *b)


@given(st.binary(max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_where_parts_are_cut_matters(data: bytes, one: int, other: int) -> None:
    """The same bytes cut in two at different places are different lists."""
    assume(min(one, len(data)) != min(other, len(data)))
    assert hash_parts(Label.H1, data[:one], data[one:]) != hash_parts(
        Label.H1, data[:other], data[other:]
    )


def test_a_part_that_imitates_a_length_does_not_collide() -> None:
    """A part with another part's encoding in it is not the two parts."""
    inner = (1).to_bytes(4, "little") + b"a"
    assert hash_parts(Label.H1, b"a", b"a") != hash_parts(Label.H1, b"a" + inner)
    assert hash_parts(Label.H1, b"a", b"") != hash_parts(Label.H1, b"a")
    assert hash_parts(Label.H1, b"", b"a") != hash_parts(Label.H1, b"a", b"")


def test_labels_and_keys_separate() -> None:
    """One list under all labels and several keys: all different."""
    hashes = {hash_parts(label, b"x") for label in Label}
    hashes |= {kdf(bytes([k]) * 32, label, b"x") for label in Label for k in range(4)}
    hashes |= {kdf(bytes(size), Label.H0, b"x") for size in range(16, 65)}
    assert len(hashes) == len(Label) * 5 + 49 - 1  # 32 zero bytes came twice


@pytest.mark.parametrize("size", [0, 1, 15, 65, 100])
def test_keys_of_other_lengths_are_refused(size: int) -> None:
    """A short key would be guessable, and BLAKE2b takes no longer one than 64 bytes."""
    with pytest.raises(ValueError, match=f"16 to 64 bytes, not {size}"):
        kdf(bytes(size), Label.H0)
