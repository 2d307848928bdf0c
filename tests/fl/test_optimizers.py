"""Optimizers of the server, SCAFFOLD and samples of clients, beside formulas written here again.

The formulas are those of Reddi et al. 2021 (arXiv 2003.00295, Algorithms 1 and 2), Hsu et al. 2019
(arXiv 1909.06335) and Karimireddy et al. 2020 (arXiv 1910.06378, Algorithm 1, option II).
"""

import dataclasses
import functools
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from levels import runs_at
from refusals import refused
from secagg.fl import (
    Adagrad,
    Adam,
    Average,
    Coordinator,
    Decay,
    Descent,
    FedAvg,
    LocalClient,
    Momentum,
    Optimizer,
    Participant,
    Scaffold,
    ScaffoldClient,
    Softmax,
    Split,
    Yogi,
    fedavg_params,
    simulated_randomness,
)

from secagg import (
    AttemptsExhaustedError,
    ClippingWarning,
    Code,
    FixedPoint,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    ParameterError,
    Params,
    Phase,
    RangeError,
    Server,
    digest,
)
from secagg.simulate import Cohort, introduce

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "two_label_shards.py"
MODEL = [np.arange(6.0).reshape(2, 3) / 10, np.array([0.5])]
STEP = FixedPoint(clip=4.0).step
FINE = FixedPoint(clip=4.0, bits=32).step
MODES = [Mode.SEMI_HONEST, Mode.MALICIOUS]


@dataclasses.dataclass
class Adds:
    """A client whose training adds a constant: its update is known."""

    amount: float
    examples: int = 1

    def train(self, model):
        return [array + self.amount for array in model]


def cohort(n):
    return [Adds(0.1 * i - 0.25, examples=1 + i % 3) for i in range(n)]


# -- the steps of the papers ----------------------------------------------------------------


def falling(number):
    return 0.3 / number


def by_formula(kind, means, *, tau=0.01, beta1=0.8, beta2=0.95, beta=0.7):
    """Returns the change of one coordinate in each round, at the rates of `falling`."""
    m, v, total = 0.0, tau * tau, 0.0
    for number, delta in enumerate(means, 1):
        rate = falling(number)
        m = beta1 * m + (1 - beta1) * delta
        total = beta * total + delta
        if kind is Average:
            yield rate * delta
        elif kind is Momentum:
            yield rate * total
        else:
            if kind is Adagrad:
                v = v + delta**2
            elif kind is Adam:
                v = beta2 * v + (1 - beta2) * delta**2
            else:
                sign = (v > delta**2) - (v < delta**2)
                v = v - (1 - beta2) * delta**2 * sign
            yield rate * m / (math.sqrt(v) + tau)


OPTIMIZERS = [
    Average(falling),
    Momentum(falling, beta=0.7),
    Adam(falling, beta1=0.8, beta2=0.95, tau=0.01),
    Yogi(falling, beta1=0.8, beta2=0.95, tau=0.01),
    Adagrad(falling, beta1=0.8, beta2=0.95, tau=0.01),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: type(each).__name__)
def test_steps_are_those_of_the_papers(optimizer):
    """Alone, for means from tiny to large; and in a training, of the weighted mean of a sum."""
    size = np.array([1.0, 0.1, 1e-3, 0.0])
    means = np.random.default_rng(1).normal(size=(6, 4)) * size
    wanted = [list(by_formula(type(optimizer), column)) for column in means.T.tolist()]
    state = optimizer.start(4)
    for number, mean in enumerate(means, 1):
        before = mean.copy()
        change = optimizer.step(mean, state, number, share=1.0)
        np.testing.assert_array_equal(mean, before)
        np.testing.assert_allclose(change, [each[number - 1] for each in wanted], rtol=1e-12)
    clients = cohort(3)
    fed = FedAvg(MODEL, clients, rounds=3, optimizer=optimizer)
    amounts, weights = zip(*((each.amount, each.examples) for each in clients), strict=True)
    mean = float(np.average(amounts, weights=weights))
    wanted = np.cumsum(list(by_formula(type(optimizer), [mean] * 3)))
    for report, total in zip(fed, wanted, strict=True):
        assert not report.failed
        for got, start in zip(fed.model, MODEL, strict=True):
            np.testing.assert_allclose(got, start + total, atol=100 * STEP)


def test_a_failed_round_is_no_step():
    """Neither the state nor the number of the next step changes."""
    optimizer = Momentum(falling, beta=0.7)
    everybody = dict.fromkeys(range(5), Phase.UNMASK)
    clients = [Adds(0.5) for _ in range(5)]
    fed = FedAvg(MODEL, clients, rounds=3, drops=[{}, everybody, {}], optimizer=optimizer)
    assert [report.failed for report in fed] == [False, True, False]
    wanted = MODEL[1] + sum(by_formula(Momentum, [0.5, 0.5]))
    np.testing.assert_allclose(fed.model[1], wanted, atol=10 * STEP)


