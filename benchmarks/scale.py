"""Cohorts up to ten thousand in this process: what they cost, beside what the model says.

The graph is what `Params.for_cohort` picks for the stated fractions of corrupt and lost parties;
the lost ones vanish after the key shares. The model (`secagg.cost`) knows the kernels' times alone;
as machines change their speed, these are timed while the rounds are played, between the calls of
the parties. The last rows are cohorts on paper.
"""

import gc
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np

from secagg import Client, FixedPoint, Params, Phase, Server
from secagg.cost import Calibration, Estimate, Shape, Units, estimate
from secagg.params.sparse import sparsest
from secagg.simulate import Cohort, Run

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
BEGINNINGS: Final = 10  # of clients, and of servers, that are timed
SAMPLES: Final = 10  # of each piece of work, before and after each round
_INPUTS: Final = 8  # vectors that all clients share, so that memory is the protocol's


@dataclass(frozen=True, slots=True)
class Played:
    """Rounds of one cohort, and what the model says about them.

    Attributes:
        shape: their numbers.
        seconds: a whole round, all parties, on the clock.
        client, server: CPU seconds of one client that stays, and of the server.
        sent, received: bytes of such a client.
        memory: the greatest resident memory of this process so far, bytes.
        units: of the model.
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


class _Timed(Cohort):
    """A cohort between whose calls pieces of work are timed, some hundred in a round."""

    calibration: Calibration
    aside = 0.0  # seconds on the clock that this took
    _calls = 0

    def _between(self) -> None:
        self._calls += 1
        if self._calls % max(len(self._clients) // 100, 10) == 0:
            start = time.perf_counter()
            self.calibration.step()
            self.aside += time.perf_counter() - start

    def _deliver(self, party: int, payload: bytes) -> None:
        self._between()
        super()._deliver(party, payload)

    def _on_client(self, party: int, payload: bytes) -> None:
        self._between()
        super()._on_client(party, payload)


def play(params: Params, lost: int, calibration: Calibration) -> tuple[float, Run]:
    """Plays a round: its seconds on the clock, and what came of it.

    Raises:
        AssertionError: the sum is off by more than the rounding allows.
    """
    clients, agreed = params.cohort, params.round()
    values = np.random.default_rng(0).uniform(-8, 8, (_INPUTS, params.length)).astype(np.float32)
    start = time.perf_counter()
    cohort = _Timed(
        Server(agreed),
        {party: Client(agreed, party) for party in range(clients)},
        {party: partial(_input, values, party) for party in range(clients)},
        dict.fromkeys(range(lost), Phase.MASKED_INPUT),
        clock=time.process_time,
    )
    cohort.calibration = calibration
    gc.collect()
    gc.disable()  # it would walk through all clients at once, which no party does
    try:
        run = cohort.play()
    finally:
        gc.enable()
    seconds = time.perf_counter() - start - cohort.aside
    assert run.result is not None, run.reason
    exact = sum(values[party % _INPUTS].astype(float) for party in run.result.survivors)
    error = float(np.abs(run.result.total - exact).max())
    assert error <= FORMAT.step * len(run.result.survivors), "the sum is wrong"
    assert run.result.survivors == tuple(range(lost, clients))
    return seconds, run


def _input(values: np.ndarray, party: int) -> tuple[np.ndarray, int]:
    return values[party % _INPUTS], 1


def beginnings(params: Params) -> tuple[float, float]:
    """CPU seconds that it takes to make a client and its first message, and a server: each for a
    round of its own, so that each computes the graph, which in a cohort of one process all share.
    """
    found: list[tuple[float, float]] = []
    for _ in range(BEGINNINGS):
        agreed, other = params.round(), params.round()
        start = time.process_time()
        Client(agreed, 0).start()
        middle = time.process_time()
        Server(other)
        found.append((middle - start, time.process_time() - middle))
    clients, servers = zip(*found, strict=True)
    return statistics.median(clients), statistics.median(servers)


def cohort_of(clients: int, length: int, rounds: int, bits: int, samples: int) -> Played:
    """Plays rounds of one cohort; of each figure the median counts."""
    params = Params.for_cohort(clients, length, FORMAT, corrupt=CORRUPT, dropout=DROPOUT)
    lost = int(DROPOUT * clients)
    calibration = Calibration(bits=bits, cohort=clients)
    begin, serve = beginnings(params)
    seconds, client, server = [], [], []
    for _ in range(rounds):
        calibration.take(samples)
        clock, run = play(params, lost, calibration)
        calibration.take(samples)
        # One that stays pays for every phase; a lost one until it vanishes.
        costs = list(run.cost.values())
        means = [cost.client_seconds / max(cost.clients, 1) for cost in costs]
        seconds.append(clock)
        client.append(begin + sum(means[1:]))
        server.append(serve + sum(cost.server_seconds for cost in costs))
    shape, units, last = Shape.of(params, lost), calibration.units(), clients - 1
    return Played(
        shape,
        statistics.median(seconds),
        statistics.median(client),
        statistics.median(server),
        run.bytes_up[last],
        run.bytes_down[last],
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
        units,
        estimate(shape, units),
    )


def measure(
    cohorts: Sequence[int], length: int, most: int, say: Say, samples: int = SAMPLES
) -> list[Played]:
    """Plays up to five rounds of each cohort.

    Args:
        cohorts, length: clients, and coordinates.
        most: clients of all rounds of one cohort together; but one round is always played.
        say: takes the progress.
        samples: of each piece of work, before and after each round.
    """
    bits, played = Params(max(cohorts), length, FORMAT).field_bits, []
    for clients in cohorts:
        rounds = min(max(most // clients, 1), 5)
        played.append(cohort_of(clients, length, rounds, bits, samples))
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
        found = sparsest(n, int(CORRUPT * n), lost)
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
