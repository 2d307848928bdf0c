"""The memory of a client and of a server between two messages.

It holds all that changes during a round, and nothing else. `stored.py` stores it.
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
    """The memory of a client between two messages.

    Attributes:
        keys: its own entry in the roster.
        channel_secret, mask_seed, self_seed, mask_secret: its secrets, wiped after their last use.
        state: the state of the client in the protocol.
        h1, h2, h3: the transcript hashes computed so far; empty before.
        advertised: U1, the parties that advertised keys.
        roster: entries of U1; on a sparse graph only those of the neighbours and its own.
        members: U2, the parties that shared keys.
        survivors: U3, the parties whose input is in the sum.
        inbound: the key that opens the ciphertext of each peer, by peer.
        mask_keys: of the self mask, then of the pairwise masks in the order of U2.
        held: shares by dealer, shape (6,): 0..2 of its mask seed, 3..5 of its self seed.
        accepted: digest of the accepted message of each type, by type.
        latest: type of the last accepted message.
        last_reply: the last message to the server; empty if the latest message needs no reply.
        clipped: number of input values that were clipped.
        context_expected: whether the client itself has said that its input is for this context.
        may_repeat: whether it may contribute in a context more than once.
        demands_privacy: whether its policy demands noise.
        has_budget: whether it is charged for the round.
        has_release: whether its policy is asked before a sum is opened.
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
    context_expected: bool = False
    may_repeat: bool = False
    demands_privacy: bool = False
    has_budget: bool = False
    has_release: bool = False

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
    """The memory of a server between two messages.

    Attributes:
        expected: the parties that may send in this phase, ascending.
        total: the sum of the masked inputs so far; has no elements before that phase.
        accepted: digests of accepted messages, by message type and party.
        state: the state of the server in the protocol.
        received, sent: total bytes of messages.
        h1, h2, h3: the transcript hashes computed so far; empty before.
        dropped: parties that are out of the round, with the reason.
        roster: advertised entries, by party; those of U1 after that phase.
        shares: the encrypted shares, by sender, until the masked input phase ends.
        commitments: to the self seeds of U2, by party.
        survivors: U3, ascending.
        signatures: on the survivor set, by party.
        answers: the unmask messages of survivors, by party.
        has_release: whether it asks before a sum is opened.
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
    has_release: bool = False
