"""One process and one thread at a time: what a forked child, a copy and many threads may not do."""

import copy
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from harness import (
    CONTEXT,
    MODES,
    SESSION,
    SteppedRound,
    expected_sum,
    input_of,
    integers,
    logged,
    state_of,
)
from pairwise.attacks import Liar
from pairwise.restarts import KEY, directory_for, new_client
from pairwise.stored import FOUR_MALICIOUS, fork_within, in_fork
from refusals import refused

from secagg import (
    SERVER,
    Aborted,
    Client,
    Code,
    Completed,
    FixedPoint,
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
    SqliteLedger,
    StateError,
    Status,
    Work,
)
from secagg.forks import this_process
from secagg.machine.ownership import Owned
from secagg.pairwise.transitions import ClientState, ServerState

Outcome = object
either_mode = pytest.mark.parametrize("mode", MODES, ids=str)


@pytest.fixture
def _eager_threads() -> Iterator[None]:
    """Threads change as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# ---- forks --------------------------------------------------------------------------------


def stage_with_ledger(mode: Mode) -> SteppedRound:
    """A round whose server can be stored."""
    stepped = SteppedRound(integers(4, threshold=3, mode=mode))
    stepped.server = Server(stepped.round, directory_for(stepped.params), MemoryLedger())
    stepped.server.start()
    return stepped


def client_calls(stepped: SteppedRound) -> dict[str, Callable[[Client], object]]:
    """Every public method of a client."""
    return {
        "start": lambda client: client.start(),
        "expect": lambda client: client.expect(CONTEXT),
        "receive": lambda client: client.receive(stepped.outbox[0]),
        "submit": lambda client: client.submit(input_of(0)),
        "resend": lambda client: client.resend(),
        "suspend": lambda client: client.suspend(KEY),
        "withdraw": lambda client: client.withdraw(),
        "wipe": lambda client: client.wipe(),
    }


def server_calls(stepped: SteppedRound, message: bytes) -> dict[str, Callable[[Server], object]]:
    """Every public method of a server."""
    return {
        "start": lambda server: server.start(),
        "receive": lambda server: server.receive(0, message),
        "deadline": lambda server: server.deadline(Phase.SHARE_KEYS),
        "complete": lambda server: server.complete(None, None),  # type: ignore[arg-type]
        "snapshot": lambda server: server.snapshot(KEY),
        "drop": lambda server: server.drop(0, "it is gone"),
        "resend": lambda server: server.resend(),
        "awaits": lambda server: server.awaits(0),
        "status": lambda server: server.status,
    }


def test_every_public_method_is_listed_here() -> None:
    """A new one must say whether a forked child may call it."""
    stepped = stage_with_ledger(Mode.SEMI_HONEST)

    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    harmless = {"resume", "state", "phase", "phases", "finished", "ledger"}  # a constructor; looks
    assert methods(Client) - harmless - {"clipped"} == client_calls(stepped).keys()
    assert methods(Server) - harmless == server_calls(stepped, b"").keys()
    # Resumed in the child, an object is the child's: the ledger decides which of the two lives.


@either_mode
def test_a_forked_child_may_not_use_a_client_or_a_server(mode: Mode) -> None:
    """A LocalProtocolError that says why, from each method, and the state in the child as it was.

    The parent goes on unharmed, to the exact sum.
    """
    stepped = stage_with_ledger(mode)
    stepped.to_server(stepped.advertise())
    client, message = stepped.clients[0], stepped.answers([1])[1]

    def child() -> bytes:
        said = []
        for party, calls in (
            (client, client_calls(stepped)),
            (stepped.server, server_calls(stepped, message)),
        ):
            before = state_of(party)  # type: ignore[arg-type]
            for name, call in calls.items():
                try:
                    call(party)  # type: ignore[arg-type]
                except LocalProtocolError as error:
                    said.append(f"{name}: {error}")
                else:
                    said.append(f"{name} went through")
            said.append("unchanged" if state_of(party) == before else "changed")  # type: ignore[arg-type]
        return "\n".join(said).encode()

    before = state_of(client), state_of(stepped.server)
    said = in_fork(child).decode().splitlines()
    assert (state_of(client), state_of(stepped.server)) == before
    reason = "was used in a forked child: use it only in the process that made it"
    refused = [line for line in said if reason in line]
    assert len(refused) == 17
    assert sum("a Client was" in line for line in refused) == 8
    assert [line for line in said if line not in refused] == ["unchanged", "unchanged"]
    stepped.to_server({1: message})
    stepped.finish(stepped.answers([0, 2, 3]))
    assert stepped.result is not None
    assert stepped.result.total.tolist() == expected_sum(range(4))


@either_mode
def test_a_child_may_have_its_own(mode: Mode) -> None:
    """A whole round within the child."""

    def child() -> bytes:
        stepped = stage_with_ledger(mode)
        stepped.finish(stepped.advertise())
        return repr(stepped.result.total.tolist() if stepped.result else None).encode()

    assert in_fork(child).decode() == repr(expected_sum(range(4)))


def test_a_stored_client_lives_in_the_child_or_in_the_parent(memory_path: Path) -> None:
    """A file decides, whoever comes first."""
    for first in ("child", "parent"):
        ledger = SqliteLedger(memory_path / first)
        client = Liar(integers(4, threshold=3)).clients[0]
        stored = client.suspend(KEY)

        def live(stored: bytes = stored, ledger: SqliteLedger = ledger) -> bytes:
            return repr(Client.resume(stored, KEY, ledger)).encode()

        if first == "child":
            assert in_fork(live) == b"<secagg.Client 0 of 4: awaiting roster>"
            with refused(StateError, Code.REPEATED_RESUMPTION):
                live()
        else:
            live()
            assert in_fork(live) == Code.REPEATED_RESUMPTION.encode()


def test_a_ledger_in_memory_is_of_no_use_to_a_forked_child() -> None:
    """Its copy does not see what the parent claims: else both could resume one stored client."""
    ledger = MemoryLedger()
    client = Liar(integers(4, threshold=3)).clients[0]
    stored = client.suspend(KEY)

    def live() -> bytes:
        return repr(Client.resume(stored, KEY, ledger)).encode()

    assert in_fork(live) == Code.FORKED.encode()
    assert live() == b"<secagg.Client 0 of 4: awaiting roster>"
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            way(ledger)


def test_a_lock_that_was_held_does_not_hang_the_child() -> None:
    """Forked while another thread is within a client: refused at once, not blocked for ever."""
    ledger = Waiting(parties=2)
    client = ready(ledger)
    with ThreadPoolExecutor(1) as pool:
        submitted = pool.submit(client.submit, input_of(0))
        assert ledger.entered.wait(30)
        assert in_fork(lambda: client.submit(input_of(0))) == Code.FORKED.encode()
        ledger.gate.abort()
        assert submitted.result(30).startswith(b"SA")


class OfOneProcess:
    """A ledger that a child cannot claim in: it would use up what is the parent's."""

    def __init__(self) -> None:
        self.process = this_process()

    def claim(self, what: Once, key: bytes) -> bool:
        if this_process() != self.process:
            raise StateError("a child claims", Code.LEDGER)
        return True


