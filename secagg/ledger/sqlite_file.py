"""An SQLite file that must lose no entry: durable, private, and noticed when it is replaced."""

import os
import stat
import sys
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..codes import Code
from ..errors import ParameterError, StateError
from ..files import A_FOLDER, DRAFTS, AnyPath, as_path, atomic_file, why_failed
from ..permissions import LEDGER, NOT_KEPT, is_read_only, why_unsafe

if TYPE_CHECKING:
    import sqlite3

_SECONDS_TO_WAIT: Final = 10.0
_LONGEST_PATH: Final = 504  # bytes; SQLite takes 512, with the ending of the journal
_CODES: Final = {  # by SQLite's; all others (a lock that is held for too long, ...) are Code.LEDGER
    1: Code.CORRUPT,  # SQLITE_ERROR, such as a table that is missing
    8: Code.IO,  # SQLITE_READONLY
    10: Code.IO,  # SQLITE_IOERR
    11: Code.CORRUPT,  # SQLITE_CORRUPT
    13: Code.IO,  # SQLITE_FULL
    14: Code.IO,  # SQLITE_CANTOPEN
    26: Code.FOREIGN_FILE,  # SQLITE_NOTADB
}


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: what it is called in messages.
        entry: what one of its rows is called.
        application: the number in the header of the file.
        make: the statements that make its tables.
        restore: what to do if entries were lost.
    """

    name: str
    entry: str
    application: int
    make: tuple[str, ...]
    restore: str


class SqliteFile:
    """An SQLite file, shared by any number of processes and threads of one machine.

    A missing file is created; only its owner may read or write it. If the file is deleted, or
    replaced by an older copy, later entries are forgotten: keep it out of what a snapshot of the
    machine rolls back. As for any SQLite file, do not open it by other means while it is in use
    (closing it would drop SQLite's locks), and do not put it on a network file system. For a
    container mount its folder, never the file alone: the file would have a second name, and SQLite
    keeps a journal for each. On Linux the object holds the file open, so its file system cannot be
    unmounted meanwhile.

    Args:
        path: name of the file; its folder must exist.
        kind: of the file.

    Raises:
        ParameterError: the path is of another type.
        StateError: the file cannot be used, is of another kind, has a second name (a hard link, or
            a mount of the file), or other users may write to it, to its folder or to a folder on
            the way (`secagg/permissions.py`); or this Python was built without `sqlite3`.
    """

    def __init__(self, path: AnyPath, kind: FileKind) -> None:
        self._path = as_path(path)
        if str(self._path).startswith(("file:", ":memory:")):
            raise ParameterError(
                f"{self._path}: a {kind.name} is an ordinary file, not an address of SQLite's; in "
                f"memory it is of the class Memory{kind.name.title()}",
                Code.ARGUMENT,
            )
        self._kind = kind
        _sqlite(self._path, kind)
        self._file: tuple[int, int] | None = None
        with self._usable():
            if self._path.is_dir():
                raise StateError(f"{self._path}: {A_FOLDER}", Code.IO)
            self._require_safe(exists=False)  # of `path`, which may be a link
            self._path = self._path.resolve()
            if not self._path.exists():
                self._make()
            self._remove_drafts()
            self._require_safe()
        with _transaction(self._path, kind) as connection:
            if connection.execute("PRAGMA application_id").fetchone() != (kind.application,):
                why = _why_foreign(self._path, kind)
                raise StateError(f"{self._path}: {why}", Code.FOREIGN_FILE)
        with self._usable():
            if sys.platform == "linux" and hasattr(os, "O_PATH"):
                # Held open, so that its inode number is neither reused nor, on FAT, changed.
                # Closing a file opened in another way would drop SQLite's locks.
                held = os.open(self._path, os.O_PATH)
                weakref.finalize(self, _let_go, held, os.fstat(held))
            found = self._path.stat()
        self._file = found.st_dev, found.st_ino

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Raises StateError for what the system refuses."""
        try:
            yield
        except (OSError, ValueError) as error:
            raise StateError(
                f"{self._path}: cannot be used as a {self._kind.name}: "
                f"{why_failed(self._path, error)}",
                Code.IO,
            ) from None

    def _require_safe(self, *, exists: bool = True) -> None:
        """Raises StateError if this is no file, or others can write or replace it, or add to it."""
        if exists and not stat.S_ISREG(self._path.stat().st_mode):
            raise StateError(f"{self._path}: not a regular file", Code.IO)
        if reason := why_unsafe(self._path, LEDGER, self._path if exists else None):
            raise StateError(f"{self._path}: {reason}", Code.PERMISSIONS)

    def _remove_drafts(self) -> None:
        """Removes the other name of a file if the process that made it died, or is not done."""
        found = self._path.stat()
        for draft in self._path.parent.glob(DRAFTS) if found.st_nlink > 1 else ():
            with suppress(FileNotFoundError):
                if os.path.samestat(draft.lstat(), found):
                    draft.unlink()

    def _make(self) -> None:
        """Creates the file; it appears under its name when it is complete and closed.

        Where there are no hard links, it is made under its name, and empty at first: nothing is
        ever replaced or removed, which might be the file of another process by then.
        """
        with (
            suppress(FileExistsError),  # another process was faster
            atomic_file(
                self._path, overwrite=False, without_links=lambda _, path: self._fill(path)
            ) as draft,
        ):
            self._fill(draft)

    def _fill(self, file: Path) -> None:
        """Creates a file with the table, unless another process removed it and made one."""
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, LEDGER.mode))
        if why_unsafe(file, LEDGER, file):
            raise StateError(f"{self._path}: {NOT_KEPT}", Code.PERMISSIONS)
        with _transaction(file, self._kind, self._path) as connection:
            if connection.execute("PRAGMA schema_version").fetchone() == (0,):
                mark = f"PRAGMA application_id = {self._kind.application}"
                for statement in (*self._kind.make, mark):
                    connection.execute(statement)

    @contextmanager
    def transaction(self) -> "Iterator[sqlite3.Connection]":
        """Yields a connection in one durable transaction, which an exception rolls back.

        Raises:
            StateError: the file failed, is unsafe by now, or another one.
        """
        self._require_unchanged()
        with _transaction(self._path, self._kind) as connection:
            yield connection

    def _require_unchanged(self) -> None:
        """Raises StateError if the file is unsafe by now, or another one."""
        with self._usable():
            self._require_safe()
            found = self._path.stat()
        if (found.st_dev, found.st_ino) != self._file:
            raise StateError(
                f"{self._path}: another file has replaced the {self._kind.name} since it was "
                f"opened, and may lack {self._kind.entry}s: put the former one back",
                Code.LEDGER,
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"


def _sqlite(path: Path, kind: FileKind) -> Any:
    """Returns the module `sqlite3`, which some builds of Python lack, for the file at a path.

    Raises:
        StateError: this one lacks it.
    """
    try:
        import sqlite3  # noqa: PLC0415
    except ImportError as error:
        raise StateError(
            f"{path}: cannot be used as a {kind.name}: this Python lacks the module `sqlite3` "
            f"({error}); take one that has it (Pyodide: load the package `sqlite3`), or write a "
            f"{kind.name} of your own",
            Code.LEDGER,
        ) from None
    return sqlite3


def _why_foreign(path: Path, kind: FileKind) -> str:
    """Returns what to do about a database that is of another kind."""
    if path.stat().st_size:
        return (
            f"this database belongs to another application; choose another name for the {kind.name}"
        )
    return (
        f"this file is empty: another process is making the {kind.name}, so try again; or one died "
        f"while it did, or somebody emptied it. Remove it if no {kind.entry} was ever made here"
    )


def _require_whole(
    connection: "sqlite3.Connection", path: Path, kind: FileKind, named: Path
) -> None:
    """Raises StateError if the end of the file is missing: SQLite would read zeros there.

    It is asked within a transaction, when no journal is left to roll back.
    """
    (pages,), (size,), (journal,) = (
        connection.execute(f"PRAGMA {what}").fetchone()
        for what in ("page_count", "page_size", "journal_mode")
    )
    found = path.stat().st_size
    short = found < pages * size and journal != "wal"  # which may hold the last pages
    if found and (short or found % size):  # an empty one is not made yet
        raise StateError(
            f"{named}: the file was cut short ({found} bytes of {pages * size}), so {kind.entry}s "
            f"may be missing; {kind.restore}",
            Code.CORRUPT,
        )


def _why_denied(path: Path) -> str:
    """Returns what this user lacks to write to a file, and how to get it; "" if nothing."""
    for each in (path, path.parent):
        with suppress(OSError):
            if os.access(each, os.R_OK | os.W_OK):
                continue
            if is_read_only(each):
                return f"the file system of {each} is mounted read-only"
            found = each.stat()
            return (
                f"permission denied for {each} (owner {found.st_uid}, mode "
                f"{stat.S_IMODE(found.st_mode):04o}); it must belong to this user, who must be "
                "allowed to write to it"
            )
    return ""


def _let_go(held: int, found: os.stat_result) -> None:
    """Closes a descriptor, unless it was closed elsewhere and is another file's by now."""
    with suppress(OSError):
        if os.path.samestat(os.fstat(held), found):
            os.close(held)


@contextmanager
def _transaction(
    path: Path, kind: FileKind, named: Path | None = None
) -> "Iterator[sqlite3.Connection]":
    """Opens a connection for one durable transaction, and closes it: none is open at a fork.

    Args:
        path: name of the file.
        kind: of the file.
        named: the name for messages, if it is another one.
    """
    sqlite3 = _sqlite(path, kind)
    uri = f"{path.as_uri()}?mode=rw"  # does not create a file that was deleted meanwhile
    try:
        with closing(
            sqlite3.connect(uri, timeout=_SECONDS_TO_WAIT, isolation_level=None, uri=True)
        ) as connection:
            connection.execute("PRAGMA synchronous = EXTRA")
            connection.execute("PRAGMA fullfsync = ON")  # macOS: to the disk, not to its cache
            connection.execute("BEGIN IMMEDIATE")
            _require_whole(connection, path, kind, named or path)
            yield connection
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        code = _CODES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, Code.LEDGER)
        reason, excess = str(error), len(os.fsencode(path)) - _LONGEST_PATH
        if excess > 0:
            reason = f"its path is too long for SQLite; shorten it by {excess} bytes or more"
        elif code is Code.IO:
            reason = _why_denied(path) or reason
        if code is Code.CORRUPT or not path.exists():
            reason += f"; {kind.restore}"
        raise StateError(
            f"{named or path}: cannot be used as a {kind.name}: {reason}", code
        ) from None
