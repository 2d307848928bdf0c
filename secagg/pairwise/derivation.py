"""Every key that is derived in a round (`docs/WIRE.md`)."""

from collections.abc import Mapping

from ..machine.wire import u32
from ..primitives.agreement import agree
from ..primitives.labels import Label, kdf
from .messages import PublicKeys


def mask_key(seed: bytes, h0: bytes, party: int) -> bytes:
    """The X25519 secret key that a party's mask seed stands for."""
    return kdf(seed, Label.MASK_KEY, h0, u32(party))


def self_key(seed: bytes, h1: bytes, party: int) -> bytes:
    """The key of a party's self mask."""
    return kdf(seed, Label.SELF_MASK, h1, u32(party))


def commitment(seed: bytes, h1: bytes, party: int) -> bytes:
    """What the server holds a rebuilt self seed against."""
    return kdf(seed, Label.SELF_COMMITMENT, h1, u32(party))


def pairwise_key(
    mask_secret: bytes, h1: bytes, me: int, peer: int, roster: Mapping[int, PublicKeys]
) -> bytes:
    """The key of the mask that two parties share; WeakKeyError if they cannot agree on one."""
    return pairwise_key_of(mask_secret, h1, me, peer, roster[me].mask, roster[peer].mask)


def pairwise_key_of(
    mask_secret: bytes, h1: bytes, me: int, peer: int, my_public: bytes, peer_public: bytes
) -> bytes:
    """`pairwise_key` from the two mask public keys alone."""
    (low, low_public), (high, high_public) = sorted(((me, my_public), (peer, peer_public)))
    shared = agree(mask_secret, peer_public)
    return kdf(shared, Label.PAIRWISE_MASK, h1, u32(low), u32(high), low_public, high_public)


def pairwise_sign(me: int, peer: int) -> int:
    """The sign with which `me` adds the mask shared with `peer`."""
    return 1 if me < peer else -1


def channel_key(
    shared: bytes, h1: bytes, sender: int, receiver: int, roster: Mapping[int, PublicKeys]
) -> bytes:
    """The key for the one ciphertext from sender to receiver; `shared` is their agreement."""
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
    """The associated data of that ciphertext."""
    return h1 + u32(sender) + u32(receiver)
