"""Plays whole rounds in this process and measures each side by phase, beside the cost model.

The kernels that feed the model are timed between the calls of the parties, so that model and
measurement see the machine at the same speed. A round that would take too long, or too much
memory, is replaced by a smaller one.
"""

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes import Code
from ..drivers.cohort import Cohort, Record, RoundFailedError, Run
from ..errors import NativeError, ParameterError
from ..events import Phase
from ..interfaces import ClientMachine, ServerMachine
from ..ledger.ledger import MemoryLedger
from ..pairwise.client import Client
from ..pairwise.parties import all_parties, introduce
from ..pairwise.server import Server
from ..params.checks import require_int, require_kind, require_seconds
from ..params.formats import FixedPoint
from ..params.mode import Mode
from ..params.params import Params
from ..params.policy import Policy
from ..params.rotated import Rotated
from .calibration import Calibration, calibrate
from .feasible import as_fraction
from .model import Estimate, Shape, Side, Units, estimate, memory, require_units

STEPS: Final = 40  # how often a round reports its progress
_ROUNDS: Final = 5  # the most rounds that are played
_STARTS: Final = 10  # clients and servers whose start is timed
_INPUTS: Final = 8  # vectors that all clients share, so that they take little memory
_LEAST_LENGTH: Final = 10_000  # shorter vectors only where smaller cohorts do not help
_LEAST_COHORT: Final = 20
_SAMPLES: Final = 40  # of each kernel while rounds are played
_SAMPLING: Final = 1.5  # seconds that these take
_AROUND: Final = 1.3  # a round with what is around it (inputs, checks of the sum), over the model

Say = Callable[[str], object]


def _nothing(text: str) -> None:
    """Says nothing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Measured costs of rounds.

    Attributes:
        params: of the rounds that were played.
        dropouts: parties that dropped out after they had dealt shares.
        rounds: number of rounds; each figure is the median.
        seconds: wall-clock time of a round, all parties one by one.
        client: one client that stays to the end: CPU seconds and bytes.
        server: the same of the server.
        units: unit costs, timed meanwhile.
        model: the estimate from them.
    """

    params: Params
    dropouts: int
    rounds: int
    seconds: float
    client: Side
    server: Side
    units: Units
    model: Estimate


@dataclass(frozen=True, slots=True)
class Plan:
    """Rounds that are to be played.

    Attributes:
        params: those asked for, or smaller ones that fit time and memory.
        dropouts: parties that drop out of each.
        rounds: how many are played.
        seconds: about how long they take.
        whole_seconds: about how long one round as asked for would take.
    """

    params: Params
    dropouts: int
    rounds: int
    seconds: float
    whole_seconds: float

    @property
    def steps(self) -> int:
        """The number of times that `run` reports progress."""
        return self.rounds * STEPS

    def run(self, say: Say = _nothing) -> Measured:
        """Plays the rounds; see `measure`."""
        samples = _SAMPLES // (2 * self.rounds)
        return measure(self.params, self.dropouts, self.rounds, samples=samples, say=say)


def plan(
    params: Params,
    dropouts: int | None = None,
    *,
    seconds: float = 60.0,
    units: Units | None = None,
) -> Plan:
    """Plans rounds that are played in a given time, and in half of this machine's memory.

    Where a round is too large its vectors become shorter, down to 10,000 coordinates; then the
    cohort smaller, for the same fractions; and then the vectors shorter still.

    Args:
        params: of the round asked for.
        dropouts: parties that drop out after they have dealt shares; by default all that may.
        seconds: about how long all rounds may take.
        units: unit costs; by default they are timed, in a second.

    Raises:
        ParameterError: so many dropouts leave no quorum, the time is not positive, or no round of
            this kind is small enough for it.
    """
    require_kind("params", params, Params, "`Params.for_cohort` chooses them")
    most = require_seconds("seconds", seconds, positive=True)
    spare = params.cohort - params.quorum
    lost = spare if dropouts is None else require_int("dropouts", dropouts, 0, spare)
    if units is None:
        units = calibrate(params.suite, params.field_bits, 10)
    require_units(units)
    room = (physical_memory() or 2**33) / 2
    whole = _seconds(params, lost, units)
    for smaller in _ever_smaller(params):
        gone = lost * smaller.cohort // params.cohort
        one = _seconds(smaller, gone, units)
        if one <= most and _bytes(smaller) <= room:
            rounds = max(1, min(_ROUNDS, int(most / one)))
            return Plan(smaller, gone, rounds, rounds * one + _SAMPLING, whole)
    raise ParameterError(
        f"no round of this kind is small enough for {most:g} seconds: raise seconds", Code.ARGUMENT
    )


