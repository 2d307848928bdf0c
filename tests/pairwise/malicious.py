"""Attacks on malicious mode, as in `attacks.py`: each says what the attacker gained, or "".

`test_malicious.py` proves that each gains nothing, `test_planted_bugs.py` that each would succeed.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from harness import (
    CONTEXT,
    SESSION,
    Network,
    directory_of,
    expected_sum,
    identity_of,
    integers,
    seeded,
    tight,
)
from pairwise.attacks import (
    LOW_ORDER,
    NON_CANONICAL,
    Liar,
    attempt,
    body,
    cohort,
    column,
    fresh_keys,
    meddle,
    verdict,
)

import secagg
from secagg import Client, Directory, Identity, MemoryLedger, Mode, Params, Policy
from secagg.field import Field
from secagg.pairwise import keys
from secagg.pairwise.messages import (
    AdvertiseKeys,
    Consistency,
    MaskedInput,
    PublicKeys,
    ShareKeys,
    Unmask,
)
from secagg.primitives import agreement, seal, shamir
from secagg.wire import MessageType

Attack = Callable[[], str]
MALICIOUS_ATTACKS: dict[str, Attack] = {}
STRANGER = Identity.generate(seeded("stranger"))


def attack(function: Attack) -> Attack:
    """Registers an attack."""
    MALICIOUS_ATTACKS[function.__name__] = function
    return function


def hard(cohort: int, length: int = 4, **more: object) -> Params:
    """`integers` in malicious mode."""
    return integers(cohort, length, mode=Mode.MALICIOUS, **more)


def hard_tight(cohort: int, length: int = 1, **more: object) -> Params:
    """`tight` in malicious mode."""
    return tight(cohort, length, mode=Mode.MALICIOUS, **more)


LIES = hard_tight(4, threshold=3)


def signed(identity: Identity, h3: bytes) -> bytes:
    """A consistency signature."""
    return identity.sign(keys.consistency_digest(h3))


# -- a split view ---------------------------------------------------------------------------------

HONEST, COLLUDERS = (0, 1, 2, 3, 4), (5, 6)
EVERYBODY = HONEST + COLLUDERS


class Split:
    """Seven parties, t = 5, two of them colluders; the server tells everybody another U3.

    What colluders hold is taken from them before they wipe it; they sign whatever is wanted.
    """

    def __init__(self, views: Mapping[int, Iterable[int]], small_u2: Iterable[int] = ()) -> None:
        self.liar = Liar(hard(7, threshold=5, colluders=2))
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
        """All that members of this party's view signed, whatever it was."""
        h3 = self.liar.clients[party]._memory.h3
        return {
            member: self.given.get(member) or signed(identity_of(member), h3)
            for member in self.views[party]
        }

    def valid_signatures(self, party: int) -> dict[int, bytes]:
        """Those that fit this party's view."""
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
        """One seed of a dealer from all that the attacker has."""
        told = {
            party: answer
            for party, answer in self.answers.items()
            if (dealer in self.views[party]) is alive
        }
        shares = column(told, dealer)
        for party, held in self.held.items():
            shares[party] = held[dealer][3:] if alive else held[dealer][:3]
        return self.liar.seed(shares)

    def masks_of(self, dealers: Iterable[int]) -> dict[int, bytes]:
        """The mask keys that the attacker has, of these and of the colluders."""
        seeds = {dealer: self.seed(dealer, alive=False) for dealer in dealers}
        found = {
            dealer: keys.mask_key(seed, self.liar.h0, dealer)
            for dealer, seed in seeds.items()
            if seed is not None
        }
        return {**self.mask_secrets, **found}


