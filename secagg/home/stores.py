"""Stores: bytes by session, in files, in memory, or in a dict of the application.

What is stored is sealed, so whoever reads it learns sizes and times. A store that is rolled back,
or copied to another machine, is told from the right one by the ledger alone.
"""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol, TypeVar, runtime_checkable

from ..codes import Code
from ..errors import IdentityError, StateError
from ..files import DRAFTS, LOCK, AnyPath, as_path, atomic_file, why_failed
from ..identity.files import read_file, write_file
from ..machine.wire import SESSION_BYTES
from ..params.checks import require_bytes
from ..permissions import LEDGER, SECRET, Rule, why_unsafe
from ..primitives.secret import Secret
from ..texts import described

T = TypeVar("T")

_NAME: Final = re.compile(f"[0-9a-f]{{{2 * SESSION_BYTES}}}")
_OLD_DRAFT: Final = 3600.0  # seconds


@runtime_checkable
class Store(Protocol):
    """Bytes by session. Every method raises StateError if the storage fails.

    What a home gives as session is a hash of it and of what is stored, also 16 bytes.
    """

    def get(self, session: bytes) -> bytes | None:
        """Returns what is stored under a session (16 bytes), or None."""

    def put(self, session: bytes, data: bytes) -> None:
        """Stores bytes in the place of what was there: durable when it returns, whole or not."""

    def delete(self, session: bytes) -> None:
        """Removes what is stored under a session; nothing, if there is nothing."""

    def sessions(self) -> Iterable[bytes]:
        """Returns the sessions under which something is stored, in any order."""


class MappingStore:
    """A store in a mutable mapping of text to bytes: a framework's context, a `shelve`, a dict.

    It is as durable as the mapping is at the end of an assignment (and of its method `sync`, if it
    has one). One that the framework stores only after a reply has left is behind it if the process
    dies in between: the next message of the round is then refused, since the ledger knows that the
    older state was used.

    Args:
        mapping: where it stores; other keys in it stay as they are.
        prefix: with what its keys begin, before the session in hexadecimal digits.
    """

    def __init__(self, mapping: MutableMapping[str, bytes], prefix: str = "secagg-") -> None:
        self._mapping = mapping
        self._prefix = prefix

    def _key(self, session: bytes) -> str:
        require_bytes("session", session, SESSION_BYTES)
        return self._prefix + session.hex()

    def get(self, session: bytes) -> bytes | None:
        """See `Store`."""
        key = self._key(session)
        found = self._tried(lambda: self._mapping.get(key))
        if found is None or isinstance(found, bytes):
            return found
        if isinstance(found, bytearray | memoryview):
            return bytes(found)
        raise StateError(
            f"the mapping has a {type(found).__name__} under {key}, not bytes", Code.FOREIGN_FILE
        )

    def put(self, session: bytes, data: bytes) -> None:
        """See `Store`."""
        key = self._key(session)

        def assign() -> None:
            self._mapping[key] = data
            if callable(sync := getattr(self._mapping, "sync", None)):
                sync()

        self._tried(assign)

    def delete(self, session: bytes) -> None:
        """See `Store`."""
        key = self._key(session)

        def remove() -> None:
            with suppress(KeyError):
                del self._mapping[key]

        self._tried(remove)

    def sessions(self) -> list[bytes]:
        """See `Store`."""
        names = self._tried(lambda: list(self._mapping))
        size = len(self._prefix)
        ours = (
            name[size:] for name in names if isinstance(name, str) and name.startswith(self._prefix)
        )
        return [bytes.fromhex(name) for name in ours if _NAME.fullmatch(name)]

    @staticmethod
    def _tried(action: Callable[[], T]) -> T:
        """Returns what an action on the mapping returns; its exceptions become StateError."""
        try:
            return action()
        except Exception as error:
            raise StateError(
                f"the mapping of stored states failed: {described(error)}", Code.IO
            ) from None


class MemoryStore(MappingStore):
    """A store that lasts as long as its process."""

    def __init__(self) -> None:
        super().__init__({})


