"""The transcript chain: the hashes that bind a round, and what is signed (`docs/WIRE.md`)."""

from collections.abc import Iterable, Mapping

from ..machine.wire import VERSION, bitmap, u8, u32
from ..params.params import Round
from ..primitives.labels import Label, hash_parts
from .messages import CHECKSUM_BYTES, PublicKeys


def h0(agreed: Round, pinned: bytes) -> bytes:
    """Hashes the round that a party was given, and the verify keys that it has pinned."""
    params_hash = hash_parts(Label.PARAMS, agreed.params.encode())
    return hash_parts(Label.H0, u8(VERSION), params_hash, agreed.session, agreed.context, pinned)


def h1(h0: bytes, roster: Mapping[int, PublicKeys], cohort: int) -> bytes:
    """Hashes h0 and the entries of all parties in U1; `roster` is in ascending order."""
    return _entries(Label.H1, h0, roster, cohort)


def roster_digest(h1: bytes, near: Mapping[int, PublicKeys], cohort: int) -> bytes:
    """Hashes what a client on a sparse graph was told: h1 and the entries of its holders.

    Such a client sees no other entries, so it cannot compute h1. `near` is in ascending order.
    """
    return _entries(Label.ROSTER, h1, near, cohort)


def _entries(label: Label, before: bytes, roster: Mapping[int, PublicKeys], cohort: int) -> bytes:
    entries = b"".join(keys.encode() for keys in roster.values())
    return hash_parts(label, before, bitmap(roster, cohort), entries)


def h2(h1: bytes, members: Iterable[int], cohort: int) -> bytes:
    """Hashes h1 and U2."""
    return hash_parts(Label.H2, h1, bitmap(members, cohort))


def h3(h2: bytes, members: Iterable[int], cohort: int) -> bytes:
    """Hashes h2 and U3."""
    return hash_parts(Label.H3, h2, bitmap(members, cohort))


def entry_digest(h0: bytes, party: int, entry: PublicKeys) -> bytes:
    """Returns the digest that a party signs when it advertises its keys."""
    return hash_parts(Label.ADVERTISE_KEYS, h0, u32(party), entry.channel + entry.mask)


def input_digest(h2: bytes, party: int, packed: bytes | memoryview) -> bytes:
    """Returns the digest of a masked input: of h2, its sender and its elements."""
    return hash_parts(Label.INPUT_CHECKSUM, h2, u32(party), packed)


def consistency_digest(h3: bytes) -> bytes:
    """Returns the digest that a party signs in the consistency step."""
    return hash_parts(Label.CONSISTENCY, h3)


def checksum(h2: bytes, party: int, packed: bytes | memoryview) -> bytes:
    """Returns the 16 bytes that detect a corrupted or misrouted masked input (semi-honest mode)."""
    return input_digest(h2, party, packed)[:CHECKSUM_BYTES]
