"""Standardised columns: means and deviations of the records of all parties, from one secure sum."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from secagg import Code, Mode, ParameterError, RangeError
from secagg.analytics import Moments, MomentsTable, Query, Table
from secagg.numeric import brief

from .agreed import listed
from .schedule import Drops
from .tables import by_name, matrix, read_ranges, secure_tables

Ranges = Mapping[str, tuple[float, float, float]]  # low, high and step by column

_RECORDS = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Scaler:
    """Subtracts means and divides by deviations, as scikit-learn's `StandardScaler` does.

    Its numbers are those of the records of all parties, each value rounded to the step of its
    column: a mean is off by step / 2 at most. A column that is constant to the step is divided
    by 1.

    Attributes:
        columns: their names, in the order of a matrix.
        count: how many values there are of each, int64, without missing ones.
        mean: of these values, float64.
        deviation: the root of their mean squared distance from the mean (divided by n), float64; 1
            for a column that is constant.
    """

    columns: tuple[str, ...]
    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    @staticmethod
    def query(ranges: Ranges, records: int = _RECORDS) -> Query:
        """Returns the query whose tables `of` takes.

        Args:
            ranges: (low, high, step) by name of column; public. Values outside are clipped, with a
                `ClippingWarning` at the party itself; missing ones are left out.
            records: the most records of one party; public.

        Raises:
            ParameterError: a range is impossible, or the number.
        """
        found = read_ranges(ranges, 3)
        questions = {
            name: Moments(name, low, high, step, missing="count")
            for name, (low, high, step) in found.items()
        }
        return Query(questions, records=records)

    @classmethod
    def of(cls, tables: Mapping[str, Table], ranges: Ranges) -> "Scaler":
        """Returns the scaler of the tables of a round: `query.unpack(result)`.

        Args:
            tables: answers to `query(ranges)`.
            ranges: as they were asked; columns are in this order.

        Raises:
            ParameterError: the tables are not those of this query.
            RangeError: a column has no value at any party.
        """
        ranges = cast("Ranges", read_ranges(ranges, 3))
        given = [tables.get(name) for name in ranges] if isinstance(tables, Mapping) else []
        found = [each for each in given if isinstance(each, MomentsTable)]
        if len(found) < len(ranges):
            raise ParameterError(
                f"tables must be the answers to query(ranges), not {brief(tables)}: give "
                "query.unpack(result)",
                Code.ARGUMENT,
            )
        count = np.array([int(each.count) for each in found], np.int64)
        if not count.all():
            lacking = [name for name, many in zip(ranges, count, strict=True) if not many]
            raise RangeError(
                f"no party has a value of {', '.join(map(repr, lacking[:6]))}: leave these columns "
                "out",
                Code.OUT_OF_RANGE,
            )
        variance = np.array([float(each.variance.filled(0.0)) for each in found])
        deviation = np.sqrt(variance * (count - 1) / count)
        return cls(
            columns=tuple(ranges),
            count=count,
            mean=np.array([float(each.mean) for each in found]),
            deviation=np.where(deviation > 0, deviation, 1.0),
        )

    def transform(self, x: Any) -> NDArray[np.float64]:
        """Returns standardised columns, shape (rows, columns); missing values stay NaN.

        Args:
            x: a matrix of this shape; or columns by name (a dict, a data frame), of which others
                are left out.

        Raises:
            RangeError: a column is missing, or holds no numbers.
        """
        return (matrix(self.columns, x) - self.mean) / self.deviation

    def restore(self, z: Any) -> NDArray[np.float64]:
        """Returns what `transform` was given, as a matrix; it takes what that takes."""
        return matrix(self.columns, z) * self.deviation + self.mean


def secure_scaler(
    parties: Iterable[Any],
    ranges: Ranges,
    *,
    records: int = _RECORDS,
    drops: Drops | None = None,
    mode: Mode = Mode.SEMI_HONEST,
) -> Scaler:
    """Returns the scaler of the records of simulated parties, from one secure sum.

    The server sees, of each column, how many values there are and how many are missing, their sum
    and the sum of their squares, over all parties together.

    Args:
        parties: a matrix for each, columns as in `ranges`; or columns by name.
        ranges, records: as of `Scaler.query`.
        drops, mode: as of `secure_tables`.

    Raises:
        ParameterError, RangeError, RoundFailedError: as `Scaler.query`, `Scaler.of` and
            `secure_tables`.
    """
    query = Scaler.query(ranges, records)
    named = [by_name(tuple(ranges), each) for each in listed("parties", parties)]
    return Scaler.of(secure_tables(query, named, drops=drops, mode=mode), ranges)
