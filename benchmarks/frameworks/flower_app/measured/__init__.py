"""An app of Flower that `python -m benchmarks frameworks` runs."""
