"""The rules of the complete graph, on which any two parties share a mask.

(Bonawitz et al., CCS 2017.) Every party holds a share of every seed, so the threshold counts
parties of the cohort.
"""

from ..codes import Code
from ..errors import ParameterError
from .checks import require_int
from .mode import Mode


def least_threshold(mode: Mode, cohort: int, colluders: int = 0) -> int:
    """Returns the smallest threshold that is safe against this many colluders.

    Colluders alone must stay below it, and no two disjoint groups may reach it. In malicious mode
    it is above two thirds of the cohort, and 2t > n + c: then two survivor sets that both found t
    signers have an honest signer in common, who signs one set only.
    """
    if mode == Mode.MALICIOUS:
        return max(2 * cohort // 3, (cohort + colluders) // 2) + 1
    return max(cohort // 2, colluders) + 1


def checked_counts(
    mode: Mode, cohort: int, threshold: int, min_survivors: int, colluders: int
) -> tuple[int, int, int]:
    """Fills in the defaults and checks the result; `Params` says what the arguments mean.

    Each default follows from the values before it, so that each value is checked before the next.

    Returns:
        The threshold, min_survivors and colluders, none of them a mark for "default" any more.

    Raises:
        ParameterError: a value is outside its range, or they are unsafe together.
    """
    n = cohort
    if threshold == 0:
        threshold = 2 * n // 3 + 1
    least = least_threshold(mode, n)
    require_int("threshold", threshold, least, n, below=Code.UNSAFE_THRESHOLD)
    if min_survivors == 0:
        min_survivors = threshold
    require_int("min_survivors", min_survivors, 1, n)
    malicious = mode == Mode.MALICIOUS
    if colluders == -1:
        most = min(n // 3, max(threshold, min_survivors) - 2, threshold - 1)
        colluders = min(most, 2 * threshold - n - 1) if malicious else most
    require_int("colluders", colluders, 0, threshold - 1, above=Code.UNSAFE_THRESHOLD)
    if malicious and 2 * threshold <= n + colluders:
        raise ParameterError(
            "in malicious mode 2 * threshold must be above cohort + colluders, and 2 * "
            f"{threshold} is not above {n} + {colluders}: raise the threshold or lower colluders",
            Code.UNSAFE_THRESHOLD,
        )
    return threshold, min_survivors, colluders
