"""The examples that are folders of programs: all their processes and accidents, as printed."""

import ast
import difflib
import importlib
import io
import os
import re
import socket
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

import children
import numpy as np
import pytest
from levels import runs_at

import secagg

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def code_lines(path: Path) -> int:
    """Counts lines of code: no imports, docstrings and comments, nor what starts the program.

    The function that trains does not count, either: it is the user's in any system.
    """
    source = path.read_text()
    lines = {at for at, line in enumerate(source.splitlines(), 1) if line.strip(" )")}
    lines -= {at for at, line in enumerate(source.splitlines(), 1) if line.strip()[:1] == "#"}
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Import | ast.ImportFrom)
            or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            or (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))
            or (isinstance(node, ast.FunctionDef) and node.name == "train")
        ):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


def test_the_glue_of_the_http_example_is_short() -> None:
    """Transport and rounds take few lines, on both sides; the README has the numbers."""
    folder = EXAMPLES / "http"
    glue = {
        name: code_lines(folder / name) for name in ("sockets.py", "coordinator.py", "hospital.py")
    }
    assert sum(glue.values()) <= 60
    readme = (folder / "README.md").read_text()
    for name, count in glue.items():
        assert re.search(rf"`{name}`.*\| {count} \|\n", readme), (name, count)
    assert f"{sum(glue.values())} lines" in readme


def test_the_adapter_of_flower_is_short() -> None:
    """Lines that are neither blank nor comments nor docstrings."""
    total = 0
    for path in (EXAMPLES.parent / "secagg" / "integrations" / "flower").glob("*.py"):
        source = path.read_text()
        lines = {at for at, line in enumerate(source.splitlines(), 1) if line.strip()}
        lines -= {at for at, line in enumerate(source.splitlines(), 1) if line.strip()[:1] == "#"}
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
        total += len(lines)
    assert 100 < total <= 250


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Any]:
    """Imports a module of an example, by folder and name; it imports its neighbours by name."""

    def load(folder: str, name: str) -> Any:
        monkeypatch.syspath_prepend(str(EXAMPLES / folder))
        for path in (EXAMPLES / folder).glob("*.py"):
            monkeypatch.setitem(sys.modules, path.stem, None)
            del sys.modules[path.stem]  # put back as it was after the test
        return importlib.import_module(name)

    return load


def test_a_task_of_the_http_example_is_as_large_as_the_model(
    loaded: Callable[[str, str], Any],
) -> None:
    """No bytes of the coordinator make a hospital allocate more, as those of a zip file can."""
    study = loaded("http", "study")
    model = {"weight": np.linspace(-1, 1, study.FEATURES, dtype=np.float32), "bias": np.ones(1)}
    task = study.encode(7, model)
    number, got = study.decode(task)
    assert (number, list(got)) == (7, list(study.FIRST))
    for name, first in study.FIRST.items():
        assert got[name].dtype == first.dtype
        assert np.array_equal(got[name], model[name])
    bomb = io.BytesIO()
    np.savez_compressed(bomb, number=np.array(1), weight=np.zeros(2**20), bias=np.zeros(1))
    hostile = (b"", task[:3], task[:-1], task[:-4], task + b"0" * 4, bomb.getvalue())
    tracemalloc.start()
    for data in hostile:
        with pytest.raises((ValueError, secagg.RangeError)):
            study.decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("name", ["numpy_app", "torch_app"])
def test_two_lines_make_an_app_of_flower_secure(
    name: str, loaded: Callable[[str, str], Any], tmp_path: Path
) -> None:
    """What `run.py --plain` runs has all other lines; the imports of both are left there."""
    pytest.importorskip("cryptography")
    run = loaded("flower", "run")
    secure = EXAMPLES / "flower" / name
    plain = run.changed_copy(secure, tmp_path, run.PLAIN, "")
    differences = []
    for path in secure.rglob("*.py"):
        both = (
            path.read_text().splitlines(),
            (plain / path.relative_to(secure)).read_text().splitlines(),
        )
        differences += [line for line in difflib.ndiff(*both) if line[0] in "+-"]
    client, other, server = sorted(differences, key=lambda line: "strategy" in line)
    assert client.startswith("- app = ClientApp(mods=[")
    assert other == "+ app = ClientApp()"
    assert server.startswith("-     strategy = SecAgg(strategy, ")


