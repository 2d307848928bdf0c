"""Stored state under the right key with a wrong body: refused, or a machine that keeps its word.

Such a body comes from a bug, another version, or bad memory. What is resumed from it raises only
the errors that its methods document, and takes no more memory than the stored bytes suggest.
"""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from harness import CONTEXT, SESSION, identity_of, input_of
from levels import amount
from pairwise.restarts import (
    KEY,
    RecordingNetwork,
    RestartingServer,
    directory_for,
    four,
    network_of,
)
from pairwise.sparse import ten
from refusals import refused

from secagg import (
    SERVER,
    Client,
    Code,
    Dropped,
    MemoryLedger,
    Mode,
    ParameterError,
    Params,
    Phase,
    SecAggError,
    Server,
    StateError,
    Work,
)
from secagg.machine.sealing import Sealer
from secagg.machine.tables import Call
from secagg.machine.wire import PartySet, Reader
from secagg.pairwise import stored
from secagg.pairwise.messages import PublicKeys
from secagg.pairwise.transitions import CLIENT as CLIENT_TABLES
from secagg.pairwise.transitions import PHASES, ClientState, ServerState
from secagg.pairwise.transitions import SERVER as SERVER_TABLES

ROUNDS: dict[str, Params] = {
    "semi-honest": four(Mode.SEMI_HONEST),
    "malicious": four(Mode.MALICIOUS),
    "sparse": ten(),
}
CLIENT, SERVERS = "clients", "servers"
SEALERS = {CLIENT: stored._CLIENT, SERVERS: stored._SERVER}
SIDES = [(name, side) for name in ROUNDS for side in (CLIENT, SERVERS)]
of_each_side = pytest.mark.parametrize(("name", "side"), SIDES, ids=str)


@dataclass(frozen=True)
class Stored:
    """The body of a stored machine; the party of a client, or SERVER."""

    party: int
    body: bytes


@cache
def recording(name: str) -> tuple[list[Stored], RecordingNetwork]:
    """Every body that is sealed in a round in which party 3 vanishes before its input.

    The clients are stored at each of their boundaries, the server after each call.
    """
    params, bodies, true = ROUNDS[name], list[Stored](), Sealer.seal

    def seal(self: Sealer, key: bytes, body: bytes) -> bytes:
        party = stored_index(body) if self is stored._CLIENT else SERVER
        bodies.append(Stored(party, body))
        return true(self, key, body)

    server = RestartingServer(
        params.round(CONTEXT, SESSION), MemoryLedger(), restarts_from=lambda call: None
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sealer, "seal", seal)
        drops = {3: Phase.MASKED_INPUT}
        network = network_of(params, server, drops, lambda party: {}).start().run()
    assert network.exact()
    return bodies, network


def stored_index(body: bytes) -> int:
    """Returns the index of a stored client."""
    reader = Reader(body, SERVER)
    stored._ROUND.read(reader)
    return reader.u64()


def bodies_of(name: str, side: str) -> list[Stored]:
    """Returns the recorded bodies of one side, of each mode."""
    return [one for one in recording(name)[0] if (one.party == SERVER) == (side == SERVERS)]


def resumed(params: Params, one: Stored) -> Client | Server:
    """Resumes a machine from a body that is sealed under the right key."""
    directory = directory_for(params)
    if one.party == SERVER:
        return Server.resume(stored._SERVER.seal(KEY, one.body), KEY, MemoryLedger(), directory)
    identity = identity_of(one.party) if directory else None
    return Client.resume(
        stored._CLIENT.seal(KEY, one.body),
        KEY,
        MemoryLedger(),
        identity=identity,
        directory=directory,
    )


def attributes_of(one: Stored) -> list[bytes]:
    """Returns a body in the pieces of its tables: the round first, then one per attribute."""
    reader = Reader(one.body, SERVER)
    params = stored._ROUND.read(reader).params
    if one.party == SERVER:
        table = {"h0": stored._HASH, **stored._server_memory(params)}
    else:
        table = {**stored._client_head(params), **stored._client_memory(params)}
    places = [0, reader._at]
    for piece in table.values():
        piece.read(reader)
        places.append(reader._at)
    return [one.body[first:last] for first, last in pairwise(places)]


