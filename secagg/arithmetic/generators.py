"""Keystream generators: the ciphers in counter mode from which masks and rounding are drawn.

A generator is one of the algorithms of a suite (`secagg.Suite`). It has the number that the native
core uses (`native/api.h`), which need not be the number of the suite in messages.
"""

from typing import Final, NewType

from ..codes import Code
from ..errors import RangeError
from .binding import lib

Generator = NewType("Generator", int)

GENERATORS: Final = frozenset(
    lib.sa_family_generator(family) for family in range(lib.sa_family_count())
) - {0}


def unknown_generator(generator: int) -> RangeError:
    """Returns the exception for a number that is not in `GENERATORS`."""
    known = ", ".join(map(str, sorted(GENERATORS)))
    return RangeError(f"there is no generator {generator}: choose one of {known}", Code.UNSUPPORTED)
