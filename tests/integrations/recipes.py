"""Plays recipes of docs/FRAMEWORKS.md: their programs in a folder, homes and certificates."""

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, Popen

import children
import pytest
from documents import DOCS, programs

PROGRAMS = programs("INTEGRATE.md") | programs("FRAMEWORKS.md")
(CERTIFICATES,) = re.findall(
    r"```bash\n(.*?openssl.*?)```", (DOCS / "INTEGRATE.md").read_text(), re.DOTALL
)
SITES = ("north", "east", "south", "west", "mid")
LONG = 600  # seconds: frameworks take long to import


def needs(session: str, *modules: str) -> pytest.MarkDecorator:
    """Marks tests that are left out where a module is missing that this session of nox installs."""
    missing = [each for each in modules or (session,) if find_spec(each) is None]
    reason = f"{' and '.join(missing)} not installed: nox -s {session}"
    return pytest.mark.skipif(bool(missing), reason=reason)


def free_ports(count: int) -> list[int]:
    """Returns ports of the loopback on which nobody listens."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in held]


def is_open(port: int) -> bool:
    """Tells if someone listens on a port of the loopback."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Played:
    """The programs of the document in a folder; those that are started end with the block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = str(*free_ports(1))
        self._environment = children.environment(HOME=str(folder), USERNAME="site")
        self._stack = ExitStack()
        self._started: list[Popen[str]] = []

    def __enter__(self) -> "Played":
        for name, code in PROGRAMS.items():
            (self.folder / name).write_text(code)
        for command in ([sys.executable, "make_homes.py"], ["bash", "-c", CERTIFICATES]):
            done = children.run(command, cwd=self.folder, env=self._environment)
            assert done.returncode == 0, done.stderr
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            with suppress(ProcessLookupError):  # what a program leaves behind ends with it
                os.killpg(process.pid, signal.SIGKILL)
        self._stack.close()

    def alter(self, program: str, old: str, new: str, times: int = 1) -> None:
        """Changes what the document prints so many times."""
        code = (self.folder / program).read_text()
        assert code.count(old) == times, (program, old)
        (self.folder / program).write_text(code.replace(old, new))

    def slow(self) -> None:
        """Has each site show that it trains, and take two seconds for it."""
        shown = "    import os, time\n    open(f'trains-{os.getpid()}', 'w'); time.sleep(2)\n"
        self.alter("study.py", "    return LAYOUT.pack(", shown + "    return LAYOUT.pack(")

    def start(self, *command: str, **environment: str) -> "Popen[str]":
        """Starts a program in a session of its own; what it writes goes to two files."""
        paths = (self.folder / f"{len(self._started)}.{kind}" for kind in ("out", "err"))
        out, err = (self._stack.enter_context(path.open("w")) for path in paths)
        process = self._stack.enter_context(
            children.started(
                [sys.executable, "-u", *command],
                cwd=self.folder,
                env=self._environment | environment,
                start_new_session=True,
                stdin=DEVNULL,
                stdout=out,
                stderr=err,
            )
        )
        self._started.append(process)
        return process

    def wait(self, process: "Popen[str]", ready: Callable[[], bool]) -> None:
        """Waits until a program is as far as that."""
        end = time.monotonic() + LONG
        while not ready():
            assert time.monotonic() < end, self.logs()
            assert process.poll() is None, self.logs()
            time.sleep(0.05)

    def kill_in_training(self, process: "Popen[str]") -> None:
        """Kills a site in the middle of its training."""
        self.wait(process, (self.folder / f"trains-{process.pid}").exists)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def written(self, process: "Popen[str]", code: int = 0) -> str:
        """Waits until a program has ended with this code; returns its standard output."""
        assert process.wait(LONG) == code, self.logs()
        return (self.folder / f"{self._started.index(process)}.out").read_text()

    def check(self, server: "Popen[str]", *sites: "Popen[str]", lost: str = "") -> None:
        """Checks two rounds of all sites, or without `mid`, lost in both with this code.

        Then all programs have ended well.
        """
        line = r"^round (\d+): (.*)\n  model of (.*) ([\d.]+)$"
        rounds = re.findall(line, self.written(server), re.MULTILINE)
        names, models = (SITES[:-1], (50.75, 76.125)) if lost else (SITES, (51.0, 76.5))
        ended = f"completed  { ({'mid': lost} if lost else {}) }"
        assert [each[:3] for each in rounds] == [(str(at), ended, " ".join(names)) for at in (0, 1)]
        assert [float(each[3]) for each in rounds] == pytest.approx(models, abs=0.01)
        for site in sites:
            self.written(site)

    def logs(self, last: int = 2000) -> str:
        """Returns the last characters of what each program wrote."""
        found = sorted([*self.folder.glob("*.out"), *self.folder.glob("*.err")])
        return "\n".join(f"{path.name}: {path.read_text()[-last:]}" for path in found)
