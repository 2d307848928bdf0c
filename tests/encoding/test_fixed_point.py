"""Real numbers to field elements and back: the model's bits, no bias, no wrap-around."""

import bisect
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from reference import arithmetic, protocol, quantize
from reference.arithmetic import words
from refusals import refused
from support import UNKNOWN_GENERATOR, each_kernel, implementations, looped

from secagg import Code, Field, FixedPoint, Params, RangeError, Suite
from secagg.arithmetic.binding import by_lane, ffi, lib, octets, read, write
from secagg.arithmetic.moduli import modulus
from secagg.encoding.choice import codec_for
from secagg.encoding.fixed_point import FixedPointCodec

KEY = bytes(range(7, 39))
LARGEST = float(np.finfo(np.float64).max)
CLIPS = (1.0, 0.1, 3.0, 1e-3, 12345.678, 2.0**-900, 2.0**900, math.pi)


def params(
    length: int,
    *,
    clip: float = 1.0,
    bits: int = 20,
    max_weight: int = 1,
    cohort: int = 5,
    suite: Suite = Suite.AES256CTR,
) -> Params:
    return Params(cohort, length, FixedPoint(clip, bits, max_weight), suite=suite)


def key(size: int) -> bytes:
    """Randomness of which 32 bytes are drawn."""
    assert size == 32
    return KEY


def forbidden(size: int) -> bytes:
    """Randomness that must not be drawn."""
    raise AssertionError(f"{size} random bytes were drawn for an input that is refused")


def drawn_from(label: int) -> Callable[[int], bytes]:
    """Other randomness for every label."""
    return np.random.default_rng(label).bytes


def edge_values(clip: float, dtype: type = np.float64) -> np.ndarray:
    """Zeros, subnormals, both ends of the range and their neighbours, and the largest floats."""
    end = dtype(clip) if np.isfinite(dtype(clip)) else np.finfo(dtype).max
    info = np.finfo(dtype)
    positive = [
        *(0.0, info.smallest_subnormal, info.tiny, info.eps, end / 2, end / 3),
        *(np.nextafter(end, dtype(0)), end, info.max),
        *([np.nextafter(end, dtype(np.inf))] if end < info.max else []),
    ]
    return np.array([*positive, *(-dtype(value) for value in positive)], dtype)


# -- the model's bits -------------------------------------------------------------------------


known_words = cache(words)  # it is these that take the model long, and they are the same


@cache
def modelled(dtype: type, bits: int) -> list[tuple[Params, NDArray[np.floating], int, list[int]]]:
    """Parameters, values and weight, and the elements that the reference model makes of them."""
    found = []
    for number, clip in enumerate(CLIPS):
        if dtype is np.float32 and not 2.0**-100 < clip < 2.0**100:
            continue
        rng = np.random.default_rng(number)
        inside = rng.uniform(-1.2, 1.2, 500) * min(clip, 2.0**900)
        x = np.concatenate([edge_values(clip, dtype), inside.astype(dtype)])
        for weight, max_weight in ((1, 1), (1, 2), (7, 1000), (999_999, 1_000_000)):
            for suite in Suite:
                agreed = params(x.size, clip=clip, bits=bits, max_weight=max_weight, suite=suite)
                with patch.object(arithmetic, "words", known_words):
                    wanted = quantize(x.tolist(), clip, bits, weight, max_weight, suite, KEY)
                found.append((agreed, x, weight, wanted))
    return found


@implementations("quantize")
@looped("dtype", [np.float32, np.float64])
@looped("bits", [1, 2, 8, 15, 16, 17, 20, 24, 31, 32])
def test_elements_are_the_reference_models(implementation: str, dtype: type, bits: int) -> None:
    """Edge values and random ones, all clips, weights and suites, in both lanes of the field."""
    for agreed, x, weight, wanted in modelled(dtype, bits):
        clip = agreed.format.clip
        bound = counted_above(clip)
        got = codec_for(agreed, bytes(16)).encode(x, weight, key)
        assert got.vector.tolist() == wanted
        assert got.vector.dtype == Field(agreed.field_bits).dtype
        assert got.vector.size == agreed.vector_length
        assert got.clipped == sum(abs(value) > bound for value in x.tolist())


