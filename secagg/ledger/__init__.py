"""Ledgers: lasting records of what may happen only once."""
