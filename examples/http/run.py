"""Runs the whole training on this machine: five hospitals and a coordinator, with accidents.

``python run.py``. One hospital refuses every round by its own policy; one is killed in the midst of
a round and started again; then the coordinator is. All processes end with this one.
"""

import hashlib
import json
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue

from study import HOSPITALS, ROUNDS

import secagg

HERE = Path(__file__).parent
REFUSES, KILLED = "euler", "curie"
PATIENCE = 120.0  # seconds for everything


class Cast:
    """The processes, and the lines that they print."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = str(port)
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.lines: SimpleQueue[tuple[str, str]] = SimpleQueue()

    def start(self, name: str) -> None:
        """Starts the coordinator or a hospital."""
        arguments = ["coordinator.py", str(self._folder / name), self._port]
        if name != "coordinator":
            arguments = ["hospital.py", str(self._folder / name), name, self._port]
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, *arguments], cwd=HERE, stdout=subprocess.PIPE, text=True
        )
        self.running[name] = process
        threading.Thread(target=self._read, args=(name, process), daemon=True).start()

    def _read(self, name: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None  # noqa: S101
        with process.stdout:
            for line in process.stdout:
                self.lines.put((name, line.rstrip()))
        self.lines.put((name, "ended"))

    def kill_and_restart(self, name: str) -> None:
        """Kills a process as a power cut does, and starts it again a second later."""
        self.running[name].kill()
        self.running[name].wait()
        print(f"--- {name} was killed", flush=True)
        time.sleep(1)
        self.start(name)

    def end(self) -> None:
        """Ends what still runs."""
        for process in self.running.values():
            process.kill()
            process.wait()


def prepare(folder: Path) -> None:
    """Makes what operators make once: homes, identities, pins, tokens, policies."""
    entries, hashes = [], {}
    for name in ("coordinator", *HOSPITALS):
        (folder / name).mkdir(mode=0o700)
    for name in HOSPITALS:
        identity, token = secagg.Identity.generate(), secrets.token_urlsafe()
        identity.save(folder / name / "identity")
        (folder / name / "token").write_text(token)
        # The coordinator chooses who takes part, so each says what any cohort must be good for.
        policy = {"colluders": 1, "min_survivors": len(HOSPITALS) if name == REFUSES else 3}
        (folder / name / "policy.json").write_text(json.dumps(policy))
        entries.append((name, identity.verify_key))
        hashes[hashlib.sha256(token.encode()).hexdigest()] = name
    for name in ("coordinator", *HOSPITALS):
        secagg.Directory.of(entries).save(folder / name / "pins")
    (folder / "coordinator" / "tokens.json").write_text(json.dumps(hashes))


def main() -> None:
    """Runs it; exits with 1 unless the training has ended as it should."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        cast = Cast(folder, port)
        try:
            for each in ("coordinator", *HOSPITALS):
                cast.start(each)
            play(cast)
        finally:
            cast.end()


def play(cast: Cast) -> None:
    """Prints what the processes print, and causes the accidents."""
    end, sums, accidents = time.monotonic() + PATIENCE, 0, 0
    while any(process.poll() is None for process in cast.running.values()):
        try:
            name, line = cast.lines.get(timeout=1)
        except Empty:
            if time.monotonic() < end:
                continue
            sys.exit(f"not over after {PATIENCE:g} s")
        print(f"{name:12} {line}", flush=True)
        sums += line.startswith("round ")
        if accidents == 0 and line == f"{KILLED}: trains in round 1":
            victim = KILLED
        elif accidents == 1 and sums == 2 and "share keys over" in line:
            victim = "coordinator"
        else:
            continue
        accidents += 1
        cast.kill_and_restart(victim)
    failed = [name for name, process in cast.running.items() if process.wait()]
    if failed or sums != ROUNDS or accidents != 2:
        sys.exit(f"{sums} of {ROUNDS} rounds, {accidents} accidents; failed: {failed or 'none'}")
    print(f"{ROUNDS} rounds, each over all hospitals but {REFUSES}, which refused")


if __name__ == "__main__":
    main()
