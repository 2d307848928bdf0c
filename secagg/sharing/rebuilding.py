"""Rebuilds seeds that have the same holders, and corrects wrong shares.

Redundant shares are tested by one random parity check (Cascudo and David 2017). If some seeds fail
it, one random linear combination of all their columns is decoded (Gao 2003): it is wrong in every
row that is wrong for any of them. Without these rows the seeds are rebuilt together, and then the
shares in these rows are compared one by one with the polynomials found. So a client that lies in
all its shares costs one decoding, not one per seed. Only if more rows are wrong than can be decoded
at once, as different holders were given wrong shares by different dealers, halves of the seeds are
decoded, and then those few that differ by themselves. Each is corrected up to half the redundancy.
With a single redundant share, one wrong share is found by leaving out each in turn, if the caller
can recognise the right seed. All work is paid from one account, and what it does not cover is not
rebuilt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import ParameterError
from . import algebra, shamir
from .algebra import Elements
from .shamir import LIMBS, Shares

# What a round may spend beyond its honest work, in multiplications (of about 1 ns): this many, and
# BUDGET_RATIO times the honest work.
BUDGET: Final = 2**23
BUDGET_RATIO: Final = 4
# To leave out a share of a seed, when each of t + 1 is left out in turn.
_SEARCH_COST: Final = 2**6
# As few seeds are decoded by themselves, not in halves, if they could not be decoded together.
_FEW_SEEDS: Final = 8

_LIMB_BITS: Final = np.array([8 * size for size in shamir.LIMB_BYTES], np.uint64)

Rows = NDArray[np.intp]
Scalar = TypeVar("Scalar", np.uint64, np.bool_)
Accept = Callable[[int, bytes], bool]


def honest_cost(rows: int, seeds: int) -> int:
    """Returns the multiplications that seeds with the same holders take if no share is wrong."""
    return 2 * rows * rows + 2 * LIMBS * rows * seeds


def allowance(honest: int, budget: int = 0) -> int:
    """Returns what may be spent, with the honest work and a part of the budget of a round."""
    return (1 + BUDGET_RATIO) * honest + budget


class Account:
    """The multiplications that all groups of seeds of a job may still spend together.

    Comparing the shares of liars with seeds that are settled is not counted: each is settled once.

    Attributes:
        suspect: the point whose share was left out last, as its share was wrong; 0 if none was.
    """

    def __init__(self, left: int) -> None:
        self._left = left
        self.suspect = 0

    def spend(self, cost: int) -> None:
        """Counts work that was done."""
        self._left -= cost

    def pays(self, cost: int) -> bool:
        """Counts work that is to be done; returns False, and counts none, if all is spent."""
        if self._left <= 0:
            return False
        self._left -= cost
        return True


@dataclass(frozen=True, slots=True, eq=False)
class Rebuilt:
    """Rebuilt seeds.

    Attributes:
        seeds: one entry per seed: None if it cannot be rebuilt.
        wrong: which shares were wrong, shape (seeds, r); all False for a seed that is None.
    """

    seeds: list[bytes | None] = field(repr=False)
    wrong: NDArray[np.bool_] = field(repr=False)

    def keep(self, number: int, limbs: Sequence[int], accept: Accept) -> bool:
        """Keeps the seed of these limbs if it is the right one; returns whether it is."""
        seed = shamir.limbs_seed(limbs)
        if seed is None or not accept(number, seed):
            return False
        self.seeds[number] = seed
        return True


def _nothing_rebuilt(seeds: int, rows: int) -> Rebuilt:
    return Rebuilt([None] * seeds, np.zeros((seeds, rows), np.bool_))


class Rebuilder:
    """Rebuilds seeds that have the same holders; the weights are computed once for all of them.

    Args:
        threshold: number of shares that rebuild a seed.
        holders: indices of the parties whose shares are available, at least `threshold`.

    Raises:
        ParameterError: fewer holders than the threshold.
    """

    def __init__(self, threshold: int, holders: Sequence[int]) -> None:
        count = len(holders)
        if count < threshold:
            raise ParameterError(
                f"{count} shares are fewer than the threshold of {threshold}", Code.ARGUMENT
            )
        self._threshold = threshold
        self._points = shamir.points_of(holders)
        self._weights = algebra.weights(self._points[:threshold])
        self._parity = algebra.parity(self._points, threshold) if count > threshold else None

    def rebuild(
        self,
        shares: Shares,
        accept: Accept,
        account: Account | None = None,
        missing: NDArray[np.bool_] | None = None,
    ) -> Rebuilt:
        """Rebuilds every seed, correcting up to floor((r - t) / 2) wrong shares of each.

        Args:
            shares: shape (r, 3 * seeds), rows in the order of `holders`.
            accept: called with the number of a seed and a candidate; returns whether it is that
                seed.
            account: pays for finding wrong shares, not for rebuilding without them. A seed is
                not rebuilt if too many of its shares are wrong, or all is spent. By default it is
                one for these seeds alone.
            missing: which shares are not there, shape (r, seeds), at most (r - t) / 2 of each
                seed; `shares` has anything in their place.

        Raises:
            ParameterError: `shares` does not have r rows, or not three columns per seed.
        """
        shares = np.ascontiguousarray(shares, np.uint64)
        rows = len(self._points)
        if shares.ndim != 2 or len(shares) != rows or shares.shape[1] % LIMBS:
            raise ParameterError(
                f"shares of {rows} holders need as many rows, and {LIMBS} columns "
                f"per seed, not shape {shares.shape}",
                Code.SHAPE,
            )
        limbs = algebra.combine(self._weights, shares[: self._threshold]).reshape(-1, LIMBS)
        rebuilt = _nothing_rebuilt(len(limbs), rows)
        parity = np.zeros_like(limbs)
        if self._parity is not None:
            parity = algebra.combine(self._parity, shares).reshape(-1, LIMBS)
        off = parity.any(axis=1)
        for number in np.flatnonzero(~off).tolist():
            rebuilt.keep(number, limbs[number].tolist(), accept)
        failing: list[int] = np.flatnonzero(off).tolist()
        if failing and self._parity is not None:
            if account is None:
                account = Account(allowance(honest_cost(rows, len(limbs)), BUDGET))
            correction: _LeavingOneOut | _Decoding
            if rows == self._threshold + 1:
                correction = _LeavingOneOut(
                    self._points,
                    self._weights,
                    self._parity,
                    limbs[failing],
                    parity[failing],
                    account,
                )
            else:
                table = _of(failing, shares.reshape(rows, -1, LIMBS))
                if missing is None:
                    missing = np.zeros((rows, len(limbs)), np.bool_)
                gaps = missing[:, failing]
                correction = _Decoding(self._threshold, self._points, table, gaps, account)
            found = correction.correct(lambda place, seed: accept(failing[place], seed))
            for number, seed in zip(failing, found.seeds, strict=True):
                rebuilt.seeds[number] = seed
            rebuilt.wrong[failing] = found.wrong
        return rebuilt


class _Decoding:
    """The correction of seeds that failed the parity check, with two or more redundant shares.

    Args:
        threshold, points: of the seeds.
        table: the shares, shape (r, seeds, 3).
        missing: which of them are not there, shape (r, seeds).
        account: pays.
    """

    def __init__(
        self,
        threshold: int,
        points: Elements,
        table: Shares,
        missing: NDArray[np.bool_],
        account: Account,
    ) -> None:
        rows, seeds, _ = table.shape
        self._threshold = threshold
        self._points = points
        self._table = table
        self._missing = missing
        # The most wrong shares of each seed that are corrected.
        self._most = (rows - missing.sum(axis=0) - threshold) // 2
        # One column per seed: a secret combination of its limbs, wrong where any of them is.
        limbs = np.ascontiguousarray(table.reshape(-1, LIMBS).T)
        self._mixed = algebra.combine(algebra.secret_elements(LIMBS), limbs).reshape(rows, seeds)
        self._found = _nothing_rebuilt(seeds, rows)
        self._account = account

    def correct(self, accept: Accept) -> Rebuilt:
        """Rebuilds the seeds, as `Rebuilder.rebuild`."""
        rows, seeds = self._mixed.shape
        pending = list(range(seeds))
        known = self._gaps(pending)
        if len(known):
            pending = self._leave_out(known, pending, accept)
        parts = [pending]
        while parts:
            part = parts.pop()
            left = set(pending).intersection(part)
            some = [seed for seed in part if seed in left]
            if 1 < len(some) <= _FEW_SEEDS and len(part) < seeds:
                parts.extend([seed] for seed in reversed(some))
                continue
            if not some or not self._account.pays(4 * rows * rows):
                continue
            wrong = self._wrong_rows(some)
            if wrong is not None:
                if len(some) == 1:
                    self._finish(some, wrong, np.ones((len(wrong), 1), np.bool_), accept)
                    pending.remove(some[0])
                else:
                    pending = self._leave_out(wrong, pending, accept)
                known = np.union1d(known, wrong)
                if len(some) == 1 or len(known) > len(wrong):
                    pending = self._leave_out(known, pending, accept)
            elif len(some) <= _FEW_SEEDS:
                parts.extend([seed] for seed in reversed(some) if len(some) > 1)
            else:
                half = len(some) // 2
                parts += [some[half:], some[:half]]
        return self._found

    def _gaps(self, seeds: list[int]) -> Rows:
        """Returns the rows that are missing for any of the seeds."""
        return np.flatnonzero(_of(seeds, self._missing).any(axis=1))

    def _wrong_rows(self, seeds: list[int]) -> Rows | None:
        """Finds the rows wrong or missing for any of the seeds; None if they are too many."""
        columns = np.ascontiguousarray(_of(seeds, self._mixed).T)
        word = columns[0]
        if len(seeds) > 1:
            word = algebra.combine(algebra.secret_elements(len(seeds)), columns)
        gaps = self._gaps(seeds)
        if not len(gaps):
            return algebra.decode(self._points, self._threshold, word)
        kept = np.delete(np.arange(len(self._points)), gaps)
        wrong = algebra.decode(self._points[kept], self._threshold, word[kept])
        return None if wrong is None else np.union1d(gaps, kept[wrong])

    def _leave_out(self, wrong: Rows, seeds: list[int], accept: Accept) -> list[int]:
        """Rebuilds those seeds that are right in all other rows; returns the seeds left.

        Left is also a seed with more wrong shares than are corrected: these rows need not be the
        wrong ones.
        """
        kept = np.delete(np.arange(len(self._points)), wrong)
        if not seeds or len(kept) <= self._threshold:
            return seeds
        if not self._account.pays(2 * len(kept) * len(kept) + len(kept) * len(seeds)):
            return seeds
        parity = algebra.parity(self._points[kept], self._threshold)
        off = algebra.combine(parity, _of(seeds, self._mixed, kept)).tolist()
        right = [seed for seed, value in zip(seeds, off, strict=True) if not value]
        bad = self._wrong_shares(kept[: self._threshold], wrong, right)
        bad &= ~_of(right, self._missing, wrong)
        done = bad.sum(axis=0) <= self._most[right]
        settled = [seed for seed, fine in zip(right, done.tolist(), strict=True) if fine]
        self._finish(settled, wrong, bad[:, done], accept)
        self._account.spend(len(wrong) * self._threshold * (len(right) - len(settled)))
        return sorted(set(seeds).difference(settled))

    def _wrong_shares(self, base: Rows, rows: Rows, seeds: list[int]) -> NDArray[np.bool_]:
        """Compares shares in some rows with the polynomials through the base; (rows, seeds)."""
        if not len(rows) or not seeds:
            return np.zeros((len(rows), len(seeds)), np.bool_)
        points = self._points[base]
        factors, scales = algebra.evaluations(points, algebra.weights(points), self._points[rows])
        given = algebra.multiply(scales[:, np.newaxis], _of(seeds, self._mixed, rows))
        wrong: NDArray[np.bool_] = algebra.combine(factors, _of(seeds, self._mixed, base)) != given
        return wrong

    def _finish(
        self, seeds: list[int], rows: Rows, wrong: NDArray[np.bool_], accept: Accept
    ) -> None:
        """Rebuilds seeds from all but these rows; `wrong`, (rows, seeds), are the wrong shares."""
        if not seeds:
            return
        base = np.delete(np.arange(len(self._points)), rows)[: self._threshold]
        shares = _of(seeds, self._table, base).reshape(len(base), -1)
        values = algebra.combine(algebra.weights(self._points[base]), shares)
        limbs = values.reshape(-1, LIMBS).tolist()
        for place, seed in enumerate(seeds):
            if self._found.keep(seed, limbs[place], accept):
                self._found.wrong[seed, rows] = wrong[:, place]


def _of(seeds: list[int], array: NDArray[Scalar], rows: Rows | None = None) -> NDArray[Scalar]:
    """Returns the columns of some seeds, in these rows or all; fast if they are all the seeds."""
    if len(seeds) == array.shape[1]:
        return array if rows is None else array[rows]
    return array[:, seeds] if rows is None else array[rows[:, np.newaxis], seeds]


class _LeavingOneOut:
    """The correction of one wrong share of each seed, with t + 1 shares.

    Adding a multiple of the parity check to the weights changes nothing if all shares are right,
    and one such multiple gives share i the weight zero.

    Args:
        points: all t + 1.
        weights: of the first t points.
        parity: of all t + 1.
        limbs, off: what they give for the shares of each seed, shape (seeds, 3).
        account: pays.
    """

    def __init__(
        self,
        points: Elements,
        weights: Elements,
        parity: Elements,
        limbs: Elements,
        off: Elements,
        account: Account,
    ) -> None:
        self._points = points
        self._factors = algebra.multiply(np.append(weights, np.uint64(0)), algebra.inverses(parity))
        self._limbs = limbs
        self._off = off
        self._account = account

    def correct(self, accept: Accept) -> Rebuilt:
        """Rebuilds the seeds, as `Rebuilder.rebuild`."""
        found = _nothing_rebuilt(len(self._limbs), len(self._factors))
        for number in range(len(self._limbs)):
            # The row that was wrong before is left out first.
            last = np.flatnonzero(self._points == np.uint64(self._account.suspect)).tolist()
            row = self._first(number, last, found, accept)
            if row is None and self._account.pays(_SEARCH_COST * len(self._factors)):
                row = self._first(number, self._candidates(number), found, accept)
            if row is not None:
                found.wrong[number, row] = True
                self._account.suspect = int(self._points[row])
        return found

    def _first(self, number: int, rows: list[int], found: Rebuilt, accept: Accept) -> int | None:
        """Returns the first of these rows without which the seed is the right one, and keeps it."""
        tried = (row for row in rows if found.keep(number, self._without(number, row), accept))
        return next(tried, None)

    def _candidates(self, number: int) -> list[int]:
        """Returns the rows without which the limbs fit a seed.

        With junk these are few. Who chooses an error of one limb well can make them many.
        """
        changes = algebra.multiply(self._factors[:, np.newaxis], self._off[number])
        limbs = (self._limbs[number] + (algebra.P - changes)) % algebra.P
        rows: list[int] = np.flatnonzero((limbs >> _LIMB_BITS == 0).all(axis=1)).tolist()
        return rows

    def _without(self, number: int, row: int) -> list[int]:
        """Computes the limbs that the shares without this row give."""
        factor = int(self._factors[row])
        pairs = zip(self._limbs[number].tolist(), self._off[number].tolist(), strict=True)
        return [(limb - factor * off) % algebra.P for limb, off in pairs]
