"""The data sets: shapes, the fixed test set, bounded rows, and a deal that is uneven but whole."""

import sys

import numpy as np
import pytest
from secagg.fl import MissingExtraError, Split, load
from secagg.fl.data import DATASETS, MIN_EXAMPLES, _held_out, deal, scale, scale_rows

from secagg import ParameterError, RangeError

SHAPES = {"breast_cancer": (569, 30, 2), "digits": (1797, 64, 10)}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_and_row_norms(name):
    examples, features, classes = SHAPES[name]
    data = load(name, 10, seed=3)
    assert (data.features, data.classes, len(data.clients)) == (features, classes, 10)
    assert len(data.pooled) + len(data.test) == examples
    assert abs(len(data.test) - examples / 5) <= classes
    for split in (*data.clients, data.test):
        assert split.x.shape == (len(split), features)
        assert split.x.dtype == np.float64
        assert np.linalg.norm(split.x, axis=1).max() <= 1 + 1e-12
        assert set(np.unique(split.y)) <= set(range(classes))


@pytest.mark.parametrize("name", SHAPES)
def test_the_test_set_is_fixed_and_disjoint_from_training(name):
    one, other = load(name, 10, seed=0), load(name, 4, seed=9)
    np.testing.assert_array_equal(one.test.x, other.test.x)
    np.testing.assert_array_equal(one.test.y, other.test.y)

    def rows(split):
        return sorted(map(bytes, split.x))

    # Duplicates in the data itself would show here too; there are none.
    assert rows(one.pooled) == rows(other.pooled)
    assert not set(rows(one.pooled)) & set(rows(one.test))
    assert set(np.unique(one.test.y)) == set(range(one.classes))


def test_the_seed_decides_who_holds_what():
    one, same, other = (load("breast_cancer", 10, seed) for seed in (1, 1, 2))
    for a, b in zip(one.clients, same.clients, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
    assert [len(s) for s in one.clients] != [len(s) for s in other.clients]


@pytest.mark.parametrize("seed", range(5))
def test_the_deal_is_uneven_and_skewed(seed):
    data = load("digits", 10, seed)
    sizes = sorted(len(split) for split in data.clients)
    assert sizes[0] >= MIN_EXAMPLES
    assert sizes[-1] >= 2 * sizes[0]
    overall = np.bincount(data.pooled.y, minlength=10) / len(data.pooled)
    skew = [
        np.abs(np.bincount(s.y, minlength=10) / len(s) - overall).sum() / 2 for s in data.clients
    ]
    assert np.mean(skew) > 0.2  # total variation distance; an even deal is near 0.05


def test_an_even_deal_is_neither():
    data = load("digits", 10, 3, split="even")
    assert {len(split) for split in data.clients} == {143, 144}
    assert sorted(map(bytes, data.pooled.x)) == sorted(map(bytes, load("digits", 10, 3).pooled.x))
    overall = np.bincount(data.pooled.y, minlength=10) / len(data.pooled)
    for s in data.clients:
        assert np.abs(np.bincount(s.y, minlength=10) / len(s) - overall).sum() / 2 < 0.2


@pytest.mark.parametrize("clients", [1, 2, 37, 50])
def test_a_deal_is_a_permutation_with_a_minimum_each(clients):
    labels = np.arange(MIN_EXAMPLES * 50) % 3
    hands = deal(np.random.default_rng(5), labels, clients)
    assert len(hands) == clients
    assert min(map(len, hands)) >= MIN_EXAMPLES
    assert sorted(np.concatenate(hands)) == list(range(len(labels)))


def test_impossible_deals_are_refused():
    labels = np.zeros(40, np.int64)
    for clients in (0, -1, 11):
        with pytest.raises(
            ParameterError, match=rf"{clients} clients: .*, 1..10 clients are possible"
        ):
            deal(np.random.default_rng(0), labels, clients)
    with pytest.raises(ParameterError, match="no data set 'iris'"):
        load("iris")
    for change, match in (
        ({"name": None}, "no data set None; choose one of"),
        ({"name": []}, "no data set .*; choose one of"),
        ({"clients": 2.5}, "cannot be split over 2.5 clients"),
        ({"clients": None}, "cannot be split over None clients"),
        ({"seed": -1}, "seed must be an int from 0, not -1"),
        ({"seed": 1.0}, "seed must be an int from 0, not 1.0"),
        ({"split": np.zeros(2)}, "split must be one of uneven, even, shards, not array"),
    ):
        with pytest.raises(ParameterError, match=match):
            load(**{"name": "breast_cancer"} | change)
    with pytest.raises(ParameterError, match="does not go with"):
        Split(np.zeros((3, 2)), np.zeros(2, np.int64))
    for x, y in (
        ([[1.0]], [0]),
        (np.zeros((1, 1)), np.zeros(1)),
        (np.array([["a"]]), np.array([0])),
    ):
        with pytest.raises(ParameterError, match="x and y must be arrays of numbers and of labels"):
            Split(x, y)
    with pytest.raises(RangeError, match="labels must be from 0, and the least is -1"):
        Split(np.zeros((2, 1)), np.array([-1, 1]))


def test_scale_bounds_any_row_and_survives_constant_columns():
    reference = np.array([[1.0, 5.0], [3.0, 5.0]])
    scaled = scale(np.array([[3.0, 5.0], [1e9, 1e9], [2.0, 5.0]]), reference)
    np.testing.assert_allclose(scaled[0], [1 / np.sqrt(2), 0])  # (3 - 2) / 1, over sqrt(features)
    assert np.linalg.norm(scaled[1]) == pytest.approx(1)
    np.testing.assert_array_equal(scaled[2], [0, 0])


def test_rows_are_scaled_by_themselves():
    rows = np.array([[3.0, -4.0], [1e-9, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(scale_rows(rows), [[1.2, -1.6], [2, 0], [0, 0]])
    x, y = DATASETS["digits"]()
    data = load("digits", 3, by_row=True)
    np.testing.assert_array_equal(data.test.x, scale_rows(x[_held_out(y)]))
    np.testing.assert_array_equal(data.test.y, load("digits", 3).test.y)


def test_scale_takes_nothing_from_the_test_set():
    reference, x = np.random.default_rng(0).normal(size=(2, 20, 3))
    more = np.concatenate([x, 100 * x])
    np.testing.assert_array_equal(scale(more, reference)[:20], scale(x, reference))


def test_training_features_do_not_depend_on_the_test_set(monkeypatch):
    x, y = DATASETS["breast_cancer"]()
    spoilt = np.where(_held_out(y)[:, None], 1e6, x)
    monkeypatch.setitem(DATASETS, "breast_cancer", lambda: (spoilt, y))
    after = load("breast_cancer", 3)
    monkeypatch.undo()
    np.testing.assert_array_equal(after.pooled.x, load("breast_cancer", 3).pooled.x)


def test_a_missing_extra_says_what_to_type(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(
        MissingExtraError, match=r"^sklearn is not installed; run pip install 'secagg\[fl\]'"
    ):
        load("digits")
