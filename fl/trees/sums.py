"""Sums over rows by node, feature and bin: what a party gives, and the splits that follow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError, RangeError

from ..agreed import check_kind
from ..updates import whole
from .model import BoostedTrees, TreePlan, check_model, hessian_scale, log_odds, sigmoid
from .nodes import Node, Reals, level_of, values, walk

Integers = NDArray[np.int64]


class TreeParty:
    """The rows of one party, which stay with it: what it gives are sums over them, as integers.

    What a server asks is checked before a row is looked at, so that a refusal tells nothing of
    them, and a question that is refused changes nothing.

    Over a network all parties must be asked the same, or a server that lies asks all but one about
    nodes without rows, and the sum is that one's histogram. So a party must state each question,
    `subject, settings = party.question(model, tree, nodes)` and
    `assignment.expect(word, subject, settings=settings)`, in malicious mode; the server gives both
    to `Rounds(word, ...).plan`. Then a sum over other questions does not come off, and each level
    of each tree is answered once for each attempt that the party's home allows: that should be one.
    `min_survivors` must be the whole cohort, in the party's own policy: see `SecureTrees`.

    Args:
        plan: what all sides agreed on; from its own configuration, not from a server.
        x: shape (rows, features).
        y: shape (rows,): labels 0 and 1, or numbers in the range of the plan.
        rounds: the most trees that it helps to grow; by default any number.

    Raises:
        RangeError: the rows do not fit the plan.
    """

    def __init__(self, plan: TreePlan, x: Any, y: Any, *, rounds: int | None = None) -> None:
        check_kind("plan", plan, TreePlan)
        self._rounds = None if rounds is None else whole("rounds", rounds, 0, 2**31)
        self._plan, self._bins = plan, plan.sort(x)
        try:
            self._y = np.asarray(y, np.float64)
        except Exception as error:
            raise RangeError(
                f"y cannot be read as numbers: {type(error).__name__}", Code.DTYPE
            ) from None
        if self._y.shape != (len(self._bins),):
            raise RangeError(
                f"y must have the shape ({len(self._bins)},), as x has so many rows, not "
                f"{self._y.shape}",
                Code.SHAPE,
            )
        if len(self) > plan.records:
            raise RangeError(
                f"there are {len(self):,} rows, and the plan takes {plan.records:,} of one party",
                Code.OUT_OF_RANGE,
            )
        low, high = plan.target
        right = (self._y >= low) & (self._y <= high)
        if plan.loss == "logistic":
            right &= self._y == self._y.round()
        if wrong := np.count_nonzero(~right):
            kind = "labels 0 or 1" if plan.loss == "logistic" else f"numbers in {low:g}..{high:g}"
            raise RangeError(f"{wrong:,} values of y are no {kind}", Code.OUT_OF_RANGE)
        self._model, self._margin = BoostedTrees(plan, 0.0), np.zeros(len(self))

    def __len__(self) -> int:
        return len(self._bins)

    @property
    def plan(self) -> TreePlan:
        """What this party agreed on."""
        return self._plan

    def question(
        self,
        model: BoostedTrees | None = None,
        tree: Sequence[Node] = (),
        nodes: Sequence[int] = (),
    ) -> tuple[bytes, bytes]:
        """Returns what it is asked, for `expect`: as `TreePlan.question`, by its own plan.

        Raises:
            ParameterError: it does not answer this.
        """
        if model is not None:
            self._check(model)
        return self._plan.question(model, tree, nodes)

    def first(self) -> Integers:
        """Returns the number of rows and the sum of y, in levels of the plan: shape (2,)."""
        plan = self._plan
        levels = np.rint((self._y - plan.target[0]) / plan.limit * plan.top).astype(np.int64)
        return np.array([len(self), levels.sum()], np.int64)

    def answer(self, model: BoostedTrees, tree: Sequence[Node], nodes: Sequence[int]) -> Integers:
        """Returns sums over its rows, by node, feature and bin.

        Args:
            model: the trees that are finished; public, and from the server.
            tree: the one that grows, as far as it is.
            nodes: the positions of the nodes in it that are asked about: ascending, leaves of one
                level.

        Returns:
            shape (plan.length(len(nodes)),): for each node the counts by feature and bin, then the
            gradients, and with the logistic loss the hessians.

        Raises:
            ParameterError: the model is of another plan or has too many trees; a tree or its nodes
                are impossible, or a number is not finite. Nothing has changed.
        """
        plan = self._plan
        self._check(model)
        level_of(plan, tree, nodes)
        kinds = [np.ones(len(self), np.int64), *self._slopes(model)]
        place = np.full(len(tree), -1)
        place[list(nodes)] = np.arange(len(nodes))
        row_of = place[walk(plan, tree, self._bins)]
        asked = row_of >= 0
        cells = int(plan.starts[-1])
        cell = self._bins[asked] + plan.starts[:-1]  # of each feature of a row
        found = np.zeros((len(nodes), plan.kinds, cells), np.int64)
        for at, each in enumerate(kinds):
            flat = (row_of[asked][:, None] * cells + cell).reshape(-1)
            weights = np.repeat(each[asked], plan.features)
            # In float64, exact as no sum of one party reaches 2**53; the plan sees to it.
            sums = np.bincount(flat, weights, len(nodes) * cells)
            found[:, at] = sums.astype(np.int64).reshape(len(nodes), cells)
        return found.reshape(-1)

    def _check(self, model: BoostedTrees) -> None:
        """Raises ParameterError unless this is a model with which this party helps."""
        check_model(self._plan, model, self._model.trees)
        if self._rounds is not None and len(model.trees) >= self._rounds:
            raise ParameterError(
                f"refused by this party: it helps to grow {self._rounds} trees, and the model has "
                f"{len(model.trees)}",
                Code.ARGUMENT,
            )

    def _slopes(self, model: BoostedTrees) -> list[Integers]:
        """Returns gradients, and with the logistic loss hessians, of its rows, in levels."""
        plan, known = self._plan, self._model
        done = len(known.trees)
        if known.base == model.base and known.trees == model.trees[:done]:
            margin = self._margin.copy()
        else:
            done, margin = 0, np.full(len(self), float(model.base))
        for tree in model.trees[done:]:
            margin += values(plan, tree, self._bins)
        self._model, self._margin = model, margin
        if plan.loss == "squared":
            with np.errstate(over="ignore"):  # is clipped
                slope = ((self._margin - self._y) / plan.limit).clip(-1.0, 1.0)
            return [np.rint(slope * plan.top).astype(np.int64)]
        share = sigmoid(self._margin)
        hessian = share * (1.0 - share) * hessian_scale(plan)
        return [np.rint(each).astype(np.int64) for each in ((share - self._y) * plan.top, hessian)]


@dataclass(frozen=True, slots=True)
class Half:
    """One side of a split, or a whole node: real sums over its rows."""

    count: int
    gradient: float
    hessian: float

    def weight(self, plan: TreePlan) -> float:
        """Returns the weight of a leaf with these rows."""
        below = self.hessian + plan.l2
        return -plan.rate * self.gradient / below if below > 0 else 0.0

    def splits(self, plan: TreePlan) -> bool:
        """Returns whether there may be a split: both sides need enough rows and hessians."""
        return self.count >= 2 * plan.least and self.hessian >= 2 * plan.min_weight


@dataclass(frozen=True, slots=True)
class Split:
    """The best split of a node."""

    feature: int
    edge: int
    missing_left: bool
    gain: float
    left: Half
    right: Half


def base_of(plan: TreePlan, total: Integers | None) -> float:
    """Returns the margin before the first tree: of the mean of y, or the middle without a sum.

    Args:
        plan: of the training.
        total: the sum of what `TreeParty.first` returns.

    Raises:
        RangeError: no rows have this sum.
    """
    count, levels = (0, 0) if total is None else (int(total[0]), int(total[1]))
    if count < 0 or not 0 <= levels <= count * plan.top:
        raise _impossible("the first sum")
    share = levels / plan.top / count if count else 0.5
    if plan.loss == "squared":
        return plan.target[0] + plan.limit * share
    rest = 0.5 / max(count, 1)  # so that one label alone has finite odds
    return log_odds(min(max(share, rest), 1.0 - rest)) if count > 1 else 0.0


def splits_of(plan: TreePlan, total: Integers, nodes: int) -> list[tuple[Half, Split | None]]:
    """Returns the rows of each node, and its best split; None if none gains anything.

    Of splits that gain as much it is the first: by missing values to the right, feature, edge.

    Args:
        plan: of the training.
        total: the sum of what `TreeParty.answer` returns.
        nodes: how many were asked about.

    Raises:
        RangeError: no rows have these sums.
    """
    most = max(map(len, plan.cuts)) + 1
    dense, gone = _dense(plan, total, nodes, most)
    whole = dense.sum(axis=3) + gone  # (nodes, kinds, features), and all features have the same
    _check(plan, dense, gone, whole)
    whole = whole[:, :, :1, None]
    upto = dense.cumsum(axis=3)  # the last edge of a feature parts all values from missing ones
    edge_exists = np.arange(most) <= np.array([len(each) for each in plan.cuts])[:, None]
    sides, gains = [], []
    found: list[tuple[Half, Split | None]] = []
    for missing_left in (False, True)[: 1 + bool(plan.missing)]:
        left = upto + gone[..., None] * missing_left
        right = whole - left
        allowed = edge_exists
        for half in (left, right):
            allowed = allowed & (half[:, 0] >= plan.least)
            allowed = allowed & (_real(plan, half)[1] >= plan.min_weight)
        gain = _score(plan, left) + _score(plan, right) - _score(plan, whole)
        gains.append(np.where(allowed, 0.5 * gain - plan.gamma, -np.inf))
        sides.append(left)
    ways = np.stack(gains, axis=1)
    for node in range(nodes):
        total_of = _half(plan, whole[node, :, 0, 0])
        way, feature, edge = np.unravel_index(int(ways[node].argmax()), ways[node].shape)
        gain_of = float(ways[node][way, feature, edge])
        if not gain_of > 0:
            found.append((total_of, None))
            continue
        left_of = sides[way][node, :, feature, edge]
        split = Split(
            feature=int(feature),
            edge=int(edge),
            missing_left=bool(way),
            gain=gain_of,
            left=_half(plan, left_of),
            right=_half(plan, whole[node, :, 0, 0] - left_of),
        )
        found.append((total_of, split))
    return found


def _dense(plan: TreePlan, total: Integers, nodes: int, most: int) -> tuple[Integers, Integers]:
    """Returns sums by node, kind, feature and bin, and those of missing values by feature."""
    given = np.asarray(total).reshape(nodes, plan.kinds, -1)
    dense = np.zeros((nodes, plan.kinds, plan.features, most), np.int64)
    gone = np.zeros((nodes, plan.kinds, plan.features), np.int64)
    for feature, cuts in enumerate(plan.cuts):
        part = given[..., plan.starts[feature] : plan.starts[feature + 1]]
        dense[:, :, feature, : len(cuts) + 1] = part[..., : len(cuts) + 1]
        if plan.missing:
            gone[:, :, feature] = part[..., -1]
    return dense, gone


def _check(plan: TreePlan, dense: Integers, gone: Integers, whole: Integers) -> None:
    """Raises RangeError unless there can be rows with these sums."""
    possible = bool((whole == whole[..., :1]).all())
    for sums in (dense, gone):
        most = sums[:, 0] * plan.top
        possible &= bool((abs(sums[:, 1]) <= most).all())  # nor is a count below 0
        if plan.kinds == 3:
            possible &= bool(((sums[:, 2] >= 0) & (sums[:, 2] <= most)).all())
    if not possible:
        raise _impossible("the sums of a level")


def _impossible(what: str) -> RangeError:
    return RangeError(
        f"no rows have {what}: a party sent others, or a worker a wrong result",
        Code.IMPOSSIBLE_SUM,
    )


def _real(plan: TreePlan, sums: Integers) -> tuple[Reals, Reals]:
    """Returns gradients and hessians as real numbers; the second axis of `sums` is their kind."""
    gradient = sums[:, 1].astype(np.float64) * (plan.limit / plan.top)
    if plan.kinds == 2:
        return gradient, sums[:, 0].astype(np.float64)
    return gradient, sums[:, 2].astype(np.float64) / hessian_scale(plan)


def _score(plan: TreePlan, sums: Integers) -> Reals:
    gradient, hessian = _real(plan, sums)
    below = hessian + plan.l2
    return np.divide(gradient**2, below, out=np.zeros_like(below), where=below > 0)


def _half(plan: TreePlan, sums: Integers) -> Half:
    gradient, hessian = _real(plan, sums[None, :])
    return Half(int(sums[0]), float(gradient[0]), float(hessian[0]))
