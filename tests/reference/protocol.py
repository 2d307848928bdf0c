"""Messages, transcript, keys, the client's and the server's steps (docs/WIRE.md)."""

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .arithmetic import (
    SHARE_BITS,
    Share,
    mask,
    pack,
    prime,
    quantize,
    rebuild,
    share,
    unpack,
)
from .graph import pieces, ring_neighbours, ring_of

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
STEPS = ("advertise keys", "share keys", "masked input", "consistency", "unmask")
ANNOUNCEMENTS = ("roster", "delivery", "survivors", "signatures")  # each ends a step but the last
FAILURES = ("u1", "u2", "u3", "consistency", "unmask")  # by step; and "graph", of a U3
MALICIOUS, SPARSE = 1, 2  # WIRE.md "Parameters": mode
SHARE, CIPHERTEXT, SIGNATURE, CHECKSUM = 23, 62, 64, 16
Random = Callable[[int], bytes]
Input = tuple[Sequence[float] | Sequence[int], int]


def u32(value: int) -> bytes:
    """A u32, little-endian."""
    return value.to_bytes(4, "little")


def kdf(key: bytes, label: str, *parts: bytes) -> bytes:
    """WIRE.md "Hashing": keyed."""
    message = b"".join(u32(len(part)) + part for part in parts)
    person = label.encode("ascii").ljust(16, b"\0")
    return hashlib.blake2b(message, digest_size=32, key=key, person=person).digest()


def hashed(label: str, *parts: bytes) -> bytes:
    """WIRE.md "Hashing": H."""
    return kdf(b"", label, *parts)


