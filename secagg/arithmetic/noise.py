"""Noise that the core draws and adds to vectors, and exact sums of squares (`native/api.h`)."""

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from . import binding
from .binding import Vector
from .field import KEY_BYTES, Field
from .generators import GENERATORS, Generator, unknown_generator


def add_skellam(
    field: Field, acc: Vector, thresholds: NDArray[np.uint64], generator: Generator, key: bytes
) -> None:
    """Adds independent samples to a vector, modulo p, in place: `sa_skellam_add`.

    Args:
        field: of the vector.
        acc: the vector to change, shape (length,), C-contiguous and writable.
        thresholds: shape (2, count), C-contiguous: the high words of 128-bit thresholds in
            ascending order, then the low words.
        generator: of the keystream from which the samples are drawn.
        key: 32 secret bytes, used for nothing else.

    Raises:
        RangeError: an argument is outside its range; acc is unchanged.
    """
    _check(field, acc, generator, key)
    status = binding.by_lane("skellam_add", acc)(
        binding.write(acc),
        acc.size,
        field.bits,
        binding.read(thresholds),
        thresholds.shape[1],
        generator,
        binding.octets(key),
    )
    binding.check(status, "skellam_add")


def add_gaussian(
    field: Field, acc: Vector, variance_steps: int, generator: Generator, key: bytes
) -> None:
    """Adds independent discrete Gaussians to a vector, modulo p, in place: `sa_gaussian_add`.

    Args and errors are those of `add_skellam`; the variance parameter, in steps of 2**-16, is
    1..2**56.
    """
    _check(field, acc, generator, key)
    status = binding.by_lane("gaussian_add", acc)(
        binding.write(acc),
        acc.size,
        field.bits,
        variance_steps,
        generator,
        binding.octets(key),
    )
    binding.check(status, "gaussian_add")


def _check(field: Field, acc: Vector, generator: Generator, key: bytes) -> None:
    field.require_target(acc)
    if generator not in GENERATORS:
        raise unknown_generator(generator)
    if memoryview(key).nbytes != KEY_BYTES:
        raise RangeError(
            f"a key must have {KEY_BYTES} bytes, not {memoryview(key).nbytes}", Code.ARGUMENT
        )


def sum_squares(vector: Vector, centre: int) -> int:
    """Returns the sum of (vector[i] - centre)**2, exactly.

    Args:
        vector: C-contiguous, of a field's dtype, uint32 or uint64.
        centre: 0..2**62 - 1.

    Raises:
        RangeError: a difference is 2**31 or more in absolute value, or centre outside its range.
    """
    if not 0 <= centre < 2**62:
        raise RangeError(f"centre must be in 0..2**62 - 1, not {centre}", Code.ARGUMENT)
    low, high = binding.ffi.new("uint64_t *"), binding.ffi.new("uint64_t *")
    status = binding.by_lane("sum_squares", vector)(
        low, high, binding.read(vector), vector.size, centre
    )
    binding.check(status, "sum_squares")
    return high[0] << 64 | low[0]
