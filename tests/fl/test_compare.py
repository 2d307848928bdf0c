"""The bound of the docstring holds, and bugs planted in the secure path break it."""

import numpy as np
import pytest
from levels import amount, runs_at
from secagg.fl import (
    MLP,
    Average,
    Descent,
    FedAvg,
    LocalClient,
    Participant,
    Score,
    Softmax,
    compare_training,
    fedavg_params,
    load,
    plain_fedavg,
    quantization_bound,
    simulated_randomness,
)
from secagg.fl.compare import max_abs_difference, norm, rounding_allowance

from secagg import ClippingWarning, FixedPoint, Integers, ParameterError, Params, Phase

ROUNDS = 6
DROPS = [
    {1: Phase.MASKED_INPUT},
    {},
    dict.fromkeys(range(5), Phase.SHARE_KEYS),
    {},
    {2: Phase.UNMASK},
    {},
]


@pytest.fixture(scope="module")
def data():
    return load("breast_cancer", 8, seed=1)


def run(data, architecture=Softmax(30, 2), descent=Descent(), clip=4.0, bits=20, fake=None):  # noqa: B008
    """Rounds of secure averaging, compared; `fake` replaces the parameters that are compared to."""
    clients = [LocalClient(architecture, split, descent) for split in data.clients]
    start = architecture.init(0)
    params = fedavg_params(clients, start, clip, bits)
    fed = FedAvg(
        start, clients, params=params, rounds=ROUNDS, drops=DROPS, random=simulated_randomness(0)
    )
    reports = list(fed)
    pooled = LocalClient(architecture, data.pooled, descent)
    found = compare_training(
        start, fed.model, reports, clients, pooled, fake or params, lambda m: Score(norm(m), 0.0)
    )
    return found, reports, fed.model


def test_secure_stays_within_the_bound_of_plain(data):
    found, reports, model = run(data)
    assert [report.failed for report in reports] == [False, False, True, False, False, False]
    assert 0 < found.max_abs_difference <= found.bound
    step = 8 / (2**20 - 1)
    assert found.bound == pytest.approx(5 * step * np.sqrt(62), rel=1e-3)  # five rounds succeeded
    assert found.bound_note == ""
    assert found.secure.loss == norm(model)
    assert len(found.plain_scores) == ROUNDS
    assert found.plain == found.plain_scores[-1]
    assert found.plain_scores[2] == found.plain_scores[1]  # the failed round


@pytest.mark.parametrize("bits", [4, 32, 8, 12, 16, 28][: amount("widths of a training's numbers")])
def test_the_bound_holds_for_other_bits(data, bits):
    found, _, _ = run(data, bits=bits)
    assert found.max_abs_difference <= found.bound


@runs_at("trainings like others")
def test_the_difference_is_of_the_order_of_the_step(data):
    """Not only within the bound, which is worst case: it shrinks as the grid does."""
    coarse, fine = (run(data, bits=bits)[0].max_abs_difference for bits in (10, 20))
    assert 2**8 < coarse / fine < 2**12


def test_no_bound_for_a_network_or_a_rate_too_high(data):
    for architecture, descent in [
        (MLP(30, 2, hidden=3), Descent(epochs=1)),
        (Softmax(30, 2), Descent(rate=2.5, epochs=1)),
    ]:
        found, _, _ = run(data, architecture, descent)
        assert found.bound is None
        assert "no bound is proved" in found.bound_note
        assert found.max_abs_difference < 1e-3


def test_no_bound_after_clipping(data):
    with pytest.warns(ClippingWarning):
        found, reports, _ = run(data, clip=0.1)
    clipped = sum(report.clipped for report in reports if not report.failed)
    assert found.bound is None
    assert found.bound_note == f"{clipped} values were clipped"


# -- planted bugs ---------------------------------------------------------------------------


class DropsWeight(Participant):
    def _input(self, model, sent, form):
        return super()._input(model, sent, form)[0], 1


class BiasedRounding(Participant):
    """Sixteen levels too high, every time."""

    def _input(self, model, sent, form):
        update, weight = super()._input(model, sent, form)
        return update + 16 * FixedPoint(clip=4.0).step, weight


class CoarseGrid(Participant):
    """Rounds to 12 bits before the 20 that were promised."""

    def _input(self, model, sent, form):
        update, weight = super()._input(model, sent, form)
        step = FixedPoint(clip=4.0, bits=12).step
        return np.floor(update / step) * step, weight


class StaleModel(Participant):
    """The update is relative to another model than the global one."""

    def _input(self, model, sent, form):
        update, weight = super()._input(model, sent, form)
        return update + 1e-2 * self._client.train(model)[1][0], weight


