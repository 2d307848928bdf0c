"""Sparse graphs: parameters, who stands where on the ring, a server that lies, and every attack.

As in `attacks`, an attack is a function that says what the attacker gained, or "".
`test_sparse_attacks.py` proves that each gains nothing, and that each could.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np
from harness import CONTEXT, SESSION, WILLING, Network, client_of, input_of, integers, seeded, tight
from pairwise.attacks import (
    Liar,
    body,
    gain_unless_refused,
    only_message,
    shares_of_dealer,
    started_network,
    tampered_round,
    verdict,
)
from reference.graph import pieces, ring_neighbours, ring_of
from reference.protocol import hashed

import secagg
from secagg import Code, Fractions, Mode, Params, Phase, Policy
from secagg.arithmetic.field import Field
from secagg.machine.wire import MessageType, PartySet
from secagg.pairwise import derivation, transcript
from secagg.pairwise.messages import Delivery, PublicKeys, Roster, ShareKeys, Unmask

SPARSE_ATTACKS: dict[str, Callable[[], str]] = {}
TEN = {"threshold": 4, "min_survivors": 7, "colluders": 0, "degree": 4}
# The least cohort in which so many may vanish that the ring can fall apart.
APART = {"threshold": 2, "min_survivors": 28, "colluders": 0, "degree": 26}


def on_sparse(attack: Callable[[], str]) -> Callable[[], str]:
    """Registers an attack."""
    SPARSE_ATTACKS[attack.__name__] = attack
    return attack


def ten(**more: object) -> Params:
    """Ten parties with four neighbours each, three of which must stay."""
    return integers(10, **{**TEN, **more})


def apart(length: int = 1) -> Params:
    """Fifty-four parties; what they give is as `input_of` has it."""
    return Params(54, length, secagg.Integers(-1000, 2**54), **APART)  # type: ignore[arg-type]


class Ring:
    """The ring of a round and everybody's neighbours, by the reference model."""

    def __init__(self, params: Params, context: bytes = CONTEXT, session: bytes = SESSION) -> None:
        self.params = params
        seed = hashed("graph", transcript.h0(params.round(context, session), b""))
        suite, n = int(params.suite), params.cohort
        self.order = ring_of(suite, seed, n)
        self.near = ring_neighbours(suite, seed, n, params.degree)

    def at(self, *places: int) -> list[int]:
        """The parties at these places of the ring; party 0 is at place 0."""
        start = self.order.index(0)
        return [self.order[(start + place) % len(self.order)] for place in places]

    def holders(self, party: int, among: Iterable[int]) -> set[int]:
        """Its neighbours and itself, of these."""
        return (self.near[party] | {party}) & set(among)

    def strangers(self, party: int) -> list[int]:
        """Returns the parties that are neither itself nor a neighbour."""
        return [one for one in range(self.params.cohort) if one not in self.near[party] | {party}]

    def pieces(self, members: Iterable[int]) -> list[set[int]]:
        """Into which these fall."""
        return pieces(members, self.near)

    def two_gaps(self) -> list[int]:
        """Parties without whom the others are in two pieces, party 0 in one of them."""
        half, n = self.params.degree // 2, self.params.cohort
        first = (n - self.params.degree) // 4 + 1
        other = first + half + (n - self.params.degree) // 2
        return self.at(*range(first, first + half), *range(other, other + half))


