"""Rebuilds seeds from the answers of the survivors, corrects wrong shares, and checks the seeds
against the commitments of their dealers.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..codes import Code
from ..events import Failed
from ..params.params import Params
from ..primitives import agreement
from ..sharing import shamir
from . import derivation
from .graph import Graph
from .messages import PublicKeys, Unmask


class RecoveryError(Exception):
    """A seed cannot be rebuilt from these answers; the round ends with the event `failed`."""

    def __init__(self, reason: str, code: Code, dealer: int, holders: Sequence[int]) -> None:
        super().__init__(reason)
        self.failed = Failed(reason, code, tuple((dealer, holder) for holder in holders))


@dataclass(frozen=True, slots=True)
class Seeds:
    """Rebuilt seeds by party, and the (dealer, holder) pairs whose share was wrong."""

    self_seeds: dict[int, bytes] = field(repr=False)
    mask_seeds: dict[int, bytes] = field(repr=False)
    disputes: tuple[tuple[int, int], ...]


def rebuild_seeds(
    params: Params,
    graph: Graph,
    roster: Mapping[int, PublicKeys],
    commitments: Mapping[int, bytes],
    h0: bytes,
    h1: bytes,
    survivors: Sequence[int],
    answers: Mapping[int, Unmask],
) -> Seeds:
    """Rebuilds and checks the seed of every dealer.

    Args:
        commitments: of every member of U2, by party.
        survivors: U3.
        answers: the unmask message of each member of U3 that sent one.

    Raises:
        RecoveryError: a dealer has too few shares, or too many wrong ones.
    """
    holders, shares = _by_dealer(answers)
    # Weights are computed once per group: on the complete graph most dealers have equal holders.
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for dealer in sorted(commitments):
        some = holders.get(dealer, ())
        if len(some) < params.threshold:
            raise RecoveryError(
                f"{len(some)} shares of party {dealer}'s seed are left, {params.threshold} are "
                "needed",
                Code.SHARES,
                dealer,
                sorted(set(graph.holders(dealer, answers)).difference(some)),
            )
        groups[some].append(dealer)

    alive = set(survivors)
    seeds = Seeds({}, {}, ())
    disputes: list[tuple[int, int]] = []
    for some, group in groups.items():
        table = np.stack([shares[dealer] for dealer in group], axis=1)
        accept = _acceptance(group, alive, roster, commitments, h0, h1)
        rebuilt = shamir.Rebuilder(params.threshold, some).rebuild(
            table.reshape(len(some), -1), accept
        )
        for dealer, found in zip(group, rebuilt, strict=True):
            if found is None:
                raise RecoveryError(
                    f"too many shares of party {dealer}'s seed are wrong: it cannot be rebuilt",
                    Code.COMMITMENT,
                    dealer,
                    some,
                )
            (seeds.self_seeds if dealer in alive else seeds.mask_seeds)[dealer] = found.seed
            disputes += [(dealer, some[row]) for row in found.wrong]
    return Seeds(seeds.self_seeds, seeds.mask_seeds, tuple(sorted(disputes)))


def _by_dealer(
    answers: Mapping[int, Unmask],
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


def _acceptance(
    dealers: Sequence[int],
    alive: set[int],
    roster: Mapping[int, PublicKeys],
    commitments: Mapping[int, bytes],
    h0: bytes,
    h1: bytes,
) -> Callable[[int, bytes], bool]:
    """Returns the test whether a candidate is the seed that the dealer committed to."""

    def accept(number: int, seed: bytes) -> bool:
        dealer = dealers[number]
        if dealer in alive:
            return derivation.commitment(seed, h1, dealer) == commitments[dealer]
        secret = derivation.mask_key(seed, h0, dealer)
        return agreement.public_key(secret) == roster[dealer].mask

    return accept
