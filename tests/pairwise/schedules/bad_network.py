"""A bad network around an honest server: it loses, repeats, delays, reorders and damages messages.

Every party is a real client; a liar's message is changed on its way out. The network keeps the
books that the judge reads: which bytes the server took of whom, and what was lost or damaged.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from harness import CONTEXT, SESSION, identity_of, server_of, state_of
from pairwise.attacks import body
from pairwise.schedules.client_lies import ALWAYS, LIES, MEANS, STRAY, _shared
from pairwise.schedules.network_plan import DOWN, UP, Flight, Mishap, Weather
from pairwise.schedules.replayed_client import SUBMIT, Seat, after, h0_of

import secagg
from secagg import SERVER, Mode, Phase
from secagg.events import Job
from secagg.field import Field
from secagg.graph import graph_of
from secagg.pairwise import keys
from secagg.pairwise.messages import Delivery, MaskedInput, Roster, Survivors
from secagg.pairwise.transitions import PHASES
from secagg.wire import MessageType

WEATHER = ("lost", "twice", "delayed", "late", "bit flipped", "cut", "answer lost",
           "answer twice", "answer bit flipped")  # fmt: skip


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
            if flight.true and self.served(party):
                self.complaints.append(f"honest party {party} refused a true message")
            return
        self.histories[party] += (flight.payload,)
        if now.aborted and self.served(party) and not self._excused(flight):
            self.complaints.append(f"honest party {party} aborted: {now.aborted}")
        sent = now.sent
        if now.asked:
            now = after(self.seats[party], (*self.histories[party], SUBMIT))
            self.histories[party] += (SUBMIT,)
            sent = now.sent
        for message in sent:
            self._up(party, message)

    def served(self, party: int) -> bool:
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
            if flight.true and self.served(party):
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
        elif self.served(party):
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
                if self.served(event.party) and not late and event.party not in self.aborted():
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
