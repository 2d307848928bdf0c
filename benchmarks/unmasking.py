"""Compares the server's unmasking with the bare work that it contains.

Any implementation must compute one X25519 agreement per pair of a lost and a surviving client, and
the keystream of every mask that is removed. These are timed alone, in turns with a real server,
from the last answer of a survivor to the sum. Times are CPU time, so the number of cores and other
work on the machine make no difference.

There are no clients: everything that a server holds when the survivors answer is made directly
(seeds, keys, commitments, and the masked sum, with its masks expanded from the survivors' side),
and a server is resumed from it. The sum must be exact.
"""

import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
from nacl import bindings

from secagg import (
    Code,
    Completed,
    Dropped,
    FixedPoint,
    MemoryLedger,
    Params,
    Round,
    Server,
    run_jobs,
)
from secagg.arithmetic import binding
from secagg.arithmetic.field import KEY_BYTES, Field
from secagg.machine.wire import MessageType, PartySet
from secagg.pairwise import derivation, transcript
from secagg.pairwise.memory import ServerMemory
from secagg.pairwise.messages import PublicKeys, Unmask
from secagg.pairwise.stored import StoredServer, seal_server
from secagg.pairwise.transitions import ServerState
from secagg.primitives import agreement
from secagg.sharing import shamir

from . import bare
from .rows import Row, cpu_seconds, make_row

DROPOUT: Final = 0.1
TARGET: Final = ">= 0.6"


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A stored server that waits for the survivors' answers, the answers, and the expected sum.

    Attributes:
        agreed: the round.
        stored: the server's stored state, sealed under `key`.
        answers: party -> its unmask message, for each survivor.
        total: the sum of the survivors' inputs, field elements.
        secrets: secret mask key of each lost party.
        public: public mask key of each survivor.
    """

    agreed: Round
    stored: bytes = field(repr=False)
    key: bytes = field(repr=False)
    answers: dict[int, bytes] = field(repr=False)
    total: binding.Vector = field(repr=False)
    secrets: list[bytes] = field(repr=False)
    public: list[bytes] = field(repr=False)

    @property
    def masks(self) -> int:
        """Number of masks: one per survivor, and one per pair of a survivor and a lost party."""
        return len(self.public) * (1 + len(self.secrets))

    def server(self) -> Server:
        """Resumes the server and gives it all answers but the last."""
        server = Server.resume(self.stored, self.key, MemoryLedger())
        *others, _ = self.answers.items()
        for party, answer in others:
            server.receive(party, answer)
        return server

    def unmask(self, server: Server) -> None:
        """Gives the server the last answer, runs its jobs and checks the sum."""
        *_, (party, answer) = self.answers.items()
        events = run_jobs(server, server.receive(party, answer))
        found = next(event.result for event in events if isinstance(event, Completed))
        fixed = self.agreed.params.format
        assert isinstance(fixed, FixedPoint)
        expected = self.total * fixed.step - fixed.clip * len(self.answers)
        assert np.allclose(found.total, expected, rtol=0, atol=1e-6), "the sum is wrong"

    def agreements(self) -> None:
        """Computes the bare X25519 agreements."""
        for secret in self.secrets:
            for public in self.public:
                bindings.crypto_scalarmult(secret, public)

    def keystream(self) -> None:
        """Generates the bare keystream of all masks."""
        params = self.agreed.params
        size = Field(params.field_bits).dtype.itemsize * params.vector_length * self.masks
        bare.keystream(params.suite.generator, size)()


def waiting(clients: int, length: int, lost: int) -> Waiting:
    """Makes such a server; the first parties are the lost ones."""
    params = Params(clients, length, FixedPoint(clip=8.0, bits=20))
    agreed, vectors = params.round(), Field(params.field_bits)
    h0 = transcript.h0(agreed, b"")
    parties, gone, survivors = range(clients), range(lost), range(lost, clients)
    mask_seeds = [os.urandom(shamir.SEED_BYTES) for _ in parties]
    self_seeds = [os.urandom(shamir.SEED_BYTES) for _ in parties]
    secrets = [derivation.mask_key(seed, h0, party) for party, seed in enumerate(mask_seeds)]
    roster = {
        party: PublicKeys(os.urandom(KEY_BYTES - 1) + b"\0", agreement.public_key(secret))
        for party, secret in enumerate(secrets)
    }
    h1 = transcript.h1(h0, roster, clients)
    h2 = transcript.h2(h1, parties, clients)

    shares = np.empty((clients, clients, shamir.LIMBS), np.uint64)  # holder, dealer
    for dealer in parties:
        seed = mask_seeds[dealer] if dealer in gone else self_seeds[dealer]
        dealt = shamir.deal(
            [seed], params.threshold, parties, params.suite.generator, os.urandom(KEY_BYTES)
        )
        shares[:, dealer] = dealt
    everybody = PartySet.of(parties, clients)
    answers = {
        holder: Unmask(everybody, shares[holder]).encode(agreed.session, clients)
        for holder in survivors
    }

    largest = params.format.plausible(1, 1).high
    rng = np.random.default_rng(0)
    total = rng.integers(0, largest * len(survivors), length, endpoint=True).astype(vectors.dtype)
    masked = total.copy()
    for party in survivors:  # adds those masks of this client that do not cancel in the sum
        own = [derivation.self_key(self_seeds[party], h1, party)]
        own += [derivation.pairwise_key(secrets[party], h1, party, peer, roster) for peer in gone]
        signs = [1] + [derivation.pairwise_sign(party, peer) for peer in gone]
        vectors.accumulate(masked, own, signs, params.suite.generator)

    senders = {
        MessageType.ADVERTISE_KEYS: parties,
        MessageType.SHARE_KEYS: parties,
        MessageType.MASKED_INPUT: survivors,
        MessageType.CONSISTENCY: (),
        MessageType.UNMASK: (),
    }
    memory = ServerMemory(
        expected=tuple(survivors),
        total=masked,
        accepted={kind: dict.fromkeys(some, bytes(64)) for kind, some in senders.items()},
        state=ServerState.UNMASK,
        h1=h1,
        h2=h2,
        h3=transcript.h3(h2, survivors, clients),
        dropped={party: Dropped(party, "no masked input in time", Code.TIMEOUT) for party in gone},
        roster=roster,
        commitments={
            party: derivation.commitment(self_seeds[party], h1, party) for party in parties
        },
        survivors=tuple(survivors),
    )
    key = os.urandom(KEY_BYTES)
    return Waiting(
        agreed,
        seal_server(StoredServer(agreed, h0, memory), key),
        key,
        answers,
        total,
        secrets[:lost],
        [roster[party].mask for party in survivors],
    )


def rows(clients: int, length: int, rounds: int) -> Iterator[Row]:
    """Yields one row: CPU time of unmasking, compared with the bare work."""
    ready = waiting(clients, length, round(clients * DROPOUT))
    whole, agreements, keystream = [], [], []
    for _ in range(rounds):
        server = ready.server()
        whole.append(cpu_seconds(partial(ready.unmask, server)))
        agreements.append(cpu_seconds(ready.agreements))
        keystream.append(cpu_seconds(ready.keystream))
    agree, expand = statistics.median(agreements), statistics.median(keystream)
    pairs = len(ready.secrets) * len(ready.public)
    yield make_row(
        f"unmasking, n = {clients}, m = {length:,}, {len(ready.secrets)} lost",
        statistics.median(whole),
        "s",
        f"bare X25519 for {pairs:,} keys ({agree:.2f} s) + keystream of {ready.masks:,} masks "
        f"({expand:.2f} s)",
        agree + expand,
        TARGET,
    )
