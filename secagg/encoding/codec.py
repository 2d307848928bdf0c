"""The interface of codecs, and their common parts: reading a caller's array, reading sums."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..codes import Code
from ..errors import RangeError
from ..events import Randomness
from ..params.formats import Format, Interval
from ..params.suite import Suite
from .arrays import as_list, is_array, kind_of, plain, read_array

_COPIED: Final = 2**14  # elements that are converted at once


@dataclass(frozen=True, slots=True)
class Encoded:
    """A client's input as field elements, and how many of its values were clipped."""

    vector: Vector
    clipped: int

    def __repr__(self) -> str:
        return f"Encoded(<{self.vector.size} elements>, clipped={self.clipped})"


@dataclass(frozen=True, slots=True)
class Decoded:
    """The sum of the survivors' inputs: total, sum of weights, and their quotient."""

    total: NDArray[np.float64] | NDArray[np.int64]
    weight: int
    mean: NDArray[np.float64]


class VectorParams(Protocol):
    """The parameters that a vector depends on; those of any protocol, `secagg.Params` for one."""

    @property
    def cohort(self) -> int:
        """Number of parties."""

    @property
    def length(self) -> int:
        """Coordinates of an input."""

    @property
    def format(self) -> Format:
        """The number format."""

    @property
    def suite(self) -> Suite:
        """The algorithms, of which the generator draws the rounding."""

    @property
    def vector_length(self) -> int:
        """Elements of a vector."""

    @property
    def field_bits(self) -> int:
        """Width of the field."""


class Encoder(Protocol):
    """Encodes the coordinates of one input, in any pieces, from the first one to the last."""

    def read(self, values: ArrayLike, length: int | None = None) -> NDArray[np.generic]:
        """Returns the caller's values as an array for `encode`: all of an input, or a chunk.

        Args:
            length: the number of values that there must be; None for a chunk.

        Raises:
            RangeError: the format cannot encode the values.
        """

    def encode(self, array: NDArray[np.generic], start: int, out: Vector) -> int:
        """Encodes values that were read; returns how many of them were clipped.

        Args:
            array: coordinates start .. start + size - 1 of the input.
            out: where their elements are written, of the same size.
        """

    def finish(self, out: Vector) -> None:
        """Writes the elements after the coordinates: the weight, if there is one."""


class Codec(Protocol):
    """Encodes inputs and decodes a sum, for one set of parameters."""

    def encoder(self, weight: int, random: Randomness) -> Encoder:
        """Returns what encodes one input; raises RangeError for a wrong weight.

        Randomness is drawn when the first values are encoded, not before.
        """

    def encode(self, values: ArrayLike, weight: int, random: Randomness) -> Encoded:
        """Returns the vector of one client; raises RangeError before randomness is drawn."""

    def decode(self, total: Vector, survivors: int) -> Decoded:
        """Returns the sum over this many survivors; raises RangeError if no honest inputs have
        it.
        """


def encode_whole(
    encoder: Encoder, values: ArrayLike, params: VectorParams, field: Field
) -> Encoded:
    """Encodes an input that is one array, as one vector."""
    array = encoder.read(values, params.length)
    vector = np.empty(params.vector_length, field.dtype)
    clipped = encoder.encode(array, 0, vector[: array.size])
    encoder.finish(vector[array.size :])
    return Encoded(vector, clipped)


def parts_of(size: int) -> Iterator[slice]:
    """Cuts an array into parts whose copies stay in a near cache, and take little memory."""
    return (slice(at, at + _COPIED) for at in range(0, size, _COPIED))


def read_input(values: ArrayLike, length: int | None, kinds: str) -> NDArray[np.generic]:
    """Returns the caller's values as a contiguous native array; it is never written to.

    Args:
        length: the number of values that there must be; None if any will do, as in a chunk.
        kinds: the kinds of dtypes that are allowed, such as "iu" for integers.

    Raises:
        RangeError: not one-dimensional, another length, a dtype of another kind, or an array that
            loses its meaning as bare numbers (see `read_array`).
    """
    if isinstance(values, Mapping) or not (is_array(values) or as_list(values) is None):
        raise RangeError(
            f"an input must be one array, not a {type(values).__name__} of arrays; flatten it with "
            "secagg.Layout",
            Code.SHAPE,
        )
    array = read_array(values, "an input")
    if kind_of(array.dtype) != "f":
        array = plain(array)
    if array.ndim != 1:
        chunk = "each chunk of " if length is None else ""
        remedy = "flatten it with secagg.Layout" if array.ndim else "give arrays, not numbers"
        raise RangeError(
            f"{chunk}an input must have one dimension, not {array.ndim}; {remedy}", Code.SHAPE
        )
    if length is not None and array.size != length:
        raise RangeError(f"an input must have {length} values, not {array.size}", Code.SHAPE)
    if kind_of(array.dtype) not in kinds and array.size:
        raise RangeError(f"an input cannot have dtype {array.dtype}", Code.DTYPE)
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A"])


def read_sums(field: Field, total: Vector, room: Interval, plausible: Interval) -> Vector:
    """Returns the sums minus `room.low`, none of them below zero.

    In the field a sum below zero stands at the top, as p + sum. Counted from the lowest one that
    the field has room for, every sum is its own number again.

    Args:
        total: field elements; not written to.
        room: the sums that the field holds; their number is at most p.
        plausible: the sums that honest inputs can have.

    Raises:
        RangeError: a sum is not plausible.
    """
    if room.low:
        total = field.add(total, np.full(total.size, -room.low % field.modulus, field.dtype))
    least, most = plausible.low - room.low, plausible.high - room.low
    if int(total.max()) > most or (least > 0 and int(total.min()) < least):
        raise RangeError(
            f"a sum lies outside {plausible.low}..{plausible.high} (in field elements), where "
            "honest inputs put it: a client sent values out of range, or a worker a wrong result",
            Code.IMPOSSIBLE_SUM,
        )
    return total
