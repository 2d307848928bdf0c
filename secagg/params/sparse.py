"""The rules of sparse graphs: how few neighbours are enough (SecAgg+; Bell et al., CCS 2020).

On a randomly permuted Harary graph of some degree, with some parties corrupt and some that drop
out, three things may go wrong, each with a probability that is computed here: the honest survivors
fall into groups whose sums come out apart; the corrupt neighbours of some party hold enough shares
to rebuild its seeds; too few neighbours of some party survive to rebuild them. The first two break
privacy and share the promised probability; the third only costs the round.
"""

import math
from dataclasses import dataclass
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from .checks import require_int
from .hypergeometric import lower_quantile, upper_quantile
from .mode import Mode

# More than the sum is learned with probability below 2^-SECURITY, and a round within the stated
# numbers fails with probability below 2^-FAILURE.
SECURITY: Final = 40
FAILURE: Final = 20


@dataclass(frozen=True, slots=True)
class Sparse:
    """Degree and threshold of a sparse graph.

    Attributes:
        degree: neighbours of each party, even.
        threshold: shares that rebuild a seed, out of degree + 1 holders.
    """

    degree: int
    threshold: int


def sparsest(
    cohort: int,
    corrupt: int,
    dropouts: int,
    *,
    semi_malicious: bool = False,
    security: int = SECURITY,
    failure: int = FAILURE,
) -> Sparse | None:
    """Finds the smallest degree that is safe, and the threshold that goes with it.

    Args:
        cohort: number of parties n, 3 or more.
        corrupt: the most parties that collude with the server.
        dropouts: the most parties that drop out; corrupt + dropouts < cohort.
        semi_malicious: whether the server may tell different clients different survivors. (The
            protocol here has no sparse rounds against such a server; this is for comparison.)
        security: more than the sum is learned with probability below 2^-security.
        failure: a round within these numbers fails with probability below 2^-failure.

    Returns:
        None where only the complete graph is safe.

    Raises:
        ParameterError: impossible values.

    Source: Bell et al. 2020, section 3 and appendix.
    """
    if cohort < 3 or corrupt < 0 or dropouts < 0 or corrupt + dropouts >= cohort:
        raise ParameterError(
            "a sparse graph needs a cohort of 3 or more, and corrupt and dropouts of 0 or more "
            f"whose sum is below the cohort, not {corrupt} and {dropouts} of {cohort}",
            Code.ARGUMENT,
        )
    degree = 2
    while degree < cohort - 1:
        if not connected(cohort, corrupt + dropouts, degree, security):
            degree += 2
            continue
        safe = safe_threshold(cohort, corrupt, degree, security)
        if semi_malicious:
            safe = math.ceil((safe - 1 + degree - 1.25) / 2) + 1
        left = lower_quantile(cohort, cohort - dropouts, degree, 2.0**-failure / cohort)
        if safe <= left:
            return Sparse(degree, max(safe, 2))
        # Two neighbours more raise `left` by two at most, and never lower `safe`.
        degree += 2 * math.ceil((safe - left) / 2)
    return None


def connected(cohort: int, lost: int, degree: int, security: int = SECURITY) -> bool:
    """Returns whether the graph stays in one piece when `lost` random parties are taken out,
    but for a probability below 2^-(security + 1).
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
    """Returns the smallest threshold that the corrupt neighbours of no party reach, but for a
    probability below 2^-(security + 1).
    """
    return upper_quantile(cohort, corrupt, degree, 2.0 ** -(security + 1) / cohort) + 1


def checked_counts(
    mode: Mode, cohort: int, degree: int, threshold: int, min_survivors: int, colluders: int
) -> tuple[int, int, int]:
    """Fills in the default threshold and checks everything; `Params` says what the arguments mean.

    Returns:
        The threshold, min_survivors and colluders.

    Raises:
        ParameterError: a value is outside its range, or they are unsafe together.
    """
    n = cohort
    if mode == Mode.MALICIOUS:
        raise ParameterError(
            "malicious mode needs the complete graph, degree 0: on a sparse one a server that lies "
            "could choose a client's neighbours, or show different survivors to different clients, "
            "and no client sees enough of the cohort to notice",
            Code.UNSAFE_MODE,
        )
    if n < 4:
        raise ParameterError(
            f"a sparse graph needs a cohort of 4 or more, not {n}: use the complete graph, degree "
            "0",
            Code.ARGUMENT,
        )
    require_int("degree", degree, 2, n - 2)
    if degree % 2:
        raise ParameterError(f"the degree of a sparse graph is even, not {degree}", Code.ARGUMENT)
    require_int("min_survivors", min_survivors, 2, n, below=Code.UNSAFE_SUM)
    require_int("colluders", colluders, 0, min_survivors - 2, above=Code.UNSAFE_SUM)
    safe = max(safe_threshold(n, colluders, degree), 2)
    if threshold == 0:
        threshold = min(safe, degree)
    require_int("threshold", threshold, 2, degree, below=Code.UNSAFE_THRESHOLD)
    if threshold < safe:
        raise ParameterError(
            f"a threshold of {threshold} is unsafe: {safe - 1} of {colluders} colluders may be "
            f"among the {degree} neighbours of one party, and {threshold} shares rebuild its "
            f"seeds; raise the threshold to {safe}, or the degree",
            Code.UNSAFE_THRESHOLD,
        )
    if not connected(n, colluders + n - min_survivors, degree):
        raise ParameterError(
            f"{colluders} colluders and {n - min_survivors} dropouts may cut a graph of degree "
            f"{degree} in two: raise the degree",
            Code.UNSAFE_GRAPH,
        )
    return threshold, min_survivors, colluders
