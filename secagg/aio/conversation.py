"""One connection of a client: it is read all the time, and answered one payload after another."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from ..codes import Code
from ..drivers.envelope import NO_SESSION, Kind, Refusal, Rejection, is_envelope, seal
from ..errors import SERVER, RemoteProtocolError
from ..texts import described
from .allowance import Allowance
from .links import Link, cause_of
from .payloads import Payload, read_payload

T = TypeVar("T")

_log: Final = logging.getLogger("secagg.aio")

LARGEST_MESSAGE: Final = 2**26  # bytes of a payload without its task: a roster of 2**16 parties
LARGEST_TASK: Final = 2**28
_MOST: Final = 64  # payloads that wait
USELESS_A_MINUTE: Final = 60  # payloads that lead to no message: each may be a line of the log
_UNTIL_NEXT: Final = 1.0  # seconds


class LinkError(Exception):
    """A link raised an exception, or its peer abuses it: the connection is not used any more."""


class Conversation:
    """Reads a link in a task of its own, so that it is kept alive while answers are computed.

    What waits is bounded: with more, nothing is read until it was answered.

    Args:
        link: the connection.
        largest_task: bytes of the largest task that is accepted.
        on_over: called at once with each `Over`, which is then answered in turn.
        useless: counts payloads that lead to no message of the protocol.

    Attributes:
        goodbye: whether the server has said that it has no more rounds, answered or not.
    """

    def __init__(
        self,
        link: Link,
        largest_task: int,
        on_over: Callable[[Payload], None],
        useless: Allowance,
    ) -> None:
        self._link = link
        self._useless = useless
        self._is_slow = False  # whether the log says that it waits
        self._largest = largest_task + LARGEST_MESSAGE
        self._on_over = on_over
        self.goodbye = False
        self._waiting: deque[Payload] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def next(self) -> Payload:
        """Returns the next payload; raises LinkError at the end of the connection."""
        while not self._waiting:
            self._changed.clear()
            await self.race(self._changed.wait())
        payload = self._waiting.popleft()
        self._bytes -= len(payload.data)
        self._changed.set()
        return payload

    async def send(self, data: bytes) -> None:
        """Sends a payload; raises LinkError if the connection ends before."""
        await self.race(self._send(data))

    async def reply(self, payload: Payload, data: bytes) -> None:
        """Sends what a payload was answered with, if anything.

        If the server has sent too much to which there is no message of the protocol, it waits: so
        neither the work nor the log of this party grows faster.
        """
        if data:
            await self.send(data)
        if payload.kind is Kind.OVER or (data and not is_envelope(data)):
            return
        now = asyncio.get_running_loop().time
        while not self._useless.take(now()):
            if not self._is_slow:
                _log.warning(
                    "the server sends what leads to no message, more than %d times a minute: "
                    "over this connection the rest is answered at that rate",
                    self._useless.per_minute,
                )
            self._is_slow = True
            await self.race(asyncio.sleep(_UNTIL_NEXT))

    async def race(self, step: Awaitable[T]) -> T:
        """Returns what a step returns; raises LinkError if the connection ends before it does."""
        task = asyncio.ensure_future(step)
        try:
            await asyncio.wait({task, self._reader}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self._reader.result()
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def close(self) -> None:
        """Stops reading."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _send(self, data: bytes) -> None:
        try:
            await self._link.send(data)
        except (Exception, asyncio.CancelledError) as error:
            cause = cause_of(error)
            raise LinkError(described(cause)) from cause

    async def _read(self) -> None:
        while True:
            try:
                data = await self._link.receive()
            except (Exception, asyncio.CancelledError) as error:
                cause = cause_of(error)
                raise LinkError(described(cause)) from cause
            if not isinstance(data, bytes | bytearray | memoryview):
                raise LinkError(f"the server sent {type(data).__name__}, not bytes")
            payload = read_payload(bytes(data))
            allowed = self._largest if payload.kind is Kind.ASK else LARGEST_MESSAGE
            if len(data) > allowed:
                raise LinkError(f"the server sent {len(data)} bytes, {allowed} are allowed")
            if payload.kind is Kind.OVER:
                self.goodbye |= payload.session == NO_SESSION
                self._on_over(payload)
            while self._waiting and (
                len(self._waiting) >= _MOST or self._bytes + len(data) > self._largest
            ):
                self._changed.clear()
                await self._changed.wait()
            self._waiting.append(payload)
            self._bytes += len(data)
            self._changed.set()
            await asyncio.sleep(0)  # a link that has more bytes may not wait for any


def refusal(payload: Payload, largest_task: int) -> bytes:
    """Returns the refusal of a payload that is answered without looking further, or b"".

    Raises:
        RemoteProtocolError: it says that the server does not deal with this client.
    """
    if isinstance(payload.said, Rejection):
        said = payload.said
        raise RemoteProtocolError(
            SERVER, f"does not deal with this client: {said.reason} [{said.code}]", Code.REFUSED
        )
    if payload.kind in (Kind.HELLO, Kind.REFUSAL):
        reason = "the server sent an envelope of a client"
        return seal(Refusal(NO_SESSION, Code.MALFORMED, reason))
    if payload.task <= largest_task:
        return b""
    reason = f"a task of {payload.task} bytes; this client accepts {largest_task}"
    return seal(Refusal(payload.session, Code.LIMIT, reason))
