"""Leaks that are planted in the library, each of which the leak search must find."""

import base64
import logging
from collections.abc import Callable

import numpy as np
import pytest

from secagg import Client, Once, RangeError, StateError
from secagg.encoding.integers import IntegersCodec
from secagg.machine.sealing import Sealer
from secagg.pairwise.unmasking import AgreeJob
from secagg.primitives.secret import Secret
from secagg.sharing.rebuild_job import RebuildJob

Patch = pytest.MonkeyPatch


def bare_repr(patch: Patch) -> None:
    """Shows a secret in its own repr."""
    patch.setattr(Secret, "__repr__", lambda self: f"<Secret {bytes(self._data)!r}>")


def seed_in_the_log(patch: Patch) -> None:
    """Logs a client's mask seed when it starts, in base64, as an argument that is not printed."""
    true = Client.start

    def start(self: Client) -> bytes:
        seed = base64.b64encode(bytes(self._memory.mask_seed._data)).decode()
        logging.getLogger("secagg").debug("starts%.0s", seed)
        return true(self)

    patch.setattr(Client, "start", start)


def element_in_an_error(patch: Patch) -> None:
    """Says in the codec's error which value is out of range."""
    true = IntegersCodec.encode

    def encode(self: IntegersCodec, values: object, *rest: object) -> object:
        try:
            return true(self, values, *rest)  # type: ignore[arg-type]
        except RangeError as error:
            raise RangeError(f"{error}: {np.asarray(values).ravel()[0]}", error.code) from None

    patch.setattr(IntegersCodec, "encode", encode)


def context_of_an_error(patch: Patch) -> None:
    """Raises a clean error from one that is not."""
    true = IntegersCodec.encode

    def encode(self: IntegersCodec, values: object, *rest: object) -> object:
        try:
            return true(self, values, *rest)  # type: ignore[arg-type]
        except RangeError as error:
            why = ValueError(np.asarray(values).tolist(), error)
            raise RangeError("bad input", error.code) from why

    patch.setattr(IntegersCodec, "encode", encode)


def stored_in_clear(patch: Patch) -> None:
    """Stores state without its seal."""
    true = Sealer.seal
    patch.setattr(Sealer, "seal", lambda self, key, body: true(self, key, body) + body)
    opened = Sealer.open

    def shorter(self: Sealer, key: bytes, stored: bytes) -> object:
        for size in range(62, len(stored)):  # the seal is as long as what follows, and 62 bytes
            if 2 * size - 62 == len(stored):
                return opened(self, key, stored[:size])
        raise StateError("never")

    patch.setattr(Sealer, "open", shorter)


def key_in_the_ledger(patch: Patch) -> None:
    """Claims contributions by the self mask's key."""

    def claim(self: Client, *claim: object) -> None:
        if self._ledger is not None and self._memory.mask_keys:
            self._ledger.claim(Once.CONTRIBUTION, self._memory.mask_keys[0].expose())

    patch.setattr(Client, "_claim", claim)


def job_that_shows(patch: Patch) -> None:
    """Shows keys in the repr of a job, within its event."""
    patch.setattr(AgreeJob, "__repr__", lambda self: f"AgreeJob({self.secrets[3].hex()})")


def seeds_that_show(patch: Patch) -> None:
    """Shows rebuilt seeds in the repr of the job that rebuilds them, within its event."""
    patch.setattr(RebuildJob, "__repr__", lambda self: f"RebuildJob({self.run().seeds})")


def memory_that_shows(patch: Patch) -> None:
    """Shows all fields of a client's memory in its repr, shares and all."""

    def show(self: object) -> str:
        shares = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in getattr(self, "held", {}).items()
        }
        return repr(list(shares.values())) + repr(
            {peer: np.array(row, "<u8").tobytes().hex() for peer, row in shares.items()}
        )

    patch.setattr("secagg.pairwise.memory.ClientMemory.__repr__", show)


LEAKS: dict[str, tuple[Callable[[Patch], None], str]] = {
    "a secret's repr": (bare_repr, "memory.mask_seed"),
    "a seed in a log record": (seed_in_the_log, "randomness in log"),
    "an element in an error": (element_in_an_error, "input 0 in an error"),
    "an element in an error's cause": (context_of_an_error, "input 0 in traceback of RangeError"),
    "an element in a pickled error": (element_in_an_error, "input 0 in pickle of an error"),
    "stored state in clear": (stored_in_clear, "in stored client"),
    "shares in clear": (stored_in_clear, "share in stored client"),
    "a key in the ledger": (key_in_the_ledger, "secret in ledger"),
    "a job's repr": (job_that_shows, "secret in Work"),
    "a rebuilding job's repr": (seeds_that_show, "randomness in Work"),
    "a memory's repr": (memory_that_shows, "memory"),
}
