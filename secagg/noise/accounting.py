"""What rounds with noise tell about one client: differential privacy by the accountant of Google.

Neighbours are the rounds in which one client's vector is its own, or zero. A round then is a vector
of integers whose L2 norm changes by at most sqrt(B), plus the noise of the honest survivors. Its
Renyi divergence of order a is at most xi + rho a; that is all that is written here. `dp-accounting`
(extra `dp`) adds rounds up and converts to epsilon and delta. docs/PRIVACY.md has the formulae.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from ..codes import Code
from ..errors import ParameterError
from ..extras import extra
from ..numeric import as_float, brief
from ..params.checks import require_int, require_kind
from ..params.params import MAX_COHORT, Params
from ..params.rotated import Noise, Rotated, least_tail
from ..params.sparse import SECURITY

# The theorem on Skellam noise is for integers. More of the large ones than the accountant has:
# small epsilons need them.
INTEGER_ORDERS: Final[tuple[int, ...]] = (
    *range(2, 256),
    *(round(2 ** (k / 4)) for k in range(32, 57)),
)
LEAST_EPSILON: Final = 0.001
MOST_EPSILON: Final = 32
# Below this variance of each, nothing is proved of a sum of discrete Gaussians.
_LEAST_GAUSSIAN: Final = Fraction(1, 4)
_TABLE_BITS: Final = 128  # of the thresholds of the Skellam sampler
_MOST_STEPS: Final = 20
_MOST_ROUNDS: Final = 2**32


@dataclass(frozen=True, slots=True)
class Release:
    """The sum of one round, as far as privacy depends on it.

    Attributes:
        noise: the distribution of one client's noise.
        variance: of one client's noise, positive.
        bound: greatest sum of squares of one client's integers, B.
        length: elements of a vector, d.
        honest: honest survivors whose noise is in the sum, h.
        shortfall: total variation distance of all this noise from the named distribution.
        exposure: probability that the server learns more than the sum, whatever the inputs are.

    Raises:
        ParameterError: a value is outside its range.
    """

    noise: Noise
    variance: Fraction
    bound: int
    length: int
    honest: int
    shortfall: float = 0.0
    exposure: float = 0.0

    def __post_init__(self) -> None:
        with suppress(ValueError):
            object.__setattr__(self, "noise", Noise(self.noise))
        if self.noise not in (Noise.SKELLAM, Noise.DISCRETE_GAUSSIAN):
            raise ParameterError(
                f"a round with noise {self.noise!r} has no epsilon: choose parameters with "
                "`secagg.noise.calibrate`",
                Code.ARGUMENT,
            )
        if not 0 < (as_float(self.variance) or 0.0) < math.inf:
            raise ParameterError(
                "the variance of the noise must be positive and finite, not "
                f"{brief(self.variance)}",
                Code.ARGUMENT,
            )
        for name in ("shortfall", "exposure"):
            value = as_float(getattr(self, name))
            if value is None or not 0 <= value <= 1:
                raise ParameterError(
                    f"{name} is a probability, not {brief(getattr(self, name))}", Code.ARGUMENT
                )
        require_int("bound", self.bound, 1, 2**64 - 1)
        require_int("length", self.length, 1, 2**33)
        require_int("honest", self.honest, 1, MAX_COHORT)

    @classmethod
    def of(cls, params: Params, honest: int | None = None) -> "Release":
        """Returns what a round with these parameters releases.

        Args:
            params: with a `Rotated` format that has noise.
            honest: honest survivors, 1..cohort; by default as many as are certain,
                quorum - colluders.

        Raises:
            ParameterError: the format has no noise, or `honest` is outside its range.
        """
        require_kind("params", params, Params, "`secagg.noise.calibrate` makes them")
        form = params.format
        if not isinstance(form, Rotated) or form.noise is Noise.NONE:
            raise ParameterError(
                f"parameters with the format {type(form).__name__} add no noise, and their sums "
                "are not differentially private: choose them with `secagg.noise.calibrate`",
                Code.ARGUMENT,
            )
        if honest is None:
            honest = params.quorum - params.colluders
        require_int("honest", honest, 1, params.cohort)
        return cls(
            form.noise,
            form.variance,
            form.bound,
            params.vector_length,
            honest,
            sampling_shortfall(form.noise, form.variance_steps, honest, params.vector_length),
            2.0**-SECURITY if params.degree else 0.0,
        )

    @property
    def total(self) -> float:
        """The variance of a coordinate's noise, V = h v."""
        return float(self.honest * self.variance)

    def zcdp(self) -> list[tuple[float, float]]:
        """Returns pairs (xi, rho), each with D_a <= xi + rho a at the orders of this noise.

        Source: Kairouz, Liu & Steinke 2021 (arXiv 2102.06387), Theorem 1; Agarwal, Kairouz & Liu
        2021 (arXiv 2110.04995), Theorem 3.5 and Corollary 3.6.
        """
        d, total = self.length, self.total
        b = float(self.bound)
        if self.noise is Noise.DISCRETE_GAUSSIAN:
            if self.variance < _LEAST_GAUSSIAN:
                return [(0.0, math.inf)]
            distance = gaussian_distance(float(self.variance), self.honest)
            ratio = math.sqrt(b / total)
            e = min(math.sqrt(ratio**2 + 2 * distance * d), ratio + distance * math.sqrt(d))
            return [(0.0, e**2 / 2)]
        l1 = min(b, math.sqrt(d * b))  # |q| <= q^2 for integers
        gaussian = b / (2 * total)
        return [
            (max(0.0, 6 * l1 - b) / (4 * total**2), gaussian + gaussian / total),
            (3 * l1 / (2 * total), gaussian),
        ]


