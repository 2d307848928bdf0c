"""Schedules of lying clients and a bad network: parameters of the rounds, lies and faults."""

from dataclasses import dataclass

from harness import tight
from pairwise.schedules.server_plan import legal

import secagg
from secagg import Params
from secagg.wire import MessageType

UP = (MessageType.ADVERTISE_KEYS, MessageType.SHARE_KEYS, MessageType.MASKED_INPUT,
      MessageType.CONSISTENCY, MessageType.UNMASK)  # fmt: skip
DOWN = (MessageType.ROSTER, MessageType.DELIVERY, MessageType.SURVIVORS, MessageType.SIGNATURES)


def cases() -> list[Params]:
    """Both modes: every threshold, and quorums at it and at the whole cohort."""
    found = [one for one in legal((2, 3, 4, 5)) if one.colluders == 0]
    found += [one for one in legal((6, 7)) if one.colluders == 0 and one.quorum < one.cohort]
    for n in range(2, 8):
        for t in range(n // 2 + 1, n + 1):
            for least in sorted({t, (t + n) // 2}):
                try:
                    found.append(tight(n, threshold=t, min_survivors=least, colluders=0))
                except secagg.ParameterError:
                    continue
    return [tight(4, threshold=3), *(one for one in found for _ in range(1 + (one.cohort < 6)))]


def sparse_cases() -> list[Params]:
    """Sparse graphs of five to eight parties, each degree and threshold; degree - 1 may vanish."""
    return [
        tight(n, threshold=t, min_survivors=n - k + 1, colluders=0, degree=k)
        for n in range(5, 9)
        for k in range(2, n - 1, 2)
        for t in range(2, k + 1)
    ]


CASES = cases()
SPARSE_CASES = tuple(sparse_cases())


@dataclass(frozen=True)
class Mishap:
    """A lie of one party about its message of one step, or something that the network does."""

    kind: str
    party: int = 0
    step: int = 0
    a: int = 0


@dataclass(frozen=True)
class Weather:
    """A schedule.

    Attributes:
        liars: parties whose lies count.
        order: which of the waiting messages is carried next, again and again.
        deadlines: (after so many messages, phase).
    """

    params: Params
    liars: frozenset[int] = frozenset()
    mishaps: tuple[Mishap, ...] = ()
    order: tuple[int, ...] = ()
    deadlines: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Flight:
    """A message on its way; whether it is what its sender honestly said, for the first time."""

    sender: int
    receiver: int
    payload: bytes
    true: bool = True
    lie: str = ""
