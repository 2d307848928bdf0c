"""Every attack of both modes, once: a function that returns what the attacker gained, or "".

`test_client_defences.py` and `test_server_defences.py` prove that each gains nothing;
`test_planted_bugs.py` takes single defences out and proves that the same functions then report
the gain, so that green means something. Where the exploit can be carried through, it is: the gain
is the victim's input, computed from what the attacker holds.

The attacker is a server that may lie (`Liar`), alone or with colluding clients, or clients that
lie to an honest server.

An attack called as it is plays semi-honest rounds; `in_mode` plays it in either mode. In malicious
mode the attacker has the signing keys of its colluders, and of nobody else.
`test_attacks_both_modes.py` runs all of them there.

Importing the package registers every attack.
"""

from . import (
    on_client_ciphertexts,
    on_client_keys,
    on_client_messages,
    on_client_sets,
    on_server_answers,
    on_server_inputs,
    on_server_keys,
)
from .lying_clients import started_network, tampered_round, verdict, with_wrong_shares
from .lying_server import (
    Liar,
    assert_dead,
    attacker_keys,
    body,
    gain_unless_refused,
    only_message,
    refuses,
    shares_of_dealer,
)
from .on_client_keys import LOW_ORDER, NON_CANONICAL
from .registry import CLIENT_ATTACKS, SERVER_ATTACKS, in_mode, integers

__all__ = [
    "CLIENT_ATTACKS",
    "LOW_ORDER",
    "NON_CANONICAL",
    "SERVER_ATTACKS",
    "Liar",
    "assert_dead",
    "attacker_keys",
    "body",
    "gain_unless_refused",
    "in_mode",
    "integers",
    "on_client_ciphertexts",
    "on_client_keys",
    "on_client_messages",
    "on_client_sets",
    "on_server_answers",
    "on_server_inputs",
    "on_server_keys",
    "only_message",
    "refuses",
    "shares_of_dealer",
    "started_network",
    "tampered_round",
    "verdict",
    "with_wrong_shares",
]
