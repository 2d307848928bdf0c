"""A home: what a party, or a coordinator, keeps between messages and between rounds."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn, TypedDict, TypeVar, Unpack

from ..arithmetic.threads import default_threads
from ..codes import Code
from ..errors import ParameterError, StateError
from ..files import AnyPath, locked_folder, why_failed
from ..identity.directory import Directory
from ..identity.identity import Identity
from ..interfaces import ServerMachine
from ..ledger.ledger import Ledger, MemoryLedger
from ..ledger.sqlite import SqliteLedger
from ..machine.claims import require_ledger
from ..machine.sealing import KEY_BYTES
from ..machine.wire import SESSION_BYTES
from ..pairwise.server import Server
from ..pairwise.stored import open_server
from ..params.checks import require_bytes, require_int, require_kind, require_seconds
from ..params.mode import Mode
from ..params.policy import Policy
from ..primitives.secret import Secret
from .policy_file import read_policy
from .records import (
    Head,
    Kind,
    PartyRecord,
    UselessStateError,
    key_of,
    open_failures,
    open_note,
    open_party,
    read_head,
    seal_failures,
    seal_note,
    seal_party,
    write_record,
)
from .stores import (
    FileStore,
    MemoryStore,
    Store,
    private_folder,
    read_private,
    usable,
    write_private,
)

T = TypeVar("T")

MOST_ROUNDS: Final = 16  # of a party that are stored at a time; the done and oldest go first
_LONGEST: Final = 1e9  # seconds: some thirty years
_MOST_FAILURES: Final = 2**16
_IN_MEMORY: Final = Path()  # this object, in the place of a path
_ALL: Final = bytes(SESSION_BYTES)  # for a record that is of no single round


class _Options(TypedDict, total=False):
    policy: Policy | None
    identity: Identity | None
    directory: Directory | None
    ledger: Ledger | None
    store: Store | None
    attempts: int
    failures: int
    keep_last: bool
    max_age: float
    wait: float


class Home:
    """The folder of one party: all that it keeps from message to message and round to round.

    A coordinator has one, too. One home is one party: two processes, or threads, exclude each
    other while they use it. Never copy a home, and never restore one from a backup while a round
    is under way: what may happen once (`docs/SECURITY.md`) rests on its ledger.

    Files in the folder, which is made (0700) if it is missing:

    - `key`: seals what is stored; made at the first use.
    - `ledger.db`: what has happened once; made at the first use.
    - `states/`: one file per round that is under way.
    - `identity`: malicious mode: the signing key, made by `python -m secagg identity new`.
    - `pins`: malicious mode: the directory of all parties, made by `python -m secagg identity pin`.
    - `policy.json`: the fields of `Policy`, see `docs/DRIVERS.md`.
    - `rounds/`: of a coordinator: the counts of each training, see `secagg.Rounds`.

    Attributes:
        path: the folder; None in memory.
        key: 32 secret bytes.
        ledger, identity, directory, policy, store: as below.
        attempts, failures: as below.

    Args:
        path: the folder; the one that it lies in must exist. Without one, use `in_memory`.
        policy: the demands of this party, in place of `policy.json`.
        identity: malicious mode: its signing key, in place of the file, such as one with a
            passphrase.
        directory: malicious mode: the pinned keys of all parties, in place of the file.
        ledger: in place of `ledger.db`.
        store: where states are stored, in place of `states/`.
        attempts: how often this party gives its input for one thing: an invitation to the attempt
            of this number, counted from 0, or to a later one is refused.
        failures: malicious mode: in how many rounds its training may fail; then it joins no more,
            until `clear_failures`. A round in which `train` was called, and has given no input yet,
            counts as well: of a process that was killed, say. One without an input to give (None)
            does not count.
        keep_last: whether the last answer of each round is stored, so that it can be sent again.
            False is for transports that store answers themselves: no masked input is stored then.
        max_age: seconds after which what is stored of a round is removed.
        wait: seconds to wait for another process that uses the home.

    Raises:
        StateError: the folder or a file in it cannot be used, or other users may read the key, or
            write to the others (`secagg/permissions.py`).
        IdentityError: `identity` or `pins` is unusable.
        ParameterError: `policy.json` or an argument is wrong.
    """

    def __init__(
        self,
        path: AnyPath,
        *,
        policy: Policy | None = None,
        identity: Identity | None = None,
        directory: Directory | None = None,
        ledger: Ledger | None = None,
        store: Store | None = None,
        attempts: int = 1,
        failures: int = 3,
        keep_last: bool = True,
        max_age: float = 7 * 86400.0,
        wait: float = 10.0,
    ) -> None:
        if path is None:
            raise ParameterError(
                "a home needs the path of its folder, which may come from a variable that is not "
                "set; `Home.in_memory()` makes one that lasts as long as its process",
                Code.ARGUMENT,
            )
        default_threads()  # a wrong variable is an error before any round
        for name, value, kind in (
            ("policy", policy, Policy),
            ("identity", identity, Identity),
            ("directory", directory, Directory),
            ("store", store, Store),
        ):
            if value is not None:
                require_kind(name, value, kind, "leave it out for the one of the home")
        self.attempts: Final = require_int("attempts", attempts, 1, 2**63 - 1)
        self.failures: Final = require_int("failures", failures, 1, _MOST_FAILURES)
        self.keep_last: Final = bool(keep_last)
        self._max_age = require_seconds("max_age", max_age, most=_LONGEST)
        self._wait = require_seconds("wait", wait)
        self._turn = threading.Lock()
        self._unsaved: dict[bytes, PartyRecord] = {}  # which the store did not take, by session
        self.path: Final = None if path is _IN_MEMORY else private_folder(path)
        self._states: Path | None = None
        if self.path is not None:
            self._states = private_folder(self.path / "states")
            _close_to_others(self._states)
            policy = _read(self.path / "policy.json", read_policy) if policy is None else policy
            identity = (
                _read(self.path / "identity", Identity.load) if identity is None else identity
            )
            directory = (
                _read(self.path / "pins", Directory.load) if directory is None else directory
            )
            ledger = SqliteLedger(self.path / "ledger.db") if ledger is None else ledger
            store = FileStore(self._states) if store is None else store
        self.key: Final = os.urandom(KEY_BYTES) if self.path is None else _key_in(self.path)
        self.policy: Final = Policy() if policy is None else policy
        self.identity: Final = identity
        self.directory: Final = directory
        self.ledger: Final = require_ledger(MemoryLedger() if ledger is None else ledger)
        self.store: Final[Store] = MemoryStore() if store is None else store

    @classmethod
    def in_memory(cls, **options: Unpack[_Options]) -> "Home":
        """Makes a home that lasts as long as its process: for simulation and tests.

        It takes the same arguments, but the path. In malicious mode give it a ledger that lasts.
        """
        return cls(_IN_MEMORY, **options)

    def __repr__(self) -> str:
        return f"<secagg.Home {'in memory' if self.path is None else str(self.path)!r}>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a Home is neither copied nor pickled: make one in each process")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the home: other processes and threads wait, also while `train` runs.

        It is not for calls of `answer`, which takes it itself.

        Raises:
            StateError: another process or thread has held it all the time (`busy`), or the folder
                is gone.
        """
        began = time.monotonic()
        if not self._turn.acquire(timeout=self._wait):
            raise self._busy()
        try:
            with ExitStack() as stack:
                if self._states is not None:
                    left = max(0.0, began + self._wait - time.monotonic())
                    try:
                        stack.enter_context(locked_folder(self._states, left))
                    except TimeoutError:
                        raise self._busy() from None
                    except OSError as error:
                        reason = why_failed(self._states, error)
                        raise StateError(
                            f"{self._states}: cannot be used: {reason}", Code.IO
                        ) from None
                yield
        finally:
            self._turn.release()

    def _busy(self) -> StateError:
        return StateError(
            f"{self!r} has been in use by another process or thread for {self._wait:g} seconds, as "
            "it is while a training runs: try again later, or use one home per party (any user who "
            "may read its folder `states` can hold it, too)",
            Code.BUSY,
        )

    # -- of a party: `answer` calls these under the lock ---------------------------------------

    def store_unsaved(self, session: bytes) -> PartyRecord | None:
        """Stores what the store did not take of a round before, and returns it; None if it did.

        Raises:
            StateError: the store failed again.
        """
        record = self._unsaved.get(session)
        if record is None:
            return None
        if not record.seen and self.store.get(key_of(Kind.PARTY, session)) is not None:
            del self._unsaved[session]  # another process has begun the round meanwhile
            return None
        self.save(record)
        return record

    def load(self, session: bytes) -> PartyRecord | None:
        """Returns what is stored of a party in a round, or None.

        Raises:
            StateError: the store failed; or (`UselessStateError`) what it has does not serve.
        """
        data = self.store.get(key_of(Kind.PARTY, session))
        try:
            head = _head_of(data, Kind.PARTY, session)
            return None if head is None else open_party(head, self.key)
        except StateError as error:
            raise UselessStateError(error.reason, error.code) from None

    def save(self, record: PartyRecord) -> None:
        """Stores what a party remembers of a round.

        If that fails, this object remembers it for `store_unsaved`: what was stored before is used
        up, so without it the round would be lost to this party.

        Raises:
            StateError: it cannot be stored.
        """
        kept = record if self.keep_last else replace(record, reply=b"")
        self._unsaved.pop(record.session, None)
        try:
            sealed = seal_party(kept, self.key)
            self._put(Kind.PARTY, record.session, sealed, done=not record.client)
        except BaseException:
            self._unsaved[record.session] = replace(record)
            if len(self._unsaved) > MOST_ROUNDS:
                del self._unsaved[next(iter(self._unsaved))]
            raise

    def remove(self, session: bytes) -> None:
        """Removes what is stored of a party in a round."""
        self._unsaved.pop(session, None)
        self.store.delete(key_of(Kind.PARTY, session))

    def tidy(self, begun: bytes | None = None) -> None:
        """Removes what is too old, and what a party has stored of more than a few rounds.

        Of these go first those in which its part is over.

        Args:
            begun: a round that stays.
        """
        stored: list[tuple[bool, int, bytes]] = []
        oldest = time.time_ns() - int(self._max_age * 1e9)
        for key, head in self._heads():
            if head.kind is Kind.FAILURES or (head.kind, head.session) == (Kind.PARTY, begun):
                continue
            if head.at < oldest:
                self.store.delete(key)
            elif head.kind is Kind.PARTY:
                stored.append((not head.done, head.at, key))
        excess = len(stored) - MOST_ROUNDS + (begun is not None)
        for _, _, key in sorted(stored)[: max(0, excess)]:
            self.store.delete(key)

    def begin_training(self, session: bytes) -> bool:
        """Counts the training of a round as failed, until `end_training`.

        Returns:
            False if it was counted before.

        Raises:
            ParameterError: too many have failed in other rounds.
            StateError: it cannot be stored, or read (`UselessStateError`).
        """
        self.require_training(session)
        if is_new := session not in (failed := self._failed()):
            self._put_failed([*failed, session])
        return is_new

    def end_training(self, session: bytes) -> None:
        """Says that the training of a round has given an input, or had none to give."""
        if session in (failed := self._failed()):
            self._put_failed([each for each in failed if each != session])

    def require_training(self, session: bytes) -> None:
        """Raises ParameterError if the training has failed in too many rounds but this one."""
        count = len([each for each in self._failed() if each != session])
        if count >= self.failures:
            raise ParameterError(
                f"refused by this client: its training has failed in {count} rounds (or was ended "
                "in some of them), and a server that lies can learn about its data from that; find "
                "the cause, then call `clear_failures()` of its home",
                Code.TRAINING,
            )

    def clear_failures(self) -> None:
        """Forgets in which rounds the training has failed: for the operator, not for a program.

        Raises:
            StateError: the home cannot be used.
        """
        with self.lock():
            self.store.delete(key_of(Kind.FAILURES, _ALL))

    def _failed(self) -> list[bytes]:
        data = self.store.get(key_of(Kind.FAILURES, _ALL))
        try:
            head = _head_of(data, Kind.FAILURES, _ALL)
            return [] if head is None else open_failures(head, self.key)
        except StateError as error:
            raise UselessStateError(error.reason, error.code) from None

    def _put_failed(self, sessions: Sequence[bytes]) -> None:
        if sessions:
            self._put(Kind.FAILURES, _ALL, seal_failures(sessions, self.key))
        else:
            self.store.delete(key_of(Kind.FAILURES, _ALL))

    # -- of a server: what `lockstep` and `secagg.aio.serve` use (`Snapshots`) -----------------

    def keep_server(self, server: ServerMachine) -> None:
        """Stores the state of a server, in the place of what was stored of its round.

        Raises:
            StateError: it cannot be stored.
            LocalProtocolError: no phase is in progress, or the server has no ledger.
        """
        self._put(Kind.SERVER, server.session, server.snapshot(self.key))

    def forget(self, session: bytes) -> None:
        """Removes what is stored of a server and its note; nothing, if there is nothing."""
        require_bytes("session", session, SESSION_BYTES)
        for kind in (Kind.SERVER, Kind.NOTE):
            self.store.delete(key_of(kind, session))

    def resume_server(
        self, session: bytes | None = None, directory: Directory | None = None
    ) -> Server | None:
        """Returns the server of a round as it was stored last, or None if there is none.

        Args:
            session: the round; by default that which was stored last.
            directory: malicious mode: the verify keys of the cohort; by default the home's.

        Raises:
            StateError: what is stored cannot be used.
            ParameterError: the directory does not fit.
        """
        self.tidy()
        if session is None:
            found = [head for _, head in self._heads() if head.kind is Kind.SERVER]
            head = max(found, key=lambda each: each.at, default=None)
        else:
            head = self._head(Kind.SERVER, session)
        if head is None:
            return None
        mode = open_server(head.rest, self.key).round.params.mode
        directory = self.directory if directory is None else directory
        pins = directory if mode is Mode.MALICIOUS else None
        return Server.resume(head.rest, self.key, self.ledger, pins)

    def keep_note(self, session: bytes, note: bytes) -> None:
        """Stores what a driver needs beside a server to go on: members, attempt, task.

        Raises:
            StateError: it cannot be stored.
        """
        self._put(Kind.NOTE, session, seal_note(session, note, self.key))

    def note(self, session: bytes) -> bytes:
        """Returns the note of a round, b"" if there is none.

        Raises:
            StateError: it cannot be read.
        """
        head = self._head(Kind.NOTE, session)
        return b"" if head is None else open_note(head, self.key)

    # -- records -------------------------------------------------------------------------------

    def _put(self, kind: Kind, session: bytes, sealed: bytes, *, done: bool = False) -> None:
        require_bytes("session", session, SESSION_BYTES)
        record = write_record(kind, session, time.time_ns(), sealed, done=done)
        self.store.put(key_of(kind, session), record)

    def _head(self, kind: Kind, session: bytes) -> Head | None:
        require_bytes("session", session, SESSION_BYTES)
        return _head_of(self.store.get(key_of(kind, session)), kind, session)

    def _heads(self) -> Iterator[tuple[bytes, Head]]:
        """Yields what is stored, by key; what another version has stored is left alone."""
        for key in list(self.store.sessions()):
            data = self.store.get(key)
            if data is not None:
                try:
                    yield key, read_head(data)
                except StateError:
                    continue


