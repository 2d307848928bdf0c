"""Four clients average the `state_dict`s of a linear model of PyTorch.

Question: the weights of a linear model of records that stay at four clients.
Data: drawn at random in this file by a seeded generator.
Run it: ``pip install torch``, then ``python examples/state_dicts.py [--plot FILE]``; without
PyTorch it says so and ends. All clients are in this process: it is a simulation.
Protected: the `state_dict` of each client from the server and from the others.
"""

import argparse
import sys
from pathlib import Path
from textwrap import fill
from typing import cast

import numpy as np
from secagg.fl import picture_file

import secagg

try:
    import torch
except ImportError:
    print("state_dicts: skipped, as PyTorch is not installed; run pip install torch")
    sys.exit(0)

FEATURES, ROUNDS, STEPS = 3, 20, 5
Model = dict[str, np.ndarray]
TRUE = torch.tensor([1.0, -2.0, 0.5])


def records_of(client: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the records of a client; they never leave it."""
    generator = torch.Generator().manual_seed(client)
    x = torch.randn(100 + 50 * client, FEATURES, generator=generator)
    return x, (x @ TRUE + 1 + 0.1 * torch.randn(len(x), generator=generator))[:, None]


def train(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """Trains the network of a client in place: any training of yours."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(x), y).backward()
        optimizer.step()


def load_into(net: torch.nn.Module, model: Model) -> None:
    """Gives a network the arrays of a model."""
    net.load_state_dict({name: torch.from_dlpack(array.copy()) for name, array in model.items()})


def numbers_of(model: Model) -> list[float]:
    """Returns the weights of the three columns, and the bias."""
    return [*model["weight"][0].tolist(), *model["bias"].tolist()]


def solution(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Returns the weights and the bias of least squares on these records."""
    found = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), y).solution[:, 0]
    return cast("list[float]", found.tolist())


def draw(path: Path, lines: np.ndarray, pooled: np.ndarray, alone: list[list[float]]) -> None:
    """Draws the weights by rounds, and how far clients alone are from the pooled records."""
    from matplotlib.figure import Figure  # noqa: PLC0415  (only for pictures)

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [*(f"weight {column}" for column in range(1, FEATURES + 1)), "bias"]
    for at, (name, colour) in enumerate(
        zip(names, ("#0072B2", "#D55E00", "#009E73", "#E69F00"), strict=True)
    ):
        left.plot(lines[:, at], color=colour, label=name)
        left.axhline(pooled[at], color=colour, ls=":")
    left.set_title("By sums: the pooled weights (dotted)", fontsize=10)
    left.set(xlabel="round", ylabel="weight", ylim=(-2.2, 2.6))
    left.legend(fontsize=8, ncols=2, loc="upper right")
    for each in alone:
        (dots,) = right.plot(names, each - pooled, "o", color="#D55E00")
    dots.set_label("a client alone")
    right.plot(names, lines[-1] - pooled, "D", color="#0072B2", label="by sums")
    right.axhline(0, color="black", ls=":")
    right.set_title("A client alone is less exact", fontsize=10)
    right.set_ylabel("difference to pooled")
    right.tick_params("x", labelsize=8)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Trains with secure sums, and compares the last one with the plain average."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", type=picture_file, metavar="FILE", help="draw a picture of it")
    path = parser.parse_args().plot
    torch.manual_seed(0)
    nets = [torch.nn.Linear(FEATURES, 1) for _ in range(4)]
    data = [records_of(client) for client in range(len(nets))]
    weights = [len(x) for x, _ in data]
    form = secagg.FixedPoint(clip=4.0, bits=24, max_weight=1000)
    layout = secagg.ModelLayout.of(nets[0].state_dict(), form, cohort=len(nets), clip=4.0)
    print(layout, "\n")
    model = cast("Model", layout.take(nets[0].state_dict()))  # a copy, as NumPy arrays
    lines = [numbers_of(model)]
    for _ in range(ROUNDS):
        for net, (x, y) in zip(nets, data, strict=True):
            load_into(net, model)
            train(net, x, y)
        vectors = [layout.pack(net.state_dict(), model) for net in nets]  # at each client
        total = secagg.secure_sum(vectors, form, weights=weights)
        model = cast("Model", layout.unpack(total, model)[0])  # at the server
        lines.append(numbers_of(model))

    plain = {
        name: sum(w * net.state_dict()[name] for w, net in zip(weights, nets, strict=True))
        / sum(weights)
        for name in model
    }
    load_into(nets[0], model)
    found = nets[0].state_dict()
    apart = max(float((found[name] - plain[name]).abs().max()) for name in plain)
    x, y = (torch.cat(each) for each in zip(*data, strict=True))
    pooled = solution(x, y)
    print("federated:    ", " ".join(f"{number:7.4f}" for number in lines[-1]))
    print("pooled:       ", " ".join(f"{number:7.4f}" for number in pooled))
    print(f"beside the plain average of the same four state_dicts: {apart:.1e} at most\n")
    print(
        fill(
            "What the server saw: in each round the weighted sum of four updates, new - "
            f"old, and the number of all records, {sum(weights)}; of each client "
            f"{total.run.bytes_up[0]} bytes of keys, shares and masked numbers. In this "
            "simulation all clients are in one process, whose owner could read all."
        )
    )
    if path:
        draw(path, np.array(lines), np.array(pooled), [solution(*each) for each in data])


if __name__ == "__main__":
    main()
