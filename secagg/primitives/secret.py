"""Secret bytes that are never printed or pickled, and can be wiped."""

import hmac
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from ..codes import Code
from ..errors import ParameterError

_ZEROS: Final = {size: bytes(size) for size in (0, 16, 32)}  # so that wiping allocates nothing


def require_source(random: object) -> None:
    """Raises ParameterError unless the source of randomness can be called."""
    if not callable(random):
        raise ParameterError(
            f"the source of randomness must be a function, not {type(random).__name__}",
            Code.RANDOMNESS,
        )


def draw(random: Callable[[int], bytes], size: int) -> bytes:
    """Draws exactly `size` bytes; raises ParameterError if the source returns anything else."""
    require_source(random)
    data = random(size)
    if not isinstance(data, bytes) or len(data) != size:
        raise ParameterError(
            f"the source of randomness must return {size} bytes when asked for them",
            Code.RANDOMNESS,
        )
    return data


class Secret:
    """A mutable buffer of secret bytes, which its one owner overwrites after the last use.

    Python may make copies while it computes with the bytes (`expose` makes one). Wiping limits the
    life of the long-lived copy, and promises no more.
    """

    __slots__ = ("_data", "_wiped")

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = bytearray()
        self._wiped = False
        if not isinstance(data, bytes | bytearray):
            raise TypeError(f"a secret must be bytes, not {type(data).__name__}")
        self._data += data

    def expose(self) -> bytes:
        """Returns a copy of the bytes, for a primitive to compute with.

        Raises:
            ValueError: the secret was wiped.
        """
        if not self:
            raise ValueError("this secret was wiped")
        return bytes(self._data)

    def wipe(self) -> None:
        """Overwrites the bytes with zeros and removes them; may be called again."""
        # First: if this is interrupted, zero bytes must not be taken for a secret.
        self._wiped = True
        self._data[:] = _ZEROS.get(len(self._data)) or bytes(len(self._data))  # in place
        with suppress(MemoryError):
            self._data.clear()

    def __del__(self) -> None:
        self.wipe()

    def __bool__(self) -> bool:
        return bool(self._data) and not self._wiped

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._data, other._data)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "<Secret>"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("a Secret is neither copied nor pickled")

    __reduce_ex__ = _refuse
    __copy__ = _refuse
    __deepcopy__ = _refuse
