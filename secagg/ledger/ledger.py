"""What may happen only once, recorded where it outlives the process.

A client that contributes twice in one context reveals differences of sums to a server that claims
to have lost the round; one that is restored twice from the same stored state could answer for two
survivor sets. Neither can be seen from within one object, so the application gives client and
server a ledger: `SqliteLedger` (`sqlite.py`), or its own.
"""

from enum import StrEnum
from typing import Protocol, runtime_checkable


class Once(StrEnum):
    """What is claimed, and by which key.

    Attributes:
        CONTRIBUTION: a client's input leaves; key: its verify key (32 bytes), the context (32).
        RESUMPTION: a stored client goes on; key: the random id of that state (32 bytes).
        SURVIVOR_SET: a server sends out the survivor set; key: the session (16 bytes).
    """

    CONTRIBUTION = "contribution"
    RESUMPTION = "resumption"
    SURVIVOR_SET = "survivor set"


@runtime_checkable
class Ledger(Protocol):
    """A record of what was done once. Implementations are safe for threads."""

    def claim(self, what: Once, key: bytes) -> bool:
        """True the first time that this key is claimed for this, False ever after.

        The claim is durable before this returns. Whatever keeps it from being so is raised, best
        as a `StorageError`: then nothing leaves the party.
        """


class MemoryLedger:
    """A ledger that lasts as long as its process: for tests, simulation and servers that do not
    outlive a round. A forked child has a copy that goes its own way.
    """

    def __init__(self) -> None:
        self._claims: dict[tuple[str, bytes], object] = {}

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`."""
        mine = object()
        return self._claims.setdefault((str(what), key), mine) is mine  # atomic, so one thread wins
