"""A client that demands noise refuses every offer that gives less."""

import math
import sys
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
from documents import programs
from hypothesis import assume, given
from hypothesis import strategies as st
from refusals import refused

import secagg
from secagg import Client, Code, Mode, ParameterError, Params, Policy
from secagg.noise import Demand, MemoryBudget, Noise, Release, calibrate, epsilon
from secagg.noise import filter as filter_module
from secagg.params.rotated import Rotated, least_tail

pytestmark = pytest.mark.skipif(
    not find_spec("dp_accounting"), reason="dp-accounting is not installed: the extra `dp`"
)

TRAINING: dict[str, Any] = {"epsilon": 8, "delta": 1e-5, "rounds": 20, "clip": 1.0}
PLAN = calibrate(**TRAINING, length=650, cohort=100, corrupt=0.05, dropout=0.05)
DEMAND = Demand(**TRAINING, honest=60)


def altered(params: Params = PLAN.params, **changes: Any) -> Params:
    """The parameters with a format of other values, whose tail is right."""
    form = params.format
    assert isinstance(form, Rotated)
    form = replace(form, tail=2**40, **changes)
    tail = least_tail(form.noise, form.variance_steps, params.cohort, params.length)
    return replace(params, format=replace(form, tail=tail))


def refuses(params: Params, match: str, demand: Demand = DEMAND) -> None:
    """Asserts that they are refused, also where the rest of a policy allows them by name."""
    with refused(ParameterError, Code.POLICY_PRIVACY, match=match):
        Client(params.round(), 0, Policy(privacy=demand, sparse=secagg.Fractions(0.0, 0.0)))
    with refused(ParameterError, Code.POLICY_PRIVACY, match=match):
        Policy(privacy=demand, params=params, format=params.format).check(params.round())


def test_the_plan_for_a_demand_is_taken() -> None:
    Client(PLAN.params.round(), 0, Policy(privacy=DEMAND))
    for other in ({"mechanism": "discrete_gaussian"}, {"mode": Mode.MALICIOUS}, {"scale": 900.0}):
        made = calibrate(**TRAINING, length=50, cohort=70, corrupt=0.02, dropout=0.05, **other)
        DEMAND.check(made.params)


