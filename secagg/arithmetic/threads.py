"""The number of threads that a call of the native core may use."""

import os
import re
from functools import cache
from typing import Final

from ..codes import Code
from ..errors import ParameterError

VARIABLE: Final = "SECAGG_NUM_THREADS"
MOST_BY_DEFAULT: Final = 8


@cache
def default_threads() -> int:
    """Returns `SECAGG_NUM_THREADS` if set, else the number of available CPUs, at most 8.

    The variable is read at the first call only: when the first client or server is made, so that
    no round fails in the middle. An empty or blank value counts as not set.

    Raises:
        ParameterError: the variable is not a positive integer of at most nine digits.
    """
    text = os.environ.get(VARIABLE, "")
    if not text.strip():
        return min(_usable_cpus(), MOST_BY_DEFAULT)
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) == 0:
        raise ParameterError(
            f"the environment variable {VARIABLE} must be a positive integer, not {text[:40]!r}: "
            "set it to a number of threads, such as 4, or unset it",
            Code.ARGUMENT,
        )
    return int(text)


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
