"""Discrete Gaussian noise: P(X = k) is proportional to exp(-k^2 / (2 sigma^2)), over all integers.

Samples are exact: the algorithms 1 to 3 of Canonne, Kamath & Steinke (2020, arXiv 2004.00010) use
integers alone. They reject, so the time depends on what is drawn: someone who measures it exactly
may learn something about the noise. Sums of discrete Gaussians are close to, but not, discrete
Gaussians. `Skellam` has neither weakness, up to the variance that it supports.
"""

from typing import Final

from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..arithmetic.generators import Generator
from ..arithmetic.noise import add_gaussian
from ..params.rotated import Noise
from .steps import require_steps


class DiscreteGaussian:
    """Discrete Gaussian noise of one variance.

    Args:
        variance_steps: sigma^2 in steps of 2**-16, 1..2**56. The variance of a sample is less:
            by 14 % at sigma = 1/2, by 2 * 10**-7 at sigma = 1, by 10**-32 at sigma = 2.

    Raises:
        ParameterError: sigma^2 is outside its range.
    """

    __slots__ = ("variance_steps",)

    def __init__(self, variance_steps: int) -> None:
        self.variance_steps: Final = require_steps(
            Noise.DISCRETE_GAUSSIAN, "discrete Gaussian", variance_steps
        )

    def add(self, field: Field, vector: Vector, generator: Generator, key: bytes) -> None:
        """Adds one independent sample to each element; see `Skellam.add`."""
        add_gaussian(field, vector, self.variance_steps, generator, key)
