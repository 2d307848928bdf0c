"""Expands masks as jobs that may run anywhere, cut by keys and by range of the vector."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..arithmetic.generators import Generator
from ..codes import Code
from ..errors import RangeError
from ..tracebacks import keeps_no_locals

# Mask elements per job: it takes some milliseconds.
PIECE_ELEMENTS: Final = 2**24
# Keys per job. With fewer, results that come back are larger than the keys that are sent; with
# more, all masks of a short vector would be a single job.
PIECE_MIN_KEYS: Final = 1024
PIECE_MAX_KEYS: Final = 4096


@dataclass(frozen=True, slots=True)
class SignedKeys:
    """Mask keys, and the signs with which their masks were added to the sum."""

    keys: tuple[bytes, ...] = field(repr=False)
    signs: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class ExpandJob:
    """Computes the sum of masks over one range of the vector, to subtract from the masked sum."""

    masks: SignedKeys
    bits: int
    generator: Generator
    start: int
    length: int

    @keeps_no_locals
    def run(self) -> Vector:
        """Computes the signed sum of the masks, elements start .. start + length - 1.

        It uses one thread: the executor decides how many jobs run at the same time.
        """
        whole = Field(self.bits)
        return whole.accumulate(
            whole.zeros(self.length),
            self.masks.keys,
            self.masks.signs,
            self.generator,
            self.start,
            threads=1,
        )

    def checked(self, value: object) -> Vector:
        """Returns the value if it has the shape of a result; raises RangeError otherwise."""
        if type(value) is not np.ndarray or value.shape != (self.length,):  # no subclass
            raise RangeError(
                f"the value of this ExpandJob must be an array of {self.length} elements",
                Code.ARGUMENT,
            )
        return value


def cut_masks(
    masks: SignedKeys, bits: int, generator: Generator, length: int
) -> Iterator[ExpandJob]:
    """Cuts the expansion of many masks into jobs of bounded size.

    Args:
        masks: the keys and signs.
        bits: width of the field, 16..62.
        generator: expands the keys.
        length: elements of a vector.
    """
    count = len(masks.keys)
    most = min(max(PIECE_ELEMENTS // length, PIECE_MIN_KEYS), PIECE_MAX_KEYS)
    for first, last in ranges(count, most):
        some = SignedKeys(masks.keys[first:last], masks.signs[first:last])
        for start, stop in ranges(length, max(PIECE_ELEMENTS // (last - first), 1024)):
            yield ExpandJob(some, bits, generator, start, stop - start)


def ranges(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Cuts 0 .. count into as few ranges of at most `most` as possible, of nearly equal size."""
    pieces = -(-count // most)
    for piece in range(pieces):
        yield count * piece // pieces, count * (piece + 1) // pieces
