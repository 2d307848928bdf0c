"""`serve`: timers, what is sent and to whom, cancellation, and the loop that is never held up."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aio.loopback import (
    Rounds,
    names_of,
    play,
    right_sum,
    server_with,
)
from aio.skipping import play_ahead
from harness import (
    CONTEXT,
    MODES,
    SESSION,
    SteppedRound,
    client_of,
    directory_of,
    input_of,
    integers,
    server_of,
)
from levels import amount
from support import looped

import secagg
from secagg import Code, Home, Mode, Phase, Server
from secagg.aio import Hub, goodbye, round_loop, serve
from secagg.aio.companions import Companions
from secagg.aio.greeting import hello
from secagg.aio.outbox import Outbox
from secagg.aio.round_loop import RoundLoop
from secagg.aio.worker import Worker
from secagg.drivers import timeouts
from secagg.drivers.conductor import Conductor, PhaseEnded, RoundEnded
from secagg.drivers.envelope import (
    LARGEST_SHORT,
    Ask,
    Hello,
    Invitation,
    Over,
    Refusal,
    Rejection,
    is_envelope,
    opened,
    seal,
)

FOUR = integers(4)


class Script:
    """A net whose parties a test plays: what was sent to them, and what comes from them."""

    def __init__(self) -> None:
        self.sent: dict[int, list[bytes]] = {}
        self.coming: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self.sending = asyncio.Event()

    async def send(self, party: int, data: bytes) -> None:
        self.sent.setdefault(party, []).append(data)
        self.sending.set()

    async def receive(self) -> tuple[int, Any]:
        return await self.coming.get()

    def say(self, party: int, data: Any) -> None:
        self.coming.put_nowait((party, data))

    async def has(self, party: int, count: int) -> bytes:
        """Waits for the message of this number to a party."""
        while len(self.sent.get(party, ())) < count:
            self.sending.clear()
            await self.sending.wait()
        return self.sent[party][count - 1]


class Played:
    """Clients by hand over a `Script`: they answer whatever comes, bare or in envelopes."""

    def __init__(self, net: Script, agreed: secagg.Round) -> None:
        self.net = net
        self.clients = {i: client_of(agreed, i) for i in range(agreed.params.cohort)}
        self.read = dict.fromkeys(self.clients, 0)
        self.said: list[tuple[int, bytes]] = []
        self.tasks: set[bytes] = set()
        length = agreed.params.length
        self.values: Callable[[int], Any] = lambda party: input_of(party, length)

    def say(self, party: int, data: bytes) -> None:
        self.said.append((party, data))
        self.net.say(party, data)

    async def answers(self, party: int) -> Any:
        """Lets a party answer its next message; returns it, opened."""
        self.read[party] += 1
        data = await self.net.has(party, self.read[party])
        client = self.clients[party]
        said = opened(data, -1) if is_envelope(data) else data
        if isinstance(said, Invitation):
            assert (said.offer, said.index) == (client.round.encode(), party)
            again = [each.payload for each in client.resend()]
            self.say(party, again[0] if again else client.start())
        elif not isinstance(said, Over):
            if isinstance(said, Ask):
                self.tasks.add(said.task)
            for event in client.receive(said.message if isinstance(said, Ask) else data):
                if isinstance(event, secagg.Send):
                    self.say(party, event.payload)
                elif isinstance(event, secagg.InputNeeded):
                    self.say(party, client.submit(self.values(party)))
        return said

    async def to_the_end(self, *parties: int) -> list[Any]:
        """Lets parties answer until they hear that it is over."""

        async def one(party: int) -> Any:
            while True:
                said = await self.answers(party)
                if isinstance(said, Over):
                    return said

        return await asyncio.gather(*map(one, parties))


# -- the whole round -----------------------------------------------------------------------


@looped("mode", MODES)
def test_the_bytes_are_those_of_a_round_by_hand(mode: Mode) -> None:
    """With fixed randomness: each message of the protocol, in envelopes where they are due."""
    params = integers(4, mode=mode)
    by_hand = SteppedRound(params)
    expected: list[dict[int, bytes]] = [by_hand.advertise()]
    down: list[dict[int, bytes]] = []
    while by_hand.result is None:
        by_hand.to_server(expected[-1])
        down.append(dict(by_hand.outbox))
        if by_hand.result is None:
            expected.append(by_hand.answers())

    async def scenario() -> None:
        net = Script()
        agreed = params.round(CONTEXT, SESSION)
        played = Played(net, agreed)
        played.clients = SteppedRound(params).clients
        serving = asyncio.create_task(serve(server_of(agreed), net, task=b"model"))
        overs = await played.to_the_end(*range(4))
        assert isinstance(await serving, secagg.Completed)
        assert overs == [Over(SESSION, survivors=4)] * 4
        assert played.tasks == {b"model"}
        for party in range(4):
            ups = [data for sender, data in played.said if sender == party]
            assert ups == [messages[party] for messages in expected]
            sent = [opened(each, -1) if is_envelope(each) else each for each in net.sent[party]]
            bare = [each.message if isinstance(each, Ask) else each for each in sent[1:-1]]
            assert bare == [messages[party] for messages in down[: len(bare)]]
            asks = [i for i, each in enumerate(sent) if isinstance(each, Ask)]
            assert asks == [2]

    play(scenario)


@looped("mode", MODES)
def test_a_large_task_goes_to_all(mode: Mode) -> None:
    """It is sealed in another thread; members and attempt are in the invitation."""

    async def scenario() -> None:
        net, params = Script(), integers(4, mode=mode)
        agreed, task = params.round(), bytes(round_loop._LARGE_TASK)
        played = Played(net, agreed)
        members = (1, 3, 5, 9)
        running = asyncio.create_task(
            serve(server_of(agreed), net, task=task, members=members, attempt=2)
        )
        overs = await played.to_the_end(*range(4))
        assert right_sum(await running, params)
        assert played.tasks == {task}
        first = opened(net.sent[1][0], -1)
        assert isinstance(first, Invitation)
        assert (first.members, first.attempt) == (members, 2)
        assert {over.survivors for over in overs} == {4}

    play(scenario)


def test_the_observer_sees_the_phases() -> None:
    """Each phase once, and the end."""

    async def scenario() -> None:
        net, agreed = Script(), FOUR.round()
        seen: list[Any] = []
        running = asyncio.create_task(serve(server_of(agreed), net, observe=seen.append))
        await Played(net, agreed).to_the_end(*range(4))
        outcome = await running
        phases = [each.phase for each in seen if isinstance(each, PhaseEnded)]
        assert phases == list(FOUR.mode.phases)
        assert isinstance(seen[-1], RoundEnded)
        assert seen[-1].outcome is outcome

    play(scenario)


# -- arguments ------------------------------------------------------------------------------


@looped(
    "arguments, says",
    [
        ({"timeouts": 0}, "timeouts"),
        ({"timeouts": float("inf")}, "timeouts"),
        ({"timeouts": float("nan")}, "timeouts"),
        ({"timeouts": "5"}, "timeouts"),
        ({"timeouts": {Phase.UNMASK: -1}}, "timeouts"),
        ({"timeouts": {"unmask": 1}}, "timeouts"),
        ({"grace": -1}, "grace"),
        ({"grace": None}, "grace"),
        ({"members": [2, 1, 3, 4]}, "members"),
        ({"members": [0, 0, 3, 4]}, "members"),
        ({"members": [-1, 1]}, "members"),
        ({"members": ["a"]}, "a member"),
        ({"members": [0, 1, 2]}, "members has 3 indices, and the cohort has a party 3"),
        ({"attempt": -1}, "attempt"),
        ({"attempt": 1.5}, "attempt"),
        ({"task": "model"}, "task must be bytes, not str"),
    ],
)
def test_arguments(arguments: dict[str, Any], says: str) -> None:
    """An impossible argument is refused before anything is sent."""

    async def scenario() -> None:
        net = Script()
        with pytest.raises(secagg.ParameterError, match=says) as caught:
            await serve(server_of(FOUR.round()), net, **arguments)
        assert caught.value.code is Code.ARGUMENT
        assert net.sent == {}

    play(scenario)


def test_numbers_of_numpy_and_a_dict_of_some_phases() -> None:
    """Times may be of any library; a phase that is not named has the default."""
    given = {Phase.UNMASK: np.float32(3), Phase.CONSISTENCY: 2}
    read = timeouts.read_timeouts(given, list(Phase))
    assert read[Phase.UNMASK] == 3.0
    assert read[Phase.SHARE_KEYS] == timeouts.DEFAULT_TIMEOUT
    assert timeouts.read_timeouts(np.int64(7), [Phase.UNMASK]) == {Phase.UNMASK: 7.0}


# -- who is silent, gone, or back ---------------------------------------------------------------


def test_a_phase_ends_without_the_silent_and_at_once_without_the_gone() -> None:
    """Party 3 never answers: its phase takes its time. Party 0 is lost later: no phase waits."""

    async def scenario() -> None:
        params = integers(6, threshold=4)
        net, agreed = Script(), params.round()
        played = Played(net, agreed)
        seen: dict[Phase, tuple[PhaseEnded, float]] = {}
        loop = asyncio.get_running_loop()

        def observe(event: Any) -> None:
            if isinstance(event, PhaseEnded):
                seen[event.phase] = event, loop.time()

        began, timeouts = loop.time(), {Phase.ADVERTISE_KEYS: 30}
        running = asyncio.create_task(
            serve(server_of(agreed), net, timeouts, grace=20, observe=observe)
        )
        await asyncio.gather(*(played.answers(party) for party in (0, 1, 2, 4, 5)))
        await net.has(0, 2)  # the next phase has begun
        net.say(0, ConnectionResetError("reset by peer"))
        await played.to_the_end(1, 2, 4, 5)
        outcome = await running
        assert right_sum(outcome, params)
        assert outcome.result.survivors == (1, 2, 4, 5)
        first, at = seen[Phase.ADVERTISE_KEYS]
        assert first.dropped == ((3, Code.TIMEOUT),)
        assert at - began >= 30
        second, later = seen[Phase.SHARE_KEYS]
        assert second.dropped == ((0, Code.GONE),)
        assert 20 <= later - at < 50

    play_ahead(scenario)


def test_a_party_that_is_back_in_time_gets_what_it_missed() -> None:
    """In every phase: the same message again, an `Ask` with its task; and a reset costs nothing."""

    async def scenario() -> None:
        net, agreed = Script(), FOUR.round()
        played = Played(net, agreed)
        running = asyncio.create_task(serve(server_of(agreed), net, task=b"model", grace=30))
        for number in range(1, 5):
            first = await net.has(0, 2 * number - 1)
            net.say(0, EOFError())
            net.say(0, hello())
            assert await net.has(0, 2 * number) == first
            played.read[0] += 1
            await asyncio.gather(*map(played.answers, range(4)))
        outcome = await running
        assert outcome.result.survivors == (0, 1, 2, 3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(round_loop, "RESEND_PAUSE", 0.0)
        play(scenario)


def test_a_party_that_is_back_too_late_takes_part_while_the_phase_lasts() -> None:
    """It was dropped after its grace; the phase still waits for somebody else."""

    async def scenario() -> None:
        net, agreed = Script(), FOUR.round()
        played = Played(net, agreed)
        running = asyncio.create_task(serve(server_of(agreed), net, grace=0.01))
        net.say(0, EOFError())
        for party in (1, 2):
            await played.answers(party)
        await asyncio.sleep(0.05)
        net.say(0, hello())
        assert await net.has(0, 2) == net.sent[0][0]
        played.read[0] = 1
        overs = await played.to_the_end(*range(4))
        assert (await running).result.survivors == (0, 1, 2, 3)
        assert overs[0].survivors == 4

    play(scenario)


def test_a_greeting_again_and_again_is_answered_now_and_then() -> None:
    """Each resend costs the server work: a party gets one, and the next after a pause."""

    assert round_loop.RESEND_PAUSE >= 0.5

    async def scenario() -> None:
        net, agreed = Script(), FOUR.round()
        server = server_of(agreed)
        running = asyncio.create_task(serve(server, net))
        for _ in range(50):
            net.say(0, hello())
        await net.has(0, 2)
        await asyncio.sleep(5)
        assert len(net.sent[0]) == 2
        await net.has(0, 3)  # after the pause
        await asyncio.sleep(5)
        assert len(net.sent[0]) == 3
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(round_loop, "RESEND_PAUSE", 15)
        play_ahead(scenario)


def test_refusals_and_versions_end_the_waiting_at_once() -> None:
    """A party that refuses, and one of another version, which is told both versions."""

    async def scenario() -> None:
        params = integers(6, threshold=4)
        net, agreed = Script(), params.round()
        played = Played(net, agreed)
        seen: list[Any] = []
        running = asyncio.create_task(serve(server_of(agreed), net, observe=seen.append))
        net.say(0, seal(Refusal(agreed.session, Code.POLICY_MODE, "not in this mode")))
        net.say(1, seal(Hello(library="9.0", wire=(2, 3))))
        await played.to_the_end(2, 3, 4, 5)
        assert (await running).result.survivors == (2, 3, 4, 5)
        codes = dict(seen[0].dropped)
        assert codes == {0: Code.REFUSED, 1: Code.VERSION}
        rejected = [opened(each, -1) for each in net.sent[1]][1]
        assert isinstance(rejected, Rejection)
        assert rejected.code == Code.VERSION
        assert "wire 1" in rejected.reason
        assert "secagg 9.0 with wire 2, 3" in rejected.reason

    play(scenario)


def test_what_is_no_message_changes_nothing() -> None:
    """Junk, what is no bytes, what is too long, and envelopes that only servers send."""

    async def scenario() -> None:
        net, agreed = Script(), FOUR.round()
        server = server_of(agreed)
        played = Played(net, agreed)
        running = asyncio.create_task(serve(server, net))
        largest = max(server.largest_message, LARGEST_SHORT)
        receive, sizes = server.receive, []

        def measured(party: int, data: bytes) -> Any:
            sizes.append(len(data))
            return receive(party, data)

        server.receive = measured  # type: ignore[method-assign]
        for junk in (b"", b"SD", "text", None, bytes(largest + 1), seal(Over(agreed.session))):
            net.say(0, junk)
        await played.to_the_end(*range(4))
        assert (await running).result.survivors == (0, 1, 2, 3)
        assert max(sizes) <= largest

    play(scenario)


def test_a_message_that_waited_is_not_late() -> None:
    """The machine was busy when the time was up; those who flood are not waited for.

    Nor do they, or greetings before the messages, make that of another late.
    """

    async def scenario() -> None:
        net, agreed = Script(), integers(5, threshold=3).round()
        server = server_of(agreed)
        messages = {party: client_of(agreed, party).start() for party in range(4)}
        receive = server.receive
        received: list[int] = []

        def slow(party: int, data: bytes) -> Any:
            received.append(party)
            time.sleep(0.07 if len(received) < 7 else 0)
            return receive(party, data)

        server.receive = slow  # type: ignore[method-assign]
        running = asyncio.create_task(serve(server, net, {server.phases[0]: 0.1}))
        for party in (0, 1):
            net.say(party, messages[party])
        for party in (2, 3, 3, 3):
            net.say(party, hello())
        for _ in range(20):
            net.say(2, messages[2])  # repetitions
        net.say(3, messages[3])
        for _ in range(100):
            net.say(2, messages[2])
        await net.has(0, 2)
        read = [[is_envelope(each) for each in net.sent[party]] for party in range(4)]
        assert [False in each for each in read] == [True] * 4
        assert received[:6] == [0, 1, 2, 2, 2, 3]  # the phase was over before more was read
        seen = len(received)
        while len(received) < max(seen, 100):  # nothing is lost
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    play(scenario)


def test_a_net_that_fails_or_blocks() -> None:
    """Its exception comes out; a party it cannot send to is gone; a slow one holds up nobody."""

    class Fails(Script):
        async def send(self, party: int, data: bytes) -> None:
            if party == 1:
                raise OSError("broken pipe")
            if party == 2:
                await asyncio.sleep(3600)
            await super().send(party, data)

    async def scenario() -> None:
        net, agreed = Fails(), integers(6, threshold=4).round()
        played = Played(net, agreed)
        running = asyncio.create_task(serve(server_of(agreed), net, 30, grace=0.01))
        await played.to_the_end(0, 3, 4, 5)
        assert (await running).result.survivors == (0, 3, 4, 5)

        async def receive() -> Any:
            raise LookupError("no net")

        net.receive = receive  # type: ignore[method-assign]
        with pytest.raises(LookupError):
            await serve(server_of(agreed), net)

    play_ahead(scenario)


# -- the loop, and the end --------------------------------------------------------------------


async def watchdog(gaps: list[float]) -> None:
    """Notes how long this process holds up the loop, in its own time: others may be busy."""
    last = time.process_time()
    while True:
        await asyncio.sleep(0)
        now = time.process_time()
        gaps.append(now - last)
        last = now


def test_the_loop_is_not_held_up() -> None:
    """Whatever the machine does, and that is a second, the loop goes round."""
    length = amount("elements while the loop is watched")
    params = secagg.Params(4, length, secagg.Integers(-1000, 1000))

    async def scenario() -> None:
        async with Rounds(params) as rounds:
            for party in range(4):
                rounds.join(party, lambda _: np.ones(length, np.int64))
            net = await rounds.present()
            server = server_with(params)
            busy = 0.0
            for name in ("receive", "complete", "deadline", "start"):
                method = getattr(server, name)

                def timed(*args: Any, method: Callable[..., Any] = method) -> Any:
                    nonlocal busy
                    assert threading.current_thread() is not threading.main_thread()
                    began = time.perf_counter()
                    try:
                        return method(*args)
                    finally:
                        busy += time.perf_counter() - began

                setattr(server, name, timed)
            gaps: list[float] = []
            watching = asyncio.create_task(watchdog(gaps))
            outcome = await serve(server, net)
            watching.cancel()
            assert int(outcome.result.total[0]) == 4
            # Every other thread takes a turn of 5 ms (`sys.getswitchinterval`) before this one.
            assert sorted(gaps)[-3] < max(0.05, busy / 4), sorted(gaps)[-5:]

    play(scenario, 60)


def test_a_round_that_was_cancelled_again_and_again_is_not_lost() -> None:
    """`serve` waits for the call that ends it, and lets the net go; the sum is there."""

    class Net(Script):
        session = b""
        names = tuple("abcd")

        def bind(self, session: bytes, largest: int) -> None:
            assert not self.session
            self.session = session

        def release(self) -> None:
            self.session = b""

        async def receive(self) -> tuple[int, Any]:
            try:
                return await super().receive()
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
                raise

    async def scenario() -> None:
        net, agreed = Net(), FOUR.round()
        server, played = server_of(agreed), Played(net, agreed)
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        complete = server.complete

        def slow(*args: Any) -> Any:
            events = complete(*args)
            if any(isinstance(event, secagg.Completed) for event in events):
                loop.call_soon_threadsafe(ended.set)
                time.sleep(0.05)
            return events

        async def cancelled(running: "asyncio.Task[Any]") -> None:
            while not running.done():
                running.cancel()
                await asyncio.sleep(0.005)
            assert running.cancelled()
            assert net.session == b""

        server.complete = slow  # type: ignore[method-assign]
        running = asyncio.create_task(serve(server, net))
        await net.has(3, 1)
        await cancelled(running)
        running = asyncio.create_task(serve(server, net))
        ends = asyncio.create_task(played.to_the_end(*range(4)))
        await ended.wait()
        await cancelled(running)
        assert right_sum(await serve(server, net), FOUR)
        await ends

    play(scenario)


@looped("calls", range(1, 21, 2 * amount("step between cuts and cancellations")))
def test_a_cancelled_round_goes_on(calls: int) -> None:
    """Cancelled at any call of the machine: nothing calls it any more, and `serve` continues."""

    async def scenario() -> None:
        net, agreed = Script(), FOUR.round()
        server = server_of(agreed)
        played = Played(net, agreed)
        count = 0
        running: asyncio.Task[Any]
        loop = asyncio.get_running_loop()
        for name in ("start", "receive", "complete"):
            method = getattr(server, name)

            def counted(*args: Any, method: Callable[..., Any] = method) -> Any:
                nonlocal count
                count += 1
                if count == calls:
                    loop.call_soon_threadsafe(running.cancel)
                    time.sleep(0.01)
                return method(*args)

            setattr(server, name, counted)
        running = asyncio.create_task(serve(server, net))
        ends = asyncio.create_task(played.to_the_end(*range(4)))
        if not await _was_cancelled(running):
            await ends
            return
        after = count
        await asyncio.sleep(0.02)
        assert count == after
        outcome = await serve(server, net)
        assert right_sum(outcome, FOUR)
        await ends

    play(scenario)


async def _was_cancelled(task: "asyncio.Task[Any]") -> bool:
    await asyncio.wait([task])
    return task.cancelled()


def test_jobs_stop_between_two_when_a_round_is_cancelled() -> None:
    """The rest is done by the next `serve`; the executor's or none."""

    async def scenario() -> None:
        net, params = Script(), integers(4, length=200_000)
        agreed = params.round()
        server = server_of(agreed)
        done = 0
        complete = server.complete
        started, cancelled = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def counted(job: Any, value: Any) -> Any:
            nonlocal done
            done += 1
            loop.call_soon_threadsafe(started.set)
            cancelled.wait(30)
            return complete(job, value)

        server.complete = counted  # type: ignore[method-assign]
        running = asyncio.create_task(serve(server, net))
        played = Played(net, agreed)
        played.values = lambda _: np.ones(params.length, np.int64)
        ends = asyncio.create_task(played.to_the_end(*range(4)))
        await started.wait()
        running.cancel()
        for _ in range(20):
            await asyncio.sleep(0)  # until `serve` knows
        cancelled.set()
        assert await _was_cancelled(running)
        assert done == 1
        outcome = await serve(server, net)
        assert int(outcome.result.total[-1]) == 4
        assert done >= 2
        await ends

    play(scenario)