def gaussian_distance(variance: float, honest: int) -> float:
    """Returns tau: how far the sum of discrete Gaussians is from one, per coordinate.

    Source: Kairouz, Liu & Steinke 2021, Theorem 1.
    """
    k = np.arange(1, honest, dtype=np.float64)
    return float(10 * np.sum(np.exp(-2 * math.pi**2 * variance * k / (k + 1))))


def sampling_shortfall(noise: Noise, variance_steps: int, honest: int, length: int) -> float:
    """Returns how far the sampled noise of all honest clients is from its distribution.

    The discrete Gaussian is sampled exactly. Skellam noise comes from a table of K probabilities,
    each rounded to 2^-128, without what is below that. All in total variation.
    """
    if noise is not Noise.SKELLAM:
        return 0.0
    entries = least_tail(noise, variance_steps, 1, 2 ** (_TABLE_BITS - 40)) + 1
    return 2.0 * honest * length * entries * 2.0**-_TABLE_BITS


def epsilon(releases: Iterable[tuple[Release, int]], delta: float) -> float:
    """Returns the epsilon of all these rounds together, for one client that takes part in each.

    Args:
        releases: pairs of a release and the number of rounds with it; parameters may differ.
        delta: above 0 and below 1.

    Returns:
        Infinity if nothing is proved.

    Raises:
        ParameterError: a value is outside its range.
        MissingExtraError: dp-accounting is not installed.
    """
    delta = require_delta(delta)
    rounds = _counted(releases)
    orders, divergences = composed(rounds)
    found, left = 0.0, math.inf
    # What is not sampled exactly costs (1 + e^epsilon) times the distance, so epsilon is in its own
    # definition. It only grows here; where that costs no more, it holds. Where delta is all but
    # used up it would grow for long: nothing is promised there.
    for _ in range(_MOST_STEPS):
        now = delta - inexact(rounds, found)
        if now >= left:
            return found
        if now <= 0:
            return math.inf
        left = now
        found = max(found, epsilon_at(orders, divergences, left))
    return math.inf


def delta(releases: Iterable[tuple[Release, int]], epsilon: float) -> float:
    """Returns the delta of all these rounds together, as `epsilon` does for a delta.

    Args:
        releases: pairs of a release and the number of rounds with it.
        epsilon: 0 or more, finite.

    Raises:
        ParameterError: a value is outside its range.
        MissingExtraError: dp-accounting is not installed.
    """
    found = as_float(epsilon)
    if found is None or not 0 <= found < math.inf:
        raise ParameterError(
            f"epsilon must be a finite number, 0 or more, not {brief(epsilon)}", Code.ARGUMENT
        )
    rounds = _counted(releases)
    orders, divergences = composed(rounds)
    with extra("dp"):
        from dp_accounting.rdp.rdp_privacy_accountant import compute_delta  # noqa: PLC0415  (of the extra)
    ideal = float(compute_delta(orders, divergences, found)[0])
    return min(1.0, ideal + inexact(rounds, found))


