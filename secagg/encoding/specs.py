"""Reads what a caller says about arrays and metrics of a `ModelLayout` into slots and numbers."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..numeric import as_float, as_int, brief
from ..params.formats import Format, Integers
from .arrays import kind_of, shortened
from .ranges import MODES, Mode, Range, Slot
from .trees import Leaf

_INT64: Final = range(-(2**63), 2**63)
_NAME: Final = 60  # characters of a name in a message


@dataclass(frozen=True, slots=True)
class _Spec:
    """A statement about an array; None where nothing is said."""

    mode: Mode | None = None
    range: Range | None = None


def items(what: str, given: object) -> list[tuple[str, Any]]:
    """Returns names and values of a dict of the caller; raises ParameterError if it is none."""
    if given is None:
        return []
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ParameterError(f"{what} must be a dict by name, not {brief(given)}", Code.ARGUMENT)
    return list(given.items())


def near(name: str, names: Iterable[str]) -> str:
    """Returns the names that are most like one that is unknown, for the end of a message."""
    found = difflib.get_close_matches(name, list(names), cutoff=0.3)
    return f": did you mean {', '.join(map(_quoted, found))}?" if found else ""


def usual_range(form: Format, clip: object) -> Range:
    """Returns the range of arrays for which none is given; `clip` may be None."""
    if clip is not None:
        return _around_zero("clip", clip)
    if isinstance(form, Integers):
        return Range(form.low, form.high)
    return Range(-form.clip, form.clip)


def array_slots(
    leaves: Sequence[Leaf],
    dtypes: Sequence[np.dtype[Any]],
    specs: object,
    usual: Range,
    form: Format,
) -> tuple[Slot, ...]:
    """Returns the slots of arrays.

    Args:
        leaves: the arrays.
        dtypes: their dtypes, where numbers of Python have that of the other arrays.
        specs: as in `ModelLayout.of`, not yet checked.
        usual: the range of arrays for which none is given.
        form: the format.

    Raises:
        ParameterError: two arrays have one name; a name or pattern decides nothing; or a spec does
            not fit its array.
    """
    given = {name: _spec(name, value) for name, value in items("arrays", specs)}
    names = [leaf.name for leaf in leaves]
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise ParameterError(
            f"two arrays have the path {_quoted(twice)}, as a key has a slash in it: rename a key",
            Code.LAYOUT,
        )
    chosen = {
        at: pattern for pattern in given for at in range(len(names)) if _fits(names[at], pattern)
    }
    chosen |= {at: name for at, name in enumerate(names) if name in given}
    slots = []
    for at, (leaf, dtype) in enumerate(zip(leaves, dtypes, strict=True)):
        own = leaf.array.dtype
        dtype = own if own.kind == "b" else dtype  # a bool of Python is no number  # noqa: PLW2901
        dtype = dtype if dtype.isbuiltin == 2 else dtype.newbyteorder("=")  # noqa: PLW2901
        slot = Slot(leaf.name, leaf.array.shape, dtype, "keep")
        slots.append(_ranged(slot, given[chosen[at]] if at in chosen else _Spec(), usual, form))
    for pattern, spec in given.items():
        decided = [slots[at] for at, each in chosen.items() if each == pattern]
        if not decided:
            reason = f"matches no array{near(pattern, names)}"
            if any(_fits(name, pattern) for name in names):
                reason = "decides nothing: other patterns follow for every array that it matches"
        elif spec.mode is None and all(slot.mode == "keep" for slot in decided):
            reason = (
                f"matches only arrays of {decided[0].dtype}, which keep their old values: to add "
                'them up, give a Range with the mode "sum"'
            )
        else:
            continue
        raise ParameterError(f"arrays[{_quoted(pattern)}] {reason}", Code.ARGUMENT)
    return tuple(slots)


def metric_slots(specs: object, taken: Sequence[str], form: Format) -> tuple[Slot, ...]:
    """Returns the slots of metrics, by ascending name.

    Args:
        specs: as in `ModelLayout.of`, not yet checked.
        taken: names of arrays, which no metric may have.
        form: the format.

    Raises:
        ParameterError: a metric has no range, or one that does not fit the format.
    """
    slots = []
    integers = isinstance(form, Integers)
    for name, spec in sorted(items("metrics", specs)):
        if not isinstance(spec, Range):
            raise ParameterError(
                f"metrics[{_quoted(name)}] must be a Range, such as Range(0, 10), not "
                f"{brief(spec)}",
                Code.ARGUMENT,
            )
        if name in taken:
            raise ParameterError(
                f"metrics[{_quoted(name)}] is an array of the model: rename the metric",
                Code.ARGUMENT,
            )
        mode: Mode = spec.mode or ("sum" if integers or spec.exact else "mean")
        exact = mode == "sum" and (integers or bool(spec.exact))
        dtype = np.dtype(np.int64 if exact or integers else np.float64)
        slots.append(_between(Slot(name, (), dtype, mode, exact=exact, metric=True), spec, form))
    return tuple(slots)


def measured(slots: Sequence[Slot], metrics: object) -> list[NDArray[Any]]:
    """Returns the metrics of one client in the order of their slots, as arrays of one number.

    Raises:
        RangeError: one is missing, unknown, or no number.
    """
    names = [slot.name for slot in slots]
    if not isinstance(metrics, Mapping | None):
        raise RangeError(
            f"metrics must be a dict, not of type {type(metrics).__name__}", Code.LAYOUT
        )
    given = metrics or {}
    for name in given:
        if name not in names:
            raise RangeError(
                f"metric {brief(name)} is not in the layout{near(str(name), names)}", Code.LAYOUT
            )
    for slot in slots:
        slot.require(slot.name in given, "is missing", Code.LAYOUT)
    return [_number(slot, given[slot.name]) for slot in slots]


def _number(slot: Slot, value: object) -> NDArray[Any]:
    whole, real = as_int(value), as_float(value)
    if real is None:
        raise RangeError(
            f"{slot.called} must be a number, not of type {type(value).__name__}",
            Code.DTYPE,
        )
    if slot.is_float:
        return np.array([real], _own_dtype(value))
    if whole is None and real.is_integer():
        # Not by way of the float: a Decimal may have more digits.
        whole = int(value)  # type: ignore[call-overload]
        slot.require(whole == value, "is no whole number, and its sum is exact", Code.DTYPE)
    return np.array([whole if whole is not None and whole in _INT64 else real])


def _own_dtype(value: object) -> np.dtype[Any]:
    """Returns the dtype of a float of NumPy or another library, float64 where there is none.

    By it is known what that dtype rounds a bound to, which then is not clipped.
    """
    try:
        dtype = np.dtype(str(getattr(value, "dtype", "")).rpartition(".")[2])  # "torch.float32"
    except TypeError:
        return np.dtype(np.float64)
    return dtype if kind_of(dtype) == "f" else np.dtype(np.float64)


def _ranged(slot: Slot, spec: _Spec, usual: Range, form: Format) -> Slot:
    """Returns the slot of an array with mode and range, as a caller or the defaults have them."""
    integers = isinstance(form, Integers)
    sums = "sum" if integers or (spec.range and spec.range.exact) else "keep"
    mode = spec.mode or ("mean" if slot.is_float and not integers else cast("Mode", sums))
    if mode == "keep":
        return slot
    if integers and slot.is_float:
        raise ParameterError(
            f"{slot.called} of {slot.dtype} has floats, and Integers takes none: use FixedPoint, "
            'or the mode "keep"',
            Code.DTYPE,
        )
    if mode == "mean" and not slot.is_float:
        raise ParameterError(
            f'{slot.called} of {slot.dtype} has integers, whose mean is none: use "sum" or "keep"',
            Code.DTYPE,
        )
    span = spec.range
    if span is None and slot.dtype.kind == "b":
        span = Range(0, 1)
    if span is None and not slot.is_float and not integers:
        raise ParameterError(
            f'{slot.called} of {slot.dtype} needs a range to be summed: Range(low, high, "sum")',
            Code.ARGUMENT,
        )
    span = span or usual
    wanted = not slot.is_float if span.exact is None else span.exact
    return _between(
        replace(slot, mode=mode, exact=mode == "sum" and (integers or wanted)), span, form
    )


def _between(slot: Slot, span: Range, form: Format) -> Slot:
    """Returns the slot with the ends of its range, whole ones where it has integers."""
    if slot.exact or isinstance(form, Integers):
        if not all(float(end).is_integer() for end in (span.low, span.high)):
            raise ParameterError(
                f"{slot.called} is summed exactly, so its range must have whole ends, not "
                f"{span.low:g}..{span.high:g}",
                Code.ARGUMENT,
            )
        return replace(slot, low=int(span.low), high=int(span.high))
    return replace(slot, low=float(span.low) + 0.0, high=float(span.high) + 0.0)  # no -0.0


def _spec(name: str, value: object) -> _Spec:
    if isinstance(value, Range):
        return _Spec(value.mode, value)
    if isinstance(value, str) and value in MODES:
        return _Spec(cast("Mode", value))
    return _Spec(None, _around_zero(f"arrays[{_quoted(name)}]", value))


def _around_zero(what: str, clip: object) -> Range:
    """Returns the range -clip..clip; raises ParameterError unless it is a positive number."""
    whole, number = as_int(clip), as_float(clip)
    if number is None or isinstance(clip, str):
        options = "" if what == "clip" else ', "mean", "sum", "keep" or a Range'
        raise ParameterError(
            f"{what} must be a positive number c for the range -c..c{options}, not {brief(clip)}",
            Code.ARGUMENT,
        )
    if not 0 < number < np.inf:
        raise ParameterError(
            f"{what} must be finite and positive, not {brief(clip)}", Code.ARGUMENT
        )
    end = number if whole is None else whole
    return Range(-end, end)


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _quoted(name: str) -> str:
    return shortened(repr(name), _NAME)
