"""Clients and servers as sealed bytes: the attributes that are stored, and their order."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from ..arithmetic.field import KEY_BYTES, Field
from ..errors import SERVER
from ..machine.sealing import Sealer
from ..machine.storage import (
    BYTES,
    DROPPED,
    FLAG,
    Piece,
    Table,
    ascending_parties,
    bytes_of,
    dict_of,
    list_of,
    member_of,
    number_below,
    parties,
    read_attributes,
    read_whole,
    secret_of,
    vector_of,
    write_attributes,
)
from ..machine.tables import Call
from ..machine.wire import HEADER_BYTES, MessageType, PartySet, Reader, header
from ..params.mode import Mode
from ..params.params import Params, Round
from ..primitives.agreement import SECRET_KEY_BYTES, check_public_key
from ..primitives.labels import DIGEST_BYTES
from ..primitives.secret import Secret
from ..primitives.sign import SIGNATURE_BYTES
from ..sharing.algebra import FIELD as SHARE_FIELD
from ..sharing.shamir import LIMBS, SEED_BYTES, Shares
from . import transcript, transitions
from .graph import graph_of
from .memory import ClientMemory, ServerMemory
from .messages import SEALED_BYTES, PublicKeys, ShareKeys, Unmask
from .server_steps import AWAITED
from .transitions import ClientState, ServerState

_CLIENT: Final = Sealer("secagg client", layout=6)
_SERVER: Final = Sealer("secagg server", layout=4)


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
    params = client.round.params
    head = _ROUND.write(client.round) + write_attributes(_client_head(params), client)
    return _CLIENT.seal(key, head + write_attributes(_client_memory(params), client.memory))


def open_client(stored: bytes, key: bytes) -> StoredClient:
    """Opens what `seal_client` sealed.

    Raises:
        StateError: the bytes are not a stored client, altered, or sealed under another key; or
            they were sealed in this form, but no client can be in such a state.
        ParameterError: the key does not have 32 bytes.
    """
    identifier, body = _CLIENT.open(key, stored)

    def read(reader: Reader) -> StoredClient:
        agreed = _ROUND.read(reader)
        head = read_attributes(_client_head(agreed.params), reader)
        memory = ClientMemory(**read_attributes(_client_memory(agreed.params), reader))
        client = StoredClient(agreed, **head, memory=memory, id=identifier)
        _check_client(client)
        return client

    return read_whole(body, read)


def seal_server(server: StoredServer, key: bytes) -> bytes:
    """Returns the bytes to store; raises ParameterError unless the key has 32 bytes."""
    head = _ROUND.write(server.round) + _HASH.write(server.h0)
    memory = write_attributes(_server_memory(server.round.params), server.memory)
    return _SERVER.seal(key, head + memory)


def open_server(stored: bytes, key: bytes) -> StoredServer:
    """Opens what `seal_server` sealed; raises as `open_client` does."""
    _, body = _SERVER.open(key, stored)

    def read(reader: Reader) -> StoredServer:
        agreed, h0 = _ROUND.read(reader), _HASH.read(reader)
        memory = ServerMemory(**read_attributes(_server_memory(agreed.params), reader))
        server = StoredServer(agreed, h0, memory)
        _check_server(server)
        return server

    return read_whole(body, read)


# -- tables: every attribute of a machine, in the order in which it is stored ------------------

_ROUND: Final[Piece[Round]] = Piece(
    lambda agreed: BYTES.write(agreed.encode()), lambda reader: Round.decode(BYTES.read(reader))
)
_HASH: Final = bytes_of(DIGEST_BYTES)
_HASH_OR_NONE: Final = bytes_of(0, DIGEST_BYTES)
_DIGEST: Final = bytes_of(64)  # of a whole message
_COUNTER: Final = number_below(2**63)  # of bytes, with room to count on


def _client_head(params: Params) -> Table:
    return {"index": number_below(params.cohort), "h0": _HASH}


def _client_memory(params: Params) -> Table:
    entry, everybody = _entry(params), range(params.cohort)
    seed, key = secret_of(SEED_BYTES), secret_of(KEY_BYTES)
    return {
        "keys": entry,
        "channel_secret": secret_of(SECRET_KEY_BYTES),
        "mask_seed": seed,
        "self_seed": seed,
        "mask_secret": secret_of(SECRET_KEY_BYTES),
        "state": member_of(ClientState),
        "h1": _HASH_OR_NONE,
        "h2": _HASH_OR_NONE,
        "h3": _HASH_OR_NONE,
        "advertised": parties(params.cohort),
        "roster": dict_of(entry, everybody),
        "members": parties(params.cohort),
        "survivors": parties(params.cohort),
        "inbound": dict_of(key, everybody),
        "mask_keys": list_of(key, params.cohort),
        "held": dict_of(_BOTH_SHARES, everybody),
        "accepted": dict_of(_DIGEST, frozenset(MessageType)),
        "latest": number_below(2**8),
        "last_reply": BYTES,
        "clipped": number_below(params.length + 1),
        "context_expected": FLAG,
        "may_repeat": FLAG,
        "demands_privacy": FLAG,
        "has_budget": FLAG,
        "has_release": FLAG,
    }


def _server_memory(params: Params) -> Table:
    everybody = range(params.cohort)
    return {
        "expected": ascending_parties(params.cohort),
        "total": vector_of(Field(params.field_bits)),
        "accepted": dict_of(dict_of(_DIGEST, everybody), frozenset(AWAITED.values())),
        "state": member_of(ServerState),
        "received": _COUNTER,
        "sent": _COUNTER,
        "h1": _HASH_OR_NONE,
        "h2": _HASH_OR_NONE,
        "h3": _HASH_OR_NONE,
        "dropped": dict_of(DROPPED, everybody),
        "roster": dict_of(_entry(params), everybody),
        "shares": dict_of(_share_keys(params), everybody),
        "commitments": dict_of(_HASH, everybody),
        "survivors": ascending_parties(params.cohort),
        "signatures": dict_of(bytes_of(SIGNATURE_BYTES), everybody),
        "answers": dict_of(_answer(params), everybody),
        "has_release": FLAG,
    }


# -- pieces of this protocol -------------------------------------------------------------------

_ROW: Final = np.dtype("<u8")
_SESSION: Final = bytes(16)  # messages are stored with a header, of which the session is not read


def _entry(params: Params) -> Piece[PublicKeys]:
    def read(reader: Reader) -> PublicKeys:
        entry = PublicKeys.read(reader, params.mode)
        check_public_key(entry.channel)
        check_public_key(entry.mask)
        return entry

    return Piece(PublicKeys.encode, read)


def _read_row(reader: Reader) -> Shares:
    size = 2 * LIMBS * _ROW.itemsize
    row = np.frombuffer(reader.take(size), _ROW).astype(np.uint64)
    SHARE_FIELD.vector(row)  # raises RangeError unless all elements are below the modulus
    return row


_BOTH_SHARES: Final[Piece[Shares]] = Piece(lambda row: row.astype(_ROW).tobytes(), _read_row)


def _share_keys(params: Params) -> Piece[ShareKeys]:
    sealed = dict_of(bytes_of(SEALED_BYTES), range(params.cohort))
    return Piece(
        lambda dealt: (
            _HASH.write(dealt.roster_digest)
            + _HASH.write(dealt.commitment)
            + sealed.write(dict(dealt.sealed))
        ),
        lambda reader: ShareKeys(_HASH.read(reader), _HASH.read(reader), sealed.read(reader)),
    )


def _answer(params: Params) -> Piece[Unmask]:
    def read(reader: Reader) -> Unmask:
        message = Reader(BYTES.read(reader), SERVER)
        message.header()
        return Unmask.read(message, params)

    return Piece(lambda answer: BYTES.write(answer.encode(_SESSION, params.cohort)), read)


# -- what hangs together -----------------------------------------------------------------------

_SECRETS: Final = ("channel_secret", "mask_seed", "self_seed", "mask_secret")

# The secrets that a client needs in a state or later, and the types that its last reply may have.
_CLIENT_HOLDS: Final[Mapping[ClientState, tuple[tuple[str, ...], tuple[MessageType, ...]]]] = {
    ClientState.CREATED: (_SECRETS, ()),
    ClientState.AWAITING_ROSTER: (_SECRETS, (MessageType.ADVERTISE_KEYS,)),
    ClientState.AWAITING_DELIVERY: ((*_SECRETS[1:], "inbound"), (MessageType.SHARE_KEYS,)),
    ClientState.AWAITING_INPUT: (("mask_keys",), ()),
    ClientState.AWAITING_SURVIVORS: ((), (MessageType.MASKED_INPUT,)),
    ClientState.AWAITING_SIGNATURES: ((), (MessageType.CONSISTENCY,)),
    ClientState.FINISHED: ((), (MessageType.UNMASK,)),
}

# What a server has by party: of the senders in which phase, and from which phase to which.
_SERVER_HOLDS: Final[Mapping[str, tuple[ServerState, ServerState, ServerState]]] = {
    "roster": (ServerState.ADVERTISE_KEYS, ServerState.ADVERTISE_KEYS, ServerState.UNMASK),
    "shares": (ServerState.SHARE_KEYS, ServerState.SHARE_KEYS, ServerState.MASKED_INPUT),
    "commitments": (ServerState.SHARE_KEYS, ServerState.MASKED_INPUT, ServerState.UNMASK),
    "survivors": (ServerState.MASKED_INPUT, ServerState.CONSISTENCY, ServerState.UNMASK),
    "signatures": (ServerState.CONSISTENCY, ServerState.CONSISTENCY, ServerState.UNMASK),
    "answers": (ServerState.UNMASK, ServerState.UNMASK, ServerState.UNMASK),
}


def _require(conditions: Mapping[str, bool]) -> None:
    """Raises ValueError about the first of these conditions that does not hold."""
    for condition, holds in conditions.items():
        if not holds:
            raise ValueError(f"it does not hold that {condition}")


def _h0_fits(agreed: Round, h0: bytes) -> bool:
    """Returns whether h0 can be of this round; in malicious mode that takes a directory to tell."""
    return agreed.params.mode == Mode.MALICIOUS or h0 == transcript.h0(agreed, b"")


def _check_client(client: StoredClient) -> None:
    """Checks that a client can have come into this state; raises ValueError if not.

    Its steps rely on that: they look up what is stored without another test.
    """
    params, me, memory = client.round.params, client.index, client.memory
    table, state, cohort = transitions.CLIENT[params.mode], memory.state, params.cohort
    _require({"clients are stored in this state": Call.SUSPEND in table.get(state, ())})
    earlier = list(ClientState)[: list(ClientState).index(state)]
    told = [kind for one in earlier for kind in table.get(one, ()) if isinstance(kind, MessageType)]
    knows_u1, knows_u2, knows_u3 = (
        kind in told for kind in (MessageType.ROSTER, MessageType.DELIVERY, MessageType.SURVIVORS)
    )
    graph = graph_of(params, client.h0)
    masked_with = graph.neighbours(me, memory.members)
    dealers = {me, *masked_with} if knows_u1 and state is not ClientState.FINISHED else set[int]()
    h1 = memory.h1 if params.degree else transcript.h1(client.h0, memory.roster, cohort)
    h2 = transcript.h2(memory.h1, memory.members, cohort)
    h3 = transcript.h3(memory.h2, memory.survivors, cohort)
    needed, replies = _CLIENT_HOLDS[state]
    openings = [b"", *(header(kind, client.round.session) for kind in replies)]
    _require(
        {
            "h0 is of this round": _h0_fits(client.round, client.h0),
            "it has accepted what came before": memory.accepted.keys() == set(told),
            "the latest message is the last of them": memory.latest == (told[-1] if told else 0),
            "it is in U1": me in memory.advertised if knows_u1 else not memory.advertised,
            "it is in U2": me in memory.members if knows_u2 else not memory.members,
            "it is in U3": me in memory.survivors if knows_u3 else not memory.survivors,
            "U3 is in U2, and U2 in U1": memory.survivors <= memory.members <= memory.advertised,
            "the roster has its neighbours and itself": (
                memory.roster.keys() == set(graph.holders(me, memory.advertised))
                and memory.roster.get(me, memory.keys) == memory.keys
            ),
            "it has one channel key per neighbour in U1": (
                memory.inbound.keys() == set(graph.neighbours(me, memory.advertised))
            ),
            "it has one key per mask": len(memory.mask_keys) == (knows_u2 + len(masked_with)),
            "it holds shares of its neighbours in U2, and its own": (
                dealers & {me} <= memory.held.keys() <= dealers
            ),
            "h1 is of U1": memory.h1 == (h1 if knows_u1 else b"") and bool(memory.h1) == knows_u1,
            "h2 is of U2": memory.h2 == (h2 if knows_u2 else b""),
            "h3 is of U3": memory.h3 == (h3 if knows_u3 and params.mode == Mode.MALICIOUS else b""),
            "no secret is missing": all(_there(getattr(memory, name)) for name in needed),
            "the last reply is of this state": memory.last_reply[:HEADER_BYTES] in openings,
        }
    )


def _there(secrets: Secret | list[Secret] | dict[int, Secret]) -> bool:
    """Returns whether none of these is wiped."""
    if isinstance(secrets, dict):
        return all(secrets.values())
    return all(secrets) if isinstance(secrets, list) else bool(secrets)


def _check_server(server: StoredServer) -> None:
    """Checks that a server can have come into this state; raises ValueError if not.

    Its steps rely on that: they look up what is stored without another test.
    """
    params, memory = server.round.params, server.memory
    state, cohort = memory.state, params.cohort
    phases = [phase for phase in AWAITED if phase in transitions.SERVER[params.mode]]
    _require(
        {
            "servers are stored in this state": state in phases,
            "it knows all types of messages": memory.accepted.keys() == set(AWAITED.values()),
        }
    )
    senders = {phase: memory.accepted[kind].keys() for phase, kind in AWAITED.items()}
    begun = phases[: phases.index(state) + 1]
    chain = [set(range(cohort)), *(set(senders[phase]) for phase in begun)]
    dropped, graph = memory.dropped, graph_of(params, server.h0)
    has_h1, has_h2, has_h3 = (count <= len(begun) for count in (2, 3, 4))
    h1 = transcript.h1(server.h0, memory.roster, cohort)
    h2 = transcript.h2(memory.h1, memory.commitments, cohort)
    h3 = transcript.h3(memory.h2, memory.survivors, cohort)
    order = list(ServerState).index
    held = {
        name: set(senders[phase]) if order(first) <= order(state) <= order(last) else set()
        for name, (phase, first, last) in _SERVER_HOLDS.items()
    }
    _require(
        {
            "h0 is of this round": _h0_fits(server.round, server.h0),
            "nobody sent a message before it was due": all(
                not senders[phase] for phase in AWAITED if phase not in begun
            ),
            "whoever sent a message had sent the one before": all(
                later <= before for before, later in pairwise(chain)
            ),
            "those who did are expected": set(memory.expected) == chain[-2],
            "the others were dropped": chain[0] - chain[-2] <= dropped.keys(),
            "nobody is dropped after a message of this phase": not dropped.keys() & chain[-1],
            "each drop is of its party": all(key == one.party for key, one in dropped.items()),
            **{
                f"its {name} are of the senders": set(getattr(memory, name)) == those
                for name, those in held.items()
            },
            "everybody dealt shares to its neighbours in U1": all(
                dealt.sealed.keys() == set(graph.neighbours(party, memory.roster))
                for party, dealt in memory.shares.items()
            ),
            "answers have shares of neighbours in U2": all(
                answer.dealers <= PartySet.of(graph.holders(party, memory.commitments), cohort)
                for party, answer in memory.answers.items()
            ),
            "the sum has its length": memory.total.size == (params.vector_length if has_h2 else 0),
            "h1 is of U1": memory.h1 == (h1 if has_h1 else b""),
            "h2 is of U2": memory.h2 == (h2 if has_h2 else b""),
            "h3 is of U3": memory.h3 == (h3 if has_h3 else b""),
        }
    )
