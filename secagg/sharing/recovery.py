"""Rebuilds the seeds of many dealers from the shares of many holders, of which some are wrong.

The work is cut into jobs that may run anywhere. A job has whole tables: the shares of dealers that
have the same holders, as its cost per table grows with the square of their number, and wrong shares
of one holder are found for all dealers of a table at once.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from ..events import Failed, Job
from . import rebuilding
from .shamir import LIMBS, SEED_BYTES, Shares

# Shares per job, 24 bytes each, and tables per job: it takes some tens of milliseconds. On the
# complete graph of a thousand parties all seeds are one job.
PIECE_SHARES: Final = 2**20
PIECE_TABLES: Final = 256


Pairs = NDArray[np.intp]  # of a dealer and a holder, shape (pairs, 2)


class Dealers(Sized, Protocol):
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


class RecoveryError(Exception):
    """A seed cannot be rebuilt from these answers; the round ends with the event `failed`."""

    def __init__(self, reason: str, code: Code, disputes: tuple[tuple[int, int], ...]) -> None:
        super().__init__(reason)
        self.failed = Failed(reason, code, disputes)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The shares of the seeds of some dealers, all with the same holders.

    Attributes:
        holders, dealers: indices, ascending.
        shares: shape (holders, dealers, 3).
    """

    holders: tuple[int, ...]
    dealers: tuple[int, ...]
    shares: Shares = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recovered:
    """The value of a `RebuildJob`.

    Attributes:
        seeds: of each dealer in the tables, in their order; None if it cannot be rebuilt.
        wrong: one bit per share in the tables, dealer by dealer, lowest bit first: whether it was
            wrong.
    """

    seeds: tuple[bytes | None, ...] = field(repr=False)
    wrong: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class RebuildJob:
    """Rebuilds seeds, corrects wrong shares, and checks each seed against its commitment.

    Attributes:
        threshold: shares that rebuild a seed.
        tables: the shares.
        check: of the dealers in the tables.
        budget: multiplications that may be spent on seeds that must be decoded one by one, of
            `rebuilding.BUDGET` for the whole round.
    """

    threshold: int
    tables: tuple[Table, ...]
    check: Check = field(repr=False)
    budget: int

    def run(self) -> Recovered:
        """Rebuilds the seeds, in one thread: the executor decides how many jobs run at once."""
        rebuilt = [self._rebuilt(table) for table in self.tables]
        wrong = np.packbits(
            np.concatenate([one.wrong.ravel() for one in rebuilt]), bitorder="little"
        )
        return Recovered(tuple(seed for one in rebuilt for seed in one.seeds), wrong.tobytes())

    def _rebuilt(self, table: Table) -> rebuilding.Rebuilt:
        return rebuilding.Rebuilder(self.threshold, table.holders).rebuild(
            table.shares.reshape(len(table.holders), -1),
            lambda number, seed: self.check.accept(table.dealers[number], seed),
            self.budget * len(table.dealers) // self._count(),
        )

    def checked(self, value: object) -> Recovered:
        """Returns the value if `run` could have returned it; raises RangeError otherwise.

        Every seed is checked, so that no wrong one comes from a worker. That a seed cannot be
        rebuilt, and which shares were wrong, are a worker's word.
        """
        seeds, wrong = getattr(value, "seeds", ()), getattr(value, "wrong", b"")
        shares = sum(len(table.holders) * len(table.dealers) for table in self.tables)
        if not (
            type(value) is Recovered
            and type(seeds) is tuple
            and type(wrong) is bytes
            and len(seeds) == self._count()
            and len(wrong) == -(-shares // 8)
            and all(self._possible(dealer, seed) for dealer, _, seed in self.seeds_of(value))
        ):
            raise RangeError(
                f"the value of this RebuildJob must be Recovered for its {self._count()} dealers, "
                "with seeds that they committed to",
                Code.ARGUMENT,
            )
        return value

    def _possible(self, dealer: int, seed: object) -> bool:
        if seed is None:
            return True
        return type(seed) is bytes and len(seed) == SEED_BYTES and self.check.accept(dealer, seed)

    def _count(self) -> int:
        return sum(len(table.dealers) for table in self.tables)

    def seeds_of(self, value: Recovered) -> Iterator[tuple[int, tuple[int, ...], bytes | None]]:
        """Yields each dealer, its holders, and its seed in the value."""
        whose = ((dealer, one.holders) for one in self.tables for dealer in one.dealers)
        return ((*each, seed) for each, seed in zip(whose, value.seeds, strict=True))

    def wrong_shares(self, value: Recovered) -> Pairs:
        """Returns the dealer and the holder of each wrong share, shape (wrong shares, 2)."""
        bits = np.unpackbits(np.frombuffer(value.wrong, np.uint8), bitorder="little")
        found = []
        for table in self.tables:
            shape = len(table.dealers), len(table.holders)
            here, bits = np.split(bits, [shape[0] * shape[1]])
            dealer, holder = np.nonzero(here.reshape(shape))
            pairs = np.array(table.dealers)[dealer], np.array(table.holders)[holder]
            found.append(np.stack(pairs, axis=1))
        return np.concatenate(found)


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
        self._wrong.append(job.wrong_shares(checked))
        for dealer, holders, seed in job.seeds_of(checked):
            if seed is None:
                of_this = np.array([(dealer, holder) for holder in holders])
                raise RecoveryError(
                    f"too many shares of party {dealer}'s seed are wrong, or of too many seeds: it "
                    "cannot be rebuilt",
                    Code.COMMITMENT,
                    _ascending([*self._wrong, of_this]),
                )
            self.seeds[dealer] = seed


def _ascending(pairs: list[Pairs]) -> tuple[tuple[int, int], ...]:
    """Returns pairs in order, each once."""
    dealer, holder = np.concatenate(pairs).T
    keys = np.sort(dealer << 32 | holder)
    keys = keys[np.diff(keys, prepend=-1) > 0]
    return tuple(zip((keys >> 32).tolist(), (keys & 2**32 - 1).tolist(), strict=True))


def cut_recovery(
    threshold: int,
    dealers: Sequence[int],
    answers: Mapping[int, Answer],
    holders_of: Callable[[int], Iterable[int]],
    check_of: Callable[[Sequence[int]], Check],
) -> list[Job]:
    """Cuts the rebuilding of the seed of every dealer into jobs of bounded size.

    Args:
        threshold: shares that rebuild a seed.
        dealers: whose seeds are needed, ascending.
        answers: what each holder gave, by holder; one or more.
        holders_of: gives the holders that answered and should have a share of a dealer's seed.
        check_of: gives the check for the seeds of some dealers.

    Raises:
        RecoveryError: a dealer has too few shares.
    """
    jobs: list[Job] = []
    some: list[Table] = []

    def finish() -> None:
        named = [dealer for table in some for dealer in table.dealers]
        budget = rebuilding.BUDGET * len(named) // len(dealers)
        jobs.append(RebuildJob(threshold, tuple(some), check_of(named), budget))
        some.clear()

    for table in _tables(threshold, dealers, answers, holders_of):
        size = sum(one.shares.size for one in some) + table.shares.size
        if some and (len(some) == PIECE_TABLES or size > PIECE_SHARES * LIMBS):
            finish()
        some.append(table)
    finish()
    return jobs


def _tables(
    threshold: int,
    dealers: Sequence[int],
    answers: Mapping[int, Answer],
    holders_of: Callable[[int], Iterable[int]],
) -> Iterator[Table]:
    """Yields the shares of the dealers, those with the same holders together."""
    names = sorted(answers)
    given = [answers[name].dealers.indices() for name in names]
    shares = np.concatenate([answers[name].shares for name in names])
    # Where the shares of each dealer are, by holder: sorting small integers takes linear time.
    dealer = np.concatenate(given)
    order = np.argsort(dealer.astype(np.min_scalar_type(dealer.max(initial=0))), kind="stable")
    holder = np.repeat(names, [len(each) for each in given])[order]
    ends = [0, *np.cumsum(np.bincount(dealer, minlength=max(dealers) + 1)).tolist()]
    groups: dict[bytes, list[int]] = defaultdict(list)

    def bounds(one: int) -> tuple[int, int]:
        return ends[one], ends[one + 1]

    for one in dealers:
        first, last = bounds(one)
        some = holder[first:last]
        if len(some) < threshold:
            missing = sorted(set(holders_of(one)).difference(some.tolist()))
            raise RecoveryError(
                f"{len(some)} shares of party {one}'s seed are left, {threshold} are needed",
                Code.SHARES,
                tuple((one, each) for each in missing),
            )
        groups[some.tobytes()].append(one)
    for group in groups.values():
        first, last = bounds(group[0])
        held = tuple(holder[first:last].tolist())
        pieces = -(-len(group) // max(PIECE_SHARES // len(held), 1))
        for piece in range(pieces):
            part = group[len(group) * piece // pieces : len(group) * (piece + 1) // pieces]
            places = np.stack([order[slice(*bounds(one))] for one in part], axis=1)
            yield Table(held, tuple(part), np.take(shares, places, axis=0))
