"""A random part of the coordinates of a vector, the same at all parties, so that sums stay sums.

Which k of d coordinates are kept follows from a public seed, and from nothing else: with the key
K = H("random k", seed), coordinate i has the i-th 64-bit word, little-endian, of the keystream of
AES-256-CTR under K with nonce 0 (`docs/WIRE.md`, Streams), and the k coordinates with the smallest
words are kept; of equal words the one of the smaller i is smaller. So every set of k coordinates
has the same chance, but for equal words, which occur with a chance of d^2 / 2^65 at most.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..params.checks import require_int
from ..params.formats import Format
from ..params.suite import Suite
from ..primitives.labels import Label, hash_parts
from ..primitives.prg import stream
from .arrays import called, read_array
from .described import Described
from .digest import Part, digest
from .model_layout import ModelLayout

_MOST: Final = 2**28  # coordinates: 2 GiB of keystream


@dataclass(frozen=True, slots=True, init=False)
class RandomK(Described):
    """k of d coordinates of a vector, drawn at random from a public seed: fewer bytes per round.

        part = secagg.RandomK(layout, 10_000, "heart study", model)
        part.take(layout.pack(new, model))                          # a party's input
        layout.unpack(part.put(result.mean, unbiased=True), model)  # at the server

    It takes the layout's place as the shape of the round, and in what the round is about:
    `rounds.plan(present, part, model)`, `assignment.expect("heart study", part, model)`.

    Attributes:
        shape: the layout of the whole vector, or its length d.
        length: coordinates that are kept, k, `Params.length`.
        seed: 32 bytes, the digest of what the selection is made from.
        format: that of the layout; None without one.
        cohort: the same.
    """

    shape: int | ModelLayout
    length: int
    seed: bytes
    format: Format | None = field(compare=False)
    cohort: int | None = field(compare=False)

    def __init__(self, shape: int | ModelLayout, keep: int, *seed: Part) -> None:
        """Draws which coordinates are kept.

        Args:
            shape: d, 1..2**28; or a `ModelLayout` in which all that is sent is a mean, in ranges
                around zero, as updates are: then 0 means no change of a coordinate that is not
                sent.
            keep: k, 1..d.
            seed: what the selection is made from, as `digest` takes it, such as the training and
                the model, so that each model has another one. Not a number that only the server
                tells: it could ask for the same update under one selection after the other.

        Raises:
            ParameterError: an argument is wrong, or the layout has a sum, a metric, or a range that
                is not around zero.
            RangeError: something of the seed has no digest.
        """
        whole = shape.length if isinstance(shape, ModelLayout) else shape
        length = require_int("shape, if it is no ModelLayout,", whole, 1, _MOST)
        layout = shape if isinstance(shape, ModelLayout) else None
        if layout is not None:
            _require_updates(layout)
        if not seed:
            raise ParameterError(
                "a seed is needed, such as the training and the model, else all selections are one",
                Code.ARGUMENT,
            )
        object.__setattr__(self, "shape", length if layout is None else layout)
        object.__setattr__(self, "length", require_int("keep", keep, 1, length))
        object.__setattr__(self, "seed", digest(*seed))
        object.__setattr__(self, "format", layout and layout.format)
        object.__setattr__(self, "cohort", layout and layout.cohort)

    def __repr__(self) -> str:
        return f"RandomK({self.length} of {self.whole})"

    @property
    def whole(self) -> int:
        """Coordinates of the whole vector, d."""
        return self.shape.length if isinstance(self.shape, ModelLayout) else self.shape

    @property
    def positions(self) -> NDArray[np.int64]:
        """The coordinates that are kept, ascending; read-only."""
        return _positions(self.whole, self.length, self.seed)

    def parts(self) -> tuple[Any, ...]:
        """Returns parts of a digest."""
        return "secagg.RandomK", self.shape, self.length, self.seed

    def take(self, vector: ArrayLike) -> NDArray[np.generic]:
        """Returns the coordinates of a vector that are kept, in its dtype.

        Args:
            vector: shape (d,).

        Raises:
            RangeError: it is no such array.
        """
        return self._read(vector, self.whole)[self.positions]

    def put(self, kept: ArrayLike, *, unbiased: bool = False) -> NDArray[np.generic]:
        """Returns a whole vector, shape (d,), with zeros where nothing was kept.

        Args:
            kept: shape (k,), such as the total or the mean of a round.
            unbiased: multiplies by d / k, as floats: then the mean over all seeds is the whole
                vector x, and the mean squared error (d / k - 1) |x|^2.

        Raises:
            RangeError: it is no such array.
        """
        values = self._read(kept, self.length)
        if unbiased:
            values = values * (self.whole / self.length)
        whole = np.zeros(self.whole, values.dtype)
        whole[self.positions] = values
        return whole

    def _read(self, given: object, length: int) -> NDArray[Any]:
        array: NDArray[Any] = read_array(given, "the vector")
        if array.shape != (length,):
            raise RangeError(
                f"a vector of shape ({length},) is needed, not {array.shape}", Code.SHAPE
            )
        return array


@lru_cache(maxsize=4)
def _positions(whole: int, keep: int, seed: bytes) -> NDArray[np.int64]:
    key = hash_parts(Label.RANDOM_K, seed)
    words = np.frombuffer(stream(Suite.AES256CTR.generator, key, 8 * whole), "<u8")
    last = np.partition(words, keep - 1)[keep - 1]
    below, equal = np.flatnonzero(words < last), np.flatnonzero(words == last)
    positions = np.sort(np.concatenate([below, equal[: keep - below.size]]))
    positions.flags.writeable = False
    return positions


def _require_updates(layout: ModelLayout) -> None:
    """Raises ParameterError unless a 0 in any place of a vector stands for no change."""
    for slot in (*layout.arrays, *layout.metrics):
        if slot.mode != "keep" and (slot.metric or slot.mode != "mean" or slot.low != -slot.high):
            what = f"metric {slot.name!r}" if slot.metric else called(slot.name)
            raise ParameterError(
                f"{what} cannot be sent in part: a RandomK is for updates in ranges around zero; "
                "sum others in a round of their own",
                Code.LAYOUT,
            )
