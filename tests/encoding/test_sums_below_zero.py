"""Formats whose elements may lie below zero or above the largest one, as noise would put them.

No format of wire v1 does; these two exist here only. All that they add is how far an element goes:
the width of the field, the reading of sums below zero, and what is refused must follow from that.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from support import looped

from secagg import (
    Client,
    Code,
    Field,
    FixedPoint,
    Integers,
    ParameterError,
    Params,
    RangeError,
    Server,
)
from secagg.arithmetic.moduli import least_bits, modulus
from secagg.encoding.choice import codec_for
from secagg.encoding.fixed_point import FixedPointCodec
from secagg.encoding.integers import IntegersCodec
from secagg.params.intervals import Interval


@dataclass(frozen=True, slots=True)
class WiderFixedPoint(FixedPoint):
    """A grid of which an element may miss the ends by so much."""

    below: int = 0
    above: int = 0

    def room(self, cohort: int) -> Interval:
        honest = FixedPoint.room(self, cohort)
        return Interval(honest.low - cohort * self.below, honest.high + cohort * self.above)

    def plausible(self, inputs: int, weight: int) -> Interval:
        honest = FixedPoint.plausible(self, inputs, weight)
        return Interval(honest.low - inputs * self.below, honest.high + inputs * self.above)


@dataclass(frozen=True, slots=True)
class WiderIntegers(Integers):
    """Integers of which an element may miss the ends by so much."""

    below: int = 0
    above: int = 0

    def room(self, cohort: int) -> Interval:
        honest = Integers.room(self, cohort)
        return Interval(honest.low - cohort * self.below, honest.high + cohort * self.above)

    def plausible(self, inputs: int, weight: int) -> Interval:
        honest = Integers.plausible(self, inputs, weight)
        return Interval(honest.low - inputs * self.below, honest.high + inputs * self.above)


Wider = Callable[[int, int], WiderFixedPoint | WiderIntegers]
FORMATS: dict[str, Wider] = {
    "fixed point": lambda below, above: WiderFixedPoint(2.0, 8, 1, below, above),
    "weighted": lambda below, above: WiderFixedPoint(2.0, 8, 7, below, above),
    "integers": lambda below, above: WiderIntegers(-40, 900, below, above),
}


def base_codec(params: Params) -> FixedPointCodec | IntegersCodec:
    """The codec of the base format, which reads what the wider one allows."""
    if isinstance(params.format, FixedPoint):
        return FixedPointCodec(params, params.format)
    return IntegersCodec(params, params.format)


def masked_sum(field: Field, rows: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The sum of vectors, each under uniform masks that cancel in the sum."""
    masks = [rng.integers(0, field.modulus, row.size).astype(field.dtype) for row in rows]
    masked = [field.add(row, mask) for row, mask in zip(rows, masks, strict=True)]
    return field.sub(field.sum(np.stack(masked)), field.sum(np.stack(masks)))


def moved(field: Field, vector: np.ndarray, by: list[int]) -> np.ndarray:
    """A vector whose first elements go up or down by these integers, in the field."""
    steps = [*by, *[0] * (vector.size - len(by))]
    return field.add(vector, np.array([step % field.modulus for step in steps], field.dtype))


# -- headroom ---------------------------------------------------------------------------------


