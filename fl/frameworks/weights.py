"""The arrays of models of Keras, PyTorch and scikit-learn, as lists of NumPy arrays and back.

A model is known by its methods, so no framework is imported before there is a model of it.

What is averaged are the arrays of floats. Integers and bools (PyTorch's `num_batches_tracked`, the
count of a Keras `Normalization`) stay in each model object, and so does whatever is in no array:
the moments of an optimizer, the step count of an estimator. A server could shape all that by the
models that it sends, until one client alone gives an update; so `Kind.put_back` undoes it.
"""

import copy
import sys
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError
from secagg.numeric import brief
from secagg.texts import described

from ..models import Model

Named = list[tuple[str, NDArray[Any]]]

_REASON: Final = 200  # characters of a reason that quotes an exception
_WIDEST: Final = 8  # bytes of a float that is averaged
_OF_SKLEARN: Final = ("coef_", "intercept_", "coefs_", "intercepts_")
_OPTIMIZER: Final = (
    "_optimizer"  # of a network of scikit-learn, which makes one where it is missing
)


def arrays_of(model: Any) -> Model:
    """Returns copies of the arrays of floats of a model, in its own order: what `FedAvg` takes.

    Args:
        model: of Keras, PyTorch or scikit-learn.

    Returns:
        arrays of float16, float32 or float64; bfloat16 and the like as float32.

    Raises:
        ParameterError: it is of no such framework, or not ready, or an array holds anything but
            floats, integers and bools; the message names it.
    """
    return [_plain(array) for _, array in _averaged(model)]


def into(model: Any, arrays: Model) -> Any:
    """Puts arrays into the model that they are of, in place, and returns it.

    Args:
        model: as of `arrays_of`; what this does not return is left as it is.
        arrays: shapes and order are those of `arrays_of(model)`; they are converted to the dtypes
            of the model.

    Raises:
        ParameterError: they do not fit the model; the message names the array.
    """
    name, found = type(model).__name__, _averaged(model)
    if not isinstance(arrays, Sequence | np.ndarray) or isinstance(arrays, str | bytes):
        raise ParameterError(
            f"arrays must be a list of arrays, as arrays_of returns it, not {brief(arrays)}",
            Code.ARGUMENT,
        )
    if len(arrays) != len(found):
        raise ParameterError(
            f"{len(arrays)} arrays do not fit the {name}, which has {len(found)}", Code.SHAPE
        )
    for (array, old), new in zip(found, arrays, strict=True):
        if np.shape(new) != old.shape:
            raise ParameterError(
                f"array {array!r} of the {name} has shape {old.shape}, and {np.shape(new)} was "
                "given: all sides need the same model",
                Code.SHAPE,
            )
    # Copies: a framework may keep the memory that it is given.
    copies = [(array, np.array(new)) for (array, _), new in zip(found, arrays, strict=True)]
    kind_of(model).write(model, dict(copies))
    return model


class Kind(Protocol):
    """How the arrays of one framework are read and written."""

    name: ClassVar[str]
    methods: ClassVar[tuple[str, ...]]  # of its models

    def read(self, model: Any) -> Named:
        """Returns all arrays of a model, of any dtypes, by names that occur once."""

    def write(self, model: Any, arrays: dict[str, NDArray[Any]]) -> None:
        """Puts those back that are averaged; names and shapes are right."""

    def rest(self, model: Any) -> Any:
        """Returns copies of what training changes in a model beside the arrays of floats."""

    def put_back(self, model: Any, rest: Any) -> None:
        """Makes that as it was when `rest` was taken, with an optimizer that has done no step."""


class _Keras(Kind):
    name = "Keras"
    methods = ("get_weights", "set_weights")

    def read(self, model: Any) -> Named:
        names = [str(getattr(each, "path", each.name)) for each in model.weights]
        return [
            (f"{at}: {name}", np.asarray(array))  # as names repeat
            for at, (name, array) in enumerate(zip(names, model.get_weights(), strict=True))
        ]

    def write(self, model: Any, arrays: dict[str, NDArray[Any]]) -> None:
        model.set_weights([arrays.get(name, old) for name, old in self.read(model)])

    def rest(self, model: Any) -> Any:
        counts = {name: old.copy() for name, old in self.read(model) if not _is_float(old.dtype)}
        optimizer = getattr(model, "optimizer", None)
        return counts, optimizer, _first_state(model, optimizer)

    def put_back(self, model: Any, rest: Any) -> None:
        counts, optimizer, state = rest
        if counts:
            self.write(model, counts)
        used = getattr(model, "optimizer", None)
        if used is not optimizer:  # compiled anew
            state = _first_state(model, used)
        for variable, first in zip(used.variables if used else (), state, strict=True):
            variable.assign(first)


def _first_state(model: Any, optimizer: Any) -> list[NDArray[Any]]:
    """Returns the variables of an optimizer of Keras that has done no step; [] of None."""
    if optimizer is None:
        return []
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    if int(optimizer.iterations):
        optimizer = type(optimizer).from_config(optimizer.get_config())
        optimizer.build(model.trainable_variables)
    return [np.array(each) for each in optimizer.variables]


