"""How long the kernels of a round take on this machine, one by one: the units of `secagg.cost`.

Each sample is one execution on data that no near cache holds, as a party's one call is; samples
may be taken in between other work, to see the machine as that work does. No round is played.
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
from ..params.formats import FixedPoint
from ..params.params import Params
from ..params.suite import Suite
from ..primitives import agreement, seal, shamir, sign
from ..primitives.labels import DIGEST_BYTES, Label, kdf
from ..primitives.secret import Secret
from .model import Units

_SESSION: Final = bytes(16)
_DIGEST: Final = bytes(DIGEST_BYTES)
_FORMAT: Final = FixedPoint(clip=1.0)
_PEERS: Final = 32  # neighbours in pieces that are timed a neighbour at a time
_ELEMENTS: Final = 50_000  # and elements in those that are timed an element at a time
_REPEATS: Final = 16  # of what is shortest
_CLIENTS: Final = 64  # that take turns, and of whose messages a server's pieces are
_FEW: Final = 8  # thresholds, or neighbours: two pieces tell a slope
_MANY: Final = 48

Piece = tuple[Callable[[], object], int]


class Calibration:
    """The units of this machine, from as many samples of each piece of work as are taken.

    Args:
        suite: whose generator expands masks.
        bits: width of an element, 16..62.
        cohort: parties whose messages the server holds, 3 or more: of many, no cache holds them.
    """

    def __init__(self, suite: Suite = Suite.AES256CTR, bits: int = 31, cohort: int = 1_000) -> None:
        self._pieces: Final[dict[str, Piece]] = {
            **_plain(),
            **_client(suite.generator),
            **_server(cohort, suite.generator),
            **_vectors(suite.generator, bits),
            **_shares(suite.generator),
            **_recovery(suite.generator),
        }
        self._samples: Final[dict[str, list[float]]] = {name: [] for name in self._pieces}
        self._next: Final[Iterator[str]] = cycle(self._pieces)

    def step(self) -> None:
        """Takes a sample of one piece, each in turn; a millisecond or so."""
        name = next(self._next)
        work, count = self._pieces[name]
        start = time.process_time()
        work()
        self._samples[name].append((time.process_time() - start) / count)

    def take(self, samples: int) -> None:
        """Takes so many samples of every piece."""
        for _ in range(samples * len(self._pieces)):
            self.step()

    def units(self) -> Units:
        """From the medians; at least one sample of each piece was taken."""
        found = {name: statistics.median(times) for name, times in self._samples.items()}
        one = {name: found[name] for name in Units.__slots__ if name in found}
        slope = max(found["deal many"] - found["deal few"], 0.0) / (6 * (_MANY - _FEW))
        share = max(found["deal many"] - found["deal narrow"], 0.0)
        share /= 6 * (_MANY - 1) * (_PEERS - _FEW)
        weigh = found["weights"]
        gather = max(found["recover many"] - found["recover few"], 0.0) / (_MANY - _FEW)
        gather = max(gather - (_MANY + _FEW + 2) * weigh, 0.0)
        rebuild = max(found["recover all"] - _CLIENTS * (gather + weigh), 0.0)
        group = found["recover few"] - rebuild - (_FEW + 1) * (gather + (_FEW + 1) * weigh)
        return Units(
            coefficient=max(slope - _PEERS * share, 0.0),
            share=share,
            weigh=weigh,
            gather=gather,
            rebuild=rebuild,
            group=max(group, 0.0),
            near=max(found["far"] - found["look"], 0.0) / (_PEERS - 2),
            **one,
        )


def calibrate(suite: Suite = Suite.AES256CTR, bits: int = 31, samples: int = 50) -> Units:
    """Times the kernels on this machine: a second or two.

    Args:
        suite: whose generator expands masks.
        bits: width of an element, 16..62.
        samples: of each piece of work, of which the median counts.
    """
    calibration = Calibration(suite, bits)
    calibration.take(samples)
    return calibration.units()


# -- pieces of work, by the unit that they tell, or by a name of their own ------------------------


def _several(work: Callable[[], object]) -> Piece:
    """Work that a party does for many messages, one after the other."""

    def repeated() -> None:
        for _ in range(_REPEATS):
            work()

    return repeated, _REPEATS


def _plain() -> dict[str, Piece]:
    """What concerns one key, one message or one signature."""
    key = os.urandom(KEY_BYTES)
    verifier, signature = sign.verify_key(key), sign.sign(key, _DIGEST)
    agreed = Params(_PEERS, 1, _FORMAT).round()
    message = header(MessageType.SURVIVORS, _SESSION) + bytes(100)
    return {
        "begin": _several(lambda: Client(agreed, 0).start()),
        "base": _several(lambda: agreement.public_key(key)),
        "derive": _several(lambda: derivation.commitment(key, _DIGEST, 0)),
        "sign": _several(lambda: sign.sign(key, _DIGEST)),
        "verify": _several(lambda: sign.verify(verifier, _DIGEST, signature)),
        "message": _several(lambda: _Listener().receive(message)),
    }


def _client(generator: Generator) -> dict[str, Piece]:
    """What a client does with its neighbours."""
    parties, key = 2**14, os.urandom(KEY_BYTES)  # many: what a set costs however small is little
    wide, ring = Harary(parties, _PEERS, generator, key), Harary(parties, 2, generator, key)
    everybody = PartySet.of(range(parties), parties)
    some, who = PartySet.of(range(0, parties, 30), parties), cycle(range(parties))
    turn = cycle([_Neighbourhood() for _ in range(_CLIENTS)])
    return {
        "pair": (lambda: next(turn).pairs(), _PEERS),
        "greet": (lambda: next(turn).greet(), _PEERS),
        "hear": (lambda: next(turn).hear(), _PEERS),
        "entry": (lambda: next(turn).read(), _PEERS + 1),
        "believe": (lambda: next(turn).believe(), _PEERS + 1),
        "answer": (lambda: next(turn).answer(), _PEERS),
        "place": (lambda: Harary(parties, 2, generator, key), parties),
        "look": _several(lambda: ring.neighbours(next(who), everybody)),
        "far": _several(lambda: wide.neighbours(next(who), everybody)),
        "connect": (lambda: wide.connected(everybody), parties),
        "member": (_several(lambda: list(some))[0], parties * _REPEATS),
    }


def _server(cohort: int, generator: Generator) -> dict[str, Piece]:
    """What the server does with the rosters and the ciphertexts of many clients."""
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

    def enter() -> None:
        for _ in range(count):
            some = {peer: roster[peer] for peer in near[next(turn)]}
            Roster(members, some, _DIGEST).encode(_SESSION, cohort)

    return {"relay": (relay, count * degree), "enter": (enter, count * degree)}


def _vectors(generator: Generator, bits: int) -> dict[str, Piece]:
    """What is done with vectors."""
    field, key = Field(bits), os.urandom(KEY_BYTES)
    vector = field.uniform(key, _ELEMENTS, generator)
    packed = field.pack(vector)
    values = np.zeros(_ELEMENTS, np.float32)
    params = Params(_FEW, 1, _FORMAT)
    codec = codec_for(Params(_FEW, _ELEMENTS, _FORMAT))

    def begin() -> None:
        encoded = codec_for(params).encode(values[:1], 1, os.urandom).vector
        own = Field(params.field_bits)
        own.pack(own.accumulate(encoded, [key], [1], generator))

    def expansion(count: int, length: int) -> Callable[[], object]:
        total, several, signs = field.zeros(length), [key] * count, [1] * count
        return lambda: field.accumulate(total, several, signs, generator, threads=1)

    return {
        "vector": _several(begin),
        "digest": (lambda: kdf(key, Label.INPUT_CHECKSUM, packed), len(packed)),
        "encode": (lambda: codec.encode(values, 1, os.urandom), _ELEMENTS),
        "pack": (lambda: field.pack(vector), _ELEMENTS),
        "add": (lambda: field.unpack_add(vector, packed), _ELEMENTS),
        "expand": (expansion(_PEERS, _ELEMENTS), _PEERS * _ELEMENTS),
        "mask": (expansion(_CLIENTS, 1), _CLIENTS),
    }


def _shares(generator: Generator) -> dict[str, Piece]:
    """Sharing seeds."""
    seeds = [bytes(shamir.SEED_BYTES)] * 2

    def dealing(holders: int, threshold: int) -> Piece:
        return _several(
            lambda: shamir.pack_shares(
                shamir.deal(seeds, threshold, range(holders), generator, bytes(KEY_BYTES))
            )
        )

    holders = 4 * _CLIENTS
    return {
        "deal": dealing(_FEW, 2),
        "deal few": dealing(_PEERS, _FEW),
        "deal many": dealing(_PEERS, _MANY),
        "deal narrow": dealing(_FEW, _MANY),
        "weights": (lambda: shamir.Rebuilder(2 * holders // 3, range(holders)), holders**2),
    }


def _recovery(generator: Generator) -> dict[str, Piece]:
    """Rebuilding the seeds of some parties, who share with few, with many, or with all."""
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
    shares = np.zeros((degree + 1 if degree else n, shamir.LIMBS), np.uint64)  # of zero
    messages = [
        Unmask(PartySet.of(graph.holders(party, members), n), shares).encode(_SESSION, n)
        for party in range(n)
    ]

    def work() -> None:
        answers = {
            party: Unmask.read(Reader(message[HEADER_BYTES:], party), params)
            for party, message in enumerate(messages)
        }
        rebuild_seeds(params, graph, {}, commitments, _DIGEST, _DIGEST, range(n), answers)

    return work


def _entry() -> PublicKeys:
    """Keys that nobody holds; the last byte keeps them below the prime of the curve."""
    return PublicKeys(os.urandom(KEY_BYTES - 1) + b"\1", os.urandom(KEY_BYTES - 1) + b"\1")


class _Listener(Owned):
    """A party that only opens what it is sent."""

    @exclusive
    def receive(self, message: bytes) -> PartySet:
        """The bitmap in a message."""
        return open_message(message, SERVER, _SESSION)[1].bitmap(800)


class _Neighbourhood:
    """A client among its neighbours, outside of any round: what it does with them, in pieces."""

    def __init__(self) -> None:
        n = _PEERS + 1
        self._params = Params(n, 1, _FORMAT)
        members = PartySet.of(range(n), n)
        self._roster = {party: _entry() for party in range(n)}
        self._body = Roster(members, self._roster).encode(_SESSION, n)[HEADER_BYTES:]
        self._secret, self._h1 = os.urandom(KEY_BYTES), os.urandom(DIGEST_BYTES)
        self._pair = bytes(2 * shamir.SHARE_BYTES)
        self._inbound = {peer: Secret(os.urandom(KEY_BYTES)) for peer in range(1, n)}
        self._sealed = b"".join(
            seal.seal(key.expose(), self._pair, derivation.channel_data(self._h1, peer, 0))
            for peer, key in self._inbound.items()
        )
        self._held = {peer: np.zeros(2 * shamir.LIMBS, np.uint64) for peer in range(1, n)}

    def read(self) -> None:
        """Reads and checks a roster."""
        read = Roster.read(Reader(self._body, SERVER), self._params, Complete(), 0)
        distinct = {key for each in read.keys.values() for key in (each.channel, each.mask)}
        for each in read.keys.values() if distinct else ():
            agreement.check_public_key(each.channel)
            agreement.check_public_key(each.mask)

    def believe(self) -> None:
        """Hashes a roster."""
        transcript.roster_digest(self._h1, self._roster, self._params.cohort)

    def greet(self) -> None:
        """Seals shares for everybody."""
        sealed, inbound = {}, {}
        for peer in self._inbound:
            shared = agreement.agree(self._secret, self._roster[peer].channel)
            key = derivation.channel_key(shared, self._h1, 0, peer, self._roster)
            data = derivation.channel_data(self._h1, 0, peer)
            sealed[peer] = seal.seal(key, self._pair, data)
            inbound[peer] = Secret(derivation.channel_key(shared, self._h1, peer, 0, self._roster))
        ShareKeys(_DIGEST, _DIGEST, sealed).encode(_SESSION)

    def hear(self) -> None:
        """Opens everybody's shares, and agrees on masks."""
        reader, opened = Reader(self._sealed, SERVER), {}
        for peer, key in self._inbound.items():
            data = derivation.channel_data(self._h1, peer, 0)
            opened[peer] = seal.unseal(key.expose(), reader.take(SEALED_BYTES), data) or b""
        shares, _ = shamir.split_shares(b"".join(opened.values()))
        rows = shares.reshape(-1, 2 * shamir.LIMBS)
        self._held = dict(zip(opened, rows, strict=True))
        for secret in [Secret(key) for key in self.pairs()]:
            secret.expose()
            secret.wipe()

    def pairs(self) -> list[bytes]:
        """The keys of pairwise masks with everybody."""
        roster = self._roster
        return [
            derivation.pairwise_key(self._secret, self._h1, 0, peer, roster) for peer in self._held
        ]

    def answer(self) -> None:
        """Gives everybody's shares away."""
        alive, shares = PartySet.of(self._held, 1_000), np.empty((_PEERS, shamir.LIMBS), np.uint64)
        for row, peer in enumerate(sorted(self._held)):
            held = self._held[peer]
            shares[row] = held[shamir.LIMBS :] if peer in alive else held[: shamir.LIMBS]
        Unmask(PartySet.of(self._held, 1_000), shares).encode(_SESSION, 1_000)
