"""Parties may vanish before any message: the sum over the survivors is exact, or there is none.

Which of the two is decided by a predicate that knows nothing of the implementation: U1, U2, U3 and
the signers (in malicious mode) and the answers must reach the threshold.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from random import Random

import pytest
from harness import (
    CONTEXT,
    MODES,
    SESSION,
    STEPS,
    Message,
    Network,
    client_of,
    expected_sum,
    play,
    seeded,
    server_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import amount, runs_at

import secagg
from secagg import SERVER, Client, Mode, Params, Phase, Policy, Server
from secagg.pairwise.transitions import PHASES
from secagg.simulate import Run

Drops = Mapping[int, Phase]


def wide(cohort: int, length: int = 4, **more: object) -> Params:
    """Room for the input of party 29 and far beyond: any subset has its own sum."""
    return Params(cohort, length, secagg.Integers(-(2**20), 2**40), **more)  # type: ignore[arg-type]


def survivors(params: Params, drops: Drops) -> tuple[int, ...] | None:
    """Returns the parties in the sum; None if there must be no sum."""

    order = list(Phase)

    def there(phase: Phase) -> tuple[int, ...]:
        return tuple(
            party
            for party in range(params.cohort)
            if party not in drops or order.index(drops[party]) > order.index(phase)
        )

    quorum = max(params.threshold, params.min_survivors)
    for phase in params.mode.phases:
        late = phase in (Phase.CONSISTENCY, Phase.UNMASK)
        if len(there(phase)) < (params.threshold if late else quorum):
            return None
    return there(Phase.MASKED_INPUT)


def check(run: Run | Network, params: Params, drops: Drops) -> None:
    """The run ended as the predicate says."""
    expected = survivors(params, drops)
    result = run.result
    if expected is None:
        assert result is None
        assert run.code if isinstance(run, Run) else run.failure
    else:
        assert result is not None
        assert result.survivors == expected
        assert result.total.tolist() == expected_sum(expected, params.length)
        assert result.weight == len(expected)
        assert result.disputes == ()


def thresholds(cohort: int, mode: Mode) -> list[dict[str, int]]:
    """All allowed thresholds, and the largest quorum above each."""
    least = 2 * cohort // 3 + 1 if mode is Mode.MALICIOUS else cohort // 2 + 1
    plain = [{"threshold": t} for t in range(least, cohort + 1)]
    return plain + [{**one, "min_survivors": cohort} for one in plain[:-1]]


EXHAUSTIVE = [(mode, n, more) for mode in MODES for n in (2, 3, 4) for more in thresholds(n, mode)]


def assignments(mode: Mode, cohort: int) -> Iterator[Drops]:
    """Ways to vanish before one of four (five) messages, or not at all.

    All 5^n (6^n) of them, or each multiset of phases once, dealt to the parties in some order.
    """
    ends = [None, *mode.phases]
    if amount("every order of dropouts"):
        choices = itertools.product(ends, repeat=cohort)
    else:
        chance = Random(cohort)
        multisets = itertools.combinations_with_replacement(ends, cohort)
        choices = (chance.sample(one, cohort) for one in multisets)  # type: ignore[assignment]
    for choice in choices:
        yield {party: phase for party, phase in enumerate(choice) if phase is not None}


@pytest.mark.parametrize(("mode", "cohort", "more"), EXHAUSTIVE, ids=str)
def test_every_assignment_of_drops(mode: Mode, cohort: int, more: dict[str, int]) -> None:
    """Whoever vanishes, and whenever, the run ends as the predicate says."""
    params = wide(cohort, 2, mode=mode, **more)
    outcomes = {True: 0, False: 0}
    for drops in assignments(mode, cohort):
        run = play(params, drops)
        check(run, params, drops)
        outcomes[run.result is not None] += 1
    steps = 1 + len(mode.phases)
    every = amount("every order of dropouts")
    assert sum(outcomes.values()) == (
        steps**cohort if every else math.comb(steps + cohort - 1, cohort)
    )
    assert min(outcomes.values()) > 0


@pytest.mark.parametrize(
    ("mode", "more"), [(mode, more) for mode in MODES for more in thresholds(3, mode)], ids=str
)
def test_every_assignment_and_the_last_first(mode: Mode, more: dict[str, int]) -> None:
    """The same for n = 3 over a network that delivers the newest message first.

    For every other one there are no deadlines: the server is told at once who has vanished.
    """
    params = wide(3, 2, mode=mode, **more)
    for number, drops in enumerate(assignments(mode, 3)):
        running = network(params, drops, kind=ToldNetwork if number % 2 else Network)
        check(running.run(lambda waiting: waiting - 1), params, drops)


class ToldNetwork(Network):
    """A network that says who has vanished as soon as a message does not come."""

    def send_up(self, party: int, payload: bytes) -> None:
        before = len(self.queue)
        super().send_up(party, payload)
        if len(self.queue) == before:
            self.take_events(self.server.drop(party, "it has vanished"))

    def run(self, pick: Callable[[int], int]) -> Network:
        """Carries messages; when there are none, the round is over."""
        while self.queue:
            self.deliver(self.queue.pop(pick(len(self.queue))))
        assert self.server.state not in PHASES, "it waits for somebody"
        return self


def network(
    params: Params, drops: Drops, label: object = "", kind: type[Network] = Network
) -> Network:
    """A started network of honest parties."""
    agreed = params.round(CONTEXT, SESSION)
    policy = Policy(allow_pair=True)
    clients = {
        party: client_of(agreed, party, policy, seeded((label, party)))
        for party in range(params.cohort)
    }
    return kind(server_of(agreed), clients, drops).start()


ORDERS = settings(max_examples=amount("orders of arrival"))


@st.composite
def rounds(draw: st.DrawFn, largest: int = 10) -> tuple[Params, dict[int, Phase]]:
    """Parameters and a schedule."""
    n = draw(st.integers(2, largest))
    mode = draw(st.sampled_from(MODES))
    t = draw(st.integers(2 * n // 3 + 1 if mode is Mode.MALICIOUS else n // 2 + 1, n))
    least = draw(st.sampled_from([0, 1, t, n]))
    suite = draw(st.sampled_from(list(secagg.Suite)))
    length = draw(st.sampled_from([1, 2, 33]))
    params = wide(n, length, threshold=t, min_survivors=least, mode=mode)
    phases = st.sampled_from(mode.phases)
    drops = draw(st.dictionaries(st.integers(0, n - 1), phases, max_size=n // 2 + 1))
    return dataclasses.replace(params, suite=suite), drops


@ORDERS
@given(rounds(), st.randoms(use_true_random=False))
def test_any_order_of_arrival_with_repeats(
    case: tuple[Params, dict[int, Phase]], chance: Random
) -> None:
    """Messages in any order, each with any number of repeats at any later time: no difference."""
    params, drops = case
    running = network(params, drops)
    delivered: list[Message] = []
    while running.server.state in PHASES:
        while running.queue:
            message = running.queue.pop(chance.randrange(len(running.queue)))
            running.deliver(message)
            delivered.append(message)
            for repeat in chance.choices(delivered, k=chance.choice([0, 0, 1, 3])):
                waiting = list(running.queue)
                running.deliver(repeat)
                again = running.queue[len(waiting) :]
                assert {*again} <= {*delivered, *waiting}, "a repeat had another effect than before"
        if running.server.state in PHASES:
            running.take_events(running.server.deadline(PHASES[running.server.state]))
    assert running.refusals == []
    check(running, params, drops)


@ORDERS
@given(rounds(), st.randoms(use_true_random=False))
def test_any_time_of_the_deadlines(case: tuple[Params, dict[int, Phase]], chance: Random) -> None:
    """Timers that run out at any moment, of any phase: late messages never enter the sum.

    Neither does it matter who is said to be gone, or back, or when.
    """
    params, drops = case
    running = network(params, drops)
    in_time: set[int] = set()
    while running.server.state in PHASES:
        if not running.queue or chance.random() < 0.05:
            phase = chance.choice([*params.mode.phases, PHASES[running.server.state]])
            running.take_events(running.server.deadline(phase))
            continue
        if chance.random() < 0.05:
            party = chance.randrange(params.cohort)
            back = chance.random() < 0.3
            server = running.server
            running.take_events(server.resend(party) if back else server.drop(party, "gone"))
        message = running.queue.pop(chance.randrange(len(running.queue)))
        count = len(running.refusals)
        running.deliver(message)
        if message.receiver == SERVER and message.payload[3] == 3 and (
            len(running.refusals) == count
        ):  # fmt: skip
            in_time.add(message.sender)
    result = running.result
    if result is not None:
        assert set(result.survivors) == in_time
        assert len(in_time) >= params.quorum
        assert result.total.tolist() == expected_sum(sorted(in_time), params.length)
    else:
        assert running.failure is not None


@ORDERS
@given(rounds(6))
def test_the_simulation_and_the_network_agree(case: tuple[Params, dict[int, Phase]]) -> None:
    """`secagg.simulate` and the harness of these batteries come to the same end."""
    params, drops = case
    check(play(params, drops), params, drops)
    check(network(params, drops).run(), params, drops)


@pytest.mark.parametrize("fmt", [secagg.FixedPoint(4.0, 16, 10), secagg.Integers(-5, 5)], ids=repr)
def test_secure_sum_with_drops_in_every_phase(fmt: secagg.FixedPoint | secagg.Integers) -> None:
    """The public face, with weights: mean and total of the survivors."""
    updates = [[float(party), -1.0] if fmt.weighted else [party, -1] for party in range(5)]
    for phase in STEPS:
        run = secagg.secure_sum(
            updates,
            fmt,
            weights=[1, 2, 3, 4, 5] if fmt.weighted else None,
            drops={4: phase},
            threshold=3,
        )
        kept = range(5 if phase is Phase.UNMASK else 4)
        assert run.survivors == tuple(kept)
        weights = [party + 1 if fmt.weighted else 1 for party in kept]
        assert run.weight == sum(weights)
        values = sum(w * min(party, 4) for w, party in zip(weights, kept, strict=True))
        error = run.weight * (fmt.step if isinstance(fmt, secagg.FixedPoint) else 0)
        assert abs(float(run.total[0]) - values) <= error  # type: ignore[arg-type, index]


@pytest.mark.parametrize("mode", MODES)
def test_thirty_parties(mode: Mode) -> None:
    """Drops in every phase, default threshold."""
    params = wide(30, 5, mode=mode)
    drops = {
        1: Phase.ADVERTISE_KEYS,
        5: Phase.SHARE_KEYS,
        11: Phase.MASKED_INPUT,
        29: Phase.MASKED_INPUT,
        0: Phase.UNMASK,
        **({17: Phase.CONSISTENCY} if mode is Mode.MALICIOUS else {}),
    }
    run = play(params, drops)
    check(run, params, drops)
    assert run.result is not None


@runs_at("large sizes")
def test_a_thousand_parties() -> None:
    """Small vectors, drops in every phase; takes minutes, all of them key agreements."""
    params = Params(1000, 2, secagg.Integers(0, 1000), threshold=600)
    drops = {party: STEPS[party % 4] for party in range(0, 1000, 25)}
    agreed = params.round(CONTEXT, SESSION)
    clients = {party: Client(agreed, party, random=seeded(party)) for party in range(1000)}
    inputs = {party: (lambda party=party: ([party, 1], 1)) for party in clients}
    run = secagg.simulate.Cohort(Server(agreed), clients, inputs, drops).play()
    expected = survivors(params, drops)
    assert expected is not None
    assert run.result is not None
    assert run.result.survivors == expected
    assert run.result.total.tolist() == [sum(expected), len(expected)]
