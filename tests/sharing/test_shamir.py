"""Sharing, rebuilding and correcting, against vectors and the reference model."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from levels import amount
from reference import mask, pack, rebuild, share
from refusals import refused
from support import implementations, looped

from secagg import Code, ParameterError, RangeError, Suite
from secagg.arithmetic.binding import lib, read, write
from secagg.sharing.rebuilding import Rebuilder
from secagg.sharing.shamir import (
    LIMBS,
    SEED_BYTES,
    SHARE_BYTES,
    Shares,
    deal,
    pack_shares,
    seed_limbs,
    split_shares,
    unpack_shares,
)

P = 2**61 - 1
VECTORS = Path(__file__).parents[1] / "vectors" / "arithmetic_vectors.json"
KNOWN: list[dict[str, Any]] = json.loads(VECTORS.read_text())["shamir"]
KEY = bytes(range(50, 82))

every_vector = looped("case", KNOWN)


def seed_of(*label: object) -> bytes:
    """A seed for every label."""
    return hashlib.shake_256(repr(label).encode()).digest(SEED_BYTES)


def numbers(*label: object, count: int) -> list[int]:
    """Elements of the field for every label."""
    raw = hashlib.shake_256(repr(label).encode()).digest(16 * count)
    return [int.from_bytes(raw[i : i + 16], "little") % P for i in range(0, 16 * count, 16)]


def dealt(
    secrets: Sequence[int], coefficients: Sequence[int], threshold: int, points: Sequence[int]
) -> Shares:
    """The core's shares under coefficients of one's own."""
    shares = np.empty((len(points), len(secrets)), np.uint64)
    status = lib.sa_shamir_share(
        write(shares),
        read(np.array(secrets, np.uint64)),
        read(np.array(coefficients, np.uint64)),
        len(secrets),
        threshold,
        read(np.array(points, np.uint64)),
        len(points),
    )
    assert status == lib.SA_OK
    return shares


class Rebuilt(NamedTuple):
    """A seed, and the rows whose share was wrong."""

    seed: bytes
    wrong: tuple[int, ...]


def rebuilt(rebuilder: Rebuilder, shares: Shares, judge: "Judge") -> list[Rebuilt | None]:
    """Returns what a Rebuilder makes of each seed."""
    found = rebuilder.rebuild(shares, judge)
    rows = [tuple(np.flatnonzero(wrong).tolist()) for wrong in found.wrong]
    pairs = zip(found.seeds, rows, strict=True)
    return [None if seed is None else Rebuilt(seed, wrong) for seed, wrong in pairs]


def known_shares(case: dict[str, Any]) -> dict[int, list[int]]:
    return {int(i): [int(value) for value in row] for i, row in case["shares"].items()}


def interpolated(points: Sequence[int], values: Sequence[int], x: int) -> int:
    """The value at x of the polynomial of least degree through the points."""
    total = 0
    for i, (at, value) in enumerate(zip(points, values, strict=True)):
        others = [z for j, z in enumerate(points) if j != i]
        above = math.prod(x - z for z in others)
        below = math.prod(at - z for z in others)
        total += value * above * pow(below, -1, P)
    return total % P


def solved(points: Sequence[int], values: Sequence[int]) -> list[int]:
    """The coefficients, lowest first, of the polynomial through the points."""
    coefficients = [0] * len(points)
    for i, (at, value) in enumerate(zip(points, values, strict=True)):
        factor = [value]
        for j, z in enumerate(points):
            if j != i:
                inverse = pow(at - z, -1, P)
                factor = [
                    (low * -z + high) * inverse % P
                    for low, high in zip([*factor, 0], [0, *factor], strict=True)
                ]
        coefficients = [(a + b) % P for a, b in zip(coefficients, factor, strict=True)]
    return coefficients


class Judge:
    """Accepts the right seeds, and remembers what it was asked."""

    def __init__(self, *seeds: bytes) -> None:
        self.seeds = seeds
        self.asked: list[tuple[int, bytes]] = []

    def __call__(self, number: int, seed: bytes) -> bool:
        self.asked.append((number, seed))
        return self.seeds[number] == seed


# -- dealing ----------------------------------------------------------------------------------


@implementations("shamir")
@every_vector
def test_the_vectors_shares(implementation: str, case: dict[str, Any]) -> None:
    """The shares of the project's vectors, from their coefficients, and their encodings."""
    secret = bytes.fromhex(case["secret"])
    coefficients = [int(value) for row in case["coefficients"] for value in row]
    points = [i + 1 for i in range(case["parties"])]
    shares = dealt(seed_limbs(secret), coefficients, case["threshold"], points)
    known = known_shares(case)
    assert len(known) >= 3
    for party, row in known.items():
        assert shares[party].tolist() == row
    for party, packed in case["packed"].items():
        row = shares[int(party)]
        assert pack_shares(row.reshape(1, 3)).hex() == packed
        assert unpack_shares(bytes.fromhex(packed)).tolist() == [row.tolist()]