@looped("mode", MODES)
def test_what_goes_with_a_round_is_stored(mode: Mode) -> None:
    """Another process goes on with task, members and attempt; at the end nothing is stored."""

    async def scenario() -> None:
        params = integers(4, mode=mode)
        net, agreed = Script(), params.round()
        pins = directory_of(4) if mode is Mode.MALICIOUS else None
        home = Home.in_memory(directory=pins)
        server = Server(agreed, pins, home.ledger)
        played = Played(net, agreed)
        kwargs: dict[str, Any] = {"task": b"model", "members": (0, 1, 2, 3), "attempt": 1}
        running = asyncio.create_task(serve(server, net, store=home, **kwargs))
        for _ in range(2):
            await asyncio.gather(*map(played.answers, range(4)))
        first = await net.has(0, 3)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        resumed = home.resume_server(agreed.session)
        assert resumed is not None
        net.sent.clear()
        played.read = dict.fromkeys(played.read, 0)
        running = asyncio.create_task(serve(resumed, net, store=home, grace=0))
        net.say(1, EOFError())  # it has the time of the phase to find the new process
        again = await net.has(0, 1)
        assert again == first
        await asyncio.gather(*map(played.answers, (0, 2, 3)))
        while resumed.status.answered < 3 and resumed.phase is Phase.MASKED_INPUT:
            await asyncio.sleep(0.001)
        assert resumed.phase is Phase.MASKED_INPUT
        await played.to_the_end(*range(4))
        assert right_sum(await running, params)
        assert home.resume_server() is None
        assert home.note(agreed.session) == b""

    play(scenario)


