"""Clients that are stored, killed and resumed: the round is the one without it.

Nothing is computed anew, no stored client lives twice, and whatever is lost costs at most a party,
or the round; never a second answer, and never another sum.
"""

import dataclasses
import hashlib
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import children
import numpy as np
import pytest
from harness import (
    CONTEXT,
    MODES,
    SESSION,
    WILLING,
    SteppedRound,
    client_of,
    clone,
    directory_of,
    identity_of,
    input_of,
    secrets_of,
    seeded,
    state_of,
)
from pairwise.attacks import Liar
from pairwise.restarts import (
    BOUNDARIES,
    KEY,
    Drops,
    FailingLedger,
    RestartingClient,
    any_dropout,
    directory_for,
    either_mode,
    four,
    network_of,
    new_client,
    resumed_client,
    resumed_server,
    uninterrupted_round,
)
from pairwise.stored import twins
from refusals import refused

import secagg
from secagg import (
    Aborted,
    Client,
    ClippingWarning,
    Code,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    Once,
    ParameterError,
    Params,
    Phase,
    Policy,
    RemoteProtocolError,
    Send,
    Server,
    SqliteLedger,
    StateError,
)
from secagg.arithmetic.field import Field
from secagg.machine.sealing import Sealer
from secagg.machine.wire import MessageType
from secagg.pairwise import stored as layouts
from secagg.pairwise.memory import ClientMemory, ServerMemory
from secagg.pairwise.transitions import CLIENT, ClientState, ServerState

# ---- clients: the same round --------------------------------------------------------------

RESTARTS: dict[str, dict[str, object]] = {
    "at every boundary": {},
    "twice in a row": {"restarts": lambda boundary: 2},
    "killed before each message left": {"killed_before_sending": True},
    "asked again after each": {"request_repeated": True},
    "without its replies": {
        "killed_before_sending": True,
        "request_repeated": True,
        "keep_last": False,
    },
}
for _one in range(7):
    RESTARTS[f"at boundary {_one}"] = {
        "restarts": lambda boundary, one=_one: int(boundary == one),
        "killed_before_sending": True,
        "request_repeated": True,
    }


@either_mode
@any_dropout
@pytest.mark.parametrize("restarts", RESTARTS.values(), ids=RESTARTS)
def test_a_stored_client_says_the_same(
    mode: Mode, drops: Drops, restarts: dict[str, object]
) -> None:
    """Byte for byte every message of the round, in order, and the sum; and it all happened."""
    whole = uninterrupted_round(mode, drops)
    network = network_of(four(mode), None, drops, lambda party: restarts).start().run()
    assert network.log == whole.log
    assert network.result is not None
    assert network.exact()
    first = network.clients[0]
    assert isinstance(first, RestartingClient)
    assert first.boundary == BOUNDARIES[mode]
    assert first.client.state is ClientState.FINISHED
    assert secrets_of(first.client) == []


@either_mode
@pytest.mark.parametrize("boundary", range(1, 7))
@pytest.mark.parametrize("party", [0, 3])
def test_a_client_that_dies_before_it_was_stored_is_a_dropout(
    mode: Mode, boundary: int, party: int
) -> None:
    """The state from before was resumed already, and is refused: no second answer is made.

    The others go on without it, with the sum that a silent party leaves.
    """
    network = network_of(
        four(mode), restarting=lambda one: {"killed_at": boundary} if one == party else None
    )
    network.start().run()
    dead = network.clients[party]
    assert isinstance(dead, RestartingClient)
    assert dead.killed == (boundary < BOUNDARIES[mode])
    assert network.exact()
    assert network.result is not None
    contributed = any(
        one.sender == party and one.payload[3] == MessageType.MASKED_INPUT for one in network.log
    )
    assert contributed == (boundary > 4)
    assert (party in network.result.survivors) == contributed


