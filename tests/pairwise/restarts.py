"""Clients and servers that are stored and resumed between calls, in a network of the harness."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from harness import (
    CONTEXT,
    MODES,
    SESSION,
    WILLING,
    Message,
    Network,
    directory_of,
    expected_sum,
    identity_of,
    integers,
    seeded,
)

from secagg import (
    SERVER,
    Client,
    Code,
    Directory,
    Ledger,
    MemoryLedger,
    Mode,
    Once,
    Params,
    Phase,
    Policy,
    Round,
    Send,
    Server,
    StateError,
)
from secagg.events import ClientEvent
from secagg.machine.wire import MessageType
from secagg.pairwise.transitions import PHASES, ServerState

KEY = bytes(range(200, 232))
BOUNDARIES = {Mode.SEMI_HONEST: 6, Mode.MALICIOUS: 7}  # of a client that finishes
DROPOUTS: dict[str, dict[int, Phase]] = {
    "nobody drops out": {},
    "one before its shares": {3: Phase.SHARE_KEYS},
    "one before its input": {3: Phase.MASKED_INPUT},
    "one before its answer": {3: Phase.UNMASK},
}
either_mode = pytest.mark.parametrize("mode", MODES, ids=str)
any_dropout = pytest.mark.parametrize("drops", DROPOUTS.values(), ids=DROPOUTS)
Drops = Mapping[int, Phase]


def directory_for(params: Params) -> Directory | None:
    """Returns the directory of a round, if its mode has one."""
    return directory_of(params.cohort) if params.mode is Mode.MALICIOUS else None


def new_client(
    agreed: Round,
    party: int,
    ledger: Ledger,
    random: Callable[[int], bytes] | None = None,
    policy: Policy = WILLING,
    *,
    expected: bool = True,
) -> Client:
    """Returns a client in either mode, with its ledger and its randomness.

    Args:
        expected: whether its input is for what the round is about.
    """
    random = random or seeded(("", party))
    if agreed.params.mode is Mode.SEMI_HONEST:
        return Client(agreed, party, policy, random)
    more = {"identity": identity_of(party), "directory": directory_for(agreed.params)}
    client = Client(agreed, party, policy, random, ledger=ledger, **more)  # type: ignore[arg-type]
    if expected:
        client.expect(agreed.context)
    return client


def resumed_client(
    stored: bytes,
    like: Client,
    ledger: Ledger,
    random: Callable[[int], bytes],
    policy: Policy | None = None,
) -> Client:
    """Resumes a stored client, with all that has to be given to it anew."""
    params = like.round.params
    if params.mode is Mode.SEMI_HONEST:
        return Client.resume(stored, KEY, ledger, random, policy=policy)
    identity, directory = identity_of(like.index), directory_for(params)
    return Client.resume(
        stored, KEY, ledger, random, identity=identity, directory=directory, policy=policy
    )


# -- parties that are killed ----------------------------------------------------------------------


class RestartingClient:
    """A client that is suspended, dropped and resumed at the boundaries of its messages.

    Boundary 0 is before `start`; one more follows each call that made or took a message.

    Args:
        client: the party, which must draw from `random`.
        random: the source that every incarnation goes on with.
        ledger: of this party.
        restarts: how often in a row it is suspended and resumed at a boundary.
        killed_before_sending: its message never leaves: only `resend` of the next one counts.
        request_repeated: the server repeats its last message to each new incarnation.
        keep_last: whether its last reply is stored; if not, no incarnation says anything again.
        killed_at: the boundary at which it is killed without having been suspended.
    """

    def __init__(
        self,
        client: Client,
        random: Callable[[int], bytes],
        ledger: Ledger,
        restarts: Callable[[int], int] = lambda boundary: 1,
        killed_before_sending: bool = False,
        request_repeated: bool = False,
        keep_last: bool = True,
        killed_at: int = -1,
    ) -> None:
        self.client, self._random, self._ledger = client, random, ledger
        self._restarts, self._killed_at = restarts, killed_at
        self._killed_before_sending = killed_before_sending
        self._request_repeated, self._keep_last = request_repeated, keep_last
        self.index, self.round = client.index, client.round
        self.stored = b""
        self.boundary = 0
        self.sent_messages: list[bytes] = []
        self._last_received = b""
        self.killed = False

    def start(self) -> bytes:
        """See `Client`; empty if it was killed by it."""
        self._restart()
        return self._only(self._finish_call([Send(SERVER, self.client.start())]))

    def receive(self, data: bytes) -> list[ClientEvent]:
        """See `Client`."""
        if self.killed:
            return []
        before = self.client.state
        events = self.client.receive(data)
        if self.client.state is before:
            return events  # to a repetition
        self._last_received = data
        return self._finish_call(events)

    def submit(self, values: np.ndarray) -> bytes:
        """See `Client`."""
        return self._only(self._finish_call([Send(SERVER, self.client.submit(values))]))

    def resend(self) -> list[ClientEvent]:
        """See `Client`."""
        return [] if self.killed else self.client.resend()

    def _only(self, events: Iterable[ClientEvent]) -> bytes:
        return next((event.payload for event in events if isinstance(event, Send)), b"")

    def _restart(self) -> None:
        for _ in range(self._restarts(self.boundary)):
            self.stored = self.client.suspend(KEY, keep_last=self._keep_last)
            self.client = resumed_client(self.stored, self.client, self._ledger, self._random)
        self.boundary += 1

    def _finish_call(self, events: list[ClientEvent]) -> list[ClientEvent]:
        if self.boundary == self._killed_at:
            self._kill()
            return []
        self._restart()
        kept = [event for event in events if self._keep_last or not isinstance(event, Send)]
        if self._killed_before_sending:
            assert self.client.resend() == kept, "what was stored is what would have been sent"
        if self._request_repeated and self._last_received:
            again = list(self.client.receive(self._last_received))
            assert again == [event for event in kept if isinstance(event, Send)]
        if isinstance(events[0], Send):
            self.sent_messages.append(events[0].payload)
        return events

    def _kill(self) -> None:
        """Checks that an older stored state cannot be resumed: it was resumed before."""
        self.killed = True
        try:
            resumed_client(self.stored, self.client, self._ledger, self._random)
        except StateError as error:
            assert error.code is Code.REPEATED_RESUMPTION  # noqa: PT017
            return
        raise AssertionError("an older state was resumed again")


class RestartingServer:
    """A server that stores itself after each call, and goes on from there in a fresh object.

    Calls that change nothing do not count.

    Args:
        agreed: the round.
        ledger: the only thing that outlives it.
        restarts_from: for each call, the number of the snapshot from which a new server goes on
            (-1: the latest), or None for no restart.
        sent: whether the messages of the last call were sent before it was killed.
        once_per_phase: whether there is a snapshot of the beginning of each phase only.
    """

    def __init__(
        self,
        agreed: Round,
        ledger: Ledger,
        restarts_from: Callable[[int], int | None] = lambda call: -1,
        sent: bool = False,
        once_per_phase: bool = False,
    ) -> None:
        self.round, self.ledger = agreed, ledger
        self._restarts_from, self._sent, self._once_per_phase = restarts_from, sent, once_per_phase
        self.server = Server(agreed, directory_for(agreed.params), ledger)
        self.snapshots: list[bytes] = []
        self.calls = self.restarts = 0
        self._last_state: tuple[ServerState, int] | None = None

    def start(self) -> list[object]:
        """See `Server`."""
        return self._finish_call(self.server.start())

    def receive(self, party: int, data: bytes) -> list[object]:
        """See `Server`."""
        return self._finish_call(self.server.receive(party, data))

    def deadline(self, phase: Phase) -> list[object]:
        """See `Server`."""
        return self._finish_call(self.server.deadline(phase))

    def complete(self, job: object, value: object) -> list[object]:
        """See `Server`; jobs from before a restart are ignored."""
        if self.server._unmasking is None and self.state not in FINAL:
            return []
        return self._finish_call(self.server.complete(job, value))  # type: ignore[arg-type]

    @property
    def state(self) -> ServerState:
        """See `Server`."""
        return self.server.state

    def _finish_call(self, events: list[ClientEvent]) -> list[ClientEvent]:
        before, self._last_state = self._last_state, (self.state, self.server.status.bytes_received)
        if before == self._last_state:  # a repetition, of which there are many: nothing changed
            return events
        if self.state in PHASES and not (
            self._once_per_phase and before and before[0] is self.state
        ):
            self.snapshots.append(self.server.snapshot(KEY))
        chosen = self._restarts_from(self.calls)
        self.calls += 1
        if chosen is None:
            return events
        if self.state not in PHASES:  # once only, or it would come here for ever
            self._restarts_from = lambda call: None
        self.restarts += 1
        self.server = resumed_server(self.snapshots[chosen], self)
        left = [event for event in events if self._sent and isinstance(event, Send)]
        return [*left, *self.server.resend()]


FINAL = (ServerState.COMPLETED, ServerState.FAILED)


def resumed_server(
    stored: bytes, like: RestartingServer | Server, ledger: Ledger | None = None
) -> Server:
    """Resumes a stored server."""
    known = like.ledger if isinstance(like, RestartingServer) else like._ledger
    return Server.resume(stored, KEY, ledger or known, directory_for(like.round.params))  # type: ignore[arg-type]


@dataclass
class RecordingNetwork(Network):
    """A network that keeps every message that was delivered, in order.

    An offer reaches a client as it does an application: it says again what it said last.
    """

    log: list[Message] = field(default_factory=list)

    def deliver(self, message: Message) -> None:
        """Hands one message over, and keeps it."""
        self.log.append(message)
        if message.receiver != SERVER and message.payload[3] == MessageType.OFFER:
            for event in self.clients[message.receiver].resend():
                if isinstance(event, Send):
                    self.send_up(message.receiver, event.payload)
            return
        super().deliver(message)

    def send_up(self, party: int, payload: bytes) -> None:
        if payload:
            super().send_up(party, payload)

    @property
    def survivor_sets(self) -> set[bytes]:
        """Every survivors message that the server ever sent."""
        return {
            event.payload
            for event in self.events
            if isinstance(event, Send) and event.payload[3] == MessageType.SURVIVORS
        }

    def exact(self) -> bool:
        """Returns whether the round came to the exact sum; asserts that no sum is wrong."""
        if self.result is None:
            return False
        length = self.server.round.params.length
        assert self.result.total.tolist() == expected_sum(self.result.survivors, length)
        return True


class FailingLedger:
    """A ledger that fails for one kind of claim."""

    def __init__(self, what: Once, error: Exception | None = None) -> None:
        self.what, self.error = what, error or StateError("the disk is full")

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`."""
        if what is self.what:
            raise self.error
        return True


def four(mode: Mode, **more: object) -> Params:
    """Returns parameters of four parties, of which three are enough."""
    return integers(4, threshold=3, mode=mode, **more)


def network_of(
    params: Params,
    server: object = None,
    drops: Drops | None = None,
    restarting: Callable[[int], dict[str, object] | None] = lambda party: None,
) -> RecordingNetwork:
    """Returns a network before its start."""
    agreed = params.round(CONTEXT, SESSION)
    clients: dict[int, object] = {}
    for party in range(params.cohort):
        ledger, random, special = MemoryLedger(), seeded(("", party)), restarting(party)
        client = new_client(agreed, party, ledger, random)
        clients[party] = (
            client if special is None else RestartingClient(client, random, ledger, **special)  # type: ignore[arg-type]
        )
    server = server or Server(agreed, directory_for(params))
    return RecordingNetwork(server, clients, drops or {})  # type: ignore[arg-type]


def uninterrupted_round(mode: Mode, drops: Drops | None = None) -> RecordingNetwork:
    """Plays the round in which nobody is ever stored."""
    network = network_of(four(mode), drops=drops).start().run()
    assert network.exact()
    return network
