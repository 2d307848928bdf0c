"""Estimates seconds and bytes of each side of a round, from unit costs and counts.

The counts follow from the protocol (`docs/WIRE.md`), the unit costs from timing single kernels on
this machine (`calibration.py`). No round is played, so this also works for cohorts that are too
large to simulate.
"""

from dataclasses import dataclass, fields
from typing import Final

from ..arithmetic.field import Field
from ..codes import Code
from ..errors import ParameterError
from ..machine.wire import HEADER_BYTES
from ..pairwise.messages import CHECKSUM_BYTES, SEALED_BYTES
from ..params.checks import require_float, require_kind, whole
from ..params.mode import Mode
from ..params.params import Params
from ..primitives.agreement import PUBLIC_KEY_BYTES
from ..primitives.labels import DIGEST_BYTES
from ..primitives.sign import SIGNATURE_BYTES
from ..sharing import shamir

# Bounds of what a party allocates at its peak, incoming messages not included.
VECTORS: Final = 6
EDGE_BYTES: Final = 300  # at the server, per pair of neighbours and direction
NEIGHBOUR_BYTES: Final = 1000  # at a client
PARTY_BYTES: Final = 2000  # at the server, per party
FIXED_BYTES: Final = 2**16


@dataclass(frozen=True, slots=True)
class Units:
    """Unit costs: CPU seconds for doing each of these once.

    Attributes:
        start_client: making a client and its first message (without graph and signature).
        place_party: placing one party of the cohort on a sparse graph.
        pairwise_key: agreeing on the key of one pairwise mask (X25519).
        public_key: computing an X25519 public key.
        seal_share: agreeing on a channel key with one peer, and sealing a pair of shares.
        open_share: opening a pair of shares, and agreeing on the key of one pairwise mask.
        derive_key: deriving a key or a commitment by hashing.
        sign, verify: one Ed25519 signature.
        read_entry: reading and checking one entry of a roster (without its signature).
        write_entry: writing one entry into a roster.
        hash_entry: hashing one entry of a roster.
        find_neighbours: finding a party's neighbours on a sparse graph: fixed cost per search.
        neighbour: the same: additional cost per neighbour.
        scan_party: iterating over a set of parties, per party of the cohort.
        check_connected: checking whether a sparse graph is connected, per party of the cohort.
        open_message: a call that opens one message.
        relay_share: moving one sealed pair of shares from one message to another.
        hash_byte: hashing one byte.
        start_vector: quantizing, masking and packing a vector: fixed cost per vector.
        quantize: quantizing one element.
        pack: packing one element.
        unpack_add: unpacking one element and adding it.
        expand: expanding one element of a mask and adding it, on one thread.
        start_mask: expanding a mask: fixed cost per mask.
        start_dealing: sharing two seeds and packing the shares: fixed cost.
        coefficient: drawing one coefficient of a sharing polynomial.
        share_term: evaluating one term of a sharing polynomial for one holder.
        answer_share: writing one share into the answer at unmasking.
        weight_pair: computing the weights of a set of holders, per pair of holders.
        holder_set: rebuilding with a set of holders: fixed cost per set.
        use_share: reading and using one share while a seed is rebuilt.
        rebuild_seed: rebuilding and checking one seed: fixed cost per seed.
    """

    start_client: float
    place_party: float
    pairwise_key: float
    public_key: float
    seal_share: float
    open_share: float
    derive_key: float
    sign: float
    verify: float
    read_entry: float
    write_entry: float
    hash_entry: float
    find_neighbours: float
    neighbour: float
    scan_party: float
    check_connected: float
    open_message: float
    relay_share: float
    hash_byte: float
    start_vector: float
    quantize: float
    pack: float
    unpack_add: float
    expand: float
    start_mask: float
    start_dealing: float
    coefficient: float
    share_term: float
    answer_share: float
    weight_pair: float
    holder_set: float
    use_share: float
    rebuild_seed: float

    def __post_init__(self) -> None:
        for each in fields(self):
            seconds = require_float(each.name, getattr(self, each.name))
            object.__setattr__(self, each.name, seconds)


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers on which the cost of a round depends.

    Attributes:
        cohort: number of parties n.
        neighbours: neighbours per party; n - 1 on the complete graph.
        threshold: shares that rebuild a seed.
        elements: field elements per vector.
        bits: width of a field element.
        dropouts: parties that drop out after they have dealt shares.
        sparse: whether the graph is sparse.
        malicious: whether the round is in malicious mode, in which messages are signed.
    """

    cohort: int
    neighbours: int
    threshold: int
    elements: int
    bits: int
    dropouts: int = 0
    sparse: bool = False
    malicious: bool = False

    def __post_init__(self) -> None:
        for name in ("cohort", "neighbours", "threshold", "elements", "bits", "dropouts"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))

    @classmethod
    def of(cls, params: Params, dropouts: int = 0) -> "Shape":
        """Returns the shape of a round with these parameters.

        Raises:
            ParameterError: so many dropouts leave less than the quorum.
        """
        require_kind("params", params, Params, "`Params.for_cohort` chooses them")
        dropouts = whole("dropouts", dropouts)
        if not 0 <= dropouts <= params.cohort - params.quorum:
            raise ParameterError(
                f"a round with {dropouts} dropouts has no result: with a cohort of "
                f"{params.cohort} and a quorum of {params.quorum}, 0 to "
                f"{params.cohort - params.quorum} are possible",
                Code.ARGUMENT,
            )
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
        """Number of parties whose input is in the sum."""
        return self.cohort - self.dropouts

    @property
    def lost_pairs(self) -> float:
        """Number of pairs of a dropped party and a survivor that share a mask.

        On a sparse graph this is the expected number.
        """
        others = max(self.cohort - 1, 1)
        return self.dropouts * self.neighbours * self.survivors / others


@dataclass(frozen=True, slots=True)
class Side:
    """The cost of one side of a round.

    Attributes:
        phases: CPU seconds per phase, in the order of `Mode.phases`.
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
    """The cost of a round.

    Attributes:
        client: one client that stays to the end.
        server: the server, unmasking included.
    """

    client: Side
    server: Side


