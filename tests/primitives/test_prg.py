"""Keystreams against their standards, OpenSSL and the reference model's block functions."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from reference.arithmetic import GENERATORS
from support import UNKNOWN_GENERATOR, each_kernel, implementations, looped

from secagg import RangeError, Suite
from secagg.arithmetic.binding import ffi, lib
from secagg.primitives.prg import stream

VECTORS = Path(__file__).parents[1] / "vectors" / "arithmetic_vectors.json"
KNOWN: list[dict[str, Any]] = json.loads(VECTORS.read_text())["stream"]
SUITES = {"aes256ctr": Suite.AES256CTR, "chacha20": Suite.CHACHA20}
AES, CHACHA = Suite.AES256CTR.generator, Suite.CHACHA20.generator
KEY = bytes(range(100, 132))

# SP 800-38A, the key and plaintext of all AES-256 examples.
NIST_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
NIST_PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
# F.5.5, CTR-AES256.Encrypt, from the initial counter block f0f1...feff.
NIST_CTR = bytes.fromhex(
    "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
)
# F.1.5, ECB-AES256.Encrypt: any cipher block is a block of some counter stream.
NIST_ECB = bytes.fromhex(
    "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"
    "b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7"
)

# RFC 8439: key, block counter, nonce, keystream. 2.3.2, and A.1 one to five.
RFC8439 = {
    "2.3.2": (
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        1,
        "000000090000004a00000000",
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
    ),
    "A.1 #1": (
        "00" * 32,
        0,
        "00" * 12,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
    "A.1 #2": (
        "00" * 32,
        1,
        "00" * 12,
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    ),
    "A.1 #3": (
        "00" * 31 + "01",
        1,
        "00" * 12,
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
        "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
    ),
    "A.1 #4": (
        "00ff" + "00" * 30,
        2,
        "00" * 12,
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
        "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
    ),
    "A.1 #5": (
        "00" * 32,
        0,
        "00" * 11 + "02",
        "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
        "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d",
    ),
}


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def original(counter: int, nonce: str) -> tuple[int, int]:
    """RFC 8439's 32-bit counter and 96-bit nonce as the original's 64-bit nonce and counter."""
    state = counter.to_bytes(4, "little") + bytes.fromhex(nonce)
    return int.from_bytes(state[8:], "little"), int.from_bytes(state[:8], "little")


def openssl(suite: Suite, key: bytes, length: int, nonce: int, counter: int) -> bytes:
    """The stream by OpenSSL, whose ChaCha20 counter must not leave its low 32 bits."""
    if suite == Suite.AES256CTR:
        initial = nonce.to_bytes(8, "big") + counter.to_bytes(8, "big")
        cipher = Cipher(algorithms.AES256(key), modes.CTR(initial))
        return cipher.encryptor().update(bytes(length))
    assert counter % 2**32 + length // 64 < 2**32
    state = counter.to_bytes(8, "little") + nonce.to_bytes(8, "little")
    return Cipher(algorithms.ChaCha20(key, state), None).encryptor().update(bytes(length))


# -- standards --------------------------------------------------------------------------------


@implementations("aes")
def test_sp_800_38a(implementation: str) -> None:
    """The counter-mode example, and the codebook examples block by block."""
    nonce, counter = 0xF0F1F2F3F4F5F6F7, 0xF8F9FAFBFCFDFEFF
    keystream = stream(AES, NIST_KEY, 64, nonce, counter)
    assert xor(keystream, NIST_PLAIN) == NIST_CTR
    for i in range(0, 64, 16):
        nonce, counter = (int.from_bytes(NIST_PLAIN[i + k : i + k + 8], "big") for k in (0, 8))
        assert stream(AES, NIST_KEY, 16, nonce, counter) == NIST_ECB[i : i + 16]


@implementations("aes")
def test_fips_197(implementation: str) -> None:
    """Appendix C.3 of the AES standard."""
    block = stream(AES, bytes(range(32)), 16, 0x0011223344556677, 0x8899AABBCCDDEEFF)
    assert block.hex() == "8ea2b7ca516745bfeafc49904b496089"


@implementations("chacha")
@looped("name", RFC8439)
def test_rfc_8439(implementation: str, name: str) -> None:
    """The block function's example and the keystreams of appendix A.1."""
    key, counter, nonce, keystream = RFC8439[name]
    got = stream(CHACHA, bytes.fromhex(key), 64, *original(counter, nonce))
    assert got.hex() == keystream


@implementations("chacha")
def test_rfc_8439_encryption(implementation: str) -> None:
    """Section 2.4.2: a text of one block and a half."""
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it."
    )
    sealed = bytes.fromhex(
        "6e2e359a2568f98041ba0728dd0d6981e97e7aec1d4360c20a27afccfd9fae0b"
        "f91b65c5524733ab8f593dabcd62b3571639d624e65152ab8f530c359f0861d8"
        "07ca0dbf500d6a6156a38e088a22b65e52bc514d16ccf806818ce91ab7793736"
        "5af90bbf74a35be6b40b8eedf2785e42874d"
    )
    at = original(1, "000000000000004a00000000")
    assert xor(stream(CHACHA, bytes(range(32)), len(text), *at), text) == sealed


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: f"{case['suite']}-{case['counter']}")
def test_shared_vectors(case: dict[str, Any]) -> None:
    """The project's vectors, made by an implementation of its own, for every implementation."""
    suite, wanted = SUITES[case["suite"]], bytes.fromhex(case["bytes"])
    nonce, counter = int(case["nonce"]), int(case["counter"])
    for _ in each_kernel(suite):
        got = stream(suite.generator, bytes.fromhex(case["key"]), len(wanted), nonce, counter)
        assert got == wanted


