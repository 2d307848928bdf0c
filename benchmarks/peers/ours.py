"""This library on a case: the complete graph, semi-honest mode, as the peers have it."""

import time

import numpy as np

import secagg
from secagg import Phase

from .case import BITS, CLIP, MAX_WEIGHT, Case, Outcome, Side


def play(case: Case) -> Outcome:
    """One round by `secure_sum`. What is in no phase (making the parties, two key pairs each) is
    counted as the clients' in the first.
    """
    form = secagg.FixedPoint(clip=CLIP, bits=BITS, max_weight=MAX_WEIGHT)
    drops = dict.fromkeys(case.lost, Phase.MASKED_INPUT)
    start, busy = time.perf_counter(), time.process_time()
    done = secagg.secure_sum(
        case.updates, form, weights=case.weights, drops=drops, threshold=case.threshold
    )
    seconds, cpu = time.perf_counter() - start, time.process_time() - busy
    phases = {
        str(phase): [cost.client_seconds, cost.server_seconds] for phase, cost in done.cost.items()
    }
    rest = seconds - sum(sum(sides) for sides in phases.values())
    phases[str(Phase.ADVERTISE_KEYS)][Side.CLIENTS] += rest
    return Outcome(phases, cpu, done.run.bytes_up[case.stayed[0]], np.asarray(done.mean))
