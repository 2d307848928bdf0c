"""What rounds with noise tell: published figures, exact divergences, composition, what is refused.

The figures are of n = 100 honest clients, delta 1e-5, one round, and a noise multiplier of 1 beside
the clip before it is rounded.
"""

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from refusals import refused

from secagg import Code, FixedPoint, ParameterError, Params
from secagg.extras import MissingExtraError
from secagg.noise import Release, delta, epsilon
from secagg.noise.accounting import (
    INTEGER_ORDERS,
    composed,
    gaussian_distance,
    sampling_shortfall,
)
from secagg.noise.filter import Filter
from secagg.params.rotated import Noise, Rotated, least_tail

pytestmark = pytest.mark.skipif(
    not find_spec("dp_accounting"), reason="dp-accounting is not installed: the extra `dp`"
)

DELTA = 1e-5
SKELLAM, GAUSSIAN = Noise.SKELLAM, Noise.DISCRETE_GAUSSIAN


def kairouz(longest: float, length: int) -> int:
    """The bound of Kairouz, Liu & Steinke on squares after rounding, for beta = exp(-1/2)."""
    root = math.sqrt(length)
    return math.ceil(longest**2 + length / 4 + longest + root / 2)


def published(noise: Noise, bits: int, honest: int = 100) -> Release:
    """The round at a scale of 2**bits, with a clip of 1."""
    variance = Fraction(4**bits, honest)
    return Release(noise, variance, kairouz(2.0**bits, 2**20), 2**20, honest)


def spent(release: Release, rounds: int = 1) -> float:
    return epsilon([(release, rounds)], DELTA)


def test_published_figures() -> None:
    from dp_accounting import GaussianDpEvent  # late: it takes a second in each process
    from dp_accounting.rdp import RdpAccountant

    for noise, figures in (
        (GAUSSIAN, (12.319, 5.381, 4.771, 4.731)),
        (SKELLAM, (12.319, 5.381, 4.792, 4.755)),
    ):
        for bits, figure in zip((8, 10, 12, 14), figures, strict=True):
            assert spent(published(noise, bits)) == pytest.approx(figure, abs=6e-4), (noise, bits)
    central = RdpAccountant().compose(GaussianDpEvent(1.0)).get_epsilon(DELTA)
    assert central == pytest.approx(4.7285, abs=1e-4)
    assert spent(Release(GAUSSIAN, Fraction(2**40), 2**40, 1, 1)) == pytest.approx(central)


def test_many_clients_with_little_noise_each() -> None:
    """Sums of discrete Gaussians are then far from one; those of Skellam noise are what they are.

    Below a variance of 1/4 each, nothing is proved of discrete Gaussians.
    """
    assert gaussian_distance(4**6 / 1e4, 10**4) == pytest.approx(31, rel=0.01)
    assert gaussian_distance(1.0, 1) == 0
    assert gaussian_distance(1.0, 2) == pytest.approx(10 * math.exp(-(math.pi**2)))
    assert spent(published(GAUSSIAN, 6, 10**4)) > 1e6
    assert spent(published(SKELLAM, 6, 10**4)) == pytest.approx(75.3, abs=0.1)
    assert spent(published(SKELLAM, 6, 10)) == spent(published(SKELLAM, 6, 10**4))
    assert spent(Release(GAUSSIAN, Fraction(249, 1000), 1, 1, 1)) == math.inf
    assert spent(Release(GAUSSIAN, Fraction(1, 4), 1, 1, 1)) < math.inf


def test_skellam_is_accounted_for_as_the_theorem_says() -> None:
    """Order by order the better of two bounds, in the paper's own form, and integers alone."""
    for total, bound, length in ((0.5, 3, 2), (2.0, 40, 1000), (30.0, 900, 9), (1e4, 10**4, 10**6)):
        l1, best = min(bound, math.sqrt(length * bound)), math.inf
        for a in INTEGER_ORDERS:
            extra = min(((2 * a - 1) * bound + 6 * l1) / (4 * total**2), 3 * l1 / (2 * total))
            divergence = a * bound / (2 * total) + extra
            best = min(best, divergence + math.log1p(-1 / a) - math.log(DELTA * a) / (a - 1))
        release = Release(SKELLAM, Fraction(total) / 4, bound, length, 4)
        # The first bound has no negative part here, so it may be a little larger.
        assert best <= spent(release) <= best * 1.02, (total, bound, length)
    assert all(isinstance(a, int) for a in INTEGER_ORDERS)
    mixed, _ = composed([(published(GAUSSIAN, 12), 1), (release, 1)])
    assert mixed == list(INTEGER_ORDERS)


def test_discrete_gaussians_are_accounted_for_as_the_theorem_says() -> None:
    """Where either of its two bounds is the better one."""
    for bound, length in ((10**4, 4), (4, 10**4)):
        tau = 10 * sum(math.exp(-(math.pi**2) / 2 * k / (k + 1)) for k in range(1, 6))
        ratio = math.sqrt(bound / 1.5)
        e = min(math.sqrt(ratio**2 + 2 * tau * length), ratio + tau * math.sqrt(length))
        [pair] = Release(GAUSSIAN, Fraction(1, 4), bound, length, 6).zcdp()
        assert pair == (0.0, pytest.approx(e**2 / 2)), bound


