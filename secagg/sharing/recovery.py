"""Rebuilds the seeds of many dealers from the shares of many holders, of which some are wrong.

The work is cut by dealers into jobs that may run anywhere.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..events import Failed, Job
from . import rebuilding
from .rebuild_job import Check, Pairs, RebuildJob, small
from .shamir import Shares

# Shares per job, 32 bytes each with their indices: it takes some tens of milliseconds. On the
# complete graph of up to 1024 parties one job has all. On a sparse graph dealers do not share the
# work, and a job has this many, or as many as one of them has holders.
PIECE_SHARES: Final = 2**20
PIECE_DEALERS: Final = 256


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


class RecoveryError(Exception):
    """A seed cannot be rebuilt from these answers; the round ends with the event `failed`."""

    def __init__(self, reason: str, code: Code, disputes: tuple[tuple[int, int], ...]) -> None:
        super().__init__(reason, code, disputes)
        self.failed = Failed(reason, code, disputes)


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
        order = np.argsort(small(piece_of[dealer]), kind="stable")
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
