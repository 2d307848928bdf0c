"""Federated averaging: the mean, failed rounds, refusals, and no update on the server side."""

import dataclasses
import gc
import types

import numpy as np
import pytest
from harness import STEPS
from refusals import refused
from secagg.fl import (
    Coordinator,
    FedAvg,
    ModelClient,
    Participant,
    draw_drops,
    fedavg_params,
    simulated_randomness,
)
from secagg.fl.one_sum import TRAINING

from secagg import (
    ClippingWarning,
    Code,
    FixedPoint,
    Integers,
    Layout,
    Mode,
    ParameterError,
    Params,
    Phase,
    Rotated,
    Server,
    secure_sum,
)

MODEL = [np.arange(6.0).reshape(2, 3) / 10, np.array([0.5])]
STEP = FixedPoint(clip=4.0).step


@dataclasses.dataclass
class Adds:
    """A client whose training adds constants: its update is known."""

    examples: int
    amount: float

    def train(self, model):
        for array in model:
            np.add(array, self.amount, out=array)  # in place: what it gets must be its own
        return model


def cohort(n=5):
    return [Adds(examples=3 * i + 1, amount=0.1 * (i - 2) + 0.03) for i in range(n)]


def weighted_mean(clients, survivors):
    weights = [clients[i].examples for i in survivors]
    return np.average([clients[i].amount for i in survivors], weights=weights)


def test_a_round_adds_the_weighted_mean_of_the_survivors():
    clients = cohort()
    drops = [{0: Phase.MASKED_INPUT}, {2: Phase.UNMASK}, {}]
    fed = FedAvg(MODEL, clients, rounds=3, drops=drops, evaluate=lambda model: model[0].fill(9.0))
    expected = [array.copy() for array in MODEL]
    for report, survivors in zip(
        fed, [(1, 2, 3, 4), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4)], strict=True
    ):
        assert report.survivors == survivors
        assert not report.failed
        fed.model[0][:] = np.nan  # a copy, as is what `evaluate` gets
        expected = [array + weighted_mean(clients, survivors) for array in expected]
        for got, want in zip(fed.model, expected, strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, atol=report.round * STEP)
    np.testing.assert_array_equal(MODEL[1], [0.5])


def test_a_report_tells_cost_and_score():
    fed = FedAvg(MODEL, cohort(), rounds=1, evaluate=lambda model: (float(model[1][0]), 0.25))
    (report,) = fed
    assert (report.round, report.drops, report.refusals, report.clipped) == (1, {}, {}, 0)
    assert report.score == (fed.model[1][0], 0.25)
    assert report.bytes_up > 0
    assert report.bytes_down > 0
    assert set(report.seconds_by_phase) == {TRAINING, *(phase.value for phase in STEPS)}
    assert 0 < sum(report.seconds_by_phase.values()) <= report.seconds
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.failed = True


def test_a_score_is_two_numbers():
    """Of any kind; what else `evaluate` returns is refused by its name, and the round counts."""
    fed = FedAvg(MODEL, cohort(), rounds=1, evaluate=lambda _: (np.float32(0.5), np.int64(1)))
    (report,) = fed
    assert [*map(type, report.score)] == [float, float]
    for wrong in (0.5, (1, 2, 3), ("a", 1), {}):
        fed = FedAvg(MODEL, cohort(), rounds=1, evaluate=lambda _, wrong=wrong: wrong)
        with refused(ParameterError, Code.ARGUMENT, match="evaluate must return a Score"):
            next(iter(fed))
        assert len(fed.reports) == 1


def test_bytes_are_those_of_the_protocol():
    clients = cohort()
    (report,) = FedAvg(MODEL, clients, rounds=1)
    format = fedavg_params(clients, MODEL).format  # noqa: A001
    run = secure_sum([MODEL] * 5, format, weights=[c.examples for c in clients]).run
    assert report.bytes_up == sum(run.bytes_up.values()) / 5
    assert report.bytes_down == sum(run.bytes_down.values()) / 5


def test_bytes_are_the_mean_over_the_cohort():
    """Two runs that differ in one client's silence differ by a fifth of what it would have sent."""
    (whole,) = FedAvg(MODEL, cohort(), rounds=1)
    (less,) = FedAvg(MODEL, cohort(), rounds=1, drops=[{1: Phase.UNMASK}])
    lost = 5 * (whole.bytes_up - less.bytes_up)
    assert lost == pytest.approx(round(lost))
    assert 0 < lost < whole.bytes_up