HUGE = [b"\xff" * 8, b"\xff" * 4, bytes(8), b"\0\0\0\x40" + bytes(4), b"\4" + bytes(7), b"\1"]


def mutated(one: Stored, others: list[Stored], chance: Random) -> Stored:
    """Returns the body with one to three changes."""
    pieces = attributes_of(one)
    for _ in range(chance.choice([1, 1, 2, 3])):
        at = chance.randrange(len(pieces))
        what = chance.choice(["another's", "another's", "length", "flip", "cut", "insert", "tail"])
        piece = bytearray(pieces[at])
        place = chance.randrange(len(piece) + 1)
        if what == "another's":  # of another state or party, or of another machine of this side
            piece = bytearray(attributes_of(chance.choice(others))[at])
        elif what == "length":
            size = chance.choice(HUGE)
            piece[: len(size)] = size
        elif what == "flip" and place < len(piece):
            piece[place] ^= 1 << chance.randrange(8)
        elif what == "cut":
            del piece[place : place + chance.choice([1, 4, 8, 12, 32, 100])]
        elif what == "insert":
            piece[place:place] = chance.randbytes(chance.choice([1, 4, 8, 12, 32, 100]))
        elif what == "tail":
            other = chance.choice(others).body
            return Stored(one.party, b"".join(pieces[:at]) + other[chance.randrange(len(other)) :])
        pieces[at] = bytes(piece)
    return Stored(one.party, b"".join(pieces))


def use_client(client: Client, messages: list[bytes], chance: Random) -> None:
    """Calls every method in some order, then plays the round to its end."""
    vector = input_of(0, client.round.params.length)
    calls: list[Callable[[], object]] = [
        client.start,
        lambda: client.expect(CONTEXT),
        lambda: client.receive(chance.choice(messages)),
        lambda: client.receive(chance.choice(messages)[:-1]),
        lambda: client.receive(garbage(chance, messages)),
        lambda: client.submit(vector),
        client.resend,
        lambda: look_at(client),
    ]
    ends: list[Callable[[], object]] = [lambda: client.suspend(KEY), client.wipe, client.resend]
    chance.shuffle(calls)
    rest = [lambda message=message: client.receive(message) for message in messages]
    for call in (*calls[: chance.randrange(9)], *rest[:2], calls[5], *rest[2:], *ends):
        try_call(call)


def look_at(machine: Client | Server) -> list[object]:
    """Reads every property."""
    properties = [one for one in vars(type(machine)) if not one.startswith("_")]
    assert [getattr(machine, one) for one in properties]
    return [repr(machine)][:0]


def garbage(chance: Random, messages: list[bytes]) -> bytes:
    """Returns random bytes behind a true header."""
    message = chance.choice(messages)
    return message[:20] + chance.randbytes(len(message) - 20)


def try_call(call: Callable[[], object]) -> Any:
    """Returns what it returns; nothing but the library's own errors may leave it."""
    try:
        return call()
    except SecAggError:
        return []


def use_server(server: Server, messages: list[tuple[int, bytes]], chance: Random) -> None:
    """Calls every method in some order, then plays the round to its end."""
    phases, cohort = server.phases, server.round.params.cohort
    texts = [text for _, text in messages]

    def work_off(events: list[object]) -> None:
        for event in events:
            if isinstance(event, Work):
                work_off(try_call(lambda job=event.job: server.complete(job, job.run())))

    calls: list[Callable[[], Any]] = [
        server.start,
        lambda: server.receive(*chance.choice(messages)),
        lambda: server.receive(chance.randrange(cohort), garbage(chance, texts)),
        lambda: server.deadline(chance.choice(phases)),
        server.resend,
        lambda: server.snapshot(KEY)[:0],
        lambda: server.complete(object(), None),  # type: ignore[arg-type]
        lambda: look_at(server),
    ]
    for call in chance.sample(calls, chance.randrange(len(calls) + 1)):
        work_off(try_call(call))
    for phase in phases:
        for party, text in messages:
            work_off(try_call(lambda party=party, text=text: server.receive(party, text)))
        work_off(try_call(lambda phase=phase: server.deadline(phase)))
        try_call(lambda: server.snapshot(KEY))


