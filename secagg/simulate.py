"""A whole cohort in one process: for trying, testing and measuring. It protects nobody.

`Cohort` carries messages between one server and its clients, loses parties on schedule, times
every step and keeps a transcript; `secure_sum` is one call around it.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .codes import Code
from .drivers.executors import run_jobs
from .encoding.layout import Arrays, Layout
from .errors import SERVER, Aborted, ParameterError, RemoteProtocolError, SecAggError
from .events import (
    ClientEvent,
    Completed,
    Dropped,
    Failed,
    Finished,
    InputNeeded,
    Phase,
    Randomness,
    Result,
    Send,
    ServerEvent,
)
from .identity.directory import Directory
from .identity.identity import Identity
from .ledger.ledger import MemoryLedger
from .pairwise.client import Client
from .pairwise.server import Server
from .pairwise.transitions import PHASES
from .params.formats import Format
from .params.params import Mode, Params, Policy

PHASE_ORDER: Final = tuple(Phase)


class RoundFailedError(SecAggError):
    """The round ended without a sum, with the code of `Failed`; `run` tells how far it came."""

    def __init__(self, reason: str, code: Code, run: "Run") -> None:
        super().__init__(reason, code)
        self.args = (reason, code, run)
        self.run = run


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it crossed the wire."""

    phase: Phase
    sender: int
    receiver: int
    payload: bytes = field(repr=False)


@dataclass(slots=True)
class Cost:
    """What one phase cost. Seconds are by the clock of the `Cohort`; clients run one by one.

    Attributes:
        client_seconds: all clients together.
        server_seconds: the server, unmasking included.
        bytes_up: all messages of the phase from clients to the server.
        bytes_down: all messages that the server sent when the phase ended.
        clients: how many clients sent a message.
    """

    client_seconds: float = 0.0
    server_seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    clients: int = 0


@dataclass(slots=True)
class Run:
    """What came of a round.

    Attributes:
        result: the sum, or None when the round failed.
        reason: why it failed, or "".
        code: the same for programs, or None.
        drops: parties that the server dropped, with its reasons.
        drop_codes: the same for programs.
        refusals: parties whose client ended the round by itself, with their reasons.
        refusal_codes: the same for programs.
        disputes: (dealer, holder) pairs whose shares were missing or did not fit, as in `Failed`.
        clipped: values clipped, by party that submitted an input.
        cost: by phase.
        bytes_up: by party, what it sent.
        bytes_down: by party, what it was sent.
        transcript: every message, in order; empty unless it was asked for.
    """

    result: Result | None = None
    reason: str = ""
    code: Code | None = None
    drops: dict[int, str] = field(default_factory=dict)
    drop_codes: dict[int, Code] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    refusal_codes: dict[int, Code] = field(default_factory=dict)
    disputes: tuple[tuple[int, int], ...] = ()
    clipped: dict[int, int] = field(default_factory=dict)
    cost: dict[Phase, Cost] = field(default_factory=dict)
    bytes_up: dict[int, int] = field(default_factory=dict)
    bytes_down: dict[int, int] = field(default_factory=dict)
    transcript: list[Record] = field(default_factory=list, repr=False)


Input = Callable[[], tuple[ArrayLike, int]]


