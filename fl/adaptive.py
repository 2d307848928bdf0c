"""A clip that follows the norms of updates: from one securely summed bit per client and round.

Source: Andrew, Thakkar, McMahan & Ramaswamy 2021 (arXiv 1905.03871), Algorithm 1, without noise.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from secagg import Code, ParameterError, RangeError

_LEAST = 2.0**-100
_MOST = 2.0**100


@dataclass(frozen=True, slots=True)
class QuantileClip:
    """A clip near a quantile of the L2 norms of updates.

    Each client adds a bit to the sum: whether its update was within the clip. The bit is a metric
    of the round (`metrics={"within": secagg.Range(0, 1)}`), so nobody learns whose bits were 1. If
    the share of updates within the clip is below the quantile, the next clip is larger, and if it
    is above, smaller:

        clip = QuantileClip(1.0)
        within = clip.bit(update)              # a client, before it clips
        clip = clip.after(metrics["within"])   # the server, and every client, after the round

    In the clear a bit would reveal how far one client's data are from the others'. The mean of the
    bits is exact only to the format's error, which does not matter here. In a weighted round each
    bit counts by the weight of its client.

    Attributes:
        clip: the present one; above 2**-100, 2**100 at most.
        quantile: the share of updates that are to be within it; above 0 and below 1.
        rate: by how much it changes: at most by a factor of e^rate in a round; above 0, 1 at most.

    Raises:
        ParameterError: a value is outside its range.
    """

    clip: float
    quantile: float = 0.5
    rate: float = 0.2

    def __post_init__(self) -> None:
        for name, low, high in (
            ("clip", _LEAST, _MOST),
            ("quantile", 0.0, 1.0),
            ("rate", 0.0, 1.0),
        ):
            value = getattr(self, name)
            inside = isinstance(value, int | float | np.number) and low < value <= high
            end = "below" if name == "quantile" else "at most"
            if not inside or (name == "quantile" and value == high):
                raise ParameterError(
                    f"{name} must be a number above {low:g}, and {end} {high:g}, not {value!r}",
                    Code.ARGUMENT,
                )

    def bit(self, update: ArrayLike) -> float:
        """Returns 1.0 if an update is within the clip, else 0.0.

        Args:
            update: one array of any shape.

        Raises:
            RangeError: its norm is not finite.
        """
        norm = float(np.linalg.norm(np.asarray(update, np.float64).reshape(-1)))
        if not math.isfinite(norm):
            raise RangeError(
                "an update has a value that is NaN or infinite: check whether the training "
                "diverged",
                Code.NOT_FINITE,
            )
        return float(norm <= self.clip)

    def after(self, within: float) -> "QuantileClip":
        """Returns the clip of the next round.

        Args:
            within: the mean of the bits of a round. Noise and rounding may have moved it a little
                outside of 0..1; the nearer end is then taken.

        Raises:
            RangeError: it is not finite.
        """
        if not math.isfinite(within):
            raise RangeError(f"the mean of the bits must be finite, not {within}", Code.NOT_FINITE)
        share = min(1.0, max(0.0, float(within)))
        clip = self.clip * math.exp(-self.rate * (share - self.quantile))
        return QuantileClip(min(_MOST, max(2 * _LEAST, clip)), self.quantile, self.rate)
