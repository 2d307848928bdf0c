"""The axes that records are sorted by: ranges of a number, or a public list of categories."""

import math
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..numeric import as_float, as_int, brief
from .columns import Missing, Records, read_missing, read_name, require_present

OTHER: Final = "other"
MISSING: Final = "missing"
_MOST: Final = 2**20  # bins or categories of one axis

Category: TypeAlias = str | int | bool


@dataclass(frozen=True, slots=True)
class Bins:
    """Sorts records by a number, into ranges with public edges.

    Bin i holds edges[i] <= x < edges[i + 1]; the last one holds its upper edge as well. The first
    edge may be -infinity and the last one infinity. Values outside the edges are clipped: they go
    to the first or last bin, and the party itself is warned with a `ClippingWarning`.

    Attributes:
        column: its name in the records.
        edges: 2 to 2**20 numbers, ascending; kept as a tuple.
        missing: "refuse" raises RangeError at a party that lacks a value; "count" sorts such
            records into one more bin, the last, "missing".

    Raises:
        ParameterError: an argument is wrong.
    """

    column: str
    edges: Sequence[float]
    missing: Missing = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", read_name("column", self.column))
        object.__setattr__(self, "missing", read_missing(self.missing))
        edges = [as_float(each) for each in _items("edges", self.edges)]
        numbers = [math.nan if each is None else each + 0.0 for each in edges]  # no -0.0
        if not (2 <= len(numbers) <= _MOST and all(low < high for low, high in pairwise(numbers))):
            raise ParameterError(
                f"edges of {self.column!r} must be 2 to {_MOST} ascending numbers, of which only "
                f"the ends may be infinite, not {brief(self.edges)}",
                Code.ARGUMENT,
            )
        object.__setattr__(self, "edges", tuple(numbers))

    @classmethod
    def within(
        cls, column: str, low: float, high: float, count: int, missing: Missing = "refuse"
    ) -> "Bins":
        """Returns `count` bins of one width between two numbers, and one on either side of them.

        Nothing is clipped. They look closer at a range in which an earlier round found a quantile.

        Args:
            column, missing: as for `Bins`.
            low, high: finite, low < high.
            count: 1..2**20 - 3.

        Raises:
            ParameterError: an argument is wrong.
        """
        first, last, many = as_float(low), as_float(high), as_int(count)
        if (
            first is None
            or last is None
            or many is None
            or not (-math.inf < first < last < math.inf and 1 <= many <= _MOST - 3)
        ):
            raise ParameterError(
                f"within() takes two finite numbers, low < high, and a count in 1..{_MOST - 3}, "
                f"not {brief(low)}, {brief(high)} and {brief(count)}",
                Code.ARGUMENT,
            )
        with np.errstate(all="ignore"):  # an infinite width is refused below
            inner = np.linspace(first, last, many + 1).tolist()
        return cls(column, (-math.inf, *inner, math.inf), missing)

    @property
    def labels(self) -> tuple[str, ...]:
        """Texts for the bins, such as "18..40", the last one "missing" if that is counted."""
        texts = [f"{_short(low)}..{_short(high)}" for low, high in pairwise(self.edges)]
        return (*texts, MISSING) if self.missing == "count" else tuple(texts)

    def sort(self, records: Records) -> tuple[NDArray[np.int64], int]:
        """Returns the bin of each record, and how many values were clipped."""
        numbers, gone = records.numbers(self.column, self.missing)
        found = np.searchsorted(np.array(self.edges), numbers, side="right") - 1
        outside = (numbers < self.edges[0]) | (numbers > self.edges[-1])
        bins = np.clip(found, 0, len(self.edges) - 2).astype(np.int64)
        bins[gone] = len(self.edges) - 1
        return bins, int(np.count_nonzero(outside & ~gone))

    def parts(self) -> tuple[Any, ...]:
        """Returns parts of a digest."""
        return "bins", self.column, np.array(self.edges), self.missing

    def __str__(self) -> str:
        return (
            f"{self.column} in {len(self.edges) - 1} bins of {_short(self.edges[0])}.."
            f"{_short(self.edges[-1])}"
        )


