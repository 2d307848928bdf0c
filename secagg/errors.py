"""The exceptions of the library. Each says whose fault it is; none ever holds a secret.

Each has a sentence for people (`reason`) and a `code` for programs. A party is named by its index
in the cohort, and the server by `SERVER`.
"""

from typing import Final

from .codes import Code

SERVER: Final = -1


def party_name(party: int) -> str:
    """How a party is called in messages: "party 3", or "the server"."""
    return "the server" if party == SERVER else f"party {party}"


class SecAggError(Exception):
    """Base of every exception that the library raises on purpose.

    Attributes:
        reason: what is wrong, in one sentence or phrase.
        code: the same for programs; it stays when sentences are reworded.
    """

    def __init__(self, reason: str, code: Code) -> None:
        super().__init__(reason, code)
        self.reason = reason
        self.code = code

    def __str__(self) -> str:
        return self.reason


class ParameterError(SecAggError, ValueError):
    """Impossible or unsafe parameters; raised at construction, before any secret exists."""


class RangeError(SecAggError, ValueError):
    """An input of one's own is unusable: wrong shape or dtype, NaN, or out of range."""


class IdentityError(SecAggError):
    """A file with an identity or a directory is unusable: the message says why, and the mend."""


class StorageError(SecAggError):
    """Stored state is unusable: a suspended client, a server's snapshot, or a ledger.

    A ledger of one's own raises it without a code when a claim could not be stored.
    """

    def __init__(self, reason: str, code: Code = Code.LEDGER) -> None:
        super().__init__(reason, code)


class LocalProtocolError(SecAggError):
    """The caller used the API out of order. The state is as it was."""


class RemoteProtocolError(SecAggError):
    """A peer sent something that the protocol does not allow. The state is as it was.

    Attributes:
        party: index of the peer, or `SERVER`.
        reason: what is wrong with it, in one phrase.
        code: the same for programs.
    """

    def __init__(self, party: int, reason: str, code: Code) -> None:
        super().__init__(reason, code)
        self.args = (party, reason, code)
        self.party = party

    def __str__(self) -> str:
        return f"{party_name(self.party)}: {self.reason}"


class DecodeError(RemoteProtocolError):
    """The bytes are not the canonical encoding of any message that is possible here."""


class Aborted(SecAggError):
    """A client will not go on: continuing could expose its input. Its secrets are wiped."""


class NativeError(SecAggError):
    """The compiled core is missing, stale, or reports a status that should be impossible."""
