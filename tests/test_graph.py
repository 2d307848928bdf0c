"""Neighbour graphs: published parameters, and what the parameters promise."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import ParameterError
from secagg.graph import Harary, Sparse, _least, _most, _probability, sparse

SEED = bytes(range(32))

# n, corrupt, dropout -> degree, threshold, for 2^-40 and 2^-20: figures of a published
# implementation; its thresholds are upper bounds.
PUBLISHED = [
    (100, 0.45, 0.45, 92, 46),
    (10_000, 0.33, 0.33, 422, 221),
    (10, 0.33, 0.33, 8, 4),
    (1000, 0.05, 0.33, 72, 24),
    (1000, 0.33, 0.05, 78, 60),
    (1000, 0.05, 0.05, 30, 17),
    (1000, 0.33, 0.0, 38, 36),
    (100, 0.05, 0.05, 12, 6),
]


@pytest.mark.parametrize(("n", "corrupt", "dropout", "degree", "threshold"), PUBLISHED)
def test_published_parameters(
    n: int, corrupt: float, dropout: float, degree: int, threshold: int
) -> None:
    """The degree exactly, the threshold no higher."""
    found = sparse(n, corrupt, dropout)
    assert found is not None
    assert found.degree == degree
    assert 2 <= found.threshold <= threshold


def test_the_complete_graph_where_nothing_less_will_do() -> None:
    """Few parties of which many may be lost; and, for many, a degree that is nearly complete."""
    assert sparse(3, 0.3, 0.3) is None
    assert sparse(6, 0.4, 0.4) is None
    assert sparse(20, 0.45, 0.45) is None
    assert sparse(100, 0.48, 0.48) == Sparse(98, 49)


@given(st.integers(3, 60), st.data())
def test_the_tails_are_hypergeometric(n: int, data: st.DataObject) -> None:
    """Against counting with integers."""
    marked, drawn = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    limit = data.draw(st.sampled_from([0.3, 1e-3, 1e-9, 2.0**-40]))
    counts = [math.comb(marked, k) * math.comb(n - marked, drawn - k) for k in range(drawn + 1)]
    whole = math.comb(n, drawn)
    for k, count in enumerate(counts):
        assert _probability(n, marked, drawn, k) == pytest.approx(
            count / whole, rel=1e-9, abs=1e-300
        )
    most = _most(n, marked, drawn, limit)
    assert sum(counts[most + 1 :]) <= limit * whole * (1 + 1e-9)
    assert most == 0 or sum(counts[most:]) > limit * whole * (1 - 1e-9)
    least = _least(n, marked, drawn, limit)
    assert sum(counts[:least]) <= limit * whole * (1 + 1e-9)
    assert least == drawn or sum(counts[: least + 1]) > limit * whole * (1 - 1e-9)


@pytest.mark.parametrize(("n", "degree"), [(3, 2), (4, 2), (5, 4), (9, 4), (100, 12), (101, 100)])
def test_a_harary_graph(n: int, degree: int) -> None:
    """Everybody has so many neighbours, nobody is its own, and being neighbours is mutual."""
    graph = Harary(n, degree, SEED)
    lists = [graph.neighbours(party) for party in range(n)]
    for party, others in enumerate(lists):
        assert len(set(others)) == degree
        assert party not in others
        assert list(others) == sorted(others)
        assert all(party in lists[other] for other in others)
    assert Harary(n, degree, SEED).neighbours(0) == lists[0], "the same for everybody"


def test_no_cut_below_the_degree() -> None:
    """A Harary graph stays connected whichever degree - 1 parties vanish: all choices of nine."""
    graph = Harary(9, 4, SEED)
    for gone in itertools.combinations(range(9), 3):
        left = set(range(9)) - set(gone)
        reached = {min(left)}
        while more := {q for p in reached for q in graph.neighbours(p)} & left - reached:
            reached |= more
        assert reached == left


def test_seeds_give_random_orders() -> None:
    """Of 2,000 seeds each pair of ten is neighbours about as often, give or take 5 sigma."""
    counts = np.zeros((10, 10))
    for number in range(2000):
        graph = Harary(10, 2, number.to_bytes(32, "little"))
        for party in range(10):
            counts[party, list(graph.neighbours(party))] += 1
    off = counts[~np.eye(10, dtype=bool)]
    mean = 2000 * 2 / 9
    assert np.abs(off - mean).max() < 5 * math.sqrt(mean * 7 / 9)


def test_promised_fractions_hold_in_simulation() -> None:
    """At weak settings, where failures would show: fewer of them than stated."""
    n, corrupt, dropout = 60, 0.2, 0.2
    found = sparse(n, corrupt, dropout, security=6, failure=6)
    assert isinstance(found, Sparse)
    rng = np.random.default_rng(1)
    learned = failed = 0
    rounds = 2000
    for number in range(rounds):
        graph = Harary(n, found.degree, number.to_bytes(32, "big"))
        bad = set(rng.choice(n, math.floor(corrupt * n), replace=False).tolist())
        gone = set(rng.choice(n, math.floor(dropout * n), replace=False).tolist())
        rows = [set(graph.neighbours(party)) for party in range(n)]
        learned += any(len(row & bad) >= found.threshold for row in rows)
        failed += any(len(row - gone) < found.threshold for row in rows)
    assert learned / rounds < 2**-6
    assert failed / rounds < 2**-6


@pytest.mark.parametrize(
    "given_",
    [(2, 0.1, 0.1), (2**16 + 1, 0.1, 0.1), (10, 1.0, 0.0), (10, -0.1, 0.0), (10, 0.5, 0.5)],
)
def test_impossible_fractions(given_: tuple[int, float, float]) -> None:
    """Refused by name."""
    with pytest.raises(ParameterError):
        sparse(*given_)


@pytest.mark.parametrize(
    "given_",
    [(2, 2, SEED), (10, 3, SEED), (10, 0, SEED), (10, 10, SEED), (10, 2, b""), (10, 2, "s" * 32)],
)
def test_impossible_graphs(given_: tuple[int, int, bytes]) -> None:
    """Refused by name."""
    with pytest.raises(ParameterError):
        Harary(*given_)