class SparseLiar(Liar):
    """A lying server on a sparse graph; it sends and reads what belongs to the neighbours."""

    def __init__(self, params: Params, **more: object) -> None:
        super().__init__(params, **more)  # type: ignore[arg-type]
        self.ring = Ring(params, self.round.context, self.round.session)

    def roster_for(
        self,
        party: int,
        members: Iterable[int] | None = None,
        entries: Mapping[int, PublicKeys] | None = None,
    ) -> bytes:
        """The roster of these members, with the true h1; the entries are those of the holders."""
        listed = sorted(self.everybody if members is None else members)
        near = sorted(self.ring.holders(party, listed))
        given = {one: {**self.entries, **(entries or {})}[one] for one in near}
        n = self.params.cohort
        return Roster(PartySet.of(listed, n), given, self.h1).encode(self.round.session, n)

    def share(self, parties: Iterable[int] | None = None) -> "SparseLiar":
        """Honest step 1."""
        for party in self.everybody if parties is None else parties:
            payload = only_message(self.clients[party].receive(self.roster_for(party)))
            self.shared[party] = ShareKeys.read(body(payload), sorted(self.ring.near[party]))
        return self

    def delivery(
        self, receiver: int, members: Iterable[int], sealed: Mapping[int, bytes] | None = None
    ) -> bytes:
        """A delivery with the true ciphertexts of the neighbours, except for those given."""
        listed = PartySet.of(members, self.params.cohort)
        chosen = {
            one: (sealed or {}).get(one) or self.shared[one].sealed[receiver]
            for one in sorted(self.ring.near[receiver] & set(listed))
        }
        return Delivery(listed, chosen).encode(self.round.session, self.params.cohort)

    def strip(
        self,
        victim: int,
        members: Iterable[int],
        self_seed: bytes | None,
        mask_secrets: Mapping[int, bytes],
    ) -> list[int] | None:
        """The victim's input, if the attacker knows all that masks it."""
        near = self.ring.near[victim] & set(members)
        return super().strip(victim, sorted(near), self_seed, mask_secrets)


def group_sums(liar: SparseLiar, answers: Mapping[int, Unmask | None], u3: set[int]) -> list[int]:
    """First elements of the sums of each piece of U3, as the server computes them from answers."""
    params, h1 = liar.params, liar.h1
    field = Field(params.field_bits)
    gone = {
        one: liar.seed(shares_of_dealer(answers, one)) for one in liar.everybody if one not in u3
    }
    sums = []
    for group in liar.ring.pieces(u3):
        total, mask_keys, signs = field.zeros(params.vector_length), list[bytes](), list[int]()
        for party in group:
            field.unpack_add(total, liar.inputs[party].packed)
            seed = liar.seed(shares_of_dealer(answers, party))
            if seed is None:
                return []
            mask_keys.append(derivation.self_key(seed, h1, party))
            signs.append(-1)
            for other in liar.ring.near[party] - u3:
                mask_seed = gone[other]
                if mask_seed is None:
                    return []
                secret = derivation.mask_key(mask_seed, liar.h0, other)
                mask_keys.append(derivation.pairwise_key(secret, h1, other, party, liar.entries))
                signs.append(-derivation.pairwise_sign(party, other))
        field.accumulate(total, mask_keys, signs, params.suite.generator)
        low: int = params.format.low  # type: ignore[union-attr]
        sums.append(int(total[0]) + low * len(group))
    return sums


# -- a lying server, alone or with colluders ------------------------------------------------------


def _few(set_of: str, gain: str) -> str:
    """Two of four neighbours are missing from one of the sets, in each of which seven are."""
    liar = SparseLiar(ten())
    left = [one for one in liar.everybody if one not in liar.ring.at(1, -2)]
    if set_of == "roster":
        return gain_unless_refused(liar, 0, liar.roster_for(0, left), gain)
    liar.share()
    if set_of == "delivery":
        return gain_unless_refused(liar, 0, liar.delivery(0, left), gain)
    liar.deliver(liar.everybody, [0])
    return gain_unless_refused(liar, 0, liar.survivors(left), gain)


@on_sparse
def few_neighbours_in_u1() -> str:
    """A roster in which fewer than t parties could hold the victim's seeds."""
    return _few("roster", "deals to three holders, where four shares are needed")


@on_sparse
def few_neighbours_in_u2() -> str:
    """A sharing set that leaves the victim two neighbours to mask with."""
    return _few("delivery", "masks with two neighbours, where three are required")


@on_sparse
def few_neighbours_in_u3() -> str:
    """A survivor set with three of the victim's holders."""
    return _few("survivors", "unmasks with three holders left")


@on_sparse
def survivors_in_two_groups() -> str:
    """Everybody is told one survivor set that falls into two; each group's masks cancel in it.

    The set is as large as the parameters ask for. From the answers the server computes both sums.
    """
    params = apart()
    liar = SparseLiar(params).share()
    liar.deliver(liar.everybody)
    u3 = set(liar.everybody) - set(liar.ring.two_gaps())
    assert len(u3) == params.quorum
    answers = {one: liar._answer(one, u3) for one in u3}
    found = group_sums(liar, answers, u3)
    groups = [sum(1 << one for one in group) for group in liar.ring.pieces(u3)]
    if not found:
        return ""
    return f"the sums of {len(groups)} groups apart" if found == groups else "wrong sums"


