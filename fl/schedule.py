"""Draws the dropouts of a simulated federation."""

from collections.abc import Mapping

import numpy as np

from secagg import Code, Mode, ParameterError, Phase

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
        ParameterError: the rate is outside its range.
    """
    if not 0.0 <= rate < 1.0:
        raise ParameterError(f"the dropout rate must be in [0, 1), not {rate}", Code.ARGUMENT)
    gone = rng.random(clients) < rate
    phases = rng.integers(len(mode.phases), size=clients)
    return {party: mode.phases[phases[party]] for party in range(clients) if gone[party]}
