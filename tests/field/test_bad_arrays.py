"""Arrays that the core cannot take as they are: copied or refused, and never written to.

The last part puts arrays right before and right after pages that may not be touched, so that one
byte read or written too far ends the process.
"""

import ctypes
import mmap
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from reference import mask
from refusals import refused
from support import UNKNOWN_GENERATOR, every_cipher, every_width, implementations, looped

from secagg import Code, Field, RangeError, Suite
from secagg.arithmetic.binding import by_lane, ffi, lib, read, write
from secagg.arithmetic.moduli import modulus
from secagg.arithmetic.noise import add_skellam, sum_squares
from secagg.arithmetic.rotation import norm
from secagg.noise.discrete_gaussian import DiscreteGaussian
from secagg.noise.samplers import sampler
from secagg.primitives.prg import stream

ENDS = (16, 31, 32, 33, 61, 62)  # of both lanes
KEY = bytes(range(32))
Operation = Callable[[Field, np.ndarray], object]

both_ends = looped("bits", ENDS)

# Every operation that reads a vector, with one argument left open.
READERS: dict[str, Operation] = {
    "vector": lambda field, a: field.vector(a),
    "add, first": lambda field, a: field.add(a, field.zeros(a.size)),
    "add, second": lambda field, a: field.add(field.zeros(a.size), a),
    "sub, first": lambda field, a: field.sub(a, field.zeros(a.size)),
    "sub, second": lambda field, a: field.sub(field.zeros(a.size), a),
    "neg": lambda field, a: field.neg(a),
    "scale": lambda field, a: field.scale(a, 1),
    "sum": lambda field, a: field.sum(a.reshape(1, -1)),
    "pack": lambda field, a: field.pack(a),
}
# Every operation that changes an array in place or fills one, with that argument left open.
WRITERS: dict[str, Operation] = {
    "add": lambda field, out: field.add(field.zeros(4), field.zeros(4), out=out),
    "sub": lambda field, out: field.sub(field.zeros(4), field.zeros(4), out=out),
    "neg": lambda field, out: field.neg(field.zeros(4), out=out),
    "scale": lambda field, out: field.scale(field.zeros(4), 2, out=out),
    "sum": lambda field, out: field.sum(np.zeros((2, 4), field.dtype), out=out),
    "accumulate": lambda field, acc: field.accumulate(acc, [KEY], [1], Suite.AES256CTR.generator),
    "unpack_add": lambda field, acc: field.unpack_add(acc, field.pack(field.zeros(4))),
    "skellam": lambda field, acc: sampler(1, 5).add(field, acc, Suite.AES256CTR.generator, KEY),
    "gaussian": lambda field, acc: sampler(2, 5).add(field, acc, Suite.AES256CTR.generator, KEY),
}

every_reader = looped("name", READERS)
every_writer = looped("name", WRITERS)


def sample(field: Field) -> np.ndarray:
    """Four elements, the largest one among them."""
    return np.array([0, 1, 12345, field.modulus - 1], field.dtype)


def unaligned(values: np.ndarray) -> np.ndarray:
    """The same values at an odd address."""
    room = bytearray(values.nbytes + 1)
    array = np.frombuffer(room, values.dtype, values.size, offset=1)
    array[:] = values
    assert not array.flags.aligned
    return array


def unusual_layouts(values: np.ndarray) -> dict[str, np.ndarray]:
    """The same values in layouts and dtypes that the core does not read in place."""
    spread = np.full(2 * values.size, 99, values.dtype)
    spread[::2] = values
    frozen = values.copy()
    frozen.flags.writeable = False
    return {
        "read-only": frozen,
        "strided": spread[::2],
        "backwards": values[::-1].copy()[::-1],
        "byte-swapped": values.astype(values.dtype.newbyteorder(">")),
        "int64": values.astype(np.int64),
        "uint64": values.astype(np.uint64),
        "unaligned": unaligned(values),
        "big-endian int64": values.astype(">i8"),
        "column": np.stack([values, values], axis=1)[:, 0],
    }


# -- inputs -----------------------------------------------------------------------------------


@every_reader
@both_ends
def test_any_layout_is_read_and_not_written_to(name: str, bits: int) -> None:
    """Strided, swapped, read-only, unaligned and wider arrays give what a plain one gives."""
    field = Field(bits)
    values = sample(field)
    wanted = READERS[name](field, values.copy())
    for layout, array in unusual_layouts(values).items():
        before = array.tobytes()
        got = READERS[name](field, array)
        assert np.array_equal(got, wanted), layout
        assert array.tobytes() == before, layout
        assert np.array_equal(array, values), layout


