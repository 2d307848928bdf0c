"""Ed25519 signatures that are almost right (RFC 8032)."""

import hashlib

from reference.protocol import (
    sign,
    verify_key,
)

from .forge import L25519, P25519, low

SMALL = "the equation holds, and R, the neutral point, is of small order"
COFACTOR = "R has a part of order 2: only a verification with the cofactor would take it"


def plus_order(signature: bytes) -> bytes:
    """A signature with S + L in the place of S."""
    return signature[:32] + low(int.from_bytes(signature[32:], "little") + L25519)


def neutral_r(seed: bytes, digest: bytes) -> bytes:
    """A signature with the neutral point as R: the equation holds, and its order is small."""
    r = (1).to_bytes(32, "little")
    a, _ = _halves(seed)
    return r + low(_challenge(seed, r, digest) * a % L25519)


def torsion_r(seed: bytes, digest: bytes) -> bytes:
    """R and a point of order 2: the equation holds if both sides are multiplied by 8 only."""
    a, prefix = _halves(seed)
    nonce = int.from_bytes(hashlib.sha512(prefix + digest).digest(), "little")
    y = int.from_bytes(sign(seed, digest)[:32], "little")
    odd, y = y >> 255, y % 2**255
    r = low(P25519 - y | (1 - odd) << 255)  # (x, y) + (0, -1) = (-x, -y)
    return r + low((nonce + _challenge(seed, r, digest) * a) % L25519)


def _halves(seed: bytes) -> tuple[int, bytes]:
    """RFC 8032, section 5.1.5: the secret scalar and the prefix."""
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little")
    return scalar & ~7 & (1 << 254) - 1 | 1 << 254, digest[32:]


def _challenge(seed: bytes, r: bytes, digest: bytes) -> int:
    """RFC 8032, section 5.1.6: k."""
    return int.from_bytes(hashlib.sha512(r + verify_key(seed) + digest).digest(), "little")
