"""Skellam noise: the difference of two independent Poisson numbers of the same mean.

Sums of Skellam noise are Skellam noise, whoever is left to add, so a cohort's noise is known as
soon as its number of honest survivors is (Agarwal, Kairouz & Liu 2021, arXiv 2110.04995).

A sample is found in a table of its distribution: |X| is the number of thresholds that are at most a
uniform 128-bit number, the sign is apart. Thresholds are computed by integers alone, from
P(X = k) = exp(-v) I_k(v) and the recurrence of the Bessel functions I_(k-1) = I_(k+1) + (2k / v)
I_k, downwards, in which errors shrink. What is far too small to be a threshold begins it; the
probabilities are divided by their sum at the end. Each is right to about 2^-129.

Up to a standard deviation of about 110 (1,024 thresholds that differ in their first 64 bits) every
one is compared with, and neither the time nor an address in memory depends on what is drawn. Beyond
that a binary search takes a fixed time, but reads the table at secret addresses: a program that
shares the CPU's caches may learn something about the noise (docs/SECURITY.md).
"""

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..arithmetic.generators import Generator
from ..arithmetic.noise import add_skellam
from ..codes import Code
from ..errors import NativeError
from ..params.rotated import Noise
from .steps import require_steps

STEP_BITS: Final = 16  # variances are in steps of 2^-16

_BITS: Final = 128  # of thresholds
# P(X >= k) is below 2^-_START_BITS where the recurrence begins, with _GUARD_BITS bits. Begun there,
# it is off by less than 2^-190 at any threshold. A division that is rounded down changes all values
# below by less than their share of the first one; there are at most 2^21 divisions.
_START_BITS: Final = 160
_GUARD_BITS: Final = 192


class Skellam:
    """Skellam noise of one variance.

    Args:
        variance_steps: the variance of a sample in steps of 2**-16, 1..2**50: a standard deviation
            of up to 2**17 = 131,072. The table takes about 210 bytes for each unit of the standard
            deviation (0.3 MB at 1,638, 28 MB at most), and about 11 us to make it (20 ms at 1,638;
            1.4 s at most, and 160 MB meanwhile). Objects of one variance share it.

    Attributes:
        thresholds: shape (2, count), read-only: high and low words of the thresholds.

    Raises:
        ParameterError: the variance is outside its range.
    """

    __slots__ = ("thresholds", "variance_steps")

    def __init__(self, variance_steps: int) -> None:
        steps = require_steps(
            Noise.SKELLAM, "Skellam", variance_steps, ", or the discrete Gaussian"
        )
        self.variance_steps: Final = steps
        self.thresholds: Final = _thresholds(steps)

    def add(self, field: Field, vector: Vector, generator: Generator, key: bytes) -> None:
        """Adds one independent sample to each element, modulo p, in place.

        Args:
            field: of the vector.
            vector: shape (length,), C-contiguous and writable.
            generator: of the keystream; that of a suite is `Suite.generator`.
            key: 32 secret random bytes, used for nothing else.

        Raises:
            RangeError: an argument is outside its range; the vector is unchanged.
        """
        add_skellam(field, vector, self.thresholds, generator, key)


@lru_cache(maxsize=4)
def _thresholds(steps: int) -> NDArray[np.uint64]:
    """Returns the thresholds of |X| as words, shape (2, count).

    Raises:
        NativeError: the table has another variance; it is a bug of the library.
    """
    one, size = 1 << _BITS, _BITS // 8
    squares, octets = 0, bytearray()
    for k, tail in enumerate(_tails(steps)):
        squares += (2 * k + 1) * tail  # the sum of (2k + 1) P(|X| > k) is E[X^2]
        octets += (one - tail).to_bytes(size, "little")
    count = len(octets) // size
    # Each rounding is at most half a unit, and so is all that is left out.
    if abs((squares << STEP_BITS) - (steps << _BITS)) > (count + 1) ** 2 << STEP_BITS:
        raise NativeError(
            f"the table of Skellam noise of {steps} steps has another variance: do not use it",
            Code.NATIVE,
        )
    words = np.frombuffer(octets, "<u8").reshape(count, 2)
    table = np.ascontiguousarray(words[:, ::-1].T, np.uint64)
    table.flags.writeable = False
    return table


def _tails(steps: int) -> Iterator[int]:
    """Yields P(|X| > k) for k = 0, 1, ..., rounded to units of 2^-128, as long as it is not 0."""
    above, here, beyond = 0, 1 << _GUARD_BITS, 0
    sums = []
    for k in range(_start(steps), 0, -1):
        sums.append(beyond)
        beyond += here
        above, here = here, above + (here * k << STEP_BITS + 1) // steps
    sums.append(beyond)
    total = 2 * beyond + here
    while tail := ((sums.pop() << _BITS + 2) // total + 1) >> 1:
        yield tail


def _start(steps: int) -> int:
    """Returns a k with P(X >= k) < 2^-160, by Chernoff's bound; how near does not matter."""
    variance = steps / 2**STEP_BITS
    k = 8

    def bits(k: int) -> float:
        exponent = k * k / (math.hypot(variance, k) + variance) - k * math.asinh(k / variance)
        return exponent / math.log(2)

    while bits(k) > -_START_BITS:
        k += k // 8
    return k
