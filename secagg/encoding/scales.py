"""Maps the values of one array or metric onto the grid of a format, and their sums back.

The range low..high of a slot is scaled onto that of the format, so wire and headroom are those of
any other input. A scale writes the values of a slot as coordinates of an input, and reads their sum
or mean from the result of a round.
"""

import math
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import ParameterError
from ..params.formats import FixedPoint, Format, Integers
from ..params.rotated import Rotated
from .arrays import kind_of, plain, plain_dtype
from .codec import parts_of
from .ranges import LARGEST, Slot

Flat = NDArray[Any]  # of one dimension

_FLOAT32: Final = np.dtype(np.float32)
_FLOAT64: Final = np.dtype(np.float64)
_INT64: Final = range(-(2**63), 2**63)
# Up to so many bits a float32 has 16 values or more per step, and a float64 has one that every
# rounding leaves on a given level (`LevelScale`).
_NARROW_BITS: Final = 20
_ROUNDING: Final = 2.0**-48  # all roundings to float64 from a value to the result; see RealScale
_HALF_FLOAT32: Final = 2.0**-24
_METRICS: Final = 0.1  # of the clip of `Rotated`, for a metric at an end of its range


class Scale(Protocol):
    """Writes the values of a slot as coordinates of an input, and reads them from a result."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the coordinates."""

    @property
    def step(self) -> float:
        """The distance of two values that the grid tells apart."""

    @property
    def error(self) -> float:
        """The largest error of one client's value, or of a mean; see `ModelLayout.errors`."""

    def write(self, new: Flat, old: Flat | None, out: Flat) -> int:
        """Writes values, or new - old; returns how many were clipped.

        Raises:
            RangeError: a value is not finite, or cannot be summed exactly.
        """

    def read(self, total: Flat, weight: int) -> Flat:
        """Returns sums or means of values, as the slot's mode says, from sums of coordinates.

        Raises:
            RangeError: no values in the slot's range have such a sum: a client sent a coordinate
                that the format takes, but that stands for no value in the range.
        """


def scale_of(slot: Slot, form: Format, weights: int) -> Scale:
    """Returns the scale that fits a slot.

    Args:
        slot: not in mode "keep".
        form: the format.
        weights: the largest sum of the weights of a round.

    Raises:
        ParameterError: the format cannot hold the range, or not exactly.
    """
    if isinstance(form, Integers):
        return ShiftScale(slot, form, weights)
    if isinstance(form, Rotated):
        return NormScale(slot, form)
    if slot.exact:
        return LevelScale(slot, form, weights)
    return RealScale(slot, form)


class RealScale:
    """Real numbers: the middle of the range becomes 0, its ends the clip of the format.

    The error of one value, and so of a mean, is at most `error`. Below, e = 2**-53, m is the larger
    of abs(low) and abs(high), half is half of the range, C the clip and L the levels of the format.

    - The format rounds to one of the two levels beside a value: less than a step, 2 * half / L.
      Its arithmetic, 3 roundings of numbers up to L on the way to the level and 4 of numbers up to
      2 * C * (sum of weights) on the way back: at most 14 * e * half.
    - Here a value is subtracted (new - old, minus the middle), multiplied by C / half, which was
      itself rounded; on the way back it is multiplied by half / C and the middle is added: at most
      10 roundings of numbers up to 2 * m, 20 * e * m. That is less than 2**-48 * m together.
    - A coordinate in float32 is rounded once more: 2**-24 * half.

    A result is then rounded to the dtype of its array, which `error` leaves out.
    """

    def __init__(self, slot: Slot, form: FixedPoint) -> None:
        self._slot = slot
        self._middle = (slot.low + slot.high) / 2
        self._half = (slot.high - slot.low) / 2
        self._clip = form.clip
        self._unit = self._half / form.clip  # of a value, per unit of a coordinate
        if not self._half:
            raise ParameterError(
                f"the range of {slot.called} has no float64 between its ends: widen it, or sum "
                "whole numbers with exact=True",
                Code.ARGUMENT,
            )
        self._up = form.clip / self._half
        if not all(1 / LARGEST <= each <= LARGEST for each in (self._unit, self._up)):
            raise ParameterError(
                f"the range of {slot.called} is too far from the clip of the format: both must be "
                "within a factor of 2**900",
                Code.ARGUMENT,
            )
        digits = slot.metric or (slot.is_float and slot.dtype.itemsize <= _FLOAT32.itemsize)
        narrow = digits and form.bits <= _NARROW_BITS and 2.0**-60 <= form.clip <= 2.0**60
        self.dtype: Final = _FLOAT32 if narrow else _FLOAT64
        self.step: Final = 2 * self._half / form.levels
        self.error: Final = (
            self.step
            + self._half * (_HALF_FLOAT32 if narrow else 0)
            + _ROUNDING * max(abs(slot.low), abs(slot.high))
        )

    def write(self, new: Flat, old: Flat | None, out: Flat) -> int:
        """Clips and scales values; computes in float64, whatever the dtypes."""
        clipped = 0
        for part in parts_of(new.size):
            block = _as_floats(new[part], None if old is None else old[part])
            if self._middle:
                block -= self._middle
            low, high = float(block.min()), float(block.max())  # a NaN among them is both
            self._slot.require(
                math.isfinite(low) and math.isfinite(high),
                "has a value that is NaN or infinite: check whether the training diverged",
                Code.NOT_FINITE,
            )
            beyond = max(-low, high)
            if beyond > self._half:
                bases = None if old is None else old[part]
                clipped += _count_beyond(self._half, block, new[part], bases)
            block *= self._up
            if beyond * self._up > self._clip:
                np.clip(block, -self._clip, self._clip, out=block)
            out[part] = block
        return clipped

    def read(self, total: Flat, weight: int) -> Flat:
        """Returns float64; a sum may be beyond its range by the error of each value."""
        wide = plain(total).astype(_FLOAT64, copy=False)
        allowed = self._half * (1 + _spacing_at_one(total.dtype)) + self.error
        if wide.size:
            low, high = float(wide.min()), float(wide.max())  # a NaN among them is both
            possible = (
                -low * self._unit <= allowed * weight and high * self._unit <= allowed * weight
            )
            _require_possible(self._slot, possible, weight)
        if self._slot.mode == "sum":
            return wide * self._unit + self._middle * weight
        return wide * (self._unit / weight) + self._middle


