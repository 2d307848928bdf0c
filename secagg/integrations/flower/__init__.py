"""Flower: a strategy whose server sees only sums, and the mod for its clients; docs/FLOWER.md."""

from .client import SecAggMod, secagg_mod
from .server import SecAgg

__all__ = ["SecAgg", "SecAggMod", "secagg_mod"]
