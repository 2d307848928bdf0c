"""The update that a client's training makes, or why it has none to give in this round."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from secagg import Code, FixedPoint, Layout, ParameterError, RangeError, Rotated, SecAggError
from secagg.numeric import as_int
from secagg.simulate import count_clipped
from secagg.texts import described, one_line

from .models import Model

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
Form = FixedPoint | Rotated  # the formats of real numbers
F = TypeVar("F")

_REASON: Final = 200  # characters of a reason that quotes an exception
_LARGEST: Final = 2**63 - 1
# What rounding adds at most to an update that was clipped before, in spacings at the largest of
# model, result and clip: half a one when the update is added, half a one for the clip as that dtype
# has it; and half a one when the model is converted to another dtype.
_ROUNDING: Final = 1.0
_CONVERTED: Final = 0.5
_BELOW: Final = 1 - 2.0**-40  # for the norm that is computed in another order


class FedClient(Protocol):
    """A client as `FedAvg` needs it: a number of examples, and a local training function."""

    @property
    def examples(self) -> int:
        """Number of examples that it holds: its weight in the average; at 0 it sits rounds out."""

    @property
    def train(self) -> Callable[..., Model]:
        """The method that trains the global model locally, and returns arrays of the same shapes.

        What an optimizer sends beside the model comes as a second argument, and what else it sums
        is returned as further arrays (`Scaffold`). A client with a method `settle` is told after
        the round whether its update is in the sum.

        A client whose training raises an exception, or returns something else, sits the round out.

        What it returns should follow from its data and arguments alone. If it keeps anything from
        one training to the next, a server that lies can shape that by the models that it sends,
        and single the client out in malicious mode, too; only noise helps (`private_params`).
        """


class NoUpdateError(SecAggError):
    """A client has no update to give in this round, and sits it out."""


def whole(name: str, value: object, low: int, high: int, code: Code = Code.ARGUMENT) -> int:
    """Returns a number of the user's own as an int; integers of NumPy are taken as well.

    Raises:
        ParameterError: it is no integer (a bool is none), or outside low..high.
    """
    number = as_int(value)
    if number is None:
        raise ParameterError(f"{name} must be an int, not of type {type(value).__name__}", code)
    if not low <= number <= high:
        shown = number if abs(number) <= _LARGEST else "a number of more than 63 bits"
        raise ParameterError(f"{name} must be in {low}..{high}, not {shown}", code)
    return number


def count_examples(whose: str, client: FedClient, max_weight: int = _LARGEST) -> int:
    """Returns how many examples a client holds; with 0 it has nothing to give.

    Raises:
        ParameterError: it is no integer in 0..max_weight, or cannot be had; or this is no client.
    """
    if client is None or isinstance(client, type):
        what = f"the class {client.__name__}: make objects of it" if client else "None"
        raise ParameterError(
            f"{whose} is {what}; a client is an object with examples and train", Code.ARGUMENT
        )
    name = f"the number of examples of {whose}"
    try:
        found = client.examples
    except Exception as error:
        raise ParameterError(f"{name} raised {described(error, _REASON)}", Code.WEIGHT) from None
    examples = whole(name, found, 0, _LARGEST, Code.WEIGHT)
    if examples > max_weight:
        raise ParameterError(
            f"{whose} has {examples} examples, but weights must be in 1..{max_weight}; raise "
            "max_weight of the format",
            Code.WEIGHT,
        )
    return examples


def check_methods(whose: str, client: FedClient, sent: int) -> None:
    """Checks that a client trains, and that its methods take what they will be given.

    Args:
        whose: the client's name, for messages.
        client: that has them; all but `train` may be missing.
        sent: how many vectors come beside the model.

    Raises:
        ParameterError: `train` is missing, or a method takes other arguments.
    """
    if not callable(getattr(client, "train", None)):
        raise ParameterError(
            f"{whose} ({type(client).__name__}) has no method train", Code.ARGUMENT
        )
    arguments = {
        "train": ["model", *["sent"] * sent],
        "settle": ["counted"],
        "restore": ["state"],
    }
    for name, given in arguments.items():
        method = getattr(client, name, None)
        if callable(method) and not _takes(method, len(given)):
            remedy = ", or the optimizer, as some send a vector beside the model"
            if name == "train" and sent:
                remedy += " (for Scaffold wrap each client in ScaffoldClient(client, scaffold))"
            raise ParameterError(
                f"{whose} ({type(client).__name__}) has a method {name} that cannot be called as "
                f"{name}({', '.join(given)}): correct what it takes"
                + (remedy if name == "train" else ""),
                Code.ARGUMENT,
            )


def _takes(method: Callable[..., object], count: int) -> bool:
    """Returns whether a function can be called with so many arguments, as far as can be known."""
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):  # it has none that Python knows
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def fault_of(value: object, shape: tuple[int, ...] | None = None) -> tuple[str, Code] | None:
    """Returns what a value is, and a code, unless it is an array of finite float64; else None.

    Args:
        value: anything.
        shape: that it must have; by default any.
    """
    if type(value) is not np.ndarray:
        return f"a value of the type {type(value).__name__}", Code.DTYPE
    if value.dtype != np.float64:
        return f"an array of {value.dtype}", Code.DTYPE
    if shape is not None and value.shape != shape:
        return f"an array of shape {value.shape}", Code.SHAPE
    if not np.isfinite(value).all():
        return "a value that is NaN or infinite", Code.NOT_FINITE
    return None


def function(name: str, value: F, *arguments: str) -> F:
    """Returns a function of the user's own, or None.

    Args:
        name: of the argument that it is, for messages.
        value: the function.
        arguments: that it will be called with, by name.

    Raises:
        ParameterError: it is something else, or takes other arguments.
    """
    if value is not None and not callable(value):
        raise ParameterError(
            f"{name} must be a function, not {type(value).__name__}", Code.ARGUMENT
        )
    if callable(value) and not _takes(value, len(arguments)):
        raise ParameterError(
            f"{name} cannot be called as {name}({', '.join(arguments)}): correct what it takes",
            Code.ARGUMENT,
        )
    return value


def is_weighted(form: Form) -> bool:
    """Returns False for a `Rotated` format without weights: every update then counts once."""
    return isinstance(form, FixedPoint) or form.weighted


def weight_of(client: FedClient, form: Form) -> int:
    """Returns the weight of a client's update: its number of examples, or 1 without weights.

    Raises:
        NoUpdateError: it holds none, or the number is impossible.
    """
    weighted = is_weighted(form)
    try:
        examples = count_examples("this client", client, form.max_weight if weighted else _LARGEST)
    except ParameterError as error:
        raise NoUpdateError(error.reason, error.code) from None
    if not examples:
        raise NoUpdateError("it holds no examples", Code.NO_INPUT)
    return examples if weighted else 1


def trained(client: FedClient, model: Model, sent: Sequence[Vector] = ()) -> object:
    """Trains a copy of the model, and returns whatever the training returns.

    Raises:
        NoUpdateError: the training raised an exception.
    """
    try:
        return client.train([array.copy() for array in model], *sent)
    except Exception as error:
        _no_update("its training raised", error)


def update_of(model: Model, result: object, form: Form) -> Vector:
    """Returns what training returned minus the model, as one vector of float64.

    A training that clips its update returns model + update, rounded: the difference may lie beyond
    the clip by that rounding. Such a value becomes the clip, so that it does not count as clipped;
    with `Rotated`, whose clip is an L2 norm, the whole update is shortened so.

    Args:
        model: the global model.
        result: what the training returned.
        form: has the clip.

    Raises:
        NoUpdateError: this is no list of arrays with the shapes of the model, or a value of the
            update is not finite.
    """
    layout = Layout.of(model)
    try:
        with np.errstate(all="ignore"):  # what overflows is refused below
            flat = layout.flatten(cast("Model", result))
            update: Vector = flat.astype(np.float64)
            update -= layout.flatten(model).astype(np.float64)
    except RangeError as error:
        raise NoUpdateError(
            f"its training returned no model: {one_line(error.reason, _REASON)}", error.code
        ) from None
    except Exception as error:
        _no_update("what its training returned could not be read:", error)
    finite = np.isfinite(update)
    if not finite.all():
        names = ", ".join(map(repr, layout.names_at(np.flatnonzero(~finite))))
        raise NoUpdateError(
            f"its update has a value that is NaN or infinite; check its training (arrays: "
            f"{one_line(names, _REASON)})",
            Code.NOT_FINITE,
        )
    parts = (np.split(each, np.cumsum([a.size for a in model])[:-1]) for each in (update, flat))
    if isinstance(form, Rotated):
        _snap_norm(layout.flatten(model), update, flat, form.clip)
        return update
    for array, part, returned in zip(model, *parts, strict=True):
        _snap(array.reshape(-1), part, returned, form.clip)
    return update


def _snap(
    model: NDArray[np.floating], update: Vector, returned: NDArray[np.generic], clip: float
) -> None:
    """Puts values of an update that lie beyond the clip by rounding only on it, in place."""
    beyond = np.flatnonzero(np.abs(update) > clip)
    if not beyond.size:
        return
    room = _room(model[beyond], returned[beyond], np.full(beyond.size, clip))
    rounded = beyond[np.abs(update[beyond]) - clip <= room]
    update[rounded] = np.copysign(clip, update[rounded])


def _snap_norm(
    model: NDArray[np.generic], update: Vector, returned: NDArray[np.generic], clip: float
) -> None:
    """Shortens an update that is longer than the clip by rounding only, in place."""
    length = norm_of(update)
    if length <= clip:
        return
    room = norm_of(_room(model, returned, update))
    # What a training loses that adds up squares in its own dtype.
    room += clip * float(np.finfo(_coarse(model, returned)).eps) * float(np.sqrt(update.size))
    if length - clip <= room < math.inf:  # else the client shortens it, and it counts as clipped
        update *= clip / length * _BELOW


def norm_of(vector: Vector) -> float:
    """Returns the L2 norm of a vector, infinity if a square in it is beyond all floats."""
    with np.errstate(over="ignore"):
        return float(np.linalg.norm(vector))


def _coarse(*arrays: NDArray[np.generic]) -> np.dtype[np.floating]:
    """Returns the narrowest dtype of floats among these arrays."""
    dtypes = [each.dtype for each in arrays if each.dtype.kind == "f"]
    return cast("np.dtype[np.floating]", min(dtypes, key=lambda dtype: dtype.itemsize))


def _room(
    model: NDArray[np.generic], returned: NDArray[np.generic], update: NDArray[np.float64]
) -> Vector:
    """Returns by how much rounding can have moved each value of a clipped update."""
    result = returned.astype(np.float64)
    converted = _CONVERTED if model.dtype != returned.dtype and returned.dtype.kind == "f" else 0
    with np.errstate(all="ignore"):  # beyond this dtype there is no spacing: NaN
        largest = np.maximum(np.maximum(np.abs(model), np.abs(result)), np.abs(update))
        spacing = np.spacing(largest.astype(_coarse(model, returned)))
        room: Vector = (_ROUNDING + converted) * spacing.astype(np.float64)
    return room


def clipped_by_array(model: Model, update: Vector, form: Form) -> Mapping[str, int]:
    """Counts the values of an update that will be clipped, by the name of their array.

    The names are positions, from "0"; arrays without such a value are left out. Of an update that
    is longer than the clip of `Rotated` they are all values.
    """
    layout = Layout.of(model)
    counts = count_clipped(form, layout, update).tolist()
    return {name: count for name, count in zip(layout.names, counts, strict=True) if count}


def _no_update(what: str, error: Exception) -> NoReturn:
    """Raises NoUpdateError with type and text of an exception from the user's code."""
    raise NoUpdateError(f"{what} {described(error, _REASON)}", Code.TRAINING) from None
