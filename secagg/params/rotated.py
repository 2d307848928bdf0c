"""The format of vectors bounded in L2, rotated, with few bits or with noise. Data, no arithmetic.

A vector is clipped to an L2 norm, rotated at random, scaled and rounded to integers q
(`docs/WIRE.md`, Encoded input). Without noise q lies in 0..peak, and several of them share an
element as digits. With noise it lies in -peak..peak, the sum of q**2 is at most `bound`, and
integers drawn at random are added: what is proved of them is proved of integers alone.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar, Final

from ..arithmetic.moduli import MAX_BITS, least_bits
from ..codes import Code
from ..errors import ParameterError
from ..machine import wire
from .checks import require_float, require_int
from .intervals import Interval

MAX_PEAK: Final = 2**31 - 1  # the kernel that rounds has 32 bits for both signs
MAX_PLAIN_BITS: Final = 16
VARIANCE_STEPS: Final = 2**16  # to a variance of 1
MAX_TAIL: Final = 2**61
_MAX_UINT64: Final = 2**64 - 1
_MAX_WEIGHT: Final = 2**32 - 1
_FAILURE: Final = -40 * math.log(2)  # of the logarithm of a probability


class Noise(IntEnum):
    """The distribution of the integers that each client adds to its own."""

    NONE = 0
    SKELLAM = 1
    DISCRETE_GAUSSIAN = 2


# The largest variance that is sampled, in steps.
MAX_VARIANCE: Final = {Noise.SKELLAM: 2**50, Noise.DISCRETE_GAUSSIAN: 2**56}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """Real vectors, clipped in L2, rotated and rounded to integers, optionally with noise.

    `of` makes one without noise, and `secagg.noise.calibrate` one with the noise for a privacy.

    Attributes:
        clip: greatest L2 norm of an input; longer ones are shortened to it, without noise with a
            `ClippingWarning`. 2**-250..2**250.
        scale: levels per unit of the rotated vector; 2**-250..2**250.
        peak: without noise q lies in 0..peak, where peak / 2 stands for 0; with noise in
            -peak..peak. What lies outside is clipped. 1..2**16 - 1; with noise 1..2**31 - 1.
        bound: with noise the greatest sum of q**2 of one client, at least (clip * scale)**2 and
            below 2**64; its root is the sensitivity. 0 without noise.
        tail: with noise a bound of the absolute value of the noise of a whole cohort, exceeded in
            any coordinate with probability 2**-40 at most (`least_tail`); 1..2**61. 0 without
            noise. `Params` refuses one that is too small.
        noise: the distribution of one client's noise.
        variance_steps: its variance, in steps of 2**-16: 1..2**50 for Skellam noise, 1..2**56 for
            the discrete Gaussian. 0 without noise.
        rotation: whether vectors are rotated. Without it, a vector that is not spread over its
            coordinates is clipped or rounded far worse.
        slots: integers in one element, as digits; 1..62, and 1 with noise.
        max_weight: greatest weight of a client, 1..2**32 - 1. 1 means that inputs are not weighted,
            as with noise: the sum of the weights would be released without noise.

    Raises:
        ParameterError: a value is outside its range, or two do not fit each other.
    """

    code: ClassVar[int] = 3

    clip: float
    scale: float
    peak: int
    bound: int = 0
    tail: int = 0
    noise: Noise = Noise.NONE
    variance_steps: int = 0
    rotation: bool = True
    slots: int = 1
    max_weight: int = 1

    def __post_init__(self) -> None:
        for name in ("clip", "scale"):
            value = require_float(name, getattr(self, name))
            # Squares, and quotients of two such numbers, are finite, normal doubles.
            if not 2.0**-250 <= value <= 2.0**250:
                raise ParameterError(
                    f"{name} must be finite and positive, in 2**-250 .. 2**250, not {value}",
                    Code.ARGUMENT,
                )
            object.__setattr__(self, name, value)
        try:
            object.__setattr__(self, "noise", Noise(self.noise))
        except ValueError:
            raise ParameterError(
                f"noise must be a secagg.Noise, not {self.noise!r}", Code.ARGUMENT
            ) from None
        if self.rotation not in (True, False):
            raise ParameterError(f"rotation is True or False, not {self.rotation!r}", Code.ARGUMENT)
        object.__setattr__(self, "rotation", bool(self.rotation))
        noisy, lowest = self.noisy, int(self.noisy)
        for name, low, high in (
            ("peak", 1, MAX_PEAK if noisy else 2**MAX_PLAIN_BITS - 1),
            ("bound", lowest, _MAX_UINT64 if noisy else 0),
            ("tail", lowest, MAX_TAIL if noisy else 0),
            ("variance_steps", lowest, MAX_VARIANCE.get(self.noise, 0)),
            ("slots", 1, 1 if noisy else MAX_BITS),
            ("max_weight", 1, 1 if noisy else _MAX_WEIGHT),
        ):
            value = getattr(self, name)
            if noisy and name in ("slots", "max_weight") and value != 1:
                raise ParameterError(
                    f"{name} must be 1 with noise, not {value!r}: "
                    + (
                        "the sum of the weights would be released without noise; clip updates "
                        "instead of weighting them"
                        if name == "max_weight"
                        else "noise would carry from one digit into the next"
                    ),
                    Code.ARGUMENT,
                )
            object.__setattr__(self, name, require_int(name, value, low, high))
        if noisy and self.bound < (least := least_bound(self.clip, self.scale)):
            raise ParameterError(
                f"bound {self.bound} is below (clip * scale)**2, so most inputs would be rounded "
                f"towards zero: it must be {least} or more",
                Code.ARGUMENT,
            )

    @classmethod
    def of(
        cls,
        *,
        clip: float,
        bits: int,
        length: int,
        cohort: int,
        max_weight: int = 1,
        rotation: bool = True,
    ) -> "Rotated":
        """Returns a format without noise, with the best grid, and the slots that take fewest bytes.

        The grid has 2**bits levels over -r..r. Rotated coordinates are distributed around zero like
        normal numbers of the standard deviation clip / sqrt(length). So r is the multiple of that
        which makes the error of a mean over the cohort smallest: for 10 to 1,000 clients 1.3 to 2.6
        for 1 bit, and 4.3 to 5.1 for 8 bits. Without rotation r is the clip.

        Args:
            clip: greatest L2 norm of an input; finite and positive.
            bits: 1..16.
            length: coordinates of an input; 1..2**32.
            cohort: clients of a round; 2..2**16.
            max_weight: greatest weight of a client; 1..2**32 - 1.
            rotation: whether vectors are rotated.

        Raises:
            ParameterError: a value is outside its range.
        """
        bits = require_int("bits", bits, 1, MAX_PLAIN_BITS)
        length = require_int("length", length, 1, 2**32)
        cohort = require_int("cohort", cohort, 2, 2**16)
        clip, peak = require_float("clip", clip), 2**bits - 1
        reach = clip
        if rotation:
            reach = clip * min(1.0, best_reach(bits, cohort) / math.sqrt(length))
        if not 2.0**-250 <= reach <= 2.0**250:
            raise ParameterError(
                f"clip must be finite and positive, in 2**-250 .. 2**250, not {clip}",
                Code.ARGUMENT,
            )
        made = [
            cls(
                clip=clip,
                scale=peak / (2 * reach),
                peak=peak,
                rotation=rotation,
                slots=slots,
                max_weight=max_weight,
            )
            for slots in range(1, MAX_BITS // (cohort * peak).bit_length() + 1)
        ]
        sizes = [
            (-(-length // each.slots) * width, each.slots, each)
            for each in made
            if (width := _width_or_none(each, cohort))
        ]
        return min(sizes, key=lambda size: size[:2])[2]

    @property
    def variance(self) -> Fraction:
        """The variance of one client's noise."""
        return Fraction(self.variance_steps, VARIANCE_STEPS)

    @property
    def noisy(self) -> bool:
        """True if clients add noise."""
        return self.noise is not Noise.NONE

    @property
    def weighted(self) -> bool:
        """True if the vector carries the weight as one more element."""
        return self.max_weight > 1

    @property
    def reach(self) -> float:
        """The largest absolute value of a rotated coordinate that is not clipped."""
        return self.peak / (self.scale if self.noisy else 2 * self.scale)

    @property
    def step(self) -> float:
        """The distance of two neighbouring levels."""
        return 1 / self.scale

    def digit_bits(self, cohort: int) -> int:
        """Returns the bits of a digit: enough for the sum of a whole cohort."""
        return (cohort * self.peak).bit_length()

    def room(self, cohort: int) -> Interval:
        """Returns the interval of sums that the field must hold for a whole cohort."""
        if self.noisy:
            most = cohort * max(self.peak, self.max_weight) + self.tail
            return Interval(-most, most)
        digit, bits = cohort * self.peak, self.digit_bits(cohort)
        packed = sum(digit << bits * slot for slot in range(self.slots))
        return Interval(0, max(packed, cohort * self.max_weight))

    def plausible(self, inputs: int, weight: int) -> Interval:
        """Returns which sums of q this many honest inputs can have, whatever they weigh."""
        if self.noisy:
            most = inputs * self.peak + self.tail
            return Interval(-most, most)
        return Interval(0, inputs * self.peak)

    def check_totals(self, cohort: int) -> None:
        """Accepts every cohort: totals are decoded to float64."""

    def check_length(self, cohort: int, length: int) -> None:
        """Raises ParameterError unless the tail holds for a cohort's vectors of this length."""
        if self.noisy and self.tail < (
            least := least_tail(self.noise, self.variance_steps, cohort, length)
        ):
            raise ParameterError(
                f"the noise of {cohort} clients exceeds the tail {self.tail} in one of {length} "
                f"coordinates with probability above 2**-40: the tail must be {least} or more: "
                "call `secagg.noise.calibrate` for this cohort and length",
                Code.HEADROOM,
            )

    def encode(self) -> bytes:
        """Returns the canonical encoding (`docs/WIRE.md`, Parameters)."""
        return (
            wire.u8(self.code)
            + wire.f64(self.clip)
            + wire.f64(self.scale)
            + wire.u64(self.bound)
            + wire.u32(self.peak)
            + wire.u64(self.tail)
            + wire.u8(self.noise)
            + wire.u64(self.variance_steps)
            + wire.u8(self.rotation)
            + wire.u8(self.slots)
            + wire.u32(self.max_weight)
        )

    @classmethod
    def read(cls, reader: wire.Reader) -> "Rotated":
        """Reads what follows the code in the encoding; raises ParameterError for other values."""
        return cls(
            clip=reader.f64(),
            scale=reader.f64(),
            bound=reader.u64(),
            peak=reader.u32(),
            tail=reader.u64(),
            noise=reader.u8(),  # type: ignore[arg-type]
            variance_steps=reader.u64(),
            rotation=reader.u8(),  # type: ignore[arg-type]
            slots=reader.u8(),
            max_weight=reader.u32(),
        )


