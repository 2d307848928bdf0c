"""Part of a vector by a public seed: which coordinates, sums, bytes, and what a round is about."""

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
from reference.arithmetic import GENERATORS
from refusals import refused
from support import looped

import secagg
from secagg import Code, ModelLayout, Phase, RandomK, Range

FORM = secagg.FixedPoint(clip=1.0, bits=20, max_weight=10)
MODEL = {"w": np.arange(12.0).reshape(3, 4) / 100, "n": np.array(7), "b": np.zeros(5, np.float32)}
LAYOUT = ModelLayout.of(MODEL, FORM, cohort=5, clip=0.5, arrays={"b": 0.25})


def reference(whole: int, keep: int, seed: bytes) -> list[int]:
    """Returns the positions as they are specified, with another AES, and a sort."""
    generator = GENERATORS[1]
    part = len(seed).to_bytes(4, "little") + seed
    key = hashlib.blake2b(part, digest_size=32, person=b"random k").digest()
    blocks = range(-(-8 * whole // generator.size))
    keystream = b"".join(generator.block(key, 0, counter) for counter in blocks)
    words = [int.from_bytes(keystream[8 * i : 8 * i + 8], "little") for i in range(whole)]
    return sorted(sorted(range(whole), key=lambda i: (words[i], i))[:keep])


@looped("whole, keep", [(1, 1), (2, 1), (7, 7), (100, 1), (100, 37), (1001, 1000), (3000, 30)])
def test_positions_are_those_of_the_reference(whole: int, keep: int) -> None:
    for seed in (("word", 1), ("word", 2), (np.ones(3),)):
        part = RandomK(whole, keep, *seed)
        assert part.positions.tolist() == reference(whole, keep, secagg.digest(*seed))


def test_equal_words_go_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.array([5, 1, 5, 9, 5, 0], "<u8")
    monkeypatch.setattr("secagg.encoding.sparsify.stream", lambda *_: words.tobytes())
    assert RandomK(6, 4, "equal words").positions.tolist() == [0, 1, 2, 5]


def test_a_known_answer() -> None:
    """Frozen: parties with two versions of the library must agree."""
    assert RandomK(1000, 6, "heart study", 3).positions.tolist() == [69, 79, 82, 92, 511, 830]


def test_every_set_is_as_likely_and_the_mean_is_the_vector() -> None:
    """Over 2,000 seeds: the ten pairs of five coordinates; and what comes back, times d / k."""
    many, vector = 2000, np.array([1.0, -2.0, 3.0, 0.5, 100.0])
    pairs: Counter[tuple[int, ...]] = Counter()
    total = np.zeros(5)
    for seed in range(many):
        part = RandomK(5, 2, seed)
        pairs[tuple(part.positions.tolist())] += 1
        total += part.put(part.take(vector), unbiased=True)
    assert len(pairs) == 10
    assert sum((count - many / 10) ** 2 / (many / 10) for count in pairs.values()) < 30
    deviation = np.abs(vector) * np.sqrt((5 / 2 - 1) / many)
    assert (np.abs(total / many - vector) < 4.5 * deviation).all()


def test_sums_stay_sums_and_bytes_shrink() -> None:
    """Exactly, with one party lost; a masked input is as many bytes as what is kept needs."""
    whole, keep = 4000, 400
    inputs = np.random.default_rng(1).integers(-100, 100, (5, whole))
    selection, form = RandomK(whole, keep, "bytes"), secagg.Integers(-100, 100)
    drops = {3: Phase.MASKED_INPUT}
    full = secagg.secure_sum(inputs, form, drops=drops)
    half = secagg.secure_sum([selection.take(each) for each in inputs], form, drops=drops)
    back = selection.put(half.total)
    assert np.array_equal(back[selection.positions], full.total[selection.positions])
    assert np.count_nonzero(back) <= keep
    assert back.dtype == np.int64
    sent = [run.cost[Phase.MASKED_INPUT].bytes_up for run in (full, half)]
    assert sent[1] < 0.11 * sent[0] + 4 * 200


def test_a_model_in_part() -> None:
    """Coordinates that are not sent keep their values, and the others get their mean."""
    part = RandomK(LAYOUT, 6, "study", MODEL)
    news = [{**MODEL, "w": MODEL["w"] + 0.1 * party, "b": MODEL["b"] - 0.05} for party in range(3)]
    vectors = [LAYOUT.pack(new, MODEL) for new in news]
    weights = [1, 2, 3]
    run = secagg.secure_sum([part.take(each) for each in vectors], FORM, weights=weights)
    model, _ = LAYOUT.unpack(part.put(run.mean), MODEL)
    whole, _ = LAYOUT.unpack(secagg.secure_sum(vectors, FORM, weights=weights), MODEL)
    sent = np.isin(np.arange(LAYOUT.length), part.positions)
    flat = [np.concatenate([each["b"], each["w"].ravel()]) for each in (model, whole, MODEL)]
    assert np.abs(flat[0] - flat[1])[sent].max() < 1e-5
    assert np.array_equal(flat[0][~sent], flat[2][~sent])
    doubled, _ = LAYOUT.unpack(part.put(run.mean, unbiased=True), MODEL)
    gain = (np.concatenate([doubled["b"], doubled["w"].ravel()]) - flat[2])[sent]
    assert np.allclose(gain, (flat[0] - flat[2])[sent] * LAYOUT.length / 6, atol=1e-6)


def test_what_is_left_out_is_sent_later() -> None:
    """The error feedback of the README: no part of an update is lost for good."""
    update, residual, received = np.array([1.0, -2.0, 3.0, 0.25, 8.0]), np.zeros(5), np.zeros(5)
    for number in range(60):
        part = RandomK(5, 2, "feedback", number)
        wanted = update + residual
        kept = part.take(wanted)
        residual = wanted - part.put(kept)
        received += part.put(kept)
    assert np.allclose(received + residual, 60 * update)
    assert (np.abs(residual) < 25 * np.abs(update)).all()


def test_the_selection_is_what_a_round_is_about() -> None:
    """Another seed, number or layout is refused; the round has the length of what is kept."""
    part = RandomK(LAYOUT, 6, "study", MODEL)
    rounds = secagg.Rounds("study", FORM)
    plan = rounds.plan([f"party {i}" for i in range(7)], part, MODEL)
    assert (plan.params.length, plan.params.cohort) == (6, LAYOUT.cohort)
    assignment = secagg.Assignment(secagg.Round.decode(plan.server.offer), 0)
    assignment.expect("study", RandomK(LAYOUT, 6, "study", MODEL), MODEL)
    assert assignment.context == plan.context
    wider = ModelLayout.of(MODEL, FORM, cohort=5, clip=0.6, arrays={"b": 0.25})
    for other, code in (
        (RandomK(LAYOUT, 6, "another", MODEL), Code.POLICY_CONTEXT),
        (RandomK(wider, 6, "study", MODEL), Code.POLICY_CONTEXT),
        (RandomK(LAYOUT.length, 6, "study", MODEL), Code.POLICY_CONTEXT),
        (RandomK(LAYOUT, 7, "study", MODEL), Code.POLICY_LENGTH),
        (LAYOUT, Code.POLICY_LENGTH),
    ):
        with refused(secagg.Aborted, code):
            assignment.expect("study", other, MODEL)
    with refused(secagg.ParameterError, Code.LAYOUT):
        secagg.Rounds("study", secagg.FixedPoint(2.0)).plan(list("abc"), part, MODEL)


def layout(**options: Any) -> ModelLayout:
    return ModelLayout.of(MODEL, FORM, cohort=5, **options)


@looped(
    "make, code, reason",
    [
        (lambda: RandomK(5, 0, "a"), Code.ARGUMENT, "keep must be in 1..5"),
        (lambda: RandomK(5, 6, "a"), Code.ARGUMENT, "keep must be in 1..5"),
        (lambda: RandomK(2**28 + 1, 6, "a"), Code.ARGUMENT, "shape, if it is no ModelLayout"),
        (lambda: RandomK("5", 1, "a"), Code.ARGUMENT, "shape, if it is no ModelLayout"),
        (lambda: RandomK(5, 1), Code.ARGUMENT, "a seed is needed"),
        (lambda: RandomK(layout(metrics={"loss": Range(-1, 1)}), 2, "a"), Code.LAYOUT, "'loss'"),
        (lambda: RandomK(layout(arrays={"b": "sum"}), 2, "a"), Code.LAYOUT, "array 'b'"),
        (lambda: RandomK(layout(arrays={"w": Range(0, 1)}), 2, "a"), Code.LAYOUT, "array 'w'"),
    ],
)
def test_bad_arguments_are_refused(make: Any, code: Code, reason: str) -> None:
    with refused(secagg.ParameterError, code, reason):
        make()


def test_bad_vectors_are_refused() -> None:
    part = RandomK(5, 2, "a")
    for given in (np.ones(4), np.ones((5, 1)), np.ones(2)):
        with refused(secagg.RangeError, Code.SHAPE, r"a vector of shape \(5,\)"):
            part.take(given)
    with refused(secagg.RangeError, Code.SHAPE, r"a vector of shape \(2,\)"):
        part.put(np.ones(5))
    with refused(secagg.RangeError, Code.DTYPE):
        part.take("abcde")
    with refused(secagg.RangeError, Code.DTYPE):
        RandomK(5, 2, object())
    with pytest.raises(ValueError, match="read-only"):
        part.positions[0] = 3
