"""Noise for sums that are differentially private: what is needed, demanded, spent, and added."""

from ..params.rotated import Noise
from .accounting import Release, delta, epsilon
from .budget import MemoryBudget, SqliteBudget
from .calibration import NoisePlan, calibrate
from .demand import Demand

__all__ = [
    "Demand",
    "MemoryBudget",
    "Noise",
    "NoisePlan",
    "Release",
    "SqliteBudget",
    "calibrate",
    "delta",
    "epsilon",
]
