"""How few neighbours are enough: published parameters, and what the parameters promise."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from secagg import Code, FixedPoint, Mode, ParameterError, Params, Suite
from secagg.machine.wire import PartySet
from secagg.pairwise.graph import Harary
from secagg.params import hypergeometric
from secagg.params.hypergeometric import lower_quantile, probability, upper_quantile
from secagg.params.sparse import Sparse, connected, safe_threshold, sparsest

# n, corrupt, dropout, semi-malicious server -> degree, threshold, for 2^-40 and 2^-20: figures of a
# published implementation; its thresholds are upper bounds.
PUBLISHED = [
    (100, 0.45, 0.45, False, 92, 46),
    (10_000, 0.33, 0.33, False, 422, 221),
    (10, 0.33, 0.33, False, 8, 4),
    (1000, 0.05, 0.33, False, 72, 24),
    (1000, 0.05, 0.33, True, 398, 223),
    (1000, 0.33, 0.05, False, 78, 60),
    (1000, 0.33, 0.05, True, 132, 109),
    (1000, 0.05, 0.05, False, 30, 17),
    (100_000, 0.05, 0.05, False, 36, 21),
    (1000, 0.05, 0.05, True, 52, 37),
    (1000, 0.33, 0.0, False, 38, 36),
    (100, 0.05, 0.05, False, 12, 6),
    (100, 0.3, 0.3, True, 92, 62),
]


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_parameters(case: tuple[int, float, float, bool, int, int]) -> None:
    """The degree exactly, the threshold no higher."""
    n, corrupt, dropout, semi_malicious, degree, threshold = case
    bad, gone = math.floor(corrupt * n), math.floor(dropout * n)
    found = sparsest(n, bad, gone, semi_malicious=semi_malicious)
    assert found is not None
    assert found.degree == degree
    assert 2 <= found.threshold <= threshold


def test_the_complete_graph_where_nothing_less_will_do() -> None:
    """Few parties of which many may be lost; and, for many, a degree that is nearly complete."""
    assert sparsest(3, 0, 0) is None
    assert sparsest(6, 2, 2) is None
    assert sparsest(20, 9, 9) is None
    assert sparsest(100, 48, 48) == Sparse(98, 49)


def test_hopeless_fractions_are_tried_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second or two: no degree is tried that the last one rules out, and no term of a tail added
    that is too small to matter.
    """
    left = iter(range(2_000_000))

    def counted(n: int, marked: int, drawn: int, found: int) -> float:
        assert next(left, None) is not None
        return probability(n, marked, drawn, found)

    monkeypatch.setattr(hypergeometric, "probability", counted)
    found = sparsest(2**16, 32_112, 32_768)
    assert found is not None
    assert connected(2**16, 64_880, found.degree)


@pytest.mark.parametrize("semi_malicious", [False, True])
def test_no_degree_is_passed_over(semi_malicious: bool) -> None:
    """The least of all degrees that will do, each tried."""
    rng = np.random.default_rng(2)
    for _ in range(40):
        n = int(rng.integers(20, 600))
        bad, gone = (int(n * fraction) for fraction in rng.uniform(0, 0.48, 2))

        def will_do(degree: int, n: int = n, bad: int = bad, gone: int = gone) -> bool:
            safe = safe_threshold(n, bad, degree)
            if semi_malicious:
                safe = math.ceil((safe - 1 + degree - 1.25) / 2) + 1
            enough = safe <= lower_quantile(n, n - gone, degree, 2.0**-20 / n)
            return enough and connected(n, bad + gone, degree)

        found = sparsest(n, bad, gone, semi_malicious=semi_malicious)
        assert found is None or will_do(found.degree)
        smaller = range(2, found.degree if found else n - 1, 2)
        assert not any(will_do(degree) for degree in smaller)


@given(st.integers(3, 60), st.data())
def test_the_tails_are_hypergeometric(n: int, data: st.DataObject) -> None:
    """Against counting with integers."""
    marked, drawn = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    limit = data.draw(st.sampled_from([0.3, 1e-3, 1e-9, 2.0**-40]))
    counts = [math.comb(marked, k) * math.comb(n - marked, drawn - k) for k in range(drawn + 1)]
    whole = math.comb(n, drawn)
    for k, count in enumerate(counts):
        assert probability(n, marked, drawn, k) == pytest.approx(
            count / whole, rel=1e-9, abs=1e-300
        )
    most = upper_quantile(n, marked, drawn, limit)
    assert sum(counts[most + 1 :]) <= limit * whole * (1 + 1e-9)
    assert most == 0 or sum(counts[most:]) > limit * whole * (1 - 1e-9)
    least = lower_quantile(n, marked, drawn, limit)
    assert sum(counts[:least]) <= limit * whole * (1 + 1e-9)
    assert least == drawn or sum(counts[: least + 1]) > limit * whole * (1 - 1e-9)


