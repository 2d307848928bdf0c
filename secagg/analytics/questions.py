"""The questions of a query: how many records, and sums, means and variances of a number of them.

A question is a number of integers for each cell of a table; a table without axes is one cell. All
are sums over records, of integers, so they are exact however many records there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..params.checks import require_float, require_int
from .axes import Axis, read_axes
from .columns import Missing, Records, read_missing, read_name

MAX_LEVELS: Final = 2**32 - 1  # of one value, and the largest weight: the limbs of `_exact`
MAX_CELLS: Final = 2**24

Cells = NDArray[np.int64]  # the cell of each record
Totals: TypeAlias = list[int]  # one for each cell


@dataclass(frozen=True, slots=True)
class Count:
    """Counts records, in the cells of a table if there are axes: a histogram, or a cross table.

    Attributes:
        by: `Bins` and `Categories`, one or more, with up to 2**24 cells; () counts all records
            together. Kept as a tuple.

    Raises:
        ParameterError: an argument is wrong.
    """

    by: Axis | Sequence[Axis] = ()

    def __post_init__(self) -> None:
        _set_axes(self)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes; none for one cell."""
        return read_axes(self.by)

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of labels of the axes."""
        return tuple(len(axis.labels) for axis in self.axes)

    def most(self, records: int) -> dict[str, int]:
        """Returns what is summed, and the largest value that one party can contribute."""
        return {"count": records}

    def summed(self, records: Records) -> tuple[dict[str, Totals], dict[str, int]]:
        """Returns the sums of one party by name, and how many values were clipped, by column."""
        cells, clipped = _cells(self.axes, self.shape, records)
        return {"count": _counted(cells, math.prod(self.shape))}, clipped

    def check(self, sums: dict[str, Totals]) -> bool:
        """Returns whether there can be records with these sums."""
        return True

    def parts(self) -> tuple[Any, ...]:
        """Returns parts of a digest."""
        return "count", *_axes_parts(self.axes)

    def __str__(self) -> str:
        return "number of records" + _axes_text(self.axes)


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums up a number: its sum, mean and variance, in the cells of a table if there are axes.

    Each value is rounded to the nearest low + k * step. All that follows is exact. So each value,
    and the mean, is wrong by at most step / 2. The variance is about step**2 / 12 too large on
    average, and wrong by at most about step times the standard deviation.

    Attributes:
        column: its name in the records.
        low, high: values outside are clipped, and the party itself is warned with a
            `ClippingWarning`; -2**100..2**100. The grid ends at its last value that is not above
            high.
        step: what values are rounded to, as fine as they were measured; at least 2**-32 of the
            range.
        by: as for `Count`.
        weight: the name of a column with whole numbers 0..max_weight, by which each record counts;
            "" for none. No weight may be missing. A mean is then sum(w * x) / sum(w).
        max_weight: the largest weight, 1..2**32 - 1; 1 without weights.
        missing: "refuse" raises RangeError at a party that lacks a value; "count" leaves such
            records out, and counts them.

    Raises:
        ParameterError: an argument is wrong.
    """

    column: str
    low: float
    high: float
    step: float
    by: Axis | Sequence[Axis] = ()
    weight: str = ""
    max_weight: int = 1
    missing: Missing = "refuse"

    def __post_init__(self) -> None:
        _set_axes(self)
        object.__setattr__(self, "column", read_name("column", self.column))
        object.__setattr__(self, "missing", read_missing(self.missing))
        for name in ("low", "high", "step"):
            value = require_float(name, getattr(self, name)) + 0.0
            if not abs(value) <= 2.0**100:  # or NaN
                raise ParameterError(
                    f"{name} of {self.column!r} must be in -2**100 .. 2**100, not {value}",
                    Code.ARGUMENT,
                )
            object.__setattr__(self, name, value)
        if not self.step > 0 or not 1 <= self.levels <= MAX_LEVELS:
            raise ParameterError(
                f"{self.column!r} needs low < high, and a positive step that is at least 2**-32 of "
                f"high - low and at most all of it, not {self.low}, {self.high} and {self.step}",
                Code.ARGUMENT,
            )
        if self.weight != "":
            object.__setattr__(self, "weight", read_name("weight", self.weight))
        most = require_int("max_weight", self.max_weight, 1, MAX_LEVELS if self.weight else 1)
        object.__setattr__(self, "max_weight", most)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes; none for one cell."""
        return read_axes(self.by)

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of labels of the axes."""
        return tuple(len(axis.labels) for axis in self.axes)

    @property
    def levels(self) -> int:
        """The largest k of low + k * step."""
        return math.floor((Fraction(self.high) - Fraction(self.low)) / Fraction(self.step))

    def most(self, records: int) -> dict[str, int]:
        """Returns what is summed, and the largest value that one party can contribute."""
        weight, top = records * self.max_weight, self.levels
        return {
            "count": records,
            **({"missing": records} if self.missing == "count" else {}),
            **({"weight": weight} if self.weight else {}),
            "first": weight * top,
            "second": weight * top**2,
        }

    def summed(self, records: Records) -> tuple[dict[str, Totals], dict[str, int]]:
        """Returns the sums of one party by name, and how many values were clipped, by column.

        Raises:
            RangeError: a weight is no whole number in 0..max_weight.
        """
        size = math.prod(self.shape)
        cells, clipped = _cells(self.axes, self.shape, records)
        numbers, gone = records.numbers(self.column, self.missing)
        there = ~gone
        numbers, sums = numbers[there], {}
        if self.missing == "count":
            sums["missing"] = _counted(cells[gone], size)
        inside, cells = np.clip(numbers, self.low, self.high), cells[there]
        if count := int(np.count_nonzero(inside != numbers)):
            clipped[self.column] = count
        level = np.rint((inside - self.low) / self.step).clip(0, self.levels).astype(np.uint64)
        weighted = level
        sums["count"] = _counted(cells, size)
        if self.weight:
            weights = self._weights(records)[there]
            sums["weight"] = _exact(cells, size, weights)
            weighted = weights * level  # below 2**64
        sums["first"] = _exact(cells, size, weighted)
        high, low = weighted >> np.uint64(32), weighted & np.uint64(2**32 - 1)
        pairs = zip(
            _exact(cells, size, high * level), _exact(cells, size, low * level), strict=True
        )
        sums["second"] = [(upper << 32) + lower for upper, lower in pairs]
        return sums, clipped

    def _weights(self, records: Records) -> NDArray[np.uint64]:
        weights, gone = records.numbers(self.weight, "count")
        if gone.any():
            raise RangeError(
                f"column {self.weight!r} lacks {np.count_nonzero(gone):,} of {gone.size:,} "
                "weights: leave these records out, or give them the weight 0",
                Code.NOT_FINITE,
            )
        wrong = ~((weights >= 0) & (weights <= self.max_weight) & (weights == np.floor(weights)))
        if wrong.any():
            raise RangeError(
                f"column {self.weight!r} has {np.count_nonzero(wrong):,} weights that are no whole "
                f"numbers in 0..{self.max_weight}",
                Code.WEIGHT,
            )
        return weights.astype(np.uint64)

    def check(self, sums: dict[str, Totals]) -> bool:
        """Returns whether there can be records with these sums."""
        weights, top = sums.get("weight", sums["count"]), self.levels
        rows = zip(sums["count"], weights, sums["first"], sums["second"], strict=True)
        return all(
            weight <= count * self.max_weight
            and first <= weight * top
            and second <= first * top
            and first**2 <= second * weight
            for count, weight, first, second in rows
        )

    def parts(self) -> tuple[Any, ...]:
        """Returns parts of a digest."""
        own = self.column, self.low, self.high, self.step, self.weight, self.max_weight
        return "moments", *own, self.missing, *_axes_parts(self.axes)

    def __str__(self) -> str:
        weighted = f", weighted by {self.weight} (0..{self.max_weight})" if self.weight else ""
        return (
            f"sum, mean and variance of {self.column} in {self.low:g}..{self.high:g}, rounded to "
            f"{self.step:g}{weighted}{_axes_text(self.axes)}"
        )


