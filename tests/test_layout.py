"""Layouts round trip, and digests tell everything apart."""

import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from refusals import refused

from secagg import Code, FixedPoint, Layout, Mode, ModelLayout, Range, RangeError, digest

reals = hnp.arrays(
    st.sampled_from(["f4", "f8", "i4", "i8", "u2"]).map(np.dtype),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    elements={"min_value": 0, "max_value": 1000},
)


def test_a_list() -> None:
    """A list comes back as a list, with shapes and order."""
    arrays = [np.arange(6.0).reshape(2, 3), np.array([7.0]), np.array(8.0)]
    layout = Layout.of(arrays)
    assert (layout.names, layout.length) == (("0", "1", "2"), 8)
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
    """The vector is in the order of the names; what comes back, in the dict's own."""
    arrays = {"w": np.array([[1, 2], [3, 4]]), "b": np.array([5])}
    layout = Layout.of(arrays)
    assert layout.names == ("b", "w")
    vector = layout.flatten(arrays)
    assert vector.tolist() == [5, 1, 2, 3, 4]
    back = layout.unflatten(vector)
    assert isinstance(back, dict)
    assert list(back) == ["w", "b"]
    assert back["w"].tolist() == [[1, 2], [3, 4]]
    assert back["b"].tolist() == [5]


def test_numbers_are_arrays_of_their_own_where_the_layout_has_them() -> None:
    """NumPy makes numbers of arrays without dimensions, and lists of rows are arrays elsewhere."""
    for model, other in (
        ([np.array(1.0), np.array(2.0)], [np.float64(3.0), 4]),
        ({"a": [np.ones(2), np.zeros(2)]}, {"a": [[3, 4], [5, 6]]}),
    ):
        layout = Layout.of(model)
        flat = layout.flatten(other)
        assert flat.tolist() == [3, 4, 5, 6][: layout.length]
        assert Layout.flattened(model)[0] == layout


def test_keys_are_integers_of_any_library() -> None:
    """Also those that are not exactly int; a search among all 64-bit numbers would not end."""
    layout = Layout.of({1: np.ones(2), 3: np.ones(1)})
    assert layout == Layout.of({np.int64(3): np.ones(1), np.uint8(1): np.ones(2)})
    assert Layout.of({Mode.MALICIOUS: np.ones(2)}) == Layout.of({int(Mode.MALICIOUS): np.ones(2)})


class Closed(dict[str, object]):
    """A file that was closed."""

    def __getitem__(self, key: str) -> object:
        raise OSError("the file is closed")


def test_a_mapping_that_cannot_be_read_is_refused() -> None:
    with refused(RangeError, Code.DTYPE, "the dict of arrays .Closed. cannot .*: the file is"):
        Layout.of(Closed(a=1))


def test_a_mean_that_its_dtype_cannot_hold_stays_wide() -> None:
    layout = Layout.of([np.zeros(2, np.float16), np.zeros(1, np.float32)])
    with np.errstate(all="raise"):
        wide, narrow = layout.unflatten(np.array([7e4, 1e-9, 1e-42]), own_dtypes=True)
    assert (wide.dtype, wide[0], narrow.dtype) == (np.float64, 7e4, np.float32)


def nested(reverse: bool) -> dict[str, object]:
    """A model as frameworks have them, built in either order."""
    layers = {10: [np.array(9.0)], 9: [np.array([7.0, 8.0])]}
    items = [("b", {}), ("layers", layers), ("a/b", np.array(1.0)), ("a", {"b": (2.0, [3, 4])})]
    if reverse:
        layers = dict(reversed(layers.items()))
        items = [*reversed(items[2:]), ("layers", layers), items[0]]
    return dict(items)


def test_nested_lists_and_dicts() -> None:
    """All processes flatten them alike, in whatever order they were built."""
    layout = Layout.of(nested(False))
    assert layout.names == ("a/b/0", "a/b/1", "a/b", "layers/9/0", "layers/10/0")
    vector = layout.flatten(nested(True))
    assert vector.tolist() == [2, 3, 4, 1, 7, 8, 9]
    assert layout == Layout.of(nested(True))
    assert hash(layout) == hash(Layout.of(nested(True)))
    assert digest(nested(False)) == digest(nested(True))
    back = layout.unflatten(vector)
    assert list(back) == ["b", "layers", "a/b", "a"]
    assert (back["b"], list(back["layers"])) == ({}, [10, 9])
    assert [array.shape for array in (back["layers"][10][0], back["a/b"])] == [(), ()]
    assert isinstance(back["a"]["b"], list)
    assert back["a"]["b"][1].tolist() == [3, 4]


