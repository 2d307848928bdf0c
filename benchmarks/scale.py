"""Cohorts up to ten thousand in this process: what they cost, beside what the model says.

The graph is what `Params.for_cohort` picks for the stated fractions of corrupt and lost parties;
the lost ones vanish after the key shares. The model (`secagg.cost`) knows the kernels' times alone,
measured just before and after each round. As machines change their speed in between, an X25519
agreement is timed then as well as during the round, between the inputs of clients, and their ratio
scales the units. The last rows are cohorts on paper.
"""

import gc
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Final

import numpy as np

from secagg import Client, FixedPoint, Params, Phase, Server
from secagg.cost import Estimate, Shape, Units, calibrate, estimate
from secagg.primitives import agreement
from secagg.simulate import Cohort
from secagg.sparsity import sparse

from . import plot
from .rows import Row, Say, hold

COHORTS: Final = (100, 300, 1_000, 3_000, 10_000)
QUICK: Final = (20, 60)
LENGTH: Final = 10_000
CORRUPT: Final = 0.05
DROPOUT: Final = 0.05
FORMAT: Final = FixedPoint(clip=8.0, bits=20)
SECONDS: Final = 300.0
BYTES: Final = 8e9
WITHIN: Final = "<= 1.25"  # of the smaller, the model or what was measured
ON_PAPER: Final = (10**6, 10**7, 10**8)
ROUNDS: Final = 3  # of calibrating
PROBES: Final = 200
_INPUTS: Final = 8  # vectors that all clients share, so that memory is the protocol's


@dataclass(frozen=True, slots=True)
class Played:
    """A round, and what the model says about it.

    Attributes:
        shape: its numbers.
        seconds: the whole round, all parties.
        client, server: seconds of one client that stays, and of the server.
        sent, received: bytes of such a client.
        memory: the greatest resident memory of this process so far, bytes.
        units: of the model, the mean of those just before and just after, at the round's speed.
        model: the estimate.
    """

    shape: Shape
    seconds: float
    client: float
    server: float
    sent: int
    received: int
    memory: float
    units: Units
    model: Estimate


def play(clients: int, length: int, bits: int) -> Played:
    """Plays a round; AssertionError if the sum is off by more than the rounding allows."""
    params = Params.for_cohort(clients, length, FORMAT, corrupt=CORRUPT, dropout=DROPOUT)
    agreed = params.round()
    values = np.random.default_rng(0).uniform(-8, 8, (_INPUTS, length)).astype(np.float32)
    drops = dict.fromkeys(range(int(DROPOUT * clients)), Phase.MASKED_INPUT)
    before, outside, inside = calibrate(bits=bits, rounds=ROUNDS), Probe(), Probe()
    outside.take(PROBES)
    start = time.perf_counter()
    cohort = Cohort(
        Server(agreed),
        {party: Client(agreed, party) for party in range(clients)},
        {party: partial(_input, values, party, inside) for party in range(clients)},
        drops,
    )
    gc.collect()
    gc.disable()  # it would walk through all clients at once, which no party does
    try:
        run = cohort.play()
    finally:
        gc.enable()
    seconds = time.perf_counter() - start
    outside.take(PROBES)
    after = calibrate(bits=bits, rounds=ROUNDS)
    assert run.result is not None, run.reason
    exact = sum(values[party % _INPUTS].astype(float) for party in run.result.survivors)
    error = float(np.abs(run.result.total - exact).max())
    assert error <= FORMAT.step * len(run.result.survivors), "the sum is wrong"
    assert run.result.survivors == tuple(range(len(drops), clients))
    # One that stays pays for every phase; a lost one until it vanishes.
    client = sum(cost.client_seconds / max(cost.clients, 1) for cost in run.cost.values())
    server = sum(cost.server_seconds for cost in run.cost.values())
    pairs = zip(astuple(before), astuple(after), strict=True)
    slower = inside.seconds / outside.seconds
    units = Units(*(statistics.fmean(pair) * slower for pair in pairs))
    shape, last = Shape.of(params, len(drops)), clients - 1
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return Played(
        shape,
        seconds,
        client,
        server,
        run.bytes_up[last],
        run.bytes_down[last],
        memory,
        units,
        estimate(shape, units),
    )


