"""A clip that follows the norms of updates: from one securely summed bit per client and round.

Source: Andrew, Thakkar, McMahan & Ramaswamy 2021 (arXiv 1905.03871), Algorithm 1. `QuantileClip` is
the rule; `AdaptiveClip` uses it in a training with noise, in which the bits have noise as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from secagg import Code, Layout, ParameterError, Params, RangeError, Rotated
from secagg.numeric import as_float, brief

from .agreed import NUMBERS, check_kind, check_params
from .optimizers import require_above_0
from .updates import Vector, norm_of, whole

_LEAST: Final = 2.0**-100
_MOST: Final = 2.0**100
_BELOW: Final = 1 - 2.0**-50  # so that rounding lengthens no vector beyond its bound
_ROUNDING: Final = 2.0**-30  # of a clip that was computed on the way


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
    bit counts by the weight of its client. With differential privacy the mean needs noise too:
    `private_params(..., adaptive=QuantileClip(1.0))` sees to that.

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


@dataclass(frozen=True, slots=True)
class AdaptiveClip:
    """A clip that follows a quantile in a training whose clients add noise.

    A client gives one coordinate more: + or - `height` times the clip, by its bit. So the updates
    and the bits share one L2 norm, sqrt(1 + height^2) times the clip, one bound B of integers, and
    one noise. With z the noise in units of the whole norm, and s the standard deviation of the
    noise in the sum of bits, height = ((2 s / z)^2 - 1)^(-1/2); then the noise in units of the clip
    is (z^-2 - (2 s)^-2)^(-1/2), as in the paper. A vector of zeros has no bit, so the two vectors
    of neighbouring trainings differ by half a bit.

    When the clip changes, the grid does so in proportion: as many levels for the whole norm, the
    same B and the same noise in levels. So every round has the same epsilon, whatever the clip is,
    and it does not matter for privacy who chose the clip.

    Attributes:
        start: the clip of the first round, and the rule.
        params: of the first round; their length is that of the model and one.
        height: of a bit, above 0.
        rounds: of the training: how often the clip changes at most.
    """

    start: QuantileClip
    params: Params
    height: float
    rounds: int

    @classmethod
    def of(
        cls, start: QuantileClip, params: Params, multiplier: float, bit_noise: float, rounds: int
    ) -> "AdaptiveClip":
        """Makes one from parameters for vectors as long as the first clip.

        Args:
            start: the clip of the first round, and the rule.
            params: of vectors with the bit; with a `Rotated` format that has noise.
            multiplier: z, the noise that is relied on.
            bit_noise: standard deviation of the noise that is relied on in the sum of bits.
            rounds: of the training.

        Raises:
            ParameterError: the bits would take all the noise that there is, or an argument is of
                another kind.
        """
        check_kind("start", start, QuantileClip)
        form = check_params(params)
        if not isinstance(form, Rotated) or not form.noisy:
            raise ParameterError(
                f"params must have a Rotated format with noise, not {form}", Code.ARGUMENT
            )
        multiplier = require_above_0("multiplier", multiplier)
        bit_noise = require_above_0("bit_noise", bit_noise)
        rounds = whole("rounds", rounds, 1, NUMBERS)
        if not 2 * bit_noise > multiplier:
            raise ParameterError(
                f"bit_noise must be above {multiplier / 2:.4g}, half the noise of the updates in "
                f"units of the clip, not {bit_noise:.4g}",
                Code.ARGUMENT,
            )
        height = ((2 * bit_noise / multiplier) ** 2 - 1) ** -0.5
        made = cls(start, params, height, rounds)
        return replace(made, params=made.params_for(start))

    @property
    def stretch(self) -> float:
        """The factor by which the bit makes vectors longer: sqrt(1 + height^2)."""
        return math.hypot(1.0, self.height)

    def params_for(self, clip: QuantileClip) -> Params:
        """Returns the parameters of a round with a clip."""
        return self._params_with(clip.clip * self.stretch)

    def _params_with(self, longest: float) -> Params:
        form = self.params.format
        assert isinstance(form, Rotated)  # noqa: S101  (of `calibrate`)
        if longest == form.clip:
            return self.params
        scale = form.clip * form.scale * _BELOW / longest
        return replace(self.params, format=replace(form, clip=longest, scale=scale))

    def accept(self, offered: Params) -> tuple[Params, float]:
        """Returns the only parameters that a client takes with an offer's clip, and that clip.

        A client cannot check the bits of the others: the server's word for their mean would be
        worth as much as its word for the clip. So it checks what holds for any bits: the clip is
        one to which they can have led within the rounds of the training. All other numbers follow
        from the clip; that privacy is the same for each of them, no client takes on trust.

        Raises:
            ParameterError: no bits lead to this clip, or it is no format with one.
        """
        form, rule = offered.format, self.start
        if not isinstance(form, Rotated):
            raise ParameterError(
                f"refused by this client: the format is {form}, not one with a clip that is an L2 "
                "norm",
                Code.POLICY_FORMAT,
            )
        clip = form.clip / self.stretch
        most = math.log(_MOST / _LEAST)
        low = rule.clip * math.exp(-min(most, rule.rate * (1 - rule.quantile) * self.rounds))
        high = rule.clip * math.exp(min(most, rule.rate * rule.quantile * self.rounds))
        if not low * (1 - _ROUNDING) <= clip <= high * (1 + _ROUNDING):
            raise ParameterError(
                f"refused by this client: the clip is {clip:.4g}, and in {self.rounds} rounds it "
                f"comes from {rule.clip:.4g} to {low:.4g}..{high:.4g} at most, whatever the bits",
                Code.POLICY_FORMAT,
            )
        return self._params_with(form.clip), clip

    def pack(self, update: Vector, clip: float) -> Vector:
        """Returns a client's vector: its clipped update, and its bit.

        Args:
            update: shape (length,), finite.
            clip: of the round.

        Returns:
            shape (length + 1,); no longer than the clip of the format, but for rounding.
        """
        length = norm_of(update)
        is_within = length <= clip
        if length == math.inf:  # the square of a value is no double
            update = update * 2.0**-600
            length = norm_of(update)
        packed = np.empty(update.size + 1)
        packed[:-1] = update if is_within else update * (clip / length)
        packed[-1] = self.height * clip if is_within else -self.height * clip
        return packed

    def unpack(self, mean: Vector, clip: QuantileClip) -> tuple[Vector, QuantileClip]:
        """Returns the mean update of a round, shape (length,), and the clip of the next one."""
        within = float(mean[-1]) / (2 * self.height * clip.clip) + 0.5
        return mean[:-1], clip.after(within)
