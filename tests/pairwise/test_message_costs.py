"""What a message can cost its receiver: never much more than its bytes or an honest message.

What is counted does not depend on the machine: calls of cryptographic functions, bytes hashed,
elements unpacked, lines of the library that run (a loop over the cohort shows in them), and memory.
The table in docs/SECURITY.md, "What a message can cost", has a row for each type.
"""

import hashlib
import re
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from harness import CONTEXT, SESSION, SteppedRound, client_of, clone, identity_of, seeded, state_of
from pairwise.attacks import body
from pairwise.attacks.lying_server import signed_entry, with_proof
from refusals import refused
from support import looped

import secagg
from secagg import (
    Client,
    Code,
    DecodeError,
    FixedPoint,
    Mode,
    Params,
    Round,
    SecAggError,
    Server,
    Suite,
)
from secagg.arithmetic.field import Field
from secagg.identity.identity import sign_digest
from secagg.machine import wire
from secagg.machine.wire import HEADER_BYTES, MessageType, PartySet
from secagg.pairwise import derivation, messages, server_steps, transcript
from secagg.pairwise.graph import Complete, Harary
from secagg.pairwise.messages import (
    SEALED_BYTES,
    AdvertiseKeys,
    Consistency,
    Delivery,
    MaskedInput,
    PublicKeys,
    Roster,
    ShareKeys,
    Signatures,
    Survivors,
    Unmask,
)
from secagg.primitives import agreement, seal, sign
from secagg.sharing import shamir

LIBRARY = str(Path(secagg.__file__).parent)
EVERY_CALL = (
    "ownership.py",
    "forks.py",
    "tracebacks.py",
)  # lines of these do not depend on the message
DOCUMENT = Path(__file__).parents[2] / "docs" / "SECURITY.md"

N = 48
LENGTH = 5000
FORMAT = FixedPoint(clip=8.0, bits=8)
KINDS = {
    "semi-honest": Params(N, LENGTH, FORMAT),
    "malicious": Params(N, LENGTH, FORMAT, mode=Mode.MALICIOUS),
    "sparse": Params(N, LENGTH, FORMAT, 8, min_survivors=46, colluders=1, degree=12),
}
WHO = 1  # the party that sends, or receives
REFUSED_LINES = 110  # of the library, to refuse a message unread
REFUSED_BYTES = 2**13  # of memory for that, its exception included
ERASED_LINES = 20  # for each party, when a client ends the round and erases its secrets