def test_a_schedule_rises_and_falls():
    decay = Decay(0.4, rounds=11, warmup=3, end=0.02)
    rates = [decay(number) for number in range(1, 15)]
    np.testing.assert_allclose(rates[:4], [0.1, 0.2, 0.3, 0.4])
    half_way = (0.4 + 0.02) / 2
    middle = 0.02 + 0.38 * (1 + math.cos(math.pi * 3 / 7)) / 2
    np.testing.assert_allclose(rates[6], middle)
    assert rates[6] > half_way > rates[7]
    np.testing.assert_allclose(rates[10:], 0.02)
    assert Decay(0.4, rounds=11).end == 0.004


# -- SCAFFOLD -------------------------------------------------------------------------------

SEED = 1  # with it, the clients that are to vanish are in the cohorts
EQUAL, UNEQUAL = (8,) * 7, (4, 8, 8, 12, 16, 4, 20)
ETA, BATCH = 0.5, 4
KIND = Softmax(3, 3)
START = [np.full((3, 3), 0.1), np.zeros(3)]


def scaffold(sizes, kind=ScaffoldClient):
    """Returns an optimizer, and clients whose examples are unlike."""
    equal = len(set(sizes)) == 1
    optimizer = Scaffold(ETA, steps=2) if equal else Scaffold(ETA, typical=3)
    rng, clients = np.random.default_rng(3), []
    for seed, size in enumerate(sizes):
        data = Split(rng.normal(size=(size, 3)), rng.choice([seed % 3, (seed + 1) % 3], size))
        local = LocalClient(KIND, data, Descent(rate=ETA, epochs=1, batch=BATCH), seed)
        clients.append(kind(local, optimizer))
    return optimizer, clients


def flat(model):
    return np.concatenate([array.ravel() for array in model])


class Plain:
    """SCAFFOLD as its paper has it, in the open, for the survivors that it is told."""

    def __init__(self, clients):
        self.locals = [each.local for each in clients]
        self.x, self.c = flat(START), np.zeros(12)
        self.own = np.zeros((len(clients), 12))

    def round(self, survivors):
        """Changes the model, c, and c_i of the survivors."""
        moved, changed = np.zeros(12), np.zeros(12)
        for i in survivors:
            y, steps = self.x.copy(), 0
            for part in self.locals[i].batches():
                slope = KIND.gradient([y[:9].reshape(3, 3), y[9:]], part)
                y -= ETA * (flat(slope) - self.own[i] + self.c)
                steps += 1
            new = self.own[i] - self.c + (self.x - y) / (steps * ETA)
            moved += y - self.x
            changed += new - self.own[i]
            self.own[i] = new
        self.x = self.x + moved / len(survivors)
        self.c = self.c + changed / len(self.locals)


def controls(clients):
    return np.array([np.zeros(12) if c.control is None else c.control for c in clients])


def run_scaffold(sizes, kind=ScaffoldClient):
    """Yields the clients, c and the report after each round of a training with dropouts."""
    optimizer, clients = scaffold(sizes, kind)
    params = fedavg_params(clients, START, bits=32, sample=5, optimizer=optimizer)
    everybody = dict.fromkeys(range(7), Phase.UNMASK)
    drops = [{}, {0: Phase.MASKED_INPUT}, {1: Phase.UNMASK}, everybody, {}]
    fed = FedAvg(
        START,
        clients,
        rounds=5,
        params=params,
        optimizer=optimizer,
        sample=5,
        drops=drops,
        random=simulated_randomness(SEED),
    )
    for report in fed:
        yield clients, fed.coordinator.state["control"].copy(), flat(fed.model), report


@pytest.mark.parametrize("sizes", [EQUAL, UNEQUAL], ids=["equal", "unequal"])
def test_scaffold_is_that_of_its_paper(sizes):
    """The server's c is the mean of c_i over all clients, though it sees one sum of a sample.

    c_i changes for those in the sum alone: also if they then vanish, and never in a failed round.
    """
    before, plain, kinds = np.zeros((7, 12)), None, []
    for clients, c, model, report in run_scaffold(sizes):
        plain = plain or Plain(clients)
        own = controls(clients)
        changed = tuple(np.flatnonzero((own != before).any(axis=1)).tolist())
        assert changed == report.survivors
        before, room = own, report.round * 20 * FINE
        np.testing.assert_allclose(c, own.mean(axis=0), rtol=0, atol=room)
        if report.survivors:
            plain.round(report.survivors)
        np.testing.assert_allclose(model, plain.x, rtol=0, atol=room)
        np.testing.assert_allclose(own, plain.own, rtol=0, atol=room)
        assert np.abs(c).max() > 1e-2
        kinds += [*report.drops.values()] + [Code] * report.failed
        assert (report.clipped, len(report.invited)) == (0, 5)
    assert {Phase.MASKED_INPUT, Phase.UNMASK, Code} <= set(kinds)  # all was tried


