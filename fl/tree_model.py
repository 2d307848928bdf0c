"""Gradient-boosted trees as public data: what is agreed on, and how a model values rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secagg import Code, Integers, ParameterError, RangeError
from secagg.numeric import as_float, brief

from .updates import whole

Bins = NDArray[np.int64]  # the bin of each value, shape (rows, features)
Reals = NDArray[np.float64]
Losses = Literal["logistic", "squared"]

_MOST_EDGES: Final = 2**16
_MOST_DEPTH: Final = 16
_EXACT: Final = 2**52  # sums of one party are added up as floats
_HESSIAN: Final = 0.25  # the largest of the logistic loss


@dataclass(frozen=True, slots=True, eq=False)
class TreePlan:
    """What all sides of a training of trees know, before any row is looked at.

    Attributes:
        edges: for each feature, ascending edges between its bins, such as `secure_edges` finds
            them; a row lies left of an edge if its value is below it. A feature without edges is
            not used, and one of them has some.
        loss: "logistic" for labels 0 and 1, or "squared" for numbers.
        target: (low, high), the public range of those numbers; with the logistic loss left out.
        records: the most rows of one party; public.
        depth: levels of splits in a tree, 1..16.
        rate: what the weights of leaves are multiplied by; above 0 and up to 1.
        l2: lambda, which is added to the hessians of a leaf; from 0.
        gamma: what a split must gain, from 0, in the loss (XGBoost's half).
        min_weight: the least sum of hessians in a leaf, from 0 (XGBoost's min_child_weight); with
            the squared loss they are counts.
        least: the fewest rows in a leaf, 1 or more.
        bits: of each rounded gradient and hessian, 2..24.
        missing: whether values may be missing (NaN). Each split then sends them to the side that
            gains more; else a party with such a value is refused.

    Raises:
        ParameterError: an argument is outside its range.
    """

    edges: Sequence[ArrayLike]
    loss: Losses = "logistic"
    target: tuple[float, float] = (0.0, 1.0)
    records: int = 100_000
    depth: int = 3
    rate: float = 0.1
    l2: float = 1.0
    gamma: float = 0.0
    min_weight: float = 1e-3
    least: int = 10
    bits: int = 20
    missing: bool = False
    starts: NDArray[np.int64] = field(init=False, repr=False)  # of each feature among the cells

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", _read_edges(self.edges))
        if self.loss not in ("logistic", "squared"):
            raise ParameterError(
                f'loss must be "logistic" or "squared", not {brief(self.loss)}', Code.ARGUMENT
            )
        try:
            low, high = map(as_float, self.target)
        except Exception:
            low = high = None
        if low is None or high is None or not -1e300 < low < high < 1e300:
            raise ParameterError(
                f"target must be (low, high), finite, and low < high, not {brief(self.target)}",
                Code.ARGUMENT,
            )
        object.__setattr__(self, "target", (low, high) if self.loss == "squared" else (0.0, 1.0))
        for name, first, last in (
            ("records", 1, 2**31 - 1),
            ("depth", 1, _MOST_DEPTH),
            ("least", 1, 2**31 - 1),
            ("bits", 2, 24),
        ):
            object.__setattr__(self, name, whole(name, getattr(self, name), first, last))
        for name, most in (("rate", 1.0), ("l2", 1e300), ("gamma", 1e300), ("min_weight", 1e300)):
            value = as_float(getattr(self, name))
            if value is None or not 0 <= value <= most or (name == "rate" and not value):
                raise ParameterError(
                    f"{name} must be a number from 0 up to {most:g}"
                    f"{', and above 0' * (name == 'rate')}, not {brief(getattr(self, name))}",
                    Code.ARGUMENT,
                )
            object.__setattr__(self, name, value)
        if self.records * self.top > _EXACT:
            raise ParameterError(
                f"{self.records} records of {self.bits} bits make sums beyond 2**52: plan with "
                "fewer",
                Code.ARGUMENT,
            )
        sizes = [len(each) + 1 + bool(self.missing) for each in self.cuts]
        object.__setattr__(self, "starts", np.concatenate([[0], np.cumsum(sizes)]))

    @property
    def cuts(self) -> tuple[Reals, ...]:
        """The edges, as arrays."""
        return self.edges  # type: ignore[return-value]

    @property
    def features(self) -> int:
        """Number of features: columns of a row."""
        return len(self.edges)

    @property
    def kinds(self) -> int:
        """Sums in each cell: the count, the gradients, and with the logistic loss the hessians."""
        return 3 if self.loss == "logistic" else 2

    @property
    def top(self) -> int:
        """The largest integer that a gradient or hessian of one row becomes."""
        return 1 << (self.bits - 1)

    @property
    def limit(self) -> float:
        """The gradient that becomes `top`; larger ones are clipped (the squared loss alone)."""
        return self.target[1] - self.target[0]

    @property
    def format(self) -> Integers:
        """The format of all sums, which are exact."""
        return Integers(-self.records * self.top, self.records * self.top)

    def length(self, nodes: int) -> int:
        """Returns how many numbers a party gives for so many nodes."""
        return nodes * self.kinds * int(self.starts[-1])

    def sort(self, x: Any) -> Bins:
        """Returns the bin of each value: the number of edges that it is not below.

        Args:
            x: shape (rows, features). A missing value (NaN) gets the bin after the last one.

        Raises:
            RangeError: x has another shape, holds no numbers, or lacks values.
        """
        try:
            rows = np.asarray(x, np.float64)
        except Exception as error:
            raise RangeError(
                f"x cannot be read as numbers: {type(error).__name__}", Code.DTYPE
            ) from None
        if rows.ndim != 2 or rows.shape[1] != self.features:
            raise RangeError(
                f"x must have the shape (rows, {self.features}), not {rows.shape}", Code.SHAPE
            )
        gone = np.isnan(rows)
        if gone.any() and not self.missing:
            raise RangeError(
                f"x lacks {np.count_nonzero(gone):,} values, in the features "
                f"{np.flatnonzero(gone.any(axis=0)).tolist()[:6]}: leave rows out, or plan with "
                "missing=True",
                Code.NOT_FINITE,
            )
        bins = np.empty(rows.shape, np.int64)
        for feature, cuts in enumerate(self.cuts):
            bins[:, feature] = np.searchsorted(cuts, rows[:, feature], side="right")
            bins[gone[:, feature], feature] = len(cuts) + 1
        return bins


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a tree.

    Attributes:
        weight: what is added to the margin of rows that end here.
        count: rows that came here, in the sum that made the node.
        feature: by which it is split; -1 for a leaf.
        edge: position of the edge: rows below it go left. The position after the last edge sends
            all rows that have a value left.
        missing_left: whether rows without a value go left.
        left: position of the left child in the tree; the right one follows it.
        gain: what the split gained.
    """

    weight: float = 0.0
    count: int = 0
    feature: int = -1
    edge: int = -1
    missing_left: bool = False
    left: int = -1
    gain: float = 0.0


Tree = tuple[Node, ...]  # the root first


def walk(plan: TreePlan, tree: Sequence[Node], bins: Bins) -> NDArray[np.int64]:
    """Returns the position of the node in which each row ends, shape (rows,)."""
    feature, edge, left = (
        np.array([getattr(node, name) for node in tree]) for name in ("feature", "edge", "left")
    )
    missing_left = np.array([node.missing_left for node in tree])
    last = np.array([len(each) for each in plan.cuts])
    at, rows = np.zeros(len(bins), np.int64), np.arange(len(bins))
    for _ in range(plan.depth):
        by = feature[at]
        value = bins[rows, by]  # of a leaf the last feature, which counts for nothing
        goes_left = np.where(value > last[by], missing_left[at], value <= edge[at])
        at = np.where(by < 0, at, left[at] + ~goes_left)
    return at


@dataclass(frozen=True, slots=True, eq=False)
class BoostedTrees:
    """A model of boosted trees: the same for all sides.

    Attributes:
        plan: what was agreed on.
        base: the margin before the first tree.
        trees: added in this order.
    """

    plan: TreePlan
    base: float
    trees: tuple[Tree, ...] = ()

    def margin(self, x: Any) -> Reals:
        """Returns the sum of all weights of each row, shape (rows,): log odds, or numbers.

        Args:
            x: as of `TreePlan.sort`.

        Raises:
            RangeError: as of `TreePlan.sort`.
        """
        return self.margin_of(self.plan.sort(x))

    def margin_of(self, bins: Bins) -> Reals:
        """Returns the margin of rows whose values are sorted already."""
        found = np.full(len(bins), self.base)
        for tree in self.trees:
            found += values(self.plan, tree, bins)
        return found

    def probability(self, x: Any) -> Reals:
        """Returns the probability of label 1 of each row, with the logistic loss."""
        return sigmoid(self.margin(x))

    def predict(self, x: Any) -> NDArray[Any]:
        """Returns the likelier label of each row, int64; with the squared loss, its number."""
        margin = self.margin(x)
        return margin if self.plan.loss == "squared" else (margin > 0).astype(np.int64)


def values(plan: TreePlan, tree: Tree, bins: Bins) -> Reals:
    """Returns what a tree adds to the margin of each row."""
    return np.array([node.weight for node in tree])[walk(plan, tree, bins)]


def sigmoid(margin: Reals) -> Reals:
    """Returns 1 / (1 + exp(-margin)), without overflow."""
    found: Reals = 0.5 * (1.0 + np.tanh(0.5 * margin))
    return found


def hessian_scale(plan: TreePlan) -> float:
    """Returns how many levels a hessian of 1 is."""
    return plan.top / _HESSIAN


def _read_edges(given: Any) -> tuple[Reals, ...]:
    try:
        found = tuple(np.array(each, np.float64).reshape(-1) for each in given)
    except Exception:
        found = ()
    if not any(len(each) for each in found):
        raise ParameterError(
            "edges must have ascending numbers for each feature, some for one of them",
            Code.ARGUMENT,
        )
    for feature, each in enumerate(found):
        finite = bool(np.isfinite(each).all())
        if not finite or not (np.diff(each) > 0).all() or len(each) > _MOST_EDGES:
            raise ParameterError(
                f"edges of feature {feature} must be up to {_MOST_EDGES} finite, ascending numbers",
                Code.ARGUMENT,
            )
        each.flags.writeable = False
    return found


def log_odds(share: float) -> float:
    """Returns the margin of a probability."""
    return math.log(share / (1.0 - share))
