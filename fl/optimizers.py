"""What the server makes of the mean update of a round: optimizers for federated learning.

They compute from means that are released anyway: nobody learns more, and differential privacy stays
what it is. A mean takes the place of a gradient, and is added. Source: Reddi et al. 2021, "Adaptive
Federated Optimization" (arXiv 2003.00295), Algorithms 1 and 2; momentum is that of Hsu et al. 2019
(arXiv 1909.06335).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError
from secagg.numeric import as_float, brief

from .updates import function, whole

Vector = NDArray[np.float64]
State = dict[str, Vector]
Rate = float | Callable[[int], float]


class Optimizer:
    """The server's part of a training: what becomes of the mean of a round.

    Attributes:
        weighted: whether means may be weighted by numbers of examples.
        clients_keep: whether clients keep something for it from round to round. It is then refused
            in malicious mode.

    One of your own has `start` and `step`; the rest is for methods that send or sum more than the
    model, such as `Scaffold`.
    """

    __slots__ = ()
    weighted: ClassVar[bool] = True
    clients_keep: ClassVar[bool] = False

    def start(self, length: int) -> State:
        """Returns the state before the first round: arrays of finite float64 by name.

        Args:
            length: of the model.
        """
        raise NotImplementedError

    def step(self, mean: Vector, state: State, number: int, share: float) -> Vector:
        """Returns what is added to the model, finite float64, and changes the state in place.

        The state keeps its names and shapes, and the optimizer its attributes: what changes from
        round to round is in the state, where checkpoints find it.

        Args:
            mean: of a round, float64, shape (`summed(length)`,).
            state: as `start` made it, or a later one.
            number: how many rounds have changed the model, with this one; from 1.
            share: the survivors of the round, as a share of all clients of the training.

        Returns:
            shape (length,).
        """
        raise NotImplementedError

    def summed(self, length: int) -> int:
        """Returns the length of what clients give, for a model of this length: that, or twice."""
        return length

    def sent(self, state: State) -> Vector | None:
        """Returns what clients get beside the model, shape (length,), if there is anything."""
        return None

    def check_client(self, whose: str, client: object) -> None:
        """Raises ParameterError if a client is known to train in another way than this needs.

        Args:
            whose: the client's name, for the message.
            client: as `FedAvg` gets it.
        """


@dataclass(frozen=True, slots=True)
class Average(Optimizer):
    """Adds the mean, times a rate: federated averaging if that is 1.

    Attributes:
        rate: finite, above 0; or a function of the number of the round, from 1 (`Decay`).

    Raises:
        ParameterError: the rate is outside its range.
    """

    rate: Rate = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", read_rate("rate", self.rate))

    def start(self, length: int) -> State:
        """Returns no state."""
        return {}

    def step(self, mean: Vector, state: State, number: int, share: float) -> Vector:
        """Returns the mean times the rate."""
        return rate_at(self.rate, number) * mean


@dataclass(frozen=True, slots=True)
class Momentum(Optimizer):
    """Adds a sum of all means so far, older ones less: FedAvgM.

    Attributes:
        rate: as of `Average`.
        beta: what a sum is multiplied by in a round; above 0 and below 1.

    Raises:
        ParameterError: a value is outside its range.
    """

    rate: Rate = 1.0
    beta: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", read_rate("rate", self.rate))
        object.__setattr__(self, "beta", require_above_0("beta", self.beta, 1.0))

    def start(self, length: int) -> State:
        """Returns the sum, zeros."""
        return {"sum": np.zeros(length)}

    def step(self, mean: Vector, state: State, number: int, share: float) -> Vector:
        """Returns the sum times the rate."""
        state["sum"] *= self.beta
        state["sum"] += mean
        return rate_at(self.rate, number) * state["sum"]


@dataclass(frozen=True, slots=True)
class _Adaptive(Optimizer):
    """Divides by the root of what the squares of earlier means were, coordinate by coordinate.

    Attributes:
        rate: as of `Average`; about as large as a coordinate may change in a round.
        beta1: weight of the earlier means in their average; from 0, below 1.
        beta2: weight of the earlier squares; above 0 and below 1. `Adagrad` has none.
        tau: what is added to the root, so that small means stay small; finite, above 0.

    Raises:
        ParameterError: a value is outside its range.
    """

    rate: Rate = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", read_rate("rate", self.rate))
        if as_float(self.beta1) != 0:
            object.__setattr__(self, "beta1", require_above_0("beta1", self.beta1, 1.0))
        object.__setattr__(self, "beta2", require_above_0("beta2", self.beta2, 1.0))
        object.__setattr__(self, "tau", require_above_0("tau", self.tau))

    def start(self, length: int) -> State:
        """Returns the averages of means, zeros, and of squares, tau squared."""
        return {"mean": np.zeros(length), "square": np.full(length, self.tau**2)}

    def step(self, mean: Vector, state: State, number: int, share: float) -> Vector:
        """Returns rate * average of means / (root of squares + tau)."""
        state["mean"] *= self.beta1
        state["mean"] += (1 - self.beta1) * mean
        self._add_square(state["square"], mean**2)
        root = np.sqrt(state["square"])
        return rate_at(self.rate, number) * state["mean"] / (root + self.tau)

    def _add_square(self, squares: Vector, square: Vector) -> None:
        raise NotImplementedError


class Adam(_Adaptive):
    """FedAdam: the squares are an average over the last 1 / (1 - beta2) rounds or so."""

    __slots__ = ()

    def _add_square(self, squares: Vector, square: Vector) -> None:
        squares *= self.beta2
        squares += (1 - self.beta2) * square


class Yogi(_Adaptive):
    """FedYogi: the squares change by no more than the new one, whatever they were."""

    __slots__ = ()

    def _add_square(self, squares: Vector, square: Vector) -> None:
        squares -= (1 - self.beta2) * square * np.sign(squares - square)


class Adagrad(_Adaptive):
    """FedAdagrad: the squares add up, so that steps become smaller and smaller."""

    __slots__ = ()

    def _add_square(self, squares: Vector, square: Vector) -> None:
        squares += square


@dataclass(frozen=True, slots=True)
class Decay:
    """A rate that falls along a cosine, after it rose over the first rounds.

    Attributes:
        rate: the largest; finite, above 0.
        rounds: after which it is `end`; 1 or more.
        warmup: rounds over which it rises; 0 or more, and below `rounds`.
        end: the last rate; finite, above 0, and at most `rate`. By default a hundredth of it.

    Raises:
        ParameterError: a value is outside its range.
    """

    rate: float
    rounds: int
    warmup: int = 0
    end: float | None = None

    def __post_init__(self) -> None:
        rate = require_above_0("rate", self.rate)
        object.__setattr__(self, "rate", rate)
        end = rate / 100 if self.end is None else require_above_0("end", self.end)
        object.__setattr__(self, "end", end)
        if end > rate:
            raise ParameterError(f"end {end} is above the rate {rate}", Code.ARGUMENT)
        for name, low in (("rounds", 1), ("warmup", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), low, 2**63 - 1))
        if self.warmup >= self.rounds:
            raise ParameterError(
                f"warmup must be below rounds ({self.rounds}), not {self.warmup}", Code.ARGUMENT
            )

    def __call__(self, number: int) -> float:
        """Returns the rate of a round, from 1."""
        if number <= self.warmup:
            return self.rate * number / (self.warmup + 1)
        end = self.end or 0.0
        done = min(1.0, (number - self.warmup - 1) / max(1, self.rounds - self.warmup - 1))
        return end + (self.rate - end) * (1 + math.cos(math.pi * done)) / 2


def read_rate(name: str, rate: Rate) -> Rate:
    """Returns a schedule as it is, and a number as a float.

    Raises:
        ParameterError: the number is not finite or not above 0, or the schedule takes other
            arguments.
    """
    return function(name, rate, "number") if callable(rate) else require_above_0(name, rate)


def rate_at(rate: Rate, number: int) -> float:
    """Returns the rate of a round.

    Raises:
        ParameterError: a schedule gives no finite number above 0.
    """
    if not callable(rate):
        return rate
    return require_above_0(f"the rate of round {number} by its schedule", rate(number))


def require_above_0(name: str, value: object, below: float = math.inf) -> float:
    """Returns a float; raises ParameterError unless it is finite, above 0, and below a limit."""
    found = as_float(value)
    if found is None or not 0 < found < below:
        limit = "a finite number above 0" if below == math.inf else f"above 0 and below {below:g}"
        raise ParameterError(f"{name} must be {limit}, not {brief(value)}", Code.ARGUMENT)
    return found
