"""Connections that come and go, gathered into the nets of rounds.

Who a connection belongs to is the application's knowledge: it gives `attach` the name that it has
authenticated. What a peer says about itself (`Hello.name`, `Hello.verify_key`) decides nothing.
"""

import asyncio
import logging
import math
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from ..codes import Code
from ..drivers.envelope import NO_SESSION, Over, is_envelope, seal
from ..drivers.log_quota import LogQuota
from ..errors import ParameterError
from ..machine.wire import HEADER_BYTES, SESSION_BYTES
from ..numeric import brief
from ..params.checks import require_int, require_seconds
from ..texts import one_line
from .hub_net import HubNet
from .links import Link, require_link
from .peer import Peer

_log: Final = logging.getLogger("secagg.aio")

_KEPT_OVERS: Final = 4  # ends of rounds that a peer is told of when it comes back
_KEPT_NAMES: Final = 1024  # peers of which that is kept, or two of the largest cohort
_LOG_SECONDS: Final = 60.0  # for which the lines about connections of one name are limited
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
        self._peers: dict[str, Peer] = {}
        self._nets: dict[bytes, HubNet] = {}  # of the rounds under way, by session
        # What peers are told when they come back: of so many names, those of the last rounds.
        self._overs: OrderedDict[str, deque[bytes]] = OrderedDict()
        self._most_overs = _KEPT_NAMES
        self._goodbye: bytes | None = None
        self._lines, self._lines_until = LogQuota(_log, _printed), 0.0
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
        require_link(link)
        peer = Peer(self, name, link)
        older = self._peers.get(name)
        self._peers[name] = peer
        if older is not None:
            older.leave("a newer connection took its place")
        try:
            await peer.serve()
        finally:
            self._log(name, f"disconnected: {one_line(peer.why)}")
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

    def net(self, names: Sequence[str]) -> HubNet:
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
        self._lines.settle()

    # -- for its peers and nets ---------------------------------------------------------------

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()

    def _nets_of(self, name: str) -> Iterator[HubNet]:
        return (net for net in tuple(self._nets.values()) if name in net.indices)

    def _forget(self, peer: Peer) -> None:
        """Tells the rounds of a peer that it is gone."""
        self._peers.pop(peer.name, None)
        for net in self._nets_of(peer.name):
            net.lose(peer.name, peer.why)
        self._changed()

    async def _greet(self, peer: Peer, hello: bytes) -> None:
        """Takes a peer in that has said hello; its rounds learn that it is (back) there."""
        if self._goodbye is not None:
            peer.dismiss(self._goodbye)
            return
        peer.greeted = True
        self._log(peer.name, "connected")
        for over in tuple(self._overs.get(peer.name, ())):
            peer.put(over, NO_SESSION)  # see `_told`
        self._changed()
        for net in self._nets_of(peer.name):
            await net.deliver(peer.name, hello)

    async def _route(self, peer: Peer, data: bytes) -> None:
        """Hands a message to the round that it belongs to."""
        session = data[HEADER_BYTES - SESSION_BYTES : HEADER_BYTES]
        nets = [net for net in self._nets_of(peer.name) if net.takes(peer.name, session)]
        if session == NO_SESSION and not is_envelope(data):
            nets = []
        for net in nets:
            if len(data) <= net.largest:
                await net.deliver(peer.name, data)
        if not nets:
            _log.debug("%s: a message of no round under way is dropped", _printed(peer.name))

    def _send(self, name: str, data: bytes, session: bytes) -> None:
        """Sends to a peer if it is there; else it gets what it missed once it is."""
        peer = self._peers.get(name)
        if peer is not None and peer.greeted:
            peer.put(data, session)

    def _told(self, name: str, data: bytes) -> None:
        """Forgets the end of a round that was kept for a peer, once it was sent on its return."""
        kept = self._overs.get(name)
        if kept is not None and data in kept:
            kept.remove(data)
            if not kept:
                del self._overs[name]

    def _log(self, name: str, text: str) -> None:
        """Logs a line about a connection, unless there were too many of its name lately."""
        loop = asyncio.get_running_loop()
        if (now := loop.time()) >= self._lines_until:
            self._lines_until = now + _LOG_SECONDS
            loop.call_later(_LOG_SECONDS, self._lines.settle)
        self._lines.info(name, f"{_printed(name)}: {text}")

    def _keep_over(self, name: str, data: bytes, cohort: int) -> None:
        kept = self._overs.setdefault(name, deque(maxlen=_KEPT_OVERS))
        self._overs.move_to_end(name)
        if data not in kept:
            kept.append(data)
        self._most_overs = max(self._most_overs, 2 * cohort)
        while len(self._overs) > self._most_overs:
            self._overs.popitem(last=False)


def _printed(name: str) -> str:
    """Returns what the log calls a peer."""
    return f"peer {one_line(name)}"
