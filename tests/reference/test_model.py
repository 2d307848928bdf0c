"""The reference model against known answers, and whole runs of it against plain sums."""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from . import arithmetic as a
from .protocol import FixedPoint, Input, Integers, Parameters, Random, Run, bitmap, run

VECTORS = Path(__file__).parents[1] / "vectors" / "arithmetic_vectors.json"
KNOWN: dict[str, Any] = json.loads(VECTORS.read_text())
SUITES = {"aes256ctr": 1, "chacha20": 2}


def ints(values: list[str]) -> list[int]:
    return [int(value) for value in values]


def test_primes() -> None:
    assert {str(b): str(a.prime(b)) for b in range(16, 63)} == KNOWN["primes"]
    assert a.prime(61) == 2**61 - 1


def test_chacha20_block_of_rfc8439() -> None:
    counter, nonce = 0x0900000000000001, 0x4A000000  # section 2.3.2, state words 12-15
    block = a.chacha20_block(bytes(range(32)), nonce, counter)
    assert block[:16].hex() == "10f1e7e4d13b5915500fdd1fa32071c4"


@pytest.mark.parametrize("case", KNOWN["stream"])
def test_stream(case: dict[str, Any]) -> None:
    want = bytes.fromhex(case["bytes"])
    key, at = bytes.fromhex(case["key"]), (int(case["nonce"]), int(case["counter"]))
    assert a.stream(SUITES[case["suite"]], key, *at, len(want)) == want


@pytest.mark.parametrize("case", KNOWN["mask"])
def test_mask(case: dict[str, Any]) -> None:
    suite, key, bits = SUITES[case["suite"]], bytes.fromhex(case["key"]), case["bits"]
    start, want = int(case["start"]), ints(case["values"])
    assert a.mask(suite, key, bits, start, len(want)) == want
    first = a.words(suite, key, 0, 4 if bits <= 32 else 8, start, len(want))
    rejected = [i for i, w in enumerate(first, start) if w % 2**bits >= a.prime(bits)]
    assert rejected == [int(i) for i in case["rejected"]]


@pytest.mark.parametrize("case", KNOWN["pack"])
def test_pack(case: dict[str, Any]) -> None:
    values, data = ints(case["values"]), bytes.fromhex(case["bytes"])
    assert a.pack(values, case["bits"]) == data
    assert a.unpack(data, len(values), case["bits"]) == values


@pytest.mark.parametrize(
    ("data", "count", "bits"),
    [("ffff", 1, 16), ("000080", 1, 17), ("000000", 1, 16), ("00", 1, 16)],
)
def test_unpack_refuses(data: str, count: int, bits: int) -> None:
    with pytest.raises(ValueError, match="not"):
        a.unpack(bytes.fromhex(data), count, bits)


@pytest.mark.parametrize("case", KNOWN["shamir"])
def test_shamir(case: dict[str, Any]) -> None:
    t, secret = case["threshold"], bytes.fromhex(case["secret"])
    coefficients = [ints(c) for c in case["coefficients"]]
    shares = a.share(secret, coefficients, t, range(1, case["parties"] + 1))
    for i, want in case["shares"].items():
        assert list(shares[int(i) + 1]) == ints(want)
    for i, want in case["packed"].items():
        assert a.pack(shares[int(i) + 1], a.SHARE_BITS).hex() == want
    for points in itertools.islice(itertools.combinations(shares, t), 40):
        assert a.rebuild({x: shares[x] for x in points}, t) == secret
    with pytest.raises(ValueError, match="fewer"):
        a.rebuild(dict(list(shares.items())[: t - 1]), t)


def test_quantize_by_hand() -> None:
    key = bytes(32)
    u = [w / 2**32 for w in a.words(1, key, 0, 4, 0, 5)]
    x = [-9.0, -1.0, 0.0, 1.0, 9.0]  # 0, 0, 127.5, 255 and 255 of 255 levels
    want = [0, 0, int(127.5 + u[2]), 255, 255]
    assert a.quantize(x, 1.0, 8, 1, 1, 1, key) == want
    assert a.quantize(x, 1.0, 8, 3, 7, 1, key) == [3 * q for q in want] + [3]


def test_bitmap_and_parameters() -> None:
    assert bitmap([0, 9], 10).hex() == "0102"
    p = Parameters(1, 0, 3, 2, 3, 1, 5, Integers(-1, 2))
    want = "0100030000000200000003000000010000000500000000000000"
    assert p.encode().hex() == want + "02" + "ff" * 8 + "02" + "00" * 7
    assert (p.vector_length, p.field_bits) == (5, 16)
    for high, bits in ((21840, 16), (21841, 17)):  # p(16) = 65521
        assert Parameters(1, 0, 3, 2, 3, 1, 5, Integers(0, high)).field_bits == bits
    for n, bits in ((16, 30), (17, 31)):  # p(30) = 2^30 - 35
        q = Parameters(1, 0, n, 9, 9, 1, 5, FixedPoint(1.0, 16, 2**10))
        assert q.format.encode().hex() == "01000000000000f03f1000040000"
        assert (q.vector_length, q.field_bits) == (6, bits)


