"""Seeded parties and a message pump under full control of a test: no scheduling of its own."""

import hashlib
import logging
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import reference

import secagg
from secagg import (
    SERVER,
    Client,
    Code,
    Directory,
    Fractions,
    Identity,
    Ledger,
    MemoryLedger,
    Mode,
    Params,
    Phase,
    Policy,
    Round,
    Send,
    Server,
)
from secagg.machine.wire import MessageType
from secagg.pairwise.client_steps import ClientSteps
from secagg.pairwise.graph import Complete
from secagg.pairwise.memory import ClientMemory, ServerMemory
from secagg.pairwise.server_steps import ServerSteps
from secagg.pairwise.transitions import PHASES
from secagg.params.formats import Format
from secagg.params.rotated import Rotated
from secagg.primitives.secret import Secret
from secagg.simulate import Cohort, Run, Wire

COMPLETE = Complete()
STEPS = list(Mode.SEMI_HONEST.phases)
MODES = list(Mode)
SESSION = bytes(range(16))
CONTEXT = bytes(range(32, 64))


class Seeded:
    """A deterministic source of randomness, different for every label; `clone` copies it."""

    def __init__(self, label: object) -> None:
        self.label = label
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        """The next bytes."""
        self.drawn += 1
        return hashlib.shake_256(f"{self.label!r} {self.drawn}".encode()).digest(size)


def seeded(label: object) -> Callable[[int], bytes]:
    """A deterministic source of randomness, different for every label."""
    return Seeded(label)


def model_of(form: Format) -> reference.Format:
    """Returns a format of the reference model."""
    if isinstance(form, secagg.FixedPoint):
        return reference.FixedPoint(form.clip, form.bits, form.max_weight)
    if isinstance(form, Rotated):
        numbers = form.clip, form.scale, form.bound, form.peak, form.tail
        noise = int(form.noise), form.variance_steps
        rest = int(form.rotation), form.slots, form.max_weight
        return reference.Rotated(*numbers, *noise, *rest)
    return reference.Integers(form.low, form.high)


@cache
def identity_of(party: int) -> Identity:
    """The long-lived key of a party, the same in every test."""
    return Identity.generate(seeded(("identity", party)))


@cache
def directory_of(cohort: int) -> Directory:
    """The verify keys of a cohort."""
    return Directory.of(
        (f"party-{party}", identity_of(party).verify_key) for party in range(cohort)
    )


def pinned(params: Params) -> bytes:
    """Returns the bytes of the directory that go into h0."""
    malicious = params.mode is Mode.MALICIOUS
    return b"".join(directory_of(params.cohort).verify_keys) if malicious else b""


# Of a client that takes part in everything that `Params` allows.
WILLING = Policy(allow_pair=True, sparse=Fractions(0.0, 0.0))


def client_of(
    agreed: Round,
    party: int,
    policy: Policy = WILLING,
    random: object = None,
    ledger: Ledger | None = None,
) -> Client:
    """A party of a round in either mode, whose input is for what the round is about."""
    random = random or seeded(("", party))
    if agreed.params.mode is Mode.SEMI_HONEST:
        return Client(agreed, party, policy, random)  # type: ignore[arg-type]
    client = Client(
        agreed,
        party,
        policy,
        random,  # type: ignore[arg-type]
        identity=identity_of(party),
        directory=directory_of(agreed.params.cohort),
        ledger=ledger or MemoryLedger(),
    )
    client.expect(agreed.context)
    return client


def server_of(agreed: Round) -> Server:
    """The server of a round in either mode."""
    malicious = agreed.params.mode is Mode.MALICIOUS
    return Server(agreed, directory_of(agreed.params.cohort) if malicious else None)


def integers(cohort: int, length: int = 4, **more: object) -> Params:
    """Parameters for exact sums of small integers, where any wrong sum shows."""
    return Params(cohort, length, secagg.Integers(-1000, 1000), **more)  # type: ignore[arg-type]


