"""The client's side of a round for any transport: payload of the server in, answer out.

A `Responder` keeps one client in memory. `secagg.answer` does the same with a client that is stored
between payloads (`home/answer.py`), by the same steps.
"""

import hashlib
import logging
from contextlib import suppress
from typing import Final

from ..codes import Code
from ..errors import SERVER, Aborted, LocalProtocolError, RemoteProtocolError
from ..events import Finished, InputNeeded, Send
from ..interfaces import ClientMachine
from ..machine.wire import MessageType, Reader, as_bytes
from ..texts import one_line
from .assignment import Assignment, Train, Values, require_train
from .envelope import (
    Ask,
    Envelope,
    Invitation,
    Over,
    Refusal,
    Rejection,
    is_envelope,
    opened,
    seal,
)
from .inputs import NoInputError, ask, submitted

NO_INDEX: Final = -1
MARK_BYTES: Final = 32

_log: Final = logging.getLogger("secagg.drivers")


class Responder:
    """Answers the payloads of a server with one client, which stays in memory for the round.

    Args:
        client: a new client.
        train: called with an `Assignment` when the input is needed: it returns the values, a pair
            (values, weight), or None if there is nothing to give. What it raises costs this party
            the round and is logged here (what this library says of it, of other exceptions the
            type; all texts and tracebacks at level debug); the server gets a fixed phrase.
            Another `BaseException`, such as Ctrl-C, passes through (but no `CancelledError`, of an
            event loop in `train`): the same payload then leads to another call.
        attempt: number of the attempt, from the invitation.

    Raises:
        ParameterError: `train` cannot be called with an `Assignment`, or is `async`.

    Attributes:
        finished: True once the part of this party is over.
        refusal: what it told the server when it did not go on; None otherwise.
        over: what the server said at the end of the round; None before.
    """

    def __init__(self, client: ClientMachine, train: Train, *, attempt: int = 0) -> None:
        self._client: ClientMachine | None = client
        self._attempt = attempt
        self._set_up(client.session, train)

    def _set_up(self, session: bytes, train: Train) -> None:
        require_train(train)
        self.refusal: Refusal | None = None
        self.over: Over | None = None
        self._session = session
        self._train = train
        self._seen: list[bytes] = []  # digests of the messages that were accepted
        self._reply = b""  # to the last of them
        self._waiting = False  # for the input that it asked for
        self._done = False

    @property
    def finished(self) -> bool:
        """True once the part of this party is over."""
        return self._done or self.refusal is not None or self.over is not None

    def begin(self) -> bytes:
        """Returns the first message to the server, or a refusal.

        Raises:
            StateError: the ledger failed; it may be called again.
            LocalProtocolError: called twice, or the client has begun before: `go_on`.
        """
        try:
            self._reply = self._machine().start()
        except Aborted as error:
            return self._refuse(error.code, error.reason)
        return self._reply

    def go_on(self) -> bool:
        """Takes over a client that has begun before, with another responder.

        Returns:
            False if the client is a new one: call `begin`.
        """
        again = self._machine().resend()
        self._reply = next((each.payload for each in again if isinstance(each, Send)), b"")
        self._done = Finished() in again
        return bool(again)

    def answer(self, payload: bytes) -> bytes:
        """Returns what to send for a payload of the server: a message, a refusal, or b"".

        A payload that comes again gets the same bytes again if it is the last one, else b"". One
        that is malformed, or out of order, changes nothing and is refused.

        Raises:
            StateError: the ledger failed; the same payload may be given again.
            LocalProtocolError: the payload is not bytes, or the identity was wiped.
        """
        try:
            envelope = unpacked(payload)
        except RemoteProtocolError as error:
            return decline(self._session, error.code, error.reason)
        match envelope:
            case Invitation(offer) if self._is_ours(offer):
                return self._ended() or (b"" if self._seen else self._reply)
            case Ask(task, message) if self._is_ours(message):
                return self._ended() or self._on_message(task, message)
            case Over(session) if session == self._session:
                if self.over is None:
                    log_end(envelope, self.finished)
                self.over = envelope
                self._leave()
            case _:
                _log.info("%s: a payload that is not of this round", self._session.hex())
        return b""

    # -- steps that a client which is stored in between does in another way -------------------

    def _machine(self) -> ClientMachine:
        """Returns the client."""
        if self._client is None:
            raise LocalProtocolError("the part of this party is over", Code.OUT_OF_ORDER)
        return self._client

    def _examine(self, message: bytes) -> None:
        """Raises RemoteProtocolError for what is not worth having the client for."""

    def _assignment(self, task: bytes) -> Assignment:
        client = self._machine()
        return Assignment(client.round, client.index, self._attempt, task)

    def _given(self, assignment: Assignment) -> tuple[Values, int]:
        """Returns the input and its weight; raises NoInputError if there is none."""
        return ask(self._train, assignment)

    # -- what comes ---------------------------------------------------------------------------

    def _is_ours(self, message: bytes) -> bool:
        header = header_of(message)
        return header is None or header[1] == self._session

    def _ended(self) -> bytes:
        """Returns the refusal with which the part of this party has ended; b"" if it has not."""
        if self.over is not None:
            return decline(self._session, Code.OUT_OF_ORDER, "the server has said that it is over")
        return b"" if self.refusal is None else seal(self.refusal)

    def _on_message(self, task: bytes, message: bytes) -> bytes:
        mark = mark_of(message)
        if mark in self._seen:
            if self._waiting and mark == self._seen[-1]:
                return self._on_input_needed(task)
            return self._reply if mark == self._seen[-1] else b""
        try:
            self._examine(message)
            events = self._machine().receive(message)
            if not events:  # it had this message before, see `go_on`
                events = self._machine().resend()
        except Aborted as error:
            return self._refuse(error.code, error.reason)
        except RemoteProtocolError as error:  # nothing has changed
            return decline(self._session, error.code, error.reason)
        self._seen.append(mark)
        self._reply, self._waiting = b"", False
        for event in events:
            match event:
                case Send(_, payload):
                    self._reply = payload
                case InputNeeded():
                    self._waiting = True
                case Finished():
                    self._done = True
        return self._on_input_needed(task) if self._waiting else self._reply

    def _on_input_needed(self, task: bytes) -> bytes:
        assignment = self._assignment(task)
        try:
            values, weight = self._given(assignment)
            self._reply = submitted(self._machine(), assignment, values, weight)
        except NoInputError as error:
            self._machine().withdraw()
            return self._refuse(error.code, error.reason)
        except Aborted as error:
            return self._refuse(error.code, error.reason)
        self._waiting = False
        return self._reply

    def _refuse(self, code: Code, reason: str) -> bytes:
        """Ends the part of this party, and returns what the server is told."""
        self.refusal = Refusal(self._session, code, reason)
        self._waiting, self._reply, self._client = False, b"", None
        return decline(self._session, code, reason)

    def _leave(self) -> None:
        """Ends the part of this party because the server says that the round is over."""
        client, self._client, self._waiting = self._client, None, False
        if client is not None:
            with suppress(LocalProtocolError):  # its input has left, or it has done its part
                client.withdraw()


