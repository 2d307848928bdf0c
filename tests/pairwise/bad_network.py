"""Random schedules of lying clients and a bad network around an honest server, and their judge.

Every party is a real client; what a liar says is changed on its way out, and the network loses,
repeats, delays, reorders and damages what it likes. The judge keeps its own books: which bytes the
server took of whom, which shares in them are true, and what sum the masked inputs in them make.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from harness import (
    CONTEXT,
    SESSION,
    identity_of,
    input_of,
    seeded,
    server_of,
    state_of,
    tight,
)
from hypothesis import strategies as st
from pairwise.attacks import LOW_ORDER, body
from pairwise.judge import SUBMIT, Seat, after, correctable, dealing, h0_of
from pairwise.malicious import signed
from pairwise.schedules import EARLIER, among, legal, upto
from reference.graph import pieces

import secagg
from secagg import SERVER, Mode, Params, Phase
from secagg.events import Job
from secagg.field import Field
from secagg.graph import graph_of
from secagg.pairwise import keys
from secagg.pairwise.messages import (
    AdvertiseKeys,
    Consistency,
    Delivery,
    MaskedInput,
    Roster,
    ShareKeys,
    Survivors,
    Unmask,
)
from secagg.pairwise.transitions import PHASES
from secagg.primitives import shamir
from secagg.wire import MessageType, header

P61 = 2**61 - 1
UP = (MessageType.ADVERTISE_KEYS, MessageType.SHARE_KEYS, MessageType.MASKED_INPUT,
      MessageType.CONSISTENCY, MessageType.UNMASK)  # fmt: skip
DOWN = (MessageType.ROSTER, MessageType.DELIVERY, MessageType.SURVIVORS, MessageType.SIGNATURES)


def cases() -> list[Params]:
    """Both modes: every threshold, and quorums at it and at the whole cohort."""
    found = [one for one in legal((2, 3, 4, 5)) if one.colluders == 0]
    found += [one for one in legal((6, 7)) if one.colluders == 0 and one.quorum < one.cohort]
    for n in range(2, 8):
        for t in range(n // 2 + 1, n + 1):
            for least in sorted({t, (t + n) // 2}):
                try:
                    found.append(tight(n, threshold=t, min_survivors=least, colluders=0))
                except secagg.ParameterError:
                    continue
    return [tight(4, threshold=3), *(one for one in found for _ in range(1 + (one.cohort < 6)))]


def sparse_cases() -> list[Params]:
    """Sparse graphs of five to eight parties, each degree and threshold; degree - 1 may vanish."""
    return [
        tight(n, threshold=t, min_survivors=n - k + 1, colluders=0, degree=k)
        for n in range(5, 9)
        for k in range(2, n - 1, 2)
        for t in range(2, k + 1)
    ]


CASES = cases()
SPARSE_CASES = tuple(sparse_cases())


@dataclass(frozen=True)
class Mishap:
    """A lie of one party about its message of one step, or something that the network does."""

    kind: str
    party: int = 0
    step: int = 0
    a: int = 0


@dataclass(frozen=True)
class Weather:
    """A schedule.

    Attributes:
        liars: parties whose lies count.
        order: which of the waiting messages is carried next, again and again.
        deadlines: (after so many messages, phase).
    """

    params: Params
    liars: frozenset[int] = frozenset()
    mishaps: tuple[Mishap, ...] = ()
    order: tuple[int, ...] = ()
    deadlines: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Flight:
    """A message on its way; whether it is what its sender honestly said, for the first time."""

    sender: int
    receiver: int
    payload: bytes
    true: bool = True
    lie: str = ""


Lie = Callable[["BadNetwork", int, bytes, int], bytes]
LIES: dict[int, dict[str, Lie]] = {step: {} for step in range(5)}


def lie(step: int) -> Callable[[Lie], Lie]:
    """Registers what a liar says instead of its true message of a step."""

    def register(function: Lie) -> Lie:
        LIES[step][function.__name__.replace("_", " ")] = function
        return function

    return register


@lie(0)
def other_h0(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Another transcript."""
    read = AdvertiseKeys.read(body(true), net.params)
    return AdvertiseKeys(bytes(32), read.keys).encode(SESSION)


