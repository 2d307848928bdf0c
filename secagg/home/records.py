"""Records of a home as bytes: of a party, of a server, a driver's note, and failed trainings.

The head, in clear, has kind, time and stage, so that records that may go are found without a key.
What follows is sealed. Only the version of the library that wrote a record needs to read it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from ..codes import Code
from ..drivers.responder import MARK_BYTES
from ..errors import SERVER, StateError
from ..machine.sealing import Sealer
from ..machine.storage import (
    BYTES,
    FLAG,
    TEXT,
    Table,
    bytes_of,
    list_of,
    number_below,
    read_attributes,
    read_whole,
    write_attributes,
)
from ..machine.wire import SESSION_BYTES, Reader, u8, u64
from ..params.params import MAX_COHORT

_MAGIC: Final = b"SH"
_LAYOUT: Final = 1
_MOST_MESSAGES: Final = 16  # that one round sends to a party


class UselessStateError(StateError):
    """Stored state of one round does not serve; this costs the round, not the home."""


class Kind(IntEnum):
    """The kind of a record."""

    PARTY = 1
    SERVER = 2
    NOTE = 3
    FAILURES = 4  # of a party's trainings: one record for all rounds


class Stage(IntEnum):
    """The stage of a party in a round."""

    GOING = 0  # the kinds of a server have this one only
    OVER = 1  # nothing but its last answer is left
    JOINED = 2  # no message has come since the invitation


class Head(NamedTuple):
    """The beginning of a record.

    Attributes:
        kind: what it is of.
        session: of the round.
        at: when it was stored, in nanoseconds since 1970.
        stage: of a party in the round.
        rest: the sealed part.
    """

    kind: Kind
    session: bytes
    at: int
    stage: Stage
    rest: bytes


def key_of(kind: Kind, session: bytes) -> bytes:
    """Returns the key (16 bytes) under which a store has a record.

    Each kind has its own, so no server can choose a session whose record of a party takes the place
    of another kind's.
    """
    return hashlib.blake2b(session, digest_size=SESSION_BYTES, salt=bytes([kind])).digest()


def write_record(
    kind: Kind, session: bytes, at: int, sealed: bytes, *, stage: Stage = Stage.GOING
) -> bytes:
    """Returns a record as bytes."""
    return _MAGIC + u8(_LAYOUT) + u8(kind) + session + u64(at) + u8(stage) + sealed


def read_head(data: bytes) -> Head:
    """Reads what every record begins with.

    Raises:
        StateError: it is no record, or one of another version.
    """
    if not data.startswith(_MAGIC):
        raise StateError("these bytes are no state that a home has stored", Code.FOREIGN_FILE)

    def read(reader: Reader) -> Head:
        reader.take(len(_MAGIC))
        if (layout := reader.u8()) != _LAYOUT:
            raise StateError(
                f"this state was stored by another version of the library (layout {layout}, here "
                f"{_LAYOUT}): the round can go on with that version only",
                Code.VERSION,
            )
        kind = Kind(reader.u8())
        return Head(
            kind, reader.take(SESSION_BYTES), reader.u64(), Stage(reader.u8()), reader.rest()
        )

    return read_whole(Reader(data, SERVER), read)


@dataclass
class PartyRecord:
    """The memory of a party of a round between two payloads.

    Attributes:
        session: of the round.
        offer: the round, as it was offered.
        index: its place in the cohort.
        members: indices of the cohort in its pins, or empty.
        attempt: number of the attempt.
        seen: digests of the messages that it has accepted, in order.
        reply: its answer to the last of them, or its first message; b"" if it is not kept.
        waiting: whether its input is asked for.
        code, reason: of its refusal; "" if it goes on.
        client: the suspended client; b"" once its part is over.
        marks: digests of the records that may be in the store in its place: what it was read from,
            and what was to be stored since. It is not stored itself.
    """

    session: bytes
    offer: bytes
    index: int
    members: list[int] = field(default_factory=list)
    attempt: int = 0
    seen: list[bytes] = field(default_factory=list)
    reply: bytes = b""
    waiting: bool = False
    code: str = ""
    reason: str = ""
    client: bytes = b""
    marks: set[bytes] = field(default_factory=set)

    @property
    def stage(self) -> Stage:
        """The stage of the party."""
        if not self.client:
            return Stage.OVER
        return Stage.GOING if self.seen else Stage.JOINED


_PARTY: Final[Table] = {
    "session": bytes_of(SESSION_BYTES),
    "offer": BYTES,
    "index": number_below(MAX_COHORT),
    "members": list_of(number_below(MAX_COHORT), MAX_COHORT),
    "attempt": number_below(2**63),
    "seen": list_of(bytes_of(MARK_BYTES), _MOST_MESSAGES),
    "reply": BYTES,
    "waiting": FLAG,
    "code": TEXT,
    "reason": TEXT,
    "client": BYTES,
}
_PARTY_SEALER: Final = Sealer("secagg party of a round", layout=1)
_NOTE_SEALER: Final = Sealer("secagg note", layout=1)
_FAILURES_SEALER: Final = Sealer("secagg failed trainings", layout=1)


def seal_party(record: PartyRecord, key: bytes) -> bytes:
    """Returns the sealed part of a party's record."""
    return _PARTY_SEALER.seal(key, write_attributes(_PARTY, record))


def open_party(head: Head, key: bytes) -> PartyRecord:
    """Opens a party's record.

    Raises:
        StateError: it is of another kind, another key or another round, or was altered.
    """
    _, reader = _PARTY_SEALER.open(key, head.rest)
    values = read_whole(reader, lambda body: read_attributes(_PARTY, body))
    if values["session"] != head.session:
        raise StateError("the state that is stored is of another round", Code.CORRUPT)
    return PartyRecord(**values)


def seal_note(session: bytes, note: bytes, key: bytes) -> bytes:
    """Returns the sealed part of a note's record."""
    return _NOTE_SEALER.seal(key, session + note)


def open_note(head: Head, key: bytes) -> bytes:
    """Opens a note.

    Raises:
        StateError: it is of another key or round, or was altered.
    """
    _, reader = _NOTE_SEALER.open(key, head.rest)
    if reader.take(SESSION_BYTES) != head.session:
        raise StateError("the note that is stored is of another round", Code.CORRUPT)
    return reader.rest()


def seal_failures(sessions: Iterable[bytes], key: bytes) -> bytes:
    """Returns the sealed part of the record of failed trainings."""
    return _FAILURES_SEALER.seal(key, b"".join(sessions))


def open_failures(head: Head, key: bytes) -> list[bytes]:
    """Opens the record of failed trainings; returns the sessions of their rounds.

    Raises:
        StateError: it is of another key, or was altered.
    """
    _, reader = _FAILURES_SEALER.open(key, head.rest)
    return [reader.take(SESSION_BYTES) for _ in range(reader.size // SESSION_BYTES)]
