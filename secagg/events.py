"""Events: what a state machine tells its driver to do, or reports to it, in any protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .codes import Code


class Phase(Enum):
    """The steps of a round, named by the message that each client sends in it.

    `CONSISTENCY` is a step of malicious mode only.
    """

    ADVERTISE_KEYS = "advertise keys"
    SHARE_KEYS = "share keys"
    MASKED_INPUT = "masked input"
    CONSISTENCY = "consistency"
    UNMASK = "unmask"

    def __str__(self) -> str:
        return self.value


class Job(Protocol):
    """Heavy work, separate from the state machine: picklable, pure, and safe on any executor."""

    def run(self) -> Any:
        """Returns the value to pass to `server.complete(job, value)`."""


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver `payload` to a party, or to `secagg.SERVER`."""

    to: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class InputNeeded:
    """Client: call `submit` with the input."""


@dataclass(frozen=True, slots=True)
class Finished:
    """Client: its part of the round is done, and its secrets are wiped."""


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """Server: a phase has begun; start its timer, and call `deadline(phase)` when that expires."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Work:
    """Server: run `job.run()` anywhere, then call `complete(job, value)`; or use `run_jobs`.

    A job may hold shares or mask keys: a machine that runs it must be trusted like the server.
    """

    job: Job


@dataclass(frozen=True, slots=True)
class Dropped:
    """Server: a party is out of the round: it was silent or gone, or because of what it sent.

    The input of a party that is dropped in the consistency step is still in the sum. `code` is the
    reason for programs.
    """

    party: int
    reason: str
    code: Code


@dataclass(frozen=True, slots=True)
class Completed:
    """Server: the round has ended with this sum."""

    result: "Result"


@dataclass(frozen=True, slots=True)
class Failed:
    """Server: the round has ended without a sum.

    `disputes` are (dealer, holder) pairs, if shares are the reason: those found missing or wrong,
    and all of one dealer whose seed could not be rebuilt. Either of the two may be at fault, and of
    that dealer's pairs also neither. `code` is the reason for programs.
    """

    reason: str
    code: Code
    disputes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a round: all that the server learns.

    Attributes:
        total: the sum over the survivors, shape (length,): float64 of weighted inputs for
            `FixedPoint`, int64 for `Integers`.
        weight: sum of the survivors' weights (their number, if inputs are not weighted).
        mean: total / weight, float64, the same shape.
        survivors: indices of the parties whose input is in the sum, ascending.
        disputes: (dealer, holder) pairs whose share was wrong. The sum is exact in spite of it.
            One of the two is at fault, if few holders lied together: with r answers and threshold
            t, ceil((r - t) / 2) + 2 of them (two at r = t + 1) can put honest ones here.
    """

    total: NDArray[np.float64] | NDArray[np.int64]
    weight: int
    mean: NDArray[np.float64]
    survivors: tuple[int, ...]
    disputes: tuple[tuple[int, int], ...] = ()


ClientEvent = Send | InputNeeded | Finished
ServerEvent = Send | PhaseStarted | Work | Dropped | Completed | Failed
Randomness = Callable[[int], bytes]
