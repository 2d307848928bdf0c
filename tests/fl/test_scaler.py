"""Standardisation and edges from secure sums are those of the pooled records."""

from typing import Any

import numpy as np
import pytest
from refusals import refused
from secagg.fl import Scaler, secure_edges, secure_scaler, secure_tables

from secagg import ClippingWarning, Code, Mode, ParameterError, Phase, RangeError
from secagg.analytics import Count, Query

RANGES = {"pulse": (20.0, 220.0, 1.0), "flat": (0.0, 1.0, 0.25), "glucose": (2.0, 30.0, 0.01)}


def some_parties() -> list[np.ndarray]:
    """Returns matrices of four parties: whole pulses, a constant, and reals, some missing."""
    rng = np.random.default_rng(5)
    found = []
    for size in (40, 25, 60, 3):
        x = np.column_stack(
            [rng.normal(80, 12, size).round(), np.full(size, 0.25), rng.lognormal(1.8, 0.3, size)]
        )
        x[rng.random(size) < 0.1, 2] = np.nan
        found.append(x)
    return found


def test_the_scaler_is_that_of_scikit_learn_on_pooled_records() -> None:
    """To the last digits where values lie on the grid, else to the step; one party drops out."""
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    parties = some_parties()
    drops = {3: Phase.MASKED_INPUT}
    scaler = secure_scaler(parties, RANGES, drops=drops, mode=Mode.MALICIOUS)
    pooled = np.concatenate(parties[:3])
    theirs = preprocessing.StandardScaler().fit(pooled)
    assert scaler.columns == tuple(RANGES)
    np.testing.assert_array_equal(scaler.count, np.broadcast_to(theirs.n_samples_seen_, 3))
    np.testing.assert_allclose(scaler.mean[:2], theirs.mean_[:2], rtol=1e-14)
    np.testing.assert_allclose(scaler.deviation[:2], theirs.scale_[:2], rtol=1e-13)
    assert scaler.deviation[1] == 1.0
    step = RANGES["glucose"][2]
    assert abs(scaler.mean[2] - theirs.mean_[2]) <= step / 2
    assert abs(scaler.deviation[2] - theirs.scale_[2]) <= step
    mine, other = scaler.transform(pooled), theirs.transform(pooled)
    assert np.isnan(mine).sum() == np.isnan(pooled).sum() > 0
    np.testing.assert_allclose(mine, other, atol=2 * step / theirs.scale_[2])
    np.testing.assert_allclose(mine[:, :2], other[:, :2], atol=1e-12)
    np.testing.assert_allclose(scaler.restore(mine), pooled)


def test_columns_are_taken_by_name() -> None:
    """Whatever their order; None and masked values are missing."""
    pandas = pytest.importorskip("pandas")
    parties = some_parties()
    frames = [pandas.DataFrame(x, columns=list(RANGES))[sorted(RANGES)] for x in parties]
    one, two = secure_scaler(parties, RANGES), secure_scaler(frames, RANGES)
    np.testing.assert_array_equal(one.mean, two.mean)
    np.testing.assert_array_equal(one.transform(parties[0]), two.transform(frames[0]))
    rows = {"pulse": [60, None], "flat": [0, 1], "glucose": np.ma.array([5, 6], mask=[0, 1])}
    found = one.transform(rows | {"name": ["x", "y"]})
    np.testing.assert_array_equal(np.isnan(found), [[0, 0, 0], [1, 0, 1]])
    named = [dict(zip(RANGES, x.T, strict=True)) for x in parties]
    over_a_network = Scaler.of(secure_tables(Scaler.query(RANGES), named), RANGES)
    np.testing.assert_array_equal(over_a_network.deviation, one.deviation)


