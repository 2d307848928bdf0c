"""Intervals of integers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """The integers low..high, both inclusive; `low` may be below zero."""

    low: int
    high: int

    @property
    def width(self) -> int:
        """The distance of the two ends."""
        return self.high - self.low
