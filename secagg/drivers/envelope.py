"""Envelopes: what drivers tell each other about a round, which the protocol does not say.

`docs/DRIVERS.md` describes them byte by byte. A message of the protocol travels as it is, except
the one that asks for an input, which an `Ask` can carry together with the task. An envelope begins
with other bytes than a message. Nothing in it is trusted more than the transport is: a server can
lie in all of it, and a client decides by its own policy, pins and ledger.

What stays in all versions: magic, version and kind, and the body of a `Rejection`.
"""

import re
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import ClassVar, Final, Self

from .. import texts
from ..codes import Code
from ..errors import DecodeError, ParameterError
from ..identity.entries import NAME
from ..machine.wire import SESSION_BYTES, Reader, as_bytes, u8, u32, u64
from ..machine.wire import VERSION as WIRE_VERSION
from ..params.checks import require_bytes, require_int, whole

MAGIC: Final = b"SD"
VERSION: Final = 1
NO_SESSION: Final = bytes(SESSION_BYTES)
LARGEST_REASON: Final = 300  # characters
LARGEST_CODE: Final = 64
LARGEST_LIBRARY: Final = 64
MAX_WIRE_VERSIONS: Final = 16
MAX_MEMBERS: Final = 2**16
LARGEST_OFFER: Final = 2**12  # bytes
# Bytes of a whole envelope. An `Ask` has the size of its task, which the transport must bound.
LARGEST_SHORT: Final = 2**11  # of every other kind but an invitation: all that clients send
LARGEST_INVITATION: Final = LARGEST_SHORT + 4 * MAX_MEMBERS + LARGEST_OFFER

_CODE: Final = re.compile(rf"[a-z0-9_]{{0,{LARGEST_CODE}}}")
_LIBRARY: Final = re.compile(rf"[A-Za-z0-9.+!_-]{{0,{LARGEST_LIBRARY}}}")


class Kind(IntEnum):
    """The byte after magic and version; the server's envelopes have bit 4 set, as in messages."""

    HELLO = 0x01
    REFUSAL = 0x02
    INVITATION = 0x10
    ASK = 0x11
    OVER = 0x12
    REJECTION = 0x13


@dataclass(frozen=True, slots=True)
class Hello:
    """Client: the first envelope on a connection. It names the peer; the transport proves it.

    Attributes:
        name: what the client calls itself: a name as in a directory, or "".
        library: version of its library, or "".
        wire: versions of the protocol that it speaks, 1 to 16 of them, ascending.
        verify_key: its verify key in malicious mode (32 bytes), else empty.
    """

    kind: ClassVar = Kind.HELLO

    name: str = ""
    library: str = ""
    wire: tuple[int, ...] = (WIRE_VERSION,)
    verify_key: bytes = b""

    def check(self) -> None:
        _require(self.name == "" or _matches(NAME, self.name), "a name", self.name)
        _require(_matches(_LIBRARY, self.library), "a version of a library", self.library)
        _require(
            0 < len(self.wire) <= MAX_WIRE_VERSIONS and _ascending(self.wire, 256),
            "versions of the protocol (ascending, each once)",
            self.wire,
        )
        if self.verify_key:
            require_bytes("verify_key", self.verify_key, 32)

    def parts(self) -> tuple[bytes, ...]:
        wire, key = bytes(self.wire), self.verify_key
        return _text(self.name), _text(self.library), u8(len(wire)) + wire, u8(len(key)) + key

    @classmethod
    def read(cls, reader: Reader) -> "Hello":
        name, library = _read_text(reader), _read_text(reader)
        return cls(name, library, tuple(reader.take(reader.u8())), reader.take(reader.u8()))


