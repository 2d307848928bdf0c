"""Drivers know two interfaces and no protocol: another one, with its own phases, is carried.

It protects nothing. A client sends its numbers in the clear, and the server adds them in a job.
"""

import inspect
import pickle
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from harness import client_of, integers, server_of

from secagg import (
    Aborted,
    ClientMachine,
    Code,
    Completed,
    Dropped,
    Failed,
    Finished,
    InputNeeded,
    LocalProtocolError,
    Phase,
    PhaseStarted,
    RangeError,
    Result,
    Send,
    ServerMachine,
    Status,
    Work,
)
from secagg.drivers.conductor import Conductor
from secagg.drivers.envelope import Refusal, seal
from secagg.errors import SERVER
from secagg.events import ClientEvent, ServerEvent
from secagg.machine.jobs import JobBoard
from secagg.machine.ownership import Owned, exclusive
from secagg.simulate import Cohort, Run

CONTEXT = bytes(range(32))
REPEATED = -1  # an input that a client has given before
NOTHING, UNUSABLE = -2, -3  # what a client has no input for, and what its codec refuses


class PlainClient(Owned):
    """Greets, sends its input when it is asked for it, and is finished."""

    clipped = 0
    largest_message = 5
    context = CONTEXT
    round = "a round of another protocol"

    def __init__(self, index: int, session: bytes) -> None:
        super().__init__()
        self.index, self.session = index, session
        self.finished = self.withdrawn = False
        self._last: list[ClientEvent] = []

    @classmethod
    def resume(cls, stored: bytes) -> "PlainClient":
        client = cls(0, b"")
        client.index, client.session, client.finished, client._last = pickle.loads(stored)  # noqa: S301
        return client

    def start(self) -> bytes:
        return b""

    def expect(self, context: bytes, subject: bytes | None = None) -> None:
        if context != CONTEXT:
            raise Aborted("is about something else", Code.POLICY_CONTEXT)

    @exclusive
    def receive(self, data: bytes) -> Sequence[ClientEvent]:
        self._last = [Send(SERVER, b"hello")] if data == b"begin" else [InputNeeded()]
        return self._last

    @exclusive
    def submit(self, values: np.ndarray, weight: int = 1) -> bytes:
        if values[0] == REPEATED:
            raise Aborted("has given this before", Code.REPEATED_CONTRIBUTION)
        if values[0] == UNUSABLE:
            raise RangeError("is no number", Code.NOT_FINITE)
        payload = np.asarray(values, np.int64).tobytes()
        self.finished, self._last = True, [Send(SERVER, payload), Finished()]
        return payload

    def withdraw(self) -> None:
        self.withdrawn, self._last = True, []

    def resend(self) -> Sequence[ClientEvent]:
        return self._last

    def suspend(self, key: bytes, *, keep_last: bool = True) -> bytes:
        last = [one for one in self._last if keep_last or not isinstance(one, Send)]
        return pickle.dumps((self.index, self.session, self.finished, last))


@dataclass(frozen=True, eq=False)
class Add:
    """Adds what the clients sent."""

    vectors: tuple[bytes, ...]

    def run(self) -> np.ndarray:
        return sum(np.frombuffer(vector, np.int64) for vector in self.vectors)


