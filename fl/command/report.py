"""Formats a run: as a plain-text table under 80 columns, and as a JSON object."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from secagg import AttemptsExhaustedError, FixedPoint, Mode, ParameterError, Params, Phase, Rotated

from ..agreed import check_params
from ..compare import Comparison
from ..data import Dataset
from ..history import BufferReport, RoundReport
from ..one_sum import TRAINING
from ..private import Placement, Privacy, corrupt_of_cohort
from ..schedule import failure_probability

# Headings of the columns of time; a column is as wide as its heading.
_COLUMNS: Final = {
    TRAINING: " train",
    Phase.ADVERTISE_KEYS.value: " keys",
    Phase.SHARE_KEYS.value: " share",
    Phase.MASKED_INPUT.value: " input",
    Phase.CONSISTENCY.value: " sign",
    Phase.UNMASK.value: " unmask",
}
_LEGEND: Final = (
    "survivors: clients in the sum. loss, accuracy: of the new model, on the test set. up, down: "
    "sent and received by a client, on average. train: local training. keys to unmask: steps of "
    "the protocol, in their order."
)
_INDENT: Final = " " * 6
_WIDTH: Final = 80
_COHORTS: Final = 5, 10, 20, 50, 100  # that a warning may advise
_TOLERABLE: Final = 0.1  # probability of a failed round up to which there is no warning
_REVEALED: Final = (
    "Each can give the server one sum, also an attempt that it calls failed. Differences of sums "
    "over one model are sums over fewer clients, down to one client's update if training is "
    "deterministic, as here."
)
_REVEALED_WITH_NOISE: Final = (
    "Each can give the server one sum, also an attempt that it calls failed, with noise of its own."
)
_CONVERGED: Final = (
    "the training has converged: successful rounds led back to the same model, number by number, "
    "and all attempts on it are used"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of the command line, without output files."""

    dataset: str
    model: str
    clients: int
    rounds: int
    dropout: float
    bits: int | None
    clip: float | None
    rotate: bool
    split: str
    epochs: int
    optimizer: str
    server_rate: float | None
    sample: float | None
    asynchronous: bool
    dp_epsilon: float | None
    adaptive_clip: float | None
    dp_delta: float | None
    dp_placement: str | None
    dp_corrupt: float | None
    dp_dropout: float | None
    dp_scale: float | None
    mode: str
    attempts: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The results of a whole run.

    Attributes:
        settings: what was asked for.
        params: parameters of the rounds.
        privacy: differential privacy of the rounds, if any was asked for.
        parameters: of the model; vectors of the rounds can be longer.
        reports: reports of the rounds that were run.
        comparison: what came of it.
        attempts_used: the largest number of rounds on one model in which inputs left.
        converged: whether no round was left on the last model, and successful rounds led back to
            it; if there were fewer rounds than asked for, this is why, unless the others say so.
        unfilled: why no buffer could be filled any more, with --async, or "".
        ended: why there were fewer rounds than asked for, if that is a failure, or None.
    """

    settings: Settings
    params: Params
    privacy: Privacy | None
    parameters: int
    reports: Sequence[RoundReport]
    comparison: Comparison
    attempts_used: int
    converged: bool
    unfilled: str
    ended: AttemptsExhaustedError | None


def intro(
    settings: Settings,
    dataset: Dataset,
    params: Params,
    parameters: int,
    privacy: Privacy | None = None,
) -> list[str]:
    """Returns a description of the run, and the heading of the table."""
    beside = ""
    if params.length > parameters:  # a bit for the clip, or SCAFFOLD's second half
        beside = f" ({params.length} numbers with what is summed beside them)"
    sizes = [len(split) for split in dataset.clients]
    about = (
        f"{settings.model} on {settings.dataset}: {sum(sizes)} examples over {len(sizes)} clients "
        f"({min(sizes)} to {max(sizes)} each), {len(dataset.test)} held out for testing. "
        f"{parameters} parameters{beside}, {_quantized(params, privacy)}. "
        f"Every round is a secure aggregation ({settings.mode}) that needs {params.quorum} of "
        f"{params.cohort} clients, and each drops out of a round with probability "
        f"{settings.dropout:g}. Seed {settings.seed}."
    )
    if privacy:
        about += f" {_noise(privacy)}"
    return [
        *textwrap.wrap(about, _WIDTH),
        *textwrap.wrap(_LEGEND, _WIDTH),
        "",
        "                               bytes/client  milliseconds, all parties",
        "round survivors   loss accuracy    up   down" + "".join(_COLUMNS.values()),
    ]


def counted(number: int, noun: str) -> str:
    """Returns a number of things in words: "1 round", "2 rounds"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def bits(params: Params) -> int:
    """Returns the bits of a quantized value of one client."""
    form = check_params(params)
    if isinstance(form, Rotated):
        return (2 * form.peak if form.noisy else form.peak).bit_length()
    return form.bits


