"""One process at a time plans and resumes the rounds of a training in a home."""

import threading
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from ..files import locked_folder
from ..forks import this_process


class Hold:
    """A lock on a folder, which ends with the last reference to this object."""

    def __init__(self, folder: Path) -> None:
        stack = ExitStack()
        stack.enter_context(locked_folder(folder, 0.0))
        weakref.finalize(self, stack.close)


_holds: Final[weakref.WeakValueDictionary[tuple[Path, tuple[int, int]], Hold]] = (
    weakref.WeakValueDictionary()
)
_taking: Final = threading.Lock()


def hold(folder: Path) -> Hold:
    """Returns this process's lock on a folder, which is made if it is missing.

    Where the file system has no locks, there is no lock.

    Raises:
        TimeoutError: another process has it.
        OSError: the folder cannot be made or opened.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    key = folder, this_process()
    with _taking:
        found = _holds.get(key)
        if found is None:
            _holds[key] = found = Hold(folder)
        return found
