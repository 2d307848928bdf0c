"""A whole cohort in one process, for trials, tests and measurements. It protects nobody.

`Cohort` carries messages between one server and its clients, drops parties on a schedule, measures
the time of every step and records a transcript. A `wire` may change or lose messages, and make up
others, as a server that lies or a hostile network does. It uses machines by their interfaces only.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from numpy.typing import ArrayLike

from ..codes import Code
from ..encoding.clipping import gathered
from ..errors import (
    SERVER,
    Aborted,
    ParameterError,
    RangeError,
    RemoteProtocolError,
    SecAggError,
)
from ..events import (
    Completed,
    Dropped,
    Failed,
    Finished,
    InputNeeded,
    Phase,
    Result,
    Send,
    ServerEvent,
)
from ..interfaces import ClientMachine, ServerMachine
from ..numeric import brief
from .executors import run_jobs


class RoundFailedError(SecAggError):
    """The round ended without a sum; the code is that of `Failed`, and `run` has the details."""

    def __init__(self, reason: str, code: Code, run: "Run") -> None:
        super().__init__(reason, code)
        self.args = (reason, code, run)
        self.run = run


@dataclass(frozen=True, slots=True)
class Record:
    """One message as it was sent.

    Attributes:
        phase: in which it was sent.
        sender, receiver: a party's index, or `SERVER`.
        payload: its bytes.
        number: its place among all messages of the round, from 0.
        delivered: whether it reached its receiver, which may have rejected it. Whoever watches the
            network has the others as well.
    """

    phase: Phase
    sender: int
    receiver: int
    payload: bytes = field(repr=False)
    number: int = 0
    delivered: bool = True


Wire = Callable[[Record], Iterable[Record]]


@dataclass
class Cost:
    """The cost of one phase. Seconds are by the clock of the `Cohort`; clients run one by one.

    Attributes:
        client_seconds: total of all clients.
        server_seconds: of the server, including the unmasking.
        bytes_up: total size of the messages from clients to the server.
        bytes_down: total size of the messages that the server sent when the phase ended.
        clients: number of clients that sent a message.
    """

    client_seconds: float = 0.0
    server_seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    clients: int = 0


@dataclass
class Run:
    """The record of one round.

    Attributes:
        result: the result, or None if the round failed.
        reason: why it failed, or "".
        code: the code of the failure, or None.
        drops: reasons of the parties that the server dropped, by party.
        drop_codes: codes of the same parties.
        refusals: reasons of the clients that aborted the round, or had no input and sat it out
            (`Code.NO_INPUT`), by party.
        refusal_codes: codes of the same parties.
        disputes: (dealer, holder) pairs whose shares were missing or wrong, as in `Failed`.
        rejected: why messages were rejected as malformed, out of order or late, by their numbers;
            to their receivers nothing has changed.
        clipped: number of clipped values, by party that submitted an input.
        cost: by phase.
        bytes_up: bytes sent, by party.
        bytes_down: bytes received, by party.
        transcript: every message, in order; empty unless the `Cohort` keeps it.
        round: what the parties have agreed on; its class is the protocol's.
    """

    result: Result | None = None
    reason: str = ""
    code: Code | None = None
    drops: dict[int, str] = field(default_factory=dict)
    drop_codes: dict[int, Code] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    refusal_codes: dict[int, Code] = field(default_factory=dict)
    disputes: tuple[tuple[int, int], ...] = ()
    rejected: dict[int, str] = field(default_factory=dict)
    clipped: dict[int, int] = field(default_factory=dict)
    cost: dict[Phase, Cost] = field(default_factory=dict)
    bytes_up: dict[int, int] = field(default_factory=dict)
    bytes_down: dict[int, int] = field(default_factory=dict)
    transcript: list[Record] = field(default_factory=list, repr=False)
    round: Any = None


Input = Callable[[], tuple[ArrayLike | Iterator[ArrayLike], int] | None]


class Cohort:
    """Runs one round between a server and its clients, all in this process.

    Args:
        server: a new server.
        clients: its clients by index; a missing index is a party that never sends anything.
        inputs: per client, a function that returns (values, weight) when the input is needed, or
            None if there is nothing to give: the client then sits the round out (`withdraw`).
        drops: parties that vanish: for each, the phase whose message it no longer sends.
        keep_transcript: whether `Run.transcript` is filled.
        executor: runs the server's jobs, as in `run_jobs`; by default this process does.
        clock: returns seconds; use `time.process_time` to measure CPU time.
        skip_unusable: whether a client whose input is unusable (`RangeError`) sits the round out
            as well, with that reason; by default `play` raises the error.
        subjects: what an input is given for once, for parties with whom that is not the context
            (`Client.expect`).
        wire: is given each message as it is sent, and returns those that are delivered in its
            place: the same object, others, several or none. The costs are of what parties sent.
    """

    def __init__(
        self,
        server: ServerMachine,
        clients: Mapping[int, ClientMachine],
        inputs: Mapping[int, Input],
        drops: Mapping[int, Phase] | None = None,
        keep_transcript: bool = False,
        executor: Executor | None = None,
        clock: Callable[[], float] = time.perf_counter,
        skip_unusable: bool = False,
        subjects: Mapping[int, bytes] | None = None,
        wire: Wire | None = None,
    ) -> None:
        self._server = server
        self._clients = dict(clients)
        self._inputs = inputs
        self._drops = dict(drops or {})
        self._keep_transcript = keep_transcript
        self._executor = executor
        self._clock = clock
        self._skip_unusable = skip_unusable
        self._subjects = dict(subjects or {})
        self._phase = server.phases[0]
        self._wire = wire
        self._sent = 0  # messages so far
        self._inbox: list[Record] = []  # to the server
        self.run: Final = Run(cost={phase: Cost() for phase in server.phases}, round=server.round)
        for party in clients:
            self.run.bytes_up[party] = self.run.bytes_down[party] = 0

    def play(self) -> Run:
        """Runs the round to its end."""
        with self._server_time():
            events = self._server.start()
        for party, client in self._clients.items():
            try:
                # One process, so the server's word is its own.
                client.expect(self._server.context, self._subjects.get(party))
                with self._client_time():
                    message = client.start()
            except Aborted as error:
                self._refused(party, error.reason, error.code)
                continue
            if message:
                self._to_server(party, message)
        self._on_server(events)
        while self._server.phase is not None:
            inbox, self._inbox = self._inbox, []
            for record in inbox:
                self._deliver(record)
            phase = self._server.phase
            if not self._inbox and phase is not None:  # no other party will answer
                with self._server_time():
                    events = self._server.deadline(phase)
                self._on_server(events)
        for record in self._inbox:
            self._is_lost(record)
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
        for record in self._transmit(party, SERVER, payload):
            self._pass_on(record)

    def _transmit(self, sender: int, receiver: int, payload: bytes) -> list[Record]:
        """Takes note of a message and of what the wire makes of it; returns what is to deliver."""
        sent = Record(self._phase, sender, receiver, payload, self._sent)
        if self._wire is None:
            return [self._note(sent)]
        passed = list(self._wire(sent))
        for each in passed:
            self._check(each)
        if not any(each is sent for each in passed):
            self._is_lost(self._note(sent))
        return [self._note(each) for each in passed]

    def _check(self, record: object) -> None:
        """Raises ParameterError unless this is a message between a client and the server."""
        if isinstance(record, Record) and isinstance(record.payload, bytes):
            client, other = sorted((record.sender, record.receiver), reverse=True)
            if client >= 0 and other == SERVER:
                return
        raise ParameterError(
            "wire must return Records between the server and a client, whose payloads are bytes, "
            f"not {brief(record)}",
            Code.ARGUMENT,
        )

    def _note(self, record: Record) -> Record:
        """Gives a message its number, and keeps it."""
        if record.number != self._sent or not record.delivered:  # of the wire's own making
            record = replace(record, number=self._sent, delivered=True)
        self._sent += 1
        if self._keep_transcript:
            self.run.transcript.append(record)
        return record

    def _is_lost(self, record: Record) -> None:
        """Takes note that a message does not reach its receiver."""
        if self._keep_transcript:
            self.run.transcript[record.number] = replace(record, delivered=False)

    def _pass_on(self, record: Record) -> None:
        if record.receiver == SERVER:
            self._inbox.append(record)
        else:
            self._on_client(record)

    def _deliver(self, record: Record) -> None:
        party = record.sender
        try:
            with self._server_time():
                events = self._server.receive(party, record.payload)
        except RemoteProtocolError as error:
            self.run.rejected[record.number] = error.reason
            self.run.drops.setdefault(party, error.reason)
            self.run.drop_codes.setdefault(party, error.code)
            return
        self._on_server(events)

    def _on_server(self, events: Sequence[ServerEvent]) -> None:
        with self._server_time():
            events = run_jobs(self._server, events, self._executor)
        sent: list[Record] = []
        for send in (event for event in events if isinstance(event, Send)):
            self.run.cost[self._phase].bytes_down += len(send.payload)
            if send.to in self.run.bytes_down:
                self.run.bytes_down[send.to] += len(send.payload)
            sent += self._transmit(SERVER, send.to, send.payload)
        self._phase = self._server.phase or self._phase
        for event in events:
            match event:
                case Dropped(party, reason, code):
                    self.run.drops[party], self.run.drop_codes[party] = reason, code
                case Completed(result):
                    self.run.result, self.run.disputes = result, result.disputes
                case Failed(reason, code, disputes):
                    self.run.reason, self.run.code, self.run.disputes = reason, code, disputes
        for record in sent:
            self._pass_on(record)

    def _on_client(self, record: Record) -> None:
        party = record.receiver
        client = self._clients.get(party)
        if client is None or party in self.run.refusals or self._has_vanished(party):
            self._is_lost(record)
            return
        try:
            with self._client_time():
                events = client.receive(record.payload)
        except Aborted as error:
            self._refused(party, error.reason, error.code)
            return
        except RemoteProtocolError as error:  # of a server that lies
            self.run.rejected[record.number] = error.reason
            return
        for event in events:
            match event:
                case Send(_, answer):
                    self._to_server(party, answer)
                case InputNeeded():
                    self._submit(party, client)
                case Finished():
                    pass

    def _refused(self, party: int, reason: str, code: Code) -> None:
        self.run.refusals[party], self.run.refusal_codes[party] = reason, code

    def _has_vanished(self, party: int) -> bool:
        """Returns whether a party vanished in an earlier phase than this one."""
        drop, phases = self._drops.get(party), self._server.phases
        if drop is None:
            return False
        # A phase that this round does not have counts as over once a later one begins.
        order = phases if drop in phases else tuple(Phase)
        return order.index(drop) < order.index(self._phase)

    def _submit(self, party: int, client: ClientMachine) -> None:
        if self._drops.get(party) is self._phase:
            return
        given = self._inputs[party]()
        if given is None:
            client.withdraw()
            self._refused(party, "it had no input to give", Code.NO_INPUT)
            return
        try:
            with self._client_time(), gathered():  # `Run.clipped` has the counts
                message = client.submit(*given)
        except Aborted as error:
            self._refused(party, error.reason, error.code)
            return
        except RangeError as error:
            if not self._skip_unusable:
                raise
            client.withdraw()
            self._refused(party, error.reason, error.code)
            return
        self.run.clipped[party] = client.clipped
        self._to_server(party, message)
