"""Gradients against finite differences, the smoothness constant, local training, dropouts."""

import numpy as np
import pytest
from refusals import refused
from secagg.fl import MLP, Descent, LocalClient, Softmax, Split, accuracy, draw_drops, loss

from secagg import Code, Mode, ParameterError, RangeError

ARCHITECTURES = {"softmax": Softmax(5, 3), "mlp": MLP(5, 3, hidden=4)}


def some_data(examples=12, features=5, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(examples, features))
    x /= np.maximum(1, np.linalg.norm(x, axis=1, keepdims=True))
    return Split(x, rng.integers(classes, size=examples))


def some_model(architecture, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=array.shape) for array in architecture.init(seed)]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradient_is_the_derivative_of_the_loss(name):
    architecture, data = ARCHITECTURES[name], some_data()
    model = some_model(architecture)
    gradient = architecture.gradient(model, data)
    assert [g.shape for g in gradient] == [a.shape for a in model]
    h = 1e-6
    for array, slopes in zip(model, gradient, strict=True):
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + h
            up = loss(architecture, model, data)
            array[place] = kept - h
            down = loss(architecture, model, data)
            array[place] = kept
            assert slopes[place] == pytest.approx((up - down) / (2 * h), abs=1e-8)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_init_is_reproducible_and_shaped(name):
    architecture = ARCHITECTURES[name]
    one, same = architecture.init(4), architecture.init(4)
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.float64
    assert architecture.logits(one, some_data().x).shape == (12, 3)


def test_mlp_seeds_differ():
    assert not np.array_equal(MLP(5, 3).init(1)[0], MLP(5, 3).init(2)[0])


def test_loss_and_accuracy_by_hand():
    architecture = Softmax(1, 2)
    data = Split(np.array([[1.0], [-1.0], [1.0]]), np.array([1, 0, 0]))
    model = [np.array([[0.0, np.log(3)]]), np.zeros(2)]  # odds 3 to 1 for the sign of x
    assert loss(architecture, model, data) == pytest.approx(-np.log([0.75, 0.75, 0.25]).mean())
    assert accuracy(architecture, model, data) == pytest.approx(2 / 3)


def test_loss_stays_finite_for_huge_logits():
    model = [np.full((1, 2), 1e4) * [[1, -1]], np.zeros(2)]
    data = Split(np.array([[1.0]]), np.array([1]))
    assert loss(Softmax(1, 2), model, data) == pytest.approx(2e4)
    assert np.isfinite(Softmax(1, 2).gradient(model, data)[0]).all()
    for architecture in (Softmax(1, 2), MLP(1, 2)):
        with pytest.raises(RangeError, match=r"labels must be in 0\.\.1, and are in 2\.\.2"):
            architecture.gradient(architecture.init(0), Split(data.x, np.array([2])))


def test_smoothness_bounds_the_hessian():
    """L is at least the largest eigenvalue of the Hessian, taken by finite differences."""
    architecture, data = ARCHITECTURES["softmax"], some_data(examples=3)
    worst = 0.0
    for seed in range(5):
        model = some_model(architecture, seed) if seed else architecture.init(0)
        columns = []
        for array in model:
            for place in np.ndindex(array.shape):
                kept, sides = array[place], []
                for h in (1e-5, -1e-5):
                    array[place] = kept + h
                    slopes = architecture.gradient(model, data)
                    sides.append(np.concatenate([g.reshape(-1) for g in slopes]))
                array[place] = kept
                columns.append((sides[0] - sides[1]) / 2e-5)
        hessian = np.array(columns)
        worst = max(worst, np.linalg.eigvalsh((hessian + hessian.T) / 2).max())
    limit = architecture.smoothness(data)
    assert 0.1 * limit < worst <= limit
    assert MLP(5, 3).smoothness(data) is None


def distance(one, other):
    return np.sqrt(sum(((a - b) ** 2).sum() for a, b in zip(one, other, strict=True)))


@pytest.mark.parametrize("seed", range(5))
def test_training_at_up_to_two_over_l_is_non_expansive(seed):
    architecture, data = ARCHITECTURES["softmax"], some_data()
    rate = 2 / architecture.smoothness(data)
    client = LocalClient(architecture, data, Descent(rate, epochs=3, batch=5), seed)
    assert client.non_expansive
    one, other = some_model(architecture, seed), some_model(architecture, seed + 100)
    after = distance(client.train(one), client.train(other))
    assert after <= distance(one, other) * (1 + 1e-12)


