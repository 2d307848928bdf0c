"""`Hub`: connections that come and go, hostile ones among them, cost others nothing."""

import asyncio
import logging
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from aio.loopback import (
    LARGEST,
    Listener,
    QueueLink,
    Rounds,
    linked,
    name_of,
    names_of,
    play,
    right_sum,
    server_with,
    trains,
    until,
)
from aio.skipping import play_ahead
from harness import integers
from support import looped

import secagg
from secagg import Code
from secagg.aio import Hub, HubNet, participate, serve
from secagg.aio import hub as hub_module
from secagg.aio.greeting import hello
from secagg.aio.peer import Peer
from secagg.drivers.envelope import (
    LARGEST_SHORT,
    NO_SESSION,
    Hello,
    Invitation,
    Over,
    Refusal,
    Rejection,
    opened,
    seal,
)
from secagg.drivers.log_quota import MOST_LINES

FOUR = integers(4)
SESSIONS = [bytes([number]) * 16 for number in range(1, 6)]


def message(session: bytes, size: int = 30) -> bytes:
    """Returns bytes with the header of a message."""
    return b"SA\1\1" + session + bytes(size - 20)


class At:
    """A hub with connections that a test plays by hand."""

    def __init__(self, **limits: Any) -> None:
        self.hub = Hub(**limits)
        self.attached: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "At":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.attached:
            task.cancel()
        await asyncio.gather(*self.attached, return_exceptions=True)

    def open(self, name: str, size: int = 0) -> QueueLink:
        """A new connection, which has said nothing."""
        theirs, ours = linked(size)
        self.attached.append(asyncio.create_task(self.hub.attach(name, ours)))
        return theirs

    async def greet(self, name: str, size: int = 0) -> QueueLink:
        """A new connection that has said hello."""
        link = self.open(name, size)
        await link.send(hello())
        await until(lambda: link.outgoing.empty() and name in self.hub.present())
        return link


def bound(hub: Hub, names: list[str], session: bytes = SESSIONS[0], largest: int = 4096) -> HubNet:
    """A net that is being served."""
    net = hub.net(names)
    net.bind(session, largest)
    return net


# -- who is there ---------------------------------------------------------------------------


def test_who_is_present() -> None:
    """Those who said hello, until their connection ends; `wait_for` returns fewer in time."""

    async def scenario() -> None:
        async with At() as at:
            silent = at.open("silent")
            waiting = asyncio.create_task(at.hub.wait_for(2, 30))
            b, _ = await at.greet("b"), await at.greet("a")
            assert await waiting == at.hub.present() == ["a", "b"]
            await bound(at.hub, ["silent"]).send(0, b"not before its hello")
            b.close()
            await until(lambda: at.hub.present() == ["a"])
            assert await at.hub.wait_for(2, 0.01) == ["a"]
            assert silent.incoming.empty()

    play(scenario)


def test_the_newer_connection_of_a_name_counts() -> None:
    """The older `attach` returns; what the older still sends reaches nobody."""

    async def scenario() -> None:
        async with At() as at:
            net = bound(at.hub, ["a"])
            assert isinstance((await net.receive())[1], ConnectionError)
            older = await at.greet("a")
            assert await net.receive() == (0, hello())
            newer = await at.greet("a")
            await asyncio.wait_for(at.attached[0], 30)
            assert await net.receive() == (0, hello())
            await older.send(message(SESSIONS[0]))
            await net.send(0, b"to the newer")
            assert await newer.receive() == b"to the newer"
            assert net._ready == {}

    play(scenario)


@looped(
    "first, says",
    [
        (seal(Hello(library="7", wire=(2,))), "wire 1, the client has secagg 7 with wire 2"),
        (b"SD\2\1whatever is new in it", "envelopes 1 and wire 1, the client sent envelope ver"),
        (b"SD\1\1\xff\xff\xff\xff", "a text of 4294967295 bytes"),
        (b"SD", "ends too early"),
        (hello() + bytes(LARGEST_SHORT), "bytes"),
        (message(SESSIONS[0]), "must be a Hello"),
        (seal(Refusal(NO_SESSION, "x", "")), "must be a Hello"),
        (b"", "must be a Hello"),
    ],
)
def test_a_peer_that_is_not_understood_is_told_why(first: bytes, says: str) -> None:
    """A `Rejection`, and the connection ends; it was never present."""

    async def scenario() -> None:
        async with At(hello_within=10 if first else 0.1) as at:
            link, net = at.open("a"), bound(at.hub, ["a"])
            await link.send(first)
            said = opened(await link.receive(), -1)
            assert isinstance(said, Rejection)
            assert says in said.reason
            assert at.hub.present() == []
            assert not at.attached[0].done()  # it is the peer that closes
            if first:
                await link.send(message(SESSIONS[0]))
                await until(link.outgoing.empty)
                await asyncio.sleep(0)
                assert not net._messages  # it has no part in a round
            if first:
                link.close()
            await asyncio.wait_for(at.attached[0], 30)

    play(scenario)