Fork = Callable[[], bool]


def by_iterator(client: Client, fork: Fork) -> bytes:
    return client.submit(input_of(2 if fork() else 0) for _ in range(1))


def by_array(client: Client, fork: Fork) -> bytes:
    class Array:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return input_of(2 if fork() else 0)

    return client.submit(Array())


def by_ledger(client: Client, fork: Fork) -> bytes:
    ledger = OfOneProcess()
    ledger.claim = lambda what, key: fork() or True  # type: ignore[method-assign]
    client._ledger = ledger
    return client.submit(input_of(0))


def by_log(client: Client, fork: Fork) -> bytes:
    with logged(fork):
        return client.submit(input_of(0))


@pytest.mark.parametrize("way", [by_iterator, by_array, by_ledger, by_log])
def test_a_child_forked_within_a_call_gets_nothing(way: Callable[[Client, Fork], bytes]) -> None:
    """No second masked input under the same masks, and no claim; the parent gets its own."""
    client = ready(OfOneProcess())
    ours, theirs = fork_within(lambda fork: way(client, fork))
    assert theirs == Code.FORKED.encode()
    assert ours.startswith(b"SA")
    assert client.resend() == [Send(SERVER, ours)]


def test_a_child_forked_within_a_call_of_the_server_gets_nothing() -> None:
    """The survivor set is the parent's to claim and to send."""
    stepped = stage_with_ledger(Mode.SEMI_HONEST)
    stepped.server = Server(stepped.round, None, OfOneProcess())
    stepped.server.start()
    for party, message in stepped.until(Phase.MASKED_INPUT).items():
        if party:
            stepped.server.receive(party, message)

    def ends(fork: Fork) -> bytes:
        with logged(fork):
            return repr(stepped.server.deadline(Phase.MASKED_INPUT)).encode()

    ours, theirs = fork_within(ends)
    assert theirs == Code.FORKED.encode()
    assert b"Send" in ours


