"""The history of a training: what became of each round, as a table or as JSON."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from secagg import Code, ParameterError, Phase
from secagg.extras import extra
from secagg.numeric import as_float, brief

from .agreed import check_kind, listed
from .schedule import Drops

_CODES: Final = {code.value: code for code in Code}
_COUNTS: Final = ("clipped", "shortened", "bytes_up", "bytes_down", "seconds")


class Score(NamedTuple):
    """Quality of a model: mean loss in nats, and accuracy as a fraction."""

    loss: float
    accuracy: float


def read_score(found: object) -> Score | None:
    """Returns what `evaluate` returned as a score of floats; None stays None.

    Raises:
        ParameterError: it is no pair of numbers.
    """
    if found is None:
        return None
    pair = [as_float(each) for each in found] if isinstance(found, tuple | list) else []
    if len(pair) != 2 or None in pair:
        raise ParameterError(
            f"evaluate must return a Score(loss, accuracy), two numbers, not {brief(found)}",
            Code.ARGUMENT,
        )
    return Score(*(float(each or 0.0) for each in pair))


@dataclass(frozen=True, slots=True)
class RoundReport:
    """The outcome of one round.

    Clients are named by their positions among all clients of the training.

    `refusals`, `refusal_codes`, `clipped`, `clipped_by_array` and `shortened` are exact, as only a
    process with all clients can know them. No server learns them, and `epsilon` does not cover
    them: of data that must stay private do not publish them, also not from `frame` or a file.

    Attributes:
        round: number of the round, from 1.
        attempt: number of the attempt on the model of this round, from 0.
        invited: the clients of the round's cohort.
        survivors: clients whose update is in the sum; empty if the round failed.
        failed: whether the round failed; the model is then unchanged.
        reason: why the round failed, or "".
        code: the code of this reason, or None.
        drops: clients that dropped out -> the phase whose message they did not send.
        refusals: clients that refused to go on, or had no update to give -> their reasons. The
            server is not told: these clients just do not answer.
        refusal_codes: the same clients -> the codes of their reasons.
        clipped: number of values that were clipped, over all clients that sent an input. With
            `Rotated`, whose clip is an L2 norm, they are all values of a longer update.
        clipped_by_array: the same by array of the model ("0", "1", ...), without those that have
            none.
        shortened: with `Rotated`, number of updates that were longer than the clip; else 0.
        bytes_up: bytes that a client sent, mean over the cohort. Messages of secure aggregation
            only: the offer and the model, which every client receives, are not counted.
        bytes_down: bytes that a client received, counted likewise.
        seconds: wall-clock time of the whole round.
        seconds_by_phase: seconds of `TRAINING` and of each phase of secure aggregation, all
            parties together.
        score: score of the model after the round, if `evaluate` was given.
        epsilon: of all rounds so far, at the delta of the training's privacy, if it has one.
        clip: of the updates of this round, if it changes from round to round; else None.
    """

    round: int
    attempt: int
    invited: tuple[int, ...]
    survivors: tuple[int, ...]
    failed: bool
    reason: str
    code: Code | None
    drops: Drops
    refusals: Mapping[int, str]
    refusal_codes: Mapping[int, Code]
    clipped: int
    clipped_by_array: Mapping[str, int]
    shortened: int
    bytes_up: float
    bytes_down: float
    seconds: float
    seconds_by_phase: Mapping[str, float]
    score: Score | None = None
    epsilon: float | None = None
    clip: float | None = None


@dataclass(frozen=True, slots=True)
class BufferReport(RoundReport):
    """The outcome of one sum of `FedBuff`.

    `epsilon` is that of the client with most contributions so far. `refusals` has also the clients
    whose training gave no update since the last report.

    Attributes:
        time: when the sum began, in the simulation's time.
        versions: for each of `invited`, which model it trained on: how often the model of the
            training had changed before.
        stale: for each of `invited`, how often it changed after that, until this sum.
        restarted: clients that dropped an update since the last report, since it was too stale.
        contributions: for each client of the training, how many updates have left it so far.
    """

    time: float = 0.0
    versions: tuple[int, ...] = ()
    stale: tuple[int, ...] = ()
    restarted: tuple[int, ...] = ()
    contributions: tuple[int, ...] = ()


def frame(reports: Iterable[RoundReport]) -> Any:
    """Returns a `pandas.DataFrame` with a row for each round, indexed by its number.

    Its columns are `invited` and `survivors` (numbers of clients), `failed`, `reason`, `loss`,
    `accuracy`, `epsilon`, `clip`, `clipped`, `shortened`, `bytes_up`, `bytes_down`, `seconds`, and
    the seconds of each phase by its name. Those of `FedBuff` have `time` and the mean of `stale`
    too.

    Raises:
        ParameterError: there is anything but reports.
        MissingExtraError: pandas is not installed.
    """
    given = listed("reports", reports)
    for at, each in enumerate(given):
        check_kind(f"reports[{at}]", each, RoundReport)
    with extra("fl"):
        import pandas as pd  # noqa: PLC0415  (of the extra)
    rows = [
        {
            "round": each.round,
            "invited": len(each.invited),
            "survivors": len(each.survivors),
            "failed": each.failed,
            "reason": each.reason,
            "loss": each.score.loss if each.score else math.nan,
            "accuracy": each.score.accuracy if each.score else math.nan,
            "epsilon": math.nan if each.epsilon is None else each.epsilon,
            "clip": math.nan if each.clip is None else each.clip,
            **{name: getattr(each, name) for name in _COUNTS},
            **each.seconds_by_phase,
            **_of_buffer(each),
        }
        for each in given
    ]
    return pd.DataFrame(rows).set_index("round") if rows else pd.DataFrame()


def _of_buffer(report: RoundReport) -> dict[str, float]:
    if not isinstance(report, BufferReport):
        return {}
    return {"time": report.time, "stale": sum(report.stale) / len(report.stale)}


def to_json(report: RoundReport) -> dict[str, Any]:
    """Returns a report as an object of JSON; `from_json` reads it."""
    found = {each.name: getattr(report, each.name) for each in fields(report)}
    found["drops"] = {party: phase.value for party, phase in report.drops.items()}
    return found


def from_json(found: Mapping[str, Any]) -> RoundReport:
    """Returns the report that `to_json` made an object of; raises an exception for another one."""
    if found.keys() != _READ.keys():
        raise ValueError("a report has other fields")
    return RoundReport(**{name: read(found[name]) for name, read in _READ.items()})


def a_number(value: Any) -> Any:
    """Returns a number of JSON, or infinity, that is not negative; raises TypeError for others."""
    if type(value) not in (int, float) or not value >= 0:
        raise TypeError("a number is none, or negative")
    return value


def an_int(value: Any) -> int:
    """Returns an int of JSON that is not negative; raises TypeError for others."""
    if type(value) is not int or value < 0:
        raise TypeError("an int is none, or negative")
    return value


def ints(value: Any) -> tuple[int, ...]:
    """Returns the ints of a list of JSON; raises TypeError if one is none, or negative."""
    return tuple(map(an_int, _of(list)(value)))


def _of(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{type(value).__name__} in place of {kind.__name__}")
        return value

    return read


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _score(value: Any) -> Score:
    score = Score(*_of(list)(value))
    if any(type(each) not in (int, float) for each in score):  # NaN is one
        raise TypeError("a score is no number")
    return score


def _dict(
    read: Callable[[Any], Any], key: Callable[[str], Any] = int
) -> Callable[[Any], dict[Any, Any]]:
    return lambda value: {key(name): read(each) for name, each in _of(dict)(value).items()}


_READ: Final[dict[str, Callable[[Any], Any]]] = {
    "round": an_int,
    "attempt": an_int,
    "invited": ints,
    "survivors": ints,
    "failed": _of(bool),
    "reason": _of(str),
    "code": _or_none(_CODES.__getitem__),
    "drops": _dict(Phase),
    "refusals": _dict(_of(str)),
    "refusal_codes": _dict(_CODES.__getitem__),
    "clipped": an_int,
    "clipped_by_array": _dict(an_int, str),
    "shortened": an_int,
    "bytes_up": a_number,
    "bytes_down": a_number,
    "seconds": a_number,
    "seconds_by_phase": _dict(a_number, str),
    "score": _or_none(_score),
    "epsilon": _or_none(a_number),
    "clip": _or_none(a_number),
}
