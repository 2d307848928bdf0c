"""Vectors over a prime field: the binding to the C core and what stands on it."""
