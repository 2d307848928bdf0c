"""The cohort of one round over a hub: its part of what comes over the connections, and goes."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, Protocol

from ..codes import Code
from ..drivers.envelope import NO_SESSION, Over, is_envelope
from ..errors import LocalProtocolError
from .greeting import is_hello

_OVERHEAD: Final = 64  # bytes that a message takes beside its own: a flood of empty ones is one


class Router(Protocol):
    """The needs of a net from its hub: those who are there, and the rounds under way."""

    _nets: "dict[bytes, HubNet]"

    def present(self) -> list[str]: ...
    def _send(self, name: str, data: bytes, session: bytes) -> None: ...
    def _keep_over(self, name: str, data: bytes, cohort: int) -> None: ...


class HubNet:
    """The cohort of one round over a hub; `serve` takes it.

    Attributes:
        names: of the parties, by index.
        indices: of the parties, by name.
        session: the round, while it is served.
        largest: the most bytes that a message to its server can have.
    """

    def __init__(self, hub: Router, names: Sequence[str]) -> None:
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
        if self.session is not None:
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
