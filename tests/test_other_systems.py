"""Windows, Android, Pyodide: nothing fails for want of a module or function of POSIX.

Real ones are not at hand. So the sources are searched for what Windows lacks, and programs run
with it taken away.
"""

import ast
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import children
import other_systems
import pytest
from levels import runs_at
from other_systems import POSIX_MODULES, POSIX_NAMES, become_windows, without_hard_links
from refusals import refused

from secagg import Code, Directory, Identity, IdentityError, Once, SqliteLedger, StateError
from secagg.__main__ import main
from secagg.ledger import sqlite_file as sqlite
from secagg.permissions import LEDGER, PINS, SECRET, why_unsafe

ROOT = Path(__file__).resolve().parents[1]
KEY = Identity.generate().verify_key
# Where `_has_owners` stands before them; `test_files_on_windows` comes to each kind of file.
BEHIND_A_GUARD = {"secagg/permissions.py"}
MODULES = (*POSIX_MODULES, "msvcrt", "sqlite3")
MENTIONED = re.compile(rf"\bos\.(?:{'|'.join(POSIX_NAMES)})\b|\b(?:{'|'.join(MODULES)})\b")


def unguarded(source: str) -> Iterator[str]:
    """Yields what needs POSIX at the top of a module, or in no branch that asks for it."""

    def visit(node: ast.AST, asked: str, depth: int) -> Iterator[str]:
        if isinstance(node, ast.If | ast.IfExp):
            asked += ast.unparse(node.test)
        depth += isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        top = not depth and "TYPE_CHECKING" not in asked
        for name in names if top else ():
            if name.partition(".")[0] in MODULES:
                yield f"import {name}"
        if isinstance(node, ast.Attribute) and node.attr in POSIX_NAMES:
            of_os = ast.unparse(node.value) == "os"
            if of_os and f"hasattr(os, '{node.attr}')" not in asked:
                yield f"os.{node.attr}"
        for child in ast.iter_child_nodes(node):
            yield from visit(child, asked, depth)

    # Most modules mention nothing of this, so they are not parsed.
    return visit(ast.parse(source), "", 0) if MENTIONED.search(source) else iter(())


def test_no_module_needs_posix() -> None:
    found = {
        file: names
        for path in sorted([*ROOT.glob("secagg/**/*.py"), *ROOT.glob("fl/**/*.py")])
        if (file := path.relative_to(ROOT).as_posix()) not in BEHIND_A_GUARD
        if (names := [*unguarded(path.read_text())])
    }
    assert found == {}


def test_what_needs_posix_is_found() -> None:
    source = """
import os, fcntl
from termios import tcgetattr
if TYPE_CHECKING:
    import sqlite3
def late():
    import pwd
    os.geteuid()
    if hasattr(os, "fork"):
        os.fork()
        os.getuid()
"""
    assert [*unguarded(source)] == ["import fcntl", "import termios", "os.geteuid", "os.getuid"]


