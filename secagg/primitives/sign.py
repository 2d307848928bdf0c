"""Ed25519 signatures (RFC 8032), from libsodium; every weak verify key is rejected."""

from typing import Final

from nacl import bindings
from nacl.exceptions import BadSignatureError

from .agreement import WeakKeyError

SEED_BYTES: Final = 32
VERIFY_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


def check_verify_key(key: bytes) -> None:
    """Rejects a verify key that `verify_key` never makes.

    Those that it makes are canonical encodings of points in the group of prime order. Under other
    keys, one signature may be valid for several messages.

    Raises:
        WeakKeyError: not 32 bytes, not canonical, not a point, or not in that group (no point of
            low order is).
    """
    if len(key) != VERIFY_KEY_BYTES or not bindings.crypto_core_ed25519_is_valid_point(key):
        raise WeakKeyError("verify key is not canonical, or not in the group of prime order")


def verify_key(seed: bytes) -> bytes:
    """Returns the 32-byte verify key of any 32 secret bytes."""
    return bindings.crypto_sign_seed_keypair(seed)[0]


def sign(seed: bytes, message: bytes) -> bytes:
    """Signs a message; returns 64 bytes: deterministic Ed25519 without prehash.

    The verify key is derived at every call and never taken from the caller: a signature computed
    with a verify key that does not belong to the seed would reveal the seed.
    """
    _, key_pair = bindings.crypto_sign_seed_keypair(seed)
    return bindings.crypto_sign(message, key_pair)[:SIGNATURE_BYTES]


def verify(verify_key: bytes, message: bytes, signature: bytes) -> bool:
    """Returns whether the signature of the message is valid; False for wrong lengths, too.

    libsodium's rules apply, which are stricter than RFC 8032: S must be below L, and neither the
    verify key nor R may be of low order.
    """
    if len(verify_key) != VERIFY_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, verify_key)
    except BadSignatureError:
        return False
    return True
