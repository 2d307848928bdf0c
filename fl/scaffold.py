"""SCAFFOLD: control variates that take the drift of unlike clients out of their steps.

Each client keeps a vector c_i, about the mean gradient of its own data, and the server one for all,
c. A client's steps are corrected by c - c_i; then c_i becomes what its steps would have been
without the correction. Source: Karimireddy et al. 2020 (arXiv 1910.06378), Algorithm 1 with its
second option.

The server needs the sum of the changes of c_i, beside that of the updates. With equal steps K and
rate eta at all clients it follows from what is summed anyway: a change is -c - update / (K eta), so
the sum of all S of them is -S c - (sum of updates) / (K eta). With unequal steps both are summed,
the change times the mean K eta, which makes the two halves about equally large.

c_i changes only if the client is in the sum: else its change would not be in c.

In malicious mode it is refused. A server that lies can send a model whose gradients are zero, and
a c that pushes all updates onto the clip. Then nothing but c_i is left in them, and after the first
round c_i is an update.
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, cast

import numpy as np

from secagg import Code, Layout, ParameterError

from .agreed import check_kind
from .models import Model
from .optimizers import Optimizer, Rate, State, Vector, rate_at, read_rate, require_above_0
from .training import LocalClient
from .updates import fault_of, whole


@dataclass(frozen=True, slots=True)
class Scaffold(Optimizer):
    """The server's part of SCAFFOLD, which all sides of a training know; for semi-honest mode only.

    Attributes:
        local_rate: step size of the clients, eta; finite, above 0.
        steps: how many steps each client takes in a round, K, if that is the same for all; 1 or
            more. None if it is not: then clients give twice as many numbers.
        typical: about how many steps a client takes in a round, without `steps`; 1 or more.
        rate: what the mean update is multiplied by; as of `Average`.

    Raises:
        ParameterError: a value is outside its range, or both or none of `steps` and `typical` are
            given.
    """

    weighted: ClassVar[bool] = False
    clients_keep: ClassVar[bool] = True

    local_rate: float
    steps: int | None = None
    typical: int | None = None
    rate: Rate = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "local_rate", require_above_0("local_rate", self.local_rate))
        object.__setattr__(self, "rate", read_rate("rate", self.rate))
        if (self.steps is None) == (self.typical is None):
            raise ParameterError(
                "give either steps, if all clients take as many in a round, or typical",
                Code.ARGUMENT,
            )
        for name in ("steps", "typical"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, whole(name, getattr(self, name), 1, 2**31))

    @property
    def scale(self) -> float:
        """What divides an update, or multiplies the change of a control variate: K eta."""
        return float(self.local_rate * (self.steps or self.typical or 1))

    def start(self, length: int) -> State:
        """Returns c, zeros."""
        return {"control": np.zeros(length)}

    def summed(self, length: int) -> int:
        """Returns the length of the model, or twice that with unequal steps."""
        return length if self.steps else 2 * length

    def sent(self, state: State) -> Vector:
        """Returns c."""
        return state["control"]

    def check_client(self, whose: str, client: object) -> None:
        """Raises ParameterError if a `ScaffoldClient` has another rate or number of steps."""
        if isinstance(client, ScaffoldClient) and replace(client.scaffold, rate=self.rate) != self:
            raise ParameterError(
                f"{whose} was made for {client.scaffold}, and the optimizer is {self}: all sides "
                "need the same local_rate, steps and typical, or c is no mean of c_i",
                Code.ARGUMENT,
            )

    def step(self, mean: Vector, state: State, number: int, share: float) -> Vector:
        """Returns the mean update times the rate; c changes by the mean change times the share."""
        control = state["control"]
        update, change = mean[: control.size], mean[control.size :] / self.scale
        if self.steps:
            change = -control - update / self.scale
        control += share * change
        return rate_at(self.rate, number) * update


@dataclass(slots=True, eq=False)
class ScaffoldClient:
    """A client that trains with control variates, for `FedAvg(..., optimizer=Scaffold(...))`.

    An update that is clipped is not what c_i was computed from: take a clip that few updates reach.

    Attributes:
        local: its examples and settings; its steps are plain, at the rate of `scaffold`.
        scaffold: what all sides know.
        control: c_i, shape (length,), float64; zeros before the first round that counted.

    Raises:
        ParameterError: an argument is of another kind; or steps are not plain, have another rate,
            or are not as many as were said.
    """

    local: LocalClient
    scaffold: Scaffold
    control: Vector | None = None
    _pending: Vector | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_kind("local", self.local, LocalClient)
        check_kind("scaffold", self.scaffold, Scaffold)
        descent = self.local.descent
        if not descent.is_plain or descent.rate != self.scaffold.local_rate:
            raise ParameterError(
                f"SCAFFOLD takes plain steps at the rate {self.scaffold.local_rate}, not {descent}",
                Code.ARGUMENT,
            )
        steps = self.scaffold.steps
        if steps and self.examples and self.local.steps != steps:
            raise ParameterError(
                f"this client takes {self.local.steps} steps in a round, not {steps} as all: give "
                "Scaffold `typical` in place of `steps`",
                Code.ARGUMENT,
            )

    @property
    def examples(self) -> int:
        """1 if it holds any, as all updates count alike; at 0 it sits rounds out."""
        return min(1, self.local.examples)

    def train(self, model: Model, control: Vector) -> Model:
        """Trains with corrected steps; c_i changes when `settle` says that the update counted.

        Args:
            model: the global model.
            control: c, shape (length,).

        Returns:
            the trained model; with unequal steps, arrays of the same shapes follow: the change of
            c_i times the scale.
        """
        layout = Layout.of(model)
        own = np.zeros(layout.length) if self.control is None else self.control
        corrections = cast("Model", layout.unflatten(control - own))
        trained = [array.copy() for array in model]
        take = self.local.descent.begin(model)
        for part in self.local.batches():
            slopes = self.local.architecture.gradient(trained, part)
            take(trained, [a + b for a, b in zip(slopes, corrections, strict=True)])
        update = np.asarray(layout.flatten(trained), np.float64) - layout.flatten(model).astype(
            np.float64
        )
        change = -control - update / (self.local.steps * self.scaffold.local_rate)
        self._pending = own + change
        if self.scaffold.steps:
            return trained
        return [*trained, *cast("Model", layout.unflatten(self.scaffold.scale * change))]

    @property
    def state(self) -> Vector | None:
        """What it keeps between rounds: c_i, or None for zeros."""
        return self.control

    def restore(self, state: Vector | None) -> None:
        """Takes back what `state` was.

        Raises:
            ParameterError: it is no finite float64 vector of the model's length.
        """
        if state is not None:
            length = Layout.of(self.local.architecture.init(0)).length
            if fault_of(state, (length,)):
                raise ParameterError(
                    f"a control variate must be a vector of {length} finite float64", Code.SHAPE
                )
        self.control = None if state is None else np.array(state, np.float64)

    def settle(self, counted: bool) -> None:
        """Takes note whether the update of the last training is in the sum.

        What is not finite is not kept: no later training would give an update.
        """
        if counted and self._pending is not None and np.isfinite(self._pending).all():
            self.control = self._pending
        self._pending = None
