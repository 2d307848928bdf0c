"""Shamir sharing of 16-byte seeds over F(2^61 - 1), with correction of wrong shares.

A seed is cut into three limbs (7, 7 and 2 bytes), each shared by its own polynomial (Shamir 1979);
party i holds the values at i + 1. Arrays of shares have dtype uint64 and three columns per seed.
Redundant shares are tested by one random parity check (Cascudo and David 2017) and corrected by
unique decoding (Gao 2003), up to half the redundancy. With a single redundant share, one wrong
share is still found by leaving out each in turn, if the caller can recognise the right seed.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..arithmetic import binding
from ..arithmetic.field import Field
from ..arithmetic.generators import Generator
from ..codes import Code
from ..errors import ParameterError, RangeError

SEED_BYTES: Final = 16
SHARE_BYTES: Final = 23
LIMBS: Final = 3

_BITS: Final = 61
_FIELD: Final = Field(_BITS)
_P: Final = _FIELD.modulus
_LIMB_BYTES: Final = (7, 7, 2)
_LOW: Final = np.uint64(_P)

Shares = NDArray[np.uint64]


def seed_limbs(seed: bytes) -> list[int]:
    """Cuts a 16-byte seed into its three limbs."""
    if len(seed) != SEED_BYTES:
        raise ParameterError(f"a seed must have {SEED_BYTES} bytes, not {len(seed)}", Code.ARGUMENT)
    return [int.from_bytes(part, "little") for part in (seed[:7], seed[7:14], seed[14:])]


def _limbs_seed(limbs: Sequence[int]) -> bytes | None:
    """Joins three limbs into a seed; returns None if a limb does not fit its bytes."""
    if any(limb >> 8 * size for limb, size in zip(limbs, _LIMB_BYTES, strict=True)):
        return None
    return b"".join(
        limb.to_bytes(size, "little") for limb, size in zip(limbs, _LIMB_BYTES, strict=True)
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


def _points(holders: Sequence[int]) -> NDArray[np.uint64]:
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
    coefficients = _FIELD.uniform(key, secrets.size * (threshold - 1), generator)
    points = _points(holders)
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


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A rebuilt seed, and the rows (positions in `holders`) whose share was wrong."""

    seed: bytes
    wrong: tuple[int, ...]

    def __repr__(self) -> str:
        return f"Rebuilt(seed=<redacted>, wrong={self.wrong})"


