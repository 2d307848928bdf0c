"""All labels for domain separation, and the two hash constructions that use them.

`H(label, parts...)` and `kdf(key, label, parts...)` are BLAKE2b-256 (RFC 7693), plain and keyed,
with the label as personalisation and a 32-bit length before every part, so that two different lists
of parts never give the same input of the hash.
"""

import hashlib
import struct
from enum import Enum
from typing import Final

DIGEST_BYTES: Final = 32


class Label(bytes, Enum):
    """The purpose of a hash: at most 16 bytes, and all different."""

    PARAMS = b"params"
    H0 = b"h0"
    H1 = b"h1"
    H2 = b"h2"
    H3 = b"h3"
    ROSTER = b"roster"
    ADVERTISE_KEYS = b"advertise keys"
    CONSISTENCY = b"consistency"
    GRAPH = b"graph"
    MASK_KEY = b"mask key"
    SELF_MASK = b"self mask"
    SELF_COMMITMENT = b"self commitment"
    PAIRWISE_MASK = b"pairwise mask"
    SHARE_CHANNEL = b"share channel"
    INPUT_CHECKSUM = b"input checksum"
    DIGEST = b"digest"
    STORED_STATE = b"stored state"
    DIRECTORY = b"directory"
    ROTATION = b"rotation"
    RANDOM_K = b"random k"


def _digest(key: bytes, label: Label, parts: tuple[bytes | memoryview, ...]) -> bytes:
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES, key=key, person=label.value)
    for part in parts:
        hasher.update(struct.pack("<I", len(part)))
        hasher.update(part)
    return hasher.digest()


def hash_parts(label: Label, *parts: bytes | memoryview) -> bytes:
    """Computes H(label, parts...): 32 bytes that bind every part, each below 2**32 bytes."""
    return _digest(b"", label, parts)


def kdf(key: bytes, label: Label, *parts: bytes) -> bytes:
    """Derives kdf(key, label, parts...), 32 bytes; ValueError unless the key has 16 to 64 bytes."""
    if not 16 <= len(key) <= 64:
        raise ValueError(f"a key must have 16 to 64 bytes, not {len(key)}")
    return _digest(key, label, parts)
