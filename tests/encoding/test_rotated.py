"""Vectors bounded in L2: digits and noise come back as sums, and what is proved holds of integers.

Which integers a vector becomes, the reference model says (`test_vectors.py`).
"""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from levels import amount
from refusals import refused

import secagg
from secagg import Code, Field, ParameterError, Params, Phase, RangeError, Rotated
from secagg.encoding.choice import codec_for
from secagg.params.rotated import Noise, best_reach, least_bound, least_tail

SESSION = bytes(range(16))


def drawn_from(label: int) -> Callable[[int], bytes]:
    return np.random.default_rng(label).bytes


def forbidden(size: int) -> bytes:
    raise AssertionError(f"{size} random bytes were drawn for an input that is refused")


def noisy(
    length: int, *, cohort: int = 5, scale: float = 64.0, noise: Noise = Noise.SKELLAM, **more: Any
) -> Rotated:
    steps = more.pop("steps", 2**16 * 9)
    tail = more.pop("tail", None)
    given = {
        "clip": 1.0,
        "scale": scale,
        "peak": int(scale),
        "bound": int(scale**2) + length,
        "tail": least_tail(noise, steps, cohort, length) if tail is None else tail,
        "noise": noise,
        "variance_steps": steps,
    }
    return Rotated(**(given | more))


def summed(form: Rotated, inputs: list[np.ndarray], weights: list[int] | None = None) -> Any:
    """Returns what comes of the inputs' elements, added up in the field."""
    agreed = Params(max(3, len(inputs)), inputs[0].size, form)
    codec, field = codec_for(agreed, SESSION), Field(agreed.field_bits)
    total = field.zeros(agreed.vector_length)
    for at, x in enumerate(inputs):
        encoded = codec.encode(x, weights[at] if weights else 1, drawn_from(at))
        assert encoded.vector.dtype == field.dtype
        field.add(total, encoded.vector, out=total)
    return codec.decode(total, len(inputs))


