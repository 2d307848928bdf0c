"""How much noise a privacy target needs: complete parameters, and why they are what they are."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import NormalDist
from typing import Any, Final, cast

import numpy as np

from ..codes import Code
from ..errors import ParameterError
from ..numeric import brief
from ..params.checks import require_int
from ..params.formats import FixedPoint
from ..params.mode import Mode
from ..params.params import MAX_COHORT, MAX_LENGTH, Params
from ..params.rotated import (
    MAX_PEAK,
    MAX_VARIANCE,
    VARIANCE_STEPS,
    Noise,
    Rotated,
    least_bound,
    least_tail,
)
from ..params.sparse import SECURITY
from ..params.suite import Suite
from .accounting import (
    Release,
    epsilon,
    inexact,
    require_delta,
    require_positive,
    require_rounds,
    require_target,
)
from .filter import SLACK, Filter

MECHANISMS: Final = {"skellam": Noise.SKELLAM, "discrete_gaussian": Noise.DISCRETE_GAUSSIAN}
# With an automatic scale the noise is at most this much more than for real numbers.
_PRICE_OF_INTEGERS: Final = 1.01
# sqrt(c^2 + d/4) = 1.01 c at this multiple of sqrt(d): where the search for a scale begins.
_FIRST_SPREAD: Final = 0.5 / math.sqrt(_PRICE_OF_INTEGERS**2 - 1)
_MOST_SPREAD: Final = 2**10  # nothing is gained from here on
_MOST_DRAWN: Final = 2**20  # coordinates of a vector that is simulated
_CLIPPED: Final = 0.002  # expected coordinates of a vector that are clipped to the peak


@dataclass(frozen=True, slots=True)
class NoisePlan:
    """Parameters with noise for a privacy target; `calibrate` makes it.

    Attributes:
        params: of every round, with a `Rotated` format.
        target: the epsilon that was asked for, over all rounds.
        delta: over all rounds.
        rounds: of the training.
        fractions: `corrupt` and `dropout`, or None without them.
        price: the noise, as a multiple of what real numbers and a trusted server would need for
            the same honest clients.
    """

    params: Params
    target: float
    delta: float
    rounds: int
    fractions: tuple[float, float] | None
    price: float

    @property
    def form(self) -> Rotated:
        """The format of the parameters."""
        return cast(Rotated, self.params.format)

    @property
    def honest(self) -> int:
        """The honest survivors that are certain: h = quorum - colluders."""
        return self.params.quorum - self.params.colluders

    @property
    def for_rounds(self) -> dict[str, Any]:
        """Arguments of `secagg.Rounds`, beside `form`, with which its rounds have these `params`.

        That is the cohort and what decides h. In malicious mode it takes a directory as well.
        """
        p = self.params
        cohort = {"least": p.cohort, "most": p.cohort, "suite": p.suite}
        if p.degree and self.fractions:
            return dict(zip(("corrupt", "dropout"), self.fractions, strict=True)) | cohort
        counts = {name: getattr(p, name) for name in ("threshold", "min_survivors", "colluders")}
        return counts | cohort

    @property
    def multiplier(self) -> float:
        """The noise of h clients in units of the sensitivity: z = sqrt(h v / B)."""
        return math.sqrt(self.honest * self.form.variance / self.form.bound)

    @property
    def factor(self) -> float:
        """The noise of the whole cohort beside that of h clients: sqrt(cohort / h)."""
        return math.sqrt(self.params.cohort / self.honest)

    def epsilon(self, honest: int | None = None, rounds: int | None = None) -> float:
        """Returns the epsilon of a training with these parameters, at the plan's delta.

        Args:
            honest: honest survivors of each round, 1..cohort; by default those that are certain.
            rounds: 1..2**32; by default the plan's.

        Returns:
            Infinity if nothing is proved.

        Raises:
            ParameterError: a value is outside its range.
            MissingExtraError: dp-accounting is not installed.
        """
        count = self.rounds if rounds is None else require_rounds(rounds)
        return epsilon([(Release.of(self.params, honest), count)], self.delta)

    @property
    def local(self) -> Params:
        """Parameters with which each client is as private by itself: it adds the noise of all h.

        They are for `Release.of(params, honest=1)`.

        Raises:
            ParameterError: there is no such noise, or the field has no room for it.
        """
        form, steps = self.form, self.honest * self.form.variance_steps
        if steps > (most := MAX_VARIANCE[form.noise]):
            raise ParameterError(
                f"local noise takes a variance above {most >> 16} per client: give a smaller "
                "scale, or ask for less privacy",
                Code.HEADROOM,
            )
        tail = least_tail(form.noise, steps, self.params.cohort, self.params.length)
        return replace(self.params, format=replace(form, variance_steps=steps, tail=tail))

    @property
    def explanation(self) -> str:
        """What the plan promises, its numbers and where they come from, as text of some lines."""
        p, form, h = self.params, self.form, self.honest
        name = "Skellam" if form.noise is Noise.SKELLAM else "Discrete Gaussian"
        size = -(-p.vector_length * p.field_bits // 8)
        lied = (
            "A server that lies is covered: the mode is malicious."
            if p.mode is Mode.MALICIOUS
            else "A server that lies is not covered: that takes malicious mode."
        )
        sparse = f" (2^-{SECURITY} of delta per round is for the sparse graph)" if p.degree else ""
        return "\n".join(
            (
                f"Promised: epsilon {self.epsilon():.4g} at delta {self.delta:.4g} over "
                f"{self.rounds} rounds, for all that one client gives: its vectors, or zeros "
                f"instead{sparse}. Asked for: {self.target:.4g}.",
                f"Noise: {name}, z = {self.multiplier:.4g} times the sensitivity in the sum of "
                f"h = {h} clients, a standard deviation of {math.sqrt(form.variance):.4g} levels "
                f"per client. Rounding to integers takes a factor of {self.price:.4g}.",
                f"h: {p.quorum} survivors at least, less {p.colluders} who collude with the "
                f"server and can take their noise away. A round of all {p.cohort} has "
                f"{self.factor:.3g} times the noise that h clients need; "
                "`corrupt` and `dropout` decide this factor.",
                f"Numbers: clip {form.clip:.4g} (L2), {form.scale:.4g} levels per unit, a field of "
                f"{p.field_bits} bits, {size:,} bytes per client and round for {p.length:,} "
                "coordinates.",
                f"{p.explanation}",
                "Not covered: who takes part, and when, is public. Choosing cohorts at random "
                f"makes epsilon no smaller, since the server knows who was chosen. {lied}",
            )
        )


def calibrate(
    *,
    epsilon: float,
    delta: float,
    rounds: int,
    clip: float,
    length: int,
    cohort: int,
    corrupt: float | None = None,
    dropout: float | None = None,
    mode: Mode = Mode.SEMI_HONEST,
    suite: Suite = Suite.AES256CTR,
    mechanism: str = "skellam",
    scale: float | None = None,
    sparse: bool = False,
) -> NoisePlan:
    """Finds parameters whose sums are (epsilon, delta)-differentially private.

    Neighbours differ in one client: what it gives in all rounds, or zeros. Each client adds noise
    of the variance z^2 B / h, where B bounds the sum of squares of its integers, and the noise of
    h = quorum - colluders honest clients is certain to be in the sum. `docs/PRIVACY.md` has the
    formulae and their sources.

    Args:
        epsilon: over all rounds; 0.001..32.
        delta: over all rounds; above 0 and below 1, and far below 1 / clients.
        rounds: in which one client may take part; 1..2**32.
        clip: greatest L2 norm of an input; 2**-250..2**250.
        length: coordinates of an input; 1..2**32.
        cohort: clients of a round; 3..2**16. A smaller cohort needs another plan.
        corrupt, dropout: fractions, as in `Params.for_cohort`. Without both the thresholds are
            those of `Params`, for a third of colluders and a third of dropouts: h is small and
            noise large.
        mode, suite: as in `Params`.
        mechanism: "skellam" or "discrete_gaussian".
        scale: levels per unit. By default as many as limit the price of integers to 1 % of noise.
        sparse: take a sparse graph where it pays; semi-honest mode only.

    Raises:
        ParameterError: a value is outside its range, no parameters are safe for the fractions, or
            the noise does not fit a field of 62 bits.
        MissingExtraError: dp-accounting is not installed.
    """
    target = require_target(epsilon)
    delta = require_delta(delta)
    rounds = require_rounds(rounds)
    clip = require_positive("clip", clip, "take about the median norm of an update")
    length = require_int("length", length, 1, MAX_LENGTH)
    cohort = require_int("cohort", cohort, 3, MAX_COHORT)
    if delta * cohort >= 1:
        raise ParameterError(
            f"delta must be below 1 / {cohort}, not {delta}: else publishing one client's data "
            "would be private; choose one far below, 1e-5 say",
            Code.ARGUMENT,
        )
    if sparse and mode == Mode.MALICIOUS:
        raise ParameterError(
            "a sparse graph protects from servers that follow the protocol: leave sparse out, or "
            "take semi-honest mode",
            Code.ARGUMENT,
        )
    if scale is not None:
        scale = require_positive("scale", scale, "leave it out to have it chosen")
    noise = MECHANISMS.get(mechanism) if isinstance(mechanism, str) else None
    if noise is None:
        raise ParameterError(
            f"mechanism must be one of {', '.join(MECHANISMS)}, not {brief(mechanism)}",
            Code.ARGUMENT,
        )
    counts = _counts(cohort, length, corrupt, dropout, mode, suite, sparse)
    if counts.degree and SLACK * delta <= (lost := rounds * 2.0**-SECURITY):
        raise ParameterError(
            f"{SLACK:.0%} of delta {delta} is not above {lost:.3g}, the probability that the "
            f"sparse graph tells more than a sum in one of {rounds} rounds: raise delta, or take "
            "the complete graph",
            Code.ARGUMENT,
        )
    fractions = None if corrupt is None or dropout is None else (float(corrupt), float(dropout))
    search = _Search(noise, target, delta, rounds, counts, fractions)
    if scale is not None:
        return search.plan(clip, scale)
    spread = _FIRST_SPREAD * math.sqrt(length)
    best: NoisePlan | None = None
    while True:
        try:
            plan = search.plan(clip, spread / clip)
        except ParameterError:
            if best is None:
                raise
            return best
        if best is None or plan.price < best.price:
            best = plan
        if plan.price <= _PRICE_OF_INTEGERS or spread > _MOST_SPREAD * math.sqrt(length):
            return best
        spread *= 1.25


class _Search:
    """The search for the least noise for one target."""

    def __init__(
        self,
        noise: Noise,
        target: float,
        delta: float,
        rounds: int,
        counts: Params,
        fractions: tuple[float, float] | None,
    ) -> None:
        self._noise, self._target, self._delta, self._rounds = noise, target, delta, rounds
        self._filter, self._fractions = Filter(target, delta), fractions
        self._counts, self._honest = counts, counts.quorum - counts.colluders
        # Of real numbers, which integers are that are so large that rounding does not matter.
        ideal = self._least(
            lambda steps: Release(
                noise,
                Fraction(steps * 2**40, VARIANCE_STEPS),
                *(2**56, 1, 1),
                exposure=2.0**-SECURITY if counts.degree else 0.0,
            ),
            2.0**16,
            2**200,
        )
        self._ideal = ideal / 2.0**32  # z^2

    def plan(self, clip: float, scale: float) -> NoisePlan:
        """Returns the plan with the least noise for a scale."""
        counts, noise = self._counts, self._noise
        peak, bound = _grid(clip, scale, counts.length)
        form = Rotated(
            clip=clip, scale=scale, peak=peak, bound=bound, tail=1, noise=noise, variance_steps=1
        )

        def release(steps: int) -> Release:
            return Release.of(with_noise(steps))

        def with_noise(steps: int) -> Params:
            tail = least_tail(noise, steps, counts.cohort, counts.length)
            return replace(counts, format=replace(form, variance_steps=steps, tail=tail))

        steps = self._least(release, bound / self._honest, MAX_VARIANCE[noise])
        params = with_noise(steps)
        variance = self._honest * steps / VARIANCE_STEPS
        price = math.sqrt(variance / self._ideal) / (clip * scale)
        return NoisePlan(params, self._target, self._delta, self._rounds, self._fractions, price)

    def _least(self, release: Callable[[int], Release], square: float, most: int) -> int:
        """Returns the variance, in steps, with which the target is met, to about 0.1 %.

        Args:
            release: of a round with such a variance.
            square: the variance, in ones, for which z is 1.
            most: the largest that there is, in steps.
        """

        def enough(steps: int) -> bool:
            return self._filter.pays([(release(steps), self._rounds)])

        spent = math.log(1 / self._delta)
        root = math.sqrt(spent + self._target) - math.sqrt(spent)  # of rho over all rounds
        guess = self._rounds / (2 * root**2) * square * VARIANCE_STEPS
        high = math.ceil(min(max(1.0, guess), most))
        while not enough(high):
            if high == most:
                self._check_delta(release(math.ceil(min(max(1.0, guess), most))))
                raise ParameterError(
                    f"epsilon {self._target:.4g} takes noise of a variance above {most >> 16} per "
                    f"client, more than there is of {self._noise.name.lower()} noise: give a "
                    "smaller scale, ask for less privacy, or take the mechanism "
                    "'discrete_gaussian', which has the most",
                    Code.HEADROOM,
                )
            high = min(2 * high, most)
        low = high // 2
        while low and enough(low):
            low, high = low // 2, low
        while high - low > max(1, high >> 10):
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high

    def _check_delta(self, release: Release) -> None:
        """Raises ParameterError if no noise meets the target, since its sampler takes more."""
        cost = inexact([(release, self._rounds)], self._target) / SLACK
        if cost > self._delta:
            raise ParameterError(
                f"delta {self._delta:.4g} is too small for the sampler of Skellam noise: at "
                f"epsilon {self._target:.4g} it takes {cost:.2g} or more; raise delta, or take the "
                "mechanism 'discrete_gaussian', which is sampled exactly",
                Code.HEADROOM,
            )


def _grid(clip: float, scale: float, length: int) -> tuple[int, int]:
    """Returns the peak and the bound B for rotated vectors.

    A rotated vector is spread like a random one: its coordinates are nearly normal. So is what is
    simulated here, at the full clip; B holds for nearly all, and whoever exceeds it rounds again.
    """
    longest, drawn = clip * scale, min(length, _MOST_DRAWN)
    if not longest <= MAX_PEAK:
        raise ParameterError(
            f"clip * scale is {longest:.4g} levels, above {MAX_PEAK}: lower the scale",
            Code.HEADROOM,
        )
    spread = longest / math.sqrt(length)
    reach = -NormalDist().inv_cdf(_CLIPPED / 2 / length)
    peak = max(1, math.ceil(min(reach * spread, longest)))
    random, most = np.random.default_rng(0), 0.0
    for _ in range(min(max(2**21 // drawn, 4), 64)):
        vector = random.standard_normal(drawn)
        vector *= spread * math.sqrt(drawn) / np.linalg.norm(vector)
        rounded = np.floor(vector + random.random(drawn))
        most = max(most, float(rounded @ rounded))
    bound = math.ceil(1.001 * most * length / drawn)
    return peak, max(bound, least_bound(clip, scale))


def _counts(
    cohort: int,
    length: int,
    corrupt: float | None,
    dropout: float | None,
    mode: Mode,
    suite: Suite,
    sparse: bool,
) -> Params:
    """Returns parameters with the thresholds, and a format in place of the one that follows."""
    form = FixedPoint(clip=1.0, bits=1)
    if corrupt is not None and dropout is not None:
        return Params.for_cohort(
            cohort,
            length,
            form,
            corrupt=corrupt,
            dropout=dropout,
            mode=mode,
            suite=suite,
            sparse=sparse,
        )
    if corrupt is not None or dropout is not None or sparse:
        raise ParameterError(
            "corrupt and dropout are given together or not at all, and for a sparse graph: not "
            f"{brief(corrupt)} and {brief(dropout)}",
            Code.ARGUMENT,
        )
    return Params(cohort, length, form, mode=mode, suite=suite)
