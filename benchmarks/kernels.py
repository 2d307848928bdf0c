"""Compares the kernels of the native core with references in the same run.

References are what one would use instead: the core's own bare keystream, straightforward C,
`cryptography` with NumPy, OpenSSL's keystream, a NumPy copy into a new array, a NumPy sum, NumPy
quantization, transform, norm and random numbers, big integers. A reference that is not installed is
skipped, and named. Work runs on one thread, unless a row says otherwise. The last rows are a
server's jobs on two workers.
"""

import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg import FixedPoint, Params, Suite
from secagg.arithmetic.field import Field
from secagg.arithmetic.implementations import Family, families, forced
from secagg.arithmetic.noise import sum_squares
from secagg.arithmetic.rotation import Rotation, norm
from secagg.arithmetic.threads import default_threads
from secagg.encoding.choice import codec_for
from secagg.noise.samplers import sampler
from secagg.noise.skellam import STEP_BITS
from secagg.sharing import rebuilding, shamir

from . import executors, reference
from .bare import PIECE, keystream, stream
from .pool import pool
from .rows import Row, Work, compare, in_turns, make_row

# CPU time, as other work on the machine must not count. Only for work on one thread.
_compare: Final = partial(compare, clock=time.process_time)

MASKS: Final = 100
SEEDS: Final = 2
SOME: Final = 5  # holders for which the slowest reference computes shares
OPENSSL_CPU: Final = "OPENSSL_ia32cap"
NO_AVX512: Final = ":~0xd0230000"  # the bits for F, DQ, IFMA, CD, BW and VL
UPLOADS: Final = 100  # more than fit in caches
SERVER_SECONDS: Final = 0.05  # for rebuilding the seeds of all clients


def parts(length: int, rounds: int, holders: int, clients: int) -> Sequence[Iterator[Row | str]]:
    """Returns the parts of the measurement: each yields rows, or a text about what was skipped."""
    return (
        _masks(length, rounds),
        _openssl(rounds),
        _portable(rounds),
        _packing(length, rounds),
        _quantize(length, rounds),
        _rotation(length, rounds),
        _noise(length, rounds),
        _sharing(rounds, holders),
        _rebuilding(rounds, holders),
        executors.rows(clients, length, rounds),
    )


def _masks(length: int, rounds: int) -> Iterator[Row | str]:
    keys = [os.urandom(32) for _ in range(MASKS)]
    signs = [1 if i % 2 else -1 for i in range(MASKS)]
    narrow, wide = Field(31), Field(61)
    acc32, acc64 = narrow.zeros(length), wide.zeros(length)

    def expand(suite: Suite, threads: int = 1) -> Work:
        return lambda: narrow.accumulate(acc32, keys, signs, suite.generator, 0, threads)

    for suite, target in ((Suite.AES256CTR, "<= 1.333"), (Suite.CHACHA20, "<= 1.075")):
        name = f"{MASKS} masks of {length:,}, {suite.name.lower()}"
        plain = keystream(suite.generator, 4 * length * MASKS)
        yield _compare(name, expand(suite), "bare keystream", plain, target, rounds)
    aes = expand(Suite.AES256CTR)
    naive = naive_masks(keys, signs, length)
    if naive is None:
        yield "cryptography + NumPy: not installed"
    else:
        yield _compare("the same, aes256ctr", aes, "cryptography + NumPy", naive, ">= 4", rounds)
    yield _compare(
        "the same, b = 61",
        lambda: wide.accumulate(acc64, keys, signs, Suite.AES256CTR.generator, 0, 1),
        "b = 31",
        aes,
        "<= 2.2",
        rounds,
    )
    if default_threads() < 2:
        yield "two threads: one CPU, or SECAGG_NUM_THREADS is 1"
        return
    for suite in Suite:
        yield compare(
            f"{MASKS} masks of {length:,}, {suite.name.lower()}, two threads",
            expand(suite, 2),
            "one thread",
            expand(suite),
            ">= 1.6",
            rounds,
        )


def _portable(rounds: int) -> Iterator[Row | str]:
    """Compares the portable ciphers with straightforward C, built with the same options."""
    try:
        references = reference.keystreams()
    except reference.UnavailableError as error:
        yield str(error)
        return
    key = os.urandom(32)
    ours, theirs = np.empty(PIECE, np.uint8), np.empty(PIECE, np.uint8)
    for suite, family in ((Suite.AES256CTR, "aes"), (Suite.CHACHA20, "chacha")):
        plain = partial(references[suite.generator], theirs.ctypes.data, PIECE, key)
        portable = _family(family).compiled[0]
        with forced(family, portable):
            work = stream(suite.generator, ours, key)
            work()
            plain()
            assert ours.tobytes() == theirs.tobytes(), "the two keystreams of one key differ"
            name = f"{PIECE:,} bytes of keystream, {suite.name.lower()}, {portable}"
            yield _compare(name, work, "straightforward C", plain, "<= 1.3", rounds)


