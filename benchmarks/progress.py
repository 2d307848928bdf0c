"""How far a measurement is, on a terminal."""

import sys
from typing import Final, TextIO

_WIDTH: Final = 24


class Progress:
    """A bar on stderr that is written over; nothing at all where that is no terminal.

    Args:
        total: steps to come.
        stream: where to write instead.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._stream: Final = stream or sys.stderr
        self._total: Final = total
        self._done = 0

    def __call__(self, text: str) -> None:
        """One step more is done, and what it was."""
        self._done += 1
        self.say(text)

    def say(self, text: str) -> None:
        """What was done of a step, or is being done."""
        if not self._stream.isatty():
            return
        filled = min(_WIDTH * self._done // self._total, _WIDTH)
        bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self._done}/{self._total}"
        self._stream.write(f"\r\x1b[K{bar} {text}"[:160])
        self._stream.flush()

    def close(self) -> None:
        """Takes the line away."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()
