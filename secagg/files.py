"""Files that are there whole or not at all, whenever the program or the machine stops."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yields a free name beside `path`; the file that the block makes there gets the name `path`.

    The block creates the draft exclusively, with the rights that the file shall have, and syncs its
    content to the disk: here only names are written. If the block fails, or nothing may be
    overwritten and the name is taken (by a dangling link, too), the draft is removed and whatever
    has the name is as it was.

    Raises:
        FileExistsError: the name is taken, and `overwrite` is False.
        OSError: the draft could not get the name, or the folder could not be synced.
    """
    draft = path.parent / f".secagg-{os.urandom(8).hex()}"
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
