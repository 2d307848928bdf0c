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
from pairwise.schedules.client_lies import (
    LIES_AT,
    LIES_IN_ANY_STEP,
    OTHER_MISCONDUCT,
    OTHER_ROUND,
    read_shares_message,
)
from pairwise.schedules.network_plan import TO_CLIENT, TO_SERVER, Fault, NetworkSchedule, Packet
from pairwise.schedules.replayed_client import SUBMIT, ClientSetup, h0_of, replay

import secagg
from secagg import SERVER, Mode, Phase
from secagg.arithmetic.field import Field
from secagg.events import Job
from secagg.identity.identity import sign_digest
from secagg.machine.wire import MessageType
from secagg.pairwise import transcript
from secagg.pairwise.graph import graph_of
from secagg.pairwise.messages import Delivery, MaskedInput, Roster, Survivors
from secagg.pairwise.transitions import PHASES

NETWORK_FAULTS = ("lost", "twice", "delayed", "late", "bit flipped", "cut", "answer lost",
           "answer twice", "answer bit flipped")  # fmt: skip


class BadNetwork:
    """Plays a schedule, and keeps the books that the judge reads."""

    def __init__(self, schedule: NetworkSchedule) -> None:
        self.schedule, self.params = schedule, schedule.params
        agreed = self.params.round(CONTEXT, SESSION)
        self.server = server_of(agreed)
        self.used: Counter[str] = Counter()
        self.effect: Counter[str] = Counter()  # that came through and were taken
        self.setups = {party: ClientSetup(agreed, party) for party in range(self.params.cohort)}
        for party in sorted(schedule.liars):
            if any(one.kind == "another round" for one in self._faults(party, 0, OTHER_ROUND)):
                other = replace(agreed, context=bytes(32))
                self.setups[party] = ClientSetup(other, party)
        self.histories: dict[int, tuple[bytes, ...]] = dict.fromkeys(self.setups, ())
        self.first = {party: replay(setup, ()).sent[0] for party, setup in self.setups.items()}
        self.true_messages: dict[tuple[int, int], bytes] = {}  # by party and type
        self.queue: list[Packet] = []
        self.held_back: list[Packet] = []
        self.taken: dict[int, dict[int, bytes]] = {kind: {} for kind in TO_SERVER}
        self.dropped: dict[int, str] = {}
        self.harmed: set[int] = set()  # honest ones that the network did not serve
        self.gone: set[int] = set()  # of whom the server was told that they are gone
        self.copied: dict[int, set[int]] = {}
        self.proved: set[tuple[int, bytes]] = set()  # inputs that liars gave as their own
        # By type, the transcript that each message must name.
        self.transcripts = {TO_SERVER[0]: h0_of(agreed)}
        self.graph = graph_of(self.params, h0_of(agreed))
        self.roster_digests: dict[int, bytes] = {}  # on a sparse graph, instead of h1
        self.u1: tuple[int, ...] = ()
        self.u2: tuple[int, ...] = ()
        self.u3: tuple[int, ...] = ()
        self.result: secagg.Result | None = None
        self.failure: secagg.Failed | None = None
        self.failed_in: Phase | None = None
        self.complaints: list[str] = []

    # -- what a liar needs

    def input_by(self, party: int, h2: bytes, packed: bytes) -> bytes:
        """Returns a masked input with a proof that fits."""
        if self.params.mode is Mode.MALICIOUS:
            proof = sign_digest(identity_of(party), transcript.input_digest(h2, party, packed))
        else:
            proof = transcript.checksum(h2, party, packed)
        return MaskedInput(h2, packed, proof).encode(SESSION)

    def elements(self, packed: bytes) -> np.ndarray:
        """Unpacks field elements."""
        return Field(self.params.field_bits).unpack(packed, self.params.vector_length)

    def shifted(self, packed: bytes, by: int) -> bytes:
        """Returns packed elements, each moved."""
        space = Field(self.params.field_bits)
        moved = [(int(x) + by) % space.modulus for x in self.elements(packed)]
        return space.pack(space.vector(moved))

    # -- the network

    def play(self) -> "BadNetwork":
        """Plays the whole schedule."""
        self.take_events(self.server.start())
        for party, message in self.first.items():
            self.send_up(party, message)
        tick = 0
        while True:
            while self.queue:
                for at, phase in self.schedule.deadlines:
                    if at == tick:
                        self._deadline(list(Phase)[phase])
                for at, party, back in self.schedule.said:
                    if at == tick:
                        self._say(party, back)
                order = self.schedule.order
                place = order[tick % len(order)] % len(self.queue) if order and self.queue else 0
                tick += 1
                if self.queue:
                    self._deliver_packet(self.queue.pop(place))
            if self.server.state not in PHASES:
                break
            self._deadline(PHASES[self.server.state])
        for packet in self.held_back:
            self._deliver_packet(packet)
        return self

    def _faults(self, party: int, step: int, kinds: Iterable[str]) -> list[Fault]:
        return [
            one
            for one in self.schedule.faults
            if one.party % self.params.cohort == party and one.step == step and one.kind in kinds
        ]

    def _harm(self, party: int) -> None:
        self.harmed.add(party)

    def send_up(self, party: int, message: bytes) -> None:
        """Sends a client's true message, or what the lies and faults of the schedule make of it."""
        kind = message[3]
        step = TO_SERVER.index(MessageType(kind))
        repeated = self.true_messages.setdefault((party, kind), message) != message or (
            kind in self.taken and party in self.taken[kind]
        )
        packets = [Packet(party, SERVER, message, not repeated)]
        if step == 0 and self.setups[party].round.context != CONTEXT:
            self.used["another round"] += 1
            packets = [Packet(party, SERVER, message, False, "another round")]
        if party in self.schedule.liars:
            for one in self._faults(
                party, step, (*LIES_AT[step], *LIES_IN_ANY_STEP, *OTHER_MISCONDUCT)
            ):
                self.used[one.kind] += 1
                if one.kind == "silent":
                    self.effect[one.kind] += 1
                    return
                if one.kind == "again":
                    older = [self.true_messages[at] for at in self.true_messages if at[0] == party]
                    older = older[one.a % len(older) :][:1]
                    packets += [Packet(party, SERVER, old, False, one.kind) for old in older]
                elif one.kind in OTHER_MISCONDUCT:  # another one, before or after the true one
                    lies = list(LIES_AT[step].values())
                    lied = lies[one.a % len(lies)](self, party, message, one.a)
                    place = len(packets) if one.kind == "second message" else 0
                    packets.insert(place, Packet(party, SERVER, lied, False, one.kind))
                elif one.kind in LIES_AT[step] or one.kind in LIES_IN_ANY_STEP:
                    make = LIES_AT[step].get(one.kind) or LIES_IN_ANY_STEP[one.kind]
                    lied = make(self, party, message, one.a)
                    packets[0] = Packet(party, SERVER, lied, False, one.kind)
        for packet in packets:
            self._dispatch(packet, self._faults(party, step, NETWORK_FAULTS[:6]), 0)

    def _send_down(self, party: int, message: bytes) -> None:
        if message[3] not in TO_CLIENT:  # the offer
            return
        step = TO_CLIENT.index(MessageType(message[3]))
        self._dispatch(
            Packet(SERVER, party, message), self._faults(party, step, NETWORK_FAULTS[6:]), 7
        )

    def _dispatch(self, packet: Packet, faults: list[Fault], skip: int) -> None:
        party = packet.receiver if packet.sender == SERVER else packet.sender
        for one in faults:
            self.used[one.kind] += 1
            what = one.kind[skip:] if skip else one.kind
            if what == "twice":
                self.queue.append(replace(packet, true=False))
                self.effect[one.kind] += 1
                continue
            if what == "delayed":
                self.effect[one.kind] += 1
                self.held_back.append(packet)
                return
            self._harm(party)
            self.effect[one.kind] += 1
            if what == "lost":
                return
            if what == "late":
                self.held_back.append(replace(packet, true=False))
                return
            data = bytearray(packet.payload)
            if what == "cut" or not data:
                del data[len(data) - 1 - one.a :]
            else:
                data[(one.a * 37 + 20 * (one.a < 6)) % len(data)] ^= 1 << one.a % 8
            packet = replace(packet, payload=bytes(data), true=False)
        self.queue.append(packet)

    def _deliver_packet(self, packet: Packet) -> None:
        if packet.receiver == SERVER:
            self._to_server(packet)
        else:
            self._to_client(packet)
        waiting = [one for one in self.held_back if one.true]
        if waiting and not self.queue:  # the delayed ones, when all else is there
            self.held_back = [one for one in self.held_back if not one.true]
            self.queue += waiting

    def _to_client(self, packet: Packet) -> None:
        party = packet.receiver
        if replay(self.setups[party], self.histories[party]).aborted:
            return
        now = replay(self.setups[party], (*self.histories[party], packet.payload))
        if now.refused:
            if packet.true and self.served(party):
                self.complaints.append(f"honest party {party} refused a true message")
            return
        self.histories[party] += (packet.payload,)
        if now.aborted and self.served(party) and not self._excused(packet):
            self.complaints.append(f"honest party {party} aborted: {now.aborted}")
        sent = now.sent
        if now.asked:
            now = replay(self.setups[party], (*self.histories[party], SUBMIT))
            self.histories[party] += (SUBMIT,)
            sent = now.sent
        for message in sent:
            self.send_up(party, message)

    def served(self, party: int) -> bool:
        return self._undisturbed(party) and party not in self.gone

    def _undisturbed(self, party: int) -> bool:
        return party not in self.schedule.liars and party not in self.harmed

    def _excused(self, packet: Packet) -> bool:
        """Returns whether a client had to abort.

        On a sparse graph that is so if too few holders are left to it; everywhere, if too few of
        the ciphertexts in its delivery are those that were dealt.
        """
        told = {MessageType.ROSTER: self.u1, MessageType.DELIVERY: self.u2}
        members = told.get(MessageType(packet.payload[3]), self.setups)
        if len(self.graph.holders(packet.receiver, members)) < self.params.threshold:
            return True
        if packet.payload[3] != MessageType.DELIVERY:
            return False
        read = Delivery.read(body(packet.payload), self.params, self.graph, packet.receiver)
        true = 0
        for sender, sealed in read.sealed.items():
            message = self.true_messages.get((sender, TO_SERVER[1]))
            if message:
                true += (
                    read_shares_message(self, sender, message).sealed.get(packet.receiver) == sealed
                )
        return true < self.params.threshold - 1

    def _to_server(self, packet: Packet) -> None:
        party, kind = packet.sender, packet.payload[3:4]
        phase = PHASES.get(self.server.state)
        awaited = phase is not None and kind == bytes([TO_SERVER[list(Phase).index(phase)]])
        before = None if packet.true and awaited else state_of(self.server)
        try:
            events = self.server.receive(party, packet.payload)
        except secagg.RemoteProtocolError as error:
            if error.party != party:
                self.complaints.append(f"party {error.party} is blamed for party {party}")
            if before is not None and state_of(self.server) != before:
                self.complaints.append("a refused message changed the server")
            in_time = awaited and party not in self.dropped and self._undisturbed(party)
            if packet.true and (in_time or self.served(party)):
                self.complaints.append(f"honest party {party} is refused: {error.reason}")
            return
        gone = {one.party for one in events if isinstance(one, secagg.Dropped)}
        if gone - {party} - self.gone:
            self.complaints.append(f"{gone} dropped for a message of party {party}")
        if party not in gone:
            self.taken[TO_SERVER[TO_SERVER.index(MessageType(kind[0]))]][party] = packet.payload
            self.effect[packet.lie] += bool(packet.lie)
        elif (
            self.copied.get(party, set()) & self.taken[TO_SERVER[0]].keys()
        ):  # who was faster with its key
            self._harm(party)
        elif self.served(party):
            self.complaints.append(f"honest party {party} is dropped")
        self.take_events(events, phase)

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
        self.take_events(events, now)

    def _say(self, party: int, back: bool) -> None:
        """Says that a party is gone, or back, whatever is true."""
        name, phase = "back" if back else "gone", PHASES.get(self.server.state)
        self.used[name] += 1
        if back:
            events = self.server.resend(party)
            self.effect[name] += bool(events) and party in self.gone
            if phase is not None:
                self.gone.discard(party)
        else:
            self.gone.add(party)
            events = self.server.drop(party, "it is gone")
            self.effect[name] += bool(events)
        out = {one.party for one in events if isinstance(one, secagg.Dropped)}
        if out - self.gone:
            self.complaints.append(f"{out} dropped for party {party}, which is {name}")
        self.take_events(events, phase)

    def aborted(self) -> set[int]:
        """Returns the parties whose client aborted."""
        return {
            party
            for party, history in self.histories.items()
            if replay(self.setups[party], history).aborted
        }

    def take_events(self, events: Iterable[object], phase: Phase | None = None) -> None:
        for event in events:
            if isinstance(event, secagg.Send):
                message = event.payload
                if message[3] == MessageType.ROSTER:
                    read = Roster.read(body(message), self.params, self.graph, event.to)
                    self.u1, n = tuple(read.members), self.params.cohort
                    self.transcripts[TO_SERVER[1]] = read.h1 or transcript.h1(
                        self.transcripts[TO_SERVER[0]], read.keys, n
                    )
                    if read.h1:
                        self.roster_digests[event.to] = transcript.roster_digest(
                            read.h1, read.keys, n
                        )
                elif message[3] == MessageType.DELIVERY:
                    read = Delivery.read(body(message), self.params, self.graph, event.to)
                    self.u2 = tuple(read.members)
                    self.transcripts[TO_SERVER[2]] = transcript.h2(
                        self.transcripts[TO_SERVER[1]], self.u2, self.params.cohort
                    )
                elif message[3] == MessageType.SURVIVORS:
                    self.u3 = tuple(Survivors.read(body(message), self.params).members)
                self._send_down(event.to, message)
            elif isinstance(event, secagg.PhaseStarted):
                phase = event.phase
            elif isinstance(event, secagg.Dropped):
                if event.party in self.dropped:
                    self.complaints.append(f"party {event.party} is dropped twice")
                if event.party in self.gone:
                    self._harm(event.party)
                self.dropped[event.party] = event.reason
            elif isinstance(event, secagg.Completed):
                self.result = event.result
            elif isinstance(event, secagg.Failed):
                self.failure, self.failed_in = event, phase
            elif isinstance(event, secagg.Work):
                self._work(event.job, phase)

    def _work(self, job: Job, phase: Phase | None) -> None:
        kinds = {one.kind for one in self.schedule.faults}
        value = job.run()
        if "wrong work" in kinds:
            self.used["wrong work"] += 1
            try:
                self.server.complete(job, b"")
            except secagg.RangeError:
                self.effect["wrong work"] += 1
        self.take_events(self.server.complete(job, value), phase)
        if "work twice" in kinds:
            self.used["work twice"] += 1
            self.take_events(self.server.complete(job, value), phase)
