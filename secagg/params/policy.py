"""The demands of one client on the rounds that a server offers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

from ..codes import Code
from ..errors import ParameterError
from ..numeric import brief
from ..texts import one_line
from .checks import require_bytes, require_float, require_int
from .formats import MAX_FIXED_POINT_BITS, MAX_WEIGHT, FixedPoint, Format
from .fractions import Fractions
from .mode import Mode
from .params import CONTEXT_BYTES, MAX_COHORT, MAX_LENGTH, Params, Round
from .privacy import PrivacyDemand, require_privacy
from .suite import Suite

_REFUSED: Final = "refused by this client's policy"

Release = Callable[[tuple[int, ...]], str]


@dataclass(frozen=True, slots=True)
class Policy:
    """The demands of one client on a round; it refuses what does not meet them.

    Without `params` a client takes what the server offers within these bounds (and only what
    `Params` allows at all). `docs/SECURITY.md` says for each field of an offer what bounds it.

    Attributes:
        params: exactly these parameters, or one of these, if given.
        context: exactly this context, if given. In malicious mode a client needs it here, or by
            `Client.expect`, before its input leaves: otherwise it is the server that says what
            counts as contributing twice. If a context has settings in it, `expect` must say the
            subject as well, also after `Client.resume`: here each setting would be another input.
        min_survivors: the smallest quorum to take part under. A larger number known only to this
            client would not help: the others unmask as soon as the parameters allow it.
        min_threshold: the smallest threshold of shares.
        max_cohort: greatest cohort to take part in. The client's work on a complete graph grows
            with its square.
        min_length, max_length: the lengths of inputs to take part with.
        mode: exactly this mode, if given. (With an identity a client refuses semi-honest rounds
            in any case.)
        suite: exactly these algorithms, if given.
        format: exactly this number format, or one of these, if given.
        min_clip, max_clip: bounds of `FixedPoint.clip`.
        min_bits, max_bits: bounds of `FixedPoint.bits`.
        max_weight: greatest `FixedPoint.max_weight`. With any of these five bounds, formats other
            than `FixedPoint` are refused.
        colluders: the number of parties that this client wants to be safe from when they collude
            with the server: parameters that state fewer are refused.
        sparse: take part on a sparse graph if it is good for these fractions of corrupt parties and
            dropouts. Without it only `params` lets a client take part on one.
        allow_pair: take part where a sum of two inputs may be unmasked (a quorum of two): from it
            each party learns the other's input by taking its own away.
        privacy: demand noise, such as `secagg.noise.Demand(epsilon=8, ...)`: rounds that give less
            privacy are refused, those without noise too.
        allow_repeats: malicious mode: contribute in a context any number of times (but only once in
            a session). Sums over the same input and other survivors reveal their differences.
        release: a function that is asked once, with the indices of the survivors, ascending, when
            all other checks have passed: before this client signs the set, or in semi-honest mode
            answers for it. "" lets the sum be opened; any other text is why not, and ends the round
            for this client (`Aborted`). What it raises ends the round as well. It stays out of
            comparisons and of the wire.

    Raises:
        ParameterError: a value has the wrong type, or is outside its range.
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
    min_threshold: int = 0
    min_length: int = 1
    suite: Suite | None = None
    format: Format | tuple[Format, ...] | None = None
    min_clip: float | None = None
    max_clip: float | None = None
    min_bits: int | None = None
    max_bits: int | None = None
    max_weight: int | None = None
    sparse: Fractions | None = None
    privacy: PrivacyDemand | None = None
    release: Release | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, kind, several in (
            ("params", Params, True),
            ("format", Format, True),
            ("mode", Mode, False),
            ("suite", Suite, False),
            ("sparse", Fractions, False),
        ):
            _require_kind(name, getattr(self, name), kind, several=several)
        if self.context is not None:
            require_bytes("context", self.context, CONTEXT_BYTES)
        for name in ("allow_pair", "allow_repeats"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ParameterError(f"{name} is True or False, not {value!r}", Code.ARGUMENT)
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None or name not in _FORMAT_NAMES:
                object.__setattr__(self, name, require_int(name, value, low, high))
        for name in ("min_clip", "max_clip"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _require_positive(name, value))
        for what in ("clip", "bits", "length"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least is not None and most is not None and least > most:
                raise ParameterError(
                    f"min_{what} {least} is above max_{what} {most}", Code.ARGUMENT
                )
        if self.sparse is not None:
            self.sparse.check()
        require_privacy(self.privacy)
        require_release(self.release)

    def check(self, offered: Round) -> None:
        """Refuses a round that this client will not take part in.

        Raises:
            ParameterError: the round breaks the policy; the message says where, and the code is
                one of those that begin with `policy_`.
        """
        params = offered.params
        allowed = _as_tuple(self.params)
        if allowed and params not in allowed:
            raise ParameterError(
                f"{_REFUSED}: {_difference(params, allowed)}; compare them with the server's",
                Code.POLICY_PARAMS,
            )
        if self.context is not None:
            require_context(self.context, offered)
        if self.mode is not None and params.mode is not self.mode:
            raise ParameterError(
                f"{_REFUSED}: the round is in {params.mode} mode, and this client insists on "
                f"{self.mode} mode",
                Code.POLICY_MODE,
            )
        if self.suite is not None and params.suite is not self.suite:
            raise ParameterError(
                f"{_REFUSED}: the round uses {params.suite.name}, and this client insists on "
                f"{self.suite.name}",
                Code.POLICY_SUITE,
            )
        if params.colluders < self.colluders:
            raise ParameterError(
                f"{_REFUSED}: the round protects from {params.colluders} colluders, not from "
                f"{self.colluders}; ask for parameters with more colluders",
                Code.POLICY_COLLUDERS,
            )
        if params.quorum == 2 and not self.allow_pair:
            raise ParameterError(
                f"{_REFUSED}: from a sum of 2 inputs (the quorum) each party learns the other's; "
                "set allow_pair to accept that",
                Code.POLICY_PAIR,
            )
        for bound in _BOUNDS:
            self._check_bound(params, bound)
        if params.degree and not allowed:
            self._check_sparse(params)
        self._check_format(params.format)
        if self.privacy is not None:
            self.privacy.check(params)

    def _check_sparse(self, params: Params) -> None:
        if self.sparse is None:
            raise ParameterError(
                f"{_REFUSED}: the graph is sparse, so {params.degree} neighbours of a party may "
                "unmask it together; say with sparse=Fractions(corrupt, dropout) what it must be "
                "good for, or give params",
                Code.POLICY_GRAPH,
            )
        colluders, dropouts = self.sparse.of(params.cohort)
        offered = params.colluders, params.cohort - params.quorum
        for name, found, wanted in zip(
            ("colluders", "dropouts"), offered, (colluders, dropouts), strict=True
        ):
            if found < wanted:
                raise ParameterError(
                    f"{_REFUSED}: the sparse graph is good for {found} {name} among "
                    f"{params.cohort}, not for {wanted}; ask for parameters by Params.for_cohort "
                    f"with corrupt={self.sparse.corrupt} and dropout={self.sparse.dropout}",
                    Code.POLICY_GRAPH,
                )

    def _check_format(self, offered: Format) -> None:
        allowed = _as_tuple(self.format)
        if allowed and offered not in allowed:
            raise ParameterError(
                f"{_REFUSED}: the format is {offered}, not {' or '.join(map(str, allowed))}",
                Code.POLICY_FORMAT,
            )
        for bound in _FORMAT_BOUNDS:
            if getattr(self, bound.name) is None:
                continue
            if not isinstance(offered, FixedPoint):
                raise ParameterError(
                    f"{_REFUSED}: the format is {offered}, and {bound.name} is for FixedPoint only",
                    Code.POLICY_FORMAT,
                )
            self._check_bound(offered, bound)

    def _check_bound(self, offered: Params | FixedPoint, bound: "_Bound") -> None:
        value, limit = getattr(offered, bound.of), getattr(self, bound.name)
        if value < limit if bound.is_lower else value > limit:
            side = "below" if bound.is_lower else "above"
            raise ParameterError(
                f"{_REFUSED}: {bound.of} {value} is {side} {bound.name} {limit}", bound.code
            )


class _Bound(NamedTuple):
    """One bound of a policy: its name, and the value of parameters or format that it limits."""

    name: str
    of: str
    code: Code

    @property
    def is_lower(self) -> bool:
        return self.name.startswith("min_")


_BOUNDS: Final = (
    _Bound("max_cohort", "cohort", Code.POLICY_COHORT),
    _Bound("max_length", "length", Code.POLICY_LENGTH),
    _Bound("min_length", "length", Code.POLICY_LENGTH),
    _Bound("min_threshold", "threshold", Code.POLICY_THRESHOLD),
    _Bound("min_survivors", "quorum", Code.POLICY_SURVIVORS),
)
_FORMAT_BOUNDS: Final = (
    _Bound("min_clip", "clip", Code.POLICY_FORMAT),
    _Bound("max_clip", "clip", Code.POLICY_FORMAT),
    _Bound("min_bits", "bits", Code.POLICY_FORMAT),
    _Bound("max_bits", "bits", Code.POLICY_FORMAT),
    _Bound("max_weight", "max_weight", Code.POLICY_FORMAT),
)
_FORMAT_NAMES: Final = frozenset(bound.name for bound in _FORMAT_BOUNDS)
# The whole numbers of a policy, and the ranges that they must be in.
_RANGES: Final = (
    ("colluders", 0, MAX_COHORT),
    ("min_survivors", 0, MAX_COHORT),
    ("min_threshold", 0, MAX_COHORT),
    ("max_cohort", 2, MAX_COHORT),
    ("min_length", 1, MAX_LENGTH),
    ("max_length", 1, MAX_LENGTH),
    ("min_bits", 1, MAX_FIXED_POINT_BITS),
    ("max_bits", 1, MAX_FIXED_POINT_BITS),
    ("max_weight", 1, MAX_WEIGHT),
)


def require_release(release: object) -> None:
    """Raises ParameterError unless this is a function, or None."""
    if release is not None and not callable(release):
        raise ParameterError(
            "release must be a function of the survivors' indices that returns a text, not "
            f"{brief(release)}",
            Code.ARGUMENT,
        )


def asked(release: Release, survivors: Iterable[int]) -> str:
    """Returns why a sum over these survivors must not be opened, as one line; "" if it may."""
    reason = release(tuple(survivors))
    if not isinstance(reason, str):
        return f"release returned {brief(reason)} in place of a text, empty if there is no reason"
    return one_line(reason) or ("release gave a reason that cannot be printed" if reason else "")


def require_context(context: bytes, offered: Round) -> None:
    """Raises ParameterError unless the round has this context."""
    if offered.context != context:
        raise ParameterError(
            f"{_REFUSED}: context {_short(offered.context)} is not the expected "
            f"{_short(context)}; compare what the round is about (the training, the model, the "
            "number of the attempt) with the server's",
            Code.POLICY_CONTEXT,
        )


def _require_positive(name: str, value: object) -> float:
    """Returns a number above 0 as a float; raises ParameterError for anything else."""
    found = require_float(name, value)
    if not found > 0:
        raise ParameterError(f"{name} must be above 0, not {found}", Code.ARGUMENT)
    return found


def _require_kind(name: str, value: object, kind: Any, *, several: bool) -> None:
    """Raises ParameterError unless the value is None, of this kind or, if so, a tuple of it."""
    each = value if several and isinstance(value, tuple) else (value,)
    wrong = [one for one in each if not isinstance(one, kind)]
    if value is not None and (wrong or not each):
        label = "a number format" if name == "format" else kind.__name__
        more = ", or a tuple of them" if several else ""
        found = type(wrong[0]).__name__ if wrong else "an empty tuple"
        raise ParameterError(f"{name} must be {label}{more}, not {found}", Code.ARGUMENT)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    """Returns what a policy allows as a tuple; an empty one if it allows everything."""
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def _difference(offered: Params, allowed: tuple[Params, ...]) -> str:
    """Returns in which values the offered parameters differ from the only ones allowed."""
    if len(allowed) != 1:
        return f"the offered parameters are none of the {len(allowed)} agreed on"
    values = (
        (each.name, getattr(offered, each.name), getattr(allowed[0], each.name))
        for each in fields(Params)
    )
    return "the offered parameters are not those agreed on: " + ", ".join(
        f"{name} is {theirs}, not {ours}" for name, theirs, ours in values if theirs != ours
    )


def _short(context: bytes) -> str:
    """Returns the beginning of a context, enough to tell two apart."""
    return f"{context[:8].hex()}..."
