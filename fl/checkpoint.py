"""Checkpoints of a training: a file with which it goes on as if it had not been interrupted.

It holds the model, what optimizer and clients keep between rounds, the attempts on models, and the
reports: arrays of NumPy in a zip file, and JSON. Nothing in it is pickled. It belongs to the
simulation: the states of clients are theirs, and in a real training each keeps its own.
"""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError, StateError
from secagg.numeric import as_float, as_int, brief
from secagg.outputs import check_writable, write_whole

from .history import BufferReport, RoundReport, a_number, an_int, from_json, ints, to_json
from .models import Model
from .optimizers import State

_VERSION: Final = 3
_HEAD: Final = "about"
_DIGEST_BYTES: Final = 32
# What a report of `FedBuff` has more.
_OF_BUFFER: Final[dict[str, Callable[[Any], Any]]] = {
    "time": a_number,
    **dict.fromkeys(("versions", "stale", "restarted", "contributions"), ints),
}
# What to know about a fact that differs.
_ABOUT: Final = {
    "training": "the word of the command line is its options: it does not go on with a file of "
    "FedAvg or FedBuff in Python, nor they with one of its",
    "cohort": "the clients of a round: sample or buffer",
    "max_weight": "the largest number of examples of a client has changed; params= with a round "
    "max_weight of the format keeps it",
}


