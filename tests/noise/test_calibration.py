"""Parameters for a privacy target: they meet it, barely, and what they assume is told."""

import math
import pickle
import sys
from dataclasses import replace
from fractions import Fraction
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from documents import DOCS, programs
from levels import runs_at
from refusals import refused

from secagg import Code, Mode, ParameterError, Rotated, Rounds, Suite
from secagg.arithmetic.rotation import Rotation
from secagg.noise import NoisePlan, Release, calibrate, calibration, epsilon
from secagg.params.rotated import Noise, least_tail

pytestmark = pytest.mark.skipif(
    not find_spec("dp_accounting"), reason="dp-accounting is not installed: the extra `dp`"
)

TRAINING: dict[str, Any] = {
    **{"epsilon": 8, "delta": 1e-5, "rounds": 20, "clip": 1.0, "length": 650, "cohort": 100},
    **{"corrupt": 0.05, "dropout": 0.05},
}


def plan(**others: Any) -> NoisePlan:
    return calibrate(**TRAINING | others)


def test_the_target_is_met_barely() -> None:
    for others in (
        {},
        {"mechanism": "discrete_gaussian"},
        {"epsilon": 0.5, "rounds": 1, "delta": 1e-9},
        {"epsilon": 30, "length": 7, "clip": 1e-3},
        {"scale": 10.0, "mode": Mode.MALICIOUS},
        {"cohort": 1000, "sparse": True},
    ):
        made = plan(**others)
        target = others.get("epsilon", 8)
        assert 0.99 * target <= made.epsilon() <= target, others
        assert made.price <= 1.01 or "scale" in others, others
        fewer = replace(made.form, variance_steps=made.form.variance_steps * 99 // 100)
        less = Release.of(replace(made.params, format=fewer))
        assert epsilon([(less, made.rounds)], made.delta) > target, others
        assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301
        assert made.params.degree > 0 or "sparse" not in others
    numbers = {"epsilon": np.float32(8), "rounds": np.int8(20), "length": np.int64(650)}
    assert repr(plan(**numbers)) == repr(plan())


def test_noise_is_for_the_honest_survivors_that_are_certain() -> None:
    """5 % and 5 % of 100: 95 survivors less 5 colluders. A third of each: twice the noise."""
    made, wary = plan(), plan(corrupt=None, dropout=None)
    assert (made.honest, wary.honest) == (90, 34)
    for others in ({}, {"corrupt": None, "dropout": None}):
        asked = {"mode": Mode.MALICIOUS, "suite": Suite.CHACHA20}
        params = plan(**others, **asked).params
        assert {"mode": params.mode, "suite": params.suite} == asked
    assert made.factor == pytest.approx(1.054, abs=1e-3)
    assert wary.factor == pytest.approx(1.715, abs=1e-3)
    noise = math.sqrt(wary.form.variance / made.form.variance)
    assert noise == pytest.approx(wary.factor / made.factor, rel=1e-3)
    assert made.epsilon(honest=100) < made.epsilon(90) == made.epsilon() < made.epsilon(89)
    assert made.epsilon(rounds=5) < made.epsilon()
    form, h = made.form, made.honest
    assert form.variance == pytest.approx(float(made.multiplier**2 * form.bound / h))
    assert form.tail == least_tail(form.noise, form.variance_steps, 100, 650)
    assert plan(mechanism="discrete_gaussian").form.noise is Noise.DISCRETE_GAUSSIAN
    assert form.noise is Noise.SKELLAM


def test_rounds_have_the_parameters_of_the_plan() -> None:
    """On either graph and in either mode; a format with noise and other thresholds is refused."""
    for others in ({"corrupt": None, "dropout": None}, {"cohort": 1000, "sparse": True}):
        made = plan(**others)
        rounds = Rounds("t", made.form, **made.for_rounds)
        planned = rounds.plan([f"site {each}" for each in range(1001)], 650, b"a model")
        assert planned.params == made.params
    for wrong in ({}, {"least": 100}, {"corrupt": 0.05, "dropout": 0.05}):
        with refused(ParameterError, Code.ARGUMENT, match=r"\*\*plan.for_rounds"):
            Rounds("t", made.form, **wrong)


def test_local_noise_is_enough_by_itself() -> None:
    """Each client's is that of h, and the field has room for it."""
    made = plan()
    form = made.local.format
    assert isinstance(form, Rotated)
    assert form.variance == 90 * made.form.variance
    assert form.tail == least_tail(form.noise, form.variance_steps, 100, 650)
    release = Release.of(made.local, honest=1)
    assert epsilon([(release, 20)], 1e-5) == pytest.approx(made.epsilon(), rel=1e-6)
    with refused(ParameterError, Code.HEADROOM, match="smaller scale"):
        _ = plan(scale=2.0**16).local


def test_the_explanation_has_every_number(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the document as well, whose program runs as it is printed."""
    exec(programs("PRIVACY.md")["privacy.py"], names := {})  # noqa: S102
    made = names["plan"]
    assert made == plan()
    printed = capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "privacy", SimpleNamespace(plan=made))
    exec(programs("PRIVACY.md")["rounds.py"], names)  # noqa: S102
    planned = names["rounds"].plan([f"site {party}" for party in range(101)], 650, b"a model")
    assert planned.params == made.params
    assert printed.startswith(made.explanation)
    assert f"```text\n{printed}```" in (DOCS / "PRIVACY.md").read_text()
    text = made.explanation
    size = math.ceil(made.params.vector_length * made.params.field_bits / 8)
    for part in (
        *("epsilon 7.99", "delta 1e-05", "20 rounds", "Asked for: 8.", "Skellam", "h = 90 clients"),
        *(f"z = {made.multiplier:.4g} ", "95 survivors at least, less 5", "1.05 times"),
        *(f"{made.params.field_bits} bits", f"{size:,} bytes per client", "Complete graph"),
        *("who takes part, and when, is public", "makes epsilon no smaller", "is not covered"),
    ):
        assert part in text, part
    assert "2^-40" not in text
    assert "the mode is malicious" in plan(mode=Mode.MALICIOUS).explanation
    sparse = plan(cohort=1000, sparse=True).explanation
    assert "2^-40 of delta per round" in sparse
    assert "Sparse graph" in sparse


def test_updates_fit_the_grid() -> None:
    """Dense, heavy-tailed and sparse ones at the clip: rounded again at times, hardly clipped."""
    random = np.random.default_rng(5)
    for length in (650, 4096):
        form = plan(length=length).form
        again = clipped = 0
        for draw in range(60):
            update = random.standard_t(2, length) if draw % 2 else random.standard_normal(length)
            if draw % 3 == 0:
                update *= random.random(length) < 0.02
            update *= form.clip * form.scale / np.linalg.norm(update)
            y = update.copy()
            Rotation(Suite.AES256CTR.generator, random.bytes(32)).forward(y)
            assert np.linalg.norm(y) == pytest.approx(form.clip * form.scale)
            clipped += np.count_nonzero(np.abs(y) > form.peak)
            q = np.floor(np.clip(y, -form.peak, form.peak) + random.random(length))
            again += q @ q > form.bound
            assert (np.trunc(y) ** 2).sum() <= form.bound
        assert again <= 6, length
        assert clipped <= 2, length


@runs_at("noise of large vectors")
def test_the_bound_is_far_below_the_one_that_holds_for_all() -> None:
    """Figures as in test_accounting.py, where Kairouz's bound gives 12.32 and 5.38."""
    for bits, figures in ((8, (9.50, 9.39)), (10, (5.175, 5.175))):
        _, bound = calibration._grid(1.0, 2.0**bits, 2**20)
        for noise, figure in zip((Noise.SKELLAM, Noise.DISCRETE_GAUSSIAN), figures, strict=True):
            release = Release(noise, Fraction(4**bits), bound, 2**20, 1)
            assert epsilon([(release, 1)], 1e-5) == pytest.approx(figure, abs=0.011), figure
    for length in (1, 2, 2**20, 2**32):
        made = plan(length=length)
        assert made.price <= 1.01, length
        assert made.form.clip * made.form.scale >= 3.5 * math.sqrt(length)


@pytest.mark.parametrize(
    ("wrong", "code", "text"),
    [
        ({"epsilon": 0}, Code.ARGUMENT, "epsilon must be a finite number above 0, not 0"),
        ({"epsilon": math.inf}, Code.ARGUMENT, "epsilon must be a finite number"),
        ({"epsilon": 40}, Code.ARGUMENT, r"epsilon must be in 0.001..32, not 40"),
        ({"delta": 0.0}, Code.ARGUMENT, "delta must be above 0 and below 1, not 0.0: choose"),
        ({"delta": 1}, Code.ARGUMENT, "delta must be"),
        ({"rounds": 0}, Code.ARGUMENT, "rounds must be in 1.*not 0"),
        ({"clip": 0}, Code.ARGUMENT, "clip must be a finite number above 0, not 0: take"),
        ({"clip": math.nan}, Code.ARGUMENT, "clip must be .*nan"),
        ({"clip": math.inf}, Code.ARGUMENT, "clip must be .*inf"),
        ({"length": 0}, Code.ARGUMENT, "length must be in 1.*not 0"),
        ({"scale": -1}, Code.ARGUMENT, "scale must be a finite number above 0, not -1"),
        ({"scale": 1e10}, Code.HEADROOM, r"clip \* scale is 1e\+10 levels.*lower the scale"),
        ({"scale": 2e9}, Code.HEADROOM, "variance above 17179869184.*smaller scale"),
        ({"mechanism": "laplace"}, Code.ARGUMENT, "one of skellam, discrete_gaussian, not 'lap"),
        ({"mechanism": []}, Code.ARGUMENT, "mechanism must be"),
        ({"dropout": None}, Code.ARGUMENT, "given together or not at all"),
        ({"corrupt": None, "dropout": None, "sparse": True}, Code.ARGUMENT, "sparse graph"),
        (
            {"corrupt": 0.5, "dropout": 0.5},
            Code.UNSAFE_FRACTIONS,
            "no sparse graph is safe either; lower",
        ),
        ({"cohort": 2}, Code.ARGUMENT, "cohort must be in 3"),
        ({"delta": 0.01}, Code.ARGUMENT, "delta must be below 1 / 100, not 0.01"),
        ({"sparse": True, "mode": Mode.MALICIOUS}, Code.ARGUMENT, "leave sparse out"),
        ({"delta": 1e-38}, Code.HEADROOM, "too small for the sampler.*discrete_gaussian"),
        ({"cohort": 1000, "sparse": True, "delta": 1e-9}, Code.ARGUMENT, "not above 1.82e-11"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any], code: Code, text: str
) -> None:
    if code is not Code.HEADROOM:
        monkeypatch.setattr(calibration, "_Search", None)
    with refused(ParameterError, code, text):
        plan(**wrong)
