"""Random schedules of kills, reconnects, slow, silent and malformed peers over real sockets."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Any

import numpy as np
from aio.loopback import Listener, home_of, name_of, names_of, right_sum, server_with, trains
from harness import MODES, integers

from secagg import Assignment
from secagg.aio import Hub, attend, serve
from secagg.aio.greeting import hello
from secagg.aio.payloads import read_payload
from secagg.drivers.envelope import LARGEST_SHORT

# Seconds of a clock that skips what nobody needs, see `skipping.py`.
GRACE = 20.0
SECONDS = 1200.0  # for a phase if nobody is silent: a phase that waits for it is an error
SHORT = 50.0  # if somebody is
SLOW = 30.0  # of a slow party before its first message, and in its training: together above SHORT
IN_TIME = 240.0  # for a round


class Kind(Enum):
    """The conduct of a party."""

    HONEST = "does its part"
    FLAKY = "loses its connection, again and again, and comes back"
    SLOW = "takes its time with its first message and its training"
    GARBAGE = "sends bytes between its messages that are none"
    FLOOD = "sends very many of them"
    TWICE = "opens a second connection while the first is there"
    LATE = "connects after the round has begun"
    DEAD = "loses its connection, and does not come back"
    SILENT = "says hello, and no more"


STAY = [Kind.HONEST, Kind.FLAKY, Kind.GARBAGE, Kind.FLOOD, Kind.TWICE, Kind.LATE]
LEAVE = [Kind.DEAD, Kind.SILENT]


class Schedule:
    """One round: who does what. Everything follows from the number."""

    def __init__(self, number: int) -> None:
        self.number = number
        draw = random.Random(number)
        params = integers(draw.choice([5, 6, 7]), mode=MODES[number % 2])
        leave = draw.randint(0, params.cohort - params.min_survivors)
        kinds = [draw.choice(LEAVE) for _ in range(leave)]
        kinds += [draw.choice(STAY) for _ in range(params.cohort - leave)]
        if number % 4 == 1:
            kinds[-1] = Kind.SLOW
        draw.shuffle(kinds)
        self.params, self.kinds = params, kinds

    def __repr__(self) -> str:
        return f"schedule {self.number}: {', '.join(kind.name for kind in self.kinds)}"


class Faulty:
    """One connection with the faults of its party."""

    def __init__(self, party: "Party", link: Any) -> None:
        self._party = party
        self._link = link
        self._left = party.next_cut()

    def _count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._link.abort()
            raise ConnectionResetError("the schedule cuts the connection")

    async def send(self, data: bytes) -> None:
        self._count()
        for junk in self._party.junk():
            await self._link.send(junk)
        if self._party.is_slow():
            await asyncio.sleep(SLOW)
        await self._link.send(data)

    async def receive(self) -> bytes:
        data: bytes = await self._link.receive()
        self._party.session = read_payload(data).session
        self._count()
        return data


class Party:
    """One party of a schedule."""

    def __init__(self, index: int, schedule: Schedule, listener: Listener) -> None:
        self.index, self.kind, self.params = index, schedule.kinds[index], schedule.params
        self.session = bytes(16)
        self._random = random.Random(f"{schedule.number} {index}")
        self._listener = listener
        self._connections = self._sent = 0
        self._stop = asyncio.Event()
        self._loop: Any = asyncio.get_running_loop()

    def next_cut(self) -> float:
        """After how many frames the next connection is cut."""
        self._connections += 1
        if self.kind is Kind.FLAKY and self._connections <= 4:
            return self._random.randint(2, 6)
        return self._random.randint(2, 8) if self.kind is Kind.DEAD else float("inf")

    def junk(self) -> Iterable[bytes]:
        """Yields what is sent before the next message."""
        self._sent += 1
        if self._sent > 1 and self.kind is Kind.GARBAGE:
            yield self._random.choice(JUNK)
        if self._sent == 2 and self.kind is Kind.FLOOD:
            yield from (b"SA\1\3" + self.session + bytes(1000) for _ in range(60))

    def is_slow(self) -> bool:
        """Returns whether the next message takes its time."""
        return self.kind is Kind.SLOW and self._sent == 2

    def train(self, assignment: Assignment) -> np.ndarray:
        """Gives the input."""
        if self.kind is Kind.SLOW:
            self._loop.sleep_in_thread(SLOW)
        return trains(self.index, self.params)(assignment)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        """A connection with the faults of this party."""
        if self.kind is Kind.DEAD and self._connections:
            self._stop.set()
            await asyncio.sleep(3600)
        async with self._listener.connect(name_of(self.index)) as link:
            yield Faulty(self, link)

    async def run(self, begun: asyncio.Event) -> None:
        """Does what this party does, until the server says goodbye."""
        if self.kind in (Kind.SILENT, Kind.TWICE):
            async with self._listener.connect(name_of(self.index)) as link:
                await link.send(hello())
                await begun.wait()
                if self.kind is Kind.SILENT:
                    with suppress(EOFError, OSError):
                        while True:
                            await link.receive()
                    return
                await self._attend()
            return
        if self.kind is Kind.LATE:
            await begun.wait()
        await self._attend()

    async def _attend(self) -> None:
        home = home_of(self.params, self.index)
        await attend(home, self.connect, self.train, stop=self._stop, pauses=(0.01, 0.1))


JUNK = [
    b"",
    b"\0",
    b"SA",
    b"SD",
    b"SD\x01\x12" + bytes(16),
    b"SD\x01\x07",
    b"SA\x01\x03" + bytes(16) + bytes(400),
    bytes(range(256)),
]


class Watch:
    """The most bytes of one peer that waited at a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.most = 0

    def look(self) -> None:
        for net in self._hub._nets.values():
            for waiting in net._messages.values():
                self.most = max(self.most, sum(map(len, waiting)))


async def happens(schedule: Schedule) -> str:
    """Plays a schedule; returns what is wrong, or ""."""
    params, kinds = schedule.params, schedule.kinds
    hub, begun = Hub(), asyncio.Event()
    loop: Any = asyncio.get_running_loop()
    async with Listener(hub) as listener:
        parties = [Party(i, schedule, listener) for i in range(params.cohort)]
        running = [asyncio.ensure_future(party.run(begun)) for party in parties]
        watch = Watch(hub)
        loop.each_turn.append(watch.look)
        await hub.wait_for(params.cohort - kinds.count(Kind.LATE), GRACE)
        seconds = SHORT if {Kind.SILENT, Kind.SLOW} & set(kinds) else SECONDS
        net = hub.net(names_of(params))
        serving = asyncio.ensure_future(serve(server_with(params), net, seconds, grace=GRACE))
        loop.call_later(0.02, begun.set)
        try:
            outcome = await asyncio.wait_for(serving, IN_TIME)
        except TimeoutError:
            outcome = None
        loop.each_turn.remove(watch.look)
        await hub.close()
        _, late = await asyncio.wait(running, timeout=SHORT)
        for task in late:
            task.cancel()
        raised = await asyncio.gather(*running, return_exceptions=True)
    if outcome is None:
        return "no end"
    if not right_sum(outcome, params):
        return f"no sum: {outcome}"
    stay = {i for i, kind in enumerate(kinds) if kind not in LEAVE}
    if missing := stay - set(outcome.result.survivors):
        return f"without {[(i, kinds[i].name) for i in missing]}"
    if late:
        return f"{len(late)} clients heard no goodbye"
    if faults := [each for each in raised if isinstance(each, Exception)]:
        return f"a client raised {faults}"
    if watch.most > LARGEST_SHORT:
        return f"{watch.most} bytes of one party waited"
    return ""
