"""Times the kernels of a round on this machine, one by one: the unit costs of `secagg.cost`.

Each sample is one execution on data that is not in a near cache, as in a party's only call.
Samples may be taken between other work, so that both see the machine at the same speed. No round
is played.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Final

import numpy as np

from ..arithmetic.field import KEY_BYTES, Field
from ..arithmetic.generators import Generator
from ..encoding.choice import codec_for
from ..errors import SERVER
from ..machine.ownership import Owned, exclusive
from ..machine.wire import HEADER_BYTES, MessageType, PartySet, Reader, header, open_message
from ..pairwise import derivation, transcript
from ..pairwise.client import Client
from ..pairwise.graph import Complete, Graph, Harary
from ..pairwise.messages import SEALED_BYTES, Delivery, PublicKeys, Roster, ShareKeys, Unmask
from ..pairwise.recovery import rebuild_seeds
from ..pairwise.unmasking import Unmasking
from ..params.checks import require_int, require_kind
from ..params.formats import FixedPoint
from ..params.params import MAX_COHORT, Params
from ..params.suite import Suite
from ..primitives import agreement, seal, sign
from ..primitives.labels import DIGEST_BYTES, Label, kdf
from ..primitives.secret import Secret
from ..sharing import rebuilding, shamir
from .model import Units

_SESSION: Final = bytes(16)
_DIGEST: Final = bytes(DIGEST_BYTES)
_FORMAT: Final = FixedPoint(clip=1.0)
_PEERS: Final = 32  # neighbours in pieces of work whose time is divided by neighbours
_ELEMENTS: Final = 50_000  # elements in pieces of work whose time is divided by elements
_REPEATS: Final = 16  # repetitions of the shortest pieces within one sample
_CLIENTS: Final = 64  # clients that take turns, and whose messages the server's pieces use
_FEW: Final = 8  # thresholds, or neighbours: the difference of two pieces gives a slope
_MANY: Final = 48

# What is run for one sample, and the number of units that its seconds are divided by.
Piece = tuple[Callable[[], object], int]


class Calibration:
    """Samples of each piece of work on this machine, from which `units` computes unit costs.

    Args:
        suite: its generator expands masks.
        bits: width of a field element, 16..62.
        cohort: parties whose messages the server holds, 3 or more. Messages of many parties fit
            in no cache.
    """

    def __init__(self, suite: Suite = Suite.AES256CTR, bits: int = 31, cohort: int = 1_000) -> None:
        require_kind("suite", suite, Suite, "such as Suite.AES256CTR")
        cohort = require_int("cohort", cohort, 3, MAX_COHORT)
        self._pieces: Final[dict[str, Piece]] = {
            **_single_calls(),
            **_client(suite.generator),
            **_server(cohort, suite.generator),
            **_vectors(suite.generator, bits),
            **_shares(suite.generator),
            **_recovery(suite.generator),
        }
        self._samples: Final[dict[str, list[float]]] = {name: [] for name in self._pieces}
        self._next: Final[Iterator[str]] = cycle(self._pieces)

    def step(self) -> None:
        """Takes one sample of the next piece of work, in turn; about a millisecond."""
        name = next(self._next)
        work, count = self._pieces[name]
        start = time.process_time()
        work()
        self._samples[name].append((time.process_time() - start) / count)

    def take(self, samples: int) -> None:
        """Takes this number of samples of every piece of work."""
        for _ in range(require_int("samples", samples, 1, 2**31) * len(self._pieces)):
            self.step()

    def units(self) -> Units:
        """Computes the unit costs from the medians; needs a sample of each piece of work."""
        found = {name: statistics.median(times) for name, times in self._samples.items()}
        measured = {name: found[name] for name in Units.__slots__ if name in found}
        slope = max(found["deal many"] - found["deal few"], 0.0) / (6 * (_MANY - _FEW))
        share = max(found["deal many"] - found["deal narrow"], 0.0)
        share /= 6 * (_MANY - 1) * (_PEERS - _FEW)
        weight = found["weight_pair"]
        use = max(found["recover many"] - found["recover few"], 0.0) / (_MANY - _FEW)
        use = max(use - (_MANY + _FEW + 2) * weight, 0.0)
        rebuild = max(found["recover all"] - _CLIENTS * (use + weight), 0.0)
        holders = found["recover few"] - rebuild - (_FEW + 1) * (use + (_FEW + 1) * weight)
        neighbours = max(found["find many neighbours"] - found["find_neighbours"], 0.0)
        return Units(
            coefficient=max(slope - _PEERS * share, 0.0),
            share_term=share,
            use_share=use,
            rebuild_seed=rebuild,
            holder_set=max(holders, 0.0),
            neighbour=neighbours / (_PEERS - 2),
            **measured,
        )


def calibrate(suite: Suite = Suite.AES256CTR, bits: int = 31, samples: int = 50) -> Units:
    """Times the kernels on this machine, in a second or two, and returns the unit costs.

    Args:
        suite: its generator expands masks.
        bits: width of a field element, 16..62.
        samples: samples of each piece of work; their median counts.
    """
    calibration = Calibration(suite, bits)
    calibration.take(samples)
    return calibration.units()


# -- pieces of work: by the name of the unit that they measure, or of a name of their own ---------


def _repeated(work: Callable[[], object]) -> Piece:
    """Repeats short work within a sample, as a party does it for many messages in a row."""

    def repeated() -> None:
        for _ in range(_REPEATS):
            work()

    return repeated, _REPEATS


def _single_calls() -> dict[str, Piece]:
    """Returns the pieces about one key, one message or one signature."""
    key = os.urandom(KEY_BYTES)
    verifier, signature = sign.verify_key(key), sign.sign(key, _DIGEST)
    agreed = Params(_PEERS, 1, _FORMAT).round()
    message = header(MessageType.SURVIVORS, _SESSION) + bytes(100)
    return {
        "start_client": _repeated(lambda: Client(agreed, 0).start()),
        "public_key": _repeated(lambda: agreement.public_key(key)),
        "derive_key": _repeated(lambda: derivation.commitment(key, _DIGEST, 0)),
        "sign": _repeated(lambda: sign.sign(key, _DIGEST)),
        "verify": _repeated(lambda: sign.verify(verifier, _DIGEST, signature)),
        "open_message": _repeated(lambda: _Receiver().receive(message)),
    }


def _client(generator: Generator) -> dict[str, Piece]:
    """Returns the pieces of a client's work with its neighbours."""
    parties, key = 2**14, os.urandom(KEY_BYTES)  # many, so that the fixed cost of a set is small
    wide, ring = Harary(parties, _PEERS, generator, key), Harary(parties, 2, generator, key)
    everybody = PartySet.of(range(parties), parties)
    some, who = PartySet.of(range(0, parties, 30), parties), cycle(range(parties))
    turn = cycle([_Neighbourhood() for _ in range(_CLIENTS)])
    return {
        "pairwise_key": (lambda: next(turn).pairwise_keys(), _PEERS),
        "seal_share": (lambda: next(turn).seal_shares(), _PEERS),
        "open_share": (lambda: next(turn).open_shares(), _PEERS),
        "read_entry": (lambda: next(turn).read_roster(), _PEERS + 1),
        "hash_entry": (lambda: next(turn).hash_roster(), _PEERS + 1),
        "answer_share": (lambda: next(turn).answer(), _PEERS),
        "place_party": (lambda: Harary(parties, 2, generator, key), parties),
        "find_neighbours": _repeated(lambda: ring.neighbours(next(who), everybody)),
        "find many neighbours": _repeated(lambda: wide.neighbours(next(who), everybody)),
        "check_connected": (lambda: wide.connected(everybody), parties),
        "scan_party": (_repeated(lambda: list(some))[0], parties * _REPEATS),
    }


