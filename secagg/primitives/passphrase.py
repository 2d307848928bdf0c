"""Keys from passphrases: Argon2id (RFC 9106), from libsodium."""

from dataclasses import dataclass
from typing import Final

from nacl import bindings
from nacl.exceptions import RuntimeError as SodiumError

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one guess.

    Attributes:
        passes: number of passes over the memory, 1..16.
        memory: KiB, 8..2**20 (one GiB).
    """

    passes: int
    memory: int

    @property
    def allowed(self) -> bool:
        """True if both are in range; a file may not make the machine run out of memory or time."""
        return 1 <= self.passes <= 16 and 8 <= self.memory <= 2**20


# libsodium's "moderate", about half a second: for keys that are opened once per process.
MODERATE: Final = Cost(passes=3, memory=2**18)


def derive(passphrase: bytes, salt: bytes, cost: Cost) -> bytes | None:
    """Derives a 32-byte key.

    Args:
        passphrase: any bytes.
        salt: 16 random bytes, new for every key.
        cost: one that is `allowed`.

    Returns:
        The key, or None if there is not enough memory.
    """
    try:
        return bindings.crypto_pwhash_alg(
            KEY_BYTES,
            passphrase,
            salt,
            cost.passes,
            cost.memory * 1024,
            bindings.crypto_pwhash_ALG_ARGON2ID13,
        )
    except SodiumError:
        return None
