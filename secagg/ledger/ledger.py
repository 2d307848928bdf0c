"""Ledgers: lasting records of what may happen only once.

A client that contributes twice in one context reveals differences of sums to a server that claims
to have lost the round. A client that is resumed twice from the same stored state could answer for
two survivor sets. An object in memory cannot detect either, so the application gives client and
server a ledger: `SqliteLedger` (`sqlite.py`), or its own.
"""

from enum import StrEnum
from typing import Protocol, runtime_checkable


class Once(StrEnum):
    """The kinds of claims, and the key of each.

    Attributes:
        CONTRIBUTION: a client sends its masked input; key: its verify key (32 bytes) and the
            context (32 bytes).
        RESUMPTION: a client is resumed; key: the random id of its stored state (32 bytes).
        SURVIVOR_SET: a server sends the survivor set; key: the session (16 bytes).
    """

    CONTRIBUTION = "contribution"
    RESUMPTION = "resumption"
    SURVIVOR_SET = "survivor set"


@runtime_checkable
class Ledger(Protocol):
    """A record of claims, each of which succeeds once. Implementations are thread-safe."""

    def claim(self, what: Once, key: bytes) -> bool:
        """Returns True for the first claim of this kind with this key, and False for later ones.

        The claim must be durable before this returns. If it cannot be, an implementation raises,
        preferably `StateError`: the party then sends nothing.
        """


class MemoryLedger:
    """A ledger that lasts as long as its process.

    It serves tests, simulations, and servers that stay in one process for a whole round. A forked
    child process gets a copy, and neither sees the claims of the other from then on.
    """

    def __init__(self) -> None:
        self._claims: dict[tuple[str, bytes], object] = {}

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`."""
        mine = object()
        return self._claims.setdefault((str(what), key), mine) is mine  # atomic, so one thread wins
