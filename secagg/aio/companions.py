"""The companions of a round beside the protocol's messages, stored so that it can go on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..codes import Code
from ..drivers.conductor import Snapshots
from ..drivers.envelope import Ask, Invitation, opened, read_task, seal
from ..errors import SERVER, LocalProtocolError, ParameterError
from ..interfaces import ServerMachine
from ..params.checks import whole


@dataclass(frozen=True, slots=True)
class Companions:
    """The companions of a round beside the protocol's messages.

    Attributes:
        task: see `serve`.
        invitation: of party 0; those of the others differ in the index.
    """

    task: bytes
    invitation: Invitation

    @classmethod
    def of(
        cls, server: ServerMachine, task: object, members: Sequence[int], attempt: int
    ) -> "Companions":
        """Checks what the caller gives."""
        data = read_task(task)
        indices = tuple(whole("a member", member) for member in members)
        invitation = Invitation(server.offer, 0, indices, whole("attempt", attempt))
        invitation.check()
        if indices:
            require_one_each("members", len(indices), "indices", server)
        return cls(data, invitation)

    def encode(self) -> bytes:
        """Returns the note from which another process goes on."""
        return seal(Ask(self.task, seal(self.invitation)))

    @classmethod
    def decode(cls, note: bytes) -> "Companions":
        """Reads such a note, which this side has stored."""
        ask = opened(note, SERVER)
        assert isinstance(ask, Ask)  # noqa: S101
        invitation = opened(ask.message, SERVER)
        assert isinstance(invitation, Invitation)  # noqa: S101
        return cls(ask.task, invitation)


class Noting:
    """A store of states that keeps a note of the round together with the first of them."""

    def __init__(self, store: Any, note: bytes) -> None:
        self._store = store
        self._note = note

    def keep_server(self, server: ServerMachine) -> None:
        """Stores the note if that was not done yet, and then the state."""
        if self._note:
            self._store.keep_note(server.session, self._note)
            self._note = b""
        self._store.keep_server(server)

    def forget(self, session: bytes) -> None:
        """Removes both."""
        self._store.forget(session)


def noting(
    server: ServerMachine, store: Snapshots | None, about: Companions, goes_on: bool
) -> tuple[Snapshots | None, Companions]:
    """Returns the store to use, and what goes with the round: as stored, if the round goes on."""
    keep, read = getattr(store, "keep_note", None), getattr(store, "note", None)
    if keep is None or read is None:
        return store, about
    if goes_on and (note := read(server.session)):
        return store, Companions.decode(note)
    return Noting(store, about.encode()), about


def require_one_each(whose: str, count: int, what: str, server: ServerMachine) -> None:
    """Raises ParameterError unless there is one thing for each party of a round."""
    if count and not _knows(server, count - 1):
        other = f"no party {count - 1}"
    elif _knows(server, count):
        other = f"a party {count}"
    else:
        return
    raise ParameterError(
        f"{whose} has {count} {what}, and the cohort has {other}: give one for each of the cohort",
        Code.ARGUMENT,
    )


def _knows(server: ServerMachine, party: int) -> bool:
    try:
        server.awaits(party)
    except LocalProtocolError as error:
        if error.code is Code.REENTRANT:
            raise
        return False
    return True
