"""Compares the cost of cohorts up to ten thousand, all in this process, with the cost model.

The graph is what `Params.for_cohort` picks for the stated fractions of corrupt and lost parties;
the lost ones drop out after the key shares. The model (`secagg.cost`) uses only timings of
kernels. As machines change their speed, these are taken while the rounds are played, between the
calls of the parties. The last rows are estimates for cohorts that are not played.
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

from secagg import Client, FixedPoint, Params, Phase, Policy, Server
from secagg.cost import Calibration, Estimate, Shape, Units, estimate
from secagg.params.sparse import sparsest
from secagg.simulate import Cohort, Run

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
STARTS: Final = 10  # clients and servers whose start is timed
SAMPLES: Final = 10  # samples of each piece of work, before and after each round
_INPUTS: Final = 8  # vectors that all clients share, so that they take little memory


@dataclass(frozen=True, slots=True)
class Played:
    """Measurements of rounds of one cohort, and the estimate of the model.

    Attributes:
        shape: shape of the rounds.
        seconds: wall-clock time of a whole round, all parties.
        client, server: CPU seconds of one client that stays, and of the server.
        sent, received: bytes of this client.
        memory: peak resident memory of this process so far, bytes.
        units: unit costs that the model used.
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
    """A cohort that takes some hundred samples of the calibration per round, between its calls."""

    calibration: Calibration
    aside = 0.0  # wall-clock seconds of these samples
    _calls = 0

    def _sample(self) -> None:
        self._calls += 1
        if self._calls % max(len(self._clients) // 100, 10) == 0:
            start = time.perf_counter()
            self.calibration.step()
            self.aside += time.perf_counter() - start

    def _deliver(self, party: int, payload: bytes) -> None:
        self._sample()
        super()._deliver(party, payload)

    def _on_client(self, party: int, payload: bytes) -> None:
        self._sample()
        super()._on_client(party, payload)


def play(params: Params, lost: int, calibration: Calibration) -> tuple[float, Run]:
    """Plays a round, and returns its wall-clock seconds and outcome.

    Raises:
        AssertionError: the error of the sum is larger than rounding explains.
    """
    clients, agreed = params.cohort, params.round()
    values = np.random.default_rng(0).uniform(-8, 8, (_INPUTS, params.length)).astype(np.float32)
    start = time.perf_counter()
    cohort = _Timed(
        Server(agreed),
        {party: Client(agreed, party, Policy(params)) for party in range(clients)},
        {party: partial(_input, values, party) for party in range(clients)},
        dict.fromkeys(range(lost), Phase.MASKED_INPUT),
        clock=time.process_time,
    )
    cohort.calibration = calibration
    gc.collect()
    gc.disable()  # it would scan the objects of all clients, which no single party does
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


def start_seconds(params: Params) -> tuple[float, float]:
    """Returns the CPU seconds for making a client and its first message, and for a server.

    Each is for a round of its own, so that each computes the graph; the parties of a round in one
    process share it.
    """
    found: list[tuple[float, float]] = []
    for _ in range(STARTS):
        agreed, other = params.round(), params.round()
        start = time.process_time()
        Client(agreed, 0, Policy(params)).start()
        middle = time.process_time()
        Server(other)
        found.append((middle - start, time.process_time() - middle))
    clients, servers = zip(*found, strict=True)
    return statistics.median(clients), statistics.median(servers)


def measure_cohort(clients: int, length: int, rounds: int, bits: int, samples: int) -> Played:
    """Plays rounds of one cohort, and returns the median of each figure."""
    params = Params.for_cohort(clients, length, FORMAT, corrupt=CORRUPT, dropout=DROPOUT)
    lost = int(DROPOUT * clients)
    calibration = Calibration(bits=bits, cohort=clients)
    begin, serve = start_seconds(params)
    seconds, client, server = [], [], []
    for _ in range(rounds):
        calibration.take(samples)
        clock, run = play(params, lost, calibration)
        calibration.take(samples)
        # A client that stays pays for every phase, a lost one only for those before its dropout.
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
        cohorts: numbers of clients.
        length: coordinates per vector.
        most: limit for the clients of all rounds of one cohort together; but at least one round
            is played.
        say: is called with a text after each cohort.
        samples: samples of each piece of work, before and after each round.
    """
    bits, played = Params(max(cohorts), length, FORMAT).field_bits, []
    for clients in cohorts:
        rounds = min(max(most // clients, 1), 5)
        played.append(measure_cohort(clients, length, rounds, bits, samples))
        say(f"{clients:,} clients: {played[-1].seconds:.1f} s")
    return played


def rows(played: Sequence[Played]) -> Iterator[Row]:
    """Yields rows: measurement and model of both sides, and bounds of the largest round."""
    for one in played:
        n = one.shape.cohort
        for side, seconds, model in (
            ("client", one.client, one.model.client.seconds),
            ("server", one.server, one.model.server.seconds),
        ):
            name = f"{side}, n = {n:,}"
            if model > seconds:
                yield make_row(f"{name}: the model", model, "s", "measured", seconds, WITHIN)
            else:
                yield make_row(f"{name}: measured", seconds, "s", "the model", model, WITHIN)
        name = f"client, n = {n:,}: bytes both ways"
        estimated = one.model.client.sent + one.model.client.received
        yield make_row(name, one.sent + one.received, "bytes", "the model", estimated, "<= 1")
    last = played[-1]
    name = f"the round of {last.shape.cohort:,}"
    yield make_row(name, last.seconds, "s", "allowed", SECONDS, "<= 1")
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
