"""The hypergeometric distribution: how many of the parties drawn at random are marked.

Of `n` parties `marked` are marked (corrupt, say, or alive), and `drawn` of them are drawn without
replacement (the neighbours of one party).
"""

import math
from bisect import bisect_left


def probability(n: int, marked: int, drawn: int, found: int) -> float:
    """Returns the probability that exactly `found` of the drawn parties are marked."""
    if not max(0, drawn - (n - marked)) <= found <= min(drawn, marked):
        return 0.0
    return math.exp(
        _log_choose(marked, found) + _log_choose(n - marked, drawn - found) - _log_choose(n, drawn)
    )


def upper_quantile(n: int, marked: int, drawn: int, tail: float) -> int:
    """Returns the smallest k for which more than k are marked with probability at most `tail`.

    An offer can ask for any of these numbers, so it takes a few hundred terms at most, each from
    the one before.
    """
    # Terms fall from the mode on. Those beyond `start` add up to less than 2^-64 of `tail`.
    mode, most = (drawn + 1) * (marked + 1) // (n + 2), min(drawn, marked)
    small = 2.0**-64 * tail / (most + 1)
    start = mode + bisect_left(
        range(mode, most), True, key=lambda found: probability(n, marked, drawn, found) < small
    )
    total, term = 0.0, probability(n, marked, drawn, start)
    for found in range(start, -1, -1):
        total += term
        if total > tail:
            return found
        term *= found * (n - marked - drawn + found)
        term /= (marked - found + 1) * (drawn - found + 1)
    return 0


def lower_quantile(n: int, marked: int, drawn: int, tail: float) -> int:
    """Returns the largest k for which fewer than k are marked with probability at most `tail`."""
    return drawn - upper_quantile(n, n - marked, drawn, tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