def test_a_store_that_fails_ends_serve_and_the_round_goes_on() -> None:
    """`StateError` comes out; nothing was sent that is not stored."""

    class Fails:
        broken = True

        def keep_server(self, server: Server) -> None:
            if self.broken:
                raise secagg.StateError("the disk is full", Code.IO)

        def forget(self, session: bytes) -> None:
            pass

    async def scenario() -> None:
        net, agreed, store = Script(), FOUR.round(), Fails()
        server = server_of(agreed)
        with pytest.raises(secagg.StateError, match="disk is full"):
            await serve(server, net, store=store)
        assert net.sent == {}
        store.broken = False
        running = asyncio.create_task(serve(server, net, store=store))
        await Played(net, agreed).to_the_end(*range(4))
        assert right_sum(await running, FOUR)

    play(scenario)


# -- loops that run a task as it is made ----------------------------------------------------------


def test_an_outbox_sends_whatever_the_loop_and_the_net_do() -> None:
    """A task may have run to its end when it is made; `send` may be cancelled by nobody."""

    def eager(loop: asyncio.AbstractEventLoop, coroutine: Any, **_: Any) -> Any:
        future = loop.create_future()
        try:
            coroutine.send(None)
        except StopIteration:
            future.set_result(None)
        return future

    async def scenario() -> None:
        sent: list[bytes] = []
        failures: list[BaseException] = []
        gate = asyncio.Event()

        async def send(data: bytes) -> None:
            if data == b"wait":
                await gate.wait()
            if data == b"cancelled":
                raise asyncio.CancelledError
            sent.append(data)

        box = Outbox(send, failures.append)
        asyncio.get_running_loop().set_task_factory(eager)
        for message in (b"1", b"2"):
            box.put(message)
        assert sent == [b"1", b"2"]
        asyncio.get_running_loop().set_task_factory(None)
        for message in (b"wait", b"again", b"again", b"wait"):  # what waits already is not kept
            box.put(message)
        gate.set()
        await asyncio.gather(*box.tasks)
        assert sent[2:] == [b"wait", b"again"]
        box.put(b"cancelled")
        await asyncio.gather(*box.tasks)
        assert [type(error) for error in failures] == [asyncio.CancelledError]
        box.put(b"3")
        await asyncio.gather(*box.tasks)
        assert sent[4:] == [b"3"]

    play(scenario)


