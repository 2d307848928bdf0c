"""Limits the lines that one peer can put into a log."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

MOST_LINES: Final = 20


class LogQuota:
    """Logs so many lines about each peer, and then one that says how many there were more.

    Args:
        log: where to.
        printed: returns what the log calls a peer: of two that are called alike, each has its own
            lines.
    """

    def __init__(self, log: logging.Logger, printed: Callable[[str], str] = str) -> None:
        self._log = log
        self._printed = printed
        self._lines: Counter[str] = Counter()

    def info(self, peer: str, text: str) -> None:
        """Logs a line about a peer, unless there were too many."""
        self._lines[peer] += 1
        if self._lines[peer] <= MOST_LINES:
            self._log.info("%s", text)

    def settle(self) -> None:
        """Says how many lines were left out, and begins anew."""
        for peer, count in self._lines.items():
            if count > MOST_LINES:
                name, left = self._printed(peer), count - MOST_LINES
                self._log.info("%s: %d more lines about it were left out", name, left)
        self._lines.clear()
