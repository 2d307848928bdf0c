"""The vectors of RFCs, NIST, BoringSSL and OpenSSL in the package cryptography-vectors.

Files of algorithms and modes that the library does not use are not run; nor is Poly1305 alone,
which is only reached through `seal`.
"""

import hashlib
from collections.abc import Callable
from importlib.resources import files

import pytest
from support import family_named
from third_party.tally import Tally

from secagg import Suite
from secagg.arithmetic.implementations import forced
from secagg.primitives import seal, sign
from secagg.primitives.agreement import WeakKeyError, agree, check_public_key
from secagg.primitives.prg import stream

PACKAGE = "cryptography_vectors"
pytest.importorskip(PACKAGE, reason="cryptography-vectors is missing: the `vectors` extra")

Start = Callable[[str], Tally]


def text(path: str) -> str:
    return files(PACKAGE).joinpath(path).read_text(encoding="utf-8")


def records(path: str, first: str = "COUNT") -> list[dict[str, str]]:
    """The blocks of `NAME = value` lines that begin with a line of the name `first`."""
    found: list[dict[str, str]] = []
    for line in text(path).splitlines():
        name, equals, value = line.partition("=")
        if line.startswith("#") or not equals:
            continue
        if name.strip() == first:
            found.append({})
        found[-1][name.strip().upper()] = value.strip()
    return found


def octets(value: str) -> bytes:
    """Hexadecimal digits, or plain text in quotes."""
    return value[1:-1].encode() if value.startswith('"') else bytes.fromhex(value)


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def test_x25519_of_rfc_7748(tally: Start) -> None:
    """Section 5.2: `agree` computes every scalar multiplication.

    The second one's u has its top bit set. The RFC has a receiver ignore that bit; here one key has
    one encoding, so `check_public_key`, which every received key meets first, refuses it.
    """
    counts = tally("RFC 7748 X25519")
    for record in records("asymmetric/X25519/rfc7748.txt"):
        scalar, u, output = (octets(record[k]) for k in ("INPUT_SCALAR", "INPUT_U", "OUTPUT_U"))
        assert agree(scalar, u) == output, record
        if u[31] & 0x80:
            with pytest.raises(WeakKeyError, match="not canonical"):
                check_public_key(u)
            counts.passed["computed right by `agree`, but the key is refused before it"] += 1
        else:
            check_public_key(u)
            counts.passed["computed right"] += 1
    counts.settle(
        {
            "computed right": 2,
            "computed right by `agree`, but the key is refused before it": 1,
        }
    )


def test_ed25519(tally: Start) -> None:
    """The file of the scheme's authors, with messages of 0 to 1,023 bytes: key, signature, and its
    verification, which another message or signature fails.

    RFC 8032, section 7.1, took its tests 1, 2, 3 and 1024 from here: lines 1, 2, 3 and the last.
    """
    counts = tally("Ed25519 sign.input, with 4 of RFC 8032")
    lines = text("asymmetric/Ed25519/sign.input").splitlines()
    for line in lines:
        secret, public, message, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        seed, signature = secret[:32], signed[:64]
        assert signed[64:] == message
        assert sign.verify_key(seed) == public == secret[32:], line
        assert sign.sign(seed, message) == signature, line
        assert sign.verify(public, message, signature), line
        assert not sign.verify(public, message + b"\0", signature), line
        assert not sign.verify(public, message, bytes([signature[0] ^ 1]) + signature[1:]), line
        counts.passed["signed and verified"] += 1
    starts = ("9d61b19deffd5a60", "4ccd089b28ff96da", "c5aa8df43f9f837b", "f5e5767cf1533195")
    assert tuple(lines[i][:16] for i in (0, 1, 2, -1)) == starts
    counts.settle({"signed and verified": 1024})


def test_chacha20_of_rfc_8439(tally: Start) -> None:
    """Appendix A.2, whose 96-bit nonce and 32-bit counter fill the same 128 bits as ours."""
    counts = tally("RFC 8439 ChaCha20")
    for record in records("ciphers/ChaCha20/rfc7539.txt"):
        key, nonce, plain, sent = (
            octets(record[k]) for k in ("KEY", "NONCE", "PLAINTEXT", "CIPHERTEXT")
        )
        state = int(record["INITIAL_BLOCK_COUNTER"]).to_bytes(4, "little") + nonce
        counter, number = (int.from_bytes(state[i : i + 8], "little") for i in (0, 8))
        for name in family_named("chacha").usable:
            with forced("chacha", name):
                got = stream(Suite.CHACHA20.generator, key, len(plain), number, counter)
                assert xor(got, plain) == sent, (name, record)
        counts.passed["computed right"] += 1
    counts.settle({"computed right": 3})


