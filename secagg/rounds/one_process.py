"""One process at a time plans and resumes the rounds of a training in a home, by any objects."""

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


class Shared:
    """The state that objects of this process for the rounds of one training in a home share.

    Attributes:
        lock: held while one of them plans, resumes or closes.
        running: what is under way in one of them and was not left, by session. It ends with its
            object.
    """

    def __init__(self) -> None:
        self.lock: Final = threading.RLock()
        self.running: Final[weakref.WeakValueDictionary[bytes, object]] = (
            weakref.WeakValueDictionary()
        )


_shared: Final[weakref.WeakValueDictionary[tuple[Path, tuple[int, int]], Shared]] = (
    weakref.WeakValueDictionary()
)
_holds: Final[weakref.WeakValueDictionary[tuple[Path, tuple[int, int]], Hold]] = (
    weakref.WeakValueDictionary()
)
_taking: Final = threading.Lock()


def shared(file: Path) -> Shared:
    """Returns what the objects of this process share for one file of counts."""
    with _taking:
        return _shared.setdefault((file, this_process()), Shared())


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
