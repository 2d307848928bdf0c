"""Vectors bounded in L2: rotated, rounded to few levels, with digits or noise (`docs/WIRE.md`).

Nothing is proved of floating point. So the bounds that the proof of privacy needs are checked on
integers: none beyond the peak, and the sum of their squares not above the bound of the format.
Random rounding exceeds that bound now and then, and is then done again; after 16 times values are
rounded towards zero.
"""

from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.binding import Vector
from ..arithmetic.field import KEY_BYTES, Field
from ..arithmetic.noise import sum_squares
from ..arithmetic.rotation import Rotation, norm
from ..codes import Code
from ..errors import RangeError
from ..events import Randomness
from ..noise.samplers import sampler
from ..numeric import as_int
from ..params.rotated import Rotated
from ..primitives.labels import Label, hash_parts
from ..primitives.secret import draw
from .clipping import length_bound
from .codec import (
    Decoded,
    Encoded,
    VectorParams,
    dequantize,
    quantize,
    read_finite,
    read_sums,
    read_weight,
    weight_in,
)

Floats = NDArray[Any]  # float32 or float64, of one dimension

_TRIES: Final = 16
_FLOAT32: Final = np.dtype(np.float32)
_NARROW: Final = 2.0**60  # clips within 2**-60..2**60 fit float32 with room for every factor


