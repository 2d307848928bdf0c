"""secure_sum and the one-process cohort: shapes, weights, schedules, costs, refusals."""

import dataclasses
import logging

import numpy as np
import pytest
from harness import STEPS, expected_sum, integers, play
from refusals import refused

import secagg
from secagg import (
    ClippingWarning,
    Code,
    FixedPoint,
    Integers,
    Mode,
    Phase,
    Policy,
    Server,
    secure_sum,
)
from secagg.simulate import Cohort, Record, RoundFailedError, Run

RNG = np.random.default_rng(7)
ONE = np.ones(1)
WHOLE = {"format": Integers(0, 5)}


def test_sum_and_mean_within_one_step() -> None:
    """Every coordinate of the sum is off by less than one rounding step a survivor."""
    updates = [RNG.uniform(-3, 3, 50) for _ in range(7)]
    form = FixedPoint(clip=3.0, bits=16)
    done = secure_sum(updates, form, drops={1: Phase.MASKED_INPUT, 6: Phase.UNMASK})
    assert done.survivors == (0, 2, 3, 4, 5, 6)
    plain = sum(updates[party] for party in done.survivors)
    assert np.abs(done.total - plain).max() < 6 * form.step
    assert np.abs(done.total - plain).max() > 0  # rounding did happen: the inputs were quantized
    assert np.allclose(np.asarray(done.mean) * 6, done.total, rtol=0, atol=1e-12)
    assert done.weight == 6


def test_lists_and_dicts_come_back_in_their_shape() -> None:
    """The total has the structure of the updates, and each array its shape."""
    as_list = [[np.full((2, 3), party), np.array(party)] for party in range(3)]
    total = secure_sum(as_list, Integers(0, 10)).total
    assert isinstance(total, list)
    assert [part.shape for part in total] == [(2, 3), ()]
    assert total[0].tolist() == [[3, 3, 3], [3, 3, 3]]
    assert total[1] == 3
    as_dict = [{"b": np.full(2, party), "a": np.full((1, 1), 2 * party)} for party in range(3)]
    named = secure_sum(as_dict, Integers(0, 10)).total
    assert isinstance(named, dict)
    assert list(named) == ["b", "a"]
    assert named["a"].dtype == np.int64
    assert named["a"].tolist() == [[6]]


def test_weighted_mean() -> None:
    """With weights the mean is sum(w x) / sum(w), within one step; weights are summed too."""
    updates = [RNG.uniform(-1, 1, 20) for _ in range(5)]
    weights = [1, 10, 100, 1000, 7]
    form = FixedPoint(clip=1.0, bits=20, max_weight=1000)
    done = secure_sum(updates, form, weights=weights, drops={1: Phase.SHARE_KEYS})
    kept = [0, 2, 3, 4]
    assert done.weight == sum(weights[party] for party in kept)
    mean = sum(weights[party] * updates[party] for party in kept) / done.weight
    assert np.abs(done.mean - mean).max() < form.step


def test_server_messages_never_hold_an_input() -> None:
    """The messages look uniform: no masked input equals or resembles its plain packing."""
    updates = [np.zeros(4000) for _ in range(3)]
    done = secure_sum(updates, FixedPoint(clip=1.0, bits=16))
    masked = [r for r in done.transcript if r.phase is Phase.MASKED_INPUT and r.sender >= 0]
    assert len(masked) == 3
    bodies = [np.frombuffer(record.payload[52:-16], np.uint8) for record in masked]
    for body in bodies:
        counts = np.bincount(body, minlength=256)
        # 256 cells of about 35: chi-square beyond 420 has a probability below 1e-9.
        assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 420
    assert not np.array_equal(bodies[0], bodies[1])


def test_costs_and_transcript_add_up() -> None:
    """Bytes by phase, by party and in the transcript are the same bytes."""
    drops = {0: Phase.ADVERTISE_KEYS, 3: Phase.MASKED_INPUT}
    done = secure_sum([np.arange(9)] * 8, Integers(0, 8), drops=drops, threshold=6)
    up = [record for record in done.transcript if record.receiver == secagg.SERVER]
    down = [record for record in done.transcript if record.sender == secagg.SERVER]
    assert sum(cost.bytes_up for cost in done.cost.values()) == sum(len(r.payload) for r in up)
    assert sum(cost.bytes_down for cost in done.cost.values()) == sum(len(r.payload) for r in down)
    assert sum(done.run.bytes_up.values()) == sum(len(r.payload) for r in up)
    assert sum(done.run.bytes_down.values()) == sum(len(r.payload) for r in down)
    assert [done.cost[phase].clients for phase in STEPS] == [7, 7, 6, 6]
    assert all(cost.client_seconds > 0 for cost in done.cost.values())
    assert done.run.drops.keys() == {0, 3}
    assert "payload" not in repr(done.transcript[0])


