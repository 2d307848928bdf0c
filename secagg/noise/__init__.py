"""Noise for sums that are differentially private: how much a target needs, what it is worth."""

from .accounting import Release, delta, epsilon
from .calibration import NoisePlan, calibrate

__all__ = ["NoisePlan", "Release", "calibrate", "delta", "epsilon"]
