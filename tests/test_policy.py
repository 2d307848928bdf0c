"""A client's own policy: what it refuses, at which border, and with which words."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import Integers, ParameterError, Params, Policy

PARAMS = Params(10, 100, Integers(0, 1), threshold=7)
CONTEXT = bytes(range(32))
OFFER = PARAMS.round(CONTEXT)


def pair() -> Params:
    return Params(2, 100, Integers(0, 1))


def test_the_default_policy_takes_part_in_anything_but_a_pair() -> None:
    """No demands of its own, but one."""
    Policy().check(OFFER)
    Policy().check(Params(3, 1, Integers(0, 1)).round())
    with pytest.raises(ParameterError, match=r"policy: in a cohort of two .* set allow_pair"):
        Policy().check(pair().round())


REFUSED: dict[str, tuple[Policy, Params, str]] = {
    "other parameters": (Policy(params=replace(PARAMS, length=101)), PARAMS, "not the parameters"),
    "parameters that differ in the threshold only": (
        Policy(params=replace(PARAMS, threshold=8)),
        PARAMS,
        "not the parameters",
    ),
    "another context": (Policy(context=bytes(32)), PARAMS, "context differs"),
    "a pair": (Policy(), pair(), "in a cohort of two"),
    "a pair, by parameters": (Policy(params=pair()), pair(), "in a cohort of two"),
    "too large a cohort": (Policy(max_cohort=9), PARAMS, "cohort 10 is above 9"),
    "too long an input": (Policy(max_length=99), PARAMS, "length 100 is above 99"),
    "more survivors than there are": (
        Policy(min_survivors=11),
        PARAMS,
        "11 survivors are impossible in a cohort of 10",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_policy_refuses(what: str) -> None:
    """A ParameterError that says "policy" and why."""
    policy, params, reason = REFUSED[what]
    with pytest.raises(ParameterError, match=f"^policy: .*{reason}"):
        policy.check(params.round(CONTEXT))


ACCEPTED: dict[str, tuple[Policy, Params]] = {
    "the same parameters": (Policy(params=Params(10, 100, Integers(0, 1), threshold=7)), PARAMS),
    "the same context": (Policy(context=CONTEXT), PARAMS),
    "a pair": (Policy(allow_pair=True), pair()),
    "the greatest cohort": (Policy(max_cohort=10), PARAMS),
    "the greatest length": (Policy(max_length=100), PARAMS),
    "all survivors": (Policy(min_survivors=10), PARAMS),
    "everything": (Policy(PARAMS, CONTEXT, 10, 10, 100, allow_pair=True), PARAMS),
}


@pytest.mark.parametrize("what", ACCEPTED)
def test_what_a_policy_accepts(what: str) -> None:
    """Up to and including the border."""
    policy, params = ACCEPTED[what]
    policy.check(params.round(CONTEXT))


@given(st.integers(0, 65536), st.integers(2, 300), st.integers(0, 300))
def test_the_quorum_is_the_stricter_of_the_two(mine: int, n: int, more: int) -> None:
    """A client never accepts fewer survivors than itself or the parameters demand."""
    params = Params(n, 1, Integers(0, 1), min_survivors=min(n, more))
    quorum = Policy(min_survivors=mine).quorum(params)
    assert quorum == max(mine, params.threshold, params.min_survivors)


IMPOSSIBLE: dict[str, tuple[dict[str, object], str]] = {
    "min_survivors -1": ({"min_survivors": -1}, "min_survivors"),
    "min_survivors 65537": ({"min_survivors": 65537}, "min_survivors"),
    "min_survivors 2.5": ({"min_survivors": 2.5}, "min_survivors"),
    "max_cohort 1": ({"max_cohort": 1}, "max_cohort"),
    "max_cohort 65537": ({"max_cohort": 65537}, "max_cohort"),
    "max_cohort None": ({"max_cohort": None}, "max_cohort"),
    "max_length 0": ({"max_length": 0}, "max_length"),
    "max_length 2^32 + 1": ({"max_length": 2**32 + 1}, "max_length"),
    "max_length True": ({"max_length": True}, "max_length"),
    "a context that no round has": ({"context": b"short"}, "context"),
    "a context of text": ({"context": "c" * 32}, "context"),
    "parameters of another type": ({"params": "the usual"}, "params"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_policies_are_refused(what: str) -> None:
    """At construction, not in the middle of a round."""
    arguments, name = IMPOSSIBLE[what]
    with pytest.raises(ParameterError, match=name):
        Policy(**arguments)  # type: ignore[arg-type]


def test_a_policy_does_not_change() -> None:
    """Frozen, like everything that was agreed on."""
    policy = Policy()
    with pytest.raises(AttributeError):
        policy.allow_pair = True  # type: ignore[misc]
