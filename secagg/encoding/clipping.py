"""Counts clipped values by array, and warns of them once per round.

A clipped value is a wrong one: the sum is not that of the updates, and a training that is clipped
too much fails in ways that are hard to find. So clipping is never silent: it is always counted, and
warned of unless noise is added. The clip of a format with noise is part of a promise of privacy; a
usual one is the median of the norms, and shortens half of the updates by design.
"""

import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import FrameType
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ..params.formats import FixedPoint, Format
from ..params.rotated import Rotated
from .arrays import called, kind_of, plain_dtype
from .ranges import Slot

# The share of an array's values above which their clipping is warned of.
SHARE: Final = 0.01
_NAMED: Final = 3  # arrays that a warning names
_FLOAT32: Final = np.dtype(np.float32)

Counts = NDArray[np.int64]

_gathering: Final[ContextVar[bool]] = ContextVar("gathering", default=False)
_texts: Final[ContextVar[list[str] | None]] = ContextVar("texts", default=None)


class ClippingWarning(UserWarning):
    """More than 1 % of the values of an array, or of a vector, were clipped, or any of records.

    The sum then differs from that of the updates by more than rounding. Raise `FixedPoint.clip` or
    the range of that array, or scale the updates. Records: ask about a wider range.

    With `Rotated` the whole vector of a client that is longer than `Rotated.clip` is shortened to
    it: all of its values count as clipped. With noise there is no warning.
    """


class Arrays(Protocol):
    """The arrays that make one vector, in order; a `secagg.Layout`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Their shapes."""

    @property
    def dtypes(self) -> tuple[np.dtype[Any], ...]:
        """Their dtypes."""


@lru_cache(maxsize=64)
def clip_bound(clip: float, dtype: np.dtype[np.generic]) -> float:
    """Returns the size above which a value of a dtype counts as clipped: `clip` or a little more.

    Values that were clipped to the same bound before, in float32 say, are at the bound as that
    dtype has it, which may lie above the double: `np.float32(0.1) > 0.1`.
    """
    if kind_of(dtype) != "f":
        return clip
    if dtype.itemsize >= _FLOAT32.itemsize:
        dtype = _FLOAT32  # a wider vector may have arrays of it
    with np.errstate(all="ignore"):  # infinite where the dtype has no such value
        rounded = float(np.array(clip).astype(dtype))
    return max(clip, rounded) if np.isfinite(rounded) else clip


@lru_cache(maxsize=64)
def length_bound(clip: float, dtype: np.dtype[np.generic], size: int) -> float:
    """Returns the L2 norm above which a vector counts as longer than `clip`: a little more.

    One that was shortened to the same clip before, in float32 say, is longer by as much as its
    values were rounded, and as a norm is off that adds up so many squares in float32.
    """
    spacing = float(np.finfo(_FLOAT32).eps)
    plain = plain_dtype(dtype)
    own = float(np.finfo(plain).eps) if plain.kind == "f" else 0.0
    return clip * (1 + max(own, spacing) + spacing * math.sqrt(size))


def count_clipped(form: Format, layout: Arrays, vector: NDArray[np.generic]) -> Counts:
    """Counts the values of one input that its format clips, by array in the layout's order.

    Args:
        form: the format; `Integers` clip nothing. Of a vector that is longer than the clip of
            `Rotated` all values count, as in `Client.clipped`.
        layout: of the vector.
        vector: shape (layout.length,), of a real dtype.
    """
    sizes = _sizes(layout)
    counts = np.zeros(sizes.size, np.int64)
    if isinstance(form, FixedPoint):
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        for at, (part, dtype) in enumerate(zip(parts, layout.dtypes, strict=True)):
            # A vector of arrays of several dtypes has the widest of them.
            bound = max(clip_bound(form.clip, each) for each in (dtype, vector.dtype))
            counts[at] = np.count_nonzero(np.greater(part, bound) | np.less(part, -bound))
    elif isinstance(form, Rotated):
        with np.errstate(over="ignore"):  # infinite is longer than any clip
            length = np.linalg.norm(vector.astype(np.float64))
        if length > length_bound(form.clip, vector.dtype, vector.size):
            return sizes
    return counts


