"""Attacks of a lying server on a client: which sets U1, U2, U3 it makes the client believe."""

from pairwise.attacks.lying_server import (
    Liar,
    attacker_keys,
    body,
    gain_unless_refused,
    only_message,
    refuses,
    shares_of_dealer,
)
from pairwise.attacks.registry import integers, least_threshold, on_client

import secagg
from secagg import Policy
from secagg.pairwise import derivation
from secagg.pairwise.messages import ShareKeys

# -- a U2 that is too small ------------------------------------------------------------------------


@on_client
def alone_in_u2() -> str:
    """The victim is told that U2 is itself; everybody else that U2 is the cohort.

    Its pairwise masks are gone. All others give their shares of its self seed, since it is among
    the survivors: without a colluder the server has everything.
    """
    liar = Liar(integers(4, threshold=3)).share()
    if refuses(liar.clients[0], liar.delivery(0, [0])):
        return ""
    liar.submit(0)
    liar.deliver(liar.everybody, [1, 2, 3])
    answers = liar.answers(dict.fromkeys((1, 2, 3), liar.everybody))
    return liar.gained(0, liar.strip(0, [0], liar.seed(shares_of_dealer(answers, 0)), {}))


@on_client
def small_u2_of_colluders() -> str:
    """U2 is the victim and two colluders, below min_survivors but with enough ciphertexts.

    (In malicious mode there are never colluders enough for that: 2t > n + c.)
    """
    params = integers(5, threshold=least_threshold(5), min_survivors=5, colluders=2)
    liar = Liar(params, colluders=(1, 2))
    secrets = {party: liar.clients[party]._memory.mask_secret.expose() for party in (1, 2)}
    liar.share()
    if refuses(liar.clients[0], liar.delivery(0, [0, 1, 2])):
        return ""
    liar.submit(0)
    liar.deliver(liar.everybody, [1, 2, 3, 4])
    answers = liar.answers(dict.fromkeys((1, 2, 3, 4)[: params.threshold], liar.everybody))
    return liar.gained(
        0, liar.strip(0, [0, 1, 2], liar.seed(shares_of_dealer(answers, 0)), secrets)
    )


@on_client
def quorum_below_own_policy() -> str:
    """The client insists on more survivors than the parameters of the round."""
    params = integers(5, threshold=least_threshold(5), colluders=1)
    try:
        Liar(params, Policy(min_survivors=params.quorum + 1))
    except secagg.ParameterError:
        return ""
    return "joined a round that may end below the client's own minimum"


# -- small sets, and sets without the victim -------------------------------------------------------


@on_client
def small_u1() -> str:
    """A roster below the quorum."""
    liar = Liar(integers(5, threshold=least_threshold(5)))
    entries = {party: liar.entries[party] for party in (0, 1)}
    return gain_unless_refused(
        liar, 0, liar.roster(entries), "the client deals to a roster below the quorum"
    )


@on_client
def alone_in_u1() -> str:
    """A roster of the victim alone."""
    liar = Liar(integers(3, threshold=least_threshold(3)))
    return gain_unless_refused(liar, 0, liar.roster({0: liar.entries[0]}), "a roster of one")


@on_client
def self_missing_from_u1() -> str:
    """A roster of everybody else."""
    liar = Liar(integers(5, threshold=least_threshold(5)))
    others = {party: entry for party, entry in liar.entries.items() if party != 0}
    return gain_unless_refused(
        liar, 0, liar.roster(others), "the client deals shares in a round without it"
    )


@on_client
def self_missing_from_u2() -> str:
    """U2 without the victim: the others would not mask with it."""
    liar = Liar(integers(5, threshold=least_threshold(5))).share()
    return gain_unless_refused(
        liar, 0, liar.delivery(0, [1, 2, 3, 4]), "an input that nobody masks with"
    )


@on_client
def self_missing_from_u3() -> str:
    """The victim is told that it dropped, and would give a share of its own mask seed."""
    liar = Liar(integers(5, threshold=least_threshold(5))).share()
    liar.deliver(liar.everybody)
    answer = liar.answers(dict.fromkeys(liar.everybody, (1, 2, 3, 4)))[0]
    if answer is None:
        return ""
    return "a share of its own mask seed" if 0 in answer.dealers else "an answer"


