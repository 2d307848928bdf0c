"""Compares the peak memory of a server and of a client with a bound.

The messages of a recorded round are given again to a new party while `tracemalloc` follows every
allocation of Python and NumPy (the native core makes none). The measurement is the growth up to
the peak. It does not include what existed before, nor incoming messages, of which a transport
holds one at a time. What a party returns is included until the next call.
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
from secagg.cost.model import EDGE_BYTES, NEIGHBOUR_BYTES, VECTORS
from secagg.pairwise.transitions import ClientState
from secagg.simulate import Record

from .modes import Recording, record
from .rows import Row, Work, make_row

DROPOUT: Final = 0.1
_SESSION: Final = slice(4, 20)  # the session in the header of a message


def peak(work: Work) -> int:
    """Returns the largest growth of memory during the work, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def server_replay(params: Params, transcript: Sequence[Record]) -> None:
    """Gives a new server the messages of a recorded round, up to the sum."""
    server = Server(params.round(session=transcript[0].payload[_SESSION]))
    events = server.start()
    sent = (one for one in transcript if one.receiver == SERVER)
    for phase, messages in groupby(sent, key=lambda one: one.phase):
        for one in messages:
            events = server.receive(one.sender, one.payload)
        events += server.deadline(phase)
    done = any(isinstance(event, Completed) for event in run_jobs(server, events))
    assert done, "the server that got the recorded messages has no sum"


def client_replay(recording: Recording) -> None:
    """Gives a new client the messages of a recorded one, up to its last message."""
    client = recording.member.client()
    client.start()
    for payload in recording.received:
        if any(isinstance(event, InputNeeded) for event in client.receive(payload)):
            client.submit(recording.values)
    assert client.state is ClientState.FINISHED, "the client with the recorded messages ended early"


def rows(sizes: Sequence[tuple[int, int]]) -> Iterator[Row]:
    """Yields two rows per (clients, length): a server with lost clients, a client with none."""
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
        yield make_row(
            f"server's peak growth, {size}, {len(drops)} lost",
            grown,
            "bytes",
            f"{VECTORS} vectors + {EDGE_BYTES} bytes x {edges:,} directed edges",
            VECTORS * vector + EDGE_BYTES * edges,
            "<= 1",
        )
        recording, _ = record(clients, length, Mode.SEMI_HONEST)
        yield make_row(
            f"client's peak growth, {size}",
            peak(partial(client_replay, recording)),
            "bytes",
            f"{VECTORS} vectors + {NEIGHBOUR_BYTES:,} bytes x {clients - 1} neighbours",
            VECTORS * vector + NEIGHBOUR_BYTES * (clients - 1),
            "<= 1",
        )
