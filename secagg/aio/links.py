"""Connections as the drivers see them: two methods each, whatever carries the bytes."""

import asyncio
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ..codes import Code
from ..errors import ParameterError


class Link(Protocol):
    """One connection to a peer, at either side. It keeps the borders of messages.

    It refuses messages that are too large before it keeps them: give your transport a limit, such
    as `max_size` of a web socket.
    """

    async def send(self, data: bytes) -> None:
        """Sends one message; may wait for the peer. Raises an exception once it is closed."""

    async def receive(self) -> bytes:
        """Returns the next message; raises EOFError or another exception once it is closed."""


def require_link(link: object) -> None:
    """Raises ParameterError unless an object has the two methods of a `Link`."""
    if not all(callable(getattr(link, method, None)) for method in ("send", "receive")):
        raise ParameterError(
            f"a link needs `send` and `receive`, and {type(link).__name__} lacks one: give it "
            "these two methods",
            Code.ARGUMENT,
        )


def cause_of(error: Exception | asyncio.CancelledError) -> Exception:
    """Returns why a connection is lost, from what its link raised.

    Raises:
        CancelledError: it cancels the task that runs. One that nobody asked for is the link's own.
    """
    if not isinstance(error, asyncio.CancelledError):
        return error
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise error
    return ConnectionError("the link raised CancelledError, and nobody had cancelled it")


class Net(Protocol):
    """A server's connections to the cohort of one round, by index. `Hub.net` makes one."""

    async def send(self, party: int, data: bytes) -> None:
        """Sends one message to a party; may wait for it. What it raises means that it is gone."""

    async def receive(self) -> tuple[int, bytes | Exception]:
        """Returns a party and its next message, or an exception if its connection is gone.

        The index is that of the peer which the connection was authenticated for.
        """


@runtime_checkable
class RoutedNet(Net, Protocol):
    """A net that shares its connections with others; `serve` tells it what belongs to its round.

    Attributes:
        names: of the parties, by index.
    """

    names: Sequence[str]

    def bind(self, session: bytes, largest: int) -> None:
        """Begins to hand over messages of this session, of at most so many bytes."""

    def release(self) -> None:
        """Ends that, and forgets what was not taken."""
