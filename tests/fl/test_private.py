"""Trainings with differential privacy: the noise that was promised is there, whoever adds it."""

import dataclasses
import math
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from refusals import refused
from secagg.fl import (
    Average,
    Coordinator,
    FedAvg,
    Participant,
    Placement,
    Privacy,
    QuantileClip,
    private_params,
    simulated_randomness,
)
from secagg.fl.private import corrupt_of_cohort

from secagg import Code, ParameterError, Phase, Result, Rotated, noise
from secagg.simulate import Cohort

pytestmark = pytest.mark.skipif(
    not find_spec("dp_accounting"), reason="dp-accounting is not installed: the extra `dp`"
)

LENGTH = 1000
MODEL = [np.zeros((LENGTH // 2, 2))]
CLIP = 0.5
TRUE = 4 * 0.004 + CLIP / math.sqrt(LENGTH)  # the sum of the clipped updates of five


@dataclasses.dataclass
class Moves:
    """A client whose training moves all numbers alike."""

    examples: int
    amount: float

    def train(self, model: list[Any]) -> list[Any]:
        return [array + self.amount for array in model]


def cohort() -> list[Moves]:
    """Of seven, one moves far beyond the clip, and one holds no examples."""
    return [*(Moves(3 * i + 1, 0.004) for i in range(5)), Moves(9, 7.0), Moves(0, 1.0)]


@pytest.fixture(scope="module")
def private() -> Callable[..., Privacy]:
    """Returns a function that makes privacy, once for the same options."""
    made: dict[tuple[Any, ...], Privacy] = {}

    def make(placement: str, **others: Any) -> Privacy:
        key = placement, *others.items()
        if key not in made:
            options: dict[str, Any] = {"epsilon": 4, "rounds": 2, "clip": CLIP} | others
            made[key] = private_params(cohort(), MODEL, placement=placement, **options)
        return made[key]

    return make


def noise_of_a_round(privacy: Privacy, **others: Any) -> np.ndarray:
    """Returns what a round adds to the sum of the clipped updates, in units of the clip."""
    drops = [{3: Phase.MASKED_INPUT}]
    fed = FedAvg(MODEL, cohort(), rounds=1, privacy=privacy, drops=drops, **others)
    (report,) = fed
    assert report.survivors == (0, 1, 2, 4, 5)
    assert (report.shortened, report.clipped) == (1, LENGTH)
    found: np.ndarray = (5 * fed.model[0].ravel() - TRUE) / CLIP
    return found


@pytest.mark.parametrize("placement", Placement)
def test_the_noise_is_that_of_the_placement(
    placement: Placement, private: Callable[..., Privacy]
) -> None:
    """Of the sum: z for the server; sqrt(5 / h) z for 5 survivors; sqrt(5) z if each adds z."""
    privacy = private(placement)
    off = noise_of_a_round(privacy, random=simulated_randomness(0))
    z = privacy.multiplier
    assert privacy.honest == {"distributed": 3, "local": 1}.get(placement, 0)
    wanted = z * {"distributed": math.sqrt(5 / 3), "local": math.sqrt(5)}.get(placement, 1.0)
    assert np.std(off) == pytest.approx(wanted, rel=0.1, abs=1e-3)
    assert abs(np.mean(off)) <= 5 * wanted / math.sqrt(LENGTH) + 1e-4
    assert privacy.factor == pytest.approx(
        {
            "distributed": math.sqrt(7 / 3),
            "local": math.sqrt(7),
            "central": 1.0,
            "none": 0.0,
        }[placement],
        rel=0.02,
    )


def test_the_server_s_noise_is_exact(private: Callable[..., Privacy]) -> None:
    """On the grid of the sums, and the same for the same key: no float is ever added."""
    privacy = private(Placement.CENTRAL)
    form = privacy.params.format
    assert isinstance(form, Rotated)
    assert not form.rotation
    off = noise_of_a_round(privacy, random=simulated_randomness(1))
    halves = (off * CLIP + TRUE) * 2 * form.scale
    assert halves == pytest.approx(np.rint(halves), abs=1e-3)
    assert (off == noise_of_a_round(privacy, random=simulated_randomness(1))).all()
    assert (off != noise_of_a_round(privacy, random=simulated_randomness(2))).mean() > 0.9
    assert (off != noise_of_a_round(privacy)).mean() > 0.9
    on_grid = np.arange(LENGTH) / (2 * form.scale)
    found = []
    for total in (on_grid, on_grid + 1e-6 / form.scale):  # what rounding of floats could leave
        add = privacy.noise_of_server(bytes)
        assert add is not None
        found.append(add(Result(total, 5, total / 5, (0, 1, 2, 3, 4))))
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("placement", [Placement.DISTRIBUTED, Placement.CENTRAL, Placement.LOCAL])
def test_epsilon_is_that_of_the_noise(
    placement: Placement, private: Callable[..., Privacy]
) -> None:
    """From the parameters alone, by the accountant; and as near the target as calibration is."""
    privacy = private(placement)
    assert 0.98 * 4 <= privacy.epsilon(2) <= 4
    assert privacy.epsilon(0) == 0
    assert privacy.epsilon(1) < privacy.epsilon(2) < privacy.epsilon(3)
    release, form = privacy.release, privacy.params.format
    assert release is not None
    assert isinstance(form, Rotated)
    if placement is Placement.CENTRAL:
        # Two vectors at the clip and of zeros, each rounded as badly as can be.
        apart = CLIP * form.scale + 1.5 * math.sqrt(LENGTH)
        assert release.bound >= apart**2
        assert release.bound == pytest.approx(apart**2, rel=1e-5)
        assert (release.honest, release.total) == (1, privacy.central_steps / 2**16)
    else:
        assert release.total == pytest.approx(privacy.honest * float(form.variance))
        assert release.bound == form.bound
    assert release.total == pytest.approx(privacy.multiplier**2 * release.bound)


def test_without_noise_nothing_is_promised(private: Callable[..., Privacy]) -> None:
    privacy = private(Placement.NONE)
    assert (privacy.epsilon(1), privacy.epsilon(0)) == (math.inf, 0)
    assert privacy.noise_of_server(bytes) is None


def test_every_client_counts_once(private: Callable[..., Privacy]) -> None:
    """However many examples it holds; and one without any is not there."""
    for placement in Placement:
        form = private(placement).params.format
        assert isinstance(form, Rotated)
        assert form.max_weight == 1
    everybody = FedAvg(MODEL, cohort(), rounds=1, privacy=private(Placement.NONE))
    (report,) = everybody
    assert report.survivors == (0, 1, 2, 3, 4, 5)
    assert report.refusal_codes == {6: Code.NO_INPUT}
    wanted = (TRUE + 0.004) / 6
    assert everybody.model[0] == pytest.approx(wanted, abs=1e-4)


def test_the_server_rate_multiplies_the_mean(private: Callable[..., Privacy]) -> None:
    slow, fast = (
        FedAvg(
            MODEL,
            cohort(),
            rounds=1,
            privacy=private(Placement.CENTRAL),
            random=simulated_randomness(3),
            optimizer=Average(rate),
        )
        for rate in (1.0, 2.5)
    )
    assert [*slow, *fast]
    assert fast.model[0] == pytest.approx(2.5 * slow.model[0])


def test_a_participant_pays_from_its_budget(private: Callable[..., Privacy]) -> None:
    """For each round before its input leaves; and joins no more when the budget is spent."""
    privacy = private(Placement.DISTRIBUTED)
    coordinator = Coordinator(MODEL, privacy.params, "word")
    budget = noise.MemoryBudget(epsilon=4, delta=1e-5)
    first = Participant(0, cohort()[0], privacy.params, "word", MODEL, budget=budget)
    others = [
        Participant(at, each, privacy.params, "word", MODEL) for at, each in enumerate(cohort())
    ]
    for number in range(2):
        offer, attempt, server = coordinator.open()
        joined = [each.join(offer, coordinator.model, attempt) for each in (first, *others[1:])]
        cohort_of_round = Cohort(
            server,
            {at: each[0] for at, each in enumerate(joined)},
            {at: each[1] for at, each in enumerate(joined)},
            skip_unusable=True,
        )
        cohort_of_round.play()
        coordinator.close(cohort_of_round.run.result)
        assert budget.spent == pytest.approx(privacy.epsilon(number + 1))
    offer, attempt, server = coordinator.open()
    with refused(ParameterError, Code.BUDGET):
        first.join(offer, coordinator.model, attempt)


def test_all_colluders_may_be_in_one_cohort() -> None:
    """A fraction of all clients: 4 of 40 are 4 of a sample of 20, too, not 2."""
    many = [Moves(3, 0.004) for _ in range(40)]
    whole, drawn = (
        private_params(
            *(many, MODEL),
            **{"epsilon": 4, "rounds": 2, "clip": CLIP, "corrupt": 0.1, "dropout": 0.1},
            sample=sample,
        )
        for sample in (None, 20)
    )
    assert whole.params.colluders == drawn.params.colluders == 4
    assert (whole.honest, drawn.honest) == (32, 14)
    assert corrupt_of_cohort(0.07, 100, 8) == 7 / 8  # though 0.07 * 100 is a little more than 7
    assert corrupt_of_cohort(0.01, 30, 20) == 1 / 20  # above 0 it is somebody, as without a sample
    with refused(ParameterError, Code.UNSAFE_FRACTIONS, match="may be in one cohort; draw more"):
        private_params(
            *(many, MODEL),
            **{"epsilon": 4, "rounds": 2, "clip": CLIP, "corrupt": 0.5, "dropout": 0.1},
            sample=10,
        )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "placement": ({"placement": "nowhere"}, "placement must be one of distributed, central"),
    "epsilon": ({"epsilon": 0}, "epsilon must be"),
    "large epsilon": ({"epsilon": 33}, "epsilon must be in"),
    "delta": ({"delta": 1.0}, "delta must be above 0 and below 1"),
    "rounds": ({"rounds": 0}, "rounds must be in"),
    "clip": ({"clip": math.nan}, "clip must be"),
    "corrupt alone": ({"corrupt": 0.1}, "together or not at all"),
    "scale": ({"scale": 0}, "scale must be"),
    "no clip": ({"clip": None}, "either clip, or a first one in adaptive"),
    "two clips": ({"adaptive": QuantileClip(1.0)}, "either clip, or a first one in adaptive"),
    "adaptive": ({"clip": None, "adaptive": 1.0}, "adaptive must be a QuantileClip, not 1.0"),
    "adaptive of the server": (
        {"clip": None, "adaptive": QuantileClip(1.0), "placement": "central"},
        "is for distributed noise, and placement is central",
    ),
    "bits without a rule": ({"bit_noise": 3.0}, "bit_noise is for adaptive"),
    "bits without noise": (
        {"clip": None, "adaptive": QuantileClip(1.0), "bit_noise": 0},
        "bit_noise is for adaptive, finite and above 0",
    ),
    "bits with too little": (
        {"clip": None, "adaptive": QuantileClip(1.0), "bit_noise": 0.1},
        "bit_noise must be above",
    ),
    "scale of the server": ({"scale": 9.0, "placement": "central"}, "placement is central"),
}


@pytest.mark.parametrize("what", WRONG)
def test_impossible_privacy_is_refused(what: str) -> None:
    changed, message = WRONG[what]
    options = {"epsilon": 4, "rounds": 2, "clip": CLIP} | changed
    with refused(ParameterError, Code.ARGUMENT, match=message):
        private_params(cohort(), MODEL, **options)
    with refused(ParameterError, Code.ARGUMENT, match="at least three clients"):
        private_params(cohort()[:2], MODEL, epsilon=1, rounds=1, clip=1)


def test_noise_that_does_not_fit_is_refused(private: Callable[..., Privacy]) -> None:
    """More rounds than it is for, weights, two sets of parameters, a rate of nothing."""
    privacy = private(Placement.DISTRIBUTED)
    with refused(ParameterError, Code.ARGUMENT, match="as secagg.fl.private_params makes it"):
        FedAvg(MODEL, cohort(), rounds=2, privacy=privacy.params)  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT, match="for 2 rounds, and 3 would tell more"):
        FedAvg(MODEL, cohort(), rounds=3, privacy=privacy)
    with refused(ParameterError, Code.ARGUMENT, match="leave params out"):
        FedAvg(MODEL, cohort(), rounds=2, privacy=privacy, params=privacy.params)
    with refused(ParameterError, Code.ARGUMENT, match="max_weight must be 1 with noise"):
        dataclasses.replace(privacy.params.format, max_weight=13)
    for rate in (0.0, -1.0, math.nan, math.inf, "1"):
        with refused(ParameterError, Code.ARGUMENT, match="^rate must be"):
            Average(rate)  # type: ignore[arg-type]
    with refused(ParameterError, Code.HEADROOM):
        private_params(cohort(), MODEL, epsilon=0.001, rounds=10**6, clip=1, placement="central")
