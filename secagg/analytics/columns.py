"""The records of one party, by column: lists, arrays of NumPy, or columns of a data frame.

Libraries of data frames are recognised by what their objects can do, and are not imported. Messages
name columns and count values; they never show one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..encoding.arrays import unreadable
from ..errors import ParameterError, RangeError
from ..numeric import as_float, brief

Missing = Literal["refuse", "count"]

Column: TypeAlias = list[Any] | NDArray[Any]

_TEXTS: Final = (str, bytes, bytearray)
_NUMBERS: Final = {float, int, bool}
_NEVER_MISSING: Final = {str, int, bool}


class Records:
    """The records of one party.

    Args:
        given: columns by name (a dict, a data frame, a structured array), or a list of records,
            each a dict. The columns may be lists or arrays of one dimension.

    Raises:
        RangeError: it is none of these.
    """

    def __init__(self, given: Any) -> None:
        self._rows: Sequence[Mapping[Any, Any]] | None = None
        names = _names_of(given)
        if names is not None:
            self._columns, self._names = given, names
        elif isinstance(given, Sequence) and all(isinstance(each, Mapping) for each in given):
            self._rows = given
        else:
            raise RangeError(
                "records must be a dict of columns, a data frame, a structured array or a list of "
                f"dicts, not of type {type(given).__name__}",
                Code.LAYOUT,
            )
        self._read: dict[str, Column] = {}
        if self._rows is not None:
            self.count = len(self._rows)
        else:
            sizes = {}
            for name in self._names:
                try:
                    sizes[name] = len(given[name])
                except Exception as error:  # a number, or a column that is not read yet
                    raise unreadable(given, f"column {brief(name)}", error) from error
            self.count = next(iter(sizes.values()), 0)
            for name, size in sizes.items():
                if size != self.count:
                    raise RangeError(
                        f"columns of records have different lengths: {brief(self._names[0])} has "
                        f"{self.count} and {brief(name)} {size}",
                        Code.SHAPE,
                    )

    def values(self, name: str) -> tuple[list[Any], NDArray[np.bool_]]:
        """Returns the values of a column, and where one is missing: None, NaN, NaT, NA, masked.

        Raises:
            RangeError: there is no such column, or it has more than one dimension.
        """
        column = self._column(name)
        if isinstance(column, np.ndarray):
            return column.tolist(), column != column  # noqa: PLR0124
        if set(map(type, column)) <= _NEVER_MISSING:
            return column, np.zeros(len(column), bool)
        return column, np.array([_is_missing(value) for value in column], bool)

    def numbers(self, name: str, missing: Missing) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Returns the numbers of a column, 0 where one is missing, and where that is.

        Raises:
            RangeError: a value is no number; or one is missing and `missing` is "refuse".
        """
        column = self._column(name)
        if isinstance(column, list) and set(map(type, column)) <= _NUMBERS:
            with suppress(OverflowError):  # of an int
                column = np.array(column, np.float64)
        if isinstance(column, np.ndarray):
            with np.errstate(over="ignore"):  # a long double
                found = column.astype(np.float64)
            gone = np.isnan(found)
            found[gone] = 0.0
        else:
            values, gone = self.values(name)
            found = np.array([_number(value) for value in values], np.float64)
            found[gone] = 0.0
            if wrong := np.count_nonzero(np.isnan(found)):
                raise RangeError(
                    f"column {name!r} has {wrong:,} values that are no numbers", Code.DTYPE
                )
        require_present(name, gone, missing)
        return found, gone

    def _column(self, name: str) -> Column:
        if name not in self._read:
            self._read[name] = self._found(name)
        return self._read[name]

    def _found(self, name: str) -> Column:
        if self._rows is not None:
            return [row.get(name) for row in self._rows]
        if name not in self._names:
            raise RangeError(
                f"the records have no column {name!r}: they have "
                f"{', '.join(map(repr, self._names[:6])) or 'none'}",
                Code.LAYOUT,
            )
        return _read(name, self._columns[name])


def _names_of(given: Any) -> list[Any] | None:
    """Returns the names of columns; None for what has none."""
    if isinstance(given, Mapping):
        return [*given]
    fields = getattr(getattr(given, "dtype", None), "names", None)
    for names in (fields, getattr(given, "column_names", None)):  # of NumPy, of Arrow
        if isinstance(names, tuple | list):
            return [*names]
    names = getattr(given, "columns", None)  # of pandas and Polars
    return [*names] if isinstance(names, Iterable) else None


def require_present(name: str, gone: NDArray[np.bool_], missing: Missing) -> None:
    """Raises RangeError if values are missing and may not be."""
    if missing == "refuse" and gone.any():
        raise RangeError(
            f"column {name!r} lacks {np.count_nonzero(gone):,} of {gone.size:,} values: leave "
            'these records out, or ask with missing="count"',
            Code.NOT_FINITE,
        )


def read_missing(value: object) -> Missing:
    """Returns it if it says what to do with missing values; raises ParameterError if not."""
    if value == "refuse":
        return "refuse"
    if value == "count":
        return "count"
    raise ParameterError(f'missing must be "refuse" or "count", not {brief(value)}', Code.ARGUMENT)


def read_name(what: str, value: object) -> str:
    """Returns the name of a column; raises ParameterError if it is none."""
    if not isinstance(value, str) or not value:
        raise ParameterError(f"{what} must be a name, not {brief(value)}", Code.ARGUMENT)
    return str(value)


def _read(name: str, column: Any) -> Column:
    """Returns one column: an array of bools, ints or floats, or a list of whatever there is."""
    masked = np.ma.isMaskedArray(column)
    if not masked and callable(getattr(column, "to_numpy", None)):
        column = column.to_numpy()
    if masked or hasattr(column, "__array__"):
        array = np.ma.asarray(column) if masked else np.asarray(column)
        if array.ndim != 1:
            raise RangeError(
                f"column {name!r} must have one dimension, not the shape {array.shape}", Code.SHAPE
            )
        if array.dtype.kind in "biuf" and not masked:
            return array
        if array.dtype.kind in "mM":  # `tolist` makes numbers of dates finer than microseconds
            return [*array]
        values: list[Any] = array.tolist()  # None where masked
        return values
    if isinstance(column, _TEXTS) or not isinstance(column, Iterable):
        raise RangeError(
            f"column {name!r} must be a list or an array, not of type {type(column).__name__}",
            Code.LAYOUT,
        )
    return list(column)


def _number(value: Any) -> float:
    """Returns a number as a float, and NaN for what is none."""
    if isinstance(value, bool | np.bool_):
        return float(value)
    number = as_float(value)
    return math.nan if number is None else number


def _is_missing(value: Any) -> bool:
    """Returns whether a value is None, or not equal to itself, as NaN; of NA nothing is known."""
    if value is None:
        return True
    try:
        return not bool(value == value)  # noqa: PLR0124
    except Exception:
        return True
