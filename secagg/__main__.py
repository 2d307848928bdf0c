"""``python -m secagg``: prints version, CPU features and kernels, and runs the self-test.

``python -m secagg identity`` makes an identity, pins the verify keys of others, and shows the
fingerprints that people compare. ``python -m secagg preflight`` says what a planned round
withstands and costs, and ``python -m secagg bench`` plays it.
"""

import argparse
import sys
from typing import NoReturn

from . import __version__
from .arithmetic.implementations import cpu_features, families
from .arithmetic.threads import default_threads
from .cost import command as cost_command
from .errors import SecAggError
from .identity import command as identity_command
from .programs import error_line, run_program
from .selftest import run as known_answers


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Prints the message on one line, and exits with 2."""
        self.exit(2, error_line("secagg", message))


def main(arguments: list[str] | None = None) -> int:
    """Prints the report, or runs a command; returns the exit code: 1 if a self-test failed.

    Exits with 2 for bad input, and otherwise as `run_program` says.
    """
    return run_program("secagg", lambda: _run(arguments))


def _run(arguments: list[str] | None) -> int | None:
    parser: argparse.ArgumentParser = _Parser(
        prog="secagg",
        description="Without a command: show the native core's implementations and test them.",
    )
    parser.add_argument("--version", action="version", version=f"secagg {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND")
    identity_command.add_to(commands)
    cost_command.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        code: int | None = options.run(options) if "run" in options else _report()
    except SecAggError as error:
        parser.error(str(error))
    return code


def _report() -> int:
    default_threads()  # a wrong variable is no wrong answer
    write = sys.stdout.write
    write(f"secagg {__version__}\n\nCPU features\n")
    for name, present in cpu_features().items():
        write(f"  {name:<12}{'yes' if present else 'no'}\n")
    write("\nkernels     active          compiled in\n")
    for family in families():
        write(f"  {family.name:<10}{family.active:<16}{', '.join(family.compiled)}\n")
    write("\nknown answers\n")
    outcomes = list(known_answers())
    width = max(len(outcome.name) for outcome in outcomes) + 2
    for outcome in outcomes:
        verdict = "ok" if outcome.passed else "FAILED"
        write(f"  {outcome.name:<{width}}{outcome.implementation:<20}{verdict}\n")
    failures = sum(not outcome.passed for outcome in outcomes)
    write(f"\n{len(outcomes) - failures} of {len(outcomes)} right\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
