"""One thread for the calls of a machine, so that the event loop is never held up."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from ..events import Job
from ..interfaces import ServerMachine

P = ParamSpec("P")
R = TypeVar("R")


class Worker(AbstractContextManager["Worker"]):
    """Runs blocking calls one after the other in a thread of its own; the thread ends with it.

    Attributes:
        stopping: whether the call that runs should end early, as its caller was cancelled.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "secagg-serve")
        self._running: asyncio.Future[Any] | None = None
        self.stopping = False

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Returns what the function returns.

        If it is cancelled, however often, it waits for the end of the call: nothing goes on behind
        the caller's back, and nothing that the call did is unknown to it.
        """
        running = asyncio.wrap_future(self._pool.submit(function, *args, **kwargs))
        self._running = running
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self.stopping = True
            running.add_done_callback(_retrieved)
            await outlast(running)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=self._running is None or self._running.done())


async def outlast(future: "asyncio.Future[Any]") -> asyncio.CancelledError | None:
    """Waits until a future is done, whoever is cancelled meanwhile; returns the cancellation."""
    cancelled = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled


def _retrieved(future: "asyncio.Future[Any]") -> None:
    """Takes note of an exception that nobody waits for any more."""
    if not future.cancelled():
        future.exception()


class _StoppedError(BaseException):
    """A job's value was not taken, as the caller of the worker was cancelled."""


class Stoppable:
    """Completes the jobs of a server, until its worker stops.

    A round has up to thousands of jobs, in one call of `run_jobs`. Those that are left are handed
    out again by `resend`.
    """

    def __init__(self, server: ServerMachine, worker: Worker) -> None:
        self._server = server
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def complete(self, job: Job, value: Any) -> Any:
        """Takes the value of a job; see `ServerMachine.complete`."""
        if self._worker.stopping:
            raise _StoppedError
        return self._server.complete(job, value)


def stoppable(server: ServerMachine, worker: Worker) -> ServerMachine:
    """Returns the same server, whose jobs end early when the worker stops."""
    return cast("ServerMachine", Stoppable(server, worker))
