"""Compiles the native core with its known-answer program, without Python, and runs it.

For other machines::

    python tests/native/run.py --cc aarch64-linux-gnu-gcc --static --run qemu-aarch64
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parents[1] / "native"
VECTORS = HERE.parent / "vectors" / "arithmetic_vectors.json"

FLAGS = [
    "-std=c11",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
]
# The program counts the threads that the core makes, and may refuse one.
COUNTED = ["-Dpthread_create=counted_create", "-DCreateThread=counted_create"]
SANITIZE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def words(values: Iterable[Any]) -> str:
    """An array of uint64_t as a C literal."""
    return "(const uint64_t[]){" + ",".join(f"UINT64_C({value})" for value in values) + "}"


def octets(text: str) -> str:
    """An array of bytes as a C literal, from hex."""
    return "(const uint8_t[]){" + ",".join(map(str, bytes.fromhex(text))) + "}"


def table(kind: str, rows: Iterable[tuple[Any, ...]]) -> str:
    """A table of ``struct <kind>_vector``, whose fields have the order of a row."""
    body = "".join("    {" + ", ".join(map(str, row)) + "},\n" for row in rows)
    return f"static const struct {kind}_vector {kind}_vectors[] = {{\n{body}}};\n"


def generator(row: dict[str, Any]) -> str:
    """The constant in native/api.h of a row's generator."""
    return "SA_" + str(row["suite"]).upper()


def shamir_row(row: dict[str, Any]) -> tuple[Any, ...]:
    secret = bytes.fromhex(row["secret"])
    limbs = (int.from_bytes(part, "little") for part in (secret[:7], secret[7:14], secret[14:]))
    packed = list(row["packed"])
    parties = packed + [party for party in row["shares"] if party not in packed]
    return (
        row["threshold"],
        row["parties"],
        words(limbs),
        words(value for limb in row["coefficients"] for value in limb),
        words(parties),
        words(value for party in parties for value in row["shares"][party]),
        len(parties),
        octets("".join(row["packed"][party] for party in packed)),
        len(packed),
    )


def skellam_row(row: dict[str, Any]) -> tuple[Any, ...]:
    thresholds = [int(threshold, 16) for threshold in row["thresholds"]]
    parts = [t >> 64 for t in thresholds] + [t % 2**64 for t in thresholds]
    return (*noise_row(row), words(parts), len(thresholds))


def noise_row(row: dict[str, Any]) -> tuple[Any, ...]:
    variance = f"UINT64_C({row['variance']})"
    values = words(row["values"]), len(row["values"])
    return (generator(row), octets(row["key"]), row["bits"], variance, *values)


def vectors() -> str:
    data = json.loads(VECTORS.read_text())
    streams = (
        (
            generator(row),
            octets(row["key"]),
            f"UINT64_C({row['nonce']})",
            f"UINT64_C({row['counter']})",
            octets(row["bytes"]),
            len(row["bytes"]) // 2,
        )
        for row in data["stream"]
    )
    masks = (
        (
            generator(row),
            octets(row["key"]),
            row["bits"],
            row["start"],
            words(row["values"]),
            len(row["values"]),
        )
        for row in data["mask"]
    )
    packs = (
        (row["bits"], words(row["values"]), len(row["values"]), octets(row["bytes"]))
        for row in data["pack"]
    )
    primes = sorted(data["primes"].items(), key=lambda item: int(item[0]))
    tables = (
        table("prime", ((bits, f"UINT64_C({prime})") for bits, prime in primes)),
        table("stream", streams),
        table("mask", masks),
        table("pack", packs),
        table("shamir", map(shamir_row, data["shamir"])),
        table("skellam", map(skellam_row, data["skellam"])),
        table("gaussian", map(noise_row, data["gaussian"])),
    )
    return "\n".join(tables)


def compile_all(folder: Path, compiler: Sequence[str], sources: Iterable[Path]) -> list[str]:
    """Compiles each source into an object in the folder, and returns the names of these."""

    def compile_one(source: Path) -> str:
        name = f"{source.stem}.o"
        subprocess.run([*compiler, "-c", str(source), "-o", name], cwd=folder, check=True)
        return name

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(compile_one, sorted(sources)))


def build(folder: Path, cc: str, *options: str) -> Path:
    """Compiles the core and the program in an empty folder, and returns the program's path."""
    (folder / "vectors.inc").write_text(vectors())
    compiler = [*shlex.split(cc), *FLAGS, *options, f"-I{NATIVE}", "-I."]
    parts = compile_all(folder, [*compiler, *COUNTED], NATIVE.glob("*.c"))
    parts += compile_all(folder, compiler, HERE.glob("*.c"))
    program = folder / "selftest.exe"
    subprocess.run([*compiler, *parts, "-o", program.name, "-lm"], cwd=folder, check=True)
    return program


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cc", default="cc", help="compiler, with any options")
    parser.add_argument("--run", default="", help="what runs the program, such as qemu-aarch64")
    parser.add_argument("--static", action="store_true", help="link statically")
    parser.add_argument("--sanitize", action="store_true", help="address and undefined behaviour")
    options = parser.parse_args()
    flags = ["-pthread", *(SANITIZE if options.sanitize else ["-O3"])]
    if options.static:
        flags.append("-static")
    with tempfile.TemporaryDirectory() as folder:
        try:
            program = build(Path(folder), options.cc, *flags)
        except subprocess.CalledProcessError as error:
            return error.returncode
        return subprocess.run([*shlex.split(options.run), str(program)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