def test_an_outbox_that_was_cleared_has_nothing_to_do_with_the_task_before() -> None:
    """It may end late, whatever its send does with a cancellation."""

    async def scenario() -> None:
        sent: list[bytes] = []
        failures: list[BaseException] = []
        gate, waits = asyncio.Event(), asyncio.Event()

        async def send(data: bytes) -> None:
            if data == b"old":
                try:
                    await gate.wait()
                except asyncio.CancelledError:
                    raise OSError("closed") from None
            if data == b"new":
                waits.set()
                await gate.wait()
            sent.append(data)

        box = Outbox(send, failures.append)
        box.put(b"old")
        await asyncio.sleep(0)
        box.clear()
        box.put(b"new")
        await waits.wait()
        box.put(b"newer")
        gate.set()
        await asyncio.gather(*box.tasks, return_exceptions=True)
        assert (sent, failures) == ([b"new", b"newer"], [])

    play(scenario)


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="Python 3.12 has it")
def test_a_round_on_a_loop_that_runs_tasks_at_once() -> None:
    """Over a hub, with all that is made of tasks in it."""

    async def scenario() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        async with Rounds(FOUR) as rounds:
            for party in range(4):
                rounds.join(party)
            assert right_sum(await serve(server_with(FOUR), await rounds.present()), FOUR)

    play(scenario)


