"""Rules for objects that hold keys of a round: one process, one call at a time, no half step."""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, Final, NoReturn, ParamSpec, TypeVar

from ..codes import Code
from ..errors import LocalProtocolError

P = ParamSpec("P")
R = TypeVar("R")
O = TypeVar("O", bound="Owned")  # noqa: E741

# Grows by one entry at each fork, because the system uses process ids again.
_forks: Final[list[None]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forks.append(None))


def _process() -> tuple[int, int]:
    return os.getpid(), len(_forks)


class Owned:
    """An object that belongs to the process that made it and is never duplicated.

    A fork, a copy or an unpickled twin would use the same keys again, and two answers under the
    same masks reveal the difference of the inputs that they cover.
    """

    def __init__(self) -> None:
        self._owner = _process()
        self._turn = threading.RLock()
        self._busy = False

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is neither copied nor pickled")


def exclusive(method: Callable[Concatenate[O, P], R]) -> Callable[Concatenate[O, P], R]:
    """Makes threads enter a method of an `Owned` object one after the other.

    The method then refuses a call by a forked child, and one from within another call (by a signal
    handler or a callback).
    """

    @functools.wraps(method)
    def guarded(self: O, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._owner != _process():
            raise LocalProtocolError(
                f"a {type(self).__name__} is used by the process that made it, not by a forked "
                "child: both would use the same keys",
                Code.FORKED,
            )
        with self._turn:
            if self._busy:
                raise LocalProtocolError(
                    f"a {type(self).__name__} is called from within a call", Code.REENTRANT
                )
            self._busy = True
            try:
                return method(self, *args, **kwargs)
            finally:
                self._busy = False

    return guarded


@contextmanager
def fails_if_interrupted(
    fail: Callable[[], None], harmless: type[Exception] | tuple[type[Exception], ...]
) -> Iterator[None]:
    """Ends a machine whose step was interrupted, by Ctrl-C or for lack of memory, say.

    Half of the step may have been done: a vector may be in the sum and not counted.

    Args:
        fail: ends the machine and wipes what it knows.
        harmless: exceptions after which the state is as it was; they end nothing.
    """
    try:
        yield
    except harmless:
        raise
    except BaseException:
        fail()
        raise
