"""The strategy of the server: wraps one of Flower's, which then sees sums alone."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from math import inf
from typing import Any, Final, NoReturn

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

import secagg

from ...encoding.options import LayoutOptions
from ...params.checks import require_seconds
from ...rounds.peers import PeerNames
from ..common import MANY, chain_of, polled, raise_to, same, summed_once, those_like, wrong
from ..originals import Originals
from .messages import OPTIONS, in_order, like, log, told_in
from .records import KEY, answer_in, arrays_of, numbers, only, packed

# In the names of strategies that look at single updates, of which there are none.
_SINGLE: Final = re.compile("Krum|Bulyan|Median|Trimmed|QFedAvg|FedXgb|ServerSide|AdaptiveClip")


class SecAgg(Strategy):  # type: ignore[misc]
    """Wraps a strategy, so that its server sees sums alone: `SecAgg(FedAvg(), clip=1.0)`.

    It must be the outermost wrapper. The strategy gets a reply for each node whose input is in the
    sum, all with the mean and an equal part of the weight; none of a round that failed.

    Args:
        strategy: one that averages (FedAvg, FedAvgM, FedAdam, FedAdagrad, FedYogi, FedProx), or a
            wrapper of one, such as `DifferentialPrivacyClientSideFixedClipping`.
        options: of `secagg.LayoutOptions`: `clip`, `metrics`, `evaluate`, ...; and
            of `secagg.Rounds`: `directory` (malicious mode), `corrupt`, `dropout`, `least`, ...;
            and `executor`, which takes masks off, as in `secagg.run_jobs`; and in malicious mode
            `run_config`, that of the context of the ServerApp, which nodes must have alike.
        step_timeout: seconds for steps in which nodes do not train, at most those of `start`.
        force: take a strategy that needs single updates: what it computes of them is then wrong.

    Raises:
        ParameterError: an option is wrong, or the strategy needs single updates.
    """

    def __init__(
        self, strategy: Strategy, *, step_timeout: float = inf, force: bool = False, **options: Any
    ) -> None:
        if not isinstance(strategy, Strategy) or isinstance(strategy, SecAgg):
            raise wrong(f"a strategy of flwr.serverapp is needed, such as FedAvg(), not {strategy}")
        seconds = require_seconds("step_timeout", step_timeout, positive=True, most=inf)
        self.strategy, self.step_timeout, inner = strategy, seconds, chain_of(strategy, "strategy")
        for name in those_like(_SINGLE, inner):
            if not force:
                raise wrong(f"{name} needs single updates, and gets means (force=True takes it)")
            log.warning("secagg: %s needs single updates: what it computes is wrong", name)
        usual = {"weight": getattr(inner[-1], "weighted_by_key", "num-examples"), "tries": 1}
        usual |= {"training": "flower", "attempts": 1 if options.get("directory") else MANY}
        self.options, others = LayoutOptions.split(usual | options)
        jobs, self.run_config = others.pop("executor", None), others.pop("run_config", None)
        self.rounds = secagg.Rounds(self.options.training, self.options.format, **others)
        # 2 by default, which are too few for a sum
        raise_to(self.rounds.least, inner[-1], "min_train_nodes", "min_available_nodes", log=log)
        self.run_round = partial(summed_once, self.rounds, executor=jobs)
        self.names = PeerNames(pins) if (pins := options.get("directory")) else None
        if self.names and self.run_config is None:
            raise wrong("malicious mode needs run_config=context.run_config, of the ServerApp")

    def start(self, grid: Grid, *args: Any, **kwargs: Any) -> Result:
        """Runs the strategy over a grid whose trainings come back as sums; see `Strategy.start`."""
        log.info("secagg: the server will see sums alone: %s", self.options)
        result = self.strategy.start(secure := _SecureGrid(grid, self), *args, **kwargs)
        model = secure.originals.restored(numbers(result.arrays))
        result.arrays = arrays_of(model, result.arrays)
        return result

    def summary(self) -> None:
        """Logs the configuration of the strategy."""
        self.strategy.summary()

    def _not_outermost(self, *_: Any, **__: Any) -> NoReturn:
        raise wrong("SecAgg must be the outermost strategy: SecAgg(Other(FedAvg()))")

    configure_train = aggregate_train = configure_evaluate = aggregate_evaluate = _not_outermost


@Grid.register  # one by its methods: what is not below, the grid of the run does
class _SecureGrid:
    """A grid that carries a training, or an evaluation, as a secure round."""

    def __init__(self, grid: Grid, agreed: SecAgg) -> None:
        self._grid, self._agreed, self.originals = grid, agreed, Originals()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Returns replies with the mean in place of the nodes' own; of other kinds those."""
        messages, seconds = list(messages), 3600.0 if timeout is None else timeout
        kinds, ours = {m.metadata.message_type.split(".")[0] for m in messages}, {"train"}
        ours |= {"evaluate"} if self._agreed.options.evaluate else set()
        if not kinds & ours:
            return list(self._grid.send_and_receive(messages, timeout=timeout))
        return self._round(messages, same(kinds, "kind of message") == "train", seconds)

    def _round(self, messages: list[Message], trains: bool, timeout: float) -> list[Message]:
        agreed, options = self._agreed, self._agreed.options
        short = min(timeout, agreed.step_timeout)
        key, arrays = same(
            [only(m.content.array_records, "ArrayRecord") for m in messages], "model"
        )
        told = [told_in(each, agreed.run_config) if agreed.names else None for each in messages]
        if any(each.content.keys() & {KEY, OPTIONS} for each in messages):
            raise wrong(f"{KEY} and {OPTIONS} are keys of secagg's: the strategy must have others")
        given = self.originals.restored(numbers(arrays))  # what Flower's averages lose is back
        self.originals.note(given)
        cohort = max(len(messages), agreed.rounds.least)
        layout, model = options.shaped(given, cohort, evaluates=not trains)
        said = {OPTIONS: ConfigRecord({"text": options.to_text()}), key: arrays_of(model, arrays)}
        named = self._named(messages, short)

        def ask(phase: secagg.Phase, payloads: Mapping[str, bytes]) -> Iterator[tuple[str, Any]]:
            works, sent = phase is secagg.Phase.MASKED_INPUT, {}
            for name, payload in payloads.items():  # all else that was said, when it works
                records = named[name].content if works else named[name].content.config_records
                content = {**records, KEY: packed(payload)} | (said if works else {})
                sent[name] = like(named[name], content, timeout if works else short)
            yield from self._exchange(sent, timeout if works else short)

        try:
            outcome = agreed.run_round(
                ask, list(named), layout, model, settings=same(told, "settings")
            )
            if not isinstance(outcome, secagg.Completed):
                return []  # the log of the rounds has said why
            unpacked: Any = layout.unpack(outcome.result, model if trains else None)
        except secagg.SecAggError as error:
            if error.code not in ("quorum", "attempts_exhausted", "impossible_sum"):
                raise
            log.error("secagg: no sum in this round: %s [%s]", error, error.code)
            return []
        self.originals.note(unpacked[0] if trains else {})
        (new, metrics), survivors = unpacked, agreed.rounds.history[-1].survivors
        replying = [named[name] for name in survivors if name in named]
        metrics[options.weight] = outcome.result.weight / max(1, len(replying))
        content = {"metrics": MetricRecord(metrics)}
        content |= {key: arrays_of(new, arrays)} if trains else {}
        # Each has records of its own, as a strategy may change what is in a reply.
        return [Message(in_order(RecordDict(content)), reply_to=message) for message in replying]

    def _named(self, messages: list[Message], seconds: float) -> dict[str, Message]:
        """Returns the messages by name: of the directory in malicious mode, else of the node's id.

        With node authentication the SuperLink knows the names; other nodes are asked once.
        """
        nodes = {str(message.metadata.dst_node_id): message for message in messages}
        same([len(messages), len(nodes)], "number of messages")  # one
        if self._agreed.names is None:
            return nodes

        def ask(unknown: list[str]) -> Iterator[tuple[str, Any]]:
            hello = {KEY: packed(b"")}
            return self._exchange({n: like(nodes[n], hello, seconds) for n in unknown}, seconds)

        known = {str(node.node_id): node.name for node in self._grid.get_nodes()}
        names = self._agreed.names.of(nodes, known, ask)
        return {name: nodes[node] for node, name in names.items()}

    def _exchange(self, sent: Mapping[str, Message], seconds: float) -> Iterator[tuple[str, Any]]:
        """Sends messages by name, and yields payloads and errors of nodes as they come."""
        taken = set(self._grid.push_messages(list(sent.values()))) if sent else set()
        waiting = {message.metadata.message_id: name for name, message in sent.items()}
        for lost in waiting.keys() - taken:
            yield waiting.pop(lost), ConnectionError("the SuperLink did not take its message")
        yield from polled(waiting, self._grid.pull_messages, answer_in, seconds)