def _head_of(data: bytes | None, kind: Kind, session: bytes) -> Head | None:
    """Returns the head of a record, None if there is none; raises StateError if it is another."""
    head = None if data is None else read_head(data)
    if head is not None and (head.kind, head.session) != (kind, session):
        raise StateError("the state that is stored is of another round", Code.CORRUPT)
    return head


def _key_in(folder: Path) -> bytes:
    """Returns the key of a home, and makes it if there is none; two processes may at once.

    Raises:
        StateError: it cannot be read or made, or others may read it.
    """
    path = folder / "key"
    if not os.path.lexists(path):
        write_private(path, Secret(os.urandom(KEY_BYTES)), overwrite=False)
    try:
        key = read_private(path, KEY_BYTES).expose()
    except StateError as error:
        if error.code is not Code.CORRUPT:  # it is empty, as its maker died, or too long
            raise
        key = b""
    if len(key) != KEY_BYTES:
        raise StateError(
            f"{path}: this is no key of a home, which has {KEY_BYTES} bytes: restore it, or remove "
            "it together with `states`, which costs the rounds under way",
            Code.CORRUPT,
        )
    return key


def _close_to_others(folder: Path) -> None:
    """Takes the folder of states from other users, who could hold its lock.

    One that belongs to somebody else (root, who trusts others there) is left as it is.
    """
    if hasattr(os, "geteuid"):  # not Windows, which shows no owners
        with usable(folder):
            found = folder.stat()
            if found.st_mode & 0o077 and found.st_uid == os.geteuid():
                folder.chmod(0o700)


def _read(path: Path, read: Callable[[Path], T]) -> T | None:
    """Reads a file of a home, if there is one."""
    return read(path) if os.path.lexists(path) else None


def cohort_of(directory: Directory | None, members: Sequence[int]) -> Directory | None:
    """Returns the pinned keys of the cohort of a round: all, or those of the members.

    Raises:
        ParameterError: the directory has no such members.
    """
    if directory is None or not members:
        return directory
    return directory.select(members)
