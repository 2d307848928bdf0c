"""Runs the jobs that a server hands out, on any `concurrent.futures.Executor`.

Workers may die, be cancelled or return wrong values. A job that fails is tried again, and at last
run in this process, so that no round fails because of a worker. The cause of a failure is not
inspected: a job with a bug fails in this process as well, and that exception is raised.
"""

import logging
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import CancelledError, Executor, Future
from queue import Empty, SimpleQueue
from typing import Any, Final

from ..errors import RangeError
from ..events import Job, ServerEvent, Work
from ..interfaces import ServerMachine
from ..params.checks import require_callable, require_int, require_seconds

ATTEMPTS: Final = 3  # of a job on the executor, before it is run in this process

_log: Final = logging.getLogger("secagg")


def require_executor(executor: Executor | None) -> None:
    """Raises ParameterError for what is no executor, before anything is planned."""
    if executor is not None:
        submit = getattr(executor, "submit", None)
        require_callable("executor.submit", submit, "give a concurrent.futures.Executor")


def run_jobs(
    server: ServerMachine,
    events: Iterable[ServerEvent],
    executor: Executor | None = None,
    *,
    in_flight: int = 64,
    patience: float = 60.0,
) -> list[ServerEvent]:
    """Runs the jobs in `events` and the jobs that follow from them, and returns the other events.

    It blocks until all jobs are done, so an event loop should call it in a thread. Only the calling
    thread calls the server, with values in any order. Jobs hold secrets of the round, and their
    values are trusted: `docs/SECURITY.md` says which machines may run them.

    Args:
        server: the server whose jobs they are.
        events: what a call of the server returned.
        executor: threads, processes, or a cluster's (for Dask `client.get_executor(pure=False)`).
            With None the jobs run in the calling thread, one by one. So do the jobs that are left
            if the executor accepts no more, as it was shut down or a process of its pool died.
        in_flight: greatest number of jobs that the executor has at a time, 1 or more, best a few
            per worker. It bounds the memory for finished values: up to 256 KB each or, if there
            are few masks, one vector in total.
        patience: seconds without a finished job after which the executor is not used any more.

    Returns:
        All events but `Work`, in order: those in `events`, then those that the jobs led to.

    Raises:
        ParameterError: `in_flight` or `patience` is not positive, or `patience` is infinite.
        Exception: what a job raises in this process. After any exception,
            `run_jobs(server, server.resend(), ...)` continues with the jobs that are left, unless a
            call of the server was interrupted, which ends the round.
    """
    most = require_int("in_flight", in_flight, 1, sys.maxsize)
    seconds = require_seconds("patience", patience, positive=True)
    return _JobRun(server, events, executor).finish(most, seconds)


def _run_job(job: Job, _number: int) -> Any:
    """Runs a job on a worker; the number makes calls differ, as Dask runs equal ones only once."""
    return job.run()


class _JobRun:
    """The jobs of one call of `run_jobs`: each is waiting, running on the executor, or done."""

    def __init__(
        self, server: ServerMachine, events: Iterable[ServerEvent], executor: Executor | None
    ) -> None:
        self._server = server
        self._executor = executor
        self._other_events: list[ServerEvent] = []
        self._waiting: deque[tuple[Job, int]] = deque()  # with the number of its failures
        self._running: dict[Future[Any], tuple[Job, int]] = {}
        self._finished: SimpleQueue[Future[Any]] = SimpleQueue()
        self._submitted = 0
        self._take(events)

    def finish(self, in_flight: int, patience: float) -> list[ServerEvent]:
        """Runs all jobs; returns the other events."""
        try:
            while self._waiting or self._running:
                while (
                    self._executor is not None and self._waiting and len(self._running) < in_flight
                ):
                    self._submit(self._executor)
                if self._running:
                    self._collect(patience)
                else:
                    self._run_here(self._waiting.popleft()[0])
        finally:
            self._cancel_running()
        return self._other_events

    def _take(self, events: Iterable[ServerEvent]) -> None:
        for event in events:
            if isinstance(event, Work):
                self._waiting.append((event.job, 0))
            else:
                self._other_events.append(event)

    def _submit(self, executor: Executor) -> None:
        job, _ = self._waiting[0]
        self._submitted += 1
        try:
            future = executor.submit(_run_job, job, self._submitted)
        except Exception as error:
            self._abandon_executor(f"accepts no jobs ({type(error).__name__})")
            return
        self._running[future] = self._waiting.popleft()
        future.add_done_callback(self._finished.put)

    def _collect(self, patience: float) -> None:
        try:
            future = self._finished.get(timeout=patience)
        except Empty:
            self._cancel_running()
            self._abandon_executor(f"finished no job for {patience} s")
            return
        job, failures = self._running.pop(future)
        error = CancelledError() if future.cancelled() else future.exception()
        if error is None:
            self._complete(job, future.result())
            return
        self._warn(f"a job failed on the executor: {type(error).__name__}")
        if failures + 1 < ATTEMPTS:
            self._waiting.append((job, failures + 1))
        else:
            self._run_here(job)

    def _complete(self, job: Job, value: Any) -> None:
        try:
            events = self._server.complete(job, value)
        except RangeError as error:
            self._warn(f"the executor returned a wrong value: {error}")
            self._run_here(job)
        else:
            self._take(events)

    def _run_here(self, job: Job) -> None:
        self._take(self._server.complete(job, job.run()))

    def _cancel_running(self) -> None:
        """Cancels the jobs on the executor; values that still come from it are ignored."""
        self._waiting.extend(self._running.values())
        running, self._running = self._running, {}
        for future in running:
            future.cancel()

    def _abandon_executor(self, why: str) -> None:
        self._warn(f"the executor {why}: the other jobs run in this process")
        self._executor = None

    def _warn(self, what: str) -> None:
        _log.warning("%s: %s", self._server.session.hex(), what)
