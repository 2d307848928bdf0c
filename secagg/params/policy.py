"""The demands of one client on the rounds that a server offers."""

from dataclasses import dataclass, fields
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from .checks import require_bytes, require_int
from .mode import Mode
from .params import CONTEXT_BYTES, MAX_COHORT, MAX_LENGTH, Params, Round

_REFUSED: Final = "refused by this client's policy"


@dataclass(frozen=True, slots=True)
class Policy:
    """The demands of one client on a round; it refuses what does not meet them.

    Without `params` a client takes threshold, cohort and colluders from the server's offer (and
    only what `Params` allows at all); to decide about them itself, it must be given its own.

    Attributes:
        params: exactly these parameters, or one of these, if given.
        context: exactly this context, if given. In malicious mode give it: otherwise it is the
            server that says what counts as contributing twice.
        min_survivors: the smallest quorum to take part under. A larger number known only to this
            client would not help: the others unmask as soon as the parameters allow it.
        max_cohort: greatest cohort to take part in.
        max_length: greatest input length to take part with.
        mode: exactly this mode, if given. (With an identity a client refuses semi-honest rounds
            in any case.)
        colluders: the number of parties that this client wants to be safe from when they collude
            with the server: parameters that state fewer are refused.
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
        wrong = [type(each).__name__ for each in allowed if not isinstance(each, Params)]
        if self.params is not None and wrong:
            raise ParameterError(
                f"params must be Params, or a tuple of them, not {wrong[0]}", Code.ARGUMENT
            )
        if self.mode is not None and not isinstance(self.mode, Mode):
            raise ParameterError(f"mode must be a Mode or None, not {self.mode!r}", Code.ARGUMENT)
        if self.context is not None:
            require_bytes("context", self.context, CONTEXT_BYTES)
        for name in ("allow_pair", "allow_repeats"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ParameterError(f"{name} is True or False, not {value!r}", Code.ARGUMENT)
        require_int("colluders", self.colluders, 0, MAX_COHORT)
        require_int("min_survivors", self.min_survivors, 0, MAX_COHORT)
        require_int("max_cohort", self.max_cohort, 2, MAX_COHORT)
        require_int("max_length", self.max_length, 1, MAX_LENGTH)

    def check(self, offered: Round) -> None:
        """Refuses a round that this client will not take part in.

        Raises:
            ParameterError: the round breaks the policy; the message says where, and the code is
                one of those that begin with `policy_`.
        """
        params = offered.params
        allowed = (self.params,) if isinstance(self.params, Params) else self.params
        if allowed is not None and params not in allowed:
            raise ParameterError(
                f"{_REFUSED}: {_difference(params, allowed)}; compare them with the server's",
                Code.POLICY_PARAMS,
            )
        if self.context is not None and offered.context != self.context:
            raise ParameterError(
                f"{_REFUSED}: context {_short(offered.context)} is not the expected "
                f"{_short(self.context)}; compare the model and the round number with the server's",
                Code.POLICY_CONTEXT,
            )
        if self.mode is not None and params.mode is not self.mode:
            raise ParameterError(
                f"{_REFUSED}: the round is in {params.mode} mode, and this client insists on "
                f"{self.mode} mode",
                Code.POLICY_MODE,
            )
        if params.colluders < self.colluders:
            raise ParameterError(
                f"{_REFUSED}: the round protects from {params.colluders} colluders, not from "
                f"{self.colluders}; ask for parameters with more colluders",
                Code.POLICY_COLLUDERS,
            )
        if params.cohort == 2 and not self.allow_pair:
            raise ParameterError(
                f"{_REFUSED}: in a cohort of 2 each party learns the other's input; set allow_pair "
                "to accept that",
                Code.POLICY_PAIR,
            )
        if params.cohort > self.max_cohort:
            raise ParameterError(
                f"{_REFUSED}: cohort {params.cohort} is above max_cohort {self.max_cohort}",
                Code.POLICY_COHORT,
            )
        if params.length > self.max_length:
            raise ParameterError(
                f"{_REFUSED}: length {params.length} is above max_length {self.max_length}",
                Code.POLICY_LENGTH,
            )
        if params.quorum < self.min_survivors:
            raise ParameterError(
                f"{_REFUSED}: quorum {params.quorum} is below min_survivors {self.min_survivors}",
                Code.POLICY_SURVIVORS,
            )


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
