"""A loop whose clock runs ahead while nothing happens: long deadlines cost a test no time.

So a deadline that must not pass can be longer than any pause of a busy machine. The clock skips to
the next timer when no socket is ready and no thread is at work for the library.
"""

import asyncio
import selectors
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aio.loopback import play

from secagg.aio.answers import Answers
from secagg.aio.worker import Worker

SETTLE = 0.01  # seconds without an event: what was written to a socket has arrived by then


class SkippingLoop(asyncio.SelectorEventLoop):
    """The loop.

    Attributes:
        busy: how many threads are at work; changed in the loop's thread only.
        each_turn: what is called whenever the loop looks for events.
    """

    def __init__(self) -> None:
        super().__init__(_Selector(self))
        self.skipped = 0.0
        self.busy = 0
        self.each_turn: list[Callable[[], None]] = []
        self._asleep: set[threading.Event] = set()

    def time(self) -> float:
        """The clock: no slower than the real one."""
        return super().time() + self.skipped

    def run_in_executor(self, *args: Any) -> Any:
        """Counts the call as work."""
        return self.counted(super().run_in_executor(*args))

    def counted(self, future: Any) -> Any:
        """Counts what a future stands for as work until it is done; returns the future."""
        self.busy += 1
        future.add_done_callback(lambda _: self._ends())
        return future

    def _ends(self) -> None:
        self.busy -= 1

    def sleep_in_thread(self, seconds: float) -> None:
        """Holds up the calling thread, which is counted as work, for a time of this clock."""
        over = threading.Event()
        self._asleep.add(over)

        def wake() -> None:
            self.busy += 1
            over.set()

        def begin() -> None:
            self.busy -= 1
            self.call_later(seconds, wake)

        self.call_soon_threadsafe(begin)
        over.wait()

    def close(self) -> None:
        """Wakes the threads for whose sleep no time is left."""
        super().close()
        for over in self._asleep:
            over.set()


class _Selector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    def __init__(self, loop: SkippingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        for call in self._loop.each_turn:
            call()
        if timeout is None or timeout <= SETTLE or self._loop.busy:
            return super().select(timeout)
        events = super().select(SETTLE)
        if not events:
            self._loop.skipped += timeout - SETTLE
        return events


def play_ahead(scenario: Callable[[], Awaitable[Any]], seconds: float = 3600) -> Any:
    """Runs a scenario as `play` does, on such a loop; the library's threads count as work."""
    call, start = Worker.call, Answers._start

    async def called(self: Worker, *args: Any, **kwargs: Any) -> Any:
        loop: Any = asyncio.get_running_loop()
        loop.busy += 1
        try:
            return await call(self, *args, **kwargs)
        finally:
            loop.busy -= 1

    def started(self: Answers, payload: bytes) -> Any:
        loop: Any = asyncio.get_running_loop()
        return loop.counted(start(self, payload))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "call", called)
        patch.setattr(Answers, "_start", started)
        return play(scenario, seconds, SkippingLoop)
