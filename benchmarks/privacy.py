"""Trains with differential privacy: the accuracy with noise by clients, by the server, by none.

Clients, codecs, noise and server are those of a training; only masks are left out, which change no
sum. All clients survive, which is the most noise.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Final

import numpy as np
from secagg.fl import (
    Average,
    Coordinator,
    Descent,
    LocalClient,
    Model,
    Privacy,
    Softmax,
    accuracy,
    load,
    plain_fedavg,
    private_params,
    simulated_randomness,
)

from secagg import Field, Layout, Result
from secagg.encoding.choice import codec_for
from secagg.progress import Progress

from .rows import Row, make_row

CLIENTS: Final = 100
DELTA: Final = 1e-5
SEEDS: Final = range(5)
DRAWS: Final = 8  # of the noise, with each seed of the data
LEVELS: Final = 256  # per clip
# Points of accuracy that noise by the clients may cost beside noise by a trusted server, if the
# noise of so many of them is relied on, in the tasks that are judged.
ALLOWED: Final = 1.5
HONEST: Final = 67


@dataclass(frozen=True, slots=True)
class Task:
    """A training: a softmax regression, on evenly dealt examples.

    Attributes:
        data: a key of `secagg.fl.DATASETS`.
        rounds: of the training.
        epochs: of a client in each round.
        clip: largest L2 norm of an update.
        server_rate: of the mean update.
        by_row: whether features are scaled without statistics of all data (`secagg.fl.load`).
        judged: whether `ALLOWED` holds for it.
    """

    data: str
    rounds: int
    epochs: int
    clip: float
    server_rate: float
    by_row: bool = False
    judged: bool = True

    def __str__(self) -> str:
        scaled = "rows of norm 2, " if self.by_row else ""
        return (
            f"{self.data}, {scaled}{self.rounds} rounds of {self.epochs} epochs, clip "
            f"{self.clip:g}, server rate {self.server_rate:g}"
        )


@dataclass(frozen=True, slots=True)
class Way:
    """A place where noise is added.

    Attributes:
        placement: of `secagg.fl.Placement`.
        epsilon: over all rounds.
        corrupt, dropout: what is assumed of the clients, if they add it.
    """

    placement: str
    epsilon: float = 8.0
    corrupt: float | None = None
    dropout: float | None = None

    @property
    def by_clients(self) -> bool:
        """True if clients add it."""
        return self.placement in ("distributed", "local")


_SERVER: Final = Way("central")
_MOST: Final = Way("distributed", corrupt=0.05, dropout=0.05)  # h = 90
_SOME: Final = Way("distributed", corrupt=0.13, dropout=0.2)  # h = 67
_FEW: Final = Way("distributed")  # h = 34, by default
_EVERY: Final = (Way("none"), _SERVER, _MOST, _SOME, _FEW, Way("local"))
_OTHERS: Final = (2.0, 4.0, 16.0)
WAYS: Final = {
    Task("digits", 20, 2, 1.0, 3.0, by_row=True): (
        *_EVERY,
        *(replace(way, epsilon=each) for each in _OTHERS for way in (_SERVER, _SOME)),
    ),
    Task("digits", 20, 10, 1.0, 3.0): _EVERY,
    Task("digits", 20, 2, 1.0, 3.0, judged=False): _EVERY,
    Task("breast_cancer", 10, 2, 0.3, 1.0): (Way("none"), _SERVER, _SOME),
}


@dataclass(frozen=True, slots=True)
class Trained:
    """The trainings of one task in one way.

    Attributes:
        task, way: of the trainings.
        privacy: of each of them.
        accuracies: in percent, by seed and draw of the noise.
        plain: if there is no noise, that of plain averaging: mean over the seeds.
    """

    task: Task
    way: Way
    privacy: Privacy
    accuracies: tuple[float, ...]
    plain: float | None

    @property
    def mean(self) -> float:
        """The mean accuracy, in percent."""
        return fmean(self.accuracies)

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        many = len(self.accuracies)
        return stdev(self.accuracies) / math.sqrt(many) if many > 1 else 0.0


def measure(task: Task, way: Way, seeds: Sequence[int] = SEEDS, draws: int = DRAWS) -> Trained:
    """Trains with each seed, and with each draw of the noise if there is any."""
    privacy, found, plain = None, [], []
    for seed in seeds:
        data = load(task.data, CLIENTS, seed, split="even", by_row=task.by_row)
        architecture = Softmax(data.features, data.classes)
        descent = Descent(epochs=task.epochs)
        clients = [LocalClient(architecture, split, descent, seed) for split in data.clients]
        start = architecture.init(seed)
        privacy = privacy or private_params(
            clients,
            start,
            epsilon=way.epsilon,
            delta=DELTA,
            rounds=task.rounds,
            clip=task.clip,
            placement=way.placement,
            corrupt=way.corrupt,
            dropout=way.dropout,
            scale=LEVELS / task.clip if way.by_clients else None,
        )
        for draw in range(draws if privacy.release else 1):
            model = _train(task, privacy, clients, start, draw * len(SEEDS) + seed)
            found.append(float(100 * accuracy(architecture, model, data.test)))
        if not privacy.release:
            everybody = [range(CLIENTS)] * task.rounds
            *_, last = plain_fedavg(start, clients, everybody, Average(task.server_rate))
            plain.append(float(100 * accuracy(architecture, last, data.test)))
    return Trained(task, way, privacy, tuple(found), fmean(plain) if plain else None)


def _train(
    task: Task, privacy: Privacy, clients: Sequence[LocalClient], start: Model, seed: int
) -> Model:
    params, random = privacy.params, simulated_randomness(seed)
    layout, field = Layout.of(start), Field(params.field_bits)
    server = random(0, CLIENTS)
    noise = privacy.noise_of_server(server)
    coordinator = Coordinator(
        start, params, "simulation", noise=noise, optimizer=Average(task.server_rate)
    )
    everybody = tuple(range(CLIENTS))
    for number in range(task.rounds):
        model = coordinator.model
        _, _, opened = coordinator.open(session=server(16))
        codec = codec_for(params, opened.session)
        total = field.zeros(params.vector_length)
        base = np.asarray(layout.flatten(model), np.float64)
        for index, client in enumerate(clients):
            update = np.asarray(layout.flatten(client.train(model)), np.float64) - base
            encoded = codec.encode(update, 1, random(number + 1, index))
            field.add(total, encoded.vector, out=total)
        decoded = codec.decode(total, CLIENTS)
        result = Result(decoded.total, decoded.weight, decoded.mean, everybody)
        coordinator.close(result, server=opened)
    return coordinator.model


def play(quick: bool) -> list[Trained]:
    """Trains every task in every way; `quick` with one seed, for a round."""
    progress = Progress(sum(map(len, WAYS.values())))
    found = []
    for task, ways in WAYS.items():
        for way in ways:
            once = replace(task, rounds=1, epochs=1)
            found.append(measure(once, way, range(1), 1) if quick else measure(task, way))
            progress(f"{task}: {way.placement}, {found[-1].mean:.1f}%")
    progress.close()
    return found


def table(trained: Sequence[Trained]) -> str:
    """Returns the trainings as Markdown, a table for each task."""
    lines = []
    for task in dict.fromkeys(each.task for each in trained):
        lines += [
            f"{task}:",
            "",
            "| noise | epsilon | h | z | factor | accuracy |",
            "|---|---|---|---|---|---|",
        ]
        for each in trained:
            if each.task != task:
                continue
            private = each.privacy
            name = f"{private.placement} | {private.epsilon(task.rounds):.3g} | "
            if private.placement == "none":
                lines.append(f"| plain averaging, no clip | | | | | {each.plain:.1f}% |")
                name = "none | | "
            h = private.honest if private.placement == "distributed" else ""
            z = f"{private.multiplier:.4g} | {private.factor:.3g}" if private.release else " | "
            lines.append(f"| {name}{h} | {z} | {each.mean:.1f}% +- {each.error:.1f} |")
        lines.append("")
    return "\n".join(lines)


def rows(trained: Sequence[Trained]) -> Iterator[Row]:
    """Compares accuracies, in percent, with those of noise by a trusted server."""
    central = {
        (each.task, each.way.epsilon): each.mean
        for each in trained
        if each.way.placement == "central"
    }
    for each in trained:
        name = f"{each.task}, epsilon {each.way.epsilon:g}, {each.way.placement}"
        if each.way.placement == "distributed":
            name += f", h = {each.privacy.honest}"
        yield make_row(name, each.mean, "", "central", central[each.task, each.way.epsilon], "")


def missed(trained: Sequence[Trained]) -> Iterator[str]:
    """Yields what costs more accuracy beside noise by a trusted server than is allowed."""
    for each, row in zip(trained, rows(trained), strict=True):
        lost = row.reference - row.value
        relied = each.way.placement == "distributed" and each.privacy.honest >= HONEST
        judged = each.task.judged and each.way.epsilon == _SERVER.epsilon
        if relied and judged and lost > ALLOWED:
            yield f"{row.name}: {lost:.1f} points below central"
