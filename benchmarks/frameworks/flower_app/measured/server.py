"""The server: in each round every system computes the same mean once, one after the other."""

import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common import ndarrays_to_parameters
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_PARAMS_RECORD
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

import secagg
from secagg.integrations.common import PAUSE
from secagg.integrations.flower import SecAgg

from .counting import Counting
from .inputs import exact_mean, first_model

System = Callable[[Counting, Any], tuple[float, Any]]  # grid, model -> seconds, mean


def main(grid: Grid, context: Context) -> None:
    """Measures, and writes a line of JSON for each round of a system, in the end an empty one."""
    with Path(str(context.run_config["out"])).open("w", buffering=1) as out:
        try:
            _measure(grid, context, lambda found: out.write(json.dumps(found) + "\n"))
            out.write("{}\n")
        except BaseException:
            out.write(json.dumps({"failed": traceback.format_exc()}) + "\n")
            raise


def _measure(grid: Grid, context: Context, write: Callable[[dict[str, Any]], object]) -> None:
    config = context.run_config
    nodes, length, most = int(config["nodes"]), int(config["length"]), int(config["max-weight"])
    clip = float(config["clip"])
    while len(list(grid.get_node_ids())) < nodes:
        time.sleep(0.2)
    systems = _systems(context)
    sizes: list[tuple[int, int]] = []  # of the exchanges of malicious mode, bytes down and up

    def exchanges(counted: Counting) -> float:
        start = time.perf_counter()
        _exchanges(counted, sizes, float(config["timeout"]))
        return time.perf_counter() - start

    for number in range(int(config["rounds"]) + 1):  # the first one makes keys and homes
        model = first_model(number, length)
        exact = exact_mean(nodes, model, clip, most)
        for name in ("plain", "plus", "malicious", "exchanges", "secret"):
            counted = Counting(grid)
            if name == "exchanges":
                found = {"seconds": exchanges(counted)}
            else:
                seconds, mean = systems[name](counted, model)
                error = np.abs(mean.astype(np.float64) - exact).max()
                found = {"seconds": seconds, "error": float(error)}
            if name == "malicious":  # once it asks the nodes for their names, too
                sizes = [(each.down // nodes, each.up // nodes) for each in counted.exchanges[-5:]]
            write({"round": number, "system": name, **found, "exchanges": counted.found()})


def _systems(context: Context) -> dict[str, System]:
    config = context.run_config
    nodes, timeout = int(config["nodes"]), float(config["timeout"])
    options: dict[str, Any] = {
        "clip": float(config["clip"]),
        "bits": int(config["bits"]),
        "max_weight": int(config["max-weight"]),
    }

    def averages() -> FedAvg:
        return FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)

    def system(name: str, strategy: Any) -> System:
        def run(grid: Counting, model: Any) -> tuple[float, Any]:
            start = time.perf_counter()
            result = strategy.start(
                grid=grid,
                initial_arrays=ArrayRecord({"w": Array(model)}),
                num_rounds=1,
                timeout=timeout,
                train_config=ConfigRecord({"system": name}),
            )
            seconds = time.perf_counter() - start
            return seconds, result.arrays["w"].numpy()

        return run

    def plus(grid: Counting, model: Any) -> tuple[float, Any]:
        took: list[float] = []
        workflow = SecAggPlusWorkflow(
            nodes,
            2 * nodes // 3 + 1,
            max_weight=float(options["max_weight"]),
            clipping_range=options["clip"],
            quantization_range=2 ** options["bits"],
            timeout=timeout,
        )

        def timed(*arguments: Any) -> None:
            start = time.perf_counter()
            workflow(*arguments)
            took.append(time.perf_counter() - start)

        strategy = LegacyFedAvg(
            fraction_evaluate=0.0,
            min_fit_clients=nodes,
            min_available_clients=nodes,
            initial_parameters=ndarrays_to_parameters([model]),
        )
        legacy = LegacyContext(context, ServerConfig(num_rounds=1), strategy)
        DefaultWorkflow(timed)(grid, legacy)
        (array,) = legacy.state.array_records[MAIN_PARAMS_RECORD].to_numpy_ndarrays()
        return took[0], array

    pins = secagg.Directory.load(Path(str(config["pins"])))
    return {
        "plain": system("plain", averages()),
        "plus": plus,
        "malicious": system(
            "malicious",
            SecAgg(averages(), directory=pins, run_config=context.run_config, **options),
        ),
        "secret": system("secret", SecAgg(averages(), **options)),
    }


def _exchanges(grid: Counting, sizes: list[tuple[int, int]], timeout: float) -> None:
    """Does plain exchanges of these sizes with all nodes; looks for answers as often as ours."""
    nodes = list(grid.get_node_ids())
    for down, up in sizes:
        payload = Array("uint8", (down,), "bytes", os.urandom(down))
        content = RecordDict(
            {
                "arrays": ArrayRecord({"bytes": payload}),
                "config": ConfigRecord({"answer": up}),
            }
        )
        messages = [Message(content, node, "query", ttl=timeout) for node in nodes]
        until = time.monotonic() + timeout
        waiting = set(grid.push_messages(messages))
        while waiting:
            for reply in grid.pull_messages(list(waiting)):
                waiting.discard(reply.metadata.reply_to_message_id)
            if time.monotonic() > until:
                raise TimeoutError(f"{len(waiting)} nodes have not answered a plain message")
            time.sleep(PAUSE if waiting else 0)


app = ServerApp()
app.main()(main)
