"""Lies of a lying server in its first step, the roster; and the keys it makes up."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from harness import identity_of, seeded
from pairwise.attacks import LOW_ORDER, NON_CANONICAL
from pairwise.malicious import STRANGER
from pairwise.schedules.server_plan import Lie

from secagg.pairwise import keys
from secagg.pairwise.messages import PublicKeys
from secagg.primitives import agreement

if TYPE_CHECKING:
    from pairwise.schedules.lying_server import LyingServer


ROSTER: dict[str, Callable[["LyingServer", int, dict[int, PublicKeys], Lie], None]] = {}


@lru_cache(maxsize=1024)
def made_up(label: object) -> tuple[bytes, bytes]:
    """A secret and a public key of the adversary."""
    secret = seeded(("adversary", label))(32)
    return secret, agreement.public_key(secret)


@lru_cache(maxsize=1024)
def entry_by(signer: int, h0: bytes, party: int, channel: bytes, mask: bytes) -> PublicKeys:
    """An entry, signed by anybody whose key the adversary has; -1 is a stranger."""
    bare = PublicKeys(channel, mask)
    identity = identity_of(signer) if signer >= 0 else STRANGER
    return replace(bare, signature=identity.sign(keys.entry_digest(h0, party, bare)))


def pick(lie: Lie, parties: "list[int] | tuple[int, ...]") -> int:
    """One of some parties."""
    return parties[lie.a % len(parties)]


def _peer(world: "LyingServer", victim: int, lie: Lie) -> int:
    return pick(lie, [one for one in range(world.params.cohort) if one != victim])


def _roster_without(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                    lie: Lie) -> None:  # fmt: skip
    """Without one, the victim itself, or all but a few."""
    if lie.b == 0:
        entries.pop(_peer(world, victim, lie), None)
    elif lie.b == 1:
        entries.pop(victim, None)
    else:
        for party in sorted(entries)[lie.a :]:
            if party != victim:
                del entries[party]


def _replace(world: "LyingServer", victim: int, entries: dict[int, PublicKeys], peer: int,
             how: int) -> None:  # fmt: skip
    """The server's own keys in a peer's place, with whatever signature there is."""
    h0 = world.honest[victim].h0
    (channel, public), (mask, masked) = made_up(("channel", peer)), made_up(("mask", peer))
    world.evidence.secrets |= {public: channel, masked: mask}
    signer = world.colluders[0] if how == 1 and world.colluders else -1
    if peer in world.colluders:
        signer = peer
    entry = entry_by(signer, h0, peer, public, masked)
    if peer in world.colluders:
        world.evidence.entries.add((h0, peer, entry))
    elif how == 2 and peer in entries:
        entry = replace(entry, signature=entries[peer].signature)
    entries[peer] = entry


def _one_replaced(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                  lie: Lie) -> None:  # fmt: skip
    _replace(world, victim, entries, _peer(world, victim, lie), lie.b)


def _all_replaced(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                  lie: Lie) -> None:  # fmt: skip
    """Everybody else, or (b = 3) everybody."""
    for peer in list(entries):
        if peer != victim or lie.b == 3:
            _replace(world, victim, entries, peer, lie.b)


def _own_entry(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
               lie: Lie) -> None:  # fmt: skip
    true = world.honest[victim].entry
    secret, public = made_up("own")
    world.evidence.secrets[public] = secret
    entries[victim] = (
        replace(true, channel=true.mask, mask=true.channel),
        replace(true, mask=public),
        replace(true, channel=public),
        replace(true, signature=bytes(64)),
    )[lie.b]


def _exchanged(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
               lie: Lie) -> None:  # fmt: skip
    """Entries, or only their signatures, of two others exchanged; or one's roles."""
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


def _of_the_past(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                 lie: Lie) -> None:  # fmt: skip
    """An entry of an earlier session (or all of them, the victim's own included)."""
    old = world.past()
    for peer in old.honest if lie.b == 3 else [_peer(world, victim, lie)]:
        entries[peer] = old.honest[peer].entry


def _odd_entry(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
               lie: Lie) -> None:  # fmt: skip
    """A colluder signs somebody else's key, others than it told before, or one key twice."""
    if world.colluders:
        liar = pick(lie, world.colluders)
        true = world.entries_for(world.honest[victim].h0)[liar]
        other = made_up(("other", liar))
        world.evidence.secrets[other[1]] = other[0]
        stolen = world.honest[sorted(world.honest)[lie.a % len(world.honest)]].entry
        masks = (other[1], stolen.mask, other[1], true.channel)
        world.forge(victim, entries, liar, true.channel, masks[lie.b])


def _weak_entry(world: "LyingServer", victim: int, entries: dict[int, PublicKeys],
                lie: Lie) -> None:  # fmt: skip
    """A colluder signs a key of low order, or one that is not canonical."""
    if world.colluders:
        liar = world.colluders[0]
        true = world.entries_for(world.honest[victim].h0)[liar]
        weak = list((LOW_ORDER, NON_CANONICAL)[lie.b // 2].values())[::-1]
        odd = weak[lie.a % len(weak)]
        pair = (odd, true.mask) if lie.b % 2 else (true.channel, odd)
        world.forge(victim, entries, liar, *pair)


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
