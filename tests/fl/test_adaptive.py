"""A clip that follows a quantile of the norms, learned from secure sums of bits."""

from typing import Any

import numpy as np
import pytest
from refusals import refused
from secagg.fl.adaptive import QuantileClip

import secagg
from secagg import Code, ParameterError, RangeError


@pytest.mark.parametrize(("start", "quantile"), [(0.01, 0.5), (50.0, 0.5), (1.0, 0.8)])
def test_the_clip_comes_to_the_quantile(start: float, quantile: float) -> None:
    norms = np.random.default_rng(4).lognormal(0.0, 0.5, 10)
    updates = [norm * np.array([0.6, 0.8]) for norm in norms]
    clip = QuantileClip(start, quantile)
    for _ in range(80):
        clip = clip.after(float(np.mean([clip.bit(update) for update in updates])))
    below = float(np.mean(norms <= clip.clip * 1.2)), float(np.mean(norms <= clip.clip / 1.2))
    assert below[1] - 0.1 <= quantile <= below[0] + 0.1


def test_the_bits_are_summed_securely() -> None:
    """As a metric, by itself or beside a model."""
    form = secagg.FixedPoint(clip=4.0, bits=20)
    layout = secagg.ModelLayout.of({}, form, cohort=3, metrics={"within": secagg.Range(0, 1)})
    bits = [layout.pack({}, None, {"within": bit}) for bit in (1.0, 0.0, 1.0)]
    _, metrics = layout.unpack(secagg.secure_sum(bits, form), {})
    assert QuantileClip(1.0).after(metrics["within"]).clip == pytest.approx(np.exp(-0.2 / 6))


def test_one_step() -> None:
    clip = QuantileClip(2.0, 0.5, 0.2)
    assert clip.bit(np.full((2, 2), 1.0)) == 1.0  # the norm is the clip
    assert clip.bit(np.full((2, 2), np.nextafter(1.0, 2))) == 0.0
    assert (
        clip.bit([np.ones((2, 1), np.float32), {"b": np.ones(2)}]) == 1.0
    )  # the arrays of a model
    assert clip.bit([np.ones((2, 1)), np.ones(3)]) == 0.0
    assert clip.bit(np.full(3, 1e200)) == 0.0  # whose norm is beyond all floats
    assert clip.after(1.0).clip == pytest.approx(2.0 * np.exp(-0.1))
    assert clip.after(0.5) == clip
    assert clip.after(-0.3).clip == clip.after(0.0).clip == pytest.approx(2.0 * np.exp(0.1))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *[("clip", each) for each in (0, -1.0, float("nan"), float("inf"), "1", None, True, 1j)],
        *[("quantile", each) for each in (0, 1, -0.5, float("nan"))],
        *[("rate", each) for each in (0, 1.5, float("nan"))],
    ],
)
def test_impossible_clips_are_refused(name: str, wrong: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT, match=name):
        QuantileClip(**{"clip": 1.0} | {name: wrong})
    with refused(ParameterError, Code.ARGUMENT, match=name):
        QuantileClip(**{"clip": 1.0} | {name: 10**5000})
    for bad in (float("nan"), float("inf")):
        with refused(RangeError, Code.NOT_FINITE):
            QuantileClip(1.0).after(bad)
        with refused(RangeError, Code.NOT_FINITE):
            QuantileClip(1.0).bit([bad])


@pytest.mark.parametrize("wrong", [None, "ab", 1j, {1, 2}, [np.ones(2), None], {"within": 1.0j}])
def test_what_is_no_update_or_mean_is_refused(wrong: Any) -> None:
    with refused(
        RangeError, Code.DTYPE, match="an update: .*: give one array, or the arrays of a model"
    ):
        QuantileClip(1.0).bit(wrong)
    with refused(RangeError, Code.DTYPE, match=r'give metrics\["within"\]'):
        QuantileClip(1.0).after(wrong)
