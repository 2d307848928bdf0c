"""Looks for every secret of whole rounds in all that the library shows, stores or logs.

Searched are: `str` and `repr` of public objects and of everything that hangs on them by name,
pickles of public objects where there are any, log records of every level with their arguments,
tracebacks of every error that the library raised, messages, stored clients and servers, ledgers and
identity files.

Not searched, because secrets are meant to be there: the jobs of an unmasking when they are pickled
(they hold mask keys), the arrays of shares in a client's memory, and the shares that clients send
to the server in the last phase. Tracebacks are formatted without local variables: with them, the
frames of the arithmetic show bare bytes.
"""

import base64
import dataclasses
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from harness import CONTEXT, MODES, SESSION, Message, directory_of, identity_of, seeded
from pairwise.mortal import KEY, Broken, MortalServer, Recorded, fresh, pins, woken

import secagg
from secagg import (
    SERVER,
    Aborted,
    Client,
    DecodeError,
    FixedPoint,
    Identity,
    IdentityError,
    Integers,
    Ledger,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    Once,
    Params,
    Phase,
    Policy,
    RangeError,
    RemoteProtocolError,
    SecAggError,
    Send,
    Server,
    SqliteLedger,
    StateError,
    Work,
)
from secagg.encoding.integers import IntegersCodec
from secagg.field import Field
from secagg.pairwise import state
from secagg.pairwise.unmasking import AgreeJob
from secagg.primitives import shamir
from secagg.primitives.passphrase import Cost
from secagg.secret import Secret
from secagg.wire import MessageType

LENGTH = 8
FORMAT = Integers(-(10**12), 10**12)
PHRASE = "an unmistakable pass phrase"
CHEAP = Cost(passes=1, memory=8)
WIDTH = 12  # bytes of a secret that are enough to know it by

Patch = pytest.MonkeyPatch


def secret_input(party: int) -> np.ndarray:
    """Values of twelve digits, so that each is a canary by itself."""
    draw = np.random.default_rng(party)
    return draw.integers(10**11, 10**12, LENGTH) * draw.choice([-1, 1], LENGTH)


def written(secret: bytes) -> set[bytes]:
    """How the beginning or the end of a secret may be written."""
    forms: set[bytes] = set()
    for piece in (secret[:WIDTH], secret[-WIDTH:]):
        numbers = [str(byte) for byte in piece]
        texts = {
            piece.hex(),
            piece.hex().upper(),
            repr(piece)[2:-1],
            repr(piece.decode("latin-1"))[1:-1],
            ", ".join(numbers),
            " ".join(numbers),
            base64.b64encode(piece).decode(),
            base64.urlsafe_b64encode(piece).decode(),
        }
        forms |= {piece, *(text.encode() for text in texts)}
    forms |= {str(int.from_bytes(secret, order)).encode() for order in ("little", "big")}  # type: ignore[arg-type]
    return forms


