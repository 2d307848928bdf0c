"""`participate` and `attend`: lost connections, trainings that are not wanted, hostile servers."""

import asyncio
import math
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from aio.loopback import (
    QueueLink,
    Rounds,
    home_of,
    linked,
    names_of,
    play,
    right_sum,
    server_with,
    trains,
    until,
)
from aio.skipping import play_ahead
from harness import MODES, client_of, input_of, integers, server_of
from levels import amount
from support import looped

import secagg
from secagg import Assignment, Code, MemoryLedger, Mode, Once, Phase, Policy
from secagg.aio import (
    attend,
    attendance,
    conversation,
    participate,
    participation,
    round_loop,
    serve,
)
from secagg.aio.allowance import Allowance
from secagg.aio.answers import Answers
from secagg.aio.payloads import Payload, read_payload
from secagg.aio.reconnecting import PAUSES, Reconnecting
from secagg.drivers.envelope import (
    NO_SESSION,
    Ask,
    Hello,
    Invitation,
    Kind,
    Over,
    Refusal,
    Rejection,
    opened,
    seal,
)
from secagg.home.records import UselessStateError
from secagg.pairwise.transitions import ClientState

FOUR = integers(4)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a party that is back get what it missed without a pause."""
    monkeypatch.setattr(round_loop, "RESEND_PAUSE", 0.0)


class Cut:
    """A link that ends after so many messages in both directions."""

    def __init__(self, link: QueueLink, after: float) -> None:
        self._link, self._left = link, after

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            self._link.close()
            raise ConnectionResetError("cut")

    async def send(self, data: bytes) -> None:
        self._count()
        await self._link.send(data)

    async def receive(self) -> bytes:
        data = await self._link.receive()
        self._count()
        return data


def connects(*links: Any) -> Callable[[], Any]:
    """A `connect` that gives these links in turn, or raises them; then it never connects."""
    left = list(links)

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        link = left.pop(0) if left else asyncio.sleep(3600)
        if isinstance(link, BaseException):
            raise link
        if asyncio.iscoroutine(link):
            await link
        try:
            yield link
        finally:
            link.close()

    return connect


# -- participate ------------------------------------------------------------------------------


@looped("mode", MODES)
@looped("cut", range(1, 10, amount("step between cuts and cancellations")))
def test_a_client_goes_on_over_a_new_link(mode: Mode, cut: int) -> None:
    """Wherever the connection is lost: the same object, and the input is given once."""

    async def scenario() -> None:
        params = integers(4, mode=mode)
        agreed = params.round()
        client = client_of(agreed, 0)
        async with Rounds(params) as rounds:
            others = [rounds.join(party) for party in (1, 2, 3)]
            calls = 0

            def train(assignment: Assignment) -> Any:
                nonlocal calls
                calls += 1
                return input_of(0)

            async def play_0() -> Over | None:
                link: Any = Cut(rounds.connect(0), cut)
                try:
                    return await participate(client, link, train)
                except ConnectionResetError:
                    return await participate(client, rounds.connect(0), train)

            first = asyncio.create_task(play_0())
            net = await rounds.present(3)
            outcome = await serve(server_of(agreed), net)
            assert right_sum(outcome, params)
            assert outcome.result.survivors == (0, 1, 2, 3)
            assert await first in (None, Over(agreed.session, survivors=4))
            assert calls == 1
            assert client.finished
            await asyncio.gather(*others)

    play(scenario)


@looped("how", ["client", "home", "attend"])
def test_a_cancelled_training_gives_nothing(how: str) -> None:
    """It goes on, as a thread cannot be ended; its input is thrown away; the client still waits.

    Also if it is cancelled again, while the link takes its time to end.
    """

    async def scenario() -> None:
        agreed = FOUR.round()
        client = client_of(agreed, 0) if how == "client" else home_of(FOUR, 0)
        async with Rounds(FOUR) as rounds:
            for party in (1, 2, 3):
                rounds.join(party)
            begun, go_on, returned = threading.Event(), threading.Event(), threading.Event()

            def slow(_: Assignment) -> Any:
                begun.set()
                go_on.wait(30)
                returned.set()
                return input_of(1)  # a wrong one

            link = rounds.connect(0)
            receive = link.receive

            async def slow_to_end() -> bytes:
                try:
                    return await receive()
                except asyncio.CancelledError:
                    await asyncio.sleep(0.06)
                    raise

            @asynccontextmanager
            async def connect() -> AsyncIterator[Any]:
                yield link

            link.receive = slow_to_end  # type: ignore[method-assign]
            taking_part = asyncio.create_task(
                attend(client, connect, slow)
                if how == "attend"
                else participate(client, link, slow)
            )
            net = await rounds.present()
            serving_it = asyncio.create_task(serve(server_of(agreed), net))
            await asyncio.to_thread(begun.wait, 30)
            taking_part.cancel()
            await asyncio.sleep(0.01)
            if how == "attend":  # the link takes longer than the training
                go_on.set()
                await asyncio.to_thread(returned.wait, 30)
                await asyncio.sleep(0.01)
            taking_part.cancel()
            await asyncio.gather(taking_part, return_exceptions=True)
            assert returned.is_set() == (how == "attend"), "it waited for the training"
            go_on.set()
            await asyncio.to_thread(returned.wait, 30)
            await asyncio.sleep(0.05)
            assert [read_payload(each).kind for each in link.sent] == [Kind.HELLO, None, None]
            if how == "client":
                assert client.state is ClientState.AWAITING_INPUT
            await participate(client, rounds.connect(0), trains(0, FOUR))
            outcome = await serving_it
            assert right_sum(outcome, FOUR)
            assert outcome.result.survivors == (0, 1, 2, 3)

    play(scenario)


def test_a_round_that_ends_while_it_is_trained_for_costs_no_contribution() -> None:
    """In malicious mode the same context can be tried again: nothing was claimed."""

    async def scenario() -> None:
        params = integers(4, mode=Mode.MALICIOUS)
        claimed: list[tuple[Once, bytes]] = []

        class Noting(MemoryLedger):
            def claim(self, what: Once, key: bytes) -> bool:
                claimed.append((what, key))
                return super().claim(what, key)

        async with Rounds(params) as rounds:
            rounds.homes[0] = home_of(params, 0, ledger=Noting(), failures=1)
            go_on = threading.Event()

            def slow(assignment: Assignment) -> Any:
                go_on.wait(30)
                return trains(0, params)(assignment)

            taking_part = rounds.join(0, slow)
            for party in (1, 2, 3):
                rounds.join(party, lambda _: None)
            server = server_with(params)
            outcome = await serve(server, await rounds.present(), {Phase.MASKED_INPUT: 0.1})
            assert isinstance(outcome, secagg.Failed)
            await asyncio.sleep(0.02)
            assert not taking_part.done()
            go_on.set()
            over = await taking_part
            assert over.code == outcome.code
            assert not any(what is Once.CONTRIBUTION for what, _ in claimed)
            rounds.homes[0].require_training(bytes(16))  # it did not count as failed

    play(scenario)


def test_how_participate_ends() -> None:
    """With the server's word, without one after its part, or with what the link raised."""

    async def ending(*sends: Any) -> Any:
        mine, theirs = linked()
        taking_part = asyncio.create_task(participate(client_of(FOUR.round(), 0), mine, input_of))
        assert isinstance(opened(await theirs.receive(), 0), Hello)
        for data in sends:
            await theirs.outgoing.put(data)
        return await taking_part

    async def scenario() -> None:
        rejection = seal(Rejection(NO_SESSION, "version", "this server has 7, the client 1"))
        with pytest.raises(secagg.RemoteProtocolError, match="this server has 7, the client 1"):
            await ending(rejection)
        with pytest.raises(EOFError):
            await ending(None)
        with pytest.raises(EOFError):  # of other sessions
            await ending(seal(Over(b"another session!")), b"SA\1\x11" + bytes(30), None)
        assert await ending(seal(Over(NO_SESSION, reason="no more rounds"))) is None
        with pytest.raises(conversation.LinkError, match="the server sent str, not bytes"):
            await ending("text")

    play(scenario)


