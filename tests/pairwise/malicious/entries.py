"""Attacks of a lying server with entries of the roster that their parties did not sign."""

import dataclasses
from collections.abc import Callable

import numpy as np
from harness import SESSION, identity_of
from pairwise.attacks import (
    LOW_ORDER,
    NON_CANONICAL,
    Liar,
    attacker_keys,
    body,
    gain_unless_refused,
    started_network,
)
from pairwise.malicious.registry import FOUR_PARTIES, STRANGER, attack, malicious_integers

import secagg
from secagg.identity.identity import sign_digest
from secagg.pairwise import derivation, transcript
from secagg.pairwise.messages import AdvertiseKeys, PublicKeys, ShareKeys
from secagg.primitives import agreement, seal
from secagg.sharing import shamir


@attack
def man_in_the_middle() -> str:
    """Every peer of the victim gets the server's keys, with whatever signature there is."""
    signers: dict[str, Callable[[Liar, int, PublicKeys], bytes]] = {
        "the true one": lambda liar, peer, entry: liar.entries[peer].signature,
        "a stranger's": lambda liar, peer, entry: sign_digest(
            STRANGER, transcript.entry_digest(liar.h0, peer, entry)
        ),
        "a colluder's": lambda liar, peer, entry: sign_digest(
            identity_of(3), transcript.entry_digest(liar.h0, peer, entry)
        ),
        "zeros": lambda liar, peer, entry: bytes(64),
        "the victim's": lambda liar, peer, entry: liar.entries[0].signature,
    }
    for name, sign in signers.items():
        liar = Liar(malicious_integers(4, threshold=3))
        secrets = {peer: attacker_keys(("channel", peer)) for peer in (1, 2, 3)}
        entries = {0: liar.entries[0]}
        for peer, (_, channel) in secrets.items():
            bare = PublicKeys(channel, attacker_keys(("mask", peer))[1])
            entries[peer] = dataclasses.replace(bare, signature=sign(liar, peer, bare))
        message = liar.roster(entries)
        if not gain_unless_refused(liar, 0, message, "taken"):
            continue
        victim = Liar(malicious_integers(4, threshold=3)).clients[0]
        (event,) = victim.receive(message)
        assert isinstance(event, secagg.Send)
        shared = ShareKeys.read(body(event.payload), (1, 2, 3))
        h1 = transcript.h1(liar.h0, entries, 4)
        found: dict[int, np.ndarray] = {}
        for peer, (secret, _) in secrets.items():
            agreed = agreement.agree(secret, liar.entries[0].channel)
            key = derivation.channel_key(agreed, h1, 0, peer, entries)
            plain = seal.unseal(key, shared.sealed[peer], derivation.channel_data(h1, 0, peer))
            if plain is not None:
                found[peer] = shamir.unpack_shares(plain[shamir.SHARE_BYTES :])[0]
        seed = liar.seed(found)
        if seed is not None and derivation.commitment(seed, h1, 0) == shared.commitment:
            return f"recovered the self seed with signatures: {name}"
        return f"a roster of the server's keys with signatures: {name}"
    return ""


@attack
def altered_entries() -> str:
    """Single entries that are not their party's own for this round."""
    old = Liar(malicious_integers(4, threshold=3), label="old", session=bytes(16))
    other = Liar(malicious_integers(4, threshold=3), label="other", context=bytes(32))
    liar = Liar(malicious_integers(4, threshold=3))
    own = liar.entries
    cases = {
        "two exchanged": {**own, 1: own[2], 2: own[1]},
        "one of an earlier session": {**own, 1: old.entries[1]},
        "one of another context": {**own, 1: other.entries[1]},
        "signatures exchanged": {
            **own,
            1: dataclasses.replace(own[1], signature=own[2].signature),
            2: dataclasses.replace(own[2], signature=own[1].signature),
        },
        "roles exchanged": {
            **own,
            1: PublicKeys(own[1].mask, own[1].channel, own[1].signature),
        },
        "own of another session": {**own, 0: old.entries[0]},
        "mask key replaced": liar.altered(1, mask=attacker_keys(1)[1]),
        "unsigned": liar.altered(1, signature=bytes(64)),
    }
    for name, entries in cases.items():
        liar = Liar(malicious_integers(4, threshold=3))
        if gain := gain_unless_refused(liar, 0, liar.roster(entries), f"a roster with {name}"):
            return gain
    return ""


@attack
def entry_of_an_earlier_session() -> str:
    """A peer's signed entry is replayed; its secrets may have leaked since."""
    old = Liar(malicious_integers(4, threshold=3), label="old", session=bytes(16))
    liar = Liar(malicious_integers(4, threshold=3))
    message = liar.roster({**liar.entries, 1: old.entries[1]})
    return gain_unless_refused(liar, 0, message, "an entry of an earlier session")


@attack
def bad_keys_of_a_signer() -> str:
    """A colluder signs an entry with keys that are weak, or another's: signed is not sound."""
    for name, key in {**LOW_ORDER, **NON_CANONICAL, "the victim's": b"", "a peer's": b""}.items():
        for role in ("channel", "mask"):
            liar = Liar(malicious_integers(4, threshold=3))
            source = {"the victim's": 0, "a peer's": 1}.get(name)
            bad = getattr(liar.entries[source], role) if source is not None else key
            lie = dataclasses.replace(liar.entries[3], **{role: bad})
            signature = sign_digest(identity_of(3), transcript.entry_digest(liar.h0, 3, lie))
            message = liar.altered(3, **{role: bad, "signature": signature})
            if gain := gain_unless_refused(
                liar, 0, liar.roster(message), f"a signed {role} key {name}"
            ):
                return gain
            server = started_network(FOUR_PARTIES).server
            own = started_network(FOUR_PARTIES).clients
            for party in (0, 1):
                entry = own[party]._memory.keys
                server.receive(party, AdvertiseKeys(own[party]._steps.h0, entry).encode(SESSION))
            bad = getattr(own[source]._memory.keys, role) if source is not None else key
            lie = dataclasses.replace(own[3]._memory.keys, **{role: bad})
            signature = sign_digest(
                identity_of(3), transcript.entry_digest(own[3]._steps.h0, 3, lie)
            )
            lie = dataclasses.replace(lie, signature=signature)
            events = server.receive(3, AdvertiseKeys(own[3]._steps.h0, lie).encode(SESSION))
            if not any(isinstance(event, secagg.Dropped) for event in events):
                return f"the server took a signed {role} key {name}"
    return ""
