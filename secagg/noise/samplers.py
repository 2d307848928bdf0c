"""The sampler of a kind of noise."""

from collections.abc import Callable
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from ..numeric import brief
from .discrete_gaussian import DiscreteGaussian
from .skellam import Skellam

# By the numbers in messages.
_KINDS: Final[dict[int, Callable[[int], Skellam | DiscreteGaussian]]] = {
    1: Skellam,
    2: DiscreteGaussian,
}


def sampler(noise: int, variance_steps: int) -> Skellam | DiscreteGaussian:
    """Returns what adds noise; the table of a Skellam distribution is made once per variance.

    Args:
        noise: 1 for Skellam, 2 for the discrete Gaussian.
        variance_steps: of one sample, in steps of 2**-16.

    Raises:
        ParameterError: there is no such noise, or the variance is outside its range.
    """
    if noise not in _KINDS:
        raise ParameterError(
            f"there is no noise {brief(noise)}: choose 1 (Skellam) or 2 (discrete Gaussian)",
            Code.UNSUPPORTED,
        )
    return _KINDS[noise](variance_steps)
