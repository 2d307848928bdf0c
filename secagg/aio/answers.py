"""The answers of one party, computed in a thread while its connection goes on being read."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..drivers.assignment import AbandonedError, Answer, Assignment, Train


class Answers:
    """Computes one answer at a time, in a daemon thread: Python cannot end a thread.

    A training that still runs when it is not wanted any more, as its caller was cancelled or its
    round is over, goes on until it returns; what it returns is then thrown away before any machine
    sees it.

    Args:
        respond: returns the answer to a payload; called with it and the function to call for an
            input.
        train: the application's.
    """

    def __init__(self, respond: Callable[[bytes, Train], bytes], train: Train) -> None:
        self._respond = respond
        self._train = train
        self._lock = threading.Lock()  # over the next three
        self._closed = False
        self._over: bytes | None = None  # the round that the server said is over
        self._training: bytes | None = None  # the round of the training that runs
        self._running: asyncio.Future[bytes] | None = None

    async def answer(self, payload: bytes) -> bytes:
        """Returns the answer to a payload, after that to the one before.

        If it is cancelled the answer is computed nevertheless, and stored where it belongs.
        """
        await self.settle()
        self._running = self._start(payload)
        return await self._ended()

    async def settle(self) -> bytes:
        """Returns an answer that nobody waits for any more, b"" if there is none."""
        return b"" if self._running is None else await self._ended()

    def end(self, session: bytes) -> None:
        """Says that a round is over: an input for it that is being computed goes nowhere."""
        with self._lock:
            if self._training == session:
                self._over = session

    def abandon(self) -> None:
        """Says that nobody wants an input any more: one that is being computed goes nowhere."""
        with self._lock:
            self._closed = True

    async def close(self) -> None:
        """Ends it: waits for a step that runs, but for no training."""
        self.abandon()
        with self._lock:
            training = self._training is not None
        if self._running is not None:
            self._running.add_done_callback(_retrieved)
            if not training:
                await asyncio.wait([self._running])

    async def _ended(self) -> bytes:
        assert self._running is not None  # noqa: S101
        running = self._running
        await asyncio.wait([running])
        self._running = None
        return running.result()

    # -- in the thread ------------------------------------------------------------------------

    def _start(self, payload: bytes) -> "asyncio.Future[bytes]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        context = contextvars.copy_context()

        def finish(method: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                method(value)

        def run() -> None:
            reply, failure = b"", None
            try:
                reply = context.run(self._respond, payload, self._wanted)
            except AbandonedError:
                pass
            except BaseException as error:
                failure = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                if failure is None:
                    loop.call_soon_threadsafe(finish, future.set_result, reply)
                else:
                    loop.call_soon_threadsafe(finish, future.set_exception, failure)

        threading.Thread(target=run, name="secagg-answer", daemon=True).start()
        return future

    def _wanted(self, assignment: Assignment) -> Answer:
        """Calls the application's `train`; raises unless its input is still wanted."""
        session = assignment.round.session
        with self._lock:
            if self._closed:
                raise AbandonedError
            self._training, self._over = session, None
        try:
            given = self._train(assignment)
        finally:
            with self._lock:
                self._training = None
                unwanted = self._closed or self._over == session
        if unwanted:
            raise AbandonedError
        return given


def _retrieved(future: "asyncio.Future[bytes]") -> None:
    """Takes note of an exception that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
