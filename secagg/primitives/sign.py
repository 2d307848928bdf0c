"""Ed25519 signatures (RFC 8032), through libsodium, with every weak verify key refused."""

from typing import Final

from nacl import bindings
from nacl.exceptions import BadSignatureError

from .agreement import WeakKeyError

SEED_BYTES: Final = 32
VERIFY_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


def check_verify_key(key: bytes) -> None:
    """Refuses what no honest party has as its key.

    Every key that `verify_key` makes is the canonical encoding of a point of the group of prime
    order; under others a signature may fit more than one message.

    Raises:
        WeakKeyError: not 32 bytes, not canonical, no point, or outside that group (which all
            points of low order are).
    """
    if len(key) != VERIFY_KEY_BYTES or not bindings.crypto_core_ed25519_is_valid_point(key):
        raise WeakKeyError("verify key is not canonical, or of low order")


def verify_key(seed: bytes) -> bytes:
    """The 32-byte verify key of any 32 secret bytes."""
    return bindings.crypto_sign_seed_keypair(seed)[0]


def sign(seed: bytes, message: bytes) -> bytes:
    """The signature of a message, 64 bytes: deterministic, and of Ed25519 proper (no prehash).

    The verify key is derived each time. A signature under another than its seed's own would give
    the seed away, so none is ever taken from the caller.
    """
    _, key_pair = bindings.crypto_sign_seed_keypair(seed)
    return bindings.crypto_sign(message, key_pair)[:SIGNATURE_BYTES]


def verify(verify_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is the key's, on this message. False, too, on wrong lengths.

    Only one S is accepted (S < L), and neither a verify key nor an R of low order is (libsodium's
    rules, which are those of RFC 8032 and more).
    """
    if len(verify_key) != VERIFY_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        bindings.crypto_sign_open(signature + message, verify_key)
    except BadSignatureError:
        return False
    return True