# -- counting -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """The work of a receiver with a message.

    Attributes:
        calls: cryptographic operations, bytes hashed and elements handled, by name.
        lines: of the library.
        memory: the most bytes that were taken at the same time.
    """

    calls: Counter[str]
    lines: int
    memory: int

    def nothing(self, params: Params) -> bool:
        """Returns whether this does not grow with the message, nor with the cohort.

        On a sparse graph it may grow with the few neighbours that a party has.
        """
        lines = REFUSED_LINES + 6 * params.degree
        return not +self.calls and self.lines <= lines and self.memory <= REFUSED_BYTES

    def within(self, factor: float, other: "Cost") -> bool:
        """Returns whether this is at most `factor` times the other in everything."""
        names = self.calls.keys() | other.calls.keys()
        return (
            all(self.calls[name] <= factor * other.calls[name] for name in names)
            and self.lines <= factor * other.lines + ERASED_LINES * N
            and self.memory <= factor * other.memory + REFUSED_BYTES
        )


class Hasher:
    """BLAKE2b that counts the bytes it is given."""

    true = hashlib.blake2b

    def __init__(self, calls: Counter[str], data: bytes = b"", **more: object) -> None:
        self._hasher, self._calls = Hasher.true(**more), calls  # type: ignore[arg-type]
        self.update(data)

    def update(self, data: bytes) -> None:
        self._calls["bytes hashed"] += len(data)
        self._hasher.update(data)

    def digest(self) -> bytes:
        return self._hasher.digest()


@contextmanager
def counted_calls(calls: Counter[str]) -> Iterator[None]:
    """Counts operations while the context is open."""

    def counting(patch: pytest.MonkeyPatch, place: object, name: str) -> None:
        true = getattr(place, name)

        def wrapper(*args: object, **kwargs: object) -> object:
            calls[name] += 1
            return true(*args, **kwargs)

        patch.setattr(place, name, wrapper)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashlib, "blake2b", lambda *a, **k: Hasher(calls, *a, **k))
        for place, name in (
            (sign, "verify"),
            (sign, "sign"),
            (agreement, "agree"),
            (derivation, "agree"),
            (seal, "seal"),
            (seal, "unseal"),
            (shamir, "deal"),
            (server_steps, "rebuild_seeds"),
            (Field, "unpack_add"),
        ):
            counting(patch, place, name)
        yield


@contextmanager
def counted_lines(lines: Counter[str]) -> Iterator[None]:
    """Counts lines of the library while the context is open."""

    def trace(frame: FrameType, event: str, _: object) -> object:
        if event == "line":
            lines[frame.f_code.co_name] += 1
        file = frame.f_code.co_filename
        return trace if file.startswith(LIBRARY) and not file.endswith(EVERY_CALL) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def cost_of(action: Callable[[], object]) -> Cost:
    """Runs an action three times, which must not change anything, and says what it costs."""
    calls: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    with suppress(SecAggError), counted_calls(calls):
        action()
    with suppress(SecAggError), counted_lines(lines):
        action()
    tracemalloc.start()
    try:
        with suppress(SecAggError):
            action()
        memory = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return Cost(calls, lines.total(), memory)


# -- a receiver for each type -----------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """A receiver that awaits a message, and the honest one."""

    params: Params
    receiver: Client | Server
    message: bytes

    def taken(self, *messages: bytes) -> Client | Server:
        """Returns a copy of the receiver that was given these messages."""
        twin = clone(self.receiver)
        for message in messages:
            with suppress(SecAggError):
                _hand(twin, message)
        return twin

    def cost(self, message: bytes, *before: bytes) -> Cost:
        """Says what a message costs the receiver, which was given others before."""
        twins = iter([self.taken(*before) for _ in range(3)])
        return cost_of(lambda: _hand(next(twins), message))

    def bitmap_end(self) -> int:
        """Where a bitmap ends that is the first field."""
        return HEADER_BYTES + (self.params.cohort + 7) // 8


def _hand(receiver: Client | Server, message: bytes) -> object:
    if isinstance(receiver, Client):
        return receiver.receive(message)
    return receiver.receive(WHO, message)


class ZeroRound(SteppedRound):
    """A round in which every input is zero: `input_of` is for fewer parties."""

    def answers(self, parties: Iterable[int] | None = None) -> dict[int, bytes]:
        messages = {}
        for party, payload in self.outbox.items():
            for event in self.clients[party].receive(payload):
                if isinstance(event, secagg.Send):
                    messages[party] = event.payload
                elif isinstance(event, secagg.InputNeeded):
                    messages[party] = self.clients[party].submit(np.zeros(LENGTH))
        return messages


@cache
def moments(kind: str) -> Mapping[MessageType, Moment]:
    """Returns a moment for each message of a round after the offer."""
    params, found = KINDS[kind], {}
    stepped = ZeroRound(params)
    messages = stepped.advertise()
    for _ in params.mode.phases:
        up = messages[WHO]
        found[MessageType(up[3])] = Moment(params, clone(stepped.server), up)
        stepped.outbox.clear()
        stepped.to_server(messages)
        if not stepped.outbox:
            return found
        down = stepped.outbox[WHO]
        found[MessageType(down[3])] = Moment(params, clone(stepped.clients[WHO]), down)
        messages = stepped.answers()
    raise AssertionError("the last phase sends nothing")


EVERY = [
    (kind, of)
    for kind, params in KINDS.items()
    for of in set(MessageType) - {MessageType.OFFER}
    if params.mode is Mode.MALICIOUS or of not in (MessageType.CONSISTENCY, MessageType.SIGNATURES)
]


# -- what is refused unread -------------------------------------------------------------------


def full_bitmap(moment: Moment) -> bytes:
    """Everybody in the first field, and nothing after it."""
    everybody = PartySet.of(range(moment.params.cohort), moment.params.cohort)
    return moment.message[:HEADER_BYTES] + everybody.octets


UNREAD: dict[str, Callable[[Moment], bytes]] = {
    "a header": lambda moment: moment.message[:HEADER_BYTES],
    "a byte less": lambda moment: moment.message[:-1],
    "a byte more": lambda moment: moment.message + b"\0",
    "a megabyte": lambda moment: moment.message + bytes(10**6),
    "another session": lambda moment: moment.message[:4] + bytes(16) + moment.message[20:],
    "another version": lambda moment: b"SA\2" + moment.message[3:],
    "nothing": lambda moment: b"",
    "zeros": lambda moment: bytes(10**6),
}


@pytest.mark.parametrize("name", UNREAD)
@looped("kind, of", EVERY)
def test_a_message_of_the_wrong_form_costs_nothing(name: str, kind: str, of: MessageType) -> None:
    """Whatever its length: no hash, no operation, no loop over the cohort, no memory."""
    moment = moments(kind)[of]
    cost = moment.cost(UNREAD[name](moment))
    assert cost.nothing(moment.params), cost


@looped("kind, of", EVERY)
def test_a_set_without_its_members_costs_nothing(kind: str, of: MessageType) -> None:
    """A few bytes name the whole cohort: nobody is listed before their bytes are there."""
    moment = moments(kind)[of]
    if of in (MessageType.ROSTER, MessageType.DELIVERY, MessageType.SIGNATURES, MessageType.UNMASK):
        cost = moment.cost(full_bitmap(moment))
        assert cost.nothing(moment.params), cost


@looped("kind, of", EVERY)
def test_a_message_of_another_type_costs_nothing(kind: str, of: MessageType) -> None:
    """Of every type byte that is not due: it is not hashed."""
    moment = moments(kind)[of]
    accepted = moment.receiver._memory.accepted
    for other in set(range(0x18)) - {of, *(kind for kind in accepted if accepted[kind])}:
        cost = moment.cost(moment.message[:3] + bytes([other]) + moment.message[4:])
        assert cost.nothing(moment.params), (other, cost)


@looped("kind, of", EVERY)
def test_nothing_is_computed_for_a_repetition(kind: str, of: MessageType) -> None:
    """A repetition, and other bytes in its place, are hashed, and no more; the longest, not even
    that.
    """
    moment = moments(kind)[of]
    honest = moment.message
    for again in (honest, honest[:-1] + bytes([honest[-1] ^ 1]), honest[:-1], honest[:20]):
        cost = moment.cost(again, honest)
        assert cost.calls <= Counter({"bytes hashed": len(again)}), cost
        assert replace(cost, calls=Counter()).nothing(moment.params), cost
    assert moment.cost(honest + bytes(10**6), honest).nothing(moment.params)


@looped("kind, of", EVERY)
def test_who_is_out_costs_nothing(kind: str, of: MessageType) -> None:
    """A dropped party that goes on sending, and a client that has ended the round."""
    moment = moments(kind)[of]
    receiver = clone(moment.receiver)
    if isinstance(receiver, Client):
        receiver.wipe()
    else:
        receiver._drop(secagg.Dropped(WHO, "by the test", Code.SIGNATURE))
    assert replace(moment, receiver=receiver).cost(moment.message).nothing(moment.params)


# -- what is read -----------------------------------------------------------------------------


def altered(place: int) -> Callable[[Moment], bytes]:
    """The honest message with another byte at this place."""

    def forge(moment: Moment) -> bytes:
        message = bytearray(moment.message)
        message[place] ^= 1
        return bytes(message)

    return forge


def junk(moment: Moment) -> bytes:
    """An honest bitmap, and only ones after it."""
    end = moment.bitmap_end()
    return moment.message[:end] + b"\xff" * (len(moment.message) - end)


def weak_key(moment: Moment) -> bytes:
    """Signed keys of which the second is of low order."""
    true = AdvertiseKeys.read(body(moment.message), moment.params)
    entry = PublicKeys(true.keys.channel, bytes(32))
    signed = signed_entry(moment.params, true.h0, WHO, entry)
    return AdvertiseKeys(true.h0, signed).encode(SESSION)


def out_of_range(moment: Moment) -> bytes:
    """A masked input with a true checksum or signature whose last element is p."""
    params, true = moment.params, MaskedInput.read(body(moment.message), moment.params)
    field = Field(params.field_bits)
    top = field.modulus << (params.vector_length - 1) * params.field_bits
    packed = top.to_bytes(len(true.packed), "little")
    return with_proof(params, true.h2, WHO, packed).encode(SESSION)


def last_entry(moment: Moment, mask_key: bytes | None) -> bytes:
    """A roster whose last entry has this mask key, or its channel key twice, and is signed so."""
    receiver = moment.receiver
    assert isinstance(receiver, Client)
    steps = receiver._steps
    true = Roster.read(body(moment.message), moment.params, steps._graph, WHO)
    last = max(true.keys)
    entry = PublicKeys(true.keys[last].channel, mask_key or true.keys[last].channel)
    keys = {**true.keys, last: signed_entry(moment.params, steps.h0, last, entry)}
    return Roster(true.members, keys, true.h1).encode(SESSION, moment.params.cohort)


def last_entry_weak(moment: Moment) -> bytes:
    """The last key that a client tests is of low order."""
    return last_entry(moment, bytes(32))


def last_entry_twice(moment: Moment) -> bytes:
    """The last entry has the same key twice."""
    return last_entry(moment, None)


def all_dealers(moment: Moment) -> bytes:
    """A share of everybody in the cohort."""
    return full_bitmap(moment) + bytes(shamir.SHARE_BYTES * moment.params.cohort)


def last_share_none(moment: Moment) -> bytes:
    """The same, with a last share that is not canonical."""
    return all_dealers(moment)[: -shamir.SHARE_BYTES] + b"\xff" * shamir.SHARE_BYTES


def bits(pattern: int) -> Callable[[Moment], bytes]:
    """A bitmap of this byte again and again, and nothing after it."""

    def forge(moment: Moment) -> bytes:
        size = moment.bitmap_end() - HEADER_BYTES
        return moment.message[:HEADER_BYTES] + bytes([pattern]) * size

    return forge


@dataclass(frozen=True)
class Row:
    """A hostile message, and how many times an honest one it may cost.

    Attributes:
        most: calls that it may make, by name; those of the honest message if not given.
    """

    of: MessageType
    name: str
    forge: Callable[[Moment], bytes]
    factor: float = 1.0
    most: Mapping[str, int] | None = None


T = MessageType
NO_CRYPTO: Mapping[str, int] = {}
ENTRIES = {"verify": N - 1, "bytes hashed": 200 * N}
PINS = {"bytes hashed": 33 * N}  # once for all parties: a fingerprint of the directory
ROWS = [
    Row(T.ADVERTISE_KEYS, "another h0", altered(HEADER_BYTES), most=PINS),
    Row(T.ADVERTISE_KEYS, "another key, signature", altered(-1)),
    Row(T.ADVERTISE_KEYS, "a weak key", weak_key),
    Row(T.SHARE_KEYS, "another h1", altered(HEADER_BYTES)),
    Row(T.MASKED_INPUT, "another h2", altered(HEADER_BYTES), most=NO_CRYPTO),
    Row(T.MASKED_INPUT, "a wrong proof", altered(-1)),
    Row(T.MASKED_INPUT, "an element out of range", out_of_range),
    Row(T.CONSISTENCY, "a wrong signature", altered(-1)),
    Row(T.UNMASK, "no shares", bits(0), most={"bytes hashed": HEADER_BYTES + N // 8}),
    Row(T.UNMASK, "shares that are none", junk, most=NO_CRYPTO),
    Row(T.UNMASK, "all dealers", all_dealers, 1.1, {"bytes hashed": 24 * N + 20}),
    Row(T.UNMASK, "all dealers, the last share is none", last_share_none, 1.1, NO_CRYPTO),
    Row(T.ROSTER, "a weak key in the last entry", last_entry_weak, most=ENTRIES),
    Row(T.ROSTER, "a key twice", last_entry_twice, most=NO_CRYPTO),
    Row(T.ROSTER, "only ones", junk, most=NO_CRYPTO),
    Row(T.DELIVERY, "nothing opens", junk, most={"unseal": N - 1}),
    Row(T.SURVIVORS, "nobody", bits(0), most=NO_CRYPTO),
    Row(T.SURVIVORS, "everybody", bits(0xFF)),
    Row(T.SURVIVORS, "every other party", bits(0x55), most=NO_CRYPTO),
    Row(T.SIGNATURES, "a wrong one at the end", altered(-1)),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.of.name.lower()}: {row.name}")
@looped("kind", KINDS)
def test_a_hostile_message_costs_no_more_than_an_honest_one(row: Row, kind: str) -> None:
    """Its operations, lines and memory, against those of the honest message in its place."""
    if row.of in moments(kind):
        moment = moments(kind)[row.of]
        cost, honest = moment.cost(row.forge(moment)), moment.cost(moment.message)
        if row.most is not None:
            honest = replace(honest, calls=Counter(row.most))
            assert cost.calls <= honest.calls, cost
        assert cost.within(row.factor, honest), (cost, honest)


def test_all_signers_cost_as_many_verifications_as_there_are() -> None:
    """Fewer than 1.5 times a threshold, as that is above two thirds of the cohort."""
    params = KINDS["malicious"]
    moment = moments("malicious")[MessageType.SIGNATURES]
    true = Signatures.read(body(moment.message), params).signatures
    assert len(true) == params.threshold
    digest = transcript.consistency_digest(moment.receiver._memory.h3)
    everybody = {party: sign_digest(identity_of(party), digest) for party in range(N)}
    cost = moment.cost(Signatures(everybody).encode(SESSION, N))
    assert cost.calls["verify"] == N
    assert cost.within(N / params.threshold, moment.cost(moment.message)), cost


@looped("kind", KINDS)
def test_a_masked_input_out_of_range_costs_the_same_each_time(kind: str) -> None:
    """It is malformed, so its sender may send it for ever: nothing adds up."""
    moment = moments(kind)[MessageType.MASKED_INPUT]
    message, twin = out_of_range(moment), clone(moment.receiver)
    before, calls = state_of(twin), Counter[str]()
    with counted_calls(calls):
        for _ in range(20):
            with refused(DecodeError, Code.MALFORMED):
                _hand(twin, message)
    assert state_of(twin) == before
    once = moment.cost(message).calls
    assert calls == Counter({name: 20 * count for name, count in once.items()})


@looped("kind", KINDS)
def test_who_comes_back_again_and_again_costs_one_message_each_time(kind: str) -> None:
    """Not a message for each party, of which its own is picked: that would be n times the work."""

    def lines(*calls: Callable[[], object]) -> int:
        count = Counter[str]()
        with counted_lines(count):
            for call in calls:
                call()
        return count.total()

    for of, moment in moments(kind).items():
        if isinstance(moment.receiver, Client):
            continue
        server = clone(moment.receiver)
        gone, back = partial(server.drop, WHO, "its line is dead"), partial(server.resend, WHO)
        one, everybody = lines(back), lines(server.resend)
        different = {sent.payload for sent in server.resend() if isinstance(sent, secagg.Send)}
        most = 40 + 3 * N + everybody / len(different)  # the set in a message is listed once
        assert one <= most, (of, one, everybody)
        assert lines(gone, back) <= one + 60


def test_the_pins_are_hashed_once_for_all_parties() -> None:
    """Every party can send another h0, and is told the fingerprint of the directory."""
    moment = moments("malicious")[MessageType.ADVERTISE_KEYS]
    server, calls = clone(moment.receiver), Counter[str]()
    assert isinstance(server, Server)
    for party in range(3):
        calls.clear()
        with counted_calls(calls):
            (dropped,) = server.receive(party, altered(HEADER_BYTES)(moment))
        assert dropped.code is Code.CONTEXT
    assert not calls


def test_pieces_of_a_sparse_graph_are_not_looked_at_one_by_one() -> None:
    """However many pieces a survivor set leaves."""
    graph = Harary(4096, 4, Suite.AES256CTR.generator, bytes(32))
    for pattern in (0, 0x01, 0x11, 0x55, 0xFF):
        members = PartySet(bytes([pattern]) * 512)
        assert cost_of(lambda members=members: graph.connected(members)).lines < 20


@pytest.mark.parametrize("forge", [all_dealers, last_share_none])
def test_shares_of_strangers_are_not_unpacked(
    forge: Callable[[Moment], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a sparse graph a well-formed message may have far more shares than its sender has."""
    moment = moments("sparse")[MessageType.UNMASK]
    server = clone(moment.receiver)
    assert isinstance(server, Server)
    unpacked: list[int] = []
    true = messages.unpack_shares

    def unpack(data: bytes) -> shamir.Shares:
        unpacked.append(len(data))
        return true(data)

    monkeypatch.setattr(messages, "unpack_shares", unpack)
    (dropped,) = server.receive(WHO, forge(moment))
    assert dropped.code is Code.FOREIGN_SHARE
    assert unpacked == []


