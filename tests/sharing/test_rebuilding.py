"""What rebuilding seeds costs, and that it gives what a textbook's decoder gives.

Whoever lies, and in which shares: up to half the redundancy, rebuilding costs at most four times as
much as without wrong shares, and the disputes are exactly the pairs whose share was wrong.
"""

import gc
import hashlib
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from harness import integers, seeded
from hypothesis import given
from hypothesis import strategies as st
from levels import runs_at
from meter import metered
from pairwise.attacks import started_network

from secagg import Code, Phase, Suite
from secagg.events import Job
from secagg.machine.wire import PartySet
from secagg.pairwise.graph import Complete, Graph, Harary
from secagg.pairwise.transitions import ServerState
from secagg.sharing import algebra, rebuilding, recovery, shamir
from secagg.sharing.rebuild_job import RebuildJob
from secagg.sharing.recovery import Recovery, RecoveryError

P = 2**61 - 1
GENERATOR = Suite.AES256CTR.generator

Wrong = Mapping[int, np.ndarray]  # holder -> which of its shares are wrong
Pairs = set[tuple[int, int]]


@dataclass(frozen=True)
class Given:
    """The answer of a holder."""

    dealers: PartySet
    shares: np.ndarray


@dataclass(frozen=True)
class Check:
    """Commitments to seeds."""

    digests: Mapping[int, bytes]

    def accept(self, dealer: int, seed: bytes) -> bool:
        """Returns whether this is the seed."""
        return hashlib.blake2b(seed).digest() == self.digests[dealer]

    def cost(self, dealer: int) -> int:
        """Returns what that takes: here nothing is counted."""
        return 0


class Cohort:
    """Seeds dealt to the neighbours on a graph, and the answers of all parties."""

    def __init__(self, n: int, threshold: int, graph: Graph | None = None) -> None:
        self.n, self.threshold = n, threshold
        self.graph = graph or Complete()
        everybody = PartySet.of(range(n), n)
        self.seeds = {dealer: seeded(("seed", dealer))(16) for dealer in range(n)}
        self.holders = {dealer: self.graph.holders(dealer, everybody) for dealer in range(n)}
        held: dict[int, list[np.ndarray]] = {party: [] for party in range(n)}
        for dealer, seed in self.seeds.items():
            key = seeded(("key", dealer))(32)
            dealt = shamir.deal([seed], threshold, self.holders[dealer], GENERATOR, key)
            for holder, share in zip(self.holders[dealer], dealt, strict=True):
                held[holder].append(share)
        self.answers = {
            party: Given(PartySet.of(self.holders[party], n), np.array(shares))
            for party, shares in held.items()
        }
        self.check = Check({d: hashlib.blake2b(seed).digest() for d, seed in self.seeds.items()})

    @property
    def radius(self) -> int:
        """The most wrong shares of a seed that are corrected."""
        return (len(self.holders[0]) - self.threshold) // 2

    def lies(self, lies: Mapping[int, np.ndarray]) -> dict[int, Given]:
        """The answers, of which some have other shares."""
        changed = {
            holder: Given(self.answers[holder].dealers, shares) for holder, shares in lies.items()
        }
        return {**self.answers, **changed}

    def wrong(self, lies: Mapping[int, np.ndarray]) -> Pairs:
        """The (dealer, holder) pairs whose share is wrong."""
        return {
            (list(self.answers[holder].dealers)[row], holder)
            for holder, shares in lies.items()
            for row in np.flatnonzero((shares != self.answers[holder].shares).any(axis=1)).tolist()
        }

    def rebuild(self, lies: Mapping[int, np.ndarray]) -> Recovery:
        """Rebuilds all seeds as a server does."""
        found = Recovery()
        for job in self.jobs(lies):
            assert isinstance(job, RebuildJob)
            found.take(job, job.run())
        return found

    def jobs(self, lies: Mapping[int, np.ndarray]) -> list[Job]:
        """The jobs that rebuild all seeds."""
        answers = self.lies(lies)
        return recovery.cut_recovery(
            self.threshold,
            range(self.n),
            answers,
            lambda dealer: [holder for holder in self.holders[dealer] if holder in answers],
            lambda dealers: self.check,
            isinstance(self.graph, Complete),
        )

    def assert_rebuilt(self, lies: Mapping[int, np.ndarray]) -> None:
        """Rebuilds all seeds and exactly the disputes that there are."""
        found = self.rebuild(lies)
        assert found.seeds == self.seeds
        assert found.disputes == tuple(sorted(self.wrong(lies)))