def test_a_step_that_runs_is_cancelled_twice() -> None:
    """The link is read no more."""

    async def scenario() -> None:
        agreed, (mine, theirs) = FOUR.round(), linked()
        client = client_of(agreed, 0)
        begun, start = threading.Event(), client.start

        def slow() -> bytes:
            begun.set()
            time.sleep(0.05)
            return start()

        client.start = slow  # type: ignore[method-assign]
        taking_part = asyncio.create_task(participate(client, mine, input_of))
        await theirs.send(seal(Invitation(agreed.encode(), 0)))
        await asyncio.to_thread(begun.wait, 30)
        for _ in range(2):
            taking_part.cancel()
            await asyncio.sleep(0.01)
        await asyncio.wait([taking_part])
        await asyncio.sleep(0.05)

    play(scenario)


def test_one_round_is_one_round() -> None:
    """A home that takes part in one joins the first that it accepts, and refuses others."""

    async def scenario() -> None:
        mine, theirs = linked()
        refuses = Policy(params=integers(5))
        calls: list[Any] = []
        for policy, joins in ((refuses, 0), (Policy(params=FOUR), 1)):
            home = home_of(FOUR, 0, policy=policy)
            first, second = FOUR.round(), FOUR.round()
            secagg.answer(home, second.encode(), calls.append, index=0)  # by another process
            task = asyncio.create_task(participate(home, mine, calls.append))
            await theirs.receive()
            answers = []
            for offered in (first, second, first):
                await theirs.send(seal(Invitation(offered.encode(), 0)))
                answers.append(await theirs.receive())
            read = [read_payload(each) for each in answers]
            assert [each.session for each in read] == [
                each.session for each in (first, second, first)
            ]
            assert [each.kind is None for each in read] == [joins, False, joins]
            if joins:
                said = opened(answers[1], 0)
                assert (said.code, said.reason) == (
                    Code.REFUSED,
                    "this client takes part in one round, which is another",
                )
                await theirs.send(seal(Over(second.session)))
                await theirs.send(b"SA\1\3" + second.session + bytes(40))
                assert opened(await theirs.receive(), 0).session == second.session
            await theirs.send(seal(Over(first.session)))
            await theirs.send(seal(Over(NO_SESSION)))
            assert await task == (Over(first.session) if joins else None)
            assert theirs.incoming.empty()

    play(scenario)


def test_a_server_that_closes_after_the_round() -> None:
    """Its word is lost: the client has done its part."""

    async def scenario() -> None:
        agreed = FOUR.round()
        server, clients = server_of(agreed), [client_of(agreed, party) for party in range(4)]
        pairs = [linked() for _ in clients]
        tasks = [
            asyncio.create_task(participate(client, mine, trains(party, FOUR)))
            for party, (client, (mine, _)) in enumerate(zip(clients, pairs, strict=True))
        ]
        for party, (_, theirs) in enumerate(pairs):
            await theirs.receive()
            await theirs.send(seal(Invitation(server.offer, party)))
        server.start()
        outcome = None
        while outcome is None:
            for party, (_, theirs) in enumerate(pairs):
                for event in server.receive(party, await theirs.receive()):
                    if isinstance(event, secagg.Send):
                        await pairs[event.to][1].send(event.payload)
                    elif isinstance(event, secagg.Work):
                        outcome = event
        for _, theirs in pairs:
            theirs.close()
        assert await asyncio.gather(*tasks) == [None] * 4

    play(scenario)