# -- offers and sizes -------------------------------------------------------------------------


def offer(
    cohort: int = 65536,
    degree: int = 0,
    threshold: int = 0,
    quorum: int = 0,
    colluders: int = 0,
    length: int = 2**32,
    mode: int = 0,
    form: bytes = FixedPoint(1.0).encode(),
) -> bytes:
    """An offer with any numbers."""
    counts = (cohort, threshold or cohort, quorum or cohort, colluders)
    mode = 2 if degree else mode
    return b"".join(
        (
            wire.header(MessageType.OFFER, SESSION) + CONTEXT + wire.u8(1) + wire.u8(mode),
            *map(wire.u32, counts),
            wire.u32(degree) if degree else b"",
            wire.u64(length) + form,
        )
    )


HOSTILE_OFFERS = [
    *(
        offer(degree=degree, threshold=min(degree, 2**16), colluders=colluders)
        for degree in (2, 200, 5000, 16384, 32768, 50000, 60000, 65534, 2**32 - 2)
        for colluders in (0, 1, 1000, 10000, 32768, 50000, 65534, 2**32 - 1)
    ),
    *(offer(mode=mode, length=length) for mode in range(4) for length in (0, 1, 2**63)),
    *(offer(cohort=cohort) for cohort in (0, 1, 2, 2**16 + 1, 2**32 - 1)),
    *(
        offer(form=wire.u8(1) + wire.f64(clip) + wire.u8(bits) + wire.u32(weight))
        for clip in (0.0, 5e-324, 2.0**900, float("inf"), float("nan"), -1.0)
        for bits in (0, 1, 32, 255)
        for weight in (0, 1, 2**32 - 1)
    ),
    *(
        offer(form=wire.u8(2) + wire.i64(low) + wire.i64(high))
        for low, high in ((-(2**63), 2**63 - 1), (0, 0), (1, 0), (-1, 2**45), (2**62, 2**63 - 1))
    ),
    offer() + bytes(10**6),
    offer()[:-1],
    offer(form=b"\3" + bytes(20)),
]


