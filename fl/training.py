"""Local training of the global model on a client's own examples."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from secagg import Code, ParameterError
from secagg.numeric import as_float, brief

from .agreed import NUMBERS, check_kind
from .data import Split, check_seed
from .models import Architecture, Model
from .updates import whole

_ORDER_STREAM: Final = 2
_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8  # of Adam, as in its paper

Step = Callable[[Model, Model], None]  # changes a model in place by a gradient


@dataclass(frozen=True, slots=True)
class Descent:
    """Settings of mini-batch gradient descent.

    Attributes:
        rate: step size, positive. On the data of `secagg.fl.load` the softmax loss has L <= 1, so
            that plain steps with rates up to 2 are provably non-expansive.
        epochs: passes over the examples per call of `train`, at least 1.
        batch: examples per step, at least 1; with at least all examples, steps are full-batch.
        momentum: weight of earlier steps, from 0, below 1. Each call of `train` begins anew.
        adam: take the steps of Adam (Kingma & Ba 2015, arXiv 1412.6980), with the usual constants;
            not together with momentum.
        proximal: weight of half the squared distance from the global model, which is added to the
            loss: FedProx (Li et al. 2020, arXiv 1812.06127); from 0.

    Raises:
        ParameterError: a value is outside its range.
    """

    rate: float = 1.0
    epochs: int = 10
    batch: int = 16
    momentum: float = 0.0
    adam: bool = False
    proximal: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1, NUMBERS))
        for name, most in (("rate", math.inf), ("momentum", 1.0), ("proximal", math.inf)):
            value = as_float(given := getattr(self, name))
            if value is None or not 0 <= value < most or (name == "rate" and not value):
                least = "above 0" if name == "rate" else "0 or more"
                limit = "below 1" if most == 1 else "finite"
                raise ParameterError(
                    f"{name} must be a number, {least} and {limit}, not {brief(given)}",
                    Code.ARGUMENT,
                )
            object.__setattr__(self, name, value)
        if not isinstance(self.adam, bool):
            raise ParameterError(
                f"adam must be True or False, not {brief(self.adam)}", Code.ARGUMENT
            )
        if self.adam and self.momentum:
            raise ParameterError(
                "adam has a momentum of its own: leave momentum out", Code.ARGUMENT
            )

    @property
    def is_plain(self) -> bool:
        """True without momentum, Adam and a proximal term."""
        return not (self.adam or self.momentum or self.proximal)

    def begin(self, model: Model) -> Step:
        """Returns the function that takes a step, for one call of `train` on a global model."""
        if self.adam:
            take = self._adam(model)
        elif self.momentum:
            take = self._with_momentum(model)
        else:
            take = self._plain
        if not self.proximal:
            return take
        fixed = [array.copy() for array in model]

        def proximal(trained: Model, slopes: Model) -> None:
            pull = zip(trained, fixed, slopes, strict=True)
            take(trained, [slope + self.proximal * (at - start) for at, start, slope in pull])

        return proximal

    def _plain(self, trained: Model, slopes: Model) -> None:
        for array, slope in zip(trained, slopes, strict=True):
            np.subtract(array, self.rate * slope, out=array)

    def _with_momentum(self, model: Model) -> Step:
        speeds = [np.zeros_like(array) for array in model]

        def take(trained: Model, slopes: Model) -> None:
            for array, speed, slope in zip(trained, speeds, slopes, strict=True):
                np.add(self.momentum * speed, slope, out=speed)
                np.subtract(array, self.rate * speed, out=array)

        return take

    def _adam(self, model: Model) -> Step:
        first, second = ([np.zeros_like(array) for array in model] for _ in range(2))
        number = 0

        def take(trained: Model, slopes: Model) -> None:
            nonlocal number
            number += 1
            rate = self.rate * math.sqrt(1 - _BETA2**number) / (1 - _BETA1**number)
            for array, mean, square, slope in zip(trained, first, second, slopes, strict=True):
                np.add(_BETA1 * mean, (1 - _BETA1) * slope, out=mean)
                np.add(_BETA2 * square, (1 - _BETA2) * slope**2, out=square)
                np.subtract(array, rate * mean / (np.sqrt(square) + _TINY), out=array)

        return take


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

    Raises:
        ParameterError: an attribute is of another kind, or the seed negative.
    """

    architecture: Architecture
    data: Split
    descent: Descent
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.architecture, type) or not hasattr(self.architecture, "gradient"):
            raise ParameterError(
                f"architecture must be a kind of model such as Softmax(features, classes), not "
                f"{brief(self.architecture)}",
                Code.ARGUMENT,
            )
        check_kind("data", self.data, Split)
        check_kind("descent", self.descent, Descent)
        object.__setattr__(self, "seed", check_seed(self.seed))

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

        True when steps are plain, the loss of every batch convex and L-smooth, and rate <= 2 / L.
        """
        smoothness = self.architecture.smoothness(self.data)
        if smoothness is None or not self.descent.is_plain:
            return False
        return self.descent.rate * smoothness <= 2.0

    def train(self, model: Model) -> Model:
        """Trains for `epochs` passes and returns new arrays; `model` is unchanged."""
        trained = [array.copy() for array in model]
        take = self.descent.begin(model)
        for part in self.batches():
            take(trained, self.architecture.gradient(trained, part))
        return trained

    def batches(self) -> Iterator[Split]:
        """Yields the batches of one call of `train`, in its order."""
        rng = np.random.default_rng((self.seed, _ORDER_STREAM))
        for _ in range(self.descent.epochs):
            order = rng.permutation(self.examples)
            for start in range(0, self.examples, self.descent.batch):
                rows = order[start : start + self.descent.batch]
                yield Split(self.data.x[rows], self.data.y[rows])
