"""Reads what a payload of the server is from its first bytes: an event loop looks at no more."""

import struct
from dataclasses import dataclass
from typing import Final

from ..drivers.envelope import NO_SESSION, VERSION, Kind, Over, Rejection, is_envelope, opened
from ..errors import SERVER, RemoteProtocolError
from ..machine.wire import HEADER_BYTES, SESSION_BYTES

_SESSION_AT: Final = HEADER_BYTES - SESSION_BYTES
_BODY_AT: Final = 4  # after magic, version and kind


@dataclass(frozen=True, slots=True)
class Payload:
    """The kind of a payload and the session that it is about, by the server's word.

    Attributes:
        data: the payload.
        kind: the kind of the envelope; None for a message, or what is neither. It is `OVER` or
            `REJECTION` only if the whole envelope is right: these are acted upon at once.
        session: the session; `NO_SESSION` if there is none.
        task: bytes of the task in an `Ask`.
        said: the envelope, if it is one of these two.
    """

    data: bytes
    kind: Kind | None
    session: bytes
    task: int = 0
    said: Over | Rejection | None = None


def read_payload(data: bytes) -> Payload:
    """Returns what a payload is; it may still be malformed."""
    if not is_envelope(data):
        return Payload(data, None, _session(data, 0))
    kind = _kind(data)
    if kind in (Kind.OVER, Kind.REJECTION):
        return _read_whole(data)
    try:
        if kind is Kind.INVITATION:
            (members,) = struct.unpack_from("<I", data, _BODY_AT + 8)
            return Payload(data, kind, _session(data, _BODY_AT + 12 + 4 * members))
        if kind is Kind.ASK:
            (task,) = struct.unpack_from("<Q", data, _BODY_AT)
            return Payload(data, kind, _session(data, _BODY_AT + 8 + task), task)
    except struct.error:  # too short
        return Payload(data, kind, NO_SESSION)
    return Payload(data, kind, _session(data, 0))


def _read_whole(data: bytes) -> Payload:
    try:
        said = opened(data, SERVER)
    except RemoteProtocolError:  # nothing of it is used
        return Payload(data, None, NO_SESSION)
    assert isinstance(said, Over | Rejection)  # noqa: S101  # by its kind
    return Payload(data, said.kind, said.session, said=said)


def _kind(data: bytes) -> Kind | None:
    """Returns the kind of an envelope, None of one of another version: a rejection has all."""
    version, kind = data[2:3], data[3:4]
    if version != bytes((VERSION,)) and kind != bytes((Kind.REJECTION,)):
        return None
    return Kind(kind[0]) if kind and kind[0] in list(Kind) else None


def _session(data: bytes, at: int) -> bytes:
    """Returns the session in the header of a message that begins there."""
    session = data[at + _SESSION_AT : at + HEADER_BYTES]
    return session if len(session) == SESSION_BYTES else NO_SESSION
