"""The input of an application: asked for, given to the client; its faults are logged here alone."""

import logging
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import Final, NoReturn

from numpy.typing import ArrayLike

from ..codes import Code
from ..encoding.clipping import noted
from ..errors import Aborted, LocalProtocolError, ParameterError, SecAggError, StateError
from ..interfaces import ClientMachine
from ..texts import one_line
from .assignment import OTHER_ROUND, Assignment, Train, Values

_log: Final = logging.getLogger("secagg.drivers")


class NoInputError(SecAggError):
    """There is no input for a round; the reason shows nothing of this party's data."""


class _ChunkError(Exception):
    """An iterator of chunks raised an exception, which is the cause."""


def ask(train: Train, assignment: Assignment) -> tuple[Values, int]:
    """Calls `train`; returns the values and their weight.

    Raises:
        NoInputError: it raised an exception, or returned no input.
    """
    session = assignment.round.session
    try:
        with _clipping_logged(session):
            given = train(assignment)
    except (Exception, CancelledError) as error:  # the latter of a loop that `train` has run
        if isinstance(error, Aborted) and error.code in OTHER_ROUND:
            if error.reason != (told := OTHER_ROUND[error.code]):
                _log_cause(session, "train raised", error)
            raise NoInputError(told, error.code) from None
        _fail(session, "train raised", error)
    if given is None:
        raise NoInputError("this party has no input to give in this round", Code.NO_INPUT)
    if not isinstance(given, tuple):
        return given, 1
    if len(given) != 2:
        _fail(session, f"train returned a tuple of {len(given)}, not (values, weight)")
    return given


def submitted(client: ClientMachine, assignment: Assignment, values: Values, weight: int) -> bytes:
    """Gives an input to a client that waits for it; returns the message for the server.

    Raises:
        NoInputError: it is unusable, or the client was not told what it is for.
        Aborted: this party may not contribute (again), or the round is about something else.
        StateError: the ledger failed; nothing has changed.
    """
    chunks = _guarded(values) if isinstance(values, Iterator) else values
    try:
        if assignment.context is not None:
            client.expect(assignment.context, assignment.subject)
        with _clipping_logged(client.session):
            return client.submit(chunks, weight)
    except (Aborted, StateError):
        raise
    except LocalProtocolError as error:
        if error.code is not Code.NO_CONTEXT:
            raise
        raise NoInputError(error.reason, Code.NO_CONTEXT) from None
    except _ChunkError as error:
        _fail(client.session, "the chunks that train returned raised", error.__cause__)
    except Exception as error:
        _fail(client.session, "the input is unusable", error)


@contextmanager
def _clipping_logged(session: bytes) -> Iterator[None]:
    """Logs the last clipping that is warned of meanwhile, in one line: that of what was given."""
    with noted() as texts:
        try:
            yield
        finally:
            if texts:
                _log.warning("%s: %s", session.hex(), one_line(texts[-1]))


def _guarded(chunks: Iterator[ArrayLike]) -> Iterator[ArrayLike]:
    """Yields the chunks; tells exceptions of the application from those of the machine."""
    try:
        yield from chunks
    except (Exception, CancelledError) as error:
        raise _ChunkError from error


def _is_our_text(error: SecAggError) -> bool:
    """Returns whether this library has written the text of an error, and quotes no data in it.

    The application may raise the same classes. A `ParameterError` quotes arguments; and where
    another library is the cause, such as one whose array cannot be read, the text quotes it.
    """
    if isinstance(error, ParameterError) or error.__cause__ is not None:
        return False
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    raised_in = str(frames[-1].f_globals.get("__name__")) if frames else ""
    return raised_in.partition(".")[0] == __name__.partition(".")[0]


def _fail(session: bytes, what: str, error: BaseException | None = None) -> NoReturn:
    """Logs on this machine why there is no input, and raises what the server is told."""
    _log_cause(session, what, error)
    raise NoInputError(
        "the training of this party gave no usable input in this round", Code.TRAINING
    ) from None


def _log_cause(session: bytes, what: str, error: BaseException | None) -> None:
    """Logs on this machine why there is no input.

    The text of an exception of the application may show data, so only its type is a warning.
    """
    if error is None:
        _log.warning("%s: %s", session.hex(), what)
    elif isinstance(error, SecAggError) and _is_our_text(error):
        _log.warning("%s: %s: %s [%s]", session.hex(), what, one_line(str(error)), error.code)
    else:
        _log.warning(
            "%s: %s: %s (text and traceback at level DEBUG of %s)",
            *(session.hex(), what, type(error).__name__, _log.name),
        )
    _log.debug("%s: %s", session.hex(), what, exc_info=error)
