"""One secure sum of a simulated training: its clients join, play, and what became of it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import numpy as np

from secagg import Client, Code, Layout, ParameterError, Rotated, SecAggError, Server
from secagg.numeric import brief
from secagg.simulate import Cohort, Input, Run, warn_of_clipping

from .coordinator import Coordinator
from .models import Model
from .participant import Member
from .schedule import Drops

TRAINING: Final = "local training"

T = TypeVar("T")
M = TypeVar("M", bound=Member)


class OneSum(Generic[M]):
    """A round of a simulation, from the joining of its clients to the facts of its report.

    Attributes:
        run: the record of the driver, by index in the cohort; empty before `play`.
        has_sum: whether the server had the sum, also if it could not be applied.

    Args:
        server: of the round.
        members: positions of the cohort's clients among all clients of the training, ascending.
        invited: their participants, in this order.
        drops: dropouts by position among all clients; those of others do not count.
    """

    def __init__(
        self,
        server: Server,
        members: tuple[int, ...],
        invited: Sequence[M],
        drops: Drops,
    ) -> None:
        self.run = Run()
        self.has_sum = False
        self._server, self._params = server, server.round.params
        self._members, self._invited = members, invited
        self._drops = {party: phase for party, phase in drops.items() if party in members}
        self._refusals: dict[int, str] = {}
        self._codes: dict[int, Code] = {}
        self._clipped: Counter[str] = Counter()
        self._shortened = 0

    def carry_out(
        self, coordinator: Coordinator, join: Callable[[M], tuple[Client, Input]]
    ) -> BaseException | None:
        """Plays the round, and lets its server close it and the clients settle, whatever happens.

        Args:
            coordinator: that opened it.
            join: as of `play`.

        Returns:
            what interrupted it, or why its sum could not be applied, for the caller to raise once
            the round has been counted: it counts if `inputs_left`. None if it came to an end.
        """
        failure = None
        try:
            self.play(join)
            coordinator.close(self.run.result, self.inputs_left, self._server)
        except BaseException as error:  # the caller raises it
            coordinator.close(None, self.inputs_left, self._server)
            self.fail(error)
            failure = error
        self.has_sum |= self.run.result is not None
        try:
            self.settle()
        except BaseException as error:  # of a client
            failure = failure or error
        return failure

    def fail(self, error: BaseException | str) -> None:
        """Takes note of why the round has no sum that is in the model."""
        run = self.run
        self.has_sum, run.result, run.code = run.result is not None, None, None
        if isinstance(error, SecAggError):
            run.reason, run.code = error.reason, error.code
        elif isinstance(error, str):
            run.reason = error
        else:
            run.reason = f"interrupted by {type(error).__name__}: {brief(str(error))}"

    def play(self, join: Callable[[M], tuple[Client, Input]]) -> None:
        """Lets the clients join, and runs the round to its end.

        Args:
            join: a participant's joining; it may raise ParameterError, and then sends nothing.
        """
        clients: dict[int, Client] = {}
        inputs: dict[int, Input] = {}
        subjects: dict[int, bytes] = {}
        for index, participant in enumerate(self._invited):
            try:
                clients[index], inputs[index] = join(participant)
            except ParameterError as error:  # its policy refuses the round
                self._refusals[index], self._codes[index] = error.reason, error.code
            else:
                if participant.subject is not None:
                    subjects[index] = participant.subject
        leaving = {self._members.index(party): phase for party, phase in self._drops.items()}
        cohort = Cohort(
            self._server, clients, inputs, leaving, skip_unusable=True, subjects=subjects
        )
        self.run = cohort.run
        cohort.play()

    @property
    def inputs_left(self) -> bool:
        """True if the masked input of a client has left it."""
        return bool(self.run.clipped)

    @property
    def survivors(self) -> tuple[int, ...]:
        """Positions of the clients whose update is in the sum; none if the round failed."""
        found = self.run.result.survivors if self.run.result else ()
        return tuple(self._members[index] for index in found)

    def settle(self) -> None:
        """Tells all participants whether their update counted, and gathers what they know.

        Raises:
            BaseException: the first that one of them has raised, once all have been told.
        """
        survivors, run, failure = self.survivors, self.run, None
        for index, participant in enumerate(self._invited):
            try:
                participant.settle(participant.index in survivors)
            except BaseException as error:  # of a client, which must not stop what others keep
                failure = failure or error
            if index in run.clipped:
                self._clipped.update(participant.clipped)
                self._shortened += bool(participant.clipped)
            elif participant.code is not None:  # more than the driver knows
                run.refusals[index] = participant.reason
                run.refusal_codes[index] = participant.code
        if failure is not None:
            raise failure

    def warn_of_clipping(self, model: Model) -> None:
        """Warns if many values, or updates, were clipped."""
        if self._clipped:
            layout = Layout.of(model)
            if self._params.length != layout.length:  # what else is summed: as many arrays more
                layout = Layout.of([*model, *model])
            counts = np.array([self._clipped[name] for name in layout.names])
            warn_of_clipping(self._params.format, layout, counts, len(self.run.clipped))

    def facts(self) -> dict[str, Any]:
        """Returns what a `RoundReport` says of the round itself, by field."""
        run, members = self.run, self._members
        clipped = sum(self._clipped.values())
        seconds = {TRAINING: sum(each.training_seconds for each in self._invited)}
        for phase in self._params.mode.phases:
            cost = run.cost.get(phase)  # none of a round whose process ended
            seconds[phase.value] = cost.client_seconds + cost.server_seconds if cost else 0.0
        return {
            "invited": members,
            "survivors": self.survivors,
            "failed": run.result is None,
            "reason": run.reason,
            "code": run.code,
            "drops": dict(self._drops),
            "refusals": self._by_position(self._refusals | run.refusals),
            "refusal_codes": self._by_position(self._codes | run.refusal_codes),
            "clipped": clipped,
            "shortened": self._shortened if isinstance(self._params.format, Rotated) else 0,
            "clipped_by_array": {
                name: self._clipped[name] for name in sorted(self._clipped, key=int)
            },
            "bytes_up": sum(run.bytes_up.values()) / len(members),
            "bytes_down": sum(run.bytes_down.values()) / len(members),
            "seconds_by_phase": seconds,
        }

    def _by_position(self, found: Mapping[int, T]) -> dict[int, T]:
        """Returns what is known by index in the cohort, by the client's position among all."""
        return {self._members[index]: each for index, each in found.items()}