@looped("length", [1, 7, 8, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049, 5000])
def test_every_length_and_every_cipher(length: int) -> None:
    """The random words run on over the core's chunks of 1024, with every implementation."""
    x = np.random.default_rng(length).normal(0, 0.5, length)
    for suite in Suite:
        wanted = quantize(x.tolist(), 1.0, 20, 1, 1, suite, KEY)
        for _ in each_kernel(suite):
            got = codec_for(params(length, suite=suite), bytes(16)).encode(x, 1, key)
            assert got.vector.tolist() == wanted


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    st.floats(2.0**-900, 2.0**900),
    st.integers(1, 32),
    st.integers(1, 2**10),
    st.sampled_from(Suite),
)
def test_any_floats(values: list[float], clip: float, bits: int, weight: int, suite: Suite) -> None:
    """Any finite doubles under any clip: the model's elements, and a decode inside the bound."""
    agreed = params(len(values), clip=clip, bits=bits, max_weight=2**10, suite=suite)
    codec = codec_for(agreed, bytes(16))
    got = codec.encode(values, weight, key)
    assert got.vector.tolist() == quantize(values, clip, bits, weight, 2**10, suite, KEY)
    assert got.clipped == sum(abs(value) > counted_above(clip) for value in values)
    decoded = codec.decode(got.vector, 1)
    assert decoded.weight == weight
    step = Fraction(2 * clip) / (2**bits - 1)
    for value, mean in zip(values, decoded.mean.tolist(), strict=True):
        exact = min(max(Fraction(value), -Fraction(clip)), Fraction(clip))
        assert abs(Fraction(mean) - exact) < step * (1 + Fraction(1, 10**5))


@implementations("quantize")
@looped("bits, max_weight", [(8, 1), (20, 1), (32, 1), (20, 500), (32, 2000)])
def test_decode_is_the_reference_models(implementation: str, bits: int, max_weight: int) -> None:
    """Total and mean of a sum, to the last bit of every double."""
    agreed = params(100, clip=0.7, bits=bits, max_weight=max_weight, cohort=40)
    model = protocol.Parameters(
        *(int(agreed.suite), 0, 40, agreed.threshold, agreed.min_survivors, agreed.colluders),
        100,
        protocol.FixedPoint(0.7, bits, max_weight),
    )
    field, codec = Field(agreed.field_bits), codec_for(agreed, bytes(16))
    rng = np.random.default_rng(bits)
    for survivors in (1, 2, 27, 40):
        rows = [
            codec.encode(rng.normal(0, 0.4, 100), int(rng.integers(1, max_weight + 1)), rng.bytes)
            for _ in range(survivors)
        ]
        total = field.sum(np.stack([row.vector for row in rows]))
        got = codec.decode(total, survivors)
        totals, means = model.decode_sum(total.tolist(), survivors)
        assert got.total.tolist() == totals
        assert got.mean.tolist() == means
        assert got.total.dtype == got.mean.dtype == np.float64
        assert got.weight == (total[-1] if max_weight > 1 else survivors)


# -- what it is for ---------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.0, 2.0**-20, 0.1, 0.5, 0.75, 0.999])
@pytest.mark.parametrize("suite", Suite)
def test_rounding_is_unbiased(fraction: float, suite: Suite) -> None:
    """A million roundings of one number average to it.

    By Hoeffding's bound the mean of n roundings, each within one level, is further than e levels
    from its expectation with probability at most 2 exp(-2 n e^2): 2.6e-14 for n = 10^6 and
    e = 0.004. (The key is fixed; this was one draw when the test was written.)
    """
    n, levels = 10**6, 2**10 - 1
    level = 300 + fraction
    x = np.full(n, level / levels * 2 - 1)
    vector = codec_for(params(n, bits=10, suite=suite), bytes(16)).encode(x, 1, key).vector
    assert set(np.unique(vector).tolist()) <= {300, 301}
    assert abs(float(vector.mean()) - level) < 0.004


