"""The derivation of all keys of a round (`docs/WIRE.md`, which gives every formula)."""

from collections.abc import Mapping

from ..machine.wire import u32
from ..primitives.agreement import agree
from ..primitives.labels import Label, kdf
from .messages import PublicKeys


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
