"""How the work of unmasking is cut: nothing twice, nothing left out, pieces alike and small."""

import pickle
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import Integers, Params
from secagg.arithmetic.field import Field
from secagg.arithmetic.generators import Generator
from secagg.machine import expansion
from secagg.machine.expansion import SignedKeys, cut_masks
from secagg.machine.wire import PartySet
from secagg.pairwise.graph import Complete
from secagg.pairwise.messages import PublicKeys, Unmask
from secagg.pairwise.recovery import SeedCheck, rebuild_seeds
from secagg.pairwise.unmasking import cut_agreements
from secagg.sharing import rebuild_job, rebuilding, recovery
from secagg.sharing.rebuild_job import RebuildJob

H1 = bytes(32)


def key(number: int) -> bytes:
    """A stand-in for a key: nothing is agreed or expanded with it unless said."""
    return number.to_bytes(32, "big")


def params(length: int) -> Params:
    """A round of vectors of this length."""
    return Params(4, length, Integers(-1000, 1000), threshold=3)


def shape_of(agreed: Params) -> tuple[int, Generator, int]:
    """Returns bits, generator and length: all that the expansion of masks depends on."""
    return agreed.field_bits, agreed.suite.generator, agreed.vector_length


def masks(count: int) -> SignedKeys:
    """So many, with signs in turn."""
    return SignedKeys(tuple(map(key, range(count))), tuple((1, -1)[i % 2] for i in range(count)))


