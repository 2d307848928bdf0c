"""Buffered averaging: plain FedBuff to the last level, and one model in every buffer."""

import heapq
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from levels import amount, runs_at
from refusals import Endless, refused
from secagg.fl import (
    BufferedParticipant,
    BufferReport,
    Coordinator,
    Descent,
    FedAvg,
    FedBuff,
    LocalClient,
    Momentum,
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
    Ledger,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    Once,
    ParameterError,
    Phase,
    RangeError,
    Server,
    StateError,
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
    far = [Nears(1, 0.5 + 4 * 6.0) for _ in range(3)]
    for weight, clipped in ((1.0, 9), (0.5, 0)):
        start = [np.full(3, 0.5)]
        fed = FedBuff(start, far, buffer=3, sums=1, weigh=lambda _, fixed=weight: fixed)
        (report,) = fed
        assert report.clipped == clipped
        assert fed.model[0] == pytest.approx(0.5 + min(4.0, weight * 6.0), abs=2 * STEP)
    assert staleness_weight(3) == 0.5
    with refused(ParameterError, Code.ARGUMENT, "stale must be"):
        staleness_weight(-1)
    for wrong in ({"generator": 1}, {"clients": 0}, {"within": -1}, {"between": math.nan}):
        values = {"generator": np.random.default_rng(0), "clients": 3} | wrong
        with refused(ParameterError, Code.ARGUMENT, f"{next(iter(wrong))} must be"):
            log_normal(**values)


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
    assert first.train()
    terms = first._terms

    def overtaken(offer: bytes) -> Any:  # as by another thread
        first._terms = terms  # type: ignore[method-assign]
        first.join(*offers[1][:2], [0], members=(0, 1, 2))
        return terms(offer)

    first._terms = overtaken  # type: ignore[method-assign]
    with refused(ParameterError, Code.NO_INPUT, match="no update that is ready"):
        first.join(*offers[0][:2], [0], members=(0, 1, 2))


def test_an_update_belongs_to_the_model_that_it_was_trained_on() -> None:
    """Also if the next model comes while it trains, as from another thread: it is dropped."""

    class Overtaken(Nears):
        def train(self, model: list[Any]) -> list[Any]:
            if model[0][0] == MODEL[0][0]:
                party.begin(OTHER)
            return super().train(model)

    party = BufferedParticipant(0, Overtaken(1, 0.5), PARAMS, "word", MODEL)
    party.begin(MODEL)
    assert not party.train()
    assert (party.code, party.reason) == (
        Code.NO_INPUT,
        "another model came while it trained, and what it trained is dropped",
    )
    members = (0, 1, 2)
    for models in ([MODEL], [OTHER]):
        with refused(ParameterError, Code.NO_INPUT, match="no update that is ready"):
            party.join(*opened(models)[:2], [0], members=members)
    assert party.train()
    with refused(ParameterError, Code.POLICY_CONTEXT, match="is not the expected"):
        party.join(*opened()[:2], [0], members=members)
    party.join(*opened([OTHER])[:2], [0], members=members)


# -- malicious mode ------------------------------------------------------------------------


def test_a_model_gets_one_update_of_a_client_whatever_the_attempt_is_called() -> None:
    """By its own count; and by its ledger, if it forgot that: as it says, or when it is claimed."""
    params = fedavg_params(cohort(4), MODEL, sample=4, mode=Mode.MALICIOUS)
    identities, pins = introduce(4)
    ledger = MemoryLedger()
    coordinator = Coordinator(MODEL, params, "word", pins, attempts=None)

    class Silent:
        """A ledger that does not come to say what was claimed."""

        def has(self, what: Once, key: bytes) -> bool:
            raise StateError("another process has it", Code.BUSY)

        def claim(self, what: Once, key: bytes) -> bool:
            return ledger.claim(what, key)

    def everybody(ledger: Ledger = ledger, attempts: int = 1) -> list[BufferedParticipant]:
        found = [
            BufferedParticipant(
                *(at, each, params, "word", MODEL, identities[at], pins, ledger, attempts)
            )
            for at, each in enumerate(cohort(4))
        ]
        for each in found:
            each.begin(MODEL)
            assert each.train()
        return found

    def play(parties: Sequence[BufferedParticipant]) -> Any:
        offer, attempt, server = coordinator.open_buffer([MODEL], [0], range(4))
        joined = [each.join(offer, attempt, [0]) for each in parties]
        found = Cohort(
            server,
            dict(enumerate(client for client, _ in joined)),
            dict(enumerate(give for _, give in joined)),
        ).play()
        coordinator.close(None)
        return found

    parties = everybody()
    assert play(parties).result is not None
    for each in parties:
        each.begin(MODEL)
        assert each.train()
    for each in (parties[0], everybody()[0]):
        with refused(ParameterError, Code.ATTEMPTS_EXHAUSTED, match="of this model 1 times"):
            each.join(*coordinator.open_buffer([MODEL], [0], range(4))[:2], [0])
        coordinator.close(None)
    forgetful = everybody(Silent())
    run = play(forgetful)
    assert run.result is None
    assert set(run.refusal_codes.values()) == {Code.REPEATED_CONTRIBUTION}
    forgetful[0].begin(MODEL)
    assert forgetful[0].train()
    with refused(ParameterError, Code.ATTEMPTS_EXHAUSTED):  # by its count, what may have left
        forgetful[0].join(*coordinator.open_buffer([MODEL], [0], range(4))[:2], [0])
    coordinator.close(None)
    assert play(everybody(attempts=2)).result is not None
    (unaware, *_) = everybody(attempts=3)
    client, give = unaware.join(*coordinator.open_buffer([MODEL], [0], range(4))[:2], [0])
    assert give()
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):  # a driver that knows no subjects
        client.expect(client.context)


