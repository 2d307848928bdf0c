"""Removes the masks from a sum, as jobs that may run anywhere.

First the seeds are rebuilt from the shares that the survivors gave, and checked (`RebuildJob`).
Then come, for each party that shared keys and vanished, the keys of the masks that it shares with
survivors (`AgreeJob`); then the masks themselves, with the self masks of the survivors, cut by keys
and by range of the vector (`ExpandJob`). Jobs are picklable and pure, and hold no secret that they
do not need. They do hold secrets of the round: machines that run them must be trusted like the
server.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..arithmetic.binding import Vector
from ..arithmetic.field import KEY_BYTES, Field
from ..codes import Code
from ..errors import RangeError
from ..events import Job
from ..machine.expansion import ExpandJob, SignedKeys, cut_masks, ranges
from ..params.params import Params
from ..sharing.rebuild_job import RebuildJob
from ..sharing.recovery import Recovery
from ..tracebacks import keeps_no_locals
from . import derivation
from .messages import PublicKeys

# Key agreements per job: they take some milliseconds.
PIECE_AGREEMENTS: Final = 256


@dataclass(frozen=True, slots=True, eq=False)
class AgreeJob:
    """Derives the pairwise keys of pairs of a vanished party and a survivor.

    Attributes:
        h1: of the round.
        pairs: (vanished party, survivor).
        secrets: the rebuilt mask secret keys of the vanished parties, by party.
        public: the mask public keys of all parties in `pairs`, by party.
    """

    h1: bytes
    pairs: tuple[tuple[int, int], ...]
    secrets: Mapping[int, bytes] = field(repr=False)
    public: Mapping[int, bytes] = field(repr=False)

    @keeps_no_locals
    def run(self) -> SignedKeys:
        """Derives one key per pair, with the sign that the survivor used."""
        return SignedKeys(
            tuple(
                derivation.pairwise_key_of(
                    self.secrets[party], self.h1, party, peer, self.public[party], self.public[peer]
                )
                for party, peer in self.pairs
            ),
            self._signs(),
        )

    def checked(self, value: object) -> SignedKeys:
        """Returns the value if `run` could have returned it; raises RangeError otherwise."""
        if type(value) is SignedKeys:  # no attribute of another type is read: it may run code
            made, signs = getattr(value, "keys", ()), getattr(value, "signs", ())
            if (
                _tuple_of(bytes, made)
                and _tuple_of(int, signs)
                and signs == self._signs()
                and [len(key) for key in made] == [KEY_BYTES] * len(self.pairs)
            ):
                return value
        raise RangeError(
            f"the value of this AgreeJob must be SignedKeys for its {len(self.pairs)} pairs",
            Code.ARGUMENT,
        )

    def _signs(self) -> tuple[int, ...]:
        return tuple(derivation.pairwise_sign(peer, party) for party, peer in self.pairs)


def _tuple_of(kind: type, value: object) -> bool:
    """Returns whether this is a plain tuple of plain values of that type.

    Nothing else is safe: a list can be changed later, and a subclass can run its own code.
    """
    return type(value) is tuple and all(type(each) is kind for each in value)


def cut_agreements(
    secrets: Mapping[int, bytes],
    peers: Mapping[int, Sequence[int]],
    h1: bytes,
    roster: Mapping[int, PublicKeys],
) -> Iterator[AgreeJob]:
    """Cuts the key agreements of vanished parties into jobs of bounded size.

    Args:
        secrets: the mask secret key of each vanished party.
        peers: the survivors that each of them shares a mask with.
        h1, roster: of the round.
    """
    pairs = [(party, peer) for party in secrets for peer in peers[party]]
    for first, last in ranges(len(pairs), PIECE_AGREEMENTS):
        some = tuple(pairs[first:last])
        vanished = {party for party, _ in some}
        yield AgreeJob(
            h1,
            some,
            {party: secrets[party] for party in vanished},
            {party: roster[party].mask for party in vanished.union(peer for _, peer in some)},
        )


class Unmasking:
    """The sum of one round while its masks are removed, with the seeds and mask keys known so far.

    It begins with the jobs that rebuild the seeds.

    Args:
        params: of the round.
        total: the sum of the masked inputs, shape (vector_length,); changed in place.
        h0, h1, roster: of the round.
        vanished: the parties that shared keys and are no survivors.
        peers_of: gives the survivors that one of them shares a mask with; called when all seeds
            are rebuilt.
    """

    def __init__(
        self,
        params: Params,
        total: Vector,
        h0: bytes,
        h1: bytes,
        roster: Mapping[int, PublicKeys],
        vanished: Collection[int],
        peers_of: Callable[[int], Sequence[int]],
    ) -> None:
        self.total = total
        self.disputes: tuple[tuple[int, int], ...] = ()
        self._params = params
        self._field = Field(params.field_bits)
        self._h0, self._h1, self._roster = h0, h1, roster
        self._vanished, self._peers_of = vanished, peers_of
        self._recovery: Recovery | None = Recovery()  # until all seeds are rebuilt
        self._masks: list[SignedKeys] = []  # those that are not cut into jobs yet

    def take(self, job: Job, value: object) -> None:
        """Takes the value of a job.

        Raises:
            RangeError: the job cannot give this value; nothing has changed.
            RecoveryError: a seed cannot be rebuilt.
        """
        if isinstance(job, RebuildJob) and self._recovery is not None:
            self._recovery.take(job, value)
        elif isinstance(job, AgreeJob):
            self._masks.append(job.checked(value))
        elif isinstance(job, ExpandJob):
            piece = self._field.vector(job.checked(value))
            part = self.total[job.start : job.start + job.length]
            self._field.sub(part, piece, out=part)

    def next_jobs(self) -> list[Job]:
        """Returns the jobs to run after all so far are done; none if `total` has no masks left."""
        if self._recovery is not None:
            self.disputes = self._recovery.disputes
            return self.jobs_after(self._recovery.seeds)
        masks = SignedKeys(
            tuple(key for some in self._masks for key in some.keys),
            tuple(sign for some in self._masks for sign in some.signs),
        )
        self._masks.clear()
        params = self._params
        bits, generator = params.field_bits, params.suite.generator
        return list(cut_masks(masks, bits, generator, params.vector_length))

    def jobs_after(self, seeds: Mapping[int, bytes]) -> list[Job]:
        """Returns the jobs that follow when all seeds are rebuilt.

        Args:
            seeds: of the survivors and of the parties that vanished, by party.
        """
        self._recovery = None
        secrets = {
            party: derivation.mask_key(seeds[party], self._h0, party) for party in self._vanished
        }
        self_keys = tuple(
            derivation.self_key(seed, self._h1, party)
            for party, seed in seeds.items()
            if party not in secrets
        )
        self._masks = [SignedKeys(self_keys, (1,) * len(self_keys))]
        peers = {party: self._peers_of(party) for party in self._vanished}
        return list(cut_agreements(secrets, peers, self._h1, self._roster)) or self.next_jobs()