def test_goodbye() -> None:
    """`close` tells those who are there, and those who come later; nobody holds it up."""

    async def scenario() -> None:
        async with At() as at:
            reader = await at.greet("reader")
            await at.greet("deaf", size=1)
            at.hub._peers["deaf"].put(bytes(10), NO_SESSION)
            await until(at.hub._peers["deaf"]._link.outgoing.full)
            closing = asyncio.create_task(at.hub.close("the training is over", timeout=20))
            assert opened(await reader.receive(), -1) == Over(
                NO_SESSION, reason="the training is over"
            )
            reader.close()
            await closing
            late = at.open("late")
            await late.send(hello())
            assert opened(await late.receive(), -1).reason == "the training is over"
            late.close()
            await asyncio.gather(*at.attached)
            assert at.hub.present() == []

    play_ahead(scenario)


def test_a_link_that_does_not_end_holds_up_no_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a handler that is cancelled twice, while its link says goodbye."""
    monkeypatch.setattr(hub_module, "_TO_END", 0.05)
    go_on = asyncio.Event()

    class Stubborn(QueueLink):
        async def receive(self) -> bytes:
            try:
                return await super().receive()
            except asyncio.CancelledError:
                await go_on.wait()
                raise

    async def scenario() -> None:
        async with At() as at:
            for name in ("a", "b"):
                theirs, ours = linked()
                link = Stubborn(ours.incoming, ours.outgoing)
                at.attached.append(asyncio.create_task(at.hub.attach(name, link)))
                await theirs.send(hello())
            await at.hub.wait_for(2, 30)
            peer = at.hub._peers["a"]
            closing = asyncio.create_task(at.hub.close(timeout=0.05))
            for _ in range(2):
                await asyncio.sleep(0.01)
                at.attached[0].cancel()
            await asyncio.wait_for(closing, 30)
            assert at.attached[0].cancelled()
            assert peer.ended.is_set()
            assert not at.attached[1].done()
            go_on.set()
            await asyncio.sleep(0.01)

    play(scenario)


# -- rounds ---------------------------------------------------------------------------------


def test_messages_go_to_the_round_that_they_are_of() -> None:
    """Two rounds over one hub at once; what is of an older one, or of no round, goes nowhere."""

    async def scenario() -> None:
        async with At() as at:
            a, b = await at.greet("a"), await at.greet("b")
            first = bound(at.hub, ["a", "b"], SESSIONS[0])
            second = bound(at.hub, ["b", "a"], SESSIONS[1])
            await a.send(message(SESSIONS[4]))
            await a.send(b"SA")
            await a.send(message(NO_SESSION))
            await a.send(message(SESSIONS[0]))
            assert await first.receive() == (0, message(SESSIONS[0]))
            await a.send(message(SESSIONS[1]))
            assert await second.receive() == (1, message(SESSIONS[1]))
            nowhere = seal(Refusal(NO_SESSION, "version", "it got no further"))
            await b.send(nowhere)
            assert await first.receive() == (1, nowhere)
            assert await second.receive() == (0, nowhere)
            await a.send(nowhere)  # of another offer: it could read those of both
            first.release()
            await a.send(message(SESSIONS[0]))
            await a.send(message(SESSIONS[1]))
            assert await second.receive() == (1, message(SESSIONS[1]))
            second.release()
            third = bound(at.hub, ["a"], SESSIONS[2])
            await a.send(message(SESSIONS[2]))
            assert await third.receive() == (0, message(SESSIONS[2]))
            assert third._ready == {}
            assert first._ready == {}

    play(scenario)


def test_one_round_is_served_once_at_a_time() -> None:
    """And a net serves one round at a time."""

    async def scenario() -> None:
        hub = Hub()
        net = bound(hub, ["a"])
        for other, session in ((hub.net(["b"]), SESSIONS[0]), (net, SESSIONS[1])):
            with pytest.raises(secagg.LocalProtocolError) as caught:
                other.bind(session, 1)
            assert caught.value.code is Code.REENTRANT
        hub.net(["b"]).release()
        assert hub._nets == {SESSIONS[0]: net}

    play(scenario)


def test_the_end_of_a_round_reaches_who_was_away() -> None:
    """They hear it when they are back, of the last few rounds, each once, until it was sent."""

    class Broken(QueueLink):
        async def send(self, data: bytes) -> None:
            raise ConnectionResetError("reset by peer")

    async def scenario() -> None:
        async with At() as at:
            overs = [seal(Over(session)) for session in SESSIONS]
            for session, over in zip(SESSIONS, overs, strict=True):
                net = bound(at.hub, ["a"], session)
                for _ in range(2):
                    await net.send(0, over)
                net.release()
            broken = Broken(*(asyncio.Queue[Any]() for _ in range(2)))
            broken.incoming.put_nowait(hello())
            await at.hub.attach("a", broken)
            link = await at.greet("a")
            assert [await link.receive() for _ in range(4)] == overs[1:]
            link = await at.greet("a")
            await asyncio.sleep(0.01)
            assert link.incoming.empty()
            assert at.hub._overs == {}

    play(scenario)


@looped(
    "make",
    [
        lambda: Hub(largest_message=0),
        lambda: Hub(queued=-1),
        lambda: Hub(patience=float("nan")),
        lambda: Hub(hello_within=0),
        lambda: Hub(queued=1.5),
        lambda: Hub().net([]),
        lambda: Hub().net(["a", "a"]),
        lambda: Hub().net("ab"),
    ],
)
def test_arguments(make: Callable[[], object]) -> None:
    """An impossible argument is refused."""
    with pytest.raises(secagg.ParameterError) as caught:
        make()
    assert caught.value.code is Code.ARGUMENT


def test_arguments_of_its_coroutines() -> None:
    """A name that is a text, and a link with its two methods; times that are numbers."""

    async def scenario() -> None:
        for call in (Hub().wait_for(1, math.nan), Hub().wait_for(1, -1), Hub().close("", math.inf)):
            with pytest.raises(secagg.ParameterError, match="timeout must be a number of seconds"):
                await call
        with pytest.raises(secagg.ParameterError, match="count must be"):
            await Hub().wait_for("1", 1.0)  # type: ignore[arg-type]
        for name, link in (("", linked()[0]), (7, linked()[0]), ("a", object())):
            with pytest.raises(secagg.ParameterError):
                await Hub().attach(name, link)  # type: ignore[arg-type]

    play(scenario)


def test_the_ends_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the last names: of two cohorts of the largest at least."""
    monkeypatch.setattr(hub_module, "_KEPT_NAMES", 3)

    async def scenario() -> None:
        hub = Hub()
        for round_, cohort in enumerate((1, 1, 1, 1, 2, 2, 2, 1)):
            net = hub.net([f"{round_}.{party}" for party in range(cohort)])
            for party in range(cohort):
                await net.send(party, seal(Over(SESSIONS[0])))
            assert len(hub._overs) <= 4
        assert list(hub._overs) == ["5.1", "6.0", "6.1", "7.0"]

    play(scenario)


