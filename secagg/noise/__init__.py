"""Noise for sums that are differentially private: integers of exact distributions."""
