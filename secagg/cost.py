"""What a round will cost: seconds and bytes of each side, from a few unit costs and counts.

The counts follow from the protocol (`docs/WIRE.md`), the units from timing single kernels on this
machine (`calibrate`): no round is played. So it also tells about cohorts that no simulation holds.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .encoding import codec_for
from .errors import SERVER, ParameterError
from .field import KEY_BYTES, Field
from .formats import FixedPoint
from .graph import Complete, Harary
from .pairwise import keys
from .pairwise.messages import SEALED_BYTES, Delivery, PublicKeys, Roster, ShareKeys
from .pairwise.session import Session, exclusive
from .params import Mode, Params, Suite
from .primitives import agreement, seal, shamir, sign
from .primitives.labels import DIGEST_BYTES, Label, kdf
from .secret import Secret
from .wire import HEADER_BYTES, MessageType, PartySet, Reader, header, open_message

_SESSION: Final = bytes(16)
_PEERS: Final = 64  # of the pieces that are timed a peer at a time
_ELEMENTS: Final = 100_000  # and of those that are timed an element at a time


@dataclass(frozen=True, slots=True)
class Units:
    """Seconds for one of each.

    Attributes:
        pair: agreeing on the key of a pairwise mask (X25519).
        base: an X25519 public key.
        greet: agreeing on a channel, and sealing a pair of shares for it.
        hear: opening a pair of shares, and agreeing on the key of a pairwise mask.
        derive: deriving a key.
        sign, verify: an Ed25519 call.
        entry: reading and checking an entry of a roster (without its signature).
        believe: hashing an entry of the roster, as a client of a sparse graph saw it.
        look: beginning to look for a party's neighbours on a sparse graph.
        near: finding one of them.
        member: going through a bitmap of few members, for each party of the cohort.
        message: a call with a message that is opened.
        relay: taking a ciphertext out of one message and putting it into another.
        digest: hashing a byte.
        vector: beginning to quantize, mask and pack a vector.
        encode: quantizing an element.
        pack: packing an element.
        add: unpacking and adding an element.
        expand: expanding an element of a mask and adding it.
        mask: beginning a mask.
        deal: beginning to share two seeds, and packing and unpacking shares of as many others.
        coefficient: drawing a coefficient of a sharing polynomial.
        share: evaluating one term of it for one holder.
        weigh: the weights of a set of holders, for each pair of them.
        combine: using one share of a seed.
        rebuild: what is left of rebuilding a seed.
    """

    pair: float
    base: float
    greet: float
    hear: float
    derive: float
    sign: float
    verify: float
    entry: float
    believe: float
    look: float
    near: float
    member: float
    message: float
    relay: float
    digest: float
    vector: float
    encode: float
    pack: float
    add: float
    expand: float
    mask: float
    deal: float
    coefficient: float
    share: float
    weigh: float
    combine: float
    rebuild: float


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers that a cost depends on.

    Attributes:
        cohort: parties n.
        neighbours: of each party; n - 1 on the complete graph.
        threshold: shares that rebuild a seed.
        elements: of a vector.
        bits: of an element.
        dropouts: parties that vanish after they have dealt shares.
        sparse: whether the graph is.
        malicious: whether messages are signed.
    """

    cohort: int
    neighbours: int
    threshold: int
    elements: int
    bits: int
    dropouts: int = 0
    sparse: bool = False
    malicious: bool = False

    @classmethod
    def of(cls, params: Params, dropouts: int = 0) -> "Shape":
        """That of a round with these parameters.

        Raises:
            ParameterError: more dropouts than leave a quorum.
        """
        if not 0 <= dropouts <= params.cohort - params.quorum:
            raise ParameterError(f"a round with {dropouts} dropouts has no result")
        return cls(
            params.cohort,
            params.degree or params.cohort - 1,
            params.threshold,
            params.vector_length,
            params.field_bits,
            dropouts,
            bool(params.degree),
            params.mode is Mode.MALICIOUS,
        )

    @property
    def survivors(self) -> int:
        """Whose input is in the sum."""
        return self.cohort - self.dropouts

    @property
    def lost_pairs(self) -> float:
        """Pairs of a vanished party and a survivor who share a mask; on a sparse graph expected."""
        others = max(self.cohort - 1, 1)
        return self.dropouts * self.neighbours * self.survivors / others


