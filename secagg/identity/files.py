"""Writes and reads small files as a whole, with checks of owner and permissions."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..codes import Code
from ..errors import IdentityError
from ..files import A_FOLDER, atomic_file, why_failed
from ..permissions import NOT_KEPT, SECRET, Rule, why_unsafe
from ..primitives.secret import Secret


class Fault(NamedTuple):
    """Reason and code of an `IdentityError` that the caller raises."""

    reason: str
    code: Code


def wrong_size(size: int, limit: int) -> Fault | None:
    """Returns what is wrong with the size of a file, in bytes; None if nothing is."""
    if 0 < size <= limit:
        return None
    code = Code.LIMIT if size else Code.CORRUPT
    return Fault(f"this has {size} bytes; it must have 1 to {limit}", code)


def _io_error(verb: str, path: Path, error: OSError | ValueError) -> IdentityError:
    return IdentityError(f"{path}: cannot {verb} the file: {why_failed(path, error)}", Code.IO)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, SECRET.mode)


def open_without_waiting(path: str, flags: int) -> int:
    """Opens a file; opening a pipe without a writer would wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def write_file(path: Path, content: Secret, rule: Rule, *, overwrite: bool) -> None:
    """Writes a file as a whole: after a crash it is complete, or as it was before.

    Args:
        path: name of the file.
        content: its bytes.
        rule: has its permissions, which the umask does not change, and what must hold for its
            folder.
        overwrite: replace a file that exists.

    Raises:
        IdentityError: the file exists (and is unchanged), cannot be written, or could not be read
            again, as other users may read or replace it. Then nothing new is left behind.
    """
    written = None
    try:
        if path.is_dir():
            raise IdentityError(f"{path}: {A_FOLDER}", Code.IO)
        if reason := why_unsafe(path, rule):
            raise IdentityError(f"{path}: {reason}", Code.PERMISSIONS)
        with (
            atomic_file(path, overwrite=overwrite) as draft,
            open(draft, "xb", opener=_open_private) as stream,
        ):
            _set_mode(stream.fileno(), rule.mode)
            if why_unsafe(draft, rule, stream.fileno()):
                raise IdentityError(f"{path}: {NOT_KEPT}", Code.PERMISSIONS)
            stream.write(content.expose())
            stream.flush()
            os.fsync(stream.fileno())
            written = os.fstat(stream.fileno())
    except FileExistsError:
        raise IdentityError(
            f"{path}: the file exists already; choose another name, move it away, or set overwrite",
            Code.EXISTS,
        ) from None
    except (OSError, ValueError) as error:
        if written is not None and not overwrite:
            _remove(path, written)
        raise _io_error("write", path, error) from None


def _set_mode(file: int, mode: int) -> None:
    """Sets the permissions of an open file, where system and file system have some."""
    if hasattr(os, "fchmod"):
        with suppress(OSError):
            os.fchmod(file, mode)


def _remove(path: Path, written: os.stat_result) -> None:
    """Removes a file that got its name though it may not be on the disk, so as to try again."""
    with suppress(OSError, ValueError):
        if os.path.samestat(path.lstat(), written):
            path.unlink()


def read_file(path: Path, limit: int, rule: Rule) -> Secret:
    """Reads a file after checking its permissions (of the open file: it cannot be exchanged).

    Args:
        path: name of the file; symbolic links are followed.
        limit: greatest size in bytes.
        rule: what must hold for its permissions.

    Raises:
        IdentityError: the file cannot be read, is not a regular file, breaks the rule, is empty or
            too long.
    """
    try:
        with open(path, "rb", opener=open_without_waiting) as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise IdentityError(f"{path}: not a regular file", Code.IO)
            if reason := why_unsafe(path, rule, stream.fileno()):
                raise IdentityError(f"{path}: {reason}", Code.PERMISSIONS)
            if wrong := wrong_size(found.st_size, limit):
                raise IdentityError(f"{path}: {wrong.reason}", wrong.code)
            return Secret(stream.read(found.st_size))
    except (OSError, ValueError) as error:
        raise _io_error("read", path, error) from None
