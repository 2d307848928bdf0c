"""Connections that come and go, gathered into the nets of rounds.

Who a connection belongs to is the application's knowledge: it gives `attach` the name that it has
authenticated. What a peer says about itself (`Hello.name`, `Hello.verify_key`) decides nothing.
"""

import asyncio
import logging
import math
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from ..codes import Code
from ..drivers.envelope import NO_SESSION, Over, is_envelope, seal
from ..errors import LocalProtocolError, ParameterError
from ..machine.wire import HEADER_BYTES, SESSION_BYTES
from ..numeric import brief
from ..params.checks import require_int, require_seconds
from ..texts import one_line
from .greeting import is_hello, rejection
from .links import Link

_log: Final = logging.getLogger("secagg.aio")

_KEPT_OVERS: Final = 4  # ends of rounds that a peer is told of when it comes back
_KEPT_NAMES: Final = 1024  # peers of which that is kept, or two of the largest cohort
_OVERHEAD: Final = 64  # bytes that a message takes beside its own: a flood of empty ones is one
_TO_END: Final = 1.0  # seconds for links to end that were told to


class Hub:
    """Serves the connections of all clients, for any number of rounds, also at the same time.

    A web framework's handler of a connection calls `attach`. A round gets its cohort with `net`. A
    message belongs to the round whose session its header has; what belongs to no round under way
    is dropped. A peer can make the server keep two of its messages per round; it is read again
    once they were handled.

    Use it on one event loop.

    Args:
        largest_message: bytes; a peer that sends more is disconnected. Your transport should have
            the same limit, so that it does not keep more.
        queued: bytes of one round that may wait for a peer that reads slowly. With more it is
            disconnected; when it comes back it gets what it missed. One message of each round may
            always wait.
        patience: seconds for a peer to take one message.
        hello_within: seconds for the first message of a new connection, and for the end of one that
            the peer should close.

    Raises:
        ParameterError: a limit is not positive.
    """

    def __init__(
        self,
        *,
        largest_message: int = 2**30,
        queued: int = 2**26,
        patience: float = 60.0,
        hello_within: float = 10.0,
    ) -> None:
        self.largest_message: Final = require_int(
            "largest_message", largest_message, 1, sys.maxsize
        )
        self.queued: Final = require_int("queued", queued, 1, sys.maxsize)
        self.patience: Final = require_seconds("patience", patience, positive=True)
        self.hello_within: Final = require_seconds("hello_within", hello_within, positive=True)
        self._peers: dict[str, _Peer] = {}
        self._nets: dict[bytes, HubNet] = {}  # of the rounds under way, by session
        # What peers are told when they come back: of so many names, those of the last rounds.
        self._overs: OrderedDict[str, deque[bytes]] = OrderedDict()
        self._most_overs = _KEPT_NAMES
        self._goodbye: bytes | None = None
        self._change = asyncio.Event()  # replaced at each change of who is present

    async def attach(self, name: str, link: Link) -> None:
        """Serves one connection until it closes; then close it, as the handler of most frameworks.

        Close it at once: a peer that never reads would hold up a transport that waits until what
        was sent is read (`abort` of the transports of asyncio does not).

        A newer connection of the same name takes the place of the older, whose `attach` returns.

        Args:
            name: who is at the other end, as authenticated by the application.
            link: the connection.

        Raises:
            ParameterError: the name is no text, or the link lacks a method.
        """
        if not isinstance(name, str) or not name:
            raise ParameterError(f"a name must be a text, not {brief(name)}", Code.ARGUMENT)
        if not all(callable(getattr(link, method, None)) for method in ("send", "receive")):
            raise ParameterError(
                f"a link needs `send` and `receive`, and {type(link).__name__} lacks one: give it "
                "these two methods",
                Code.ARGUMENT,
            )
        peer = _Peer(self, name, link)
        older = self._peers.get(name)
        self._peers[name] = peer
        if older is not None:
            older.leave("a newer connection took its place")
        try:
            await peer.serve()
        finally:
            _log.info("%s: disconnected: %s", one_line(name), one_line(peer.why))
            if self._peers.get(name) is peer:
                self._forget(peer)

    def present(self) -> list[str]:
        """Returns the names of those who are connected, ascending."""
        return sorted(name for name, peer in self._peers.items() if peer.greeted)

    async def wait_for(
        self, count: int, timeout: float, among: Callable[[list[str]], list[str]] = list
    ) -> list[str]:
        """Waits until so many are connected; returns the names of those who are.

        Args:
            count: how many.
            timeout: seconds after which it returns fewer; may be infinite.
            among: returns those of some names that count, such as `Rounds.eligible`; by default
                all.

        Raises:
            ParameterError: the count or the timeout is no number, or below zero.
        """
        require_int("count", count, 0, sys.maxsize)
        timeout = require_seconds("timeout", timeout, most=math.inf)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while len(among(self.present())) < count:
                    await self._change.wait()
        return among(self.present())

    def net(self, names: Sequence[str]) -> "HubNet":
        """Returns the net of one round, for `serve`: party i is names[i].

        Raises:
            ParameterError: a name is there twice, or there is none.
        """
        if isinstance(names, str) or len(set(names)) != len(names) or not names:
            raise ParameterError(
                f"a cohort must be a list of different names, not {brief(names)}", Code.ARGUMENT
            )
        return HubNet(self, names)

    async def close(self, reason: str = "", timeout: float = 5.0) -> None:
        """Tells all who are connected, or come later, that there are no more rounds.

        Clients in `attend` then end. Connections are closed once that was sent.

        Args:
            reason: one line for their logs.
            timeout: seconds; slower ones are disconnected without. Links that do not end then, one
                second later, are not waited for.

        Raises:
            ParameterError: the timeout is below zero or not finite.
        """
        timeout = require_seconds("timeout", timeout)
        self._goodbye = seal(Over(NO_SESSION, reason=reason))
        peers = list(self._peers.values())
        for peer in peers:
            peer.dismiss(self._goodbye)
        if peers:
            ended = [asyncio.ensure_future(peer.ended.wait()) for peer in peers]
            try:
                await asyncio.wait(ended, timeout=timeout)
                for peer in peers:
                    peer.leave("the server is closing")
                await asyncio.wait(ended, timeout=_TO_END)
            finally:
                for each in ended:
                    each.cancel()

    # -- for its peers and nets ---------------------------------------------------------------

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _nets_of(self, name: str) -> "Iterator[HubNet]":
        return (net for net in tuple(self._nets.values()) if name in net.indices)

    def _forget(self, peer: "_Peer") -> None:
        """Tells the rounds of a peer that it is gone."""
        self._peers.pop(peer.name, None)
        for net in self._nets_of(peer.name):
            net.lose(peer.name, peer.why)
        self._changed()

    async def _greet(self, peer: "_Peer", hello: bytes) -> None:
        """Takes a peer in that has said hello; its rounds learn that it is (back) there."""
        if self._goodbye is not None:
            peer.dismiss(self._goodbye)
            return
        peer.greeted = True
        _log.info("%s: connected", one_line(peer.name))
        for over in self._overs.pop(peer.name, ()):
            peer.put(over, NO_SESSION)
        self._changed()
        for net in self._nets_of(peer.name):
            await net.deliver(peer.name, hello)

    async def _route(self, peer: "_Peer", data: bytes) -> None:
        """Hands a message to the round that it belongs to."""
        session = data[HEADER_BYTES - SESSION_BYTES : HEADER_BYTES]
        nets = [net for net in self._nets_of(peer.name) if net.takes(peer.name, session)]
        if session == NO_SESSION and not is_envelope(data):
            nets = []
        for net in nets:
            if len(data) <= net.largest:
                await net.deliver(peer.name, data)
        if not nets:
            _log.debug("%s: a message of no round under way is dropped", one_line(peer.name))

    def _send(self, name: str, data: bytes, session: bytes) -> None:
        """Sends to a peer if it is there; else it gets what it missed once it is."""
        peer = self._peers.get(name)
        if peer is not None and peer.greeted:
            peer.put(data, session)

    def _keep_over(self, name: str, data: bytes, cohort: int) -> None:
        kept = self._overs.setdefault(name, deque(maxlen=_KEPT_OVERS))
        self._overs.move_to_end(name)
        if data not in kept:
            kept.append(data)
        self._most_overs = max(self._most_overs, 2 * cohort)
        while len(self._overs) > self._most_overs:
            self._overs.popitem(last=False)


