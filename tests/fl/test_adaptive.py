"""A clip that follows a quantile of the norms, learned from secure sums of bits."""

import dataclasses
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from levels import runs_at
from refusals import refused
from secagg.fl import (
    AdaptiveClip,
    Average,
    BufferedParticipant,
    Coordinator,
    Descent,
    FedAvg,
    FedBuff,
    LocalClient,
    Participant,
    Placement,
    Privacy,
    QuantileClip,
    Softmax,
    accuracy,
    load,
    private_params,
    simulated_randomness,
)

import secagg
from secagg import (
    Code,
    Field,
    FixedPoint,
    Layout,
    ParameterError,
    Params,
    RangeError,
    Result,
    Rotated,
    noise,
)
from secagg.encoding.choice import codec_for


@pytest.mark.parametrize(("start", "quantile"), [(0.01, 0.5), (50.0, 0.5), (1.0, 0.8)])
def test_the_clip_comes_to_the_quantile(start: float, quantile: float) -> None:
    norms = np.random.default_rng(4).lognormal(0.0, 0.5, 10)
    updates = [norm * np.array([0.6, 0.8]) for norm in norms]
    clip = QuantileClip(start, quantile)
    for _ in range(80):
        clip = clip.after(float(np.mean([clip.bit(update) for update in updates])))
    below = float(np.mean(norms <= clip.clip * 1.2)), float(np.mean(norms <= clip.clip / 1.2))
    assert below[1] - 0.1 <= quantile <= below[0] + 0.1


def test_the_bits_are_summed_securely() -> None:
    """As a metric, by itself or beside a model."""
    form = secagg.FixedPoint(clip=4.0, bits=20)
    layout = secagg.ModelLayout.of({}, form, cohort=3, metrics={"within": secagg.Range(0, 1)})
    bits = [layout.pack({}, None, {"within": bit}) for bit in (1.0, 0.0, 1.0)]
    _, metrics = layout.unpack(secagg.secure_sum(bits, form), {})
    assert QuantileClip(1.0).after(metrics["within"]).clip == pytest.approx(np.exp(-0.2 / 6))


def test_one_step() -> None:
    clip = QuantileClip(2.0, 0.5, 0.2)
    assert clip.bit(np.full((2, 2), 1.0)) == 1.0  # the norm is the clip
    assert clip.bit(np.full((2, 2), np.nextafter(1.0, 2))) == 0.0
    assert (
        clip.bit([np.ones((2, 1), np.float32), {"b": np.ones(2)}]) == 1.0
    )  # the arrays of a model
    assert clip.bit([np.ones((2, 1)), np.ones(3)]) == 0.0
    assert clip.bit(np.full(3, 1e200)) == 0.0  # whose norm is beyond all floats
    assert clip.after(1.0).clip == pytest.approx(2.0 * np.exp(-0.1))
    assert clip.after(0.5) == clip
    assert clip.after(-0.3).clip == clip.after(0.0).clip == pytest.approx(2.0 * np.exp(0.1))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *[("clip", each) for each in (0, -1.0, float("nan"), float("inf"), "1", None, True, 1j)],
        *[("quantile", each) for each in (0, 1, -0.5, float("nan"))],
        *[("rate", each) for each in (0, 1.5, float("nan"))],
    ],
)
def test_impossible_clips_are_refused(name: str, wrong: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT, match=name):
        QuantileClip(**{"clip": 1.0} | {name: wrong})
    with refused(ParameterError, Code.ARGUMENT, match=name):
        QuantileClip(**{"clip": 1.0} | {name: 10**5000})
    for bad in (float("nan"), float("inf")):
        with refused(RangeError, Code.NOT_FINITE):
            QuantileClip(1.0).after(bad)
        with refused(RangeError, Code.NOT_FINITE):
            QuantileClip(1.0).bit([bad])


@pytest.mark.parametrize("wrong", [None, "ab", 1j, {1, 2}, [np.ones(2), None], {"within": 1.0j}])
def test_what_is_no_update_or_mean_is_refused(wrong: Any) -> None:
    with refused(
        RangeError, Code.DTYPE, match="an update: .*: give one array, or the arrays of a model"
    ):
        QuantileClip(1.0).bit(wrong)
    with refused(RangeError, Code.DTYPE, match=r'give metrics\["within"\]'):
        QuantileClip(1.0).after(wrong)


