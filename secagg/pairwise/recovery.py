"""From the answers of the survivors to the masks that the server takes off, as jobs.

First the seeds: self seeds of the survivors, mask seeds of those who shared keys and vanished.
Then, for each vanished party, the keys that it shares with the survivors (`AgreeJob`), and last the
masks themselves, cut by list of keys and range of the vector (`ExpandJob`). Jobs are picklable
and pure; they hold mask keys, so whoever runs them is trusted like the server.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from .._binding import Vector
from ..errors import RangeError
from ..field import KEY_BYTES, Field
from ..params import Params
from ..primitives import agreement, shamir
from . import keys
from .messages import PublicKeys, Unmask

# A piece of about this many mask elements takes some milliseconds.
PIECE_ELEMENTS: Final = 2**24
PIECE_KEYS: Final = 256


class RecoveryError(Exception):
    """The seeds cannot be rebuilt from these answers; `disputes` as in `Failed`."""

    def __init__(self, reason: str, dealer: int, holders: Sequence[int]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.disputes = tuple((dealer, holder) for holder in holders)


@dataclass(frozen=True, slots=True)
class SignedKeys:
    """Mask keys and the signs with which their masks stand in the sum."""

    keys: tuple[bytes, ...] = field(repr=False)
    signs: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class AgreeJob:
    """The pairwise keys between one vanished party and all survivors."""

    party: int
    mask_secret: bytes = field(repr=False)
    h1: bytes
    survivors: tuple[int, ...]
    roster: Mapping[int, PublicKeys] = field(repr=False)

    def run(self) -> SignedKeys:
        """A key a survivor, with the sign that the survivor used."""
        return SignedKeys(
            tuple(
                keys.pairwise_key(self.mask_secret, self.h1, self.party, peer, self.roster)
                for peer in self.survivors
            ),
            self._signs(),
        )

    def check(self, value: object) -> None:
        """RangeError unless `run` could have given this value."""
        if (
            not isinstance(value, SignedKeys)
            or value.signs != self._signs()
            or len(value.keys) != len(self.survivors)
            or any(not isinstance(key, bytes) or len(key) != KEY_BYTES for key in value.keys)
        ):
            raise RangeError("an AgreeJob gives a key and a sign for each survivor")

    def _signs(self) -> tuple[int, ...]:
        return tuple(keys.pairwise_sign(peer, self.party) for peer in self.survivors)


@dataclass(frozen=True, slots=True, eq=False)
class ExpandJob:
    """The sum of some masks over one range of the vector, to be taken from the masked sum."""

    masks: SignedKeys
    bits: int
    suite: int
    start: int
    length: int

    def run(self) -> Vector:
        """The signed sum of the masks, elements start .. start + length - 1."""
        whole = Field(self.bits)
        return whole.accumulate(
            whole.zeros(self.length), self.masks.keys, self.masks.signs, self.suite, self.start
        )


def cut(masks: SignedKeys, params: Params) -> Iterator[ExpandJob]:
    """The expansion of many masks as jobs of bounded size."""
    span = max(PIECE_ELEMENTS // min(PIECE_KEYS, len(masks.keys)), 1024)
    for first in range(0, len(masks.keys), PIECE_KEYS):
        some = SignedKeys(
            masks.keys[first : first + PIECE_KEYS], masks.signs[first : first + PIECE_KEYS]
        )
        for start in range(0, params.vector_length, span):
            length = min(span, params.vector_length - start)
            yield ExpandJob(some, params.field_bits, params.suite, start, length)


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