@runs_at("programs")
def test_an_older_connection_is_closed_soon(tmp_path: Path) -> None:
    """A client that connects again and again holds few descriptors, also if it closes none."""
    folder = EXAMPLES / "http"
    command = f"import pathlib, run; run.prepare(pathlib.Path({str(tmp_path)!r}))"
    assert children.run([sys.executable, "-c", command], cwd=folder).returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    upgrade = (
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: {(tmp_path / 'ada' / 'token').read_text()}\r\n\r\n"
    )
    server = [sys.executable, "coordinator.py", str(tmp_path / "coordinator"), str(port)]
    with ExitStack() as stack:
        stack.enter_context(children.started(server, cwd=folder, stdout=PIPE, stderr=PIPE))
        end, older = time.monotonic() + 60, []
        while len(older) < 5:
            try:
                connection = socket.create_connection(("127.0.0.1", port), 30)
            except OSError:
                assert time.monotonic() < end, "it does not listen"
                time.sleep(0.05)
                continue
            older.append(stack.enter_context(connection))
            connection.sendall(upgrade.encode())
            assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        for connection in older[:-1]:
            while connection.recv(4096):  # at most 30 seconds
                pass


@runs_at("programs")
def test_the_training_over_http_survives_its_accidents() -> None:
    """One site refuses, one is killed and comes back, and so does the coordinator."""
    strict = os.environ | {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"}
    done = children.run([sys.executable, "run.py"], cwd=EXAMPLES / "http", env=strict)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "4 rounds, each over all hospitals but euler, which refused"
    assert [line for line in lines if line.endswith("was killed")] == [
        "--- curie was killed",
        "--- coordinator was killed",
    ]
    rounds = [re.search(r"round (\d): (\d) hospitals, {'loss': (.*)}", line) for line in lines]
    found = [match.groups() for match in rounds if match]
    assert [(number, sites) for number, sites, _ in found] == [(str(at), "4") for at in range(4)]
    losses = [float(loss) for *_, loss in found]
    assert losses == sorted(losses, reverse=True)
    assert abs(losses[0] - 0.6931) < 0.001  # ln 2, of a model that knows nothing


@runs_at("programs")
def test_a_process_per_message_answers_from_its_home() -> None:
    """One is killed with a message in its hands, one is lost: the sum is exact."""
    command = [sys.executable, "-W", "error", "coordinator.py", "--lost", "1"]
    done = children.run(command, cwd=EXAMPLES / "message_a_process")
    assert done.returncode == 0, done.stderr
    assert "sum over [0, 1, 2, 3]: exact" in done.stdout


@runs_at("programs")
def test_a_process_that_hangs_is_ended(
    loaded: Callable[[str, str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs its party the round, and the others no more than the time for one message."""
    coordinator = loaded("message_a_process", "coordinator")
    hangs = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(coordinator, "SECONDS", 0.5)
    started: list[Popen[bytes]] = []

    def start(_: int) -> "Popen[bytes]":
        started.append(Popen(hangs, stdin=PIPE, stdout=PIPE))
        return started[-1]

    processes = coordinator.Processes([Path("one")], 0)
    monkeypatch.setattr(processes, "_start", start)
    begun = time.monotonic()
    ((party, answer),) = processes.exchange(coordinator.Phase.SHARE_KEYS, {0: b"message"})
    assert time.monotonic() - begun < 50
    assert (party, type(answer)) == (0, TimeoutExpired)
    assert started[0].returncode


@runs_at("programs")
@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--lost 3", "the round failed: 2 parties sent share keys, 4 are needed [quorum]"),
        ("--parties 1", "cohort must be in 2..65536, not 1 [argument]"),
    ],
)
def test_a_process_per_message_fails_with_one_line(options: str, line: str) -> None:
    """And exits with 1."""
    command = [sys.executable, "-W", "error", "coordinator.py", *options.split()]
    done = children.run(command, cwd=EXAMPLES / "message_a_process")
    assert (done.returncode, done.stderr) == (1, f"message_a_process: {line}\n")
