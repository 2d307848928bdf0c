"""Federated averaging over secure sums: the server sees only sums.

`FedAvg` runs a `Coordinator` and its `Participant`s in one process and carries messages between
them. It is a simulation: it protects no party from the owner of the process.

A contribution counts as given when the masked input leaves, whatever becomes of the round. So in
malicious mode a failed round is repeated only as often as the participants allow.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from secagg import (
    Client,
    Code,
    FixedPoint,
    Layout,
    Mode,
    ParameterError,
    Params,
    Rotated,
)
from secagg.simulate import Input

from .adaptive import QuantileClip
from .agreed import check_cohort, cohort_of, listed
from .checkpoint import Checkpoint
from .data import check_seed
from .history import RoundReport, Score
from .models import Model
from .one_sum import OneSum
from .optimizers import Optimizer
from .participant import Participant, Randomness
from .private import Privacy, params_of
from .schedule import Drops
from .simulated import CHOICE, SESSION, Simulation
from .steps import summed_by
from .updates import FedClient, Form, whole

_RANDOM_STREAM: Final = 3
_BITS: Final = 20
_ROTATED_BITS: Final = 8

F = TypeVar("F")


def fedavg_params(
    clients: Iterable[FedClient],
    model: Model,
    clip: float = 4.0,
    bits: int | None = None,
    mode: Mode = Mode.SEMI_HONEST,
    rotate: bool = False,
    sample: float | None = None,
    optimizer: Optimizer | None = None,
) -> Params:
    """Makes parameters for federated averaging of this model over these clients.

    Args:
        clients: the cohort, at least three. The largest number of examples becomes the public
            `max_weight`; a client may hold none.
        model: arrays of floats.
        clip: bound of each value of an update, or with `rotate` of its L2 norm; the reports count
            what was clipped.
        bits: bits per quantized value: 1..32, by default 20; with `rotate` 1..16, by default 8.
        mode: the kind of server that the round protects against.
        rotate: take the format `Rotated`, which needs far fewer bits than `FixedPoint`.
        sample: clients of each round, as of `FedAvg`. The default thresholds stand a third of a
            cohort as colluders, and a sample may have more of them than that.
        optimizer: of the training, if it sums more than the model.

    Raises:
        ParameterError: the values are impossible, there are fewer than three clients, none holds an
            example, or no field is wide enough for the sum.
    """
    clients, most = check_cohort(clients)
    cohort, length = cohort_of(len(clients), sample), Layout.of(model).length
    length = summed_by(optimizer, length)
    form: Form
    if rotate:
        bits = _ROTATED_BITS if bits is None else bits
        form = Rotated.of(clip=clip, bits=bits, length=length, cohort=cohort, max_weight=most)
    else:
        form = FixedPoint(clip=clip, bits=_BITS if bits is None else bits, max_weight=most)
    return Params(cohort=cohort, length=length, format=form, mode=mode)


class FedAvg(Simulation[Participant, RoundReport]):
    """Federated averaging, weighted by numbers of examples; each round is a secure sum.

    Iterating runs the rounds and yields one `RoundReport` per round; `model` is a copy of the model
    so far.
    A round with fewer survivors than the quorum is reported as failed and leaves the model
    unchanged; the next round follows, another attempt on the same model if an input has left. In
    malicious mode iteration ends when the attempts on a model are used up: with an error, or, if
    successful rounds led back to the model (`converged`), without the rounds that are left. A new
    iteration continues where the last one stopped.

    A round counts as soon as an input may have left a client, for `rounds` and for epsilon: also if
    it is interrupted, or its sum cannot be applied. It then has a report that says so; such a
    report, and that of a round whose `evaluate` raised an exception, is in `reports` and is not
    yielded. The next iteration asks `evaluate` again.

    A client that has no update to give is a dropout of the round: it holds no examples, its
    training raised an exception, or returned something else than finite arrays of the model's
    shapes. The report says why (`refusals`), and it takes part in the next round again.

    Args:
        model: the initial model, a list of arrays of float16, float32 or float64; copied.
        clients: the cohort, at least three; any objects with `examples` and `train`.
        params: parameters of all rounds, with a quorum of at least 3; the default is that of
            `fedavg_params`.
        rounds: number of rounds, from 0.
        drops: dropouts of each round (`draw_drops`); none by default.
        evaluate: scores a copy of the model after each round; the score is in the report.
        random: function of round number and party that returns this client's randomness (or with
            the number of clients as party the server's), for reproducible simulations only
            (`simulated_randomness`).
        training: the cohort's word for this training. Each `FedAvg` has ledgers of its own, so
            one word serves all.
        privacy: differential privacy (`private_params`); it gives the parameters.
        optimizer: makes a change of the model from the mean of a round; by default it is added.
        sample: clients of each round, if not all: a number, at least three, or a share of them,
            above 0 and up to 1. They are drawn anew for each round; `params` and `privacy` are
            for so many.
        checkpoint: a file that is written before and after each round. If it is there already, the
            training goes on from it: with the same `random` it ends with the same model as one that
            was not interrupted. A round in which the process ended is run again with `random`, as
            the same messages leave again; without, it counts as failed. A file that was put back
            from a copy knows nothing of the rounds since. A client whose `state` cannot be saved
            sits the round out.
        patience: ends the training after so many rounds without a better loss than before, at
            least 1; needs `evaluate`.
        attempts: in malicious mode, how often clients give their update of one model, at least 1.
        failures: in malicious mode, in how many rounds a client's training may fail before it joins
            no more, at least 1.

    Raises:
        ParameterError: the parameters do not fit the model, the clients, their weights or the
            optimizer (`Scaffold` is for semi-honest mode), a sum could be over fewer than three
            clients, `drops` does not fit the rounds, the privacy is for fewer rounds, the word is
            empty, `attempts` is below 1, two clients are one object, the checkpoint is of another
            training or cannot be written, or an argument is of a wrong kind or outside its range.
            While iterating, the model has overflowed its dtype, or the optimizer has returned
            something else than it must.
        RangeError: while iterating, the new model would not be finite in its dtypes.
        StateError: the checkpoint is none, or cannot be read; or while iterating, it cannot be
            written, or another process has written it.
        AttemptsExhaustedError: while iterating, a round is left, no attempt on the model is, and
            all rounds on it failed.
    """

    def __init__(
        self,
        model: Model,
        clients: Iterable[FedClient],
        *,
        rounds: int,
        params: Params | None = None,
        drops: Iterable[Drops] | None = None,
        evaluate: Callable[[Model], Score] | None = None,
        random: Callable[[int, int], Randomness] | None = None,
        training: str = "simulation",
        attempts: int = 1,
        failures: int = 3,
        privacy: Privacy | None = None,
        optimizer: Optimizer | None = None,
        sample: float | None = None,
        checkpoint: str | Path | None = None,
        patience: int | None = None,
    ) -> None:
        clients = listed("clients", clients)
        params = params_of(privacy, params)
        if params is None:
            params = fedavg_params(clients, model, sample=sample, optimizer=optimizer)
        self.rounds: Final = whole("rounds", rounds, 0, 2**63 - 1)
        if privacy is not None:
            privacy.check_rounds(self.rounds)
        super().__init__(
            *(Participant, model, clients, params),
            cohort=cohort_of(len(clients), sample),
            rounds=self.rounds,
            drops=drops,
            evaluate=evaluate,
            random=random,
            training=training,
            attempts=attempts,
            counted=attempts,
            failures=failures,
            privacy=privacy,
            optimizer=optimizer,
            adaptive=privacy.adaptive if privacy else None,
        )
        self._patience = None if patience is None else whole("patience", patience, 1, 2**63 - 1)
        if patience is not None and evaluate is None:
            raise ParameterError(
                "patience needs evaluate, which says what a loss is", Code.ARGUMENT
            )
        if (found := self._open_file(checkpoint, {})) is not None:
            self._go_on(found)

    @property
    def converged(self) -> bool:
        """True if no further round can change the model; see `Coordinator.converged`."""
        return self.coordinator.converged

    def __iter__(self) -> Iterator[RoundReport]:
        """Runs the rounds that are left."""
        self._score()  # what an interruption left without
        while len(self.reports) < self.rounds and not (self.converged or self._is_over()):
            self._round()
            self._score()
            yield self.reports[-1]

    def _is_over(self) -> bool:
        """Returns whether the last rounds brought no better loss than there was before."""
        if self._patience is None:
            return False
        losses = [each.score.loss for each in self.reports if each.score]
        before, last = losses[: -self._patience], losses[-self._patience :]
        return bool(before) and not min(last) < min(before)

    def _go_on(self, found: Checkpoint) -> None:
        """Puts back what a checkpoint holds."""
        self._restore(found)
        members = found.opened
        if members is None or self._random is not None:  # then the same messages leave again
            return
        _, attempt, server = self.coordinator.open(members)
        self.coordinator.close(None, server=server)
        lost = OneSum(server, members, [self._participants[each] for each in members], {})
        lost.fail("the process ended in this round, and inputs may have left clients")
        self._report(attempt, lost, 0.0, self.coordinator.clip)

    def _round(self) -> None:
        start = time.perf_counter()
        number = len(self.reports) + 1
        members = self._members(number)
        model, sent, clip = self.coordinator.model, self.coordinator.sent, self.coordinator.clip
        opened = self._checkpoint(members)
        offer, attempt, server = self.coordinator.open(members, self._drawn(number, 16, SESSION))

        def join(participant: Participant, random: Randomness | None) -> tuple[Client, Input]:
            return participant.join(offer, model, attempt, random, members, sent)

        def after(played: OneSum[Participant], counts: bool) -> None:
            if counts:
                self._report(attempt, played, time.perf_counter() - start, clip)

        self._play(server, members, model, opened, join, after)

    def _report(
        self, attempt: int, played: OneSum[Participant], seconds: float, clip: QuantileClip | None
    ) -> None:
        """Counts a round."""
        number = len(self.reports) + 1
        report = RoundReport(
            round=number,
            attempt=attempt,
            **played.facts(),
            seconds=seconds,
            epsilon=self._privacy.epsilon(number) if self._privacy else None,
            clip=clip.clip if clip else None,
        )
        self.reports.append(report)

    def _members(self, number: int) -> tuple[int, ...]:
        """Returns the clients of a round: all, or as many as there are in a cohort."""
        everybody, cohort = self._everybody, self.params.cohort
        if cohort == everybody:
            return tuple(range(everybody))
        seed = self._drawn(number, 16, CHOICE) or os.urandom(16)
        drawn = np.random.default_rng(list(seed)).permutation(everybody)[:cohort]
        return tuple(sorted(drawn.tolist()))


def simulated_randomness(seed: int) -> Callable[[int, int], Randomness]:
    """Returns a source of every client's randomness in every round, for simulation only.

    All keys, masks and rounding follow from the seed: runs can be repeated bit by bit, and anybody
    who knows the seed can unmask every input.

    Raises:
        ParameterError: the seed is no whole number from 0.
    """
    seed = check_seed(seed)

    def of(number: int, party: int) -> Randomness:
        return np.random.default_rng((seed, _RANDOM_STREAM, number, party)).bytes

    return of