def _openssl(rounds: int) -> Iterator[Row | str]:
    """Compares ChaCha20 with OpenSSL's, on AVX-512 and on AVX2.

    OpenSSL chooses its kernel when it is loaded, so AVX2 is measured in a process of its own.
    """
    if importlib.util.find_spec("cryptography") is None:
        yield "OpenSSL's ChaCha20: cryptography is not installed"
        return
    usable = _family("chacha").usable
    if "avx512" in usable:
        yield _chacha("avx512", ">= 1.2", rounds)
    if "avx2" in usable:
        before = os.environ.get(OPENSSL_CPU)
        os.environ[OPENSSL_CPU] = NO_AVX512
        try:
            with pool(1, "spawn") as alone:
                yield alone.submit(_chacha, "avx2", ">= 0.8", rounds).result()
        finally:
            del os.environ[OPENSSL_CPU]
            os.environ.update({OPENSSL_CPU: before} if before is not None else {})


def _chacha(kernel: str, target: str, rounds: int) -> Row:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms  # noqa: PLC0415

    zeros, buffer, pieces = bytes(PIECE), bytearray(PIECE), 8

    def openssl() -> None:
        cipher = Cipher(algorithms.ChaCha20(bytes(32), bytes(16)), None).encryptor()
        for _ in range(pieces):
            cipher.update_into(zeros, buffer)

    name = f"chacha20 keystream, {pieces * PIECE >> 20} MiB, {kernel}"
    ours = keystream(Suite.CHACHA20.generator, pieces * PIECE)
    with forced("chacha", kernel):
        return _compare(name, ours, f"OpenSSL, {kernel}", openssl, target, rounds)


def naive_masks(keys: list[bytes], signs: list[int], length: int) -> Work | None:
    """Returns masking with `cryptography` and NumPy, or None if that is not installed."""
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
    """Compares packing, called from Python, with a copy: both make a new array."""
    target = {"avx512": "<= 1.3", "avx2": "<= 3", "portable": "<= 8"}
    for kernel in _family("pack").usable[::-1]:
        for bits in (20, 31, 47, 61) if kernel == _family("pack").active else (31, 61):
            field = Field(bits)
            vector = field.uniform(bytes(32), length, Suite.AES256CTR.generator)
            packed = field.pack(vector)
            name = f"{length:,} elements, b = {bits}, {kernel}"
            with forced("pack", kernel):
                for what, work in (
                    ("pack", partial(field.pack, vector)),
                    ("unpack", partial(field.unpack, packed, length)),
                ):
                    bound = target.get(kernel, "")
                    yield _compare(f"{what} {name}", work, "a copy", vector.copy, bound, rounds)
    field = Field(31)
    vectors = [
        field.uniform(os.urandom(32), length, Suite.AES256CTR.generator) for _ in range(UPLOADS)
    ]
    uploads = [field.pack(vector) for vector in vectors]
    acc, total = field.zeros(length), np.zeros(length, np.uint32)
    yield _compare(
        f"unpack and add {UPLOADS} uploads, b = 31",
        lambda: [field.unpack_add(acc, upload) for upload in uploads],
        "a plain uint32 sum",
        lambda: [np.add(total, vector, out=total) for vector in vectors],
        "<= 1.5",
        rounds,
    )


def _family(name: str) -> Family:
    return next(each for each in families() if each.name == name)


def _quantize(length: int, rounds: int) -> Iterator[Row]:
    values = np.random.default_rng(0).uniform(-8, 8, length).astype(np.float32)
    codec = codec_for(Params(10, length, FixedPoint(clip=8.0, bits=20)), bytes(16))
    levels, rng = 2**20 - 1, np.random.default_rng(1)

    def plain() -> NDArray[np.int64]:
        """Quantizes as frameworks do: clips, scales, rounds at random."""
        scaled = (np.clip(values, -8, 8) + 8) * (levels / 16)
        low = np.floor(scaled)
        rounded: NDArray[np.int64] = (low + (rng.random(length) < scaled - low)).astype(np.int64)
        return rounded

    yield _compare(
        f"quantize {length:,} float32",
        lambda: codec.encode(values, 1, os.urandom),
        "NumPy",
        plain,
        "",
        rounds,
    )


