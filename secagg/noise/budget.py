"""The privacy that a client's data may lose in all, over every training and restart.

A round is charged before its masked input leaves, with the noise of the honest clients that are
certain, and nothing is ever given back: a server that calls a round failed may have its sum.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Final, Protocol

from ..codes import Code
from ..errors import Aborted, ParameterError, StateError
from ..files import AnyPath
from ..forks import this_process
from ..ledger.sqlite_file import FileKind, SqliteFile
from ..params.params import Params
from ..params.rotated import Noise, Rotated
from .accounting import Release, epsilon, require_accountant, require_delta, require_target
from .filter import Filter

_KIND: Final = FileKind(
    "budget",
    "charge",
    0x5341_4231,  # "SAB1"
    (
        """
        CREATE TABLE charges (
            client BLOB NOT NULL PRIMARY KEY,
            noise INTEGER NOT NULL,
            variance TEXT NOT NULL,
            bound TEXT NOT NULL,
            length INTEGER NOT NULL,
            honest INTEGER NOT NULL,
            shortfall REAL NOT NULL,
            exposure REAL NOT NULL,
            at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
        ) WITHOUT ROWID
        """,
    ),
    "put back a whole copy that has all charges, or count the budget as spent",
)
_log: Final = logging.getLogger("secagg")
_COLUMNS: Final = "noise, variance, bound, length, honest, shortfall, exposure"
_HAS: Final = "SELECT 1 FROM charges WHERE client = ?"
_ADD: Final = f"INSERT INTO charges (client, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_ALL: Final = f"SELECT {_COLUMNS}, COUNT(*) FROM charges GROUP BY {_COLUMNS}"  # noqa: S608


class _Charges(Protocol):
    """The charges so far, while nobody else can make one."""

    def has(self, client: bytes) -> bool:
        """Returns whether this client was charged."""

    def add(self, client: bytes, release: Release) -> None:
        """Adds a charge."""

    def all(self) -> Iterator[tuple[Release, int]]:
        """Yields what was released, and how often."""


class _Budget:
    """The rules of a budget, wherever its charges are."""

    def __init__(self, limit: float, delta: float) -> None:
        self.epsilon: Final = require_target(limit)
        self.delta: Final = require_delta(delta)
        self._filter: Final = Filter(self.epsilon, self.delta)
        require_accountant()

    @contextmanager
    def _charges(self) -> Iterator[_Charges]:
        """Yields the charges; what the block adds is durable when it has ended."""
        raise NotImplementedError
        yield

    @property
    def spent(self) -> float:
        """The epsilon of all rounds so far, at the delta of the budget; 0 if there was none.

        This is the accountant's, for parameters that were known before the first round. What the
        budget pays for is decided so that it holds for any (docs/PRIVACY.md): near the limit the
        two agree within about 1 %.

        Raises:
            StateError: the budget cannot be read.
            MissingExtraError: dp-accounting is not installed.
        """
        with self._charges() as charges:
            found = list(charges.all())
        return epsilon(found, self.delta) if found else 0.0

    def rounds_left(self, params: Params) -> int:
        """Returns how many more rounds with these parameters the budget can pay for.

        Raises:
            ParameterError: the parameters add no noise.
            StateError: the budget cannot be read.
            MissingExtraError: dp-accounting is not installed.
        """
        release = Release.of(params)
        with self._charges() as charges:
            before = list(charges.all())

        def pays(rounds: int) -> bool:
            return self._filter.pays([*before, (release, rounds)])

        low, high = 0, 1
        while high < 2**32 and pays(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if pays(middle) else (low, middle)
        return low

    def check(self, client: bytes, params: Params) -> None:
        """Refuses a round that this budget cannot pay for; spends nothing.

        Raises:
            ParameterError: it cannot (`budget`), or the parameters add no noise.
            StateError: the budget cannot be read.
            MissingExtraError: dp-accounting is not installed.
        """
        with self._charges() as charges:
            paid, before = charges.has(client), list(charges.all())
        if not paid and (refusal := self._why_not(before, params)):
            raise ParameterError(refusal, Code.BUDGET)

    def charge(self, client: bytes, params: Params) -> None:
        """Spends what a round costs, once for each client; durable when it returns.

        Nobody else waits while epsilon is computed: it is computed from what was read, and again if
        another one was charged meanwhile.

        Args:
            client: 32 bytes of one client object (`PrivacyBudget`).
            params: of the round.

        Raises:
            Aborted: the budget cannot pay for it (`budget`); nothing is spent.
            StateError: it could not be stored. It may be spent nevertheless, and trying again does
                not spend it twice.
            MissingExtraError: dp-accounting is not installed.
        """
        known: list[tuple[Release, int]] | None = None
        while True:
            with self._charges() as charges:
                if charges.has(client):
                    return
                before = list(charges.all())
                if before == known:
                    charges.add(client, Release.of(params))
                    return
            if refusal := self._why_not(before, params):
                raise Aborted(refusal, Code.BUDGET)
            known = before

    def _why_not(self, before: list[tuple[Release, int]], params: Params) -> str:
        """Returns why a round cannot be paid for after these, or ""; the log has the numbers."""
        form = params.format
        if not isinstance(form, Rotated) or not form.noisy:
            return (
                f"the format {type(form).__name__} adds no noise, so no budget can pay for the sum"
            )
        found = self._filter.spent([*before, (Release.of(params), 1)])
        if found <= self.epsilon:
            return ""
        _log.warning(
            "the privacy budget is spent: with this round epsilon would be %.4g at delta %g, above "
            "%g",
            *(found, self.delta, self.epsilon),
        )
        return "the privacy budget of this client's data cannot pay for the round"


class MemoryBudget(_Budget):
    """A budget for one process, such as a simulation; it forgets with it.

    Args:
        epsilon: the most that all rounds together may tell, at `delta`; 0.001..32.
        delta: above 0 and below 1.

    Raises:
        ParameterError: a value is outside its range.
        MissingExtraError: dp-accounting is not installed.
    """

    def __init__(self, *, epsilon: float, delta: float) -> None:
        super().__init__(epsilon, delta)
        self._lock = threading.Lock()
        self._rows = _InMemory()
        self._process: Final = this_process()

    @contextmanager
    def _charges(self) -> Iterator[_Charges]:
        if self._process != this_process():
            raise StateError(
                "this budget belongs to the process that made it: in a child each would spend it "
                "again; use a SqliteBudget",
                Code.FORKED,
            )
        with self._lock:
            yield self._rows

    def __repr__(self) -> str:
        return f"MemoryBudget(epsilon={self.epsilon:g}, delta={self.delta:g})"


class SqliteBudget(_Budget):
    """A budget in an SQLite file, shared by all processes and threads that use the same data.

    Its file is like that of a ledger (`SqliteFile`): durable, its owner's alone, noticed when it is
    replaced. It holds no secrets: one row per round, with what the round told and when. Deleting it
    or putting back an older copy spends the same privacy twice.

    Args:
        path: name of the file; its folder must exist.
        epsilon: the most that all rounds together may tell, at `delta`; 0.001..32. It may be raised
            later by whoever answers for the data; what was spent stays.
        delta: above 0 and below 1.

    Raises:
        ParameterError: a value is outside its range.
        StateError: as of `SqliteFile`.
        MissingExtraError: dp-accounting is not installed.
    """

    def __init__(self, path: AnyPath, *, epsilon: float, delta: float) -> None:
        super().__init__(epsilon, delta)
        self._file = SqliteFile(path, _KIND)
        with self._charges() as charges:
            if not any(charges.all()):
                _log.info("%s: a privacy budget of which nothing is spent yet", self._file)

    @contextmanager
    def _charges(self) -> Iterator[_Charges]:
        with self._file.transaction() as connection:
            yield _InSqlite(connection)

    def __repr__(self) -> str:
        return f"SqliteBudget({self._file}, epsilon={self.epsilon:g}, delta={self.delta:g})"


class _InMemory:
    """Charges in memory."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Release] = {}

    def has(self, client: bytes) -> bool:
        return client in self._rows

    def add(self, client: bytes, release: Release) -> None:
        self._rows[client] = release

    def all(self) -> Iterator[tuple[Release, int]]:
        counts: dict[Release, int] = {}
        for release in self._rows.values():
            counts[release] = counts.get(release, 0) + 1
        yield from counts.items()


class _InSqlite:
    """Charges in a transaction of SQLite, whose integers have 64 bits with a sign."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def has(self, client: bytes) -> bool:
        return self._connection.execute(_HAS, (client,)).fetchone() is not None

    def add(self, client: bytes, release: Release) -> None:
        row = (
            int(release.noise),
            str(release.variance),
            str(release.bound),
            release.length,
            release.honest,
            release.shortfall,
            release.exposure,
        )
        self._connection.execute(_ADD, (client, *row))

    def all(self) -> Iterator[tuple[Release, int]]:
        for *row, count in self._connection.execute(_ALL).fetchall():
            try:
                noise, variance, bound, length, honest, shortfall, exposure = row
                release = Release(
                    *(Noise(noise), Fraction(variance), int(bound), length, honest),
                    *(float(shortfall), float(exposure)),
                )
            except (ValueError, TypeError, ArithmeticError, ParameterError):
                raise StateError(
                    f"a charge of the budget was altered: {_KIND.restore}", Code.CORRUPT
                ) from None
            yield release, count
