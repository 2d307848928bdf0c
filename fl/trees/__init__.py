"""Gradient-boosted trees over secure histograms."""
