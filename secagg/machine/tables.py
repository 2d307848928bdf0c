"""Tables of states: for each state, the inputs that may come and the states that follow."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from ..codes import Code
from ..errors import LocalProtocolError, RemoteProtocolError
from .wire import MessageType


class Call(Enum):
    """Inputs that are no messages: calls by the driver, and events inside the machine."""

    START = "start()"
    SUBMIT = "submit()"
    WITHDRAW = "withdraw()"
    ABORT = "unsafe, or wipe()"
    SUSPEND = "suspend()"
    PHASE_OVER = "all awaited messages there, or deadline()"
    WORK_DONE = "last complete()"
    FAIL = "failure"


Input = MessageType | Call
State = TypeVar("State", bound=Enum)


def next_state(table: Mapping[State, Mapping[Input, State]], state: State, cause: Input) -> State:
    """Returns the state that follows; raises LocalProtocolError if the table has none."""
    if cause not in table[state]:
        raise LocalProtocolError(
            f"{cause.value} is not possible while {state.value}", Code.OUT_OF_ORDER
        )
    return table[state][cause]


def message_due(
    table: Mapping[State, Mapping[Input, State]],
    state: State,
    kind: int,
    party: int,
    expected: bool = True,
) -> MessageType:
    """Returns the type of a message that may come in a state.

    Args:
        kind: the type byte of the message.
        party: its sender.
        expected: whether a message of this sender is still expected.

    Raises:
        RemoteProtocolError: no such message may come now; the code tells whether one ever may.
    """
    due = next((known for known in table[state] if known == kind), None)
    if not expected or not isinstance(due, MessageType):
        ever = any(kind in row for row in table.values())
        raise RemoteProtocolError(
            party,
            f"message of type {kind:#04x} is not possible while {state.value}",
            Code.OUT_OF_ORDER if ever else Code.MALFORMED,
        )
    return due


def diagram(table: Mapping[State, Mapping[Input, State]]) -> str:
    """Draws the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {next(iter(table)).name}"]
    for state, row in table.items():
        for cause, target in row.items():
            name = cause.value if isinstance(cause, Call) else cause.name.lower().replace("_", " ")
            lines.append(f"    {state.name} --> {target.name}: {name}")
        if not row:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(lines)
