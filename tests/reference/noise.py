"""Noise in integers of any size: tables by definition, and samplers as native/api.h says."""

import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from operator import mul

from .arithmetic import stream, words

UNIT = 1 << 128
POISSON_BITS = 400  # of the weight of the most likely Poisson number
LONGEST = 128


@cache
def tails(steps: int) -> tuple[int, ...]:
    """P(|X| > k) in units of 2^-128, where X is the difference of two Poisson numbers.

    Both have the mean steps / 2^17. Weights are in proportion to their probabilities, and the rest
    is counting.
    """
    mode = steps >> 17
    up, down = [1 << POISSON_BITS], []
    for j in itertools.count(mode + 1):
        up.append(up[-1] * steps // (j << 17))
        if not up[-1]:
            break
    weight = up[0]
    for j in range(mode, 0, -1):
        weight = weight * (j << 17) // steps
        down.append(weight)
    weights = [weight for weight in down[::-1] if weight] + up
    # Twice the chance of each distance, from the largest one on: rounded to units of half.
    total, beyond, found = sum(weights) ** 2, 0, []
    for k in range(len(weights) - 1, 0, -1):
        beyond += 2 * sum(map(mul, weights, weights[k:]))
        found.append((2 * UNIT * beyond // total + 1) // 2)
    return tuple(tail for tail in found[::-1] if tail)


def skellam(suite: int, key: bytes, thresholds: Sequence[int], count: int) -> list[int]:
    """The samples of `sa_skellam_add`, whose thresholds are integers of 128 bits here."""
    firsts = words(suite, key, 0, 8, 0, count)
    signs = stream(suite, key, 1, 0, -(-count // 8))
    samples = []
    for i, first in enumerate(firsts):
        uniform = first << 64 | words(suite, key, i + 2, 8, 0, 1)[0]
        magnitude = bisect_right(thresholds, uniform)
        samples.append(-magnitude if signs[i // 8] >> i % 8 & 1 else magnitude)
    return samples


class Gaussian:
    """The samples of `sa_gaussian_add`; names are those of native/gaussian.c."""

    def __init__(self, suite: int, key: bytes, variance: int) -> None:
        self._words = _all_words(suite, key)
        self.variance = variance
        self.t = math.isqrt(variance >> 16) + 1
        self.b = 2**17 * variance * self.t**2

    def below(self, n: int) -> int:
        """A uniform number in 0..n-1."""
        bits = (n - 1).bit_length()
        while True:
            drawn = sum(next(self._words) << 32 * i for i in range(-(-bits // 32)))
            drawn &= (1 << bits) - 1
            if drawn < n:
                return drawn

    def exp_one(self) -> bool:
        """True with the chance exp(-1)."""
        k = 1
        while self.below(k) == 0:
            k += 1
        return k % 2 == 1

    def exp(self, a: int, b: int) -> bool:
        """True with the chance exp(-a / b)."""
        if not all(self.exp_one() for _ in range(a // b)):
            return False
        k = 1
        while self.below(k) == 0 and self.below(b) < a % b:
            k += 1
        return k % 2 == 1

    def sample(self) -> int:
        """One sample."""
        while True:
            u = self.below(self.t)
            if not self.exp(u, self.t):
                continue
            v = 0
            while v < LONGEST and self.exp_one():
                v += 1
            if v == LONGEST:
                continue
            y = u + self.t * v
            minus = self.below(2)
            if minus and not y:
                continue
            if self.exp((y * self.t * 2**16 - self.variance) ** 2, self.b):
                return -y if minus else y


def _all_words(suite: int, key: bytes) -> Iterator[int]:
    for start in itertools.count(0, 64):
        yield from words(suite, key, 0, 4, start, 64)


def discrete_gaussian(steps: int, most: int) -> list[float]:
    """P(|X| = k) of the discrete Gaussian for k = 0..most."""
    weights = [(2 if k else 1) * math.exp(-k * k * 2**15 / steps) for k in range(most + 1)]
    return [weight / math.fsum(weights) for weight in weights]