def _server(cohort: int, generator: Generator) -> dict[str, Piece]:
    """Returns the pieces of a server's work with the rosters and ciphertexts of many clients."""
    degree = min(_PEERS, cohort - 1) // 2 * 2
    graph = Harary(cohort, degree, generator, bytes(KEY_BYTES))
    members = PartySet.of(range(cohort), cohort)
    near = [graph.neighbours(party, members) for party in range(cohort)]
    roster = {party: _entry() for party in range(cohort)}
    messages = []
    for some in near:
        sealed = {party: os.urandom(SEALED_BYTES) for party in some}
        messages.append(ShareKeys(_DIGEST, _DIGEST, sealed).encode(_SESSION)[HEADER_BYTES:])
    shares = [
        ShareKeys.read(Reader(message, party), some)
        for party, (message, some) in enumerate(zip(messages, near, strict=True))
    ]
    turn = cycle(range(cohort))
    count = min(_CLIENTS, cohort)

    def relay() -> None:
        for _ in range(count):
            party = next(turn)
            shares[party] = ShareKeys.read(Reader(messages[party], party), near[party])
            sealed = {peer: shares[peer].sealed[party] for peer in near[party]}
            Delivery(members, sealed).encode(_SESSION, cohort)

    def write_rosters() -> None:
        for _ in range(count):
            some = {peer: roster[peer] for peer in near[next(turn)]}
            Roster(members, some, _DIGEST).encode(_SESSION, cohort)

    return {
        "relay_share": (relay, count * degree),
        "write_entry": (write_rosters, count * degree),
    }