def test_a_failed_round_changes_nothing_and_training_goes_on():
    clients = cohort()
    drops = [{}, {0: Phase.MASKED_INPUT, 1: Phase.SHARE_KEYS}, {}]
    fed = FedAvg(MODEL, clients, rounds=3, drops=drops, evaluate=lambda model: (0.0, 0.0))
    rounds = iter(fed)
    next(rounds)
    kept = [array.copy() for array in fed.model]
    failed = next(rounds)
    assert failed.failed
    assert failed.survivors == ()
    assert failed.code is Code.QUORUM
    assert failed.score == (0.0, 0.0)
    for got, want in zip(fed.model, kept, strict=True):
        np.testing.assert_array_equal(got, want)
    last = next(rounds)
    assert not last.failed
    np.testing.assert_allclose(
        fed.model[1], kept[1] + weighted_mean(clients, range(5)), atol=2 * STEP
    )
    assert next(rounds, None) is None


def test_the_start_belongs_to_the_caller():
    start = [array.copy() for array in MODEL]
    fed = FedAvg(start, cohort(), rounds=1)
    start[1][:] = 99.0
    np.testing.assert_array_equal(fed.model[1], MODEL[1])


def test_everybody_may_vanish():
    everybody = dict.fromkeys(range(5), Phase.ADVERTISE_KEYS)
    (report,) = FedAvg(MODEL, cohort(), rounds=1, drops=[everybody])
    assert report.failed
    assert report.bytes_up == 0


def test_iteration_can_be_broken_off_and_taken_up():
    fed = FedAvg(MODEL, cohort(), rounds=3)
    assert next(iter(fed)).round == 1
    assert [report.round for report in fed] == [2, 3]
    assert list(fed) == []


def test_clipping_is_counted():
    clients = cohort()
    clients[3].amount = 9.0
    clients[1].train = lambda model: [model[0] + [0.0, -5.0, 5.0], model[1] + 4.0]
    drops = [{4: Phase.MASKED_INPUT}, {3: Phase.UNMASK}]
    clients[4].amount = 9.0
    with pytest.warns(ClippingWarning) as told:
        first, second = FedAvg(MODEL, clients, rounds=2, drops=drops)
    assert len(told) == 2
    assert "of array '0', 1 of 4 values (25.0%) of array '1'" in str(told[0].message)
    assert (first.clipped, first.clipped_by_array) == (11, {"0": 10, "1": 1})
    assert (second.clipped, second.clipped_by_array) == (18, {"0": 16, "1": 2})
    (report,) = FedAvg(MODEL, clients, rounds=1, params=fedavg_params(clients, MODEL, clip=10.0))
    assert (report.clipped, report.clipped_by_array) == (0, {})


