"""Lists and dicts of arrays as one vector, and digests of them as the context of a round."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes import Code
from ..errors import RangeError
from ..primitives.labels import Label, hash_parts

Arrays = ArrayLike | Sequence[ArrayLike] | Mapping[str, ArrayLike]

_KINDS: Final = "fiu"
_PART_BYTES: Final = 2**32  # of what `hash_parts` takes as one part
_INTS: Final = 2**1024  # ints below it have a text under every limit that Python can be set to


def _is_array(value: object) -> bool:
    """Returns whether a value is one array (or scalar), rather than a collection of arrays."""
    if isinstance(value, Mapping):
        return False
    if isinstance(value, list | tuple):
        return not any(isinstance(part, np.ndarray | list | tuple) for part in value)
    return True


def _kind(arrays: Arrays) -> str:
    if _is_array(arrays):
        return "array"
    return "dict" if isinstance(arrays, Mapping) else "list"


def _parts(arrays: Arrays) -> list[tuple[str, NDArray[np.generic]]]:
    if _is_array(arrays):
        named: Iterable[tuple[str, object]] = [("", arrays)]
    elif isinstance(arrays, Mapping):
        named = arrays.items()
    else:
        named = ((str(i), array) for i, array in enumerate(arrays))  # type: ignore[arg-type]
    try:
        parts = [(name, np.asarray(array)) for name, array in named]
    except (TypeError, ValueError, OverflowError):
        raise RangeError(
            "an input must be an array of numbers, or one list or dict of arrays", Code.DTYPE
        ) from None
    for name, array in parts:
        if not isinstance(name, str):
            raise RangeError(
                f"the name of an array must be a string, not {type(name).__name__}", Code.LAYOUT
            )
        if array.dtype.kind not in _KINDS:
            raise RangeError(
                f"array {name!r} has dtype {array.dtype}, which holds no real numbers", Code.DTYPE
            )
    return parts


@dataclass(frozen=True, slots=True)
class Layout:
    """The order of an array, or of a list, tuple or dict of arrays, in one vector.

    Attributes:
        kind: "array", "list" or "dict".
        names: the names of the arrays, in order (positions, for a list).
        shapes: the shapes of the arrays, in the same order.
        length: number of values in all arrays together.
    """

    kind: str
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    length: int

    @classmethod
    def of(cls, arrays: Arrays) -> "Layout":
        """Returns the layout of these arrays.

        Raises:
            RangeError: an array does not hold real numbers, or there is nothing in them.
        """
        parts = _parts(arrays)
        length = sum(array.size for _, array in parts)
        if length == 0:
            raise RangeError(
                "there is nothing to aggregate: no arrays, or only empty ones", Code.LAYOUT
            )
        names, shapes = zip(*((name, array.shape) for name, array in parts), strict=True)
        return cls(_kind(arrays), names, shapes, length)

    def flatten(self, arrays: Arrays) -> NDArray[np.generic]:
        """Joins the arrays into one new vector, shape (length,), in their common dtype.

        Raises:
            RangeError: other names, order or shapes than the layout's.
        """
        if Layout.of(arrays) != self:
            raise RangeError(
                f"arrays of another layout: {Layout.of(arrays)} instead of {self}", Code.LAYOUT
            )
        return np.concatenate([array.reshape(-1) for _, array in _parts(arrays)])

    def unflatten(
        self, vector: NDArray[np.generic]
    ) -> NDArray[np.generic] | list[NDArray[np.generic]] | dict[str, NDArray[np.generic]]:
        """Cuts the vector into arrays of this layout; they are views of it.

        Raises:
            RangeError: the vector does not have `length` elements in one dimension.
        """
        if vector.shape != (self.length,):
            raise RangeError(
                f"a vector of shape ({self.length},) is needed, not {vector.shape}", Code.SHAPE
            )
        arrays, at = [], 0
        for shape in self.shapes:
            size = int(np.prod(shape, dtype=np.int64))
            arrays.append(vector[at : at + size].reshape(shape))
            at += size
        if self.kind == "array":
            return arrays[0]
        return arrays if self.kind == "list" else dict(zip(self.names, arrays, strict=True))


def digest(*parts: Arrays | bytes | str | int) -> bytes:
    """Hashes models, numbers and texts into 32 bytes: the context of a round, what it is about.

    Arrays count with kind (array, list or dict), names, shapes, dtypes and values; two lists of
    parts that differ anywhere have different digests. Equal numbers in the same structure have the
    same digest, whatever their bytes: -0.0 is 0.0. In another structure they have another one, so
    check the structure of a model that came from a peer before you take its digest for a context.

    Args:
        parts: each a text, bytes, an int in -2**1024 .. 2**1024, both ends exclusive, or arrays of
            ints or floats of at most 64 bits without NaN.

    Raises:
        RangeError: a part is something else.
    """
    encoded: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes):
            encoded += [b"bytes", part]
        elif isinstance(part, str):
            encoded += [b"str", _utf8(part)]
        elif isinstance(part, int):
            if not -_INTS < part < _INTS:
                raise RangeError("an int in a digest must be below 2**1024", Code.ARGUMENT)
            encoded += [b"int", str(int(part)).encode()]
        else:
            arrays = _parts(part)
            encoded += [_kind(part).encode(), str(len(arrays)).encode()]
            for name, array in arrays:
                little = _canonical(name, array)
                shape = f"{little.dtype.str}{array.shape}"
                encoded += [_utf8(name), shape.encode(), little.tobytes()]
    return hash_parts(Label.DIGEST, *encoded)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RangeError(
            "a text in a digest must be Unicode without lone surrogates", Code.ARGUMENT
        ) from None


def _canonical(name: str, array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns a copy, little-endian and in C order, whose bytes are determined by its values.

    Raises:
        RangeError: the dtype is wider than 64 bits (a long double has padding), there is a NaN,
            which has many encodings, or the array has 4 GiB or more.
    """
    if array.nbytes >= _PART_BYTES:
        raise RangeError(
            f"array {name!r} has {array.nbytes} bytes, and a digest takes less than 4 GiB per "
            "array; split it",
            Code.SHAPE,
        )
    if array.dtype.itemsize > 8:
        raise RangeError(
            f"array {name!r} has dtype {array.dtype}, and a digest takes at most 64 bits per "
            "number; convert it",
            Code.DTYPE,
        )
    little = np.array(array, array.dtype.newbyteorder("<"), order="C")
    if little.dtype.kind == "f":
        if np.isnan(little).any():
            raise RangeError(f"array {name!r} has a NaN, which has no digest", Code.NOT_FINITE)
        size = little.dtype.itemsize
        bits = little.view(f"<u{size}")  # not compared as floats: that can flush subnormals to zero
        bits[bits == 1 << (8 * size - 1)] = 0  # -0.0
    return little
