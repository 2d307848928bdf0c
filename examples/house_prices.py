"""Six agencies fit house prices: exactly in one round of sums, and by gradients in many rounds.

Question: what area, rooms, age and district of a house are worth.
Data: houses drawn at random in this file by a seeded generator, 40 to 140 an agency (`--full`: 40
times as many); each agency sells mostly in one district.
Run it: ``python examples/house_prices.py [--full]``. All agencies are in this process: it
is a simulation.
Protected: the houses and sums of each agency from the server and from the others.
"""

import argparse
from dataclasses import dataclass
from textwrap import fill
from typing import cast

import numpy as np
from secagg.fl import FedAvg, Model, Momentum, fedavg_params

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


def main() -> None:
    """Fits in both ways, beside the pooled houses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="40 times as many houses")
    times = 40 if parser.parse_args().full else 1
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
    *_, last = training
    scaled = 100 * training.model[0] / SPREAD
    steps = scaled.copy()
    steps[0] -= scaled @ CENTRE

    print(f"{len(x)} houses of {AGENCIES} agencies; in thousands a unit:")
    print(f"{'':12}{'pooled':>10}{'sums':>10}{'gradients':>10}")
    for row in zip(NAMES, pooled, exact, steps, strict=True):
        print("{:12}{:10.3f}{:10.3f}{:10.3f}".format(*row))
    for name, worth in (("pooled", pooled), ("sums", exact), ("gradients", steps)):
        error = np.abs(x @ worth - prices).mean()
        apart = np.abs(worth - pooled).max()
        print(f"{name:10} mean error {error:.3f}, largest difference to pooled {apart:.1e}")
    up = total.run.bytes_up[0]
    print(f"sums: {up} bytes from an agency; gradients: {ROUNDS} rounds of {last.bytes_up:.0f}\n")

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


if __name__ == "__main__":
    main()
