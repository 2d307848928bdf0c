"""``python -m benchmarks COMMAND``: measures, and prints Markdown."""

import argparse
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

import secagg
from secagg.implementations import cpu_features, families

from . import kernels, memory, modes, papers, plot, protocol, rows, scale, small_round, unmasking
from .peers import compare
from .progress import Progress

MODES: Final = {str(mode): mode for mode in secagg.Mode}


def machine() -> str:
    """The machine in one line: CPU, cores, features, kernels, versions."""
    info = Path("/proc/cpuinfo")
    model = platform.processor() or platform.machine()
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    features = ", ".join(name for name, present in cpu_features().items() if present)
    kernels = ", ".join(f"{family.name}={family.active}" for family in families())
    return (
        f"{model}, {os.cpu_count()} cores ({features}); kernels {kernels}; "
        f"secagg {secagg.__version__}, Python {platform.python_version()}, NumPy {np.__version__}"
    )


def _write(options: argparse.Namespace, found: Sequence[rows.Row]) -> None:
    if options.json:
        rows.write_json(options.json, machine(), found)


def run_protocol(options: argparse.Namespace) -> int:
    """One round by phase; code 1 if the sum is wrong."""
    measured = protocol.measure(
        options.clients,
        options.length,
        options.dropout,
        options.bits,
        options.seed,
        MODES[options.mode],
        options.degree,
    )
    graph = f"{options.degree} neighbours each" if options.degree else "complete graph"
    print(machine())
    print(
        f"\n{options.mode} mode, {graph}, {options.clients} clients "
        f"x {options.length:,} coordinates "
        f"of {options.bits} bits, "
        f"{options.clients - measured.survivors} lost after the key shares: "
        f"{measured.seconds:.2f} s, all parties in one process\n"
    )
    print(protocol.table(options.clients, measured))
    _write(options, protocol.rows(options.length, measured))
    right = measured.max_error <= measured.tolerance
    print(f"\nlargest error of the sum {measured.max_error:.2e}, allowed {measured.tolerance:.2e}")
    return 0 if right else 1


def run_modes(options: argparse.Namespace) -> int:
    """Both modes side by side; code 1 if malicious mode costs more than the bound."""
    measured = modes.compare(options.clients, options.length, options.rounds, options.seed)
    print(machine())
    print(
        f"\none client of {options.clients} x {options.length:,} coordinates, "
        f"{options.rounds} rounds in turns\n"
    )
    print(modes.table(measured))
    cpu, clock = modes.durable_claim(options.rounds)
    print(
        "\nnot counted: a claim in a ledger on the disk of temporary files, "
        f"{cpu * 1e3:.1f} ms of CPU time, {clock * 1e3:.1f} ms on the clock"
    )
    print(f"ratio of the least times {measured.ratio(min):.2f}, allowed {modes.BOUND}")
    _write(options, [measured.row])
    return 0 if measured.row.ok else 1


def collect(measured: Iterable[rows.Row | str]) -> tuple[list[rows.Row], list[str]]:
    """Rows, and what was left out, with the progress on the terminal."""
    progress = Progress()
    found = rows.collect(measured, progress)
    progress.close()
    return found


def report(
    options: argparse.Namespace,
    title: str,
    found: Sequence[rows.Row],
    left_out: Sequence[str],
    more: str = "",
) -> int:
    """Prints rows, and writes what else is asked for; code 1 if a target is missed."""
    print(machine())
    print(f"\n{title}\n")
    print(rows.table(found))
    if more:
        print(f"\n{more}")
    for reason in left_out:
        print(f"\nleft out: {reason}")
    _write(options, found)
    return 0 if all(row.ok for row in found) else 1


def run_kernels(options: argparse.Namespace) -> int:
    """The kernels against references."""
    length, rounds = (20_000, 3) if options.quick else (options.length, options.rounds)
    found, left_out = collect(kernels.rows(length, rounds))
    title = f"medians of {rounds} rounds in turns"
    if options.plot:
        plot.write(options.plot, "kernels", plot.bars(found, f"Kernels, {title}"))
    return report(options, title, found, left_out)