def warn_of_clipping(form: Format, layout: Arrays, clipped: Counts, parties: int) -> None:
    """Issues one ClippingWarning if more than `SHARE` of an array was clipped; names such arrays.

    With `Rotated` it says how many inputs were shortened; with noise there is none. It points at
    the first line outside the library.

    Args:
        form: the format.
        layout: of the inputs.
        clipped: clipped values by array, the sum of `count_clipped` over the parties.
        parties: the number of parties.
    """
    sizes = _sizes(layout)
    if isinstance(form, FixedPoint):
        _warn(form, layout.names, clipped, parties * sizes)
    elif isinstance(form, Rotated):
        _warn_of_length(form, int(clipped.sum() // sizes.sum()), parties)


def warn_of_vector(form: Format, clipped: int, length: int, *, is_long: bool) -> None:
    """Issues one ClippingWarning if more than `SHARE` of a single vector was clipped.

    Not within `gathered`.

    Args:
        form: the format.
        clipped: clipped values.
        length: of the vector.
        is_long: whether it was longer than the clip of `Rotated`. What its rotation has put beyond
            the grid is clipped by design, and not warned of.
    """
    if _gathering.get():
        return
    if isinstance(form, FixedPoint):
        _warn(form, ("",), np.array([clipped]), np.array([length]))
    elif isinstance(form, Rotated):
        _warn_of_length(form, int(is_long), 1)


def _sizes(layout: Arrays) -> Counts:
    """Returns the number of values of each array."""
    return np.array([np.prod(shape, dtype=np.int64) for shape in layout.shapes], np.int64)


def warn_of_slots(slots: Sequence[Slot], clipped: Counts) -> None:
    """Issues one ClippingWarning if more than `SHARE` of an array or metric was clipped.

    Args:
        slots: arrays and metrics of one model, each with a range of its own.
        clipped: clipped values of each.
    """
    texts = [f" of {slot.called} outside of {slot.low:g}..{slot.high:g}" for slot in slots]
    sizes = np.array([slot.size for slot in slots], np.int64)
    _warn_of_much(texts, clipped, sizes, "", "their ranges in the layout")


def _warn(form: FixedPoint, names: tuple[str, ...], clipped: Counts, sizes: Counts) -> None:
    texts = [f" of {called(name)}" if name else "" for name in names]
    outside = f"outside of -{form.clip:g}..{form.clip:g} and were "
    _warn_of_much(texts, clipped, sizes, outside, "the clip of FixedPoint")


def _warn_of_length(form: Rotated, long: int, updates: int) -> None:
    if form.noisy or long <= SHARE * updates:
        return
    one = updates == 1
    which = "the update is" if one else f"{long:,} of {updates:,} updates are"
    _issue(
        f"{which} longer than the clip of Rotated, an L2 norm of {form.clip:g}, and "
        f"{'was' if one else 'were'} shortened to it, so the sum is not that of the updates: raise "
        "the clip (of the layout, if a ModelLayout has packed them), or scale the updates"
    )


def _warn_of_much(
    texts: list[str], clipped: Counts, sizes: Counts, outside: str, remedy: str
) -> None:
    much = np.flatnonzero(clipped > SHARE * sizes)
    if not much.size:
        return
    shares = clipped[much] / sizes[much]
    order = np.argsort(-shares, kind="stable")
    parts = [
        f"{clipped[at]:,} of {sizes[at]:,} values ({share:.1%}){texts[at]}"
        for at, share in zip(much[order][:_NAMED], shares[order][:_NAMED], strict=True)
    ]
    if much.size > _NAMED:
        parts.append(f"and values of {much.size - _NAMED} more arrays")
    _issue(
        f"{', '.join(parts)} were {outside}clipped, so the sum is not that of the updates: raise "
        f"{remedy}, or scale the updates"
    )


def warn_of_records(clipped: Mapping[str, int], records: int) -> None:
    """Issues one ClippingWarning if any values of a party's records were clipped; names columns.

    Args:
        clipped: clipped values by what they are called.
        records: the number of records.
    """
    if clipped:
        parts = [f"{count:,} of {records:,} values of {what}" for what, count in clipped.items()]
        _issue(f"{', '.join(parts)} are outside the range of the query, and were clipped")


def _issue(text: str) -> None:
    noted = _texts.get()
    if noted is not None:
        noted.append(text)
    warnings.warn(text, ClippingWarning, stacklevel=_frames_of_the_library() + 1)


@contextmanager
def gathered() -> Iterator[None]:
    """Keeps clients quiet while a driver plays many: its caller adds up the counts and warns."""
    before = _gathering.set(True)
    try:
        yield
    finally:
        _gathering.reset(before)


@contextmanager
def noted() -> Iterator[list[str]]:
    """Yields a list that gets the texts of clipping warnings, for a driver to log.

    Python shows a warning once per place and text at most, so an operator would see the first of
    a hundred rounds. The texts have counts, names and ranges, and no value of an input.
    """
    texts: list[str] = []
    before = _texts.set(texts)
    try:
        yield texts
    finally:
        _texts.reset(before)


def _frames_of_the_library() -> int:
    """Returns how many frames, of the caller and its callers, are in a row functions of secagg."""
    frame: FrameType | None = sys._getframe(1)
    count = 0
    while frame is not None and str(frame.f_globals.get("__name__")).split(".")[0] == "secagg":
        count += 1
        frame = frame.f_back
    return count