@either_mode
def test_clients_that_die_are_at_worst_the_end_of_the_round(mode: Mode) -> None:
    """Two of four are too many: a clean failure, and nobody learns a sum."""
    for boundary in range(1, 5):
        network = network_of(
            four(mode),
            restarting=lambda one, at=boundary: {"killed_at": at} if one in (1, 2) else None,
        )
        network.start().run()
        assert network.result is None
        assert network.failure is not None
        phase = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT)[min(boundary, 3) - 1]
        assert (network.failure.code, network.last_phase) == (Code.QUORUM, phase)


# ---- clients: once ------------------------------------------------------------------------


def staged(
    mode: Mode, boundary: int, policy: Policy = WILLING, min_survivors: int = 0
) -> tuple[Liar, Client]:
    """Party 0 at a boundary, and the server that led it there."""
    liar = Liar(four(mode, min_survivors=min_survivors), policy)
    if boundary < 2:
        client = new_client(liar.round, 0, MemoryLedger(), seeded("new"), policy)
        if boundary:
            client.start()
        liar.clients[0] = client
        return liar, client
    liar.share()
    client = liar.clients[0]
    if boundary > 2:
        client.receive(liar.delivery(0, liar.everybody))
    if boundary > 3:
        liar.submit(0)
    if boundary > 4:
        client.receive(liar.survivors(liar.everybody))
    if boundary > 5:
        signatures = {}
        for peer in (1, 2, 3):
            liar.deliver(liar.everybody, [peer])
            signatures[peer] = liar.sign(peer, liar.everybody)
        client.receive(liar.signatures(signatures))  # type: ignore[arg-type]
    return liar, client


STAGED = [(mode, boundary) for mode in MODES for boundary in range(BOUNDARIES[mode])]
at_every_boundary = pytest.mark.parametrize(("mode", "boundary"), STAGED, ids=str)


@at_every_boundary
def test_a_suspended_client_is_of_no_more_use(mode: Mode, boundary: int) -> None:
    """It holds no secrets, and every method refuses or gives nothing, whatever its state was."""
    liar, client = staged(mode, boundary)
    said = [event.payload for event in client.resend() if isinstance(event, Send)]
    client.suspend(KEY)
    assert client.state is ClientState.SUSPENDED
    assert secrets_of(client) == []
    assert client.resend() == []
    before = state_of(client)
    for call in (client.start, lambda: client.submit(input_of(0)), lambda: client.suspend(KEY)):
        with refused(LocalProtocolError, Code.OUT_OF_ORDER):
            call()
    messages = [liar.roster(), liar.survivors(range(4)), liar.survivors(range(3))]
    if liar.shared:
        messages.append(liar.delivery(0, range(4)))
    for message in messages:
        try:
            assert client.receive(message) == []
        except RemoteProtocolError:
            continue
    client.wipe()
    assert client.state is ClientState.SUSPENDED
    assert state_of(client) == before
    assert not any(payload in repr(before).encode() for payload in said)


@at_every_boundary
def test_what_is_resumed_is_what_was_suspended(mode: Mode, boundary: int) -> None:
    """Everything that a client remembers, and what it would say; then the round goes on."""
    _, client = staged(mode, boundary)
    before, said = remembered(client), client.resend()
    again = resumed_client(client.suspend(KEY), client, MemoryLedger(), seeded("again"))
    assert remembered(again) == before != remembered(client)
    assert again.resend() == said
    assert again.clipped == 0
    assert (again.session, again.context) == (client.round.session, client.round.context)


def remembered(client: Client) -> object:
    """All of its memory, by content."""
    return state_of(SimpleNamespace(memory=client._memory))  # type: ignore[arg-type]