def run_bounds(options: argparse.Namespace) -> int:
    """Clients and servers against the bare work in theirs, and against a bound on their memory."""
    measured = chain(
        small_round.rows(3 if options.quick else 25),
        memory.rows([(20, 500)] if options.quick else [(100, 100_000), (300, 1_000)]),
        unmasking.rows(30, 500, 2) if options.quick else unmasking.rows(1000, 100_000, 3),
    )
    found, left_out = collect(measured)
    return report(options, "medians of CPU time, and peaks of memory", found, left_out)


def run_peers(options: argparse.Namespace) -> int:
    """This library beside others."""
    sizes = compare.QUICK if options.quick else compare.FULL
    played: list[compare.Played] = []
    found, left_out = collect(compare.measure(sizes, played))
    if options.plot:
        plot.write(options.plot, "peers", plot.bars(found, "secagg beside other systems"))
    return report(options, compare.title(), found, left_out, compare.table(played))


def run_papers(options: argparse.Namespace) -> int:
    """Published figures beside ours on the same parameters."""
    cohorts, length = ([20], 1_000) if options.quick else (options.clients, papers.LENGTH)
    progress = Progress(len(cohorts) * len(papers.DROPOUTS))
    played = papers.play(cohorts, length, progress)
    progress.close()
    if options.plot:
        plot.write(options.plot, "papers", papers.draw(played))
    title = "Expansion of traffic against 16 bits a coordinate in clear, one client, both ways"
    return report(options, title, papers.expansions(), [], papers.tables(played))


def run_scale(options: argparse.Namespace) -> int:
    """Large cohorts beside the model of their cost."""
    cohorts = scale.QUICK if options.quick else options.clients
    length = 500 if options.quick else options.length
    progress = Progress(len(cohorts))
    played = scale.measure(cohorts, length, 0 if options.quick else max(cohorts), progress)
    progress.close()
    if options.plot:
        plot.write(options.plot, "scale", scale.draw(played))
    title = f"{length:,} coordinates, {scale.CORRUPT:.0%} corrupt and {scale.DROPOUT:.0%} lost"
    more = scale.table(played, length)
    return report(options, title, list(scale.rows(played)), [], more)


def main() -> int:
    """Parses the options and runs the measurement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    core = commands.add_parser("kernels", help="the native core against references")
    core.add_argument("--length", type=int, default=1_000_000)
    core.add_argument("--rounds", type=int, default=9)
    core.set_defaults(run=run_kernels)
    peers = commands.add_parser("peers", help="beside Flower, FedML, TenSEAL and cryptography")
    peers.set_defaults(run=run_peers)
    bounds = commands.add_parser("bounds", help="one party: CPU time and memory against bounds")
    bounds.set_defaults(run=run_bounds)
    published = commands.add_parser("papers", help="beside published figures")
    published.add_argument(
        "--clients", type=int, nargs="+", default=[100, 300], help="cohorts to play"
    )
    published.set_defaults(run=run_papers)
    large = commands.add_parser("scale", help="large cohorts, beside the cost model")
    large.add_argument("--clients", type=int, nargs="+", default=list(scale.COHORTS))
    large.add_argument("--length", type=int, default=scale.LENGTH)
    large.set_defaults(run=run_scale)
    for command in (core, bounds, peers, published, large):
        command.add_argument("--quick", action="store_true", help="small, to see that it works")
    for command in (core, peers, published, large):
        command.add_argument("--plot", type=Path, help="folder to draw a picture into")
    one_round = commands.add_parser("protocol", help="one round, by phase and side")
    one_round.add_argument("--dropout", type=float, default=0.1)
    one_round.add_argument("--bits", type=int, default=20)
    one_round.add_argument("--degree", type=int, default=0, help="neighbours; 0: everybody")
    one_round.add_argument("--mode", choices=list(MODES), default="semi-honest")
    one_round.set_defaults(run=run_protocol)
    both = commands.add_parser("modes", help="what malicious mode costs a client")
    both.add_argument("--rounds", type=int, default=25)
    both.set_defaults(run=run_modes)
    for command in (one_round, both):
        command.add_argument("--clients", type=int, default=100)
        command.add_argument("--length", type=int, default=100_000)
        command.add_argument("--seed", type=int, default=0)
    for command in commands.choices.values():
        command.add_argument("--json", type=Path, help="where to write the rows, too")
    options = parser.parse_args()
    if getattr(options, "plot", None):
        plot.require()
    code: int = options.run(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
