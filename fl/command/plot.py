"""Draws a run: accuracy, loss, survivors, bytes and epsilon per round."""

import argparse
import io
from itertools import accumulate
from pathlib import Path
from typing import Final

from secagg import Code, ParameterError
from secagg.extras import MissingExtraError, extra
from secagg.outputs import check_writable

from ..history import Score
from .report import Outcome, bits

_FORMATS: Final = ("png", "svg", "pdf", "jpg", "jpeg")
_GOOD, _BAD, _PLAIN, _CENTRAL = "#1f77b4", "#d62728", "#ff7f0e", "#555555"


def require(path: Path) -> str:
    """Checks before the training that drawing will be possible after it.

    Returns:
        the format of the picture by the ending of its name; without one, "png".

    Raises:
        ParameterError: no picture has such an ending.
        MissingExtraError: matplotlib is not installed.
    """
    ending = path.suffix.lower().removeprefix(".") or "png"
    if ending not in _FORMATS:
        endings = ", ".join(f".{each}" for each in _FORMATS)
        raise ParameterError(
            f"cannot draw a picture with the ending {path.suffix}; use one of {endings}",
            Code.ARGUMENT,
        )
    try:
        with extra("fl"):
            import matplotlib.figure  # noqa: F401, PLC0415  (heavy, and only needed here)
    except ValueError as error:  # of a variable or file of matplotlib's
        raise ParameterError(f"matplotlib cannot be used: {error}", Code.ARGUMENT) from None
    return ending


def picture_file(text: str) -> Path:
    """Returns the file that an option names, for `type=` of argparse; for programs that draw.

    Raises:
        ArgumentTypeError: no picture can be written there; the reason in one line.
    """
    path = Path(text)
    try:
        check_writable(path)
        require(path)
    except (MissingExtraError, ParameterError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not path.suffix:
        raise argparse.ArgumentTypeError(f"{path} has no ending; try {path}.png")
    return path


def draw(outcome: Outcome, ending: str) -> bytes:
    """Draws the picture and returns it as the content of a file in the format that `require` names.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with extra("fl"):
        from matplotlib.figure import Figure  # noqa: PLC0415  (heavy, and only needed here)
        from matplotlib.ticker import MaxNLocator, PercentFormatter  # noqa: PLC0415
    reports, found, asked = outcome.reports, outcome.comparison, outcome.settings
    rounds = [report.round for report in reports]
    unknown = Score(float("nan"), float("nan"))
    secure = [report.score or unknown for report in reports]

    figure = Figure(figsize=(8, 9.5), layout="constrained")
    heights = 3, 3, 1.5, 1.5
    upper, middle, lower, cost = figure.subplots(4, 1, sharex=True, height_ratios=heights)
    for axes, metric in ((upper, "accuracy"), (middle, "loss")):
        of_secure = [getattr(score, metric) for score in secure]
        of_plain = [getattr(score, metric) for score in found.plain_scores]
        of_central = getattr(found.central, metric)
        axes.plot(rounds, of_secure, color=_GOOD, marker="o", label="secure FedAvg")
        axes.plot(rounds, of_plain, color=_PLAIN, linestyle="--", label="plain, same survivors")
        axes.axhline(of_central, color=_CENTRAL, linestyle=":", label="central, after training")
        axes.set_ylabel(f"{metric} on the test set")
        axes.grid(alpha=0.3)
    upper.yaxis.set_major_formatter(PercentFormatter(1.0))
    levels = f"{bits(outcome.params)} bits"
    upper.set_title(f"{asked.model} on {asked.dataset}: {asked.clients} clients, {levels}")
    middle.legend(loc="upper right")

    lower.bar(rounds, [len(report.survivors) for report in reports], color=_GOOD)
    failed = [report.round for report in reports if report.failed]
    lower.bar(failed, outcome.params.cohort, color=_BAD, alpha=0.4)
    lower.axhline(outcome.params.quorum, color=_CENTRAL, linestyle=":")
    lower.set_title(
        f"Survivors. Dotted: the quorum, {outcome.params.quorum}. Red: failed, model unchanged.",
        fontsize="small",
    )
    if any(report.clip for report in reports):
        clip = lower.twinx()
        clip.plot(rounds, [report.clip for report in reports], color=_PLAIN, linestyle="--")
        clip.set_ylabel("clip (dashed)", color=_PLAIN)
        clip.set_ylim(bottom=0)
    sent = list(accumulate(report.bytes_up / 1000 for report in reports))
    cost.plot(rounds, sent, color=_GOOD, label="sent by a client")
    cost.set_ylabel("kB sent so far")
    cost.grid(alpha=0.3)
    if outcome.privacy and outcome.privacy.release:
        epsilon = cost.twinx()
        epsilon.plot(rounds, [report.epsilon for report in reports], color=_BAD, linestyle="--")
        epsilon.set_ylabel("epsilon so far (dashed)", color=_BAD)
    early = "no buffer was filled" if outcome.unfilled else "the training had converged"
    early = "no attempt was left" if outcome.ended else early
    cost.set_xlabel(f"round; then {early}" if len(reports) < asked.rounds else "round")
    for axis in (cost.xaxis, lower.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))

    content = io.BytesIO()
    figure.savefig(content, format=ending, dpi=120)
    return content.getvalue()