def test_promised_numbers_hold_in_simulation() -> None:
    """At weak settings, where failures would show: fewer of them than stated."""
    n, corrupt, dropouts = 60, 12, 12
    found = sparsest(n, corrupt, dropouts, security=6, failure=6)
    assert isinstance(found, Sparse)
    rng = np.random.default_rng(1)
    learned = failed = 0
    rounds = 800
    for number in range(rounds):
        graph = Harary(n, found.degree, Suite.AES256CTR.generator, number.to_bytes(32, "big"))
        bad = set(rng.choice(n, corrupt, replace=False).tolist())
        gone = set(rng.choice(n, dropouts, replace=False).tolist())
        near = [graph.neighbours(party, range(n)) for party in range(n)]
        alone = not graph.connected(PartySet.of(set(range(n)) - bad - gone, n))
        learned += alone or any(len(bad.intersection(row)) >= found.threshold for row in near)
        failed += any(len(set(row) - gone) < found.threshold for row in near)
    assert learned / rounds < 2**-6
    assert failed / rounds < 2**-6


@pytest.mark.parametrize(
    "impossible", [(2, 0, 0), (10, 10, 0), (10, -1, 0), (10, 0, -1), (9, 5, 4)]
)
def test_impossible_numbers(impossible: tuple[int, int, int]) -> None:
    """Refused by name."""
    with refused(ParameterError, Code.ARGUMENT):
        sparsest(*impossible)


# -- parameters of a round ------------------------------------------------------------------------

FORMAT = FixedPoint(clip=1.0)


def params(**changed: int) -> Params:
    """Those of 100 parties, 5 corrupt and 5 lost: the published degree 12."""
    told = {"threshold": 6, "min_survivors": 95, "colluders": 5, "degree": 12}
    return Params(100, 8, FORMAT, **{**told, **changed})


def test_a_threshold_of_zero_is_the_least_that_is_safe() -> None:
    """As with the table's degree."""
    assert params(threshold=0).threshold == sparsest(100, 5, 5).threshold


@pytest.mark.parametrize(
    ("changed", "code", "named"),
    [
        ({"degree": 11}, Code.ARGUMENT, "11"),
        ({"degree": 99}, Code.ARGUMENT, r"degree .*2\.\.98"),
        ({"degree": 100}, Code.ARGUMENT, "degree"),
        ({"degree": -2}, Code.ARGUMENT, "degree"),
        ({"threshold": 1}, Code.UNSAFE_THRESHOLD, r"threshold .*2\.\.12"),
        ({"threshold": 13}, Code.ARGUMENT, r"threshold .*2\.\.12"),
        ({"threshold": 5}, Code.UNSAFE_THRESHOLD, "threshold"),
        ({"colluders": 20}, Code.UNSAFE_THRESHOLD, "threshold"),
        ({"min_survivors": 60}, Code.UNSAFE_GRAPH, "degree"),
        ({"min_survivors": 0}, Code.UNSAFE_SUM, r"min_survivors .*2\.\.100"),
        ({"colluders": -1}, Code.ARGUMENT, r"colluders .*0\.\.93"),
        ({"colluders": 94}, Code.UNSAFE_SUM, r"colluders .*0\.\.93"),
        ({"mode": Mode.MALICIOUS}, Code.UNSAFE_MODE, "malicious"),
    ],
)
def test_unsafe_parameters_are_refused(changed: dict[str, int], code: Code, named: str) -> None:
    """At construction, with the code; the sentence names parameter and range."""
    with refused(ParameterError, code, match=named):
        params(**changed)


def test_the_quorum_is_the_stated_survivors() -> None:
    """On a sparse graph the threshold counts neighbours, not survivors."""
    assert params().quorum == 95
    assert Params(100, 8, FORMAT).quorum == 67


def test_the_least_degree_is_the_least_that_is_taken() -> None:
    """The degree of `sparsest` is accepted; two neighbours less, at any threshold, are not."""
    found = sparsest(1000, 50, 50)
    told = {"min_survivors": 950, "colluders": 50}
    assert Params(1000, 1, FORMAT, degree=found.degree, threshold=found.threshold, **told)
    less = found.degree - 2
    refused = safe_threshold(1000, 50, less) > lower_quantile(1000, 950, less, 2.0**-20 / 1000)
    assert refused or not connected(1000, 100, less)


