"""Rebuilds the seeds of a round, and checks each against what its dealer committed to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..params.params import Params
from ..primitives import agreement
from ..sharing import recovery
from . import derivation
from .graph import Graph
from .messages import PublicKeys, Unmask


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
    alive = set(survivors)
    seeds, disputes = recovery.rebuild(
        params.threshold,
        sorted(commitments),
        answers,
        lambda dealer: graph.holders(dealer, answers),
        _acceptance(alive, roster, commitments, h0, h1),
    )
    return Seeds(
        {dealer: seed for dealer, seed in seeds.items() if dealer in alive},
        {dealer: seed for dealer, seed in seeds.items() if dealer not in alive},
        disputes,
    )


def _acceptance(
    alive: set[int],
    roster: Mapping[int, PublicKeys],
    commitments: Mapping[int, bytes],
    h0: bytes,
    h1: bytes,
) -> Callable[[int, bytes], bool]:
    """Returns the test whether a candidate is the seed that a dealer committed to."""

    def accept(dealer: int, seed: bytes) -> bool:
        if dealer in alive:
            return derivation.commitment(seed, h1, dealer) == commitments[dealer]
        secret = derivation.mask_key(seed, h0, dealer)
        return agreement.public_key(secret) == roster[dealer].mask

    return accept
