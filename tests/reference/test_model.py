"""The reference model against known answers, and whole runs of it against plain sums."""

import hashlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from support import looped

from . import arithmetic as a
from . import graph, noise, rotated
from .protocol import (
    FixedPoint,
    Input,
    Integers,
    Parameters,
    Party,
    Random,
    Rotated,
    Run,
    Session,
    bitmap,
    hashed,
    run,
    sign,
    u32,
    verify_key,
)

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


def test_ed25519_of_rfc8032() -> None:  # section 7.1, test 1
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert verify_key(seed).hex() == public
    assert sign(seed, b"")[:8].hex() == "e5564300c360ac72"


@looped("case", KNOWN["stream"])
def test_stream(case: dict[str, Any]) -> None:
    want = bytes.fromhex(case["bytes"])
    key, at = bytes.fromhex(case["key"]), (int(case["nonce"]), int(case["counter"]))
    assert a.stream(SUITES[case["suite"]], key, *at, len(want)) == want


@looped("case", KNOWN["mask"])
def test_mask(case: dict[str, Any]) -> None:
    suite, key, bits = SUITES[case["suite"]], bytes.fromhex(case["key"]), case["bits"]
    start, want = int(case["start"]), ints(case["values"])
    assert a.mask(suite, key, bits, start, len(want)) == want
    first = a.words(suite, key, 0, 4 if bits <= 32 else 8, start, len(want))
    rejected = [i for i, w in enumerate(first, start) if w % 2**bits >= a.prime(bits)]
    assert rejected == [int(i) for i in case["rejected"]]


@looped("case", KNOWN["pack"])
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


@looped("case", KNOWN["skellam"])
def test_skellam(case: dict[str, Any]) -> None:
    suite, key, want = SUITES[case["suite"]], bytes.fromhex(case["key"]), ints(case["values"])
    thresholds = [int(threshold, 16) for threshold in case["thresholds"]]
    assert thresholds == [noise.UNIT - tail for tail in noise.tails(int(case["variance"]))]
    samples = noise.skellam(suite, key, thresholds, len(want))
    assert [sample % a.prime(case["bits"]) for sample in samples] == want


@looped("case", KNOWN["gaussian"])
def test_gaussian(case: dict[str, Any]) -> None:
    suite, key, want = SUITES[case["suite"]], bytes.fromhex(case["key"]), ints(case["values"])
    gaussian = noise.Gaussian(suite, key, int(case["variance"]))
    assert [gaussian.sample() % a.prime(case["bits"]) for _ in want] == want


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


def rotated_format(**changed: Any) -> Rotated:
    """Format 3 without noise, with other fields."""
    fields: dict[str, Any] = {"clip": 4.0, "scale": 2.0, "bound": 0, "peak": 15, "tail": 0}
    fields |= {"noise": 0, "variance": 0, "rotation": 0, "slots": 1, "max_weight": 1}
    return Rotated(**{**fields, **changed})


def test_rotated_parameters() -> None:
    f = Rotated(1.0, 2.0, 3, 4, 5, 1, 6, 1, 7, 8)
    want = "03" + "000000000000f03f" + "0000000000000040" + "0300000000000000" + "04000000"
    want += "0500000000000000" + "01" + "0600000000000000" + "01" + "07" + "08000000"
    assert (f.encode().hex(), len(f.encode())) == (want, 52)
    for f, length, bits in (
        (rotated_format(slots=3), 3, 18),  # 3 * 15 has 6 binary digits
        (rotated_format(slots=3, max_weight=2), 4, 18),
        (rotated_format(slots=2, max_weight=2**20), 5, 22),  # the weight is the largest
        (rotated_format(noise=1, bound=64, tail=2**20 - 48), 7, 22),  # 2^21 is not below p(21)
        (rotated_format(noise=1, bound=64, tail=2**20 - 56), 7, 21),  # p(21) = 2^21 - 9
    ):
        p = Parameters(1, 0, 3, 2, 3, 1, 7, f)
        assert (p.vector_length, p.field_bits) == (length, bits)


