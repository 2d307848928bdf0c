"""The interfaces of the two sides of a round, for drivers and tools of any protocol.

A driver carries bytes, keeps the time and runs jobs. It uses these two interfaces only, so it works
with every protocol that implements them, such as that of `secagg.Client` and `secagg.Server`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import ArrayLike

from .codes import Code
from .events import ClientEvent, Job, Phase, ServerEvent


@dataclass(frozen=True, slots=True)
class Status:
    """The progress of a round at its server. All parties are in ascending order.

    Attributes:
        session: the session: 16 bytes that identify the round.
        phase: the phase in progress; None before the first and after the last.
        answered: number of parties whose message of this phase was accepted.
        awaited: parties whose message of this phase is waited for.
        gone: parties that are not waited for because of `drop`, but are not dropped (yet).
        dropped: pairs (party, code) of the parties that are out of the round.
        survivors: parties whose input is in the sum; empty as long as that is not settled.
        bytes_received, bytes_sent: total size of the messages so far.
    """

    session: bytes
    phase: Phase | None
    answered: int
    awaited: tuple[int, ...]
    gone: tuple[int, ...]
    dropped: tuple[tuple[int, Code], ...]
    survivors: tuple[int, ...]
    bytes_received: int
    bytes_sent: int


class ClientMachine(Protocol):
    """One party of one round.

    The messages that `start` and `submit` return, and those in a `Send`, go to the server. A party
    that only helps with the inputs of others has the same interface and never asks for an input.
    """

    @property
    def index(self) -> int:
        """The index of this party: 0..cohort-1, or from `cohort` on if it has no input to give."""

    @property
    def session(self) -> bytes:
        """The session: 16 bytes that identify the round."""

    @property
    def context(self) -> bytes:
        """The hash of what the round is about, by the server's word: 32 bytes."""

    @property
    def round(self) -> Any:
        """The round as it was offered; its class is the protocol's."""

    @property
    def largest_message(self) -> int:
        """The most bytes that a message to this party can have; no more need be read."""

    @property
    def clipped(self) -> int:
        """The number of input values that were clipped; 0 before `submit`."""

    @property
    def finished(self) -> bool:
        """True once this party has done its part."""

    def start(self) -> bytes:
        """Begins the round; returns the first message, empty if the server sends first.

        Raises:
            Aborted: this party may not take part (again) in this session.
            StateError: the ledger failed; nothing has changed.
            LocalProtocolError: called twice.
        """

    def expect(self, context: bytes, subject: bytes | None = None) -> None:
        """Says what the input is for, in this party's own words.

        Args:
            context: 32 bytes, see `secagg.digest`.
            subject: 32 bytes that count for "once" in the place of the context.

        Raises:
            Aborted: the round is about something else; this party has ended it.
            LocalProtocolError: the round is over for this party.
        """

    def receive(self, data: bytes) -> Sequence[ClientEvent]:
        """Handles one message from the server; returns what to do next.

        Raises:
            RemoteProtocolError: the message is malformed or out of order; nothing has changed.
            Aborted: continuing would be unsafe; the client has ended the round and wiped its keys.
            LocalProtocolError: `data` is not bytes.
        """

    def submit(self, values: ArrayLike | Iterator[ArrayLike], weight: int = 1) -> bytes:
        """Returns the message with the protected input; called once, after `InputNeeded`.

        Args:
            values: one vector: an array, or an iterator of the arrays that are its chunks, in
                order, of any lengths.
            weight: of the input in a weighted mean.

        Raises:
            RangeError: the input is unusable; nothing has changed.
            Aborted: this party may not contribute (again); it has ended the round.
            StateError: the ledger failed; nothing has changed.
            LocalProtocolError: the client does not wait for an input, or it needs to be told first
                what the input is for (`expect`).
        """

    def withdraw(self) -> None:
        """Sits the round out: ends it for this party, which has no input to give.

        The server gets no message, and its deadline drops the party. Possible until `submit`.

        Raises:
            LocalProtocolError: the input may have left, or the round is over for this party.
        """

    def resend(self) -> Sequence[ClientEvent]:
        """Returns the last message or request again, byte by byte the same.

        No message, if the party was suspended since without keeping it.
        """

    def suspend(self, key: bytes, *, keep_last: bool = True) -> bytes:
        """Returns all that this party remembers, sealed; the object cannot be used any more.

        Args:
            key: 32 secret bytes that stay on this device.
            keep_last: whether the last message is stored too, so that `resend` can return it. If
                not, the protected input is not stored either.

        Raises:
            LocalProtocolError: the party was suspended before, or has ended the round.
        """


