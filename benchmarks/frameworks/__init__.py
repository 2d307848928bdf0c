"""Whole frameworks as they are deployed: processes that speak over the network."""
