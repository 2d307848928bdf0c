"""``python -m secagg``: what is installed, what the CPU offers, and whether it computes right."""

import argparse
import sys
from typing import NoReturn

from . import __version__
from .implementations import cpu_features, families
from .selftest import run


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line and exit code 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: list[str] | None = None) -> int:
    """Prints the report; 0 when every known answer is right, else 1."""
    parser = _Parser(
        prog="secagg", description="Show the native core's implementations and test them."
    )
    parser.add_argument("--version", action="version", version=f"secagg {__version__}")
    parser.parse_args(arguments)

    write = sys.stdout.write
    write(f"secagg {__version__}\n\nCPU features\n")
    for name, present in cpu_features().items():
        write(f"  {name:<12}{'yes' if present else 'no'}\n")
    write("\nkernels     active          compiled in\n")
    for family in families():
        write(f"  {family.name:<10}{family.active:<16}{', '.join(family.compiled)}\n")
    write("\nknown answers\n")
    outcomes = list(run())
    for outcome in outcomes:
        verdict = "ok" if outcome.passed else "FAILED"
        write(f"  {outcome.name:<22}{outcome.implementation:<20}{verdict}\n")
    failures = sum(not outcome.passed for outcome in outcomes)
    write(f"\n{len(outcomes) - failures} of {len(outcomes)} right\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