class NormScale:
    """Real numbers of a vector that is bounded in L2 as a whole: the range is a unit, no limit.

    Of an array the middle of the range becomes 0 and half of it the clip of the format: an array
    whose update has that norm, where all others have none, is not shortened. A metric is clipped to
    its range, whose ends become a tenth of the clip, so that metrics leave room for the model.
    """

    def __init__(self, slot: Slot, form: Rotated) -> None:
        if slot.exact:
            raise ParameterError(
                f"{slot.called} cannot be summed exactly by Rotated, which rounds a vector as a "
                'whole: use the mode "keep", or sum it in a round of its own with Integers',
                Code.ARGUMENT,
            )
        self._slot = slot
        self._middle = (slot.low + slot.high) / 2
        self._half = (slot.high - slot.low) / 2
        self._up = form.clip * (_METRICS if slot.metric else 1.0) / self._half
        if not 1 / LARGEST <= self._up <= LARGEST:
            raise ParameterError(
                f"the range of {slot.called} is too far from the clip of the format: both must be "
                "within a factor of 2**900",
                Code.ARGUMENT,
            )
        is_short = slot.is_float and slot.dtype.itemsize <= _FLOAT32.itemsize
        self.dtype: Final = _FLOAT32 if is_short or slot.metric else _FLOAT64
        self.step: Final = form.step / self._up
        # A standard deviation, of the value of a client that has the largest weight.
        self.error: Final = self.step * math.sqrt(0.25 + float(form.variance))

    def write(self, new: Flat, old: Flat | None, out: Flat) -> int:
        """Scales values, or new - old; of a metric one beyond its range is clipped."""
        clipped = 0
        for part in parts_of(new.size):
            block = _as_floats(new[part], None if old is None else old[part])
            block -= self._middle
            self._slot.require(
                bool(np.isfinite(block).all()),
                "has a value that is NaN or infinite: check whether the training diverged",
                Code.NOT_FINITE,
            )
            if self._slot.metric:
                clipped += _count_beyond(self._half, block, new[part], None)
                np.clip(block, -self._half, self._half, out=block)
            block *= self._up
            out[part] = block
        return clipped

    def read(self, total: Flat, weight: int) -> Flat:
        """Returns float64."""
        values = plain(total).astype(_FLOAT64, copy=False) / self._up
        if self._slot.mode == "sum":
            return values + self._middle * weight
        return values / weight + self._middle


