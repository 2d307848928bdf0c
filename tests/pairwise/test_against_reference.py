"""The library and the independent big-integer model put the same bytes on the wire."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import reference
from harness import CONTEXT, SESSION, STEPS, WILLING, model_of, seeded
from hypothesis import given
from hypothesis import strategies as st
from levels import amount

import secagg
from secagg import (
    SERVER,
    Client,
    Directory,
    FixedPoint,
    Identity,
    Integers,
    MemoryLedger,
    Mode,
    Params,
    Phase,
    Rotated,
    Server,
    Suite,
)
from secagg.encoding.choice import codec_for
from secagg.params.formats import Format
from secagg.params.rotated import Noise
from secagg.simulate import Cohort

ANNOUNCEMENTS = {
    Phase.ADVERTISE_KEYS: "roster",
    Phase.SHARE_KEYS: "delivery",
    Phase.MASKED_INPUT: "survivors",
    Phase.CONSISTENCY: "signatures",
}


def compare(
    params: Params, values: dict[int, list[float]], weights: dict[int, int], drops: dict[int, Phase]
) -> secagg.Result | None:
    """Runs both on the same inputs and randomness and compares every message and the result."""
    model = reference.run(
        reference.Parameters(
            int(params.suite),
            2 if params.degree else int(params.mode),
            params.cohort,
            params.threshold,
            params.min_survivors,
            params.colluders,
            params.length,
            model_of(params.format),
            params.degree,
        ),
        SESSION,
        CONTEXT,
        {party: (values[party], weights[party]) for party in values},
        {party: seeded(party) for party in range(params.cohort)},
        {party: str(phase) for party, phase in drops.items()},
        {party: seeded(("identity", party))(32) for party in range(params.cohort)},
    )

    agreed = params.round(CONTEXT, SESSION)
    assert agreed.encode() == model.offer
    identities: list[Identity] = []
    directory = None
    if params.mode == Mode.MALICIOUS:
        identities = [Identity.generate(seeded(("identity", p))) for p in range(params.cohort)]
        directory = Directory.of((f"p{i}", one.verify_key) for i, one in enumerate(identities))
    clients = {
        party: Client(
            agreed,
            party,
            replace(WILLING, context=CONTEXT),
            seeded(party),
            identity=identities[party] if identities else None,
            directory=directory,
            ledger=MemoryLedger() if identities else None,
        )
        for party in range(params.cohort)
    }
    dtype = np.float64 if isinstance(params.format, FixedPoint) else np.int64
    inputs = {
        party: (lambda party=party: (np.array(values[party], dtype), weights[party]))
        for party in clients
    }
    run = Cohort(Server(agreed, directory), clients, inputs, drops, keep_transcript=True).play()
    sent = {(r.sender, str(r.phase)): r.payload for r in run.transcript if r.sender != SERVER}
    received = {
        (r.receiver, ANNOUNCEMENTS[r.phase]): r.payload
        for r in run.transcript
        if r.sender == SERVER
    }
    assert sent == model.sent
    assert received == model.received
    assert (run.result is None) == (model.failed is not None)
    assert model.aborts.keys() <= run.refusals.keys() <= model.aborts.keys() | drops.keys()
    if run.result is not None:
        assert list(run.result.survivors) == model.u3
        assert run.result.total.tolist() == model.total
        if model.mean is not None:
            assert run.result.mean.tolist() == model.mean
    return run.result


def inputs_for(params: Params) -> tuple[dict[int, list[float]], dict[int, int]]:
    """Values and weights of all parties, some values outside the clip."""
    n, fmt, rng = params.cohort, params.format, np.random.default_rng(params.cohort)
    if isinstance(fmt, Integers):
        draw = [rng.integers(fmt.low, fmt.high, params.length, endpoint=True) for _ in range(n)]
        return {p: draw[p].tolist() for p in range(n)}, dict.fromkeys(range(n), 1)
    draw = [rng.uniform(-1.2 * fmt.clip, 1.2 * fmt.clip, params.length) for _ in range(n)]
    weights = {p: int(rng.integers(1, fmt.max_weight, endpoint=True)) for p in range(n)}
    return {p: draw[p].tolist() for p in range(n)}, weights


FORMATS = [
    FixedPoint(clip=1.0, bits=8),
    FixedPoint(clip=3.7, bits=20, max_weight=300),
    FixedPoint(clip=100.0, bits=32, max_weight=2**20),
    Integers(-5, 5),
    Integers(-(2**40), 2**41 + 3),
]


COHORTS = [2, 3, 5, 8, 16]


def combinations() -> list[tuple[Mode, Suite, Format, int]]:
    """Returns all cases, or so few that every two values meet in one of them."""
    modes, suites = list(Mode), list(Suite)
    if amount("every combination of the reference model"):
        return list(itertools.product(modes, suites, FORMATS, COHORTS))
    return [
        (modes[i % 2], suites[(i + 2 * j) % 5 % len(suites)], FORMATS[(i + j) % 5], COHORTS[j])
        for i in range(5)
        for j in range(5)
    ]


def test_every_two_meet() -> None:
    """The few combinations hold every pair of a mode, suite, format or cohort with another."""
    chosen = combinations()
    for one, other in itertools.combinations(range(4), 2):
        values = [{case[place] for case in chosen} for place in (one, other)]
        assert {(case[one], case[other]) for case in chosen} == {*itertools.product(*values)}
    assert [len({case[place] for case in chosen}) for place in range(4)] == [2, len(Suite), 5, 5]


@pytest.mark.parametrize(("mode", "suite", "fmt", "cohort"), combinations(), ids=repr)
def test_every_byte_agrees(mode: Mode, suite: Suite, fmt: Format, cohort: int) -> None:
    """Full rounds with dropouts at every step, all formats, both suites, both modes."""
    threshold = 2 * cohort // 3 + 1 if mode == Mode.MALICIOUS else cohort // 2 + 1
    params = Params(cohort, 7, fmt, threshold=threshold, suite=suite, mode=mode)
    values, weights = inputs_for(params)
    steps = mode.phases[::-1]
    drops = dict(zip(range(cohort - 1, threshold - 1, -1), steps, strict=False))
    assert compare(params, values, weights, drops) is not None
    assert compare(params, values, weights, {}) is not None


@given(
    cohort=st.integers(2, 6),
    data=st.data(),
    suite=st.sampled_from(list(Suite)),
    mode=st.sampled_from(list(Mode)),
)
def test_any_schedule_agrees(cohort: int, data: st.DataObject, suite: Suite, mode: Mode) -> None:
    """Random thresholds and schedules: the same messages, the same sum or the same failure."""
    least = 2 * cohort // 3 + 1 if mode == Mode.MALICIOUS else cohort // 2 + 1
    threshold = data.draw(st.integers(least, cohort))
    if threshold < 2:
        return
    steps = st.sampled_from(Mode.MALICIOUS.phases)
    drops = data.draw(st.dictionaries(st.integers(0, cohort - 1), steps, max_size=cohort))
    params = Params(
        cohort, 3, Integers(-50, 50), threshold=threshold, colluders=0, suite=suite, mode=mode
    )
    values = {p: [p, -p, 50 - p] for p in range(cohort)}
    compare(params, values, dict.fromkeys(range(cohort), 1), drops)


EXACT = [1, 4, 5, 16, 20]  # lengths whose rotations multiply by powers of two alone


@st.composite
def rotated_inputs(draw: st.DrawFn) -> tuple[Params, list[tuple[list[float], int]]]:
    """Inputs for which all floating point of format 3 is exact; some vectors are halved."""
    cohort, length = draw(st.integers(2, 3)), draw(st.sampled_from(EXACT))
    noise, scale = draw(st.sampled_from(Noise)), draw(st.sampled_from([0.5, 2.0, 16.0]))
    norm, most = draw(st.sampled_from([8.0, 16.0])), 1
    made = {"clip": 8.0, "scale": scale, "rotation": draw(st.booleans()), "noise": noise}
    if noise:
        variance, tail = draw(st.sampled_from([(2**12, 20), (2**17, 60)]))
        made |= {"bound": int(64 * scale**2), "tail": tail, "variance_steps": variance}
        made["peak"] = draw(st.sampled_from([1, 7, 200, 2**31 - 1]))
    else:
        most = draw(st.sampled_from([1, 2, 64]))
        made["peak"] = draw(st.sampled_from([1, 7, 15, 200, 2**16 - 1]))
        slots = 61 // (cohort * made["peak"]).bit_length()
        made |= {"slots": draw(st.integers(1, slots)), "max_weight": most}
    params = Params(cohort, length, Rotated(**made), suite=draw(st.sampled_from(Suite)))
    inputs = []
    for _ in range(cohort):
        # Four equal squares, one, or none: norms that are powers of two.
        signs = draw(st.lists(st.sampled_from([-1, 1]), min_size=4, max_size=4))
        there = draw(st.sampled_from([0, 1] if length < 4 else [0, 1, 4]))
        values = [norm / (1 + (there == 4)) * sign for sign in signs[:there]]
        values = draw(st.permutations([*values, *[0.0] * (length - there)]))
        inputs.append((values, draw(st.sampled_from([1, max(1, most // 2), most]))))
    return params, inputs


@given(rotated_inputs(), st.binary(min_size=16, max_size=16))
def test_format_3_agrees(given: tuple[Params, list[tuple[list[float], int]]], key: bytes) -> None:
    """Encoded inputs, the sum, total and mean, with the same draws."""
    params, inputs = given
    model = reference.Parameters(
        int(params.suite), 0, params.cohort, 2, 2, 0, params.length, model_of(params.format)
    )
    codec = codec_for(params, key)
    encoded = [codec.encode(np.array(x), w, seeded((key, i))) for i, (x, w) in enumerate(inputs)]
    wanted = [model.encode_input(x, w, seeded((key, i)), key) for i, (x, w) in enumerate(inputs)]
    assert [one.vector.tolist() for one in encoded] == wanted
    p = reference.prime(params.field_bits)
    summed = [sum(column) % p for column in zip(*wanted, strict=True)]
    assert model.possible(summed, params.cohort)
    decoded = codec.decode(np.array(summed, encoded[0].vector.dtype), params.cohort)
    total, mean = model.decode_sum(summed, params.cohort, key)
    assert (decoded.total.tolist(), decoded.mean.tolist()) == (total, mean)


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize("fmt", FORMATS[1::3], ids=repr)
@pytest.mark.parametrize(
    ("cohort", "degree", "threshold", "least", "colluders"),
    [(4, 2, 2, 4, 0), (7, 4, 2, 5, 1), (10, 4, 2, 7, 0), (18, 6, 3, 14, 1)],
)
def test_every_byte_agrees_on_a_sparse_graph(
    cohort: int, degree: int, threshold: int, least: int, colluders: int, fmt: Format, suite: Suite
) -> None:
    """Full rounds on a ring of neighbours, with as many dropouts as the parameters allow."""
    params = Params(
        cohort, 5, fmt, threshold, least, colluders=colluders, suite=suite, degree=degree
    )
    values, weights = inputs_for(params)
    steps = params.mode.phases[::-1]
    drops = dict(zip(range(1, cohort - least + 1), steps, strict=False))
    assert compare(params, values, weights, drops) is not None
    assert compare(params, values, weights, {}) is not None


@given(cohort=st.integers(4, 11), data=st.data(), suite=st.sampled_from(list(Suite)))
def test_any_schedule_agrees_on_a_sparse_graph(
    cohort: int, data: st.DataObject, suite: Suite
) -> None:
    """Also where clients lose too many neighbours and abort, and where U3 leads nowhere."""
    degree = 2 * data.draw(st.integers(1, (cohort - 2) // 2))
    threshold = data.draw(st.integers(2, degree))
    least = data.draw(st.integers(max(2, cohort - degree + 1), cohort))
    drops = data.draw(
        st.dictionaries(st.integers(0, cohort - 1), st.sampled_from(STEPS), max_size=cohort // 2)
    )
    params = Params(cohort, 2, Integers(-50, 50), threshold, least, 0, suite=suite, degree=degree)
    values = {p: [p, 50 - p] for p in range(cohort)}
    compare(params, values, dict.fromkeys(range(cohort), 1), drops)
