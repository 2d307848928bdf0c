"""Cryptographic algorithms, one per module, which know nothing of any protocol."""
