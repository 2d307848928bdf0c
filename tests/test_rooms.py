"""The contract of rooms: it holds, and whatever breaks it is found.

`[tool.importlinter]` in pyproject.toml says which room may import which; this file says what the
import linter cannot. Both are tried on copies of the tree with one violation planted in each.
"""

import ast
import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import children
from levels import amount

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
IDS = {contract["name"]: contract["id"] for contract in CONTRACTS}

# What may be imported from outside the standard library; cffi is for native/build.py, and its
# compiled part is named once for programs that freeze applications.
PACKAGES = {
    "secagg": {"secagg", "fl", "numpy", "nacl", "_cffi_backend"},  # fl: the linter refuses it
    "fl": {"secagg", "numpy", "matplotlib", "pandas", "rich", "sklearn"},
}
# Packages that gather public names. Every other `__init__` is empty: importing one module of a room
# then neither loads the whole room nor closes a circle.
GATHERS = {
    *("secagg", "secagg/aio", "secagg/analytics", "secagg/cost", "secagg/integrations/flower"),
    *("secagg/noise", "fl"),
}
# What is imported beside and `secagg` never needs: an adapter's framework, the privacy accountant.
FRAMEWORKS = {
    "secagg/integrations/flower/": {"flwr"},
    "secagg/integrations/nvflare": {"nvflare"},
    "secagg/noise/accounting": {"dp_accounting"},
    "secagg/noise/checks/canaries": {"dp_accounting"},
}
# The most lines that it may have: it carries bytes and names.
LINES = {"secagg/integrations/nvflare.py": 150}

# A program of its own: the linter looks for `secagg` where imports look, and there it is loaded.
LINT = """
import contextlib, io, json, os, sys
from importlinter.cli import lint_imports
results = []
for tree in sys.argv[1:]:
    os.chdir(tree)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = lint_imports(no_cache=True, no_logo=True)
    results.append((code, out.getvalue()))
print(json.dumps(results))
"""