def _width_or_none(form: Rotated, cohort: int) -> int | None:
    try:
        return least_bits(form.room(cohort).width)
    except ParameterError:
        return None


def least_bound(clip: float, scale: float) -> int:
    """Returns the least whole number that is not below (clip * scale)**2, computed exactly."""
    return math.ceil((Fraction(clip) * Fraction(scale)) ** 2)


@lru_cache(maxsize=256)
def least_tail(noise: Noise, variance_steps: int, cohort: int, length: int) -> int:
    """Returns the least tail that `Rotated` takes for a cohort's vectors of this length.

    The noise of a cohort has n times the variance V of one client's, and for a coordinate

        ln Pr(|noise| > t) <= ln 2 + sqrt(V^2 + t^2) - V - t asinh(t / V)   (Skellam, Chernoff)
        ln Pr(|noise| > t) <= ln 2 - t^2 / 2V                               (discrete Gaussian)

    which over all coordinates must be 2**-40 at most. For the second, the sum of discrete Gaussians
    is subgaussian with the parameters of each (Canonne, Kamath, Steinke 2020, Corollary 17). With
    the largest variance and cohort it is below 2**40.
    """
    variance = cohort * variance_steps / VARIANCE_STEPS
    allowed = _FAILURE - math.log(2 * length)
    low, high = 0, 1
    while _log_tail(noise, variance, high) > allowed:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _log_tail(noise, variance, middle) <= allowed else (middle, high)
        )
    return high


