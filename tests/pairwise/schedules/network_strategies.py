"""Hypothesis strategies for schedules of lying clients and a bad network."""

from functools import cache

from hypothesis import strategies as st
from pairwise.schedules.bad_network import NETWORK_FAULTS
from pairwise.schedules.client_lies import LIES_AT, LIES_IN_ANY_STEP, OTHER_ROUND
from pairwise.schedules.network_plan import CASES, Fault, NetworkSchedule
from pairwise.schedules.server_strategies import among, upto

from secagg import Params

# By step: the misconduct of liars, and the network faults that meet anybody.
MISCONDUCT_AT = {
    step: (*lies, *lies, *LIES_IN_ANY_STEP, "silent", "second message", "again",
           "better message", "better message", "better message")
    for step, lies in LIES_AT.items()
}  # fmt: skip
MISCONDUCT_AT[0] += (*OTHER_ROUND, *OTHER_ROUND)
MISCONDUCT_AT[4] += ("junk shares",) * 8
NETWORK_FAULTS_AT: dict[int, tuple[str, ...]] = {
    0: NETWORK_FAULTS,
    1: NETWORK_FAULTS,
    2: (*NETWORK_FAULTS, "bit flipped", *("lost", "late") * 4),
    3: NETWORK_FAULTS,
    4: NETWORK_FAULTS[:6],
}
STEPS = (4, 2, 0, 4, 1, 3, 0, 2)


@cache
def _some(n: int, most: int) -> st.SearchStrategy[frozenset[int]]:
    """Draws liars: as many as may fail, or one more."""
    sets = [frozenset(i for i in range(n) if bits >> i & 1) for bits in range(2**n)]
    few = [one for one in sets if 0 < len(one) <= max(most, 1)]
    return among(frozenset(), *few, *few, *(one for one in sets if len(one) == most + 1))


@cache
def _deadlines(n: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(upto(8 * n), upto(4)), max_size=2)


@cache
def _said(n: int) -> st.SearchStrategy[list[tuple[int, int, bool]]]:
    one = st.tuples(upto(8 * n), upto(n - 1), among(False, True, False))
    return st.lists(one, min_size=1, max_size=4)


ANY_CASE = st.sampled_from(CASES)
A_STEP = among(*STEPS)
A_LIE = {step: among(*MISCONDUCT_AT[step]) for step in LIES_AT}
A_NETWORK_FAULT = {step: among(*NETWORK_FAULTS_AT[step]) for step in LIES_AT}
ORDERS = st.lists(upto(9), max_size=4)


@st.composite
def network_schedules(
    draw: st.DrawFn, cases: tuple[Params, ...] = (), drops: bool = False
) -> NetworkSchedule:
    """Draws mostly fair schedules with a few lies and faults; of complete graphs, or these.

    Args:
        drops: whether the driver says of some parties that they are gone, or back.
    """
    params = draw(st.sampled_from(cases) if cases else ANY_CASE)
    n = params.cohort
    liars = draw(_some(n, n - params.quorum))
    faults = []
    if liars:
        for _ in range(draw(among(1, 2, 1, 3))):
            step = draw(A_STEP)
            kind = draw(A_LIE[step])
            faults.append(Fault(kind, draw(among(*sorted(liars))), step, draw(upto(15))))
    for _ in range(draw(among(0, 1, 0, 2, 1))):
        step = draw(A_STEP)
        kind = draw(A_NETWORK_FAULT[step])
        faults.append(Fault(kind, draw(upto(n - 1)), step, draw(upto(15))))
    if draw(upto(15)) == 15:
        faults.append(Fault(draw(among("work twice", "wrong work"))))
    order = tuple(draw(ORDERS))
    deadlines = tuple(draw(_deadlines(n))) if draw(upto(3)) == 3 else ()
    said = tuple(draw(_said(n))) if drops and draw(upto(2)) == 2 else ()
    return NetworkSchedule(params, liars, tuple(faults), order, deadlines, said)