def test_less_is_refused() -> None:
    form: Any = PLAN.form
    steps = form.variance_steps
    refuses(altered(variance_steps=steps * 98 // 100), "20 rounds have epsilon 8.* above 8")
    refuses(altered(variance_steps=1), "have epsilon inf|have epsilon [0-9.e+]+ at")
    refuses(altered(bound=form.bound * 103 // 100), "smaller bound")
    refuses(altered(bound=2**63), "epsilon")
    refuses(altered(clip=form.clip * 1.001, scale=form.scale / 1.001), "the clip 1.001 is above 1")
    refuses(replace(PLAN.params, colluders=36), "the noise of 59 honest clients is certain")
    refuses(replace(PLAN.params, min_survivors=64, threshold=64), "honest clients is certain")
    refuses(replace(PLAN.params, format=secagg.FixedPoint(clip=1.0)), "FixedPoint adds no noise")
    refuses(
        replace(PLAN.params, format=Rotated.of(clip=1.0, bits=8, length=650, cohort=100)),
        "Rotated adds no noise",
    )
    for name, value in (("epsilon", 7.9), ("delta", 0.9e-5), ("rounds", 21)):
        refuses(PLAN.params, "20|21 rounds", replace(DEMAND, **{name: value}))
    DEMAND.check(altered(variance_steps=steps * 2))
    DEMAND.check(altered(clip=0.5, scale=form.scale * 2))


def test_epsilon_is_that_of_rounds_that_are_chosen_along_the_way() -> None:
    """Of this one the accountant would say less than 8: by an order that suits it alone."""
    form = Rotated(
        **{"clip": 1.0, "scale": 1.0, "peak": 1, "bound": 1, "tail": 2**20},
        **{"noise": Noise.SKELLAM, "variance_steps": 22937, "rotation": False},
    )
    params = Params(4, 2**20, form, threshold=4, min_survivors=4, colluders=2)
    assert epsilon([(Release.of(params), 1)], 1e-5) < 8
    refuses(params, "one|1 rounds have epsilon 8", replace(DEMAND, rounds=1, honest=2))


def test_an_epsilon_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_module.Filter, "spent", lambda *_: math.nan)
    refuses(PLAN.params, "epsilon nan", replace(DEMAND, rounds=19))
    with refused(ParameterError, Code.BUDGET):
        Client(PLAN.params.round(), 0, budget=MemoryBudget(epsilon=8, delta=1e-5))


def test_a_sparse_graph_takes_its_share_of_delta() -> None:
    made = calibrate(**TRAINING, length=10, cohort=1000, corrupt=0.05, dropout=0.05, sparse=True)
    assert made.params.degree
    DEMAND.check(made.params)
    refuses(made.params, "epsilon inf", replace(DEMAND, delta=20 * 2.0**-41))


@given(
    st.integers(1, 2**30),
    st.integers(1, 2**40),
    st.sampled_from([Noise.SKELLAM, Noise.DISCRETE_GAUSSIAN]),
    st.integers(0, 40),
)
def test_nothing_above_the_demand_is_taken(
    steps: int, more: int, noise: Noise, colluders: int
) -> None:
    """Whatever the offer: if its own epsilon is above the demand, and not if it is 1 % below."""
    form: Any = PLAN.form
    params = replace(
        altered(variance_steps=steps, bound=form.bound + more, noise=noise), colluders=colluders
    )
    found = epsilon([(Release.of(params), 20)], 1e-5)
    assume(not 7.92 < found <= 8)
    good = found <= 8 and params.quorum - colluders >= 60
    with nullcontext() if good else refused(ParameterError, Code.POLICY_PRIVACY):
        DEMAND.check(params)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *[("epsilon", each) for each in (0, -1, float("nan"), float("inf"), "8", None)],
        *[("delta", each) for each in (0, 1, 2, float("nan"), None)],
        *[("clip", each) for each in (0, -1.0, float("inf"), None)],
        *[("rounds", each) for each in (0, 1.5, None)],
        *[("honest", each) for each in (0, -2, 0.5, 2**17)],
    ],
)
def test_impossible_demands_are_refused(name: str, wrong: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT, match=name):
        replace(DEMAND, **{name: wrong})


def test_the_program_of_the_document_runs(memory_path: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(memory_path)
    monkeypatch.setitem(sys.modules, "privacy", SimpleNamespace(plan=PLAN, params=PLAN.params))
    exec(programs("PRIVACY.md")["changed.py"], {})  # noqa: S102
    assert capsys.readouterr().out.startswith("8.2")
    names: dict[str, Any] = {}
    exec(programs("PRIVACY.md")["client.py"], names)  # noqa: S102
    assert capsys.readouterr().out == "0.0 20\n"
    policy: Any = names["policy"]
    policy.check(PLAN.params.round())


def test_a_policy_takes_a_demand_alone() -> None:
    for wrong in (8, MemoryBudget(epsilon=8, delta=1e-5)):
        with refused(ParameterError, Code.ARGUMENT, match="privacy must have a plain method `che"):
            Policy(privacy=wrong)  # type: ignore[arg-type]
    assert Policy(privacy=DEMAND) == Policy(privacy=replace(DEMAND))


def test_a_demand_in_the_file_of_a_home(memory_path: Any) -> None:
    path = memory_path / "home"
    secagg.Home(path)
    text = '{"privacy": {"epsilon": 8, "delta": 1e-5, "rounds": 20, "clip": 1, "honest": 60}}'
    (path / "policy.json").write_text(text)
    (path / "policy.json").chmod(0o600)
    assert secagg.Home(path).policy == Policy(privacy=DEMAND)
    (path / "policy.json").write_text(text.replace("clip", "clips"))
    with refused(ParameterError, Code.SYNTAX, match="privacy has no field 'clips'"):
        secagg.Home(path)
