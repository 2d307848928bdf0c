"""Decides how much of each battery runs: one option, `--level`, and one table.

- `quick`, the default, is for every change: whatever proves a defence, on fewer cases.
- `long` is what CI runs: more cases of everything, and what takes processes and minutes.
- `full` is for releases, by hand: hours.

A test asks for its row with `amount`, or is marked with `runs_at`: then a zero in the row leaves it
out. Nothing else decides what runs but what a machine lacks: kernels, /proc, an extra.
"""

from enum import IntEnum

import pytest


class Level(IntEnum):
    """The levels, each more than the one before; the values are columns of the table."""

    QUICK = 0
    LONG = 1
    FULL = 2


# row: (quick, long, full)
TABLE = {
    # Examples that Hypothesis draws.
    "examples of a property": (20, 50, 1000),
    "fuzzed messages for each state": (20, 250, 8000),
    "altered envelopes of an example": (3, 20, 100),
    "orders of arrival": (15, 100, 2000),
    "lies about sets": (30, 150, 3000),
    "sparse rounds": (30, 200, 4000),
    "sparse rounds with a liar": (10, 20, 400),
    "planned rounds": (6, 60, 1000),
    "restarts of both sides": (20, 150, 1000),
    "wrong bodies of stored state": (80, 1500, 40_000),
    "sequences of claims": (3, 10, 10),
    # Random schedules of lies and faults.
    "shards of a lying server": (1, 8, 20),
    "shards of a bad network": (1, 10, 20),
    "schedules in a shard": (120, 500, 5000),
    "schedules on sparse graphs": (70, 250, 5000),
    "schedules in which every lie is told": (0, 1000, 20_000),
    "hunts from the first schedule": (0, 0, 1),
    "bugs that another layer stops": (0, 0, 1),
    "step between snapshots to go back to": (8, 2, 2),
    "rounds over sockets": (12, 200, 2000),
    "step between cuts and cancellations": (3, 1, 1),
    "elements while the loop is watched": (200_000, 1_000_000, 10_000_000),
    "step between kills of a coordinator": (4, 1, 1),
    "kills of a budget": (0, 20, 1000),
    "step between failures of a store": (17, 1, 1),
    # Alteration of a recorded round: every n-th byte, in one way, two or three.
    "step between altered bytes": (43, 1, 1),
    "step in signed and sparse rounds": (97, 5, 1),
    "step in offers": (7, 1, 1),
    "step in two messages at once": (73, 7, 7),
    "ways to alter a byte": (1, 2, 3),
    # Enumeration.
    "every order of dropouts": (0, 1, 1),
    "step between numbers of spare shares": (5, 1, 1),
    "a tree for each violation": (0, 1, 1),
    "every fault of a transport in both modes": (0, 1, 1),
    "every combination of the reference model": (0, 1, 1),
    "every width of the field": (0, 1, 1),
    "vectors made anew": (0, 1, 1),
    # Noise.
    "tables of noise": (0, 6, 6),
    "samples drawn by big integers": (30, 400, 4000),
    "samples of noise": (2**17, 2**22, 2**24),
    "planted bugs of samplers": (0, 1, 1),
    # Whole programs, packages, large sizes.
    "programs": (0, 1, 1),
    "packages": (0, 1, 1),
    "a cipher more": (0, 1, 1),
    "seeds of a training": (1, 5, 5),
    "trainings like others": (0, 1, 1),
    "widths of a training's numbers": (1, 6, 6),
    "rounds beside their estimate": (0, 1, 1),
    "noise of large vectors": (0, 1, 1),
    "checks of large sums": (0, 1, 1),
    "clients whose memory is measured": (20, 60, 60),
    "vectors in chunks": (0, 1, 1),
    "sessions at once": (0, 50, 50),
    "large sizes": (0, 0, 1),
}

_chosen = Level.QUICK


def choose(name: str) -> None:
    """Makes a level the one that runs, before any test module is imported."""
    global _chosen  # noqa: PLW0603
    _chosen = Level[name.upper()]


def chosen() -> Level:
    """Returns the level that runs."""
    return _chosen


def amount(row: str) -> int:
    """Returns what the table says for the level that runs."""
    return TABLE[row][_chosen]


def runs_at(row: str) -> pytest.MarkDecorator:
    """Marks tests that run where their row is not zero."""
    return pytest.mark.level(row, bool(amount(row)))
