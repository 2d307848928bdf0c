"""The server of one round: bytes and calls in, events out. No I/O, no clock, no threads.

It adds masked inputs as they arrive and never stores one. A phase ends when everybody expected
has answered, or when the driver says that its time is up. A client whose message breaks the
protocol is dropped before anything of it is forwarded. (What only its peers can see, shares that
do not open, shows when they answer: so far as the correction of wrong shares reaches.)
"""

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Final

from ..arithmetic.field import Field
from ..codes import Code
from ..errors import LocalProtocolError, RangeError, RemoteProtocolError, SecAggError, StorageError
from ..events import (
    Completed,
    Dropped,
    Failed,
    Job,
    Phase,
    PhaseStarted,
    Send,
    ServerEvent,
    Work,
)
from ..identity.directory import Directory
from ..interfaces import Status
from ..ledger.ledger import Ledger
from ..machine.claims import claim_survivor_set, require_ledger
from ..machine.jobs import JobBoard
from ..machine.ownership import Owned, exclusive, fails_if_interrupted
from ..machine.wire import MessageType, open_message
from ..params.params import Round
from .authentication import for_server
from .memory import ServerMemory
from .recovery import RecoveryError
from .server_steps import AWAITED, ServerSteps
from .stored import StoredServer, open_server, seal_server
from .transitions import PHASES, SERVER, Call, Input, ServerState, step, takes
from .unmasking import Unmasking

_log: Final = logging.getLogger("secagg")