def test_files_on_windows(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Owners and bits mean nothing there; names do, and locks are those of Windows."""
    me, pins = Identity.generate(), Directory.of([("a", KEY)])
    for name in ("me", "pins", "ledger"):
        (memory_path / f"open-{name}").touch(0o666)
    with monkeypatch.context() as patch:
        locks = become_windows(patch)
        me.save(memory_path / "me")
        assert Identity.load(memory_path / "me").verify_key == me.verify_key
        with refused(IdentityError, Code.EXISTS):
            me.save(memory_path / "me")
        pins.save(memory_path / "pins")
        assert Directory.load(memory_path / "pins") == pins
        ledger = SqliteLedger(memory_path / "ledger")
        assert [ledger.claim(Once.RESUMPTION, b"k") for _ in range(2)] == [True, False]
        for name, rule in (("me", SECRET), ("pins", PINS), ("ledger", LEDGER)):
            assert (
                why_unsafe(memory_path / f"open-{name}", rule, memory_path / f"open-{name}") is None
            )
        with refused(IdentityError, Code.IO, match="absent: cannot read"):
            Identity.load(memory_path / "absent")
        (memory_path / "second").hardlink_to(memory_path / "ledger")
        with refused(StateError, Code.PERMISSIONS, match="2 names"):
            ledger.claim(Once.RESUMPTION, b"k")
        assert main(["identity", "pin", str(memory_path / "pins"), "b", me.verify_key.hex()]) == 0
        assert locks == ["LK_NBLCK", "LK_UNLCK"]
    assert Directory.load(memory_path / "pins") == pins.join("b", me.verify_key)


def test_without_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what is missing; nothing is made."""
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with refused(StateError, Code.LEDGER, match="lacks the module `sqlite3`"):
        SqliteLedger(tmp_path / "ledger")
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_without_hard_links(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made all the same. One that is empty as yet, or for ever, is not used."""
    without_hard_links(monkeypatch)
    ledger = SqliteLedger(memory_path / "ledger")
    assert [ledger.claim(Once.RESUMPTION, b"k") for _ in range(2)] == [True, False]
    assert [path.name for path in memory_path.iterdir()] == ["ledger"]
    (memory_path / "empty").touch(0o600)
    with refused(StateError, Code.FOREIGN_FILE, match="empty.*try again"):
        SqliteLedger(memory_path / "empty")


@pytest.mark.parametrize("stalls", ["connect", "COMMIT"])
def test_without_hard_links_no_ledger_is_replaced(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch, stalls: str
) -> None:
    """While one process makes it, another one is told that it is empty, removes it and makes its
    own; or the ledger is whole, and another one claims in it, when Ctrl-C comes."""
    without_hard_links(monkeypatch)
    path, real, claims = memory_path / "ledger", sqlite._transaction, list[bool]()

    @contextmanager
    def stall(file: Path, kind: Any, ledger: Path | None = None) -> Iterator[Any]:
        if ledger is None or file != path:  # not of making it under its name
            with real(file, kind, ledger) as connection:
                yield connection
            return
        monkeypatch.setattr(sqlite, "_transaction", real)
        if stalls == "connect":
            with refused(StateError, Code.FOREIGN_FILE, match="empty"):
                SqliteLedger(path)
            path.unlink()
            claims.append(SqliteLedger(path).claim(Once.CONTRIBUTION, b"k"))
        with real(file, kind, ledger) as connection:
            yield connection
        if stalls == "COMMIT":
            claims.append(SqliteLedger(path).claim(Once.CONTRIBUTION, b"k"))
            raise KeyboardInterrupt

    monkeypatch.setattr(sqlite, "_transaction", stall)
    with nullcontext() if stalls == "connect" else pytest.raises(KeyboardInterrupt):
        claims.append(SqliteLedger(path).claim(Once.CONTRIBUTION, b"k"))
    claims.append(SqliteLedger(path).claim(Once.CONTRIBUTION, b"k"))
    assert claims == [True, *[False] * (2 if stalls == "connect" else 1)]
    assert [file.name for file in memory_path.iterdir()] == ["ledger"]


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import asyncio, concurrent.futures.process, getpass, multiprocessing, sqlite3, tempfile
import numpy, nacl.bindings, nacl.signing, pytest
import other_systems
assert "secagg" not in sys.modules
other_systems.become_windows(pytest.MonkeyPatch())
if sys.argv[3] == "without sqlite":
    sys.modules["sqlite3"] = None
import secagg, secagg.cost, secagg.fl, secagg.simulate
from secagg.__main__ import main
assert main([]) == 0
home = sys.argv[2]
assert main(["identity", "new", home + "/key"]) == 0
key = secagg.Identity.load(home + "/key").verify_key.hex()
assert main(["identity", "show", home + "/key"]) == 0
assert main(["identity", "pin", home + "/pins", "me", key]) == 0
assert main(["identity", "fingerprint", home + "/pins"]) == 0
for mode in secagg.Mode:
    inputs = [numpy.full(5, number) for number in range(6)]
    total = secagg.secure_sum(inputs, secagg.Integers(low=0, high=9), mode=mode).total
    assert list(total) == [15] * 5
print("done")
"""


@runs_at("programs")
@pytest.mark.parametrize("system", ["windows", "without sqlite"])
def test_programs_without_posix(tmp_path: Path, system: str) -> None:
    """The self-test, the command and rounds of both modes, in a process that never had it."""
    tests = str(Path(other_systems.__file__).parent)
    command = [sys.executable, "-c", PROGRAM, tests, str(tmp_path), system]
    done = children.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.stdout.endswith("done\n"), done.stderr
