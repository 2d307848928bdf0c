"""The client's steps (docs/WIRE.md)."""

from collections.abc import Iterable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .arithmetic import SHARE_BITS, Share, mask, pack, share
from .primitives import Random, agree, kdf, public_key, sign, u32
from .session import CHECKSUM, CIPHERTEXT, Entry, Reader, Session


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
        self.encoded = p.encode_input(values, weight, self.random, s.session)
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
        if not self.enough_signers(signers):
            raise ValueError("too few have signed")

    def enough_signers(self, signers: list[int]) -> bool:
        """Returns whether enough have signed; it does not matter who."""
        return len(signers) >= self.session.parameters.threshold

    def unmask(self, message: bytes) -> bytes:
        """On the survivors, or on the signatures in malicious mode: WIRE.md "Unmasking"."""
        if self.session.parameters.malicious:
            self.read_signatures(message)
        else:
            self.read_survivors(message)
        dealers = [v for v in self.u2 if v in self.shares]
        given = [pack(self.shares[v][1 if v in self.u3 else 0], SHARE_BITS) for v in dealers]
        return self.session.message("unmask", self.session.bitmap(dealers), *given)
