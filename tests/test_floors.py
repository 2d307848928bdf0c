"""Import contracts: every module imports only from the floors below it.

The table is that of `docs/ARCHITECTURE.md`. The checker reads the syntax trees, so that imports
inside functions count as well.
"""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# A package stands for all modules in it. Modules of one floor may import each other, without a
# cycle. Some modules are still to come (noise, aio, bench, audit, integrations).
FLOORS = {
    "secagg.interfaces": 1,
    "secagg.drivers": 6,
    "secagg.arithmetic": 1,
    "secagg.machine": 4,
    "secagg.codes": 1,
    "secagg.errors": 1,
    "secagg.events": 1,
    "secagg.identity.files": 1,
    "secagg.params.formats": 1,
    "secagg.arithmetic.moduli": 1,
    "secagg.params": 3,
    "secagg.primitives.secret": 1,
    "secagg.machine.wire": 1,
    "secagg.arithmetic.binding": 2,
    "secagg.arithmetic.field": 2,
    "secagg.arithmetic.generators": 2,
    "secagg.arithmetic.implementations": 2,
    "secagg.arithmetic.threads": 2,
    "secagg.primitives": 3,
    "secagg.encoding": 4,
    "secagg.pairwise.graph": 4,
    "secagg.identity.directory": 4,
    "secagg.identity": 4,
    "secagg.encoding.layout": 4,
    "secagg.ledger": 1,
    "secagg.noise": 4,
    "secagg.pairwise": 5,
    "secagg": 6,
    "secagg.__main__": 6,
    "secagg.aio": 6,
    "secagg.bench": 6,
    "secagg.cost.calibration": 6,
    "secagg.cost": 6,
    "secagg.drivers.executors": 6,
    "secagg.identity.command": 6,
    "secagg.selftest": 6,
    "secagg.simulate": 6,
    "secagg.ledger.sqlite": 6,
    "secagg.audit": 7,
    "secagg.integrations": 7,
    "fl": 8,
}
SANS_IO_BELOW = 6
FL = 8

# Who may import what from outside the standard library; cffi is for native/build.py only.
THIRD_PARTY = {
    "numpy": {1, 2, 3, 4, 5, 6, 7, 8},
    "nacl": {3},
    "pytest": {7},
    "matplotlib": {8},
    "rich": {8},
    "sklearn": {8},
}
# The core does no I/O, starts no thread, reads no clock, draws no weak randomness.
IO = {
    *("asyncio", "concurrent", "multiprocessing", "queue", "sched", "signal", "threading"),
    *("ftplib", "http", "select", "selectors", "smtplib", "socket", "socketserver", "ssl"),
    *("importlib", "io", "pickle", "random", "shelve", "sqlite3", "subprocess", "tempfile"),
    *("time", "urllib"),
}
MAY = {("secagg.machine.ownership", "threading")}  # for a lock; it starts no thread
COMPILED = "secagg._native"
PUBLIC = {"secagg", "secagg.simulate", "secagg.bench", "secagg.aio"}


def floor_of(module: str) -> int | None:
    """The floor by the longest entry that the name begins with; None when it has none."""
    name = module
    while name not in FLOORS or (name == "secagg" and module != "secagg"):
        name, _, last = name.rpartition(".")
        if not last or not name:
            return None
    return FLOORS[name]


class Tree:
    """The modules under `root` by dotted name, those of fl/ as `fl...`."""

    def __init__(self, root: Path) -> None:
        self.paths: dict[str, Path] = {}
        for path in sorted([*root.glob("secagg/**/*.py"), *root.glob("fl/**/*.py")]):
            parts = path.relative_to(root).with_suffix("").parts
            self.paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path

    def imports(self, module: str) -> Iterator[tuple[int, str]]:
        """Line and absolute name of what is imported, submodules told from names in them."""
        path = self.paths[module]
        package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                upward = package[: len(package) + 1 - node.level] if node.level else []
                base = ".".join([*upward, *([node.module] if node.module else [])])
                for alias in node.names:
                    name = f"{base}.{alias.name}" if base else f"..{alias.name}"
                    known = name in self.paths or name == COMPILED
                    yield node.lineno, name if known or not base else base


def complaint(tree: Tree, module: str, target: str) -> str | None:
    """What is wrong with `module` importing `target`, if anything."""
    floor, top = floor_of(module), target.partition(".")[0]
    assert floor is not None
    if top not in {"secagg", "fl"}:
        if top in sys.stdlib_module_names:
            bad = floor < SANS_IO_BELOW and top in IO and (module, target) not in MAY
            return (
                f"{target} is I/O, a clock, a thread or chance: not below floor 6" if bad else None
            )
        if floor in THIRD_PARTY.get(top, ()):
            return None
        return f"floor {floor} must not import {target}"
    if target == COMPILED:
        return (
            None
            if module == "secagg.arithmetic.binding"
            else "only secagg.arithmetic.binding imports the core"
        )
    if top == "secagg" and target.startswith("secagg.fl") and module.startswith("secagg"):
        return "secagg must not know its fl layer"
    if target not in tree.paths:
        return f"{target} does not exist"
    if floor == FL and top == "secagg":
        return None if target in PUBLIC else f"fl takes public names, not {target}"
    below = floor_of(target)
    if below is not None and below > floor:
        return f"floor {floor} imports {target} of floor {below}"
    return None


def violations(root: Path) -> list[str]:
    """Every broken contract in the tree, as `module:line: what`."""
    tree = Tree(root)
    found = [
        f"{module}: has no floor; put it in the table of tests/test_floors.py"
        for module in tree.paths
        if floor_of(module) is None
    ]
    edges: dict[str, set[str]] = {}
    for module in tree.paths:
        if floor_of(module) is None:
            continue
        for line, target in tree.imports(module):
            edges.setdefault(module, set()).add(target)
            if what := complaint(tree, module, target):
                found.append(f"{module}:{line}: {what}")
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        found.append(f"imports in a circle: {' <- '.join(error.args[1])}")
    return found


def test_the_tree_keeps_the_contracts() -> None:
    assert violations(ROOT) == []


def test_the_checker_sees_the_tree() -> None:
    """A wrong root or a blind resolver would let everything pass."""
    tree = Tree(ROOT)
    assert {"secagg", "secagg.arithmetic.binding", "secagg.pairwise.client"} <= set(tree.paths)
    assert COMPILED in {target for _, target in tree.imports("secagg.arithmetic.binding")}
    assert "secagg.encoding.choice" in {
        target for _, target in tree.imports("secagg.pairwise.server_steps")
    }
    assert {floor_of(module) for module in tree.paths} >= {1, 2, 3, 4, 5, 6}
