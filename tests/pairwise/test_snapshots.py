"""Servers that are stored, killed and resumed: the round is the one without it.

Whichever snapshot it goes on from, there is one survivor set, and the sum is exact, or
there is none.
"""

from functools import partial
from random import Random

import pytest
from harness import (
    CONTEXT,
    MODES,
    SESSION,
    STEPS,
    directory_of,
    input_of,
    integers,
    state_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import amount
from pairwise.restarts import (
    KEY,
    Drops,
    FailingLedger,
    RecordingNetwork,
    RestartingServer,
    any_dropout,
    directory_for,
    either_mode,
    four,
    network_of,
    new_client,
    resumed_server,
    uninterrupted_round,
)
from refusals import refused

import secagg
from secagg import (
    SERVER,
    Code,
    Dropped,
    Failed,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    Once,
    ParameterError,
    Params,
    Phase,
    RemoteProtocolError,
    Send,
    Server,
    StateError,
)
from secagg.arithmetic.field import Field
from secagg.machine.wire import MessageType
from secagg.pairwise import stored as layouts
from secagg.pairwise.transitions import ServerState
from secagg.primitives.secret import Secret

# ---- servers: the same round --------------------------------------------------------------

SERVERS = {
    "after every call": {},
    "sent, then killed": {"sent": True},
}


def restarting_server(params: Params, **more: object) -> RestartingServer:
    """A server with a ledger that outlives it."""
    return RestartingServer(params.round(CONTEXT, SESSION), MemoryLedger(), **more)  # type: ignore[arg-type]


def one_survivor_set(network: RecordingNetwork) -> bool:
    """An exact sum or a clean failure, and never a second survivor set. True for a sum."""
    assert len(network.survivor_sets) <= 1
    assert network.result is not None or network.failure is not None
    return network.exact()


@either_mode
@any_dropout
@pytest.mark.parametrize("special", SERVERS.values(), ids=SERVERS)
def test_a_server_that_dies_after_every_call(
    mode: Mode, drops: Drops, special: dict[str, object]
) -> None:
    """Each phase goes on with repeated messages, always the same bytes; the sum is the same."""
    whole = uninterrupted_round(mode, drops)
    server = restarting_server(four(mode), **special)
    network = network_of(four(mode), server, drops).start().run()
    assert one_survivor_set(network)
    assert network.result is not None
    assert network.result.survivors == whole.result.survivors  # type: ignore[union-attr]
    assert server.restarts >= 15
    said = {(one.sender, one.receiver, one.payload) for one in network.log}
    before = {(one.sender, one.receiver, one.payload) for one in whole.log}
    assert {one for one in said if one[2][3] != MessageType.OFFER} == before


@either_mode
@any_dropout
@pytest.mark.parametrize("sent", [True, False])
def test_what_came_after_the_snapshot_comes_again(mode: Mode, drops: Drops, sent: bool) -> None:
    """Killed at any call, resumed from the beginning of that phase: clients repeat what is lost."""
    whole = uninterrupted_round(mode, drops)
    calls = restarting_server(four(mode), restarts_from=lambda call: None)
    assert network_of(four(mode), calls, drops).start().run().exact()
    for at in range(calls.calls):
        server = restarting_server(
            four(mode),
            restarts_from=lambda call, at=at: -1 if call == at else None,
            sent=sent,
            once_per_phase=True,
        )
        network = network_of(four(mode), server, drops).start().run()
        assert server.restarts == 1
        assert one_survivor_set(network)
        assert network.result.survivors == whole.result.survivors  # type: ignore[union-attr]


@either_mode
@pytest.mark.parametrize("sent", [True, False])
def test_a_server_that_is_rolled_back(mode: Mode, sent: bool) -> None:
    """Killed at any call, resumed from snapshots before it: one survivor set, or none."""
    outcomes = set()
    params = four(mode)
    calls = restarting_server(params, restarts_from=lambda call: None)
    network_of(params, calls).start().run()
    step = amount("step between snapshots to go back to")
    for at in range(calls.calls):
        for number in range(at % step, min(at + 1, len(calls.snapshots)), step):
            server = restarting_server(
                params,
                restarts_from=lambda call, at=at, n=number: n if call == at else None,
                sent=sent,
            )
            network = network_of(params, server, {3: Phase.UNMASK}).start().run()
            outcomes.add(one_survivor_set(network))
    assert outcomes == {True, False}, "both happen"


def until(server: Server, kind: MessageType, count: int, cohort: int = 4) -> RecordingNetwork:
    """A round up to the moment in which so many messages of a type were accepted."""
    clients = {party: new_client(server.round, party, MemoryLedger()) for party in range(cohort)}
    network = RecordingNetwork(server, clients).start()
    while len(server._memory.accepted[kind]) < count:
        network.deliver(network.queue.pop(0))
    return network


@either_mode
def test_a_second_survivor_set_is_a_failure(mode: Mode) -> None:
    """From the snapshot before the last input, without that party: claimed, so it fails."""
    params, ledger = four(mode), MemoryLedger()
    server = Server(params.round(CONTEXT, SESSION), directory_for(params), ledger)
    network = until(server, MessageType.MASKED_INPUT, 3)
    stored = server.snapshot(KEY)
    network.run()
    assert network.exact()
    other = resumed_server(stored, server)
    events = other.deadline(Phase.MASKED_INPUT)
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert failed.code is Code.ROLLED_BACK
    assert not any(isinstance(event, Send) for event in events)
    assert other.state is ServerState.FAILED


def test_a_resumed_server_knows_the_keys_that_it_has_seen() -> None:
    """Party 1 advertises the keys of party 0, which sent them before the server was stored."""
    params = four(Mode.SEMI_HONEST)
    server = Server(params.round(CONTEXT, SESSION), None, MemoryLedger())
    server.start()
    message = new_client(server.round, 0, MemoryLedger()).start()
    server.receive(0, message)
    (dropped,) = resumed_server(server.snapshot(KEY), server).receive(1, message)
    assert isinstance(dropped, secagg.Dropped)
    assert (dropped.party, dropped.code) == (1, Code.DUPLICATE_KEY)


@either_mode
def test_a_server_is_not_resumed_without_a_ledger(mode: Mode) -> None:
    """It could not know of the survivor set that was sent before."""
    params = four(mode)
    server = Server(params.round(CONTEXT, SESSION), directory_for(params), MemoryLedger())
    server.start()
    with pytest.raises(ParameterError):
        Server.resume(server.snapshot(KEY), KEY, None, directory_for(params))  # type: ignore[arg-type]


@either_mode
def test_a_ledger_that_fails_at_the_survivor_set(mode: Mode) -> None:
    """The error leaves `receive`; nothing was sent, nothing is lost, and the deadline goes on."""
    params = four(mode)
    for late in (False, True):
        server = Server(
            params.round(CONTEXT, SESSION), directory_for(params), FailingLedger(Once.SURVIVOR_SET)
        )
        network = until(server, MessageType.MASKED_INPUT, 3)
        last = next(one for one in network.queue if one.sender == 3)
        network.queue.remove(last)
        ask = partial(server.deadline, Phase.MASKED_INPUT)
        with refused(StateError, Code.LEDGER):
            (ask if late else partial(server.receive, 3, last.payload))()
        assert server.state is ServerState.MASKED_INPUT
        assert network.survivor_sets == set()
        with pytest.raises(StateError):
            ask()
        again = resumed_server(server.snapshot(KEY), server, MemoryLedger())
        network.server = again
        network.take_events(again.deadline(Phase.MASKED_INPUT))
        assert one_survivor_set(network.run())
        assert network.result is not None
        assert network.result.survivors == ((0, 1, 2) if late else (0, 1, 2, 3))


@either_mode
def test_drops_are_told_though_the_ledger_failed(mode: Mode) -> None:
    """Whoever was dropped in the call that raised is named by the next one."""
    params = four(mode)
    ledger = FailingLedger(Once.SURVIVOR_SET)
    server = Server(params.round(CONTEXT, SESSION), directory_for(params), ledger)
    network = until(server, MessageType.MASKED_INPUT, 3)
    network.queue = [one for one in network.queue if one.sender != 3]
    with pytest.raises(StateError):
        server.deadline(Phase.MASKED_INPUT)
    ledger.what = Once.RESUMPTION  # the disk has room again
    first, *others = server.deadline(Phase.MASKED_INPUT)
    assert isinstance(first, secagg.Dropped)
    assert (first.party, first.code) == (3, Code.TIMEOUT)
    assert {event.to for event in others if isinstance(event, Send)} == {0, 1, 2}
    assert not any(isinstance(event, secagg.Dropped) for event in others)


# ---- servers: what a snapshot is ----------------------------------------------------------


@either_mode
def test_when_there_is_nothing_to_store(mode: Mode) -> None:
    """Before the first phase, after the last one, and without a ledger."""
    params = four(mode)
    agreed = params.round(CONTEXT, SESSION)

    def stores_nothing(server: Server, code: Code) -> None:
        before = state_of(server)
        with refused(LocalProtocolError, code):
            server.snapshot(KEY)
        assert state_of(server) == before

    server = Server(agreed, directory_for(params), MemoryLedger())
    stores_nothing(server, Code.OUT_OF_ORDER)
    network = until(server, MessageType.UNMASK, 3)
    (last,) = [one for one in network.queue if one.payload[3] == MessageType.UNMASK]
    for key in (KEY[1:], b"", None, KEY.hex()):
        with refused(ParameterError, Code.ARGUMENT):
            server.snapshot(key)  # type: ignore[arg-type]
    jobs = server.receive(last.sender, last.payload)
    stores_nothing(server, Code.OUT_OF_ORDER)
    network.take_events(jobs)
    stores_nothing(server, Code.OUT_OF_ORDER)
    other = Server(agreed, directory_for(params), MemoryLedger())
    other.start()
    other.deadline(Phase.ADVERTISE_KEYS)
    stores_nothing(other, Code.OUT_OF_ORDER)
    without = Server(agreed, directory_for(params))
    without.start()
    stores_nothing(without, Code.NO_LEDGER)


@either_mode
def test_a_snapshot_is_a_whole_server(mode: Mode) -> None:
    """Status, counters and dropped parties are the same at every boundary, and stay so."""
    params = four(mode)
    server = restarting_server(params, restarts_from=lambda call: None)
    statuses = []
    true = server.server.snapshot

    def snapshot(key: bytes) -> bytes:
        statuses.append((server.server.status, dict(server.server._memory.dropped)))
        return true(key)

    server.server.snapshot = snapshot  # type: ignore[method-assign]
    network = network_of(params, server, {3: Phase.SHARE_KEYS}).start().run()
    assert network.exact()
    assert {status.phase for status, _ in statuses} == set(mode.phases)
    for stored, (status, dropped) in zip(server.snapshots, statuses, strict=True):
        again = resumed_server(stored, server)
        assert again.status == status
        assert again._memory.dropped == dropped
        first, second = again.resend(), again.resend()
        assert first == second
        assert [event.to for event in first if isinstance(event, Send)] == list(status.awaited)
        if dropped:
            with refused(RemoteProtocolError, Code.DROPPED):
                again.receive(3, network.log[0].payload[:3] + b"\2" + SESSION)
    assert statuses[-1][1] == {3: Dropped(3, "no share keys in time", Code.TIMEOUT)}


@either_mode
def test_a_snapshot_that_was_altered_or_is_not_ours(mode: Mode) -> None:
    """Each byte, another key, another directory: a typed error."""
    params, ledger = four(mode), MemoryLedger()
    server = Server(params.round(CONTEXT, SESSION), directory_for(params), ledger)
    server.start()
    stored = server.snapshot(KEY)
    for place in range(len(stored)):
        altered = bytearray(stored)
        altered[place] ^= 1 << place % 8
        with pytest.raises(StateError):
            resumed_server(bytes(altered), server)
    with refused(StateError, Code.WRONG_KEY):
        Server.resume(stored, bytes(32), ledger, directory_for(params))
    with refused(ParameterError, Code.ARGUMENT):
        Server.resume(stored, KEY[1:], ledger, directory_for(params))
    with pytest.raises(ParameterError):
        Server.resume(stored, KEY, ledger, directory_of(5 if mode is Mode.MALICIOUS else 4))
    with refused(StateError, Code.VERSION):
        Server.resume(b"secagg server\1" + stored[14:], KEY, ledger, directory_for(params))
    assert resumed_server(stored, server).status == server.status


@either_mode
@pytest.mark.parametrize("drops", [{}, {4: Phase.MASKED_INPUT}], ids=["all", "one vanishes"])
def test_a_snapshot_holds_no_key_and_no_input(mode: Mode, drops: Drops) -> None:
    """Opened with its key: no plain input, seed, mask key or channel key, at any boundary."""
    params = integers(5, 24, threshold=4, mode=mode)
    server = restarting_server(params, restarts_from=lambda call: None)
    secrets: set[bytes] = set()
    true = Secret.__init__

    def recorded(self: Secret, data: bytes) -> None:
        true(self, data)
        secrets.add(bytes(data))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Secret, "__init__", recorded)
        network = network_of(params, server, drops).start().run()
    assert network.exact()
    field = Field(params.field_bits)
    inputs = [input_of(party, 24) for party in range(5)]
    plain_inputs = [field.pack((one + 1000).astype(field.dtype)) for one in inputs]
    plain_inputs += [one.astype(kind).tobytes() for one in inputs for kind in ("<i8", "<i4")]
    secrets -= {b""}
    assert len(secrets) == 5 * 4 + 5 + 10 + 20, "seeds and keys, self masks, pairs, channels"
    bodies = [layouts._SERVER.open(KEY, stored)[1]._data for stored in server.snapshots]
    assert not any(secret[:16] in body for secret in secrets for body in bodies)
    assert not any(plain_input in body for plain_input in plain_inputs for body in bodies)
    sent = [one.payload[20:40] for one in network.log if one.receiver == SERVER]
    assert any(piece in body for piece in sent for body in bodies), "the search can succeed"


