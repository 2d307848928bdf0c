"""A model as bytes of a length that its layout alone decides: bare numbers, little-endian."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from .arrays import plain, plain_dtype
from .ranges import Slot


def length_of(slots: Sequence[Slot]) -> int:
    """Returns the number of bytes of all arrays; raises RangeError for one of long doubles."""
    return sum(slot.size * _encoded(slot).itemsize for slot in slots)


def written(slots: Sequence[Slot], arrays: Iterable[NDArray[np.generic]]) -> bytes:
    """Returns the numbers of arrays in the dtypes of their slots, one after the other."""
    data = np.empty(length_of(slots), np.uint8)
    start = 0
    for slot, array in zip(slots, arrays, strict=True):
        dtype = _encoded(slot)
        flat = array.reshape(-1)
        flat = flat.view(dtype.newbyteorder("=")) if _is_foreign(slot) else plain(flat)
        end = start + flat.size * dtype.itemsize
        data[start:end] = flat.astype(dtype).view(np.uint8)
        start = end
    return data.tobytes()


def read(slots: Sequence[Slot], data: bytes | bytearray | memoryview) -> list[NDArray[np.generic]]:
    """Returns what `written` wrote, as views of the bytes where the dtype is NumPy's own.

    Raises:
        RangeError: there are more bytes or fewer, or they are not contiguous in memory.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise RangeError(
            f"a model as bytes is needed, not of the type {type(data).__name__}", Code.DTYPE
        )
    length, view = length_of(slots), memoryview(data)
    if not view.c_contiguous:
        raise RangeError(
            "a model as bytes must be contiguous in memory: give `bytes(data)` of such a view",
            Code.LAYOUT,
        )
    if view.nbytes != length:
        raise RangeError(
            f"a model of this layout has {length} bytes, not {view.nbytes}", Code.LAYOUT
        )
    octets, start = np.frombuffer(data, np.uint8) if length else np.empty(0, np.uint8), 0
    arrays: list[NDArray[np.generic]] = []
    for slot in slots:
        dtype = _encoded(slot)
        end = start + slot.size * dtype.itemsize
        array: NDArray[np.generic] = octets[start:end].view(dtype)
        if _is_foreign(slot):
            array = array.astype(dtype.newbyteorder("=")).view(slot.dtype)
        arrays.append(array.reshape(slot.shape))
        start = end
    return arrays


def _is_foreign(slot: Slot) -> bool:
    """Returns whether numbers are floats of another package, such as bfloat16."""
    return slot.dtype.isbuiltin == 2 and slot.is_float


def _encoded(slot: Slot) -> np.dtype[np.generic]:
    """Returns the dtype of numbers as bytes: their bits, or a byte for small integers and bools."""
    slot.require(
        slot.dtype.itemsize <= 8,
        f"has dtype {slot.dtype}, and bytes take at most 64 bits per number; convert it",
        Code.DTYPE,
    )
    if _is_foreign(slot):
        return np.dtype(f"<u{slot.dtype.itemsize}")
    return plain_dtype(slot.dtype).newbyteorder("<")