@dataclass(frozen=True, slots=True)
class Memory:
    """Bounds of the memory that each side allocates at its peak, bytes."""

    client: int
    server: int


def require_units(units: Units) -> None:
    """Raises ParameterError unless these are unit costs."""
    require_kind("units", units, Units, "`secagg.cost.calibrate()` times them")


def memory(shape: Shape) -> Memory:
    """Returns the memory of a round of this shape; what a transport holds comes on top."""
    require_kind("shape", shape, Shape, "`Shape.of(params)` is one")
    vectors = VECTORS * shape.elements * Field(shape.bits).dtype.itemsize
    edges = shape.cohort * shape.neighbours
    return Memory(
        FIXED_BYTES + vectors + NEIGHBOUR_BYTES * shape.neighbours,
        FIXED_BYTES + vectors + EDGE_BYTES * edges + PARTY_BYTES * shape.cohort,
    )


def estimate(shape: Shape, units: Units) -> Estimate:
    """Returns the cost of a round of this shape with these unit costs."""
    require_kind("shape", shape, Shape, "`Shape.of(params)` is one")
    require_units(units)
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


def largest_message(params: Params) -> int:
    """Returns the bytes of the largest message of a round."""
    shape = Shape.of(params)
    return int(max(_bytes_up(shape) + _bytes_down(shape)))


# -- bytes ----------------------------------------------------------------------------------------


def _bitmap(shape: Shape) -> int:
    return HEADER_BYTES + (shape.cohort + 7) // 8


def _entry(shape: Shape) -> int:
    return 2 * PUBLIC_KEY_BYTES + (SIGNATURE_BYTES if shape.malicious else 0)


def _bytes_up(shape: Shape) -> list[float]:
    """Returns the size of each message that a client sends."""
    d, packed = shape.neighbours, (shape.elements * shape.bits + 7) // 8
    proof = SIGNATURE_BYTES if shape.malicious else CHECKSUM_BYTES
    up: list[float] = [
        HEADER_BYTES + DIGEST_BYTES + _entry(shape),
        HEADER_BYTES + 2 * DIGEST_BYTES + SEALED_BYTES * d,
        HEADER_BYTES + DIGEST_BYTES + packed + proof,
        _bitmap(shape) + shamir.SHARE_BYTES * (d + 1),
    ]
    return [*up, HEADER_BYTES + SIGNATURE_BYTES] if shape.malicious else up


