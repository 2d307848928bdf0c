"""A round between a conductor and parties that answer from their homes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from harness import CONTEXT, WILLING, directory_of, identity_of, input_of, integers

import secagg
from secagg import Assignment, Home, Invitation, Ledger, Mode, Params, Phase, Send, Server
from secagg.drivers.conductor import Conductor
from secagg.drivers.envelope import Refusal, is_envelope, opened

Train = Callable[[Assignment], object]


def train(assignment: Assignment) -> np.ndarray:
    """Gives the input that the tests expect of a party, whatever the round is about."""
    assignment.context = assignment.round.context
    return input_of(assignment.index, assignment.round.params.length)


def credentials(mode: Mode, party: int, pinned: int) -> dict[str, object]:
    """Returns what a party of this mode has, with so many parties in its pins."""
    if mode is Mode.SEMI_HONEST:
        return {}
    return {"identity": identity_of(party), "directory": directory_of(pinned)}


def home_of(mode: Mode, party: int, pinned: int = 3, **more: object) -> Home:
    """A home in memory of one party."""
    return Home.in_memory(**{"policy": WILLING, **credentials(mode, party, pinned), **more})  # type: ignore[arg-type]


def code_of(answer: bytes) -> str:
    """Returns the code of a refusal; "" for any other answer."""
    envelope = opened(answer, 0) if is_envelope(answer) else None
    return envelope.code if isinstance(envelope, Refusal) else ""


@dataclass
class World:
    """One round: its server, and by index the parties' homes and trainings."""

    mode: Mode = Mode.SEMI_HONEST
    cohort: int = 3
    homes: dict[int, Home] = field(default_factory=dict)
    trains: dict[int, Train] = field(default_factory=dict)
    context: bytes = CONTEXT
    attempt: int = 0
    params: Params | None = None
    ledger: Ledger | None = None

    def __post_init__(self) -> None:
        self.params = self.params or integers(self.cohort, mode=self.mode)
        self.round = self.params.round(self.context)
        for party in range(self.cohort):
            self.homes.setdefault(party, home_of(self.mode, party, self.cohort))
        pins = directory_of(self.cohort) if self.mode is Mode.MALICIOUS else None
        self.conductor = Conductor(Server(self.round, pins, self.ledger))
        self.sends: list[Send] = []

    def begin(self) -> "World":
        """Makes the invitations."""
        self.sends = [
            Send(send.to, secagg.seal(Invitation(send.payload, send.to, (), self.attempt)))
            for send in self.conductor.begin()
        ]
        return self

    def payload(self, party: int) -> bytes:
        """Returns what goes to a party now."""
        (found,) = [send.payload for send in self.sends if send.to == party]
        return found

    def answer(self, party: int, payload: bytes) -> bytes:
        """Returns the answer of a party."""
        return secagg.answer(self.homes[party], payload, self.trains.get(party, train))  # type: ignore[arg-type]

    def step(self, answers: Mapping[int, bytes] | None = None) -> "World":
        """Carries what is on its way, and the answers back; some may be given."""
        answers = answers or {}
        came: list[tuple[int, bytes]] = []
        for send in self.sends:
            found = answers.get(send.to)
            came.append((send.to, self.answer(send.to, send.payload) if found is None else found))
        self.sends = []
        for party, data in came:
            if data:
                self.sends += self.conductor.take(party, data)
        return self

    def until(self, phase: Phase) -> "World":
        """Plays up to the messages that open a phase."""
        self.begin()
        return self.until_next(phase)

    def until_next(self, phase: Phase) -> "World":
        """Plays on up to the messages that open a phase."""
        while self.conductor.phase is not phase:
            self.step()
        return self

    def finish(self) -> "World":
        """Plays to the end; who is silent is dropped."""
        while self.conductor.outcome is None:
            self.step()
            if not self.sends and (phase := self.conductor.phase) is not None:
                self.sends = self.conductor.deadline(phase)
        return self

    @property
    def total(self) -> list[int] | None:
        """The sum, if there is one."""
        outcome = self.conductor.outcome
        return outcome.result.total.tolist() if isinstance(outcome, secagg.Completed) else None

    @property
    def survivors(self) -> tuple[int, ...]:
        """The parties that are in the sum."""
        outcome = self.conductor.outcome
        return outcome.result.survivors if isinstance(outcome, secagg.Completed) else ()


def sum_of(parties: Iterable[int], length: int = 4) -> list[int]:
    """The sum of the inputs of these parties."""
    return sum(input_of(party, length) for party in parties).tolist()


class ResidentWorld(World):
    """The same, with clients that stay in memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.responders = {}

    def answer(self, party: int, payload: bytes) -> bytes:
        """Returns the answer of a party; it joins with the first payload."""
        if party in self.responders:
            return self.responders[party].answer(payload)
        home, malicious = self.homes[party], self.mode is Mode.MALICIOUS
        client = secagg.Client(
            self.round,
            party,
            home.policy,
            identity=home.identity,
            directory=home.directory,
            ledger=home.ledger if malicious else None,
        )
        how = self.trains.get(party, train)
        self.responders[party] = secagg.Responder(client, how, attempt=self.attempt)  # type: ignore[arg-type]
        return self.responders[party].begin()
