"""States what the members have agreed on, each in its own copy: never the server's word.

The model is a logistic regression, trained with PyTorch if that is installed, else with NumPy.
"""

from pathlib import Path
from typing import Any

import numpy as np

import secagg

try:
    import torch
except ImportError:
    torch = None

TRAINING = "heart study 3"
HOSPITALS = ("ada", "bell", "curie", "dirac", "euler")
FORMAT = secagg.FixedPoint(clip=1.0, bits=20, max_weight=1000)
ROUNDS = 4
ATTEMPTS = 1  # sums in which a hospital's update of one model may be; README.md says what more cost
FEATURES = 20

Model = Any  # a dict of arrays

FIRST = {"weight": np.zeros(FEATURES, np.float32), "bias": np.zeros(1, np.float32)}
LAYOUT = secagg.ModelLayout.of(
    FIRST, FORMAT, cohort=len(HOSPITALS), metrics={"loss": secagg.Range(0, 10)}
)


def encode(number: int, model: Model) -> bytes:
    """Returns number of the round and model as bytes."""
    return number.to_bytes(4, "little") + LAYOUT.to_bytes(model)


def decode(data: bytes) -> tuple[int, Model]:
    """Reads what `encode` wrote; refuses bytes of any other length.

    They are the coordinator's word. A format that can be compressed or says its own sizes (a zip
    file, such as ``.npz``) would let a small message fill the memory.
    """
    return int.from_bytes(data[:4], "little"), LAYOUT.from_bytes(data[4:])


def examples_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the records of a hospital; they never leave it. Here they are drawn at random."""
    generator = np.random.default_rng(HOSPITALS.index(name))
    x = generator.normal(size=(100 * (2 + HOSPITALS.index(name)), FEATURES)).astype(np.float32)
    y = (x @ np.linspace(-1, 1, FEATURES) + generator.normal(size=len(x)) > 0).astype(np.float32)
    return x, y


def loss_of(model: Model, x: np.ndarray, y: np.ndarray) -> float:
    """Returns the mean loss in nats."""
    logits = x @ model["weight"] + model["bias"]
    return float(np.mean(np.logaddexp(0, logits) - y * logits))


def trained(model: Model, x: np.ndarray, y: np.ndarray) -> Model:
    """Returns the model after twenty steps of gradient descent."""
    if torch is not None:
        return _trained_by_torch(model, x, y)
    weight, bias = (model[name].astype(np.float64) for name in ("weight", "bias"))
    for _ in range(20):
        error = 1 / (1 + np.exp(-(x @ weight + bias))) - y
        weight -= 0.5 * x.T @ error / len(x)
        bias -= 0.5 * error.mean()
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}


def _trained_by_torch(model: Model, x: np.ndarray, y: np.ndarray) -> Model:
    net = torch.nn.Linear(FEATURES, 1)
    net.load_state_dict(
        {"weight": torch.tensor(model["weight"])[None], "bias": torch.tensor(model["bias"])}
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        logits = net(torch.tensor(x))[:, 0]
        torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.tensor(y)).backward()
        optimizer.step()
    state = net.state_dict()
    return {"weight": state["weight"][0].numpy(), "bias": state["bias"].numpy()}


def load(path: Path) -> tuple[int, Model]:
    """Returns the next round and the model that `save` stored; the first ones if there is none."""
    return decode(path.read_bytes()) if path.exists() else (0, FIRST)


def save(path: Path, number: int, model: Model) -> None:
    """Stores both as a whole."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(encode(number, model))
    draft.replace(path)
