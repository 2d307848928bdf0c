"""How few neighbours are enough: parameters of sparse graphs (SecAgg+; Bell et al., CCS 2020).

On a randomly permuted Harary graph of some degree, with some parties corrupt and some that vanish,
three things may go wrong, each with a probability that is computed here: the honest parties that
stay fall into groups whose sums come out apart; somebody's corrupt neighbours hold enough shares of
its seeds; too few of somebody's neighbours stay to rebuild them. The first two are matters of
privacy and share the promised probability.
"""

import math
from dataclasses import dataclass
from typing import Final

from ..codes import Code
from ..errors import ParameterError

SECURITY: Final = 40
FAILURE: Final = 20


@dataclass(frozen=True, slots=True)
class Sparse:
    """Enough for a sparse graph to be safe.

    Attributes:
        degree: neighbours of each party, even.
        threshold: shares that rebuild a seed, out of degree + 1 holders.
    """

    degree: int
    threshold: int


def sparse(
    cohort: int,
    corrupt: int,
    dropouts: int,
    *,
    semi_malicious: bool = False,
    security: int = SECURITY,
    failure: int = FAILURE,
) -> Sparse | None:
    """The least degree, and its threshold, for a randomly permuted Harary graph.

    Args:
        cohort: parties n, 3 or more.
        corrupt: how many at most collude with the server.
        dropouts: how many at most vanish; corrupt + dropouts < cohort.
        semi_malicious: whether the server may tell different clients different survivors. (The
            protocol here has no sparse rounds against such a server; this is for comparison.)
        security: more than the promised sum is learned with probability below 2^-security.
        failure: a round within these numbers fails with probability below 2^-failure.

    Returns:
        The parameters, or None where only the complete graph will do.

    Raises:
        ParameterError: impossible values.

    Source: Bell et al. 2020, section 3 and appendix.
    """
    if cohort < 3 or corrupt < 0 or dropouts < 0 or corrupt + dropouts >= cohort:
        raise ParameterError(
            "corrupt and dropouts are counts whose sum is below the cohort", Code.ARGUMENT
        )
    degree = 2
    while degree < cohort - 1:
        if not connected(cohort, corrupt + dropouts, degree, security):
            degree += 2
            continue
        safe = safe_threshold(cohort, corrupt, degree, security)
        if semi_malicious:
            safe = math.ceil((safe - 1 + degree - 1.25) / 2) + 1
        left = _least(cohort, cohort - dropouts, degree, 2.0**-failure / cohort)
        if safe <= left:
            return Sparse(degree, max(safe, 2))
        # Two neighbours more raise `left` by two at most, and never lower `safe`.
        degree += 2 * math.ceil((safe - left) / 2)
    return None


def connected(cohort: int, lost: int, degree: int, security: int = SECURITY) -> bool:
    """Whether losing `lost` random parties cuts the graph with probability below
    2^-(security + 1).
    """
    if degree > lost:
        return True
    log_cuts = (
        math.log(cohort * (cohort - degree - 1) / 2)
        + math.lgamma(lost + 1)
        + math.lgamma(cohort - degree + 1)
        - math.lgamma(cohort + 1)
        - math.lgamma(lost - degree + 1)
    )
    return log_cuts < -(security + 1) * math.log(2)


def safe_threshold(cohort: int, corrupt: int, degree: int, security: int = SECURITY) -> int:
    """The least number that anybody's corrupt neighbours reach with probability below
    2^-(security + 1) only.
    """
    return _most(cohort, corrupt, degree, 2.0 ** -(security + 1) / cohort) + 1


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
    # By Hoeffding's bound, what lies further from the mean is 2^-64 of the probability together.
    far = math.sqrt(drawn * (64 * math.log(2) - math.log(probability)) / 2)
    tail = 0.0
    for found in range(min(drawn, marked, math.ceil(drawn * marked / n + far)), -1, -1):
        tail += _probability(n, marked, drawn, found)
        if tail > probability:
            return found
    return 0


def _least(n: int, marked: int, drawn: int, probability: float) -> int:
    """The greatest number that is missed with at most this probability."""
    return drawn - _most(n, n - marked, drawn, probability)