def test_rotated_updates_are_averaged():
    """With weights, or each counting once; what is longer than the clip is shortened and told."""
    clients = cohort()
    params = fedavg_params(clients, MODEL, clip=1.0, bits=16, rotate=True)
    assert params.format.max_weight == 13
    once = dataclasses.replace(params, format=Rotated.of(clip=1.0, bits=16, length=7, cohort=5))
    amounts = np.array([client.amount for client in clients])
    for each, weights in ((params, [1, 4, 7, 10, 13]), (once, None)):
        fed = FedAvg(MODEL, clients, rounds=1, params=each)
        (report,) = fed
        assert (report.clipped, report.shortened) == (0, 0)
        wanted = np.average(amounts, weights=weights)
        assert fed.model[0] - MODEL[0] == pytest.approx(wanted, abs=1e-3)
    clients[3].amount = 9.0
    fed = FedAvg(MODEL, clients, rounds=1, params=once)
    with pytest.warns(ClippingWarning, match="1 of 5 updates are longer"):
        (report,) = fed
    assert (report.shortened, report.clipped) == (1, 7)
    assert report.clipped_by_array == {"0": 6, "1": 1}
    wanted = (amounts.sum() - amounts[3] + 1 / np.sqrt(7)) / 5
    assert fed.model[1] - MODEL[1] == pytest.approx(wanted, abs=1e-3)
    for huge in (1e150, 1e200, 1e308):  # the norm of some is beyond all floats
        clients[3].amount = huge
        fed = FedAvg(MODEL, clients, rounds=1, params=once)
        with pytest.warns(ClippingWarning):
            (report,) = fed
        assert (report.shortened, report.clipped) == (1, 7)
        assert fed.model[1] - MODEL[1] == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("trains_in", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_update_at_the_clip_is_not_clipped_by_rounding(dtype, trains_in):
    """Clients clamp their updates themselves: model + delta - model is not delta, in no dtype."""
    ramp = np.linspace(-1, 1, 300)
    start = [np.concatenate([3 * ramp, 0.12 * ramp]).astype(dtype), np.zeros(7, dtype)]
    signs = np.sign(np.sin(np.arange(600)))

    def train(model):
        bound = trains_in(0.3)
        return [
            model[0].astype(trains_in) + signs.astype(trains_in) * bound,
            model[1].astype(trains_in) - bound,
        ]

    clients = [Adds(1, 0.0) for _ in range(3)]
    for each in clients:
        each.train = train
    params = fedavg_params(clients, start, clip=0.3)
    (report,) = FedAvg(start, clients, rounds=1, params=params)
    assert (report.clipped, report.clipped_by_array) == (0, {})
    clip = trains_in(0.3 * np.sqrt(599 + 7))  # one sign is 0; as a training has it
    rotated = fedavg_params(clients, start, clip=float(clip), bits=16, rotate=True)
    (report,) = FedAvg(start, clients, rounds=1, params=rotated)
    assert (report.clipped, report.shortened) == (0, 0)
    shorter = fedavg_params(clients, start, clip=0.9 * float(clip), bits=16, rotate=True)
    with pytest.warns(ClippingWarning):
        (report,) = FedAvg(start, clients, rounds=1, params=shorter)
    assert (report.clipped, report.shortened) == (3 * 607, 3)
    beyond = max(0.3, float(np.float32(0.3))) + 3 * float(np.spacing(dtype(0.3)))
    clients[1].train = lambda model: [model[0], model[1].astype(float) - beyond]
    with pytest.warns(ClippingWarning):
        (report,) = FedAvg(start, clients, rounds=1, params=params)
    assert (report.clipped, report.clipped_by_array) == (7, {"1": 7})


def test_simulated_randomness_repeats_to_the_last_bit():
    def final(seed):
        fed = FedAvg(MODEL, cohort(), rounds=2, random=simulated_randomness(seed))
        list(fed)
        return np.concatenate([array.reshape(-1) for array in fed.model])

    np.testing.assert_array_equal(final(1), final(1))
    assert not np.array_equal(final(1), final(2))
    with pytest.raises(ParameterError, match="seed must be an int from 0, not -1"):
        simulated_randomness(-1)
    draws = {simulated_randomness(1)(r, p)(16) for r in range(4) for p in range(4)}
    assert len(draws) == 16


def test_float32_models_keep_their_dtype():
    model = [array.astype(np.float32) for array in MODEL]
    fed = FedAvg(model, cohort(), rounds=1)
    list(fed)
    assert {array.dtype for array in fed.model} == {np.dtype(np.float32)}
    assert not np.array_equal(fed.model[1], model[1])


def test_parameters_that_do_not_fit_are_refused():
    clients = cohort()
    good = fedavg_params(clients, MODEL)
    assert good.format.max_weight == 13
    cases = [
        (
            {"params": fedavg_params(clients[:4], MODEL)},
            "5 clients in a round, and params are for a cohort of 4",
        ),
        (
            {"params": fedavg_params(clients, MODEL[:1])},
            "the model has 7 values, and params.length is 6",
        ),
        ({"params": Params(5, 7, Integers(0, 9))}, "FixedPoint or Rotated"),
        ({"params": Params(5, 7, FixedPoint(1.0, max_weight=12))}, "client 4 has 13 examples"),
        ({"drops": [{}]}, "drops has 1 entries for 2 rounds"),
        ({"drops": [{}, {5: Phase.UNMASK}]}, "drops has the entry 5: "),
        (
            {"drops": [{}, {1: "unmask"}]},
            "drops has the entry 1: .unmask.; it must be a client in 0..4",
        ),
        ({"drops": [{}, {"1": Phase.UNMASK}]}, "drops has the entry '1': "),
        ({"drops": [{}, {True: Phase.UNMASK}]}, "drops has the entry True: "),
        ({"drops": [{}, {1: Phase.UNMASK, Index(1): Phase.UNMASK}]}, "drops has the entry "),
        ({"drops": [{}, [1]]}, "drops must have a dict for each round, not list"),
        ({"drops": [{}, None]}, "drops must have a dict for each round, not NoneType"),
        ({"drops": 3}, "drops must be a list, not int"),
        ({"drops": {0: {}, 1: {}}}, "drops must be a list, not dict"),
        ({"params": "x"}, "params must be Params, not str"),
        ({"params": 0}, "params must be Params, not int"),
        ({"random": 1}, "random must be a function, not int"),
        ({"evaluate": 3}, "evaluate must be a function, not int"),
        ({"evaluate": lambda: 3}, "evaluate cannot be called as evaluate.model.: correct"),
        ({"random": lambda: 3}, "random cannot be called as random.number, party.: correct"),
    ]
    for options, message in cases:
        with pytest.raises(ParameterError, match=message):
            FedAvg(MODEL, clients, rounds=2, **options)
    with pytest.raises(ParameterError, match="arrays of floats"):
        FedAvg([np.arange(3)], clients, rounds=1)
    for some in ([], clients[:1], clients[:2]):  # a sum of two tells each the other's update
        for make in (lambda: fedavg_params(some, MODEL), lambda: FedAvg(MODEL, some, rounds=1)):  # noqa: B023
            with refused(ParameterError, Code.ARGUMENT, "at least three clients"):
                make()
    pair = Params(2, 7, FixedPoint(1.0, max_weight=13))
    low = Params(3, 7, pair.format, threshold=2, min_survivors=2)
    for make in (
        lambda: FedAvg(MODEL, clients[:2], rounds=1, params=pair),
        lambda: Coordinator(MODEL, pair, "trial"),
        lambda: Participant(0, clients[0], pair, "trial", MODEL),
        lambda: FedAvg(MODEL, clients[:3], rounds=1, params=low),
    ):
        with refused(ParameterError, Code.ARGUMENT, "at least three clients"):
            make()
    for some in (dict(enumerate(clients)), 5, "abc", None):
        for make in (lambda: fedavg_params(some, MODEL), lambda: FedAvg(MODEL, some, rounds=1)):  # noqa: B023
            with refused(ParameterError, Code.ARGUMENT, "clients must be a list, not"):
                make()
    bare = types.SimpleNamespace(train=len)
    with refused(ParameterError, Code.WEIGHT, "examples of client 2 raised AttributeError: "):
        fedavg_params([*clients[:2], bare, *clients[3:]], MODEL)
    bare = types.SimpleNamespace(examples=3)
    with refused(ParameterError, Code.ARGUMENT, "client 2 .SimpleNamespace. has no method train"):
        FedAvg(MODEL, [*clients[:2], bare, *clients[3:]], rounds=1)
    for wrong, text in ((Adds, "the class .*: make objects of it"), (None, "None")):
        for make in (
            lambda: fedavg_params([wrong] * 3, MODEL),  # noqa: B023
            lambda: FedAvg(MODEL, [wrong] * 3, rounds=1),  # noqa: B023
        ):
            with refused(ParameterError, Code.ARGUMENT, f"client 0 is {text}; a client is an obj"):
                make()
    for name, end in (("train", ", or the opt.*"), ("settle", "$"), ("restore", "$")):
        bare = types.SimpleNamespace(**{"examples": 3, "train": len, name: lambda: None})
        told = f"client 2 .* cannot be called as {name}.*: correct what it takes{end}"
        with refused(ParameterError, Code.ARGUMENT, told):
            FedAvg(MODEL, [*clients[:2], bare, *clients[3:]], rounds=1)
    with refused(ParameterError, Code.ARGUMENT, "client 4 is the same object as client 1:"):
        FedAvg(MODEL, [*clients[:4], clients[1]], rounds=1)
    shared = [object.__new__(ModelClient) for _ in range(3)]
    for each in shared:
        each.model, each.examples = MODEL, 1
    with refused(ParameterError, Code.ARGUMENT, "client 1's model is the same object as client 0"):
        FedAvg(MODEL, shared, rounds=1)
    for odd, text in ((np.float64(1.0), "item 1 is of the type float64"), (2.0, "type float:")):
        with refused(ParameterError, Code.DTYPE, text + ".*np.asarray"):
            FedAvg([MODEL[0], odd], clients, rounds=1)
    for examples in (-1, True, 1.0, "3", None, 2**64, np.array([3])):
        some = [*clients[:2], Adds(examples, 1.0), *clients[3:]]
        for make in (lambda: fedavg_params(some, MODEL), lambda: FedAvg(MODEL, some, rounds=1)):  # noqa: B023
            with refused(ParameterError, Code.WEIGHT) as caught:
                make()
            assert "client 2" in caught.value.reason
    with pytest.raises(ParameterError, match="no client holds an example"):
        FedAvg(MODEL, [Adds(0, 1.0)] * 5, rounds=1)
    for rounds in (-1, True, 2.0, "2"):
        with refused(ParameterError, Code.ARGUMENT):
            FedAvg(MODEL, clients, rounds=rounds)


class Index:
    """An integer of another library."""

    def __init__(self, number):
        self.number = number

    def __index__(self):
        return self.number


def test_numbers_of_numpy_are_numbers():
    """They are those of the user, not of a peer."""
    clients = [Adds(np.int64(each.examples), each.amount) for each in cohort()]
    assert fedavg_params(clients, MODEL) == fedavg_params(cohort(), MODEL)
    rng = np.random.default_rng(0)
    drops = [draw_drops(rng, np.int64(5), np.float32(0.0), Mode.MALICIOUS) for _ in range(2)]
    params = fedavg_params(clients, MODEL, mode=Mode.MALICIOUS)
    random = simulated_randomness(np.int64(1))
    options = {"params": params, "drops": drops, "random": random, "attempts": np.uint8(2)}
    fed = FedAvg(MODEL, iter(clients), rounds=np.int64(2), **options)
    assert [report.survivors for report in fed] == [tuple(range(5))] * 2
    drops = iter([{Index(1): Phase.MASKED_INPUT}])
    (report,) = FedAvg(MODEL, iter(clients), rounds=1, drops=drops)
    assert (report.survivors, report.drops) == ((0, 2, 3, 4), {1: Phase.MASKED_INPUT})
    assert type(fed.rounds) is int
    assert random(1, 2)(8) == simulated_randomness(1)(1, 2)(8)


# -- the context: a client enters no sum over updates of another model ----------------------


def test_a_client_refuses_a_round_about_another_model():
    params = fedavg_params(cohort(), MODEL)
    offer, attempt, _ = Coordinator(MODEL, params, "trial").open()
    participant = Participant(0, cohort()[0], params, "trial", MODEL)
    participant.join(offer, MODEL, attempt)
    other = [MODEL[0] + 1e-9, MODEL[1]]
    for model, number in ((other, attempt), (MODEL, attempt + 1)):
        with refused(ParameterError, Code.POLICY_CONTEXT):
            participant.join(offer, model, number)
    weaker = dataclasses.replace(params, threshold=3, min_survivors=3, colluders=1)
    with refused(ParameterError, Code.POLICY_PARAMS):
        Participant(0, cohort()[0], weaker, "trial", MODEL).join(offer, MODEL, attempt)


def test_refusals_are_reported_and_count_as_absent(monkeypatch):
    class Doubting(Participant):
        def join(self, offer, model, attempt, *rest):
            attempt += self.index == 1  # this one was told another attempt
            return super().join(offer, model, attempt, *rest)

    monkeypatch.setattr("secagg.fl.fedavg.Participant", Doubting)
    (report,) = FedAvg(MODEL, cohort(), rounds=1)
    assert report.survivors == (0, 2, 3, 4)
    assert list(report.refusals) == [1]
    assert report.refusal_codes == {1: Code.POLICY_CONTEXT}


# -- no server-side object ever holds an individual update ----------------------------------

OPAQUE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.CodeType)