ONE = np.ones(1)
LOOK_ALIKE = (
    *({"a/b": ONE, "c": ONE}, {"a": {"b": ONE}, "c": ONE}, {"a": {"b": ONE}, "c": ONE, "d": {}}),
    *([ONE, ONE], {"0": ONE, "1": ONE}, {0: ONE, 1: ONE}, [[ONE, ONE]], [[ONE], ONE]),
    *({"0": [ONE], "1": ONE}, {"0": {"0": ONE}, "1": ONE}, {"0": {0: ONE}, "1": ONE}),
)


def test_two_trees_never_look_alike() -> None:
    """Names that are joined the same way, and empty dicts, do not make two structures one."""
    layouts = [Layout.of(tree) for tree in LOOK_ALIKE]
    assert len(set(layouts)) == len(LOOK_ALIKE)
    assert len({digest(tree) for tree in LOOK_ALIKE}) == len(LOOK_ALIKE)
    for layout, tree in zip(layouts, LOOK_ALIKE, strict=True):
        for other in LOOK_ALIKE:
            if other is not tree:
                with refused(RangeError, Code.LAYOUT, match="arrays of another layout: "):
                    layout.flatten(other)


def test_a_dtype_is_no_difference_of_layouts() -> None:
    """float32 of one framework and float64 of another are one model; the dtypes are kept."""
    half = Layout.of({"w": np.ones(2, np.float16), "n": 1})
    double = Layout.of({"n": 1.0, "w": np.ones(2)})
    assert half == double
    assert hash(half) == hash(double)
    assert half.dtypes == (np.float16, np.float16)
    assert double.dtypes == (np.float64, np.float64)
    assert half.flatten({"n": 1, "w": np.ones(2, np.float32)}).dtype == np.float32
    vector = np.array([0.1, 1.0, 2.0])
    own = half.unflatten(vector, own_dtypes=True)
    assert own["w"].dtype == own["n"].dtype == np.float16
    assert half.unflatten(vector)["w"].dtype == np.float64


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
        ([[1, 2, 3], [4, 5, 6]], (2, 3)),
        (range(3), (3,)),
        (memoryview(b"abc"), (3,)),
    ],
    ids=lambda value: repr(value).partition(" at 0x")[0],
)
def test_one_array(value: object, shape: tuple[int, ...]) -> None:
    """An array, a scalar or a list of numbers is one array."""
    layout = Layout.of(value)  # type: ignore[arg-type]
    assert (layout.names, layout.shapes) == (("",), (shape,))
    vector = layout.flatten(value)  # type: ignore[arg-type]
    assert vector.ndim == 1
    back = layout.unflatten(vector)
    assert isinstance(back, np.ndarray)
    assert back.shape == shape
    assert np.array_equal(back, np.asarray(value))


def test_lists_of_different_lengths_are_a_list_of_arrays() -> None:
    """They fit no array."""
    layout = Layout.of([[1, 2, 3], [4.5]])
    assert (layout.names, layout.shapes) == (("0", "1"), ((3,), (1,)))
    assert layout.flatten([[1, 2, 3], [4.5]]).tolist() == [1, 2, 3, 4.5]


@given(st.lists(reals, min_size=1, max_size=5), st.booleans())
def test_any_arrays_round_trip(arrays: list[np.ndarray], named: bool) -> None:
    """Empty ones among them: the same names, shapes and values."""
    given_arrays = {f"n{i}": a for i, a in enumerate(arrays)} if named else arrays
    if sum(array.size for array in arrays) == 0:
        with refused(RangeError, Code.LAYOUT):
            Layout.of(given_arrays)
        return
    full = [array.dtype for array in arrays if array.size]
    if len({dtype.kind == "f" for dtype in full}) == 2:
        with refused(RangeError, Code.DTYPE, match="beside arrays of floats"):
            Layout.of(given_arrays)
        return
    layout = Layout.of(given_arrays)
    vector = layout.flatten(given_arrays)
    assert vector.shape == (layout.length,)
    assert vector.dtype == np.result_type(*full)
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