# -- what is refused before it begins -------------------------------------------------------------


def test_what_is_refused_leaves_nothing_behind() -> None:
    """No note in the store, and no harm to the round that is under way over the same net."""

    async def scenario() -> None:
        home, names = Home.in_memory(), names_of(FOUR)
        server = Server(FOUR.round(), ledger=home.ledger)
        net = Hub().net(names)
        for members in ((0, 1, 2), (0, 1, 2, 3, 4)):
            with pytest.raises(secagg.ParameterError, match="members has"):
                await serve(server, net, store=home, members=members)
        for cohort in (names[:3], [*names, "one more"]):
            with pytest.raises(secagg.ParameterError, match=f"the net has {len(cohort)} names"):
                await serve(server, Hub().net(cohort), store=home)
        running = asyncio.create_task(serve(server, net, store=home, task=b"model"))
        while server.phase is None:
            await asyncio.sleep(0.001)
        second = Server(FOUR.round(), ledger=home.ledger)
        with pytest.raises(secagg.LocalProtocolError) as caught:
            await serve(second, net, store=home, task=b"x")
        assert caught.value.code is Code.REENTRANT
        assert net.session == server.session
        assert home.note(second.session) == b""
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert home.note(server.session) != b""
        secagg.lockstep(server, lambda *_: [], store=home)
        with pytest.raises(secagg.LocalProtocolError):
            await serve(server, net, store=home, task=b"x")
        assert home.note(server.session) == b""
        for wrong in (None, "server"):
            with pytest.raises(secagg.ParameterError, match=r"server must be a secagg\.Server"):
                await serve(wrong, net)  # type: ignore[arg-type]

    play(scenario)


