"""Ends a command line as a shell expects: output that fails or is closed, and Ctrl-C.

Parsers of options that several commands have stand here, too.
"""

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, TextIO

FAILED: Final = 1
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it
PIPE_CLOSED: Final = 141  # 128 + SIGPIPE


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """Returns a parser of an option's text as a whole number in low..high."""

    def number(text: str) -> int:
        if (value := int(text)) < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}, not {value}")
        if high is not None and value > high:
            raise argparse.ArgumentTypeError(f"must be at most {high}")
        return value

    return number


def fraction(text: str) -> float:
    """Returns an option's text as a number in [0, 1)."""
    if not 0.0 <= (value := float(text)) < 1.0:
        raise argparse.ArgumentTypeError(f"must be in [0, 1), not {text}")
    return value


fraction.__name__ = "number"  # as argparse calls it in its messages


def error_line(program: str, message: str) -> str:
    """Returns an error message on one line, with unprintable characters as `?`."""
    line = "".join(letter if letter.isprintable() else "?" for letter in message)
    return f"{program}: error: {line}\n"


def run_program(name: str, work: Callable[[], int | None]) -> int:
    """Runs the work of a command line, and returns its exit code once its output is written.

    Args:
        name: how the program's messages begin.
        work: what it does; returns an exit code or None, or raises SystemExit as `argparse` does.

    Returns:
        the code of the work; or, after one line on standard error, 1 if the output or a file could
        not be written (the disk is full, the output closed), and 130 after Ctrl-C; or, without a
        line, 141 if the reader of the output closed the pipe.

    Raises:
        SystemExit: by the work.
    """
    with _streams():
        try:
            try:
                code = work() or 0
            except SystemExit:
                sys.stdout.flush()
                raise
            sys.stdout.flush()
        except KeyboardInterrupt:
            say(f"{name}: interrupted\n")
            return INTERRUPTED
        except OSError as error:
            why = error.strerror or str(error)
            if why == os.strerror(errno.EPIPE):  # as it is: no command added what it had saved
                return PIPE_CLOSED
            what = "cannot write the output" if error.filename is None else error.filename
            say(error_line(name, f"{what}: {why}"))
            return FAILED
        return code


class _Closed(io.StringIO):
    """Stands for an output that was closed before Python started: to write to it is an error."""

    def flush(self) -> None:
        if self.tell():
            raise OSError(errno.EBADF, "it is closed")


@contextmanager
def _streams() -> Iterator[None]:
    """Gives the block standard streams, of which Python has none where they are closed.

    Letters that the encoding of the output lacks are written as escapes. What a broken stream still
    holds at the end is dropped: Python would write it at exit, and fail.
    """
    given = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = sys.stdin or io.StringIO()
    sys.stdout = sys.stdout or _Closed()
    sys.stderr = sys.stderr or io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        _settle(sys.stdout)
        _settle(sys.stderr)
        sys.stdin, sys.stdout, sys.stderr = given


def _settle(stream: TextIO) -> None:
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):  # it is no file
            number = stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)


def say(line: str) -> None:
    """Writes a line to standard error, if it takes one."""
    with suppress(OSError):
        sys.stderr.write(line)
