"""The hypergeometric distribution: how many of the parties drawn at random are marked.

Of `n` parties `marked` are marked (corrupt, say, or alive), and `drawn` of them are drawn without
replacement (the neighbours of one party).
"""

import math


def probability(n: int, marked: int, drawn: int, found: int) -> float:
    """Returns the probability that exactly `found` of the drawn parties are marked."""
    if not max(0, drawn - (n - marked)) <= found <= min(drawn, marked):
        return 0.0
    return math.exp(
        _log_choose(marked, found) + _log_choose(n - marked, drawn - found) - _log_choose(n, drawn)
    )


def upper_quantile(n: int, marked: int, drawn: int, tail: float) -> int:
    """Returns the smallest k for which more than k are marked with probability at most `tail`."""
    # By Hoeffding's bound, all terms further from the mean add up to less than 2^-64 of `tail`.
    far = math.sqrt(drawn * (64 * math.log(2) - math.log(tail)) / 2)
    total = 0.0
    for found in range(min(drawn, marked, math.ceil(drawn * marked / n + far)), -1, -1):
        total += probability(n, marked, drawn, found)
        if total > tail:
            return found
    return 0


def lower_quantile(n: int, marked: int, drawn: int, tail: float) -> int:
    """Returns the largest k for which fewer than k are marked with probability at most `tail`."""
    return drawn - upper_quantile(n, n - marked, drawn, tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
