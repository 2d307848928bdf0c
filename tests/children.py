"""Processes that tests start: none outlives the run that started it, however that ends.

A test's `finally` serves for failures and Ctrl-C. A run that is killed comes to no `finally`: then
Linux kills its children, and workers of a pool end on every system.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None

# For scripts that wait in a loop: an assertion that fails once their parent is gone, or too late.
WATCH = """
import os as _os, time as _time
_parent, _end = _os.getppid(), _time.monotonic() + 60
def watch():
    assert _os.getppid() == _parent and _time.monotonic() < _end, "nobody waits for this any more"
"""


def die_with_parent(parent: int) -> None:
    """Has the system kill this child once its parent is gone."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it went before
            os._exit(1)


@contextmanager
def started(command: Sequence[Any], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Starts a process that speaks text, and kills it at the end of the block if it still runs.

    It is killed, too, when the thread that started it ends.
    """
    parent = os.getpid()
    with warnings.catch_warnings():
        # Threads of numerical libraries make the interpreter warn; the child runs no such code.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = subprocess.Popen(
            command,
            text=True,
            preexec_fn=lambda: die_with_parent(parent),  # noqa: PLW1509
            **options,
        )
    with child:
        try:
            yield child
        finally:
            child.kill()


def run(
    command: Sequence[Any], given: str = "", seconds: float = 120, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs a process to its end with some input, and returns its code and what it wrote."""
    pipe = subprocess.PIPE
    with started(command, stdin=pipe, stdout=pipe, stderr=pipe, **options) as child:
        out, err = child.communicate(given, seconds)
        return subprocess.CompletedProcess(command, child.returncode, out, err)


def environment(**more: str) -> dict[str, str]:
    """For programs that must see only what they are given: no paths, no coverage."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "COV", "PYTEST", "SECAGG"))
    }
    return kept | more


class _Pool(ProcessPoolExecutor):
    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        """Waits for no worker where something else has gone wrong."""
        if kind is not None:
            for worker in list((self._processes or {}).values()):
                worker.kill()
        return super().__exit__(kind, error, trace)


@contextmanager
def cluster(folder: Path, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Starts a Dask cluster on the loopback; yields it and a client. Skips without the extra."""
    dask = pytest.importorskip("dask", reason="the extra `dask` is not installed")
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with (
        dask.config.set({"temporary-directory": str(folder)}),
        distributed.LocalCluster(dashboard_address="127.0.0.1:0", **options) as found,
        distributed.Client(found) as client,
    ):
        yield found, client


@contextmanager
def ray_cluster() -> Iterator[Any]:
    """Starts Ray with two workers on the loopback; yields the package. Skips without it."""
    # Read when Ray is imported: addresses of the loopback, no file in the user's home, no reports.
    settings = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.urandom(32).hex(),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        ray = pytest.importorskip("ray", reason="Ray is not installed: nox -s ray")
        paths = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[1])))
        with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short: sockets lie in it
            ray.init(
                num_cpus=2,
                object_store_memory=2**27,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": paths}},
                _temp_dir=folder,
            )
            try:
                yield ray
            finally:
                ray.shutdown()


def pool(workers: int = 2) -> ProcessPoolExecutor:
    """Makes a pool whose workers end when this process is gone; without that they wait for ever."""
    from benchmarks.pool import end_with_parent  # here: scripts of tests may not reach it

    forkserver = multiprocessing.get_context("forkserver")
    return _Pool(workers, forkserver, initializer=end_with_parent)