class _Torch(Kind):
    name = "PyTorch"
    methods = ("state_dict", "load_state_dict")

    def read(self, model: Any) -> Named:
        # What is no tensor is the extra state of a module, which stays with it.
        state = model.state_dict().items()
        return [(name, _of_tensor(name, each)) for name, each in state if hasattr(each, "detach")]

    def write(self, model: Any, arrays: dict[str, NDArray[Any]]) -> None:
        torch = sys.modules["torch"]
        tensors = {name: torch.from_dlpack(array) for name, array in arrays.items()}
        model.load_state_dict({**model.state_dict(), **tensors})

    def rest(self, model: Any) -> Any:
        state, arrays = model.state_dict(), dict(self.read(model))
        averaged = {name for name, array in arrays.items() if _is_float(array.dtype)}
        return copy.deepcopy({name: each for name, each in state.items() if name not in averaged})

    def put_back(self, model: Any, rest: Any) -> None:
        if rest:
            model.load_state_dict({**model.state_dict(), **copy.deepcopy(rest)})


class _Sklearn(Kind):
    name = "scikit-learn"
    methods = ("partial_fit",)

    def read(self, model: Any) -> Named:
        found: Named = []
        for name in _OF_SKLEARN:
            value = getattr(model, name, None)
            if isinstance(value, list):
                found += [(f"{name}[{at}]", np.asarray(each)) for at, each in enumerate(value)]
            elif value is not None:
                found.append((name, np.asarray(value)))
        return found

    def write(self, model: Any, arrays: dict[str, NDArray[Any]]) -> None:
        for name, old in self.read(model):
            array = np.ascontiguousarray(arrays.get(name, old), old.dtype)
            whose, _, at = name.partition("[")
            if at:
                getattr(model, whose)[int(at[:-1])] = array
            else:
                setattr(model, name, array)

    def rest(self, model: Any) -> Any:
        return copy.deepcopy({name: vars(model)[name] for name in self._kept(model)})

    def put_back(self, model: Any, rest: Any) -> None:
        for name in self._kept(model) | {_OPTIMIZER} & vars(model).keys():
            delattr(model, name)
        vars(model).update(copy.deepcopy(rest))

    def _kept(self, model: Any) -> set[str]:
        """Returns the names of attributes, without those that a user sets and the arrays."""
        chosen = model.get_params(deep=False) if hasattr(model, "get_params") else {}
        return set(vars(model)) - set(chosen) - {*_OF_SKLEARN, _OPTIMIZER}


KERAS: Final[Kind] = _Keras()
TORCH: Final[Kind] = _Torch()
SKLEARN: Final[Kind] = _Sklearn()


def is_of(kind: Kind, model: Any) -> bool:
    """Returns whether a model has the methods of a framework; a class is no model."""
    return not isinstance(model, type) and all(
        callable(getattr(model, each, None)) for each in kind.methods
    )


def named(model: Any) -> str:
    """Returns a model by its kind, for a message; a class, a text or a number as it is."""
    if isinstance(model, type):
        return f"the class {model.__name__}"
    is_plain = model is None or isinstance(model, str | bytes | int | float)
    return brief(model) if is_plain else type(model).__name__


def kind_of(model: Any) -> Kind:
    """Returns how to read a model; raises ParameterError if it is of none of these frameworks."""
    for kind in (KERAS, TORCH, SKLEARN):  # Keras on PyTorch has the methods of both
        if is_of(kind, model):
            return kind
    raise ParameterError(
        f"{named(model)} is no model of Keras (get_weights, set_weights), PyTorch "
        "(state_dict, load_state_dict) or scikit-learn (partial_fit): give a model object of one "
        "of these, or FedAvg a client of your own with `examples` and `train`",
        Code.ARGUMENT,
    )


def _averaged(model: Any) -> Named:
    """Returns the arrays that hold floats; raises ParameterError if there are none, or others."""
    found = []
    for name, array in kind_of(model).read(model):
        dtype = array.dtype
        if _is_float(dtype):
            found.append((name, array))
        elif dtype.kind not in "biu":
            raise ParameterError(
                f"array {name!r} of the {type(model).__name__} has dtype {dtype}, and floats of up "
                "to 64 bits are averaged",
                Code.DTYPE,
            )
    if not found:
        raise ParameterError(
            f"the {type(model).__name__} has no arrays of floats to average: build it, or fit it "
            "once; of scikit-learn, take an estimator with coef_ or coefs_",
            Code.LAYOUT,
        )
    return found


def _is_float(dtype: np.dtype[Any]) -> bool:
    """Returns whether arrays of this are averaged."""
    return _is_small(dtype) or (dtype.kind == "f" and dtype.itemsize <= _WIDEST)


def _is_small(dtype: np.dtype[Any]) -> bool:
    """Returns whether this is bfloat16, or another float that NumPy itself lacks."""
    return dtype.isbuiltin == 2 and "float" in dtype.name


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if _is_small(array.dtype) else array.copy()


def _of_tensor(name: str, tensor: Any) -> NDArray[Any]:
    """Returns a tensor as an array; by DLPack where PyTorch was built without NumPy."""
    try:
        tensor = tensor.detach().cpu()
        if any(kind in str(tensor.dtype) for kind in ("bfloat16", "float8")):
            tensor = tensor.float()
        try:
            return np.asarray(tensor.numpy())
        except (RuntimeError, TypeError):
            return np.from_dlpack(tensor)
    except Exception as error:
        raise ParameterError(
            f"array {name!r} cannot be read: {described(error, _REASON)}", Code.DTYPE
        ) from None