@given(
    count=st.integers(0, 40),
    length=st.integers(1, 9000),
    elements=st.sampled_from([1, 2048, 5000, 2**24]),
    least=st.integers(1, 5),
    most=st.integers(5, 30),
)
def test_every_mask_is_expanded_once(
    count: int, length: int, elements: int, least: int, most: int
) -> None:
    """Each key with its sign over each element, in one piece; no piece is beyond its bound."""
    whole = masks(count)
    signs = dict(zip(whole.keys, whole.signs, strict=True))
    seen = {name: np.zeros(length, int) for name in whole.keys}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expansion, "PIECE_ELEMENTS", elements)
        patch.setattr(expansion, "PIECE_MIN_KEYS", least)
        patch.setattr(expansion, "PIECE_MAX_KEYS", most)
        for job in cut_masks(whole, *shape_of(params(length))):
            assert 0 < len(job.masks.keys) <= most
            assert 0 < job.length <= max(elements // len(job.masks.keys), 1024)
            for name, sign in zip(job.masks.keys, job.masks.signs, strict=True):
                assert sign == signs[name]
                seen[name][job.start : job.start + job.length] += 1
    assert all((counts == 1).all() for counts in seen.values())


@pytest.mark.parametrize(
    ("count", "length", "pieces"),
    [
        (1, 1000, 1),
        (10, 1_000_000, 1),  # one piece would be this
        (2, 2**24, 2),
        (1000, 100, 1),
        (300, 1_000_000, 18),
        (57_000, 10_000, 34),
        (91_000, 100_000, 89 * 7),
    ],
)
def test_pieces_are_alike(count: int, length: int, pieces: int) -> None:
    """So many as the work fills, within two parts in a hundred of each other, none too small."""
    jobs = list(cut_masks(masks(count), *shape_of(params(length))))
    sizes = [len(job.masks.keys) * job.length for job in jobs]
    assert len(jobs) == pieces
    assert max(sizes) <= 1.02 * min(sizes)
    assert max(sizes) <= 2**24
    assert len(jobs) == 1 or min(sizes) > 0.8 * 2**24


def test_an_expansion_is_small_on_its_way() -> None:
    """Out go keys, back comes a range: less than half a megabyte, whatever the round's size."""
    for count, length in ((91_000, 100_000), (57_000, 10_000), (100_000, 100)):
        job = next(cut_masks(masks(count), *shape_of(params(length))))
        assert len(pickle.dumps(job)) < 200_000
        assert job.length * 8 <= 262_144


def test_pieces_add_up() -> None:
    """The pieces' values are the sum of the masks."""
    form = params(5000)
    whole = masks(7)
    field = Field(form.field_bits)
    total = field.zeros(form.vector_length)
    field.accumulate(total, whole.keys, whole.signs, form.suite.generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expansion, "PIECE_MAX_KEYS", 3)
        patch.setattr(expansion, "PIECE_ELEMENTS", 3 * 1024)
        jobs = list(cut_masks(whole, *shape_of(form)))
    assert [len(job.masks.keys) for job in jobs] == [2] * 8 + [3] * 5
    sums = field.zeros(form.vector_length)
    for job in jobs:
        part = sums[job.start : job.start + job.length]
        field.add(part, job.run(), out=part)
    assert np.array_equal(sums, total)


# ---- agreements --------------------------------------------------------------------------------


def roster(cohort: int) -> dict[int, PublicKeys]:
    """Public keys of a cohort; the signature and the other key are long, and not needed."""
    return {party: PublicKeys(b"c" * 32, key(party), b"s" * 64) for party in range(cohort)}


def neighbours(party: int, cohort: int, degree: int) -> tuple[int, ...]:
    """Some others, as on a sparse graph."""
    return tuple((party + step) % cohort for step in range(1, degree + 1))


@pytest.mark.parametrize(
    ("vanished", "degree", "pieces"), [(100, 900, 352), (50, 30, 6), (3, 0, 0)]
)
def test_every_pair_agrees_once(vanished: int, degree: int, pieces: int) -> None:
    """Each vanished party with each of its peers, in pieces alike, many parties to a piece."""
    secrets = {party: key(10_000 + party) for party in range(vanished)}
    peers = {party: neighbours(party, 1000, degree) for party in secrets}
    jobs = list(cut_agreements(secrets, peers, H1, roster(1000)))
    assert len(jobs) == pieces
    sizes = [len(job.pairs) for job in jobs] or [0]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 256
    pairs = Counter(pair for job in jobs for pair in job.pairs)
    assert pairs == Counter((party, peer) for party in secrets for peer in peers[party])


def test_a_worker_gets_what_it_needs() -> None:
    """Secrets and public mask keys of its own pairs, of nobody else, and nothing more."""
    secrets = {party: key(10_000 + party) for party in range(100)}
    peers = {party: neighbours(party, 1000, 300) for party in secrets}
    everybody = roster(1000)
    for job in cut_agreements(secrets, peers, H1, everybody):
        vanished = {party for party, _ in job.pairs}
        assert job.secrets == {party: secrets[party] for party in vanished}
        assert job.public == {party: everybody[party].mask for pair in job.pairs for party in pair}
        assert len(pickle.dumps(job)) < 16_000


# ---- seeds -------------------------------------------------------------------------------------


def rebuilding_jobs(
    shares: dict[int, list[int]], dealers: int, sparse: bool = False
) -> list[RebuildJob]:
    """The jobs for these answers (holder -> dealers); each share is its dealer and holder.

    On a sparse graph no other shares should have been there.
    """
    n = max(max(shares) + 1, dealers)
    everybody = roster(n)
    answers = {
        holder: Unmask(
            PartySet.of(some, n),
            np.array([(dealer, holder, 0) for dealer in some], np.uint64).reshape(-1, 3),
        )
        for holder, some in shares.items()
    }
    vanished = range(0, dealers, 5)
    return rebuild_seeds(  # type: ignore[return-value]
        SimpleNamespace(threshold=2, degree=8 * sparse),  # type: ignore[arg-type]
        Complete(),
        everybody,
        {dealer: key(dealer) for dealer in range(dealers)},
        H1,
        H1,
        [party for party in range(n) if party not in vanished],
        answers,
    )


def assert_every_share_is_rebuilt_from(
    jobs: list[RebuildJob], shares: dict[int, list[int]], dealers: int
) -> None:
    """Each share is in one job, with its dealer and holder, and in one group of it."""
    seen: Counter[tuple[int, int]] = Counter()
    for job in jobs:
        groups = job.groups(np.ones(dealers, bool))
        whose = [dealer for group in groups for dealer in group.dealers]
        assert sorted(whose) == list(job.dealers)
        assert isinstance(job.check, SeedCheck)
        assert job.check.commitments == {d: key(d) for d in whose if d % 5}
        assert job.check.public.keys() == {d for d in whose if d % 5 == 0}
        assert len(job.shares) == sum(group.places.size for group in groups)
        for group in groups:
            for dealer, places in zip(group.dealers, group.places.T, strict=True):
                holders = job.holder[places].tolist()
                assert holders == sorted(holders) == group.holders
                assert set(job.dealer[places].tolist()) == {dealer}
                given = job.shares[places].tolist()
                assert given == [[dealer, holder, 0] for holder in holders]
                seen.update((dealer, holder) for holder in holders)
    assert [dealer for job in jobs for dealer in job.dealers] == list(range(dealers))
    assert seen == Counter((dealer, holder) for holder, some in shares.items() for dealer in some)


@given(data=st.data())
def test_every_share_is_in_one_job(data: st.DataObject) -> None:
    """Whoever answered for whom, with two shares of each seed; no job is beyond its bounds."""
    dealers, holders = data.draw(st.integers(2, 9)), data.draw(st.integers(2, 9))
    shares = {
        holder: sorted(
            set(range(dealers)) if holder < 2 else data.draw(st.sets(st.integers(0, dealers - 1)))
        )
        for holder in range(holders)
    }
    most, few = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "PIECE_SHARES", most)
        patch.setattr(recovery, "PIECE_DEALERS", few)
        jobs = rebuilding_jobs(shares, dealers)
    assert_every_share_is_rebuilt_from(jobs, shares, dealers)
    largest = max(Counter(dealer for some in shares.values() for dealer in some).values())
    for job in jobs:
        assert len(job.shares) <= max(most, largest)
        assert job.complete
        assert len(job.dealers) <= max(most // holders, 1)
    whole = rebuilding.BUDGET + rebuilding.allowance(dealers * 2**15 + 8 * dealers * holders**2)
    assert rebuilding.BUDGET // 2 < sum(job.budget for job in jobs) <= whole


def test_dealers_with_the_same_holders_are_one_group() -> None:
    """On the complete graph all are in one job; who left out a share makes a second group.

    Both are merged, unless too many holders left out shares.
    """
    shares = {holder: list(range(100)) for holder in range(100)}
    everybody = np.ones(100, bool)
    (job,) = rebuilding_jobs(shares, 100)
    assert [group.places.shape for group in job.groups(everybody)] == [(100, 100)]
    shares[7] = shares[7][:60]
    (job,) = rebuilding_jobs(shares, 100)
    assert [group.places.shape for group in job.groups(everybody)] == [(100, 60), (99, 40)]
    merged = job.merged(everybody)
    assert merged is not None
    assert (merged.places == rebuild_job.MISSING).nonzero()[0].tolist() == [7] * 40
    (job,) = rebuilding_jobs({h: shares[0][:60] if h > 1 else shares[0] for h in shares}, 100)
    merged = job.merged(everybody)
    assert merged is not None
    assert merged.dealers == list(range(60))
    assert len(pickle.dumps(job)) < 360_000


def test_on_a_sparse_graph_some_hundred_dealers_are_a_job() -> None:
    """Each of them with holders of its own."""
    shares = {holder: sorted((holder + k) % 600 for k in range(8)) for holder in range(600)}
    jobs = rebuilding_jobs(shares, 600, sparse=True)
    assert [len(job.dealers) for job in jobs] == [200] * 3
    assert [len(job.groups(np.ones(600, bool))) for job in jobs] == [200] * 3
    assert_every_share_is_rebuilt_from(jobs, shares, 600)