class Watch:
    """All secrets that were made, and all that could show them."""

    def __init__(self) -> None:
        self.secrets: dict[bytes, str] = {PHRASE.encode(): "passphrase"}
        self.shares: dict[bytes, str] = {}
        self.seen: dict[bytes, str] = {}  # what may hold no secret at all
        self.answers: dict[bytes, str] = {}  # what may hold shares
        self.errors: list[BaseException] = []
        self._random = 0

    def random(self, size: int) -> bytes:
        """Randomness that is known afterwards."""
        self._random += 1
        drawn = seeded(("canary", self._random))(size)
        self.secrets.setdefault(drawn, "randomness")
        return drawn

    def look(self, where: str, thing: object) -> None:
        """Keeps how a thing shows, printed and pickled."""
        self._keep(where, thing)
        try:
            pickled = pickle.dumps(thing)
        except Exception:  # whatever keeps a thing from being pickled is fine
            return
        if not isinstance(thing, Work):
            self._keep(f"pickle of {where}", pickled, _shares_belong(thing))

    def walk(self, where: str, thing: object) -> None:
        """Keeps how an object shows, and everything that hangs on it but arrays and jobs."""
        self.look(where, thing)
        self._hanging_on(where, thing, 3)

    def _hanging_on(self, where: str, thing: object, depth: int) -> None:
        for name, value in _parts(thing):
            if isinstance(value, np.ndarray) or name in ("held", "job"):
                continue
            self._keep(f"{where}.{name}", value, name == "said")
            if depth and type(value).__module__.startswith("secagg"):
                self._hanging_on(f"{where}.{name}", value, depth - 1)

    def _keep(self, where: str, thing: object, answer: bool = False) -> None:
        store = self.answers if answer or _shares_belong(thing) else self.seen
        for each in (thing, str(thing).encode(), repr(thing).encode()):
            if isinstance(each, bytes):
                store.setdefault(each, where)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a log record."""
        self._keep("log", record.getMessage())
        self._keep("log", vars(record))
        self._keep("log", record.args)

    def leaks(self) -> list[str]:
        """What was found where."""
        for number, values in enumerate(map(secret_input, range(4))):
            self.secrets |= dict.fromkeys(
                (str(abs(int(value))).encode() for value in values), f"input {number}"
            )
            self.secrets |= dict.fromkeys(
                (values.tobytes()[:32], _packed(values)[:32]), f"input {number}"
            )
        for error in self.errors:
            text = "".join(traceback.format_exception(error))
            self._keep(f"traceback of {type(error).__name__}", text)
            self.look(f"a {type(error).__name__}", error)
        keys = [(form, name) for secret, name in self.secrets.items() for form in written(secret)]
        shares = [(form, name) for share, name in self.shares.items() for form in written(share)]
        quiet, all_of_it = _joined(self.seen), _joined({**self.seen, **self.answers})
        found = [form for form, _ in keys if form in all_of_it]
        found += [form for form, _ in shares if form in quiet]
        names = dict(keys) | dict(shares)
        return [
            f"{names[form]} in {where}"
            for form in found
            for text, where in {**self.answers, **self.seen}.items()
            if form in text
        ]


def _packed(values: np.ndarray) -> bytes:
    field = Field(four(Mode.SEMI_HONEST).field_bits)
    return field.pack((values - FORMAT.low).astype(field.dtype))


def _shares_belong(thing: object) -> bool:
    """Whether it is the message with which a client answers, or its event."""
    message = thing.payload if isinstance(thing, Send) else thing
    return isinstance(message, bytes) and message[:4] == b"SA\1" + bytes([MessageType.UNMASK])


def _joined(texts: Mapping[bytes, str]) -> bytes:
    return b"\n\n\n".join(texts)


def _parts(thing: object) -> Iterator[tuple[str, object]]:
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(thing, name) and name != "_data":
                yield name, getattr(thing, name)


@contextmanager
def watching() -> Iterator[Watch]:
    """Records what is made, raised and logged meanwhile."""
    watch = Watch()
    true_secret, true_error, true_deal = Secret.__init__, SecAggError.__init__, shamir.deal

    def secret(self: Secret, data: bytes) -> None:
        true_secret(self, data)
        if 16 <= len(data) <= 32:  # a whole identity file is no canary
            watch.secrets.setdefault(bytes(data), "secret")

    def error(self: SecAggError, *args: object) -> None:
        true_error(self, *args)
        watch.errors.append(self)

    def deal(*args: object) -> np.ndarray:
        shares = true_deal(*args)  # type: ignore[arg-type]
        watch.shares |= dict.fromkeys((row.astype("<u8").tobytes() for row in shares), "share")
        packed = shamir.pack_shares(shares)
        for begin in range(0, len(packed), shamir.SHARE_BYTES):
            watch.shares[packed[begin : begin + shamir.SHARE_BYTES]] = "packed share"
        return shares

    handler = logging.Handler(logging.DEBUG)
    handler.emit = watch.emit  # type: ignore[method-assign]
    log = logging.getLogger("secagg")
    level = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Secret, "__init__", secret)
        patch.setattr(SecAggError, "__init__", error)
        patch.setattr(shamir, "deal", deal)
        try:
            yield watch
        finally:
            log.removeHandler(handler)
            log.setLevel(level)


# ---- rounds -------------------------------------------------------------------------------


def four(mode: Mode) -> Params:
    """Four parties with long values."""
    return Params(4, LENGTH, FORMAT, threshold=3, mode=mode)


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


RAISED = {
    Aborted,
    DecodeError,
    IdentityError,
    LocalProtocolError,
    RangeError,
    RemoteProtocolError,
    StateError,
}

# ---- the search ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_nothing_shows_a_secret(mode: Mode, tmp_path: Path) -> None:
    """No form of any secret in anything; and there was a lot to find, in a lot of places."""
    with watching() as watch:
        everything(mode, watch, tmp_path)
        leaks = watch.leaks()
    assert leaks == []
    assert len(watch.secrets) > 100
    assert len(watch.shares) > 100
    places = set(watch.seen.values())
    assert {"log", "client", "server", "message", "ledger", "snapshot", "stored client"} <= places
    assert {"identity", "identity file", "a wiped client", "an aborted client"} <= places
    assert {"pickle of Round", "pickle of an error"} <= places
    assert b"<Secret>" in watch.seen
    kinds = {type(error) for error in watch.errors}
    assert kinds == RAISED


def test_nothing_shows_a_secret_on_a_sparse_graph(tmp_path: Path) -> None:
    """The round alone; what identities and ledgers do is the same there."""
    with watching() as watch:
        Whole(SPARSE, watch, tmp_path, {3: Phase.MASKED_INPUT}).play()
        leaks = watch.leaks()
    assert leaks == []
    assert len(watch.secrets) > 40
    assert len(watch.shares) > 20


@pytest.mark.parametrize("params", [*map(four, MODES), SPARSE], ids=[*map(str, MODES), "sparse"])
def test_the_round_of_this_search_is_a_good_one(params: Params, tmp_path: Path) -> None:
    """It comes to the exact sum, so that every secret had its use."""
    with watching() as watch:
        whole = Whole(params, watch, tmp_path, {3: Phase.MASKED_INPUT})
        whole.play()
    assert whole.network.result is not None
    total = np.sum([secret_input(party) for party in range(3)], axis=0)
    assert whole.network.result.total.tolist() == total.tolist()
    assert whole.server.lives > 2


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_refused_real_inputs_are_not_shown(mode: Mode) -> None:
    """Fixed point, weighted: neither a value, nor a good weight, in any error about them."""
    params = Params(4, LENGTH, FixedPoint(1.0, max_weight=10**9), threshold=3, mode=mode)
    values = np.random.default_rng(1).uniform(-1, 1, LENGTH)
    weight = 987654321
    with watching() as watch:
        agreed = params.round(CONTEXT, SESSION)
        clients = {party: fresh(agreed, party, MemoryLedger(), watch.random) for party in range(4)}
        network = Recorded(Server(agreed, pins(params)), clients).start()
        while not any(one.payload[3] == MessageType.DELIVERY for one in network.queue):
            network.deliver(network.queue.pop(0))
        clients[0].receive(next(one.payload for one in network.queue if one.receiver == 0))
        bad = [values[1:], np.append(values[1:], np.nan), np.append(values[1:], np.inf)]
        bad += [values.reshape(2, -1), values.astype(complex), values.astype(str), [*values, None]]
        for each in bad:
            with pytest.raises(RangeError):
                clients[0].submit(each, weight)
        watch._keep("message", clients[0].submit(values, weight))
        watch.walk("client", clients[0])
        watch.secrets |= dict.fromkeys((repr(value).encode() for value in values.tolist()), "value")
        watch.secrets |= {values.tobytes()[8:24]: "values", str(weight).encode(): "weight"}
        assert watch.leaks() == []
        assert len(watch.errors) == len(bad)


# ---- planted leaks ------------------------------------------------------------------------


def bare_repr(patch: Patch) -> None:
    """A secret shows itself."""
    patch.setattr(Secret, "__repr__", lambda self: f"<Secret {bytes(self._data)!r}>")


def seed_in_the_log(patch: Patch) -> None:
    """A client logs its mask seed when it starts, as an argument in base64 that is not printed."""
    true = Client.start

    def start(self: Client) -> bytes:
        seed = base64.b64encode(bytes(self._memory.mask_seed._data)).decode()
        logging.getLogger("secagg").debug("starts%.0s", seed)
        return true(self)

    patch.setattr(Client, "start", start)


def element_in_an_error(patch: Patch) -> None:
    """The codec says which value is out of range."""
    true = IntegersCodec.encode

    def encode(self: IntegersCodec, values: object, *rest: object) -> object:
        try:
            return true(self, values, *rest)  # type: ignore[arg-type]
        except RangeError as error:
            raise RangeError(f"{error}: {np.asarray(values).ravel()[0]}") from None

    patch.setattr(IntegersCodec, "encode", encode)


def context_of_an_error(patch: Patch) -> None:
    """The message is clean; the error that it was raised from is not."""
    true = IntegersCodec.encode

    def encode(self: IntegersCodec, values: object, *rest: object) -> object:
        try:
            return true(self, values, *rest)  # type: ignore[arg-type]
        except RangeError as error:
            raise RangeError("bad input") from ValueError(np.asarray(values).tolist(), error)

    patch.setattr(IntegersCodec, "encode", encode)


def stored_in_clear(patch: Patch) -> None:
    """Stored state without its seal."""
    true = state._sealed
    patch.setattr(state, "_sealed", lambda kind, key, body: true(kind, key, body) + body)
    opened = state._opened

    def shorter(kind: object, key: bytes, stored: bytes) -> object:
        for size in range(62, len(stored)):  # the seal is as long as what follows, and 62 bytes
            if 2 * size - 62 == len(stored):
                return opened(kind, key, stored[:size])  # type: ignore[arg-type]
        raise StateError("never")

    patch.setattr(state, "_opened", shorter)


def key_in_the_ledger(patch: Patch) -> None:
    """Contributions are claimed by the self mask's key."""

    def claim(self: Client) -> None:
        if self._ledger is not None:
            self._ledger.claim(Once.CONTRIBUTION, self._memory.mask_keys[0].expose())

    patch.setattr(Client, "_claim_contribution", claim)


