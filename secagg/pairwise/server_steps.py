"""What a server makes of each message, and what it announces: the steps, without their order.

Whoever breaks the protocol is found out here, before anything of it is added or passed on.
"""

from collections.abc import Callable, Iterable
from typing import Final

from ..arithmetic.field import Field
from ..codes import Code
from ..errors import RangeError
from ..events import Dropped, Failed
from ..machine.wire import MessageType, PartySet, Reader
from ..params.params import Mode, Round
from ..primitives import agreement
from . import keys
from .authentication import Authentication
from .graph import graph_of
from .memory import ServerMemory
from .messages import (
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
from .transitions import ServerState


class ServerSteps:
    """The steps of one server, on its memory.

    Args:
        agreed: the round.
        authentication: what it verifies by.
        memory: what it knows so far.
    """

    def __init__(self, agreed: Round, authentication: Authentication, memory: ServerMemory) -> None:
        self.round: Final = agreed
        self.memory: Final = memory
        self.h0: Final = keys.h0(agreed, authentication.pinned)
        self.graph: Final = graph_of(agreed.params, self.h0)
        self._params: Final = agreed.params
        self._field: Final = Field(agreed.params.field_bits)
        self._authentication: Final = authentication
        self._keys_seen: Final[set[bytes]] = set()
        for entry in memory.roster.values():
            self._keys_seen.update((entry.channel, entry.mask))

    def take(self, kind: MessageType, party: int, reader: Reader) -> Dropped | None:
        """Takes a message that is due: None, or that its sender is dropped, and why; DecodeError if
        it is malformed.
        """
        return _HANDLERS[kind](self, party, reader)

    def on_advertise_keys(self, party: int, reader: Reader) -> Dropped | None:
        message = AdvertiseKeys.read(reader, self._params)
        if message.h0 != self.h0:
            return Dropped(
                party,
                "believes in another round: parameters, context or session differ (h0)",
                Code.CONTEXT,
            )
        if not self._authentication.entry_valid(self.h0, party, message.keys):
            return Dropped(party, "advertised keys without its signature", Code.SIGNATURE)
        pair = {message.keys.channel, message.keys.mask}
        if len(pair) < 2 or pair & self._keys_seen:
            return Dropped(party, "advertised a key twice, or somebody else's", Code.DUPLICATE_KEY)
        try:
            agreement.check_public_key(message.keys.channel)
            agreement.check_public_key(message.keys.mask)
        except agreement.WeakKeyError as error:
            return Dropped(party, str(error), Code.WEAK_KEY)
        self._keys_seen.update(pair)
        self.memory.roster[party] = message.keys
        return None

    def on_share_keys(self, party: int, reader: Reader) -> Dropped | None:
        memory = self.memory
        message = ShareKeys.read(reader, self.graph.neighbours(party, memory.roster))
        if message.believed != self._believed(party):
            return Dropped(party, "dealt shares for another roster (h1)", Code.ROSTER)
        memory.shares[party] = message
        return None

    def _believed(self, party: int) -> bytes:
        """What a party that was told the true roster answers."""
        memory = self.memory
        if not self._params.degree:
            return memory.h1
        return keys.believed(memory.h1, self._near(party), self._params.cohort)

    def _near(self, party: int) -> dict[int, PublicKeys]:
        """The entries that a party sees on a sparse graph."""
        roster = self.memory.roster
        return {peer: roster[peer] for peer in self.graph.holders(party, roster)}

    def on_masked_input(self, party: int, reader: Reader) -> Dropped | None:
        memory = self.memory
        message = MaskedInput.read(reader, self._params)
        if message.h2 != memory.h2:
            return Dropped(
                party, "masked its input for other sets of parties (h2)", Code.SHARING_SET
            )
        if not self._authentication.input_valid(memory.h2, party, message.packed, message.proof):
            return Dropped(
                party,
                "masked input does not match its checksum or signature",
                Code.SIGNATURE if self._params.mode == Mode.MALICIOUS else Code.CHECKSUM,
            )
        try:
            self._field.unpack_add(memory.total, message.packed)
        except RangeError as error:
            raise reader.error(f"masked input: {error}") from None
        return None

    def on_consistency(self, party: int, reader: Reader) -> Dropped | None:
        message = Consistency.read(reader)
        if not self._authentication.consistency_valid(self.memory.h3, party, message.signature):
            return Dropped(party, "did not sign this survivor set (h3)", Code.SIGNATURE)
        self.memory.signatures[party] = message.signature
        return None

    def on_unmask(self, party: int, reader: Reader) -> Dropped | None:
        message = Unmask.read(reader, self._params)
        dealt = self.graph.holders(party, self.memory.commitments)
        if not message.dealers <= PartySet.of(dealt, self._params.cohort):
            return Dropped(
                party, "sent shares of parties that did not share with it", Code.FOREIGN_SHARE
            )
        self.memory.answers[party] = message
        return None

    def hopeless(self, survivors: tuple[int, ...]) -> Failed | None:
        """Returns why this survivor set leads to no sum, on a sparse graph; None if it may."""
        if not self._params.degree:
            return None
        members, least = PartySet.of(survivors, self._params.cohort), self._params.threshold
        if not self.graph.connected(members):
            return Failed("the survivors fall into parts that share no masks", Code.DISCONNECTED)
        for party in self.memory.expected:
            left = len(self.graph.holders(party, members))
            if left < least:
                return Failed(
                    f"{left} holders of party {party}'s seeds are left, {least} are needed",
                    Code.NEIGHBOURS,
                )
        return None

    def opening(self) -> Iterable[tuple[int, bytes]]:
        """The message to each party that opened this phase, always the same bytes."""
        memory, session, cohort = self.memory, self.round.session, self._params.cohort
        if memory.state is ServerState.ADVERTISE_KEYS:
            message = self.round.encode()
        elif memory.state is ServerState.SHARE_KEYS:
            return self._rosters()
        elif memory.state is ServerState.MASKED_INPUT:
            return self._deliveries()
        elif memory.state is ServerState.UNMASK and self._params.mode == Mode.MALICIOUS:
            some = memory.expected[: self._params.threshold]  # more would prove nothing more
            message = Signatures({party: memory.signatures[party] for party in some}).encode(
                session, cohort
            )
        else:
            message = Survivors(PartySet.of(memory.survivors, cohort)).encode(session, cohort)
        return ((party, message) for party in memory.expected)

    def _rosters(self) -> Iterable[tuple[int, bytes]]:
        memory, session, cohort = self.memory, self.round.session, self._params.cohort
        members = PartySet.of(memory.roster, cohort)
        if not self._params.degree:
            message = Roster(members, memory.roster).encode(session, cohort)
            yield from ((party, message) for party in memory.expected)
            return
        for party in memory.expected:
            roster = Roster(members, self._near(party), memory.h1)
            yield party, roster.encode(session, cohort)

    def _deliveries(self) -> Iterable[tuple[int, bytes]]:
        memory, session, cohort = self.memory, self.round.session, self._params.cohort
        members = PartySet.of(memory.expected, cohort)
        for party in memory.expected:
            sealed = {
                sender: memory.shares[sender].sealed[party]
                for sender in self.graph.neighbours(party, members)
            }
            yield party, Delivery(members, sealed).encode(session, cohort)


_HANDLERS: Final[dict[MessageType, Callable[[ServerSteps, int, Reader], Dropped | None]]] = {
    MessageType.ADVERTISE_KEYS: ServerSteps.on_advertise_keys,
    MessageType.SHARE_KEYS: ServerSteps.on_share_keys,
    MessageType.MASKED_INPUT: ServerSteps.on_masked_input,
    MessageType.CONSISTENCY: ServerSteps.on_consistency,
    MessageType.UNMASK: ServerSteps.on_unmask,
}