def messages(run: Run) -> list[tuple[Phase, int, int, bytes]]:
    """Returns what was delivered."""
    delivered = [each for each in run.transcript if each.delivered]
    return [(each.phase, each.sender, each.receiver, each.payload) for each in delivered]


@pytest.mark.parametrize("mode", Mode)
def test_a_wire_that_passes_everything_changes_nothing(mode: Mode) -> None:
    """Each message has its number, and those to parties that have vanished are not delivered."""
    params, drops = integers(5, mode=mode), {1: Phase.MASKED_INPUT}
    plain = play(params, drops)
    seen: list[Record] = []
    run = play(params, drops, wire=lambda record: [seen.append(record) or record])
    assert run.transcript == plain.transcript
    assert seen == [dataclasses.replace(each, delivered=True) for each in run.transcript]
    assert [each.number for each in run.transcript] == list(range(len(seen)))
    lost = [(each.phase, each.receiver) for each in run.transcript if not each.delivered]
    assert {receiver for _, receiver in lost} <= {1}
    assert run.round == plain.round
    assert run.round.params == params
    assert not run.rejected
    total = run.result.total if run.result else []
    assert list(total) == expected_sum({0, 2, 3, 4})


def test_a_wire_loses_changes_and_adds_messages() -> None:
    """All that was sent is recorded, and what was delivered in its place."""

    def wire(record: Record) -> list[Record]:
        own = record.sender if record.receiver == secagg.SERVER else record.receiver
        match record.phase, record.receiver == secagg.SERVER, own:
            case Phase.MASKED_INPUT, True, 2:  # the network loses it
                return []
            case Phase.MASKED_INPUT, True, 3:  # ... or has it twice, and garbage by the same party
                return [record, record, dataclasses.replace(record, payload=b"garbage")]
            case Phase.MASKED_INPUT, False, 0:  # the server lies: whose input is in the sum
                return [dataclasses.replace(record, payload=record.payload[:-1])]
        return [record]

    run = play(integers(7), wire=wire)
    assert run.result is not None
    assert run.result.survivors == (0, 1, 3, 4, 5, 6)
    assert run.result.total.tolist() == expected_sum({0, 1, 3, 4, 5, 6})
    sent = [each for each in run.transcript if each.phase is Phase.MASKED_INPUT]
    lost = [(each.sender, each.receiver) for each in sent if not each.delivered]
    assert lost == [(2, secagg.SERVER), (secagg.SERVER, 0)]
    garbage, cut = (run.transcript[number] for number in run.rejected)
    assert (garbage.sender, garbage.payload) == (3, b"garbage")
    assert (cut.receiver, cut.delivered, len(run.transcript)) == (0, True, cut.number + 11)
    assert messages(run).count((Phase.MASKED_INPUT, 3, secagg.SERVER, sent[3].payload)) == 2
    assert run.bytes_up[3] == run.bytes_up[4]  # what parties sent


def test_a_wire_returns_messages_of_this_cohort() -> None:
    """Anything else is a mistake of whoever wrote it."""
    for wrong in (b"bytes", Record(Phase.UNMASK, 1, 2, b""), Record(Phase.UNMASK, 1, 1, b"")):
        with refused(secagg.ParameterError, Code.ARGUMENT, "wire must return Records"):
            play(integers(3), wire=lambda _, wrong=wrong: [wrong])


def test_clipping_is_counted() -> None:
    """Values outside the range are clipped, and each party's count is reported."""
    with pytest.warns(ClippingWarning, match="5 of 9 values"):
        done = secure_sum(
            [np.array([2.0, -5.0, 0.5]), np.zeros(3), np.full(3, -1.5)], FixedPoint(clip=1.0)
        )
    assert done.run.clipped == {0: 2, 1: 0, 2: 3}
    assert np.abs(np.asarray(done.total) - [0.0, -2.0, -0.5]).max() < 1e-4


def test_too_few_survivors() -> None:
    """Below the quorum there is no sum, and the exception says so and carries the run."""
    drops = dict.fromkeys([0, 1], Phase.MASKED_INPUT)
    with refused(RoundFailedError, Code.QUORUM, match="2 parties sent masked input") as failed:
        secure_sum([np.arange(3)] * 4, Integers(0, 5), drops=drops)
    assert failed.value.run.result is None
    assert failed.value.run.code is Code.QUORUM
    assert failed.value.run.drops.keys() == {0, 1}
    assert failed.value.run.drop_codes == dict.fromkeys([0, 1], Code.TIMEOUT)