def _noise(privacy: Privacy) -> str:
    """Returns who adds noise, and how much, in a sentence or two."""
    cohort = privacy.params.cohort
    who = {
        Placement.DISTRIBUTED: "each client a part",
        Placement.CENTRAL: "the server, which is trusted with every sum",
        Placement.LOCAL: "each client enough by itself",
        Placement.NONE: "nobody, to compare with: this is not private",
    }
    text = f"Noise is added by {who[privacy.placement]}"
    if privacy.placement is Placement.NONE:
        return f"{text}."
    text += f" (z = {privacy.multiplier:.4g} times the sensitivity"
    if privacy.placement is Placement.DISTRIBUTED:
        text += f" in the noise of h = {privacy.honest} of {cohort} clients"
    text += f"); {privacy.factor:.3g} times that of a trusted server in a sum of all."
    if privacy.adaptive:
        text += " Each client also gives a bit, by which the clip changes; it has noise, too."
    return text


def _quantized(params: Params, privacy: Privacy | None) -> str:
    """Returns how updates are rounded and clipped, in some words."""
    form = check_params(params)
    if isinstance(form, Rotated):
        rotated = "rotated, " if form.rotation else ""
        first = " in the first round" if privacy and privacy.adaptive else ""
        limit = f"L2 norm at most {clip_of(params, privacy):g}{first}"
        return f"{bits(params)} bits each, {rotated}{limit}"
    return f"{bits(params)} bits each, clipped at {form.clip:g}"


def clip_of(params: Params, privacy: Privacy | None) -> float:
    """Returns the clip of updates, in the first round if it changes."""
    if privacy and privacy.adaptive:
        return privacy.adaptive.start.clip  # that of the format is for the bit as well
    return check_params(params).clip


def masked_bits(params: Params) -> float:
    """Returns the bits of a masked input per parameter: those of a sum, with digits packed."""
    return params.field_bits * params.vector_length / params.length


def sent(outcome: Outcome) -> float:
    """Returns the bytes that one client sent in one round, on average."""
    return sum(report.bytes_up for report in outcome.reports) / max(1, len(outcome.reports))


