"""Arrays of any library are read without loss, or refused by name with their own advice.

The libraries are stand-ins, which have what the real ones are recognised by.
"""

from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from refusals import refused

from secagg import Code, FixedPoint, Integers, Layout, RangeError, digest, secure_sum
from secagg.encoding.arrays import kind_of
from secagg.encoding.codec import read_input


class Tensor:
    """An array of another library: PyTorch's, JAX's, or a column of pandas."""

    def __init__(self, data: object, **attributes: object) -> None:
        self.data = np.asanyarray(data)
        self.shape, self.dtype = self.data.shape, self.data.dtype
        vars(self).update(attributes)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, at: int) -> "Tensor":
        return Tensor(self.data[at])

    def mask(self) -> None:
        """A method, as pandas has it, is no mask."""


class Exported:
    """Can be read by DLPack only."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def __dlpack__(self, **options: object) -> object:
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> object:
        return self.data.__dlpack_device__()


class OnAnotherDevice(Tensor):
    """A tensor that says how it wants to be converted."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy.\nUse Tensor.cpu() first")


class Quantity(np.ndarray):
    """A subclass with a unit."""

    unit = "m / s"


class Hollow:
    """A shape, and no way to the numbers."""

    shape = (2,)


class Broken:
    """Raises whatever is asked."""

    @property
    def shape(self) -> tuple[int, ...]:
        raise MemoryError("no room")


