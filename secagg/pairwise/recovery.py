"""From the answers of the survivors to the seeds: rebuilt, corrected, and held against what their
dealers committed to.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..params import Params
from ..primitives import agreement, shamir
from . import keys
from .messages import PublicKeys, Unmask


class RecoveryError(Exception):
    """The seeds cannot be rebuilt from these answers; `disputes` as in `Failed`."""

    def __init__(self, reason: str, dealer: int, holders: Sequence[int]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.disputes = tuple((dealer, holder) for holder in holders)


@dataclass(frozen=True, slots=True)
class Seeds:
    """Rebuilt seeds by party, and the (dealer, holder) pairs whose share did not fit."""

    selves: dict[int, bytes] = field(repr=False)
    masks: dict[int, bytes] = field(repr=False)
    disputes: tuple[tuple[int, int], ...]


def rebuild_seeds(
    params: Params,
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
    holders, dealers = sorted(answers), sorted(commitments)
    column = {dealer: number for number, dealer in enumerate(dealers)}
    present = np.zeros((len(holders), len(dealers)), np.bool_)
    table = np.zeros((len(holders), len(dealers), shamir.LIMBS), np.uint64)
    for row, holder in enumerate(holders):
        columns = [column[dealer] for dealer in answers[holder].dealers]
        present[row, columns] = True
        table[row, columns] = answers[holder].shares
    # Almost always all dealers have the same holders: group them, and share the weights.
    groups: dict[bytes, list[int]] = defaultdict(list)
    for number, dealer in enumerate(dealers):
        count = int(present[:, number].sum())
        if count < params.threshold:
            raise RecoveryError(
                f"{count} shares of party {dealer}'s seed are left, {params.threshold} are needed",
                dealer,
                [holder for row, holder in enumerate(holders) if not present[row, number]],
            )
        groups[present[:, number].tobytes()].append(dealer)

    alive = set(survivors)
    seeds = Seeds({}, {}, ())
    disputes: list[tuple[int, int]] = []
    for group in groups.values():
        rows = np.flatnonzero(present[:, column[group[0]]])
        columns = [column[dealer] for dealer in group]
        shares = table[rows][:, columns].reshape(len(rows), -1)
        some = [holders[row] for row in rows]
        accept = _acceptance(group, alive, roster, commitments, h0, h1)
        rebuilt = shamir.Rebuilder(params.threshold, some).rebuild(shares, accept)
        for dealer, found in zip(group, rebuilt, strict=True):
            if found is None:
                raise RecoveryError(
                    f"the shares of party {dealer}'s seed do not fit together", dealer, some
                )
            (seeds.selves if dealer in alive else seeds.masks)[dealer] = found.seed
            disputes += [(dealer, some[row]) for row in found.wrong]
    return Seeds(seeds.selves, seeds.masks, tuple(sorted(disputes)))


def _acceptance(
    dealers: Sequence[int],
    alive: set[int],
    roster: Mapping[int, PublicKeys],
    commitments: Mapping[int, bytes],
    h0: bytes,
    h1: bytes,
) -> Callable[[int, bytes], bool]:
    """The test that a candidate is the seed that the dealer committed to."""

    def accept(number: int, seed: bytes) -> bool:
        dealer = dealers[number]
        if dealer in alive:
            return keys.commitment(seed, h1, dealer) == commitments[dealer]
        secret = keys.mask_key(seed, h0, dealer)
        return agreement.public_key(secret) == roster[dealer].mask

    return accept