# -- live oracles -----------------------------------------------------------------------------

keys = st.binary(min_size=32, max_size=32)
words64 = st.integers(0, 2**64 - 1)
lengths = st.one_of(st.integers(0, 300), st.integers(0, 5000))


@given(st.sampled_from(list(SUITES.values())), keys, words64, words64, lengths)
def test_openssl(suite: Suite, key: bytes, nonce: int, counter: int, length: int) -> None:
    """Any key, nonce, counter and length: OpenSSL's bytes, from every implementation."""
    counter -= max(0, counter % 2**32 + 512 - 2**32)  # where OpenSSL's counter does not wrap
    wanted = openssl(suite, key, length, nonce, counter)
    for _ in each_kernel(suite):
        assert stream(suite.generator, key, length, nonce, counter) == wanted


@pytest.mark.parametrize("suite", SUITES.values())
def test_openssl_on_a_long_stream(suite: Suite) -> None:
    """A megabyte and some bytes, past every loop's unrolled part."""
    wanted = openssl(suite, KEY, 2**20 + 37, 5, 2**31 - 100)
    for _ in each_kernel(suite):
        assert stream(suite.generator, KEY, 2**20 + 37, 5, 2**31 - 100) == wanted


@pytest.mark.parametrize("suite", Suite)
@looped("border", [2**8, 2**16, 2**32, 2**33, 2**40, 2**63, 2**64])
def test_the_counter_carries_through_all_its_bits(suite: Suite, border: int) -> None:
    """Over any border inside one call, every block is that of its own counter.

    At 2^64 the counter wraps to zero and leaves the nonce alone: the streams of two nonces never
    meet, and no caller reads so far.
    """
    reference, nonce = GENERATORS[suite], 2**64 - 2
    for before in (1, 2, 3, 5, 8, 17):
        start = border - before
        numbers = [(start + i) % 2**64 for i in range(40)]
        wanted = b"".join(reference.block(KEY, nonce, number) for number in numbers)
        for name in each_kernel(suite):
            assert stream(suite.generator, KEY, len(wanted), nonce, start) == wanted, name


# -- use --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", Suite)
def test_a_stream_can_be_entered_at_any_block(suite: Suite) -> None:
    """A stream from block k is the whole stream without its first k blocks, of any length."""
    block, generator = GENERATORS[suite].size, suite.generator
    for _ in each_kernel(suite):
        whole = stream(generator, KEY, 50 * block, nonce=9)
        for k in range(50):
            assert stream(generator, KEY, 50 * block - k * block, 9, k) == whole[k * block :]
        for length in range(3 * block):
            assert stream(generator, KEY, length, nonce=9) == whole[:length]


@pytest.mark.parametrize("suite", Suite)
def test_streams_differ(suite: Suite) -> None:
    """Another generator, key bit, nonce or counter gives unrelated bytes."""
    generator = suite.generator
    others = {other.generator for other in Suite}
    seen = {stream(other, KEY, 64) for other in others}
    seen |= {stream(generator, KEY, 64, nonce=1 << i) for i in range(64)}
    seen |= {stream(generator, KEY, 64, counter=1 << i) for i in range(3, 64)}
    for i in range(256):
        altered = bytearray(KEY)
        altered[i // 8] ^= 1 << i % 8
        seen.add(stream(generator, bytes(altered), 64))
    assert len(seen) == len(others) + 64 + 61 + 256


BAD: dict[str, tuple[int, bytes, int, int, int]] = {
    "a short key": (1, KEY[:31], 16, 0, 0),
    "a long key": (1, KEY + b"x", 16, 0, 0),
    "no key": (2, b"", 16, 0, 0),
    "a negative length": (1, KEY, -1, 0, 0),
    "a negative nonce": (1, KEY, 16, -1, 0),
    "a nonce of 65 bits": (1, KEY, 16, 2**64, 0),
    "a negative counter": (2, KEY, 16, 0, -1),
    "a counter of 65 bits": (2, KEY, 16, 0, 2**64),
    "generator 0": (0, KEY, 16, 0, 0),
    "an unknown generator": (UNKNOWN_GENERATOR, KEY, 16, 0, 0),
}


@pytest.mark.parametrize("what", BAD)
def test_arguments_out_of_range(what: str) -> None:
    """Every argument outside its range is the caller's error, a RangeError."""
    with pytest.raises(RangeError):
        stream(*BAD[what])


def test_the_core_refuses_null_and_unknown() -> None:
    """The C entry point checks by itself: no key, no output, a generator that does not exist."""
    out = ffi.new("uint8_t[]", b"unchanged")
    for generator, target, key in (
        (AES, out, ffi.NULL),
        (AES, ffi.NULL, KEY),
        (UNKNOWN_GENERATOR, out, KEY),
    ):
        assert lib.sa_stream(generator, target, 9, key, 0, 0) == lib.SA_EARG
    assert ffi.string(out) == b"unchanged"
    assert lib.sa_stream(AES, ffi.NULL, 0, KEY, 0, 0) == lib.SA_OK
