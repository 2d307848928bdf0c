"""Laplace's noise in a training, by a trusted server or enough of it by each client.

Its privacy is that of updates bounded in L1. Noise is drawn on integers of a fine grid, as the
difference of two geometric numbers, so that no float gives away what was added to; it comes from a
seeded generator, to compare with and not to protect anybody.
"""

import math
from dataclasses import replace
from statistics import fmean, stdev
from typing import Final

import numpy as np
from numpy.typing import NDArray
from secagg.fl import Descent, LocalClient, Softmax, accuracy, load

from secagg import Layout

from .privacy import CLIENTS, DELTA, SEEDS, Task

_STEPS: Final = 2.0**20  # of the grid to 1
CLIPS: Final = (1.0, 3.0, 10.0)  # in L1: the median update has about 10


def multiplier(epsilon: float, delta: float, rounds: int) -> float:
    """Returns the least scale of the noise, in units of the sensitivity, to 0.1 %."""
    from dp_accounting import LaplaceDpEvent, SelfComposedDpEvent  # noqa: PLC0415  (of an extra)
    from dp_accounting.pld import PLDAccountant  # noqa: PLC0415

    low, high = 0.0, 2 * rounds / epsilon
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        event = SelfComposedDpEvent(LaplaceDpEvent(middle), rounds)
        fits = PLDAccountant().compose(event).get_epsilon(delta) <= epsilon
        low, high = (low, middle) if fits else (middle, high)
    return high


def table(task: Task, quick: bool) -> str:
    """Returns both placements as Markdown, each with the clip that is best for it."""
    scale = multiplier(8.0, DELTA, task.rounds)
    lines = [
        f"{task}, noise of Laplace's distribution:",
        "",
        "| noise | epsilon | scale / sensitivity | clip (L1) | accuracy |",
        "|---|---|---|---|---|",
    ]
    for place in ("central", "local"):
        found = {}
        for clip in CLIPS[:1] if quick else CLIPS:
            seeds = range(2) if quick else SEEDS
            once = replace(task, rounds=1) if quick else task
            trained = [_train(once, place == "local", clip, scale, seed) for seed in seeds]
            found[fmean(trained), stdev(trained) / math.sqrt(len(trained))] = clip
        (mean, error), clip = max(found.items())
        lines.append(f"| {place} | 8 | {scale:.3g} | {clip:g} | {mean:.1f}% +- {error:.1f} |")
    return "\n".join(lines)


def _train(task: Task, local: bool, clip: float, scale: float, seed: int) -> float:
    """Returns the accuracy of a training, in percent."""
    data = load(task.data, CLIENTS, seed, split="even", by_row=task.by_row)
    architecture, random = Softmax(data.features, data.classes), np.random.default_rng(seed)
    descent = Descent(epochs=task.epochs)
    clients = [LocalClient(architecture, split, descent, seed) for split in data.clients]
    model = architecture.init(seed)
    layout = Layout.of(model)
    for _ in range(task.rounds):
        base = np.asarray(layout.flatten(model), np.float64)
        total = np.zeros(layout.length)
        for client in clients:
            update = np.asarray(layout.flatten(client.train(model)), np.float64) - base
            total += update * min(1.0, clip / np.abs(update).sum())
        levels = np.rint(total * _STEPS)
        spread = scale * (clip * _STEPS + 1.5 * layout.length)  # as rounding may move a sum
        for _ in range(len(clients) if local else 1):
            levels += _noise(random, spread, layout.length)
        mean = levels / _STEPS / len(clients)
        model = layout.unflatten(base + task.server_rate * mean)
    return float(100 * accuracy(architecture, model, data.test))


def _noise(random: np.random.Generator, spread: float, length: int) -> NDArray[np.int64]:
    """Returns integers n with probabilities in proportion to e^(-|n| / spread)."""
    chance = -math.expm1(-1 / spread)
    noise: NDArray[np.int64] = random.geometric(chance, length) - random.geometric(chance, length)
    return noise