@dataclass(frozen=True, slots=True)
class Categories:
    """Sorts records by a value, into a public list of categories.

    Attributes:
        column: its name in the records.
        values: the categories: 1 to 2**20 texts, integers or bools, each once; kept as a tuple.
        other: sorts all other values into one more category, "other"; False refuses them.
        missing: as for `Bins`; the category "missing" is the last one.

    Raises:
        ParameterError: an argument is wrong.
    """

    column: str
    values: Sequence[Category]
    other: bool = True
    missing: Missing = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", read_name("column", self.column))
        object.__setattr__(self, "missing", read_missing(self.missing))
        if self.other not in (True, False):
            raise ParameterError(f"other is True or False, not {brief(self.other)}", Code.ARGUMENT)
        object.__setattr__(self, "other", bool(self.other))
        values = tuple(map(_category, _items("values", self.values)))
        if not 1 <= len(values) <= _MOST or None in values or len(set(values)) < len(values):
            raise ParameterError(
                f"values of {self.column!r} must be 1 to {_MOST} texts, integers or bools, each "
                f"once, not {brief(self.values)}",
                Code.ARGUMENT,
            )
        object.__setattr__(self, "values", values)
        if len(set(self.labels)) < len(self.labels):
            raise ParameterError(
                f'values of {self.column!r} must differ as texts, also from "other" and "missing" '
                "where these are counted",
                Code.ARGUMENT,
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The categories as texts, with "other" and "missing" where these are counted."""
        more = (OTHER,) * self.other + (MISSING,) * (self.missing == "count")
        return (*map(str, self.values), *more)

    def sort(self, records: Records) -> tuple[NDArray[np.int64], int]:
        """Returns the category of each record, and 0: nothing is clipped."""
        values, gone = records.values(self.column)
        require_present(self.column, gone, self.missing)
        places: dict[Any, int] = {value: at for at, value in enumerate(self.values)}
        rest = len(places) if self.other else -1
        try:
            found = [places.get(value, rest) for value in values]
        except TypeError:
            raise RangeError(
                f"column {self.column!r} has values that are no texts or numbers", Code.DTYPE
            ) from None
        category = np.array(found, np.int64)
        category[gone] = len(self.labels) - 1
        if unknown := np.count_nonzero(category < 0):
            raise RangeError(
                f"column {self.column!r} has {unknown:,} values that are not in the list of the "
                "query: ask with other=True",
                Code.OUT_OF_RANGE,
            )
        return category, 0

    def parts(self) -> tuple[Any, ...]:
        """Returns parts of a digest."""
        return "categories", self.column, len(self.values), *self.values, self.other, self.missing

    def __str__(self) -> str:
        return f"{self.column} in {len(self.labels)} categories"


Axis: TypeAlias = Bins | Categories


def read_axes(given: object) -> tuple[Axis, ...]:
    """Returns axes as a tuple; raises ParameterError if they are none or sort by a column twice."""
    axes = (given,) if isinstance(given, Bins | Categories) else tuple(_items("by", given))
    found = tuple(each for each in axes if isinstance(each, Bins | Categories))
    if len(found) < len(axes):
        raise ParameterError(f"by must have Bins and Categories, not {brief(given)}", Code.ARGUMENT)
    if len({each.column for each in found}) < len(found):
        raise ParameterError("by has a column twice", Code.ARGUMENT)
    return found


def _items(what: str, given: Any) -> list[Any]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ParameterError(f"{what} must be a list, not {brief(given)}", Code.ARGUMENT)
    if isinstance(given, Set):
        raise ParameterError(
            f"{what} must be a list: a set has no order, and all parties must have the same",
            Code.ARGUMENT,
        )
    return list(given)


def _category(value: object) -> Category | None:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    return str(value) if isinstance(value, str) else as_int(value)


def _short(edge: float) -> str:
    text = f"{edge:g}"
    return text if float(text) == edge else repr(edge)
