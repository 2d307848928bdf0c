"""The privacy of rounds whose parameters are chosen along the way: a Renyi filter.

`accounting.epsilon` takes the order of the Renyi divergence that suits all rounds together. That
is proved of rounds whose parameters are known beforehand. If somebody chooses them after seeing
earlier sums, the best order would follow from these sums. Here order and delta are divided before
the first round, by the target alone, so that the sum of divergences may be compared with it after
each one. Source: Feldman & Zrnic 2021 (arXiv 2008.11193), Theorems 3.1 and 4.3.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from .accounting import INTEGER_ORDERS, Release, composed, epsilon_at, inexact

# Of delta, for what is not sampled exactly and for sparse graphs.
SLACK: Final = 0.01


@dataclass(frozen=True)
class Filter:
    """A target that rounds of any parameters may not exceed together.

    Attributes:
        epsilon: of the target, finite.
        delta: of the target.
    """

    epsilon: float
    delta: float

    @cached_property
    def order(self) -> int:
        """The order with which most noisy rounds are within the target, if noise is fine."""
        return max(INTEGER_ORDERS, key=lambda order: self._allowed(order) / order)

    def spent(self, releases: Iterable[tuple[Release, int]]) -> float:
        """Returns the epsilon of these rounds at the order of the target.

        Args:
            releases: pairs of a release and the number of rounds with it.

        Returns:
            Infinity if nothing is proved.

        Raises:
            MissingExtraError: dp-accounting is not installed.
        """
        rounds = list(releases)
        if not inexact(rounds, self.epsilon) <= SLACK * self.delta:
            return math.inf
        return epsilon_at(*composed(rounds, [self.order]), (1 - SLACK) * self.delta)

    def pays(self, releases: Iterable[tuple[Release, int]]) -> bool:
        """Returns whether these rounds are within the target; raises as `spent` does."""
        return self.spent(releases) <= self.epsilon

    def _allowed(self, order: int) -> float:
        """Returns the Renyi divergence of an order that is within the target.

        Source: Canonne, Kamath & Steinke 2020 (arXiv 2004.00010), Proposition 12.
        """
        delta = (1 - SLACK) * self.delta
        return self.epsilon - math.log1p(-1 / order) + math.log(delta * order) / (order - 1)
