"""Trees from secure histograms are those of the pooled rows, split by split."""

import math
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
import pytest
from levels import runs_at
from refusals import refused
from secagg.fl import BoostedTrees, SecureTrees, TreeParty, TreePlan, secure_edges
from secagg.fl.trees import training as trees
from secagg.fl.trees.nodes import Node

import secagg
from secagg import Code, Mode, ParameterError, Phase, RangeError

EDGES = [[-1.0, -0.3, 0.2, 0.9], [0.0], [], [-0.5, 0.0, 0.5]]
SIZES = 30, 50, 41, 25
GONE = {3: Phase.MASKED_INPUT}


def some_rows(loss: str, missing: bool, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the rows of four parties; a value on an edge, and some that are missing."""
    rng = np.random.default_rng(seed)
    found = []
    for size in SIZES:
        x = rng.normal(size=(size, 4)).round(1)
        signal = np.where(x[:, 0] > 0.2, 2.0, -1.0) * np.where(x[:, 3] > 0, 1.0, -0.5) + x[:, 1]
        if missing:
            x[rng.random((size, 4)) < 0.2] = np.nan
        y = signal + rng.normal(size=size)
        found.append((x, (y > 0).astype(int) if loss == "logistic" else y.clip(-5, 5)))
    return found


def plain_sums(plan: TreePlan, margin: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns count, gradient and hessian of each row, rounded as the plan says."""
    top, low, high = 2 ** (plan.bits - 1), *plan.target
    found = []
    for f, label in zip(margin.tolist(), y.tolist(), strict=True):
        if plan.loss == "squared":
            slope = max(-1.0, min(1.0, (f - label) / (high - low)))
            found.append((1, round(slope * top) / top * (high - low), 1.0))
        else:
            p = 0.5 * (1.0 + math.tanh(0.5 * f))
            found.append(
                (1, round((p - label) * top) / top, round(p * (1 - p) * 4 * top) / (4 * top))
            )
    return np.array(found)


def plain_tree(plan: TreePlan, x: np.ndarray, sums: np.ndarray) -> dict[str, Any]:
    """Grows a tree on pooled rows by trying every split of every node, row by row."""

    def score(part: np.ndarray) -> float:
        below = part[2] + plan.l2
        return float(part[1] ** 2 / below) if below > 0 else 0.0

    def grow(rows: np.ndarray, depth: int) -> dict[str, Any]:
        whole, best, gain = sums[rows].sum(axis=0), None, 0.0
        node = {"count": int(whole[0]), "weight": -plan.rate * whole[1] / (whole[2] + plan.l2)}
        ways = product((False, True), range(plan.features)) if depth < plan.depth else ()
        for missing_left, feature in ways:
            values, cuts = x[rows, feature], plan.edges[feature]
            for edge in range(len(cuts) + 1):
                below = values < cuts[edge] if edge < len(cuts) else ~np.isnan(values)
                left = below | (np.isnan(values) & missing_left)
                sides = [sums[rows[side]].sum(axis=0) for side in (left, ~left)]
                if any(each[0] < plan.least or each[2] < plan.min_weight for each in sides):
                    continue
                found = (score(sides[0]) + score(sides[1]) - score(whole)) / 2 - plan.gamma
                if found > gain + 1e-9:
                    best, gain = (feature, edge, missing_left, left), found
        if best:
            *split, left = best
            node |= {"split": tuple(split), "gain": gain}
            node |= {"left": grow(rows[left], depth + 1), "right": grow(rows[~left], depth + 1)}
        return node

    return grow(np.arange(len(x)), 0)


def same(plain: dict[str, Any], tree: Any, at: int = 0) -> int:
    """Compares two trees; returns how many splits they have."""
    node = tree[at]
    assert node.count == plain["count"]
    assert node.weight == pytest.approx(plain["weight"], rel=1e-12, abs=1e-12)
    if "split" not in plain:
        assert node.feature == -1
        return 0
    assert (node.feature, node.edge, node.missing_left) == plain["split"]
    assert node.gain == pytest.approx(plain["gain"], rel=1e-9)
    left = same(plain["left"], tree, node.left)
    return 1 + left + same(plain["right"], tree, node.left + 1)


def value(plan: TreePlan, tree: Any, row: np.ndarray) -> float:
    """Returns what a tree adds to the margin of a row, by the words of `Node`."""
    node = tree[0]
    while node.feature >= 0:
        number, cuts = row[node.feature], plan.edges[node.feature]
        if np.isnan(number):
            left = node.missing_left
        else:
            left = node.edge == len(cuts) or number < cuts[node.edge]
        node = tree[node.left + (not left)]
    return float(node.weight)


@pytest.mark.parametrize(
    ("loss", "missing", "more"),
    [
        ("logistic", False, {"depth": 2, "min_weight": 2.0, "rate": 0.5}),
        ("logistic", True, {"depth": 3, "gamma": 0.1, "rate": 0.5}),
        ("squared", True, {"depth": 2, "target": (-5, 5), "bits": 12, "l2": 0.0, "rate": 0.5}),
    ],
)
def test_trees_are_those_of_pooled_rows(loss: Any, missing: bool, more: dict[str, Any]) -> None:
    """Split by split, by an implementation that sorts no bins; without the party that dropped."""
    plan = TreePlan(EDGES, loss, records=50, missing=missing, least=5, **more)
    parties = some_rows(loss, missing)
    training = SecureTrees(plan, parties, rounds=2, drops=lambda tree, level: GONE, least_parties=3)
    x, y = (np.concatenate(each) for each in zip(*parties[:3], strict=True))
    levels = np.rint((y - plan.target[0]) / plan.limit * plan.top).sum() / plan.top
    base = plan.target[0] + plan.limit * levels / len(y)
    if loss == "logistic":
        base = math.log(y.mean() / (1 - y.mean()))
    margin, splits = np.full(len(y), base), 0
    for report in training:
        tree = training.model.trees[-1]
        splits += same(plain_tree(plan, x, plain_sums(plan, margin, y)), tree)
        margin += [value(plan, tree, row) for row in x]
        np.testing.assert_allclose(training.model.margin(x), margin, rtol=1e-12, atol=1e-12)
        assert report.leaves == sum(node.feature < 0 for node in tree)
        assert {each.survivors for each in report.levels} == {(0, 1, 2)}
        assert [each.level for each in report.levels][report.tree == 1 :] == list(
            range(1, 1 + len(report.levels) - (report.tree == 1))
        )
        assert all(each.bytes_up > each.numbers for each in report.levels[1:])
        assert report.bytes_up == sum(each.bytes_up for each in report.levels)
    assert splits >= 4
    predicted = training.model.predict(x)
    if loss == "logistic":
        before, after = (np.log1p(np.exp(-f * (2 * y - 1))).mean() for f in (base, margin))
        assert after < 0.95 * before
        np.testing.assert_array_equal(predicted, training.model.probability(x) > 0.5)
    else:
        np.testing.assert_allclose(predicted, margin)


class Asked(TreeParty):
    """Notes the questions that it answers, and is interrupted once when it has so many."""

    questions: list[Any]
    stop: int | None = None

    def answer(self, *asked: Any) -> Any:
        if len(self.questions) == self.stop:
            self.stop = None
            raise KeyboardInterrupt
        self.questions.append(self.question(*asked))
        return super().answer(*asked)


def test_a_sum_that_fails_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that is interrupted: the nodes of its level stay leaves.

    Two sums on one question differ by the parties that were lost. Without a first level there is no
    tree, and the next one would ask the same.
    """
    plan = TreePlan(EDGES, records=50, least=5, depth=2)
    rows = some_rows("logistic", False)
    too_many = dict.fromkeys(range(3), Phase.MASKED_INPUT)
    failing = {(0, 0), (1, 2), (3, 1)}
    training = SecureTrees(
        plan,
        [*rows, (np.zeros((0, 4)), [])],
        rounds=4,
        drops=lambda tree, level: too_many if (tree, level) in failing else {},
        mode=Mode.MALICIOUS,
    )
    one, two, three = training
    assert [each.failed for each in one.levels] == [True, False, True]
    assert one.levels[0].code is Code.QUORUM
    assert (one.failed, one.leaves, two.failed, two.leaves) == (False, 2, False, 4)
    assert [each.splits for each in two.levels] == [1, two.leaves - 2]
    assert (three.failed, three.leaves, three.levels[0].failed) == (True, 0, True)
    assert two.levels[0].survivors == (0, 1, 2, 3, 4)
    assert training.model.base == 0.0
    assert len(training.model.trees) == 2
    assert list(training) == []

    stop, wrong = KeyboardInterrupt(), RangeError("no rows have it", Code.IMPOSSIBLE_SUM)
    real, calls = trees.secure_sum, list[Any]()

    def interrupted(*given: Any, **words: Any) -> Any:
        calls.append(real(*given, **words))
        if error := {1: stop, 3: stop, 5: wrong}.get(len(calls)):
            raise error
        return calls[-1]

    monkeypatch.setattr(trees, "secure_sum", interrupted)
    asked = Asked(plan, *rows[0])
    asked.questions, asked.stop = [], 1
    training = SecureTrees(plan, [asked, *rows[1:]], rounds=2)
    for error in (KeyboardInterrupt, KeyboardInterrupt, KeyboardInterrupt, RangeError):
        with pytest.raises(error):
            list(training)
    assert list(training) == training.reports[1:]
    one, two = training.reports
    assert [(each.level, each.failed) for each in one.levels] == [(0, True), (1, False), (2, True)]
    assert [(each.level, each.failed) for each in two.levels] == [(1, False), (2, True)]
    assert one.levels[0].reason.startswith("interrupted")
    assert len(set(asked.questions)) == len(asked.questions) == len(calls) - 1


def test_sums_that_no_rows_have_are_refused() -> None:
    """As a party can give any numbers in the range of the format."""
    plan = TreePlan(EDGES, records=50)
    rows = some_rows("logistic", False)
    cells, much = int(plan.starts[-1]), 35 * plan.top

    class Liar(TreeParty):
        """Adds numbers to the sums of a level, by position, or gives a first sum of its own."""

        def __init__(self, lies: dict[int, int], first: tuple[int, int] | None = None) -> None:
            super().__init__(plan, *rows[0])
            self.lies, self.lie = lies, first

        def answer(self, *given: Any) -> Any:
            found = super().answer(*given)
            for at, more in self.lies.items():
                found[at] += more
            return found

        def first(self) -> Any:
            return super().first() if self.lie is None else np.array(self.lie)

    for name, lies in {
        "features disagree": {0: 1},
        "a count below 0": {0: -900, 1: 900},
        "more gradient than rows": {cells: much, cells + 1: -much},
        "more hessian than rows": {2 * cells: much, 2 * cells + 1: -much},
    }.items():
        training = SecureTrees(plan, [Liar(lies), *rows[1:]], rounds=1)
        with refused(RangeError, Code.IMPOSSIBLE_SUM, match="no rows have the sums of a level"):
            pytest.fail(f"{name}: {list(training)}")
    for first in [(3, 4 * plan.top), (3, -1), (-3, 0)]:
        training = SecureTrees(plan, [Liar({}, first), *[(np.zeros((0, 4)), [])] * 2], rounds=1)
        with refused(RangeError, Code.IMPOSSIBLE_SUM, match="no rows have the first sum"):
            pytest.fail(f"{first}: {list(training)}")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        *[({"edges": each}, "edges") for each in (3, [], [[], []], [["a"]], None)],
        *[
            ({"edges": [[0.0], each]}, "edges of feature 1")
            for each in ([1.0, 1.0], [2.0, 1.0], [math.nan], [math.inf])
        ],
        ({"loss": "absolute"}, "loss"),
        *[({"target": each}, "target") for each in (3, (1, 1), (0, math.inf), ("a", 2), (1, 2, 3))],
        *[({"depth": each}, "depth") for each in (0, 17, 1.5)],
        *[({"bits": each}, "bits") for each in (1, 25)],
        ({"least": 0}, "least"),
        ({"records": 0}, "records"),
        ({"records": 2**31 - 1, "bits": 24}, "2147483647 records of 24 bits"),
        *[({"rate": each}, "rate .* above 0") for each in (0, 1.5, math.nan, "1")],
        *[({name: -1}, name) for name in ("l2", "gamma", "min_weight")],
    ],
)
def test_impossible_plans_are_refused(wrong: dict[str, Any], match: str) -> None:
    with refused(ParameterError, Code.ARGUMENT, match=match):
        TreePlan(**{"edges": EDGES} | wrong)


def test_impossible_rows_are_refused() -> None:
    plan = TreePlan(EDGES, records=50)
    numbers = TreePlan(EDGES, "squared", (0, 10), records=50)
    good = np.zeros((3, 4)), np.array([0, 1, 1])
    for which, x, y, code, match in [
        (plan, good[0][:, :3], good[1], Code.SHAPE, r"x must have the shape \(rows, 4\)"),
        (plan, [["a"] * 4] * 3, good[1], Code.DTYPE, "x cannot be read as numbers"),
        (plan, good[0] + [0, math.nan, 0, 0], good[1], Code.NOT_FINITE, r"lacks 3 .* \[1\]"),
        (plan, good[0], good[1][:2], Code.SHAPE, r"y must have the shape \(3,\)"),
        (plan, good[0], ["a", "b", "c"], Code.DTYPE, "y cannot be read as numbers"),
        (plan, good[0], [0, 1, 2], Code.OUT_OF_RANGE, "1 values of y are no labels 0 or 1"),
        (plan, good[0], [0, 1, 0.5], Code.OUT_OF_RANGE, "1 values of y are no labels 0 or 1"),
        (numbers, good[0], [0, math.nan, 11], Code.OUT_OF_RANGE, r"2 values .* in 0\.\.10"),
        (plan, np.zeros((51, 4)), np.zeros(51), Code.OUT_OF_RANGE, "51 rows"),
    ]:
        with refused(RangeError, code, match=f"^party 1: .*{match}"):
            SecureTrees(which, [good, (x, y), good], rounds=1)
    for given, code, match in [
        ([good, good], Code.ARGUMENT, "at least three parties, not 2"),
        ([good, 3, good], Code.ARGUMENT, "party 1 must be a pair"),
        ([(np.zeros((0, 4)), [])] * 3, Code.WEIGHT, "no party holds a row"),
    ]:
        with refused(ParameterError, code, match=match):
            SecureTrees(plan, given, rounds=1)
    for least in (2, 4, 3.0):
        with refused(ParameterError, Code.ARGUMENT, match="least_parties"):
            SecureTrees(plan, [good] * 3, rounds=1, least_parties=least)  # type: ignore[arg-type]
    other = TreeParty(TreePlan(EDGES, records=51), *good)
    with refused(ParameterError, Code.ARGUMENT, match="party 1 has another plan"):
        SecureTrees(plan, [good, other, good], rounds=1)
    with refused(ParameterError, Code.ARGUMENT, match="drops"):
        SecureTrees(plan, [good] * 3, rounds=1, drops={})  # type: ignore[arg-type]
    silent = SecureTrees(plan, [good] * 3, rounds=1, drops=lambda tree, level: None)  # type: ignore
    with refused(ParameterError, Code.ARGUMENT, match="a dict for each round, not NoneType"):
        list(silent)
    for make in (
        lambda: SecureTrees(None, [good] * 3, rounds=1),
        lambda: TreeParty(TreePlan, *good),
    ):  # type: ignore
        with refused(ParameterError, Code.ARGUMENT, match="plan must be a TreePlan, not"):
            make()
    for call in (lambda: plan.length(None), lambda: TreePlan(EDGES, np.zeros(2))):  # type: ignore
        with refused(ParameterError, Code.ARGUMENT, match="nodes must be an int|loss must be"):
            call()
    with refused(ParameterError, Code.ARGUMENT, match="no BoostedTrees with a base"):
        BoostedTrees(plan, None).predict(good[0])  # type: ignore[arg-type]
    untrained = SecureTrees(plan, [good] * 3, rounds=0)
    assert list(untrained) == []
    assert untrained.model.predict(good[0]).tolist() == [0, 0, 0]


def test_a_party_answers_for_any_model() -> None:
    """Also for one that does not go on from the last, as after another process has begun anew."""
    plan = TreePlan(EDGES, records=50, least=5)
    rows = some_rows("logistic", False)
    training = SecureTrees(plan, rows, rounds=2)
    list(training)
    model, tree = training.model, (Node(),)
    party, fresh = TreeParty(plan, *rows[0]), TreeParty(plan, *rows[0])
    whole = party.answer(model, tree, [0])
    before = BoostedTrees(plan, model.base, model.trees[:1])
    assert not np.array_equal(party.answer(before, tree, [0]), whole)
    np.testing.assert_array_equal(party.answer(model, tree, [0]), whole)
    np.testing.assert_array_equal(fresh.answer(model, tree, [0]), whole)

    plan = TreePlan(EDGES, "squared", (-5, 5), records=50)
    party = TreeParty(plan, *some_rows("squared", False)[0])
    cells = int(plan.starts[-1])
    count, slope = party.answer(BoostedTrees(plan, 99.0), tree, [0]).reshape(2, cells)
    np.testing.assert_array_equal(slope, count * plan.top)  # clipped, as the format needs it


def test_a_party_that_is_lost_costs_the_level() -> None:
    """Else the sums of two levels differ by its rows: counts and labels, cell by cell."""
    plan = TreePlan(EDGES, records=50, least=5, depth=2)
    rows = some_rows("logistic", False)

    def lost(tree: int, level: int) -> dict[int, Phase]:
        return {2: Phase.ADVERTISE_KEYS} if (tree, level) == (1, 2) else {}

    (report,) = SecureTrees(plan, rows, rounds=1, drops=lost)
    assert [each.survivors for each in report.levels] == [(0, 1, 2, 3)] * 2 + [()]
    assert (report.levels[2].code, report.leaves) == (Code.QUORUM, 2)
    (report,) = SecureTrees(plan, rows, rounds=1, drops=lost, least_parties=3)
    assert report.levels[2].survivors == (0, 1, 3)


def test_no_sum_comes_off_unless_all_are_asked_the_same() -> None:
    """Asking all but one about nodes without rows would single that one out."""
    plan = TreePlan(EDGES, records=50, depth=2)
    parties = {
        f"p{at}": TreeParty(plan, *rows) for at, rows in enumerate(some_rows("logistic", False))
    }
    model, root = BoostedTrees(plan, 0.0), ([Node()], [0])
    empty = [Node(feature=1, edge=0, left=1), Node(weight=0.5), Node()]
    honest = [Node(feature=1, edge=0, left=1), Node(), Node()]
    grown = BoostedTrees(plan, 0.0, (tuple(honest),))

    def total(*told: Any) -> Any:
        """Returns the sum, or None; the first party is told something else than the others."""
        homes = {name: secagg.Home.in_memory() for name in parties}
        rounds = secagg.Rounds("a word", plan.format)
        subject, settings = plan.question(*told[0])
        size = plan.length(len(told[0][2])) if told[0] else 2
        round_of = rounds.plan(list(parties), size, subject, settings=settings)

        def exchange(phase: Any, messages: Any) -> Any:
            for at, message in messages.items():
                name = round_of.names[at]

                def train(a: Any, name: str = name) -> Any:
                    asked = told[name != "p0"]
                    subject, settings = parties[name].question(*asked)
                    a.expect("a word", subject, settings=settings)
                    return parties[name].answer(*asked) if asked else parties[name].first()

                home = homes[name]
                yield at, secagg.answer(home, message, train, index=at, attempt=round_of.attempt)

        outcome = secagg.lockstep(round_of.server, exchange)
        return getattr(outcome, "result", None) and outcome.result.total

    for asked in [(model, *root), (grown, *root), (model, honest, [1, 2]), ()]:
        want = sum(each.answer(*asked) if asked else each.first() for each in parties.values())
        np.testing.assert_array_equal(total(asked, asked), want)
    for others in [(model, empty, [2]), (model, honest, [1]), (grown, *root), ()]:
        assert total((model, *root), others) is None
    assert total((model, honest, [1]), (model, honest, [2])) is None
    assert total((model, honest, [1]), (model, empty, [1])) is None

    subjects = [plan.question(model, honest, [at])[0] for at in (1, 2)]
    assert subjects[0] == subjects[1]  # for which a party gives once
    others = [plan.question(*each)[0] for each in [(model, *root), (grown, *root), ()]]
    other = TreePlan(EDGES, records=50, depth=2, least=11)
    others.append(other.question(BoostedTrees(other, 0.0), honest, [1])[0])
    assert len({subjects[0], *others}) == 5


def test_hostile_questions_are_refused() -> None:
    """Before a row is looked at, as a refusal would tell of it; and nothing changes."""
    plan = TreePlan(EDGES, records=50, depth=2)
    rows = some_rows("logistic", False)[0]
    party, inf, nan = TreeParty(plan, *rows, rounds=2), math.inf, math.nan
    stump = (Node(feature=0, edge=2, left=1), Node(weight=0.7), Node(weight=-0.7))
    deep = (*stump[:2], Node(feature=1, edge=0, left=3), Node(feature=3, edge=1, left=5))
    model, root = BoostedTrees(plan, 0.25), [Node()]
    party.answer(model, root, [0])

    def of(*trees: Any, base: Any = 0.25) -> BoostedTrees:
        return BoostedTrees(plan, base, trees)

    def split(**wrong: Any) -> Any:
        return (Node(**{"feature": 0, "edge": 2, "left": 1} | wrong), Node(), Node())

    other = BoostedTrees(TreePlan(EDGES, records=50, depth=3), 0.25)
    leaves = [Node(feature=0, edge=1, left=1), Node(feature=1, edge=0, left=3), *root * 3]
    party.answer(model, leaves, [2])
    for bad in [
        *[split(feature=each) for each in (4, -2, 99, "0", 0.0, True, 2**70)],
        *[split(edge=each) for each in (-1, 4, 5, 2**70, None)],  # 4 is that of missing values
        split(feature=2, edge=0),  # which has no edges
        *[split(left=each) for each in (-1, 0, 2, 77, 2**70)],
        (Node(feature=0, edge=1, left=1), Node(feature=0, edge=1, left=1), Node()),
        (split()[0], Node(feature=0, edge=1, left=4), Node(feature=0, edge=1, left=3), *root * 3),
        (*root, Node()),
        (Node(feature=-4, edge=0),),
        (Node(edge=2**70),),
        (Node(left=2**70),),
        (*deep, *root * 3),
        *[(Node(weight=each),) for each in (inf, -inf, nan, "1", None, Decimal(1))],
        *[(Node(count=each),) for each in (-1, 2**62, 1.5)],
        (Node(gain=nan),),
        split(missing_left=2),
        (),
        (3,),
        tuple(root * 8),
    ]:
        for asked in [(of(stump, bad), root, [0]), (model, list(bad), [0])]:
            for ask in (party.answer, party.question, plan.question):
                with refused(ParameterError, Code.ARGUMENT, match="refused by this party"):
                    pytest.fail(f"{bad}: {ask(*asked)}")
    for asked in [
        *[(of(base=each), root, [0]) for each in (nan, inf, "0", None)],
        (of((Node(weight=1e308),), (Node(weight=-1e308),)), root, [0]),
        (of(list(stump)), root, [0]),
        (BoostedTrees(plan, 0.25, [stump]), root, [0]),  # type: ignore[arg-type]
        (other, root, [0]),
        (3, root, [0]),
        *[
            (model, root, each)
            for each in ([], [1], [-1], [0, 0], [0] * 3, [0, 1, 2], [0, None], [0.0], [True], 0)
        ],
        (model, stump, [0]),  # is split
        (model, stump, [2, 1]),
        (model, stump, [1, 1]),
        (model, leaves, [2, 3]),
        (model, leaves, [3]),  # as deep as the plan lets trees be
    ]:
        for ask in (party.answer, party.question):
            with refused(ParameterError, Code.ARGUMENT, match="refused by this party"):
                pytest.fail(f"{asked}: {ask(*asked)}")
    with refused(ParameterError, Code.ARGUMENT, match="grow 2 trees, and the model has 2"):
        party.answer(of(stump, stump), root, [0])
    with refused(ParameterError, Code.ARGUMENT, match="grow 2 trees, and the model has 2"):
        party.question(of(stump, stump), root, [0])
    three = TreeParty(other.plan, *rows)
    three.answer(other, leaves, [3, 4])
    with refused(ParameterError, Code.ARGUMENT, match="leaves of one level"):
        three.answer(other, leaves, [2, 3])
    good = of(stump), root, [0]
    np.testing.assert_array_equal(party.answer(*good), TreeParty(plan, *rows).answer(*good))
    with refused(ParameterError, Code.ARGUMENT, match="tree 1"):  # though one tree is known
        party.answer(of(split(left=77)), root, [0])
    again = BoostedTrees(TreePlan(EDGES, records=50, depth=2), 0.25, (stump,))  # from a file, say
    np.testing.assert_array_equal(party.answer(again, *good[1:]), party.answer(*good))


@runs_at("trainings like others")
@pytest.mark.parametrize("name", ["breast_cancer", "diabetes"])
def test_trees_are_as_good_as_those_of_scikit_learn(name: str) -> None:
    """With the same bins: accuracy, or R2, within a point, on rows that were held out."""
    datasets = pytest.importorskip("sklearn.datasets")
    ensemble = pytest.importorskip("sklearn.ensemble")
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    logistic, scores = name == "breast_cancer", []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(y))
        test, train = np.split(order, [len(y) // 4])
        shares = np.array_split(train, 5)
        ranges = {
            str(at): (low, high)
            for at, (low, high) in enumerate(zip(x.min(0), x.max(0), strict=True))
        }
        edges = secure_edges([x[rows] for rows in shares], ranges, bins=32)
        loss = "logistic" if logistic else "squared"
        plan = TreePlan(edges, loss, target=(0, 400), records=200)  # type: ignore[arg-type]
        training = SecureTrees(plan, [(x[rows], y[rows]) for rows in shares], rounds=50)
        assert not any(report.failed for report in training)
        kind = "Classifier" if logistic else "Regressor"
        other = getattr(ensemble, f"HistGradientBoosting{kind}")(
            max_iter=50,
            max_depth=plan.depth,
            max_leaf_nodes=None,
            min_samples_leaf=plan.least,
            l2_regularization=plan.l2,
            early_stopping=False,
        )
        bins = plan.sort(x)
        with limits(1):
            other.fit(bins[train], y[train])
        found = training.model.predict(x[test]), other.predict(bins[test])
        if logistic:
            scores.append([(each == y[test]).mean() for each in found])
        else:
            spread = ((y[test] - y[test].mean()) ** 2).sum()
            scores.append([1 - ((y[test] - each) ** 2).sum() / spread for each in found])
    mine, theirs = np.mean(scores, axis=0)
    assert abs(mine - theirs) < 0.01
    assert mine > (0.9 if logistic else 0.4)
