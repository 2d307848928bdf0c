"""The seconds that a server waits in each phase of a round."""

from collections.abc import Mapping, Sequence
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from ..events import Phase
from ..numeric import brief
from ..params.checks import require_seconds

DEFAULT_TIMEOUT: Final = 60.0


def read_timeouts(
    timeouts: float | Mapping[Phase, float], phases: Sequence[Phase]
) -> dict[Phase, float]:
    """Returns the seconds of each phase of a round."""
    if not isinstance(timeouts, Mapping):
        return dict.fromkeys(phases, require_seconds("timeouts", timeouts, positive=True))
    given = {}
    for phase, value in timeouts.items():
        if not isinstance(phase, Phase):
            raise ParameterError(
                f"timeouts must be a number of seconds, or a dict of them by Phase: {brief(phase)} "
                "is no Phase",
                Code.ARGUMENT,
            )
        given[phase] = require_seconds(f"timeouts[{phase}]", value, positive=True)
    return {phase: given.get(phase, DEFAULT_TIMEOUT) for phase in phases}