@looped("layout", unusual_layouts(sample(Field(20))))
def test_what_the_core_gets_it_can_read_in_place(layout: str) -> None:
    """vector() gives aligned, native and contiguous arrays only, whatever it is given."""
    for bits in ENDS:
        field = Field(bits)
        got = field.vector(unusual_layouts(sample(field))[layout])
        assert got.dtype == field.dtype
        assert got.flags.c_contiguous
        assert got.flags.aligned
        assert got.dtype.isnative


@both_ends
def test_a_good_array_is_not_copied(bits: int) -> None:
    """vector() gives the caller's own array where the core can read it, and takes any iterable."""
    field = Field(bits)
    values = sample(field)
    assert field.vector(values) is values
    assert field.vector(values.tolist()).tolist() == values.tolist()
    assert field.vector(iter(values.tolist())).tolist() == values.tolist()


@every_reader
@both_ends
def test_values_outside_the_field_are_refused(name: str, bits: int) -> None:
    """p, 2^b, the lane's greatest value and negative ones, at the front, inside and at the end."""
    field = Field(bits)
    lane = 8 * field.dtype.itemsize
    for bad in {field.modulus, (1 << bits) - 1, 1 << lane - 1, (1 << lane) - 1}:
        if bad < field.modulus:
            continue
        for place in (0, 3, 64, 99):
            array = np.zeros(100, field.dtype)
            array[place] = bad
            for given in (array, array.astype(np.uint64), array.astype(">u8")):
                before = given.tobytes()
                with pytest.raises(RangeError):
                    READERS[name](field, given)
                assert given.tobytes() == before
    for negative in (-1, -(2**31), -(2**63)):
        with pytest.raises(RangeError):
            READERS[name](field, np.array([1, negative, 1], np.int64))


@every_reader
@looped(
    "array",
    [
        np.array([1.0, 2.0]),
        np.array([np.nan, 1.0], np.float32),
        np.array([np.inf, -np.inf]),
        np.array([1j, 2]),
        np.array([True, False]),
        np.array([1, None], object),
        np.array([1, 2], object),
        np.array(["1", "2"]),
        np.array([1, 2], "m8[s]"),
    ],
)
def test_what_is_no_integer_is_refused(name: str, array: np.ndarray) -> None:
    """Floats (NaN and infinity among them), complex numbers, booleans, objects, texts, times."""
    for bits in (20, 40):
        with refused(RangeError, Code.DTYPE):
            READERS[name](Field(bits), array)


