"""Measures one round of the protocol by phase, with every party in this process."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

import secagg
from secagg import Phase
from secagg.simulate import Cost

from .rows import Row, Say, make_row

CORRUPT: Final = 0.05  # fraction of the clients that collude, on a sparse graph


@dataclass(frozen=True, slots=True)
class Measurement:
    """Measurements of one round: total seconds, cost by phase, bytes per party, and the error."""

    seconds: float
    cost: dict[Phase, Cost]
    bytes_up: int
    bytes_down: int
    survivors: int
    max_error: float
    tolerance: float


def measure(
    clients: int,
    length: int,
    dropout: float,
    bits: int,
    mode: secagg.Mode,
    degree: int,
    say: Say,
) -> Measurement:
    """Sums random float32 vectors, with a fraction of the clients lost after the key shares.

    Args:
        degree: neighbours per party on a sparse graph, which is for a fraction `CORRUPT` of
            colluders; 0 for the complete graph.
        say: is called with the name of each of the `steps`.
    """
    rng = np.random.default_rng(0)
    updates = [rng.uniform(-8, 8, length).astype(np.float32) for _ in range(clients)]
    lost = rng.choice(clients, round(clients * dropout), replace=False)
    form = secagg.FixedPoint(clip=8.0, bits=bits)
    start = time.perf_counter()
    drops = {int(i): Phase.MASKED_INPUT for i in lost}
    with _reported_states(say):
        done = secagg.secure_sum(
            updates,
            form,
            drops=drops,
            mode=mode,
            degree=degree,
            min_survivors=clients - len(lost) if degree else 0,
            colluders=int(CORRUPT * clients) if degree else -1,
        )
    seconds = time.perf_counter() - start
    plain = np.zeros(length)
    for party in done.survivors:
        plain += updates[party]
    stayed = done.survivors[0]
    return Measurement(
        seconds=seconds,
        cost=done.cost,
        bytes_up=done.run.bytes_up[stayed],
        bytes_down=done.run.bytes_down[stayed],
        survivors=len(done.survivors),
        max_error=float(np.abs(np.asarray(done.total) - plain).max()),
        tolerance=form.step * len(done.survivors),
    )


def steps(mode: secagg.Mode) -> int:
    """Returns the number of states of a server: the phases, unmasking, and the end."""
    return len(mode.phases) + 2


class _States(logging.Handler):
    """A log handler that reports each state that a server enters."""

    def __init__(self, say: Say) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        for each in record.args or ():
            if isinstance(each, secagg.Server):
                self._say(each.state.value)


@contextmanager
def _reported_states(say: Say) -> Iterator[None]:
    log, handler = logging.getLogger("secagg"), _States(say)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


def rows(length: int, measured: Measurement) -> list[Row]:
    """Returns the rows: each phase of one client beside the server's, bytes, and the error."""
    found = [
        make_row(
            f"{phase}, one client",
            cost.client_seconds / max(cost.clients, 1),
            "s",
            "server",
            cost.server_seconds,
            "",
        )
        for phase, cost in measured.cost.items()
    ]
    sent, clear = measured.bytes_up, 4 * length
    return [
        *found,
        make_row("bytes up, one client", sent, "bytes", "float32 in clear", clear, ""),
        make_row("largest error", measured.max_error, "", "allowed", measured.tolerance, "<= 1"),
    ]


def table(clients: int, measured: Measurement) -> str:
    """Returns the measurement as Markdown."""
    lines = [
        "| phase | one client, ms | server, s | bytes up, one client | bytes down, one client |",
        "|---|---|---|---|---|",
    ]
    for phase, cost in measured.cost.items():
        senders = max(cost.clients, 1)
        lines.append(
            f"| {phase} | {cost.client_seconds / senders * 1e3:.2f} | {cost.server_seconds:.3f} "
            f"| {cost.bytes_up // senders:,} | {cost.bytes_down // clients:,} |"
        )
    client = sum(cost.client_seconds for cost in measured.cost.values()) / clients
    server = sum(cost.server_seconds for cost in measured.cost.values())
    lines.append(
        f"| all | {client * 1e3:.2f} | {server:.3f} "
        f"| {measured.bytes_up:,} | {measured.bytes_down:,} |"
    )
    return "\n".join(lines)
