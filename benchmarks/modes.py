"""Compares what malicious mode costs a client with the bare time of its signatures.

A whole cohort plays one round in each mode. The server's messages to one of the clients are then
given to new clients with the same randomness, which therefore send the same messages: so one
client can be measured alone and any number of times. In turns with them, the signatures of that
round are made and verified with nothing around them.

Times are CPU time of this process: a client is one thread without I/O, so this is all of its time,
and other work on the machine does not count. The least times decide, since noise only adds. The
ledger is in memory; a claim on a disk, of which a round makes one, is measured separately.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

import secagg
from secagg import (
    Client,
    Directory,
    Identity,
    InputNeeded,
    MemoryLedger,
    Mode,
    Once,
    Policy,
    Round,
    Send,
    SqliteLedger,
)
from secagg.machine.wire import MessageType, Reader
from secagg.pairwise import transcript
from secagg.pairwise.graph import graph_of
from secagg.pairwise.messages import (
    AdvertiseKeys,
    MaskedInput,
    Roster,
    Signatures,
    Survivors,
)
from secagg.primitives import sign
from secagg.simulate import Cohort

from .rows import Row, cpu_seconds, make_row

BOUND: Final = 1.25  # largest extra cost of malicious mode, relative to the bare signatures
MEASURED: Final = 0  # index of the client that is measured


@dataclass(frozen=True, slots=True)
class Member:
    """The arguments of a client; clients of one member send the same messages."""

    agreed: Round
    party: int
    identity: Identity | None
    directory: Directory | None

    def client(self) -> Client:
        """Makes a new client; all clients of this benchmark are made here."""
        return Client(
            self.agreed,
            self.party,
            Policy(context=self.agreed.context),
            np.random.default_rng((1, self.party)).bytes,
            identity=self.identity,
            directory=self.directory,
            ledger=MemoryLedger() if self.identity else None,
        )


@dataclass(frozen=True, slots=True)
class Recording:
    """The messages that one client received and sent in a round."""

    member: Member
    values: NDArray[np.float32]
    received: Sequence[bytes]
    sent: Sequence[bytes]

    def replay(self) -> None:
        """Runs a new client through the round."""
        client = self.member.client()
        sent = [client.start()]
        for payload in self.received:
            for event in client.receive(payload):
                match event:
                    case Send(_, answer):
                        sent.append(answer)
                    case InputNeeded():
                        sent.append(client.submit(self.values))
        assert sent == self.sent, "the same client sent other messages"


@dataclass(frozen=True, slots=True)
class BareSignatures:
    """The signatures that a client must make and verify, as arguments to libsodium.

    Attributes:
        seed: the client's signing key.
        made: signed message and signature, for each signature that it sent.
        verified: verify key, signed message and signature, for each that it received.
    """

    seed: bytes
    made: Sequence[tuple[bytes, bytes]]
    verified: Sequence[tuple[bytes, bytes, bytes]]

    def run(self) -> None:
        """Makes and verifies all of them."""
        right = [sign.sign(self.seed, digest) == signature for digest, signature in self.made]
        right += [sign.verify(*signed) for signed in self.verified]
        assert all(right), "not the signatures of this round"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds of each repetition, and the numbers of signatures."""

    semi_honest: list[float]
    malicious: list[float]
    bare: list[float]
    made: int
    verified: int

    def ratio(self, typical: Callable[[Sequence[float]], float]) -> float:
        """Returns the extra cost of malicious mode as a multiple of the bare signatures."""
        return (typical(self.malicious) - typical(self.semi_honest)) / typical(self.bare)

    @property
    def row(self) -> Row:
        """The least times, compared with the bound."""
        return make_row(
            "what malicious mode costs a client more",
            min(self.malicious) - min(self.semi_honest),
            "s",
            f"its signatures alone: {self.made} made, {self.verified} verified",
            min(self.bare),
            f"<= {BOUND}",
        )


def _identity(seed: bytes) -> Identity:
    return Identity.generate(lambda _size: seed)


