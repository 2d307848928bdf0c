"""What a round is agreed on: stable `Params`, a `Round` of them, and a client's own `Policy`.

Everything is checked at construction, before any secret exists.
"""

import math
import os
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ..arithmetic.binding import lib
from ..arithmetic.generators import Generator
from ..arithmetic.moduli import least_bits
from ..codes import Code
from ..errors import SERVER, ParameterError
from ..events import Phase
from ..machine import wire
from . import sparsity
from .formats import Format, Integers, read_format, require_int

MAX_COHORT: Final = 2**16
MAX_LENGTH: Final = 2**32
CONTEXT_BYTES: Final = 32

# The mode byte of semi-honest rounds on a sparse graph, whose parameters have one field more.
_SPARSE_MODE: Final = 2


class Mode(IntEnum):
    """The server that clients are protected against.

    A semi-honest server follows the protocol and remembers everything. A malicious one may do
    anything; clients then sign with long-lived keys that the others have pinned.
    """

    SEMI_HONEST = 0
    MALICIOUS = 1

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of a round in this mode, in order."""
        skipped = Phase.CONSISTENCY if self is Mode.SEMI_HONEST else None
        return tuple(phase for phase in Phase if phase is not skipped)


class Suite(IntEnum):
    """All algorithms of a session by one number (`docs/WIRE.md`, Parameters).

    Suites differ in the generator of masks: AES-256-CTR is the fastest where the CPU has AES
    instructions, ChaCha20 where it has none.

    Attributes:
        generator: the keystream generator, by its number in the native core.
    """

    generator: Generator

    def __new__(cls, number: int, *generator: Generator) -> "Suite":
        suite = int.__new__(cls, number)
        suite._value_ = number
        (suite.generator,) = generator  # exactly one; `Suite(number)` only looks a suite up
        return suite

    # The number on the wire, and the generator's in the core.
    AES256CTR = 1, lib.SA_AES256CTR
    CHACHA20 = 2, lib.SA_CHACHA20


@dataclass(frozen=True, slots=True)
class Params:
    """Public parameters that all parties share; hashed and bound into every message.

    Attributes:
        cohort: number of parties n, 2..65536.
        length: coordinates of an input, 1..2**32.
        format: `FixedPoint` or `Integers`.
        threshold: shares t that rebuild a seed; at least floor(n/2) + 1, and in malicious mode
            floor(2n/3) + 1. 0 takes the default floor(2n/3) + 1.
        min_survivors: no sum of fewer inputs is ever unmasked; 0 takes the threshold, and
            less than the threshold has no effect.
        colluders: clients c that may pool what they know with the server; at least two honest
            inputs stay under every sum, and in malicious mode 2t > n + c, so that no two sets of
            survivors find enough signers. -1 takes the default, a third of the cohort (or what
            threshold and quorum allow).
        mode: whom the round protects against.
        suite: the algorithms.
        degree: 0 for the complete graph; otherwise the number of neighbours of each party on a
            sparse one (SecAgg+), even and below n - 1, in semi-honest mode only. Then a seed has
            degree + 1 holders, `min_survivors` and `colluders` have no defaults, a threshold of 0
            takes the least that is safe, and with up to `colluders` corrupt parties and up to
            n - min_survivors lost ones more than the sum is learned with probability below 2^-40.
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
        require_int("cohort", self.cohort, 2, MAX_COHORT)
        require_int("length", self.length, 1, MAX_LENGTH)
        for name, kind in (("mode", Mode), ("suite", Suite), ("format", Format)):
            if not isinstance(getattr(self, name), kind):
                raise ParameterError(f"{name} must be a {kind}", Code.ARGUMENT)
        if self.degree == 0:
            self._check_complete()
        else:
            self._check_sparse()
        if self.quorum - self.colluders < 2:
            raise ParameterError(
                f"with a quorum of {self.quorum} and {self.colluders} colluders, a sum could hold "
                "one honest input: raise the threshold or min_survivors",
                Code.UNSAFE_SUM,
            )
        if isinstance(self.format, Integers):
            self.format.check_totals(self.cohort)
        _ = self.field_bits

    def _check_complete(self) -> None:
        n = self.cohort
        if self.threshold == 0:
            object.__setattr__(self, "threshold", 2 * n // 3 + 1)
        malicious = self.mode == Mode.MALICIOUS
        least = 2 * n // 3 + 1 if malicious else n // 2 + 1
        require_int("threshold", self.threshold, least, n, below=Code.UNSAFE_THRESHOLD)
        if self.min_survivors == 0:
            object.__setattr__(self, "min_survivors", self.threshold)
        require_int("min_survivors", self.min_survivors, 1, n)
        if self.colluders == -1:
            most = min(n // 3, self.quorum - 2, self.threshold - 1)
            most = min(most, 2 * self.threshold - n - 1) if malicious else most
            object.__setattr__(self, "colluders", most)
        most = self.threshold - 1
        require_int("colluders", self.colluders, 0, most, above=Code.UNSAFE_THRESHOLD)
        if malicious and 2 * self.threshold <= n + self.colluders:
            raise ParameterError(
                f"in malicious mode 2 * {self.threshold} (threshold) must be above {n} (cohort) + "
                f"{self.colluders} (colluders)",
                Code.UNSAFE_THRESHOLD,
            )

    def _check_sparse(self) -> None:
        n = self.cohort
        if self.mode == Mode.MALICIOUS:
            raise ParameterError(
                "malicious mode needs the complete graph: on a sparse one a server that lies could "
                "choose a client's neighbours, or show them different survivors, which nobody "
                "there sees whole",
                Code.UNSAFE_MODE,
            )
        require_int("cohort", n, 4, MAX_COHORT)
        require_int("degree", self.degree, 2, n - 2)
        if self.degree % 2:
            raise ParameterError(
                f"the degree of a sparse graph is even, not {self.degree}", Code.ARGUMENT
            )
        require_int("min_survivors", self.min_survivors, 2, n, below=Code.UNSAFE_SUM)
        most = self.min_survivors - 2
        require_int("colluders", self.colluders, 0, most, above=Code.UNSAFE_SUM)
        safe = max(sparsity.safe_threshold(n, self.colluders, self.degree), 2)
        if self.threshold == 0:
            object.__setattr__(self, "threshold", min(safe, self.degree))
        require_int("threshold", self.threshold, 2, self.degree, below=Code.UNSAFE_THRESHOLD)
        if self.threshold < safe:
            raise ParameterError(
                f"among {self.degree} neighbours of somebody there may be {safe - 1} of "
                f"{self.colluders} colluders, and {self.threshold} shares rebuild a seed: raise "
                "the degree or the threshold",
                Code.UNSAFE_THRESHOLD,
            )
        lost = self.colluders + n - self.min_survivors
        if not sparsity.connected(n, lost, self.degree):
            raise ParameterError(
                f"{self.colluders} colluders and {n - self.min_survivors} dropouts may cut a graph "
                f"of degree {self.degree} in two: raise the degree",
                Code.UNSAFE_GRAPH,
            )

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
    ) -> "Params":
        """Parameters that hold for these fractions, on the complete graph or on a sparse one.

        Sparse where at most half of the others need be neighbours, or where the complete graph
        cannot serve; `explanation` says why.

        Args:
            corrupt: greatest fraction of the cohort that colludes with the server, 0..1.
            dropout: greatest fraction that vanishes; a round in which more do ends without a sum.
                On a sparse graph one in which fewer do fails with probability below 2^-20.

        Raises:
            ParameterError: no parameters hold for them.
        """
        require_int("cohort", cohort, 2, MAX_COHORT)
        for name, value in (("corrupt", corrupt), ("dropout", dropout)):
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise ParameterError(
                    f"{name} is a fraction of the cohort, at least 0 and below 1", Code.ARGUMENT
                )
        # Rounded first: 0.29 * 100 is a little less than 29.
        colluders, lost = (math.floor(round(part * cohort, 6)) for part in (corrupt, dropout))
        left = cohort - lost
        malicious = mode == Mode.MALICIOUS
        least = max(cohort // 2, colluders) + 1
        if malicious:
            least = max(2 * cohort // 3, (cohort + colluders) // 2) + 1
        found = None
        if not malicious and cohort > 3 and colluders < left:
            found = sparsity.sparse(cohort, colluders, lost)
        if found and 2 * found.degree > cohort - 1 and least <= left:
            found = None  # it would save little
        if not found and least > left:
            raise ParameterError(
                f"{left} of {cohort} parties may be left, {colluders} of them colluders: that "
                f"needs a threshold of {least} at least, and no sparse graph is safe either",
                Code.UNSAFE_FRACTIONS,
            )
        return cls(
            cohort=cohort,
            length=length,
            format=format,
            threshold=found.threshold if found else min(max(least, 2 * cohort // 3 + 1), left),
            min_survivors=left,
            colluders=colluders,
            mode=mode,
            suite=suite,
            degree=found.degree if found else 0,
        )

    @property
    def explanation(self) -> str:
        """Why this graph, in a sentence or two."""
        n, lost = self.cohort, self.cohort - self.quorum
        assumed = f"{self.colluders} colluders and {lost} dropouts among {n} parties"
        if self.degree:
            forced = 2 * self.quorum <= n
            return (
                f"Sparse graph: with up to {assumed}, {self.degree} neighbours each and a "
                f"threshold of {self.threshold} leave a chance below 2^-{sparsity.SECURITY} that a "
                "server that follows the protocol learns more than the sum."
                + (" A complete one needs more than half to be left." if forced else "")
            )
        if self.mode == Mode.MALICIOUS:
            return "Complete graph: malicious mode needs it."
        found = sparsity.sparse(n, self.colluders, lost) if n > 3 else None
        if found is None:
            return f"Complete graph: with {assumed} no sparse one is safe enough."
        return (
            f"Complete graph: with {assumed} a sparse one needs {found.degree} neighbours each"
            + (", which would save little." if 2 * found.degree > n - 1 else ".")
        )

    @property
    def quorum(self) -> int:
        """The least number of survivors: max(threshold, min_survivors) on the complete graph,
        min_survivors on a sparse one.
        """
        return self.min_survivors if self.degree else max(self.threshold, self.min_survivors)

    @property
    def vector_length(self) -> int:
        """Elements on the wire: the coordinates, and the weight where there is one."""
        return self.length + self.format.weighted

    @property
    def field_bits(self) -> int:
        """Width b of the least field that holds the sum of a whole cohort."""
        return least_bits(self.cohort * self.format.largest)

    def encode(self) -> bytes:
        """The canonical encoding (`docs/WIRE.md`, Parameters)."""
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
        """A round with these parameters.

        Args:
            context: 32 bytes, the hash of what is being aggregated (see `secagg.digest`).
            session: 16 bytes that never repeat; drawn at random when empty. A sparse graph
                follows from them, so nobody may foresee them there.
        """
        return Round(self, context, session or os.urandom(wire.SESSION_BYTES))


@dataclass(frozen=True, slots=True)
class Round:
    """One session: parameters, what is aggregated, and an id that never repeats."""

    params: Params
    context: bytes
    session: bytes

    def __post_init__(self) -> None:
        _require_bytes("context", self.context, CONTEXT_BYTES)
        _require_bytes("session", self.session, wire.SESSION_BYTES)

    def encode(self) -> bytes:
        """The offer that the server makes to the cohort."""
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
        decoded = cls(_read_params(reader), context, session)
        reader.end()
        return decoded


def _require_bytes(name: str, value: object, size: int) -> None:
    if not isinstance(value, bytes) or len(value) != size:
        raise ParameterError(f"{name} must be {size} bytes", Code.ARGUMENT)


def _read_params(reader: wire.Reader) -> Params:
    try:
        suite, mode = Suite(reader.u8()), reader.u8()
        sparse = mode == _SPARSE_MODE
        cohort, threshold, min_survivors, colluders = (reader.u32() for _ in range(4))
        degree = reader.u32() if sparse else 0
        if 0 in (threshold, min_survivors):  # the marks for "default" stay off the wire
            raise ParameterError("threshold and min_survivors must not be zero", Code.ARGUMENT)
        if sparse and not degree:
            raise ParameterError("a sparse graph has a degree", Code.ARGUMENT)
        length = reader.u64()
        return Params(
            cohort=cohort,
            length=length,
            format=read_format(reader),
            threshold=threshold,
            min_survivors=min_survivors,
            colluders=colluders,
            mode=Mode.SEMI_HONEST if sparse else Mode(mode),
            suite=suite,
            degree=degree,
        )
    except ParameterError as error:
        raise reader.error(f"impossible parameters: {error}", error.code) from None
    except ValueError as error:  # no such suite or mode
        raise reader.error(f"impossible parameters: {error}", Code.UNSUPPORTED) from None


@dataclass(frozen=True, slots=True)
class Policy:
    """What one client insists on, whatever the server proposes.

    Without `params` a client takes threshold, cohort and colluders from the server's offer (and
    only what `Params` allows at all); to decide about them itself, it must be given its own.

    Attributes:
        params: exactly these parameters, or one of these, if given.
        context: exactly this context, if given. In malicious mode give it: otherwise it is the
            server that says what counts as contributing twice.
        min_survivors: the least quorum to take part under. One that only this client knew of would
            bind nobody: the others unmask by the parameters.
        max_cohort: greatest cohort to take part in.
        max_length: greatest input length to take part with.
        mode: exactly this mode, if given. (With an identity a client refuses semi-honest rounds
            in any case.)
        colluders: the greatest number of parties that this client wants to be safe from when
            they collude with the server: parameters that state fewer are refused.
        allow_pair: take part in a cohort of two, in which each party learns the other's input
            by taking its own from the sum.
        allow_repeats: malicious mode: contribute in a context any number of times, without a
            ledger. Sums over the same input and other survivors reveal their differences.
    """

    params: Params | tuple[Params, ...] | None = None
    context: bytes | None = None
    min_survivors: int = 0
    max_cohort: int = MAX_COHORT
    max_length: int = MAX_LENGTH
    mode: Mode | None = None
    colluders: int = 0
    allow_pair: bool = False
    allow_repeats: bool = False

    def __post_init__(self) -> None:
        allowed = self.params if isinstance(self.params, tuple) else (self.params,)
        if self.params is not None and not all(isinstance(each, Params) for each in allowed):
            raise ParameterError("params must be Params, or a tuple of them", Code.ARGUMENT)
        if self.mode is not None and not isinstance(self.mode, Mode):
            raise ParameterError("mode must be a Mode", Code.ARGUMENT)
        if self.context is not None:
            _require_bytes("context", self.context, CONTEXT_BYTES)
        for name in ("allow_pair", "allow_repeats"):
            if not isinstance(getattr(self, name), bool):
                raise ParameterError(f"{name} is True or False", Code.ARGUMENT)
        require_int("colluders", self.colluders, 0, MAX_COHORT)
        require_int("min_survivors", self.min_survivors, 0, MAX_COHORT)
        require_int("max_cohort", self.max_cohort, 2, MAX_COHORT)
        require_int("max_length", self.max_length, 1, MAX_LENGTH)

    def check(self, offered: Round) -> None:
        """Refuses what this client will not take part in.

        Raises:
            ParameterError: the round breaks the policy, which the message names.
        """
        params = offered.params
        allowed = (self.params,) if isinstance(self.params, Params) else self.params
        if allowed is not None and params not in allowed:
            raise ParameterError(
                "policy: these are not the parameters agreed on", Code.POLICY_PARAMS
            )
        if self.context is not None and offered.context != self.context:
            raise ParameterError(
                "policy: the round is about something else (context differs)", Code.POLICY_CONTEXT
            )
        if self.mode is not None and params.mode is not self.mode:
            raise ParameterError(
                f"policy: the round is in {params.mode} mode, not {self.mode}", Code.POLICY_MODE
            )
        if params.colluders < self.colluders:
            raise ParameterError(
                f"policy: the round protects from {params.colluders} colluders, not from "
                f"{self.colluders}",
                Code.POLICY_COLLUDERS,
            )
        if params.cohort == 2 and not self.allow_pair:
            raise ParameterError(
                "policy: in a cohort of two each party learns the other's input; "
                "set allow_pair to accept that",
                Code.POLICY_PAIR,
            )
        if params.cohort > self.max_cohort:
            raise ParameterError(
                f"policy: cohort {params.cohort} is above {self.max_cohort}", Code.POLICY_COHORT
            )
        if params.length > self.max_length:
            raise ParameterError(
                f"policy: length {params.length} is above {self.max_length}", Code.POLICY_LENGTH
            )
        if params.quorum < self.min_survivors:
            raise ParameterError(
                f"policy: the round may end with {params.quorum} survivors, not with "
                f"{self.min_survivors} at least",
                Code.POLICY_SURVIVORS,
            )
