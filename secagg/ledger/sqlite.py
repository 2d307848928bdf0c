"""A ledger in a small SQLite file, which suits most applications."""

from typing import Final

from ..files import AnyPath
from .ledger import Once
from .sqlite_file import FileKind, SqliteFile

_KIND: Final = FileKind(
    "ledger",
    "claim",
    0x5341_4C31,  # "SAL1"
    (
        """
        CREATE TABLE claims (
            what TEXT NOT NULL,
            key BLOB NOT NULL,
            at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
            PRIMARY KEY (what, key)
        ) WITHOUT ROWID
        """,
    ),
    "put back a whole copy that has all claims, or use new identities",
)
_CLAIM: Final = "INSERT OR IGNORE INTO claims (what, key) VALUES (?, ?)"
_HAS: Final = "SELECT 1 FROM claims WHERE what = ? AND key = ?"


class SqliteLedger(SqliteFile):
    """A ledger in an SQLite file, shared by any number of processes and threads of one machine.

    What must hold of the file, `SqliteFile` says. It holds no secrets, and one row (what, key,
    time) per claim.

    Args:
        path: name of the file; its folder must exist.

    Raises:
        ParameterError: the path is of another type.
        StateError: as of `SqliteFile`.
    """

    def __init__(self, path: AnyPath) -> None:
        super().__init__(path, _KIND)

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`.

        Raises:
            StateError: the claim could not be stored.
        """
        with self.transaction() as connection:
            return connection.execute(_CLAIM, (str(what), key)).rowcount == 1

    def has(self, what: Once, key: bytes) -> bool:
        """Returns whether this was claimed, and claims nothing.

        Raises:
            StateError: the ledger could not be read.
        """
        with self.transaction() as connection:
            return connection.execute(_HAS, (str(what), key)).fetchone() is not None
