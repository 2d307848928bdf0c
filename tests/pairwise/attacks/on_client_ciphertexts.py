"""Attacks of a lying server on a client: ciphertexts that are reflected, replayed or misrouted."""

from collections.abc import Callable

from pairwise.attacks.lying_server import Liar, gain_unless_refused, refuses, shares_of_dealer
from pairwise.attacks.registry import integers, on_client

from secagg.pairwise import derivation


@on_client
def reflected_ciphertexts() -> str:
    """The victim is handed its own ciphertexts as if its peers had sent them.

    Where nothing binds direction it holds its own shares as theirs: told that they survive, it
    gives t shares of its own self seed away. The others, told that it vanished, give its mask
    seed. No colluder is needed.
    """
    liar = Liar(integers(4, threshold=3), colluders=(1,)).share()
    own = liar.shared[0].sealed
    if refuses(liar.clients[0], liar.delivery(0, liar.everybody, own)):
        return ""
    liar.submit(0)
    liar.deliver(liar.everybody, [1, 2, 3])
    everybody, others = liar.everybody, (1, 2, 3)
    answers = liar.answers({0: everybody, **dict.fromkeys(others, others)})
    mine = answers.pop(0)
    if mine is None:
        return "reflected ciphertexts open"
    # What it believes to be peer v's share of v's seed is v's share of its own.
    shares = {peer: mine.shares[list(mine.dealers).index(peer)] for peer in mine.dealers}
    self_seed = liar.seed(shares)
    seed = liar.seed(shares_of_dealer(answers, 0))
    if seed is None:
        return "reflected ciphertexts open"
    secrets = {0: derivation.mask_key(seed, liar.h0, 0)}
    found = liar.strip(0, liar.everybody, self_seed, secrets)
    return liar.gained(0, found) or "reflected ciphertexts open"


@on_client
def junk_ciphertexts() -> str:
    """Fewer than t - 1 ciphertexts of others open: nobody shares this client's transcript."""
    for good in range(2):  # t - 1 = 2
        liar = Liar(integers(4, threshold=3)).share()
        junk = dict.fromkeys(range(1 + good, 4), bytes(62))
        if not refuses(liar.clients[0], liar.delivery(0, liar.everybody, junk)):
            return f"an input masked with {good} confirmed peers"
    return ""


@on_client
def ciphertexts_of_another_session() -> str:
    """Ciphertexts of an earlier session in which everybody had the same channel keys.

    Only a client that restarts from old randomness has them; the transcript hash still tells
    the sessions apart.
    """
    old = Liar(integers(4, threshold=3), session=bytes(16)).share()
    liar = Liar(integers(4, threshold=3)).share()
    assert old.entries[1].channel == liar.entries[1].channel
    replayed = {peer: old.shared[peer].sealed[0] for peer in (1, 2, 3)}
    message = liar.delivery(0, liar.everybody, replayed)
    return gain_unless_refused(liar, 0, message, "shares of an earlier session")


@on_client
def misrouted_ciphertexts() -> str:
    """Ciphertexts for another receiver, from another sender, or both exchanged."""
    cases: dict[str, Callable[[Liar], dict[int, bytes]]] = {
        "for another receiver": lambda liar: {
            1: liar.shared[1].sealed[2], 2: liar.shared[2].sealed[1], 3: liar.shared[3].sealed[1]
        },
        "from another sender": lambda liar: {
            1: liar.shared[2].sealed[0], 2: liar.shared[3].sealed[0], 3: liar.shared[1].sealed[0]
        },
        "own, of another direction": lambda liar: {
            1: liar.shared[0].sealed[2], 2: liar.shared[0].sealed[3], 3: liar.shared[0].sealed[1]
        },
    }  # fmt: skip
    for name, sealed in cases.items():
        liar = Liar(integers(4, threshold=3)).share()
        if not refuses(liar.clients[0], liar.delivery(0, liar.everybody, sealed(liar))):
            return f"a ciphertext {name} opens"
    return ""
