"""Rebuilds the seeds of a round, and checks each against what its dealer committed to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..events import Job
from ..params.params import Params
from ..primitives import agreement
from ..sharing import recovery
from . import derivation
from .graph import Graph
from .messages import PublicKeys, Unmask

# In multiplications in the field, of about 1 ns.
_HASH_COST: Final = 2**11
_X25519_COST: Final = 2**15


@dataclass(frozen=True, slots=True)
class SeedCheck:
    """The commitments of dealers to their seeds, which the server has before it rebuilds any.

    Attributes:
        h0, h1: of the round.
        commitments: to the self seeds of survivors, by party.
        public: mask public keys of the parties that vanished, by party.
    """

    h0: bytes
    h1: bytes
    commitments: Mapping[int, bytes]
    public: Mapping[int, bytes]

    def accept(self, dealer: int, seed: bytes) -> bool:
        """Returns whether this is the seed that the dealer committed to."""
        if dealer in self.commitments:
            return derivation.commitment(seed, self.h1, dealer) == self.commitments[dealer]
        secret = derivation.mask_key(seed, self.h0, dealer)
        return agreement.public_key(secret) == self.public[dealer]

    def cost(self, dealer: int) -> int:
        """Returns what `accept` takes, in multiplications in the field: a hash, or X25519."""
        return _HASH_COST if dealer in self.commitments else _X25519_COST


def rebuild_seeds(
    params: Params,
    graph: Graph,
    roster: Mapping[int, PublicKeys],
    commitments: Mapping[int, bytes],
    h0: bytes,
    h1: bytes,
    survivors: Sequence[int],
    answers: Mapping[int, Unmask],
) -> list[Job]:
    """Returns the jobs that rebuild and check the seed of every dealer.

    Args:
        commitments: of every member of U2, by party.
        survivors: U3.
        answers: the unmask message of each member of U3 that sent one.

    Raises:
        RecoveryError: a dealer has too few shares.
    """
    alive = set(survivors)

    def check_of(dealers: Sequence[int]) -> SeedCheck:
        return SeedCheck(
            h0,
            h1,
            {dealer: commitments[dealer] for dealer in dealers if dealer in alive},
            {dealer: roster[dealer].mask for dealer in dealers if dealer not in alive},
        )

    return recovery.cut_recovery(
        params.threshold,
        sorted(commitments),
        answers,
        lambda dealer: graph.holders(dealer, answers),
        check_of,
        not params.degree,
    )
