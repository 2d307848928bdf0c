"""The common part of simulated trainings: an introduced cohort, a server that draws, and scores.

All parties run in one process, which is protected from none of them.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar, cast

from secagg import (
    Client,
    Code,
    Identity,
    MemoryLedger,
    Mode,
    ParameterError,
    Params,
    SecAggError,
    Server,
)
from secagg.numeric import brief
from secagg.simulate import Input, introduce
from secagg.texts import described

from .adaptive import AdaptiveClip
from .agreed import check_params
from .checkpoint import Checkpoint, CheckpointFile, as_whole
from .coordinator import Coordinator
from .facts import facts_of
from .frameworks.clients import ModelClient
from .history import RoundReport, Score, read_score
from .models import Model
from .one_sum import OneSum
from .optimizers import Optimizer
from .participant import Member, Randomness
from .private import Privacy
from .schedule import Drops, read_schedule
from .steps import as_optimizer
from .updates import FedClient, Form, Vector, count_examples, function, is_weighted

_NOISE, CHOICE, SESSION = range(3)  # what a server draws, as parties after the last client

M = TypeVar("M", bound=Member)
R = TypeVar("R", bound=RoundReport)


class Simulation(Generic[M, R]):
    """The parties of a simulated training, and what it draws, reports and scores.

    Attributes:
        params: of the rounds.
        coordinator: the server side.
        reports: of the rounds so far.

    Args:
        make: makes a participant, with the arguments of `Member`.
        cohort: how many clients a round takes, by the arguments of the training.
        rounds: for which there may be `drops`.
        counted: `attempts` as the coordinator counts them.
        adaptive: how the clip follows the norms, if it does.
        others: as of `FedAvg`.

    Raises:
        ParameterError: an argument is of a wrong kind, outside its range, or does not fit others.
    """

    def __init__(
        self,
        make: Callable[..., M],
        model: Model,
        clients: Sequence[FedClient],
        params: Params,
        *,
        cohort: int,
        rounds: int,
        drops: Iterable[Drops] | None,
        evaluate: Callable[[Model], Score] | None,
        random: Callable[[int, int], Randomness] | None,
        training: str,
        attempts: int,
        counted: int | None,
        failures: int,
        privacy: Privacy | None,
        optimizer: Optimizer | None,
        adaptive: AdaptiveClip | None,
    ) -> None:
        self.params: Final = params
        form = check_params(params)
        _check_clients(cohort, params.cohort, form, clients)
        self.reports: Final[list[R]] = []
        self._everybody: Final = len(clients)
        self._privacy = privacy
        self._training = training
        self._file: CheckpointFile | None = None
        self._states: dict[int, Vector] = {}  # of clients, as they are saved
        self._unkept: dict[int, tuple[str, Code]] = {}  # why a client's state cannot be saved
        self._random = function("random", random, "number", "party")
        self._evaluate = function("evaluate", evaluate, "model")
        self._drops = None if drops is None else read_schedule(drops, rounds, len(clients))
        self._optimizer: Final = as_optimizer(optimizer)
        # In a real cohort each member makes its identity, and they pin the keys out of band.
        identities: list[Identity] = []
        directory = ledger = None
        if params.mode == Mode.MALICIOUS:
            identities, directory = introduce(len(clients))
            ledger = MemoryLedger()
        noise = None if privacy is None else privacy.noise_of_server(self._keys_of_noise)
        self.coordinator: Final = Coordinator(
            *(model, params, training, directory, counted, noise, self._optimizer),
            clients=len(clients),
            adaptive=adaptive,
        )
        self._participants: Final = [
            make(
                *(index, client, params, training, self.coordinator.model),
                identities[index] if identities else None,
                *(directory, ledger, attempts, failures),
                optimizer=self._optimizer,
                adaptive=adaptive,
            )
            for index, client in enumerate(clients)
        ]

    @property
    def model(self) -> Model:
        """A copy of the global model as it is now."""
        return [array.copy() for array in self.coordinator.model]

    def _score(self) -> None:
        """Scores the model after the last round, if that has no score yet, and saves."""
        if self._evaluate is not None and self.reports and self.reports[-1].score is None:
            score = read_score(self._evaluate(self.model))
            self.reports[-1] = replace(self.reports[-1], score=score)
            self._save(self._checkpoint())

    def _open_file(
        self, path: str | os.PathLike[str] | None, more: Mapping[str, Any]
    ) -> Checkpoint | None:
        """Returns what the file of a training holds, if there is one.

        Args:
            path: of the file; None for none.
            more: facts that must be the same, beside those of `facts_of`.

        Raises:
            ParameterError, StateError: as of `CheckpointFile`.
        """
        if path is None:
            return None
        facts = facts_of(
            *(self._training, self.coordinator.model, self._everybody, self.params),
            *(self._optimizer, self._privacy, self._drawn(1, 16, SESSION)),
        )
        self._file = CheckpointFile(path, {**facts, **more})
        return self._file.load()

    def _save(self, checkpoint: Checkpoint | None) -> None:
        if self._file is not None and checkpoint is not None:
            self._file.save(checkpoint)

    def _checkpoint(
        self, opened: Sequence[int] | None = None, waiting: Collection[int] = ()
    ) -> Checkpoint | None:
        """Returns what is saved, if anything is.

        Args:
            opened: the members of a round that it opens.
            waiting: clients of whom is saved what they had kept before they trained.
        """
        if self._file is None:
            return None
        for each in self._participants:
            if each.index not in waiting:
                self._keep(each)
        coordinator = self.coordinator
        return Checkpoint(
            coordinator.model,
            coordinator.state,
            coordinator.changes,
            coordinator.attempts,
            coordinator.succeeded,
            dict(self._states),
            {each.index: each.failed for each in self._participants if each.failed},
            list(self.reports),
            coordinator.clip.clip if coordinator.clip else None,
            None if opened is None else tuple(opened),
        )

    def _play(
        self,
        server: Server,
        members: Sequence[int],
        model: Model,
        opened: Checkpoint | None,
        join: Callable[[M, Randomness | None], tuple[Client, Input]],
        after: Callable[[OneSum[M], bool], None],
    ) -> None:
        """Plays the next round: saves that it is open, and once it is played, what became of it.

        Args:
            server: of the round, which the coordinator has opened.
            members: positions of its clients, ascending.
            model: whose arrays a warning of clipped values names.
            opened: what is saved before inputs leave.
            join: a participant's joining, with its randomness.
            after: is called with the sum, and with whether it counts; adds its report.

        Raises:
            BaseException: what interrupted the round, or why its sum could not be applied.
        """
        number = len(self.reports) + 1
        try:
            self._save(opened)
        except BaseException:
            self.coordinator.close(None, inputs_left=False, server=server)
            raise

        def joined(participant: M) -> tuple[Client, Input]:
            self._check_kept(participant)
            return join(participant, self._randomness(number, participant.index))

        drops = self._drops[number - 1] if self._drops else {}
        invited = [self._participants[each] for each in members]
        played = OneSum(server, tuple(members), invited, drops)
        failure = played.carry_out(self.coordinator, joined)
        after(played, failure is None or played.inputs_left)
        if failure is None or played.has_sum or not (self._random and played.inputs_left):
            self._save(self._checkpoint())  # else another process can play the same round again
        if failure is not None:
            raise failure
        if self._privacy is None:  # whose clip shortens many by design
            played.warn_of_clipping(model)

    def _keep(self, participant: Member) -> None:
        """Takes note of what a client keeps now; if that cannot be saved, what it kept before."""
        index = participant.index
        try:
            state = participant.state
        except ParameterError as error:
            self._unkept[index] = error.reason, error.code
            return
        self._unkept.pop(index, None)
        self._states.pop(index, None)
        if state is not None:
            self._states[index] = state

    def _check_kept(self, participant: Member) -> None:
        """Raises ParameterError if what a client keeps cannot be saved."""
        if participant.index in self._unkept:
            reason, code = self._unkept[participant.index]
            raise ParameterError(reason, code)

    def _restore(self, found: Checkpoint) -> None:
        """Puts back what a checkpoint holds, but for a round that it opens.

        Raises:
            StateError: it does not fit.
            ParameterError: a client's own `restore` raised an exception.
        """
        if self._file is None:
            return
        with as_whole(self._file.path):
            self.coordinator.restore(found)
        for each in self._participants:
            try:
                with as_whole(self._file.path, SecAggError):
                    each.restore(found.clients.get(each.index), found.failed.get(each.index, 0))
            except SecAggError:
                raise
            except Exception as error:
                raise ParameterError(
                    f"{each.name}: its restore raised {described(error)}; the checkpoint is whole "
                    "and stays: correct this method",
                    Code.ARGUMENT,
                ) from None
        with as_whole(self._file.path):
            self._put_back(found)
        self._states.update(found.clients)
        self.reports.extend(cast("list[R]", found.reports))

    def _put_back(self, found: Checkpoint) -> None:
        """Puts back what else a kind of training has; raises an exception of any kind."""

    def _randomness(self, number: int, party: int) -> Randomness | None:
        """Returns a party's randomness in a round; None is the system's.

        Raises:
            ParameterError: it is no function.
        """
        if self._random is None:
            return None
        if not callable(found := self._random(number, party)):
            raise ParameterError(
                f"random({number}, {party}) must return a function that returns so many bytes, as "
                f"os.urandom does, not {brief(found)}",
                Code.ARGUMENT,
            )
        return found

    def _drawn(self, number: int, size: int, purpose: int) -> bytes:
        """Returns bytes of a simulation's server for one purpose in a round; else none.

        Raises:
            ParameterError: they are none, or not so many.
        """
        party = self._everybody + purpose
        if (random := self._randomness(number, party)) is None:
            return b""
        drawn = random(size)
        if not isinstance(drawn, bytes) or len(drawn) != size:
            raise ParameterError(
                f"random({number}, {party})({size}) must return {size} bytes, not {brief(drawn)}",
                Code.ARGUMENT,
            )
        return drawn

    def _keys_of_noise(self, size: int) -> bytes:
        return self._drawn(len(self.reports) + 1, size, _NOISE) or os.urandom(size)


def _check_clients(wanted: int, cohort: int, form: Form, clients: Sequence[FedClient]) -> None:
    if wanted != cohort:
        raise ParameterError(
            f"there are {wanted} clients in a round, and params are for a cohort of {cohort}",
            Code.ARGUMENT,
        )
    limit = [form.max_weight] if is_weighted(form) else []
    for index, client in enumerate(clients):
        count_examples(f"client {index}", client, *limit)
    _check_apart(clients)


def _check_apart(clients: Sequence[FedClient]) -> None:
    """Raises ParameterError if an object is two clients, or the model of two."""
    seen: dict[int, int] = {}
    for index, client in enumerate(clients):
        for what, thing in (("", client), ("'s model", getattr(client, "model", None))):
            if what and not isinstance(client, ModelClient):
                continue
            first = seen.setdefault(id(thing), index)
            if first != index:
                raise ParameterError(
                    f"client {index}{what} is the same object as client {first}{what}: its data "
                    "would count twice, and what it keeps would be mixed up; make an object for "
                    "each",
                    Code.ARGUMENT,
                )
