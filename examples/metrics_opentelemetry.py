"""Metrics of rounds for OpenTelemetry: time, bytes and losses by phase, ends of rounds by code.

Run it: ``python examples/metrics_opentelemetry.py`` plays a round in this process and prints the
metrics (``pip install opentelemetry-sdk``); with another exporter they go to a collector.
Attributes are phases and codes, so there are few series. A session or a party would make new ones
with every round: they belong in the log.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

import secagg

provider = MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter())])
metrics.set_meter_provider(provider)
meter = metrics.get_meter("secagg")
BOUNDS = (0.01, 0.1, 1, 10, 60, 600, 3600)  # seconds; clients may train for long
phases, rounds = (
    meter.create_histogram(name, "s", explicit_bucket_boundaries_advisory=BOUNDS)
    for name in ("secagg.phase.duration", "secagg.round.duration")
)
sizes = meter.create_counter("secagg.bytes", "By")
dropped = meter.create_counter("secagg.dropped", "{party}")


def observe(happened: secagg.PhaseEnded | secagg.RoundEnded) -> None:
    """Counts a phase or a round that is over: the argument `observe` of `lockstep` and `serve`."""
    if isinstance(happened, secagg.PhaseEnded):
        phase = {"phase": str(happened.phase)}
        phases.record(happened.seconds, phase)
        sizes.add(happened.bytes_up, phase | {"direction": "up"})
        sizes.add(happened.bytes_down, phase | {"direction": "down"})
        for _, code in happened.dropped:
            dropped.add(1, phase | {"code": str(code)})
    else:
        end = happened.outcome
        outcome = str(end.code) if isinstance(end, secagg.Failed) else "completed"
        rounds.record(happened.seconds, {"outcome": outcome})


agreed = secagg.Params(5, 100, secagg.Integers(-9, 9)).round()
server = secagg.Server(agreed)
clients = [
    secagg.Responder(secagg.Client(agreed, party, secagg.Policy()), lambda _: np.ones(100, int))
    for party in range(5)
]


def exchange(
    phase: secagg.Phase, asked: Mapping[int, bytes]
) -> Iterator[tuple[int, bytes | Exception]]:
    """Carries messages to the clients of this process, of which one gets lost."""
    for party, message in asked.items():
        if party == 4 and phase is secagg.Phase.MASKED_INPUT:
            yield party, ConnectionError("gone")
        else:
            first = message == server.offer
            yield party, clients[party].begin() if first else clients[party].answer(message)


if __name__ == "__main__":
    secagg.lockstep(server, exchange, observe=observe)
    provider.shutdown()  # prints what is not exported yet