class Never(ScaffoldClient):
    """Planted: it is not told that its update is in the sum."""

    def settle(self, counted):
        super().settle(False)


class Always(ScaffoldClient):
    """Planted: it believes that every update is in a sum."""

    def settle(self, counted):
        super().settle(True)


@pytest.mark.parametrize(("planted", "sizes"), [(Never, EQUAL), (Always, UNEQUAL)])
def test_a_client_that_ignores_settle_is_seen(planted, sizes):
    off = [np.abs(c - controls(clients).mean(axis=0)).max() for clients, c, *_ in
           run_scaffold(sizes, planted)]  # fmt: skip
    assert max(off) > 1e-2


# -- what is sent beside the model, and what is said of the sum, in malicious mode -------------


class Sends(Optimizer):
    """One of the user's own, which sends clients a vector beside the model."""

    def __init__(self, rate):
        self.rate = rate

    def start(self, length):
        return {"control": np.zeros(length)}

    def sent(self, state):
        return state["control"]

    def step(self, mean, state, number, share):
        state["control"] += mean
        return self.rate * mean


class Gets:
    """Its client, which takes note whether an update of it has counted."""

    examples, counted = 1, False

    def train(self, model, control):
        return [array + 0.5 for array in model]

    def settle(self, counted):
        self.counted |= counted


class Lying:
    """A training in malicious mode with a server that opens rounds by itself."""

    def __init__(self, attempts=1, rate=1.0):
        self.clients, self.optimizer = [Gets() for _ in range(7)], Sends(rate)
        self.params = fedavg_params(
            self.clients, START, mode=Mode.MALICIOUS, optimizer=self.optimizer
        )
        self.identities, self.pins = introduce(7)
        self.ledger, self.attempts = MemoryLedger(), attempts
        self.parties = self.anew()

    def anew(self):
        """Participants with the ledger of the others, and no memory of their own."""
        return [
            Participant(
                *(at, each, self.params, "word", START, self.identities[at], self.pins),
                *(self.ledger, self.attempts),
                optimizer=self.optimizer,
            )
            for at, each in enumerate(self.clients)
        ]

    def join(self, control, attempt=0, server=None):
        """Returns a round that all have joined; of its own server, or of this one."""
        context = digest("word", START, control, attempt)
        server = server or Server(self.params.round(context=context), self.pins)
        offer = server.round.encode()
        joined = [each.join(offer, START, attempt, sent=(control,)) for each in self.parties]
        clients, inputs = (dict(enumerate(each)) for each in zip(*joined, strict=True))
        return server, clients, inputs, {each.index: each.subject for each in self.parties}

    def play(self, control, attempt=0, drops=None, server=None):
        """Plays a round to its end."""
        server, clients, inputs, subjects = self.join(control, attempt, server)
        return Cohort(server, clients, inputs, drops, subjects=subjects).play()

    @property
    def changed(self):
        """The clients of whom an update has counted."""
        return [at for at, each in enumerate(self.clients) if each.counted]


def test_another_control_is_no_other_model():
    """Two sums over one model would differ by one update, whatever else the server sends."""
    training, c = Lying(), np.zeros(12)
    assert training.play(c).result is not None
    run = training.play(c + 1e-300, drops={5: Phase.MASKED_INPUT})
    assert run.result is None
    assert run.refusal_codes == dict.fromkeys(set(range(7)) - {5}, Code.REPEATED_CONTRIBUTION)
    training.parties = training.anew()
    _, clients, *_ = training.join(c + 1e-300)
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):  # a driver that knows no subjects
        clients[0].expect(clients[0].context)


def test_attempts_are_those_of_a_model_whatever_the_control():
    """The honest server counts as clients do."""
    training = Lying(rate=0.0)  # no step changes the model
    coordinator = Coordinator(
        START, training.params, "word", training.pins, optimizer=training.optimizer
    )
    _, attempt, server = coordinator.open()
    assert not coordinator.converged
    coordinator.close(training.play(*coordinator.sent, attempt, server=server).result)
    assert coordinator.sent[0].any()
    assert digest(coordinator.model) == digest(START)
    assert coordinator.converged
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED):
        coordinator.open()