def test_min_survivors_is_a_quorum() -> None:
    """min_survivors above the threshold is enforced."""
    with refused(RoundFailedError, Code.QUORUM, match="5 are needed"):
        secure_sum(
            [np.arange(3)] * 5,
            Integers(0, 5),
            drops={0: Phase.MASKED_INPUT},
            threshold=3,
            min_survivors=5,
        )


def test_a_pair_is_opt_in() -> None:
    """Two parties learn each other's input from the sum, so the policy must allow it."""
    updates = [np.arange(3), np.arange(3)]
    with refused(secagg.ParameterError, Code.POLICY_PAIR):
        secure_sum(updates, Integers(0, 5))
    done = secure_sum(updates, Integers(0, 5), policy=Policy(allow_pair=True))
    assert np.asarray(done.total).tolist() == [0, 2, 4]


class Rows(np.ndarray):
    """A tensor of another library."""


ROWS = np.arange(12.0).reshape(3, 4) / 12


@pytest.mark.parametrize(
    "updates",
    [
        *(ROWS, ROWS.view(Rows), ROWS.tolist(), tuple(ROWS), iter(ROWS)),
        *(
            {2: ROWS[2], 0: ROWS[0], 1: ROWS[1]},
            {"a": ROWS[0], "b": ROWS[1], "c": ROWS[2]}.values(),
        ),
    ],
    ids=lambda updates: type(updates).__name__,
)
def test_containers_of_updates(updates: object) -> None:
    """Whatever gives one update per party."""
    done = secure_sum(updates, FixedPoint(clip=1.0))
    assert np.abs(done.total - ROWS.sum(0)).max() < 3 * FixedPoint(clip=1.0).step


def test_an_update_of_one_number() -> None:
    """A row of numbers has one for each party."""
    assert secure_sum(np.arange(4), Integers(0, 9)).total == 6


@pytest.mark.parametrize("mode", secagg.Mode)
def test_none_is_a_party_with_nothing_to_give(mode: secagg.Mode) -> None:
    """It joins, so that it can be needed no more, and drops out before its masked input."""
    updates = [None, *[np.arange(3)] * 7]
    drops = {5: Phase.ADVERTISE_KEYS}
    done = secure_sum(updates, Integers(0, 5), mode=mode, drops=drops, threshold=6)
    assert done.survivors == (1, 2, 3, 4, 6, 7)
    assert done.total.tolist() == [0, 6, 12]
    sent = {record.sender: record.phase for record in done.transcript if record.sender >= 0}
    assert sent[0] is Phase.SHARE_KEYS
    assert 5 not in sent
    earlier = secure_sum(updates[:5], Integers(0, 5), drops={0: Phase.ADVERTISE_KEYS})
    assert all(record.sender != 0 for record in earlier.transcript)


def test_messages_are_kept_unless_not_wanted() -> None:
    """They are as large as all inputs."""
    assert secure_sum([np.arange(3)] * 3, Integers(0, 5), transcript=False).transcript == []


class Index:
    """A number that is no int and equal to none, as tensors are."""

    def __index__(self) -> int:
        return 1


def test_a_drop_is_a_party_whatever_its_number_is() -> None:
    run = secure_sum([np.ones(2)] * 4, FixedPoint(2.0), drops={Index(): Phase.MASKED_INPUT})
    assert run.survivors == (0, 2, 3)


