"""Exact integers: the sum of any inputs in range is exact, and everything else is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import protocol
from refusals import refused
from support import looped

from secagg import Code, Field, Integers, ParameterError, Params, RangeError
from secagg.encoding.choice import codec_for
from secagg.encoding.codec import read_input
from secagg.encoding.integers import IntegersCodec

INT_DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
# Low, high: small, one-sided, with extreme ends, and the widest for a cohort of two.
RANGES = [
    (-1000, 1000),
    (0, 1),
    (-1, 0),
    (5, 70_000),
    (-(2**31), 2**31 - 1),
    (-(2**62), -(2**62) + 1000),
    (2**62 - 1000, 2**62 - 1),
    (-(2**60), 2**60 - 100),
]


def params(length: int, low: int, high: int, cohort: int = 2) -> Params:
    return Params(cohort, length, Integers(low, high))


def forbidden(size: int) -> bytes:
    raise AssertionError("integers need no randomness")


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_elements_are_the_reference_models(low: int, high: int) -> None:
    """x - low for the ends of the range and values between, in every dtype that holds them."""
    rng = np.random.default_rng(1)
    values = [low, high, low + 1, high - 1, *rng.integers(low, high, 50, endpoint=True).tolist()]
    agreed = params(len(values), low, high)
    model = protocol.Parameters(1, 0, 2, 2, 2, 0, len(values), protocol.Integers(low, high))
    wanted = model.encode_input(values, 1, forbidden)
    assert agreed.field_bits == model.field_bits
    tried = 0
    for dtype in INT_DTYPES:
        info = np.iinfo(dtype)
        if info.min <= low and high <= info.max:
            x = np.array(values, dtype)
            before = x.tobytes()
            got = codec_for(agreed, bytes(16)).encode(x, 1, forbidden)
            assert got.vector.tolist() == wanted
            assert got.vector.dtype == Field(agreed.field_bits).dtype
            assert got.clipped == 0
            assert x.tobytes() == before
            tried += 1
    assert tried


@given(st.data())
def test_any_sum_is_exact(data: st.DataObject) -> None:
    """Any range, cohort and inputs: the sum over the survivors is Python's."""
    cohort = data.draw(st.integers(2, 12))
    most = (2**62 - 58) // cohort
    width = data.draw(st.integers(1, most))
    end = (2**63 - 1) // cohort
    low = data.draw(st.integers(-end, end - width))
    values = st.integers(low, low + width) | st.sampled_from([low, low + width])
    survivors = data.draw(st.integers(1, cohort))
    inputs = data.draw(
        st.lists(st.lists(values, min_size=3, max_size=3), min_size=survivors, max_size=survivors)
    )
    agreed = params(3, low, low + width, cohort)
    codec, field = codec_for(agreed, bytes(16)), Field(agreed.field_bits)
    rows = [codec.encode(np.array(x, np.int64), 1, forbidden).vector for x in inputs]
    got = codec.decode(field.sum(np.stack(rows)), survivors)
    wanted = [sum(column) for column in zip(*inputs, strict=True)]
    assert got.total.tolist() == wanted
    assert got.total.dtype == np.int64
    assert got.weight == survivors
    assert got.mean.tolist() == [float(value) / survivors for value in wanted]


@looped("cohort", [2, 3, 10, 1000, 65536])
@looped("width", [1, 255, 2**20, 2**45])
def test_the_worst_sum_does_not_wrap(cohort: int, width: int) -> None:
    """All clients at the high end, and all at the low one."""
    low = -(width // 3)
    agreed = params(1, low, low + width, cohort)
    codec, field = codec_for(agreed, bytes(16)), Field(agreed.field_bits)
    for value in (low, low + width):
        one = codec.encode(np.array([value]), 1, forbidden).vector
        total = field.sum(np.tile(one, (cohort, 1)))
        assert total.tolist() == [cohort * (value - low)]
        assert codec.decode(total, cohort).total.tolist() == [cohort * value]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_values_outside_the_range_are_refused(low: int, high: int) -> None:
    """One below, one above, and the dtype's extremes, at any place."""
    agreed = params(3, low, high)
    for bad in (low - 1, high + 1, -(2**63), 2**63 - 1, 2**64 - 1):
        for place in range(3):
            values = [low] * 3
            values[place] = bad
            kinds = [
                d
                for d in INT_DTYPES
                if all(np.iinfo(d).min <= v <= np.iinfo(d).max for v in values)
            ]
            for dtype in kinds:
                with refused(RangeError, Code.OUT_OF_RANGE, match=f"outside {low}..{high}"):
                    codec_for(agreed, bytes(16)).encode(np.array(values, dtype), 1, forbidden)


def test_unsigned_values_do_not_turn_negative() -> None:
    """2^64 - 1 is not -1, and 2^63 not the lowest int64."""
    codec = codec_for(params(1, -(2**60), 2**59), bytes(16))
    for bad in (2**64 - 1, 2**63, 2**63 + 1):
        with refused(RangeError, Code.OUT_OF_RANGE):
            codec.encode(np.array([bad], np.uint64), 1, forbidden)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((3, 1), int),
        np.int64(1),
        [1, 2],
        [1, 2, 3, 4],
        np.zeros(3),
        [1.0, 2.0, 3.0],
        [np.nan, 0, 0],
        np.ma.zeros(3, int),
        np.zeros(3, object),
        np.zeros(3, complex),
        [1, 2, 2**70],
        [1, 2, None],
        [[1], [2, 3], 4],
        "123",
        None,
    ],
    ids=repr,
)
def test_what_is_no_vector_of_integers_is_refused(values: object) -> None:
    """Other shapes, lengths and kinds. A float is no integer, even when it is whole."""
    with pytest.raises(RangeError, match="an input"):
        codec_for(params(3, -9, 9), bytes(16)).encode(values, 1, forbidden)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [0, 2, -1, 1.5])
