"""Real numbers: clipped, rounded to a grid, and weighted (`docs/WIRE.md`, Encoded input).

Stochastic rounding has an expectation that is exact to 2^-31.9 of a step up to 20 bits, and to
2^-20.4 at 32 bits, so that the errors of many clients average out. Weighted inputs put w * x and w
under the same masks: the sums of both are all that the server learns.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.binding import Vector
from ..arithmetic.field import KEY_BYTES, Field
from ..arithmetic.generators import Generator
from ..events import Randomness
from ..params.formats import FixedPoint
from ..primitives.secret import draw
from .clipping import clip_bound
from .codec import (
    Decoded,
    Encoded,
    VectorParams,
    dequantize,
    encode_whole,
    parts_of,
    quantize,
    read_finite,
    read_sums,
    read_weight,
    weight_in,
)

_FLOAT32: Final = np.dtype(np.float32)
_FLOAT64: Final = np.dtype(np.float64)


class FixedPointEncoder:
    """Quantizes one input; see `Encoder`.

    Args:
        fixed: the format.
        field: of the elements.
        generator: draws the rounding, from a key that is drawn from `random` when it is needed.
        weight: the factor of all coordinates, 1..max_weight.
        random: source of random bytes.
    """

    def __init__(
        self,
        fixed: FixedPoint,
        field: Field,
        generator: Generator,
        weight: int,
        random: Randomness,
    ) -> None:
        self._format = fixed
        self._field = field
        self._generator = generator
        self._weight = weight
        self._random = random
        self._key = b""

    def read(self, values: ArrayLike, length: int | None = None) -> NDArray[np.generic]:
        """Returns finite values; see `Encoder.read`."""
        return read_finite(values, length)

    def encode(self, array: NDArray[np.generic], start: int, out: Vector) -> int:
        """Clips, rounds and weights values: float32 as they are, others as float64."""
        self._key = self._key or draw(self._random, KEY_BYTES)
        bound = clip_bound(self._format.clip, array.dtype)
        if array.dtype in (_FLOAT32, _FLOAT64):
            clipped = self._quantize(array, start, out, bound)
        else:
            clipped = sum(
                self._quantize(array[part].astype(_FLOAT64), start + part.start, out[part], bound)
                for part in parts_of(array.size)
            )
        if self._format.weighted:
            self._field.scale(out, self._weight, out=out)
        return clipped

    def _quantize(self, array: NDArray[np.generic], start: int, out: Vector, bound: float) -> int:
        fixed, generator = self._format, self._generator
        return quantize(array, start, out, fixed.clip, fixed.levels, generator, self._key, bound)

    def finish(self, out: Vector) -> None:
        """Writes the weight, in a format that has weights."""
        out[:] = self._weight


class FixedPointCodec:
    """Encodes and decodes `FixedPoint` inputs; see `Codec`."""

    def __init__(self, params: VectorParams, fixed: FixedPoint) -> None:
        self._params = params
        self._format = fixed
        self._field = Field(params.field_bits)

    def encoder(self, weight: int, random: Randomness) -> "FixedPointEncoder":
        """Returns what quantizes one input.

        Raises:
            RangeError: the weight is no int in 1..max_weight.
        """
        found = read_weight(weight, self._format.max_weight, type(self._format).__name__)
        return FixedPointEncoder(
            self._format, self._field, self._params.suite.generator, found, random
        )

    def encode(self, values: ArrayLike, weight: int, random: Randomness) -> Encoded:
        """Quantizes one input: float32 and float64 as they are, other real dtypes as float64.

        Raises:
            RangeError: wrong shape or dtype, NaN or infinity, or a weight outside
                1..max_weight.
        """
        return encode_whole(self.encoder(weight, random), values, self._params, self._field)

    def decode(self, total: Vector, survivors: int) -> Decoded:
        """Returns total and mean of the survivors' inputs, as float64.

        Raises:
            RangeError: no honest inputs can sum to these elements.
        """
        fixed = self._format
        head = total[: self._params.length]
        weight = weight_in(total, survivors, fixed.max_weight) if fixed.weighted else survivors
        room = fixed.room(self._params.cohort)
        offsets = read_sums(self._field, head, room, fixed.plausible(survivors, weight))
        # The kernel reads unsigned numbers, so the lowest sum of all goes into its offset.
        low, mean_step = room.low, fixed.step / weight
        return Decoded(
            total=dequantize(offsets, fixed.step, fixed.clip * weight - low * fixed.step),
            weight=weight,
            mean=dequantize(offsets, mean_step, fixed.clip - low * mean_step),
        )
