"""What a client and a server remember from one message to the next.

All that changes in a round is here, and nothing else: `stored.py` stores it, and `erase` ends it.
"""

from dataclasses import dataclass, field

from ..arithmetic.binding import Vector
from ..events import Dropped
from ..machine.wire import PartySet
from ..primitives.secret import Secret
from ..sharing.shamir import Shares
from .messages import PublicKeys, ShareKeys, Unmask
from .transitions import ClientState, ServerState


@dataclass(slots=True, eq=False, repr=False)
class ClientMemory:
    """A client between two messages.

    Attributes:
        keys: its own entry of the roster.
        channel_secret, mask_seed, self_seed, mask_secret: its secrets, wiped after their last use.
        state: where it stands.
        h1, h2, h3: the transcript as far as it got.
        advertised: U1.
        roster: entries of U1, on a sparse graph only the neighbours' and its own.
        members: U2.
        survivors: U3.
        inbound: by peer, the key that opens its ciphertext.
        mask_keys: of the self mask and, in the order of U2, the pairwise masks.
        held: shares by dealer: columns 0..2 of its mask seed, 3..5 of its self seed.
        accepted: digest of the message of each type that was accepted.
        latest: type of the last one of these.
        last_reply: the last message to the server; empty if that message asked for none.
        clipped: values of the input that were clipped.
    """

    keys: PublicKeys
    channel_secret: Secret
    mask_seed: Secret
    self_seed: Secret
    mask_secret: Secret
    state: ClientState = ClientState.CREATED
    h1: bytes = b""
    h2: bytes = b""
    h3: bytes = b""
    advertised: PartySet = field(default_factory=PartySet)
    roster: dict[int, PublicKeys] = field(default_factory=dict)
    members: PartySet = field(default_factory=PartySet)
    survivors: PartySet = field(default_factory=PartySet)
    inbound: dict[int, Secret] = field(default_factory=dict)
    mask_keys: list[Secret] = field(default_factory=list)
    held: dict[int, Shares] = field(default_factory=dict)
    accepted: dict[int, bytes] = field(default_factory=dict)
    latest: int = 0
    last_reply: bytes = b""
    clipped: int = 0

    def erase(self) -> None:
        """Overwrites every secret."""
        fixed = (self.channel_secret, self.mask_seed, self.self_seed, self.mask_secret)
        for secret in (*fixed, *self.inbound.values(), *self.mask_keys):
            secret.wipe()
        for row in self.held.values():
            row.fill(0)
        self.held.clear()


@dataclass(slots=True, eq=False, repr=False)
class ServerMemory:
    """A server between two messages.

    Attributes:
        expected: who may send in this phase.
        total: the sum of the masked inputs so far; no elements before that phase.
        accepted: by message type and party, the digest of the message that was accepted.
        state: where it stands.
        received, sent: bytes of messages.
        h1, h2, h3: the transcript as far as it got.
        dropped: parties that are out, and why.
        roster: entries that were advertised: of U1, once that is fixed.
        shares: what was dealt, until the masked inputs are there.
        commitments: of U2.
        survivors: U3.
        signatures: on the survivor set.
        answers: shares of the survivors.
    """

    expected: tuple[int, ...]
    total: Vector
    accepted: dict[int, dict[int, bytes]]
    state: ServerState = ServerState.CREATED
    received: int = 0
    sent: int = 0
    h1: bytes = b""
    h2: bytes = b""
    h3: bytes = b""
    dropped: dict[int, Dropped] = field(default_factory=dict)
    roster: dict[int, PublicKeys] = field(default_factory=dict)
    shares: dict[int, ShareKeys] = field(default_factory=dict)
    commitments: dict[int, bytes] = field(default_factory=dict)
    survivors: tuple[int, ...] = ()
    signatures: dict[int, bytes] = field(default_factory=dict)
    answers: dict[int, Unmask] = field(default_factory=dict)
