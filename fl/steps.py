"""What an optimizer returns to a training, checked: it may be of the user's own making."""

from typing import Final

import numpy as np

from secagg import Code, ParameterError, RangeError
from secagg.numeric import as_int, brief

from .optimizers import Average, Optimizer, State, Vector
from .updates import fault_of

_NAME: Final = 100  # characters of the name of a vector, which a checkpoint has


def as_optimizer(optimizer: Optimizer | None) -> Optimizer:
    """Returns an optimizer as it is, and `Average()` for None.

    Raises:
        ParameterError: it is something else, or has no `start` or `step`.
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
    return optimizer


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
        ParameterError: the step is no vector of float64 as long as the model, or the state has not
            the same arrays any more.
        RangeError: a value of the step or of the state is NaN or infinite.
    """
    after = {name: vector.copy() for name, vector in state.items()}
    with np.errstate(all="ignore"):  # what is not finite is refused below
        step = optimizer.step(mean, after, number, share)
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
