"""What malicious mode costs a client, held against the bare time of its signatures.

A whole cohort plays one round in each mode. What the server sent to one of the clients is then
given again to fresh clients with the same randomness, which therefore do and say the same: only
one client works, as often as wanted. Between them the signatures of that round are made and
verified once more with nothing around them.

Times are CPU time of this process: a client is one thread without I/O, so that is all of its time,
and what else the machine does in between is not counted. The least times decide, since noise only
adds. The ledger is in memory; what one claim a round takes on a disk is measured by itself.
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

from .rows import Row, cpu_seconds, hold

BOUND: Final = 1.25  # what malicious mode may cost more, in bare times of the signatures
MEASURED: Final = 0  # the party whose client is measured


@dataclass(frozen=True, slots=True)
class Member:
    """What makes a client: the same member makes clients that do and say the same."""

    agreed: Round
    party: int
    identity: Identity | None
    directory: Directory | None

    def client(self) -> Client:
        """A fresh client; all clients of this benchmark are made here."""
        return Client(
            self.agreed,
            self.party,
            Policy(),
            np.random.default_rng((1, self.party)).bytes,
            identity=self.identity,
            directory=self.directory,
            ledger=MemoryLedger() if self.identity else None,
        )


@dataclass(frozen=True, slots=True)
class Recording:
    """One client's part in a round that was played: what it was sent, and what it sent."""

    member: Member
    values: NDArray[np.float32]
    received: Sequence[bytes]
    sent: Sequence[bytes]

    def replay(self) -> None:
        """All that the client does in a round, with a fresh one."""
        client = self.member.client()
        sent = [client.start()]
        for payload in self.received:
            for event in client.receive(payload):
                match event:
                    case Send(_, answer):
                        sent.append(answer)
                    case InputNeeded():
                        sent.append(client.submit(self.values))
        assert sent == self.sent, "the same client said something else"


@dataclass(frozen=True, slots=True)
class BareSignatures:
    """The signatures that a client must make and verify, as arguments to libsodium.

    Attributes:
        seed: the client's signing key.
        made: what it signs, and the signature that it sent.
        verified: verify key, what was signed, and the signature that it was sent.
    """

    seed: bytes
    made: Sequence[tuple[bytes, bytes]]
    verified: Sequence[tuple[bytes, bytes, bytes]]

    def run(self) -> None:
        """Makes and verifies them all."""
        right = [sign.sign(self.seed, digest) == signature for digest, signature in self.made]
        right += [sign.verify(*signed) for signed in self.verified]
        assert all(right), "not the signatures of this round"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Seconds by repetition, side by side, and how many signatures there were."""

    semi_honest: list[float]
    malicious: list[float]
    bare: list[float]
    made: int
    verified: int

    def ratio(self, typical: Callable[[Sequence[float]], float]) -> float:
        """What malicious mode costs more, as a multiple of the bare signatures."""
        return (typical(self.malicious) - typical(self.semi_honest)) / typical(self.bare)

    @property
    def row(self) -> Row:
        """The least times, held against the bound."""
        return hold(
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
    """Plays a round in which everybody stays; gives one client's part and its signing key."""
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
    """The signatures of a recorded round, read from the messages themselves.

    The client makes one on its entry, its masked input and the survivor set, and verifies one a
    peer on the roster and each one that it was sent on the survivor set.
    """
    params, party = recording.member.agreed.params, recording.member.party
    directory = recording.member.directory
    assert directory is not None, "nothing is signed in semi-honest mode"
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
    """The least CPU time, and the least time on the clock, of a claim in a ledger on a disk."""
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
    """The comparison as Markdown."""
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