# What a resumption may say of a body whose round is another one, or whose client was made with
# other things: it is told by what the caller passes with it.
ANOTHER_ROUND = {
    *(Code.POLICY_PRIVACY, Code.POLICY_RELEASE, Code.BUDGET),
    *(Code.WRONG_DIRECTORY, Code.NO_DIRECTORY),
    *(Code.WRONG_IDENTITY, Code.NO_IDENTITY, Code.DOWNGRADE),
}


@of_each_side
def test_a_wrong_body_is_refused_or_harmless(name: str, side: str) -> None:
    """Flipped, cut, longer, with huge lengths, with attributes of other states and parties."""
    params, bodies, log = ROUNDS[name], bodies_of(name, side), recording(name)[1].log
    others = [one for each in ROUNDS for one in bodies_of(each, side)]
    to_server = [(each.sender, each.payload) for each in log if each.receiver == SERVER]
    to_client = {
        party: [each.payload for each in log if each.receiver == party]
        for party in range(params.cohort)
    }
    chance = Random(side)
    refusals = 0
    for _ in range(amount("wrong bodies of stored state")):
        true = chance.choice(bodies)
        same = [one for one in bodies if one.body != true.body]
        wrong = mutated(true, same if chance.random() < 0.9 else others, chance)
        tracemalloc.start()
        try:
            machine = resumed(params, wrong)
            if isinstance(machine, Client):
                use_client(machine, to_client[true.party], chance)
            else:
                use_server(machine, to_server, chance)
        except (StateError, ParameterError) as error:
            refusals += 1
            assert error.code is Code.CORRUPT or error.code in ANOTHER_ROUND  # noqa: PT017
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 64 * len(wrong.body) + 2**18
    assert 0 < refusals < amount("wrong bodies of stored state")


@of_each_side
def test_every_true_body_is_resumed(name: str, side: str) -> None:
    """As it was stored, to the byte, in every state in which there is something to store."""
    seen = set()
    for one in bodies_of(name, side):
        machine = resumed(ROUNDS[name], one)
        seen.add(machine.state)
        again = machine.snapshot(KEY) if isinstance(machine, Server) else machine.suspend(KEY)
        assert SEALERS[side].open(KEY, again)[1]._data == one.body
        assert b"".join(attributes_of(one)) == one.body
    table = (SERVER_TABLES if side == SERVERS else CLIENT_TABLES)[ROUNDS[name].mode]
    storable = (
        PHASES
        if side == SERVERS
        else [state for state, row in table.items() if Call.SUSPEND in row]
    )
    assert seen == {state for state in table if state in storable}


# -- each condition by itself -----------------------------------------------------------------

