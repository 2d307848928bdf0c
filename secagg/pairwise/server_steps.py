"""The steps of a server: validates and applies client messages, and closes each phase.

Invalid messages are rejected before any part of them is added or forwarded. `server.py` decides
the order of the steps.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from ..arithmetic.field import Field
from ..codes import Code
from ..encoding.choice import codec_for
from ..errors import RangeError
from ..events import Dropped, Failed, Job, Result
from ..machine.wire import MessageType, PartySet, Reader
from ..params.mode import Mode
from ..params.params import Round
from ..primitives import agreement
from . import transcript
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
from .recovery import rebuild_seeds
from .transitions import PHASES, ServerState
from .unmasking import Unmasking


class ServerSteps:
    """The steps of one server, which read and change its memory.

    Args:
        agreed: the round.
        authentication: verifies messages for this server.
        memory: the server's memory.
    """

    def __init__(self, agreed: Round, authentication: Authentication, memory: ServerMemory) -> None:
        self.round: Final = agreed
        self.memory: Final = memory
        self.h0: Final = transcript.h0(agreed, authentication.pinned)
        self.graph: Final = graph_of(agreed.params, self.h0)
        self._params: Final = agreed.params
        self._field: Final = Field(agreed.params.field_bits)
        self._codec: Final = codec_for(agreed.params, agreed.session)
        self._authentication: Final = authentication
        self._keys_seen: Final[set[bytes]] = set()
        for entry in memory.roster.values():
            self._keys_seen.update((entry.channel, entry.mask))

    def take(self, kind: MessageType, party: int, reader: Reader) -> Dropped | None:
        """Handles a message that is due; returns why its sender is dropped, None if it is not.

        Raises:
            DecodeError: the message is malformed; nothing has changed.
        """
        return _HANDLERS[kind](self, party, reader)

    def on_advertise_keys(self, party: int, reader: Reader) -> Dropped | None:
        message = AdvertiseKeys.read(reader, self._params)
        if message.h0 != self.h0:
            return Dropped(
                party,
                f"works on another round (h0): it has other {self._authentication.bound}",
                Code.CONTEXT,
            )
        if not self._authentication.entry_valid(self.h0, party, message.keys):
            return Dropped(
                party, "advertised keys without a valid signature of its own", Code.SIGNATURE
            )
        pair = {message.keys.channel, message.keys.mask}
        if len(pair) < 2 or pair & self._keys_seen:
            return Dropped(
                party,
                "advertised the same key twice, or a key of another party",
                Code.DUPLICATE_KEY,
            )
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
        # First the length: listing the receivers costs more than a few bytes may.
        reader.expect(ShareKeys.size(self.graph.count_neighbours(party, memory.roster)))
        message = ShareKeys.read(reader, self.graph.neighbours(party, memory.roster))
        if message.roster_digest != self._roster_digest(party):
            return Dropped(party, "dealt shares for another roster (h1)", Code.ROSTER)
        memory.shares[party] = message
        return None

    def _roster_digest(self, party: int) -> bytes:
        """Returns the digest that a party sends if it was told the true roster."""
        memory = self.memory
        if not self._params.degree:
            return memory.h1
        return transcript.roster_digest(
            memory.h1, self._visible_entries(party), self._params.cohort
        )

    def _visible_entries(self, party: int) -> dict[int, PublicKeys]:
        """Returns the entries of the roster that a party is told on a sparse graph."""
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
                "sent a masked input that does not match its checksum or signature",
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
            return Dropped(
                party,
                "sent a signature that is not its own, or not on this survivor set (h3)",
                Code.SIGNATURE,
            )
        self.memory.signatures[party] = message.signature
        return None

    def on_unmask(self, party: int, reader: Reader) -> Dropped | None:
        # First whose they are: on a sparse graph a message may have many more than its sender has.
        dealers = Unmask.read_dealers(reader, self._params)
        dealt = self.graph.holders(party, self.memory.commitments)
        if not dealers <= PartySet.of(dealt, self._params.cohort):
            return Dropped(
                party, "sent shares of parties that had given it none", Code.FOREIGN_SHARE
            )
        self.memory.answers[party] = Unmask.read_shares(reader, dealers)
        return None

    def members(self) -> tuple[int, ...]:
        """Returns the parties, ascending, that sent this phase's message and were not dropped."""
        memory = self.memory
        accepted = memory.accepted[AWAITED[memory.state]]
        return tuple(
            party for party in memory.expected if party in accepted and party not in memory.dropped
        )

    def why_failed(self, members: tuple[int, ...]) -> Failed | None:
        """Returns why the round fails with these members of a phase; None if it can continue."""
        state = self.memory.state
        late = state in (ServerState.CONSISTENCY, ServerState.UNMASK)
        least = self._params.threshold if late else self._params.quorum
        if len(members) < least:
            return Failed(
                f"{len(members)} parties sent {PHASES[state]}, {least} are needed"
                + self._refusals(),
                Code.QUORUM,
            )
        return self._why_unrecoverable(members) if state is ServerState.MASKED_INPUT else None

    def _refusals(self) -> str:
        """Returns how many parties refused, and the most frequent reason; "" if none did."""
        dropped = self.memory.dropped.values()
        reasons = Counter(each.reason for each in dropped if each.code is Code.REFUSED)
        if not reasons:
            return ""
        (reason, times), *_ = reasons.most_common(1)
        return f"; {reasons.total()} did not go on, {times} of them: {reason}"

    def _why_unrecoverable(self, survivors: tuple[int, ...]) -> Failed | None:
        """Returns why a sum of these survivors could not be unmasked; None if it can.

        On the complete graph a quorum is always enough.
        """
        if not self._params.degree:
            return None
        members, least = PartySet.of(survivors, self._params.cohort), self._params.threshold
        if not self.graph.connected(members):
            return Failed(
                "the survivors fall apart into groups that share no masks", Code.DISCONNECTED
            )
        for party in self.memory.expected:
            left = len(self.graph.holders(party, members))
            if left < least:
                return Failed(
                    f"{left} holders of party {party}'s seeds are left, {least} are needed",
                    Code.NEIGHBOURS,
                )
        return None

    def close_phase(self, members: tuple[int, ...]) -> None:
        """Ends a phase: fixes its members and the transcript so far."""
        memory, cohort = self.memory, self._params.cohort
        if memory.state is ServerState.ADVERTISE_KEYS:
            memory.roster = {party: memory.roster[party] for party in members}  # ascending
            memory.h1 = transcript.h1(self.h0, memory.roster, cohort)
        elif memory.state is ServerState.SHARE_KEYS:
            memory.commitments = {party: memory.shares[party].commitment for party in members}
            memory.h2 = transcript.h2(memory.h1, members, cohort)
            memory.total = self._field.zeros(self._params.vector_length)
        elif memory.state is ServerState.MASKED_INPUT:
            memory.survivors = members
            memory.h3 = transcript.h3(memory.h2, members, cohort)
            memory.shares.clear()
        memory.expected = members

    def rebuild(self, members: tuple[int, ...]) -> list[Job]:
        """Returns the jobs that rebuild the seeds from the answers of these parties.

        Raises:
            RecoveryError: a dealer has too few shares.
        """
        memory = self.memory
        jobs = rebuild_seeds(
            self._params,
            self.graph,
            memory.roster,
            memory.commitments,
            self.h0,
            memory.h1,
            memory.survivors,
            {party: memory.answers[party] for party in members},
        )
        memory.answers.clear()
        return jobs

    def unmask(self) -> Unmasking:
        """Begins to remove the masks."""
        memory = self.memory
        survivors = PartySet.of(memory.survivors, self._params.cohort)
        return Unmasking(
            self._params,
            memory.total,
            self.h0,
            memory.h1,
            memory.roster,
            [party for party in memory.commitments if party not in survivors],
            lambda party: self.graph.neighbours(party, survivors),
        )

    def result(self, disputes: tuple[tuple[int, int], ...]) -> Result:
        """Returns the result, after all masks were removed.

        Raises:
            RangeError: the sum is outside the range that honest inputs can reach.
        """
        memory = self.memory
        decoded = self._codec.decode(memory.total, len(memory.survivors))
        return Result(
            total=decoded.total,
            weight=decoded.weight,
            mean=decoded.mean,
            survivors=memory.survivors,
            disputes=disputes,
        )

    def opening_messages(self, parties: Iterable[int]) -> Iterable[tuple[int, bytes]]:
        """Yields (party, message) for the messages that open this phase, always the same bytes.

        Args:
            parties: the members of this phase whose messages are made; no others are.
        """
        message_for = self._opening()
        return ((party, message_for(party)) for party in parties)

    def _opening(self) -> Callable[[int], bytes]:
        """Returns what makes the message for one party; what is the same for all is made once."""
        memory, session, cohort = self.memory, self.round.session, self._params.cohort
        if memory.state is ServerState.ADVERTISE_KEYS:
            message = self.round.encode()
        elif memory.state is ServerState.SHARE_KEYS:
            members = PartySet.of(memory.roster, cohort)
            if self._params.degree:
                return lambda party: Roster(
                    members, self._visible_entries(party), memory.h1
                ).encode(session, cohort)
            message = Roster(members, memory.roster).encode(session, cohort)
        elif memory.state is ServerState.MASKED_INPUT:
            members = PartySet.of(memory.expected, cohort)
            return lambda party: Delivery(members, self._sealed_for(party, members)).encode(
                session, cohort
            )
        elif memory.state is ServerState.UNMASK and self._params.mode == Mode.MALICIOUS:
            # A threshold of signatures is all the proof that clients ask for.
            some = memory.expected[: self._params.threshold]
            message = Signatures({party: memory.signatures[party] for party in some}).encode(
                session, cohort
            )
        else:
            message = Survivors(PartySet.of(memory.survivors, cohort)).encode(session, cohort)
        return lambda _: message

    def _sealed_for(self, party: int, members: PartySet) -> dict[int, bytes]:
        """Returns the ciphertexts that its neighbours among these members have for a party."""
        shares = self.memory.shares
        return {
            sender: shares[sender].sealed[party] for sender in self.graph.neighbours(party, members)
        }


# The message that each phase waits for.
AWAITED: Final = {
    ServerState.ADVERTISE_KEYS: MessageType.ADVERTISE_KEYS,
    ServerState.SHARE_KEYS: MessageType.SHARE_KEYS,
    ServerState.MASKED_INPUT: MessageType.MASKED_INPUT,
    ServerState.CONSISTENCY: MessageType.CONSISTENCY,
    ServerState.UNMASK: MessageType.UNMASK,
}

_HANDLERS: Final[dict[MessageType, Callable[[ServerSteps, int, Reader], Dropped | None]]] = {
    MessageType.ADVERTISE_KEYS: ServerSteps.on_advertise_keys,
    MessageType.SHARE_KEYS: ServerSteps.on_share_keys,
    MessageType.MASKED_INPUT: ServerSteps.on_masked_input,
    MessageType.CONSISTENCY: ServerSteps.on_consistency,
    MessageType.UNMASK: ServerSteps.on_unmask,
}
