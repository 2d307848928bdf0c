"""Rounds and failures in which a leak search looks at every object."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from harness import CONTEXT, SESSION, Message, directory_of, identity_of
from pairwise.leak_search import FORMAT, LENGTH, PHRASE, LeakSearch, four, secret_input
from pairwise.restarts import (
    KEY,
    FailingLedger,
    RecordingNetwork,
    RestartingServer,
    directory_for,
    new_client,
    resumed_client,
)

import secagg
from secagg import (
    SERVER,
    Aborted,
    Code,
    Identity,
    IdentityError,
    InputNeeded,
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
from secagg.drivers.conductor import Conductor, PhaseEnded, RoundEnded
from secagg.drivers.envelope import Refusal, seal
from secagg.machine.wire import MessageType
from secagg.primitives.passphrase import Cost

CHEAP = Cost(passes=1, memory=8)
SPARSE = Params(4, LENGTH, FORMAT, threshold=2, min_survivors=3, colluders=0, degree=2)


class EventfulRound:
    """A round with stored and resumed parties, dropouts, and malformed messages to everybody.

    Every object is looked at after every message that it took.
    """

    def __init__(
        self,
        params: Params,
        search: LeakSearch,
        folder: Path,
        drops: Mapping[int, Phase],
        filed: bool = True,
    ) -> None:
        self.search, self.params = search, params
        self.path = folder / "ledger"
        self.ledger: Ledger = SqliteLedger(self.path) if filed else MemoryLedger()
        agreed = self.params.round(CONTEXT, SESSION)
        self.server = RestartingServer(
            agreed, self.ledger, lambda call: -1 if call % 4 == 3 else None
        )
        self.clients = {
            party: new_client(agreed, party, self.ledger, search.random) for party in range(4)
        }
        self.network = RecordingNetwork(self.server, {}, drops)  # type: ignore[arg-type]
        for thing in (
            agreed,
            self.params,
            directory_for(self.params),
            self.ledger,
            Policy(self.params),
        ):
            search.walk(type(thing).__name__, thing)

    def play(self) -> None:
        """Plays the round to its end, in order."""
        network = self.network
        network.take_events(self.server.start())
        for party in self.clients:
            self._suspend_and_resume(party)
            network.send_up(party, self.clients[party].start())
        while True:
            while network.queue:
                self._deliver(network.queue.pop(0))
            if network.result or network.failure:
                break
            phase = next(each for each in Phase if each.value == self.server.state.value)
            network.take_events(self.server.deadline(phase))
        for event in network.events:
            if not isinstance(event, secagg.Completed):
                self.search.walk(type(event).__name__, event)
        if self.path.exists():
            self.search.keep("ledger", self.path.read_bytes())
        for stored in self.server.snapshots:
            self.search.keep("snapshot", stored)

    def _suspend_and_resume(self, party: int) -> None:
        """Suspends a client and resumes it in place."""
        client = self.clients[party]
        stored = client.suspend(KEY)
        self.search.keep("stored client", stored)
        self.search.walk("a suspended client", client)
        self.clients[party] = resumed_client(stored, client, self.ledger, self.search.random)

    def _deliver(self, message: Message) -> None:
        payload, party = message.payload, message.receiver
        self.search.keep("message", payload)
        if party == SERVER:
            for bad in (payload[:-1], payload[:30], payload + b"\0"):
                self._attempt(lambda bad=bad: self.server.receive(message.sender, bad))
            self._attempt(
                lambda: self.network.take_events(self.server.receive(message.sender, payload))
            )
            self.search.walk("server", self.server.server)
            return
        client = self.clients[party]
        for bad in (payload[:-1], payload[:3] + b"\x77" + payload[4:], b""):
            self._attempt(partial(client.receive, bad))
        events = client.resend() if payload[3] == MessageType.OFFER else client.receive(payload)
        for event in events:
            self.search.walk("event", event)
            if isinstance(event, Send):
                self.network.send_up(party, event.payload)
            elif isinstance(event, secagg.InputNeeded):
                self._suspend_and_resume(party)
                self.network.send_up(party, self._submit(party))
        self.search.walk("client", self.clients[party])
        self._suspend_and_resume(party)

    def _submit(self, party: int) -> bytes:
        client, values = self.clients[party], secret_input(party)
        for bad in (values[:-1], values * 10, values.astype(float), [*values, None], list("abc")):
            self._attempt(lambda bad=bad: client.submit(bad))
        self._attempt(lambda: client.submit(values, 2))
        self._attempt(client.start)
        return client.submit(values)

    def _attempt(self, call: Callable[[], object]) -> None:
        try:
            call()
        except SecAggError as error:
            self.search.walk("an error", error)


def aborted_rounds(mode: Mode, search: LeakSearch) -> None:
    """Lets clients end their round by themselves at each step, and wipes one."""
    for steps in range(3):
        agreed = four(mode).round(CONTEXT, bytes([steps]) * 16)
        server = Server(agreed, directory_for(agreed.params))
        clients = {
            party: new_client(agreed, party, MemoryLedger(), search.random) for party in range(4)
        }
        network = RecordingNetwork(server, clients).start()
        kind = (MessageType.ROSTER, MessageType.DELIVERY, MessageType.SURVIVORS)[steps]
        while not any(one.payload[3] == kind and one.receiver == 0 for one in network.queue):
            message = network.queue.pop(0)
            if message.payload[3] == MessageType.DELIVERY:
                clients[message.receiver].receive(message.payload)
                values = secret_input(message.receiver)
                network.send_up(message.receiver, clients[message.receiver].submit(values))
            else:
                network.deliver(message)
        (told,) = [one for one in network.queue if one.payload[3] == kind and one.receiver == 0]
        # Behind the header is the set of all four; now it is the receiver alone, with its entry.
        size = (128 if mode is Mode.MALICIOUS else 64) if steps == 0 else 0
        with pytest.raises(Aborted):
            clients[0].receive(told.payload[:20] + b"\1" + told.payload[21 : 21 + size])
        search.walk("an aborted client", clients[0])
        clients[1].wipe()
        search.walk("a wiped client", clients[1])


def driven_round(mode: Mode, search: LeakSearch, gone: int) -> None:
    """Conducts a round with bad bytes, losses and refusals of `gone` parties, as drivers do."""
    agreed = four(mode).round(CONTEXT, bytes([16 + gone]) * 16)
    server = Server(agreed, directory_for(agreed.params))
    clients = {
        party: new_client(agreed, party, MemoryLedger(), search.random) for party in range(4)
    }

    def observe(happened: PhaseEnded | RoundEnded) -> None:
        search.look("an event for metrics", happened)
        raise ValueError(PHRASE)

    conductor = Conductor(server, observe=observe)
    answers: list[tuple[int, bytes | BaseException]] = []
    asked = conductor.begin()
    while conductor.outcome is None:
        for send in asked:
            client = clients[send.to]
            events = [Send(SERVER, client.start())] if send.payload == server.offer else ()
            for event in events or client.receive(send.payload):
                if isinstance(event, Send):
                    answers += [(send.to, event.payload[:-1]), (send.to, event.payload)]
                elif isinstance(event, InputNeeded) and send.to == 4 - gone:
                    refusal = Refusal(agreed.session, str(Code.TRAINING), "the training failed")
                    answers.append((send.to, seal(refusal)))
                elif isinstance(event, InputNeeded) and send.to > 4 - gone:
                    answers.append((send.to, ConnectionError("reset")))
                elif isinstance(event, InputNeeded):
                    answers.append((send.to, client.submit(secret_input(send.to))))
        asked = []
        for party, answer in answers:
            asked += conductor.take(party, answer)
        answers = []
    search.walk("an outcome of a driver", conductor.outcome if gone > 1 else None)


def failing_ledger(search: LeakSearch) -> None:
    """Withholds an input because its claim fails, or was made before."""
    ledger = MemoryLedger()
    for session, each in ((b"1", FailingLedger(Once.CONTRIBUTION)), (b"2", ledger), (b"3", ledger)):
        agreed = four(Mode.MALICIOUS).round(CONTEXT, session * 16)
        clients = {
            party: new_client(agreed, party, each if party == 0 else MemoryLedger(), search.random)
            for party in range(4)
        }
        network = RecordingNetwork(Server(agreed, directory_for(agreed.params)), clients).start()
        while not any(one.payload[3] == MessageType.DELIVERY for one in network.queue):
            network.deliver(network.queue.pop(0))
        (told,) = [one for one in network.queue if one.receiver == 0]
        clients[0].receive(told.payload)
        try:
            clients[0].submit(secret_input(0))
        except (StateError, Aborted):
            search.walk("client without a claim", clients[0])


def identity_files(search: LeakSearch, folder: Path) -> None:
    """Saves an identity to a sealed file, and loads it in wrong ways."""
    identity = Identity.generate(search.random)
    path = folder / "identity"
    identity.save(path, PHRASE, _cost=CHEAP)
    search.keep("identity file", path.read_bytes())
    search.walk("identity", identity)
    search.walk("identity", Identity.load(path, PHRASE))
    for phrase in (None, "wrong"):
        with pytest.raises(IdentityError):
            Identity.load(path, phrase)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(IdentityError):
        Identity.load(path, PHRASE)


def search_everything(mode: Mode, search: LeakSearch, folder: Path) -> None:
    """Plays all of the above in one mode."""
    identity_of.cache_clear()
    directory_of.cache_clear()
    dropped_at = Phase.UNMASK if mode is Mode.MALICIOUS else Phase.MASKED_INPUT
    EventfulRound(four(mode), search, folder, {3: dropped_at}).play()
    aborted_rounds(mode, search)
    driven_round(mode, search, 1)
    driven_round(mode, search, 2)
    failing_ledger(search)
    identity_files(search, folder)
