"""Attacks of a lying server with wrong or too few signatures on the survivor set."""

from collections.abc import Iterable

from harness import SESSION, WILLING, identity_of
from pairwise.attacks import Liar, gain_unless_refused
from pairwise.malicious.registry import STRANGER, attack, malicious_integers, signed

from secagg import Policy


def waiting(
    survivors: Iterable[int] = (0, 1, 2, 3),
    policy: Policy = WILLING,
    session: bytes = SESSION,
) -> tuple[Liar, dict[int, bytes]]:
    """Returns four parties (t = 3) that signed a survivor set, and its signatures by everybody."""
    survivors = tuple(survivors)
    liar = Liar(malicious_integers(4, threshold=3), policy, session=session).share()
    liar.deliver(liar.everybody)
    for party in survivors:
        assert liar.sign(party, survivors) is not None
    h3 = liar.clients[survivors[0]]._memory.h3
    return liar, {party: signed(identity_of(party), h3) for party in liar.everybody}


def wrong_signatures() -> dict[str, dict[int, bytes]]:
    """Returns signatures messages for `waiting()`, each with something that is no signature."""
    liar, true = waiting()
    other = waiting(session=bytes(16))[1]
    smaller = waiting((0, 1, 2))[1]
    stranger = signed(STRANGER, liar.clients[0]._memory.h3)
    flipped = true[2][:40] + bytes([true[2][40] ^ 1]) + true[2][41:]
    order = 2**252 + 27742317777372353535851937790883648493
    larger = int.from_bytes(true[2][32:], "little") + order
    return {
        "forged": dict.fromkeys(range(4), stranger),
        "one forged of four": {**true, 3: stranger},
        "zeros": dict.fromkeys(range(4), bytes(64)),
        "of another session": other,
        "one of another session": {**true, 1: other[1]},
        "on another set": smaller,
        "one's twice": {**true, 2: true[1]},
        "one's for all": dict.fromkeys(range(4), true[0]),
        "exchanged": {**true, 1: true[2], 2: true[1]},
        "a bit flipped": {**true, 2: flipped},
        "a second encoding": {**true, 2: true[2][:32] + larger.to_bytes(32, "little")},
        "on an entry": {party: liar.entries[party].signature for party in range(4)},
        "on an input": {party: liar.inputs[party].proof for party in range(4)},
        "the receiver's own missing, one forged": {1: true[1], 2: true[2], 3: stranger},
    }


@attack
def invalid_signatures() -> str:
    """Every way in which something is no signature on this set by this party."""
    for name, chosen in wrong_signatures().items():
        liar, _ = waiting()
        if liar.unmask(0, chosen) is not None:
            return f"unmasked for signatures: {name}"
    return ""


@attack
def too_few_signers() -> str:
    """Fewer than the threshold, down to none."""
    for signers in ((0, 1), (2, 3), (0,), ()):
        liar, true = waiting()
        if liar.unmask(0, {party: true[party] for party in signers}) is not None:
            return f"unmasked for {len(signers)} signers"
    return ""


@attack
def signers_outside_u3() -> str:
    """A colluder that dropped out signs all the same, to make up the number."""
    for signers in ((0, 1, 3), (0, 1, 2, 3)):
        liar, true = waiting((0, 1, 2))
        if liar.unmask(0, {party: true[party] for party in signers}) is not None:
            return "a signer outside the survivor set was counted"
    return ""


@attack
def second_survivor_set() -> str:
    """Another survivor set for a client that has signed one."""
    liar, _ = waiting()
    gain = gain_unless_refused(liar, 0, liar.survivors([0, 1, 2]), "signed two survivor sets")
    if gain:
        return gain
    true = waiting()[1]
    assert liar.unmask(0, true) is not None, "the refusal cost nothing"
    return gain_unless_refused(liar, 0, liar.survivors([0, 1, 2]), "signed after unmasking")
