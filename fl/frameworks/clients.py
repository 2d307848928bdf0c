"""Clients of `FedAvg` that train a model of Keras, PyTorch or scikit-learn.

    clients = [keras_client(net, lambda net: net.fit(x, y), len(x)), ...]
    training = FedAvg(arrays_of(net), clients, rounds=20)
    into(net, training.model)

Each client needs a model object of its own: what is in no array of floats (`arrays_of`), such as a
count of batches, stays there.
"""

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError
from secagg.numeric import brief
from secagg.texts import described

from ..models import Model
from ..updates import whole
from .weights import KERAS, SKLEARN, TORCH, Kind, arrays_of, into, is_of, kind_of, named

_REASON: Final = 200  # characters of a reason that quotes an exception


@dataclass(slots=True, eq=False)
class ModelClient:
    """A client of `FedAvg` that trains an object of Keras, PyTorch or scikit-learn.

    An update depends on the model that was sent, not on models before: else a server could send
    others such models that only one client moves, and a sum would be its update. So each training
    begins with what the object kept beside its arrays of floats when this client was made: counts,
    the rate and state of an optimizer, which has done no step.

    Attributes:
        model: the object; no other client may have the same one. Of Keras, it is compiled.
        fit: trains it in place, on this client's data; what it returns is ignored. What it keeps
            itself is not undone: it makes an optimizer of PyTorch anew in each call.
        examples: how many examples that are; with 0 the client sits rounds out.

    Raises:
        ParameterError: the object is of no such framework, has no arrays of floats, or cannot be
            copied; `fit` is no function; the number is none from 0 up.
    """

    model: Any
    fit: Callable[[Any], object]
    examples: int
    _rest: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.fit):
            raise ParameterError(
                f"fit must be a function of the model, not {brief(self.fit)}", Code.ARGUMENT
            )
        self.examples = whole("examples", self.examples, 0, 2**63 - 1, Code.WEIGHT)
        arrays_of(self.model)
        try:
            self._rest = kind_of(self.model).rest(self.model)
        except Exception as error:  # of an attribute or an optimizer of any kind
            raise ParameterError(
                f"what the {type(self.model).__name__} keeps beside its arrays, with which each "
                f"training begins, cannot be copied: {described(error, _REASON)}",
                Code.ARGUMENT,
            ) from None

    def train(self, model: Model) -> Model:
        """Puts the arrays of the global model into its own, trains that, and returns its arrays.

        Raises:
            ParameterError: they are not those of its model.
        """
        into(self.model, model)
        kind_of(self.model).put_back(self.model, self._rest)
        self.fit(self.model)
        return arrays_of(self.model)


def keras_client(model: Any, fit: Callable[[Any], object], examples: int) -> ModelClient:
    """Returns a client that trains a model of Keras, on any backend.

    Args:
        model: with weights: it was given the shape of its input, or was called once.
        fit, examples: as of `ModelClient`.

    Raises:
        ParameterError: as of `ModelClient`.
    """
    return _client(KERAS, model, fit, examples)


def torch_client(module: Any, fit: Callable[[Any], object], examples: int) -> ModelClient:
    """Returns a client that trains a module of PyTorch, on any device.

    Args:
        module: whose `state_dict` has tensors. Buffers of floats, such as the running means of a
            normalisation, are averaged like weights.
        fit, examples: as of `ModelClient`.

    Raises:
        ParameterError: as of `ModelClient`.
    """
    return _client(TORCH, module, fit, examples)


