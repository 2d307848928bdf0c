"""What a machine claims in a ledger before it acts, because it may happen only once."""

from ..codes import Code
from ..errors import Aborted, ParameterError, StorageError
from ..events import Failed
from ..ledger.ledger import Ledger, Once


def require_ledger(ledger: object) -> Ledger:
    """Returns the ledger; ParameterError if it is none."""
    if not isinstance(ledger, Ledger):
        raise ParameterError(
            f"a ledger has a method `claim`; {type(ledger).__name__} has none", Code.NO_LEDGER
        )
    return ledger


def claim_contribution(ledger: Ledger, verify_key: bytes, context: bytes) -> None:
    """Claims that an identity gives its input in a context.

    Raises:
        Aborted: it has done so before.
        StorageError: the claim could not be stored.
    """
    if not _claim(ledger, Once.CONTRIBUTION, verify_key + context):
        raise Aborted(
            "this identity has contributed in this context before", Code.REPEATED_CONTRIBUTION
        )


def claim_resumption(ledger: Ledger, identifier: bytes) -> None:
    """Claims that a stored client goes on.

    Raises:
        StorageError: it has done so before, or the claim could not be stored.
    """
    if not _claim(ledger, Once.RESUMPTION, identifier):
        raise StorageError("this stored client was resumed before", Code.REPEATED_RESUMPTION)


def claim_survivor_set(ledger: Ledger, session: bytes) -> Failed | None:
    """Claims that a server sends out the survivor set; returns how the round ends if it did before.

    Raises:
        StorageError: the claim could not be stored.
    """
    if not _claim(ledger, Once.SURVIVOR_SET, session):
        return Failed(
            "a survivor set was sent before, of which this server knows nothing", Code.ROLLED_BACK
        )
    return None


def _claim(ledger: Ledger, what: Once, key: bytes) -> bool:
    answer = ledger.claim(what, key)
    if not isinstance(answer, bool):  # a coroutine, say, which would count as True
        raise StorageError(
            f"a ledger answers True or False, not {type(answer).__name__}", Code.NO_LEDGER
        )
    return answer