def _log_tail(noise: Noise, variance: float, tail: int) -> float:
    """Returns the bound of ln(Pr(|noise| > tail) / 2)."""
    if noise is Noise.DISCRETE_GAUSSIAN:
        return -(tail**2) / (2 * variance)
    ratio = tail / variance
    # sqrt(V^2 + t^2) - V without the difference of two large numbers
    return tail * (ratio / (math.hypot(1.0, ratio) + 1.0) - math.asinh(ratio))


@lru_cache(maxsize=256)
def best_reach(bits: int, cohort: int) -> float:
    """Returns the reach of a grid of 2**bits levels that suits standard normal numbers best.

    What lies outside is clipped, alike at all clients; what is rounded at random averages out over
    the cohort. The sum of both errors is made smallest.
    """

    def error(reach: float) -> float:
        beyond = math.erfc(reach / math.sqrt(2)) / 2
        density = math.exp(-(reach**2) / 2) / math.sqrt(2 * math.pi)
        clipped = 2 * ((1 + reach**2) * beyond - reach * density)
        inside = 1 - 2 * beyond - 2 * reach * density + 2 * reach**2 * beyond
        step = 2 * reach / (2**bits - 1)
        rounded = reach**2 - inside if bits == 1 else step**2 / 6
        return clipped + rounded / cohort

    low, high = 0.1, 20.0
    while high - low > 1e-3:
        third = (high - low) / 3
        if error(low + third) < error(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2