def test_conditions_on_rotated() -> None:
    noisy = {"noise": 1, "bound": 64, "peak": 15, "tail": 40, "variance": 2**16}
    for changed, allowed in (
        ({}, True),
        ({"peak": 2**16 - 1, "slots": 62}, True),
        ({"bound": 1}, False),
        ({"max_weight": 0}, False),
        (noisy, True),
        ({**noisy, "noise": 2}, True),
        ({**noisy, "noise": 3}, False),
        ({**noisy, "bound": 63}, False),
        ({**noisy, "slots": 2}, False),
        ({**noisy, "tail": 10}, False),
    ):
        assert rotated.is_allowed(rotated_format(**changed), 3, 7) == allowed, changed
    # For a large variance both are the tail of the normal distribution.
    for kind in (1, 2):
        f = rotated_format(noise=kind, tail=6 * 2**20, variance=2**56)
        bound = rotated.beyond_the_tail(f, 1, 1)
        assert float(bound) == pytest.approx(2 * math.exp(-18), rel=1e-4)


def test_rotation_by_hand() -> None:
    session, m = b"s" * 16, 5
    bits = a.stream(1, hashed("rotation", session), 0, 0, 1)
    again = a.stream(1, hashed("rotation", session), 1, 0, 1)
    first, second = ([1 - 2 * (data[0] >> i & 1) for i in range(m)] for data in (bits, again))
    x = [1.0, -2.0, 4.0, 0.5, 8.0]
    s, t, u, v, w = (q * sign for q, sign in zip(x, first, strict=True))
    y = [(s + t + u + v) / 2, (s - t + u - v) / 2, (s + t - u - v) / 2, (s - t - u + v) / 2, w]
    r, s, t, u, v = (q * sign for q, sign in zip(y, second, strict=True))
    want = [r, (s + t + u + v) / 2, (s - t + u - v) / 2, (s + t - u - v) / 2, (s - t - u + v) / 2]
    assert rotated.rotate(x, 1, session) == want
    for m in (1, 4, 5, 16, 20):
        x = [float(i * i % 7 - 3) for i in range(m)]
        turned = rotated.rotate(x, 2, session)
        assert rotated.rotate_back(turned, 2, session) == x
        assert sum(v * v for v in turned) == sum(v * v for v in x)


def test_digits_of_rotated() -> None:
    f = rotated_format(slots=3)
    assert rotated.together(f, 3, [1, 2, 3, 4]) == [1 + 2 * 64 + 3 * 64**2, 4]
    assert rotated.apart(f, 3, [1 + 2 * 64 + 3 * 64**2, 4]) == [1, 2, 3, 4, 0, 0]
    p = Parameters(1, 0, 3, 2, 3, 1, 4, f)
    assert p.possible([45 + 45 * 64 + 45 * 64**2, 45], 3)
    for elements in ([46, 0], [46 * 64, 0], [46 * 64**2, 0], [0, 64], [1 << 18, 0]):
        assert not p.possible(elements, 3)
    assert p.decode_sum([45 + 22 * 64, 23], 3) == (
        [11.25, -0.25, -11.25, 0.25],
        [3.75, -1 / 12, -3.75, 1 / 12],
    )
    noisy = Parameters(1, 0, 3, 2, 3, 1, 2, rotated_format(noise=1, bound=64, tail=40))
    assert [noisy.possible([q % 65521, 0], 3) for q in (85, 86, -85, -86)] == [True, False] * 2
    assert noisy.decode_sum([7, 65518], 3)[0] == [3.5, -1.5]


def tape(seed: str) -> Random:
    """A deterministic source: successive parts of SHAKE-256(seed)."""
    data = iter(hashlib.shake_256(seed.encode()).digest(4096))
    return lambda n: bytes(itertools.islice(data, n))


FIXED, WEIGHTED = FixedPoint(2.0, 12, 1), FixedPoint(0.75, 20, 100)
SMALL, WIDE = Integers(-5, 1000), Integers(-(2**40), 2**58)
A, S, M, C, U = "advertise keys", "share keys", "masked input", "consistency", "unmask"
IDENTITIES = {u: hashlib.sha256(b"identity %d" % u).digest() for u in range(10)}
PINNED = [verify_key(IDENTITIES[u]) for u in range(10)]


