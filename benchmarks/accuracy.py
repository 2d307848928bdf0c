"""Trains with few bits: the accuracy beside plain averaging, bytes, and the error of a mean."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from secagg.fl import (
    MLP,
    Architecture,
    Descent,
    FedAvg,
    LocalClient,
    Model,
    Softmax,
    Split,
    accuracy,
    fedavg_params,
    load,
    plain_fedavg,
    simulated_randomness,
)

import secagg
from secagg import FixedPoint, Layout, ModelLayout, Rotated
from secagg.progress import Progress

from .rows import Row, make_row

DATA: Final = "digits"
CLIENTS: Final = 20
ROUNDS: Final = 15
SEEDS: Final = range(3)
CLIP: Final = 4.0  # the default of the command line
ALLOWED: Final = {2: 0.5, 1: 1.5}  # bits -> points of accuracy below plain averaging
MODELS: Final[dict[str, Callable[[int, int], Architecture]]] = {"softmax": Softmax, "mlp": MLP}
BITS: Final = (8, 4, 2, 1)
HIDDEN: Final = 128  # the MLP whose updates are summed has 9,610 numbers
REPEATS: Final = 5
PER_ARRAY: Final = "largest value per array"
TABLED: Final = 6  # the round of which all ways are compared
# Round -> the least gain of rotation over ranges per array at 4 bits. In the first one all arrays
# change much, and alike.
TARGETS: Final = {1: ">= 2.5", TABLED: ">= 5", ROUNDS: ">= 5"}

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trained:
    """Some trainings of one model in one way.

    Attributes:
        model: a key of `MODELS`.
        bits: per rotated coordinate; 0 for `FixedPoint` with 20 bits.
        accuracy: in percent, mean over the seeds.
        plain: that of plain averaging.
        bytes_up: sent by one client in one round, on average.
        masked: bits per parameter in a masked input.
    """

    model: str
    bits: int
    accuracy: float
    plain: float
    bytes_up: float
    masked: float

    @property
    def missed(self) -> bool:
        """True if the training is further below plain averaging than is allowed."""
        return self.accuracy < self.plain - ALLOWED.get(self.bits, 100.0)


def train(
    model: str, bits: Sequence[int], seeds: Sequence[int], rounds: int, done: Callable[[], None]
) -> list[Trained]:
    """Trains a model with each of these numbers of bits, and in the plain way."""
    runs = {each: [_run(model, each, seed, rounds, done) for seed in seeds] for each in bits}
    plain = fmean(_plain(model, seed, rounds) for seed in seeds)
    return [
        Trained(
            model, each, fmean(run[0] for run in of), plain, fmean(run[1] for run in of), of[0][2]
        )
        for each, of in runs.items()
    ]


def _parties(model: str, seed: int) -> tuple[Architecture, list[LocalClient], Split]:
    data = load(DATA, CLIENTS, seed)
    architecture = MODELS[model](data.features, data.classes)
    clients = [LocalClient(architecture, split, Descent(), seed) for split in data.clients]
    return architecture, clients, data.test


def _run(
    model: str, bits: int, seed: int, rounds: int, done: Callable[[], None]
) -> tuple[float, float, float]:
    """Returns accuracy, bytes from a client per round, and bits per masked parameter."""
    architecture, clients, test = _parties(model, seed)
    start = architecture.init(seed)
    params = fedavg_params(clients, start, CLIP, bits or None, rotate=bool(bits))
    federation = FedAvg(
        start, clients, params=params, rounds=rounds, random=simulated_randomness(seed)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", secagg.ClippingWarning)  # first updates exceed the clip
        sent = fmean(report.bytes_up for report in federation)
    done()
    masked = params.field_bits * params.vector_length / params.length
    return float(100 * accuracy(architecture, federation.model, test)), sent, masked


def _plain(model: str, seed: int, rounds: int) -> float:
    architecture, clients, test = _parties(model, seed)
    *_, last = plain_fedavg(architecture.init(seed), clients, [range(CLIENTS)] * rounds)
    return float(100 * accuracy(architecture, last, test))


def table(trained: Sequence[Trained]) -> str:
    """Returns the trainings as Markdown."""
    lines = [
        "| model | numbers | accuracy | plain | bytes per client and round | bits per parameter |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.model} | {f'rotated, {each.bits} bits' if each.bits else 'fixed point, 20 bits'} "
        f"| {each.accuracy:.1f}% | {each.plain:.1f}% | {each.bytes_up:,.0f} | {each.masked:.3g} |"
        for each in trained
    ]
    return "\n".join(lines)


def real_updates(
    rounds: int, hidden: int = HIDDEN, seed: int = 0
) -> Iterator[tuple[Model, list[Model]]]:
    """Yields the model of each round of plain averaging, and what all clients make of it."""
    data = load(DATA, CLIENTS, seed)
    architecture = MLP(data.features, data.classes, hidden)
    model = architecture.init(seed)
    clients = [LocalClient(architecture, split, Descent(), seed) for split in data.clients]
    for _ in range(rounds):
        trained = [client.train(model) for client in clients]
        yield model, trained
        weights = [float(client.examples) for client in clients]
        model = [np.average(each, axis=0, weights=weights) for each in zip(*trained, strict=True)]


def _flat(layout: Layout, arrays: Any) -> Vector:
    return np.asarray(layout.flatten(arrays), np.float64)


def errors(
    bits: int, start: Model, models: Sequence[Model], repeats: int = REPEATS
) -> dict[str, float]:
    """Returns the NMSE of the mean update, by how numbers are clipped and rounded.

    It is the sum of the squared errors over that of the squared mean, averaged over some sums.
    """
    layout = Layout.of(start)
    before = _flat(layout, start)
    updates = [_flat(layout, model) - before for model in models]
    largest = max(float(np.abs(update).max()) for update in updates)
    longest = max(float(np.linalg.norm(update)) for update in updates)
    ranges = {
        str(at): max(float(np.abs(model[at] - array).max()) for model in models)
        for at, array in enumerate(start)
    }
    arrays = ModelLayout.of(start, FixedPoint(1.0, bits), cohort=len(models), arrays=ranges)
    packed = [arrays.pack(model, start) for model in models]
    rotated = Rotated.of(clip=longest, bits=bits, length=layout.length, cohort=len(models))

    def per_array() -> Vector:
        mean, _ = arrays.unpack(secagg.secure_sum(packed, arrays.format, transcript=False), start)
        return _flat(layout, mean) - before

    def summed(form: FixedPoint | Rotated) -> Callable[[], Vector]:
        return lambda: np.asarray(secagg.secure_sum(updates, form, transcript=False).mean)

    ways: dict[str, Callable[[], Vector]] = {
        "clip 4": summed(FixedPoint(CLIP, bits)),
        "largest value": summed(FixedPoint(largest, bits)),
        PER_ARRAY: per_array,
        "rotated": summed(rotated),
    }
    wanted: Vector = np.mean(updates, axis=0)

    def off(mean: Vector) -> float:
        return float(((mean - wanted) ** 2).sum() / (wanted**2).sum())

    return {name: fmean(off(way()) for _ in range(repeats)) for name, way in ways.items()}


def rows(hidden: int = HIDDEN, repeats: int = REPEATS) -> Iterator[Row]:
    """Compares the errors of rotated updates with those of other ways to clip them."""
    for number, (start, models) in enumerate(real_updates(max(TARGETS), hidden), 1):
        for bits in BITS if number == TABLED else (4,) if number in TARGETS else ():
            found = errors(bits, start, models, repeats)
            rotated = found.pop("rotated")
            for name, other in found.items():
                target = TARGETS[number] if (bits, name) == (4, PER_ARRAY) else ""
                what = f"NMSE of the mean, round {number}, {bits} bits, rotated"
                yield make_row(what, rotated, "", name, other, target)


def measure(quick: bool) -> list[Trained]:
    """Trains everything that the document shows."""
    seeds, rounds = (range(1), 1) if quick else (SEEDS, ROUNDS)
    bits = (0, *BITS)
    progress = Progress(len(MODELS) * len(bits) * len(seeds))
    found = [
        each
        for model in MODELS
        for each in train(model, bits, seeds, rounds, lambda: progress(DATA))
    ]
    progress.close()
    return found
