"""The judge of a lying server.

It never asks whether an error was raised, but what can be computed from all that the server and its
colluders hold. It knows everybody's secrets, so that it can tell what is a true share, and whose
mask is whose.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from harness import input_of
from pairwise.attacks import LOW_ORDER, NON_CANONICAL, body
from pairwise.schedules.replayed_client import ObservedClient

from secagg.arithmetic.field import Field
from secagg.pairwise import derivation
from secagg.pairwise.messages import MaskedInput, PublicKeys, Unmask
from secagg.sharing import rebuilding, shamir

WEAK = frozenset(LOW_ORDER.values()) | frozenset(NON_CANONICAL.values())


@dataclass(frozen=True)
class Finding:
    """A breach of a promise: its kind, and the parties that it is about."""

    what: str
    parties: tuple[int, ...] = ()


@dataclass
class Evidence:
    """Honest clients, and all that the adversary can use besides their messages."""

    colluders: tuple[int, ...]
    clients: dict[int, ObservedClient] = field(default_factory=dict)
    secrets: dict[bytes, bytes] = field(default_factory=dict)  # by public key
    entries: set[tuple[bytes, int, PublicKeys]] = field(default_factory=set)  # truly signed
    sealed: set[tuple[bytes, int, int, bytes]] = field(default_factory=set)  # truly sealed
    signatures: set[tuple[bytes, int, bytes]] = field(default_factory=set)  # truly signed


class Knowledge:
    """All that follows from the evidence: seeds, masks, and sums."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.dealers = {p: w for p, w in evidence.clients.items() if w.shared}
        # (dealer, of the self seed): the shares at hand, by holder
        self.shares: dict[tuple[int, bool], dict[int, bytes]] = {}
        self._collect()
        self.owners = {w.entry.mask: party for party, w in evidence.clients.items()}
        self.masked = {p: w for p, w in self.dealers.items() if w.inputs}

    def _collect(self) -> None:
        table: dict[bytes, tuple[int, bool, int]] = {}
        answered = any(w.answers for w in self.dealers.values())
        known = self.evidence.secrets.keys() | WEAK
        for party, client in self.dealers.items():
            leaked = {holder for holder, e in client.roster.items() if e.channel in known}
            leaked -= {party}
            if not answered and len(leaked) < client.params.threshold:
                continue
            for share, (own, holder) in client.shares().items():
                table[share] = (party, own, holder)
                if holder in leaked:
                    self.shares.setdefault((party, own), {})[holder] = share
        size = shamir.SHARE_BYTES
        for client in self.dealers.values():
            for _, message, _ in client.answers:
                given = shamir.pack_shares(Unmask.read(body(message), client.params).shares)
                for start in range(0, len(given), size):
                    share = given[start : start + size]
                    if share in table:
                        dealer, own, holder = table[share]
                        self.shares.setdefault((dealer, own), {})[holder] = share

    def knows(self, party: int, own: bool) -> bool:
        """Returns whether a seed of an honest client can be rebuilt."""
        least = self.evidence.clients[party].params.threshold
        return len(self.shares.get((party, own), ())) >= least

    def _open(self, party: int, peer: int) -> bool:
        """Returns whether the mask that an honest client shares with a peer can be computed."""
        key = self.masked[party].roster[peer].mask
        owner = self.owners.get(key)
        return (
            key in self.evidence.secrets
            or key in WEAK
            or self.knows(party, own=False)
            or (owner is not None and self.knows(owner, own=False))
        )

    def sums(self) -> list[tuple[int, ...]]:
        """Returns the least sets of honest clients over which the sum can be computed.

        Masks that the adversary cannot compute tie their two users together; where such a mask
        has one user, or a self mask is unknown, there is no sum.
        """
        group = {party: party for party in self.masked}

        def root(party: int) -> int:
            while group[party] != party:
                party = group[party]
            return party

        users: dict[tuple[object, ...], list[int]] = {}
        for party, client in self.masked.items():
            assert client.sharing is not None
            for peer in client.sharing.members:
                if peer != party and not self._open(party, peer):
                    pair = frozenset((client.entry.mask, client.roster[peer].mask))
                    low, high = sorted((party, peer))
                    used = (client.roster[low].mask, client.roster[high].mask)
                    users.setdefault((client.h1, low, high, pair, *used), []).append(party)
        lost = {party for party in self.masked if not self.knows(party, own=True)}
        for those in users.values():
            if len(those) == 1:
                lost.add(those[0])
            for party in those[1:]:
                group[root(party)] = root(those[0])
        parts: dict[int, list[int]] = {}
        for party in self.masked:
            parts.setdefault(root(party), []).append(party)
        return [tuple(sorted(part)) for part in parts.values() if not lost & set(part)]

    # -- the proof that this is no mere talk

    def seed(self, party: int, own: bool) -> bytes:
        """Rebuilds a seed from nothing but the shares at hand."""
        shares = self.shares[party, own]
        holders = sorted(shares)
        rows = shamir.unpack_shares(b"".join(shares[holder] for holder in holders))
        threshold = self.evidence.clients[party].params.threshold
        rebuilder = rebuilding.Rebuilder(threshold, holders)
        (found,) = rebuilder.rebuild(rows, lambda _number, _seed: True).seeds
        assert found is not None
        return found

    def _mask_key(self, party: int, peer: int) -> bytes:
        client = self.masked[party]
        theirs = client.roster[peer].mask
        if self.knows(party, own=False):
            secret = derivation.mask_key(self.seed(party, own=False), client.h0, party)
            return derivation.pairwise_key(secret, client.h1, party, peer, client.roster)
        if theirs in self.evidence.secrets:
            secret = self.evidence.secrets[theirs]
        else:
            owner = self.owners[theirs]
            h0 = self.evidence.clients[owner].h0
            secret = derivation.mask_key(self.seed(owner, own=False), h0, owner)
        # what the honest side used: its own true key, whatever the roster says
        low, high = sorted((party, peer))
        shared = derivation.agree(secret, client.entry.mask)
        used = (client.roster[low].mask, client.roster[high].mask)
        indices = (derivation.u32(low), derivation.u32(high))
        return derivation.kdf(shared, derivation.Label.PAIRWISE_MASK, client.h1, *indices, *used)

    def recover(self, parties: Iterable[int]) -> list[int]:
        """Computes the sum of these clients' inputs from what the adversary holds."""
        parties = tuple(parties)
        params = self.masked[parties[0]].params
        space = Field(params.field_bits)
        total = space.zeros(params.vector_length)
        for party in parties:
            client = self.masked[party]
            assert client.sharing is not None
            space.unpack_add(total, MaskedInput.read(body(client.inputs[0]), params).packed)
            own = [derivation.self_key(self.seed(party, own=True), client.h1, party)]
            signs = [-1]
            for peer in client.sharing.members:
                if peer != party and self._open(party, peer):
                    own.append(self._mask_key(party, peer))
                    signs.append(-derivation.pairwise_sign(party, peer))
            space.accumulate(total, own, signs, params.suite.generator)
        low: int = params.format.low  # type: ignore[union-attr]
        return [(int(x) + low * len(parties)) % space.modulus for x in total]

    def inputs(self, parties: Iterable[int]) -> list[int]:
        """Returns the true sum, to compare."""
        parties = tuple(parties)
        params = self.masked[parties[0]].params
        modulus = Field(params.field_bits).modulus
        rows = [input_of(party, params.length) for party in parties]
        return [int(x) % modulus for x in np.sum(rows, axis=0)]


