"""What client and server have in common as objects: one process, one call at a time."""

import functools
import os
import threading
from collections.abc import Callable
from typing import Concatenate, Final, NoReturn, ParamSpec, TypeVar

from ..codes import Code
from ..errors import LocalProtocolError

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Session")

# One entry a fork between the first process and this one: process ids come again.
_forks: Final[list[None]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forks.append(None))


def _process() -> tuple[int, int]:
    return os.getpid(), len(_forks)


class Session:
    """A party of one round. It belongs to the process that made it, and is never duplicated.

    A fork, a copy or an unpickled twin would use the same keys again; two answers under the same
    masks give away the difference of what they cover.
    """

    def __init__(self) -> None:
        self._owner = _process()
        self._turn = threading.RLock()
        self._busy = False

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is neither copied nor pickled")


def exclusive(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that threads enter one after the other, and that neither a forked child may call nor
    anybody (a signal handler, a callback) from within another one.
    """

    @functools.wraps(method)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
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
