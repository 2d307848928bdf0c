"""Files that are written as a whole, on any file system, and folders that are locked."""

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .codes import Code
from .errors import ParameterError
from .forks import this_process

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

A_FOLDER: Final = "this is a folder; give the name of a file in it"
DRAFTS: Final = ".secagg-*"  # the names of drafts
LOCK: Final = ".secagg-lock"  # the file that is locked in a folder on Windows
# What systems say of a folder that cannot be opened to be synced, or cannot be synced: Windows,
# and some file systems over a network or in user space.
_CANNOT_SYNC: Final = frozenset(
    {
        *(errno.EACCES, errno.EBADF, errno.EINVAL, errno.EISDIR, errno.ENOSYS, errno.ENOTSUP),
        *(errno.EOPNOTSUPP, errno.EPERM),
    }
)

# Files that are locked, or about to be. A forked child shares each lock of its parent, and would
# hold it for as long as it lives if the parent is killed: so it closes them. None is opened during
# a fork.
_locked: Final[set[int]] = set()
_opening: Final = threading.RLock()


def _let_go() -> None:
    for file in _locked:
        with suppress(OSError):
            os.close(file)
    _locked.clear()
    _opening.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_let_go
    )


def as_path(path: AnyPath) -> Path:
    """Returns the path of a file as `Path`. A `~` in it stays as it is.

    Raises:
        ParameterError: it is neither text, bytes nor a path, or empty.
    """
    try:
        found = os.fsdecode(path)
    except TypeError:
        raise ParameterError(
            f"the path of a file must be str, bytes or os.PathLike, not {type(path).__name__}",
            Code.ARGUMENT,
        ) from None
    if not found:  # the current folder, for Python
        raise ParameterError(
            "the path of a file is empty: it may come from a variable that is not set",
            Code.ARGUMENT,
        )
    return Path(found)


def why_failed(path: Path, error: OSError | ValueError) -> str:
    """Returns what the system, or Python about the name (a zero byte), has against a file."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, FileNotFoundError) and str(path).startswith("~"):
        reason += "; `~` stands for no folder here: write it out, or call `Path.expanduser`"
    return reason


def _take_name(draft: Path, path: Path) -> None:
    """Gives a file a name that must not be taken, where there are no hard links.

    An empty file takes the name first, and is then replaced. Others may see the empty file, and it
    stays if the process dies at this moment. It is held open, so that its inode number is not used
    again: a file that took its place meanwhile is neither replaced nor removed.
    """
    if sys.platform == "win32":  # where a rename replaces nothing
        draft.rename(path)
        return
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        empty = os.fstat(file)
        try:
            if not os.path.samestat(path.lstat(), empty):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            draft.replace(path)
        except BaseException:
            with suppress(OSError):
                if os.path.samestat(path.lstat(), empty):
                    path.unlink()
            raise
    finally:
        os.close(file)


@contextmanager
def atomic_file(
    path: Path, *, overwrite: bool, without_links: Callable[[Path, Path], None] = _take_name
) -> Iterator[Path]:
    """Yields an unused name beside `path`, and renames the file that the block writes there.

    The block creates this draft exclusively, sets its permissions, and syncs its content to the
    disk: this function only renames it and syncs the folder, where the file system can do that. If
    the block fails, or if the name is taken (also by a dangling link) and must not be overwritten,
    the draft is removed and `path` is unchanged.

    Args:
        path: name of the file.
        overwrite: replace a file that has the name.
        without_links: takes draft and `path`, and makes the file where there are no hard links
            (FAT, Android, some file systems over a network) and `overwrite` is False. It raises
            FileExistsError if the name is taken.

    Raises:
        FileExistsError: the name is taken, and `overwrite` is False.
        OSError: the draft could not be renamed; or the folder could not be synced, though its file
            system can do that: then the file has its name already.
    """
    draft = path.parent / DRAFTS.replace("*", os.urandom(8).hex())
    try:
        yield draft
        if overwrite:
            draft.replace(path)
        else:
            try:
                path.hardlink_to(draft)
            except OSError:  # also where the name is taken
                without_links(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the file system can do that."""
    try:
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


@contextmanager
def locked_folder(folder: Path, seconds: float = 10.0) -> Iterator[None]:
    """Holds a lock on a folder, so that two processes or threads exclude each other.

    Where the file system has no locks, there is no lock. Windows locks no folders: there a file in
    it is locked, `.secagg-lock`, which stays.

    The lock ends with its process. A child that is forked meanwhile neither holds it, whether or
    not its parent lives on, nor gives it back when it leaves the block.

    Args:
        folder: the folder.
        seconds: how long to wait for another one that holds the lock.

    Raises:
        TimeoutError: another one has held the lock all the time, which any user who may read the
            folder can do.
        OSError: the folder cannot be opened.
    """
    process = this_process()
    with _opening:
        if sys.platform == "win32":
            file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        else:
            file = os.open(folder, os.O_RDONLY)
        _locked.add(file)
    try:
        end = time.monotonic() + seconds
        while not _try_lock(file):
            if time.monotonic() > end:
                raise TimeoutError(
                    errno.ETIMEDOUT,
                    f"another process has held the lock of this folder for {seconds:g} seconds, "
                    "which whoever may read the folder can do: see `lslocks`, or try again",
                )
            time.sleep(0.01)
        try:
            yield
        finally:
            if process == this_process():
                _unlock(file)
    finally:
        if process == this_process():  # in a child the number may be another file's by now
            with _opening:
                _locked.discard(file)
                os.close(file)


def _try_lock(file: int) -> bool:
    """Locks an open file unless somebody else has; returns True also where there are no locks."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415  (of Windows)

        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
    with suppress(ImportError):
        import fcntl  # noqa: PLC0415  (of POSIX)

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
    return True


def _unlock(file: int) -> None:
    """Gives a lock back: closing the file is not enough if a forked child still has it open."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415

        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
        return
    with suppress(ImportError, OSError):
        import fcntl  # noqa: PLC0415

        fcntl.flock(file, fcntl.LOCK_UN)
