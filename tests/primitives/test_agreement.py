"""X25519 against RFC 7748 and OpenSSL, and the refusal of every weak public key."""

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import assume, given
from hypothesis import strategies as st
from nacl import bindings
from support import looped

from secagg.primitives.agreement import (
    PUBLIC_KEY_BYTES,
    SECRET_KEY_BYTES,
    WeakKeyError,
    agree,
    check_public_key,
    public_key,
)

P = 2**255 - 19
A = 486662  # of the curve v^2 = u^3 + A u^2 + u
SECRETS = [bytes([k]) * 32 for k in (0, 1, 7, 127, 255)]

# RFC 7748, section 5.2: scalar, u-coordinate, result.
SCALAR_MULTIPLICATIONS = [
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]

# Section 6.1: Alice's and Bob's keys, and what they share.
ALICE = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"
ALICE_PUBLIC = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
BOB = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
BOB_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
SHARED = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"

# https://cr.yp.to/ecdh.html, "How do I validate Curve25519 public keys?": all twelve of them.
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
    P + 325606250916557431795983626356110631294008115727848805560023387167927233504,
    P + 39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2 * P - 1,
    2 * P,
    2 * P + 1,
]


def encoded(u: int) -> bytes:
    return u.to_bytes(32, "little")


def doubled(x: int, z: int) -> tuple[int, int]:
    """Twice the point with u = x / z (RFC 7748's doubling)."""
    square, other = (x + z) ** 2 % P, (x - z) ** 2 % P
    e = square - other
    return square * other % P, e * (other + (A + 2) // 4 * e) % P


def of_low_order(u: int) -> bool:
    """Returns whether eight times the point is the neutral element."""
    point = (u % P, 1)
    for _ in range(3):
        point = doubled(*point)
    return point[1] == 0


# -- RFC 7748 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("scalar", "u", "result"), SCALAR_MULTIPLICATIONS)
def test_scalar_multiplication(scalar: str, u: str, result: str) -> None:
    """The two products of section 5.2."""
    assert agree(bytes.fromhex(scalar), bytes.fromhex(u)).hex() == result


def test_a_thousand_iterations() -> None:
    """Section 5.2: the result becomes the scalar, the scalar the point, a thousand times."""
    k = u = encoded(9)
    for i in range(1000):
        k, u = agree(k, u), k
        if i == 0:
            assert k.hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert k.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_diffie_hellman() -> None:
    """Section 6.1: both public keys, and both sides' shared secret."""
    alice, bob = bytes.fromhex(ALICE), bytes.fromhex(BOB)
    assert public_key(alice).hex() == ALICE_PUBLIC
    assert public_key(bob).hex() == BOB_PUBLIC
    assert agree(alice, public_key(bob)).hex() == SHARED
    assert agree(bob, public_key(alice)).hex() == SHARED
    check_public_key(public_key(alice))
    check_public_key(public_key(bob))
    assert (PUBLIC_KEY_BYTES, SECRET_KEY_BYTES) == (32, 32)


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_openssl(mine: bytes, theirs: bytes) -> None:
    """Any two secret keys: OpenSSL's public keys and OpenSSL's shared secret."""
    key = X25519PrivateKey.from_private_bytes(mine)
    peer = X25519PrivateKey.from_private_bytes(theirs).public_key()
    assert public_key(mine) == key.public_key().public_bytes_raw()
    check_public_key(peer.public_bytes_raw())
    assert agree(mine, peer.public_bytes_raw()) == key.exchange(peer)


@given(st.binary(min_size=32, max_size=32), st.integers(2, P - 2))
def test_openssl_on_any_point(secret: bytes, u: int) -> None:
    """Any canonical u, points of the twist included."""
    assume(u not in LOW_ORDER)
    wanted = X25519PrivateKey.from_private_bytes(secret).exchange(
        X25519PublicKey.from_public_bytes(encoded(u))
    )
    check_public_key(encoded(u))
    assert agree(secret, encoded(u)) == wanted


# -- weak keys --------------------------------------------------------------------------------


def test_the_list_is_of_low_order_and_other_points_are_not() -> None:
    """The literature's list, checked by doubling three times; no small u was forgotten."""
    assert all(of_low_order(u) for u in LOW_ORDER)
    assert [u for u in range(2000) if of_low_order(u)] == [0, 1]
    assert not of_low_order(9)
    assert len({u % P for u in LOW_ORDER}) == 5


def test_the_list_is_complete() -> None:
    """All solutions of 8P = O, by taking the doubling formula back three times.

    With u' = (u^2 - 1)^2 / (4u (u^2 + A u + 1)): u' is infinite for u = 0 only, as A^2 - 4 is no
    square; it is 0 for u = 1 and u = -1. It is c = 1 or -1 where, after division by u^2 and with
    w = u + 1/u, (w - 2c)^2 = 8 + 4cA.
    """
    assert square_roots((A * A - 4) % P) == []
    found = {0, 1, P - 1}
    for c in (1, -1):
        for root in square_roots((8 + 4 * c * A) % P):
            w = (2 * c + root) % P
            for half in square_roots((w * w - 4) % P):  # u^2 - w u + 1 = 0
                found.add((w + half) * pow(2, -1, P) % P)
    assert found == {u % P for u in LOW_ORDER}


def square_roots(n: int) -> list[int]:
    """Both square roots modulo p, p being 5 modulo 8; none of a non-square."""
    x = pow(n, (P + 3) // 8, P)
    for candidate in (x, x * pow(2, (P - 1) // 4, P) % P):
        if candidate * candidate % P == n:
            return [candidate, -candidate % P]
    return []


@looped("u", LOW_ORDER)
@looped("top", [0, 1 << 255])
def test_low_order_keys_are_refused(u: int, top: int) -> None:
    """All twelve encodings, with the top bit clear and set: before and by the agreement."""
    key = encoded((u | top) % 2**256)
    with pytest.raises(WeakKeyError):
        check_public_key(key)
    for secret in SECRETS:
        if of_low_order((u | top) % 2**255):  # the agreement ignores the top bit
            with pytest.raises(WeakKeyError, match="zero"):
                agree(secret, key)


@looped("u", range(P, 2**255))
def test_every_second_encoding_is_refused(u: int) -> None:
    """The nineteen values from p to 2^255 - 1."""
    for key in (encoded(u), encoded(u | 1 << 255)):
        with pytest.raises(WeakKeyError, match="canonical"):
            check_public_key(key)


@given(st.integers(0, 2**255 - 1))
def test_the_top_bit_is_refused(u: int) -> None:
    """No key has a second encoding by its unused bit."""
    with pytest.raises(WeakKeyError, match="canonical"):
        check_public_key(encoded(u | 1 << 255))


def test_the_borders_of_the_canonical_keys() -> None:
    """2 and p - 2 are good keys; 1, p - 1 and p are not."""
    for good in (2, 9, P - 2):
        check_public_key(encoded(good))
    for bad in (0, 1, P - 1, P):
        with pytest.raises(WeakKeyError):
            check_public_key(encoded(bad))


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_other_lengths_are_refused(length: int) -> None:
    """A key has 32 bytes."""
    with pytest.raises(WeakKeyError):
        check_public_key(bytes([9]) * length)


def test_a_zero_result_is_refused_whatever_the_library_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not every libsodium refuses by itself: the result is looked at."""
    monkeypatch.setattr(bindings, "crypto_scalarmult", lambda secret, peer: bytes(32))
    with pytest.raises(WeakKeyError, match="zero"):
        agree(SECRETS[1], encoded(9))
