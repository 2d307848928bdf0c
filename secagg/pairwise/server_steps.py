"""What a server makes of each message, and what it announces: the steps, without their order.

Whoever breaks the protocol is found out here, before anything of it is added or passed on.
"""

from collections.abc import Callable, Iterable
from typing import Final

from ..errors import RangeError
from ..field import Field
from ..params import Mode, Round
from ..primitives import agreement
from ..wire import MessageType, Reader
from . import keys
from .authentication import Authentication
from .memory import ServerMemory
from .messages import (
    AdvertiseKeys,
    Consistency,
    Delivery,
    MaskedInput,
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
        self._params: Final = agreed.params
        self._field: Final = Field(agreed.params.field_bits)
        self._authentication: Final = authentication
        self._keys_seen: Final[set[bytes]] = set()
        for entry in memory.keys.values():
            self._keys_seen.update((entry.channel, entry.mask))

    def take(self, kind: MessageType, party: int, reader: Reader) -> str | None:
        """Takes a message that is due: None, or why its sender must be dropped; DecodeError if it
        is malformed.
        """
        return _HANDLERS[kind](self, party, reader)

    def on_advertise_keys(self, party: int, reader: Reader) -> str | None:
        message = AdvertiseKeys.read(reader, self._params)
        if message.h0 != self.h0:
            return "believes in another round: parameters, context or session differ (h0)"
        if not self._authentication.entry_valid(self.h0, party, message.keys):
            return "advertised keys without its signature"
        pair = {message.keys.channel, message.keys.mask}
        if len(pair) < 2 or pair & self._keys_seen:
            return "advertised a key twice, or somebody else's"
        try:
            agreement.check_public_key(message.keys.channel)
            agreement.check_public_key(message.keys.mask)
        except agreement.WeakKeyError as error:
            return str(error)
        self._keys_seen.update(pair)
        self.memory.keys[party] = message.keys
        return None

    def on_share_keys(self, party: int, reader: Reader) -> str | None:
        memory = self.memory
        receivers = [peer for peer in memory.roster if peer != party]
        message = ShareKeys.read(reader, receivers)
        if message.h1 != memory.h1:
            return "dealt shares for another roster (h1)"
        memory.shares[party] = message
        return None

    def on_masked_input(self, party: int, reader: Reader) -> str | None:
        memory = self.memory
        message = MaskedInput.read(reader, self._params)
        if message.h2 != memory.h2:
            return "masked its input for other sets of parties (h2)"
        if not self._authentication.input_valid(memory.h2, party, message.packed, message.proof):
            return "masked input does not match its checksum or signature"
        try:
            self._field.unpack_add(memory.total, message.packed)
        except RangeError as error:
            raise reader.error(f"masked input: {error}") from None
        return None

    def on_consistency(self, party: int, reader: Reader) -> str | None:
        message = Consistency.read(reader)
        if not self._authentication.consistency_valid(self.memory.h3, party, message.signature):
            return "did not sign this survivor set (h3)"
        self.memory.signatures[party] = message.signature
        return None

    def on_unmask(self, party: int, reader: Reader) -> str | None:
        message = Unmask.read(reader, self._params)
        if not set(message.dealers) <= set(self.memory.commitments):
            return "sent shares of parties that did not share"
        self.memory.answers[party] = message
        return None

    def opening(self) -> Iterable[tuple[int, bytes]]:
        """The message to each party that opened this phase, always the same bytes."""
        memory, session, cohort = self.memory, self.round.session, self._params.cohort
        if memory.state is ServerState.ADVERTISE_KEYS:
            message = self.round.encode()
        elif memory.state is ServerState.SHARE_KEYS:
            message = Roster(memory.roster).encode(session, cohort)
        elif memory.state is ServerState.MASKED_INPUT:
            return self._deliveries()
        elif memory.state is ServerState.UNMASK and self._params.mode == Mode.MALICIOUS:
            some = memory.expected[: self._params.threshold]  # more would prove nothing more
            message = Signatures({party: memory.signatures[party] for party in some}).encode(
                session, cohort
            )
        else:
            message = Survivors(memory.survivors).encode(session, cohort)
        return ((party, message) for party in memory.expected)

    def _deliveries(self) -> Iterable[tuple[int, bytes]]:
        members = self.memory.expected
        for receiver in members:
            sealed = {
                sender: self.memory.shares[sender].sealed[receiver]
                for sender in members
                if sender != receiver
            }
            message = Delivery(members, sealed)
            yield receiver, message.encode(self.round.session, self._params.cohort)


_HANDLERS: Final[dict[MessageType, Callable[[ServerSteps, int, Reader], str | None]]] = {
    MessageType.ADVERTISE_KEYS: ServerSteps.on_advertise_keys,
    MessageType.SHARE_KEYS: ServerSteps.on_share_keys,
    MessageType.MASKED_INPUT: ServerSteps.on_masked_input,
    MessageType.CONSISTENCY: ServerSteps.on_consistency,
    MessageType.UNMASK: ServerSteps.on_unmask,
}