@either_mode
def test_without_its_last_reply_a_stored_client_is_small(mode: Mode) -> None:
    """In every state, however long the input is: no masked vector lies anywhere."""
    form = secagg.Integers(-200_000, 200_000)
    stepped = SteppedRound(Params(4, 20_000, form, threshold=3, mode=mode))
    messages, seen = stepped.advertise(), {ClientState.CREATED}

    def small(client: Client, reply: bytes) -> bool:
        seen.add(client.state)
        whole = clone(client).suspend(KEY)
        stored = clone(client).suspend(KEY, keep_last=False)
        body = layouts._CLIENT.open(KEY, stored)[1]._data
        parts = [reply[at : at + 16] for at in range(1000, len(reply) - 16, 1000)]
        assert len(stored) == len(whole) - len(reply)
        assert not any(part in body for part in parts)
        assert all(part in layouts._CLIENT.open(KEY, whole)[1]._data for part in parts)
        return len(stored) < 2000

    assert small(client_of(stepped.round, 0), b"")
    while messages:
        assert small(stepped.clients[0], messages[0])
        before = clone(stepped.clients[0])
        stepped.to_server(messages)
        if stepped.server.phase is Phase.MASKED_INPUT:
            before.receive(stepped.outbox[0])
            assert small(before, b"")
        messages = stepped.answers() if stepped.server.phase is not None else {}
    assert seen == {state for state, row in CLIENT[mode].items() if row}


@either_mode
def test_a_reply_that_was_not_stored_is_lost(mode: Mode) -> None:
    """The client has used its masks and makes no other: the sum is that of the others."""
    stepped = SteppedRound(four(mode))
    messages = stepped.until(Phase.MASKED_INPUT)
    stored = stepped.clients[3].suspend(KEY, keep_last=False)
    client = resumed_client(stored, stepped.clients[3], MemoryLedger(), seeded("again"))
    assert client.state is ClientState.AWAITING_SURVIVORS
    assert client.resend() == client.receive(stepped.outbox[3]) == []
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        client.submit(input_of(3))
    (again,) = stepped.server.resend(3)
    assert isinstance(again, Send)
    assert client.receive(again.payload) == []
    stepped.clients[3] = client
    del messages[3]
    assert stepped.finish(messages).result is not None
    assert stepped.result is not None
    assert stepped.result.survivors == (0, 1, 2)


@either_mode
def test_an_aborted_client_is_not_stored(mode: Mode) -> None:
    """Aborted by a message, or given up."""
    liar, client = staged(mode, 2)
    with pytest.raises(Aborted):
        client.receive(liar.delivery(0, [0]))
    other = staged(mode, 4)[1]
    other.wipe()
    for gone in (client, other):
        with refused(LocalProtocolError, Code.OUT_OF_ORDER):
            gone.suspend(KEY)


@at_every_boundary
def test_a_stored_client_lives_once(mode: Mode, boundary: int) -> None:
    """A second resumption is refused, before and after the first one is stored again."""
    _, client = staged(mode, boundary)
    ledger = client._ledger or MemoryLedger()
    stored = client.suspend(KEY)
    again = resumed_client(stored, client, ledger, seeded("again"))
    for _ in range(2):
        with refused(StateError, Code.REPEATED_RESUMPTION):
            resumed_client(stored, client, ledger, seeded("again"))
        again = resumed_client(again.suspend(KEY), client, ledger, seeded("again"))


def test_another_process_knows_of_the_resumption(tmp_path: Path) -> None:
    """By the file: first there, then here refused, and the other way round."""
    script = (
        "import sys\nfrom secagg import Client, SecAggError, SqliteLedger\n"
        "ledger, key = SqliteLedger(sys.argv[1]), bytes.fromhex(sys.argv[2])\n"
        "for stored in map(bytes.fromhex, sys.argv[3:]):\n"
        "    try:\n        print(Client.resume(stored, key, ledger))\n"
        "    except SecAggError as error:\n        print(error.code)\n"
    )
    path = tmp_path / "ledger"
    ledger = SqliteLedger(path)
    _, client = staged(Mode.SEMI_HONEST, 4)
    first, second = client.suspend(KEY), staged(Mode.SEMI_HONEST, 4)[1].suspend(KEY)
    resumed_client(second, client, ledger, seeded("again"))
    ran = children.run(
        [sys.executable, "-c", script, path, *(each.hex() for each in (KEY, first, second))]
    )
    there = ["<secagg.Client 0 of 4: awaiting survivors>", Code.REPEATED_RESUMPTION]
    assert ran.stdout.splitlines() == there, ran.stderr
    with refused(StateError, Code.REPEATED_RESUMPTION):
        resumed_client(first, client, ledger, seeded("again"))