class LevelScale:
    """Whole numbers at levels of the grid of `FixedPoint`, so that their sum is exact.

    The number n above the low end stands at level `_per` * n. Up to 20 bits a float64 exists for
    each level which every rounding of the format leaves there (`_at_levels`), so sums of levels are
    right. With more bits the format may miss a level by one, and the sum of all weights must be
    below half of `_per`. Sums are then read by rounding to the nearest whole number, from a total
    whose own error is at most 2**-50 of the largest one, weights * levels: below `_per` / 4, and
    beyond 20 bits at most weights / 2**18, for which their bound leaves room.
    """

    dtype: Final = _FLOAT64
    step: Final = 1.0
    error: Final = 0.0

    def __init__(self, slot: Slot, form: FixedPoint, weights: int) -> None:
        self._slot, self._form = slot, form
        self._low, self._high = int(slot.low), int(slot.high)
        span = self._high - self._low
        self._per = (form.levels - 1) // span
        largest = max(abs(self._low), abs(self._high)) * weights
        if not self._per:
            reason = f"does not fit {form.bits} bits, whose ranges have at most {form.levels - 1}"
        elif form.bits > _NARROW_BITS and 2 * weights + weights // 2**16 >= self._per:
            reason = (
                f"with weights of up to {weights} together does not fit {form.bits} bits: beyond "
                f"20 bits, 2**bits must be over twice the weights times the range"
            )
        elif weights * form.levels >= 2**48 * self._per or largest >= 2**63:
            reason = f"with weights of up to {weights} together is too large for a float64"
        else:
            return
        raise ParameterError(
            f"{slot.called} cannot be summed exactly: {self._low}..{self._high} {reason}; narrow "
            "the range, give exact=False, or sum it in a round of its own with Integers",
            Code.HEADROOM,
        )

    def write(self, new: Flat, old: Flat | None, out: Flat) -> int:
        """Writes whole numbers, of which none may be clipped: the sum would not be exact."""
        _require_whole(self._slot, new)
        for part in parts_of(new.size):
            above = _shifted(new[part], -self._low)  # in integers: floats are not exact above 2**53
            out[part] = _at_levels(above.astype(np.float64) * self._per, self._form)
        return 0

    def read(self, total: Flat, weight: int) -> Flat:
        """Returns int64."""
        with np.errstate(over="ignore"):  # to infinity, which is refused
            levels = (total + self._form.clip * weight) * self._form.scale
        above = np.rint(levels / self._per)
        possible = (above >= 0) & (above <= (self._high - self._low) * weight)  # not of a NaN
        _require_possible(self._slot, bool(possible.all()), weight)
        return above.astype(np.int64) + self._low * weight


class ShiftScale:
    """Integers, shifted to the low end of the format: exact, but that a mean is rounded once."""

    dtype: Final = np.dtype(np.int64)
    step: Final = 1.0

    def __init__(self, slot: Slot, form: Integers, weights: int) -> None:
        self._slot = slot
        mean = 2.0**-53 * max(abs(slot.low), abs(slot.high))
        self.error: Final = mean if slot.mode == "mean" else 0.0
        low, high = int(slot.low), int(slot.high)
        if high - low > form.largest:
            raise ParameterError(
                f"{slot.called} lies in {low}..{high}, which is wider than the format's "
                f"{form.low}..{form.high}: widen the range of the format",
                Code.HEADROOM,
            )
        if weights * low not in _INT64 or weights * high not in _INT64:
            raise ParameterError(
                f"sums of {slot.called} over {weights} clients do not fit 64-bit integers: lower "
                "its range or the cohort",
                Code.HEADROOM,
            )
        self._shift = form.low - low
        self._low, self._high = form.low, form.low + high - low  # of a coordinate

    def write(self, new: Flat, old: Flat | None, out: Flat) -> int:
        """Shifts integers; modulo 2**64 the result is right whatever the signs."""
        _require_whole(self._slot, new)
        for part in parts_of(new.size):
            out[part] = _shifted(new[part], self._shift)
        return 0

    def read(self, total: Flat, weight: int) -> Flat:
        """Returns int64 for sums, float64 for means."""
        if total.size:
            whole = plain(total)
            low, high = int(whole.min()), int(whole.max())  # of Python, which do not wrap
            possible = self._low * weight <= low and high <= self._high * weight
            _require_possible(self._slot, possible, weight)
        exact = _shifted(total, -self._shift * weight)
        if self._slot.mode == "mean":  # of a metric: Python divides integers with one rounding
            return np.array([whole / weight for whole in exact.tolist()])
        return exact