def skellam_logs(variance: float, most: int) -> NDArray[np.float64]:
    """Logarithms of the probabilities of -most..most, by ratios of Bessel functions."""
    ratio, logs = 0.0, [0.0]
    for k in range(most + 100, 0, -1):
        ratio = 1 / (2 * k / variance + ratio)
        if k <= most:
            logs.append(math.log(ratio))
    half = np.cumsum([0.0, *logs[:0:-1]])
    both = np.concatenate([half[:0:-1], half])
    return both - np.logaddexp.reduce(both)


def gaussian_logs(variance: float, clients: int, most: int) -> NDArray[np.float64]:
    """The same for a sum of discrete Gaussians, by convolution, as far as floats go."""
    one = np.exp(-(np.arange(-most, most + 1.0) ** 2) / (2 * variance))
    total = one = one / one.sum()
    for _ in range(clients - 1):
        total = np.convolve(total, one)
    end = clients * most - int(math.sqrt(clients) * most)
    return np.log(total[end : total.size - end])


def distributions() -> Iterator[tuple[Release, NDArray[np.float64]]]:
    for variance in (0.25, 2.0, 30.0):
        yield Release(SKELLAM, Fraction(variance), 1, 1, 1), skellam_logs(variance, 800)
    for variance, clients in product((0.25, 0.5, 2.0), (1, 2, 6)):
        logs = gaussian_logs(variance, clients, int(36 * math.sqrt(variance)))
        yield Release(GAUSSIAN, Fraction(variance), 1, 1, clients), logs


def test_exact_divergences_are_within_what_is_accounted() -> None:
    """Of one coordinate and every shift; near to it where noise is large."""
    nearest = dict.fromkeys((SKELLAM, GAUSSIAN), 0.0)
    for release, logs in distributions():
        for shift, a in product((1, 2, 4), (2, 3, 8)):
            here, there = logs[shift:], logs[:-shift]
            exact = np.logaddexp.reduce(a * here + (1 - a) * there) / (a - 1)
            pairs = replace(release, bound=shift**2).zcdp()
            ratio = exact / min(xi + rho * a for xi, rho in pairs)
            assert ratio <= 1 + 1e-9, (release, shift, a)
            nearest[release.noise] = max(nearest[release.noise], ratio)
    assert min(nearest.values()) > 0.95


def test_rounds_add_up() -> None:
    """In any order and grouping, and rounds with different noise: more than each, less than all."""
    skellam, gaussian = published(SKELLAM, 12), published(GAUSSIAN, 12)
    assert epsilon([(skellam, 7), (skellam, 13)], DELTA) == pytest.approx(spent(skellam, 20))
    mixed = epsilon([(skellam, 2), (gaussian, 3)], DELTA)
    assert mixed == pytest.approx(epsilon([(gaussian, 3), (skellam, 2)], DELTA))
    assert spent(gaussian, 5) <= mixed <= spent(skellam, 5)
    assert spent(skellam) < spent(skellam, 2) < 2 * spent(skellam)
    assert epsilon([], DELTA) == spent(skellam, 0) == 0
    for release, rounds in ((skellam, 1), (gaussian, 20)):
        assert delta([(release, rounds)], spent(release, rounds)) == pytest.approx(DELTA)
    fewer = replace(skellam, honest=50)
    assert spent(fewer) > spent(skellam)


def test_what_is_not_exact_goes_into_delta() -> None:
    """The table's rounding, e^epsilon times for one of two neighbours, and a sparse graph."""
    exact = published(SKELLAM, 12)
    rounded, sparse = replace(exact, shortfall=1e-11), replace(exact, exposure=2.0**-40)
    before = delta([(exact, 3)], 6.0)
    assert delta([(rounded, 3)], 6.0) - before == pytest.approx(3e-11 * (1 + math.exp(6)))
    assert delta([(sparse, 3)], 6.0) - before == pytest.approx(3 * 2.0**-40, rel=1e-6)
    for release in (rounded, sparse):
        found = epsilon([(release, 3)], DELTA)
        assert found > epsilon([(exact, 3)], DELTA)
        assert delta([(release, 3)], found) <= DELTA * (1 + 1e-9)
    assert spent(replace(exact, shortfall=1e-7)) == math.inf
    assert spent(replace(exact, exposure=DELTA)) == math.inf
    assert delta([(rounded, 3)], 1e6) == 1.0


def noisy(noise: Noise = SKELLAM, **others: int) -> Params:
    """Parameters with noise, of 100 clients."""
    steps = 3 << 16
    form = Rotated(
        clip=1.0,
        scale=16.0,
        peak=16,
        bound=300,
        tail=least_tail(noise, steps, 100, 50),
        noise=noise,
        variance_steps=steps,
    )
    return Params(100, 50, form, **others)