def record(clients: int, length: int, mode: Mode) -> tuple[Recording, bytes]:
    """Plays a round without dropouts; returns one client's messages and its signing key."""
    rng = np.random.default_rng(0)
    values = rng.uniform(-8, 8, length).astype(np.float32)
    form = secagg.FixedPoint(clip=8.0, bits=20)
    agreed = secagg.Params(clients, length, form, mode=mode).round()
    seeds = [rng.bytes(sign.SEED_BYTES) for _ in range(clients)]
    identities: Sequence[Identity | None] = [None] * clients
    directory = None
    if mode == Mode.MALICIOUS:
        signers = [_identity(one) for one in seeds]
        identities = signers
        directory = Directory.of(
            (f"party-{party}", signer.verify_key) for party, signer in enumerate(signers)
        )
    members = [
        Member(agreed, party, identity, directory) for party, identity in enumerate(identities)
    ]
    cohort = Cohort(
        secagg.Server(agreed, directory),
        {member.party: member.client() for member in members},
        {member.party: lambda: (values, 1) for member in members},
        keep_transcript=True,
    )
    run = cohort.play()
    assert run.result is not None, run.reason
    received = [one.payload for one in run.transcript if one.receiver == MEASURED]
    sent = [one.payload for one in run.transcript if one.sender == MEASURED]
    return Recording(members[MEASURED], values, received, sent), seeds[MEASURED]


def signatures_of(recording: Recording, seed: bytes) -> BareSignatures:
    """Reads the signatures of a recorded round from its messages.

    The client signs its entry, its masked input and the survivor set. It verifies one signature
    per peer on the roster, and each signature on the survivor set that it received.
    """
    params, party = recording.member.agreed.params, recording.member.party
    directory = recording.member.directory
    assert directory is not None, "there are no signatures in semi-honest mode"
    pinned = directory.verify_keys
    bodies = {payload[3]: _body(payload) for payload in (*recording.received, *recording.sent)}
    advertised = AdvertiseKeys.read(bodies[MessageType.ADVERTISE_KEYS], params)
    graph = graph_of(params, advertised.h0)
    roster = Roster.read(bodies[MessageType.ROSTER], params, graph, party).keys
    masked = MaskedInput.read(bodies[MessageType.MASKED_INPUT], params)
    survivors = Survivors.read(bodies[MessageType.SURVIVORS], params).members
    signers = Signatures.read(bodies[MessageType.SIGNATURES], params).signatures
    own = bodies[MessageType.CONSISTENCY].take(sign.SIGNATURE_BYTES)
    h0 = advertised.h0
    consistent = transcript.consistency_digest(transcript.h3(masked.h2, survivors, params.cohort))
    return BareSignatures(
        seed,
        made=[
            (transcript.entry_digest(h0, party, advertised.keys), advertised.keys.signature),
            (transcript.input_digest(masked.h2, party, masked.packed), masked.proof),
            (consistent, own),
        ],
        verified=[
            (pinned[peer], transcript.entry_digest(h0, peer, entry), entry.signature)
            for peer, entry in roster.items()
            if peer != party
        ]
        + [(pinned[signer], consistent, signature) for signer, signature in signers.items()],
    )


def _body(payload: bytes) -> Reader:
    reader = Reader(payload, MEASURED)
    reader.header()
    return reader


def compare(clients: int, length: int, rounds: int) -> Comparison:
    """Measures one client in both modes and its bare signatures, in turns."""
    semi_honest, _ = record(clients, length, Mode.SEMI_HONEST)
    malicious, key = record(clients, length, Mode.MALICIOUS)
    bare = signatures_of(malicious, key)
    measured = Comparison([], [], [], len(bare.made), len(bare.verified))
    for _ in range(rounds):
        measured.semi_honest.append(cpu_seconds(semi_honest.replay))
        measured.malicious.append(cpu_seconds(malicious.replay))
        measured.bare.append(cpu_seconds(bare.run))
    return measured


def durable_claim(rounds: int) -> tuple[float, float]:
    """Returns the least CPU time and wall-clock time of a claim in a ledger on a disk."""
    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqliteLedger(Path(folder) / "ledger")
        for number in range(rounds):
            start, busy = time.perf_counter(), time.process_time()
            ledger.claim(Once.CONTRIBUTION, number.to_bytes(64))
            times.append((time.process_time() - busy, time.perf_counter() - start))
    cpu, clock = zip(*times, strict=True)
    return min(cpu), min(clock)


def table(measured: Comparison) -> str:
    """Returns the comparison as Markdown."""
    rows = {
        "semi-honest mode": measured.semi_honest,
        "malicious mode": measured.malicious,
        f"its signatures alone: {measured.made} made, {measured.verified} verified": measured.bare,
    }
    lines = ["| one client, ms | median | least |", "|---|---|---|"]
    lines += [
        f"| {name} | {statistics.median(seconds) * 1e3:.2f} | {min(seconds) * 1e3:.2f} |"
        for name, seconds in rows.items()
    ]
    ratios = [measured.ratio(typical) for typical in (statistics.median, min)]
    lines.append(
        f"| difference of the modes / signatures alone | {ratios[0]:.2f} | {ratios[1]:.2f} |"
    )
    return "\n".join(lines)