def test_a_client_that_did_not_see_itself_in_the_sum_believes_no_server():
    """In malicious mode it takes note only if it was in the set of survivors that it signed."""
    training, c = Lying(attempts=3), np.zeros(12)

    def settle():
        for each in training.parties:
            each.settle(True)
        return training.changed

    early = dict.fromkeys(range(1, 7), Phase.MASKED_INPUT)
    assert training.play(c, 0, early).result is None
    assert settle() == []
    run = training.play(c, 1, {3: Phase.MASKED_INPUT, 4: Phase.CONSISTENCY})
    assert run.result.survivors == (0, 1, 2, 4, 5, 6)
    training.parties[0].settle(False)
    training.join(c, 2)  # what is said of the round before comes too late
    assert settle() == []
    training.parties = training.anew()
    assert training.play(c, 2, {3: Phase.MASKED_INPUT, 4: Phase.CONSISTENCY}).result is not None
    assert settle() == [0, 1, 2, 4, 5, 6]


def test_that_an_update_counted_is_believed_once_and_after_an_input():
    """Not before the client has given one, nor where it had none, nor a second time."""
    told = []

    class Keeps(Adds):
        def train(self, model):
            return super().train(model) if self.amount else None

        def settle(self, counted):
            told.append(counted)

    clients = [Keeps(0.5), Keeps(0.0), Keeps(0.5)]
    params = fedavg_params(clients, MODEL)
    offer = params.round(context=digest("word", MODEL, 0)).encode()
    for at in (0, 1):
        party = Participant(at, clients[at], params, "word", MODEL)
        _, give = party.join(offer, MODEL, 0)
        party.settle(True)
        assert (give() is None) == (at == 1)
        party.settle(True)
        party.settle(True)
    assert told == [False, True, False, False, False, False]


def test_a_control_that_is_not_finite_is_not_kept():
    _, (client, *_) = scaffold(EQUAL)
    client.train(START, np.zeros(12))
    client.settle(True)
    before = client.control.copy()
    with np.errstate(all="ignore"):
        client.train(START, np.full(12, 1.7e308))
    client.settle(True)
    np.testing.assert_array_equal(client.control, before)


# -- samples of clients ---------------------------------------------------------------------


def sampled(mode, seed, clients, **options):
    params = fedavg_params(clients, MODEL, mode=mode, sample=0.4)
    random = simulated_randomness(seed)
    return FedAvg(MODEL, clients, rounds=4, params=params, sample=0.4, random=random, **options)


def drawn(fed, rounds=4):
    return [fed._members(number) for number in range(1, rounds + 1)]


def test_cohorts_differ_and_follow_from_the_seed():
    """In both modes they are the same; and without a seed nobody can foretell them."""
    clients = cohort(12)
    first, again, other = (
        drawn(sampled(mode, seed, clients))
        for mode, seed in ((MODES[0], 1), (MODES[1], 1), (MODES[0], 2))
    )
    assert first == again != other
    assert len(set(first)) == 4
    for invited in first:
        assert len(invited) == 5
        assert list(invited) == sorted(set(invited))
        assert set(invited) <= set(range(12))
    one, two = (drawn(FedAvg(MODEL, clients, rounds=1, sample=6), 8) for _ in range(2))
    assert one != two
    everybody = FedAvg(MODEL, clients, rounds=1, sample=1.0)
    assert drawn(everybody, 1) == [tuple(range(12))]


def test_every_client_is_drawn_as_often():
    fed = sampled(Mode.SEMI_HONEST, 5, cohort(10))
    counts = np.zeros(10)
    for members in drawn(fed, 500):
        counts[list(members)] += 1
    # Means are 200, variances 500 * 0.4 * 0.6 = 120 each.
    assert ((counts - 200) ** 2).sum() / 120 * 9 / 10 < 28  # chi-square with 9: 1 in 1000


@pytest.mark.parametrize(
    "mode", [MODES[0], pytest.param(MODES[1], marks=runs_at("trainings like others"))]
)
def test_those_of_a_sample_are_named_by_position(mode):
    """Dropouts, refusals and survivors; and the sum is over these clients."""
    clients = cohort(12)
    cohorts = drawn(sampled(mode, 1, clients))
    gone, late, broken = cohorts[0][1], cohorts[1][2], cohorts[2][4]

    def fails(model):
        raise ValueError("no data today")

    absent = next(p for p in range(12) if p not in cohorts[0])
    drops = [{gone: Phase.MASKED_INPUT, absent: Phase.MASKED_INPUT}, {late: Phase.UNMASK}, {}, {}]
    fed = sampled(mode, 1, clients, drops=drops)
    wanted, seen = MODEL[1].copy(), []
    for report in fed:
        assert report.invited == cohorts[report.round - 1]
        missing = {1: gone, 3: broken}.get(report.round)
        left = [p for p in report.invited if p != missing]
        assert report.survivors == tuple(left)
        seen.append((report.drops, set(report.refusals)))
        weights = [clients[p].examples for p in left]
        wanted += np.average([clients[p].amount for p in left], weights=weights)
        np.testing.assert_allclose(fed.model[1], wanted, atol=4 * STEP)
        clients[broken].train = fails if report.round == 2 else Adds.train.__get__(clients[broken])
    assert seen[0][0] == {gone: Phase.MASKED_INPUT}
    assert seen[1][0] == {late: Phase.UNMASK}
    assert seen[2] == ({}, {broken})