def test_non_expansive_is_not_claimed_without_a_proof():
    softmax, data = ARCHITECTURES["softmax"], some_data()
    rate = 2.001 / softmax.smoothness(data)
    assert not LocalClient(softmax, data, Descent(rate)).non_expansive
    assert not LocalClient(ARCHITECTURES["mlp"], data, Descent(1e-3)).non_expansive


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_training_is_a_function_of_the_model_and_leaves_it_alone(name):
    architecture, data = ARCHITECTURES[name], some_data()
    client = LocalClient(architecture, data, Descent(0.5, epochs=30, batch=5))
    model = architecture.init(1)
    kept = [array.copy() for array in model]
    first, second = client.train(model), client.train(model)
    for a, b, before, now in zip(first, second, kept, model, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(before, now)
    assert loss(architecture, first, data) < loss(architecture, model, data) - 0.1
    other = LocalClient(architecture, data, client.descent, seed=1)
    assert distance(first, other.train(model)) > 0  # another order of batches


def test_steps_count_gradients():
    class Counting(Softmax):
        calls = 0

        def gradient(self, model, data):
            Counting.calls += 1
            return super().gradient(model, data)

    client = LocalClient(Counting(5, 3), some_data(), Descent(0.1, epochs=4, batch=5))
    client.train(client.architecture.init(0))
    assert (Counting.calls, client.steps, client.examples) == (12, 12, 12)


def test_impossible_training_is_refused():
    """Each argument by its name, whatever is given in its place."""
    for name, values in {
        "rate": (0, float("nan"), "0.1", None, -1, 1e400, [0.1]),
        "epochs": (0, None, 1.5, "2", True),
        "batch": (0, None, np.zeros(2)),
        "momentum": (1.0, -0.1, None, "0.9"),
        "proximal": (-1, None, float("inf")),
        "adam": (None, "yes"),
    }.items():
        for value in values:
            with refused(ParameterError, Code.ARGUMENT, match=f"^{name} must be"):
                Descent(**{name: value})
    softmax, data, model = Softmax(5, 3), some_data(), Softmax(5, 3).init(0)
    for change in ({"architecture": Softmax}, {"data": data.x}, {"descent": 0.1}, {"seed": -1}):
        given = {"architecture": softmax, "data": data, "descent": Descent(), **change}
        with refused(ParameterError, Code.ARGUMENT, match=f"^{next(iter(change))} must be"):
            LocalClient(**given)
    for make in (Softmax, MLP):
        for sizes, match in (((0, 3), "features"), ((5, 1), "classes"), ((None, 2), "features")):
            with refused(ParameterError, Code.ARGUMENT, match=f"^{match} must be an int in"):
                make(*sizes)
    with refused(ParameterError, Code.ARGUMENT, match="^hidden must be"):
        MLP(5, 3, hidden=2.5)
    with refused(ParameterError, Code.ARGUMENT, match="^seed must be an int from 0, not -1"):
        MLP(5, 3).init(-1)
    for score in (loss, accuracy):
        for given, code, match in (
            ((Softmax, model, data), Code.ARGUMENT, "^architecture must be a kind of model"),
            ((softmax, model, data.x), Code.ARGUMENT, "^data must be a Split"),
            ((softmax, None, data), Code.SHAPE, "^the model does not fit Softmax.*TypeError"),
            ((Softmax(5, 2), Softmax(5, 2).init(0), data), Code.OUT_OF_RANGE, r"in 0\.\.1, and"),
        ):
            kind = RangeError if code == Code.OUT_OF_RANGE else ParameterError
            with refused(kind, code, match=match):
                score(*given)


@pytest.mark.parametrize("mode", list(Mode))
def test_dropouts_have_the_rate_and_every_phase(mode):
    rng = np.random.default_rng(0)
    for change in (
        {"rng": None},
        {"clients": 2.5},
        {"rate": "0.1"},
        {"rate": None},
        {"mode": "malicious"},
    ):
        with refused(ParameterError, Code.ARGUMENT, match=f"{next(iter(change))} must be"):
            draw_drops(**{"rng": rng, "clients": 3, "rate": 0.1, "mode": mode} | change)
    rounds = [draw_drops(rng, 10, 0.3, mode) for _ in range(2000)]
    assert sum(map(len, rounds)) / 20_000 == pytest.approx(0.3, abs=0.02)
    phases = [phase for drops in rounds for phase in drops.values()]
    assert set(phases) == set(mode.phases)
    for phase in mode.phases:
        share = phases.count(phase) / len(phases)
        assert share == pytest.approx(1 / len(mode.phases), abs=0.02)
    parties = [party for drops in rounds for party in drops]
    assert min(parties.count(p) for p in range(10)) / 2000 == pytest.approx(0.3, abs=0.04)


def test_dropouts_at_the_edges():
    rng = np.random.default_rng(0)
    assert draw_drops(rng, 10, 0.0, Mode.MALICIOUS) == {}
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(ParameterError, match="dropout rate"):
            draw_drops(rng, 10, rate, Mode.MALICIOUS)