def lint(*trees: Path) -> list[tuple[int, str]]:
    """Returns exit code and report of the import linter for each tree."""
    ended = children.run(
        [sys.executable, "-c", LINT, *map(str, trees)], env=os.environ | {"COLUMNS": "1000"}
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def broken(report: str) -> set[str]:
    """Returns the ids of the contracts that a report calls broken."""
    return {IDS[name] for name in re.findall(r"^(.+) BROKEN\b", report, re.MULTILINE)}


def sources(tree: Path) -> list[str]:
    """Returns the Python files of all packages, as paths from `tree`."""
    found = [path for top in PACKAGES for path in tree.glob(f"{top}/**/*.py")]
    return sorted(str(path.relative_to(tree)) for path in found)


def unknown_packages(tree: Path, file: str) -> set[str]:
    """Returns what a file imports from outside that is not in the table."""
    names = set()
    for node in ast.walk(ast.parse((tree / file).read_text(), file)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    allowed = set(PACKAGES[file.partition("/")[0]])
    allowed.update(*(names for place, names in FRAMEWORKS.items() if file.startswith(place)))
    return names - allowed - sys.stdlib_module_names


def is_crowded(tree: Path, file: str) -> bool:
    """Returns whether a file is the `__init__` of a package that must be empty, and is not."""
    package, _, name = file.rpartition("/")
    if name != "__init__.py" or package in GATHERS:
        return False
    module = ast.parse((tree / file).read_text(), file)
    return len(module.body) > (ast.get_docstring(module) is not None)


def test_the_tree_keeps_the_contract() -> None:
    [(code, report)] = lint(ROOT)
    assert (code, broken(report)) == (0, set()), report
    files = sources(ROOT)
    assert {file: names for file in files if (names := unknown_packages(ROOT, file))} == {}
    assert [file for file in files if is_crowded(ROOT, file)] == []


def test_an_adapter_is_small_and_nobody_imports_it() -> None:
    texts = {file: (ROOT / file).read_text() for file in sources(ROOT)}
    assert {file: n for file, most in LINES.items() if (n := texts[file].count("\n")) > most} == {}
    imports = re.compile(r"^\s*(from|import)\s.*\bintegrations\b", re.MULTILINE)
    assert [file for file, text in texts.items() if imports.search(text)] == []


class Plant(NamedTuple):
    """Lines that are added to a file, and the one contract that they break."""

    file: str
    lines: str
    breaks: str


PLANTS = {
    "upward": Plant("secagg/primitives/prg.py", "from ..pairwise import derivation", "rooms"),
    "upward by full name": Plant(
        "secagg/arithmetic/field.py", "import secagg.params.params", "rooms"
    ),
    "upward, in a function": Plant(
        "secagg/params/sparse.py", "def late():\n    from ..encoding import choice", "rooms"
    ),
    "upward, for types only": Plant(
        "secagg/identity/files.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..simulate import Run",
        "rooms",
    ),
    "from a room on the same line": Plant(
        "secagg/identity/files.py", "from ..encoding import codec", "rooms"
    ),
    "pairwise imports drivers": Plant(
        "secagg/pairwise/derivation.py", "from ..drivers.executors import run_jobs", "rooms"
    ),
    "drivers import pairwise": Plant(
        "secagg/drivers/executors.py", "from ..pairwise import derivation", "rooms"
    ),
    "a folder without a room": Plant("secagg/attic/__init__.py", '"""Odds and ends."""', "rooms"),
    "a module without a room": Plant("secagg/oddments.py", "", "rooms"),
    "a circle": Plant("secagg/pairwise/messages.py", "from . import derivation", "circles"),
    "a circle in fl": Plant(
        "fl/schedule.py", "def late():\n    from .command import cli", "circles"
    ),
    "a module imports its own package": Plant(
        "secagg/cost/calibration.py", "from . import estimate", "roots"
    ),
    "the compiled module": Plant("secagg/selftest.py", "from . import _native", "roots"),
    "the compiled module by full name": Plant(
        "secagg/selftest.py", "def late():\n    import secagg._native", "roots"
    ),
    "secagg imports secagg.fl": Plant("secagg/selftest.py", "import secagg.fl", "roots"),
    "secagg imports fl": Plant("secagg/selftest.py", "from fl import fedavg", "above"),
    "fl imports an inner module": Plant(
        "fl/command/plot.py", "from secagg.params import params", "public"
    ),
    "fl imports an inner module by full name": Plant(
        "fl/command/plot.py", "import secagg.events", "public"
    ),
    "libsodium above the primitives": Plant(
        "secagg/pairwise/derivation.py", "import nacl.bindings", "sodium"
    ),
    "a clock": Plant("secagg/pairwise/server.py", "from time import monotonic", "sans-io"),
    "a thread": Plant("secagg/encoding/codec.py", "import threading", "sans-io"),
    "a socket": Plant("secagg/simulate.py", "import socket", "sans-io"),
    "an unknown package": Plant("fl/command/plot.py", "import requests.adapters", "packages"),
    "cffi": Plant("secagg/arithmetic/binding.py", "from cffi import FFI", "packages"),
    "secagg imports an extra of fl": Plant(
        "secagg/selftest.py", "def late():\n    import matplotlib", "packages"
    ),
    "fl imports itself by a name that is not installed": Plant(
        "fl/command/cli.py", "from fl import history", "packages"
    ),
    "an __init__ that is not empty": Plant(
        "secagg/params/__init__.py", "from .params import Params", "empty"
    ),
}


def together() -> list[dict[str, Plant]]:
    """Returns the violations by tree: of each contract one at most, and one in a file.

    At level long each has a tree of its own.
    """
    trees: list[dict[str, Plant]] = []
    for name, plant in PLANTS.items():
        used = [{at for each in tree.values() for at in (each.file, each.breaks)} for tree in trees]
        free = [tree for tree, at in zip(trees, used, strict=True) if not at & {*plant[::2]}]
        if amount("a tree for each violation") or not free:
            trees.append({name: plant})
        else:
            free[0][name] = plant
    return trees


def planted(plants: Iterable[Plant], tree: Path) -> Path:
    """Copies the sources with violations in them to a new folder."""
    for source in [*sources(ROOT), "pyproject.toml"]:
        copy = tree / source
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, copy)
    for plant in plants:
        file = tree / plant.file
        file.parent.mkdir(exist_ok=True)
        with file.open("a") as stream:
            stream.write(f"\n{plant.lines}\n")
    return tree


def test_planted_violations_are_found(memory_path: Path) -> None:
    """Each breaks the contract that names it and no other."""
    cases = together()
    trees = [planted(each.values(), memory_path / str(at)) for at, each in enumerate(cases)]
    for plants, tree, (_, report) in zip(cases, trees, lint(*trees), strict=True):
        found = broken(report)
        if any(unknown_packages(tree, each.file) for each in plants.values()):
            found.add("packages")
        if any(is_crowded(tree, each.file) for each in plants.values()):
            found.add("empty")
        assert found == {each.breaks for each in plants.values()}, f"{[*plants]}:\n{report}"
    assert {each.breaks for each in PLANTS.values()} == {*IDS.values(), "packages", "empty"}
