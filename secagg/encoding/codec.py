"""What every codec has in common: its interface, and the reading of a caller's array."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arithmetic.binding import Vector
from ..codes import Code
from ..errors import RangeError
from ..events import Randomness


@dataclass(frozen=True, slots=True)
class Encoded:
    """A client's input as field elements, and how many of its values were clipped."""

    vector: Vector
    clipped: int

    def __repr__(self) -> str:
        return f"Encoded(<{self.vector.size} elements>, clipped={self.clipped})"


@dataclass(frozen=True, slots=True)
class Decoded:
    """The sum of the survivors' inputs: total, sum of weights, and their quotient."""

    total: NDArray[np.float64] | NDArray[np.int64]
    weight: int
    mean: NDArray[np.float64]


class Codec(Protocol):
    """Encodes one input and decodes a sum, for one set of parameters."""

    def encode(self, values: ArrayLike, weight: int, random: Randomness) -> Encoded:
        """The vector of one client; RangeError before any randomness is drawn."""

    def decode(self, total: Vector, survivors: int) -> Decoded:
        """The sum of so many survivors; RangeError if no honest inputs can sum to it."""


def read_input(values: ArrayLike, length: int, kinds: str) -> NDArray[np.generic]:
    """The caller's values as a contiguous native array of the right length; never written to.

    Raises:
        RangeError: not one-dimensional, another length, or a dtype that is not of these kinds.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        raise RangeError("an input is not an array of numbers", Code.DTYPE) from None
    if array.ndim != 1:
        raise RangeError(
            f"an input has one dimension, not {array.ndim} (see secagg.Layout)", Code.SHAPE
        )
    if array.size != length:
        raise RangeError(f"an input has {length} values, not {array.size}", Code.SHAPE)
    if array.dtype.kind not in kinds:
        raise RangeError(f"an input cannot have dtype {array.dtype}", Code.DTYPE)
    return np.require(array, array.dtype.newbyteorder("="), ["C", "A"])
