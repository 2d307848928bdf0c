"""The time of a simulation: clients train at their own pace, wait for others, and rest."""

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secagg import Code, ParameterError, digest
from secagg.numeric import as_float, brief

from ..agreed import check_kind
from ..coordinator import Coordinator
from ..history import a_number, an_int, ints
from ..models import Model
from ..updates import function, whole
from .participant import BufferedParticipant

Durations = Callable[[np.random.Generator, int], float]


@dataclass(frozen=True, slots=True)
class About:
    """The models that a sum is about.

    Attributes:
        versions: for each member, how often the model had changed when it got it.
        stale: for each member, how often it has changed since.
        models: one that all trained on, or one for each member.
        told: how often the model has changed since, for each of `models`.
        digests: of the models, if there are several.
    """

    versions: tuple[int, ...]
    stale: tuple[int, ...]
    models: list[Model]
    told: list[int]
    digests: list[bytes]


class Pace:
    """The clients of `FedBuff` in time, and the models that they have got.

    Attributes:
        now: the simulation's time.
        versions: the model that each client has got: how often it had changed.
        models: that some client has, by these numbers.
        resting: clients that have nothing to give about the model as it is.
        silent: why trainings since the last report gave no update, by client.

    Args:
        participants: all of them.
        coordinator: which has the model.
        size: of a buffer.
        most_stale, mixed, durations: as of `FedBuff`.
        seed: of all that is drawn, 16 bytes.
        before: called with a client that is about to train.

    Raises:
        ParameterError: a value is outside its range, or of a wrong kind.
    """

    def __init__(
        self,
        participants: Sequence[BufferedParticipant],
        coordinator: Coordinator,
        size: int,
        most_stale: int,
        mixed: bool,
        durations: Durations | None,
        seed: bytes,
        before: Callable[[BufferedParticipant], None],
    ) -> None:
        self._participants, self._coordinator, self._size = participants, coordinator, size
        self._most_stale, self._mixed = whole("most_stale", most_stale, 0, 2**63 - 1), mixed
        self._seed, self._before = seed, before
        self._generator = np.random.default_rng(list(seed))
        self._durations = function("durations", durations, "generator", "client") or log_normal(
            self._generator, len(participants)
        )
        self.now = 0.0
        self.versions = [0] * len(participants)
        self.models: dict[int, Model] = {}
        self.resting: set[int] = set()
        self.silent: dict[int, tuple[str, Code]] = {}
        self._restarted: set[int] = set()
        self._events = 0  # so far: their order at one time
        self._training: list[tuple[float, int, int]] = []  # heap: when, order, client
        self._ready: dict[int, list[int]] = {}  # by the model that they trained on, in order

    @property
    def waiting(self) -> list[int]:
        """The clients that have an update, in the order in which they are ready."""
        return [client for ready in self._ready.values() for client in ready]

    def _train(self, participant: BufferedParticipant) -> bool:
        self._before(participant)
        return participant.train()

    def state(self) -> dict[str, Any]:
        """Returns all but models and updates, as JSON."""
        return {
            "now": self.now,
            "events": self._events,
            "seed": self._seed.hex(),
            "generator": self._generator.bit_generator.state,
            "versions": self.versions,
            "training": sorted(self._training),
            "ready": [[key, ready] for key, ready in self._ready.items()],
            "resting": sorted(self.resting),
            "silent": {client: [*why] for client, why in self.silent.items()},
            "restarted": sorted(self._restarted),
        }

    def about(self, members: Sequence[int]) -> About:
        """Returns the models that a sum over these members is about."""
        versions = tuple(self.versions[each] for each in members)
        stale = tuple(map(self.stale, members))
        one = len(set(versions)) == 1
        models = [self.models[each] for each in (versions[:1] if one else versions)]
        digests = [] if one else [digest(model) for model in models]
        return About(versions, stale, models, list(stale[:1] if one else stale), digests)

    def models_in_use(self) -> dict[int, Model]:
        """Returns the models that clients train on, or have trained on, by their versions."""
        resting = self.resting
        used = {each for at, each in enumerate(self.versions) if at not in resting}
        return {version: self.models[version] for version in used}

    def restore(
        self, found: Mapping[str, Any], models: Mapping[int, Model], members: Sequence[int]
    ) -> None:
        """Puts back a state, in which nobody has begun; those that were ready train again.

        Args:
            found: as of `state`.
            models: that clients have.
            members: clients of a sum that is opened: they were ready as well.

        Raises:
            Exception: of any kind, if the state is impossible.
        """
        everybody, current = range(len(self._participants)), self._coordinator.changes
        codes = {each.value: each for each in Code}
        self.now, self._events = float(a_number(found["now"])), an_int(found["events"])
        self.versions = list(ints(found["versions"]))
        self._training = [
            (float(a_number(when)), an_int(order), an_int(client))
            for when, order, client in found["training"]
        ]  # ascending, which is a heap
        self._ready = {an_int(key): list(ints(ready)) for key, ready in found["ready"]}
        self.resting = set(ints(found["resting"]))
        self.silent = {
            int(client): (str(reason), codes[code])
            for client, (reason, code) in found["silent"].items()
        }
        self._restarted = set(ints(found["restarted"]))
        begun = [client for _, _, client in self._training]
        ready = [*self.waiting, *members]
        if sorted([*begun, *ready, *self.resting]) != list(everybody):
            raise ValueError("a client trains, waits or rests twice, or not at all")
        if len(self.versions) != len(everybody) or max(self.versions) > current:
            raise ValueError("a client has a model that there is not yet")
        if {*self.silent, *self._restarted} - {*everybody}:
            raise ValueError("it has a client that the training does not have")
        orders = {order for _, order, _ in self._training}
        late = [when for when, _, _ in self._training if not self.now <= when < math.inf]
        if late or len(orders) < len(begun) or max(orders, default=-1) >= self._events:
            raise ValueError("a training ends at an impossible time")
        if self._training != sorted(self._training):
            raise ValueError("trainings are not in their order")
        for key, waiting in self._ready.items():
            keys = {0 if self._mixed else self.versions[client] for client in waiting}
            if keys != {key} or len(waiting) >= self._size:
                raise ValueError("a buffer has other clients")
        used = {self.versions[client] for client in (*begun, *ready)}
        self.models = {version: list(models[version]) for version in used}
        if current in used and digest(self.models[current]) != digest(self._coordinator.model):
            raise ValueError("the model of clients is another than that of the training")
        for client in (*begun, *ready):
            self._participants[client].begin(self.models[self.versions[client]])
        for client in ready:
            if not self._train(self._participants[client]):
                raise ValueError(f"client {client} had an update, and has none when asked again")
        self._generator.bit_generator.state = found["generator"]

    def told(self) -> tuple[dict[int, tuple[str, Code]], tuple[int, ...]]:
        """Returns `silent`, and who dropped an update that was too stale; both begin anew."""
        told = self.silent, tuple(sorted(self._restarted))
        self.silent, self._restarted = {}, set()
        return told

    @property
    def _current(self) -> int:
        return self._coordinator.changes

    def begin(self, client: int) -> None:
        """Sends a client the model, if it takes part with that."""
        participant, model = self._participants[client], self._coordinator.model
        if participant.why_not(digest(model)):
            self.resting.add(client)
            return
        participant.begin(model)
        self.versions[client] = self._current
        self.models.setdefault(self._current, [array.copy() for array in model])
        duration = as_float(given := self._durations(self._generator, client))
        if duration is None or not 0 < duration < math.inf:
            raise ParameterError(
                f"a duration must be finite and above 0, and that of client {client} is "
                f"{brief(given)}",
                Code.ARGUMENT,
            )
        heapq.heappush(self._training, (self.now + duration, self._events, client))
        self._events += 1

    def stale(self, client: int) -> int:
        return self._current - self.versions[client]

    def _restart(self, clients: Iterable[int]) -> None:
        for client in clients:
            self._restarted.add(client)
            self.begin(client)

    def begin_idle(self, opened: Iterable[int]) -> None:
        """Lets those begin whom an interruption left with nothing to do.

        Args:
            opened: the members of a sum that is to be played; they are not among these.
        """
        training = (client for _, _, client in self._training)
        busy = {*training, *self.waiting, *self.resting, *opened}
        for client in range(len(self._participants)):
            if client not in busy:
                self.begin(client)

    def wait(self) -> list[int]:
        """Lets time go on until a buffer is full, and takes it; returns none if that cannot be."""
        size = self._size
        while self._training or self._release():
            self.now, _, client = self._training[0]
            participant = self._participants[client]
            too_stale = self.stale(client) > self._most_stale
            trained = not too_stale and self._train(participant)  # again, if it is interrupted
            heapq.heappop(self._training)
            if too_stale:
                self._restart([client])
            elif trained:
                key = 0 if self._mixed else self.versions[client]
                ready = self._ready.setdefault(key, [])
                ready.append(client)
                if len(ready) == size:
                    return sorted(self._ready.pop(key))
            else:  # it would be the same with the same model
                self.silent[client] = participant.reason, participant.code or Code.TRAINING
                self.resting.add(client)
        return []

    def _release(self) -> bool:
        """Lets those that wait with the oldest model begin anew, when nobody trains any more."""
        old = [each for each in self._ready if each != self._current]
        if self._mixed or not old:
            return False
        self._restart(self._ready.pop(min(old)))
        return bool(self._training) or self._release()

    def go_on(self, members: Iterable[int]) -> None:
        """Lets everybody begin anew who has no update to wait with."""
        waiting = {client for ready in self._ready.values() for client in ready}
        stale = [client for client in sorted(waiting) if self.stale(client) > self._most_stale]
        for key, ready in list(self._ready.items()):
            self._ready[key] = [client for client in ready if client not in stale]
            if not self._ready[key]:
                del self._ready[key]
        resting, self.resting = sorted(self.resting), set()
        self._restarted.update(stale)
        for client in (*sorted({*members, *resting}), *stale):
            self.begin(client)
        used = {self.versions[client] for client in range(len(self.versions))}
        self.models = {each: model for each, model in self.models.items() if each in used}


def log_normal(
    generator: np.random.Generator, clients: int, between: float = 1.0, within: float = 0.25
) -> Durations:
    """Returns log-normal durations: of typical ones, drawn now, and of each training around them.

    Args:
        generator: draws the typical ones.
        clients: their number.
        between: deviation of the logarithms of typical durations.
        within: deviation of the logarithm of one training's from that of its client.

    Raises:
        ParameterError: an argument is of another kind, or a deviation is negative or not finite.
    """
    check_kind("generator", generator, np.random.Generator)
    clients = whole("clients", clients, 1, 2**63 - 1)
    for name, deviation in (("between", between), ("within", within)):
        if (found := as_float(deviation)) is None or not 0 <= found < math.inf:
            raise ParameterError(
                f"{name} must be a finite number from 0, not {brief(deviation)}", Code.ARGUMENT
            )
    typical = generator.lognormal(0.0, between, clients)

    def of(generator: np.random.Generator, client: int) -> float:
        return float(typical[client] * generator.lognormal(0.0, within))

    return of