def test_who_was_dropped_is_told_why() -> None:
    """The end of the round has the code for it, and a fixed phrase: its input is not in the sum."""

    async def scenario() -> None:
        net, agreed = Script(), integers(6, threshold=4).round()
        played = Played(net, agreed)
        running = asyncio.create_task(serve(server_of(agreed), net, grace=0))
        net.say(0, seal(Refusal(agreed.session, Code.NO_INPUT, "a reason of its own")))
        net.say(1, OSError("10.0.0.1 is unreachable"))
        overs = await played.to_the_end(2, 3, 4, 5)
        assert right_sum(await running, agreed.params)
        assert overs == [Over(agreed.session, survivors=4)] * 4
        left_out = [opened(net.sent[party][-1], -1) for party in (0, 1)]
        for over, code in zip(left_out, (Code.REFUSED, Code.GONE), strict=True):
            assert over == Over(agreed.session, code, goodbye._LEFT_OUT, 4)

    play(scenario)


# -- the loop by hand -----------------------------------------------------------------------------


@asynccontextmanager
async def looping(net: Script, server: Server, grace: float = 60.0) -> AsyncIterator[RoundLoop]:
    """A loop that has begun its round, and does what a test calls."""
    about, seconds = Companions.of(server, b"", (), 0), dict.fromkeys(Phase, 60.0)
    with Worker() as worker:
        loop = RoundLoop(Conductor(server), net, worker, about, seconds, grace, False)
        await loop._act(loop._conductor.begin)
        try:
            yield loop
        finally:
            await loop._leave()


