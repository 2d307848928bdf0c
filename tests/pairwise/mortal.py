"""Clients and servers that hardly ever outlive a call: stored, thrown away and resumed in a network
of the harness, in place of those that live on.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from harness import (
    CONTEXT,
    MODES,
    SESSION,
    Message,
    Network,
    directory_of,
    expected_sum,
    identity_of,
    integers,
    seeded,
)

import secagg
from secagg import (
    SERVER,
    Client,
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
from secagg.pairwise.transitions import PHASES, ServerState
from secagg.wire import MessageType

KEY = bytes(range(200, 232))
PAIR = Policy(allow_pair=True)
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


def pins(params: Params) -> Directory | None:
    """The directory of a round, if its mode has one."""
    return directory_of(params.cohort) if params.mode is Mode.MALICIOUS else None


def fresh(
    agreed: Round,
    party: int,
    ledger: Ledger,
    random: Callable[[int], bytes] | None = None,
    policy: Policy = PAIR,
) -> Client:
    """A party of a round in either mode, with its ledger and its randomness."""
    random = random or seeded(("", party))
    if agreed.params.mode is Mode.SEMI_HONEST:
        return Client(agreed, party, policy, random)
    more = {"identity": identity_of(party), "directory": pins(agreed.params)}
    claimed = None if policy.allow_repeats else ledger
    return Client(agreed, party, policy, random, ledger=claimed, **more)  # type: ignore[arg-type]


def woken(stored: bytes, like: Client, ledger: Ledger, random: Callable[[int], bytes]) -> Client:
    """The client that was stored, with all that it is given anew."""
    params = like.round.params
    if params.mode is Mode.SEMI_HONEST:
        return Client.resume(stored, KEY, ledger, random)
    identity = identity_of(like.index)
    return Client.resume(stored, KEY, ledger, random, identity=identity, directory=pins(params))


# -- parties that die -----------------------------------------------------------------------------


class MortalClient:
    """A client that is suspended, thrown away and resumed at the boundaries of its messages.

    Boundary 0 is before `start`; one more follows each call that made or took a message.

    Args:
        client: the party, which must draw from `random`.
        random: the source that every incarnation goes on with.
        ledger: of this party.
        naps: how often in a row it is suspended and resumed at a boundary.
        unsent: it is killed before its message leaves: only `resend` of the next one counts.
        asked_again: the server repeats its last message to each new incarnation.
        dies: the boundary at which it is killed without having been suspended.
    """

    def __init__(
        self,
        client: Client,
        random: Callable[[int], bytes],
        ledger: Ledger,
        naps: Callable[[int], int] = lambda boundary: 1,
        unsent: bool = False,
        asked_again: bool = False,
        dies: int = -1,
    ) -> None:
        self.client, self._random, self._ledger = client, random, ledger
        self._naps, self._unsent, self._asked_again, self._dies = naps, unsent, asked_again, dies
        self.index, self.round = client.index, client.round
        self.stored = b""
        self.boundary = 0
        self.said: list[bytes] = []  # all that left
        self._heard = b""
        self.dead = False

    def start(self) -> bytes:
        """See `Client`; empty if it died of it."""
        self._nap()
        return self._only(self._after([Send(SERVER, self.client.start())]))

    def receive(self, data: bytes) -> list[secagg.InputNeeded | Send | secagg.Finished]:
        """See `Client`."""
        if self.dead:
            return []
        before = self.client.state
        events = self.client.receive(data)
        if self.client.state is before:
            return events  # to a repetition
        self._heard = data
        return self._after(events)

    def submit(self, values: np.ndarray) -> bytes:
        """See `Client`."""
        return self._only(self._after([Send(SERVER, self.client.submit(values))]))

    def resend(self) -> list[secagg.InputNeeded | Send | secagg.Finished]:
        """See `Client`."""
        return [] if self.dead else self.client.resend()

    def _only(self, events: Iterable[object]) -> bytes:
        return next((event.payload for event in events if isinstance(event, Send)), b"")

    def _nap(self) -> None:
        for _ in range(self._naps(self.boundary)):
            self.stored = self.client.suspend(KEY)
            self.client = woken(self.stored, self.client, self._ledger, self._random)
        self.boundary += 1

    def _after(self, events: list[object]) -> list[object]:
        if self.boundary == self._dies:
            self._bury()
            return []
        self._nap()
        if self._unsent:
            assert self.client.resend() == events, "what was stored is what would have been sent"
        if self._asked_again and self._heard:
            again = list(self.client.receive(self._heard))
            assert again == [event for event in events if isinstance(event, Send)]
        if isinstance(events[0], Send):
            self.said.append(events[0].payload)
        return events

    def _bury(self) -> None:
        """Whatever it knew is gone, and what was stored before was resumed before."""
        self.dead = True
        try:
            woken(self.stored, self.client, self._ledger, self._random)
        except StateError as error:
            assert str(error) == "this stored client was resumed before"  # noqa: PT017
            return
        raise AssertionError("an older state was resumed again")


class MortalServer:
    """A server that stores itself after each call, and goes on from there in a fresh object.

    Calls that change nothing do not count.

    Args:
        agreed: the round.
        ledger: what outlives it.
        falls: for each call, the number of the snapshot from which a new one goes on (-1: the
            latest), or None while it lives.
        sent: whether what the last call gave was sent before it was killed.
        rarely: whether there is a snapshot of the beginning of each phase only.
    """

    def __init__(
        self,
        agreed: Round,
        ledger: Ledger,
        falls: Callable[[int], int | None] = lambda call: -1,
        sent: bool = False,
        rarely: bool = False,
    ) -> None:
        self.round, self.ledger = agreed, ledger
        self._falls, self._sent, self._rarely = falls, sent, rarely
        self.server = Server(agreed, pins(agreed.params), ledger)
        self.snapshots: list[bytes] = []
        self.calls = self.lives = 0
        self._stood: tuple[ServerState, int] | None = None

    def start(self) -> list[object]:
        """See `Server`."""
        return self._after(self.server.start())

    def receive(self, party: int, data: bytes) -> list[object]:
        """See `Server`."""
        return self._after(self.server.receive(party, data))

    def deadline(self, phase: Phase) -> list[object]:
        """See `Server`."""
        return self._after(self.server.deadline(phase))

    def complete(self, job: object, value: object) -> list[object]:
        """See `Server`; a job of an earlier life is nobody's."""
        if self.server._unmasking is None and self.state not in FINAL:
            return []
        return self._after(self.server.complete(job, value))  # type: ignore[arg-type]

    @property
    def state(self) -> ServerState:
        """See `Server`."""
        return self.server.state

    def _after(self, events: list[object]) -> list[object]:
        stood, self._stood = self._stood, (self.state, self.server.status.bytes_received)
        if stood == self._stood:  # a repetition, of which there are many: nothing changed
            return events
        if self.state in PHASES and not (self._rarely and stood and stood[0] is self.state):
            self.snapshots.append(self.server.snapshot(KEY))
        chosen = self._falls(self.calls)
        self.calls += 1
        if chosen is None:
            return events
        if self.state not in PHASES:  # once only, or it would come here for ever
            self._falls = lambda call: None
        self.lives += 1
        self.server = resumed(self.snapshots[chosen], self)
        left = [event for event in events if self._sent and isinstance(event, Send)]
        return [*left, *self.server.resend()]


