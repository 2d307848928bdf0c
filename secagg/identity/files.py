"""Small files that are whole and have the right owner and mode, when written and when read."""

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from ..codes import Code
from ..errors import IdentityError
from ..files import atomic_file
from ..primitives.secret import Secret

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644


class Fault(NamedTuple):
    """Reason and code of an `IdentityError` that is raised elsewhere."""

    reason: str
    code: Code


def _cannot(verb: str, path: Path, error: OSError) -> IdentityError:
    return IdentityError(
        f"{path}: cannot {verb} it: {error.strerror or type(error).__name__}", Code.IO
    )


def _create(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE)


def _look(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe without a writer must not stop us


def write_file(path: Path, content: Secret, mode: int, *, overwrite: bool) -> None:
    """Writes a file that is there whole or not at all, whenever the machine stops.

    Args:
        path: where; what is there under this name is replaced, or the reason to refuse.
        content: the bytes.
        mode: the rights, `PRIVATE` or `PUBLIC`, whatever the umask.
        overwrite: replace a file that exists.

    Raises:
        IdentityError: the file exists (and is as it was), or cannot be written.
    """
    try:
        with (
            atomic_file(path, overwrite=overwrite) as draft,
            open(draft, "xb", opener=_create) as stream,
        ):
            os.fchmod(stream.fileno(), mode)
            stream.write(content.expose())
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise IdentityError(
            f"{path}: exists already; move it away, or ask to overwrite it", Code.EXISTS
        ) from None
    except OSError as error:
        raise _cannot("write", path, error) from None


def read_file(path: Path, limit: int, *, private: bool) -> Secret:
    """Reads a file after a look at its rights (on the open file, so it is the one looked at).

    Args:
        path: which; a symbolic link is followed.
        limit: greatest size in bytes.
        private: it must be the user's own and unreadable to others; otherwise it only must not
            be writable for everybody.

    Raises:
        IdentityError: the file cannot be read, is no regular file, is too open, somebody
            else's, empty, or too long.
    """
    try:
        with open(path, "rb", opener=_look) as stream:
            found = os.fstat(stream.fileno())
            if unsafe := _unsafe(found, private):
                raise IdentityError(f"{path}: {unsafe.reason}", unsafe.code)
            if not 0 < found.st_size <= limit:
                code = Code.LIMIT if found.st_size else Code.CORRUPT
                raise IdentityError(
                    f"{path}: {found.st_size} bytes; 1 to {limit} are possible", code
                )
            return Secret(stream.read(limit))
    except OSError as error:
        raise _cannot("read", path, error) from None


def _unsafe(found: os.stat_result, private: bool) -> Fault | None:
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        return Fault("not a regular file", Code.IO)
    if private and found.st_uid != os.geteuid():
        return Fault("belongs to another user; its owner alone may use it", Code.PERMISSIONS)
    if private and mode & 0o077:
        return Fault(
            f"others may use it (mode {mode:04o}); run `chmod 600` on it", Code.PERMISSIONS
        )
    if mode & stat.S_IWOTH:
        return Fault(
            f"everybody may change it (mode {mode:04o}); run `chmod o-w` on it", Code.PERMISSIONS
        )
    return None