def junk(cohort: Cohort, holder: int, where: np.ndarray, limbs: slice = slice(None)) -> np.ndarray:
    """A holder's shares with random ones at these dealers (of those that it has)."""
    draw = np.random.default_rng(holder)
    shares = cohort.answers[holder].shares.copy()
    shares[where, limbs] = draw.integers(0, P, shares[where, limbs].shape, np.uint64)
    return shares


Lies = Callable[[Cohort, list[int]], dict[int, np.ndarray]]


def all_junk(cohort: Cohort, liars: list[int]) -> dict[int, np.ndarray]:
    """All shares of the liars."""
    return {liar: junk(cohort, liar, np.ones(cohort.n, bool)) for liar in liars}


def half_junk(cohort: Cohort, liars: list[int]) -> dict[int, np.ndarray]:
    """A random half of the dealers, another for each liar."""
    draw = np.random.default_rng(0)
    return {liar: junk(cohort, liar, draw.random(cohort.n) < 0.5) for liar in liars}


def one_each(cohort: Cohort, liars: list[int]) -> dict[int, np.ndarray]:
    """One share of each liar, of another dealer."""
    return {liar: junk(cohort, liar, np.arange(cohort.n) == liar) for liar in liars}


def one_limb(cohort: Cohort, liars: list[int]) -> dict[int, np.ndarray]:
    """The shortest limb of all shares."""
    return {liar: junk(cohort, liar, np.ones(cohort.n, bool), slice(2, 3)) for liar in liars}


def other_limbs(cohort: Cohort, liars: list[int]) -> dict[int, np.ndarray]:
    """Each liar one limb of its own."""
    ones = np.ones(cohort.n, bool)
    return {liar: junk(cohort, liar, ones, slice(liar % 3, liar % 3 + 1)) for liar in liars}


def consistent(cohort: Cohort, liars: list[int]) -> dict[int, np.ndarray]:
    """The shares of other seeds, which lie on polynomials."""
    seeds = [seeded(("other", dealer))(16) for dealer in range(cohort.n)]
    dealt = shamir.deal(seeds, cohort.threshold, liars, GENERATOR, bytes(32))
    return dict(zip(liars, dealt.reshape(len(liars), cohort.n, 3), strict=True))


LIES: dict[str, Lies] = {
    "all junk": all_junk,
    "half junk": half_junk,
    "one dealer each": one_each,
    "one limb": one_limb,
    "other limbs": other_limbs,
    "consistent": consistent,
}


def liars_in(cohort: Cohort, count: int) -> list[int]:
    """So many parties, spread over the cohort."""
    return sorted((11 * k + 3) % cohort.n for k in range(count))


def bad_dealers(cohort: Cohort, dealers: Iterable[int]) -> dict[int, np.ndarray]:
    """As many wrong shares of these dealers as can be corrected, each at other holders."""
    lies: dict[int, np.ndarray] = {}
    for dealer in dealers:
        for victim in ((dealer * 5 + k) % cohort.n for k in range(cohort.radius)):
            shares = lies.setdefault(victim, cohort.answers[victim].shares.copy())
            shares[dealer] = (shares[dealer] + np.uint64(dealer + 1)) % np.uint64(P)
    return lies


# -- operations ------------------------------------------------------------------------------------