def _rotation(length: int, rounds: int) -> Iterator[Row]:
    """Compares the rotation, of the next power of two, and the norm with what NumPy takes."""
    power = 1 << (length - 1).bit_length()
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (2, power)).astype(np.float32)
    signs = np.where(rng.random(power) < 0.5, np.float32(power**-0.5), np.float32(-(power**-0.5)))
    rotation = Rotation(Suite.AES256CTR.generator, bytes(32))

    def plain() -> None:
        """Rotates with whole-array operations, level by level."""
        np.multiply(y, signs, out=y)
        step = 1
        while step < power:
            pairs = y.reshape(-1, 2, step)
            low, high = pairs[:, 0], pairs[:, 1]
            difference = low - high
            low += high
            high[:] = difference
            step *= 2

    for kernel in _family("rotate").usable[::-1]:
        with forced("rotate", kernel):
            name = f"rotate {power:,} float32, {kernel}"
            work = partial(rotation.forward, x)
            least = ">= 8" if kernel == "portable" else ">= 15"
            yield _compare(name, work, "NumPy, level by level", plain, least, rounds)

    def after() -> None:
        """Clips to an L2 norm, and then rotates."""
        size = np.linalg.norm(x)
        np.multiply(x, np.float32(1 / size), out=x)
        rotation.forward(x)

    yield _compare(
        f"clip {power:,} float32 to an L2 norm, in a rotation",
        lambda: rotation.forward(x, 1 / norm(x)),
        "by NumPy before one",
        after,
        "<= 1",
        rounds,
    )
    values = rng.normal(0, 1, length).astype(np.float32)
    name = f"L2 norm of {length:,} float32, in double precision"
    other = partial(np.linalg.norm, values)
    yield _compare(name, partial(norm, values), "NumPy, in single", other, "<= 2.5", rounds)


def _noise(length: int, rounds: int) -> Iterator[Row]:
    """Compares adding noise with drawing it in NumPy, which needs rounding or a sum besides."""
    rng, field = np.random.default_rng(0), Field(40)
    acc, key, generator = field.zeros(length), os.urandom(32), Suite.AES256CTR.generator
    for sigma in (26, 102, 1638):
        steps, mean = sigma**2 << STEP_BITS, sigma**2 / 2

        def poissons(mean: float = mean) -> NDArray[np.int64]:
            return rng.poisson(mean, length) - rng.poisson(mean, length)

        def normal(sigma: int = sigma) -> NDArray[np.float64]:
            return rng.normal(0, sigma, length)

        for kernel in _family("noise").usable[::-1]:
            with forced("noise", kernel):
                add = partial(sampler(1, steps).add, field, acc, generator, key)
                name = f"Skellam noise, sigma {sigma}, {length:,}, {kernel}"
                against = "NumPy, two Poisson numbers"
                target = "" if kernel == "portable" else "<= 1"
                yield _compare(name, add, against, poissons, target, rounds)
        gaussian = partial(sampler(2, steps).add, field, acc, generator, key)
        name = f"discrete Gaussian noise, sigma {sigma}, {length:,}"
        yield _compare(name, gaussian, "NumPy, normal", normal, "", rounds)
    inputs = field.uniform(key, length, generator) >> np.uint64(20)
    floats = inputs.astype(np.float64)
    yield _compare(
        f"sum of squares of {length:,}, exact",
        partial(sum_squares, inputs, 2**19),
        "NumPy, float64",
        lambda: np.dot(floats, floats),
        "",
        rounds,
    )


def _sharing(rounds: int, count: int) -> Iterator[Row]:
    threshold = 2 * count // 3 + 1
    seeds = [os.urandom(shamir.SEED_BYTES) for _ in range(SEEDS)]
    holders = range(count)

    def deal() -> object:
        return shamir.deal(seeds, threshold, holders, Suite.AES256CTR.generator, os.urandom(32))

    modulus = 2**61 - 1
    coefficients = [
        [int.from_bytes(os.urandom(8), "little") % modulus for _ in range(threshold)]
        for _ in range(shamir.LIMBS * SEEDS)
    ]

    def plain() -> list[list[int]]:
        shares = []
        for point in range(1, SOME + 1):  # all holders would take half a minute
            row = []
            for polynomial in coefficients:
                value = 0
                for coefficient in polynomial:
                    value = (value * point + coefficient) % modulus
                row.append(value)
            shares.append(row)
        return shares

    for kernel in _family("shamir").usable[::-1]:
        with forced("shamir", kernel):
            ours, some = in_turns([deal, plain], rounds, time.process_time)
        name = f"share {SEEDS} seeds, n = {count}, t = {threshold}, {kernel}"
        least = ">= 20" if kernel == "portable" else ">= 100"
        yield make_row(name, ours, "s", "big integers", some * count / SOME, least)


def _rebuilding(rounds: int, count: int) -> Iterator[Row]:
    """Compares rebuilding the seeds of all clients, from all shares, with a fixed time."""
    threshold = 2 * count // 3 + 1
    seeds = [os.urandom(shamir.SEED_BYTES) for _ in range(count)]
    holders = range(count)
    shares = shamir.deal(seeds, threshold, holders, Suite.AES256CTR.generator, os.urandom(32))

    def rebuild() -> object:
        rebuilder = rebuilding.Rebuilder(threshold, holders)
        return rebuilder.rebuild(shares, lambda number, seed: seed == seeds[number])

    value = in_turns([rebuild], rounds, time.process_time)[0]
    name = f"rebuild the seeds of {count} clients, t = {threshold}"
    yield make_row(name, value, "s", "a fixed time", SERVER_SECONDS, "<= 1")