def unpacked(payload: bytes) -> Envelope:
    """Returns the envelope in a payload of the server.

    A bare message counts as an `Ask` without a task, and a bare offer as an `Invitation` of the
    party `NO_INDEX`.

    Raises:
        DecodeError: it is an envelope that is malformed, or of another version.
        LocalProtocolError: the payload is not bytes.
    """
    payload = as_bytes(payload)
    if not is_envelope(payload):
        header = header_of(payload)
        is_offer = header is not None and header[0] == MessageType.OFFER
        return Invitation(payload, NO_INDEX) if is_offer else Ask(b"", payload)
    envelope = opened(payload, SERVER)
    if isinstance(envelope, Rejection):
        _log.warning(
            "the server deals with this party no more: %s [%s]", envelope.reason, envelope.code
        )
    return envelope


def header_of(message: bytes) -> tuple[int, bytes] | None:
    """Returns type and session of a message; None if it is not of this library's protocols."""
    try:
        return Reader(message, SERVER).header()
    except RemoteProtocolError:
        return None


def mark_of(message: bytes) -> bytes:
    """Returns the digest by which a message is known when it comes again."""
    return hashlib.blake2b(message, digest_size=MARK_BYTES).digest()


def decline(session: bytes, code: Code, reason: str) -> bytes:
    """Logs why this party does not go on, and returns what the server is told."""
    _log.warning("%s: not answered: %s [%s]", session.hex(), one_line(reason), code)
    return seal(Refusal(session, code, reason))


def log_end(over: Over, through: bool) -> None:
    """Logs the end of a round; as a warning, if this party had not sent all that it had to."""
    why = f": {over.reason or over.code} [{over.code}]" if over.code else ""
    if over.code and not over.survivors:
        what = "the round failed"
    elif over.code or not through:
        what = "it was dropped, or too late"
    else:
        what = f"a sum of {over.survivors} inputs, with this party's"
    if through:
        _log.info("%s: over: %s%s", over.session.hex(), what, one_line(why))
    else:
        _log.warning(
            "%s: over before this party had sent all: %s%s", over.session.hex(), what, one_line(why)
        )
