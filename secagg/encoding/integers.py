"""Exact integers: shifted by the low end of their range, and nothing else."""

import numpy as np
from numpy.typing import ArrayLike

from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..codes import Code
from ..errors import RangeError
from ..events import Randomness
from ..params.formats import Integers
from .codec import Decoded, Encoded, VectorParams, read_input, read_sums


class IntegersCodec:
    """Encodes and decodes `Integers` inputs; see `Codec`."""

    def __init__(self, params: VectorParams, integers: Integers) -> None:
        self._params = params
        self._format = integers
        self._field = Field(params.field_bits)

    def encode(self, values: ArrayLike, weight: int, random: Randomness) -> Encoded:
        """Shifts one input of any integer dtype; draws no randomness.

        Raises:
            RangeError: wrong shape or dtype, a value outside low..high, or a weight.
        """
        array = read_input(values, self._params.length, "iu")
        low, high = self._format.low, self._format.high
        if weight != 1:
            raise RangeError("integers carry no weight: leave it at 1", Code.WEIGHT)
        if int(array.min()) < low or int(array.max()) > high:
            raise RangeError(
                f"an input value is outside {low}..{high}: clip it, or widen the range of the "
                "format",
                Code.OUT_OF_RANGE,
            )
        # Modulo 2**64 the difference is right whatever the signs, and it is below the modulus.
        shifted = array.astype(np.uint64) - np.uint64(low % 2**64)
        vector: Vector = shifted.astype(self._field.dtype)
        return Encoded(vector, clipped=0)

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