def inputs_of(count: int, length: int, size: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(length)
    raw = rng.normal(size=(count, length))
    return [*(raw / np.linalg.norm(raw, axis=1, keepdims=True) * size)]


# -- without noise -------------------------------------------------------------------------------


@given(
    length=st.integers(1, 70),
    bits=st.sampled_from([1, 2, 3, 8, 16]),
    cohort=st.sampled_from([3, 5, 100]),
    max_weight=st.sampled_from([1, 7, 1000]),
    rotation=st.booleans(),
)
def test_a_mean_is_off_by_rounding_alone(
    length: int, bits: int, cohort: int, max_weight: int, rotation: bool
) -> None:
    """Whatever the slots: the error is that of rounding, if nothing is clipped."""
    form = Rotated.of(
        clip=1.0,
        bits=bits,
        length=length,
        cohort=cohort,
        max_weight=max_weight,
        rotation=rotation,
    )
    form = replace(form, scale=form.peak / 2)  # all of the clip is within reach
    inputs, weights = inputs_of(3, length), [1, max_weight, (max_weight + 1) // 2]
    decoded = summed(form, inputs, weights)
    assert decoded.weight == sum(weights)
    wanted = np.sum([w * x for w, x in zip(weights, inputs, strict=True)], axis=0)
    worst = 3 * form.step * max_weight * np.sqrt(length) * (1 + 1e-9)
    assert np.linalg.norm(decoded.total - wanted) <= worst
    assert decoded.mean == pytest.approx(decoded.total / sum(weights))


def test_rounding_is_unbiased_and_small() -> None:
    """The mean of n clients lies within (step / 2) * sqrt(d / n) in L2, on average."""
    length, count = 650, 40
    form = Rotated.of(clip=1.0, bits=4, length=length, cohort=count)
    form = replace(form, scale=form.scale / 2)  # twice as far out: nothing is clipped
    inputs = inputs_of(1, length) * count
    decoded = summed(form, inputs)
    assert np.linalg.norm(decoded.mean - inputs[0]) <= form.step / 2 * np.sqrt(length / count)


def test_slots_take_the_bits_that_were_promised() -> None:
    """Bits a coordinate, at a million of them, as the documents have them."""
    found = {}
    for cohort in (10, 100, 10_000):
        for bits in (1, 2, 4, 8):
            form = Rotated.of(clip=1.0, bits=bits, length=10**6, cohort=cohort)
            width = Params(cohort, 10**6, form).field_bits
            found[cohort, bits] = width / form.slots
    assert [found[10, bits] for bits in (1, 2, 4, 8)] == [4, 5, 8, 12]
    assert [found[100, bits] for bits in (1, 2, 4, 8)] == [7, 9, 11, 15]
    assert [found[10_000, bits] for bits in (1, 2)] == [14, 15]
    assert Rotated.of(clip=1.0, bits=8, length=10**6, cohort=10_000).slots == 1


def test_few_bits_are_better_rotated() -> None:
    """Vectors with a few large coordinates, as updates are."""
    rng = np.random.default_rng(2)
    spread = rng.standard_t(2.5, size=2000) ** 3
    inputs = [spread + rng.normal(size=2000) * np.abs(spread).mean() for _ in range(20)]
    clip = max(float(np.linalg.norm(x)) for x in inputs)
    wanted = np.mean(inputs, axis=0)

    def error(rotation: bool) -> float:
        form = Rotated.of(clip=clip, bits=4, length=2000, cohort=20, rotation=rotation)
        return float(np.linalg.norm(summed(form, inputs).mean - wanted) / np.linalg.norm(wanted))

    assert error(rotation=True) < error(rotation=False) / 5


def test_a_long_vector_is_shortened(caplog: pytest.LogCaptureFixture) -> None:
    """To the clip, in its direction, whatever its size; and all of its values count as clipped."""
    fine = noisy(64, cohort=3, clip=2.0, scale=2.0**16, bound=2**34 + 64, peak=2**17, steps=1)
    direction = inputs_of(1, 64)[0]
    for form in (Rotated.of(clip=2.0, bits=16, length=64, cohort=3), fine):
        codec: Any = codec_for(Params(3, 64, form), SESSION)
        rotated, counts = codec._rotated(direction * 2.0000002, 1.0)  # by rounding alone
        assert (np.linalg.norm(rotated), counts) == (pytest.approx(2.0, rel=1e-12), False)
        for size in (2.0001, 1e3, 1e38, 2.0**520, 1e200, 1.7e308):
            for kind in (np.float64, np.float32)[: 1 + (size < 1e39)]:
                x = (direction * size).astype(kind)
                assert codec.encode(x, 1, drawn_from(3)).clipped == 64
                assert summed(form, [x]).mean == pytest.approx(2.0 * direction, abs=1e-3)
        for short in (direction * 1.9999, np.zeros(64), direction.astype(np.float32)):
            assert codec.encode(short, 1, drawn_from(3)).clipped == 0


def test_another_session_is_another_rotation() -> None:
    form = Rotated.of(clip=1.0, bits=16, length=64, cohort=3)
    agreed, x = Params(3, 64, form), inputs_of(1, 64)[0]
    one, other = (
        codec_for(agreed, session).encode(x, 1, drawn_from(1)).vector
        for session in (SESSION, bytes(16))
    )
    assert (one != other).sum() > 20


# -- with noise ----------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [Noise.SKELLAM, Noise.DISCRETE_GAUSSIAN])
def test_the_sum_has_the_noise_of_all(noise: Noise) -> None:
    """Its variance is that of the format, times the clients; the rest is rounding."""
    length, count = 4096, 5
    form = noisy(length, noise=noise, scale=4096.0, bound=4096**2 + 2 * length)
    inputs = inputs_of(count, length)
    off = (summed(form, inputs).total - np.sum(inputs, axis=0)) * form.scale
    wanted = count * float(form.variance)
    assert np.var(off) == pytest.approx(wanted + count / 6, rel=6 * np.sqrt(2 / length))
    assert abs(np.mean(off)) < 6 * np.sqrt(wanted / length)


@given(data=st.data(), length=st.integers(1, 40), towards=st.booleans())
def test_the_bound_is_kept_whatever_the_vector(
    data: st.DataObject, length: int, towards: bool
) -> None:
    """By the integers themselves: without noise the sum of squares would be above it.

    Also of a vector that is longer than the clip after all, as floating point could make it.
    """
    x = np.array(data.draw(st.lists(st.floats(-2, 2), min_size=length, max_size=length)))
    least, peak = least_bound(1.0, 3.7), data.draw(st.sampled_from([2, 4]))
    form = noisy(length, scale=3.7, peak=peak, bound=least if towards else least + length // 4)
    agreed = Params(5, length, form)
    field = Field(agreed.field_bits)
    codec: Any = codec_for(agreed, SESSION)
    vector = field.zeros(length)
    rotated, _ = codec._rotated(x, 1.0)
    rotated *= data.draw(st.sampled_from([1.0, 1.2, 3.0]))
    codec._round_within_bound(rotated, vector, bytes(32))
    centred = [int(q) - field.modulus * (int(q) > field.modulus // 2) for q in vector]
    assert sum(q * q for q in centred) <= form.bound
    assert all(abs(q) <= form.peak for q in centred)


def test_rounding_is_done_again_and_then_towards_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """With other words of the stream each time."""
    starts: list[int] = []
    original = secagg.encoding.rotated.quantize

    def noted(array: Any, start: int, *more: Any) -> int:
        starts.append(start)
        return original(array, start, *more)

    monkeypatch.setattr(secagg.encoding.rotated, "quantize", noted)
    length = 64
    form = noisy(length, scale=3.0, peak=3, bound=9, rotation=False)
    codec: Any = codec_for(Params(5, length, form), SESSION)
    vector = Field(Params(5, length, form).field_bits).zeros(length)
    codec._round_within_bound(np.full(length, 1 / 8), vector, bytes(32))
    assert starts == [attempt * length for attempt in range(16)]
    assert not vector.any()  # 3 / 8 of a level each
    codec._round_within_bound(np.full(length, 1e-9), vector, bytes(32))
    assert len(starts) == 17


class Loud:
    """A sampler that adds what is hardly ever drawn, and nothing to the first element."""

    def __init__(self, *which: int) -> None:
        pass

    def add(self, field: Field, vector: np.ndarray, *stream: Any) -> None:
        field.add(vector, np.arange(vector.size, dtype=vector.dtype) * 2**20, out=vector)


def test_what_is_drawn_is_added_to_every_element(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, however large, and whatever the input is: zeros, short or shortened."""
    form = noisy(8, steps=2**50)
    codec, field = codec_for(Params(5, 8, form), SESSION), Field(Params(5, 8, form).field_bits)
    monkeypatch.setattr(secagg.encoding.rotated, "sampler", Loud)
    for x in (np.zeros(8), np.full(8, 0.1), np.full(8, 9.0)):
        loud = codec.encode(x, 1, drawn_from(1)).vector
        plain: Any = field.zeros(8)
        field.sub(loud, np.arange(8, dtype=field.dtype) * 2**20, out=plain)
        centred = [int(q) - field.modulus * (int(q) > field.modulus // 2) for q in plain]
        assert sum(q * q for q in centred) <= form.bound


def test_a_sum_that_wraps_costs_accuracy_alone() -> None:
    """Beyond what honest clients and the tail reach, the server refuses it."""
    form = noisy(8)
    agreed = Params(5, 8, form)
    codec, field = codec_for(agreed, SESSION), Field(agreed.field_bits)
    most = 4 * form.peak + form.tail
    for at_limit in (most, field.modulus - most):
        codec.decode(np.full(8, at_limit, field.dtype), 4)
    for beyond in (most + 1, field.modulus - most - 1, field.modulus // 2):
        with refused(RangeError, Code.IMPOSSIBLE_SUM):
            codec.decode(np.full(8, beyond, field.dtype), 4)


# -- whole rounds --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", secagg.Mode)
def test_a_round_with_dropouts(mode: secagg.Mode) -> None:
    inputs = inputs_of(7, 33, 0.9)
    form = Rotated.of(clip=1.0, bits=12, length=33, cohort=7, max_weight=9)
    run = secagg.secure_sum(
        inputs, form, weights=[1, 2, 3, 4, 5, 6, 9], drops={2: Phase.MASKED_INPUT}, mode=mode
    )
    weights = np.array([1, 2, 0, 4, 5, 6, 9])
    assert run.weight == 27
    assert run.mean == pytest.approx(np.average(inputs, axis=0, weights=weights), abs=2e-2)
    noise = noisy(33, cohort=7, scale=2.0**20, bound=2**40 + 100)
    run = secagg.secure_sum(inputs, noise, drops={2: Phase.MASKED_INPUT}, mode=mode)
    assert run.total == pytest.approx(np.sum(np.delete(inputs, 2, 0), axis=0), abs=1e-3)


def test_a_model_in_one_vector() -> None:
    """Ranges are units before the rotation; metrics take a tenth of the clip."""
    old: dict[str, Any] = {"w": np.zeros((8, 9), np.float32), "b": np.ones(5), "n": np.array(3)}
    form = Rotated.of(clip=1.0, bits=16, length=78, cohort=4, max_weight=10)
    layout = secagg.ModelLayout.of(
        old, form, cohort=4, arrays={"b": 100.0}, metrics={"loss": secagg.Range(0, 10)}
    )
    assert layout.length == 72 + 5 + 1
    news = [{"w": old["w"] + 0.01 * k, "b": old["b"] + 2.0 * k, "n": np.array(9)} for k in range(4)]
    _, head, b, n, w, loss, note = (" ".join(row.split()) for row in str(layout).splitlines())
    assert head == "name shape dtype mode range step std dev"
    assert b.startswith("b (5,) float64 mean L2 norm 100 ")
    assert w.startswith("w (8, 9) float32 mean L2 norm 1 ")
    assert n == "n () int64 keep"
    assert loss.startswith("loss (metric) () float64 mean 0..10 ")
    assert note.startswith("L2 norm: of an update that, by itself, has the whole clip")
    vectors = [layout.pack(new, old, {"loss": float(k)}) for k, new in enumerate(news)]
    assert vectors[3][-1] == pytest.approx(-0.04)
    assert np.linalg.norm(vectors[3][:5]) == pytest.approx(6.0 * np.sqrt(5) / 100)
    run = secagg.secure_sum(vectors, form, weights=[1, 1, 1, 5])
    model, metrics = layout.unpack(run, old)
    assert metrics["loss"] == pytest.approx(18 / 8, abs=0.05)
    assert model["w"] == pytest.approx(np.full((8, 9), 0.01 * 18 / 8), abs=1e-3)
    assert model["b"] == pytest.approx(np.full(5, 1 + 2.0 * 18 / 8), abs=0.1)
    assert (model["w"].dtype, int(model["n"])) == (np.float32, 3)
    with refused(ParameterError, Code.ARGUMENT, match="cannot be summed exactly"):
        secagg.ModelLayout.of(
            old, form, cohort=4, metrics={"right": secagg.Range(0, 9, "sum", exact=True)}
        )


def test_the_errors_of_a_layout_are_standard_deviations() -> None:
    """Of one value with the largest weight, and of the sum over the whole cohort."""
    form = Rotated.of(clip=1.0, bits=4, length=4000, cohort=9, max_weight=5, rotation=False)
    old = {"mean": np.zeros(2000), "sum": np.zeros(2000)}
    layout = secagg.ModelLayout.of(old, form, cohort=9, arrays={"sum": secagg.Range(-20, 0, "sum")})
    new = {"mean": np.zeros(2000), "sum": np.full(2000, -10.0)}  # between two levels
    vector = layout.pack(new, old)
    one = layout.unpack(summed(form, [vector], [5]), old)[0]
    both = layout.unpack(summed(form, [vector] * 9, [5] * 9), old)[0]
    assert "L2 norm 10 around -10" in str(layout)
    assert np.std(one["mean"] - new["mean"]) == pytest.approx(layout.errors["mean"], rel=0.1)
    assert np.std(both["sum"] - 45 * new["sum"]) == pytest.approx(layout.errors["sum"], rel=0.1)


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "weight", "code"),
    [
        (np.full(4, np.nan), 1, Code.NOT_FINITE),
        (np.full(4, np.inf), 1, Code.NOT_FINITE),
        (np.zeros(5), 1, Code.SHAPE),
        (np.zeros((4, 1)), 1, Code.SHAPE),
        (np.array(["a"] * 4), 1, Code.DTYPE),
        (iter([np.zeros(4)]), 1, Code.SHAPE),
        (np.zeros(4), 0, Code.WEIGHT),
        (np.zeros(4), 8, Code.WEIGHT),
        (np.zeros(4), 1.5, Code.WEIGHT),
    ],
)
def test_inputs_are_refused_before_anything_is_drawn(values: Any, weight: Any, code: Code) -> None:
    form = Rotated.of(clip=1.0, bits=8, length=4, cohort=3, max_weight=7)
    agreed = Params(3, 4, form)
    codec = codec_for(agreed, SESSION)
    with refused(RangeError, code):
        secagg.encoding.chunks.is_chunked(values) and codec.encoder(weight, forbidden)
        codec.encode(values, weight, forbidden)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "clip of nothing": ({"clip": 0.0}, "clip must be finite"),
    "clip that is NaN": ({"clip": float("nan")}, "clip must be finite"),
    "infinite clip": ({"clip": float("inf")}, "clip must be finite"),
    "scale of nothing": ({"scale": 0.0}, "scale must be finite"),
    "no peak": ({"peak": 0}, "peak must be in"),
    "large peak": ({"peak": 2**31}, "peak must be in"),
    "small bound": ({"bound": 64**2 - 1}, "it must be 4096 or more"),
    "no bound": ({"bound": 0}, "bound must be in"),
    "no tail": ({"tail": 0}, "tail must be in"),
    "no variance": ({"steps": 0, "tail": 9}, "variance_steps must be in"),
    "weights": ({"max_weight": 2}, "max_weight must be 1 with noise"),
    "slots": ({"slots": 2}, "slots must be 1 with noise"),
    "noise": ({"noise": 3, "tail": 9}, "noise must be a secagg.Noise"),
    "rotation": ({"rotation": 2}, "rotation is True or False"),
}


@pytest.mark.parametrize("what", WRONG)
def test_impossible_formats_are_refused(what: str) -> None:
    changed, message = WRONG[what]
    with refused(ParameterError, Code.ARGUMENT, match=message):
        noisy(64, **changed)


def test_without_noise_there_is_none() -> None:
    for name in ("bound", "tail", "variance_steps"):
        with refused(ParameterError, Code.ARGUMENT, match=name):
            Rotated(clip=1.0, scale=1.0, peak=3, **{name: 1})
    with refused(ParameterError, Code.ARGUMENT, match="peak"):
        Rotated(clip=1.0, scale=1.0, peak=2**16)
    with refused(ParameterError, Code.HEADROOM):
        Params(100, 9, Rotated(clip=1.0, scale=1.0, peak=2**16 - 1, slots=4))
    with refused(ParameterError, Code.HEADROOM):
        Rotated.of(clip=1.0, bits=16, length=9, cohort=2**16, max_weight=2**32 - 1) and Params(
            2**16, 9, Rotated(clip=1.0, scale=1.0, peak=1, slots=62)
        )


def test_the_tail_is_for_this_length_and_cohort() -> None:
    """One that is too short is refused with the parameters, and on arrival."""
    form = noisy(64)
    Params(5, 64, form)
    with refused(ParameterError, Code.HEADROOM, match="the tail must be"):
        Params(5, 2**20, form)
    with refused(ParameterError, Code.HEADROOM, match="the tail must be"):
        Params(9, 64, form)
    assert max(least_tail(noise, 2**64 - 1, 2**16, 2**32) for noise in Noise if noise) < 2**40
    offer = Params(5, 64, form).round().encode()
    at = offer.index(form.encode()) + 29  # of the tail
    worse = offer[:at] + (form.tail - 1).to_bytes(8, "little") + offer[at + 8 :]
    with refused(secagg.DecodeError, Code.HEADROOM):
        secagg.Round.decode(worse)


@pytest.mark.parametrize("noise", [Noise.SKELLAM, Noise.DISCRETE_GAUSSIAN])
def test_tails_are_as_rare_as_is_said(noise: Noise) -> None:
    """Against the exact distribution, at variances where it can be summed up."""
    for variance in (Fraction(1, 16), Fraction(3), Fraction(40)):
        steps = int(variance * 2**16)
        tail = least_tail(noise, steps, 2, 100)
        assert least_tail(noise, steps, 2, 1) <= tail <= least_tail(noise, steps, 2, 10**6)
        exact = _beyond(noise, 2 * float(variance), tail)
        assert 100 * exact <= 2.0**-40
        assert 100 * _beyond(noise, 2 * float(variance), int(0.7 * tail) - 1) > 2.0**-40


def _beyond(noise: Noise, variance: float, tail: int) -> float:
    """Returns Pr(|X| > tail): of a Skellam number, or two discrete Gaussians (as one, nearly)."""
    reach = np.arange(-400, 401)
    if noise is Noise.SKELLAM:
        mean = variance / 2
        steps = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 801)))])
        poisson = np.exp(-mean + np.arange(801) * np.log(mean) - steps)
        chances = np.array([float(poisson[: 801 - abs(k)] @ poisson[abs(k) :]) for k in reach])
    else:
        half = np.exp(-(reach**2) / variance)  # of one of the two
        half /= half.sum()
        chances = np.convolve(half, half)[400:-400]
    return float(chances[np.abs(reach) > tail].sum())


@pytest.mark.parametrize(
    ("rotation", "cohort", "widths"),
    [
        (True, 100, [(16,), (16,), (17,), (19,)]),
        (True, 10_000, [(16, 17), (18,), (20,), (22,)]),
        (False, 100, [(16,), (18,), (20,), (22,)]),
        (False, 10_000, [(23,), (25,), (27,), (29,)]),
    ],
)
def test_fields_with_noise_are_narrow(
    rotation: bool, cohort: int, widths: list[tuple[int, ...]]
) -> None:
    """A million coordinates, z = 1, nine of ten clients honest and there, by levels per clip."""
    length = 10**6
    for bits, wanted in zip((8, 10, 12, 14), widths, strict=True):
        scale = 2.0**bits
        bound = int(scale**2 + length / 4 + scale + np.sqrt(length) / 2) + 1
        steps = bound * 2**16 * 10 // (9 * cohort)
        form = Rotated(
            clip=1.0,
            scale=scale,
            peak=int(6 * scale / np.sqrt(length)) + 1 if rotation else int(scale),
            bound=bound,
            tail=least_tail(Noise.SKELLAM, steps, cohort, length),
            noise=Noise.SKELLAM,
            variance_steps=steps,
            rotation=rotation,
        )
        assert Params(cohort, length, form).field_bits in wanted


def test_the_reach_is_the_best_one() -> None:
    """As in the prototype: 1.5 for one bit, 2 to 2.3, 3.2, and 4.4 to 4.8 for 8."""
    reaches = [best_reach(bits, 20) for bits in (1, 2, 4, 8)]
    assert reaches == pytest.approx([1.5, 2.2, 3.15, 4.5], abs=0.15)
    assert best_reach(2, 1000) > best_reach(2, 20)


@given(st.integers(0, amount("examples of a property")))
def test_formats_survive_the_wire(seed: int) -> None:
    rng = np.random.default_rng(seed)
    forms = [
        noisy(64, scale=float(rng.integers(1, 2**10)), noise=Noise(int(rng.integers(1, 3)))),
        Rotated.of(clip=rng.uniform(0.1, 9), bits=int(rng.integers(1, 9)), length=64, cohort=5),
    ]
    for form in forms:
        agreed = Params(5, 64, form)
        assert len(form.encode()) == 52
        assert secagg.Round.decode(agreed.round().encode()).params == agreed
