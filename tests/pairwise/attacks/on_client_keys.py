"""Attacks of a lying server on a client: keys in the roster that are replaced, repeated or weak."""

import dataclasses
from collections.abc import Callable, Mapping

from pairwise.attacks.lying_server import (
    Liar,
    assert_dead,
    attacker_keys,
    body,
    gain_unless_refused,
    only_message,
    refuses,
)
from pairwise.attacks.registry import integers, on_client

import secagg
from secagg.pairwise import derivation, transcript
from secagg.pairwise.messages import PublicKeys, ShareKeys
from secagg.primitives import agreement, seal
from secagg.sharing import shamir

P = 2**255 - 19
NON_CANONICAL = {
    "p": P.to_bytes(32, "little"),
    "p + 1": (P + 1).to_bytes(32, "little"),
    "p + 2": (P + 2).to_bytes(32, "little"),
    "2^255 - 1": (2**255 - 1).to_bytes(32, "little"),
    "all ones": bytes([255] * 32),
    "top bit and 9": (2**255 + 9).to_bytes(32, "little"),
}
LOW_ORDER = {
    f"order {order}": value.to_bytes(32, "little")
    for order, value in {
        "4 (zero)": 0,
        "1": 1,
        "2": P - 1,
        "8a": 325606250916557431795983626356110631294008115727848805560023387167927233504,
        "8b": 39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }.items()
}


@on_client
def everybody_replaced() -> str:
    """One roster for all in which every key, the victim's own too, is the server's.

    Clients encrypt their shares to the server, which needs nothing else.
    """
    liar = Liar(integers(4, threshold=3), colluders=(1,))
    secrets = {party: attacker_keys(("channel", party)) for party in liar.everybody}
    entries = liar.entered(
        {
            party: dataclasses.replace(
                entry, channel=secrets[party][1], mask=attacker_keys(("mask", party))[1]
            )
            for party, entry in liar.entries.items()
        }
    )
    return _read_shares(
        liar, 0, entries, lambda peer: agreement.agree(secrets[peer][0], liar.entries[0].channel)
    )


def _read_shares(
    liar: Liar,
    victim: int,
    entries: Mapping[int, PublicKeys],
    agreed: Callable[[int], bytes],
) -> str:
    """Rebuilds the victim's self seed, if `agreed` is its agreement with each peer."""
    client = liar.clients[victim]
    try:
        payload = only_message(client.receive(liar.roster(entries)))
    except secagg.Aborted:
        assert_dead(client, liar.roster(entries))
        return ""
    peers = [peer for peer in entries if peer != victim]
    message = ShareKeys.read(body(payload), peers)
    h1 = transcript.h1(liar.h0, entries, liar.params.cohort)
    found = {}
    for peer in peers:
        plain = seal.unseal(
            derivation.channel_key(agreed(peer), h1, victim, peer, entries),
            message.sealed[peer],
            derivation.channel_data(h1, victim, peer),
        )
        if plain is not None:
            found[peer] = shamir.unpack_shares(plain[shamir.SHARE_BYTES :])[0]
    seed = liar.seed(found)
    if seed is not None and derivation.commitment(seed, h1, victim) == message.commitment:
        return "recovered the self seed"
    return "a roster with such keys"


@on_client
def own_channel_key_replaced() -> str:
    """The victim's own channel key is the server's in everybody's roster."""
    liar = Liar(integers(4, threshold=3))
    message = liar.roster(liar.altered(0, channel=attacker_keys(0)[1]))
    return gain_unless_refused(
        liar, 0, message, "others would send the victim's shares to the server"
    )


@on_client
def own_mask_key_replaced() -> str:
    """The victim's own mask key is the server's in everybody's roster."""
    liar = Liar(integers(4, threshold=3))
    message = liar.roster(liar.altered(0, mask=attacker_keys(0)[1]))
    return gain_unless_refused(liar, 0, message, "others would mask against the server's key")


@on_client
def own_keys_swapped() -> str:
    """The victim's two keys in the wrong order."""
    liar = Liar(integers(4, threshold=3))
    own = liar.entries[0]
    message = liar.roster(liar.altered(0, channel=own.mask, mask=own.channel))
    return gain_unless_refused(liar, 0, message, "keys in each other's role")


def _duplicates(liar: Liar) -> dict[str, dict[int, PublicKeys]]:
    two = liar.entries[2]
    own = liar.entries[0]
    return {
        "channel of another as channel": liar.altered(1, channel=two.channel),
        "mask of another as mask": liar.altered(1, mask=two.mask),
        "mask of another as channel": liar.altered(1, channel=two.mask),
        "channel of another as mask": liar.altered(1, mask=two.channel),
        "both of another": liar.entered({1: two}),
        "channel as mask of the same": liar.altered(1, mask=liar.entries[1].channel),
        "the victim's own channel": liar.altered(1, channel=own.channel),
        "the victim's own mask": liar.altered(1, mask=own.mask),
        "the victim's own, crosswise": liar.altered(1, channel=own.mask, mask=own.channel),
        "the victim's own entry": liar.entered({1: own}),
    }


@on_client
def duplicate_keys() -> str:
    """The same key twice in the roster, in every combination."""
    cases = _duplicates(Liar(integers(4, threshold=3), colluders=(1,)))
    for name, entries in cases.items():
        liar = Liar(integers(4, threshold=3))
        if not refuses(liar.clients[0], liar.roster(entries)):
            return f"a roster with the same key twice: {name}"
    return ""


@on_client
def non_canonical_keys() -> str:
    """A second encoding of a key, which would slip past the test for duplicates."""
    cases = dict(NON_CANONICAL)
    liar = Liar(integers(4, threshold=3))
    for role in ("channel", "mask"):
        alias = bytearray(getattr(liar.entries[2], role))
        alias[31] |= 0x80
        cases[f"alias of another's {role}"] = bytes(alias)
    for name, key in cases.items():
        for role in ("channel", "mask"):
            liar = Liar(integers(4, threshold=3), colluders=(1,))
            if not refuses(liar.clients[0], liar.roster(liar.altered(1, **{role: key}))):
                return f"a roster with a non-canonical {role} key: {name}"
    return ""


@on_client
def low_order_keys() -> str:
    """One key of low order: what is agreed with it is known to everybody."""
    for name, key in LOW_ORDER.items():
        for role in ("channel", "mask"):
            liar = Liar(integers(4, threshold=3), colluders=(1,))
            if not refuses(liar.clients[0], liar.roster(liar.altered(1, **{role: key}))):
                return f"a roster with a {role} key of low order: {name}"
    return ""


@on_client
def low_order_everywhere() -> str:
    """All channel keys of others are of low order, so that anybody can read the shares."""
    liar = Liar(integers(4, threshold=3), colluders=(1,))
    low = list(LOW_ORDER.values())
    entries = liar.entered(
        {
            party: dataclasses.replace(entry, channel=low[party])
            for party, entry in liar.entries.items()
            if party
        }
    )
    return _read_shares(liar, 0, entries, lambda _peer: bytes(32))
