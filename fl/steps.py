"""What an optimizer returns to a training, checked: it may be of the user's own making."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import Final

import numpy as np

from secagg import Code, ParameterError, RangeError
from secagg.numeric import as_int, brief

from .optimizers import Average, Optimizer, State, Vector
from .updates import fault_of, function

_NAME: Final = 100  # characters of the name of a vector, which a checkpoint has
_METHODS: Final = {
    "start": ("length",),
    "step": ("mean", "state", "number", "share"),
    "summed": ("length",),
    "sent": ("state",),
    "check_client": ("whose", "client"),
}


def as_optimizer(optimizer: Optimizer | None) -> Optimizer:
    """Returns an optimizer as it is, and `Average()` for None.

    Raises:
        ParameterError: it is something else, has no `start` or `step`, or a method takes other
            arguments.
    """
    if optimizer is None:
        return Average()
    if isinstance(optimizer, type):
        raise ParameterError(
            f"optimizer is the class {optimizer.__name__}: make one of it, "
            f"{optimizer.__name__}(...)",
            Code.ARGUMENT,
        )
    if not isinstance(optimizer, Optimizer):
        raise ParameterError(
            f"optimizer must be an Optimizer, such as Adam(), not {brief(optimizer)}: one of your "
            "own is a subclass of secagg.fl.Optimizer",
            Code.ARGUMENT,
        )
    for name in ("start", "step"):
        if getattr(type(optimizer), name) is getattr(Optimizer, name):
            raise ParameterError(
                f"{type(optimizer).__name__} has no {name}: an optimizer is a subclass of "
                "secagg.fl.Optimizer with start and step",
                Code.ARGUMENT,
            )
    for name, given in _METHODS.items():
        function(f"{type(optimizer).__name__}.{name}", getattr(optimizer, name), *given)
    return optimizer


def attributes_of(optimizer: Optimizer) -> dict[str, object]:
    """Returns what an optimizer keeps on itself, by name: its settings, and nothing else."""
    named = {each.name for each in fields(optimizer)} if is_dataclass(optimizer) else set()
    named |= set(getattr(optimizer, "__dict__", ()))
    kept = {name: getattr(optimizer, name) for name in sorted(named)}
    kind = type(optimizer)
    return {
        name: value
        for name, value in kept.items()
        if not isinstance(getattr(kind, name, None), cached_property)
    }


def start_of(optimizer: Optimizer, length: int) -> State:
    """Returns the state of an optimizer before the first round.

    Raises:
        ParameterError: it is no dict of arrays of finite float64, with printable names.
    """
    state = optimizer.start(length)
    if not isinstance(state, dict):
        raise _wrong(optimizer, "start", f"a value of the type {type(state).__name__}", _STATE)
    for name, vector in state.items():
        if not isinstance(name, str) or not name.isprintable() or len(name) > _NAME:
            raise _wrong(optimizer, "start", f"the name {brief(name)}", _STATE)
        if fault := fault_of(vector):
            raise _wrong(optimizer, "start", f"{fault[0]} for {name!r}", _STATE, fault[1])
    return state


def summed_by(optimizer: Optimizer | None, length: int) -> int:
    """Returns the length of what clients give, for a model of this length.

    Raises:
        ParameterError: it is neither that of the model nor twice as much; or this is no optimizer.
    """
    optimizer = as_optimizer(optimizer)
    summed = as_int(found := optimizer.summed(length))
    if summed not in (length, 2 * length):
        wanted = f"an int, {length} or {2 * length}: the length of the model, or twice that"
        raise _wrong(optimizer, "summed", brief(found), wanted, Code.SHAPE)
    return summed


def sent_by(optimizer: Optimizer, state: State, length: int) -> Vector | None:
    """Returns what clients get beside the model, if anything.

    Raises:
        ParameterError: it is neither None nor a vector of finite float64, as long as the model.
    """
    found = optimizer.sent(state)
    if found is not None and (fault := fault_of(found, (length,))):
        wanted = f"None, or a vector of {length} finite float64"
        raise _wrong(optimizer, "sent", fault[0], wanted, fault[1])
    return found


def step_by(
    optimizer: Optimizer, mean: Vector, state: State, number: int, share: float, length: int
) -> tuple[Vector, State]:
    """Returns what a round adds to the model, and the next state; `state` is unchanged.

    Args:
        optimizer: that makes it.
        mean, state, number, share: as of `Optimizer.step`.
        length: of the model.

    Raises:
        ParameterError: the step is no vector of float64 as long as the model, the state has not the
            same arrays any more, or the optimizer has changed an attribute of its own.
        RangeError: a value of the step or of the state is NaN or infinite.
    """
    after = {name: vector.copy() for name, vector in state.items()}
    kept = attributes_of(optimizer)  # alive until the end, so that no other object gets its id
    before = _seen(kept)
    with np.errstate(all="ignore"):  # what is not finite is refused below
        step = optimizer.step(mean, after, number, share)
    if changed := sorted(name for name, _ in before ^ _seen(attributes_of(optimizer))):
        kind = type(optimizer).__name__
        raise ParameterError(
            f"{kind}.step changed its attribute {changed[0]}: keep it in state, where checkpoints "
            "find it",
            Code.ARGUMENT,
        )
    if after.keys() != state.keys():
        names = brief(sorted(map(str, after)))
        wanted = f"the vectors that start made, {brief(sorted(state))}"
        raise _wrong(optimizer, "step", f"a state of {names}", wanted, Code.SHAPE)
    likes = {"the step": (step, (length,))}
    likes |= {f"{name!r} of the state": (after[name], state[name].shape) for name in state}
    for what, (found, shape) in likes.items():
        fault = fault_of(found, shape)
        if fault and fault[1] is Code.NOT_FINITE:
            raise RangeError(
                f"step {number} of {type(optimizer).__name__} leaves {fault[0]} in {what}, and the "
                "model is unchanged: lower its rate, or clip; one of your own may divide by zero",
                Code.NOT_FINITE,
            )
        if fault:
            wanted = f"finite float64 of shape {shape}"
            raise _wrong(optimizer, "step", f"{fault[0]} for {what}", wanted, fault[1])
    return step, after


def _seen(attributes: Mapping[str, object]) -> set[tuple[str, object]]:
    """Returns attributes as they are now, for comparison; objects of other kinds by identity."""
    return {(name, _as_it_is(value)) for name, value in attributes.items()}


def _as_it_is(value: object) -> object:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.shape, value.dtype.str, value.tobytes()
    if isinstance(value, list | tuple):
        return tuple(map(_as_it_is, value))
    if isinstance(value, dict):
        return tuple((name, _as_it_is(each)) for name, each in value.items())
    if isinstance(value, int | float | str | bytes | np.generic):
        return type(value).__name__, repr(value)
    return id(value)


_STATE: Final = "a dict of arrays of finite float64 by name, such as {'sum': np.zeros(length)}"


def _wrong(
    optimizer: Optimizer, method: str, found: str, wanted: str, code: Code = Code.ARGUMENT
) -> ParameterError:
    """Returns the exception for something wrong that a method returned, or left."""
    return ParameterError(
        f"{type(optimizer).__name__}.{method} must give {wanted}, and gave {found}: correct this "
        "method of your optimizer",
        code,
    )
