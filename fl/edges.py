"""Edges of bins from quantiles of the records of all parties, found by one secure sum."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg import Mode, RangeError
from secagg.analytics import Bins, Count, Query

from .agreed import listed
from .schedule import Drops
from .tables import by_name, read_ranges, secure_tables
from .updates import whole


def secure_edges(
    parties: Iterable[Any],
    ranges: Mapping[str, tuple[float, float]],
    *,
    bins: int = 32,
    cells: int = 512,
    records: int = 2**20,
    drops: Drops | None = None,
    mode: Mode = Mode.SEMI_HONEST,
) -> list[NDArray[np.float64]]:
    """Returns edges of bins that hold about equally many records of simulated parties.

    The server sees a histogram of each column over all parties, with `cells` equal cells over the
    public range, one below and one above it, and the number of missing values.

    Args:
        parties: a matrix for each, columns as in `ranges`; or columns by name.
        ranges: (low, high) by name of column; public.
        bins: how many there are to be, 2..1024; there are fewer where many values are equal.
        cells: of the histogram, at least `bins`; edges are ends of its cells.
        records: the most records of one party; public.
        drops, mode: as of `secure_tables`.

    Returns:
        ascending edges between bins, for each column in the order of `ranges`; none for a column
        whose values all lie in one cell.

    Raises:
        ParameterError, RangeError, RoundFailedError: as of `secure_tables`; a range or a number is
            impossible; a column has no value at any party.
    """
    bins = whole("bins", bins, 2, 1024)
    cells = whole("cells", cells, bins, 2**16)
    found = read_ranges(ranges, 2)
    questions = {
        name: Count(Bins.within(name, low, high, cells, "count"))
        for name, (low, high) in found.items()
    }
    query = Query(questions, records=records)
    named = [by_name(tuple(found), each) for each in listed("parties", parties)]
    tables = secure_tables(query, named, drops=drops, mode=mode)
    edges = []
    for name in found:
        try:
            ends = {tables[name].quantile(at / bins).high for at in range(1, bins)}
            last = tables[name].quantile(1.0).high  # beyond it there is nothing
        except RangeError as error:
            raise RangeError(f"column {name!r}: {error.reason}", error.code) from None
        edges.append(np.array(sorted(each for each in ends if each < min(last, math.inf))))
    return edges
