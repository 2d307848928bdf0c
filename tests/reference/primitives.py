"""Hashes, keys and signatures (docs/WIRE.md "Hashing", "Signatures"; RFC 7748, RFC 8032).

Values that take long are kept: the same rounds are played again with one mistake in each.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

Random = Callable[[int], bytes]
KEPT = 2**15  # values of one function


def u32(value: int) -> bytes:
    """A u32, little-endian."""
    return value.to_bytes(4, "little")


def kdf(key: bytes, label: str, *parts: bytes) -> bytes:
    """WIRE.md "Hashing": keyed."""
    message = b"".join(u32(len(part)) + part for part in parts)
    person = label.encode("ascii").ljust(16, b"\0")
    return hashlib.blake2b(message, digest_size=32, key=key, person=person).digest()


def hashed(label: str, *parts: bytes) -> bytes:
    """WIRE.md "Hashing": H."""
    return kdf(b"", label, *parts)


def bitmap(members: Iterable[int], n: int) -> bytes:
    """WIRE.md "Values": bitmap."""
    return sum(1 << i for i in members).to_bytes((n + 7) // 8, "little")


@lru_cache(KEPT)
def public_key(secret: bytes) -> bytes:
    """The X25519 public key (RFC 7748)."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


@lru_cache(KEPT)
def agree(secret: bytes, public: bytes) -> bytes:
    """X25519; ValueError on a key that is not canonical and on the all-zero output."""
    if int.from_bytes(public, "little") >= 2**255 - 19:
        raise ValueError("public key is not canonical")
    peer = X25519PublicKey.from_public_bytes(public)
    return X25519PrivateKey.from_private_bytes(secret).exchange(peer)


@lru_cache(KEPT)
def verify_key(identity: bytes) -> bytes:
    """The Ed25519 public key (RFC 8032) of a 32-byte seed."""
    return Ed25519PrivateKey.from_private_bytes(identity).public_key().public_bytes_raw()


@lru_cache(KEPT)
def sign(identity: bytes, digest: bytes) -> bytes:
    """Ed25519 (RFC 8032); WIRE.md "Signatures"."""
    return Ed25519PrivateKey.from_private_bytes(identity).sign(digest)


@lru_cache(KEPT)
def verify(key: bytes, signature: bytes, digest: bytes) -> None:
    """Ed25519; ValueError if it is not the signature."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, digest)
    except InvalidSignature:
        raise ValueError("a signature is not valid") from None