@contextmanager
def as_whole(path: Path, kind: type[Exception] = Exception) -> Iterator[None]:
    """Takes whatever reading or restoring a file raises for a sign that it is no checkpoint.

    Args:
        path: of the file.
        kind: of the exceptions that are taken so.

    Raises:
        StateError: an exception was raised.
    """
    try:
        yield
    except kind as error:  # what numpy, zipfile or json makes of a hostile file
        raise StateError(
            f"{path}: this is no whole checkpoint ({brief(str(error))}): put back a copy, or "
            "name another file to begin anew",
            Code.CORRUPT,
        ) from None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training after some of its rounds.

    Attributes:
        model: the global model.
        state: of the optimizer.
        changes: how many rounds have changed the model.
        attempts: hexadecimal digests of models, and the numbers of the attempts on each.
        succeeded: digests of the models of which a round had a result.
        clients: what clients keep, by their positions; float64 vectors.
        failed: how many trainings of a client have failed, by its position, if any has.
        reports: of all rounds so far.
        clip: of the next round, if it changes (`AdaptiveClip`); else None.
        opened: the members of a round in which inputs may leave, and of which nothing else is in
            here, its attempt neither; None between rounds.
        pace: of `FedBuff`, as JSON (`Pace.state`); else None.
        models: of `FedBuff`, that clients have: by how often the model had changed.
    """

    model: Model
    state: State
    changes: int
    attempts: Mapping[str, list[int]]
    succeeded: list[str]
    clients: Mapping[int, NDArray[np.float64]]
    failed: Mapping[int, int]
    reports: list[RoundReport]
    clip: float | None = None
    opened: tuple[int, ...] | None = None
    pace: Mapping[str, Any] | None = None
    models: Mapping[int, Model] = field(default_factory=dict)

    def encode(self, training: Mapping[str, Any]) -> bytes:
        """Returns the content of a file.

        Args:
            training: what may not change, by name, such as the optimizer; as JSON.
        """
        arrays: dict[str, NDArray[Any]] = {
            **{f"model {at}": array for at, array in enumerate(self.model)},
            **{f"state {name}": vector for name, vector in self.state.items()},
            **{f"client {at}": vector for at, vector in self.clients.items()},
            **{
                f"old {version} {at}": array
                for version, model in self.models.items()
                for at, array in enumerate(model)
            },
        }
        about = {
            "version": _VERSION,
            "training": dict(training),
            "changes": self.changes,
            "attempts": dict(self.attempts),
            "succeeded": self.succeeded,
            "failed": dict(self.failed),
            "clip": self.clip,
            "opened": self.opened,
            "pace": self.pace,
            "reports": [to_json(each) for each in self.reports],
        }
        arrays[_HEAD] = np.frombuffer(_as_json(about).encode(), np.uint8)
        written = io.BytesIO()
        np.savez(written, allow_pickle=False, **arrays)
        return written.getvalue()

    @classmethod
    def read(cls, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> "Checkpoint":
        """Returns what a file holds; raises an exception of any kind if it is malformed.

        Args:
            about: its JSON.
            arrays: the others, by name.
        """
        groups: dict[str, dict[str, Any]] = {"model": {}, "state": {}, "client": {}, "old": {}}
        for name, array in arrays.items():
            kind, key = name.split(" ", 1)
            groups[kind][key] = array
        models: dict[int, Model] = {}
        for key in groups["old"]:
            version = key.split(" ")[0]
            size = len(groups["model"])
            models[int(version)] = [groups["old"][f"{version} {at}"] for at in range(size)]
        found = cls(
            [groups["model"][str(at)] for at in range(len(groups["model"]))],
            groups["state"],
            an_int(about["changes"]),
            {key: list(ints(used)) for key, used in about["attempts"].items()},
            list(about["succeeded"]),
            {int(at): _vector(vector) for at, vector in groups["client"].items()},
            {int(at): an_int(many) for at, many in about["failed"].items()},
            [_read_report(each) for each in about["reports"]],
            None if about["clip"] is None else float(a_number(about["clip"])),
            None if about["opened"] is None else ints(about["opened"]),
            about["pace"],
            models,
        )
        found._check_counts(about["training"]["clients"])
        return found

    def _check_counts(self, everybody: int) -> None:
        """Raises ValueError if parts of this contradict each other."""
        clients, reports = range(everybody), self.reports
        if any(at not in clients for at in (*self.clients, *self.failed, *(self.opened or ()))):
            raise ValueError("it has a client that the training does not have")
        for number, each in enumerate(reports, 1):
            named = (*each.invited, *each.drops, *each.refusals, *each.refusal_codes)
            if each.round != number or any(at not in clients for at in named):
                raise ValueError(f"report {number} is of another round or client")
            if not set(each.survivors) <= set(each.invited) or each.failed == bool(each.survivors):
                raise ValueError(f"the survivors of report {number} are impossible")
            if isinstance(each, BufferReport):
                sizes = {len(each.versions), len(each.stale)}
                if sizes != {len(each.invited)} or len(each.contributions) != everybody:
                    raise ValueError(f"report {number} is of other clients")
        # Each round that was not given back has used the next attempt on a model, and has a report.
        if any(len(bytes.fromhex(subject)) != _DIGEST_BYTES for subject in self.attempts):
            raise ValueError("the digest of a model has another length")
        if any(used != list(range(len(used))) for used in self.attempts.values()):
            raise ValueError("attempts on a model are not numbered from 0")
        used, changed = (
            sum(map(len, self.attempts.values())),
            sum(not each.failed for each in reports),
        )
        if not self.changes == changed <= used <= len(reports):
            raise ValueError(
                f"{used} attempts and {self.changes} changes of the model do not fit the reports "
                f"of {len(reports)} rounds, of which {changed} did not fail"
            )
        if not set(self.succeeded) <= set(self.attempts) or bool(self.succeeded) != bool(changed):
            raise ValueError("models of which a round had a result have no attempt")


class CheckpointFile:
    """The file of a training, which nobody else may change meanwhile.

    Attributes:
        path: of the file, absolute, without links.

    Args:
        path: as `FedAvg` gets it.
        training: what it must be of; see `facts_of`.

    Raises:
        ParameterError: the path is none, or no file can be written there.
    """

    def __init__(self, path: str | os.PathLike[str], training: Mapping[str, Any]) -> None:
        self.path: Final = _read_path(path)
        self._training = training
        self._seen: tuple[int, ...] | None = None  # the file that this object read or wrote last

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes the file; readers see the old one or the new one, never a part.

        Raises:
            StateError: it cannot be written, or is not the one that was read or written last.
        """
        data = checkpoint.encode(self._training)
        try:
            if _stamp(self.path) not in (None, self._seen):
                raise StateError(
                    f"{self.path}: another process or training has written this checkpoint "
                    f"meanwhile, which stays as it is: let one of the two end; "
                    "then the same call goes on from the file, or name another file",
                    Code.BUSY,
                )
            write_whole(self.path, data)
            self._seen = _stamp(self.path)
        except OSError as error:
            raise StateError(
                f"{self.path}: the checkpoint cannot be written: {error}", Code.IO
            ) from None

    def load(self) -> Checkpoint | None:
        """Reads the file, if it is there.

        Raises:
            StateError: the file cannot be read, is something else, or is no whole checkpoint.
            ParameterError: it is of another training; the message says what differs.
        """
        path = self.path
        try:
            self._seen = _stamp(path)  # before it is read: what comes later is refused by `save`
            if self._seen is None:
                return None
            data = path.read_bytes()
        except OSError as error:
            raise StateError(f"{path}: the checkpoint cannot be read: {error}", Code.IO) from None
        if data and not data.startswith(b"PK"):
            raise StateError(
                f"{path}: this is another file, which begins with {brief(data[:12])}, and no "
                "checkpoint of a training; it stays as it is: name another file",
                Code.FOREIGN_FILE,
            )
        with as_whole(path):
            arrays = _arrays(data)
            about = json.loads(arrays.pop(_HEAD).tobytes()) if _HEAD in arrays else None
            version = None if about is None else about["version"]
        if about is None:
            raise StateError(
                f"{path}: this is an .npz file of something else, with {brief(list(arrays))}, and "
                "no checkpoint of a training; it stays as it is: name another file",
                Code.FOREIGN_FILE,
            )
        if version != _VERSION:
            raise StateError(
                f"{path}: the checkpoint has version {brief(version)} of its format, and this "
                f"version of the library reads {_VERSION}: go on with the library that wrote it, "
                "or name another file to begin anew",
                Code.VERSION,
            )
        with as_whole(path):
            of = dict(about["training"])
        self._check_training(of)
        with as_whole(path):
            return Checkpoint.read(about, arrays)

    def _check_training(self, of: Mapping[str, Any]) -> None:
        """Raises ParameterError unless a file is of this training."""
        wanted = json.loads(_as_json(dict(self._training)))
        for name in {**wanted, **of}:
            if name not in wanted or name not in of or of[name] != wanted[name]:
                was, given = _unlike(of.get(name), wanted.get(name))
                about = f" ({_ABOUT[name]})" if name in _ABOUT else ""
                raise ParameterError(
                    f"{self.path}: the checkpoint is of another training: its {name} is "
                    f"{brief(was)}, not {brief(given)}{about}: give the same, or name another file",
                    Code.ARGUMENT,
                )