def job_that_shows(patch: Patch) -> None:
    """The repr of a job, within its event."""
    patch.setattr(AgreeJob, "__repr__", lambda self: f"AgreeJob({self.secrets[3].hex()})")


def memory_that_shows(patch: Patch) -> None:
    """A client's memory with a repr of all its fields, shares and all."""

    def show(self: object) -> str:
        shares = {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in getattr(self, "held", {}).items()
        }
        return repr(list(shares.values())) + repr(
            {peer: np.array(row, "<u8").tobytes().hex() for peer, row in shares.items()}
        )

    patch.setattr("secagg.pairwise.memory.ClientMemory.__repr__", show)


LEAKS: dict[str, tuple[Callable[[Patch], None], str]] = {
    "a secret's repr": (bare_repr, "memory.mask_seed"),
    "a seed in a log record": (seed_in_the_log, "randomness in log"),
    "an element in an error": (element_in_an_error, "input 0 in an error"),
    "an element in an error's cause": (context_of_an_error, "input 0 in traceback of RangeError"),
    "an element in a pickled error": (element_in_an_error, "input 0 in pickle of an error"),
    "stored state in clear": (stored_in_clear, "in stored client"),
    "shares in clear": (stored_in_clear, "share in stored client"),
    "a key in the ledger": (key_in_the_ledger, "secret in ledger"),
    "a job's repr": (job_that_shows, "secret in Work"),
    "a memory's repr": (memory_that_shows, "memory"),
}


@pytest.mark.parametrize("name", LEAKS)
def test_the_search_finds_a_planted_leak(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    """Each of these would be reported, where it is."""
    plant, report = LEAKS[name]
    with watching() as watch, monkeypatch.context() as patch:
        plant(patch)
        filed = "ledger" in name
        Whole(four(Mode.MALICIOUS), watch, tmp_path, {3: Phase.MASKED_INPUT}, filed).play()
        leaks = watch.leaks()
    assert any(report in leak for leak in leaks), sorted(set(leaks))[:20]


def test_every_field_of_a_public_object_is_walked() -> None:
    """What hangs on a client and a server by name is all looked at, slots too."""
    watch = Watch()
    client = fresh(four(Mode.MALICIOUS).round(CONTEXT, SESSION), 0, MemoryLedger())
    watch.walk("client", client)
    places = set(watch.seen.values())
    for one in dataclasses.fields(client._memory):
        shown = repr(getattr(client._memory, one.name)).encode()
        walked = any(place.endswith(f"memory.{one.name}") for place in places)
        assert walked or shown in watch.seen or one.name in ("held", "said"), one.name
