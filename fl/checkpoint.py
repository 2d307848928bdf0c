"""Checkpoints of a training: a file with which it goes on as if it had not been interrupted.

It holds the model, what optimizer and clients keep between rounds, the attempts on models, and the
reports: arrays of NumPy in a zip file, and JSON. Nothing in it is pickled. It belongs to the
simulation: the states of clients are theirs, and in a real training each keeps its own.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from secagg import Code, ParameterError, StateError
from secagg.numeric import brief
from secagg.outputs import write_whole

from .history import RoundReport, from_json, to_json
from .models import Model
from .optimizers import State

_VERSION: Final = 1
_HEAD: Final = "about"
_MALFORMED: Final = (EOFError, KeyError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a training is after some of its rounds.

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
            with path.open("rb") as file, np.load(file, allow_pickle=False) as read:
                arrays = {name: read[name] for name in read.files}
            about = json.loads(arrays.pop(_HEAD).tobytes())
            if about["version"] != _VERSION:
                raise ValueError(f"version {brief(about['version'])}, not {_VERSION}")
            groups: dict[str, dict[str, NDArray[Any]]] = {"model": {}, "state": {}, "client": {}}
            for name, array in arrays.items():
                kind, key = name.split(" ", 1)
                groups[kind][key] = array
            found = cls(
                about["training"],
                [groups["model"][str(at)] for at in range(len(groups["model"]))],
                groups["state"],
                int(about["changes"]),
                {str(key): [int(each) for each in used] for key, used in about["attempts"].items()},
                [str(each) for each in about["succeeded"]],
                {int(at): vector for at, vector in groups["client"].items()},
                [from_json(each) for each in about["reports"]],
                None if about["clip"] is None else float(about["clip"]),
            )
        except OSError as error:
            raise StateError(f"{path}: the checkpoint cannot be read: {error}", Code.IO) from None
        except (*_MALFORMED, zipfile.BadZipFile) as error:
            raise StateError(
                f"{path}: this is no whole checkpoint ({brief(str(error))}): put back a copy, or "
                "name another file to begin anew",
                Code.CORRUPT,
            ) from None
        found.check(path, training)
        return found

    def check(self, path: Path, training: Mapping[str, Any]) -> None:
        """Raises ParameterError unless this is of the same training."""
        if self.training == (wanted := json.loads(json.dumps(dict(training)))):
            return
        for name, value in wanted.items():
            if self.training.get(name) != value:
                raise ParameterError(
                    f"{path}: the checkpoint is of another training: its {name} is "
                    f"{brief(self.training.get(name))}, not {brief(value)}; name another file",
                    Code.ARGUMENT,
                )
