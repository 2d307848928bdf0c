"""Taking the masks off a sum, as jobs that may run anywhere.

First, for each party that shared keys and vanished, the keys that it shares with the survivors
(`AgreeJob`); then the masks themselves, the survivors' self masks among them, cut by list of keys
and range of the vector (`ExpandJob`). Jobs are picklable and pure; they hold mask keys, so whoever
runs them is trusted like the server.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from .._binding import Vector
from ..errors import LocalProtocolError, RangeError
from ..events import Job
from ..field import KEY_BYTES, Field
from ..params import Params
from . import keys
from .messages import PublicKeys
from .recovery import Seeds

# A piece of about this many mask elements takes some milliseconds.
PIECE_ELEMENTS: Final = 2**24
PIECE_KEYS: Final = 256


@dataclass(frozen=True, slots=True)
class SignedKeys:
    """Mask keys and the signs with which their masks stand in the sum."""

    keys: tuple[bytes, ...] = field(repr=False)
    signs: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class AgreeJob:
    """The pairwise keys between one vanished party and all survivors."""

    party: int
    mask_secret: bytes = field(repr=False)
    h1: bytes
    survivors: tuple[int, ...]
    roster: Mapping[int, PublicKeys] = field(repr=False)

    def run(self) -> SignedKeys:
        """A key a survivor, with the sign that the survivor used."""
        return SignedKeys(
            tuple(
                keys.pairwise_key(self.mask_secret, self.h1, self.party, peer, self.roster)
                for peer in self.survivors
            ),
            self._signs(),
        )

    def check(self, value: object) -> None:
        """RangeError unless `run` could have given this value."""
        if (
            not isinstance(value, SignedKeys)
            or value.signs != self._signs()
            or len(value.keys) != len(self.survivors)
            or any(not isinstance(key, bytes) or len(key) != KEY_BYTES for key in value.keys)
        ):
            raise RangeError("an AgreeJob gives a key and a sign for each survivor")

    def _signs(self) -> tuple[int, ...]:
        return tuple(keys.pairwise_sign(peer, self.party) for peer in self.survivors)


@dataclass(frozen=True, slots=True, eq=False)
class ExpandJob:
    """The sum of some masks over one range of the vector, to be taken from the masked sum."""

    masks: SignedKeys
    bits: int
    suite: int
    start: int
    length: int

    def run(self) -> Vector:
        """The signed sum of the masks, elements start .. start + length - 1.

        On one thread: how many jobs run side by side is up to whoever runs them.
        """
        whole = Field(self.bits)
        return whole.accumulate(
            whole.zeros(self.length),
            self.masks.keys,
            self.masks.signs,
            self.suite,
            self.start,
            threads=1,
        )


def cut(masks: SignedKeys, params: Params) -> Iterator[ExpandJob]:
    """The expansion of many masks as jobs of bounded size."""
    span = max(PIECE_ELEMENTS // min(PIECE_KEYS, len(masks.keys)), 1024)
    for first in range(0, len(masks.keys), PIECE_KEYS):
        some = SignedKeys(
            masks.keys[first : first + PIECE_KEYS], masks.signs[first : first + PIECE_KEYS]
        )
        for start in range(0, params.vector_length, span):
            length = min(span, params.vector_length - start)
            yield ExpandJob(some, params.field_bits, params.suite, start, length)


class Unmasking:
    """The jobs of one unmasking, and the sum that their values are taken from; each counts once.

    Args:
        params: of the round.
        total: the sum of the masked inputs, changed in place.
    """

    def __init__(self, params: Params, total: Vector) -> None:
        self.total = total
        self._params = params
        self._field = Field(params.field_bits)
        self._keys: list[SignedKeys] = []
        self._pending: dict[int, Job] = {}
        self._done: list[Job] = []

    @property
    def finished(self) -> bool:
        """Whether every job was handed back: `total` is the sum of the inputs."""
        return not self._pending

    def start(
        self,
        seeds: Seeds,
        h0: bytes,
        h1: bytes,
        survivors: tuple[int, ...],
        roster: Mapping[int, PublicKeys],
    ) -> list[Job]:
        """The first jobs."""
        self_keys = [keys.self_key(seed, h1, party) for party, seed in seeds.selves.items()]
        self._keys = [SignedKeys(tuple(self_keys), (1,) * len(self_keys))]
        jobs = [
            AgreeJob(party, keys.mask_key(seed, h0, party), h1, survivors, roster)
            for party, seed in seeds.masks.items()
        ]
        return self._hand_out(jobs) if jobs else self._expand()

    def complete(self, job: Job, value: Any) -> list[Job]:
        """Takes the value of a job, and gives the jobs that follow once the last of its kind is in.

        Raises:
            LocalProtocolError: not a job of this unmasking.
            RangeError: not a value that the job can give; nothing has changed.
        """
        if id(job) not in self._pending:
            if any(job is done for done in self._done):
                return []
            raise LocalProtocolError("complete() with a job that this server did not hand out")
        if isinstance(job, AgreeJob):
            job.check(value)
            self._keys.append(value)
        elif isinstance(job, ExpandJob):
            piece = self._field.vector(value)
            if piece.size != job.length:
                raise RangeError(f"this ExpandJob gives {job.length} elements, not {piece.size}")
            part = self.total[job.start : job.start + job.length]
            self._field.sub(part, piece, out=part)
        self._done.append(self._pending.pop(id(job)))
        return self._expand() if not self._pending and isinstance(job, AgreeJob) else []

    def _hand_out(self, jobs: Iterable[Job]) -> list[Job]:
        self._pending = {id(job): job for job in jobs}
        return list(self._pending.values())

    def _expand(self) -> list[Job]:
        masks = SignedKeys(
            tuple(key for some in self._keys for key in some.keys),
            tuple(sign for some in self._keys for sign in some.signs),
        )
        self._keys.clear()
        return self._hand_out(cut(masks, self._params))
