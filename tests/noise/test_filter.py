"""Rounds whose parameters are chosen along the way are held to what one order allows."""

import math
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise

import pytest

from secagg.noise import MemoryBudget, Noise, Release, calibrate, epsilon
from secagg.noise.filter import SLACK, Filter

pytestmark = pytest.mark.skipif(
    not find_spec("dp_accounting"), reason="dp-accounting is not installed: the extra `dp`"
)

TARGET = Filter(8.0, 1e-5)
FINE = Release(Noise.SKELLAM, Fraction(2**30), 2**26, 2**20, 1)  # all but real numbers
COARSE = Release(Noise.SKELLAM, Fraction(7, 10), 1, 2**20, 1)  # xi = 3 rho: higher orders suit it


def divergence(release: Release, order: int) -> float:
    return min(xi + rho * order for xi, rho in release.zcdp())


def most(release: Release, order: int, target: Filter = TARGET) -> float:
    """How many such rounds one order of the Renyi divergence is enough for."""
    delta = (1 - SLACK) * target.delta
    allowed = target.epsilon - math.log1p(-1 / order) + math.log(delta * order) / (order - 1)
    return allowed / divergence(release, order)


def test_the_order_is_that_of_fine_noise_whatever_is_charged() -> None:
    """Not the one that suits the charges: whoever chooses them would choose the order as well."""
    assert TARGET.order == max(range(2, 40), key=lambda order: most(FINE, order))
    assert most(COARSE, TARGET.order) < 1 < most(COARSE, TARGET.order + 1)
    assert epsilon([(COARSE, 1)], 1e-5) < 8 < TARGET.spent([(COARSE, 1)])
    assert not TARGET.pays([(COARSE, 1)])


def test_mixed_rounds_add_up_at_the_order() -> None:
    other = Release(Noise.DISCRETE_GAUSSIAN, Fraction(50), 30, 2**20, 2)
    for fine in range(0, math.floor(most(FINE, TARGET.order)), 10):
        left = (1 - fine / most(FINE, TARGET.order)) * most(other, TARGET.order)
        assert TARGET.pays([(FINE, fine), (other, math.floor(left * (1 - 1e-9)))])
        assert not TARGET.pays([(other, math.floor(left * (1 + 1e-9)) + 1), (FINE, fine)])


def test_what_is_not_exact_has_a_share_of_delta_of_its_own() -> None:
    sparse = Release(Noise.SKELLAM, Fraction(2**60), 2**20, 8, 1, exposure=2.0**-40)
    enough = math.floor(SLACK * 1e-5 * 2**40)
    assert TARGET.pays([(sparse, enough)])
    assert not TARGET.pays([(sparse, enough + 1)])
    sampled = Release(Noise.SKELLAM, Fraction(2**60), 2**20, 8, 1, shortfall=1e-20)
    enough = math.floor(SLACK * 1e-5 / (1e-20 * (1 + math.exp(8))))
    assert TARGET.pays([(sampled, enough // 2**20)] * 2**4)
    assert TARGET.pays([(sampled, enough // 2)] * 2)
    assert not TARGET.pays([(sampled, enough // 2 + 1)] * 2)
    assert not TARGET.pays([(sampled, 2**32)] * math.ceil(enough / 2**32 + 1))


def test_a_target_that_is_raised_allows_what_was_allowed() -> None:
    """Its order is no higher, and rounds that were within the lower one are within it.

    That is where xi = c rho for a c of at most 3, as it is of all noise.
    """
    for delta in (1e-3, 1e-5, 1e-9):
        targets = [Filter(2.0 ** (k / 4), delta) for k in range(-20, 21)]
        for lower, upper in pairwise(targets):
            assert upper.order <= lower.order
            for c in (0, 3):
                before = lower._allowed(lower.order) / (c + lower.order)
                assert upper._allowed(upper.order) / (c + upper.order) >= before
    for xi, rho in (pair for release in (FINE, COARSE) for pair in release.zcdp()):
        assert xi <= 3 * rho * (1 + 1e-12)


@pytest.mark.parametrize("mechanism", ["skellam", "discrete_gaussian"])
def test_a_budget_pays_for_the_plan_that_was_made_for_it(mechanism: str) -> None:
    """And for no round more, wherever the order of the target is."""
    for target, scale in ((0.3, None), (2.5, 3.0), (5.6, None), (20.0, 3.0)):
        made = calibrate(
            **{"epsilon": target, "delta": 1e-6, "rounds": 40, "clip": 1.0, "length": 64},
            **{"cohort": 10, "scale": scale, "mechanism": mechanism},
        )
        budget = MemoryBudget(epsilon=target, delta=1e-6)
        assert budget.rounds_left(made.params) == 40, target
