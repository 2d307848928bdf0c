"""Every attack of the batteries, once: a function that says what the attacker gained, or "".

`test_client_defences.py` and `test_server_defences.py` prove that each gains nothing;
`test_planted_bugs.py` takes single defences out and proves that the same functions then report
the gain, so that green means something. Where the exploit can be carried through, it is: the gain
is the victim's input, computed from what the attacker holds.

The attacker is a server that may lie (`Liar`), alone or with colluding clients, or clients that
lie to an honest server.

An attack called as it is plays semi-honest rounds; `in_mode` plays it in either mode. In malicious
mode the attacker has the signing keys of its colluders, and of nobody else.
`test_attacks_both_modes.py` runs the whole battery there.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, copy_context

import harness
import numpy as np
from harness import (
    CONTEXT,
    SESSION,
    Message,
    Network,
    Stage,
    client_of,
    clone,
    expected_sum,
    identity_of,
    input_of,
    pinned,
    secrets_of,
    seeded,
    server_of,
    state_of,
)

import secagg
from secagg import SERVER, Client, Mode, Params, Phase, Policy
from secagg.field import Field
from secagg.pairwise import keys
from secagg.pairwise.messages import (
    AdvertiseKeys,
    Consistency,
    Delivery,
    MaskedInput,
    PublicKeys,
    Roster,
    ShareKeys,
    Signatures,
    Survivors,
    Unmask,
)
from secagg.pairwise.transitions import CLIENT, PHASES, ClientState
from secagg.primitives import agreement, seal, shamir
from secagg.wire import HEADER_BYTES, MessageType, Reader

P = 2**255 - 19
CLIENT_ATTACKS: dict[str, Callable[[], str]] = {}
SERVER_ATTACKS: dict[str, Callable[[], str]] = {}

Attack = Callable[[], str]
OnClient = Callable[[Attack], Attack]


def on_client(attack: Attack) -> Attack:
    """Registers an attack of a lying server on a client."""
    CLIENT_ATTACKS[attack.__name__] = attack
    return attack


def on_server(attack: Attack) -> Attack:
    """Registers an attack of lying clients on an honest server."""
    SERVER_ATTACKS[attack.__name__] = attack
    return attack


# -- the mode --------------------------------------------------------------------------------------

MODE: ContextVar[Mode] = ContextVar("mode", default=Mode.SEMI_HONEST)


def in_mode(mode: Mode, attack: Attack) -> str:
    """What an attack gains in this mode."""
    context = copy_context()
    context.run(MODE.set, mode)
    return context.run(attack)


def integers(cohort: int, length: int = 4, **more: object) -> Params:
    """Those of the harness, in the mode of the attack."""
    return harness.integers(cohort, length, mode=MODE.get(), **more)


def tight(cohort: int, length: int = 1, **more: object) -> Params:
    """Those of the harness, in the mode of the attack."""
    return harness.tight(cohort, length, mode=MODE.get(), **more)


def least(cohort: int) -> int:
    """The least threshold in the mode of the attack."""
    return (2 * cohort // 3 if MODE.get() is Mode.MALICIOUS else cohort // 2) + 1


# -- what an attacker has ------------------------------------------------------------------------


def body(message: bytes) -> Reader:
    """A reader behind the header."""
    reader = Reader(message, 0)
    reader.header()
    return reader


def sent(events: Iterable[object]) -> bytes:
    """The one message in these events."""
    (payload,) = [event.payload for event in events if isinstance(event, secagg.Send)]
    return payload


def fresh_keys(label: object) -> tuple[bytes, bytes]:
    """A secret and a public key of the attacker."""
    secret = seeded(("attacker", label))(32)
    return secret, agreement.public_key(secret)


def signed_entry(params: Params, h0: bytes, party: int, entry: PublicKeys) -> PublicKeys:
    """The entry as its party, a liar, advertises it."""
    if params.mode is Mode.SEMI_HONEST:
        return entry
    signature = identity_of(party).sign(keys.entry_digest(h0, party, entry))
    return dataclasses.replace(entry, signature=signature)


def proved(params: Params, h2: bytes, party: int, packed: bytes) -> MaskedInput:
    """A masked input as its party, a liar, makes it up: checksum or signature are right."""
    if params.mode is Mode.SEMI_HONEST:
        return MaskedInput(h2, packed, keys.checksum(h2, party, packed))
    return MaskedInput(h2, packed, identity_of(party).sign(keys.input_digest(h2, party, packed)))


def refuses(client: Client, message: bytes) -> bool:
    """Whether the client refuses this message as it must.

    An unsafe message: `Aborted`, with every secret wiped, and nothing accepted afterwards. A
    malformed one: `RemoteProtocolError`, with nothing changed.
    """
    before = state_of(client)
    try:
        client.receive(message)
    except secagg.RemoteProtocolError:
        assert state_of(client) == before, "a refused message changed the client"
        return True
    except secagg.Aborted:
        assert_dead(client, message)
        return True
    return False


def assert_dead(client: Client, message: bytes) -> None:
    """An aborted client holds no secret and takes nothing more."""
    assert client.state is ClientState.ABORTED
    assert secrets_of(client) == [], "an aborted client still holds secrets"
    before = state_of(client)
    for kind in (0x10, 0x11, 0x12, 0x13, 0x14):
        other = message[:3] + bytes([kind]) + message[4:] + b"\0"
        for data in (other, message):
            try:
                events = client.receive(data)
            except secagg.RemoteProtocolError:
                continue
            raise AssertionError(f"an aborted client answered with {events}")
    for call in (client.start, lambda: client.submit(np.zeros(4, np.int64))):
        try:
            call()
        except secagg.LocalProtocolError:
            continue
        raise AssertionError("an aborted client went on")
    assert state_of(client) == before


class Liar:
    """A lying server: it makes up its messages, and sees every byte that clients send.

    Its colluders sign for it what it wants. (They play on honestly all the same; an attack that
    needs more of what they know takes it from them.)
    """

    def __init__(
        self,
        params: Params,
        policy: Policy | None = None,
        label: object = "",
        session: bytes = SESSION,
        context: bytes = CONTEXT,
        colluders: Iterable[int] = (),
    ) -> None:
        self.params = params
        self.colluders = tuple(colluders)
        assert len(self.colluders) <= params.colluders
        self.round = params.round(context, session)
        policy = policy or Policy(allow_pair=True)
        self.clients = {
            party: client_of(self.round, party, policy, seeded((label, party)))
            for party in range(params.cohort)
        }
        self.entries = {
            party: AdvertiseKeys.read(body(client.start()), client.round.params).keys
            for party, client in self.clients.items()
        }
        self.shared: dict[int, ShareKeys] = {}
        self.inputs: dict[int, MaskedInput] = {}

    @property
    def everybody(self) -> tuple[int, ...]:
        """The whole cohort."""
        return tuple(self.clients)

    def roster(self, entries: Mapping[int, PublicKeys] | None = None) -> bytes:
        """A roster, the true one unless told otherwise."""
        entries = self.entries if entries is None else entries
        entries = dict(sorted(entries.items()))
        return Roster(entries, entries).encode(self.round.session, self.params.cohort)

    def altered(self, party: int, **changed: bytes) -> dict[int, PublicKeys]:
        """The true entries but for one."""
        return self.entered({party: dataclasses.replace(self.entries[party], **changed)})

    def entered(self, entries: Mapping[int, PublicKeys]) -> dict[int, PublicKeys]:
        """The true entries but for these; a colluder signs its own."""
        return {**self.entries} | {
            party: signed_entry(self.params, self.h0, party, entry)
            if party in self.colluders
            else entry
            for party, entry in entries.items()
        }

    @property
    def h0(self) -> bytes:
        """Of the true directory."""
        return keys.h0(self.round, pinned(self.params))

    @property
    def h1(self) -> bytes:
        """Of the true roster."""
        return keys.h1(self.h0, self.entries, self.params.cohort)

    def share(self, parties: Iterable[int] | None = None) -> "Liar":
        """Honest step 1 for these parties (all): their ciphertexts are in `shared`."""
        for party in self.everybody if parties is None else parties:
            payload = sent(self.clients[party].receive(self.roster()))
            receivers = [peer for peer in self.entries if peer != party]
            self.shared[party] = ShareKeys.read(body(payload), receivers)
        return self

    def delivery(
        self, receiver: int, members: Iterable[int], sealed: Mapping[int, bytes] | None = None
    ) -> bytes:
        """A delivery with the true ciphertexts, except for those given."""
        members = tuple(sorted(members))
        chosen = {
            sender: (sealed or {}).get(sender) or self.shared[sender].sealed[receiver]
            for sender in members
            if sender != receiver
        }
        return Delivery(members, chosen).encode(self.round.session, self.params.cohort)

    def deliver(self, members: Iterable[int], receivers: Iterable[int] | None = None) -> "Liar":
        """Honest step 2 for these receivers: their masked inputs are in `inputs`."""
        members = tuple(sorted(members))
        for party in members if receivers is None else receivers:
            self.clients[party].receive(self.delivery(party, members))
            self.submit(party)
        return self

    def submit(self, party: int) -> None:
        """The masked input of a party that was asked for it."""
        message = self.clients[party].submit(input_of(party, self.params.length))
        self.inputs[party] = MaskedInput.read(body(message), self.params)

    def survivors(self, members: Iterable[int]) -> bytes:
        """A survivors message."""
        return Survivors(tuple(sorted(members))).encode(self.round.session, self.params.cohort)

    def answers(self, told: Mapping[int, Iterable[int]]) -> dict[int, Unmask | None]:
        """What clients give, each for the survivor set that it is told; None if one refuses.

        In malicious mode all of them sign first. Then each is given what the server has of
        signatures on its set, its colluders' among them, or else all that members of its set
        signed, whatever it was.
        """
        if self.params.mode is Mode.SEMI_HONEST:
            return {party: self._answer(party, survivors) for party, survivors in told.items()}
        views = {party: tuple(sorted(survivors)) for party, survivors in told.items()}
        given = {party: self.sign(party, view) for party, view in views.items()}
        h3 = {
            party: keys.h3(self.inputs[party].h2, view, self.params.cohort)
            for party, view in views.items()
        }
        answers: dict[int, Unmask | None] = {}
        for party, view in views.items():
            answers[party] = None
            signed = {one: given[one] for one in view if given.get(one)}
            for chosen in ({one: signed[one] for one in signed if h3[one] == h3[party]}, signed):
                if given[party] is not None and answers[party] is None:
                    answers[party] = self.unmask(party, self._padded(chosen, view, h3[party]))
        return answers

    def _padded(
        self, given: Mapping[int, bytes], view: Iterable[int], h3: bytes
    ) -> dict[int, bytes]:
        """These signatures on a survivor set, and those that colluders make on it."""
        return {**given} | {
            colluder: identity_of(colluder).sign(keys.consistency_digest(h3))
            for colluder in set(view).intersection(self.colluders)
        }

    def answer(self, party: int, survivors: Iterable[int]) -> Unmask | None:
        """What a client gives for a survivor set that only it is told; None if it refuses."""
        return self.answers({party: survivors})[party]

    def _answer(self, party: int, survivors: Iterable[int]) -> Unmask | None:
        try:
            events = self.clients[party].receive(self.survivors(survivors))
        except (secagg.Aborted, secagg.RemoteProtocolError):
            return None
        payloads = [event.payload for event in events if isinstance(event, secagg.Send)]
        return Unmask.read(body(payloads[0]), self.params) if payloads else None

    # -- malicious mode: one step more

    def sign(self, party: int, survivors: Iterable[int]) -> bytes | None:
        """A client's signature on a survivor set; None if it refuses."""
        try:
            payload = sent(self.clients[party].receive(self.survivors(survivors)))
        except (secagg.Aborted, secagg.RemoteProtocolError):
            return None
        return Consistency.read(body(payload)).signature

    def signatures(self, chosen: Mapping[int, bytes]) -> bytes:
        """A signatures message."""
        chosen = dict(sorted(chosen.items()))
        return Signatures(chosen).encode(self.round.session, self.params.cohort)

    def unmask(self, party: int, chosen: Mapping[int, bytes]) -> Unmask | None:
        """What a client gives for these signatures; None if it refuses as it must."""
        message = self.signatures(chosen)
        client = clone(self.clients[party])
        if refuses(client, message):
            return None
        payload = sent(self.clients[party].receive(message))
        return Unmask.read(body(payload), self.params)

    # -- from shares to an input ------------------------------------------------------------

    def seed(self, shares: Mapping[int, np.ndarray]) -> bytes | None:
        """The seed that these shares, by holder, rebuild; None with fewer than t."""
        if len(shares) < self.params.threshold:
            return None
        rows = np.stack([shares[holder] for holder in sorted(shares)]).astype(np.uint64)
        rebuilder = shamir.Rebuilder(self.params.threshold, sorted(shares))
        found = rebuilder.rebuild(rows, lambda _number, _seed: True)[0]
        return found.seed if found is not None else None

    def strip(
        self,
        victim: int,
        members: Iterable[int],
        self_seed: bytes | None,
        mask_secrets: Mapping[int, bytes],
    ) -> list[int] | None:
        """The victim's input, if the attacker knows all that masks it.

        Args:
            members: U2 as the victim was told.
            mask_secrets: X25519 secrets, the victim's own or of all others in `members`.
        """
        if self_seed is None:
            return None
        mask_keys, signs = [keys.self_key(self_seed, self.h1, victim)], [1]
        for peer in members:
            if peer == victim:
                continue
            if victim in mask_secrets:
                one, other = victim, peer
            elif peer in mask_secrets:
                one, other = peer, victim
            else:
                return None
            mask_keys.append(
                keys.pairwise_key(mask_secrets[one], self.h1, one, other, self.entries)
            )
            signs.append(keys.pairwise_sign(victim, peer))
        field = Field(self.params.field_bits)
        vector = field.unpack(self.inputs[victim].packed, self.params.vector_length)
        field.accumulate(vector, mask_keys, [-sign for sign in signs], self.params.suite)
        low = self.params.format.low  # type: ignore[union-attr]
        return [int(element) + low for element in vector]

    def gained(self, victim: int, found: list[int] | None) -> str:
        """The gain, if what was computed is the input of the victim."""
        return "recovered the input" if found == self.secret_input(victim) else ""

    def secret_input(self, victim: int) -> list[int]:
        """What the attacker is after."""
        return [int(value) for value in input_of(victim, self.params.length)]


