"""The suite of a session: all its algorithms under one number."""

from enum import IntEnum


class Suite(IntEnum):
    """All algorithms of a session by one number (`docs/WIRE.md`, Parameters).

    The two differ in the generator of masks: AES-256-CTR is the fastest where the CPU has AES
    instructions, ChaCha20 where it has none.
    """

    AES256CTR = 1
    CHACHA20 = 2
