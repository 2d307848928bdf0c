"""Flower as it is deployed: a SuperLink, SuperNodes, and an app that `flwr run` starts.

All processes listen on 127.0.0.1 and end with the block, whatever ends it.
"""

import importlib.metadata
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

import secagg

from ..peers.case import MissingError

OLDEST: Final = (1, 42)
APP: Final = Path(__file__).with_name("flower_app")
_LOCALHOST: Final = "127.0.0.1"
_START: Final = 120.0  # seconds in which the SuperLink listens, and takes an app
_GRACE: Final = 5.0  # seconds in which processes end by themselves


class DeploymentError(Exception):
    """Something that was started does not do its work; the message has the end of its log."""


def version() -> str:
    """Returns the version of Flower; raises MissingError if there is none, or an older one."""
    try:
        found = importlib.metadata.version("flwr")
    except importlib.metadata.PackageNotFoundError:
        found = "0"
    numbers = tuple(map(int, re.findall(r"\d+", found)[:2]))
    if numbers < OLDEST:
        needed = ".".join(map(str, OLDEST))
        seen = f"version {found} is installed" if found != "0" else "not installed"
        raise MissingError(
            f"Flower: {seen}, and {needed} or later is needed; pip install -e '.[flower]', "
            "in another environment than the extra `peers`, which has an older one"
        )
    return found


