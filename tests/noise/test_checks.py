"""What is measured of the noise in sums: bugs are seen where they can be, and nothing else is."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from documents import programs
from levels import runs_at
from refusals import refused

import secagg
from secagg import Code, Field, ParameterError, Params, RangeError, Rotated, noise
from secagg.encoding.choice import codec_for
from secagg.noise.checks import canaries as canaries_module
from secagg.params.rotated import Noise, least_tail

needs_dp = pytest.mark.skipif(
    not find_spec("dp_accounting"), reason="dp-accounting is not installed: the extra `dp`"
)
SESSION = bytes(range(16))
DELTA = 1e-5


def keys(party: int) -> Callable[[int], bytes]:
    return np.random.default_rng([5, party]).bytes


def noisy(length: int, cohort: int, variance: float, kind: Noise = Noise.SKELLAM) -> Rotated:
    """Returns a format whose vectors have about three levels per coordinate."""
    steps, scale = int(variance * 2**16), 3.0 * math.sqrt(length)
    return Rotated(
        clip=1.0,
        scale=scale,
        peak=math.ceil(min(scale, 24)),
        bound=int(scale**2) + length,
        tail=least_tail(kind, steps, cohort, length),
        noise=kind,
        variance_steps=steps,
    )


class Sum:
    """A sum of encoded vectors in the field, in which single clients have bugs."""

    def __init__(self, params: Params, session: bytes = SESSION) -> None:
        self.params, self.session = params, session
        self.field, self.codec = Field(params.field_bits), codec_for(params, session)
        self.elements, self.parties = self.field.zeros(params.vector_length), 0

    def encoded(self, x: Any, random: Callable[[int], bytes], **planted: Any) -> Any:
        """Returns one client's elements, made with another format if something is planted."""
        codec: Any = self.codec
        if planted:
            form = replace(self.params.format, **planted)
            codec = codec_for(replace(self.params, format=form), self.session)
            codec._field = self.field
        return codec.encode(x, 1, random).vector

    def add(self, x: Any, random: Callable[[int], bytes], **planted: Any) -> None:
        vector = self.encoded(x, random, **planted)
        self.field.add(self.elements, vector, out=self.elements)
        self.parties += 1

    @property
    def total(self) -> Any:
        return self.codec.decode(self.elements, self.parties).total


def summed(params: Params, inputs: Sequence[Any], first: int = 0, **planted: Any) -> Any:
    one = Sum(params, bytes([first % 251] * 16))
    for party, x in enumerate(inputs):
        one.add(x, keys(first + party), **planted)
    return one.total


def directions(count: int, length: int) -> list[Any]:
    rng = np.random.default_rng(count)
    return [x / np.linalg.norm(x) * (1 - 1e-9) for x in rng.normal(size=(count, length))]


# -- canaries ------------------------------------------------------------------------------------


@cache
def plan(length: int, cohort: int, rounds: int = 1, epsilon: float = 4.73) -> noise.NoisePlan:
    return noise.calibrate(
        epsilon=epsilon,
        delta=DELTA,
        rounds=rounds,
        clip=1.0,
        length=length,
        cohort=cohort,
        corrupt=0.05,
        dropout=0.05,
    )


