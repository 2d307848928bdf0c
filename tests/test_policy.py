"""A client's own policy: what it refuses, at which border, and with which words."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from secagg import (
    Code,
    FixedPoint,
    Fractions,
    Integers,
    Mode,
    ParameterError,
    Params,
    Policy,
    Suite,
)

PARAMS = Params(10, 100, Integers(0, 1), threshold=7)  # protects from 3 colluders
HARD = replace(PARAMS, mode=Mode.MALICIOUS)
OTHERS = tuple(replace(PARAMS, length=length) for length in (99, 101))
CONTEXT = bytes(range(32))
OFFER = PARAMS.round(CONTEXT)
REAL = replace(PARAMS, format=FixedPoint(clip=4.0, bits=16, max_weight=100))
SPARSE = Params(100, 100, Integers(0, 1), threshold=21, min_survivors=90, colluders=5, degree=40)


def pair() -> Params:
    return Params(2, 100, Integers(0, 1))


def test_the_default_policy_takes_part_in_anything_but_a_pair_or_a_sparse_graph() -> None:
    """No demands of its own, but two."""
    Policy().check(OFFER)
    Policy().check(Params(3, 1, Integers(0, 1)).round())
    with refused(ParameterError, Code.POLICY_PAIR):
        Policy().check(pair().round())
    with refused(ParameterError, Code.POLICY_GRAPH):
        Policy().check(SPARSE.round())


REFUSED: dict[str, tuple[Policy, Params, Code]] = {
    "other parameters": (Policy(params=replace(PARAMS, length=101)), PARAMS, Code.POLICY_PARAMS),
    "parameters that differ in the threshold only": (
        Policy(params=replace(PARAMS, threshold=8)),
        PARAMS,
        Code.POLICY_PARAMS,
    ),
    "another context": (Policy(context=bytes(32)), PARAMS, Code.POLICY_CONTEXT),
    "a pair": (Policy(), pair(), Code.POLICY_PAIR),
    "a sum of two": (
        Policy(),
        Params(3, 100, Integers(0, 1), threshold=2, colluders=0),
        Code.POLICY_PAIR,
    ),
    "a pair, by parameters": (Policy(params=pair()), pair(), Code.POLICY_PAIR),
    "too large a cohort": (Policy(max_cohort=9), PARAMS, Code.POLICY_COHORT),
    "too long an input": (Policy(max_length=99), PARAMS, Code.POLICY_LENGTH),
    "none of several parameters": (Policy(params=OTHERS), PARAMS, Code.POLICY_PARAMS),
    "parameters that differ in the mode only": (Policy(params=PARAMS), HARD, Code.POLICY_PARAMS),
    "parameters that differ in the suite only": (
        Policy(params=(PARAMS, HARD)),
        replace(PARAMS, suite=Suite.CHACHA20),
        Code.POLICY_PARAMS,
    ),
    "a semi-honest round": (
        Policy(mode=Mode.MALICIOUS),
        PARAMS,
        Code.POLICY_MODE,
    ),
    "a malicious round": (
        Policy(mode=Mode.SEMI_HONEST),
        HARD,
        Code.POLICY_MODE,
    ),
    "too few colluders": (
        Policy(colluders=4),
        PARAMS,
        Code.POLICY_COLLUDERS,
    ),
    "no colluders": (
        Policy(colluders=1),
        replace(PARAMS, colluders=0),
        Code.POLICY_COLLUDERS,
    ),
    "parameters that it lists, for the rest": (
        Policy(params=(PARAMS,), colluders=4),
        PARAMS,
        Code.POLICY_COLLUDERS,
    ),
    "more survivors than there are": (
        Policy(min_survivors=11),
        PARAMS,
        Code.POLICY_SURVIVORS,
    ),
    "too low a threshold": (Policy(min_threshold=8), PARAMS, Code.POLICY_THRESHOLD),
    "too short an input": (Policy(min_length=101), PARAMS, Code.POLICY_LENGTH),
    "another suite": (Policy(suite=Suite.CHACHA20), PARAMS, Code.POLICY_SUITE),
    "another format": (Policy(format=Integers(0, 2)), PARAMS, Code.POLICY_FORMAT),
    "none of several formats": (
        Policy(format=(Integers(0, 2), FixedPoint(4.0))),
        PARAMS,
        Code.POLICY_FORMAT,
    ),
    "too small a clip": (Policy(min_clip=4.1), REAL, Code.POLICY_FORMAT),
    "too large a clip": (Policy(max_clip=3.9), REAL, Code.POLICY_FORMAT),
    "too few bits": (Policy(min_bits=17), REAL, Code.POLICY_FORMAT),
    "too many bits": (Policy(max_bits=15), REAL, Code.POLICY_FORMAT),
    "too large a weight": (Policy(max_weight=99), REAL, Code.POLICY_FORMAT),
    "integers, where bits are bounded": (Policy(max_bits=31), PARAMS, Code.POLICY_FORMAT),
    "integers, where bits are bounded by their limit": (
        Policy(max_bits=32),
        PARAMS,
        Code.POLICY_FORMAT,
    ),
    "integers, where weights are bounded": (Policy(max_weight=1), PARAMS, Code.POLICY_FORMAT),
    "a sparse graph": (Policy(min_survivors=50, max_cohort=100), SPARSE, Code.POLICY_GRAPH),
    "a sparse graph for fewer colluders": (
        Policy(sparse=Fractions(0.06, 0.1)),
        SPARSE,
        Code.POLICY_GRAPH,
    ),
    "a sparse graph for fewer dropouts": (
        Policy(sparse=Fractions(0.05, 0.11)),
        SPARSE,
        Code.POLICY_GRAPH,
    ),
    "a ring, where a twentieth may be corrupt": (
        Policy(sparse=Fractions(0.05, 0.0)),
        Params(19, 1, Integers(0, 1), threshold=2, min_survivors=19, colluders=0, degree=2),
        Code.POLICY_GRAPH,
    ),
    "a sparse graph and more colluders, by number": (
        Policy(sparse=Fractions(0.0, 0.0), colluders=6),
        SPARSE,
        Code.POLICY_COLLUDERS,
    ),
    "a sparse graph with another degree than agreed": (
        Policy(params=replace(SPARSE, degree=42)),
        SPARSE,
        Code.POLICY_PARAMS,
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_policy_refuses(what: str) -> None:
    """A ParameterError with the code of that policy."""
    policy, params, code = REFUSED[what]
    with refused(ParameterError, code):
        policy.check(params.round(CONTEXT))


ACCEPTED: dict[str, tuple[Policy, Params]] = {
    "the same parameters": (Policy(params=Params(10, 100, Integers(0, 1), threshold=7)), PARAMS),
    "the same context": (Policy(context=CONTEXT), PARAMS),
    "a pair": (Policy(allow_pair=True), pair()),
    "the greatest cohort": (Policy(max_cohort=10), PARAMS),
    "the greatest length": (Policy(max_length=100), PARAMS),
    "the quorum": (Policy(min_survivors=7), PARAMS),
    "all survivors": (Policy(min_survivors=10), replace(PARAMS, min_survivors=10)),
    "one of several parameters": (Policy(params=(*OTHERS, PARAMS)), PARAMS),
    "the last of both modes": (Policy(params=(PARAMS, HARD)), HARD),
    "the same mode": (Policy(mode=Mode.MALICIOUS), HARD),
    "the other mode": (Policy(mode=Mode.SEMI_HONEST), PARAMS),
    "any mode": (Policy(), HARD),
    "as many colluders": (Policy(colluders=3), PARAMS),
    "more colluders": (Policy(colluders=2), HARD),
    "no colluders": (Policy(), replace(PARAMS, colluders=0)),
    "repeats": (Policy(allow_repeats=True), HARD),
    "repeats, where none is counted": (Policy(allow_repeats=True), PARAMS),
    "the threshold": (Policy(min_threshold=7), PARAMS),
    "the least length": (Policy(min_length=100), PARAMS),
    "the suite": (Policy(suite=Suite.AES256CTR), PARAMS),
    "the format": (Policy(format=Integers(0, 1)), PARAMS),
    "one of several formats": (Policy(format=(FixedPoint(4.0), Integers(0, 1))), PARAMS),
    "the bounds of the format": (
        Policy(min_clip=4, max_clip=4, min_bits=16, max_bits=16, max_weight=100),
        REAL,
    ),
    "a sparse graph, for as many": (Policy(sparse=Fractions(0.05, 0.1)), SPARSE),
    "a sparse graph, for fewer": (Policy(sparse=Fractions(0.0, 0.0)), SPARSE),
    "a sparse graph, by parameters": (Policy(params=(PARAMS, SPARSE)), SPARSE),
    "everything": (
        Policy((PARAMS, HARD), CONTEXT, 7, 10, 100, Mode.MALICIOUS, 3, True, True),
        HARD,
    ),
}


def test_every_field_of_an_offer_can_be_bounded() -> None:
    """A field of the parameters or of a format that no policy above refuses is a new one.

    Without a bound: the degree (its bounds are those fractions), and the session, which the ledger
    takes once. The ends of integers are bounded as a whole format.
    """
    bounded = {
        "cohort": "max_cohort",
        "length": "min_length",
        "format": "format",
        "threshold": "min_threshold",
        "min_survivors": "min_survivors",
        "colluders": "colluders",
        "mode": "mode",
        "suite": "suite",
        "degree": "sparse",
        "clip": "max_clip",
        "bits": "max_bits",
        "max_weight": "max_weight",
        "low": "format",
        "high": "format",
    }
    offered = {each.name for kind in (Params, FixedPoint, Integers) for each in fields(kind)}
    assert offered == bounded.keys()
    default = Policy()
    for name in bounded.values():
        refusing = [policy for policy, _, _ in REFUSED.values()]
        assert any(getattr(each, name) != getattr(default, name) for each in refusing), name


@pytest.mark.parametrize("what", ACCEPTED)
def test_what_a_policy_accepts(what: str) -> None:
    """Up to and including the border."""
    policy, params = ACCEPTED[what]
    policy.check(params.round(CONTEXT))


@given(st.integers(0, 65536), st.integers(2, 300), st.integers(0, 300))
def test_no_round_may_end_below_ones_own_minimum(mine: int, n: int, more: int) -> None:
    """The parameters bind everybody, a policy its owner alone: so it takes or leaves them."""
    params = Params(n, 1, Integers(0, 1), min_survivors=min(n, more))
    policy = Policy(min_survivors=mine, allow_pair=True)
    if max(params.threshold, params.min_survivors) >= mine:
        policy.check(params.round(CONTEXT))
        return
    with refused(ParameterError, Code.POLICY_SURVIVORS):
        policy.check(params.round(CONTEXT))


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
    "parameters of another type": ({"params": "the usual"}, "params must be Params, or a tuple"),
    "a list of parameters": ({"params": [PARAMS]}, "params must be Params, or a tuple"),
    "something else among them": ({"params": (PARAMS, None)}, "params must be Params, or a tuple"),
    "an offer for parameters": ({"params": OFFER}, "params must be Params, or a tuple"),
    "no parameters at all": ({"params": ()}, "params must be Params, or a tuple .* an empty tuple"),
    "a format by its name": ({"format": "integers"}, "format must be a number format"),
    "no formats at all": ({"format": ()}, "an empty tuple"),
    "a suite by its number": ({"suite": 1}, "suite must be Suite"),
    "two suites": ({"suite": tuple(Suite)}, "suite must be Suite"),
    "min_threshold -1": ({"min_threshold": -1}, "min_threshold"),
    "min_length 0": ({"min_length": 0}, "min_length"),
    "no length at all": ({"min_length": 9, "max_length": 8}, "min_length"),
    "no bits at all": ({"min_bits": 9, "max_bits": 8}, "min_bits"),
    "max_bits 33": ({"max_bits": 33}, "max_bits"),
    "max_weight 0": ({"max_weight": 0}, "max_weight"),
    "min_clip -1": ({"min_clip": -1.0}, "min_clip"),
    "max_clip NaN": ({"max_clip": float("nan")}, "max_clip"),
    "max_clip True": ({"max_clip": True}, "max_clip"),
    "no clip at all": ({"min_clip": 2.0, "max_clip": 1.0}, "min_clip"),
    "sparse True": ({"sparse": True}, "sparse must be Fractions"),
    "a plain pair of fractions": ({"sparse": (0.1, 0.1)}, "sparse must be Fractions"),
    "sparse for everybody": ({"sparse": Fractions(1.0, 0.1)}, "corrupt must be a fraction"),
    "sparse for less than nobody": ({"sparse": Fractions(0.1, -0.1)}, "dropout must be a fract"),
    "a mode by its number": ({"mode": 1}, "mode must be Mode"),
    "a mode by its name": ({"mode": "malicious"}, "mode must be Mode"),
    "mode False": ({"mode": False}, "mode must be Mode"),
    "colluders -1": ({"colluders": -1}, "colluders"),
    "colluders 65537": ({"colluders": 65537}, "colluders"),
    "colluders 1.0": ({"colluders": 1.0}, "colluders"),
    "colluders True": ({"colluders": True}, "colluders"),
    "colluders None": ({"colluders": None}, "colluders"),
    "allow_pair 1": ({"allow_pair": 1}, "allow_pair is True or False"),
    "allow_repeats 1": ({"allow_repeats": 1}, "allow_repeats is True or False"),
    "allow_repeats None": ({"allow_repeats": None}, "allow_repeats is True or False"),
    "allow_repeats of text": ({"allow_repeats": "no"}, "allow_repeats is True or False"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_policies_are_refused(what: str) -> None:
    """At construction, not in the middle of a round."""
    arguments, name = IMPOSSIBLE[what]
    with refused(ParameterError, Code.ARGUMENT, match=name):
        Policy(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["allow_pair", "allow_repeats", "mode", "colluders"])
def test_a_policy_does_not_change(name: str) -> None:
    """Frozen, like everything that was agreed on."""
    policy = Policy()
    with pytest.raises(AttributeError):
        setattr(policy, name, True)


def test_nothing_is_allowed_unless_it_is_said() -> None:
    """The defaults: neither pairs nor repeats, and no mode is insisted on."""
    policy = Policy()
    assert (policy.allow_pair, policy.allow_repeats) == (False, False)
    assert (policy.params, policy.mode, policy.colluders) == (None, None, 0)


@given(st.integers(0, 12), st.integers(0, 3))
def test_fewer_colluders_than_wanted_are_refused(mine: int, stated: int) -> None:
    """Exactly where the offer states fewer."""
    offer = replace(PARAMS, colluders=stated).round()
    if stated >= mine:
        Policy(colluders=mine).check(offer)
        return
    with refused(
        ParameterError, Code.POLICY_COLLUDERS, match=f"from {stated} colluders, not from {mine}"
    ):
        Policy(colluders=mine).check(offer)