def execute(
    n: int,
    t: int,
    suite: int,
    fmt: FixedPoint | Integers,
    drops: dict[int, str],
    least: int = 0,
    mode: int = 0,
    degree: int = 0,
) -> tuple[Parameters, dict[int, Input], Run]:
    p = Parameters(suite, mode, n, t, max(least, t), 1, 7, fmt, degree)
    inputs: dict[int, Input] = {}
    for u in range(n):
        draw = [int.from_bytes(hashlib.sha256(b"%d,%d" % (u, i)).digest()) for i in range(7)]
        if isinstance(fmt, FixedPoint):
            weight = 1 + draw[0] % fmt.max_weight
            inputs[u] = ([(d % 10001 - 5000) / 4000 * fmt.clip for d in draw], weight)
        else:
            inputs[u] = ([fmt.low + d % (fmt.high - fmt.low + 1) for d in draw], 1)
    seeds = {u: tape(f"party {u}") for u in range(n)}
    return p, inputs, run(p, b"s" * 16, b"c" * 32, inputs, seeds, drops, IDENTITIES)


@pytest.mark.parametrize(
    ("mode", "n", "t", "suite", "fmt", "drops"),
    [
        (0, 3, 2, 1, SMALL, {}),
        (0, 3, 2, 2, FIXED, {1: U}),
        (0, 3, 2, 1, WIDE, {0: M}),
        (0, 5, 3, 2, WEIGHTED, {4: A, 0: M}),
        (0, 5, 3, 1, WEIGHTED, {2: S, 3: U}),
        (0, 5, 3, 1, SMALL, {1: C, 3: U}),
        (0, 9, 5, 1, FIXED, {0: A, 3: S, 8: M, 5: U}),
        (0, 9, 5, 2, WIDE, {1: M, 4: M, 7: U, 0: U}),
        (0, 10, 6, 2, SMALL, {2: S, 9: M}),
        (1, 3, 3, 1, SMALL, {}),
        (1, 5, 4, 2, FIXED, {3: A}),
        (1, 5, 4, 1, WIDE, {0: S}),
        (1, 5, 4, 1, WEIGHTED, {4: M}),
        (1, 5, 4, 2, WEIGHTED, {2: C}),
        (1, 5, 4, 2, SMALL, {1: U}),
        (1, 9, 7, 1, FIXED, {0: M, 8: C}),
        (1, 10, 7, 2, WIDE, {1: A, 4: S, 9: U}),
        (1, 10, 7, 1, WEIGHTED, {3: M, 0: C, 5: U}),
    ],
)
def test_run(
    mode: int, n: int, t: int, suite: int, fmt: FixedPoint | Integers, drops: dict[int, str]
) -> None:
    p, inputs, r = execute(n, t, suite, fmt, drops, mode=mode)
    gone = {step: {u for u in drops if drops[u] == step} for step in (A, S, M, C, U)}
    u1 = set(range(n)) - gone[A]
    assert (r.u1, r.u2) == (sorted(u1), sorted(u1 - gone[S]))
    assert r.u3 == sorted(u1 - gone[S] - gone[M])
    signers = set(r.u3) - gone[C]
    assert {u for u, name in r.sent if name == C} == (signers if mode else set())
    assert {u for u, name in r.received if name == "signatures"} == (signers if mode else set())
    assert {u for u, name in r.sent if name == U} == signers - gone[U]
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
    ("mode", "drops", "least", "failed"),
    [
        (0, {0: A, 1: A, 2: A}, 0, "u1"),
        (0, {0: A, 1: S, 2: S}, 0, "u2"),
        (0, {0: A, 1: S, 2: M}, 0, "u3"),
        (0, {0: M, 1: M}, 4, "u3"),
        (0, {0: U, 1: U, 2: M}, 0, "unmask"),
        (1, {0: A, 1: A}, 0, "u1"),
        (1, {0: A, 1: S}, 0, "u2"),
        (1, {0: S, 1: M}, 0, "u3"),
        (1, {0: M, 1: C}, 0, "consistency"),
        (1, {0: M}, 5, "u3"),
        (1, {0: C, 1: U}, 0, "unmask"),
    ],
)
def test_too_few(mode: int, drops: dict[int, str], least: int, failed: str) -> None:
    _, _, r = execute(5, 4 if mode else 3, 1, SMALL, drops, least, mode)
    assert (r.failed, r.field_sum, r.total, r.mean) == (failed, None, None, None)
    assert (r.h3 is None) == (failed in {"u1", "u2", "u3"})
    assert any(name == U for _, name in r.sent) == (failed == "unmask")


