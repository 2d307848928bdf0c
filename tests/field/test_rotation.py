"""The rotation of real vectors: its steps by dense matrices, its inverse, bounds and refusals."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import arithmetic
from refusals import refused
from support import UNKNOWN_GENERATOR, implementations, looped

from secagg import Code, RangeError, Suite
from secagg.arithmetic.binding import ffi, lib, octets, write
from secagg.arithmetic.implementations import forced
from secagg.arithmetic.rotation import Rotation, norm
from secagg.primitives.prg import stream

KEY = bytes(range(50, 82))
AES = Suite.AES256CTR
# Around registers, groups of 64 signs and blocks of 4096; powers of two and of four, and others.
LENGTHS = (*range(1, 71), 127, 128, 650, 1024, 1100, 4095, 4096, 4097, 9610, 2**17 + 3)
REALS = (np.float32, np.float64)

both_reals = looped("dtype", REALS)


def hadamard(size: int) -> NDArray[np.float64]:
    """The matrix with the entries (-1)^(number of ones in i & j)."""
    numbers = np.arange(size)
    common = numbers[:, None] & numbers
    for shift in (8, 4, 2, 1):
        common ^= common >> shift
    return 1.0 - 2.0 * (common & 1)


def transformed(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """H x for a power of two, as (A kron B) x = A X B; exact for integers."""
    rows = 1 << (x.size.bit_length() - 1) // 2
    left, right = hadamard(rows), hadamard(x.size // rows)
    return (left @ x.reshape(rows, -1) @ right).ravel()


@cache
def signs(length: int, nonce: int, suite: Suite) -> NDArray[np.float64]:
    """The signs of the coordinates: those of the reference model's stream."""
    data = arithmetic.stream(suite, KEY, nonce, 0, (length + 7) // 8)
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=length, bitorder="little")
    return 1.0 - 2.0 * bits


def rotated(x: NDArray[np.float64], factor: float, suite: Suite) -> NDArray[np.float64]:
    """The steps of native/api.h."""
    power = 1 << x.size.bit_length() - 1
    y = x * factor * signs(x.size, 0, suite)
    y[:power] = transformed(y[:power]) / math.sqrt(power)
    if power < x.size:
        y *= signs(x.size, 1, suite)
        y[-power:] = transformed(y[-power:]) / math.sqrt(power)
    return y


def integers(length: int) -> NDArray[np.float64]:
    return np.random.default_rng(length).integers(-7, 8, length).astype(np.float64)


@cache
def modelled(length: int, suite: Suite) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An input, and the model's result for the factor 1/2."""
    x = integers(length)
    return x, rotated(x, 0.5, suite)


@cache
def by_portable(length: int, dtype: type) -> bytes:
    """The bits that the portable implementation makes of values that are rounded everywhere."""
    with forced("rotate", "portable"):
        x = np.random.default_rng(length).normal(0, 1, length).astype(dtype)
        Rotation(AES.generator, KEY).forward(x, 0.3)
        return x.tobytes()


@implementations("rotate")
@both_reals
def test_every_length_by_the_matrices_and_back(implementation: str, dtype: type) -> None:
    """Results are those of the steps, of one norm, undone by the inverse, and equal on all kernels.

    With integers and a power of four no result is rounded, so not one bit may differ.
    """
    rotation, epsilon = Rotation(AES.generator, KEY), float(np.finfo(dtype).eps)
    for length in LENGTHS:
        x, wanted = modelled(length, AES)
        y = x.astype(dtype)
        rotation.forward(y, 0.5)
        size = math.sqrt((x**2).mean())
        if (length.bit_length() - 1) % 2 == 0:
            assert y.tolist() == wanted.tolist()
        np.testing.assert_allclose(y, wanted, rtol=0, atol=16 * epsilon * size)
        assert norm(y) == pytest.approx(norm(x) / 2, rel=2 * epsilon)
        rotation.backward(y, 2)
        np.testing.assert_allclose(y, x, rtol=0, atol=16 * epsilon * size)
        z = np.random.default_rng(length).normal(0, 1, length).astype(dtype)
        rotation.forward(z, 0.3)
        assert z.tobytes() == by_portable(length, dtype)


@looped("suite", Suite)
def test_signs_are_bits_of_the_stream(suite: Suite) -> None:
    """Bit j of byte i at nonce 0 is the sign of coordinate 8 i + j, and those at nonce 1 follow."""
    x = np.ones(1024)
    Rotation(suite.generator, KEY).forward(x)
    bits = np.unpackbits(
        np.frombuffer(stream(suite.generator, KEY, 128), np.uint8), bitorder="little"
    )
    assert (transformed(x) / 32).tolist() == (1.0 - 2.0 * bits).tolist()
    y, wanted = modelled(1100, suite)
    y = y.copy()
    Rotation(suite.generator, KEY).forward(y, 0.5)
    assert y.tolist() == wanted.tolist()


