"""Parameters of a round and encodings of inputs (docs/WIRE.md "Parameters", "Encoded input")."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from .arithmetic import prime, quantize
from .primitives import Random, u32

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
    format: FixedPoint | Integers
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
        return isinstance(self.format, FixedPoint) and self.format.max_weight > 1

    @property
    def vector_length(self) -> int:
        """L."""
        return self.length + int(self.weighted)

    @property
    def field_bits(self) -> int:
        """b."""
        f = self.format
        largest = f.max_weight * (2**f.bits - 1) if isinstance(f, FixedPoint) else f.high - f.low
        for bits in range(16, 63):
            if self.cohort * largest < prime(bits):
                return bits
        raise ValueError("no field is wide enough")

    @property
    def quorum(self) -> int:
        """The least number of parties that may remain."""
        return self.min_survivors if self.sparse else max(self.threshold, self.min_survivors)

    def encode_input(self, values: Sequence[float], weight: int, random: Random) -> list[int]:
        """WIRE.md "Encoded input": x_u, drawing rounding_key for fixed point."""
        f = self.format
        if not self.takes(values, weight):
            raise ValueError("the input is refused")
        if isinstance(f, FixedPoint):
            key = random(32)
            return quantize(values, f.clip, f.bits, weight, f.max_weight, self.suite, key)
        return [int(x) - f.low for x in values]

    def takes(self, values: Sequence[float], weight: int) -> bool:
        """Returns whether this is an input."""
        f = self.format
        if isinstance(f, FixedPoint):
            good = all(map(isfinite, values)) and 1 <= weight <= f.max_weight
        else:
            good = all(f.low <= x <= f.high for x in values) and weight == 1
        return good and len(values) == self.length

    def decode_sum(
        self, field_sum: Sequence[int], survivors: int
    ) -> tuple[list[float] | list[int], list[float] | None]:
        """WIRE.md "Encoded input": total and mean (no mean is specified for integers)."""
        f = self.format
        if isinstance(f, Integers):
            return [q + f.low * survivors for q in field_sum], None
        step = 2.0 * f.clip / float(2**f.bits - 1)
        sums = [float(q) for q in field_sum[: self.length]]
        w = float(field_sum[-1] if self.weighted else survivors)
        return [q * step - f.clip * w for q in sums], [q * (step / w) - f.clip for q in sums]
