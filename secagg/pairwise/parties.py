"""Makes all parties of a round at once, for trials, tests and measurements in one process."""

import os
from collections.abc import Callable

from ..events import Randomness
from ..identity.directory import Directory
from ..identity.identity import Identity
from ..ledger.ledger import MemoryLedger
from ..params.mode import Mode
from ..params.params import Params
from ..params.policy import Policy
from .client import Client
from .server import Server


def introduce(cohort: int) -> tuple[list[Identity], Directory]:
    """Makes fresh identities for a whole cohort, and the directory that pins them."""
    identities = [Identity.generate() for _ in range(cohort)]
    entries = [(f"party-{i}", identity.verify_key) for i, identity in enumerate(identities)]
    return identities, Directory.of(entries)


def all_parties(
    params: Params, policy: Policy, random: Callable[[int], Randomness] | None = None
) -> tuple[Server, dict[int, Client]]:
    """Makes the server of a new round, and its clients by index.

    Args:
        params: of the round; in malicious mode each client gets a fresh identity.
        policy: that of every client.
        random: returns a party's source of randomness; by default the operating system's.
    """
    agreed = params.round()
    malicious = params.mode == Mode.MALICIOUS
    identities, directory = introduce(params.cohort) if malicious else ([], None)
    ledger = MemoryLedger() if malicious else None
    clients = {
        party: Client(
            agreed,
            party,
            policy,
            random(party) if random else os.urandom,
            identity=identities[party] if malicious else None,
            directory=directory,
            ledger=ledger,
        )
        for party in range(params.cohort)
    }
    return Server(agreed, directory), clients