def bias(x: float, clip: float, bits: int) -> Fraction:
    """The exact expectation of the error of rounding one number, in steps, over all 2^32 draws."""
    levels = 2**bits - 1

    def rounded(word: int) -> int:
        return arithmetic.level(x, word * 2.0**-32, clip, levels)

    low = rounded(0)
    expected, first = Fraction(0), 0
    for q in range(low, rounded(2**32 - 1) + 1):  # it never falls as the word grows
        last = bisect.bisect_right(range(2**32), q, lo=first, key=rounded)
        expected += q * Fraction(last - first, 2**32)
        first = last
    return expected - (Fraction(x) + Fraction(clip)) * levels / (2 * Fraction(clip))


@pytest.mark.parametrize(("bits", "exponent"), [(1, 31.9), (16, 31.9), (20, 31.9), (32, 20.4)])
def test_the_exact_bias_of_rounding(bits: int, exponent: float) -> None:
    """Bias comes from 32 random bits per number, and from the roundings of doubles."""
    rng = np.random.default_rng(bits)
    for clip in (1.0, 8.0, 3.7):
        for x in rng.uniform(-clip, clip, 30).tolist():
            assert abs(bias(x, clip, bits)) < Fraction(2.0**-exponent)


def test_errors_of_elements_are_independent_of_each_other() -> None:
    """Neighbours round up and down on their own: their correlation is within 5 deviations of 0."""
    n = 10**6
    x = np.full(n, 0.5 / 1023)  # half-way between two levels
    up = codec_for(params(n, bits=10), bytes(16)).encode(x, 1, key).vector.astype(float)
    up -= up.mean()
    for lag in (1, 2, 4, 8, 16, 1024):
        correlation = float(np.mean(up[lag:] * up[:-lag]) / np.mean(up * up))
        assert abs(correlation) < 5 / math.sqrt(n - lag)


@looped("bits", [1, 4, 20, 32])
@looped("clip", CLIPS)
def test_the_error_of_one_value_is_below_a_step(bits: int, clip: float) -> None:
    """Every value inside the range comes back within one step, those outside as the end."""
    x = np.concatenate([edge_values(clip), np.linspace(-clip, clip, 1001)])
    agreed = params(x.size, clip=clip, bits=bits)
    codec = codec_for(agreed, bytes(16))
    assert agreed.format.step == 2 * clip / (2**bits - 1)  # type: ignore[union-attr]
    for label in range(5):
        got = codec.decode(codec.encode(x, 1, drawn_from(label)).vector, 1).mean
        exact = np.clip(x, -clip, clip)
        slack = 1 + 2.0**-18  # for the roundings of doubles at 32 bits
        assert float(np.max(np.abs(got / clip - exact / clip))) < 2 / (2**bits - 1) * slack


def test_values_on_the_grid_come_back_as_they_are() -> None:
    """Where no rounding is needed there is none: levels at k * step - clip, exactly in binary."""
    codec = codec_for(params(256, clip=127.5, bits=8), bytes(16))
    x = np.arange(256) - 127.5
    for label in range(20):
        got = codec.encode(x, 1, drawn_from(label))
        assert got.vector.tolist() == list(range(256))
        assert codec.decode(got.vector, 1).total.tolist() == x.tolist()
        assert got.clipped == 0


def test_the_same_value_rounds_both_ways() -> None:
    """Fresh randomness, another rounding; the same randomness, the same."""
    codec = codec_for(params(64), bytes(16))
    x = np.full(64, 0.3)
    one, other, again = (codec.encode(x, 1, drawn_from(k)).vector.tolist() for k in (1, 2, 1))
    assert one == again != other


