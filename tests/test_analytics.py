"""Questions about records: tables are those of all records together; small cells.

The reference knows nothing of limbs or NumPy: it has the records of all parties in one list.
"""

import datetime
import itertools
import math
import pickle
import re
import runpy
import statistics
import sys
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import children
import numpy as np
import pytest
from documents import programs
from hypothesis import given
from hypothesis import strategies as st
from levels import runs_at
from refusals import refused
from support import looped

import secagg
from secagg import Code
from secagg.analytics import Bins, Categories, Count, Moments, Query, Table
from secagg.analytics.suppression import to_suppress
from secagg.params.formats import field_width

ROOT = Path(__file__).resolve().parents[1]
SEX = Categories("sex", ("f", "m"), other=False)
DIAGNOSIS = Categories("diagnosis", ("flu", 7, "asthma"), missing="count")
AGE = Bins("age", (0, 18, 40.5, 120))
GLUCOSE = Moments("glucose", 2, 30.05, 0.1, missing="count")
QUERY = Query(
    {
        "all": Count(),
        "age": Count(AGE),
        "cross": Count((DIAGNOSIS, SEX)),
        "glucose": GLUCOSE,
        "by sex": replace(GLUCOSE, by=SEX),
        "weighted": replace(GLUCOSE, by=(SEX, AGE), weight="visits", max_weight=9),
    },
    records=60,
)
Row = dict[str, Any]


def refusal(
    call: Callable[..., Any], *given: Any, error: type[secagg.SecAggError], code: Code
) -> secagg.SecAggError:
    """Returns the exception of a call."""
    with refused(error, code) as caught:
        call(*given)
    return caught.value


def rows_of(seed: int, count: int) -> list[Row]:
    """Returns records of a party."""
    rng = np.random.default_rng(seed)
    return [
        {
            "age": float(rng.choice([-1, 0, 17, 18, 40.5, 119.9, 120, 130])),
            "sex": str(rng.choice(["f", "m"])),
            "diagnosis": [None, "flu", 7, "asthma", "gout", 8][rng.integers(6)],
            "glucose": float(rng.choice([1, 2, 30.02, 31, math.nan, *rng.normal(7, 2, 9)])),
            "visits": int(rng.integers(0, 10)),
        }
        for _ in range(count)
    ]


def columns_of(rows: list[Row]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows_of(0, 1)[0]}


def arrays_of(rows: list[Row]) -> dict[str, np.ndarray]:
    """Returns columns as arrays of several kinds, with a mask in place of a NaN."""
    columns: dict[str, Any] = {name: np.array(each) for name, each in columns_of(rows).items()}
    columns["diagnosis"] = np.array([row["diagnosis"] for row in rows], object)
    gone = np.isnan(columns["glucose"])
    columns["glucose"] = np.ma.array(np.nan_to_num(columns["glucose"]), mask=gone)
    return columns


class NA:
    """What is unknown: no comparison of it has a truth value, as of `pandas.NA`."""

    def __eq__(self, _: object) -> "NA":  # type: ignore[override]
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = object.__hash__


class Column:
    """A column of a data frame, with labels that arrays of a model must not have."""

    def __init__(self, values: list[Any]) -> None:
        self._values = values
        self.index = range(10, 10 + len(values))

    def __len__(self) -> int:
        return len(self._values)

    def to_numpy(self) -> np.ndarray:
        return np.array([NA() if x is None or x != x else x for x in self._values], object)


class Frame:
    """A data frame, by what a program can do with it."""

    def __init__(self, rows: list[Row]) -> None:
        self._columns = {name: Column(each) for name, each in columns_of(rows).items()}
        self.columns = list(self._columns)

    def __getitem__(self, name: str) -> Column:
        return self._columns[name]

    def to_numpy(self) -> None:
        raise AssertionError("the frame as a whole is not needed")


FORMS: list[Callable[[list[Row]], Any]] = [list, columns_of, arrays_of, Frame]


def place(axis: Bins | Categories, row: Row) -> str:
    """Returns the label of a record."""
    value = row[axis.column]
    if isinstance(axis, Bins):
        at = bisect_right(axis.edges, value) - 1
        return axis.labels[min(max(at, 0), len(axis.edges) - 2)]
    if value is None:
        return "missing"
    return str(value) if value in axis.values else "other"


def level(value: float) -> Fraction:
    """Returns the value that a party's is rounded to."""
    top = math.floor((Fraction(GLUCOSE.high) - 2) / Fraction(0.1))
    inside = min(max(value, 2.0), GLUCOSE.high)
    return 2 + Fraction(0.1) * min(round((inside - 2.0) / 0.1), top)