def _one_input(choose: Callable[[Split], Callable[[int], dict[int, bytes]]]) -> str:
    """U2 of the victim is smaller than that of the others, who are each told another U3.

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
    split = Split(views, small)
    split.ask(choose(split))
    own = split.seed(0, alive=True)
    found = split.liar.strip(0, small, own, split.masks_of((1, 2)))
    if gain := split.liar.gained(0, found):
        return gain
    answered = [party for party, answer in split.answers.items() if answer is not None]
    return f"parties {answered} unmasked" if answered else ""


@attack
def split_view() -> str:
    """With the signatures that everybody made."""
    return _one_input(lambda split: split.every_signature)


@attack
def split_view_valid_signatures() -> str:
    """With only those that fit, which are too few."""
    return _one_input(lambda split: split.valid_signatures)


@attack
def split_survivors() -> str:
    """One U2 for all; three parties are each missing from three of the views, all of size five.

    The attacker would have the sum of two honest inputs, where three are promised.
    """
    missing = {0: {2, 3}, 1: {3, 4}, 2: {3, 4}, 3: {2, 4}, 4: {2}}
    split = Split({party: {*EVERYBODY} - gone for party, gone in missing.items()})
    split.ask(split.every_signature)
    liar = split.liar
    masks = split.masks_of((2, 3, 4))
    seeds = [split.seed(party, alive=True) for party in (0, 1)]
    if None in seeds or len(masks) < 5:
        answered = [party for party, answer in split.answers.items() if answer is not None]
        return f"parties {answered} unmasked" if answered else ""
    field = Field(liar.params.field_bits)
    total = field.zeros(liar.params.vector_length)
    for party, seed in zip((0, 1), seeds, strict=True):
        field.unpack_add(total, liar.inputs[party].packed)
        assert seed is not None
        own = [keys.self_key(seed, liar.h1, party)]
        signs = [-1]
        for peer, secret in masks.items():
            own.append(keys.pairwise_key(secret, liar.h1, peer, party, liar.entries))
            signs.append(-keys.pairwise_sign(party, peer))
        field.accumulate(total, own, signs, liar.params.suite)
    found = [int(element) - 2000 for element in total]
    return "recovered the sum of two" if found == expected_sum((0, 1)) else "wrong"


# -- signatures on the survivor set ---------------------------------------------------------------


def waiting(
    survivors: Iterable[int] = (0, 1, 2, 3),
    policy: Policy | None = None,
    session: bytes = SESSION,
) -> tuple[Liar, dict[int, bytes]]:
    """Four parties (t = 3) that signed a survivor set, and its signatures by everybody."""
    survivors = tuple(survivors)
    liar = Liar(hard(4, threshold=3), policy, session=session).share()
    liar.deliver(liar.everybody)
    for party in survivors:
        assert liar.sign(party, survivors) is not None
    h3 = liar.clients[survivors[0]]._memory.h3
    return liar, {party: signed(identity_of(party), h3) for party in liar.everybody}


def wrong_signatures() -> dict[str, dict[int, bytes]]:
    """Signatures messages for `waiting()`, each with something that is no signature."""
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
    gain = attempt(liar, 0, liar.survivors([0, 1, 2]), "signed two survivor sets")
    if gain:
        return gain
    true = waiting()[1]
    assert liar.unmask(0, true) is not None, "the refusal cost nothing"
    return attempt(liar, 0, liar.survivors([0, 1, 2]), "signed after unmasking")


# -- entries --------------------------------------------------------------------------------------


@attack
def man_in_the_middle() -> str:
    """Every peer of the victim gets the server's keys, with whatever signature there is."""
    signers: dict[str, Callable[[Liar, int, PublicKeys], bytes]] = {
        "the true one": lambda liar, peer, entry: liar.entries[peer].signature,
        "a stranger's": lambda liar, peer, entry: STRANGER.sign(
            keys.entry_digest(liar.h0, peer, entry)
        ),
        "a colluder's": lambda liar, peer, entry: identity_of(3).sign(
            keys.entry_digest(liar.h0, peer, entry)
        ),
        "zeros": lambda liar, peer, entry: bytes(64),
        "the victim's": lambda liar, peer, entry: liar.entries[0].signature,
    }
    for name, sign in signers.items():
        liar = Liar(hard(4, threshold=3))
        secrets = {peer: fresh_keys(("channel", peer)) for peer in (1, 2, 3)}
        entries = {0: liar.entries[0]}
        for peer, (_, channel) in secrets.items():
            bare = PublicKeys(channel, fresh_keys(("mask", peer))[1])
            entries[peer] = dataclasses.replace(bare, signature=sign(liar, peer, bare))
        message = liar.roster(entries)
        if not attempt(liar, 0, message, "taken"):
            continue
        victim = Liar(hard(4, threshold=3)).clients[0]
        (event,) = victim.receive(message)
        assert isinstance(event, secagg.Send)
        shared = ShareKeys.read(body(event.payload), (1, 2, 3))
        h1 = keys.h1(liar.h0, entries, 4)
        found: dict[int, np.ndarray] = {}
        for peer, (secret, _) in secrets.items():
            agreed = agreement.agree(secret, liar.entries[0].channel)
            key = keys.channel_key(agreed, h1, 0, peer, entries)
            plain = seal.unseal(key, shared.sealed[peer], keys.channel_data(h1, 0, peer))
            if plain is not None:
                found[peer] = shamir.unpack_shares(plain[shamir.SHARE_BYTES :])[0]
        seed = liar.seed(found)
        if seed is not None and keys.commitment(seed, h1, 0) == shared.commitment:
            return f"recovered the self seed with signatures: {name}"
        return f"a roster of the server's keys with signatures: {name}"
    return ""


