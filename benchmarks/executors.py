"""Compares unmasking on two workers with the same jobs, one by one, in this process.

The jobs are those of a server. Their results go to its `Unmasking`, without a round around it.
Both ways end in the same vector.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, cast

import numpy as np

from secagg import Integers, Params, ServerMachine, Work, run_jobs
from secagg.arithmetic.binding import Vector
from secagg.arithmetic.field import Field
from secagg.events import Job, ServerEvent
from secagg.machine.jobs import JobBoard
from secagg.pairwise import derivation
from secagg.pairwise.messages import PublicKeys
from secagg.pairwise.unmasking import Unmasking
from secagg.primitives import agreement

from .pool import pool
from .rows import Row, compare

WORKERS: Final = 2
H0 = H1 = bytes(32)


class _Unmasker:
    """The part of a server that `run_jobs` uses."""

    def __init__(self, unmasking: Unmasking) -> None:
        self.session = bytes(16)
        self.board = JobBoard()
        self.unmasking = unmasking

    def complete(self, job: Job, value: Any) -> list[ServerEvent]:
        self.unmasking.take(job, value)
        if not self.board.finish(job):
            return []
        return [Work(more) for more in self.board.hand_out(self.unmasking.next_jobs())]


def rows(clients: int, length: int, rounds: int) -> Iterator[Row]:
    """Yields rows for threads and for processes: one mask per client; 20 agreements per client.

    Args:
        clients: number of survivors.
        length: length of the masks of the first measurement.
        rounds: rounds of measuring in turns.
    """
    with ThreadPoolExecutor(WORKERS) as threads, pool(WORKERS, "forkserver") as processes:
        for name, unmask in (
            (f"{clients} masks of {length:,}", _unmasker(clients, 0, length)),
            (f"{clients * 20:,} agreements", _unmasker(clients, 20, 100)),
        ):
            assert np.array_equal(unmask(None), unmask(processes))
            for kind, executor in (("threads", threads), ("processes", processes)):
                what = f"{name}, {WORKERS} {kind}"
                yield compare(
                    what, partial(unmask, executor), "one by one", partial(unmask, None), "", rounds
                )


def _unmasker(stayed: int, gone: int, length: int) -> Callable[[Executor | None], Vector]:
    """Returns a function that runs a whole unmasking of zeros, and returns its vector."""
    params = Params(stayed + gone, length, Integers(-1000, 1000))
    seeds = [os.urandom(16) for _ in range(stayed + gone)]
    survivors = tuple(range(stayed))
    vanished = range(stayed, stayed + gone)
    roster = {
        party: PublicKeys(b"", agreement.public_key(derivation.mask_key(seed, H0, party)))
        for party, seed in enumerate(seeds)
    }

    def unmask(executor: Executor | None) -> Vector:
        unmasking = Unmasking(
            params,
            Field(params.field_bits).zeros(params.vector_length),
            H0,
            H1,
            roster,
            vanished,
            lambda _: survivors,
        )
        server = _Unmasker(unmasking)
        jobs = server.board.hand_out(unmasking.jobs_after(dict(enumerate(seeds))))
        run_jobs(cast(ServerMachine, server), [Work(job) for job in jobs], executor)
        return unmasking.total

    return unmask
