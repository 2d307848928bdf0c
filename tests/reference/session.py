"""Messages, transcript and masks, as both sides compute them (docs/WIRE.md)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from .arithmetic import SHARE_BITS, Share, mask, prime, unpack
from .graph import pieces, ring_neighbours, ring_of
from .parameters import Parameters
from .primitives import agree, bitmap, hashed, kdf, u32, verify

VERSION = 1
TYPES = {  # WIRE.md "Messages"
    "offer": 0x10,
    "advertise keys": 0x01,
    "roster": 0x11,
    "share keys": 0x02,
    "delivery": 0x12,
    "masked input": 0x03,
    "survivors": 0x13,
    "consistency": 0x04,
    "signatures": 0x14,
    "unmask": 0x05,
}
SHARE, CIPHERTEXT, SIGNATURE, CHECKSUM = 23, 62, 64, 16


class Reader:
    """Takes fields from a message; raises ValueError unless all of it is canonical."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        taken, self.data = self.data[:size], self.data[size:]
        if len(taken) != size:
            raise ValueError("the message is too short")
        return taken

    def expect(self, value: bytes) -> None:
        """A field of which the receiver knows the value."""
        if self.take(len(value)) != value:
            raise ValueError("a field differs from what it must be")

    def members(self, n: int, within: Iterable[int]) -> list[int]:
        """A bitmap, which must be a subset of `within`."""
        number = int.from_bytes(self.take((n + 7) // 8), "little")
        found = [i for i in range(n) if number >> i & 1]
        if number >> n or not set(found) <= set(within):
            raise ValueError("a bitmap has a bit that it must not have")
        return found

    def public_key(self) -> bytes:
        """A canonical public key that is not of low order."""
        key = self.take(32)
        agree(bytes(32), key)
        return key

    def share(self) -> Share:
        """A packed share."""
        a, b, c = unpack(self.take(SHARE), 3, SHARE_BITS)
        return a, b, c

    def end(self) -> None:
        """Nothing may follow."""
        if self.data:
            raise ValueError("bytes follow the last field")


class Entry(NamedTuple):
    """WIRE.md "Messages": an entry, its fields in order."""

    channel_pk: bytes
    mask_pk: bytes
    signature: bytes  # empty in semi-honest mode


@dataclass(frozen=True)
class Session:
    """The knowledge of both sides: parameters, session and context; transcript and keys."""

    parameters: Parameters
    session: bytes
    context: bytes
    pinned: Sequence[bytes] = ()  # the verify keys of parties 0 .. n-1; none if semi-honest

    def message(self, name: str, *body: bytes) -> bytes:
        """WIRE.md "Messages": a header and a body."""
        return b"".join((b"SA", bytes([VERSION, TYPES[name]]), self.session, *body))

    def read(self, name: str, message: bytes) -> Reader:
        """A reader behind the header."""
        reader = Reader(message)
        reader.expect(self.message(name))
        return reader

    def bitmap(self, members: Iterable[int]) -> bytes:
        """A bitmap over the cohort."""
        return bitmap(members, self.parameters.cohort)

    def h0(self) -> bytes:
        """WIRE.md "Transcript"; `pinned` is one part, of length 0 in semi-honest mode."""
        return self._h0

    @cached_property
    def _h0(self) -> bytes:
        params_hash, pinned = hashed("params", self.parameters.encode()), b"".join(self.pinned)
        return hashed("h0", bytes([VERSION]), params_hash, self.session, self.context, pinned)

    def holders(self, u: int, within: Iterable[int]) -> list[int]:
        """WIRE.md "Messages": the holders of u in a set, itself among them, ascending."""
        p = self.parameters
        if not p.sparse:
            return sorted(within)
        return sorted(v for v in within if v == u or v in self.graph()[u])

    def ring(self) -> tuple[int, ...]:
        """The parties in the order of the ring, in mode 2."""
        p = self.parameters
        return ring_of(p.suite, hashed("graph", self.h0()), p.cohort)

    def graph(self) -> tuple[frozenset[int], ...]:
        """The neighbours of each party, in mode 2."""
        p = self.parameters
        return ring_neighbours(p.suite, hashed("graph", self.h0()), p.cohort, p.degree)

    def in_pieces(self, members: Iterable[int]) -> bool:
        """Returns whether no chain of neighbours joins some two of them."""
        return self.parameters.sparse and len(pieces(members, self.graph())) > 1

    def h1(self, entries: Mapping[int, Entry]) -> bytes:
        """WIRE.md "Transcript"; the entries of U1 are one part."""
        u1 = sorted(entries)
        joined = b"".join(b"".join(entries[u]) for u in u1)
        return hashed("h1", self.h0(), self.bitmap(u1), joined)

    def believed(self, h1: bytes, listed: Mapping[int, Entry]) -> bytes:
        """WIRE.md "Transcript": r_u in mode 2, from the entries of the holders of u in U1."""
        if not self.parameters.sparse:
            return h1
        joined = b"".join(b"".join(listed[v]) for v in sorted(listed))
        return hashed("roster", h1, self.bitmap(listed), joined)

    def after(self, label: str, previous: bytes, members: Iterable[int]) -> bytes:
        """WIRE.md "Transcript": h2 and h3."""
        return hashed(label, previous, self.bitmap(members))

    def mask_sk(self, mask_seed: bytes, u: int) -> bytes:
        """WIRE.md "Keys"."""
        return kdf(mask_seed, "mask key", self.h0(), u32(u))

    def expand(self, key: bytes) -> list[int]:
        """The mask of a whole vector."""
        p = self.parameters
        return mask(p.suite, key, p.field_bits, 0, p.vector_length)

    def self_mask(self, self_seed: bytes, h1: bytes, u: int) -> list[int]:
        """mask(self_key)."""
        return self.expand(kdf(self_seed, "self mask", h1, u32(u)))

    def pairwise_mask(
        self, u: int, v: int, mask_sk: bytes, entries: Mapping[int, Entry], h1: bytes
    ) -> list[int]:
        """sign * mask(s_uv), as u adds it, from the secret key of u."""
        lo, hi = min(u, v), max(u, v)
        parts = (h1, u32(lo), u32(hi), entries[lo].mask_pk, entries[hi].mask_pk)
        s_uv = kdf(agree(mask_sk, entries[v].mask_pk), "pairwise mask", *parts)
        sign = 1 if u < v else -1
        return [sign * element for element in self.expand(s_uv)]

    def add(self, *vectors: Sequence[int]) -> list[int]:
        """The sum in F(p(b))."""
        p = prime(self.parameters.field_bits)
        return [sum(column) % p for column in zip(*vectors, strict=True)]

    def keys_digest(self, u: int, keys: bytes) -> bytes:
        """WIRE.md "Signatures": what u signs in its entry."""
        return hashed("advertise keys", self.h0(), u32(u), keys)

    def input_digest(self, h2: bytes, u: int, packed: bytes) -> bytes:
        """WIRE.md "Streams, masks, masked input": what u signs, or cuts to a checksum."""
        return hashed("input checksum", h2, u32(u), packed)

    def consistency_digest(self, h3: bytes) -> bytes:
        """WIRE.md "Signatures": what each signer of U3 signs."""
        return hashed("consistency", h3)

    def read_signature(self, reader: Reader, u: int, digest: bytes) -> bytes:
        """A signature, which must be that of u; ValueError if it is not."""
        signature = reader.take(SIGNATURE)
        verify(self.pinned[u], signature, digest)
        return signature

    def read_entry(self, reader: Reader, u: int) -> Entry:
        """The entry of u, its signature verified in malicious mode."""
        channel_pk, mask_pk, signature = reader.public_key(), reader.public_key(), b""
        if self.parameters.malicious:
            digest = self.keys_digest(u, channel_pk + mask_pk)
            signature = self.read_signature(reader, u, digest)
        return Entry(channel_pk, mask_pk, signature)
