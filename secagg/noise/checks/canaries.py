"""An epsilon measured with canaries: clients whose vectors are random directions.

For each of them a coin decides whether it gives zeros instead, as in the neighbour of the
definition. How far the two groups lie apart in the sum, in units of their scatter, gives an epsilon
if the noise is normal: "One-shot empirical privacy estimation" (Andrew et al. 2023, arXiv
2302.03098), here for sums that are released. It proves nothing. What can be proved from the same
sums without a model, "Privacy auditing with one training run" (Steinke, Nasr & Jagielski 2023,
arXiv 2305.08846), is far below the truth.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...codes import Code
from ...errors import ParameterError, RangeError
from ...extras import extra
from ...params.checks import require_float, require_int
from ...params.params import MAX_COHORT, MAX_LENGTH
from ..accounting import require_delta
from .numbers import finite

_LEAST_CANARIES: Final = 20
_QUANTILE: Final = 1.6449  # of the normal distribution, for 95 % on one side
_CHANCE: Final = 0.05
_GUESSED: Final = 5  # one canary in so many is guessed: half of these in the sum, half not
_SHORTER: Final = 1 - 2.0**-20  # so that no rounding makes a canary longer than the clip
_MOST_EFFECT: Final = 100.0  # an epsilon of 5,000; the conversion loses its digits soon after
_MOST_EPSILON: Final = 64.0  # that is looked for by the bound

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """The epsilon that canaries show; `Canaries.estimate` makes it.

    Attributes:
        epsilon: the estimate, if the noise along the canaries is normal.
        at_least: its lower limit with 95 % confidence, under the same model.
        proved: a lower bound with 95 % confidence that holds without a model.
        delta: that of all three.
        canaries: their number, those that gave zeros included.
        rounds: the number of sums that were added up.
    """

    epsilon: float
    at_least: float
    proved: float
    delta: float
    canaries: int
    rounds: int

    @property
    def explanation(self) -> str:
        """The numbers and what they mean, as text."""
        return (
            f"Measured: epsilon about {self.epsilon:.3g} at delta {self.delta:.4g} over "
            f"{self.rounds} rounds, with {self.canaries} canaries; {self.at_least:.3g} or more "
            "with 95 % confidence, both if the noise along the canaries is normal. This is no "
            "proof, and no upper limit. Without a model the same sums show "
            f"{self.proved:.3g} or more with 95 % confidence, which is far below the truth as a "
            "rule."
        )


@dataclass(frozen=True, slots=True)
class Canaries:
    """Inputs in random directions, or zeros, with which epsilon is measured.

    Args:
        length: coordinates of an input; 1..2**32.
        clip: L2 norm of an input, that of the format; finite and positive.
        count: of canaries; 20..2**16. With 500 the error of an epsilon is about 15 %.
        seed: of the directions and the coins, 0..2**64 - 1; the same one gives the same canaries.

    Raises:
        ParameterError: a value is outside its range; or fewer than two canaries give vectors, or
            fewer than two give zeros: take another seed.
    """

    length: int
    clip: float
    count: int
    seed: int = 0

    def __post_init__(self) -> None:
        require_int("length", self.length, 1, MAX_LENGTH)
        if not 0 < require_float("clip", self.clip) < math.inf:
            raise ParameterError(
                f"clip must be a finite number above 0, not {self.clip}: it is that of the format",
                Code.ARGUMENT,
            )
        require_int("count", self.count, _LEAST_CANARIES, MAX_COHORT)
        require_int("seed", self.seed, 0, 2**64 - 1)
        if not 2 <= (found := int(self.inside.sum())) <= self.count - 2:
            raise ParameterError(
                f"{found} of {self.count} canaries are in the sums: take another seed",
                Code.ARGUMENT,
            )

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which canaries give their vectors, shape (count,): each one with probability 1/2."""
        return self._random(0).integers(0, 2, self.count) > 0

    def vector(self, canary: int) -> Floats:
        """Returns the vector of canary 0..count-1, in the sum or not: float64, shape (length,).

        Raises:
            ParameterError: there is no such canary.
        """
        canary = require_int("canary", canary, 0, self.count - 1)
        drawn = self._random(1 + canary).standard_normal(self.length)
        drawn *= _SHORTER * self.clip / np.linalg.norm(drawn)
        return drawn

    def inputs(self) -> list[Floats]:
        """Returns what each canary gives in every round, its vector or zeros, as `vector` does."""
        zeros = np.zeros(self.length)
        return [
            self.vector(canary) if is_inside else zeros
            for canary, is_inside in enumerate(self.inside)
        ]

    def estimate(self, totals: ArrayLike, delta: float) -> Estimate:
        """Measures epsilon from sums in which the canaries gave their inputs.

        Subtract before what else is known of the sums, such as the inputs of other clients: left
        in, it hides the canaries as noise does.

        Args:
            totals: shape (length,) or (rounds, length): sums of rounds with the same parameters,
                each with all canaries.
            delta: above 0 and below 1.

        Raises:
            ParameterError: delta is outside its range.
            RangeError: the sums have another shape, or values that are not finite.
            MissingExtraError: dp-accounting is not installed.
        """
        delta = require_delta(delta)
        total, rounds = self._added(totals)
        inside = self.inside
        # Who is told from zeros by an attacker that knows all others: only their vectors go away.
        rest = total.copy()
        for canary in np.flatnonzero(inside).tolist():
            rest -= rounds * self.vector(canary)
        plain, known = np.empty(self.count), np.empty(self.count)
        for canary in range(self.count):
            direction = self.vector(canary) / self.clip
            plain[canary], known[canary] = direction @ total, direction @ rest
        known[inside] += rounds * self.clip
        effect, error = _effect(known[inside], known[~inside], self.length)
        return Estimate(
            _gaussian_epsilon(effect, delta),
            _gaussian_epsilon(effect - _QUANTILE * error, delta),
            self._proved(plain, delta),
            delta,
            self.count,
            rounds,
        )

    def _random(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(purpose,)))

    def _added(self, totals: ArrayLike) -> tuple[Floats, int]:
        """Returns the sum over all rounds, and their number."""
        given = np.atleast_2d(finite(totals, "the sums"))
        if given.ndim != 2 or given.shape[1] != self.length or not given.size:
            raise RangeError(
                f"sums have the shape ({self.length},) or (rounds, {self.length}), not "
                f"{np.shape(totals)}",
                Code.SHAPE,
            )
        return given.sum(axis=0), given.shape[0]

    def _proved(self, scores: Floats, delta: float) -> float:
        """Returns the bound from guesses: the highest scores are inside, the lowest are not.

        The scores are of the sums alone, since a guess may not depend on the coins.
        """
        order = np.argsort(scores)
        half = self.count // _GUESSED // 2
        right = int(self.inside[order[-half:]].sum() + (~self.inside[order[:half]]).sum())
        low, high = 0.0, _MOST_EPSILON
        while high - low > 1e-3:
            middle = (low + high) / 2
            is_refuted = _chance(self.count, 2 * half, right, middle, delta) < _CHANCE
            low, high = (middle, high) if is_refuted else (low, middle)
        return low


