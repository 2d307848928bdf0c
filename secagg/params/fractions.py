"""Fractions of a cohort that may be corrupt or drop out, as whole numbers of parties."""

import math
from typing import NamedTuple

from ..codes import Code
from ..errors import ParameterError
from ..numeric import as_float


class _Pair(NamedTuple):
    corrupt: float
    dropout: float


class Fractions(_Pair):
    """The fractions of a cohort that may be corrupt and that may drop out.

    Attributes:
        corrupt: greatest fraction that colludes with the server, at least 0 and below 1. Above 0 it
            stands for one party or more: that 5 % of a cohort of 19 collude does not mean nobody.
        dropout: greatest fraction that drops out, at least 0 and below 1.
    """

    __slots__ = ()

    def __new__(cls, corrupt: float, dropout: float) -> "Fractions":
        """Takes numbers of any library as floats; `check` refuses what is none."""
        pair = ((value, as_float(value)) for value in (corrupt, dropout))
        return super().__new__(cls, *(raw if found is None else found for raw, found in pair))

    def check(self) -> None:
        """Raises ParameterError unless both are numbers, at least 0 and below 1."""
        for name, value in self._asdict().items():
            if not isinstance(value, float) or not 0 <= value < 1:
                raise ParameterError(
                    f"{name} must be a fraction of the cohort, at least 0 and below 1, not "
                    f"{value!r}",
                    Code.ARGUMENT,
                )

    def of(self, cohort: int) -> tuple[int, int]:
        """Returns the greatest numbers of colluders and of dropouts in a cohort."""
        # Rounded first: 0.29 * 100 is a little less than 29.
        corrupt, dropout = (math.floor(round(part * cohort, 6)) for part in self)
        return max(corrupt, int(self.corrupt > 0)), dropout
