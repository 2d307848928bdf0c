"""Nodes of trees: how rows walk through them, and checks of trees that a peer may have made."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError
from secagg.numeric import as_int

Bins = NDArray[np.int64]  # the bin of each value, shape (rows, features)
Reals = NDArray[np.float64]

_MOST_COUNT: Final = 2**62


class Bounds(Protocol):
    """What a plan says of its trees."""

    @property
    def depth(self) -> int:
        """Levels of splits."""

    @property
    def missing(self) -> bool:
        """True if values may be missing."""

    @property
    def cuts(self) -> tuple[Reals, ...]:
        """The edges of each feature."""


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


def walk(plan: Bounds, tree: Sequence[Node], bins: Bins) -> NDArray[np.int64]:
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


def level_of(plan: Bounds, tree: Sequence[Node], nodes: Sequence[int]) -> int:
    """Checks a tree that grows, and nodes to ask about, which may be from a peer.

    Returns:
        the level, 1..depth.

    Raises:
        ParameterError: it is no tree of this plan, or they are not ascending positions of leaves of
            one level.
    """
    depths = depths_of(plan, tree, "the tree that grows")
    few = isinstance(nodes, list | tuple) and 0 < len(nodes) <= 1 << (plan.depth - 1)
    asked = [each for each in map(as_int, nodes) if each is not None] if few else []
    right = bool(asked) and len(asked) == len(nodes) and asked == sorted(set(asked))
    if not right or asked[0] < 0 or asked[-1] >= len(tree):
        most = 1 << (plan.depth - 1)
        raise unfit(f"nodes must be a list of 1..{most} ascending positions in the tree")
    levels = {depths[at] + 1 for at in asked}
    if len(levels) > 1 or max(levels) > plan.depth or any(tree[at].feature >= 0 for at in asked):
        raise unfit("nodes must be leaves of one level that the plan lets split")
    return levels.pop()


def depths_of(plan: Bounds, tree: Sequence[Node], name: str) -> list[int]:
    """Checks a tree that may be from a peer, and returns the depth of each of its nodes.

    Raises:
        ParameterError: it is no tree of this plan.
    """
    if not isinstance(tree, list | tuple) or not 0 < len(tree) < 2 << plan.depth:
        raise unfit(f"{name} must be a list of 1..{(2 << plan.depth) - 1} nodes")
    depths = [0] + [-1] * (len(tree) - 1)
    for at, node in enumerate(tree):
        if depths[at] < 0 or not isinstance(node, Node) or not _possible(plan, node):
            raise unfit(f"node {at} of {name} is impossible, or has no parent before it")
        if node.feature < 0:
            continue
        left = node.left
        inside = 0 < left < len(tree) - 1 and depths[at] < plan.depth
        if not inside or depths[left] >= 0 or depths[left + 1] >= 0:
            raise unfit(f"node {at} of {name} has impossible children")
        depths[left] = depths[left + 1] = depths[at] + 1
    return depths


def _possible(plan: Bounds, node: Node) -> bool:
    """Returns whether a node fits the plan, apart from where its children are."""
    feature, edge, left, count = map(as_int, (node.feature, node.edge, node.left, node.count))
    if feature is None or edge is None or left is None or count is None:
        return False
    if not isinstance(node.weight, float) or not math.isfinite(node.weight):
        return False
    if not isinstance(node.gain, float) or math.isnan(node.gain):
        return False
    if not 0 <= count < _MOST_COUNT or not isinstance(node.missing_left, bool | np.bool_):
        return False
    if feature == -1:
        return edge == left == -1
    return 0 <= feature < len(plan.cuts) and 0 <= edge < len(plan.cuts[feature]) + plan.missing


def unfit(why: str) -> ParameterError:
    return ParameterError(f"refused by this party: {why}", Code.ARGUMENT)


def columns(tree: Sequence[Node]) -> list[NDArray[Any]]:
    """Returns a tree that was checked as arrays, one for each attribute of its nodes."""
    kinds: dict[str, type] = {"weight": np.float64, "gain": np.float64, "missing_left": np.bool_}
    names = [each.name for each in fields(Node)]
    return [np.array([getattr(n, name) for n in tree], kinds.get(name, np.int64)) for name in names]


def values(plan: Bounds, tree: Tree, bins: Bins) -> Reals:
    """Returns what a tree adds to the margin of each row."""
    return np.array([node.weight for node in tree])[walk(plan, tree, bins)]