def column(answers: Mapping[int, Unmask | None], dealer: int) -> dict[int, np.ndarray]:
    """The shares of one dealer in these answers, by holder."""
    return {
        holder: answer.shares[list(answer.dealers).index(dealer)]
        for holder, answer in answers.items()
        if answer is not None and dealer in answer.dealers
    }


def attempt(liar: Liar, victim: int, message: bytes, gain: str) -> str:
    """One message; the gain is that the victim goes on."""
    return "" if refuses(liar.clients[victim], message) else gain


# -- which sets a client believes -----------------------------------------------------------------


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
    return liar.gained(0, liar.strip(0, [0], liar.seed(column(answers, 0)), {}))


@on_client
def small_u2_of_colluders() -> str:
    """U2 is the victim and two colluders, below min_survivors but with enough ciphertexts.

    (In malicious mode there are never colluders enough for that: 2t > n + c.)
    """
    params = integers(5, threshold=least(5), min_survivors=5, colluders=2)
    liar = Liar(params, colluders=(1, 2))
    secrets = {party: liar.clients[party]._memory.mask_secret.expose() for party in (1, 2)}
    liar.share()
    if refuses(liar.clients[0], liar.delivery(0, [0, 1, 2])):
        return ""
    liar.submit(0)
    liar.deliver(liar.everybody, [1, 2, 3, 4])
    answers = liar.answers(dict.fromkeys((1, 2, 3, 4)[: params.threshold], liar.everybody))
    return liar.gained(0, liar.strip(0, [0, 1, 2], liar.seed(column(answers, 0)), secrets))


