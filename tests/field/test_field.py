"""One suite of the field for every implementation, every edge length and every width.

The judge is big-integer Python: object arrays for arithmetic, OpenSSL's keystreams for masks, and
integers written in base two for packing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from levels import amount, runs_at
from reference import mask, pack, unpack
from reference.arithmetic import stream, words
from refusals import refused
from support import (
    CIPHERS,
    each_kernel,
    every_cipher,
    every_width,
    family_named,
    implementations,
    looped,
)

from secagg import Code, Field, RangeError, Suite
from secagg.arithmetic.implementations import families, forced
from secagg.arithmetic.moduli import modulus

# The edges of bytes, of vector registers, and of the chunks of 1024 and 512 elements of the core.
LENGTHS = (
    *(0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129),
    *(511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097),
)
LONGEST = 4097
ROOM = LONGEST + 8
KEYS = [bytes([5 * k + 1]) * 16 + bytes(range(k, k + 16)) for k in range(40)]


def extremes(bits: int) -> list[int]:
    """The values at which additions and reductions go wrong first."""
    p = modulus(bits)
    return [0, 1, p - 1, p - 2, p // 2, p // 2 + 1, 1 << (bits - 1), 2]


@cache
def elements(bits: int, length: int = ROOM, seed: int = 0) -> np.ndarray:
    """Elements of the field as Python integers, read-only: extremes, the rest uniform.

    The extremes come in another rhythm for every seed up to 3, so that all pairs of them meet.
    """
    rng = np.random.default_rng((bits, length, seed))
    values = rng.integers(0, modulus(bits), length, np.uint64).astype(object)
    some = extremes(bits)
    for i in range(min(length, len(some) ** 2)):
        values[i] = some[i // len(some) ** seed % len(some)]
    values.flags.writeable = False
    return values


def windows(length: int = ROOM) -> Iterator[slice]:
    """Every edge length, at starts that are aligned to nothing."""
    for number, size in enumerate(LENGTHS):
        offset = number % (ROOM - LONGEST)
        assert offset + size <= length
        yield slice(offset, offset + size)


def field_implementations() -> Iterator[str]:
    """Forces each one in turn."""
    for name in family_named("field").usable:
        with forced("field", name):
            yield name


# -- arithmetic -------------------------------------------------------------------------------


def test_the_values_hold_every_pair_of_extremes() -> None:
    """The two operands of the tests below meet in all combinations of 0, 1, p - 1 and so on."""
    a, b = elements(20, seed=0), elements(20, seed=1)
    some = extremes(20)
    assert {(x, y) for x in some for y in some} <= set(zip(a.tolist(), b.tolist(), strict=True))


@implementations("field")
@every_width
def test_add_sub_neg(implementation: str, bits: int) -> None:
    """a + b, a - b and -a are those of big integers, at every edge length, in place or not."""
    field, p = Field(bits), modulus(bits)
    a, b = elements(bits, seed=0), elements(bits, seed=1)
    lane_a, lane_b = a.astype(field.dtype), b.astype(field.dtype)
    expected = {"add": (a + b) % p, "sub": (a - b) % p, "neg": -a % p}
    for name, values in expected.items():
        operation = getattr(field, name)
        wanted = values.astype(field.dtype)
        for at in windows():
            inputs = (lane_a[at],) if name == "neg" else (lane_a[at], lane_b[at])
            got = operation(*inputs)
            assert got.dtype == field.dtype
            np.testing.assert_array_equal(got, wanted[at], err_msg=f"{name} {at}")
            for number in range(len(inputs)):  # the result over the first or second input
                copies = [array.copy() for array in inputs]
                assert operation(*copies, out=copies[number]) is copies[number]
                np.testing.assert_array_equal(copies[number], wanted[at], err_msg=f"{name} {at}")
    np.testing.assert_array_equal(lane_a, a.astype(field.dtype))
    np.testing.assert_array_equal(lane_b, b.astype(field.dtype))


@implementations("field")
@every_width
def test_a_vector_with_itself(implementation: str, bits: int) -> None:
    """Both inputs and the output may be one and the same array."""
    field, p = Field(bits), modulus(bits)
    a = elements(bits, 65)
    twice = a.astype(field.dtype)
    field.add(twice, twice, out=twice)
    assert twice.tolist() == (2 * a % p).tolist()
    field.sub(twice, twice, out=twice)
    assert not twice.any()


@implementations("field")
@every_width
def test_scale(implementation: str, bits: int) -> None:
    """k * a for extreme and random factors; the products have up to 124 bits."""
    field, p = Field(bits), modulus(bits)
    a = elements(bits)
    lane = a.astype(field.dtype)
    rng = np.random.default_rng(bits)
    factors = [*extremes(bits), 3, int(rng.integers(p)), int(rng.integers(p))]
    for number, at in enumerate(windows()):
        factor = factors[number % len(factors)]
        wanted = (a[at] * factor % p).tolist()
        assert field.scale(lane[at], factor).tolist() == wanted
        copy = lane[at].copy()
        assert field.scale(copy, factor, out=copy) is copy
        assert copy.tolist() == wanted
    for factor in factors:
        assert field.scale(lane[:64], factor).tolist() == (a[:64] * factor % p).tolist()


@implementations("field")
@every_width
def test_sum_of_rows(implementation: str, bits: int) -> None:
    """The sum of any number of rows, none included, at every edge length."""
    field, p = Field(bits), modulus(bits)
    counts = (0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33)
    a = elements(bits, 33 * 129, seed=2)
    lane = a.astype(field.dtype)
    for number, length in enumerate(LENGTHS):
        fitting = [count for count in counts if count * length <= a.size]
        count = fitting[number % len(fitting)]
        rows = lane[: count * length].reshape(count, length)
        wanted = a[: count * length].reshape(count, length).sum(axis=0, initial=0) % p
        got = field.sum(rows)
        assert got.shape == (length,)
        assert got.tolist() == wanted.tolist()
        out = field.zeros(length)
        assert field.sum(rows, out=out) is out
        np.testing.assert_array_equal(out, got)


@implementations("field")
@every_width
def test_sum_of_many_largest_elements(implementation: str, bits: int) -> None:
    """The greatest sums there are: an accumulator that is reduced too seldom overflows here."""
    field, p = Field(bits), modulus(bits)
    for count in (15, 16, 17, 63, 64, 65, 1000, 70_001):
        rows = np.full((count, 3), p - 1, field.dtype)
        assert field.sum(rows).tolist() == [-count % p] * 3


@implementations("field")
@every_width
def test_the_group_laws(implementation: str, bits: int) -> None:
    """Identities that need no reference: a - b + b = a, a + -a = 0, (k + 1)a = ka + a."""
    field = Field(bits)
    a, b = (elements(bits, 1000, seed).astype(field.dtype) for seed in (0, 1))
    np.testing.assert_array_equal(field.add(field.sub(a, b), b), a)
    assert not field.add(a, field.neg(a)).any()
    np.testing.assert_array_equal(field.scale(a, 1), a)
    assert not field.scale(a, 0).any()
    k = field.modulus - 2
    np.testing.assert_array_equal(field.scale(a, k + 1), field.add(field.scale(a, k), a))
    np.testing.assert_array_equal(field.sum(np.stack([a, b, a])), field.add(field.scale(a, 2), b))


# -- packing ----------------------------------------------------------------------------------


def written_in_base_two(values: list[int], bits: int) -> bytes:
    """The packed vector by way of its digits: fast, and unlike the reference's shifts."""
    digits = "".join(format(value, f"0{bits}b") for value in reversed(values))
    return int("0" + digits, 2).to_bytes((len(values) * bits + 7) // 8, "little")


def test_the_two_ways_to_pack_agree() -> None:
    """The expectation below is the reference model's."""
    for bits in (16, 17, 31, 33, 59, 62):
        for length in (0, 1, 7, 8, 9, 65):
            values = elements(bits, length).tolist()
            assert written_in_base_two(values, bits) == pack(values, bits)
            assert unpack(pack(values, bits), length, bits) == values


@implementations("pack")
@every_width
def test_pack_and_unpack(implementation: str, bits: int) -> None:
    """pack gives the bytes of the format, unpack gives the elements back, unpack_add adds them."""
    field, p = Field(bits), modulus(bits)
    a, acc = elements(bits, seed=0), elements(bits, seed=1)
    lane, lane_acc = a.astype(field.dtype), acc.astype(field.dtype)
    for at in windows():
        data = written_in_base_two(a[at].tolist(), bits)
        length = at.stop - at.start
        assert len(data) == field.packed_bytes(length)
        assert field.pack(lane[at]) == data
        got = field.unpack(data, length)
        assert got.dtype == field.dtype
        np.testing.assert_array_equal(got, lane[at])
        target = lane_acc[at].copy()
        assert field.unpack_add(target, data) is target
        np.testing.assert_array_equal(target, ((a[at] + acc[at]) % p).astype(field.dtype))


@implementations("pack")
@every_width
def test_unpack_refuses_an_element_at_any_place(implementation: str, bits: int) -> None:
    """One element of p or more, wherever it stands, is refused, and the accumulator stays."""
    field, p = Field(bits), modulus(bits)
    for length in (1, 7, 8, 9, 16, 17, 33):
        for place in range(length):
            values = [p - 1] * length
            values[place] = p if (place + length) % 2 else (1 << bits) - 1
            data = written_in_base_two(values, bits)
            with refused(RangeError, Code.OUT_OF_RANGE):
                field.unpack(data, length)
            acc = np.full(length, p - 1, field.dtype)
            with refused(RangeError, Code.OUT_OF_RANGE):
                field.unpack_add(acc, data)
            assert acc.tolist() == [p - 1] * length
            values[place] = p - 1
            assert field.unpack(written_in_base_two(values, bits), length).tolist() == values


@implementations("pack")
@every_width
def test_a_refused_vector_leaves_the_accumulator_as_it_was(implementation: str, bits: int) -> None:
    """However long it is, whatever was added before the bad element was seen, and by which kernel.

    That goes for elements of the accumulator that are out of range, too.
    """
    field, p = Field(bits), modulus(bits)
    length = 2500  # some pieces and some more
    values, acc = elements(bits, length, 0), elements(bits, length, 1).astype(field.dtype)
    for places in ([0], [length - 1], [1024], [3, 1500, 1501, 2499], range(length)):
        bad = values.copy()
        bad[list(places)] = [p, (1 << bits) - 1][len(places) % 2]
        data = written_in_base_two(bad.tolist(), bits)
        target = acc.copy()
        with refused(RangeError, Code.OUT_OF_RANGE):
            field.unpack_add(target, data)
        np.testing.assert_array_equal(target, acc)
        wild = acc.copy()
        wild[list(places)[-1]] = p
        wild[7] = np.iinfo(field.dtype).max
        for one in (data, written_in_base_two(values.tolist(), bits)):
            target = wild.copy()
            with refused(RangeError, Code.OUT_OF_RANGE):
                field.unpack_add(target, one)
            np.testing.assert_array_equal(target, wild)


@implementations("pack")
@every_width
def test_pack_refuses_an_element_at_any_place(implementation: str, bits: int) -> None:
    """p, and the greatest number of the lane, wherever they stand."""
    field, p = Field(bits), modulus(bits)
    for length in (1, 7, 8, 9, 16, 17, 33):
        for place in range(length):
            for value in (p, np.iinfo(field.dtype).max):
                vector = np.full(length, p - 1, field.dtype)
                vector[place] = value
                with refused(RangeError, Code.OUT_OF_RANGE):
                    field.pack(vector)


@implementations("pack")
@every_width
def test_unpack_refuses_every_element_from_the_modulus_up(implementation: str, bits: int) -> None:
    """The border lies exactly at p: the last 130 values of the width are sorted right."""
    field, p = Field(bits), modulus(bits)
    for value in range((1 << bits) - 130, 1 << bits):
        for values in ([value], [0] * 20 + [value] + [0] * 20):
            data = written_in_base_two(values, bits)
            if value < p:
                assert field.unpack(data, len(values)).tolist() == values
            else:
                with pytest.raises(RangeError):
                    field.unpack(data, len(values))


@implementations("pack")
@every_width
def test_unpack_refuses_every_padding_bit(implementation: str, bits: int) -> None:
    """A bit set after the last element is refused, so each vector has one encoding."""
    field = Field(bits)
    refused = 0
    for length in (1, 2, 3, 5, 7, 9, 11, 33, 65):
        data = field.pack(np.zeros(length, field.dtype))
        for bit in range(length * bits, 8 * len(data)):
            altered = bytearray(data)
            altered[bit // 8] |= 1 << bit % 8
            acc = field.zeros(length)
            with pytest.raises(RangeError):
                field.unpack(bytes(altered), length)
            with pytest.raises(RangeError):
                field.unpack_add(acc, bytes(altered))
            assert not acc.any()
            refused += 1
    assert refused or bits % 8 == 0


@every_width
def test_unpack_refuses_other_lengths(bits: int) -> None:
    """One byte less or more than the vector needs is refused before anything is read."""
    field = Field(bits)
    for length in (0, 1, 8, 33):
        data = field.pack(field.zeros(length))
        for wrong in (data[:-1], data + b"\0"):
            if wrong != data:
                with refused(RangeError, Code.SHAPE):
                    field.unpack(wrong, length)
                with refused(RangeError, Code.SHAPE):
                    field.unpack_add(field.zeros(length), wrong)
    with pytest.raises(RangeError):
        field.unpack(b"", -1)


@given(st.integers(16, 62), st.binary(max_size=200))
def test_any_bytes_unpack_canonically_or_not_at_all(bits: int, data: bytes) -> None:
    """All that unpack accepts pack turns into the same bytes; the reference judges the rest."""
    field, length = Field(bits), len(data) * 8 // bits
    try:
        wanted = unpack(data, length, bits)
    except ValueError:
        with pytest.raises(RangeError):
            field.unpack(data, length)
    else:
        got = field.unpack(data, length)
        assert got.tolist() == wanted
        assert field.pack(got) == data


# -- masks ------------------------------------------------------------------------------------


# OpenSSL has these ciphers; others come, block by block, from the reference model.
OPENSSL = {
    Suite.AES256CTR: lambda key: Cipher(algorithms.AES256(key), modes.CTR(bytes(16))),
    Suite.CHACHA20: lambda key: Cipher(algorithms.ChaCha20(key, bytes(16)), None),
}


@cache
def keystream(suite: Suite, key: bytes, nbytes: int) -> bytes:
    """The stream at nonce 0."""
    if suite not in OPENSSL:
        return stream(suite, key, 0, 0, nbytes)
    return OPENSSL[suite](key).encryptor().update(bytes(nbytes))


def expected_mask(suite: Suite, key: bytes, bits: int, start: int, count: int) -> np.ndarray:
    """The definition of docs/WIRE.md on OpenSSL's words; redraws by the reference model."""
    lane = 4 if bits <= 32 else 8
    low, p = (1 << bits) - 1, modulus(bits)
    raw = keystream(suite, key, lane * max(start + count, ROOM + 1100))
    out = np.frombuffer(raw, f"<u{lane}", count, lane * start) & np.dtype(f"u{lane}").type(low)
    for i in np.flatnonzero(out >= p):
        attempt = 0
        while out[i] >= p:
            nonce = start + int(i) + 1
            out[i] = words(suite, key, nonce, lane, attempt, 1)[0] & low
            attempt += 1
    return out


@pytest.mark.parametrize("suite", OPENSSL)
def test_the_expectation_is_the_reference_models(suite: Suite) -> None:
    """OpenSSL's masks are those of the reference model, rejected elements included."""
    for bits in (16, 17, 32, 33, 62):
        expected = expected_mask(suite, KEYS[0], bits, 5, 60).tolist()
        assert expected == mask(suite, KEYS[0], bits, 5, 60)
    values = expected_mask(suite, KEYS[0], 16, 0, 5000)
    raw = np.frombuffer(keystream(suite, KEYS[0], 20000), "<u4", 5000) & 0xFFFF
    place = int(np.flatnonzero(values != raw)[0])  # there is one, with this key
    assert values[place : place + 1].tolist() == mask(suite, KEYS[0], 16, place, 1)


@cache
def uniforms(suite: Suite, bits: int) -> list[tuple[int, int, np.ndarray]]:
    """Starts inside blocks and chunks, every edge length, and the masks that are there."""
    starts = (0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 511, 512, 513, 1023, 1024, 1025)
    found = []
    for number, length in enumerate(LENGTHS):
        start = starts[(number + bits) % len(starts)]
        found.append((start, length, expected_mask(suite, KEYS[0], bits, start, length)))
    return found


def check_uniform(suite: Suite, bits: int) -> None:
    """Masks of every edge length from starts inside blocks and chunks."""
    field = Field(bits)
    for start, length, wanted in uniforms(suite, bits):
        got = field.uniform(KEYS[0], length, suite.generator, start)
        assert got.dtype == field.dtype
        np.testing.assert_array_equal(got, wanted, err_msg=f"{length} from {start}")


@dataclass(frozen=True)
class Accumulation:
    """Signed masks on top of one window of what was there, and what must come of it."""

    at: slice
    start: int
    keys: list[bytes]
    signs: list[int]
    wanted: list[int]


@cache
def accumulations(suite: Suite, bits: int) -> list[Accumulation]:
    """Every number of keys in flight, in every window, by OpenSSL and NumPy."""
    p = np.uint64(modulus(bits))
    counts = (0, 1, 2, 3, 15, 16, 17, 32, 33)
    rng = np.random.default_rng(bits)
    before, found = elements(bits).astype(np.uint64), []
    for number, at in enumerate(windows()):
        count = counts[number % len(counts)] if at.stop - at.start < 2000 else 2
        start = int(rng.integers(1100))
        keys = [KEYS[(number + k) % len(KEYS)] for k in range(count)]
        signs = [int(sign) for sign in rng.choice([-1, 1], count)]
        wanted = before[at]
        for key, sign in zip(keys, signs, strict=True):
            masks = expected_mask(suite, key, bits, start, at.stop - at.start).astype(np.uint64)
            wanted = (wanted + (masks if sign > 0 else p - masks)) % p  # below 2^63
        found.append(Accumulation(at, start, keys, signs, wanted.tolist()))
    return found


def check_accumulate(suite: Suite, bits: int) -> None:
    """Sums of signed masks on top of what was there."""
    field, before = Field(bits), elements(bits)
    for one in accumulations(suite, bits):
        acc = before[one.at].astype(field.dtype)
        assert field.accumulate(acc, one.keys, one.signs, suite.generator, one.start) is acc
        assert acc.tolist() == one.wanted


@every_cipher()
@every_width
def test_masks(cipher: Suite, bits: int) -> None:
    """Masks with each implementation of every cipher and of the field."""
    for _ in field_implementations():
        check_uniform(cipher, bits)
        check_accumulate(cipher, bits)


@pytest.mark.parametrize("suite", Suite)
@every_width
def test_far_starts(suite: Suite, bits: int) -> None:
    """Slices beyond 2^32 elements and blocks, up to the last elements there are."""
    field = Field(bits)
    for start in (2**32 - 5, 2**36 - 3, 2**40 + 7, 2**63 - 9, 2**64 - 12):
        wanted = mask(suite, KEYS[1], bits, start, 11)
        assert field.uniform(KEYS[1], 11, suite.generator, start).tolist() == wanted


@pytest.mark.parametrize("suite", Suite)
@every_width
def test_any_slice_is_a_slice_of_the_whole(suite: Suite, bits: int) -> None:
    """A mask made in pieces is the mask made at once, wherever it is cut."""
    field = Field(bits)
    whole = field.uniform(KEYS[2], 3000, suite.generator)
    for size in (1, 3, 64, 700, 1024, 2999):
        pieces = [
            field.uniform(KEYS[2], min(size, 3000 - start), suite.generator, start)
            for start in range(0, 3000 if size > 1 else 50, size)
        ]
        joined = np.concatenate(pieces)
        np.testing.assert_array_equal(joined, whole[: joined.size])


@pytest.mark.parametrize("suite", Suite)
@every_width
def test_a_mask_taken_off_again_leaves_nothing(suite: Suite, bits: int) -> None:
    """A mask that one party adds and the other subtracts vanishes, at every width."""
    field = Field(bits)
    before = elements(bits, 1500).astype(field.dtype)
    acc = before.copy()
    field.accumulate(acc, KEYS[:20], [1] * 20, suite.generator, 9)
    assert (acc != before).mean() > 0.99
    field.accumulate(acc, KEYS[:20], [-1] * 20, suite.generator, 9)
    np.testing.assert_array_equal(acc, before)


# An element that is rejected twice, found by a search: the words at nonce 0 and
# word 0 at nonce i + 1 both have 65521 or more in their low 16 bits.
TWICE_REJECTED = {
    Suite.AES256CTR: (bytes([3]) * 32, 9_764_610),
    Suite.CHACHA20: (bytes([1]) * 32, 5_664_211),
}


@pytest.mark.parametrize("suite", TWICE_REJECTED)
def test_an_element_rejected_twice(suite: Suite) -> None:
    """The second redraw reads the next word of the same stream, with every implementation."""
    key, place = TWICE_REJECTED[suite]
    p = modulus(16)
    assert words(suite, key, 0, 4, place, 1)[0] & 0xFFFF >= p
    assert words(suite, key, place + 1, 4, 0, 1)[0] & 0xFFFF >= p
    wanted = mask(suite, key, 16, place - 3, 8)
    field = Field(16)
    for _ in each_kernel(suite):
        for _ in field_implementations():
            assert field.uniform(key, 8, suite.generator, place - 3).tolist() == wanted
            acc = field.zeros(1)
            field.accumulate(acc, [key], [-1], suite.generator, place)
            assert acc.tolist() == [-wanted[3] % p]


# Words at nonce 0 of 64-bit lanes that are not below p(33), found by a search: p itself, and more.
WIDE_REJECTED = {
    Suite.AES256CTR: (bytes([1]) * 32, 1_249_446_791),
    Suite.CHACHA20: (bytes([1]) * 32, 482_743_323),
}


@pytest.mark.parametrize("suite", WIDE_REJECTED)
def test_a_rejected_element_of_a_wide_field(suite: Suite) -> None:
    """One word in a billion, within whole chunks and alone, added and taken off, by all kernels."""
    key, place = WIDE_REJECTED[suite]
    field, p = Field(33), modulus(33)
    assert words(suite, key, 0, 8, place, 1)[0] % 2**33 >= p
    wanted = np.array(mask(suite, key, 33, place - 3, 8), np.uint64)
    start = place - place % 1024
    near = slice(place - 3 - start, place + 5 - start)
    chunk = field.uniform(key, 1024, suite.generator, start)
    for _ in each_kernel(suite):
        for _ in field_implementations():
            assert field.uniform(key, 8, suite.generator, place - 3).tolist() == wanted.tolist()
            acc = field.uniform(key, 1024, suite.generator, start)
            np.testing.assert_array_equal(acc, chunk)
            np.testing.assert_array_equal(acc[near], wanted)
            assert not field.accumulate(acc, [key], [-1], suite.generator, start).any()


# -- sizes ------------------------------------------------------------------------------------


def packed_element(data: memoryview, place: int, bits: int) -> int:
    """One element straight from the bytes."""
    first, shift = divmod(place * bits, 8)
    return int.from_bytes(data[first : first + 10], "little") >> shift & ((1 << bits) - 1)


# One width a lane where not every width is tried.
SOME = (16, 24, 32, 33, 62) if amount("every width of the field") else (24, 62)


@looped("bits", SOME)
def test_millions_of_elements(bits: int) -> None:
    """Two million elements and one: add, sub, scale, sum, pack, unpack, unpack_add, masks."""
    length = 2_000_001
    field, p = Field(bits), modulus(bits)
    rng = np.random.default_rng(bits)
    a, b = (rng.integers(0, p, length, np.uint64) for _ in range(2))
    x, y = a.astype(field.dtype), b.astype(field.dtype)
    modulo = np.uint64(p)
    wanted = (a + b) % modulo
    np.testing.assert_array_equal(field.add(x, y), wanted)
    np.testing.assert_array_equal(field.sub(x, y), (a + (modulo - b)) % modulo)
    np.testing.assert_array_equal(field.sum(np.stack([x, y, x])), (wanted + a) % modulo)
    assert field.scale(x, p - 3)[-5:].tolist() == [-3 * v % p for v in a[-5:].tolist()]
    data = field.pack(x)
    view = memoryview(data)
    for place in (0, 1, length // 2, length - 2, length - 1, *rng.integers(0, length, 500)):
        assert packed_element(view, int(place), bits) == a[place]
    np.testing.assert_array_equal(field.unpack(data, length), x)
    np.testing.assert_array_equal(field.unpack_add(y.copy(), data), wanted)
    for suite in OPENSSL:
        masks = expected_mask(suite, KEYS[3], bits, 1, length)
        np.testing.assert_array_equal(field.uniform(KEYS[3], length, suite.generator, 1), masks)
    keystream.cache_clear()


@runs_at("large sizes")
def test_a_hundred_million_elements() -> None:
    """10^8 elements of 32 bits: sums, packing and masks, checked in part against big integers."""
    length, bits = 10**8, 32
    field, p = Field(bits), modulus(bits)
    places = np.random.default_rng(1).integers(0, length, 2000)
    places[:4] = 0, 1, length - 2, length - 1
    x = field.uniform(KEYS[4], length, Suite.AES256CTR.generator)
    for place in places[:200]:
        assert [int(x[place])] == mask(Suite.AES256CTR, KEYS[4], bits, int(place), 1)
    data = field.pack(x)
    assert len(data) == 4 * length
    view = memoryview(data)
    assert [packed_element(view, int(i), bits) for i in places] == x[places].tolist()
    total = field.add(x, x)
    assert total[places].tolist() == [2 * v % p for v in x[places].tolist()]
    field.unpack_add(total, data)
    assert total[places].tolist() == [3 * v % p for v in x[places].tolist()]
    del data, view
    before = total[places].tolist()
    field.accumulate(total, [KEYS[5], KEYS[4]], [1, -1], Suite.CHACHA20.generator)
    for place, value in list(zip(places.tolist(), before, strict=True))[:100]:
        plus, minus = (mask(Suite.CHACHA20, key, bits, place, 1)[0] for key in (KEYS[5], KEYS[4]))
        assert int(total[place]) == (value + plus - minus) % p


@runs_at("large sizes")
def test_packing_a_hundred_million_narrow_elements() -> None:
    """10^8 elements of 17 bits, where no element but each eighth begins on a byte."""
    length, bits = 10**8, 17
    field = Field(bits)
    x = field.uniform(KEYS[6], length, Suite.AES256CTR.generator)
    data = field.pack(x)
    assert len(data) == -(-length * bits // 8)
    view = memoryview(data)
    for place in (0, 1, length - 1, *np.random.default_rng(2).integers(0, length, 2000)):
        assert packed_element(view, int(place), bits) == x[place]
    np.testing.assert_array_equal(field.unpack(data, length), x)


# -- between implementations ------------------------------------------------------------------


@every_width
def test_all_implementations_give_the_same_bits(bits: int) -> None:
    """Every kernel of every family on 100,003 elements: equal to the portable one, bit by bit."""
    length = 100_003
    field = Field(bits)
    rng = np.random.default_rng(bits)
    x, y = (rng.integers(0, field.modulus, length).astype(field.dtype) for _ in range(2))
    data = field.pack(x)

    def masked(generator: int) -> bytes:
        return field.accumulate(x.copy(), KEYS[:3], [1, -1, 1], generator, 77).tobytes()

    def results(family: str) -> list[bytes]:
        if family in CIPHERS:
            return [masked(CIPHERS[family].generator)]
        if family == "field":
            rows = np.stack([x, y, y])
            return [
                *(v.tobytes() for v in (field.add(x, y), field.sub(x, y), field.neg(x))),
                *(v.tobytes() for v in (field.scale(x, field.modulus - 2), field.sum(rows))),
                masked(Suite.AES256CTR.generator),
            ]
        if family == "pack":
            added = field.unpack_add(y.copy(), data)
            return [field.pack(x), field.unpack(data, length).tobytes(), added.tobytes()]
        return []  # quantization and sharing have tests of their own

    for family in families():
        with forced(family.name, family.compiled[0]):
            wanted = results(family.name)
        for name in family.usable[1:]:
            with forced(family.name, name):
                assert results(family.name) == wanted, f"{family.name}={name}"
