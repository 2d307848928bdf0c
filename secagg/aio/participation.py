"""One round at a client, over one connection."""

import sys
from typing import Final, Protocol

from ..codes import Code
from ..drivers.assignment import Train, require_train
from ..drivers.envelope import NO_SESSION, Invitation, Kind, Over, Refusal, is_envelope, seal
from ..drivers.per_object import PerObject
from ..drivers.responder import Responder, header_of, unpacked
from ..errors import ParameterError, RemoteProtocolError
from ..home.home import Home
from ..home.records import UselessStateError
from ..interfaces import ClientMachine
from ..params.checks import require_int
from .allowance import Allowance
from .answers import Answers, answer_stored
from .conversation import LARGEST_TASK, USELESS_A_MINUTE, Conversation, LinkError, refusal
from .greeting import hello
from .links import Link, require_link
from .payloads import Payload

# By client: its invitation may have come over another connection than the one that trains.
_attempts: Final[PerObject[int]] = PerObject()


async def participate(
    client: ClientMachine | Home,
    link: Link,
    train: Train,
    *,
    name: str = "",
    largest_task: int = LARGEST_TASK,
) -> Over | None:
    """Takes part in one round over one connection, until the server says that it is over.

    `train` and all steps of the client run in another thread, one at a time; the connection is read
    meanwhile. If it is lost this waits for the step that runs, `train` too, so that the client
    keeps what it computed, and raises what the link raised. Take part again with the same client or
    home over a new link: it sends again what the server has missed. (`attend` connects anew while
    `train` runs.)

    Python cannot end a thread: if this is cancelled while `train` runs, `train` goes on until it
    returns, and its input is thrown away. The client still waits for one. A home is held until
    then.

    Args:
        client: a client of the round, new or one that has taken part over another connection; or a
            home, which joins the first round that it is invited to and accepts, and refuses others.
        link: the connection; it is not closed.
        train: returns the input, see `secagg.Assignment`.
        name: what the client calls itself, for logs of the server.
        largest_task: bytes; a larger one is refused.

    Returns:
        What the server said at the end. None if it said nothing of this round: it closed the
        connection after the client had done its part, or it has no more rounds.

    Raises:
        RemoteProtocolError: the server does not deal with this client, for its version say.
        StateError: the home, or the ledger, cannot be used.
        ParameterError: an argument is not as described.
        Exception: what the link raised.
    """
    require_train(train)
    require_link(link)
    party: _Party = _OfHome(client) if isinstance(client, Home) else _OfClient(client)
    answers = Answers(party.respond, train)
    largest_task = require_int("largest_task", largest_task, 0, sys.maxsize)
    useless = Allowance(USELESS_A_MINUTE)
    conversation = Conversation(link, largest_task, answers.end, useless)
    sent = False  # what the last payload was answered with
    try:
        await conversation.send(hello(name))
        while True:
            payload = await conversation.next()
            sent = False
            if payload.kind is Kind.OVER and payload.session == NO_SESSION:
                return None
            if refused := refusal(payload, largest_task):
                await conversation.send(refused)
            else:
                reply = await conversation.race(answers.answer(payload))
                if isinstance(payload.said, Over) and payload.session == party.session:
                    return payload.said
                await conversation.reply(payload, reply)
            sent = True
    except LinkError as error:
        await answers.settle()
        if (ended := answers.over(party.session)) is not None:
            await answers.answer(ended)
            return ended.said if isinstance(ended.said, Over) else None
        if conversation.goodbye or (party.finished and sent):
            return None
        raise (error.__cause__ or error) from None
    finally:
        try:
            await answers.close()
        finally:  # also if it is cancelled again
            await conversation.close()


class _Party(Protocol):
    """The side that takes part: a home, or a client."""

    @property
    def session(self) -> bytes:
        """The round, once it is known."""

    @property
    def finished(self) -> bool:
        """True once its part is known to be done."""

    def respond(self, payload: Payload, train: Train) -> bytes:
        """Returns the answer to a payload."""


class _OfClient:
    """A client that stays in memory."""

    def __init__(self, client: ClientMachine) -> None:
        if not all(hasattr(client, name) for name in ("session", "start", "receive", "submit")):
            raise ParameterError(
                f"a `secagg.Client` or a `secagg.Home` takes part, not {type(client).__name__}",
                Code.ARGUMENT,
            )
        self.session = client.session
        self._client = client
        self._attempt = _attempts.get(client)
        self._responder: Responder | None = None
        self._begun = False

    @property
    def finished(self) -> bool:
        return self._responder is not None and self._responder.finished

    def respond(self, payload: Payload, train: Train) -> bytes:
        invited = payload.kind is Kind.INVITATION and self._notes_attempt(payload.data)
        if self._responder is None or (invited and not self._begun):
            self._responder = Responder(self._client, train, attempt=self._attempt or 0)
            self._begun = self._responder.go_on()
        if invited and not self._begun:
            self._begun = True
            return self._responder.begin()
        return self._responder.answer(payload.data)

    def _notes_attempt(self, data: bytes) -> bool:
        """Returns whether an invitation is to this round; the attempt of the first one counts."""
        try:
            invitation = unpacked(data)
        except RemoteProtocolError:
            return False
        if not isinstance(invitation, Invitation):
            return False
        header = header_of(invitation.offer)
        if header is None or header[1] != self.session:
            return False
        if self._attempt is None:
            self._attempt = invitation.attempt
            _attempts.put(self._client, self._attempt)
        return True


class _OfHome:
    """A party that stores what it remembers."""

    finished = False  # its home does not tell

    def __init__(self, home: Home) -> None:
        self.session = NO_SESSION
        self._home = home
        self._joined = False  # that round: it has an answer of this party

    def respond(self, payload: Payload, train: Train) -> bytes:
        ours = not self._joined or payload.session in (self.session, NO_SESSION)
        if not ours and payload.kind is not Kind.OVER:
            reason = "this client takes part in one round, which is another"
            return seal(Refusal(payload.session, Code.REFUSED, reason))
        if not self._joined and self._takes_part(payload.session):
            self.session = payload.session
        reply = answer_stored(self._home, payload, train)
        if reply and not is_envelope(reply):
            self.session, self._joined = payload.session, True
        return reply

    def _takes_part(self, session: bytes) -> bool:
        """Returns whether the home has something of a round, which began over another link."""
        try:
            return self._home.load(session) is not None
        except UselessStateError:
            return True
