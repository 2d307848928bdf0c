"""Softmax regression and a small neural network in NumPy.

A model is a list of float64 arrays. The classes here are kinds of models: they draw an initial
model, and compute predictions and gradients of a given one.
"""

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError, RangeError
from secagg.numeric import as_int, brief
from secagg.texts import described

from .data import Labels, Reals, Split, check_seed

_MOST: Final = 2**31  # columns, classes or units

Model = list[NDArray[np.float64]]


class Architecture(Protocol):
    """A kind of classifier, trained with cross-entropy loss in nats."""

    def init(self, seed: int) -> Model:
        """Returns an initial model; the same for the same seed."""

    def logits(self, model: Model, x: Reals) -> Reals:
        """Returns unnormalised log-probabilities, shape (examples, classes)."""

    def gradient(self, model: Model, data: Split) -> Model:
        """Returns the gradient of `loss`, with the shapes of the model."""

    def smoothness(self, data: Split) -> float | None:
        """Returns an L such that the loss of every subset is convex and L-smooth, or None."""


@dataclass(frozen=True, slots=True)
class Softmax:
    """Multinomial logistic regression: logits x @ W + b, as the model [W, b].

    Attributes:
        features: columns of x.
        classes: at least 2.
    """

    features: int
    classes: int

    def __post_init__(self) -> None:
        _check_sizes(features=self.features, classes=self.classes)

    def init(self, seed: int) -> Model:
        """Returns zeros for every seed, as the loss is convex."""
        return [np.zeros((self.features, self.classes)), np.zeros(self.classes)]

    def logits(self, model: Model, x: Reals) -> Reals:
        """Returns unnormalised log-probabilities, shape (examples, classes)."""
        weights, bias = model
        scores: Reals = x @ weights + bias
        return scores

    def gradient(self, model: Model, data: Split) -> Model:
        """Returns the gradient of the mean cross-entropy, as [dW, db]."""
        error = _logit_gradient(self.logits(model, data.x), data.y)
        return [data.x.T @ error, error.sum(axis=0)]

    def smoothness(self, data: Split) -> float:
        """Returns L = max(||x||**2 + 1) / 2.

        The Hessian of one example's loss is (diag(p) - p p^T) (x) (x, 1)(x, 1)^T. The greatest
        eigenvalue of its first factor is at most 1/2, that of its second is ||x||**2 + 1; a mean
        over examples is no larger than the largest.
        """
        return 0.5 * (float((data.x**2).sum(axis=1).max()) + 1.0)


@dataclass(frozen=True, slots=True)
class MLP:
    """One hidden layer of tanh units: the model [W1, b1, W2, b2].

    Attributes:
        features: columns of x.
        classes: at least 2.
        hidden: number of hidden units.
    """

    features: int
    classes: int
    hidden: int = 32

    def __post_init__(self) -> None:
        _check_sizes(features=self.features, classes=self.classes, hidden=self.hidden)

    def init(self, seed: int) -> Model:
        """Draws weights from a normal distribution of variance 1 / fan-in; biases are zero."""
        rng = np.random.default_rng(check_seed(seed))
        shapes = (self.features, self.hidden), (self.hidden, self.classes)
        first, second = (rng.normal(0.0, shape[0] ** -0.5, shape) for shape in shapes)
        return [first, np.zeros(self.hidden), second, np.zeros(self.classes)]

    def logits(self, model: Model, x: Reals) -> Reals:
        """Returns unnormalised log-probabilities, shape (examples, classes)."""
        return self._forward(model, x)[1]

    def gradient(self, model: Model, data: Split) -> Model:
        """Returns the gradient of the mean cross-entropy, as [dW1, db1, dW2, db2]."""
        active, logits = self._forward(model, data.x)
        error = _logit_gradient(logits, data.y)
        back = (error @ model[2].T) * (1.0 - active**2)
        return [data.x.T @ back, back.sum(axis=0), active.T @ error, error.sum(axis=0)]

    def smoothness(self, data: Split) -> None:
        """Returns None, as the loss is not convex."""
        return

    @staticmethod
    def _forward(model: Model, x: Reals) -> tuple[Reals, Reals]:
        first, first_bias, second, second_bias = model
        active: Reals = np.tanh(x @ first + first_bias)
        return active, active @ second + second_bias


def loss(architecture: Architecture, model: Model, data: Split) -> float:
    """Returns the mean cross-entropy in nats.

    Raises:
        ParameterError: an argument is of another kind, or does not fit the others.
        RangeError: there is a label that the model does not have.
    """
    logits = _logits(architecture, model, data)
    logits = logits - logits.max(axis=1, keepdims=True)
    of_label = logits[np.arange(len(data)), data.y]
    return float((np.log(np.exp(logits).sum(axis=1)) - of_label).mean())


def accuracy(architecture: Architecture, model: Model, data: Split) -> float:
    """Returns the fraction of examples whose label has the greatest logit, 0..1.

    Raises:
        ParameterError: an argument is of another kind, or does not fit the others.
        RangeError: there is a label that the model does not have.
    """
    return float((_logits(architecture, model, data).argmax(axis=1) == data.y).mean())


def _logits(architecture: Architecture, model: Model, data: Split) -> Reals:
    if isinstance(architecture, type) or not hasattr(architecture, "logits"):
        raise ParameterError(
            "architecture must be a kind of model such as Softmax(features, classes), not "
            f"{brief(architecture)}",
            Code.ARGUMENT,
        )
    if not isinstance(data, Split):
        raise ParameterError(f"data must be a Split, not {brief(data)}", Code.ARGUMENT)
    try:
        logits = architecture.logits(model, data.x)
    except Exception as error:
        raise ParameterError(
            f"the model does not fit {brief(architecture)} and x of shape {data.x.shape}: "
            f"{described(error)}",
            Code.SHAPE,
        ) from error
    _check_labels(data.y, logits.shape[1])
    return logits


def _check_labels(labels: Labels, classes: int) -> None:
    """Raises RangeError unless all labels are of classes."""
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise RangeError(
            f"labels must be in 0..{classes - 1}, and are in {labels.min()}..{labels.max()}",
            Code.OUT_OF_RANGE,
        )


def _check_sizes(**sizes: object) -> None:
    """Raises ParameterError unless these numbers of columns, classes and units are possible."""
    for name, value in sizes.items():
        size, least = as_int(value), 2 if name == "classes" else 1
        if size is None or not least <= size < _MOST:
            raise ParameterError(
                f"{name} must be an int in {least}..{_MOST - 1}, not {brief(value)}", Code.ARGUMENT
            )


def _logit_gradient(logits: Reals, labels: Labels) -> Reals:
    """Returns the gradient of the mean cross-entropy by logits: (softmax - one-hot) / n.

    Raises:
        RangeError: a label is of no class.
    """
    _check_labels(labels, logits.shape[1])
    error = np.exp(logits - logits.max(axis=1, keepdims=True))
    error /= error.sum(axis=1, keepdims=True)
    error[np.arange(len(labels)), labels] -= 1.0
    scaled: Reals = error / len(labels)
    return scaled
