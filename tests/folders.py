"""Folders for tests that write files and do not ask what a disk makes of them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_MEMORY = "/dev/shm"  # noqa: S108


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """Makes a folder on a memory file system if there is one: nothing there waits for a disk.

    A test module takes it with `memory_path = folders.memory_path`. What is about durability, or
    about processes and threads that meet at a file, takes `tmp_path`.
    """
    if os.access(_MEMORY, os.W_OK | os.X_OK):
        with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="secagg-test-") as name:
            yield Path(name)
    else:
        yield tmp_path