def reachable(root):
    """Every object that can be reached from `root` through references of data."""
    seen, waiting = {}, [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, OPAQUE):
            continue
        seen[id(thing)] = thing
        waiting += gc.get_referents(thing)
        if isinstance(thing, np.ndarray) and thing.base is not None:
            waiting.append(thing.base)
    return seen.values()


def numbers_in(thing):
    """The vectors of real numbers that an object could be, encoded elements included."""
    if isinstance(thing, np.ndarray) and thing.dtype.kind in "fiu":
        yield thing.reshape(-1).astype(np.float64)
    elif isinstance(thing, bytes | bytearray) and len(thing) % 8 == 0:
        with np.errstate(invalid="ignore"):
            yield np.frombuffer(bytes(thing), np.float64)
    elif isinstance(thing, list | tuple) and thing and all(type(x) is float for x in thing):
        yield np.array(thing)


def leaks(root, update, weight, start):
    """Objects that hold a client's update, its trained model or its encoded input."""
    scale = FixedPoint(clip=4.0).scale
    forms = [update, weight * update, start + update, (update + 4.0) * scale]
    forms += [weight * forms[-1]]
    layout = Layout.of(MODEL)
    sizes = {layout.length, *(array.size for array in MODEL)}
    found = []
    for thing in reachable(root):
        for vector in numbers_in(thing):
            head = vector[: layout.length]
            if head.size not in sizes or not np.isfinite(head).all():
                continue
            for form in forms:
                tolerance = 2 * weight if form is forms[3] or form is forms[4] else 1e-7
                for part in (form, form[:6]):  # the whole vector, or its first array
                    if part.size == head.size and np.allclose(head, part, rtol=0, atol=tolerance):
                        found.append(thing)
    return found