def work(cohort: Cohort, lies: Mapping[int, np.ndarray]) -> tuple[int, int]:
    """Multiplications and decodings of a rebuilding that must be right."""
    with metered() as counts:
        cohort.assert_rebuilt(lies)
    return counts["multiplications"], counts["decode"]


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("n", [10, 40])
def test_liars_are_found_for_all_dealers_at_once(n: int, name: str) -> None:
    """One decoding, whatever liars do, and one interpolation of each of their shares."""
    cohort = Cohort(n, 2 * n // 3 + 1)
    honest, _ = work(cohort, {})
    for count in {1, cohort.radius}:
        lies = LIES[name](cohort, liars_in(cohort, count))
        assert cohort.wrong(lies) != set()
        multiplications, decodings = work(cohort, lies)
        assert decodings == 1
        assert multiplications <= 3.5 * honest + count * cohort.threshold * n


def test_bad_dealers_of_a_small_cohort_are_all_corrected() -> None:
    """Each dealer is decoded by itself, once, where different holders were lied to."""
    cohort = Cohort(40, 27)
    for count in (1, 2, 40):
        _, decodings = work(cohort, bad_dealers(cohort, range(count)))
        assert decodings <= count + 1


def test_liars_and_a_bad_dealer_together() -> None:
    """Rows that are known to be wrong are left out before a dealer is decoded by itself."""
    cohort = Cohort(40, 27)
    lies = all_junk(cohort, liars_in(cohort, cohort.radius - 2))
    for victim in [party for party in range(40) if party not in lies][:6]:
        lies[victim] = cohort.answers[victim].shares.copy()
        lies[victim][victim % 3] += np.uint64(1)
    _, decodings = work(cohort, lies)
    assert decodings <= 6  # three of them together, of halves


def test_a_bad_dealer_is_told_from_liars_in_logarithmic_steps() -> None:
    """With other liars for every dealer, which a decoding of each dealer would find one by one."""
    cohort = Cohort(140, 94)
    lies = {liar: junk(cohort, liar, np.arange(140) % 20 == liar) for liar in range(19)}
    for victim in range(100, 100 + cohort.radius):
        lies[victim] = junk(cohort, victim, np.arange(140) == 139)
    _, decodings = work(cohort, lies)
    assert decodings <= 4


@pytest.mark.parametrize("beyond", [False, True], ids=["bad dealers", "everybody lies"])
def test_what_cannot_be_found_at_once_has_a_budget(
    beyond: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the budget of a small cohort: a few times the honest work, then the round fails."""
    monkeypatch.setattr(rebuilding, "BUDGET", 0)
    cohort = Cohort(40, 27)
    honest, _ = work(cohort, {})
    lies = all_junk(cohort, list(range(40))) if beyond else bad_dealers(cohort, range(40))
    with metered() as counts, pytest.raises(RecoveryError) as error:
        cohort.rebuild(lies)
    assert 1 < counts["decode"] < 12
    assert counts["multiplications"] <= 8 * honest
    failed = error.value.failed
    assert failed.code is Code.COMMITMENT
    assert "party 0" in failed.reason if beyond else "party 0" not in failed.reason
    (lost,) = {dealer for dealer, holder in set(failed.disputes) - cohort.wrong(lies)} or {0}
    assert {(lost, holder) for holder in range(40)} <= set(failed.disputes)
    assert beyond or {dealer for dealer, _ in failed.disputes} > {0, 1, lost}


def test_a_rejected_seed_costs_no_decoding_of_its_own() -> None:
    """Shares that are right on a polynomial of another seed: nothing would come of it."""
    cohort = Cohort(40, 27)
    lies = {
        holder: cohort.answers[holder].shares[::-1].copy() for holder in range(cohort.radius, 40)
    }
    with metered() as counts, pytest.raises(RecoveryError):
        cohort.rebuild(lies)
    assert counts["decode"] == 1


@contextmanager
def searches() -> Iterator[list[int]]:
    """Lists the numbers of the seeds for which each row was left out in turn."""
    numbers: list[int] = []
    true = rebuilding._LeavingOneOut._candidates

    def counted(self: rebuilding._LeavingOneOut, number: int) -> list[int]:
        numbers.append(number)
        return true(self, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuilding._LeavingOneOut, "_candidates", counted)
        yield numbers


@pytest.mark.parametrize("name", LIES)
def test_with_a_single_share_to_spare_the_liar_is_searched_once(name: str) -> None:
    """r = t + 1: left out first is the row that was wrong for the dealer before."""
    cohort = Cohort(40, 39)
    with searches() as numbers:
        cohort.assert_rebuilt(LIES[name](cohort, [17]))
    assert len(numbers) == 1


def test_with_a_single_share_to_spare_the_search_has_a_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other liars for each dealer are found too, but not without end."""
    cohort = Cohort(40, 39)
    lies = {
        liar: junk(cohort, liar, np.arange(40) == (liar + 1) % 40, slice(0, 1))
        for liar in range(40)
    }
    cohort.assert_rebuilt(lies)
    monkeypatch.setattr(rebuilding, "BUDGET", 0)
    with searches() as numbers, pytest.raises(RecoveryError):
        cohort.rebuild(lies)
    assert 1 < len(numbers) < 40


def one_limb_errors(cohort: Cohort) -> dict[int, np.ndarray]:
    """One wrong share of each dealer, such that other rows could be left out as well, it seems.

    To leave out the point x instead of y changes the limb by e A (x - y) / x, with A public. It is
    small for every divisor x of e A.
    """
    lies: dict[int, np.ndarray] = {}
    many = math.prod((2**4, 3**2, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37))
    for dealer in range(cohort.n):
        liar = cohort.n - 1 - dealer % 35
        factor = math.prod(
            x * pow(x - liar - 1, -1, P) for x in range(1, cohort.n + 1) if x != liar + 1
        )
        shares = lies.setdefault(liar, cohort.answers[liar].shares.copy())
        shares[dealer, 0] = (int(shares[dealer, 0]) - many * pow(factor, -1, P)) % P
    return lies


def test_only_seeds_that_are_tested_are_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the price of their kind: then errors that fit many rows are found too."""
    cohort = Cohort(40, 39)
    lies = one_limb_errors(cohort)
    with metered() as counts:
        monkeypatch.setattr(Check, "cost", lambda *_: 2**11)
        cohort.assert_rebuilt(lies)
    assert counts["multiplications"] < rebuilding.BUDGET // 8
    monkeypatch.setattr(Check, "cost", lambda *_: 2**20)
    with pytest.raises(RecoveryError):
        cohort.rebuild(lies)


def test_the_row_that_was_wrong_is_known_in_the_next_group() -> None:
    """Each dealer has holders of its own, t + 1 of them, and one liar is among all."""
    graph = Harary(20, 10, GENERATOR, bytes(32))
    cohort = Cohort(20, 10, graph)
    liar = cohort.holders[3][0]
    mine = cohort.holders[liar]
    with searches() as numbers:
        cohort.assert_rebuilt({liar: junk(cohort, liar, np.ones(len(mine), bool))})
    assert len(mine) == 11
    assert len(numbers) == 1


def test_a_group_inverts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inversion costs a hundred multiplications: the factors of all rows share one."""
    calls = 0

    def counted(*args: int) -> int:
        nonlocal calls
        calls += 1
        return pow(*args)

    monkeypatch.setattr(algebra, "pow", counted, raising=False)
    cohort = Cohort(40, 39)
    cohort.assert_rebuilt(all_junk(cohort, [17]))
    assert calls == 1


def without(cohort: Cohort, absent: Mapping[int, set[int]]) -> Cohort:
    """The cohort in which holders leave out their shares of these dealers."""
    for holder, dealers in absent.items():
        kept = [dealer for dealer in range(cohort.n) if dealer not in dealers]
        shares = cohort.answers[holder].shares[kept]
        cohort.answers[holder] = Given(PartySet.of(kept, cohort.n), shares)
    return cohort


def test_holders_that_leave_out_shares_do_not_multiply_the_work() -> None:
    """Six of them make sixty-four groups of dealers, which have no weights of their own."""
    honest, _ = work(Cohort(40, 27), {})
    cohort = Cohort(40, 27)
    without(cohort, {bit: {d for d in range(40) if d >> bit & 1} for bit in range(6)})
    with metered() as counts:
        assert len({tuple(d >> bit & 1 for bit in range(6)) for d in range(40)}) == 40
        found = cohort.rebuild({})
    assert found.seeds == cohort.seeds
    assert found.disputes == ()
    assert counts["decode"] == 0
    assert counts["multiplications"] <= 4 * honest


@pytest.mark.parametrize("pattern", ["few bad dealers", "broken ciphertexts"])
def test_missing_shares_in_different_places_do_not_fail_a_round(pattern: str) -> None:
    """No share is wrong, and each seed has nearly all.

    Either three dealers have gaps elsewhere than those that a few holders make for all others, and
    fewer of them; or each holder lacks one share, most of them of different dealers.
    """
    n, threshold = 60, 40
    honest, _ = work(Cohort(n, threshold), {})
    draw = np.random.default_rng(1)
    absent: dict[int, set[int]] = {holder: set() for holder in range(n)}
    if pattern == "few bad dealers":
        for dealer in range(n):
            gaps = draw.choice(8, 4, replace=False) if dealer > 2 else 8 + 3 * dealer + np.arange(3)
            for holder in gaps.tolist():
                absent[holder].add(dealer)
    else:
        for holder, dealer in enumerate(draw.permutation(n).tolist()):
            absent[holder].add(dealer)
    cohort = without(Cohort(n, threshold), absent)
    with metered() as counts:
        found = cohort.rebuild({})
    assert found.seeds == cohort.seeds
    assert found.disputes == ()
    assert counts["multiplications"] <= (4 if pattern == "few bad dealers" else 8) * honest


@pytest.mark.parametrize("groups", [2, 8])
def test_leavers_and_liars_within_the_radius_cost_one_decoding(groups: int) -> None:
    """However few groups they make: all dealers are rebuilt together."""
    honest, _ = work(Cohort(40, 27), {})
    cohort = Cohort(40, 27)
    without(cohort, {bit: {d for d in range(40) if d % groups >> bit & 1} for bit in range(3)})
    lies = {
        holder: junk(cohort, holder, np.ones(len(cohort.answers[holder].shares), bool))
        for holder in range(cohort.radius)
    }
    multiplications, decodings = work(cohort, lies)
    assert decodings == 1
    assert multiplications <= 4.5 * honest + cohort.radius * cohort.threshold * 40


def test_leavers_beyond_the_radius_have_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each dealer has weights of its own then; the disputes have the shares that are missing."""
    monkeypatch.setattr(rebuilding, "BUDGET", 0)
    honest, _ = work(Cohort(90, 61), {})
    cohort = Cohort(90, 61)
    draw = np.random.default_rng(1)
    chosen = [draw.permutation(29)[: cohort.radius + 1].tolist() for _ in range(90)]
    absent = {holder: {d for d in range(90) if holder in chosen[d]} for holder in range(29)}
    without(cohort, absent)
    with metered() as counts, pytest.raises(RecoveryError) as error:
        cohort.rebuild({})
    assert counts["multiplications"] <= 6 * honest
    failed = error.value.failed
    assert "or missing" in failed.reason
    missing = {(d, holder) for holder, dealers in absent.items() for d in dealers}
    assert len(missing & set(failed.disputes)) > len(missing) // 2


def test_a_round_that_one_holder_does_not_answer_is_still_one_job() -> None:
    """Nor is it cut in two where everybody misses a share: jobs do the joint work each."""
    with pytest.MonkeyPatch.context() as patch:
        away = Cohort(300, 250)
        for holder in range(250, 300):
            del away.answers[holder]
        patch.setattr(recovery, "PIECE_SHARES", 300 * 300)
        patch.setattr(recovery, "PIECE_DEALERS", 1)
        for cohort in (
            Cohort(300, 250),
            without(Cohort(300, 250), {holder: {holder} for holder in range(300)}),
            away,
        ):
            assert len(cohort.jobs({})) == 1


def test_bad_dealers_with_a_group_of_their_own_have_the_whole_budget() -> None:
    """A holder could not open their ciphertexts: they are corrected as any others."""
    cohort = without(Cohort(100, 67), {99: {0, 1, 2}})
    lies: dict[int, np.ndarray] = {}
    for dealer in range(3):
        for victim in range(20 * dealer, 20 * dealer + cohort.radius - 1):
            shares = lies.setdefault(victim, cohort.answers[victim].shares.copy())
            shares[dealer] ^= np.uint64(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuilding, "BUDGET", 0)
        cohort.assert_rebuilt(lies)


@given(data=st.data())
def test_groups_that_are_merged_give_the_same(data: st.DataObject) -> None:
    """Whatever is absent or wrong: the seeds, disputes or failure of exact groups."""
    n, threshold = 9, data.draw(st.integers(3, 6), "threshold")
    cohort = Cohort(n, threshold)
    some = st.dictionaries(
        st.integers(0, n - 1), st.sets(st.integers(0, n - 1), max_size=n - 1), max_size=4
    )
    without(cohort, data.draw(some, "absent"))
    lies = {
        holder: junk(cohort, holder, np.isin(list(cohort.answers[holder].dealers), list(dealers)))
        for holder, dealers in data.draw(some, "wrong").items()
    }
    outcomes: list[object] = []
    for merged in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not merged:
                patch.setattr(RebuildJob, "merged", lambda self, which: None)
            try:
                found = cohort.rebuild(lies)
            except RecoveryError as error:
                outcomes.append(error.failed)
            else:
                assert found.seeds == cohort.seeds
                assert found.disputes == tuple(sorted(cohort.wrong(lies)))
                outcomes.append(found.disputes)
    assert outcomes[0] == outcomes[1]


def test_on_a_sparse_graph_each_dealer_costs_little() -> None:
    """Every dealer has holders of its own, and so a decoding of its own: of few shares."""
    cohort = Cohort(60, 7, Harary(60, 10, GENERATOR, bytes(32)))
    honest, _ = work(cohort, {})
    liars: list[int] = []
    for party in range(60):
        some = {*liars, party}
        if all(len(some.intersection(each)) <= cohort.radius for each in cohort.holders.values()):
            liars.append(party)
    assert len(liars) > 8
    for count in (1, len(liars)):
        lies = {liar: cohort.answers[liar].shares ^ np.uint64(1) for liar in liars[:count]}
        multiplications, decodings = work(cohort, lies)
        assert decodings == len({dealer for dealer, _ in cohort.wrong(lies)})
        assert multiplications <= 4 * honest


def test_an_honest_round_on_a_sparse_graph_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if every dealer has all holders but one, another each, and those of one all answered."""
    monkeypatch.setattr(rebuilding, "BUDGET", 0)
    cohort = Cohort(60, 40, Harary(60, 58, GENERATOR, bytes(32)))
    (stranger,) = set(range(60)).difference(cohort.holders[0])
    del cohort.answers[stranger]
    cohort.assert_rebuilt({})


def test_no_seed_is_rebuilt_inside_a_call_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last answer only hands out jobs: no multiplication, no list of pairs."""
    network = started_network(integers(4, threshold=3), drops={3: Phase.MASKED_INPUT})
    server = network.server
    true = type(server).receive
    jobs: list[object] = []
    lists: list[int] = []
    neighbours = Complete.neighbours

    def listed(self: Complete, party: int, among: Iterable[int]) -> tuple[int, ...]:
        lists.append(party)
        return neighbours(self, party, among)

    monkeypatch.setattr(Complete, "neighbours", listed)

    def receive(*args: object) -> object:
        unmasks = server.state is ServerState.UNMASK
        lists.clear()
        with metered() as counts:
            events = true(*args)  # type: ignore[arg-type]
        assert not (unmasks and lists)
        assert counts["multiplications"] == counts["accept"] == 0
        jobs.extend(events if server.state is ServerState.UNMASKING else ())
        return events

    monkeypatch.setattr(type(server), "receive", receive)
    network.run()
    assert len(jobs) == 1
    assert network.result is not None


# -- time ------------------------------------------------------------------------------------------


def seconds(cohort: Cohort, lies: Mapping[int, np.ndarray], rounds: int = 3) -> float:
    """CPU time of a rebuilding, the least of some."""
    spent = []
    for _ in range(rounds):
        gc.collect()
        before = time.process_time()
        cohort.rebuild(lies)
        spent.append(time.process_time() - before)
    return min(spent)


def assert_cheap(cohort: Cohort) -> None:
    """Every pattern that must be corrected costs at most four times an honest round."""
    patterns = {
        f"{count} liars, {name}": lies(cohort, liars_in(cohort, count))
        for count in (1, max(1, cohort.radius * 3 // 10), cohort.radius)
        for name, lies in LIES.items()
    }
    patterns["three bad dealers"] = bad_dealers(cohort, range(3))
    honest = seconds(cohort, {})
    for name, lies in patterns.items():
        ratio = seconds(cohort, lies) / honest
        if ratio > 4:  # other work on the machine came in between, or it is too dear
            ratio = seconds(cohort, lies) / seconds(cohort, {})
        assert ratio <= 4, f"{name}: {ratio:.1f} times an honest round"


@runs_at("programs")
@pytest.mark.parametrize(("n", "t"), [(140, 94), (1000, 667)])
def test_time(n: int, t: int) -> None:
    """Measured: at most 2 at 140, and at most 2.8 at 1000, on portable kernels 3.3."""
    cohort = Cohort(n, t)
    assert_cheap(cohort)
    honest, draw = seconds(cohort, {}), np.random.default_rng(n)
    liars = liars_in(cohort, cohort.radius)
    without(cohort, {liar: set(np.flatnonzero(draw.random(n) < 0.5).tolist()) for liar in liars})
    lies = {
        liar: junk(cohort, liar, np.ones(len(cohort.answers[liar].shares), bool)) for liar in liars
    }
    cohort.assert_rebuilt(lies)
    for some in ({}, lies):
        ratio = seconds(cohort, some) / honest
        assert ratio <= 4, f"half of the shares of the liars are missing: {ratio:.1f} times"


# -- against a textbook ----------------------------------------------------------------------------

Share = tuple[int, int, int]


def polynomial_at(points: Mapping[int, Share], x: int) -> Share:
    """The three polynomials through these points (by x), at another x: Lagrange's formula."""
    total = [0, 0, 0]
    for one, values in points.items():
        others = [other for other in points if other != one]
        factor = math.prod(x - other for other in others)
        factor *= pow(math.prod(one - other for other in others), -1, P)
        total = [(sum_ + factor * value) % P for sum_, value in zip(total, values, strict=True)]
    return total[0], total[1], total[2]


def textbook(
    shares: dict[int, Share], threshold: int, seed: bytes
) -> tuple[bytes | None, set[int]]:
    """The seed and the points with wrong shares, by looking for a polynomial through enough."""
    spare = len(shares) - threshold
    most = 1 if spare == 1 else spare // 2
    for some in itertools.combinations(shares, threshold):
        points = {x: shares[x] for x in some}
        wrong = {x for x in shares if polynomial_at(points, x) != shares[x]}
        limbs = polynomial_at(points, 0)
        found = len(wrong) <= most and list(limbs) == shamir.seed_limbs(seed)
        if found:
            return seed, wrong
    return None, set()


@given(data=st.data())
def test_a_textbook_decoder_gives_the_same(data: st.DataObject) -> None:
    """Any shares wrong in any way: the same seeds and wrong shares, and the same seeds given up."""
    threshold = data.draw(st.integers(1, 4), "threshold")
    count = threshold + data.draw(st.integers(0, 5), "spare")
    dealers = data.draw(st.integers(1, 5), "dealers")
    holders = sorted(data.draw(st.permutations(range(12)), "holders")[:count])
    seeds = [seeded(("textbook", dealer))(16) for dealer in range(dealers)]
    others = [seeded(("planted", dealer))(16) for dealer in range(dealers)]
    shares = shamir.deal(seeds, threshold, holders, GENERATOR, bytes(32))
    planted = shamir.deal(others, threshold, holders, GENERATOR, bytes([1]) * 32)
    shares, planted = (one.reshape(count, dealers, 3) for one in (shares, planted))
    kinds = st.sampled_from(["right"] * 4 + ["junk", "planted", "one limb", "zero"])
    liars = data.draw(st.sets(st.integers(0, count - 1), max_size=count), "liars")
    draw = np.random.default_rng(data.draw(st.integers(0, 99), "junk"))
    for row, dealer in itertools.product(sorted(liars), range(dealers)):
        kind = data.draw(kinds, f"{row} about {dealer}")
        given_ = {
            "right": shares[row, dealer],
            "junk": draw.integers(0, P, 3, np.uint64),
            "planted": planted[row, dealer],
            "one limb": (shares[row, dealer] + np.array([0, 0, 1], np.uint64)) % np.uint64(P),
            "zero": np.zeros(3, np.uint64),
        }
        shares[row, dealer] = given_[kind]
    rebuilt = rebuilding.Rebuilder(threshold, holders).rebuild(
        shares.reshape(count, -1), lambda number, seed: seed == seeds[number]
    )
    for dealer, seed in enumerate(seeds):
        by_point = {
            holder + 1: (*shares[row, dealer].tolist(),) for row, holder in enumerate(holders)
        }
        expected, wrong = textbook(by_point, threshold, seed)
        assert rebuilt.seeds[dealer] == expected
        rows = np.flatnonzero(rebuilt.wrong[dealer]).tolist()
        if count > threshold + 1 or len(wrong) == 1:
            assert {holders[row] + 1 for row in rows} == wrong


# -- the algebra -----------------------------------------------------------------------------------

elements = st.one_of(
    st.integers(0, P - 1),
    st.sampled_from([0, 1, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**60, P - 2, P - 1]),
)


@given(st.lists(st.tuples(elements, elements), min_size=1, max_size=20))
def test_products(pairs: list[tuple[int, int]]) -> None:
    """Of any elements, at the edges of their halves too."""
    a, b = (np.array(side, np.uint64) for side in zip(*pairs, strict=True))
    assert algebra.multiply(a, b).tolist() == [x * y % P for x, y in pairs]
    assert algebra.multiply(a[:, np.newaxis], b).tolist() == [
        [x * y % P for y in b.tolist()] for x in a.tolist()
    ]


@given(st.sets(st.integers(1, 2**16), min_size=2, max_size=12), st.integers(1, 11), st.data())
def test_evaluations_are_lagranges(xs: set[int], count: int, data: st.DataObject) -> None:
    """At any points outside the base."""
    order = data.draw(st.permutations(sorted(xs)))
    count = min(count, len(order) - 1)
    base, others = (np.array(part, np.uint64) for part in (order[:count], order[count:]))
    factors, scales = algebra.evaluations(base, algebra.weights(base), others)
    values: dict[int, Share] = {x: (x * x + 1, 5, x) for x in base.tolist()}
    first = np.array([[value[0]] for value in values.values()], np.uint64)
    for row, x in enumerate(others.tolist()):
        scaled = int(scales[row]) * polynomial_at(values, x)[0] % P
        assert algebra.combine(factors[row], first).tolist() == [scaled]
        assert algebra.combine(factors, first)[row].tolist() == [scaled]
