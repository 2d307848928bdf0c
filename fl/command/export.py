"""A run as one JSON object."""

import math

from secagg import __version__

from ..agreed import check_params
from ..history import BufferReport, RoundReport, Score
from .report import (
    Outcome,
    attempts_allowed,
    bits,
    clip_of,
    given_most,
    masked_bits,
    revealed,
    sent,
    spent,
)

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def as_json(outcome: Outcome) -> Json:
    """Returns the run as one JSON object; accuracies are fractions, times are in seconds.

    A number that is not finite, such as the loss of a model that diverged, becomes null.
    """
    found, asked = outcome.comparison, outcome.settings
    return _with_nulls(
        {
            "version": __version__,
            "dataset": asked.dataset,
            "model": asked.model,
            "mode": asked.mode,
            "clients": asked.clients,
            "quorum": outcome.params.quorum,
            "dropout": asked.dropout,
            "bits": bits(outcome.params),
            "clip": clip_of(outcome.params, outcome.privacy),
            "adaptive_clip": asked.adaptive_clip,
            "rotate": asked.rotate,
            "split": asked.split,
            "epochs": asked.epochs,
            "optimizer": asked.optimizer,
            "server_rate": asked.server_rate,
            "sample": asked.sample,
            "async": asked.asynchronous,
            "privacy": _privacy_json(outcome),
            "step": check_params(outcome.params).step,
            "masked_bits": masked_bits(outcome.params),
            "bytes_up": sent(outcome),
            "seed": asked.seed,
            "parameters": outcome.parameters,
            "numbers": outcome.params.length,
            "secure_accuracy": found.secure.accuracy,
            "plain_accuracy": found.plain.accuracy,
            "central_accuracy": found.central.accuracy,
            "secure_loss": found.secure.loss,
            "plain_loss": found.plain.loss,
            "central_loss": found.central.loss,
            "max_abs_difference": found.max_abs_difference,
            "bound": found.bound,
            "bound_note": found.bound_note,
            "failed_rounds": sum(report.failed for report in outcome.reports),
            "clipped": sum(report.clipped for report in outcome.reports),
            "shortened": sum(report.shortened for report in outcome.reports),
            "attempts_used": outcome.attempts_used,
            "attempts_allowed": attempts_allowed(outcome),
            "attempts_note": revealed(outcome),
            "converged": outcome.converged,
            "reason": outcome.ended.reason if outcome.ended else outcome.unfilled,
            "code": outcome.ended.code if outcome.ended else None,
            "rounds": [
                _round_json(report, plain)
                for report, plain in zip(outcome.reports, found.plain_scores, strict=True)
            ],
        }
    )


def _privacy_json(outcome: Outcome) -> Json:
    privacy = outcome.privacy
    if privacy is None:
        return None
    form = check_params(privacy.params)
    return {
        "placement": privacy.placement,
        "epsilon": privacy.epsilon(given_most(outcome.reports)),
        "target": privacy.target,
        "delta": privacy.delta,
        "rounds": privacy.rounds,
        "multiplier": privacy.multiplier,
        "honest": privacy.honest,
        "factor": privacy.factor,
        "scale": form.scale,
        "note": spent(privacy, outcome.reports),
    }


def _with_nulls(value: Json) -> Json:
    """Replaces numbers that are not finite, of which JSON has none."""
    if isinstance(value, dict):
        return {name: _with_nulls(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_nulls(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _round_json(report: RoundReport, plain: Score) -> Json:
    score = report.score
    return {
        "round": report.round,
        "attempt": report.attempt,
        "invited": len(report.invited),
        "time": report.time if isinstance(report, BufferReport) else None,
        "stale": list(report.stale) if isinstance(report, BufferReport) else None,
        "survivors": len(report.survivors),
        "survivor_ids": list(report.survivors),
        "failed": report.failed,
        "reason": report.reason,
        "code": report.code,
        "drops": {str(party): phase.value for party, phase in report.drops.items()},
        "refusals": {str(party): reason for party, reason in report.refusals.items()},
        "refusal_codes": {str(party): code for party, code in report.refusal_codes.items()},
        "clipped": report.clipped,
        "clipped_by_array": dict(report.clipped_by_array),
        "shortened": report.shortened,
        "loss": score.loss if score else None,
        "accuracy": score.accuracy if score else None,
        "plain_loss": plain.loss,
        "plain_accuracy": plain.accuracy,
        "epsilon": report.epsilon,
        "clip": report.clip,
        "bytes_up": report.bytes_up,
        "bytes_down": report.bytes_down,
        "seconds": report.seconds,
        "seconds_by_phase": dict(report.seconds_by_phase),
    }
