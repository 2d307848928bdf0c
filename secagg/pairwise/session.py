"""What client and server have in common as objects: one process, one thread at a time."""

import functools
import os
import threading
from collections.abc import Callable
from typing import Concatenate, NoReturn, ParamSpec, TypeVar

from ..errors import LocalProtocolError

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Session")


class Session:
    """A party of one round. It belongs to the process that made it, and is never duplicated.

    A fork, a copy or an unpickled twin would use the same keys again; two answers under the same
    masks give away the difference of what they cover.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._turn = threading.RLock()

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is neither copied nor pickled")


def exclusive(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that threads enter one after the other, and that forked children may not call."""

    @functools.wraps(method)
    def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if os.getpid() != self._owner:
            raise LocalProtocolError(
                f"a {type(self).__name__} is used by the process that made it, not by a forked "
                "child: both would use the same keys"
            )
        with self._turn:
            return method(self, *args, **kwargs)

    return guarded
