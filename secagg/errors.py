"""The exceptions of the library. Each class says whose fault it is; none ever holds a secret.

Every exception has a sentence for people (`reason`) and a `code` for programs. A party is given by
its index in the cohort, and the server by `SERVER`.
"""

from typing import Any, Final

from .codes import Code

SERVER: Final = -1


def party_name(party: int) -> str:
    """Returns the name of a party in error messages: "party 3", or "the server"."""
    return "the server" if party == SERVER else f"party {party}"


class SecAggError(Exception):
    """Base of every exception that the library raises on purpose.

    Attributes:
        reason: what is wrong, in one sentence or phrase; its wording may change.
        code: the same for programs; its meaning never changes.
    """

    def __init__(self, reason: str, code: Code) -> None:
        super().__init__(reason, code)
        self.reason = reason
        self.code = code

    def __str__(self) -> str:
        return self.reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Returns how to unpickle and copy it: without `__init__`, which a subclass may change.

        An exception that cannot be unpickled breaks the process pool that is to return it.
        """
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(kind: type[SecAggError], args: tuple[Any, ...]) -> SecAggError:
    return kind.__new__(kind, *args)


class ParameterError(SecAggError, ValueError):
    """Impossible or unsafe parameters, or a wrong argument; mostly raised at construction."""


class RangeError(SecAggError, ValueError):
    """An array or value of the caller is unusable: wrong shape or dtype, NaN, or out of range."""


class IdentityError(SecAggError):
    """An identity or directory file is unusable; the message says why and how to fix it."""


class StateError(SecAggError):
    """Stored state is unusable: a suspended client, a server's snapshot, or a ledger.

    Your own ledger raises it, without a code, when it cannot store a claim.
    """

    def __init__(self, reason: str, code: Code = Code.LEDGER) -> None:
        super().__init__(reason, code)


class LocalProtocolError(SecAggError):
    """The caller used the API wrongly, for example out of order; nothing has changed."""


class RemoteProtocolError(SecAggError):
    """A peer sent something that the protocol does not allow; nothing has changed.

    Attributes:
        party: index of the peer, or `SERVER`.
        reason: what is wrong with the message, in one phrase.
        code: the same for programs.
    """

    def __init__(self, party: int, reason: str, code: Code) -> None:
        super().__init__(reason, code)
        self.args = (party, reason, code)
        self.party = party

    def __str__(self) -> str:
        return f"{party_name(self.party)}: {self.reason}"


class DecodeError(RemoteProtocolError):
    """The bytes are not the canonical encoding of a message that this step allows."""


class Aborted(SecAggError):
    """A client ended its round because continuing could expose its input; its secrets are wiped."""


class AttemptsExhaustedError(SecAggError):
    """The training cannot go on: no client will give its input for the same subject once more.

    If successful rounds led back to a model, the training has converged, and this is no failure
    (`secagg.fl.Coordinator.converged`).
    """


class NativeError(SecAggError):
    """The compiled core is missing, older than its sources, or returned an impossible status."""
