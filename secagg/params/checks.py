"""Checks of single arguments, which refuse a wrong type or value by the argument's name."""

import inspect
import math
from threading import TIMEOUT_MAX
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from ..numeric import as_float, as_int, brief

_AWAITED: Final = "nothing awaits it; call `asyncio.run` in it"


def require_int(
    name: str,
    value: object,
    low: int,
    high: int,
    *,
    below: Code = Code.ARGUMENT,
    above: Code = Code.ARGUMENT,
) -> int:
    """Returns an integer in low..high as Python's int, whatever library it is of (`as_int`).

    Args:
        below: the code of a value below `low`; it differs where such a value is unsafe.
        above: the same for a value above `high`.

    Raises:
        ParameterError: it is no integer, or outside the range.
    """
    found = whole(name, value)
    if not low <= found <= high:
        code = below if found < low else above
        raise ParameterError(f"{name} must be in {low}..{high}, not {brief(found)}", code)
    return found


def whole(name: str, value: object) -> int:
    """Returns an integer of any size as Python's int; raises ParameterError if it is none."""
    found = as_int(value)
    if found is None:
        raise ParameterError(f"{name} must be an int, not {type(value).__name__}", Code.ARGUMENT)
    return found


def require_float(name: str, value: object) -> float:
    """Returns a real number as Python's float, whatever library it is of (`as_float`).

    It may be NaN or infinite: the caller checks its range.

    Raises:
        ParameterError: it is no real number.
    """
    found = as_float(value)
    if found is None:
        raise ParameterError(f"{name} must be a number, not {type(value).__name__}", Code.ARGUMENT)
    return found


def require_seconds(
    name: str, value: object, *, positive: bool = False, most: float = TIMEOUT_MAX
) -> float:
    """Returns a number of seconds as Python's float, whatever library it is of (`as_float`).

    Args:
        positive: 0 is refused as well.
        most: the longest time, by default what any timer can wait; infinity where it is allowed.

    Raises:
        ParameterError: it is no number, below zero, NaN, or longer.
    """
    found = as_float(value)
    if found is None or not 0 <= found <= most or (positive and found == 0):
        kind = "a positive number of seconds" if positive else "a number of seconds, 0 or more"
        limit = "or infinity" if most == math.inf else f"at most {most:.0f}"
        raise ParameterError(f"{name} must be {kind}, {limit}, not {brief(value)}", Code.ARGUMENT)
    return found


def require_bytes(name: str, value: object, size: int) -> None:
    """Raises ParameterError unless `value` is exactly `size` bytes."""
    if not isinstance(value, bytes):
        raise ParameterError(
            f"{name} must be {size} bytes, not of type {type(value).__name__}", Code.ARGUMENT
        )
    if len(value) != size:
        raise ParameterError(f"{name} must be {size} bytes, not {len(value)}", Code.ARGUMENT)


def require_callable(name: str, value: object, remedy: str) -> None:
    """Raises ParameterError unless `value` can be called; the message ends with the remedy."""
    if not callable(value):
        raise ParameterError(
            f"{name} must be a function, not of type {type(value).__name__}; {remedy}",
            Code.ARGUMENT,
        )


def require_plain_function(name: str, value: object, remedy: str) -> None:
    """Raises ParameterError unless `value` can be called, and does its work before it returns."""
    require_callable(name, value, remedy)
    kinds = inspect.iscoroutinefunction, inspect.isasyncgenfunction
    if any(each(one) for each in kinds for one in (value, type(value).__call__)):
        raise ParameterError(
            f"{name} must be a plain function, and is `async`: {_AWAITED}", Code.ARGUMENT
        )


def require_no_awaitable(name: str, returned: object) -> None:
    """Raises ParameterError if a function returned something that is to be awaited."""
    if inspect.isawaitable(returned):
        if inspect.iscoroutine(returned):
            returned.close()
        raise ParameterError(
            f"{name} must be a plain function, and returned {type(returned).__name__}: {_AWAITED}",
            Code.ARGUMENT,
        )


def require_kind(name: str, value: object, kind: type, remedy: str) -> None:
    """Raises ParameterError unless `value` is of this class; the message ends with the remedy."""
    if not isinstance(value, kind):
        raise ParameterError(
            f"{name} must be a {kind.__name__}, not of type {type(value).__name__}; {remedy}",
            Code.ARGUMENT,
        )
