"""``python -m benchmarks COMMAND``: measures, and prints tables as Markdown."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

import secagg
from secagg.arithmetic.implementations import cpu_features, families
from secagg.programs import error_line, fraction, run_program, whole_number
from secagg.progress import Progress

from . import (
    accuracy,
    kernels,
    laplace,
    memory,
    modes,
    papers,
    plot,
    privacy,
    protocol,
    rows,
    scale,
    small_round,
    unmasking,
)
from .frameworks import compare as deployments
from .frameworks.flower import DeploymentError
from .peers import compare
from .peers.case import MissingError

PROGRAM: Final = "python -m benchmarks"
MODES: Final = {str(mode): mode for mode in secagg.Mode}


def machine() -> str:
    """Describes the machine in one line: CPU, cores, features, kernels, versions."""
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
    """Measures one round by phase; returns 1 if the sum is wrong."""
    clients, length = (20, 1_000) if options.quick else (options.clients, options.length)
    mode = MODES[options.mode]
    progress = Progress(protocol.steps(mode))
    measured = protocol.measure(
        clients,
        length,
        options.dropout,
        options.bits,
        mode,
        options.degree,
        progress,
    )
    progress.close()
    graph = f"{options.degree} neighbours each" if options.degree else "complete graph"
    title = f"{mode} mode, {graph}, {clients} clients x {length:,} coordinates"
    print(machine())
    print(
        f"\n{title} of {options.bits} bits, "
        f"{clients - measured.survivors} lost after the key shares: "
        f"{measured.seconds:.2f} s, all parties in one process\n"
    )
    print(protocol.table(clients, measured))
    found = protocol.rows(length, measured)
    _write(options, found)
    if options.plot:
        sides = "one client", "server"
        plot.write(options.plot, "protocol", plot.bars(found, title, sides))
    right = measured.max_error <= measured.tolerance
    print(f"\nlargest error of the sum {measured.max_error:.2e}, allowed {measured.tolerance:.2e}")
    return 0 if right else 1


def run_modes(options: argparse.Namespace) -> int:
    """Compares the two modes; returns 1 if malicious mode costs more than the bound."""
    measured = modes.compare(options.clients, options.length, options.rounds)
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


def report(
    options: argparse.Namespace,
    title: str,
    found: Sequence[rows.Row],
    left_out: Sequence[str],
    more: str = "",
    *,
    targets: bool = True,
) -> int:
    """Prints rows, and writes them as JSON if asked; returns 1 if a target is missed.

    Args:
        targets: keep the targets of the rows; False for sizes that they are not about.
    """
    found = found if targets else [rows.without_target(row) for row in found]
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
    """Compares the kernels with references."""
    length, rounds, holders, clients = options.length, options.rounds, 1000, 300
    if options.quick:
        length, rounds, holders, clients = 2_000, 1, 20, 20
    found, left_out = rows.collect(kernels.parts(length, rounds, holders, clients))
    title = f"medians of {rounds} rounds in turns"
    if options.plot:
        plot.write(options.plot, "kernels", plot.bars(found, f"Kernels, {title}"))
    return report(options, title, found, left_out, targets=not options.quick)


def run_bounds(options: argparse.Namespace) -> int:
    """Compares clients and servers with the bare work they contain, and with bounds of memory."""
    parts = (
        small_round.rows(1 if options.quick else 25),
        memory.rows([(20, 500)] if options.quick else [(100, 100_000), (300, 1_000)]),
        unmasking.rows(20, 100, 1) if options.quick else unmasking.rows(1000, 100_000, 3),
    )
    found, left_out = rows.collect(parts)
    title = "medians of CPU time, and peaks of memory"
    return report(options, title, found, left_out, targets=not options.quick)


def run_peers(options: argparse.Namespace) -> int:
    """Compares this library with other systems."""
    sizes = compare.QUICK if options.quick else compare.FULL
    played: list[compare.Played] = []
    found, left_out = rows.collect(compare.parts(sizes, played))
    if options.plot:
        plot.write(options.plot, "peers", plot.bars(found, "secagg beside other systems"))
    more = compare.table(played) if played else ""
    return report(options, compare.title(), found, left_out, more, targets=not options.quick)


def run_frameworks(options: argparse.Namespace) -> int:
    """Compares rounds on a deployment of Flower; returns 1 if one takes too long, or is wrong."""
    nodes, lengths, rounds = options.nodes, options.lengths, options.rounds
    if options.quick:
        nodes, lengths, rounds = 4, [1_000], 1
    played = deployments.play(nodes, lengths, rounds, options.limit)
    found, title = list(deployments.rows(played)), deployments.title(nodes, rounds)
    more = deployments.table(played)
    code = report(options, title, found, [], more, targets=not options.quick)
    wrong = deployments.wrong(played)
    for text in wrong:
        print(f"\n{text}")
    return 1 if wrong else code


def run_accuracy(options: argparse.Namespace) -> int:
    """Compares trainings of few bits with plain averaging; returns 1 if one is too far below."""
    hidden, repeats = (2, 1) if options.quick else (accuracy.HIDDEN, accuracy.REPEATS)
    found, left_out = rows.collect([accuracy.rows(hidden, repeats)])
    trained = accuracy.measure(options.quick)
    title = f"{accuracy.CLIENTS} clients, {accuracy.DATA}, {accuracy.ROUNDS} rounds"
    more = accuracy.table(trained)
    code = report(options, title, found, left_out, more, targets=not options.quick)
    missed = [each for each in trained if each.missed and not options.quick]
    for each in missed:
        allowed = accuracy.ALLOWED[each.bits]
        print(f"\n{each.model}, {each.bits} bits: more than {allowed} points below plain averaging")
    return 1 if missed else code


def run_privacy(options: argparse.Namespace) -> int:
    """Trains with differential privacy; returns 1 if noise by the clients costs too much."""
    played = privacy.play(options.quick)
    print(machine())
    draws = f"{len(privacy.SEEDS)} seeds, {privacy.DRAWS} draws of noise with each"
    print(f"\n{privacy.CLIENTS} clients, delta {privacy.DELTA:g}, {draws}\n")
    print(privacy.table(played))
    print(laplace.table(next(iter(privacy.WAYS)), options.quick))
    _write(options, list(privacy.rows(played)))
    wrong = [] if options.quick else list(privacy.missed(played))
    for text in wrong:
        print(text)
    return 1 if wrong else 0


def run_papers(options: argparse.Namespace) -> int:
    """Compares published figures with ours for the same parameters."""
    cohorts, length = ([20], 1_000) if options.quick else (options.clients, papers.LENGTH)
    progress = Progress(len(cohorts) * len(papers.DROPOUTS))
    played = papers.play(cohorts, length, progress)
    progress.close()
    if options.plot:
        plot.write(options.plot, "papers", papers.draw(played))
    clients, rounds = (20, 1) if options.quick else (papers.GAIN_CLIENTS, 3)
    parts = papers.expansions(), papers.gains(clients, length, rounds)
    found, left_out = rows.collect(parts)
    title = "expansion: bytes of one client, both ways, over 16 bits per coordinate in clear"
    return report(options, title, found, left_out, papers.tables(played))


def run_scale(options: argparse.Namespace) -> int:
    """Compares rounds of large cohorts with the model of their cost."""
    cohorts = scale.QUICK if options.quick else options.clients
    length = 500 if options.quick else options.length
    progress = Progress(len(cohorts))
    most, samples = (0, 1) if options.quick else (max(cohorts), scale.SAMPLES)
    played = scale.measure(cohorts, length, most, progress, samples)
    progress.close()
    if options.plot:
        plot.write(options.plot, "scale", scale.draw(played))
    title = f"{length:,} coordinates, {scale.CORRUPT:.0%} corrupt and {scale.DROPOUT:.0%} lost"
    more = scale.table(played, length)
    return report(options, title, list(scale.rows(played)), [], more, targets=not options.quick)


def main() -> int:
    """Parses the options and runs the measurement; ends as `run_program` says."""
    return run_program(PROGRAM, _run)


def _run() -> int:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    core = commands.add_parser("kernels", help="compare the native core with references")
    core.add_argument("--length", type=int, default=1_000_000)
    core.add_argument("--rounds", type=int, default=9)
    core.set_defaults(run=run_kernels)
    peers = commands.add_parser(
        "peers", help="compare with Flower, FedML, TenSEAL and cryptography"
    )
    peers.set_defaults(run=run_peers)
    deployed = commands.add_parser(
        "frameworks", help="compare on a deployment of Flower, over the network of this machine"
    )
    deployed.add_argument("--nodes", type=whole_number(4), default=4)
    deployed.add_argument("--lengths", type=int, nargs="+", default=list(deployments.LENGTHS))
    deployed.add_argument("--rounds", type=whole_number(1, 60), default=5)
    deployed.add_argument(
        "--limit", type=float, default=3600.0, help="the most seconds for each length"
    )
    deployed.set_defaults(run=run_frameworks)
    bounds = commands.add_parser(
        "bounds", help="compare CPU time and memory of one party with bounds"
    )
    bounds.set_defaults(run=run_bounds)
    trainings: tuple[tuple[str, Callable[[argparse.Namespace], int], str], ...] = (
        ("accuracy", run_accuracy, "compare trainings of few bits with plain averaging"),
        ("privacy", run_privacy, "compare trainings with noise by clients and by the server"),
    )
    few, noisy = (commands.add_parser(name, help=text) for name, _, text in trainings)
    for command, (_, work, _) in zip((few, noisy), trainings, strict=True):
        command.set_defaults(run=work)
    published = commands.add_parser("papers", help="compare with published figures")
    published.add_argument(
        "--clients", type=int, nargs="+", default=[100, 300], help="cohorts to play"
    )
    published.set_defaults(run=run_papers)
    large = commands.add_parser("scale", help="compare large cohorts with the cost model")
    large.add_argument("--clients", type=int, nargs="+", default=list(scale.COHORTS))
    large.add_argument("--length", type=int, default=scale.LENGTH)
    large.set_defaults(run=run_scale)
    one_round = commands.add_parser("protocol", help="measure one round by phase and side")
    one_round.add_argument("--dropout", type=fraction, default=0.1)
    one_round.add_argument("--bits", type=int, default=20)
    one_round.add_argument(
        "--degree", type=int, default=0, help="neighbours per party; 0: complete graph"
    )
    one_round.add_argument("--mode", choices=list(MODES), default="semi-honest")
    one_round.set_defaults(run=run_protocol)
    both = commands.add_parser("modes", help="measure what malicious mode costs a client")
    both.add_argument("--rounds", type=int, default=25)
    both.set_defaults(run=run_modes)
    for command in (one_round, both):
        command.add_argument("--clients", type=int, default=100)
        command.add_argument("--length", type=int, default=100_000)
    for command in (core, one_round, large, peers, published, bounds, deployed, few, noisy):
        command.add_argument(
            "--quick", action="store_true", help="small sizes, only to check that it works"
        )
    for command in (core, one_round, large, peers, published):
        command.add_argument("--plot", type=Path, help="folder for a picture")
    for command in commands.choices.values():
        command.add_argument("--json", type=Path, help="file to write the rows to, as JSON")
    options = parser.parse_args()
    if getattr(options, "plot", None):
        plot.require()
    try:
        code: int = options.run(options)
    except DeploymentError as error:  # with lines of a log
        parser.exit(2, f"{PROGRAM}: error: {error}\n")
    # Impossible parameters, too few survivors, or what cannot be measured here.
    except (secagg.SecAggError, MissingError) as error:
        parser.exit(2, error_line(PROGRAM, str(error)))
    return code


if __name__ == "__main__":
    sys.exit(main())