def sklearn_client(
    estimator: Any, x: Any, y: Any, *, classes: Sequence[Any] | None = None, epochs: int = 1
) -> ModelClient:
    """Returns a client that trains an estimator of scikit-learn by `partial_fit`.

    An estimator that was not fitted before is made ready here, from public facts alone: the number
    of columns and the classes. One with `coef_` begins with zeros. A server makes its own without
    rows: `sklearn_client(estimator, np.zeros((0, columns)), [], classes=classes).model`.

    Args:
        estimator: `SGDClassifier`, `SGDRegressor`, `MLPClassifier`, ...: with `partial_fit`, and
            `coef_` and `intercept_` or `coefs_` and `intercepts_`. No `average=`, whose steps begin
            at other arrays than these.
        x: shape (examples, columns), dense or sparse; taken as float64.
        y: shape (examples,).
        classes: of a classifier, all labels that there are at any client, two or more: the same
            list at all clients.
        epochs: passes over the examples in a round, 1 or more.

    Raises:
        ParameterError: the estimator is of another kind, was fitted to other columns or classes, or
            refuses its first call; shapes do not go together; classes lack a label, or are none.
    """
    name = type(estimator).__name__
    if not is_of(SKLEARN, estimator):
        raise ParameterError(
            f"{named(estimator)} has no partial_fit, so it cannot train on from a global model: "
            "give an estimator object that has it, such as SGDClassifier() or SGDRegressor()",
            Code.ARGUMENT,
        )
    if getattr(estimator, "average", False):
        raise ParameterError(
            f"{name} has average={estimator.average}: its steps do not begin at coef_, and would "
            "not begin at the global model; make it with average=False",
            Code.ARGUMENT,
        )
    try:
        x = (x if hasattr(x, "tocsr") else np.asarray(x)).astype(np.float64)
        y = np.asarray(y)
    except Exception as error:  # of a data frame's library, say
        raise ParameterError(
            f"x and y cannot be read as arrays, x of numbers: {described(error, _REASON)}",
            Code.DTYPE,
        ) from None
    if len(x.shape) != 2 or not x.shape[1] or y.shape != x.shape[:1]:
        raise ParameterError(
            f"x of shape {x.shape} does not go with y of shape {y.shape}: they must be (examples, "
            "columns) and (examples,)",
            Code.SHAPE,
        )
    epochs = whole("epochs", epochs, 1, 2**31)
    known: dict[str, Any] = {}
    if "classes" in inspect.signature(estimator.partial_fit).parameters:
        known["classes"] = _check_classes(name, classes, y)
    elif classes is not None:
        raise ParameterError(f"{name} takes no classes: leave them out", Code.ARGUMENT)
    _make_ready(estimator, x.shape[1], known)

    def fit(model: Any) -> None:
        for _ in range(epochs):
            model.partial_fit(x, y, **known)

    return _client(SKLEARN, estimator, fit, len(y))


def _client(kind: Kind, model: Any, fit: Callable[[Any], object], examples: int) -> ModelClient:
    if (found := kind_of(model)) is not kind:
        raise ParameterError(
            f"{type(model).__name__} is a model of {found.name}, and the client is for {kind.name}",
            Code.ARGUMENT,
        )
    return ModelClient(model, fit, examples)


def _check_classes(name: str, classes: Sequence[Any] | None, y: NDArray[Any]) -> NDArray[Any]:
    """Returns the classes in the order of scikit-learn."""
    try:
        known = np.unique(np.asarray([] if classes is None else classes))
    except Exception:  # labels of several types, which nobody can sort
        known = np.zeros(0)
    if known.size < 2:
        raise ParameterError(
            f"{name} needs classes: the list of all labels at any client, two or more, which all "
            "clients know",
            Code.ARGUMENT,
        )
    if unknown := np.count_nonzero(~np.isin(y, known)):
        raise ParameterError(
            f"{unknown} labels of {y.size} are not in classes: give all clients the same list, "
            "with every label",
            Code.ARGUMENT,
        )
    return known


def _make_ready(estimator: Any, columns: int, known: dict[str, Any]) -> None:
    """Gives an unfitted estimator its arrays, by a first call with rows of zeros."""
    name = type(estimator).__name__
    if not SKLEARN.read(estimator):
        labels = known["classes"][:2] if known else np.zeros(2)
        try:
            with warnings.catch_warnings(action="ignore"):  # of batches larger than two rows, say
                estimator.partial_fit(np.zeros((2, columns)), labels, **known)
        except Exception as error:
            raise ParameterError(
                f"{name} refuses its first call: {described(error, _REASON)}", Code.ARGUMENT
            ) from None
        is_linear = hasattr(estimator, "coef_")  # as if these rows had never been
        if is_linear:
            into(estimator, [np.zeros_like(each) for each in arrays_of(estimator)])
        if hasattr(estimator, "t_"):
            estimator.t_ = 1.0 if is_linear else 0
    fitted = getattr(estimator, "n_features_in_", columns)
    labels = getattr(estimator, "classes_", np.zeros(0))
    if fitted != columns or (known and not np.array_equal(labels, known["classes"])):
        raise ParameterError(
            f"{name} was fitted to {fitted} columns and classes {brief(labels)}, and is to train "
            f"on {columns} columns and {brief(known.get('classes'))}: give a new one",
            Code.SHAPE,
        )