@looped("size, accepted", [(100, True), (101, False)])
def test_a_task_that_is_too_large_is_refused(size: int, accepted: bool) -> None:
    """The server is told the limit; the link is used on."""

    async def scenario() -> None:
        async with Rounds(FOUR) as rounds:
            asked: list[bytes] = []

            def train(assignment: Assignment) -> Any:
                asked.append(assignment.task)
                return input_of(0)

            home = home_of(FOUR, 0)
            link = rounds.connect(0)
            taking_part = participate(home, link, train, largest_task=100)
            task = asyncio.create_task(taking_part)
            for party in (1, 2, 3):
                rounds.join(party)
            outcome = await serve(server_with(FOUR), await rounds.present(), task=bytes(size))
            assert right_sum(outcome, FOUR)
            assert (0 in outcome.result.survivors) == accepted
            await task
            assert asked == [bytes(size)] * accepted
            refusals = [each for each in link.sent if read_payload(each).kind is Kind.REFUSAL]
            said = [opened(each, 0).reason for each in refusals]
            assert said == ["a task of 101 bytes; this client accepts 100"] * (not accepted)

    play(scenario)


def test_payloads_are_read_from_their_first_bytes() -> None:
    """Kind, session and size of the task, whatever the bytes."""
    session = FOUR.round().session
    offer = FOUR.round(session=session).encode()
    message = b"SA\1\x12" + session + bytes(9)
    for data, kind, task in (
        (message, None, 0),
        (seal(Ask(b"model", message)), Kind.ASK, 5),
        (seal(Invitation(offer, 1, (2, 5, 9), 3)), Kind.INVITATION, 0),
        (seal(Over(session, "quorum", "x")), Kind.OVER, 0),
        (seal(Refusal(session, "x", "y")), Kind.REFUSAL, 0),
    ):
        read = read_payload(data)
        assert (read.kind, read.session, read.task) == (kind, session, task)
        for cut in range(len(data)):
            assert read_payload(data[:cut]).session in (session, NO_SESSION)
    assert read_payload(b"SD\1\x11" + b"\xff" * 8).task == 2**64 - 1
    assert read_payload(b"SD\2\x11" + bytes(50)).kind is None


# -- attend -----------------------------------------------------------------------------------


def test_all_rounds_of_a_training(caplog: pytest.LogCaptureFixture) -> None:
    """Over one connection each, until the goodbye; both modes of leaving. No log warns."""

    async def scenario() -> None:
        async with Rounds(FOUR) as rounds:
            stop = asyncio.Event()
            attending = [
                asyncio.create_task(
                    attend(
                        rounds.homes[party],
                        connects(rounds.connect(party)),
                        trains(party, FOUR),
                        stop=stop if party == 3 else None,
                    )
                )
                for party in range(4)
            ]
            net = await rounds.present()
            for _ in range(3):
                assert right_sum(await serve(server_with(FOUR), net), FOUR)
                net = rounds.hub.net(names_of(FOUR))
            stop.set()
            await attending[3]
            await rounds.hub.close()
            assert await asyncio.gather(*attending) == [None] * 4

    with caplog.at_level("WARNING"):
        play(scenario)
    assert caplog.text == ""


@looped("mode", MODES)
def test_two_rounds_at_once(mode: Mode) -> None:
    """Each client answers both, one payload after the other."""

    async def scenario() -> None:
        params = integers(4, mode=mode)
        async with Rounds(params) as rounds:
            attending = [
                asyncio.create_task(
                    attend(
                        rounds.homes[party],
                        connects(rounds.connect(party)),
                        trains(party, params),
                    )
                )
                for party in range(4)
            ]
            await rounds.present()
            servers = [server_with(params, context=bytes([number]) * 32) for number in range(2)]
            serves = (serve(each, rounds.hub.net(names_of(params))) for each in servers)
            outcomes = await asyncio.gather(*serves)
            assert [right_sum(each, params) for each in outcomes] == [True, True]
            await rounds.hub.close()
            await asyncio.gather(*attending)

    play(scenario)


def test_a_connection_that_is_lost_while_it_trains() -> None:
    """It connects again at once, so it is not dropped; the training is not done again."""

    async def scenario() -> None:
        async with Rounds(FOUR) as rounds:
            begun = threading.Event()
            loop: Any = asyncio.get_running_loop()
            calls = 0

            def train(_: Assignment) -> Any:
                nonlocal calls
                calls += 1
                begun.set()
                loop.sleep_in_thread(50)
                return input_of(0)

            first = rounds.connect(0)
            reconnected = asyncio.Event()

            class Second:
                async def send(self, data: bytes) -> None:
                    reconnected.set()
                    await second.send(data)

                async def receive(self) -> bytes:
                    return await second.receive()

            @asynccontextmanager
            async def connect() -> AsyncIterator[Any]:
                nonlocal second
                if not begun.is_set():
                    yield first
                    return
                second = rounds.connect(0)
                try:
                    yield Second()
                finally:
                    second.close()

            second = first
            attending = asyncio.create_task(
                attend(rounds.homes[0], connect, train, pauses=(0.01, 0.01))
            )
            for party in (1, 2, 3):
                rounds.join(party)
            running = asyncio.create_task(
                serve(server_with(FOUR), await rounds.present(), grace=20)
            )
            await asyncio.to_thread(begun.wait, 30)
            first.close()
            await reconnected.wait()
            await asyncio.sleep(25)  # longer than the grace
            assert not running.done()
            outcome = await running
            assert outcome.result.survivors == (0, 1, 2, 3)
            assert right_sum(outcome, FOUR)
            assert calls == 1
            for party in (1, 2, 3):
                rounds.links[party].close()
            await rounds.hub.close()
            await attending

    play_ahead(scenario)


