"""The examples that train models: what they print is what the pooled data give."""

import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
from levels import runs_at

import secagg
from secagg.extras import MissingExtraError

pytestmark = runs_at("programs")

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NUMBER = r"(-?[\d,.]*\d(?:e[-+]\d+)?)"
PACKAGES = "is not installed: pip install -e '.[examples]'"

BACKEND = os.environ.get("KERAS_BACKEND", "jax")
needs_keras = pytest.mark.skipif(  # without importing them
    not (importlib.util.find_spec("keras") and importlib.util.find_spec(BACKEND)),
    reason=f"Keras or {BACKEND} is not installed: pip install -e '.[keras]'",
)

Load = Callable[[str], Any]


def printed(name: str, *options: str, **environment: str) -> str:
    """Returns what an example prints, in one line; it must not complain, and draws a picture.

    Keras and its backends complain about each other and of the processor: options and an
    environment are for them.
    """
    command = [sys.executable, *(options or ("-W", "error")), EXAMPLES / f"{name}.py"]
    env = {"env": children.environment(**environment)} if environment else {}
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "picture.png")
        done = children.run([*command, "--plot", picture], cwd=ROOT, **env)
        assert done.returncode == 0, done.stderr
        assert environment or not done.stderr
        assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert picture.stat().st_size > 8000
    text = " ".join(done.stdout.split())
    assert "What the server saw: " in text
    return text


def numbers(text: str, pattern: str) -> list[float]:
    """Returns the numbers at each # of the pattern, which the text must have once."""
    parts = NUMBER.join(map(re.escape, pattern.split("#")))
    (found,) = re.findall(parts, text)
    return [float(each.replace(",", "")) for each in ([found] if isinstance(found, str) else found)]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Returns a function that imports an example, for its data."""

    def imported(name: str) -> Any:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return imported


def least_squares(x: Any, y: Any) -> list[float]:
    """Returns the coefficients and the intercept of scikit-learn."""
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    fitted = linear.LinearRegression().fit(x, y)
    return [*fitted.coef_.tolist(), float(fitted.intercept_)]


def joined(parts: Any) -> list[Any]:
    """Returns the pooled columns of clients, each a tuple."""
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def test_two_devices() -> None:
    """Two are refused; a helper with zeros hides nothing; three fit the line, and tell points."""
    text = printed("two_devices")
    assert "federated averaging needs at least three clients, not 2" in text
    assert "refused by this client's policy: from a sum of 2 inputs" in text
    assert text.count("(3.00, 4.00)") == 3
    assert "both other points, (2.00, 3.30) and (3.00, 4.00)" in text
    found = numbers(text, "400 rounds: y = # x + #")
    assert found == pytest.approx(least_squares([[1], [3], [2]], [2, 4, 3.3]), abs=1e-4)


def test_skeleton(load: Load) -> None:
    """The line is that of the pooled readings, and another run masks alike numbers otherwise."""
    module = load("skeleton")
    x, y = joined(map(module.readings_of, module.SITES))
    texts = [printed("skeleton") for _ in range(2)]
    for text in texts:
        slope, intercept = numbers(text, "30 rounds: y = # x #")
        assert [slope, intercept] == pytest.approx(least_squares(x[:, None], y), abs=2e-4)
        assert f"the number of all readings, {len(x)}." in text
    masked = {re.findall(r"numbers end with (\w+ \w+)", text)[0] for text in texts}
    assert len(masked) == 2


def test_line(load: Load) -> None:
    """Ten clients find the line of the pooled points, nearly: they take several steps a round."""
    module = load("line")
    clients = [module.make_client(index) for index in range(module.CLIENTS)]
    x, y = joined((each.x, each.y) for each in clients)
    text = printed("line")
    assert numbers(text, "round 20: y = # x + #") == pytest.approx(
        least_squares(x[:, None], y), abs=2e-3
    )
    assert f"all points ({len(x)})" in text


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no/x.png", "cannot write {path}: No such file or directory"),
        ("x.gif", "cannot draw a picture with the ending .gif; use one of .png, "),
        ("x", "{path} has no ending; try {path}.png"),
        ("", "{path} is a folder; give the name of a file"),
    ],
)
def test_no_picture(tmp_path: Path, name: str, why: str) -> None:
    """A picture that cannot be drawn is refused in one line, before the training."""
    path = tmp_path / name
    done = children.run([sys.executable, EXAMPLES / "line.py", "--plot", path], cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"line.py: error: argument --plot: {why.format(path=path)}" in done.stderr
    assert "Traceback" not in done.stderr


@needs_keras
def test_line_keras(tmp_path: Path) -> None:
    """Keras finds the same line through `get_weights` and `set_weights`."""
    text = printed("line_keras", "-W", "ignore", KERAS_BACKEND=BACKEND, KERAS_HOME=str(tmp_path))
    found, pooled = numbers(text, "round 10: y = # x + #"), numbers(text, "pooled: y = # x + #")
    assert found == pytest.approx(pooled, abs=5e-3)
    assert pooled == pytest.approx([2, 1], abs=0.03)


@needs_keras
def test_relu_adam_keras(tmp_path: Path) -> None:
    """The network is about as good as a regression of scikit-learn on the pooled patients."""
    text = printed(
        "relu_adam_keras", "-W", "ignore", KERAS_BACKEND=BACKEND, KERAS_HOME=str(tmp_path)
    )
    (right,) = numbers(text, "round 10: #% of 113 test patients")
    assert right / 100 == pytest.approx(regression("breast_cancer", split="even"), abs=0.04)
    assert "updates of 4097 numbers" in text


def regression(name: str, **options: str) -> float:
    """Returns the accuracy of scikit-learn's regression on the pooled data of ten clients."""
    linear = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    fl = importlib.import_module("secagg.fl")
    data = fl.load(name, 10, **options)
    fitted = linear.LogisticRegression(C=100, max_iter=1000).fit(data.pooled.x, data.pooled.y)
    return float(fitted.score(data.test.x, data.test.y))


