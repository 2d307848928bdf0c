"""Several questions in one round: records to a vector of integers, and their sum to tables.

Every answer is a sum of integers that can be far larger than an element of a vector. It travels in
limbs, digits of `bits` bits, each of which is summed by itself; so nothing overflows, and a vector
with counts and sums of squares is about as short as its numbers are. Noise needs whole numbers, so
there each answer is one number of a vector bounded in L2, and only counts are possible.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..encoding.arrays import read_array
from ..encoding.clipping import warn_of_records
from ..encoding.described import Described
from ..encoding.fitting import Sums
from ..errors import ParameterError, RangeError
from ..numeric import as_int, brief
from ..params.checks import require_int
from ..params.formats import Integers
from ..params.params import MAX_COHORT, MAX_LENGTH
from ..params.rotated import Noise, Rotated
from .columns import Records
from .questions import Count, Moments, Question, Totals, moments_of
from .suppression import to_suppress
from .tables import Masked, MomentsTable, Table

MAX_RECORDS: Final = 2**31 - 1  # of one party: sums of values below 2**32 fit 64 bits
_MOST_BITS: Final = 40  # of a limb: the sum of 2**16 of them fits a field of 62 bits
_COHORT_BITS: Final = 7  # that a usual cohort adds to each element


@dataclass(frozen=True, slots=True, init=False)
class Query(Described):
    """Questions about the records of parties, answered by one sum.

    Each party makes it from its own configuration, never from what a server sends, and says that
    its records are for it: `assignment.expect("diabetes 2026", query)`. It is then part of the
    context, so the records are given for no other question. The coordinator makes the same one:
    `secagg.run_round(rounds, ask, present, query)`.

    Two queries are equal, and have the same digest, if records and questions by name are.

    Attributes:
        questions: pairs of name and question, by ascending name.
        records: the most records of one party.
        format: `Integers` for one limb of an answer, or the `Rotated` with noise that was given.
        length: numbers of an input, `Params.length`.
        cohort: None: a query is for any cohort.
    """

    questions: tuple[tuple[str, Question], ...]
    records: int
    format: Integers | Rotated
    length: int = field(compare=False)
    cohort: None = field(compare=False)

    def __init__(
        self,
        questions: Mapping[str, Question],
        *,
        records: int,
        format: Rotated | None = None,  # noqa: A002
    ) -> None:
        """Makes a query.

        Args:
            questions: a `Count` or `Moments` by name, one or more.
            records: the most records of one party, 1..2**31 - 1; public. More of them are refused
                at the party. With 1 no party can count twice.
            format: with noise, as `secagg.noise.calibrate` plans it, for `Count` alone; its clip
                must be `norm` or more, and the rounds need the other parameters of the plan, too.
                By default sums are exact.

        Raises:
            ParameterError: an argument is wrong.
        """
        if not isinstance(questions, Mapping) or not questions:
            raise ParameterError(
                f"questions must be a dict by name, not {brief(questions)}", Code.ARGUMENT
            )
        for name, question in questions.items():
            if not isinstance(name, str) or not isinstance(question, Count | Moments):
                raise ParameterError(
                    "questions must be Count or Moments, each by a name, not "
                    f"{brief(name)}: {brief(question)}",
                    Code.ARGUMENT,
                )
        ordered = tuple((str(name), questions[name]) for name in sorted(questions))
        object.__setattr__(self, "questions", ordered)
        most = require_int("records", records, 1, MAX_RECORDS)
        object.__setattr__(self, "records", most)
        exact = Integers(0, 2 ** _bits_of_limbs([each[2:] for each in self._answers()]) - 1)
        object.__setattr__(self, "format", exact)
        if format is not None:
            object.__setattr__(self, "format", self._checked(format))
        length = sum(cells * self._limbs(top) for _, _, cells, top in self._answers())
        if length > MAX_LENGTH:
            raise ParameterError("the tables of the query are too large", Code.ARGUMENT)
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "cohort", None)

    def __str__(self) -> str:
        """Lists the questions, for the people who decide whether to answer."""
        lines = [f"{name}: {question}" for name, question in self.questions]
        return "\n".join((*lines, f"of up to {self.records:,} records, in {self.length:,} numbers"))

    def parts(self) -> tuple[Any, ...]:
        """Returns parts of a digest."""
        parts: list[Any] = ["secagg.analytics.Query", self.format.encode(), self.records]
        parts.append(len(self.questions))
        for name, question in self.questions:
            parts += [name, *question.parts()]
        return tuple(parts)

    def _answers(self) -> Iterator[tuple[str, str, int, int]]:
        """Yields name of the question, name of a sum, number of cells, largest of one party."""
        for name, question in self.questions:
            for what, top in question.most(self.records).items():
                yield name, what, math.prod(question.shape), top

    @property
    def norm(self) -> float:
        """The largest L2 norm of one party's input, for `secagg.noise.calibrate(clip=...)`.

        Raises:
            ParameterError: there is a question other than `Count`.
        """
        if any(not isinstance(question, Count) for _, question in self.questions):
            raise ParameterError(
                "noise is for Count alone: its size follows from the largest number of a query, "
                "and sums of squares would leave nothing of counts; ask with Bins in place of "
                "Moments",
                Code.ARGUMENT,
            )
        # All records of a party may be in one cell of each table.
        return math.nextafter(self.records * math.sqrt(len(self.questions)), math.inf)

    def _checked(self, form: object) -> Rotated:
        if not isinstance(form, Rotated) or form.noise is Noise.NONE:
            raise ParameterError(
                f"format must be a Rotated with noise, or be left out, not {brief(form)}",
                Code.ARGUMENT,
            )
        if form.clip < self.norm:
            raise ParameterError(
                f"the clip {form.clip} of the format is below the norm {self.norm} of the query: "
                "inputs would be shortened",
                Code.ARGUMENT,
            )
        return form

    @property
    def _bits(self) -> int:
        """Bits of a limb; with noise there are no limbs."""
        return self.format.high.bit_length() if isinstance(self.format, Integers) else 64

    def _limbs(self, top: int) -> int:
        return _limbs(top, self._bits)

    def pack(self, records: Any) -> NDArray[np.int64]:
        """Returns the input of one party, shape (length,), for `submit` or as an answer.

        There is one `ClippingWarning`, with columns and counts, if values were outside their range;
        it goes to this party alone.

        Args:
            records: columns by name (a dict, a data frame, a structured array), or a list of dicts.
                Columns are lists or arrays of one dimension; those that no question names are not
                read. Without records ([], or empty columns) the answer is zeros.

        Raises:
            RangeError: there are more than `records` of them; a column is missing, or has values
                that are no numbers, missing, or in no category where that is refused.
        """
        read = Records(records)
        if read.count > self.records:
            raise RangeError(
                f"there are {read.count:,} records, and the query takes {self.records:,} of one "
                "party",
                Code.OUT_OF_RANGE,
            )
        sums: dict[str, dict[str, Totals]] = {}
        clipped: dict[str, int] = {}
        for name, question in self.questions:
            sums[name], outside = question.summed(read)
            clipped |= {f"{column!r} in {name!r}": each for column, each in outside.items()}
        parts = [
            _in_limbs(sums[name][what], self._limbs(top), self._bits)
            for name, what, _, top in self._answers()
        ]
        warn_of_records(clipped, read.count)
        return np.concatenate(parts)

    def unpack(self, result: Any, *, least: int = 0) -> dict[str, Table]:
        """Returns the tables of a round, by the names of their questions.

        The table of `Moments` is a `MomentsTable`.

        Args:
            result: the `Result` of a round, or a `SecureSum`; or what `combine` returned.
            least: suppresses cells of fewer records, and further cells of each line from whose
                total one could be computed; 0 shows everything. This is for what is published: the
                server has all cells. `docs/ANALYTICS.md` says what it does not protect.

        Raises:
            ParameterError: `least` is out of range.
            RangeError: the result is of another query, or no records have these exact sums
                (`Code.IMPOSSIBLE_SUM`): then a client lied, and there are no tables. Within these
                bounds nothing is noticed: one malicious client can add `records` invented ones.
        """
        least = require_int("least", least, 0, 2**63 - 1)
        form = self.format
        total, parties = _read(result, self.length, exact=isinstance(form, Integers))
        if isinstance(form, Rotated):
            return self._noisy(total, math.sqrt(form.variance * parties) / form.scale, least)
        sums: dict[str, dict[str, Totals]] = {name: {} for name, _ in self.questions}
        start = 0
        for name, what, cells, top in self._answers():
            limbs = total[start : (start := start + cells * self._limbs(top))]
            found = _of_limbs(limbs, cells, self._bits)
            if any(each > top * parties for each in found):
                raise _impossible(name)
            sums[name][what] = found
        self._check(sums, parties)
        return {name: _table(question, sums[name], least) for name, question in self.questions}

    def _noisy(self, total: NDArray[Any], noise: float, least: int) -> dict[str, Table]:
        """Returns the tables of counts with noise, which may be below zero and disagree."""
        tables: dict[str, Table] = {}
        start = 0
        for name, question in self.questions:
            counts = total[start : (start := start + math.prod(question.shape))]
            count = np.rint(counts).astype(np.int64).reshape(question.shape)
            tables[name] = Table(
                by=question.axes, count=_masked(count, to_suppress(count, least)), noise=noise
            )
        return tables

    def _check(self, sums: dict[str, dict[str, Totals]], parties: int) -> None:
        """Raises RangeError if a table is impossible, or two tables have different records."""
        before: int | None = None
        for name, question in self.questions:
            found = sums[name]
            count = sum(found["count"]) + sum(found.get("missing", ()))
            before = count if before is None else before
            if count != before or count > self.records * parties or not question.check(found):
                raise _impossible(name)


def _impossible(name: str) -> RangeError:
    return RangeError(
        f"question {name!r}: no records have these sums: a client sent others, or a worker a wrong "
        "result",
        Code.IMPOSSIBLE_SUM,
    )


def _read(result: Any, length: int, *, exact: bool) -> tuple[NDArray[Any], int]:
    """Returns total and number of parties; raises RangeError if they do not fit the query."""
    parties = as_int(result.weight) if isinstance(result, Sums) else None
    if parties is None or parties < 1:
        raise RangeError(
            "the whole result of a round is needed, with total and weight, not "
            f"{type(result).__name__}",
            Code.LAYOUT,
        )
    total: NDArray[Any] = read_array(result.total, "the result")
    if total.shape != (length,) or (exact and (total.dtype.kind not in "iu" or (total < 0).any())):
        kind = "integers from 0 up" if exact else "numbers"
        raise RangeError(
            f"the result of this query has {length} {kind}, not those of {total.dtype} and shape "
            f"{total.shape}",
            Code.SHAPE,
        )
    return total, parties


def _table(question: Question, sums: dict[str, Totals], least: int) -> Table:
    shape = question.shape
    count = np.array(sums["count"], np.int64).reshape(shape)
    hidden = to_suppress(count, least)
    if isinstance(question, Count):
        return Table(by=question.axes, count=_masked(count, hidden))
    missing = None
    if "missing" in sums:
        lacking = np.array(sums["missing"], np.int64).reshape(shape)
        missing = _masked(lacking, hidden | to_suppress(lacking, least))
    weights = sums.get("weight", sums["count"])
    rows = zip(weights, sums["first"], sums["second"], strict=True)
    found = np.array([moments_of(question, *row) for row in rows]).reshape(*shape, 3)
    total, mean, variance = (
        _masked(values, hidden | np.isnan(values)) for values in np.moveaxis(found, -1, 0)
    )
    wide = np.int64 if max(weights) < 2**63 else np.float64
    weight = _masked(np.array(weights, wide).reshape(shape), hidden)
    return MomentsTable(
        by=question.axes,
        count=_masked(count, hidden),
        missing=missing,
        weight=weight,
        sum=total,
        mean=mean,
        variance=variance,
    )


def _masked(values: NDArray[Any], hidden: NDArray[np.bool_]) -> Masked:
    """Returns them with a mask, and zeros under it: what is suppressed is not there."""
    return np.ma.array(np.where(hidden, 0, values), mask=hidden)


# -- limbs --------------------------------------------------------------------------------------


def _limbs(top: int, bits: int) -> int:
    return -(-top.bit_length() // bits)


def _bits_of_limbs(answers: list[tuple[int, int]]) -> int:
    """Returns the bits of a limb with which the vectors of a usual cohort are shortest."""

    def size(bits: int) -> int:
        return sum(cells * _limbs(top, bits) for cells, top in answers) * (bits + _COHORT_BITS)

    assert MAX_COHORT.bit_length() + _MOST_BITS <= 60  # noqa: S101
    return min(range(1, _MOST_BITS + 1), key=size)


def _in_limbs(sums: Totals, limbs: int, bits: int) -> NDArray[np.int64]:
    """Returns the limbs of each sum, the lowest first."""
    mask = 2**bits - 1
    return np.array(
        [[each >> (bits * at) & mask for at in range(limbs)] for each in sums], np.int64
    ).reshape(-1)


def _of_limbs(limbs: NDArray[Any], cells: int, bits: int) -> Totals:
    """Returns the sums of which these are the sums of limbs; they may carry."""
    rows: list[list[int]] = limbs.reshape(cells, -1).tolist()
    return [sum(limb << (bits * at) for at, limb in enumerate(row)) for row in rows]
