"""Output files: refused early if they cannot be written, and never half written."""

import os
import tempfile
from pathlib import Path

from secagg import Code, ParameterError
from secagg.files import atomic_file


def check_writable(path: Path) -> None:
    """Sees whether `write_whole` could write there now, and leaves no trace.

    Raises:
        ParameterError: no such folder, a folder itself, or no permission.
    """
    if path.is_dir():
        raise ParameterError(f"{path} is a folder", Code.IO)
    if _is_special(path):
        if not os.access(path, os.W_OK):
            raise ParameterError(f"cannot write to {path}", Code.IO)
        return
    try:
        with tempfile.TemporaryFile(dir=path.resolve().parent):
            pass
    except OSError as error:
        raise ParameterError(f"cannot write {path}: {error.strerror}", Code.IO) from None


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file in one move: readers see the old content or the new, never a part.

    Devices and pipes (/dev/stdout) are written to as they are. A link is followed, and a new file
    has the mode that the umask gives it.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    if _is_special(path):
        path.write_bytes(data)
        return
    with atomic_file(path.resolve(), overwrite=True) as draft:
        draft.write_bytes(data)


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()
