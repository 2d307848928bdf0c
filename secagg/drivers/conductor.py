"""The server's side of a round for any transport: what `lockstep` and `aio.serve` have in common.

A `Conductor` takes what came from the parties (a message, an envelope, an exception of the
transport) and returns what goes to them. Its caller does the I/O and keeps the timers. It runs the
jobs, stores snapshots, and measures the phases.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Final, Protocol

from ..codes import Code
from ..errors import DecodeError, ParameterError, RemoteProtocolError, StateError
from ..events import Completed, Dropped, Failed, Phase, PhaseStarted, Send, ServerEvent, Work
from ..interfaces import ServerMachine
from ..params.checks import require_plain_function
from ..texts import described, one_line
from .envelope import NO_SESSION, Hello, Refusal, is_envelope, opened
from .executors import run_jobs
from .log_quota import LogQuota
from .per_object import PerObject

# How often a party that says it has come back gets the messages of a phase: so often at once, and
# once more after each of these seconds.
RESENDS: Final = 10
RESEND_SECONDS: Final = 30.0
# Faults of bytes that were right once: what the sender owes in this phase can still come.
_LATE: Final = (Code.SESSION, Code.OUT_OF_ORDER, Code.EQUIVOCATION, Code.DROPPED)
# A party refuses one payload with these, perhaps one that was cut off on its way, not the round.
_OF_ONE_PAYLOAD: Final = frozenset(
    {
        Code.MALFORMED,
        Code.OUT_OF_ORDER,
        Code.SESSION,
        Code.UNKNOWN_SESSION,
        Code.EQUIVOCATION,
    }
)

_METHODS: Final = ("start", "receive", "deadline")

_log: Final = logging.getLogger("secagg.drivers")

# Drops and refusals of the rounds of this process: a driver that goes on with a server knows them.
_known: Final[PerObject[tuple[dict[int, Dropped], dict[int, Refusal]]]] = PerObject()


def require_server(server: object) -> None:
    """Raises ParameterError for what has not the methods of a server."""
    if not all(callable(getattr(server, name, None)) for name in _METHODS):
        raise ParameterError(
            f"server must be a secagg.Server, not of type {type(server).__name__}; of a plan of "
            "`Rounds` it is `plan.server`",
            Code.ARGUMENT,
        )


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    """A phase of a round is over at the server.

    Attributes:
        session: the round.
        phase: the phase.
        seconds: wall-clock time since the messages that opened it were made; that of the last
            phase ends where the masks are removed.
        bytes_up: total size of what the parties sent in it, whatever it was.
        bytes_down: total size of the messages that opened it, and of those sent again.
        answered: number of parties that sent what was awaited.
        dropped: parties that were dropped in it, with their codes.
    """

    session: bytes
    phase: Phase
    seconds: float
    bytes_up: int
    bytes_down: int
    answered: int
    dropped: tuple[tuple[int, Code], ...]


@dataclass(frozen=True, slots=True)
class RoundEnded:
    """A round is over at the server.

    Attributes:
        session: the round.
        seconds: wall-clock time since its driver began, unmasking included.
        outcome: the result, or why there is none.
        drops: the parties that the server dropped, by party.
        refusals: what the parties said that refused the round, by party.
    """

    session: bytes
    seconds: float
    outcome: Completed | Failed
    drops: Mapping[int, Dropped] = field(default_factory=dict)
    refusals: Mapping[int, Refusal] = field(default_factory=dict)


Observer = Callable[[PhaseEnded | RoundEnded], None]


class Snapshots(Protocol):
    """The place of a server's state, so that a round survives the process; see `secagg.Home`."""

    def keep_server(self, server: ServerMachine) -> None:
        """Stores the state of this phase, so that it is durable when this returns.

        Raises:
            StateError: that is not possible; nothing of the phase is sent then.
        """

    def forget(self, session: bytes) -> None:
        """Removes what is stored of a round; nothing, if there is nothing."""


