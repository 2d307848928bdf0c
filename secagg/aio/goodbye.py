"""Tells the parties of a round that it is over."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ..drivers.envelope import Over, seal
from ..events import Completed, Failed
from ..interfaces import ServerMachine

_LEFT_OUT: Final = "there is a sum without the input of this party, which was dropped"


def goodbyes(
    server: ServerMachine, outcome: Completed | Failed, parties: Iterable[int]
) -> dict[int, bytes]:
    """Returns what is sent to these parties and to the survivors, by party."""
    told, drops = set(parties), dict(server.status.dropped)
    if isinstance(outcome, Failed):
        return dict.fromkeys(told, seal(Over(server.session, outcome.code, outcome.reason)))
    survivors = outcome.result.survivors
    over = Over(server.session, survivors=len(survivors))
    left_out = drops.keys() - survivors
    return {
        party: seal(
            replace(over, code=drops[party], reason=_LEFT_OUT) if party in left_out else over
        )
        for party in sorted(told.union(survivors))
    }
