"""The sums of independent rounds, added to one: a large cohort in several small ones.

Each round has a cohort of its own, and its server learns its sum. So what is promised is the
promise of each round by itself, not one of a round of all (docs/SECURITY.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..events import Result
from ..params.checks import require_kind

_LOW: Final = np.int64(2**32 - 1)  # the lower half of an int64


@dataclass(frozen=True, slots=True)
class Combined:
    """The results of several rounds as one. Cohorts are numbered from 0, as they were given.

    Attributes:
        total: the sum over all survivors, shape (length,): float64 or int64, as that of the rounds.
        weight: sum of all survivors' weights.
        mean: total / weight, float64, the same shape.
        survivors: pairs (cohort, index) of the parties whose input is in the sum, ascending.
        disputes: (cohort, dealer, holder), as in each `Result`.
        parts: the results of the rounds; the server knows each sum by itself.
    """

    total: NDArray[np.float64] | NDArray[np.int64]
    weight: int
    mean: NDArray[np.float64]
    survivors: tuple[tuple[int, int], ...]
    disputes: tuple[tuple[int, int, int], ...]
    parts: tuple[Result, ...]


def combine(results: Iterable[Result]) -> Combined:
    """Returns the sum of the sums of independent rounds, with disjoint cohorts.

    The server sees the sum of each cohort, so each round must protect its members by itself: choose
    its quorum, its colluders and any noise as for a round alone. Who is in two of the cohorts
    counts twice; nothing here can tell.

    Args:
        results: of rounds with the same length and the same kind of numbers, in any order; sums of
            floats are added with the error of one rounding.

    Raises:
        ParameterError: there is no result, one is of another type, or lengths or kinds differ.
        RangeError: a total of integers does not fit int64.
    """
    if not isinstance(results, Iterable):
        raise ParameterError(
            f"combine() takes several results, not a {type(results).__name__}", Code.ARGUMENT
        )
    parts = tuple(results)
    if not parts:
        raise ParameterError("there is no result to combine", Code.ARGUMENT)
    first = parts[0]
    for cohort, part in enumerate(parts):
        require_kind(
            f"result {cohort}",
            part,
            Result,
            "`Completed.result` is one; a round that failed has none",
        )
        if part.total.dtype != first.total.dtype:
            raise ParameterError(
                f"result {cohort} has a total of {part.total.dtype}, and result 0 one of "
                f"{first.total.dtype}: combine rounds with the same kind of format",
                Code.DTYPE,
            )
        if part.total.shape != first.total.shape:
            raise ParameterError(
                f"result {cohort} has {part.total.size} coordinates, and result 0 has "
                f"{first.total.size}: combine rounds over the same arrays",
                Code.SHAPE,
            )
    total: NDArray[np.float64] | NDArray[np.int64]
    if first.total.dtype == np.int64:
        total = _exact([part.total for part in parts])
    else:
        total = _compensated([part.total for part in parts])
    weight = sum(part.weight for part in parts)
    return Combined(
        total=total,
        weight=weight,
        mean=total / weight,
        survivors=tuple(
            (cohort, one) for cohort, part in enumerate(parts) for one in part.survivors
        ),
        disputes=tuple(
            (cohort, dealer, holder)
            for cohort, part in enumerate(parts)
            for dealer, holder in part.disputes
        ),
        parts=parts,
    )


def _compensated(totals: list[NDArray[Any]]) -> NDArray[np.float64]:
    """Adds arrays of float64 as if with one rounding: compensated, however many they are.

    An exact sum of a `ModelLayout` is read from its float64, with room for the roundings of a few.
    """
    total: NDArray[np.float64] = np.zeros(totals[0].shape)
    lost: NDArray[np.float64] = np.zeros(totals[0].shape)
    for part in totals:
        more = total + part
        added = more - total
        lost += (total - (more - added)) + (part - added)
        total = more
    total += lost
    return total


def _exact(totals: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Adds arrays of int64 in two halves, neither of which can overflow, and joins them.

    Raises:
        RangeError: a sum does not fit int64, whatever the sums on the way to it.
    """
    low, high = np.zeros_like(totals[0]), np.zeros_like(totals[0])
    for part in totals:
        low += part & _LOW
        high += part >> 32
    high += low >> 32
    outside = (high < -(2**31)) | (high >= 2**31)
    if outside.any():
        raise RangeError(
            f"the combined total of coordinate {int(outside.argmax())} does not fit 64 bits: "
            "combine fewer rounds, or `parts` by yourself in larger numbers",
            Code.OUT_OF_RANGE,
        )
    return (high << 32) | (low & _LOW)
