"""Secrets do not print, travel or stay."""

import copy
import gc
import json
import logging
import pickle
import pprint
import traceback
import weakref
from dataclasses import asdict, dataclass

import pytest

from secagg.primitives.secret import Secret

BYTES = b"\xc3unmistakable\x99"
TRACES = ("unmistakable", BYTES.hex(), repr(BYTES), repr(bytearray(BYTES)), str(list(BYTES)))


def shows_nothing(text: str) -> bool:
    """Returns whether no form of the bytes is in the text."""
    return not any(trace in text for trace in TRACES)


@dataclass
class Holder:
    """A dataclass with a secret among its fields, like the states of a client."""

    name: str
    secret: Secret


def test_the_bytes_are_there_until_wiped() -> None:
    """expose gives them, of bytes and of bytearrays, as a copy."""
    given = bytearray(BYTES)
    secret = Secret(given)
    given[:] = bytes(len(given))
    assert secret.expose() == Secret(BYTES).expose() == BYTES
    assert type(secret.expose()) is bytes


def test_no_way_to_print_shows_the_bytes(caplog: pytest.LogCaptureFixture) -> None:
    """repr, str, format, %, pprint, logging, and the same of what holds it."""
    secret = Secret(BYTES)
    logging.getLogger("test").warning("%s %r %s", secret, secret, [secret])
    texts = [
        *(repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", "%s %r" % (secret, secret)),  # noqa: UP031
        *(repr([secret]), str({"a": (secret,)}), pprint.pformat({"a": [secret]})),
        *(repr(Holder("h", secret)), str(Holder("h", secret)), ascii(secret), caplog.text),
    ]
    assert all(shows_nothing(text) for text in texts)
    assert repr(secret) == "<Secret>"
    assert not shows_nothing(repr(BYTES))  # the check can fail


def test_a_traceback_with_locals_does_not_show_the_bytes() -> None:
    """As a crash reporter prints them."""

    def fail(secret: Secret) -> None:
        holder = Holder("h", secret)
        raise RuntimeError(f"with {holder}")

    try:
        fail(Secret(BYTES))
    except RuntimeError as error:
        report = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )
    assert "<Secret>" in report
    assert shows_nothing(report)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_secrets_are_not_pickled(protocol: int) -> None:
    """Alone or inside something, with any protocol."""
    for thing in (Secret(BYTES), [Secret(BYTES)], Holder("h", Secret(BYTES))):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            pickle.dumps(thing, protocol)


def test_secrets_are_not_copied() -> None:
    """Neither shallow nor deep, nor by way of asdict or JSON."""
    secret = Secret(BYTES)
    for attempt in (
        lambda: copy.copy(secret),
        lambda: copy.deepcopy(secret),
        lambda: copy.deepcopy([secret]),
        lambda: asdict(Holder("h", secret)),
        lambda: secret.__reduce_ex__(4),
        secret.__reduce__,
    ):
        with pytest.raises(TypeError) as caught:
            attempt()
        assert shows_nothing(str(caught.value))
    with pytest.raises(TypeError):
        json.dumps({"secret": secret})


def test_secrets_are_no_bytes_and_no_keys() -> None:
    """They turn into bytes in no other way than expose, and have no hash to look them up by."""
    secret = Secret(BYTES)
    for attempt in (bytes, len, list, memoryview, vars, hash, bytearray):
        with pytest.raises(TypeError):
            attempt(secret)  # type: ignore[operator]
    with pytest.raises(AttributeError):
        secret.more = 1  # type: ignore[attr-defined]


def test_equality() -> None:
    """By content, between secrets only."""
    assert Secret(BYTES) == Secret(bytearray(BYTES))
    assert Secret(BYTES) != Secret(BYTES[:-1])
    assert Secret(BYTES) != Secret(BYTES[:-1] + b"x")
    assert Secret(BYTES) != BYTES
    assert Secret(BYTES) != object()


class Witness(bytearray):
    """A buffer that remembers what was in it when it was given up."""

    seen: bytes | None = None

    def clear(self) -> None:
        self.seen = bytes(self)
        super().clear()


def test_wiping_overwrites_the_buffer_itself() -> None:
    """Zeros are written over the bytes before the buffer is given up."""
    secret = Secret(BYTES)
    buffer = secret._data = Witness(BYTES)
    secret.wipe()
    assert buffer.seen == bytes(len(BYTES))
    assert len(buffer) == 0


def test_a_wiped_secret_gives_nothing() -> None:
    """And says so; wiping again is harmless."""
    secret = Secret(BYTES)
    secret.wipe()
    for _ in range(2):
        with pytest.raises(ValueError, match="wiped") as caught:
            secret.expose()
        assert shows_nothing(str(caught.value))
        secret.wipe()
    assert repr(secret) == "<Secret>"
    assert secret != Secret(BYTES)


def test_a_forgotten_secret_is_wiped() -> None:
    """Its last reference gone, so are the bytes."""
    secret = Secret(BYTES)
    buffer = secret._data = Witness(BYTES)
    del secret
    gc.collect()
    assert buffer.seen == bytes(len(BYTES))


def test_a_secret_in_a_cycle_is_wiped_too() -> None:
    """The collector takes it, and the bytes go."""

    class Node:
        pass

    node = Node()
    secret = Secret(BYTES)
    buffer = secret._data = Witness(BYTES)
    node.me, node.secret = node, secret  # type: ignore[attr-defined]
    gone = weakref.ref(node)
    del node, secret
    gc.collect()
    assert gone() is None
    assert buffer.seen == bytes(len(BYTES))


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_what_is_no_bytes_is_refused_cleanly() -> None:
    """A text is refused at construction, and the half-made object goes without a word."""
    for wrong in ("text", None, 1.5):
        with pytest.raises(TypeError):
            Secret(wrong)  # type: ignore[arg-type]
    gc.collect()