@looped("length, bound", [(2**16, 1.001), (3 * 2**14, 6), (2**16 + 9, 6), (2**17 - 1, 6)])
def test_a_spike_is_flattened(length: int, bound: float) -> None:
    """Wherever it is: flat after one transform, and after two as normal values are, or flatter."""
    for seed, at in enumerate((0, length // 2, length - 1, length // 3)):
        x = np.zeros(length, np.float32)
        x[at] = -3.0
        Rotation(AES.generator, bytes([seed]) * 32).forward(x)
        assert np.abs(x).max() < 3 * bound / math.sqrt(length)


@looped("length", [2**16, 2**17 - 1])
def test_nothing_is_left_of_a_pattern(length: int) -> None:
    """Coordinates of a vector with a pattern look as independent normal ones: 4.5 is rare."""
    x = np.resize(np.array([1, 1, 0, -2, 1, 5], np.float32), length)
    size = norm(x) / math.sqrt(length)
    Rotation(AES.generator, KEY).forward(x)
    assert 3.8 * size < np.abs(x).max() < 6 * size
    assert (x**4).mean() == pytest.approx(3 * size**4, rel=0.1)
    assert abs(x.mean()) < 0.02 * size


@looped("length", [37, 2**15])
def test_a_factor_far_from_one_loses_nothing(length: int) -> None:
    """The factor is applied in double precision: 1e-41 by the root of P is no good float32."""
    x = np.full(length, 3e38, np.float32)
    y = x / np.float32(3e38)
    Rotation(AES.generator, KEY).forward(x, 1e-41)
    Rotation(AES.generator, KEY).forward(y, 3e-3)
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-8)


@implementations("rotate")
def test_the_norm(implementation: str) -> None:
    """It does not overflow in float32, is exact for integers, and refuses what is not finite."""
    for length in (*range(1, 40), 1000):
        x = integers(length)
        for real in REALS:
            assert norm(x.astype(real)) == math.sqrt((x**2).sum())
            for bad in (np.nan, np.inf, -np.inf):
                y = x.astype(real)
                y[length // 2] = bad
                with refused(RangeError, Code.NOT_FINITE, "norm of a vector is not finite"):
                    norm(y)
    huge = np.full(4, 3e38, np.float32)
    huge.flags.writeable = False
    assert norm(huge) == 2 * float(huge[0])
    with refused(RangeError, Code.NOT_FINITE, "huge"):
        norm(np.full(4, 1e154))


def odd_arrays() -> dict[str, tuple[object, Code]]:
    whole = np.ones(8)
    readonly = np.ones(8)
    readonly.flags.writeable = False
    unaligned = np.zeros(65, np.uint8)[1:].view(np.float64)
    return {
        "a list": ([1.0], Code.DTYPE),
        "integers": (np.ones(8, np.int64), Code.DTYPE),
        "half": (np.ones(8, np.float16), Code.DTYPE),
        "swapped": (np.ones(8, np.dtype(np.float64).newbyteorder()), Code.DTYPE),
        "two dimensions": (whole.reshape(2, 4), Code.SHAPE),
        "none": (np.ones(()), Code.SHAPE),
        "empty": (np.ones(0), Code.SHAPE),
        "strided": (whole[::2], Code.BUFFER),
        "unaligned": (unaligned, Code.BUFFER),
        "read-only": (readonly, Code.BUFFER),
    }


@looped("name", odd_arrays())
def test_other_arrays_are_refused(name: str) -> None:
    array, code = odd_arrays()[name]
    rotation = Rotation(AES.generator, KEY)
    calls: list[Callable[[NDArray[np.float64]], object]] = [rotation.forward, rotation.backward]
    for call in calls + [norm] * (name != "read-only"):
        before = np.array(array)
        with refused(RangeError, code, "the array"):
            call(array)  # type: ignore[arg-type]
        assert np.array_equal(before, np.array(array))


def test_other_arguments_are_refused() -> None:
    x = np.ones(8)
    for factor in (math.nan, math.inf, -math.inf, "1", None, 1j):
        with refused(RangeError, Code.ARGUMENT, "factor must be a finite number"):
            Rotation(AES.generator, KEY).forward(x, factor)  # type: ignore[arg-type]
    assert x.tolist() == [1.0] * 8
    with refused(RangeError, Code.ARGUMENT, "must have 32 bytes, not 31"):
        Rotation(AES.generator, KEY[1:])
    with refused(RangeError, Code.UNSUPPORTED, "no generator"):
        Rotation(UNKNOWN_GENERATOR, KEY)


def test_the_core_refuses_by_itself() -> None:
    x, found = np.ones(8, np.float32), ffi.new("double *", 5.0)
    key, null = octets(KEY), ffi.NULL  # type: ignore[attr-defined]
    good = (write(x), 8, 1.0, 0, AES.generator, key)
    for place, bad in (
        (0, null),
        (1, 2**62),
        (2, math.nan),
        (2, math.inf),
        (3, 2),
        (4, 99),
        (5, null),
    ):
        wrong = [*good[:place], bad, *good[place + 1 :]]
        assert lib.sa_rotate_f32(*wrong) == lib.SA_EARG  # type: ignore[attr-defined]
    assert lib.sa_norm_f32(found, null, 1) == lib.SA_EARG  # type: ignore[attr-defined]
    assert lib.sa_norm_f32(null, write(x), 1) == lib.SA_EARG  # type: ignore[attr-defined]
    assert lib.sa_rotate_f32(null, 0, 1.0, 0, AES.generator, key) == lib.SA_OK  # type: ignore[attr-defined]
    x[3] = np.inf
    assert lib.sa_norm_f32(found, write(x), 8) == lib.SA_ERANGE  # type: ignore[attr-defined]
    assert x[:3].tolist() == [1.0] * 3
    assert found[0] == 5.0
