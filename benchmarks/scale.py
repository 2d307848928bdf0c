"""Compares the cost of cohorts up to ten thousand, all in this process, with the cost model.

The graph is what `Params.for_cohort` picks for the stated fractions of corrupt and lost parties;
the lost ones drop out after the key shares. The model (`secagg.cost`) uses only timings of
kernels. As machines change their speed, these are taken while the rounds are played, between the
calls of the parties. The last rows are estimates for cohorts that are not played.
"""

import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from secagg import FixedPoint, Params
from secagg.cost import Measured, Shape, bench, estimate
from secagg.params.sparse import sparsest

from . import plot
from .rows import Row, Say, make_row

COHORTS: Final = (100, 300, 1_000, 3_000, 10_000)
QUICK: Final = (20, 60)
LENGTH: Final = 10_000
CORRUPT: Final = 0.05
DROPOUT: Final = 0.05
FORMAT: Final = FixedPoint(clip=8.0, bits=20)
SECONDS: Final = 300.0
BYTES: Final = 8e9
WITHIN: Final = "<= 1.25"  # the larger of model and measurement, divided by the smaller
ON_PAPER: Final = (10**6, 10**7, 10**8)
SAMPLES: Final = 10  # samples of each piece of work, before and after each round


@dataclass(frozen=True, slots=True)
class Played:
    """Measurements of rounds of one cohort, and the estimate of the model.

    Attributes:
        measured: the rounds.
        shape: shape of the rounds.
        memory: peak resident memory of this process so far, bytes.
    """

    measured: Measured
    shape: Shape
    memory: float


def measure_cohort(clients: int, length: int, rounds: int, samples: int) -> Played:
    """Plays rounds of one cohort, and returns the median of each figure."""
    params = Params.for_cohort(clients, length, FORMAT, corrupt=CORRUPT, dropout=DROPOUT)
    lost = int(DROPOUT * clients)
    found = bench.measure(params, lost, rounds, samples=samples)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return Played(found, Shape.of(params, lost), peak)


def measure(
    cohorts: Sequence[int], length: int, most: int, say: Say, samples: int = SAMPLES
) -> list[Played]:
    """Plays up to five rounds of each cohort.

    Args:
        cohorts: numbers of clients.
        length: coordinates per vector.
        most: limit for the clients of all rounds of one cohort together; but at least one round
            is played.
        say: is called with a text after each cohort.
        samples: samples of each piece of work, before and after each round.
    """
    played = []
    for clients in cohorts:
        rounds = min(max(most // clients, 1), 5)
        played.append(measure_cohort(clients, length, rounds, samples))
        say(f"{clients:,} clients: {played[-1].measured.seconds:.1f} s")
    return played


def rows(played: Sequence[Played]) -> Iterator[Row]:
    """Yields rows: measurement and model of both sides, and bounds of the largest round."""
    for one in played:
        n, found, model = one.shape.cohort, one.measured, one.measured.model
        for side, seconds, told in (
            ("client", found.client.seconds, model.client.seconds),
            ("server", found.server.seconds, model.server.seconds),
        ):
            name = f"{side}, n = {n:,}"
            if told > seconds:
                yield make_row(f"{name}: the model", told, "s", "measured", seconds, WITHIN)
            else:
                yield make_row(f"{name}: measured", seconds, "s", "the model", told, WITHIN)
        name = f"client, n = {n:,}: bytes both ways"
        both, estimated = (side.sent + side.received for side in (found.client, model.client))
        yield make_row(name, both, "bytes", "the model", estimated, "<= 1")
    last = played[-1]
    name = f"the round of {last.shape.cohort:,}"
    yield make_row(name, last.measured.seconds, "s", "allowed", SECONDS, "<= 1")
    yield make_row(f"{name}: memory", last.memory, "bytes", "allowed", BYTES, "<= 1")


def table(played: Sequence[Played], length: int) -> str:
    """Returns the measurements, and estimates for cohorts that are not played, as Markdown."""
    lines = [
        "| clients | neighbours | threshold | one client, ms | server, s | bytes up | bytes down "
        "| all, s | memory, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.shape.cohort:,} | {one.shape.neighbours} | {one.shape.threshold} "
        f"| {one.measured.client.seconds * 1e3:.2f} | {one.measured.server.seconds:.3f} "
        f"| {one.measured.client.sent:,} | {one.measured.client.received:,} "
        f"| {one.measured.seconds:.1f} | {one.memory / 1e6:,.0f} |"
        for one in played
    ]
    for shape in on_paper(length):
        model = estimate(shape, played[-1].measured.units)
        lines.append(
            f"| {shape.cohort:,} (on paper) | {shape.neighbours} | {shape.threshold} "
            f"| {model.client.seconds * 1e3:.2f} | {model.server.seconds:,.0f} "
            f"| {model.client.sent:,.0f} | {model.client.received:,.0f} | | |"
        )
    return "\n".join(lines)


def on_paper(length: int) -> list[Shape]:
    """Returns shapes of cohorts that are larger than `Params` allows."""
    shapes = []
    for n in ON_PAPER:
        lost = int(DROPOUT * n)
        found = sparsest(n, int(CORRUPT * n), lost)
        assert found is not None
        bits = int(n * FORMAT.largest).bit_length()
        shapes.append(Shape(n, found.degree, found.threshold, length, bits, lost, sparse=True))
    return shapes


def draw(played: Sequence[Played]) -> bytes:
    """Draws measured and estimated seconds by cohort."""
    n = [one.shape.cohort for one in played]
    return plot.panels(
        [
            (
                "one client, seconds",
                [
                    plot.Series("measured", n, [one.measured.client.seconds for one in played]),
                    plot.Series("model", n, [one.measured.model.client.seconds for one in played]),
                ],
            ),
            (
                "server, seconds",
                [
                    plot.Series("measured", n, [one.measured.server.seconds for one in played]),
                    plot.Series("model", n, [one.measured.model.server.seconds for one in played]),
                ],
            ),
        ],
        "clients",
        "seconds",
    )
