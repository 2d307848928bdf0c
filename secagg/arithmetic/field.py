"""Vectors over the prime field of a given width, as NumPy arrays.

Elements of a field of b <= 32 bits are stored as uint32, of a wider one as uint64. All vectors are
one-dimensional with elements in [0, p). Inputs may have any layout or byte order; they are copied
if the core cannot read them in place, and never written to. An output array must have exactly the
right dtype, length and layout; any other is rejected.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from ..numeric import as_int, brief
from . import binding
from .binding import BytesBuilder, Vector, check
from .generators import GENERATORS, Generator, unknown_generator
from .moduli import MODULI, width
from .threads import default_threads

KEY_BYTES: Final = 32


def _readable(array: NDArray[np.generic]) -> bool:
    """Returns whether the core can use an array in place."""
    return array.flags.c_contiguous and array.flags.aligned and array.dtype.isnative


def _whole(name: str, value: object) -> int:
    """Returns an argument as an int (`as_int`); raises RangeError if it is none."""
    found = as_int(value)
    if found is None:
        raise RangeError(f"{name} must be an int, not {type(value).__name__}", Code.ARGUMENT)
    return found


def _count(name: str, value: object) -> int:
    """Returns an argument that counts elements as an int; raises RangeError if it is none."""
    found = _whole(name, value)
    if not 0 <= found < 2**63:
        raise RangeError(f"{name} must be in 0..{2**63 - 1}", Code.ARGUMENT)
    return found


class Field:
    """The integers modulo p(b), the largest prime below 2**b.

    Args:
        bits: the width b, 16..62; ParameterError otherwise.
    """

    __slots__ = ("bits", "dtype", "modulus")

    def __init__(self, bits: int) -> None:
        self.bits: Final = width(bits)
        self.modulus: Final = MODULI[self.bits]
        self.dtype: Final = np.dtype(np.uint32 if self.bits <= 32 else np.uint64)

    def __repr__(self) -> str:
        return f"Field({self.bits})"

    # -- arrays ---------------------------------------------------------------------------

    def zeros(self, length: int) -> Vector:
        """Returns a vector of zeros, shape (length,)."""
        return np.zeros(_count("length", length), self.dtype)

    def vector(self, values: Iterable[int] | NDArray[np.generic]) -> Vector:
        """Returns the values as a vector: the array itself if it is one already, else a copy.

        Raises:
            RangeError: the values are not one-dimensional or not integers, or one is outside
                [0, p).
        """
        array = self._readable_vector(values)
        self._check_range(array)
        return array

    def _readable_vector(self, values: Iterable[int] | NDArray[np.generic]) -> Vector:
        """Returns the values as a vector; the operation must check that all are below p."""
        try:
            array: Vector = np.asarray(values if isinstance(values, np.ndarray) else list(values))
        except (TypeError, ValueError):
            raise RangeError("a vector must be a sequence of integers", Code.DTYPE) from None
        if array.ndim != 1:
            raise RangeError(f"a vector must have one dimension, not {array.ndim}", Code.SHAPE)
        if array.size == 0:
            return self.zeros(0)
        if array.dtype.kind not in "iu":
            raise RangeError(f"field elements must be integers, not {array.dtype}", Code.DTYPE)
        if array.dtype != self.dtype or not _readable(array):
            if int(array.min()) < 0 or int(array.max()) >= self.modulus:
                raise RangeError(
                    f"field elements must be in 0..{self.modulus - 1}", Code.OUT_OF_RANGE
                )
            return np.require(array, self.dtype, ["C", "A"])
        return array

    def _check_range(self, array: Vector) -> None:
        test = binding.by_lane("check", array)
        check(test(binding.read(array), array.size, self.bits), f"an element is not below {self}")

    def _writable(self, array: Vector, length: int | None = None) -> Vector:
        """Rejects an array that the core cannot write in place; returns the array."""
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != self.dtype:
            raise RangeError(
                f"the output must be a one-dimensional {self.dtype} array", Code.BUFFER
            )
        if not (_readable(array) and array.flags.writeable):
            raise RangeError(
                "the output must be contiguous, aligned, writable and in native byte order",
                Code.BUFFER,
            )
        if length is not None and array.size != length:
            raise RangeError(
                f"the output must have {length} elements, not {array.size}", Code.BUFFER
            )
        return array

    def require_target(self, acc: Vector) -> None:
        """Rejects, with RangeError, what is no vector of this field that C can write in place."""
        self._check_range(self._writable(acc))

    def _output(self, out: Vector | None, length: int, *inputs: Vector) -> Vector:
        """Returns the array to write to; it may be an input, but may not overlap one partly."""
        if out is None:
            return np.empty(length, self.dtype)
        self._writable(out, length)
        for array in inputs:
            same = array.ctypes.data == out.ctypes.data and array.size == out.size
            if not same and np.may_share_memory(array, out):
                raise RangeError(
                    "the output overlaps an input partly: pass another array", Code.BUFFER
                )
        return out

    # -- arithmetic -----------------------------------------------------------------------

    def _binary(self, name: str, a: Vector, b: Vector, out: Vector | None) -> Vector:
        a, b = self.vector(a), self.vector(b)
        if a.size != b.size:
            raise RangeError(
                f"both vectors must have the same length, not {a.size} and {b.size}", Code.SHAPE
            )
        out = self._output(out, a.size, a, b)
        function = binding.by_lane(name, out)
        status = function(binding.write(out), binding.read(a), binding.read(b), a.size, self.bits)
        check(status, name)
        return out

    def add(self, a: Vector, b: Vector, out: Vector | None = None) -> Vector:
        """Computes a + b, elementwise; `out` may be a or b."""
        return self._binary("add", a, b, out)

    def sub(self, a: Vector, b: Vector, out: Vector | None = None) -> Vector:
        """Computes a - b, elementwise; `out` may be a or b."""
        return self._binary("sub", a, b, out)

    def neg(self, a: Vector, out: Vector | None = None) -> Vector:
        """Computes -a, elementwise; `out` may be a."""
        a = self.vector(a)
        out = self._output(out, a.size, a)
        function = binding.by_lane("neg", out)
        check(function(binding.write(out), binding.read(a), a.size, self.bits), "neg")
        return out

    def scale(self, a: Vector, factor: int, out: Vector | None = None) -> Vector:
        """Computes factor * a, elementwise, with factor in [0, p); `out` may be a."""
        factor = _whole("factor", factor)
        if not 0 <= factor < self.modulus:
            raise RangeError(f"the factor must be in 0..{self.modulus - 1}", Code.ARGUMENT)
        a = self.vector(a)
        out = self._output(out, a.size, a)
        function = binding.by_lane("scale", out)
        status = function(binding.write(out), binding.read(a), factor, a.size, self.bits)
        check(status, "scale")
        return out

    def sum(self, rows: NDArray[np.generic], out: Vector | None = None) -> Vector:
        """Computes the sum of the rows of an array, shape (count, length) -> (length,)."""
        if rows.ndim != 2:
            raise RangeError(
                f"an array of rows must have two dimensions, not {rows.ndim}", Code.SHAPE
            )
        count, length = rows.shape
        flat = self.vector(np.ascontiguousarray(rows).reshape(-1))
        out = self._output(out, length)
        if np.may_share_memory(flat, out):
            raise RangeError("the output overlaps the rows: pass another array", Code.BUFFER)
        function = binding.by_lane("sum", out)
        status = function(binding.write(out), binding.read(flat), count, length, self.bits)
        check(status, "sum")
        return out

    # -- masks ----------------------------------------------------------------------------

    def accumulate(
        self,
        acc: Vector,
        keys: Sequence[bytes],
        signs: Sequence[int],
        generator: Generator,
        start: int = 0,
        threads: int | None = None,
    ) -> Vector:
        """Adds the masks of many keys: acc[j] += sign * mask(key)[start + j]; returns acc.

        No mask is stored as a whole: keystream is expanded in pieces that stay in the first-level
        cache. Masks are exactly uniform (`docs/WIRE.md`, Streams), and any slice of them can be
        computed by itself.

        Args:
            acc: the vector to change, shape (length,), C-contiguous and writable.
            keys: 32 bytes each.
            signs: +1 or -1 per key.
            generator: of the keystream; that of a suite is `Suite.generator`.
            start: index of the first mask element, 0 or more.
            threads: greatest number of threads, 1 or more; the core uses fewer if there is little
                work, and never more than 64. By default `SECAGG_NUM_THREADS` if set, else the
                number of available CPUs, at most 8. The result does not depend on it.

        Raises:
            RangeError: an argument is outside its range; acc is unchanged.
            ParameterError: `SECAGG_NUM_THREADS` is not a positive integer.
        """
        threads = default_threads() if threads is None else _whole("threads", threads)
        start = _whole("start", start)
        self.require_target(acc)
        if len(keys) != len(signs) or any(memoryview(key).nbytes != KEY_BYTES for key in keys):
            raise RangeError(
                "there must be one key of 32 bytes and one sign per mask", Code.ARGUMENT
            )
        if any(sign not in (1, -1) for sign in signs):
            raise RangeError("every sign must be +1 or -1", Code.ARGUMENT)
        if not 0 <= start < 2**64 - acc.size:
            raise RangeError(
                f"start must be in 0..{2**64 - acc.size - 1}, as a mask has 2**64 elements",
                Code.ARGUMENT,
            )
        if generator not in GENERATORS:
            raise unknown_generator(generator)
        if threads < 1:
            raise RangeError(f"threads must be 1 or more, not {brief(threads)}", Code.ARGUMENT)
        joined = b"".join(keys)
        sign_array = np.array(signs, np.int8)
        function = binding.by_lane("mask_add", acc)
        status = function(
            binding.write(acc),
            acc.size,
            start,
            self.bits,
            generator,
            binding.octets(joined),
            binding.read(sign_array),
            len(keys),
            min(threads, 64),  # the most that the core takes
        )
        check(status, "mask_add")
        return acc

    def uniform(self, key: bytes, length: int, generator: Generator, start: int = 0) -> Vector:
        """Returns elements start .. start + length - 1 of mask(key): uniform in [0, p)."""
        return self.accumulate(self.zeros(length), [key], [1], generator, start)

    # -- packing --------------------------------------------------------------------------

    def packed_bytes(self, length: int) -> int:
        """Returns the size of a packed vector in bytes, ceil(length * bits / 8)."""
        return (_whole("length", length) * self.bits + 7) // 8

    def pack(self, a: Vector) -> bytes:
        """Encodes a vector with `bits` bits per element, least significant bit first."""
        a = self._readable_vector(a)
        out = BytesBuilder(self.packed_bytes(a.size))
        self.pack_into(out, a)
        return out.finish()

    def pack_into(self, out: BytesBuilder, a: Vector) -> None:
        """Appends an encoded vector to bytes that are being built; it ends in a whole byte.

        So the encoding of a vector is that of its pieces, if all but the last have a multiple of 8
        elements.
        """
        a = self._readable_vector(a)
        function = binding.by_lane("pack", a)
        room = out.room(self.packed_bytes(a.size))
        check(function(room, binding.read(a), a.size, self.bits), "pack")

    def _unpack_into(self, name: str, target: Vector, data: bytes) -> Vector:
        packed = binding.octets(data)
        if len(packed) != self.packed_bytes(target.size):
            raise RangeError(
                f"{target.size} packed elements take {self.packed_bytes(target.size)} bytes, "
                f"not {len(packed)}",
                Code.SHAPE,
            )
        function = binding.by_lane(name, target)
        status = function(binding.write(target), packed, target.size, self.bits)
        if status == binding.lib.SA_EDECODE:
            raise RangeError(
                "packed elements must be below the modulus, with zero padding", Code.OUT_OF_RANGE
            )
        check(status, name)
        return target

    def unpack(self, data: bytes, length: int) -> Vector:
        """Decodes a vector that `pack` encoded.

        Raises:
            RangeError: wrong number of bytes, an element >= p, or padding that is not zero.
        """
        length = _count("length", length)
        if len(data) != self.packed_bytes(length):  # before memory is allocated
            raise RangeError(
                f"{length} packed elements need {self.packed_bytes(length)} bytes, not {len(data)}",
                Code.SHAPE,
            )
        return self._unpack_into("unpack", np.empty(length, self.dtype), data)

    def unpack_add(self, acc: Vector, data: bytes) -> Vector:
        """Adds the decoded vector to acc in place; raises as `unpack` does, with acc unchanged."""
        return self._unpack_into("unpack_add", self._writable(acc), data)
