"""The loop of one round at its server: what comes, the timers, and what goes to each party."""

import asyncio
import math
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ..codes import Code
from ..drivers.conductor import Conductor
from ..drivers.envelope import LARGEST_SHORT, Ask, seal
from ..events import Completed, Failed, Phase, Send
from ..machine.wire import as_bytes
from .companions import Companions
from .goodbye import goodbyes
from .greeting import is_hello, rejection
from .links import Net, RoutedNet
from .outbox import Outbox
from .worker import Worker

RESEND_PAUSE: Final = 0.5  # seconds between two resends to one party: each costs the server work
# Messages of one party that are taken when a time is up, greetings apart; and how many of those
# above that are put aside to see what is behind them.
_LAST_TAKEN: Final = 3
_LAST_SKIPPED: Final = 64
_LARGE_TASK: Final = 2**16  # bytes from which on an Ask is made in another thread


class RoundLoop:
    """The loop of one round: takes what comes, in order, and keeps the timers.

    Everything happens one after the other in one task, timers too, so none of them can meet a phase
    that is over. Only what is sent waits in tasks of its own, one per party.
    """

    def __init__(
        self,
        conductor: Conductor,
        net: Net,
        worker: Worker,
        about: Companions,
        seconds: Mapping[Phase, float],
        grace: float,
        goes_on: bool,
    ) -> None:
        self._conductor = conductor
        self._server = conductor.server
        self._net = net
        self._worker = worker
        self._about = about
        self._seconds = seconds
        self._grace = grace
        self._goes_on = goes_on
        self._largest = max(self._server.largest_message, LARGEST_SHORT)
        self._phase: Phase | None = None
        self._loop = asyncio.get_running_loop()
        # What is to be done and when: "phase", ("gone", party), ("back", party).
        self._timers: dict[object, tuple[float, Callable[[], Awaitable[None]]]] = {}
        self._outboxes: dict[int, Outbox] = {}
        self._heard: set[int] = set()
        self._resent: dict[int, float] = {}  # when a party last got what it missed
        self._lost: deque[tuple[int, BaseException]] = deque()  # parties that could not be sent to
        self._aside: deque[tuple[int, object]] = deque()  # what came before `_receiving`
        self._receiving: asyncio.Task[tuple[int, bytes | Exception]] | None = None
        self._something = asyncio.Event()

    async def play(self) -> Completed | Failed:
        """Plays the round to its end."""
        if isinstance(self._net, RoutedNet):  # which refuses a second round: it is of the first
            self._net.bind(self._server.session, self._largest)
        try:
            if self._conductor.outcome is None:
                await self._act(self._conductor.begin)
            while (outcome := self._conductor.outcome) is None:
                if await self._arrived(self._next_timer()):
                    await self._take(*self._next())
                else:
                    await self._fire()
            await self._say_goodbye(outcome)
            return outcome
        finally:
            await self._leave()

    # -- what comes -------------------------------------------------------------------------

    async def _arrived(self, until: float) -> bool:
        """Waits for what comes from the parties; returns False if nothing does until then."""
        if self._receiving is None:
            self._receiving = asyncio.create_task(self._receive())
        if not self._lost and not self._aside and not self._receiving.done():
            self._something.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._something.wait()
            except TimeoutError:
                return False
        return self._loop.time() < until

    async def _receive(self) -> tuple[int, bytes | Exception]:
        try:
            return await self._net.receive()
        finally:
            self._something.set()

    def _next(self) -> tuple[int, object]:
        """Returns a party and its message, or the exception that its connection ended with."""
        if self._lost:
            return self._lost.popleft()
        if self._aside:
            return self._aside.popleft()
        assert self._receiving is not None  # noqa: S101  # see `_arrived`
        receiving, self._receiving = self._receiving, None
        return receiving.result()

    async def _take(self, party: int, data: object) -> None:
        """Handles one message, or the loss of a connection."""
        if isinstance(data, BaseException):
            self._on_lost(party, data)
            return
        if not isinstance(data, bytes | bytearray | memoryview) or len(data) > self._largest:
            what = f"what is no message, or more than {self._largest} bytes"
            self._conductor.log(party, f"party {party} sent {what}")
            return
        self._heard.add(party)
        self._timers.pop(("gone", party), None)
        message = as_bytes(data)
        if is_hello(message):
            await self._on_hello(party, message)
        else:
            await self._act(self._conductor.take, party, message)

    def _on_lost(self, party: int, error: BaseException) -> None:
        """Begins to wait for a party whose connection is gone."""
        self._box(party).clear()
        self._timers.pop(("back", party), None)  # it would take back that the party is gone
        if self._goes_on and party not in self._heard:
            return  # it has the time of the phase to find the server again
        when = self._loop.time() + self._grace
        drop = partial(self._act, self._conductor.take, party, error)
        self._timers.setdefault(("gone", party), (when, drop))

    async def _on_hello(self, party: int, message: bytes) -> None:
        """Sends a party that is back what it missed, but not again and again at once."""
        rejected = rejection(message)
        if rejected is not None and rejected.code == Code.VERSION:
            self._timers.pop(("back", party), None)
            self._box(party).put(seal(rejected))
            await self._act(self._conductor.drop, party, rejected.reason, Code.VERSION)
            return
        if rejected is not None:
            await self._act(
                self._conductor.take, party, message
            )  # which notes that it is malformed
            return
        when = self._resent.get(party, -math.inf) + RESEND_PAUSE
        if when > self._loop.time():
            self._timers[("back", party)] = (when, partial(self._resend, party))
        else:
            await self._resend(party)

    async def _resend(self, party: int) -> None:
        self._resent[party] = self._loop.time()
        self._box(party).clear()  # what waits for an older connection
        await self._act(self._conductor.back, party)

    # -- timers -----------------------------------------------------------------------------

    def _start_timer(self, phase: Phase) -> None:
        """Starts the timer of a phase in the place of that of the phase before."""
        expire = partial(self._act, self._conductor.deadline, phase)
        self._timers["phase"] = (self._loop.time() + self._seconds[phase], expire)

    def _next_timer(self) -> float:
        return min((when for when, _ in self._timers.values()), default=math.inf)

    async def _fire(self) -> None:
        """Does what is due, after what had come by then: a few messages of each party at most.

        So a message that waited while the machine was busy is not late, also behind a greeting or
        what others sent. What a party sent above that comes after: who floods holds up no timer.
        """
        now, taken = self._loop.time(), Counter[tuple[int, bool]]()
        after: list[tuple[int, object]] = []
        late, size = set[int](), 0  # parties and bytes of these
        while (
            self._conductor.outcome is None and len(after) < _LAST_SKIPPED and size <= self._largest
        ):
            await asyncio.sleep(0)  # a net that has a message hands it over
            if self._receiving is None:
                self._receiving = asyncio.create_task(self._receive())
                await asyncio.sleep(0)
            if not self._lost and not self._aside and not self._receiving.done():
                break
            party, data = self._next()
            message = data if isinstance(data, bytes) else b""
            counted = party, is_hello(message)
            taken[counted] += 1
            if taken[counted] > _LAST_TAKEN or party in late:
                after.append((party, data))
                late.add(party)
                size += len(message)
            else:
                await self._take(party, data)
        self._aside.extendleft(reversed(after))
        for what, (when, act) in sorted(self._timers.items(), key=lambda timer: timer[1][0]):
            if when <= now and self._timers.get(what) == (when, act):  # not replaced meanwhile
                del self._timers[what]
                await act()

    # -- what goes ---------------------------------------------------------------------------

    async def _act(self, call: Callable[..., list[Send]], *args: Any) -> None:
        """Calls the conductor, starts the timer of a new phase, and sends what it returned."""
        sends = await self._worker.call(call, *args)
        if self._conductor.outcome is not None:
            return
        phase = self._conductor.phase
        if phase is not None and phase is not self._phase:
            self._phase = phase
            self._start_timer(phase)
        for send in sends:
            self._post(send.to, send.payload)

    def _post(self, party: int, message: bytes) -> None:
        """Sends a message of the protocol, with what goes with it."""
        about, box = self._about, self._box(party)
        if message == self._server.offer:
            box.put(seal(replace(about.invitation, index=party)))
        elif self._phase is Phase.MASKED_INPUT:
            ask = partial(_ask, about.task)
            if len(about.task) < _LARGE_TASK:
                box.put(ask(message))
            else:
                box.put(message, ask)
        else:
            box.put(message)

    def _box(self, party: int) -> Outbox:
        if party not in self._outboxes:

            def failed(error: BaseException) -> None:
                if ("back", party) in self._timers:
                    return  # that was for an older connection; it is sent again
                self._lost.append((party, error))
                self._something.set()

            self._outboxes[party] = Outbox(partial(self._net.send, party), failed)
        return self._outboxes[party]

    async def _say_goodbye(self, outcome: Completed | Failed) -> None:
        """Tells all parties that the round is over; waits for slow ones no longer than `grace`."""
        parties = {*self._outboxes, *self._conductor.drops}
        if isinstance(self._net, RoutedNet):
            parties.update(range(len(self._net.names)))
        for party, message in goodbyes(self._server, outcome, parties).items():
            self._box(party).put(message)
        if tasks := self._sending():
            await asyncio.wait(tasks, timeout=self._grace)

    def _sending(self) -> set[asyncio.Task[Any]]:
        return {task for box in self._outboxes.values() for task in box.tasks}

    async def _leave(self) -> None:
        """Ends all tasks."""
        tasks = self._sending()
        if self._receiving is not None:
            tasks.add(self._receiving)
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:  # also if it is cancelled again
            if isinstance(self._net, RoutedNet):
                self._net.release()


def _ask(task: bytes, message: bytes) -> bytes:
    return seal(Ask(task, message))
