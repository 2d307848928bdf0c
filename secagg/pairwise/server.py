"""The server of one round: takes bytes and calls, returns events. No I/O, no clock, no threads.

It adds masked inputs as they arrive and never stores one. A phase ends when all expected parties
have answered, except those of whom the driver says that they are gone (`drop`), or when the driver
calls `deadline`. A client whose message breaks the protocol is dropped before any part of the
message is added or forwarded. The server cannot check shares, which are encrypted for their
holders: wrong ones are found when the holders answer, and corrected if they are not too many.
"""

import logging
from collections.abc import Iterable
from typing import Any, Final

from ..arithmetic.field import Field
from ..arithmetic.threads import default_threads
from ..codes import Code
from ..errors import (
    LocalProtocolError,
    ParameterError,
    RangeError,
    RemoteProtocolError,
    StateError,
)
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
from ..machine.claims import claim_delivery, claim_survivor_set, require_ledger
from ..machine.jobs import JobBoard
from ..machine.ownership import FailsIfInterrupted, Owned, exclusive
from ..machine.tables import Call, Input, message_due, next_state
from ..machine.wire import open_message
from ..numeric import as_int, brief
from ..params.checks import require_kind
from ..params.params import Round
from ..params.policy import Release, asked, require_release
from ..sharing.recovery import RecoveryError
from ..texts import one_line
from ..tracebacks import keeps_no_locals
from .authentication import for_server
from .memory import ServerMemory
from .messages import largest_to_server
from .server_steps import AWAITED, ServerSteps
from .stored import StoredServer, open_server, seal_server
from .transitions import PHASES, SERVER, ServerState
from .unmasking import Unmasking

# What is claimed at the end of a phase, before the messages of the next one leave.
_CLAIMS: Final = {
    ServerState.SHARE_KEYS: claim_delivery,
    ServerState.MASKED_INPUT: claim_survivor_set,
}
_log: Final = logging.getLogger("secagg")


