"""Local training: what a client does with the global model and its own examples."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg import Code, ParameterError

from .data import Split
from .models import Architecture, Model

_ORDER_STREAM: Final = 2


@dataclass(frozen=True, slots=True)
class Descent:
    """How to train: mini-batch gradient descent.

    Attributes:
        rate: step size, positive. On `secagg.fl.load`'s data the softmax loss has L <= 1, so that
            rates up to 2 are provably non-expansive.
        epochs: passes over the examples in one call, at least 1.
        batch: examples a step, at least 1; at or above their number it is full-batch.
    """

    rate: float = 1.0
    epochs: int = 10
    batch: int = 16

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.epochs >= 1 and self.batch >= 1):
            raise ParameterError(f"no training is possible with {self}", Code.ARGUMENT)


@dataclass(frozen=True, slots=True, eq=False)
class LocalClient:
    """A client that trains by gradient descent; the kind that this package's command line uses.

    Anything with `examples` and `train` can take its place in `FedAvg`. Its `train` is a function
    of the model alone: batches are drawn in the same order at every call, from `seed`. So secure
    and plain runs see the same map, and the argument of `secagg.fl.compare` applies to it.

    Attributes:
        architecture: what kind of model it trains.
        data: its examples, at least one.
        descent: how it trains.
        seed: of the order of batches, not negative.
    """

    architecture: Architecture
    data: Split
    descent: Descent
    seed: int = 0

    @property
    def examples(self) -> int:
        """How many examples it holds: its weight in the average."""
        return len(self.data)

    @property
    def steps(self) -> int:
        """Gradient steps in one call of `train`."""
        return self.descent.epochs * -(-self.examples // self.descent.batch)

    @property
    def non_expansive(self) -> bool:
        """Whether `train` provably never moves two models apart in the L2 norm.

        True when the loss of every batch is convex and L-smooth and rate <= 2 / L.
        """
        smoothness = self.architecture.smoothness(self.data)
        return smoothness is not None and self.descent.rate * smoothness <= 2.0

    def train(self, model: Model) -> Model:
        """The model after `epochs` passes, as new arrays; `model` is left alone."""
        rng = np.random.default_rng((self.seed, _ORDER_STREAM))
        trained = [array.copy() for array in model]
        for _ in range(self.descent.epochs):
            order = rng.permutation(self.examples)
            for start in range(0, self.examples, self.descent.batch):
                rows = order[start : start + self.descent.batch]
                part = Split(self.data.x[rows], self.data.y[rows])
                slopes = self.architecture.gradient(trained, part)
                for array, slope in zip(trained, slopes, strict=True):
                    np.subtract(array, self.descent.rate * slope, out=array)
        return trained
