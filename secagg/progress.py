"""Shows the progress of long work on a terminal."""

import sys
from typing import Final, TextIO

_WIDTH: Final = 24


class Progress:
    """A progress bar on one line of stderr; nothing is written if that is not a terminal.

    Args:
        total: number of steps.
        stream: where to write instead of stderr.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._stream: Final = stream or sys.stderr
        self._total: Final = total
        self._done = 0

    def __call__(self, text: str) -> None:
        """Counts one more step as done, and shows a text about it."""
        self._done += 1
        self.say(text)

    def say(self, text: str) -> None:
        """Shows a text about the current step."""
        if not self._stream.isatty():
            return
        filled = min(_WIDTH * self._done // self._total, _WIDTH)
        bar = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {self._done}/{self._total}"
        self._stream.write(f"\r\x1b[K{bar} {text}"[:160])
        self._stream.flush()

    def close(self) -> None:
        """Removes the line."""
        if self._stream.isatty():
            self._stream.write("\r\x1b[K")
            self._stream.flush()