def require_accountant() -> None:
    """Raises MissingExtraError unless dp-accounting can be imported; it is then, once."""
    with extra("dp"):
        from dp_accounting.rdp import RdpAccountant  # noqa: F401, PLC0415  (of the extra)


def require_target(value: object) -> float:
    """Returns an epsilon to be met; raises ParameterError unless it is in 0.001..32."""
    found = require_positive("epsilon", value, "1 to 10 are usual")
    if not LEAST_EPSILON <= found <= MOST_EPSILON:
        raise ParameterError(
            f"epsilon must be in {LEAST_EPSILON}..{MOST_EPSILON}, not {found}: less drowns "
            "every sum, and more protects nobody",
            Code.ARGUMENT,
        )
    return found


def require_positive(name: str, value: object, advice: str = "") -> float:
    """Returns a number as a float; raises ParameterError unless it is finite and above 0."""
    found = as_float(value)
    if found is None or not 0 < found < math.inf:
        raise ParameterError(
            f"{name} must be a finite number above 0, not {brief(value)}"
            + (f": {advice}" if advice else ""),
            Code.ARGUMENT,
        )
    return found


def require_rounds(value: object) -> int:
    """Returns a number of rounds; raises ParameterError unless it is in 1..2**32."""
    return require_int("rounds", value, 1, _MOST_ROUNDS)


def require_delta(value: object) -> float:
    """Returns a delta as a float; raises ParameterError unless it is above 0 and below 1."""
    found = as_float(value)
    if found is None or not 0 < found < 1:
        raise ParameterError(
            f"delta must be above 0 and below 1, not {brief(value)}: choose one far below "
            "1 / clients, 1e-5 say",
            Code.ARGUMENT,
        )
    return found


def composed(
    rounds: Iterable[tuple[Release, int]], orders: Sequence[float] | None = None
) -> tuple[list[float], list[float]]:
    """Returns orders, and the Renyi divergences of all these rounds together.

    Args:
        rounds: pairs of a release and the number of rounds with it.
        orders: integers, if a release has Skellam noise; by default as many as are of use.
    """
    rounds = list(rounds)
    with extra("dp"):
        from dp_accounting import ZCDpEvent  # noqa: PLC0415  (of the extra)
        from dp_accounting.rdp import RdpAccountant  # noqa: PLC0415
    if orders is None and any(release.noise is Noise.SKELLAM for release, _ in rounds):
        orders = INTEGER_ORDERS
    accountant = RdpAccountant(orders)
    divergences = accountant.rdp
    for release, count in rounds:
        bounds = [
            RdpAccountant(orders).compose(ZCDpEvent(rho, xi)).rdp for xi, rho in release.zcdp()
        ]
        divergences = divergences + count * np.minimum.reduce(bounds)
    divergences[np.isnan(divergences)] = math.inf  # the accountant makes an epsilon of 0 of them
    return accountant.orders.tolist(), divergences.tolist()


def epsilon_at(orders: Sequence[float], divergences: Sequence[float], delta: float) -> float:
    """Returns the least epsilon that follows from one of these Renyi divergences."""
    with extra("dp"):
        from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon  # noqa: PLC0415  (of the extra)
    return float(compute_epsilon(orders, divergences, delta)[0])


def inexact(rounds: Iterable[tuple[Release, int]], epsilon: float) -> float:
    """Returns what sampling and sparse graphs add to delta, at an epsilon."""
    shortfall = exposure = 0.0
    for release, count in rounds:
        shortfall += count * release.shortfall
        exposure += count * release.exposure
    return exposure + shortfall * (1 + math.exp(min(epsilon, 700.0)))


def _counted(releases: Iterable[tuple[Release, int]]) -> list[tuple[Release, int]]:
    """Returns the pairs that count; raises ParameterError if a number of rounds is none."""
    rounds = []
    for pair in releases:
        release, count = pair if isinstance(pair, tuple | list) and len(pair) == 2 else (pair, 1)
        require_kind("releases", release, Release, "give pairs of a Release and a number of rounds")
        rounds.append((release, require_int("rounds", count, 0, _MOST_ROUNDS)))
    return [(release, count) for release, count in rounds if count]