class Extension:
    """A dtype of pandas."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __str__(self) -> str:
        return "a column"


def missing(*places: bool) -> object:
    """Returns the method that a column tells its missing values with."""
    return lambda: np.array(places)


TWO = np.array([1.0, 1e6])
LOSSES = {
    "a mask": (np.ma.masked_array(TWO, [False, True]), "has a mask"),
    "a mask of nothing": (np.ma.masked_array(TWO), "has a mask"),
    "the masked constant": (np.ma.masked, "has a mask"),
    "a mask behind a conversion": (Tensor(np.ma.masked_array(TWO, [False, True])), "has a mask"),
    "a mask of another library": (Tensor(TWO, mask=np.zeros(2, bool)), "has a mask"),
    "a mask of a lazy array": (Tensor(TWO, _meta=np.ma.masked_array([])), "has a mask"),
    "a unit": (TWO.view(Quantity), "has a unit"),
    "units": (Tensor(TWO, units="kg"), "has a unit"),
    "a time": (np.zeros(2, "m8[s]"), r"timedelta64\[s\], which holds no real numbers"),
    "missing values": (Tensor(TWO, dtype=Extension("i"), isna=missing(False, True)), "missing"),
    "nulls": (Tensor(TWO, null_count=1), "missing"),
    "counted nulls": (Tensor(TWO, null_count=lambda: 1), "missing"),
    "categories": (Tensor(TWO, dtype=Extension("O")), "dtype a column, which holds no real"),
    "labels": (Tensor(TWO, index=["a", "b"]), r"has labels \(index\)"),
    "other positions": (Tensor(TWO, index=range(1, 3)), r"has labels \(index\)"),
    "columns": (Tensor(np.ones((2, 2)), index=range(2), columns=["a", "b"]), r"labels \(columns\)"),
    "coordinates": (Tensor(TWO, coords={"x": 1}), r"has labels \(coords\)"),
    "a sparse matrix": (Tensor(TWO, nnz=1), "is sparse"),
    "fields": (np.ones(2, [("a", "f8"), ("b", "f8")]), "which holds no real numbers"),
    "a bare shape": (Hollow(), "cannot be read"),
    "a row of objects": (Tensor(np.array([None, 1.0])), "dtype object"),
    "a sequence of its own": (type("Own", (), {"__len__": len, "__getitem__": len})(), "Own"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOSSES)
def test_what_an_array_cannot_hold_is_not_dropped(case: str) -> None:
    """In a layout, a digest, an input and a sum: the array is refused by its name."""
    value, message = LOSSES[case]
    tree = {"layer": [np.ones(2), value]}
    for call in (lambda: Layout.of(tree), lambda: digest(tree)):
        with refused(RangeError, Code.DTYPE, match=f"array 'layer/1'.* {message}"):
            call()
    with refused(RangeError, Code.DTYPE, match=f"an input.* {message}"):
        read_input(value, 2, "fiu")
    with refused(RangeError, Code.DTYPE, match=f"update of party 1: array 'layer/1'.* {message}"):
        secure_sum([{"layer": [np.ones(2)] * 2}, tree], FixedPoint(1.0))


@pytest.mark.parametrize("broken", [OnAnotherDevice(TWO), Broken()], ids=["advice", "property"])
def test_the_advice_of_a_library_is_kept(broken: object) -> None:
    """On one line, and as the cause."""
    for call in (
        lambda: digest([broken, TWO]),
        lambda: secure_sum([[broken, TWO]] * 3, FixedPoint(1.0)),
    ):
        with pytest.raises(
            RangeError, match=r"'0'.*(: no room|numpy\. Use Tensor\.cpu\(\) first)$"
        ) as error:
            call()
        assert isinstance(error.value.__cause__, TypeError | MemoryError)


def test_a_number_that_numpy_lacks_comes_with_advice() -> None:
    """Its own library says of a bfloat16 tensor only that it is not supported."""
    value = OnAnotherDevice(TWO)
    value.dtype = "torch.bfloat16"  # type: ignore[assignment]
    with refused(RangeError, Code.DTYPE, match="first; convert it to float32 first$"):
        Layout.of([value])


def test_harmless_arrays_are_read(tmp_path: Path) -> None:
    """Files that are mapped, records without fields, columns in order, what only DLPack gives."""
    mapped = np.memmap(tmp_path / "array", np.float64, "w+", shape=(2,))
    mapped[:] = TWO
    nullable = Tensor(TWO, dtype=Extension("f"), isna=missing(False, False), index=range(2))
    for value in (mapped, TWO.view(np.recarray), nullable, Tensor(TWO, units=None), Exported(TWO)):
        assert read_input(value, 2, "f").tolist() == TWO.tolist()
        assert type(Layout.of(value).flatten(value)) is np.ndarray


class Dataset(dict):
    """Arrays by name, of a library that converts the whole as well."""

    __array__ = Hollow


def test_a_mapping_is_a_dict() -> None:
    """Whatever else it can do."""
    assert Layout.of(Dataset(a=TWO, b=TWO)) == Layout.of({"b": TWO, "a": TWO})


def test_a_list_of_tensors_is_a_list() -> None:
    """Of equal shapes too, and without dimensions; it is the same model as NumPy's."""
    for shapes in ([(3, 2), (2,)], [(3, 2), (3, 2)], [(), ()], [(0,), (1,)]):
        arrays = [np.full(shape, 0.5, np.float32) for shape in shapes]
        tensors = [Tensor(array) for array in arrays]
        assert Layout.of(tensors) == Layout.of(arrays)
        assert digest(tensors) == digest(tuple(arrays))
        done = secure_sum([tensors] * 3, FixedPoint(1.0))
        assert [array.shape for array in done.total] == shapes
        assert [array.dtype for array in done.total] == [np.float64] * 2
        assert [array.dtype for array in done.mean] == [np.float32] * 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("bfloat16", "f"), ("float8_e5m2", "f"), ("float4_e2m1fn", "f")),
        *(("int4", "i"), ("uint4", "u"), ("quaternion", "")),
    ],
)
def test_small_dtypes_are_known_by_their_names(name: str, kind: str) -> None:
    """Whatever kind their package gave them. Python cannot make such a dtype."""
    for given in "Vf":
        other = SimpleNamespace(isbuiltin=2, itemsize=2, name=name, kind=given)
        assert kind_of(other) == kind
    assert kind_of(SimpleNamespace(isbuiltin=2, itemsize=16, name=name, kind="V")) == ""


def test_small_floats_and_integers() -> None:
    """Summed exactly like the wider dtype that holds them; a mean comes back in their own."""
    ones = np.ones(3, ml_dtypes.bfloat16)
    done = secure_sum([{"w": ones, "b": 0.5}] * 3, FixedPoint(1.0))
    assert done.total["w"].dtype == np.float64
    assert done.mean["w"].dtype == ones.dtype
    assert digest(ones) != digest(ones.astype(np.float32))
    assert digest(ones[0], ml_dtypes.int4(3)) == digest(1.0, 3)
    for dtype in (ml_dtypes.int4, ml_dtypes.uint4):
        assert secure_sum([np.full(2, 7, dtype)] * 3, Integers(0, 7)).total.tolist() == [21, 21]


def test_truths_and_numbers_are_counted() -> None:
    """bool counts as 0 and 1, by itself and beside integers; a whole list of numbers is exact."""
    truths = np.array([True, False])
    assert secure_sum([truths] * 3, Integers(0, 1)).total.tolist() == [3, 0]
    assert read_input(truths, 2, "iu").tolist() == [1, 0]
    assert read_input([np.uint64(2**63 + 1), 1], 2, "iu").tolist() == [2**63 + 1, 1]
    with refused(RangeError, Code.DTYPE, match="do not fit 64 bits"):
        read_input([2**63, -1], 2, "iuf")
