"""Playing the vectors of the wire format: by the library, and by the reference model."""

import itertools
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import reference
import wire_v1
from harness import state_of
from reference.protocol import ANNOUNCEMENTS, STEPS
from reference.repetition import Accepted
from wire_v1.forge import ABORTED, DECODE, DROPPED, FAILS, OFFER, REFUSED
from wire_v1.repeated import ANSWERED, IGNORED

import secagg
from secagg import (
    Client,
    Directory,
    Fractions,
    Identity,
    MemoryLedger,
    Phase,
    Policy,
    Round,
    Send,
    Server,
)
from secagg.arithmetic.field import Field
from secagg.encoding.clipping import gathered
from secagg.pairwise.transitions import PHASES, ClientState

Vector = dict[str, Any]
BY_CLIENTS, BY_SERVER, OFFERS = "refused-by-clients", "refused-by-the-server", "refused-offers"
TO_CLIENTS, TO_SERVER = "repeated-to-clients", "repeated-to-the-server"
INPUT = "refused-inputs"
# The files in mode 2, and those in format 3, are named like the others, behind this.
SPARSE, ROTATED = "sparse-", "rotated-"


def load(name: str) -> Any:
    """A file of vectors."""
    return json.loads((wire_v1.DIRECTORY / f"{name}.json").read_text())


NAMES = sorted(path.stem for path in wire_v1.DIRECTORY.glob("*-[0-9][0-9]-*.json"))
ROUNDS: dict[str, Vector] = {name: load(name) for name in NAMES}
FILES = {path.stem for path in wire_v1.DIRECTORY.glob("*.json")}


def load_all(name: str) -> list[Vector]:
    """All files of this kind, one after the other."""
    kinds = ("", SPARSE, ROTATED)
    return [one for kind in kinds if kind + name in FILES for one in load(kind + name)]


ACCEPTED = load_all("accepted-offers")
REFUSALS = {name: load_all(name) for name in (BY_CLIENTS, BY_SERVER, OFFERS)}
INPUTS = load_all(INPUT)
REPEATED: dict[str, list[Vector]] = {name: load(name) for name in (TO_CLIENTS, TO_SERVER)}


# -- what a file says -----------------------------------------------------------------------------


class Tape:
    """The randomness of one party, as listed; nobody may draw other lengths, or more."""

    def __init__(self, vector: Vector, party: int) -> None:
        self.left = [bytes.fromhex(one["bytes"]) for one in vector["parties"][party]["random"]]

    def __call__(self, size: int) -> bytes:
        """The next listed bytes."""
        assert self.left, "more was drawn than is listed"
        assert len(self.left[0]) == size
        return self.left.pop(0)


def f64(words: Iterable[str]) -> list[float]:
    """Doubles from their bytes."""
    return [struct.unpack("<d", bytes.fromhex(word))[0] for word in words]


def values_of(vector: Vector, party: int) -> tuple[list[float] | list[int], int]:
    """The input and the weight of a party."""
    given = vector["parties"][party]["input"]
    assert "weight" not in given or f64(given["values"]) == given["decimal"]
    return input_of(given)


def input_of(given: Vector) -> tuple[list[float] | list[int], int]:
    """An input and its weight, as they are listed."""
    if "weight" not in given:
        return [int(x) for x in given["values"]], 1
    return f64(given["values"]), given["weight"]


def sent(message: Vector) -> bytes:
    """A message as it was sent."""
    return bytes.fromhex(message["bytes"])


def delivered(message: Vector) -> bytes:
    """A message as it arrived."""
    return bytes.fromhex(message.get("delivered", message["bytes"]))


def groups(messages: Sequence[Vector]) -> Iterator[tuple[str, bool, list[Vector]]]:
    """The messages behind the offer by type, and whether the server sends them."""
    for kind, group in itertools.groupby(messages[1:], key=lambda one: one["type"]):
        listed = list(group)
        yield kind, listed[0]["from"] == "server", listed


# -- the library on the inputs of a file ----------------------------------------------------------


@cache
def identity_for(seed: str) -> Identity:
    """A party's long-lived key."""
    return Identity.generate(lambda _: bytes.fromhex(seed))