def test_no_offer_costs_much_more_than_an_ordinary_one() -> None:
    """The lines that run, and memory, over those of a common sparse graph."""
    common = Params.for_cohort(1000, 10**6, FixedPoint(1.0), corrupt=0.05, dropout=0.05)
    ordinary = cost_of(lambda: Round.decode(common.round().encode()))
    for message in HOSTILE_OFFERS:
        cost = cost_of(lambda message=message: Round.decode(message))
        assert not cost.calls
        assert cost.lines <= 6 * ordinary.lines, (message.hex()[:300], cost, ordinary)
        assert cost.memory <= 2**14, (message.hex()[:300], cost)


def test_a_great_length_costs_a_client_nothing_before_its_input() -> None:
    """An offer of 2^32 coordinates, up to the request for an input, which has as many as it has."""
    params = Params(4, 2**32, FixedPoint(1.0))

    def play() -> None:
        agreed = params.round(CONTEXT, SESSION)
        clients = {party: client_of(agreed, party) for party in range(4)}
        advertised = {party: body(client.start()) for party, client in clients.items()}
        keys = {p: AdvertiseKeys.read(one, params).keys for p, one in advertised.items()}
        roster = Roster(PartySet.of(keys, 4), keys).encode(SESSION, 4)
        (sent,) = clients[0].receive(roster)
        assert isinstance(sent, secagg.Send)
        with refused(secagg.RangeError, Code.SHAPE):
            clients[0]._steps._codec.encode(np.zeros(10), 1, seeded(0))

    assert cost_of(play).memory < 2**17


