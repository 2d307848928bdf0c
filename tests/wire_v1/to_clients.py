"""Messages that a client must refuse."""

from collections.abc import Iterable, Mapping

from reference.protocol import (
    CIPHERTEXT,
    SIGNATURE,
    kdf,
    public_key,
    sign,
)

from .forge import (
    ABORTED,
    EARLY,
    LEAST,
    PLAIN,
    REFUSED,
    SIGNED,
    SIGNED_LATE,
    Forge,
    Refusal,
    flip,
    header,
    low,
    shape,
    weak,
)
from .play import expanded
from .signatures import COFACTOR, SMALL, neutral_r, plus_order, torsion_r


def by_clients(forges: Mapping[str, Forge]) -> list[Refusal]:
    """All of them."""
    return [
        *header(forges[PLAIN], "roster"),
        *shape(forges[PLAIN], ("roster", "delivery", "survivors")),
        *shape(forges[SIGNED], ("roster", "signatures")),
        *_out_of_order(forges),
        *_rosters(forges),
        *_deliveries(forges),
        *_survivor_sets(forges),
        *_signature_lists(forges),
    ]


def _out_of_order(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on, signed = forges[PLAIN], forges[SIGNED]
    early = "out of order: the client waits for another type"
    yield on.client("roster", "a delivery instead", on.delivery(range(5)), REFUSED, early)
    yield on.client("roster", "survivors instead", on.survivors(range(5)), REFUSED, early)
    yield on.client("delivery", "survivors instead", on.survivors(range(5)), REFUSED, early)
    yield on.client("survivors", "the offer again", on.run.messages[0].data, REFUSED, early)
    yield signed.client(
        "survivors", "signatures instead", signed.run.message("signatures", 0), REFUSED, early
    )
    second = "a second, different {} (as a first one it would do): the first stays"
    for it in (on, signed):
        yield it.client(
            "delivery", "another roster", it.roster({4: None}), REFUSED, second.format("roster")
        )
        yield it.client(
            "survivors",
            "another delivery",
            it.delivery(range(4)),
            REFUSED,
            second.format("delivery"),
        )
    yield signed.client(
        "signatures",
        "another survivor set",
        signed.survivors(range(4)),
        REFUSED,
        second.format("survivor set") + "; a client signs one h3",
    )
    yield Refusal(
        f"{PLAIN}: after the end, another survivor set",
        second.format("survivor set") + "; a client gives one share of each dealer",
        *(PLAIN, 0, False, len(on.run.messages), on.survivors(range(4)), REFUSED),
    )


def _rosters(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on, least, signed = forges[PLAIN], forges[LEAST], forges[SIGNED]
    fresh = public_key(expanded("a key of the server", 32))
    own, peer, last = on.entries[0], on.entries[1], on.entries[4]

    def put(name: str, changed: Mapping[int, bytes | None], note: str) -> Refusal:
        return on.client("roster", name, on.roster(changed), ABORTED, note)

    yield put("without the receiver", {0: None}, "its own index is not in U1")
    yield put("own channel key changed", {0: fresh + own[32:]}, "not the keys it advertised")
    yield put("own mask key changed", {0: own[:32] + fresh}, "not the keys it advertised")
    yield put("own keys exchanged", {0: own[32:] + own[:32]}, "not the keys it advertised")
    yield put("duplicate channel key", {4: peer[:32] + last[32:]}, "parties 1 and 4 share a key")
    yield put("duplicate mask key", {4: last[:32] + peer[32:]}, "parties 1 and 4 share a key")
    yield put("one key in both roles", {4: last[:32] * 2}, "all keys are distinct")
    yield put("mask key of 1 as channel key of 4", {4: peer[32:] + last[32:]}, "all are distinct")
    yield put("own key with another", {4: own[:32] + last[32:]}, "parties 0 and 4 share a key")
    yield put("two entries of one party", {4: peer}, "parties 1 and 4 share both keys")
    for name, key in weak(last[:32]).items():
        note = "a weak key of a peer: X25519 with it gives zero, or it has a second encoding"
        yield put(f"channel key {name}", {4: key + last[32:]}, note)
    for name, key in weak(last[32:]).items():
        yield put(f"mask key {name}", {4: last[:32] + key}, "as for a channel key")
    yield put("too small", {2: None, 3: None, 4: None}, "|U1| = 2 is below t = 3")
    yield put("of the receiver alone", dict.fromkeys(range(1, 5)), "|U1| = 1")
    yield least.client(
        "roster",
        "below min_survivors",
        least.roster({3: None, 4: None}),
        ABORTED,
        "|U1| = 3 reaches t = 3, and not the quorum of 4",
    )

    def lie(name: str, changed: Mapping[int, bytes | None], note: str) -> Refusal:
        return signed.client("roster", name, signed.roster(changed), ABORTED, note)

    own, peer, other = signed.entries[0], signed.entries[1], signed.entries[2]
    yield lie("invalid signature", {1: flip(peer, -1)}, "a bit of party 1's signature is flipped")
    yield lie("own signature changed", {0: flip(own, -1)}, "not the entry it advertised")
    yield lie("no signature", {1: peer[:64] + bytes(SIGNATURE)}, "zeros as party 1's signature")
    yield lie(
        "signatures exchanged",
        {1: peer[:64] + other[64:], 2: other[:64] + peer[64:]},
        "each signature is another party's",
    )
    yield lie("entries exchanged", {1: other, 2: peer}, "the index is signed as well")
    yield lie(
        "a key of the server",
        {1: peer[:32] + fresh + peer[64:]},
        "party 1's mask key is replaced, its signature stands: a man in the middle",
    )
    h0 = kdf(b"", "h0", b"another round")
    keys = peer[:64]
    digest = kdf(b"", "advertise keys", h0, (1).to_bytes(4, "little"), keys)
    yield lie(
        "signed for another round",
        {1: keys + sign(signed.run.identities[1], digest)},
        "party 1's signature is over another h0",
    )
    yield lie(
        "signature with S + L", {1: peer[:64] + plus_order(peer[64:])}, "S >= L is not canonical"
    )
    yield lie(
        "a signed key of low order",
        {4: signed.signed_entry(4, low(0) + signed.entries[4][32:64])},
        "signed by its party, and weak all the same",
    )
    yield lie(
        "a signed key of another",
        {4: signed.signed_entry(4, peer[:32] + signed.entries[4][32:64])},
        "signed by its party, and not distinct all the same",
    )
    yield lie("too small", {4: None, 3: None}, "|U1| = 3 is below t = 4")


def _deliveries(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on, early, least, signed = (forges[name] for name in (PLAIN, EARLY, LEAST, SIGNED))
    sealed = on.server.ciphertexts

    def put(name: str, data: bytes, note: str, of: Forge = on) -> Refusal:
        return of.client("delivery", name, data, ABORTED, note)

    yield put("without the receiver", on.delivery(range(1, 5)), "its own index is not in U2")
    yield put("of the receiver alone", on.delivery([0]), "|U2| = 1: no pairwise mask would be left")
    yield put("too small", on.delivery([0, 1]), "|U2| = 2 is below t = 3")
    yield put(
        "below min_survivors",
        least.delivery([0, 1, 2]),
        "|U2| = 3 reaches t = 3, and not the quorum of 4",
        least,
    )
    yield put(
        "a member outside U1", early.delivery([0, 1, 2, 4]), "party 4 is not in the roster", early
    )
    few = {u: flip(sealed[u, 0], -1) for u in (1, 2, 3)}
    note = "the ciphertexts of at least t - 1 = 2 others must open, and one does"
    yield put("too few ciphertexts open", on.delivery(range(5), few), note)
    few = {u: bytes(CIPHERTEXT) for u in (1, 2, 3, 4)}
    yield put("no ciphertext opens", on.delivery(range(5), few), "all are zeros")
    back = {u: sealed[0, u] for u in (1, 2, 3, 4)}
    note = "the receiver's own ciphertexts come back to it: each direction has a key of its own"
    yield put("reflected ciphertexts", on.delivery(range(5), back), note)
    data = on.run.message("delivery", 1)
    yield put("of another receiver", data, "the ciphertexts to party 1, to party 0: none opens")
    turned = {u: sealed[u % 4 + 1, 0] for u in (1, 2, 3, 4)}
    note = "each ciphertext is that of another dealer: none opens"
    yield put("ciphertexts in another order", on.delivery(range(5), turned), note)
    yield put("too small", signed.delivery([0, 1, 2]), "|U2| = 3 is below t = 4", signed)


def _survivor_sets(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on, early, least, signed = (forges[name] for name in (PLAIN, EARLY, LEAST, SIGNED))
    for of, members, name, note in (
        (on, [1, 2, 3, 4], "without the receiver", "it would give a share of its own mask seed"),
        (on, [0, 1], "too small", "|U3| = 2 is below t = 3"),
        (on, [0], "of the receiver alone", "|U3| = 1: the sum would be its input"),
        (on, [], "empty", "|U3| = 0"),
        (least, [0, 1, 2], "below min_survivors", "|U3| = 3 reaches t, not the quorum of 4"),
        (early, [0, 1, 2, 3], "a member outside U2", "party 3 did not share"),
        (early, [0, 1, 2, 4], "a member outside U1", "party 4 is not in the roster"),
        (signed, [1, 2, 3, 4], "without the receiver", "its own index is not in U3"),
        (signed, [0, 1, 2], "too small", "|U3| = 3 is below t = 4"),
    ):
        yield of.client("survivors", name, of.survivors(members), ABORTED, note)


def _signature_lists(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on, late = forges[SIGNED], forges[SIGNED_LATE]
    true = dict(sorted(on.server.signatures.items()))
    smaller = on.s.consistency_digest(on.s.after("h3", on.server.h2, range(4)))
    forged = flip(true[4], 40)
    first = {u: true[u] for u in range(4)}

    def put(name: str, chosen: Mapping[int, bytes], note: str) -> Refusal:
        return on.client("signatures", name, on.signatures(chosen), ABORTED, note)

    yield put("none", {}, "t = 4 are required")
    yield put("too few", {u: true[u] for u in range(3)}, "three where t = 4 are required")
    yield put("one of four invalid", {**first, 2: flip(true[2], 40)}, "a bit of S is flipped")
    yield put("R flipped", {**first, 2: flip(true[2], 3)}, "a bit of R is flipped")
    yield put(
        "one invalid beside enough valid",
        {**true, 4: forged},
        "four are valid, which would do, and one is not: that one ends the round for the client",
    )
    yield put("exchanged", {**first, 1: true[2], 2: true[1]}, "two are in each other's place")
    yield put("one for all", dict.fromkeys(range(4), true[0]), "four times party 0's")
    yield put("zeros", {**first, 3: bytes(SIGNATURE)}, "party 3's is zeros")
    yield put("S + L", {**first, 3: plus_order(true[3])}, "S >= L is not canonical")
    digest, seed = on.s.consistency_digest(on.server.h3), on.run.identities[3]
    yield put("R of small order", {**first, 3: neutral_r(seed, digest)}, SMALL)
    yield put("R with a torsion part", {**first, 3: torsion_r(seed, digest)}, COFACTOR)
    yield put(
        "over a smaller set",
        {u: sign(on.run.identities[u], smaller) for u in range(4)},
        "all four signed another h3 (U3 = 0..3): a split view",
    )
    yield put(
        "one over a smaller set",
        {**first, 1: sign(on.run.identities[1], smaller)},
        "party 1 signed another h3",
    )
    digest = late.s.consistency_digest(late.server.h3)
    outside = sign(late.run.identities[4], digest)
    mine = dict(sorted(late.server.signatures.items()))
    for name, chosen in (
        ("a signer outside U3", {**mine, 4: outside}),
        (
            "a signer outside U3 makes up the number",
            {0: mine[0], 1: mine[1], 2: mine[2], 4: outside},
        ),
    ):
        note = "party 4 is in U2, dropped out, and validly signs h3 all the same"
        yield late.client("signatures", name, late.signatures(chosen), ABORTED, note)
