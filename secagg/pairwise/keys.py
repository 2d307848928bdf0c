"""The transcript chain and every key that is derived under it (`docs/WIRE.md`)."""

from collections.abc import Iterable, Mapping

from ..machine.wire import VERSION, bitmap, u8, u32
from ..params.params import Round
from ..primitives.agreement import agree
from ..primitives.labels import Label, hash_parts, kdf
from .messages import CHECKSUM_BYTES, PublicKeys


def h0(agreed: Round, pinned: bytes) -> bytes:
    """The round as each party believes it to be, and the verify keys that it has pinned."""
    params_hash = hash_parts(Label.PARAMS, agreed.params.encode())
    return hash_parts(Label.H0, u8(VERSION), params_hash, agreed.session, agreed.context, pinned)


def h1(h0: bytes, roster: Mapping[int, PublicKeys], cohort: int) -> bytes:
    """h0 and the entries of everybody in U1; `roster` is in ascending order."""
    return _entries(Label.H1, h0, roster, cohort)


def believed(h1: bytes, near: Mapping[int, PublicKeys], cohort: int) -> bytes:
    """What a client on a sparse graph, who cannot compute h1, was told: h1 and the entries of its
    holders, in ascending order.
    """
    return _entries(Label.ROSTER, h1, near, cohort)


def _entries(label: Label, before: bytes, roster: Mapping[int, PublicKeys], cohort: int) -> bytes:
    entries = b"".join(keys.encode() for keys in roster.values())
    return hash_parts(label, before, bitmap(roster, cohort), entries)


def h2(h1: bytes, members: Iterable[int], cohort: int) -> bytes:
    """h1 and U2."""
    return hash_parts(Label.H2, h1, bitmap(members, cohort))


def h3(h2: bytes, members: Iterable[int], cohort: int) -> bytes:
    """h2 and U3."""
    return hash_parts(Label.H3, h2, bitmap(members, cohort))


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


def entry_digest(h0: bytes, party: int, entry: PublicKeys) -> bytes:
    """What a party signs when it advertises its keys."""
    return hash_parts(Label.ADVERTISE_KEYS, h0, u32(party), entry.channel + entry.mask)


def input_digest(h2: bytes, party: int, packed: bytes) -> bytes:
    """What a masked input is bound to: its sets, its sender, its elements."""
    return hash_parts(Label.INPUT_CHECKSUM, h2, u32(party), packed)


def consistency_digest(h3: bytes) -> bytes:
    """What a party signs when it was told U3."""
    return hash_parts(Label.CONSISTENCY, h3)


def checksum(h2: bytes, party: int, packed: bytes) -> bytes:
    """What a masked input carries in semi-honest mode against corruption and misrouting."""
    return input_digest(h2, party, packed)[:CHECKSUM_BYTES]
