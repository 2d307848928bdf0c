"""``python -m benchmarks protocol``: measures one round and prints it as Markdown."""

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Final

import numpy as np

import secagg
from secagg.implementations import cpu_features, families

from .protocol import measure, table

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


def main() -> int:
    """Parses the options and runs the measurement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=["protocol"])
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--length", type=int, default=100_000)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--bits", type=int, default=20)
    parser.add_argument("--mode", choices=list(MODES), default="semi-honest")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    measured = measure(
        options.clients,
        options.length,
        options.dropout,
        options.bits,
        options.seed,
        MODES[options.mode],
    )
    print(machine())
    print(
        f"\n{options.mode} mode, {options.clients} clients x {options.length:,} coordinates "
        f"of {options.bits} bits, "
        f"{options.clients - measured.survivors} lost after the key shares: "
        f"{measured.seconds:.2f} s, all parties in one process\n"
    )
    print(table(options.clients, measured))
    right = measured.max_error <= measured.tolerance
    print(f"\nlargest error of the sum {measured.max_error:.2e}, allowed {measured.tolerance:.2e}")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
