"""Metrics of rounds for Prometheus: time, bytes and losses by phase, ends of rounds by code.

Run it: ``python examples/metrics_prometheus.py`` plays a round in this process and prints the
metrics (``pip install prometheus-client``); a server shows them with ``start_http_server(9464,
"127.0.0.1")``. Labels are phases and codes, so there are few series. A session or a party would
make new ones with every round: they belong in the log.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from prometheus_client import Counter, Histogram, generate_latest

import secagg

BUCKETS = (0.01, 0.1, 1, 10, 60, 600, 3600)  # seconds; clients may train for long
PHASES = Histogram("secagg_phase_seconds", "Time of a phase.", ["phase"], buckets=BUCKETS)
ROUNDS = Histogram("secagg_round_seconds", "Time of a round.", ["outcome"], buckets=BUCKETS)
BYTES = Counter("secagg_bytes", "Bytes of messages.", ["phase", "direction"])
DROPPED = Counter("secagg_dropped_parties", "Parties dropped.", ["phase", "code"])


def observe(happened: secagg.PhaseEnded | secagg.RoundEnded) -> None:
    """Counts a phase or a round that is over: the argument `observe` of `lockstep` and `serve`."""
    if isinstance(happened, secagg.PhaseEnded):
        phase = str(happened.phase)
        PHASES.labels(phase).observe(happened.seconds)
        BYTES.labels(phase, "up").inc(happened.bytes_up)
        BYTES.labels(phase, "down").inc(happened.bytes_down)
        for _, code in happened.dropped:
            DROPPED.labels(phase, str(code)).inc()
    else:
        end = happened.outcome
        outcome = str(end.code) if isinstance(end, secagg.Failed) else "completed"
        ROUNDS.labels(outcome).observe(happened.seconds)


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
    print(generate_latest().decode())