@dataclass
class PlainServer:
    """Has two phases, in another order than `Phase` has them: nothing may rest on that."""

    cohort: int
    session: bytes
    context: bytes = CONTEXT
    round: None = None
    offer: bytes = b"offer"
    largest_message: int = 16
    phases: tuple[Phase, ...] = (Phase.UNMASK, Phase.MASKED_INPUT)
    phase: Phase | None = None
    greeted: set[int] = field(default_factory=set)
    received: dict[int, bytes] = field(default_factory=dict)
    gone: dict[int, Dropped] = field(default_factory=dict)
    dropped: dict[int, Code] = field(default_factory=dict)
    board: JobBoard = field(default_factory=JobBoard)

    @classmethod
    def resume(cls, stored: bytes) -> "PlainServer":
        return pickle.loads(stored)  # noqa: S301

    @property
    def status(self) -> Status:
        silent = [party for party in self._silent() if party not in self.gone]
        return Status(
            session=self.session,
            phase=self.phase,
            answered=self.cohort - len(self._silent()),
            awaited=tuple(silent) if self.phase is not None else (),
            gone=tuple(sorted(self.gone)),
            dropped=tuple(sorted(self.dropped.items())),
            survivors=tuple(sorted(self.received)) if self.phase is None else (),
            bytes_received=sum(map(len, self.received.values())),
            bytes_sent=0,
        )

    def _silent(self) -> list[int]:
        there = self.greeted if self.phase is Phase.UNMASK else self.received
        return [party for party in range(self.cohort) if party not in there]

    def awaits(self, party: int) -> bool:
        return self.phase is not None and party in self._silent()

    def start(self) -> Sequence[ServerEvent]:
        return self._open(Phase.UNMASK)

    def receive(self, party: int, data: bytes) -> Sequence[ServerEvent]:
        if self.phase is Phase.UNMASK:
            self.greeted.add(party)
        else:
            self.received[party] = data
        return self._next()

    def _next(self) -> Sequence[ServerEvent]:
        return [] if self.phase is None or self.status.awaited else self.deadline(self.phase)

    def drop(self, party: int, reason: str, code: Code = Code.GONE) -> Sequence[ServerEvent]:
        self.gone[party] = Dropped(party, reason, code)
        return self._next()

    def deadline(self, phase: Phase) -> Sequence[ServerEvent]:
        if phase is Phase.UNMASK:
            return self._open(Phase.MASKED_INPUT)
        late = [
            self.gone.pop(party, Dropped(party, "silent", Code.TIMEOUT)) for party in self._silent()
        ]
        self.dropped = {one.party: one.code for one in late}
        self.phase = None
        if not self.received:
            return [*late, Failed("nobody came", Code.QUORUM)]
        jobs = self.board.hand_out([Add(tuple(self.received.values()))])
        return [*late, *(Work(job) for job in jobs)]

    def complete(self, job: Add, value: np.ndarray) -> Sequence[ServerEvent]:
        if not self.board.is_pending(job):
            return []
        self.board.finish(job)
        parties = tuple(sorted(self.received))
        return [Completed(Result(value, len(parties), value / len(parties), parties))]

    def resend(self, party: int | None = None) -> Sequence[ServerEvent]:
        if party is not None:
            self.gone.pop(party, None)
            again = [party] if party in self.status.awaited else []
            return [Send(party, self._opening()) for party in again]
        if self.phase is None:
            return [Work(job) for job in self.board.pending]
        again = [Send(party, self._opening()) for party in self.status.awaited]
        return [*again, PhaseStarted(self.phase)]

    def snapshot(self, key: bytes) -> bytes:
        return pickle.dumps(replace(self, gone={}))

    def _opening(self) -> bytes:
        return b"begin" if self.phase is Phase.UNMASK else b"give"

    def _open(self, phase: Phase) -> Sequence[ServerEvent]:
        self.phase = phase
        sends = [Send(party, self._opening()) for party in range(self.cohort)]
        return [*sends, PhaseStarted(phase)]


def played(
    gone: dict[int, Phase], absent: tuple[int, ...] = (), skip: bool = False, **inputs: int
) -> Run:
    """Plays three parties, of whom some vanish and some never were there."""
    session = secrets.token_bytes(16)
    server: ServerMachine = PlainServer(3, session)
    there = [party for party in range(3) if party not in absent]
    clients: dict[int, ClientMachine] = {party: PlainClient(party, session) for party in there}
    values = {party: inputs.get(f"p{party}", party) for party in there}
    given = {
        party: lambda value=value: None if value == NOTHING else (np.array([value, 1]), 1)
        for party, value in values.items()
    }
    cohort = Cohort(server, clients, given, gone, keep_transcript=True, skip_unusable=skip)
    run = cohort.play()
    kept = [one.sender for one in run.transcript if one.phase is Phase.MASKED_INPUT]
    finished = [party for party, client in clients.items() if client.finished]
    assert [party for party in kept if party != SERVER] == finished
    withdrawn = [party for party, client in clients.items() if client.withdrawn]
    assert withdrawn == [party for party in there if values[party] in (NOTHING, UNUSABLE)]
    return run


@pytest.mark.parametrize("phase", [Phase.UNMASK, Phase.MASKED_INPUT], ids=str)
@pytest.mark.parametrize("gone", [(), (2,), (0, 1, 2)])
def test_a_cohort_carries_any_protocol(gone: tuple[int, ...], phase: Phase) -> None:
    """Sum, drops, costs, transcript and failure come out as those of the library's own protocol."""
    run = played(dict.fromkeys(gone, phase))
    there = [party for party in range(3) if party not in gone]
    assert list(run.cost) == [Phase.UNMASK, Phase.MASKED_INPUT]
    assert run.cost[Phase.MASKED_INPUT].clients == len(there)
    assert run.cost[Phase.UNMASK].clients == (len(there) if phase is Phase.UNMASK else 3)
    if not there:
        assert (run.result, run.code) == (None, Code.QUORUM)
        return
    assert run.result is not None
    assert run.result.total.tolist() == [sum(there), len(there)]
    assert run.drop_codes == dict.fromkeys(gone, Code.TIMEOUT)