@pytest.mark.parametrize("mode", MODES)
def test_a_participant_refuses_a_cohort_that_is_none(mode):
    """The server says who is in it: that must be ascending positions, this one among them."""
    clients, members = cohort(8), [0, 2, 3, 5, 7]
    params = fedavg_params(clients, MODEL, mode=mode, sample=5)
    identities, directory = introduce(8)
    signed = mode == Mode.MALICIOUS
    server = Coordinator(MODEL, params, "trial", directory if signed else None, clients=8)
    offer, attempt, _ = server.open(members)
    keys = (identities[3], directory, MemoryLedger()) if signed else ()
    participant = Participant(3, clients[3], params, "trial", MODEL, *keys)
    client, _ = participant.join(offer, MODEL, attempt, members=members)
    assert client.index == 2
    bad = (
        [0, 2, 4, 5, 7],  # without itself
        [2, 0, 3, 5, 7],
        [7, 5, 3, 2, 0],
        [0, 3, 3, 5, 7],
        [0, 2, 3, 3, 7],
        [0, 2, 3, 5],
        [0, 2, 3, 5, 6, 7],
        [3],
        [],
        [-1, 2, 3, 5, 7],
        [0, 2, 3, 5, True],
        [0, 2, 3.0, 5, 7],
        [0, 2, 3, 5, "7"],
    )
    for members in bad:
        with refused(ParameterError, Code.ARGUMENT):
            participant.join(offer, MODEL, attempt, members=members)


# -- bad input ------------------------------------------------------------------------------


def test_settings_outside_their_ranges_are_refused():
    """By name, when they are made; a schedule in the round whose rate it gives."""
    nan, inf = math.nan, math.inf
    for rate in (0, 0.0, -1, nan, inf, "1", None, True):
        for kind in (Average, Momentum, Adam, Yogi, Adagrad):
            with refused(ParameterError, Code.ARGUMENT, "^rate must be a finite number abo"):
                kind(rate)
        with refused(ParameterError, Code.ARGUMENT, "local_rate must be a finite"):
            Scaffold(rate, steps=2)
        with refused(ParameterError, Code.ARGUMENT, "^rate must be a finite"):
            Scaffold(0.5, steps=2, rate=rate)
        with refused(ParameterError, Code.ARGUMENT, "rate must be a finite"):
            Decay(rate, rounds=5)
    for beta in (1, 1.0, -0.1, 2, nan, "x"):
        cases = ((Momentum, "beta"), (Adam, "beta1"), (Adam, "beta2"), (Yogi, "beta2"))
        for kind, name in cases:
            with refused(ParameterError, Code.ARGUMENT, f"{name} must be above 0 and below 1"):
                kind(**{name: beta})
    for tau in (0, -1e-3, nan, inf):
        with refused(ParameterError, Code.ARGUMENT, "tau must be a finite"):
            Adam(tau=tau)
    assert Adam(beta1=0).beta1 == 0
    for kind in (Average, Adam, lambda rate: Scaffold(0.5, steps=2, rate=rate)):
        with refused(ParameterError, Code.ARGUMENT, "rate cannot be called as rate.number.: corr"):
            kind(lambda: 1.0)
    for options in ({}, {"steps": 2, "typical": 2}):
        with refused(ParameterError, Code.ARGUMENT, "give either steps"):
            Scaffold(0.5, **options)
    for steps in (0, -1, 1.5, True, "2"):
        for name in ("steps", "typical"):
            with refused(ParameterError, Code.ARGUMENT, f"{name} must be"):
                Scaffold(0.5, **{name: steps})
    bad = ({"rounds": 0}, {"warmup": 5}, {"end": 0.5}, {"end": 0}, {"rounds": 2.5}, {"warmup": -1})
    for options in bad:
        options = {"rounds": 5} | options  # noqa: PLW2901
        with refused(ParameterError, Code.ARGUMENT):
            Decay(0.4, **options)


