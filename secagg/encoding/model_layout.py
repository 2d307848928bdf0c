"""A model and its metrics as one input: each array and metric with a range of its own."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..numeric import brief
from ..params.checks import require_int
from ..params.formats import Format, check_length, field_width
from ..params.params import MAX_COHORT
from ..params.rotated import Rotated
from .arrays import kind_of, shortened
from .clipping import warn_of_slots
from .fitting import Sums, leaves_in, read_model, read_sums, require_same_kind, require_update
from .layout import Layout, layout_of
from .model_bytes import length_of, read, written
from .ranges import Mode, Range, Slot
from .scales import Scale, added, scale_of
from .specs import array_slots, measured, metric_slots, usual_range
from .trees import Arrays, Leaf, Node, Tree, filled

_SHORT: Final = 44  # characters of a name in a table


@dataclass(frozen=True, slots=True, repr=False)
class ModelLayout:
    """Arrays with ranges of their own, buffers and named metrics, as one input of a round.

    Each array has a mode. "mean": the clients' updates, new - old, are averaged and added to the
    old model. "sum": values, such as counts, are added up, and the sum takes the array's place.
    "keep": the array is not sent, and keeps its old value. Metrics are single numbers, which are
    averaged or added up. In a weighted round the mean is sum(w * x) / sum(w), and the sum
    sum(w * x).

    The layout decides what a contribution means. So it is a client's own word, from its own
    configuration and never from the server, and is part of the context that the client expects:
    `secagg.digest("training", layout, model, attempt)`. Then a round with another layout is
    refused, and the same update never enters two sums under two layouts. All parties must also use
    the same old model, which the context binds as well.

    Two layouts are equal, and have the same digest, if format, structure, names, shapes, dtypes,
    modes, ranges and metrics are; the cohort may differ.

    Attributes:
        format: how numbers are encoded.
        cohort: the most clients of a round.
        arrays: the arrays of the model in their order, with name, shape, dtype, mode and range.
        metrics: the metrics by ascending name, likewise.
        length: number of values that are sent, `Params.length`.
        dtype: the dtype of the vectors that `pack` returns.
    """

    format: Format
    cohort: int = field(compare=False)
    arrays: tuple[Slot, ...]
    metrics: tuple[Slot, ...]
    length: int = field(compare=False)
    dtype: np.dtype[Any] = field(compare=False)
    _tree: Layout
    _template: Any = field(compare=False)
    _scales: tuple[Scale | None, ...] = field(compare=False)  # of arrays, then of metrics

    @classmethod
    def of(
        cls,
        model: Arrays,
        format: Format,  # noqa: A002
        *,
        cohort: int,
        clip: float | None = None,
        arrays: Mapping[str, Range | float | Mode] | None = None,
        metrics: Mapping[str, Range] | None = None,
    ) -> "ModelLayout":
        """Returns the layout of a model; its values do not count.

        With `FixedPoint` and `Rotated`, floats are averaged, and integers and bools keep their old
        values unless `arrays` says otherwise. Numbers of Python are float64 beside arrays of
        floats, whatever the dtypes of those. With `Integers`, integers and bools are added up.

        Args:
            model: arrays, or lists, tuples and dicts of them, nested at will; a PyTorch
                `state_dict` as it is. Without any, {}, metrics are all that is sent.
            format: the format of the round.
            cohort: the most clients of a round, for which room and exact sums are proved.
            clip: the bound of updates and values of arrays that `arrays` does not name, and of
                those that it gives the mode "sum" alone; by default that of the format.
            arrays: by name or pattern ("layers/*/bias", `fnmatch`; "*" also stands for "/"), a
                number c for the range -c..c, a mode, or a `Range`. An exact name counts before
                patterns, and of two patterns the later one. With `Rotated` c is the L2 norm of an
                update of this array that, by itself, has the whole clip.
            metrics: the range of each metric. They are averaged unless it says "sum"; with
                `Integers` they are added up.

        Raises:
            RangeError: the model is unusable (see `Layout.of`), or nothing of it is sent.
            ParameterError: two arrays have one path; a name or pattern decides nothing; a range or
                mode does not fit its array or the format; or a sum that must be exact would not be.
        """
        if not isinstance(format, Format):
            raise ParameterError(
                f"format must be FixedPoint, Integers or Rotated, not {brief(format)}",
                Code.ARGUMENT,
            )
        cohort = require_int("cohort", cohort, 2, MAX_COHORT)
        field_width(format, cohort)  # raises if there is no room
        tree = Tree(model)
        typed = [leaf.array.dtype for leaf in tree.leaves if leaf.array.size and not leaf.weak]
        floats = any(kind_of(dtype) == "f" for dtype in typed)
        layout = layout_of(tree, [np.dtype(np.float64)] if floats else [])
        slots = array_slots(tree.leaves, layout.dtypes, arrays, usual_range(format, clip), format)
        metered = metric_slots(metrics, layout.names, format)
        weights = cohort * format.max_weight
        scales = tuple(
            None if slot.mode == "keep" else scale_of(slot, format, weights)
            for slot in (*slots, *metered)
        )
        sent = [scale.dtype for scale in scales if scale]
        length = sum(slot.size for slot in (*slots, *metered) if slot.mode != "keep")
        if not length:
            raise RangeError(
                "there is nothing to send: no metrics, and all arrays are empty or keep their old "
                'values, as integers do by default: give them a Range with the mode "sum"',
                Code.LAYOUT,
            )
        check_length(format, cohort, length)
        dtype = np.result_type(*sent)
        return cls(format, cohort, slots, metered, length, dtype, layout, tree.template, scales)

    def __repr__(self) -> str:
        many = f"<{len(self.arrays)} arrays>, <{len(self.metrics)} metrics>"
        return f"ModelLayout({many}, length={self.length})"

    def __str__(self) -> str:
        """Lists arrays and metrics with range, step and error, as a table for people.

        With `Rotated` an array has an L2 norm, and around what, in the place of a range.
        """
        bits = field_width(self.format, self.cohort)
        error = "std dev" if self._in_norm else "error"
        rows = [("name", "shape", "dtype", "mode", "range", "step", error)]
        for slot, scale in zip(self._slots, self._scales, strict=True):
            name = slot.name if slot.name.isprintable() else repr(slot.name)
            name = shortened(name, _SHORT) + (" (metric)" if slot.metric else "")
            row = (name, str(slot.shape), slot.dtype.name, slot.mode)
            ends = f"{slot.low}..{slot.high}" if slot.exact else f"{slot.low:g}..{slot.high:g}"
            if self._in_norm and not slot.metric:
                middle = (slot.low + slot.high) / 2
                around = f" around {middle:g}" if middle else ""
                ends = f"L2 norm {(slot.high - slot.low) / 2:g}{around}"
            error = "exact" if slot.exact else f"{self._error(slot, scale):.2g}"
            rows.append((*row, ends, f"{scale.step:.2g}", error) if scale else (*row, "", "", ""))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        title = (
            f"{self.length} values of {bits} bits, {self.format}, cohorts of up to {self.cohort}"
        )
        note = "L2 norm: of an update that, by itself, has the whole clip; all arrays and metrics "
        note += "are one vector, which is shortened as a whole if it is longer"
        return "\n".join((title, *lines, *([note] if self._in_norm and self.arrays else [])))

    @property
    def _in_norm(self) -> bool:
        """True if ranges of arrays are units of an L2 norm, which bounds all of them together."""
        return isinstance(self.format, Rotated)

    @property
    def _slots(self) -> tuple[Slot, ...]:
        return (*self.arrays, *self.metrics)

    @property
    def node(self) -> Node:
        """The nesting of the arrays; hashable."""
        return self._tree.node

    @property
    def errors(self) -> dict[str, float]:
        """The largest error of each array and metric that `unpack` returns, by name.

        With `Rotated` they are standard deviations; see below.

        Of a mean it is also that of one client's value: the grid's step in the range of that array,
        and the rounding of floats. Of a sum it is that of the largest cohort with the largest
        weights; of an exact sum 0. What a mean loses when it is added to the old model, in the
        dtype of the array, comes on top. Rounding is at random, so errors of many clients mostly
        cancel: the standard deviation of an unweighted mean over n is at most step / (2 * sqrt(n)).

        With `Rotated`, whose errors spread over the whole vector, it is the standard deviation that
        rounding and noise give one client's value, at most, if it has the largest weight (with a
        weight w it is max_weight / w times that); of a sum it is that of the sum over the largest
        cohort. Single errors are larger: one in 20 lies beyond twice that. Nothing is said of
        updates that are shortened.
        """
        slots = zip(self._slots, self._scales, strict=True)
        return {slot.name: self._error(slot, scale) for slot, scale in slots if scale}

    def _error(self, slot: Slot, scale: Scale | None) -> float:
        if scale is None:
            return 0.0
        if slot.mode != "sum":
            return scale.error
        # Independent errors add up in their squares.
        clients = math.sqrt(self.cohort) if self._in_norm else self.cohort
        return scale.error * clients * self.format.max_weight

    def take(self, model: Arrays) -> Arrays:
        """Returns a copy of a model that came from a peer, in this structure and these dtypes.

        A client computes the context from the copy. Otherwise a server could send equal numbers in
        another form (as float64, in another order or shape), which has another digest, and would
        get the update of one model once for each form. Models of one digest are the same here to
        the last bit: zeros are positive, and arrays lie in the order of C.

        Args:
            model: the arrays of the layout; of any dtype of the same kind that holds the values.

        Raises:
            RangeError: it has other names, shapes or another structure; an array has numbers of
                another kind, or a value that is NaN, infinite (unless it is kept, as in a mask) or
                too large for its dtype. The message names the array.
        """
        whole: Arrays = filled(self._template, [*self._taken(model)])
        return whole

    def _taken(self, model: Arrays) -> Iterator[NDArray[Any]]:
        """Yields copies of the arrays of a model, in the order and the dtypes of the layout."""
        for slot, leaf in zip(self.arrays, leaves_in("the model", model, self._tree), strict=True):
            require_same_kind("the model", slot, leaf)
            with np.errstate(all="ignore"):
                array = np.array(leaf.array, slot.dtype, order="C")
                fits = np.isfinite(array) if slot.is_float else array == leaf.array
                if slot.is_float and slot.mode == "keep":
                    fits |= np.isinf(leaf.array) & ~np.isnan(array)
            if not fits.all():
                infinite = "" if slot.mode == "keep" else ", infinite"
                raise RangeError(
                    f"the model: {slot.called} has a value that is NaN{infinite} or too large for "
                    f"{slot.dtype}",
                    Code.NOT_FINITE if slot.is_float else Code.OUT_OF_RANGE,
                )
            if slot.is_float:
                array += 0.0  # -0.0 has the digest of 0.0
            yield array

    @property
    def model_bytes(self) -> int:
        """The length of what `to_bytes` returns: bytes of all arrays, also of those that are kept.

        Raises:
            RangeError: an array has more than 64 bits per number.
        """
        return length_of(self.arrays)

    def to_bytes(self, model: Arrays) -> bytes:
        """Returns a model as bytes, such as the task of a round: bare numbers, little-endian.

        They are those of all arrays in the order of the layout, in its dtypes (a bool is one byte),
        with nothing before, between or after them. So their number is known: `model_bytes`.

        Args:
            model: as for `take`, which makes the same numbers of it.

        Raises:
            RangeError: as of `take`; or an array has more than 64 bits per number.
        """
        return written(self.arrays, self._taken(model))

    def from_bytes(self, data: bytes | bytearray | memoryview) -> Arrays:
        """Returns the model that `to_bytes` wrote, as `take` returns it.

        The bytes may be a peer's: nothing in them says how large anything is, so no more memory is
        used than the layout needs.

        Args:
            data: `model_bytes` bytes.

        Raises:
            RangeError: their number is another one; or a value is refused, as by `take`.
        """
        model: Arrays = filled(self._template, read(self.arrays, data))
        return self.take(model)

    def pack(
        self, new: Arrays, old: Arrays | None = None, metrics: Mapping[str, Any] | None = None
    ) -> NDArray[np.generic]:
        """Returns the input of one client: shape (length,), in the dtype of the layout.

        Values outside their range are clipped; there is one `ClippingWarning`, with names, if more
        than 1 % of an array or a metric was. A sum that is exact refuses them instead. With
        `Rotated` this goes for metrics; of arrays the L2 norm counts, of the whole vector, and who
        submits a longer one is told then (`Client.submit`, `secure_sum`).

        Args:
            new: the model after training; arrays in mode "sum" hold what is to be added up.
            old: the model before it, the same at all clients; needed if an array is averaged. A
                copy: `state_dict()` gives the live tensors, which a training changes.
            metrics: one number for each metric of the layout.

        Raises:
            RangeError: a model has another structure, shape or kind of numbers than the layout; a
                value is NaN or infinite, or cannot be summed exactly; a metric is missing, unknown
                or no number; or an array that is averaged is the same memory in both models, and
                has no update: it is live, or left alone on purpose, and then for the mode "keep".
                Only memory that is read-only may be, if other arrays are not. The message names
                array or metric.
        """
        news = read_model("the new model", new, ("mean", "sum"), self.arrays, self._tree)
        olds = read_model("the old model", old, ("mean",), self.arrays, self._tree)
        require_update(news, olds)
        values, bases = self._flat(news), self._flat(olds)
        values[len(self.arrays) :] = measured(self.metrics, metrics)
        vector = np.empty(self.length, self.dtype)
        clipped, start = np.zeros(len(values), np.int64), 0
        for at, (slot, scale) in enumerate(zip(self._slots, self._scales, strict=True)):
            value = values[at]
            if scale is not None and value is not None:
                part, start = vector[start : start + slot.size], start + slot.size
                with np.errstate(all="ignore"):  # what is not finite is refused
                    clipped[at] = scale.write(value, bases[at], part)
        warn_of_slots(self._slots, clipped)
        return vector

    def unpack(
        self, result: Sums | ArrayLike, old: Arrays | None = None
    ) -> tuple[Arrays, dict[str, float]]:
        """Returns the new model and the metrics of a round.

        Args:
            result: the `Result` of a round, or the `SecureSum` of vectors; or the mean alone, shape
                (length,), if nothing is added up.
            old: the model before the round; needed if an array is averaged or kept.

        Returns:
            The model, in lists and dicts as the layout was given: averaged arrays in their own
            dtypes, wider where those do not hold the values, sums in int64 if they are exact, else
            float64, and copies of kept arrays. And the metrics by name: an int for an exact sum,
            a float for any other.

        Raises:
            RangeError: the result does not fit the layout, or the old model, as in `pack`; or an
                array or metric has a sum or mean that no contributions in its range have
                (`Code.IMPOSSIBLE_SUM`). Then a client lied, and there is no result. But within
                these bounds nothing is noticed: one malicious client, whatever its weight, can
                bring any mean to anything in its range, and any sum to anything in its range times
                the sum of the weights.
        """
        most = self.cohort * self.format.max_weight
        total, weight = read_sums(result, self._slots, self.length, self.format, most)
        olds = read_model("the old model", old, ("mean", "keep"), self.arrays, self._tree)
        bases = self._flat(olds)
        arrays: list[NDArray[Any]] = []
        found, start = {}, 0
        for slot, scale, base in zip(self._slots, self._scales, bases, strict=True):
            if scale is None:
                arrays.append(np.array(base).reshape(slot.shape))
                continue
            part, start = total[start : start + slot.size], start + slot.size
            if base is not None:
                arrays.append(added(slot, scale, part, weight, base).reshape(slot.shape))
            elif not slot.metric:
                arrays.append(scale.read(part, weight).reshape(slot.shape))
            else:
                found[slot.name] = scale.read(part, weight)[0].item()
        whole: Arrays = filled(self._template, arrays)
        return whole, found

    def _flat(self, leaves: list[Leaf | None]) -> list[NDArray[Any] | None]:
        """Returns the values of each slot in one dimension, None where there are none."""
        flat = [leaf and leaf.array.reshape(-1) for leaf in leaves]
        return [*flat, *[None] * len(self.metrics)]
