"""Models of scikit-learn, PyTorch and Keras are averaged as their plain training would be.

Frameworks that are not installed are skipped by name; `nox -s torch` has them.
"""

import importlib.util
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from documents import programs
from levels import runs_at
from refusals import refused
from secagg.fl import (
    FedAvg,
    ModelClient,
    arrays_of,
    fedavg_params,
    into,
    keras_client,
    sklearn_client,
    torch_client,
)

from secagg import Code, ParameterError

SIZES = 30, 50, 20
CLASSES = ["a", "b", "c"]


def some_rows(seed: int = 0, kinds: int = 2) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns rows and labels of three clients, in bunches that a line parts."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(kinds, 4))
    found = []
    for size in SIZES:
        labels = rng.integers(kinds, size=size)
        found.append((centres[labels] + 0.4 * rng.normal(size=(size, 4)), labels))
    return found


def mean_of(models: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Returns the mean of models, weighted by the numbers of examples."""
    return [np.average(each, axis=0, weights=SIZES) for each in zip(*models, strict=True)]


def check_it_forgets(client: ModelClient, first: list[np.ndarray], rtol: float = 0.0) -> None:
    """Asserts that a client gives the same for a model, whichever ones it was sent before.

    A server that lies sends all but one client models which fill the moments of their optimizers,
    use up their steps or counts; the next sum would be the update of the one.
    """
    before = client.train(first)
    assert any((new != old).any() for new, old in zip(before, first, strict=True))
    for other in ([each + 9 for each in first], [np.zeros_like(each) for each in first]):
        client.train(other)
    for again, once in zip(client.train(first), before, strict=True):
        np.testing.assert_allclose(again, once, rtol=rtol)


# -- scikit-learn --------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "kinds"), [("hinge", 3), ("log_loss", 2)])
def test_classifiers_of_scikit_learn_are_averaged(loss: str, kinds: int) -> None:
    """Of two or three classes, with a client that has seen one class only."""
    linear = pytest.importorskip("sklearn.linear_model")

    def new() -> Any:
        steps = {"learning_rate": "constant", "eta0": 0.1}
        return linear.SGDClassifier(loss=loss, random_state=0, **steps)

    rows = [(x, np.array(CLASSES)[y]) for x, y in some_rows(kinds=kinds)]
    rows[2][1][:] = CLASSES[0]
    known = CLASSES[:kinds]
    clients = [sklearn_client(new(), x, y, classes=known[::-1], epochs=2) for x, y in rows]
    first = arrays_of(sklearn_client(new(), np.zeros((0, 4)), [], classes=known).model)
    assert [each.shape for each in first] == [(kinds if kinds > 2 else 1, 4), (len(first[1]),)]
    assert not np.concatenate([each.ravel() for each in first]).any()
    assert clients[0].model.t_ == 1.0  # the step size is that of a new one
    shrinking = new().set_params(learning_rate="invscaling", power_t=0.9)
    check_it_forgets(sklearn_client(shrinking, *rows[0], classes=known), first)
    params = fedavg_params(clients, first, bits=30)
    training = FedAvg(first, clients, rounds=2, params=params)

    plain, model = [new() for _ in clients], first
    for report in training:
        assert report.survivors == (0, 1, 2)
        trained = []
        for estimator, (x, y) in zip(plain, rows, strict=True):
            if hasattr(estimator, "coef_"):
                estimator.coef_, estimator.intercept_ = (each.copy() for each in model)
            for _ in range(2):
                estimator.partial_fit(x, y, classes=known)
            trained.append([estimator.coef_.copy(), estimator.intercept_.copy()])
        model = mean_of(trained)
        for secure, each in zip(training.model, model, strict=True):
            np.testing.assert_allclose(secure, each, atol=1e-6)
    given = training.model
    final = into(clients[0].model, given)
    x, y = (np.concatenate(each) for each in zip(*rows[:2], strict=True))
    assert final.score(x, y) > 0.8
    read = arrays_of(final)
    final.partial_fit(x, y)  # in place, and neither in what was given nor in what was read
    for one, two, three in zip(given, read, training.model, strict=True):
        np.testing.assert_array_equal(one, three)
        np.testing.assert_array_equal(two, three)


def test_a_regression_of_scikit_learn_is_averaged() -> None:
    """With a client that has no rows, which sits rounds out."""
    linear = pytest.importorskip("sklearn.linear_model")
    slope = np.array([1.0, -2.0, 0.5, 0.0])
    rows = [(x, x @ slope + 3.0) for x, _ in some_rows()]
    rows.append((np.zeros((0, 4)), np.zeros(0)))
    steps = {"learning_rate": "constant", "eta0": 0.1, "random_state": 0}
    clients = [sklearn_client(linear.SGDRegressor(**steps), x, y, epochs=4) for x, y in rows]
    training = FedAvg(arrays_of(clients[3].model), clients, rounds=5)
    reports = list(training)
    assert {each.survivors for each in reports} == {(0, 1, 2)}
    assert {each.refusal_codes[3] for each in reports} == {Code.NO_INPUT}
    coefficients, intercept = training.model
    np.testing.assert_allclose(coefficients, slope, atol=0.1)
    np.testing.assert_allclose(intercept, 3.0, atol=0.1)


def test_impossible_estimators_are_refused() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    bayes = pytest.importorskip("sklearn.naive_bayes")
    (x, y), *_ = some_rows()
    new = linear.SGDClassifier
    unlike = new()
    unlike.lock_ = threading.Lock()
    for wrong, match in [
        ({"estimator": linear.LogisticRegression()}, "LogisticRegression has no partial_fit"),
        ({"estimator": new}, "^the class SGDClassifier has .* such as SGDClassifier\\(\\)"),
        ({"estimator": "SGDClassifier"}, "^'SGDClassifier' has no partial_fit"),
        ({"classes": [0, None]}, "needs classes"),
        ({"x": "rows"}, "cannot be read as arrays, x of numbers: ValueError"),
        ({"estimator": bayes.GaussianNB()}, "GaussianNB has no arrays of floats"),
        ({"estimator": new(average=True)}, "average=True"),
        ({"estimator": unlike}, "SGDClassifier keeps .*, cannot be copied: TypeError"),
        ({"estimator": new(early_stopping=True)}, "refuses its first call: ValueError"),
        ({"classes": None}, "needs classes"),
        ({"classes": [1]}, "needs classes"),
        ({"classes": [1, 2]}, f"{np.count_nonzero(y == 0)} labels of 30 are not in classes"),
        ({"estimator": linear.SGDRegressor()}, "takes no classes"),
        ({"y": y[:3]}, "does not go with"),
        ({"x": x[0]}, "does not go with"),
        ({"epochs": 0}, "epochs"),
        ({"estimator": new().fit(x[:, :3], y)}, "was fitted to 3 columns"),
        ({"estimator": new().fit(x, y + 1)}, "was fitted to 4 columns and classes"),
    ]:
        given = {"estimator": new(), "x": x, "y": y, "classes": [0, 1]} | wrong
        with pytest.raises(ParameterError, match=match):
            sklearn_client(**given)


@runs_at("trainings like others")
def test_a_network_of_scikit_learn_is_averaged() -> None:
    """And sparse rows are taken."""
    network = pytest.importorskip("sklearn.neural_network")
    sparse = pytest.importorskip("scipy.sparse")
    for changes in [
        {},
        {"solver": "sgd", "momentum": 0.99},
        {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.9},
        {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1},
    ]:
        x, y = some_rows()[0]
        estimator = network.MLPClassifier((8,), random_state=1, learning_rate_init=0.1, **changes)
        estimator.partial_fit(x, y, classes=[0, 1])  # with moments, which are of other arrays
        client = sklearn_client(estimator, x, y, classes=[0, 1], epochs=5)
        check_it_forgets(client, arrays_of(estimator))
    clients = []
    for x, y in some_rows():
        estimator = network.MLPClassifier((8,), random_state=1, learning_rate_init=0.01)
        clients.append(sklearn_client(estimator, sparse.csr_array(x), y, classes=[0, 1], epochs=5))
    first = arrays_of(clients[0].model)
    assert [each.shape for each in first] == [(4, 8), (8, 1), (8,), (1,)]
    training = FedAvg(first, clients, rounds=10)
    assert not any(each.failed or each.refusals for each in training)
    x, y = (np.concatenate(each) for each in zip(*some_rows(), strict=True))
    assert into(clients[0].model, training.model).score(x, y) > 0.85


# -- what stands for Keras and PyTorch where they are not installed ------------------------------


class Momentum:
    """An optimizer with the methods of one of Keras."""

    def __init__(self, built: bool = True) -> None:
        self.rate, self.moment, self.built = Variable(0.1), Variable(0.0), built
        self.iterations = Variable(0)

    def build(self, variables: list[Any]) -> None:
        self.built = True

    @property
    def variables(self) -> list["Variable"]:
        assert self.built
        return [self.iterations, self.rate, self.moment]

    def get_config(self) -> dict[str, Any]:
        return {"built": False}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Momentum":
        return cls(**config)


class Variable:
    """A number that an optimizer of Keras keeps."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __int__(self) -> int:
        return int(self.value)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        return np.array(self.value)

    def assign(self, value: Any) -> None:
        self.value = type(self.value)(value)


class Keras:
    """A model with the methods of one of Keras."""

    def __init__(self, *arrays: np.ndarray, optimizer: Momentum | None = None) -> None:
        self.arrays, self.optimizer = list(arrays), optimizer
        self.trainable_variables = self.arrays

    @property
    def weights(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(path="dense/kernel", name="kernel") for _ in self.arrays]

    def get_weights(self) -> list[np.ndarray]:
        return self.arrays

    def set_weights(self, arrays: list[np.ndarray]) -> None:
        self.arrays = [
            np.asarray(new, old.dtype) for new, old in zip(arrays, self.arrays, strict=True)
        ]


class Tensor:
    """A tensor of a PyTorch that was built without NumPy."""

    def __init__(self, array: np.ndarray, dtype: str = "") -> None:
        self.array, self.dtype = array, dtype or f"torch.{array.dtype}"

    def detach(self) -> "Tensor":
        return self

    cpu = detach

    def float(self) -> "Tensor":
        return Tensor(self.array.astype(np.float32))

    def numpy(self) -> np.ndarray:
        raise RuntimeError("Numpy is not available")

    def __dlpack__(self, **words: Any) -> Any:
        assert "bfloat16" not in self.dtype, "NumPy has none"
        return self.array.__dlpack__(**words)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class Module:
    """A module with the methods of one of PyTorch."""

    def __init__(self, **state: Any) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state.keys() == self.state.keys()
        self.state = state


def test_integers_stay_in_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """And extra state; tensors are read and written without PyTorch's own use of NumPy."""
    of_dlpack = SimpleNamespace(from_dlpack=lambda array: Tensor(np.from_dlpack(array)))
    monkeypatch.setitem(sys.modules, "torch", of_dlpack)

    def module(count: int) -> Module:
        return Module(
            weight=Tensor(np.zeros((2, 2), np.float32)),
            half=Tensor(np.full(1, 0.5), "torch.bfloat16"),
            num_batches_tracked=Tensor(np.array(count)),
            _extra_state={"version": 2},
        )

    def fit(module: Module) -> None:
        module.state["weight"].array += module.state["num_batches_tracked"].array
        module.state["num_batches_tracked"].array += 1
        module.state["_extra_state"]["version"] += 1

    modules = [module(count) for count in (1, 2, 3)]
    clients = [torch_client(each, fit, 10) for each in modules]
    first = arrays_of(modules[0])
    assert [each.dtype for each in first] == [np.float32, np.float32]
    check_it_forgets(clients[0], first)
    training = FedAvg(first, clients, rounds=2)
    list(training)
    np.testing.assert_allclose(training.model[0], np.full((2, 2), 4.0), atol=1e-4)
    assert first[0].max() == 0.0  # copies
    final = into(modules[2], training.model).state
    np.testing.assert_array_equal(final["weight"].array, training.model[0])
    assert (int(final["num_batches_tracked"].array), final["_extra_state"]) == (4, {"version": 3})

    small = pytest.importorskip("ml_dtypes").bfloat16
    nets = [Keras(np.array(count), np.zeros(2, small), np.ones(3)) for count in range(3)]

    def grow(net: Keras) -> None:
        net.arrays[1] += np.asarray(net.arrays[0], small)
        net.arrays[0] = net.arrays[0] + 1
        if optimizer := net.optimizer:
            assert optimizer.built
            moment = 0.9 * optimizer.moment.value + optimizer.rate.value * net.arrays[2].max()
            optimizer.moment.value, optimizer.rate.value = moment, optimizer.rate.value / 2
            optimizer.iterations.value += 1
            net.arrays[2] += moment

    net = Keras(np.array(1), np.zeros(2, small), np.ones(3), optimizer=Momentum(built=False))
    check_it_forgets(client := keras_client(net, grow, 1), arrays_of(net))
    check_it_forgets(keras_client(net, grow, 1), arrays_of(net))  # with a used optimizer
    once, net.optimizer = client.train([np.zeros(2), np.ones(3)]), Momentum(built=False)
    check_it_forgets(client, arrays_of(net))  # and one that was compiled since
    np.testing.assert_array_equal(client.train([np.zeros(2), np.ones(3)])[1], once[1])
    training = FedAvg(arrays_of(nets[0]), [keras_client(each, grow, 1) for each in nets], rounds=1)
    list(training)
    np.testing.assert_allclose(training.model[0], [1.0, 1.0], atol=1e-4)
    final = into(nets[2], training.model).arrays
    assert (int(final[0]), final[1].dtype, final[1].tolist()) == (3, small, [1.0, 1.0])


class Both(Keras, Module):
    """A model of Keras on PyTorch."""


def test_impossible_models_are_refused() -> None:
    net = Keras(np.zeros((2, 3)), np.zeros(1))

    def train(model: Any) -> None:
        pass

    for model, code, match in [
        (object(), Code.ARGUMENT, "^object is no model of Keras"),
        (Keras, Code.ARGUMENT, "^the class Keras is no .* give a model object"),
        ("net", Code.ARGUMENT, "^'net' is no model of Keras"),
        (None, Code.ARGUMENT, "^None is no model of Keras"),
        (
            Module(weight=Tensor(np.zeros(2))),
            Code.ARGUMENT,
            "is a model of PyTorch, and the client",
        ),
        (Keras(), Code.LAYOUT, "no arrays of floats"),
        (Keras(np.array([1, 2])), Code.LAYOUT, "no arrays of floats"),
        (Keras(np.zeros(1), np.zeros(2, complex)), Code.DTYPE, "'1: dense/kernel' .* complex128"),
        (Keras(np.zeros(1), np.array(["a"])), Code.DTYPE, "'1: dense/kernel' .* <U1"),
        (Keras(np.zeros(1, np.longdouble)), Code.DTYPE, "longdouble|float128"),
    ]:
        with refused(ParameterError, code, match=match):
            keras_client(model, train, 3)
    with refused(ParameterError, Code.ARGUMENT, match="Both is a model of Keras, and the client"):
        torch_client(Both(np.zeros(1)), train, 3)
    with refused(ParameterError, Code.DTYPE, match="'weight' cannot be read: AttributeError"):
        torch_client(Module(weight=SimpleNamespace(detach=lambda: None)), train, 3)
    with refused(ParameterError, Code.ARGUMENT, match="fit must be a function"):
        ModelClient(net, None, 3)  # type: ignore[arg-type]
    with refused(ParameterError, Code.WEIGHT, match="examples"):
        keras_client(net, train, -1)

    client = keras_client(net, train, 3)
    for arrays, match in [
        ([np.zeros((2, 3))], "1 arrays do not fit the Keras, which has 2"),
        ([np.zeros((2, 3)), np.zeros(2)], r"'1: dense/kernel' of the Keras has shape \(1,\), and"),
        ([np.zeros((3, 2)), np.zeros(1)], r"'0: dense/kernel' of the Keras has shape \(2, 3\)"),
    ]:
        with refused(ParameterError, Code.SHAPE, match=match):
            client.train(arrays)
    for nothing in (None, "arrays", 3.0):
        with refused(ParameterError, Code.ARGUMENT, match="arrays must be a list"):
            into(net, nothing)  # type: ignore[arg-type]
    others = [keras_client(Keras(np.ones((2, 3)), np.ones(1)), train, 3) for _ in range(3)]
    wider = keras_client(Keras(np.zeros((2, 4)), np.zeros(1)), train, 3)
    (report,) = FedAvg(arrays_of(net), [*others, wider], rounds=1)
    assert report.survivors == (0, 1, 2)
    assert "'0: dense/kernel' of the Keras has shape (2, 4)" in report.refusals[3]


# -- the frameworks themselves -------------------------------------------------------------------


@runs_at("trainings like others")
def test_modules_of_pytorch_are_averaged() -> None:
    """With batch normalisation whose mean is of all batches, and a tensor of bfloat16."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nox -s torch")

    def new() -> Any:
        torch.manual_seed(1)
        net = torch.nn.Sequential(
            torch.nn.Linear(4, 8, bias=False),
            torch.nn.BatchNorm1d(8, momentum=None),
            torch.nn.ReLU(),
            torch.nn.Linear(8, 2),
        )
        net.register_buffer("small", torch.ones(2, dtype=torch.bfloat16))
        return net

    def trainer(x: np.ndarray, y: np.ndarray) -> Any:
        rows, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(y)

        def fit(net: Any) -> None:
            optimizer = torch.optim.Adam(net.parameters(), 0.01)
            net.train()
            for _ in range(3):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(net(rows), labels).backward()
                optimizer.step()

        return fit

    rows = some_rows()
    nets, plain = [new() for _ in rows], [new() for _ in rows]
    fits = [trainer(x, y) for x, y in rows]
    clients = [
        torch_client(net, trainer(x, y), len(y)) for net, (x, y) in zip(nets, rows, strict=True)
    ]
    first = arrays_of(nets[0])
    check_it_forgets(clients[0], first, rtol=1e-6)
    params = fedavg_params(clients, first, bits=30)
    training, model = FedAvg(first, clients, rounds=8, params=params), first
    for report in training:
        assert report.survivors == (0, 1, 2)
        for net, fit in zip(plain, fits, strict=True):
            floats = [each for each in net.state_dict().values() if each.is_floating_point()]
            with torch.no_grad():
                for tensor, array in zip(floats, model, strict=True):
                    tensor.copy_(torch.from_numpy(np.array(array)))
            net[1].num_batches_tracked.zero_()
            fit(net)
        model = mean_of(
            [
                [each.float().numpy().copy() for each in net.state_dict().values()
                    if each.is_floating_point()]
                for net in plain
            ]
        )  # fmt: skip
        for secure, each in zip(training.model, model, strict=True):
            np.testing.assert_allclose(secure, each, atol=2e-3)
    final = into(new(), training.model).eval()
    assert int(final[1].num_batches_tracked) == 0
    assert int(nets[0][1].num_batches_tracked) == 3
    assert final.small.dtype == torch.bfloat16
    x, y = (np.concatenate(each) for each in zip(*rows, strict=True))
    with torch.no_grad():
        found = final(torch.tensor(x, dtype=torch.float32)).argmax(1).numpy()
    assert (found == y).mean() > 0.9


@runs_at("programs")
def test_the_programs_of_the_document(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They run as they stand, those of PyTorch where it is installed."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: the extra `fl`")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = programs("TRAINING.md")
    assert found.keys() == {"training.py", "paced.py", "estimators.py", "modules.py"}
    exec(found["training.py"], names := {})  # noqa: S102
    exec(found["paced.py"], names)  # noqa: S102
    exec(found["estimators.py"], {})  # noqa: S102
    assert names["training"].reports[-1].score.accuracy > 0.85
    assert len(names["fed"].reports) == 150
    assert names["fed"].reports[-1].score.accuracy > 0.5  # durations are drawn anew
    if importlib.util.find_spec("torch"):
        exec(found["modules.py"], names := {})  # noqa: S102
        assert len(names["training"].reports[-1].survivors) == 5


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras
@runs_at("trainings like others")
def test_models_of_keras_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """With batch normalisation, dropout, and a `Normalization` that counts; on JAX by default."""
    backend = os.environ.get("KERAS_BACKEND", "jax")
    for package in (backend, "keras"):
        if "keras" not in sys.modules:
            monkeypatch.setenv("KERAS_BACKEND", backend)
        pytest.importorskip(package, reason=f"{package} is not installed: nox -s torch")
    import keras

    def compiled(net: Any, optimizer: Any) -> Any:
        net.compile(optimizer, "binary_crossentropy")
        return net

    def new() -> Any:
        keras.utils.set_random_seed(2)
        net = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Normalization(),
                keras.layers.Dense(8, "relu", use_bias=False),
                keras.layers.BatchNormalization(momentum=0.8),
                keras.layers.Dropout(0.1),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        return compiled(net, keras.optimizers.Adam(0.02))

    def trainer(x: np.ndarray, y: np.ndarray, *callbacks: Any) -> Any:
        words = {"epochs": 2, "batch_size": 16, "shuffle": False, "verbose": 0}
        return lambda net: net.fit(x, y, callbacks=[*callbacks], **words)

    rows = some_rows()
    slower = keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=9.0)
    inputs = keras.Input((4,))
    net = keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(inputs))
    for optimizer in (
        keras.optimizers.Adam(0.02),
        keras.optimizers.SGD(0.02, momentum=0.99),
        keras.optimizers.Adagrad(keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.1)),
    ):
        scheduled = isinstance(optimizer, keras.optimizers.Adagrad)
        fit = trainer(*rows[0], *(() if scheduled else (slower,)))
        client = keras_client(compiled(net, optimizer), fit, len(rows[0][1]))
        start = arrays_of(net)
        check_it_forgets(client, start, rtol=1e-6)
        if scheduled:
            check_it_forgets(keras_client(net, fit, 1), start, rtol=1e-6)  # which is used
            compiled(net, keras.optimizers.Adam(0.1))
            check_it_forgets(client, start, rtol=1e-6)
    nets, plain = [new() for _ in rows], [new() for _ in rows]
    clients = [
        keras_client(net, trainer(x, y), len(y)) for net, (x, y) in zip(nets, rows, strict=True)
    ]
    first = arrays_of(nets[0])
    counts = [at for at, each in enumerate(plain[0].get_weights()) if each.dtype.kind == "i"]
    assert len(first) + len(counts) == len(plain[0].get_weights())
    assert len(counts) == 1
    params = fedavg_params(clients, first, bits=30)
    training, model = FedAvg(first, clients, rounds=6, params=params), first
    for report in training:
        assert report.survivors == (0, 1, 2)
        trained = []
        for net, (x, y) in zip(plain, rows, strict=True):
            arrays = iter(model)
            old = net.get_weights()
            net.set_weights([each if at in counts else next(arrays) for at, each in enumerate(old)])
            trainer(x, y)(compiled(net, keras.optimizers.Adam(0.02)))
            trained.append([each for each in net.get_weights() if each.dtype.kind == "f"])
        model = mean_of(trained)
        for secure, each in zip(training.model, model, strict=True):
            np.testing.assert_allclose(secure, each, atol=2e-3)
    x, y = (np.concatenate(each) for each in zip(*rows, strict=True))
    found = into(new(), training.model).predict(x, verbose=0)[:, 0] > 0.5
    assert (found == y).mean() > 0.9
