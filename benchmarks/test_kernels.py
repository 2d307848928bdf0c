"""The kernels under pytest-benchmark: ``pytest benchmarks/``. Slow kernels do not fail.

``python -m benchmarks kernels`` compares them with other code.
"""

import os
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from secagg import Field, FixedPoint, Params, Suite
from secagg.arithmetic.rotation import Rotation
from secagg.encoding.choice import codec_for
from secagg.noise.samplers import sampler
from secagg.sharing import rebuilding, shamir

LENGTH = 100_000
MASKS = 10
HOLDERS, THRESHOLD = 100, 67
BITS = (20, 31, 61)

Benchmark = Callable[..., object]


@pytest.fixture(params=BITS)
def field(request: pytest.FixtureRequest) -> Field:
    """Returns a field for each lane width."""
    return Field(request.param)


@pytest.mark.parametrize("suite", Suite)
def test_masks(benchmark: Benchmark, field: Field, suite: Suite) -> None:
    keys, signs = [os.urandom(32) for _ in range(MASKS)], [1] * MASKS
    benchmark(field.accumulate, field.zeros(LENGTH), keys, signs, suite.generator)


def test_pack(benchmark: Benchmark, field: Field) -> None:
    benchmark(field.pack, field.uniform(bytes(32), LENGTH, Suite.AES256CTR.generator))


def test_unpack(benchmark: Benchmark, field: Field) -> None:
    packed = field.pack(field.uniform(bytes(32), LENGTH, Suite.AES256CTR.generator))
    benchmark(field.unpack, packed, LENGTH)


def test_unpack_add(benchmark: Benchmark, field: Field) -> None:
    packed = field.pack(field.uniform(bytes(32), LENGTH, Suite.AES256CTR.generator))
    benchmark(field.unpack_add, field.zeros(LENGTH), packed)


@pytest.mark.parametrize("operation", ["add", "sub"])
def test_arithmetic(benchmark: Benchmark, field: Field, operation: str) -> None:
    a = field.uniform(bytes(32), LENGTH, Suite.AES256CTR.generator)
    b = field.uniform(bytes(31) + b"\1", LENGTH, Suite.AES256CTR.generator)
    benchmark(partial(getattr(field, operation), a, b, out=field.zeros(LENGTH)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantize(benchmark: Benchmark, dtype: type[np.floating]) -> None:
    values = np.random.default_rng(0).uniform(-8, 8, LENGTH).astype(dtype)
    codec = codec_for(Params(10, LENGTH, FixedPoint(clip=8.0, bits=20)), bytes(16))
    benchmark(codec.encode, values, 1, os.urandom)


def test_dequantize(benchmark: Benchmark) -> None:
    params = Params(10, LENGTH, FixedPoint(clip=8.0, bits=20))
    codec = codec_for(params, bytes(16))
    encoded = codec.encode(np.zeros(LENGTH), 1, os.urandom)
    benchmark(codec.decode, encoded.vector, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rotate(benchmark: Benchmark, dtype: type[np.floating]) -> None:
    values = np.random.default_rng(0).normal(0, 1, LENGTH).astype(dtype)
    benchmark(Rotation(Suite.AES256CTR.generator, bytes(32)).forward, values)


@pytest.mark.parametrize("kind", [1, 2])
def test_noise(benchmark: Benchmark, kind: int) -> None:
    field, noise = Field(31), sampler(kind, 102**2 << 16)
    benchmark(noise.add, field, field.zeros(LENGTH), Suite.AES256CTR.generator, os.urandom(32))


def test_share(benchmark: Benchmark) -> None:
    seeds = [os.urandom(shamir.SEED_BYTES)] * 2
    benchmark(
        shamir.deal, seeds, THRESHOLD, range(HOLDERS), Suite.AES256CTR.generator, os.urandom(32)
    )


def test_rebuild(benchmark: Benchmark) -> None:
    """Rebuilds all seeds of a cohort from the shares of a threshold of holders."""
    seeds = [os.urandom(shamir.SEED_BYTES)] * HOLDERS
    holders = range(THRESHOLD)
    shares = shamir.deal(seeds, THRESHOLD, holders, Suite.AES256CTR.generator, os.urandom(32))
    rebuilder = rebuilding.Rebuilder(THRESHOLD, holders)
    benchmark(rebuilder.rebuild, shares, lambda _number, _seed: True)