def walked_run(fed_class):
    """Rounds walked from every server-side object whenever a client has just trained, and after."""
    found, servers = [], set()
    rng = np.random.default_rng(8)
    shifts = [rng.normal(size=7) for _ in range(5)]
    layout = Layout.of(MODEL)

    def look(upto):
        start = np.asarray(layout.flatten(fed.model))
        for party in range(upto):
            for root in (fed, fed.coordinator, fed.coordinator.server):
                found.extend(leaks(root, shifts[party], clients[party].examples, start))
        servers.add(type(fed.coordinator.server))

    class Shifts:
        def __init__(self, party):
            self.party, self.examples = party, party + 2

        def train(self, model):
            look(self.party)  # those before this one have handed in their inputs
            flat = layout.flatten(model) + shifts[self.party]
            return layout.unflatten(flat)

    clients = [Shifts(party) for party in range(5)]
    fed = fed_class(MODEL, clients, rounds=2, drops=[{}, {4: Phase.UNMASK}])
    reports = []
    for report in fed:
        reports.append(report)
        found.extend(leak for p in range(5) for leak in leaks(reports, shifts[p], p + 2, 0.0))
        before = np.asarray(layout.flatten(fed.model)) - np.average(
            shifts, axis=0, weights=range(2, 7)
        )
        for p in range(5):
            found.extend(leaks(fed, shifts[p], p + 2, before))
    assert not any(report.failed for report in reports)
    assert Server in servers  # the walk did see a server at work
    return found


def test_no_server_side_object_holds_an_individual_update():
    assert walked_run(FedAvg) == []


class KeepsUpdates(FedAvg):
    """Planted: the driver remembers what clients hand in."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = []
        for participant in self._participants:
            self._tap(participant)

    def _tap(self, participant):
        inner = participant._input

        def tapped(model, sent, form):
            update, weight = inner(model, sent, form)
            self.kept.append(self.form(update, weight))
            return update, weight

        participant._input = tapped

    def form(self, update, weight):
        return update


class KeepsWeighted(KeepsUpdates):
    def form(self, update, weight):
        return {"nested": (weight * update.astype(np.float32),)}


class KeepsEncoded(KeepsUpdates):
    def form(self, update, weight):
        return (weight * np.rint((update + 4) * FixedPoint(clip=4.0).scale)).astype(np.uint64)


class KeepsBytes(KeepsUpdates):
    def form(self, update, weight):
        return update.tobytes()


@pytest.mark.parametrize("planted", [KeepsUpdates, KeepsWeighted, KeepsEncoded, KeepsBytes])
def test_the_walk_finds_planted_leaks(planted):
    assert walked_run(planted) != []
