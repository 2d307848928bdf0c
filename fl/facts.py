"""The facts that make a training the same one, so that it goes on from no other's checkpoint."""

from collections.abc import Mapping
from dataclasses import astuple, fields, is_dataclass
from typing import Any

from secagg import Params, digest
from secagg.numeric import as_float, as_int

from .models import Model
from .optimizers import Optimizer
from .private import Privacy
from .steps import attributes_of


def facts_of(
    training: str,
    model: Model,
    clients: int,
    params: Params,
    optimizer: Optimizer,
    privacy: Privacy | None,
    session: bytes,
) -> dict[str, Any]:
    """Returns the facts of a training by name, for JSON.

    What may change is not in here: how many rounds there are, when they end, drops, scores, limits
    of clients. Data of clients cannot be told apart, and are their own.

    Args:
        training: the cohort's word.
        model: the first one.
        clients: how many there are; a sample of them is in `params`.
        params: of the rounds.
        optimizer: whose numbers and texts count, those of a schedule that is a dataclass, such as
            `Decay`, as well, and of another schedule its kind alone.
        privacy: on which noise and epsilon depend.
        session: of the first round, if all is drawn from a seed; else empty. A round that is run
            again must send the same messages: with other draws it would cost epsilon twice.
    """
    return {
        "training": training,
        "clients": clients,
        "cohort": params.cohort,
        "shapes": [[list(array.shape), array.dtype.name] for array in model],
        "first model": digest(model).hex(),
        "optimizer": type(optimizer).__name__,
        "settings of the optimizer": _settings(attributes_of(optimizer)),
        "max_weight": getattr(params.format, "max_weight", None),
        "format": str(params.format),
        "parameters": params.encode().hex(),
        **_of_privacy(privacy),
        "random": session.hex() or None,
    }


def _settings(attributes: Mapping[str, object]) -> dict[str, Any]:
    return {name: _setting(value) for name, value in attributes.items()}


def _setting(value: object) -> float | str | dict[str, Any] | None:
    """Returns a number or a text, of a dataclass its kind and fields, and of others the kind."""
    if value is None or isinstance(value, bool | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        found = {each.name: getattr(value, each.name) for each in fields(value)}
        return {"kind": type(value).__name__, **_settings(found)}
    number = as_float(value) if (whole := as_int(value)) is None else whole
    return type(value).__name__ if number is None else number


def _of_privacy(privacy: Privacy | None) -> dict[str, Any]:
    """Returns all on which the noise of a training and its epsilon depend."""
    rule, release = (privacy.adaptive, privacy.release) if privacy else (None, None)
    return {
        "placement": privacy.placement.value if privacy else None,
        "epsilon": privacy.target if privacy else None,
        "delta": privacy.delta if privacy else None,
        "rounds of noise": privacy.rounds if privacy else None,
        "central steps": privacy.central_steps if privacy else None,
        "clip": [*astuple(rule.start), rule.height, rule.rounds] if rule else None,
        "release": [str(each) for each in astuple(release)] if release else None,
    }