# -- with noise ----------------------------------------------------------------------------

LENGTH = 15
MODEL = [np.zeros((3, 5))]
RULE = QuantileClip(0.5, 0.6, 0.4)
Z = 0.01  # so little noise that what comes out can be told beforehand


class Moves:
    """A client whose training moves all numbers alike: the norm of its update is known."""

    examples = 1

    def __init__(self, norm: float) -> None:
        self.amount = norm / math.sqrt(LENGTH)

    def train(self, model: list[Any]) -> list[Any]:
        return [array + self.amount for array in model]


NORMS = (0.1, 0.2, 0.3, 0.45, 0.7, 2.0, 7.0)
COHORT = [Moves(norm) for norm in NORMS]


def adaptive(multiplier: float = Z, bit_noise: float = 0.02) -> AdaptiveClip:
    """A rule over parameters that are not calibrated: hardly any noise, and a fine grid."""
    levels = 2**15
    bound = math.ceil((levels + math.sqrt(LENGTH + 1)) ** 2)
    form = Rotated(
        clip=0.5,
        scale=levels / 0.5,
        peak=levels,
        bound=bound,
        tail=2**20,
        noise=noise.Noise.SKELLAM,
        variance_steps=math.ceil(multiplier**2 * bound / 7 * 2**16),
    )
    params = Params(cohort=7, length=LENGTH + 1, format=form)
    return AdaptiveClip.of(RULE, params, multiplier, bit_noise, 8)


def private(rule: AdaptiveClip) -> Privacy:
    return Privacy(Placement.DISTRIBUTED, rule.params, 8.0, 1e-5, 8, Z, 7, 1.0, None, adaptive=rule)


def test_bits_and_updates_share_the_noise() -> None:
    """As the paper divides it, with bits of +- 1/2: both together are as noisy as was asked for."""
    for z, spread in ((2.85, 5.0), (0.5, 0.3), (1.0, 500.0)):
        rule = adaptive(z, spread)
        updates = z * rule.stretch  # in units of the clip
        assert updates == pytest.approx((z**-2 - (2 * spread) ** -2) ** -0.5)
        assert z * rule.stretch / (2 * rule.height) == pytest.approx(spread)  # in bits
    with refused(ParameterError, Code.ARGUMENT, match="bit_noise must be above 0.5"):
        adaptive(1.0, 0.5)


def test_every_clip_has_the_same_integers() -> None:
    """B, the noise and the levels of a whole vector: so epsilon is the same in each round."""
    rule = adaptive()
    first = rule.params.format
    assert isinstance(first, Rotated)
    assert first.clip == pytest.approx(0.5 * rule.stretch)
    for clip in (0.5, 0.3, 1e-6, 1e6):
        params = rule.params_for(QuantileClip(clip))
        form = params.format
        assert isinstance(form, Rotated)
        assert form.clip * form.scale == pytest.approx(first.clip * first.scale, rel=1e-12)
        same = dataclasses.replace(form, clip=first.clip, scale=first.scale)
        assert dataclasses.replace(params, format=same) == rule.params
        assert noise.Release.of(params) == noise.Release.of(rule.params)
        for norm in (0.0, 0.5, 0.999, 1.5, 1e200):
            vector = rule.pack(np.full(LENGTH, norm * clip / math.sqrt(LENGTH)), clip)
            assert np.linalg.norm(vector) <= form.clip * (1 + 1e-12)
            assert np.linalg.norm(vector[:-1]) == pytest.approx(clip * min(norm, 1.0))
            assert vector[-1] == pytest.approx((1 if norm <= 1 else -1) * rule.height * clip)
            mean, after = rule.unpack(vector, QuantileClip(clip, 0.6, 0.4))
            assert (mean == vector[:-1]).all()
            assert after.clip == pytest.approx(clip * math.exp(-0.4 * ((norm <= 1) - 0.6)))


