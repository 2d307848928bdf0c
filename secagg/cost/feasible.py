"""Finds the nearest possible values for an impossible round, changing one argument at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from ..encoding.choice import codec_for
from ..errors import ParameterError
from ..params.checks import whole
from ..params.formats import FixedPoint, Format, Integers
from ..params.fractions import Fractions
from ..params.mode import Mode
from ..params.params import MAX_COHORT, Params
from ..params.rotated import Rotated
from ..params.suite import Suite

_ONE_BIT: Final = Integers(0, 1)  # fits the field for every cohort


@dataclass(frozen=True, slots=True)
class Request:
    """The request: the arguments of `Params.for_cohort`.

    Numbers may be of any library; they are kept as Python's.
    """

    cohort: int
    length: int
    format: Format
    corrupt: float
    dropout: float
    mode: Mode
    suite: Suite

    def __post_init__(self) -> None:
        for name in ("cohort", "length"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        for name, value in Fractions(self.corrupt, self.dropout)._asdict().items():
            object.__setattr__(self, name, value)

    def params(self) -> Params:
        """Returns the parameters; raises ParameterError if there are none."""
        return Params.for_cohort(
            self.cohort,
            self.length,
            self.format,
            corrupt=self.corrupt,
            dropout=self.dropout,
            mode=self.mode,
            suite=self.suite,
        )

    def with_dropouts(self, lost: int) -> "Request":
        """Returns the request for this many dropouts."""
        return replace(self, dropout=as_fraction(lost, self.cohort))


# One argument with another value, with which the request is possible.
Change = tuple[str, int | float | str]


def check_safe(request: Request) -> None:
    """Raises ParameterError unless parameters are safe for the fractions, whatever the vector."""
    replace(request, length=1, format=_ONE_BIT).params()


def check_fits(request: Request) -> None:
    """Raises ParameterError unless the field holds all sums, and a message the vector."""
    n = request.cohort
    codec_for(Params(n, request.length, request.format, threshold=n, colluders=0), bytes(16))


def is_safe(request: Request) -> bool:
    """Returns whether `check_safe` accepts a request."""
    return _accepts(check_safe, request)


def fits(request: Request) -> bool:
    """Returns whether `check_fits` accepts a request."""
    return _accepts(check_fits, request)


def safe_changes(request: Request) -> Iterator[Change]:
    """Yields changes of fractions, cohort or mode after which `is_safe` holds."""
    n = request.cohort
    colluders, lost = Fractions(request.corrupt, request.dropout).of(n)
    fewer = greatest(lost, lambda count: is_safe(request.with_dropouts(count)))
    if fewer is not None:
        yield "dropout", as_fraction(fewer, n)
    fewer = greatest(
        colluders, lambda count: is_safe(replace(request, corrupt=as_fraction(count, n)))
    )
    if fewer is not None:
        yield "corrupt", as_fraction(fewer, n)
    if (larger := least_cohort(request, is_safe)) is not None:
        yield "cohort", larger
    if request.mode is Mode.MALICIOUS and is_safe(replace(request, mode=Mode.SEMI_HONEST)):
        yield "mode", str(Mode.SEMI_HONEST)


def fitting_changes(request: Request) -> Iterator[Change]:
    """Yields changes of format, cohort or length after which `fits` holds."""
    form = request.format
    if isinstance(form, FixedPoint):
        ranges = [("bits", 1, form.bits), ("max_weight", 1, form.max_weight)]
    elif isinstance(form, Rotated):
        ranges = [("max_weight", 1, form.max_weight)]
    else:
        ranges = [("high", form.low + 1, form.high)]

    def fits_with(name: str, value: int) -> bool:
        changed: Format = replace(form, **{name: value})  # type: ignore[arg-type]
        return fits(replace(request, format=changed))

    for name, least, value in ranges:
        lower = greatest(value, partial(fits_with, name), least)
        if lower is not None:
            yield name, lower
    cohort = greatest(request.cohort, lambda fewer: fits(replace(request, cohort=fewer)), 2)
    if cohort is not None:
        yield "cohort", cohort
    length = greatest(request.length, lambda fewer: fits(replace(request, length=fewer)), 1)
    if length is not None:
        yield "length", length


def least_cohort(request: Request, possible: Callable[[Request], bool]) -> int | None:
    """Returns a cohort larger than that of the request, of the smallest where one is possible.

    Fractions are rounded to whole parties, so that a cohort can be possible where the next one is
    not: a few more are tried one by one, then in steps of an eighth.
    """
    cohort = request.cohort
    while cohort < MAX_COHORT:
        cohort += 1 if cohort < request.cohort + 20 else max(cohort // 8, 1)
        if cohort <= MAX_COHORT and possible(replace(request, cohort=cohort)):
            return cohort
    return None


def as_fraction(count: int, cohort: int) -> float:
    """Returns the fraction with the fewest decimals that stands for this many of a cohort."""
    for decimals in range(1, 7):
        scale = int(10**decimals)
        fraction = -(-count * scale // cohort) / scale
        if fraction < 1 and Fractions(0.0, fraction).of(cohort)[1] == count:
            return fraction
    return count / cohort


def greatest(value: int, works: Callable[[int], bool], least: int = 0) -> int | None:
    """Returns the greatest number in least..value - 1 that works, where all below it do, too."""
    low, high = least, value  # all below `low` work, and none from `high` on; any ints
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if works(middle) else (low, middle)
    return low - 1 if low > least else None


def _accepts(check: Callable[[Request], None], request: Request) -> bool:
    try:
        check(request)
    except ParameterError:
        return False
    return True