def _vectors(generator: Generator, bits: int) -> dict[str, Piece]:
    """Returns the pieces of work with vectors."""
    field, key = Field(bits), os.urandom(KEY_BYTES)
    vector = field.uniform(key, _ELEMENTS, generator)
    packed = field.pack(vector)
    values = np.zeros(_ELEMENTS, np.float32)
    params = Params(_FEW, 1, _FORMAT)
    codec = codec_for(Params(_FEW, _ELEMENTS, _FORMAT), bytes(16))

    def short_vector() -> None:
        encoded = codec_for(params, bytes(16)).encode(values[:1], 1, os.urandom).vector
        own = Field(params.field_bits)
        own.pack(own.accumulate(encoded, [key], [1], generator))

    def expansion(count: int, length: int) -> Callable[[], object]:
        total, several, signs = field.zeros(length), [key] * count, [1] * count
        return lambda: field.accumulate(total, several, signs, generator, threads=1)

    return {
        "start_vector": _repeated(short_vector),
        "hash_byte": (lambda: kdf(key, Label.INPUT_CHECKSUM, packed), len(packed)),
        "quantize": (lambda: codec.encode(values, 1, os.urandom), _ELEMENTS),
        "pack": (lambda: field.pack(vector), _ELEMENTS),
        "unpack_add": (lambda: field.unpack_add(vector, packed), _ELEMENTS),
        "expand": (expansion(_PEERS, _ELEMENTS), _PEERS * _ELEMENTS),
        "start_mask": (expansion(_CLIENTS, 1), _CLIENTS),
    }


