"""Counts the work of rebuilding seeds: multiplications in the field, decodings, tested seeds."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from secagg.pairwise.recovery import SeedCheck
from secagg.sharing import algebra

# What each function costs, in multiplications; Gao's decoder takes about 4 r^2.
MULTIPLICATIONS: dict[str, Any] = {
    "combine": lambda factors, rows: factors.size * rows.shape[1],
    "weights": lambda points: points.size**2,
    "parity": lambda points, threshold: points.size * (2 * points.size - threshold),
    "decode": lambda points, threshold, word: 4 * points.size**2,
    "multiply": lambda a, b: max(a.size, b.size),
}


@contextmanager
def metered() -> Iterator[Counter[str]]:
    """Counts calls by name of the function, and "multiplications", while the context lasts."""
    counts: Counter[str] = Counter()

    def counted(name: str, true: Any) -> Any:
        def function(*args: Any) -> Any:
            counts[name] += 1
            counts["multiplications"] += MULTIPLICATIONS.get(name, lambda *_: 0)(*args)
            return true(*args)

        return function

    with pytest.MonkeyPatch.context() as patch:
        for name in MULTIPLICATIONS:
            patch.setattr(algebra, name, counted(name, getattr(algebra, name)))
        patch.setattr(SeedCheck, "accept", counted("accept", SeedCheck.accept))
        yield counts
