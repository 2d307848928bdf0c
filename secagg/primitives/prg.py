"""The two keystream generators, seekable: AES-256-CTR (SP 800-38A) and ChaCha20 (Bernstein 2008).

Masks never pass through here: `Field.accumulate` expands and adds them in the core.
"""

import numpy as np

from ..arithmetic import binding
from ..arithmetic.field import KEY_BYTES, SUITES
from ..codes import Code
from ..errors import RangeError


def stream(suite: int, key: bytes, length: int, nonce: int = 0, counter: int = 0) -> bytes:
    """Keystream from the start of a block.

    Args:
        suite: a `Suite`.
        key: 32 bytes.
        length: bytes wanted.
        nonce: 64-bit number of the stream.
        counter: 64-bit number of the block to begin with (16 bytes for AES, 64 for ChaCha20).

    Raises:
        RangeError: an argument is outside its range.
    """
    if suite not in SUITES:
        raise RangeError(f"there is no suite {suite}", Code.UNSUPPORTED)
    if memoryview(key).nbytes != KEY_BYTES or length < 0:
        raise RangeError(f"a key has {KEY_BYTES} bytes and a length is not negative", Code.ARGUMENT)
    if not (0 <= nonce < 2**64 and 0 <= counter < 2**64):
        raise RangeError("nonce and counter are 64-bit numbers", Code.ARGUMENT)
    out = np.empty(length, np.uint8)
    status = binding.lib.sa_stream(
        suite, binding.write(out), length, binding.octets(key), nonce, counter
    )
    binding.check(status, "stream")
    return out.tobytes()
