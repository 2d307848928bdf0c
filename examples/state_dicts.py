"""Four clients average the `state_dict`s of a linear model of PyTorch.

Question: the weights of a linear model of records that stay at four clients.
Data: drawn at random in this file by a seeded generator.
Run it: ``pip install torch``, then ``python examples/state_dicts.py``; without PyTorch it says so
and ends. All clients are in this process: it is a simulation.
Protected: the `state_dict` of each client from the server and from the others.
"""

import sys
from textwrap import fill
from typing import cast

import numpy as np

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


def main() -> None:
    """Trains with secure sums, and compares the last one with the plain average."""
    torch.manual_seed(0)
    nets = [torch.nn.Linear(FEATURES, 1) for _ in range(4)]
    data = [records_of(client) for client in range(len(nets))]
    weights = [len(x) for x, _ in data]
    form = secagg.FixedPoint(clip=4.0, bits=24, max_weight=1000)
    layout = secagg.ModelLayout.of(nets[0].state_dict(), form, cohort=len(nets), clip=4.0)
    print(layout, "\n")
    model = cast("Model", layout.take(nets[0].state_dict()))  # a copy, as NumPy arrays
    for _ in range(ROUNDS):
        for net, (x, y) in zip(nets, data, strict=True):
            load_into(net, model)
            train(net, x, y)
        vectors = [layout.pack(net.state_dict(), model) for net in nets]  # at each client
        total = secagg.secure_sum(vectors, form, weights=weights)
        model = cast("Model", layout.unpack(total, model)[0])  # at the server

    plain = {
        name: sum(w * net.state_dict()[name] for w, net in zip(weights, nets, strict=True))
        / sum(weights)
        for name in model
    }
    load_into(nets[0], model)
    found = nets[0].state_dict()
    apart = max(float((found[name] - plain[name]).abs().max()) for name in plain)
    x, y = (torch.cat(each) for each in zip(*data, strict=True))
    pooled = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), y).solution[:, 0]
    numbers = [*found["weight"][0].tolist(), *found["bias"].tolist()]
    print("federated:    ", " ".join(f"{number:7.4f}" for number in numbers))
    print("pooled:       ", " ".join(f"{number:7.4f}" for number in pooled.tolist()))
    print(f"beside the plain average of the same four state_dicts: {apart:.1e} at most\n")
    print(
        fill(
            "What the server saw: in each round the weighted sum of four updates, new - "
            f"old, and the number of all records, {sum(weights)}; of each client "
            f"{total.run.bytes_up[0]} bytes of keys, shares and masked numbers. In this "
            "simulation all clients are in one process, whose owner could read all."
        )
    )


if __name__ == "__main__":
    main()
