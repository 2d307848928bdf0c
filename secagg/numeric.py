"""Converts numbers of callers, of any library, to Python's own int and float.

Whatever is kept, encoded, compared or printed is a Python number, wherever it came from.
"""

import operator
from decimal import Decimal
from numbers import Real

import numpy as np


def as_int(value: object) -> int | None:
    """Returns an integer as Python's int, or None if it is none.

    An integer is what `operator.index` takes: an int, a NumPy integer, an array of integers with no
    dimension. A bool is none, and neither is a float, even if it is whole.
    """
    if type(value) is int:  # most are
        return value
    if _is_bool(value):
        return None
    try:
        return int(operator.index(value))  # type: ignore[arg-type]
    except Exception:  # an array of another library, say, that is no integer
        return None


def as_float(value: object) -> float | None:
    """Returns a real number as the nearest float, infinity beyond all floats; None if it is none.

    A real number is an integer (see `as_int`), a float of Python or NumPy, a `Decimal`, a
    `Fraction`, or an array with no dimension, of NumPy or another library, of real numbers.
    """
    whole = as_int(value)
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value[()]
    elif whole is None and not isinstance(value, np.generic):
        try:
            if getattr(value, "shape", None) == () and not _is_bool(value):
                value = float(value)  # type: ignore[arg-type]  # a tensor of another library
        except Exception:
            return None
    if whole is None and (_is_bool(value) or not _is_number(value)):
        return None
    try:
        with np.errstate(over="ignore"):  # a long double
            return float(value if whole is None else whole)  # type: ignore[arg-type]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")  # type: ignore[operator]
    except ValueError:  # a signalling NaN
        return float("nan")


def _is_number(value: object) -> bool:
    """Returns whether a value is a real number; to NumPy a time is a signed integer."""
    return isinstance(value, Real | Decimal) and not isinstance(value, np.timedelta64)


def brief(value: object) -> str:
    """Returns a value for a message; Python refuses to print numbers of thousands of digits."""
    try:
        text = repr(value)
    except Exception:
        return f"a huge or unprintable {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:50]}..."


def _is_bool(value: object) -> bool:
    """Returns whether a value is a bool, of Python or of a library of arrays."""
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
