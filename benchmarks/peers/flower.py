"""Flower: its `secaggplus_mod` and `SecAggPlusWorkflow`, over a grid within this process.

Server and clients are Flower's own code; this module only carries messages between them. Each
message goes through Flower's serialization, as on a network, to count bytes and to keep the
parties' objects apart; this time is not counted. The strategy only stores the aggregate.
"""

import importlib.metadata
import logging
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ..rows import Work
from .case import BITS, CLIP, MAX_WEIGHT, Case, MissingError, Outcome, Side, Stopwatch, Vector32

VERSION: Final = "1.41"  # the only one supported: internal modules move between versions
MODULUS: Final = 2**32


@dataclass(frozen=True, slots=True)
class _Api:
    """The parts of Flower that are used here, loaded on first use."""

    app: Any
    common: Any
    compat: Any
    error: Any
    legacy_context: Any
    mod: Callable[[Any, Any, Any], Any]
    quantize: Callable[..., Any]
    generator: Callable[..., Any]
    add: Callable[..., Any]
    names: Any
    records: Any
    round_key: str
    serde: Any
    workflow: Any


def _check_version() -> None:
    """Raises MissingError if Flower is not installed, or has another version than `VERSION`."""
    try:
        found = importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError:
        raise MissingError("Flower: not installed; pip install 'secagg[peers]'") from None
    if not found.startswith(f"{VERSION}."):
        raise MissingError(f"Flower: version {found} is installed, but {VERSION} is needed")


def _load() -> _Api:
    _check_version()
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of its dependencies
            import flwr.app  # noqa: PLC0415
            import flwr.common  # noqa: PLC0415
            from flwr.app.error import Error  # noqa: PLC0415
            from flwr.client.mod import secaggplus_mod  # noqa: PLC0415
            from flwr.common import serde  # noqa: PLC0415
            from flwr.common.secure_aggregation import (  # noqa: PLC0415
                ndarrays_arithmetic,
                quantization,
                secaggplus_constants,
                secaggplus_utils,
            )
            from flwr.compat.common import recorddict_compat  # noqa: PLC0415
            from flwr.server import LegacyContext  # noqa: PLC0415
            from flwr.server.workflow import SecAggPlusWorkflow  # noqa: PLC0415
            from flwr.server.workflow import constant as workflow_names  # noqa: PLC0415
            from flwr.supercore.task_identity import TaskIdentity  # noqa: PLC0415
    except ImportError as error:
        raise MissingError(f"Flower: {error}") from None
    logging.getLogger("flwr").setLevel(logging.ERROR)
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
    return _Api(
        app=flwr.app,
        common=flwr.common,
        compat=recorddict_compat,
        error=Error,
        legacy_context=LegacyContext,
        mod=secaggplus_mod,
        quantize=quantization.quantize,
        generator=secaggplus_utils.pseudo_rand_gen,
        add=ndarrays_arithmetic.parameters_addition,
        names=secaggplus_constants,
        records=workflow_names,
        round_key=workflow_names.Key.CURRENT_ROUND,
        serde=serde,
        workflow=SecAggPlusWorkflow,
    )


def quantizer(values: Vector32) -> Work:
    """Returns work that quantizes one vector with Flower's `quantize`."""
    api = _load()
    return lambda: api.quantize([values], CLIP, 2**BITS)


def masks(count: int, length: int) -> Work:
    """Returns work that expands `count` masks with Flower's generator and adds them up."""
    api = _load()
    seeds = [os.urandom(32) for _ in range(count)]
    total = [np.zeros(length, np.int64)]

    def work() -> Any:
        found = total
        for seed in seeds:
            found = api.add(found, api.generator(seed, MODULUS, [(length,)]))
        return found

    return work