def test_a_child_forked_while_a_client_is_made_has_none() -> None:
    """By the source of randomness, or by the ledger: its client would have the parent's keys."""

    def made(fork: Fork) -> bytes:
        def random(size: int) -> bytes:
            fork()
            return bytes(range(size))

        return Client(integers(4, threshold=3).round(CONTEXT, SESSION), 0, random=random).start()

    stored = Liar(integers(4, threshold=3)).clients[0].suspend(KEY)

    def resumed(fork: Fork) -> bytes:
        ledger = OfOneProcess()
        ledger.claim = lambda what, key: fork() or True  # type: ignore[method-assign]
        return Client.resume(stored, KEY, ledger).suspend(KEY)

    for make in (made, resumed):
        ours, theirs = fork_within(make)
        assert theirs == Code.FORKED.encode()
        assert ours != theirs


# ---- copies -------------------------------------------------------------------------------


@either_mode
@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda way: way.__name__
)
def test_neither_is_copied_nor_pickled(mode: Mode, way: Callable[[object], object]) -> None:
    """Before and in a round, and by every protocol of pickle."""
    stepped = stage_with_ledger(mode)
    for messages in ({}, stepped.advertise()):
        stepped.to_server(messages)
        for party, name in ((stepped.clients[0], "Client"), (stepped.server, "Server")):
            with pytest.raises(TypeError, match=f"a {name} is neither copied nor pickled"):
                way(party)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps([stepped.server], protocol)


# ---- threads ------------------------------------------------------------------------------


