"""The first envelope on a connection, and whether two versions of the library understand it."""

from functools import cache
from importlib import metadata

from ..codes import Code
from ..drivers.envelope import NO_SESSION, VERSION, Hello, Rejection, is_envelope, opened, seal
from ..errors import SERVER, RemoteProtocolError
from ..machine.wire import VERSION as WIRE_VERSION


def hello(name: str = "", verify_key: bytes = b"") -> bytes:
    """Returns the first envelope of a client on a connection."""
    return seal(Hello(name, _library(), verify_key=verify_key))


def is_hello(data: bytes) -> bool:
    """Returns whether these bytes are a client's first envelope, of whatever version."""
    return is_envelope(data) and data[3:4] == bytes((Hello.kind,))


def rejection(data: bytes) -> Rejection | None:
    """Returns the answer to a peer whose first message is no greeting that this side understands.

    The version comes first: an envelope of another one is not read any further.
    """
    ours = f"this server has secagg {_library()} with envelopes {VERSION} and wire {WIRE_VERSION}"
    if not is_envelope(data):
        return _rejection("the first message of a connection must be a Hello", Code.MALFORMED)
    if len(data) > 2 and data[2] != VERSION:
        return _rejection(f"{ours}, the client sent envelope version {data[2]}")
    try:
        greeting = opened(data, SERVER)
    except RemoteProtocolError as error:
        return _rejection(error.reason, error.code)
    if not isinstance(greeting, Hello):
        return _rejection("the first message of a connection must be a Hello", Code.MALFORMED)
    if WIRE_VERSION not in greeting.wire:
        theirs = ", ".join(map(str, greeting.wire)) or "none"
        return _rejection(f"{ours}, the client has secagg {greeting.library} with wire {theirs}")
    return None


def _rejection(reason: str, code: Code = Code.VERSION) -> Rejection:
    return Rejection(NO_SESSION, code, reason)


@cache  # it reads files, and every greeting asks for it
def _library() -> str:
    try:
        return metadata.version("secagg")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "unknown"
