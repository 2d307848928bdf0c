"""What a round costs, in seconds and bytes: a model, fed by timing single kernels here."""

from .calibration import Calibration, calibrate
from .model import Estimate, Shape, Side, Units, estimate

__all__ = ["Calibration", "Estimate", "Shape", "Side", "Units", "calibrate", "estimate"]