@cache
def directory_for(verify_keys: tuple[str, ...]) -> Directory:
    """The pinned keys of a cohort."""
    return Directory.of((f"p{i}", bytes.fromhex(key)) for i, key in enumerate(verify_keys))


def pinned(vector: Vector) -> Directory | None:
    """Returns the directory that all have pinned."""
    listed = tuple(one["verify_key"] for one in vector["parties"])
    return directory_for(listed) if all(listed) else None


def round_of(vector: Vector) -> Round:
    """Returns the round that was offered."""
    return Round.decode(sent(vector["messages"][0]))


def client_for(vector: Vector, party: int, random: Tape | None = None) -> Client:
    """A party of a round."""
    seed = vector["parties"][party]["identity_seed"]
    agreed = round_of(vector)
    return Client(
        agreed,
        party,
        Policy(context=agreed.context, allow_pair=True, sparse=Fractions(0.0, 0.0)),
        random or Tape(vector, party),
        identity=identity_for(seed) if seed else None,
        directory=pinned(vector),
        ledger=MemoryLedger() if seed else None,
    )


def answer_to(client: Client, vector: Vector, data: bytes) -> bytes:
    """Returns the answer of a client to a message of the server."""
    events = client.receive(data)
    if any(isinstance(event, secagg.InputNeeded) for event in events):
        return submit(client, vector)
    (payload,) = [event.payload for event in events if isinstance(event, Send)]
    return payload


def submit(client: Client, vector: Vector, other: Vector | None = None) -> bytes:
    """The masked input of a client, on its own input or on another."""
    values, weight = input_of(other) if other else values_of(vector, client.index)
    dtype = np.int64 if vector["params"]["format"]["name"] == "integers" else np.float64
    with gathered():  # some inputs are there to be clipped
        return client.submit(np.array(values, dtype), weight)


class Host:
    """The library's server, which must announce what a file says."""

    def __init__(self, vector: Vector) -> None:
        self.vector = vector
        self.server = Server(round_of(vector), pinned(vector))
        self.outbox: dict[int, bytes] = {}
        self.told: list[object] = []
        self._hear(self.server.start())

    def _hear(self, events: Iterable[object]) -> None:
        for event in events:
            self.told.append(event)
            if isinstance(event, Send):
                self.outbox[event.to] = event.payload
            elif isinstance(event, secagg.Work):
                self._hear(self.server.complete(event.job, event.job.run()))

    def take(self, party: int, data: bytes) -> None:
        """One message."""
        self._hear(self.server.receive(party, data))

    def close(self, kind: str) -> None:
        """No more messages of this type come."""
        self._hear(self.server.deadline(Phase(kind)))

    def announces(self, group: Sequence[Vector]) -> None:
        """Asserts that these were sent, to these."""
        assert self.outbox == {to: sent(one) for one in group for to in one["to"]}
        self.outbox = {}

    def ends(self) -> None:
        """Asserts the result, or the failure."""
        want = self.vector["result"]
        results = [one.result for one in self.told if isinstance(one, secagg.Completed)]
        failures = [one for one in self.told if isinstance(one, secagg.Failed)]
        assert self.server.state not in PHASES
        if "failed" in want:
            assert not results
            assert len(failures) == 1
            return
        (result,) = results
        assert not failures
        assert list(result.survivors) == want["survivors"]
        assert result.weight == int(want["weight"])
        assert result.mean.tolist() == f64(want["mean"]) == want["mean_decimal"]
        if "total_decimal" in want:
            assert result.total.tolist() == f64(want["total"]) == want["total_decimal"]
        else:
            assert result.total.tolist() == [int(x) for x in want["total"]]