@pytest.mark.parametrize("kind", [FedAvg, FedBuff])
def test_the_clip_of_a_training_follows_the_bits(kind: type) -> None:
    """The updates are clipped to it, and nobody's norm beyond that counts."""
    rule = adaptive()
    options: dict[str, Any] = {"rounds": 5}
    if kind is FedBuff:  # how many updates a client may give does not matter here
        rule, options = dataclasses.replace(rule, rounds=0), {"buffer": 7, "sums": 3}
    options["privacy"] = private(rule)
    fed = kind(MODEL, COHORT, **options)
    clip, moved = 0.5, 0.0
    for report in fed:
        assert report.clip == pytest.approx(clip, rel=0.02)
        assert report.shortened == sum(norm > report.clip for norm in NORMS)
        moved += float(np.mean(np.minimum(NORMS, report.clip))) / math.sqrt(LENGTH)
        assert fed.model[0] == pytest.approx(moved, abs=report.round * 0.01)
        clip *= math.exp(-0.4 * (np.mean(np.array(NORMS) <= clip) - 0.6))
    assert report.clip != 0.5


def test_a_training_goes_on_with_the_clip_that_it_had(tmp_path: Path) -> None:
    def run(rounds: int, path: Path | None) -> FedAvg:
        fed = FedAvg(
            *(MODEL, COHORT),
            rounds=rounds,
            privacy=private(adaptive()),
            random=simulated_randomness(3),
            checkpoint=path,
        )
        list(fed)
        return fed

    whole, path = run(2, None), tmp_path / "training"
    run(1, path)
    halves = run(2, path)
    assert [each.clip for each in whole.reports] == [each.clip for each in halves.reports]
    np.testing.assert_array_equal(whole.model[0], halves.model[0])
    other = AdaptiveClip.of(QuantileClip(0.5, 0.3), adaptive().params, Z, 0.02, 8)
    with refused(ParameterError, Code.ARGUMENT, match="its clip is"):
        FedAvg(MODEL, COHORT, rounds=4, privacy=private(other), checkpoint=path)


def test_a_clip_that_no_bits_lead_to_is_refused() -> None:
    """A client knows the rule, the first clip and the number of rounds, and no bit."""
    rule = adaptive()
    first = Participant(0, COHORT[0], rule.params, "word", MODEL, adaptive=rule)
    buffered = BufferedParticipant(0, COHORT[0], rule.params, "word", MODEL, adaptive=rule)
    buffered.begin(MODEL)
    assert buffered.train()
    coordinator = Coordinator(MODEL, rule.params, "word", adaptive=rule)
    low, high = 0.5 * math.exp(-0.4 * 0.4 * 8), 0.5 * math.exp(0.4 * 0.6 * 8)

    for clip in (low, 0.5, 0.7, high):
        coordinator.clip = dataclasses.replace(RULE, clip=clip)
        offer, attempt, _ = coordinator.open()
        first.join(offer, MODEL, attempt)
    for_ever = dataclasses.replace(rule, rounds=2**32)
    assert for_ever.accept(rule.params_for(QuantileClip(low / 2)))[1] == pytest.approx(low / 2)
    for clip in (low / 1.001, high * 1.001):
        coordinator.clip = dataclasses.replace(RULE, clip=clip)
        offer, attempt, _ = coordinator.open()
        with refused(ParameterError, Code.POLICY_FORMAT, match="whatever the bits"):
            first.join(offer, MODEL, attempt)
        offer, attempt, _ = coordinator.open_buffer([MODEL], [0], range(7))
        with refused(ParameterError, Code.POLICY_FORMAT, match="whatever the bits"):
            buffered.join(offer, attempt, [0])
    coordinator.clip = RULE
    good = rule.params.format
    assert isinstance(good, Rotated)
    for changed in (
        {"scale": good.scale * 2.0**-20},
        {"bound": good.bound + 1},
        {"variance_steps": good.variance_steps - 1},
        {"clip": good.clip * 0.99},  # whose grid has fewer levels for a vector
    ):
        form = dataclasses.replace(good, **changed)
        offer, attempt, server = coordinator.open()
        lie = dataclasses.replace(rule.params, format=form).round(server.context)
        with refused(ParameterError, Code.POLICY_PARAMS, match="not those agreed on"):
            first.join(lie.encode(), MODEL, attempt)
    offer, attempt, server = coordinator.open()
    plain = dataclasses.replace(rule.params, format=FixedPoint(1.0)).round(server.context)
    with refused(ParameterError, Code.POLICY_FORMAT, match="not one with a clip that is an L2"):
        first.join(plain.encode(), MODEL, attempt)