@on_client
def quorum_below_own_policy() -> str:
    """The client insists on more survivors than the parameters of the round."""
    params = integers(5, threshold=least(5), colluders=1)
    try:
        Liar(params, Policy(min_survivors=params.quorum + 1))
    except secagg.ParameterError:
        return ""
    return "joined a round that may end below the client's own minimum"


@on_client
def small_u1() -> str:
    """A roster below the quorum."""
    liar = Liar(integers(5, threshold=least(5)))
    entries = {party: liar.entries[party] for party in (0, 1)}
    return attempt(liar, 0, liar.roster(entries), "the client deals to a roster below the quorum")


@on_client
def alone_in_u1() -> str:
    """A roster of the victim alone."""
    liar = Liar(integers(3, threshold=least(3)))
    return attempt(liar, 0, liar.roster({0: liar.entries[0]}), "a roster of one")


@on_client
def self_missing_from_u1() -> str:
    """A roster of everybody else."""
    liar = Liar(integers(5, threshold=least(5)))
    others = {party: entry for party, entry in liar.entries.items() if party != 0}
    return attempt(liar, 0, liar.roster(others), "the client deals shares in a round without it")


@on_client
def self_missing_from_u2() -> str:
    """U2 without the victim: the others would not mask with it."""
    liar = Liar(integers(5, threshold=least(5))).share()
    return attempt(liar, 0, liar.delivery(0, [1, 2, 3, 4]), "an input that nobody masks with")


