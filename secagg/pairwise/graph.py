"""The neighbour graph of a round: two parties share a mask if they are neighbours.

On the complete graph all parties are neighbours (Bonawitz et al., CCS 2017). On a sparse graph
(SecAgg+; Bell et al., CCS 2020) the neighbours of a party are the nearest on a ring in random
order; `params/sparse.py` computes how many are enough.
"""

from collections.abc import Collection, Iterable
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
        """Returns the parties of `among` that share a mask with `party`, ascending, without it."""

    def count_neighbours(self, party: int, among: Collection[int]) -> int:
        """Returns how many `neighbours` would return; on the complete graph in constant time."""

    def holders(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """Returns the parties of `among` that hold shares of the party's seeds, ascending.

        These are its neighbours and itself.
        """

    def connected(self, members: PartySet) -> bool:
        """Returns whether each part of the members shares a mask with the rest of them."""


class Complete:
    """The complete graph: all parties are neighbours."""

    def neighbours(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """Returns all of `among` except the party."""
        return tuple(peer for peer in among if peer != party)

    def count_neighbours(self, party: int, among: Collection[int]) -> int:
        """Returns the number of all of `among` except the party."""
        return len(among) - (party in among)

    def holders(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """Returns all of `among`."""
        return tuple(among)

    def connected(self, members: PartySet) -> bool:
        """Returns True."""
        return True


class Harary:
    """A ring in random order, on which the nearest degree / 2 on either side are neighbours.

    All parties compute the same graph from a public seed.

    Args:
        cohort: number of parties, above the degree.
        degree: number of neighbours of each party, even.
        generator: expands the seed; that of a suite is `Suite.generator`.
        seed: 32 public bytes; nobody who knows which parties are corrupt may choose them.
    """

    def __init__(self, cohort: int, degree: int, generator: Generator, seed: bytes) -> None:
        words = np.frombuffer(prg.stream(generator, seed, 8 * cohort), "<u8")
        self._reach: Final = degree // 2
        self._ring: Final[NDArray[np.intp]] = np.argsort(words, kind="stable")
        self._place: Final[NDArray[np.intp]] = np.empty_like(self._ring)
        self._place[self._ring] = np.arange(cohort)

    def neighbours(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """Returns the neighbours that are in `among`, ascending; `in among` should be fast."""
        return tuple(peer for peer in self._neighbourhood(party) if peer != party and peer in among)

    def count_neighbours(self, party: int, among: Collection[int]) -> int:
        """Returns how many `neighbours` returns, of which there are few."""
        return len(self.neighbours(party, among))

    def holders(self, party: int, among: Iterable[int]) -> tuple[int, ...]:
        """Returns the neighbours and the party itself, those that are in `among`, ascending."""
        return tuple(peer for peer in self._neighbourhood(party) if peer in among)

    def _neighbourhood(self, party: int) -> list[int]:
        around = np.arange(-self._reach, self._reach + 1) + self._place[party]
        near: list[int] = np.sort(self._ring[around % len(self._ring)]).tolist()
        return near

    def connected(self, members: PartySet) -> bool:
        """Returns whether fewer than two gaps on the ring have at least degree / 2 missing parties.

        One such gap leaves the rest of the ring in one piece; two cut it in two.
        """
        octets = np.frombuffer(members.octets, np.uint8)
        there = np.unpackbits(octets, count=len(self._ring), bitorder="little")
        places = np.flatnonzero(there[self._ring])
        gaps = np.diff(places, append=places[:1] + len(self._ring))
        return int((gaps > self._reach).sum()) < 2


def graph_of(params: Params, h0: bytes) -> Graph:
    """Returns the graph of a round; all parties of the cohort compute the same one from h0."""
    if not params.degree:
        return Complete()
    seed = hash_parts(Label.GRAPH, h0)
    return _harary(params.cohort, params.degree, params.suite.generator, seed)


_harary: Final = lru_cache(maxsize=1)(Harary)  # all parties of one process share it
