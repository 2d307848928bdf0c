"""Sums of independent cohorts, added: exactly, or not at all."""

import math
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from harness import MODES, SteppedRound, expected_sum, integers
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from secagg import Code, Mode, ParameterError, Phase, RangeError, Result, combine

LOW, HIGH = -(2**63), 2**63 - 1
INT64 = st.sampled_from([LOW, LOW + 1, -(2**32), -1, 0, 1, 2**32 - 1, 2**32, HIGH - 1, HIGH])


def result(
    total: Sequence[float], dtype: type = np.int64, weight: int = 2, **more: object
) -> Result:
    """A result of two parties."""
    array = np.array(total, dtype)
    return Result(array, weight, array / weight, **{"survivors": (0, 2), **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_two_rounds_are_one_sum(mode: Mode) -> None:
    """With real rounds, of which one lost a party: survivors are known by cohort and index."""
    results = []
    for cohort, gone in ((4, 3), (5, None)):
        stepped = SteppedRound(
            integers(cohort, mode=mode), label=cohort, session=bytes([cohort]) * 16
        )
        messages = stepped.until(Phase.MASKED_INPUT)
        messages.pop(gone, None)  # type: ignore[call-overload]
        assert stepped.finish(messages).result is not None
        results.append(stepped.result)
    combined = combine(result for result in results if result is not None)
    assert combined.survivors == (*((0, one) for one in range(3)), *((1, one) for one in range(5)))
    whole = np.array(expected_sum(range(3))) + expected_sum(range(5))
    assert combined.total.tolist() == whole.tolist()
    assert combined.total.dtype == np.int64
    assert combined.weight == 8
    assert combined.mean.tolist() == (whole / 8).tolist()
    assert combined.parts == tuple(results)
    assert pickle.loads(pickle.dumps(combined)).total.tolist() == whole.tolist()  # noqa: S301


def test_weights_and_disputes_go_along() -> None:
    """Means are weighted by cohort; a dispute names its cohort; the parts stay as they were."""
    parts = [
        result([1.0, 3.0], np.float64, weight=3, disputes=((0, 2),)),
        result([0.5, -1.0], np.float64, weight=5, disputes=((2, 0), (2, 1))),
    ]
    combined = combine(parts)
    assert (combined.total.tolist(), combined.total.dtype) == ([1.5, 2.0], np.float64)
    assert (combined.weight, combined.mean.tolist()) == (8, [1.5 / 8, 2.0 / 8])
    assert combined.disputes == ((0, 0, 2), (1, 2, 0), (1, 2, 1))
    assert parts[0].total.tolist() == [1.0, 3.0]
    alone = combine(parts[:1])
    assert not np.shares_memory(alone.total, parts[0].total)


@given(st.lists(st.tuples(INT64, INT64), min_size=1, max_size=6))
def test_integers_are_exact_or_refused(totals: list[tuple[int, int]]) -> None:
    """Of any that fit, also where a sum on the way does not."""
    true = [sum(column) for column in zip(*totals, strict=True)]
    if all(LOW <= one <= HIGH for one in true):
        assert combine(map(result, totals)).total.tolist() == true
        return
    wrong = next(place for place, one in enumerate(true) if not LOW <= one <= HIGH)
    with refused(RangeError, Code.OUT_OF_RANGE, match=f"coordinate {wrong} "):
        combine(map(result, totals))


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([], Code.ARGUMENT),
        (None, Code.ARGUMENT),
        (result([1]), Code.ARGUMENT),
        ([result([1]), None], Code.ARGUMENT),
        ([np.zeros(2)], Code.ARGUMENT),
        ([result([1]), result([1.0], np.float64)], Code.DTYPE),
        ([result([1, 2]), result([1])], Code.SHAPE),
    ],
    ids=["none", "nothing", "one", "a failed round", "an array", "two kinds", "two lengths"],
)
def test_what_is_no_sum(results: object, code: Code) -> None:
    """Nothing is broadcast, converted or left out."""
    with refused(ParameterError, code):
        combine(results)  # type: ignore[arg-type]


def test_what_sums_of_floats_lose_on_the_way_is_added_at_the_end() -> None:
    """Else an exact sum of a `ModelLayout`, which is read from them, is wrong for many rounds."""
    columns = [[2.0**53, 1.0, 1.0, 1.0], [1.0, 2.0**53, 1.0, 1.0], [0.1] * 4, [1e16, 3.0, -1e16, 0]]
    combined = combine([result(row, np.float64) for row in zip(*columns, strict=True)])
    assert combined.total.tolist() == [math.fsum(column) for column in columns]