@pytest.mark.parametrize("rate", [math.nan, math.inf, 0, -1.0, "0.1", None])
def test_a_schedule_that_gives_no_rate_ends_the_training(rate):
    """The model stays as it was, and so does the state."""
    optimizer = Momentum(lambda number: 0.5 if number == 1 else rate)
    fed = FedAvg(MODEL, cohort(4), rounds=3, optimizer=optimizer)
    rounds = iter(fed)
    next(rounds)
    kept, total = fed.model, fed.coordinator.state["sum"].copy()
    with refused(ParameterError, Code.ARGUMENT, "the rate of round 2 by its schedule must be"):
        next(rounds)
    np.testing.assert_array_equal(flat(fed.model), flat(kept))
    np.testing.assert_array_equal(fed.coordinator.state["sum"], total)


class Own(Optimizer):
    """An optimizer of the user's own; what its methods return can be replaced."""

    def __init__(self, **methods):
        for name, value in methods.items():
            setattr(self, name, lambda *_, value=value: value(*_) if callable(value) else value)

    def start(self, length):
        return {"sum": np.zeros(length)}

    def step(self, mean, state, number, share):
        return mean


class Stepless(Own):
    def step(self, mean, state):
        return mean


class Sumless(Own):
    def summed(self):
        return 7


class Keeping(Own):
    """One that may change its attributes in a step."""

    def __init__(self, change):
        self.change, self.count, self.array = change, np.float64(0), np.zeros(7)
        self.items, self.named = [], {}

    @functools.cached_property
    def late(self):
        return 2.0

    def step(self, mean, state, number, share):
        self.change(self, mean)
        return mean


class Startless(Optimizer):
    def step(self, mean, state, number, share):
        return mean


def test_what_is_no_optimizer_is_refused():
    clients = cohort(3)
    for wrong, text in (
        ("adam", "must be an Optimizer, such as Adam.., not 'adam'"),
        (object(), "must be an Optimizer"),
        (Adam, "optimizer is the class Adam: make one of it"),
        (Startless(), "Startless has no start"),
        (
            Stepless(),
            "Stepless.step cannot be called as Stepless.step.mean, state, number, share.:",
        ),
        (Sumless(), "Sumless.summed cannot be called as Sumless.summed.length.: correct what"),
    ):
        params = fedavg_params(clients, MODEL)
        for make in (
            lambda: FedAvg(MODEL, clients, rounds=1, optimizer=wrong),  # noqa: B023
            lambda: fedavg_params(clients, MODEL, optimizer=wrong),  # noqa: B023
            lambda: Coordinator(MODEL, params, "trial", optimizer=wrong),  # noqa: B023
            lambda: Participant(0, clients[0], params, "trial", MODEL, optimizer=wrong),  # noqa: B023
        ):
            with refused(ParameterError, Code.ARGUMENT, text):
                make()
    halves, name = np.zeros(7, np.float32), "x" * 101
    for wrong, code, text in (
        ({"start": None}, Code.ARGUMENT, "start must give a dict .*, and gave .*type NoneType"),
        ({"start": {"a": [0.0]}}, Code.DTYPE, "and gave a value of the type list for 'a'"),
        ({"start": {"a": halves}}, Code.DTYPE, "gave an array of float32 for 'a'"),
        ({"start": {"a": np.full(7, math.nan)}}, Code.NOT_FINITE, "gave a value that is NaN"),
        *(({"start": {each: np.zeros(7)}}, Code.ARGUMENT, "name") for each in (1, "a\0", name)),
        ({"sent": np.zeros(6)}, Code.SHAPE, "sent must give None, or a vector of 7 .*shape .6,"),
        ({"sent": halves}, Code.DTYPE, "Own.sent must give"),
        *(({"summed": each}, Code.SHAPE, "an int, 7 or 14") for each in (8, 0, None, 7.0)),
    ):
        with refused(ParameterError, code, text):
            FedAvg(MODEL, clients, rounds=1, optimizer=Own(**wrong))