def one_wrong(layer: object, first: object = None) -> list[object]:
    """Returns four updates, in the last of which an array is another one."""
    good = np.ones(2) if first is None else first
    fine = {"bias": good, "layer.weight": good}
    return [fine, fine, fine, {"bias": good, "layer.weight": layer}]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": [1, 2]}, secagg.ParameterError, "need 3 weights, .* there are 2"),
        ({"drops": {3: Phase.UNMASK}}, secagg.ParameterError, "parties 0..2"),
        ({"drops": {0: "unmask"}}, secagg.ParameterError, "0: 'unmask'"),
        ({"drops": {1: Phase.UNMASK, Index(): Phase.UNMASK}}, secagg.ParameterError, "once"),
        ({"drops": [1]}, secagg.ParameterError, "a dict of parties and phases.* not .1."),
        ({"drops": 7}, secagg.ParameterError, "a dict of parties and phases"),
        ({"weights": {1, 2, 3}}, secagg.ParameterError, "in their order"),
        ({"weights": 3}, secagg.ParameterError, "one number per party"),
        ({"weights": np.int64(3)}, secagg.ParameterError, "one number per party"),
        ({"weights": np.ma.masked_array([1, 1, 1])}, secagg.RangeError, "weights .* mask"),
        ({"policy": {}}, secagg.ParameterError, "policy must be a Policy"),
        ({"random": 42}, secagg.ParameterError, "must be a function"),
        ({"threshold": 1}, secagg.ParameterError, "threshold"),
        ({"weights": [1, 1, 2]}, secagg.RangeError, "weight"),
        ({"updates": []}, secagg.ParameterError, "no updates"),
        ({"updates": iter(())}, secagg.ParameterError, "no updates"),
        ({"updates": [None] * 3}, secagg.ParameterError, "no updates"),
        *(
            ({"updates": updates}, secagg.ParameterError, f"one update per party, not {kind}")
            for updates, kind in (
                ("abc", "str"),
                (np.ones(()), "ndarray"),
                (None, "None"),
                ({1}, "set"),
            )
        ),
        ({"updates": {"site": ONE}}, secagg.ParameterError, r"the keys 'site': .* parties 0\.\.0"),
        ({"updates": {1: ONE, 2: ONE}}, secagg.ParameterError, "the keys 1, 2: "),
        ({"updates": np.ma.zeros((3, 2))}, secagg.RangeError, "array of updates .* has a mask"),
        ({"updates": [np.zeros(2), np.zeros(3), np.zeros(2)]}, secagg.RangeError, "layout"),
        ({"updates": [np.zeros(2), np.zeros(2), np.array([0, np.nan])]}, secagg.RangeError, "NaN"),
        *(
            ({"updates": updates} | more, secagg.RangeError, f"^update of party 3: .*{message}")
            for updates, more, message in (
                (one_wrong([1.0, np.nan]), {}, "array 'layer.weight' has a NaN: check"),
                (one_wrong([1.0, np.inf]), {}, "array 'layer.weight' has an infinite value"),
                (one_wrong([1.0]), {}, r"array 'layer.weight' has shape \(1,\) instead of \(2,\)"),
                (one_wrong(["a"]), {}, "array 'layer.weight/0' must hold numbers"),
                (
                    one_wrong([1, 9], [1, 2]),
                    WHOLE,
                    r"array 'layer.weight' has a value outside 0\.\.5",
                ),
                (one_wrong([1.0, 2.0], [1, 2]), WHOLE, "array 'layer.weight' holds floats"),
                ([ONE] * 4, {"weights": [1, 1, 1, 2]}, "the weight must be in 1..1"),
            )
        ),
        ({"updates": [np.zeros(0)] * 3}, secagg.RangeError, "nothing to aggregate"),
        ({"updates": [np.array(["a"])] * 3}, secagg.RangeError, "dtype"),
    ],
)
def test_bad_arguments(change: dict, error: type[Exception], message: str) -> None:
    """Impossible arguments are typed errors that say what is wrong."""
    arguments = {"updates": [np.zeros(2)] * 3} | change
    with pytest.raises(error, match=message):
        secure_sum(**{"format": FixedPoint(clip=1.0)} | arguments)


def test_log_lines_carry_the_session_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """The `secagg` logger tells the course of the round, tagged with its session."""
    with caplog.at_level(logging.DEBUG, logger="secagg"):
        done = secure_sum([np.arange(3)] * 3, Integers(0, 5))
    session = done.transcript[0].payload[4:20].hex()
    assert caplog.records
    assert all(record.getMessage().startswith(session) for record in caplog.records)
    text = caplog.text
    for record in done.transcript:
        if record.phase is Phase.UNMASK:
            assert record.payload[24:40].hex() not in text


def test_disputes_are_kept_with_and_without_a_sum() -> None:
    """Which pairs of parties the shares did not fit between is not lost."""
    done = secure_sum([np.arange(3)] * 4, Integers(0, 5))
    for event in (
        secagg.Failed("why", Code.COMMITMENT, ((0, 1),)),
        secagg.Completed(dataclasses.replace(done.run.result, disputes=((0, 1),))),
    ):
        cohort = Cohort(Server(done.params.round()), {}, {})
        cohort._on_server([event])
        assert cohort.run.disputes == ((0, 1),)
        assert cohort.run.code is (Code.COMMITMENT if isinstance(event, secagg.Failed) else None)