@on_client
def self_missing_from_u3() -> str:
    """The victim is told that it dropped, and would give a share of its own mask seed."""
    liar = Liar(integers(5, threshold=least(5))).share()
    liar.deliver(liar.everybody)
    answer = liar.answers(dict.fromkeys(liar.everybody, (1, 2, 3, 4)))[0]
    if answer is None:
        return ""
    return "a share of its own mask seed" if 0 in answer.dealers else "an answer"


@on_client
def u2_outside_u1() -> str:
    """U2 padded to the quorum with a party that is not in the roster."""
    liar = Liar(integers(5, threshold=least(5)))
    entries = {party: liar.entries[party] for party in (0, 1, 2, 3)}
    liar.clients[0].receive(liar.roster(entries))
    for peer in (1, 2, 3):
        payload = sent(liar.clients[peer].receive(liar.roster(entries)))
        receivers = [party for party in entries if party != peer]
        liar.shared[peer] = ShareKeys.read(body(payload), receivers)
    message = liar.delivery(0, [0, 1, 2, 4], {4: bytes(62)})
    return attempt(liar, 0, message, "U2 with a party outside U1")


@on_client
def u3_outside_u2() -> str:
    """U3 padded to the quorum with parties outside U2: the victim's sum would be its own.

    (In malicious mode fewer than a third of the cohort are outside, so others fill it up.)
    """
    liar = Liar(integers(5, threshold=least(5))).share()
    quorum = liar.params.quorum
    liar.deliver(range(quorum))
    padded = (0, *range(quorum, 5), *range(1, quorum))[:quorum]
    return attempt(liar, 0, liar.survivors(padded), "an answer for U3 outside U2")


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
    own = liar.seed(column(answers, 0))
    secrets = {}
    for peer in (1, 2, 3):
        told = {holder: answer for holder, answer in answers.items() if holder != peer}
        seed = liar.seed(column(told, peer))
        if seed is not None:
            secrets[peer] = keys.mask_key(seed, liar.h0, peer)
    return liar.gained(0, liar.strip(0, liar.everybody, own, secrets)) or "an answer for small U3"


@on_client
def two_survivor_sets() -> str:
    """Asked twice, clients would give both shares of the victim: of self seed, then mask seed."""
    liar = Liar(integers(4, threshold=3)).share()
    liar.deliver(liar.everybody)
    first = liar.answers(dict.fromkeys(liar.everybody, liar.everybody))
    assert all(first.values())
    second = liar.answers(dict.fromkeys((1, 2, 3), (1, 2, 3)))
    own, seed = liar.seed(column(first, 0)), liar.seed(column(second, 0))
    if seed is None:
        return ""
    secrets = {0: keys.mask_key(seed, liar.h0, 0)}
    return liar.gained(0, liar.strip(0, liar.everybody, own, secrets)) or "both shares of one party"


@on_client
def two_sharing_sets() -> str:
    """A second delivery with another U2, after the input was asked for or sent."""
    for submitted in (False, True):
        liar = Liar(integers(5, threshold=least(5))).share()
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
    other = liar.roster(liar.altered(1, mask=fresh_keys(1)[1]))
    return attempt(liar, 0, other, "shares under two rosters")


# -- keys ------------------------------------------------------------------------------------------


@on_client
def everybody_replaced() -> str:
    """One roster for all in which every key, the victim's own too, is the server's.

    Clients encrypt their shares to the server, which needs nothing else.
    """
    liar = Liar(integers(4, threshold=3), colluders=(1,))
    secrets = {party: fresh_keys(("channel", party)) for party in liar.everybody}
    entries = liar.entered(
        {
            party: dataclasses.replace(
                entry, channel=secrets[party][1], mask=fresh_keys(("mask", party))[1]
            )
            for party, entry in liar.entries.items()
        }
    )
    return _read_shares(
        liar, 0, entries, lambda peer: agreement.agree(secrets[peer][0], liar.entries[0].channel)
    )


def _read_shares(
    liar: Liar,
    victim: int,
    entries: Mapping[int, PublicKeys],
    agreed: Callable[[int], bytes],
) -> str:
    """The victim's self seed from its own ciphertexts, if `agreed` is its agreement with peers."""
    client = liar.clients[victim]
    try:
        payload = sent(client.receive(liar.roster(entries)))
    except secagg.Aborted:
        assert_dead(client, liar.roster(entries))
        return ""
    peers = [peer for peer in entries if peer != victim]
    message = ShareKeys.read(body(payload), peers)
    h1 = keys.h1(liar.h0, entries, liar.params.cohort)
    found = {}
    for peer in peers:
        plain = seal.unseal(
            keys.channel_key(agreed(peer), h1, victim, peer, entries),
            message.sealed[peer],
            keys.channel_data(h1, victim, peer),
        )
        if plain is not None:
            found[peer] = shamir.unpack_shares(plain[shamir.SHARE_BYTES :])[0]
    seed = liar.seed(found)
    if seed is not None and keys.commitment(seed, h1, victim) == message.commitment:
        return "recovered the self seed"
    return "a roster with such keys"