def test_a_release_is_read_from_parameters() -> None:
    """With the honest survivors that are certain, or as many as are told."""
    params = noisy()
    certain = Release.of(params)
    shortfall = sampling_shortfall(SKELLAM, 3 << 16, 34, 50)
    assert certain == Release(SKELLAM, Fraction(3), 300, 50, 34, shortfall, 0.0)
    assert Release.of(params, 80).honest == 80
    on_sparse = noisy(min_survivors=90, colluders=5, degree=40)
    assert Release.of(on_sparse).exposure == 2.0**-40
    assert Release.of(noisy(GAUSSIAN)).shortfall == 0.0
    # A table of about 40 entries: P(|X| > 40) is near 2^-128 at a variance of 3.
    assert 2 * 34 * 50 * 35 * 2.0**-128 < shortfall < 2 * 34 * 50 * 60 * 2.0**-128


def test_what_cannot_be_accounted_for_is_refused() -> None:
    params, release = noisy(), published(SKELLAM, 12)
    for honest in (0, 101, -1, 2.0):
        with refused(ParameterError, Code.ARGUMENT, "honest must be"):
            Release.of(params, honest)  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT, "FixedPoint add no noise.*calibrate"):
        Release.of(Params(100, 50, FixedPoint(1.0)))
    with refused(ParameterError, Code.ARGUMENT, "Rotated add no noise"):
        Release.of(Params(100, 50, Rotated.of(clip=1.0, bits=4, length=50, cohort=100)))
    with refused(ParameterError, Code.ARGUMENT, "params must be a Params"):
        Release.of(params.format)  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT, "has no epsilon"):
        replace(release, noise=Noise.NONE)
    for name, value in (("variance", Fraction(0)), ("bound", 0), ("length", 0), ("honest", 0)):
        with refused(ParameterError, Code.ARGUMENT, f"{name}.*must be"):
            replace(release, **{name: value})  # type: ignore[arg-type]
    for bad in (0, 1, -1e-5, math.nan, "1e-5", True):
        with refused(ParameterError, Code.ARGUMENT, "delta must be above 0 and below 1"):
            epsilon([(release, 1)], bad)  # type: ignore[arg-type]
    for bad in (-1, math.inf, math.nan, None):
        with refused(ParameterError, Code.ARGUMENT, "epsilon must be a finite number"):
            delta([(release, 1)], bad)  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT, "rounds must be"):
        epsilon([(release, -1)], DELTA)
    for wrong in (release, params, (params, 1), (release, 1, 1)):
        with refused(ParameterError, Code.ARGUMENT, "releases must be|rounds must be"):
            epsilon([wrong, (release, 1.5)], DELTA)  # type: ignore[list-item]


def test_what_cannot_be_computed_is_not_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of divergences that are no numbers the accountant by itself makes an epsilon of 0."""
    releases = [(published(SKELLAM, 12), 1), (published(GAUSSIAN, 12), 1)]
    monkeypatch.setattr(Release, "zcdp", lambda _: [(math.nan, 1.0), (0.0, math.inf)])
    assert epsilon(releases, DELTA) == Filter(8.0, DELTA).spent(releases) == math.inf
    assert delta(releases, 6.0) == 1.0


def test_a_missing_accountant_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with refused(
        MissingExtraError,
        Code.MISSING_EXTRA,
        r"^dp_accounting is not installed; run pip install 'secagg\[dp\]'$",
    ):
        spent(published(SKELLAM, 12))


def test_no_release_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server chooses the numbers: where delta is all but used up by the table, there is none."""
    from dp_accounting.rdp import rdp_privacy_accountant as accountant

    real, calls = accountant.compute_epsilon, list[int]()

    def counted(*about: Any) -> Any:
        calls.append(1)
        return real(*about)

    monkeypatch.setattr(accountant, "compute_epsilon", counted)
    found = []
    for share in np.geomspace(1e-6, 1.0, 60):
        calls.clear()
        shortfall = 1e-5 * float(share) / (1 + math.exp(4.77))
        release = Release(Noise.SKELLAM, Fraction(2**20), 2**20, 2**20, 1, shortfall)
        found.append(epsilon([(release, 1)], 1e-5))
        assert len(calls) <= 20
    assert found == sorted(found)
    assert found[-1] == math.inf


@pytest.mark.parametrize(
    "wrong",
    [
        {"variance": math.inf},
        {"variance": Fraction(0)},
        {"variance": "9"},
        {"exposure": "0"},
        {"shortfall": math.nan},
        {"shortfall": -1.0},
        {"exposure": 2.0},
    ],
)
def test_impossible_releases_are_refused(wrong: dict[str, Any]) -> None:
    usual = {"noise": Noise.SKELLAM, "variance": Fraction(9), "bound": 9, "length": 9, "honest": 9}
    with refused(ParameterError, Code.ARGUMENT):
        Release(**usual | wrong)
    as_number = Release(**usual | {"noise": 2})
    assert as_number.noise is Noise.DISCRETE_GAUSSIAN
    assert epsilon([(Release(**usual | {"noise": 2, "variance": Fraction(1, 9)}), 0)], 1e-5) == 0.0