def test_a_client_is_told_whether_its_update_counted() -> None:
    """Also after another one whose `settle` has raised; the first error is that of the training."""
    told, errors = {}, {0.0: ZeroDivisionError, 0.1: ValueError}

    class Keeps(Nears):
        def settle(self, counted: bool) -> None:
            told[self.target] = counted
            if self.target in errors:
                raise errors[self.target]

    clients = [Keeps(1, 0.1 * at) for at in range(4)]
    drops = [{2: Phase.MASKED_INPUT}]
    fed = FedBuff(MODEL, clients, buffer=4, sums=1, drops=drops)
    forgotten = fed.coordinator.open_buffer([OTHER], [0], range(4))[2]
    with pytest.raises(ZeroDivisionError):
        next(iter(fed))
    assert fed.coordinator.server is forgotten
    assert fed.reports[0].survivors == (0, 1, 3)
    assert list(told.values()) == [True, True, False, True]


def test_sums_that_end_in_another_order_cost_no_attempt() -> None:
    """Each of those that were joined at once gives its input under a number of its own."""
    params = fedavg_params(cohort(4), MODEL, sample=4, mode=Mode.MALICIOUS)
    identities, pins = introduce(4)
    coordinator = Coordinator(MODEL, params, "word", pins, attempts=None)
    client = BufferedParticipant(
        *(0, cohort()[0], params, "word", MODEL, identities[0], pins, MemoryLedger(), 4)
    )

    def joined() -> Any:
        client.begin(MODEL)
        assert client.train()
        secure, give = client.join(*coordinator.open_buffer([MODEL], [0], range(4))[:2], [0])
        coordinator.close(None)
        return secure, give

    (_, first), (_, late), (ended, never), subjects = joined(), joined(), joined(), set()
    ended.wipe()
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        never()  # which is not counted
    (_, third), (_, fourth), (_, fifth) = joined(), joined(), joined()
    for give in (first, third, late):
        assert give()
        subjects.add(client.subject)
    assert len(subjects) == 3
    given, at_once = client.given, Thread(target=fourth)
    with client._lock:  # the check and the count are one step
        at_once.start()
        at_once.join(0.05)
        assert client.given == given
    at_once.join()
    assert client.given == given + 1 == 4
    assert client.subject not in subjects
    assert fifth() is None
    assert client.code is Code.ATTEMPTS_EXHAUSTED


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
        inputs |= {0: lambda give=inputs[0]: give() and give()}
        sums.append((Cohort(server, clients, inputs), inputs))
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