def test_a_party_that_was_never_there() -> None:
    """Messages to it are lost, and the others go on."""
    run = played({}, absent=(1,))
    assert run.result is not None
    assert run.result.survivors == (0, 2)
    assert list(run.bytes_down) == [0, 2]


def test_a_client_that_refuses_to_give_its_input() -> None:
    """As when its ledger has the contribution already: a refusal, and the others go on."""
    run = played({}, p1=REPEATED)
    assert run.refusal_codes == {1: Code.REPEATED_CONTRIBUTION}
    assert run.result is not None
    assert run.result.survivors == (0, 2)


@pytest.mark.parametrize(("value", "code"), [(NOTHING, Code.NO_INPUT), (UNUSABLE, Code.NOT_FINITE)])
def test_a_client_without_an_input_sits_the_round_out(value: int, code: Code) -> None:
    """It withdraws, the run says why, and the others go on: nothing of it is in the sum."""
    run = played({}, skip=True, p1=value)
    assert run.refusal_codes == {1: code}
    assert run.drop_codes == {1: Code.TIMEOUT}
    assert run.result is not None
    assert run.result.total.tolist() == [2, 2]


def test_an_unusable_input_is_an_error_unless_it_may_be_skipped() -> None:
    """As it says who made it, and that there is no sum."""
    with pytest.raises(RangeError, match="is no number"):
        played({}, p1=UNUSABLE)


@pytest.mark.parametrize("interface", [ClientMachine, ServerMachine], ids=lambda one: one.__name__)
def test_both_protocols_implement_all_of_it(interface: type) -> None:
    """Each name of an interface, and each call with its arguments: the library's and this one."""
    agreed = integers(3).round()
    clients = client_of(agreed, 0), PlainClient(0, b"")
    servers = server_of(agreed), PlainServer(1, b"")
    names = [name for name in vars(interface) if not name.startswith("_")]
    assert len(names) > 10
    for machine in clients if interface is ClientMachine else servers:
        for name in names:
            has, wants = getattr(machine, name), getattr(interface, name)
            if callable(wants):
                arguments = [*inspect.signature(wants).parameters.values()][1:]
                assert [(each.name, each.kind, each.default) for each in arguments] == [
                    (each.name, each.kind, each.default)
                    for each in inspect.signature(has).parameters.values()
                ], (machine, name)


def test_a_conductor_carries_any_protocol() -> None:
    """Parties that go, come back or refuse, clients and a server that go on elsewhere."""
    session, key = secrets.token_bytes(16), bytes(32)
    server: ServerMachine = PlainServer(4, session)
    clients: dict[int, ClientMachine] = {party: PlainClient(party, session) for party in range(4)}
    conductor = Conductor(server)
    assert [send.payload for send in conductor.begin()] == [b"offer"] * 4 + [b"begin"] * 4

    def answer(party: int, message: bytes) -> list[Send]:
        clients[party] = PlainClient.resume(clients[party].suspend(key, keep_last=False))
        (event,) = clients[party].receive(message)
        payload = event.payload if isinstance(event, Send) else b""
        return conductor.take(party, payload or clients[party].submit(np.array([party, 1])))

    assert conductor.drop(1, "its line is dead") == answer(0, b"begin") == []
    assert server.status.awaited == (2, 3)
    conductor = Conductor(PlainServer.resume(server.snapshot(key)))
    assert conductor.begin() == [Send(party, b"begin") for party in (1, 2, 3)]
    assert conductor.drop(1, "its line is dead") == answer(2, b"begin") == []
    assert answer(3, b"begin") == [Send(party, b"give") for party in (0, 2, 3)]
    refusal = Refusal(session, Code.NO_INPUT, "it holds no examples")
    assert conductor.take(3, seal(refusal)) == []
    assert conductor.server.status.gone == (1, 3)
    assert conductor.back(1) == [Send(1, b"give")]
    assert conductor.back(1) == [Send(1, b"give")]
    assert [answer(party, b"give") for party in range(3)] == [[]] * 3
    assert [(each.party, each.code) for each in conductor.drops.values()] == [(3, Code.REFUSED)]
    assert isinstance(conductor.outcome, Completed)
    assert conductor.outcome.result.total.tolist() == [3, 3]
    assert all(clients[party].finished for party in range(3))
    stored = clients[0].suspend(key, keep_last=False)
    assert PlainClient.resume(stored).resend() == [Finished()]


def test_jobs_of_another_machine_are_refused() -> None:
    """Equal jobs are different ones, and a value counts once."""
    board = JobBoard()
    mine, equal = Add(()), Add(())
    board.hand_out([mine])
    with pytest.raises(LocalProtocolError):
        board.is_pending(equal)
    assert board.finish(mine)
    assert not board.is_pending(mine)