@dataclass(frozen=True, slots=True)
class _Reason:
    """The reason for which a peer does not go on.

    Attributes:
        session: the round; `NO_SESSION` if it did not get so far.
        code: of `secagg.Code`, as text: the peer may be of a newer version.
        reason: one line; it shows nothing of a client's data.
    """

    session: bytes
    code: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", texts.one_line(self.reason, LARGEST_REASON))

    def check(self) -> None:
        require_bytes("session", self.session, SESSION_BYTES)
        _require(self.code and _matches(_CODE, self.code), "a code", self.code)

    def parts(self) -> tuple[bytes, ...]:
        return self.session, _text(self.code), _text(self.reason)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        return cls(reader.take(SESSION_BYTES), _read_text(reader), _read_text(reader))


@dataclass(frozen=True, slots=True)
class Refusal(_Reason):
    """Client: it does not go on with a round."""

    kind: ClassVar = Kind.REFUSAL


@dataclass(frozen=True, slots=True)
class Rejection(_Reason):
    """Server: it does not deal with this peer, because of its version for example."""

    kind: ClassVar = Kind.REJECTION


@dataclass(frozen=True, slots=True)
class Invitation:
    """Server: the offer of a round, with what a client needs to join.

    Attributes:
        offer: the protocol's first message.
        index: the place of the client in the cohort.
        members: the cohort's indices in the directory of all who are pinned, ascending; empty if
            the cohort is the whole directory, or there is none.
        attempt: number of the attempt on what the round is about, from 0.
    """

    kind: ClassVar = Kind.INVITATION

    offer: bytes = field(repr=False)
    index: int
    members: tuple[int, ...] = ()
    attempt: int = 0

    def check(self) -> None:
        members = tuple(whole("a member", member) for member in self.members)
        _require(0 < len(as_bytes(self.offer)) <= LARGEST_OFFER, "an offer", self.offer)
        _require(_ascending(members, MAX_MEMBERS), "members (ascending, each once)", members)
        require_int("index", self.index, 0, (len(members) or MAX_MEMBERS) - 1)
        require_int("attempt", self.attempt, 0, 2**32 - 1)

    def parts(self) -> tuple[bytes, ...]:
        head = u32(self.index) + u32(self.attempt) + u32(len(self.members))
        return head, *map(u32, self.members), self.offer

    @classmethod
    def read(cls, reader: Reader) -> "Invitation":
        index, attempt, count = reader.u32(), reader.u32(), reader.u32()
        members = reader.take(4 * count)
        every = tuple(int.from_bytes(members[i : i + 4], "little") for i in range(0, 4 * count, 4))
        return cls(reader.rest(), index, every, attempt)


@dataclass(frozen=True, slots=True)
class Ask:
    """Server: the protocol's message that asks for the input, and the task of the application.

    Attributes:
        task: what the input is to be computed from, such as a model; the application's bytes.
        message: the protocol's message.
    """

    kind: ClassVar = Kind.ASK

    task: bytes = field(repr=False)
    message: bytes = field(repr=False)

    def check(self) -> None:
        _require(as_bytes(self.message), "a message", self.message)

    def parts(self) -> tuple[bytes, ...]:
        task = as_bytes(self.task)
        return u64(len(task)), task, self.message

    @classmethod
    def read(cls, reader: Reader) -> "Ask":
        return cls(reader.take(reader.u64()), reader.rest())


@dataclass(frozen=True, slots=True)
class Over:
    """Server: a round is over, by its own word.

    Attributes:
        session: the round.
        code: why it failed, as in `Refusal`. If there is a sum: why this party was dropped, so that
            its input is not in it, and else "".
        reason: the same for people.
        survivors: number of inputs in the sum; 0 if there is none.
    """

    kind: ClassVar = Kind.OVER

    session: bytes
    code: str = ""
    reason: str = ""
    survivors: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", texts.one_line(self.reason, LARGEST_REASON))

    def check(self) -> None:
        require_bytes("session", self.session, SESSION_BYTES)
        _require(_matches(_CODE, self.code), "a code", self.code)
        require_int("survivors", self.survivors, 0, MAX_MEMBERS)

    def parts(self) -> tuple[bytes, ...]:
        return self.session, _text(self.code), _text(self.reason), u32(self.survivors)

    @classmethod
    def read(cls, reader: Reader) -> "Over":
        session, code, reason = reader.take(SESSION_BYTES), _read_text(reader), _read_text(reader)
        return cls(session, code, reason, reader.u32())


