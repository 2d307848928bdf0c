"""The update that a client's training makes, or why it has none to give in this round."""

from collections.abc import Mapping
from typing import Final, NoReturn, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from secagg import Code, FixedPoint, Layout, ParameterError, RangeError, SecAggError
from secagg.numeric import as_int
from secagg.simulate import count_clipped
from secagg.texts import described, one_line

from .models import Model

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

_REASON: Final = 200  # characters of a reason that quotes an exception
_LARGEST: Final = 2**63 - 1
# What rounding adds at most to an update that was clipped before, in spacings at the largest of
# model, result and clip: half a one when the update is added, half a one for the clip as that dtype
# has it; and half a one when the model is converted to another dtype.
_ROUNDING: Final = 1.0
_CONVERTED: Final = 0.5


class FedClient(Protocol):
    """A client as `FedAvg` needs it: a number of examples, and a local training function."""

    @property
    def examples(self) -> int:
        """Number of examples that it holds: its weight in the average; at 0 it sits rounds out."""

    def train(self, model: Model) -> Model:
        """Trains the global model locally, and returns arrays of the same shapes.

        A client whose training raises an exception, or returns something else, sits the round out.
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
        ParameterError: it is no integer in 0..max_weight, or cannot be had.
    """
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


def weight_of(client: FedClient, max_weight: int) -> int:
    """Returns the weight of a client's update, its number of examples.

    Raises:
        NoUpdateError: it holds none, or the number is impossible.
    """
    try:
        examples = count_examples("this client", client, max_weight)
    except ParameterError as error:
        raise NoUpdateError(error.reason, error.code) from None
    if not examples:
        raise NoUpdateError("it holds no examples", Code.NO_INPUT)
    return examples


def trained(client: FedClient, model: Model) -> object:
    """Trains a copy of the model, and returns whatever the training returns.

    Raises:
        NoUpdateError: the training raised an exception.
    """
    try:
        return client.train([array.copy() for array in model])
    except Exception as error:
        _no_update("its training raised", error)


def update_of(model: Model, result: object, clip: float) -> Vector:
    """Returns what training returned minus the model, as one vector of float64.

    A training that clips its update returns model + update, rounded: the difference may lie beyond
    the clip by that rounding. Such a value becomes the clip, so that it does not count as clipped.

    Args:
        model: the global model.
        result: what the training returned.
        clip: bound of the values of an update; infinite if there is none.

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
    for array, part, returned in zip(model, *parts, strict=True):
        _snap(array.reshape(-1), part, returned, clip)
    return update


def _snap(
    model: NDArray[np.floating], update: Vector, returned: NDArray[np.generic], clip: float
) -> None:
    """Puts values of an update that lie beyond the clip by rounding only on it, in place."""
    beyond = np.flatnonzero(np.abs(update) > clip)
    if not beyond.size:
        return
    values, result = model[beyond], returned[beyond].astype(np.float64)
    dtypes = [each.dtype for each in (model, returned) if each.dtype.kind == "f"]
    coarse = min(dtypes, key=lambda dtype: dtype.itemsize)
    with np.errstate(all="ignore"):  # beyond this dtype there is no spacing: NaN
        largest = np.maximum(np.maximum(np.abs(values), np.abs(result)), clip).astype(coarse)
        spacings = _ROUNDING + (_CONVERTED if len({*dtypes}) > 1 else 0)
        room = spacings * np.spacing(largest).astype(np.float64)
    rounded = beyond[np.abs(update[beyond]) - clip <= room]
    update[rounded] = np.copysign(clip, update[rounded])


def clipped_by_array(model: Model, update: Vector, form: FixedPoint) -> Mapping[str, int]:
    """Counts the values of an update that will be clipped, by the name of their array.

    The names are positions, from "0"; arrays without such a value are left out.
    """
    layout = Layout.of(model)
    counts = count_clipped(form, layout, update).tolist()
    return {name: count for name, count in zip(layout.names, counts, strict=True) if count}


def _no_update(what: str, error: Exception) -> NoReturn:
    """Raises NoUpdateError with type and text of an exception from the user's code."""
    raise NoUpdateError(f"{what} {described(error, _REASON)}", Code.TRAINING) from None
