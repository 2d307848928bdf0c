"""The end of a round whose sum is kept before anything of the round is forgotten."""

import logging
from collections.abc import Callable
from typing import Final

from ..drivers.conductor import PhaseEnded, RoundEnded
from ..drivers.untold import note_untold, untold_outcome
from ..encoding.digest import Part
from ..errors import StateError
from ..events import Completed, Failed, Phase
from ..params.checks import require_no_awaitable
from .plan import Plan
from .rounds import Rounds, forget_ended

Keep = Callable[[Completed], object]

_EARLY: Final = (None, Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS)  # no input has left

_log: Final = logging.getLogger("secagg.rounds")


def left_open(rounds: Rounds, about: tuple[Part, ...], settings: Part | None) -> list[Plan]:
    """Returns the rounds about this that were left open, to be run to their end.

    One with other settings is closed, if inputs cannot have left: parties would refuse to go on.

    Raises:
        StateError, RangeError: as of `Rounds.resume`.
    """
    plans = []
    for plan in rounds.resume(*about):
        session, phase = plan.server.session.hex(), plan.server.phase
        if not rounds.is_about(plan, *about, settings=settings):
            is_early = phase in _EARLY and untold_outcome(plan.server) is None
            if is_early:
                _log.warning("%s: left open with other settings: given up", session)
                rounds.close(plan, None, None if rounds.home is not None else False)
                continue
            _log.warning("%s: left open with other settings: it goes on with those", session)
        plans.append(plan)
    return plans


class NotKeptError(BaseException):
    """The application's `keep` raised. It passes through the driver, which then ends nothing."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class Ending:
    """The home and the observer of one round whose sum is kept before the round is forgotten.

    Attributes:
        kept: how the round ended, once that is kept.
    """

    def __init__(self, rounds: Rounds, keep: Keep) -> None:
        self._rounds = rounds
        self._keep = keep
        self.kept: Completed | Failed | None = None
        if rounds.home is not None:
            self.keep_server = rounds.home.keep_server
            self.keep_note = rounds.home.keep_note
            self.note = rounds.home.note

    def forget(self, session: bytes) -> None:
        """Forgets nothing: `end` does, a moment later."""

    def observe(self, happened: PhaseEnded | RoundEnded) -> None:
        """Passes on what happened, and keeps the sum at the end of the round."""
        try:
            self._rounds.observe(happened)
        finally:  # also if the application's observer raises, which the driver logs
            if isinstance(happened, RoundEnded):
                self.end(happened.session, happened.outcome)

    def end(self, session: bytes, outcome: Completed | Failed) -> None:
        """Keeps the sum, if there is one, and then removes what is stored of the round."""
        if isinstance(outcome, Completed):
            try:
                require_no_awaitable("keep", self._keep(outcome))
            except Exception as error:
                raise NotKeptError(error) from None
        self.kept = outcome
        if self._rounds.home is not None:
            forget_ended(self._rounds.home, session)


def note_end(rounds: Rounds, plan: Plan, outcome: Completed | Failed | None) -> None:
    """Closes a round, with its outcome or as given up; leaves it if that cannot be noted."""
    try:
        rounds.close(plan, outcome)
    except StateError as error:  # there is an outcome, of this one or another, not to be lost
        rounds.leave(plan)
        end = "given up" if outcome is None else "over"
        session = plan.server.session.hex()
        _log.warning("%s: that it is %s was not noted: %s", session, end, error.reason)


def another_follows(
    rounds: Rounds, plan: Plan, left: list[Plan], outcome: Completed | Failed
) -> bool:
    """Closes a round; returns whether to go on with another, one of `left` or a new one.

    If the home fails, the round is left: the next call about the same gets its outcome again, and
    closes it.

    Raises:
        StateError: the home failed after a round without a sum; those of `left` are left again.
    """
    try:
        again = rounds.close(plan, outcome)
    except StateError as error:
        note_untold(plan.server, outcome)
        for each in (plan, *left):
            rounds.leave(each)
        if isinstance(outcome, Failed):
            raise
        # The attempt stays used, and there is a sum, which must not be lost.
        session = plan.server.session.hex()
        _log.warning("%s: that it is over was not noted: %s", session, error.reason)
        return False
    if isinstance(outcome, Failed) and (again or left):
        return True
    for each in left:
        note_end(rounds, each, None)
    return False


def stop(rounds: Rounds, plan: Plan, left: list[Plan], ending: Ending | None) -> None:
    """Leaves a round open that can go on, and those after it; closes it if its sum is kept."""
    if ending is not None and ending.kept is not None:
        note_end(rounds, plan, ending.kept)
    else:
        rounds.leave(plan)
    for each in left:
        rounds.leave(each)
