"""The exceptions: whose fault each is, what it says, and that the core's statuses become them."""

import numpy as np
import pytest

import secagg
from secagg import (
    SERVER,
    Aborted,
    Code,
    DecodeError,
    IdentityError,
    LocalProtocolError,
    NativeError,
    ParameterError,
    RangeError,
    RemoteProtocolError,
    SecAggError,
)
from secagg.arithmetic import binding
from secagg.errors import party_name

KINDS = [
    ParameterError("x", Code.ARGUMENT),
    RangeError("x", Code.ARGUMENT),
    IdentityError("x", Code.ARGUMENT),
    LocalProtocolError("x", Code.ARGUMENT),
    RemoteProtocolError(3, "x", Code.MALFORMED),
    DecodeError(3, "x", Code.MALFORMED),
    Aborted("x", Code.QUORUM),
    NativeError("x", Code.ARGUMENT),
]


@pytest.mark.parametrize("error", KINDS, ids=lambda error: type(error).__name__)
def test_one_base_catches_them_all(error: SecAggError) -> None:
    """Each is a SecAggError, and public."""
    assert isinstance(error, SecAggError)
    assert type(error).__name__ in secagg.__all__


def test_the_families() -> None:
    """Bad values are ValueErrors too; what a peer sent is never the caller's fault."""
    assert issubclass(ParameterError, ValueError)
    assert issubclass(RangeError, ValueError)
    assert issubclass(DecodeError, RemoteProtocolError)
    for local in (
        ParameterError,
        RangeError,
        IdentityError,
        LocalProtocolError,
        Aborted,
        NativeError,
    ):
        assert not issubclass(local, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, ValueError)
    assert not issubclass(RangeError, ParameterError)
    assert not issubclass(ParameterError, RangeError)


@pytest.mark.parametrize(
    ("party", "name"), [(0, "party 0"), (65535, "party 65535"), (SERVER, "the server")]
)
def test_remote_errors_name_the_party_and_the_reason(party: int, name: str) -> None:
    """Both as attributes and in the text."""
    assert party_name(party) == name
    for kind in (RemoteProtocolError, DecodeError):
        error = kind(party, "a reason", Code.MALFORMED)
        assert (error.party, error.reason) == (party, "a reason")
        assert str(error) == f"{name}: a reason"


def test_an_abort_has_a_reason() -> None:
    """The condition that failed."""
    error = Aborted("why", Code.QUORUM)
    assert error.reason == str(error) == "why"


def test_the_server_is_no_party() -> None:
    """Its number can be no index in a cohort."""
    assert SERVER < 0


# -- statuses of the core ---------------------------------------------------------------------


def test_statuses_become_exceptions() -> None:
    """OK passes, out of range is the caller's, and anything else is a bug of ours."""
    binding.check(binding.lib.SA_OK, "what")
    with pytest.raises(RangeError, match="what: a value is out of range"):
        binding.check(binding.lib.SA_ERANGE, "what")
    for status in (binding.lib.SA_EARG, binding.lib.SA_EDECODE, 7, -99):
        with pytest.raises(NativeError, match=f"what: status {status}"):
            binding.check(status, "what")


def test_by_lane_picks_the_function_of_the_dtypes() -> None:
    """One suffix an array, in order."""
    lib = binding.lib
    arrays = {name: np.zeros(1, name) for name in ("uint32", "uint64", "float32", "float64")}
    assert binding.by_lane("add", arrays["uint32"]) == lib.sa_add_u32
    assert binding.by_lane("add", arrays["uint64"]) == lib.sa_add_u64
    for real, short in (("float32", "f32"), ("float64", "f64")):
        for lane, end in (("uint32", "u32"), ("uint64", "u64")):
            quantize = getattr(lib, f"sa_quantize_{short}_{end}")
            assert binding.by_lane("quantize", arrays[real], arrays[lane]) == quantize


def test_pointers_to_arrays_are_typed_and_guarded() -> None:
    """An array that C writes must be writable; the pointer has the array's type and length."""
    array = np.arange(5, dtype=np.uint64)
    pointer = binding.read(array)
    assert binding.ffi.typeof(pointer).item.cname == "uint64_t"
    assert list(pointer) == [0, 1, 2, 3, 4]
    binding.write(array)[0] = 9
    assert array[0] == 9
    array.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        binding.write(array)
    assert bytes(binding.ffi.buffer(binding.octets(b"abc"))) == b"abc"


def test_a_stale_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources that the compiled module was not built from: said, with the command that mends it."""
    binding._check_fresh()

    class Other:
        """A library built from other sources."""

        def sa_source_digest(self) -> object:
            return binding.ffi.new("char[]", b"0" * 64)

    monkeypatch.setattr(binding, "lib", Other())
    with pytest.raises(
        NativeError, match=r"older than the sources in native/; run .pip install -e"
    ):
        binding._check_fresh()


def test_an_installed_module_needs_no_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """Without native/build.py beside the package there is nothing to compare with."""
    monkeypatch.setattr(binding, "__file__", f"{tmp_path}/secagg/arithmetic/binding.py")
    monkeypatch.setattr(binding, "lib", None)
    binding._check_fresh()
