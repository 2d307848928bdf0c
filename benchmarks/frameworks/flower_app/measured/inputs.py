"""Draws what the nodes give; the server draws it again, to know the exact mean."""

import numpy as np
from numpy.typing import NDArray


def first_model(number: int, length: int) -> NDArray[np.float32]:
    """Returns the model of a round, another one in each: a node gives one update for a model."""
    return np.full(length, number / 64, np.float32)


def trained(node: int, model: NDArray[np.float32], clip: float) -> NDArray[np.float32]:
    """Returns the model of a node; neither it nor its change goes beyond the clip."""
    change = np.random.default_rng(node).uniform(-clip / 2, clip / 2, model.size)
    return model + change.astype(np.float32)


def weight_of(node: int, most: int) -> int:
    """Returns the weight of a node, 1..most."""
    return 1 + node * 3 % most


def exact_mean(
    nodes: int, model: NDArray[np.float32], clip: float, most: int
) -> NDArray[np.float64]:
    """Returns the weighted mean of the models that the nodes send."""
    weights = [weight_of(node, most) for node in range(nodes)]
    models = (trained(node, model, clip).astype(np.float64) for node in range(nodes))
    total = sum(
        (weight * each for weight, each in zip(weights, models, strict=True)),
        np.zeros(model.size),
    )
    return total / sum(weights)