def bitmap(members: Iterable[int], n: int) -> bytes:
    """WIRE.md "Values": bitmap."""
    return sum(1 << i for i in members).to_bytes((n + 7) // 8, "little")


def public_key(secret: bytes) -> bytes:
    """The X25519 public key (RFC 7748)."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agree(secret: bytes, public: bytes) -> bytes:
    """X25519; ValueError on a key that is not canonical and on the all-zero output."""
    if int.from_bytes(public, "little") >= 2**255 - 19:
        raise ValueError("public key is not canonical")
    peer = X25519PublicKey.from_public_bytes(public)
    return X25519PrivateKey.from_private_bytes(secret).exchange(peer)


def verify_key(identity: bytes) -> bytes:
    """The Ed25519 public key (RFC 8032) of a 32-byte seed."""
    return Ed25519PrivateKey.from_private_bytes(identity).public_key().public_bytes_raw()


def sign(identity: bytes, digest: bytes) -> bytes:
    """Ed25519 (RFC 8032); WIRE.md "Signatures"."""
    return Ed25519PrivateKey.from_private_bytes(identity).sign(digest)


@dataclass(frozen=True)
class FixedPoint:
    """WIRE.md "Parameters": fixed point."""

    clip: float
    bits: int
    max_weight: int

    def encode(self) -> bytes:
        """The bytes of the format."""
        return struct.pack("<BdBI", 1, self.clip, self.bits, self.max_weight)


@dataclass(frozen=True)
class Integers:
    """WIRE.md "Parameters": integers in low..high, both included."""

    low: int
    high: int

    def encode(self) -> bytes:
        """The bytes of the format."""
        return struct.pack("<Bqq", 2, self.low, self.high)


@dataclass(frozen=True)
class Parameters:
    """WIRE.md "Parameters"."""

    suite: int
    mode: int
    cohort: int
    threshold: int
    min_survivors: int
    colluders: int
    length: int
    format: FixedPoint | Integers
    degree: int = 0  # k, in mode 2

    def encode(self) -> bytes:
        """The bytes in the offer and under params_hash."""
        numbers = [self.cohort, self.threshold, self.min_survivors, self.colluders]
        numbers += [self.degree] if self.sparse else []
        head = bytes([self.suite, self.mode]) + b"".join(map(u32, numbers))
        return head + struct.pack("<Q", self.length) + self.format.encode()

    @property
    def malicious(self) -> bool:
        """Whether the parties sign."""
        return self.mode == MALICIOUS

    @property
    def sparse(self) -> bool:
        """Whether a party has fewer neighbours than all the others."""
        return self.mode == SPARSE

    @property
    def weighted(self) -> bool:
        """Whether the last element of the vector is the weight."""
        return isinstance(self.format, FixedPoint) and self.format.max_weight > 1

    @property
    def vector_length(self) -> int:
        """L."""
        return self.length + int(self.weighted)

    @property
    def field_bits(self) -> int:
        """b."""
        f = self.format
        largest = f.max_weight * (2**f.bits - 1) if isinstance(f, FixedPoint) else f.high - f.low
        for bits in range(16, 63):
            if self.cohort * largest < prime(bits):
                return bits
        raise ValueError("no field is wide enough")

    @property
    def quorum(self) -> int:
        """The least number of parties that may remain."""
        return self.min_survivors if self.sparse else max(self.threshold, self.min_survivors)

    def encode_input(self, values: Sequence[float], weight: int, random: Random) -> list[int]:
        """WIRE.md "Encoded input": x_u, drawing rounding_key for fixed point."""
        if len(values) != self.length:
            raise ValueError("wrong length")
        f = self.format
        if isinstance(f, FixedPoint):
            key = random(32)
            return quantize(values, f.clip, f.bits, weight, f.max_weight, self.suite, key)
        if any(not f.low <= x <= f.high for x in values):
            raise ValueError("an integer is out of range")
        return [int(x) - f.low for x in values]

    def decode_sum(
        self, field_sum: Sequence[int], survivors: int
    ) -> tuple[list[float] | list[int], list[float] | None]:
        """WIRE.md "Encoded input": total and mean (no mean is specified for integers)."""
        f = self.format
        if isinstance(f, Integers):
            return [q + f.low * survivors for q in field_sum], None
        step = 2.0 * f.clip / float(2**f.bits - 1)
        sums = [float(q) for q in field_sum[: self.length]]
        w = float(field_sum[-1] if self.weighted else survivors)
        return [q * step - f.clip * w for q in sums], [q * (step / w) - f.clip for q in sums]


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
    """What both sides know: the parameters, the session, the context; transcript and keys."""

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
        """Whether no chain of neighbours joins some two of them."""
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
        try:
            Ed25519PublicKey.from_public_bytes(self.pinned[u]).verify(signature, digest)
        except InvalidSignature:
            raise ValueError("a signature is not valid") from None
        return signature

    def read_entry(self, reader: Reader, u: int) -> Entry:
        """The entry of u, its signature verified in malicious mode."""
        channel_pk, mask_pk, signature = reader.public_key(), reader.public_key(), b""
        if self.parameters.malicious:
            digest = self.keys_digest(u, channel_pk + mask_pk)
            signature = self.read_signature(reader, u, digest)
        return Entry(channel_pk, mask_pk, signature)


class Party:
    """A client: each step takes the server's message and returns the answer to it."""

    def __init__(
        self, session: Session, index: int, random: Random, identity: bytes | None = None
    ) -> None:
        self.session, self.index, self.random = session, index, random
        self.identity = identity  # its Ed25519 seed, in malicious mode
        self.channel_sk, self.mask_seed, self.self_seed = random(32), random(16), random(16)
        self.mask_sk = session.mask_sk(self.mask_seed, index)
        self.entries: dict[int, Entry] = {}  # of U1
        self.shares: dict[int, tuple[Share, Share]] = {}  # by dealer: mask_seed, self_seed
        self.encoded: list[int] = []
        self.pairwise: dict[int, list[int]] = {}  # by neighbour in U2, the mask with its sign

    def sign(self, digest: bytes) -> bytes:
        """WIRE.md "Signatures": empty for a party without an identity."""
        return b"" if self.identity is None else sign(self.identity, digest)

    def advertise_keys(self) -> bytes:
        """On the offer."""
        s, keys = self.session, (public_key(self.channel_sk), public_key(self.mask_sk))
        self.entry = Entry(*keys, self.sign(s.keys_digest(self.index, b"".join(keys))))
        return s.message("advertise keys", s.h0(), *self.entry)

    def channel(self, u: int, v: int) -> tuple[ChaCha20Poly1305, bytes]:
        """The cipher and the associated data from u to v, one of them this party."""
        peer = v if u == self.index else u
        secret = agree(self.channel_sk, self.entries[peer].channel_pk)
        keys = self.entries[u].channel_pk, self.entries[v].channel_pk
        key = kdf(secret, "share channel", self.h1, u32(u), u32(v), *keys)
        return ChaCha20Poly1305(key), self.h1 + u32(u) + u32(v)

    def share_keys(self, roster: bytes) -> bytes:
        """On the roster: WIRE.md "Shares"."""
        p, me = self.session.parameters, self.index
        reader = self.session.read("roster", roster)
        self.u1 = reader.members(p.cohort, range(p.cohort))
        told = reader.take(32) if p.sparse else b""
        listed = self.session.holders(me, self.u1)
        self.entries = {v: self.session.read_entry(reader, v) for v in listed}
        reader.end()
        if len(self.u1) < p.quorum or self.entries.get(me) != self.entry:
            raise ValueError("the roster is too small or lacks this party's keys")
        self.enough_holders(self.u1)
        self.h1 = told or self.session.h1(self.entries)
        t = p.threshold
        e = mask(p.suite, self.random(32), SHARE_BITS, 0, 6 * (t - 1))
        higher = [e[j * (t - 1) : (j + 1) * (t - 1)] for j in range(6)]
        points = [v + 1 for v in listed]
        of_mask = share(self.mask_seed, higher[:3], t, points)
        of_self = share(self.self_seed, higher[3:], t, points)
        self.shares[me] = of_mask[me + 1], of_self[me + 1]
        believed = self.session.believed(self.h1, self.entries)
        body = [believed, kdf(self.self_seed, "self commitment", self.h1, u32(me))]
        for v in listed:
            if v != me:
                cipher, data = self.channel(me, v)
                plain = pack(of_mask[v + 1], SHARE_BITS) + pack(of_self[v + 1], SHARE_BITS)
                body.append(cipher.encrypt(bytes(12), plain, data))
        return self.session.message("share keys", *body)

    def enough_holders(self, members: Iterable[int]) -> None:
        """WIRE.md "What is refused": at least t of this party's holders are in each set."""
        if len(self.session.holders(self.index, members)) < self.session.parameters.threshold:
            raise ValueError("too few of this party's holders are left")

    def masked_input(self, delivery: bytes, values: Sequence[float], weight: int) -> bytes:
        """On the delivery: WIRE.md "Streams, masks, masked input"."""
        s, p, me = self.session, self.session.parameters, self.index
        reader = s.read("delivery", delivery)
        self.u2 = reader.members(p.cohort, self.u1)
        dealers = s.holders(me, self.u2)
        ciphertexts = {v: reader.take(CIPHERTEXT) for v in dealers if v != me}
        reader.end()
        if len(self.u2) < p.quorum or me not in self.u2:
            raise ValueError("U2 is too small or lacks this party")
        self.enough_holders(self.u2)
        for v, ciphertext in ciphertexts.items():
            cipher, data = self.channel(v, me)
            try:
                plain = Reader(cipher.decrypt(bytes(12), ciphertext, data))
                self.shares[v] = plain.share(), plain.share()
            except (InvalidTag, ValueError):
                continue
        self.h2 = s.after("h2", self.h1, self.u2)
        self.encoded = p.encode_input(values, weight, self.random)
        self.pairwise = {
            v: s.pairwise_mask(me, v, self.mask_sk, self.entries, self.h1) for v in ciphertexts
        }
        self_mask = s.self_mask(self.self_seed, self.h1, me)
        y = pack(s.add(self.encoded, self_mask, *self.pairwise.values()), p.field_bits)
        digest = s.input_digest(self.h2, me, y)
        proof = self.sign(digest) if p.malicious else digest[:CHECKSUM]
        return s.message("masked input", self.h2, y, proof)

    def read_survivors(self, survivors: bytes) -> None:
        """U3 and h3."""
        p = self.session.parameters
        reader = self.session.read("survivors", survivors)
        self.u3 = reader.members(p.cohort, self.u2)
        reader.end()
        if len(self.u3) < p.quorum or self.index not in self.u3:
            raise ValueError("U3 is too small or lacks this party")
        self.enough_holders(self.u3)
        if self.session.in_pieces(self.u3):
            raise ValueError("U3 is not connected")
        self.h3 = self.session.after("h3", self.h2, self.u3)

    def consistency(self, survivors: bytes) -> bytes:
        """On the survivors, in malicious mode."""
        self.read_survivors(survivors)
        signature = self.sign(self.session.consistency_digest(self.h3))
        return self.session.message("consistency", signature)

    def read_signatures(self, signatures: bytes) -> None:
        """Raises ValueError unless t of U3, and no invalid signature, stands behind h3."""
        s, p = self.session, self.session.parameters
        reader = s.read("signatures", signatures)
        signers = reader.members(p.cohort, self.u3)
        for u in signers:
            s.read_signature(reader, u, s.consistency_digest(self.h3))
        reader.end()
        if len(signers) < p.threshold:
            raise ValueError("too few have signed")

    def unmask(self, message: bytes) -> bytes:
        """On the survivors, or on the signatures in malicious mode: WIRE.md "Unmasking"."""
        if self.session.parameters.malicious:
            self.read_signatures(message)
        else:
            self.read_survivors(message)
        dealers = [v for v in self.u2 if v in self.shares]
        given = [pack(self.shares[v][1 if v in self.u3 else 0], SHARE_BITS) for v in dealers]
        return self.session.message("unmask", self.session.bitmap(dealers), *given)


@dataclass
class Server:
    """The server: takes the clients' messages, announces what follows, and rebuilds the sum."""

    session: Session
    entries: dict[int, Entry] = field(default_factory=dict)  # its keys are U1
    commitments: dict[int, bytes] = field(default_factory=dict)  # its keys are U2
    ciphertexts: dict[tuple[int, int], bytes] = field(default_factory=dict)
    masked: dict[int, list[int]] = field(default_factory=dict)  # its keys are U3
    signatures: dict[int, bytes] = field(default_factory=dict)  # its keys are the signers
    unmasked: dict[int, dict[int, Share]] = field(default_factory=dict)  # holder -> dealer
    h1: bytes = b""  # empty until U1, U2, U3 are announced
    h2: bytes = b""
    h3: bytes = b""

    def offer(self) -> bytes:
        """The offer."""
        s = self.session
        return s.message("offer", s.context, s.parameters.encode())

    def accept(self, name: str, u: int, message: bytes) -> None:
        """A message of the client u."""
        s, p, reader = self.session, self.session.parameters, self.session.read(name, message)
        if name == "advertise keys":
            reader.expect(s.h0())
            self.entries[u] = s.read_entry(reader, u)
        elif name == "share keys":
            near = s.holders(u, self.entries)
            reader.expect(s.believed(self.h1, {v: self.entries[v] for v in near}))
            self.commitments[u] = reader.take(32)
            for v in near:
                if v != u:
                    self.ciphertexts[u, v] = reader.take(CIPHERTEXT)
        elif name == "masked input":
            reader.expect(self.h2)
            y = reader.take((p.vector_length * p.field_bits + 7) // 8)
            digest = s.input_digest(self.h2, u, y)
            if p.malicious:
                s.read_signature(reader, u, digest)
            else:
                reader.expect(digest[:CHECKSUM])
            self.masked[u] = unpack(y, p.vector_length, p.field_bits)
        elif name == "consistency":
            digest = s.consistency_digest(self.h3)
            self.signatures[u] = s.read_signature(reader, u, digest)
        else:
            dealers = reader.members(p.cohort, s.holders(u, self.commitments))
            self.unmasked[u] = {v: reader.share() for v in dealers}
        reader.end()

    def too_few(self, name: str) -> bool:
        """Whether the set that it names is too small."""
        p = self.session.parameters
        return len([*self.members(name)]) < (p.threshold if name == "signatures" else p.quorum)

    def graph_fails(self) -> bool:
        """WIRE.md "What is refused": whether the graph has no way from U3 to a result."""
        s, u3 = self.session, self.masked
        fewest = min(len(s.holders(u, u3)) for u in self.commitments)
        return s.in_pieces(u3) or fewest < s.parameters.threshold

    def announce(self, name: str) -> dict[int, bytes]:
        """To the members of the set that it names, each their message; {} if it ends the round."""
        s, members = self.session, sorted(self.members(name))
        named = members
        if self.too_few(name) or (name == "survivors" and self.graph_fails()):
            return {}
        body: dict[int, list[bytes]] = {v: [] for v in members}
        if name == "roster":
            self.h1 = s.h1(self.entries)
            told = [self.h1] if s.parameters.sparse else []
            for v in members:
                body[v] = [*told, *(b"".join(self.entries[u]) for u in s.holders(v, members))]
        elif name == "delivery":
            self.h2 = s.after("h2", self.h1, members)
            for v in members:
                body[v] = [self.ciphertexts[u, v] for u in s.holders(v, members) if u != v]
        elif name == "survivors":
            self.h3 = s.after("h3", self.h2, members)
        else:
            named = members[: s.parameters.threshold]
            signatures = [self.signatures[u] for u in named]
            body = dict.fromkeys(members, signatures)
        return {v: s.message(name, s.bitmap(named), *body[v]) for v in members}

    def members(self, name: str) -> Iterable[int]:
        """The set that the announcement names: U1, U2, U3 or the signers."""
        sets: dict[str, Iterable[int]] = {
            "roster": self.entries,
            "delivery": self.commitments,
            "survivors": self.masked,
            "signatures": self.signatures,
        }
        return sets[name]

    def held(self, v: int) -> dict[int, Share]:
        """The shares of dealer v that are there, by their points."""
        return {u + 1: given[v] for u, given in self.unmasked.items() if v in given}

    def too_few_shares(self) -> bool:
        """Whether a seed cannot be rebuilt."""
        t = self.session.parameters.threshold
        return any(len(self.held(v)) < t for v in self.commitments)

    def aggregate(self) -> list[int]:
        """WIRE.md "Unmasking": the sum of the encoded inputs of U3, from t shares of each seed."""
        s, h1, t = self.session, self.h1, self.session.parameters.threshold
        away: list[list[int]] = []
        for v, commitment in sorted(self.commitments.items()):
            seed = rebuild(self.held(v), t)
            if v in self.masked:
                if kdf(seed, "self commitment", h1, u32(v)) != commitment:
                    raise ValueError("a self seed does not fit its commitment")
                away.append([-element for element in s.self_mask(seed, h1, v)])
            else:
                mask_sk = s.mask_sk(seed, v)
                if public_key(mask_sk) != self.entries[v].mask_pk:
                    raise ValueError("a mask seed does not fit its public key")
                # What v would have added cancels what each survivor u added for v.
                away += [
                    s.pairwise_mask(v, u, mask_sk, self.entries, h1)
                    for u in s.holders(v, self.masked)
                ]
        return s.add(*self.masked.values(), *away)


@dataclass
class Run:
    """Every byte of one execution and its outcome; what was not reached is None."""

    offer: bytes
    h0: bytes
    sent: dict[tuple[int, str], bytes] = field(default_factory=dict)
    received: dict[tuple[int, str], bytes] = field(default_factory=dict)
    u1: list[int] | None = None
    u2: list[int] | None = None
    u3: list[int] | None = None
    h1: bytes | None = None
    h2: bytes | None = None
    h3: bytes | None = None
    encoded: dict[int, list[int]] = field(default_factory=dict)  # x_u of each masked input
    pairwise: dict[int, dict[int, list[int]]] = field(default_factory=dict)
    aborts: dict[int, str] = field(default_factory=dict)  # clients that refused to go on
    failed: str | None = None  # what was too small: one of FAILURES
    field_sum: list[int] | None = None
    total: list[float] | list[int] | None = None
    mean: list[float] | None = None


def failure(server: Server, sets: int) -> str:
    """Why nothing is announced behind the last of so many sets."""
    return FAILURES[sets - 1] if server.too_few(ANNOUNCEMENTS[sets - 1]) else "graph"


def run(
    parameters: Parameters,
    session: bytes,
    context: bytes,
    inputs: Mapping[int, Input],
    randomness: Mapping[int, Random],
    drops: Mapping[int, str],
    identities: Mapping[int, bytes] | None = None,
) -> Run:
    """One honest execution in which party i vanishes before it sends the message drops[i].

    Malicious mode needs `identities`: the Ed25519 seed of each of the parties 0 .. n-1.
    """
    keys = (identities or {}) if parameters.malicious else {}
    pinned = [verify_key(keys[u]) for u in range(parameters.cohort)] if parameters.malicious else []
    s = Session(parameters, session, context, pinned)
    server = Server(s)
    result = Run(server.offer(), s.h0())

    got = dict.fromkeys(range(parameters.cohort), result.offer)
    parties: dict[int, Party] = {}
    answers: dict[str, Callable[[int, bytes], bytes]] = {
        "advertise keys": lambda u, _: parties[u].advertise_keys(),
        "share keys": lambda u, message: parties[u].share_keys(message),
        "masked input": lambda u, message: parties[u].masked_input(message, *inputs[u]),
        "consistency": lambda u, message: parties[u].consistency(message),
        "unmask": lambda u, message: parties[u].unmask(message),
    }
    sets: list[list[int]] = []
    for name, announcement in zip(STEPS, (*ANNOUNCEMENTS, None), strict=True):
        if name == "consistency" and not parameters.malicious:
            continue
        there = [u for u in got if u not in drops or STEPS.index(drops[u]) > STEPS.index(name)]
        if name == "advertise keys":
            parties = {u: Party(s, u, randomness[u], keys.get(u)) for u in there}
        for u in there:
            try:
                result.sent[u, name] = answers[name](u, got[u])
            except ValueError as error:
                result.aborts[u] = str(error)
                continue
            server.accept(name, u, result.sent[u, name])
        if announcement is None:
            break
        sets.append([u for u in there if u not in result.aborts])
        got = server.announce(announcement)
        result.received.update({(u, announcement): message for u, message in got.items()})
        if not got:
            break
    result.u1, result.u2, result.u3 = (*sets, None, None, None)[:3]
    result.h1, result.h2, result.h3 = server.h1 or None, server.h2 or None, server.h3 or None
    result.encoded = {u: parties[u].encoded for u in server.masked}
    result.pairwise = {u: parties[u].pairwise for u in server.masked}
    if not got:
        result.failed = failure(server, len(sets))
    elif server.too_few_shares():
        result.failed = "unmask"
    else:
        result.field_sum = server.aggregate()
        result.total, result.mean = parameters.decode_sum(result.field_sum, len(server.masked))
    return result