def expected(question: Count | Moments, rows: list[Row]) -> dict[tuple[str, ...], Any]:
    """Returns by cell a count; or counts, weight, sum, mean and variance."""
    cells = itertools.product(*(axis.labels for axis in question.by))
    found: dict[tuple[str, ...], Any] = {}
    for cell in cells:
        inside = [row for row in rows if tuple(place(each, row) for each in question.by) == cell]
        if isinstance(question, Count):
            found[cell] = len(inside)
            continue
        there = [row for row in inside if not math.isnan(row["glucose"])]
        values = [
            level(row["glucose"])
            for row in there
            for _ in range(row["visits"] if question.weight else 1)
        ]
        found[cell] = (
            len(there),
            len(inside) - len(there),
            len(values),
            float(sum(values)),
            float(statistics.mean(values)) if values else None,
            float(statistics.variance(values)) if len(values) > 1 else None,
        )
    return found


def got(table: Any) -> dict[tuple[str, ...], Any]:
    """Returns the same of a table."""
    names = ("count", "missing", "weight", "sum", "mean", "variance")
    cells = list(itertools.product(*table.labels))
    if type(table) is Table:
        return dict(zip(cells, table.count.reshape(-1).tolist(), strict=True))
    columns = (getattr(table, name).reshape(-1).tolist() for name in names)
    return dict(zip(cells, zip(*columns, strict=True), strict=True))