def measure(
    params: Params, dropouts: int, rounds: int, *, samples: int = 10, say: Say = _nothing
) -> Measured:
    """Plays rounds, checks each sum, and returns the medians of what they took.

    Args:
        params: of the rounds.
        dropouts: parties that drop out after they have dealt shares.
        rounds: number of rounds.
        samples: samples of each piece of work, before and after each round.
        say: is called `STEPS` times per round, with a text about what is under way.

    Raises:
        ParameterError: an argument has the wrong type, there is no round or sample, or so many
            dropouts leave no quorum.
        RoundFailedError: a round failed, which happens on a sparse graph, seldom.
        NativeError: a sum is wrong.
    """
    shape = Shape.of(params, dropouts)
    rounds = require_int("rounds", rounds, 1, 2**32)
    calibration = Calibration(params.suite, params.field_bits, max(params.cohort, 3))
    begin, serve = _start_seconds(params)
    clocks, clients, servers = [], [], []
    for number in range(1, rounds + 1):
        prefix = f"round {number} of {rounds}: " if rounds > 1 else ""
        calibration.take(samples)
        clock, run = _play(params, dropouts, calibration, partial(_prefixed, say, prefix))
        calibration.take(samples)
        # A client that stays pays for every phase, a lost one only for those before its dropout.
        costs = list(run.cost.values())
        means = [cost.client_seconds / max(cost.clients, 1) for cost in costs]
        clocks.append(clock)
        clients.append((begin, *means[1:]))
        servers.append(
            (serve + costs[0].server_seconds, *(cost.server_seconds for cost in costs[1:]))
        )
    units, stays = calibration.units(), params.cohort - 1
    return Measured(
        params,
        dropouts,
        rounds,
        statistics.median(clocks),
        Side(_medians(clients), run.bytes_up[stays], run.bytes_down[stays]),
        Side(_medians(servers), sum(run.bytes_down.values()), sum(run.bytes_up.values())),
        units,
        estimate(shape, units),
    )


def _prefixed(say: Say, prefix: str, text: str) -> None:
    say(prefix + text)