Change = Callable[[Any], object]
C, S = ClientState, ServerState
FIRST, LAST, ALL = (PartySet.of(some, 4) for some in ((0, 1), (1, 2, 3), range(4)))
ROWS = {0: np.zeros(6, np.uint64)}
WEAK = PublicKeys(bytes(32), bytes(32), bytes(64))
# condition, round, state, and what breaks it in a stored machine that is true otherwise
BROKEN: list[tuple[str, str, ClientState | ServerState, Change]] = [
    ("a number is 4", "malicious", C.CREATED, lambda one: put(one, index=4)),
    ("a number is 5", "malicious", C.AWAITING_SURVIVORS, lambda one: to(one, clipped=5)),
    ("public key is of low order", "malicious", C.CREATED, lambda one: to(one, keys=WEAK)),
    ("not below", "malicious", C.AWAITING_INPUT, lambda one: one.memory.held[1].fill(2**61 - 1)),
    ("clients are stored", "malicious", C.CREATED, lambda one: to(one, state=C.ABORTED)),
    ("clients are stored", "sparse", C.FINISHED, lambda one: to(one, state=C.AWAITING_SIGNATURES)),
    ("h0 is of this round", "semi-honest", C.CREATED, lambda one: put(one, h0=bytes(32))),
    ("it has accepted", "sparse", C.AWAITING_DELIVERY, lambda one: one.memory.accepted.popitem()),
    ("the latest message", "malicious", C.FINISHED, lambda one: to(one, latest=0)),
    ("it is in U1", "malicious", C.AWAITING_DELIVERY, lambda one: to(one, advertised=LAST)),
    ("it is in U1", "malicious", C.AWAITING_ROSTER, lambda one: to(one, advertised=ALL)),
    ("it is in U2", "malicious", C.AWAITING_INPUT, lambda one: to(one, members=LAST)),
    ("it is in U3", "malicious", C.FINISHED, lambda one: to(one, survivors=LAST)),
    ("U3 is in U2", "malicious", C.AWAITING_SIGNATURES, lambda one: to(one, members=FIRST)),
    ("U2 in U1", "semi-honest", C.AWAITING_INPUT, lambda one: to(one, advertised=FIRST)),
    ("the roster has", "malicious", C.AWAITING_DELIVERY, lambda one: one.memory.roster.pop(1)),
    ("the roster has", "semi-honest", C.AWAITING_DELIVERY, lambda one: swap(one.memory.roster)),
    ("one channel key", "semi-honest", C.AWAITING_DELIVERY, lambda one: one.memory.inbound.pop(1)),
    ("one key per mask", "malicious", C.AWAITING_INPUT, lambda one: one.memory.mask_keys.pop()),
    ("it holds shares", "malicious", C.AWAITING_SURVIVORS, lambda one: one.memory.held.pop(0)),
    ("it holds shares", "malicious", C.FINISHED, lambda one: to(one, held=ROWS)),
    ("h1 is of U1", "malicious", C.AWAITING_DELIVERY, lambda one: to(one, h1=bytes(32))),
    ("h1 is of U1", "sparse", C.AWAITING_DELIVERY, lambda one: to(one, h1=b"")),
    ("h2 is of U2", "malicious", C.AWAITING_INPUT, lambda one: to(one, h2=bytes(32))),
    ("h3 is of U3", "malicious", C.AWAITING_SIGNATURES, lambda one: to(one, h3=bytes(32))),
    ("no secret", "malicious", C.AWAITING_INPUT, lambda one: one.memory.mask_keys[1].wipe()),
    ("no secret", "malicious", C.AWAITING_DELIVERY, lambda one: one.memory.inbound[1].wipe()),
    ("no secret", "malicious", C.AWAITING_ROSTER, lambda one: one.memory.channel_secret.wipe()),
    ("the last reply", "malicious", C.FINISHED, lambda one: to(one, last_reply=b"SA")),
    ("a number is", "malicious", S.UNMASK, lambda one: to(one, received=2**63)),
    ("servers are stored", "malicious", S.UNMASK, lambda one: to(one, state=S.COMPLETED)),
    ("servers are stored", "sparse", S.UNMASK, lambda one: to(one, state=S.CONSISTENCY)),
    ("it knows all types", "semi-honest", S.UNMASK, lambda one: one.memory.accepted.pop(4)),
    ("h0 is of this round", "semi-honest", S.ADVERTISE_KEYS, lambda one: put(one, h0=bytes(32))),
    ("before it was due", "malicious", S.SHARE_KEYS, lambda one: sent(one, 5, 0)),
    ("the one before", "malicious", S.UNMASK, lambda one: one.memory.accepted[2].pop(0)),
    ("are expected", "malicious", S.CONSISTENCY, lambda one: to(one, expected=(0, 1))),
    ("the others were", "semi-honest", S.UNMASK, lambda one: one.memory.dropped.clear()),
    ("nobody is dropped", "semi-honest", S.SHARE_KEYS, lambda one: drop(one, 1, 1)),
    ("each drop", "semi-honest", S.UNMASK, lambda one: drop(one, 3, 2)),
    ("its roster", "malicious", S.UNMASK, lambda one: one.memory.roster.pop(3)),
    ("its shares", "malicious", S.MASKED_INPUT, lambda one: one.memory.shares.pop(3)),
    ("its commitments", "sparse", S.UNMASK, lambda one: one.memory.commitments.pop(3)),
    ("its survivors", "malicious", S.CONSISTENCY, lambda one: to(one, survivors=(0, 1))),
    ("its signatures", "malicious", S.UNMASK, lambda one: one.memory.signatures.pop(0)),
    ("its answers", "semi-honest", S.UNMASK, lambda one: one.memory.answers.popitem()),
    ("everybody dealt", "sparse", S.MASKED_INPUT, lambda one: swap(one.memory.shares)),
    ("answers have", "sparse", S.UNMASK, lambda one: swap(one.memory.answers)),
    ("the sum has", "malicious", S.UNMASK, lambda one: to(one, total=one.memory.total[1:])),
    ("the sum has", "malicious", S.SHARE_KEYS, lambda one: to(one, total=np.zeros(1, np.uint32))),
    ("h1 is of U1", "malicious", S.SHARE_KEYS, lambda one: to(one, h1=bytes(32))),
    ("h2 is of U2", "malicious", S.MASKED_INPUT, lambda one: to(one, h2=b"")),
    ("h3 is of U3", "malicious", S.UNMASK, lambda one: to(one, h3=bytes(32))),
]  # fmt: skip


