"""Ten clients fit the line y = 2 x + 1, with nothing but NumPy.

Question: slope and intercept of a line through points that stay at ten clients.
Data: 20 to 110 points a client, drawn at random in this file by a seeded generator.
Run it: ``python examples/line.py``. All clients are in this process: it is a simulation.
Protected: the update of each client, and its number of points, from the server and from the others.
"""

from dataclasses import dataclass
from textwrap import fill

import numpy as np
from secagg.fl import FedAvg, Model, fedavg_params

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


def main() -> None:
    """Trains, and prints the line beside that of the pooled points."""
    clients = [make_client(index) for index in range(CLIENTS)]
    start = [np.zeros(1), np.zeros(1)]
    training = FedAvg(start, clients, rounds=ROUNDS, params=fedavg_params(clients, start, bits=24))
    for report in training:
        if report.round in (1, 2, 5, ROUNDS):
            slope, intercept = (array[0] for array in training.model)
            print(f"round {report.round:2}: y = {slope:.4f} x + {intercept:.4f}")
    x, y = (np.concatenate([getattr(each, axis) for each in clients]) for axis in "xy")
    slope, intercept = np.polyfit(x, y, 1)
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


if __name__ == "__main__":
    main()