@attack
def altered_entries() -> str:
    """Single entries that are not their party's own for this round."""
    old = Liar(hard(4, threshold=3), label="old", session=bytes(16))
    other = Liar(hard(4, threshold=3), label="other", context=bytes(32))
    liar = Liar(hard(4, threshold=3))
    own = liar.entries
    cases = {
        "two exchanged": {**own, 1: own[2], 2: own[1]},
        "one of an earlier session": {**own, 1: old.entries[1]},
        "one of another context": {**own, 1: other.entries[1]},
        "signatures exchanged": {
            **own,
            1: dataclasses.replace(own[1], signature=own[2].signature),
            2: dataclasses.replace(own[2], signature=own[1].signature),
        },
        "roles exchanged": {
            **own,
            1: PublicKeys(own[1].mask, own[1].channel, own[1].signature),
        },
        "own of another session": {**own, 0: old.entries[0]},
        "mask key replaced": liar.altered(1, mask=fresh_keys(1)[1]),
        "unsigned": liar.altered(1, signature=bytes(64)),
    }
    for name, entries in cases.items():
        liar = Liar(hard(4, threshold=3))
        if gain := attempt(liar, 0, liar.roster(entries), f"a roster with {name}"):
            return gain
    return ""


@attack
def entry_of_an_earlier_session() -> str:
    """A peer's signed entry is replayed; its secrets may have leaked since."""
    old = Liar(hard(4, threshold=3), label="old", session=bytes(16))
    liar = Liar(hard(4, threshold=3))
    message = liar.roster({**liar.entries, 1: old.entries[1]})
    return attempt(liar, 0, message, "an entry of an earlier session")


@attack
def bad_keys_of_a_signer() -> str:
    """A colluder signs an entry with keys that are weak, or another's: signed is not sound."""
    for name, key in {**LOW_ORDER, **NON_CANONICAL, "the victim's": b"", "a peer's": b""}.items():
        for role in ("channel", "mask"):
            liar = Liar(hard(4, threshold=3))
            source = {"the victim's": 0, "a peer's": 1}.get(name)
            bad = getattr(liar.entries[source], role) if source is not None else key
            lie = dataclasses.replace(liar.entries[3], **{role: bad})
            signature = identity_of(3).sign(keys.entry_digest(liar.h0, 3, lie))
            message = liar.altered(3, **{role: bad, "signature": signature})
            if gain := attempt(liar, 0, liar.roster(message), f"a signed {role} key {name}"):
                return gain
            server = cohort(LIES).server
            own = cohort(LIES).clients
            for party in (0, 1):
                entry = own[party]._memory.keys
                server.receive(party, AdvertiseKeys(own[party]._steps.h0, entry).encode(SESSION))
            bad = getattr(own[source]._memory.keys, role) if source is not None else key
            lie = dataclasses.replace(own[3]._memory.keys, **{role: bad})
            signature = identity_of(3).sign(keys.entry_digest(own[3]._steps.h0, 3, lie))
            lie = dataclasses.replace(lie, signature=signature)
            events = server.receive(3, AdvertiseKeys(own[3]._steps.h0, lie).encode(SESSION))
            if not any(isinstance(event, secagg.Dropped) for event in events):
                return f"the server took a signed {role} key {name}"
    return ""


