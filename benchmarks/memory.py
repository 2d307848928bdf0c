"""How much memory a server and a client take at most, held against a bound.

Messages of a played round are given again to a fresh party while `tracemalloc` follows every
allocation of Python and NumPy (the native core makes none). Counted is the growth up to the peak,
so neither what was there before nor the messages as they come in: of these the transport holds one
at a time. What the party gives back is counted until the next call.
"""

import gc
import tracemalloc
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Final

import numpy as np

import secagg
from secagg import (
    SERVER,
    Completed,
    FixedPoint,
    InputNeeded,
    Mode,
    Params,
    Phase,
    Server,
    run_jobs,
)
from secagg.arithmetic.field import Field
from secagg.pairwise.transitions import ClientState
from secagg.simulate import Record

from .modes import Recording, record
from .rows import Row, Work, hold

VECTORS: Final = 6
EDGE_BYTES: Final = 300  # a pair of neighbours, in one direction
NEIGHBOUR_BYTES: Final = 1000
DROPOUT: Final = 0.1
_SESSION: Final = slice(4, 20)  # of the header


def peak(work: Work) -> int:
    """Bytes by which memory grows at most."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def server_replay(params: Params, transcript: Sequence[Record]) -> None:
    """A server that is sent what another one was sent, up to the sum."""
    server = Server(params.round(session=transcript[0].payload[_SESSION]))
    events = server.start()
    sent = (one for one in transcript if one.receiver == SERVER)
    for phase, messages in groupby(sent, key=lambda one: one.phase):
        for one in messages:
            events = server.receive(one.sender, one.payload)
        events += server.deadline(phase)
    done = any(isinstance(event, Completed) for event in run_jobs(server, events))
    assert done, "the server that was sent the same came to no sum"


def client_replay(recording: Recording) -> None:
    """A client that is sent what another one was sent, up to its last message."""
    client = recording.member.client()
    client.start()
    for payload in recording.received:
        if any(isinstance(event, InputNeeded) for event in client.receive(payload)):
            client.submit(recording.values)
    assert client.state is ClientState.FINISHED, "the client that was sent the same ended early"


def rows(sizes: Sequence[tuple[int, int]]) -> Iterator[Row]:
    """Two rows for each (clients, length): server with lost clients, client with none."""
    for clients, length in sizes:
        rng = np.random.default_rng(0)
        updates = [rng.uniform(-8, 8, length).astype(np.float32) for _ in range(clients)]
        drops = dict.fromkeys(range(round(clients * DROPOUT)), Phase.MASKED_INPUT)
        done = secagg.secure_sum(updates, FixedPoint(clip=8.0, bits=20), drops=drops)
        params, transcript = done.params, done.transcript
        del updates, done
        vector = params.vector_length * Field(params.field_bits).dtype.itemsize
        size = f"n = {clients}, m = {length:,}"
        edges = clients * (clients - 1)
        grown = peak(partial(server_replay, params, transcript))
        yield hold(
            f"server's peak growth, {size}, {len(drops)} lost",
            grown,
            "bytes",
            f"{VECTORS} vectors + {EDGE_BYTES} bytes x {edges:,} directed edges",
            VECTORS * vector + EDGE_BYTES * edges,
            "<= 1",
        )
        recording, _ = record(clients, length, Mode.SEMI_HONEST)
        yield hold(
            f"client's peak growth, {size}",
            peak(partial(client_replay, recording)),
            "bytes",
            f"{VECTORS} vectors + {NEIGHBOUR_BYTES:,} bytes x {clients - 1} neighbours",
            VECTORS * vector + NEIGHBOUR_BYTES * (clients - 1),
            "<= 1",
        )