Envelope = Hello | Refusal | Rejection | Invitation | Ask | Over
_KINDS: Final = {each.kind: each for each in (Hello, Refusal, Rejection, Invitation, Ask, Over)}
_LARGEST: Final = dict.fromkeys(Kind, LARGEST_SHORT) | {Kind.INVITATION: LARGEST_INVITATION}


def seal(envelope: Envelope) -> bytes:
    """Returns the bytes of an envelope.

    Raises:
        ParameterError: a value is not as its class describes it.
        LocalProtocolError: an offer, a task or a message is not bytes.
    """
    envelope.check()
    return b"".join((MAGIC, bytes((VERSION, envelope.kind)), *envelope.parts()))


def read_task(task: object) -> bytes:
    """Returns the task of a round as bytes; raises ParameterError if it is something else."""
    if not isinstance(task, bytes | bytearray | memoryview):
        raise ParameterError(
            f"task must be bytes, not {type(task).__name__}: encode it", Code.ARGUMENT
        )
    return as_bytes(task)


def is_envelope(data: bytes) -> bool:
    """Returns whether these bytes are an envelope of some version, not a message."""
    return data[: len(MAGIC)] == MAGIC


def opened(data: bytes, party: int) -> Envelope:
    """Returns the envelope that a party sent.

    Raises:
        DecodeError: the bytes are none, not the canonical encoding, longer than one of this kind
            may be, or of another version. A `Rejection` is read in every version.
        LocalProtocolError: `data` is not bytes.
    """
    reader = Reader(as_bytes(data), party)
    if reader.take(len(MAGIC)) != MAGIC:
        raise reader.error("not an envelope of secagg's drivers")
    version, kind = reader.u8(), reader.u8()
    if version != VERSION and kind != Kind.REJECTION:
        raise reader.error(
            f"envelope version {version}, this library speaks version {VERSION}", Code.VERSION
        )
    if kind not in list(Kind):
        raise reader.error(f"an envelope of the unknown kind {kind:#04x}")
    if kind != Kind.ASK and reader.size > _LARGEST[Kind(kind)]:
        raise reader.error(
            f"an envelope of {reader.size} bytes, and one of kind {kind:#04x} has at most "
            f"{_LARGEST[Kind(kind)]}"
        )
    try:
        envelope: Envelope = _KINDS[Kind(kind)].read(reader)
        envelope.check()
    except ParameterError as error:
        raise reader.error(error.reason) from None
    reader.end()
    return envelope


def hello_in(answer: object) -> Hello | None:
    """Returns the greeting that a party has answered; None for anything else."""
    try:
        envelope = opened(answer, 0) if isinstance(answer, bytes) else None
    except DecodeError:
        return None
    return envelope if isinstance(envelope, Hello) else None


def _require(condition: object, what: str, value: object) -> None:
    if not condition:
        raise ParameterError(
            f"not {what} that an envelope can have: {texts.one_line(repr(value), 80)}",
            Code.ARGUMENT,
        )


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _ascending(numbers: tuple[int, ...], below: int) -> bool:
    return all(low < high for low, high in pairwise((-1, *numbers, below)))


def _text(text: str) -> bytes:
    encoded = text.encode()
    return u32(len(encoded)) + encoded


def _read_text(reader: Reader) -> str:
    size = reader.u32()
    if size > 4 * LARGEST_REASON:
        raise reader.error(f"a text of {size} bytes, {4 * LARGEST_REASON} are allowed")
    try:
        text = reader.take(size).decode()
    except UnicodeDecodeError:
        raise reader.error("a text that is not UTF-8") from None
    if len(text) > LARGEST_REASON:
        raise reader.error(f"a text of {len(text)} characters, {LARGEST_REASON} are allowed")
    return text