def test_who_floods_when_a_time_is_up_costs_no_memory_and_no_order() -> None:
    """Messages put aside are bounded in number and bytes; those of a party stay in order."""

    async def scenario() -> None:
        server = server_of(FOUR.round())
        most = max(server.largest_message, LARGEST_SHORT)
        for size, kept in ((20, round_loop._LAST_SKIPPED), (most // 4, 5)):
            net = Script()
            async with looping(net, server_of(FOUR.round())) as loop:
                for _ in range(200):
                    net.say(0, b"SA\1\1" + bytes(size))
                await loop._fire()
                assert 0 < len(loop._aside) <= kept
        net = Script()
        async with looping(net, server) as loop:
            for junk in (b"1", b"2", b"3", b"4", hello(), OSError("gone")):
                net.say(0, junk)
            await loop._fire()
            assert [data for _, data in loop._aside][:2] == [b"4", hello()]
            assert isinstance(loop._aside[2][1], OSError)

    play(scenario)


def test_a_timer_that_another_has_replaced_is_left_alone() -> None:
    """The drop of the last party begins a phase, when the time of the one before is up, too."""

    async def scenario() -> None:
        net, agreed = Script(), FOUR.round()
        async with looping(net, server_of(agreed), grace=0) as loop:
            for party in range(3):
                await loop._take(party, client_of(agreed, party).start())
            loop._on_lost(3, OSError("gone"))
            loop._timers["phase"] = (loop._loop.time(), loop._timers["phase"][1])
            await loop._fire()
            assert loop._conductor.phase is Phase.SHARE_KEYS
            assert set(loop._timers) == {"phase"}
            assert loop._timers["phase"][0] > loop._loop.time()

    play(scenario)


def test_a_party_that_is_lost_is_waited_for_once() -> None:
    """Its grace begins once; what waits for it is forgotten; nothing takes the drop back."""

    async def scenario() -> None:
        blocked, cancelled = asyncio.Event(), asyncio.Event()

        class Blocks(Script):
            async def send(self, party: int, data: bytes) -> None:
                if party == 0:
                    blocked.set()
                    try:
                        await asyncio.Event().wait()
                    finally:
                        cancelled.set()
                await super().send(party, data)

        net = Blocks()
        async with looping(net, server_of(FOUR.round())) as loop:
            await blocked.wait()
            await loop._take(0, OSError("gone"))
            await cancelled.wait()  # a copy of the model is let go
            when = loop._timers["gone", 0]
            await loop._take(0, OSError("gone"))
            assert loop._timers["gone", 0] is when
            for version, timers in ((1, {"phase", ("gone", 0)}), (9, {"phase"})):
                for _ in range(2):
                    await loop._take(0, hello())
                assert ("back", 0) in loop._timers
                lost = OSError("gone") if version == 1 else seal(Hello(wire=(9,)))
                await loop._take(0, lost)
                assert set(loop._timers) == timers
            for _ in range(2):
                await loop._take(1, hello())
            loop._box(1)._failed(OSError("of the connection before"))
            assert not loop._lost

    play(scenario)


def test_the_end_is_told_to_those_who_were_sent_nothing() -> None:
    """They had answered when a cancelled round went on: a net with names knows who they are."""

    class Named(Script):
        names = tuple("abcd")

        def bind(self, session: bytes, largest: int) -> None: ...

        def release(self) -> None: ...

    async def scenario() -> None:
        net, agreed = Named(), FOUR.round()
        async with looping(net, server_of(agreed)) as loop:
            loop._outboxes.clear()
            await loop._say_goodbye(secagg.Failed("too few", Code.QUORUM))
            over = Over(agreed.session, Code.QUORUM, "too few")
            assert [opened(net.sent[party][-1], -1) for party in range(4)] == [over] * 4

    play(scenario)
