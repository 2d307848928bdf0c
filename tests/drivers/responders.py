"""Clients that are driven by hand, and the transports that ask them: with faults, and with kills.

A responder is what a client's side does with a server's message: it answers, and answers again
with the same bytes if it is asked again. The library's own is not used here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from harness import CONTEXT, SESSION, client_of, directory_of, input_of

from secagg import (
    Aborted,
    Client,
    Completed,
    Failed,
    InputNeeded,
    MemoryLedger,
    Mode,
    Params,
    Phase,
    Send,
    Server,
)
from secagg.drivers.envelope import Refusal, seal
from secagg.machine.wire import MessageType

KEY = bytes(32)


class Responder:
    """One client, resident in memory."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.first = b""

    def answer(self, payload: bytes) -> bytes:
        """Returns what the client sends back, or a refusal."""
        if payload[3] == MessageType.OFFER:
            self.first = self.first or self.client.start()
            return self.first
        try:
            events = self.client.receive(payload)
        except Aborted as error:
            return seal(Refusal(self.client.session, error.code, error.reason))
        for event in events:
            match event:
                case Send(_, answer):
                    return answer
                case InputNeeded():
                    length = self.client.round.params.length
                    return self.client.submit(input_of(self.client.index, length))
        return b""


def responders_of(params: Params) -> dict[int, Responder]:
    """Returns the clients of a round, the same in every test."""
    agreed = params.round(CONTEXT, SESSION)
    return {party: Responder(client_of(agreed, party)) for party in range(params.cohort)}


def new_server(params: Params, ledger: object = None) -> Server:
    """Returns the server of the same round, with a ledger."""
    malicious = params.mode is Mode.MALICIOUS
    directory = directory_of(params.cohort) if malicious else None
    return Server(params.round(CONTEXT, SESSION), directory, ledger or MemoryLedger())  # type: ignore[arg-type]


def survivors_of(outcome: Completed | Failed) -> tuple[int, ...]:
    """Returns whose inputs are in the sum, which must be exact."""
    assert isinstance(outcome, Completed), outcome
    result = outcome.result
    right = sum(input_of(party, len(result.total)) for party in result.survivors)
    assert result.total.tolist() == right.tolist()  # type: ignore[union-attr]
    return result.survivors


Fault = Callable[[bytes], list[bytes | BaseException]]  # what comes in place of a right answer


@dataclass
class Transport:
    """An exchange: asks the clients one by one.

    Attributes:
        clients: who answers; others never do.
        faults: what comes of a right answer, by phase and party.
        late: answers that come in the next exchange only, by phase and party.
        calls: the phase and the messages of each call.
        said: phase, party and bytes of each answer.
        closed: number of calls that ran to their `finally`.
    """

    clients: Mapping[int, Responder]
    faults: Mapping[tuple[Phase, int], Fault] = field(default_factory=dict)
    late: set[tuple[Phase, int]] = field(default_factory=set)
    calls: list[tuple[Phase, dict[int, bytes]]] = field(default_factory=list)
    said: list[tuple[Phase, int, object]] = field(default_factory=list)
    closed: int = 0
    _held: list[tuple[int, bytes]] = field(default_factory=list)

    def __call__(
        self, phase: Phase, messages: Mapping[int, bytes]
    ) -> Iterator[tuple[int, bytes | BaseException]]:
        """See `secagg.lockstep`."""
        self.calls.append((phase, dict(messages)))
        try:
            yield from self._held
            self._held = []
            for party, message in messages.items():
                if party not in self.clients:
                    continue
                right = self.clients[party].answer(message)
                if (phase, party) in self.late:
                    self._held.append((party, right))
                    continue
                for answer in self.faults.get((phase, party), lambda one: [one])(right):
                    self.said.append((phase, party, answer))
                    yield party, answer
        finally:
            self.closed += 1
