"""Clients and servers as sealed bytes: the attributes that are stored, and their order."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ..arithmetic.field import Field
from ..errors import SERVER
from ..machine.sealing import Sealer
from ..machine.storage import (
    BYTES,
    DROPPED,
    FLAG,
    NUMBER,
    SECRET,
    Piece,
    Table,
    ascending_parties,
    dict_of,
    list_of,
    member_of,
    parties,
    read_attributes,
    read_whole,
    vector_of,
    write_attributes,
)
from ..machine.wire import Reader
from ..params.params import Params, Round
from ..sharing.shamir import LIMBS, Shares
from .memory import ClientMemory, ServerMemory
from .messages import PublicKeys, ShareKeys, Unmask
from .transitions import ClientState, ServerState

_CLIENT: Final = Sealer("secagg client", layout=4)
_SERVER: Final = Sealer("secagg server", layout=3)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StoredClient:
    """A client without the arguments that are passed again when it is resumed.

    Attributes:
        round: the round.
        index: its place in the cohort.
        h0: hash of round and directory; a resumed client must compute the same.
        memory: its memory.
        id: random id of this stored state; empty before it is sealed.
    """

    round: Round
    index: int
    h0: bytes
    memory: ClientMemory
    id: bytes = b""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StoredServer:
    """A server without directory and ledger, which are passed again when it is resumed."""

    round: Round
    h0: bytes
    memory: ServerMemory


def seal_client(client: StoredClient, key: bytes) -> bytes:
    """Returns the bytes to store; raises ParameterError unless the key has 32 bytes."""
    memory = write_attributes(_client_memory(client.round.params), client.memory)
    return _CLIENT.seal(key, write_attributes(_CLIENT_HEAD, client) + memory)


def open_client(stored: bytes, key: bytes) -> StoredClient:
    """Opens what `seal_client` sealed.

    Raises:
        StateError: the bytes are not a stored client, altered, or sealed under another key.
        ParameterError: the key does not have 32 bytes.
    """
    identifier, body = _CLIENT.open(key, stored)

    def read(reader: Reader) -> StoredClient:
        head = read_attributes(_CLIENT_HEAD, reader)
        table = _client_memory(head["round"].params)
        memory = ClientMemory(**read_attributes(table, reader))
        return StoredClient(**head, memory=memory, id=identifier)

    return read_whole(body, read)


def seal_server(server: StoredServer, key: bytes) -> bytes:
    """Returns the bytes to store; raises ParameterError unless the key has 32 bytes."""
    memory = write_attributes(_server_memory(server.round.params), server.memory)
    return _SERVER.seal(key, write_attributes(_SERVER_HEAD, server) + memory)


def open_server(stored: bytes, key: bytes) -> StoredServer:
    """Opens what `seal_server` sealed; raises as `open_client` does."""
    _, body = _SERVER.open(key, stored)

    def read(reader: Reader) -> StoredServer:
        head = read_attributes(_SERVER_HEAD, reader)
        table = _server_memory(head["round"].params)
        return StoredServer(**head, memory=ServerMemory(**read_attributes(table, reader)))

    return read_whole(body, read)


# -- tables: every attribute of a machine, in the order in which it is stored ------------------

_ROUND: Final[Piece[Round]] = Piece(
    lambda agreed: BYTES.write(agreed.encode()), lambda reader: Round.decode(BYTES.read(reader))
)
_CLIENT_HEAD: Final[Table] = {
    "round": _ROUND,
    "index": NUMBER,
    "h0": BYTES,
}
_SERVER_HEAD: Final[Table] = {"round": _ROUND, "h0": BYTES}


def _client_memory(params: Params) -> Table:
    entry = _entry(params)
    return {
        "keys": entry,
        "channel_secret": SECRET,
        "mask_seed": SECRET,
        "self_seed": SECRET,
        "mask_secret": SECRET,
        "state": member_of(ClientState),
        "h1": BYTES,
        "h2": BYTES,
        "h3": BYTES,
        "advertised": parties(params.cohort),
        "roster": dict_of(entry),
        "members": parties(params.cohort),
        "survivors": parties(params.cohort),
        "inbound": dict_of(SECRET),
        "mask_keys": list_of(SECRET),
        "held": dict_of(_BOTH_SHARES),
        "accepted": dict_of(BYTES),
        "latest": NUMBER,
        "last_reply": BYTES,
        "clipped": NUMBER,
        "context_expected": FLAG,
        "may_repeat": FLAG,
    }


def _server_memory(params: Params) -> Table:
    return {
        "expected": ascending_parties(params.cohort),
        "total": vector_of(Field(params.field_bits)),
        "accepted": dict_of(dict_of(BYTES)),
        "state": member_of(ServerState),
        "received": NUMBER,
        "sent": NUMBER,
        "h1": BYTES,
        "h2": BYTES,
        "h3": BYTES,
        "dropped": dict_of(DROPPED),
        "roster": dict_of(_entry(params)),
        "shares": dict_of(_SHARE_KEYS),
        "commitments": dict_of(BYTES),
        "survivors": ascending_parties(params.cohort),
        "signatures": dict_of(BYTES),
        "answers": dict_of(_answer(params)),
    }


# -- pieces of this protocol -------------------------------------------------------------------

_ROW: Final = np.dtype("<u8")
_SESSION: Final = bytes(16)  # messages are stored with a header, of which the session is not read


def _entry(params: Params) -> Piece[PublicKeys]:
    return Piece(PublicKeys.encode, lambda reader: PublicKeys.read(reader, params.mode))


def _read_row(reader: Reader) -> Shares:
    size = 2 * LIMBS * _ROW.itemsize
    return np.frombuffer(reader.take(size), _ROW).astype(np.uint64)


_BOTH_SHARES: Final[Piece[Shares]] = Piece(lambda row: row.astype(_ROW).tobytes(), _read_row)


_SEALED: Final = dict_of(BYTES)
_SHARE_KEYS: Final[Piece[ShareKeys]] = Piece(
    lambda dealt: (
        BYTES.write(dealt.roster_digest)
        + BYTES.write(dealt.commitment)
        + _SEALED.write(dict(dealt.sealed))
    ),
    lambda reader: ShareKeys(BYTES.read(reader), BYTES.read(reader), _SEALED.read(reader)),
)


def _answer(params: Params) -> Piece[Unmask]:
    def read(reader: Reader) -> Unmask:
        message = Reader(BYTES.read(reader), SERVER)
        message.header()
        return Unmask.read(message, params)

    return Piece(lambda answer: BYTES.write(answer.encode(_SESSION, params.cohort)), read)
