"""The two sides of federated averaging: a coordinator that sees only sums, and participants.

The server side is `Coordinator`: it holds the global model, a `secagg.Server` for the round, and
its `Result`. It never holds an individual update: `tests/fl/test_fedavg.py` checks every object
that it refers to, during and after rounds. The client side is `Participant`: it trains, and gives
its update to its own `secagg.Client`, which masks it. The update exists only in local variables of
that call.
"""

import os
import time
from collections.abc import Callable
from typing import Final, Protocol, cast

import numpy as np

from secagg import (
    Client,
    Code,
    Directory,
    Identity,
    Layout,
    Ledger,
    ParameterError,
    Params,
    Policy,
    RangeError,
    Result,
    Round,
    Server,
    digest,
)
from secagg.simulate import Input

from .models import Model

Randomness = Callable[[int], bytes]


class FedClient(Protocol):
    """A client as `FedAvg` needs it: a number of examples, and a local training function."""

    @property
    def examples(self) -> int:
        """Number of examples that it holds, at least 1: its weight in the average."""

    def train(self, model: Model) -> Model:
        """Trains the global model locally, and returns arrays of the same shapes."""


class Coordinator:
    """The server side: it holds the global model and adds mean updates, never a single one.

    Args:
        model: arrays of floats; copied.
        params: parameters of the rounds; their length must be that of the model.
        directory: in malicious mode, the verify keys of the participants.

    Raises:
        ParameterError: the model is not of floats, or has another length than the parameters.
    """

    def __init__(self, model: Model, params: Params, directory: Directory | None = None) -> None:
        self.model: Model = [np.array(array) for array in model]
        self.params: Final = params
        self.layout: Final = Layout.of(self.model)
        self.server: Server | None = None
        self._directory = directory
        if any(array.dtype.kind != "f" for array in self.model):
            kinds = ", ".join(str(array.dtype) for array in self.model)
            raise ParameterError(
                f"a model must be a list of arrays of floats, not of {kinds}", Code.DTYPE
            )
        if self.layout.length != params.length:
            raise ParameterError(
                f"the model has {self.layout.length} values, and params.length is {params.length}; "
                "make params with this length",
                Code.SHAPE,
            )

    def open(self, number: int) -> tuple[bytes, Server]:
        """Starts a round on the present model, and returns the offer to clients and the server."""
        agreed = self.params.round(context=digest(self.model, number))
        self.server = Server(agreed, self._directory)
        return agreed.encode(), self.server

    def close(self, result: Result | None) -> None:
        """Adds the mean update to the model; without a result the model is unchanged."""
        self.server = None
        if result is None:
            return
        steps = cast("Model", self.layout.unflatten(result.mean))
        self.model = [
            (array + step).astype(array.dtype)
            for array, step in zip(self.model, steps, strict=True)
        ]


class Participant:
    """The client side: it trains, and masks its update before sending it.

    Args:
        index: its index in the cohort.
        client: its examples and training function.
        params: the parameters that it requires in every round.
        identity: in malicious mode, its signing key.
        directory: in malicious mode, the verify keys of all participants.
        ledger: in malicious mode, the record of what its identity has contributed to.
    """

    def __init__(
        self,
        index: int,
        client: FedClient,
        params: Params,
        identity: Identity | None = None,
        directory: Directory | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.index: Final = index
        self.training_seconds = 0.0
        self._client = client
        self._params = params
        self._identity = identity
        self._directory = directory
        self._ledger = ledger

    def join(
        self, offer: bytes, model: Model, number: int, random: Randomness | None = None
    ) -> tuple[Client, Input]:
        """Joins a round, and returns the protocol's client and a function that makes its input.

        The context is computed from the model that this client was given, so its update cannot
        get into a sum of updates of another model.

        Raises:
            ParameterError: the offer has other parameters, another model or round number.
        """
        self.training_seconds = 0.0
        policy = Policy(params=self._params, context=digest(model, number))
        agreed = Round.decode(offer)
        secure = Client(
            agreed,
            self.index,
            policy,
            random or os.urandom,
            identity=self._identity,
            directory=self._directory,
            ledger=self._ledger,
        )
        return secure, lambda: self._input(model)

    def _input(self, model: Model) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], int]:
        """Trains, and returns the update as one vector and its weight; only the caller keeps it.

        Raises:
            RangeError: training returned other shapes, or a value that is not finite.
        """
        start = time.perf_counter()
        trained = self._client.train([array.copy() for array in model])
        self.training_seconds = time.perf_counter() - start
        layout = Layout.of(model)
        try:
            update = layout.flatten(trained).astype(np.float64)
        except RangeError as error:
            raise RangeError(f"client {self.index}: {error}", error.code) from None
        update -= layout.flatten(model).astype(np.float64)
        if not np.isfinite(update).all():
            raise RangeError(
                f"client {self.index}: its update has a value that is not finite; check its "
                "training",
                Code.NOT_FINITE,
            )
        return update, self._client.examples
