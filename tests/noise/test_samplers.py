"""Samples of noise, bit for bit as big integers draw them, on every implementation.

How they are distributed is in test_distributions.py.
"""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest
from levels import amount
from reference import noise
from reference.arithmetic import words
from refusals import refused
from support import UNKNOWN_GENERATOR, each_kernel, implementations, looped

from secagg import Code, Field, NativeError, ParameterError, RangeError, Suite
from secagg.arithmetic.binding import by_lane, ffi, lib, octets, read, write
from secagg.arithmetic.noise import add_skellam, sum_squares
from secagg.noise import skellam
from secagg.noise.discrete_gaussian import DiscreteGaussian
from secagg.noise.samplers import sampler
from secagg.noise.skellam import Skellam

KEY = bytes(range(32))
AES = Suite.AES256CTR
FINE = round(6.55 * 2**16)
LENGTHS = (1, 31, 33, 512, 555)
# Tables of one and of a few thresholds, of those that are scanned, and of those that are searched.
STEPS = (1, 2**8, FINE, 26**2 << 16, 102**2 << 16, 130**2 << 16)
LANES = (16, 31, 32, 33, 62)


def joined(table: np.ndarray) -> list[int]:
    """The thresholds as integers."""
    return [int(high) << 64 | int(low) for high, low in table.T]


def cut(thresholds: Sequence[int]) -> np.ndarray:
    """The other way round."""
    return np.array([[t >> 64 for t in thresholds], [t % 2**64 for t in thresholds]], np.uint64)


def start(field: Field, length: int) -> np.ndarray:
    """Elements to which noise is added: many of them at an end, where sums wrap."""
    drawn = field.uniform(bytes(32), length, AES.generator)
    drawn[::3] = field.modulus - 1
    drawn[1::3] = 0
    return drawn


def check_added(
    add: Callable[[Field, np.ndarray], object], samples: Sequence[int], bits: int
) -> None:
    """Asserts that `add` adds these samples modulo p."""
    field = Field(bits)
    vector = start(field, len(samples))
    wanted = [(int(a) + x) % field.modulus for a, x in zip(vector, samples, strict=True)]
    add(field, vector)
    assert vector.tolist() == wanted


# -- Skellam -----------------------------------------------------------------------------------


@looped("steps", STEPS[: amount("tables of noise") or 3])
def test_thresholds_are_those_of_the_definition(steps: int) -> None:
    """Differences of two Poisson numbers, counted in integers: every one of the 128 bits."""
    table = Skellam(steps).thresholds
    assert joined(table) == [noise.UNIT - tail for tail in noise.tails(steps)]
    assert Skellam(np.int64(steps)).thresholds is table  # made once
    assert not table.flags.writeable