def test_weights_are_refused(weight: float) -> None:
    """Exact sums are not weighted."""
    with refused(RangeError, Code.WEIGHT):
        codec_for(params(1, -9, 9), bytes(16)).encode([1], weight, forbidden)  # type: ignore[arg-type]


def test_any_layout() -> None:
    """Read-only, strided, backwards, swapped, unaligned: read as they are, not written to."""
    x = np.array([-900, 0, 1, 999], np.int64)
    codec = codec_for(params(4, -1000, 1000), bytes(16))
    wanted = codec.encode(x, 1, forbidden).vector.tolist()
    assert wanted == [100, 1000, 1001, 1999]
    frozen = x.copy()
    frozen.flags.writeable = False
    odd = np.frombuffer(bytearray(33), np.int64, 4, offset=1)
    odd[:] = x
    column = np.stack([x, x], axis=1)[:, 1]
    for array in (frozen, odd, column, x[::-1].copy()[::-1], x.astype(">i8"), x.astype(">i2")):
        before = array.tobytes()
        assert codec.encode(array, 1, forbidden).vector.tolist() == wanted
        assert array.tobytes() == before
    assert codec.encode(x.tolist(), 1, forbidden).vector.tolist() == wanted


def test_what_the_core_gets_it_can_read_in_place() -> None:
    """A codec reads contiguous, native and aligned arrays only."""
    for dtype in ("f4", "f8", "i8"):
        odd = np.frombuffer(bytearray(8 * 4 + 1), dtype, 4, offset=1)
        for array in (odd, np.zeros(4, f">{dtype}"), np.zeros(8, dtype)[::2]):
            flags = read_input(array, 4, "fi").flags
            assert flags.c_contiguous
            assert flags.aligned


def test_impossible_sums_are_refused() -> None:
    """More than all survivors at the high end make; exactly that much is possible."""
    codec = codec_for(params(3, -10, 90, cohort=10), bytes(16))
    for survivors in (1, 7, 10):
        most = 100 * survivors
        got = codec.decode(np.array([0, most, 1], np.uint32), survivors)
        assert got.total.tolist() == [-10 * survivors, 90 * survivors, 1 - 10 * survivors]
        for place in range(3):
            total = np.zeros(3, np.uint32)
            total[place] = most + 1
            with refused(RangeError, Code.IMPOSSIBLE_SUM):
                codec.decode(total, survivors)


def test_decoding_writes_to_nothing() -> None:
    """The sum of elements may be read-only."""
    total = np.array([5, 6], np.uint32)
    total.flags.writeable = False
    codec_for(params(2, 0, 9), bytes(16)).decode(total, 2)
    assert total.tolist() == [5, 6]


def test_ranges_whose_sum_fits_nothing_are_refused() -> None:
    """Too wide for the field, or a total that int64 cannot hold."""
    with refused(ParameterError, Code.HEADROOM):
        params(1, -(2**60), 2**60)
    for low, high in ((2**62, 2**62 + 1), (-(2**62) - 1, -(2**62))):
        with refused(ParameterError, Code.HEADROOM):
            params(1, low, high)
    params(1, 2**62 - 2, 2**62 - 1)
    params(1, -(2**62), 1 - 2**62)


def test_the_codec_of_a_format() -> None:
    """codec_for finds the right one."""
    assert isinstance(codec_for(params(1, 0, 1), bytes(16)), IntegersCodec)
