"""Neighbour graphs: who is whose neighbour, and which sets of parties hang together."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import FixedPoint, Params, Suite
from secagg.machine.wire import PartySet
from secagg.pairwise.graph import Complete, Harary, graph_of

SEED = bytes(range(32))


def harary(n: int, degree: int, seed: bytes = SEED) -> Harary:
    """A graph."""
    return Harary(n, degree, Suite.AES256CTR.generator, seed)


@pytest.mark.parametrize("n", [4, 5, 9, 100, 101])
def test_a_harary_graph(n: int) -> None:
    """Everybody has so many neighbours, nobody is its own, and being neighbours is mutual."""
    for degree in {2, (n - 2) // 2 * 2}:
        graph = harary(n, degree)
        lists = [graph.neighbours(party, range(n)) for party in range(n)]
        for party, others in enumerate(lists):
            assert len(set(others)) == degree
            assert party not in others
            assert list(others) == sorted(others)
            assert all(party in lists[other] for other in others)
            assert graph.holders(party, range(n)) == tuple(sorted((*others, party)))
        assert harary(n, degree).neighbours(0, range(n)) == lists[0], "the same for everybody"


def test_neighbours_among_some() -> None:
    """Only those that are asked for, and the party among its holders only if it is."""
    for graph in (harary(9, 4), Complete()):
        whole = graph.neighbours(3, range(9))
        some = [party for party in range(9) if party != whole[1]]
        assert graph.neighbours(3, some) == tuple(one for one in whole if one != whole[1])
        assert graph.holders(3, some) == tuple(sorted((*graph.neighbours(3, some), 3)))
        for among in (some, [one for one in some if one != 3]):
            assert graph.count_neighbours(3, among) == len(graph.neighbours(3, among))
        assert graph.holders(3, [one for one in some if one != 3]) == graph.neighbours(3, some)


def reached(graph: Harary, left: set[int]) -> set[int]:
    """Returns those that can be reached from one of them, by following neighbours."""
    found = {min(left)}
    while more := {q for p in found for q in graph.neighbours(p, left)} - found:
        found |= more
    return found


@given(st.integers(0, 2**9 - 1), st.sampled_from([2, 4, 6]))
def test_connected_is_what_following_neighbours_finds(mask: int, degree: int) -> None:
    """Any set of nine parties, three degrees."""
    graph = harary(9, degree)
    left = {party for party in range(9) if mask >> party & 1}
    assert graph.connected(PartySet.of(left, 9)) == (not left or reached(graph, left) == left)


def test_no_cut_below_the_degree() -> None:
    """Whichever degree - 1 parties vanish, the rest is connected: all choices of nine. Two more
    can cut it.
    """
    graph = harary(9, 4)
    sets = [
        [set(range(9)).difference(gone) for gone in itertools.combinations(range(9), count)]
        for count in (3, 4)
    ]
    assert all(graph.connected(PartySet.of(left, 9)) for left in sets[0])
    assert not all(graph.connected(PartySet.of(left, 9)) for left in sets[1])


def test_seeds_give_random_orders() -> None:
    """Of 2,000 seeds each pair of ten is neighbours about as often, give or take 5 sigma."""
    counts = np.zeros((10, 10))
    for number in range(2000):
        graph = harary(10, 2, number.to_bytes(32, "little"))
        for party in range(10):
            counts[party, list(graph.neighbours(party, range(10)))] += 1
    off = counts[~np.eye(10, dtype=bool)]
    mean = 2000 * 2 / 9
    assert np.abs(off - mean).max() < 5 * math.sqrt(mean * 7 / 9)


def test_the_graph_of_a_round() -> None:
    """Drawn from h0 and the suite: another session has other neighbours."""
    params = Params.for_cohort(200, 1, FixedPoint(clip=1.0), corrupt=0.05, dropout=0.05)
    one, other = (graph_of(params, bytes([n]) * 32) for n in (1, 2))
    assert one.neighbours(0, range(200)) != other.neighbours(0, range(200))
    assert len(one.neighbours(0, range(200))) == params.degree
    assert isinstance(graph_of(Params(5, 1, FixedPoint(clip=1.0)), bytes(32)), Complete)
