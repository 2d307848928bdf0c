"""The things that adapters have in common."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from ..codes import Code
from ..errors import Aborted, ParameterError

# Attempts at the same in semi-honest mode: a round that failed has shown nothing to a server that
# follows the protocol.
MANY: Final = 2**32 - 1


def wrong(text: str) -> ParameterError:
    """Returns an error of whoever calls an adapter."""
    return ParameterError(text, Code.ARGUMENT)


def show_log_beside(framework: str) -> logging.Logger:
    """Shows secagg's log where a framework's is, unless the application has set up logging itself.

    Args:
        framework: the name of the framework's logger, whose handlers are shared.

    Returns:
        The framework's logger.
    """
    ours, theirs = logging.getLogger("secagg"), logging.getLogger(framework)
    if not logging.getLogger().handlers and len(ours.handlers) == 1:  # that of the library
        ours.setLevel(logging.INFO)
        for handler in theirs.handlers:
            ours.addHandler(handler)
    return theirs


@contextmanager
def failures_logged(log: logging.Logger) -> Iterator[None]:
    """Logs on this machine, with its traceback, what fails while an input is made.

    The server gets a fixed phrase. A refusal of the round is no failure.
    """
    try:
        yield
    except Aborted:
        raise
    except Exception:
        log.exception("secagg: there is nothing to give in this round")
        raise


def caller_before(entry: type) -> str:
    """Returns the first function that an object of a class has called on the way to the caller.

    The caller is one of a chain of functions that a framework puts around each other by one wrapper
    of its own, which does not count. "" if the caller is the first, or is not called through such
    an object.

    Args:
        entry: the class whose object calls the chain.
    """
    frame: FrameType | None = sys._getframe(2)
    wrapper, others = sys._getframe(2).f_code, []
    while frame is not None and not isinstance(frame.f_locals.get("self"), entry):
        others += [] if frame.f_code is wrapper else [frame.f_code.co_qualname]
        frame = frame.f_back
    return others[-1] if frame is not None and others else ""
