"""An input that comes in chunks: the same message as the whole vector's, in little memory."""

import itertools
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from harness import MODES, SteppedRound, clone, locals_kept, state_of
from hypothesis import given
from hypothesis import strategies as st
from levels import runs_at
from refusals import refused

from secagg import (
    Client,
    Code,
    FixedPoint,
    Integers,
    LocalProtocolError,
    Mode,
    ParameterError,
    Params,
    Phase,
    RangeError,
    Server,
    Suite,
)
from secagg.encoding import chunks as pieces

LENGTH = 203
FORMATS = {
    "fixed point": FixedPoint(1.0),
    "in wide elements": FixedPoint(1.0, 32),
    "weighted": FixedPoint(1.0, 15, 40),
    "integers": Integers(-1000, 1000),
    "wide integers": Integers(-(2**40), 2**40),
}


def awaiting(params: Params) -> Client:
    """Party 1 of a round, which waits for its input."""
    stepped = SteppedRound(params)
    stepped.to_server(stepped.until(Phase.SHARE_KEYS))
    client = stepped.clients[1]
    client.receive(stepped.outbox[1])
    return client


@cache
def staged(mode: Mode, name: str, length: int = LENGTH) -> Client:
    """The same, once for all tests, which submit to copies of it."""
    suite = Suite.CHACHA20 if name == "weighted" else Suite.AES256CTR
    return awaiting(Params(4, length, FORMATS[name], threshold=3, mode=mode, suite=suite))


def values_for(name: str) -> np.ndarray:
    """An input: floats of which some are clipped though few enough for no warning, or integers."""
    rng = np.random.default_rng(len(name))
    if "integers" in name:
        return rng.integers(-1000, 1000, LENGTH)
    values = rng.uniform(-1, 1, LENGTH).astype(np.float32)
    values[[0, -1]] = 5.0, -7.0
    return values


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 64 elements, so that short vectors have several."""
    monkeypatch.setattr(pieces, "PIECE", 64)


@given(st.data(), st.sampled_from(MODES), st.sampled_from(sorted(FORMATS)))
def test_the_message_is_that_of_the_whole_vector(
    data: st.DataObject, mode: Mode, name: str
) -> None:
    """Any cuts, with empty chunks and chunks of one; arrays of any layout and dtype, and lists."""
    values = values_for(name)
    cuts = sorted(data.draw(st.lists(st.integers(0, LENGTH), max_size=12)))
    weight = data.draw(st.integers(1, FORMATS[name].max_weight))
    whole, chunked = clone(staged(mode, name)), clone(staged(mode, name))
    wide = np.int64 if "integers" in name else np.float64
    shapes: list[Callable[[np.ndarray], object]] = [
        *(np.array, np.ndarray.tolist, lambda x: x.astype(wide), lambda x: x[::-1].copy()[::-1]),
        *(lambda x: x.astype(x.dtype.newbyteorder(">")), lambda x: np.stack([x, x], 1)[:, 1]),
    ]
    chunks = (data.draw(st.sampled_from(shapes))(x) for x in np.split(values, cuts))
    assert chunked.submit(chunks, weight) == whole.submit(values, weight)
    assert chunked.clipped == whole.clipped == (0 if "integers" in name else 2)
    assert state_of(chunked) == state_of(whole)


def test_chunks_of_one_and_one_chunk() -> None:
    """The shortest and the longest; an iterator of any kind."""
    values, staging = values_for("fixed point"), staged(Mode.MALICIOUS, "fixed point")
    wanted = clone(staging).submit(values)
    for chunks in (iter(values[:, None]), iter([values]), map(np.array, [values[:9], values[9:]])):
        assert clone(staging).submit(chunks) == wanted


def test_what_is_no_iterator_is_one_vector() -> None:
    """A list of numbers, as ever; and NumPy's flat, an iterator that is an array as well."""
    values, staging = values_for("fixed point"), staged(Mode.SEMI_HONEST, "fixed point")
    wanted = clone(staging).submit(values)
    assert clone(staging).submit(values.reshape(7, 29).flat) == wanted
    assert clone(staging).submit(values.tolist()) == wanted
    for several in ([values[:100], values[:103]], {"a": values}):
        with refused(RangeError, Code.SHAPE, "secagg.Layout"):
            clone(staging).submit(several)


class BrokenError(Exception):
    """Stands for any exception of the iterator of an application."""


def failing(values: np.ndarray, error: BaseException | type[BaseException]) -> Iterator[np.ndarray]:
    yield values[:150]
    raise error


