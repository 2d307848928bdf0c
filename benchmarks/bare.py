"""Work with nothing around it, to hold other work against."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg import Suite
from secagg.arithmetic import binding
from secagg.arithmetic.field import KEY_BYTES

from .rows import Work

PIECE: Final = 1 << 17  # bytes of keystream a call


def stream(suite: Suite, buffer: NDArray[np.uint8], key: bytes) -> Work:
    """Keystream into a buffer, from its beginning."""
    out, octets = binding.write(buffer), binding.octets(key)
    return lambda: binding.lib.sa_stream(suite, out, buffer.size, octets, 0, 0)


def keystream(suite: Suite, size: int) -> Work:
    """So many bytes of keystream, into a buffer that stays in the second-level cache."""
    once = stream(suite, np.empty(PIECE, np.uint8), bytes(KEY_BYTES))
    return lambda: [once() for _ in range(-(-size // PIECE))]
