"""One array of the caller, read without loss: a number, lists of numbers, or anything with a shape.

NumPy makes an array of nearly everything, and drops what an array cannot hold: a mask, a unit,
missing values, labels. Here such an object is refused, by its name. Objects of other libraries are
recognised by what they can do, so that none of these libraries is imported.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError

_NUMBERS: Final = (int, float, complex, np.generic)
_INTEGERS: Final = (int, np.integer, np.bool_)
_TEXTS: Final = (str, bytes, bytearray)
_PROTOCOLS: Final = ("shape", "__array__", "__array_interface__", "__array_struct__", "__dlpack__")
# Attributes that arrays of other libraries have, and what is then lost; not methods of that name.
_MEANINGS: Final = {
    ("mask",): "has a mask, and the numbers under it would be summed: fill it, for example with "
    ".filled(0), or leave them out",
    ("unit", "units"): "has a unit: convert it to the unit of all parties and give its bare "
    "numbers",
    ("nnz", "nse", "dense_shape"): "is sparse: make it dense first",
}
_NAME: Final = 42  # characters of a name in a message
_DIMENSIONS: Final = 64  # of an array, at most
_SMALL_BYTES: Final = 2  # of a number of a dtype that is not NumPy's own


def called(name: str) -> str:
    """Returns how messages call an array; without a name it is the only one."""
    return f"array {_quoted(name)}" if name else "the array"


def _quoted(name: str) -> str:
    quoted = repr(name)
    return quoted if len(quoted) <= _NAME else shortened(quoted, _NAME)


def listed(names: Iterable[str]) -> str:
    """Returns the first three of these arrays, and how many more there are, for a message."""
    first, *rest = names
    if not rest:
        return called(first)
    more = f" and {len(rest) - 2} more" if len(rest) > 2 else ""
    return f"{called(first)} (also {', '.join(map(_quoted, rest[:2]))}{more})"


def shortened(text: str, most: int) -> str:
    """Returns the text on one line, without its middle if it has more characters than `most`."""
    line = " ".join(text.split())
    half = (most - 3) // 2
    return line if len(line) <= most else f"{line[:half]}...{line[-half:]}"


def is_array(value: object) -> bool:
    """Returns whether a value is one array: a number, equally long lists of numbers, or shaped."""
    return type(value) is np.ndarray or _shape_of_numbers(value) is not None or is_shaped(value)


def as_list(value: object) -> Sequence[object] | None:
    """Returns the members of a list, tuple or other sequence; None if it is something else."""
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, Sequence) and not isinstance(value, _TEXTS) and not is_shaped(value):
        return list(value)
    return None


def is_weak(value: object) -> bool:
    """Returns whether a value is a Python number or lists of them, which have no dtype."""
    is_numbers = type(value) is not np.ndarray and _shape_of_numbers(value) is not None
    return is_numbers and _types(value) <= {bool, int, float}


def kind_of(dtype: np.dtype[Any]) -> str:
    """Returns the kind of numbers: "b" (bool), "i", "u" or "f"; "" if they are not real.

    The small dtypes of other packages (bfloat16, float8_e5m2, int4, ...) are known by their names.
    """
    if dtype.isbuiltin != 2:
        return dtype.kind if dtype.kind in "biuf" else ""
    if dtype.itemsize <= _SMALL_BYTES:
        starts = {"bfloat": "f", "float": "f", "int": "i", "uint": "u"}
        return next((kind for start, kind in starts.items() if dtype.name.startswith(start)), "")
    return ""


def plain_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Returns the native dtype of NumPy's own, of integers or floats, that holds these numbers."""
    if dtype.isbuiltin == 2 or dtype.kind == "b":  # 2: registered by another package
        wider = {"f": np.float32, "i": np.int8, "u": np.uint8, "b": np.uint8}
        return np.dtype(wider[kind_of(dtype)])
    return dtype.newbyteorder("=")


