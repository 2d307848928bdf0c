"""Models with ranges of their own, buffers and metrics: what comes back, how exactly, and what not.

The reference adds up fractions, so it knows neither the grid nor a rounding.
"""

import math
import struct
import tracemalloc
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from harness import SteppedRound, clone
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from support import looped

from secagg import (
    ClippingWarning,
    Code,
    Field,
    FixedPoint,
    Integers,
    Layout,
    ModelLayout,
    ParameterError,
    Params,
    Phase,
    Policy,
    Range,
    RangeError,
    Rotated,
    digest,
    secure_sum,
)
from secagg.encoding.choice import codec_for
from secagg.encoding.codec import Decoded
from secagg.encoding.scales import _at_levels

BF16 = np.dtype(ml_dtypes.bfloat16)
FORM = FixedPoint(clip=1.0, bits=20)
STATE = {
    "conv.weight": np.zeros((2, 3), np.float32),
    "bn.running_var": np.ones(2, np.float32),
    "bn.num_batches_tracked": np.array(7),
    "frozen": np.array([True, False]),
}


def summed(layout: ModelLayout, vectors: list[np.ndarray], weights: list[int]) -> Decoded:
    """The result of a round with these inputs, by the codec alone."""
    params = Params(layout.cohort, layout.length, layout.format)
    codec, field = codec_for(params, bytes(16)), Field(params.field_bits)
    random = np.random.default_rng(len(vectors)).bytes
    total = np.zeros(params.vector_length, field.dtype)
    for vector, weight in zip(vectors, weights, strict=True):
        encoded = codec.encode(vector, weight, random)
        assert encoded.clipped == 0, "what pack clips, a client does not clip again"
        total = field.add(total, encoded.vector)
    return codec.decode(total, len(vectors))


def exactly(array: object) -> list[Fraction]:
    """The values of an array as fractions."""
    flat = np.asarray(array).reshape(-1)
    wide = flat.astype(np.float64) if flat.dtype.kind not in "biu" else flat
    return [Fraction(value) for value in wide.tolist()]


def clipped(value: Fraction, low: float, high: float) -> Fraction:
    return max(Fraction(low), min(Fraction(high), value))


# -- what comes back ----------------------------------------------------------------------------

ENDS = [(-1.0, 1.0), (-0.1, 0.1), (0.0, 10.0), (1e9, 1e9 + 1), (-3e-9, 1e-9), (-1e30, 1e30)]


