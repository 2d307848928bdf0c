"""Checks that the noise of a sum, less its known inputs, has the variance that the format says.

They detect a fault in the noise of one client among many, which canaries do not: without the noise
of one of n clients the variance is 1 / n smaller, and with one key at two clients 2 / n larger. In
d coordinates a relative change of more than about 5 sqrt(2 / d) is detected.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...codes import Code
from ...errors import ParameterError, RangeError
from ...numeric import brief
from ...params.params import Params
from ...params.rotated import Noise, Rotated
from ..accounting import Release
from .numbers import finite

MOST: Final = 5.0  # standard deviations; beyond in one of two million sums

Floats = NDArray[np.float64]


def variance_check(
    total: ArrayLike,
    inputs: Sequence[ArrayLike] | Mapping[int, ArrayLike],
    params: Params,
    survivors: Iterable[int],
) -> float:
    """Returns by how many standard deviations the variance of a sum's noise is too large.

    Below zero it is too small. Source: Wilson & Hilferty 1931, for the distribution.

    Args:
        total: the sum of a round, shape (length,).
        inputs: those of all survivors, by party, shape (length,) each, as they were given; longer
            ones than the clip are shortened here.
        params: of the round, with a `Rotated` format that has noise.
        survivors: the parties that are in the sum.

    Raises:
        RangeError: beyond five standard deviations, with `Code.NOISE`; or an array has another
            shape, or values that are not finite.
        ParameterError: the format has no noise; there are no survivors, one is named twice, or its
            input is missing.
    """
    parties = list(survivors)
    if len(set(parties)) < len(parties):
        raise ParameterError(f"survivors names a party twice: {brief(parties)}", Code.ARGUMENT)
    release = Release.of(params, honest=len(parties))
    form = params.format
    assert isinstance(form, Rotated)  # noqa: S101  (`Release.of` refuses others)
    rest = _vector(total, params.length, "the sum")
    noise = variance = len(parties) * _variance(form)
    for party in parties:
        given = _vector(_input_of(inputs, party), params.length, f"the input of party {party}")
        peak = float(np.abs(given).max()) or 1.0
        unit = given / peak  # whose norm overflows for no input
        shortened = unit * min(peak, form.clip / max(1.0, float(np.linalg.norm(unit))))
        rest -= shortened
        variance += _rounding(shortened * form.scale, form.rotation)
    ratio = float(rest @ rest) * form.scale**2 / params.length / variance
    # The cube root of a sum of squares is nearly normal, also of few (Wilson & Hilferty 1931).
    # Skellam noise has the excess kurtosis 1 / variance.
    spread = (2 + (release.noise is Noise.SKELLAM) / noise) / params.length / 9
    found = (math.cbrt(ratio) - 1 + spread) / math.sqrt(spread)
    if not abs(found) <= MOST:
        hint = (
            f"as if {(1 - ratio) * len(parties):.3g} of them had added none"
            if ratio < 1
            else "as if some had added the same noise, or given other inputs"
        )
        raise RangeError(
            f"the sum of {len(parties)} clients has {ratio:.4f} times the variance that their "
            f"noise has by the format, {abs(found):.1f} standard deviations off: {hint}",
            Code.NOISE,
        )
    return found


def correlation_check(one: ArrayLike, other: ArrayLike) -> float:
    """Returns by how many standard deviations two clients' noise is correlated.

    Args:
        one, other: shape (length,) each: what is left of two clients' encoded vectors, each
            decoded by itself, without their inputs.

    Raises:
        RangeError: beyond five standard deviations, with `Code.NOISE`, as for twice the same noise
            of 26 coordinates or more; or the arrays are not two vectors of one length.
    """
    first = _vector(one, None, "one client's noise")
    second = _vector(other, first.size, "the other client's noise")
    product = float(np.linalg.norm(first) * np.linalg.norm(second))
    found = float(first @ second) / product * math.sqrt(first.size) if product else 0.0
    if not abs(found) <= MOST:
        raise RangeError(
            f"the noise of two clients has the correlation {found / math.sqrt(first.size):.3g}, "
            f"{abs(found):.1f} standard deviations from none: do they draw it with one key?",
            Code.NOISE,
        )
    return found


def _input_of(inputs: Sequence[ArrayLike] | Mapping[int, ArrayLike], party: int) -> ArrayLike:
    """Returns what a party gave; raises ParameterError if that is not among the inputs."""
    try:
        return inputs[party]
    except (IndexError, KeyError, TypeError):
        raise ParameterError(
            f"the input of party {brief(party)} is missing, who is in the sum: give those of all "
            "survivors, by party",
            Code.ARGUMENT,
        ) from None


def _vector(values: ArrayLike, length: int | None, name: str) -> Floats:
    """Returns finite float64 numbers of one dimension; raises RangeError for anything else."""
    found = finite(values, name)
    if found.ndim != 1 or length not in (None, found.size):
        wanted = "(length,)" if length is None else f"({length},)"
        raise RangeError(f"{name} has the shape {found.shape}, not {wanted}", Code.SHAPE)
    return found


def _variance(form: Rotated) -> float:
    """Returns the variance of one client's noise: a narrow discrete Gaussian's is below its own.

    What formats give is the parameter of the distribution.
    """
    named = float(form.variance)
    if form.noise is Noise.SKELLAM or named > 2:
        return named
    squares = np.arange(-60, 61) ** 2
    weights = np.exp(-squares / (2 * named))
    return float(squares @ weights / weights.sum())


def _rounding(levels: Floats, rotation: bool) -> float:
    """Returns the variance of rounding f up with probability f: the mean of f (1 - f).

    Rotated coordinates are taken for normal numbers of the same length, whose mean it is by the
    Fourier series of f (1 - f).
    """
    if not rotation:
        fractions = levels - np.floor(levels)
        return float(np.mean(fractions * (1 - fractions)))
    square = float(levels @ levels) / levels.size
    k2 = np.arange(1, 1000, dtype=np.float64) ** 2
    return 1 / 6 - float(np.sum(np.exp(-2 * math.pi**2 * square * k2) / k2)) / math.pi**2
