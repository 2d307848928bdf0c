"""Hypothesis strategies for schedules of lying clients and a bad network."""

from functools import cache

from hypothesis import strategies as st
from pairwise.schedules.bad_network import WEATHER
from pairwise.schedules.client_lies import ALWAYS, LIES, STRAY
from pairwise.schedules.network_plan import CASES, Mishap, Weather
from pairwise.schedules.server_strategies import among, upto

from secagg import Params

# What liars do, and what happens to anybody, by step.
LYING = {step: (*LIES[step], *LIES[step], *ALWAYS, "silent", "second message", "again",
                "better message", "better message", "better message") for step in LIES}  # fmt: skip
LYING[0] += (*STRAY, *STRAY)
LYING[4] += ("junk shares",) * 8
WAYS: dict[int, tuple[str, ...]] = {
    0: WEATHER,
    1: WEATHER,
    2: (*WEATHER, "bit flipped", *("lost", "late") * 4),
    3: WEATHER,
    4: WEATHER[:6],
}
STEPS = (4, 2, 0, 4, 1, 3, 0, 2)


@cache
def _some(n: int, most: int) -> st.SearchStrategy[frozenset[int]]:
    """Liars: as many as may fail, or one more."""
    sets = [frozenset(i for i in range(n) if bits >> i & 1) for bits in range(2**n)]
    few = [one for one in sets if 0 < len(one) <= max(most, 1)]
    return among(frozenset(), *few, *few, *(one for one in sets if len(one) == most + 1))


@cache
def _deadlines(n: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(upto(8 * n), upto(4)), max_size=2)


ANY_CASE = st.sampled_from(CASES)
A_STEP = among(*STEPS)
A_LIE = {step: among(*LYING[step]) for step in LIES}
AN_ACCIDENT = {step: among(*WAYS[step]) for step in LIES}
ORDERS = st.lists(upto(9), max_size=4)


@st.composite
def weathers(draw: st.DrawFn, cases: tuple[Params, ...] = ()) -> Weather:
    """Mostly fair, with a few lies and mishaps; of complete graphs, or of these cases."""
    params = draw(st.sampled_from(cases) if cases else ANY_CASE)
    n = params.cohort
    liars = draw(_some(n, n - params.quorum))
    mishaps = []
    if liars:
        for _ in range(draw(among(1, 2, 1, 3))):
            step = draw(A_STEP)
            kind = draw(A_LIE[step])
            mishaps.append(Mishap(kind, draw(among(*sorted(liars))), step, draw(upto(15))))
    for _ in range(draw(among(0, 1, 0, 2, 1))):
        step = draw(A_STEP)
        kind = draw(AN_ACCIDENT[step])
        mishaps.append(Mishap(kind, draw(upto(n - 1)), step, draw(upto(15))))
    if draw(upto(15)) == 15:
        mishaps.append(Mishap(draw(among("work twice", "wrong work"))))
    order = tuple(draw(ORDERS))
    deadlines = tuple(draw(_deadlines(n))) if draw(upto(3)) == 3 else ()
    return Weather(params, liars, tuple(mishaps), order, deadlines)