def test_house_prices(load: Load) -> None:
    """Sums give the least squares of the pooled houses, and gradients come near."""
    module = load("house_prices")
    agencies = [module.make_agency(index, 1) for index in range(module.AGENCIES)]
    x, prices = joined((each.x, each.prices) for each in agencies)
    *worth, start = least_squares(x[:, 1:], prices)
    text = printed("house_prices")
    for name, expected in zip(module.NAMES, [start, *worth], strict=True):
        row = numbers(text, f" {name} # # #")
        assert row == pytest.approx([expected] * 3, abs=2e-3)
    _, apart = numbers(text, " sums mean error #, largest difference to pooled #")
    assert apart < 1e-9


def test_softmax_adam() -> None:
    """Adam at the clients comes near a regression on the pooled scans, and above most offices."""
    text = printed("softmax_adam")
    right, pooled, _, _ = numbers(text, "Adam after round 10 #%, pooled #%, an office alone #%..#%")
    best = 100 * regression("digits", by_row=True)
    assert [right, pooled] == pytest.approx([best, best], abs=4)


def test_state_dicts() -> None:
    """The `state_dict` of the sums is that of the plain average, and the pooled solution."""
    pytest.importorskip("torch", reason="torch is not installed: pip install torch")
    text = printed("state_dicts", "-W", "ignore")
    found, pooled = (numbers(text, f"{name}: # # # #") for name in ("federated", "pooled"))
    assert found == pytest.approx(pooled, abs=5e-3)
    assert pooled == pytest.approx([1, -2, 0.5, 1], abs=0.02)
    assert numbers(text, "four state_dicts: # at most")[0] < 2e-6


def test_state_dicts_without_torch() -> None:
    """Without PyTorch the example says so in one line, and it is no failure."""
    script = "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv[1])"
    done = children.run([sys.executable, "-c", script, EXAMPLES / "state_dicts.py"], cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "state_dicts: skipped, as PyTorch is not installed; run pip install torch\n"
    )


def test_hospitals_dp(load: Load) -> None:
    """The noise is worth the printed epsilon by another accountant; at 8 little is lost."""
    accounting = pytest.importorskip("dp_accounting", reason="dp-accounting is not installed")
    rdp = importlib.import_module("dp_accounting.rdp")
    text = printed("hospitals_dp")
    (plain,) = numbers(text, "plain averaging #% +- 0.0 no clip")
    rows = re.findall(r"(central|distributed) ([\d.]+)% \+- [\d.]+ epsilon ([\d.]+), by", text)
    found = {(way, float(epsilon)): float(score) for way, score, epsilon in rows}
    assert list(found) == [(way, each) for way in ("central", "distributed") for each in (8, 1)]
    assert plain == pytest.approx(100 * regression("breast_cancer", split="even"), abs=4)
    assert min(found["central", 8], found["distributed", 8]) > plain - 5
    assert min(found["central", 1], found["distributed", 1]) < plain - 2
    module = load("hospitals_dp")
    for way, epsilon in found:
        _, privacy = module.train(0, way, epsilon)
        accountant = rdp.RdpAccountant()
        noise = accounting.GaussianDpEvent(privacy.multiplier)
        accountant.compose(accounting.SelfComposedDpEvent(noise, module.ROUNDS))
        assert accountant.get_epsilon(module.DELTA) == pytest.approx(epsilon, rel=0.02)
        assert privacy.honest == {"central": 0, "distributed": 4}[way]


