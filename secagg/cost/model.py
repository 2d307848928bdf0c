"""What a round will cost: seconds and bytes of each side, from a few unit costs and counts.

The counts follow from the protocol (`docs/WIRE.md`), the units from timing single kernels on this
machine (`calibration.py`): no round is played. So it also tells about cohorts that no
simulation holds.
"""

from dataclasses import dataclass

from ..codes import Code
from ..errors import ParameterError
from ..machine.wire import HEADER_BYTES
from ..pairwise.messages import SEALED_BYTES
from ..params.mode import Mode
from ..params.params import Params
from ..primitives import shamir
from ..primitives.labels import DIGEST_BYTES


@dataclass(frozen=True, slots=True)
class Units:
    """Seconds for one of each.

    Attributes:
        begin: making a client, and its first message (without the graph, and without signing).
        place: placing a party of the cohort on a sparse graph.
        pair: agreeing on the key of a pairwise mask (X25519).
        base: an X25519 public key.
        greet: agreeing on a channel, and sealing a pair of shares for it.
        hear: opening a pair of shares, and agreeing on the key of a pairwise mask.
        derive: deriving a key.
        sign, verify: an Ed25519 call.
        entry: reading and checking an entry of a roster (without its signature).
        enter: writing an entry into a roster.
        believe: hashing an entry of a roster.
        look: beginning to look for a party's neighbours on a sparse graph.
        near: finding one of them.
        member: going through a set of parties, for each party of the cohort.
        connect: whether a sparse graph falls apart, for each party of the cohort.
        message: a call with a message that is opened.
        relay: taking a ciphertext out of one message and putting it into another.
        digest: hashing a byte.
        vector: beginning to quantize, mask and pack a vector.
        encode: quantizing an element.
        pack: packing an element.
        add: unpacking and adding an element.
        expand: expanding an element of a mask and adding it, on one thread.
        mask: beginning a mask.
        deal: beginning to share two seeds, and packing the shares.
        coefficient: drawing a coefficient of a sharing polynomial.
        share: evaluating one term of it for one holder.
        answer: answering with a share.
        weigh: the weights of a set of holders, for each pair of them.
        group: what else a set of holders takes.
        gather: a share of a seed: reading it, and using it.
        rebuild: what is left of rebuilding a seed, and checking it.
    """

    begin: float
    place: float
    pair: float
    base: float
    greet: float
    hear: float
    derive: float
    sign: float
    verify: float
    entry: float
    enter: float
    believe: float
    look: float
    near: float
    member: float
    connect: float
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
    answer: float
    weigh: float
    group: float
    gather: float
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
            raise ParameterError(f"a round with {dropouts} dropouts has no result", Code.ARGUMENT)
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
    """What one side pays.

    Attributes:
        phases: CPU seconds of each phase, in the order of `Mode.phases`.
        sent, received: bytes.
    """

    phases: tuple[float, ...]
    sent: float
    received: float

    @property
    def seconds(self) -> float:
        """CPU seconds of all phases."""
        return sum(self.phases)


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
        Side(_client_phases(shape, units), sum(up), sum(down)),
        Side(
            _server_phases(shape, units),
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


def _client_phases(shape: Shape, unit: Units) -> tuple[float, ...]:
    n, d, t = shape.cohort, shape.neighbours, shape.threshold
    lookup, down = _lookup(shape, unit), _bytes_down(shape)
    packed = shape.elements * shape.bits / 8
    begin = unit.begin + (n * unit.place if shape.sparse else 0.0)
    share = unit.message + lookup + down[0] * unit.digest
    share += (d + 1) * (unit.entry + unit.believe) + d * unit.greet
    share += unit.deal + 6 * (t - 1) * (unit.coefficient + (d + 1) * unit.share)
    mask = unit.message + 2 * lookup + (down[1] + packed) * unit.digest + d * unit.hear
    mask += unit.vector + (d + 1) * unit.mask
    mask += shape.elements * (unit.encode + (d + 1) * unit.expand + unit.pack)
    answer = unit.message + lookup + down[2] * unit.digest + (d + 1) * unit.answer
    answer += n * unit.connect if shape.sparse else 0.0
    if not shape.malicious:
        return begin, share, mask, answer
    consistent = unit.message + lookup + down[2] * unit.digest + unit.sign
    answer = unit.message + n * unit.member + down[3] * unit.digest + (d + 1) * unit.answer
    return (
        begin + unit.sign,
        share + d * unit.verify,
        mask + unit.sign,
        consistent,
        answer + t * unit.verify,
    )


def _server_phases(shape: Shape, unit: Units) -> tuple[float, ...]:
    n, d, alive = shape.cohort, shape.neighbours, shape.survivors
    lookup, up = _lookup(shape, unit), _bytes_up(shape)
    packed = shape.elements * shape.bits / 8
    entries = n * (unit.message + unit.entry + unit.believe + up[0] * unit.digest)
    relayed = n * (unit.message + 2 * lookup + d * unit.relay + up[1] * unit.digest)
    added = alive * (unit.message + shape.elements * unit.add + 2 * packed * unit.digest)
    if shape.sparse:
        entries += n * (unit.place + lookup + (d + 1) * unit.enter)
        relayed += n * (lookup + (d + 1) * unit.believe)
        added += n * (lookup + unit.connect)
    else:
        entries += n * unit.enter
    holders, sets = (d + 1) * alive / n, n if shape.sparse else 1  # with weights of its own each
    answers = alive * (unit.message + lookup + n * unit.member)
    answers += sets * (unit.group + holders**2 * unit.weigh)
    answers += n * (holders * unit.gather + unit.rebuild + unit.derive)
    answers += shape.dropouts * (lookup + unit.base + unit.derive) + shape.lost_pairs * unit.pair
    masks = alive + shape.lost_pairs
    answers += unit.vector + masks * (shape.elements * unit.expand + unit.mask)
    if not shape.malicious:
        return entries, relayed, added, answers
    consistent = alive * (unit.message + unit.verify)
    return entries + n * unit.verify, relayed, added + alive * unit.verify, consistent, answers


def _lookup(shape: Shape, unit: Units) -> float:
    """Who of the parties are a party's neighbours."""
    if shape.sparse:
        return unit.look + shape.neighbours * unit.near
    return shape.cohort * unit.member
