"""Drivers know two interfaces and no protocol: a protocol in which clients speak once is carried.

It protects nothing. A client sends its numbers in the clear, and the server adds them in a job.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from secagg import (
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
    Result,
    Send,
    ServerMachine,
    Status,
    Work,
)
from secagg.errors import SERVER
from secagg.events import ClientEvent, ServerEvent
from secagg.machine.jobs import JobBoard
from secagg.machine.ownership import Owned, exclusive
from secagg.simulate import Cohort


class PlainClient(Owned):
    """Is told to begin, sends its input, and is finished."""

    clipped = 0

    def __init__(self, index: int, session: bytes) -> None:
        super().__init__()
        self.index, self.session = index, session
        self.finished = False
        self._last: list[ClientEvent] = []

    def start(self) -> bytes:
        return b""

    @exclusive
    def receive(self, data: bytes) -> Sequence[ClientEvent]:
        self._last = [InputNeeded()]
        return self._last

    @exclusive
    def submit(self, values: np.ndarray, weight: int = 1) -> bytes:
        payload = np.asarray(values, np.int64).tobytes()
        self.finished, self._last = True, [Send(SERVER, payload), Finished()]
        return payload

    def resend(self) -> Sequence[ClientEvent]:
        return self._last


@dataclass(frozen=True, eq=False)
class Add:
    """Adds what the clients sent."""

    vectors: tuple[bytes, ...]

    def run(self) -> np.ndarray:
        return sum(np.frombuffer(vector, np.int64) for vector in self.vectors)


@dataclass
class PlainServer:
    """Has a single phase."""

    cohort: int
    session: bytes
    offer: bytes = b"offer"
    phases: tuple[Phase, ...] = (Phase.MASKED_INPUT,)
    phase: Phase | None = None
    received: dict[int, bytes] = field(default_factory=dict)
    board: JobBoard = field(default_factory=JobBoard)

    @property
    def status(self) -> Status:
        awaiting = tuple(party for party in range(self.cohort) if party not in self.received)
        return Status(self.phase, awaiting, sum(map(len, self.received.values())), 0)

    def start(self) -> Sequence[ServerEvent]:
        self.phase = Phase.MASKED_INPUT
        begin = [Send(party, b"begin") for party in range(self.cohort)]
        return [*begin, PhaseStarted(self.phase)]

    def receive(self, party: int, data: bytes) -> Sequence[ServerEvent]:
        self.received[party] = data
        return [] if self.status.awaiting else self._add()

    def deadline(self, phase: Phase) -> Sequence[ServerEvent]:
        late = [Dropped(party, "silent", Code.TIMEOUT) for party in self.status.awaiting]
        return [*late, *self._add()]

    def complete(self, job: Add, value: np.ndarray) -> Sequence[ServerEvent]:
        if not self.board.is_pending(job):
            return []
        self.board.finish(job)
        parties = tuple(sorted(self.received))
        return [Completed(Result(value, len(parties), value / len(parties), parties))]

    def resend(self) -> Sequence[ServerEvent]:
        return [Work(job) for job in self.board.pending]

    def _add(self) -> Sequence[ServerEvent]:
        self.phase = None
        if not self.received:
            return [Failed("nobody came", Code.QUORUM)]
        jobs = self.board.hand_out([Add(tuple(self.received.values()))])
        return [Work(job) for job in jobs]


@pytest.mark.parametrize("gone", [(), (2,), (0, 1, 2)])
def test_a_cohort_carries_any_protocol(gone: tuple[int, ...]) -> None:
    """Sum, drops, costs, transcript and failure come out as those of the library's own protocol."""
    session = secrets.token_bytes(16)
    server: ServerMachine = PlainServer(3, session)
    clients: dict[int, ClientMachine] = {party: PlainClient(party, session) for party in range(3)}
    inputs = {party: lambda party=party: (np.array([party, 1]), 1) for party in range(3)}
    drops = dict.fromkeys(gone, Phase.MASKED_INPUT)
    run = Cohort(server, clients, inputs, drops, keep_transcript=True).play()
    there = [party for party in range(3) if party not in gone]
    assert list(run.cost) == [Phase.MASKED_INPUT]
    assert run.cost[Phase.MASKED_INPUT].clients == len(there)
    assert [one.sender for one in run.transcript if one.receiver == SERVER] == there
    assert {party for party, client in clients.items() if client.finished} == set(there)
    if not there:
        assert (run.result, run.code) == (None, Code.QUORUM)
        return
    assert run.result is not None
    assert run.result.total.tolist() == [sum(there), len(there)]
    assert run.drop_codes == dict.fromkeys(gone, Code.TIMEOUT)


def test_jobs_of_another_machine_are_refused() -> None:
    """Equal jobs are different ones, and a value counts once."""
    board = JobBoard()
    mine, equal = Add(()), Add(())
    board.hand_out([mine])
    with pytest.raises(LocalProtocolError):
        board.is_pending(equal)
    assert board.finish(mine)
    assert not board.is_pending(mine)
