"""Ten clients fit the line y = 2 x + 1 with Keras, through `get_weights` and `set_weights`.

Question: slope and intercept of a line through points that stay at ten clients.
Data: 64 points a client, drawn at random in this file by a seeded generator.
Run it: ``python examples/line_keras.py [--plot FILE]``, with the extra `keras`. Another backend
does as well (`KERAS_BACKEND`; without a choice it is JAX). All clients are in this process: it is
a simulation.
Protected: the update of each client from the server and from the others.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from secagg.fl import FedAvg, Model, picture_file

from secagg.extras import extra

os.environ.setdefault("KERAS_BACKEND", "jax")
with extra("keras"):
    import keras

CLIENTS, POINTS, ROUNDS, EPOCHS = 10, 64, 10, 5


@dataclass
class Client:
    """A client with points, and a network of Keras that all clients of this process use in turn."""

    net: keras.Model
    x: np.ndarray
    y: np.ndarray

    @property
    def examples(self) -> int:
        """The number of its points: what its update weighs."""
        return len(self.x)

    def train(self, model: Model) -> Model:
        """Returns the weights after some epochs."""
        self.net.set_weights(model)
        self.net.fit(self.x, self.y, batch_size=16, epochs=EPOCHS, verbose=0)
        return list(self.net.get_weights())


def make_net() -> keras.Model:
    """Returns a network of one unit, compiled."""
    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    net.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    return net


def make_client(net: keras.Model, index: int) -> Client:
    """Draws the points of a client; they never leave it."""
    generator = np.random.default_rng(index)
    x = generator.uniform(-1, 1, POINTS)
    return Client(net, x[:, None], 2 * x + 1 + generator.normal(0, 0.1, POINTS))


def line_of(model: Model) -> tuple[float, float]:
    """Returns slope and intercept."""
    return float(model[0][0, 0]), float(model[1][0])


def draw(
    path: Path, clients: list[Client], lines: list[tuple[float, float]], pooled: Model
) -> None:
    """Draws the line by rounds, and beside it the lines that clients find alone."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for at, (name, colour) in enumerate((("slope", "#0072B2"), ("intercept", "#D55E00"))):
        left.plot([line[at] for line in lines], "o-", ms=4, color=colour, label=name)
        left.axhline(pooled[at], color=colour, ls=":", label=f"{name} of pooled points")
    left.set_title("By sums: in five rounds the pooled line", fontsize=10)
    left.set(xlabel="round", ylabel="slope and intercept", xticks=range(0, ROUNDS + 1, 2))
    left.legend(fontsize=8)
    alone = [np.polyfit(client.x[:, 0], client.y, 1) for client in clients]
    right.plot(*zip(*alone, strict=True), "o", color="#E69F00", label="a client alone")
    right.plot(*lines[-1], "D", color="#0072B2", label="by sums")
    right.plot(*pooled, "o", ms=12, fillstyle="none", color="black", label="pooled points")
    right.set_title("A client alone: another line", fontsize=10)
    right.set(xlabel="slope", ylabel="intercept")
    right.margins(y=0.5)
    right.legend(fontsize=8, loc="upper right")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains, and prints the line beside that of the pooled points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    path = parser.parse_args().plot
    keras.utils.set_random_seed(0)
    net = make_net()
    clients = [make_client(net, index) for index in range(CLIENTS)]
    training = FedAvg(net.get_weights(), clients, rounds=ROUNDS)
    lines = [line_of(training.model)]
    for report in training:
        lines.append(line_of(training.model))
        if report.round in (1, 2, 5, ROUNDS):
            slope, intercept = lines[-1]
            print(f"round {report.round:2}: y = {slope:.3f} x + {intercept:.3f}")
    x, y = (np.concatenate([getattr(each, axis) for each in clients]) for axis in "xy")
    slope, intercept = pooled = np.polyfit(x[:, 0], y, 1)
    print(f"pooled:   y = {slope:.3f} x + {intercept:.3f}\n")
    print(
        fill(
            f"What the server saw: in each round the weighted sum of {len(report.survivors)} "
            f"updates of {sum(array.size for array in training.model)} numbers, and "
            f"{report.bytes_up:.0f} bytes of keys, shares and masked numbers from each "
            "client, but no update and no point of one client. In this simulation all of "
            "them are in one process, whose owner could read all."
        )
    )
    if path:
        draw(path, clients, lines, pooled)


if __name__ == "__main__":
    main()