@st.composite
def rounds(draw: st.DrawFn) -> tuple[ModelLayout, list[Any], Any, list[Any], list[int]]:
    """A layout of real numbers in any ranges; models, the old one, metrics and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    form = FixedPoint(
        draw(st.sampled_from([1.0, 0.1, 8.0, 2.0**-300, 2.0**300])),
        draw(st.integers(1, 32)),
        draw(st.sampled_from([1, 5])),
    )
    dtypes = st.sampled_from([np.dtype(code) for code in ("f2", "f4", "f8", ">f4")] + [BF16])
    shapes = st.sampled_from([(), (3,), (2, 2), (0,)])
    kinds = draw(st.lists(st.tuples(dtypes, shapes), max_size=3))
    old = {f"a{i}": np.ones(shape).astype(dtype) for i, (dtype, shape) in enumerate(kinds)}
    ranges = {
        name: Range(*draw(st.sampled_from(ENDS)), draw(st.sampled_from(["mean", "sum"])))
        for name in old
        if draw(st.booleans())
    }
    measures = {
        name: Range(*draw(st.sampled_from(ENDS)), draw(st.sampled_from(["mean", "sum"])))
        for name in ("loss", "accuracy")
    }
    parties = draw(st.integers(2, 4))
    layout = ModelLayout.of(old, form, cohort=4, arrays=ranges, metrics=measures)

    def drawn(slot: Any, base: float) -> np.ndarray:
        half = (slot.high - slot.low) / 2
        values = base + slot.low + half + rng.uniform(-1.1, 1.1, slot.shape) * half
        with np.errstate(over="ignore"):
            near = np.asarray(values).astype(slot.dtype)
        return near if np.isfinite(near).all() else np.ones(slot.shape).astype(slot.dtype)

    models = [
        {slot.name: drawn(slot, float(slot.mode == "mean")) for slot in layout.arrays}
        for _ in range(parties)
    ]
    metrics = [{slot.name: float(drawn(slot, 0)) for slot in layout.metrics} for _ in models]
    weights = [draw(st.integers(1, form.max_weight)) for _ in models]
    return layout, models, old, metrics, weights


@given(rounds())
def test_means_and_sums_are_those_of_exact_arithmetic(
    case: tuple[ModelLayout, list[Any], Any, list[Any], list[int]],
) -> None:
    """Up to the error that the layout tells, and one rounding to the dtype of the array."""
    layout, models, old, metrics, weights = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClippingWarning)
        inputs = [layout.pack(new, old, m) for new, m in zip(models, metrics, strict=True)]
    assert {vector.dtype for vector in inputs} == {layout.dtype}
    model, found = layout.unpack(summed(layout, inputs, weights), old)
    for slot in (*layout.arrays, *layout.metrics):
        got = found[slot.name] if slot.metric else model[slot.name]
        assert slot.metric or got.shape == slot.shape
        source = metrics if slot.metric else models
        update = slot.mode == "mean" and not slot.metric
        base = exactly(old[slot.name]) if update else [Fraction(0)] * slot.size
        columns = zip(*(exactly(each[slot.name]) for each in source), strict=True)
        for value, at, column in zip(exactly(got), base, columns, strict=True):
            total = sum(
                weight * clipped(each - at, slot.low, slot.high)
                for each, weight in zip(column, weights, strict=True)
            )
            wanted = at + (total / sum(weights) if slot.mode == "mean" else total)
            assert abs(value - wanted) <= layout.errors[slot.name] + spacing(got, wanted, update)


def spacing(got: Any, value: Fraction, rounded: bool) -> Fraction:
    """Returns how far one rounding to its dtype may move a value of an array."""
    if not rounded:
        return Fraction(0)
    eps = {2: 2.0**-8 if got.dtype == BF16 else 2.0**-11, 4: 2.0**-24, 8: 2.0**-53}
    return abs(value) * Fraction(eps[got.dtype.itemsize]) * 2 + Fraction(1, 2**24)


def test_the_errors_are_about_one_step() -> None:
    """A promise that any error keeps would be none: they are a step, and a little more."""
    layout = ModelLayout.of(
        {"a": np.zeros(3, np.float32), "b": np.zeros(1), "n": np.zeros(2, int)},
        FixedPoint(1.0, 20, 3),
        cohort=10,
        arrays={"a": 0.5, "b": Range(-1, 3, "sum"), "n": Range(0, 99, "sum")},
        metrics={"loss": Range(0, 8)},
    )
    step = 1 / (2**20 - 1)
    assert layout.errors["a"] == pytest.approx(step, rel=0.04)
    assert layout.errors["b"] == pytest.approx(30 * 4 * step, rel=1e-6)
    assert layout.errors["loss"] == pytest.approx(8 * step, rel=0.04)
    assert layout.errors["n"] == 0
    far = ModelLayout.of({}, FixedPoint(1.0, 32), cohort=2, metrics={"m": Range(1e9, 1e9 + 1)})
    inputs = [far.pack({}, None, {"m": 1e9 + ulps * 2.0**-23}) for ulps in (0, 1)]
    mean = far.unpack(summed(far, inputs, [1, 1]))[1]["m"]
    wrong = abs(Fraction(mean) - 10**9 - Fraction(1, 2**24))  # a float next to the mean of floats
    assert 1 / 2**32 < wrong <= far.errors["m"] < 1e-5
    fine = ModelLayout.of([np.zeros(3, np.float32)], FixedPoint(1.0, 28), cohort=9)
    assert fine.dtype == np.float64, "a float32 would be coarser than the grid"
    assert fine.errors["0"] == pytest.approx(2 / 2**28, rel=1e-3)


def test_a_state_dict_in_one_sum() -> None:
    """Weights and running values are averaged, counters and masks stay, metrics ride along."""
    layout = ModelLayout.of(
        STATE,
        FORM,
        cohort=3,
        clip=0.1,
        arrays={"*.running_*": 10.0},
        metrics={"loss": Range(0, 10), "correct": Range(0, 1000, "sum", exact=True)},
    )
    assert [(slot.name, slot.mode, slot.high) for slot in layout.arrays] == [
        ("bn.num_batches_tracked", "keep", 0),
        ("bn.running_var", "mean", 10),
        ("conv.weight", "mean", 0.1),
        ("frozen", "keep", 0),
    ]
    assert (layout.length, layout.dtype) == (10, np.float64)
    vectors = []
    for party in range(3):
        new = {name: array.copy() for name, array in STATE.items()}
        new["conv.weight"] += np.float32(0.01 * party)
        new["bn.running_var"] += np.float32(party)
        new["bn.num_batches_tracked"] += 100
        new["frozen"] = ~new["frozen"]
        vectors.append(layout.pack(new, STATE, {"loss": 2.0 + party, "correct": 333 * party}))
    run = secure_sum(vectors, FORM)
    assert run.run.result is not None
    for result in (run, run.run.result):
        model, metrics = layout.unpack(result, STATE)
        assert list(model) == list(STATE)
        assert [array.dtype for array in model.values()] == [a.dtype for a in STATE.values()]
        assert model["conv.weight"] == pytest.approx(np.full((2, 3), 0.01), abs=3e-7)
        assert model["bn.running_var"] == pytest.approx(np.full(2, 2.0), abs=3e-5)
        assert (model["bn.num_batches_tracked"], model["frozen"].tolist()) == (7, [True, False])
        assert metrics == {"loss": pytest.approx(3, abs=2e-5), "correct": 999}
        assert type(metrics["correct"]) is int
    model["bn.num_batches_tracked"][...] = 0
    assert STATE["bn.num_batches_tracked"] == 7, "what is kept is a copy"


def test_an_old_model_that_the_training_changed_is_refused() -> None:
    """The live arrays of a model, taken before and after, have no difference."""
    old = {"w": np.zeros(2), "b": np.zeros((2, 3)).T, "n": np.zeros(1, int), "e": np.zeros(0)}
    layout = ModelLayout.of(old, FORM, cohort=2)
    same: list[Any] = [
        old,
        {**old, "w": np.ones(2)},
        {**old, "n": np.ones(1, int), "w": old["w"][:]},
    ]
    for new in same:
        with refused(RangeError, Code.LAYOUT, match="array '[bw]' .*in the same memory.*copy the"):
            layout.pack(new, old)
    copied = {**old, "w": np.ones(2), "b": old["b"].copy()}  # what is kept or empty may be the same
    assert layout.pack(copied, old).tolist() == [0] * 6 + [1, 1]
    listed = {**old, "w": [0.0, 1.0], "b": old["b"].copy()}
    assert layout.pack(listed, old).tolist() == [0] * 7 + [1]
    with refused(RangeError, Code.LAYOUT, match="'w' .*in the same memory"):
        layout.pack(listed, {**listed, "b": old["b"]})


def test_models_that_share_a_buffer_but_no_number_are_two() -> None:
    """Their columns in turn, say, of which each begins within the other."""
    both = np.zeros((3, 2), np.float32)
    both[:, 1] = 0.5
    layout = ModelLayout.of(both[:, 0], FORM, cohort=2)
    assert layout.pack(both[:, 1], both[:, 0]).tolist() == [0.5] * 3


def test_arrays_that_nobody_can_change_may_be_the_same_before_and_after() -> None:
    """As those of JAX that a training leaves alone; but not the whole model."""
    old = {"head": np.zeros(2), "frozen": np.zeros(2)}
    for array in old.values():
        array.flags.writeable = False
    layout = ModelLayout.of(old, FORM, cohort=2)
    assert layout.pack({**old, "head": np.ones(2)}, old).tolist() == [0, 0, 1, 1]
    with refused(RangeError, Code.LAYOUT, match="in the same memory"):
        layout.pack(dict(old), old)
    number = ModelLayout.of({"a": 0.0, "b": np.zeros(1)}, FORM, cohort=2)
    assert number.pack({"a": 0.5, "b": np.ones(1)}, {"a": 0.5, "b": np.zeros(1)}).tolist() == [0, 1]


class Tensor:
    """A tensor of PyTorch: of a dtype that NumPy lacks, it gives itself as float32."""

    def __init__(self, data: np.ndarray, dtype: str) -> None:
        self.data, self.dtype, self.shape = data, dtype, data.shape

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.data

    def float(self) -> "Tensor":
        copied = self.data.copy() if self.dtype == "torch.bfloat16" else self.data
        return Tensor(copied, "torch.float32")

    def data_ptr(self) -> int:
        return self.data.__array_interface__["data"][0]


def test_tensors_are_read_as_they_are() -> None:
    """Also bfloat16, and two names of one tensor."""
    weight = Tensor(np.full(2, 0.5, np.float32), "torch.bfloat16")
    state = {"a.weight": weight, "b.weight": weight, "n": Tensor(np.array(3), "torch.int64")}
    layout = ModelLayout.of(state, FORM, cohort=2)
    new = {name: Tensor(tensor.data.copy(), tensor.dtype) for name, tensor in state.items()}
    vector = layout.pack(new, state)
    assert vector.tolist() == [0] * 4
    model, _ = layout.unpack(vector, state)
    assert (model["a.weight"].dtype, model["n"].dtype) == (np.float32, np.int64)
    assert model["b.weight"].tolist() == [0.5, 0.5]
    live = {name: Tensor(tensor.data, tensor.dtype) for name, tensor in state.items()}
    with refused(RangeError, Code.LAYOUT, match="'a.weight' .*in the same memory"):
        layout.pack(live, state)


def test_metrics_alone() -> None:
    """An evaluation has no model to send, and old models are not asked for."""
    layout = ModelLayout.of({}, FORM, cohort=2, metrics={"accuracy": Range(0, 1)})
    result = summed(layout, [layout.pack({}, None, {"accuracy": x}) for x in (0.25, 0.75)], [1, 1])
    model, metrics = layout.unpack(result)
    assert model == {}
    assert metrics["accuracy"] == pytest.approx(0.5, abs=2e-6)
    assert layout.unpack(result.mean)[1] == pytest.approx(metrics)


def test_a_mean_that_its_dtype_cannot_hold_stays_wide() -> None:
    old = [np.full(1, 6e4, np.float16), np.zeros(1, np.float16)]
    layout = ModelLayout.of(old, FixedPoint(1e4), cohort=2)
    wide, narrow = layout.unpack(np.array([9e3, 1.0]), old)[0]
    assert (wide.dtype, wide[0], narrow.dtype) == (np.float64, 69e3, np.float16)


def test_pack_makes_one_vector_and_no_copies() -> None:
    """Of float32 models float32; the models themselves stay as they are."""
    rng = np.random.default_rng(1)
    old = [rng.normal(size=(500, 400)).astype(np.float32) for _ in range(2)]
    new = [array + np.float32(0.01) for array in old]
    before = [array.copy() for array in (*new, *old)]
    layout = ModelLayout.of(old, FORM, cohort=2, metrics={"loss": Range(0, 1)})
    tracemalloc.start()
    vector = layout.pack(new, old, {"loss": 0.5})
    peak = tracemalloc.get_traced_memory()[1]
    layout.unpack(vector, old)
    tracemalloc.stop()
    assert vector.dtype == np.float32
    assert peak < 1.5 * vector.nbytes
    assert all(map(np.array_equal, before, (*new, *old)))


# -- exact sums ---------------------------------------------------------------------------------


@looped("clip", [1.0, 0.1, 0.51, 3.0, 12345.678, 2.0**-900, 2.0**900])
def test_every_level_is_reached_whatever_is_drawn(clip: float) -> None:
    """For the least and the greatest word of the rounding, so for all of them, up to 20 bits."""
    for bits in (1, 2, 7, 13, 20):
        form = FixedPoint(clip, bits)
        levels = np.arange(0, form.levels, 1 + form.levels // 50_000, dtype=np.float64)
        value = (_at_levels(levels, form) + form.clip) * form.scale
        for word in (0.0, 1 - 2.0**-32):
            assert np.array_equal(np.floor(value + word), levels)


@looped("form, low, high", [
    (FixedPoint(0.1, 20, 1000), -5, 2**20 - 8),
    (FixedPoint(3.0, 16, 7), 0, 1),
    (FixedPoint(1.0, 32, 3), -1000, 10**6),
    (FixedPoint(1.0, 2), 7, 9),
    (Integers(-3, 2**20), 10**6, 2 * 10**6),
    (Integers(0, 2**50), -(2**50), 0),
])  # fmt: skip
def test_counts_are_exact(form: FixedPoint | Integers, low: int, high: int) -> None:
    """Both ends, and whatever lies between; arrays of integers, bools and floats, and metrics."""
    rng = np.random.default_rng(high)
    model = {"n": np.zeros(300, np.int64), "u": np.zeros(4, np.uint64), "t": np.zeros(9, bool)}
    span = Range(low, high, "sum", exact=True)
    ranges = {"n": span, "u": span if low >= 0 else "keep", "t": "sum"}
    if isinstance(form, FixedPoint):
        model["f"], ranges["f"] = np.zeros(2), span
    layout = ModelLayout.of(model, form, cohort=50, arrays=ranges, metrics={"count": span})
    assert set(layout.errors.values()) == {0.0}
    weights = rng.integers(1, form.max_weight + 1, 50).tolist()
    models, metrics = [], []
    for _ in weights:
        numbers = np.append([low, high], rng.integers(low, high, 298, endpoint=True))
        models.append({
            **{"n": numbers, "u": abs(numbers[:4]).astype(np.uint64)},
            **{"t": rng.integers(0, 2, 9).astype(bool), "f": numbers[2:4].astype(float)},
        })  # fmt: skip
        models[-1] = {name: models[-1][name] for name in model}
        metrics.append({"count": rng.integers(low, high, endpoint=True)})
    inputs = [layout.pack(new, model, m) for new, m in zip(models, metrics, strict=True)]
    got, found = layout.unpack(summed(layout, inputs, weights), model)
    for name in (slot.name for slot in layout.arrays if slot.mode == "sum"):
        wanted = sum(w * m[name].astype(np.int64) for w, m in zip(weights, models, strict=True))
        assert got[name].dtype == np.int64
        assert got[name].tolist() == wanted.tolist()
    assert found["count"] == sum(w * int(m["count"]) for w, m in zip(weights, metrics, strict=True))


def test_sums_are_of_weighted_values_and_means_of_integers_are_floats() -> None:
    layout = ModelLayout.of(
        [np.zeros(2)],
        FixedPoint(1.0, 20, 10),
        cohort=2,
        arrays={"0": "sum"},
        metrics={"rate": Range(0, 1, "sum")},
    )
    inputs = [layout.pack([np.full(2, 0.5)], None, {"rate": rate}) for rate in (0.5, 1.0)]
    (array,), metrics = layout.unpack(summed(layout, inputs, [10, 2]))
    assert array == pytest.approx([6.0, 6.0], abs=1e-4)
    assert metrics["rate"] == pytest.approx(7.0, abs=1e-4)
    whole = ModelLayout.of(
        [np.zeros(1, np.int8)], Integers(0, 99), cohort=2, metrics={"age": Range(9, 99, "mean")}
    )
    inputs = [whole.pack([np.ones(1, np.int8)], None, {"age": age}) for age in (20.0, np.int16(41))]
    assert whole.unpack(summed(whole, inputs, [1, 1]))[1] == {"age": 30.5}
    for low, values in ((2**53 + 1, [2**53 + 1] * 3), (0, [1, 0, 0]), (-(2**60), [-(2**60) + 1])):
        span = Range(low, low + 6, "mean")
        one = ModelLayout.of({}, Integers(0, 2**55), cohort=3, metrics={"m": span})
        inputs = [one.pack({}, None, {"m": value}) for value in values]
        mean = one.unpack(summed(one, inputs, [1] * len(values)))[1]["m"]
        wrong = abs(Fraction(mean) - Fraction(sum(values), len(values)))
        assert 0 < wrong <= one.errors["m"] <= 2.0**-53 * (2**60)


# -- layouts ------------------------------------------------------------------------------------


def test_an_exact_name_counts_before_patterns_and_a_later_pattern_before_an_earlier() -> None:
    model = {"a": [np.zeros(1), np.zeros(1)], "b": [np.zeros(1)], "c*": np.zeros(1), "n": 1}
    rules = {"c*": 5.0, "a/0": 4, "*": 3.0, "[ab]/*": np.float32(2.0)}
    layout = ModelLayout.of(model, FORM, cohort=2, arrays=rules)
    assert {slot.name: slot.high for slot in layout.arrays} == {
        **{"a/0": 4, "a/1": 2, "b/0": 2, "c*": 5, "n": 3}
    }


@looped("dtype, form, mode", [
    *((np.float16, FORM, "mean"), (BF16, FORM, "mean"), (np.int8, FORM, "keep")),
    *((np.uint64, FORM, "keep"), (bool, FORM, "keep")),
    *((np.int8, Integers(0, 5), "sum"), (bool, Integers(0, 5), "sum")),
])  # fmt: skip
def test_the_default_of_each_kind(dtype: Any, form: FixedPoint | Integers, mode: str) -> None:
    model = [np.zeros(2, dtype)]
    layout = ModelLayout.of(model, form, cohort=2, metrics={"m": Range(0, 1)})
    assert [slot.mode for slot in layout.arrays] == [mode]


def test_numbers_of_python_take_the_kind_of_the_others() -> None:
    """But no smaller dtype, which may not hold them; a truth is no number, and is kept."""
    model = {"w": np.zeros(2, np.float16), "b": 1, "flag": True}
    layout = ModelLayout.of(model, FORM, cohort=2)
    assert {slot.name: (slot.mode, slot.dtype) for slot in layout.arrays} == {
        "b": ("mean", np.float64), "flag": ("keep", np.dtype(bool)), "w": ("mean", np.float16)
    }  # fmt: skip
    assert layout.pack({"w": [0.5, 0.25], "b": 2, "flag": False}, model).tolist() == [1, 0.5, 0.25]
    assert layout.unpack(np.zeros(3), model | {"b": 1001.25})[0]["b"] == 1001.25  # type: ignore[call-overload, index]
    assert ModelLayout.of([1, [2]], Integers(0, 5), cohort=2).length == 2


MODEL = {"w": np.zeros(2, np.float32), "n": np.zeros(2, np.int64), "t": np.array([True])}


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"arrays": {"v": 1.0}}, Code.ARGUMENT, r"arrays\['v'\] matches no array"),
        ({"arrays": {"bias": 1.0}, "model": {"layers": {"bios": np.ones(1)}}}, Code.ARGUMENT,
         "did you mean 'layers/bios'"),
        ({"arrays": {"w*": 1.0, "*": 2.0}}, Code.ARGUMENT, r"'w\*'\] decides nothing: other"),
        ({"arrays": {"n": 5}}, Code.ARGUMENT, "matches only arrays of int64, which keep"),
        ({"arrays": {"w": Range(0, 1), "n": Range(0, 1)}}, Code.ARGUMENT, "only arrays of int64"),
        ({"arrays": {"n": "sum"}}, Code.ARGUMENT, "'n' of int64 needs a range to be summed"),
        ({"arrays": {"n": "mean"}}, Code.DTYPE, "'n' of int64 has integers, whose mean is none"),
        ({"arrays": {"w": -1.0}}, Code.ARGUMENT, r"arrays\['w'\] must be finite and positive"),
        ({"arrays": {"w": "drop"}}, Code.ARGUMENT, '"mean", "sum", "keep" or a Range, not'),
        ({"arrays": {"w": True}}, Code.ARGUMENT, "not True"),
        ({"arrays": ["w"]}, Code.ARGUMENT, "arrays must be a dict by name"),
        ({"clip": "keep"}, Code.ARGUMENT, "clip must be a positive number"),
        ({"clip": float("nan")}, Code.ARGUMENT, "clip must be finite and positive"),
        ({"metrics": {"loss": 10}}, Code.ARGUMENT, r"metrics\['loss'\] must be a Range"),
        ({"format": FixedPoint(1.0, 20, 2**32 - 1), "arrays": {"n": Range(0, 2**19, "sum")}},
         Code.HEADROOM, "0..524288 with weights of up to 42949672950 together is too large"),
        ({"metrics": {"w": Range(0, 1)}}, Code.ARGUMENT, r"\['w'\] is an array of the"),
        ({"metrics": {1: Range(0, 1)}}, Code.ARGUMENT, "metrics must be a dict by name"),
        ({"metrics": {"c": Range(0, 0.5, "sum", exact=True)}}, Code.ARGUMENT, "have whole ends"),
        ({"arrays": {"n": Range(0, 2**20 - 1, "sum")}}, Code.HEADROOM, "'n' cannot be summed exac"),
        ({"metrics": {"c": Range(2**62, 2**62 + 9, "sum", exact=True)}}, Code.HEADROOM, "'c' can"),
        ({"format": FixedPoint(1.0, 21), "arrays": {"n": Range(0, 2**17, "sum")}}, Code.HEADROOM,
         "weights of up to 10 together does not fit 21 bits"),
        ({"format": FixedPoint(1.0, 28, 2**26 - 1), "cohort": 2,  # below half, but for roundings
          "metrics": {"c": Range(0, 1, "sum", exact=True)}}, Code.HEADROOM, "not fit 28 bits"),
        ({"metrics": {"m": Range(0.0, 5e-324)}}, Code.ARGUMENT, "'m' has no float64 between"),
        ({"metrics": {"m": Range(2**60, 2**60 + 1)}}, Code.ARGUMENT, "'m' has no float64 between"),
        ({"model": {"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}}, Code.LAYOUT,
         "two arrays have the path 'a/b'"),
        ({"arrays": {"w": 1e-300}, "format": FixedPoint(2.0**890)}, Code.ARGUMENT, "too far from"),
        ({"format": Integers(0, 9)}, Code.DTYPE, "'w' of float32 has floats, and Integers takes"),
        ({"format": Integers(0, 9), "arrays": {"w": "keep", "n": Range(0, 10)}}, Code.HEADROOM,
         "'n' lies in 0..10, which is wider than the format's 0..9"),
        ({"format": Integers(0, 9), "arrays": {"w": "keep", "n": Range(2**62, 2**62 + 1)}},
         Code.HEADROOM, "sums of array 'n' over 10 clients do not fit"),
        ({"format": "float"}, Code.ARGUMENT, "FixedPoint, Integers or Rotated"),
        ({"cohort": 1}, Code.ARGUMENT, "cohort must be in 2"),
        ({"format": FixedPoint(1.0, 32, 2**32 - 1)}, Code.HEADROOM, None),
    ],
    ids=range(32),
)  # fmt: skip
def test_what_does_not_fit_is_refused_at_construction(
    changes: dict[str, Any], code: Code, message: str | None
) -> None:
    """By the name of array or metric."""
    options: dict[str, Any] = {"model": MODEL, "format": FORM, "cohort": 10} | changes
    with refused(ParameterError, code, match=message):
        ModelLayout.of(options.pop("model"), options.pop("format"), **options)


@looped("make", [
    lambda: Range(1, 1),
    lambda: Range(2.0, 1.0),
    lambda: Range(0, float("nan")),
    lambda: Range(-1e300, 1),
    lambda: Range(0, "1"),
    lambda: Range(0, True),
    lambda: Range(0, 1, "keep"),
    lambda: Range(0, 1, exact="yes"),
    lambda: Range(0, 1, "mean", exact=True),
])  # fmt: skip
def test_impossible_ranges_are_refused(make: Callable[[], Range]) -> None:
    with refused(ParameterError, Code.ARGUMENT):
        make()


def test_a_layout_of_nothing_is_refused() -> None:
    for nothing in ({}, [np.zeros(0)], {"n": np.ones(2, int)}):
        with refused(RangeError, Code.LAYOUT, match="there is nothing to send"):
            ModelLayout.of(nothing, FORM, cohort=2)
    with refused(RangeError, Code.DTYPE, match="array 'w' must hold numbers"):
        ModelLayout.of({"w": None}, FORM, cohort=2)
    with refused(RangeError, Code.DTYPE, match="or use secagg.ModelLayout"):
        Layout.of(MODEL)


def test_a_table_for_people() -> None:
    """With each name, what becomes of it, its range and its error."""
    layout = ModelLayout.of(
        MODEL, FORM, cohort=10, clip=0.25,
        arrays={"n": Range(0, 99, "sum")}, metrics={"loss": Range(0, 10)},
    )  # fmt: skip
    title, _, *rows = str(layout).splitlines()
    assert title.startswith("5 values of 24 bits, FixedPoint(clip=1.0")
    assert [" ".join(row.split()) for row in rows] == [
        "n (2,) int64 sum 0..99 1 exact",
        "t (1,) bool keep",
        "w (2,) float32 mean -0.25..0.25 4.8e-07 4.9e-07",
        "loss (metric) () float64 mean 0..10 9.5e-06 9.8e-06",
    ]
    assert repr(layout) == "ModelLayout(<3 arrays>, <1 metrics>, length=5)"
    span = Range(2**60, 2**60 + 9, "sum", exact=True)
    far = ModelLayout.of({"\x1b[31m\u202e": np.zeros(1)}, FORM, cohort=2, metrics={"n": span})
    assert all(line.isprintable() for line in str(far).splitlines())
    assert f"  {2**60}..{2**60 + 9}  " in str(far)


# -- the context --------------------------------------------------------------------------------


def test_the_digest_of_a_layout_tells_layouts_apart() -> None:
    """Whatever counts when two are compared; it is in the context beside the model."""
    options: dict[str, Any] = {"arrays": {"n": Range(0, 9, "sum")}, "metrics": {"l": Range(0, 1)}}

    def made(model: Any = MODEL, form: Any = FORM, cohort: int = 9, **other: Any) -> ModelLayout:
        return ModelLayout.of(model, form, cohort=cohort, **(options | other))

    first = made()
    same = [
        made(cohort=99),
        made(dict(reversed(MODEL.items()))),
        made({name: array + array for name, array in MODEL.items()}),
        made(MODEL | {"w": np.zeros(2, ">f4")}),
        made(clip=np.float64(1.0), metrics={"l": Range(-0.0, np.int8(1))}),
        made(arrays={"n": Range(0.0, 9.0, "sum"), "t": "keep"}),
    ]
    other = [
        made(form=FixedPoint(1.0, 19), clip=1.0),
        made(clip=0.5),
        made(MODEL | {"w": np.zeros(2)}),
        made(MODEL | {"w": np.zeros((1, 2), np.float32)}),
        made({"v" if name == "w" else name: array for name, array in MODEL.items()}),
        made([MODEL[name] for name in sorted(MODEL)], arrays={"0": Range(0, 9, "sum")}),
        made(
            dict(zip("012", map(MODEL.get, sorted(MODEL)), strict=True)),
            arrays={"0": Range(0, 9, "sum")},
        ),
        made(arrays={}),
        made(arrays={"n": Range(0, 8, "sum")}),
        made(arrays={"n": Range(1, 9, "sum")}),
        made(arrays={"n": Range(0, 9, "sum", exact=False)}),
        made(arrays={"n": Range(12345678, 12345679, "sum")}),
        made(arrays={"n": Range(*struct.unpack("<2d", b"1234567812345679"), "sum", exact=False)}),
        made(arrays={"n": Range(0, 9, "sum"), "w": "sum"}),
        made(arrays={"n": Range(0, 9, "sum"), "w": "keep"}),
        made(metrics={}),
        made(metrics={"m": Range(0, 1)}),
        made(metrics={"l": Range(0, 1, "sum")}),
        made(metrics={"l": Range(0, 2)}),
        made(metrics={"l": Range(0, 1), "m": Range(0, 1)}),
    ]
    assert {digest("training", each) for each in (first, *same)} == {digest("training", first)}
    assert {hash(each) for each in same} == {hash(first)}
    assert all(each == first for each in same)
    assert len({digest(each) for each in (first, *other)}) == len(other) + 1
    assert len({first, *other}) == len(other) + 1
    assert digest(first) not in {digest(), digest(MODEL), digest(first, 0), digest("layout")}


def test_another_layout_permits_no_second_contribution() -> None:
    """A server that proposes wider ranges for the same model and attempt gets no input."""
    mine, theirs = (ModelLayout.of([np.zeros(3)], FORM, cohort=3, clip=clip) for clip in (0.1, 0.2))
    params = Params(3, mine.length, FORM)
    policy = Policy(params=params, context=digest("training", mine, [np.zeros(3)], 0))
    policy.check(params.round(context=digest("training", mine, [np.zeros(3)], 0)))
    with refused(ParameterError, Code.POLICY_CONTEXT):
        policy.check(params.round(context=digest("training", theirs, [np.zeros(3)], 0)))


def test_a_model_from_a_peer_is_taken_in_ones_own_structure() -> None:
    """Equal numbers in whatever form are one model: one digest, so one contribution."""
    model = {
        "w": np.array([[0.1, -2.5], [0.0, 1e-40]], np.float32),
        "n": np.array(7, np.int32),
        "t": np.array([True, False]),
        "e": np.zeros((0, 2)),
    }
    layout = ModelLayout.of(model, FORM, cohort=3)
    forms: list[Any] = [
        model,
        dict(reversed(model.items())),
        model | {"w": model["w"].astype(np.float64)},
        model | {"w": model["w"].astype(">f8").astype(">f4")},
        model | {"w": np.asfortranarray(model["w"])},
        model | {"w": np.array([[0.1, -2.5], [-0.0, 1e-40]])},  # rounded to the client's dtype
        model | {"w": model["w"].tolist(), "n": 7, "t": [True, False]},
        model | {"n": np.array(7, ">u8"), "t": np.array([1, 0]), "e": np.zeros((0, 2), np.float16)},
    ]
    for form in forms:
        taken = layout.take(form)
        assert digest(layout, taken) == digest(layout, model)
        assert [(k, v.dtype) for k, v in taken.items()] == [(k, v.dtype) for k, v in model.items()]  # type: ignore[union-attr]
        assert not any(np.may_share_memory(taken[name], model[name]) for name in model)  # type: ignore[index, call-overload]
        for name, array in layout.take(model).items():  # type: ignore[union-attr]
            assert taken[name].tobytes() == array.tobytes()  # type: ignore[index, call-overload]
            assert taken[name].flags.c_contiguous  # type: ignore[index, call-overload]
    other = model | {"w": np.nextafter(model["w"], 1, dtype=np.float32)}
    assert digest(layout, layout.take(other)) != digest(layout, model)


def test_an_infinity_that_is_kept_is_taken() -> None:
    """As in the mask of a transformer; but no NaN, and no number that becomes one."""
    mask = np.triu(np.full((3, 3), -np.inf, np.float32), 1)
    layout = ModelLayout.of(
        {"w": np.ones(1), "mask": mask}, FORM, cohort=2, arrays={"mask": "keep"}
    )
    for dtype in (np.float32, np.float64, BF16):
        taken: Any = layout.take({"w": [1.0], "mask": mask.astype(dtype)})
        assert np.array_equal(taken["mask"], mask)
        assert taken["mask"].dtype == np.float32
    for wrong in (np.nan, -1e39):
        with refused(RangeError, Code.NOT_FINITE, match="'mask' has a value that is NaN or too"):
            layout.take({"w": [1.0], "mask": np.where(mask < 0, wrong, 0)})
    small = np.zeros(1, ml_dtypes.float8_e4m3fn)  # it has a NaN, but no infinity
    layout = ModelLayout.of([np.ones(1), small], FORM, cohort=2, arrays={"1": "keep"})
    with refused(RangeError, Code.NOT_FINITE, match="NaN or too large"):
        layout.take([np.ones(1), np.array([np.inf])])


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"w": np.array([0, np.nan])}, Code.NOT_FINITE, "the model: array 'w' has a value that is"),
        ({"w": np.array([0, -np.inf])}, Code.NOT_FINITE, "NaN, infinite or too large for float32"),
        ({"w": np.array([0, 1e39])}, Code.NOT_FINITE, "'w' .* too large for float32"),
        ({"w": np.zeros(2, int)}, Code.DTYPE, "'w' has dtype int64 instead of float32"),
        ({"w": np.zeros((2, 1))}, Code.LAYOUT, r"'w' has shape \(2, 1\) instead of \(2,\)"),
        ({"w": None}, Code.DTYPE, "w"),
        ({"c": np.zeros(1)}, Code.DTYPE, "'c' has dtype float64 instead of int64"),
        ({"c": np.array([2**63], np.uint64)}, Code.OUT_OF_RANGE, "'c' .* too large for int64"),
        ({"k": np.array([0, -(2**31) - 1])}, Code.OUT_OF_RANGE, "'k' .* too large for int32"),
        ({"k": np.array([0, 2**32])}, Code.OUT_OF_RANGE, "'k' .* too large for int32"),
        ({"x": np.zeros(1)}, Code.LAYOUT, "array 'x' is not in the layout"),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_model_from_a_peer_that_is_another_one_is_refused(
    change: dict[str, Any], code: Code, message: str
) -> None:
    """By the name of the array; nothing is cut to fit."""
    with refused(RangeError, code, match=message):
        LAYOUT.take(OLD | change)


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ([*"wck"], Code.DTYPE),
        (None, Code.DTYPE),
        ({}, Code.LAYOUT),
        (np.zeros(5), Code.LAYOUT),
        ([np.zeros(2)] * 3, Code.LAYOUT),
    ],
    ids=range(5),
)
def test_what_is_no_model_is_not_taken(model: Any, code: Code) -> None:
    with refused(RangeError, code):
        LAYOUT.take(model)


# -- inputs that do not fit ---------------------------------------------------------------------

OLD = {"w": np.zeros(2, np.float32), "c": np.zeros(1, np.int64), "k": np.zeros(2, np.int32)}
LAYOUT = ModelLayout.of(
    OLD, FORM, cohort=3, arrays={"c": Range(0, 9, "sum")},
    metrics={"loss": Range(0, 9), "hits": Range(0, 9, "sum", exact=True)},
)  # fmt: skip
METRICS = {"loss": 1.0, "hits": 3}


@pytest.mark.parametrize(
    ("new", "old", "metrics", "code", "message"),
    [
        ({"w": np.array([0, np.nan])}, {}, {}, Code.NOT_FINITE, "array 'w' has a value that is"),
        ({"w": np.array([np.inf, 0])}, {}, {}, Code.NOT_FINITE, "array 'w' has a value that is"),
        ({}, {"w": np.array([-np.inf, 0])}, {}, Code.NOT_FINITE, "array 'w' has a value that is"),
        ({"w": np.zeros(3)}, {}, {}, Code.LAYOUT, r"new model.*'w' has shape \(3,\) instead of"),
        ({}, {"w": np.zeros(3)}, {}, Code.LAYOUT, r"old model.*'w' has shape \(3,\) instead of"),
        ({"k": np.zeros(3, np.int32)}, {}, {}, Code.LAYOUT, r"'k' has shape \(3,\) instead of"),
        ({"v": np.zeros(2)}, {}, {}, Code.LAYOUT, "new model.*array 'v' is not in the layout"),
        ({"w": None}, {}, {}, Code.DTYPE, "the new model: array 'w' must hold numbers"),
        ({"w": np.zeros(2, int)}, {}, {}, Code.DTYPE, "'w' has dtype int64 instead of float32"),
        ({}, {"w": np.zeros(2, int)}, {}, Code.DTYPE, "old model: array 'w' has dtype int64 inst"),
        ({"c": np.zeros(1)}, {}, {}, Code.DTYPE, "'c' has dtype float64 instead of int64"),
        ({"c": np.array([10])}, {}, {}, Code.OUT_OF_RANGE, "'c' has a value outside 0..9"),
        ({"c": np.array([-1])}, {}, {}, Code.OUT_OF_RANGE, "'c' has a value outside 0..9"),
        ({}, None, {}, Code.LAYOUT, "the old model is needed"),
        ({}, {}, {"loss": float("nan")}, Code.NOT_FINITE, "metric 'loss' has a value that is NaN"),
        ({}, {}, {"loss": True}, Code.DTYPE, "metric 'loss' must be a number, not of type bool"),
        ({}, {}, {"loss": "1"}, Code.DTYPE, "metric 'loss' must be a number"),
        ({}, {}, {"loss": np.ones(1)}, Code.DTYPE, "metric 'loss' must be a number"),
        ({}, {}, {"hits": 2.5}, Code.DTYPE, "metric 'hits' has a value that is no whole number"),
        ({}, {}, {"hits": 10}, Code.OUT_OF_RANGE, "metric 'hits' has a value outside 0..9"),
        ({}, {}, {"hits": 10**400}, Code.NOT_FINITE, "metric 'hits' has a value that is"),
        ({}, {}, {"los": 1.0}, Code.LAYOUT, "metric 'los' is not in the layout: did .*'loss'"),
        ({}, {}, {1: 1.0}, Code.LAYOUT, "metric 1 is not in the layout"),
        ({}, {}, {"loss": ...}, Code.LAYOUT, "metric 'loss' is missing"),
        ({}, {}, [1.0], Code.LAYOUT, "metrics must be a dict"),
        ({}, {}, None, Code.LAYOUT, "metric 'hits' is missing"),
    ],
    ids=range(26),
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(
    new: Any, old: Any, metrics: Any, code: Code, message: str
) -> None:
    """By the name of model and array, or of the metric."""
    if isinstance(metrics, dict):
        metrics = {k: v for k, v in (METRICS | metrics).items() if v is not ...}
    with refused(RangeError, code, match=message):
        same = {name: array.copy() for name, array in OLD.items()}
        LAYOUT.pack(same | new, None if old is None else OLD | old, metrics)


@pytest.mark.parametrize(
    ("result", "old", "code", "message"),
    [
        (np.zeros(5), OLD, Code.LAYOUT, "a mean alone is not enough"),
        (np.zeros(4), OLD, Code.SHAPE, r"shape \(5,\) is needed, not \(4,\)"),
        (Decoded(np.zeros(6), 2, np.zeros(6)), OLD, Code.SHAPE, r"shape \(5,\) is needed, not"),
        (Decoded(np.zeros(5), 4, np.zeros(5)), OLD, Code.WEIGHT,
         r"weight 4 .* lies in 1\.\.3; for results that were combined make the layout with"),
        (Decoded(np.zeros(5), 0, np.zeros(5)), OLD, Code.WEIGHT, "weight 0"),
        (Decoded(np.zeros(5, int), 2, np.zeros(5)), OLD, Code.DTYPE, "a total of FixedPoint"),
        (Decoded(np.zeros(5), 2, np.zeros(5)), None, Code.LAYOUT, "the old model is needed"),
        (Decoded(np.zeros(5), 2, np.zeros(5)), {}, Code.LAYOUT, "old model.*'c' is missing"),
        (Decoded(np.zeros(5), 2, np.zeros(5)), OLD | {"w": np.full(2, np.nan)}, Code.NOT_FINITE,
         "array 'w' of the old model"),
        (None, OLD, Code.DTYPE, "the result must hold numbers"),
    ],
    ids=range(10),
)  # fmt: skip
def test_results_that_do_not_fit_are_refused(
    result: Any, old: Any, code: Code, message: str
) -> None:
    with refused(RangeError, code, match=message):
        LAYOUT.unpack(result, old)


SPANS = [(0, 1), (-3, 7), (2**61 - 11, 2**61 - 1), (-(2**61), -(2**61) + 9)]


@looped("form, low, high, mode", [
    *((Integers(-1000, 1000), *span, mode) for span in SPANS for mode in ("sum", "mean")),
    *((Integers(0, 2**58), *span, mode) for span in SPANS for mode in ("sum", "mean")),
    *((FixedPoint(1.0, 20, 3), 0, 600_000, "sum"), (FixedPoint(0.1, 20), -3, 7, "sum")),
    (FixedPoint(3.0, 32), -3, 7, "sum"),
])  # fmt: skip
def test_sums_that_no_contributions_have_are_refused(
    form: Any, low: int, high: int, mode: Any
) -> None:
    """Of a client that lies within the format, but not within the range of the metric or array."""
    span = Range(low, high, mode, exact=mode == "sum")
    layout = ModelLayout.of({}, form, cohort=4, metrics={"sick": span})
    for weight in {4, 4 * form.max_weight}:
        ends = [layout.pack({}, None, {"sick": end})[0].item() * weight for end in (low, high)]
        step = 1 if isinstance(form, Integers) else (ends[1] - ends[0]) / (high - low) / weight
        for total, end in zip(ends, (low, high), strict=True):
            result = Decoded(np.array([total]), weight, np.zeros(1))
            got = layout.unpack(result)[1]["sick"]
            assert got == (float(end) if mode == "mean" else end * weight)
        for total in (ends[0] - step, ends[1] + step, *far(form, weight)):
            result = Decoded(np.array([total]), weight, np.zeros(1))
            with refused(RangeError, Code.IMPOSSIBLE_SUM, match="metric 'sick' has a sum that no"):
                layout.unpack(result)


def far(form: Any, weight: int) -> list[float]:
    """Totals as far out as their dtype has room for, or as a cohort of liars can bring about."""
    if isinstance(form, Integers):
        return [form.high * weight, 2**63 - 1, -(2**63)]
    return [form.clip * weight * 1.5, 1.7e308, math.inf, -math.inf, math.nan]


@looped("span", [Range(0, 1, "sum", exact=False), Range(-2, 5), Range(1e9, 1e9 + 1)])
@looped("bits", [1, 20, 32])
def test_real_numbers_beyond_their_range_are_refused(span: Range, bits: int) -> None:
    """In sums, means, updates and means alone; by more than the error that the layout tells."""
    form = FixedPoint(0.1, bits, 5)
    old = [np.zeros(2)]
    layout = ModelLayout.of(old, form, cohort=4, arrays={"0": span})
    clip = form.clip
    for weight in (4, 20):
        for total in (-clip * weight, clip * weight):
            layout.unpack(Decoded(np.full(2, total), weight, old[0]), old)
            beyond = total * (1.0001 + layout.errors["0"] / (span.high - span.low) * 2)
            for wrong in (beyond, math.nan, math.inf, -math.inf, 1e300):
                result = Decoded(np.array([0, wrong]), weight, old[0])
                with refused(RangeError, Code.IMPOSSIBLE_SUM, match="array '0' has a sum that no"):
                    layout.unpack(result, old)
    if span.mode is None:
        for dtype in (np.float16, np.float32, np.float64):
            layout.unpack(np.full(2, clip, dtype), old)
        with refused(RangeError, Code.IMPOSSIBLE_SUM, match="array '0' has a sum that no"):
            layout.unpack(np.full(2, clip * (1.0001 + 2.0**-bits * 4)), old)


# -- clipping -----------------------------------------------------------------------------------


def test_clipping_is_told_with_names_and_ranges() -> None:
    """Once, at the caller's line; a client that submits such a vector tells nothing more."""
    old = {"kernel": np.zeros((20, 10), np.float32), "bias": np.zeros(10, np.float32)}
    layout = ModelLayout.of(
        old, FixedPoint(0.1), cohort=4, arrays={"bias": 0.5}, metrics={"loss": Range(0, 10)}
    )
    new = {"kernel": old["kernel"] + np.float32(0.05), "bias": old["bias"] + np.float32(0.7)}
    new["kernel"][0, :2] = 3.0
    with pytest.warns(ClippingWarning) as told:
        vector = layout.pack(new, old, {"loss": 11})
    (warning,) = told
    assert warning.filename == __file__
    text = str(warning.message)
    assert "10 of 10 values (100.0%) of array 'bias' outside of -0.5..0.5" in text
    assert "1 of 1 values (100.0%) of metric 'loss' outside of 0..10" in text
    assert "kernel" not in text
    assert "raise their ranges in the layout" in text
    stepped = SteppedRound(Params(4, layout.length, layout.format, threshold=3))
    stepped.to_server(stepped.until(Phase.SHARE_KEYS))
    stepped.clients[2].receive(stepped.outbox[2])
    client = clone(stepped.clients[2])
    client.submit(vector)
    assert client.clipped == 0
    model, metrics = layout.unpack(summed(layout, [vector] * 2, [1, 1]), old)
    assert model["bias"] == pytest.approx(np.full(10, 0.5), abs=2e-6)
    assert metrics["loss"] == pytest.approx(10, abs=2e-5)


