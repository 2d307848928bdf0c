"""Says what a round costs, in seconds and bytes: from timings of single kernels, and measured.

`secagg.preflight` tells from it what an operator must know before a first round.
"""

from .bench import Measured, Plan, measure, plan
from .calibration import Calibration, calibrate
from .findings import Finding, Severity
from .model import Estimate, Memory, Shape, Side, Units, estimate, memory
from .preflight import Preflight, preflight

__all__ = [
    "Calibration",
    "Estimate",
    "Finding",
    "Measured",
    "Memory",
    "Plan",
    "Preflight",
    "Severity",
    "Shape",
    "Side",
    "Units",
    "calibrate",
    "estimate",
    "measure",
    "memory",
    "plan",
    "preflight",
]
