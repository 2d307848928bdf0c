"""The number formats of inputs, and where the sums of honest inputs lie. Data, no arithmetic.

A format is part of `Params`. It answers two questions about the sum of a coordinate: which
interval the field must hold, so that the sum of a whole cohort does not wrap around (`room`, asked
once, before any secret exists), and which sums honest inputs can have (`plausible`, asked by the
decoder about the survivors and their weights). In a format that adds noise the answers differ.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from ..arithmetic.moduli import least_bits
from ..codes import Code
from ..errors import ParameterError
from ..machine import wire
from .checks import require_float, require_int
from .intervals import Interval
from .rotated import Rotated

MAX_FIXED_POINT_BITS: Final = 32
MAX_WEIGHT: Final = 2**32 - 1
_INT64: Final = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Real numbers, clipped and rounded to a grid, optionally weighted.

    Attributes:
        clip: values outside [-clip, clip] are clipped to it, and there is a `ClippingWarning` if
            they are more than 1 % of an array; finite and positive.
        bits: the grid has 2**bits levels over [-clip, clip]; 1..32.
        max_weight: greatest weight of a client; 1 means that inputs are not weighted. With
            weights, the mean is sum(w*x) / sum(w), and both sums are under the masks.

    Raises:
        ParameterError: a value is outside its range.
    """

    code: ClassVar[int] = 1
    slots: ClassVar[int] = 1  # coordinates in an element

    clip: float
    bits: int = 20
    max_weight: int = 1

    def __post_init__(self) -> None:
        clip = require_float("clip", self.clip)
        # Both ends keep 2 * clip and levels / (2 * clip) finite, normal doubles.
        if not 2.0**-900 <= clip <= 2.0**900:
            raise ParameterError(
                f"clip must be finite and positive, in 2**-900 .. 2**900, not {clip}", Code.ARGUMENT
            )
        bits = require_int("bits", self.bits, 1, MAX_FIXED_POINT_BITS)
        max_weight = require_int("max_weight", self.max_weight, 1, MAX_WEIGHT)
        for name, value in (("clip", clip), ("bits", bits), ("max_weight", max_weight)):
            object.__setattr__(self, name, value)

    @property
    def levels(self) -> int:
        """The largest quantized value, 2**bits - 1."""
        return (1 << self.bits) - 1

    @property
    def step(self) -> float:
        """The distance of two neighbouring grid levels: the largest error of one rounding."""
        return 2.0 * self.clip / self.levels

    @property
    def scale(self) -> float:
        """Grid levels per unit."""
        return self.levels / (2.0 * self.clip)

    @property
    def weighted(self) -> bool:
        """True if the vector carries the weight as one more element."""
        return self.max_weight > 1

    @property
    def largest(self) -> int:
        """The largest element that one client can contribute."""
        return self.levels * self.max_weight

    def room(self, cohort: int) -> Interval:
        """Returns the interval of sums that the field must hold for a whole cohort."""
        return Interval(0, cohort * self.largest)

    def plausible(self, inputs: int, weight: int) -> Interval:
        """Returns which sums this many honest inputs can have that weigh `weight` together."""
        return Interval(0, self.levels * weight)

    def check_totals(self, cohort: int) -> None:
        """Accepts every cohort: totals are decoded to float64."""

    def encode(self) -> bytes:
        """Returns the canonical encoding (`docs/WIRE.md`, Parameters)."""
        return (
            wire.u8(self.code)
            + wire.f64(self.clip)
            + wire.u8(self.bits)
            + wire.u32(self.max_weight)
        )


@dataclass(frozen=True, slots=True)
class Integers:
    """Exact integers in low..high, both inclusive and in int64.

    Raises:
        ParameterError: a value is outside its range, or the range is empty.
    """

    code: ClassVar[int] = 2
    slots: ClassVar[int] = 1
    max_weight: ClassVar[int] = 1  # integers carry no weight

    low: int
    high: int

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            end = require_int(name, getattr(self, name), _INT64[0], _INT64[-1])
            object.__setattr__(self, name, end)
        if self.low >= self.high:
            raise ParameterError(
                f"low ({self.low}) must be below high ({self.high})", Code.ARGUMENT
            )

    @property
    def weighted(self) -> bool:
        """False: integers carry no weight."""
        return False

    @property
    def largest(self) -> int:
        """The largest element that one client can contribute."""
        return self.high - self.low

    def room(self, cohort: int) -> Interval:
        """Returns the interval of sums that the field must hold for a whole cohort."""
        return Interval(0, cohort * self.largest)

    def plausible(self, inputs: int, weight: int) -> Interval:
        """Returns which sums this many honest inputs can have, each of which weighs 1."""
        return Interval(0, self.largest * inputs)

    def encode(self) -> bytes:
        """Returns the canonical encoding (`docs/WIRE.md`, Parameters)."""
        return wire.u8(self.code) + wire.i64(self.low) + wire.i64(self.high)

    def check_totals(self, cohort: int) -> None:
        """Raises ParameterError unless the totals of a whole cohort fit the decoder's int64."""
        room, shift = self.room(cohort), self.low * cohort
        low, high = room.low + shift, room.high + shift
        if low not in _INT64 or high not in _INT64:
            raise ParameterError(
                f"the total of a whole cohort lies in {low}..{high}, which does not fit a 64-bit "
                "integer: lower the cohort or the range",
                Code.HEADROOM,
            )


Format = FixedPoint | Integers | Rotated


def field_width(form: Format, cohort: int) -> int:
    """Returns the width b of the smallest field that has room for every sum of a whole cohort.

    Parameters of any protocol call it at construction.

    Raises:
        ParameterError: no field is wide enough, or a total could not be decoded.
    """
    form.check_totals(cohort)
    return least_bits(form.room(cohort).width)


def vector_length(form: Format, length: int) -> int:
    """Returns the elements of a vector: the coordinates, and the weight if there is one."""
    return -(-length // form.slots) + form.weighted


def check_length(form: Format, cohort: int, length: int) -> None:
    """Raises ParameterError unless what a format promises holds for vectors of this length."""
    if isinstance(form, Rotated):
        form.check_length(cohort, length)


def read_format(reader: wire.Reader) -> Format:
    """Reads a format from its canonical encoding; raises DecodeError if there is none."""
    code = reader.u8()
    try:
        if code == FixedPoint.code:
            return FixedPoint(clip=reader.f64(), bits=reader.u8(), max_weight=reader.u32())
        if code == Integers.code:
            return Integers(low=reader.i64(), high=reader.i64())
        if code == Rotated.code:
            return Rotated.read(reader)
    except ParameterError as error:
        raise reader.error(f"impossible format: {error}", error.code) from None
    raise reader.error(f"unknown format {code}", Code.UNSUPPORTED)
