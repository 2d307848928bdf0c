"""Rebuilds the seeds of many dealers from the shares of many holders, of which some are wrong."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import Protocol

import numpy as np

from ..codes import Code
from ..events import Failed
from . import shamir


class Dealers(Sized, Iterable[int], Protocol):
    """Indices of dealers, ascending."""


class Answer(Protocol):
    """The shares that one holder gave.

    Attributes:
        dealers: whose shares they are, ascending.
        shares: one row per dealer, shape (dealers, 3).
    """

    @property
    def dealers(self) -> Dealers: ...

    @property
    def shares(self) -> shamir.Shares: ...


class RecoveryError(Exception):
    """A seed cannot be rebuilt from these answers; the round ends with the event `failed`."""

    def __init__(self, reason: str, code: Code, dealer: int, holders: Sequence[int]) -> None:
        super().__init__(reason)
        self.failed = Failed(reason, code, tuple((dealer, holder) for holder in holders))


def rebuild(
    threshold: int,
    dealers: Iterable[int],
    answers: Mapping[int, Answer],
    holders_of: Callable[[int], Iterable[int]],
    accept: Callable[[int, bytes], bool],
) -> tuple[dict[int, bytes], tuple[tuple[int, int], ...]]:
    """Rebuilds the seed of every dealer, and corrects wrong shares.

    Args:
        threshold: shares that rebuild a seed.
        dealers: whose seeds are needed, ascending.
        answers: what each holder gave, by holder; one or more.
        holders_of: gives the holders that answered and should have a share of a dealer's seed.
        accept: tells whether a candidate is the seed that a dealer committed to.

    Returns:
        The seeds by dealer, and the (dealer, holder) pairs whose share was wrong, ascending.

    Raises:
        RecoveryError: a dealer has too few shares, or too many wrong ones.
    """
    holders, shares = _by_dealer(answers)
    # Weights are computed once per group: on the complete graph most dealers have equal holders.
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for dealer in dealers:
        some = holders.get(dealer, ())
        if len(some) < threshold:
            raise RecoveryError(
                f"{len(some)} shares of party {dealer}'s seed are left, {threshold} are needed",
                Code.SHARES,
                dealer,
                sorted(set(holders_of(dealer)).difference(some)),
            )
        groups[some].append(dealer)

    seeds: dict[int, bytes] = {}
    disputes: list[tuple[int, int]] = []
    for some, group in groups.items():
        table = np.stack([shares[dealer] for dealer in group], axis=1)
        rebuilt = shamir.Rebuilder(threshold, some).rebuild(
            table.reshape(len(some), -1),
            lambda number, seed, group=group: accept(group[number], seed),  # type: ignore[misc]
        )
        for dealer, found in zip(group, rebuilt, strict=True):
            if found is None:
                raise RecoveryError(
                    f"too many shares of party {dealer}'s seed are wrong: it cannot be rebuilt",
                    Code.COMMITMENT,
                    dealer,
                    some,
                )
            seeds[dealer] = found.seed
            disputes += [(dealer, some[row]) for row in found.wrong]
    return seeds, tuple(sorted(disputes))


def _by_dealer(
    answers: Mapping[int, Answer],
) -> tuple[dict[int, tuple[int, ...]], dict[int, shamir.Shares]]:
    """Groups shares by dealer; returns the holders that answered, ascending, and their shares."""
    holder = np.repeat(sorted(answers), [len(answers[each].dealers) for each in sorted(answers)])
    dealer = np.array([each for one in sorted(answers) for each in answers[one].dealers], np.intp)
    shares = np.concatenate([answers[each].shares for each in sorted(answers)])
    order = np.argsort(dealer, kind="stable")
    dealers, first = np.unique(dealer[order], return_index=True)
    pieces = [np.split(array[order], first)[1:] for array in (holder, shares)]
    names = dealers.tolist()
    return (
        {name: tuple(some.tolist()) for name, some in zip(names, pieces[0], strict=True)},
        dict(zip(names, pieces[1], strict=True)),
    )