# -- joining --------------------------------------------------------------------------------------


def joins(gain: str, agreed: secagg.Round, party: int, **given: object) -> str:
    """The gain is that the client takes part."""
    if agreed.params.mode is Mode.MALICIOUS:
        given["ledger"] = MemoryLedger()
    try:
        Client(agreed, party, Policy(allow_pair=True), seeded(party), **given)  # type: ignore[arg-type]
    except secagg.ParameterError:
        return ""
    return gain


@attack
def downgrade() -> str:
    """A semi-honest offer to a client with an identity, a directory, or both."""
    agreed = integers(4, threshold=3).round(CONTEXT, SESSION)
    identity, directory = identity_of(0), directory_of(4)
    for given in (
        {"identity": identity, "directory": directory},
        {"identity": identity},
        {"directory": directory},
    ):
        if gain := joins("joined a semi-honest round", agreed, 0, **given):
            return gain
    return ""


@attack
def seat_of_another() -> str:
    """A client is told the index of somebody else: signatures would not be its own."""
    agreed = hard(4, threshold=3).round(CONTEXT, SESSION)
    for party in (1, 2, 3):
        for identity in (identity_of(0), STRANGER):
            if gain := joins(
                "joined in another's place",
                agreed,
                party,
                identity=identity,
                directory=directory_of(4),
            ):
                return gain
    return ""


@attack
def directory_of_another_cohort() -> str:
    """More or fewer parties are pinned than the cohort has."""
    agreed = hard(4, threshold=3).round(CONTEXT, SESSION)
    for size in (3, 5):
        if gain := joins(
            f"joined with {size} pinned of 4",
            agreed,
            0,
            identity=identity_of(0),
            directory=directory_of(size),
        ):
            return gain
        try:
            secagg.Server(agreed, directory_of(size))
        except secagg.ParameterError:
            continue
        return "a server with another directory"
    return ""


@attack
def too_many_colluders_offered() -> str:
    """An offer with 2t = n + c: two survivor sets could both find t signers."""
    offer = bytearray(hard(7, threshold=5, colluders=2).round(CONTEXT, SESSION).encode())
    place = 20 + 32 + 2 + 3 * 4
    assert offer[place] == 2
    offer[place] = 3
    try:
        agreed = secagg.Round.decode(bytes(offer))
    except secagg.DecodeError:
        return ""
    return f"an offer with 2 * 5 <= 7 + {agreed.params.colluders}"


# -- lying clients --------------------------------------------------------------------------------


def _outvoted(network: Network, name: str, least: Iterable[int], liar: int = 3) -> str:
    """The gain, unless the liar was dropped and the sum is exact."""
    gain = verdict(network, least)
    if not gain and liar not in network.dropped:
        gain = "the liar stays"
    return f"{gain} ({name})" if gain else ""


