"""Seeded parties and a message pump under full control of a test: no scheduling of its own."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

import secagg
from secagg import Client, Params, Phase, Policy, Round, Send, Server
from secagg.simulate import Cohort, Run

SESSION = bytes(range(16))
CONTEXT = bytes(range(32, 64))


def seeded(label: object) -> Callable[[int], bytes]:
    """A deterministic source of randomness, different for every label."""
    drawn = 0

    def random(size: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(f"{label!r} {drawn}".encode()).digest(size)

    return random


def integers(cohort: int, length: int = 4, **more: object) -> Params:
    """Parameters for exact sums of small integers, where any wrong sum shows."""
    return Params(cohort, length, secagg.Integers(-1000, 1000), **more)  # type: ignore[arg-type]


def input_of(party: int, length: int = 4) -> np.ndarray:
    """The input that a party has in these tests: any subset of parties has its own sum."""
    return np.array([(1 << party) if i == 0 else 7 * party - i for i in range(length)], np.int64)


@dataclass
class Stage:
    """A server and its clients, moved step by step by the test."""

    params: Params
    policy: Policy = field(default_factory=lambda: Policy(allow_pair=True))
    label: object = ""
    session: bytes = SESSION
    context: bytes = CONTEXT

    def __post_init__(self) -> None:
        self.round: Round = self.params.round(self.context, self.session)
        self.server = Server(self.round)
        self.clients = {
            party: Client(self.round, party, self.policy, seeded((self.label, party)))
            for party in range(self.params.cohort)
        }
        self.outbox: dict[int, bytes] = {}  # what the server last sent to each party
        self.events: list[object] = []
        self._take(self.server.start())

    def _take(self, events: Iterable[object]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, Send):
                self.outbox[event.to] = event.payload
            elif isinstance(event, secagg.Work):
                self._take(self.server.complete(event.job, event.job.run()))

    def to_server(self, messages: Mapping[int, bytes]) -> None:
        """Hands messages to the server, and works off what it asks for."""
        for party, payload in messages.items():
            self._take(self.server.receive(party, payload))

    def deadline(self, phase: Phase) -> None:
        """The phase's time is up."""
        self._take(self.server.deadline(phase))

    def advertise(self, parties: Iterable[int] | None = None) -> dict[int, bytes]:
        """First messages."""
        parties = self.clients if parties is None else parties
        return {party: self.clients[party].start() for party in parties}

    def answers(self, parties: Iterable[int] | None = None) -> dict[int, bytes]:
        """The messages with which clients answer what the server last sent to them."""
        parties = list(self.outbox) if parties is None else list(parties)
        messages = {}
        for party in parties:
            for event in self.clients[party].receive(self.outbox[party]):
                if isinstance(event, Send):
                    messages[party] = event.payload
                elif isinstance(event, secagg.InputNeeded):
                    messages[party] = self.clients[party].submit(
                        input_of(party, self.params.length)
                    )
        return messages

    def until(self, phase: Phase) -> dict[int, bytes]:
        """Plays honestly up to, and returns, the messages of this phase."""
        messages = self.advertise()
        for step in Phase:
            if step is phase:
                break
            self.to_server(messages)
            messages = self.answers()
        return messages

    @property
    def result(self) -> secagg.Result | None:
        """The sum, once there is one."""
        return next((e.result for e in self.events if isinstance(e, secagg.Completed)), None)

    @property
    def failure(self) -> secagg.Failed | None:
        """The failure, once there is one."""
        return next((e for e in self.events if isinstance(e, secagg.Failed)), None)

    @property
    def dropped(self) -> dict[int, str]:
        """Dropped parties and reasons."""
        return {e.party: e.reason for e in self.events if isinstance(e, secagg.Dropped)}


def play(
    params: Params, drops: Mapping[int, Phase] | None = None, label: object = ""
) -> Run:
    """One simulated round of `input_of` inputs with seeded clients."""
    agreed = params.round(CONTEXT, SESSION)
    policy = Policy(allow_pair=True)
    clients = {
        party: Client(agreed, party, policy, seeded((label, party)))
        for party in range(params.cohort)
    }

    def supply(party: int) -> Callable[[], tuple[np.ndarray, int]]:
        return lambda: (input_of(party, params.length), 1)

    inputs = {party: supply(party) for party in clients}
    return Cohort(Server(agreed), clients, inputs, drops, keep_transcript=True).play()


def expected_sum(parties: Iterable[int], length: int = 4) -> list[int]:
    """The plain sum of these parties' inputs."""
    return np.sum([input_of(party, length) for party in parties], axis=0).tolist()
