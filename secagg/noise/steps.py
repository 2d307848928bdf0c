"""Variances of noise as whole numbers of steps."""

from ..codes import Code
from ..errors import ParameterError
from ..numeric import as_int, brief
from ..params.rotated import MAX_VARIANCE, Noise


def require_steps(noise: Noise, called: str, steps: object, instead: str = "") -> int:
    """Returns a variance in steps of 2**-16; raises ParameterError unless it can be sampled.

    Args:
        noise: the kind of noise.
        called: its name in the message.
        steps: the variance.
        instead: what else to choose for more of it than there is.
    """
    found, most = as_int(steps), MAX_VARIANCE[noise]
    if found is None or not 1 <= found <= most:
        raise ParameterError(
            f"{called} noise has a variance of 1..2**{most.bit_length() - 1} steps of 2**-16, not "
            f"{brief(steps)}: for more noise choose a coarser grid (a smaller scale){instead}",
            Code.ARGUMENT,
        )
    return found
