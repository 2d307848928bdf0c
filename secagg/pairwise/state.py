"""Clients and servers as sealed bytes, to go on in another process.

Stored state is sealed with ChaCha20-Poly1305 under a key that is derived, for that one time, from
a local key and a random id. It is for the library that wrote it: the layout has a version of its
own, and is no wire format.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

import numpy as np

from ..arithmetic.binding import Vector
from ..arithmetic.field import Field
from ..codes import Code
from ..errors import SERVER, DecodeError, ParameterError, StateError
from ..machine.wire import Reader, bitmap, u8, u32, u64
from ..params.params import Params, Round
from ..primitives import seal
from ..primitives.labels import Label, kdf
from ..primitives.secret import Secret
from ..primitives.shamir import LIMBS, Shares
from .graph import graph_of
from .memory import ClientMemory, ServerMemory
from .messages import PublicKeys, ShareKeys, Unmask
from .transitions import ClientState, ServerState

KEY_BYTES: Final = 32
_ID_BYTES: Final = 32
_LAYOUT: Final = 2


class _Kind(bytes, Enum):
    CLIENT = b"secagg client"
    SERVER = b"secagg server"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StoredClient:
    """A client apart from what is given to it anew when it is resumed.

    Attributes:
        round: what it takes part in.
        index: its place in the cohort.
        once: whether it claims its contribution.
        h0: what it was started with: resumed, it must be the same.
        memory: the rest.
        id: of this stored state; empty before it is sealed.
    """

    round: Round
    index: int
    once: bool
    h0: bytes
    memory: ClientMemory
    id: bytes = b""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StoredServer:
    """A server apart from directory and ledger, which are given to it anew."""

    round: Round
    h0: bytes
    memory: ServerMemory


# -- sealing ------------------------------------------------------------------------------------


def _sealed(kind: _Kind, key: bytes, body: bytes) -> bytes:
    head = kind.value + u8(_LAYOUT) + os.urandom(_ID_BYTES)
    return head + seal.seal(_key(key, head), body, head)


def _opened(kind: _Kind, key: bytes, stored: bytes) -> tuple[bytes, Reader]:
    """The id and the body."""
    begin = kind.value + u8(_LAYOUT)
    if not isinstance(stored, bytes) or not stored.startswith(kind.value):
        raise StateError(f"not a stored {kind.value.decode()}", Code.FOREIGN_FILE)
    if not stored.startswith(begin):
        raise StateError(
            f"a {kind.value.decode()} that another version of the library stored", Code.VERSION
        )
    size = len(begin) + _ID_BYTES
    head = stored[:size]
    body = seal.unseal(_key(key, head), stored[size:], head)
    if body is None:
        raise StateError(
            f"{kind.value.decode()}: another key, or the bytes were altered", Code.WRONG_KEY
        )
    return head[len(begin) :], Reader(body, SERVER)


def _key(key: bytes, head: bytes) -> bytes:
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ParameterError(f"the key of stored state has {KEY_BYTES} bytes", Code.ARGUMENT)
    return kdf(key, Label.STORED_STATE, head)


# -- pieces -------------------------------------------------------------------------------------


def _part(data: bytes) -> bytes:
    return u64(len(data)) + data


def _take(reader: Reader) -> bytes:
    return reader.take(reader.u64())


def _map(items: Mapping[int, bytes]) -> bytes:
    return u32(len(items)) + b"".join(u32(party) + _part(item) for party, item in items.items())


def _take_map(reader: Reader) -> dict[int, bytes]:
    return {reader.u32(): _take(reader) for _ in range(reader.u32())}


def _set(members: Iterable[int], params: Params) -> bytes:
    return bitmap(members, params.cohort)


def _entries(entries: Mapping[int, PublicKeys]) -> bytes:
    return _map({party: entry.encode() for party, entry in entries.items()})


def _take_entries(reader: Reader, params: Params) -> dict[int, PublicKeys]:
    return {
        party: PublicKeys.read(Reader(entry, SERVER), params.mode)
        for party, entry in _take_map(reader).items()
    }


def _bytes_of(secret: Secret) -> bytes:
    return secret.expose() if secret else b""


Stored = TypeVar("Stored", StoredClient, StoredServer)


def _read(reader: Reader, read: Callable[[Reader], Stored]) -> Stored:
    try:
        stored = read(reader)
        reader.end()
    except (DecodeError, ValueError) as error:  # sealed by us, so the layout itself is wrong
        raise StateError(f"stored state is not readable: {error}", Code.CORRUPT) from None
    return stored


# -- clients ------------------------------------------------------------------------------------

_CLIENT_STATES: Final = tuple(ClientState)
_SERVER_STATES: Final = tuple(ServerState)
_ROW: Final = np.dtype("<u8")


def seal_client(client: StoredClient, key: bytes) -> bytes:
    """The bytes to store; ParameterError for a key of another length."""
    memory, params = client.memory, client.round.params
    fixed = (memory.channel_secret, memory.mask_seed, memory.self_seed, memory.mask_secret)
    body = b"".join(
        (
            _part(client.round.encode()),
            u32(client.index),
            u8(client.once),
            _part(client.h0),
            _part(memory.keys.encode()),
            *(_part(_bytes_of(secret)) for secret in fixed),
            u8(_CLIENT_STATES.index(memory.state)),
            *(_part(digest) for digest in (memory.h1, memory.h2, memory.h3)),
            _set(memory.advertised, params),
            _entries(memory.roster),
            _set(memory.members, params),
            _set(memory.survivors, params),
            _map({peer: _bytes_of(secret) for peer, secret in memory.inbound.items()}),
            _map({i: _bytes_of(secret) for i, secret in enumerate(memory.mask_keys)}),
            _map({dealer: row.astype(_ROW).tobytes() for dealer, row in memory.held.items()}),
            _map(memory.accepted),
            u8(memory.latest),
            _part(memory.said),
            u64(memory.clipped),
        )
    )
    return _sealed(_Kind.CLIENT, key, body)


def open_client(stored: bytes, key: bytes) -> StoredClient:
    """What `seal_client` sealed.

    Raises:
        StateError: the bytes are something else, altered, or sealed under another key.
        ParameterError: a key of another length.
    """
    identifier, reader = _opened(_Kind.CLIENT, key, stored)

    def read(reader: Reader) -> StoredClient:
        agreed = Round.decode(_take(reader))
        params = agreed.params
        return StoredClient(
            round=agreed,
            index=reader.u32(),
            once=bool(reader.u8()),
            h0=_take(reader),
            memory=ClientMemory(
                keys=PublicKeys.read(Reader(_take(reader), SERVER), params.mode),
                channel_secret=Secret(_take(reader)),
                mask_seed=Secret(_take(reader)),
                self_seed=Secret(_take(reader)),
                mask_secret=Secret(_take(reader)),
                state=_CLIENT_STATES[reader.u8()],
                h1=_take(reader),
                h2=_take(reader),
                h3=_take(reader),
                advertised=reader.bitmap(params.cohort),
                roster=_take_entries(reader, params),
                members=reader.bitmap(params.cohort),
                survivors=reader.bitmap(params.cohort),
                inbound={peer: Secret(data) for peer, data in _take_map(reader).items()},
                mask_keys=[Secret(data) for data in _take_map(reader).values()],
                held={dealer: _row(data) for dealer, data in _take_map(reader).items()},
                accepted=_take_map(reader),
                latest=reader.u8(),
                said=_take(reader),
                clipped=reader.u64(),
            ),
            id=identifier,
        )

    return _read(reader, read)


def _row(data: bytes) -> Shares:
    return np.frombuffer(data, _ROW, 2 * LIMBS).astype(np.uint64)


# -- servers ------------------------------------------------------------------------------------


def seal_server(server: StoredServer, key: bytes) -> bytes:
    """The bytes to store; ParameterError for a key of another length."""
    memory, params, session = server.memory, server.round.params, server.round.session
    body = b"".join(
        (
            _part(server.round.encode()),
            _part(server.h0),
            _set(memory.expected, params),
            u64(memory.total.size),
            Field(params.field_bits).pack(memory.total),
            _map({kind: _map(log) for kind, log in memory.accepted.items()}),
            u8(_SERVER_STATES.index(memory.state)),
            u64(memory.received),
            u64(memory.sent),
            *(_part(digest) for digest in (memory.h1, memory.h2, memory.h3)),
            _map({party: reason.encode() for party, reason in memory.dropped.items()}),
            _entries(memory.roster),
            _map({party: dealt.encode(session) for party, dealt in memory.shares.items()}),
            _map(memory.commitments),
            _set(memory.survivors, params),
            _map(memory.signatures),
            _map(
                {
                    party: answer.encode(session, params.cohort)
                    for party, answer in memory.answers.items()
                }
            ),
        )
    )
    return _sealed(_Kind.SERVER, key, body)


def open_server(stored: bytes, key: bytes) -> StoredServer:
    """What `seal_server` sealed; raises as `open_client`."""
    _, reader = _opened(_Kind.SERVER, key, stored)

    def read(reader: Reader) -> StoredServer:
        agreed = Round.decode(_take(reader))
        params = agreed.params
        field = Field(params.field_bits)

        def total() -> Vector:
            empty = field.zeros(reader.u64())
            field.unpack_add(empty, reader.take(field.packed_bytes(empty.size)))
            return empty

        h0 = _take(reader)
        graph = graph_of(params, h0)
        memory = ServerMemory(
            expected=tuple(reader.bitmap(params.cohort)),
            total=total(),
            accepted={
                kind: _take_map(Reader(log, SERVER)) for kind, log in _take_map(reader).items()
            },
            state=_SERVER_STATES[reader.u8()],
            received=reader.u64(),
            sent=reader.u64(),
            h1=_take(reader),
            h2=_take(reader),
            h3=_take(reader),
            dropped={party: reason.decode() for party, reason in _take_map(reader).items()},
            roster=_take_entries(reader, params),
        )
        for party, message in _take_map(reader).items():
            receivers = graph.neighbours(party, memory.roster)
            memory.shares[party] = ShareKeys.read(_body(message), receivers)
        memory.commitments = _take_map(reader)
        memory.survivors = tuple(reader.bitmap(params.cohort))
        memory.signatures = _take_map(reader)
        for party, message in _take_map(reader).items():
            memory.answers[party] = Unmask.read(_body(message), params)
        return StoredServer(agreed, h0, memory)

    return _read(reader, read)


def _body(message: bytes) -> Reader:
    reader = Reader(message, SERVER)
    reader.header()
    return reader
