"""Rebuilds the seeds of many dealers from the shares of many holders, of which some are wrong.

The work is cut by dealers into jobs that may run anywhere. A job rebuilds the seeds of dealers that
have the same holders together, as that costs the square of the number of holders, and shows wrong
shares of one holder for all these dealers at once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from ..events import Failed, Job
from ..tracebacks import keeps_no_locals
from . import rebuilding
from .shamir import SEED_BYTES, Shares

# Shares per job, 32 bytes each with their indices: it takes some tens of milliseconds. On the
# complete graph of up to 1024 parties one job has all. On a sparse graph dealers do not share the
# work, and a job has this many, or as many as one of them has holders.
PIECE_SHARES: Final = 2**20
PIECE_DEALERS: Final = 256
MISSING: Final = -1

Indices = NDArray[np.uint32]
Rows = NDArray[np.intp]
Pairs = NDArray[np.uint64]


class Dealers(Protocol):
    """Indices of dealers."""

    def indices(self) -> NDArray[np.intp]:
        """Returns them, ascending."""


class Answer(Protocol):
    """The shares that one holder gave.

    Attributes:
        dealers: whose shares they are.
        shares: one row per dealer, shape (dealers, 3).
    """

    @property
    def dealers(self) -> Dealers: ...

    @property
    def shares(self) -> Shares: ...


class Check(Protocol):
    """Tells which seed a dealer committed to; picklable, and without secrets."""

    def accept(self, dealer: int, seed: bytes) -> bool:
        """Returns whether this is the seed that the dealer committed to."""

    def cost(self, dealer: int) -> int:
        """Returns what `accept` takes for this dealer, in multiplications in the field."""


class RecoveryError(Exception):
    """A seed cannot be rebuilt from these answers; the round ends with the event `failed`."""

    def __init__(self, reason: str, code: Code, disputes: tuple[tuple[int, int], ...]) -> None:
        super().__init__(reason, code, disputes)
        self.failed = Failed(reason, code, disputes)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Dealers whose seeds are rebuilt together.

    Attributes:
        dealers, holders: indices.
        places: of their shares among those of the job, shape (holders, dealers); or MISSING.
    """

    dealers: list[int]
    holders: list[int]
    places: Rows