class Probe:
    """How fast the machine is at some moment: seconds of an agreement."""

    def __init__(self) -> None:
        self._found: list[float] = []

    def take(self, count: int) -> None:
        """Times so many."""
        for _ in range(count):
            start = time.perf_counter()
            agreement.agree(bytes(32), agreement.public_key(bytes(32)))
            self._found.append(time.perf_counter() - start)

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self._found)


def _input(values: np.ndarray, party: int, speed: Probe) -> tuple[np.ndarray, int]:
    speed.take(1)  # the clock of clients is not running here
    return values[party % _INPUTS], 1


def measure(cohorts: Sequence[int], length: int, most: int, say: Say) -> list[Played]:
    """For each cohort the round of median duration, out of at most five.

    Args:
        cohorts, length: clients, and coordinates.
        most: clients of all rounds of one cohort together; but one round is always played.
        say: takes the progress.
    """
    bits, played = Params(max(cohorts), length, FORMAT).field_bits, []
    for clients in cohorts:
        rounds = [play(clients, length, bits) for _ in range(min(max(most // clients, 1), 5))]
        rounds.sort(key=lambda one: one.seconds)
        played.append(rounds[len(rounds) // 2])
        say(f"{clients:,} clients: {played[-1].seconds:.1f} s")
    return played


def rows(played: Sequence[Played]) -> Iterator[Row]:
    """The model against every round, both sides, and the largest round against its bounds."""
    for one in played:
        n = one.shape.cohort
        for side, seconds, model in (
            ("client", one.client, one.model.client.seconds),
            ("server", one.server, one.model.server.seconds),
        ):
            name = f"{side}, n = {n:,}"
            if model > seconds:
                yield hold(f"{name}: the model", model, "s", "measured", seconds, WITHIN)
            else:
                yield hold(f"{name}: measured", seconds, "s", "the model", model, WITHIN)
        name = f"client, n = {n:,}: bytes both ways"
        told = one.model.client.sent + one.model.client.received
        yield hold(name, one.sent + one.received, "bytes", "the model", told, "<= 1")
    last = played[-1]
    name = f"the round of {last.shape.cohort:,}"
    yield hold(name, last.seconds, "s", "allowed", SECONDS, "<= 1")
    yield hold(f"{name}: memory", last.memory, "bytes", "allowed", BYTES, "<= 1")


def table(played: Sequence[Played], length: int) -> str:
    """What was played, and cohorts on paper, as Markdown."""
    lines = [
        "| clients | neighbours | threshold | one client, ms | server, s | bytes up | bytes down "
        "| all, s | memory, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.shape.cohort:,} | {one.shape.neighbours} | {one.shape.threshold} "
        f"| {one.client * 1e3:.2f} | {one.server:.3f} | {one.sent:,} | {one.received:,} "
        f"| {one.seconds:.1f} | {one.memory / 1e6:,.0f} |"
        for one in played
    ]
    for shape in on_paper(length):
        model = estimate(shape, played[-1].units)
        lines.append(
            f"| {shape.cohort:,} (on paper) | {shape.neighbours} | {shape.threshold} "
            f"| {model.client.seconds * 1e3:.2f} | {model.server.seconds:,.0f} "
            f"| {model.client.sent:,.0f} | {model.client.received:,.0f} | | |"
        )
    return "\n".join(lines)


def on_paper(length: int) -> list[Shape]:
    """Cohorts beyond those that a round may have."""
    shapes = []
    for n in ON_PAPER:
        lost = int(DROPOUT * n)
        found = sparse(n, int(CORRUPT * n), lost)
        assert found is not None
        bits = int(n * FORMAT.largest).bit_length()
        shapes.append(Shape(n, found.degree, found.threshold, length, bits, lost, sparse=True))
    return shapes


def draw(played: Sequence[Played]) -> bytes:
    """Seconds and bytes by cohort, as measured and as the model has them."""
    n = [one.shape.cohort for one in played]
    return plot.panels(
        [
            (
                "one client, seconds",
                [
                    plot.Series("measured", n, [one.client for one in played]),
                    plot.Series("model", n, [one.model.client.seconds for one in played]),
                ],
            ),
            (
                "server, seconds",
                [
                    plot.Series("measured", n, [one.server for one in played]),
                    plot.Series("model", n, [one.model.server.seconds for one in played]),
                ],
            ),
        ],
        "clients",
        "seconds",
    )
