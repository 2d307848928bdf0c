"""The server of one round: bytes and calls in, events out. No I/O, no clock, no threads.

It adds masked inputs as they arrive and never stores one. A phase ends when everybody expected
has answered, or when the driver says that its time is up. A client whose message breaks the
protocol is dropped before anything of it is forwarded. (What only its peers can see, shares that
do not open, shows when they answer: so far as the correction of wrong shares reaches.)
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ..arithmetic.field import Field
from ..codes import Code
from ..encoding.choice import codec_for
from ..errors import LocalProtocolError, RangeError, RemoteProtocolError, SecAggError, StateError
from ..events import (
    Completed,
    Dropped,
    Failed,
    Job,
    Phase,
    PhaseStarted,
    Result,
    Send,
    ServerEvent,
    Work,
)
from ..identity.directory import Directory
from ..ledger.ledger import Ledger, Once, claim, require_ledger
from ..machine.ownership import Session, exclusive
from ..machine.wire import MessageType, PartySet, open_message
from ..params.params import Round
from . import keys
from .authentication import for_server
from .memory import ServerMemory
from .recovery import RecoveryError, rebuild_seeds
from .server_steps import ServerSteps
from .state import StoredServer, open_server, seal_server
from .transitions import PHASES, SERVER, Call, Input, ServerState, step, takes
from .unmasking import Unmasking

_log: Final = logging.getLogger("secagg")


@dataclass(frozen=True, slots=True)
class Status:
    """Where a round stands: its state, who is awaited, and message bytes so far."""

    state: ServerState
    awaited: tuple[int, ...]
    bytes_received: int
    bytes_sent: int


class Server(Session):
    """The aggregator of one round; use a fresh object for every round.

    Threads take turns on it; a forked child may not use it.

    Args:
        agreed: the round that the cohort was invited to; send `offer` to every party.
        directory: malicious mode: the verify keys of the cohort.
        ledger: where the survivor set is claimed before it is sent, so that a server that is
            resumed from any snapshot never sends out another one. Needed for `snapshot` only.

    Raises:
        ParameterError: the directory does not fit the mode or the cohort.
    """

    def __init__(
        self,
        agreed: Round,
        directory: Directory | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        params = agreed.params
        memory = ServerMemory(
            expected=tuple(range(params.cohort)),
            total=Field(params.field_bits).zeros(0),
            accepted={kind: {} for kind in _AWAITED.values()},
        )
        record = None if ledger is None else require_ledger(ledger)
        self._set_up(ServerSteps(agreed, for_server(params, directory), memory), record)

    def _set_up(self, steps: ServerSteps, ledger: Ledger | None) -> None:
        super().__init__()
        self.round = steps.round
        self.offer = steps.round.encode()
        self._params = steps.round.params
        self._table = SERVER[steps.round.params.mode]
        self._steps = steps
        self._ledger = ledger
        self._unmasking: Unmasking | None = None
        self._disputes: tuple[tuple[int, int], ...] = ()
        self._untold: list[ServerEvent] = []  # drops, until a call returns
        self._silent = self._unheard()

    @classmethod
    def resume(
        cls, stored: bytes, key: bytes, ledger: Ledger, directory: Directory | None = None
    ) -> "Server":
        """The server that `snapshot` stored, in whatever process; go on with `resend()`.

        A snapshot from before the survivor set was sent leads to no sum once it was sent: the
        ledger knows, and the round fails.

        Args:
            stored: what `snapshot` gave.
            key: the 32 bytes that it was sealed under.
            ledger: the same as before.
            directory: malicious mode: the same as before.

        Raises:
            StateError: another key, altered bytes, or another directory than before.
            ParameterError: the directory does not fit, or there is no ledger.
        """
        state = open_server(stored, key)
        authentication = for_server(state.round.params, directory)
        steps = ServerSteps(state.round, authentication, state.memory)
        if steps.h0 != state.h0:
            raise StateError(
                "the directory is another one than when this server was stored",
                Code.WRONG_DIRECTORY,
            )
        server = cls.__new__(cls)
        server._set_up(steps, require_ledger(ledger))
        return server

    def __repr__(self) -> str:
        return f"<secagg.Server of {self._params.cohort}: {self.state.value}>"

    @property
    def _memory(self) -> ServerMemory:
        return self._steps.memory

    @property
    def state(self) -> ServerState:
        """Where this server stands."""
        return self._memory.state

    # -- what the driver does -------------------------------------------------------------

    @exclusive
    def start(self) -> list[ServerEvent]:
        """Begins the first phase.

        Raises:
            LocalProtocolError: called twice.
        """
        return self._enter(Call.START)

    @exclusive
    def receive(self, party: int, data: bytes) -> list[ServerEvent]:
        """Takes one message from a party and says what to do.

        A repetition of a message that was accepted is ignored; a different one in its place is
        refused and the first kept.

        Args:
            party: index of the sender, as the transport knows it.
            data: the bytes, whatever they are.

        Raises:
            RemoteProtocolError: the message is malformed (`DecodeError`), of another session,
                out of order or late; nothing has changed. Drivers log it and go on.
            LocalProtocolError: there is no such party.
            StateError: the ledger failed, and the message was taken: nothing was sent, and
                `deadline` tries again.
        """
        memory = self._memory
        if isinstance(party, bool) or not isinstance(party, int):
            raise LocalProtocolError(
                f"a party is an int, not {type(party).__name__}", Code.ARGUMENT
            )
        if party not in range(self._params.cohort):
            raise LocalProtocolError(f"there is no party {party}", Code.UNKNOWN_PARTY)
        kind, reader, digest = open_message(data, party, self.round.session)
        if party in memory.accepted.get(kind, ()):
            if memory.accepted[kind][party] == digest:
                return []
            raise RemoteProtocolError(
                party, "a second, different message for the same step", Code.EQUIVOCATION
            )
        if party in memory.dropped:
            raise RemoteProtocolError(party, f"was dropped: {memory.dropped[party]}", Code.DROPPED)
        cause = next((known for known in self._table[self.state] if known == kind), None)
        if not isinstance(cause, MessageType) or party not in self._silent:
            raise RemoteProtocolError(
                party,
                f"message of type {kind:#04x} while {self.state.value}",
                Code.OUT_OF_ORDER if takes(self._table, kind) else Code.MALFORMED,
            )
        with self._whole():
            complaint = self._steps.take(cause, party, reader)
            memory.received += reader.size
            if complaint is None:
                memory.accepted[cause][party] = digest
                self._silent.discard(party)
            else:
                self._drop(complaint)
            return self._told([] if self._silent else self._phase_over())

    @exclusive
    def deadline(self, phase: Phase) -> list[ServerEvent]:
        """The time of a phase is up: goes on without those who are silent.

        A deadline of another phase than the present one does nothing.
        """
        if self.state not in PHASES or PHASES[self.state] is not phase:
            return []
        with self._whole():
            if self.state is not ServerState.UNMASK:  # there their input is in the sum already
                for party in sorted(self._silent):
                    self._drop(Dropped(party, f"no {phase} in time", Code.TIMEOUT))
            return self._told(self._phase_over())

    @exclusive
    def complete(self, job: Job, value: Any) -> list[ServerEvent]:
        """Takes the value of a job; a job that is handed back twice counts once.

        Raises:
            LocalProtocolError: not a job of this server.
            RangeError: not a value that the job can give; nothing has changed.
        """
        if self.state in (ServerState.COMPLETED, ServerState.FAILED):
            return []
        if self._unmasking is None:
            raise LocalProtocolError(
                "complete() with a job that this server did not hand out", Code.UNKNOWN_JOB
            )
        with self._whole():
            jobs = self._unmasking.complete(job, value)
            return self._finish() if self._unmasking.finished else [Work(job) for job in jobs]

    @exclusive
    def snapshot(self, key: bytes) -> bytes:
        """Everything that is needed to go on with this phase in another process, sealed.

        Store it after what `receive` or `deadline` changed, and before the messages that these
        gave are sent. It holds the sum of masked inputs so far and, once they are asked for, shares
        of the survivors; never an input, nor a key that was rebuilt. While masks are taken off
        there is nothing to store: go on from the last snapshot of the unmask phase. From a snapshot
        of an earlier phase a round mostly fails: clients repeat their last message, none before.

        Args:
            key: 32 secret bytes that stay with this server, the same for any number of rounds.

        Raises:
            LocalProtocolError: no phase is under way, or the server has no ledger.
            ParameterError: the key has another length.
        """
        if self.state not in PHASES:
            raise LocalProtocolError(f"snapshot() while {self.state.value}", Code.OUT_OF_ORDER)
        if self._ledger is None:
            raise LocalProtocolError(
                "snapshot() needs a ledger: a resumed server might send a second survivor set",
                Code.NO_LEDGER,
            )
        return seal_server(StoredServer(self.round, self._steps.h0, self._memory), key)

    @exclusive
    def resend(self) -> list[ServerEvent]:
        """This phase once more, for those who are awaited: the messages that opened it, the same
        bytes, and its `PhaseStarted`. In the first phase that message is the `offer`. While masks
        are taken off: the jobs that were not handed back yet.
        """
        if self._unmasking is not None:
            return [Work(job) for job in self._unmasking.pending]
        if self.state not in PHASES:
            return []
        opening = self._steps.opening()
        again = [(party, payload) for party, payload in opening if party in self._silent]
        return [*self._send(again), PhaseStarted(PHASES[self.state])]

    @property
    @exclusive
    def status(self) -> Status:
        """Where the round stands."""
        memory = self._memory
        return Status(self.state, tuple(sorted(self._silent)), memory.received, memory.sent)

    # -- phases -----------------------------------------------------------------------------

    def _unheard(self) -> set[int]:
        """Who is still to send this phase's message."""
        memory, kind = self._memory, _AWAITED.get(self.state)
        if kind is None:
            return set()
        return set(memory.expected) - memory.accepted[kind].keys() - memory.dropped.keys()

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """The round ends with whatever may have left half a step behind: a vector that is in the
        sum but not counted, say. The library's own errors leave none.
        """
        try:
            yield
        except SecAggError:
            raise
        except BaseException:  # out of memory, interrupted
            if Call.FAIL in self._table[self.state]:
                self._enter(Call.FAIL)
            self._forget()
            raise

    def _enter(self, cause: Input) -> list[ServerEvent]:
        self._memory.state = step(self._table, self.state, cause)
        self._silent = self._unheard()
        _log.info("%s: %r", self.round.session.hex(), self)
        return [PhaseStarted(PHASES[self.state])] if self.state in PHASES else []

    def _drop(self, dropped: Dropped) -> None:
        party, reason, code = dropped.party, dropped.reason, dropped.code
        self._memory.dropped[party] = reason
        self._silent.discard(party)
        _log.info("%s: party %d dropped: %s [%s]", self.round.session.hex(), party, reason, code)
        self._untold.append(dropped)

    def _told(self, events: list[ServerEvent]) -> list[ServerEvent]:
        """The events, after the drops; those wait for the next call where the ledger fails."""
        told, self._untold = self._untold, []
        return told + events

    def _fail(self, failed: Failed) -> list[ServerEvent]:
        self._enter(Call.FAIL)
        self._forget()
        _log.warning("%s: failed: %s [%s]", self.round.session.hex(), failed.reason, failed.code)
        return [failed]

    def _forget(self) -> None:
        """Lets go of everything that could unmask an input."""
        self._memory.total = Field(self._params.field_bits).zeros(0)
        self._memory.answers.clear()
        self._unmasking = None

    def _send(self, payloads: Iterable[tuple[int, bytes]]) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        for party, payload in payloads:
            self._memory.sent += len(payload)
            events.append(Send(party, payload))
        return events

    def _phase_over(self) -> list[ServerEvent]:
        memory = self._memory
        kind = _AWAITED[self.state]
        members = tuple(
            party
            for party in memory.expected
            if party in memory.accepted[kind] and party not in memory.dropped
        )
        late = self.state in (ServerState.CONSISTENCY, ServerState.UNMASK)
        least = self._params.threshold if late else self._params.quorum
        if len(members) < least:
            what = PHASES[self.state]
            reason = f"{len(members)} parties sent {what}, {least} are needed"
            return self._fail(Failed(reason, Code.QUORUM))
        return _NEXT[self.state](self, members)

    def _close_advertise_keys(self, members: tuple[int, ...]) -> list[ServerEvent]:
        memory = self._memory
        memory.roster = {party: memory.roster[party] for party in members}  # ascending
        memory.h1 = keys.h1(self._steps.h0, memory.roster, self._params.cohort)
        memory.expected = members
        return self._open(Call.PHASE_OVER)

    def _close_share_keys(self, members: tuple[int, ...]) -> list[ServerEvent]:
        memory = self._memory
        memory.commitments = {party: memory.shares[party].commitment for party in members}
        memory.h2 = keys.h2(memory.h1, members, self._params.cohort)
        memory.expected = members
        memory.total = Field(self._params.field_bits).zeros(self._params.vector_length)
        return self._open(Call.PHASE_OVER)

    def _close_masked_input(self, members: tuple[int, ...]) -> list[ServerEvent]:
        memory = self._memory
        session = self.round.session
        if hopeless := self._steps.hopeless(members):
            return self._fail(hopeless)
        if self._ledger is not None and not claim(self._ledger, Once.SURVIVOR_SET, session):
            reason = "a survivor set was sent before, of which this server knows nothing"
            return self._fail(Failed(reason, Code.ROLLED_BACK))
        memory.survivors = members
        memory.expected = members
        memory.h3 = keys.h3(memory.h2, members, self._params.cohort)
        memory.shares.clear()
        return self._open(Call.PHASE_OVER)

    def _close_consistency(self, members: tuple[int, ...]) -> list[ServerEvent]:
        self._memory.expected = members
        return self._open(Call.PHASE_OVER)

    def _open(self, cause: Input) -> list[ServerEvent]:
        """Enters the next phase with the messages that open it."""
        started = self._enter(cause)
        return self._send(self._steps.opening()) + started

    def _close_unmask(self, members: tuple[int, ...]) -> list[ServerEvent]:
        memory = self._memory
        try:
            seeds = rebuild_seeds(
                self._params,
                self._steps.graph,
                memory.roster,
                memory.commitments,
                self._steps.h0,
                memory.h1,
                memory.survivors,
                {party: memory.answers[party] for party in members},
            )
        except RecoveryError as error:
            return self._fail(error.failed)
        memory.answers.clear()
        self._disputes = seeds.disputes
        self._enter(Call.PHASE_OVER)
        self._unmasking = Unmasking(self._params, memory.total)
        survivors = PartySet.of(memory.survivors, self._params.cohort)
        peers = {party: self._steps.graph.neighbours(party, survivors) for party in seeds.masks}
        jobs = self._unmasking.start(seeds, self._steps.h0, memory.h1, memory.roster, peers)
        return [Work(job) for job in jobs]

    def _finish(self) -> list[ServerEvent]:
        memory = self._memory
        try:
            decoded = codec_for(self._params).decode(memory.total, len(memory.survivors))
        except RangeError as error:
            return self._fail(Failed(error.reason, error.code))
        self._enter(Call.WORK_DONE)
        self._forget()
        return [
            Completed(
                Result(
                    total=decoded.total,
                    weight=decoded.weight,
                    mean=decoded.mean,
                    survivors=memory.survivors,
                    disputes=self._disputes,
                )
            )
        ]


_AWAITED: Final = {
    ServerState.ADVERTISE_KEYS: MessageType.ADVERTISE_KEYS,
    ServerState.SHARE_KEYS: MessageType.SHARE_KEYS,
    ServerState.MASKED_INPUT: MessageType.MASKED_INPUT,
    ServerState.CONSISTENCY: MessageType.CONSISTENCY,
    ServerState.UNMASK: MessageType.UNMASK,
}

_NEXT: Final[dict[ServerState, Callable[[Server, tuple[int, ...]], list[ServerEvent]]]] = {
    ServerState.ADVERTISE_KEYS: Server._close_advertise_keys,
    ServerState.SHARE_KEYS: Server._close_share_keys,
    ServerState.MASKED_INPUT: Server._close_masked_input,
    ServerState.CONSISTENCY: Server._close_consistency,
    ServerState.UNMASK: Server._close_unmask,
}