@either_mode
def test_nothing_is_computed_anew(mode: Mode) -> None:
    """A resumed client submits once, and answers one survivor set."""
    ledger = MemoryLedger()
    liar, client = staged(mode, 4)
    client = resumed_client(client.suspend(KEY), client, ledger, seeded("again"))
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        client.submit(input_of(1))
    said = client.receive(liar.survivors(range(4)))
    client = resumed_client(client.suspend(KEY), client, ledger, seeded("again"))
    for members in ((0, 1, 2), (0, 2, 3)):
        with refused(RemoteProtocolError, Code.OUT_OF_ORDER):
            client.receive(liar.survivors(members))
    again = client.receive(liar.survivors(range(4)))
    assert again == [event for event in said if isinstance(event, Send)]


@either_mode
@pytest.mark.parametrize("boundary", [1, 2, 3, 4])
def test_the_quorum_holds_afterwards(mode: Mode, boundary: int) -> None:
    """A round that wants four survivors: three are refused, at the next set that it is told of."""
    liar, client = staged(mode, boundary, min_survivors=4)
    liar.clients[0] = resumed_client(client.suspend(KEY), client, MemoryLedger(), seeded("again"))
    if boundary == 1:
        liar.entries[0] = client._memory.keys
        message = liar.roster({party: liar.entries[party] for party in (0, 1, 2)})
    elif boundary == 2:
        message = liar.delivery(0, (0, 1, 2))
    else:
        if boundary == 3:
            liar.submit(0)
        message = liar.survivors((0, 1, 2))
    with refused(Aborted, Code.QUORUM):
        liar.clients[0].receive(message)


@either_mode
def test_clipped_values_are_remembered(mode: Mode) -> None:
    """After the input they are the only trace of it."""
    params = Params(4, 4, secagg.FixedPoint(clip=1.0), threshold=3, mode=mode)
    stepped = SteppedRound(params)
    stepped.to_server(stepped.advertise())
    stepped.to_server(stepped.answers())
    client = stepped.clients[0]
    client.receive(stepped.outbox[0])
    with pytest.warns(ClippingWarning):
        client.submit(np.array([3.0, -5.0, 0.5, 0.0]))
    assert client.clipped == 2
    again = resumed_client(client.suspend(KEY), client, MemoryLedger(), seeded("again"))
    assert again.clipped == client.clipped == 2


def test_a_ledger_that_is_rolled_back_is_the_limit() -> None:
    """Two incarnations of one state can be made to answer two sets, and that costs an input.

    Nothing in the stored bytes can prevent it: the ledger must be out of what is rolled back.
    """
    assert twins(lambda ledger: MemoryLedger()) == "recovered the input"
    assert twins(lambda ledger: ledger) == ""


# ---- clients: what is not their stored state ----------------------------------------------


def stored_client(mode: Mode) -> tuple[bytes, Client]:
    """After its input, with the most to lose."""
    _, client = staged(mode, 4)
    return client.suspend(KEY), client


