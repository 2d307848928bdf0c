"""The answers of one party, computed in a thread while its connection goes on being read."""

import asyncio
import contextvars
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from ..drivers.assignment import AbandonedError, Answer, Assignment, RoundOverError, Train
from ..drivers.envelope import NO_SESSION, Over, seal
from ..drivers.responder import log_end
from ..home.answer import answer
from ..home.home import Home
from .payloads import Payload, read_payload

_MOST_OVERS: Final = 128  # the last ones: more than one connection lets wait


def answer_stored(home: Home, payload: Payload, train: Train) -> bytes:
    """Returns the answer of a party that its home remembers, see `secagg.answer`."""
    try:
        return answer(home, payload.data, train)
    except _OverError as error:
        if isinstance(error.over.said, Over):
            log_end(error.over.said, through=False)
        raise


class _OverError(RoundOverError):
    """An input is not wanted, and why."""

    def __init__(self, over: Payload) -> None:
        super().__init__()
        self.over = over


class Answers:
    """Computes one answer at a time, in a daemon thread: Python cannot end a thread.

    A training that still runs when it is not wanted any more, as its caller was cancelled or its
    round is over, goes on until it returns; what it returns is then thrown away before any machine
    sees it. The end of that round is then answered at once, ahead of what waits, so that no server
    has an input for it computed again, from another task.

    Args:
        respond: returns the answer to a payload; called with it and the function to call for an
            input.
        train: the application's.
    """

    def __init__(self, respond: Callable[[Payload, Train], bytes], train: Train) -> None:
        self._respond = respond
        self._train = train
        self._lock = threading.Lock()  # over the next five
        self._closed = False
        self._goodbye = False  # whether all rounds are over
        self._overs: OrderedDict[bytes, Payload] = OrderedDict()  # the ends of rounds
        self._session = NO_SESSION  # the round that is answered in, whose end is not forgotten
        self._training = False  # whether one runs
        self._running: asyncio.Future[bytes] | None = None

    async def answer(self, payload: Payload) -> bytes:
        """Returns the answer to a payload, after that to the one before.

        If it is cancelled the answer is computed nevertheless, and stored where it belongs.
        """
        await self.settle()
        with self._lock:
            self._session = payload.session
        self._running = self._start(payload)
        return await self._ended()

    async def settle(self) -> bytes:
        """Returns an answer that nobody waits for any more, b"" if there is none."""
        return b"" if self._running is None else await self._ended()

    def end(self, over: Payload) -> None:
        """Says that a round is over, or all are, which `answer` is asked for in turn.

        An input for it that is being computed goes nowhere, and none is begun.
        """
        with self._lock:
            self._goodbye |= over.session == NO_SESSION
            self._overs[over.session] = over
            if len(self._overs) > _MOST_OVERS:
                del self._overs[next(each for each in self._overs if each != self._session)]

    def over(self, session: bytes) -> Payload | None:
        """Returns the end of a round, if the server has said it."""
        with self._lock:
            return self._overs.get(session)

    def abandon(self) -> None:
        """Says that nobody wants an input any more: one that is being computed goes nowhere."""
        with self._lock:
            self._closed = True

    async def close(self) -> None:
        """Ends it: waits for a step that runs, but for no training."""
        self.abandon()
        with self._lock:
            training = self._training
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

    def _start(self, payload: Payload) -> "asyncio.Future[bytes]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        context = contextvars.copy_context()

        def finish(method: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                method(value)

        def run() -> None:
            reply, failure = b"", None
            try:
                reply = context.run(self._answer, payload)
            except BaseException as error:
                failure = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                if failure is None:
                    loop.call_soon_threadsafe(finish, future.set_result, reply)
                else:
                    loop.call_soon_threadsafe(finish, future.set_exception, failure)

        threading.Thread(target=run, name="secagg-answer", daemon=True).start()
        return future

    def _answer(self, payload: Payload) -> bytes:
        try:
            return self._respond(payload, self._wanted)
        except _OverError as error:
            return self._respond(error.over, self._wanted)
        except AbandonedError:
            return b""

    def _wanted(self, assignment: Assignment) -> Answer:
        """Calls the application's `train`; raises unless its input is still wanted."""
        session = assignment.round.session
        with self._lock:
            self._require_wanted(session)
            self._training = True
        try:
            given = self._train(assignment)
        finally:
            with self._lock:
                self._training = False
        with self._lock:
            self._require_wanted(session)
        return given

    def _require_wanted(self, session: bytes) -> None:
        if session in self._overs:
            raise _OverError(self._overs[session])
        if self._goodbye:
            raise _OverError(read_payload(seal(Over(session))))
        if self._closed:
            raise AbandonedError


def _retrieved(future: "asyncio.Future[bytes]") -> None:
    """Takes note of an exception that nobody waits for any more."""
    if not future.cancelled():
        future.exception()