class Hostile:
    """A server that a test plays, over as many connections as the client makes."""

    def __init__(self, **options: Any) -> None:
        self.links: list[QueueLink] = []
        self.connected = asyncio.Event()
        self.stop = asyncio.Event()
        self.times: list[float] = []
        self.home = home_of(FOUR, 0, policy=secagg.Policy())
        self.trained: list[Assignment] = []
        options.setdefault("pauses", (0.01, 0.02))
        self.attending = asyncio.create_task(
            attend(self.home, self.connect, self.trained.append, stop=self.stop, **options)
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[QueueLink]:
        self.times.append(asyncio.get_running_loop().time())
        mine, theirs = linked()
        self.links.append(theirs)
        self.connected.set()
        yield mine

    async def link(self) -> QueueLink:
        """The next connection, after its hello."""
        await self.connected.wait()
        self.connected.clear()
        await self.links[-1].receive()
        return self.links[-1]

    async def leave(self) -> None:
        self.stop.set()
        await self.attending


def test_a_goodbye_while_an_answer_is_made_counts() -> None:
    """The server has closed by then: the client does not connect again, for ever."""

    async def scenario() -> None:
        hostile = Hostile()
        link = await hostile.link()
        with hostile.home.lock():  # as a training would, this holds up the answer
            await link.send(seal(Invitation(FOUR.round().encode(), 0)))
            await link.send(seal(Over(NO_SESSION)))
            await asyncio.sleep(0.05)
            link.close()
            await asyncio.sleep(0.05)
        await hostile.attending
        assert len(hostile.links) == 1

    play(scenario)


def test_endless_invitations_are_refused() -> None:
    """So many rounds a minute; the home is not touched for the others."""

    async def scenario() -> None:
        hostile = Hostile(rounds_a_minute=5)
        link = await hostile.link()
        for _ in range(20):
            await link.send(seal(Invitation(FOUR.round().encode(), 0)))
        replies = [await link.receive() for _ in range(20)]
        kinds = [read_payload(each).kind for each in replies]
        assert kinds == [None] * 5 + [Kind.REFUSAL] * 15
        refused = opened(replies[-1], 0)
        assert isinstance(refused, Refusal)
        assert refused.code == Code.LIMIT
        assert len(list(hostile.home.store.sessions())) == 5
        await hostile.leave()

    play(scenario)


def test_the_allowance_grows_with_time() -> None:
    """One each twelve seconds, and no more than five are saved."""
    allowance = Allowance(5)
    assert [allowance.take(1000.0) for _ in range(6)] == [True] * 5 + [False]
    assert not allowance.take(1011.0)
    assert [allowance.take(1013.0) for _ in range(2)] == [True, False]
    assert [allowance.take(9999.0) for _ in range(6)] == [True] * 5 + [False]


def test_overs_in_a_loop_cost_next_to_nothing() -> None:
    """Those of rounds that nobody knows are not looked up beyond the allowance."""

    async def scenario() -> None:
        hostile = Hostile(rounds_a_minute=5)
        removed: list[bytes] = []
        hostile.home.remove = removed.append  # type: ignore[method-assign]
        link = await hostile.link()
        for number in range(1000):
            await link.send(seal(Over(number.to_bytes(16, "big"))))
        await asyncio.sleep(0.1)
        assert len(removed) <= 5
        await hostile.leave()

    play(scenario)


def test_a_server_that_closes_at_once_is_not_stormed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses grow, up to ten seconds, and are not all the same, until a connection is of use.

    Also if it takes long to connect. A server that was restarted again and again thus has all its
    clients back ten seconds after its last start.
    """
    now, pauses = 0.0, list[float]()

    async def sleeps(seconds: float) -> None:
        nonlocal now
        now += seconds
        pauses.append(seconds)

    there = vars(asyncio) | {
        "sleep": sleeps,
        "get_running_loop": lambda: SimpleNamespace(time=lambda: now),
    }
    monkeypatch.setattr(attendance, "asyncio", SimpleNamespace(**there))

    async def scenario() -> None:
        nonlocal now
        hostile = Hostile(pauses=attendance.PAUSES)
        for lasts in (0.0, 9.9, 0.0, 0.0, 0.0, 1.0, 0.0, 10.1, 0.0):
            link = await hostile.link()
            now += lasts
            link.close()
        link = await hostile.link()
        await link.send(seal(Invitation(FOUR.round().encode(), 0)))
        await link.receive()
        link.close()
        await hostile.link()
        longest = [0.5, 1, 2, 4, 8, 10, 10, 0.5, 1, 0.5]
        parts = [pause / most for pause, most in zip(pauses, longest, strict=True)]
        assert all(0.5 <= part <= 1 for part in parts)
        assert len(set(parts)) > 5
        await hostile.leave()

    play_ahead(scenario)


def test_the_log_warns_of_a_server_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """Of each new reason at once; after a minute, and every ten minutes then, since when."""
    now, warned = 0.0, list[float]()
    reconnecting = Reconnecting(PAUSES, math.inf, now)
    with caplog.at_level("WARNING", "secagg.aio"):
        while now < 3600:
            now += reconnecting.pause(now, None, False, OSError(f"down\nat {int(now > 5)}"))
            warned += [now] * (len(caplog.records) - len(warned))
    news = [each.getMessage() for each in caplog.records[:2]]
    assert [text.split(":")[0] for text in news] == ["not connected (OSError"] * 2
    assert ["down at 0)" in news[0], "down at 1)" in news[1]] == [True, True]
    assert len(warned) == 8
    assert warned[0] <= 0.5
    assert 60 <= warned[2] <= 80
    assert all(590 <= b - a <= 620 for a, b in pairwise(warned[2:]))
    text = caplog.records[-1].getMessage()
    told = re.fullmatch(r".* since (.*), in (\d+) tries: still trying \(OSError: down.*\)", text)
    assert told
    since = datetime.strptime(told[1], "%Y-%m-%d %H:%M:%S %z")
    assert abs(since.timestamp() - (time.time() - warned[-1])) < 60
    assert int(told[2]) > 300
    caplog.clear()
    for _ in range(3):  # of use, but not for long
        reconnecting.pause(now := now + 45.0, now - 1.0, True, EOFError())
    reconnecting.pause(now + 45.0, None, False, EOFError())
    assert len(caplog.records) == 1
    for number in range(100):  # a text that is never the same
        reconnecting.pause(now + 46.0, None, False, EOFError(number))
    assert len(caplog.records) < 10


def test_what_is_kept_of_a_flood_is_bounded() -> None:
    """While a training runs the client reads no more than it may keep."""

    async def scenario() -> None:
        mine, theirs = linked(1)
        ends: list[Payload] = []
        talk = conversation.Conversation(mine, 1000, ends.append, Allowance(1))
        over = seal(Over(b"some other round"))

        async def flood() -> None:
            while True:
                await theirs.send(over)

        flooding = asyncio.create_task(flood())
        await until(lambda: len(talk._waiting) >= conversation._MOST)
        await asyncio.sleep(0.02)
        assert len(talk._waiting) == conversation._MOST
        assert len(ends) <= conversation._MOST + 1
        for _ in range(100):
            assert (await talk.next()).data == over
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        await talk.close()

        mine, theirs = linked()
        talk = conversation.Conversation(mine, 1000, ends.append, Allowance(1))
        await theirs.send(bytes(conversation.LARGEST_MESSAGE + 1))
        with pytest.raises(conversation.LinkError, match="are allowed"):
            await talk.next()
        await talk.close()

    play(scenario)


def test_what_attend_raises() -> None:
    """Rejections, homes that fail, mistakes in `connect`, and silence for too long."""

    async def raised(connect: Callable[[], Any], **options: Any) -> BaseException:
        home = options.pop("home", home_of(FOUR, 0))
        options.setdefault("pauses", (0.01, 0.02))
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await attend(home, connect, input_of, **options)
        return caught.value

    async def scenario() -> None:
        mine, theirs = linked()
        await theirs.send(seal(Rejection(NO_SESSION, "version", "version 7 here")))
        error = await raised(connects(mine))
        assert isinstance(error, secagg.RemoteProtocolError)
        assert "version 7 here" in str(error)

        mine, theirs = linked()
        await theirs.send(seal(Invitation(FOUR.round().encode(), 0)))
        home = home_of(FOUR, 0)

        def fails(*_: object) -> None:
            raise secagg.StateError("the disk is full", Code.IO)

        home.store.put = fails  # type: ignore[method-assign]
        assert isinstance(await raised(connects(mine), home=home), secagg.StateError)

        assert isinstance(await raised(connects(TypeError("no such argument"))), TypeError)
        began = time.monotonic()
        down = connects(*(OSError("down") for _ in range(100)))
        assert str(await raised(down, give_up=0.1)) == "down"
        assert time.monotonic() - began > 0.09

        for options in (
            {"pauses": 1},
            {"pauses": (1,)},
            {"pauses": (1, 2, 3)},
            {"pauses": (5, 1)},
            {"pauses": (0, 1)},
            {"pauses": (1, float("inf"))},
            {"give_up": 0},
            {"largest_task": -1},
            {"largest_task": "1"},
            {"rounds_a_minute": 0},
        ):
            error = await raised(connects(), **options)
            assert isinstance(error, secagg.ParameterError), options
            assert error.reason.startswith(next(iter(options)))
            assert "\n" not in error.reason

    play(scenario)


async def trains_later(_: Assignment) -> None:
    """Is no function for a thread."""


@pytest.mark.parametrize("train", [trains_later, None, 5])
def test_what_cannot_train_is_refused_before_anything_is_sent(train: Any) -> None:
    """By both, with the library's own error."""

    async def scenario() -> None:
        home, (link, _) = home_of(FOUR, 0), linked()
        with pytest.raises(secagg.ParameterError, match="home must be a Home"):
            await attend("/var/lib/secagg", lambda: link, trains(0, FOUR))  # type: ignore[arg-type]
        for call in (participate(home, link, train), attend(home, lambda: link, train)):
            with pytest.raises(secagg.ParameterError, match="train"):
                await call
        assert link.sent == []

    play(scenario)


# -- what a lying server cannot have ----------------------------------------------------------


async def until_its_input(
    link: QueueLink, context: bytes = bytes(32), attempt: int = 0, agreed: Any = None
) -> tuple[secagg.Server, bytes]:
    """Plays a round with the client behind a link; returns the message that asks for its input."""
    agreed = agreed or FOUR.round(context)
    server, others = server_of(agreed), [client_of(agreed, party) for party in range(4)]
    server.start()
    await link.send(seal(Invitation(agreed.encode(), 0, attempt=attempt)))
    sends = list(server.receive(0, await link.receive()))
    for party in (1, 2, 3):
        sends += server.receive(party, others[party].start())
    asks: list[Any] = []
    for send in (each for each in sends if isinstance(each, secagg.Send)):
        if send.to == 0:
            await link.send(send.payload)
            answer = await link.receive()
        else:
            (event,) = others[send.to].receive(send.payload)
            answer = event.payload
        asks += server.receive(send.to, answer)
    return server, next(
        each.payload for each in asks if isinstance(each, secagg.Send) and each.to == 0
    )


async def is_read(link: QueueLink) -> None:
    """Waits until the client has read what was sent."""
    while link.outgoing.qsize():
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)


