"""What a client asks of the privacy of a sum, and what it spends: interfaces, no accounting."""

from typing import Protocol, runtime_checkable

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
