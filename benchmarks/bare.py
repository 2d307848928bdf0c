"""Bare work, with nothing around it: a reference for other measurements."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg.arithmetic import binding
from secagg.arithmetic.field import KEY_BYTES
from secagg.arithmetic.generators import Generator

from .rows import Work

PIECE: Final = 1 << 17  # bytes of keystream per call


def stream(generator: Generator, buffer: NDArray[np.uint8], key: bytes) -> Work:
    """Returns work that fills a buffer with keystream, from its first byte."""
    out, octets = binding.write(buffer), binding.octets(key)
    return lambda: binding.lib.sa_stream(generator, out, buffer.size, octets, 0, 0)


def keystream(generator: Generator, size: int) -> Work:
    """Returns work that generates `size` bytes of keystream, in the second-level cache."""
    once = stream(generator, np.empty(PIECE, np.uint8), bytes(KEY_BYTES))
    return lambda: [once() for _ in range(-(-size // PIECE))]
