"""Tables of the records of simulated parties: one secure sum for a query of `secagg.analytics`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg import Code, Mode, ParameterError, RangeError, secure_sum
from secagg.analytics import Query, Table
from secagg.numeric import brief

from .agreed import at_least_three, check_kind
from .schedule import Drops


def secure_tables(
    query: Query,
    parties: Iterable[Any],
    *,
    drops: Drops | None = None,
    mode: Mode = Mode.SEMI_HONEST,
    least: int = 0,
) -> dict[str, Table]:
    """Asks simulated parties a query, and returns the tables of all of them together.

    All parties are in this process, so it protects nobody; `docs/ANALYTICS.md` has the same over a
    network.

    Args:
        query: what is asked.
        parties: the records of each party, as `Query.pack` takes them; three or more.
        drops: parties that drop out, each with the phase before whose message it does so.
        mode: the kind of server that the round protects against.
        least: suppresses smaller cells, as in `Query.unpack`.

    Raises:
        ParameterError: an argument is wrong, or there are fewer than three parties.
        RangeError: the records of a party do not fit the query; the message names the party.
        RoundFailedError: too few parties were left.
    """
    check_kind("query", query, Query)
    given = at_least_three("parties", parties, "a sum", "numbers")
    answers = []
    for at, records in enumerate(given):
        try:
            answers.append(query.pack(records))
        except RangeError as error:
            raise RangeError(f"party {at}: {error.reason}", error.code) from error.__cause__
    found = secure_sum(answers, query.format, drops=drops, mode=mode, transcript=False)
    return query.unpack(found.run.result, least=least)


def by_name(columns: Sequence[str], records: Any) -> Any:
    """Returns the rows of a matrix, shape (rows, columns), as columns by name; others unchanged.

    Raises:
        RangeError: the matrix has another number of columns.
    """
    if not isinstance(records, np.ndarray) or records.dtype.names:
        return records
    if records.shape[1:] != (len(columns),):
        raise RangeError(
            f"rows of {len(columns)} columns are needed ({', '.join(columns[:6])}), not an array "
            f"of shape {records.shape}",
            Code.SHAPE,
        )
    return dict(zip(columns, records.T, strict=True))


def matrix(columns: Sequence[str], records: Any) -> NDArray[np.float64]:
    """Returns columns by name, or a matrix, as float64 of shape (rows, columns); missing is NaN.

    Raises:
        RangeError: a column is missing, or holds no numbers.
    """
    found, named = [], by_name(columns, records)
    for name in columns:
        try:
            column = named[name]
            masked = isinstance(column, np.ma.MaskedArray)
            found.append(
                column.astype(np.float64).filled(np.nan)
                if masked
                else np.asarray(column, np.float64)
            )
        except Exception as error:  # of a data frame's library
            raise RangeError(
                f"column {name!r} cannot be read as numbers: {type(error).__name__}", Code.DTYPE
            ) from None
    if len({each.shape for each in found}) != 1 or found[0].ndim != 1:
        raise RangeError(
            f"columns have the shapes {[each.shape for each in found][:6]}: they must have one "
            "dimension, and one length",
            Code.SHAPE,
        )
    return np.stack(found, axis=1)


def read_ranges(ranges: object, length: int) -> Mapping[str, tuple[float, ...]]:
    """Returns public ranges by name of column; raises ParameterError if they are none."""
    if not isinstance(ranges, Mapping) or not ranges:
        raise ParameterError(
            f"ranges must be a dict by the names of columns, one or more, not {brief(ranges)}",
            Code.ARGUMENT,
        )
    for name, each in ranges.items():
        if not isinstance(name, str) or not isinstance(each, Sequence) or len(each) != length:
            wanted = "(low, high, step)" if length > 2 else "(low, high)"
            raise ParameterError(
                f"ranges[{brief(name)}] must be {wanted}, not {brief(each)}", Code.ARGUMENT
            )
    return ranges
