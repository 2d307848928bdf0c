"""Measurements of the library, in the repository only: ``python -m benchmarks --help``."""