def _unlike(one: object, other: object) -> tuple[object, object]:
    """Returns two values, of dicts without the entries that they have in common."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return one, other
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    found = {name: _unlike(one.get(name), other.get(name)) for name in names}
    return (
        {name: was for name, (was, _) in found.items()},
        {name: given for name, (_, given) in found.items()},
    )


def _read_report(found: Mapping[str, Any]) -> RoundReport:
    """Returns a report of `FedAvg` or `FedBuff`; raises an exception for anything else."""
    report = from_json({name: each for name, each in found.items() if name not in _OF_BUFFER})
    if found.keys().isdisjoint(_OF_BUFFER):
        return report
    common = {each.name: getattr(report, each.name) for each in fields(report)}
    return BufferReport(**common, **{name: read(found[name]) for name, read in _OF_BUFFER.items()})


def _arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a file by name; raises an exception of any kind if it is malformed."""
    with zipfile.ZipFile(io.BytesIO(data)) as members:
        listed = members.infolist()
    stored = all(each.compress_type == zipfile.ZIP_STORED for each in listed)
    if not stored or sum(each.file_size for each in listed) > len(data):
        raise ValueError("a member is compressed, or larger than the file")
    with np.load(io.BytesIO(data), allow_pickle=False) as read:
        return {name: read[name] for name in read.files}


def _as_json(value: object) -> str:
    """Returns a text of JSON; numbers of NumPy are numbers."""

    def number(value: object) -> float:
        found = as_float(value) if (whole := as_int(value)) is None else whole
        if found is None:
            raise TypeError(f"{brief(value)} is no number")
        return found

    return json.dumps(value, default=number)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Returns what tells a file from the one that another process puts in its place."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read_path(path: str | os.PathLike[str]) -> Path:
    """Returns an absolute path; raises ParameterError unless a file can be written there."""
    try:
        found = Path(path)
    except TypeError:
        raise ParameterError(
            f"checkpoint must be the path of a file, a str or a Path, not {type(path).__name__}",
            Code.ARGUMENT,
        ) from None
    if not found.name or "\0" in str(found):
        raise ParameterError(
            f"checkpoint must be the path of a file, not {brief(str(path))}: give it a name, "
            "without zero bytes",
            Code.ARGUMENT,
        )
    found = found.absolute()
    check_writable(found)
    if found.exists() and not found.is_file():
        raise ParameterError(f"{found} is no file, which checkpoint must be", Code.IO)
    return found.resolve()  # what is written, also if a link leads there


def _vector(array: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the state of a client; raises ValueError for anything but finite float64 numbers."""
    if array.dtype != np.float64 or array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("the state of a client is no vector of finite float64")
    return array
