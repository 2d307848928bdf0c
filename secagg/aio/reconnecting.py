"""Decides when a client connects again, and what its log says while it cannot."""

import logging
import random
import time
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from ..numeric import brief
from ..params.checks import require_seconds
from ..texts import described

_log: Final = logging.getLogger("secagg.aio")

PAUSES: Final = (0.5, 10.0)  # seconds: the first pause, and the longest
_FIRST_WARNING: Final = 60.0  # seconds without a connection of use
_NEXT_WARNING: Final = 600.0
_MOST_TEXTS: Final = 8  # reasons that are warnings in that time


def read_pauses(pauses: tuple[float, float]) -> tuple[float, float]:
    """Returns the first pause and the longest; raises ParameterError if they are none."""
    try:
        first, longest = pauses
    except (TypeError, ValueError):
        raise ParameterError(
            f"pauses must be two numbers of seconds, the first and the longest, such as {PAUSES}, "
            f"not {brief(pauses)}",
            Code.ARGUMENT,
        ) from None
    first = require_seconds("pauses[0]", first, positive=True)
    longest = require_seconds("pauses[1]", longest, positive=True)
    if first > longest:
        raise ParameterError(
            f"pauses must be the first and the longest, and {first:g} is above {longest:g}",
            Code.ARGUMENT,
        )
    return first, longest


class Reconnecting:
    """The pauses of one client between its tries to connect. The caller tells what time it is.

    A connection was of use if the client has answered a message of a round over it, or if it lasted
    for the longest pause: a server that has nothing to say is there as well. After such a one the
    pauses begin anew. So a server that closes at once is soon tried no more often than once in half
    the longest pause.

    Args:
        pauses: see `attend`.
        give_up: the same.
        now: the time in seconds, of a clock that only goes forward.
    """

    def __init__(self, pauses: tuple[float, float], give_up: float, now: float) -> None:
        self._first, self._longest = pauses
        self._give_up = give_up
        self._heard = now  # when there last was a connection
        self._told: dict[str, float] = {}  # reasons that were warnings, and when
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._pause, self._since, self._tries = self._first, now, 0
        self._warn_at = now + _FIRST_WARNING

    def pause(
        self, now: float, connected_at: float | None, answered: bool, lost: Exception
    ) -> float:
        """Returns how long to wait before the next try, in seconds.

        Args:
            now: when the try ended.
            connected_at: when there was a connection; None if there was none.
            answered: whether a message of a round was answered.
            lost: why there is no connection any more, or was none.

        Raises:
            Exception: `lost`, if there was no connection for too long.
        """
        if connected_at is not None:
            self._heard = now
        elif now - self._heard >= self._give_up:
            raise lost
        if answered or (connected_at is not None and now - connected_at >= self._longest):
            self._begin(now)
        self._tries += 1
        wait = self._pause * random.uniform(0.5, 1)  # clients of one server do not come all at once
        self._pause = min(2 * self._pause, self._longest)
        why = described(lost)
        self._told = {text: at for text, at in self._told.items() if now - at < _NEXT_WARNING}
        is_news = why not in self._told and len(self._told) < _MOST_TEXTS
        is_late = now >= self._warn_at
        if is_news or is_late:
            self._told[why] = now
        level = logging.WARNING if is_news and not is_late else logging.INFO
        _log.log(level, "not connected (%s): next try in %.1f s", why, wait)
        if is_late:
            self._warn_at = now + _NEXT_WARNING
            began = time.strftime(
                "%Y-%m-%d %H:%M:%S %z", time.localtime(time.time() - (now - self._since))
            )
            _log.warning(
                "no lasting connection since %s, in %d tries: still trying (%s)",
                *(began, self._tries, why),
            )
        return min(wait, max(0.0, self._heard + self._give_up - now))
