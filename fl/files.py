"""Output files: refused early if they cannot be written, and never half written."""

import os
from pathlib import Path

from secagg import Code, ParameterError


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
    part = _part(path)
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise ParameterError(f"cannot write {path}: {error.strerror}", Code.IO) from None


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file in one move: readers see the old content or the new, never a part.

    Devices and pipes (/dev/stdout) are written to as they are. Unlike the files in which `secagg`
    keeps keys and claims, an output has the mode that the umask gives it, goes where a link points,
    and is not synced to the disk.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    if _is_special(path):
        path.write_bytes(data)
        return
    part = _part(path)
    try:
        part.write_bytes(data)
        part.replace(path.resolve())
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()


def _part(path: Path) -> Path:
    """Where the content is gathered: beside the file itself, links followed."""
    path = path.resolve()
    return path.with_name(f".{path.name}.{os.getpid()}.part")
