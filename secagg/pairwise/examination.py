"""Examines a message to a client that is stored, before the client is resumed.

To resume a client uses up its stored state and leaves a claim in the ledger, so a peer must not
cause it by bytes that the client would refuse anyway.
"""

from typing import Final

from ..errors import SERVER
from ..machine.tables import Call, message_due
from ..machine.wire import MessageType, open_message
from ..params.params import Round
from . import transcript
from .graph import graph_of
from .messages import Delivery, Roster, Signatures, Survivors, largest_to_client
from .transitions import CLIENT, ClientState, ClientTable

_OF_SETS: Final = {MessageType.ROSTER: Roster.read, MessageType.DELIVERY: Delivery.read}
_OTHERS: Final = {MessageType.SURVIVORS: Survivors.read, MessageType.SIGNATURES: Signatures.read}


def examine(agreed: Round, index: int, accepted: int, data: bytes, *, waiting: bool) -> None:
    """Checks a message from the server as `Client.receive` does, as far as that takes no secret.

    Args:
        agreed: the round.
        index: of the client.
        accepted: how many messages it has accepted.
        data: the message; no repetition.
        waiting: whether the client waits for its input.

    Raises:
        RemoteProtocolError: the message is malformed (`DecodeError`), of another session, or out
            of order.
    """
    params = agreed.params
    table = CLIENT[params.mode]
    kind, reader = open_message(data, SERVER, agreed.session, largest_to_client(params))
    due = message_due(table, _state(table, accepted, waiting=waiting), kind, SERVER)
    if due in _OF_SETS:
        # A graph that depends on h0 is sparse, and no directory is in the h0 of its round.
        graph = graph_of(params, transcript.h0(agreed, b"") if params.degree else b"")
        _OF_SETS[due](reader, params, graph, index)
    else:
        _OTHERS[due](reader, params)


def _state(table: ClientTable, accepted: int, *, waiting: bool) -> ClientState:
    """Returns the state of a client that has begun and accepted so many messages."""
    state = table[ClientState.CREATED][Call.START]
    while True:
        due = next((each for each in table[state] if isinstance(each, MessageType)), None)
        if due is not None and accepted:
            state, accepted = table[state][due], accepted - 1
        elif Call.SUBMIT in table[state] and not waiting:
            state = table[state][Call.SUBMIT]
        else:
            return state