def replay(vector: Vector) -> Host:
    """The whole round by the library; AssertionError where it differs from the file."""
    agreed, params = round_of(vector), vector["params"]
    assert agreed.params.encode().hex() == params["encoding"]
    assert agreed.encode() == sent(vector["messages"][0])
    assert (agreed.session.hex(), agreed.context.hex()) == (vector["session"], vector["context"])
    assert agreed.params.quorum == params["quorum"]
    assert agreed.params.vector_length == params["vector_length"]
    assert agreed.params.field_bits == params["field_bits"]
    assert str(Field(agreed.params.field_bits).modulus) == params["modulus"]
    host, clients, inbox = Host(vector), dict[int, Client](), dict[int, bytes]()
    tapes = {party: Tape(vector, party) for party in range(params["cohort"])}
    kind = ""
    for kind, by_server, group in groups(vector["messages"]):
        if by_server:
            host.announces(group)
            inbox = {to: delivered(one) for one in group for to in one["to"]}
            continue
        for one in group:
            party = one["from"]
            if kind == "advertise keys":
                clients[party] = client_for(vector, party, tapes[party])
                made = clients[party].start()
            else:
                made = answer_to(clients[party], vector, inbox[party])
            assert made == sent(one), f"{kind} of party {party}"
            host.take(party, delivered(one))
        host.close(kind)
    assert not host.outbox
    host.ends()
    assert not any(tapes[party].left for party in clients), "less was drawn than is listed"
    return host


# -- the reference model on the inputs of a file --------------------------------------------------


def format_of(f: Vector) -> reference.Format:
    """A format of the model."""
    if f["name"] == "integers":
        return reference.Integers(int(f["low"]), int(f["high"]))
    (clip,) = f64([f["clip_f64"]])
    if f["name"] == "fixed point":
        return reference.FixedPoint(clip, f["bits"], f["max_weight"])
    (scale,) = f64([f["scale_f64"]])
    names = [one.name for one in fields(reference.Rotated)][2:]
    return reference.Rotated(clip, scale, **{name: int(f[name]) for name in names})


def session_of(vector: Vector) -> reference.Session:
    """Returns what both sides of the model know."""
    return reference.Session(
        parameters_of(vector),
        bytes.fromhex(vector["session"]),
        bytes.fromhex(vector["context"]),
        [bytes.fromhex(one["verify_key"]) for one in vector["parties"] if one["verify_key"]],
    )


def parameters_of(vector: Vector) -> reference.Parameters:
    """Parameters of the model."""
    p = vector["params"]
    names = ("suite", "mode", "cohort", "threshold", "min_survivors", "colluders", "length")
    given = (p[name] for name in names)
    return reference.Parameters(*given, format_of(p["format"]), p.get("degree", 0))


def model_party(vector: Vector, party: int) -> reference.Party:
    """A client of the model."""
    seed = vector["parties"][party]["identity_seed"]
    identity = bytes.fromhex(seed) if seed else None
    return reference.Party(session_of(vector), party, Tape(vector, party), identity)


def model_answer(party: reference.Party, vector: Vector, kind: str, data: bytes) -> bytes:
    """Returns the answer of the model's client to what should be a message of this type."""
    if kind == "roster":
        return party.share_keys(data)
    if kind == "delivery":
        return party.masked_input(data, *values_of(vector, party.index))
    if kind == "survivors" and party.session.parameters.malicious:
        return party.consistency(data)
    return party.unmask(data)


def model_offers(offer: Vector) -> None:
    """Asserts that the model finds what is listed with an accepted offer."""
    p, wanted = parameters_of(offer), offer["params"]
    assert p.encode().hex() == wanted["encoding"]
    assert offer["bytes"].endswith(wanted["encoding"])
    assert p.vector_length == wanted["vector_length"]
    assert p.field_bits == wanted["field_bits"]


class ModelClient:
    """A client of the model that remembers what it has accepted; it has sent its keys."""

    def __init__(self, vector: Vector, party: int) -> None:
        self.vector = vector
        self.party = model_party(vector, party)
        self.accepted = Accepted()
        self.keys = self.party.advertise_keys()

    def hear(self, kind: str, data: bytes) -> bytes | None:
        """Returns the answer to what should be a message of this type, or is a repetition."""
        if data in self.accepted.messages:
            return self.accepted.again(data)
        answer = model_answer(self.party, self.vector, kind, data)
        self.accepted.accept(data, answer)
        return answer


def model_client_before(vector: Vector, party: int, at: int) -> ModelClient:
    """A client of the model that has had what comes before message `at`."""
    client = ModelClient(vector, party)
    for one in vector["messages"][1:at]:
        if one["from"] == "server" and party in one["to"]:
            client.hear(one["type"], delivered(one))
    return client


