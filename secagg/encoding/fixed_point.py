"""Real numbers: clipped, rounded to a grid, and weighted (`docs/WIRE.md`, Encoded input).

Stochastic rounding has an expectation that is exact to 2^-31.9 of a step up to 20 bits, and to
2^-20.4 at 32 bits, so that the errors of many clients average out. Weighted inputs put w * x and w
under the same masks: the sums of both are all that the server learns.
"""

import numpy as np
from numpy.typing import ArrayLike

from ..arithmetic import binding
from ..arithmetic.binding import Vector
from ..arithmetic.field import KEY_BYTES, Field
from ..codes import Code
from ..errors import RangeError
from ..events import Randomness
from ..params.formats import FixedPoint
from ..primitives.secret import draw
from .codec import Decoded, Encoded, VectorParams, read_input, read_sums


class FixedPointCodec:
    """Encodes and decodes `FixedPoint` inputs; see `Codec`."""

    def __init__(self, params: VectorParams, fixed: FixedPoint) -> None:
        self._params = params
        self._format = fixed
        self._field = Field(params.field_bits)

    def encode(self, values: ArrayLike, weight: int, random: Randomness) -> Encoded:
        """Quantizes one input: float32 and float64 as they are, other real dtypes as float64.

        Raises:
            RangeError: wrong shape or dtype, NaN or infinity, or a weight outside
                1..max_weight.
        """
        fixed = self._format
        array = read_input(values, self._params.length, "fiu")
        if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            with np.errstate(over="ignore"):  # to infinity, which is refused below
                array = array.astype(np.float64)
        if not isinstance(weight, int | np.integer) or isinstance(weight, bool):
            raise RangeError(f"a weight must be an int, not {type(weight).__name__}", Code.WEIGHT)
        if not 1 <= weight <= fixed.max_weight:
            raise RangeError(
                f"the weight must be in 1..{fixed.max_weight}, the max_weight of the format",
                Code.WEIGHT,
            )
        if not np.isfinite(array).all():
            raise RangeError(
                "an input value is NaN or infinite: check whether the training diverged",
                Code.NOT_FINITE,
            )
        vector = np.empty(self._params.vector_length, self._field.dtype)
        head = vector[: array.size]
        clipped = binding.ffi.new("uint64_t *")
        status = binding.by_lane("quantize", array, vector)(
            binding.write(head),
            binding.read(array),
            array.size,
            fixed.clip,
            fixed.levels,
            self._params.suite.generator,
            binding.octets(draw(random, KEY_BYTES)),
            clipped,
        )
        binding.check(status, "quantize")
        if fixed.weighted:
            self._field.scale(head, int(weight), out=head)
            vector[-1] = weight
        return Encoded(vector, clipped[0])

    def decode(self, total: Vector, survivors: int) -> Decoded:
        """Returns total and mean of the survivors' inputs, as float64.

        Raises:
            RangeError: no honest inputs can sum to these elements.
        """
        fixed = self._format
        head = total[: self._params.length]
        weight = int(total[-1]) if fixed.weighted else survivors
        if not survivors <= weight <= survivors * fixed.max_weight:
            raise RangeError(
                f"the weights of {survivors} survivors add up to {weight}, outside "
                f"{survivors}..{survivors * fixed.max_weight}: a client sent a weight out of "
                "range, or a worker a wrong result",
                Code.IMPOSSIBLE_SUM,
            )
        room = fixed.room(self._params.cohort)
        offsets = read_sums(self._field, head, room, fixed.plausible(survivors, weight))
        # The kernel reads unsigned numbers, so the lowest sum of all goes into its offset.
        low, mean_step = room.low, fixed.step / weight
        return Decoded(
            total=self._dequantize(offsets, fixed.step, fixed.clip * weight - low * fixed.step),
            weight=weight,
            mean=self._dequantize(offsets, mean_step, fixed.clip - low * mean_step),
        )

    def _dequantize(
        self, head: Vector, scale: float, offset: float
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        out = np.empty(head.size, np.float64)
        status = binding.by_lane("dequantize", head, out)(
            binding.write(out), binding.read(head), head.size, scale, offset
        )
        binding.check(status, "dequantize")
        return out
