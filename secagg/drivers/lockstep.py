"""A round over a transport where the server asks and is answered: one call runs it to its end.

Flower, NVFlare and HTTP with polling are such transports. The transport is one function, which
takes a message for each party and yields their answers; `lockstep` calls it once for each phase.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Final, TypeAlias

from ..codes import Code
from ..errors import LocalProtocolError
from ..events import Completed, Failed, Phase, Send
from ..interfaces import ServerMachine
from ..numeric import as_int, brief
from ..params.checks import require_callable
from .conductor import Conductor, Observer, Snapshots
from .untold import note_untold, untold_outcome

Exchange: TypeAlias = Callable[
    [Phase, Mapping[int, bytes]], Iterable[tuple[int, bytes | BaseException]]
]

_log: Final = logging.getLogger("secagg.drivers")


def lockstep(
    server: ServerMachine,
    exchange: Exchange,
    executor: Executor | None = None,
    store: Snapshots | None = None,
    *,
    observe: Observer | None = None,
) -> Completed | Failed:
    """Runs a round to its end over a transport that asks and is answered; returns the outcome.

    It blocks: an event loop should call it in a thread. Whatever a party answers costs at most that
    party's contribution. A phase ends as soon as all parties that can answer have, and otherwise
    when `exchange` ends.

    Args:
        server: a new server; or one that was resumed, or whose `lockstep` raised, which goes on
            with the messages of its phase to the parties that have not answered.
        exchange: called with the phase and the messages by party; yields `(party, answer)` as
            answers come, in any order. An answer is what the party sent back, or an exception if
            the transport has lost it: nobody waits for that party any more. b"" is no answer.
            When it ends, the phase is over for the parties that have not answered. As a generator
            it is closed when the phase ends earlier, so its `finally` runs; while masks are
            removed it waits at its last `yield`.
        executor: runs the server's jobs, as in `run_jobs`; by default this thread does.
        store: where the server's state is stored at the beginning of each phase, before
            `exchange` is called, such as a `secagg.Home`. The server then needs a ledger.
        observe: called with a `PhaseEnded` after each phase and a `RoundEnded` at the end. What it
            raises is logged, and no more.

    Raises:
        ParameterError: `server` is no server, or `exchange` or `observe` no function.
        LocalProtocolError: the server's round is over, or `exchange` does not yield pairs of an
            index that it was called with and an answer.
        StateError: the ledger or the store failed.
        Exception: what `exchange` raises, or a job in this process, unchanged. After any of these
            but the first two, `lockstep(server, ...)` goes on with the round.
    """
    require_callable(
        "exchange", exchange, "it carries messages to the parties, see docs/DRIVERS.md"
    )
    conductor = Conductor(server, executor, store, observe)
    conductor.outcome = untold_outcome(server)
    try:
        sends = [] if conductor.outcome else conductor.begin()
        while conductor.outcome is None:
            sends = _step(conductor, exchange, sends)
    except BaseException:
        note_untold(server, conductor.outcome)
        raise
    return conductor.outcome


def _step(conductor: Conductor, exchange: Exchange, sends: list[Send]) -> list[Send]:
    """Exchanges one message with each party, and ends the phase if that is all; returns the next.

    Where a server speaks first, a party has two messages in the first phase: the offer, and one
    more, which goes in a second exchange.
    """
    phase = conductor.phase
    if phase is None:
        raise LocalProtocolError("the server is in no phase, and has no outcome", Code.OUT_OF_ORDER)
    asked: dict[int, bytes] = {}
    later: list[Send] = []
    for send in sends:
        if send.to in asked:
            later.append(send)
        elif send.to not in conductor.gone:
            asked[send.to] = send.payload
    if not asked:  # all have answered, and the ledger failed then, say
        return conductor.deadline(phase)
    following = _Exchanged(conductor, phase, asked, {send.to for send in later}).run(exchange)
    if conductor.outcome is not None or conductor.phase is not phase:
        return following
    return later or conductor.deadline(phase)


class _Exchanged:
    """One call of `exchange`: takes the answers until the phase is over."""

    def __init__(
        self, conductor: Conductor, phase: Phase, asked: Mapping[int, bytes], later: set[int]
    ) -> None:
        self._conductor = conductor
        self._phase = phase
        self._asked = asked
        self._later = later  # parties that get another message in this phase
        self._strangers: set[int] = set()
        self._heard = False

    def run(self, exchange: Exchange) -> list[Send]:
        """Returns the messages of the next phase; none if this one is not over."""
        answers = exchange(self._phase, dict(self._asked))
        try:
            for party, answer in _pairs(answers):
                sends = self._take(party, answer)
                if self._conductor.outcome is not None or self._conductor.phase is not self._phase:
                    return sends
        finally:
            self._close(answers)
        if self._strangers and not self._heard:
            raise LocalProtocolError(
                f"`exchange` answered for party {brief(min(self._strangers))}, whom it was not "
                "asked about, and for nobody else: it must yield the keys of the mapping that it "
                "is called with",
                Code.UNKNOWN_PARTY,
            )
        return []

    def _take(self, party: int, answer: bytes | BaseException) -> list[Send]:
        if party not in self._asked:
            return self._take_from_stranger(party, answer)
        self._heard = True
        open_still = party not in self._conductor.answered
        if isinstance(answer, bytes) and not answer:
            if party in self._later or not open_still:
                return []
            return self._conductor.drop(party, "it answered nothing")
        if isinstance(answer, BaseException) and not open_still:
            return []  # its message is here; whether it is gone, the next phase shows
        return self._conductor.take(party, answer, final=open_still)

    def _take_from_stranger(self, party: int, answer: bytes | BaseException) -> list[Send]:
        """Takes an answer of a party that was not asked: late, or of nobody in the cohort."""
        if isinstance(answer, BaseException):
            return []
        try:
            return self._conductor.take(party, answer)
        except LocalProtocolError as error:
            self._strangers.add(party)
            session = self._conductor.server.session.hex()
            _log.warning("%s: an answer was left out: %s", session, error.reason)
            return []

    def _close(self, answers: object) -> None:
        close = getattr(answers, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as error:
            if self._conductor.outcome is None:
                raise
            session = self._conductor.server.session.hex()
            _log.warning("%s: `exchange` raised %s at its end", session, type(error).__name__)


def _pairs(answers: object) -> Iterator[tuple[int, bytes | BaseException]]:
    """Yields the answers; raises LocalProtocolError for what is no pair with an index."""
    if not isinstance(answers, Iterable):
        raise LocalProtocolError(
            f"`exchange` returned {type(answers).__name__}: it must yield pairs (party, bytes or "
            "exception); with asyncio, use secagg.aio.serve",
            Code.ARGUMENT,
        )
    for item in answers:
        match item:
            case (key, answer) if (party := as_int(key)) is not None:
                yield party, answer
            case (key, _):
                raise _no_pair(f"an index of type {type(key).__name__}")
            case _:
                raise _no_pair(type(item).__name__)


def _no_pair(found: str) -> LocalProtocolError:
    return LocalProtocolError(
        "`exchange` must yield pairs of a key of the mapping that it is called with and an answer, "
        f"not {found}",
        Code.ARGUMENT,
    )
