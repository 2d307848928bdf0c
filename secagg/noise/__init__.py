"""Noise for differentially private sums: how much is needed, what clients demand and spend, and
what can be measured."""

from ..params.rotated import Noise
from .accounting import Release, delta, epsilon
from .budget import MemoryBudget, SqliteBudget
from .calibration import NoisePlan, calibrate
from .checks.canaries import Canaries, Estimate
from .checks.variance import correlation_check, variance_check
from .demand import Demand

__all__ = [
    "Canaries",
    "Demand",
    "Estimate",
    "MemoryBudget",
    "Noise",
    "NoisePlan",
    "Release",
    "SqliteBudget",
    "calibrate",
    "correlation_check",
    "delta",
    "epsilon",
    "variance_check",
]
