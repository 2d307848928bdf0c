"""The things that adapters have in common."""

import logging
from typing import Final

from ..codes import Code
from ..errors import ParameterError

# Attempts at the same in semi-honest mode: a round that failed has shown nothing to a server that
# follows the protocol.
MANY: Final = 2**32 - 1


def wrong(text: str) -> ParameterError:
    """Returns an error of whoever calls an adapter."""
    return ParameterError(text, Code.ARGUMENT)


def show_log_beside(framework: str) -> None:
    """Shows secagg's log where a framework's is, unless the application has set up logging itself.

    Args:
        framework: the name of the framework's logger, whose handlers are shared.
    """
    ours = logging.getLogger("secagg")
    if not logging.getLogger().handlers and len(ours.handlers) == 1:  # that of the library
        ours.setLevel(logging.INFO)
        for handler in logging.getLogger(framework).handlers:
            ours.addHandler(handler)
