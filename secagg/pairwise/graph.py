"""Who shares masks with whom: the neighbour graph of a round, as data.

On the complete graph everybody is everybody's neighbour (Bonawitz et al., CCS 2017). On a sparse
one (SecAgg+; Bell et al., CCS 2020) each party has a few, the next on a ring in random order; how
few are enough, `params/sparse.py` says.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.generators import Generator
from ..machine.wire import PartySet
from ..params.params import Params
from ..primitives import prg
from ..primitives.labels import Label, hash_parts


class Graph(Protocol):
    """The neighbours of every party."""

    def neighbours(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """Those of these parties with whom `party` shares masks, ascending; never itself."""

    def holders(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """Those of these parties who hold shares of the party's seeds, ascending: its neighbours
        and itself.
        """

    def connected(self, members: PartySet) -> bool:
        """Whether no group of these parties shares no mask with the rest of them."""


class Complete:
    """The graph in which everybody is everybody's neighbour."""

    def neighbours(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """All of them but the party."""
        return tuple(peer for peer in among if peer != party)

    def holders(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """All of them."""
        return tuple(among)

    def connected(self, members: PartySet) -> bool:
        """Always."""
        return True


class Harary:
    """A ring in random order, on which the degree / 2 next on either side are neighbours.

    Everybody computes the same graph from a public seed.

    Args:
        cohort: parties n, above the degree.
        degree: even.
        generator: what expands the seed; a suite's is `Suite.generator`.
        seed: 32 public bytes that nobody chooses knowing who is corrupt.
    """

    def __init__(self, cohort: int, degree: int, generator: Generator, seed: bytes) -> None:
        words = np.frombuffer(prg.stream(generator, seed, 8 * cohort), "<u8")
        self._reach: Final = degree // 2
        self._ring: Final[NDArray[np.intp]] = np.argsort(words, kind="stable")
        self._place: Final[NDArray[np.intp]] = np.empty_like(self._ring)
        self._place[self._ring] = np.arange(cohort)

    def neighbours(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """The neighbours among these, ascending; `among` should be quick at `in`."""
        return tuple(peer for peer in self._near(party) if peer != party and peer in among)

    def holders(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """The neighbours among these and the party, if it is one of them."""
        return tuple(peer for peer in self._near(party) if peer in among)

    def _near(self, party: int) -> list[int]:
        around = np.arange(-self._reach, self._reach + 1) + self._place[party]
        near: list[int] = np.sort(self._ring[around % len(self._ring)]).tolist()
        return near

    def connected(self, members: PartySet) -> bool:
        """Two gaps of half a degree each on the ring cut it in two; one is its end only."""
        octets = np.frombuffer(members.octets, np.uint8)
        there = np.unpackbits(octets, count=len(self._ring), bitorder="little")
        places = np.flatnonzero(there[self._ring])
        gaps = np.diff(places, append=places[:1] + len(self._ring))
        return int((gaps > self._reach).sum()) < 2


def graph_of(params: Params, h0: bytes) -> Graph:
    """The graph of a round: all parties of the cohort compute the same from h0."""
    if not params.degree:
        return Complete()
    seed = hash_parts(Label.GRAPH, h0)
    return _harary(params.cohort, params.degree, params.suite.generator, seed)


_harary: Final = lru_cache(maxsize=1)(Harary)  # all parties of one process share it