# -- sets with outsiders ---------------------------------------------------------------------------


@on_client
def u2_outside_u1() -> str:
    """U2 padded to the quorum with a party that is not in the roster."""
    liar = Liar(integers(5, threshold=least_threshold(5)))
    entries = {party: liar.entries[party] for party in (0, 1, 2, 3)}
    liar.clients[0].receive(liar.roster(entries))
    for peer in (1, 2, 3):
        payload = only_message(liar.clients[peer].receive(liar.roster(entries)))
        receivers = [party for party in entries if party != peer]
        liar.shared[peer] = ShareKeys.read(body(payload), receivers)
    message = liar.delivery(0, [0, 1, 2, 4], {4: bytes(62)})
    return gain_unless_refused(liar, 0, message, "U2 with a party outside U1")


@on_client
def u3_outside_u2() -> str:
    """U3 padded to the quorum with parties outside U2: the victim's sum would be its own.

    (In malicious mode fewer than a third of the cohort are outside, so others fill it up.)
    """
    liar = Liar(integers(5, threshold=least_threshold(5))).share()
    quorum = liar.params.quorum
    liar.deliver(range(quorum))
    padded = (0, *range(quorum, 5), *range(1, quorum))[:quorum]
    return gain_unless_refused(liar, 0, liar.survivors(padded), "an answer for U3 outside U2")


# -- more than one set -----------------------------------------------------------------------------


@on_client
def small_u3() -> str:
    """Everybody is told another survivor set of two: the victim and itself.

    Each gives its share of the victim's self seed and of all other mask seeds, so the server
    has every mask of the victim.
    """
    liar = Liar(integers(4, threshold=3)).share()
    liar.deliver(liar.everybody)
    answers = liar.answers({party: {0, party} for party in liar.everybody})
    if not any(answers.values()):
        return ""
    own = liar.seed(shares_of_dealer(answers, 0))
    secrets = {}
    for peer in (1, 2, 3):
        told = {holder: answer for holder, answer in answers.items() if holder != peer}
        seed = liar.seed(shares_of_dealer(told, peer))
        if seed is not None:
            secrets[peer] = derivation.mask_key(seed, liar.h0, peer)
    return liar.gained(0, liar.strip(0, liar.everybody, own, secrets)) or "an answer for small U3"


@on_client
def two_survivor_sets() -> str:
    """Asked twice, clients would give both shares of the victim: of self seed, then mask seed."""
    liar = Liar(integers(4, threshold=3)).share()
    liar.deliver(liar.everybody)
    first = liar.answers(dict.fromkeys(liar.everybody, liar.everybody))
    assert all(first.values())
    second = liar.answers(dict.fromkeys((1, 2, 3), (1, 2, 3)))
    own, seed = liar.seed(shares_of_dealer(first, 0)), liar.seed(shares_of_dealer(second, 0))
    if seed is None:
        return ""
    secrets = {0: derivation.mask_key(seed, liar.h0, 0)}
    return liar.gained(0, liar.strip(0, liar.everybody, own, secrets)) or "both shares of one party"


@on_client
def two_sharing_sets() -> str:
    """A second delivery with another U2, after the input was asked for or sent."""
    for submitted in (False, True):
        liar = Liar(integers(5, threshold=least_threshold(5))).share()
        liar.clients[0].receive(liar.delivery(0, liar.everybody))
        if submitted:
            liar.submit(0)
        if not refuses(liar.clients[0], liar.delivery(0, range(liar.params.quorum))):
            return "two sharing sets: the difference of two masked inputs is a difference of masks"
    return ""


@on_client
def two_rosters() -> str:
    """A second roster, with another entry."""
    liar = Liar(integers(4, threshold=3), colluders=(1,)).share()
    other = liar.roster(liar.altered(1, mask=attacker_keys(1)[1]))
    return gain_unless_refused(liar, 0, other, "shares under two rosters")
