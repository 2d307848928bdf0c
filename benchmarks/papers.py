"""Compares published figures with ours for the same parameters."""

import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

import secagg
from secagg import Field, FixedPoint, Mode, Params, Phase
from secagg.params.sparse import sparsest

from . import plot, published
from .expansion import client_bytes
from .peers import lightsecagg
from .peers.case import MissingError
from .published import INPUT_BITS, SOURCES, TIMINGS
from .rows import Row, Say, make_row

LENGTH: Final = 100_000
DROPOUTS: Final = (0.0, 0.1, 0.3)
FORMAT: Final = FixedPoint(clip=1.0, bits=INPUT_BITS)
OURS: Final = "secagg"
GAIN_CLIENTS: Final = 200
GAIN_DROPOUT: Final = 0.1
GAIN_CORRUPT: Final = 0.05  # on the sparse graph


@dataclass(frozen=True, slots=True)
class Played:
    """One round of ours: seconds of one client, and of the server."""

    clients: int
    dropout: float
    client: float
    server: float


def expansions() -> list[Row]:
    """Computes the bytes of a client, both ways, relative to the input in clear."""
    found = []
    for n, m in published.EXPANSIONS:
        clear = INPUT_BITS * m
        theirs = published.paper_bits(n, m) / clear
        for mode in Mode:
            size = client_bytes(Params(n, m, FORMAT, mode=mode))
            found.append(
                make_row(
                    f"expansion, {mode}, n = {n:,}, m = {m:,}: {size:,} bytes",
                    8 * size / clear,
                    "",
                    "Bonawitz et al. 2017",
                    theirs,
                    "<= 1" if mode == Mode.SEMI_HONEST else "",
                )
            )
    return found


def play(cohorts: Sequence[int], length: int, say: Say) -> list[Played]:
    """Plays rounds in this process: complete graph, semi-honest mode, t = floor(2n/3) + 1."""
    found = []
    rng = np.random.default_rng(0)
    for clients in cohorts:
        updates = [rng.uniform(-1, 1, length).astype(np.float32) for _ in range(clients)]
        for dropout in DROPOUTS:
            lost = range(round(clients * dropout))
            start = time.perf_counter()
            done = secagg.secure_sum(updates, FORMAT, drops=dict.fromkeys(lost, Phase.MASKED_INPUT))
            seconds = time.perf_counter() - start
            server = sum(cost.server_seconds for cost in done.cost.values())
            found.append(Played(clients, dropout, (seconds - server) / clients, server))
            say(f"n = {clients}, {dropout:.0%} lost: server {server:.2f} s")
    return found


def gains(clients: int, length: int, rounds: int) -> Iterator[Row | str]:
    """Compares our unmasking with that of LightSecAgg: seconds of the server.

    Ours is measured on the complete graph and on a sparse one, LightSecAgg's by FedML's function
    for this step. If FedML is not installed, the only row is a text that says so.
    """
    lost, enough, private = round(clients * GAIN_DROPOUT), 2 * clients // 3 + 1, clients // 3
    complete = Params(clients, length, FORMAT, threshold=enough)
    sparse_one = Params.for_cohort(
        clients, length, FORMAT, corrupt=GAIN_CORRUPT, dropout=GAIN_DROPOUT
    )
    prime = Field(complete.field_bits).modulus
    for name, params in (("SecAgg", complete), ("SecAgg+", sparse_one)):
        ours, theirs = [], []
        for _ in range(rounds):
            try:
                theirs.append(lightsecagg.recovery(clients, length, enough, private, prime))
            except MissingError as error:
                yield str(error)
                return
            ours.append(_unmasking(params, lost))
        gain = published.GAINS[name]
        neighbours = params.degree or clients - 1
        yield make_row(
            f"unmasking, {name}, {neighbours} neighbours, n = {clients}, m = {length:,}, "
            f"{lost} lost",
            statistics.median(ours),
            "s",
            f"LightSecAgg's by FedML (published gain: {gain:.0f})",
            statistics.median(theirs),
            "",
        )


def _unmasking(params: Params, lost: int) -> float:
    done = secagg.secure_sum(
        [np.zeros(params.length, np.float32)] * params.cohort,
        FORMAT,
        drops=dict.fromkeys(range(lost), Phase.MASKED_INPUT),
        threshold=params.threshold,
        min_survivors=params.min_survivors,
        colluders=params.colluders,
        degree=params.degree,
    )
    return done.cost[Phase.UNMASK].server_seconds


def tables(played: Sequence[Played]) -> str:
    """Returns our times and graphs beside the published ones, as Markdown."""
    return f"{_timings(played)}\n\n{_graphs()}"


def _timings(played: Sequence[Played]) -> str:
    ours = {(one.clients, one.dropout): one for one in played}
    lines = [
        "| source | n | what | theirs, s | ours, s | theirs / ours |",
        "|---|---|---|---|---|---|",
    ]
    for one in TIMINGS:
        own = ours.get((one.clients, 0.0))
        lines.append(_timing(one, "client", one.client, own.client if own else None))
        for dropout, seconds in one.server.items():
            own = ours.get((one.clients, dropout))
            what = f"server, {dropout:.0%} lost"
            lines.append(_timing(one, what, seconds, own.server if own else None))
    for source, text in SOURCES.items():
        lines.append(f"\n{source}: {text}.")
    return "\n".join(lines)


def _timing(one: published.Timing, what: str, theirs: float, ours: float | None) -> str:
    own = f"{ours:.3f} | {theirs / ours:,.0f}" if ours else "not played | "
    return f"| {one.source} | {one.clients} | {what} | {theirs:,.3f} | {own} |"


def _graphs() -> str:
    lines = [
        "| n | corrupt | lost | server | degree, published | ours "
        "| threshold, published at most | ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for n, corrupt, dropout, semi_malicious, degree, threshold in published.GRAPHS:
        bad, gone = math.floor(corrupt * n), math.floor(dropout * n)
        found = sparsest(n, bad, gone, semi_malicious=semi_malicious)
        own = (str(found.degree), str(found.threshold)) if found else ("complete", "")
        server = "semi-malicious" if semi_malicious else "semi-honest"
        lines.append(
            f"| {n:,} | {corrupt} | {dropout} | {server} | {degree} | {own[0]} "
            f"| {threshold} | {own[1]} |"
        )
    return "\n".join(lines)


def draw(played: Sequence[Played]) -> bytes:
    """Draws the server's seconds by cohort, with one panel per fraction of lost clients."""
    found = []
    for dropout in DROPOUTS:
        own = [one for one in played if one.dropout == dropout]
        series = [plot.Series(OURS, [one.clients for one in own], [one.server for one in own])]
        for source in SOURCES:
            some = [one for one in TIMINGS if one.source == source]
            series.append(
                plot.Series(
                    f"{source} (another machine)",
                    [one.clients for one in some],
                    [one.server[dropout] for one in some],
                )
            )
        found.append((f"{dropout:.0%} lost", series))
    return plot.panels(found, "clients", f"server, seconds, m = {LENGTH:,}")
