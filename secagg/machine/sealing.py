"""Stored state as sealed bytes, from which another process can continue.

It is sealed with ChaCha20-Poly1305 under a key that is derived from a local key and a random id,
and so used once. Stored state is not a wire format: only the version of the library that wrote it
needs to read it, and each kind has a layout with its own version number.
"""

import os
from dataclasses import dataclass
from typing import Final

from ..codes import Code
from ..errors import SERVER, ParameterError, StateError
from ..primitives import seal
from ..primitives.labels import Label, kdf
from .wire import Reader, u8

KEY_BYTES: Final = 32
ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals and opens one kind of stored state.

    Attributes:
        kind: its name, with which the stored bytes begin.
        layout: version of the layout of its body, 0..255.
    """

    kind: str
    layout: int

    @property
    def _prefix(self) -> bytes:
        return self.kind.encode() + u8(self.layout)

    def seal(self, key: bytes, body: bytes) -> bytes:
        """Returns the bytes to store; raises ParameterError unless the key has 32 bytes."""
        head = self._prefix + os.urandom(ID_BYTES)
        return head + seal.seal(_derive(key, head), body, head)

    def open(self, key: bytes, stored: bytes) -> tuple[bytes, Reader]:
        """Opens stored bytes; returns their random id and a reader of the body.

        Raises:
            StateError: the bytes are something else, of another layout, altered, or sealed under
                another key.
            ParameterError: the key does not have 32 bytes.
        """
        if not isinstance(stored, bytes) or not stored.startswith(self.kind.encode()):
            raise StateError(f"these bytes are not a stored {self.kind}", Code.FOREIGN_FILE)
        if not stored.startswith(self._prefix):
            raise StateError(
                f"this {self.kind} was stored by another version of the library: resume it with "
                "that version",
                Code.VERSION,
            )
        size = len(self._prefix) + ID_BYTES
        head = stored[:size]
        body = seal.unseal(_derive(key, head), stored[size:], head)
        if body is None:
            raise StateError(
                f"the stored {self.kind} does not open: it was sealed under another key, or the "
                "bytes were altered",
                Code.WRONG_KEY,
            )
        return head[len(self._prefix) :], Reader(body, SERVER)


def _derive(key: bytes, head: bytes) -> bytes:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ParameterError(f"the key of stored state must be {KEY_BYTES} bytes", Code.ARGUMENT)
    return kdf(key, Label.STORED_STATE, head)
