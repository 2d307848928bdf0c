"""Clipping is never silent: counted by array, and told once per round, or per client."""

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from harness import SteppedRound, clone, locals_kept, state_of

from secagg import (
    Client,
    ClippingWarning,
    FixedPoint,
    Integers,
    Layout,
    Params,
    Phase,
    Rotated,
    noise,
    secure_sum,
)
from secagg.params.rotated import least_tail
from secagg.simulate import count_clipped, warn_of_clipping

FORM = FixedPoint(clip=0.5)
LENGTH = 1000
ROTATED = Rotated.of(clip=0.5, bits=8, length=LENGTH, cohort=4, rotation=False)
ONE_BIT = Rotated.of(clip=0.5, bits=1, length=LENGTH, cohort=4)
TAIL = least_tail(noise.Noise.SKELLAM, 1, 4, LENGTH)
NOISY = Rotated(
    clip=0.5, scale=64.0, peak=32, bound=2**11, tail=TAIL,
    noise=noise.Noise.SKELLAM, variance_steps=1,
)  # fmt: skip


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[warnings.WarningMessage]]:
    """The warnings of a test, which are no errors in it."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


def model(bias: float) -> dict[str, np.ndarray]:
    """Arrays of 200 and of 10 values, and one without any."""
    kernel = np.zeros((20, 10), np.float32)
    return {"kernel": kernel, "bias": np.full(10, bias, np.float32), "none": np.zeros((0, 3))}


def test_one_warning_names_the_arrays(told: list[warnings.WarningMessage]) -> None:
    """Of a round: counts of all parties that gave an input, the clip, what to do, and where."""
    updates = [model(0.7), model(-9.0), model(0.5), model(0.2), model(8.0)]
    drops = {4: Phase.MASKED_INPUT, 3: Phase.UNMASK}
    done = secure_sum(updates, FORM, drops=drops, threshold=3)
    assert done.run.clipped == {0: 10, 1: 10, 2: 0, 3: 0}
    (warning,) = told
    assert warning.category is ClippingWarning
    assert warning.filename == __file__
    text = str(warning.message)
    assert "20 of 40 values (50.0%) of array 'bias'" in text
    assert "kernel" not in text
    assert "-0.5..0.5" in text
    assert "raise the clip" in text


def test_up_to_one_percent_is_counted_only(told: list[warnings.WarningMessage]) -> None:
    """The share is of each array, over all parties."""
    few = [np.append(np.zeros(299), np.full(3 if party == 0 else 0, 2.0)) for party in range(3)]
    few = [np.append(values, np.zeros(302 - values.size)) for values in few]
    assert sum(secure_sum(few, FORM).run.clipped.values()) == 3
    secure_sum([model(0.5)] * 3, FORM)
    secure_sum([np.full(3, 9)] * 3, Integers(0, 9))
    assert not told
    few[1][:7] = 1.0
    assert sum(secure_sum(few, FORM).run.clipped.values()) == 10
    (warning,) = told
    assert "10 of 906 values (1.1%) were" in str(warning.message)


def test_the_worst_arrays_are_named(told: list[warnings.WarningMessage]) -> None:
    """Three of them, the others are counted."""
    arrays = [np.append(np.full(10 + i, 2.0), np.zeros(90 - i)) for i in range(5)]
    secure_sum([arrays] * 3, FORM)
    (warning,) = told
    text = str(warning.message)
    assert [f"array '{i}'" in text for i in range(5)] == [False, False, True, True, True]
    assert "2 more arrays" in text


def test_counts_are_those_of_the_core() -> None:
    """By array they add up to what clients count, for values at the bound and every dtype."""
    layout = Layout.of([np.zeros(2), np.zeros((2, 2))])
    for dtype in (np.float16, np.float32, np.float64):
        end = dtype(0.1)
        x = np.array([end, -end, np.nextafter(end, dtype(1)), 9, -9, 0], dtype)
        x[:2] = np.clip(np.array([3, -3], dtype), -0.1, 0.1)
        counts = count_clipped(FixedPoint(0.1), layout, x)
        with pytest.warns(ClippingWarning):
            run = secure_sum([x] * 3, FixedPoint(0.1)).run
        assert counts.sum() == run.clipped[0]
        assert (counts[0], counts[1] >= 2) == (0, True)
    least = np.array([-128, 0, 1, 127, 3, 0], np.int8)  # whose absolute value is no int8
    assert count_clipped(FixedPoint(2.0), layout, least).tolist() == [1, 2]
    none = count_clipped(Integers(0, 1), layout, least)
    assert none.tolist() == [0, 0]
    warn_of_clipping(Integers(0, 1), layout, none, 3)


def test_updates_that_are_longer_than_the_clip_are_told(
    told: list[warnings.WarningMessage],
) -> None:
    """Once per round, by their number; those that are as long by rounding alone are not."""
    unit = np.sin(np.arange(LENGTH))
    unit /= np.linalg.norm(unit)
    at_clip = unit.astype(np.float32)
    at_clip *= np.float32(0.5) / np.linalg.norm(at_clip)
    at_clip *= np.float32(1 + 2e-7)  # beyond the clip, as sums in float32 may be
    short = [[each[:400], each[400:]] for each in (0.4 * unit, at_clip)]
    long = [[each[:400], each[400:]] for each in (0.501 * unit, 50 * unit, 1e200 * unit)]
    assert np.linalg.norm(at_clip.astype(float)) > 0.5
    done = secure_sum([*short, *long], ROTATED, drops={4: Phase.UNMASK})
    assert done.run.clipped == {0: 0, 1: 0, 2: LENGTH, 3: LENGTH, 4: LENGTH}
    (warning,) = told
    assert warning.filename == __file__
    text = str(warning.message)
    assert "3 of 5 updates are longer than the clip of Rotated, an L2 norm of 0.5, and were" in text
    assert "shortened to it" in text
    assert "raise the clip" in text
    secure_sum(short * 2, ROTATED)
    done = secure_sum(short * 2, ONE_BIT)  # whose grid ends where many of the rotated values lie
    assert all(0 < count < LENGTH for count in done.run.clipped.values())
    client = waiting(ONE_BIT)
    client.submit(at_clip)
    assert 0 < client.clipped < LENGTH
    assert len(told) == 1


def test_with_noise_shortening_is_counted_only(told: list[warnings.WarningMessage]) -> None:
    """There the clip is a choice between shortening and noise, and shortens many by design."""
    values = np.full(LENGTH, 10.0)
    assert secure_sum([values] * 4, NOISY).run.clipped == dict.fromkeys(range(4), LENGTH)
    client = waiting(NOISY)
    client.submit(values)
    assert client.clipped == LENGTH
    assert not told


def waiting(form: FixedPoint | Rotated) -> Client:
    """A client of a round of vectors of 1,000 values, which waits for its input."""
    stepped = SteppedRound(Params(4, LENGTH, form, threshold=3))
    stepped.to_server(stepped.until(Phase.SHARE_KEYS))
    stepped.clients[2].receive(stepped.outbox[2])
    return stepped.clients[2]


def test_a_client_alone_warns(told: list[warnings.WarningMessage]) -> None:
    """It has no names; it warns of its own vector, whole or in chunks, at the caller's line."""
    values, client = np.zeros(1000, np.float32), waiting(FORM)
    values[:10] = 1.0
    clone(client).submit(values)
    assert not told
    values[10] = 1.0
    for given in (values, iter([values[:500], values[500:]])):
        clone(client).submit(given)
    assert [warning.filename for warning in told] == [__file__] * 2
    assert "11 of 1,000 values (1.1%) were" in str(told[0].message)
    client = waiting(ROTATED)
    clone(client).submit(values / 8)
    assert len(told) == 2
    client.submit(values)
    assert client.clipped == LENGTH
    assert told[2].filename == __file__
    assert "the update is longer than the clip of Rotated, an L2" in str(told[2].message)


@pytest.mark.parametrize("form", [FORM, ROTATED], ids=["each value", "the norm"])
def test_a_warning_that_is_an_error_changes_nothing(form: FixedPoint | Rotated) -> None:
    """The caller may scale its update and submit that."""
    client = waiting(form)
    before = clone(client)
    with pytest.raises(ClippingWarning) as caught:
        client.submit(np.ones(1000))
    assert locals_kept(caught.value) == []
    client._steps._random.drawn = before._steps._random.drawn  # type: ignore[attr-defined]
    assert state_of(client) == state_of(before)
    client.submit(np.ones(1000) / 64)
