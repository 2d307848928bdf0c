"""The table of levels: every row is used, and no level runs less than the one before."""

import re
from pathlib import Path

import levels
import pytest

SOURCES = "".join(path.read_text() for path in Path(levels.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("row", levels.TABLE)
def test_a_row_is_used_and_grows(row: str) -> None:
    """A step between cases shrinks; everything else grows."""
    assert re.search(rf'(amount|runs_at)\(\s*"{re.escape(row)}"', SOURCES)
    amounts = list(levels.TABLE[row])
    assert amounts == sorted(amounts, reverse=row.startswith("step "))
    assert len(amounts) == len(levels.Level)
    assert len(set(amounts)) > 1, "the same at every level"
