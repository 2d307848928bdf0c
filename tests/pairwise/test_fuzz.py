"""Any bytes at all, in every state: only typed errors leave, and malformed bytes change nothing.

Raw bytes, valid headers before any body, and true messages of a recorded run that are cut, spliced,
repeated and flipped, into `Client.receive` in all its states, `Server.receive` in all its phases,
and `Round.decode`.
"""

from functools import cache

import pytest
from harness import MODES, SESSION, clone, state_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from levels import amount
from pairwise.attacks import assert_dead, refuses
from pairwise.test_transitions import (
    CLIENT_STATES,
    PARAMS,
    SERVER_STATES,
    SPARSE,
    recorded,
    recording,
)
from reference.graph import sparse_is_allowed

import secagg
from secagg import SERVER, Client, Mode, Server
from secagg.machine.wire import HEADER_BYTES, MAGIC, VERSION, MessageType
from secagg.pairwise.transitions import PHASES, ClientState, ServerState


@cache
def true_messages(sparse: bool = False) -> tuple[bytes, ...]:
    """Every message of a run in each mode once, in both directions, and the offers."""
    runs = [recording(each) for each in ([SPARSE] if sparse else PARAMS.values())]
    offers = [servers[ServerState.CREATED].offer for _, servers, _ in runs]
    payloads = [payload for _, _, messages in runs for _, _, payload in messages]
    return (*offers, *dict.fromkeys(payloads))


def headed(kind: int, body: bytes) -> bytes:
    """A message of this session."""
    return MAGIC + bytes([VERSION, kind]) + SESSION + body


KINDS = st.sampled_from([int(kind) for kind in MessageType])
RAW = st.binary(max_size=600)
HEADED = st.builds(headed, KINDS | st.integers(0, 255), st.binary(max_size=600))


@st.composite
def of_true_length(draw: st.DrawFn, sparse: bool = False) -> bytes:
    """A true header before random bytes of the true length: what gets past every length check."""
    message = draw(st.sampled_from(true_messages(sparse)))
    body = draw(st.binary(min_size=len(message) - HEADER_BYTES, max_size=len(message)))
    keep = draw(st.integers(HEADER_BYTES, len(message)))
    return message[:keep] + body[: len(message) - keep]


@st.composite
def mutated(draw: st.DrawFn, sparse: bool = False) -> bytes:
    """A true message, damaged a few times."""
    data = bytearray(draw(st.sampled_from(true_messages(sparse))))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        what = draw(st.sampled_from(["flip", "set", "cut", "insert", "delete", "splice", "kind"]))
        if what == "flip" and place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "set" and place < len(data):
            data[place] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif what == "cut":
            del data[place:]
        elif what == "insert":
            data[place:place] = draw(st.binary(max_size=70))
        elif what == "delete":
            del data[place : place + draw(st.sampled_from([1, 8, 32, 62, 64]))]
        elif what == "splice":
            data[place:] = draw(st.sampled_from(true_messages(sparse)))[place:]
        elif what == "kind" and len(data) > 3:
            data[3] = draw(KINDS)
    return bytes(data)


MORE = settings(max_examples=amount("fuzzed messages for each state"))
ANY = RAW | HEADED | of_true_length() | mutated()


@pytest.mark.parametrize(("mode", "state"), CLIENT_STATES, ids=str)
@MORE
@given(data=ANY)
def test_client(mode: Mode, state: ClientState, data: bytes) -> None:
    """`RemoteProtocolError` and nothing changed, or `Aborted` and wiped, or events."""
    client_takes(recorded(mode)[0][state], data)


def client_takes(recorded_client: Client, data: bytes) -> None:
    """Checks what comes of any bytes at a client."""
    client = clone(recorded_client)
    before, blamed = state_of(client), SERVER
    try:
        events = client.receive(data)
    except secagg.RemoteProtocolError as error:
        events, blamed = [], error.party
    except secagg.Aborted:
        assert_dead(client, data)
        return
    assert blamed == SERVER
    assert events or state_of(client) == before


@pytest.mark.parametrize(("mode", "state"), SERVER_STATES, ids=str)
@MORE
@given(data=ANY, party=st.integers(0, 3))
def test_server(mode: Mode, state: ServerState, data: bytes, party: int) -> None:
    """`RemoteProtocolError` of the sender and nothing changed, or events that concern it."""
    server_takes(recorded(mode)[1][state], data, party)


def server_takes(recorded_server: Server, data: bytes, party: int) -> None:
    """Checks what comes of any bytes at a server."""
    server = clone(recorded_server)
    before, refusal = state_of(server), None
    try:
        events = server.receive(party, data)
    except secagg.RemoteProtocolError as error:
        events, refusal = [], error
    if refusal is not None:
        assert refusal.party == party
        assert str(refusal).startswith(f"party {party}: ")
        assert state_of(server) == before
    dropped = [event.party for event in events if isinstance(event, secagg.Dropped)]
    assert dropped in ([], [party])


OF_SPARSE = of_true_length(sparse=True) | mutated(sparse=True)
AWAITING = [
    ClientState.AWAITING_ROSTER,
    ClientState.AWAITING_DELIVERY,
    ClientState.AWAITING_SURVIVORS,
]
OPEN = [state for mode, state in SERVER_STATES if mode is Mode.SEMI_HONEST and state in PHASES]