def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    """Of four on the new model one is gone for good, and two are alone with the first model."""
    path = tmp_path / "training.npz"

    class Once(Nears):
        def train(self, model: list[Any]) -> list[Any]:
            if model[0][0] != MODEL[0][0]:
                raise OSError("no disk")
            return super().train(model)

    def make() -> FedBuff:
        clients: list[Any] = [Once(1, 0.0), *cohort(6)[1:]]
        clients[4] = Drifts(5, 0.2)  # which trains twice between two checkpoints
        options: dict[str, Any] = {"durations": pace, "most_stale": 100, "checkpoint": path}
        return FedBuff(MODEL, clients, buffer=4, sums=3, random=simulated_randomness(1), **options)

    fed = make()
    seen = watched(fed, path)
    reports = list(fed)
    assert [each.invited for each in reports] == [(0, 1, 2, 3), (1, 2, 3, 4), (1, 2, 3, 4)]
    assert [each.versions[0] for each in reports] == [0, 1, 2]
    assert reports[1].restarted == (4, 5)
    assert reports[1].time == pytest.approx(2.6 + 2.4)  # began anew when nobody trained any more
    path.write_bytes(seen[2])  # before the second sum
    again = make()
    assert [each.invited for each in again] == [(1, 2, 3, 4)] * 2
    np.testing.assert_array_equal(again.model[0], fed.model[0])


def test_a_training_that_is_interrupted_is_done_again() -> None:
    """Else its client would be lost, and this buffer would never be full."""
    clients, stops = cohort(3), [KeyboardInterrupt]

    class Stops(Nears):
        def train(self, model: list[Any]) -> list[Any]:
            if stops:
                raise stops.pop()
            return super().train(model)

    clients[1] = Stops(2, 0.5)
    fed = FedBuff(MODEL, clients, buffer=3, sums=2, durations=pace)
    with pytest.raises(KeyboardInterrupt):
        list(fed)
    assert [report.survivors for report in fed] == [(0, 1, 2)] * 2


def test_clients_begin_anew_after_a_duration_that_was_none(tmp_path: Path) -> None:
    """Else those after it would be lost: of a sum, with stale updates, and those who rest.

    In this process, or in another one from the file.
    """
    asked = bad = 0

    def duration(_: np.random.Generator, client: int) -> float:
        nonlocal asked
        asked += 1
        return math.nan if asked == bad else PACE[client]

    class Rests(Nears):
        def train(self, model: list[Any]) -> list[Any]:
            if model[0][0] == MODEL[0][0]:
                raise OSError("no disk")
            return super().train(model)

    def make() -> FedBuff:
        return FedBuff(
            *(MODEL, [Rests(1, 0.5), *cohort()[1:]]),
            buffer=3,
            sums=4,
            durations=duration,
            most_stale=1,
            evaluate=lambda model: (float(model[0][0]), 0.5),
            checkpoint=path,
            random=simulated_randomness(1),
        )

    def told(fed: FedBuff) -> list[Any]:
        return [(each.time, each.invited, each.restarted, each.score) for each in fed.reports]

    path = tmp_path / "whole.npz"
    list(whole := make())
    assert {0} < {client for each in whole.reports for client in each.invited}
    assert any(each.restarted for each in whole.reports)
    every = range(9, asked + 1) if amount("trainings like others") else (14, 17)
    for bad in every:
        path, asked = tmp_path / f"{bad}.npz", 0
        fed = make()
        with refused(ParameterError, Code.ARGUMENT, "a duration must be"):
            list(fed)
        list(fed := make() if bad % 2 else fed)
        assert told(fed) == told(whole), bad


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


# -- checkpoints ---------------------------------------------------------------------------


class Drifts(Nears):
    """A client that keeps something which each of its trainings changes; some give no update."""

    def __init__(self, examples: int, target: float) -> None:
        super().__init__(examples, target)
        self.state: Any = None

    def train(self, model: list[Any]) -> list[Any]:
        state = np.zeros(1) if self.state is None else self.state
        self.state = state + 1
        if self.state[0] % 5 == self.examples % 5:
            raise ValueError("no data in this one")
        return [array + 0.01 * self.state[0] for array in super().train(model)]

    def restore(self, state: Any) -> None:
        self.state = state


