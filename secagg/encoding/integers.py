"""Exact integers: shifted by the low end of their range, and nothing else."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..codes import Code
from ..errors import RangeError
from ..events import Randomness
from ..numeric import as_int
from ..params.formats import Integers
from .codec import Decoded, Encoded, VectorParams, encode_whole, parts_of, read_input, read_sums


class IntegersEncoder:
    """Shifts one input; see `Encoder`."""

    def __init__(self, integers: Integers) -> None:
        self._format = integers

    def read(self, values: ArrayLike, length: int | None = None) -> NDArray[np.generic]:
        """Returns integers in low..high; see `Encoder.read`."""
        array = read_input(values, length, "iu")
        low, high = self._format.low, self._format.high
        if array.size and (int(array.min()) < low or int(array.max()) > high):
            raise RangeError(
                f"an input value is outside {low}..{high}: clip it, or widen the range of the "
                "format",
                Code.OUT_OF_RANGE,
            )
        return array

    def encode(self, array: NDArray[np.generic], start: int, out: Vector) -> int:
        """Writes the distances from the low end; none is clipped."""
        # Modulo 2**64 the difference is right whatever the signs, and it is below the modulus.
        low = np.uint64(self._format.low % 2**64)
        for part in parts_of(array.size):
            out[part] = array[part].astype(np.uint64) - low
        return 0

    def finish(self, out: Vector) -> None:
        """Writes nothing: integers carry no weight."""


class IntegersCodec:
    """Encodes and decodes `Integers` inputs; see `Codec`."""

    def __init__(self, params: VectorParams, integers: Integers) -> None:
        self._params = params
        self._format = integers
        self._field = Field(params.field_bits)

    def encoder(self, weight: int, random: Randomness) -> "IntegersEncoder":
        """Returns what shifts one input; it draws no randomness.

        Raises:
            RangeError: there is a weight.
        """
        if as_int(weight) != 1:
            raise RangeError("integers carry no weight: leave it at 1", Code.WEIGHT)
        return IntegersEncoder(self._format)

    def encode(self, values: ArrayLike, weight: int, random: Randomness) -> Encoded:
        """Shifts one input of any integer dtype; draws no randomness.

        Raises:
            RangeError: wrong shape or dtype, a value outside low..high, or a weight.
        """
        return encode_whole(self.encoder(weight, random), values, self._params, self._field)

    def decode(self, total: Vector, survivors: int) -> Decoded:
        """Returns total (int64) and mean (float64) of the survivors' inputs.

        Raises:
            RangeError: no honest inputs can sum to these elements.
        """
        room = self._format.room(self._params.cohort)
        plausible = self._format.plausible(survivors, survivors)
        offsets = read_sums(self._field, total, room, plausible)
        shift = np.uint64((room.low + self._format.low * survivors) % 2**64)
        integers = (offsets.astype(np.uint64) + shift).astype(np.int64)
        return Decoded(total=integers, weight=survivors, mean=integers / survivors)
