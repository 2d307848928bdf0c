"""The binding to the compiled core; no other module imports it.

No pointer and no status code leaves this module. Callers check lengths and dtypes.
"""

import ctypes
import hashlib
import sys
import sysconfig
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import NativeError, RangeError

_FIX: Final = "run `pip install -e .` in the repository (it needs a C compiler)"


def _sources() -> Path | None:
    """Returns the folder native/ of the sources, or None in an installed package."""
    sources = Path(__file__).resolve().parents[2] / "native"
    return sources if (sources / "build.py").exists() else None


def _not_built(error: ImportError) -> NativeError:
    """Returns what to raise if the compiled module cannot be imported."""
    fix = (
        f"{_FIX}, or, if you have installed secagg elsewhere, start Python from another folder"
        if _sources()
        else f"run `{sys.executable or 'python'} -m pip install --force-reinstall secagg`: a "
        "package for another platform or Python, copied, zipped or frozen, cannot load it"
    )
    # Python reports a module that is missing here as a possible circular import.
    why = "it is missing" if "circular import" in str(error) else str(error)
    return NativeError(
        f"the compiled module secagg._native cannot be imported by Python "
        f"{sys.version_info.major}.{sys.version_info.minor} on {sysconfig.get_platform()} "
        f"({why}); {fix}",
        Code.NOT_BUILT,
    )


try:
    # The compiled module needs it; programs that freeze applications find only what is named.
    import _cffi_backend  # noqa: F401

    from .. import _native
except ImportError as error:
    raise _not_built(error) from None

ffi: Final = _native.ffi
lib: Final = _native.lib

Vector = NDArray[np.uint32] | NDArray[np.uint64]

_C_TYPES: Final = {
    np.dtype(np.uint32): "uint32_t[]",
    np.dtype(np.uint64): "uint64_t[]",
    np.dtype(np.float32): "float[]",
    np.dtype(np.float64): "double[]",
    np.dtype(np.int8): "int8_t[]",
    np.dtype(np.uint8): "uint8_t[]",
}
_SUFFIXES: Final = {
    np.dtype(np.uint32): "u32",
    np.dtype(np.uint64): "u64",
    np.dtype(np.float32): "f32",
    np.dtype(np.float64): "f64",
}


def _check_fresh() -> None:
    """Rejects a compiled module that was built from other sources than those of this tree."""
    sources = _sources()
    if sources is None:
        return
    digest = hashlib.sha256()
    for path in sorted(sources.glob("*.[ch]")):
        digest.update(path.read_bytes())
    built_from = ffi.string(lib.sa_source_digest())
    if built_from != digest.hexdigest().encode():
        raise NativeError(
            f"the compiled module is older than the sources in native/; {_FIX}", Code.STALE_BUILD
        )


_check_fresh()


def read(array: NDArray[np.generic]) -> "_native.CData":
    """Returns a pointer to a contiguous array that C reads; keep the array alive meanwhile."""
    return ffi.from_buffer(_C_TYPES[array.dtype], array)


def write(array: NDArray[np.generic]) -> "_native.CData":
    """Returns a pointer to a contiguous, writable array that C writes; keep it alive meanwhile."""
    return ffi.from_buffer(_C_TYPES[array.dtype], array, require_writable=True)


def octets(data: bytes | bytearray | memoryview) -> "_native.CData":
    """Returns a pointer to bytes that C reads."""
    return ffi.from_buffer("uint8_t[]", data)


_new_bytes: Final = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t]
_new_bytes.restype = ctypes.py_object


def fresh_bytes(length: int) -> bytes:
    """Makes a bytes object with undefined content, which C then fills through `octets`.

    Python's C API allows writing to a bytes object until other code has a reference to it. This
    saves a copy.
    """
    fresh: bytes = _new_bytes(None, length)
    return fresh


class BytesBuilder:
    """A bytes object of known size that is written once, from front to back, without a copy.

    Args:
        size: of the bytes object; the whole of it must be written before `finish`.
    """

    def __init__(self, size: int) -> None:
        self._bytes = fresh_bytes(size)
        self._pointer = octets(self._bytes)
        self._at = 0

    @property
    def size(self) -> int:
        """The number of bytes that are written."""
        return self._at

    def room(self, size: int) -> "_native.CData":
        """Returns a pointer to the next bytes, for C to write; keep the builder until then.

        Raises:
            NativeError: there is no room for them; it is a bug of the caller.
        """
        if self._at + size > len(self._bytes):
            raise NativeError("a message is longer than its parameters allow", Code.NATIVE)
        here = self._pointer + self._at
        self._at += size
        return here

    def append(self, data: bytes) -> None:
        """Writes the next bytes."""
        ffi.memmove(self.room(len(data)), data, len(data))

    def since(self, start: int) -> memoryview:
        """Returns what is written from an index on; nothing is copied."""
        return memoryview(self._bytes)[start : self._at]

    def finish(self) -> bytes:
        """Returns the bytes object, once it is full.

        Raises:
            NativeError: it is not; it is a bug of the caller.
        """
        if self._at != len(self._bytes):
            raise NativeError("a message is shorter than its parameters say", Code.NATIVE)
        return self._bytes


def by_lane(name: str, *arrays: NDArray[np.generic]) -> "_native.Function":
    """Returns the C function for the dtypes of these arrays: "add" for uint32 is sa_add_u32."""
    suffix = "_".join(_SUFFIXES[array.dtype] for array in arrays)
    function: _native.Function = getattr(lib, f"sa_{name}_{suffix}")
    return function


def check(status: int, what: str) -> None:
    """Raises the exception for a status of the core, if it is not SA_OK.

    Args:
        status: what the C function returned.
        what: the operation, for the error message.

    Raises:
        RangeError: a value was outside its range.
        NativeError: any other failure; arguments are checked before the call, so it is a bug.
    """
    if status == lib.SA_ERANGE:
        raise RangeError(f"{what}: a value is out of range", Code.OUT_OF_RANGE)
    if status != lib.SA_OK:
        raise NativeError(f"{what}: status {status} from the native core", Code.NATIVE)
