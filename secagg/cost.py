"""What a round will cost: seconds and bytes of each side, from a few unit costs and counts.

The counts follow from the protocol (`docs/WIRE.md`), the units from timing single kernels on this
machine (`calibrate`): no round is played. So it also tells about cohorts that no simulation holds.
"""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from .encoding import codec_for
from .errors import SERVER, ParameterError
from .field import KEY_BYTES, Field
from .formats import FixedPoint
from .graph import Complete, Harary
from .pairwise import keys
from .pairwise.messages import SEALED_BYTES, Delivery, PublicKeys, Roster, ShareKeys
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
        agree: an X25519 agreement.
        base: an X25519 public key.
        derive: the key of a channel or of a pairwise mask, once agreed.
        seal, unseal: an AEAD call on a pair of shares.
        sign, verify: an Ed25519 call.
        entry: reading and checking an entry of a roster (without its signature).
        secret: keeping a secret, and wiping it.
        near: finding one neighbour on a sparse graph.
        message: opening a message.
        relay: taking a ciphertext out of one message and putting it into another.
        digest: hashing a byte.
        vector: beginning to quantize and pack a vector.
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

    agree: float
    base: float
    derive: float
    seal: float
    unseal: float
    sign: float
    verify: float
    entry: float
    secret: float
    near: float
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
    near = 7 * d * unit.near if shape.sparse else 0.0
    roster = (d + 1) * unit.entry + d * (unit.agree + 2 * unit.derive + unit.seal + unit.secret)
    shares = unit.deal + 6 * (t - 1) * (unit.coefficient + (d + 1) * unit.share)
    delivery = d * (unit.unseal + unit.agree + unit.derive + unit.secret)
    vector = shape.elements * (unit.encode + (d + 1) * unit.expand + unit.pack)
    vector += unit.vector + (d + 1) * unit.mask
    hashed = (sum(_bytes_down(shape)) + packed) * unit.digest
    signed = 3 * unit.sign + (d + t) * unit.verify if shape.malicious else 0.0
    return messages + near + roster + shares + delivery + vector + hashed + signed