def _bytes_down(shape: Shape) -> list[float]:
    """Returns the size of each message to a client: roster, delivery, survivors, signatures."""
    d = shape.neighbours
    down: list[float] = [
        _bitmap(shape) + _entry(shape) * (d + 1) + (DIGEST_BYTES if shape.sparse else 0),
        _bitmap(shape) + SEALED_BYTES * d,
        _bitmap(shape),
    ]
    return [*down, _bitmap(shape) + SIGNATURE_BYTES * shape.threshold] if shape.malicious else down


# -- seconds --------------------------------------------------------------------------------------


def _client_phases(shape: Shape, unit: Units) -> tuple[float, ...]:
    n, d, t = shape.cohort, shape.neighbours, shape.threshold
    lookup, down = _lookup(shape, unit), _bytes_down(shape)
    packed = shape.elements * shape.bits / 8
    begin = unit.start_client + (n * unit.place_party if shape.sparse else 0.0)
    share = unit.open_message + lookup + down[0] * unit.hash_byte
    share += (d + 1) * (unit.read_entry + unit.hash_entry) + d * unit.seal_share
    share += unit.start_dealing + 6 * (t - 1) * (unit.coefficient + (d + 1) * unit.share_term)
    mask = (
        unit.open_message + 2 * lookup + (down[1] + packed) * unit.hash_byte + d * unit.open_share
    )
    mask += unit.start_vector + (d + 1) * unit.start_mask
    mask += shape.elements * (unit.quantize + (d + 1) * unit.expand + unit.pack)
    answer = unit.open_message + lookup + down[2] * unit.hash_byte + (d + 1) * unit.answer_share
    answer += n * unit.check_connected if shape.sparse else 0.0
    if not shape.malicious:
        return begin, share, mask, answer
    consistent = unit.open_message + lookup + down[2] * unit.hash_byte + unit.sign
    answer = (
        unit.open_message
        + n * unit.scan_party
        + down[3] * unit.hash_byte
        + (d + 1) * unit.answer_share
    )
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
    entries = n * (unit.open_message + unit.read_entry + unit.hash_entry + up[0] * unit.hash_byte)
    relayed = n * (unit.open_message + 2 * lookup + d * unit.relay_share + up[1] * unit.hash_byte)
    added = alive * (
        unit.open_message + shape.elements * unit.unpack_add + 2 * packed * unit.hash_byte
    )
    if shape.sparse:
        entries += n * (unit.place_party + lookup + (d + 1) * unit.write_entry)
        relayed += n * (lookup + (d + 1) * unit.hash_entry)
        added += n * (lookup + unit.check_connected)
    else:
        entries += n * unit.write_entry
    # On a sparse graph each party has holders of its own, hence weights of their own.
    holders, sets = (d + 1) * alive / n, n if shape.sparse else 1
    answers = alive * (unit.open_message + lookup + n * unit.scan_party)
    answers += sets * (unit.holder_set + holders**2 * unit.weight_pair)
    answers += n * (holders * unit.use_share + unit.rebuild_seed + unit.derive_key)
    answers += (
        shape.dropouts * (lookup + unit.public_key + unit.derive_key)
        + shape.lost_pairs * unit.pairwise_key
    )
    masks = alive + shape.lost_pairs
    answers += unit.start_vector + masks * (shape.elements * unit.expand + unit.start_mask)
    if not shape.malicious:
        return entries, relayed, added, answers
    consistent = alive * (unit.open_message + unit.verify)
    return entries + n * unit.verify, relayed, added + alive * unit.verify, consistent, answers


def _lookup(shape: Shape, unit: Units) -> float:
    """Returns the seconds for finding a party's neighbours among some parties."""
    if shape.sparse:
        return unit.find_neighbours + shape.neighbours * unit.neighbour
    return shape.cohort * unit.scan_party
