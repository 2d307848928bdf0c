"""Honest clients as functions of the messages that they were given, and their secrets."""

from dataclasses import dataclass
from functools import lru_cache

from harness import (
    COMPLETE,
    WILLING,
    Seeded,
    client_of,
    clone,
    input_of,
    pinned,
    secrets_of,
    state_of,
)
from pairwise.attacks import body

import secagg
from secagg import Client, Policy, Round
from secagg.arithmetic.field import KEY_BYTES
from secagg.machine.wire import MessageType
from secagg.pairwise import derivation, transcript
from secagg.pairwise.messages import (
    AdvertiseKeys,
    Consistency,
    Delivery,
    PublicKeys,
    Roster,
    Signatures,
    Survivors,
)
from secagg.primitives import agreement
from secagg.sharing import shamir

SUBMIT = b""  # in a history: the caller gives its input


@dataclass(frozen=True)
class ClientSetup:
    """The setup of a client, before it is told anything."""

    round: Round
    party: int
    policy: Policy = WILLING
    label: str = ""


@dataclass(frozen=True, eq=False)
class ClientOutcome:
    """The outcome of a client's history: the client, not to be touched, and its last reaction."""

    client: Client
    sent: tuple[bytes, ...] = ()
    asked: bool = False  # for its input
    refused: str = ""  # why; it is as it was
    aborted: str = ""  # why; it is wiped


def randomness_of(setup: ClientSetup) -> Seeded:
    """Returns all the randomness of a client."""
    return Seeded((setup.label, setup.party, setup.round.session))


@lru_cache(maxsize=4096)
def replay(setup: ClientSetup, history: tuple[bytes, ...]) -> ClientOutcome:
    """Returns a real client after these messages, which are taken only once for all schedules.

    Raises:
        AssertionError: a refusal changed the client, or an abort left secrets.
    """
    if not history:
        client = client_of(setup.round, setup.party, setup.policy, randomness_of(setup))
        return ClientOutcome(client, (client.start(),))
    before = replay(setup, history[:-1]).client
    client = clone(before)
    try:
        if history[-1] == SUBMIT:
            length = setup.round.params.length
            return ClientOutcome(client, (client.submit(input_of(setup.party, length)),))
        events = client.receive(history[-1])
    except (secagg.RemoteProtocolError, secagg.LocalProtocolError) as error:
        assert state_of(client) == state_of(before), "a refused message changed the client"
        return ClientOutcome(before, refused=str(error))
    except secagg.Aborted as error:
        assert secrets_of(client) == [], "an aborted client still holds secrets"
        return ClientOutcome(client, aborted=error.reason)
    sent = tuple(event.payload for event in events if isinstance(event, secagg.Send))
    return ClientOutcome(
        client, sent, any(isinstance(event, secagg.InputNeeded) for event in events)
    )


@lru_cache(maxsize=512)
def h0_of(agreed: Round) -> bytes:
    """Returns the transcript hash h0 of a round."""
    return transcript.h0(agreed, pinned(agreed.params))


@lru_cache(maxsize=512)
def seeds_of(setup: ClientSetup) -> tuple[bytes, bytes]:
    """Returns the mask seed and the self seed of a client (`docs/WIRE.md`, Randomness)."""
    source = randomness_of(setup)
    source(agreement.SECRET_KEY_BYTES)
    mask, own = source(shamir.SEED_BYTES), source(shamir.SEED_BYTES)
    (first,) = replay(setup, ()).sent
    secret = derivation.mask_key(mask, h0_of(setup.round), setup.party)
    entry = AdvertiseKeys.read(body(first), setup.round.params).keys
    assert agreement.public_key(secret) == entry.mask, "drawn in another order"
    return mask, own


@lru_cache(maxsize=2048)
def dealt_shares(setup: ClientSetup, members: tuple[int, ...]) -> dict[bytes, tuple[bool, int]]:
    """Returns every share that a client deals to these: whether of its self seed, and the holder.

    They are dealt again, with the coefficients that it draws next.
    """
    source, params = randomness_of(setup), setup.round.params
    source.drawn = 3
    key = source(KEY_BYTES)
    table = shamir.deal(seeds_of(setup), params.threshold, members, params.suite.generator, key)
    packed, size = shamir.pack_shares(table), shamir.SHARE_BYTES
    return {
        packed[size * (2 * row + own) : size * (2 * row + own + 1)]: (bool(own), holder)
        for row, holder in enumerate(members)
        for own in (0, 1)
    }


def correctable(answers: int, threshold: int) -> int:
    """Returns the most wrong shares of one seed that must be corrected."""
    return 1 if answers == threshold + 1 else (answers - threshold) // 2


class ObservedClient:
    """An honest client, and the books of all that it was told and did."""

    def __init__(self, setup: ClientSetup) -> None:
        self.setup = setup
        self.params = setup.round.params
        self.h0 = h0_of(setup.round)
        self.history: tuple[bytes, ...] = ()
        self.over = False
        (first,) = replay(setup, ()).sent
        self.entry = AdvertiseKeys.read(body(first), self.params).keys
        self.roster: dict[int, PublicKeys] = {}
        self.h1 = b""
        self.sharing: Delivery | None = None
        self.h2 = b""
        self.survivors: tuple[int, ...] = ()
        self.h3 = b""
        self.shared: list[bytes] = []
        self.inputs: list[bytes] = []
        self.signed: list[tuple[bytes, tuple[int, ...], bytes]] = []  # h3, U3, signature
        self.answers: list[tuple[bytes, bytes, dict[int, bytes]]] = []  # h3, message, signers

    def tell(self, message: bytes) -> ClientOutcome:
        """Hands over a message (or asks for the input), and notes what comes of it."""
        now = replay(self.setup, (*self.history, message))
        if now.refused:
            return now
        self.history = (*self.history, message)
        self.over = self.over or bool(now.aborted)
        if now.asked:
            self.sharing = Delivery.read(body(message), self.params, COMPLETE, self.setup.party)
            self.h2 = transcript.h2(self.h1, self.sharing.members, self.params.cohort)
        for payload in now.sent:
            self._note(message, payload)
        return now

    def _note(self, message: bytes, payload: bytes) -> None:
        kind, params = payload[3], self.params
        if kind == MessageType.SHARE_KEYS and payload not in self.shared:
            self.shared.append(payload)
            self.roster = dict(Roster.read(body(message), params, COMPLETE, self.setup.party).keys)
            self.h1 = transcript.h1(self.h0, self.roster, params.cohort)
        elif kind == MessageType.MASKED_INPUT and payload not in self.inputs:
            self.inputs.append(payload)
        elif kind == MessageType.CONSISTENCY:
            self.survivors = tuple(Survivors.read(body(message), params).members)
            self.h3 = transcript.h3(self.h2, self.survivors, params.cohort)
            told = (self.h3, self.survivors, Consistency.read(body(payload)).signature)
            if told not in self.signed:
                self.signed.append(told)
        elif kind == MessageType.UNMASK and all(payload != one for _, one, _ in self.answers):
            signers = dict(Signatures.read(body(message), params).signatures)
            self.answers.append((self.h3, payload, signers))

    def shares(self) -> dict[bytes, tuple[bool, int]]:
        """Returns every share that it dealt: whether of its self seed, and the holder."""
        return dealt_shares(self.setup, tuple(self.roster))
