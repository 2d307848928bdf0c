"""Hypothesis strategies for schedules of a lying server."""

from functools import cache
from typing import Any

from hypothesis import strategies as st
from pairwise.schedules.roster_lies import ROSTER
from pairwise.schedules.server_plan import CASES, DROPPING, OFFERS, TIMES, Lie, Mask, Plan
from pairwise.schedules.set_lies import DELIVERY, NOISE, SIGNATURES, SURVIVORS

from secagg import Params

# Themes, each a choice of lies that one schedule is mostly about.
THEMES: dict[str, tuple[str, ...]] = {
    "any": (*ROSTER, *DELIVERY, *SURVIVORS, *SIGNATURES, *OFFERS, *TIMES, *NOISE, *TIMES),
    "split": (*SIGNATURES, *SIGNATURES, "signatures filled up", "signatures filled up",
              "signers outside U3", "another U3", "again survivors", "again survivors",
              "again signatures", "vanish", "own minimum", "early"),
    "small sets": ("another U2", "another U2", "another U3", "another U3", "another U3",
                   "signers left out", "vanish", "own minimum", "roster without",
                   "roster without", "signatures filled up"),
    "keys": (*ROSTER, *ROSTER, *("weak entry of a colluder",) * 4,
             "roster without", "again roster", *OFFERS),
    "shares": (*DELIVERY, "other ciphertexts", "again delivery", "vanish"),
    "noise": (*NOISE, *NOISE, *TIMES),
}  # fmt: skip


# Strategies that are made once: making them costs more than drawing from them.
@cache
def upto(most: int) -> st.SearchStrategy[int]:
    """Draws numbers from 0."""
    return st.integers(0, most)


@cache
def among(*things: object) -> st.SearchStrategy[Any]:
    """Draws one of these; failures shrink towards the first."""
    return st.sampled_from(things)


@cache
def _missing(n: int, most: int) -> st.SearchStrategy[Mask]:
    """Draws a set to leave out: none most often, then as many as may drop out, then one more."""
    sets = [frozenset(i for i in range(n) if bits >> i & 1) for bits in range(2**n)]
    few = [one for one in sets if 0 < len(one) <= most] or [frozenset({n - 1})]
    more = [one for one in sets if len(one) == most + 1]
    return among(*[frozenset()] * (len(few) * 2), *few * 2, *more[: len(few) // 2])


def _lies_about(theme: str) -> st.SearchStrategy[list[Lie]]:
    lie = st.builds(Lie, among(*THEMES[theme]), upto(7), upto(7), upto(3))
    return st.lists(lie, min_size=theme != "any", max_size=3)


ANY_CASE, DROPPING_CASE = st.sampled_from(CASES), st.sampled_from(DROPPING)
LIES_ABOUT = {theme: _lies_about(theme) for theme in THEMES}


@st.composite
def plans(draw: st.DrawFn, cases: tuple[Params, ...] = ()) -> Plan:
    """Draws a plan that mostly makes sense, and up to three lies about one theme."""
    theme = draw(among("any", "split", "keys", "split", *THEMES))
    split = theme == "split" or draw(upto(3)) == 3
    dropping = split or (theme == "small sets" and draw(upto(1)) == 1)
    params = draw(st.sampled_from(cases) if cases else (ANY_CASE, DROPPING_CASE)[dropping])
    n, c = params.cohort, params.colluders
    some = draw(among(c, c, c, 0, c // 2))
    at = draw(upto(n - 1))
    colluders = tuple(sorted((at + place) % n for place in range(some)))
    absent = _missing(n, n - params.quorum)
    none: Mask = frozenset()
    u1 = draw(absent) if draw(upto(15)) == 15 else none
    versions = [(u1, draw(absent) if draw(upto(1)) else none, draw(absent))]
    second, pushy = none, draw(upto(1)) == 1
    if split:
        u2 = draw(absent) if draw(upto(3)) == 3 else versions[0][1]
        u3 = draw(absent) if draw(upto(1)) else frozenset({draw(upto(n - 1))})
        versions.append((u1, u2, u3))
        honest = [party for party in range(n) if party not in colluders]
        size = 1 + draw(upto(len(honest) // 2 - 1))
        at = draw(upto(len(honest) - 1))
        second = frozenset((honest * 2)[at : at + size])
    lies = tuple(draw(LIES_ABOUT[theme]))
    return Plan(params, colluders, (versions[0], versions[-1]), second, pushy or split, lies)