@on_client
def own_channel_key_replaced() -> str:
    """The victim's own channel key is the server's in everybody's roster."""
    liar = Liar(integers(4, threshold=3))
    message = liar.roster(liar.altered(0, channel=fresh_keys(0)[1]))
    return attempt(liar, 0, message, "others would send the victim's shares to the server")


@on_client
def own_mask_key_replaced() -> str:
    """The victim's own mask key is the server's in everybody's roster."""
    liar = Liar(integers(4, threshold=3))
    message = liar.roster(liar.altered(0, mask=fresh_keys(0)[1]))
    return attempt(liar, 0, message, "others would mask against the server's key")


@on_client
def own_keys_swapped() -> str:
    """The victim's two keys in the wrong order."""
    liar = Liar(integers(4, threshold=3))
    own = liar.entries[0]
    message = liar.roster(liar.altered(0, channel=own.mask, mask=own.channel))
    return attempt(liar, 0, message, "keys in each other's role")


def _duplicates(liar: Liar) -> dict[str, dict[int, PublicKeys]]:
    two = liar.entries[2]
    own = liar.entries[0]
    return {
        "channel of another as channel": liar.altered(1, channel=two.channel),
        "mask of another as mask": liar.altered(1, mask=two.mask),
        "mask of another as channel": liar.altered(1, channel=two.mask),
        "channel of another as mask": liar.altered(1, mask=two.channel),
        "both of another": liar.entered({1: two}),
        "channel as mask of the same": liar.altered(1, mask=liar.entries[1].channel),
        "the victim's own channel": liar.altered(1, channel=own.channel),
        "the victim's own mask": liar.altered(1, mask=own.mask),
        "the victim's own, crosswise": liar.altered(1, channel=own.mask, mask=own.channel),
        "the victim's own entry": liar.entered({1: own}),
    }


@on_client
def duplicate_keys() -> str:
    """The same key twice in the roster, in every combination."""
    cases = _duplicates(Liar(integers(4, threshold=3), colluders=(1,)))
    for name, entries in cases.items():
        liar = Liar(integers(4, threshold=3))
        if not refuses(liar.clients[0], liar.roster(entries)):
            return f"a roster with the same key twice: {name}"
    return ""


NON_CANONICAL = {
    "p": P.to_bytes(32, "little"),
    "p + 1": (P + 1).to_bytes(32, "little"),
    "p + 2": (P + 2).to_bytes(32, "little"),
    "2^255 - 1": (2**255 - 1).to_bytes(32, "little"),
    "all ones": bytes([255] * 32),
    "top bit and 9": (2**255 + 9).to_bytes(32, "little"),
}
LOW_ORDER = {
    f"order {order}": value.to_bytes(32, "little")
    for order, value in {
        "4 (zero)": 0,
        "1": 1,
        "2": P - 1,
        "8a": 325606250916557431795983626356110631294008115727848805560023387167927233504,
        "8b": 39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }.items()
}


@on_client
def non_canonical_keys() -> str:
    """A second encoding of a key, which would slip past the test for duplicates."""
    cases = dict(NON_CANONICAL)
    liar = Liar(integers(4, threshold=3))
    for role in ("channel", "mask"):
        alias = bytearray(getattr(liar.entries[2], role))
        alias[31] |= 0x80
        cases[f"alias of another's {role}"] = bytes(alias)
    for name, key in cases.items():
        for role in ("channel", "mask"):
            liar = Liar(integers(4, threshold=3), colluders=(1,))
            if not refuses(liar.clients[0], liar.roster(liar.altered(1, **{role: key}))):
                return f"a roster with a non-canonical {role} key: {name}"
    return ""


@on_client
def low_order_keys() -> str:
    """One key of low order: what is agreed with it is known to everybody."""
    for name, key in LOW_ORDER.items():
        for role in ("channel", "mask"):
            liar = Liar(integers(4, threshold=3), colluders=(1,))
            if not refuses(liar.clients[0], liar.roster(liar.altered(1, **{role: key}))):
                return f"a roster with a {role} key of low order: {name}"
    return ""


@on_client
def low_order_everywhere() -> str:
    """All channel keys of others are of low order, so that anybody can read the shares."""
    liar = Liar(integers(4, threshold=3), colluders=(1,))
    low = list(LOW_ORDER.values())
    entries = liar.entered(
        {
            party: dataclasses.replace(entry, channel=low[party])
            for party, entry in liar.entries.items()
            if party
        }
    )
    return _read_shares(liar, 0, entries, lambda _peer: bytes(32))


# -- ciphertexts ----------------------------------------------------------------------------------


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
    seed = liar.seed(column(answers, 0))
    if seed is None:
        return "reflected ciphertexts open"
    secrets = {0: keys.mask_key(seed, liar.h0, 0)}
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
    return attempt(liar, 0, message, "shares of an earlier session")


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


# -- messages ------------------------------------------------------------------------------------