def tight(cohort: int, length: int = 1, **more: object) -> Params:
    """Like `integers`, in a field that the largest sum fills: no wrong sum hides behind a range.

    The server refuses a sum that honest inputs cannot reach. Here they can reach (nearly) every
    field element, so that a mask which is left in a sum comes out as a wrong sum.
    """
    return Params(cohort, length, secagg.Integers(-40, 65520 // cohort - 40), **more)  # type: ignore[arg-type]


def input_of(party: int, length: int = 4) -> np.ndarray:
    """The input that a party has in these tests: any subset of parties has its own sum."""
    return np.array([(1 << party) if i == 0 else 7 * party - i for i in range(length)], np.int64)


class ServerOutcome:
    """A mixin that reads the outcome of a round from the events of its server."""

    events: list[object]

    @property
    def result(self) -> secagg.Result | None:
        """The sum, once there is one."""
        return next((e.result for e in self.events if isinstance(e, secagg.Completed)), None)

    @property
    def failure(self) -> secagg.Failed | None:
        """The failure, once there is one."""
        return next((e for e in self.events if isinstance(e, secagg.Failed)), None)

    @property
    def dropped(self) -> dict[int, Code]:
        """Dropped parties, and why."""
        return {e.party: e.code for e in self.events if isinstance(e, secagg.Dropped)}

    @property
    def last_phase(self) -> Phase:
        """The phase that the server started last."""
        return [e.phase for e in self.events if isinstance(e, secagg.PhaseStarted)][-1]


@dataclass
class SteppedRound(ServerOutcome):
    """A server and its clients in a round that the test moves step by step."""

    params: Params
    policy: Policy = WILLING
    label: object = ""
    session: bytes = SESSION
    context: bytes = CONTEXT

    def __post_init__(self) -> None:
        self.round: Round = self.params.round(self.context, self.session)
        self.server = server_of(self.round)
        self.clients = {
            party: client_of(self.round, party, self.policy, seeded((self.label, party)))
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
        """Tells the server that the time of a phase is up."""
        self._take(self.server.deadline(phase))

    def advertise(self, parties: Iterable[int] | None = None) -> dict[int, bytes]:
        """Returns the first messages of these clients (all), by sender."""
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
                    masked = self.clients[party].submit(input_of(party, self.params.length))
                    messages[party] = masked
        return messages

    def until(self, phase: Phase) -> dict[int, bytes]:
        """Plays honestly up to, and returns, the messages of this phase."""
        messages = self.advertise()
        for step in self.params.mode.phases:
            if step is phase:
                break
            self.to_server(messages)
            messages = self.answers()
        return messages

    def clone(self) -> "SteppedRound":
        """An independent copy that goes on from here."""
        twin = object.__new__(SteppedRound)
        vars(twin).update(vars(self))
        twin.server = clone(self.server)
        twin.clients = {party: clone(client) for party, client in self.clients.items()}
        twin.outbox, twin.events = dict(self.outbox), list(self.events)
        return twin

    def finish(self, messages: Mapping[int, bytes] | None = None) -> "Network":
        """Plays on honestly to the end; whoever is refused, or aborts, falls silent.

        Args:
            messages: to the server, by sender; what is on its way now.
        """
        network = Network(self.server, self.clients)
        network.queue += [
            Message(party, SERVER, payload) for party, payload in (messages or {}).items()
        ]
        network.run()
        self.events += network.events
        return network


@dataclass(frozen=True)
class Message:
    """One message on its way."""

    sender: int
    receiver: int
    payload: bytes


@dataclass
class Network(ServerOutcome):
    """Carries every message between a server and its clients, in any order; bytes may be anything.

    Typed refusals are noted, and the refused party is silent until the phase's time is up; any
    other exception is for the test to fail on.
    """

    server: Server
    clients: Mapping[int, Client]
    drops: Mapping[int, Phase] = field(default_factory=dict)  # before which message who vanishes
    queue: list[Message] = field(default_factory=list)
    events: list[object] = field(default_factory=list)  # what the server said
    refusals: list[secagg.RemoteProtocolError] = field(default_factory=list)
    aborts: dict[int, Code] = field(default_factory=dict)

    def start(self) -> "Network":
        """Starts the server and every client."""
        self.take_events(self.server.start())
        for party, client in self.clients.items():
            self.send_up(party, client.start())
        return self

    def clone(self) -> "Network":
        """An independent copy that goes on from here."""
        return Network(
            clone(self.server),
            {party: clone(client) for party, client in self.clients.items()},
            self.drops,
            list(self.queue),
            list(self.events),
            list(self.refusals),
            dict(self.aborts),
        )

    def run(self, pick: Callable[[int], int] = lambda waiting: 0) -> "Network":
        """Carries messages, of those waiting always the one picked, until the round is over."""
        while True:
            while self.queue:
                self.deliver(self.queue.pop(pick(len(self.queue))))
            if self.server.state not in PHASES:
                return self
            self.take_events(self.server.deadline(PHASES[self.server.state]))

    def deliver(self, message: Message) -> None:
        """Hands one message over and takes what the receiver says."""
        try:
            if message.receiver == SERVER:
                self.take_events(self.server.receive(message.sender, message.payload))
                return
            client = self.clients[message.receiver]
            self.act(client.index, client.receive(message.payload))
        except secagg.RemoteProtocolError as error:
            self.refusals.append(error)
        except secagg.Aborted as error:
            self.aborts[message.receiver] = error.code

    def act(self, party: int, events: Iterable[object]) -> None:
        """Does what a client asks for."""
        for event in events:
            if isinstance(event, Send):
                self.send_up(party, event.payload)
            elif isinstance(event, secagg.InputNeeded):
                client = self.clients[party]
                self.send_up(party, client.submit(input_of(party, client.round.params.length)))

    def send_up(self, party: int, payload: bytes) -> None:
        last = self.drops.get(party)
        if last is None or _PHASE_OF[payload[3]] < _ORDER.index(last):
            self.queue.append(Message(party, SERVER, payload))

    def take_events(self, events: Iterable[object]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, Send):
                self.queue.append(Message(SERVER, event.to, event.payload))
            elif isinstance(event, secagg.Work):
                self.take_events(self.server.complete(event.job, event.job.run()))


_PHASE_OF: dict[int, int] = {
    MessageType.ADVERTISE_KEYS: 0,
    MessageType.SHARE_KEYS: 1,
    MessageType.MASKED_INPUT: 2,
    MessageType.CONSISTENCY: 3,
    MessageType.UNMASK: 4,
}
_ORDER = list(Phase)

Machine = TypeVar("Machine", Client, Server)


def clone(machine: Machine) -> Machine:
    """An independent copy of a state machine, secrets and all: what the library never makes."""
    return _twin(machine)


Thing = TypeVar("Thing")


def _twin(machine: Thing) -> Thing:
    twin = object.__new__(type(machine))
    vars(twin).update({name: _copied(value) for name, value in vars(machine).items()})
    return twin


def _copied(value: object) -> object:
    if isinstance(value, ClientSteps | ServerSteps):
        return _twin(value)
    if isinstance(value, ClientMemory | ServerMemory):
        return replace(
            value, **{one.name: _copied(getattr(value, one.name)) for one in fields(value)}
        )
    if isinstance(value, MemoryLedger):
        ledger = MemoryLedger()
        ledger._claims = dict(value._claims)
        return ledger
    if isinstance(value, Secret):
        return Secret(value._data)
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, set):
        return set(value)
    if isinstance(value, Seeded):
        twin = Seeded(value.label)
        twin.drawn = value.drawn
        return twin
    return value


def state_of(machine: Client | Server) -> object:
    """All that a state machine holds, as a value that compares and hashes by content."""
    return _parts(machine)


def _parts(machine: object) -> object:
    return tuple((name, _value(item)) for name, item in vars(machine).items() if name != "_turn")


_PLAIN = (bytes, int, str, bool, type(None))  # most of what there is, so these come first


def _is_a_constant(item: object) -> bool:
    """Returns whether a dataclass compares by content and can never change, such as `Params`."""
    kind = item.__dataclass_params__  # type: ignore[attr-defined]
    try:
        return bool(kind.frozen and kind.eq and hash(item) is not None)
    except TypeError:  # there is an array, a dict or a secret in it
        return False


def _value(item: object) -> object:
    if type(item) in _PLAIN:
        return item
    if isinstance(item, ClientSteps | ServerSteps):
        return _parts(item)
    if isinstance(item, Secret):
        return ("secret", bytes(item._data))
    if isinstance(item, np.ndarray):
        return (item.dtype.str, item.shape, item.tobytes())
    if isinstance(item, Mapping):
        return tuple((key, _value(value)) for key, value in item.items())
    if isinstance(item, list | tuple):
        return tuple(_value(value) for value in item)
    if isinstance(item, set):
        return frozenset(item)
    if isinstance(item, Seeded):
        return ("random", repr(item.label), item.drawn)
    if isinstance(item, MemoryLedger):
        return frozenset(item._claims)
    if is_dataclass(item) and not isinstance(item, Enum):
        if _is_a_constant(item):
            return item
        return tuple(_value(getattr(item, one.name)) for one in fields(item))
    return item


def locals_kept(error: BaseException) -> list[str]:
    """Names of local variables that an exception, and those behind it, keep of the library.

    A crash reporter prints them. Those of the decorator that clears the others hold nothing.
    """
    root = str(Path(secagg.__file__).parent)
    chain: list[BaseException | None] = [error]
    for each in chain:
        if each is not None:
            chain += [one for one in (each.__cause__, each.__context__) if one not in chain]
    return [
        f"{frame.f_code.co_name}: {name}"
        for each in chain
        if each is not None
        for frame, _ in traceback.walk_tb(each.__traceback__)
        if frame.f_code.co_filename.startswith(root)
        for name in frame.f_locals
        if (frame.f_code.co_name, name) not in {("guarded", "function"), ("guarded", "handled")}
    ]


@contextmanager
def logged(action: Callable[[], object]) -> Iterator[None]:
    """Runs an action of the application at each line of the log."""
    log, handler = logging.getLogger("secagg"), logging.Handler()
    # Not `emit`, around which the handler holds a lock that it makes anew in a child.
    handler.handle = lambda record: bool(action())  # type: ignore[method-assign]
    level = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def secrets_of(client: Client) -> list[str]:
    """Names of the fields in which a client still holds something secret."""
    memory = client._memory
    return [
        one.name for one in fields(memory) if _holds_secret(one.name, getattr(memory, one.name))
    ]


def _holds_secret(name: str, value: object) -> bool:
    if isinstance(value, Secret):
        return any(value._data)
    if isinstance(value, dict):
        return any(_holds_secret(name, item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_secret(name, item) for item in value)
    return isinstance(value, np.ndarray) and bool(value.any())


def play(
    params: Params,
    drops: Mapping[int, Phase] | None = None,
    label: object = "",
    wire: Wire | None = None,
) -> Run:
    """One simulated round of `input_of` inputs with seeded clients."""
    agreed = params.round(CONTEXT, SESSION)
    clients = {
        party: client_of(agreed, party, random=seeded((label, party)))
        for party in range(params.cohort)
    }

    def supply(party: int) -> Callable[[], tuple[np.ndarray, int]]:
        return lambda: (input_of(party, params.length), 1)

    inputs = {party: supply(party) for party in clients}
    server = server_of(agreed)
    return Cohort(server, clients, inputs, drops, keep_transcript=True, wire=wire).play()


def expected_sum(parties: Iterable[int], length: int = 4) -> list[int]:
    """The plain sum of these parties' inputs."""
    return np.sum([input_of(party, length) for party in parties], axis=0).tolist()