@on_sparse
def threshold_below_colluders() -> str:
    """An offer in which the colluders among somebody's neighbours may be as many as t."""
    try:
        params = ten(threshold=3, colluders=3, min_survivors=10)
    except secagg.ParameterError:
        return ""
    return pooled(params, 3)


def pooled(params: Params, colluding: int) -> str:
    """So many neighbours of party 0 put their shares together; the server is honest."""
    liar = SparseLiar(params)
    liar.share().deliver(liar.everybody)
    held = {one: liar.clients[one]._memory.held[0] for one in liar.ring.at(1, 2, -1)[:colluding]}
    mask_seed = liar.seed({one: row[:3] for one, row in held.items()})
    self_seed = liar.seed({one: row[3:] for one, row in held.items()})
    if mask_seed is None:
        return ""
    secret = derivation.mask_key(mask_seed, liar.h0, 0)
    return liar.gained(0, liar.strip(0, liar.everybody, self_seed, {0: secret}))


@on_sparse
def keys_of_strangers() -> str:
    """The roster of the victim with everybody's keys."""
    liar = SparseLiar(ten())
    n = liar.params.cohort
    message = Roster(PartySet.of(range(n), n), liar.entries, liar.h1).encode(SESSION, n)
    return gain_unless_refused(liar, 0, message, "took keys of strangers")


@on_sparse
def ciphertext_of_a_stranger() -> str:
    """A delivery with one ciphertext more, of a party with which it has no channel."""
    liar = SparseLiar(ten()).share()
    message = liar.delivery(0, liar.everybody) + bytes(62)
    return gain_unless_refused(liar, 0, message, "took a stranger's ciphertext")


@on_sparse
def same_key_twice() -> str:
    """Two neighbours of the victim with one mask key."""
    liar = SparseLiar(ten())
    one, other = sorted(liar.ring.near[0])[:2]
    entry = PublicKeys(liar.entries[other].channel, liar.entries[one].mask)
    message = liar.roster_for(0, entries={other: entry})
    return gain_unless_refused(liar, 0, message, "two neighbours with the same key")


@on_sparse
def sparse_where_complete_is_wanted() -> str:
    """A client that insists on the complete graph is offered a sparse one, all else the same."""
    offered, wanted = ten(threshold=4), integers(10, threshold=7, colluders=0)
    return _joins(offered, Policy(params=wanted), "a sparse round instead of a complete one")


@on_sparse
def smaller_degree_than_wanted() -> str:
    """A client that insists on six neighbours is offered four."""
    return _joins(ten(), Policy(params=ten(degree=6)), "with four neighbours instead of six")


@on_sparse
def fewer_colluders_than_wanted() -> str:
    """The round is safe from one colluder, the client wants to be from two."""
    params = ten(colluders=1, min_survivors=8)
    assert _joins(params, replace(WILLING, colluders=1), "") == "joined "
    wanted = replace(WILLING, colluders=2)
    return _joins(params, wanted, "with one colluder counted on, and not two")


@on_sparse
def sparse_without_consent() -> str:
    """A ring, of whose members two suffice to unmask a third, to a client that wants a crowd."""
    ring = integers(50, threshold=2, min_survivors=50, colluders=0, degree=2)
    for wanted in (
        Policy(mode=Mode.SEMI_HONEST, min_survivors=40, max_cohort=100),
        Policy(sparse=Fractions(0.05, 0.0)),
    ):
        if gain := _joins(ring, wanted, "a ring of fifty"):
            return gain
    return ""


def _joins(offered: Params, policy: Policy, gain: str) -> str:
    try:
        client_of(offered.round(CONTEXT, SESSION), 0, policy, seeded(0))
    except secagg.ParameterError:
        return ""
    return f"joined {gain}"


