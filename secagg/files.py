"""Writes files as a whole: after a crash a file is complete, or as it was before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

DRAFTS: Final = ".secagg-*"  # the names of drafts


def why_failed(error: OSError | ValueError) -> str:
    """Returns what the system, or Python about the name (a zero byte), has against a file."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@contextmanager
def atomic_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yields an unused name beside `path`, and renames the file that the block writes there.

    The block creates this draft exclusively, sets its permissions, and syncs its content to the
    disk: this function only renames it and syncs the folder. If the block fails, or if the name
    is taken (also by a dangling link) and must not be overwritten, the draft is removed and
    `path` is unchanged.

    Raises:
        FileExistsError: the name is taken, and `overwrite` is False.
        OSError: the draft could not be renamed, or the folder could not be synced.
    """
    draft = path.parent / DRAFTS.replace("*", os.urandom(8).hex())
    try:
        yield draft
        if overwrite:
            draft.replace(path)
        else:
            path.hardlink_to(draft)  # fails where the name is taken
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