def test_a_step_that_is_none_changes_nothing():
    """Neither model nor state; the message says what was returned, and the round counts."""

    def leaves(**changed):
        def step(mean, state, *_):
            state.update(changed)
            return mean

        return step

    seven = np.zeros(7)
    for step, error, code, text in (
        (None, ParameterError, Code.DTYPE, "Own.step must give .* gave .*NoneType for the step"),
        (lambda mean, *_: mean.tolist(), ParameterError, Code.DTYPE, "type list for the step"),
        (lambda mean, *_: mean + 1j, ParameterError, Code.DTYPE, "array of complex128 for the s"),
        (lambda mean, *_: mean[1:], ParameterError, Code.SHAPE, "array of shape .6,. for the step"),
        (np.full(7, math.inf), RangeError, Code.NOT_FINITE, "step 1 of Own .*NaN .* in the step"),
        (leaves(sum=3), ParameterError, Code.DTYPE, "type int for 'sum' of the state"),
        (leaves(sum=seven[1:]), ParameterError, Code.SHAPE, "shape .6,. for 'sum' of the state"),
        (leaves(more=seven), ParameterError, Code.SHAPE, "a state of .'more', 'sum'."),
        (leaves(sum=seven * math.nan), RangeError, Code.NOT_FINITE, "NaN .* in 'sum' of the sta"),
    ):
        fed = FedAvg(MODEL, cohort(3), rounds=1, optimizer=Own(step=step))
        with refused(error, code, text):
            list(fed)
        assert [report.code for report in fed.reports] == [code]
        np.testing.assert_array_equal(flat(fed.model), flat(MODEL))
        np.testing.assert_array_equal(fed.coordinator.state["sum"], np.zeros(7))
    # What an optimizer keeps on itself is in no checkpoint.
    for name, change in {
        "new": lambda own, mean: setattr(own, "new", mean),
        "array": lambda own, mean: own.array.__iadd__(mean),
        "items": lambda own, mean: own.items.append(mean),
        "named": lambda own, mean: own.named.update(mean=mean),
        "count": lambda own, _: setattr(own, "count", own.count + 1),
    }.items():
        fed = FedAvg(MODEL, cohort(3), rounds=1, optimizer=Keeping(change))
        with refused(ParameterError, Code.ARGUMENT, f"Keeping.step changed its attribute {name}: "):
            list(fed)
        np.testing.assert_array_equal(flat(fed.model), flat(MODEL))
    list(FedAvg(MODEL, cohort(3), rounds=1, optimizer=Keeping(lambda own, _: own.late)))


def test_samples_that_are_none_are_refused():
    clients = cohort(8)
    for sample in (0, 0.0, 1, 2, 1.5, 9, -0.5, -3, math.nan, math.inf, True, "0.5", [3]):
        for make in (fedavg_params, FedAvg):
            rounds = {"rounds": 1} if make is FedAvg else {}
            arguments = (MODEL, clients) if make is FedAvg else (clients, MODEL)
            with refused(
                ParameterError, Code.ARGUMENT, "sample or buffer must be a share of the clients"
            ):
                make(*arguments, sample=sample, **rounds)
    params = fedavg_params(clients, MODEL, sample=4)
    with refused(ParameterError, Code.ARGUMENT, "5 clients in a round, and params are for .* 4"):
        FedAvg(MODEL, clients, rounds=1, params=params, sample=5)
    assert fedavg_params(clients, MODEL, sample=0.01).cohort == 3  # never fewer
    with refused(ParameterError, Code.ARGUMENT, "or a whole number in 3..8, not 3.0"):
        fedavg_params(clients, MODEL, sample=3.0)


def test_scaffold_refuses_what_it_is_not_made_for():
    optimizer, clients = scaffold(EQUAL)
    local = clients[0].local
    with refused(ParameterError, Code.ARGUMENT, "local must be a LocalClient, not ScaffoldClient"):
        ScaffoldClient(clients[0], optimizer)
    with refused(ParameterError, Code.ARGUMENT, "scaffold must be a Scaffold, not 0.5"):
        ScaffoldClient(local, ETA)
    for steps in (1, 3):
        with refused(ParameterError, Code.ARGUMENT, f"takes 2 steps in a round, not {steps}"):
            ScaffoldClient(local, Scaffold(ETA, steps=steps))
    for descent in (
        Descent(rate=0.4, epochs=1, batch=BATCH),
        Descent(rate=ETA, epochs=1, batch=BATCH, momentum=0.9),
        Descent(rate=ETA, epochs=1, batch=BATCH, adam=True),
        Descent(rate=ETA, epochs=1, batch=BATCH, proximal=0.1),
    ):
        with refused(ParameterError, Code.ARGUMENT, "plain steps at the rate 0.5"):
            ScaffoldClient(dataclasses.replace(local, descent=descent), optimizer)
    params = fedavg_params(clients, START, optimizer=optimizer)
    weighted = Params(7, 12, FixedPoint(clip=4.0, max_weight=8))
    with refused(ParameterError, Code.WEIGHT, "Scaffold needs updates that count alike"):
        FedAvg(START, clients, rounds=1, params=weighted, optimizer=optimizer)
    with refused(
        ParameterError, Code.WEIGHT, "wrap each in ScaffoldClient.client, scaffold.*max_wei"
    ):
        FedAvg(START, [each.local for each in clients], rounds=1, optimizer=optimizer)
    with refused(ParameterError, Code.WEIGHT, "Scaffold needs updates that count alike"):
        Participant(0, clients[0], weighted, "trial", START, optimizer=optimizer)
    # What clients keep from round to round would let a server that lies single one of them out.
    malicious = fedavg_params(clients, START, mode=Mode.MALICIOUS, optimizer=optimizer)
    kept = "Scaffold is refused in malicious mode: .* take semi-honest mode, or another optimizer"
    for make in (
        lambda: FedAvg(START, clients, rounds=1, params=malicious, optimizer=optimizer),
        lambda: Coordinator(START, malicious, "trial", introduce(7)[1], optimizer=optimizer),
        lambda: Participant(0, clients[0], malicious, "trial", START, optimizer=optimizer),
    ):
        with refused(ParameterError, Code.ARGUMENT, kept):
            make()
    twice = Scaffold(ETA, typical=2)
    with refused(ParameterError, Code.SHAPE, "12 values, and 24 are summed with it"):
        FedAvg(START, clients, rounds=1, params=params, optimizer=twice)
    for other in (Scaffold(ETA, steps=3), Scaffold(ETA / 2, steps=2)):
        with refused(ParameterError, Code.ARGUMENT, "client 0 was made for .*need the same local_"):
            FedAvg(START, clients, rounds=1, optimizer=other)
    with refused(ParameterError, Code.ARGUMENT, "client 0 .* cannot be called as train.model.:"):
        FedAvg(START, clients, rounds=1, optimizer=Adam())
    ones = [dataclasses.replace(each, examples=1) for each in cohort(7)]
    with refused(
        ParameterError, Code.ARGUMENT, "train.model, sent.: correct.*ScaffoldClient.client, s"
    ):
        FedAvg(MODEL, ones, rounds=1, optimizer=optimizer)
    FedAvg(START, clients, rounds=1, optimizer=dataclasses.replace(optimizer, rate=0.5))


