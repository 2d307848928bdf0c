"""Outcomes of which nobody was told: the driver was stopped in the call that ended the round."""

from typing import Final

from ..events import Completed, Failed
from ..interfaces import ServerMachine
from .per_object import PerObject

_outcomes: Final[PerObject[Completed | Failed]] = PerObject()


def note_untold(server: ServerMachine, outcome: Completed | Failed | None) -> None:
    """Notes how a round ended, if it has, for the driver that is called next with its server."""
    if outcome is not None:
        _outcomes.put(server, outcome)


def untold_outcome(server: ServerMachine) -> Completed | Failed | None:
    """Returns how a round ended that was noted; None if it goes on, or its end was told."""
    return _outcomes.get(server)
