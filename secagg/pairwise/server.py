"""The server of one round: bytes and calls in, events out. No I/O, no clock, no threads.

It adds masked inputs as they arrive and never stores one. A phase ends when everybody expected
has answered, or when the driver says that its time is up. A client that breaks the protocol is
dropped before anything of it is forwarded, so it costs itself the round and nobody else.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from ..directory import Directory
from ..encoding import codec_for
from ..errors import LocalProtocolError, RangeError, RemoteProtocolError
from ..events import (
    Completed,
    Dropped,
    Failed,
    Job,
    Phase,
    PhaseStarted,
    Result,
    Send,
    ServerEvent,
    Work,
)
from ..field import Field
from ..params import Round
from ..primitives import agreement
from ..wire import MessageType, Reader, open_message
from . import keys
from .authentication import for_server
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
from .recovery import RecoveryError, rebuild_seeds
from .transitions import PHASES, SERVER, Call, Input, ServerState, step
from .unmasking import Unmasking

_log: Final = logging.getLogger("secagg")


@dataclass(frozen=True, slots=True)
class Status:
    """Where a round stands: its state, who is awaited, and message bytes so far."""

    state: ServerState
    awaited: tuple[int, ...]
    bytes_received: int
    bytes_sent: int


class Server:
    """The aggregator of one round; use a fresh object for every round.

    Args:
        agreed: the round that the cohort was invited to; send `offer` to every party.
        directory: malicious mode: the verify keys of the cohort.

    Raises:
        ParameterError: the directory does not fit the mode or the cohort.
    """

    def __init__(self, agreed: Round, directory: Directory | None = None) -> None:
        params = agreed.params
        self.round: Final = agreed
        self.offer: Final = agreed.encode()
        self.state = ServerState.CREATED
        self._params: Final = params
        self._field: Final = Field(params.field_bits)
        self._table: Final = SERVER[params.mode]
        self._authentication: Final = for_server(params, directory)
        self._h0: Final = keys.h0(agreed, self._authentication.pinned)
        self._h1 = b""
        self._h2 = b""
        self._h3 = b""
        self._received = 0
        self._sent = 0
        self._dropped: dict[int, str] = {}
        # For each phase, the digest of the message that each party sent, if it was accepted.
        self._accepted: dict[int, dict[int, bytes]] = {kind: {} for kind in _HANDLERS}
        self._expected: tuple[int, ...] = tuple(range(params.cohort))
        self._keys_seen: set[bytes] = set()
        self._keys: dict[int, PublicKeys] = {}
        self._roster: dict[int, PublicKeys] = {}  # U1
        self._shares: dict[int, ShareKeys] = {}
        self._commitments: dict[int, bytes] = {}  # U2
        self._sum = self._field.zeros(0)
        self._survivors: tuple[int, ...] = ()  # U3
        self._signatures: dict[int, bytes] = {}
        self._answers: dict[int, Unmask] = {}
        self._unmasking: Unmasking | None = None
        self._disputes: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        return f"<secagg.Server of {self._params.cohort}: {self.state.value}>"

    # -- what the driver does -------------------------------------------------------------

    def start(self) -> list[ServerEvent]:
        """Begins the first phase.

        Raises:
            LocalProtocolError: called twice.
        """
        return self._enter(Call.START)

    def receive(self, party: int, data: bytes) -> list[ServerEvent]:
        """Takes one message from a party and says what to do.

        A repetition of a message that was accepted is ignored; a different one in its place is
        refused and the first kept.

        Args:
            party: index of the sender, as the transport knows it.
            data: the bytes, whatever they are.

        Raises:
            RemoteProtocolError: the message is malformed (`DecodeError`), of another session,
                out of order or late; nothing has changed. Drivers log it and go on.
            LocalProtocolError: there is no such party.
        """
        if party not in range(self._params.cohort):
            raise LocalProtocolError(f"there is no party {party}")
        kind, reader, digest = open_message(data, party, self.round.session)
        if party in self._accepted.get(kind, ()):
            if self._accepted[kind][party] == digest:
                return []
            raise RemoteProtocolError(party, "a second, different message for the same step")
        if party in self._dropped:
            raise RemoteProtocolError(party, f"was dropped: {self._dropped[party]}")
        cause = next((known for known in self._table[self.state] if known == kind), None)
        if not isinstance(cause, MessageType) or party not in self._expected:
            raise RemoteProtocolError(
                party, f"message of type {kind:#04x} while {self.state.value}"
            )
        complaint = _HANDLERS[cause](self, party, reader)
        self._received += reader.size
        events: list[ServerEvent] = []
        if complaint is None:
            self._accepted[cause][party] = digest
        else:
            events.append(self._drop(party, complaint))
        return events if self.status.awaited else events + self._phase_over()

    def deadline(self, phase: Phase) -> list[ServerEvent]:
        """The time of a phase is up: goes on without those who are silent.

        A deadline of another phase than the present one does nothing.
        """
        if self.state not in PHASES or PHASES[self.state] is not phase:
            return []
        silent = self.status.awaited
        if self.state is ServerState.UNMASK:  # their input is in the sum all the same
            return self._phase_over()
        events: list[ServerEvent] = [self._drop(party, f"no {phase} in time") for party in silent]
        return events + self._phase_over()

    def complete(self, job: Job, value: Any) -> list[ServerEvent]:
        """Takes the value of a job; a job that is handed back twice counts once.

        Raises:
            LocalProtocolError: not a job of this server.
            RangeError: not a value that the job can give; nothing has changed.
        """
        if self.state in (ServerState.COMPLETED, ServerState.FAILED):
            return []
        if self._unmasking is None:
            raise LocalProtocolError("complete() with a job that this server did not hand out")
        jobs = self._unmasking.complete(job, value)
        return self._finish() if self._unmasking.finished else [Work(job) for job in jobs]

    @property
    def status(self) -> Status:
        """Where the round stands."""
        kind = _AWAITED.get(self.state)
        log = self._accepted[kind] if kind is not None else {}
        awaited = tuple(
            party
            for party in (self._expected if kind is not None else ())
            if party not in log and party not in self._dropped
        )
        return Status(self.state, awaited, self._received, self._sent)

    # -- messages: each handler returns why the sender must be dropped, or None -------------

    def _on_advertise_keys(self, party: int, reader: Reader) -> str | None:
        message = AdvertiseKeys.read(reader, self._params)
        if message.h0 != self._h0:
            return "believes in another round: parameters, context or session differ (h0)"
        if not self._authentication.entry_valid(self._h0, party, message.keys):
            return "advertised keys without its signature"
        pair = {message.keys.channel, message.keys.mask}
        if len(pair) < 2 or pair & self._keys_seen:
            return "advertised a key twice, or somebody else's"
        try:
            agreement.check_public_key(message.keys.channel)
            agreement.check_public_key(message.keys.mask)
        except agreement.WeakKeyError as error:
            return str(error)
        self._keys_seen |= pair
        self._keys[party] = message.keys
        return None

    def _on_share_keys(self, party: int, reader: Reader) -> str | None:
        receivers = [peer for peer in self._roster if peer != party]
        message = ShareKeys.read(reader, receivers)
        if message.h1 != self._h1:
            return "dealt shares for another roster (h1)"
        self._shares[party] = message
        return None

    def _on_masked_input(self, party: int, reader: Reader) -> str | None:
        message = MaskedInput.read(reader, self._params)
        if message.h2 != self._h2:
            return "masked its input for other sets of parties (h2)"
        if not self._authentication.input_valid(self._h2, party, message.packed, message.proof):
            return "masked input does not match its checksum or signature"
        try:
            self._field.unpack_add(self._sum, message.packed)
        except RangeError as error:
            raise reader.error(f"masked input: {error}") from None
        return None

    def _on_consistency(self, party: int, reader: Reader) -> str | None:
        message = Consistency.read(reader)
        if not self._authentication.consistency_valid(self._h3, party, message.signature):
            return "did not sign this survivor set (h3)"
        self._signatures[party] = message.signature
        return None

    def _on_unmask(self, party: int, reader: Reader) -> str | None:
        message = Unmask.read(reader, self._params)
        if not set(message.dealers) <= set(self._commitments):
            return "sent shares of parties that did not share"
        self._answers[party] = message
        return None

    # -- phases -----------------------------------------------------------------------------

    def _enter(self, cause: Input) -> list[ServerEvent]:
        self.state = step(self._table, self.state, cause)
        _log.info("%s: %r", self.round.session.hex(), self)
        return [PhaseStarted(PHASES[self.state])] if self.state in PHASES else []

    def _drop(self, party: int, reason: str) -> Dropped:
        self._dropped[party] = reason
        _log.info("%s: party %d dropped: %s", self.round.session.hex(), party, reason)
        return Dropped(party, reason)

    def _fail(self, reason: str, disputes: tuple[tuple[int, int], ...] = ()) -> list[ServerEvent]:
        self._enter(Call.FAIL)
        self._forget()
        _log.warning("%s: failed: %s", self.round.session.hex(), reason)
        return [Failed(reason, disputes)]

    def _forget(self) -> None:
        """Lets go of everything that could unmask an input."""
        self._sum = self._field.zeros(0)
        self._answers.clear()
        self._unmasking = None

    def _send(self, payloads: Iterable[tuple[int, bytes]]) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        for party, payload in payloads:
            self._sent += len(payload)
            events.append(Send(party, payload))
        return events

    def _phase_over(self) -> list[ServerEvent]:
        kind = _AWAITED[self.state]
        members = tuple(
            party
            for party in self._expected
            if party in self._accepted[kind] and party not in self._dropped
        )
        late = self.state in (ServerState.CONSISTENCY, ServerState.UNMASK)
        least = self._params.threshold if late else self._params.quorum
        if len(members) < least:
            what = PHASES[self.state]
            return self._fail(f"{len(members)} parties sent {what}, {least} are needed")
        return _NEXT[self.state](self, members)

    def _close_advertise_keys(self, members: tuple[int, ...]) -> list[ServerEvent]:
        self._roster = {party: self._keys[party] for party in members}
        self._h1 = keys.h1(self._h0, self._roster, self._params.cohort)
        self._expected = members
        message = Roster(self._roster).encode(self.round.session, self._params.cohort)
        return self._send((party, message) for party in members) + self._enter(Call.PHASE_OVER)

    def _close_share_keys(self, members: tuple[int, ...]) -> list[ServerEvent]:
        self._commitments = {party: self._shares[party].commitment for party in members}
        self._h2 = keys.h2(self._h1, members, self._params.cohort)
        self._expected = members
        self._sum = self._field.zeros(self._params.vector_length)

        def deliveries() -> Iterable[tuple[int, bytes]]:
            for receiver in members:
                sealed = {
                    sender: self._shares[sender].sealed[receiver]
                    for sender in members
                    if sender != receiver
                }
                message = Delivery(members, sealed)
                yield receiver, message.encode(self.round.session, self._params.cohort)

        events = self._send(deliveries()) + self._enter(Call.PHASE_OVER)
        self._shares.clear()
        return events

    def _close_masked_input(self, members: tuple[int, ...]) -> list[ServerEvent]:
        self._survivors = members
        self._expected = members
        self._h3 = keys.h3(self._h2, members, self._params.cohort)
        message = Survivors(members).encode(self.round.session, self._params.cohort)
        return self._send((party, message) for party in members) + self._enter(Call.PHASE_OVER)

    def _close_consistency(self, members: tuple[int, ...]) -> list[ServerEvent]:
        self._expected = members
        some = members[: self._params.threshold]  # more would convince no client better
        signatures = {party: self._signatures[party] for party in some}
        message = Signatures(signatures).encode(self.round.session, self._params.cohort)
        return self._send((party, message) for party in members) + self._enter(Call.PHASE_OVER)

    def _close_unmask(self, members: tuple[int, ...]) -> list[ServerEvent]:
        try:
            seeds = rebuild_seeds(
                self._params,
                self._roster,
                self._commitments,
                self._h0,
                self._h1,
                self._survivors,
                {party: self._answers[party] for party in members},
            )
        except RecoveryError as error:
            return self._fail(error.reason, error.disputes)
        self._answers.clear()
        self._disputes = seeds.disputes
        self._enter(Call.PHASE_OVER)
        self._unmasking = Unmasking(self._params, self._sum)
        jobs = self._unmasking.start(seeds, self._h0, self._h1, self._survivors, self._roster)
        return [Work(job) for job in jobs]

    def _finish(self) -> list[ServerEvent]:
        try:
            decoded = codec_for(self._params).decode(self._sum, len(self._survivors))
        except RangeError as error:
            return self._fail(str(error))
        self._enter(Call.WORK_DONE)
        self._forget()
        return [
            Completed(
                Result(
                    total=decoded.total,
                    weight=decoded.weight,
                    mean=decoded.mean,
                    survivors=self._survivors,
                    disputes=self._disputes,
                )
            )
        ]


_HANDLERS: Final[dict[MessageType, Callable[[Server, int, Reader], str | None]]] = {
    MessageType.ADVERTISE_KEYS: Server._on_advertise_keys,
    MessageType.SHARE_KEYS: Server._on_share_keys,
    MessageType.MASKED_INPUT: Server._on_masked_input,
    MessageType.CONSISTENCY: Server._on_consistency,
    MessageType.UNMASK: Server._on_unmask,
}

_AWAITED: Final = {
    ServerState.ADVERTISE_KEYS: MessageType.ADVERTISE_KEYS,
    ServerState.SHARE_KEYS: MessageType.SHARE_KEYS,
    ServerState.MASKED_INPUT: MessageType.MASKED_INPUT,
    ServerState.CONSISTENCY: MessageType.CONSISTENCY,
    ServerState.UNMASK: MessageType.UNMASK,
}

_NEXT: Final[dict[ServerState, Callable[[Server, tuple[int, ...]], list[ServerEvent]]]] = {
    ServerState.ADVERTISE_KEYS: Server._close_advertise_keys,
    ServerState.SHARE_KEYS: Server._close_share_keys,
    ServerState.MASKED_INPUT: Server._close_masked_input,
    ServerState.CONSISTENCY: Server._close_consistency,
    ServerState.UNMASK: Server._close_unmask,
}
