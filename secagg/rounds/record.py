"""Records of rounds by names, for the history of a training and its log."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ..codes import Code
from ..drivers.conductor import PhaseEnded, RoundEnded
from ..events import Completed, Failed, Phase
from ..params.params import Params
from ..texts import one_line

_MOST_LISTED: Final = 100  # names in one line of a log
# Beside those of policies; unlike a training that failed, or a message that came too late.
_FIRM: Final = frozenset(
    {
        Code.ATTEMPTS_EXHAUSTED,
        Code.DOWNGRADE,
        Code.NO_CONTEXT,
        Code.NO_DIRECTORY,
        Code.NO_IDENTITY,
        Code.UNKNOWN_NAME,
        Code.UNSUPPORTED,
        Code.VERSION,
        Code.WRONG_DIRECTORY,
        Code.WRONG_IDENTITY,
    }
)


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """One phase of a round at its server.

    Attributes:
        phase: its name, such as "masked input".
        seconds: wall-clock time since the messages that opened it were made.
        bytes_up: total size of what the parties sent in it.
        bytes_down: total size of what they were sent.
        answered: number of parties that sent what was awaited.
    """

    phase: str
    seconds: float
    bytes_up: int
    bytes_down: int
    answered: int


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round that is over.

    Attributes:
        number: of the rounds of this training, from 0; failed ones count.
        attempt: number of the attempt on what the round was about, from 0.
        session: the session in hexadecimal digits, as in the log.
        cohort: names of the parties by index.
        survivors: names of those whose input is in the sum.
        dropped: codes of those that were dropped, by name; `refused` if they said so themselves.
        refused: the codes that these gave, by name; of a peer's library, which may be newer.
        disputes: pairs of names (dealer, holder) whose shares did not fit.
        outcome: "completed"; or the code of the failure; "abandoned" if its driver gave it up.
        reason: the failure for people, or "".
        inputs_left: whether inputs may have left clients, so that the attempt is used.
        seconds: wall-clock time of the whole round; None if nobody observed its end.
        phases: those that ended, in order; empty if nobody observed the round (`Rounds.observe`).
    """

    number: int
    attempt: int
    session: str
    cohort: tuple[str, ...]
    survivors: tuple[str, ...] = ()
    dropped: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    disputes: tuple[tuple[str, str], ...] = ()
    outcome: str = "completed"
    reason: str = ""
    inputs_left: bool = True
    seconds: float | None = None
    phases: tuple[PhaseRecord, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the record with the attributes' names as keys, ready for JSON."""
        return asdict(self)

    def described(self) -> str:
        """Returns how it ended, and who was dropped and why, as one line for a log."""
        if self.outcome == "completed":
            line = f"a sum of {len(self.survivors)}"
        else:
            line = f"{self.reason or 'given up'} [{self.outcome}]"
        if not self.dropped:
            return one_line(line)
        codes = {name: self.refused.get(name, code) for name, code in self.dropped.items()}
        return f"{one_line(line)}; dropped: " + listed([f"{n} ({c})" for n, c in codes.items()])


def listed(names: Sequence[str]) -> str:
    """Returns names as one line for a log; the first of them, if they are many."""
    some = ", ".join(one_line(name) for name in names[:_MOST_LISTED])
    rest = len(names) - _MOST_LISTED
    return f"{some}, and {rest} more" if rest > 0 else some


def _is_firm(code: str) -> bool:
    """Returns whether a party that refused a round by this code refuses the next one, too."""
    return code in _FIRM or code.startswith("policy_")


class Course:
    """The reports of the drivers about a round so far.

    Args:
        phases: of the round, in order.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self._phases = phases
        self._ended: list[PhaseEnded] = []
        self._over: RoundEnded | None = None

    def note(self, happened: PhaseEnded | RoundEnded) -> None:
        """Adds an event of this round."""
        if isinstance(happened, PhaseEnded):
            self._ended.append(happened)
        else:
            self._over = happened

    def inputs_may_have_left(self, outcome: Completed | Failed | None) -> bool:
        """Returns False only if the round is known to have failed before clients gave inputs.

        Its end must have been seen: what a driver told that raised says nothing of the next one's.
        """
        before = self._phases[: self._phases.index(Phase.MASKED_INPUT)]
        return not (
            isinstance(outcome, Failed)
            and self._over is not None
            and bool(self._ended)
            and all(each.phase in before for each in self._ended)
        )

    def would_fail_again(self, params: Params) -> bool:
        """Returns whether those that refused, and would again, were too many by themselves.

        False if the end of the round was not seen.
        """
        over = self._over
        firm = [one for one in over.refusals.values() if _is_firm(one.code)] if over else []
        if over is None or not firm:
            return False
        return len(firm) == len(over.drops) or params.cohort - len(firm) < params.min_survivors

    def record(
        self,
        number: int,
        attempt: int,
        session: bytes,
        names: tuple[str, ...],
        outcome: Completed | Failed | None,
        inputs_left: bool,
    ) -> RoundRecord:
        """Returns the record of the round at its end."""
        survivors: tuple[int, ...] = ()
        disputes: tuple[tuple[int, int], ...] = ()
        label, reason = "abandoned", ""
        match outcome:
            case Completed(result):
                label, survivors, disputes = "completed", result.survivors, result.disputes
            case Failed(reason, code, disputes):
                label = str(code)
        over = self._over
        dropped = {names[party]: code for each in self._ended for party, code in each.dropped}
        if over is not None:  # with those whom a process before this one has dropped
            dropped |= {names[party]: drop.code for party, drop in over.drops.items()}
        return RoundRecord(
            number=number,
            attempt=attempt,
            session=session.hex(),
            cohort=names,
            survivors=tuple(names[party] for party in survivors),
            dropped={name: str(code) for name, code in dropped.items()},
            refused={names[at]: one.code for at, one in over.refusals.items()} if over else {},
            disputes=tuple((names[dealer], names[holder]) for dealer, holder in disputes),
            outcome=label,
            reason=reason,
            inputs_left=inputs_left,
            seconds=over.seconds if over else None,
            phases=tuple(
                PhaseRecord(
                    str(each.phase), each.seconds, each.bytes_up, each.bytes_down, each.answered
                )
                for each in self._ended
            ),
        )
