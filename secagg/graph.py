"""Who shares masks with whom: neighbour graphs as data (SecAgg+; Bell et al., CCS 2020).

On the complete graph everybody is everybody's neighbour. On a sparse one each party has `degree`
neighbours, drawn so that, but for a stated probability, no sum over fewer parties comes out (the
honest parties that stay are connected, and nobody's neighbours hold a threshold of corrupt ones)
and enough neighbours of everybody stay to rebuild seeds. Against semi-honest servers only.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .errors import ParameterError
from .formats import require_int
from .primitives import prg

SEED_BYTES: Final = 32
_SUITE: Final = 1  # the permutation is public: one generator serves all suites


@dataclass(frozen=True, slots=True)
class Sparse:
    """What makes a sparse graph safe.

    Attributes:
        degree: neighbours of each party, even.
        threshold: shares that rebuild a seed, out of degree + 1 holders.
    """

    degree: int
    threshold: int


def sparse(
    cohort: int,
    corrupt: float,
    dropout: float,
    security: int = 40,
    failure: int = 20,
) -> Sparse | None:
    """The least degree, and its threshold, for a randomly permuted Harary graph.

    Args:
        cohort: parties n, 3..65536.
        corrupt: greatest fraction that colludes with the server, 0 <= corrupt < 1.
        dropout: greatest fraction that vanishes, 0 <= dropout, corrupt + dropout < 1.
        security: more than the promised sum is learned with probability below 2^-security.
        failure: a round within these fractions fails with probability below 2^-failure.

    Returns:
        The parameters, or None where only the complete graph will do.

    Raises:
        ParameterError: impossible values.

    Source: Bell et al. 2020, section 3 and appendix; the three conditions are (1) the honest
    parties that stay are connected, (2) fewer than a threshold of anybody's neighbours are corrupt,
    (3) a threshold of everybody's neighbours stays.
    """
    require_int("cohort", cohort, 3, 2**16)
    if not (0 <= corrupt < 1 and 0 <= dropout < 1 and corrupt + dropout < 1):
        raise ParameterError("corrupt and dropout are fractions whose sum is below one")
    n = cohort
    bad, gone = math.floor(corrupt * n), math.floor(dropout * n)
    for degree in range(2, n - 1, 2):
        if not _connected(n, bad + gone, degree, security):
            continue
        most_bad = _most(n, bad, degree, 2.0 ** -(security + 1) / n)
        least_left = _least(n, n - gone, degree, 2.0**-failure / n)
        if most_bad < least_left:
            return Sparse(degree, max(most_bad + 1, 2))
    return None


def _connected(n: int, lost: int, degree: int, security: int) -> bool:
    """Whether losing `lost` parties cuts the graph with probability below 2^-(security + 1)."""
    if degree > lost:
        return True
    log_cuts = (
        math.log(n * (n - degree - 1) / 2)
        + math.lgamma(lost + 1)
        + math.lgamma(n - degree + 1)
        - math.lgamma(n + 1)
        - math.lgamma(lost - degree + 1)
    )
    return log_cuts < -(security + 1) * math.log(2)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _probability(n: int, marked: int, drawn: int, found: int) -> float:
    """Hypergeometric: of n, `marked` are marked; that `found` of `drawn` are."""
    if not max(0, drawn - (n - marked)) <= found <= min(drawn, marked):
        return 0.0
    return math.exp(
        _log_choose(marked, found) + _log_choose(n - marked, drawn - found) - _log_choose(n, drawn)
    )


def _most(n: int, marked: int, drawn: int, probability: float) -> int:
    """The least number that is exceeded with at most this probability."""
    tail = 0.0
    for found in range(min(drawn, marked), -1, -1):
        tail += _probability(n, marked, drawn, found)
        if tail > probability:
            return found
    return 0


def _least(n: int, marked: int, drawn: int, probability: float) -> int:
    """The greatest number that is missed with at most this probability."""
    tail = 0.0
    for found in range(drawn + 1):
        tail += _probability(n, marked, drawn, found)
        if tail > probability:
            return found
    return drawn


class Harary:
    """A ring in random order, in which each party knows the degree / 2 next on either side.

    Everybody computes the same graph from the public seed.

    Args:
        cohort: parties n, 3..65536.
        degree: even, 2..n - 1.
        seed: 32 public bytes that nobody chooses knowing who is corrupt.
    """

    def __init__(self, cohort: int, degree: int, seed: bytes) -> None:
        require_int("cohort", cohort, 3, 2**16)
        require_int("degree", degree, 2, cohort - 1)
        if degree % 2:
            raise ParameterError(f"the degree of a Harary graph is even, not {degree}")
        if not isinstance(seed, bytes) or len(seed) != SEED_BYTES:
            raise ParameterError(f"the seed of a graph has {SEED_BYTES} bytes")
        self.degree: Final = degree
        words = np.frombuffer(prg.stream(_SUITE, seed, 8 * cohort), "<u8")
        self._ring: Final[NDArray[np.intp]] = np.argsort(words, kind="stable")
        self._place: Final[NDArray[np.intp]] = np.argsort(self._ring)

    def neighbours(self, party: int) -> tuple[int, ...]:
        """Whom a party shares masks with, ascending; without itself."""
        return tuple(sorted(self._around(party)))

    def _around(self, party: int) -> Iterator[int]:
        place, n = int(self._place[party]), len(self._ring)
        for step in range(1, self.degree // 2 + 1):
            yield int(self._ring[(place + step) % n])
            yield int(self._ring[(place - step) % n])