class Server(Owned):
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
            accepted={kind: {} for kind in AWAITED.values()},
        )
        record = None if ledger is None else require_ledger(ledger)
        self._set_up(ServerSteps(agreed, for_server(params, directory), memory), record)

    def _set_up(self, steps: ServerSteps, ledger: Ledger | None) -> None:
        super().__init__()
        self.round = steps.round
        self.session = steps.round.session
        self.offer = steps.round.encode()
        self._params = steps.round.params
        self._table = SERVER[steps.round.params.mode]
        self._steps = steps
        self._ledger = ledger
        self._jobs = JobBoard()
        self._unmasking: Unmasking | None = None
        self._disputes: tuple[tuple[int, int], ...] = ()
        self._undelivered_drops: list[ServerEvent] = []  # until a call returns
        self._awaiting = self._missing()

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
            StorageError: another key, altered bytes, or another directory than before.
            ParameterError: the directory does not fit, or there is no ledger.
        """
        state = open_server(stored, key)
        authentication = for_server(state.round.params, directory)
        steps = ServerSteps(state.round, authentication, state.memory)
        if steps.h0 != state.h0:
            raise StorageError(
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

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of this round, in order."""
        return self._params.mode.phases

    @property
    def phase(self) -> Phase | None:
        """The phase under way; None before the first one and after the last."""
        return PHASES.get(self.state)

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
            StorageError: the ledger failed, and the message was taken: nothing was sent, and
                `deadline` tries again.
        """
        memory = self._memory
        if isinstance(party, bool) or not isinstance(party, int):
            raise LocalProtocolError(
                f"a party is an int, not {type(party).__name__}", Code.ARGUMENT
            )
        if party not in range(self._params.cohort):
            raise LocalProtocolError(f"there is no party {party}", Code.UNKNOWN_PARTY)
        kind, reader, digest = open_message(data, party, self.session)
        if party in memory.accepted.get(kind, ()):
            if memory.accepted[kind][party] == digest:
                return []
            raise RemoteProtocolError(
                party, "a second, different message for the same step", Code.EQUIVOCATION
            )
        if party in memory.dropped:
            raise RemoteProtocolError(
                party, f"was dropped: {memory.dropped[party].reason}", Code.DROPPED
            )
        cause = next((known for known in self._table[self.state] if known == kind), None)
        if not isinstance(cause, MessageType) or party not in self._awaiting:
            raise RemoteProtocolError(
                party,
                f"message of type {kind:#04x} while {self.state.value}",
                Code.OUT_OF_ORDER if takes(self._table, kind) else Code.MALFORMED,
            )
        with self._fails_if_interrupted():
            dropped = self._steps.take(cause, party, reader)
            memory.received += reader.size
            if dropped is None:
                memory.accepted[cause][party] = digest
                self._awaiting.discard(party)
            else:
                self._drop(dropped)
            return self._with_drops([] if self._awaiting else self._end_phase())

    @exclusive
    def deadline(self, phase: Phase) -> list[ServerEvent]:
        """Ends a phase whose time is up, without those who are silent.

        A deadline of another phase than the present one does nothing.
        """
        if self.phase is None or self.phase is not phase:
            return []
        with self._fails_if_interrupted():
            if self.state is not ServerState.UNMASK:  # there their input is in the sum already
                for party in sorted(self._awaiting):
                    self._drop(Dropped(party, f"no {phase} in time", Code.TIMEOUT))
            return self._with_drops(self._end_phase())

    @exclusive
    def complete(self, job: Job, value: Any) -> list[ServerEvent]:
        """Takes the value of a job; a job that is handed back twice counts once.

        Raises:
            LocalProtocolError: not a job of this server.
            RangeError: not a value that the job can give; nothing has changed.
        """
        if self.state in (ServerState.COMPLETED, ServerState.FAILED):
            return []
        if not self._jobs.is_pending(job) or self._unmasking is None:
            return []
        with self._fails_if_interrupted():
            self._unmasking.take(job, value)
            if not self._jobs.finish(job):
                return []
            jobs = self._jobs.hand_out(self._unmasking.next_jobs())
            return [Work(job) for job in jobs] if jobs else self._finish()

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
        """Returns this phase's messages to those awaited again, and its `PhaseStarted`.

        The bytes are the same; in the first phase the message is the `offer`. While masks are taken
        off these are the jobs that were not handed back yet.
        """
        if self._unmasking is not None:
            return [Work(job) for job in self._jobs.pending]
        phase = self.phase
        if phase is None:
            return []
        opening = self._steps.opening()
        again = [(party, payload) for party, payload in opening if party in self._awaiting]
        return [*self._send(again), PhaseStarted(phase)]

    @property
    @exclusive
    def status(self) -> Status:
        """How far the round has come."""
        memory = self._memory
        return Status(self.phase, tuple(sorted(self._awaiting)), memory.received, memory.sent)

    # -- within -----------------------------------------------------------------------------

    def _missing(self) -> set[int]:
        """Returns whose message of this phase is missing."""
        memory, kind = self._memory, AWAITED.get(self.state)
        if kind is None:
            return set()
        return set(memory.expected) - memory.accepted[kind].keys() - memory.dropped.keys()

    def _fails_if_interrupted(self) -> AbstractContextManager[None]:
        """The library's own errors leave no half step behind, anything else may."""
        return fails_if_interrupted(self._end, harmless=SecAggError)

    def _end(self) -> None:
        if Call.FAIL in self._table[self.state]:
            self._enter(Call.FAIL)
        self._forget()

    def _enter(self, cause: Input) -> list[ServerEvent]:
        self._memory.state = step(self._table, self.state, cause)
        self._awaiting = self._missing()
        _log.info("%s: %r", self.session.hex(), self)
        return [] if self.phase is None else [PhaseStarted(self.phase)]

    def _drop(self, dropped: Dropped) -> None:
        party, reason, code = dropped.party, dropped.reason, dropped.code
        self._memory.dropped[party] = dropped
        self._awaiting.discard(party)
        _log.info("%s: party %d dropped: %s [%s]", self.session.hex(), party, reason, code)
        self._undelivered_drops.append(dropped)

    def _with_drops(self, events: list[ServerEvent]) -> list[ServerEvent]:
        """Returns the drops and then these events; where the ledger fails, drops wait for the next
        call.
        """
        drops, self._undelivered_drops = self._undelivered_drops, []
        return drops + events

    def _fail(self, failed: Failed) -> list[ServerEvent]:
        self._enter(Call.FAIL)
        self._forget()
        _log.warning("%s: failed: %s [%s]", self.session.hex(), failed.reason, failed.code)
        return [failed]

    def _forget(self) -> None:
        """Lets go of everything that could unmask an input."""
        self._memory.total = Field(self._params.field_bits).zeros(0)
        self._memory.answers.clear()
        self._jobs.clear()
        self._unmasking = None

    def _send(self, payloads: Iterable[tuple[int, bytes]]) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        for party, payload in payloads:
            self._memory.sent += len(payload)
            events.append(Send(party, payload))
        return events

    def _end_phase(self) -> list[ServerEvent]:
        """Goes on to the next phase, with the messages that open it, or fails."""
        members = self._steps.members()
        failed = self._steps.why_over(members)
        if failed is None and self.state is ServerState.MASKED_INPUT and self._ledger is not None:
            failed = claim_survivor_set(self._ledger, self.session)
        if failed is not None:
            return self._fail(failed)
        if self.state is ServerState.UNMASK:
            return self._unmask(members)
        self._steps.conclude(members)
        started = self._enter(Call.PHASE_OVER)
        return self._send(self._steps.opening()) + started

    def _unmask(self, members: tuple[int, ...]) -> list[ServerEvent]:
        try:
            seeds = self._steps.rebuild(members)
        except RecoveryError as error:
            return self._fail(error.failed)
        self._disputes = seeds.disputes
        self._enter(Call.PHASE_OVER)
        self._unmasking, jobs = self._steps.unmask(seeds)
        return [Work(job) for job in self._jobs.hand_out(jobs)]

    def _finish(self) -> list[ServerEvent]:
        try:
            result = self._steps.result(self._disputes)
        except RangeError as error:
            return self._fail(Failed(error.reason, error.code))
        self._enter(Call.WORK_DONE)
        self._forget()
        return [Completed(result)]
