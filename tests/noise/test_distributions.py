"""How noise is distributed: chi-square tests with exact expectations, moments, and sums.

A test of samples sees only so much. At a standard deviation of 26 it sees neither a rounded normal
number nor some zeros moved away; at a variance of 6.55 it sees both. So what is drawn is compared
bit for bit as well (test_samplers.py).
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from levels import amount, runs_at
from reference import noise
from support import implementations, looped

from secagg import Field, Suite
from secagg.noise.samplers import sampler

GENERATOR = Suite.AES256CTR.generator
SAMPLES = amount("samples of noise")
FINE, COARSE = round(6.55 * 2**16), 26**2 << 16
KINDS = {"Skellam": 1, "discrete Gaussian": 2}
Bug = Callable[[int], np.ndarray]
HIDDEN, SEEN = 4, 7  # standard deviations: p above 3e-5, p below 1e-11


def draw(kind: int, steps: int, number: int = 0, count: int = SAMPLES) -> np.ndarray:
    """Samples of one key, below and above zero."""
    field = Field(40)
    vector = field.zeros(count)
    sampler(kind, steps).add(field, vector, GENERATOR, bytes([number]) * 32)
    samples = vector.astype(np.int64)
    return np.where(samples > field.modulus // 2, samples - field.modulus, samples)


def expected(kind: int, steps: int) -> list[float]:
    """P(|X| = k) for k = 0, 1, ..."""
    if kind == KINDS["discrete Gaussian"]:
        return noise.discrete_gaussian(steps, 12 * math.isqrt(steps >> 16) + 12)
    tails = [noise.UNIT, *noise.tails(steps), 0]
    return [(a - b) / noise.UNIT for a, b in pairwise(tails)]


def deviation(samples: np.ndarray, chances: Sequence[float]) -> float:
    """How far the chi-square statistic is from its mean, in standard deviations.

    Those of a normal number that is as unlikely (Wilson & Hilferty 1931). Cells are the integers,
    until fewer than 20 samples are expected beyond.
    """
    magnitudes = np.abs(samples)
    last = 0
    while magnitudes.size * sum(chances[last + 2 :]) / 2 > 20:
        last += 1
    signed = [chances[0], *(chance / 2 for chance in chances[1 : last + 1] for _ in range(2))]
    signed.append(sum(chances[last + 1 :]))
    counts = np.bincount(magnitudes.clip(max=last + 1), minlength=last + 2)
    below = np.bincount(-samples.clip(max=0, min=-last - 1), minlength=last + 2)
    seen = [counts[0]]
    for k in range(1, last + 1):
        seen += [below[k], counts[k] - below[k]]
    seen.append(counts[last + 1])
    wanted = magnitudes.size * np.array(signed)
    statistic = float(((np.array(seen) - wanted) ** 2 / wanted).sum())
    spread = 2 / (9 * (len(seen) - 1))
    return float(((statistic / (len(seen) - 1)) ** (1 / 3) - 1 + spread) / math.sqrt(spread))


@implementations("noise")
@looped("steps", [FINE, COARSE])
def test_skellam(implementation: str, steps: int) -> None:
    """Samples of every implementation are Skellam, to what the test sees."""
    assert abs(deviation(draw(1, steps), expected(1, steps))) < HIDDEN


@looped("kind", KINDS.values())
def test_no_part_of_the_samples_comes_again(kind: int) -> None:
    """Neither magnitudes nor signs, at a distance that a counter which is cut short would have."""
    samples = draw(kind, FINE, count=2 * SAMPLES)
    sizes = np.abs(samples)
    for part in (np.sign(samples), (sizes - sizes.mean()) / sizes.std()):
        for lag in (2**k for k in range(9, SAMPLES.bit_length())):
            found = float(part[lag:] @ part[:-lag]) / math.sqrt(samples.size - lag)
            assert abs(found) < SEEN, lag


@looped("steps", [FINE, COARSE])
def test_discrete_gaussian(steps: int) -> None:
    """Samples are discrete Gaussian, and not Skellam where one can tell the two apart."""
    samples = draw(2, steps)
    assert abs(deviation(samples, expected(2, steps))) < HIDDEN
    if steps == FINE:
        assert deviation(samples, expected(1, steps)) > SEEN


@looped("kind", KINDS.values())
@looped("steps", [FINE, COARSE])
def test_moments(kind: int, steps: int) -> None:
    """Mean, variance and fourth moment are within four of their standard errors."""
    samples, variance = draw(kind, steps).astype(float), steps / 2**16
    kurtosis = 3 + (1 / variance if kind == KINDS["Skellam"] else 0)
    fourth = kurtosis * variance**2
    eighth = 105 * variance**4 * (1.5 if kind == KINDS["Skellam"] and steps == FINE else 1)
    root = math.sqrt(samples.size)
    assert abs(samples.mean()) < HIDDEN * math.sqrt(variance) / root
    assert abs((samples**2).mean() - variance) < HIDDEN * math.sqrt(fourth - variance**2) / root
    assert abs((samples**4).mean() - fourth) < HIDDEN * math.sqrt(eighth - fourth**2) / root


@looped("count", [2, 7])
def test_sums_of_skellam_noise_are_skellam_noise(count: int) -> None:
    """Of the sum of the variances, however many clients are left to add theirs."""
    total = sum(draw(1, FINE, client) for client in range(count))
    assert abs(deviation(total, expected(1, count * FINE))) < HIDDEN


def rounded_normal(steps: int) -> np.ndarray:
    """What a sampler in floating point gives."""
    drawn = np.random.default_rng(1).normal(0, math.sqrt(steps / 2**16), SAMPLES)
    return np.rint(drawn).astype(np.int64)


def zeros_moved(steps: int) -> np.ndarray:
    """Samples of which 2 % of the zeros are 1 or -1."""
    samples, rng = draw(1, steps), np.random.default_rng(2)
    moved = (samples == 0) & (rng.random(samples.size) < 0.02)
    samples[moved] = rng.choice([-1, 1], int(moved.sum()))
    return samples


def more_variance(steps: int) -> np.ndarray:
    """Samples of 1 % more variance."""
    return draw(1, steps * 101 // 100)


BUGS = (rounded_normal, zeros_moved, more_variance)


@runs_at("planted bugs of samplers")
@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_seen_at_a_small_variance(bug: Bug) -> None:
    """By a chi-square of 4 million samples, as no other test of samples sees more."""
    assert deviation(bug(FINE), expected(1, FINE)) > SEEN


@runs_at("planted bugs of samplers")
@pytest.mark.parametrize("bug", BUGS[:2])
def test_planted_bugs_are_hidden_at_a_large_variance(bug: Bug) -> None:
    """There only the comparison with big integers sees them, sample by sample."""
    samples = bug(COARSE)
    assert abs(deviation(samples, expected(1, COARSE))) < HIDDEN
    count = 2**15
    thresholds = [noise.UNIT - tail for tail in noise.tails(COARSE)]
    wanted = noise.skellam(Suite.AES256CTR, bytes(32), thresholds, count)
    assert draw(1, COARSE)[:count].tolist() == wanted
    assert samples[:count].tolist() != wanted