def packed(query: Query, records: Any) -> np.ndarray:
    """Returns an input, without the warning of what was clipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", secagg.ClippingWarning)
        return query.pack(records)


def summed(query: Query, parties: list[Any]) -> Any:
    """Returns the result of a round without cryptography."""
    vectors = [packed(query, records) for records in parties]
    assert all(v.min() >= 0 and v.max() <= query.format.high for v in vectors)
    return SimpleNamespace(total=np.sum(vectors, axis=0), weight=len(parties))


def test_tables_are_those_of_all_records() -> None:
    """In a real round, from records in any form: exact, to the last bit of every float."""
    parties = [rows_of(seed, count) for seed, count in enumerate((60, 0, 33, 1, 47))]
    given = [FORMS[at % len(FORMS)](rows) for at, rows in enumerate(parties)]
    run = secagg.secure_sum([packed(QUERY, each) for each in given], QUERY.format)
    tables = QUERY.unpack(run)
    rows = [row for rows in parties for row in rows]
    assert list(tables) == [name for name, _ in QUERY.questions]
    for name, question in QUERY.questions:
        assert got(tables[name]) == expected(question, rows), name
    assert len({place(DIAGNOSIS, row) for row in rows}) == 5
    assert all(
        np.array_equal(packed(QUERY, form(parties[0])), run_input)
        for form, run_input in zip(FORMS, [packed(QUERY, parties[0])] * len(FORMS), strict=True)
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 2**32 - 1), st.integers(1, 2**31 - 1))
def test_no_number_of_records_overflows(value: int, weight: int, records: int) -> None:
    """Sums of the largest values and weights are exact, and so is the sum of 2**16 parties."""
    top = 2**32 - 1
    question = Moments("x", 0, top, 1, weight="w", max_weight=top)
    query = Query({"q": question}, records=records)
    field_width(query.format, 2**16)  # raises if there is no room
    many = min(records, 3)
    columns = {"x": [value, top, 0][:many], "w": [weight, top, 1][:many]}
    vector = query.pack(columns).astype(object)
    result = SimpleNamespace(total=(vector * 2**16).astype(np.int64), weight=2**16)
    table = query.unpack(result)["q"]
    total = 2**16 * sum(x * w for x, w in zip(*columns.values(), strict=True))
    assert float(table.sum) == float(total)
    assert table.weight.dtype == (int if sum(columns["w"]) < 2**47 else float)
    assert float(table.weight) == float(2**16 * sum(columns["w"]))
    assert float(table.mean) == float(Fraction(total, 2**16 * sum(columns["w"])))
    pairs = list(zip(*columns.values(), strict=True))
    weights, squares = (sum(w * x**e for x, w in pairs) * 2**16 for e in (0, 2))
    wanted = Fraction(squares * weights - total**2, weights * (weights - 1))
    assert float(table.variance) == float(wanted)


def test_the_largest_sums() -> None:
    """Of 2**16 parties with 2**31 - 1 records each of the largest value and weight."""
    records, top = 2**31 - 1, 2**32 - 1
    question = Moments("x", 0, top, 1, weight="w", max_weight=top)
    query = Query({"q": question}, records=records)
    bits, limbs = query.format.high.bit_length(), []
    for most in (records, records * top, records * top**2, records * top**3):
        for at in range(math.ceil(most.bit_length() / bits)):
            limbs.append(most >> bits * at & query.format.high)
    total = np.array(limbs) * 2**16
    table = query.unpack(SimpleNamespace(total=total, weight=2**16))["q"]
    assert int(table.count) == records * 2**16
    assert float(table.weight) == float(records * top * 2**16)
    assert float(table.sum) == float(records * top**2 * 2**16)
    assert (float(table.mean), float(table.variance)) == (top, 0)


def test_the_party_alone_is_told_of_clipping() -> None:
    """By column and count; a value is in no message, and nothing of it in the vector."""
    rows = columns_of(rows_of(1, 4)) | {"age": [5, -1, 777, 120], "glucose": [1.25, 5, 31.5, 7]}
    with pytest.warns(secagg.ClippingWarning) as caught:
        vector = QUERY.pack(rows)
    [text] = {str(each.message) for each in caught}
    assert "2 of 4 values of 'age' in 'age'" in text
    assert "2 of 4 values of 'glucose' in 'by sex'" in text
    assert not any(value in text for value in ("777", "31.5", "1.25"))
    inside = rows | {"age": [5, 0, 120, 120], "glucose": [2, 5, 30, 7]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(QUERY.pack(inside), vector)
        open_ended = Query({"q": Count(Bins.within("age", 0, 120, 4))}, records=4)
        assert open_ended.pack(rows).tolist() == [1, 1, 0, 0, 0, 2]


BAD_RECORDS = {
    "records must be a dict": (5, Code.LAYOUT),
    "of type Column": (Column([1]), Code.LAYOUT),
    "column 'x' (dict) cannot be read": ({"x": 5}, Code.DTYPE),
    "have different lengths": ({"x": [1], "c": []}, Code.SHAPE),
    "no column 'c'": ({"x": [1.0]}, Code.LAYOUT),
    "'x' lacks 2 of 3": ({"x": [None, 1, np.nan], "c": ["a"] * 3}, Code.NOT_FINITE),
    "'x' lacks 1 of 1": ([{"c": "a"}], Code.NOT_FINITE),
    "'x' has 2 values that are no numbers": ({"x": ["secret", 1j], "c": ["a"] * 2}, Code.DTYPE),
    "'c' must be a list": ({"x": [1.0], "c": "a"}, Code.LAYOUT),
    "'c' lacks 1 of 2": ({"x": [1, 2], "c": ["a", None]}, Code.NOT_FINITE),
    "'c' has 1 values that are not in the list": ({"x": [1], "c": ["secret"]}, Code.OUT_OF_RANGE),
    "'c' has values that are no texts": ({"x": [1], "c": [["secret"]]}, Code.DTYPE),
    "'x' must have one dimension": ({"x": np.ones((1, 2)), "c": ["a"]}, Code.SHAPE),
    "there are 4 records": ({"x": [1] * 4, "c": ["a"] * 4}, Code.OUT_OF_RANGE),
    "'w' lacks 1 of 3 weights": (
        {"x": [1] * 3, "c": ["a"] * 3, "w": [1, None, 2]},
        Code.NOT_FINITE,
    ),
    "'w' has 3 weights": ({"x": [1] * 3, "c": ["a"] * 3, "w": [-1, 10, 0.5]}, Code.WEIGHT),
}


@looped("reason, given, code", [(reason, *case) for reason, case in BAD_RECORDS.items()])
def test_bad_records_are_refused(reason: str, given: Any, code: Code) -> None:
    """By column and number of values; none is shown."""
    moments = Moments("x", 0, 10, 1, by=Categories("c", ["a"], other=False))
    query = Query({"q": moments, "r": Count(Categories("c", ["a"], other=False))}, records=3)
    if isinstance(given, dict) and "w" in given:
        query = Query({"q": replace(moments, weight="w", max_weight=9)}, records=3)
    error = refusal(query.pack, given, error=secagg.RangeError, code=code)
    assert reason in str(error)
    assert "secret" not in str(error)


def test_what_is_missing() -> None:
    """None, NaN, NaT, NA and what is masked, in all kinds of columns; dates are no numbers."""
    query = Query({"q": Count(Categories("c", ["a"], missing="count"))}, records=9)
    date = np.datetime64("2026-01-01")
    for column in (
        [None, "a", math.nan, "b"],
        [NA(), "a", Decimal("nan"), "b"],
        np.ma.array(["x", "a", "x", "b"], mask=[True, False, True, False]),
        np.array([None, "a", float("nan"), date], object),
    ):
        table = query.unpack(summed(query, [{"c": column}]))["q"]
        assert got(table) == {("a",): 1, ("other",): 1, ("missing",): 2}
    bins = Query({"q": Count(Bins("c", [0, 1, 2], missing="count"))}, records=9)
    column = [None, 0, True, Decimal("0.5"), Fraction(3, 2), np.float32(2), math.nan]
    assert got(bins.unpack(summed(bins, [{"c": column}]))["q"]) == {
        ("0..1",): 2,
        ("1..2",): 3,
        ("missing",): 2,
    }
    for kind in (float, "float32", "int8", bool, "longdouble", object):
        array = np.array([1, 0, 1, 0], kind)
        for column in (array, array.tolist(), np.ma.array(array, mask=[0, 0, 0, 1])):
            gone = np.ma.isMaskedArray(column)
            table = bins.unpack(summed(bins, [{"c": column}]))["q"]
            assert table.count.tolist() == [2 - gone, 2, gone]
    huge = {"c": [10**400, -(10**400), 1.5, math.inf]}
    assert bins.unpack(summed(bins, [huge]))["q"].count.tolist() == [1, 3, 0]
    dates = np.array(["2026-01-01", "NaT"], "datetime64[D]")
    error = refusal(bins.pack, {"c": dates}, error=secagg.RangeError, code=Code.DTYPE)
    assert "1 values that are no numbers" in str(error)
    refusal(bins.pack, {"c": [datetime.date(2026, 1, 1)]}, error=secagg.RangeError, code=Code.DTYPE)
    assert Query({"q": Count()}, records=1).pack({}).tolist() == [0]
    assert bins.unpack(summed(bins, [{"c": [0.5, None, None]}]))["q"].quantile(1).high == 1
    for column, variance in (([], [None]), ([1], [None]), ([1, 3], [2]), ([1, 3, 5], [4])):
        moments = Query({"q": Moments("c", 0, 9, 1)}, records=9)
        assert [moments.unpack(summed(moments, [{"c": column}]))["q"].variance.tolist()] == variance
    structured = np.array([(0.5, "a"), (1.5, "b")], [("c", float), ("d", "U1")])
    assert bins.unpack(summed(bins, [structured]))["q"].count.tolist() == [1, 1, 0]


BAD_QUERIES: dict[str, Callable[[], Any]] = {
    "questions must be a dict": lambda: Query([Count()], records=1),
    "questions must be Count or Moments": lambda: Query({"a": AGE}, records=1),
    "'': 3": lambda: Query({"": 3}, records=1),
    "records must be in 1": lambda: Query({"a": Count()}, records=0),
    "records must be in 1..2147483647": lambda: Query({"a": Count()}, records=2**31),
    "by must have Bins": lambda: Count([5]),
    "by must be a list": lambda: Count(5),
    "by has a column twice": lambda: Count((AGE, Bins("age", [0, 1]))),
    "is too large": lambda: Count([Bins(c, range(300)) for c in "abc"]),
    "edges of 'x' must be": lambda: Bins("x", [0, 0]),
    "edges of 'x' must": lambda: Bins("x", [0]),
    "the ends may be infinite": lambda: Bins("x", [0, math.inf, math.inf]),
    "ascending numbers": lambda: Bins("x", [0, math.nan, 1]),
    "edges must be a list": lambda: Bins("x", "012"),
    "column must be a name": lambda: Bins(5, [0, 1]),
    "missing must be": lambda: Bins("x", [0, 1], missing="drop"),
    "within() takes": lambda: Bins.within("x", 0, 1, 0),
    "low < high, and": lambda: Bins.within("x", 1, 0, 5),
    "a set has no order": lambda: Categories("x", {"a", "b"}),
    "values of 'x' must be": lambda: Categories("x", []),
    "each once": lambda: Categories("x", ["a", "a"]),
    "texts, integers or bools": lambda: Categories("x", [1.5]),
    "other is True or False": lambda: Categories("x", ["a"], other="yes"),
    "must differ as texts": lambda: Categories("x", ["other"]),
    "must differ as texts, also": lambda: Categories("x", ["1", 1]),
    "'x' needs low < high": lambda: Moments("x", 1, 1, 1),
    "a positive step": lambda: Moments("x", 0, 1, 0),
    "and at most all of it": lambda: Moments("x", 0, 1, 2),
    "at least 2**-32": lambda: Moments("x", 0, 2**32, 1),
    "high of 'x' must be in": lambda: Moments("x", 0, math.inf, 1),
    "low of 'x' must be in": lambda: Moments("x", math.nan, 1, 1),
    "step must be a number": lambda: Moments("x", 0, 1, "1"),
    "max_weight must be in 1..1": lambda: Moments("x", 0, 1, 1, max_weight=2),
    "weight must be a name": lambda: Moments("x", 0, 1, 1, weight=5, max_weight=2),
}


@looped("reason, make", BAD_QUERIES.items())
def test_bad_queries_are_refused(reason: str, make: Callable[[], Any]) -> None:
    """When they are made, by the name of the argument."""
    assert reason in str(refusal(make, error=secagg.ParameterError, code=Code.ARGUMENT))


# ---- what a round is about ----------------------------------------------------------------


def test_the_digest_has_all_that_a_query_says() -> None:
    """Whatever changes the meaning of an input changes the digest; the order of names does not."""
    base = {"a": Count(AGE), "b": GLUCOSE}
    queries = [
        Query(base, records=60),
        Query(base, records=61),
        Query({"a": Count(AGE), "c": GLUCOSE}, records=60),
        Query({"a": Count(AGE)}, records=60),
        *(
            Query({**base, "a": Count(axes)}, records=60)
            for axes in (
                (),
                SEX,
                (AGE, SEX),
                replace(AGE, column="b"),
                replace(AGE, edges=(0, 18, 40, 120)),
                replace(AGE, missing="count"),
                replace(SEX, values=("m", "f")),
                replace(SEX, values=("f", "m", "x")),
                replace(SEX, other=True),
                replace(SEX, values=(1, 2)),
                replace(SEX, values=("1", "2")),
                replace(SEX, values=(True, False)),
            )
        ),
        *(
            Query({**base, "b": replace(GLUCOSE, **change)}, records=60)
            for change in (
                {"column": "x"},
                {"low": 1},
                {"high": 31},
                {"step": 0.2},
                {"by": SEX},
                {"weight": "visits"},
                {"weight": "visits", "max_weight": 2},
                {"missing": "refuse"},
            )
        ),
    ]
    assert len({secagg.digest(query) for query in queries}) == len(queries)
    assert len(set(queries)) == len(queries)
    again = Query(dict(reversed(base.items())), records=60)
    assert again == queries[0]
    assert secagg.digest(again) == secagg.digest(queries[0])
    assert pickle.loads(pickle.dumps(again)) == again  # noqa: S301
    assert secagg.digest(*queries[0].parts()) != secagg.digest(queries[0])


def play(query: Query, asked: Query, word: str, homes: dict[str, secagg.Home], rounds: Any) -> Any:
    """Returns the outcome of a round about `asked`, at parties that answer `query` alone."""

    def train(assignment: secagg.Assignment) -> np.ndarray:
        assignment.expect(word, query)
        return query.pack([])

    def ask(_: secagg.Phase, messages: Any) -> Any:
        for name, payload in messages.items():
            yield name, secagg.answer(homes[name], payload, train)

    return secagg.run_round(rounds, ask, list(homes), asked)


def test_the_same_records_for_no_other_query() -> None:
    """Nor a second time for the same one; in malicious mode the ledger of each party says so."""
    keys = {name: secagg.Identity.generate() for name in ("ada", "bell", "curie")}
    pins = secagg.Directory.of([(name, key.verify_key) for name, key in keys.items()])
    options = {"directory": pins, "policy": secagg.Policy(mode=secagg.Mode.MALICIOUS)}
    homes = {
        name: secagg.Home.in_memory(identity=key, ledger=secagg.MemoryLedger(), **options)
        for name, key in keys.items()
    }
    query = Query({"a": Count(AGE)}, records=10)
    finer = Query({"a": Count(Bins("age", (0, 18, 41, 120)))}, records=10)
    longer = Query({"a": Count(Bins("age", (0, 9, 18, 41, 120)))}, records=10)
    other = Query({"a": Count(AGE)}, records=1000)
    assert finer.format == query.format != other.format

    def rounds(asked: Query) -> secagg.Rounds:
        return secagg.Rounds("2026", asked.format, directory=pins)

    for asked, code in (
        (finer, Code.POLICY_CONTEXT),
        (longer, Code.POLICY_LENGTH),
        (other, Code.POLICY_FORMAT),
    ):
        asking = rounds(asked)
        assert isinstance(play(query, asked, "2026", homes, asking), secagg.Failed)
        assert asking.history[-1].refused == dict.fromkeys(homes, code)
    outcome = play(query, query, "2026", homes, rounds(query))
    assert query.unpack(outcome.result)["a"].count.sum() == 0
    assert isinstance(play(query, query, "2026", homes, rounds(query)), secagg.Failed)
    error = refusal(
        rounds(query).plan, list(homes), other, error=secagg.ParameterError, code=Code.LAYOUT
    )
    assert "layout or query" in str(error)
    refusal(
        *(rounds(query).plan, list(homes), query, query),
        error=secagg.ParameterError,
        code=Code.LAYOUT,
    )


# ---- what came of it ----------------------------------------------------------------------


def test_sums_that_no_records_have_are_refused() -> None:
    """Each sum by its bound, sums beside each other, and tables beside each other."""
    rows = [rows_of(seed, 50) for seed in range(3)]
    result = summed(QUERY, rows)
    QUERY.unpack(result)

    def tampered(at: int, value: int) -> Any:
        total = result.total.copy()
        total[at] = value
        return SimpleNamespace(total=total, weight=3)

    bits, ends = QUERY.format.high.bit_length(), [0]
    for _, question in QUERY.questions:
        for most in question.most(QUERY.records).values():
            limbs = math.ceil(math.log2(most + 1) / bits)
            ends.append(ends[-1] + limbs * math.prod(map(len, (a.labels for a in question.by))))
    assert ends.pop() == QUERY.length
    for end in ends[1:]:
        at = end - 1  # the highest limb of the last cell of each sum
        error = refusal(
            *(QUERY.unpack, tampered(at, 3 * QUERY.format.high)),
            error=secagg.RangeError,
            code=Code.IMPOSSIBLE_SUM,
        )
        assert "no records have these sums" in str(error)
    one_more = tampered(0, int(result.total[0]) + 1)  # of the first question, "age"
    refusal(QUERY.unpack, one_more, error=secagg.RangeError, code=Code.IMPOSSIBLE_SUM)
    for wrong, code in (
        (SimpleNamespace(total=result.total[1:], weight=3), Code.SHAPE),
        (SimpleNamespace(total=result.total * 1.0, weight=3), Code.SHAPE),
        (SimpleNamespace(total=-result.total, weight=3), Code.SHAPE),
        (SimpleNamespace(total=result.total, weight=0), Code.LAYOUT),
        (result.total, Code.LAYOUT),
    ):
        refusal(QUERY.unpack, wrong, error=secagg.RangeError, code=code)
    refusal(lambda: QUERY.unpack(result, least=-1), error=secagg.ParameterError, code=Code.ARGUMENT)


def test_more_records_than_the_parties_may_have_are_refused() -> None:
    """Also if no cell has too many."""
    query = Query({"q": Count(SEX)}, records=9)
    query.unpack(SimpleNamespace(total=np.array([9, 9]), weight=2))
    one_more = SimpleNamespace(total=np.array([10, 9]), weight=2)
    refusal(query.unpack, one_more, error=secagg.RangeError, code=Code.IMPOSSIBLE_SUM)


def test_moments_that_no_records_have_are_refused() -> None:
    """Count, sums of weights, of values and of their squares, one step beyond each other."""
    question = Moments("x", 0, 10, 1, weight="w", max_weight=2)
    query = Query({"q": question}, records=9)
    bits = query.format.high.bit_length()

    def unpack(*sums: int) -> Any:
        limbs = [
            each >> bits * at & query.format.high
            for each, most in zip(sums, question.most(9).values(), strict=True)
            for at in range(math.ceil(most.bit_length() / bits))
        ]
        return query.unpack(SimpleNamespace(total=np.array(limbs), weight=1))

    for sums in ((3, 6, 6, 14), (3, 5, 50, 500), (3, 5, 6, 60), (3, 5, 9, 17)):
        unpack(*sums)
    for sums in ((3, 7, 6, 14), (3, 5, 51, 501), (3, 5, 6, 61), (3, 5, 9, 16)):
        refusal(unpack, *sums, error=secagg.RangeError, code=Code.IMPOSSIBLE_SUM)


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0, 9.0, 20.0]), min_size=1, max_size=40),
    st.sampled_from([0, 0.1, 0.25, 0.3, 0.5, 0.9, 1]),
)
def test_a_quantile_lies_in_its_bin(values: list[float], p: float) -> None:
    """The exact one, which is the least value that a share of p of all does not exceed."""
    query = Query({"q": Count(Bins("x", [0, 1, 2, 4, 20]))}, records=40)
    found = query.unpack(summed(query, [{"x": values}]))["q"].quantile(p)
    rank = max(math.ceil(Fraction(str(p)) * len(values)), 1)
    exact = sorted(values)[rank - 1]
    assert found.low <= exact <= found.high
    assert found.low <= found.value <= found.high
    assert abs(found.value - exact) <= found.error


def test_a_second_round_looks_closer() -> None:
    """The bin of the first one, in a thousand parts, holds the median; open ends have none."""
    values = np.random.default_rng(3).lognormal(2, 1, 999)
    query = Query({"q": Count(Bins("x", [0, 5, 10, 20, math.inf]))}, records=999)
    first = query.unpack(summed(query, [{"x": values}]))["q"].quantile(0.5)
    assert (first.low, first.high) == (5, 10)
    closer = Query({"q": Count(Bins.within("x", first.low, first.high, 1000))}, records=999)
    table = closer.unpack(summed(closer, [{"x": values}]))["q"]
    second = table.quantile(0.5)
    assert abs(second.value - np.median(values)) <= second.error <= 0.005
    outer = table.quantile(1)
    assert math.isnan(outer.value)
    assert outer.error == outer.high == math.inf


def test_what_has_no_quantile() -> None:
    query = Query({"q": Count(AGE), "r": Count(SEX)}, records=9)
    tables = query.unpack(summed(query, [[]]))
    refusal(tables["q"].quantile, 0.5, error=secagg.RangeError, code=Code.OUT_OF_RANGE)
    refusal(tables["q"].quantile, 1.5, error=secagg.ParameterError, code=Code.ARGUMENT)
    refusal(tables["r"].quantile, 0.5, error=secagg.ParameterError, code=Code.ARGUMENT)
    tables = query.unpack(summed(query, [{"age": [5], "sex": ["f"]}]), least=1)
    error = refusal(tables["q"].quantile, 0.5, error=secagg.RangeError, code=Code.OUT_OF_RANGE)
    assert "3 are suppressed" in str(error)


# ---- small cells --------------------------------------------------------------------------


def possible(line: list[int], hidden: list[bool]) -> list[set[int]]:
    """Returns what each hidden cell of a line may be, to someone who knows the total."""
    left = sum(value for value, away in zip(line, hidden, strict=True) if away)
    many = sum(hidden)
    return [{left} if many == 1 else set(range(left + 1)) for away in hidden if away]


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(st.sampled_from([0, 1, 4, 5, 9, 50]), min_size=width, max_size=width),
            min_size=1,
            max_size=4,
        )
    ),
    st.sampled_from([0, 1, 5]),
)
def test_no_line_gives_a_small_cell_away(rows: list[list[int]], least: int) -> None:
    """Whoever knows the totals of all lines has more than one value for each hidden cell.

    And at least `least` of them, unless a line is hidden as a whole, which is then small itself.
    """
    count = np.array(rows, np.int64)
    hidden = to_suppress(count, least)
    assert not ((count < least) & ~hidden).any()
    if not (count < least).any():
        assert not hidden.any()
    for lines, masks in ((count, hidden), (count.T, hidden.T)):
        for line, mask in zip(lines.tolist(), masks.tolist(), strict=True):
            if any(mask) and not all(mask):
                assert all(len(values) > least for values in possible(line, mask))
                assert all(
                    0 < value < sum(line)
                    for value, away in zip(line, mask, strict=True)
                    if not away
                )


@looped(
    "count, least, hidden",
    [
        ([3, 50, 70, 90], 5, [1, 1, 0, 0]),  # the smallest other goes with it
        ([0, 0, 50, 70], 5, [1, 1, 1, 0]),  # two zeros hide each other from nobody
        ([2, 3, 50, 70], 5, [1, 1, 0, 0]),
        ([0, 1000], 5, [1, 1]),  # "all" says that the other is 0
        ([0, 1000], 0, [0, 0]),
        ([7], 5, [0]),
        ([5, 6], 5, [0, 0]),
        ([[0, 9], [8, 7]], 5, [[1, 1], [1, 1]]),
        ([[3, 9, 60], [8, 99, 70], [40, 50, 80]], 5, [[1, 1, 0], [1, 1, 0], [0, 0, 0]]),
        ([[5, 9, 5], [5, 0, 0]], 5, [[1, 1, 1], [1, 1, 1]]),  # the second row needs a third cell
    ],
)
def test_which_cells_are_suppressed(count: list[Any], least: int, hidden: list[Any]) -> None:
    assert np.array_equal(to_suppress(np.array(count), least), np.array(hidden, bool))


def test_nothing_of_a_suppressed_cell_is_in_the_tables() -> None:
    """Not under the mask, in no other array, and not in the text; what is shown is unchanged."""
    rows = [{"sex": "f", "age": 30, "glucose": 5.5}] * 50 + [{"sex": "m", "age": 30, "glucose": 9}]
    rows += [{"sex": "x", "age": 30, "glucose": math.nan}] * 9 + [
        {"sex": "x", "age": 3, "glucose": 4}
    ] * 40
    sex = Categories("sex", ["f", "m", "x"], other=False)
    query = Query({"q": replace(GLUCOSE, by=sex), "r": Count(sex), "s": Count()}, records=100)
    result = summed(query, [rows])
    shown, tables = query.unpack(result), query.unpack(result, least=5)
    table = tables["q"]
    assert table.count.mask.tolist() == [False, True, True]
    assert (table.suppressed, tables["r"].suppressed, tables["s"].suppressed) == (2, 2, 0)
    assert table.missing.mask.all()
    for name in ("count", "weight", "sum", "mean", "variance"):
        values, before = getattr(table, name), getattr(shown["q"], name)
        assert values.mask[1:].all()
        assert not values.data[1:].any()
        assert values[0] == before[0]
    assert str(table).splitlines()[2].split() == ["m", "-", "-", "-", "-"]
    assert str(shown["r"]).splitlines() == ["   count", "f     50", "m      1", "x     49"]
    assert Counter(shown["q"].missing.tolist()) == {0: 2, 9: 1}
    # One small count of missing values is not hidden alone: 3 would follow from the total.
    rows = [{"sex": sex, "age": 30, "glucose": 5.5} for sex in "fm" for _ in range(50)]
    for index in (*range(3), *range(50, 90)):
        rows[index]["glucose"] = math.nan
    table = query.unpack(summed(query, [rows]), least=5)["q"]
    assert table.missing.mask.all()


def test_a_query_as_text() -> None:
    """What people read before they agree to it."""
    assert str(QUERY).splitlines() == [
        "age: number of records, by age in 3 bins of 0..120",
        "all: number of records",
        "by sex: sum, mean and variance of glucose in 2..30.05, rounded to 0.1, by sex in 2 "
        "categories",
        "cross: number of records, by diagnosis in 5 categories, by sex in 2 categories",
        "glucose: sum, mean and variance of glucose in 2..30.05, rounded to 0.1",
        "weighted: sum, mean and variance of glucose in 2..30.05, rounded to 0.1, weighted by "
        "visits (0..9), by sex in 2 categories, by age in 3 bins of 0..120",
        f"of up to 60 records, in {QUERY.length} numbers",
    ]
    query = Query({"q": Count(Bins("age", range(43)))}, records=1)
    lines = str(query.unpack(summed(query, [[]]))["q"]).splitlines()
    assert (lines[40].split(), lines[41:]) == (["39..40", "0"], ["and 2 more cells"])


# ---- noise, documents and examples --------------------------------------------------------


def noisy() -> secagg.Rotated:
    """Returns a format with little noise, for two tables of one record each."""
    noise: dict[str, Any] = {"noise": 1, "variance_steps": 2**14, "tail": 2**20, "rotation": False}
    whole = {"clip": 2.0, "scale": 1.0, "peak": 2, "bound": 4}
    return secagg.Rotated(**whole, **noise)


def test_counts_with_noise() -> None:
    """They differ from the exact ones by the deviation that the table says."""
    questions = {"a": Count(Bins("age", range(0, 400))), "b": Count(SEX)}
    query = Query(questions, records=1, format=noisy())
    exact = Query(questions, records=1)
    assert exact.format == secagg.Integers(0, 1)
    assert (query.length, query.format.noise) == (exact.length, 1)
    assert math.sqrt(2) < exact.norm < 1.5
    assert secagg.digest(query) != secagg.digest(exact)
    records = [{"age": [at % 4], "sex": ["fm"[at % 2]]} for at in range(8)]
    run = secagg.secure_sum([query.pack(each) for each in records], query.format)
    tables = query.unpack(run)
    assert abs(tables["a"].noise - math.sqrt(8 / 4)) < 1e-9
    errors = tables["a"].count - np.array([2] * 4 + [0] * 395)
    assert 0.8 < errors.std() / tables["a"].noise < 1.25
    assert tables["a"].count.min() < 0
    assert not tables["a"].suppressed
    assert query.unpack(run, least=1)["a"].suppressed > 100
    assert tables["a"].quantile(0).low >= 0
    for reason, call in {
        "noise is for Count alone": lambda: Query({"q": GLUCOSE}, records=1, format=noisy()),
        "is below the norm": lambda: Query(questions, records=2, format=noisy()),
        "format must be a Rotated with noise": lambda: Query(
            questions, records=1, format=secagg.Integers(0, 1)
        ),
        "not Rotated": lambda: Query(
            questions,
            records=1,
            format=secagg.Rotated.of(clip=2, bits=8, length=9, cohort=9),
        ),
    }.items():
        assert reason in str(refusal(call, error=secagg.ParameterError, code=Code.ARGUMENT))


def test_the_survey_of_the_document() -> None:
    """The survey, with hospitals in this process."""
    records = {"age": [30] * 20, "sex": ["f"] * 20, "diagnosis": ["flu"] * 20, "glucose": [5] * 20}
    names: dict[str, Any] = {"records": records}
    exec(programs("ANALYTICS.md")["survey.py"], names)  # noqa: S102
    homes = {name: secagg.Home.in_memory() for name in ("ada", "bell", "curie")}

    def ask(_: secagg.Phase, messages: Any) -> Any:
        for name, payload in messages.items():
            yield name, secagg.answer(homes[name], payload, names["train"])

    tables = names["ask_all"](ask, list(homes))
    assert tables["glucose"].mean.mask.all()  # all are of one sex: that is for nobody to know


@runs_at("programs")
def test_the_noise_of_the_document() -> None:
    pytest.importorskip("dp_accounting", reason="dp-accounting is not installed (extra `dp`)")
    names: dict[str, Any] = {}
    exec(programs("ANALYTICS.md")["noisy.py"], names)  # noqa: S102
    assert names["QUERY"].format == names["plan"].params.format


@runs_at("programs")
def test_the_example(tmp_path: Path) -> None:
    """It runs, its tables are those of all records, and another query is refused by all."""
    example, picture = ROOT / "examples" / "analytics.py", tmp_path / "picture.png"
    ended = children.run([sys.executable, "-W", "error", example, "--plot", picture])
    assert (ended.returncode, ended.stderr) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    names = runpy.run_path(str(example))
    ages = np.concatenate([names["records_of"](name)["age"] for name in names["HOSPITALS"]])
    for label, count in zip(
        names["QUERY"].questions[0][1].by[0].labels,
        np.histogram(ages, names["AGES"])[0],
        strict=True,
    ):
        assert re.search(rf"^{label} +{count}$", ended.stdout, re.MULTILINE), label
    assert re.search(r"gestational +f +-", ended.stdout)
    assert ended.stdout.count(" refused [policy_context]\n") == 5
