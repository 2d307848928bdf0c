"""Rules for objects that hold keys of a round: used by one process, in one call at a time."""

import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Concatenate, NoReturn, ParamSpec, TypeVar

from ..codes import Code
from ..errors import LocalProtocolError
from ..forks import this_process
from ..tracebacks import keeps_no_locals

P = ParamSpec("P")
R = TypeVar("R")
O = TypeVar("O", bound="Owned")  # noqa: E741


class Owned:
    """An object that only the process that made it may use, and that cannot be copied or pickled.

    A forked or copied object would use the same keys a second time, and two answers under the same
    masks reveal the difference of the inputs that they cover.
    """

    def __init__(self) -> None:
        self._owner = this_process()
        self._turn = threading.RLock()
        self._busy = False

    def _require_owner(self) -> None:
        """Raises LocalProtocolError in a forked child of the process that made the object."""
        if self._owner != this_process():
            raise LocalProtocolError(
                f"a {type(self).__name__} was used in a forked child: use it only in the process "
                "that made it, as both would use the same keys",
                Code.FORKED,
            )

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} is neither copied nor pickled: both would use the same keys"
        )


def exclusive(method: Callable[Concatenate[O, P], R]) -> Callable[Concatenate[O, P], R]:
    """Decorates a method of an `Owned` object so that one call runs at a time.

    Threads wait for each other. A call by a forked child is refused, and so is a call from within
    another call (by a signal handler or a callback): LocalProtocolError. A child that a callback
    forks within the call gets that error in place of the result. Its exceptions hold no local
    variables (`keeps_no_locals`).
    """

    @keeps_no_locals
    @functools.wraps(method)
    def guarded(self: O, /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._require_owner()
        with self._turn:
            if self._busy:
                raise LocalProtocolError(
                    f"a {type(self).__name__} was called (by a signal handler or a callback) while "
                    "another call to it was running: wait until that has returned",
                    Code.REENTRANT,
                )
            self._busy = True
            try:
                result = method(self, *args, **kwargs)
            finally:
                self._busy = False
        self._require_owner()
        return result

    return guarded


class FailsIfInterrupted:
    """Ends a machine if its step is interrupted, for example by Ctrl-C or a MemoryError.

    The step may have been done in part: a vector may be in the sum but not be counted. A context
    for `with`.

    Args:
        fail: ends the machine and wipes its secrets.
        harmless: exceptions that leave the machine whole: nothing was changed, or the step itself
            has handled them. They do not end it.
    """

    __slots__ = ("_fail", "_harmless")

    def __init__(
        self,
        fail: Callable[[], None],
        harmless: type[Exception] | tuple[type[Exception], ...],
    ) -> None:
        self._fail = fail
        self._harmless = harmless

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and not issubclass(kind, self._harmless):
            self._fail()