LOOPS: list[object] = []
LOOPS.extend([LOOPS, LOOPS])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(2, complex),
        np.zeros(2, object),
        np.array(["a"]),
        "text",
        None,
        [np.zeros(2), None],
        {"a": "text"},
        {None: np.zeros(2)},
        {True: np.zeros(2)},
        {2**63: np.zeros(2)},
        {"a": np.zeros(2), 1: np.zeros(2)},
        {"a": [[1.0], [2.0, None]]},
        {1.0, 2.0},
        LOOPS,
        [LOOPS, np.zeros(2)],
        iter([1.0, 2.0]),
        [2**63, -1],
        np.zeros(2, "m8[s]"),
        np.timedelta64(3, "s"),
        np.ones(2, [("a", "f8")]),
    ],
    ids=lambda wrong: repr(wrong).partition(" at 0x")[0],
)
def test_what_is_no_array_of_reals_is_refused(wrong: object) -> None:
    """Other kinds, other collections, names of other types, what contains itself: RangeError."""
    with pytest.raises(RangeError):
        Layout.of(wrong)  # type: ignore[arg-type]
    if not isinstance(wrong, str):  # a text has a digest
        with pytest.raises(RangeError):
            digest(wrong)  # type: ignore[arg-type]


BIG = {f"layer{i}.conv.weight": np.zeros((3, 3)) for i in range(160)}
LONG = {f"{i}\ud800" * 5000: np.zeros((1,) * 30) for i in range(9)}


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        (BIG, {**BIG, "layer7.conv.weight": np.zeros((3, 4))},
         "array 'layer7.conv.weight' has shape (3, 4) instead of (3, 3)"),
        (BIG, {name: BIG[name] for name in list(BIG)[1:]}, "array 'layer0.conv.weight' is missing"),
        (BIG, BIG | {"c": ONE}, "array 'c' is not in the layout"),
        (BIG, {name: array[:2] for name, array in BIG.items()}, "; and 157 more"),
        (BIG, list(BIG.values()), "a list of 160 arrays instead of a dict of 160 arrays"),
        (BIG, np.zeros(4), "one array of shape (4,) instead of a dict of 160 arrays"),
        (BIG, {**BIG, "": {}}, "the same, but not the nesting or the types of keys"),
        (LONG, {name: array.reshape(-1) for name, array in LONG.items()}, "; and 6 more"),
        (LONG, {name[:-1]: array for name, array in LONG.items()}, "; and 15 more"),
        (np.zeros(4), np.zeros(5), "one array of shape (5,) instead of one array of shape (4,)"),
        (np.zeros(4), [np.zeros(4)], "a list of 1 array instead of one array of shape (4,)"),
    ],
    ids=range(11),
)  # fmt: skip
def test_other_layouts_are_refused(first: object, other: object, message: str) -> None:
    """flatten takes exactly the layout it was made of, and says in short where another differs."""
    with refused(
        RangeError, Code.LAYOUT, match=f"^arrays of another layout: .*{re.escape(message)}$"
    ) as error:
        Layout.of(first).flatten(other)
    assert len(str(error.value)) < 450
    assert len(repr(Layout.of(first))) < 100


def test_integers_beside_floats_are_refused_by_name() -> None:
    """A counter would be clipped to the range of the weights. Python's numbers are no counters."""
    state = {"bn": {"weight": np.ones(2, np.float32), "count": np.array(12345)}, "n": [1, 2]}
    with refused(RangeError, Code.DTYPE, match="array 'bn/count' of int64 beside arrays of floats"):
        Layout.of(state)
    many = [np.ones(1, int)] * 9 + [ONE]
    with refused(RangeError, Code.DTYPE, match=r"array '0' \(also '1', '2' and 6 more\) of int64"):
        Layout.of(many)
    del state["bn"]["count"]
    assert Layout.of(state).flatten(state).tolist() == [1, 1, 1, 2]
    assert Layout.of([12345, ONE, np.zeros(0, int)]).flatten([12345, ONE, []]).dtype == np.float64


def test_integers_stay_exact() -> None:
    """Of several dtypes, with bools, empty arrays and Python's numbers; never by way of floats."""
    big = np.array([2**63 + 1], np.uint64)
    arrays = [np.array([-1], np.int8), big - np.uint64(2), [], 7, True, 3.0, np.array([True])]
    vector = Layout.of(arrays).flatten(arrays)
    assert vector.dtype == np.int64
    assert vector.tolist() == [-1, 2**63 - 1, 7, 1, 3, 1]
    arrays[0], arrays[1] = np.array([1], np.int8), big
    vector = Layout.of(arrays).flatten(arrays)
    assert vector.dtype == np.uint64
    assert vector.tolist() == [1, 2**63 + 1, 7, 1, 3, 1]
    assert Layout.of([big[0], 1]).flatten([big[0], 1]).tolist() == [2**63 + 1, 1]
    for wrong, code in (([np.array([-1]), big], Code.OUT_OF_RANGE), ([big, 2.5], Code.DTYPE)):
        with refused(RangeError, code):
            Layout.of(wrong).flatten(wrong)


