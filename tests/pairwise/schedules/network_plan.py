"""Schedules of lying clients and a bad network: parameters of the rounds, lies and faults."""

from dataclasses import dataclass

from harness import tight
from pairwise.schedules.server_plan import legal_params

import secagg
from secagg import Params
from secagg.machine.wire import MessageType

TO_SERVER = (MessageType.ADVERTISE_KEYS, MessageType.SHARE_KEYS, MessageType.MASKED_INPUT,
      MessageType.CONSISTENCY, MessageType.UNMASK)  # fmt: skip
TO_CLIENT = (
    MessageType.ROSTER,
    MessageType.DELIVERY,
    MessageType.SURVIVORS,
    MessageType.SIGNATURES,
)


def cases() -> list[Params]:
    """Returns parameters of both modes: every threshold, and quorums at it and above."""
    found = [one for one in legal_params((2, 3, 4, 5)) if one.colluders == 0]
    found += [one for one in legal_params((6, 7)) if one.colluders == 0 and one.quorum < one.cohort]
    for n in range(2, 8):
        for t in range(n // 2 + 1, n + 1):
            for least in sorted({t, (t + n) // 2}):
                try:
                    found.append(tight(n, threshold=t, min_survivors=least, colluders=0))
                except secagg.ParameterError:
                    continue
    return [tight(4, threshold=3), *(one for one in found for _ in range(1 + (one.cohort < 6)))]


def sparse_cases() -> list[Params]:
    """Returns parameters of sparse graphs of five to eight parties; degree - 1 may vanish."""
    return [
        tight(n, threshold=t, min_survivors=n - k + 1, colluders=0, degree=k)
        for n in range(5, 9)
        for k in range(2, n - 1, 2)
        for t in range(2, k + 1)
    ]


CASES = cases()
SPARSE_CASES = tuple(sparse_cases())


@dataclass(frozen=True)
class Fault:
    """A lie of one party about its message of one step, or a fault of the network."""

    kind: str
    party: int = 0
    step: int = 0
    a: int = 0


@dataclass(frozen=True)
class NetworkSchedule:
    """A schedule of lying clients and a bad network.

    Attributes:
        liars: parties whose lies count.
        order: which of the waiting messages is carried next, again and again.
        deadlines: (after so many messages, phase).
        said: (after so many messages, party, whether it is back) what the driver says of a party:
            that it is gone, or back.
    """

    params: Params
    liars: frozenset[int] = frozenset()
    faults: tuple[Fault, ...] = ()
    order: tuple[int, ...] = ()
    deadlines: tuple[tuple[int, int], ...] = ()
    said: tuple[tuple[int, int, bool], ...] = ()


@dataclass(frozen=True)
class Packet:
    """A message on its way; it is true if its sender honestly said it, for the first time."""

    sender: int
    receiver: int
    payload: bytes
    true: bool = True
    lie: str = ""