class Conductor:
    """Conducts one round at its server.

    After an exception of `take`, `drop`, `back` or `deadline` nothing is lost: `begin` returns what
    is to be sent, and goes on with the jobs that are left.

    Args:
        server: a new server, or one that was resumed.
        executor: runs the server's jobs, as in `run_jobs`.
        store: where the server's state is stored at the beginning of each phase, before anything
            that depends on it is sent. The server then needs a ledger.
        observe: called with `PhaseEnded` and `RoundEnded`. What it raises is logged, and no more.
        completes: takes the values of jobs in the place of the server.

    Raises:
        ParameterError: `server` has not the methods of one, or `observe` is no function.

    Attributes:
        outcome: how the round ended; None before.
        drops: the parties that the server dropped, by party.
        refusals: what the parties said that refused the round, by party. What they send after it
            is ignored, also by another conductor of the same server.
        faults: the last error about each party whose bytes were malformed, late or out of order.
        answered: the parties that sent what is awaited in this phase.
        gone: the parties that nobody waits for (`drop`); nothing is sent to them.
    """

    def __init__(
        self,
        server: ServerMachine,
        executor: Executor | None = None,
        store: Snapshots | None = None,
        observe: Observer | None = None,
        completes: ServerMachine | None = None,
    ) -> None:
        require_server(server)
        if observe is not None:
            require_plain_function("observe", observe, "it is called with what happened")
        self.server: Final = server
        self.outcome: Completed | Failed | None = None
        known = _known.get(server) or ({}, {})
        _known.put(server, known)
        self.drops: Final[dict[int, Dropped]] = known[0]
        self.refusals: Final[dict[int, Refusal]] = known[1]
        self.faults: Final[dict[int, RemoteProtocolError]] = {}
        self.answered: Final[set[int]] = set()
        self.gone: Final[set[int]] = set()
        self._executor = executor
        self._completes = completes or server
        self._lines = LogQuota(_log)
        self._store = store
        self._observe = observe
        self._stored: Phase | None = None
        self._began = self._phase_began = time.monotonic()
        self._phase: Phase | None = None
        self._up = self._down = 0
        self._dropped: list[tuple[int, Code]] = []
        self._resent: dict[int, int] = {}  # in this phase, by party

    @property
    def phase(self) -> Phase | None:
        """The phase in progress; None before the first and after the last."""
        return self.server.phase

    def begin(self) -> list[Send]:
        """Begins the round with the offer to everybody, or goes on where the server stands.

        Raises:
            LocalProtocolError: the round is over.
            StateError: the store failed; call it again.
        """
        again = self.server.resend()
        if again or self.server.phase is not None:
            for party, code in self.server.status.dropped:
                self.drops.setdefault(party, Dropped(party, "by an earlier process", code))
            return self._act(again)
        events = list(self.server.start())
        offers = [Send(party, self.server.offer) for party in self.server.status.awaited]
        return self._act([*offers, *events])

    def take(self, party: int, answer: bytes | BaseException, *, final: bool = False) -> list[Send]:
        """Handles what came from a party, or what the transport says instead; returns messages.

        Bytes that are malformed, late or out of order change nothing (`faults` has the error): the
        party can still send the right ones. A refusal of one payload, such as one that was cut off
        on its way, ends the waiting as `drop` does; a refusal of the round is final.

        Args:
            party: its index.
            answer: the bytes; or an exception, which drops the party.
            final: whether the transport brings no other answer of this party in this phase. Then
                one that is malformed drops it, as there is nothing to wait for.

        Raises:
            LocalProtocolError: there is no such party.
            StateError: the ledger or the store failed; call `begin` again, or `deadline`.
        """
        if isinstance(answer, BaseException):
            code = Code.TIMEOUT if isinstance(answer, TimeoutError) else Code.GONE
            return self.drop(party, f"the transport lost it: {described(answer)}", code)
        try:
            events = self._received(party, answer)
        except RemoteProtocolError as error:
            self.faults[party] = error
            self.log(party, f"{one_line(str(error))} [{error.code}]")
            other = error.code is Code.VERSION and self.server.awaits(party)
            if other or (final and error.code not in _LATE):
                return self.drop(party, error.reason, error.code)
            return []
        return self._act(events)

    def drop(self, party: int, reason: str, code: Code = Code.GONE) -> list[Send]:
        """Waits no more for a party; returns messages. See `ServerMachine.drop`."""
        return self._act(self._drop(party, reason, code))

    def back(self, party: int) -> list[Send]:
        """Returns what a party has missed that has come back, so often as `RESENDS` allows.

        Nothing, if it has answered or refused. `take` does the same with a `Hello`.
        """
        return self._act(self._back(party))

    def deadline(self, phase: Phase) -> list[Send]:
        """Ends a phase without the parties that are silent; returns messages.

        Ignored if another phase is in progress.
        """
        return self._act(self.server.deadline(phase))

    def log(self, party: int, text: str) -> None:
        """Logs a line about what came from a party, unless there were too many in this round."""
        session = self.server.session.hex()
        self._lines.info(f"{session}: party {party}", f"{session}: {text}")

    # -- calls of the server ---------------------------------------------------------------

    def _received(self, party: int, answer: object) -> Sequence[ServerEvent]:
        if not isinstance(answer, bytes | bytearray | memoryview):
            raise DecodeError(
                party, f"sent {type(answer).__name__} in place of bytes", Code.MALFORMED
            )
        data = bytes(answer)
        phase, awaited = self.server.phase, self.server.awaits(party)
        self._up += len(data)
        if is_envelope(data):
            return self._on_envelope(party, data)
        if party in self.refusals:
            self.log(party, f"party {party} has refused: ignored")
            return []
        try:
            events = self.server.receive(party, data)
        except StateError:  # of the ledger: the message was accepted
            self.answered.add(party)
            raise
        repeated = self.server.phase is phase and self.server.awaits(party)
        dropped = any(isinstance(event, Dropped) and event.party == party for event in events)
        if not awaited or repeated or dropped:
            return events
        self.answered.add(party)
        return [*events, *self._back(party)] if party in self.gone else events

    def _on_envelope(self, party: int, data: bytes) -> Sequence[ServerEvent]:
        envelope = opened(data, party)
        if isinstance(envelope, Hello):
            return self._back(party)
        if not isinstance(envelope, Refusal):
            raise DecodeError(party, "an envelope that only servers send", Code.MALFORMED)
        if envelope.session not in (NO_SESSION, self.server.session):
            raise RemoteProtocolError(party, "a refusal of another session", Code.SESSION)
        first = self.refusals.get(party, envelope)
        said = first.reason.removeprefix("refused by this client").removeprefix("'s policy")
        reason = f"refused: {said.lstrip(': ')} [{first.code}]"
        if first.code not in _OF_ONE_PAYLOAD or self._resent.get(party, 0) >= RESENDS:
            self.refusals[party] = first
        return self._drop(party, reason, Code.REFUSED)

    def _drop(self, party: int, reason: str, code: Code) -> Sequence[ServerEvent]:
        self.gone.add(party)
        return self.server.drop(party, reason, code)

    def _back(self, party: int) -> Sequence[ServerEvent]:
        """Takes a drop back, unless the party has refused; returns what it has missed.

        The messages of a phase are large and a greeting is small: hence the limit.
        """
        grown = int((time.monotonic() - self._phase_began) / RESEND_SECONDS)
        enough = self._resent.get(party, 0) >= RESENDS + grown
        if party in self.refusals or (enough and party not in self.gone):
            return []
        self._resent[party] = self._resent.get(party, 0) + 1
        self.gone.discard(party)
        missed = self.server.resend(party)
        return [] if enough else missed

    # -- what the server says --------------------------------------------------------------

    def _act(self, events: Iterable[ServerEvent]) -> list[Send]:
        """Runs the jobs, and notes what the other events say; returns the messages."""
        others: list[ServerEvent] = []
        jobs: list[ServerEvent] = []
        for event in events:
            (jobs if isinstance(event, Work) else others).append(event)
        going_on = self.outcome is None
        sends = self._note(others)
        if jobs:
            sends += self._note(run_jobs(self._completes, jobs, self._executor))
        phase = self._phase
        if self._store is not None and phase is not None and phase is not self._stored:
            self._store.keep_server(self.server)
            self._stored = phase
        if going_on and self.outcome is not None:
            self._end_round(self.outcome)
        self._down += sum(len(send.payload) for send in sends)
        return sends

    def _note(self, events: Iterable[ServerEvent]) -> list[Send]:
        """Notes what happened, in order; returns the messages to parties that are there."""
        sends = []
        for event in events:
            match event:
                case PhaseStarted(phase):
                    self._enter(phase)
                case Dropped(party, _, code):
                    self.drops[party] = event
                    self._dropped.append((party, code))
                case Completed() | Failed():
                    self.outcome = event
                case Send(party) if party not in self.gone:
                    sends.append(event)
        self._enter(self.server.phase)
        return sends

    def _enter(self, phase: Phase | None) -> None:
        """Begins to measure a phase, and reports the one before, unless it is under way."""
        ended, self._phase = self._phase, phase
        if ended is phase:
            return
        now = time.monotonic()
        if ended is not None:
            over = PhaseEnded(
                self.server.session,
                ended,
                now - self._phase_began,
                self._up,
                self._down,
                len(self.answered),
                tuple(self._dropped),
            )
            _log.info(
                "%s: %s over after %.3f s: %d answered, %d dropped, %d bytes up, %d bytes down",
                *(over.session.hex(), ended, over.seconds, over.answered, len(over.dropped)),
                *(over.bytes_up, over.bytes_down),
            )
            self._tell(over)
        self._phase_began, self._up, self._down = now, 0, 0
        self._dropped = []
        self._resent.clear()
        self.answered.clear()

    def _end_round(self, outcome: Completed | Failed) -> None:
        session, seconds = self.server.session, time.monotonic() - self._began
        self._lines.settle()
        if self._store is not None:
            try:
                self._store.forget(session)
            except Exception as error:  # there is an outcome, which must not be lost
                _log.warning(
                    "%s: what is stored of this round was not removed: %s",
                    *(session.hex(), type(error).__name__),
                )
        if isinstance(outcome, Completed):
            told = f"a sum of {len(outcome.result.survivors)} inputs"
        else:
            told = f"{outcome.reason} [{outcome.code}]"
        _log.info("%s: over after %.3f s: %s", session.hex(), seconds, told)
        self._tell(RoundEnded(session, seconds, outcome, dict(self.drops), dict(self.refusals)))

    def _tell(self, happened: PhaseEnded | RoundEnded) -> None:
        if self._observe is None:
            return
        try:
            self._observe(happened)
        except Exception as error:  # of the application's metrics: the round goes on
            _log.warning("%s: the observer raised %s", happened.session.hex(), type(error).__name__)
