"""Parameters of a round and encodings of inputs (docs/WIRE.md "Parameters", "Encoded input")."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from . import rotated
from .arithmetic import prime, quantize
from .primitives import Random, u32
from .rotated import Rotated

MALICIOUS, SPARSE = 1, 2  # WIRE.md "Parameters": mode


@dataclass(frozen=True)
class FixedPoint:
    """WIRE.md "Parameters": fixed point."""

    clip: float
    bits: int
    max_weight: int

    def encode(self) -> bytes:
        """The bytes of the format."""
        return struct.pack("<BdBI", 1, self.clip, self.bits, self.max_weight)


@dataclass(frozen=True)
class Integers:
    """WIRE.md "Parameters": integers in low..high, both included."""

    low: int
    high: int

    def encode(self) -> bytes:
        """The bytes of the format."""
        return struct.pack("<Bqq", 2, self.low, self.high)


Format = FixedPoint | Integers | Rotated


@dataclass(frozen=True)
class Parameters:
    """WIRE.md "Parameters"."""

    suite: int
    mode: int
    cohort: int
    threshold: int
    min_survivors: int
    colluders: int
    length: int
    format: Format
    degree: int = 0  # k, in mode 2

    def encode(self) -> bytes:
        """The bytes in the offer and under params_hash."""
        numbers = [self.cohort, self.threshold, self.min_survivors, self.colluders]
        numbers += [self.degree] if self.sparse else []
        head = bytes([self.suite, self.mode]) + b"".join(map(u32, numbers))
        return head + struct.pack("<Q", self.length) + self.format.encode()

    @property
    def malicious(self) -> bool:
        """True if the parties sign."""
        return self.mode == MALICIOUS

    @property
    def sparse(self) -> bool:
        """True if a party has fewer neighbours than all the others."""
        return self.mode == SPARSE

    @property
    def weighted(self) -> bool:
        """True if the last element of the vector is the weight."""
        return not isinstance(self.format, Integers) and self.format.max_weight > 1

    @property
    def vector_length(self) -> int:
        """L."""
        f = self.format
        elements = f.elements(self.length) if isinstance(f, Rotated) else self.length
        return elements + int(self.weighted)

    @property
    def field_bits(self) -> int:
        """b."""
        for bits in range(16, 63):
            if self.largest_sum < prime(bits):
                return bits
        raise ValueError("no field is wide enough")

    @property
    def largest_sum(self) -> int:
        """What p(b) is above."""
        f = self.format
        if isinstance(f, Rotated):
            return f.largest(self.cohort)
        return self.cohort * (
            f.max_weight * (2**f.bits - 1) if isinstance(f, FixedPoint) else f.high - f.low
        )

    @property
    def quorum(self) -> int:
        """The least number of parties that may remain."""
        return self.min_survivors if self.sparse else max(self.threshold, self.min_survivors)

    def encode_input(
        self, values: Sequence[float], weight: int, random: Random, session: bytes = b""
    ) -> list[int]:
        """WIRE.md "Encoded input": x_u, drawing keys as listed; only rotations need a session."""
        f = self.format
        if not self.takes(values, weight):
            raise ValueError("the input is refused")
        if isinstance(f, Integers):
            return [int(x) - f.low for x in values]
        if isinstance(f, FixedPoint):
            key = random(32)
            return quantize(values, f.clip, f.bits, weight, f.max_weight, self.suite, key)
        x = rotated.encode(f, self.cohort, self.suite, session, (values, weight), random)
        return [*(element % prime(self.field_bits) for element in x), *[weight] * self.weighted]

    def takes(self, values: Sequence[float], weight: int) -> bool:
        """Returns whether this is an input."""
        f = self.format
        if isinstance(f, Integers):
            good = all(f.low <= x <= f.high for x in values) and weight == 1
        else:
            good = all(map(isfinite, values)) and 1 <= weight <= f.max_weight
        return good and len(values) == self.length

    def possible(self, field_sum: Sequence[int], survivors: int) -> bool:
        """WIRE.md "Encoded input": whether honest inputs have this sum."""
        f = self.format
        if isinstance(f, Integers):
            return max(field_sum) <= (f.high - f.low) * survivors
        *elements, w = field_sum if self.weighted else (*field_sum, survivors)
        if not survivors <= w <= survivors * f.max_weight:
            return False
        if isinstance(f, FixedPoint):
            return max(elements) <= (2**f.bits - 1) * w
        q = rotated.sums(f, self.cohort, self.field_bits, elements)
        return rotated.possible(f, self.length, q, survivors)

    def decode_sum(
        self, field_sum: Sequence[int], survivors: int, session: bytes = b""
    ) -> tuple[list[float] | list[int], list[float] | None]:
        """WIRE.md "Encoded input": total and mean (no mean is specified for integers)."""
        f = self.format
        if isinstance(f, Integers):
            return [q + f.low * survivors for q in field_sum], None
        *elements, last = field_sum if self.weighted else (*field_sum, survivors)
        w = float(last)
        if isinstance(f, Rotated):
            q = rotated.sums(f, self.cohort, self.field_bits, elements)[: self.length]
            total = rotated.total(f, self.suite, session, q, survivors)
            return total, [x / w for x in total]
        step = 2.0 * f.clip / float(2**f.bits - 1)
        sums = [float(element) for element in elements]
        return [q * step - f.clip * w for q in sums], [q * (step / w) - f.clip for q in sums]
