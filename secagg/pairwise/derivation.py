"""The derivation of all keys of a round (`docs/WIRE.md`, which gives every formula)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ..arithmetic.field import KEY_BYTES
from ..codes import Code
from ..errors import ParameterError
from ..machine.wire import u32
from ..primitives.agreement import SECRET_KEY_BYTES, agree
from ..primitives.labels import Label, kdf
from ..sharing.shamir import SEED_BYTES
from .messages import PublicKeys

# The lengths of what a client draws: three when it is made, then at the roster and for its input.
_DRAWS: Final = (SECRET_KEY_BYTES, SEED_BYTES, SEED_BYTES, KEY_BYTES, KEY_BYTES, KEY_BYTES)
_AT_ONCE: Final = 3


@dataclass(frozen=True, slots=True, repr=False)
class PartySecrets:
    """All that a client draws in a round, in this order (`docs/WIRE.md`, "Randomness").

    With the messages that it has got, every secret of the party follows from these.

    Attributes:
        channel_secret: X25519 secret key of its channels, 32 bytes.
        mask_seed, self_seed: of its pairwise masks and of its self mask, 16 bytes each.
        coefficient_key: of the polynomials of its shares, 32 bytes; None before the roster.
        rounding_key: of the rounding of its input, 32 bytes; None before that, and for integers.
        noise_key: of the noise that it adds, 32 bytes; None without noise.
    """

    channel_secret: bytes
    mask_seed: bytes
    self_seed: bytes
    coefficient_key: bytes | None = None
    rounding_key: bytes | None = None
    noise_key: bytes | None = None

    @classmethod
    def of(cls, draws: Sequence[bytes]) -> "PartySecrets":
        """Returns what the draws of a client are, by the order in which it makes them.

        Args:
            draws: the three of its construction, and up to three more, as far as it came. An input
                that was refused after its first chunk has made a draw of its own: leave that out.

        Raises:
            ParameterError: a draw has another length, or there are fewer or more.
        """
        lengths = [len(each) for each in draws]
        if len(draws) < _AT_ONCE or lengths != list(_DRAWS[: len(draws)]):
            raise ParameterError(
                f"a client draws {', '.join(map(str, _DRAWS))} bytes, at least the first "
                f"{_AT_ONCE}, not {', '.join(map(str, lengths)) or 'nothing'}",
                Code.RANDOMNESS,
            )
        return cls(*map(bytes, draws))


def mask_key(seed: bytes, h0: bytes, party: int) -> bytes:
    """Derives the X25519 secret key for pairwise masks from a party's mask seed."""
    return kdf(seed, Label.MASK_KEY, h0, u32(party))


def self_key(seed: bytes, h1: bytes, party: int) -> bytes:
    """Derives the key of a party's self mask from its self seed."""
    return kdf(seed, Label.SELF_MASK, h1, u32(party))


def commitment(seed: bytes, h1: bytes, party: int) -> bytes:
    """Computes the commitment to a self seed, with which the server compares a rebuilt one."""
    return kdf(seed, Label.SELF_COMMITMENT, h1, u32(party))


def pairwise_key(
    mask_secret: bytes, h1: bytes, me: int, peer: int, roster: Mapping[int, PublicKeys]
) -> bytes:
    """Derives the key of the mask of two parties; raises WeakKeyError if the peer's key is weak."""
    return pairwise_key_of(mask_secret, h1, me, peer, roster[me].mask, roster[peer].mask)


def pairwise_key_of(
    mask_secret: bytes, h1: bytes, me: int, peer: int, my_public: bytes, peer_public: bytes
) -> bytes:
    """Derives the same key as `pairwise_key`, given the two mask public keys."""
    (low, low_public), (high, high_public) = sorted(((me, my_public), (peer, peer_public)))
    shared = agree(mask_secret, peer_public)
    return kdf(shared, Label.PAIRWISE_MASK, h1, u32(low), u32(high), low_public, high_public)


def pairwise_sign(me: int, peer: int) -> int:
    """Returns the sign, +1 or -1, with which `me` adds the mask that it shares with `peer`."""
    return 1 if me < peer else -1


def channel_key(
    shared: bytes, h1: bytes, sender: int, receiver: int, roster: Mapping[int, PublicKeys]
) -> bytes:
    """Derives the key of the one ciphertext from sender to receiver.

    `shared` is the result of their X25519 key agreement.
    """
    return kdf(
        shared,
        Label.SHARE_CHANNEL,
        h1,
        u32(sender),
        u32(receiver),
        roster[sender].channel,
        roster[receiver].channel,
    )


def channel_data(h1: bytes, sender: int, receiver: int) -> bytes:
    """Returns the associated data of the ciphertext from sender to receiver."""
    return h1 + u32(sender) + u32(receiver)
