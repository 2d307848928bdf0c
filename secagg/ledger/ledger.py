"""Ledgers: lasting records of what may happen only once.

A client that contributes twice in one context reveals differences of sums to a server that claims
to have lost the round. Two clients of one identity in one session let a server unmask what each
alone protects. A client that is resumed twice from the same stored state could answer for two
survivor sets. An object in memory cannot detect any of this, so the application gives client and
server a ledger: `SqliteLedger` (`sqlite.py`), or its own.
"""

from enum import StrEnum
from typing import NoReturn, Protocol, runtime_checkable

from ..codes import Code
from ..errors import StateError
from ..forks import this_process


class Once(StrEnum):
    """The kinds of claims, and the key of each.

    Attributes:
        PARTICIPATION: a client takes part in a session; key: its verify key (32 bytes) and the
            session (16 bytes).
        CONTRIBUTION: a client sends its masked input; key: its verify key (32 bytes) and the
            context (32 bytes).
        RESUMPTION: a client is resumed; key: the random id of its stored state (32 bytes).
        PLAN: a coordinator plans a round; key: the session (16 bytes).
        DELIVERY: a server delivers shares, after which clients give inputs; key: the session.
        SURVIVOR_SET: a server sends the survivor set; key: the session.
    """

    PARTICIPATION = "participation"
    CONTRIBUTION = "contribution"
    RESUMPTION = "resumption"
    PLAN = "plan"
    DELIVERY = "delivery"
    SURVIVOR_SET = "survivor set"


@runtime_checkable
class Ledger(Protocol):
    """A record of claims, each of which succeeds once. Implementations are thread-safe.

    One that also has a method `has(what, key)`, which returns whether a claim was made and makes
    none, saves a `Home` trainings whose input would then be refused, and `Rounds` the attempts of
    rounds that were planned and never got so far.
    """

    def claim(self, what: Once, key: bytes) -> bool:
        """Returns True for the first claim of this kind with this key, and False for later ones.

        The claim must be durable before this returns. If it cannot be, an implementation raises,
        preferably `StateError`: the party then sends nothing.
        """


class MemoryLedger:
    """A ledger that lasts as long as its process.

    It serves tests, simulations, and servers that stay in one process for a whole round. A copy
    would not see the claims of the original, so it is neither copied nor pickled, and refuses to
    work in a forked child process.
    """

    def __init__(self) -> None:
        self._claims: dict[tuple[str, bytes], object] = {}
        self._process = this_process()

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`.

        Raises:
            StateError: the process is a forked child of the one that made the ledger.
        """
        self._require_own_process()
        mine = object()
        return self._claims.setdefault((str(what), key), mine) is mine  # atomic, so one thread wins

    def has(self, what: Once, key: bytes) -> bool:
        """Returns whether this was claimed, and claims nothing.

        Raises:
            StateError: the process is a forked child of the one that made the ledger.
        """
        self._require_own_process()
        return (str(what), key) in self._claims

    def _require_own_process(self) -> None:
        if self._process != this_process():
            raise StateError(
                "a MemoryLedger was used in a forked child, where it does not see the claims of "
                "the process that made it: use a SqliteLedger, which both see",
                Code.FORKED,
            )

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError(
            "a MemoryLedger is neither copied nor pickled: the copy would not see its claims"
        )