def test_edges_are_quantiles_of_pooled_records() -> None:
    """To the width of a cell, also of values outside the range; a constant has none."""
    parties = some_parties()
    ranges = {"pulse": (60.0, 100.0), "flat": (0.0, 1.0), "glucose": (2.0, 30.0)}
    edges = secure_edges(parties, ranges, bins=8, cells=400)
    pooled = np.concatenate(parties)
    assert [len(each) for each in edges] == [7, 0, 7]
    at = np.arange(1, 8) / 8
    for column, width in ((0, 0.1), (2, 0.07)):
        exact = np.nanquantile(pooled[:, column], at, method="inverted_cdf")
        inside = exact.clip(ranges["pulse" if column == 0 else "glucose"][0], None)
        assert (edges[column] > exact - 1e-9).all()
        assert (edges[column] <= inside + width + 1e-9).all()
    two = [np.array([[0.0], [1.0], [0.0]])] * 3
    (found,) = secure_edges(two, {"sex": (0.0, 1.0)}, bins=32)
    assert len(found) == 1
    assert 0 < found[0] <= 1


def test_what_cannot_be_scaled_is_refused() -> None:
    parties = some_parties()
    for wrong in ({}, [1, 2], {"pulse": (1, 2)}, {2: (1, 2, 3)}, {"pulse": 3}):
        with refused(ParameterError, Code.ARGUMENT, match="ranges"):
            secure_scaler(parties, wrong)  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT, match="one or more, not {}"):
        secure_scaler(parties, {})
    for what, other in (("scaler", RANGES), ("edges", {"pulse": (20, 220)})):
        ask: Any = secure_scaler if what == "scaler" else secure_edges
        with refused(ParameterError, Code.ARGUMENT, match="parties must be a list, not NoneType"):
            ask(None, other)
    with refused(ParameterError, Code.ARGUMENT, match="query must be a Query, not None"):
        secure_tables(None, parties)  # type: ignore[arg-type]
    for tables in (None, {}, {"pulse": 3}):
        with refused(ParameterError, Code.ARGUMENT, match="must be the answers to query"):
            Scaler.of(tables, {"pulse": (20, 220, 1)})  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT, match="at least three parties, not 2"):
        secure_scaler(parties[:2], RANGES)
    with refused(RangeError, Code.SHAPE, match=r"3 columns .* not an array of shape \(25, 2\)"):
        secure_scaler([parties[0], parties[1][:, :2], parties[2]], RANGES)
    named = [{"pulse": [60.0]}, {"pulse": [60.0]}, {"heart": [60.0]}]
    with refused(RangeError, Code.LAYOUT, match="party 2: .* no column 'pulse'"):
        secure_scaler(named, {"pulse": (20, 220, 1)})
    with refused(RangeError, Code.OUT_OF_RANGE, match="party 1: there are 60 records"):
        secure_scaler(parties[1:] + parties[:1], RANGES, records=40)
    nothing = [np.full((5, 1), np.nan)] * 3
    with refused(RangeError, Code.OUT_OF_RANGE, match="no party has a value of 'x'"):
        secure_scaler(nothing, {"x": (0, 1, 0.1)})
    with refused(RangeError, Code.OUT_OF_RANGE, match="column 'x': there are no values"):
        secure_edges(nothing, {"x": (0, 1)})
    with refused(ParameterError, Code.ARGUMENT, match="cells"):
        secure_edges(parties, {"x": (0, 1)}, bins=32, cells=16)
    with pytest.warns(ClippingWarning):
        secure_scaler([np.full((2, 1), 9.0)] * 3, {"x": (0, 1, 0.5)})

    scaler = secure_scaler(parties, RANGES)
    with refused(RangeError, Code.DTYPE, match="column 'glucose' cannot be read as numbers"):
        scaler.transform({"pulse": [1], "flat": [2], "glucose": ["high"]})
    with refused(RangeError, Code.DTYPE, match="column 'glucose' cannot be read .* KeyError"):
        scaler.transform({"pulse": [1], "flat": [2]})
    with refused(RangeError, Code.SHAPE, match="one length"):
        scaler.transform({"pulse": [1], "flat": [2, 3], "glucose": [1]})
    with refused(RangeError, Code.SHAPE, match="3 columns"):
        scaler.transform(parties[0].T)


def test_tables_hide_small_cells_where_asked() -> None:
    people = [{"age": [1.0]}] * 4
    assert secure_tables(Query({"all": Count()}, records=1), people, least=5)["all"].suppressed == 1
