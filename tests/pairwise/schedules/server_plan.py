"""Schedules of a lying server: the parameters of its rounds, its plan, and its lies about it."""

from dataclasses import dataclass
from functools import cache

from pairwise.malicious import malicious_tight

import secagg
from secagg import Params

Mask = frozenset[int]
EARLIER_SESSION = bytes(range(100, 116))  # the session of a round that is over


def legal_params(sizes: tuple[int, ...]) -> list[Params]:
    """Returns all parameters of malicious mode for these cohorts, for each number of colluders."""
    found = []
    for n in sizes:
        for t in range(2 * n // 3 + 1, n + 1):
            for least in range(t, n + 1):
                for c in range(n):
                    try:
                        params = malicious_tight(n, threshold=t, min_survivors=least, colluders=c)
                    except secagg.ParameterError:
                        continue
                    found.append(params)
    return found


@cache
def legal_params_of(cohort: int) -> list[Params]:
    """Returns all legal parameters of a cohort."""
    return legal_params((cohort,))


# Those with something to lose come more often: dropouts, and colluders up to 2t = n + c + 1.
_SMALL = [one for one in legal_params((2, 3, 4, 5, 6)) if one.cohort < 6 or one.colluders > 0]
CASES = [
    malicious_tight(4, threshold=3, colluders=1),
    *[one for one in _SMALL if one.threshold < one.cohort and one.colluders > 0] * 2,
    *_SMALL,
    malicious_tight(5, threshold=4, colluders=2),
    malicious_tight(7, threshold=5, colluders=2),
]
DROPPING = [one for one in CASES if one.quorum < one.cohort]


@dataclass(frozen=True)
class Lie:
    """One departure from the plan; its kind says what the numbers mean."""

    kind: str
    victim: int = 0  # counts the honest parties; beyond them: all of them
    a: int = 0
    b: int = 0  # of noise: the step before which it comes


@dataclass(frozen=True)
class Plan:
    """The sets that a lying server sets out to tell, in two versions, and the lies on top.

    Attributes:
        missing: who is left out of U1 (of everybody), of U2, and of U3, in each version.
        second: the honest parties that are told the second version.
        pushy: whoever is left out is told all the same that it is in.
    """

    params: Params
    colluders: tuple[int, ...]
    missing: tuple[tuple[Mask, Mask, Mask], tuple[Mask, Mask, Mask]]
    second: Mask = frozenset()
    pushy: bool = False
    lies: tuple[Lie, ...] = ()


OFFERS = ("context", "session", "threshold", "length", "policy", "own minimum", "refused")
TIMES = ("vanish", "again survivors", "again roster", "again delivery", "again signatures")
