"""Compares a client of a small round with the bare cryptography that it runs.

In a small round a client spends its time not on vectors, but on X25519, Ed25519, sealing of shares
and hashing, and on the Python code around them. The client of a recorded round runs once while its
calls of these algorithms are recorded with their arguments. Then these calls alone are timed in
turns with whole clients. Two calls with the same arguments count once.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, Final
from unittest import mock

from nacl import bindings

from secagg import Mode
from secagg.primitives import labels

from .modes import Recording, record
from .rows import Row, compare

CLIENTS: Final = 10
LENGTH: Final = 1000
BOUND: Final = "<= 3"
KINDS: Final = {
    "crypto_scalarmult": "X25519",
    "crypto_scalarmult_base": "X25519",
    "crypto_sign": "Ed25519",
    "crypto_sign_open": "Ed25519",
    "crypto_aead_chacha20poly1305_ietf_encrypt": "AEAD",
    "crypto_aead_chacha20poly1305_ietf_decrypt": "AEAD",
}
HASH: Final = "BLAKE2b"


class BareCalls:
    """The cryptographic calls of one client.

    Attributes:
        count: number of calls by kind of algorithm.
    """

    def __init__(self, recording: Recording) -> None:
        self.count: Counter[str] = Counter()
        self._calls: dict[tuple[Any, ...], Callable[[], object]] = {}
        with ExitStack() as patches:
            for name in KINDS:
                spy = self._spy(KINDS[name], getattr(bindings, name))
                patches.enter_context(mock.patch.object(bindings, name, spy))
            patches.enter_context(mock.patch.object(labels, "_digest", self._digest))
            recording.replay()
        for message in recording.received:  # a client hashes each one, to recognise a repetition
            self._keep(HASH, (message,), partial(hashlib.blake2b, message))

    def _keep(self, kind: str, key: tuple[Any, ...], call: Callable[[], object]) -> None:
        if key not in self._calls:
            self._calls[key] = call
            self.count[kind] += 1

    def _spy(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            self._keep(kind, (function, *arguments), partial(function, *arguments))
            return function(*arguments)

        return called

    def _digest(self, key: bytes, label: labels.Label, parts: tuple[bytes, ...]) -> bytes:
        data = b"".join(len(part).to_bytes(4, "little") + part for part in parts)
        size, person = labels.DIGEST_BYTES, label.value

        def call() -> bytes:
            return hashlib.blake2b(data, digest_size=size, key=key, person=person).digest()

        self._keep(HASH, (key, person, data), call)
        return call()

    def run(self) -> None:
        """Makes all calls."""
        for call in self._calls.values():
            call()


def rows(rounds: int) -> Iterator[Row]:
    """Yields one row of CPU time per mode."""
    for mode in (Mode.MALICIOUS, Mode.SEMI_HONEST):
        recording, _ = record(CLIENTS, LENGTH, mode)
        bare = BareCalls(recording)
        calls = ", ".join(f"{count} {kind}" for kind, count in sorted(bare.count.items()))
        yield compare(
            f"client, {mode} mode, n = {CLIENTS}, m = {LENGTH:,}",
            recording.replay,
            f"bare calls: {calls}",
            bare.run,
            BOUND,
            rounds,
            time.process_time,
        )