def physical_memory() -> int | None:
    """Returns the bytes of memory of this machine, or None where that cannot be told."""
    if hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):  # a system without these names
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _medians(rounds: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(statistics.median(phase) for phase in zip(*rounds, strict=True))


def _seconds(params: Params, lost: int, units: Units) -> float:
    """Returns about how long a whole round takes, all parties one by one."""
    cost = estimate(Shape.of(params, lost), units)
    return _AROUND * (params.cohort * cost.client.seconds + cost.server.seconds)


def _bytes(params: Params) -> float:
    """Returns about how much memory the parties of a round take together, messages included."""
    shape = Shape.of(params)
    need = memory(shape)
    packed = shape.elements * shape.bits / 8
    waiting = memory(replace(shape, elements=0)).client + packed  # each client, and its message
    return need.server + need.client + shape.cohort * waiting


def _ever_smaller(params: Params) -> Iterator[Params]:
    """Yields the parameters, and ever smaller ones for the same fractions."""
    yield params
    n, length = params.cohort, params.length
    corrupt = as_fraction(params.colluders, n)
    dropout = as_fraction(n - params.quorum, n)
    while n > _LEAST_COHORT or length > 1:
        if length > _LEAST_LENGTH or n <= _LEAST_COHORT:
            length = max(length // 2, 1)
        else:
            n = max(3 * n // 4, _LEAST_COHORT)
        if n == params.cohort:
            yield replace(params, length=length)
            continue
        try:
            yield Params.for_cohort(
                n,
                length,
                params.format,
                corrupt=corrupt,
                dropout=dropout,
                mode=params.mode,
                suite=params.suite,
            )
        except ParameterError:  # not safe for so few
            continue


# -- one round ------------------------------------------------------------------------------------


class _Watched(Cohort):
    """A cohort that times kernels and reports progress between the calls of its parties."""

    def __init__(
        self,
        server: ServerMachine,
        clients: dict[int, ClientMachine],
        values: NDArray[np.generic],
        weight: int,
        lost: int,
        calibration: Calibration,
        say: Say,
    ) -> None:
        super().__init__(
            server,
            clients,
            {party: partial(_input, values, weight, party) for party in clients},
            dict.fromkeys(range(lost), Phase.MASKED_INPUT),
            clock=time.process_time,
        )
        self._calibration, self._say = calibration, say
        self._calls = self._said = 0
        # Each message of a client, and each to it but none at the end.
        self._expected = len(clients) * (2 * len(server.phases) - 1)
        self.aside = 0.0  # wall-clock seconds of the samples

    def _between(self) -> None:
        self._calls += 1
        if self._calls % max(len(self._clients) // 100, 10) == 0:
            start = time.perf_counter()
            self._calibration.step()
            self.aside += time.perf_counter() - start
        self._report(STEPS * self._calls // self._expected)

    def _report(self, steps: int) -> None:
        for _ in range(self._said, min(steps, STEPS)):
            self._said += 1
            self._say(str(self._phase))

    def _deliver(self, record: Record) -> None:
        self._between()
        super()._deliver(record)

    def _on_client(self, record: Record) -> None:
        self._between()
        super()._on_client(record)

    def play(self) -> Run:
        """Runs the round to its end, without the garbage collector, and reports the last steps."""
        with _without_collector():
            run = super().play()
        self._report(STEPS)
        return run


def _input(values: NDArray[np.generic], weight: int, party: int) -> tuple[ArrayLike, int]:
    return values[party % _INPUTS], weight


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keeps Python from scanning the objects of all clients, which no single party does."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _play(params: Params, lost: int, calibration: Calibration, say: Say) -> tuple[float, Run]:
    """Plays a round, checks its sum, and returns its wall-clock seconds and outcome."""
    values, weight = _inputs(params), params.format.max_weight
    start = time.perf_counter()
    server, clients = all_parties(params, Policy(params))
    cohort = _Watched(server, dict(clients), values, weight, lost, calibration, say)
    run = cohort.play()
    seconds = time.perf_counter() - start - cohort.aside
    if run.result is None:
        raise RoundFailedError(run.reason, cast("Code", run.code), run)
    expected = np.zeros(params.length)
    for index, count in enumerate(np.bincount(np.arange(lost, params.cohort) % _INPUTS)):
        expected += values[index].astype(float) * (weight * int(count))
    error = float(np.abs(run.result.total - expected).max())
    step = params.format.step if isinstance(params.format, FixedPoint) else 0.0
    scale = float(np.abs(expected).max()) * 2.0**-48  # what floats lose
    is_exact = not isinstance(params.format, Rotated)  # which may clip, and add noise
    if is_exact and error > step * weight * (params.cohort - lost) + scale:
        raise NativeError("the sum of a round that was played is wrong", Code.NATIVE)
    return seconds, run


def _inputs(params: Params) -> NDArray[np.generic]:
    """Returns inputs of the format, one per row."""
    rng, shape, form = np.random.default_rng(0), (_INPUTS, params.length), params.format
    if isinstance(form, FixedPoint):
        dtype = np.float32 if 2.0**-100 < form.clip < 2.0**100 else np.float64
        return (form.clip * rng.uniform(-1, 1, shape)).astype(dtype)
    if isinstance(form, Rotated):
        return form.clip / math.sqrt(params.length) * rng.uniform(-1, 1, shape)
    return rng.integers(form.low, form.high, shape, endpoint=True)


def _start_seconds(params: Params) -> tuple[float, float]:
    """Returns the CPU seconds for making a client and its first message, and for a server.

    Each is for a round of its own, so that each computes the graph; the parties of a round in one
    process share it.
    """
    malicious = params.mode is Mode.MALICIOUS
    identities, directory = introduce(params.cohort) if malicious else ([None], None)
    found: list[tuple[float, ...]] = []
    for _ in range(_STARTS):
        agreed, other = params.round(), params.round()
        ledger = MemoryLedger() if malicious else None
        start = time.process_time()
        Client(
            agreed, 0, Policy(params), identity=identities[0], directory=directory, ledger=ledger
        ).start()
        middle = time.process_time()
        Server(other, directory)
        found.append((middle - start, time.process_time() - middle))
    begin, serve = _medians(found)
    return begin, serve