def test_changes_of_control_variates_that_are_clipped_are_told():
    """They are arrays of their own in the warning, also if no update reaches the clip."""
    _, clients = scaffold(UNEQUAL)
    optimizer = Scaffold(ETA, typical=300)  # far too many: the changes are sent too large
    for client in clients:
        client.scaffold = optimizer
    fed = FedAvg(START, clients, rounds=1, optimizer=optimizer)
    with pytest.warns(ClippingWarning, match="of array '2'.*were clipped") as told:
        (report,) = fed
    assert "array '0'" not in str(told[0].message)
    assert set(report.clipped_by_array) == {"2", "3"}


def test_what_is_sent_beside_the_model_is_checked():
    """A participant takes one vector of finite float64 for SCAFFOLD, and none without it."""
    optimizer, clients = scaffold(EQUAL)
    params = fedavg_params(clients, START, optimizer=optimizer)
    server = Coordinator(START, params, "trial", optimizer=optimizer)
    offer, attempt, _ = server.open()
    participant = Participant(0, clients[0], params, "trial", START, optimizer=optimizer)
    participant.join(offer, START, attempt, sent=server.sent)
    c = np.zeros(12)
    bad = ((), (c, c), (c[:11],), (c.reshape(3, 4),), (c.astype(np.float32),), (c.tolist(),),
           (np.where(np.arange(12) == 3, np.nan, 0.0),), (np.ma.array(c),))  # fmt: skip
    for sent in bad:
        with refused(ParameterError, Code.SHAPE):
            participant.join(offer, START, attempt, sent=sent)
    with refused(ParameterError, Code.POLICY_CONTEXT):  # another c is another training
        participant.join(offer, START, attempt, sent=(c + 1e-9,))
    without = Participant(0, clients[0].local, params, "trial", START)
    with refused(
        ParameterError, Code.SHAPE, "a tuple of 1 came beside the model instead of a list of 0"
    ):
        without.join(offer, START, attempt, sent=server.sent)


# -- what they are worth --------------------------------------------------------------------


@runs_at("trainings like others")
def test_unlike_data_cost_averaging_more_than_the_others():
    """The table of examples/two_label_shards.py at its full size, within what seeds vary."""
    spec = importlib.util.spec_from_file_location("two_label_shards", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    means = {}
    for name in ("FedAvg", "FedAdam", "SCAFFOLD", "FedProx"):
        runs = [example.train(name, seed, iid=False) for seed in example.SEEDS]
        assert all(len(scores) == 20 for scores in runs)
        means[name] = 100 * np.mean([scores[-1] for scores in runs])
    assert 70 < means["FedAvg"] < 86
    assert means["FedAdam"] >= means["FedAvg"] + 5
    assert means["SCAFFOLD"] >= means["FedAvg"] + 5
    assert abs(means["FedProx"] - means["FedAvg"]) <= 3