def _effect(inside: Floats, outside: Floats, length: int) -> tuple[float, float]:
    """Returns by how many standard deviations two halves lie apart, and the error of that.

    Both scatter alike. The error is that of an effect size, but for noise of `length` dimensions,
    which has no more to show however many directions are looked along.
    """
    n, m = inside.size, outside.size
    spread = math.sqrt((n * inside.var() + m * outside.var()) / (n + m - 2))
    gap = float(inside.mean() - outside.mean())
    if not spread > 0:
        return math.copysign(math.inf, gap), 0.0
    effect = gap / spread
    return effect, math.sqrt(1 / n + 1 / m + effect**2 / 2 * (1 / (n + m - 2) + 1 / length))


def _gaussian_epsilon(effect: float, delta: float) -> float:
    """Returns the epsilon of normal noise of which the sensitivity is this multiple."""
    with extra("dp"):
        from dp_accounting import get_epsilon_gaussian  # noqa: PLC0415  (of the extra)
    if effect > _MOST_EFFECT:
        return math.inf
    return float(get_epsilon_gaussian(1 / effect, delta)) if effect > 0 else 0.0


def _chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Returns a bound of the probability of so many right guesses with this epsilon and delta.

    Source: Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846), Theorem 5.2 and Appendix D.
    """
    k = np.arange(guesses + 1)
    facts = np.array([math.lgamma(each + 1) for each in k])
    wrong = guesses - k
    # Each is right with probability 1 / (1 + e^-epsilon) at most.
    logs = facts[-1] - facts - facts[::-1] - wrong * epsilon
    exact = np.exp(logs - guesses * math.log1p(math.exp(-epsilon)))
    below = np.cumsum(exact[:right][::-1])  # of right - 1, right - 2, ... guesses
    worst = np.max(below / np.arange(1, right + 1), initial=0.0)
    return float(min(1.0, exact[right:].sum() + 2 * canaries * delta * worst))
