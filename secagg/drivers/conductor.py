"""The server's side of a round for any transport: what `lockstep` and `aio.serve` have in common.

A `Conductor` takes what came from the parties (a message, an envelope, an exception of the
transport) and returns what goes to them. Its caller does the I/O and keeps the timers. It runs the
jobs, stores snapshots, and measures the phases.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Protocol

from ..codes import Code
from ..errors import RemoteProtocolError
from ..events import Completed, Dropped, Failed, Phase, Send, ServerEvent
from ..interfaces import ServerMachine
from ..texts import one_line
from .envelope import NO_SESSION, Hello, Refusal, is_envelope, opened
from .executors import run_jobs

_log: Final = logging.getLogger("secagg.drivers")


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    """A phase of a round is over at the server.

    Attributes:
        session: the round.
        phase: the phase.
        seconds: wall-clock time since the messages that opened it were made.
        bytes_up: total size of what the parties sent in it.
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
    """

    session: bytes
    seconds: float
    outcome: Completed | Failed


Observer = Callable[[PhaseEnded | RoundEnded], None]


class Snapshots(Protocol):
    """Where a server's state is kept, so that a round survives the process; see `secagg.Home`."""

    def keep_server(self, server: ServerMachine) -> None:
        """Stores the state of this phase; raises StateError if that is not possible."""

    def forget(self, session: bytes) -> None:
        """Removes what is stored of a round; nothing, if there is nothing."""


class Conductor:
    """Conducts one round at its server.

    Args:
        server: a new server, or one that was resumed.
        executor: runs the server's jobs, as in `run_jobs`.
        store: where the server's state is stored at the beginning of each phase, before anything
            that depends on it is sent. The server then needs a ledger.
        observe: called with `PhaseEnded` and `RoundEnded`. What it raises is logged, and no more.

    Attributes:
        outcome: how the round ended; None before.
        drops: the parties that the server dropped, by party.
        refusals: what the parties said that refused, by party.
        faults: the last error about each party whose bytes were malformed, late or out of order.
    """

    def __init__(
        self,
        server: ServerMachine,
        executor: Executor | None = None,
        store: Snapshots | None = None,
        observe: Observer | None = None,
    ) -> None:
        self.server: Final = server
        self.outcome: Completed | Failed | None = None
        self.drops: Final[dict[int, Dropped]] = {}
        self.refusals: Final[dict[int, Refusal]] = {}
        self.faults: Final[dict[int, RemoteProtocolError]] = {}
        self._executor = executor
        self._store = store
        self._observe = observe
        self._stored: Phase | None = None
        self._began = self._phase_began = time.monotonic()
        self._phase: Phase | None = None
        self._up = self._down = self._answered = 0
        self._dropped: list[tuple[int, Code]] = []

    @property
    def phase(self) -> Phase | None:
        """The phase in progress; None before the first and after the last."""
        return self.server.phase

    def begin(self) -> list[Send]:
        """Begins the round with the offer to everybody, or goes on with a resumed server."""
        if self.server.phase is not None:
            return self._act(self.server.resend())
        events = list(self.server.start())
        offers = [Send(party, self.server.offer) for party in self.server.status.awaited]
        return self._act([*offers, *events])

    def take(self, party: int, answer: bytes | BaseException) -> list[Send]:
        """Handles what came from a party, or what the transport says instead; returns messages.

        Bytes that are malformed, late or out of order change nothing (`faults` has the error): the
        party can still send the right ones.

        Raises:
            LocalProtocolError: there is no such party.
            StateError: the ledger or the store failed; call `deadline`, or `begin` again.
        """
        if isinstance(answer, BaseException):
            reason = f"{type(answer).__name__}: {answer}" if str(answer) else type(answer).__name__
            return self.drop(party, f"the transport lost it: {one_line(reason)}")
        self._up += len(answer)
        try:
            if is_envelope(answer):
                return self._on_envelope(party, answer)
            awaited = len(self.server.status.awaited)
            events = self.server.receive(party, answer)
        except RemoteProtocolError as error:
            self.faults[party] = error
            _log.info("%s: %s [%s]", self.server.session.hex(), one_line(str(error)), error.code)
            return []
        self._answered += self.server.phase is not self._phase or (
            len(self.server.status.awaited) < awaited
        )
        return self._act(events)

    def drop(self, party: int, reason: str, code: Code = Code.GONE) -> list[Send]:
        """Waits no more for a party; returns messages. See `ServerMachine.drop`."""
        return self._act(self.server.drop(party, reason, code))

    def back(self, party: int) -> list[Send]:
        """Returns what a party has missed that has come back."""
        return self._act(self.server.resend(party))

    def deadline(self, phase: Phase) -> list[Send]:
        """Ends a phase without the parties that are silent; returns messages.

        Ignored if another phase is in progress.
        """
        return self._act(self.server.deadline(phase))

    def _on_envelope(self, party: int, data: bytes) -> list[Send]:
        envelope = opened(data, party)
        if isinstance(envelope, Hello):
            return self.back(party)
        if not isinstance(envelope, Refusal) or envelope.kind is not Refusal.kind:
            raise RemoteProtocolError(party, "an envelope of a server", Code.MALFORMED)
        if envelope.session not in (NO_SESSION, self.server.session):
            raise RemoteProtocolError(party, "a refusal of another session", Code.SESSION)
        self.refusals[party] = envelope
        return self.drop(party, f"refused: {envelope.reason} [{envelope.code}]", Code.REFUSED)

    def _act(self, events: Iterable[ServerEvent]) -> list[Send]:
        """Runs the jobs, and notes what the other events say; returns the messages."""
        others: Sequence[ServerEvent] = run_jobs(self.server, events, self._executor)
        for event in others:
            match event:
                case Dropped(party, _, code):
                    self.drops[party] = event
                    self._dropped.append((party, code))
                case Completed() | Failed():
                    self.outcome = event
        self._end_phase()
        sends = [event for event in others if isinstance(event, Send)]
        self._down += sum(len(send.payload) for send in sends)
        if self.outcome is not None:
            self._end_round(self.outcome)
        elif self._store is not None and self._stored is not self.server.phase:
            self._store.keep_server(self.server)
            self._stored = self.server.phase
        return sends

    def _end_phase(self) -> None:
        """Reports the phase that was under way if it is over, and begins to measure the next."""
        ended, self._phase = self._phase, self.server.phase
        if ended is self._phase:
            return
        now = time.monotonic()
        if ended is not None:
            self._tell(
                PhaseEnded(
                    self.server.session,
                    ended,
                    now - self._phase_began,
                    self._up,
                    self._down,
                    self._answered,
                    tuple(self._dropped),
                )
            )
        self._phase_began, self._up, self._down, self._answered = now, 0, 0, 0
        self._dropped = []

    def _end_round(self, outcome: Completed | Failed) -> None:
        if self._store is not None:
            self._store.forget(self.server.session)
        self._tell(RoundEnded(self.server.session, time.monotonic() - self._began, outcome))

    def _tell(self, happened: PhaseEnded | RoundEnded) -> None:
        if self._observe is None:
            return
        try:
            self._observe(happened)
        except Exception as error:  # of the application's metrics: the round goes on
            _log.warning("the observer raised %s", type(error).__name__)