def _server_seconds(shape: Shape, unit: Units) -> float:
    n, d, alive = shape.cohort, shape.neighbours, shape.survivors
    holders = (d + 1) * alive / n
    packed = shape.elements * shape.bits / 8
    entries = n * unit.entry * (1 + (d + 1 if shape.sparse else 0))
    relayed = n * d * (unit.relay + (4 * unit.near if shape.sparse else 0.0))
    messages = n * (len(_bytes_up(shape)) * unit.message + unit.deal)
    hashed = (n * (_bytes_up(shape)[0] + _bytes_up(shape)[1])) * unit.digest
    added = alive * (shape.elements * unit.add + 2 * packed * unit.digest)
    sets = n if shape.sparse else 1  # of holders, each with weights of its own
    rebuilt = sets * holders**2 * unit.weigh
    rebuilt += n * (holders * unit.combine + unit.rebuild + unit.derive)
    rebuilt += shape.dropouts * 2 * unit.base
    agreed = shape.lost_pairs * (unit.agree + unit.derive)
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
        rounds: of which the fastest counts.
    """

    def timed(work: Callable[[], object], count: int = 1) -> float:
        """The least seconds that one of `count` took."""
        best = math.inf
        work()
        for _ in range(rounds):
            start = time.perf_counter()
            repeats = 0
            while repeats == 0 or time.perf_counter() - start < 0.02:
                work()
                repeats += 1
            best = min(best, (time.perf_counter() - start) / repeats)
        return best / count

    field, key = Field(bits), os.urandom(KEY_BYTES)
    secret, public = key, agreement.public_key(os.urandom(32))
    pair, digest = bytes(2 * shamir.SHARE_BYTES), bytes(DIGEST_BYTES)
    data = keys.channel_data(digest, 0, 1)
    sealed = seal.seal(key, pair, data)
    verifier, signature = sign.verify_key(key), sign.sign(key, digest)
    vector = field.uniform(key, _ELEMENTS, suite)
    packed = field.pack(vector)
    values = np.zeros(_ELEMENTS, np.float32)
    codec = codec_for(Params(5, _ELEMENTS, FixedPoint(clip=1.0)))
    one_value = codec_for(Params(5, 1, FixedPoint(clip=1.0)))
    channel = PublicKeys(public, public)
    roster = {0: channel, 1: channel}
    graph, everybody = Harary(1000, _PEERS, suite, key), PartySet.of(range(1000), 1000)
    message = header(MessageType.SURVIVORS, _SESSION) + bytes(100)
    many, few = [key] * 16, [key]

    def expansion(keys_: list[bytes], length: int) -> float:
        acc = field.zeros(length)
        return timed(lambda: field.accumulate(acc, keys_, [1] * len(keys_), suite), len(keys_))

    expand = expansion(many, _ELEMENTS) / _ELEMENTS
    small = Shape(_PEERS + 1, _PEERS, 2, 1, bits)
    low, high = _dealing(small.cohort, 8), _dealing(small.cohort, 48)
    narrow, wide = _dealing(4, 48), high
    share = max(timed(wide) - timed(narrow), 0.0) / (6 * 47 * (small.cohort - 4))
    coefficient = max((timed(high) - timed(low)) / (6 * 40) - small.cohort * share, 0.0)
    seeds, one, weights = _rebuilding(512, 40), _rebuilding(512, 1), _weighing(512)
    combine = max(timed(seeds) - timed(one), 0.0) / (39 * 512)
    weigh = timed(weights) / 512**2
    rebuild = timed(_rebuilding_alone(35))
    return Units(
        agree=timed(lambda: agreement.agree(secret, public)),
        base=timed(lambda: agreement.public_key(secret)),
        derive=timed(lambda: keys.channel_key(secret, digest, 0, 1, roster)),
        seal=timed(lambda: seal.seal(key, pair, keys.channel_data(digest, 0, 1))),
        unseal=timed(lambda: seal.unseal(key, sealed, keys.channel_data(digest, 0, 1))),
        sign=timed(lambda: sign.sign(key, digest)),
        verify=timed(lambda: sign.verify(verifier, digest, signature)),
        entry=timed(_entries(), _PEERS + 1),
        secret=timed(lambda: Secret(key).expose()),
        near=timed(lambda: graph.neighbours(0, everybody), _PEERS),
        message=timed(lambda: open_message(message, SERVER, _SESSION)[1].bitmap(800)),
        relay=timed(_relay(), _PEERS),
        digest=timed(lambda: kdf(key, Label.INPUT_CHECKSUM, packed), len(packed)),
        vector=timed(lambda: field.pack(one_value.encode(values[:1], 1, os.urandom).vector)),
        encode=timed(lambda: codec.encode(values, 1, os.urandom), _ELEMENTS),
        pack=timed(lambda: field.pack(vector), _ELEMENTS),
        add=timed(lambda: field.unpack_add(vector, packed), _ELEMENTS),
        expand=expand,
        mask=max(expansion(few, 1), 0.0),
        deal=timed(_dealing(3, 2)),
        coefficient=coefficient,
        share=share,
        weigh=weigh,
        combine=combine,
        rebuild=max(rebuild - 35**2 * weigh - 35 * combine, 0.0),
    )


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


def _entries() -> Callable[[], object]:
    """Reads and checks a roster."""
    params = Params(_PEERS + 1, 1, FixedPoint(clip=1.0))
    members = PartySet.of(range(params.cohort), params.cohort)
    public = [agreement.public_key(bytes([i]) * 32) for i in range(2 * params.cohort)]
    roster = {i: PublicKeys(public[2 * i], public[2 * i + 1]) for i in members}
    body = Roster(members, roster).encode(_SESSION, params.cohort)[HEADER_BYTES:]

    def work() -> None:
        read = Roster.read(Reader(body, SERVER), params, Complete(), 0)
        if len({key for each in read.keys.values() for key in (each.channel, each.mask)}) > 1:
            for each in read.keys.values():
                agreement.check_public_key(each.channel)
                agreement.check_public_key(each.mask)

    return work


def _relay() -> Callable[[], object]:
    """Takes ciphertexts out of a message, and puts as many into another."""
    receivers = range(1, _PEERS + 1)
    sealed = {i: bytes(SEALED_BYTES) for i in receivers}
    digest = bytes(DIGEST_BYTES)
    body = ShareKeys(digest, digest, sealed).encode(_SESSION)[HEADER_BYTES:]
    members = PartySet.of(range(_PEERS + 1), _PEERS + 1)
    complete = Complete()

    def work() -> None:
        read = ShareKeys.read(Reader(body, 0), complete.neighbours(0, members)).sealed
        again = {peer: read[peer] for peer in complete.neighbours(0, members)}
        Delivery(members, again).encode(_SESSION, _PEERS + 1)

    return work
