"""Layouts round trip, and digests tell everything apart."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from refusals import refused

from secagg import Code, Layout, RangeError, digest

reals = hnp.arrays(
    st.sampled_from(["f4", "f8", "i4", "i8", "u2"]).map(np.dtype),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements={"min_value": 0, "max_value": 1000},
)


def test_a_list() -> None:
    """A list comes back as a list, with shapes and order."""
    arrays = [np.arange(6.0).reshape(2, 3), np.array([7.0]), np.array(8.0)]
    layout = Layout.of(arrays)
    assert (layout.kind, layout.names, layout.length) == ("list", ("0", "1", "2"), 8)
    assert layout.shapes == ((2, 3), (1,), ())
    vector = layout.flatten(arrays)
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    back = layout.unflatten(vector)
    assert isinstance(back, list)
    assert [array.shape for array in back] == [(2, 3), (1,), ()]
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))


def test_a_tuple_is_a_list() -> None:
    """The two have one layout."""
    arrays = (np.zeros(2), np.ones((1, 2)))
    assert Layout.of(arrays) == Layout.of(list(arrays))
    assert isinstance(Layout.of(arrays).unflatten(np.zeros(4)), list)


def test_a_dict() -> None:
    """A dict comes back as a dict, in its own order."""
    arrays = {"w": np.array([[1, 2], [3, 4]]), "b": np.array([5])}
    layout = Layout.of(arrays)
    assert (layout.kind, layout.names) == ("dict", ("w", "b"))
    vector = layout.flatten(arrays)
    assert vector.tolist() == [1, 2, 3, 4, 5]
    back = layout.unflatten(vector)
    assert isinstance(back, dict)
    assert list(back) == ["w", "b"]
    assert back["w"].tolist() == [[1, 2], [3, 4]]
    assert back["b"].tolist() == [5]


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (np.zeros((2, 3)), (2, 3)),
        (np.float64(1.5), ()),
        (2.5, ()),
        (7, ()),
        ([1.0, 2.0, 3.0], (3,)),
        ((1, 2), (2,)),
        ([np.float32(1), 2.0], (2,)),
    ],
    ids=repr,
)
def test_one_array(value: object, shape: tuple[int, ...]) -> None:
    """An array, a scalar or a list of numbers is one array."""
    layout = Layout.of(value)  # type: ignore[arg-type]
    assert (layout.kind, layout.names, layout.shapes) == ("array", ("",), (shape,))
    vector = layout.flatten(value)  # type: ignore[arg-type]
    assert vector.ndim == 1
    back = layout.unflatten(vector)
    assert isinstance(back, np.ndarray)
    assert back.shape == shape
    assert np.array_equal(back, np.asarray(value))


def test_a_list_of_lists_is_a_list_of_arrays() -> None:
    """Rows may have different lengths."""
    layout = Layout.of([[1, 2, 3], [4.5]])
    assert (layout.kind, layout.shapes) == ("list", ((3,), (1,)))
    assert layout.flatten([[1, 2, 3], [4.5]]).tolist() == [1, 2, 3, 4.5]


@given(st.lists(reals, min_size=1, max_size=5), st.booleans())
def test_any_arrays_round_trip(arrays: list[np.ndarray], named: bool) -> None:
    """Empty ones among them: the same names, shapes and values."""
    given_arrays = {f"n{i}": a for i, a in enumerate(arrays)} if named else arrays
    if sum(array.size for array in arrays) == 0:
        with refused(RangeError, Code.LAYOUT):
            Layout.of(given_arrays)
        return
    layout = Layout.of(given_arrays)
    vector = layout.flatten(given_arrays)
    assert vector.shape == (layout.length,)
    assert vector.dtype == np.result_type(*(array.dtype for array in arrays))
    back = layout.unflatten(vector)
    parts = list(back.values()) if isinstance(back, dict) else back
    assert len(parts) == len(arrays)
    for mine, array in zip(parts, arrays, strict=True):
        assert mine.shape == array.shape
        assert np.array_equal(mine, array.astype(vector.dtype))
        assert mine.size == 0 or np.shares_memory(mine, vector)


def test_flatten_makes_a_new_vector() -> None:
    """The caller's arrays are neither shared nor written to; any memory layout will do."""
    arrays = [np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(8)[::2], np.arange(3)[::-1]]
    layout = Layout.of(arrays)
    before = [array.copy() for array in arrays]
    vector = layout.flatten(arrays)
    assert vector.tolist() == [0, 1, 2, 3, 4, 5, 0, 2, 4, 6, 2, 1, 0]
    vector[:] = 99
    assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))
    single = np.arange(4.0)
    assert not np.shares_memory(Layout.of(single).flatten(single), single)