@attack
def entry_badly_signed() -> str:
    """Party 3 advertises keys that it did not sign for this round."""

    def lies(message: AdvertiseKeys) -> dict[str, bytes]:
        digest = keys.entry_digest(message.h0, 3, message.keys)
        other = keys.entry_digest(bytes(32), 3, message.keys)
        return {
            "zeros": bytes(64),
            "by another": identity_of(2).sign(digest),
            "by a stranger": STRANGER.sign(digest),
            "for another round": identity_of(3).sign(other),
            "for another index": identity_of(3).sign(
                keys.entry_digest(message.h0, 2, message.keys)
            ),
        }

    names = list(lies(AdvertiseKeys(bytes(32), PublicKeys(bytes(32), bytes(32)))))
    for name in names:

        def change(messages: dict[int, bytes], name: str = name) -> dict[int, bytes]:
            true = AdvertiseKeys.read(body(messages[3]), LIES)
            lie = dataclasses.replace(true.keys, signature=lies(true)[name])
            return {**messages, 3: AdvertiseKeys(true.h0, lie).encode(SESSION)}

        network = meddle(LIES, MessageType.ADVERTISE_KEYS, change)
        if gain := _outvoted(network, name, (0, 1, 2)):
            return gain
    return ""


@attack
def input_badly_signed() -> str:
    """A masked input of party 3 that it did not sign, or not as its own, or not this one."""
    junk = Field(LIES.field_bits).pack(np.array([12345], np.uint32))
    signers: dict[str, Callable[[MaskedInput], bytes]] = {
        "zeros": lambda true: bytes(64),
        "by another": lambda true: identity_of(2).sign(keys.input_digest(true.h2, 3, junk)),
        "for another index": lambda true: identity_of(3).sign(keys.input_digest(true.h2, 2, junk)),
        "of another input": lambda true: true.proof,
        "of another round": lambda true: identity_of(3).sign(keys.input_digest(bytes(32), 3, junk)),
        "a checksum": lambda true: keys.checksum(true.h2, 3, junk) + bytes(48),
    }
    for name, sign in signers.items():

        def change(
            messages: dict[int, bytes], sign: Callable[[MaskedInput], bytes] = sign
        ) -> dict[int, bytes]:
            true = MaskedInput.read(body(messages[3]), LIES)
            return {**messages, 3: MaskedInput(true.h2, junk, sign(true)).encode(SESSION)}

        network = meddle(LIES, MessageType.MASKED_INPUT, change)
        if gain := _outvoted(network, name, (0, 1, 2)):
            return gain
    return ""


@attack
def input_of_another_signer() -> str:
    """Party 3 sends the signed input of party 2 as its own."""

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 3: messages[2]}

    return _outvoted(meddle(LIES, MessageType.MASKED_INPUT, change), "copied", (0, 1, 2))


@attack
def consistency_badly_signed() -> str:
    """Party 0 signs nothing that counts. Its input is in the sum all the same."""
    own = cohort(LIES).clients[0]._memory.keys.signature
    for name, lie in {
        "zeros": bytes(64),
        "another set": signed(identity_of(0), bytes(32)),
        "an entry": own,
        "another's": b"",
    }.items():

        def change(messages: dict[int, bytes], lie: bytes = lie) -> dict[int, bytes]:
            payload = Consistency(lie).encode(SESSION) if lie else messages[2]
            return {**messages, 0: payload}

        network = meddle(LIES, MessageType.CONSISTENCY, change)
        if gain := _outvoted(network, name, (0, 1, 2, 3), liar=0):
            return gain
    return ""


@attack
def other_directory() -> str:
    """Party 3 pins another key for party 1. It must not cost the others the round."""
    network = cohort(LIES)
    agreed = network.server.round
    pins = [(entry.name, entry.verify_key) for entry in directory_of(4).entries]
    pins[1] = ("party-1", STRANGER.verify_key)
    stray = Client(
        agreed,
        3,
        Policy(allow_repeats=True),
        seeded("stray"),
        identity=identity_of(3),
        directory=Directory.of(pins),
    )
    network.clients = {**network.clients, 3: stray}
    network.queue = [one for one in network.queue if one.sender != 3]
    network._up(3, stray.start())
    return _outvoted(network.run(), "other directory", (0, 1, 2))