@pytest.mark.parametrize(
    ("file", "names", "wanted"),
    [
        (
            "boringssl",
            ("KEY", "NONCE", "AD", "IN", "CT", "TAG"),
            {"sealed and unsealed": 66},
        ),
        (
            "openssl",
            ("KEY", "IV", "AAD", "PLAINTEXT", "CIPHERTEXT", "TAG"),
            {"sealed and unsealed": 4, "refused": 1},
        ),
    ],
    ids=["boringssl", "openssl"],
)
def test_chacha20_poly1305(
    tally: Start,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    names: tuple[str, ...],
    wanted: dict[str, int],
) -> None:
    """RFC 8439's example and many sizes, with `seal`'s constant nonce replaced by the vector's."""
    assert bytes(12) == seal._NONCE
    counts = tally(f"ChaCha20-Poly1305 of {file}, other nonces put in")
    for record in records(f"ciphers/ChaCha20Poly1305/{file}.txt"):
        key, nonce, data, plain, sent, tag = (octets(record[name]) for name in names)
        assert len(nonce) == 12
        monkeypatch.setattr(seal, "_NONCE", nonce)
        if record.get("RESULT") == "CIPHERFINAL_ERROR":
            assert seal.unseal(key, sent + tag, data) is None, record
            counts.passed["refused"] += 1
        else:
            assert "RESULT" not in record
            assert seal.seal(key, plain, data) == sent + tag, record
            assert seal.unseal(key, sent + tag, data) == plain, record
            counts.passed["sealed and unsealed"] += 1
    counts.settle(wanted)


def aes(key: bytes, block: bytes, length: int) -> bytes:
    """Counter mode from any first block."""
    nonce, counter = (int.from_bytes(block[i : i + 8], "big") for i in (0, 8))
    return stream(Suite.AES256CTR.generator, key, length, nonce, counter)


def test_aes_256_ctr_of_rfc_3686(tally: Start) -> None:
    """Counter mode (SP 800-38A) of one block, two, and a part of a third."""
    counts = tally("RFC 3686 AES-256-CTR")
    for record in records("ciphers/AES/CTR/aes-256-ctr.txt"):
        key, start, plain, sent = (
            octets(record[k]) for k in ("KEY", "IV", "PLAINTEXT", "CIPHERTEXT")
        )
        for name in family_named("aes").usable:
            with forced("aes", name):
                assert xor(aes(key, start, len(plain)), plain) == sent, (name, record)
        counts.passed["computed right"] += 1
    counts.settle({"computed right": 3})


@pytest.mark.parametrize(
    ("file", "vectors"),
    [("GFSbox", 10), ("KeySbox", 32), ("VarKey", 512), ("VarTxt", 256), ("MMT", 20)],
    ids=str,
)
def test_aes_256_of_nist(tally: Start, file: str, vectors: int) -> None:
    """NIST's tests of the block cipher, each S-box and key bit, through counter mode.

    The first keystream block from a counter block B is the encryption of B. Vectors of decryption
    are pairs of plain and encrypted blocks as well, and are run as encryption.
    """
    counts = tally(f"NIST AESAVS ECB{file}256, as counter blocks")
    for record in records(f"ciphers/AES/ECB/ECB{file}256.rsp"):
        key, plain, sent = (octets(record[k]) for k in ("KEY", "PLAINTEXT", "CIPHERTEXT"))
        for name in family_named("aes").usable:
            with forced("aes", name):
                blocks = (plain[i : i + 16] for i in range(0, len(plain), 16))
                assert b"".join(aes(key, block, 16) for block in blocks) == sent, (name, record)
        counts.passed["computed right"] += 1
    counts.settle({"computed right": vectors})


def test_blake2b(tally: Start) -> None:
    """Python's BLAKE2b, on which `hash_parts` and `kdf` are built, without a key."""
    counts = tally("BLAKE2b-512")
    for record in records("hashes/blake2/blake2b.txt", "Len"):
        message = octets(record["MSG"])[: int(record["LEN"]) // 8]
        assert hashlib.blake2b(message).hexdigest() == record["MD"], record
        counts.passed["computed right"] += 1
    counts.settle({"computed right": 7})