@pytest.mark.parametrize(
    "nothing", [[], {}, (), np.zeros(0), [np.zeros(0), np.zeros((3, 0))], {"a": []}], ids=repr
)
def test_nothing_is_refused(nothing: object) -> None:
    """No array, or only empty ones."""
    with refused(RangeError, Code.LAYOUT):
        Layout.of(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(2, bool),
        np.zeros(2, complex),
        np.zeros(2, object),
        np.array(["a"]),
        "text",
        None,
        [np.zeros(2), None],
        {"a": "text"},
        {"a": {"b": np.zeros(2)}},
        {1: np.zeros(2)},
        {None: np.zeros(2)},
        [[1.0, [2.0, 3.0]], [4.0]],
        [[[1.0], [2.0, 3.0]]],
        {"a": [[1.0], [2.0, 3.0]]},
        iter([1.0, 2.0]),
    ],
    ids=lambda wrong: repr(wrong).partition(" at 0x")[0],
)
def test_what_is_no_array_of_reals_is_refused(wrong: object) -> None:
    """Other kinds, nested and ragged collections, names that are not strings: RangeError."""
    with pytest.raises(RangeError):
        Layout.of(wrong)  # type: ignore[arg-type]
    if not isinstance(wrong, str):  # a text has a digest
        with pytest.raises(RangeError):
            digest(wrong)  # type: ignore[arg-type]


def test_other_layouts_are_refused() -> None:
    """flatten takes exactly the layout it was made of: names, order, shapes, kind."""
    layout = Layout.of({"a": np.zeros(2), "b": np.zeros((2, 1))})
    for other in (
        {"b": np.zeros((2, 1)), "a": np.zeros(2)},
        {"a": np.zeros(2), "c": np.zeros((2, 1))},
        {"a": np.zeros(2), "b": np.zeros((1, 2))},
        {"a": np.zeros(2)},
        {"a": np.zeros(2), "b": np.zeros((2, 1)), "c": np.zeros(1)},
        [np.zeros(2), np.zeros((2, 1))],
        np.zeros(4),
    ):
        with refused(RangeError, Code.LAYOUT):
            layout.flatten(other)


@pytest.mark.parametrize("shape", [(3,), (5,), (), (4, 1), (2, 2), (0,)])
def test_vectors_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    """unflatten needs one dimension of the right length."""
    layout = Layout.of([np.zeros(3), np.zeros(1)])
    with refused(RangeError, Code.SHAPE):
        layout.unflatten(np.zeros(shape))


# -- digests ----------------------------------------------------------------------------------

A = np.array([1.0, 2.0, 3.0, 4.0])
# Every one of these is different from all others.
DIFFERENT: dict[str, tuple[object, ...]] = {
    "nothing": (),
    "array": (A,),
    "value": (np.array([1.0, 2.0, 3.0, 5.0]),),
    "zero": (np.array([0.0, 2.0, 3.0, 4.0]),),
    "shape": (A.reshape(2, 2),),
    "shape 1": (A.reshape(4, 1),),
    "shape 2": (A.reshape(1, 4),),
    "dtype": (A.astype(np.float32),),
    "dtype of the same bytes": (A.view(np.int64),),
    "unsigned": (A.view(np.uint64),),
    "order": (A[::-1],),
    "length": (A[:3],),
    "twice": (A, A),
    "in a list": ([A],),
    "in a dict under its position": ({"0": A},),
    "in a dict without a name": ({"": A},),
    "in a dict": ({"a": A},),
    "another name": ({"b": A},),
    "two in a list": ([A, A],),
    "two in a dict": ({"a": A, "b": A},),
    "the other order": ({"b": A, "a": A},),
    "cut elsewhere": ([A[:1], A[1:]],),
    "cut elsewhere again": ([A[:2], A[2:]],),
    "empty array": (np.zeros(0),),
    "empty arrays": (np.zeros((0, 3)),),
    "no arrays": ([np.zeros(0), np.zeros(0)],),
    "bytes": (b"1",),
    "text": ("1",),
    "number": (1,),
    "negative": (-1,),
    "float": (1.0,),
    "array of one": (np.array([1]),),
    "scalar": (np.int64(1),),
    "empty bytes": (b"",),
    "empty text": ("",),
    "two bytes": (b"1", b"2"),
    "joined": (b"12",),
    "other order": (b"2", b"1"),
    "mixed": (b"1", "2"),
    "a tag": (b"bytes",),
    "a tag and a value": ("bytes", "1"),
    "the array's raw bytes": (A.tobytes(),),
    "its encoding as texts": ("arrays", "1", "", "<f8(4,)", A.tobytes()),
    "its encoding as bytes": (b"arrays", b"1", b"", b"<f8(4,)", A.tobytes()),
}