def drifting(path: Path | None, **others: Any) -> FedBuff:
    clients = [Drifts(each.examples, each.target) for each in cohort()]
    mode = others.pop("mode", Mode.SEMI_HONEST)
    options: dict[str, Any] = {
        "params": fedavg_params(clients, MODEL, sample=3, mode=mode),
        "sums": 6,
        "most_stale": 2,
        "attempts": 2,
        "failures": 50,
        "optimizer": Momentum(),
        "drops": [{at: Phase.UNMASK} for at in range(6)],
        "evaluate": lambda model: (float(model[0][0]), 0.5),
        "random": simulated_randomness(4),
        "checkpoint": path,
    } | others
    return FedBuff(MODEL, clients, buffer=3, **options)


def watched(fed: FedBuff, path: Path) -> list[bytes]:
    """Returns a list that gets what each checkpoint of a training holds."""
    seen, save = [], fed._save

    def saves(found: Any) -> None:
        save(found)
        seen.append(path.read_bytes())

    fed._save = saves  # type: ignore[method-assign]
    return seen


def facts(report: BufferReport) -> BufferReport:
    return replace(report, seconds=0.0, seconds_by_phase={})


@runs_at("trainings like others")
@pytest.mark.parametrize(
    "options", [{"mode": Mode.MALICIOUS}, {"mixed": True}], ids=["malicious", "mixed"]
)
def test_an_interrupted_training_goes_on(options: dict[str, Any], tmp_path: Path) -> None:
    """After any sum, and also if the process ended while inputs left: the same models and times."""
    whole, path = drifting(None, **options), tmp_path / "training.npz"
    wanted = [facts(each) for each in whole]
    assert any(each.refusals for each in wanted)
    assert any(each.restarted for each in wanted)
    put_back: set[int] = set()
    while (done := len((part := drifting(path, **options)).reports)) < 6:
        seen = watched(part, path)
        assert facts(next(iter(part))) == wanted[done]
        before, after, scored = seen[-3:]
        if done not in put_back:  # the process ended in the sum, or before or after its score
            path.write_bytes((before, after, scored)[done % 3])
            put_back.add(done)
    assert [facts(each) for each in part.reports] == wanted
    np.testing.assert_array_equal(part.model[0], whole.model[0])
    assert list(part) == []
    assert part.now == whole.now


def test_a_sum_in_which_the_process_ended_counts(tmp_path: Path) -> None:
    """Without the same draws: an update of each member may have left, and begins anew."""
    path = tmp_path / "training.npz"
    fed = drifting(path, random=None)
    next(iter(fed))
    seen = watched(fed, path)
    second = next(iter(fed))
    path.write_bytes(seen[0])
    again = drifting(path, random=None)
    report = again.reports[1]
    assert (report.failed, report.survivors) == (True, ())
    assert report.reason.startswith("the process ended in this sum")
    for name in ("invited", "time", "versions", "stale", "attempt"):
        assert getattr(report, name) == getattr(second, name)
    first = fed.reports[0].contributions
    joined = [at in report.invited for at in range(8)]
    assert report.contributions == tuple(map(sum, zip(first, joined, strict=True)))
    assert len(list(again)) == 4
    # All that is about time is drawn from one seed, which is kept.
    ended = drifting(path, random=None)
    assert ended._pace.state() == again._pace.state()
    for client in range(8):
        one, two = (
            each._pace._durations(np.random.default_rng(1), client) for each in (again, ended)
        )
        assert one == two


