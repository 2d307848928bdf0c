"""Federated averaging over secure sums: the server sees sums, only sums.

`FedAvg` plays a `Coordinator` and its `Participant`s in one process and carries messages between
them. It is a simulation: nobody is protected from whoever owns the process.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from secagg import (
    Client,
    Code,
    FixedPoint,
    Identity,
    Layout,
    MemoryLedger,
    Mode,
    ParameterError,
    Params,
    Phase,
)
from secagg.simulate import Cohort, Input, Run, introduce

from .models import Model
from .schedule import Drops
from .sides import Coordinator, FedClient, Participant, Randomness

TRAINING: Final = "local training"

_RANDOM_STREAM: Final = 3


class Score(NamedTuple):
    """How good a model is: mean loss, and accuracy as a fraction."""

    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class RoundReport:
    """What came of one round.

    Attributes:
        round: 1, 2, ...
        survivors: clients whose update is in the sum; empty if the round failed.
        failed: whether the model stayed as it was.
        reason: why the round failed, or "".
        code: the same for programs, or None.
        drops: who vanished, before which message (a simulation knows).
        refusals: clients that would not go on, with their reasons.
        refusal_codes: the same for programs.
        clipped: update values that were clipped, over all clients that sent an input.
        bytes_up: that a client sent, mean over the cohort. Messages of secure aggregation only:
            the offer and the model itself, broadcast to every client, come on top.
        bytes_down: that a client was sent, likewise.
        seconds: wall-clock time of the whole round.
        seconds_by_phase: `TRAINING` and each phase of secure aggregation, all parties together.
        score: what `evaluate` says of the model after the round, if it was given.
    """

    round: int
    survivors: tuple[int, ...]
    failed: bool
    reason: str
    code: Code | None
    drops: Drops
    refusals: Mapping[int, str]
    refusal_codes: Mapping[int, Code]
    clipped: int
    bytes_up: float
    bytes_down: float
    seconds: float
    seconds_by_phase: Mapping[str, float]
    score: Score | None = None


def fedavg_params(
    clients: Sequence[FedClient],
    model: Model,
    clip: float = 4.0,
    bits: int = 20,
    mode: Mode = Mode.SEMI_HONEST,
) -> Params:
    """Parameters for federated averaging of this model over these clients.

    Args:
        clients: the cohort. The largest number of examples becomes the public `max_weight`.
        model: arrays of floats.
        clip: bound of every coordinate of an update; clipping is counted in the reports.
        bits: of a quantized coordinate, 1..32.
        mode: the server that clients are protected against.

    Raises:
        ParameterError: impossible values, or no field has room for such a sum.
    """
    if not clients:
        raise ParameterError("federated averaging needs clients", Code.ARGUMENT)
    fixed = FixedPoint(clip=clip, bits=bits, max_weight=max(c.examples for c in clients))
    length = Layout.of(model).length
    return Params(cohort=len(clients), length=length, format=fixed, mode=mode)


class FedAvg:
    """Federated averaging, weighted by numbers of examples, every round a secure sum.

    Iterating plays the rounds and yields a `RoundReport` each; the model is in `model`. A round
    that ends below the quorum is reported as failed, leaves the model as it was, and training
    goes on. Breaking off and iterating again goes on with the next round.

    Args:
        model: where to start, a list of float arrays; copied.
        clients: the cohort; anything with `examples` and `train`.
        params: see `fedavg_params`, which is the default.
        rounds: how many to play.
        drops: for each round who vanishes and when (`draw_drops`); nobody, when not given.
        evaluate: scores the model after each round; what it says is in the reports.
        random: round number, party -> that client's randomness, for reproducible simulations
            only (`simulated_randomness`).

    Raises:
        ParameterError: the parameters do not fit the model, the clients or their weights, or
            the schedule does not fit the rounds.
        RangeError: while iterating, a client's training gave an unusable model.
    """

    def __init__(
        self,
        model: Model,
        clients: Sequence[FedClient],
        *,
        rounds: int,
        params: Params | None = None,
        drops: Sequence[Drops] | None = None,
        evaluate: Callable[[Model], Score] | None = None,
        random: Callable[[int, int], Randomness] | None = None,
    ) -> None:
        self.params: Final = params or fedavg_params(clients, model)
        self.rounds: Final = rounds
        # A real cohort's members make their own identities and pin each other's out of band.
        identities: list[Identity] = []
        directory = ledger = None
        if self.params.mode == Mode.MALICIOUS:
            identities, directory = introduce(self.params.cohort)
            ledger = MemoryLedger()
        self.coordinator: Final = Coordinator(model, self.params, directory)
        self._number = 0
        self._drops = [{} for _ in range(rounds)] if drops is None else list(drops)
        self._evaluate = evaluate
        self._random = random
        _check_clients(self.params, clients)
        self._participants = [
            Participant(
                index,
                client,
                self.params,
                identities[index] if identities else None,
                directory,
                ledger,
            )
            for index, client in enumerate(clients)
        ]
        _check_drops(self._drops, rounds, self.params.cohort)

    @property
    def model(self) -> Model:
        """The global model after the rounds so far."""
        return self.coordinator.model

    def __iter__(self) -> Iterator[RoundReport]:
        """Plays the rounds that are left."""
        while self._number < self.rounds:
            self._number += 1
            yield self._round(self._number)

    def _round(self, number: int) -> RoundReport:
        start = time.perf_counter()
        drops = self._drops[number - 1]
        offer, server = self.coordinator.open(number)
        party = _Party()
        for participant in self._participants:
            index = participant.index
            random = self._random(number, index) if self._random else None
            try:
                secure, give = participant.join(offer, self.model, number, random)
            except ParameterError as error:  # its policy refuses: it never appears
                party.refusals[index] = error.reason
                party.refusal_codes[index] = error.code
            else:
                party.clients[index], party.inputs[index] = secure, give
        run = Cohort(server, party.clients, party.inputs, drops).play()
        self.coordinator.close(run.result)
        seconds = time.perf_counter() - start
        score = self._evaluate(self.model) if self._evaluate else None
        cohort = self.params.cohort
        return RoundReport(
            round=number,
            survivors=run.result.survivors if run.result else (),
            failed=run.result is None,
            reason=run.reason,
            code=run.code,
            drops=dict(drops),
            refusals=party.refusals | run.refusals,
            refusal_codes=party.refusal_codes | run.refusal_codes,
            clipped=sum(run.clipped.values()),
            bytes_up=sum(run.bytes_up.values()) / cohort,
            bytes_down=sum(run.bytes_down.values()) / cohort,
            seconds=seconds,
            seconds_by_phase=self._seconds(run),
            score=score,
        )

    def _seconds(self, run: Run) -> dict[str, float]:
        seconds = {TRAINING: sum(each.training_seconds for each in self._participants)}
        for phase in self.params.mode.phases:
            cost = run.cost[phase]
            seconds[phase.value] = cost.client_seconds + cost.server_seconds
        return seconds


@dataclass(slots=True)
class _Party:
    """The clients of one round as they join it."""

    clients: dict[int, Client] = field(default_factory=dict)
    inputs: dict[int, Input] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    refusal_codes: dict[int, Code] = field(default_factory=dict)


def _check_clients(params: Params, clients: Sequence[FedClient]) -> None:
    if len(clients) != params.cohort:
        raise ParameterError(
            f"{len(clients)} clients, and params for {params.cohort}", Code.ARGUMENT
        )
    if not isinstance(params.format, FixedPoint):
        raise ParameterError("federated averaging needs the FixedPoint format", Code.ARGUMENT)
    for index, client in enumerate(clients):
        if not 1 <= client.examples <= params.format.max_weight:
            raise ParameterError(
                f"client {index} has {client.examples} examples, and weights are in "
                f"1..{params.format.max_weight}",
                Code.WEIGHT,
            )


def _check_drops(drops: Sequence[Drops], rounds: int, cohort: int) -> None:
    if len(drops) != rounds:
        raise ParameterError(f"drops for {len(drops)} rounds, and {rounds} rounds", Code.ARGUMENT)
    for each in drops:
        for party, phase in each.items():
            if party not in range(cohort) or not isinstance(phase, Phase):
                raise ParameterError(
                    f"no client {party!r} can drop before {phase!r}", Code.ARGUMENT
                )


def simulated_randomness(seed: int) -> Callable[[int, int], Randomness]:
    """Every client's randomness of every round, from one seed: for simulation only.

    All keys, masks and rounding follow from the seed, so runs can be repeated to the last bit,
    and whoever knows the seed can unmask everything.
    """

    def of(number: int, party: int) -> Randomness:
        return np.random.default_rng((seed, _RANDOM_STREAM, number, party)).bytes

    return of
