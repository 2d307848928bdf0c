"""Claims in a ledger, made before an action that may happen only once."""

from ..codes import Code
from ..errors import Aborted, ParameterError, StateError
from ..events import Failed
from ..ledger.ledger import Ledger, Once


def require_ledger(ledger: object) -> Ledger:
    """Returns the ledger; raises ParameterError if there is none, or it has no method `claim`."""
    if not isinstance(ledger, Ledger):
        found = "there is none" if ledger is None else f"{type(ledger).__name__} has none"
        raise ParameterError(
            f"a ledger with a method `claim` is needed, and {found}: pass a SqliteLedger, a "
            "MemoryLedger for trying, or an object of your own with that method",
            Code.NO_LEDGER,
        )
    return ledger


def claim_participation(ledger: Ledger, verify_key: bytes, session: bytes) -> None:
    """Claims that an identity takes part in a session.

    Raises:
        Aborted: it takes part in this session already.
        StateError: the claim could not be stored.
    """
    if not _claim(ledger, Once.PARTICIPATION, verify_key + session):
        raise Aborted(
            "this identity has taken part in this session before: resume the client that it began "
            "with, or wait for the next round",
            Code.REPEATED_PARTICIPATION,
        )


def claim_contribution(ledger: Ledger, verify_key: bytes, context: bytes) -> None:
    """Claims that an identity contributes its input in a context.

    Raises:
        Aborted: it has contributed in this context before.
        StateError: the claim could not be stored.
    """
    if not _claim(ledger, Once.CONTRIBUTION, verify_key + context):
        raise _repeated_contribution()


def require_no_contribution(ledger: Ledger, verify_key: bytes, context: bytes) -> None:
    """Checks that an identity has not contributed in a context, if the ledger can tell (`has`).

    Raises:
        Aborted: it has.
        StateError: the ledger failed.
    """
    if _has(ledger, Once.CONTRIBUTION, verify_key + context):
        raise _repeated_contribution()


def _repeated_contribution() -> Aborted:
    return Aborted(
        "this identity has contributed in this context before: use a new context",
        Code.REPEATED_CONTRIBUTION,
    )


def claim_resumption(ledger: Ledger, identifier: bytes) -> None:
    """Claims that a stored client is resumed.

    Args:
        identifier: the random id of the stored state.

    Raises:
        StateError: this stored client was resumed before, or the claim could not be stored.
    """
    if not _claim(ledger, Once.RESUMPTION, identifier):
        raise StateError(
            "this stored client was resumed before, and works once: resume what was stored last",
            Code.REPEATED_RESUMPTION,
        )


def claim_survivor_set(ledger: Ledger, session: bytes) -> Failed | None:
    """Claims that a server sends the survivor set of a session.

    Returns:
        None; or, if a survivor set was sent before, the failure with which the round ends.

    Raises:
        StateError: the claim could not be stored.
    """
    if not _claim(ledger, Once.SURVIVOR_SET, session):
        return Failed(
            "the ledger has a claim for a survivor set that this server does not know: its process "
            "was killed right after the claim, or it was resumed from an older snapshot",
            Code.ROLLED_BACK,
        )
    return None


def claim_delivery(ledger: Ledger, session: bytes) -> Failed | None:
    """Claims that a server delivers the shares of a session; from then on inputs may leave clients.

    A server that was resumed from before it does so again, unless the session was given up.

    Returns:
        None; or, if the session was given up, the failure with which the round ends.

    Raises:
        StateError: the claim could not be stored.
    """
    _claim(ledger, Once.DELIVERY, session)
    if _has(ledger, Once.SURVIVOR_SET, session):
        return Failed(
            "the ledger has a claim for a survivor set that this server does not know: it was "
            "probably resumed from an older snapshot, or another process has given the round up",
            Code.ROLLED_BACK,
        )
    return None


def give_up_plan(ledger: Ledger, session: bytes) -> bool:
    """Returns whether no server of a planned session has delivered shares; then none ever will.

    The server claims the delivery first and then looks whether the session was given up; here it is
    the other way round. So of the two, if they meet, at most one goes on.

    Returns:
        False also if the ledger cannot tell: it has no method `has`, or knows of no such plan, as
        one that was lost or is in the memory of another process.

    Raises:
        StateError: the ledger failed.
    """
    if not _has(ledger, Once.PLAN, session) or _has(ledger, Once.DELIVERY, session):
        return False
    _claim(ledger, Once.SURVIVOR_SET, session)
    return not _has(ledger, Once.DELIVERY, session)


def claim_plan(ledger: Ledger, session: bytes) -> None:
    """Notes that a session is planned, for `give_up_plan` and `require_same_ledger`.

    Raises:
        StateError: the claim could not be stored.
    """
    _claim(ledger, Once.PLAN, session)


def require_same_ledger(ledger: Ledger, other: Ledger, session: bytes) -> None:
    """Checks that a ledger sees what is claimed for a session in another one, maybe itself.

    Raises:
        StateError: it does not, or cannot tell; or a ledger failed.
    """
    if ledger is other:
        return
    claim_plan(ledger, session)
    if not _has(other, Once.PLAN, session):
        raise StateError(
            f"the server of session {session.hex()} has another ledger than the home that is to "
            "store it, so what it claims would be unknown once it is resumed: make it with "
            "`home.ledger`, or store it in the home of its `Rounds`",
            Code.NO_LEDGER,
        )


def _has(ledger: Ledger, what: Once, key: bytes) -> bool:
    """Returns whether something was claimed; False if the ledger cannot tell."""
    has = getattr(ledger, "has", None)
    return callable(has) and _answer("has", has(what, key))


def _claim(ledger: Ledger, what: Once, key: bytes) -> bool:
    return _answer("claim", ledger.claim(what, key))


def _answer(method: str, answer: object) -> bool:
    if not isinstance(answer, bool):  # a coroutine, say, which would count as True
        raise StateError(
            f"`{method}` of a ledger must return True or False, not {type(answer).__name__}",
            Code.NO_LEDGER,
        )
    return answer
