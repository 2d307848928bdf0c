"""The tables are the protocol: what a state does not list is refused and changes nothing."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from harness import (
    MODES,
    SESSION,
    Network,
    client_of,
    clone,
    input_of,
    integers,
    server_of,
    state_of,
)
from pairwise.attacks import started_network
from refusals import refused

import secagg
from secagg import SERVER, Client, Code, Mode, Params, Phase, Server
from secagg.machine.tables import Call, diagram
from secagg.machine.wire import MAGIC, VERSION, MessageType
from secagg.pairwise import transitions
from secagg.pairwise.transitions import PHASES, ClientState, ServerState

ROOT = Path(__file__).resolve().parents[2]
PARAMS: dict[Mode, Params] = {mode: integers(4, threshold=3, mode=mode) for mode in MODES}
SPARSE = integers(4, threshold=2, min_survivors=4, colluders=0, degree=2)

CLIENTS = transitions.CLIENT
SERVERS = transitions.SERVER
CLIENT_STATES = [(mode, state) for mode in MODES for state in CLIENTS[mode]]
SERVER_STATES = [(mode, state) for mode in MODES for state in SERVERS[mode]]


Recording = tuple[
    dict[ClientState, Client], dict[ServerState, Server], list[tuple[int, int, bytes]]
]


def recorded(mode: Mode) -> Recording:
    """The recording of a round in this mode."""
    return recording(PARAMS[mode])


@cache
def recording(params: Params) -> Recording:
    """A client and a server in every state, and every message (sender, receiver, bytes) of a run.

    The client is party 0; the messages are those to and from it.
    """
    agreed = params.round(bytes(range(32, 64)), SESSION)
    created = client_of(agreed, 0)
    clients = {ClientState.CREATED: created}
    servers = {ServerState.CREATED: server_of(agreed)}
    messages = []
    network = started_network(params)

    def note() -> None:
        for client in network.clients.values():
            if client.index == 0:
                clients.setdefault(client.state, clone(client))
        servers.setdefault(network.server.state, clone(network.server))

    note()
    held: list[object] = []
    true = network.take_events

    def said(events: list[object]) -> None:
        work = [event for event in events if isinstance(event, secagg.Work)]
        held.extend(work)
        true([event for event in events if not isinstance(event, secagg.Work)])

    network.take_events = said  # type: ignore[method-assign, assignment]
    while network.queue:
        message = network.queue.pop(0)
        messages.append((message.sender, message.receiver, message.payload))
        if message.receiver == 0 and message.payload[3] == MessageType.DELIVERY:
            asked = clone(network.clients[0])
            asked.receive(message.payload)
            clients[asked.state] = asked
        network.deliver(message)
        note()
    for event in held:
        true(network.server.complete(event.job, event.job.run()))  # type: ignore[attr-defined]
    note()
    aborted = clone(clients[ClientState.AWAITING_ROSTER])
    other = clone(clients[ClientState.AWAITING_ROSTER])
    roster = next(payload for _, to, payload in messages if to == 0 and payload[3] == 0x11)
    entry = 53 if params.degree else 21
    with pytest.raises(secagg.Aborted):
        aborted.receive(roster[:entry] + other._memory.keys.mask + roster[entry + 32 :])
    clients[ClientState.ABORTED] = aborted
    suspended = clone(clients[ClientState.AWAITING_ROSTER])
    suspended.suspend(bytes(32))
    clients[ClientState.SUSPENDED] = suspended
    withdrawn = clone(clients[ClientState.AWAITING_INPUT])
    withdrawn.withdraw()
    clients[ClientState.WITHDRAWN] = withdrawn
    failed = clone(servers[ServerState.ADVERTISE_KEYS])
    failed.deadline(Phase.ADVERTISE_KEYS)
    servers[ServerState.FAILED] = failed
    return clients, servers, messages


@pytest.mark.parametrize("mode", MODES)
def test_every_state_is_reached_and_final_states_are_empty(mode: Mode) -> None:
    """The recordings below cover the tables; every row leads somewhere but the final ones."""
    clients, servers, _ = recorded(mode)
    assert clients.keys() == CLIENTS[mode].keys()
    assert servers.keys() == SERVERS[mode].keys()
    assert all(machine.state is state for state, machine in clients.items())
    assert all(machine.state is state for state, machine in servers.items())
    assert [state for state, row in CLIENTS[mode].items() if not row] == [
        ClientState.ABORTED,
        ClientState.SUSPENDED,
        ClientState.WITHDRAWN,
    ]
    assert [state for state, row in SERVERS[mode].items() if not row] == [
        ServerState.COMPLETED,
        ServerState.FAILED,
    ]
    for table in (CLIENTS[mode], SERVERS[mode]):
        targets = {target for row in table.values() for target in row.values()}
        assert set(table) - targets == {next(iter(table))}, "an unreachable state"


def of_kind(kind: int) -> bytes:
    """A message with this type byte."""
    return MAGIC + bytes([VERSION, kind]) + SESSION + bytes(range(65))


@pytest.mark.parametrize(("mode", "state"), CLIENT_STATES, ids=str)
def test_client_refuses_every_type_that_its_state_does_not_list(
    mode: Mode, state: ClientState
) -> None:
    """All 256 type bytes, on any body."""
    client = recorded(mode)[0][state]
    before = state_of(client)
    for kind in range(256):
        with pytest.raises(secagg.RemoteProtocolError) as caught:
            client.receive(of_kind(kind))
        assert caught.value.party == SERVER
        listed = any(isinstance(one, MessageType) and one == kind for one in CLIENTS[mode][state])
        assert isinstance(caught.value, secagg.DecodeError) is listed
        assert state_of(client) == before


@pytest.mark.parametrize(("mode", "state"), SERVER_STATES, ids=str)
def test_server_refuses_every_type_that_its_state_does_not_list(
    mode: Mode, state: ServerState
) -> None:
    """All 256 type bytes, on any body, from each party."""
    server = recorded(mode)[1][state]
    before = state_of(server)
    for kind in range(256):
        for party in range(PARAMS[mode].cohort):
            with pytest.raises(secagg.RemoteProtocolError) as caught:
                server.receive(party, of_kind(kind))
            assert caught.value.party == party
            assert state_of(server) == before


@pytest.mark.parametrize(("mode", "state"), CLIENT_STATES, ids=str)
def test_client_takes_true_messages_in_their_state_only(mode: Mode, state: ClientState) -> None:
    """Every message to party 0, in every state: taken, ignored as a repeat, or refused."""
    clients, _, messages = recorded(mode)
    taken = []
    for _, _, payload in (one for one in messages if one[1] == 0):
        client = clone(clients[state])
        before = state_of(client)
        kind = MessageType(payload[3])
        try:
            events = client.receive(payload)
        except secagg.RemoteProtocolError:
            assert state_of(client) == before
            assert kind not in CLIENTS[mode][state]
            continue
        if kind in clients[state]._memory.accepted:
            again = kind == client._memory.latest and client._memory.last_reply
            assert [event.payload for event in events] == ([again] if again else [])
            assert state_of(client) == before
        else:
            assert client.state is CLIENTS[mode][state][kind]
            taken.append(kind)
    assert taken == [kind for kind in CLIENTS[mode][state] if isinstance(kind, MessageType)]


@pytest.mark.parametrize(("mode", "state"), SERVER_STATES, ids=str)
def test_server_takes_true_messages_in_their_state_only(mode: Mode, state: ServerState) -> None:
    """Every message of every party, in every state."""
    _, servers, messages = recorded(mode)
    taken = set()
    for sender, _, payload in (one for one in messages if one[1] == SERVER):
        server = clone(servers[state])
        before = state_of(server)
        kind = MessageType(payload[3])
        repeat = sender in server._memory.accepted[kind]
        try:
            server.receive(sender, payload)
        except secagg.RemoteProtocolError:
            assert state_of(server) == before
            assert kind not in SERVERS[mode][state]
            continue
        assert (state_of(server) == before) is repeat
        if not repeat:
            taken.add(kind)
    assert taken == {kind for kind in SERVERS[mode][state] if isinstance(kind, MessageType)}


@pytest.mark.parametrize(("mode", "state"), CLIENT_STATES, ids=str)
def test_client_refuses_calls_that_its_state_does_not_list(mode: Mode, state: ClientState) -> None:
    """start(), submit(), withdraw() and suspend()."""
    calls: dict[Call, Callable[[Client], object]] = {
        Call.START: lambda client: client.start(),
        Call.SUBMIT: lambda client: client.submit(input_of(0)),
        Call.WITHDRAW: lambda client: client.withdraw(),
        Call.SUSPEND: lambda client: client.suspend(bytes(32)),
    }
    for cause, call in calls.items():
        client = clone(recorded(mode)[0][state])
        before = state_of(client)
        if cause in CLIENTS[mode][state]:
            call(client)
            assert client.state is CLIENTS[mode][state][cause]
            continue
        with refused(secagg.LocalProtocolError, Code.OUT_OF_ORDER):
            call(client)
        assert state_of(client) == before


@pytest.mark.parametrize(("mode", "state"), SERVER_STATES, ids=str)
def test_server_refuses_calls_that_its_state_does_not_list(mode: Mode, state: ServerState) -> None:
    """start(); a deadline of another phase does nothing."""
    server = clone(recorded(mode)[1][state])
    before = state_of(server)
    for phase in Phase:
        if PHASES.get(state) is not phase:
            assert server.deadline(phase) == []
    assert state_of(server) == before
    if Call.START in SERVERS[mode][state]:
        server.start()
        assert server.state is SERVERS[mode][state][Call.START]
        return
    with refused(secagg.LocalProtocolError, Code.OUT_OF_ORDER):
        server.start()
    assert state_of(server) == before


EVERY_INPUT: list[transitions.Input] = [*MessageType, *Call]


@pytest.mark.parametrize("mode", MODES)
def test_every_pair_outside_of_the_tables_is_refused_by_the_step_itself(mode: Mode) -> None:
    """All (state, input) pairs at the one function that moves each machine."""
    clients, servers, _ = recorded(mode)
    refused = 0
    for cause in EVERY_INPUT:
        for client in map(clone, clients.values()):
            row = CLIENTS[mode][client.state]
            before = state_of(client)
            if cause in row:
                client._advance(cause)
                assert client.state is row[cause]
                continue
            with pytest.raises(secagg.LocalProtocolError):
                client._advance(cause)
            assert state_of(client) == before
            refused += 1
        for server in map(clone, servers.values()):
            row_of_server = SERVERS[mode][server.state]
            before = state_of(server)
            if cause in row_of_server:
                server._advance(cause)
                assert server.state is row_of_server[cause]
                continue
            with pytest.raises(secagg.LocalProtocolError):
                server._advance(cause)
            assert state_of(server) == before
            refused += 1
    listed = sum(len(row) for table in (CLIENTS[mode], SERVERS[mode]) for row in table.values())
    pairs = len(EVERY_INPUT) * (len(CLIENTS[mode]) + len(SERVERS[mode]))
    assert refused == pairs - listed


@pytest.mark.parametrize("mode", MODES)
def test_phases_are_the_states_that_await_messages(mode: Mode) -> None:
    """`PHASES` and the tables agree, so that a deadline always has somewhere to go."""
    awaiting = {
        state
        for state, row in SERVERS[mode].items()
        if any(isinstance(cause, MessageType) for cause in row)
    }
    skipped = {ServerState.CONSISTENCY} if mode is Mode.SEMI_HONEST else set()
    assert set(PHASES) - skipped == awaiting
    for state in awaiting:
        assert {Call.PHASE_OVER, Call.FAIL} <= set(SERVERS[mode][state])
    assert [phase for state, phase in PHASES.items() if state in awaiting] == [*mode.phases]


def test_the_drawing_is_the_tables() -> None:
    """`docs/STATES.md` is what `python -m secagg.pairwise.transitions` prints."""
    assert (ROOT / "docs" / "STATES.md").read_text() == transitions.document()


@pytest.mark.parametrize("mode", MODES)
def test_the_drawing_has_every_transition(mode: Mode) -> None:
    """One arrow for each entry of a table, and an end for each final state."""
    for rows, drawing in (
        ([*CLIENTS[mode].values()], diagram(CLIENTS[mode])),
        ([*SERVERS[mode].values()], diagram(SERVERS[mode])),
    ):
        arrows = sum(max(len(row), 1) for row in rows)
        assert len(drawing.splitlines()) == 2 + arrows
        assert drawing.count("-->") == 1 + arrows


@pytest.mark.parametrize("mode", MODES)
def test_network_is_what_these_batteries_think(mode: Mode) -> None:
    """A recording with no refusal and no abort."""
    network: Network = started_network(PARAMS[mode]).run()
    assert network.refusals == []
    assert network.aborts == {}
