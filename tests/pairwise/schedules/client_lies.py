"""Lies of clients, by the step whose message they change."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from harness import SESSION, identity_of, seeded
from pairwise.attacks import LOW_ORDER, body
from pairwise.malicious import signed
from pairwise.schedules.network_plan import UP
from pairwise.schedules.replayed_client import h0_of
from pairwise.schedules.server_plan import EARLIER

from secagg import Mode
from secagg.pairwise import keys
from secagg.pairwise.messages import AdvertiseKeys, Consistency, MaskedInput, ShareKeys, Unmask
from secagg.primitives import shamir

if TYPE_CHECKING:
    from pairwise.schedules.bad_network import BadNetwork


P61 = 2**61 - 1
Lie = Callable[["BadNetwork", int, bytes, int], bytes]
LIES: dict[int, dict[str, Lie]] = {step: {} for step in range(5)}


def lie(step: int) -> Callable[[Lie], Lie]:
    """Registers what a liar says instead of its true message of a step."""

    def register(function: Lie) -> Lie:
        LIES[step][function.__name__.replace("_", " ")] = function
        return function

    return register


@lie(0)
def other_h0(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Another transcript."""
    read = AdvertiseKeys.read(body(true), net.params)
    return AdvertiseKeys(bytes(32), read.keys).encode(SESSION)


def _advertised(net: "BadNetwork", party: int, true: bytes, **changed: bytes) -> bytes:
    """Other keys, truly signed."""
    read = AdvertiseKeys.read(body(true), net.params)
    entry = replace(read.keys, **changed)
    if net.params.mode is Mode.MALICIOUS and "signature" not in changed:
        digest = keys.entry_digest(read.h0, party, entry)
        entry = replace(entry, signature=identity_of(party).sign(digest))
    return AdvertiseKeys(read.h0, entry).encode(SESSION)


@lie(0)
def weak_key(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """A mask key, or a channel key, of low order."""
    weak = list(LOW_ORDER.values())[a // 2 % len(LOW_ORDER)]
    return _advertised(net, party, true, **{("mask", "channel")[a % 2]: weak})


@lie(0)
def key_twice(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """The same key in both roles, or somebody else's."""
    other = (party + a // 2) % net.params.cohort
    stolen = AdvertiseKeys.read(body(net.first[other]), net.params).keys
    if other != party:
        net.copied.setdefault(other, set()).add(party)
    return _advertised(net, party, true, mask=(stolen.channel, stolen.mask)[a % 2])


@lie(0)
def unsigned_keys(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """In malicious mode: no signature, or another's."""
    size = len(AdvertiseKeys.read(body(true), net.params).keys.signature)
    return _advertised(net, party, true, signature=bytes([a]) * size)


def _shared(net: "BadNetwork", party: int, true: bytes) -> ShareKeys:
    return ShareKeys.read(body(true), net.graph.neighbours(party, net.u1))


@lie(1)
def other_h1(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Another roster."""
    return replace(_shared(net, party, true), believed=bytes(32)).encode(SESSION)


@lie(1)
def other_commitment(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """A commitment to another self seed."""
    return replace(_shared(net, party, true), commitment=bytes(32)).encode(SESSION)


@lie(1)
def junk_ciphertexts(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """One, or two, that do not open."""
    read = _shared(net, party, true)
    places = net.graph.neighbours(party, net.u1)
    some = {places[place % len(places)] for place in (a, a + a % 2)}
    sealed = {one: bytes(62) if one in some else read.sealed[one] for one in places}
    return replace(read, sealed=sealed).encode(SESSION)


@lie(2)
def other_h2(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Other sets; the proof fits."""
    read = MaskedInput.read(body(true), net.params)
    lied = MaskedInput.read(body(net.input_by(party, read.h2, net.shifted(read.packed, a))),
                            net.params)  # fmt: skip
    if a % 2:  # the proof is for the true sets
        return replace(lied, h2=bytes(32)).encode(SESSION)
    return net.input_by(party, bytes(32), read.packed)


@lie(2)
def other_input(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Another input than the one it masked: its own affair, and consistent."""
    read = MaskedInput.read(body(true), net.params)
    message = net.input_by(party, read.h2, net.shifted(read.packed, 1 + 97 * a))
    net.proved.add((party, message))
    return message


@lie(2)
def unproved_input(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Another input under the proof of the first, or none, or as another party."""
    read = MaskedInput.read(body(true), net.params)
    if a % 3 == 0:
        return replace(read, packed=net.shifted(read.packed, 5)).encode(SESSION)
    if a % 3 == 1:
        return replace(read, proof=bytes(len(read.proof))).encode(SESSION)
    others = [one for one in net.said if one[1] == UP[2] and one[0] != party]
    return net.said[others[a % len(others)]] if others else true


@lie(2)
def outside_the_field(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Elements that are no field elements, or padding that is not zero."""
    read = MaskedInput.read(body(true), net.params)
    return net.input_by(party, read.h2, b"\xff" * len(read.packed))


@lie(3)
def other_signature(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Zeros, on another set, or another's."""
    wrong = (bytes(64), signed(identity_of(party), bytes(32)),
             signed(identity_of(party + 1), h0_of(net.seats[party].round)))[a % 3]  # fmt: skip
    return Consistency(wrong).encode(SESSION)


@lie(4)
def junk_shares(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Wrong shares of one dealer, or of all; of several liars on no common polynomial."""
    read = Unmask.read(body(true), net.params)
    shares = read.shares.copy()
    rows = range(len(shares)) if a % 2 else [a // 2 % len(shares)]
    junk = int.from_bytes(seeded(("junk", party, a))(6), "little") << (a % 3 * 4)
    for row in rows:
        shares[row] = (shares[row] + np.uint64(junk)) % np.uint64(P61)
    return Unmask(read.dealers, shares).encode(SESSION, net.params.cohort)


@lie(4)
def fewer_shares(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Without some dealers."""
    read = Unmask.read(body(true), net.params)
    keep = [row for row in range(len(read.dealers)) if row != a and row != a // 2]
    dealers = tuple(list(read.dealers)[row] for row in keep)
    return Unmask(dealers, read.shares[keep]).encode(SESSION, net.params.cohort)


@lie(4)
def shares_of_others(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Shares of dealers that did not share, or each dealer's under another's name."""
    read = Unmask.read(body(true), net.params)
    n = net.params.cohort
    if a % 2 == 0 and len(read.dealers) < n:
        rows = np.resize(read.shares, (n, 3))
        return Unmask(tuple(range(n)), rows).encode(SESSION, n)
    return Unmask(read.dealers, np.roll(read.shares, 1, axis=0)).encode(SESSION, n)


@lie(4)
def no_shares(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """A share of elements outside of the field."""
    return true[: -shamir.SHARE_BYTES] + b"\xff" * 22 + b"\x7f"


ALWAYS: dict[str, Lie] = {
    "of another session": lambda net, party, true, a: true[:4] + EARLIER + true[20:],
    "of another version": lambda net, party, true, a: true[:2] + bytes([99]) + true[3:],
    "of another type": lambda net, party, true, a: true[:3] + bytes([UP[a % 5]]) + true[4:],
    "too long": lambda net, party, true, a: true + bytes(1 + a),
    "empty": lambda net, party, true, a: true[: 20 * (a % 2)],
}
MEANS = ("second message", "better message", "again", "silent")
STRAY = ("another round",)
