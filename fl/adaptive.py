"""A clip that follows the norms of updates: from one securely summed bit per client and round.

Source: Andrew, Thakkar, McMahan & Ramaswamy 2021 (arXiv 1905.03871), Algorithm 1, without noise.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from secagg import Code, Layout, ParameterError, RangeError
from secagg.numeric import as_float, brief

from .updates import norm_of

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
            given = getattr(self, name)
            value = as_float(given)
            end = "below" if name == "quantile" else "at most"
            if value is None or not low < value <= high or (name == "quantile" and value == high):
                raise ParameterError(
                    f"{name} must be a number above {low:g}, and {end} {high:g}, not "
                    f"{brief(given)}",
                    Code.ARGUMENT,
                )
            object.__setattr__(self, name, value)

    def bit(self, update: ArrayLike | Sequence[Any] | Mapping[Any, Any]) -> float:
        """Returns 1.0 if the L2 norm of an update is within the clip, else 0.0.

        Args:
            update: one array of any shape; or those of a whole model, in lists and dicts as in
                `secagg.Layout`, of which it is the norm over all values.

        Raises:
            RangeError: it is something else, or empty; or a value is NaN or infinite.
        """
        try:
            vector = Layout.flattened(update)[1].astype(np.float64)
        except RangeError as error:
            raise RangeError(
                f"an update: {error.reason}: give one array, or the arrays of a model",
                error.code,
            ) from error.__cause__
        if not np.isfinite(vector).all():
            raise RangeError(
                "an update has a value that is NaN or infinite: check whether the training "
                "diverged",
                Code.NOT_FINITE,
            )
        return float(norm_of(vector) <= self.clip)

    def after(self, within: float) -> "QuantileClip":
        """Returns the clip of the next round.

        Args:
            within: the mean of the bits of a round. Noise and rounding may have moved it a little
                outside of 0..1; the nearer end is then taken.

        Raises:
            RangeError: it is no number, or not finite.
        """
        mean = as_float(within)
        if mean is None:
            raise RangeError(
                f"the mean of the bits must be a number, not {type(within).__name__}: give "
                'metrics["within"], if that is what the metric is called',
                Code.DTYPE,
            )
        if not math.isfinite(mean):
            raise RangeError(f"the mean of the bits must be finite, not {mean}", Code.NOT_FINITE)
        share = min(1.0, max(0.0, mean))
        clip = self.clip * math.exp(-self.rate * (share - self.quantile))
        return QuantileClip(min(_MOST, max(2 * _LEAST, clip)), self.quantile, self.rate)