def secrecy_violations(evidence: Evidence) -> tuple[list[Finding], Knowledge]:
    """Returns all that the adversary holds and must not.

    A sum over fewer honest clients than promised; both seeds of one client; answers for two
    survivor sets; two different messages of one client in one step.
    """
    knowledge, found = Knowledge(evidence), []
    clients = evidence.clients
    for part in knowledge.sums():
        promised = max(clients[one].params.quorum for one in part) - len(evidence.colluders)
        if len(part) < promised:
            found.append(Finding("a sum over too few", part))
    for party, client in clients.items():
        if knowledge.knows(party, own=True) and knowledge.knows(party, own=False):
            found.append(Finding("both seeds", (party,)))
        steps = (client.shared, client.inputs, {one[2] for one in client.signed},
                 client.answers)  # fmt: skip
        found += [Finding("two messages in one step", (party,)) for step in steps if len(step) > 1]
    if len({h3 for client in clients.values() for h3, _, _ in client.answers}) > 1:
        found.append(Finding("answers for two survivor sets"))
    return found, knowledge


def conduct_violations(evidence: Evidence) -> list[Finding]:
    """Returns every place where a client went on though it must not, harmful or not.

    Judged by what it was told and then emitted: the conditions of `docs/WIRE.md`, What is refused.
    """
    found = []
    for party, w in evidence.clients.items():
        least, n = w.params.quorum, party
        told = w.roster
        if told:
            flat = [key for entry in told.values() for key in (entry.channel, entry.mask)]
            rules = {
                "dealt outside U1": n not in told,
                "dealt to a small U1": len(told) < least,
                "dealt under another entry": told.get(n) != w.entry,
                "dealt to the same key twice": len(set(flat)) < len(flat),
                "dealt to a weak key": not WEAK.isdisjoint(flat),
                "dealt to an unsigned entry": any(
                    (w.h0, peer, entry) not in evidence.entries
                    for peer, entry in told.items()
                    if peer != n
                ),
            }
            found += [Finding(rule, (n,)) for rule, broken in rules.items() if broken]
        if w.inputs and w.sharing:
            members = w.sharing.members
            true = sum(
                (w.h1, peer, n, sealed) in evidence.sealed
                for peer, sealed in w.sharing.sealed.items()
            )
            rules = {
                "masked outside U2": n not in members,
                "masked in a small U2": len(members) < least,
                "masked with others than U1": not set(members) <= set(told),
                "masked among strangers": true < w.params.threshold - 1,
            }
            found += [Finding(rule, (n,)) for rule, broken in rules.items() if broken]
        for _, members, _ in w.signed:
            inside = w.sharing is not None and set(members) <= set(w.sharing.members)
            rules = {
                "signed outside U3": n not in members,
                "signed a small U3": len(members) < least,
                "signed others than U2": not inside,
            }
            found += [Finding(rule, (n,)) for rule, broken in rules.items() if broken]
        for h3, _, signers in w.answers:
            valid = sum(
                (h3, one, signature) in evidence.signatures and one in w.survivors
                for one, signature in signers.items()
            )
            if valid < w.params.threshold:
                found.append(Finding("answered for too few signatures", (n,)))
            elif valid < len(signers):
                found.append(Finding("answered for a wrong signature", (n,)))
    return found
