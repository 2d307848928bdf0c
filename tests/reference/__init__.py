"""The reference model of the pairwise protocol: docs/WIRE.md as plain, slow Python.

It shares no code with the library and was written from docs/WIRE.md and the RFCs named there, so
that agreement between the two means something. Only X25519, Ed25519, the ChaCha20-Poly1305 AEAD,
the AES block and BLAKE2b come from libraries. It is not constant-time and must never carry real
data.
"""

from .arithmetic import mask, pack, prime, quantize, rebuild, share, stream, unpack
from .protocol import (
    FixedPoint,
    Format,
    Integers,
    Parameters,
    Party,
    Rotated,
    Run,
    Server,
    Session,
    run,
)

__all__ = [
    "FixedPoint",
    "Format",
    "Integers",
    "Parameters",
    "Party",
    "Rotated",
    "Run",
    "Server",
    "Session",
    "mask",
    "pack",
    "prime",
    "quantize",
    "rebuild",
    "run",
    "share",
    "stream",
    "unpack",
]