def test_transfer(load: Load) -> None:
    """The last layer takes an eighth of the bytes of all layers, and comes near them."""
    module = load("transfer")
    text = printed("transfer")
    rows = {
        (way, int(count)): (float(right), int(sent.replace(",", "")))
        for way, count, right, sent in re.findall(
            r"(last layer, public body|all layers, public body|all layers, from nothing) (\d+) "
            r"rounds ([\d.]+)%, ([\d,]+) bytes",
            text,
        )
    }
    last, every, fresh = (rows[way, 3] for way in dict.fromkeys(way for way, _ in rows))
    head = module.HIDDEN * module.CLASSES + module.CLASSES
    body = 64 * module.HIDDEN + module.HIDDEN
    bits = secagg.Params(module.CLIENTS, head, module.FORM).field_bits
    assert every[1] - last[1] == pytest.approx(body * bits / 8, rel=0.001)
    assert every[1] / last[1] == pytest.approx((body + head) / head, rel=0.5)
    assert every[0] == pytest.approx(fresh[0], abs=4)
    assert every[0] - 15 < last[0] < every[0]
    assert every[0] > 90


def test_health_insurance(load: Load) -> None:
    """Coefficients and errors are those of statsmodels on the pooled records, unscaled."""
    pytest.importorskip("statsmodels", reason=f"statsmodels {PACKAGES}")
    module = load("health_insurance")
    text = printed("health_insurance")
    data = module.sm.datasets.randhie.load_pandas().data
    data = data.iloc[np.random.default_rng(0).permutation(len(data))[: module.SMALL]]
    x = module.sm.add_constant(data[list(module.LARGEST)])
    pooled = module.sm.GLM(data["mdvis"], x, family=module.sm.families.Poisson()).fit(tol=1e-12)
    for name, shown in zip(x, ("one", *module.LARGEST), strict=True):
        times = module.LARGEST.get(name, 1)
        expected = [pooled.params[name] * times, pooled.bse[name] * times]
        assert numbers(text, f" {shown} # # # #") == pytest.approx(expected * 2, abs=2e-5)
    right, majority = numbers(text, "Right: #%; #% for who says that everybody goes")
    assert majority == pytest.approx(100 * (data["mdvis"] > 0).mean(), abs=0.06)
    assert right == pytest.approx(majority, abs=2)


def test_credit_default(load: Load) -> None:
    """Federated is as good as scikit-learn on pooled records, and finds more frauds than a bank."""
    for package in ("causaldata", "sklearn"):
        pytest.importorskip(package, reason=f"{package} {PACKAGES}")
    module = load("credit_default")
    text = printed("credit_default")
    banks, test = module.holders(6000)
    known = module.pooled(banks)
    chance = module.LogisticRegression().fit(known.x, known.y).predict_proba(test.x)[:, 1]
    auc = module.roc_auc_score(test.y, chance)
    federated, pooled, _, _ = numbers(text, "AUC federated #, pooled #, alone #..#")
    assert [federated, pooled] == pytest.approx([auc, auc], abs=0.01)
    right, majority = numbers(text, "right as yes or no #%; #% for who says that nobody pays late")
    assert majority == pytest.approx(100 * (1 - test.y.mean()), abs=0.06)
    assert right > majority
    found = r"(\w+|bank \d alone) finds ([\d.]+)% of frauds by alarms at ([\d.]+)% of payments"
    rows = re.findall(found, text)
    assert all(float(alarms) == pytest.approx(1, abs=0.6) for _, _, alarms in rows)
    federated, pooled, *alone = (float(found) for _, found, _ in rows)
    assert len(alone) == module.BANKS
    assert federated == pytest.approx(pooled, abs=6)
    assert federated > np.mean(alone) + 4


@pytest.mark.parametrize(
    ("name", "package"), [("credit_default", "causaldata"), ("health_insurance", "statsmodels")]
)
def test_a_missing_package_of_data_says_what_to_type(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    for each in [each for each in sys.modules if each.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, each)
    monkeypatch.setitem(sys.modules, package, None)
    remedy = rf"^{package} is not installed; run pip install 'secagg\[examples\]'"
    with pytest.raises(MissingExtraError, match=remedy):
        load(name)