def test_a_great_cohort_in_a_few_bytes_costs_nothing() -> None:
    """Two to the sixteen parties are named in 8 kB: they are counted, not listed."""
    params, graph = Params(2**16, 1, FORMAT, mode=Mode.MALICIOUS), Complete()
    message = b"\xff" * 2**13
    for read in (
        lambda reader: Roster.read(reader, params, graph, WHO),
        lambda reader: Delivery.read(reader, params, graph, WHO),
        lambda reader: Signatures.read(reader, params),
        lambda reader: Unmask.read(reader, params),
    ):
        cost = cost_of(lambda read=read: read(wire.Reader(message, 0)))
        assert cost.lines <= REFUSED_LINES
        assert cost.memory <= 8 * len(message)


@looped("kind", KINDS)
def test_the_largest_message_is_exact(kind: str) -> None:
    """With everybody in every set the longest message has as many bytes as the machines say."""
    longest = {Client: 0, Server: 0}
    for of, moment in moments(kind).items():
        size = len(all_dealers(moment) if of is MessageType.UNMASK else moment.message)
        receiver = moment.receiver
        assert size <= receiver.largest_message
        longest[type(receiver)] = max(longest[type(receiver)], size)
    for moment in moments(kind).values():
        assert moment.receiver.largest_message == longest[type(moment.receiver)]


