"""Hashes, keys and signatures (docs/WIRE.md "Hashing", "Signatures"; RFC 7748, RFC 8032)."""

import hashlib
from collections.abc import Callable, Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

Random = Callable[[int], bytes]


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


def public_key(secret: bytes) -> bytes:
    """The X25519 public key (RFC 7748)."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agree(secret: bytes, public: bytes) -> bytes:
    """X25519; ValueError on a key that is not canonical and on the all-zero output."""
    if int.from_bytes(public, "little") >= 2**255 - 19:
        raise ValueError("public key is not canonical")
    peer = X25519PublicKey.from_public_bytes(public)
    return X25519PrivateKey.from_private_bytes(secret).exchange(peer)


def verify_key(identity: bytes) -> bytes:
    """The Ed25519 public key (RFC 8032) of a 32-byte seed."""
    return Ed25519PrivateKey.from_private_bytes(identity).public_key().public_bytes_raw()


def sign(identity: bytes, digest: bytes) -> bytes:
    """Ed25519 (RFC 8032); WIRE.md "Signatures"."""
    return Ed25519PrivateKey.from_private_bytes(identity).sign(digest)