def test_signatures_and_transcript() -> None:
    p, _, r = execute(10, 7, 1, SMALL, {4: S, 9: C}, mode=1)
    h0 = hashed("h0", b"\1", hashed("params", p.encode()), b"s" * 16, b"c" * 32, b"".join(PINNED))
    h1 = hashed("h1", h0, bitmap(range(10), 10), r.received[0, "roster"][22:])
    h2 = hashed("h2", h1, bitmap({*range(10)} - {4}, 10))
    h3 = hashed("h3", h2, bitmap({*range(10)} - {4}, 10))
    assert (r.h0, r.h1, r.h2, r.h3) == (h0, h1, h2, h3)
    for (u, name), message in r.sent.items():
        body, signature = message[20:-64], message[-64:]
        digest = {
            A: hashed("advertise keys", h0, u32(u), body[32:]),
            M: hashed("input checksum", h2, u32(u), body[32:]),
            C: hashed("consistency", h3),
        }.get(name)
        if digest is not None:
            Ed25519PublicKey.from_public_bytes(PINNED[u]).verify(signature, digest)
    entries = b"".join(r.sent[u, A][52:] for u in range(10))
    assert r.received[0, "roster"][20:] == bitmap(range(10), 10) + entries
    signers = [u for u in range(9) if u != 4][:7]
    signatures = b"".join(r.sent[u, C][20:] for u in signers)
    assert r.received[0, "signatures"][20:] == bitmap(signers, 10) + signatures


def test_a_party_refuses_signatures() -> None:
    p, inputs, r = execute(5, 4, 1, SMALL, {}, mode=1)
    party = Party(Session(p, b"s" * 16, b"c" * 32, PINNED[:5]), 0, tape("party 0"), IDENTITIES[0])
    party.advertise_keys()
    party.share_keys(r.received[0, "roster"])
    party.masked_input(r.received[0, "delivery"], *inputs[0])
    party.consistency(r.received[0, "survivors"])
    good = r.received[0, "signatures"]
    head, first, second, rest = good[:21], good[21:85], good[85:149], good[149:]
    three = good[:20] + bitmap(range(3), 5) + good[21:213]
    for bad in (head + second + first + rest, head + bytes(64) + second + rest):
        with pytest.raises(ValueError, match="not valid"):
            party.unmask(bad)
    for bad, why in ((three, "too few"), (good[:-1], "too short"), (good + b"\0", "follow")):
        with pytest.raises(ValueError, match=why):
            party.unmask(bad)
    assert party.unmask(good) == r.sent[0, U]


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


def test_lengths_of_messages_in_malicious_mode() -> None:
    p, _, r = execute(10, 7, 1, FIXED, {3: S, 8: M, 0: C}, mode=1)
    assert {name: len(message) for (_, name), message in r.sent.items()} == {
        A: 20 + 32 + 128,
        S: 20 + 64 + 9 * 62,
        M: 20 + 32 + (7 * p.field_bits + 7) // 8 + 64,
        C: 20 + 64,
        U: 20 + 2 + 9 * 23,
    }
    assert {name: len(message) for (_, name), message in r.received.items()} == {
        "roster": 20 + 2 + 10 * 128,
        "delivery": 20 + 2 + 8 * 62,
        "survivors": 20 + 2,
        "signatures": 20 + 2 + 7 * 64,
    }
    for name, kind in ((C, 0x04), (U, 0x05)):
        assert r.sent[1, name][:20] == b"SA\1" + bytes([kind]) + b"s" * 16
    assert r.received[1, "signatures"][:20] == b"SA\1\x14" + b"s" * 16


def test_sparse_parameters() -> None:
    p = Parameters(2, 2, 8, 3, 6, 1, 5, Integers(-1, 2), 4)
    want = "0202" + "0800000003000000" + "0600000001000000" + "04000000" + "0500000000000000"
    assert p.encode().hex() == want + "02" + "ff" * 8 + "02" + "00" * 7
    assert (p.quorum, Parameters(2, 0, 8, 7, 6, 1, 5, Integers(-1, 2)).quorum) == (6, 7)
    assert graph.sparse_is_allowed(100, 6, 95, 5, 12)
    for n, t, least, c, k in (
        (100, 5, 95, 5, 12),  # five colluders among twelve neighbours are too likely
        (100, 6, 60, 5, 12),  # so many that vanish may cut the ring
        (100, 6, 95, 20, 12),
        (100, 6, 95, 5, 11),
        (100, 13, 95, 5, 12),
        (13, 6, 11, 0, 12),
        (6, 2, 2, 1, 4),
    ):
        assert not graph.sparse_is_allowed(n, t, least, c, k)


