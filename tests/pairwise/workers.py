"""Executors whose workers die, lie, dawdle or fail, for tests of `run_jobs`.

The functions stand in for a worker that calls `function(*args)`; they are pickled by name.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

Call = Callable[..., Any]


def first(flag: Path) -> bool:
    """Returns whether nobody, in any process, asked this before."""
    try:
        flag.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def plainly(function: Call, *args: Any) -> Any:
    """A worker without faults."""
    return function(*args)


def killed(flag: Path, function: Call, *args: Any) -> Any:
    """The first worker that gets here dies, as by the out-of-memory killer."""
    if first(flag):
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*args)


def void(*_: Any) -> None:
    """A worker that returns nothing."""


def asleep(flag: Path) -> None:
    """A worker that says that it has begun, and then does nothing for a minute."""
    flag.touch()
    time.sleep(60)


class Through(Executor):
    """Another executor, with a function of each call's number around what it runs.

    Attributes:
        calls: how many there were.
        out: the futures that it gave.
    """

    def __init__(self, inner: Executor, around: Callable[[int], Call]) -> None:
        self._inner, self._around = inner, around
        self.calls = 0
        self.out: list[Future[Any]] = []

    def submit(self, function: Call, /, *args: Any) -> Future[Any]:  # type: ignore[override]
        self.calls += 1
        self.out.append(self._inner.submit(self._around(self.calls), function, *args))
        return self.out[-1]


def deadly(inner: Executor, flag: Path) -> Through:
    """Workers of which one is killed in the middle of the first jobs."""
    return Through(inner, lambda number: plainly if number < 2 else partial(killed, flag))


class AnyOrder(Executor):
    """Runs one of the jobs that wait, not the first."""

    def __init__(self, seed: int) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._random = random.Random(seed)
        self._waiting: list[tuple[Future[Any], Call, tuple[Any, ...]]] = []

    def submit(self, function: Call, /, *args: Any) -> Future[Any]:  # type: ignore[override]
        future: Future[Any] = Future()
        self._waiting.append((future, function, args))
        self._pool.submit(self._run)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def _run(self) -> None:
        future, function, args = self._waiting.pop(self._random.randrange(len(self._waiting)))
        future.set_result(function(*args))


class Silent(Executor):
    """Takes jobs, and says nothing until `speak`: as a cluster does that is cut off.

    Attributes:
        held: futures and what they should come to.
    """

    def __init__(self, answers: int = 0) -> None:
        self._answers = answers  # of the first jobs, before it falls silent
        self.held: list[tuple[Future[Any], Call, tuple[Any, ...]]] = []

    def submit(self, function: Call, /, *args: Any) -> Future[Any]:  # type: ignore[override]
        future: Future[Any] = Future()
        if self._answers:
            self._answers -= 1
            future.set_result(function(*args))
        else:
            if len(self.held) % 2 == 0:
                future.set_running_or_notify_cancel()  # it cannot be cancelled any more
            self.held.append((future, function, args))
        return future

    def speak(self) -> None:
        """All that it held and that was not cancelled, too late."""
        for future, function, args in self.held:
            if not future.cancelled():
                future.set_result(function(*args))
