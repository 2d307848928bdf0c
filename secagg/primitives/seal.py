"""ChaCha20-Poly1305 (RFC 8439), from libsodium, for keys that seal one message each."""

from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

TAG_BYTES: Final = 16

# A constant nonce is safe because every key is derived for one message and never used again.
_NONCE: Final = bytes(12)


def seal(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypts and authenticates; the result is `TAG_BYTES` longer than the plaintext."""
    return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, associated, _NONCE, key)


def unseal(key: bytes, ciphertext: bytes, associated: bytes) -> bytes | None:
    """Returns the plaintext; None if `seal` did not make the ciphertext with this key and data."""
    if len(ciphertext) < TAG_BYTES:
        return None
    try:
        return bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
            ciphertext, associated, _NONCE, key
        )
    except CryptoError:
        return None