@looped("name", FORMATS)
@looped("cohort", [2, 10, 1000])
def test_the_field_has_room_for_the_whole_interval(name: str, cohort: int) -> None:
    """Values below zero count like values above: to the last one that a width holds."""
    largest = FORMATS[name](0, 0).largest
    for bits in (20, 32, 33, 61):
        room = (modulus(bits) - 1) // cohort - largest
        for below in (0, room // 3, room):
            for more, wanted in ((0, bits), (1, bits + 1)):
                form = FORMATS[name](below, room - below + more)
                agreed = Params(cohort, 1, form)
                assert agreed.field_bits == wanted
                assert agreed.field_bits == least_bits(cohort * (largest + room + more))


@pytest.mark.parametrize("name", FORMATS)
def test_an_interval_that_no_field_holds_is_refused(name: str) -> None:
    """Below or above, at construction."""
    for below, above in ((2**61, 0), (0, 2**61), (2**60, 2**60)):
        with refused(ParameterError, Code.HEADROOM):
            Params(4, 1, FORMATS[name](below, above))


def test_totals_of_integers_fit_64_bits_with_what_lies_outside() -> None:
    """At the low end and at the high one."""
    Params(2, 1, WiderIntegers(-(2**62) + 9, -(2**62) + 99, below=9))
    Params(2, 1, WiderIntegers(2**62 - 99, 2**62 - 10, above=9))
    with refused(ParameterError, Code.HEADROOM, match="64-bit"):
        Params(2, 1, WiderIntegers(-(2**62) + 9, -(2**62) + 99, below=10))
    with refused(ParameterError, Code.HEADROOM, match="64-bit"):
        Params(2, 1, WiderIntegers(2**62 - 99, 2**62 - 10, above=10))


# -- round trips ------------------------------------------------------------------------------


@given(st.data())
def test_integers_come_back_exactly(data: st.DataObject) -> None:
    """Any inputs and any steps out of the range, through codec, masks and field."""
    cohort = data.draw(st.integers(2, 6))
    below, above = (data.draw(st.integers(0, 2**40)) for _ in range(2))
    agreed = Params(cohort, 4, WiderIntegers(-40, 900, below, above))
    codec, field = base_codec(agreed), Field(agreed.field_bits)
    survivors = data.draw(st.integers(1, cohort))
    values = st.lists(st.integers(-40, 900), min_size=4, max_size=4)
    steps = st.integers(-below, above) | st.sampled_from([-below, above])
    rows, wanted = [], np.zeros(4, np.int64)
    for _ in range(survivors):
        x = data.draw(values)
        noise = data.draw(st.lists(steps, min_size=4, max_size=4))
        rows.append(moved(field, codec.encode(np.array(x), 1, bytes).vector, noise))
        wanted += np.array(x) + np.array(noise)
    total = masked_sum(field, rows, np.random.default_rng(1))
    got = codec.decode(total, survivors)
    assert got.total.tolist() == wanted.tolist()
    assert got.mean.tolist() == [value / survivors for value in wanted.tolist()]


@looped("max_weight", [1, 7])
@looped("below, above", [(300, 0), (300, 300), (2**24, 5), (2**40, 2**40)])
def test_real_numbers_come_back(max_weight: int, below: int, above: int) -> None:
    """Sums far below -clip and far above clip, and all in between, weighted or not."""
    rng = np.random.default_rng(7)
    agreed = Params(5, 64, WiderFixedPoint(2.0, 8, max_weight, below, above))
    codec, field, step = base_codec(agreed), Field(agreed.field_bits), agreed.format.step
    for survivors in (1, 4, 5):
        rows, wanted, whole = [], np.zeros(64), 0
        for _ in range(survivors):
            weight = int(rng.integers(1, max_weight + 1))
            x = rng.uniform(-2, 2, 64)
            noise = rng.integers(-below, above + 1, 64)
            x[:8], noise[:8] = -2.0, -below
            x[8:16], noise[8:16] = 2.0, above
            encoded = codec.encode(x, weight, rng.bytes).vector
            elements = [int(element) for element in encoded[:64]]
            wanted += [element * step - 2.0 * weight for element in elements] + noise * step
            whole += weight
            rows.append(moved(field, encoded, noise.tolist()))
        got = codec.decode(masked_sum(field, rows, rng), survivors)
        assert got.weight == whole
        assert got.total.min() == pytest.approx(-2.0 * whole - survivors * below * step)
        # Some roundings to double of numbers as large as the interval, on either side.
        error = 8 * 2.0**-53 * agreed.format.plausible(survivors, whole).width * step
        np.testing.assert_allclose(got.total, wanted, rtol=0, atol=error)
        np.testing.assert_allclose(got.mean, wanted / whole, rtol=0, atol=error / whole)


# -- plausibility -----------------------------------------------------------------------------


@looped("name", FORMATS)
@looped("survivors", [1, 7, 10])
def test_what_lies_outside_the_interval_is_refused(name: str, survivors: int) -> None:
    """Both ends of what the survivors can make are read, one further is refused, at any place.

    A whole cohort could go further: the room of the field says nothing about these survivors.
    """
    agreed = Params(10, 3, FORMATS[name](1000, 50))
    codec, field = base_codec(agreed), Field(agreed.field_bits)
    weight = survivors if agreed.format.max_weight == 1 else 3 * survivors
    span = agreed.format.plausible(survivors, weight)
    assert span.low == -1000 * survivors
    tail = [weight] if agreed.format.weighted else []
    for place in range(3):
        for element in (span.low, -1, 0, span.high):
            sums = [0, 0, 0]
            sums[place] = element
            total = np.array([s % field.modulus for s in (*sums, *tail)], field.dtype)
            total.flags.writeable = False
            assert codec.decode(total, survivors).weight == weight
        for element in (span.low - 1, span.high + 1, field.modulus // 2):
            sums = [0, 0, 0]
            sums[place] = element
            total = np.array([s % field.modulus for s in (*sums, *tail)], field.dtype)
            with refused(RangeError, Code.IMPOSSIBLE_SUM, match=f"{span.low}..{span.high}"):
                codec.decode(total, survivors)


@looped("name", FORMATS)
def test_room_and_plausibility_are_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field with room for more than a decoder believes, and for sums that no survivors have."""
    kind = type(FORMATS[name](0, 0))
    narrow = Params(10, 1, FORMATS[name](5, 9)).field_bits
    monkeypatch.setattr(kind, "room", lambda self, cohort: Interval(-(2**40), 2**40))
    agreed = Params(10, 1, FORMATS[name](5, 9))
    assert agreed.field_bits == 42 > narrow
    codec, field = base_codec(agreed), Field(agreed.field_bits)
    span = agreed.format.plausible(4, 4)
    tail = [4] if agreed.format.weighted else []
    for element, fine in ((span.low, 1), (span.high, 1), (span.low - 1, 0), (span.high + 1, 0)):
        total = np.array([element % field.modulus, *tail], field.dtype)
        if fine:
            decoded = codec.decode(total, 4)
            assert decoded.weight == 4
            if name == "integers":
                assert decoded.total.tolist() == [element - 40 * 4]
            continue
        with refused(RangeError, Code.IMPOSSIBLE_SUM):
            codec.decode(total, 4)
    monkeypatch.undo()


@pytest.mark.parametrize("form", [FixedPoint(2.0, 8), FixedPoint(2.0, 8, 7), Integers(-40, 900)])
def test_the_formats_of_wire_v1_read_nothing_as_negative(form: FixedPoint | Integers) -> None:
    """Their sums begin at zero, so that what stands at the top of the field is refused."""
    agreed = Params(10, 1, form)
    assert form.plausible(10, 20).low == 0
    field = Field(agreed.field_bits)
    total = np.array([field.modulus - 1, *([10] if form.weighted else [])], field.dtype)
    with refused(RangeError, Code.IMPOSSIBLE_SUM):
        codec_for(agreed, bytes(16)).decode(total, 10)


@looped("name", FORMATS)
def test_another_format_never_gets_the_codec_of_its_base(name: str) -> None:
    """Else its noise, or whatever it adds to a vector, would be left out in silence."""
    agreed = Params(10, 1, FORMATS[name](1, 1))
    for make in (lambda: codec_for(agreed, bytes(16)), lambda: Server(agreed.round())):
        with refused(ParameterError, Code.UNSUPPORTED):
            make()

    def no_secrets(size: int) -> bytes:
        raise AssertionError("a secret was drawn for a round that cannot be played")

    with refused(ParameterError, Code.UNSUPPORTED):
        Client(agreed.round(), 0, random=no_secrets)
