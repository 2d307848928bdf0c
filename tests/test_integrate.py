"""docs/INTEGRATE.md, played: what needs no other package runs as printed, on another port.

The executor for Ray is tested with the others (`pairwise/test_executors.py`), the recipes
for frameworks in `integrations/test_recipes.py`.
"""

import ast
import http.client
import importlib
import json
import os
import re
import signal
import socket
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen

import children
from documents import DOCS, programs
from levels import runs_at

PROGRAMS = programs("INTEGRATE.md") | programs("FRAMEWORKS.md")
SITES = ("north", "east", "south", "west", "mid")


def test_the_programs_name_what_exists() -> None:
    """All of them compile, and take from the library only what it has."""
    assert len(PROGRAMS) >= 29
    shared = list(ast.walk(ast.parse(PROGRAMS["study.py"])))
    study = {node.name for node in shared if isinstance(node, ast.FunctionDef)}
    study |= {node.id for node in shared if isinstance(node, ast.Name)}
    for name, code in PROGRAMS.items():
        for node in ast.walk(ast.parse(code, name)):
            match node:
                case ast.Attribute(value=ast.Name(id="secagg"), attr=attribute):
                    assert hasattr(importlib.import_module("secagg"), attribute), (name, attribute)
                case ast.ImportFrom(module=str(module)) if module.startswith("secagg"):
                    for each in node.names:
                        assert hasattr(importlib.import_module(module), each.name), (name, each)
                case ast.ImportFrom(module="study"):
                    assert {each.name for each in node.names} <= study, name


def test_recipes_for_frameworks_are_short() -> None:
    """No program of docs/FRAMEWORKS.md has more than 40 lines, without empty ones and comments."""
    for name, code in programs("FRAMEWORKS.md").items():
        lines = [line.strip() for line in code.splitlines()]
        assert sum(line[:1] not in {"", "#"} for line in lines) <= 40, name


def test_no_context_has_a_number_that_a_server_tells() -> None:
    """In any document, example or docstring: it would get the same input once for each number."""
    texts = [DOCS.parent / "README.md", *DOCS.glob("*.md")]
    for folder, kinds in (("examples", ("*.py", "*.md")), ("secagg", ("*.py",))):
        texts += [path for kind in kinds for path in (DOCS.parent / folder).rglob(kind)]
    calls = re.compile(r"(?:digest|expect|run_round|plan|context)\((?:[^()]|\([^()]*\))*\)")
    found = [call for path in texts for call in calls.findall(path.read_text())]
    assert len(found) > 30
    wrong = [call for call in found if re.search(r"\bnumber\b", re.sub("task=.*", "", call))]
    assert not wrong


class Study:
    """The HTTP recipe in a folder: what the document prints, with shorter times."""

    def __init__(self, folder: Path, patience: float = 90.0) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        for name, code in PROGRAMS.items():
            (folder / name).write_text(code)
        server = PROGRAMS["http_server.py"]
        for old, new in (("30.0, 10.0", f"{patience}, 1.0"), ("8000", str(self.port))):
            assert server.count(old) == 1
            server = server.replace(old, new)
        (folder / "http_server.py").write_text(server)
        done = children.run([sys.executable, "make_homes.py"], cwd=folder)
        assert done.returncode == 0, done.stderr
        self._stack = ExitStack()

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, *command: str) -> "Popen[str]":
        """Starts one of the programs; it ends with the study."""
        return self._stack.enter_context(
            children.started([sys.executable, *command], cwd=self.folder, stdout=PIPE, stderr=PIPE)
        )

    def server(self) -> "Popen[str]":
        """Starts the server, and waits until it listens."""
        server = self.start("http_server.py")
        end = time.monotonic() + 60
        while time.monotonic() < end and server.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        return server

    def client(self, name: str) -> "Popen[str]":
        """Starts the client of a site."""
        return self.start("http_client.py", name, f"http://127.0.0.1:{self.port}")

    def ask(self, token: str, length: str, body: bytes = b"") -> tuple[int, str | None]:
        """Sends a request with this token and length; returns its status and the message's mark."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest("POST", "/")
        connection.putheader("Authorization", f"Bearer {token}")
        connection.putheader("Content-Length", length)
        connection.endheaders(body)
        reply = connection.getresponse()
        reply.read()  # or the system resets the connection, and the server complains
        connection.close()
        return reply.status, reply.getheader("Mark")


def ended(process: "Popen[str]") -> list[str]:
    """Returns the lines that a program printed; it ended well, and without a traceback."""
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, (out, err)
    assert "Traceback" not in err
    return out.splitlines()


@runs_at("programs")
def test_http(tmp_path: Path) -> None:
    """Two rounds over HTTP, in which one client is killed while it trains, and started again."""
    with Study(tmp_path) as study:
        code = PROGRAMS["study.py"]
        slow = "    import os, time\n    open(f'trains-{os.getpid()}', 'w'); time.sleep(2)\n"
        marked = code.replace("    return LAYOUT.pack(", slow + "    return LAYOUT.pack(")
        assert marked != code
        (tmp_path / "study.py").write_text(marked)
        server = study.server()
        clients = {name: study.client(name) for name in SITES}
        victim = clients["mid"]
        end = time.monotonic() + 60
        while not (tmp_path / f"trains-{victim.pid}").exists():
            assert time.monotonic() < end
            assert victim.poll() is None, victim.communicate()
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        clients["mid"] = study.client("mid")
        assert ended(server) == [
            "round 0: completed  {}",
            f"  model of {' '.join(SITES)} 51.00",
            "round 1: completed  {}",
            f"  model of {' '.join(SITES)} 76.50",
        ]
        for client in clients.values():
            ended(client)


@runs_at("programs")
def test_http_without_one_site_and_with_bad_requests(tmp_path: Path) -> None:
    """A site that is away costs its contribution; strangers and nonsense cost nothing."""
    with Study(tmp_path, patience=10.0) as study:
        clients = [study.client(name) for name in SITES[:-1]]
        for client in clients:  # it has begun: the time of a phase is for its answer alone
            assert client.stderr is not None
            assert "once more" in client.stderr.readline()
        server = study.server()
        for home in (tmp_path / "homes").iterdir():
            assert os.name != "posix" or home.stat().st_mode & 0o077 == 0, home
        token = (tmp_path / "homes/mid/token").read_text()
        known = json.loads((tmp_path / "homes/server/tokens.json").read_text())
        assert token not in known, "the server keeps no token that could be used"
        assert study.ask("wrong", "0") == study.ask("wrong", "9" * 5000) == (401, None)
        for length in ("-1", "x", "9" * 5000, str(2**24 + 1)):
            assert study.ask(token, length) == (413, None), length
        while not (mark := study.ask(token, "0")[1]):
            assert server.poll() is None
        assert study.ask(token, "4", b"junk") == (200, mark), "it answers no message"
        lines = ended(server)
        assert lines[0] == "round 0: completed  {'mid': 'timeout'}"
        assert lines[1] == "  model of north east south west 50.75"
        for client in clients:
            ended(client)