def put(one: Any, **values: object) -> None:
    """Changes the head of a stored machine."""
    for name, value in values.items():
        object.__setattr__(one, name, value)


def to(one: Any, **values: object) -> None:
    """Changes attributes of the memory."""
    for name, value in values.items():
        setattr(one.memory, name, value)


def swap(items: dict[int, Any]) -> None:
    """Exchanges the first two values."""
    one, other = list(items)[:2]
    items[one], items[other] = items[other], items[one]


def sent(one: Any, kind: int, party: int) -> None:
    """Adds an accepted message."""
    one.memory.accepted[kind][party] = bytes(64)


def drop(one: Any, key: int, party: int) -> None:
    """Adds a dropped party."""
    one.memory.dropped[key] = Dropped(party, "no share keys in time", Code.TIMEOUT)


@pytest.mark.parametrize(
    ("condition", "name", "state", "change"),
    BROKEN,
    ids=[f"{name}-{state}-{condition}" for condition, name, state, _ in BROKEN],
)
def test_each_condition(
    condition: str, name: str, state: ClientState | ServerState, change: Change
) -> None:
    """True but for one attribute, which is refused for the reason that is meant for it."""
    is_client = isinstance(state, ClientState)
    opened: Any = stored.open_client if is_client else stored.open_server
    seal: Any = stored.seal_client if is_client else stored.seal_server
    sealer = SEALERS[CLIENT if is_client else SERVERS]
    found = (
        opened(sealer.seal(KEY, one.body), KEY)
        for one in bodies_of(name, CLIENT if is_client else SERVERS)
        if one.party in (0, SERVER)
    )
    one = [each for each in found if each.memory.state is state][-1]
    opened(seal(one, KEY), KEY)
    change(one)
    with refused(StateError, Code.CORRUPT, condition):
        opened(seal(one, KEY), KEY)


@pytest.mark.parametrize("side", [CLIENT, SERVERS])
def test_each_condition_is_broken_above(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the text that it is refused with."""
    asked: list[str] = []
    monkeypatch.setattr(stored, "_require", asked.extend)
    resumed(ROUNDS["malicious"], bodies_of("malicious", side)[0])
    broken = [
        condition
        for condition, _, state, _ in BROKEN
        if isinstance(state, ClientState) == (side == CLIENT)
    ]
    assert len(asked) > 10
    assert [text for text in asked if not any(part in text for part in broken)] == []