def test_another_clip_is_no_other_input() -> None:
    """Else a server that lies would get an update once for each clip."""
    rule, contexts = adaptive(), set()
    for clip in (0.4, 0.5, 0.6):
        coordinator = Coordinator(MODEL, rule.params, "word", adaptive=rule)
        coordinator.clip = dataclasses.replace(RULE, clip=clip)
        contexts.add(coordinator.open()[2].context)
    assert len(contexts) == 1


def test_a_mean_is_read_with_the_clip_of_its_round() -> None:
    """Also if another one, which was open at the same time, has changed the clip meanwhile."""
    rule, after = adaptive(), []
    for overlap in (False, True):
        coordinator = Coordinator(MODEL, rule.params, "word", adaptive=rule, attempts=None)
        opened = [coordinator.open()[2] for _ in range(1 + overlap)]
        assert coordinator.clip is not None
        packed = rule.pack(np.full(coordinator.layout.length, 1e-3), coordinator.clip.clip)
        for server in opened:
            coordinator.close(Result(packed, 1, packed, (0,)), server=server)
        after.append(coordinator.clip.clip)
    assert after[0] == after[1] != rule.start.clip


# -- on data -------------------------------------------------------------------------------


@runs_at("trainings like others")
@pytest.mark.skipif(not find_spec("dp_accounting"), reason="dp-accounting is not installed")
def test_a_start_that_is_wrong_is_mended_and_a_good_one_not_spoilt() -> None:
    """Epsilon 8 on digits, 20 rounds of 100 clients: sums with the real noise, and no masks."""
    found = {
        (clip, rate): trained(clip, rate)
        for clip in (0.025, 0.5, 10.0)
        for rate in ((0.0, 0.2) if clip == 0.5 else (0.0, 0.2, 1.0))
    }
    assert found[0.5, 0.0] > 89, found
    assert found[0.5, 0.2] > found[0.5, 0.0] - 1.5, found
    assert found[0.025, 0.0] > 80, found
    assert found[0.025, 0.2] > 82, found
    assert found[0.025, 1.0] > found[0.025, 0.0] + 3, found
    assert found[10.0, 0.0] < 40, found
    assert 45 < found[10.0, 0.2] < 70, found  # a factor of e^-0.1 a round at most
    assert found[10.0, 1.0] > 75, found


def trained(clip: float, rate: float) -> float:
    """Returns the accuracy in percent, of two splits; with rate 0 the clip is fixed."""
    accuracies = []
    for seed in range(2):
        data = load("digits", 100, seed, split="even", by_row=True)
        kind = Softmax(data.features, data.classes)
        clients = [LocalClient(kind, each, Descent(epochs=2), seed) for each in data.clients]
        start = kind.init(seed)
        privacy = private_params(
            *(clients, start),
            epsilon=8,
            rounds=20,
            corrupt=0.13,
            dropout=0.2,
            clip=None if rate else clip,
            adaptive=QuantileClip(clip, rate=rate) if rate else None,
        )
        rule, random = privacy.adaptive, simulated_randomness(seed)
        if rule is not None:
            assert privacy.factor == pytest.approx(1.23 * rule.stretch, rel=0.02)
            assert rule.stretch == pytest.approx(1.043, abs=0.001)
        assert 0.98 * 8 <= privacy.epsilon(20) <= 8
        coordinator = Coordinator(
            start, privacy.params, "word", optimizer=Average(3.0), adaptive=rule
        )
        for number in range(20):
            params = coordinator.open()[2].round.params
            codec, field = codec_for(params, random(number, 100)(16)), Field(params.field_bits)
            total = field.zeros(params.vector_length)
            flatten, model = Layout.of(start).flatten, coordinator.model
            base = np.asarray(flatten(model))
            for index, client in enumerate(clients):
                update = (
                    np.asarray(Layout.of(start).flatten(client.train(coordinator.model))) - base
                )
                if rule is not None:
                    update = rule.pack(update, rule.accept(params)[1])
                vector = codec.encode(update, 1, random(number, index)).vector
                field.add(total, vector, out=total)
            sums = codec.decode(total, 100)
            coordinator.close(Result(sums.total, sums.weight, sums.mean, tuple(range(100))))
        accuracies.append(100 * accuracy(kind, coordinator.model, data.test))
    return float(np.mean(accuracies))
