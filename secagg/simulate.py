"""A secure sum in one process, for trials, tests and measurements. It protects nobody.

`secure_sum` makes all parties of the protocol and runs them in a `Cohort`, which also runs machines
that you made yourself.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from .codes import Code
from .drivers.cohort import Cohort, Cost, Input, Record, RoundFailedError, Run
from .encoding.clipping import count_clipped, warn_of_clipping
from .encoding.layout import Arrays, Layout
from .errors import ParameterError
from .events import Phase, Randomness
from .identity.directory import Directory
from .identity.identity import Identity
from .interfaces import ClientMachine, ServerMachine
from .ledger.ledger import MemoryLedger
from .numeric import as_int, brief
from .pairwise.client import Client
from .pairwise.server import Server
from .params.formats import Format
from .params.mode import Mode
from .params.params import Params
from .params.policy import Policy

__all__ = [
    "Cohort",
    "Cost",
    "Input",
    "Record",
    "RoundFailedError",
    "Run",
    "SecureSum",
    "count_clipped",
    "introduce",
    "secure_sum",
    "warn_of_clipping",
]


@dataclass(frozen=True, slots=True)
class SecureSum:
    """The result of `secure_sum`: the sum in the layout of the updates, and a record of the round.

    Attributes:
        total: the weighted sum of the survivors' updates, in the layout of one update.
        mean: total / weight.
        weight: sum of the survivors' weights.
        survivors: parties whose update is in the sum.
        cost: seconds and bytes by phase and role.
        transcript: every message of the round, in order.
        run: everything else (bytes of each party, drops, clipped values, ...).
        params: the parameters of the round.
    """

    total: Arrays
    mean: Arrays
    weight: int
    survivors: tuple[int, ...]
    cost: dict[Phase, Cost]
    transcript: list[Record] = field(repr=False)
    run: Run = field(repr=False)
    params: Params


def secure_sum(
    updates: Sequence[Arrays],
    format: Format,  # noqa: A002
    *,
    weights: Sequence[int] | None = None,
    drops: Mapping[int, Phase] | None = None,
    mode: Mode = Mode.SEMI_HONEST,
    threshold: int = 0,
    min_survivors: int = 0,
    colluders: int = -1,
    degree: int = 0,
    policy: Policy | None = None,
    random: Callable[[int], Randomness] | None = None,
    executor: Executor | None = None,
) -> SecureSum:
    """Sums updates by the real protocol with all parties in this process; it protects nobody.

    There is one `ClippingWarning` if more than 1 % of the values of an array were clipped.

    Args:
        updates: one per party; arrays, or lists or dicts of arrays, all of one layout.
        format: how numbers are encoded, `FixedPoint` or `Integers`.
        weights: one per party, for a format with max_weight > 1; 1 each by default.
        drops: parties that disappear, each with the phase before whose message it does so, such as
            {2: Phase.MASKED_INPUT}.
        mode: in `Mode.MALICIOUS` every party gets a fresh identity, which all others pin.
        threshold, min_survivors, colluders, degree: see `Params`.
        policy: the demands of every client; by default, exactly these parameters. A quorum of two
            needs `Policy(allow_pair=True)`.
        random: returns the source of randomness of a party, for reproducible runs.
        executor: runs the server's jobs, as in `run_jobs`; by default this process does.

    Raises:
        ParameterError: the parameters, the weights or the schedule of drops are impossible.
        RangeError: an update is unusable; no sum was computed.
        RoundFailedError: the round failed, for example because too few parties were left.
    """
    if weights is not None and len(weights) != len(updates):
        raise ParameterError(
            f"{len(updates)} updates need {len(updates)} weights, not {len(weights)}", Code.ARGUMENT
        )
    if not updates:
        raise ParameterError("there are no updates to sum", Code.ARGUMENT)
    for party, phase in (drops or {}).items():
        if as_int(party) not in range(len(updates)) or not isinstance(phase, Phase):
            raise ParameterError(
                f"drops has {brief(party)}: {phase!r}; it maps parties 0..{len(updates) - 1} to "
                "phases",
                Code.ARGUMENT,
            )
    layout = Layout.of(updates[0])
    vectors = [layout.flatten(update) for update in updates]
    params = Params(
        cohort=len(updates),
        length=layout.length,
        format=format,
        threshold=threshold,
        min_survivors=min_survivors,
        colluders=colluders,
        mode=mode,
        degree=degree,
    )
    server, clients = _machines(params, policy or Policy(params), random)
    inputs = {
        party: _constant(vector, 1 if weights is None else weights[party])
        for party, vector in enumerate(vectors)
    }
    cohort = Cohort(server, clients, inputs, drops, keep_transcript=True, executor=executor)
    run = cohort.play()
    if run.result is None:
        raise RoundFailedError(run.reason, cast("Code", run.code), run)
    if any(run.clipped.values()):
        clipped = sum(
            (Counter(count_clipped(format, layout, vectors[party])) for party in run.clipped),
            Counter(),
        )
        warn_of_clipping(format, layout, clipped, len(run.clipped))
    return SecureSum(
        total=layout.unflatten(run.result.total),
        mean=layout.unflatten(run.result.mean),
        weight=run.result.weight,
        survivors=run.result.survivors,
        cost=run.cost,
        transcript=run.transcript,
        run=run,
        params=params,
    )


def _machines(
    params: Params, policy: Policy, random: Callable[[int], Randomness] | None
) -> tuple[ServerMachine, dict[int, ClientMachine]]:
    """Sets up the protocol: the server of a new round, and its clients by index."""
    agreed = params.round()
    malicious = params.mode == Mode.MALICIOUS
    identities, directory = introduce(params.cohort) if malicious else ([], None)
    ledger = MemoryLedger() if malicious else None
    clients: dict[int, ClientMachine] = {
        party: Client(
            agreed,
            party,
            policy,
            random(party) if random else os.urandom,
            identity=identities[party] if malicious else None,
            directory=directory,
            ledger=ledger,
        )
        for party in range(params.cohort)
    }
    return Server(agreed, directory), clients


def introduce(cohort: int) -> tuple[list[Identity], Directory]:
    """Makes fresh identities for a whole cohort, and the directory that pins them."""
    identities = [Identity.generate() for _ in range(cohort)]
    entries = [(f"party-{i}", identity.verify_key) for i, identity in enumerate(identities)]
    return identities, Directory.of(entries)


def _constant(values: NDArray[np.generic], weight: int) -> Input:
    return lambda: (values, weight)
