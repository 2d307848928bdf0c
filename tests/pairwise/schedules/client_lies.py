"""Lies of clients, by the step whose message they change."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from harness import SESSION, identity_of, seeded
from pairwise.attacks import LOW_ORDER, body
from pairwise.malicious import signed
from pairwise.schedules.network_plan import TO_SERVER
from pairwise.schedules.replayed_client import h0_of
from pairwise.schedules.server_plan import EARLIER_SESSION

from secagg import Mode
from secagg.identity.identity import sign_digest
from secagg.pairwise import transcript
from secagg.pairwise.messages import AdvertiseKeys, Consistency, MaskedInput, ShareKeys, Unmask
from secagg.sharing import shamir

if TYPE_CHECKING:
    from pairwise.schedules.bad_network import BadNetwork


P61 = 2**61 - 1
ClientLie = Callable[["BadNetwork", int, bytes, int], bytes]
LIES_AT: dict[int, dict[str, ClientLie]] = {step: {} for step in range(5)}


def on_step(step: int) -> Callable[[ClientLie], ClientLie]:
    """Registers a lie that a liar tells instead of its true message of a step."""

    def register(function: ClientLie) -> ClientLie:
        LIES_AT[step][function.__name__.replace("_", " ")] = function
        return function

    return register


@on_step(0)
def other_h0(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Names another transcript."""
    read = AdvertiseKeys.read(body(true), net.params)
    return AdvertiseKeys(bytes(32), read.keys).encode(SESSION)


def _with_keys(net: "BadNetwork", party: int, true: bytes, **changed: bytes) -> bytes:
    """Advertises other keys, truly signed."""
    read = AdvertiseKeys.read(body(true), net.params)
    entry = replace(read.keys, **changed)
    if net.params.mode is Mode.MALICIOUS and "signature" not in changed:
        digest = transcript.entry_digest(read.h0, party, entry)
        entry = replace(entry, signature=sign_digest(identity_of(party), digest))
    return AdvertiseKeys(read.h0, entry).encode(SESSION)


