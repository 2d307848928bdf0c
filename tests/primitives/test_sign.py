"""Ed25519 against RFC 8032 and OpenSSL, and the refusal of weak keys and altered signatures."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from support import looped

from secagg.primitives.agreement import WeakKeyError
from secagg.primitives.sign import (
    SEED_BYTES,
    SIGNATURE_BYTES,
    VERIFY_KEY_BYTES,
    check_verify_key,
    sign,
    verify,
    verify_key,
)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P  # of the curve -x^2 + y^2 = 1 + d x^2 y^2

# RFC 8032, section 7.1: seed, verify key, message, signature (tests 1, 2, 3 and SHA(abc)).
VECTORS = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]
SEED = bytes(range(32))
KEY = verify_key(SEED)
MESSAGE = b"a message"
SIGNATURE = sign(SEED, MESSAGE)


def encoded(y: int, sign_bit: int = 0) -> bytes:
    return (y | sign_bit << 255).to_bytes(32, "little")


def x_of(y: int) -> int | None:
    """An x with this y on the curve, if there is one."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return x if x * x % P == square else None


def times_eight(x: int, y: int) -> tuple[int, int]:
    """Eight times a point, by the affine addition law (RFC 8032, section 5.1.4)."""
    for _ in range(3):
        product = D * x * x * y * y % P
        x, y = (
            2 * x * y * pow(1 + product, -1, P) % P,
            (y * y + x * x) * pow(1 - product, -1, P) % P,
        )
    return x, y


# y of the points of order 8: one of the four; the others are its negatives.
ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
LOW_ORDER = [1, P - 1, 0, ORDER_8, P - ORDER_8]


# ---- RFC 8032 -----------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "key", "message", "signature"), VECTORS)
def test_rfc_8032(seed: str, key: str, message: str, signature: str) -> None:
    """Section 7.1: the verify key, the signature, and that it verifies."""
    assert verify_key(bytes.fromhex(seed)).hex() == key
    assert sign(bytes.fromhex(seed), bytes.fromhex(message)).hex() == signature
    assert verify(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature))
    check_verify_key(bytes.fromhex(key))


def test_sizes() -> None:
    assert (SEED_BYTES, VERIFY_KEY_BYTES, SIGNATURE_BYTES) == (32, 32, 64)
    assert (len(SEED), len(KEY), len(SIGNATURE)) == (32, 32, 64)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_openssl(seed: bytes, message: bytes) -> None:
    """Any seed and message: OpenSSL's key and signature, each verified by the other."""
    oracle = Ed25519PrivateKey.from_private_bytes(seed)
    assert verify_key(seed) == oracle.public_key().public_bytes_raw()
    assert sign(seed, message) == oracle.sign(message)
    assert verify(verify_key(seed), message, oracle.sign(message))
    check_verify_key(verify_key(seed))


# ---- altered ------------------------------------------------------------------------------


def flipped(data: bytes, bit: int) -> bytes:
    out = bytearray(data)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def test_every_altered_bit_fails() -> None:
    """Of the key, the message and the signature."""
    assert verify(KEY, MESSAGE, SIGNATURE)
    assert not any(verify(flipped(KEY, bit), MESSAGE, SIGNATURE) for bit in range(256))
    assert not any(verify(KEY, MESSAGE, flipped(SIGNATURE, bit)) for bit in range(512))
    bits = range(8 * len(MESSAGE))
    assert not any(verify(KEY, flipped(MESSAGE, bit), SIGNATURE) for bit in bits)


def test_no_second_encoding_of_s() -> None:
    """S + kL solves the same equation; only S < L is a signature."""
    s = int.from_bytes(SIGNATURE[32:], "little")
    assert s < L
    for k in range(1, 2**256 // L + 1):
        if s + k * L < 2**256:
            assert not verify(KEY, MESSAGE, SIGNATURE[:32] + (s + k * L).to_bytes(32, "little"))


def test_wrong_lengths_are_false() -> None:
    """Bytes cut from or moved between signature and message do not verify, nor raise."""
    for length in range(80):
        if length != 64:
            assert not verify(KEY, MESSAGE, (SIGNATURE + MESSAGE + bytes(80))[:length])
        if length != 32:
            assert not verify((KEY + bytes(80))[:length], MESSAGE, SIGNATURE)
    assert not verify(KEY, MESSAGE[1:], SIGNATURE + MESSAGE[:1])
    assert not verify(KEY, SIGNATURE[63:] + MESSAGE, SIGNATURE[:63])


@given(st.binary(max_size=70), st.binary(max_size=70), st.binary(max_size=130))
def test_verify_never_raises(key: bytes, message: bytes, signature: bytes) -> None:
    assert not verify(key, message, signature)
    assert not verify((key + bytes(32))[:32], message, (signature + bytes(64))[:64])


@pytest.mark.parametrize("y", LOW_ORDER)
def test_signatures_under_keys_of_low_order_are_refused(y: int) -> None:
    """Under the neutral element R = S = "0" would fit every message."""
    for key in (encoded(y), encoded(y, 1)):
        for signature in (encoded(1) + bytes(32), encoded(y) + bytes(32)):
            assert not any(verify(key, bytes([m]), signature) for m in range(16))


# ---- weak keys ----------------------------------------------------------------------------


def test_the_list_is_of_low_order() -> None:
    """Eight times each is the neutral element; of the base point it is not."""
    for y in LOW_ORDER:
        x = x_of(y)
        assert x is not None
        assert times_eight(x, y) == (0, 1)
    base = 4 * pow(5, -1, P) % P
    assert times_eight(x_of(base) or 0, base) != (0, 1)


@looped("y", [y for base in LOW_ORDER for y in (base, base + P) if y < 2**255])
@looped("sign_bit", [0, 1])
def test_low_order_keys_are_refused(y: int, sign_bit: int) -> None:
    """In every encoding."""
    with pytest.raises(WeakKeyError):
        check_verify_key(encoded(y, sign_bit))


@looped("small", range(19))
def test_keys_that_are_not_canonical_are_refused(small: int) -> None:
    """y and y + p are one point: every second encoding that there is."""
    for sign_bit in (0, 1):
        with pytest.raises(WeakKeyError):
            check_verify_key(encoded(P + small, sign_bit))


def test_keys_outside_the_prime_order_group_are_refused() -> None:
    """An honest key plus a point of order 2 or 8: canonical, on the curve, not of low order."""
    for y in (P - 1, ORDER_8):
        mixed = bindings.crypto_core_ed25519_add(KEY, encoded(y))
        Ed25519PublicKey.from_public_bytes(mixed)
        with pytest.raises(WeakKeyError):
            check_verify_key(mixed)


def test_what_is_no_point_is_refused() -> None:
    refused = 0
    for y in range(2, 40):
        if x_of(y) is None:
            refused += 1
            with pytest.raises(WeakKeyError):
                check_verify_key(encoded(y))
    assert refused > 10


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_keys_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(WeakKeyError):
        check_verify_key((KEY + KEY)[:length])


@given(st.binary(min_size=32, max_size=32))
def test_accepted_keys_are_points(key: bytes) -> None:
    """Of any 32 bytes: what is accepted, OpenSSL can use, and it is the point's only encoding."""
    try:
        check_verify_key(key)
    except WeakKeyError:
        return
    with pytest.raises(InvalidSignature):
        Ed25519PublicKey.from_public_bytes(key).verify(bytes(64), b"")
    y = int.from_bytes(key, "little") % 2**255
    assert y < P
    assert x_of(y) is not None
