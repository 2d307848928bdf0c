"""The server side of federated averaging: a coordinator that sees only sums.

It holds the global model, a `secagg.Server` for the round, and its `Result`. It never holds an
individual update: `tests/fl/test_fedavg.py` checks every object that it refers to, during and after
rounds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from secagg import (
    Code,
    Directory,
    Layout,
    Mode,
    ParameterError,
    Params,
    RangeError,
    Result,
    Server,
    digest,
)
from secagg.rounds.attempts import Attempts

from .adaptive import AdaptiveClip, QuantileClip
from .agreed import buffer_context, check_agreed, check_optimizer
from .checkpoint import Checkpoint
from .models import Model
from .optimizers import Optimizer, State, Vector
from .steps import as_optimizer, sent_by, start_of, step_by
from .template import Template
from .updates import fault_of


@dataclass(frozen=True, slots=True)
class _Opened:
    """A round that is open: what its attempt counts for, and the clip with which it was opened."""

    server: Server
    subject: bytes
    attempt: int
    clip: QuantileClip | None


class Coordinator:
    """The server side: it holds the global model and adds mean updates, never a single one.

    It counts the rounds on each model in which inputs left, because each round needs an attempt
    that no client has used; one that is open counts, and several may be. A new coordinator counts
    from zero: clients then refuse the attempts that are used, which costs rounds, not inputs.

    Attributes:
        model: the global model, not a copy: changing it changes the training.
        state: of the optimizer, vectors by name.
        changes: how many rounds have changed the model.
        clip: of the next round, if it changes; else None.

    Args:
        model: arrays of float16, float32 or float64, all finite; copied.
        params: parameters of the rounds; their length must be that of the model, and their quorum
            at least 3, or no participant would join.
        training: the participants' word for this training.
        directory: in malicious mode, the verify keys of the participants.
        attempts: in malicious mode, how often participants give their update of one model; None if
            they count that by themselves, whatever the number of an attempt (`FedBuff`).
        noise: makes the mean with noise of a result, if this server is trusted to add it
            (`Privacy.noise_of_server`); by default its mean as it is.
        optimizer: makes a change of the model from a mean; by default `Average`, which adds it.
        clients: of the training, of whom each round has a cohort; by default they are the cohort.
        adaptive: of the training's `Privacy`, if the clip changes from round to round.

    Raises:
        ParameterError: the model is not of finite floats, or has another length than the
            parameters; their quorum is below 3; the optimizer is not for their mode or weights; the
            word is empty, or `attempts` is outside 1..2**63 - 1.
    """

    def __init__(
        self,
        model: Model,
        params: Params,
        training: str,
        directory: Directory | None = None,
        attempts: int | None = 1,
        noise: Callable[[Result], NDArray[np.float64]] | None = None,
        optimizer: Optimizer | None = None,
        clients: int | None = None,
        adaptive: AdaptiveClip | None = None,
    ) -> None:
        limit: int | None = check_agreed(params, training, 1 if attempts is None else attempts)
        self._optimizer: Final = as_optimizer(optimizer)
        check_optimizer(self._optimizer, params)
        self._clients = params.cohort if clients is None else clients
        self._noise = noise
        self._adaptive = adaptive
        self.clip: QuantileClip | None = adaptive.start if adaptive else None
        self._template: Final = Template(model, params, self._optimizer, int(adaptive is not None))
        self.model: Model = self._template.take(model)
        self.params: Final = params
        self.layout: Final = Layout.of(self.model)
        self.state: State = start_of(self._optimizer, self.layout.length)
        sent_by(self._optimizer, self.state, self.layout.length)
        self.changes = 0
        self._training = training
        self._directory = directory
        if attempts is None or params.mode != Mode.MALICIOUS:
            limit = None
        # By digest of the model.
        self._attempts: Final = Attempts(limit, "this model")
        self._opened: Final[dict[bytes, _Opened]] = {}  # by session, in their order

    @property
    def server(self) -> Server | None:
        """The server of the round that was opened last, of those that are open."""
        return next((each.server for each in reversed(self._opened.values())), None)

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

    @property
    def sent(self) -> tuple[Vector, ...]:
        """The vectors that clients get beside the model: none, or one of the optimizer's."""
        extra = sent_by(self._optimizer, self.state, self.layout.length)
        return () if extra is None else (extra,)

    @property
    def attempts(self) -> dict[str, list[int]]:
        """The numbers of the attempts that are used, by the digest of the model, hexadecimal."""
        return {subject.hex(): sorted(used) for subject, used in self._attempts.used.items()}

    @property
    def succeeded(self) -> list[str]:
        """The digests of the models of which a round had a result, hexadecimal."""
        return sorted(subject.hex() for subject in self._attempts.succeeded)

    def restore(self, found: Checkpoint) -> None:
        """Puts back model, optimizer and attempts of a checkpoint.

        Raises:
            ParameterError: they do not fit this training.
        """
        state = start_of(self._optimizer, self.layout.length)
        fits = {name: vector.shape for name, vector in found.state.items()} == {
            name: vector.shape for name, vector in state.items()
        }
        if not fits or any(fault_of(each) for each in found.state.values()):
            raise ParameterError(
                f"the state of the checkpoint ({', '.join(found.state) or 'none'}) is not that of "
                f"{type(self._optimizer).__name__} for this model",
                Code.SHAPE,
            )
        if (self.clip is None) != (found.clip is None):
            raise ParameterError("the checkpoint has a clip that does not fit", Code.ARGUMENT)
        self.model = self._template.take(found.model)
        self.state, self.changes = dict(found.state), found.changes
        if self.clip is not None and found.clip is not None:
            self.clip = replace(self.clip, clip=found.clip)
        for subject, used in found.attempts.items():
            for attempt in used:
                self._attempts.use(bytes.fromhex(subject), attempt)
        self._attempts.succeeded.update(map(bytes.fromhex, found.succeeded))

    def open(
        self, members: Sequence[int] | None = None, session: bytes = b""
    ) -> tuple[bytes, int, Server]:
        """Starts a round on the present model.

        Args:
            members: the positions of the cohort's clients in the directory, ascending; by default
                all of them.
            session: 16 bytes that never repeat, for simulations; drawn at random by default.

        Returns:
            the offer and the attempt's number, which clients get with the model; and the server.

        Raises:
            AttemptsExhaustedError: in malicious mode, all attempts on this model are used.
            ParameterError: the model is not finite any more.
        """
        self._template.take(self.model)  # every client would refuse it, too
        subject = digest(self.model)  # clients count alike, whatever is sent beside it
        attempt = self._attempts.next(subject)
        context = digest(self._training, self.model, *self.sent, attempt)
        return self._open(subject, attempt, context, members, session)

    def open_buffer(
        self,
        models: Sequence[Model],
        stale: Sequence[int],
        members: Sequence[int],
        session: bytes = b"",
    ) -> tuple[bytes, int, Server]:
        """Starts a round about models from which this training has moved on since.

        Args:
            models: that the members trained on: one for all of them; or one for each, in a mixed
                buffer.
            stale: how often the model has changed since then, for each of these models.
            members: as of `open`.
            session: as of `open`.

        Returns:
            as `open`.
        """
        versions = [digest(model) for model in models]
        subject = versions[0] if len(versions) == 1 else digest(*versions)
        attempt = self._attempts.next(subject)
        context = buffer_context(self._training, versions, stale, attempt)
        return self._open(subject, attempt, context, members, session)

    def _open(
        self,
        subject: bytes,
        attempt: int,
        context: bytes,
        members: Sequence[int] | None,
        session: bytes,
    ) -> tuple[bytes, int, Server]:
        directory = self._directory
        if directory is not None and members is not None:
            directory = directory.select(members)
        params = self.params
        if self._adaptive is not None and self.clip is not None:
            params = self._adaptive.params_for(self.clip)
        server = Server(params.round(context, session), directory)
        self._attempts.use(subject, attempt)
        self._opened[server.session] = _Opened(server, subject, attempt, self.clip)
        return server.round.encode(), attempt, server

    def close(
        self, result: Result | None, inputs_left: bool = True, server: Server | None = None
    ) -> None:
        """Adds the mean update to the model; without a result the model is unchanged.

        Args:
            result: of the round that `open` started; None if it failed.
            inputs_left: whether inputs may have left clients in a failed round: False only if it
                ended before `PhaseStarted(Phase.MASKED_INPUT)`. The attempt is then not used.
            server: of the round, as `open` returned it; needed if several are open.

        Raises:
            ParameterError: several rounds are open, and `server` is missing; or it is that of none,
                and there is a result.
            RangeError: the new model, or a step of the optimizer, would not be finite in its
                dtypes; the model is unchanged.
            ParameterError: the optimizer has returned something else than it must; likewise.
        """
        opened = self._ended(server)
        if opened and result is None and not inputs_left:
            self._attempts.give_back(opened.subject, opened.attempt)
        if result is None:
            return
        if opened is None:
            raise ParameterError(
                "the round of this result is not open: it was closed, or another coordinator "
                "opened it",
                Code.ARGUMENT,
            )
        mean = result.mean if self._noise is None else self._noise(result)
        clip = opened.clip
        if self._adaptive is not None and clip is not None:
            mean, clip = self._adaptive.unpack(mean, clip)
        share, length = len(result.survivors) / self._clients, self.layout.length
        change, state = step_by(self._optimizer, mean, self.state, self.changes + 1, share, length)
        steps = cast("Model", self.layout.unflatten(change))
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
        self._attempts.succeeded.add(opened.subject)
        self.model, self.state, self.clip = updated, state, clip
        self.changes += 1

    def _ended(self, server: Server | None) -> _Opened | None:
        """Takes a round out of those that are open, and returns it; None if it is none of them."""
        if server is None and len(self._opened) > 1:
            raise ParameterError(
                f"{len(self._opened)} rounds are open: say which one ends, close(..., "
                "server=server) with what open returned",
                Code.ARGUMENT,
            )
        session = next(iter(self._opened), b"") if server is None else server.session
        return self._opened.pop(session, None)
