"""The two state machines as tables. An input that a state does not list is a protocol error.

`docs/STATES.md` is drawn from these tables (`document`).
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from ..events import Phase
from ..machine.tables import Call, Input, diagram
from ..machine.wire import MessageType
from ..params.mode import Mode


class ClientState(Enum):
    """The state of a client; ABORTED, SUSPENDED and WITHDRAWN are final for the object."""

    CREATED = "created"
    AWAITING_ROSTER = "awaiting roster"
    AWAITING_DELIVERY = "awaiting delivery"
    AWAITING_INPUT = "awaiting input"
    AWAITING_SURVIVORS = "awaiting survivors"
    AWAITING_SIGNATURES = "awaiting signatures"
    FINISHED = "finished"
    ABORTED = "aborted"
    SUSPENDED = "suspended"
    WITHDRAWN = "withdrawn"


class ServerState(Enum):
    """The state of a server; COMPLETED and FAILED are final."""

    CREATED = "created"
    ADVERTISE_KEYS = "advertise keys"
    SHARE_KEYS = "share keys"
    MASKED_INPUT = "masked input"
    CONSISTENCY = "consistency"
    UNMASK = "unmask"
    UNMASKING = "unmasking"
    COMPLETED = "completed"
    FAILED = "failed"


ClientTable = Mapping[ClientState, Mapping[Input, ClientState]]
ServerTable = Mapping[ServerState, Mapping[Input, ServerState]]

_ANYWHERE: Final[Mapping[Input, ClientState]] = {
    Call.ABORT: ClientState.ABORTED,
    Call.SUSPEND: ClientState.SUSPENDED,
}
# Once a masked input has left there is nothing to withdraw: it may be in the sum.
_BEFORE_INPUT: Final[Mapping[Input, ClientState]] = {
    Call.WITHDRAW: ClientState.WITHDRAWN,
    **_ANYWHERE,
}

_CLIENT: Final[ClientTable] = {
    ClientState.CREATED: {
        Call.START: ClientState.AWAITING_ROSTER,
        **_BEFORE_INPUT,
    },
    ClientState.AWAITING_ROSTER: {
        MessageType.ROSTER: ClientState.AWAITING_DELIVERY,
        **_BEFORE_INPUT,
    },
    ClientState.AWAITING_DELIVERY: {
        MessageType.DELIVERY: ClientState.AWAITING_INPUT,
        **_BEFORE_INPUT,
    },
    ClientState.AWAITING_INPUT: {
        Call.SUBMIT: ClientState.AWAITING_SURVIVORS,
        **_BEFORE_INPUT,
    },
    ClientState.AWAITING_SURVIVORS: {
        MessageType.SURVIVORS: ClientState.FINISHED,
        **_ANYWHERE,
    },
    ClientState.FINISHED: {Call.SUSPEND: ClientState.SUSPENDED},
    ClientState.ABORTED: {},
    ClientState.SUSPENDED: {},
    ClientState.WITHDRAWN: {},
}

_SERVER: Final[ServerTable] = {
    ServerState.CREATED: {
        Call.START: ServerState.ADVERTISE_KEYS,
    },
    ServerState.ADVERTISE_KEYS: {
        MessageType.ADVERTISE_KEYS: ServerState.ADVERTISE_KEYS,
        Call.PHASE_OVER: ServerState.SHARE_KEYS,
        Call.FAIL: ServerState.FAILED,
    },
    ServerState.SHARE_KEYS: {
        MessageType.SHARE_KEYS: ServerState.SHARE_KEYS,
        Call.PHASE_OVER: ServerState.MASKED_INPUT,
        Call.FAIL: ServerState.FAILED,
    },
    ServerState.MASKED_INPUT: {
        MessageType.MASKED_INPUT: ServerState.MASKED_INPUT,
        Call.PHASE_OVER: ServerState.UNMASK,
        Call.FAIL: ServerState.FAILED,
    },
    ServerState.UNMASK: {
        MessageType.UNMASK: ServerState.UNMASK,
        Call.PHASE_OVER: ServerState.UNMASKING,
        Call.FAIL: ServerState.FAILED,
    },
    ServerState.UNMASKING: {
        Call.WORK_DONE: ServerState.COMPLETED,
        Call.FAIL: ServerState.FAILED,
    },
    ServerState.COMPLETED: {},
    ServerState.FAILED: {},
}

# Malicious mode puts the consistency step between the survivor set and the unmasking.
CLIENT: Final[Mapping[Mode, ClientTable]] = {
    Mode.SEMI_HONEST: _CLIENT,
    Mode.MALICIOUS: {
        **_CLIENT,
        ClientState.AWAITING_SURVIVORS: {
            MessageType.SURVIVORS: ClientState.AWAITING_SIGNATURES,
            **_ANYWHERE,
        },
        ClientState.AWAITING_SIGNATURES: {
            MessageType.SIGNATURES: ClientState.FINISHED,
            **_ANYWHERE,
        },
    },
}

SERVER: Final[Mapping[Mode, ServerTable]] = {
    Mode.SEMI_HONEST: _SERVER,
    Mode.MALICIOUS: {
        **_SERVER,
        ServerState.MASKED_INPUT: {
            MessageType.MASKED_INPUT: ServerState.MASKED_INPUT,
            Call.PHASE_OVER: ServerState.CONSISTENCY,
            Call.FAIL: ServerState.FAILED,
        },
        ServerState.CONSISTENCY: {
            MessageType.CONSISTENCY: ServerState.CONSISTENCY,
            Call.PHASE_OVER: ServerState.UNMASK,
            Call.FAIL: ServerState.FAILED,
        },
    },
}

PHASES: Final[Mapping[ServerState, Phase]] = {
    ServerState.ADVERTISE_KEYS: Phase.ADVERTISE_KEYS,
    ServerState.SHARE_KEYS: Phase.SHARE_KEYS,
    ServerState.MASKED_INPUT: Phase.MASKED_INPUT,
    ServerState.CONSISTENCY: Phase.CONSISTENCY,
    ServerState.UNMASK: Phase.UNMASK,
}


def document() -> str:
    """Returns the text of `docs/STATES.md`."""
    parts = [
        "# State machines\n\n"
        "Drawn from the tables in `secagg/pairwise/transitions.py`; a test keeps them equal. "
        "In every state, an input that has no arrow is refused and changes nothing. Repetitions of "
        "accepted messages are no inputs: [WIRE.md](WIRE.md) says what is done with them. Neither "
        "are `drop(party)` and `resend(party)`: they say whose messages a server awaits, and a "
        "phase ends with the last of these. Rounds on a sparse graph (mode 2 there) have the "
        "states of semi-honest mode.\n"
    ]
    for mode in Mode:
        parts += [
            f"\n## Client, {mode} mode\n\n```mermaid\n{diagram(CLIENT[mode])}\n```\n",
            f"\n## Server, {mode} mode\n\n```mermaid\n{diagram(SERVER[mode])}\n```\n",
        ]
    return "".join(parts)