@dataclass(slots=True)
class _Grid:
    """Carries the workflow's messages to the clients, and counts time and bytes.

    The server's work between two stages counts for the earlier one.

    Attributes:
        bytes_up: bytes sent by each node.
    """

    api: _Api
    case: Case
    contexts: dict[int, Any]
    watch: Stopwatch = field(default_factory=Stopwatch)
    bytes_up: dict[int, int] = field(default_factory=dict)

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> Any:
        """Delivers messages and returns the replies; the workflow calls this method."""
        sent = list(messages)
        self.watch.stop()
        names = self.api.names
        stage = sent[0].content.config_records[names.RECORD_KEY_CONFIGS][names.Key.STAGE]
        replies = [self._deliver(message, stage) for message in sent]
        self.watch.start(stage, Side.SERVER)
        return replies

    def _deliver(self, message: Any, stage: str) -> Any:
        api, node = self.api, message.metadata.dst_node_id
        if stage == api.names.Stage.COLLECT_MASKED_VECTORS and node - 1 in self.case.lost:
            return api.app.Message(api.error(0, "lost"), reply_to=message)
        received = api.serde.message_from_proto(api.serde.message_to_proto(message))
        with self.watch(stage, Side.CLIENTS):
            reply = api.mod(received, self.contexts[node], self._train)
        encoded = api.serde.message_to_proto(reply)
        self.bytes_up[node] = self.bytes_up.get(node, 0) + encoded.ByteSize()
        return api.serde.message_from_proto(encoded)

    def _train(self, message: Any, _context: Any) -> Any:
        """Returns the client's update, in place of training."""
        api, party = self.api, message.metadata.dst_node_id - 1
        result = api.common.FitRes(
            status=api.common.Status(api.common.Code.OK, ""),
            parameters=api.common.ndarrays_to_parameters([self.case.updates[party]]),
            num_examples=self.case.weights[party],
            metrics={},
        )
        content = api.compat.fitres_to_recorddict(result, keep_input=False)
        return api.app.Message(content, reply_to=message)


@dataclass(frozen=True, slots=True)
class _Proxy:
    node_id: int


@dataclass(slots=True)
class _Strategy:
    """A strategy that selects every client and stores the aggregate."""

    api: _Api
    nodes: list[int]
    aggregate: Any = None

    def configure_fit(self, server_round: int, parameters: Any, client_manager: Any) -> Any:
        return [(_Proxy(node), self.api.common.FitIns(parameters, {})) for node in self.nodes]

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
        (self.aggregate,) = self.api.common.parameters_to_ndarrays(results[0][1].parameters)
        return None, {}


@dataclass(frozen=True, slots=True)
class _Clients:
    count: int

    def num_available(self) -> int:
        return self.count


def play(case: Case) -> Outcome:
    """Plays one round, in which every client is a neighbour of every other.

    Raises:
        MissingError: Flower is not installed.
    """
    api = _load()
    nodes = list(range(1, case.clients + 1))

    def context(node: int) -> Any:
        return api.app.Context(1, node, {}, api.app.RecordDict(), {})

    strategy = _Strategy(api, nodes)
    server = api.legacy_context(
        context(0), strategy=strategy, client_manager=_Clients(case.clients)
    )
    server.state.config_records[api.records.MAIN_CONFIGS_RECORD] = api.app.ConfigRecord(
        {api.round_key: 1}
    )
    server.state.array_records[api.records.MAIN_PARAMS_RECORD] = api.app.ArrayRecord()
    grid = _Grid(api, case, {node: context(node) for node in nodes})
    workflow = api.workflow(
        case.clients,
        case.threshold,
        max_weight=float(MAX_WEIGHT),
        clipping_range=CLIP,
        quantization_range=2**BITS,
        modulus_range=MODULUS,
    )
    with grid.watch(api.names.Stage.SETUP, Side.SERVER):
        workflow(grid, server)
    assert strategy.aggregate is not None, "Flower's round failed"
    return Outcome(
        grid.watch.phases,
        grid.watch.cpu,
        grid.bytes_up[nodes[case.stayed[0]]],
        strategy.aggregate.astype(np.float64),
    )