@on_step(0)
def weak_key(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Advertises a mask key, or a channel key, of low order."""
    weak = list(LOW_ORDER.values())[a // 2 % len(LOW_ORDER)]
    return _with_keys(net, party, true, **{("mask", "channel")[a % 2]: weak})


@on_step(0)
def key_twice(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Advertises the same key in both roles, or somebody else's."""
    other = (party + a // 2) % net.params.cohort
    stolen = AdvertiseKeys.read(body(net.first[other]), net.params).keys
    if other != party:
        net.copied.setdefault(other, set()).add(party)
    return _with_keys(net, party, true, mask=(stolen.channel, stolen.mask)[a % 2])


@on_step(0)
def unsigned_keys(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Advertises without a signature, or with another's, in malicious mode."""
    size = len(AdvertiseKeys.read(body(true), net.params).keys.signature)
    return _with_keys(net, party, true, signature=bytes([a]) * size)


def read_shares_message(net: "BadNetwork", party: int, true: bytes) -> ShareKeys:
    return ShareKeys.read(body(true), net.graph.neighbours(party, net.u1))


@on_step(1)
def other_h1(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Names another roster."""
    return replace(read_shares_message(net, party, true), roster_digest=bytes(32)).encode(SESSION)


@on_step(1)
def other_commitment(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Commits to another self seed."""
    return replace(read_shares_message(net, party, true), commitment=bytes(32)).encode(SESSION)


@on_step(1)
def junk_ciphertexts(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Sends one ciphertext, or two, that do not open."""
    read = read_shares_message(net, party, true)
    places = net.graph.neighbours(party, net.u1)
    some = {places[place % len(places)] for place in (a, a + a % 2)}
    sealed = {one: bytes(62) if one in some else read.sealed[one] for one in places}
    return replace(read, sealed=sealed).encode(SESSION)


@on_step(2)
def other_h2(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Names other sets; the proof fits."""
    read = MaskedInput.read(body(true), net.params)
    lied = MaskedInput.read(body(net.input_by(party, read.h2, net.shifted(read.packed, a))),
                            net.params)  # fmt: skip
    if a % 2:  # the proof is for the true sets
        return replace(lied, h2=bytes(32)).encode(SESSION)
    return net.input_by(party, bytes(32), read.packed)


@on_step(2)
def other_input(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Sends another input than the one it masked: its own affair, and consistent."""
    read = MaskedInput.read(body(true), net.params)
    message = net.input_by(party, read.h2, net.shifted(read.packed, 1 + 97 * a))
    net.proved.add((party, message))
    return message


@on_step(2)
def unproved_input(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Sends another input under the proof of the first, or without one, or another party's."""
    read = MaskedInput.read(body(true), net.params)
    if a % 3 == 0:
        return replace(read, packed=net.shifted(read.packed, 5)).encode(SESSION)
    if a % 3 == 1:
        return replace(read, proof=bytes(len(read.proof))).encode(SESSION)
    others = [one for one in net.true_messages if one[1] == TO_SERVER[2] and one[0] != party]
    return net.true_messages[others[a % len(others)]] if others else true


@on_step(2)
def outside_the_field(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Sends elements that are no field elements, or padding that is not zero."""
    read = MaskedInput.read(body(true), net.params)
    return net.input_by(party, read.h2, b"\xff" * len(read.packed))


@on_step(3)
def other_signature(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Signs with zeros, or another set, or with another's key."""
    wrong = (bytes(64), signed(identity_of(party), bytes(32)),
             signed(identity_of(party + 1), h0_of(net.setups[party].round)))[a % 3]  # fmt: skip
    return Consistency(wrong).encode(SESSION)


@on_step(4)
def junk_shares(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Gives wrong shares of one dealer, or of all; of several liars on no common polynomial."""
    read = Unmask.read(body(true), net.params)
    shares = read.shares.copy()
    rows = range(len(shares)) if a % 2 else [a // 2 % len(shares)]
    junk = int.from_bytes(seeded(("junk", party, a))(6), "little") << (a % 3 * 4)
    for row in rows:
        shares[row] = (shares[row] + np.uint64(junk)) % np.uint64(P61)
    return Unmask(read.dealers, shares).encode(SESSION, net.params.cohort)


@on_step(4)
def fewer_shares(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Gives shares of fewer dealers."""
    read = Unmask.read(body(true), net.params)
    keep = [row for row in range(len(read.dealers)) if row != a and row != a // 2]
    dealers = tuple(list(read.dealers)[row] for row in keep)
    return Unmask(dealers, read.shares[keep]).encode(SESSION, net.params.cohort)


@on_step(4)
def shares_of_others(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Gives shares of dealers that did not share, or each dealer's under another's name."""
    read = Unmask.read(body(true), net.params)
    n = net.params.cohort
    if a % 2 == 0 and len(read.dealers) < n:
        rows = np.resize(read.shares, (n, 3))
        return Unmask(tuple(range(n)), rows).encode(SESSION, n)
    return Unmask(read.dealers, np.roll(read.shares, 1, axis=0)).encode(SESSION, n)


@on_step(4)
def no_shares(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Gives a share of elements outside of the field."""
    return true[: -shamir.SHARE_BYTES] + b"\xff" * 22 + b"\x7f"


LIES_IN_ANY_STEP: dict[str, ClientLie] = {
    "of another session": lambda net, party, true, a: true[:4] + EARLIER_SESSION + true[20:],
    "of another version": lambda net, party, true, a: true[:2] + bytes([99]) + true[3:],
    "of another type": lambda net, party, true, a: true[:3] + bytes([TO_SERVER[a % 5]]) + true[4:],
    "too long": lambda net, party, true, a: true + bytes(1 + a),
    "empty": lambda net, party, true, a: true[: 20 * (a % 2)],
}
OTHER_MISCONDUCT = ("second message", "better message", "again", "silent")
OTHER_ROUND = ("another round",)