def unusable(mode: Mode) -> Iterator[tuple[str, type[Exception], Callable[[bytes], object]]]:
    """Yields what is wrong, the error, and the attempt."""
    given: dict[str, object] = {}
    other = directory_of(4).entries
    swapped = secagg.Directory.of(
        (entry.name, other[{2: 3, 3: 2}.get(i, i)].verify_key) for i, entry in enumerate(other)
    )
    if mode is Mode.MALICIOUS:
        given = {"identity": identity_of(0), "directory": directory_of(4)}
    ledger = MemoryLedger()

    def attempt(
        stored: bytes, key: object = KEY, change: Callable[[bytes], object] = bytes, **more: object
    ) -> object:
        return Client.resume(change(stored), key, ledger, **{**given, **more})  # type: ignore[arg-type]

    server = Server(four(mode).round(CONTEXT, SESSION), directory_for(four(mode)), ledger)
    server.start()
    snapshot = server.snapshot(KEY)
    yield "another key", StateError, lambda stored: attempt(stored, bytes(32))
    for key in (KEY[1:], KEY + b"\0", b"", KEY.hex(), None, bytearray(KEY)):
        yield f"key {key!r}", ParameterError, lambda stored, key=key: attempt(stored, key)
    for size in (0, 1, 12, 13, 14, 45, 46, 60, 61, 62, -1):
        yield (
            f"{size} bytes of it",
            StateError,
            lambda stored, size=size: attempt(stored, change=lambda data: data[:size]),
        )
    for name, change in {
        "a byte more": lambda data: data + b"\0",
        "a snapshot": lambda data: snapshot,
        "a snapshot as a client": lambda data: data[:13] + snapshot[13:],
        "another layout": lambda data: data[:13] + b"\1" + data[14:],
        "no bytes": lambda data: data.hex(),
        "a bytearray": bytearray,
        "nothing": lambda data: None,
    }.items():
        yield name, StateError, lambda stored, change=change: attempt(stored, change=change)
    yield (
        "it, given to a server",
        StateError,
        lambda stored: Server.resume(stored, KEY, ledger, directory_for(four(mode))),
    )
    yield "its snapshot, given to a client", StateError, lambda stored: attempt(snapshot)
    if mode is Mode.SEMI_HONEST:
        for name, more in {
            "an identity": {"identity": identity_of(0)},
            "a directory": {"directory": directory_of(4)},
        }.items():
            yield name, ParameterError, lambda stored, more=more: attempt(stored, **more)
    else:
        for name, kind, more in (
            ("no identity", ParameterError, {"identity": None}),
            ("no directory", ParameterError, {"directory": None}),
            ("another identity", ParameterError, {"identity": identity_of(1)}),
            ("a larger directory", ParameterError, {"directory": directory_of(5)}),
            ("another directory", StateError, {"directory": swapped}),
        ):
            yield name, kind, lambda stored, more=more: attempt(stored, **more)
    yield "", Exception, attempt


@either_mode
def test_what_cannot_be_resumed_claims_nothing(mode: Mode) -> None:
    """A typed error each time; after all of them the right bytes are resumed all the same."""
    stored, _ = stored_client(mode)
    tried = 0
    for name, kind, attempt in unusable(mode):
        if not name:
            assert isinstance(attempt(stored), Client)
            break
        with pytest.raises(kind) as raised:
            attempt(stored)
        assert raised.type is kind, name
        tried += 1
    assert tried > 25


@either_mode
def test_a_ledger_that_fails_or_is_none_resumes_nobody(mode: Mode) -> None:
    """The stored state is as good as before; without a ledger there is no second life at all."""
    stored, client = stored_client(mode)
    with refused(StateError, Code.LEDGER):
        resumed_client(stored, client, FailingLedger(Once.RESUMPTION), seeded("again"))
    with pytest.raises(ParameterError):
        resumed_client(stored, client, None, seeded("again"))  # type: ignore[arg-type]
    resumed_client(stored, client, MemoryLedger(), seeded("again"))


@either_mode
def test_every_altered_byte_is_noticed(mode: Mode) -> None:
    """Each byte in turn, and none of the attempts claims anything."""
    stored, client = stored_client(mode)
    ledger = MemoryLedger()
    for place in range(len(stored)):
        altered = bytearray(stored)
        altered[place] ^= 1 << place % 8
        with pytest.raises(StateError):
            resumed_client(bytes(altered), client, ledger, seeded("again"))
    assert ledger._claims == {}
    resumed_client(stored, client, ledger, seeded("again"))


