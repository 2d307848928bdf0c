"""Sets every test run up: the level, forced implementations, files on a memory file system."""

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import levels
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from secagg import Suite

MEMORY = "/dev/shm"  # noqa: S108


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--level",
        choices=[level.name.lower() for level in levels.Level],
        default="quick",
        help="how much to run; the table is in tests/levels.py",
    )
    parser.addoption(
        "--implementation",
        metavar="CHOICE",
        help="force the native kernels: `portable`, or for example `aes=aesni,chacha=portable`",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Chooses the level before test modules ask for it."""
    levels.choose(config.getoption("level"))
    full = levels.chosen() is levels.Level.FULL
    settings.register_profile(
        "level",
        # Below `full` the examples are the same in every run: red means that the code changed.
        derandomize=not full,
        max_examples=levels.amount("examples of a property"),
        deadline=None,
        print_blob=full,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("level")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what the table does not have at this level."""
    kept, left_out = [], []
    for item in items:
        runs = all(mark.args[1] for mark in item.iter_markers("level"))
        (kept if runs else left_out).append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Here, not earlier: coverage must be running when secagg is first imported."""
    choice = session.config.getoption("implementation")
    if not choice:
        return
    from support import select_all

    from secagg.errors import ParameterError

    try:
        select_all(choice)
    except ParameterError as error:
        raise pytest.UsageError(f"--implementation {choice}: {error}") from None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests stay to the end: the garbage collector need not walk through them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_report_header(config: pytest.Config) -> str:
    kernels = config.getoption("implementation") or "the fastest usable"
    return f"level: {config.getoption('level')}, native kernels: {kernels}"


@pytest.fixture
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """The implementation that `support.implementations` forces for one test."""
    from secagg.arithmetic.implementations import forced

    family, name = request.param
    with forced(family, name):
        yield name


@pytest.fixture
def cipher(request: pytest.FixtureRequest) -> Iterator["Suite"]:
    """A suite, of whose cipher `support.every_cipher` forces one implementation for one test."""
    from support import CIPHERS

    from secagg.arithmetic.implementations import forced

    family, name = request.param
    with forced(family, name):
        yield CIPHERS[family]


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """Makes a folder on a memory file system if there is one: nothing there waits for a disk.

    What is about durability, or about processes and threads that meet at a file, takes `tmp_path`.
    """
    if os.access(MEMORY, os.W_OK | os.X_OK):
        with tempfile.TemporaryDirectory(dir=MEMORY, prefix="secagg-test-") as name:
            yield Path(name)
    else:
        yield tmp_path
