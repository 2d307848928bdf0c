"""Gradient-boosted trees over secure sums: parties give histograms, and no row leaves them.

    plan = TreePlan(secure_edges(rows, ranges), loss="logistic", records=1000)
    training = SecureTrees(plan, [(x, y), ...], rounds=50)
    for report in training: print(report.bytes_up)
    training.model.predict(x)

For each level of a tree, each party sorts its rows into the open nodes, and adds up counts,
gradients and hessians by node, feature and bin, as integers. One secure sum per level adds these
histograms up, exactly; the server chooses the splits as XGBoost does (Chen & Guestrin 2016, arXiv
1603.02754), and tells all parties. So the trees are those that the pooled rows give, with gradients
rounded to `bits` bits.

What the server sees are the histograms of all parties together, in every level of every tree. It
sees small cells as well: one with a single row has the label of that row. `least` keeps
such rows from having a leaf of their own in the model; it hides nothing from the server. Fewer bins
do. If a party is in one sum and not in the next, the sums over all nodes differ by its own: the
server then learns how many of its rows lie in each cell and, as it knows their gradients, exactly
which labels they have. So by default a sum needs all parties, and one that is lost costs the level;
`least_parties` takes that back. A server that lies can ask about other nodes than the best splits
give, and single rows out; parties do not check splits. There is no noise. The model is public, and
tells of its rows what such models tell.

A sum that fails or is interrupted is not asked for again, as two sums over the same rows would
differ by the parties that were lost: the nodes of that level stay leaves. If it is the first level
of a tree, no tree follows, as that one would begin with the same question.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from operator import methodcaller
from typing import Any, Final

import numpy as np

from secagg import Code, Mode, ParameterError, RangeError, RoundFailedError, secure_sum

from ..agreed import PAIR, at_least_three, check_kind
from ..schedule import Drops, read_round
from ..updates import whole
from .model import BoostedTrees, TreePlan
from .nodes import Node
from .sums import Integers, TreeParty, base_of, splits_of


@dataclass(frozen=True, slots=True)
class LevelReport:
    """The outcome of one secure sum.

    Attributes:
        tree, level: both from 1; 0 and 0 for the sum of the labels, which comes first.
        nodes: how many were asked about.
        numbers: how many numbers each party gave.
        splits: how many of the nodes were split.
        survivors: parties whose rows are in the sum; empty if it failed.
        failed: whether it failed.
        reason, code: why it failed, or "" and None.
        drops: parties that dropped out -> the phase whose message they did not send.
        bytes_up, bytes_down: bytes that a party sent and received, mean over all.
        seconds: wall-clock time, with the parties' own work.
    """

    tree: int
    level: int
    nodes: int
    numbers: int
    splits: int
    survivors: tuple[int, ...]
    failed: bool
    reason: str
    code: Code | None
    drops: Drops
    bytes_up: float
    bytes_down: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TreeReport:
    """What became of one tree.

    Attributes:
        tree: its number, from 1.
        levels: the sums that it took; the first tree has the sum of the labels before them.
        leaves: how many it has; 0 if its first level failed: then there is no tree, and none after.
    """

    tree: int
    levels: tuple[LevelReport, ...]
    leaves: int

    @property
    def failed(self) -> bool:
        """True if there is no tree."""
        return not self.leaves

    @property
    def bytes_up(self) -> float:
        """Bytes that a party sent, mean over all."""
        return sum(each.bytes_up for each in self.levels)

    @property
    def bytes_down(self) -> float:
        """Bytes that a party received, mean over all."""
        return sum(each.bytes_down for each in self.levels)


@dataclass(frozen=True, slots=True)
class _Open:
    """A tree that grows: its sums and nodes so far, which are asked about next, and its depth."""

    levels: tuple[LevelReport, ...]
    tree: tuple[Node, ...]
    nodes: tuple[int, ...]
    depth: int


_NEW: Final = _Open((), (Node(),), (0,), 0)


class SecureTrees:
    """Gradient boosting of trees; each level of each tree is a secure sum.

    It is a simulation: all parties are in this process, so it protects nobody. Over a network, what
    a party gives is `TreeParty.answer`, and it must state the question first: see there. Iterating
    grows the trees that are left, and yields a `TreeReport` for each; `model` has those so far. It
    goes on where it was interrupted, and ends early with a tree whose first level failed.

    Args:
        plan: what all sides agreed on.
        parties: (x, y) of each, shapes (rows, features) and (rows,); or `TreeParty`. Three or more;
            one without rows gives zeros.
        rounds: number of trees, from 0.
        drops: function of tree and level (0 and 0 for the first sum) that returns the parties which
            drop out in this sum, each with the phase before whose message it does so.
        mode: the kind of server that the sums protect against.
        least_parties: of how many parties a sum must be, from 3; by default of all. With fewer, one
            party that drops out of one sum shows the server its labels.

    Raises:
        ParameterError: there are fewer than three parties, or no rows; an argument is wrong; a
            `TreeParty` has another plan.
        RangeError: the rows of a party do not fit the plan; the message names the party. While
            iterating, no rows have the sums that were given.
    """

    def __init__(
        self,
        plan: TreePlan,
        parties: Iterable[Any],
        *,
        rounds: int,
        drops: Callable[[int, int], Drops] | None = None,
        mode: Mode = Mode.SEMI_HONEST,
        least_parties: int | None = None,
    ) -> None:
        check_kind("plan", plan, TreePlan)
        self.plan: Final = plan
        self.rounds: Final = whole("rounds", rounds, 0, 2**31)
        if drops is not None and not callable(drops):
            raise ParameterError("drops must be a function of tree and level", Code.ARGUMENT)
        self._drops, self._mode = drops, mode
        given = at_least_three("parties", parties, "a sum over trees", "histograms")
        self._parties = [_party(plan, at, each) for at, each in enumerate(given)]
        most = len(self._parties)
        least = most if least_parties is None else least_parties
        self._least = whole("least_parties", least, PAIR + 1, most)
        if not any(map(len, self._parties)):
            raise ParameterError("no party holds a row", Code.WEIGHT)
        self.reports: Final[list[TreeReport]] = []
        self._model: BoostedTrees | None = None
        self._open = _NEW

    @property
    def model(self) -> BoostedTrees:
        """The trees so far."""
        return self._model or BoostedTrees(self.plan, base_of(self.plan, None))

    def __iter__(self) -> Iterator[TreeReport]:
        """Grows the trees that are left."""
        while len(self.reports) < self.rounds and not (self.reports and self.reports[-1].failed):
            report = self._grow(len(self.reports) + 1)
            self.reports.append(report)
            yield report

    def _grow(self, number: int) -> TreeReport:
        """Grows what is left of a tree, and adds it to the model."""
        plan, opened = self.plan, self._open
        if self._model is None:
            base = base_of(plan, None)
            if not opened.levels:
                report, total = self._sum(0, 0, 0, methodcaller("first"))
                base, opened = base_of(plan, total), replace(opened, levels=(report,))
            self._model, self._open = BoostedTrees(plan, base), opened
        model = self._model
        while opened.nodes and (level := opened.depth + 1) <= plan.depth:
            give = methodcaller("answer", model, opened.tree, opened.nodes)
            report, total = self._sum(number, level, len(opened.nodes), give)
            tree, nodes = opened.tree, self._open.nodes
            if total is not None:
                tree, nodes = _extend(plan, opened, total)
                report = replace(report, splits=(len(tree) - len(opened.tree)) // 2)
            opened = self._open = _Open((*opened.levels, report), tree, nodes, level)
        self._open = _NEW
        last = opened.levels[-1]
        if last.failed and last.level == 1:
            return TreeReport(number, opened.levels, 0)
        self._model = replace(model, trees=(*model.trees, opened.tree))
        return TreeReport(number, opened.levels, sum(node.feature < 0 for node in opened.tree))

    def _sum(
        self, tree: int, level: int, nodes: int, give: Callable[[TreeParty], Integers]
    ) -> tuple[LevelReport, Integers | None]:
        """Returns the report of one secure sum, and the sum; None if it failed.

        From when answers may have left, the level is open as a failed one, whatever happens.
        """
        start = time.perf_counter()
        drops: Drops = {}
        if self._drops:
            drops = read_round(self._drops(tree, level), len(self._parties))
        answers = [give(party) for party in self._parties]
        report = LevelReport(
            tree=tree,
            level=level,
            nodes=nodes,
            numbers=len(answers[0]),
            splits=0,
            survivors=(),
            failed=True,
            reason="interrupted, or its sum is one that no rows have",
            code=None,
            drops=drops,
            bytes_up=0.0,
            bytes_down=0.0,
            seconds=0.0,
        )
        opened = self._open
        left = () if level else opened.nodes
        self._open = replace(opened, levels=(*opened.levels, report), nodes=left)
        try:
            found = secure_sum(
                answers,
                self.plan.format,
                drops=drops,
                mode=self._mode,
                min_survivors=self._least,
                transcript=False,
            )
        except RoundFailedError as error:
            run, total = error.run, None
            report = replace(report, reason=error.reason, code=error.code)
        else:
            run, total = found.run, np.asarray(found.total)
            report = replace(report, survivors=found.survivors, failed=False, reason="")
        return replace(
            report,
            bytes_up=sum(run.bytes_up.values()) / len(answers),
            bytes_down=sum(run.bytes_down.values()) / len(answers),
            seconds=time.perf_counter() - start,
        ), total


def _extend(
    plan: TreePlan, opened: _Open, total: Integers
) -> tuple[tuple[Node, ...], tuple[int, ...]]:
    """Splits nodes by the sums of a level; returns the tree, and those to ask about next."""
    tree, open_nodes = list(opened.tree), []
    for at, (rows, split) in zip(
        opened.nodes, splits_of(plan, total, len(opened.nodes)), strict=True
    ):
        if at == 0:
            tree[0] = Node(rows.weight(plan), rows.count)
        if split is None:
            continue
        tree[at] = replace(
            tree[at],
            feature=split.feature,
            edge=split.edge,
            missing_left=split.missing_left,
            left=len(tree),
            gain=split.gain,
        )
        for half in (split.left, split.right):
            if half.splits(plan):
                open_nodes.append(len(tree))
            tree.append(Node(half.weight(plan), half.count))
    return tuple(tree), tuple(open_nodes)


def _party(plan: TreePlan, at: int, given: Any) -> TreeParty:
    if isinstance(given, TreeParty):
        if given.plan.digest() != plan.digest():
            raise ParameterError(f"party {at} has another plan", Code.ARGUMENT)
        return given
    try:
        x, y = given
    except Exception:
        raise ParameterError(
            f"party {at} must be a pair (x, y), or a TreeParty, not {type(given).__name__}",
            Code.ARGUMENT,
        ) from None
    try:
        return TreeParty(plan, x, y)
    except RangeError as error:
        raise RangeError(f"party {at}: {error.reason}", error.code) from None