class Deployment:
    """Flower on this machine; `deployed` makes one and ends it."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder, self.nodes = folder, nodes
        self._started: list[subprocess.Popen[bytes]] = []
        self._bin = Path(sys.executable).parent
        self._port, *self._node_ports = _free_ports(nodes + 1)

    def start(self) -> None:
        """Starts the SuperLink, and the SuperNodes, each with homes for both modes."""
        self._spawn(
            "superlink",
            *("--insecure", "--host", _LOCALHOST, "--port", self._port),
            "--disable-runtime-dependency-installation",
        )
        self._await_listener()
        keys = [secagg.Identity.generate() for _ in range(self.nodes)]
        pins = secagg.Directory.of((f"site-{at}", key.verify_key) for at, key in enumerate(keys))
        pins.save(self.folder / "pins")
        for at, key in enumerate(keys):
            homes = self.folder / f"homes-{at}"
            (homes / "malicious").mkdir(mode=0o700, parents=True)
            key.save(homes / "malicious" / "identity")
            pins.save(homes / "malicious" / "pins")
            self._spawn(
                "supernode",
                *("--insecure", "--superlink", f"{_LOCALHOST}:{self._port}"),
                *("--host", _LOCALHOST, "--port", self._node_ports[at]),
                *("--node-config", f'node={at} homes="{homes}"'),
            )

    def run(self, config: Mapping[str, Any], limit: float) -> Iterator[dict[str, Any]]:
        """Runs the app, and yields what it writes as it does.

        Raises:
            DeploymentError: it failed, or took longer than `limit` seconds.
        """
        begun = time.monotonic()
        out = self.folder / "found.json"
        out.unlink(missing_ok=True)
        self._submit({"nodes": self.nodes, **config, "pins": self.folder / "pins", "out": out})
        seen = 0
        while True:
            lines = out.read_text().splitlines(keepends=True) if out.exists() else []
            for line in lines[seen:]:
                if not line.endswith("\n"):  # not yet whole
                    break
                seen += 1
                found = json.loads(line)
                if not found:
                    return
                if "failed" in found:
                    raise DeploymentError(f"the app failed: {found['failed']}")
                yield found
            late, what = (limit, "end") if out.exists() else (_START, "start of the app")
            if time.monotonic() > begun + late:
                raise DeploymentError(f"no {what} within {late:g} s; {self._end_of_log()}")
            self._check_alive()
            time.sleep(0.2)

    def _submit(self, config: Mapping[str, Any]) -> None:
        """Has `flwr run` send the app to the SuperLink, which starts it."""
        texts = (
            f'{name}="{value}"' if isinstance(value, str | Path) else f"{name}={value}"
            for name, value in config.items()
        )
        home = self.folder / "flwr"
        home.mkdir(exist_ok=True)
        address = f'address = "{_LOCALHOST}:{self._port}"\ninsecure = true\n'
        (home / "config.toml").write_text(f"[superlink.here]\n{address}")
        try:
            done = subprocess.run(  # noqa: S603
                [self._bin / "flwr", "run", APP, "here", "--run-config", " ".join(texts)],
                env=self._env(home),
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=_START,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DeploymentError(f"`flwr run` took longer than {_START:g} s") from None
        if done.returncode:
            raise DeploymentError(f"`flwr run` failed: {done.stdout}{done.stderr}")

    def end(self) -> None:
        """Ends all that was started, and what that has started, by their process ids."""
        own = {process.pid for process in self._started}
        family = _family(own) - own
        for process in self._started:
            process.terminate()
        until = time.monotonic() + _GRACE
        for process in self._started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        # Who has lost its parent ends within a second; whoever has not is killed.
        while time.monotonic() < until and any(map(_is_alive, family)):
            time.sleep(0.1)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._started:
            process.kill()
            process.wait()

    def _spawn(self, what: str, *arguments: Any) -> None:
        number = len(self._started)
        home = self.folder / f"flwr-{number}"
        home.mkdir()
        with (self.folder / f"{number}-{what}.log").open("wb") as log:
            self._started.append(
                subprocess.Popen(  # noqa: S603
                    [self._bin / f"flower-{what}", *map(str, arguments)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C comes to this process alone, which ends them
                    cwd=self.folder,
                    env=self._env(home),
                )
            )

    def _env(self, home: Path) -> dict[str, str]:
        """Returns the environment of a process: without telemetry, and without files of the user.

        Python writes what it has compiled: a process for each message would compile it again.
        """
        compiles = "PYTHONDONTWRITEBYTECODE"
        return {
            **{name: value for name, value in os.environ.items() if name != compiles},
            "PATH": f"{self._bin}{os.pathsep}{os.environ.get('PATH', '')}",
            "HOME": str(home),
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": f"{_LOCALHOST},localhost",
            "no_proxy": f"{_LOCALHOST},localhost",
        }

    def _await_listener(self) -> None:
        until = time.monotonic() + _START
        while True:
            with suppress(OSError), socket.create_connection((_LOCALHOST, self._port), 1.0):
                return
            self._check_alive()
            if time.monotonic() > until:
                raise DeploymentError(f"the SuperLink does not listen; {self._end_of_log()}")
            time.sleep(0.1)

    def _check_alive(self) -> None:
        for number, process in enumerate(self._started):
            if process.poll() is not None:
                raise DeploymentError(
                    f"a process ended with code {process.returncode}; {self._end_of_log(number)}"
                )

    def _end_of_log(self, number: int = 0) -> str:
        (log,) = self.folder.glob(f"{number}-*.log")
        text = re.sub("\x1b\\[[0-9]*m", "", log.read_text(errors="replace"))  # without colours
        return "\n".join([f"the end of the log of {log.stem}:", *text.splitlines()[-20:]])


@contextmanager
def deployed(nodes: int) -> Iterator[Deployment]:
    """Starts Flower with so many SuperNodes for the block, in a folder that goes with it."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        with tempfile.TemporaryDirectory(prefix="secagg-", ignore_cleanup_errors=True) as folder:
            deployment = Deployment(Path(folder), nodes)
            try:
                deployment.start()
                yield deployment
            finally:
                deployment.end()
    finally:
        signal.signal(signal.SIGTERM, before)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind((_LOCALHOST, 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _family(pids: set[int]) -> set[int]:
    """Returns these processes and all that they have started, as far as `ps` shows them."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = set(pids)
    while more := {pid for pid, parent in pairs if parent in found} - found:
        found |= more
    return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