ROUND_TRIPS: dict[str, Callable[[], Params]] = {
    "sparse": params,
    "chacha": lambda: Params.for_cohort(
        500, 3, FORMAT, corrupt=0.1, dropout=0.1, suite=Suite.CHACHA20
    ),
}


@pytest.mark.parametrize("made", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_an_offer_carries_the_degree(made: Callable[[], Params]) -> None:
    """Under a mode number of its own, so that others refuse it by name."""
    from secagg import Round

    told = made().round()
    assert told.encode()[53] == 2
    assert Round.decode(told.encode()) == told


@pytest.mark.parametrize(
    ("cohort", "corrupt", "dropout", "mode", "degree"),
    [
        (1000, 0.05, 0.05, Mode.SEMI_HONEST, 30),
        (10_000, 0.33, 0.33, Mode.SEMI_HONEST, 422),
        (1000, 0.05, 0.05, Mode.MALICIOUS, 0),
        (100, 0.33, 0.33, Mode.SEMI_HONEST, 0),  # 68 of 99 neighbours would save little
        (100, 0.05, 0.55, Mode.SEMI_HONEST, 48),  # more may vanish than the complete graph takes
        (5, 0.2, 0.2, Mode.SEMI_HONEST, 0),
        (2, 0.0, 0.0, Mode.SEMI_HONEST, 0),
    ],
)
def test_for_cohort(cohort: int, corrupt: float, dropout: float, mode: Mode, degree: int) -> None:
    """The graph that is worth it, parameters that hold for the fractions, and why."""
    found = Params.for_cohort(cohort, 4, FORMAT, corrupt=corrupt, dropout=dropout, mode=mode)
    assert found.degree == degree
    assert found.colluders == math.floor(corrupt * cohort)
    assert found.quorum <= cohort - math.floor(dropout * cohort)
    assert found.explanation.startswith("Sparse" if degree else "Complete")
    if (cohort, dropout) != (100, 0.55):
        complete = Params.for_cohort(
            cohort, 4, FORMAT, corrupt=corrupt, dropout=dropout, mode=mode, sparse=False
        )
        assert complete.degree == 0
        assert (complete.quorum, complete.colluders) == (found.quorum, found.colluders)


@pytest.mark.parametrize(("dropout", "needed"), [(0.05, False), (0.49, False), (0.5, True)])
def test_a_sparse_graph_that_dropouts_ask_for_says_so(dropout: float, needed: bool) -> None:
    """It may have nearly as many neighbours as the complete one, which needs more survivors."""
    found = Params.for_cohort(200, 1, FORMAT, corrupt=0.05, dropout=dropout)
    assert found.degree > 0
    assert ("more than half" in found.explanation) == needed


@pytest.mark.parametrize("cohort", [49, 100, 107])
def test_a_fraction_is_worth_the_parties_that_it_is_meant_for(cohort: int) -> None:
    """29% of 100 are 29, though 0.29 * 100 is less in floating point."""
    assert any(math.floor(count / cohort * cohort) < count for count in range(cohort // 2))
    for count in range(cohort // 2):
        wary = Params.for_cohort(cohort, 1, FORMAT, corrupt=count / cohort, dropout=0.0)
        patient = Params.for_cohort(cohort, 1, FORMAT, corrupt=0.0, dropout=count / cohort)
        assert wary.colluders == count
        assert patient.quorum <= cohort - count


@pytest.mark.parametrize(
    ("corrupt", "dropout", "mode"),
    [
        (0.0, 0.5, Mode.MALICIOUS),
        (0.6, 0.2, Mode.MALICIOUS),
        (0.6, 0.5, Mode.SEMI_HONEST),
        (1.0, 0.0, Mode.SEMI_HONEST),
        (0.0, -0.1, Mode.SEMI_HONEST),
    ],
)
def test_fractions_that_nothing_holds_for(corrupt: float, dropout: float, mode: Mode) -> None:
    """Refused, in words."""
    with pytest.raises(ParameterError):
        Params.for_cohort(30, 4, FORMAT, corrupt=corrupt, dropout=dropout, mode=mode)
    with pytest.raises(ParameterError, match="sparse=True has one that does"):
        Params.for_cohort(100, 4, FORMAT, corrupt=0.05, dropout=0.55, sparse=False)
