"""A random rotation of real vectors, and their L2 norm.

After a rotation by random signs and fast Walsh-Hadamard transforms, no coordinate of a vector is
much above norm / sqrt(length), whatever the vector was (Ailon & Chazelle 2009). It keeps the norm,
and takes no padding: a length that is no power of two gets two transforms, which overlap.
`native/api.h` states the steps. All implementations of the core give the same bits.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from ..numeric import as_float, brief
from . import binding
from .field import KEY_BYTES
from .generators import GENERATORS, Generator, unknown_generator

Reals = NDArray[np.float32] | NDArray[np.float64]

_DTYPES: Final = (np.dtype(np.float32), np.dtype(np.float64))


class Rotation:
    """One rotation, for vectors of any length; its signs are public.

    Args:
        generator: of the signs; that of a suite is `Suite.generator`.
        key: 32 bytes, from which the signs are expanded.

    Raises:
        RangeError: there is no such generator, or the key has another length.
    """

    __slots__ = ("_generator", "_key")

    def __init__(self, generator: Generator, key: bytes) -> None:
        if generator not in GENERATORS:
            raise unknown_generator(generator)
        self._generator: Final = generator
        self._key: Final = bytes(memoryview(key))
        if len(self._key) != KEY_BYTES:
            raise RangeError(
                f"the key of a rotation must have {KEY_BYTES} bytes, not {len(self._key)}",
                Code.ARGUMENT,
            )

    def forward(self, x: Reals, factor: float = 1.0) -> None:
        """Rotates a vector in place, and multiplies it by a factor on the way.

        Values are not checked: a NaN or an infinity spreads to all of x. Whoever calls asks `norm`
        before, which refuses them.

        Args:
            x: float32 or float64, shape (d,) with d >= 1, contiguous and writable. Sums are
                rounded to its dtype.
            factor: finite, such as clip / norm.

        Raises:
            RangeError: the array or the factor is another one; x is then unchanged.
        """
        self._turn(x, factor, inverse=False)

    def backward(self, x: Reals, factor: float = 1.0) -> None:
        """Undoes `forward`, up to rounding, and multiplies by a factor; else the same."""
        self._turn(x, factor, inverse=True)

    def _turn(self, x: Reals, factor: float, *, inverse: bool) -> None:
        _check(x)
        if not x.flags.writeable:
            raise RangeError(
                "the array is read-only, and is rotated in place: give a copy of it", Code.BUFFER
            )
        number = as_float(factor)
        if number is None or not math.isfinite(number):
            raise RangeError(f"factor must be a finite number, not {brief(factor)}", Code.ARGUMENT)
        status = binding.by_lane("rotate", x)(
            binding.write(x), x.size, number, inverse, self._generator, binding.octets(self._key)
        )
        binding.check(status, "rotate")


def norm(x: Reals) -> float:
    """Returns the L2 norm of a vector, computed in double precision.

    Args:
        x: float32 or float64, shape (d,) with d >= 1, contiguous; it may be read-only.

    Raises:
        RangeError: the array is another one, a value is NaN or infinite, or the sum of squares is
            beyond all doubles (float64 values around 1e154 and above).
    """
    _check(x)
    found = binding.ffi.new("double *")
    status = binding.by_lane("norm", x)(found, binding.read(x), x.size)
    if status == binding.lib.SA_ERANGE:
        raise RangeError(
            "the norm of a vector is not finite: a value is NaN, infinite or huge; check whether "
            "the training diverged",
            Code.NOT_FINITE,
        )
    binding.check(status, "norm")
    return float(found[0])


def _check(x: Reals) -> None:
    """Rejects an array that the core cannot read in place."""
    if not isinstance(x, np.ndarray) or x.dtype not in _DTYPES:
        kind = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
        raise RangeError(f"the array must be float32 or float64, not {kind}", Code.DTYPE)
    if x.ndim != 1 or x.size == 0:
        raise RangeError(
            f"the array must have one dimension and an element, not the shape {x.shape}", Code.SHAPE
        )
    if not (x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative):
        raise RangeError(
            "the array must be contiguous, aligned and in native byte order: give a copy of it",
            Code.BUFFER,
        )
