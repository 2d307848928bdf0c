"""Checks of single arguments, which refuse a wrong type or value by the argument's name."""

from ..codes import Code
from ..errors import ParameterError


def require_int(
    name: str,
    value: object,
    low: int,
    high: int,
    *,
    below: Code = Code.ARGUMENT,
    above: Code = Code.ARGUMENT,
) -> None:
    """Raises ParameterError unless `value` is an int (and not a bool) in low..high.

    Args:
        below: the code of a value below `low`; it differs where such a value is unsafe.
        above: the same for a value above `high`.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ParameterError(f"{name} must be an int, not {type(value).__name__}", Code.ARGUMENT)
    if not low <= value <= high:
        code = below if value < low else above
        raise ParameterError(f"{name} must be in {low}..{high}, not {value}", code)


def require_bytes(name: str, value: object, size: int) -> None:
    """Raises ParameterError unless `value` is exactly `size` bytes."""
    if not isinstance(value, bytes):
        raise ParameterError(
            f"{name} must be {size} bytes, not of type {type(value).__name__}", Code.ARGUMENT
        )
    if len(value) != size:
        raise ParameterError(f"{name} must be {size} bytes, not {len(value)}", Code.ARGUMENT)
