"""Checkpoints of a training: a file with which it goes on as if it had not been interrupted.

It holds the model, what optimizer and clients keep between rounds, the attempts on models, and the
reports: arrays of NumPy in a zip file, and JSON. Nothing in it is pickled. It belongs to the
simulation: the states of clients are theirs, and in a real training each keeps its own.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError, StateError
from secagg.numeric import brief
from secagg.outputs import write_whole

from .history import RoundReport, a_number, an_int, from_json, ints, to_json
from .models import Model
from .optimizers import State

_VERSION: Final = 1
_HEAD: Final = "about"
_DIGEST_BYTES: Final = 32


@contextmanager
def as_whole(path: Path) -> Iterator[None]:
    """Takes whatever reading or restoring a file raises for a sign that it is no checkpoint.

    Raises:
        StateError: an exception was raised.
    """
    try:
        yield
    except Exception as error:  # what numpy, zipfile, json or a client makes of a hostile file
        raise StateError(
            f"{path}: this is no whole checkpoint ({brief(str(error))}): put back a copy, or "
            "name another file to begin anew",
            Code.CORRUPT,
        ) from None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a training after some of its rounds.

    Attributes:
        training: what may not change, by name, such as the optimizer; as JSON.
        model: the global model.
        state: of the optimizer.
        changes: how many rounds have changed the model.
        attempts: hexadecimal digests of models, and the numbers of the attempts on each.
        succeeded: digests of the models of which a round had a result.
        clients: what clients keep, by their positions; float64 vectors.
        reports: of all rounds so far.
        clip: of the next round, if it changes (`AdaptiveClip`); else None.
        opened: the members of a round in which inputs may leave, and of which nothing else is in
            here, its attempt neither; None between rounds.
    """

    training: Mapping[str, Any]
    model: Model
    state: State
    changes: int
    attempts: Mapping[str, list[int]]
    succeeded: list[str]
    clients: Mapping[int, NDArray[np.float64]]
    reports: list[RoundReport]
    clip: float | None = None
    opened: tuple[int, ...] | None = None

    def save(self, path: Path) -> None:
        """Writes the file; readers see the old one or the new one, never a part.

        Raises:
            StateError: it cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {
            **{f"model {at}": array for at, array in enumerate(self.model)},
            **{f"state {name}": vector for name, vector in self.state.items()},
            **{f"client {at}": vector for at, vector in self.clients.items()},
        }
        about = {
            "version": _VERSION,
            "training": dict(self.training),
            "changes": self.changes,
            "attempts": dict(self.attempts),
            "succeeded": self.succeeded,
            "clip": self.clip,
            "opened": self.opened,
            "reports": [to_json(each) for each in self.reports],
        }
        arrays[_HEAD] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        written = io.BytesIO()
        np.savez(written, allow_pickle=False, **arrays)
        try:
            write_whole(path, written.getvalue())
        except OSError as error:
            raise StateError(
                f"{path}: the checkpoint cannot be written: {error}", Code.IO
            ) from None

    @classmethod
    def load(cls, path: Path, training: Mapping[str, Any]) -> "Checkpoint":
        """Reads the file of a training.

        Args:
            path: of the file.
            training: what it must be of.

        Raises:
            StateError: the file cannot be read, or is no whole checkpoint.
            ParameterError: it is of another training; the message says what differs.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StateError(f"{path}: the checkpoint cannot be read: {error}", Code.IO) from None
        with as_whole(path):
            found = cls._read(data)
        found._check_training(path, training)
        with as_whole(path):
            found._check_counts()
        return found

    @classmethod
    def _read(cls, data: bytes) -> "Checkpoint":
        """Returns what a file holds; raises an exception of any kind if it is malformed."""
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            listed = members.infolist()
        stored = all(each.compress_type == zipfile.ZIP_STORED for each in listed)
        if not stored or sum(each.file_size for each in listed) > len(data):
            raise ValueError("a member is compressed, or larger than the file")
        with np.load(io.BytesIO(data), allow_pickle=False) as read:
            arrays = {name: read[name] for name in read.files}
        about = json.loads(arrays.pop(_HEAD).tobytes())
        if about["version"] != _VERSION:
            raise ValueError(f"version {brief(about['version'])}, not {_VERSION}")
        groups: dict[str, dict[str, NDArray[Any]]] = {"model": {}, "state": {}, "client": {}}
        for name, array in arrays.items():
            kind, key = name.split(" ", 1)
            groups[kind][key] = array
        return cls(
            dict(about["training"]),
            [groups["model"][str(at)] for at in range(len(groups["model"]))],
            groups["state"],
            an_int(about["changes"]),
            {key: list(ints(used)) for key, used in about["attempts"].items()},
            list(about["succeeded"]),
            {int(at): _vector(vector) for at, vector in groups["client"].items()},
            [from_json(each) for each in about["reports"]],
            None if about["clip"] is None else float(a_number(about["clip"])),
            None if about["opened"] is None else ints(about["opened"]),
        )

    def _check_training(self, path: Path, training: Mapping[str, Any]) -> None:
        """Raises ParameterError unless this is of the same training."""
        wanted = json.loads(json.dumps(dict(training)))
        for name in {**wanted, **self.training}:
            found = self.training.get(name)
            if name not in wanted or name not in self.training or found != wanted[name]:
                raise ParameterError(
                    f"{path}: the checkpoint is of another training: its {name} is "
                    f"{brief(found)}, not {brief(wanted.get(name))}; name another file",
                    Code.ARGUMENT,
                )

    def _check_counts(self) -> None:
        """Raises ValueError if parts of this contradict each other."""
        clients, reports = range(self.training["clients"]), self.reports
        if any(at not in clients for at in (*self.clients, *(self.opened or ()))):
            raise ValueError("it has a client that the training does not have")
        for number, each in enumerate(reports, 1):
            named = (*each.invited, *each.drops, *each.refusals, *each.refusal_codes)
            if each.round != number or any(at not in clients for at in named):
                raise ValueError(f"report {number} is of another round or client")
            if not set(each.survivors) <= set(each.invited) or each.failed == bool(each.survivors):
                raise ValueError(f"the survivors of report {number} are impossible")
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


def _vector(array: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the state of a client; raises ValueError for anything but finite float64 numbers."""
    if array.dtype != np.float64 or array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError("the state of a client is no vector of finite float64")
    return array