@pytest.mark.parametrize("state", AWAITING, ids=str)
@given(data=OF_SPARSE)
def test_client_on_a_sparse_graph(state: ClientState, data: bytes) -> None:
    """The same, with messages whose size the neighbours say."""
    client_takes(recording(SPARSE)[0][state], data)


@pytest.mark.parametrize("state", OPEN, ids=str)
@given(data=OF_SPARSE, party=st.integers(0, 3))
def test_server_on_a_sparse_graph(state: ServerState, data: bytes, party: int) -> None:
    """The same."""
    server_takes(recording(SPARSE)[1][state], data, party)


@MORE
@given(data=ANY)
def test_server_many(data: bytes) -> None:
    """The same bytes from everybody, in every phase, until the round ends: it ends by the rules."""
    for machine in (server for mode in MODES for server in recorded(mode)[1].values()):
        server = clone(machine)
        for party in range(4):
            try:
                events = server.receive(party, data)
            except secagg.RemoteProtocolError:
                continue
            assert not any(isinstance(event, secagg.Completed) for event in events)


OFFERS = st.one_of(
    RAW,
    st.builds(lambda body: headed(MessageType.OFFER, body), st.binary(max_size=120)),
    st.binary(min_size=47, max_size=47).map(
        lambda body: headed(MessageType.OFFER, bytes(32) + body)
    ),
    st.tuples(st.integers(0, 98), st.integers(1, 255), st.integers(0, 98), st.integers(0, 255)).map(
        lambda four: _two_changes(*four)
    ),
    mutated(),
)


def _two_changes(first: int, one: int, second: int, two: int) -> bytes:
    data = bytearray(true_messages()[0])
    data[first % len(data)] ^= one
    data[second % len(data)] ^= two
    return bytes(data)


@MORE
@given(data=OFFERS)
def test_offer(data: bytes) -> None:
    """`DecodeError`, or a round whose encoding is these very bytes."""
    try:
        agreed = secagg.Round.decode(data)
    except secagg.DecodeError:
        return
    assert agreed.encode() == data


@given(suite=st.integers(0, 3), mode=st.integers(0, 2), numbers=st.lists(
    st.sampled_from([0, 1, 2, 3, 4, 5, 7, 2**16, 2**16 + 1, 2**31, 2**32 - 1]),
    min_size=4, max_size=4), length=st.sampled_from([0, 1, 5, 2**32, 2**32 + 1, 2**64 - 1]),
    form=st.binary(max_size=20) | st.sampled_from([
        b"\1" + b"\0" * 6 + b"\xf0\x3f" + b"\x10" + b"\1\0\0\0",
        b"\1" + b"\0" * 6 + b"\xf8\x7f" + b"\x10" + b"\1\0\0\0",  # NaN
        b"\1" + b"\0" * 6 + b"\xf0\x7f" + b"\x10" + b"\1\0\0\0",  # infinity
        b"\1" + b"\0" * 8 + b"\x10" + b"\1\0\0\0",  # zero
        b"\2" + b"\0" * 8 + b"\5" + b"\0" * 7,
        b"\2" + b"\0" * 7 + b"\x80" + b"\xff" * 7 + b"\x7f",
    ]))  # fmt: skip
def test_structured_offer(
    suite: int, mode: int, numbers: list[int], length: int, form: bytes
) -> None:
    """Plausible and extreme numbers in every field."""
    body = bytes(32) + bytes([suite, mode])
    body += b"".join(number.to_bytes(4, "little") for number in numbers)
    data = headed(MessageType.OFFER, body + length.to_bytes(8, "little") + form)
    try:
        agreed = secagg.Round.decode(data)
    except secagg.DecodeError:
        return
    assert agreed.encode() == data
    assert agreed.params.quorum - agreed.params.colluders >= 2
    assert 2 * agreed.params.threshold > agreed.params.cohort


@given(st.tuples(*[st.sampled_from([0, 1, 2, 4, 5, 6, 10, 12, 95, 100, 2**16, 2**32 - 1])] * 5))
@example((100, 6, 95, 5, 12))
def test_structured_sparse_offer(numbers: tuple[int, int, int, int, int]) -> None:
    """Taken only where the reference model allows it."""
    body = bytes(32) + b"\1\2" + b"".join(number.to_bytes(4, "little") for number in numbers)
    form = b"\2" + b"\0" * 8 + b"\5" + b"\0" * 7
    data = headed(MessageType.OFFER, body + (3).to_bytes(8, "little") + form)
    try:
        agreed = secagg.Round.decode(data)
    except secagg.DecodeError:
        assert not sparse_is_allowed(*numbers)
        return
    assert agreed.encode() == data
    assert sparse_is_allowed(*numbers)


@pytest.mark.parametrize("data", ["text", None, 2**62, 5, [1, 2]], ids=str)
def test_an_offer_that_is_no_bytes(data: object) -> None:
    """The caller's fault, in a typed error, and no memory is taken for bytes(2**62)."""
    with pytest.raises(secagg.SecAggError):
        secagg.Round.decode(data)  # type: ignore[arg-type]


def test_the_judge_of_these_attacks_judges() -> None:
    """`refuses` tells an accepted message from a refused one, and notices a changed client."""
    client = clone(recorded(Mode.SEMI_HONEST)[0][ClientState.AWAITING_ROSTER])
    true = next(payload for payload in true_messages() if payload[3] == MessageType.ROSTER)
    assert refuses(client, true[:-1])
    assert not refuses(client, true)
    with pytest.raises(AssertionError):
        assert_dead(client, true)