@at_every_boundary
def test_stored_bytes_show_nothing(mode: Mode, boundary: int) -> None:
    """Neither a secret nor the input, nor of which round it is; and no two are alike."""
    _, client = staged(mode, boundary)
    hidden = [*_known(client), client.round.session, client.round.context, client.round.encode()]
    vector = input_of(0).astype(np.int64)
    hidden += [vector.tobytes(), Field(client.round.params.field_bits).pack(_shifted(client))]
    hidden += [client._memory.keys.encode(), *client._memory.accepted.values()]
    hidden += [event.payload for event in client.resend() if isinstance(event, Send)]
    stored = client.suspend(KEY)
    assert stored.startswith(b"secagg client\x06")
    assert not any(piece[i : i + 12] in stored for piece in hidden for i in range(len(piece) - 11))
    assert KEY not in stored
    twin = staged(mode, boundary)[1].suspend(KEY)
    assert not any(twin[i : i + 8] in stored for i in range(14, len(twin) - 7))
    body = layouts._CLIENT.open(KEY, stored)[1]._data
    assert all(piece in body for piece in hidden[:3]), "the search can succeed"


def _shifted(client: Client) -> np.ndarray:
    params = client.round.params
    return (input_of(0) + 1000).astype(Field(params.field_bits).dtype)


def _known(client: Client) -> list[bytes]:
    """Every secret that a client holds, and its shares as they are stored."""
    memory = client._memory
    fixed = (memory.mask_seed, memory.self_seed, memory.channel_secret, memory.mask_secret)
    secrets = [one for one in (*fixed, *memory.inbound.values(), *memory.mask_keys) if one]
    rows = [struct.pack("<6Q", *row.tolist()) for row in memory.held.values()]
    return [secret.expose() for secret in secrets] + rows


@either_mode
def test_bytes_of_the_other_kind_are_named(mode: Mode) -> None:
    """A client's are not a server's: said before anything is opened or claimed."""
    stored, client = stored_client(mode)
    server = Server(client.round, directory_for(client.round.params), MemoryLedger())
    server.start()
    with refused(StateError, Code.FOREIGN_FILE):
        resumed_client(server.snapshot(KEY), client, MemoryLedger(), seeded("again"))
    with refused(StateError, Code.FOREIGN_FILE):
        resumed_server(stored, server)


def test_the_layout_of_stored_state_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever changes what is stored, or its order, counts the layout up and takes new digests.

    Otherwise another version would read old state as something else.
    """
    monkeypatch.setattr(Sealer, "seal", lambda self, key, body: body)
    stepped = SteppedRound(four(Mode.MALICIOUS))
    stepped.server._ledger = MemoryLedger()
    messages = stepped.until(Phase.UNMASK)
    stepped.to_server({0: messages[0]})
    bodies = stepped.clients[1].suspend(KEY), stepped.server.snapshot(KEY)
    assert [list(ClientState).index(ClientState.FINISHED), len(ClientState)] == [6, 10]
    assert [list(ServerState).index(ServerState.UNMASK), len(ServerState)] == [5, 9]
    digests = [hashlib.sha256(body).hexdigest()[:16] for body in bodies]
    versions = layouts._CLIENT.layout, layouts._SERVER.layout
    assert (*versions, *digests) == (6, 4, "5cb3f88c90153143", "b68a51cadffc80cc")


@either_mode
def test_every_attribute_is_stored(mode: Mode) -> None:
    """An attribute that no table names would be forgotten with its process."""
    params = four(mode)
    for table, memory in (
        (layouts._client_memory(params), ClientMemory),
        (layouts._server_memory(params), ServerMemory),
    ):
        assert sorted(table) == sorted(each.name for each in dataclasses.fields(memory))