class Cohort:
    """Carries one round between a server and its clients, all in this process.

    Args:
        server: a fresh server.
        clients: its clients by index; a missing index is a party that never appears.
        inputs: for each client, a function that gives (values, weight) when input is needed.
        drops: party -> the phase before whose message it vanishes.
        keep_transcript: whether `Run.transcript` is filled.
        executor: what runs the server's jobs, as in `run_jobs`; this process when None.
        clock: by which seconds are told; `time.process_time` for those of the CPU.
    """

    def __init__(
        self,
        server: Server,
        clients: Mapping[int, Client],
        inputs: Mapping[int, Input],
        drops: Mapping[int, Phase] | None = None,
        keep_transcript: bool = False,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._server = server
        self._clients = dict(clients)
        self._inputs = inputs
        self._drops = dict(drops or {})
        self._keep = keep_transcript
        self._executor = executor
        self._clock = clock
        self._phase = PHASE_ORDER[0]
        self._inbox: list[tuple[int, bytes]] = []  # to the server
        self.run: Final = Run(cost={phase: Cost() for phase in server.round.params.mode.phases})
        for party in clients:
            self.run.bytes_up[party] = self.run.bytes_down[party] = 0

    def play(self) -> Run:
        """Runs the round to its end."""
        with self._server_time():
            events = self._server.start()
        for party, client in self._clients.items():
            with self._client_time():
                message = client.start()
            self._to_server(party, message)
        self._on_server(events)
        while self._server.state in PHASES:
            inbox, self._inbox = self._inbox, []
            for party, payload in inbox:
                self._deliver(party, payload)
            if not self._inbox and self._server.state in PHASES:  # nobody else will answer
                with self._server_time():
                    events = self._server.deadline(PHASES[self._server.state])
                self._on_server(events)
        return self.run

    @contextmanager
    def _server_time(self) -> Iterator[None]:
        cost, start = self.run.cost[self._phase], self._clock()
        yield
        cost.server_seconds += self._clock() - start

    @contextmanager
    def _client_time(self) -> Iterator[None]:
        cost, start = self.run.cost[self._phase], self._clock()
        yield
        cost.client_seconds += self._clock() - start

    def _to_server(self, party: int, payload: bytes) -> None:
        if self._drops.get(party) is self._phase:
            return
        cost = self.run.cost[self._phase]
        cost.clients += 1
        cost.bytes_up += len(payload)
        self.run.bytes_up[party] += len(payload)
        if self._keep:
            self.run.transcript.append(Record(self._phase, party, SERVER, payload))
        self._inbox.append((party, payload))

    def _deliver(self, party: int, payload: bytes) -> None:
        try:
            with self._server_time():
                events = self._server.receive(party, payload)
        except RemoteProtocolError as error:
            self.run.drops.setdefault(party, error.reason)
            self.run.drop_codes.setdefault(party, error.code)
            return
        self._on_server(events)

    def _on_server(self, events: Sequence[ServerEvent]) -> None:
        with self._server_time():
            events = run_jobs(self._server, events, self._executor)
        sends = [event for event in events if isinstance(event, Send)]
        for send in sends:
            self.run.cost[self._phase].bytes_down += len(send.payload)
            self.run.bytes_down[send.to] += len(send.payload)
            if self._keep:
                record = Record(self._phase, SERVER, send.to, send.payload)
                self.run.transcript.append(record)
        if self._server.state in PHASES:
            self._phase = PHASES[self._server.state]
        for event in events:
            match event:
                case Dropped(party, reason, code):
                    self.run.drops[party], self.run.drop_codes[party] = reason, code
                case Completed(result):
                    self.run.result, self.run.disputes = result, result.disputes
                case Failed(reason, code, disputes):
                    self.run.reason, self.run.code, self.run.disputes = reason, code, disputes
        for send in sends:
            self._on_client(send.to, send.payload)

    def _on_client(self, party: int, payload: bytes) -> None:
        drop = self._drops.get(party)
        if drop is not None and PHASE_ORDER.index(drop) < PHASE_ORDER.index(self._phase):
            return
        client = self._clients[party]
        try:
            with self._client_time():
                events: list[ClientEvent] = client.receive(payload)
        except Aborted as error:
            self.run.refusals[party], self.run.refusal_codes[party] = error.reason, error.code
            return
        for event in events:
            match event:
                case Send(_, answer):
                    self._to_server(party, answer)
                case InputNeeded():
                    self._submit(party, client)
                case Finished():
                    pass

    def _submit(self, party: int, client: Client) -> None:
        if self._drops.get(party) is Phase.MASKED_INPUT:
            return
        values, weight = self._inputs[party]()
        with self._client_time():
            message = client.submit(values, weight)
        self.run.clipped[party] = client.clipped
        self._to_server(party, message)


@dataclass(frozen=True, slots=True)
class SecureSum:
    """What `secure_sum` gives: the sum in the shape of the updates, and how it came about.

    Attributes:
        total: the weighted sum of the survivors' updates.
        mean: total divided by `weight`.
        weight: sum of the survivors' weights.
        survivors: parties whose update is in the sum.
        cost: seconds and bytes by phase and role.
        transcript: every message of the round, in order.
        run: everything else (bytes by party, drops, clipped values, ...).
        params: the parameters of the round.
    """

    total: Arrays
    mean: Arrays
    weight: int
    survivors: tuple[int, ...]
    cost: dict[Phase, Cost]
    transcript: list[Record] = field(repr=False)
    run: Run = field(repr=False)
    params: Params


def secure_sum(
    updates: Sequence[Arrays],
    format: Format,  # noqa: A002
    *,
    weights: Sequence[int] | None = None,
    drops: Mapping[int, Phase] | None = None,
    mode: Mode = Mode.SEMI_HONEST,
    threshold: int = 0,
    min_survivors: int = 0,
    colluders: int = -1,
    degree: int = 0,
    policy: Policy | None = None,
    random: Callable[[int], Randomness] | None = None,
    executor: Executor | None = None,
) -> SecureSum:
    """Sums updates by the real protocol, with every party in this process: it protects nobody.

    Args:
        updates: one a party; arrays, or lists or dicts of arrays, all of one layout.
        format: what the numbers are, `FixedPoint` or `Integers`.
        weights: one a party, for a format with max_weight > 1; 1 each when not given.
        drops: who disappears, and before which message: {2: Phase.MASKED_INPUT}.
        mode: in `Mode.MALICIOUS` every party gets a fresh identity, pinned by all.
        threshold, min_survivors, colluders, degree: see `Params`.
        policy: what every client insists on; a cohort of two needs `Policy(allow_pair=True)`.
        random: gives each party's source of randomness, for reproducible runs.
        executor: what runs the server's jobs, as in `run_jobs`; this process when None.

    Raises:
        ParameterError: impossible parameters, schedule or weights.
        RangeError: an update is unusable; no sum was made.
        RoundFailedError: too few parties were left.
    """
    if weights is not None and len(weights) != len(updates):
        raise ParameterError(f"{len(updates)} updates have {len(weights)} weights", Code.ARGUMENT)
    if not updates:
        raise ParameterError("a sum needs updates", Code.ARGUMENT)
    for party, phase in (drops or {}).items():
        if party not in range(len(updates)) or not isinstance(phase, Phase):
            raise ParameterError(f"no party {party!r} can drop before {phase!r}", Code.ARGUMENT)
    layout = Layout.of(updates[0])
    vectors = [layout.flatten(update) for update in updates]
    params = Params(
        cohort=len(updates),
        length=layout.length,
        format=format,
        threshold=threshold,
        min_survivors=min_survivors,
        colluders=colluders,
        mode=mode,
        degree=degree,
    )
    agreed = params.round()
    identities, directory = introduce(len(updates)) if mode == Mode.MALICIOUS else ([], None)
    ledger = MemoryLedger() if mode == Mode.MALICIOUS else None
    clients = {
        party: Client(
            agreed,
            party,
            policy or Policy(),
            random(party) if random else os.urandom,
            identity=identities[party] if identities else None,
            directory=directory,
            ledger=ledger,
        )
        for party in range(len(updates))
    }
    inputs = {
        party: _constant(vector, 1 if weights is None else weights[party])
        for party, vector in enumerate(vectors)
    }
    server = Server(agreed, directory)
    cohort = Cohort(server, clients, inputs, drops, keep_transcript=True, executor=executor)
    run = cohort.play()
    if run.result is None:
        raise RoundFailedError(run.reason, cast("Code", run.code), run)
    return SecureSum(
        total=layout.unflatten(run.result.total),
        mean=layout.unflatten(run.result.mean),
        weight=run.result.weight,
        survivors=run.result.survivors,
        cost=run.cost,
        transcript=run.transcript,
        run=run,
        params=params,
    )


def introduce(cohort: int) -> tuple[list[Identity], Directory]:
    """Fresh identities for a whole cohort, and the directory that pins them."""
    identities = [Identity.generate() for _ in range(cohort)]
    entries = [(f"party-{i}", identity.verify_key) for i, identity in enumerate(identities)]
    return identities, Directory.of(entries)


def _constant(values: NDArray[np.generic], weight: int) -> Input:
    return lambda: (values, weight)
