"""X25519 key agreement (RFC 7748), from libsodium; every weak public key is rejected."""

from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

PUBLIC_KEY_BYTES: Final = 32
SECRET_KEY_BYTES: Final = 32

_P: Final = 2**255 - 19
# The canonical u-coordinates of points of order 1, 2, 4 and 8 on the curve and its twist
# (Bernstein, "Curve25519: new Diffie-Hellman speed records", and https://cr.yp.to/ecdh.html).
_LOW_ORDER: Final = frozenset(
    {
        0,
        1,
        _P - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)


class WeakKeyError(ValueError):
    """The public key is not canonical, or is of low order."""


def check_public_key(key: bytes) -> None:
    """Rejects a public key that is not canonical, or is of low order.

    Raises:
        WeakKeyError: not 32 bytes, u >= 2^255 - 19, top bit set, or of low order.
    """
    u = int.from_bytes(key, "little")
    if len(key) != PUBLIC_KEY_BYTES or u >= _P:
        raise WeakKeyError("public key is not canonical")
    if u in _LOW_ORDER:
        raise WeakKeyError("public key is of low order")


def public_key(secret_key: bytes) -> bytes:
    """Returns the public key of any 32 secret bytes (clamped as RFC 7748 says), 32 bytes."""
    return bindings.crypto_scalarmult_base(secret_key)


def agree(secret_key: bytes, peer_key: bytes) -> bytes:
    """Returns the 32 bytes that both parties compute; hash them before use.

    Raises:
        WeakKeyError: the result is all zero, as the peer's key is of low order.
    """
    try:
        shared = bindings.crypto_scalarmult(secret_key, peer_key)
    except (CryptoError, RuntimeError):
        raise WeakKeyError("key agreement gives zero") from None
    if not any(shared):
        raise WeakKeyError("key agreement gives zero")
    return shared
