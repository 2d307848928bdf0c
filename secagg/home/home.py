"""A home: what a party, or a coordinator, keeps between messages and between rounds."""

import os
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, TypedDict, TypeVar, Unpack

from ..arithmetic.threads import default_threads
from ..codes import Code
from ..errors import ParameterError, StateError
from ..files import AnyPath, locked_folder, why_failed
from ..identity.directory import Directory
from ..identity.identity import Identity
from ..ledger.ledger import Ledger, MemoryLedger
from ..ledger.sqlite import SqliteLedger
from ..machine.claims import require_ledger
from ..machine.sealing import KEY_BYTES
from ..params.checks import require_bytes, require_int, require_kind, require_seconds
from ..params.policy import Policy
from ..params.privacy import PrivacyBudget, require_budget
from ..primitives.secret import Secret
from .policy_file import read_policy
from .states import States
from .stores import (
    FileStore,
    MappingStore,
    MemoryStore,
    Store,
    private_folder,
    read_private,
    usable,
    write_private,
)

T = TypeVar("T")

_LONGEST: Final = 1e9  # seconds: some thirty years
_MOST_FAILURES: Final = 2**16
_MOST_ROUNDS: Final = 2**16
_IN_MEMORY: Final = Path()  # this object, in the place of a path


class _Options(TypedDict, total=False):
    policy: Policy | None
    identity: Identity | None
    directory: Directory | None
    ledger: Ledger | None
    store: Store | None
    key: bytes | None
    budget: PrivacyBudget | None
    attempts: int
    failures: int
    keep_last: bool
    most_rounds: int
    max_age: float
    wait: float


class Home(States):
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
        ledger, identity, directory, policy, store, budget: as below.
        attempts, failures, most_rounds: as below.

    Args:
        path: the folder; the one that it lies in must exist. Without one, use `in_memory`.
        policy: the demands of this party, in place of `policy.json`.
        identity: malicious mode: its signing key, in place of the file, such as one with a
            passphrase.
        directory: malicious mode: the pinned keys of all parties, in place of the file.
        ledger: in place of `ledger.db`.
        store: where states are stored, in place of `states/`.
        key: 32 secret bytes, in place of the file `key`: in memory, for a store that outlives it.
        budget: what each round is charged to before its input leaves, such as
            `secagg.noise.SqliteBudget`; one for all homes with the same data.
        attempts: how often this party gives its input for one thing: an invitation to the attempt
            of this number, counted from 0, or to a later one is refused.
        failures: malicious mode: in how many rounds its training may fail; then it joins no more,
            until `clear_failures`. A round in which `train` was called, and has given no input yet,
            counts as well: of a process that was killed, say. One without an input to give (None)
            does not count.
        keep_last: whether the last answer of each round is stored, so that it can be sent again.
            False is for transports that store answers themselves: no masked input is stored then.
        most_rounds: how many rounds of a party are stored at a time, 1..65536. Another one takes
            the place of one that is over, or else, with a warning in the log, of one that was only
            joined, or that nothing has come of for an hour; without such it is refused.
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
        key: bytes | None = None,
        budget: PrivacyBudget | None = None,
        attempts: int = 1,
        failures: int = 3,
        keep_last: bool = True,
        most_rounds: int = 64,
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
        require_budget(budget)
        self.attempts: Final = require_int("attempts", attempts, 1, 2**63 - 1)
        failures = require_int("failures", failures, 1, _MOST_FAILURES)
        most_rounds = require_int("most_rounds", most_rounds, 1, _MOST_ROUNDS)
        max_age = require_seconds("max_age", max_age, most=_LONGEST)
        self._wait = require_seconds("wait", wait)
        self._turn = threading.Lock()
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
        if key is not None:
            require_bytes("key", key, KEY_BYTES)
        else:
            key = os.urandom(KEY_BYTES) if self.path is None else _key_in(self.path)
        self.policy: Final = Policy() if policy is None else policy
        self.identity: Final = identity
        self.budget: Final = budget
        super().__init__(
            key,
            MemoryStore() if store is None else store,
            require_ledger(MemoryLedger() if ledger is None else ledger),
            directory,
            failures=failures,
            keep_last=bool(keep_last),
            most_rounds=most_rounds,
            max_age=max_age,
        )

    @classmethod
    def in_memory(cls, **options: Unpack[_Options]) -> "Home":
        """Makes a home that lasts as long as its process: for simulation and tests.

        It takes the same arguments, but the path. In malicious mode give it a ledger that lasts.
        """
        return cls(_IN_MEMORY, **options)

    @classmethod
    def in_mapping(cls, mapping: MutableMapping[str, Any], **options: Unpack[_Options]) -> "Home":
        """Makes a home in a mapping that a framework carries from call to call, its key too.

        For simulation: whoever reads the mapping reads all that is in it, and its ledger lasts for
        this object alone. It takes the arguments of `in_memory`; `key` and `store` are its own.
        """
        options["key"] = mapping.setdefault("secagg-key", os.urandom(KEY_BYTES))
        options["store"] = MappingStore(mapping)
        return cls.in_memory(**options)

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

    def clear_failures(self) -> None:
        """Forgets in which rounds the training has failed: for the operator, not for a program.

        Raises:
            StateError: the home cannot be used.
        """
        with self.lock():
            self._put_failed(())


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
            f"{path}: this is no key of a home, which has {KEY_BYTES} bytes: if it is an identity, "
            "rename it to `identity`; else restore it, or remove it together with `states`, which "
            "costs the rounds under way",
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
