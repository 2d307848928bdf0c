"""What goes with a round beside the protocol's messages, and is stored so that it can go on."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..codes import Code
from ..drivers.envelope import Ask, Invitation, opened, seal
from ..errors import SERVER, ParameterError
from ..interfaces import ServerMachine
from ..machine.wire import as_bytes
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


def read_task(task: object) -> bytes:
    """Returns the task of a round as bytes; raises ParameterError if it is something else."""
    if not isinstance(task, bytes | bytearray | memoryview):
        raise ParameterError(
            f"task must be bytes, not {type(task).__name__}: encode it", Code.ARGUMENT
        )
    return as_bytes(task)


def noted(server: ServerMachine, store: object, about: Companions, goes_on: bool) -> Companions:
    """Returns what goes with the round: as it is stored if the round goes on, else it is stored."""
    keep, read = getattr(store, "keep_note", None), getattr(store, "note", None)
    if keep is None or read is None:
        return about
    if goes_on and (note := read(server.session)):
        return Companions.decode(note)
    keep(server.session, about.encode())
    return about