def half_the_noise(form: Rotated) -> dict[str, Any]:
    return {"variance_steps": form.variance_steps // 4}


def no_clip(form: Rotated) -> dict[str, Any]:
    return {"clip": 4.0, "peak": 4 * form.peak, "bound": 16 * form.bound}


@needs_dp
def test_canaries_see_little_noise_and_long_vectors() -> None:
    """Of all clients. With neither bug the claim is above the limit, whatever is given."""
    params = Params(200, 256, noisy(256, 200, 11.5))
    claim = noise.epsilon([(noise.Release.of(params, 200), 1)], DELTA)
    canaries = noise.Canaries(256, 1.0, 200)
    long = [4 * x for x in canaries.inputs()]

    def estimate(inputs: Sequence[Any], **planted: Any) -> noise.Estimate:
        return canaries.estimate(summed(params, inputs, **planted), DELTA)

    right = estimate(canaries.inputs())
    assert right.at_least < claim < right.epsilon + 1.5
    assert estimate(long).epsilon == pytest.approx(right.epsilon, abs=0.5)
    for found in (
        estimate(canaries.inputs(), **half_the_noise(noisy(256, 200, 11.5))),
        estimate(long, **no_clip(noisy(256, 200, 11.5))),
    ):
        assert found.at_least > claim
    assert f"{right.at_least:.3g} or more with 95 % confidence, both if" in right.explanation
    assert "no proof, and no upper limit" in right.explanation


@needs_dp
def test_canaries_do_not_see_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose noise is missing: what they show moves by far less than its own error."""
    canaries = noise.Canaries(256, 1.0, 200)
    right = Sum(Params(200, 256, noisy(256, 200, 11.5)))
    for party, x in enumerate(canaries.inputs()):
        right.add(x, keys(party))
    whole = canaries.estimate(right.total, DELTA)
    given = canaries.inputs()[0]
    field = right.field
    field.sub(right.elements, right.encoded(given, keys(0)), out=right.elements)
    monkeypatch.setattr(secagg.encoding.rotated, "sampler", Silent)
    field.add(right.elements, right.encoded(given, keys(0)), out=right.elements)
    found = canaries.estimate(right.total, DELTA)
    assert found.epsilon != whole.epsilon
    assert abs(found.epsilon - whole.epsilon) < 0.2
    assert whole.epsilon - whole.at_least > 1
    assert abs(check(right, canaries.inputs())) < 4  # 256 coordinates are too few for 1 in 200


class Silent:
    """A sampler that adds nothing."""

    def __init__(self, *which: Any) -> None:
        pass

    def add(self, *what: Any) -> None:
        pass


@needs_dp
def test_sums_without_noise_have_no_epsilon() -> None:
    canaries = noise.Canaries(64, 1.0, 40, seed=3)
    exact = np.sum(canaries.inputs(), axis=0)
    assert canaries.estimate(exact, DELTA).at_least == math.inf
    assert canaries.estimate(np.zeros(64), DELTA).at_least == 0  # no canary is in it
    assert canaries.estimate(-exact, DELTA).epsilon == 0
    # Where 40 canaries share 8 coordinates, guesses that do not know the coins are often wrong.
    crowded = noise.Canaries(8, 1.0, 40, seed=3)
    assert crowded.estimate(np.sum(crowded.inputs(), axis=0), DELTA).proved < 0.2
    assert crowded._proved(crowded.inside.astype(float), DELTA) > 0.7
    twice = canaries.estimate([exact, exact], DELTA)
    assert (twice.at_least, twice.rounds) == (math.inf, 2)


@needs_dp
def test_the_bound_of_one_run_is_that_of_its_authors() -> None:
    """As their program computes it, with SciPy's binomial distribution."""
    from scipy.stats import binom

    for right, guesses, eps, delta in [(95, 100, 2.0, 1e-5), (3, 9, 0.0, 0.1), (9, 9, 1.0, 1e-3)]:
        q = 1 / (1 + math.exp(-eps))
        below = np.cumsum([binom.pmf(right - i, guesses, q) for i in range(1, right + 1)])
        worst = max(below / np.arange(1, right + 1))
        wanted = min(1, binom.sf(right - 1, guesses, q) + worst * delta * 2 * 500)
        found = canaries_module._chance(500, guesses, right, eps, delta)
        assert found == pytest.approx(wanted, rel=1e-9)


def test_canaries_are_refused() -> None:
    for wrong in ({"count": 19}, {"length": 0}, {"clip": 0.0}, {"clip": math.inf}, {"seed": -1}):
        with refused(ParameterError, Code.ARGUMENT):
            noise.Canaries(**{"length": 8, "clip": 1.0, "count": 20} | wrong)
    canaries = noise.Canaries(8, 1.0, 20)
    for totals, code in [
        (np.zeros(7), Code.SHAPE),
        (np.zeros((0, 8)), Code.SHAPE),
        (np.zeros((1, 1, 8)), Code.SHAPE),
        (np.full(8, np.nan), Code.NOT_FINITE),
    ]:
        with refused(RangeError, code):
            canaries.estimate(totals, DELTA)
    with refused(ParameterError, Code.ARGUMENT, match="delta"):
        canaries.estimate(np.zeros(8), 0.0)


@needs_dp
@runs_at("checks of large sums")
def test_half_the_noise_of_a_large_round() -> None:
    """600 clients, 500 of which are canaries, with 2^16 coordinates."""
    made = plan(2**16, 600)
    canaries, others = noise.Canaries(2**16, 1.0, 500), directions(100, 2**16)
    inputs = [*canaries.inputs(), *others]
    right = canaries.estimate(summed(made.params, inputs), DELTA)
    half = canaries.estimate(summed(made.params, inputs, **half_the_noise(made.form)), DELTA)
    assert 2.5 < right.epsilon < 5
    assert right.proved < right.at_least < made.epsilon(600) < half.at_least
    assert half.proved < half.at_least


@needs_dp
@runs_at("checks of large sums")
def test_half_the_noise_of_a_training() -> None:
    """20 rounds of 500 canaries."""
    made = plan(4096, 500, 20, 8.0)
    canaries = noise.Canaries(4096, 1.0, 500)
    found = {}
    for planted in ({}, half_the_noise(made.form)):
        totals = [
            summed(made.params, canaries.inputs(), 500 * index, **planted) for index in range(20)
        ]
        found[bool(planted)] = canaries.estimate(totals, DELTA)
    assert 5 < found[False].epsilon < 9
    assert found[False].at_least < made.epsilon(500) < found[True].at_least


@needs_dp
@runs_at("checks of large sums")
def test_the_limit_has_the_confidence_that_it_says() -> None:
    """With normal noise, also where there are as many canaries as coordinates."""
    for length, count, rounds in ((256, 200, 1), (64, 64, 1), (100, 40, 3)):
        above, trials, sigma = 0, 400, math.sqrt(rounds)
        truth = canaries_module._gaussian_epsilon(math.sqrt(rounds) / sigma, DELTA)
        for trial in range(trials):
            canaries = noise.Canaries(length, 1.0, count, trial)
            random = np.random.default_rng([7, trial, length])
            exact = np.sum(canaries.inputs(), axis=0)
            totals = exact + sigma * random.normal(size=(rounds, length))
            above += canaries.estimate(totals, DELTA).at_least > truth
        assert above / trials < 0.05 + 3.5 * math.sqrt(0.05 * 0.95 / trials)


# -- the variance of sums ------------------------------------------------------------------------


def check(one: Sum, inputs: Sequence[Any]) -> float:
    return noise.variance_check(one.total, inputs, one.params, range(one.parties))


@pytest.mark.parametrize("kind", [Noise.SKELLAM, Noise.DISCRETE_GAUSSIAN])
@pytest.mark.parametrize("variance", [0.25, 9.0])
@pytest.mark.parametrize("rotation", [True, False])
def test_right_noise_has_its_variance(kind: Noise, variance: float, rotation: bool) -> None:
    """Narrow noise, too, beside which rounding counts; inputs on the grid, zeros and a long one."""
    form = replace(noisy(2**13, 5, variance, kind), rotation=rotation)
    one = Sum(Params(5, 2**13, form))
    on_grid, long = np.full(2**13, (1 - 1e-9) / form.scale * 3), 1e200 * directions(1, 2**13)[0]
    inputs = [on_grid, on_grid, on_grid, np.zeros(2**13), long]
    for party, x in enumerate(inputs):
        one.add(x, keys(party))
    assert abs(check(one, inputs)) < 4


@pytest.mark.parametrize("bug", ["none", "one key", "half", "input"])
def test_the_variance_shows_one_client(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose noise is missing, another's, or too small; and an input that is not the known one."""
    length = 2**12
    one, inputs = Sum(Params(6, length, noisy(length, 6, 9.0))), directions(6, length)
    for party in range(5):
        one.add(inputs[party], keys(party))
    planted = half_the_noise(noisy(length, 6, 9.0)) if bug == "half" else {}
    if bug == "none":
        monkeypatch.setattr(secagg.encoding.rotated, "sampler", Silent)
    one.add(
        -inputs[5] if bug == "input" else inputs[5], keys(0 if bug == "one key" else 5), **planted
    )
    hint = {"none": "as if 1.0. of them", "half": r"as if 0\.[678]\d+ of them"}.get(
        bug, "the same noise"
    )
    with refused(RangeError, Code.NOISE, match=hint):
        check(one, inputs)


def test_small_sums_are_judged_fairly() -> None:
    """Of few coordinates there is no false alarm, though their squares are far from normal."""
    params = Params(3, 2, noisy(2, 3, 30.0))
    inputs, found = directions(3, 2), []
    for trial in range(200):
        one = Sum(params)
        for party, x in enumerate(inputs):
            one.add(x, keys(3 * trial + party))
        found.append(check(one, inputs))
    assert abs(np.mean(found)) < 0.2
    assert 0.8 < np.std(found) < 1.2


def test_two_clients_with_one_key_are_correlated() -> None:
    """In vectors of a few dozen coordinates, if their noise is known; others are not."""
    params = Params(3, 32, noisy(32, 3, 9.0))
    x, y = directions(2, 32)

    def noise_of(given: Any, key: int) -> Any:
        one = Sum(params)
        one.add(given, keys(key))
        return one.codec.decode(one.elements, 1).total - given

    assert abs(noise.correlation_check(noise_of(x, 1), noise_of(y, 2))) < 4
    with refused(RangeError, Code.NOISE, match="with one key"):
        noise.correlation_check(noise_of(x, 1), noise_of(y, 1))
    assert noise.correlation_check(np.zeros(8), np.ones(8)) == 0


def test_checks_refuse_what_they_cannot_judge() -> None:
    params, inputs = Params(3, 7, noisy(7, 3, 9.0)), directions(3, 7)
    with refused(RangeError, Code.SHAPE, match="the sum has the shape"):
        noise.variance_check(np.zeros(6), inputs, params, range(3))
    with refused(RangeError, Code.SHAPE, match="the input of party 1"):
        noise.variance_check(np.zeros(7), [inputs[0], np.zeros(6)], params, range(2))
    with refused(ParameterError, Code.ARGUMENT):
        noise.variance_check(np.zeros(7), inputs, params, [])
    plain = replace(params, format=Rotated.of(clip=1.0, bits=4, length=7, cohort=3))
    with refused(ParameterError, Code.ARGUMENT, match="add no noise"):
        noise.variance_check(np.zeros(7), inputs, plain, range(3))
    with refused(RangeError, Code.NOT_FINITE, match="the sum has"):
        noise.variance_check(np.full(7, np.nan), inputs, params, range(3))
    for few in (inputs[:2], dict(enumerate(inputs[:2]))):
        with refused(ParameterError, Code.ARGUMENT, match="input of party 2 is missing"):
            noise.variance_check(np.zeros(7), few, params, range(3))
    with refused(ParameterError, Code.ARGUMENT, match="names a party twice"):
        noise.variance_check(np.zeros(7), inputs, params, [0, 1, 1])
    with refused(RangeError, Code.SHAPE):
        noise.correlation_check(np.zeros(7), np.zeros(6))
    for wrong in (["a"], None, [1j], [[1], [1, 2]]):
        with refused(RangeError, Code.DTYPE, match="must hold real numbers"):
            noise.correlation_check(wrong, wrong)  # type: ignore[arg-type]
    for number in (-1, 20, "1"):
        with refused(ParameterError, Code.ARGUMENT, match="canary must be"):
            noise.Canaries(4, 1.0, 20).vector(number)  # type: ignore[arg-type]


@runs_at("checks of large sums")
def test_one_of_a_hundred_clients_shows_in_a_large_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one per cent of variance; a key that serves for rounding and noise does not."""
    length, clients = 2**20, 100
    form, less = noisy(length, clients, 50.0), noisy(length, clients, 49.5)
    one, inputs = Sum(Params(clients, length, form)), directions(1, length) * clients
    for party, x in enumerate(inputs):
        one.add(x, keys(party))
    right = one.elements.copy()
    first, field = one.encoded(inputs[0], keys(0)), one.field

    def ratio(vector: Any, instead: Any = first) -> tuple[float, float]:
        """Returns variance and deviations that the check names, with another vector of a client."""
        field.sub(right, instead, out=one.elements)
        field.add(one.elements, vector, out=one.elements)
        with refused(RangeError, Code.NOISE) as error:
            check(one, inputs)
        ratio, z = re.findall(r"has ([\d.]+) times|([\d.]+) standard", str(error.value))
        return float(ratio[0]), float(z[1])

    assert abs(check(one, inputs)) < 4
    same = ratio(first, one.encoded(inputs[1], keys(1)))
    assert same == (pytest.approx(1.02, abs=0.006), pytest.approx(14.4, abs=4))
    with monkeypatch.context() as patched:
        patched.setattr(secagg.encoding.rotated, "sampler", Silent)
        missing = ratio(one.encoded(inputs[0], keys(0)))
    assert missing == (pytest.approx(0.99, abs=0.006), pytest.approx(7.2, abs=2))
    field.sub(right, first, out=one.elements)
    one.parties = 99
    one.add(inputs[0], lambda size: bytes(range(size)))  # the key of the rounding is that of noise
    assert abs(check(one, inputs)) < 4
    with refused(RangeError, Code.NOISE, match=r"has 1\.01\d\d times|has 1\.00[7-9]\d times"):
        noise.variance_check(one.total, inputs, replace(one.params, format=less), range(clients))


# -- the document --------------------------------------------------------------------------------


@needs_dp
@runs_at("programs")
def test_the_documents_program(capsys: pytest.CaptureFixture[str]) -> None:
    exec(programs("PRIVACY.md")["measured.py"], {})  # noqa: S102
    assert "with 95 % confidence" in capsys.readouterr().out