@dataclass(frozen=True, slots=True)
class Side:
    """What one side pays: seconds of one core, bytes that it sends and gets."""

    seconds: float
    sent: float
    received: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a round costs.

    Attributes:
        client: one client that stays to the end.
        server: the server, unmasking included.
    """

    client: Side
    server: Side


def estimate(shape: Shape, units: Units) -> Estimate:
    """The cost of a round of this shape with these units."""
    up, down = _bytes_up(shape), _bytes_down(shape)
    n, alive = shape.cohort, shape.survivors
    gone = shape.dropouts * (up[0] + up[1])
    return Estimate(
        Side(_client_seconds(shape, units), sum(up), sum(down)),
        Side(
            _server_seconds(shape, units),
            n * (down[0] + down[1]) + alive * sum(down[2:]),
            alive * sum(up) + gone,
        ),
    )


# -- bytes ----------------------------------------------------------------------------------------


def _bitmap(shape: Shape) -> int:
    return HEADER_BYTES + (shape.cohort + 7) // 8


def _entry(shape: Shape) -> int:
    return 128 if shape.malicious else 64


def _bytes_up(shape: Shape) -> list[float]:
    """What a client sends in each step."""
    d, packed = shape.neighbours, (shape.elements * shape.bits + 7) // 8
    up: list[float] = [
        HEADER_BYTES + DIGEST_BYTES + _entry(shape),
        HEADER_BYTES + 2 * DIGEST_BYTES + SEALED_BYTES * d,
        HEADER_BYTES + DIGEST_BYTES + packed + (64 if shape.malicious else 16),
        _bitmap(shape) + shamir.SHARE_BYTES * (d + 1),
    ]
    return [*up, HEADER_BYTES + 64] if shape.malicious else up


def _bytes_down(shape: Shape) -> list[float]:
    """What a client is sent in each step: the roster, the ciphertexts, the survivors."""
    d = shape.neighbours
    down: list[float] = [
        _bitmap(shape) + _entry(shape) * (d + 1) + (DIGEST_BYTES if shape.sparse else 0),
        _bitmap(shape) + SEALED_BYTES * d,
        _bitmap(shape),
    ]
    return [*down, _bitmap(shape) + 64 * shape.threshold] if shape.malicious else down


# -- seconds --------------------------------------------------------------------------------------


def _client_seconds(shape: Shape, unit: Units) -> float:
    d, t = shape.neighbours, shape.threshold
    packed = shape.elements * shape.bits / 8
    messages = len(_bytes_down(shape)) * unit.message
    near = 0.0
    if shape.sparse:
        near = 9 * unit.look + 7 * d * unit.near + (d + 1) * unit.believe
    near += shape.cohort * unit.member
    peers = (d + 1) * unit.entry + d * (unit.greet + unit.hear)
    shares = unit.deal + 6 * (t - 1) * (unit.coefficient + (d + 1) * unit.share)
    vector = shape.elements * (unit.encode + (d + 1) * unit.expand + unit.pack)
    vector += unit.vector + (d + 1) * unit.mask
    hashed = (sum(_bytes_down(shape)) + packed) * unit.digest
    signed = 3 * unit.sign + (d + t) * unit.verify if shape.malicious else 0.0
    return messages + near + peers + shares + vector + hashed + signed


def _server_seconds(shape: Shape, unit: Units) -> float:
    n, d, alive = shape.cohort, shape.neighbours, shape.survivors
    holders = (d + 1) * alive / n
    packed = shape.elements * shape.bits / 8
    entries = n * unit.entry
    relayed = n * (d * unit.relay + n * unit.member)
    if shape.sparse:
        relayed += n * (6 * (unit.look + d * unit.near) + 2 * (d + 1) * unit.believe)
    messages = n * (len(_bytes_up(shape)) * unit.message + unit.deal)
    hashed = (n * (_bytes_up(shape)[0] + _bytes_up(shape)[1])) * unit.digest
    added = alive * (shape.elements * unit.add + 2 * packed * unit.digest)
    sets = n if shape.sparse else 1  # of holders, each with weights of its own
    rebuilt = sets * holders**2 * unit.weigh
    rebuilt += n * (holders * unit.combine + unit.rebuild + unit.derive)
    rebuilt += shape.dropouts * 2 * unit.base
    agreed = shape.lost_pairs * unit.pair
    masks = alive + shape.lost_pairs
    unmasked = masks * (shape.elements * unit.expand + unit.mask)
    signed = (2 * n + alive) * unit.verify if shape.malicious else 0.0
    return entries + relayed + messages + hashed + added + rebuilt + agreed + unmasked + signed


# -- units ----------------------------------------------------------------------------------------


def calibrate(suite: Suite = Suite.AES256CTR, bits: int = 31, rounds: int = 5) -> Units:
    """Times the kernels on this machine: some seconds.

    Args:
        suite: whose masks are expanded.
        bits: width of an element, 16..62.
        rounds: of which the median counts.
    """

    def timed(work: Callable[[], object], count: int = 1) -> float:
        """Seconds that one of `count` took."""
        found = []
        work()
        for _ in range(rounds):
            start = time.perf_counter()
            repeats = 0
            while repeats == 0 or time.perf_counter() - start < 0.02:
                work()
                repeats += 1
            found.append((time.perf_counter() - start) / repeats)
        return statistics.median(found) / count

    field, key = Field(bits), os.urandom(KEY_BYTES)
    digest = bytes(DIGEST_BYTES)
    verifier, signature = sign.verify_key(key), sign.sign(key, digest)
    vector = field.uniform(key, _ELEMENTS, suite)
    packed = field.pack(vector)
    values = np.zeros(_ELEMENTS, np.float32)
    codec = codec_for(Params(5, _ELEMENTS, FixedPoint(clip=1.0)))
    peers = _Peers()
    everybody = PartySet.of(range(1000), 1000)
    wide_graph, ring = Harary(1000, _PEERS, suite, key), Harary(1000, 2, suite, key)
    look = timed(lambda: ring.neighbours(0, everybody))
    some = PartySet.of(range(0, 10_000, 300), 10_000)
    message = header(MessageType.SURVIVORS, _SESSION) + bytes(100)
    many, most = [key] * 16, [key] * _PEERS

    def expansion(keys_: list[bytes], length: int) -> float:
        acc = field.zeros(length)
        signs = [1] * len(keys_)
        return timed(lambda: field.accumulate(acc, keys_, signs, suite, threads=1), len(keys_))

    expand = expansion(many, _ELEMENTS) / _ELEMENTS
    small = Shape(_PEERS + 1, _PEERS, 2, 1, bits)
    low, high = _dealing(small.cohort, 8), _dealing(small.cohort, 48)
    narrow = _dealing(4, 48)
    share = max(timed(high) - timed(narrow), 0.0) / (6 * 47 * (small.cohort - 4))
    coefficient = max((timed(high) - timed(low)) / (6 * 40) - small.cohort * share, 0.0)
    seeds, one, weights = _rebuilding(512, 40), _rebuilding(512, 1), _weighing(512)
    combine = max(timed(seeds) - timed(one), 0.0) / (39 * 512)
    weigh = timed(weights) / 512**2
    rebuild = timed(_rebuilding_alone(35))
    return Units(
        pair=timed(peers.pairs, _PEERS),
        base=timed(lambda: agreement.public_key(key)),
        greet=timed(peers.greet, _PEERS),
        hear=timed(peers.hear, _PEERS),
        derive=timed(lambda: keys.commitment(key, digest, 0)),
        sign=timed(lambda: sign.sign(key, digest)),
        verify=timed(lambda: sign.verify(verifier, digest, signature)),
        entry=timed(peers.read, _PEERS + 1),
        believe=timed(peers.believe, _PEERS + 1),
        member=timed(lambda: list(some), 10_000),
        look=look,
        near=max(timed(lambda: wide_graph.neighbours(0, everybody)) - look, 0.0) / _PEERS,
        message=timed(lambda: _Listener().receive(message)),
        relay=timed(*_relay()),
        digest=timed(lambda: kdf(key, Label.INPUT_CHECKSUM, packed), len(packed)),
        vector=timed(_vector(values[:1], key, suite)),
        encode=timed(lambda: codec.encode(values, 1, os.urandom), _ELEMENTS),
        pack=timed(lambda: field.pack(vector), _ELEMENTS),
        add=timed(lambda: field.unpack_add(vector, packed), _ELEMENTS),
        expand=expand,
        mask=expansion(most, 1),
        deal=timed(_dealing(3, 2)),
        coefficient=coefficient,
        share=share,
        weigh=weigh,
        combine=combine,
        rebuild=max(rebuild - 35**2 * weigh - 35 * combine, 0.0),
    )


def _vector(values: NDArray[np.float32], key: bytes, suite: Suite) -> Callable[[], object]:
    params = Params(5, values.size, FixedPoint(clip=1.0))

    def work() -> None:
        field = Field(params.field_bits)
        vector = codec_for(params).encode(values, 1, os.urandom).vector
        field.pack(field.accumulate(vector, [key], [1], suite))

    return work


def _dealing(holders: int, threshold: int) -> Callable[[], object]:
    seeds = [bytes(shamir.SEED_BYTES)] * 2
    return lambda: shamir.split_shares(
        shamir.pack_shares(
            shamir.deal(seeds, threshold, range(holders), Suite.AES256CTR, bytes(KEY_BYTES))
        )
    )


def _weighing(holders: int) -> Callable[[], object]:
    return lambda: shamir.Rebuilder(2 * holders // 3, range(holders))


def _rebuilding(holders: int, seeds: int) -> Callable[[], object]:
    rebuilder = shamir.Rebuilder(2 * holders // 3, range(holders))
    table = np.zeros((holders, shamir.LIMBS * seeds), np.uint64)
    return lambda: rebuilder.rebuild(table, _anything)


def _rebuilding_alone(holders: int) -> Callable[[], object]:
    table = np.zeros((holders, shamir.LIMBS), np.uint64)
    return lambda: shamir.Rebuilder(holders // 2, range(holders)).rebuild(table, _anything)


def _anything(_number: int, _seed: bytes) -> bool:
    return True


class _Listener(Session):
    """A party that only opens what it is sent."""

    @exclusive
    def receive(self, message: bytes) -> PartySet:
        """The bitmap in a message."""
        return open_message(message, SERVER, _SESSION)[1].bitmap(800)


class _Peers:
    """What a client does with its neighbours, a piece at a time, outside of any round."""

    def __init__(self) -> None:
        n = _PEERS + 1
        self._params = Params(n, 1, FixedPoint(clip=1.0))
        self._members = PartySet.of(range(n), n)
        public = [agreement.public_key(bytes([i]) * 32) for i in range(2 * n)]
        self._roster = {i: PublicKeys(public[2 * i], public[2 * i + 1]) for i in range(n)}
        self._body = Roster(self._members, self._roster).encode(_SESSION, n)[HEADER_BYTES:]
        self._secret, self._h1 = bytes(32), bytes(DIGEST_BYTES)
        self._pair = bytes(2 * shamir.SHARE_BYTES)
        keys_ = {
            peer: keys.channel_key(self._secret, self._h1, peer, 0, self._roster)
            for peer in range(1, n)
        }
        self._inbound = {peer: Secret(key) for peer, key in keys_.items()}
        self._sealed = b"".join(
            seal.seal(key, self._pair, keys.channel_data(self._h1, peer, 0))
            for peer, key in keys_.items()
        )

    def read(self) -> None:
        """Reads and checks a roster."""
        read = Roster.read(Reader(self._body, SERVER), self._params, Complete(), 0)
        distinct = {key for each in read.keys.values() for key in (each.channel, each.mask)}
        for each in read.keys.values() if distinct else ():
            agreement.check_public_key(each.channel)
            agreement.check_public_key(each.mask)

    def believe(self) -> None:
        """Hashes a roster."""
        keys.believed(self._h1, self._roster, self._params.cohort)

    def greet(self) -> None:
        """Seals shares for everybody."""
        sealed, inbound = {}, {}
        for peer in range(1, len(self._roster)):
            shared = agreement.agree(self._secret, self._roster[peer].channel)
            key = keys.channel_key(shared, self._h1, 0, peer, self._roster)
            data = keys.channel_data(self._h1, 0, peer)
            sealed[peer] = seal.seal(key, self._pair, data)
            inbound[peer] = Secret(keys.channel_key(shared, self._h1, peer, 0, self._roster))

    def hear(self) -> None:
        """Opens everybody's shares, and agrees on masks."""
        reader, opened = Reader(self._sealed, SERVER), {}
        for peer, key in self._inbound.items():
            data = keys.channel_data(self._h1, peer, 0)
            opened[peer] = seal.unseal(key.expose(), reader.take(SEALED_BYTES), data) or b""
        shares, _ = shamir.split_shares(b"".join(opened.values()))
        held = dict(zip(opened, shares.reshape(-1, 2 * shamir.LIMBS), strict=True))
        kept = [Secret(key) for key in self.pairs()]
        answer = np.empty((len(held), shamir.LIMBS), np.uint64)
        for row, peer in enumerate(sorted(held)):
            answer[row] = held[peer][: shamir.LIMBS]
        for secret in kept:
            secret.expose()
            secret.wipe()

    def pairs(self) -> list[bytes]:
        """The keys of pairwise masks with everybody."""
        roster = self._roster
        return [
            keys.pairwise_key(self._secret, self._h1, 0, peer, roster)
            for peer in range(1, len(roster))
        ]


def _relay() -> tuple[Callable[[], object], int]:
    """Takes ciphertexts out of many messages, and puts each into another; and their number."""
    parties, degree = 512, 32  # enough to lie in no near cache
    members, digest = PartySet.of(range(parties), parties), bytes(DIGEST_BYTES)
    receivers, senders, bodies = [], [], []
    for party in range(parties):
        around = [(party + step) % parties for step in range(1, degree + 1)]
        receivers.append(sorted(around))
        senders.append(sorted((party - step) % parties for step in range(1, degree + 1)))
        sealed = {peer: os.urandom(SEALED_BYTES) for peer in receivers[party]}
        bodies.append(ShareKeys(digest, digest, sealed).encode(_SESSION)[HEADER_BYTES:])

    def work() -> None:
        shares = {
            party: ShareKeys.read(Reader(body, party), receivers[party])
            for party, body in enumerate(bodies)
        }
        for party in range(parties):
            sealed = {peer: shares[peer].sealed[party] for peer in senders[party]}
            Delivery(members, sealed).encode(_SESSION, parties)

    return work, parties * degree
