"""The protocol of docs/WIRE.md: the names of the modules that make it up, in one place."""

from .execution import ANNOUNCEMENTS, STEPS, Input, Run, failure, run
from .parameters import SPARSE, FixedPoint, Format, Integers, Parameters, Rotated
from .party import Party
from .primitives import Random, agree, bitmap, hashed, kdf, public_key, sign, u32, verify_key
from .server import Server
from .session import CHECKSUM, CIPHERTEXT, SHARE, SIGNATURE, Session

__all__ = [
    "ANNOUNCEMENTS",
    "CHECKSUM",
    "CIPHERTEXT",
    "SHARE",
    "SIGNATURE",
    "SPARSE",
    "STEPS",
    "FixedPoint",
    "Format",
    "Input",
    "Integers",
    "Parameters",
    "Party",
    "Random",
    "Rotated",
    "Run",
    "Server",
    "Session",
    "agree",
    "bitmap",
    "failure",
    "hashed",
    "kdf",
    "public_key",
    "run",
    "sign",
    "u32",
    "verify_key",
]