class Server(Owned):
    """The aggregator of one round; use a new object for every round.

    Threads may share it, one call runs at a time. A forked child may not use it.

    Args:
        agreed: the round; every party is invited to it by the message `offer`.
        directory: malicious mode: the verify keys of the cohort.
        ledger: where the delivery of shares and the survivor set are claimed before they are sent,
            so that a server that is resumed from a snapshot never sends a second set. Needed for
            `snapshot` only.
        release: a function that is asked once, with the indices of the survivors, ascending, before
            they are told. "" lets the sum be opened; any other text is why not, and the round has
            failed. What it raises fails the round as well.

    Raises:
        ParameterError: the directory does not fit the mode or the cohort, `SECAGG_NUM_THREADS` is
            not a positive integer, or `release` is no function.
    """

    def __init__(
        self,
        agreed: Round,
        directory: Directory | None = None,
        ledger: Ledger | None = None,
        *,
        release: Release | None = None,
    ) -> None:
        default_threads()  # a wrong variable is an error before the round
        require_release(release)
        require_kind("agreed", agreed, Round, "Params.round makes one")
        params = agreed.params
        memory = ServerMemory(
            expected=tuple(range(params.cohort)),
            total=Field(params.field_bits).zeros(0),
            accepted={kind: {} for kind in AWAITED.values()},
            has_release=release is not None,
        )
        checked = None if ledger is None else require_ledger(ledger)
        steps = ServerSteps(agreed, for_server(params, directory), memory)
        self._set_up(steps, checked, release)

    def _set_up(self, steps: ServerSteps, ledger: Ledger | None, release: Release | None) -> None:
        super().__init__()
        self._release = release  # None once it was asked
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
        self._gone: dict[int, Dropped] = {}  # parties not yet dropped that nobody waits for: `drop`
        self._awaiting = self._missing_parties()

    @classmethod
    @keeps_no_locals
    def resume(
        cls,
        stored: bytes,
        key: bytes,
        ledger: Ledger,
        directory: Directory | None = None,
        *,
        release: Release | None = None,
    ) -> "Server":
        """Restores the server that `snapshot` stored, in any process; continue with `resend()`.

        It waits for all whose message is missing, also for those of whom `drop` had said that they
        are gone: their connections ended with the old process, and they may come back to this one.

        If a survivor set was claimed after the snapshot was made, the round fails before shares are
        delivered, or at the end of the masked input phase: the ledger has the claim.

        Args:
            stored: the bytes that `snapshot` returned.
            key: the 32 bytes that they were sealed under.
            ledger: the same as before.
            directory: malicious mode: the same as before.
            release: as of a new server; asked again if the survivors were not told before.

        Raises:
            StateError: the key or the directory is not the one of before, the bytes were altered,
                or they hold a state that no server can be in.
            ParameterError: the directory does not fit, there is no ledger, or the server was made
                with `release`, and there is none.
        """
        default_threads()
        require_release(release)
        stored_server = open_server(stored, key)
        authentication = for_server(stored_server.round.params, directory)
        steps = ServerSteps(stored_server.round, authentication, stored_server.memory)
        if steps.h0 != stored_server.h0:
            raise StateError(
                "this server was stored with another directory: pass the same one",
                Code.WRONG_DIRECTORY,
            )
        if stored_server.memory.has_release and release is None:
            raise ParameterError(
                "this server was made with a function that is asked before a sum is opened: give "
                "it again (`release=`)",
                Code.POLICY_RELEASE,
            )
        stored_server.memory.has_release = release is not None
        server = cls.__new__(cls)
        server._set_up(steps, require_ledger(ledger), release)
        return server

    def __repr__(self) -> str:
        return f"<secagg.Server of {self._params.cohort}: {self.state.value}>"

    @property
    def ledger(self) -> Ledger | None:
        """The ledger that it was made with."""
        return self._ledger

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
        """Begins the first phase, and ends it if all parties are gone (`drop`).

        Raises:
            LocalProtocolError: called twice.
        """
        started = self._advance(Call.START)
        if self._awaiting:
            return started
        with self._fails_if_interrupted():
            return started + self._end_phase()  # all of them are gone

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
        expected = party in self._awaiting or party in self._gone
        cause = message_due(self._table, memory.state, kind, party, expected)
        with self._fails_if_interrupted():
            dropped = self._steps.take(cause, party, reader)
            memory.received += reader.size
            if dropped is None:
                memory.accepted[cause][party] = reader.digest()
                self._awaiting.discard(party)
            else:
                self._drop(dropped)
            return self._tell_drops() if self._awaiting else self._end_phase()

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
            return self._end_phase()

    @exclusive
    def drop(self, party: int, reason: str, code: Code = Code.GONE) -> list[ServerEvent]:
        """Waits no more for a party that is gone, or has refused to go on; possible at any time.

        It ends the waiting only. What the party has sent counts: an input that is in the sum stays
        there, and the party is a survivor. What it sends before the phase ends is accepted. If it
        has not answered by then, it is dropped as at a deadline, with this reason and code; in the
        unmask phase nobody is. The phase ends at once if nobody else is awaited. The next phases do
        not wait for the party either, but have their messages for it. `resend(party)` takes all
        this back, unless the party was dropped; so does `resume`. The first reason counts.

        Args:
            party: its index.
            reason: one phrase for the event `Dropped` and the log; kept as one line, shortened.
            code: the same for programs.

        Raises:
            LocalProtocolError: there is no such party, the reason is no text, or the code no Code.
            StateError: the ledger failed; nothing was sent. Call this or `deadline` again.
        """
        party = self._index(party)
        if not isinstance(reason, str) or not isinstance(code, Code):
            raise LocalProtocolError(
                "drop() takes a reason that is text and a secagg.Code, not "
                f"{type(reason).__name__} and {type(code).__name__}",
                Code.ARGUMENT,
            )
        if self.phase is None and self.state is not ServerState.CREATED:
            return []  # nobody is waited for any more
        if party not in self._memory.dropped:
            self._gone.setdefault(party, Dropped(party, one_line(reason), code))
            self._awaiting.discard(party)
        if self.phase is None or self._awaiting:
            return []
        with self._fails_if_interrupted():  # also the one that a ledger has kept from its end
            return self._end_phase()

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
                "set: make the server with one; if `Rounds` plans it, by `Rounds(home=...)`",
                Code.NO_LEDGER,
            )
        return seal_server(StoredServer(self.round, self._steps.h0, self._memory), key)

    @exclusive
    def resend(self, party: int | None = None) -> list[ServerEvent]:
        """Returns again the messages that open this phase, and its `PhaseStarted`.

        The messages are for the parties awaited and byte by byte the same; in the first phase it is
        the `offer`. While masks are removed, it returns the jobs that are not completed instead.

        Args:
            party: one party that has come back, after `drop` too: it is awaited again unless it has
                answered or was dropped. Only its message is returned, if it is awaited, and neither
                `PhaseStarted` nor jobs. None stands for all that are awaited.

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
        again = self._steps.opening_messages(sorted(self._awaiting))
        return [*self._send(again), PhaseStarted(phase)]

    def _resend_to(self, party: int) -> list[ServerEvent]:
        if not self._is_missing(party):
            self._gone.pop(party, None)
            return []
        if self._gone.pop(party, None) is not None:
            self._awaiting.add(party)
        return self._send(self._steps.opening_messages([party]))

    @property
    @exclusive
    def status(self) -> Status:
        """The progress of the round."""
        memory, kind = self._memory, AWAITED.get(self.state)
        return Status(
            session=self.session,
            phase=self.phase,
            answered=0 if kind is None else len(memory.accepted[kind]),
            awaited=tuple(sorted(self._awaiting)),
            gone=tuple(sorted(self._gone)),
            dropped=tuple((party, memory.dropped[party].code) for party in sorted(memory.dropped)),
            survivors=memory.survivors,
            bytes_received=memory.received,
            bytes_sent=memory.sent,
        )

    @exclusive
    def awaits(self, party: int) -> bool:
        """Returns whether this phase's message of a party is missing, also if it is gone (`drop`).

        It costs the same in a cohort of any size. False for a party that was dropped, and in no
        phase.

        Raises:
            LocalProtocolError: there is no such party.
        """
        return self._is_missing(self._index(party))

    # -- internals ---------------------------------------------------------------------------

    def _missing_parties(self) -> set[int]:
        """Returns the parties that are waited for: their message of this phase is missing."""
        memory, kind = self._memory, AWAITED.get(self.state)
        if kind is None:
            return set()
        silent = set(memory.expected) - memory.accepted[kind].keys()
        return silent - memory.dropped.keys() - self._gone.keys()

    def _is_missing(self, party: int) -> bool:
        """Returns whether a party owes the message of this phase, is it waited for or gone."""
        kind = AWAITED.get(self.state)
        if kind is None:
            return False
        gone = party in self._gone and party not in self._memory.accepted[kind]
        return gone or party in self._awaiting

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

    def _drop(self, dropped: Dropped) -> None:
        party, reason, code = dropped.party, dropped.reason, dropped.code
        self._memory.dropped[party] = dropped
        self._gone.pop(party, None)
        self._awaiting.discard(party)
        _log.info("%s: party %d dropped: %s [%s]", self.session.hex(), party, reason, code)
        self._undelivered_drops.append(dropped)

    def _tell_drops(self) -> list[ServerEvent]:
        """Returns the drops that no call has returned yet."""
        drops, self._undelivered_drops = self._undelivered_drops, []
        return drops

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
        """Drops who is silent, and begins the next phase or fails the round; returns the events.

        If the ledger fails nothing is told: the next call that ends the phase returns the drops.
        """
        members, memory = self._steps.members(), self._memory
        if self.state is not ServerState.UNMASK:  # in which all that are expected are in the sum
            for party in sorted(set(memory.expected) - set(members) - memory.dropped.keys()):
                silent = Dropped(party, f"no {self.phase} in time", Code.TIMEOUT)
                self._drop(self._gone.get(party, silent))
        failed = self._steps.why_failed(members) or self._why_not_released(members)
        claim = _CLAIMS.get(self.state)
        if failed is None and claim is not None and self._ledger is not None:
            self._require_owner()  # a log handler may have forked: a child claims nothing
            failed = claim(self._ledger, self.session)
        drops = self._tell_drops()
        if failed is not None:
            return drops + self._fail(failed)
        if self.state is ServerState.UNMASK:
            return drops + self._unmask(members)
        self._steps.close_phase(members)
        started = self._advance(Call.PHASE_OVER)
        events = drops + self._send(self._steps.opening_messages(members)) + started
        return events if self._awaiting else events + self._end_phase()  # all of them are gone

    def _why_not_released(self, members: tuple[int, ...]) -> Failed | None:
        """Returns the failure if these survivors must not be told; asks once."""
        if self._release is None or self.state is not ServerState.MASKED_INPUT:
            return None
        try:
            reason = asked(self._release, members)
        except BaseException:  # of a kind that would leave the round whole, too
            self._end_round()
            raise
        self._release = None
        return Failed(reason, Code.POLICY_RELEASE) if reason else None

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
