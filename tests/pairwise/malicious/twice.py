"""An attack of a lying server on identities that have two live clients in one session."""

from dataclasses import replace

from harness import WILLING, expected_sum
from pairwise.attacks import Liar, shares_of_dealer
from pairwise.malicious.registry import attack, malicious_integers

import secagg
from secagg import MemoryLedger
from secagg.pairwise import derivation
from secagg.pairwise.messages import ShareKeys

GHOST, LIVE, COLLUDERS = 4, (0, 1, 2), (5, 6, 7)
HONEST = (*LIVE, 3, GHOST)


@attack
def one_identity_twice() -> str:
    """The same offer twice: the entry of one client is a survivor that nobody is behind.

    Eight parties, t = 6, a quorum of seven, three colluders: four honest inputs are promised under
    a sum. In the first group party 4 vanishes, so its mask key is known; the roster of the second
    one names that entry, and the quorum is full with three honest inputs.
    """
    params = malicious_integers(8, threshold=6, min_survivors=7, colluders=3)
    policy = replace(WILLING, allow_repeats=True)
    ledgers = {party: MemoryLedger() for party in HONEST}
    try:
        first, second = (
            Liar(params, policy, label, colluders=COLLUDERS, ledgers=ledgers) for label in (1, 2)
        )
    except secagg.Aborted:
        return ""
    secrets = {party: second.clients[party]._memory.mask_secret.expose() for party in COLLUDERS} | {
        GHOST: _mask_secret_of_the_ghost(first)
    }
    members = (*LIVE, GHOST, *COLLUDERS)
    entries = {**second.entries, GHOST: first.entries[GHOST]}
    second.entries = {party: entries[party] for party in members}
    second.share((*LIVE, *COLLUDERS))
    second.shared[GHOST] = ShareKeys(b"", b"", dict.fromkeys(range(8), bytes(62)))
    held = {}
    for party in COLLUDERS:
        second.clients[party].receive(second.delivery(party, members))
        held[party] = dict(second.clients[party]._memory.held)
    second.deliver(members, LIVE)
    answers = second.answers(dict.fromkeys(LIVE, members))
    seeds = {
        party: second.seed(
            shares_of_dealer(answers, party)
            | {holder: shares[party][3:] for holder, shares in held.items()}
        )
        for party in LIVE
    }
    found = second.strip_sum(LIVE, seeds, secrets)
    return "one honest input less than promised" if found == expected_sum(LIVE) else "wrong sum"


def _mask_secret_of_the_ghost(liar: Liar) -> bytes:
    """Plays a round in which one party vanishes; returns the secret of its mask key."""
    liar.share().deliver(liar.everybody)
    held = {party: dict(liar.clients[party]._memory.held) for party in COLLUDERS}
    survivors = [party for party in liar.everybody if party != GHOST]
    answers = liar.answers({party: survivors for party in HONEST if party != GHOST})
    seed = liar.seed(
        shares_of_dealer(answers, GHOST)
        | {holder: shares[GHOST][:3] for holder, shares in held.items()}
    )
    assert seed is not None
    return derivation.mask_key(seed, liar.h0, GHOST)
