"""A job that rebuilds the seeds of some dealers from the shares of their holders.

It rebuilds the seeds of dealers that have the same holders together, as that costs the square of
the number of holders, and shows wrong shares of one holder for all these dealers at once.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from ..tracebacks import keeps_no_locals
from . import rebuilding
from .shamir import SEED_BYTES, Shares

MISSING: Final = -1

Indices = NDArray[np.uint32]
Rows = NDArray[np.intp]
Pairs = NDArray[np.uint64]


class Check(Protocol):
    """Tells which seed a dealer committed to; picklable, and without secrets."""

    def accept(self, dealer: int, seed: bytes) -> bool:
        """Returns whether this is the seed that the dealer committed to."""

    def cost(self, dealer: int) -> int:
        """Returns what `accept` takes for this dealer, in multiplications in the field."""


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
        order = there[np.argsort(small(dealer), kind="stable")]
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


def small(indices: Indices | Rows) -> NDArray[np.unsignedinteger]:
    """Returns indices in the smallest type that holds them."""
    return indices.astype(np.min_scalar_type(indices.max(initial=0)))