@looped("dtype", [np.float16, np.float32, np.float64, BF16])
def test_an_update_that_training_clipped_is_not_clipped_again(dtype: Any) -> None:
    """new - old lies beyond the bound by the rounding of new, and by that of the bound."""
    rng = np.random.default_rng(5)
    old = rng.normal(size=1000).astype(dtype)
    update = np.where(rng.random(1000) < 0.5, -0.1, 0.1).astype(dtype)
    layout = ModelLayout.of([old], FORM, cohort=2, clip=0.1)
    layout.pack([(old + update).astype(dtype)], [old])
    with pytest.warns(ClippingWarning, match="values"):
        layout.pack([(old + update + update).astype(dtype)], [old])


class Scalar(Tensor):
    """A tensor of one number that NumPy cannot read, as of PyTorch with a gradient."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")

    def __float__(self) -> float:
        return float(self.data)


@looped("dtype", [np.float16, np.float32, BF16])
def test_a_metric_at_its_bound_is_not_clipped(dtype: Any) -> None:
    """As its dtype has the bound, which may be above it."""
    bound = next(x for x in (0.1, 0.3, 0.7) if float(np.array(x).astype(dtype)) > x)
    rotated = Rotated.of(clip=10.0, bits=8, length=1, cohort=2)
    at, beyond = (np.array(value).astype(dtype) for value in (bound, 1.1 * bound))
    for of_torch, form in product((True, False) if dtype is not BF16 else (True,), (FORM, rotated)):
        layout = ModelLayout.of({}, form, cohort=2, metrics={"loss": Range(0, bound)})
        values = [Scalar(x, f"torch.{x.dtype}") if of_torch else x[()] for x in (at, beyond)]
        assert layout.pack({}, None, {"loss": values[0]}) == 1
        with pytest.warns(ClippingWarning):
            layout.pack({}, None, {"loss": values[1]})


def test_a_metric_with_more_digits_than_a_float_is_summed_exactly() -> None:
    """Or refused, if it is no whole number."""
    layout = ModelLayout.of(
        {}, FORM, cohort=2, metrics={"n": Range(2**53, 2**53 + 9, "sum", exact=True)}
    )
    for value in (Decimal(2**53 + 1), Fraction(2**53 + 1), 2**53 + 1):
        vectors = [layout.pack({}, None, {"n": value})] * 2
        assert layout.unpack(summed(layout, vectors, [1, 1]))[1] == {"n": 2**54 + 2}
    with refused(RangeError, Code.DTYPE, match="metric 'n' is no whole number"):
        layout.pack({}, None, {"n": Decimal(2**53) + Decimal("0.25")})


# -- exact sums anywhere ------------------------------------------------------------------------


@st.composite
def far_sums(draw: st.DrawFn) -> tuple[Any, Any, dict[str, Any], list[list[Any]], list[int]]:
    """A format and the range of an exact sum, anywhere in 64 bits; inputs and weights."""
    form = draw(
        st.sampled_from([FixedPoint(1.0, 20, 9), FixedPoint(0.1, 32, 9), Integers(-9, 2**40)])
    )
    far = st.integers(-1000, 1000)
    low = draw(st.sampled_from([0, 2**24, 2**54, -(2**54), 2**58, -(2**58)])) + draw(far)
    span = draw(st.sampled_from([1, 7, 1000, 2**20 - 2]))
    weights = draw(st.lists(st.integers(1, form.max_weight), min_size=2, max_size=3))
    dtypes = [np.dtype(code) for code in (">i8", "u8", "f4", "f8")]
    arrays = {}
    for dtype in dtypes[: 2 if isinstance(form, Integers) else None]:
        some = [value for value in {low, low + 1, low + span} if value >= 0 or dtype.kind != "u"]
        near = [value for value in map(dtype.type, some) if low <= int(value) <= low + span]
        if near:
            arrays[dtype.name] = np.array(near)
    metrics = st.sampled_from([low, low + 1, np.int64(low + span), Fraction(low), Decimal(low)])
    inputs = [[arrays, draw(metrics)] for _ in weights]
    return form, Range(low, low + span, "sum", exact=True), arrays, inputs, weights


@given(far_sums())
def test_a_sum_that_is_called_exact_is_exact(
    case: tuple[Any, Any, dict[str, Any], list[list[Any]], list[int]],
) -> None:
    """Far from zero, too, and of every dtype."""
    form, span, model, inputs, weights = case
    layout = ModelLayout.of(
        model, form, cohort=3, arrays=dict.fromkeys(model, span), metrics={"m": span}
    )
    assert set(layout.errors.values()) == {0.0}
    vectors = [layout.pack(new, None, {"m": m}) for new, m in inputs]
    got, found = layout.unpack(summed(layout, vectors, weights), model)
    for name in model:
        assert got[name].tolist() == [sum(weights) * int(value) for value in model[name]]
    assert found["m"] == sum(w * int(m) for w, (_, m) in zip(weights, inputs, strict=True))


# -- models as bytes ----------------------------------------------------------------------------

TRAVELLING = {
    "w": np.array([[0.1, -2.5], [0.0, 1e-40]], np.float32),
    "b": np.array([0.5, -3.0]).astype(BF16),
    "h": np.array([1.0, 2.0], ">f2"),
    "e": np.zeros((0, 2)),
    "n": np.array(7),
    "t": [np.array([True, False]), np.array([2**64 - 1], np.uint64)],
    "i": np.array([-8, 7]).astype(ml_dtypes.int4),
    "mask": np.array([-np.inf, 0.0]),
}
TAKEN = ModelLayout.of(TRAVELLING, FORM, cohort=3, arrays={"mask": "keep"})


def test_a_model_travels_as_bare_numbers() -> None:
    """In the order of the layout, little-endian; what is kept belongs to it as well."""
    data = TAKEN.to_bytes(dict(reversed(TRAVELLING.items())))
    parts = [
        *(np.array([0.5, -3.0], "<f4").tobytes()[at : at + 2] for at in (2, 6)),  # bfloat16
        *(np.array([1, 2], "<f2").tobytes(), b"\xf8\x07", np.array([-np.inf, 0], "<f8").tobytes()),
        *(np.array(7, "<i8").tobytes(), b"\x01\x00", b"\xff" * 8),
        np.array([0.1, -2.5, 0.0, 1e-40], "<f4").tobytes(),
    ]
    assert data == b"".join(parts)
    assert len(data) == TAKEN.model_bytes
    for form in (data, bytearray(data), memoryview(data)):
        model: Any = TAKEN.from_bytes(form)
        taken: Any = TAKEN.take(TRAVELLING)
        assert digest(TAKEN, model) == digest(TAKEN, taken)
        assert list(model) == list(taken)
        assert model["b"].dtype == BF16
        model["w"][:] = 0  # it is a copy
    none = ModelLayout.of({}, FORM, cohort=2, metrics={"m": Range(0, 1)})
    assert none.from_bytes(none.to_bytes({})) == {}
    tensors = {name: Tensor(np.ones(2, np.float32), f"torch.{name}") for name in ("bfloat16", "f4")}
    layout = ModelLayout.of(tensors, FORM, cohort=2)
    assert layout.to_bytes(tensors) == np.ones(4, "<f4").tobytes()


@looped("data, code, message", [
    (b"", Code.LAYOUT, "has 60 bytes, not 0"),
    (bytes(59), Code.LAYOUT, "has 60 bytes, not 59"),
    (bytes(61), Code.LAYOUT, "has 60 bytes, not 61"),
    (memoryview(bytes(120))[::2], Code.LAYOUT, "must be contiguous in memory"),
    ("text", Code.DTYPE, "not of the type str"),
    (None, Code.DTYPE, "not of the type NoneType"),
    (b"\xff" * 60, Code.NOT_FINITE, "array 'b' has a value that is NaN"),
    (bytes(8) + b"\x88" + bytes(51), Code.OUT_OF_RANGE, "array 'i' has a value that is"),
    (bytes(34) + b"\x02" + bytes(25), Code.OUT_OF_RANGE, "array 't/0' has a value that is"),
])  # fmt: skip
def test_bytes_that_are_no_model_of_the_layout_are_refused(
    data: Any, code: Code, message: str
) -> None:
    with refused(RangeError, code, match=message):
        TAKEN.from_bytes(data)


def test_a_model_with_other_arrays_or_long_doubles_is_not_written() -> None:
    with refused(RangeError, Code.LAYOUT, match="'w' is missing"):
        TAKEN.to_bytes({name: array for name, array in TRAVELLING.items() if name != "w"})
    if np.dtype(np.longdouble).itemsize > 8:  # of this system
        wide = ModelLayout.of([np.zeros(1, np.longdouble)], FORM, cohort=2)
        with refused(RangeError, Code.DTYPE, match="at most 64 bits per number"):
            wide.to_bytes([np.zeros(1)])
