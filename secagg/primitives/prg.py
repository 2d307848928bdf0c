"""Seekable keystream of AES-256-CTR (SP 800-38A) and ChaCha20 (Bernstein 2008).

Masks are not made here: `Field.accumulate` expands and adds them in the core.
"""

import numpy as np

from ..arithmetic import binding
from ..arithmetic.field import KEY_BYTES
from ..arithmetic.generators import GENERATORS, Generator, unknown_generator
from ..codes import Code
from ..errors import RangeError


def stream(
    generator: Generator, key: bytes, length: int, nonce: int = 0, counter: int = 0
) -> bytes:
    """Returns `length` bytes of keystream from the start of a block.

    Args:
        generator: of the keystream; that of a suite is `Suite.generator`.
        key: 32 bytes.
        length: number of bytes.
        nonce: 64-bit number of the stream.
        counter: 64-bit number of the first block; the generator decides the size of blocks (AES:
            16 bytes, ChaCha20: 64).

    Raises:
        RangeError: an argument is outside its range.
    """
    if generator not in GENERATORS:
        raise unknown_generator(generator)
    if memoryview(key).nbytes != KEY_BYTES or length < 0:
        raise RangeError(
            f"a key must have {KEY_BYTES} bytes, and the length must not be negative", Code.ARGUMENT
        )
    if not (0 <= nonce < 2**64 and 0 <= counter < 2**64):
        raise RangeError("nonce and counter must be in 0..2**64 - 1", Code.ARGUMENT)
    out = np.empty(length, np.uint8)
    status = binding.lib.sa_stream(
        generator, binding.write(out), length, binding.octets(key), nonce, counter
    )
    binding.check(status, "stream")
    return out.tobytes()
