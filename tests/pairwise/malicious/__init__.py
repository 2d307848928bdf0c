"""Attacks on malicious mode: each returns what the attacker gained, or "", as in `attacks`.

`test_malicious.py` proves that each gains nothing, `test_planted_bugs.py` that each would succeed.

Importing the package registers every attack.
"""

from . import entries, joining, lying_clients, split_view, survivor_signatures
from .registry import LIES, MALICIOUS_ATTACKS, STRANGER, hard, hard_tight, signed
from .split_view import HONEST, Split
from .survivor_signatures import waiting, wrong_signatures

__all__ = [
    "HONEST",
    "LIES",
    "MALICIOUS_ATTACKS",
    "STRANGER",
    "Split",
    "entries",
    "hard",
    "hard_tight",
    "joining",
    "lying_clients",
    "signed",
    "split_view",
    "survivor_signatures",
    "waiting",
    "wrong_signatures",
]
