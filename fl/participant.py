"""The client side of federated averaging: a participant that masks its update before sending it.

It trains, and gives its update to its own `secagg.Client`, which masks it. The update exists only
in local variables of that call.

A contribution counts as given when the masked input leaves the client, whatever becomes of the
round: a server may have the sum of a round that it calls failed. In malicious mode a client gives
its update of one model at most `attempts` times per training, by its own ledger and its own count.
One model means: equal numbers, in the structure that the client itself knows (`Template`).
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import numpy as np

from secagg import (
    Client,
    Code,
    Directory,
    Identity,
    Layout,
    Ledger,
    Mode,
    ParameterError,
    Params,
    Policy,
    Round,
    digest,
)
from secagg.noise import MemoryBudget, SqliteBudget
from secagg.numeric import brief
from secagg.simulate import Input
from secagg.texts import described

from .adaptive import AdaptiveClip
from .agreed import NUMBERS, check_agreed, check_optimizer, check_params
from .models import Model
from .optimizers import Optimizer
from .steps import as_optimizer, sent_by, start_of, summed_by
from .template import Template
from .updates import (
    FedClient,
    Form,
    NoUpdateError,
    Vector,
    check_methods,
    clipped_by_array,
    fault_of,
    trained,
    update_of,
    weight_of,
    whole,
)

Randomness = Callable[[int], bytes]

# States (`Client.state`) in which a client has seen itself in the set of survivors and signed that.
_SIGNED: Final = ("awaiting signatures", "finished")


class Member:
    """The client side of a training, whoever decides when it trains; `Participant` is one."""

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
        budget: MemoryBudget | SqliteBudget | None = None,
        optimizer: Optimizer | None = None,
        adaptive: AdaptiveClip | None = None,
    ) -> None:
        attempts = check_agreed(params, training, attempts)
        self.index: Final = index
        self._failures = whole("failures", failures, 1, NUMBERS - 1)
        self.failed = 0
        self._lock = threading.Lock()
        self._gave: Client | None = None  # of the round joined last, once it has made its input
        self.training_seconds = 0.0
        self.reason = ""
        self.code: Code | None = None
        self.subject: bytes | None = None
        self.clipped: Mapping[str, int] = {}
        self._client = client
        self._params = params
        self._form: Final = check_params(params)
        self._training = training
        self._optimizer = as_optimizer(optimizer)
        check_optimizer(self._optimizer, params)
        self._adaptive = adaptive
        self._template = Template(template, params, self._optimizer, int(adaptive is not None))
        length = Layout.of(template).length
        self._sent = sent_by(self._optimizer, start_of(self._optimizer, length), length)
        check_methods(f"client {index}", client, int(self._sent is not None))
        self._optimizer.check_client(f"client {index}", client)
        self._identity = identity
        self._directory = directory
        self._ledger = ledger
        self._attempts = attempts
        self._budget = budget

    @property
    def name(self) -> str:
        """The name of its client in messages."""
        return f"client {self.index} ({type(self._client).__name__})"

    def settle(self, counted: bool) -> None:
        """Takes note after a round whether this participant's update is in the sum.

        The server says so. That it is in is believed of the round joined last only, and if this
        client has made its input for that. In malicious mode it must also have seen itself in the
        set of survivors that it signed: a client that hears no more after its input, or was resumed
        elsewhere, takes no note, and may be in the sum nevertheless.

        What remains: a server that lies can tell each of those in the set another thing, and
        chooses the models. What a client keeps can then single it out, as it is what its updates of
        one model do not have in common with those of others: against that only noise helps
        (`privacy`).
        """
        gave, self._gave = self._gave, None
        settle = getattr(self._client, "settle", None)
        if callable(settle):
            settle(counted and gave is not None and self._may_be_in(gave))

    def _may_be_in(self, gave: Client) -> bool:
        """Returns whether the input of this client may be in the sum, as far as it has seen."""
        return self._params.mode != Mode.MALICIOUS or gave.state.value in _SIGNED

    @property
    def state(self) -> Vector | None:
        """The `state` that its client keeps between rounds, a copy, shape (any,), float64.

        None if it keeps nothing, or has no method `restore` to give that back to it.

        Raises:
            ParameterError: it is no vector of finite float64.
        """
        if not callable(getattr(self._client, "restore", None)):
            return None
        try:
            found = getattr(self._client, "state", None)
        except Exception as error:
            raise ParameterError(f"its state raised {described(error)}", Code.TRAINING) from None
        if found is None:
            return None
        if fault := fault_of(found, (found.size,) if isinstance(found, np.ndarray) else None):
            what, code = fault
            raise ParameterError(
                f"its state is {what}, and a checkpoint keeps None or one vector of finite float64",
                code,
            )
        return np.array(found)

    def restore(self, state: Vector | None, failed: int = 0) -> None:
        """Gives its client back what it kept; None is nothing.

        Args:
            state: as `state` was.
            failed: as `failed` was.

        Raises:
            ParameterError: the client keeps nothing.
        """
        self.failed = failed
        restore = getattr(self._client, "restore", None)
        if callable(restore):
            restore(state)
        elif state is not None:
            raise ParameterError(
                f"{self.name} keeps nothing between rounds, and the checkpoint has a state of it",
                Code.ARGUMENT,
            )

    def _take(self, sent: Sequence[Vector]) -> tuple[Vector, ...]:
        """Returns what came beside the model, checked as the model is."""
        wanted = () if self._sent is None else (self._sent,)
        if not isinstance(sent, list | tuple) or len(sent) != len(wanted):
            raise ParameterError(
                f"{_sized(sent)} came beside the model instead of a list of {len(wanted)} vectors: "
                "all sides need the same optimizer",
                Code.SHAPE,
            )
        for vector, like in zip(sent, wanted, strict=True):
            if fault_of(vector, like.shape):
                raise ParameterError(
                    f"what came beside the model is no vector of {like.size} finite float64",
                    Code.SHAPE,
                )
        return tuple(np.array(vector) for vector in sent)

    def _place(self, members: Sequence[int] | None) -> tuple[int, Directory | None]:
        """Returns its index in the cohort of a round, and the directory of that."""
        if members is None:
            return self.index, self._directory
        size = self._params.cohort
        if not isinstance(members, list | tuple) or len(members) != size:
            raise ParameterError(
                f"members must be a list of the {size} positions of a cohort, not "
                f"{_sized(members)}",
                Code.ARGUMENT,
            )
        chosen = [each for each in members if type(each) is int and each >= 0]
        if len(chosen) != size or self.index not in chosen or chosen != sorted(set(chosen)):
            raise ParameterError(
                f"members must be the ascending positions of a cohort of {self._params.cohort} "
                f"with {self.index} in it, not {brief(members)}",
                Code.ARGUMENT,
            )
        directory = None if self._directory is None else self._directory.select(chosen)
        return chosen.index(self.index), directory

    def _terms(self, offer: bytes) -> tuple[Params, Form]:
        """Returns the parameters that it requires in a round, and a format with the updates' clip.

        Raises:
            ParameterError: the clip of the offer is impossible.
            DecodeError: the offer is malformed.
        """
        if self._adaptive is None:
            return self._params, self._form
        params, clip = self._adaptive.accept(Round.decode(offer).params)
        return params, replace(check_params(params), clip=clip)

    def _packed(self, given: tuple[Vector, int] | None, form: Form) -> tuple[Vector, int] | None:
        """Returns what is summed for an update: itself, or with a bit."""
        if given is None or self._adaptive is None:
            return given
        return self._adaptive.pack(given[0], form.clip), given[1]

    def _client_of(
        self,
        offer: bytes,
        params: Params,
        context: bytes,
        index: int,
        directory: Directory | None,
        random: Randomness | None,
    ) -> Client:
        """Returns the protocol's client for a round, if it has the parameters and this context."""
        return Client(
            Round.decode(offer),
            index,
            Policy(params=params, context=context),
            random or os.urandom,
            identity=self._identity,
            directory=directory,
            ledger=self._ledger,
            budget=self._budget,
        )

    def _why_out(self) -> str:
        """Returns why this client joins no more rounds, or ""."""
        if self._params.mode != Mode.MALICIOUS or self.failed < self._failures:
            return ""
        return (
            f"refused by this client: its training has failed in {self.failed} rounds (or goes on "
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
            self.failed += 1
        yield
        with self._lock:
            self.failed -= 1

    def _input_or_none(
        self, model: Model, sent: tuple[Vector, ...], form: Form
    ) -> tuple[Vector, int] | None:
        """Returns the input; or None, and remembers why, if there is none."""
        try:
            # Without examples there is nothing to train on; asked first, this depends on no model.
            weight_of(self._client, self._form)
            with self._at_risk():
                return self._input(model, sent, form)
        except NoUpdateError as error:
            self.reason, self.code = error.reason, error.code
            return None

    def _input(self, model: Model, sent: tuple[Vector, ...], form: Form) -> tuple[Vector, int]:
        """Trains, and returns the update as one vector and its weight; only the caller keeps it.

        Raises:
            NoUpdateError: there is no update to give.
        """
        start = time.perf_counter()
        try:
            result = trained(self._client, model, sent)
        finally:
            self.training_seconds = time.perf_counter() - start
        length = Layout.of(model).length
        if summed_by(self._optimizer, length) != length:  # what else is summed begins at zero
            model = [*model, *map(np.zeros_like, model)]
        update = update_of(model, result, form)
        self.clipped = clipped_by_array(model, update, form)
        return update, weight_of(self._client, form)


class Participant(Member):
    """The client side: it trains, and masks its update before sending it.

    A client that has no update to give sits the round out: it holds no examples, its training
    raised an exception, or returned something else than finite arrays of the model's shapes. The
    others go on without it, and it takes part in the next round again. The reason stays here; the
    server just gets no answer.

    The missing answer alone tells the server something about this client's data: a lying server can
    send models on which training fails only for certain data. So in malicious mode, after
    `failures` such rounds the client joins no more.

    Attributes:
        reason: why it sat out the round that it joined last, or "".
        code: the code of this reason, or None.
        clipped: how many values of its update in this round lie outside the clip, by the position
            of their array in the model ("0", ...), without those that have none. With `Rotated`
            they are all values, if the update is longer than the clip.
        training_seconds: wall-clock time of its training in this round.
        failed: how many of its trainings gave no update, or have not yet.
        subject: what its input is given for once, if that is not the context (`Client.expect`). The
            client that `join` returns knows it; a driver that calls `expect` says the same.

    In malicious mode its update of one model leaves it at most `attempts` times per training,
    whatever the server announces, and whatever it sends beside the model. If it is more than once,
    the server gets as many sums over the same model; their differences are sums over fewer clients,
    down to the update of a single one if training is deterministic.

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
        budget: what is charged for each round before its masked input leaves, such as
            `secagg.noise.SqliteBudget`: when it is spent, this participant joins no more.
        optimizer: of the training, if it sends or sums more than the model. `Scaffold` does, and is
            refused in malicious mode.
        adaptive: of the training's `Privacy`, if the clip changes from round to round: the client
            then gives a bit with its update, and takes any clip to which bits can have led.

    Raises:
        ParameterError: the template is not of floats, or has another length than the parameters;
            their quorum is below 3; the optimizer is not for their mode or weights; the word is
            empty, or `attempts` or `failures` is outside 1..2**63 - 1.
    """

    def join(
        self,
        offer: bytes,
        model: Model,
        attempt: int,
        random: Randomness | None = None,
        members: Sequence[int] | None = None,
        sent: Sequence[Vector] = (),
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
            members: the positions of the round's cohort among all participants, ascending; by
                default all of them. The server chooses it: a lying one chooses whom it likes, so
                the parameters must hold with all colluders of the training in one cohort.
            sent: what the optimizer sends beside the model, from the server.

        Raises:
            ParameterError: the offer has other parameters or another context; its budget cannot
                pay for the round; it is not in the cohort, or that is no cohort of these
                participants; the model, or what is sent beside it, has another
                structure or dtype than the template, or a value that is not finite; the attempt is
                no int in 0..2**63 - 1, or beyond the limit of this client; or, in malicious mode,
                its training has failed too often.
            DecodeError: the offer is malformed.
        """
        self.training_seconds = 0.0
        self.reason, self.code, self.clipped = "", None, {}
        self.subject = self._gave = None
        require_number("attempt", attempt)
        if self._params.mode == Mode.MALICIOUS and attempt >= self._attempts:
            raise ParameterError(
                f"refused by this client: attempt {attempt} on a model is beyond its limit of "
                f"{self._attempts} (counted from 0)",
                Code.ATTEMPTS_EXHAUSTED,
            )
        model = self._template.take(model)  # what is hashed is what is trained
        extra = self._take(sent)
        context = digest(self._training, model, *extra, attempt)
        index, directory = self._place(members)
        if reason := self._why_out():
            raise ParameterError(reason, Code.TRAINING)
        params, form = self._terms(offer)
        secure = self._client_of(offer, params, context, index, directory, random)
        if extra:  # words of the server, which make it no other model
            self.subject = subject = digest(self._training, model, attempt)
            secure.expect(context, subject)  # a driver that knows of none can change nothing

        def give() -> tuple[Vector, int] | None:
            given = self._packed(self._input_or_none(model, extra, form), form)
            self._gave = None if given is None else secure
            return given

        return secure, give


def _sized(value: object) -> str:
    """Returns the type of a peer's value for a message, and how long a list is."""
    kind = type(value).__name__
    return f"a {kind} of {len(value)}" if isinstance(value, list | tuple) else f"a value ({kind})"


def require_number(name: str, value: object) -> None:
    """Raises ParameterError unless a peer's number is an int: others may have other digests."""
    if type(value) is not int or not 0 <= value < NUMBERS:
        raise ParameterError(
            f"{name} must be an int in 0..2**63 - 1, and this {type(value).__name__} is not",
            Code.ARGUMENT,
        )