def replay_model(vector: Vector) -> None:
    """The whole round by the reference model; AssertionError where it differs from the file."""
    server, told, kind = reference.Server(session_of(vector)), "", ""
    clients, inbox = dict[int, ModelClient](), dict[int, bytes]()
    assert server.offer() == sent(vector["messages"][0])
    for kind, by_server, group in groups(vector["messages"]):
        if by_server:
            told = kind
            assert server.announce(kind) == {to: sent(one) for one in group for to in one["to"]}
            inbox = {to: delivered(one) for one in group for to in one["to"]}
            continue
        for one in group:
            party = one["from"]
            if kind == "advertise keys":
                clients[party] = ModelClient(vector, party)
                made: bytes | None = clients[party].keys
            else:
                made = clients[party].hear(told, inbox[party])
            assert made == sent(one), f"{kind} of party {party}"
            server.accept(kind, party, delivered(one))
    want = vector["result"]
    if kind != "unmask":
        assert server.announce(ANNOUNCEMENTS[STEPS.index(kind)]) == {}
    elif "failed" in want:
        assert server.too_few_shares() == (want["failed"] == "unmask")
        assert reason(server.aggregate)
    else:
        summed = server.aggregate()
        assert [str(element) for element in summed] == want["field_sum"]
        p, survivors = server.session.parameters, len(want["survivors"])
        assert p.possible(summed, survivors)
        total, mean = p.decode_sum(summed, survivors, server.session.session)
        assert mean is None or (total, mean) == (f64(want["total"]), f64(want["mean"]))


# -- refusals -------------------------------------------------------------------------------------

ERRORS = {
    DECODE: secagg.DecodeError,
    REFUSED: secagg.RemoteProtocolError,
    ABORTED: secagg.Aborted,
}


def client_before(vector: Vector, party: int, at: int) -> Client:
    """A client that has had all that comes before message `at`, its own messages among it."""
    client = client_for(vector, party)
    client.start()
    for one in vector["messages"][1:at]:
        if one["from"] == "server" and party in one["to"]:
            client.receive(delivered(one))
        elif (one["type"], one["from"]) == ("masked input", party):
            submit(client, vector)
    return client


def confront_client(refusal: Vector) -> None:
    """Plays a client up to the message, hands it over, and asserts what must happen."""
    vector, party = ROUNDS[refusal["round"]], refusal["to"]
    messages, at = vector["messages"], refusal["before"]
    client = client_before(vector, party, at)
    before = state_of(client)
    error = None
    try:
        client.receive(bytes.fromhex(refusal["bytes"]))
    except secagg.SecAggError as raised:
        error = raised
    assert isinstance(error, ERRORS[refusal["expected"]]), f"{refusal['name']}: {error!r}"
    if refusal["expected"] == ABORTED:
        assert client.state is ClientState.ABORTED
        with pytest.raises(secagg.RemoteProtocolError):
            client.receive(sent((messages[at:] or messages)[0]))
        return
    assert state_of(client) == before
    if at < len(messages):
        assert party in messages[at]["to"]
        made = answer_to(client, vector, sent(messages[at]))
        assert made == next(sent(one) for one in messages[at:] if one["from"] == party)