# -- hostile peers ----------------------------------------------------------------------------


def test_what_a_peer_sends_waits_at_the_peer() -> None:
    """However much it sends, the hub keeps one message, or `largest` bytes of small ones."""

    async def scenario() -> None:
        async with At() as at:
            a, b = await at.greet("a", size=2), await at.greet("b")
            net = bound(at.hub, ["a", "b"], largest=4096)

            async def flood() -> None:
                while True:
                    await a.send(message(SESSIONS[0], 1000))

            flooding = asyncio.create_task(flood())
            await until(a.outgoing.full)
            await b.send(message(SESSIONS[0]))
            await until(b.outgoing.empty)
            order = [(await net.receive())[0] for _ in range(6)]
            assert sum(map(len, net._messages[0])) == net._bytes[0] - 64 * len(net._messages[0])
            assert net._bytes[0] <= 4096
            assert 1 in order[:3]  # it takes its turn
            await b.send(message(SESSIONS[0]))
            net.release()  # the flood is let go: it is of no round
            taken = len(a.sent)
            await until(lambda: len(a.sent) > taken + 100)
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)

    play(scenario)


def test_messages_that_are_next_to_empty_count() -> None:
    """Each takes memory beside its bytes."""

    async def scenario() -> None:
        async with At() as at:
            link = await at.greet("a")
            net = bound(at.hub, ["a"], largest=4096)
            for _ in range(100):
                await link.send(message(SESSIONS[0], 20))
            await until(lambda: len(net._messages.get(0, ())) >= 4096 // 84)
            await asyncio.sleep(0.01)
            assert len(net._messages[0]) == 4096 // 84
            for _ in range(100):
                await net.receive()
            assert +net._bytes == {}

    play(scenario)


def test_a_message_that_is_too_large_is_not_kept() -> None:
    """Above the round's size it is dropped; above the hub's the connection ends."""

    async def scenario() -> None:
        async with At(largest_message=10_000) as at:
            link = await at.greet("a")
            net = bound(at.hub, ["a"], largest=4096)
            await link.send(message(SESSIONS[0], 5000))
            await link.send(message(SESSIONS[0], 4096))
            assert await net.receive() == (0, message(SESSIONS[0], 4096))
            await link.send(bytes(10_001))
            party, gone = await net.receive()
            assert (party, str(gone)) == (0, "it sent 10001 bytes, 10000 are allowed")

    play(scenario)


def test_a_peer_that_does_not_read_is_disconnected() -> None:
    """More bytes wait than may, or a message is not taken in time; others get theirs."""

    async def scenario() -> None:
        async with At(queued=1000, patience=20) as at:
            deaf, other = await at.greet("deaf", size=1), await at.greet("other")
            net = bound(at.hub, ["deaf", "other"])
            await net.send(0, bytes(2000))  # one may always wait, whatever its size
            await net.send(1, b"x")
            assert await other.receive() == b"x"
            assert "deaf" in at.hub.present()
            await until(deaf.incoming.full)
            other_round = bound(at.hub, ["deaf"], SESSIONS[1])
            await net.send(0, bytes(400))
            await other_round.send(0, bytes(2000))  # and one of each round
            assert "deaf" in at.hub.present()
            for _ in range(2):
                await net.send(0, bytes(400))
            party, gone = await net.receive()
            assert (party, str(gone)[:19]) == (0, "it reads too slowly")
            again = await at.greet("deaf", size=1)
            await net.receive()
            await net.send(0, b"1")
            await net.send(0, b"2")
            await until(again.incoming.full)
            party, gone = await net.receive()
            assert (party, "TimeoutError" in str(gone)) == (0, True)
            assert at.hub.present() == ["other"]

    play_ahead(scenario)


def test_half_open_connections_and_greetings_in_a_loop() -> None:
    """Nobody who says nothing is kept; a second hello ends a connection; a loop keeps one."""

    async def scenario() -> None:
        async with At(hello_within=20) as at:
            net = bound(at.hub, ["a", "b"])
            assert {(await net.receive())[0] for _ in range(2)} == {0, 1}
            for _ in range(50):
                at.open("b")
            await asyncio.sleep(0.01)
            assert len(at.hub._peers) == 1
            twice = await at.greet("a")
            await twice.send(hello())
            await until(lambda: at.hub.present() == [])
            for _ in range(50):
                link = await at.greet("a")
                link.close()
            await until(lambda: at.hub._peers == {})
            assert sum(map(len, net._messages[0])) <= 2 * len(hello())
            await asyncio.gather(*at.attached)

    play_ahead(scenario)


@looped("junk", ["text", None, 7, object()])
def test_what_is_no_bytes_ends_the_connection(junk: object) -> None:
    """A text frame, for example."""

    async def scenario() -> None:
        async with At() as at:
            link = await at.greet("a")
            link.outgoing.put_nowait(junk)
            await until(lambda: at.hub.present() == [])

    play(scenario)


def test_errors_of_any_framework_are_ends_of_connections(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also those that are no OSError, or that have no text; a cancelled handler ends its own."""
    caplog.set_level(logging.INFO, "secagg")

    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError

    class Link:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        async def send(self, data: bytes) -> None:
            raise self.error

        async def receive(self) -> bytes:
            raise self.error

    async def scenario() -> None:
        hub = Hub()
        for error in (Mute(), asyncio.CancelledError()):
            await hub.attach("a", Link(error))
        assert "Mute" in caplog.text
        assert "nobody had cancelled it" in caplog.text
        async with At() as at:
            await at.greet("a")
            at.attached[0].cancel()
            await asyncio.gather(*at.attached, return_exceptions=True)
            assert at.hub._peers == {}

    play(scenario)


def test_hostile_peers_cost_nobody_else_the_round() -> None:
    """Over sockets: floods, huge frames, greetings, other sessions, half-open, never reading."""
    params = integers(9, threshold=5)

    async def hostile(listener: Listener, kind: int, party: int) -> None:
        async with listener.connect(name_of(party)) as link:
            await link.send(hello())
            invitation = opened(await link.receive(), -1)
            assert isinstance(invitation, Invitation)
            session = secagg.Round.decode(invitation.offer).session
            try:
                if kind == 0:
                    for _ in range(2000):
                        await link.send(message(session, 500))
                elif kind == 1:
                    await link.send(bytes(LARGEST))
                elif kind == 2:
                    link._writer.write(b"\xff\xff\xff\x7f")
                elif kind == 3:
                    for number in range(200):
                        await link.send(message(SESSIONS[number % 5]))
                await asyncio.sleep(3600)
            except (OSError, EOFError):
                return

    async def scenario() -> None:
        hub = Hub(largest_message=2**16)
        async with Listener(hub) as listener:
            tasks = [asyncio.create_task(hostile(listener, kind, kind)) for kind in range(4)]

            async def honest(party: int) -> object:
                async with listener.connect(name_of(party)) as link:
                    home = Rounds(params).homes[party]
                    return await participate(home, link, trains(party, params))

            parties = [asyncio.create_task(honest(party)) for party in range(4, 9)]
            await hub.wait_for(9, 30)
            server = server_with(params)
            outcome = await serve(server, hub.net(names_of(params)), 50, grace=20)
            assert right_sum(outcome, params)
            assert outcome.result.survivors == (4, 5, 6, 7, 8)
            assert [await party for party in parties] == [Over(server.session, survivors=5)] * 5
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    play_ahead(scenario)


def test_what_waits_when_a_round_ends_is_not_of_the_next() -> None:
    """A message that found no room belongs to the round for which it was read."""

    async def scenario() -> None:
        net = bound(Hub(), ["a"], largest=100)
        await net.receive()  # it is not connected
        await net.deliver("a", message(SESSIONS[0]))
        waiting = asyncio.create_task(net.deliver("a", message(SESSIONS[0])))
        await asyncio.sleep(0)
        assert not waiting.done()
        net.release()
        net.bind(SESSIONS[1], 100)
        await net.receive()
        await waiting
        assert (net._ready, +net._bytes) == ({}, {})

    play(scenario)


def test_a_peer_that_is_let_go_while_its_hello_is_read() -> None:
    """A loop may run what reads as it is made: the connection ends all the same."""

    async def scenario() -> None:
        hub = Hub()
        theirs, ours = linked()
        peer = Peer(hub, "a", ours)
        create = asyncio.create_task

        def eager(coroutine: Any) -> Any:
            if coroutine.__name__ == "_read":
                peer.leave("it reads too slowly")
            return create(coroutine)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "create_task", eager)
            serving = create(peer.serve())
            await serving
        assert (peer.why, theirs.sent) == ("it reads too slowly", [])

    play(scenario)


def test_connections_in_a_loop_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each name has a number of lines, then one with the count; it is not taken for a session, and
    uses up no lines of another one that is printed alike."""
    caplog.set_level(logging.INFO, "secagg")
    name = SESSIONS[0].hex()

    async def scenario() -> None:
        hub = Hub()
        for _ in range(100):
            theirs, ours = linked()
            theirs.outgoing.put_nowait(hello())
            theirs.close()
            await hub.attach(name, ours)
        assert len(caplog.records) == MOST_LINES
        for other in ("b", f"{name} "):
            await hub.attach(other, ours)
            assert caplog.records[-1].getMessage().startswith(f"peer {other.strip()}: disconnected")
        await asyncio.sleep(61)
        left = f"peer {name}: {200 - MOST_LINES} more lines about it were left out"
        assert caplog.records[-1].getMessage() == left
        assert len(caplog.records) == MOST_LINES + 3
        for _ in range(MOST_LINES + 1):
            await hub.attach("b", ours)
        await hub.close()
        assert caplog.records[-1].getMessage() == "peer b: 1 more lines about it were left out"
        assert len(caplog.records) == 2 * MOST_LINES + 4
        assert not any(re.match("[0-9a-f]{32}: ", each.getMessage()) for each in caplog.records)

    play_ahead(scenario)