@looped("end", ["over", "over and lost", "goodbye and lost", "cut off", "of another round"])
def test_a_training_runs_once_in_a_round(end: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the server says meanwhile: no other task is trained for, also not after an end that
    throws the input away, and none at all for a round whose end was read before."""
    caplog.clear()

    async def scenario() -> None:
        hostile = Hostile()
        begun, go_on = threading.Event(), threading.Event()

        def train(assignment: Assignment) -> Any:
            hostile.trained.append(assignment)
            begun.set()
            go_on.wait(30)
            return input_of(0)

        hostile.attending.cancel()
        hostile.attending = asyncio.create_task(
            attend(hostile.home, hostile.connect, train, stop=hostile.stop, pauses=(0.01, 0.02))
        )
        link = await hostile.link()
        (first, ask), (second, another) = [await until_its_input(link) for _ in range(2)]
        await link.send(seal(Ask(b"1", ask)))
        await asyncio.to_thread(begun.wait, 30)
        over = seal(Over(first.session, "x", survivors=3))
        ends = {
            "cut off": over[:21],
            "of another round": seal(Over(b"some other round")),
            "goodbye and lost": seal(Over(NO_SESSION)),
        }
        sends = [seal(Ask(b"2", ask)), seal(Ask(b"3", another)), seal(Over(second.session))]
        for data in (*sends, ends.get(end, over)):
            await link.send(data)
        await is_read(link)
        is_lost = end.endswith("lost")
        if is_lost:
            link.close()
        if end == "goodbye and lost":  # and the party's service begins again
            await hostile.attending
            hostile.attending = asyncio.create_task(
                attend(hostile.home, hostile.connect, train, stop=hostile.stop)
            )
        if is_lost:
            link = await hostile.link()
        go_on.set()
        if end == "cut off":
            assert read_payload(await link.receive()).kind is None  # its input
            assert read_payload(await link.receive()).kind is None  # again, to the second task
            assert opened(await link.receive(), 0).code == Code.MALFORMED
        elif end == "of another round":
            assert [read_payload(await link.receive()).kind for _ in range(2)] == [None, None]
        elif end == "over":
            said = opened(await link.receive(), 0)
            assert (said.session, said.code) == (first.session, Code.UNKNOWN_SESSION)
        ended = [first] if is_lost else [first, second] if end == "over" else [second]
        for server, message in ((first, ask), (second, another)):
            if server in ended:
                await link.send(seal(Ask(b"4", message)))
                assert opened(await link.receive(), 0).code == Code.UNKNOWN_SESSION
        assert [each.task for each in hostile.trained] == [b"1"]
        told = [each.getMessage() for each in caplog.records if "had sent all" in each.message]
        assert sorted(told) == sorted(
            f"{server.session.hex()}: over before this party had sent all: it was dropped, or too "
            "late" + ": x [x]" * (server is first and end != "goodbye and lost")
            for server in ended
        )
        assert is_lost or len(hostile.links) == 1
        await hostile.leave()

    play(scenario)


def taking_part(how: str, home: secagg.Home, link: QueueLink) -> asyncio.Task[object]:
    """Begins the part of party 0 over one connection, in either way."""
    train = trains(0, FOUR)
    if how == "attend":
        return asyncio.create_task(attend(home, connects(link), train))
    return asyncio.create_task(participate(home, link, train))


@looped("how", ["participate", "attend"])
def test_what_is_cut_off_ends_nothing(how: str) -> None:
    """It is refused as malformed; a rejection is read in every version."""

    async def scenario() -> None:
        rejection = bytearray(seal(Rejection(NO_SESSION, "version", "this server has 7")))
        rejection[2] = 7
        for last in (seal(Over(NO_SESSION)), bytes(rejection)):
            (mine, theirs), home = linked(), home_of(FOUR, 0)
            task = taking_part(how, home, mine)
            await theirs.receive()
            over, goodbye = seal(Over(FOUR.round().session)), seal(Over(NO_SESSION))
            hello = seal(Hello())
            for data in (over[:4], over[:-1], goodbye[:20], goodbye + b"x", rejection[:-1], hello):
                await theirs.send(bytes(data))
                assert opened(await theirs.receive(), 0).code == Code.MALFORMED
            await theirs.send(last)
            if last == rejection:
                with pytest.raises(secagg.RemoteProtocolError, match="this server has 7"):
                    await task
            else:
                assert await task is None

    play(scenario)


@looped("how", ["participate", "attend"])
def test_what_leads_to_no_message_is_answered_slowly(
    how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes a number of them a minute, as more would fill the log, which says so once."""
    caplog.clear()
    now, waiting, gate = 0.0, asyncio.Event(), asyncio.Event()

    async def sleeps(seconds: float) -> None:
        nonlocal now
        if seconds:
            waiting.set()
            await gate.wait()
            now += 30.0

    there = vars(asyncio) | {
        "sleep": sleeps,
        "get_running_loop": lambda: SimpleNamespace(time=lambda: now),
    }
    monkeypatch.setattr(conversation, "asyncio", SimpleNamespace(**there))
    for module in (attendance, participation):
        monkeypatch.setattr(module, "USELESS_A_MINUTE", 2)

    async def scenario() -> None:
        (mine, theirs), home = linked(), home_of(FOUR, 0)
        task = taking_part(how, home, mine)
        await theirs.receive()
        agreed = FOUR.round()
        for number in range(5):
            await theirs.send(b"junk")
            if number == 1:  # an end costs nothing, nor what is answered with a message
                await theirs.send(seal(Over(b"some other round")))
                await theirs.send(seal(Invitation(agreed.encode(), 0)))
        answers = [await theirs.receive() for _ in range(4)]
        assert [read_payload(each).kind is None for each in answers] == [False, False, True, False]
        await waiting.wait()
        assert theirs.incoming.empty()
        gate.set()
        for _ in range(2):
            assert opened(await theirs.receive(), 0).code == Code.MALFORMED
        await theirs.send(seal(Over(NO_SESSION)))
        assert await task is None

    play(scenario)
    slow = [each for each in caplog.records if "more than 2 times a minute" in each.message]
    assert len(slow) == 1


class Unhashable:
    """A client in a wrapper that is not hashable."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    __hash__ = None  # type: ignore[assignment]


class Slotted:
    """A client in a wrapper that has no weak references."""

    __slots__ = ("client",)
    __init__, __getattr__ = Unhashable.__init__, Unhashable.__getattr__


@looped("is_lost, wrapped", [(False, Slotted), (True, Unhashable)])
def test_the_attempt_of_the_first_invitation_counts(is_lost: bool, wrapped: Any) -> None:
    """Also after another connection; one to another round, or malformed, begins nothing."""

    async def scenario() -> None:
        agreed, told = FOUR.round(), list[int]()
        client = wrapped(client_of(agreed, 0))

        def train(assignment: Assignment) -> Any:
            told.append(assignment.attempt)
            return input_of(0)

        mine, theirs = linked()
        task = asyncio.create_task(participate(client, mine, train))
        await theirs.receive()
        await theirs.send(seal(Invitation(FOUR.round().encode(), 0, attempt=3)))
        await theirs.send(b"SD\1\x10" + (2**17).to_bytes(12, "little") + agreed.encode())
        assert opened(await theirs.receive(), 0).code == Code.MALFORMED
        _, ask = await until_its_input(theirs, attempt=2, agreed=agreed)
        await theirs.send(seal(Invitation(agreed.encode(), 0, attempt=1)))
        if is_lost:
            theirs.close()
            with pytest.raises(EOFError):
                await task
            mine, theirs = linked()
            task = asyncio.create_task(participate(client, mine, train))
            await theirs.receive()
        await theirs.send(seal(Ask(b"", ask)))
        assert read_payload(await theirs.receive()).kind is None
        assert told == [2]
        await theirs.send(seal(Over(agreed.session)))
        assert await task == Over(agreed.session)

    play(scenario)


def test_a_last_message_that_was_not_sent_is_no_end() -> None:
    """The caller learns that the connection was lost, and can take part again."""

    async def scenario() -> None:
        client = client_of(agreed := FOUR.round(), 0)
        async with Rounds(FOUR) as rounds:
            for party in (1, 2, 3):
                rounds.join(party)
            link: Any = Cut(rounds.connect(0), 8)
            taking_part = asyncio.create_task(participate(client, link, trains(0, FOUR)))
            serving = asyncio.create_task(serve(server_of(agreed), await rounds.present()))
            with pytest.raises(ConnectionResetError):
                await taking_part
            assert client.finished
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    play(scenario)


def test_an_end_before_the_connection_is_lost_counts() -> None:
    """Also if an answer was made meanwhile."""

    async def scenario() -> None:
        agreed = FOUR.round()
        for end in (Over(agreed.session), Over(NO_SESSION)):
            (mine, theirs), client, begun = linked(), client_of(agreed, 0), threading.Event()
            go_on = threading.Event()

            def slow(_: Assignment, begun: Any = begun, go_on: Any = go_on) -> Any:
                begun.set()
                go_on.wait(30)
                return input_of(0)

            task = asyncio.create_task(participate(client, mine, slow))
            await theirs.receive()
            _, ask = await until_its_input(theirs, agreed=agreed)
            await theirs.send(ask)
            await asyncio.to_thread(begun.wait, 30)
            await theirs.send(seal(end))
            await is_read(theirs)
            theirs.close()
            for _ in range(5):
                await asyncio.sleep(0)
            go_on.set()
            assert await task == (None if end.session == NO_SESSION else end)
            assert client.state is ClientState.WITHDRAWN

        (mine, theirs), home, end = linked(), home_of(FOUR, 0), Over(agreed.session)
        task = asyncio.create_task(participate(home, mine, input_of))
        await theirs.receive()
        await theirs.send(seal(Invitation(agreed.encode(), 0)))
        await theirs.receive()
        with home.lock():  # holds up the answer
            await theirs.send(b"SA\1\x11" + agreed.session + bytes(30))
            await theirs.send(seal(end))
            await is_read(theirs)
            theirs.close()
            for _ in range(5):
                await asyncio.sleep(0)
        assert await task == end
        assert list(home.store.sessions()) == []

    play(scenario)


def test_the_end_of_a_round_that_the_home_cannot_go_on_with() -> None:
    """It is the end for `participate`: the party had begun it before."""

    async def scenario() -> None:
        (mine, theirs), home = linked(), home_of(FOUR, 0)

        def fails(_: bytes) -> None:
            raise UselessStateError("another key", Code.WRONG_KEY)

        home.load = fails  # type: ignore[method-assign]
        over = Over(FOUR.round().session)
        await theirs.send(seal(over))
        assert await participate(home, mine, trains(0, FOUR)) == over

    play(scenario)


def test_a_home_that_is_in_use_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By `attend`, as a training that was left may have it; the log says so once."""
    caplog.clear()
    monkeypatch.setattr(attendance, "_BUSY_PAUSE", 0.001)

    async def scenario() -> None:
        hostile = Hostile()
        link = await hostile.link()
        hostile.home._wait, tries = 0.0, list[float]()
        lock = hostile.home.lock

        def counted() -> Any:
            tries.append(0)
            return lock()

        hostile.home.lock = counted  # type: ignore[method-assign]
        with lock():
            await link.send(seal(Invitation(FOUR.round().encode(), 0)))
            while len(tries) < 3:
                await asyncio.sleep(0.001)
        assert read_payload(await link.receive()).kind is None
        assert len([each for each in caplog.records if "waiting for the home" in each.message]) == 1
        await hostile.leave()

    play(scenario)


def test_a_cancellation_that_nobody_asked_for_is_a_lost_connection() -> None:
    """Of a link, or of what connects."""

    async def scenario() -> None:
        async def cancelled(*_: bytes) -> bytes:
            raise asyncio.CancelledError

        for method in ("send", "receive"):
            (mine, _), (last, theirs) = linked(), linked()
            setattr(mine, method, cancelled)
            with pytest.raises(ConnectionError, match="nobody had cancelled it"):
                await participate(home_of(FOUR, 0), mine, input_of)
            await theirs.send(seal(Over(NO_SESSION)))
            connect = connects(asyncio.CancelledError(), mine, last)
            await attend(home_of(FOUR, 0), connect, input_of, pauses=(0.001, 0.001))

    play(scenario)


def test_what_is_no_link_or_no_client_is_refused_at_once() -> None:
    """With the library's own error."""

    async def scenario() -> None:
        home, (link, _) = home_of(FOUR, 0), linked()
        socket = SimpleNamespace(send=link.send, recv=link.receive, close=link.close)
        for call in (attend(home, connects(socket), input_of), participate(home, socket, input_of)):
            with pytest.raises(secagg.ParameterError, match="a link needs `send` and `receive`"):
                await call
        for client in (None, "north"):
            with pytest.raises(secagg.ParameterError, match="takes part, not"):
                await participate(client, link, input_of)  # type: ignore[arg-type]

    play(scenario)


def test_bytes_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only their number."""
    monkeypatch.setattr(conversation, "LARGEST_MESSAGE", 1000)

    async def scenario() -> None:
        mine, theirs = linked(1)
        talk = conversation.Conversation(mine, 1000, lambda _: None, Allowance(1))
        for _ in range(4):  # the third is read, and waits for its turn; the fourth waits outside
            await theirs.send(bytes(900))
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(talk._waiting) == 2
        await talk.close()

    play(scenario)


def test_nothing_is_trained_for_after_the_end() -> None:
    """A step that asks for an input after it was left gets none; ends of rounds are bounded, and no
    number of them lets an input go out of the round that is trained for."""

    async def scenario() -> None:
        assignment, calls = SimpleNamespace(round=FOUR.round()), list[Any]()
        answers = Answers(lambda _, train: train(assignment), calls.append)  # type: ignore[arg-type]
        answers.abandon()
        assert await answers.answer(read_payload(b"an ask")) == b""
        assert calls == []
        for number in range(1000):
            answers.end(read_payload(seal(Over(number.to_bytes(16, "big")))))
        assert len(answers._overs) < 200

        def train(asked: Any) -> bytes:
            for number in range(1000):
                session = number.to_bytes(16, "big") if number else asked.round.session
                answers.end(read_payload(seal(Over(session))))
            return b"an input"

        def respond(payload: Payload, wanted: Any) -> bytes:
            return b"" if payload.kind is Kind.OVER else wanted(assignment)

        answers = Answers(respond, train)
        ask = read_payload(seal(Ask(b"", b"SA\1\x12" + assignment.round.session + bytes(9))))
        assert await answers.answer(ask) == b""

    play(scenario)


def test_rounds_that_are_forgotten_cost_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of which there were newer ones, and those that are over."""
    monkeypatch.setattr(attendance, "_KNOWN_ROUNDS", 2)

    async def scenario() -> None:
        hostile = Hostile(rounds_a_minute=4)
        link = await hostile.link()
        removed: list[bytes] = []
        remove = hostile.home.remove
        hostile.home.remove = lambda session: [removed.append(session), remove(session)]
        invitations = [seal(Invitation(FOUR.round().encode(), 0)) for _ in range(3)]
        kinds = []
        for number in (0, 1, 2, 0, 2, 1):
            await link.send(invitations[number])
            kinds.append(read_payload(await link.receive()).kind)
        assert kinds == [None] * 5 + [Kind.REFUSAL]
        for _ in range(50):
            await link.send(seal(Over(read_payload(invitations[2]).session)))
        await link.send(seal(Over(NO_SESSION)))
        await hostile.attending
        assert len(removed) == 1

    play(scenario)


def test_a_connection_is_of_use_if_a_round_went_on_over_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not if what came was refused."""
    told: list[bool] = []

    def pause(_: object, now: float, at: float, answered: bool, lost: Exception) -> float:
        told.append(answered)
        return 0.0

    monkeypatch.setattr(Reconnecting, "pause", pause)

    async def scenario() -> None:
        hostile = Hostile()
        for data in (b"junk", seal(Invitation(FOUR.round().encode(), 0))):
            link = await hostile.link()
            await link.send(data)
            await link.receive()
            link.close()
        await hostile.link()
        assert told == [False, True]
        await hostile.leave()

    play(scenario)