@pytest.mark.parametrize("planted", [DropsWeight, BiasedRounding, CoarseGrid, StaleModel])
def test_planted_bugs_break_the_bound(data, monkeypatch, planted):
    monkeypatch.setattr("secagg.fl.fedavg.Participant", planted)
    found, _, _ = run(data)
    assert found.max_abs_difference > found.bound


def test_claiming_finer_bits_than_used_breaks_the_bound(data):
    clients = [LocalClient(Softmax(30, 2), split, Descent()) for split in data.clients]
    claimed = fedavg_params(clients, Softmax(30, 2).init(0), 4.0, 20)
    found, _, _ = run(data, bits=8, fake=claimed)
    assert found.max_abs_difference > found.bound


# -- the parts ------------------------------------------------------------------------------


class Fixed:
    def __init__(self, examples, value):
        self.examples, self.value = examples, value

    def train(self, model):
        return [np.full_like(array, self.value) for array in model]


def test_plain_fedavg_is_the_weighted_mean():
    clients = [Fixed(1, 0.0), Fixed(3, 4.0), Fixed(6, 1.0)]
    start = [np.array([7.0])]
    models = list(plain_fedavg(start, clients, [(), (0, 1), (1, 2), ()]))
    assert [float(model[0][0]) for model in models] == [7.0, 3.0, 2.0, 2.0]


def test_a_server_rate_goes_beyond_the_mean(data):
    """Of 7 + 3 (mean - 7); and no bound is claimed, as such a step may drive models apart."""
    clients, start = [Fixed(1, 0.0), Fixed(3, 4.0)], [np.array([7.0])]
    (model,) = plain_fedavg(start, clients, [(0, 1)], optimizer=Average(3.0))
    assert float(model[0][0]) == 7.0 + 3 * (3.0 - 7.0)
    client = LocalClient(Softmax(30, 2), data.pooled, Descent())
    start = Softmax(30, 2).init(0)
    params = fedavg_params([client] * 3, start)
    found = compare_training(
        start, start, [], [client] * 3, client, params, lambda m: Score(norm(m), 0.0), Average(3.0)
    )
    assert (found.bound, "rate of the server" in found.bound_note) == (None, True)


def test_compare_of_no_rounds_is_of_the_start(data):
    client = LocalClient(Softmax(30, 2), data.pooled, Descent())
    start = [np.ones((30, 2)), np.ones(2)]
    params = fedavg_params([client] * 3, start)
    found = compare_training(
        start, start, [], [client] * 3, client, params, lambda m: Score(norm(m), 0.0)
    )
    assert found.plain == found.central == found.secure
    assert (found.max_abs_difference, found.bound) == (0.0, 0.0)
    params = fedavg_params([client] * 3, start, rotate=True)
    found = compare_training(
        start, start, [], [client] * 3, client, params, lambda m: Score(norm(m), 0.0)
    )
    assert found.bound is None
    assert "some of their values are clipped" in found.bound_note


def test_norms_by_hand():
    one, other = [np.array([3.0, 0.0]), np.array([[4.0]])], [np.zeros(2), np.zeros((1, 1))]
    assert norm(one) == 5.0
    assert max_abs_difference(one, other) == 4.0


def test_quantization_bound_needs_a_grid():
    assert quantization_bound(Params(3, 9, FixedPoint(1.0, bits=1)), 4) == 4 * 2 * 3
    with pytest.raises(ParameterError, match="FixedPoint"):
        quantization_bound(Params(3, 9, Integers(0, 1)), 4)
    with pytest.raises(ParameterError, match="params must be a Params, not None"):
        quantization_bound(None, 4)
    with pytest.raises(ParameterError, match="rounds must be an int"):
        quantization_bound(Params(3, 9, FixedPoint(1.0)), "4")
    with pytest.raises(ParameterError, match="optimizer must be an Optimizer, not 'adam'"):
        list(plain_fedavg([np.zeros(1)], [], [], "adam"))
    with pytest.raises(ParameterError, match="a survivor must be in 0"):
        list(plain_fedavg([np.zeros(1)], [], [[0]]))


def test_float_rounding_is_a_thousandth_of_the_bound_at_20_bits():
    for name, classes in (("breast_cancer", 2), ("digits", 10)):
        data = load(name)
        architecture = Softmax(data.features, classes)
        clients = [LocalClient(architecture, split, Descent()) for split in data.clients]
        params = fedavg_params(clients, architecture.init(0))
        allowance = rounding_allowance(params, 20, clients, magnitude=50.0)
        assert 0 < allowance < quantization_bound(params, 20) / 1000