def _in_every_state(change: Callable[[bytes], bytes], gain: str) -> str:
    """Tries a changed message in each state that waits for one; the client must refuse it.

    Afterwards the true message must do, so the refusal cost nothing.
    """
    liar = Liar(integers(3, threshold=least(3)))
    victim, everybody = liar.clients[0], liar.everybody
    signatures: dict[int, bytes] = {}
    for state, row in CLIENT[liar.params.mode].items():
        if not any(isinstance(cause, MessageType) for cause in row):
            continue
        assert victim.state is state
        if state is ClientState.AWAITING_ROSTER:
            message = liar.share(everybody[1:]).roster()
        elif state is ClientState.AWAITING_DELIVERY:
            message = liar.delivery(0, everybody)
        elif state is ClientState.AWAITING_SURVIVORS:
            message = liar.survivors(everybody)
        else:
            message = liar.signatures(signatures)
        if not refuses(victim, change(message)):
            return f"{gain}, {state.value}"
        events = victim.receive(message)
        if state is ClientState.AWAITING_ROSTER:
            liar.shared[0] = ShareKeys.read(body(sent(events)), [1, 2])
        elif state is ClientState.AWAITING_DELIVERY:
            liar.submit(0)
        elif victim.state is ClientState.AWAITING_SIGNATURES:
            liar.deliver(everybody, everybody[1:])
            signatures = {party: liar.sign(party, everybody) or b"" for party in everybody[1:]}
            signatures[0] = Consistency.read(body(sent(events))).signature
    assert victim.state is ClientState.FINISHED
    return ""


@on_client
def message_of_another_session() -> str:
    """The right message with the header of another session."""
    return _in_every_state(
        lambda data: data[:4] + bytes([data[4] ^ 1]) + data[5:], "took a message of another session"
    )


@on_client
def message_of_another_version() -> str:
    """The right message with another version byte."""
    for version in (0, 2, 255):

        def change(data: bytes, version: int = version) -> bytes:
            return data[:2] + bytes([version]) + data[3:]

        if gain := _in_every_state(change, f"took a message of version {version}"):
            return gain
    return ""


@on_client
def message_with_another_magic() -> str:
    """The right message behind another magic."""
    return _in_every_state(lambda data: b"SB" + data[2:], "took a message of another format")


@on_client
def message_with_more_bytes() -> str:
    """The right message and a byte."""
    return _in_every_state(lambda data: data + b"\0", "took a message with a byte too many")


@on_client
def pair_without_consent() -> str:
    """A round of two, in which each party learns the other's input, without being asked."""
    agreed = integers(2, threshold=2).round(CONTEXT, SESSION)
    try:
        client_of(agreed, 0, Policy(), seeded(0))
    except secagg.ParameterError:
        return ""
    return "joined a cohort of two"


@on_client
def other_context_than_wanted() -> str:
    """An offer about another model than the client insists on."""
    agreed = integers(3, threshold=least(3)).round(bytes(32), SESSION)
    try:
        client_of(agreed, 0, Policy(context=CONTEXT), seeded(0))
    except secagg.ParameterError:
        return ""
    return "joined a round about something else"


@on_client
def other_parameters_than_wanted() -> str:
    """An offer with a lower threshold than the client insists on."""
    offered, wanted = integers(5, threshold=least(5)), integers(5, threshold=least(5) + 1)
    try:
        client_of(offered.round(CONTEXT, SESSION), 0, Policy(params=wanted), seeded(0))
    except secagg.ParameterError:
        return ""
    return "joined a round with other parameters"


# -- lying clients --------------------------------------------------------------------------------


def verdict(network: Network, least: Iterable[int] = ()) -> str:
    """ "" if the round gave the exact sum of its survivors, at least of these; else what it did."""
    result = network.result
    if result is None:
        return f"the round failed: {network.failure.reason if network.failure else 'no end'}"
    params = network.server.round.params
    if len(result.survivors) < params.quorum:
        return f"a sum of {len(result.survivors)} inputs"
    if result.total.tolist() != expected_sum(result.survivors, params.length):
        return "a wrong sum"
    missing = set(least) - set(result.survivors)
    return f"honest parties {sorted(missing)} left out" if missing else ""


def cohort(params: Params, label: object = "", drops: Mapping[int, Phase] | None = None) -> Network:
    """A started network of honest parties."""
    agreed = params.round(CONTEXT, SESSION)
    policy = Policy(allow_pair=True)
    clients = {
        party: client_of(agreed, party, policy, seeded((label, party)))
        for party in range(params.cohort)
    }
    return Network(server_of(agreed), clients, drops or {}).start()


def meddle(
    params: Params,
    kind: MessageType,
    change: Callable[[dict[int, bytes]], Mapping[int, bytes]],
    drops: Mapping[int, Phase] | None = None,
) -> Network:
    """A round in which the messages of one kind are changed before they reach the server.

    Args:
        change: from all messages of this kind by sender to those that are sent instead.
    """
    network = cohort(params, drops=drops)
    caught: dict[int, bytes] = {}
    while network.queue or not caught:
        if not network.queue:  # somebody is silent
            network._said(network.server.deadline(PHASES[network.server.state]))
        message = network.queue.pop(0)
        if message.receiver == SERVER and message.payload[3] == kind:
            caught[message.sender] = message.payload
        else:
            network.deliver(message)
    network.queue += [
        Message(party, SERVER, payload) for party, payload in change(dict(caught)).items()
    ]
    return network.run()


def masked(message: bytes, params: Params) -> MaskedInput:
    """A masked input, read."""
    return MaskedInput.read(body(message), params)


@on_server
def client_with_another_context() -> str:
    """A client that aggregates another model: everybody else's sum must not suffer."""
    params = tight(4, threshold=3)
    network = cohort(params)
    stray = client_of(params.round(bytes(32), SESSION), 3, Policy(), seeded("stray"))
    network.clients = {**network.clients, 3: stray}
    network.queue = [one for one in network.queue if one.sender != 3]
    network._up(3, stray.start())
    return verdict(network.run(), (0, 1, 2))