def test_zero_and_minus_zero_are_the_same() -> None:
    """The sign of a zero does not reach the element."""
    codec = codec_for(params(3), bytes(16))
    zeros = [codec.encode([z, z, z], 1, key).vector.tolist() for z in (0.0, -0.0)]
    assert zeros[0] == zeros[1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_clipping_is_counted_exactly(dtype: type) -> None:
    """The ends of the range are inside it, the next float outside is not."""
    clip = 1.5
    end, beyond = dtype(clip), np.nextafter(dtype(clip), dtype(9))
    x = np.array([end, -end, beyond, -beyond, 0, np.finfo(dtype).max, -np.finfo(dtype).max], dtype)
    agreed = params(x.size, clip=clip)
    got = codec_for(agreed, bytes(16)).encode(x, 1, key)
    assert got.clipped == 4
    assert isinstance(got.clipped, int)
    decoded = codec_for(agreed, bytes(16)).decode(got.vector, 1).total
    for i in (0, 2, 5):
        assert abs(decoded[i] - clip) < agreed.format.step  # type: ignore[union-attr]
    for i in (1, 3, 6):
        assert decoded[i] == -clip
    assert codec_for(params(4096), bytes(16)).encode(np.full(4096, 2.0), 1, key).clipped == 4096


def counted_above(clip: float, dtype: type = np.float32) -> float:
    """The clip, or what it is in float32 (or a narrower dtype) if that is larger and finite."""
    with np.errstate(over="ignore"):
        rounded = float(dtype(clip))
    return max(clip, rounded) if math.isfinite(rounded) else clip


@looped("dtype", [np.float16, np.float32, np.float64])
@looped("clip", [0.1, 0.3, 1e-3, 0.7, 1.0])
def test_what_was_clipped_before_does_not_count(dtype: type, clip: float) -> None:
    """The ends as the caller's dtype has them, which may lie above the double: float32(0.1)."""
    x = np.clip(np.array([-9, -clip, 0, clip, 9], dtype), -clip, clip)
    codec = codec_for(params(6, clip=clip), bytes(16))
    assert codec.encode(np.append(x, dtype(0)), 1, key).clipped == 0
    narrow = dtype if dtype is not np.float64 else np.float32
    joined = np.append(x.astype(narrow), narrow(0)).astype(np.float64)  # with wider arrays
    if narrow is np.float32:
        assert codec.encode(joined, 1, key).clipped == 0
    end = max(x.max(), dtype(counted_above(clip, narrow)))
    beyond = np.nextafter(np.nextafter(end, dtype(9)), dtype(9))
    assert codec.encode(np.append(x, beyond), 1, key).clipped == 1


# -- weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("max_weight", [2, 1000, 2**20])
def test_weights_multiply_and_travel_along(max_weight: int) -> None:
    """The vector is the weight times the unweighted one, and the weight behind it."""
    x = np.random.default_rng(1).normal(0, 0.3, 50)
    plain = codec_for(params(50), bytes(16)).encode(x, 1, key).vector.tolist()
    codec = codec_for(params(50, max_weight=max_weight), bytes(16))
    for weight in (1, 2, max_weight - 1, max_weight, np.int64(2), np.uint8(1)):
        got = codec.encode(x, weight, key).vector.tolist()
        assert got == [*(int(weight) * value for value in plain), int(weight)]


@pytest.mark.parametrize("weight", [0, -1, 11, 2**40, True, False, 1.0, 2.5, None, "1", np.True_])
def test_other_weights_are_refused(weight: object) -> None:
    """A weight is an int in 1..max_weight, and nothing is drawn for another."""
    with refused(RangeError, Code.WEIGHT):
        codec_for(params(2, max_weight=10), bytes(16)).encode([0, 0], weight, forbidden)  # type: ignore[arg-type]
    if weight == 0 and not isinstance(weight, bool):
        with refused(RangeError, Code.WEIGHT, match="nothing to give does not submit"):
            codec_for(params(2), bytes(16)).encode([0, 0], weight, forbidden)  # type: ignore[arg-type]
    if weight != 1 or isinstance(weight, bool | float):
        with refused(RangeError, Code.WEIGHT):
            codec_for(params(2), bytes(16)).encode([0, 0], weight, forbidden)  # type: ignore[arg-type]


def test_the_mean_is_the_weighted_mean() -> None:
    """sum(w x) / sum(w), within the error of rounding."""
    rng = np.random.default_rng(3)
    agreed = params(30, max_weight=500, cohort=8)
    codec, field = codec_for(agreed, bytes(16)), Field(agreed.field_bits)
    inputs, weights = rng.uniform(-1, 1, (8, 30)), rng.integers(1, 501, 8)
    rows = [codec.encode(x, int(w), rng.bytes).vector for x, w in zip(inputs, weights, strict=True)]
    got = codec.decode(field.sum(np.stack(rows)), 8)
    assert got.weight == weights.sum()
    wanted = np.average(inputs, axis=0, weights=weights)
    assert np.max(np.abs(got.mean - wanted)) < agreed.format.step  # type: ignore[union-attr]
    np.testing.assert_allclose(got.total, wanted * got.weight, atol=1e-2)


# -- headroom ---------------------------------------------------------------------------------

ROOM = [
    (cohort, bits, max_weight)
    for cohort in (2, 3, 10, 100, 1000, 65536)
    for bits in (1, 15, 16, 20, 32)
    for max_weight in (1, 2, 1000, 2**14 - 1)
    if cohort * (2**bits - 1) * max_weight < modulus(62)
]


@looped("cohort, bits, max_weight", ROOM)
def test_the_worst_sum_does_not_wrap(cohort: int, bits: int, max_weight: int) -> None:
    """Every client at the top with the greatest weight: the sum decodes to n * weight * clip."""
    agreed = params(1, clip=2.0, bits=bits, max_weight=max_weight, cohort=cohort)
    field, codec = Field(agreed.field_bits), codec_for(agreed, bytes(16))
    top = (2**bits - 1) * max_weight
    assert agreed.format.largest == top
    client = [top, max_weight] if max_weight > 1 else [top]
    total = field.sum(np.tile(np.array(client, field.dtype), (cohort, 1)))
    assert total[0] == cohort * top  # no wrap-around
    got = codec.decode(total, cohort)
    assert got.weight == cohort * max_weight
    assert got.total[0] == pytest.approx(2.0 * cohort * max_weight, rel=1e-12)
    assert got.mean[0] == pytest.approx(2.0, rel=1e-12)
    bottom = codec.decode(np.array([0, *client[1:]], field.dtype) * 1, 1)
    assert bottom.total[0] == -2.0 * max_weight
    if agreed.field_bits > 16:  # and no width is wasted
        assert cohort * top >= modulus(agreed.field_bits - 1)


@looped("cohort, bits, max_weight", ROOM[:: len(ROOM) // 12])
def test_no_encoding_exceeds_the_worst(cohort: int, bits: int, max_weight: int) -> None:
    """Values at and far beyond the clip stay at or below levels * weight."""
    x = np.array([2.0, -2.0, LARGEST, -LARGEST, np.nextafter(2.0, 0)] * 100)
    agreed = params(x.size, clip=2.0, bits=bits, max_weight=max_weight, cohort=cohort)
    vector = codec_for(agreed, bytes(16)).encode(x, max_weight, key).vector
    assert int(vector[: x.size].max()) <= (2**bits - 1) * max_weight
    assert int(vector[: x.size].min()) == 0


# A key of equal bytes, and a place below 100,000 whose word is above 2^32 - 2^10 (by a search):
# there 2^32 - 1 + u rounds up to 2^32.
ROUNDS_UP = {Suite.AES256CTR: (66, 31_633), Suite.CHACHA20: (31, 47_837)}


@implementations("quantize")
@looped("suite", ROUNDS_UP)
@looped("dtype", [np.float32, np.float64])
def test_the_top_level_is_never_exceeded(implementation: str, suite: Suite, dtype: type) -> None:
    """At 32 bits the sum of the top level and u may round to the next: the headroom's last hole."""
    byte, place = ROUNDS_UP[suite]
    word = words(suite, bytes([byte]) * 32, 0, 4, place, 1)[0]
    assert float(2**32 - 1) + word * 2.0**-32 == 2**32
    x = np.full(100_000, 1.0, dtype)
    codec = codec_for(params(x.size, bits=32, suite=suite), bytes(16))
    vector = codec.encode(x, 1, lambda size: bytes([byte]) * size).vector
    assert vector[place] == 2**32 - 1
    assert (vector == 2**32 - 1).all()


# -- refusals ---------------------------------------------------------------------------------


@looped("dtype", [np.float16, np.float32, np.float64])
@looped("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(dtype: type, bad: float) -> None:
    """Wherever it stands; before anything is drawn."""
    for length in (1, 5, 1030):
        for place in {0, length // 2, length - 1}:
            x = np.zeros(length, dtype)
            x[place] = bad
            before = x.tobytes()
            with refused(RangeError, Code.NOT_FINITE):
                codec_for(params(length), bytes(16)).encode(x, 1, forbidden)
            assert x.tobytes() == before


@pytest.mark.parametrize(
    "payload", [0x7FF0000000000001, 0x7FF8000000000000, 0xFFFFFFFFFFFFFFFF, 0x7FFFFFFFFFFFFFFF]
)
def test_any_nan_is_refused(payload: int) -> None:
    """Signalling ones and ones with a payload too."""
    x = np.array([0, payload, 0], np.uint64).view(np.float64)
    with refused(RangeError, Code.NOT_FINITE):
        codec_for(params(3), bytes(16)).encode(x, 1, forbidden)


@implementations("quantize")
@looped("real", [np.float32, np.float64])
@looped("lane", [np.uint32, np.uint64])
def test_the_core_refuses_by_itself(implementation: str, real: type, lane: type) -> None:
    """NaN and infinity at any place: SA_ERANGE, with nothing written; the largest floats pass."""
    clipped = ffi.new("uint64_t *", 77)
    q = np.full(40, 5, lane)

    def quantized(
        x: np.ndarray,
        *,
        start: int = 0,
        clip: float = 1.0,
        bound: float | None = None,
        levels: int = 255,
        generator: int = lib.SA_AES256CTR,
    ) -> int:
        bound = clip if bound is None else bound
        where = (write(q), read(x), x.size, start)
        status: int = by_lane("quantize", x, q)(
            *where, clip, bound, levels, generator, octets(KEY), clipped
        )
        return status

    for bad in (np.nan, -np.nan, np.inf, -np.inf):
        for place in range(40):
            x = np.zeros(40, real)
            x[place] = bad
            assert quantized(x) == lib.SA_ERANGE
    good = np.full(40, np.finfo(real).max, real)
    for clip in (0.0, -1.0, math.nan, math.inf, LARGEST, 5e-324):
        assert quantized(good, clip=clip) == lib.SA_EARG
    for levels in (0, 2**32, 2**64 - 1):
        assert quantized(good, levels=levels) == lib.SA_EARG
    for bound in (0.0, math.nextafter(1.0, 0), math.nan):
        assert quantized(good, bound=bound) == lib.SA_EARG
    assert quantized(good, start=2**64 - 40) == lib.SA_EARG
    for generator in (0, UNKNOWN_GENERATOR):
        assert quantized(good, generator=generator) == lib.SA_EARG
    assert (q == 5).all()
    assert clipped[0] == 77
    assert quantized(good) == lib.SA_OK
    assert (q == 255).all()
    assert clipped[0] == 40


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 1)),
        np.float64(0),
        0.0,
        [0.0, 0.0],
        np.zeros(4),
        [],
        np.ma.zeros(3),
        np.zeros(3, complex),
        np.zeros(3, object),
        np.array(["0", "1", "2"]),
        np.zeros(3, "m8[s]"),
        [None, 1, 2],
        [[0.0], [1.0, 2.0], 3.0],
        "abc",
        {"a": 1},
        None,
    ],
    ids=repr,
)
def test_what_is_no_vector_of_reals_is_refused(values: object) -> None:
    """Other shapes, lengths and kinds; before anything is drawn."""
    with pytest.raises(RangeError, match="an input"):
        codec_for(params(3), bytes(16)).encode(values, 1, forbidden)  # type: ignore[arg-type]


def test_longer_doubles_are_clipped_or_refused() -> None:
    """A finite long double beyond the doubles' range is a value to clip or to refuse."""
    x = np.array([1, -1, 0], np.longdouble) * np.longdouble("1e400")
    if not np.isfinite(x).all():
        return  # long doubles are doubles here
    codec = codec_for(params(3), bytes(16))
    try:
        got = codec.encode(x, 1, key)
    except RangeError:
        return
    assert got.clipped == 2


def layouts(x: np.ndarray) -> dict[str, np.ndarray]:
    """The same values in other layouts."""
    frozen = x.copy()
    frozen.flags.writeable = False
    spread = np.full((x.size, 3), 9, x.dtype)
    spread[:, 1] = x
    odd = np.frombuffer(bytearray(x.nbytes + 1), x.dtype, x.size, offset=1)
    odd[:] = x
    return {
        "read-only": frozen,
        "column": spread[:, 1],
        "backwards": x[::-1].copy()[::-1],
        "byte-swapped": x.astype(x.dtype.newbyteorder(">")),
        "unaligned": odd,
        "list": x.tolist(),
        "repeated": np.broadcast_to(x[:1], x.shape) if len(set(x.tolist())) == 1 else x,
    }


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i4", "u8", "i8"])
def test_any_layout_and_real_dtype(dtype: str) -> None:
    """Each gives the elements of the same values as doubles, and none is written to."""
    rng = np.random.default_rng(5)
    values = rng.normal(0, 40, 100) if dtype[0] == "f" else rng.integers(0, 100, 100)
    x = values.astype(dtype)
    codec = codec_for(params(100, clip=50.0), bytes(16))
    wanted = codec.encode(x.astype(np.float64), 1, key)
    for layout, array in layouts(x).items():
        before = np.array(array).tobytes()
        got = codec.encode(array, 1, key)
        np.testing.assert_array_equal(got.vector, wanted.vector, err_msg=layout)
        assert got.clipped == wanted.clipped
        assert np.array(array).tobytes() == before


def test_one_value_for_all() -> None:
    """A broadcast array, whose elements share their memory, is copied."""
    x = np.broadcast_to(np.float64(0.25), (50,))
    codec = codec_for(params(50), bytes(16))
    wanted = codec.encode(np.full(50, 0.25), 1, key).vector
    np.testing.assert_array_equal(codec.encode(x, 1, key).vector, wanted)


def test_an_encoding_does_not_print_its_elements() -> None:
    """The encoded input is a secret until it is masked."""
    got = codec_for(params(2, bits=20), bytes(16)).encode([0.0, 0.0], 1, key)
    assert repr(got) == "Encoded(<2 elements>, clipped=0)"


# -- decoding ---------------------------------------------------------------------------------


def test_impossible_sums_are_refused() -> None:
    """More than all survivors at the top can make; exactly that much is possible."""
    codec = codec_for(params(3, bits=8, cohort=10), bytes(16))
    for survivors in (1, 7, 10):
        most = 255 * survivors
        assert codec.decode(np.array([0, most, 1], np.uint32), survivors).weight == survivors
        for place in range(3):
            total = np.zeros(3, np.uint32)
            total[place] = most + 1
            with refused(RangeError, Code.IMPOSSIBLE_SUM):
                codec.decode(total, survivors)


def test_impossible_weights_are_refused() -> None:
    """A sum of weights outside survivors .. survivors * max_weight."""
    codec = codec_for(params(1, bits=8, max_weight=5, cohort=10), bytes(16))
    for survivors in (1, 7, 10):
        for weight in (survivors, 5 * survivors):
            got = codec.decode(np.array([255 * weight, weight], np.uint32), survivors)
            assert got.mean[0] == pytest.approx(1.0, rel=1e-12)
            with refused(RangeError, Code.IMPOSSIBLE_SUM):
                codec.decode(np.array([255 * weight + 1, weight], np.uint32), survivors)
        for weight in (0, survivors - 1, 5 * survivors + 1):
            with refused(RangeError, Code.IMPOSSIBLE_SUM):
                codec.decode(np.array([0, weight], np.uint32), survivors)


def test_decoding_writes_to_nothing() -> None:
    """The sum of elements is left as it was, and may be read-only."""
    total = np.array([5, 6, 7], np.uint32)
    total.flags.writeable = False
    codec_for(params(3), bytes(16)).decode(total, 2)
    assert total.tolist() == [5, 6, 7]


def test_the_codec_of_a_format() -> None:
    """codec_for finds the right one."""
    assert isinstance(codec_for(params(1), bytes(16)), FixedPointCodec)
