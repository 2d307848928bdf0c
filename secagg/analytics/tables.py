"""Answers to questions, as tables of NumPy arrays; cells that are suppressed are masked."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..numeric import as_float, brief
from .axes import Axis, Bins

Masked = np.ma.MaskedArray[Any, Any]

_ROWS: Final = 40  # of a table as text


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile, as far as a histogram knows it.

    Attributes:
        value: interpolated in its bin, as if values were spread evenly there; NaN in a bin without
            an end.
        low, high: the bin: the exact quantile lies in it, unless values were clipped into
            it, or there is noise.
    """

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """How far the exact quantile can be from `value`; infinite in a bin without an end."""
        if math.isnan(self.value):
            return math.inf
        return max(self.value - self.low, self.high - self.value)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Table:
    """The answer to a `Count`. Arrays have the shape of the axes; suppressed cells are masked.

    Attributes:
        by: the axes.
        count: records in each cell, int64; 0 under the mask, as in all arrays. With noise it may be
            below zero.
        noise: the standard deviation of the noise in each cell; 0 without.
    """

    by: tuple[Axis, ...]
    count: Masked
    noise: float = 0.0

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """The labels of each axis."""
        return tuple(axis.labels for axis in self.by)

    @property
    def suppressed(self) -> int:
        """The number of cells that are suppressed."""
        return int(np.ma.getmaskarray(self.count).sum())

    def quantile(self, p: float) -> Quantile:
        """Returns the p-quantile of a histogram: the least x that p of all values do not exceed.

        Records in the bin "missing" do not count.

        Args:
            p: in 0..1, such as 0.5 for the median.

        Raises:
            ParameterError: the table has other axes than one of `Bins`, or p is out of range.
            RangeError: a cell is suppressed, or there are no values.
        """
        share = as_float(p)
        if share is None or not 0 <= share <= 1:
            raise ParameterError(f"p must be in 0..1, not {brief(p)}", Code.ARGUMENT)
        if len(self.by) != 1 or not isinstance(self.by[0], Bins):
            raise ParameterError("a quantile needs a table with one axis, of Bins", Code.ARGUMENT)
        if self.suppressed:
            raise RangeError(
                f"a quantile needs all cells, and {self.suppressed} are suppressed: unpack without "
                "`least`, or ask with wider bins",
                Code.OUT_OF_RANGE,
            )
        edges = self.by[0].edges
        upto = np.cumsum(self.count.data[: len(edges) - 1].clip(0))  # below 0 is noise
        if not upto[-1]:
            raise RangeError("there are no values, and no quantile of them", Code.OUT_OF_RANGE)
        # 0.1 is meant as one tenth, which the double is not.
        rank = Fraction(repr(share)) * int(upto[-1])
        at = int(np.searchsorted(upto, max(math.ceil(rank), 1)))
        below = int(upto[at - 1]) if at else 0
        low, high = edges[at : at + 2]
        if not (math.isfinite(low) and math.isfinite(high)):
            return Quantile(math.nan, low, high)
        inside = float((rank - below) / (int(upto[at]) - below))
        return Quantile(low + (high - low) * inside, low, high)

    def __str__(self) -> str:
        text = _text(self.labels, {"count": self.count})
        noise = f"\nwith noise of the standard deviation {self.noise:.4g} in each cell"
        return text + noise * (self.noise > 0)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MomentsTable(Table):
    """The answer to `Moments`; its `count` is that of records that have a value.

    Attributes:
        missing: records without one, int64; None unless they are counted.
        weight: sums of weights, float64 beyond 2**63; the count without weights.
        sum: float64; of a weighted question sum(w * x).
        mean: sum / weight, float64; masked where there is none.
        variance: float64, divided by weight - 1, as of a sample; masked where that is below 1.
    """

    missing: Masked | None
    weight: Masked
    sum: Masked
    mean: Masked
    variance: Masked

    def __str__(self) -> str:
        columns = {"count": self.count, "sum": self.sum, "mean": self.mean}
        return _text(self.labels, columns | {"variance": self.variance})


def _text(labels: tuple[tuple[str, ...], ...], columns: dict[str, Masked]) -> str:
    """Returns a table as text, a line for each cell, with "-" for what is masked."""
    rows = [("",) * len(labels) + tuple(columns)]
    places = [*np.ndindex(*map(len, labels))]
    for place in places[:_ROWS]:
        names = tuple(axis[at] for axis, at in zip(labels, place, strict=True))
        rows.append((*names, *(_number(values, place) for values in columns.values())))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if at < len(labels) else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    more = len(places) - _ROWS
    return "\n".join([*lines, f"and {more} more cells"] if more > 0 else lines)


def _number(values: Masked, place: tuple[int, ...]) -> str:
    if np.ma.getmaskarray(values)[place]:
        return "-"
    number = values.data[place]
    return f"{number:,}" if isinstance(number, np.integer) else f"{number:.6g}"