@on_sparse
def malicious_mode() -> str:
    """Parameters of a sparse round that promise safety from a server that lies."""
    try:
        ten(mode=Mode.MALICIOUS)
    except secagg.ParameterError:
        return ""
    return "a malicious round on a sparse graph"


@on_sparse
def survivors_that_may_fall_apart() -> str:
    """Parameters under which whoever drops out may well cut the graph in two."""
    try:
        params = ten(min_survivors=6, threshold=2)
    except secagg.ParameterError:
        return ""
    ring = Ring(params)
    for gone in combinations(range(10), 10 - params.quorum):
        if len(ring.pieces(set(range(10)) - set(gone))) > 1:
            return f"{len(gone)} dropouts leave two pieces"
    return ""


# -- lying clients, and a server that is honest ---------------------------------------------------


@on_sparse
def share_of_a_stranger() -> str:
    """A holder gives a share of a dealer that is no neighbour of it, and is dropped."""
    params = tight(10, **{**TEN, "threshold": 3})
    ring = Ring(params)
    liar = 3
    stranger = ring.strangers(liar)[0]

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        answer = Unmask.read(body(messages[liar]), params)
        rows = dict(zip(answer.dealers, answer.shares, strict=True)) | {stranger: answer.shares[0]}
        dealers = sorted(rows)
        lie = Unmask(PartySet.of(dealers, 10), np.stack([rows[dealer] for dealer in dealers]))
        return {**messages, liar: lie.encode(SESSION, 10)}

    network = tampered_round(params, MessageType.UNMASK, change)
    return verdict(network, range(10)) or (
        "" if liar in network.dropped else "took a share of a stranger"
    )


@on_sparse
def ciphertext_for_a_stranger() -> str:
    """A dealer sends one ciphertext more than it has neighbours: malformed, and not taken."""
    params = ten(threshold=3)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 3: messages[3] + bytes(62)}

    network = tampered_round(params, MessageType.SHARE_KEYS, change)
    gain = verdict(network, set(range(10)) - {3})
    return gain or ("" if network.refusals else "took a ciphertext for a stranger")


@on_sparse
def roster_altered_on_the_way() -> str:
    """A neighbour's mask key, or h1, is another where it arrives: that client is dropped.

    It cannot compute h1 from the entries that it sees, and must not mask with a wrong key.
    """
    params = tight(10, **{**TEN, "threshold": 3})
    for place in (22, 22 + 32 + 64 + 32):  # h1; the mask key of the second entry
        network = started_network(params)
        while not any(one.receiver == 0 for one in network.queue):
            network.deliver(network.queue.pop(0))
        at = next(i for i, one in enumerate(network.queue) if one.receiver == 0)
        payload = bytearray(network.queue[at].payload)
        payload[place] ^= 1
        network.queue[at] = replace(network.queue[at], payload=bytes(payload))
        if gain := verdict(network.run(), range(1, 10)):
            return gain
        if 0 not in network.dropped:
            return "took shares for an altered roster"
    return ""


@on_sparse
def round_that_falls_apart() -> str:
    """Dropouts leave two pieces: the server must say so, and ask nobody for shares."""
    params = apart()
    drops = dict.fromkeys(Ring(params).two_gaps(), Phase.MASKED_INPUT)
    return _asked(started_network(params, drops=drops).run(), Code.DISCONNECTED)


@on_sparse
def round_without_holders() -> str:
    """Dropouts leave a party with fewer holders than its seed needs: the same."""
    params = ten()
    drops = dict.fromkeys(Ring(params).at(1, -2), Phase.MASKED_INPUT)
    return _asked(started_network(params, drops=drops).run(), Code.NEIGHBOURS)


def _asked(network: Network, code: Code) -> str:
    told = [event.payload[3] for event in network.events if isinstance(event, secagg.Send)]
    if MessageType.SURVIVORS in told:
        return "clients were asked to unmask what cannot be unmasked"
    failure = network.failure
    return "" if failure and failure.code is code else f"ended otherwise: {failure}"


def plain_sum(parties: Iterable[int], length: int) -> list[int]:
    """The sum of `input_of` in Python integers."""
    columns = zip(*(map(int, input_of(one, length)) for one in parties), strict=True)
    return [sum(column) for column in columns]
