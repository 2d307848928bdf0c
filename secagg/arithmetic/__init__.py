"""Arithmetic of vectors over prime fields, and the binding to the C core that does it."""