def plain(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns the array in its `plain_dtype`; the same array if only the byte order differs."""
    other = array.dtype.isbuiltin == 2 or array.dtype.kind == "b"
    return array.astype(plain_dtype(array.dtype)) if other else array


def read_array(value: object, what: str) -> NDArray[np.generic]:
    """Returns one array of the caller as a plain array of real numbers; often the caller's memory.

    Args:
        value: for which `is_array` holds.
        what: what messages call it, such as "array 'bias'".

    Raises:
        RangeError: it is no array; it has a mask, a unit, missing values or labels; it is sparse;
            it holds no real numbers; or it could not be converted, with the exception of its own
            library as the cause.
    """
    if type(value) is np.ndarray:
        array = value
    elif _shape_of_numbers(value) is not None:
        array = _read_numbers(value, what)
    elif is_shaped(value):
        array = _read_shaped(value, what)
    else:
        raise RangeError(
            f"{what} must hold numbers, and is {_article(value)}, neither an array nor a number",
            Code.DTYPE,
        )
    if not kind_of(array.dtype):
        advice = "; convert it, for example with .astype(float)" if array.dtype == object else ""
        raise RangeError(
            f"{what} has dtype {shortened(str(array.dtype), 60)}, which holds no real numbers"
            f"{advice}",
            Code.DTYPE,
        )
    return array


def is_one(
    given: object, array: NDArray[np.generic], other: object, its_array: NDArray[np.generic]
) -> bool:
    """Returns whether two arrays of one shape are one: the same object, or the same memory.

    Args:
        given, other: what the caller gave. A single number is no memory.
        array, its_array: what `read_array` made of them.
    """
    if isinstance(given, _NUMBERS):
        return False
    return given is other or (
        array.strides == its_array.strides and _start(given, array) == _start(other, its_array)
    )


def _start(given: object, array: NDArray[np.generic]) -> int:
    """Returns where an array begins in memory; of a tensor that was converted, the tensor."""
    if _is_small_float(given):
        pointer = getattr(given, "data_ptr", None)
        if callable(pointer):
            return int(pointer())
    start: int = array.__array_interface__["data"][0]
    return start


def _shape_of_numbers(value: object, depth: int = 0) -> tuple[int, ...] | None:
    """Returns the shape of a number or of nested lists of numbers; None if it is no such thing."""
    if isinstance(value, _NUMBERS):
        return None if isinstance(value, _TEXTS) else ()  # NumPy has scalars that are texts
    members = as_list(value)
    if members is None or depth == _DIMENSIONS:
        return None
    kinds = set(map(type, members))
    if all(issubclass(kind, _NUMBERS) for kind in kinds):
        return (len(members),)
    rest: tuple[int, ...] | None = None
    for member in members:
        shape = _shape_of_numbers(member, depth + 1)
        if not shape or rest not in (None, shape):
            return None
        rest = shape
    return (len(members), *rest) if rest else None


def is_shaped(value: object) -> bool:
    """Returns whether a value is an array of any library, or a buffer."""
    if isinstance(value, _TEXTS):
        return False
    try:
        if any(hasattr(value, protocol) for protocol in _PROTOCOLS):
            return True
    except Exception:  # it is computed, and reading the array will say why it cannot be
        return True
    try:
        memoryview(value)  # type: ignore[arg-type]
    except (TypeError, BufferError):
        return False
    return True


def _types(value: object) -> set[type]:
    members = as_list(value)
    if members is None:
        return {type(value)}
    kinds = set(map(type, members))
    if all(issubclass(kind, _NUMBERS) for kind in kinds):
        return kinds
    return set().union(*map(_types, members))


def _read_numbers(value: object, what: str) -> NDArray[np.generic]:
    """Reads a number, or lists of numbers of one length; integers never by way of floats."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fO" or not all(
            issubclass(kind, _INTEGERS) for kind in _types(value)
        ):
            return array
        integers = [int(number) for number in np.array(value, object).flat]
    except Exception as error:
        raise unreadable(value, what, error) from error
    for dtype in (np.int64, np.uint64):
        bounds = np.iinfo(dtype)
        if not integers or bounds.min <= min(integers) <= max(integers) <= bounds.max:
            return np.array(integers, dtype if integers else array.dtype).reshape(array.shape)
    raise RangeError(f"{what} has integers that do not fit 64 bits together", Code.DTYPE)


def _read_shaped(value: Any, what: str) -> NDArray[np.generic]:
    """Reads an array of any library; asks its own conversion, which may refuse with advice."""
    try:
        if _is_small_float(value) and callable(getattr(value, "float", None)):
            value = value.float()  # of PyTorch, which converts these to no array of NumPy
        shape = getattr(value, "shape", None)
        lost = _lost(value) or _lost(getattr(value, "_meta", None))  # of Dask: a piece of it
        if not lost:
            own = hasattr(value, "__array__") or not hasattr(value, "__dlpack__")
            found = np.asanyarray(value) if own else np.from_dlpack(value)
            lost = _lost(found)  # a conversion may give what has a mask
            if not lost and shape is not None and found.shape != tuple(shape):
                lost = "cannot be read as a NumPy array: convert it to one"
    except Exception as error:
        raise unreadable(value, what, error) from error
    if lost:
        raise RangeError(f"{what} ({type(value).__name__}) {lost}", Code.DTYPE)
    return np.asarray(found)


def _lost(value: Any) -> str:
    """Returns what an array has that its numbers alone do not tell, with advice; or ""."""
    for names, text in _MEANINGS.items():
        if _attribute(value, *names) is not None:
            return text
    if isinstance(value, np.ndarray | np.flatiter):
        return ""
    if _misses_values(value):
        return "has missing values: fill them, or leave them out"
    for axis in ("index", "columns", "coords"):
        labels = _attribute(value, axis)
        if labels is not None and not _is_count(labels):
            return (
                f"has labels ({axis}), and numbers are summed by their position: give its bare "
                "numbers, in an order that all parties know, or a dict"
            )
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    if kind in ("O", "M", "m"):  # of a dtype that is not NumPy's, such as categories
        return f"has dtype {shortened(str(value.dtype), 60)}, which holds no real numbers"
    return ""


def _attribute(value: object, *names: str) -> object:
    """Returns the first of these attributes that the object has and that is no method."""
    found = (getattr(value, name, None) for name in names)
    return next((each for each in found if each is not None and not callable(each)), None)


def _misses_values(value: object) -> bool:
    """Returns whether a column of pandas, Polars or Arrow has places without a value."""
    missing = getattr(value, "isna", None)
    if callable(missing) and not isinstance(getattr(value, "dtype", None), np.dtype):
        return bool(np.any(np.asarray(missing())))
    nulls = getattr(value, "null_count", 0)
    count = nulls() if callable(nulls) else nulls
    return isinstance(count, int) and count > 0


def _is_count(labels: Any) -> bool:
    """Returns whether labels are just the positions 0, 1, 2, ..., or none at all."""
    return len(labels) == 0 or list(labels) == list(range(len(labels)))


def unreadable(value: object, what: str, error: Exception) -> RangeError:
    """Returns the error about something whose own library refuses to let it be read."""
    advice = shortened(str(error), 200) or type(error).__name__
    if _is_small_float(value):
        advice += "; convert it to float32 first"
    return RangeError(
        f"{what} ({type(value).__name__}) cannot be read as a NumPy array: {advice}", Code.DTYPE
    )


def _is_small_float(value: object) -> bool:
    """Returns whether an array has numbers that NumPy lacks; all of them are float32 as well."""
    return any(kind in str(getattr(value, "dtype", "")) for kind in ("bfloat16", "float8"))


def _article(value: object) -> str:
    return "None" if value is None else f"of the type {type(value).__name__}"
