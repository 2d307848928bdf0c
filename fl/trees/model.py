"""Gradient-boosted trees as public data: the plan that all agree on, and models of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secagg import Code, Integers, ParameterError, RangeError, digest
from secagg.numeric import as_float, brief

from ..updates import whole
from .nodes import Bins, Node, Reals, Tree, columns, depths_of, level_of, unfit, values

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
        if not isinstance(self.loss, str) or self.loss not in ("logistic", "squared"):
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

    def digest(self) -> bytes:
        """Returns the digest of all that was agreed on: 32 bytes."""
        numbers = self.records, self.depth, self.rate, self.l2, self.gamma, self.min_weight
        rest = self.least, self.bits, self.missing, list(self.cuts)
        return digest("secagg.fl.TreePlan", self.loss, *self.target, *numbers, *rest)

    def question(
        self,
        model: "BoostedTrees | None" = None,
        tree: "Sequence[Node]" = (),
        nodes: Sequence[int] = (),
    ) -> tuple[bytes, bytes]:
        """Returns what a secure sum is about, for the contexts of server and parties.

        Args:
            model, tree, nodes: as of `TreeParty.answer`; without them, of the first sum.

        Returns:
            (subject, settings), 32 bytes each: the digest of plan, number of the tree and level,
            for which a party gives once; and that of plan, model, tree and nodes.

        Raises:
            ParameterError: there is no such question under this plan.
        """
        plan = self.digest()
        if model is None:
            return digest(plan, 0, 0), plan
        check_model(self, model)
        level = level_of(self, tree, nodes)
        trees = [columns(each) for each in (*model.trees, tree)]
        told = digest(plan, float(model.base), len(trees), *trees, np.array(nodes, np.int64))
        return digest(plan, len(trees), level), told

    def length(self, nodes: int) -> int:
        """Returns how many numbers a party gives for so many nodes."""
        nodes = whole("nodes", nodes, 0, 1 << _MOST_DEPTH)
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
            ParameterError: this is no model of its plan.
            RangeError: as of `TreePlan.sort`.
        """
        check_model(self.plan, self)
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


def check_model(plan: TreePlan, model: BoostedTrees, checked: Sequence[Tree] = ()) -> None:
    """Checks a model that may be from a peer; no row has a part in this.

    Args:
        plan: the own one.
        model: the model.
        checked: trees that are not looked at again, if the model begins with these very objects.

    Raises:
        ParameterError: it is of another plan, its trees are none of this plan, or a margin could be
            infinite.
    """
    base = as_float(model.base) if isinstance(model, BoostedTrees) else None
    if base is None or not isinstance(model.trees, tuple):
        raise unfit("it is no BoostedTrees with a base and a tuple of trees")
    same = isinstance(model.plan, TreePlan) and (
        model.plan is plan or model.plan.digest() == plan.digest()
    )
    if not same:
        raise unfit("the plan of the model is not the one that this party agreed on")
    reach = abs(base)
    for at, tree in enumerate(model.trees):
        if not isinstance(tree, tuple):
            raise unfit(f"tree {at + 1} is no tuple")
        if at >= len(checked) or tree is not checked[at]:
            depths_of(plan, tree, f"tree {at + 1}")
        reach += max(abs(node.weight) for node in tree)
    if not math.isfinite(reach):
        raise unfit("base and weights are not finite, or may add up to infinity")


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
