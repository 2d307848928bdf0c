"""The counts of a training, in memory or in a file that outlives the process."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from ..codes import Code
from ..encoding.digest import digest
from ..errors import IdentityError, StateError
from ..files import locked_folder, why_failed
from ..identity.files import read_file, write_file
from ..permissions import PINS
from ..primitives.secret import Secret
from .attempts import Attempts
from .one_process import Hold, Shared, hold, shared

_KIND: Final = "secagg rounds"
_VERSION: Final = 1
_BROKEN: Final = "cut short or altered; restore it from a copy"
_LARGEST: Final = 2**26  # bytes: some 600,000 subjects


@dataclass(frozen=True, slots=True)
class OpenRound:
    """A round that was planned and is not closed.

    Attributes:
        number, attempt, names, members: as in `Plan`.
        subject: what it is about without the attempt, 32 bytes as hexadecimal digits.
    """

    number: int
    attempt: int
    subject: str
    names: tuple[str, ...]
    members: tuple[int, ...]


@dataclass(slots=True)
class Counts:
    """The counts that rounds of a training need of those before.

    Attributes:
        attempts: the numbers used, by subject.
        planned: number of rounds so far.
        open: rounds that are not closed, by session.
    """

    attempts: Attempts
    planned: int = 0
    open: dict[bytes, OpenRound] = field(default_factory=dict)


class Keeper:
    """Keeps the counts of one training.

    Args:
        training: its word.
        limit: how many attempts clients take part in, see `Attempts`.
        folder: where the file lies, in a folder `rounds`, one file for each training; None for
            memory only.

    Attributes:
        shared: with the other objects of this process for this training and folder.

    Raises:
        StateError: the file cannot be read or written, other users may replace it, or its content
            is not that of this training.
    """

    def __init__(self, training: str, limit: int, folder: Path | None) -> None:
        self._training = training
        self._limit = limit
        self._lock = threading.Lock()
        self._counts = Counts(Attempts(limit))
        self._file: Path | None = None
        self._hold: Hold | None = None
        self.shared = Shared()
        if folder is not None:
            name = digest("rounds", training).hex()[:16]
            self._file = folder / "rounds" / f"{name}.json"
            self.shared = shared(self._file)
            try:
                self._file.parent.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                self._fail(f"cannot make the folder: {why_failed(self._file, error)}", Code.IO)
            with self.change():
                pass

    @contextmanager
    def change(self) -> Iterator[Counts]:
        """Yields the counts, and stores them on the disk when the block ends without an error.

        The block changes them as its last action. Processes and threads exclude each other.

        Raises:
            StateError: they cannot be read or stored; then they are as before.
        """
        with self._lock:
            if self._file is None:
                yield self._counts
                return
            try:
                with locked_folder(self._file.parent):
                    counts = self._read(self._file)
                    yield counts
                    write_file(self._file, Secret(self._encode(counts)), PINS, overwrite=True)
            except IdentityError as error:  # it names the file
                raise StateError(error.reason, error.code) from None
            except OSError as error:
                self._fail(f"cannot be locked: {why_failed(self._file, error)}", Code.IO)

    def hold(self) -> None:
        """Keeps other processes from calling this, for as long as this process has such an object.

        Raises:
            StateError: another process has called it, and still has one (`busy`).
        """
        if self._file is None:
            return
        try:
            self._hold = hold(self._file.with_suffix(".lock"))
        except TimeoutError:
            raise StateError(
                f"another process plans the rounds of {self._training!r} in {self._file.parent}: "
                "end one of the two, or give each a home and a training of its own",
                Code.BUSY,
            ) from None
        except OSError as error:
            self._fail(f"cannot be locked: {why_failed(self._file, error)}", Code.IO)

    def _fail(self, what: str, code: Code) -> NoReturn:
        raise StateError(f"{self._file}: {what}", code) from None

    def _encode(self, counts: Counts) -> bytes:
        attempts = counts.attempts
        subjects = {
            subject.hex(): {
                "used": sorted(used),
                "succeeded": subject in attempts.succeeded,
                "impossible": subject in attempts.impossible,
                "lost": subject in attempts.lost,
            }
            for subject, used in attempts.used.items()
        }
        content = {
            "kind": _KIND,
            "version": _VERSION,
            "training": self._training,
            "planned": counts.planned,
            "subjects": subjects,
            "open": {session.hex(): asdict(each) for session, each in counts.open.items()},
        }
        return json.dumps(content, indent=0).encode()

    def _read(self, file: Path) -> Counts:
        if not file.exists():
            return Counts(Attempts(self._limit))
        try:
            content = json.loads(read_file(file, _LARGEST, PINS).expose())
        except (ValueError, RecursionError):
            self._fail(_BROKEN, Code.CORRUPT)
        if not isinstance(content, dict) or content.get("kind") != _KIND:
            self._fail("this file is none of secagg's rounds; check the path", Code.FOREIGN_FILE)
        if content.get("version") != _VERSION:
            self._fail(
                f"written in version {content.get('version')!r} of this file, and this library "
                f"reads version {_VERSION}",
                Code.VERSION,
            )
        if content.get("training") != self._training:
            self._fail("this file belongs to another training", Code.FOREIGN_FILE)
        try:
            return self._decoded(content)
        except (KeyError, TypeError, ValueError, AttributeError):
            self._fail(_BROKEN, Code.CORRUPT)

    def _decoded(self, content: dict[str, Any]) -> Counts:
        counts = Counts(Attempts(self._limit), _count(content["planned"]))
        for key, entry in content["subjects"].items():
            subject = _bytes(key, 32)
            for attempt in entry["used"]:
                counts.attempts.use(subject, _count(attempt))
            if entry["succeeded"] is True:
                counts.attempts.succeeded.add(subject)
            if entry.get("impossible") is True:
                counts.attempts.impossible.add(subject)
            if entry.get("lost") is True:
                counts.attempts.lost.add(subject)
        for key, entry in content["open"].items():
            counts.open[_bytes(key, 16)] = OpenRound(
                number=_count(entry["number"]),
                attempt=_count(entry["attempt"]),
                subject=_bytes(entry["subject"], 32).hex(),
                names=tuple(map(_text, entry["names"])),
                members=tuple(map(_count, entry["members"])),
            )
        return counts


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError
    return value


def _bytes(text: str, size: int) -> bytes:
    found = bytes.fromhex(text)
    if len(found) != size:
        raise ValueError
    return found
