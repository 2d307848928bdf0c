"""The agreement of all sides of a training: parameters, a word for it, a number of attempts."""

from typing import Final

from secagg import Code, FixedPoint, ParameterError, Params, Rotated
from secagg.rounds.attempts import check_training

from .updates import Form, whole

PAIR: Final = 2  # clients; from their sum each learns the other's update
NUMBERS: Final = 2**63  # above all counts: the text of an int has a limit, and peers send ints


def check_params(params: Params) -> Form:
    """Checks that these are parameters for real numbers, in sums over three clients or more.

    Returns:
        their format.

    Raises:
        ParameterError: they are not.
    """
    if not isinstance(params, Params):
        raise ParameterError(
            f"params must be Params, not {type(params).__name__}; make them with fedavg_params",
            Code.ARGUMENT,
        )
    if params.quorum <= PAIR:
        raise ParameterError(
            "federated averaging needs at least three clients in every sum, and params have a "
            f"quorum of {params.quorum}: from the sum of two each learns the other's update",
            Code.ARGUMENT,
        )
    if not isinstance(params.format, FixedPoint | Rotated):
        raise ParameterError(
            "federated averaging needs the format FixedPoint or Rotated, and params have "
            f"{params.format}",
            Code.ARGUMENT,
        )
    return params.format


def check_agreed(params: Params, training: str, attempts: int) -> int:
    """Checks what the cohort agrees on; returns `attempts` as an int."""
    check_params(params)
    check_training(training)
    return whole("attempts", attempts, 1, NUMBERS - 1)
