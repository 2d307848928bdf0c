"""Attacks on malicious mode: each returns what the attacker gained, or "", as in `attacks`.

`test_malicious.py` proves that each gains nothing, `test_planted_bugs.py` that each would succeed.

Importing the package registers every attack.
"""

from . import entries, joining, lying_clients, split_view, survivor_signatures, twice
from .registry import (
    FOUR_PARTIES,
    MALICIOUS_ATTACKS,
    STRANGER,
    malicious_integers,
    malicious_tight,
    signed,
)
from .split_view import HONEST, SplitView
from .survivor_signatures import waiting, wrong_signatures

__all__ = [
    "FOUR_PARTIES",
    "HONEST",
    "MALICIOUS_ATTACKS",
    "STRANGER",
    "SplitView",
    "entries",
    "joining",
    "lying_clients",
    "malicious_integers",
    "malicious_tight",
    "signed",
    "split_view",
    "survivor_signatures",
    "twice",
    "waiting",
    "wrong_signatures",
]