def _advertised(net: "BadNetwork", party: int, true: bytes, **changed: bytes) -> bytes:
    """Other keys, truly signed."""
    read = AdvertiseKeys.read(body(true), net.params)
    entry = replace(read.keys, **changed)
    if net.params.mode is Mode.MALICIOUS and "signature" not in changed:
        digest = keys.entry_digest(read.h0, party, entry)
        entry = replace(entry, signature=identity_of(party).sign(digest))
    return AdvertiseKeys(read.h0, entry).encode(SESSION)


@lie(0)
def weak_key(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """A mask key, or a channel key, of low order."""
    weak = list(LOW_ORDER.values())[a // 2 % len(LOW_ORDER)]
    return _advertised(net, party, true, **{("mask", "channel")[a % 2]: weak})


@lie(0)
def key_twice(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """The same key in both roles, or somebody else's."""
    other = (party + a // 2) % net.params.cohort
    stolen = AdvertiseKeys.read(body(net.first[other]), net.params).keys
    if other != party:
        net.copied.setdefault(other, set()).add(party)
    return _advertised(net, party, true, mask=(stolen.channel, stolen.mask)[a % 2])


@lie(0)
def unsigned_keys(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """In malicious mode: no signature, or another's."""
    size = len(AdvertiseKeys.read(body(true), net.params).keys.signature)
    return _advertised(net, party, true, signature=bytes([a]) * size)


def _shared(net: "BadNetwork", party: int, true: bytes) -> ShareKeys:
    return ShareKeys.read(body(true), net.graph.neighbours(party, net.u1))


@lie(1)
def other_h1(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Another roster."""
    return replace(_shared(net, party, true), believed=bytes(32)).encode(SESSION)


@lie(1)
def other_commitment(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """A commitment to another self seed."""
    return replace(_shared(net, party, true), commitment=bytes(32)).encode(SESSION)


@lie(1)
def junk_ciphertexts(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """One, or two, that do not open."""
    read = _shared(net, party, true)
    places = net.graph.neighbours(party, net.u1)
    some = {places[place % len(places)] for place in (a, a + a % 2)}
    sealed = {one: bytes(62) if one in some else read.sealed[one] for one in places}
    return replace(read, sealed=sealed).encode(SESSION)


@lie(2)
def other_h2(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Other sets; the proof fits."""
    read = MaskedInput.read(body(true), net.params)
    lied = MaskedInput.read(body(net.input_by(party, read.h2, net.shifted(read.packed, a))),
                            net.params)  # fmt: skip
    if a % 2:  # the proof is for the true sets
        return replace(lied, h2=bytes(32)).encode(SESSION)
    return net.input_by(party, bytes(32), read.packed)


@lie(2)
def other_input(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Another input than the one it masked: its own affair, and consistent."""
    read = MaskedInput.read(body(true), net.params)
    message = net.input_by(party, read.h2, net.shifted(read.packed, 1 + 97 * a))
    net.proved.add((party, message))
    return message


@lie(2)
def unproved_input(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Another input under the proof of the first, or none, or as another party."""
    read = MaskedInput.read(body(true), net.params)
    if a % 3 == 0:
        return replace(read, packed=net.shifted(read.packed, 5)).encode(SESSION)
    if a % 3 == 1:
        return replace(read, proof=bytes(len(read.proof))).encode(SESSION)
    others = [one for one in net.said if one[1] == UP[2] and one[0] != party]
    return net.said[others[a % len(others)]] if others else true


@lie(2)
def outside_the_field(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Elements that are no field elements, or padding that is not zero."""
    read = MaskedInput.read(body(true), net.params)
    return net.input_by(party, read.h2, b"\xff" * len(read.packed))


@lie(3)
def other_signature(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Zeros, on another set, or another's."""
    wrong = (bytes(64), signed(identity_of(party), bytes(32)),
             signed(identity_of(party + 1), h0_of(net.seats[party].round)))[a % 3]  # fmt: skip
    return Consistency(wrong).encode(SESSION)


@lie(4)
def junk_shares(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Wrong shares of one dealer, or of all; of several liars on no common polynomial."""
    read = Unmask.read(body(true), net.params)
    shares = read.shares.copy()
    rows = range(len(shares)) if a % 2 else [a // 2 % len(shares)]
    junk = int.from_bytes(seeded(("junk", party, a))(6), "little") << (a % 3 * 4)
    for row in rows:
        shares[row] = (shares[row] + np.uint64(junk)) % np.uint64(P61)
    return Unmask(read.dealers, shares).encode(SESSION, net.params.cohort)


@lie(4)
def fewer_shares(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Without some dealers."""
    read = Unmask.read(body(true), net.params)
    keep = [row for row in range(len(read.dealers)) if row != a and row != a // 2]
    dealers = tuple(list(read.dealers)[row] for row in keep)
    return Unmask(dealers, read.shares[keep]).encode(SESSION, net.params.cohort)


@lie(4)
def shares_of_others(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """Shares of dealers that did not share, or each dealer's under another's name."""
    read = Unmask.read(body(true), net.params)
    n = net.params.cohort
    if a % 2 == 0 and len(read.dealers) < n:
        rows = np.resize(read.shares, (n, 3))
        return Unmask(tuple(range(n)), rows).encode(SESSION, n)
    return Unmask(read.dealers, np.roll(read.shares, 1, axis=0)).encode(SESSION, n)


@lie(4)
def no_shares(net: "BadNetwork", party: int, true: bytes, a: int) -> bytes:
    """A share of elements outside of the field."""
    return true[: -shamir.SHARE_BYTES] + b"\xff" * 22 + b"\x7f"


ALWAYS: dict[str, Lie] = {
    "of another session": lambda net, party, true, a: true[:4] + EARLIER + true[20:],
    "of another version": lambda net, party, true, a: true[:2] + bytes([99]) + true[3:],
    "of another type": lambda net, party, true, a: true[:3] + bytes([UP[a % 5]]) + true[4:],
    "too long": lambda net, party, true, a: true + bytes(1 + a),
    "empty": lambda net, party, true, a: true[: 20 * (a % 2)],
}
WEATHER = ("lost", "twice", "delayed", "late", "bit flipped", "cut", "answer lost",
           "answer twice", "answer bit flipped")  # fmt: skip
MEANS = ("second message", "better message", "again", "silent")
STRAY = ("another round",)


class BadNetwork:
    """Plays a schedule, and keeps the books that the judge reads."""

    def __init__(self, weather: Weather) -> None:
        self.weather, self.params = weather, weather.params
        agreed = self.params.round(CONTEXT, SESSION)
        self.server = server_of(agreed)
        self.used: Counter[str] = Counter()
        self.effect: Counter[str] = Counter()  # that came through and were taken
        self.seats = {party: Seat(agreed, party) for party in range(self.params.cohort)}
        for party in sorted(weather.liars):
            if any(one.kind == "another round" for one in self._mishaps(party, 0, STRAY)):
                other = replace(agreed, context=bytes(32))
                self.seats[party] = Seat(other, party)
        self.histories: dict[int, tuple[bytes, ...]] = dict.fromkeys(self.seats, ())
        self.first = {party: after(seat, ()).sent[0] for party, seat in self.seats.items()}
        self.said: dict[tuple[int, int], bytes] = {}  # true messages, by party and type
        self.queue: list[Flight] = []
        self.held_back: list[Flight] = []
        self.taken: dict[int, dict[int, bytes]] = {kind: {} for kind in UP}
        self.dropped: dict[int, str] = {}
        self.harmed: set[int] = set()  # honest ones that the network did not serve
        self.copied: dict[int, set[int]] = {}
        self.proved: set[tuple[int, bytes]] = set()  # inputs that liars gave as their own
        self.h = {UP[0]: h0_of(agreed)}  # the transcript that each message must name
        self.graph = graph_of(self.params, h0_of(agreed))
        self.believed: dict[int, bytes] = {}  # on a sparse graph, instead of h1
        self.u1: tuple[int, ...] = ()
        self.u2: tuple[int, ...] = ()
        self.u3: tuple[int, ...] = ()
        self.result: secagg.Result | None = None
        self.failure: secagg.Failed | None = None
        self.failed_in: Phase | None = None
        self.complaints: list[str] = []

    # -- what a liar needs

    def input_by(self, party: int, h2: bytes, packed: bytes) -> bytes:
        """A masked input with a proof that fits."""
        if self.params.mode is Mode.MALICIOUS:
            proof = identity_of(party).sign(keys.input_digest(h2, party, packed))
        else:
            proof = keys.checksum(h2, party, packed)
        return MaskedInput(h2, packed, proof).encode(SESSION)

    def elements(self, packed: bytes) -> np.ndarray:
        """Packed elements."""
        return Field(self.params.field_bits).unpack(packed, self.params.vector_length)

    def shifted(self, packed: bytes, by: int) -> bytes:
        """Packed elements, each moved."""
        space = Field(self.params.field_bits)
        moved = [(int(x) + by) % space.modulus for x in self.elements(packed)]
        return space.pack(space.vector(moved))

    # -- the network

    def play(self) -> "BadNetwork":
        """The whole schedule."""
        self._said(self.server.start())
        for party, message in self.first.items():
            self._up(party, message)
        tick = 0
        while True:
            while self.queue:
                for at, phase in self.weather.deadlines:
                    if at == tick:
                        self._deadline(list(Phase)[phase])
                order = self.weather.order
                place = order[tick % len(order)] % len(self.queue) if order and self.queue else 0
                tick += 1
                if self.queue:
                    self._carry(self.queue.pop(place))
            if self.server.state not in PHASES:
                break
            self._deadline(PHASES[self.server.state])
        for flight in self.held_back:
            self._carry(flight)
        return self

    def _mishaps(self, party: int, step: int, kinds: Iterable[str]) -> list[Mishap]:
        return [
            one
            for one in self.weather.mishaps
            if one.party % self.params.cohort == party and one.step == step and one.kind in kinds
        ]

    def _harm(self, party: int) -> None:
        self.harmed.add(party)

    def _up(self, party: int, message: bytes) -> None:
        """A client's true message: what becomes of it."""
        kind = message[3]
        step = UP.index(MessageType(kind))
        repeated = self.said.setdefault((party, kind), message) != message or (
            kind in self.taken and party in self.taken[kind]
        )
        flights = [Flight(party, SERVER, message, not repeated)]
        if step == 0 and self.seats[party].round.context != CONTEXT:
            self.used["another round"] += 1
            flights = [Flight(party, SERVER, message, False, "another round")]
        if party in self.weather.liars:
            for one in self._mishaps(party, step, (*LIES[step], *ALWAYS, *MEANS)):
                self.used[one.kind] += 1
                if one.kind == "silent":
                    self.effect[one.kind] += 1
                    return
                if one.kind == "again":
                    older = [self.said[at] for at in self.said if at[0] == party]
                    older = older[one.a % len(older) :][:1]
                    flights += [Flight(party, SERVER, old, False, one.kind) for old in older]
                elif one.kind in MEANS:  # another one, before or after the true one
                    lies = list(LIES[step].values())
                    lied = lies[one.a % len(lies)](self, party, message, one.a)
                    place = len(flights) if one.kind == "second message" else 0
                    flights.insert(place, Flight(party, SERVER, lied, False, one.kind))
                elif one.kind in LIES[step] or one.kind in ALWAYS:
                    make = LIES[step].get(one.kind) or ALWAYS[one.kind]
                    lied = make(self, party, message, one.a)
                    flights[0] = Flight(party, SERVER, lied, False, one.kind)
        for flight in flights:
            self._launch(flight, self._mishaps(party, step, WEATHER[:6]), 0)

    def _down(self, party: int, message: bytes) -> None:
        if message[3] not in DOWN:  # the offer
            return
        step = DOWN.index(MessageType(message[3]))
        self._launch(Flight(SERVER, party, message), self._mishaps(party, step, WEATHER[6:]), 7)

    def _launch(self, flight: Flight, mishaps: list[Mishap], skip: int) -> None:
        party = flight.receiver if flight.sender == SERVER else flight.sender
        for one in mishaps:
            self.used[one.kind] += 1
            what = one.kind[skip:] if skip else one.kind
            if what == "twice":
                self.queue.append(replace(flight, true=False))
                self.effect[one.kind] += 1
                continue
            if what == "delayed":
                self.effect[one.kind] += 1
                self.held_back.append(flight)
                return
            self._harm(party)
            self.effect[one.kind] += 1
            if what == "lost":
                return
            if what == "late":
                self.held_back.append(replace(flight, true=False))
                return
            data = bytearray(flight.payload)
            if what == "cut" or not data:
                del data[len(data) - 1 - one.a :]
            else:
                data[(one.a * 37 + 20 * (one.a < 6)) % len(data)] ^= 1 << one.a % 8
            flight = replace(flight, payload=bytes(data), true=False)
        self.queue.append(flight)

    def _carry(self, flight: Flight) -> None:
        if flight.receiver == SERVER:
            self._to_server(flight)
        else:
            self._to_client(flight)
        waiting = [one for one in self.held_back if one.true]
        if waiting and not self.queue:  # the delayed ones, when all else is there
            self.held_back = [one for one in self.held_back if not one.true]
            self.queue += waiting

    def _to_client(self, flight: Flight) -> None:
        party = flight.receiver
        if after(self.seats[party], self.histories[party]).aborted:
            return
        now = after(self.seats[party], (*self.histories[party], flight.payload))
        if now.refused:
            if flight.true and self._served(party):
                self.complaints.append(f"honest party {party} refused a true message")
            return
        self.histories[party] += (flight.payload,)
        if now.aborted and self._served(party) and not self._excused(flight):
            self.complaints.append(f"honest party {party} aborted: {now.aborted}")
        sent = now.sent
        if now.asked:
            now = after(self.seats[party], (*self.histories[party], SUBMIT))
            self.histories[party] += (SUBMIT,)
            sent = now.sent
        for message in sent:
            self._up(party, message)

    def _served(self, party: int) -> bool:
        return party not in self.weather.liars and party not in self.harmed

    def _excused(self, flight: Flight) -> bool:
        """Whether too few holders are left to a client, on a sparse graph, or too few of the
        ciphertexts in a delivery are those that were dealt.
        """
        told = {MessageType.ROSTER: self.u1, MessageType.DELIVERY: self.u2}
        members = told.get(MessageType(flight.payload[3]), self.seats)
        if len(self.graph.holders(flight.receiver, members)) < self.params.threshold:
            return True
        if flight.payload[3] != MessageType.DELIVERY:
            return False
        read = Delivery.read(body(flight.payload), self.params, self.graph, flight.receiver)
        true = 0
        for sender, sealed in read.sealed.items():
            message = self.said.get((sender, UP[1]))
            if message:
                true += _shared(self, sender, message).sealed.get(flight.receiver) == sealed
        return true < self.params.threshold - 1

    def _to_server(self, flight: Flight) -> None:
        party, kind = flight.sender, flight.payload[3:4]
        phase = PHASES.get(self.server.state)
        awaited = phase is not None and kind == bytes([UP[list(Phase).index(phase)]])
        before = None if flight.true and awaited else state_of(self.server)
        try:
            events = self.server.receive(party, flight.payload)
        except secagg.RemoteProtocolError as error:
            if error.party != party:
                self.complaints.append(f"party {error.party} is blamed for party {party}")
            if before is not None and state_of(self.server) != before:
                self.complaints.append("a refused message changed the server")
            if flight.true and self._served(party):
                self.complaints.append(f"honest party {party} is refused: {error.reason}")
            return
        gone = {one.party for one in events if isinstance(one, secagg.Dropped)}
        if gone - {party}:
            self.complaints.append(f"{gone} dropped for a message of party {party}")
        if party not in gone:
            self.taken[UP[UP.index(MessageType(kind[0]))]][party] = flight.payload
            self.effect[flight.lie] += bool(flight.lie)
        elif (
            self.copied.get(party, set()) & self.taken[UP[0]].keys()
        ):  # who was faster with its key
            self._harm(party)
        elif self._served(party):
            self.complaints.append(f"honest party {party} is dropped")
        self._said(events, phase)

    def _deadline(self, phase: Phase) -> None:
        now = PHASES.get(self.server.state)
        waiting = {one.sender for one in self.queue} | {one.receiver for one in self.queue}
        waiting |= {one.sender for one in self.held_back}
        before = set(self.dropped)
        events = self.server.deadline(phase)
        if phase is not now and events:
            self.complaints.append("a deadline of another phase had an effect")
        self.used["deadline"] += 1
        self.effect["deadline"] += bool(events)
        for event in events:
            if isinstance(event, secagg.Dropped) and event.party not in before:
                late = event.party in waiting
                if self._served(event.party) and not late and event.party not in self.aborted():
                    self.complaints.append(f"honest party {event.party} is dropped as silent")
                self._harm(event.party)
        if now is Phase.UNMASK and phase is now:
            self.harmed |= waiting - {SERVER}
        self._said(events, now)

    def aborted(self) -> set[int]:
        """Whose client gave up."""
        return {
            party
            for party, history in self.histories.items()
            if after(self.seats[party], history).aborted
        }

    def _said(self, events: Iterable[object], phase: Phase | None = None) -> None:
        for event in events:
            if isinstance(event, secagg.Send):
                message = event.payload
                if message[3] == MessageType.ROSTER:
                    read = Roster.read(body(message), self.params, self.graph, event.to)
                    self.u1, n = tuple(read.members), self.params.cohort
                    self.h[UP[1]] = read.h1 or keys.h1(self.h[UP[0]], read.keys, n)
                    if read.h1:
                        self.believed[event.to] = keys.believed(read.h1, read.keys, n)
                elif message[3] == MessageType.DELIVERY:
                    read = Delivery.read(body(message), self.params, self.graph, event.to)
                    self.u2 = tuple(read.members)
                    self.h[UP[2]] = keys.h2(self.h[UP[1]], self.u2, self.params.cohort)
                elif message[3] == MessageType.SURVIVORS:
                    self.u3 = tuple(Survivors.read(body(message), self.params).members)
                self._down(event.to, message)
            elif isinstance(event, secagg.Dropped):
                self.dropped.setdefault(event.party, event.reason)
            elif isinstance(event, secagg.Completed):
                self.result = event.result
            elif isinstance(event, secagg.Failed):
                self.failure, self.failed_in = event, phase
            elif isinstance(event, secagg.Work):
                self._work(event.job, phase)

    def _work(self, job: Job, phase: Phase | None) -> None:
        kinds = {one.kind for one in self.weather.mishaps}
        value = job.run()
        if "wrong work" in kinds:
            self.used["wrong work"] += 1
            try:
                self.server.complete(job, b"")
            except secagg.RangeError:
                self.effect["wrong work"] += 1
        self._said(self.server.complete(job, value), phase)
        if "work twice" in kinds:
            self.used["work twice"] += 1
            self._said(self.server.complete(job, value), phase)

    # -- the judge

    def _shares(self) -> dict[int, tuple[int, set[int]]]:
        """By dealer: how many shares of its seed the server took, and whose of them are wrong."""
        books: dict[int, tuple[int, set[int]]] = {}
        answers = {
            holder: Unmask.read(body(message), self.params)
            for holder, message in self.taken[UP[4]].items()
        }
        for dealer in self.u2:
            true = dealing(self.seats[dealer], self.graph.holders(dealer, self.u1))
            count, wrong = 0, set()
            for holder, answer in answers.items():
                if dealer in answer.dealers:
                    row = list(answer.dealers).index(dealer)
                    share = shamir.pack_shares(answer.shares[row : row + 1])
                    count += 1
                    if true.get(share) != (dealer in self.u3, holder):
                        wrong.add(holder)
            books[dealer] = (count, wrong)
        return books

    def _carried(self) -> list[int]:
        """The sum of what the survivors' accepted messages carry, as field elements."""
        modulus = Field(self.params.field_bits).modulus
        total = np.zeros(self.params.vector_length, object)
        for party in self.u3:
            true = MaskedInput.read(body(self.said[party, UP[2]]), self.params).packed
            sent = MaskedInput.read(body(self.taken[UP[2]][party]), self.params).packed
            low: int = self.params.format.low  # type: ignore[union-attr]
            own = np.array([int(x) - low for x in inputs_of(party, self.params.length)], object)
            moved = self.elements(sent).astype(object) - self.elements(true).astype(object)
            total = total + own + moved
        return [int(x) % modulus for x in total]

    def _unmaskable(self) -> bool:
        """Whether the shares that were taken must do."""
        t = self.params.threshold
        for dealer, (count, wrong) in self._shares().items():
            if count < t or len(wrong) > correctable(count, t):
                return False
            if dealer in self.u3:
                true = _shared(self, dealer, self.said[dealer, UP[1]]).commitment
                if _shared(self, dealer, self.taken[UP[1]][dealer]).commitment != true:
                    return False
        return True

    def verdict(self) -> list[str]:
        """Everything that is not as promised."""
        found = [*self.complaints, *self._judge_form()]
        if (self.result is None) == (self.failure is None):
            found.append("neither a sum nor a failure, or both")
        elif self.result is not None:
            found += self._judge_sum(self.result)
        else:
            found += self._judge_failure()
        return found

    def _judge_form(self) -> list[str]:
        """What the server took is of this round and well formed, and inputs are their sender's."""
        found = []
        for kind, messages in self.taken.items():
            for party, message in messages.items():
                true = self.said.get((party, kind))
                named = self.believed.get(party) if kind == UP[1] else None
                if kind in self.h and message[20:52] != (named or self.h[kind]):
                    found.append(f"took another transcript of party {party}")
                if message == true:
                    continue
                sound = message[:20] == header(kind, SESSION)
                if kind == MessageType.UNMASK:
                    read = Unmask.read(body(message), self.params)
                    sound &= read.encode(SESSION, self.params.cohort) == message
                elif true is not None:
                    sound &= len(message) == len(true)
                if not sound:
                    found.append(f"took a malformed message of party {party}")
                if kind == MessageType.MASKED_INPUT and (party, message) not in self.proved:
                    found.append(f"took an input that party {party} did not prove")
        return found

    def _judge_sum(self, result: secagg.Result) -> list[str]:
        found = []
        low: int = self.params.format.low  # type: ignore[union-attr]
        if result.survivors != self.u3 or not set(self.u3) <= self.taken[UP[2]].keys():
            return ["the survivors are not those whose input was taken"]
        if [int(x) - low * len(self.u3) for x in result.total] != self._carried():
            found.append("a wrong sum")
        if len(result.survivors) < self.params.quorum:
            found.append("a sum below the quorum")
        missing = [p for p in self.seats if self._served(p) and p not in result.survivors]
        missing = [p for p in missing if p not in self.copied and p not in self.aborted()]
        if missing:
            found.append(f"honest parties {missing} left out")
        books, t = self._shares(), self.params.threshold
        if all(len(wrong) <= correctable(count, t) for count, wrong in books.values()):
            pairs = sorted((dealer, one) for dealer, (_, wrong) in books.items() for one in wrong)
            if list(result.disputes) != pairs:
                found.append(f"disputes {result.disputes} instead of {pairs}")
        return found

    def _judge_failure(self) -> list[str]:
        assert self.failure is not None
        phase = self.failed_in
        if phase is None:
            return ["failed before it began"]
        kind = UP[list(Phase).index(phase)]
        present = self.taken[kind].keys() - self.dropped.keys()
        late = phase in (Phase.CONSISTENCY, Phase.UNMASK)
        if len(present) < (self.params.threshold if late else self.params.quorum):
            return []
        if phase is Phase.MASKED_INPUT and self._hopeless(present):
            return []
        if phase is not Phase.UNMASK:
            return [f"failed with enough messages: {self.failure.reason}"]
        if self._unheld(present):
            return []
        if not self._unmaskable():
            return self._judge_disputes(self.failure.disputes)
        high: int = self.params.format.high - self.params.format.low  # type: ignore[union-attr]
        if max(self._carried()) > high * len(self.u3):
            return []
        return [f"failed though it could unmask: {self.failure.reason}"]

    def _unheld(self, left: Collection[int]) -> bool:
        """Whether too few holders are left of somebody's seeds; on a sparse graph only."""
        return any(len(self.graph.holders(p, left)) < self.params.threshold for p in self.u2)

    def _hopeless(self, u3: Collection[int]) -> bool:
        """Whether the graph leaves no way from U3 to a sum."""
        near = {one: self.graph.neighbours(one, u3) for one in self.seats}
        return self._unheld(u3) or len(pieces(u3, near)) > 1

    def _judge_disputes(self, disputes: tuple[tuple[int, int], ...]) -> list[str]:
        """Somebody in the disputes is no honest, undisturbed party."""
        odd = self.weather.liars | self.harmed
        if any({dealer, holder} & odd for dealer, holder in disputes):
            return []
        return [f"only honest parties in the disputes {disputes}"]


def inputs_of(party: int, length: int) -> list[int]:
    """What a party submits."""
    return [int(x) for x in input_of(party, length)]


# -- drawing a schedule ---------------------------------------------------------------------------

# What liars do, and what happens to anybody, by step.
LYING = {step: (*LIES[step], *LIES[step], *ALWAYS, "silent", "second message", "again",
                "better message", "better message", "better message") for step in LIES}  # fmt: skip
LYING[0] += (*STRAY, *STRAY)
LYING[4] += ("junk shares",) * 8
WAYS: dict[int, tuple[str, ...]] = {
    0: WEATHER,
    1: WEATHER,
    2: (*WEATHER, "bit flipped", *("lost", "late") * 4),
    3: WEATHER,
    4: WEATHER[:6],
}
STEPS = (4, 2, 0, 4, 1, 3, 0, 2)


@cache
def _some(n: int, most: int) -> st.SearchStrategy[frozenset[int]]:
    """Liars: as many as may fail, or one more."""
    sets = [frozenset(i for i in range(n) if bits >> i & 1) for bits in range(2**n)]
    few = [one for one in sets if 0 < len(one) <= max(most, 1)]
    return among(frozenset(), *few, *few, *(one for one in sets if len(one) == most + 1))


@cache
def _deadlines(n: int) -> st.SearchStrategy[list[tuple[int, int]]]:
    return st.lists(st.tuples(upto(8 * n), upto(4)), max_size=2)


ANY_CASE = st.sampled_from(CASES)
A_STEP = among(*STEPS)
A_LIE = {step: among(*LYING[step]) for step in LIES}
AN_ACCIDENT = {step: among(*WAYS[step]) for step in LIES}
ORDERS = st.lists(upto(9), max_size=4)


@st.composite
def weathers(draw: st.DrawFn, cases: tuple[Params, ...] = ()) -> Weather:
    """Mostly fair, with a few lies and mishaps; of complete graphs, or of these cases."""
    params = draw(st.sampled_from(cases) if cases else ANY_CASE)
    n = params.cohort
    liars = draw(_some(n, n - params.quorum))
    mishaps = []
    if liars:
        for _ in range(draw(among(1, 2, 1, 3))):
            step = draw(A_STEP)
            kind = draw(A_LIE[step])
            mishaps.append(Mishap(kind, draw(among(*sorted(liars))), step, draw(upto(15))))
    for _ in range(draw(among(0, 1, 0, 2, 1))):
        step = draw(A_STEP)
        kind = draw(AN_ACCIDENT[step])
        mishaps.append(Mishap(kind, draw(upto(n - 1)), step, draw(upto(15))))
    if draw(upto(15)) == 15:
        mishaps.append(Mishap(draw(among("work twice", "wrong work"))))
    order = tuple(draw(ORDERS))
    deadlines = tuple(draw(_deadlines(n))) if draw(upto(3)) == 3 else ()
    return Weather(params, liars, tuple(mishaps), order, deadlines)