@on_server
def shares_for_another_roster() -> str:
    """A client believes in another key of a peer: its shares must not be forwarded.

    It takes whatever it is told, signed or not.
    """
    stage = Stage(tight(4, threshold=3))
    stage.clients[3]._steps.authentication.entry_valid = lambda *entry: True  # type: ignore[method-assign]
    stage.to_server(stage.advertise())
    other = bytearray(stage.outbox[3])
    other[HEADER_BYTES + 1] ^= 1  # a bit of party 0's channel key
    stage.outbox[3] = bytes(other)
    stage.to_server(stage.answers())
    if 3 not in stage.dropped:
        return "shares under another roster were forwarded"
    return verdict(stage.finish(stage.answers((0, 1, 2))), (0, 1, 2))


@on_server
def input_for_other_sets() -> str:
    """A masked input under another h2, with a checksum or signature that fits the server's."""
    params = tight(4, threshold=3)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        packed = Field(params.field_bits).pack(np.array([12345], np.uint32))
        fitting = proved(params, masked(messages[3], params).h2, 3, packed)
        lie = dataclasses.replace(fitting, h2=bytes(32))
        return {**messages, 3: lie.encode(SESSION)}

    return verdict(meddle(params, MessageType.MASKED_INPUT, change), (0, 1, 2))


@on_server
def corrupted_input() -> str:
    """One bit of a masked input flips on its way."""
    params = tight(4, threshold=3)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        data = bytearray(messages[3])
        data[HEADER_BYTES + 32] ^= 1
        return {**messages, 3: bytes(data)}

    return verdict(meddle(params, MessageType.MASKED_INPUT, change), (0, 1, 2))


@on_server
def input_of_another_party() -> str:
    """Party 3 sends the masked input of party 2 as its own."""

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 3: messages[2]}

    params = tight(4, threshold=3)
    return verdict(meddle(params, MessageType.MASKED_INPUT, change), (0, 1, 2))


@on_server
def two_inputs() -> str:
    """A party sends a second, different masked input after its first."""
    stage = Stage(tight(4, threshold=3))
    messages = stage.until(Phase.MASKED_INPUT)
    stage.to_server({3: messages.pop(3)})
    before = state_of(stage.server)
    true_h2 = masked(messages[0], stage.params).h2
    packed = Field(stage.params.field_bits).pack(np.array([777], np.uint32))
    lie = proved(stage.params, true_h2, 3, packed).encode(SESSION)
    try:
        stage.server.receive(3, lie)
    except secagg.RemoteProtocolError:
        assert state_of(stage.server) == before
    return verdict(stage.finish(messages), (0, 1, 2, 3))


@on_server
def late_input() -> str:
    """A masked input in any step after the deadline: its party is not among the survivors."""
    stage = Stage(tight(4, threshold=3))
    messages = stage.until(Phase.MASKED_INPUT)
    late = messages.pop(3)
    stage.to_server(messages)
    stage.deadline(Phase.MASKED_INPUT)
    while True:
        before = state_of(stage.server)
        try:
            stage.server.receive(3, late)
        except secagg.RemoteProtocolError:
            assert state_of(stage.server) == before
        answers = stage.answers([0, 1, 2])
        if PHASES[stage.server.state] is Phase.UNMASK:
            return verdict(stage.finish(answers), (0, 1, 2))
        stage.to_server(answers)


@on_server
def stale_deadline() -> str:
    """The timer of an old phase runs out in the next one."""
    steps = MODE.get().phases
    for phase in steps[1:]:
        for old in steps:
            stage = Stage(tight(4, threshold=3))
            messages = stage.until(phase)
            stage.to_server({0: messages.pop(0)})
            before = state_of(stage.server)
            if old is not phase:
                stage.deadline(old)
            if state_of(stage.server) != before:
                return f"the deadline of {old} cut {phase} short"
    return ""


def _advertised(name: str, change: Callable[[dict[int, PublicKeys]], PublicKeys]) -> str:
    """Party 3 advertises keys made from everybody's; the others' sum must not suffer."""
    params = tight(4, threshold=3)

    def changed(messages: dict[int, bytes]) -> dict[int, bytes]:
        read = {party: AdvertiseKeys.read(body(data), params) for party, data in messages.items()}
        own = change({party: message.keys for party, message in read.items()})
        lie = AdvertiseKeys(read[3].h0, signed_entry(params, read[3].h0, 3, own))
        return {**messages, 3: lie.encode(SESSION)}

    network = meddle(params, MessageType.ADVERTISE_KEYS, changed)
    if 3 in network.server._memory.roster:
        return f"{name} was forwarded; {verdict(network, (0, 1, 2)) or 'the sum is exact'}"
    return verdict(network, (0, 1, 2))


@on_server
def advertised_twice() -> str:
    """Keys of another party, or one key in both roles."""
    cases: dict[str, Callable[[dict[int, PublicKeys]], PublicKeys]] = {
        "a copied entry": lambda all_keys: all_keys[2],
        "a copied channel key": lambda all_keys: dataclasses.replace(
            all_keys[3], channel=all_keys[0].channel
        ),
        "a copied mask key": lambda all_keys: dataclasses.replace(
            all_keys[3], mask=all_keys[0].mask
        ),
        "a mask key as channel key": lambda all_keys: dataclasses.replace(
            all_keys[3], channel=all_keys[1].mask
        ),
        "a channel key as mask key": lambda all_keys: dataclasses.replace(
            all_keys[3], mask=all_keys[1].channel
        ),
        "one key in both roles": lambda all_keys: dataclasses.replace(
            all_keys[3], mask=all_keys[3].channel
        ),
    }
    for name, change in cases.items():
        if gain := _advertised(name, change):
            return gain
    return ""