@looped("sigma", [26, 1638, 2**17][: 1 + amount("tables of noise") // 3])
def test_moments_of_tables(sigma: int) -> None:
    """Variance and fourth moment of the table are those of the distribution, in integers."""
    v, second, fourth = sigma**2, 0, 0
    thresholds = joined(Skellam(v << 16).thresholds)
    for k, threshold in enumerate(thresholds):
        second += (2 * k + 1) * (noise.UNIT - threshold)
        fourth += ((k + 1) ** 4 - k**4) * (noise.UNIT - threshold)
    assert abs(second - v * noise.UNIT) <= (len(thresholds) + 1) ** 2
    assert abs(fourth - (3 * v * v + v) * noise.UNIT) <= (len(thresholds) + 1) ** 4
    assert thresholds == sorted(thresholds)


@cache
def skellam_samples(steps: int) -> list[int]:
    """Those of the reference."""
    return noise.skellam(AES, KEY, joined(Skellam(steps).thresholds), max(LENGTHS))


@implementations("noise")
@looped("steps", STEPS)
def test_skellam_is_that_of_the_reference(implementation: str, steps: int) -> None:
    """Numbers of thresholds below, at and above where they are no longer scanned."""
    noises = Skellam(steps)
    samples = skellam_samples(steps)
    for bits, length in zip(LANES, LENGTHS, strict=True):
        check_added(
            lambda field, vector: noises.add(field, vector, AES.generator, KEY),
            samples[:length],
            bits,
        )


def test_the_tables_are_of_all_kinds() -> None:
    """Those above have one threshold, some, the most that are scanned, and more."""
    distinct = [int((Skellam(s).thresholds[0] < 2**64 - 1).sum()) + 1 for s in STEPS]
    assert distinct[0] < 8 < distinct[3] < 900 < distinct[4] < 1024 < distinct[5]


@looped("suite", Suite)
def test_noise_of_each_cipher(suite: Suite) -> None:
    """Every implementation of every cipher draws the same."""
    thresholds = joined(Skellam(FINE).thresholds)
    gaussian = noise.Gaussian(suite, KEY, FINE)
    samples = noise.skellam(suite, KEY, thresholds, 40), [gaussian.sample() for _ in range(20)]
    for _ in each_kernel(suite):
        for kind, wanted in enumerate(samples, 1):
            one = sampler(kind, FINE)
            check_added(
                lambda field, v, one=one: one.add(field, v, suite.generator, KEY), wanted, 31
            )


@implementations("noise")
@looped("count", [1, 2, 7, 8, 9, 300, 1023, 1024, 1025, 1500])
def test_ties_are_broken_by_the_second_word(implementation: str, count: int) -> None:
    """Thresholds whose high word is that of a coordinate, with every low word around the second."""
    length, places = 70, range(0, 70, 7)
    firsts = words(AES, KEY, 0, 8, 0, length)
    seconds = [words(AES, KEY, i + 2, 8, 0, 1)[0] for i in range(length)]
    tied = [firsts[i] << 64 | (seconds[i] + i % 3 - 1) % 2**64 for i in places]
    others = [t << 64 for t in np.linspace(0, 2**63, count, dtype=np.uint64).tolist()]
    # The last ones have the high word of all ones, as all far tails have.
    thresholds = sorted([*tied[:count], *others[: max(0, count - len(tied) - 3)]])
    thresholds += [noise.UNIT - 3 + i for i in range(count - len(thresholds))]
    wanted = noise.skellam(AES, KEY, thresholds, length)
    check_added(
        lambda field, v: add_skellam(field, v, cut(thresholds), AES.generator, KEY), wanted, 33
    )


@implementations("noise")
def test_noise_wider_than_the_field(implementation: str) -> None:
    """|X| may be several times p: it is reduced."""
    count = 200_000
    step = 2**64 // count
    samples = noise.skellam(AES, KEY, range(0, count * step << 64, step << 64), 40)
    assert max(map(abs, samples)) > 2 * Field(16).modulus
    table = np.array([np.arange(count) * step, np.zeros(count)], np.uint64)
    check_added(lambda f, v: add_skellam(f, v, table, AES.generator, KEY), samples, 16)


def test_a_table_of_too_few_bits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun so, the recurrence stands still, and gives about 90 times the variance."""
    for name, bits in (("_GUARD_BITS", 1), ("_START_BITS", 20)):
        with monkeypatch.context() as patched:
            patched.setattr(skellam, name, bits)
            with refused(NativeError, Code.NATIVE, "variance"):
                Skellam((102**2 << 16) + bits)


# -- discrete Gaussian -------------------------------------------------------------------------


@looped("steps", [1, 2**15, 2**16, FINE, 26**2 << 16, 2**40 - 1, 2**56 - 1, 2**56])
def test_gaussian_is_that_of_the_reference(steps: int) -> None:
    """Every branch of the rejection, and products of every length, up to 2^126."""
    exact = noise.Gaussian(AES, KEY, steps)
    samples = [exact.sample() for _ in range(amount("samples drawn by big integers"))]
    for bits in (16, 33) if steps < 2**40 else (31, 62):
        check_added(
            lambda field, v: DiscreteGaussian(steps).add(field, v, AES.generator, KEY),
            samples,
            bits,
        )


def test_the_far_tail_of_a_gaussian_is_drawn() -> None:
    """One of the first samples of this key takes 16 steps of sigma: one in nine million does."""
    key, count = (380_547).to_bytes(32, "little"), 30
    exact = noise.Gaussian(AES, key, FINE)
    samples = [exact.sample() for _ in range(count)]
    check_added(lambda f, v: DiscreteGaussian(FINE).add(f, v, AES.generator, key), samples, 31)


# -- squares -----------------------------------------------------------------------------------


@implementations("noise")
@looped("dtype", [np.uint32, np.uint64])
def test_sums_of_squares_are_exact(implementation: str, dtype: type) -> None:
    """At the ends of the ranges, where a sum takes more than 64 bits, and one step beyond."""
    top = 2**32 - 1 if dtype is np.uint32 else 2**62 - 1
    most = 2**31 - 1
    for centre in (0, 1, most, most + 5, top):
        low, high = max(0, centre - most), min(top, centre + most)
        ends = np.array([low, high, centre, high - 1, low + 1] * 13, dtype)
        assert sum_squares(ends, centre) == sum((int(q) - centre) ** 2 for q in ends)
        for beyond in (low - 1, high + 1):
            if 0 <= beyond <= top and abs(beyond - centre) > most:
                ends[-1] = beyond
                with refused(RangeError, Code.OUT_OF_RANGE):
                    sum_squares(ends, centre)
    assert sum_squares(np.zeros(0, dtype), 5) == 0
    many = np.full(2**20 + 5 if amount("tables of noise") else 2**10, most, dtype)
    assert sum_squares(many, 0) == many.size * most**2 > 2**64


# -- refusals ----------------------------------------------------------------------------------


def test_samplers() -> None:
    """By the numbers in messages."""
    assert isinstance(sampler(1, 5), Skellam)
    assert isinstance(sampler(2, 5), DiscreteGaussian)
    assert sampler(1, 5).variance_steps == sampler(2, 5).variance_steps == 5
    for kind in (0, 3, -1):
        with refused(ParameterError, Code.UNSUPPORTED):
            sampler(kind, 5)


@looped("kind, most", [(1, 2**50), (2, 2**56)])
def test_variances_outside_the_range_are_refused(kind: int, most: int) -> None:
    """With the value, and what to do about it."""
    for steps in (0, -1, 2.0**20, True, "5", None):
        with refused(ParameterError, Code.ARGUMENT):
            sampler(kind, steps)
    with refused(ParameterError, Code.ARGUMENT, f"not {most + 1}: for more noise choose a coarser"):
        sampler(kind, most + 1)


def test_arguments_are_refused() -> None:
    """An unknown generator, a key of another length, and elements outside the field."""
    field = Field(20)
    for kind in (1, 2):
        one, vector = sampler(kind, FINE), field.zeros(5)
        with refused(RangeError, Code.UNSUPPORTED):
            one.add(field, vector, UNKNOWN_GENERATOR, KEY)
        with refused(RangeError, Code.ARGUMENT):
            one.add(field, vector, AES.generator, KEY[1:])
        assert not vector.any()
        with refused(RangeError, Code.OUT_OF_RANGE):
            one.add(field, field.vector([1]) + np.uint32(field.modulus), AES.generator, KEY)
    for centre in (-1, 2**62):
        with refused(RangeError, Code.ARGUMENT):
            sum_squares(field.zeros(1), centre)


@looped("lane", [np.uint32, np.uint64])
def test_the_core_refuses_by_itself(lane: type) -> None:
    """Arguments outside their ranges: SA_EARG, with nothing written."""
    acc, table = np.full(40, 5, lane), cut([1, 2**127, noise.UNIT - 1])
    good_bits = 20 if lane is np.uint32 else 40

    def skellam_of(*, bits: int = good_bits, count: int = 3, generator: int = AES.generator) -> int:
        arguments = (write(acc), acc.size, bits, read(table), count, generator, octets(KEY))
        status: int = by_lane("skellam_add", acc)(*arguments)
        return status

    def gaussian_of(
        *, bits: int = good_bits, variance: int = FINE, generator: int = AES.generator
    ) -> int:
        arguments = (write(acc), acc.size, bits, variance, generator, octets(KEY))
        status: int = by_lane("gaussian_add", acc)(*arguments)
        return status

    low, high = ffi.new("uint64_t *", 7), ffi.new("uint64_t *", 7)
    squares = by_lane("sum_squares", acc)
    for of in (skellam_of, gaussian_of):
        for bits in (15, 63, 33 if lane is np.uint32 else 32):
            assert of(bits=bits) == lib.SA_EARG
        for generator in (0, UNKNOWN_GENERATOR):
            assert of(generator=generator) == lib.SA_EARG
    for count in (0, 2**31):
        assert skellam_of(count=count) == lib.SA_EARG
    for variance in (0, 2**56 + 1, 2**64 - 1):
        assert gaussian_of(variance=variance) == lib.SA_EARG
    assert squares(low, high, read(acc), acc.size, 2**62) == lib.SA_EARG
    acc[-1] = 2**32 - 1
    assert squares(low, high, read(acc), acc.size, 0) == lib.SA_ERANGE
    assert (low[0], high[0]) == (7, 7)
    acc[-1] = 5
    assert (acc == 5).all()
    assert skellam_of() == gaussian_of() == lib.SA_OK
    assert not (acc == 5).all()
