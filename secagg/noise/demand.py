"""The noise that a client demands of a round, before it takes part."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from ..params.checks import require_int
from ..params.params import MAX_COHORT, Params
from ..params.rotated import Rotated
from .accounting import (
    Release,
    require_accountant,
    require_delta,
    require_positive,
    require_rounds,
    require_target,
)
from .filter import Filter

_REFUSED: Final = "refused by this client's policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A demand of a client on the noise of a round, for `Policy(privacy=...)`.

    It trusts no number that the server computed: epsilon follows from the variance, the bound B and
    the length in the offer, for h = quorum - colluders. The number of colluders is the server's
    word, too, as long as the policy does not bound it (`Policy(colluders=...)`).

    Attributes:
        epsilon: the most that all rounds together may tell, at `delta`; 0.001..32. It holds for any
            rounds that meet the demand, also if parameters change with what was learned (`Filter`).
        delta: above 0 and below 1.
        rounds: for how many rounds epsilon is computed; 1..2**32. They are not counted here: that
            is what a budget does.
        clip: the largest L2 norm with which this client enters a sum: the clip of the format may
            be smaller.
        honest: the least number h of honest clients whose noise is certain to be in a sum;
            1..2**16.

    Raises:
        ParameterError: a value is outside its range.
        MissingExtraError: dp-accounting is not installed.
    """

    epsilon: float
    delta: float
    rounds: int
    clip: float
    honest: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", require_target(self.epsilon))
        object.__setattr__(self, "clip", require_positive("clip", self.clip))
        object.__setattr__(self, "delta", require_delta(self.delta))
        object.__setattr__(self, "rounds", require_rounds(self.rounds))
        object.__setattr__(self, "honest", require_int("honest", self.honest, 1, MAX_COHORT))
        require_accountant()

    def check(self, params: Params) -> None:
        """Refuses parameters that give less privacy.

        Raises:
            ParameterError: they do (`policy_privacy`); the message says what is too much.
            MissingExtraError: dp-accounting is not installed.
        """
        form = params.format
        if not isinstance(form, Rotated) or not form.noisy:
            raise _refusal(
                f"the format {type(form).__name__} adds no noise, and epsilon {self.epsilon:g} is "
                "demanded; ask for parameters by `secagg.noise.calibrate`"
            )
        if form.clip > self.clip:
            raise _refusal(f"the clip {form.clip:g} is above {self.clip:g}")
        honest = params.quorum - params.colluders
        if honest < self.honest:
            raise _refusal(
                f"the noise of {honest} honest clients is certain (quorum {params.quorum} less "
                f"{params.colluders} colluders), and {self.honest} are demanded"
            )
        found = _spent(Filter(self.epsilon, self.delta), Release.of(params), self.rounds)
        if not found <= self.epsilon:
            raise _refusal(
                f"{self.rounds} rounds have epsilon {found:.4g} at delta {self.delta:g}, above "
                f"{self.epsilon:g}: ask for more noise, or a smaller bound"
            )


@lru_cache(maxsize=64)
def _spent(target: Filter, release: Release, rounds: int) -> float:
    return target.spent([(release, rounds)])


def _refusal(reason: str) -> ParameterError:
    return ParameterError(f"{_REFUSED}: {reason}", Code.POLICY_PRIVACY)
