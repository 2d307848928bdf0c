"""Counting what became of every vector of a file, so that none is left out unseen."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Tally:
    """The vectors of one file.

    Attributes:
        source: what the vectors are, for the table.
        passed: how many passed, by what was proved of them.
        skipped: how many were not run, by the reason.
    """

    source: str
    passed: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def settle(self, passed: Mapping[str, int], skipped: Mapping[str, int] | None = None) -> None:
        """Asserts the exact counts: a vector more or less, or in another class, is an error."""
        assert (dict(self.passed), dict(self.skipped)) == (dict(passed), dict(skipped or {}))

    def rows(self) -> list[str]:
        """Lines of the table: the counts, then each class."""
        run, left = self.passed.total(), self.skipped.total()
        classes = [(count, what) for what, count in sorted(self.passed.items())]
        classes += [(count, f"skipped: {why}") for why, count in sorted(self.skipped.items())]
        return [
            f"{self.source:<52}{run + left:>8}{run:>8}{left:>8}",
            *(f"    {count:>5} {what}" for count, what in classes),
        ]
