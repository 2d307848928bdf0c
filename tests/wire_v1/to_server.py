"""Messages that the server must refuse, or that cost a round its result."""

from collections.abc import Iterable, Mapping

from reference.arithmetic import pack, prime, unpack
from reference.protocol import (
    CHECKSUM,
    CIPHERTEXT,
    SHARE,
    SIGNATURE,
    FixedPoint,
    bitmap,
    public_key,
    sign,
)

from .forge import (
    DECODE,
    DROPPED,
    EARLY,
    FAILS,
    HEADER,
    LATE,
    PLAIN,
    REFUSED,
    SIGNED,
    Forge,
    Refusal,
    flip,
    header,
    low,
    shape,
    weak,
)
from .play import A, C, M, S, U, expanded
from .signatures import COFACTOR, SMALL, neutral_r, plus_order, torsion_r


def by_the_server(forges: Mapping[str, Forge]) -> list[Refusal]:
    """All of them."""
    return [
        *header(forges[PLAIN], A),
        *shape(forges[PLAIN], (A, S, M, U)),
        *shape(forges[SIGNED], (A, M, C)),
        *_advertised(forges),
        *_shared(forges),
        *_inputs(forges),
        *_signed(forges),
        *_unmasked(forges),
        *_repeated(forges),
    ]


