"""Number format 3 (docs/WIRE.md "Parameters" and "Encoded input", rotated)."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction

from . import noise
from .arithmetic import level, prime, stream, words
from .primitives import Random, hashed

Input = tuple[Sequence[float], int]  # values and a weight
NONE, SKELLAM, DISCRETE_GAUSSIAN = 0, 1, 2  # the field `noise`
TRIES = 16  # of a rounding, then towards zero
MOST_STEPS = {SKELLAM: 2**50, DISCRETE_GAUSSIAN: 2**56}  # of the variance of one party
SET = -1  # the sign that a set bit means
STEPS = 2**16  # of a variance, in 1
DIGITS = 60  # decimal ones, in which the tail of the noise is computed


@dataclass(frozen=True)
class Rotated:
    """WIRE.md "Parameters": rotated."""

    clip: float
    scale: float
    bound: int
    peak: int
    tail: int
    noise: int
    variance: int
    rotation: int
    slots: int
    max_weight: int

    def encode(self) -> bytes:
        """The bytes of the format."""
        return struct.pack(
            "<BddQIQBQBBI",
            *(3, self.clip, self.scale, self.bound, self.peak, self.tail),
            *(self.noise, self.variance, self.rotation, self.slots, self.max_weight),
        )

    def digit_bits(self, cohort: int) -> int:
        """D."""
        return (cohort * self.peak).bit_length()

    def elements(self, length: int) -> int:
        """L without the weight."""
        return -(-length // self.slots)

    def largest(self, cohort: int) -> int:
        """What p(b) is above."""
        if self.noise != NONE:
            return 2 * (cohort * max(self.peak, self.max_weight) + self.tail)
        ones = sum(1 << self.digit_bits(cohort) * slot for slot in range(self.slots))
        return max(cohort * self.peak * ones, cohort * self.max_weight)


def is_allowed(f: Rotated, cohort: int, length: int) -> bool:
    """WIRE.md "Parameters": the conditions on this format, but for the width of the field."""
    if not all(2.0**-250 <= value <= 2.0**250 for value in (f.clip, f.scale)):
        return False
    if f.rotation not in (0, 1) or f.max_weight < 1:
        return False
    if f.noise == NONE:
        small = 1 <= f.peak <= 2**16 - 1 and 1 <= f.slots <= 62
        return small and f.bound == f.tail == f.variance == 0
    return (
        f.noise in MOST_STEPS
        and 1 <= f.peak <= 2**31 - 1
        and f.slots == f.max_weight == 1
        and (Fraction(f.clip) * Fraction(f.scale)) ** 2 <= f.bound
        and 1 <= f.variance <= MOST_STEPS[f.noise]
        and 1 <= f.tail <= 2**61
        and beyond_the_tail(f, cohort, length) <= Decimal(2) ** -40
    )


def beyond_the_tail(f: Rotated, cohort: int, length: int) -> Decimal:
    """A bound on the probability that noise of the whole cohort is beyond the tail somewhere."""
    with localcontext() as context:
        context.prec = DIGITS
        v, t = Decimal(cohort * f.variance) / STEPS, Decimal(f.tail)
        if f.noise == SKELLAM:
            root = (v * v + t * t).sqrt()
            exponent = root - v - t * ((t + root) / v).ln()
        else:
            exponent = -t * t / (2 * v)
        return 2 * length * exponent.exp()


# -- one input ------------------------------------------------------------------------------------


def encode(
    f: Rotated, cohort: int, suite: int, session: bytes, given: Input, random: Random
) -> list[int]:
    """The elements of an input, without the weight and not yet modulo p."""
    q = numbers(f, suite, session, given, random(32))
    if f.noise == NONE:
        return together(f, cohort, q)
    drawn = drawn_noise(f, suite, random(32), len(q))
    return [value + more for value, more in zip(q, drawn, strict=True)]


def numbers(f: Rotated, suite: int, session: bytes, given: Input, key: bytes) -> list[int]:
    """The first three steps: q_i, or q_i - peak with noise."""
    x = weighed(f, *given)
    return rounded(f, suite, key, rotate(x, suite, session) if f.rotation else x)


def drawn_noise(f: Rotated, suite: int, key: bytes, count: int) -> list[int]:
    """Noise as this library draws it from a stream; a client may draw it otherwise."""
    if f.noise == SKELLAM:
        thresholds = [noise.UNIT - tail for tail in noise.tails(f.variance)]
        return noise.skellam(suite, key, thresholds, count)
    source = noise.Gaussian(suite, key, f.variance)
    return [source.sample() for _ in range(count)]


def shortened(values: Sequence[float], clip: float) -> list[float]:
    """Step 1, without the weight; squares are of parts, as a double may hold none of a value."""
    if sum(Fraction(value) ** 2 for value in values) <= Fraction(clip) ** 2:
        return list(values)
    most = max(map(abs, values))
    parts = [value / most for value in values]
    return [part * (clip / math.hypot(*parts)) for part in parts]


def weighed(f: Rotated, values: Sequence[float], weight: int) -> list[float]:
    """Step 1."""
    return [value * (weight / f.max_weight) for value in shortened(values, f.clip)]


def rounded(f: Rotated, suite: int, key: bytes, x: Sequence[float]) -> list[int]:
    """Step 3: 0..peak without noise, with it integers whose squares have a sum within bound."""
    if f.noise == NONE:
        reach = float(f.peak) / (2.0 * f.scale)
        drawn = drawn_for(suite, key, 0, len(x))
        return [digit(v, u, reach, f.peak) for v, u in zip(x, drawn, strict=True)]
    reach, levels = float(f.peak) / f.scale, 2 * f.peak
    for attempt in range(TRIES):
        drawn = drawn_for(suite, key, attempt, len(x))
        q = [digit(v, u, reach, levels) - f.peak for v, u in zip(x, drawn, strict=True)]
        if within(q, f.bound):
            return q
    q = towards_zero(f, x)
    while not within(q, f.bound):  # floating point has lengthened the vector
        x = [value * (1.0 - 2.0**-10) for value in x]
        q = towards_zero(f, x)
    return q


def drawn_for(suite: int, key: bytes, attempt: int, length: int) -> list[float]:
    """u_i of one attempt to round."""
    return [w * 2.0**-32 for w in words(suite, key, 0, 4, attempt * length, length)]


def within(q: Sequence[int], bound: int) -> bool:
    """Returns whether the sum of squares is small enough."""
    return sum(value * value for value in q) <= bound


def digit(x: float, u: float, reach: float, levels: int) -> int:
    """q_i in 0..levels."""
    return level(min(max(x, -reach), reach), u, reach, levels)


def towards_zero(f: Rotated, x: Sequence[float]) -> list[int]:
    """Integers none of which is longer than its number."""
    return [max(-f.peak, min(int(value * f.scale), f.peak)) for value in x]


# -- the rotation ---------------------------------------------------------------------------------


def rotate(x: Sequence[float], suite: int, session: bytes) -> list[float]:
    """Step 2."""
    for first, last, signs in passes(len(x), suite, session):
        x = [v * s for v, s in zip(x, signs, strict=True)]
        x = [*x[:first], *hadamard(x[first:last]), *x[last:]]
    return list(x)


def rotate_back(x: Sequence[float], suite: int, session: bytes) -> list[float]:
    """The inverse of step 2: every part of it is its own inverse."""
    for first, last, signs in reversed(passes(len(x), suite, session)):
        x = [*x[:first], *hadamard(x[first:last]), *x[last:]]
        x = [v * s for v, s in zip(x, signs, strict=True)]
    return list(x)


def passes(m: int, suite: int, session: bytes) -> list[tuple[int, int, list[int]]]:
    """The coordinates that are transformed, and the signs of all of them: one pass or two."""
    p = 1 << m.bit_length() - 1
    found = [(0, p, signs(suite, session, 0, m))]
    return found if p == m else [*found, (m - p, m, signs(suite, session, 1, m))]


def signs(suite: int, session: bytes, nonce: int, m: int) -> list[int]:
    """1 or -1 for each coordinate."""
    data = stream(suite, hashed("rotation", session), nonce, 0, (m + 7) // 8)
    return [SET if data[i // 8] >> i % 8 & 1 else -SET for i in range(m)]


def hadamard(x: Sequence[float]) -> list[float]:
    """H x / sqrt(P)."""
    root = math.sqrt(float(len(x)))
    rows = range(len(x))
    return [math.fsum(entry(r, c) * v for c, v in enumerate(x)) / root for r in rows]


def entry(r: int, c: int) -> int:
    """Of the Hadamard matrix."""
    return -1 if (r & c).bit_count() % 2 else 1


# -- slots and sums -------------------------------------------------------------------------------


def together(f: Rotated, cohort: int, q: Sequence[int]) -> list[int]:
    """Step 4 without noise: elements of several digits."""
    d, found = f.digit_bits(cohort), list[int]()
    for at in range(0, len(q), f.slots):
        found.append(sum(value << d * slot for slot, value in enumerate(q[at : at + f.slots])))
    return found


def apart(f: Rotated, cohort: int, elements: Sequence[int]) -> list[int]:
    """The digits of a sum; the last one of an element is what is left of it, however large."""
    d, last = f.digit_bits(cohort), f.slots - 1
    return [
        element >> d * slot & (-1 if slot == last else (1 << d) - 1)
        for element in elements
        for slot in range(f.slots)
    ]


def sums(f: Rotated, cohort: int, bits: int, elements: Sequence[int]) -> list[int]:
    """Q of all coordinates, and of the digits beyond them."""
    if f.noise == NONE:
        return apart(f, cohort, elements)
    p = prime(bits)
    return [element - p if element > p // 2 else element for element in elements]


def possible(f: Rotated, length: int, found: Sequence[int], survivors: int) -> bool:
    """WIRE.md "Encoded input": whether honest inputs have these Q."""
    if f.noise != NONE:
        return all(abs(q) <= survivors * f.peak + f.tail for q in found)
    return all(q <= survivors * f.peak for q in found) and not any(found[length:])


def total(
    f: Rotated, suite: int, session: bytes, found: Sequence[int], survivors: int
) -> list[float]:
    """The total, of Q of the coordinates."""
    middle = 0.0 if f.noise != NONE else float(survivors * f.peak) / 2.0
    x = [(float(q) - middle) * float(f.max_weight) / f.scale for q in found]
    return rotate_back(x, suite, session) if f.rotation else x
