"""Keeps secrets out of the tracebacks of exceptions, which crash reporters print with variables."""

import functools
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Packages whose functions compute with secrets when the library calls them.
_OURS: Final = frozenset({"secagg", "nacl", "numpy", "cffi"})


def _forget_locals(error: BaseException) -> None:
    """Clears the local variables of the library's functions that an exception has left.

    Also of the exceptions behind it. Frames of the application stay as they are: an exception of
    its own (of a ledger, say) may have come by a coroutine that waits, and clearing would end it.
    """
    found: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while found:
        each = found.pop()
        if each is None or any(each is other for other in seen):
            continue
        seen.append(each)
        for frame, _ in traceback.walk_tb(each.__traceback__):
            if str(frame.f_globals.get("__name__")).split(".")[0] in _OURS:
                with suppress(RuntimeError):  # it is still running
                    frame.clear()
        found += [each.__cause__, each.__context__]


def keeps_no_locals(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function so that its exceptions hold no local variables of the library.

    An exception keeps the frames that it passed, and crash reporters print them: shares of other
    parties, opened for a check, or a masked input.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            try:
                _forget_locals(error)
            except BaseException:  # a second Ctrl-C
                _forget_locals(error)
                raise
            raise

    return guarded