def _advertised(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on, signed = forges[PLAIN], forges[SIGNED]
    h0, keys = on.s.h0(), on.entries[1]

    def put(name: str, entry: bytes, note: str, of: Forge = on, start: bytes = b"") -> Refusal:
        return of.sends(A, name, of.s.message(A, start or of.s.h0(), entry), DROPPED, note)

    yield put("wrong h0", keys, "another round (parameters, context, pins)", on, flip(h0, 0))
    for name, key in weak(keys[:32]).items():
        yield put(f"channel key {name}", key + keys[32:], "a client would refuse it")
    for name, key in weak(keys[32:]).items():
        yield put(f"mask key {name}", keys[:32] + key, "a client would refuse it")
    yield put("one key in both roles", keys[:32] * 2, "keys are distinct")
    yield put("channel key of party 0", on.entries[0][:32] + keys[32:], "keys are distinct")
    yield put("mask key of party 0 as channel key", on.entries[0][32:] + keys[32:], "distinct")
    yield put("entry of party 0", on.entries[0], "keys are distinct")
    keys = signed.entries[1]
    for name, entry, note in (
        ("invalid signature", flip(keys, 70), "a bit of R is flipped"),
        ("no signature", keys[:64] + bytes(SIGNATURE), "zeros"),
        ("signature with S + L", keys[:64] + plus_order(keys[64:]), "S >= L is not canonical"),
        ("signature of party 0", keys[:64] + signed.entries[0][64:], "another party's"),
        (
            "signed as party 2",
            keys[:64] + sign(signed.run.identities[1], signed.s.keys_digest(2, keys[:64])),
            "the index is signed as well",
        ),
        (
            "a signed key of low order",
            signed.signed_entry(1, keys[:32] + low(1)),
            "signed by its party, and weak all the same",
        ),
    ):
        yield put(name, entry, note, signed)
    yield put("wrong h0", keys, "another round", signed, flip(signed.s.h0(), 31))


def _shared(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on = forges[PLAIN]
    good = on.run.message(S, 1)
    yield on.sends(S, "wrong h1", flip(good, HEADER), DROPPED, "shares for another roster")
    data = good[:-CIPHERTEXT]
    yield on.sends(S, "a ciphertext too few", data, DECODE, "one for each other member of U1")
    data = good + good[-CIPHERTEXT:]
    yield on.sends(S, "a ciphertext too many", data, DECODE, "one for each other member of U1")


def _inputs(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on, signed, late = forges[PLAIN], forges[SIGNED], forges[LATE]
    p = on.run.case.parameters
    good, y = on.run.message(M, 1), on.packed(1)
    yield on.sends(M, "wrong h2", flip(good, HEADER), DROPPED, "other sets of parties")
    yield on.sends(M, "wrong checksum", flip(good, -1), DROPPED, "a bit of the checksum is flipped")
    yield on.sends(M, "wrong element", flip(good, 52), DROPPED, "the checksum does not match y")
    data = on.run.message(M, 2)
    yield on.sends(M, "that of party 2", data, DROPPED, "the checksum binds the index")
    data = on.masked(1, flip(y, -1, 0x80))
    note = "133 bits are 17 bytes with 3 bits of padding, one of them set; the checksum is right"
    yield on.sends(M, "padding in the vector", data, DECODE, note)
    number = int.from_bytes(y, "little")
    for at in (0, p.vector_length - 1):
        width = p.field_bits
        high = (1 << width) - 1 << at * width
        large = number & ~high | prime(width) << at * width
        data = on.masked(1, large.to_bytes(len(y), "little"))
        note = "p(19) itself is not below p(19); the checksum is right"
        yield on.sends(M, f"element {at} = p", data, DECODE, note)
    yield on.sends(M, "a sum out of reach", _shifted(on, 0), FAILS, _REACH)
    note = "as above, by the sum of the weights: max_weight times |U3| plus one"
    yield late.sends(M, "a weight out of reach", _shifted(late, -1), FAILS, note)

    good, y = signed.run.message(M, 1), signed.packed(1)
    h2, me = signed.server.h2, signed.run.identities[1]
    for name, proof, note in (
        ("invalid signature", flip(good, -20)[-SIGNATURE:], "a bit of S is flipped"),
        ("no signature", bytes(SIGNATURE), "zeros"),
        (
            "signature of party 0",
            sign(signed.run.identities[0], signed.s.input_digest(h2, 1, y)),
            "by another party",
        ),
        (
            "signed as party 2",
            sign(me, signed.s.input_digest(h2, 2, y)),
            "the index is signed as well",
        ),
        ("signature with S + L", plus_order(good[-SIGNATURE:]), "S >= L is not canonical"),
        (
            "a signature over the checksum",
            sign(me, signed.s.input_digest(h2, 1, y)[:CHECKSUM]),
            "what is signed is the whole hash, not its first 16 bytes",
        ),
    ):
        yield signed.sends(M, name, signed.s.message(M, h2, y, proof), DROPPED, note)
    data = signed.s.message(M, h2, y, signed.s.input_digest(h2, 1, y)[:CHECKSUM])
    yield signed.sends(M, "a checksum", data, DECODE, "the proof of semi-honest mode: too short")


_REACH = (
    "The message is taken: a party may mask anything. All else goes on as in the round, and the "
    "sum that comes out is one that honest inputs cannot reach."
)


def _shifted(on: Forge, place: int) -> bytes:
    """Party 1's masked input, changed such that one element of the sum is out of reach."""
    p, f = on.run.case.parameters, on.run.case.parameters.format
    field = prime(p.field_bits)
    y = unpack(on.packed(1), p.vector_length, p.field_bits)
    assert on.run.field_sum is not None
    assert isinstance(f, FixedPoint)
    wanted = field - 1 if place == 0 else f.max_weight * len(on.run.sets[2]) + 1
    y[place] = (y[place] + wanted - on.run.field_sum[place]) % field
    return on.masked(1, pack(y, p.field_bits))


def _signed(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on = forges[SIGNED]
    me, h2 = on.run.identities[1], on.server.h2
    true = on.server.signatures[1]
    smaller = on.s.consistency_digest(on.s.after("h3", h2, range(4)))
    digest = on.s.consistency_digest(on.server.h3)
    for name, signature, note in (
        ("R of small order", neutral_r(me, digest), SMALL),
        ("R with a torsion part", torsion_r(me, digest), COFACTOR),
        ("invalid", flip(true, 33), "a bit of S is flipped"),
        ("zeros", bytes(SIGNATURE), "no signature"),
        ("S + L", plus_order(true), "S >= L is not canonical"),
        ("of party 0", on.server.signatures[0], "another party's"),
        ("over a smaller set", sign(me, smaller), "it signed another h3"),
        ("over h3 itself", sign(me, on.server.h3), "what is signed is H('consistency', h3)"),
        ("its entry's", on.entries[1][64:], "a signature from another step"),
    ):
        yield on.sends(C, name, on.s.message(C, signature), DROPPED, note)
    plain = forges[PLAIN]
    data = plain.s.message(C, bytes(SIGNATURE))
    note = "there is no such step in semi-honest mode"
    yield plain.sends(U, "a consistency message instead", data, REFUSED, note)
    data = on.run.message(U, 1)
    yield on.sends(C, "an unmask message instead", data, REFUSED, "out of order")


def _unmasked(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on, early = forges[PLAIN], forges[EARLY]
    good = on.run.message(U, 1)
    note = "bit 183 of a share is padding"
    yield on.sends(U, "padding in a share", flip(good, -1, 0x80), DECODE, note)
    for element in range(3):
        number = int.from_bytes(good[-SHARE:], "little") | (2**61 - 1) << 61 * element
        data = good[:-SHARE] + number.to_bytes(SHARE, "little")
        note = "an element of the last share is p(61), which is not below p(61)"
        yield on.sends(U, f"element {element} of a share = 2^61 - 1", data, DECODE, note)
    data = good[:-SHARE]
    yield on.sends(U, "a share too few", data, DECODE, "the bitmap names five dealers")
    shares = [early.run.message(U, 1)[21:][i * SHARE :][:SHARE] for i in range(3)]
    for dealers, note in (
        ([0, 1, 2, 3], "party 3 is in U1, and its shares were not accepted"),
        ([0, 1, 2, 4], "party 4 never appeared"),
    ):
        data = early.s.message(U, bitmap(dealers, 5), *shares, shares[0])
        yield early.sends(U, f"a share of dealer {dealers[-1]}, outside U2", data, DROPPED, note)
    data = early.s.message(U, bitmap([0, 2], 5), shares[0], shares[2])
    note = (
        "The message is taken: a share may be absent. With it two shares of party 1's seed are "
        "there, t = 3 are needed, and the round ends without a result."
    )
    yield early.sends(U, "the share of dealer 1 absent", data, FAILS, note)
    data = flip(early.run.message(U, 1), 21)
    note = (
        "The message is taken. With r = t = 3 shares none can be wrong: party 0's seed does not "
        "give its commitment, and the round ends without a result."
    )
    yield early.sends(U, "a wrong share of dealer 0", data, FAILS, note)


def _repeated(forges: Mapping[str, Forge]) -> Iterable[Refusal]:
    on, early, signed = forges[PLAIN], forges[EARLY], forges[SIGNED]
    other = "a second, different message for the same step (as a first one it would do)"
    keys = public_key(expanded("second keys", 32)) + on.entries[1][32:]
    data = on.s.message(A, on.s.h0(), keys)
    yield on.again(A, 1, "second, different keys", data, other)
    yield on.again(S, 0, "other keys, a step later", data, "party 1's keys are settled")
    data = flip(on.run.message(S, 1), 60)
    yield on.again(S, 1, "second, different shares", data, other)
    y = unpack(on.packed(1), 7, 19)
    data = on.masked(1, pack([(y[0] + 1) % prime(19), *y[1:]], 19))
    yield on.again(M, 1, "second, different masked input", data, other)
    data = flip(on.run.message(U, 1), 21)
    yield on.again(U, 1, "second, different shares of seeds", data, other)
    data = signed.s.message(C, bytes(SIGNATURE))
    yield signed.again(C, 1, "second, different signature", data, "the first stays")
    late = "it was not there when its step ended"
    party = early.run.parties[4]
    data = party.advertise_keys()
    yield Refusal(
        f"{EARLY}: keys that come late", late, EARLY, 4, True, early.run.index(S, 0), data, REFUSED
    )
    data = early.run.message(S, 0)
    yield Refusal(
        f"{EARLY}: shares of a party outside U1",
        "party 4 is not in U1",
        *(EARLY, 4, True, early.run.index(S, 1), data, REFUSED),
    )
    data = early.masked(3, early.packed(0))
    yield Refusal(
        f"{EARLY}: input of a party outside U2",
        "party 3 is in U1 and not in U2",
        *(EARLY, 3, True, early.run.index(M, 1), data, REFUSED),
    )