def test_positions_lead_back_to_names() -> None:
    """Empty arrays have none."""
    layout = Layout.of([np.zeros(2), np.zeros(0), np.zeros((2, 2))])
    assert layout.names_at(np.array([0, 1])) == ("0",)
    assert layout.names_at(np.array([5, 2, 1])) == ("0", "2")


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
    "swapped in a dict": ({"b": A, "a": A[::-1]},),
    "in a list in a list": ([[A]],),
    "cut elsewhere": ([A[:1], A[1:]],),
    "cut elsewhere again": ([A[:2], A[2:]],),
    "empty array": (np.zeros(0),),
    "empty arrays": (np.zeros((0, 3)),),
    "no arrays": ([np.zeros(0), np.zeros(0)],),
    "bytes": (b"1",),
    "text": ("1",),
    "number": (1,),
    "true": (True,),
    "false": (False,),
    "truth in an array": (np.array(True),),
    "truths": (np.array([True]),),
    "negative": (-1,),
    "float": (1.0,),
    "array of one": (np.array([1]),),
    "array without dimensions": (np.array(1),),
    "empty bytes": (b"",),
    "empty text": ("",),
    "two bytes": (b"1", b"2"),
    "joined": (b"12",),
    "other order": (b"2", b"1"),
    "mixed": (b"1", "2"),
    "a tag": (b"bytes",),
    "a tag and a value": ("bytes", "1"),
    "the array's raw bytes": (A.tobytes(),),
    "its encoding as texts": ("array", "float64(4,)", A.tobytes()),
    "its encoding as bytes": (b"array", b"float64(4,)", A.tobytes()),
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


def test_a_number_of_numpy_is_that_of_python() -> None:
    """Server and client agree, whoever counts with NumPy; a truth is no number."""
    assert digest(np.int64(3)) == digest(np.uint8(3)) == digest(3)
    assert digest(np.bool_(True)) == digest(True) != digest(1)
    assert digest(np.float32(1.5)) == digest(np.float64(1.5)) == digest(1.5)
    assert digest(np.str_("a"), np.bytes_(b"a"), bytearray(b"b")) == digest("a", b"a", b"b")


@pytest.mark.parametrize(
    ("part", "code"),
    [
        (np.longdouble(1), Code.DTYPE),
        (np.timedelta64(3, "s"), Code.DTYPE),
        (np.datetime64("2020"), Code.DTYPE),
        (np.float32("nan"), Code.NOT_FINITE),
        (1j, Code.DTYPE),
        (np.array([10**400], object), Code.DTYPE),
        ([10**400], Code.DTYPE),
        ({10**400: A}, Code.LAYOUT),
        ({"\ud800": {}, "a": A}, Code.ARGUMENT),
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


def test_a_shape_that_differs_is_named_where_names_repeat() -> None:
    """Names join paths, so two arrays may have the same."""
    trees = [{"a/b": np.zeros(2), "a": {"b": np.zeros(size)}} for size in (3, 4)]
    with refused(RangeError, Code.LAYOUT, r"'a/b' has shape \(4,\) instead of \(3,\)"):
        Layout.of(trees[0]).flatten(trees[1])


class Tensor:
    """A number of a library, such as PyTorch, in which equal ones are different keys."""

    def __index__(self) -> int:
        return 1


class Name(str):
    """A text that is equal to itself alone."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize("key", [Tensor, lambda: Name("a")])
def test_keys_that_mean_the_same_are_refused(key: Callable[[], Any]) -> None:
    """One of the arrays would be left out of the sum without a word."""
    twice = {key(): np.zeros(1), key(): np.ones(1)}
    assert len(twice) == 2
    with refused(RangeError, Code.LAYOUT, match="has two keys that mean the same"):
        Layout.of(twice)


def test_a_digest_is_the_same_in_every_version() -> None:
    """Else parties with two versions of the library have no context in common."""
    layout = ModelLayout.of(
        {"w": np.zeros((2, 3), np.float32), "n": np.zeros(2, np.int64)},
        FixedPoint(1.0, 20, 7),
        cohort=3,
        arrays={"n": Range(0, 9, "sum")},
        metrics={"l": Range(0, 0.5)},
    )
    model = {"w": np.arange(3, dtype=np.float32), "n": [True, {1: -0.0}]}
    found = digest("training", layout, model, b"nonce", 2, True, 0.5)
    assert found.hex() == "358ca7b98c7aecbd0ceaadebbf16ec8ac3a406afc7cf8d096bec91068375fdfb"
