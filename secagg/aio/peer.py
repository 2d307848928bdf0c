"""One connection to a hub: what comes over it is read, and what waits for it is written."""

import asyncio
from collections import Counter, deque
from typing import Protocol

from ..drivers.envelope import NO_SESSION, seal
from ..texts import described
from .greeting import is_hello, rejection
from .links import Link, cause_of


class Host(Protocol):
    """The needs of a peer from its hub: the limits, see `Hub`, and where its messages go."""

    @property
    def largest_message(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def patience(self) -> float: ...
    @property
    def hello_within(self) -> float: ...

    async def _greet(self, peer: "Peer", hello: bytes) -> None: ...
    async def _route(self, peer: "Peer", data: bytes) -> None: ...
    def _told(self, name: str, data: bytes) -> None: ...


class _LinkError(Exception):
    """A link raised an exception: the connection is closed."""


class Peer:
    """One connection: a task that reads, and one that writes what waits."""

    def __init__(self, hub: Host, name: str, link: Link) -> None:
        self._hub = hub
        self.name = name
        self._link = link
        self._waiting: deque[tuple[bytes, bytes]] = deque()  # messages, and their rounds
        self._bytes: Counter[bytes] = Counter()  # of these, by round
        self._dismissed = False
        self._something = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.greeted = False
        self.why = "it was closed"
        self.ended = asyncio.Event()

    async def serve(self) -> None:
        """Serves the connection until it ends."""
        # A loop may run a task as it is made: what is read at once then finds the task that writes.
        self._tasks.append(asyncio.create_task(self._write()))
        self._tasks.append(asyncio.create_task(self._read()))
        try:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():
                    task.result()  # raises what is an error of this module
            if self._dismissed:  # to close now could reset it, and the peer lose the last message
                await asyncio.wait(self._tasks, timeout=self._hub.hello_within)
        except _LinkError as error:
            self.why = str(error)
        finally:
            self.greeted = False
            for task in self._tasks:
                task.cancel()
            try:
                await asyncio.gather(*self._tasks, return_exceptions=True)
            finally:  # also if it is cancelled again
                self._waiting.clear()
                self.ended.set()

    def leave(self, why: str) -> None:
        """Ends the connection; `serve` returns."""
        if not self.ended.is_set():
            self.why, self.greeted = why, False
            for task in self._tasks:
                task.cancel()

    def dismiss(self, last: bytes) -> None:
        """Sends a last message, and ends the connection once the peer has closed it."""
        self._add(last, NO_SESSION)
        self._dismissed, self.greeted = True, False

    def put(self, data: bytes, session: bytes) -> None:
        """Adds what is to be sent; a peer that reads what is of one round too slowly has to go."""
        waits = self._bytes[session]
        if waits and waits + len(data) > self._hub.queued:
            self.leave(f"it reads too slowly: {waits} bytes waited")
        else:
            self._add(data, session)

    def _add(self, data: bytes, session: bytes) -> None:
        self._waiting.append((data, session))
        self._bytes[session] += len(data)
        self._something.set()

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(self._hub.hello_within):
                hello = await self._receive()
        except TimeoutError:
            raise _LinkError(f"it said no hello in {self._hub.hello_within} s") from None
        rejected = rejection(hello)
        if rejected is not None:
            self.why = rejected.reason
            self.dismiss(seal(rejected))
        else:
            await self._hub._greet(self, hello)
        while True:
            data = await self._receive()
            if is_hello(data):
                raise _LinkError("it said hello twice")
            if not self._dismissed:
                await self._hub._route(self, data)
            await asyncio.sleep(0)  # a link that has more bytes may not wait for any

    async def _receive(self) -> bytes:
        try:
            data = await self._link.receive()
        except (Exception, asyncio.CancelledError) as error:  # frameworks have classes of their own
            cause = cause_of(error)
            raise _LinkError(described(cause)) from cause
        if not isinstance(data, bytes | bytearray | memoryview):
            raise _LinkError(f"it sent {type(data).__name__}, not bytes")
        if len(data) > self._hub.largest_message:
            raise _LinkError(f"it sent {len(data)} bytes, {self._hub.largest_message} are allowed")
        return bytes(data)

    async def _write(self) -> None:
        while not self._dismissed or self._waiting:
            if not self._waiting:
                self._something.clear()
                await self._something.wait()
                continue
            data, session = self._waiting[0]
            try:
                async with asyncio.timeout(self._hub.patience):
                    await self._link.send(data)
            except (Exception, asyncio.CancelledError) as error:
                cause = cause_of(error)
                raise _LinkError(described(cause)) from cause
            self._waiting.popleft()
            if session == NO_SESSION:
                self._hub._told(self.name, data)
            self._bytes -= Counter({session: len(data)})  # a round of which nothing waits goes
