"""The server of one round: takes bytes and calls, returns events. No I/O, no clock, no threads.

It adds masked inputs as they arrive and never stores one. A phase ends when all expected parties
have answered, or when the driver calls `deadline`. A client whose message breaks the protocol is
dropped before any part of the message is added or forwarded. The server cannot check shares, which
are encrypted for their holders: wrong ones are found when the holders answer, and corrected if
they are not too many.
"""

import logging
from collections.abc import Iterable
from typing import Any, Final

from ..arithmetic.field import Field
from ..arithmetic.threads import default_threads
from ..codes import Code
from ..errors import LocalProtocolError, RangeError, RemoteProtocolError, StateError
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
from ..machine.ownership import FailsIfInterrupted, Owned, exclusive
from ..machine.tables import Call, Input, message_due, next_state
from ..machine.wire import open_message
from ..numeric import as_int, brief
from ..params.checks import require_kind
from ..params.params import Round
from ..sharing.recovery import RecoveryError
from ..tracebacks import keeps_no_locals
from .authentication import for_server
from .memory import ServerMemory
from .messages import largest_to_server
from .server_steps import AWAITED, ServerSteps
from .stored import StoredServer, open_server, seal_server
from .transitions import PHASES, SERVER, ServerState
from .unmasking import Unmasking

_log: Final = logging.getLogger("secagg")


