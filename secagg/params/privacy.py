"""What a client asks of the privacy of a sum, and what it spends: interfaces, no accounting."""

import inspect
from typing import Protocol, runtime_checkable

from ..codes import Code
from ..errors import ParameterError
from .params import Params


@runtime_checkable
class PrivacyDemand(Protocol):
    """A demand on the noise of a round; `secagg.noise.Demand` is one."""

    def check(self, params: Params) -> None:
        """Refuses parameters that give less than is demanded.

        Raises:
            ParameterError: they do (`Code.POLICY_PRIVACY`).
        """


@runtime_checkable
class PrivacyBudget(Protocol):
    """What the sums that have a client's data in them may tell in all; `noise.SqliteBudget` is one.

    `client` are 32 bytes that no other client object has, whatever process goes on with it.
    """

    def check(self, client: bytes, params: Params) -> None:
        """Refuses a round that could not be paid for.

        Raises:
            ParameterError: it could not (`Code.BUDGET`).
            StateError: the budget cannot be read.
        """

    def charge(self, client: bytes, params: Params) -> None:
        """Spends what a round costs, durably before it returns; once for each client.

        Raises:
            Aborted: it cannot be paid for any more (`Code.BUDGET`); nothing is spent.
            StateError: it could not be stored.
        """


def require_privacy(privacy: object) -> None:
    """Raises ParameterError unless this is None or a demand that decides before it returns."""
    right = isinstance(privacy, PrivacyDemand | None) and _are_plain(privacy, "check")
    if not right or isinstance(privacy, PrivacyBudget):
        raise ParameterError(
            "privacy must have a plain method `check`, as secagg.noise.Demand has, and no budget's "
            f"`charge`, not {type(privacy).__name__}",
            Code.ARGUMENT,
        )


def require_budget(budget: object) -> None:
    """Raises ParameterError unless this is None or a budget that has spent when it returns."""
    if not isinstance(budget, PrivacyBudget | None) or not _are_plain(budget, "check", "charge"):
        raise ParameterError(
            f"budget must have plain methods `check` and `charge`, and {type(budget).__name__} has "
            "not: pass a secagg.noise.SqliteBudget, or an object of your own with them",
            Code.BUDGET,
        )


def _are_plain(owner: object, *names: str) -> bool:
    """Returns whether an object, which is no class, has methods that are not `async`."""
    methods = [getattr(owner, name, None) for name in names]
    return not isinstance(owner, type) and not any(map(inspect.iscoroutinefunction, methods))