def test_the_sizes_in_the_document() -> None:
    """Those of the table in docs/SECURITY.md."""
    rows = re.findall(
        r"^\| 0x(..) [^|]*\|[^|]*\|[^|]*\| ([\d,]+) \| ([\d,]+) \|", DOCUMENT.read_text(), re.M
    )
    found = {
        int(kind, 16): tuple(int(size.replace(",", "")) for size in sizes) for kind, *sizes in rows
    }
    assert found == {int(of): (_size(of, 100), _size(of, 1000)) for of in MessageType}


def _size(of: MessageType, n: int) -> int:
    """Returns the bytes of a message when everybody is there and t sign."""
    params = Params(n, 10**6, FixedPoint(1.0, bits=20), mode=Mode.MALICIOUS)
    t, everybody, share = params.threshold, range(n), bytes(SEALED_BYTES)
    packed = bytes(Field(params.field_bits).packed_bytes(params.vector_length))
    entry, members = PublicKeys(bytes(32), bytes(32), bytes(64)), PartySet.of(everybody, n)
    message = {
        MessageType.OFFER: params.round().encode(),
        MessageType.ADVERTISE_KEYS: AdvertiseKeys(bytes(32), entry).encode(SESSION),
        MessageType.ROSTER: Roster(members, dict.fromkeys(everybody, entry)).encode(SESSION, n),
        MessageType.SHARE_KEYS: ShareKeys(
            bytes(32), bytes(32), dict.fromkeys(range(1, n), share)
        ).encode(SESSION),
        MessageType.DELIVERY: Delivery(members, dict.fromkeys(range(1, n), share)).encode(
            SESSION, n
        ),
        MessageType.MASKED_INPUT: MaskedInput(bytes(32), packed, bytes(64)).encode(SESSION),
        MessageType.SURVIVORS: Survivors(members).encode(SESSION, n),
        MessageType.CONSISTENCY: Consistency(bytes(64)).encode(SESSION),
        MessageType.SIGNATURES: Signatures(dict.fromkeys(range(t), bytes(64))).encode(SESSION, n),
        MessageType.UNMASK: Unmask(members, np.zeros((n, 3), np.uint64)).encode(SESSION, n),
    }
    return len(message[of])
