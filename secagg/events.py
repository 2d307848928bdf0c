"""What a state machine tells its driver to do or to know. Any protocol uses these events."""

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
    """Heavy work cut off from the state machine: picklable, pure, and safe on any executor."""

    def run(self) -> Any:
        """The value to hand back with `server.complete(job, value)`."""


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
    """Client: its part is done, and its secrets are wiped."""


@dataclass(frozen=True, slots=True)
class PhaseStarted:
    """Server: start the timer of this phase, and call `deadline(phase)` when it runs out."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class Work:
    """Server: run `job.run()` anywhere, then call `complete(job, value)`; or use `run_jobs`.

    The job of an unmasking holds mask keys: whoever runs it can unmask what the server can.
    """

    job: Job


@dataclass(frozen=True, slots=True)
class Dropped:
    """Server: a party is out of the round, because it was silent or because of what it sent.

    One that falls out in the consistency step has its input in the sum all the same. `code` says
    why to programs.
    """

    party: int
    reason: str
    code: Code


@dataclass(frozen=True, slots=True)
class Completed:
    """Server: the round is over and this is the sum."""

    result: "Result"


@dataclass(frozen=True, slots=True)
class Failed:
    """Server: the round is over without a sum.

    `disputes` are (dealer, holder) pairs whose shares were missing or did not fit, if that is why:
    either of the two may be at fault. `code` says to programs why it ended.
    """

    reason: str
    code: Code
    disputes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What the server learns.

    Attributes:
        total: the sum over the survivors, one element a coordinate: float64 of weighted inputs
            for `FixedPoint`, int64 for `Integers`.
        weight: sum of the survivors' weights (their number, where inputs are not weighted).
        mean: total / weight, float64, the same shape.
        survivors: indices of the parties whose input is in the sum, ascending.
        disputes: (dealer, holder) pairs whose share did not fit. The sum is exact all the same,
            and one of the two is at fault, unless a threshold of holders lied together.
    """

    total: NDArray[np.float64] | NDArray[np.int64]
    weight: int
    mean: NDArray[np.float64]
    survivors: tuple[int, ...]
    disputes: tuple[tuple[int, int], ...] = ()


ClientEvent = Send | InputNeeded | Finished
ServerEvent = Send | PhaseStarted | Work | Dropped | Completed | Failed
Randomness = Callable[[int], bytes]
