"""The interface of codecs, and their common parts: reading a caller's array, reading sums."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..codes import Code
from ..errors import RangeError
from ..events import Randomness
from ..params.formats import Format, Interval
from ..params.suite import Suite
from .arrays import plain, read_array


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


class Codec(Protocol):
    """Encodes one input and decodes a sum, for one set of parameters."""

    def encode(self, values: ArrayLike, weight: int, random: Randomness) -> Encoded:
        """Returns the vector of one client; raises RangeError before randomness is drawn."""

    def decode(self, total: Vector, survivors: int) -> Decoded:
        """Returns the sum over this many survivors; raises RangeError if no honest inputs have
        it.
        """


def read_input(values: ArrayLike, length: int, kinds: str) -> NDArray[np.generic]:
    """Returns the caller's values as a contiguous native array; it is never written to.

    Args:
        length: the number of values that there must be.
        kinds: the kinds of dtypes that are allowed, such as "iu" for integers.

    Raises:
        RangeError: not one-dimensional, another length, a dtype of another kind, or an array that
            loses its meaning as bare numbers (see `read_array`).
    """
    array = plain(read_array(values, "an input"))
    if array.ndim != 1:
        raise RangeError(
            f"an input must have one dimension, not {array.ndim}; flatten it with secagg.Layout",
            Code.SHAPE,
        )
    if array.size != length:
        raise RangeError(f"an input must have {length} values, not {array.size}", Code.SHAPE)
    if array.dtype.kind not in kinds:
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
