"""Rounds and mishaps whose every object is looked at by a leak search."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from harness import CONTEXT, SESSION, Message, directory_of, identity_of
from pairwise.leak_search import FORMAT, LENGTH, PHRASE, Watch, four, secret_input
from pairwise.mortal import KEY, Broken, MortalServer, Recorded, fresh, pins, woken

import secagg
from secagg import (
    SERVER,
    Aborted,
    Identity,
    IdentityError,
    Ledger,
    MemoryLedger,
    Mode,
    Once,
    Params,
    Phase,
    Policy,
    SecAggError,
    Send,
    Server,
    SqliteLedger,
    StateError,
)
from secagg.primitives.passphrase import Cost
from secagg.wire import MessageType

CHEAP = Cost(passes=1, memory=8)
SPARSE = Params(4, LENGTH, FORMAT, threshold=2, min_survivors=3, colluders=0, degree=2)


class Whole:
    """A round in which everything happens: parties stored and resumed, lost and malformed messages.

    Every object is looked at after every message that it took.
    """

    def __init__(
        self,
        params: Params,
        watch: Watch,
        folder: Path,
        drops: Mapping[int, Phase],
        filed: bool = True,
    ) -> None:
        self.watch, self.params = watch, params
        self.path = folder / "ledger"
        self.ledger: Ledger = SqliteLedger(self.path) if filed else MemoryLedger()
        agreed = self.params.round(CONTEXT, SESSION)
        self.server = MortalServer(agreed, self.ledger, lambda call: -1 if call % 4 == 3 else None)
        self.clients = {
            party: fresh(agreed, party, self.ledger, watch.random) for party in range(4)
        }
        self.network = Recorded(self.server, {}, drops)  # type: ignore[arg-type]
        for thing in (agreed, self.params, pins(self.params), self.ledger, Policy(self.params)):
            watch.walk(type(thing).__name__, thing)

    def play(self) -> None:
        """To the end, in order."""
        network = self.network
        network._said(self.server.start())
        for party in self.clients:
            self._stored(party)
            network._up(party, self.clients[party].start())
        while True:
            while network.queue:
                self._deliver(network.queue.pop(0))
            if network.result or network.failure:
                break
            phase = next(each for each in Phase if each.value == self.server.state.value)
            network._said(self.server.deadline(phase))
        for event in network.events:
            if not isinstance(event, secagg.Completed):
                self.watch.walk(type(event).__name__, event)
        if self.path.exists():
            self.watch._keep("ledger", self.path.read_bytes())
        for stored in self.server.snapshots:
            self.watch._keep("snapshot", stored)

    def _stored(self, party: int) -> None:
        """Suspended and resumed in place."""
        client = self.clients[party]
        stored = client.suspend(KEY)
        self.watch._keep("stored client", stored)
        self.watch.walk("a suspended client", client)
        self.clients[party] = woken(stored, client, self.ledger, self.watch.random)

    def _deliver(self, message: Message) -> None:
        payload, party = message.payload, message.receiver
        self.watch._keep("message", payload)
        if party == SERVER:
            for bad in (payload[:-1], payload[:30], payload + b"\0"):
                self._tried(lambda bad=bad: self.server.receive(message.sender, bad))
            self._tried(lambda: self.network._said(self.server.receive(message.sender, payload)))
            self.watch.walk("server", self.server.server)
            return
        client = self.clients[party]
        for bad in (payload[:-1], payload[:3] + b"\x77" + payload[4:], b""):
            self._tried(partial(client.receive, bad))
        events = client.resend() if payload[3] == MessageType.OFFER else client.receive(payload)
        for event in events:
            self.watch.walk("event", event)
            if isinstance(event, Send):
                self.network._up(party, event.payload)
            elif isinstance(event, secagg.InputNeeded):
                self._stored(party)
                self.network._up(party, self._submitted(party))
        self.watch.walk("client", self.clients[party])
        self._stored(party)

    def _submitted(self, party: int) -> bytes:
        client, values = self.clients[party], secret_input(party)
        for bad in (values[:-1], values * 10, values.astype(float), [*values, None], list("abc")):
            self._tried(lambda bad=bad: client.submit(bad))
        self._tried(lambda: client.submit(values, 2))
        self._tried(client.start)
        return client.submit(values)

    def _tried(self, call: Callable[[], object]) -> None:
        try:
            call()
        except SecAggError as error:
            self.watch.walk("an error", error)


def aborts(mode: Mode, watch: Watch) -> None:
    """Clients that end their round by themselves, at each step, and one that was resumed twice."""
    for steps in range(3):
        agreed = four(mode).round(CONTEXT, bytes([steps]) * 16)
        server = Server(agreed, pins(agreed.params))
        clients = {party: fresh(agreed, party, MemoryLedger(), watch.random) for party in range(4)}
        network = Recorded(server, clients).start()
        kind = (MessageType.ROSTER, MessageType.DELIVERY, MessageType.SURVIVORS)[steps]
        while not any(one.payload[3] == kind and one.receiver == 0 for one in network.queue):
            message = network.queue.pop(0)
            if message.payload[3] == MessageType.DELIVERY:
                clients[message.receiver].receive(message.payload)
                values = secret_input(message.receiver)
                network._up(message.receiver, clients[message.receiver].submit(values))
            else:
                network.deliver(message)
        (told,) = [one for one in network.queue if one.payload[3] == kind and one.receiver == 0]
        # Behind the header is the set of all four; now it is the receiver alone, with its entry.
        size = (128 if mode is Mode.MALICIOUS else 64) if steps == 0 else 0
        with pytest.raises(Aborted):
            clients[0].receive(told.payload[:20] + b"\1" + told.payload[21 : 21 + size])
        watch.walk("an aborted client", clients[0])
        clients[1].wipe()
        watch.walk("a wiped client", clients[1])


def failing_ledger(watch: Watch) -> None:
    """An input that does not leave because its claim fails, or was made before."""
    ledger = MemoryLedger()
    for session, each in ((b"1", Broken(Once.CONTRIBUTION)), (b"2", ledger), (b"3", ledger)):
        agreed = four(Mode.MALICIOUS).round(CONTEXT, session * 16)
        clients = {
            party: fresh(agreed, party, each if party == 0 else MemoryLedger(), watch.random)
            for party in range(4)
        }
        network = Recorded(Server(agreed, pins(agreed.params)), clients).start()
        while not any(one.payload[3] == MessageType.DELIVERY for one in network.queue):
            network.deliver(network.queue.pop(0))
        (told,) = [one for one in network.queue if one.receiver == 0]
        clients[0].receive(told.payload)
        try:
            clients[0].submit(secret_input(0))
        except (StateError, Aborted):
            watch.walk("client without a claim", clients[0])


def identities(watch: Watch, folder: Path) -> None:
    """An identity in a sealed file, and what goes wrong with it."""
    identity = Identity.generate(watch.random)
    path = folder / "identity"
    identity.save(path, PHRASE, _cost=CHEAP)
    watch._keep("identity file", path.read_bytes())
    watch.walk("identity", identity)
    watch.walk("identity", Identity.load(path, PHRASE))
    for phrase in (None, "wrong"):
        with pytest.raises(IdentityError):
            Identity.load(path, phrase)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IdentityError):
        Identity.load(path, PHRASE)


def everything(mode: Mode, watch: Watch, folder: Path) -> None:
    """All of the above in one mode."""
    identity_of.cache_clear()
    directory_of.cache_clear()
    dropped_at = Phase.UNMASK if mode is Mode.MALICIOUS else Phase.MASKED_INPUT
    Whole(four(mode), watch, folder, {3: dropped_at}).play()
    aborts(mode, watch)
    failing_ledger(watch)
    identities(watch, folder)
