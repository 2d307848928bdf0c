"""Linear algebra over F(2^61 - 1), on arrays of uint64 with elements in [0, p).

The shares of one limb at some points are a word of a Reed-Solomon code, if none is wrong.
"""

import os
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import binding
from ..arithmetic.field import Field

BITS: Final = 61
FIELD: Final = Field(BITS)
P: Final = FIELD.modulus

Elements = NDArray[np.uint64]

_P: Final = np.uint64(P)
_1, _30, _31, _61 = (np.uint64(bits) for bits in (1, 30, 31, BITS))
_LOW_30: Final = np.uint64(2**30 - 1)
_LOW_31: Final = np.uint64(2**31 - 1)


def secret_elements(count: int) -> Elements:
    """Draws elements that nobody else can know, from the system's randomness."""
    return FIELD.uniform(os.urandom(32), count, binding.lib.SA_AES256CTR).astype(np.uint64)


def combine(factors: Elements, rows: Elements) -> Elements:
    """Computes the product of two matrices, or of a vector and a matrix.

    Args:
        factors: shape (sums, k), or (k,).
        rows: shape (k, columns).

    Returns:
        The sums of the rows times their factors, shape (sums, columns), or (columns,).
    """
    count, columns = rows.shape
    out = np.empty((*factors.shape[:-1], columns), np.uint64)
    status = binding.lib.sa_shamir_combine(
        binding.write(out),
        binding.read(factors),
        factors.size // max(count, 1),
        binding.read(rows),
        count,
        columns,
    )
    binding.check(status, "shamir_combine")
    return out


def weights(points: Elements) -> Elements:
    """Computes the factors that give a polynomial's value at zero from those at these points."""
    out = np.empty_like(points)
    status = binding.lib.sa_shamir_weights(binding.write(out), binding.read(points), points.size)
    binding.check(status, "shamir_weights")
    return out


def parity(points: Elements, threshold: int) -> Elements:
    """Draws secret factors that give zero for every polynomial of degree below the threshold.

    For any other word of values they give zero with probability 2^-61.
    """
    random = secret_elements(points.size - threshold)
    random[0] |= np.uint64(random[0] == 0)  # never all zero: that would test nothing
    out = np.empty_like(points)
    status = binding.lib.sa_shamir_parity(
        binding.write(out),
        binding.read(points),
        points.size,
        threshold,
        binding.read(random),
    )
    binding.check(status, "shamir_parity")
    return out


def decode(points: Elements, threshold: int, word: Elements) -> NDArray[np.intp] | None:
    """Finds the wrong values of a word, at most half the redundancy; None if there are more."""
    count = points.size
    scratch = np.empty(binding.lib.sa_shamir_decode_scratch(count), np.uint64)
    value, wrong = np.empty(1, np.uint64), np.empty(count, np.uint8)
    status = binding.lib.sa_shamir_decode(
        binding.write(value),
        binding.write(wrong),
        binding.read(points),
        binding.read(word),
        count,
        threshold,
        binding.write(scratch),
    )
    if status == binding.lib.SA_EDECODE:
        return None
    binding.check(status, "shamir_decode")
    return np.flatnonzero(wrong)


def multiply(a: Elements, b: Elements) -> Elements:
    """Computes products element by element; the shapes are broadcast.

    With a = a0 + 2^31 a1 and b likewise, 2^62 a1 b1 = 2 a1 b1 and 2^31 (2^30 m1 + m0) =
    m1 + 2^31 m0, so that the sum of all parts stays below 2^64.
    """
    a0, a1, b0, b1 = a & _LOW_31, a >> _31, b & _LOW_31, b >> _31
    middle = a1 * b0 + a0 * b1
    out: Elements = a0 * b0 + (a1 * b1 << _1) + (middle >> _30) + ((middle & _LOW_30) << _31)
    out = (out & _P) + (out >> _61)
    out -= _P * (out >= _P)
    return out


def inverses(values: Elements) -> Elements:
    """Computes the inverses of elements, none of them zero, with a single inversion.

    It goes back through the products of the elements before each one (Montgomery 1987).
    """
    each = values.tolist()
    before = list(accumulate(each, lambda product, value: product * value % P, initial=1))
    inverse = pow(before.pop(), -1, P)
    out = []
    for value, product in zip(reversed(each), reversed(before), strict=True):
        out.append(inverse * product % P)
        inverse = inverse * value % P
    return elements(reversed(out))


def evaluations(points: Elements, weights: Elements, others: Elements) -> tuple[Elements, Elements]:
    """Computes the factors that give a polynomial's values at other points.

    The polynomial's degree is below the number of points. Lagrange's factor at x for the value at
    x_j is w_j x_j / (x_j - x), up to one factor for each x, which values of 1 reveal.

    Args:
        points, others: distinct from each other.
        weights: of the points, as `weights` gives them.

    Returns:
        Factors f, shape (others, points), and scales s, shape (others,): the sum over j of
        f[i, j] * value(points[j]) is s[i] * value(others[i]).
    """
    away = points.astype(np.int64) - others.astype(np.int64)[:, np.newaxis]
    distances = np.abs(away)
    by_distance = np.zeros(int(distances.max()) + 1, np.uint64)
    by_distance[distances.ravel()] = 1
    used = np.flatnonzero(by_distance)
    by_distance[used] = inverses(used.astype(np.uint64))
    inverse = by_distance[distances]
    inverse = np.where(away < 0, _P - inverse, inverse)
    factors = multiply(inverse, multiply(weights, points))
    low, high = (factors & _LOW_31).sum(axis=1), (factors >> _31).sum(axis=1)
    return factors, elements(
        ((high << 31) + low) % P for low, high in zip(low.tolist(), high.tolist(), strict=True)
    )


def elements(values: Iterable[int]) -> Elements:
    """Returns integers in [0, p) as elements."""
    return np.fromiter(values, np.uint64)