def confront_server(refusal: Vector) -> None:
    """Plays the server up to the message, hands it over, and asserts what must happen then.

    What is refused must cost nothing: the round goes on to its result, every message as listed.
    """
    vector, party = ROUNDS[refusal["round"]], refusal["from"]
    expected, at = refusal["expected"], refusal["before"]
    host, data, number, kind = Host(vector), bytes.fromhex(refusal["bytes"]), 0, ""
    for kind, by_server, group in groups(vector["messages"]):
        if by_server:
            if expected == DROPPED and number >= at:
                assert party not in host.outbox, refusal["name"]
                return
            host.announces(group)
            number += len(group)
            continue
        for one in group:
            number += 1
            if number != at:
                host.take(one["from"], delivered(one))
                continue
            if expected in ERRORS:
                before = state_of(host.server)
                error = None
                try:
                    host.take(party, data)
                except secagg.SecAggError as raised:
                    error = raised
                assert isinstance(error, ERRORS[expected]), f"{refusal['name']}: {error!r}"
                assert state_of(host.server) == before
                host.take(one["from"], delivered(one))
                continue
            assert one["from"] == party
            told = len(host.told)
            host.take(party, data)
            drops = [e.party for e in host.told[told:] if isinstance(e, secagg.Dropped)]
            assert drops == ([party] if expected == DROPPED else []), refusal["name"]
        host.close(kind)
    if expected in ERRORS:
        host.ends()
    elif expected == FAILS:
        assert not any(isinstance(event, secagg.Completed) for event in host.told)
        assert isinstance(host.told[-1], secagg.Failed), refusal["name"]
    else:
        assert kind == "unmask"


def model_refuses(refusal: Vector) -> str:
    """Returns why the model raises ValueError at the message, or then at the sum; "" if not."""
    vector, at = ROUNDS[refusal["round"]], refusal["before"]
    messages, data = vector["messages"], bytes.fromhex(refusal["bytes"])
    if refusal["to"] != "server":
        client = model_client_before(vector, refusal["to"], at)
        kind = messages[at]["type"] if at < len(messages) else "survivors"
        return reason(partial(client.hear, kind, data))
    server = reference.Server(session_of(vector))
    for number, one in enumerate(messages):
        if one["from"] == "server":
            if number and messages[number - 1]["from"] != "server":
                server.announce(one["type"])
        elif number != at:
            server.accept(one["type"], one["from"], delivered(one))
        elif refusal["expected"] == FAILS:
            server.accept(one["type"], refusal["from"], data)
        else:
            return reason(partial(server.accept, one["type"], refusal["from"], data))
    return reason(partial(model_sum, server))


def model_sum(server: reference.Server) -> None:
    """Raises ValueError if there is no sum, or none that honest inputs have."""
    if not server.session.parameters.possible(server.aggregate(), len(server.masked)):
        raise ValueError("no honest inputs have this sum")


def confront_input(refusal: Vector) -> None:
    """A client refuses it, and nothing has changed: it takes its own input then."""
    vector, party = ROUNDS[refusal["round"]], refusal["to"]
    at, listed = masked_input_of(vector, party)
    client = client_before(vector, party, at)
    before = state_of(client)
    with pytest.raises(secagg.RangeError):
        submit(client, vector, refusal["input"])
    assert state_of(client) == before
    assert submit(client, vector) == listed


def model_confronts_input(refusal: Vector) -> None:
    """The same for a client of the model."""
    vector, party = ROUNDS[refusal["round"]], refusal["to"]
    at, listed = masked_input_of(vector, party)
    got = [one for one in vector["messages"][:at] if one["from"] == "server" and party in one["to"]]
    client = model_client_before(vector, party, vector["messages"].index(got[-1]))
    taken = partial(client.party.masked_input, delivered(got[-1]), *input_of(refusal["input"]))
    assert reason(taken) == "the input is refused"
    assert client.hear("delivery", delivered(got[-1])) == listed


def masked_input_of(vector: Vector, party: int) -> tuple[int, bytes]:
    """The number of this message of a party, and its bytes."""
    return next(
        (number, sent(one))
        for number, one in enumerate(vector["messages"])
        if (one["type"], one["from"]) == ("masked input", party)
    )


# -- repetitions ----------------------------------------------------------------------------------


def given(step: Vector, vector: Vector) -> bytes:
    """The bytes of one step of a script."""
    return delivered(vector["messages"][step["message"]] if "message" in step else step)


def repeat_to_client(script: Vector) -> None:
    """Asserts what must happen at each step, and that the round then goes on as listed."""
    vector, party, at = ROUNDS[script["round"]], script["to"], script["before"]
    client = client_before(vector, party, at)
    for step in script["steps"]:
        before, expected = state_of(client), step["expected"]
        if expected in ERRORS:
            with pytest.raises(ERRORS[expected]):
                client.receive(given(step, vector))
        else:
            events = client.receive(given(step, vector))
            assert [event.payload for event in events] == listed_answer(step, vector)
        assert (state_of(client) == before) == (expected != ABORTED)
    made = b""
    for one in vector["messages"][at:] if client.state is not ClientState.ABORTED else ():
        if one["from"] == "server" and party in one["to"]:
            made = answer_to(client, vector, delivered(one))
        elif one["from"] == party:
            assert (made or submit(client, vector)) == sent(one)