# ---- everybody ----------------------------------------------------------------------------


@settings(max_examples=amount("restarts of both sides"))
@given(st.sampled_from(MODES), st.integers(4, 5), st.integers(0, 2**32), st.booleans())
def test_everybody_is_mortal(mode: Mode, cohort: int, dice: int, sent: bool) -> None:
    """Stored, killed and rolled back at random: an exact sum or a clean failure, one set."""
    chance = Random(dice)
    params = integers(cohort, mode=mode)

    def restarts_from(call: int) -> int | None:
        if chance.random() > 0.15 or call > 60:
            return None
        return -1 - int(chance.random() < 0.3) * chance.randrange(min(call + 1, 3))

    def special(party: int) -> dict[str, object] | None:
        if chance.random() < 0.2:
            return None
        restarts = {at: chance.randrange(3) for at in range(8)}
        killed_at = chance.randrange(1, 7) if chance.random() < 0.15 else -1
        restarts[killed_at - 1] = 1
        return {
            "restarts": restarts.get,
            "killed_at": killed_at,
            "killed_before_sending": chance.random() < 0.5,
        }

    server = RestartingServer(params.round(CONTEXT, SESSION), MemoryLedger(), restarts_from, sent)
    drops = {p: chance.choice(STEPS) for p in range(cohort) if chance.random() < 0.1}
    network = network_of(params, server, drops, special).start()
    network.run(chance.randrange)
    one_survivor_set(network)