@implementations("shamir")
@looped("suite", Suite)
@looped("threshold, n", [(1, 1), (1, 3), (2, 3), (7, 10), (34, 50), (67, 100)])
def test_deal_is_the_reference_models(
    implementation: str, suite: Suite, threshold: int, n: int
) -> None:
    """Shares of two seeds: coefficients in the order of docs/WIRE.md, values of the model."""
    seeds = [seed_of("one", n), seed_of("two", n)]
    holders = list(range(n))
    shares = deal(seeds, threshold, holders, suite.generator, KEY)
    assert shares.shape == (n, 6)
    stream = mask(suite, KEY, 61, 0, 6 * (threshold - 1))
    rows = [stream[j * (threshold - 1) : (j + 1) * (threshold - 1)] for j in range(6)]
    for k, seed in enumerate(seeds):
        wanted = share(seed, rows[3 * k : 3 * k + 3], threshold, [i + 1 for i in holders])
        got = {i + 1: tuple(shares[i, 3 * k : 3 * k + 3].tolist()) for i in holders}
        assert got == wanted


@implementations("shamir")
def test_deal_at_the_greatest_values(implementation: str) -> None:
    """Limbs and coefficients of p - 1, where lazy reductions overflow first."""
    for threshold in (1, 2, 3, 9, 33, 100, 257):
        points = [1, 2, 3, P - 1, P - 2, 2**60, 65536]
        shares = dealt([P - 1] * 2, [P - 1] * (2 * (threshold - 1)), threshold, points)
        for x, row in zip(points, shares.tolist(), strict=True):
            assert row == [-sum(pow(x, k, P) for k in range(threshold)) % P] * 2


def test_a_seed_has_sixteen_bytes() -> None:
    """Three limbs of 7, 7 and 2 bytes; other lengths are refused before anything is shared."""
    seed = bytes(range(16))
    limbs = seed_limbs(seed)
    assert limbs == [int.from_bytes(seed[a:b], "little") for a, b in ((0, 7), (7, 14), (14, 16))]
    for length in (0, 15, 17):
        with refused(ParameterError, Code.ARGUMENT, match=f"16 bytes, not {length}"):
            deal([bytes(length)], 2, [0, 1], Suite.AES256CTR.generator, KEY)


# -- secrecy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "n"), [(2, 3), (3, 4), (4, 6)])
def test_fewer_shares_fit_every_secret(threshold: int, n: int) -> None:
    """For any t - 1 holders and any other seed, some coefficients give them the same shares.

    So whatever they hold, every seed is possible; and as coefficients are uniform and the fitting
    ones are exactly one set, every seed is equally likely.
    """
    seed = seed_of("true", n)
    shares = deal([seed], threshold, range(n), Suite.CHACHA20.generator, KEY)
    for other in (seed_of("other"), bytes(16), b"\xff" * 16):
        for few in combinations(range(n), threshold - 1):
            points = [i + 1 for i in few]
            polynomials = [
                solved([0, *points], [limb, *shares[list(few), j].tolist()])
                for j, limb in enumerate(seed_limbs(other))
            ]
            coefficients = [value for polynomial in polynomials for value in polynomial[1:]]
            same = dealt(seed_limbs(other), coefficients, threshold, points)
            assert same.tolist() == shares[list(few)].tolist()


def test_one_share_fewer_rebuilds_something_else() -> None:
    """Taking t - 1 shares for all of them gives no seed, or a wrong one."""
    for number in range(50):
        seed = seed_of(number)
        shares = deal([seed], 4, range(6), Suite.AES256CTR.generator, seed_of("key", number) * 2)
        got = [interpolated([1, 2, 3], shares[:3, j].tolist(), 0) for j in range(3)]
        assert got != seed_limbs(seed)


