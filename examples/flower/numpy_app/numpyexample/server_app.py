"""The server: Flower's as always, but for the strategy around the strategy."""

import numpy as np
from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

import secagg
from secagg.integrations.flower import SecAgg

from .task import AGREED, FIRST

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Trains for some rounds, and stores the model."""
    config = context.run_config
    strategy = FedAvg(
        fraction_evaluate=float(config["fraction-evaluate"]),
        min_train_nodes=int(config["min-nodes"]),
        min_available_nodes=int(config["min-nodes"]),
    )
    pins = secagg.Directory.load(config["pins"]) if config["pins"] else None
    strategy = SecAgg(strategy, directory=pins, run_config=config, **AGREED)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({name: Array(each) for name, each in FIRST.items()}),
        num_rounds=int(config["num-server-rounds"]),
        timeout=float(config["timeout"]),
    )
    if config["out"] and len(result.arrays):  # none if no round had a sum
        np.savez(config["out"], **{name: each.numpy() for name, each in result.arrays.items()})
