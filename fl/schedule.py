"""Draws the dropouts of a simulated federation, and says how often they make a round fail."""

from collections.abc import Iterable, Mapping
from math import comb

import numpy as np

from secagg import Code, Mode, ParameterError, Params, Phase
from secagg.numeric import as_float, brief
from secagg.simulate import read_drops

from .agreed import NUMBERS, check_kind, listed
from .updates import whole

Drops = Mapping[int, Phase]


def draw_drops(rng: np.random.Generator, clients: int, rate: float, mode: Mode) -> dict[int, Phase]:
    """Draws the dropouts of one round: party -> the phase before whose message it drops out.

    Each client drops out with probability `rate`, independently, before a message drawn uniformly
    from the phases of the mode. The input of a client that drops out after its masked input is
    still in the sum.

    Args:
        rng: random generator; the number of values drawn does not depend on the outcome.
        clients: size of the cohort.
        rate: probability, in [0, 1).
        mode: mode of the rounds.

    Raises:
        ParameterError: an argument is of another kind, or outside its range.
    """
    check_kind("rng", rng, np.random.Generator)
    check_kind("mode", mode, Mode)
    clients = whole("clients", clients, 0, NUMBERS)
    share = as_float(rate)
    if share is None or not 0.0 <= share < 1.0:
        raise ParameterError(
            f"the dropout rate must be in [0, 1), not {brief(rate)}", Code.ARGUMENT
        )
    rate = share
    gone = rng.random(clients) < rate
    phases = rng.integers(len(mode.phases), size=clients)
    return {party: mode.phases[phases[party]] for party in range(clients) if gone[party]}


def failure_probability(params: Params, rate: float) -> float:
    """Returns the probability that a round fails if clients drop out as `draw_drops` draws it.

    It succeeds if a quorum gives inputs, and as many as the threshold stay to the end.

    Args:
        params: of rounds on the complete graph.
        rate: probability that a client drops out, in [0, 1).
    """
    phases, n = params.mode.phases, params.cohort
    before = rate * (phases.index(Phase.MASKED_INPUT) + 1) / len(phases)  # its input is not given
    after = rate - before
    succeeds = sum(
        comb(n, absent) * comb(n - absent, gone)
        * before**absent * after**gone * (1.0 - rate) ** (n - absent - gone)
        for absent in range(n - params.quorum + 1)
        for gone in range(n - absent - params.threshold + 1)
    )  # fmt: skip
    return max(0.0, 1.0 - succeeds)


def read_schedule(drops: Iterable[Drops], rounds: int, clients: int) -> list[Drops]:
    """Checks the dropouts of all rounds, and returns them by ints."""
    entries = listed("drops", drops)
    if len(entries) != rounds:
        raise ParameterError(
            f"drops has {len(entries)} entries for {rounds} rounds; give one entry per round",
            Code.ARGUMENT,
        )
    return [read_round(each, clients) for each in entries]


def read_round(drops: Drops, clients: int) -> Drops:
    """Checks the dropouts of a round, and returns them by ints."""
    if not isinstance(drops, Mapping):
        raise ParameterError(
            f"drops must have a dict for each round, not {type(drops).__name__}; an empty one is a "
            "round without dropouts",
            Code.ARGUMENT,
        )
    return read_drops(drops, clients)
