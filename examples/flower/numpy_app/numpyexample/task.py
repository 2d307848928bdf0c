"""States what all sides have agreed on; has the data of a node, and its training."""

from typing import Any

import numpy as np

from secagg import Range

FEATURES = 20
FIRST = {"weight": np.zeros(FEATURES, np.float32), "bias": np.zeros(1, np.float32)}

# What an update means. Server and nodes have the same words, each in its own copy.
AGREED: dict[str, Any] = {
    "clip": 1.0,  # the largest change of a number of the model in one round
    "metrics": {"loss": Range(0, 10)},
    "training": "numpyexample 1",
}


def examples_of(partition: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the records of a node; they never leave it. Here they are drawn at random."""
    generator = np.random.default_rng(partition)
    x = generator.normal(size=(100 * (2 + partition % 5), FEATURES)).astype(np.float32)
    y = (x @ np.linspace(-1, 1, FEATURES) + generator.normal(size=len(x)) > 0).astype(np.float32)
    return x, y


def loss_of(model: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
    """Returns the mean loss in nats."""
    logits = x @ model["weight"] + model["bias"]
    return float(np.mean(np.logaddexp(0, logits) - y * logits))


def trained(model: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the model after twenty steps of gradient descent."""
    weight, bias = (model[name].astype(np.float64) for name in ("weight", "bias"))
    for _ in range(20):
        error = 1 / (1 + np.exp(-(x @ weight + bias))) - y
        weight -= 0.5 * x.T @ error / len(x)
        bias -= 0.5 * error.mean()
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