def _shares(generator: Generator) -> dict[str, Piece]:
    """Returns the pieces of work of dealing shares of seeds."""
    seeds = [bytes(shamir.SEED_BYTES)] * 2

    def dealing(holders: int, threshold: int) -> Piece:
        return _repeated(
            lambda: shamir.pack_shares(
                shamir.deal(seeds, threshold, range(holders), generator, bytes(KEY_BYTES))
            )
        )

    holders = 4 * _CLIENTS
    return {
        "start_dealing": dealing(_FEW, 2),
        "deal few": dealing(_PEERS, _FEW),
        "deal many": dealing(_PEERS, _MANY),
        "deal narrow": dealing(_FEW, _MANY),
        "weight_pair": (lambda: rebuilding.Rebuilder(2 * holders // 3, range(holders)), holders**2),
    }


def _recovery(generator: Generator) -> dict[str, Piece]:
    """Returns the pieces of rebuilding seeds that have few holders, many, or the whole cohort."""
    n, key = _CLIENTS, os.urandom(KEY_BYTES)
    few, many = (Harary(n, degree, generator, key) for degree in (_FEW, _MANY))
    return {
        "recover few": (_recovering(few, _FEW), n),
        "recover many": (_recovering(many, _MANY), n),
        "recover all": (_recovering(Complete(), 0), n),
    }


def _recovering(graph: Graph, degree: int) -> Callable[[], object]:
    n, seed = _CLIENTS, bytes(shamir.SEED_BYTES)
    params = Params(n, 1, _FORMAT, min_survivors=n, colluders=0, degree=degree)
    members = PartySet.of(range(n), n)
    commitments = {party: derivation.commitment(seed, _DIGEST, party) for party in range(n)}
    shares = np.zeros((degree + 1 if degree else n, shamir.LIMBS), np.uint64)  # of a zero seed
    messages = [
        Unmask(PartySet.of(graph.holders(party, members), n), shares).encode(_SESSION, n)
        for party in range(n)
    ]

    def work() -> None:
        answers = {
            party: Unmask.read(Reader(message[HEADER_BYTES:], party), params)
            for party, message in enumerate(messages)
        }
        unmasking = Unmasking(
            params, Field(params.field_bits).zeros(1), _DIGEST, _DIGEST, {}, (), range
        )
        for job in rebuild_seeds(
            params, graph, {}, commitments, _DIGEST, _DIGEST, range(n), answers
        ):
            unmasking.take(job, job.run())

    return work


def _entry() -> PublicKeys:
    """Draws public keys without secret keys; the last byte keeps them below the curve's prime."""
    return PublicKeys(os.urandom(KEY_BYTES - 1) + b"\1", os.urandom(KEY_BYTES - 1) + b"\1")


class _Receiver(Owned):
    """A party that only opens the messages to it."""

    @exclusive
    def receive(self, message: bytes) -> PartySet:
        """Reads the bitmap in a message."""
        _, reader = open_message(message, SERVER, _SESSION, len(message))
        reader.digest()
        return reader.bitmap(800)


class _Neighbourhood:
    """A client among its neighbours, without a round: its work with them, in pieces."""

    def __init__(self) -> None:
        n = _PEERS + 1
        self._params = Params(n, 1, _FORMAT)
        members = PartySet.of(range(n), n)
        self._roster = {party: _entry() for party in range(n)}
        self._body = Roster(members, self._roster).encode(_SESSION, n)[HEADER_BYTES:]
        self._secret, self._h1 = os.urandom(KEY_BYTES), os.urandom(DIGEST_BYTES)
        self._share_pair = bytes(2 * shamir.SHARE_BYTES)
        self._inbound = {peer: Secret(os.urandom(KEY_BYTES)) for peer in range(1, n)}
        self._sealed = b"".join(
            seal.seal(key.expose(), self._share_pair, derivation.channel_data(self._h1, peer, 0))
            for peer, key in self._inbound.items()
        )
        self._shares = {peer: np.zeros(2 * shamir.LIMBS, np.uint64) for peer in range(1, n)}

    def read_roster(self) -> None:
        """Reads and checks a roster."""
        read = Roster.read(Reader(self._body, SERVER), self._params, Complete(), 0)
        distinct = {key for each in read.keys.values() for key in (each.channel, each.mask)}
        for each in read.keys.values() if distinct else ():
            agreement.check_public_key(each.channel)
            agreement.check_public_key(each.mask)

    def hash_roster(self) -> None:
        """Hashes a roster."""
        transcript.roster_digest(self._h1, self._roster, self._params.cohort)

    def seal_shares(self) -> None:
        """Seals a pair of shares for every neighbour."""
        sealed, inbound = {}, {}
        for peer in self._inbound:
            shared = agreement.agree(self._secret, self._roster[peer].channel)
            key = derivation.channel_key(shared, self._h1, 0, peer, self._roster)
            data = derivation.channel_data(self._h1, 0, peer)
            sealed[peer] = seal.seal(key, self._share_pair, data)
            inbound[peer] = Secret(derivation.channel_key(shared, self._h1, peer, 0, self._roster))
        ShareKeys(_DIGEST, _DIGEST, sealed).encode(_SESSION)

    def open_shares(self) -> None:
        """Opens every neighbour's shares, and agrees on the keys of pairwise masks."""
        reader, opened = Reader(self._sealed, SERVER), {}
        for peer, key in self._inbound.items():
            data = derivation.channel_data(self._h1, peer, 0)
            opened[peer] = seal.unseal(key.expose(), reader.take(SEALED_BYTES), data) or b""
        shares, _ = shamir.split_shares(b"".join(opened.values()))
        rows = shares.reshape(-1, 2 * shamir.LIMBS)
        self._shares = dict(zip(opened, rows, strict=True))
        for secret in [Secret(key) for key in self.pairwise_keys()]:
            secret.expose()
            secret.wipe()

    def pairwise_keys(self) -> list[bytes]:
        """Agrees on the key of the pairwise mask with every neighbour."""
        roster = self._roster
        return [
            derivation.pairwise_key(self._secret, self._h1, 0, peer, roster)
            for peer in self._shares
        ]

    def answer(self) -> None:
        """Answers with one share of every neighbour, as at unmasking."""
        alive = PartySet.of(self._shares, 1_000)
        answer = np.empty((_PEERS, shamir.LIMBS), np.uint64)
        for row, peer in enumerate(sorted(self._shares)):
            pair = self._shares[peer]
            answer[row] = pair[shamir.LIMBS :] if peer in alive else pair[: shamir.LIMBS]
        Unmask(PartySet.of(self._shares, 1_000), answer).encode(_SESSION, 1_000)
