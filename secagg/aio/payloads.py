"""Reads what a payload of the server is from its first bytes: an event loop looks at no more."""

import struct
from dataclasses import dataclass
from typing import Final

from ..drivers.envelope import NO_SESSION, VERSION, Kind, is_envelope
from ..machine.wire import HEADER_BYTES, SESSION_BYTES

_SESSION_AT: Final = HEADER_BYTES - SESSION_BYTES
_BODY_AT: Final = 4  # after magic, version and kind


@dataclass(frozen=True, slots=True)
class Payload:
    """The kind of a payload and the session that it is about, by the server's word.

    Attributes:
        data: the payload.
        kind: the kind of the envelope; None for a message, or what is neither.
        session: the session; `NO_SESSION` if there is none.
        task: bytes of the task in an `Ask`.
    """

    data: bytes
    kind: Kind | None
    session: bytes
    task: int = 0


def read_payload(data: bytes) -> Payload:
    """Returns what a payload is; it may still be malformed."""
    if not is_envelope(data):
        return Payload(data, None, _session(data, 0))
    known = data[2:3] == bytes((VERSION,)) and data[3] in list(Kind) if len(data) > 3 else False
    kind = Kind(data[3]) if known else None
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


def _session(data: bytes, at: int) -> bytes:
    """Returns the session in the header of a message that begins there."""
    session = data[at + _SESSION_AT : at + HEADER_BYTES]
    return session if len(session) == SESSION_BYTES else NO_SESSION