class _LinkError(Exception):
    """A link raised an exception: the connection is closed."""


class _Peer:
    """One connection: a task that reads, and one that writes what waits."""

    def __init__(self, hub: Hub, name: str, link: Link) -> None:
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
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
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
        except Exception as error:  # of whatever class: frameworks have their own
            raise _LinkError(f"{type(error).__name__}: {error}") from error
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
            except Exception as error:
                raise _LinkError(f"{type(error).__name__}: {error}") from error
            self._waiting.popleft()
            self._bytes -= Counter({session: len(data)})  # a round of which nothing waits goes


class HubNet:
    """The cohort of one round over a hub; `serve` takes it.

    Attributes:
        names: of the parties, by index.
        indices: of the parties, by name.
        session: the round, while it is served.
        largest: the most bytes that a message to its server can have.
    """

    def __init__(self, hub: Hub, names: Sequence[str]) -> None:
        self._hub = hub
        self.names: Sequence[str] = tuple(names)
        self.indices: Final = {name: index for index, name in enumerate(names)}
        self.session: bytes | None = None
        self.largest = 0
        self._messages: dict[int, deque[bytes]] = {}
        self._bytes: Counter[int] = Counter()  # that these take, by party
        self._spoke: set[int] = set()  # parties that have sent something of this round
        self._gone: dict[int, Exception] = {}
        self._ready: dict[int, None] = {}  # parties of which there is something, in order
        self._something = asyncio.Event()
        self._taken = asyncio.Event()  # replaced whenever a message was taken

    def bind(self, session: bytes, largest: int) -> None:
        """Begins to hand over messages of this session, of at most so many bytes."""
        if session in self._hub._nets or self.session is not None:
            raise LocalProtocolError(
                "this round, or another one over this net, is being served: wait until that ends",
                Code.REENTRANT,
            )
        self.session, self.largest = session, largest
        self._hub._nets[session] = self
        for name in set(self.names) - set(self._hub.present()):
            self.lose(name, "it is not connected")

    def release(self) -> None:
        """Ends that, and forgets what was not taken."""
        if self.session is not None and self._hub._nets.get(self.session) is self:
            del self._hub._nets[self.session]
            self.session = None
            self._messages = {}
            self._bytes.clear()
            self._spoke.clear()
            self._gone.clear()
            self._ready.clear()
            self._was_taken()

    async def send(self, party: int, data: bytes) -> None:
        """Sends a message to a party if it is connected; never waits."""
        self._hub._send(self.names[party], data, self.session or NO_SESSION)
        if is_envelope(data) and data[3:4] == bytes((Over.kind,)):
            self._hub._keep_over(self.names[party], data, len(self.names))

    async def receive(self) -> tuple[int, bytes | Exception]:
        """Returns a party and its next message, or an exception if its connection is gone."""
        while not self._ready:
            self._something.clear()
            await self._something.wait()
        party = next(iter(self._ready))
        del self._ready[party]
        messages = self._messages.get(party)
        if messages:
            message = messages.popleft()
            self._bytes[party] -= len(message) + _OVERHEAD
            self._was_taken()
            if messages or party in self._gone:
                self._ready[party] = None  # after the others
            return party, message
        return party, self._gone.pop(party)

    def takes(self, name: str, session: bytes) -> bool:
        """Returns whether a message of a session is for this round; notes who has sent one.

        One without a session refuses an offer that its peer could not read. That of a round of
        which it has sent something it could.
        """
        if session == self.session:
            self._spoke.add(self.indices[name])
            return True
        return session == NO_SESSION and self.indices[name] not in self._spoke

    async def deliver(self, name: str, data: bytes) -> None:
        """Hands over what a peer sent; waits while what it sent before is too much."""
        party, session = self.indices[name], self.session
        messages = self._messages.setdefault(party, deque())
        size = len(data) + _OVERHEAD
        while messages and self._bytes[party] + size > self.largest:
            await self._taken.wait()
            if self.session != session:
                return  # the round is over
        if is_hello(data):
            self._gone.pop(party, None)
            if messages and is_hello(messages[-1]):
                return  # it is back twice since that was taken
        messages.append(data)
        self._bytes[party] += size
        self._is_ready(party)

    def lose(self, name: str, why: str) -> None:
        """Says that a peer is gone, once what it sent before was handled."""
        party = self.indices[name]
        self._gone[party] = ConnectionError(why)
        self._is_ready(party)

    def _is_ready(self, party: int) -> None:
        self._ready[party] = None
        self._something.set()

    def _was_taken(self) -> None:
        self._taken.set()
        self._taken = asyncio.Event()
