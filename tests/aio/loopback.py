"""Rounds over sockets on the loopback: a server's listener, connections of clients, leftovers."""

import asyncio
import runpy
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from harness import directory_of, identity_of, input_of
from support import collected

import secagg
from secagg import Assignment, Home, Mode, Params, Policy, Server
from secagg.aio import Hub, HubNet, participate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tcp_sum.py"
FrameLink = runpy.run_path(str(EXAMPLE))["FrameLink"]
LARGEST = 2**24
LIMIT = 60.0  # seconds for anything: what takes longer hangs


def name_of(party: int) -> str:
    """The name of a party: their order is that of the indices."""
    return f"party-{party:02}"


def names_of(params: Params) -> list[str]:
    """The names of a cohort."""
    return [name_of(party) for party in range(params.cohort)]


def server_with(params: Params, context: bytes = bytes(32)) -> Server:
    """A new server of a round with its own session."""
    malicious = params.mode is Mode.MALICIOUS
    return Server(params.round(context), directory_of(params.cohort) if malicious else None)


def home_of(params: Params, party: int, path: Path | None = None, **more: Any) -> Home:
    """The home of a party, in memory or in a folder."""
    if params.mode is Mode.MALICIOUS:
        more |= {"identity": identity_of(party), "directory": directory_of(params.cohort)}
    more.setdefault("policy", Policy(params=params))
    return Home.in_memory(**more) if path is None else Home(path, **more)


def trains(party: int, params: Params) -> Callable[[Assignment], np.ndarray]:
    """The training of a party: its input is for what the round is about."""

    def train(assignment: Assignment) -> np.ndarray:
        assignment.context = assignment.round.context
        return input_of(party, params.length)

    return train


def right_sum(outcome: object, params: Params) -> bool:
    """Returns whether a round ended with the sum of its survivors' inputs."""
    if not isinstance(outcome, secagg.Completed):
        return False
    inputs = [input_of(party, params.length) for party in outcome.result.survivors]
    return bool(np.array_equal(outcome.result.total, sum(inputs)))


class Listener:
    """A hub behind a socket; the first frame of a connection is its authenticated name."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.port = 0
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Listener":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        link = FrameLink(reader, writer, LARGEST)
        try:
            await self.hub.attach((await link.receive()).decode(), link)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    @asynccontextmanager
    async def connect(
        self, name: str, wrap: Callable[[Any], Any] = lambda link: link
    ) -> AsyncIterator[Any]:
        """A connection of a client."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        link = FrameLink(reader, writer, LARGEST)
        link.abort = writer.transport.abort
        try:
            await link.send(name.encode())
            yield wrap(link)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def descriptors() -> set[str]:
    """Returns what is open in this process."""
    folder = Path("/proc/self/fd")
    return {each.name for each in folder.iterdir()} if folder.is_dir() else set()


def workers() -> list[str]:
    """The names of the threads that are not of the default pool."""
    own = {"asyncio_", "MainThread"}
    return [each.name for each in threading.enumerate() if not any(map(each.name.startswith, own))]


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fails if threads or descriptors are left."""
    threads, open_before = workers(), len(descriptors())
    with collected():
        yield
    end = time.monotonic() + 30  # a training that nobody waits for takes its time
    while workers() != threads and time.monotonic() < end:
        time.sleep(0.001)
    assert workers() == threads
    assert len(descriptors()) <= open_before


def play(
    scenario: Callable[[], Awaitable[Any]],
    seconds: float = LIMIT,
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Any:
    """Runs a scenario on a loop of its own; it ends in time, and leaves nothing behind."""
    problems: list[Mapping[str, Any]] = []

    async def run() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: problems.append(what))
        result = await asyncio.wait_for(scenario(), seconds)
        for _ in range(3):
            await asyncio.sleep(0)  # transports that were closed
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert left == set(), left
        return result

    with nothing_left(), asyncio.Runner(loop_factory=loop) as runner:
        result = runner.run(run())
    assert problems == []
    return result


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that needs some rounds of the loop."""
    pause = 0.001
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(pause)
            pause *= 1.2


class QueueLink:
    """One end of a connection in memory; `close` ends both."""

    def __init__(self, incoming: asyncio.Queue[Any], outgoing: asyncio.Queue[Any]) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.sent: list[bytes] = []

    async def send(self, data: bytes) -> None:
        self.sent.append(data)
        await self.outgoing.put(data)

    async def receive(self) -> bytes:
        data = await self.incoming.get()
        if data is None:
            self.incoming.put_nowait(None)
            raise EOFError("the connection was closed")
        return data

    def close(self) -> None:
        for queue in (self.incoming, self.outgoing):
            queue.put_nowait(None)


def linked(size: int = 0) -> tuple[QueueLink, QueueLink]:
    """The two ends of a connection, which keeps so many messages until it holds up the sender."""
    up: asyncio.Queue[Any] = asyncio.Queue(size)
    down: asyncio.Queue[Any] = asyncio.Queue(size)
    return QueueLink(up, down), QueueLink(down, up)


class Rounds:
    """A hub and its clients in memory, each with a home that takes part in one round."""

    def __init__(self, params: Params, **limits: Any) -> None:
        self.params = params
        self.hub = Hub(**limits)
        self.homes = [home_of(params, party) for party in range(params.cohort)]
        self.links: dict[int, QueueLink] = {}
        self.tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> "Rounds":
        return self

    async def __aexit__(self, *_: object) -> None:
        for link in self.links.values():
            link.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def connect(self, party: int) -> QueueLink:
        """Attaches a connection of a party; returns its end."""
        theirs, ours = linked()
        self.links[party] = theirs
        self.tasks.append(asyncio.create_task(self.hub.attach(name_of(party), ours)))
        return theirs

    def join(self, party: int, train: Any = None) -> "asyncio.Task[Any]":
        """Lets a party take part over a new connection."""
        train = train or trains(party, self.params)
        taking_part = participate(self.homes[party], self.connect(party), train)
        task = asyncio.create_task(taking_part)
        self.tasks.append(task)
        return task

    async def present(self, count: int | None = None) -> HubNet:
        """Waits until they are connected; returns the net of the cohort."""
        await self.hub.wait_for(self.params.cohort if count is None else count, 30)
        return self.hub.net(names_of(self.params))