class Waiting:
    """A ledger within which callers wait for each other, or until they have waited long enough.

    They do not wait when a client starts, or when a server delivers shares.
    """

    def __init__(self, parties: int, patience: float = 30.0) -> None:
        self.gate = threading.Barrier(parties, timeout=patience)
        self.entered = threading.Event()
        self.most = self._now = 0
        self._counting = threading.Lock()
        self._ledger = MemoryLedger()

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`."""
        if what in (Once.PARTICIPATION, Once.DELIVERY):
            return True
        with self._counting:
            self._now += 1
            self.most = max(self.most, self._now)
        self.entered.set()
        with suppress(threading.BrokenBarrierError):
            self.gate.wait()
        answer = self._ledger.claim(what, key)
        with self._counting:
            self._now -= 1
        return answer


def ready(ledger: object) -> Client:
    """Party 0 in malicious mode, that was asked for its input."""
    liar = Liar(FOUR_MALICIOUS)
    client = new_client(liar.round, 0, ledger)  # type: ignore[arg-type]
    client.start()
    liar.clients[0] = client
    liar.share()
    client.receive(liar.delivery(0, liar.everybody))
    return client


def at_once(calls: list[Callable[[], Outcome]]) -> list[Outcome]:
    """Returns what each call gives or raises, all of them begun at the same moment."""
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], Outcome]) -> Outcome:
        together.wait(30)
        try:
            return call()
        except (LocalProtocolError, RemoteProtocolError, Aborted) as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def winner(outcomes: list[Outcome], error: type[Exception]) -> Outcome:
    """The outcome of the one call that went through; the others were refused."""
    (won,) = [one for one in outcomes if not isinstance(one, Exception)]
    assert all(type(one) is error for one in outcomes if one is not won)
    return won


@pytest.mark.usefixtures("_eager_threads")
@either_mode
def test_of_many_threads_one_wins(mode: Mode) -> None:
    """Eight threads at each step of one client: one message comes out, and the round is right."""
    stepped = SteppedRound(integers(4, threshold=3, mode=mode))
    client = stepped.clients[0]
    first = winner(at_once([client.start] * 8), LocalProtocolError)
    stepped.to_server(stepped.advertise([1, 2, 3]) | {0: first})  # type: ignore[dict-item]
    same = at_once([lambda: client.receive(stepped.outbox[0])] * 8)
    assert all(one == same[0] for one in same), "a repetition gets the same bytes"
    stepped.to_server(stepped.answers([1, 2, 3]) | {0: same[0][0].payload})  # type: ignore[index]
    client.receive(stepped.outbox[0])
    inputs = [input_of(party) for party in (0, 1, 2, 3)] * 2
    masked = at_once([lambda values=values: client.submit(values) for values in inputs])
    won = masked.index(winner(masked, LocalProtocolError))
    assert client.resend() == [Send(SERVER, masked[won])]  # type: ignore[arg-type]
    stepped.to_server(stepped.answers([1, 2, 3]) | {0: masked[won]})  # type: ignore[dict-item]
    stepped.finish(stepped.answers())
    assert stepped.result is not None
    total = np.add(expected_sum([1, 2, 3]), inputs[won])
    assert stepped.result.total.tolist() == total.tolist()


@pytest.mark.usefixtures("_eager_threads")
def test_of_many_survivor_sets_one_is_answered() -> None:
    """Semi-honest: each thread tells another set, and shares leave for one of them."""
    for _ in range(5):
        liar = Liar(integers(4, threshold=3))
        liar.share().deliver(liar.everybody)
        client = liar.clients[0]
        sets = [liar.survivors(members) for members in ((0, 1, 2), (0, 1, 3), (0, 2, 3), range(4))]
        winner(at_once([partial(client.receive, told) for told in sets]), RemoteProtocolError)
        assert client.state is ClientState.FINISHED


@pytest.mark.usefixtures("_eager_threads")
def test_of_many_suspensions_one_is_stored() -> None:
    """Never two stored states of one client."""
    for _ in range(5):
        client = Liar(integers(4, threshold=3)).clients[0]
        stored = winner(at_once([partial(client.suspend, KEY)] * 6), LocalProtocolError)
        assert isinstance(stored, bytes)
        assert client.state is ClientState.SUSPENDED


@pytest.mark.usefixtures("_eager_threads")
@either_mode
def test_a_server_takes_messages_from_many_threads(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All clients of a phase at once, looked at all the while, and jobs done by a pool: exact sum.

    One vanishes, and jobs are small, so that there are many of both kinds.
    """
    monkeypatch.setattr("secagg.machine.expansion.PIECE_MAX_KEYS", 1)
    stepped = SteppedRound(integers(8, threshold=6, mode=mode))
    messages = stepped.advertise()
    over = threading.Event()
    jobs = 0

    def look() -> int:
        seen = 0
        while not over.is_set():
            assert isinstance(stepped.server.status, Status)
            seen += 1
        return seen

    with ThreadPoolExecutor(9) as pool:
        looker = pool.submit(look)
        for phase in mode.phases:
            if phase is Phase.MASKED_INPUT:
                messages.pop(7)
                stepped.outbox.pop(7)
            given = pool.map(lambda item: stepped.server.receive(*item), list(messages.items()))
            events = [event for each in given for event in each] + stepped.server.deadline(phase)
            for event in events:
                if isinstance(event, Send):
                    stepped.outbox[event.to] = event.payload
            messages = (
                stepped.answers() if stepped.server.state is not ServerState.UNMASKING else {}
            )
        while any(isinstance(event, Work) for event in events):
            work = [event.job for event in events if isinstance(event, Work)]
            jobs += len(work)
            done = pool.map(lambda job: stepped.server.complete(job, job.run()), work * 2)
            events = [event for each in done for event in each]
        over.set()
        assert looker.result(30) > 0
    (completed,) = [event for event in events if isinstance(event, Completed)]
    assert jobs == 1 + 1 + 7 + 7, "all seeds, pairwise keys of one party, and each of 14 masks"
    assert completed.result.survivors == tuple(range(7))
    assert completed.result.total.tolist() == expected_sum(range(7))


# ---- planted bugs: without the lock -------------------------------------------------------


def race_in_submit(patience: float) -> str:
    """Two threads submit; what goes wrong if both are let in."""
    ledger = Waiting(parties=2, patience=patience)
    client = ready(ledger)
    outcomes = at_once([lambda: client.submit(input_of(0)), lambda: client.submit(input_of(1))])
    if ledger.most > 1:
        return f"two threads in submit(), then the client is {client.state.value}"
    winner(outcomes, LocalProtocolError)
    return ""


def race_at_the_deadline(patience: float) -> str:
    """The deadline comes while the last message is being taken."""
    ledger = Waiting(parties=2, patience=patience)
    stepped = SteppedRound(integers(4, threshold=3))
    stepped.server = Server(stepped.round, None, ledger)
    stepped.server.start()
    messages = stepped.until(Phase.MASKED_INPUT)
    last = messages.pop(3)
    stepped.to_server(messages)
    at_once(
        [
            lambda: stepped.server.receive(3, last),
            lambda: ledger.entered.wait(30) and stepped.server.deadline(Phase.MASKED_INPUT),
        ]
    )
    if ledger.most > 1:
        return f"two threads end one phase, then the server has {stepped.server.state.value}"
    assert stepped.server.state is ServerState.UNMASK
    return ""


@pytest.mark.parametrize("race", [race_in_submit, race_at_the_deadline])
def test_without_the_lock_a_race_is_seen(
    race: Callable[[float], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both threads get in, every time; with the lock they do not."""
    assert race(0.2) == ""
    with monkeypatch.context() as patch:
        free = property(lambda self: nullcontext(), lambda self, value: None)
        patch.setattr(Owned, "_turn", free, raising=False)
        idle = property(lambda self: False, lambda self, value: None)
        patch.setattr(Owned, "_busy", idle, raising=False)
        assert race(30).startswith("two threads")
    assert race(0.2) == ""


def test_a_fork_is_seen_without_the_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's message would be in clear as the difference to the parent's."""
    stepped = SteppedRound(integers(4, threshold=3))
    client = stepped.clients[0]
    free = property(lambda self: this_process(), lambda self, value: None)
    monkeypatch.setattr(Owned, "_owner", free, raising=False)
    assert in_fork(client.start) == client.start(), "the same keys in both"
    assert client.round.session == SESSION
    assert client.round.context == CONTEXT


def test_what_is_no_round_or_policy_is_refused() -> None:
    """`Params` are not a round yet."""
    params = Params(3, 2, FixedPoint(1.0))
    for make in (
        lambda: Server(params),  # type: ignore[arg-type]
        lambda: Client(params, 0),  # type: ignore[arg-type]
        lambda: Client(params.round(), 0, params),  # type: ignore[arg-type]
    ):
        with refused(ParameterError, Code.ARGUMENT, "must be a (Round|Policy), not of type Params"):
            make()
