"""The kernels of the native core, each against a reference in the same run.

References are what one would use instead: the core's own bare keystream, `cryptography` with NumPy,
memcpy (a NumPy copy), a NumPy sum, NumPy quantization, big integers. A reference that is not
installed is skipped, with its name. Last come the kernels of a server on two workers.
"""

import os
from collections.abc import Iterator
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg import FixedPoint, Params, Suite, _binding
from secagg.encoding import codec_for
from secagg.field import Field
from secagg.implementations import families, forced
from secagg.primitives import shamir

from . import executors
from .rows import Row, Work, compare

MASKS: Final = 100
HOLDERS: Final = 1000
THRESHOLD: Final = 667
SEEDS: Final = 2
PART: Final = 200  # of the holders one in so many, for the slowest reference
PIECE: Final = 1 << 17  # bytes of keystream a call


def rows(length: int, rounds: int) -> Iterator[Row | str]:
    """One row after the other as it is measured; a text says what was left out and why."""
    yield from _masks(length, rounds)
    yield from _packing(length, rounds)
    yield from _quantize(length, rounds)
    yield from _sharing(rounds)
    yield from executors.rows(length, rounds)


def _masks(length: int, rounds: int) -> Iterator[Row | str]:
    keys = [os.urandom(32) for _ in range(MASKS)]
    signs = [1 if i % 2 else -1 for i in range(MASKS)]
    narrow, wide = Field(31), Field(61)
    acc32, acc64 = narrow.zeros(length), wide.zeros(length)

    def expand(suite: int) -> Work:
        return lambda: narrow.accumulate(acc32, keys, signs, suite)

    def stream(suite: int) -> Work:
        """As many bytes into a buffer that stays in the second-level cache."""
        buffer, key = np.empty(PIECE, np.uint8), _binding.octets(keys[0])
        out, generate = _binding.write(buffer), _binding.lib.sa_stream
        count = 4 * length * MASKS // PIECE
        return lambda: [generate(suite, out, PIECE, key, 0, 0) for _ in range(count)]

    for suite, target in ((Suite.AES256CTR, "<= 1.333"), (Suite.CHACHA20, "<= 1.075")):
        name = f"{MASKS} masks of {length:,}, {suite.name.lower()}"
        yield compare(name, expand(suite), "bare keystream", stream(suite), target, rounds)
    aes = expand(Suite.AES256CTR)
    naive = _cryptography(keys, signs, length)
    if naive is None:
        yield "cryptography + NumPy: not installed"
    else:
        yield compare("the same, aes256ctr", aes, "cryptography + NumPy", naive, ">= 4", rounds)
    yield compare(
        "the same, b = 61",
        lambda: wide.accumulate(acc64, keys, signs, Suite.AES256CTR),
        "b = 31",
        aes,
        "<= 2.2",
        rounds,
    )


def _cryptography(keys: list[bytes], signs: list[int], length: int) -> Work | None:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415
    except ImportError:
        return None
    zeros, total = bytes(4 * length), np.zeros(length, np.uint32)

    def work() -> None:
        for key, sign in zip(keys, signs, strict=True):
            cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
            words = np.frombuffer(cipher.update(zeros), np.uint32) & np.uint32(2**31 - 1)
            (np.add if sign > 0 else np.subtract)(total, words, out=total)

    return work


def _packing(length: int, rounds: int) -> Iterator[Row]:
    target = {"avx512": "1.3", "avx2": "3", "portable": "8"}
    for bits in (20, 31, 47, 61):
        field = Field(bits)
        vector = field.uniform(bytes(32), length, Suite.AES256CTR)
        plain = partial(np.copyto, np.empty_like(vector), vector)
        packed = field.pack(vector)
        bound = "<= " + target.get(_active("pack"), "1.3")
        name = f"{length:,} elements, b = {bits}"
        for what, work in (
            ("pack", partial(field.pack, vector)),
            ("unpack", partial(field.unpack, packed, length)),
        ):
            yield compare(f"{what} {name}", work, "memcpy", plain, bound, rounds)
    field = Field(31)
    vector = field.uniform(bytes(32), length, Suite.AES256CTR)
    packed, acc = field.pack(vector), field.zeros(length)
    total = np.zeros(length, np.uint32)

    yield compare(
        "unpack and add, b = 31",
        lambda: field.unpack_add(acc, packed),
        "a plain uint32 sum",
        partial(np.add, total, vector, out=total),
        "<= 1.5",
        rounds,
    )


def _active(family: str) -> str:
    return next(each.active for each in families() if each.name == family)


def _quantize(length: int, rounds: int) -> Iterator[Row]:
    values = np.random.default_rng(0).uniform(-8, 8, length).astype(np.float32)
    codec = codec_for(Params(10, length, FixedPoint(clip=8.0, bits=20)))
    levels, rng = 2**20 - 1, np.random.default_rng(1)

    def plain() -> NDArray[np.int64]:
        """As a framework does it: clip, scale, round at random."""
        scaled = (np.clip(values, -8, 8) + 8) * (levels / 16)
        low = np.floor(scaled)
        rounded: NDArray[np.int64] = (low + (rng.random(length) < scaled - low)).astype(np.int64)
        return rounded

    yield compare(
        f"quantize {length:,} float32",
        lambda: codec.encode(values, 1, os.urandom),
        "NumPy",
        plain,
        "",
        rounds,
    )


def _sharing(rounds: int) -> Iterator[Row]:
    seeds = [os.urandom(shamir.SEED_BYTES) for _ in range(SEEDS)]
    holders = range(HOLDERS)

    def deal() -> object:
        return shamir.deal(seeds, THRESHOLD, holders, Suite.AES256CTR, os.urandom(32))

    modulus = 2**61 - 1
    coefficients = [
        [int.from_bytes(os.urandom(8), "little") % modulus for _ in range(THRESHOLD)]
        for _ in range(shamir.LIMBS * SEEDS)
    ]

    def plain() -> list[list[int]]:
        shares = []
        for point in range(1, HOLDERS // PART + 1):  # all of them would take half a minute
            row = []
            for polynomial in coefficients:
                value = 0
                for coefficient in polynomial:
                    value = (value * point + coefficient) % modulus
                row.append(value)
            shares.append(row)
        return shares

    simd = _active("shamir") != "portable"
    name = f"share {SEEDS} seeds, n = {HOLDERS}, t = {THRESHOLD}"
    least = 100 if simd else 20
    found = compare(name, deal, "big integers", plain, f">= {least / PART}", rounds)
    yield Row(
        found.name,
        found.value,
        found.unit,
        found.reference * PART,
        found.against,
        found.ratio * PART,
        f">= {least}",
        found.ok,
    )
    if simd:
        with forced("shamir", "portable"):
            yield compare(
                f"{name}, portable",
                deal,
                f"big integers / {PART}",
                plain,
                f">= {20 / PART}",
                rounds,
            )
