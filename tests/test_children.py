"""A run that is interrupted or killed leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import children
import pytest
from levels import runs_at

TESTS = Path(__file__).parent
RUN = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-c", os.devnull]

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)

# What is started, and what the test then waits for, for ever.
WAITING = {
    "ledgers that poll for a file": """
    from contextlib import ExitStack
    from test_ledger import RACE, other_process
    with ExitStack() as stack:
        racing = [
            stack.enter_context(other_process(RACE, tmp_path / "ledger", str(tmp_path / "go")))
            for _ in range(3)
        ]
        for child in racing:
            assert child.stdout.readline() == "ready\\n"
        print("ready", flush=True)
        racing[0].communicate()
""",
    "a program": """
    import sys
    import children
    print("ready", flush=True)
    children.run([sys.executable, "-c", "import time; time.sleep(100)"])
""",
    "workers, one at work": """
    import time
    import children
    with children.pool() as pool:
        assert list(pool.map(abs, range(9))) == list(range(9))
        working = pool.submit(time.sleep, 100)
        print("ready", flush=True)
        working.result()
""",
    "a cluster": """
    import time
    import distributed
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            working = client.map(time.sleep, [100, 100.0])
            print("ready", flush=True)
            client.gather(working)
""",
    "workers of a benchmark": """
    import time
    from benchmarks.pool import pool
    with pool(1, "spawn") as spawned, pool(1, "forkserver") as forked:
        assert [each.submit(abs, -1).result() for each in (spawned, forked)] == [1, 1]
        print("ready", flush=True)
        time.sleep(100)
""",
}


def alive(pid: int) -> bool:
    """Returns whether a process runs, zombies not counted."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def descendants(pid: int) -> set[int]:
    """Returns the processes that a process has started, and those that these have."""
    found: set[int] = set()
    with suppress(OSError):
        for listed in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, listed.read_text().split()):
                found |= {child} | descendants(child)
    return found


@runs_at("programs")
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are found in /proc")
@pytest.mark.parametrize("how", STOPS, ids=lambda how: how.name)
@pytest.mark.parametrize("what", WAITING)
def test_nothing_outlives_a_run(what: str, how: signal.Signals, tmp_path: Path) -> None:
    """Pytest is stopped while a test waits for what it started: within seconds all are gone."""
    if what == "a cluster":
        pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    test = tmp_path / "test_waiting.py"
    test.write_text(f"def test_waiting(tmp_path):{WAITING[what]}")
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    with children.started(
        [*RUN, str(test)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as run:
        assert run.stdout is not None
        lines = iter(run.stdout.readline, "")
        assert any(line.endswith("ready\n") for line in lines), "the test ended too early"
        until = time.monotonic() + 30
        while not descendants(run.pid) and time.monotonic() < until:
            time.sleep(0.01)
        # An interrupt in the middle of a fork can be lost: Python ignores what its hooks raise.
        time.sleep(0.5)
        started = descendants(run.pid)
        try:
            assert started
            run.send_signal(how)
            until = time.monotonic() + 30
            while any(map(alive, started | {run.pid})) and time.monotonic() < until:
                time.sleep(0.05)
            assert [pid for pid in started | {run.pid} if alive(pid)] == []
        finally:
            for pid in filter(alive, started):
                os.kill(pid, signal.SIGKILL)
