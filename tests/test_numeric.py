"""NumPy's numbers are numbers wherever Python's are, and are kept as Python's."""

import copy
import math
import pickle
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from threading import TIMEOUT_MAX
from typing import Any

import numpy as np
import pytest
from harness import CONTEXT, SESSION, STEPS, client_of, server_of
from refusals import refused

from secagg import (
    Code,
    Field,
    FixedPoint,
    Fractions,
    Integers,
    LocalProtocolError,
    ParameterError,
    Params,
    Policy,
    RangeError,
    SecAggError,
    Suite,
    run_jobs,
    secure_sum,
)
from secagg.cost import Calibration, Shape
from secagg.numeric import as_float, as_int
from secagg.params.checks import require_seconds

LONGEST = f"{TIMEOUT_MAX:.0f}"

INTS: list[Callable[[int], object]] = [
    np.int64,
    np.uint64,
    np.int8,
    np.array,
    Suite.__int__ and int,
]
FLOATS: list[Callable[[float], object]] = [np.float32, np.float64, np.longdouble, np.array, Decimal]

# Numbers of which all values are exact in every type above.
WHOLE: dict[str, Callable[..., object]] = {
    "Params": lambda i, f: Params(i(5), i(12), FixedPoint(1.0), i(4), i(4), i(1)),
    "Params, sparse": lambda i, f: Params(
        i(100), i(12), FixedPoint(1.0), i(0), i(90), i(5), degree=i(40)
    ),
    "Params.for_cohort": lambda i, f: Params.for_cohort(
        i(100), i(9), FixedPoint(1.0), corrupt=f(0.0625), dropout=f(0.125)
    ),
    "FixedPoint": lambda i, f: FixedPoint(f(8.0), i(20), i(100)),
    "Integers": lambda i, f: Integers(i(0), i(90)),
    "Fractions": lambda i, f: Fractions(f(0.25), f(0.125)),
    "Policy": lambda i, f: Policy(
        min_survivors=i(3),
        max_cohort=i(90),
        max_length=i(80),
        colluders=i(1),
        min_threshold=i(2),
        min_length=i(2),
        min_clip=f(0.5),
        max_clip=f(8.0),
        min_bits=i(2),
        max_bits=i(20),
        max_weight=i(100),
        sparse=Fractions(f(0.0), f(0.25)),
    ),
    "Shape": lambda i, f: Shape(i(100), i(99), i(67), i(100), i(31), i(9)),
    "Shape.of": lambda i, f: Shape.of(Params(100, 9, FixedPoint(1.0)), i(3)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_kept_is_pythons(name: str) -> None:
    """Equal, of one hash, repr and pickle as if Python's numbers were given."""
    make = WHOLE[name]
    wanted = make(int, float)
    for whole, real in zip(INTS, FLOATS, strict=True):
        got = make(whole, real)
        assert got == wanted
        assert hash(got) == hash(wanted)
        assert repr(got) == repr(wanted)
        assert pickle.dumps(got) == pickle.dumps(copy.copy(wanted))
        if isinstance(got, Params):
            assert got.encode() == wanted.encode()  # type: ignore[attr-defined]


def test_a_round_with_numpys_numbers() -> None:
    """Indices of parties, sizes of arrays, weights, and the keys of drops."""
    agreed = Params(np.int64(4), np.prod((2, 3)), FixedPoint(np.float32(8))).round(CONTEXT, SESSION)
    client, server = client_of(agreed, np.int64(2)), server_of(agreed)  # type: ignore[arg-type]
    assert type(client.index) is int
    server.start()
    server.receive(np.uint8(2), client.start())  # type: ignore[arg-type]
    assert all(type(party) is int for party in server.status.awaited)
    form = FixedPoint(1.0, max_weight=np.int64(9))
    done = secure_sum(
        [np.zeros(3)] * 4, form, weights=np.array([1, 2, 3, 9]), drops={np.int64(2): STEPS[2]}
    )
    assert (done.weight, done.survivors) == (12, (0, 1, 3))
    assert run_jobs(server, [], in_flight=np.int64(3), patience=np.float32(2)) == []


def test_numbers_of_a_field() -> None:
    """Widths, lengths, factors, places and threads; small NumPy integers do not overflow."""
    field, key, suite = Field(np.int8(32)), [bytes(32)], Suite.AES256CTR.generator
    assert type(field.bits) is type(field.modulus) is int
    assert field.packed_bytes(np.int8(100)) == 400
    vector = field.uniform(key[0], np.int64(9), suite, np.uint8(200))
    assert (vector == field.uniform(key[0], 9, suite, 200)).all()
    assert (field.unpack(field.pack(vector), np.int64(9)) == vector).all()
    assert (field.scale(vector, np.uint64(5)) == field.scale(vector, 5)).all()
    field.accumulate(vector, key, np.array([-1], np.int8), suite, np.int16(200), np.int8(2))
    assert not vector.any()
    for bad in (5.0, True, np.True_, None, "5"):
        with pytest.raises(SecAggError):
            Field(bad)  # type: ignore[arg-type]
        for call in (field.zeros, field.packed_bytes, lambda n: field.scale(vector, n)):
            with refused(RangeError, Code.ARGUMENT):
                call(bad)  # type: ignore[operator]
    with refused(RangeError, Code.ARGUMENT):
        field.zeros(-1)


@pytest.mark.parametrize(
    "bad",
    [True, np.True_, np.array(True), 5.0, np.float64(5), np.array([5]), "5", None, Fraction(5), 5j],
    ids=repr,
)
def test_what_is_no_int_is_refused(bad: object) -> None:
    """Bools are no ints, of NumPy neither, and a float is none, even if it is whole."""
    assert as_int(bad) is None
    form = FixedPoint(1.0)
    agreed = Params(8, 5, form).round()
    calls: list[Callable[[], object]] = [
        *(lambda: Params(bad, 5, form), lambda: Params(8, bad, form)),  # type: ignore[arg-type]
        lambda: Params(8, 5, form, bad),  # type: ignore[arg-type]
        lambda: Params(8, 5, form, 0, bad),  # type: ignore[arg-type]
        lambda: Params(8, 5, form, degree=bad),  # type: ignore[arg-type]
        lambda: FixedPoint(1.0, bad),  # type: ignore[arg-type]
        lambda: Integers(0, bad),  # type: ignore[arg-type]
        lambda: client_of(agreed, bad),  # type: ignore[arg-type]
        lambda: Policy(colluders=bad),  # type: ignore[arg-type]
        lambda: secure_sum([[0.0]] * 8, form, drops={} if bad is None else {_key(bad): STEPS[0]}),
        lambda: Shape(bad, 3, 3, 3, 3),  # type: ignore[arg-type]
        lambda: run_jobs(server_of(agreed), [], in_flight=bad),  # type: ignore[arg-type]
        lambda: Calibration(cohort=bad),  # type: ignore[arg-type]
    ]
    for call in calls[: 9 if bad is None else None]:
        with refused(ParameterError, Code.ARGUMENT):
            call()
    with refused(LocalProtocolError, Code.ARGUMENT):
        server_of(agreed).receive(bad, b"")  # type: ignore[arg-type]


def _key(bad: object) -> object:
    return bad if getattr(bad, "__hash__", None) else "x"


def test_marks_for_a_default_are_ints() -> None:
    """A zero that is no int does not stand for a default."""
    for name in ("threshold", "min_survivors", "degree"):
        for bad in (0.0, False, Fraction(0)):
            with refused(ParameterError, Code.ARGUMENT, match=name):
                Params(8, 5, FixedPoint(1.0), **{name: bad})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [True, np.True_, "1", None, 1j, np.complex64(1), np.array([1.0]), np.timedelta64(1, "s"), b"1"],
    ids=repr,
)
def test_what_is_no_real_number_is_refused(bad: object) -> None:
    """Neither text nor a complex number, a bool or an array."""
    assert as_float(bad) is None
    with refused(ParameterError, Code.ARGUMENT, match="clip must be a number"):
        FixedPoint(bad)  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT, match="corrupt must be a fraction"):
        Params.for_cohort(9, 1, FixedPoint(1.0), corrupt=bad, dropout=0)  # type: ignore[arg-type]
    if bad is not None:
        with refused(ParameterError, Code.ARGUMENT, match="min_clip must be a number"):
            Policy(min_clip=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "huge",
    [
        10**400,
        -(10**5000),
        Decimal("1e5000"),
        Decimal("sNaN"),
        Fraction(10**400),
        np.longdouble("1e400"),
    ],
    ids=lambda huge: type(huge).__name__,
)
def test_numbers_beyond_floats_are_refused(huge: object) -> None:
    """By the library's own error, which prints no thousands of digits."""
    for call in (
        lambda: FixedPoint(huge),  # type: ignore[arg-type]
        lambda: Params.for_cohort(9, 1, FixedPoint(1.0), corrupt=huge, dropout=0),  # type: ignore[arg-type]
        lambda: Params(huge, 1, FixedPoint(1.0)),  # type: ignore[arg-type]
        lambda: run_jobs(None, [], patience=huge),  # type: ignore[arg-type]
    ):
        with refused(ParameterError, Code.ARGUMENT) as caught:
            call()
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("options", "good", "bad", "allowed"),
    [
        ({}, [0, 1e-9, np.int8(3), TIMEOUT_MAX], [-1, math.inf], f", 0 or more, at most {LONGEST}"),
        ({"positive": True}, [1e-9], [0, -0.0, 2 * TIMEOUT_MAX], f", at most {LONGEST}"),
        ({"most": 3600.0}, [0.0, 3600], [3601], "seconds, 0 or more, at most 3600"),
        ({"positive": True, "most": math.inf}, [math.inf], [0], "seconds, or infinity"),
    ],
)
def test_seconds(
    options: dict[str, Any], good: list[object], bad: list[object], allowed: str
) -> None:
    """A refusal tells the argument's name, what is allowed, and what was given."""
    for each in good:
        found = require_seconds("grace", each, **options)
        assert (type(found), found) == (float, each)
    for each in (*bad, -math.inf, math.nan, None, "5", True):
        with refused(ParameterError, Code.ARGUMENT, match=re.escape(allowed)) as caught:
            require_seconds("grace", each, **options)
        text = caught.value.reason
        kind = "a positive number" if "positive" in options else "a number"
        assert text.startswith(f"grace must be {kind} of seconds")
        assert text.endswith(f", not {each!r}")


class Scalar:
    """A tensor without dimensions, of a library that raises what it likes."""

    shape = ()

    def __init__(self, value: float) -> None:
        self.value = value

    def __index__(self) -> int:
        raise AttributeError("float32 has no __index__")

    def __float__(self) -> float:
        return self.value


def test_tensors_without_dimensions_are_numbers() -> None:
    assert FixedPoint(Scalar(8.5)).clip == 8.5  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT, "bits must be an int"):
        FixedPoint(8.0, bits=Scalar(8.0))  # type: ignore[arg-type]