Question: TypeAlias = Count | Moments


def _set_axes(question: Question) -> None:
    """Reads the axes of a question in the place of what was given."""
    object.__setattr__(question, "by", read_axes(question.by))
    if math.prod(question.shape) > MAX_CELLS:
        raise ParameterError(
            f"a table of {' x '.join(map(str, question.shape))} cells is too large: {MAX_CELLS} "
            "are possible",
            Code.ARGUMENT,
        )


def _cells(
    axes: tuple[Axis, ...], shape: tuple[int, ...], records: Records
) -> tuple[Cells, dict[str, int]]:
    """Returns the cell of each record, and how many values were clipped, by column."""
    cells, clipped = np.zeros(records.count, np.int64), {}
    for axis, size in zip(axes, shape, strict=True):
        place, outside = axis.sort(records)
        cells = cells * size + place
        if outside:
            clipped[axis.column] = outside
    return cells, clipped


def _counted(cells: Cells, size: int) -> Totals:
    """Returns the number of records in each cell."""
    counts: Totals = np.bincount(cells, minlength=size).tolist()
    return counts


def _exact(cells: Cells, size: int, values: NDArray[np.uint64]) -> Totals:
    """Returns the sums of up to 2**31 values by cell, as integers of any size."""
    halves = []
    for half in (values >> np.uint64(32), values & np.uint64(2**32 - 1)):
        total = np.zeros(size, np.uint64)  # of values below 2**32: no overflow
        np.add.at(total, cells, half)
        halves.append(total.tolist())
    return [(high << 32) + low for high, low in zip(*halves, strict=True)]


def _axes_parts(axes: tuple[Axis, ...]) -> tuple[Any, ...]:
    parts: list[Any] = [len(axes)]
    for axis in axes:
        parts += axis.parts()
    return tuple(parts)


def _axes_text(axes: tuple[Axis, ...]) -> str:
    return "".join(f", by {axis}" for axis in axes)


def moments_of(question: Moments, weight: int, first: int, second: int) -> tuple[float, ...]:
    """Returns sum, mean and variance of one cell, each rounded once; NaN where there is none."""
    low, step = Fraction(question.low), Fraction(question.step)
    total = float(low * weight + step * first)
    if not weight:
        return total, math.nan, math.nan
    mean = float(low + step * Fraction(first, weight))
    if weight < 2:
        return total, mean, math.nan
    spread = Fraction(second * weight - first**2, weight * (weight - 1))
    return total, mean, float(step**2 * spread)
