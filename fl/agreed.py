"""The agreement of all sides of a training: parameters, a word for it, a number of attempts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeVar

from secagg import Code, FixedPoint, Mode, ParameterError, Params, Rotated, digest
from secagg.numeric import as_float, as_int, brief
from secagg.rounds.attempts import check_training

from .optimizers import Optimizer
from .updates import FedClient, Form, count_examples, whole

PAIR: Final = 2  # clients; from their sum each learns the other's update
NUMBERS: Final = 2**63  # above all counts: the text of an int has a limit, and peers send ints

T = TypeVar("T")


def listed(name: str, values: Iterable[T]) -> list[T]:
    """Returns an iterable of the user's as a list; a generator is used up."""
    if not isinstance(values, Iterable) or isinstance(values, Mapping | str):
        raise ParameterError(f"{name} must be a list, not {type(values).__name__}", Code.ARGUMENT)
    return list(values)


def at_least_three(name: str, values: Iterable[T], whose: str, what: str) -> list[T]:
    """Returns clients or parties as a list.

    Args:
        name: of the argument, "clients" or "parties".
        values: they.
        whose: what is refused with fewer, for the message.
        what: each of two would learn of the other, for the message.

    Raises:
        ParameterError: it is no list, or there are fewer than three.
    """
    found = listed(name, values)
    if len(found) <= PAIR:
        raise ParameterError(
            f"{whose} needs at least three {name}, not {len(found)}: from the sum of two each "
            f"learns the other's {what}",
            Code.ARGUMENT,
        )
    return found


def check_kind(name: str, value: object, kind: type) -> None:
    """Raises ParameterError unless an argument is of a kind; a class is none of its own."""
    if not isinstance(value, kind):
        wanted = f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"
        raise ParameterError(f"{name} must be {wanted}, not {brief(value)}", Code.ARGUMENT)


def check_cohort(clients: Iterable[FedClient]) -> tuple[list[FedClient], int]:
    """Checks that these are three clients or more, and that one of them holds examples.

    Returns:
        them, and the largest number of examples that one holds.
    """
    found = at_least_three("clients", clients, "federated averaging", "update")
    most = max(count_examples(f"client {at}", client) for at, client in enumerate(found))
    if not most:
        raise ParameterError("no client holds an example to train on", Code.WEIGHT)
    return found, most


def cohort_of(clients: int, sample: float | None) -> int:
    """Returns how many of the clients are in each round.

    Args:
        clients: all of them.
        sample: None for all; a number of them, at least three; or a share, above 0 and up to 1,
            of which the nearest number is taken, and at least three.

    Raises:
        ParameterError: it is neither.
    """
    if sample is None:
        return clients
    count, share = as_int(sample), as_float(sample)
    if count is None and share is not None and 0 < share <= 1:
        count = max(PAIR + 1, round(share * clients))
    if count is None or not PAIR < count <= clients:
        raise ParameterError(
            "sample or buffer must be a share of the clients, above 0 and up to 1.0, or a whole "
            f"number in {PAIR + 1}..{clients}, not {brief(sample)}",
            Code.ARGUMENT,
        )
    return count


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


def check_optimizer(optimizer: Optimizer, params: Params) -> None:
    """Checks that an optimizer is for the weights and the mode of these parameters.

    What clients keep makes their updates of one model unlike. A server that lies chooses the model
    and what it sends beside it, so that all else in their sum is known to it.

    Raises:
        ParameterError: it is not.
    """
    if optimizer.clients_keep and params.mode == Mode.MALICIOUS:
        raise ParameterError(
            f"{type(optimizer).__name__} is refused in malicious mode: its clients keep something "
            "from round to round, by which a server that lies could single one of them out; take "
            "semi-honest mode, or another optimizer",
            Code.ARGUMENT,
        )
    if not optimizer.weighted and check_params(params).max_weight > 1:
        raise ParameterError(
            f"{type(optimizer).__name__} needs updates that count alike: clients that hold one "
            "example each by their word (for Scaffold wrap each in ScaffoldClient(client, "
            "scaffold)), and parameters with max_weight 1",
            Code.WEIGHT,
        )


def check_agreed(params: Params, training: str, attempts: int) -> int:
    """Checks what the cohort agrees on; returns `attempts` as an int."""
    check_params(params)
    check_training(training)
    return whole("attempts", attempts, 1, NUMBERS - 1)


def buffer_context(
    training: str, versions: Sequence[bytes], stale: Sequence[int], attempt: int
) -> bytes:
    """Returns the context of a round over updates that were kept until enough were there.

    How stale they are is in it, as that decides how much an update counts: a server that told each
    client another number could make the updates of all but one as small as the weights go.

    Args:
        training: the cohort's word for the training.
        versions: digests of the models: one that all trained on, or one for each, in their order.
        stale: how often the model has changed since, for each of these.
        attempt: number of the attempt on this.
    """
    return digest(training, "buffer", attempt, len(versions), *versions, *stale)
