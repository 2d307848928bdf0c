"""The suite of a session: all its algorithms under one number."""

from enum import IntEnum

from ..arithmetic.binding import lib
from ..arithmetic.generators import Generator


class Suite(IntEnum):
    """All algorithms of a session by one number (`docs/WIRE.md`, Parameters).

    Suites differ in the generator of masks: AES-256-CTR is the fastest where the CPU has AES
    instructions, ChaCha20 where it has none.

    Attributes:
        generator: the keystream generator, by its number in the native core.
    """

    generator: Generator

    def __new__(cls, number: int, *generator: Generator) -> "Suite":
        """Makes a member; `Suite(number)` only looks one up."""
        suite = int.__new__(cls, number)
        suite._value_ = number
        (suite.generator,) = generator
        return suite

    # The number on the wire, and the generator's in the core.
    AES256CTR = 1, lib.SA_AES256CTR
    CHACHA20 = 2, lib.SA_CHACHA20