def test_the_digest_tells_everything_apart() -> None:
    """Names, shapes, dtypes, bytes, kinds, order and number of parts all count."""
    seen: dict[bytes, list[str]] = {}
    for what, parts in DIFFERENT.items():
        seen.setdefault(digest(*parts), []).append(what)  # type: ignore[arg-type]
    assert [names for names in seen.values() if len(names) > 1] == []


def test_the_digest_depends_on_the_values_only() -> None:
    """Byte order and memory layout do not count: all machines get the same context."""
    wanted = digest(A.reshape(2, 2))
    assert len(wanted) == 32
    assert digest(np.asfortranarray(A.reshape(2, 2))) == wanted
    assert digest(A.reshape(2, 2).astype(">f8")) == wanted
    assert digest(np.repeat(A, 2)[::2].reshape(2, 2)) == wanted
    assert digest(np.array([1, 0, -0.0], "f4")) == digest(np.array([1, -0.0, 0], ">f4"))
    assert digest(-0.0, np.array(0.0)) == digest(0.0, np.array(-0.0))
    tiny = np.array([2.0**-1074, -(2.0**-1074)])  # not zero, also where subnormals count as zero
    assert len({digest(tiny), digest(-tiny), digest(0 * tiny)}) == 3
    minus = np.array([-128, -(2**7)], np.int8)  # the bits of -0.0, were it a float
    assert digest(minus) != digest(0 * minus)
    negative = A.copy()
    negative[0] = -0.0
    digest(negative)
    assert np.signbit(negative[0]), "the caller's arrays stay as they are"
    assert digest((A, A)) == digest([A, A])
    assert digest([1.0, 2.0, 3.0, 4.0]) == digest(A)
    assert digest(1, b"x", "y") == digest(1, b"x", "y")


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (np.ones(2, np.longdouble), Code.DTYPE),
        (np.ones(2, [("a", "u1"), ("b", "f8")]), Code.DTYPE),
        (np.ones(2, "V8"), Code.DTYPE),
        (np.zeros(2, "M8[s]"), Code.DTYPE),
        ([A, np.array([1.0, np.nan])], Code.NOT_FINITE),
        (float("nan"), Code.NOT_FINITE),
        ([10**400, 1.0], Code.DTYPE),
        (2**1024, Code.ARGUMENT),
        (-(2**1024), Code.ARGUMENT),
        (10**5000, Code.ARGUMENT),
        ("\ud800", Code.ARGUMENT),
        ({"\ud800": A}, Code.ARGUMENT),
        (np.broadcast_to(np.int8(0), 2**32), Code.SHAPE),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_has_more_than_one_encoding_has_no_digest(part: object, code: Code) -> None:
    """Padding and NaN have bytes that no value determines; a long int has no text."""
    with refused(RangeError, code):
        digest(b"model", part)  # type: ignore[arg-type]


def test_ints_up_to_the_bound_have_a_digest() -> None:
    """Under the strictest limit that the text of an int can have."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(sys.int_info.str_digits_check_threshold)
    try:
        assert digest(2**1024 - 1) != digest(1 - 2**1024)
    finally:
        sys.set_int_max_str_digits(limit)


@given(hnp.arrays(np.uint8, st.integers(1, 60)), st.data())
def test_one_bit_of_an_array_counts(raw: np.ndarray, data: st.DataObject) -> None:
    """Wherever it is."""
    other = raw.copy()
    other[data.draw(st.integers(0, raw.size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert digest(raw) != digest(other)
    assert digest(b"model", raw) == digest(b"model", raw.copy())


@given(
    st.lists(st.binary(max_size=8) | st.text("1ab\u00e9\0", max_size=4) | st.integers(), max_size=5)
)
def test_a_digest_of_anything(parts: list[bytes | str | int]) -> None:
    """A part more is another digest; the same parts are the same."""
    assert digest(*parts) == digest(*parts)
    assert digest(*parts) != digest(*parts, b"")
    assert digest(*parts) != digest(0, *parts)
