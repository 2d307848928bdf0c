"""Estimates what a round costs, in seconds and bytes, from timings of single kernels."""

from .calibration import Calibration, calibrate
from .model import Estimate, Shape, Side, Units, estimate

__all__ = ["Calibration", "Estimate", "Shape", "Side", "Units", "calibrate", "estimate"]
