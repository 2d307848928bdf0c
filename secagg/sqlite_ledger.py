"""The ledger that most applications want: a small SQLite file."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from .errors import StateError
from .ledger import Once

_SECONDS_TO_WAIT: Final = 10.0
_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS claims (
        what TEXT NOT NULL,
        key BLOB NOT NULL,
        at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (what, key)
    ) WITHOUT ROWID
"""
_CLAIM: Final = "INSERT OR IGNORE INTO claims (what, key) VALUES (?, ?)"


class SqliteLedger:
    """A ledger in an SQLite file, shared by any number of processes and threads.

    The file is made if it is missing, for its owner alone. A copy that is put back, and a file that
    was deleted, have forgotten what came after: keep it out of what a snapshot of the machine rolls
    back. It holds nothing secret, one row (what, key, time) a claim.

    Args:
        path: of the file; its folder exists.

    Raises:
        StateError: the file cannot be used, or is something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).absolute()
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise StateError(f"{self._path}: cannot use it: {error.strerror}") from None
        self._run(_TABLE, ())

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`.

        Raises:
            StateError: the claim could not be stored.
        """
        return self._run(_CLAIM, (str(what), key)) == 1

    def __repr__(self) -> str:
        return f"SqliteLedger({str(self._path)!r})"

    def _run(self, statement: str, values: tuple[str | bytes, ...]) -> int:
        """Rows changed. A connection a call: none crosses a thread or a fork."""
        try:
            uri = f"{self._path.as_uri()}?mode=rw"  # a file that vanished is not made anew
            with closing(sqlite3.connect(uri, timeout=_SECONDS_TO_WAIT, uri=True)) as connection:
                connection.execute("PRAGMA synchronous = EXTRA")
                with connection:
                    return connection.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise StateError(f"{self._path}: not usable as a ledger: {error}") from None