@pytest.mark.parametrize("wrong", [5, None, [[1], [2, 3]], [1, None], ["1"], {"a"}], ids=repr)
def test_what_is_no_sequence_of_integers_is_refused(wrong: object) -> None:
    """Numbers alone, ragged lists, texts: RangeError, not what NumPy or Python says."""
    with pytest.raises(RangeError):
        Field(20).vector(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("array", [np.zeros((2, 2), int), np.array(7), np.zeros((1, 4, 1), int)])
def test_other_dimensions_are_refused(array: np.ndarray) -> None:
    """A vector has one dimension; rows to sum have two."""
    for bits in (20, 40):
        field = Field(bits)
        for name, operation in READERS.items():
            if name not in {"sum", "add, second", "sub, second"}:
                with refused(RangeError, Code.SHAPE):
                    operation(field, array)
        with refused(RangeError, Code.SHAPE):
            field.add(field.zeros(4), array)
        if array.ndim != 2:
            with refused(RangeError, Code.SHAPE):
                field.sum(array)


@both_ends
def test_lengths_that_do_not_match_are_refused(bits: int) -> None:
    """No operation pads, repeats or broadcasts."""
    field = Field(bits)
    for name in ("add", "sub"):
        for a, b in ((3, 4), (4, 3), (0, 1), (1, 4)):
            with refused(RangeError, Code.SHAPE):
                getattr(field, name)(field.zeros(a), field.zeros(b))


@pytest.mark.parametrize("bits", [16, 62])
def test_scale_refuses_factors_outside_the_field(bits: int) -> None:
    """A factor is an element of the field."""
    field = Field(bits)
    for factor in (-1, field.modulus, 2**64):
        with refused(RangeError, Code.ARGUMENT, match="factor"):
            field.scale(field.zeros(4), factor)


def test_nothing_at_all_is_a_vector() -> None:
    """Empty vectors go through every operation, whatever dtype NumPy gives an empty list."""
    for bits in ENDS:
        field = Field(bits)
        assert field.vector([]).dtype == field.dtype
        empty = field.zeros(0)
        for result in (field.add(empty, empty), field.neg(empty), field.scale(empty, 5)):
            assert (result.shape, result.dtype) == ((0,), field.dtype)
        assert field.pack(empty) == b""
        assert field.unpack(b"", 0).shape == (0,)
        assert field.unpack_add(empty, b"") is empty
        assert field.sum(np.zeros((3, 0), field.dtype)).shape == (0,)
        assert field.sum(np.zeros((0, 3), field.dtype)).tolist() == [0, 0, 0]
        assert field.accumulate(empty, [KEY], [1], Suite.CHACHA20.generator) is empty
    assert repr(Field(20)) == "Field(20)"


# -- outputs ----------------------------------------------------------------------------------


def impossible_outputs(field: Field) -> dict[str, object]:
    """Returns what cannot be written in place as four elements."""
    frozen = field.zeros(4)
    frozen.flags.writeable = False
    return {
        "read-only": frozen,
        "strided": field.zeros(8)[::2],
        "backwards": field.zeros(4)[::-1],
        "byte-swapped": np.zeros(4, field.dtype.newbyteorder(">")),
        "unaligned": unaligned(field.zeros(4)),
        "the other lane": np.zeros(4, np.uint64 if field.bits <= 32 else np.uint32),
        "signed": np.zeros(4, f"i{field.dtype.itemsize}"),
        "float": np.zeros(4, f"f{field.dtype.itemsize}"),
        "matrix": np.zeros((2, 2), field.dtype),
        "scalar": np.array(1, field.dtype),
        "list": [0, 0, 0, 0],
    }


@every_writer
@looped("what", impossible_outputs(Field(20)))
def test_outputs_that_cannot_be_written_in_place_are_refused(what: str, name: str) -> None:
    """An output is exactly right or refused; the caller never gets a copy unawares."""
    for bits in ENDS:
        field = Field(bits)
        out = impossible_outputs(field)[what]
        before = np.array(out)
        with refused(RangeError, Code.BUFFER):
            WRITERS[name](field, out)  # type: ignore[arg-type]
        assert np.array_equal(np.array(out), before)


@every_writer
@both_ends
def test_outputs_of_another_length_are_refused(name: str, bits: int) -> None:
    """One element less or more is refused and left alone."""
    field = Field(bits)
    if name in ("accumulate", "skellam", "gaussian"):
        return  # the accumulator alone sets the length
    for length in (0, 3, 5):
        out = np.full(length, 7, field.dtype)
        with pytest.raises(RangeError, match="elements"):
            WRITERS[name](field, out)
        assert (out == 7).all()


@both_ends
def test_outputs_that_overlap_an_input_in_part_are_refused(bits: int) -> None:
    """The kernels may assume that arrays are the same or apart."""
    field = Field(bits)
    room = np.arange(20, dtype=field.dtype)
    before = room.copy()
    a, out, apart = room[:8], room[3:11], room[12:]
    for attempt in (
        lambda: field.add(a, apart, out=out),
        lambda: field.add(apart, a, out=out),
        lambda: field.sub(a, apart, out=out),
        lambda: field.sub(apart, a, out=out),
        lambda: field.neg(a, out=out),
        lambda: field.scale(a, 3, out=out),
        lambda: field.sum(room[:16].reshape(2, 8), out=out),
        lambda: field.sum(room[:16].reshape(2, 8), out=a),
    ):
        with refused(RangeError, Code.BUFFER):
            attempt()
        np.testing.assert_array_equal(room, before)
    field.add(a, apart, out=apart)
    np.testing.assert_array_equal(apart, before[:8] + before[12:])
    np.testing.assert_array_equal(room[:12], before[:12])


@both_ends
def test_accumulators_out_of_range_are_refused(bits: int) -> None:
    """The constant-time kernels need elements below p: a wild accumulator is refused untouched."""
    field = Field(bits)
    acc = field.zeros(70)
    acc[69] = field.modulus
    before = acc.copy()
    with pytest.raises(RangeError):
        field.accumulate(acc, [KEY], [1], Suite.AES256CTR.generator)
    with pytest.raises(RangeError):
        field.unpack_add(acc, field.pack(field.zeros(70)))
    np.testing.assert_array_equal(acc, before)


# -- masks ------------------------------------------------------------------------------------

BAD_MASKS: dict[str, tuple[list[bytes], list[int], int, int]] = {
    "a short key": ([KEY[:31]], [1], 1, 0),
    "a long key": ([KEY + b"x"], [1], 1, 0),
    "lengths that make up for each other": ([KEY[:31], KEY + b"x"], [1, 1], 1, 0),
    "an empty key": ([b""], [1], 1, 0),
    "fewer signs": ([KEY, KEY], [1], 1, 0),
    "more signs": ([KEY], [1, -1], 1, 0),
    "no key": ([], [1], 1, 0),
    "sign 0": ([KEY], [0], 1, 0),
    "sign 2": ([KEY], [2], 1, 0),
    "sign -128": ([KEY], [-128], 1, 0),
    "sign 257": ([KEY], [257], 1, 0),
    "sign 1.5": ([KEY], [1.5], 1, 0),  # type: ignore[list-item]
    "a second bad sign": ([KEY, KEY], [1, 3], 1, 0),
    "a negative start": ([KEY], [1], 1, -1),
    "a start of 2^64": ([KEY], [1], 1, 2**64),
    "an end beyond 2^64": ([KEY], [1], 1, 2**64 - 3),
    "generator 0": ([KEY], [1], 0, 0),
    "an unknown generator": ([KEY], [1], UNKNOWN_GENERATOR, 0),
}


@looped("what", BAD_MASKS)
@looped("bits", [20, 40])
def test_impossible_masks_are_refused(what: str, bits: int) -> None:
    """Keys, signs, starts and generators out of range: RangeError, the accumulator as it was."""
    field = Field(bits)
    acc = sample(field)
    keys, signs, generator, start = BAD_MASKS[what]
    with pytest.raises(RangeError):
        field.accumulate(acc, keys, signs, generator, start)
    assert acc.tolist() == sample(field).tolist()


def test_the_last_mask_elements_there_are() -> None:
    """An end of exactly 2^64 - 1 is the last possible one."""
    field = Field(40)
    start = 2**64 - 5
    got = field.uniform(KEY, 4, Suite.AES256CTR.generator, start).tolist()
    assert got == mask(Suite.AES256CTR, KEY, 40, start, 4)


# -- guard pages ------------------------------------------------------------------------------


class Guarded:
    """Memory between two pages that may not be touched."""

    PAGES = 5

    def __init__(self) -> None:
        size = mmap.PAGESIZE
        self._memory = mmap.mmap(-1, (self.PAGES + 2) * size)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._first, self._last = size, (self.PAGES + 1) * size
        for page in (0, self._last):
            self._protect(page, 0)  # PROT_NONE

    def _protect(self, offset: int, protection: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.c_void_p(self._base + offset)
        if libc.mprotect(address, ctypes.c_size_t(mmap.PAGESIZE), protection):
            raise OSError(ctypes.get_errno(), "mprotect")

    def array(self, values: np.ndarray, *, at_end: bool) -> np.ndarray:
        """A copy of the values that ends, or begins, right at a forbidden page."""
        assert values.nbytes <= self._last - self._first
        offset = self._last - values.nbytes if at_end else self._first
        array = np.frombuffer(self._memory, values.dtype, values.size, offset)
        array[:] = values
        return array

    def touch_behind(self) -> int:
        """Reads behind the end, as the tests below must not do."""
        return self._memory[self._last]


@pytest.fixture(scope="module")
def guarded() -> list[Guarded]:
    """One for each array of an operation."""
    return [Guarded() for _ in range(3)]


GUARD_SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("bad_arrays", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.Guarded().touch_behind()
"""


def test_the_guards_are_real() -> None:
    """A process that reads one byte behind the array dies: the tests below can fail."""
    import subprocess
    import sys
    from pathlib import Path

    done = subprocess.run(
        [sys.executable, "-c", GUARD_SCRIPT, __file__],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode < 0 or b"AddressSanitizer" in done.stderr, done.stderr.decode()


@both_ends
@pytest.mark.parametrize(
    "buffer",
    [lambda size: np.zeros((size, 0), np.uint8), lambda size: np.zeros(size, np.uint16)],
    ids=["no bytes", "too many"],
)
def test_buffers_are_measured_in_bytes(bits: int, buffer: Callable[[int], np.ndarray]) -> None:
    """The number that len() says of a buffer may be another one than its bytes."""
    field = Field(bits)
    acc = field.zeros(8)
    packed, key = buffer(field.packed_bytes(8)), buffer(len(KEY))
    calls: list[Callable[[], object]] = [
        lambda: field.unpack(packed, 8),  # type: ignore[arg-type]
        lambda: field.unpack_add(acc, packed),  # type: ignore[arg-type]
        lambda: field.accumulate(acc, [key], [1], Suite.AES256CTR.generator),  # type: ignore[list-item]
        lambda: stream(Suite.CHACHA20.generator, key, 8),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(RangeError):
            call()
    assert not acc.any()
    whole = field.pack(field.zeros(8))
    assert not field.unpack(np.frombuffer(whole, np.uint8), 8).any()  # type: ignore[arg-type]


def places(lengths: range) -> Iterator[tuple[int, bool]]:
    for length in lengths:
        yield length, True
        yield length, False


def edge_lengths(bits: int) -> range:
    """Every length up to some vectors of the widest registers, as far as the pages reach."""
    return range(140)


@implementations("pack")
@every_width
def test_packing_stays_inside(implementation: str, bits: int, guarded: list[Guarded]) -> None:
    """pack, unpack and unpack_add touch no byte before or behind their arrays."""
    field = Field(bits)
    whole = np.random.default_rng(bits).integers(0, field.modulus, 140).astype(field.dtype)
    for length, at_end in places(edge_lengths(bits)):
        values = guarded[0].array(whole[:length], at_end=at_end)
        data = guarded[1].array(np.frombuffer(field.pack(values), np.uint8), at_end=at_end)
        view = memoryview(data) if length else b""
        np.testing.assert_array_equal(field.unpack(view, length), values)  # type: ignore[arg-type]
        acc = guarded[2].array(whole[:length], at_end=at_end)
        function = by_lane("unpack", acc)
        status = function(
            ffi.from_buffer(f"uint{8 * acc.itemsize}_t[]", acc),
            ffi.from_buffer("uint8_t[]", data),
            length,
            bits,
        )
        assert status == lib.SA_OK
        np.testing.assert_array_equal(acc, values)
        field.unpack_add(acc, view)  # type: ignore[arg-type]
        np.testing.assert_array_equal(acc, field.add(values, values))
        data[:] = 0
        status = by_lane("pack", values)(
            ffi.from_buffer("uint8_t[]", data),
            ffi.from_buffer(f"uint{8 * acc.itemsize}_t[]", values),
            length,
            bits,
        )
        assert status == lib.SA_OK
        assert data.tobytes() == field.pack(whole[:length])


@implementations("field")
@both_ends
def test_arithmetic_stays_inside(implementation: str, bits: int, guarded: list[Guarded]) -> None:
    """add, sub, neg, scale, sum and masks touch nothing before or behind their arrays."""
    field = Field(bits)
    whole = np.random.default_rng(bits).integers(0, field.modulus, 140).astype(field.dtype)
    for length, at_end in places(edge_lengths(bits)):
        values = whole[:length]
        a, b, out = (memory.array(values, at_end=at_end) for memory in guarded)
        np.testing.assert_array_equal(field.add(a, b, out=out), field.scale(values, 2))
        assert not field.sub(a, b, out=out).any()
        np.testing.assert_array_equal(field.neg(a, out=out), field.neg(values))
        np.testing.assert_array_equal(field.scale(a, 5, out=out), field.scale(values, 5))
        if length % 3 == 0:
            rows = guarded[1].array(values, at_end=at_end).reshape(3, -1)
            total = guarded[2].array(values[: length // 3], at_end=at_end)
            np.testing.assert_array_equal(field.sum(rows, out=total), field.sum(rows.copy()))


@every_cipher()
@both_ends
def test_masks_stay_inside(cipher: Suite, bits: int, guarded: list[Guarded]) -> None:
    """accumulate writes its accumulator and nothing around it, from any start."""
    field = Field(bits)
    for length, at_end in places(edge_lengths(bits)):
        acc = guarded[0].array(np.zeros(length, field.dtype), at_end=at_end)
        field.accumulate(acc, [KEY, KEY, KEY], [1, -1, 1], cipher.generator, length)
        np.testing.assert_array_equal(acc, field.uniform(KEY, length, cipher.generator, length))


@every_cipher()
def test_streams_stay_inside(cipher: Suite, guarded: list[Guarded]) -> None:
    """Keystream of any length fills its bytes and none around them, in every implementation."""
    whole = stream(cipher.generator, KEY, 700, 1, 2)
    for length, at_end in places(range(700)):
        out = guarded[0].array(np.zeros(length, np.uint8), at_end=at_end)
        key = guarded[1].array(np.frombuffer(KEY, np.uint8), at_end=at_end)
        pointers = (ffi.from_buffer("uint8_t[]", array) for array in (out, key))
        target, secret = pointers
        assert lib.sa_stream(cipher.generator, target, length, secret, 1, 2) == lib.SA_OK
        assert out.tobytes() == whole[:length]


@implementations("quantize")
@looped("real", [np.float32, np.float64])
@looped("lane", [np.uint32, np.uint64])
def test_quantization_stays_inside(
    implementation: str, real: type, lane: type, guarded: list[Guarded]
) -> None:
    """quantize and dequantize touch nothing before or behind their arrays."""
    clipped = ffi.new("uint64_t *")
    whole = np.random.default_rng(1).uniform(-1.5, 1.5, 140).astype(real)
    for length, at_end in places(edge_lengths(16)):
        x = guarded[0].array(whole[:length], at_end=at_end)
        q = guarded[1].array(np.zeros(length, lane), at_end=at_end)
        key = guarded[2].array(np.frombuffer(KEY, np.uint8), at_end=at_end)
        secret = ffi.from_buffer("uint8_t[]", key)
        quantize = by_lane("quantize", x, q)
        status = quantize(
            *(write(q), read(x), length, 3, 1.0, 1.0, 2**20 - 1),
            *(lib.SA_AES256CTR, secret, clipped),
        )
        assert status == lib.SA_OK
        assert clipped[0] == int((abs(x) > 1).sum())
        status = by_lane("dequantize", q, x)(write(x), read(q), length, 2 / (2**20 - 1), 1.0)
        assert status == lib.SA_OK
        np.testing.assert_allclose(x, np.clip(whole[:length], -1, 1), atol=2.0**-19)


@implementations("rotate")
@looped("real", [np.float32, np.float64])
def test_rotations_stay_inside(implementation: str, real: type, guarded: list[Guarded]) -> None:
    """A rotation and a norm touch nothing before or behind their array."""
    whole = np.random.default_rng(2).integers(-9, 9, 140).astype(real)
    for length, at_end in places(edge_lengths(16)[1:]):
        x = guarded[0].array(whole[:length], at_end=at_end)
        secret = guarded[1].array(np.frombuffer(KEY, np.uint8), at_end=at_end)
        pointer = ffi.from_buffer("uint8_t[]", secret)
        for inverse in (0, 1):
            status = by_lane("rotate", x)(
                *(write(x), length, 1.0, inverse, lib.SA_CHACHA20, pointer)
            )
            assert status == lib.SA_OK
        np.testing.assert_allclose(x, whole[:length], atol=1e-4)
        assert norm(x) == pytest.approx(norm(whole[:length]), rel=1e-6)


@implementations("noise")
@both_ends
def test_noise_stays_inside(implementation: str, bits: int, guarded: list[Guarded]) -> None:
    """Samples are added to the elements and nothing around them; squares read these alone."""
    field = Field(bits)
    for count in (1, 7, 8, 1023, 1025):
        table = np.sort(np.random.default_rng(count).integers(0, 2**64, (2, count), np.uint64))
        for length, at_end in places((0, 1, 31, 33, 512, 515)):
            thresholds = guarded[0].array(table.reshape(-1), at_end=at_end).reshape(2, count)
            acc = guarded[1].array(np.ones(length, field.dtype), at_end=at_end)
            key = guarded[2].array(np.frombuffer(KEY, np.uint8), at_end=at_end)
            add_skellam(field, acc, thresholds, lib.SA_AES256CTR, memoryview(key))
            DiscreteGaussian(5).add(field, acc, lib.SA_AES256CTR, memoryview(key))
            acc[:] = np.arange(length)
            assert sum_squares(acc, 1) == sum((i - 1) ** 2 for i in range(length))


def test_the_moduli_of_these_tests() -> None:
    """The values that stand for "out of range" above are out of range."""
    for bits in ENDS:
        assert Field(bits).modulus == modulus(bits) < 1 << bits
