"""Local training of the global model on a client's own examples."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg import Code, ParameterError

from .data import Split
from .models import Architecture, Model

_ORDER_STREAM: Final = 2


@dataclass(frozen=True, slots=True)
class Descent:
    """Settings of mini-batch gradient descent.

    Attributes:
        rate: step size, positive. On the data of `secagg.fl.load` the softmax loss has L <= 1, so
            that steps with rates up to 2 are provably non-expansive.
        epochs: passes over the examples per call of `train`, at least 1.
        batch: examples per step, at least 1; with at least all examples, steps are full-batch.
    """

    rate: float = 1.0
    epochs: int = 10
    batch: int = 16

    def __post_init__(self) -> None:
        if not (self.rate > 0 and self.epochs >= 1 and self.batch >= 1):
            raise ParameterError(
                f"no training is possible with {self}: rate must be positive, epochs and batch "
                "at least 1",
                Code.ARGUMENT,
            )


@dataclass(frozen=True, slots=True, eq=False)
class LocalClient:
    """A client that trains by gradient descent, as the command line of this package uses it.

    In `FedAvg` any object with `examples` and `train` can replace it. Here `train` is a function
    of the model alone: `seed` gives the same order of batches in every call. So secure and plain
    runs apply the same function, as the proof in `secagg.fl.compare` requires.

    Attributes:
        architecture: kind of model that it trains.
        data: its examples; without any it sits rounds out.
        descent: settings of the training.
        seed: seed of the order of batches, not negative.
    """

    architecture: Architecture
    data: Split
    descent: Descent
    seed: int = 0

    @property
    def examples(self) -> int:
        """Number of examples that it holds: its weight in the average."""
        return len(self.data)

    @property
    def steps(self) -> int:
        """Number of gradient steps in one call of `train`."""
        return self.descent.epochs * -(-self.examples // self.descent.batch)

    @property
    def non_expansive(self) -> bool:
        """True if `train` provably never moves two models apart in the L2 norm.

        True when the loss of every batch is convex and L-smooth and rate <= 2 / L.
        """
        smoothness = self.architecture.smoothness(self.data)
        return smoothness is not None and self.descent.rate * smoothness <= 2.0

    def train(self, model: Model) -> Model:
        """Trains for `epochs` passes and returns new arrays; `model` is unchanged."""
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
