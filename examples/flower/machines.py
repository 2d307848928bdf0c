"""The processes of an example, as if each ran on a machine of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

BIN = Path(sys.executable).parent  # where pip has put Flower's commands
COLOUR = re.compile(r"\x1b\[\d+m")


class Machines:
    """Processes by name, and the lines that they print.

    Args:
        folder: for everything that they write.
        seconds: after which it is given up.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._end = time.monotonic() + seconds
        self._lines: SimpleQueue[tuple[str, str]] = SimpleQueue()

    def start(self, name: str, *command: object) -> None:
        """Starts a command of Flower, in a home of its own and without telemetry."""
        home = self.folder / name
        home.mkdir(mode=0o700, exist_ok=True)
        surroundings = {
            "HOME": str(home),
            "FLWR_HOME": str(home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": "127.0.0.1",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",  # Flower starts commands by name
        }
        process = subprocess.Popen(  # noqa: S603
            [BIN / str(command[0]), *map(str, command[1:])],
            cwd=self.folder,
            env=os.environ | surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # to kill it with what it has started
        )
        self.running[name] = process
        threading.Thread(target=self._read, args=(name, process), daemon=True).start()

    def _read(self, name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None  # noqa: S101
        with process.stdout:
            for line in process.stdout:
                self._lines.put((name, COLOUR.sub("", line).rstrip()))

    def lines(self, name: str) -> Iterator[tuple[str, str]]:
        """Yields names and lines of all processes until this one has ended."""
        while True:
            ended = self.running[name].poll() is not None
            with suppress(Empty):
                yield self._lines.get(timeout=0.5)
                continue
            if ended:
                return
            if time.monotonic() > self._end:
                sys.exit("not over in time")

    def wait_for(self, text: str, names: set[str]) -> dict[str, str]:
        """Waits until each of these has printed a line with the text; returns what follows it."""
        found: dict[str, str] = {}
        while names - found.keys():
            for name, line in self.lines(min(names - found.keys())):
                if name in names and text in line:
                    found[name] = line.partition(text)[2]
                if not names - found.keys():
                    return found
            sys.exit(f"{names - found.keys()} ended early")
        return found

    def run(self, name: str, *command: object) -> None:
        """Runs a command to its end; gives up if it fails."""
        self.start(name, *command)
        said = [line for who, line in self.lines(name) if who == name]
        if self.running.pop(name).wait():
            sys.exit("\n".join(said))

    def kill(self, name: str) -> None:
        """Kills a process and what it has started, as a power cut does."""
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def end(self) -> None:
        """Kills what still runs. What the SuperLink has started notices that, and ends as well."""
        for name in list(self.running):
            self.kill(name)


def free_ports(many: int) -> list[int]:
    """Returns ports of 127.0.0.1 where nothing listens."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(many)]
        return [probe.getsockname()[1] for probe in probes]
