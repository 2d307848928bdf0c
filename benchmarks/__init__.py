"""Measurements of the library, for the repository: ``python -m benchmarks --help``."""