@on_server
def advertised_weak() -> str:
    """Keys of low order and second encodings."""
    for name, key in {**LOW_ORDER, **NON_CANONICAL}.items():
        for role in ("channel", "mask"):

            def change(
                all_keys: dict[int, PublicKeys], role: str = role, key: bytes = key
            ) -> PublicKeys:
                return dataclasses.replace(all_keys[3], **{role: key})

            if gain := _advertised(f"a {role} key {name}", change):
                return gain
    return ""


def junk(message: bytes, params: Params, dealers: Iterable[int], by: int = 1) -> bytes:
    """An unmask message with the shares of these dealers wrong."""
    answer = Unmask.read(body(message), params)
    shares = answer.shares.copy()
    for dealer in dealers:
        row = list(answer.dealers).index(dealer)
        shares[row] = (shares[row] + np.uint64(by)) % np.uint64(2**61 - 1)
    return Unmask(answer.dealers, shares).encode(message[4:20], params.cohort)


@on_server
def junk_self_seed() -> str:
    """A wrong share where there is none to spare: no sum at all, but never a wrong one."""
    params = tight(4, threshold=4)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 3: junk(messages[3], params, [0], 2**40)}

    network = meddle(params, MessageType.UNMASK, change)
    return verdict(network) if network.result else ""


@on_server
def junk_mask_seed() -> str:
    """The same for the mask seed of a party that vanished."""
    params = tight(4, threshold=3)

    for by in range(1, 2**43, 2**40):  # some of the wrong sums are outside of what inputs can reach

        def change(messages: dict[int, bytes], by: int = by) -> dict[int, bytes]:
            return {**messages, 2: junk(messages[2], params, [3], by)}

        network = meddle(params, MessageType.UNMASK, change, {3: Phase.MASKED_INPUT})
        if network.result:
            return verdict(network)
    return ""


@on_server
def junk_share_to_spare() -> str:
    """One liar gives junk for everybody: with t + 1 answers the sum is exact all the same."""
    params = tight(4, threshold=3)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 2: junk(messages[2], params, range(4))}

    return verdict(meddle(params, MessageType.UNMASK, change), range(4))


@on_server
def shares_of_outsiders() -> str:
    """Shares of a dealer that is not in U2: the liar is dropped, nobody else."""
    size = 7 if MODE.get() is Mode.MALICIOUS else 5  # one is away, and enough must stay
    params = tight(size, threshold=least(size))
    away = size - 1

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        answer = Unmask.read(body(messages[3]), params)
        lie = Unmask((*answer.dealers, away), np.vstack([answer.shares, answer.shares[:1]]))
        return {**messages, 3: lie.encode(SESSION, size)}

    network = meddle(params, MessageType.UNMASK, change, {away: Phase.SHARE_KEYS})
    gain = verdict(network, range(away))
    return gain or ("" if 3 in network.dropped else "a share of a party that did not share")


@on_server
def dropped_party_goes_on() -> str:
    """A party that was dropped for its keys sends good ones."""
    stage = Stage(tight(4, threshold=3))
    messages = stage.advertise()
    read = AdvertiseKeys.read(body(messages[3]), stage.params)
    stage.to_server({3: AdvertiseKeys(bytes(32), read.keys).encode(SESSION)})
    assert 3 in stage.dropped
    before = state_of(stage.server)
    try:
        stage.server.receive(3, messages.pop(3))
    except secagg.RemoteProtocolError:
        assert state_of(stage.server) == before
        return verdict(stage.finish(messages), (0, 1, 2))
    return "a dropped party came back"


@on_server
def too_few_for_the_quorum() -> str:
    """Below the quorum the server must not even announce the set."""
    for phase in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT):
        params = tight(4, threshold=3, min_survivors=4)
        network = cohort(params, drops={0: phase})
        while network.queue:
            network.deliver(network.queue.pop(0))
        events = network.server.deadline(phase)
        if any(isinstance(event, secagg.Send) for event in events):
            return f"a set below the quorum was announced after {phase}"
        assert any(isinstance(event, secagg.Failed) for event in events)
    return ""


@on_server
def elements_outside_the_field() -> str:
    """A packed element >= p, under a right checksum or signature: malformed, the sum untouched."""
    stage = Stage(tight(4, threshold=3))
    messages = stage.until(Phase.MASKED_INPUT)
    bits = stage.params.field_bits
    h2 = masked(messages[0], stage.params).h2
    before = state_of(stage.server)
    for value in (Field(bits).modulus, 2**bits - 1):
        packed = value.to_bytes(2, "little")
        lie = proved(stage.params, h2, 3, packed).encode(SESSION)
        try:
            stage.server.receive(3, lie)
        except secagg.RemoteProtocolError:
            assert state_of(stage.server) == before
            continue
        return f"took the element {value}"
    return verdict(stage.finish(messages), range(4))


@on_server
def shares_outside_the_field() -> str:
    """A share element of 2^61 - 1, a second encoding of zero, and a padding bit: malformed."""
    stage = Stage(tight(4, threshold=3))
    messages = stage.until(Phase.UNMASK)
    start = HEADER_BYTES + 1
    true = messages[3]
    ones, padded = bytearray(true), bytearray(true)
    ones[start : start + 7] = bytes([0xFF] * 7)
    ones[start + 7] |= 0x1F
    padded[start + 22] |= 0x80
    before = state_of(stage.server)
    for name, lie in {"2^61 - 1": ones, "padding": padded}.items():
        try:
            stage.server.receive(3, bytes(lie))
        except secagg.RemoteProtocolError:
            assert state_of(stage.server) == before
            continue
        return f"took a share with {name}"
    return verdict(stage.finish(messages), range(4))
