"""Work with nothing around it, to hold other work against."""

from typing import Final

import numpy as np

from secagg import Suite, _binding
from secagg.field import KEY_BYTES

from .rows import Work

PIECE: Final = 1 << 17  # bytes of keystream a call


def keystream(suite: Suite, size: int) -> Work:
    """So many bytes of keystream, into a buffer that stays in the second-level cache."""
    buffer = np.empty(PIECE, np.uint8)

    def work() -> None:
        out, key = _binding.write(buffer), _binding.octets(bytes(KEY_BYTES))
        for _ in range(-(-size // PIECE)):
            _binding.lib.sa_stream(suite, out, PIECE, key, 0, 0)

    return work
