"""The public parameters that all parties of a round agree on.

Everything is checked at construction, before any secret exists. The rules of the two kinds of
graph are those of `complete.py` and `sparse.py`.
"""

import os
from dataclasses import dataclass
from typing import Final

from ..codes import Code
from ..errors import SERVER, ParameterError
from ..machine import wire
from . import complete, sparse
from .checks import require_bytes, require_int, whole
from .choice import choose_graph, explain_graph
from .formats import Format, check_length, field_width, read_format, vector_length
from .fractions import Fractions
from .mode import Mode
from .suite import Suite

MAX_COHORT: Final = 2**16
MAX_LENGTH: Final = 2**32
CONTEXT_BYTES: Final = 32

# The mode byte of semi-honest rounds on a sparse graph, whose parameters have one field more.
_SPARSE_MODE: Final = 2


@dataclass(frozen=True, slots=True)
class Params:
    """Public parameters that all parties share; hashed and bound into every message.

    Numbers may be of NumPy; they are kept as Python's, as in formats and policies.

    Attributes:
        cohort: number of parties n, 2..65536.
        length: coordinates of an input, 1..2**32.
        format: `FixedPoint`, `Integers` or `Rotated`.
        threshold: shares t that rebuild a seed; at least floor(n/2) + 1, and in malicious mode
            floor(2n/3) + 1. 0 takes the default floor(2n/3) + 1.
        min_survivors: no sum of fewer inputs is ever unmasked; 0 takes the threshold, and
            less than the threshold has no effect.
        colluders: clients c that may pool what they know with the server; at least two honest
            inputs stay under every sum, and in malicious mode 2t > n + c, so that no two sets of
            survivors find enough signers. -1 takes the default, a third of the cohort (or what
            threshold and quorum allow).
        mode: the kind of server that the round protects against.
        suite: the algorithms.
        degree: 0 for the complete graph; otherwise the number of neighbours of each party on a
            sparse one (SecAgg+), even and below n - 1, in semi-honest mode only. Then a seed has
            degree + 1 holders, `min_survivors` and `colluders` have no defaults, a threshold of 0
            takes the smallest that is safe, and with up to `colluders` corrupt parties and up to
            n - min_survivors dropouts more than the sum is learned with probability below 2^-40.
            `for_cohort` finds such values.

    Raises:
        ParameterError: the values are impossible, or unsafe together.
    """

    cohort: int
    length: int
    format: Format
    threshold: int = 0
    min_survivors: int = 0
    colluders: int = -1
    mode: Mode = Mode.SEMI_HONEST
    suite: Suite = Suite.AES256CTR
    degree: int = 0

    def __post_init__(self) -> None:
        for name in ("cohort", "length", "threshold", "min_survivors", "colluders", "degree"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        require_int("cohort", self.cohort, 2, MAX_COHORT)
        require_int("length", self.length, 1, MAX_LENGTH)
        for name, kind, wanted in (
            ("mode", Mode, "a Mode"),
            ("suite", Suite, "a Suite"),
            ("format", Format, "FixedPoint, Integers or Rotated"),
        ):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ParameterError(f"{name} must be {wanted}, not {value!r}", Code.ARGUMENT)
        counts = self.threshold, self.min_survivors, self.colluders
        if self.degree == 0:
            counts = complete.checked_counts(self.mode, self.cohort, *counts)
        else:
            counts = sparse.checked_counts(self.mode, self.cohort, self.degree, *counts)
        for name, count in zip(("threshold", "min_survivors", "colluders"), counts, strict=True):
            object.__setattr__(self, name, count)
        if self.quorum - self.colluders < 2:
            raise ParameterError(
                f"with a quorum of {self.quorum} and {self.colluders} colluders, a sum could hold "
                "one honest input: raise the threshold or min_survivors",
                Code.UNSAFE_SUM,
            )
        _ = self.field_bits
        check_length(self.format, self.cohort, self.length)

    @classmethod
    def for_cohort(
        cls,
        cohort: int,
        length: int,
        format: Format,  # noqa: A002
        *,
        corrupt: float,
        dropout: float,
        mode: Mode = Mode.SEMI_HONEST,
        suite: Suite = Suite.AES256CTR,
        sparse: bool = True,
    ) -> "Params":
        """Chooses parameters that are safe for these fractions, on either kind of graph.

        The graph is sparse where at most half of the others need be neighbours, or where the
        complete graph cannot serve; `explanation` says why.

        Args:
            corrupt: greatest fraction of the cohort that colludes with the server, at least 0 and
                below 1; above 0 it stands for one party or more.
            dropout: greatest fraction that drops out; a round in which more do ends without a
                sum. On a sparse graph one in which fewer do fails with probability below 2^-20.
            sparse: False takes the complete graph in any case.

        Raises:
            ParameterError: no parameters are safe for them.
        """
        cohort = require_int("cohort", cohort, 2, MAX_COHORT)
        fractions = Fractions(corrupt, dropout)
        fractions.check()
        colluders, lost = fractions.of(cohort)
        degree, threshold = choose_graph(mode, cohort, colluders, lost, sparse=sparse)
        return cls(
            cohort=cohort,
            length=length,
            format=format,
            threshold=threshold,
            min_survivors=cohort - lost,
            colluders=colluders,
            mode=mode,
            suite=suite,
            degree=degree,
        )

    @property
    def explanation(self) -> str:
        """The reason for this kind of graph, in a sentence or two."""
        return explain_graph(
            self.mode, self.cohort, self.degree, self.threshold, self.quorum, self.colluders
        )

    @property
    def quorum(self) -> int:
        """The smallest number of survivors: max(threshold, min_survivors) on the complete graph,
        min_survivors on a sparse one.
        """
        return self.min_survivors if self.degree else max(self.threshold, self.min_survivors)

    @property
    def vector_length(self) -> int:
        """Elements on the wire: the coordinates, and the weight where there is one."""
        return vector_length(self.format, self.length)

    @property
    def field_bits(self) -> int:
        """Width b of the smallest field that has room for every sum of a whole cohort."""
        return field_width(self.format, self.cohort)

    def encode(self) -> bytes:
        """Returns the canonical encoding (`docs/WIRE.md`, Parameters)."""
        return (
            wire.u8(self.suite)
            + wire.u8(_SPARSE_MODE if self.degree else self.mode)
            + wire.u32(self.cohort)
            + wire.u32(self.threshold)
            + wire.u32(self.min_survivors)
            + wire.u32(self.colluders)
            + (wire.u32(self.degree) if self.degree else b"")
            + wire.u64(self.length)
            + self.format.encode()
        )

    def round(self, context: bytes = bytes(CONTEXT_BYTES), session: bytes = b"") -> "Round":
        """Returns a round with these parameters.

        Args:
            context: 32 bytes, the hash of what is being aggregated (see `secagg.digest`).
            session: 16 bytes that never repeat; drawn at random when empty. A sparse graph
                follows from them, so nobody may foresee them there.
        """
        return Round(self, context, session or os.urandom(wire.SESSION_BYTES))


def read_params(reader: wire.Reader) -> Params:
    """Reads parameters from their canonical encoding.

    Raises:
        DecodeError: the bytes are no parameters, or impossible or unsafe ones.
    """
    try:
        suite, mode = Suite(reader.u8()), reader.u8()
        on_sparse_graph = mode == _SPARSE_MODE
        cohort, threshold, min_survivors, colluders = (reader.u32() for _ in range(4))
        degree = reader.u32() if on_sparse_graph else 0
        if 0 in (threshold, min_survivors):  # the marks for "default" stay off the wire
            raise ParameterError(
                f"threshold ({threshold}) and min_survivors ({min_survivors}) must not be zero",
                Code.ARGUMENT,
            )
        if on_sparse_graph and not degree:
            raise ParameterError("the degree of a sparse graph must not be zero", Code.ARGUMENT)
        length = reader.u64()
        return Params(
            cohort=cohort,
            length=length,
            format=read_format(reader),
            threshold=threshold,
            min_survivors=min_survivors,
            colluders=colluders,
            mode=Mode.SEMI_HONEST if on_sparse_graph else Mode(mode),
            suite=suite,
            degree=degree,
        )
    except ParameterError as error:
        raise reader.error(f"unusable parameters: {error}", error.code) from None
    except ValueError as error:  # no such suite or mode
        raise reader.error(f"unusable parameters: {error}", Code.UNSUPPORTED) from None


@dataclass(frozen=True, slots=True)
class Round:
    """One session: parameters, what is aggregated, and an id that never repeats."""

    params: Params
    context: bytes
    session: bytes

    def __post_init__(self) -> None:
        require_bytes("context", self.context, CONTEXT_BYTES)
        require_bytes("session", self.session, wire.SESSION_BYTES)

    def encode(self) -> bytes:
        """Returns the offer that the server makes to the cohort."""
        return (
            wire.header(wire.MessageType.OFFER, self.session) + self.context + self.params.encode()
        )

    @classmethod
    def decode(cls, offer: bytes) -> "Round":
        """Reads an offer from the server.

        Raises:
            DecodeError: the bytes are no offer, or its parameters are impossible or unsafe.
            LocalProtocolError: not bytes at all.
        """
        reader = wire.Reader(wire.as_bytes(offer), SERVER)
        kind, session = reader.header()
        if kind != wire.MessageType.OFFER:
            raise reader.error("not an offer")
        context = reader.take(CONTEXT_BYTES)
        decoded = cls(read_params(reader), context, session)
        reader.end()
        return decoded
