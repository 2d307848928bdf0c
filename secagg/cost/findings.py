"""Finds what is impossible, risky, or to note about the parameters of a round."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from ..codes import Code
from ..errors import ParameterError
from ..events import Phase
from ..params.complete import least_threshold
from ..params.formats import FixedPoint, field_width
from ..params.fractions import Fractions
from ..params.mode import Mode
from ..params.params import Params
from ..params.sparse import FAILURE
from .feasible import (
    Change,
    Request,
    as_fraction,
    check_fits,
    check_safe,
    fits,
    fitting_changes,
    is_safe,
    least_cohort,
    safe_changes,
)
from .model import Estimate, Memory, largest_message

TOLERABLE: Final = 0.01  # probability that a round fails, above which there is a warning
MESSAGE: Final = 2**22  # bytes that gRPC takes by default
SECONDS: Final = 60.0  # a usual deadline of a phase
_LARGE_COHORT: Final = 50  # from here on the complete graph costs clients noticeably
_NARROW: Final = 32  # bits of an element that takes four bytes


class Severity(StrEnum):
    """The gravity of a finding."""

    IMPOSSIBLE = "impossible"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that an operator should know before a first round.

    Attributes:
        code: what it is about, for programs; its meaning never changes.
        severity: `IMPOSSIBLE` if there is no such round.
        text: what was found, in a sentence or two, with the numbers; its wording may change.
        remedy: what can be changed, or "" if nothing need be.
        changes: arguments of `preflight` with the nearest values that help, each by itself, as
            (name, value).
    """

    code: Code
    severity: Severity
    text: str
    remedy: str = ""
    changes: tuple[Change, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the finding for JSON."""
        return {
            "code": str(self.code),
            "severity": str(self.severity),
            "text": self.text,
            "remedy": self.remedy,
            "changes": dict(self.changes),
        }


# What `advise` knows of each estimate: the dropouts, and the cost of a round with so many.
Costs = Iterable[tuple[int, Estimate]]


def impossible(request: Request) -> Iterator[Finding]:
    """Yields why there are no parameters, with the nearest values that are possible.

    Raises:
        ParameterError: an argument is no possible value of its kind, whatever the others are.
    """
    for check, changes in ((check_safe, safe_changes), (check_fits, fitting_changes)):
        try:
            check(request)
        except ParameterError as error:
            if error.code is Code.ARGUMENT:
                raise
            found = tuple(changes(request))
            text = str(error).split(": lower ")[0].split(": raise ")[0]
            yield Finding(
                error.code,
                Severity.IMPOSSIBLE,
                _sentence(text),
                _instead(found) or error.code.remedy,
                found,
            )


def advise(
    request: Request,
    params: Params,
    expected: float,
    costs: Costs,
    need: Memory,
    available: int | None,
) -> Iterator[Finding]:
    """Yields what should be known about possible parameters, warnings first.

    Args:
        request: what was asked for.
        params: the parameters that were chosen.
        expected: the fraction of dropouts that is usual.
        costs: numbers of dropouts, with estimates.
        need: memory of each side.
        available: bytes of memory of a machine, None if not known.
    """
    found = [
        *_dropouts(request, params, expected),
        *_promise(params),
        *_numbers(request, params),
        *_size(params, costs, need, available),
    ]
    yield from sorted(found, key=lambda each: each.severity is Severity.NOTE)


def failure_probability(cohort: int, allowed: int, rate: float) -> float:
    """Returns how probable it is that more of a cohort drop out than are allowed, each by itself.

    Args:
        cohort: number of parties.
        allowed: how many may drop out.
        rate: probability that a party drops out, at least 0 and below 1.
    """
    if rate == 0:
        return 0.0
    mean = cohort * rate
    far = 40 * (1 + math.sqrt(mean * (1 - rate)))  # beyond, no number adds up to a rounding
    first, last = max(allowed + 1, int(mean - far)), min(cohort, int(mean + far))
    log_choose = math.lgamma(cohort + 1)
    terms = (
        math.exp(
            log_choose
            - math.lgamma(gone + 1)
            - math.lgamma(cohort - gone + 1)
            + gone * math.log(rate)
            + (cohort - gone) * math.log1p(-rate)
        )
        for gone in range(first, last + 1)
    )
    return min(math.fsum(terms), 1.0)


def _dropouts(request: Request, params: Params, expected: float) -> Iterator[Finding]:
    """Yields how many may drop out, and what happens if more do."""
    n, quorum, spare = params.cohort, params.quorum, params.cohort - params.quorum
    fails = failure_probability(n, spare, expected)
    if spare == 0:
        changes = tuple(_dropout_changes(request, 1, lambda spare, _: spare > 0))
        yield Finding(
            Code.NO_DROPOUTS,
            Severity.WARNING,
            f"Not one of {n:,} parties may drop out: a dropout of {request.dropout:g} is less than "
            "one party.",
            _instead(changes) or Code.NO_DROPOUTS.remedy,
            changes,
        )
    elif fails > TOLERABLE:

        def enough(more: int, cohort: int) -> bool:
            return failure_probability(cohort, more, expected) <= TOLERABLE

        lost = spare + bisect_left(range(spare, n), True, key=lambda more: enough(more, n))
        found = dict(_dropout_changes(request, lost, enough))
        remedy = _instead(found.items())
        if "dropout" in found and expected == request.dropout / 2:
            # That is the default, which would rise with dropout: the change is none by itself.
            both = f"{found.pop('dropout')} and expected_dropout to {expected}"
            remedy = _instead([("dropout", both), *found.items()])
        yield Finding(
            Code.DROPOUT_MARGIN,
            Severity.WARNING,
            f"If each party drops out with probability {expected:g}, more than {spare:,} of {n:,} "
            f"do in {fails:.1%} of rounds.",
            remedy or Code.DROPOUT_MARGIN.remedy,
            tuple(found.items()),
        )
    allowed = f"Up to {spare:,} of {n:,} parties may drop out before their input; with one more"
    if spare == 0:
        allowed = "With a single dropout before its input"
    yield Finding(
        Code.BEYOND_QUORUM,
        Severity.NOTE,
        f"{allowed} the round ends without a sum (code quorum). Fewer than {quorum:,} inputs are "
        "never unmasked, and clients keep theirs, but the attempt is used: an input that left "
        "counts as given.",
        "Try again under a new context (a new attempt); each client limits how often.",
    )
    if not params.degree and quorum == params.threshold and spare:
        least = least_threshold(params.mode, n, params.colluders)
        as_safe = f" `Params(threshold={least}, ...)` is safe, too." if least < quorum else ""
        yield Finding(
            Code.LATE_DROPOUTS,
            Severity.WARNING,
            f"If {spare:,} parties drop out before their input, none of the other {quorum:,} may "
            f"drop out after it: {params.threshold:,} must answer to the end.",
            f"Lower corrupt or dropout.{as_safe}",
        )


def _dropout_changes(
    request: Request, lost: int, enough: Callable[[int, int], bool]
) -> Iterator[Change]:
    """Yields a higher dropout that is safe, and a larger cohort that allows it.

    Args:
        request: what was asked for.
        lost: as many dropouts as are needed.
        enough: returns whether so many dropouts are enough for a cohort.
    """
    if lost < request.cohort and is_safe(request.with_dropouts(lost)):
        yield "dropout", as_fraction(lost, request.cohort)

    def helps(larger: Request) -> bool:
        spare = Fractions(0.0, larger.dropout).of(larger.cohort)[1]
        return enough(spare, larger.cohort) and is_safe(larger)

    if (larger := least_cohort(request, helps)) is not None:
        yield "cohort", larger


def _promise(params: Params) -> Iterator[Finding]:
    """Yields what the parameters promise, and under which assumptions."""
    n, t, c, quorum = params.cohort, params.threshold, params.colluders, params.quorum
    if c == 0:
        yield Finding(
            Code.NO_COLLUDERS,
            Severity.WARNING,
            "The promise holds only if no client at all tells the server what it knows.",
            "A corrupt above 0 stands for one party or more.",
        )
    if quorum == 2:
        yield Finding(
            Code.POLICY_PAIR,
            Severity.WARNING,
            "From a sum of two inputs each of the two learns the other's, so clients refuse.",
            "Invite more parties, or give `Policy(allow_pair=True)`.",
        )
    elif quorum - c == 2:
        yield Finding(
            Code.SMALL_SUM,
            Severity.WARNING,
            f"Only two honest inputs may lie under the smallest sum, of {quorum}: with one more "
            "colluder than planned for it shows an input.",
            Code.SMALL_SUM.remedy,
        )
    if params.mode is Mode.MALICIOUS:
        yield Finding(
            Code.MALICIOUS_THRESHOLD,
            Severity.NOTE,
            f"Malicious mode needs a threshold t above two thirds of the cohort n, and 2t > n + c "
            f"with c colluders: 2 x {t} > {n} + {c}. So {t} of those whose input is in the sum "
            "must sign and answer.",
        )
        return
    yield Finding(
        Code.TRUSTED_SERVER,
        Severity.NOTE,
        "In semi-honest mode a server that deviates from the protocol can learn inputs.",
        "Use malicious mode if the server should not be trusted with them.",
    )
    if params.degree:
        yield Finding(
            Code.SPARSE_GRAPH,
            Severity.NOTE,
            f"{params.explanation} Rounds within these numbers fail with probability below "
            f"2^-{FAILURE}.",
            Code.SPARSE_GRAPH.remedy,
        )
    elif n >= _LARGE_COHORT:
        yield Finding(
            Code.COMPLETE_GRAPH,
            Severity.NOTE,
            f"{params.explanation} The work of a client grows with the cohort.",
            "Lower corrupt or dropout, if that is true of your clients.",
        )


def _numbers(request: Request, params: Params) -> Iterator[Finding]:
    """Yields what the number format costs, and how exact it is."""
    form, bits, n = params.format, params.field_bits, params.cohort
    if bits > _NARROW:
        changes = tuple(_narrow_changes(request))
        yield Finding(
            Code.WIDE_FIELD,
            Severity.NOTE,
            f"Sums take {bits} bits, and elements of more than {_NARROW} bits cost twice the time "
            "and memory.",
            _instead(changes) or Code.WIDE_FIELD.remedy,
            changes,
        )
    if not isinstance(form, FixedPoint):
        return
    if form.weighted:
        extra = bits - field_width(replace(form, max_weight=1), n)
        yield Finding(
            Code.WEIGHT_BITS,
            Severity.NOTE,
            f"Weights up to {form.max_weight:,} cost {extra} of {bits} bits of every element.",
            "Use smaller weights if that is too much: count examples in hundreds, say.",
        )
    typical = form.step / (2 * math.sqrt(params.quorum))
    yield Finding(
        Code.PRECISION,
        Severity.NOTE,
        f"Rounding moves the mean of {params.quorum} inputs by {form.step:.1e} at most, and by "
        f"about {typical:.1e} (equal weights).",
        "One more bit halves it, and so does half the clip.",
    )


def _narrow_changes(request: Request) -> Iterator[Change]:
    """Yields the format's nearest values for which elements take four bytes."""
    form = request.format
    if not isinstance(form, FixedPoint):
        return

    def narrow(other: FixedPoint) -> bool:
        return fits(replace(request, format=other)) and (
            field_width(other, request.cohort) <= _NARROW
        )

    for bits in range(form.bits - 1, 0, -1):
        if narrow(replace(form, bits=bits)):
            yield "bits", bits
            break
    weight = 2**_NARROW // (request.cohort * form.levels) - 1
    if 1 <= weight < form.max_weight and narrow(replace(form, max_weight=weight)):
        yield "max_weight", weight


def _size(params: Params, costs: Costs, need: Memory, available: int | None) -> Iterator[Finding]:
    """Yields what is large: messages, memory, times."""
    worst: dict[tuple[str, Phase], tuple[float, int]] = {}
    for dropouts, cost in costs:
        for role, side in (("the server", cost.server), ("a client", cost.client)):
            for phase, seconds in zip(params.mode.phases, side.phases, strict=True):
                if seconds > max(worst.get((role, phase), (SECONDS, 0))[0], SECONDS):
                    worst[role, phase] = seconds, dropouts
    largest = largest_message(params)
    if largest > MESSAGE:
        yield Finding(
            Code.LARGE_MESSAGE,
            Severity.WARNING,
            f"The largest message has {largest:,} bytes; gRPC refuses more than {MESSAGE:,} by "
            "default, and many web servers more than 1 MB.",
            f"Let the transport take {largest:,} bytes, or lower length or bits.",
        )
    for role, size in (("client", need.client), ("server", need.server)):
        if available is not None and size > available:
            yield Finding(
                Code.MEMORY,
                Severity.WARNING,
                f"A {role} may need {size / 1e9:,.1f} GB of memory, and this machine has "
                f"{available / 1e9:,.1f} GB.",
                Code.MEMORY.remedy,
            )
    for (role, phase), (seconds, dropouts) in worst.items():
        yield Finding(
            Code.SLOW_PHASE,
            Severity.WARNING,
            f"{_sentence(role)[:-1]} works about {seconds:,.0f} s in the phase {phase} if "
            f"{dropouts:,} drop out, on one core of this machine.",
            "Raise the deadline of the phase"
            + ("; `run_jobs` with an executor uses more cores." if phase is Phase.UNMASK else "."),
        )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _instead(changes: Iterable[Change]) -> str:
    """Returns changes as a sentence, or ""."""
    parts = [
        f"use {value} mode (if the server is trusted to follow the protocol)"
        if name == "mode"
        else f"change {name} to {value}"
        for name, value in changes
    ]
    return _sentence(" or ".join(parts)) if parts else ""
