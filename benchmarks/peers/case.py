"""What every system is asked to sum, and what is asked of its answer."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

CLIP: Final = 8.0
BITS: Final = 22  # 2^22 levels, the default of Flower
MAX_WEIGHT: Final = 10

Vector32 = NDArray[np.float32]


class MissingError(Exception):
    """A peer cannot be measured here; the text says why, and what to type."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A weighted mean to compute.

    Attributes:
        updates: float32 vectors within [-CLIP, CLIP], one a client.
        weights: 1..MAX_WEIGHT, one a client.
        lost: clients that vanish after the key shares, where there are any.
        mean: the weighted mean of the others, float64.
    """

    updates: list[Vector32]
    weights: list[int]
    lost: frozenset[int]
    mean: NDArray[np.float64]

    @classmethod
    def random(cls, clients: int, length: int, dropout: float) -> "Case":
        """Uniform values and weights; a fraction of the clients is lost."""
        rng = np.random.default_rng(0)
        updates = [rng.uniform(-CLIP, CLIP, length).astype(np.float32) for _ in range(clients)]
        weights = rng.integers(1, MAX_WEIGHT, clients, endpoint=True).tolist()
        lost = frozenset(rng.choice(clients, round(clients * dropout), replace=False).tolist())
        total, weight = np.zeros(length), 0
        for party in range(clients):
            if party not in lost:
                total += weights[party] * updates[party].astype(np.float64)
                weight += weights[party]
        return cls(updates, weights, lost, total / weight)

    @property
    def clients(self) -> int:
        """How many there are."""
        return len(self.updates)

    @property
    def length(self) -> int:
        """Coordinates of each."""
        return self.updates[0].size

    @property
    def stayed(self) -> list[int]:
        """The clients whose update is in the mean."""
        return [party for party in range(self.clients) if party not in self.lost]

    @property
    def threshold(self) -> int:
        """Shares that rebuild a secret, in every system that has such a number."""
        return 2 * self.clients // 3 + 1

    def __str__(self) -> str:
        return f"n = {self.clients}, m = {self.length:,}, {len(self.lost)} lost"


class Side(IntEnum):
    """Whose time it is."""

    CLIENTS = 0
    SERVER = 1


class Stopwatch:
    """Adds up what the parties of one process take, by phase.

    Attributes:
        phases: phase -> seconds of all clients together, and of the server.
        cpu: CPU seconds of all of them.
    """

    def __init__(self) -> None:
        self.phases: dict[str, list[float]] = {}
        self.cpu = 0.0
        self._running = "", Side.SERVER, 0.0, 0.0

    def start(self, phase: str, side: Side) -> None:
        """From here on it is this side's time in this phase."""
        self.phases.setdefault(phase, [0.0, 0.0])
        self._running = phase, side, time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """From here on it is nobody's."""
        phase, side, wall, cpu = self._running
        self.phases[phase][side] += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    @contextmanager
    def __call__(self, phase: str, side: Side) -> Iterator[None]:
        """Counts a block."""
        self.start(phase, side)
        yield
        self.stop()


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a system made of a case.

    Attributes:
        phases: phase -> seconds of all clients together, and of the server.
        cpu: CPU seconds of all parties.
        bytes_up: what one client that stayed has sent.
        mean: its weighted mean.
    """

    phases: Mapping[str, Sequence[float]]
    cpu: float
    bytes_up: int
    mean: NDArray[np.float64]

    @property
    def seconds(self) -> float:
        """All parties, one after the other."""
        return sum(sum(sides) for sides in self.phases.values())

    def error(self, case: Case) -> float:
        """The largest error of a coordinate of the mean."""
        return float(np.abs(self.mean - case.mean).max())


System = Callable[[Case], Outcome]