@dataclass(frozen=True, slots=True)
class Recovered:
    """The value of a `RebuildJob`.

    Attributes:
        seeds: of each dealer of the job, in order; None if it cannot be rebuilt.
        wrong: one bit per share of the job, in order, lowest bit first: whether it was wrong.
    """

    seeds: tuple[bytes | None, ...] = field(repr=False)
    wrong: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class RebuildJob:
    """Rebuilds seeds, corrects wrong shares, and checks each seed against its commitment.

    Attributes:
        threshold: shares that rebuild a seed.
        dealers: whose seeds they are, ascending.
        dealer, holder: of each share; holders ascend, and dealers for each holder.
        shares: at least `threshold` of each dealer, shape (shares, 3).
        check: of the dealers.
        complete: whether every dealer should have a share from every holder.
        budget: multiplications that may be spent, with the honest work and a part of
            `rebuilding.BUDGET`. Seeds that it does not pay for are not rebuilt.
    """

    threshold: int
    dealers: tuple[int, ...]
    dealer: Indices = field(repr=False)
    holder: Indices = field(repr=False)
    shares: Shares = field(repr=False)
    check: Check = field(repr=False)
    complete: bool
    budget: int

    @keeps_no_locals
    def run(self) -> Recovered:
        """Rebuilds the seeds, in one thread: the executor decides how many jobs run at once."""
        seeds: dict[int, bytes | None] = {}
        wrong = np.zeros(len(self.shares), np.bool_)
        account = rebuilding.Account(self.budget)
        left = np.zeros(int(self.dealer.max()) + 1, np.bool_)
        left[list(self.dealers)] = True
        again = np.zeros_like(left)
        # As often as some go together: a few dealers whose shares are missing elsewhere than those
        # of all others would otherwise be merged in their place.
        paid = True
        while paid and (merged := self.merged(left)) is not None:
            paid = self._rebuild(merged, account, seeds, wrong)
            left[merged.dealers] = False
            # A seed that was not rebuilt may have fewer wrong shares than are corrected only with
            # a single share to spare, and that only if some are missing.
            short = (merged.places == MISSING).any(axis=0).tolist()
            for dealer, some_missing in zip(merged.dealers, short, strict=True):
                again[dealer] = some_missing and seeds[dealer] is None
        for group in self.groups(left | again):
            self._rebuild(group, account, seeds, wrong)
        bits = np.packbits(wrong, bitorder="little")
        return Recovered(tuple(seeds[dealer] for dealer in self.dealers), bits.tobytes())

    def merged(self, which: NDArray[np.bool_]) -> Group | None:
        """Returns one group of dealers with most of the holders, in which some shares are missing.

        So holders that leave out shares do not make groups with weights of their own. No more
        holders have a share missing than could be corrected as wrong.

        Args:
            which: the dealers to choose from, by index.

        Returns:
            Two dealers or more; None if no two go together.
        """
        there = np.flatnonzero(which[self.dealer])
        if not len(there):
            return None
        dealer, holder = self.dealer[there], self.holder[there]
        holders = np.flatnonzero(np.bincount(holder))
        most = (len(holders) - self.threshold) // 2
        counts = np.bincount(dealer)
        alike = np.flatnonzero((counts > 0) & (counts >= len(holders) - most))
        row, column = np.zeros(holders[-1] + 1, np.intp), np.full(len(counts), MISSING)
        row[holders], column[alike] = np.arange(len(holders)), np.arange(len(alike))
        columns = column[dealer]
        some = np.flatnonzero(columns != MISSING)
        places = np.full((len(holders), len(alike)), MISSING)
        places[row[holder[some]], columns[some]] = there[some]
        missing = places == MISSING
        if missing.any():
            order = np.argsort(missing.sum(axis=0), kind="stable")
            gaps = np.logical_or.accumulate(missing[:, order], axis=1).sum(axis=0)
            some = np.sort(order[gaps <= most])
            alike, places = alike[some], places[:, some]
        if len(alike) < 2:
            return None
        return Group(alike.tolist(), holders.tolist(), places)

    def groups(self, which: NDArray[np.bool_]) -> list[Group]:
        """Returns some of the dealers, those with exactly the same holders together."""
        there = np.flatnonzero(which[self.dealer])
        if not len(there):
            return []
        # Sorting small integers takes linear time.
        dealer = self.dealer[there]
        order = there[np.argsort(_small(dealer), kind="stable")]
        counts = np.bincount(dealer)
        some = np.flatnonzero(counts)
        places = dict(
            zip(some.tolist(), np.split(order, np.cumsum(counts[some])[:-1]), strict=True)
        )
        groups: dict[bytes, list[int]] = defaultdict(list)
        for one, shares in places.items():
            groups[self.holder[shares].tobytes()].append(one)
        return [
            Group(
                group,
                self.holder[places[group[0]]].tolist(),
                np.stack([places[one] for one in group], axis=1),
            )
            for group in groups.values()
        ]

    def _rebuild(
        self,
        group: Group,
        account: rebuilding.Account,
        seeds: dict[int, bytes | None],
        wrong: NDArray[np.bool_],
    ) -> bool:
        """Rebuilds the seeds of a group, and notes which of the shares are wrong.

        Returns whether the account pays for it.
        """
        seeds.update(dict.fromkeys(group.dealers))
        if not account.pays(rebuilding.honest_cost(len(group.holders), len(group.dealers))):
            return False
        missing = group.places == MISSING
        shares = np.take(self.shares, group.places, axis=0)
        if missing.any():
            shares[missing] = 0

        def accept(number: int, seed: bytes) -> bool:
            dealer = group.dealers[number]
            return account.pays(self.check.cost(dealer)) and self.check.accept(dealer, seed)

        rebuilt = rebuilding.Rebuilder(self.threshold, group.holders).rebuild(
            shares.reshape(len(group.holders), -1), accept, account, missing
        )
        seeds.update(zip(group.dealers, rebuilt.seeds, strict=True))
        wrong[group.places[~missing]] = rebuilt.wrong.T[~missing]
        return True

    def checked(self, value: object) -> Recovered:
        """Returns the value if `run` could have returned it; raises RangeError otherwise.

        Every seed is checked, so that no wrong one comes from a worker. That a seed cannot be
        rebuilt, and which shares were wrong, are a worker's word.
        """
        if type(value) is Recovered:  # no attribute of another type is read: it may run code
            seeds, wrong = getattr(value, "seeds", ()), getattr(value, "wrong", b"")
            if (
                type(seeds) is tuple
                and type(wrong) is bytes
                and len(seeds) == len(self.dealers)
                and len(wrong) == -(-len(self.shares) // 8)
                and all(map(self._possible, self.dealers, seeds))
            ):
                return value
        raise RangeError(
            f"the value of this RebuildJob must be Recovered for its {len(self.dealers)} dealers, "
            "with seeds that they committed to",
            Code.ARGUMENT,
        )

    def _possible(self, dealer: int, seed: object) -> bool:
        if seed is None:
            return True
        return type(seed) is bytes and len(seed) == SEED_BYTES and self.check.accept(dealer, seed)

    def pairs(self, which: NDArray[np.bool_]) -> Pairs:
        """Returns the dealer and the holder of some of the shares, as one number each."""
        return self.dealer[which].astype(np.uint64) << np.uint64(32) | self.holder[which]

    def missing(self, dealers: Sequence[int]) -> Pairs:
        """Returns the pairs of these dealers and the holders that left out a share, as `pairs`."""
        if not self.complete:
            return np.zeros(0, np.uint64)
        holders = np.flatnonzero(np.bincount(self.holder))
        row = np.full(int(self.dealer.max()) + 1, MISSING)
        row[list(dealers)] = np.arange(len(dealers))
        rows = row[self.dealer]
        known = rows != MISSING
        there = np.zeros((len(dealers), holders[-1] + 1), np.bool_)
        there[rows[known], self.holder[known]] = True
        rows, columns = np.nonzero(~there[:, holders])
        high = np.array(dealers, np.uint64)[rows] << np.uint64(32)
        return high | holders[columns].astype(np.uint64)


class Recovery:
    """The seeds that are known, while jobs rebuild the others."""

    def __init__(self) -> None:
        self.seeds: dict[int, bytes] = {}
        self._wrong: list[Pairs] = []

    @property
    def disputes(self) -> tuple[tuple[int, int], ...]:
        """The (dealer, holder) pairs whose share was wrong, ascending."""
        return _ascending(self._wrong)

    def take(self, job: RebuildJob, value: object) -> None:
        """Takes the value of a job.

        Raises:
            RangeError: the job cannot give this value; nothing has changed.
            RecoveryError: a seed cannot be rebuilt.
        """
        checked = job.checked(value)
        octets = np.frombuffer(checked.wrong, np.uint8)
        bits = np.unpackbits(octets, count=len(job.shares), bitorder="little")
        self._wrong.append(job.pairs(bits == 1))
        seeds = dict(zip(job.dealers, checked.seeds, strict=True))
        lost = [dealer for dealer, seed in seeds.items() if seed is None]
        if lost:
            raise RecoveryError(
                f"too many shares of party {lost[0]}'s seed are wrong, or too many seeds have "
                "wrong or missing shares: it cannot be rebuilt",
                Code.COMMITMENT,
                _ascending(
                    [*self._wrong, job.pairs(job.dealer == lost[0]), job.missing(lost)],
                ),
            )
        self.seeds.update((dealer, seed) for dealer, seed in seeds.items() if seed is not None)


def _ascending(pairs: list[Pairs]) -> tuple[tuple[int, int], ...]:
    """Returns pairs of a dealer and a holder in order, each once."""
    whole = np.sort(np.concatenate(pairs))
    whole = whole[np.append(True, whole[1:] != whole[:-1])[: len(whole)]]
    dealers, holders = whole >> np.uint64(32), whole & np.uint64(2**32 - 1)
    return tuple(zip(dealers.tolist(), holders.tolist(), strict=True))


def _small(indices: Indices | Rows) -> NDArray[np.unsignedinteger]:
    """Returns indices in the smallest type that holds them."""
    return indices.astype(np.min_scalar_type(indices.max(initial=0)))


def cut_recovery(
    threshold: int,
    dealers: Sequence[int],
    answers: Mapping[int, Answer],
    holders_of: Callable[[int], Iterable[int]],
    check_of: Callable[[Sequence[int]], Check],
    complete: bool,
) -> list[Job]:
    """Cuts the rebuilding of the seed of every dealer into jobs of bounded size.

    Args:
        threshold: shares that rebuild a seed.
        dealers: whose seeds are needed, ascending; no answer has shares of others.
        answers: what each holder gave, by holder; one or more.
        holders_of: gives the holders that answered and should have a share of a dealer's seed.
        check_of: gives the check for the seeds of some dealers.
        complete: whether every dealer should have a share from every holder.

    Raises:
        RecoveryError: a dealer has too few shares.
    """
    names = sorted(answers)
    given = [answers[name].dealers.indices() for name in names]
    dealer = np.concatenate(given).astype(np.uint32)
    holder = np.repeat(np.array(names, np.uint32), [len(each) for each in given])
    shares = np.concatenate([answers[name].shares for name in names])
    counts = np.bincount(dealer, minlength=dealers[-1] + 1)[list(dealers)]
    for one in np.array(dealers)[counts < threshold][:1].tolist():
        there = holder[dealer == one].tolist()
        raise RecoveryError(
            f"{len(there)} shares of party {one}'s seed are left, {threshold} are needed",
            Code.SHARES,
            tuple((one, each) for each in sorted(set(holders_of(one)).difference(there))),
        )

    if complete:
        most = PIECE_SHARES // len(names)
    else:
        largest = int(counts.max())
        most = min(PIECE_SHARES // largest, max(PIECE_DEALERS, largest))
    most = max(most, 1)
    count, pieces = len(dealers), -(-len(dealers) // most)
    if pieces > 1:  # the shares of each piece together
        piece_of = np.zeros(dealers[-1] + 1, np.intp)
        piece_of[list(dealers)] = np.arange(count) * pieces // count
        order = np.argsort(_small(piece_of[dealer]), kind="stable")
        dealer, holder, shares = dealer[order], holder[order], np.take(shares, order, axis=0)
    jobs: list[Job] = []
    last = 0
    for piece in range(pieces):
        low, high = -(-count * piece // pieces), -(-count * (piece + 1) // pieces)
        first, last = last, last + int(counts[low:high].sum())
        some = tuple(dealers[low:high])
        if complete:
            honest = rebuilding.honest_cost(len(names), len(some))
        else:
            honest = sum(rebuilding.honest_cost(each, 1) for each in counts[low:high].tolist())
        check = check_of(some)
        honest += sum(map(check.cost, some))
        jobs.append(
            RebuildJob(
                threshold,
                some,
                dealer[first:last],
                holder[first:last],
                shares[first:last],
                check,
                complete,
                rebuilding.allowance(honest, rebuilding.BUDGET * len(some) // count),
            )
        )
    return jobs
