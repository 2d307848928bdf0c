"""Shamir sharing of 16-byte seeds over F(2^61 - 1); `rebuilding.py` puts them together again.

A seed is cut into three limbs (7, 7 and 2 bytes), each shared by its own polynomial (Shamir 1979);
party i holds the values at i + 1. Arrays of shares have dtype uint64 and three columns per seed.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import binding
from ..arithmetic.generators import Generator
from ..codes import Code
from ..errors import ParameterError, RangeError
from . import algebra

SEED_BYTES: Final = 16
SHARE_BYTES: Final = 23
LIMBS: Final = 3

LIMB_BYTES: Final = (7, 7, 2)
_LOW: Final = np.uint64(algebra.P)

Shares = algebra.Elements


def seed_limbs(seed: bytes) -> list[int]:
    """Cuts a 16-byte seed into its three limbs."""
    if len(seed) != SEED_BYTES:
        raise ParameterError(f"a seed must have {SEED_BYTES} bytes, not {len(seed)}", Code.ARGUMENT)
    return [int.from_bytes(part, "little") for part in (seed[:7], seed[7:14], seed[14:])]


def limbs_seed(limbs: Sequence[int]) -> bytes | None:
    """Joins three limbs into a seed; returns None if a limb does not fit its bytes."""
    if any(limb >> 8 * size for limb, size in zip(limbs, LIMB_BYTES, strict=True)):
        return None
    return b"".join(
        limb.to_bytes(size, "little") for limb, size in zip(limbs, LIMB_BYTES, strict=True)
    )


def pack_shares(shares: Shares) -> bytes:
    """Encodes shares, shape (k, 3), as k times 23 bytes: 61 bits per element, one padding bit."""
    a, b, c = np.ascontiguousarray(shares.reshape(-1, LIMBS).T)
    one = np.uint64
    words = np.empty((a.size, 3), "<u8")
    words[:, 0] = a | b << one(61)
    words[:, 1] = b >> one(3) | c << one(58)
    words[:, 2] = c >> one(6)
    return words.view(np.uint8)[:, :SHARE_BYTES].tobytes()


def split_shares(data: bytes) -> tuple[Shares, NDArray[np.bool_]]:
    """Decodes k times 23 bytes; returns shares, shape (k, 3), and which of the k are canonical."""
    count = len(data) // SHARE_BYTES
    octets = np.zeros((count, 24), np.uint8)
    octets[:, :SHARE_BYTES] = np.frombuffer(data, np.uint8).reshape(count, SHARE_BYTES)
    words = octets.view("<u8").astype(np.uint64)
    one = np.uint64
    shares = np.empty((count, LIMBS), np.uint64)
    shares[:, 0] = words[:, 0] & _LOW
    shares[:, 1] = (words[:, 0] >> one(61) | words[:, 1] << one(3)) & _LOW
    shares[:, 2] = (words[:, 1] >> one(58) | words[:, 2] << one(6)) & _LOW
    return shares, np.all(shares != _LOW, axis=1) & (words[:, 2] >> one(55) == 0)


def unpack_shares(data: bytes) -> Shares:
    """Decodes what `pack_shares` encoded; returns shares, shape (k, 3).

    Raises:
        RangeError: not a multiple of 23 bytes, an element >= 2^61 - 1, or padding not zero.
    """
    if len(data) % SHARE_BYTES:
        raise RangeError(
            f"packed shares take {SHARE_BYTES} bytes each, and {len(data)} is no multiple of that",
            Code.SHAPE,
        )
    shares, canonical = split_shares(data)
    if not canonical.all():
        raise RangeError(
            "a share has an element that is not below 2**61 - 1, or padding that is not zero",
            Code.OUT_OF_RANGE,
        )
    return shares


def points_of(holders: Sequence[int]) -> algebra.Elements:
    """Returns the points at which these parties hold values."""
    return np.array(holders, np.uint64) + np.uint64(1)


def deal(
    seeds: Sequence[bytes],
    threshold: int,
    holders: Sequence[int],
    generator: Generator,
    key: bytes,
) -> Shares:
    """Computes the shares of several seeds for several parties (Shamir 1979).

    Args:
        seeds: 16 bytes each.
        threshold: number of shares that rebuild a seed; fewer reveal nothing about it.
        holders: distinct indices of the parties.
        generator: expands `key`; that of a suite is `Suite.generator`.
        key: 32 fresh random bytes, the source of all coefficients.

    Returns:
        Shares, shape (len(holders), 3 * len(seeds)); row i is for holders[i].
    """
    secrets = np.array([limb for seed in seeds for limb in seed_limbs(seed)], np.uint64)
    coefficients = algebra.FIELD.uniform(key, secrets.size * (threshold - 1), generator)
    points = points_of(holders)
    shares = np.empty((points.size, secrets.size), np.uint64)
    status = binding.lib.sa_shamir_share(
        binding.write(shares),
        binding.read(secrets),
        binding.read(coefficients),
        secrets.size,
        threshold,
        binding.read(points),
        points.size,
    )
    binding.check(status, "shamir_share")
    return shares