def added(
    slot: Slot, scale: Scale, total: NDArray[Any], weight: int, old: NDArray[Any]
) -> NDArray[Any]:
    """Returns old plus the mean, in the dtype of the layout, or in float64 where that is too small.

    Raises:
        RangeError: a value of the old model is NaN or infinite; or no values in the range of the
            slot have such a mean.
    """

    def fill(out: NDArray[Any]) -> NDArray[Any]:
        for part in parts_of(slot.size):
            out[part] = scale.read(total[part], weight) + plain(old[part])
        return out

    with np.errstate(all="ignore"):
        new = fill(np.empty(slot.size, slot.dtype))
        if not np.isfinite(new).all():
            new = fill(np.empty(slot.size, np.float64))
    slot.require(
        bool(np.isfinite(new).all()),
        "of the old model has a NaN or infinite value",
        Code.NOT_FINITE,
    )
    return new


def _as_floats(new: Flat, old: Flat | None) -> NDArray[np.float64]:
    """Returns new - old, or new, as a new array of float64."""
    if old is None:
        return plain(new).astype(np.float64)
    block: NDArray[np.float64] = np.subtract(
        plain(new), plain(old), dtype=np.float64, casting="unsafe"
    )
    return block


def _count_beyond(half: float, block: NDArray[np.float64], new: Flat, old: Flat | None) -> int:
    """Counts the values beyond half of a range by more than the roundings of the caller.

    A training that clips an update gives back old + update, rounded; the difference may then lie
    beyond the range by what that rounding, and that of the bound itself, have added.
    """
    at = np.flatnonzero(np.abs(block) > half)
    given = [new] if old is None else [new, old]
    sizes = [np.abs(plain(each[at]).astype(np.float64)) for each in given]
    room = 1.5 * max(_spacing_at_one(each.dtype) for each in given)
    allowed = half + room * np.maximum.reduce([*sizes, np.full(at.size, half)])
    return int(np.count_nonzero(np.abs(block[at]) > allowed))


def _require_whole(slot: Slot, values: Flat) -> None:
    """Raises RangeError unless all values are whole numbers in the range of a slot."""
    if not values.size:
        return
    numbers = plain(values)
    low, high = numbers.min().item(), numbers.max().item()
    slot.require(math.isfinite(low + high), "has a value that is NaN or infinite", Code.NOT_FINITE)
    whole = numbers.dtype.kind != "f" or bool((numbers == np.rint(numbers)).all())
    slot.require(whole, "has a value that is no whole number, and its sum is exact", Code.DTYPE)
    slot.require(
        slot.low <= low and high <= slot.high,
        f"has a value outside {slot.low}..{slot.high}, and an exact sum clips nothing: widen its "
        "range, or leave it out",
        Code.OUT_OF_RANGE,
    )


def _require_possible(slot: Slot, possible: bool, weight: int) -> None:
    """Raises RangeError about a sum of coordinates unless it is possible."""
    slot.require(
        possible,
        f"has a sum that no contributions in its range {slot.low}..{slot.high} have, with weights "
        f"of {weight} together: a client sent a value outside it, or a worker a wrong result",
        Code.IMPOSSIBLE_SUM,
    )


def _at_levels(levels: NDArray[np.float64], form: FixedPoint) -> NDArray[np.float64]:
    """Returns values that the format rounds to these levels of its grid, whatever it draws.

    With y = (x + clip) * scale, as the format computes it, a draw u in 0 .. 1 - 2**-32 is added and
    the sum rounded down: it stays at level n for all u if n <= y <= n + 2**-33. Up to 20 bits
    neighbouring x give y that are at most 2**-33 apart, or are rounded to multiples of 2**-33, so
    one of the neighbours of the plain quotient will do.
    """
    first = levels / form.scale - form.clip
    found, move = first.copy(), np.spacing(form.clip)
    for steps in (1, -1, 2, -2):
        reached = (found + form.clip) * form.scale
        wrong = (reached < levels) | (reached > levels + 2.0**-33)
        if not wrong.any():
            break
        found[wrong] = first[wrong] + steps * move
    return found


def _shifted(values: Flat, shift: int) -> NDArray[np.int64]:
    """Returns whole numbers of 64 bits plus a shift, which is right if the results are int64."""
    whole = plain(values)
    whole = whole.astype(np.int64) if whole.dtype.kind == "f" else whole
    return (whole.astype(np.uint64) + np.uint64(shift % 2**64)).astype(np.int64)


@lru_cache(maxsize=64)
def _spacing_at_one(dtype: np.dtype[Any]) -> float:
    """Returns the distance from 1 to the next number of a dtype; 0 if it is one of integers."""
    if kind_of(dtype) != "f":
        return 0.0
    if dtype.isbuiltin == 2:
        one = np.ones(1).astype(dtype)
        return float(np.spacing(one)[0])
    return float(np.finfo(plain_dtype(dtype)).eps)
