"""The table of vectors run and skipped, printed with `pytest -s`."""

from collections.abc import Callable, Iterator

import pytest
from third_party.tally import Tally


@pytest.fixture(scope="module")
def table() -> Iterator[list[Tally]]:
    """The tallies of one module."""
    tallies: list[Tally] = []
    yield tallies
    rows = [row for tally in tallies for row in tally.rows()]
    print(f"\n\n{'vectors':<52}{'all':>8}{'passed':>8}{'skipped':>8}", *rows, sep="\n")  # noqa: T201


@pytest.fixture
def tally(table: list[Tally]) -> Callable[[str], Tally]:
    """Starts a tally that the table will show."""

    def start(source: str) -> Tally:
        table.append(Tally(source))
        return table[-1]

    return start