FINAL = (ServerState.COMPLETED, ServerState.FAILED)


def resumed(stored: bytes, like: MortalServer | Server, ledger: Ledger | None = None) -> Server:
    """The server that was stored."""
    known = like.ledger if isinstance(like, MortalServer) else like._ledger
    return Server.resume(stored, KEY, ledger or known, pins(like.round.params))  # type: ignore[arg-type]


@dataclass
class Recorded(Network):
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
                    self._up(message.receiver, event.payload)
            return
        super().deliver(message)

    def _up(self, party: int, payload: bytes) -> None:
        if payload:
            super()._up(party, payload)

    @property
    def survivor_sets(self) -> set[bytes]:
        """Every survivors message that the server ever sent."""
        return {
            event.payload
            for event in self.events
            if isinstance(event, Send) and event.payload[3] == MessageType.SURVIVORS
        }

    def exact(self) -> bool:
        """Whether the round came to the exact sum of its survivors' inputs; False if it failed."""
        if self.result is None:
            return False
        length = self.server.round.params.length
        assert self.result.total.tolist() == expected_sum(self.result.survivors, length)
        return True


class Broken:
    """A ledger that fails for one kind of claim."""

    def __init__(self, what: Once, error: Exception | None = None) -> None:
        self.what, self.error = what, error or StateError("the disk is full")

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`."""
        if what is self.what:
            raise self.error
        return True


def four(mode: Mode, **more: object) -> Params:
    """Four parties, of which three are enough."""
    return integers(4, threshold=3, mode=mode, **more)


def network_of(
    params: Params,
    server: object = None,
    drops: Drops | None = None,
    mortal: Callable[[int], dict[str, object] | None] = lambda party: None,
) -> Recorded:
    """A round; `mortal` says what is special about a client."""
    agreed = params.round(CONTEXT, SESSION)
    clients: dict[int, object] = {}
    for party in range(params.cohort):
        ledger, random, special = MemoryLedger(), seeded(("", party)), mortal(party)
        client = fresh(agreed, party, ledger, random)
        clients[party] = (
            client if special is None else MortalClient(client, random, ledger, **special)  # type: ignore[arg-type]
        )
    server = server or Server(agreed, pins(params))
    return Recorded(server, clients, drops or {})  # type: ignore[arg-type]


def plain(mode: Mode, drops: Drops | None = None) -> Recorded:
    """The round in which nobody is ever stored."""
    network = network_of(four(mode), drops=drops).start().run()
    assert network.exact()
    return network