@runs_at("trainings like others")
def test_a_checkpoint_of_another_pace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.npz"
    next(iter(drifting(path)))
    for what, others in (
        ("most_stale is 2, not 3", {"most_stale": 3}),
        ("mixed is False, not True", {"mixed": True}),
        ("weights is ", {"weigh": lambda _: 1.0}),
        ("random is ", {"random": None}),
    ):
        with refused(ParameterError, Code.ARGUMENT, match=f"another training: its {what}"):
            drifting(path, **others)
    clients = [Drifts(1, 0.5) for _ in range(8)]
    with refused(ParameterError, Code.ARGUMENT, match="another training: its most_stale is 2"):
        FedAvg(
            *(MODEL, clients),
            rounds=2,
            params=drifting(None).params,
            sample=3,
            optimizer=Momentum(),
            random=simulated_randomness(4),
            checkpoint=path,
        )
    arrays = dict(np.load(path))
    about = json.loads(arrays["about"].tobytes())
    right, (report,) = about["pace"], about["reports"]
    (when, order, client), *others = right["training"]
    once = report["invited"]  # they have begun with the new model
    without = [each for each in right["training"] if each[2] not in once]
    for wrong in (
        {"now": -1},
        {"now": when + 1},
        {"events": order},
        {"seed": "00"},
        {"seed": 5},
        {"generator": right["generator"] | {"bit_generator": "MT19937"}},
        {"versions": [9] * 8},
        {"versions": [0] * 7},
        {"versions": [*right["versions"], 0]},
        {"training": others},
        {"training": [[when, order, client], *right["training"]]},
        {"training": [[when, order, 8], *others]},
        {"training": [[math.inf, order, client], *others]},
        {"training": [*others, [when, order, client]]},
        {"training": [[when, others[0][1], client], *others]},
        {"ready": [[0, [client]]], "training": others},
        {"ready": [[1, once]], "training": without},
        {"resting": [client]},
        {"silent": {"8": ["why", "training"]}},
        {"silent": {"1": ["why", "none"]}},
        {"restarted": [8]},
        {"given": [0] * 8},
        {"given": [1] * 7},
        {"times": [{"zz": 1}] * 8},
        {"times": [{"00": -1}] * 8},
    ):  # fmt: skip
        changed = about | {"pace": right | wrong}
        np.savez(path, **arrays | {"about": packed(changed)})
        text = "no whole checkpoint" + ".*a buffer has other clients" * ("ready" in wrong)
        with refused(StateError, Code.CORRUPT, match=text):
            drifting(path)
    old, later, more = "old 1 0", [*right["versions"]], [*report["contributions"], 0]
    later[client] = 9
    for changed in (
        *(arrays | {old: each} for each in (arrays[old] + 1, np.zeros(2), np.full(3, math.nan))),
        {name: each for name, each in arrays.items() if name != old},
        *(
            arrays | {"about": packed(about | {"reports": [report | each]})}
            for each in (
                {"stale": [0]},
                {"versions": [0]},
                {"contributions": more},
                {"time": "x"},
            )
        ),
        arrays
        | {"about": packed(about | {"pace": right | {"versions": later}}), "old 9 0": arrays[old]},
        arrays | {"about": packed(about | {"pace": None})},
        arrays | {"about": packed(about | {"opened": [client]})},
    ):
        np.savez(path, **changed)
        with refused(StateError, Code.CORRUPT, match="no whole checkpoint"):
            drifting(path)
    np.savez(path, **arrays)
    assert len(drifting(path).reports) == 1


def packed(about: Any) -> Any:
    return np.frombuffer(json.dumps(about).encode(), np.uint8)


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
        ({"durations": lambda: 1.0}, "cannot be called as durations.generator, client.:"),
        ({"weigh": 3}, "weigh must be a function, not int"),
        ({"weigh": lambda: 1.0}, "cannot be called as weigh.stale.: correct what"),
        ({"mixed": "no"}, "mixed must be True or False, not 'no'"),
        ({"random": lambda *_: 3}, "random.1, 9. must return a function .*, not 3"),
        ({"random": lambda *_: lambda _: b"x"}, "random.1, 9..16. must return 16 bytes, not b'x'"),
        ({"optimizer": Scaffold(1.0, steps=3)}, "Scaffold sends clients more"),
        ({"optimizer": Scaffold}, "optimizer is the class Scaffold: make one"),
        ({"params": fedavg_params(cohort(), MODEL)}, "params are for a cohort of 8"),
        ({"drops": []}, "drops has 0 entries for 2 rounds"),
    ],
)
def test_impossible_arguments_are_refused(changed: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"buffer": 3, "sums": 2} | changed
    with refused(ParameterError, Code.ARGUMENT, match=message):
        FedBuff(MODEL, cohort(), **options)
