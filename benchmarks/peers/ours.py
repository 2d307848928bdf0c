"""This library on a case: complete graph and semi-honest mode, as the peers have."""

import time

import numpy as np

from secagg import Client, FixedPoint, Params, Phase, Server
from secagg.simulate import Cohort, Input

from .case import BITS, CLIP, MAX_WEIGHT, Case, Outcome, Side


def play(case: Case) -> Outcome:
    """Plays one round.

    Time outside the phases (making the parties, with two key pairs each) counts as the clients'
    in the first phase.
    """
    form = FixedPoint(clip=CLIP, bits=BITS, max_weight=MAX_WEIGHT)
    agreed = Params(case.clients, case.length, form, threshold=case.threshold).round()
    start, busy = time.perf_counter(), time.process_time()
    run = Cohort(
        Server(agreed),
        {party: Client(agreed, party) for party in range(case.clients)},
        {party: _input(case, party) for party in range(case.clients)},
        dict.fromkeys(case.lost, Phase.MASKED_INPUT),
    ).play()
    seconds, cpu = time.perf_counter() - start, time.process_time() - busy
    assert run.result is not None, run.reason
    phases = {
        str(phase): [cost.client_seconds, cost.server_seconds] for phase, cost in run.cost.items()
    }
    rest = seconds - sum(sum(sides) for sides in phases.values())
    phases[str(Phase.ADVERTISE_KEYS)][Side.CLIENTS] += rest
    return Outcome(phases, cpu, run.bytes_up[case.stayed[0]], np.asarray(run.result.mean))


def _input(case: Case, party: int) -> Input:
    return lambda: (case.updates[party], case.weights[party])
