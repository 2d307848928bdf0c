"""Attacks of a lying server that tells each client another survivor set (a split view)."""

from collections.abc import Callable, Iterable, Mapping

from harness import expected_sum, identity_of
from pairwise.attacks import Liar, shares_of_dealer
from pairwise.malicious.registry import attack, malicious_integers, signed

from secagg.pairwise import derivation, transcript
from secagg.pairwise.messages import Unmask

HONEST, COLLUDERS = (0, 1, 2, 3, 4), (5, 6)
EVERYBODY = HONEST + COLLUDERS


class SplitView:
    """Seven parties, t = 5, two of them colluders; the server tells everybody another U3.

    What colluders hold is taken from them before they wipe it; they sign whatever is wanted.
    """

    def __init__(self, views: Mapping[int, Iterable[int]], small_u2: Iterable[int] = ()) -> None:
        self.liar = Liar(malicious_integers(7, threshold=5, colluders=2))
        self.mask_secrets = {
            party: self.liar.clients[party]._memory.mask_secret.expose() for party in COLLUDERS
        }
        self.liar.share()
        if small_u2:
            self.liar.deliver(small_u2, [0])
        self.liar.deliver(EVERYBODY, EVERYBODY[1:] if small_u2 else EVERYBODY)
        self.views = {party: tuple(sorted(view)) for party, view in views.items()}
        self.held = {party: dict(self.liar.clients[party]._memory.held) for party in COLLUDERS}
        given = {party: self.liar.sign(party, self.views[party]) for party in HONEST}
        self.given = {party: one for party, one in given.items() if one is not None}
        assert len(self.given) == len(HONEST), "every view by itself is acceptable"
        self.answers: dict[int, Unmask | None] = {}

    def every_signature(self, party: int) -> dict[int, bytes]:
        """Returns all that members of this party's view signed, whatever it was."""
        h3 = self.liar.clients[party]._memory.h3
        return {
            member: self.given.get(member) or signed(identity_of(member), h3)
            for member in self.views[party]
        }

    def valid_signatures(self, party: int) -> dict[int, bytes]:
        """Returns the signatures that fit this party's view."""
        h3 = self.liar.clients[party]._memory.h3
        return {
            member: signature
            for member, signature in self.every_signature(party).items()
            if member in COLLUDERS or self.liar.clients[member]._memory.h3 == h3
        }

    def ask(self, choose: Callable[[int], dict[int, bytes]]) -> None:
        """Hands everybody signatures; keeps the answers."""
        self.answers = {party: self.liar.unmask(party, choose(party)) for party in HONEST}

    def seed(self, dealer: int, alive: bool) -> bytes | None:
        """Rebuilds one seed of a dealer from all that the attacker has."""
        told = {
            party: answer
            for party, answer in self.answers.items()
            if (dealer in self.views[party]) is alive
        }
        shares = shares_of_dealer(told, dealer)
        for party, held in self.held.items():
            shares[party] = held[dealer][3:] if alive else held[dealer][:3]
        return self.liar.seed(shares)

    def masks_of(self, dealers: Iterable[int]) -> dict[int, bytes]:
        """Returns the mask keys that the attacker has, of these and of the colluders."""
        seeds = {dealer: self.seed(dealer, alive=False) for dealer in dealers}
        found = {
            dealer: derivation.mask_key(seed, self.liar.h0, dealer)
            for dealer, seed in seeds.items()
            if seed is not None
        }
        return {**self.mask_secrets, **found}


def _one_input(choose: Callable[[SplitView], Callable[[int], dict[int, bytes]]]) -> str:
    """Plays a round in which U2 of the victim is smaller, and everybody is told another U3.

    Everybody's sets are large enough. Parties 1 and 2 are missing from enough of the views for
    their mask seeds, the victim is in all of them.
    """
    small = (0, 1, 2, *COLLUDERS)
    views = {
        0: small,
        1: {*EVERYBODY} - {2},
        2: {*EVERYBODY} - {1},
        3: {*EVERYBODY} - {1, 2},
        4: {*EVERYBODY} - {1, 2},
    }
    split = SplitView(views, small)
    split.ask(choose(split))
    own = split.seed(0, alive=True)
    found = split.liar.strip(0, small, own, split.masks_of((1, 2)))
    if gain := split.liar.gained(0, found):
        return gain
    answered = [party for party, answer in split.answers.items() if answer is not None]
    return f"parties {answered} unmasked" if answered else ""


@attack
def split_view() -> str:
    """The split view of one input, with the signatures that everybody made."""
    return _one_input(lambda split: split.every_signature)


@attack
def split_view_valid_signatures() -> str:
    """The same with only those signatures that fit, which are too few."""
    return _one_input(lambda split: split.valid_signatures)


@attack
def split_survivors() -> str:
    """One U2 for all; three parties are each missing from three of the views, all of size five.

    The attacker would have the sum of two honest inputs, where three are promised.
    """
    return _sum_of_two(lambda split: split.every_signature)


@attack
def split_survivors_by_login() -> str:
    """The same, where honest parties have signed login challenges that the server chose."""

    def choose(split: SplitView) -> Callable[[int], dict[int, bytes]]:
        def signatures(party: int) -> dict[int, bytes]:
            challenge = transcript.consistency_digest(split.liar.clients[party]._memory.h3)
            return {member: identity_of(member).sign(challenge) for member in split.views[party]}

        return signatures

    return _sum_of_two(choose)


def _sum_of_two(choose: Callable[[SplitView], Callable[[int], dict[int, bytes]]]) -> str:
    missing = {0: {2, 3}, 1: {3, 4}, 2: {3, 4}, 3: {2, 4}, 4: {2}}
    split = SplitView({party: {*EVERYBODY} - gone for party, gone in missing.items()})
    split.ask(choose(split))
    liar = split.liar
    masks = split.masks_of((2, 3, 4))
    seeds = {party: split.seed(party, alive=True) for party in (0, 1)}
    if None in seeds.values() or len(masks) < 5:
        answered = [party for party, answer in split.answers.items() if answer is not None]
        return f"parties {answered} unmasked" if answered else ""
    found = liar.strip_sum((0, 1), seeds, masks)
    return "recovered the sum of two" if found == expected_sum((0, 1)) else "wrong"
