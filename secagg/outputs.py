"""Output files of commands: checked before the work, and written as a whole."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from .codes import Code
from .errors import ParameterError
from .files import atomic_file

STDOUT: Final = Path("-")  # in place of a file: standard output


def output(text: str) -> Path:
    """Returns the path of an output; only a bare dash means standard output."""
    return STDOUT if text == "-" else Path(text).absolute()


def check_writable(path: Path) -> None:
    """Checks that `write_whole` could write this file now, and changes nothing.

    Raises:
        ParameterError: the path is a folder or a link that leads to itself, its folder is missing,
            its name is impossible, or permission is missing; or it is `STDOUT`, and that is closed.
    """
    if path == STDOUT:
        if not hasattr(sys.stdout, "buffer"):
            raise ParameterError(
                "cannot write to standard output: it is closed, or takes no bytes", Code.IO
            )
        return
    try:
        if path.is_dir():
            raise ParameterError(f"{path} is a folder; give the name of a file", Code.IO)
        if _is_special(path):
            if not os.access(path, os.W_OK):
                raise ParameterError(f"cannot write to {path}: permission denied", Code.IO)
            return
        target = path.resolve()
        if target.is_symlink():  # Python 3.13 and later leave a link that leads to itself
            raise RuntimeError
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise ParameterError(f"cannot write {path}: {error.strerror}", Code.IO) from None
    except RuntimeError:  # of Path.resolve, in Python 3.12 and earlier
        raise ParameterError(f"cannot write {path}: a link that leads to itself", Code.IO) from None


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file as a whole: readers see the old content or the new one, never a part.

    `STDOUT`, devices and pipes (/dev/stdout) are written directly. A link is followed, and the
    umask sets the permissions of a new file.

    Raises:
        OSError: the file cannot be written; it is unchanged.
    """
    if path == STDOUT:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    if _is_special(path):
        path.write_bytes(data)
        return
    try:
        with atomic_file(path.resolve(), overwrite=True) as draft:
            draft.write_bytes(data)
    except OSError as error:  # without a name, or with that of the draft
        raise OSError(error.errno, error.strerror, str(path)) from None


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()