class ServerMachine(Protocol):
    """The aggregator of one round.

    Every call returns what the driver has to do next.
    """

    @property
    def session(self) -> bytes:
        """The session: 16 bytes that identify the round."""

    @property
    def context(self) -> bytes:
        """The hash of what the round is about: 32 bytes, see `secagg.digest`."""

    @property
    def round(self) -> Any:
        """The round that it offers; its class is the protocol's."""

    @property
    def offer(self) -> bytes:
        """The first message to every party: the encoded round that it is invited to."""

    @property
    def largest_message(self) -> int:
        """The most bytes that a message to this server can have; no more need be read."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of this round, in order."""

    @property
    def phase(self) -> Phase | None:
        """The phase in progress; None before the first and after the last."""

    @property
    def status(self) -> Status:
        """The progress of the round."""

    def awaits(self, party: int) -> bool:
        """Returns whether this phase's message of a party is missing, also if the party is gone.

        It costs the same in a cohort of any size. False for a party that was dropped, and in no
        phase.

        Raises:
            LocalProtocolError: there is no such party.
        """

    def start(self) -> Sequence[ServerEvent]:
        """Begins the first phase; called once.

        Raises:
            LocalProtocolError: called twice.
        """

    def receive(self, party: int, data: bytes) -> Sequence[ServerEvent]:
        """Handles one message from a party; its index comes from the transport.

        Raises:
            RemoteProtocolError: the message is malformed, out of order or late; nothing has
                changed.
            LocalProtocolError: there is no such party.
            StateError: the ledger failed after the message was accepted; nothing was sent.
        """

    def deadline(self, phase: Phase) -> Sequence[ServerEvent]:
        """Ends a phase without the parties that are silent, whatever was received.

        Ignored if another phase is in progress.

        Raises:
            StateError: the ledger failed; nothing was sent, and it may be called again.
        """

    def complete(self, job: Job, value: Any) -> Sequence[ServerEvent]:
        """Takes the value of `job.run()`, in any order; a second value of a job is ignored.

        Raises:
            RangeError: the job cannot give this value; nothing has changed.
            LocalProtocolError: this server did not hand out the job.
        """

    def drop(self, party: int, reason: str, code: Code = Code.GONE) -> Sequence[ServerEvent]:
        """Waits no more for a party that is gone or has refused; possible at any time.

        What it has sent counts, and what it sends before the phase ends is accepted. If it has not
        answered by then it is dropped, with this reason and code. `resend(party)` takes this back
        as long as it is not dropped.

        Args:
            party: its index.
            reason: one phrase for people.
            code: the same for programs.

        Raises:
            LocalProtocolError: there is no such party, the reason is no text, or the code no Code.
            StateError: the ledger failed; nothing was sent, and it may be called again.
        """

    def resend(self, party: int | None = None) -> Sequence[ServerEvent]:
        """Returns again this phase's messages to the parties awaited, or the jobs not yet done.

        Args:
            party: one party that has come back, after `drop` too: its message only, if its answer
                is missing and it was not dropped; no other event. None stands for all.

        Raises:
            LocalProtocolError: there is no such party.
        """

    def snapshot(self, key: bytes) -> bytes:
        """Returns all that is needed to continue this phase in another process, sealed.

        Args:
            key: 32 secret bytes that stay with this server.

        Raises:
            LocalProtocolError: no phase is in progress, or the server has no ledger.
        """
