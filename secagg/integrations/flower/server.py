"""The strategy of the server: wraps one of Flower's, which then sees sums alone."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from math import inf
from typing import Any, Final, NoReturn

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

import secagg

from ...encoding.options import LayoutOptions, with_integers
from ...rounds.peers import PeerNames
from ..common import MANY, show_log_beside, wrong
from .records import KEY, OPTIONS, arrays_of, kind_of, like, log, only, payload_in, record_of

_POLL: Final = 0.3  # seconds between two looks for replies
_OF_A_ROUND: Final = ("quorum", "attempts_exhausted", "impossible_sum")  # not of the whole run
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
            and `executor`, which takes masks off, as in `secagg.run_jobs`.
        step_timeout: seconds for steps in which nodes do not train, at most those of `start`.
        force: take a strategy that needs single updates: what it computes of them is then wrong.

    Raises:
        ParameterError: an option is wrong, or the strategy needs single updates.
    """

    def __init__(
        self, strategy: Strategy, *, step_timeout: float = inf, force: bool = False, **options: Any
    ) -> None:
        show_log_beside("flwr")
        self.strategy, self.step_timeout, inner = strategy, step_timeout, [strategy]
        while hasattr(inner[-1], "strategy"):
            inner.append(inner[-1].strategy)
        bases = {base.__name__ for each in inner for base in type(each).__mro__}
        for name in filter(_SINGLE.search, bases):
            if not force:
                raise wrong(f"{name} needs single updates, and gets means (force=True takes it)")
            log.warning("secagg: %s needs single updates: what it computes is wrong", name)
        usual = {"weight": getattr(inner[-1], "weighted_by_key", "num-examples"), "tries": 1}
        usual |= {"training": "flower", "attempts": 1 if options.get("directory") else MANY}
        jobs, directory = options.pop("executor", None), options.get("directory")
        self.options, others = LayoutOptions.split(usual | options)
        self.rounds = secagg.Rounds(self.options.training, self.options.format, **others)
        self.run_round = partial(secagg.run_round, self.rounds, executor=jobs)
        self.names = PeerNames(directory) if directory else None

    def start(self, grid: Grid, *args: Any, **kwargs: Any) -> Result:
        """Runs the strategy over a grid whose trainings come back as sums; see `Strategy.start`."""
        log.info("secagg: the server will see sums alone: %s", self.options)
        return self.strategy.start(_SecureGrid(grid, self), *args, **kwargs)

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
        self._grid, self._agreed = grid, agreed
        self._dtypes: dict[str, Any] = {}  # of the first model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Returns replies with the mean in place of the nodes' own; of other kinds those."""
        messages = list(messages)
        kinds, seconds = set(map(kind_of, messages)), 3600.0 if timeout is None else timeout
        if kinds == {"train"} or (kinds == {"evaluate"} and self._agreed.options.evaluate):
            return self._round(messages, kinds == {"train"}, seconds)
        return list(self._grid.send_and_receive(messages, timeout=timeout))

    def _round(self, messages: list[Message], trains: bool, timeout: float) -> list[Message]:
        agreed, options = self._agreed, self._agreed.options
        short = min(timeout, agreed.step_timeout)
        key, arrays = only(messages[0].content.array_records, "ArrayRecord")
        if any(only(each.content.array_records, "ArrayRecord")[1] != arrays for each in messages):
            raise wrong("all nodes of a round must get the same model")
        sent = {name: array.numpy() for name, array in arrays.items()}
        self._dtypes = self._dtypes or {name: array.dtype for name, array in sent.items()}
        sent = with_integers(sent, self._dtypes)  # which Flower's averages have as floats
        cohort = max(len(messages), agreed.rounds.least)
        layout, model = options.shaped(sent, cohort, evaluates=not trains)
        words = ConfigRecord({"options": options.to_text()})
        said = {OPTIONS: words, key: arrays_of(model, arrays)}
        named = self._named(messages, short)

        def ask(phase: secagg.Phase, payloads: Mapping[str, bytes]) -> Iterator[tuple[str, Any]]:
            works, sent = phase is secagg.Phase.MASKED_INPUT, {}
            for name, payload in payloads.items():  # all else that the strategy says, when it works
                if name not in named:  # in a round that goes on, of a `start` that was stopped
                    yield name, ConnectionError("it is not among the nodes that were chosen")
                    continue
                records = named[name].content if works else named[name].content.config_records
                content = {**records, KEY: record_of(payload)} | (said if works else {})
                sent[name] = like(named[name], content, timeout if works else short)
            yield from self._exchange(sent, timeout if works else short)

        try:
            outcome = agreed.run_round(ask, list(named), layout, model)
            if not isinstance(outcome, secagg.Completed):
                return []  # the log of the rounds has said why
            unpacked: Any = layout.unpack(outcome.result, model if trains else None)
        except secagg.SecAggError as error:
            if error.code not in _OF_A_ROUND:
                raise
            log.warning("secagg: no sum in this round: %s [%s]", error, error.code)
            return []
        (new, metrics), survivors = unpacked, agreed.rounds.history[-1].survivors
        replying = [named[name] for name in survivors if name in named]
        metrics[options.weight] = outcome.result.weight / max(1, len(replying))
        content = {key: arrays_of(new, arrays)} if trains else {}
        content["metrics"] = MetricRecord(metrics)
        return [Message(RecordDict(content), reply_to=message) for message in replying]

    def _named(self, messages: list[Message], seconds: float) -> dict[str, Message]:
        """Returns the messages by name: of the directory in malicious mode, else of the node's id.

        With node authentication the SuperLink knows the names; other nodes are asked once.
        """
        nodes = {str(message.metadata.dst_node_id): message for message in messages}
        if self._agreed.names is None:
            return nodes

        def ask(unknown: list[str]) -> Iterator[tuple[str, Any]]:
            hello = {KEY: record_of(b"")}
            return self._exchange({n: like(nodes[n], hello, seconds) for n in unknown}, seconds)

        known = {str(node.node_id): node.name for node in self._grid.get_nodes()}
        names = self._agreed.names.of(nodes, known, ask)
        return {name: nodes[node] for node, name in names.items()}

    def _exchange(self, sent: Mapping[str, Message], seconds: float) -> Iterator[tuple[str, Any]]:
        """Sends messages by name, and yields payloads and errors of nodes as they come."""
        taken = set(self._grid.push_messages(list(sent.values()))) if sent else set()
        waiting = {message.metadata.message_id: name for name, message in sent.items()}
        for message_id in waiting.keys() - taken:
            yield waiting.pop(message_id), ConnectionError("the SuperLink did not take its message")
        until = time.monotonic() + seconds
        while waiting:
            for reply in self._grid.pull_messages(list(waiting)):
                if name := waiting.pop(reply.metadata.reply_to_message_id, ""):
                    yield name, payload_in(reply)
            if time.monotonic() > until:
                return
            time.sleep(_POLL if waiting else 0)