def test_shares_look_uniform_whatever_the_seed() -> None:
    """Chi-square over 64 classes of 4000 dealings of the all-zero and the all-one seed.

    With 63 degrees of freedom the statistic exceeds 125 with probability 5e-6 (the keys are fixed:
    this is one draw, made when the test was written).
    """
    for seed in (bytes(16), b"\xff" * 16):
        counts = np.zeros((6, 64))
        for number in range(2000):
            key = hashlib.sha256(f"{number}".encode()).digest()
            shares = deal([seed], 2, [0, 6], Suite.AES256CTR.generator, key)
            for column, value in enumerate(shares.ravel().tolist()):
                counts[column, value * 64 // P] += 1
        statistic = ((counts - 2000 / 64) ** 2 / (2000 / 64)).sum(axis=1)
        assert statistic.max() < 125


# -- rebuilding -------------------------------------------------------------------------------


@implementations("shamir")
@every_vector
def test_the_vectors_seeds(implementation: str, case: dict[str, Any]) -> None:
    """Any t of the vectors' shares, and all of them, give the seed.

    Of the largest vector only some shares are written down: the model computes the others.
    """
    seed, threshold = bytes.fromhex(case["secret"]), case["threshold"]
    rows = [[int(value) for value in row] for row in case["coefficients"]]
    model = share(seed, rows, threshold, range(1, case["parties"] + 1))
    known = {**{x - 1: list(row) for x, row in model.items()}, **known_shares(case)}
    assert len(known) == case["parties"]
    holders = sorted(known)
    for chosen in (holders, holders[:threshold], holders[-threshold:], holders[::-1]):
        judge = Judge(seed)
        shares = np.array([known[i] for i in chosen], np.uint64)
        assert rebuilt(Rebuilder(threshold, chosen), shares, judge) == [Rebuilt(seed, ())]
        assert judge.asked == [(0, seed)]


@implementations("shamir")
def test_any_threshold_of_shares_in_any_order(implementation: str) -> None:
    """All subsets of at least t of six shares, and the reference model's answer."""
    seed, threshold = seed_of("subsets"), 3
    shares = deal([seed], threshold, range(6), Suite.AES256CTR.generator, KEY)
    for size in range(threshold, 7):
        for chosen in combinations(range(6), size):
            order = chosen[::-1] if sum(chosen) % 2 else chosen
            model = {i + 1: (*shares[i].tolist(),) for i in chosen}
            assert rebuild(model, threshold) == seed
            got = rebuilt(Rebuilder(threshold, order), shares[list(order)], Judge(seed))
            assert got == [Rebuilt(seed, ())]


@implementations("shamir")
@looped("n", [1, 2, 100, 301])
def test_large_cohorts(implementation: str, n: int) -> None:
    """Many holders with gaps between their indices, several seeds with one set of weights."""
    threshold = 2 * n // 3 + 1
    holders = [3 * i + (i % 2) for i in range(n)]
    seeds = [seed_of(n, k) for k in range(5)]
    shares = deal(seeds, threshold, holders, Suite.CHACHA20.generator, KEY)
    judge = Judge(*seeds)
    got = rebuilt(Rebuilder(threshold, holders), shares, judge)
    assert got == [Rebuilt(seed, ()) for seed in seeds]
    assert judge.asked == list(enumerate(seeds))


def test_fewer_holders_than_the_threshold_are_refused() -> None:
    """A Rebuilder that could never rebuild does not come into being."""
    for count in range(4):
        with refused(ParameterError, Code.ARGUMENT, match=f"{count} shares"):
            Rebuilder(4, range(count))


def test_a_seed_that_is_not_accepted_is_none() -> None:
    """Right shares of a seed that the caller does not want give nothing."""
    shares = deal([seed_of(1), seed_of(2)], 2, range(4), Suite.AES256CTR.generator, KEY)
    judge = Judge(seed_of(1), seed_of("another"))
    got = rebuilt(Rebuilder(2, range(4)), shares, judge)
    assert got == [Rebuilt(seed_of(1), ()), None]
    assert judge.asked == [(0, seed_of(1)), (1, seed_of(2))]


@looped("spare", [0, 1, 2, 4])
@looped("limbs", [(2**56, 0, 0), (0, 2**56, 0), (0, 0, 2**16), (P - 1, P - 1, P - 1)])
def test_limbs_wider_than_their_bytes_are_no_seed(limbs: tuple[int, ...], spare: int) -> None:
    """Consistent shares whose constant term does not fit: None, and nothing to accept."""
    threshold, count = 3, 3 + spare
    points = [i + 1 for i in range(count)]
    shares = dealt(limbs, numbers("wide", count=6), threshold, points)
    judge = Judge(b"")
    assert rebuilt(Rebuilder(threshold, range(count)), shares, judge) == [None]
    assert judge.asked == []
    if spare:  # with an error to correct on top
        shares[1, 0] = (int(shares[1, 0]) + 1) % P
        assert rebuilt(Rebuilder(threshold, range(count)), shares, judge) == [None]


def test_the_widest_limbs_are_a_seed() -> None:
    """A seed of ones has the largest limbs that there are."""
    seed = b"\xff" * 16
    assert seed_limbs(seed) == [2**56 - 1, 2**56 - 1, 2**16 - 1]
    shares = deal([seed], 3, range(5), Suite.AES256CTR.generator, KEY)
    assert rebuilt(Rebuilder(3, range(5)), shares, Judge(seed)) == [Rebuilt(seed, ())]


def test_what_was_rebuilt_does_not_print_the_seed() -> None:
    """The seed is in neither repr nor str."""
    seed = b"S" * 16
    shares = deal([seed], 2, range(4), Suite.AES256CTR.generator, KEY)
    found = Rebuilder(2, range(4)).rebuild(shares, Judge(seed))
    assert found.seeds == [seed]
    assert repr(found) == str(found) == "Rebuilt()"


@pytest.mark.parametrize("bad", [P, P + 1, 2**61, 2**63, 2**64 - 1])
def test_shares_outside_the_field_are_refused(bad: int) -> None:
    """unpack_shares lets none through; if one came all the same, it is a RangeError."""
    shares = deal([seed_of(1)], 2, range(4), Suite.AES256CTR.generator, KEY)
    shares[2, 1] = bad
    with pytest.raises(RangeError):
        rebuilt(Rebuilder(2, range(4)), shares, Judge(seed_of(1)))


@pytest.mark.parametrize("rows", [0, 3, 5, 64])
def test_another_number_of_shares_is_refused(rows: int) -> None:
    """Rows that are no holder's would be combined with weights from behind the array."""
    rebuilder = Rebuilder(3, range(4))
    with refused(ParameterError, Code.SHAPE):
        rebuilt(rebuilder, np.zeros((rows, 3), np.uint64), Judge(bytes(16)))


# -- correction -------------------------------------------------------------------------------


def spoiled(shares: Shares, rows: Iterable[int], how: str, columns: Sequence[int]) -> Shares:
    """The shares with wrong values in these rows and columns."""
    out = shares.copy()
    for row in rows:
        for column in columns:
            value = int(shares[row, column])
            out[row, column] = {
                "random": numbers("spoiled", row, column, count=1)[0],
                "plus one": (value + 1) % P,
                "zero": 0,
                "negated": -value % P,
                "swapped": int(shares[(row + 1) % len(shares), column]),
            }[how]
    return out


WAYS = ("random", "plus one", "zero", "negated", "swapped")


@implementations("shamir")
@looped("how", WAYS)
@looped("threshold", [1, 2, 3, 5, 8])
@looped("spare", range(2, 8, amount("step between numbers of spare shares")))
def test_wrong_shares_are_corrected_and_named(
    implementation: str, threshold: int, spare: int, how: str
) -> None:
    """Every number up to floor((r - t) / 2), at several places and in any of the limbs."""
    if threshold == 1 and how == "swapped":
        return  # the shares are all the same
    count = threshold + spare
    holders = [2 * i + 3 for i in range(count)]
    seed = seed_of(threshold, spare)
    shares = deal([seed], threshold, holders, Suite.AES256CTR.generator, KEY)
    rebuilder = Rebuilder(threshold, holders)
    for errors in range(spare // 2 + 1):
        places = [*range(errors)], [*range(count - errors, count)], [*range(0, 2 * errors, 2)]
        for rows in places:
            for columns in ([0], [1], [2], [0, 2], [0, 1, 2]):
                judge = Judge(seed)
                bad = spoiled(shares, rows, how, columns)
                assert (bad != shares).any(axis=1).sum() == errors
                assert rebuilt(rebuilder, bad, judge) == [Rebuilt(seed, tuple(rows))]
                assert judge.asked == [(0, seed)]


@implementations("shamir")
@looped("threshold", [1, 2, 3, 8, 30])
@looped("columns", [[0], [1], [2], [0, 1, 2]])
def test_one_wrong_share_of_one_too_many(
    implementation: str, threshold: int, columns: list[int]
) -> None:
    """With r = t + 1 no code corrects; leaving one out does, as the caller knows the seed."""
    count = threshold + 1
    seed = seed_of("one", threshold)
    shares = deal([seed], threshold, range(count), Suite.AES256CTR.generator, KEY)
    rebuilder = Rebuilder(threshold, range(count))
    for row in range(count):
        for how in WAYS[: 4 if threshold > 1 else 3]:
            bad = spoiled(shares, [row], how, columns)
            judge = Judge(seed)
            assert rebuilt(rebuilder, bad, judge) == [Rebuilt(seed, (row,))]
            assert judge.asked[-1] == (0, seed)
            assert rebuilt(rebuilder, bad, Judge(seed_of("no"))) == [None]


def test_one_wrong_share_of_no_spare_is_refused() -> None:
    """With r = t there is nothing to correct with: whatever comes out is not accepted."""
    seed = seed_of("none")
    shares = deal([seed], 4, range(4), Suite.AES256CTR.generator, KEY)
    for row in range(4):
        for how in WAYS:
            bad = spoiled(shares, [row], how, [0, 1, 2])
            assert rebuilt(Rebuilder(4, range(4)), bad, Judge(seed)) == [None]


@implementations("shamir")
@looped("how", WAYS)
@looped("spare", range(7))
def test_more_wrong_shares_never_give_a_wrong_seed(
    implementation: str, spare: int, how: str
) -> None:
    """Beyond half the redundancy: None, and never a seed that the caller would not accept."""
    threshold, count = 3, 3 + spare
    seed = seed_of("more", spare)
    shares = deal([seed], threshold, range(count), Suite.CHACHA20.generator, KEY)
    least = 2 if spare == 1 else spare // 2 + 1
    for errors in range(least, count + 1):
        bad = spoiled(shares, range(errors), how, [0, 1, 2])
        if (bad != shares).any(axis=1).sum() < errors:
            continue  # swapped around to the same
        (got,) = rebuilt(Rebuilder(threshold, range(count)), bad, Judge(seed))
        if how == "plus one" and spare <= 1 and got is not None:
            assert got.seed == seed  # with weights 3, -3, 1 some errors cancel
        else:
            assert got is None


@pytest.mark.parametrize("spare", [2, 3, 4, 6])
def test_errors_of_different_limbs_count_together(spare: int) -> None:
    """Each limb alone could be corrected, but so many liars are more than the bound allows."""
    threshold, count, most = 4, 4 + spare, spare // 2
    seed = seed_of("limbs", spare)
    shares = deal([seed], threshold, range(count), Suite.AES256CTR.generator, KEY)
    bad = spoiled(spoiled(shares, range(most), "random", [0]), [most], "random", [1])
    assert rebuilt(Rebuilder(threshold, range(count)), bad, Judge(seed)) == [None]
    shared = spoiled(spoiled(shares, range(most), "random", [0]), [0], "random", [1, 2])
    got = rebuilt(Rebuilder(threshold, range(count)), shared, Judge(seed))
    assert got == [Rebuilt(seed, tuple(range(most)))]


@pytest.mark.parametrize("spare", [1, 2, 4, 5])
def test_liars_who_agree_on_another_seed_are_refused(spare: int) -> None:
    """Enough liars to outvote the others decode to their own seed, which is not accepted."""
    threshold, count = 3, 3 + spare
    seed, planted = seed_of("true"), seed_of("planted")
    shares = deal([seed], threshold, range(count), Suite.AES256CTR.generator, KEY)
    theirs = deal([planted], threshold, range(count), Suite.AES256CTR.generator, seed_of("key") * 2)
    for liars in range(spare // 2 + 1, count + 1):
        bad = shares.copy()
        bad[:liars] = theirs[:liars]
        judge = Judge(seed)
        got = rebuilt(Rebuilder(threshold, range(count)), bad, judge)
        if spare == 1 and liars == 1:
            assert got == [Rebuilt(seed, (0,))]
        else:
            assert got == [None]
        if count - liars <= spare // 2:
            assert (0, planted) in judge.asked  # so that the refusal above means something


def test_seeds_are_independent() -> None:
    """Different errors in several seeds: each is corrected, refused or left on its own."""
    threshold, count = 3, 7
    seeds = [seed_of("many", k) for k in range(5)]
    shares = deal(seeds, threshold, range(count), Suite.AES256CTR.generator, KEY)
    bad = spoiled(shares, [6], "random", [0])
    bad = spoiled(bad, [0, 3], "plus one", [6, 7, 8])
    bad = spoiled(bad, [1, 2, 4], "random", [9])
    assert rebuilt(Rebuilder(threshold, range(count)), bad, Judge(*seeds)) == [
        Rebuilt(seeds[0], (6,)),
        Rebuilt(seeds[1], ()),
        Rebuilt(seeds[2], (0, 3)),
        None,
        Rebuilt(seeds[4], ()),
    ]


@given(st.data())
def test_any_errors(data: st.DataObject) -> None:
    """Any threshold, holders and errors: corrected and named within the bound, else None."""
    threshold = data.draw(st.integers(1, 12))
    count = threshold + data.draw(st.integers(0, 10))
    holders = data.draw(
        st.lists(st.integers(0, 65535), min_size=count, max_size=count, unique=True)
    )
    seed = data.draw(st.binary(min_size=16, max_size=16))
    key = data.draw(st.binary(min_size=32, max_size=32))
    shares = deal([seed], threshold, holders, Suite.AES256CTR.generator, key)
    rows = data.draw(st.sets(st.integers(0, count - 1)))
    bad = shares.copy()
    for row in rows:
        column = data.draw(st.integers(0, 2))
        bad[row, column] = (int(bad[row, column]) + data.draw(st.integers(1, P - 1))) % P
    got = rebuilt(Rebuilder(threshold, holders), bad, Judge(seed))
    most = 1 if count == threshold + 1 else (count - threshold) // 2
    if len(rows) <= most:
        assert got == [Rebuilt(seed, tuple(sorted(rows)))]
    else:
        assert got == [None]


# -- encoding ---------------------------------------------------------------------------------


def packed_by_hand(rows: Sequence[Sequence[int]]) -> bytes:
    return b"".join(pack(row, 61) for row in rows)


@given(st.lists(st.tuples(*[st.integers(0, P - 1)] * 3), max_size=8))
def test_packing_is_the_reference_models(rows: list[tuple[int, int, int]]) -> None:
    """Any shares: 61 bits an element, 23 bytes each, and back."""
    shares = np.array(rows, np.uint64).reshape(-1, LIMBS)
    data = pack_shares(shares)
    assert data == packed_by_hand(rows)
    assert len(data) == SHARE_BYTES * len(rows)
    assert unpack_shares(data).tolist() == shares.tolist()


def test_packing_takes_many_seeds_a_row() -> None:
    """A row of two seeds is packed as one share after the other."""
    shares = deal([seed_of(1), seed_of(2)], 2, range(3), Suite.AES256CTR.generator, KEY)
    assert pack_shares(shares) == packed_by_hand(shares.reshape(-1, 3).tolist())
    column = np.asfortranarray(shares)
    assert pack_shares(column) == pack_shares(shares)


@pytest.mark.parametrize("length", [1, 22, 24, 45, 47])
def test_other_lengths_are_refused(length: int) -> None:
    """A share has 23 bytes."""
    with refused(RangeError, Code.SHAPE):
        unpack_shares(bytes(length))


def test_the_padding_bit_is_refused() -> None:
    """183 bits in 184: the last one must be zero, in every share."""
    good = pack_shares(np.array([[1, 2, 3], [P - 1] * 3], np.uint64))
    for last in (22, 45):
        altered = bytearray(good)
        altered[last] |= 0x80
        with refused(RangeError, Code.OUT_OF_RANGE):
            unpack_shares(bytes(altered))
        assert split_shares(bytes(altered))[1].tolist() == [last != 22, last != 45]


@pytest.mark.parametrize("place", range(3))
def test_the_value_p_is_refused(place: int) -> None:
    """2^61 - 1 is a second encoding of zero, in each of the three elements."""
    row = [5, 6, 7]
    row[place] = P
    bits = sum(value << 61 * i for i, value in enumerate(row)).to_bytes(23, "little")
    good = pack_shares(np.array([[5, 6, 7]], np.uint64))
    for data, canonical in ((bits, [False]), (good + bits, [True, False]), (good, [True])):
        assert split_shares(data)[1].tolist() == canonical
        if not all(canonical):
            with refused(RangeError, Code.OUT_OF_RANGE):
                unpack_shares(data)


@given(st.binary(min_size=23, max_size=23))
def test_any_bytes_are_canonical_or_refused(data: bytes) -> None:
    """Bytes that are accepted have no other encoding."""
    number = int.from_bytes(data, "little")
    values = [number >> 61 * i & P for i in range(3)]
    if number >> 183 or P in values:
        with refused(RangeError, Code.OUT_OF_RANGE):
            unpack_shares(data)
    else:
        assert unpack_shares(data).tolist() == [values]
        assert pack_shares(unpack_shares(data)) == data
