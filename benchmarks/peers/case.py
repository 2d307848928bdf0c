"""The inputs that every system sums, and the outcome that it returns."""

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
    """A peer cannot be measured here; the message says why and how to install it."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A weighted mean to compute.

    Attributes:
        updates: one float32 vector per client, within [-CLIP, CLIP].
        weights: one weight per client, 1..MAX_WEIGHT.
        lost: clients that drop out after the key shares (if the system has key shares).
        mean: the weighted mean of the other clients, float64.
    """

    updates: list[Vector32]
    weights: list[int]
    lost: frozenset[int]
    mean: NDArray[np.float64]

    @classmethod
    def random(cls, clients: int, length: int, dropout: float) -> "Case":
        """Draws uniform values and weights, and a fraction of lost clients."""
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
        """Number of clients."""
        return len(self.updates)

    @property
    def length(self) -> int:
        """Number of coordinates of an update."""
        return self.updates[0].size

    @property
    def stayed(self) -> list[int]:
        """The clients whose update is in the mean."""
        return [party for party in range(self.clients) if party not in self.lost]

    @property
    def threshold(self) -> int:
        """Shares that rebuild a secret, in every system that has this parameter."""
        return 2 * self.clients // 3 + 1

    def __str__(self) -> str:
        return f"n = {self.clients}, m = {self.length:,}, {len(self.lost)} lost"


class Side(IntEnum):
    """The side whose time is counted."""

    CLIENTS = 0
    SERVER = 1


class Stopwatch:
    """Adds up the time of each side by phase, with all parties in one process.

    Attributes:
        phases: phase -> seconds of all clients together, and of the server.
        cpu: CPU seconds of all parties.
    """

    def __init__(self) -> None:
        self.phases: dict[str, list[float]] = {}
        self.cpu = 0.0
        self._running = "", Side.SERVER, 0.0, 0.0

    def start(self, phase: str, side: Side) -> None:
        """Starts counting for this side in this phase."""
        self.phases.setdefault(phase, [0.0, 0.0])
        self._running = phase, side, time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """Stops counting."""
        phase, side, wall, cpu = self._running
        self.phases[phase][side] += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    @contextmanager
    def __call__(self, phase: str, side: Side) -> Iterator[None]:
        """Counts the time of a block."""
        self.start(phase, side)
        yield
        self.stop()


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The outcome of a case with one system.

    Attributes:
        phases: phase -> seconds of all clients together, and of the server.
        cpu: CPU seconds of all parties.
        bytes_up: bytes sent by one client that stayed.
        mean: the weighted mean that the system computed.
    """

    phases: Mapping[str, Sequence[float]]
    cpu: float
    bytes_up: int
    mean: NDArray[np.float64]

    @property
    def seconds(self) -> float:
        """Seconds of all parties, one after the other."""
        return sum(sum(sides) for sides in self.phases.values())

    def error(self, case: Case) -> float:
        """Returns the largest error of a coordinate of the mean."""
        return float(np.abs(self.mean - case.mean).max())


System = Callable[[Case], Outcome]
