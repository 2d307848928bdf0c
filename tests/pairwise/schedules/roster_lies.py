"""Lies of a lying server in its first step, the roster; and the keys it makes up."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from harness import identity_of, seeded
from pairwise.attacks import LOW_ORDER, NON_CANONICAL
from pairwise.malicious import STRANGER
from pairwise.schedules.server_plan import Lie

from secagg.identity.identity import sign_digest
from secagg.pairwise import transcript
from secagg.pairwise.messages import PublicKeys
from secagg.primitives import agreement

if TYPE_CHECKING:
    from pairwise.schedules.lying_server import LyingServer


ROSTER: dict[str, Callable[["LyingServer", int, dict[int, PublicKeys], Lie], None]] = {}


@lru_cache(maxsize=1024)
def adversary_keys(label: object) -> tuple[bytes, bytes]:
    """Returns a secret and a public key of the adversary."""
    secret = seeded(("adversary", label))(32)
    return secret, agreement.public_key(secret)


@lru_cache(maxsize=1024)
def entry_signed_by(signer: int, h0: bytes, party: int, channel: bytes, mask: bytes) -> PublicKeys:
    """Signs an entry with any key that the adversary has; signer -1 is a stranger."""
    bare = PublicKeys(channel, mask)
    identity = identity_of(signer) if signer >= 0 else STRANGER
    return replace(bare, signature=sign_digest(identity, transcript.entry_digest(h0, party, bare)))


def pick(lie: Lie, parties: "list[int] | tuple[int, ...]") -> int:
    """Returns one of some parties."""
    return parties[lie.a % len(parties)]


def other_party(server: "LyingServer", victim: int, lie: Lie) -> int:
    return pick(lie, [one for one in range(server.params.cohort) if one != victim])


def _roster_without(server: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                    lie: Lie) -> None:  # fmt: skip
    """Leaves out one party, the victim itself, or all but a few."""
    if lie.b == 0:
        entries.pop(other_party(server, victim, lie), None)
    elif lie.b == 1:
        entries.pop(victim, None)
    else:
        for party in sorted(entries)[lie.a :]:
            if party != victim:
                del entries[party]


def _replace(server: "LyingServer", victim: int, entries: dict[int, PublicKeys], peer: int,
             how: int) -> None:  # fmt: skip
    """Puts the server's own keys in a peer's place, with whatever signature there is."""
    h0 = server.honest[victim].h0
    (channel, public), (mask, masked) = (
        adversary_keys(("channel", peer)),
        adversary_keys(("mask", peer)),
    )
    server.evidence.secrets |= {public: channel, masked: mask}
    signer = server.colluders[0] if how == 1 and server.colluders else -1
    if peer in server.colluders:
        signer = peer
    entry = entry_signed_by(signer, h0, peer, public, masked)
    if peer in server.colluders:
        server.evidence.entries.add((h0, peer, entry))
    elif how == 2 and peer in entries:
        entry = replace(entry, signature=entries[peer].signature)
    entries[peer] = entry


def _one_replaced(server: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                  lie: Lie) -> None:  # fmt: skip
    _replace(server, victim, entries, other_party(server, victim, lie), lie.b)


def _all_replaced(server: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                  lie: Lie) -> None:  # fmt: skip
    """Replaces everybody else, or (b = 3) everybody."""
    for peer in list(entries):
        if peer != victim or lie.b == 3:
            _replace(server, victim, entries, peer, lie.b)


def _own_entry(server: "LyingServer", victim: int, entries: dict[int, PublicKeys],
               lie: Lie) -> None:  # fmt: skip
    true = server.honest[victim].entry
    secret, public = adversary_keys("own")
    server.evidence.secrets[public] = secret
    entries[victim] = (
        replace(true, channel=true.mask, mask=true.channel),
        replace(true, mask=public),
        replace(true, channel=public),
        replace(true, signature=bytes(64)),
    )[lie.b]


def _exchanged(server: "LyingServer", victim: int, entries: dict[int, PublicKeys],
               lie: Lie) -> None:  # fmt: skip
    """Exchanges entries, or only their signatures, of two others; or one's roles."""
    others = [one for one in sorted(entries) if one != victim]
    if len(others) > 1:
        one, two = others[lie.a % len(others)], others[(lie.a + 1) % len(others)]
        first, second = entries[one], entries[two]
        if lie.b == 0:
            entries[one], entries[two] = second, first
        elif lie.b == 1:
            entries[one] = replace(first, signature=second.signature)
        else:
            entries[one] = replace(first, channel=first.mask, mask=first.channel)


def _of_the_past(server: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                 lie: Lie) -> None:  # fmt: skip
    """Replays an entry of an earlier session (or all of them, the victim's own included)."""
    old = server.past()
    for peer in old.honest if lie.b == 3 else [other_party(server, victim, lie)]:
        entries[peer] = old.honest[peer].entry


def _odd_entry(server: "LyingServer", victim: int, entries: dict[int, PublicKeys],
               lie: Lie) -> None:  # fmt: skip
    """Lets a colluder sign somebody else's key, others than it told before, or one key twice."""
    if server.colluders:
        liar = pick(lie, server.colluders)
        true = server.entries_for(server.honest[victim].h0)[liar]
        other = adversary_keys(("other", liar))
        server.evidence.secrets[other[1]] = other[0]
        stolen = server.honest[sorted(server.honest)[lie.a % len(server.honest)]].entry
        masks = (other[1], stolen.mask, other[1], true.channel)
        server.forge(victim, entries, liar, true.channel, masks[lie.b])


def _weak_entry(server: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                lie: Lie) -> None:  # fmt: skip
    """Lets a colluder sign a key of low order, or one that is not canonical."""
    if server.colluders:
        liar = server.colluders[0]
        true = server.entries_for(server.honest[victim].h0)[liar]
        weak = list((LOW_ORDER, NON_CANONICAL)[lie.b // 2].values())[::-1]
        odd = weak[lie.a % len(weak)]
        pair = (odd, true.mask) if lie.b % 2 else (true.channel, odd)
        server.forge(victim, entries, liar, *pair)


ROSTER |= {
    "roster without": _roster_without,
    "one entry replaced": _one_replaced,
    "all entries replaced": _all_replaced,
    "own entry": _own_entry,
    "entries exchanged": _exchanged,
    "entry of the past": _of_the_past,
    "odd entry of a colluder": _odd_entry,
    "weak entry of a colluder": _weak_entry,
}
