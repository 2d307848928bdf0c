"""Buffered averaging: plain FedBuff to the last level, and one model in every buffer."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from threading import Thread
from typing import Any

import numpy as np
import pytest
from levels import runs_at
from refusals import Endless, refused
from secagg.fl import (
    BufferedParticipant,
    BufferReport,
    Coordinator,
    Descent,
    FedAvg,
    FedBuff,
    LocalClient,
    Placement,
    Privacy,
    Scaffold,
    Score,
    Softmax,
    accuracy,
    fedavg_params,
    frame,
    load,
    log_normal,
    private_params,
    simulated_randomness,
    staleness_weight,
)

from secagg import (
    AttemptsExhaustedError,
    Code,
    FixedPoint,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    ParameterError,
    Phase,
    RangeError,
    Server,
    digest,
)
from secagg.simulate import Cohort, introduce

STEP = FixedPoint(clip=4.0).step
MODEL = [np.array([0.5, -0.25, 1.0])]
OTHER = [MODEL[0] + 1.0]
PACE = (1.0, 1.1, 1.2, 1.3, 2.4, 2.5, 2.55, 3.7)  # how long each client trains


@dataclass
class Nears:
    """A client whose training goes a part of the way to its own optimum."""

    examples: int
    target: float

    def train(self, model: list[Any]) -> list[Any]:
        return [array + 0.25 * (self.target - array) for array in model]


def cohort(many: int = 8) -> list[Nears]:
    return [Nears(3 * at % 7 + 1, 0.3 * at - 1) for at in range(many)]


def pace(_: np.random.Generator, client: int) -> float:
    return PACE[client]


def plain(
    sums: int, buffer: int, most_stale: int, mixed: bool, gone: Mapping[int, int]
) -> list[tuple[float, tuple[int, ...], tuple[int, ...], np.ndarray]]:
    """FedBuff without protection: time, members, their staleness and the model after each sum."""
    clients, model, version, found = cohort(), MODEL[0], 0, []
    started = dict.fromkeys(range(8), (0, model))
    events = [(PACE[at], at, at) for at in range(8)]
    buffers: dict[int, dict[int, Any]] = {}
    order = 8

    def start(who: int, now: float) -> None:
        nonlocal order
        started[who] = version, model
        heapq.heappush(events, (now + PACE[who], order, who))
        order += 1

    heapq.heapify(events)
    now = 0.0
    while len(found) < sums:
        now, _, who = heapq.heappop(events)
        trained_on, base = started[who]
        if version - trained_on > most_stale:
            start(who, now)
            continue
        buffer_of_it = buffers.setdefault(0 if mixed else trained_on, {})
        (new,) = clients[who].train([base])
        buffer_of_it[who] = trained_on, new - base
        if len(buffer_of_it) < buffer:
            continue
        members = sorted(buffer_of_it)
        stale = tuple(version - buffer_of_it[each][0] for each in members)
        counted = [each for each in members if each != gone.get(len(found))]
        weights = [clients[each].examples for each in counted]
        updates = [
            buffer_of_it[each][1] / math.sqrt(1 + version - buffer_of_it[each][0])
            for each in counted
        ]
        model = model + np.average(updates, axis=0, weights=weights)
        version += 1
        found.append((now, tuple(members), stale, model))
        del buffers[0 if mixed else trained_on]
        late = [
            (at, key)
            for key, each in buffers.items()
            for at, (trained_on, _) in each.items()
            if version - trained_on > most_stale
        ]
        for at, key in late:
            del buffers[key][at]
        for each in (*members, *sorted(at for at, _ in late)):
            start(each, now)
    return found


@pytest.mark.parametrize("mixed", [False, True])
def test_the_sums_are_those_of_plain_fedbuff(mixed: bool) -> None:
    """Times, members, weights and models, with one that was ready and is gone in a sum."""
    sums, gone, most_stale = 14, {1: 1, 6: 2}, 2
    drops = [{gone[at]: Phase.MASKED_INPUT} if at in gone else {} for at in range(sums)]
    fed = FedBuff(
        *(MODEL, cohort()),
        buffer=4,
        sums=sums,
        durations=pace,
        most_stale=most_stale,
        mixed=mixed,
        drops=drops,
        evaluate=lambda model: (float(model[0][0]), 0.5),
    )
    wanted = plain(sums, 4, most_stale, mixed, gone)
    before: dict[int, float] = dict.fromkeys(range(8), 0.0)
    pairs = []
    for at, (report, (now, members, stale, model)) in enumerate(zip(fed, wanted, strict=True)):
        assert (report.time, report.invited, report.stale) == (pytest.approx(now), members, stale)
        assert report.survivors == tuple(each for each in members if each != gone.get(at))
        np.testing.assert_allclose(fed.model[0], model, atol=(at + 1) * STEP)
        assert report.score == (fed.model[0][0], 0.5)
        assert mixed or len(set(report.versions)) == 1
        pairs += list(zip(report.invited, report.versions, strict=True))
        for each in report.invited:  # it trained since the last sum that it was in
            assert report.time >= before[each] + PACE[each] - 1e-9
            before[each] = report.time
    assert len(set(pairs)) == len(pairs), "a client was in two buffers with one model"
    assert any(report.restarted for report in fed.reports)
    assert max(max(report.stale) for report in fed.reports) == most_stale
    given = fed.reports[-1].contributions
    assert given[0] > given[4] >= given[7], "faster clients contribute more"
    joined = [each for report in fed.reports for each in report.invited]
    left = [joined.count(at) - sum(at == each for each in gone.values()) for at in range(8)]
    assert list(given) == left


@pytest.mark.filterwarnings("ignore::secagg.ClippingWarning")
def test_a_weight_counts_before_the_clip() -> None:
    """An update of 6 is beyond the clip of 4, and half of it is not."""
    far = [Nears(1, 0.5 + 4 * 6.0)] * 3
    for weight, clipped in ((1.0, 9), (0.5, 0)):
        start = [np.full(3, 0.5)]
        fed = FedBuff(start, far, buffer=3, sums=1, weigh=lambda _, fixed=weight: fixed)
        (report,) = fed
        assert report.clipped == clipped
        assert fed.model[0] == pytest.approx(0.5 + min(4.0, weight * 6.0), abs=2 * STEP)
    assert staleness_weight(3) == 0.5


# -- what a client checks ------------------------------------------------------------------

PARAMS = fedavg_params(cohort(4), MODEL, sample=3)


def members_of(many: int = 3, **more: Any) -> list[BufferedParticipant]:
    found = [
        BufferedParticipant(at, each, PARAMS, "word", MODEL, **more)
        for at, each in enumerate(cohort(4))
    ][:many]
    for each in found:
        each.begin(MODEL)
        assert each.train()
    return found


def opened(
    models: Sequence[Any] = (MODEL,), stale: Sequence[int] = (0,)
) -> tuple[bytes, int, Server]:
    return Coordinator(MODEL, PARAMS, "word", attempts=None).open_buffer(models, stale, (0, 1, 2))


def test_another_version_than_the_client_s_is_refused() -> None:
    """A server that lies about the model, its age, or the number of the attempt."""
    (first, *_) = members_of()
    offer, attempt, _ = opened([OTHER])
    with refused(ParameterError, Code.POLICY_CONTEXT, match="is not the expected"):
        first.join(offer, attempt, [0], members=(0, 1, 2))
    offer, attempt, _ = opened(stale=[3])
    for told in ([0], [4]):
        with refused(ParameterError, Code.POLICY_CONTEXT, match="is not the expected"):
            first.join(offer, attempt, told, members=(0, 1, 2))
    with refused(ParameterError, Code.POLICY_CONTEXT, match="is not the expected"):
        first.join(offer, attempt + 1, [3], members=(0, 1, 2))
    with refused(ParameterError, Code.POLICY_CONTEXT, match="11 changes .* 10 are its limit"):
        first.join(offer, attempt, [11], members=(0, 1, 2))
    for wrong in ([True], [-1], [1.0], 3, None, [np.int64(1)]):
        with refused(ParameterError, Code.ARGUMENT):
            first.join(offer, attempt, wrong, members=(0, 1, 2))  # type: ignore[arg-type]
    first.join(offer, attempt, [3], members=(0, 1, 2))  # all that was refused has cost nothing


def test_a_lone_version_is_refused() -> None:
    models, stale, members = [MODEL, MODEL, OTHER], [2, 2, 1], (0, 1, 2)
    versions = [digest(each) for each in models]
    offer, attempt, _ = opened(models, stale)
    for each in members_of():
        with refused(ParameterError, Code.POLICY_CONTEXT, match="mixed=True only"):
            each.join(offer, attempt, stale, versions, members=members)
        with refused(ParameterError, Code.POLICY_CONTEXT, match="is not the expected"):
            each.join(offer, attempt, [2], members=members)
    first, second, third = members_of(mixed=True)
    with refused(ParameterError, Code.POLICY_CONTEXT, match="another model than the server says"):
        third.join(offer, attempt, stale, versions, members=members)
    with refused(ParameterError, Code.POLICY_CONTEXT, match="is not the expected"):
        first.join(offer, attempt, stale, [*versions[:2], versions[0]], members=members)
    for wrong in (versions[:2], [*versions[:2], b""], [*versions[:2], "x"], None, Endless(9)):
        with refused(ParameterError, Code.ARGUMENT):
            first.join(offer, attempt, stale, wrong, members=members)  # type: ignore[arg-type]
    third.begin(OTHER)
    assert third.train()
    for each in (first, second, third):
        each.join(offer, attempt, stale, versions, members=members)
    with refused(ParameterError, Code.ARGUMENT, match="mixed buffers do not protect"):
        FedBuff(
            MODEL, cohort(4), buffer=3, sums=1, mixed=True,
            params=fedavg_params(cohort(4), MODEL, sample=3, mode=Mode.MALICIOUS),
        )  # fmt: skip


def test_an_update_is_in_one_sum() -> None:
    """Also if two are open at once; and there is none before the training."""
    (first, *_) = members_of()
    offers = [opened() for _ in range(2)]
    first.join(*offers[0][:2], [0], members=(0, 1, 2))
    with refused(ParameterError, Code.NO_INPUT, match="no update that is ready"):
        first.join(*offers[1][:2], [0], members=(0, 1, 2))
    first.begin(MODEL)
    with refused(ParameterError, Code.NO_INPUT, match="no update that is ready"):
        first.join(*offers[1][:2], [0], members=(0, 1, 2))


# -- malicious mode ------------------------------------------------------------------------


def test_a_model_gets_one_update_of_a_client_whatever_the_attempt_is_called() -> None:
    """By its own count; and by its ledger, if it forgot that."""
    params = fedavg_params(cohort(4), MODEL, sample=4, mode=Mode.MALICIOUS)
    identities, pins = introduce(4)
    ledger = MemoryLedger()
    coordinator = Coordinator(MODEL, params, "word", pins, attempts=None)

    def everybody() -> list[BufferedParticipant]:
        return [
            BufferedParticipant(at, each, params, "word", MODEL, identities[at], pins, ledger)
            for at, each in enumerate(cohort(4))
        ]

    def play(parties: Sequence[BufferedParticipant]) -> Any:
        offer, attempt, server = coordinator.open_buffer([MODEL], [0], range(4))
        joined = [each.join(offer, attempt, [0]) for each in parties]
        found = Cohort(
            server,
            dict(enumerate(client for client, _ in joined)),
            dict(enumerate(give for _, give in joined)),
            subjects={at: each.subject for at, each in enumerate(parties) if each.subject},
        ).play()
        coordinator.close(None)
        return found

    parties = everybody()
    for each in parties:
        each.begin(MODEL)
        assert each.train()
    assert play(parties).result is not None
    for each in parties:
        each.begin(MODEL)
        assert each.train()
    with refused(ParameterError, Code.ATTEMPTS_EXHAUSTED, match="of this model 1 times"):
        play(parties)
    forgetful = everybody()
    for each in forgetful:
        each.begin(MODEL)
        assert each.train()
    run = play(forgetful)
    assert run.result is None
    assert set(run.refusal_codes.values()) == {Code.REPEATED_CONTRIBUTION}
    forgetful[0].begin(MODEL)
    assert forgetful[0].train()
    with refused(ParameterError, Code.ATTEMPTS_EXHAUSTED):  # by its count, what may have left
        forgetful[0].join(*coordinator.open_buffer([MODEL], [0], range(4))[:2], [0])
    (unaware, *_) = everybody()
    unaware.begin(MODEL)
    assert unaware.train()
    coordinator.close(None)
    client, _ = unaware.join(*coordinator.open_buffer([MODEL], [0], range(4))[:2], [0])
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):  # a driver that knows no subjects
        client.expect(client.context)


def test_a_client_is_told_whether_its_update_counted() -> None:
    told = {}

    class Keeps(Nears):
        def settle(self, counted: bool) -> None:
            told[self.target] = counted

    clients = [Keeps(1, 0.1 * at) for at in range(4)]
    drops = [{2: Phase.MASKED_INPUT}]
    (report,) = FedBuff(MODEL, clients, buffer=4, sums=1, drops=drops)
    assert report.survivors == (0, 1, 3)
    assert list(told.values()) == [True, True, False, True]


def test_sums_that_end_in_another_order_cost_no_attempt() -> None:
    """Of two that were joined with one count, the ledger lets one through."""
    params = fedavg_params(cohort(4), MODEL, sample=4, mode=Mode.MALICIOUS)
    identities, pins = introduce(4)
    coordinator = Coordinator(MODEL, params, "word", pins, attempts=None)
    client = BufferedParticipant(
        *(0, cohort()[0], params, "word", MODEL, identities[0], pins, MemoryLedger(), 4)
    )

    def joined() -> tuple[Any, bytes | None]:
        client.begin(MODEL)
        assert client.train()
        _, give = client.join(*coordinator.open_buffer([MODEL], [0], range(4))[:2], [0])
        coordinator.close(None)
        return give, client.subject

    (first, one), (late, same) = joined(), joined()
    assert first()
    third, other = joined()
    assert third()
    assert late()
    fourth, last = joined()
    assert one == same
    assert len({one, other, last}) == 3
    given, at_once = client.given, Thread(target=fourth)
    with client._lock:  # the check and the count are one step
        at_once.start()
        at_once.join(0.05)
        assert client.given == given
    at_once.join()
    assert client.given == given + 1


@pytest.mark.parametrize("mode", list(Mode))
def test_sums_at_once_share_the_limit_of_contributions(mode: Mode) -> None:
    """All were joined before an update left; each input counts once, also if it is asked twice."""
    params = fedavg_params(cohort(4), MODEL, mode=mode)
    protected = mode is Mode.MALICIOUS
    identities, pins = introduce(4)
    parties = [
        BufferedParticipant(
            *(at, each, params, "word", MODEL),
            *((identities[at], pins, MemoryLedger()) if protected else ()),
            contributions=2,
        )
        for at, each in enumerate(cohort(4))
    ]
    sums = []
    for number in range(4):
        model = [MODEL[0] + number]
        coordinator = Coordinator(model, params, "word", pins if protected else None, attempts=None)
        offer, attempt, server = coordinator.open_buffer([model], [0], range(4))
        for each in parties:
            each.begin(model)
            assert each.train()
        joined = [each.join(offer, attempt, [0]) for each in parties]
        clients, inputs = (dict(enumerate(each)) for each in zip(*joined, strict=True))
        subjects = {each.index: each.subject for each in parties if each.subject}
        sums.append((Cohort(server, clients, inputs, subjects=subjects), inputs))
    for again in (sums[0], sums[0]):
        assert again[1][0]() is not None
    assert [each.play().result is not None for each, _ in sums] == [True, True, False, False]
    assert [each.given for each in parties] == [2] * 4
    assert (parties[0].code, sums[3][1][0]()) == (Code.BUDGET, None)
    assert "given 2 updates" in parties[0].reason


def test_after_a_failed_sum_others_change_the_model() -> None:
    """In malicious mode; if there are no others, the training cannot go on."""
    gone = [dict.fromkeys(range(4), Phase.UNMASK), {}, {}]
    params = fedavg_params(cohort(8), MODEL, sample=4, mode=Mode.MALICIOUS)
    fed = FedBuff(MODEL, cohort(), buffer=4, sums=3, durations=pace, drops=gone, params=params)
    assert [(each.invited[0], each.failed, each.attempt) for each in fed] == [
        (0, True, 0),
        (4, False, 1),
        (0, False, 0),
    ]
    assert not fed.ended
    alone = FedBuff(
        MODEL, cohort(4), buffer=4, sums=2, durations=pace, drops=gone[:2],
        params=fedavg_params(cohort(4), MODEL, sample=4, mode=Mode.MALICIOUS),
    )  # fmt: skip
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, match="0 of 4 clients have"):
        list(alone)
    assert len(alone.reports) == 1
    assert not alone.converged


# -- trainings -----------------------------------------------------------------------------


def test_a_client_without_an_update_rests_until_the_model_changes() -> None:
    class Sometimes(Nears):
        def train(self, model: list[Any]) -> list[Any]:
            if model[0][0] == MODEL[0][0]:
                raise OSError("no disk")
            return super().train(model)

    clients: list[Any] = cohort()
    clients[0], clients[1] = Sometimes(2, 0.0), Nears(0, 0.0)
    fed = FedBuff(MODEL, clients, buffer=3, sums=8, durations=pace)
    reports = list(fed)
    assert reports[0].invited == (2, 3, 4)
    assert "no disk" in reports[0].refusals[0]
    assert reports[0].refusal_codes == {0: Code.TRAINING, 1: Code.NO_INPUT}
    assert any(0 in report.survivors for report in reports)
    assert reports[-1].contributions[1] == 0
    short = FedBuff(MODEL, [*clients[:2], Nears(1, 0.0)], buffer=3, sums=8, durations=pace)
    assert list(short) == []
    assert short.ended.startswith(
        "1 of 3 clients have an update to give or will have one (of those"
    )
    assert short.ended.endswith("it holds no examples), and a buffer takes 3")


def test_a_stale_update_is_dropped_and_its_client_begins_anew() -> None:
    """It waits while the model changes twice, is faster then, and in the next sum."""
    slow = iter((1.4, 0.5, 2.0))
    fed = FedBuff(
        *(MODEL, cohort(5)),
        buffer=4,
        sums=3,
        durations=lambda _, client: next(slow) if client == 4 else PACE[client],
        most_stale=1,
    )
    assert [each.invited for each in fed] == [(0, 1, 2, 3), (0, 1, 2, 3), (0, 1, 2, 4)]
    assert [each.restarted for each in fed.reports] == [(), (), (4,)]


def test_nobody_waits_for_ever() -> None:
    """Of four on the new model one is gone for good, and two are alone with the first model."""

    class Once(Nears):
        def train(self, model: list[Any]) -> list[Any]:
            if model[0][0] != MODEL[0][0]:
                raise OSError("no disk")
            return super().train(model)

    clients = [Once(1, 0.0), *cohort(6)[1:]]
    fed = FedBuff(MODEL, clients, buffer=4, sums=3, durations=pace, most_stale=100)
    reports = list(fed)
    assert [each.invited for each in reports] == [(0, 1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4)]
    assert [each.versions[0] for each in reports] == [0, 1, 2]
    assert reports[1].restarted == (4, 5)
    assert reports[1].time == pytest.approx(2.6 + 2.4)  # began anew when nobody trained any more


def test_a_training_is_reproducible() -> None:
    def run(seed: int) -> tuple[list[BufferReport], Any]:
        fed = FedBuff(MODEL, cohort(), buffer=3, sums=4, random=simulated_randomness(seed))
        reports = [replace(each, seconds=0.0, seconds_by_phase={}) for each in fed]
        return reports, fed.model[0]

    (first, one), (second, two), (other, three) = run(1), run(1), run(2)
    assert first == second
    np.testing.assert_array_equal(one, two)
    assert [each.time for each in first] != [each.time for each in other]
    assert (one != three).any()


def test_a_client_gives_as_many_updates_as_its_privacy_allows() -> None:
    clients = cohort(6)
    params = fedavg_params(clients, MODEL, sample=3, rotate=True)
    privacy = Privacy(Placement.NONE, params, 8.0, 1e-5, 2, 0.0, 0, 0.0, None)
    given_twice(FedBuff(MODEL, clients, buffer=3, sums=9, durations=pace, privacy=privacy))


@pytest.mark.parametrize("what", ["evaluate", "client", "overflow"])
def test_a_sum_counts_whatever_follows_it(what: str) -> None:
    """As in `FedAvg`: it has a report, also if iteration ended with an exception after it."""

    class Climbs(Nears):
        def train(self, model: list[Any]) -> list[Any]:
            return [array.astype(np.float64) + 600 for array in model]

    clients, model, failing = cohort(6), MODEL, [True]

    def fails(_: Any) -> Score:
        if failing.pop() if failing else False:
            raise OSError("the disk of the test set")
        return Score(0.5, 0.5)

    options: dict[str, Any] = {"evaluate": fails}
    error: type[BaseException] = OSError
    if what == "overflow":
        model, error, options = [np.full(3, 6.5e4, np.float16)], RangeError, {}
        clients = [Climbs(1, 0.0) for _ in range(6)]
        options["params"] = fedavg_params(clients, model, clip=4096.0, sample=3)
    fed = FedBuff(model, clients, buffer=3, sums=3, durations=pace, **options)
    if what == "client":  # which trained before, and gives its update now

        def stop(*_: Any) -> Any:
            fed._participants[2].join = kept  # type: ignore[method-assign]
            secure, give = kept(*_)

            def gives() -> Any:
                give()
                raise KeyboardInterrupt

            return secure, gives

        kept, error, failing[:] = fed._participants[2].join, KeyboardInterrupt, []
        fed._participants[2].join = stop  # type: ignore[method-assign]
    with pytest.raises(error):
        list(fed)
    (report,) = fed.reports
    assert report.failed == (what != "evaluate")
    assert fed.coordinator.changes == (what == "evaluate")
    assert sum(report.contributions) == 3
    assert sum(map(len, fed.coordinator.attempts.values())) == 1
    if what != "overflow":
        later = list(fed)
        assert [each.round for each in later] == [2, 3]
        assert any(0 in each.invited for each in later)  # which was in the first sum
        assert fed.reports[0].score == Score(0.5, 0.5)


@runs_at("trainings like others")
@pytest.mark.skipif(not find_spec("dp_accounting"), reason="dp-accounting is not installed")
def test_epsilon_is_that_of_the_client_with_most_contributions() -> None:
    clients = cohort(6)
    privacy = private_params(clients, MODEL, epsilon=8, rounds=2, clip=1.0, sample=3)
    assert privacy.params.cohort == 3
    fed = FedBuff(MODEL, clients, buffer=3, sums=9, durations=pace, privacy=privacy)
    reports = given_twice(fed)
    for report in reports:
        assert report.epsilon == privacy.epsilon(max(report.contributions))
    assert reports[0].epsilon is not None
    assert reports[-1].epsilon is not None
    assert reports[0].epsilon < reports[-1].epsilon <= 8


def given_twice(fed: FedBuff) -> list[BufferReport]:
    """Returns the reports of a training of six in which each may give two updates."""
    reports = list(fed)
    joined = [each for report in reports for each in report.invited]
    assert {joined.count(client) for client in range(6)} == {2}
    assert reports[-1].contributions == (2,) * 6
    assert "0 of 6 clients have an update to give" in fed.ended
    return reports


@runs_at("trainings like others")
def test_nobody_waits_for_the_slowest() -> None:
    """Simulated time to 90 % on digits, three splits over 40 clients, beside rounds of all."""
    times = {"all": 0.0, "buffer": 0.0, "mixed": 0.0}
    for seed in range(3):
        data = load("digits", 40, seed)
        architecture = Softmax(data.features, data.classes)
        clients = [LocalClient(architecture, each, Descent(epochs=2), 0) for each in data.clients]
        durations = log_normal(np.random.default_rng(seed + 100), 40)
        options: dict[str, Any] = {
            "evaluate": lambda model: Score(
                0.0,
                accuracy(architecture, model, data.test),  # noqa: B023  (used within the loop)
            ),
            "random": simulated_randomness(seed),
        }
        generator = np.random.default_rng(7)
        for report in FedAvg(architecture.init(0), clients, rounds=40, **options):
            times["all"] += max(durations(generator, client) for client in report.invited)
            if report.score and report.score.accuracy >= 0.9:
                break
        for way in ("buffer", "mixed"):
            buffered = FedBuff(
                *(architecture.init(0), clients),
                buffer=10,
                sums=150,
                durations=durations,
                mixed=way == "mixed",
                **options,
            )
            last = next(each for each in buffered if each.score and each.score.accuracy >= 0.9)
            times[way] += last.time
            table = frame(buffered.reports)
            assert table["time"].iloc[-1] == last.time
    assert times["all"] > 5 * times["buffer"], times
    assert times["buffer"] > 2 * times["mixed"], times


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"buffer": 2}, "sample or buffer must be"),
        ({"buffer": 9}, "sample or buffer must be"),
        ({"weigh": lambda stale: 1 - stale}, "and weigh.1. is 0"),
        ({"weigh": lambda _: 1.5}, "and weigh.0. is 1.5"),
        ({"weigh": lambda _: math.nan}, "and weigh.0. is nan"),
        ({"most_stale": -1}, "most_stale must be in"),
        ({"durations": lambda *_: 0.0}, "a duration must be finite and above 0"),
        ({"durations": lambda *_: math.inf}, "a duration must be finite and above 0"),
        ({"durations": 3}, "durations must be a function"),
        ({"optimizer": Scaffold(1.0, steps=3)}, "Scaffold sends clients more"),
        ({"params": fedavg_params(cohort(), MODEL)}, "params are for a cohort of 8"),
        ({"drops": []}, "drops has 0 entries for 2 rounds"),
    ],
)
def test_impossible_arguments_are_refused(changed: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"buffer": 3, "sums": 2} | changed
    with refused(ParameterError, Code.ARGUMENT, match=message):
        FedBuff(MODEL, cohort(), **options)
