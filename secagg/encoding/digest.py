"""Digests of models, numbers and texts: the context of a round."""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from ..machine import wire
from ..primitives.labels import Label, hash_parts
from .arrays import called, kind_of, plain, read_array
from .described import Described
from .model_layout import ModelLayout
from .trees import Arrays, Node, Tree

_PART_BYTES: Final = 2**32  # of what `hash_parts` takes as one part
_INTS: Final = 2**1024  # ints below it have a text under every limit that Python can be set to


Part: TypeAlias = Arrays | ModelLayout | Described  # of what a context is about


def digest(*parts: Part) -> bytes:
    """Hashes models, numbers and texts into 32 bytes: the context of a round, what it is about.

    Arrays count with structure (array, list or dict, and how they are nested), names, shapes,
    dtypes and values; two lists of parts that differ anywhere have different digests. Equal numbers
    in the same structure have the same digest, whatever their bytes: -0.0 is 0.0. A dict is the
    same in any order of its keys, a tuple is a list, and a number of NumPy, given by itself, is
    that of Python: digest(np.int64(3)) is digest(3). In another structure equal numbers have
    another digest, so check the structure of a model that came from a peer before you take its
    digest for a context. A `ModelLayout` counts with format, structure, names, shapes, dtypes,
    modes, ranges and metrics, a `secagg.analytics.Query` with its questions.

    Args:
        parts: each a text, bytes, a bool, a float, an int in -2**1024 .. 2**1024, both ends
            exclusive, a `ModelLayout`, a `secagg.analytics.Query`, or arrays of bools, ints or
            floats of at most 64 bits without NaN: one, or lists and dicts of them, nested at will.

    Raises:
        RangeError: a part is something else.
    """
    encoded: list[bytes] = []
    for part in parts:
        if isinstance(part, bytes | bytearray):
            encoded += [b"bytes", bytes(part)]
        elif isinstance(part, str):
            encoded += [b"str", _utf8(part)]
        elif isinstance(part, bool | np.bool_):
            encoded += [b"bool", b"1" if part else b"0"]
        elif isinstance(part, int | float | np.generic):
            encoded += _number(part)
        elif isinstance(part, ModelLayout):
            encoded += _layout(part)
        elif isinstance(part, Described):
            encoded += [b"described", digest(*part.parts())]
        else:
            tree = Tree(part)
            encoded += _structure(tree.node)
            for leaf in tree.leaves:
                encoded += _array(called(leaf.name), leaf.array)
    return hash_parts(Label.DIGEST, *encoded)


def _structure(node: Node) -> list[bytes]:
    """Returns parts that encode how arrays are nested, with counts that show where they end."""
    if node is None:
        return [b"array"]
    kind, *members = node
    encoded = [kind.encode(), str(len(members)).encode()]
    for member in members:
        if kind == "dict":
            key, member = member  # noqa: PLW2901
            encoded += [b"str", _utf8(key)] if isinstance(key, str) else [b"int", _decimal(key)]
        encoded += _structure(member)
    return encoded


def _layout(layout: ModelLayout) -> list[bytes]:
    """Returns parts that encode all that counts when two layouts are compared."""
    encoded = [b"layout", layout.format.encode(), *_structure(layout.node)]
    for slots in (layout.arrays, layout.metrics):
        encoded.append(_decimal(len(slots)))
        for slot in slots:
            encoded += [_utf8(slot.name), f"{slot.dtype.name}{slot.shape}".encode()]
            encoded += [slot.mode.encode(), b"exact" if slot.exact else b"real"]
            whole = isinstance(slot.low, int)
            encoded += [
                _decimal(int(end)) if whole else wire.f64(end) for end in (slot.low, slot.high)
            ]
    return encoded


def _number(number: int | float | np.generic) -> list[bytes]:
    """Returns the same for a number of Python and an equal one of NumPy."""
    if isinstance(number, int):
        return [b"int", _decimal(number)]
    array = read_array(number, "a number in a digest")
    if kind_of(array.dtype) in "iu":
        return [b"int", _decimal(int(array))]
    _check_width("a number in a digest", array)
    return [b"float", *_array("a number in a digest", plain(array).astype(np.float64))]


def _decimal(number: int) -> bytes:
    if not -_INTS < number < _INTS:
        raise RangeError("an int in a digest must be below 2**1024", Code.ARGUMENT)
    return str(int(number)).encode()


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RangeError(
            "a text in a digest must be Unicode without lone surrogates", Code.ARGUMENT
        ) from None


def _array(what: str, array: NDArray[np.generic]) -> list[bytes]:
    """Returns dtype, shape, and the values, little-endian, so that equal ones have equal bytes.

    Raises:
        RangeError: the dtype is wider than 64 bits, there is a NaN, which has many encodings, or
            the array has 4 GiB or more.
    """
    if array.nbytes >= _PART_BYTES:
        raise RangeError(
            f"{what} has {array.nbytes} bytes, and a digest takes less than 4 GiB per array; "
            "split it",
            Code.SHAPE,
        )
    _check_width(what, array)
    numbers = plain(array)
    little = np.array(numbers, numbers.dtype.newbyteorder("<"), order="C")
    if little.dtype.kind == "f":
        if np.isnan(little).any():
            raise RangeError(f"{what} has a NaN, which has no digest", Code.NOT_FINITE)
        size = little.dtype.itemsize
        bits = little.view(f"<u{size}")  # not compared as floats: that can flush subnormals to zero
        bits[bits == 1 << (8 * size - 1)] = 0  # -0.0
    return [f"{array.dtype.name}{array.shape}".encode(), little.tobytes()]


def _check_width(what: str, array: NDArray[np.generic]) -> None:
    """Refuses long doubles, whose padding no value determines."""
    if array.dtype.itemsize > 8:
        raise RangeError(
            f"{what} has dtype {array.dtype}, and a digest takes at most 64 bits per number; "
            "convert it",
            Code.DTYPE,
        )
