"""Six agencies fit house prices: exactly in one round of sums, and by gradients in many rounds.

Question: what area, rooms, age and district of a house are worth.
Data: houses drawn at random in this file by a seeded generator, 40 to 140 an agency (`--full`: 40
times as many); each agency sells mostly in one district.
Run it: ``python examples/house_prices.py [--full] [--plot FILE]``. All agencies are in this
process: it is a simulation.
Protected: the houses and sums of each agency from the server and from the others.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import cast

import numpy as np
from secagg.fl import FedAvg, Model, Momentum, fedavg_params, picture_file

import secagg

AGENCIES, DISTRICTS, ROUNDS, RATE = 6, 4, 150, 0.3
WORTH = np.array([60, 2.4, 12, -0.8, 25, 70, -30])  # in thousands: of a house, of each column below
NAMES = ("house", "m2", "room", "year", "district 2", "district 3", "district 4")
# Public numbers that make the columns alike for gradients; they are agreed on before.
CENTRE = np.array([0, 100, 4, 40, 0, 0, 0])
SPREAD = np.array([1, 40, 1.5, 25, 0.5, 0.5, 0.5])


@dataclass
class Agency:
    """An agency with houses: integers, x of shape (houses, 7) and prices in thousands."""

    x: np.ndarray
    prices: np.ndarray

    @property
    def examples(self) -> int:
        """The number of its houses: what its update weighs."""
        return len(self.x)

    def products(self) -> np.ndarray:
        """Returns the sums of all products of two columns, prices included: int64, shape (36,)."""
        z = np.column_stack([self.x, self.prices])
        products: np.ndarray = z.T @ z
        return products[np.triu_indices(z.shape[1])]

    def train(self, model: Model) -> Model:
        """Returns the worth of the scaled columns after one step of gradient descent."""
        (worth,) = model
        x = (self.x - CENTRE) / SPREAD
        return [worth - RATE * x.T @ (x @ worth - self.prices / 100) / len(x)]


def make_agency(index: int, times: int) -> Agency:
    """Draws the houses of an agency; they never leave it."""
    generator = np.random.default_rng(index)
    count = times * (40 + 20 * index)
    area = generator.normal(100, 40, count).clip(25, 300).round()
    rooms = (area / 25 + generator.normal(0, 1, count)).clip(1, 12).round()
    age = generator.uniform(0, 100, count).round()
    home = generator.random(count) < 0.6
    district = np.where(home, index % DISTRICTS, generator.integers(DISTRICTS, size=count))
    ones = [district == each for each in range(1, DISTRICTS)]
    x = np.column_stack([np.ones(count), area, rooms, age, *ones]).astype(np.int64)
    prices = (x @ WORTH + generator.normal(0, 25, count)).clip(1, 2000).round().astype(np.int64)
    return Agency(x, prices)


def solve(products: np.ndarray) -> np.ndarray:
    """Returns the worth of each column from sums of products: the normal equations."""
    whole = np.zeros((len(WORTH) + 1,) * 2)
    whole[np.triu_indices(len(whole))] = products
    whole += np.triu(whole, 1).T
    return np.linalg.solve(whole[:-1, :-1], whole[:-1, -1])


def unscaled(model: Model) -> np.ndarray:
    """Returns the worth of each column, in thousands, from a model of scaled columns."""
    worth: np.ndarray = 100 * model[0] / SPREAD
    worth[0] -= worth[1:] @ CENTRE[1:]
    return worth


def draw(
    path: Path,
    agencies: list[Agency],
    pooled: np.ndarray,
    exact: np.ndarray,
    steps: list[np.ndarray],
) -> None:
    """Draws what things are worth by sums and by agencies alone, and how near the ways come."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    units, rows = np.array([1, 10, 1, 10, 1, 1, 1]), np.arange(len(NAMES))
    alone = [np.linalg.lstsq(each.x.astype(float), each.prices, rcond=None)[0] for each in agencies]
    apart = units * (alone - pooled)
    left.plot(apart.ravel(), np.tile(rows, len(alone)), "o", color="#D55E00", label="agency alone")
    left.plot(units * (exact - pooled), rows, "D", color="#0072B2", label="sums of all")
    names = ["house", "10 m2", "room", "10 years", *NAMES[4:]]
    left.set_yticks(rows, [f"{n}: {w:.1f}" for n, w in zip(names, units * pooled, strict=True)])
    left.set(ylim=(len(rows) - 0.5, -1.7), xlabel="difference to pooled worth, in thousands")
    left.set_title(f"An agency alone is off by up to {np.abs(apart).max():.1f}", fontsize=10)
    left.legend(fontsize=8, ncols=2, loc="upper center")
    right.semilogy([np.abs(each - pooled).max() for each in steps], color="#009E73")
    right.axhline(np.abs(exact - pooled).max(), color="#0072B2")
    right.set(xlabel="round of gradients\n(blue: the one of sums)")
    right.set_ylabel("largest difference to pooled")
    right.set_title("Sums: exact in one round", fontsize=10)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Fits in both ways, beside the pooled houses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="40 times as many houses")
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    asked = parser.parse_args()
    times = 40 if asked.full else 1
    agencies = [make_agency(index, times) for index in range(AGENCIES)]
    x = np.concatenate([each.x for each in agencies])
    prices = np.concatenate([each.prices for each in agencies])
    pooled = np.linalg.lstsq(x.astype(float), prices, rcond=None)[0]

    most = 2000**2 * 10_000  # the largest square of a price, times the most houses of an agency
    total = secagg.secure_sum([each.products() for each in agencies], secagg.Integers(0, most))
    exact = solve(cast("np.ndarray", total.total))

    start = [np.zeros(len(WORTH))]
    training = FedAvg(
        start,
        agencies,
        rounds=ROUNDS,
        params=fedavg_params(agencies, start, clip=16, bits=24),
        optimizer=Momentum(beta=0.7),
    )
    models = []
    for report in training:
        models.append(unscaled(training.model))
        sent = report.bytes_up
    steps = models[-1]

    print(f"{len(x)} houses of {AGENCIES} agencies; in thousands a unit:")
    print(f"{'':12}{'pooled':>10}{'sums':>10}{'gradients':>10}")
    for row in zip(NAMES, pooled, exact, steps, strict=True):
        print("{:12}{:10.3f}{:10.3f}{:10.3f}".format(*row))
    for name, worth in (("pooled", pooled), ("sums", exact), ("gradients", steps)):
        error = np.abs(x @ worth - prices).mean()
        apart = np.abs(worth - pooled).max()
        print(f"{name:10} mean error {error:.3f}, largest difference to pooled {apart:.1e}")
    up = total.run.bytes_up[0]
    print(f"sums: {up} bytes from an agency; gradients: {ROUNDS} rounds of {sent:.0f}\n")

    print(
        fill(
            "What the server saw: the exact sums of all products of two columns over all "
            "agencies. They hold the number of all houses, and how many there are in each "
            "district, with their mean area and price; if only one agency sold there, these "
            "would be its own. Gradients of one step hide no more: eight rounds can be "
            "solved for the sums that give the worth. Of one agency the server saw keys, "
            "shares and masked numbers. In this simulation all are in one process, whose "
            "owner could read all."
        )
    )
    if asked.plot:
        draw(asked.plot, agencies, pooled, exact, models)


if __name__ == "__main__":
    main()
