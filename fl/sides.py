"""The two sides of federated averaging: a coordinator that sees only sums, and participants.

The server side is `Coordinator`: it holds the global model, a `secagg.Server` for the round, and
its `Result`. It never holds an individual update: `tests/fl/test_fedavg.py` checks every object
that it refers to, during and after rounds. The client side is `Participant`: it trains, and gives
its update to its own `secagg.Client`, which masks it. The update exists only in local variables of
that call.

A contribution counts as given when the masked input leaves the client, whatever becomes of the
round: a server may have the sum of a round that it calls failed. In malicious mode a client gives
its update of one model at most `attempts` times per training, by its own ledger and its own count.
One model means: equal numbers, in the structure that the client itself knows (`Template`).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, cast

import numpy as np

from secagg import (
    Client,
    Code,
    Directory,
    FixedPoint,
    Identity,
    Layout,
    Ledger,
    Mode,
    ParameterError,
    Params,
    Policy,
    RangeError,
    Result,
    Round,
    Server,
    digest,
)
from secagg.rounds.attempts import Attempts, check_training
from secagg.simulate import Input

from .models import Model
from .template import Template
from .updates import (
    FedClient,
    NoUpdateError,
    Vector,
    clipped_by_array,
    trained,
    update_of,
    weight_of,
    whole,
)

Randomness = Callable[[int], bytes]

PAIR: Final = 2  # clients; from their sum each learns the other's update
_NUMBERS: Final = 2**63  # above all counts: the text of an int has a limit, and peers send ints


class Coordinator:
    """The server side: it holds the global model and adds mean updates, never a single one.

    It counts the rounds on each model in which inputs left, because each round needs an attempt
    that no client has used; one that is open counts. A new coordinator counts from zero: clients
    then refuse the attempts that are used, which costs rounds, not inputs.

    Attributes:
        model: the global model, not a copy: changing it changes the training.

    Args:
        model: arrays of float16, float32 or float64, all finite; copied.
        params: parameters of the rounds; their length must be that of the model, and their quorum
            at least 3, or no participant would join.
        training: the participants' word for this training.
        directory: in malicious mode, the verify keys of the participants.
        attempts: in malicious mode, how often participants give their update of one model.

    Raises:
        ParameterError: the model is not of finite floats, or has another length than the
            parameters; their quorum is below 3; the word is empty, or `attempts` is outside
            1..2**63 - 1.
    """

    def __init__(
        self,
        model: Model,
        params: Params,
        training: str,
        directory: Directory | None = None,
        attempts: int = 1,
    ) -> None:
        attempts = _check_agreed(params, training, attempts)
        self._template: Final = Template(model, params)
        self.model: Model = self._template.take(model)
        self.params: Final = params
        self.layout: Final = Layout.of(self.model)
        self.server: Server | None = None
        self._training = training
        self._directory = directory
        malicious = params.mode == Mode.MALICIOUS
        # By digest of the model.
        self._attempts: Final = Attempts(attempts if malicious else None, "this model")
        self._round: tuple[bytes, int] | None = None  # that is open: its model, the attempt

    @property
    def attempts_used(self) -> int:
        """The largest number of rounds on one model in which inputs (may have) left."""
        return max(map(len, self._attempts.used.values()), default=0)

    @property
    def converged(self) -> bool:
        """True if no round is left on the present model, and successful rounds led back to it.

        They changed nothing, or went in a circle: to the resolution of its numbers the model is
        final. Only in malicious mode is the number of rounds on a model limited.
        """
        return self._attempts.have_converged(digest(self.model))

    def open(self) -> tuple[bytes, int, Server]:
        """Starts a round on the present model.

        Returns:
            the offer and the attempt's number, which clients get with the model; and the server.

        Raises:
            AttemptsExhaustedError: in malicious mode, all attempts on this model are used.
            ParameterError: the model is not finite any more.
        """
        model = digest(self.model)
        attempt = self._attempts.next(model)
        self._template.take(self.model)  # every client would refuse it, too
        agreed = self.params.round(context=digest(self._training, self.model, attempt))
        self.server = Server(agreed, self._directory)
        self._attempts.use(model, attempt)
        self._round = model, attempt
        return agreed.encode(), attempt, self.server

    def close(self, result: Result | None, inputs_left: bool = True) -> None:
        """Adds the mean update to the model; without a result the model is unchanged.

        Args:
            result: of the round that `open` started; None if it failed.
            inputs_left: whether inputs may have left clients in a failed round: False only if it
                ended before `PhaseStarted(Phase.MASKED_INPUT)`. The attempt is then not used.

        Raises:
            RangeError: the new model would not be finite in its dtypes; the model is unchanged.
        """
        opened, self._round, self.server = self._round, None, None
        if opened and result is None and not inputs_left:
            self._attempts.give_back(*opened)
        if result is None:
            return
        steps = cast("Model", self.layout.unflatten(result.mean))
        with np.errstate(over="ignore"):
            updated = [
                np.asarray(array + step, array.dtype)
                for array, step in zip(self.model, steps, strict=True)
            ]
        if not all(np.isfinite(array).all() for array in updated):
            raise RangeError(
                "the mean update is too large for the dtype of the model, which is unchanged; "
                "lower clip, or use a wider dtype",
                Code.NOT_FINITE,
            )
        if opened:
            self._attempts.succeeded.add(opened[0])
        self.model = updated


class Participant:
    """The client side: it trains, and masks its update before sending it.

    A client that has no update to give sits the round out: it holds no examples, its training
    raised an exception, or returned something else than finite arrays of the model's shapes. The
    others go on without it, and it takes part in the next round again. The reason stays here; the
    server just gets no answer.

    The missing answer alone tells the server something about this client's data: a lying server can
    send models on which training fails only for certain data. So in malicious mode a model and
    attempt on which training has failed are used up, and after `failures` such rounds the client
    joins no more.

    Attributes:
        reason: why it sat out the round that it joined last, or "".
        code: the code of this reason, or None.
        clipped: how many values of its update in this round lie outside the clip, by the position
            of their array in the model ("0", ...), without those that have none.
        training_seconds: wall-clock time of its training in this round.

    In malicious mode its update of one model leaves it at most `attempts` times per training,
    whatever the server announces. If it is more than once, the server gets as many sums over the
    same model; their differences are sums over fewer clients, down to the update of a single one
    if training is deterministic.

    Args:
        index: its index in the cohort.
        client: its examples and training function.
        params: the parameters that it requires in every round, with a quorum of at least 3.
        training: the cohort's word for this training, such as a project and the number of a run,
            agreed on without the server. With the same ledger a second training from the same first
            model needs another word.
        template: arrays of the shapes and dtypes that this client knows the model to have (float16,
            float32 or float64), such as a first model of its own; their values do not count. It
            does not come from the server.
        identity: in malicious mode, its signing key.
        directory: in malicious mode, the verify keys of all participants.
        ledger: in malicious mode, the record of what its identity has contributed to.
        attempts: in malicious mode, how often it gives its update of one model, at least once.
        failures: in malicious mode, in how many rounds its training may fail, at least one; this
            object counts them.

    Raises:
        ParameterError: the template is not of floats, or has another length than the parameters;
            their quorum is below 3; the word is empty, or `attempts` or `failures` is outside
            1..2**63 - 1.
    """

    def __init__(
        self,
        index: int,
        client: FedClient,
        params: Params,
        training: str,
        template: Model,
        identity: Identity | None = None,
        directory: Directory | None = None,
        ledger: Ledger | None = None,
        attempts: int = 1,
        failures: int = 3,
    ) -> None:
        attempts = _check_agreed(params, training, attempts)
        self.index: Final = index
        self._failures = whole("failures", failures, 1, _NUMBERS - 1)
        self._failed = 0  # trainings that gave no update, or have not yet
        self._lock = threading.Lock()
        self.training_seconds = 0.0
        self.reason = ""
        self.code: Code | None = None
        self.clipped: Mapping[str, int] = {}
        self._client = client
        self._params = params
        self._training = training
        self._template = Template(template, params)
        self._identity = identity
        self._directory = directory
        self._ledger = ledger
        self._attempts = attempts

    def join(
        self, offer: bytes, model: Model, attempt: int, random: Randomness | None = None
    ) -> tuple[Client, Input]:
        """Joins a round, and returns the protocol's client and a function that makes its input.

        The function trains, and returns the update and its weight for `submit`; or None, if there
        is no update to give: then call the client's `withdraw`. `reason` and `code` say why.

        The context is computed from its own word for the training and the model that this client
        was given, so its update cannot get into a sum of updates of another model.

        Args:
            offer: the server's first message.
            model: the global model, a list of arrays as in this client's template; copied.
            attempt: number of the attempt on this model, from 0, as the server says.
            random: source of random bytes, as for `secagg.Client`.

        Raises:
            ParameterError: the offer has other parameters or another context; the model has another
                structure or dtype than the template, or a value that is not finite; the attempt is
                no int in 0..2**63 - 1, or beyond the limit of this client; or, in malicious mode,
                its training has failed too often.
            DecodeError: the offer is malformed.
        """
        self.training_seconds = 0.0
        self.reason, self.code, self.clipped = "", None, {}
        if type(attempt) is not int or not 0 <= attempt < _NUMBERS:
            raise ParameterError(  # of a peer: integers of other types may have other digests
                f"attempt must be an int in 0..2**63 - 1, and this {type(attempt).__name__} is not",
                Code.ARGUMENT,
            )
        if self._params.mode == Mode.MALICIOUS and attempt >= self._attempts:
            raise ParameterError(
                f"refused by this client: attempt {attempt} on a model is beyond its limit of "
                f"{self._attempts} (counted from 0)",
                Code.ATTEMPTS_EXHAUSTED,
            )
        model = self._template.take(model)  # what is hashed is what is trained
        context = digest(self._training, model, attempt)
        if reason := self._why_out():
            raise ParameterError(reason, Code.TRAINING)
        policy = Policy(params=self._params, context=context)
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
        return secure, lambda: self._input_or_none(model)

    def _why_out(self) -> str:
        """Returns why this client joins no more rounds, or ""."""
        if self._params.mode != Mode.MALICIOUS or self._failed < self._failures:
            return ""
        return (
            f"refused by this client: its training has failed in {self._failed} rounds (or goes on "
            "in some of them), and a server that lies can learn about its data from that; find the "
            "cause, then make a new participant"
        )

    @contextmanager
    def _at_risk(self) -> Iterator[None]:
        """Counts a training as failed until it has given an update, also if several overlap.

        Raises:
            NoUpdateError: too many have failed.
        """
        with self._lock:
            if reason := self._why_out():
                raise NoUpdateError(reason, Code.TRAINING)
            self._failed += 1
        yield
        with self._lock:
            self._failed -= 1

    def _input_or_none(self, model: Model) -> tuple[Vector, int] | None:
        """Returns the input; or None, and remembers why, if there is none."""
        try:
            # Without examples there is nothing to train on; asked first, this depends on no model.
            weight_of(self._client, self._params.format.max_weight)
            with self._at_risk():
                return self._input(model)
        except NoUpdateError as error:
            self.reason, self.code = error.reason, error.code
            return None

    def _input(self, model: Model) -> tuple[Vector, int]:
        """Trains, and returns the update as one vector and its weight; only the caller keeps it.

        Raises:
            NoUpdateError: there is no update to give.
        """
        highest = self._params.format.max_weight
        start = time.perf_counter()
        try:
            result = trained(self._client, model)
        finally:
            self.training_seconds = time.perf_counter() - start
        form = self._params.format
        clip = form.clip if isinstance(form, FixedPoint) else np.inf
        update = update_of(model, result, clip)
        if isinstance(form, FixedPoint):
            self.clipped = clipped_by_array(model, update, form)
        return update, weight_of(self._client, highest)


def check_params(params: Params) -> None:
    """Checks that these are parameters, and that every sum is over three clients or more.

    Raises:
        ParameterError: they are not.
    """
    if not isinstance(params, Params):
        raise ParameterError(
            f"params must be Params, not {type(params).__name__}; make them with fedavg_params",
            Code.ARGUMENT,
        )
    if params.quorum <= PAIR:
        raise ParameterError(
            "federated averaging needs at least three clients in every sum, and params have a "
            f"quorum of {params.quorum}: from the sum of two each learns the other's update",
            Code.ARGUMENT,
        )


def _check_agreed(params: Params, training: str, attempts: int) -> int:
    """Checks what the cohort agrees on; returns `attempts` as an int."""
    check_params(params)
    check_training(training)
    return whole("attempts", attempts, 1, _NUMBERS - 1)