def row(report: RoundReport) -> list[str]:
    """Returns the line of one round in the table, and lines for failure, clipping, refusals."""
    survivors = "failed" if report.failed else f"{len(report.survivors)}/{len(report.invited)}"
    score = "     -        -"
    if report.score:
        score = f"{_loss(report.score.loss, 6)} {report.score.accuracy:8.1%}"
    phases = "".join(
        _milliseconds(report.seconds_by_phase.get(name)).rjust(len(heading))
        for name, heading in _COLUMNS.items()
    )
    lines = [
        f"{report.round:5} {survivors:>9} {score} "
        f"{report.bytes_up:5.0f} {report.bytes_down:6.0f}{phases}"
    ]
    if report.failed:
        lines.append(f"{_INDENT}model unchanged: {report.reason}")
    if report.clip is not None:
        shortened = counted(report.shortened, "update")
        lines.append(f"{_INDENT}clip {report.clip:.4g}: {shortened} shortened to it")
    elif report.shortened:
        lines.append(f"{_INDENT}{counted(report.shortened, 'update')} shortened to the clip")
    elif report.clipped:
        where = report.clipped_by_array.items()
        arrays = ", ".join(f"{count} in array {name}" for name, count in where)
        text = f"{counted(report.clipped, 'value')} clipped: {arrays}"
        lines += textwrap.wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    for who, why in sorted(report.refusals.items()):
        text = f"client {who}: {why}"
        lines += textwrap.wrap(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return lines


def _loss(value: float, width: int) -> str:
    """Returns a loss with as many digits as there is room for; that of a diverged model is huge."""
    texts = [f"{value:{form}}" for form in (".4f", ".3g", ".2g", ".0e")]
    return next((text for text in texts if len(text) <= width), texts[-1]).rjust(width)


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:  # a phase that this mode does not have
        return "-"
    text = f"{1000 * seconds:.1f}"
    return text if len(text) < 6 else f"{1000 * seconds:.0f}"


def summary(outcome: Outcome) -> Iterator[str]:
    """Yields scores of the three ways to train, their difference, and the attempts on a model."""
    found, reports = outcome.comparison, outcome.reports
    yield ""
    if len(reports) < outcome.settings.rounds:
        why = outcome.ended.reason if outcome.ended else outcome.unfilled or _CONVERGED
        yield from textwrap.wrap(
            f"Ended before round {len(reports) + 1} of {outcome.settings.rounds}: {why}.", _WIDTH
        )
        yield ""
    yield "              secure FedAvg   plain FedAvg   central training"
    scores = found.secure, found.plain, found.central
    yield "accuracy      {:>13.2%} {:>14.2%} {:>18.2%}".format(*(s.accuracy for s in scores))
    yield "loss          {:>13} {:>14} {:>18}".format(*(_loss(s.loss, 10) for s in scores))
    yield ""
    failed = sum(report.failed for report in reports)
    lossy = sum(bool(report.drops) for report in reports)
    if isinstance(outcome.params.format, Rotated):
        clipped = f"{counted(sum(report.shortened for report in reports), 'update')} shortened"
    else:
        clipped = f"{counted(sum(report.clipped for report in reports), 'value')} clipped"
    if outcome.privacy and outcome.privacy.release:
        clipped += (
            " (as this simulation counts: no server learns it, and epsilon does not cover it)"
        )
    yield from textwrap.wrap(
        f"{counted(len(reports), 'round')}: {lossy} with dropouts, {failed} failed; {clipped}; "
        f"{sum(report.seconds for report in reports):.1f} s.",
        _WIDTH,
    )
    if buffered := [each for each in reports if isinstance(each, BufferReport)]:
        ages = [age for each in buffered for age in each.stale]
        given = buffered[-1].contributions
        yield from textwrap.wrap(
            f"Simulated time: {buffered[-1].time:.3g}, where a client trains for 1 typically. "
            f"Updates were {sum(ages) / len(ages):.2g} changes of the model old on average, "
            f"{max(ages)} at most; a client gave {min(given)} to {max(given)}. Plain averaging, to "
            "compare with, is of the same survivors without delays.",
            _WIDTH,
        )
    yield (
        f"Sent by one client per round: {sent(outcome):,.0f} bytes, "
        f"{masked_bits(outcome.params):.3g} bits per masked parameter."
    )
    yield f"Largest difference of any parameter, secure and plain: {found.max_abs_difference:.1e}"
    if found.bound is None:
        yield from textwrap.wrap(f"Allowed by quantization: not known, {found.bound_note}", _WIDTH)
    else:
        verdict = "within" if found.max_abs_difference <= found.bound else "BROKEN"
        levels = f"{bits(outcome.params)} bits"
        yield f"Allowed by quantization to {levels}: {found.bound:.1e} ({verdict})"
    clips = [each.clip for each in reports if each.clip is not None]
    if clips and outcome.privacy and outcome.privacy.adaptive:
        quantile = outcome.privacy.adaptive.start.quantile
        yield (
            f"The clip went from {clips[0]:.4g} to {clips[-1]:.4g}, towards the quantile "
            f"{quantile:g} of the norms."
        )
    if outcome.privacy:
        yield ""
        yield from textwrap.wrap(spent(outcome.privacy, reports), _WIDTH)
    limit = attempts_allowed(outcome)
    allowed = "any number" if limit is None else str(limit)
    yield ""
    used = f"{outcome.attempts_used} used, "
    if outcome.settings.asynchronous:  # each client counts its own
        used = "each client counts its own, "
    yield from textwrap.wrap(
        f"Attempts on one model: {used}{allowed} allowed. {revealed(outcome)}", _WIDTH
    )
    yield ""
    yield from textwrap.wrap(_seen(outcome), _WIDTH)


def given_most(reports: Sequence[RoundReport]) -> int:
    """Returns for how many sums epsilon is: of the client that gave most, with --async."""
    if reports and isinstance(last := reports[-1], BufferReport):
        return max(last.contributions)
    return len(reports)


def spent(privacy: Privacy, reports: Sequence[RoundReport]) -> str:
    """Returns what the rounds have told, in some sentences."""
    rounds, after = given_most(reports), counted(len(reports), "round")
    if any(isinstance(each, BufferReport) for each in reports):
        after = f"{counted(len(reports), 'sum')}, of which no client gave to more than {rounds}"
    if privacy.release is None:
        promised, protected = "Not differentially private: no noise was added.", ""
    else:
        protected = (
            " The randomness of this simulation follows from its seed, so that here the noise "
            "protects nobody."
        )
        promised = (
            f"Differential privacy: epsilon {privacy.epsilon(rounds):.4g} at delta "
            f"{privacy.delta:g} after {after} (asked for: {privacy.target:g} after "
            f"{privacy.rounds}), for all updates of one client. {_noise(privacy)}"
        )
    return (
        f"{promised} Every client with examples counts once: the sum of weights would be released "
        f"without noise.{protected}"
    )


def _seen(outcome: Outcome) -> str:
    """Returns what the server learned in these rounds, in a sentence or two."""
    reports, privacy = outcome.reports, outcome.privacy
    sizes = sorted(len(report.survivors) for report in reports if not report.failed)
    sums = "no sum"
    if sizes:
        few, many = sizes[0], sizes[-1]
        updates = f"{few}" if few == many else f"{few} to {many}"
        sums = f"{counted(len(sizes), 'sum')} of {updates} updates"
        if privacy and privacy.adaptive:
            sums += ", and of as many bits"
        if privacy and privacy.release:
            sums += " with noise" if privacy.noise_of_clients else ", to which it added noise"
    invited = {each.invited for each in reports}
    drawn = ", of clients drawn anew for each" if len(invited) > 1 else ""
    if any(isinstance(each, BufferReport) for each in reports):
        drawn = ", of whoever was ready"
    text = f"The server saw {sums}{drawn}, and no single update."
    if len(sizes) < len(reports):
        text += " It may also have the sum of a failed round, if the inputs had left."
    return text


def warning(
    params: Params,
    rate: float,
    drawn_of: int | None = None,
    fractions: tuple[float, float] | None = None,
) -> str:
    """Returns a warning that many rounds will fail at this rate of dropouts, or "".

    Args:
        params: of the rounds.
        rate: of dropouts.
        drawn_of: how many clients there are, if a sample or a buffer of them is in each round.
        fractions: of colluders and dropouts, from which the thresholds follow; by default those of
            `Params`.
    """
    fails = failure_probability(params, rate)
    if fails <= _TOLERABLE:
        return ""

    def is_enough(cohort: int) -> bool:
        form = FixedPoint(1.0)
        if fractions is None:
            larger = Params(cohort, 1, form, mode=params.mode)
            return failure_probability(larger, rate) <= _TOLERABLE
        corrupt, lost = fractions
        try:
            if drawn_of:
                corrupt = corrupt_of_cohort(corrupt, drawn_of, cohort)
            larger = Params.for_cohort(
                *(cohort, 1, form), corrupt=corrupt, dropout=lost, mode=params.mode, sparse=False
            )
        except ParameterError:  # not safe
            return False
        return failure_probability(larger, rate) <= _TOLERABLE

    advice = []
    lower = [each / 100 for each in range(100) if each / 100 < rate]
    if fitting := [each for each in lower if failure_probability(params, each) <= _TOLERABLE]:
        advice.append(f"--dropout {fitting[-1]:g}")
    option, most = ("--sample", drawn_of) if drawn_of else ("--clients", _COHORTS[-1])
    cohorts = [each for each in sorted({*_COHORTS, most}) if params.cohort < each <= most]
    advice += [f"{option} {each}" for each in cohorts if is_enough(each)][:1]
    return (
        f"a round will fail with probability {fails:.0%}: it needs {params.quorum} of "
        f"{params.cohort} clients, and each drops out with probability {rate:g}; better take "
        + " or ".join(advice)
    )


def attempts_allowed(outcome: Outcome) -> int | None:
    """Returns how often clients give their update of one model; None if nothing limits it."""
    return outcome.settings.attempts if outcome.params.mode == Mode.MALICIOUS else None


def revealed(outcome: Outcome) -> str:
    """Returns what several attempts on one model tell the server."""
    noisy = outcome.privacy and outcome.privacy.noise_of_clients
    return _REVEALED_WITH_NOISE if noisy else _REVEALED
