"""The interface of codecs, and their common parts: reading a caller's array, reading sums."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic import binding
from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..arithmetic.generators import Generator
from ..codes import Code
from ..errors import RangeError
from ..events import Randomness
from ..numeric import as_int
from ..params.formats import Format
from ..params.intervals import Interval
from ..params.suite import Suite
from .arrays import as_list, is_array, kind_of, plain, read_array

Reals = np.ndarray[tuple[int], np.dtype[np.float64]]

_COPIED: Final = 2**14  # elements that are converted at once
_FLOAT64: Final = np.dtype(np.float64)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A client's input as field elements, and how many of its values were clipped.

    Attributes:
        vector: the elements.
        clipped: how many values.
        is_long: whether all were, because the input is longer than the clip of `Rotated`.
    """

    vector: Vector
    clipped: int
    is_long: bool = False

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


def read_finite(values: ArrayLike, length: int | None) -> NDArray[np.generic]:
    """Returns the caller's real values, all finite: float32 and float64 as they are.

    Args:
        length: as of `read_input`.

    Raises:
        RangeError: as of `read_input`; or a value is NaN or infinite.
    """
    array = read_input(values, length, "fiu")
    if array.dtype.itemsize > _FLOAT64.itemsize:
        with np.errstate(over="ignore"):  # to infinity, which is refused below
            array = array.astype(_FLOAT64)
    if not np.isfinite(array).all():
        raise RangeError(
            "an input value is NaN or infinite: check whether the training diverged",
            Code.NOT_FINITE,
        )
    return array


def read_weight(weight: object, most: int, format_name: str) -> int:
    """Returns the weight of an input; raises RangeError unless it is an int in 1..most."""
    found = as_int(weight)
    if found is None:
        raise RangeError(f"a weight must be an int, not {type(weight).__name__}", Code.WEIGHT)
    if not 1 <= found <= most:
        reason = f"the weight must be in 1..{most}, the max_weight of the format"
        if found > most:
            reason += f"; give all parties {format_name}(max_weight={found}) or more"
        if found == 0:
            reason += "; a client that has nothing to give does not submit"
        raise RangeError(reason, Code.WEIGHT)
    return found


def weight_in(total: Vector, survivors: int, most: int) -> int:
    """Returns the sum of the weights, the last element of a sum.

    Args:
        total: the sum.
        survivors: how many inputs are in it.
        most: the largest weight.

    Raises:
        RangeError: no honest clients' weights have this sum.
    """
    weight = int(total[-1])
    if not survivors <= weight <= survivors * most:
        raise RangeError(
            f"the weights of {survivors} survivors add up to {weight}, outside "
            f"{survivors}..{survivors * most}: a client sent a weight out of "
            "range, or a worker a wrong result",
            Code.IMPOSSIBLE_SUM,
        )
    return weight


def quantize(
    array: NDArray[np.generic],
    start: int,
    out: Vector,
    clip: float,
    levels: int,
    generator: Generator,
    key: bytes,
    bound: float | None = None,
) -> int:
    """Clips values to -clip..clip and rounds them at random to 0..levels; returns how many it
    clipped.

    Args:
        array: float32 or float64, finite.
        start: the number of the first value, which says what words of the stream decide.
        out: where the levels are written.
        clip: the end of the grid.
        levels: the largest level.
        generator, key: draw the rounding.
        bound: values above it count as clipped; by default the clip.
    """
    clipped = binding.ffi.new("uint64_t *")
    status = binding.by_lane("quantize", array, out)(
        binding.write(out),
        binding.read(array),
        array.size,
        start,
        clip,
        clip if bound is None else bound,
        levels,
        generator,
        binding.octets(key),
        clipped,
    )
    binding.check(status, "quantize")
    return clipped[0]


def dequantize(levels: Vector, scale: float, offset: float) -> Reals:
    """Returns levels * scale - offset as float64."""
    out = np.empty(levels.size, np.float64)
    status = binding.by_lane("dequantize", levels, out)(
        binding.write(out), binding.read(levels), levels.size, scale, offset
    )
    binding.check(status, "dequantize")
    return out
