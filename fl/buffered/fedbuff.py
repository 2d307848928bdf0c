"""Buffered asynchronous averaging over secure sums: nobody waits for the slowest client.

Each client trains at its own pace, on the model that it got last. As soon as enough of them are
ready, their updates are summed securely and change the model. Source: Nguyen et al. 2022,
"Federated Learning with Buffered Asynchronous Aggregation" (arXiv 2106.06639), which has the buffer
in a trusted machine instead.

`FedBuff` is a simulation, with its own clock: it protects no party from the owner of the process.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, cast

import numpy as np

from secagg import (
    AttemptsExhaustedError,
    Client,
    Code,
    ParameterError,
    Params,
    digest,
)
from secagg.simulate import Input

from ..adaptive import QuantileClip
from ..agreed import cohort_of, listed
from ..checkpoint import Checkpoint, as_whole
from ..fedavg import fedavg_params
from ..history import BufferReport, Score, an_int, ints
from ..models import Model
from ..one_sum import OneSum
from ..optimizers import Optimizer
from ..participant import Randomness
from ..private import Privacy, params_of
from ..schedule import Drops
from ..simulated import CHOICE, SESSION, Simulation
from ..steps import as_optimizer, sent_by, start_of
from ..updates import FedClient, whole
from .pace import About, Durations, Pace
from .participant import BufferedParticipant, Weigh, staleness_weight

_MANY: Final = 2**63 - 1
_SEED_BYTES: Final = 16


class FedBuff(Simulation[BufferedParticipant, BufferReport]):
    """Buffered averaging: each change of the model is a secure sum over whoever is ready.

    All clients begin with the first model. One that has trained is ready, and waits; when `buffer`
    clients are ready that trained on the same model, they are the cohort of a secure sum, and the
    model changes by the mean of their updates, weighted by examples as in `FedAvg`. Then they begin
    anew with the model as it is, as do clients whose update has become too stale meanwhile. Each
    client multiplies its update by a weight for its staleness (how often the model has changed
    since the client got it) before it is clipped: so no weight can lengthen an update.

    Iterating runs the sums and yields one `BufferReport` each; `model` is a copy of the model so
    far. A sum with fewer survivors than the quorum has failed; the model is unchanged, and its
    members begin anew. As in `FedAvg` a sum counts as soon as an update may have left a client,
    also if it is interrupted. Iteration ends early if too few clients are left to fill a buffer:
    `ended` says why.

    **One buffer for each model.** The server has sent each client its model, so it knows for every
    member of a sum on which model it trained. If that is the same for all, the sum says nothing
    about which member gave which part of it: exchange two clients' data, and nothing else changes.
    In a mixed buffer it does:

    - A lone stale client has a part of the sum that belongs to its model alone. Who can predict the
      updates of the others, from earlier sums for instance, has the rest, and knows whose it is.
    - Weights differ by staleness, and the server knows them. Updates that take few values (counts,
      words that occur or do not) can be read from a sum with weights 1 and 0.7, one by one.
    - A server that lies chooses the models, and needs to predict nothing: it sends all but one
      client a model whose update is zero (arXiv 2111.07380). The others' digests do not help,
      since no client knows what is behind them.

    So `mixed` is False by default: then a client refuses a sum in which somebody trained on another
    model, as the context would be another. True is the method of the paper: it needs a server that
    follows the protocol and does not look too closely, or noise (`privacy`), whose promise holds
    for any sum. In malicious mode it is refused.

    What one buffer for each model costs: clients that are alone with their model wait, and in the
    end train for nothing. If nobody trains any more, and no buffer is full, those with the oldest
    model begin anew.

    **Malicious mode.** There are several sums about one model, over different clients. So attempts
    are counted by each client for itself: it gives its update of one model `attempts` times, by
    default once, whatever the server says of other sums. Once is enough, since after a failed sum
    other clients change the model, with which those of the failed one begin anew; and a second sum
    in other company would tell more about each of them than one. If the buffer is the whole
    training, nobody else can: then take more attempts, or iteration ends with
    `AttemptsExhaustedError`.

    **Privacy.** With `privacy` (`private_params(..., sample=buffer, rounds=...)`) a client gives at
    most `privacy.rounds` updates, then it joins no more. There may be more sums than that. Epsilon
    is for each client by its own number of updates; reports have the largest. When clients are
    ready is not covered: it tells how long they train, and so do the cohorts. And clients choose
    by their timing which buffer they enter, so `corrupt` must allow for all colluders of the
    training in one buffer.

    Args:
        model: the initial model, a list of arrays of float16, float32 or float64; copied.
        clients: at least three; any objects with `examples` and `train`.
        buffer: clients of each sum: a number, at least three, or a share of the clients.
        sums: secure sums of the training, failed ones included, from 0.
        params: parameters of all sums, for a cohort of `buffer`; the default is that of
            `fedavg_params`.
        durations: returns how long a client trains this time; finite, above 0, in any unit. Its
            arguments are a generator for draws, and the client's position. By default the logarithm
            of a client's typical duration is normal with deviation 1 (median 1), and that of each
            training with deviation 1/4 around it. Sums take no time.
        weigh: what an update counts after so many changes of the model; above 0, and at most 1. By
            default 1 / sqrt(1 + changes).
        most_stale: after how many changes an update is still given; 0..10,000.
        mixed: put updates of several models together, see above.
        drops: for each sum the clients that reported ready and are gone, with the phase before
            whose message (`draw_drops`); those that are not in the sum do not count. They are back
            for the next model.
        evaluate, random, training, attempts, failures, privacy, optimizer: as of `FedAvg`; the
            first argument of `random` is the number of the sum. An optimizer that sends more than
            the model (`Scaffold`) is refused.
        checkpoint: as of `FedAvg`. No update is in it: who waits with one trains again, from what
            it had kept before, and must come to the same. `durations` of your own draw from their
            generator alone.

    Raises:
        ParameterError: as of `FedAvg`; or `buffer`, `most_stale`, a weight or a duration is outside
            its range, or the optimizer sends more than the model.
        RangeError: while iterating, the new model would not be finite in its dtypes.
        AttemptsExhaustedError: while iterating, too few clients have an attempt left on the model,
            and no sum about it succeeded.
    """

    def __init__(
        self,
        model: Model,
        clients: Iterable[FedClient],
        *,
        buffer: float,
        sums: int,
        params: Params | None = None,
        durations: Durations | None = None,
        weigh: Weigh = staleness_weight,
        most_stale: int = 10,
        mixed: bool = False,
        drops: Iterable[Drops] | None = None,
        evaluate: Callable[[Model], Score] | None = None,
        random: Callable[[int, int], Randomness] | None = None,
        training: str = "simulation",
        attempts: int = 1,
        failures: int = 3,
        privacy: Privacy | None = None,
        optimizer: Optimizer | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        clients = listed("clients", clients)
        optimizer = as_optimizer(optimizer)
        if sent_by(optimizer, start_of(optimizer, 1), 1) is not None:
            raise ParameterError(
                f"{type(optimizer).__name__} sends clients more than the model, which changes "
                "while they train: FedBuff takes optimizers that use the mean alone",
                Code.ARGUMENT,
            )
        params = params_of(privacy, params)
        if params is None:
            params = fedavg_params(clients, model, sample=buffer, optimizer=optimizer)
        self.sums: Final = whole("sums", sums, 0, _MANY)
        self.ended = ""
        adaptive = privacy.adaptive if privacy else None
        if adaptive is not None:  # which changes with each sum, whoever is in it
            adaptive = replace(adaptive, rounds=self.sums)
        make = partial(
            BufferedParticipant,
            most_stale=most_stale,
            weigh=weigh,
            mixed=mixed,
            contributions=privacy.rounds if privacy else None,
        )
        super().__init__(
            *(make, model, clients, params),
            cohort=cohort_of(len(clients), buffer),
            rounds=self.sums,
            drops=drops,
            evaluate=evaluate,
            random=random,
            training=training,
            attempts=attempts,
            counted=None,
            failures=failures,
            privacy=privacy,
            optimizer=optimizer,
            adaptive=adaptive,
        )
        self._opened: list[int] = []  # members of a sum that is to be played
        found = self._open_file(
            checkpoint,
            {
                "most_stale": most_stale,
                "mixed": mixed,
                "weights": digest(np.array(self._participants[0].weights)).hex(),
            },
        )
        seed = self._drawn(1, _SEED_BYTES, CHOICE) or os.urandom(_SEED_BYTES)
        if found is not None:
            seed = self._seed_of(found)
        self._pace = Pace(
            *(self._participants, self.coordinator, params.cohort, most_stale, mixed),
            durations,
            seed,
            self._before_training,
        )
        if found is not None:
            self._go_on(found)
            return
        for client in range(len(clients)):
            self._pace.begin(client)

    @property
    def now(self) -> float:
        """The simulation's time."""
        return self._pace.now

    @property
    def converged(self) -> bool:
        """True if successful sums led back to a model about which clients give no more."""
        return bool(self._exhausted()) and self._succeeded()

    def __iter__(self) -> Iterator[BufferReport]:
        """Runs the sums that are left."""
        self._pace.begin_idle(self._opened)
        self._score()  # what an interruption left without
        while len(self.reports) < self.sums:
            self._opened = self._opened or self._pace.wait()
            if not self._opened:
                self.ended = self._why_ended()
                return
            self._sum(self._opened)
            self._score()
            yield self.reports[-1]

    def _exhausted(self) -> list[int]:
        """Returns the clients that have no attempt left on the model."""
        version = digest(self.coordinator.model)
        whys = {each.index: each.why_not(version) for each in self._participants}
        return [at for at, why in whys.items() if why and why[1] is Code.ATTEMPTS_EXHAUSTED]

    def _succeeded(self) -> bool:
        return digest(self.coordinator.model).hex() in self.coordinator.succeeded

    def _why_ended(self) -> str:
        """Returns why no buffer can be filled any more.

        Raises:
            AttemptsExhaustedError: another model would help, and attempts on this one are used.
        """
        size, exhausted = self.params.cohort, self._exhausted()
        left = len(self._participants) - len(self._pace.resting)
        why = f"{left} of {len(self._participants)} clients have an update to give or will have one"
        if exhausted and not self._succeeded():
            raise AttemptsExhaustedError(
                f"{why}, and a buffer takes {size}: {len(exhausted)} clients have used all "
                "attempts on the model, and no sum about it succeeded; choose parameters for a "
                "higher dropout rate, a smaller buffer, or agree on more attempts",
                Code.ATTEMPTS_EXHAUSTED,
            )
        reasons = sorted({reason for reason, _ in self._pace.silent.values()})
        told = f" (of those without one: {reasons[0]})" if reasons else ""
        return f"{why}{told}, and a buffer takes {size}"

    def _sum(self, members: list[int]) -> None:
        start = time.perf_counter()
        number = len(self.reports) + 1
        about = self._pace.about(members)
        models, told, digests = about.models, about.told, about.digests
        session, clip = self._drawn(number, 16, SESSION), self.coordinator.clip
        opened = self._checkpoint()
        offer, attempt, server = self.coordinator.open_buffer(models, told, members, session)

        def join(
            participant: BufferedParticipant, random: Randomness | None
        ) -> tuple[Client, Input]:
            return participant.join(offer, attempt, told, digests, random, members)

        def after(played: OneSum[BufferedParticipant], counts: bool) -> None:
            if counts:
                self._report(attempt, played, time.perf_counter() - start, clip, about)
            self._opened = []
            self._pace.go_on(members)

        self._play(server, members, models[0], opened, join, after)

    def _report(
        self,
        attempt: int,
        played: OneSum[BufferedParticipant],
        seconds: float,
        clip: QuantileClip | None,
        about: About,
    ) -> None:
        """Counts a sum, with all that happened since the last one."""
        silent, restarted = self._pace.told()
        facts = played.facts()
        for at, name in enumerate(("refusals", "refusal_codes")):
            facts[name] = {client: why[at] for client, why in silent.items()} | facts[name]
        contributions = tuple(each.given for each in self._participants)
        report = BufferReport(
            round=len(self.reports) + 1,
            attempt=attempt,
            **facts,
            seconds=seconds,
            epsilon=self._privacy.epsilon(max(contributions)) if self._privacy else None,
            clip=clip.clip if clip else None,
            time=self._pace.now,
            versions=about.versions,
            stale=about.stale,
            restarted=restarted,
            contributions=contributions,
        )
        self.reports.append(report)

    # -- checkpoints --

    def _before_training(self, participant: BufferedParticipant) -> None:
        if self._file is not None:
            self._keep(participant)

    def _checkpoint(
        self, opened: Sequence[int] | None = None, waiting: Collection[int] = ()
    ) -> Checkpoint | None:
        pace = self._pace
        found = super()._checkpoint(self._opened or None, {*pace.waiting, *self._opened})
        if found is None:
            return None
        state = pace.state()
        state["given"] = [each.given for each in self._participants]
        state["times"] = [each.times for each in self._participants]
        return replace(found, pace=state, models=pace.models_in_use())

    def _seed_of(self, found: Checkpoint) -> bytes:
        """Returns the seed of what a training draws about time."""
        assert self._file is not None  # noqa: S101  (it was found there)
        with as_whole(self._file.path):
            seed = bytes.fromhex((found.pace or {})["seed"])
            if len(seed) != _SEED_BYTES:
                raise ValueError("the seed has another length")
            return seed

    def _put_back(self, found: Checkpoint) -> None:
        pace, last = found.pace or {}, cast("list[BufferReport]", found.reports[-1:])
        for each, given, times in zip(
            self._participants, ints(pace["given"]), pace["times"], strict=True
        ):
            each.put_back(given, {version: an_int(many) for version, many in times.items()})
            if any(given < report.contributions[each.index] for report in last):
                raise ValueError("a client has given less than the last report says")
        self._pace.restore(pace, found.models, found.opened or ())

    def _go_on(self, found: Checkpoint) -> None:
        """Puts back what a checkpoint holds."""
        self._restore(found)
        members = list(found.opened or ())
        if not members or self._random is not None:  # then the same messages leave again
            self._opened = members
            return
        about = self._pace.about(members)
        _, attempt, server = self.coordinator.open_buffer(about.models, about.told, members)
        self.coordinator.close(None, server=server)
        invited = [self._participants[each] for each in members]
        for each in invited:
            each.lose()
        lost = OneSum(server, tuple(members), invited, {})
        lost.fail("the process ended in this sum, and inputs may have left clients")
        self._report(attempt, lost, 0.0, self.coordinator.clip, about)
        self._pace.go_on(members)
