"""The numbers that checks of noise are given."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...codes import Code
from ...errors import RangeError


def finite(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Returns them as float64, a copy; raises RangeError if they are no finite numbers."""
    try:
        given = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise RangeError(f"{name} must hold real numbers: {error}", Code.DTYPE) from error
    if given.dtype.kind not in "biuf":
        raise RangeError(
            f"{name} must hold real numbers, and has the dtype {given.dtype}", Code.DTYPE
        )
    found = given.astype(np.float64)
    if not np.isfinite(found).all():
        raise RangeError(f"{name} has values that are not finite", Code.NOT_FINITE)
    return found
