"""What simulated trainings share: a cohort that is introduced, a server that draws, and scores.

All parties run in one process, which is protected from none of them.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Generic, TypeVar

from secagg import Code, Identity, MemoryLedger, Mode, ParameterError, Params
from secagg.numeric import brief
from secagg.simulate import introduce

from .adaptive import AdaptiveClip
from .agreed import check_params
from .coordinator import Coordinator
from .frameworks import ModelClient
from .history import RoundReport, Score, read_score
from .models import Model
from .optimizers import Optimizer
from .participant import Member, Randomness
from .private import Privacy
from .schedule import Drops, read_schedule
from .steps import as_optimizer
from .updates import FedClient, Form, count_examples, function, is_weighted

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

    def _score(self) -> bool:
        """Scores the model after the last round, if that has no score yet; returns whether."""
        if self._evaluate is None or not self.reports or self.reports[-1].score is not None:
            return False
        score = read_score(self._evaluate(self.model))
        self.reports[-1] = replace(self.reports[-1], score=score)
        return True

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