class Rebuilder:
    """Rebuilds seeds that have the same holders; the weights are computed once for all of them.

    Args:
        threshold: number of shares that rebuild a seed.
        holders: indices of the parties whose shares are available, at least `threshold`.

    Raises:
        ParameterError: fewer holders than the threshold.
    """

    def __init__(self, threshold: int, holders: Sequence[int]) -> None:
        count = len(holders)
        if count < threshold:
            raise ParameterError(
                f"{count} shares are fewer than the threshold of {threshold}", Code.ARGUMENT
            )
        self._threshold = threshold
        self._points = _points(holders)
        self._weights = np.zeros(count, np.uint64)
        first = np.empty(threshold, np.uint64)
        status = binding.lib.sa_shamir_weights(
            binding.write(first), binding.read(self._points), threshold
        )
        binding.check(status, "shamir_weights")
        self._weights[:threshold] = first
        self._parity = np.zeros(count, np.uint64)
        if count > threshold:
            random = _FIELD.uniform(os.urandom(32), count - threshold, binding.lib.SA_AES256CTR)
            random[0] |= np.uint64(random[0] == 0)  # never all zero: that would test nothing
            status = binding.lib.sa_shamir_parity(
                binding.write(self._parity),
                binding.read(self._points),
                count,
                threshold,
                binding.read(random),
            )
            binding.check(status, "shamir_parity")

    def _combine(self, weights: NDArray[np.uint64], shares: Shares) -> NDArray[np.uint64]:
        rows, columns = shares.shape
        out = np.empty(columns, np.uint64)
        status = binding.lib.sa_shamir_combine(
            binding.write(out), binding.read(weights), binding.read(shares), rows, columns
        )
        binding.check(status, "shamir_combine")
        return out

    def rebuild(self, shares: Shares, accept: Callable[[int, bytes], bool]) -> list[Rebuilt | None]:
        """Rebuilds every seed, correcting up to floor((r - t) / 2) wrong shares of each.

        Args:
            shares: shape (r, 3 * seeds), rows in the order of `holders`.
            accept: called with the number of a seed and a candidate; returns whether it is that
                seed.

        Returns:
            One entry per seed: the accepted candidate, or None if none was accepted.

        Raises:
            ParameterError: `shares` does not have r rows, or not three columns per seed.
        """
        shares = np.ascontiguousarray(shares, np.uint64)
        if shares.ndim != 2 or len(shares) != len(self._points) or shares.shape[1] % LIMBS:
            raise ParameterError(
                f"shares of {len(self._points)} holders need as many rows, and {LIMBS} columns "
                f"per seed, not shape {shares.shape}",
                Code.SHAPE,
            )
        values = self._combine(self._weights, shares).reshape(-1, LIMBS).tolist()
        parities = self._combine(self._parity, shares).reshape(-1, LIMBS).tolist()
        rebuilt: list[Rebuilt | None] = []
        for number, (limbs, parity) in enumerate(zip(values, parities, strict=True)):
            if not any(parity):
                seed = _limbs_seed(limbs)
                good = seed is not None and accept(number, seed)
                rebuilt.append(Rebuilt(seed, ()) if seed is not None and good else None)
                continue
            columns = np.ascontiguousarray(shares[:, LIMBS * number : LIMBS * (number + 1)])
            candidates = self._leave_one_out(limbs, parity)
            if len(self._points) > self._threshold + 1:
                candidates = self._decode(columns)
            rebuilt.append(next((one for one in candidates if accept(number, one.seed)), None))
        return rebuilt

    def _decode(self, columns: Shares) -> list[Rebuilt]:
        """Decodes the shares of one seed; returns [] if too many are wrong for a unique answer."""
        count = len(self._points)
        scratch = np.empty(binding.lib.sa_shamir_decode_scratch(count), np.uint64)
        limbs: list[int] = []
        wrong = np.zeros(count, np.uint8)
        for column in np.ascontiguousarray(columns.T):
            value = np.empty(1, np.uint64)
            errors = np.empty(count, np.uint8)
            status = binding.lib.sa_shamir_decode(
                binding.write(value),
                binding.write(errors),
                binding.read(self._points),
                binding.read(column),
                count,
                self._threshold,
                binding.write(scratch),
            )
            if status == binding.lib.SA_EDECODE:
                return []
            binding.check(status, "shamir_decode")
            limbs.append(int(value[0]))
            wrong |= errors
        seed = _limbs_seed(limbs)
        if seed is None or 2 * int(wrong.sum()) > count - self._threshold:
            return []
        return [Rebuilt(seed, tuple(np.flatnonzero(wrong).tolist()))]

    def _leave_one_out(self, limbs: Sequence[int], parity: Sequence[int]) -> list[Rebuilt]:
        """Computes, if there are t + 1 shares, the seed that each set of t of them gives.

        Adding a multiple of the parity check to the weights changes nothing if all shares are
        right, and one such multiple gives share i the weight zero.
        """
        if len(self._points) != self._threshold + 1:
            return []
        candidates = []
        pairs = zip(self._weights.tolist(), self._parity.tolist(), strict=True)
        for row, (weight, check) in enumerate(pairs):
            factor = weight * pow(check, -1, _P) % _P
            seed = _limbs_seed(
                [(limb - factor * off) % _P for limb, off in zip(limbs, parity, strict=True)]
            )
            if seed is not None:
                candidates.append(Rebuilt(seed, (row,)))
        return candidates