class FileStore:
    """A store in a folder of its own, one file per session, that only its owner may read.

    A missing folder is made; the folder that it lies in must exist.

    Args:
        path: the folder.

    Raises:
        ParameterError: the path is of another type.
        StateError: the folder cannot be made or used, or other users may write to it or to a
            folder on the way (`secagg/permissions.py`).
    """

    def __init__(self, path: AnyPath) -> None:
        self.path: Final = private_folder(path)
        with usable(self.path):
            for draft in self.path.glob(DRAFTS):  # of processes that died while they wrote
                with suppress(FileNotFoundError):
                    old = time.time() - draft.lstat().st_mtime > _OLD_DRAFT
                    if old and draft.name != LOCK:
                        draft.unlink()

    def _file(self, session: bytes) -> Path:
        require_bytes("session", session, SESSION_BYTES)
        return self.path / session.hex()

    def get(self, session: bytes) -> bytes | None:
        """See `Store`."""
        file = self._file(session)
        with usable(self.path):
            try:
                return file.read_bytes()
            except FileNotFoundError:
                self.path.stat()  # that the folder is there
                return None

    def put(self, session: bytes, data: bytes) -> None:
        """See `Store`."""
        file = self._file(session)
        with (
            usable(self.path),
            atomic_file(file, overwrite=True) as draft,
            open(draft, "xb", opener=lambda path, flags: os.open(path, flags, SECRET.mode)) as out,
        ):
            out.write(data)
            out.flush()
            os.fsync(out.fileno())

    def delete(self, session: bytes) -> None:
        """See `Store`."""
        with usable(self.path):
            self._file(session).unlink(missing_ok=True)

    def sessions(self) -> list[bytes]:
        """See `Store`."""
        with usable(self.path):
            names = [each.name for each in self.path.iterdir()]
        return [bytes.fromhex(name) for name in names if _NAME.fullmatch(name)]

    def __repr__(self) -> str:
        return f"FileStore({str(self.path)!r})"


def private_folder(path: AnyPath) -> Path:
    """Returns a folder that only this user may write to, and makes it (0700) if it is missing.

    Two processes may make it at once.

    Raises:
        ParameterError: the path is of another type.
        StateError: it cannot be made, or others may write to it or to a folder on the way.
    """
    folder = as_path(path)
    with usable(folder):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            wrong = folder if os.path.lexists(folder) else folder.parent
            raise StateError(
                f"{folder}: cannot be used: {wrong} is a file, not a folder", Code.IO
            ) from None
        except FileNotFoundError:
            if str(folder).startswith("~"):  # see `why_failed`
                raise
            raise StateError(
                f"{folder}: cannot be made: there is no folder {folder.parent}; make it first, for "
                "this user",
                Code.IO,
            ) from None
        folder = folder.resolve()
        if reason := why_unsafe(folder / "key", LEDGER):
            raise StateError(f"{folder}: {reason}", Code.PERMISSIONS)
    return folder


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Raises StateError for what the system refuses."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: cannot be used: {why_failed(path, error)}", Code.IO) from None


def read_private(path: Path, limit: int, rule: Rule = SECRET) -> Secret:
    """Reads a file of a home, after checking who else may read or replace it.

    Raises:
        StateError: as `read_file` raises IdentityError.
    """
    try:
        return read_file(path, limit, rule)
    except IdentityError as error:
        raise _as_state_error(error) from None


def write_private(path: Path, content: Secret, *, overwrite: bool) -> bool:
    """Writes a file that only its owner may read, as a whole; returns whether it did.

    Returns:
        False if there was one that was not to be overwritten.

    Raises:
        StateError: as `write_file` raises IdentityError.
    """
    try:
        write_file(path, content, SECRET, overwrite=overwrite)
    except IdentityError as error:
        if error.code is Code.EXISTS:
            return False
        raise _as_state_error(error) from None
    return True


def _as_state_error(error: IdentityError) -> StateError:
    code = Code.CORRUPT if error.code is Code.LIMIT else error.code
    return StateError(error.reason, code)
