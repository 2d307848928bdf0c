"""The jobs that a server hands out, run on any `concurrent.futures.Executor`.

Workers may die, be cancelled or send back junk: a piece that is lost is tried again, and in the end
done in this process, so that no round fails because of them. Why a job failed is not asked: one
that fails for a reason of its own fails here as well, and then its exception is seen.
"""

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import CancelledError, Executor, Future
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX
from typing import Any, Final

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..events import Job, ServerEvent, Work
from ..interfaces import ServerMachine

ATTEMPTS: Final = 3  # of a job on the executor, before it is run here

_log: Final = logging.getLogger("secagg")


def run_jobs(
    server: ServerMachine,
    events: Iterable[ServerEvent],
    executor: Executor | None = None,
    *,
    in_flight: int = 64,
    patience: float = 60.0,
) -> list[ServerEvent]:
    """Runs the jobs among `events`, and those that follow from them, and hands their values back.

    Blocks until all are done; an event loop calls it in a thread. The server is called by the
    calling thread alone, as values come in, in any order. Jobs hold secrets of the round, and their
    values are believed: see `docs/SECURITY.md` for whom to let run them.

    Args:
        server: whose jobs they are.
        events: what one of its calls gave.
        executor: threads, processes, or a cluster's (for Dask `client.get_executor(pure=False)`);
            None runs the jobs here, one by one. An executor that takes no more jobs, because it was
            shut down or a process of its pool died, is given up: the rest is done here.
        in_flight: how many jobs the executor has at a time: 1 or more, best some for each worker.
            So many values at most wait to be taken: of up to 256 KB each or, where there are few
            masks, as long as one vector together.
        patience: seconds; the executor is given up, too, when no job comes back for so long.

    Returns:
        All events but `Work`, in order: those that were given, then what came of the jobs.

    Raises:
        ParameterError: `in_flight` or `patience` is not positive, or `patience` is infinite.
        Exception: what a job raises here, after the executor had its chance. Whatever is raised,
            `run_jobs(server, server.resend(), ...)` goes on with what is left, unless the server
            itself was interrupted, which ends the round.
    """
    if in_flight < 1 or not 0 < patience <= TIMEOUT_MAX:
        raise ParameterError("in_flight and patience are positive and finite", Code.ARGUMENT)
    return _Run(server, events, executor).finish(in_flight, patience)


def _work(job: Job, _number: int) -> Any:
    """What a worker calls. The number makes each call its own: Dask takes equal ones for one."""
    return job.run()


class _Run:
    """The jobs of one call of `run_jobs`: each waits, or is with the executor, or is done."""

    def __init__(
        self, server: ServerMachine, events: Iterable[ServerEvent], executor: Executor | None
    ) -> None:
        self._server = server
        self._executor = executor
        self._others: list[ServerEvent] = []
        self._waiting: deque[tuple[Job, int]] = deque()  # and how often it failed
        self._running: dict[Future[Any], tuple[Job, int]] = {}
        self._back: SimpleQueue[Future[Any]] = SimpleQueue()
        self._submitted = 0
        self._take(events)

    def finish(self, in_flight: int, patience: float) -> list[ServerEvent]:
        """Runs everything; gives the other events."""
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
            self._recall()
        return self._others

    def _take(self, events: Iterable[ServerEvent]) -> None:
        for event in events:
            if isinstance(event, Work):
                self._waiting.append((event.job, 0))
            else:
                self._others.append(event)

    def _submit(self, executor: Executor) -> None:
        job, _ = self._waiting[0]
        self._submitted += 1
        try:
            future = executor.submit(_work, job, self._submitted)
        except Exception as error:
            self._give_up(f"takes no jobs ({type(error).__name__})")
            return
        self._running[future] = self._waiting.popleft()
        future.add_done_callback(self._back.put)

    def _collect(self, patience: float) -> None:
        try:
            future = self._back.get(timeout=patience)
        except Empty:
            self._recall()
            self._give_up(f"gave nothing back for {patience} s")
            return
        job, failures = self._running.pop(future)
        error = CancelledError() if future.cancelled() else future.exception()
        if error is None:
            self._hand_back(job, future.result())
            return
        self._warn(f"a job failed on an executor: {type(error).__name__}")
        if failures + 1 < ATTEMPTS:
            self._waiting.append((job, failures + 1))
        else:
            self._run_here(job)

    def _hand_back(self, job: Job, value: Any) -> None:
        try:
            events = self._server.complete(job, value)
        except RangeError as error:
            self._warn(f"an executor gave back junk: {error}")
            self._run_here(job)
        else:
            self._take(events)

    def _run_here(self, job: Job) -> None:
        self._take(self._server.complete(job, job.run()))

    def _recall(self) -> None:
        """Cancels what is with the executor; values that come all the same are not looked at."""
        self._waiting.extend(self._running.values())
        running, self._running = self._running, {}
        for future in running:
            future.cancel()

    def _give_up(self, why: str) -> None:
        self._warn(f"an executor {why}: the jobs are run here")
        self._executor = None

    def _warn(self, what: str) -> None:
        _log.warning("%s: %s", self._server.session.hex(), what)
