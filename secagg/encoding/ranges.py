"""The range of one array or metric of a model, and what a round makes of its values."""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..numeric import as_int, brief
from ..params.checks import require_float
from .arrays import called, kind_of

Mode = Literal["mean", "sum", "keep"]

MODES: Final = ("mean", "sum", "keep")
LARGEST: Final = 2.0**900  # as for a clip of FixedPoint: products of two such ends are finite


@dataclass(frozen=True, slots=True)
class Range:
    """The range of an array or metric, and what a round makes of them.

    Numbers may be of NumPy; they are kept as Python's.

    Attributes:
        low, high: both inclusive. Of an array in mode "mean" it is the range of its update; -c..c
            is what a plain number c stands for in `ModelLayout.of`.
        mode: "mean" or "sum"; None takes the default of the array or metric.
        exact: in mode "sum", whether the values are whole numbers whose sum comes back exactly, as
            int; None takes true for arrays of integers. With `Integers` every sum is exact.

    Raises:
        ParameterError: a value is outside its range, or the range is empty.
    """

    low: float
    high: float
    mode: Literal["mean", "sum"] | None = None
    exact: bool | None = None

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            given = getattr(self, name)
            whole = as_int(given)
            end = require_float(name, given)
            if not abs(end) <= LARGEST:  # or NaN
                raise ParameterError(
                    f"{name} must be finite, in -2**900 .. 2**900, not {brief(given)}",
                    Code.ARGUMENT,
                )
            object.__setattr__(self, name, end if whole is None else whole)
        if not self.low < self.high:
            raise ParameterError(
                f"low ({brief(self.low)}) must be below high ({brief(self.high)})", Code.ARGUMENT
            )
        if self.mode not in (None, "mean", "sum"):
            raise ParameterError(
                f'the mode of a range must be "mean" or "sum", not {brief(self.mode)}',
                Code.ARGUMENT,
            )
        if self.exact not in (None, True, False):
            raise ParameterError(
                f"exact must be true or false, not {brief(self.exact)}", Code.ARGUMENT
            )
        if self.exact and self.mode == "mean":
            raise ParameterError("a mean is not exact: only a sum can be", Code.ARGUMENT)


@dataclass(frozen=True, slots=True)
class Slot:
    """One array or metric of a `ModelLayout`.

    Attributes:
        name: the path of the array, such as "layers/0/weight", or the name of the metric.
        shape: its shape; () for a metric.
        dtype: its dtype; int64 for a metric that is summed exactly, float64 for others.
        mode: "mean", "sum" or "keep".
        low, high: the range of its values, of updates in mode "mean"; both 0 in mode "keep".
        exact: whether its sum comes back as whole numbers, without any error.
        metric: whether it is a metric.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    mode: Mode
    low: float = 0
    high: float = 0
    exact: bool = False
    metric: bool = False

    @property
    def size(self) -> int:
        """The number of its values."""
        return math.prod(self.shape)

    @property
    def is_float(self) -> bool:
        """True if its dtype is one of floats."""
        return kind_of(self.dtype) == "f"

    @property
    def called(self) -> str:
        """The name of it in messages."""
        return f"metric {self.name!r}" if self.metric else called(self.name)

    def require(self, held: bool, reason: str, code: Code) -> None:
        """Raises RangeError about its values unless a condition is held."""
        if not held:
            raise RangeError(f"{self.called} {reason}", code)
