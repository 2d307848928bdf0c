"""The server's steps (docs/WIRE.md)."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from .arithmetic import Share, rebuild, unpack
from .primitives import kdf, public_key, u32
from .session import CHECKSUM, CIPHERTEXT, Entry, Session


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
        """Returns whether the set of this name is too small."""
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
        """Returns whether a seed cannot be rebuilt."""
        t = self.session.parameters.threshold
        return any(len(self.held(v)) < t for v in self.commitments)

    def seed(self, v: int) -> bytes:
        """The seed of v that is needed, by trial: from any t shares, if few enough others differ.

        It raises what is wrong with the seed that the lowest points give.
        """
        t, held = self.session.parameters.threshold, self.held(v)
        most = 1 if len(held) == t + 1 else (len(held) - t) // 2
        first: ValueError | None = None
        for some in itertools.combinations(sorted(held), t):
            try:
                seed = self.checked(v, rebuild({x: held[x] for x in some}, t))
            except ValueError as error:
                first = first or error
                continue
            # These shares are right, and so is each that gives the same seed in place of one.
            right = set(some).union(
                x
                for x in held
                if self.same({**{y: held[y] for y in some[1:]}, x: held[x]}, t, seed)
            )
            if len(held) - len(right) <= most:
                return seed
        raise first or ValueError("fewer than t shares")

    def same(self, shares: dict[int, Share], t: int, seed: bytes) -> bool:
        """Returns whether these shares give this seed."""
        try:
            return len(shares) == t and rebuild(shares, t) == seed
        except ValueError:
            return False

    def checked(self, v: int, seed: bytes) -> bytes:
        """A seed of v; ValueError if it is not what v has committed to."""
        if v in self.masked:
            if kdf(seed, "self commitment", self.h1, u32(v)) != self.commitments[v]:
                raise ValueError("a self seed does not fit its commitment")
        elif public_key(self.session.mask_sk(seed, v)) != self.entries[v].mask_pk:
            raise ValueError("a mask seed does not fit its public key")
        return seed

    def aggregate(self) -> list[int]:
        """WIRE.md "Unmasking": the sum of the encoded inputs of U3."""
        s, h1 = self.session, self.h1
        away: list[list[int]] = []
        for v in sorted(self.commitments):
            seed = self.seed(v)
            if v in self.masked:
                away.append([-element for element in s.self_mask(seed, h1, v)])
            else:
                mask_sk = s.mask_sk(seed, v)
                # What v would have added cancels what each survivor u added for v.
                away += [
                    s.pairwise_mask(v, u, mask_sk, self.entries, h1)
                    for u in s.holders(v, self.masked)
                ]
        return s.add(*self.masked.values(), *away)
