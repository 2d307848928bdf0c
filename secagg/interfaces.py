"""The two sides of a round as drivers and tools know them, whatever the protocol.

A driver carries bytes, keeps the time and runs jobs. It is written against these two interfaces,
so it serves every protocol that implements them; `secagg.Client` and `secagg.Server` do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import ArrayLike

from .events import ClientEvent, Job, Phase, ServerEvent


@dataclass(frozen=True, slots=True)
class Status:
    """How far a round has come, as its server sees it.

    Attributes:
        phase: the phase under way; None before the first one and after the last.
        awaiting: parties whose message of this phase is missing, ascending.
        bytes_received, bytes_sent: size of all messages so far.
    """

    phase: Phase | None
    awaiting: tuple[int, ...]
    bytes_received: int
    bytes_sent: int


class ClientMachine(Protocol):
    """One party of one round.

    Messages of `start` and `submit`, and those in a `Send`, are for the server.
    """

    @property
    def index(self) -> int:
        """This party's place in the cohort, 0..cohort-1."""

    @property
    def session(self) -> bytes:
        """The 16 bytes that name the round."""

    @property
    def clipped(self) -> int:
        """The number of values of the input that were clipped; 0 before `submit`."""

    @property
    def finished(self) -> bool:
        """Whether this party has done its part."""

    def start(self) -> bytes:
        """Begins the round, and returns the first message; empty if the server speaks first.

        Raises:
            LocalProtocolError: called twice.
        """

    def receive(self, data: bytes) -> Sequence[ClientEvent]:
        """Takes one message from the server, and returns what to do next.

        Raises:
            RemoteProtocolError: the message is malformed or out of order; nothing has changed.
            Aborted: going on would be unsafe; the client is finished.
            LocalProtocolError: not bytes.
        """

    def submit(self, values: ArrayLike, weight: int = 1) -> bytes:
        """Takes the input, and returns the message that hides it; called once, after `InputNeeded`.

        Raises:
            RangeError: the input is unusable; nothing has changed.
            LocalProtocolError: no input is needed now.
        """

    def resend(self) -> Sequence[ClientEvent]:
        """Returns the last message or request again, with the same bytes."""


class ServerMachine(Protocol):
    """The aggregator of one round.

    Every call returns what the driver does next.
    """

    @property
    def session(self) -> bytes:
        """The 16 bytes that name the round."""

    @property
    def offer(self) -> bytes:
        """The first message to every party: the round that it is invited to."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of this round, in order."""

    @property
    def phase(self) -> Phase | None:
        """The phase under way; None before the first one and after the last."""

    @property
    def status(self) -> Status:
        """How far the round has come."""

    def start(self) -> Sequence[ServerEvent]:
        """Begins the first phase; called once.

        Raises:
            LocalProtocolError: called twice.
        """

    def receive(self, party: int, data: bytes) -> Sequence[ServerEvent]:
        """Takes one message from a party, whose index the transport vouches for.

        Raises:
            RemoteProtocolError: the message is malformed, out of order or late; nothing has
                changed.
            LocalProtocolError: there is no such party.
        """

    def deadline(self, phase: Phase) -> Sequence[ServerEvent]:
        """Ends a phase without those who are silent; does nothing if another one is under way."""

    def complete(self, job: Job, value: Any) -> Sequence[ServerEvent]:
        """Takes the value of `job.run()`, in any order; a job that comes twice counts once.

        Raises:
            RangeError: not a value that the job can give; nothing has changed.
            LocalProtocolError: not a job of this server.
        """

    def resend(self) -> Sequence[ServerEvent]:
        """Returns this phase's messages to those awaited again, or the jobs still to be done."""
