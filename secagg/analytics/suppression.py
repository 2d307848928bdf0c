"""Finds the cells of a table that would tell of few records, and those that would give them away.

This is for what is published: the server itself sees every cell. A line of a table is all cells
that differ in one axis only. Its total is taken for known, as it may be that of another table.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_suppress(count: NDArray[np.int64], least: int) -> NDArray[np.bool_]:
    """Returns which cells are to be hidden: those below `least`, and more where a line needs them.

    In no line is one cell hidden alone, or cells that together are below `least`: others of it are
    hidden as well, those before that cost no further cells, and the smallest. So a cell that holds
    all records of its line is hidden, too, since it says that the others are 0. A line that is
    hidden as a whole can be no safer.

    Args:
        count: records by cell.
        least: the smallest count that may be shown; 1 shows all but zeros, 0 shows all.
    """
    hidden = (count < least) & (least > 0)  # below 0 is noise
    changed = True
    while changed:
        changed = False
        for axis in range(count.ndim):
            many, total = hidden.sum(axis), (count * hidden).sum(axis)
            known = (many == 1) | (total < least)  # from the total of the line
            for line in np.argwhere(known & (many > 0) & (many < count.shape[axis])):
                _hide_one_more(count, hidden, axis, tuple(line.tolist()))
                changed = True
    return hidden


def _hide_one_more(
    count: NDArray[np.int64], hidden: NDArray[np.bool_], axis: int, line: tuple[int, ...]
) -> None:
    """Hides one more cell of a line: one whose other lines have hidden cells, if there is any."""

    def cost(cell: tuple[int, ...]) -> tuple[int, int]:
        lines: list[Any] = [
            (*cell[:other], slice(None), *cell[other + 1 :])
            for other in range(count.ndim)
            if other != axis
        ]
        return sum(not hidden[each].any() for each in lines), int(count[cell])

    cells = [(*line[:axis], at, *line[axis:]) for at in range(count.shape[axis])]
    hidden[min((cell for cell in cells if not hidden[cell]), key=cost)] = True