def tape(seed: str) -> Random:
    """A deterministic source: successive parts of SHAKE-256(seed)."""
    data = iter(hashlib.shake_256(seed.encode()).digest(4096))
    return lambda n: bytes(itertools.islice(data, n))


FIXED, WEIGHTED = FixedPoint(2.0, 12, 1), FixedPoint(0.75, 20, 100)
SMALL, WIDE = Integers(-5, 1000), Integers(-(2**40), 2**58)
A, S, M, U = "advertise keys", "share keys", "masked input", "unmask"


def execute(
    n: int, t: int, suite: int, fmt: FixedPoint | Integers, drops: dict[int, str], least: int = 0
) -> tuple[Parameters, dict[int, Input], Run]:
    p = Parameters(suite, 0, n, t, max(least, t), 1, 7, fmt)
    inputs: dict[int, Input] = {}
    for u in range(n):
        draw = [int.from_bytes(hashlib.sha256(b"%d,%d" % (u, i)).digest()) for i in range(7)]
        if isinstance(fmt, FixedPoint):
            weight = 1 + draw[0] % fmt.max_weight
            inputs[u] = ([(d % 10001 - 5000) / 4000 * fmt.clip for d in draw], weight)
        else:
            inputs[u] = ([fmt.low + d % (fmt.high - fmt.low + 1) for d in draw], 1)
    seeds = {u: tape(f"party {u}") for u in range(n)}
    return p, inputs, run(p, b"s" * 16, b"c" * 32, inputs, seeds, drops)


@pytest.mark.parametrize(
    ("n", "t", "suite", "fmt", "drops"),
    [
        (3, 2, 1, SMALL, {}),
        (3, 2, 2, FIXED, {1: U}),
        (3, 2, 1, WIDE, {0: M}),
        (5, 3, 2, WEIGHTED, {4: A, 0: M}),
        (5, 3, 1, WEIGHTED, {2: S, 3: U}),
        (9, 5, 1, FIXED, {0: A, 3: S, 8: M, 5: U}),
        (9, 5, 2, WIDE, {1: M, 4: M, 7: U, 0: U}),
        (10, 6, 2, SMALL, {2: S, 9: M}),
    ],
)
def test_run(n: int, t: int, suite: int, fmt: FixedPoint | Integers, drops: dict[int, str]) -> None:
    p, inputs, r = execute(n, t, suite, fmt, drops)
    gone = {step: {u for u in drops if drops[u] == step} for step in (A, S, M, U)}
    u1 = set(range(n)) - gone[A]
    assert (r.u1, r.u2) == (sorted(u1), sorted(u1 - gone[S]))
    assert r.u3 == sorted(u1 - gone[S] - gone[M])
    assert {u for u, name in r.sent if name == U} == set(r.u3) - gone[U]
    assert r.failed is None
    field = a.prime(p.field_bits)
    assert r.field_sum == [sum(column) for column in zip(*r.encoded.values(), strict=True)]
    assert max(r.field_sum) < field
    for u, v in itertools.combinations(r.u3, 2):  # masks cancel in pairs, and are not zero
        assert r.pairwise[u][v] == [-x for x in r.pairwise[v][u]]
        assert any(r.pairwise[u][v])
    assert r.total is not None
    plain = [inputs[u] for u in r.u3]
    if isinstance(fmt, Integers):
        assert r.total == [sum(x[i] for x, _ in plain) for i in range(7)]
        assert r.mean is None
        return
    assert r.mean is not None
    weights = sum(w for _, w in plain)
    if fmt.max_weight > 1:
        assert r.field_sum[-1] == weights
    step = 2 * fmt.clip / (2**fmt.bits - 1)
    for i in range(7):
        total = sum(w * min(max(x[i], -fmt.clip), fmt.clip) for x, w in plain)
        assert r.total[i] == pytest.approx(total, abs=step * weights)
        assert r.mean[i] == pytest.approx(total / weights, abs=step)


@pytest.mark.parametrize(
    ("drops", "least", "failed"),
    [
        ({0: A, 1: A, 2: A}, 0, "u1"),
        ({0: A, 1: S, 2: S}, 0, "u2"),
        ({0: A, 1: S, 2: M}, 0, "u3"),
        ({0: M, 1: M}, 4, "u3"),
        ({0: U, 1: U, 2: M}, 0, "unmask"),
    ],
)
def test_too_few(drops: dict[int, str], least: int, failed: str) -> None:
    _, _, r = execute(5, 3, 1, SMALL, drops, least)
    assert (r.failed, r.field_sum, r.total, r.mean) == (failed, None, None, None)


def test_lengths_of_messages() -> None:
    p, _, r = execute(9, 5, 1, FIXED, {0: A, 3: S, 8: M})
    assert {name: len(message) for (_, name), message in r.sent.items()} == {
        A: 20 + 96,
        S: 20 + 64 + 7 * 62,
        M: 20 + 32 + (7 * p.field_bits + 7) // 8 + 16,
        U: 20 + 2 + 7 * 23,
    }
    assert {name: len(message) for (_, name), message in r.received.items()} == {
        "roster": 20 + 2 + 8 * 64,
        "delivery": 20 + 2 + 6 * 62,
        "survivors": 20 + 2,
    }
