"""Ten clients fit the line y = 2 x + 1, with nothing but NumPy.

Question: slope and intercept of a line through points that stay at ten clients.
Data: 20 to 110 points a client, drawn at random in this file by a seeded generator.
Run it: ``python examples/line.py [--plot FILE]``. All clients are in this process: a simulation.
Protected: the update of each client, and its number of points, from the server and from the others.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from secagg.fl import FedAvg, Model, fedavg_params, picture_file

CLIENTS, ROUNDS, STEPS, RATE = 10, 20, 5, 0.5


@dataclass
class Client:
    """A client with points; it takes some steps of gradient descent in a round."""

    x: np.ndarray
    y: np.ndarray

    @property
    def examples(self) -> int:
        """The number of its points: what its update weighs."""
        return len(self.x)

    def train(self, model: Model) -> Model:
        """Returns the slope and the intercept after the steps."""
        slope, intercept = model
        for _ in range(STEPS):
            error = slope * self.x + intercept - self.y
            slope, intercept = (
                slope - RATE * (error * self.x).mean(),
                intercept - RATE * error.mean(),
            )
        return [slope, intercept]


def make_client(index: int) -> Client:
    """Draws the points of a client; they never leave it."""
    generator = np.random.default_rng(index)
    x = generator.uniform(-1, 1, 20 + 10 * index)
    return Client(x, 2 * x + 1 + generator.normal(0, 0.1, len(x)))


def draw(
    path: Path, clients: list[Client], lines: dict[int, list[float]], pooled: np.ndarray
) -> None:
    """Draws the line after some rounds, and the slope that each client finds alone."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for client in clients:
        left.plot(client.x, client.y, ".", color="#BBBBBB", ms=3, aa=False)
    for (count, (slope, start)), colour in zip(
        lines.items(), ("#56B4E9", "#009E73", "#E69F00", "#0072B2"), strict=True
    ):
        left.axline((0, start), slope=slope, color=colour, label=f"round {count}")
    left.axline((0, pooled[1]), slope=pooled[0], color="black", ls=":", label="pooled points")
    left.set_title("Sums of updates find the line of all points", fontsize=10)
    left.set(xlabel="x", ylabel="y")
    left.legend(fontsize=8)
    alone = [np.polyfit(client.x, client.y, 1)[0] for client in clients]
    right.plot([client.examples for client in clients], alone, "o", color="#D55E00")
    right.axhline(lines[ROUNDS][0], color="#0072B2")
    right.axhline(pooled[0], color="black", ls=":")
    right.set_title("A client alone is off by up to 2 %", fontsize=10)
    right.set(xlabel="points of the client", ylabel="slope: alone (dots), by sums (line)")
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains, and prints the line beside that of the pooled points."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    path = parser.parse_args().plot
    clients = [make_client(index) for index in range(CLIENTS)]
    start = [np.zeros(1), np.zeros(1)]
    training = FedAvg(start, clients, rounds=ROUNDS, params=fedavg_params(clients, start, bits=24))
    lines = {}
    for report in training:
        if report.round in (1, 2, 5, ROUNDS):
            slope, intercept = lines[report.round] = [float(each[0]) for each in training.model]
            print(f"round {report.round:2}: y = {slope:.4f} x + {intercept:.4f}")
    x, y = (np.concatenate([getattr(each, axis) for each in clients]) for axis in "xy")
    slope, intercept = pooled = np.polyfit(x, y, 1)
    print(f"pooled:   y = {slope:.4f} x + {intercept:.4f}\n")
    print(
        fill(
            f"What the server saw: in each round the weighted sum of {len(report.survivors)} "
            f"updates, the number of all points ({len(x)}), and {report.bytes_up:.0f} bytes "
            "of keys, shares and masked numbers from each client, but no update, no number "
            "of points and no point of one client. In this simulation all of them are in "
            "one process, whose owner could read all."
        )
    )
    if path:
        draw(path, clients, lines, pooled)


if __name__ == "__main__":
    main()