class RotatedCodec:
    """Encodes and decodes `Rotated` inputs; see `Codec`.

    Args:
        params: of the round.
        rotated: their format.
        session: of the round; the signs of the rotation follow from it.
    """

    def __init__(self, params: VectorParams, rotated: Rotated, session: bytes) -> None:
        self._params = params
        self._format = rotated
        self._field = Field(params.field_bits)
        self._generator = params.suite.generator
        self._rotation: Rotation | None = None
        if rotated.rotation:
            self._rotation = Rotation(self._generator, hash_parts(Label.ROTATION, session))

    def encoder(self, weight: int, random: Randomness) -> NoReturn:
        """Refuses an input in chunks: clipping and rotation need the whole vector.

        Raises:
            RangeError: always.
        """
        raise RangeError(
            "an input in chunks cannot be clipped in L2 and rotated: give it as one array",
            Code.SHAPE,
        )

    def encode(self, values: ArrayLike, weight: int, random: Randomness) -> Encoded:
        """Clips, rotates and rounds one input, and adds noise if the format has any.

        Of an input that is longer than the clip, by more than rounding, all values count as
        clipped; of any other those that the rotation has put beyond the grid.

        Args:
            values: real numbers, shape (length,).
            weight: 1..max_weight; 1 with noise.
            random: source of random bytes.

        Raises:
            RangeError: wrong shape or dtype, NaN or infinity, or a weight outside 1..max_weight.
        """
        form, params = self._format, self._params
        if form.noisy and as_int(weight) != 1:
            raise RangeError(
                "inputs with noise carry no weight, whose sum would be released without any: leave "
                "it at 1",
                Code.WEIGHT,
            )
        factor = read_weight(weight, form.max_weight, type(form).__name__) / form.max_weight
        vector = np.empty(params.vector_length, self._field.dtype)
        rotated, is_long = self._rotated(read_finite(values, params.length), factor)
        key = draw(random, KEY_BYTES)
        if form.noisy:
            noise_key = draw(random, KEY_BYTES)
            clipped = self._round_within_bound(rotated, vector, key)
            noise = sampler(form.noise, form.variance_steps)
            noise.add(self._field, vector, self._generator, noise_key)
        else:
            clipped = self._round_to_digits(rotated, vector, key)
            if form.weighted:
                vector[-1] = weight
        return Encoded(vector, params.length if is_long else clipped, is_long)

    def _rotated(self, given: NDArray[np.generic], factor: float) -> tuple[Floats, bool]:
        """Returns the clipped, weighted, rotated input, and whether it counts as longer."""
        clip = self._format.clip
        is_narrow = given.dtype == _FLOAT32 and 1 / _NARROW <= clip <= _NARROW
        work: Floats = given.astype(np.float32 if is_narrow else np.float64)  # a copy
        try:
            length = norm(work)
            is_long = length > length_bound(clip, given.dtype, given.size)
        except RangeError:  # the square of a value is no double: it is far above any clip
            work *= 2.0**-600
            length, is_long = norm(work), True
        if is_long or length > clip:
            factor *= clip / length
        if self._rotation is not None:
            self._rotation.forward(work, factor)
        else:
            work *= factor
        return work, is_long

    # -- without noise --------------------------------------------------------------------

    def _round_to_digits(self, rotated: Floats, vector: Vector, key: bytes) -> int:
        """Rounds to 0..peak, and writes several of the integers into each element."""
        form, size = self._format, rotated.size
        if form.slots == 1:
            return quantize(rotated, 0, vector[:size], form.reach, form.peak, self._generator, key)
        digits = np.empty(size, np.uint32)
        clipped = quantize(rotated, 0, digits, form.reach, form.peak, self._generator, key)
        bits = form.digit_bits(self._params.cohort)
        elements = vector[: -(-size // form.slots)]
        elements[:] = digits[:: form.slots]
        for slot in range(1, form.slots):
            digit = digits[slot :: form.slots].astype(np.uint64) << np.uint64(bits * slot)
            elements[: digit.size] |= digit.astype(vector.dtype)
        return clipped

    def _digits(self, elements: Vector) -> Vector:
        """Returns the sums of the digits, one for each coordinate.

        Raises:
            RangeError: there is something beyond the digits of the last element.
        """
        form, length = self._format, self._params.length
        if form.slots == 1:
            return elements
        bits = form.digit_bits(self._params.cohort)
        digits = np.empty((elements.size, form.slots), np.uint64)
        for slot in range(form.slots):
            np.right_shift(elements, np.uint64(bits * slot), out=digits[:, slot])
        digits[:, :-1] &= np.uint64(2**bits - 1)  # of the last one nothing may be above
        flat = digits.ravel()
        if flat[length:].any():
            raise RangeError(
                "the last element of a sum has digits beyond the last coordinate: a client sent "
                "values out of range, or a worker a wrong result",
                Code.IMPOSSIBLE_SUM,
            )
        return flat[:length]

    # -- with noise -----------------------------------------------------------------------

    def _round_within_bound(self, rotated: Floats, vector: Vector, key: bytes) -> int:
        """Rounds to -peak..peak with a sum of squares that is within the bound."""
        form, field = self._format, self._field
        levels = np.empty(rotated.size, np.uint32)  # q + peak
        clipped = 0
        for attempt in range(_TRIES):
            start = attempt * rotated.size
            clipped = quantize(
                rotated, start, levels, form.reach, 2 * form.peak, self._generator, key
            )
            if sum_squares(levels, form.peak) <= form.bound:
                break
        else:
            _round_towards_zero(rotated, form, levels)
        vector[:] = levels
        shift = np.full(vector.size, field.modulus - form.peak, field.dtype)
        field.add(vector, shift, out=vector)
        return clipped

    # -- the sum --------------------------------------------------------------------------

    def decode(self, total: Vector, survivors: int) -> Decoded:
        """Returns total and mean of the survivors' inputs, as float64.

        Args:
            total: the sum of their elements, shape (vector_length,).
            survivors: their number.

        Raises:
            RangeError: no honest inputs can sum to these elements.
        """
        form, params = self._format, self._params
        weight = weight_in(total, survivors, form.max_weight) if form.weighted else survivors
        unit = form.max_weight / form.scale
        plausible = form.plausible(survivors, weight)
        head = total[: total.size - form.weighted]
        if form.noisy:
            room = form.room(params.cohort)
            offsets = read_sums(self._field, head, room, plausible)
            sums = np.multiply(offsets.astype(np.int64) + room.low, unit, dtype=np.float64)
        else:
            offsets = read_sums(self._field, self._digits(head), plausible, plausible)
            sums = dequantize(offsets, unit, survivors * form.peak / 2 * unit)
        if self._rotation is not None:
            self._rotation.backward(sums)
        return Decoded(total=sums, weight=weight, mean=sums / weight)


def _round_towards_zero(rotated: Floats, form: Rotated, levels: NDArray[np.uint32]) -> None:
    """Writes q + peak, where no |q| is above |x| * scale: then the bound is kept.

    If not, floating point has lengthened the vector; it is shortened until it is.
    """
    scale = form.scale
    while True:
        whole = np.trunc(rotated.astype(np.float64) * scale)
        np.clip(whole, -form.peak, form.peak, out=whole)
        levels[:] = (whole + form.peak).astype(np.uint32)
        if sum_squares(levels, form.peak) <= form.bound:
            return
        scale *= 1 - 2.0**-10