BAD: dict[str, tuple[Callable[[np.ndarray], Iterator[object]], Code, str]] = {
    "too few": (lambda x: iter([x[:100], x[100:-1]]), Code.SHAPE, "203 values.* 202"),
    "none at all": (lambda x: iter([]), Code.SHAPE, "203 values.* 0"),
    "one too many": (lambda x: iter([x, x[:1]]), Code.SHAPE, "203 values.* 204"),
    "for ever": (lambda x: itertools.repeat(x[:100]), Code.SHAPE, "203 values.* 300"),
    "NaN in the middle": (
        lambda x: iter([x[:150], np.full(10, np.nan), x[160:]]),
        Code.NOT_FINITE,
        "NaN",
    ),
    "complex": (lambda x: iter([x[:150], x[150:] * 1j]), Code.DTYPE, "complex"),
    "text": (
        lambda x: iter([x[:150], "text"]),
        Code.DTYPE,
        "neither an array nor a number",
    ),
    "nothing": (
        lambda x: iter([x[:150], None]),
        Code.DTYPE,
        "neither an array nor a number",
    ),
    "numbers": (
        lambda x: iter(x.tolist()),
        Code.SHAPE,
        "each chunk of an input must have one dimension",
    ),
    "rows": (
        lambda x: iter([x[:196].reshape(14, 14), x[196:]]),
        Code.SHAPE,
        "each chunk of an input must have one dimension",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_chunks_change_nothing(name: str) -> None:
    """Wherever they come: no mask was used, nothing is kept, and the client still awaits."""
    chunks, code, match = BAD[name]
    values, staging = values_for("fixed point"), staged(Mode.MALICIOUS, "fixed point")
    client = clone(staging)
    with refused(RangeError, code, match=match) as caught:
        client.submit(chunks(values))  # type: ignore[arg-type]
    assert locals_kept(caught.value) == []
    assert (client.state, client.clipped) == (staging.state, 0)
    client._steps._random.drawn = staging._steps._random.drawn  # type: ignore[attr-defined]
    assert state_of(client) == state_of(staging)
    assert client.submit(iter([values])) == clone(staging).submit(values)


def test_integers_out_of_range_in_a_chunk() -> None:
    """As in a vector; floats are no integers in a chunk, either, and an empty list is nothing."""
    values, staging = values_for("integers"), staged(Mode.SEMI_HONEST, "integers")
    client = clone(staging)
    with refused(RangeError, Code.OUT_OF_RANGE):
        client.submit(iter([values[:150], values[150:] + 5000]))
    with refused(RangeError, Code.DTYPE):
        client.submit(iter([values[:150], values[150:] * 1.0]))
    assert client.submit(iter([[], values, []])) == clone(staging).submit(values)


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt, MemoryError, StopIteration])
def test_an_iterator_may_raise(error: type[BaseException]) -> None:
    """The caller gets its exception, with nothing of the library in it, and may submit again."""
    values, staging = values_for("weighted"), staged(Mode.MALICIOUS, "weighted")
    client = clone(staging)
    with pytest.raises(RuntimeError if error is StopIteration else error) as caught:
        client.submit(failing(values, error), 3)
    assert locals_kept(caught.value) == []
    client._steps._random.drawn = staging._steps._random.drawn  # type: ignore[attr-defined]
    assert state_of(client) == state_of(staging)
    assert client.submit(iter([values]), 3) == clone(staging).submit(values, 3)


def test_the_iterator_may_not_call_the_client() -> None:
    """It runs in the middle of a call, which goes on with the masks."""
    values, staging = values_for("fixed point"), staged(Mode.MALICIOUS, "fixed point")
    client = clone(staging)
    for call in (client.wipe, lambda: client.submit(values)):
        with refused(LocalProtocolError, Code.REENTRANT):
            client.submit(call() or part for part in (values,))
    assert client.state is staging.state


def test_one_chunk_is_held_at_a_time() -> None:
    """When the next one is asked for, the library has no reference to the one before."""
    values, client = values_for("fixed point"), clone(staged(Mode.SEMI_HONEST, "fixed point"))

    def chunks() -> Iterator[np.ndarray]:
        for part in np.split(values, [70, 140]):
            chunk = part.copy()
            held = weakref.ref(chunk)
            yield chunk
            del chunk
            assert held() is None

    client.submit(chunks())


def peak_of(length: int, size: int, weight: int) -> tuple[int, int]:
    """The most memory that masking a vector took, and the bytes of the message."""
    form = FixedPoint(1.0, 16, weight)
    client = awaiting(Params(3, length, form, min_survivors=3, colluders=1))
    chunk = np.full(size, 0.5, np.float32)
    tracemalloc.start()
    try:
        message = client.submit((chunk.copy() for _ in range(length // size)), weight)
        return tracemalloc.get_traced_memory()[1], len(message)
    finally:
        tracemalloc.stop()


@runs_at("vectors in chunks")
def test_memory_does_not_grow_with_the_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """50 million values in chunks of a million: the message, and less than three chunks."""
    monkeypatch.undo()
    for weight in (1, 2**20):
        peak, message = peak_of(50_000_000, 1_000_000, weight)
        assert peak < message + 3 * 4_000_000


def test_a_short_vectors_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in small: a copy of the message or of the vector would show."""
    monkeypatch.setattr(pieces, "PIECE", 2**13)
    peak, message = peak_of(400_000, 10_000, 1)
    assert peak < message + 250_000


def test_a_message_that_no_hash_takes_is_refused_before_there_are_secrets() -> None:
    """4 GiB, with lengths of 32 bits; a byte less is taken."""
    form = FixedPoint(1.0, bits=29)  # elements of 32 bits
    agreed = Params(5, 2**30, form, threshold=3).round()
    for make in (Server, lambda agreed: Client(agreed, 0)):
        with refused(ParameterError, Code.HEADROOM, "4294967296 bytes"):
            make(agreed)
    assert Client(Params(5, 2**30 - 1, form, threshold=3).round(), 0)