@pytest.mark.parametrize("suite", sorted(a.GENERATORS))
@pytest.mark.parametrize(("n", "k"), [(4, 2), (7, 4), (20, 4)])
def test_the_ring_of_neighbours(suite: int, n: int, k: int) -> None:
    key = hashed("graph", bytes([n, k]))
    near = graph.ring_neighbours(suite, key, n, k)
    data = a.stream(suite, key, 0, 0, 8 * n)
    ring = sorted(range(n), key=lambda u: int.from_bytes(data[8 * u : 8 * u + 8], "little"))
    for at, u in enumerate(ring):
        next_ones = {ring[(at + step) % n] for step in range(-k // 2, k // 2 + 1)} - {u}
        assert near[u] == next_ones
        assert len(next_ones) == k
    assert len(graph.pieces(range(n), near)) == 1


def test_pieces() -> None:
    path = [{1}, {0, 2}, {1, 3}, {2}]
    assert graph.pieces([0, 1, 3], path) == [{0, 1}, {3}]
    assert graph.pieces([0, 1, 2, 3], path) == [{0, 1, 2, 3}]
    assert graph.pieces([], path) == []


@pytest.mark.parametrize("suite", sorted(a.GENERATORS))
def test_run_on_a_sparse_graph(suite: int) -> None:
    drops = {3: A, 7: S, 1: M, 10: U}
    p, inputs, r = execute(12, 2, suite, SMALL, drops, 9, 2, 6)
    near = Session(p, b"s" * 16, b"c" * 32).graph()
    u1, u2, u3 = set(range(12)) - {3}, set(range(12)) - {3, 7}, set(range(12)) - {1, 3, 7}
    assert (r.u1, r.u2, r.u3) == (sorted(u1), sorted(u2), sorted(u3))
    assert r.total == [sum(inputs[u][0][i] for u in u3) for i in range(7)]
    assert r.aborts == {}
    assert r.h1 is not None
    entries = {u: r.sent[u, A][52:] for u in u1}
    assert r.h1 == hashed("h1", r.h0, bitmap(u1, 12), b"".join(entries[u] for u in sorted(u1)))
    for u in u3:
        listed = b"".join(entries[v] for v in sorted(u1 & {u, *near[u]}))
        assert r.received[u, "roster"][20:] == bitmap(u1, 12) + r.h1 + listed
        held = bitmap(u1 & {u, *near[u]}, 12)
        assert r.sent[u, S][20:52] == hashed("roster", r.h1, held, listed)
        assert len(r.sent[u, S]) == 20 + 64 + len(u1 & near[u]) * 62
        assert len(r.received[u, "delivery"]) == 20 + 2 + len(u2 & near[u]) * 62
        assert r.pairwise[u].keys() == u2 & near[u]
        if u != 10:
            assert len(r.sent[u, U]) == 20 + 2 + len(u2 & {u, *near[u]}) * 23


def test_rounds_that_the_graph_ends() -> None:
    """A ring of twelve: without both neighbours of 0 it stands alone, and U3 is in two pieces."""
    p, _, _ = execute(12, 2, 1, SMALL, {}, 2, 2, 2)
    near = Session(p, b"s" * 16, b"c" * 32).graph()
    left, right = near[0]
    _, _, pieces = execute(12, 2, 1, SMALL, {left: M, right: M}, 2, 2, 2)
    assert (pieces.failed, pieces.aborts, pieces.h3) == ("graph", {}, None)
    _, _, unheld = execute(12, 2, 1, SMALL, {0: M, left: M}, 2, 2, 2)
    assert (unheld.failed, unheld.aborts) == ("graph", {})
    _, _, alone = execute(12, 2, 1, SMALL, {left: A, right: A}, 2, 2, 2)
    assert alone.aborts == {0: "too few of this party's holders are left"}
    assert alone.u2 == sorted(set(range(1, 12)) - {left, right})
    assert alone.failed is None