def listed_answer(step: Vector, vector: Vector) -> list[bytes]:
    """Returns the messages that are sent at one step of a script."""
    assert ("answer" in step) == (step["expected"] == ANSWERED)
    return [sent(vector["messages"][step["answer"]])] if "answer" in step else []


def repeat_to_server(script: Vector) -> None:
    """Asserts that the server takes no notice, and that the round goes on to its result."""
    vector, at = ROUNDS[script["round"]], script["before"]
    host, number = Host(vector), 1
    for kind, by_server, group in groups(vector["messages"]):
        if by_server:
            host.announces(group)
            number += len(group)
            continue
        for one in group:
            if number == at:
                repeat_to_host(host, script)
            host.take(one["from"], delivered(one))
            number += 1
        host.close(kind)
    if number == at:
        repeat_to_host(host, script)
    host.ends()


def repeat_to_host(host: Host, script: Vector) -> None:
    """Gives a server the messages of a script."""
    before, told = state_of(host.server), len(host.told)
    for step in script["steps"]:
        assert step["expected"] == IGNORED
        host.take(script["from"], given(step, host.vector))
    assert (state_of(host.server), len(host.told)) == (before, told)


def model_client_repeats(script: Vector) -> None:
    """The script by a client of the reference model."""
    vector, party, at = ROUNDS[script["round"]], script["to"], script["before"]
    rest = vector["messages"][at:]
    client = model_client_before(vector, party, at)
    kind = rest[0]["type"] if rest else "survivors"
    made = client.accepted.answer
    if kind == "masked input":  # the model is given the input with the delivery
        client.accepted.answer = None
    for step in script["steps"]:
        data = given(step, vector)
        if step["expected"] in ERRORS:
            assert reason(partial(client.hear, kind, data))
        else:
            answer = client.hear(kind, data)
            assert [answer for _ in range(answer is not None)] == listed_answer(step, vector)
        if step["expected"] == ABORTED:
            client.accepted.abort()
            rest = []
    for one in rest:
        if one["from"] == "server" and party in one["to"]:
            made = client.hear(one["type"], delivered(one))
        elif one["from"] == party:
            assert made == sent(one)


def model_server_repeats(script: Vector) -> None:
    """The script by the server of the reference model."""
    vector, server = ROUNDS[script["round"]], reference.Server(session_of(ROUNDS[script["round"]]))
    messages = vector["messages"]
    for number in range(1, len(messages) + 1):
        if number == script["before"]:
            for step in script["steps"]:
                kind = messages[step["message"]]["type"]
                server.accept(kind, script["from"], given(step, vector))
        for one in messages[number : number + 1]:
            if one["from"] != "server":
                server.accept(one["type"], one["from"], delivered(one))
            elif messages[number - 1]["from"] != "server":
                server.announce(one["type"])
    assert [str(element) for element in server.aggregate()] == vector["result"]["field_sum"]


def reason(call: Callable[[], object]) -> str:
    """Returns the text of the ValueError that a call raises; "" if there is none."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


def confront_offer(refusal: Vector) -> None:
    """A client reads no round in it."""
    assert refusal["expected"] == OFFER
    try:
        Round.decode(bytes.fromhex(refusal["bytes"]))
    except secagg.DecodeError:
        return
    raise AssertionError(f"{refusal['name']}: taken")


REPEAT = {TO_CLIENTS: repeat_to_client, TO_SERVER: repeat_to_server}
MODEL_REPEATS = {TO_CLIENTS: model_client_repeats, TO_SERVER: model_server_repeats}
CONFRONT = {BY_CLIENTS: confront_client, BY_SERVER: confront_server, OFFERS: confront_offer}
EVERY = [(file, refusal) for file, refusals in REFUSALS.items() for refusal in refusals]