class Server(Owned):
    """The aggregator of one round; use a new object for every round.

    Threads may share it, one call runs at a time. A forked child may not use it.

    Args:
        agreed: the round; every party is invited to it by the message `offer`.
        directory: malicious mode: the verify keys of the cohort.
        ledger: where the survivor set is claimed before it is sent, so that a server that is
            resumed from a snapshot never sends a second one. Needed for `snapshot` only.

    Raises:
        ParameterError: the directory does not fit the mode or the cohort, or `SECAGG_NUM_THREADS`
            is not a positive integer.
    """

    def __init__(
        self,
        agreed: Round,
        directory: Directory | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        default_threads()  # a wrong variable is an error before the round
        require_kind("agreed", agreed, Round, "Params.round makes one")
        params = agreed.params
        memory = ServerMemory(
            expected=tuple(range(params.cohort)),
            total=Field(params.field_bits).zeros(0),
            accepted={kind: {} for kind in AWAITED.values()},
        )
        checked = None if ledger is None else require_ledger(ledger)
        self._set_up(ServerSteps(agreed, for_server(params, directory), memory), checked)

    def _set_up(self, steps: ServerSteps, ledger: Ledger | None) -> None:
        super().__init__()
        self.round = steps.round
        self.session = steps.round.session
        self.context = steps.round.context
        self.offer = steps.round.encode()
        self._params = steps.round.params
        self._table = SERVER[steps.round.params.mode]
        self._steps = steps
        self._ledger = ledger
        self.largest_message = largest_to_server(self._params)
        self._jobs = JobBoard()
        self._unmasking: Unmasking | None = None
        self._undelivered_drops: list[ServerEvent] = []  # that no call has returned yet
        self._gone: dict[int, Dropped] = {}  # parties that nobody waits for, see `drop`
        self._awaiting = self._missing_parties()

    @classmethod
    @keeps_no_locals
    def resume(
        cls, stored: bytes, key: bytes, ledger: Ledger, directory: Directory | None = None
    ) -> "Server":
        """Restores the server that `snapshot` stored, in any process; continue with `resend()`.

        If a survivor set was claimed after the snapshot was made, the round fails at the end of the
        masked input phase: the ledger has the claim.

        Args:
            stored: the bytes that `snapshot` returned.
            key: the 32 bytes that they were sealed under.
            ledger: the same as before.
            directory: malicious mode: the same as before.

        Raises:
            StateError: the key or the directory is not the one of before, the bytes were altered,
                or they hold a state that no server can be in.
            ParameterError: the directory does not fit, or there is no ledger.
        """
        default_threads()
        stored_server = open_server(stored, key)
        authentication = for_server(stored_server.round.params, directory)
        steps = ServerSteps(stored_server.round, authentication, stored_server.memory)
        if steps.h0 != stored_server.h0:
            raise StateError(
                "this server was stored with another directory: pass the same one",
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
        """The state of this server in the protocol."""
        return self._memory.state

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of this round, in order."""
        return self._params.mode.phases

    @property
    def phase(self) -> Phase | None:
        """The phase in progress; None before the first and after the last."""
        return PHASES.get(self.state)

    # -- calls of the driver --------------------------------------------------------------

    @exclusive
    def start(self) -> list[ServerEvent]:
        """Begins the first phase.

        Raises:
            LocalProtocolError: called twice.
        """
        return self._advance(Call.START)

    @exclusive
    def receive(self, party: int, data: bytes) -> list[ServerEvent]:
        """Handles one message from a party; returns what to do next.

        A repetition of an accepted message is ignored. A different message for the same step is
        rejected, and the first one counts.

        Args:
            party: index of the sender, as the transport knows it.
            data: the bytes as they were received.

        Raises:
            RemoteProtocolError: the message is malformed (`DecodeError`), of another session,
                out of order or late; nothing has changed. Drivers log it and continue.
            LocalProtocolError: there is no such party, or `data` is not bytes.
            StateError: the ledger failed after the message was accepted. The next messages are
                not sent; call `deadline` to try again.
        """
        memory, party = self._memory, self._index(party)
        kind, reader = open_message(data, party, self.session, self.largest_message)
        if party in memory.accepted.get(kind, ()):
            if memory.accepted[kind][party] == reader.digest():
                return []
            raise RemoteProtocolError(
                party, "sent a second, different message for the same step", Code.EQUIVOCATION
            )
        if party in memory.dropped:
            raise RemoteProtocolError(
                party, f"was dropped: {memory.dropped[party].reason}", Code.DROPPED
            )
        expected = party in self._awaiting or (party in self._gone and party in memory.expected)
        cause = message_due(self._table, self.state, kind, party, expected)
        with self._fails_if_interrupted():
            dropped = self._steps.take(cause, party, reader)
            memory.received += reader.size
            if dropped is None:
                memory.accepted[cause][party] = reader.digest()
                self._awaiting.discard(party)
            else:
                self._drop(dropped)
            return self._with_undelivered_drops([] if self._awaiting else self._end_phase())

    @exclusive
    def deadline(self, phase: Phase) -> list[ServerEvent]:
        """Ends a phase without the parties that are silent.

        Ignored if another phase than this one is in progress.

        Raises:
            StateError: the ledger failed; nothing was sent. Call it again.
        """
        if self.phase is None or self.phase is not phase:
            return []
        with self._fails_if_interrupted():
            for party in sorted(self._awaiting):
                self._leave_out(Dropped(party, f"no {phase} in time", Code.TIMEOUT))
            return self._with_undelivered_drops(self._end_phase())

    @exclusive
    def drop(self, party: int, reason: str, code: Code = Code.GONE) -> list[ServerEvent]:
        """Waits no more for a party of which the transport knows that it is gone, or refused.

        What it has sent still counts: an input that is in the sum stays in it. A message of it that
        comes before the phase ends is accepted. Otherwise the party is dropped when the phase ends,
        which is now if nobody else is awaited. `resend(party)` takes this back.

        Args:
            party: its index.
            reason: one phrase for the event `Dropped` and the log.
            code: the same for programs.

        Raises:
            LocalProtocolError: there is no such party.
            StateError: as for `deadline`.
        """
        party = self._index(party)
        if self.phase is None or party in self._memory.dropped:
            return []
        self._gone[party] = Dropped(party, reason, code)
        if party not in self._awaiting:
            return []
        self._awaiting.discard(party)
        if self._awaiting:
            return []
        with self._fails_if_interrupted():
            return self._with_undelivered_drops(self._end_phase())

    @exclusive
    def complete(self, job: Job, value: Any) -> list[ServerEvent]:
        """Takes the value of a job; a second value of the same job is ignored.

        Raises:
            LocalProtocolError: this server did not hand out the job.
            RangeError: the job cannot give this value; nothing has changed.
        """
        if self.state in (ServerState.COMPLETED, ServerState.FAILED):
            return []
        if not self._jobs.is_pending(job) or self._unmasking is None:
            return []
        with self._fails_if_interrupted():
            try:
                self._unmasking.take(job, value)
            except RecoveryError as error:
                return self._fail(error.failed)
            if not self._jobs.finish(job):
                return []
            jobs = self._jobs.hand_out(self._unmasking.next_jobs())
            return [Work(job) for job in jobs] if jobs else self._finish(self._unmasking.disputes)

    @exclusive
    def snapshot(self, key: bytes) -> bytes:
        """Returns all that is needed to continue this phase in another process, sealed.

        Store it after each call of `receive` or `deadline`, before you send the messages that the
        call returned. It holds the sum of the masked inputs so far and, in the unmask phase, shares
        of the survivors; never an input or a rebuilt key. While masks are removed there is nothing
        to store: continue from the last snapshot of the unmask phase. From a snapshot of an earlier
        phase the round usually fails, as clients repeat only their last message.

        Args:
            key: 32 secret bytes that stay with this server; one key may serve many rounds.

        Raises:
            LocalProtocolError: no phase is in progress, or the server has no ledger.
            ParameterError: the key does not have 32 bytes.
        """
        if self.state not in PHASES:
            raise LocalProtocolError(
                f"snapshot() is not possible while {self.state.value}", Code.OUT_OF_ORDER
            )
        if self._ledger is None:
            raise LocalProtocolError(
                "snapshot() needs a ledger, else a resumed server could send a second survivor "
                "set: make the server with one",
                Code.NO_LEDGER,
            )
        return seal_server(StoredServer(self.round, self._steps.h0, self._memory), key)

    @exclusive
    def resend(self, party: int | None = None) -> list[ServerEvent]:
        """Returns again the messages that open this phase, and its `PhaseStarted`.

        The messages are for the parties awaited and byte by byte the same; in the first phase it is
        the `offer`. While masks are removed, it returns the jobs that are not completed instead.

        Args:
            party: one party that has come back, after `drop` too: only its message is returned, if
                it is awaited, and neither `PhaseStarted` nor jobs. None stands for all.

        Raises:
            LocalProtocolError: there is no such party.
        """
        if party is not None:
            return self._resend_to(self._index(party))
        if self._unmasking is not None:
            return [Work(job) for job in self._jobs.pending]
        phase = self.phase
        if phase is None:
            return []
        opening = self._steps.opening_messages()
        again = [(party, payload) for party, payload in opening if party in self._awaiting]
        return [*self._send(again), PhaseStarted(phase)]

    def _resend_to(self, party: int) -> list[ServerEvent]:
        self._gone.pop(party, None)
        self._awaiting = self._missing_parties()
        if party not in self._awaiting:
            return []
        opening = self._steps.opening_messages()
        return self._send((to, payload) for to, payload in opening if to == party)

    @property
    @exclusive
    def status(self) -> Status:
        """The progress of the round."""
        memory = self._memory
        return Status(self.phase, tuple(sorted(self._awaiting)), memory.received, memory.sent)

    # -- internals ---------------------------------------------------------------------------

    def _missing_parties(self) -> set[int]:
        """Returns the parties that are waited for: their message of this phase is missing."""
        memory, kind = self._memory, AWAITED.get(self.state)
        if kind is None:
            return set()
        silent = set(memory.expected) - memory.accepted[kind].keys()
        return silent - memory.dropped.keys() - self._gone.keys()

    def _index(self, party: int) -> int:
        """Returns the index of a party as an int; raises LocalProtocolError if there is none."""
        index = as_int(party)
        if index is None:
            raise LocalProtocolError(
                f"a party must be an int, not {type(party).__name__}", Code.ARGUMENT
            )
        if index not in range(self._params.cohort):
            raise LocalProtocolError(
                f"there is no party {brief(index)}, only 0..{self._params.cohort - 1}",
                Code.UNKNOWN_PARTY,
            )
        return index

    def _fails_if_interrupted(self) -> FailsIfInterrupted:
        """Fails the round if a step is interrupted; what a caller can cause leaves it whole."""
        return FailsIfInterrupted(
            self._end_round, harmless=(RemoteProtocolError, RangeError, StateError)
        )

    def _end_round(self) -> None:
        try:
            if Call.FAIL in self._table[self.state]:
                self._advance(Call.FAIL)
        finally:
            self._wipe_memory()

    def _advance(self, cause: Input) -> list[ServerEvent]:
        self._memory.state = next_state(self._table, self.state, cause)
        self._awaiting = self._missing_parties()
        _log.info("%s: %r", self.session.hex(), self)
        return [] if self.phase is None else [PhaseStarted(self.phase)]

    def _leave_out(self, silent: Dropped) -> None:
        """Drops a party that was silent until the end of a phase."""
        self._awaiting.discard(silent.party)
        if self.state is not ServerState.UNMASK:  # in which its input is already in the sum
            self._drop(silent)

    def _drop(self, dropped: Dropped) -> None:
        party, reason, code = dropped.party, dropped.reason, dropped.code
        self._memory.dropped[party] = dropped
        self._awaiting.discard(party)
        _log.info("%s: party %d dropped: %s [%s]", self.session.hex(), party, reason, code)
        self._undelivered_drops.append(dropped)

    def _with_undelivered_drops(self, events: list[ServerEvent]) -> list[ServerEvent]:
        """Returns the drops that no call has returned yet, then these events.

        If the ledger fails during a call, its drops are returned by the next one.
        """
        drops, self._undelivered_drops = self._undelivered_drops, []
        return drops + events

    def _fail(self, failed: Failed) -> list[ServerEvent]:
        self._end_round()
        _log.warning("%s: failed: %s [%s]", self.session.hex(), failed.reason, failed.code)
        return [failed]

    def _wipe_memory(self) -> None:
        """Removes everything that could unmask an input."""
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
        """Begins the next phase, or fails the round; returns the events."""
        silent = set(self._memory.expected) - set(members := self._steps.members())
        for party in sorted(silent & self._gone.keys() - self._memory.dropped.keys()):
            self._leave_out(self._gone[party])
        failed = self._steps.why_failed(members)
        if failed is None and self.state is ServerState.MASKED_INPUT and self._ledger is not None:
            self._require_owner()  # a log handler may have forked: a child claims nothing
            failed = claim_survivor_set(self._ledger, self.session)
        if failed is not None:
            return self._fail(failed)
        if self.state is ServerState.UNMASK:
            return self._unmask(members)
        self._steps.close_phase(members)
        started = self._advance(Call.PHASE_OVER)
        events = self._send(self._steps.opening_messages()) + started
        return events if self._awaiting else events + self._end_phase()  # all others are gone

    def _unmask(self, members: tuple[int, ...]) -> list[ServerEvent]:
        try:
            jobs = self._steps.rebuild(members)
        except RecoveryError as error:
            return self._fail(error.failed)
        self._unmasking = self._steps.unmask()
        self._advance(Call.PHASE_OVER)
        return [Work(job) for job in self._jobs.hand_out(jobs)]

    def _finish(self, disputes: tuple[tuple[int, int], ...]) -> list[ServerEvent]:
        try:
            result = self._steps.result(disputes)
        except RangeError as error:
            return self._fail(Failed(error.reason, error.code))
        self._advance(Call.WORK_DONE)
        self._wipe_memory()
        return [Completed(result)]
