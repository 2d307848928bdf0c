"""One round at a client, over one connection."""

import sys
from typing import Protocol

from ..codes import Code
from ..drivers.assignment import Train, require_train
from ..drivers.envelope import NO_SESSION, Kind, Over, Refusal, is_envelope, opened, seal
from ..drivers.responder import Responder
from ..errors import SERVER
from ..home.answer import answer
from ..home.home import Home
from ..home.records import UselessStateError
from ..interfaces import ClientMachine
from ..params.checks import require_int
from .answers import Answers
from .conversation import LARGEST_TASK, Conversation, LinkError, refusal
from .greeting import hello
from .links import Link
from .payloads import read_payload


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
        ParameterError: `largest_task` is no number of bytes.
        Exception: what the link raised.
    """
    require_train(train)
    party: _Party = _OfHome(client) if isinstance(client, Home) else _OfClient(client)
    answers = Answers(party.respond, train)
    largest_task = require_int("largest_task", largest_task, 0, sys.maxsize)
    conversation = Conversation(link, largest_task, answers.end)
    sent = False  # what the last payload was answered with
    try:
        await conversation.send(hello(name))
        while True:
            payload = await conversation.next()
            sent = False
            if payload.kind is Kind.OVER and payload.session == NO_SESSION:
                return None
            reply = refusal(payload, largest_task) or await conversation.race(
                answers.answer(payload.data)
            )
            if payload.kind is Kind.OVER and payload.session == party.session:
                over = opened(payload.data, SERVER)
                assert isinstance(over, Over)  # noqa: S101  # it is of that kind
                return over
            if reply:
                await conversation.send(reply)
            sent = True
    except LinkError as error:
        await answers.settle()
        if party.finished and sent:
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

    def respond(self, data: bytes, train: Train) -> bytes:
        """Returns the answer to a payload."""


class _OfClient:
    """A client that stays in memory."""

    def __init__(self, client: ClientMachine) -> None:
        self.session = client.session
        self._client = client
        self._responder: Responder | None = None
        self._begun = False

    @property
    def finished(self) -> bool:
        return self._responder is not None and self._responder.finished

    def respond(self, data: bytes, train: Train) -> bytes:
        if self._responder is None:
            self._responder = Responder(self._client, train)
            self._begun = self._responder.go_on()
        payload = read_payload(data)
        if payload.kind is Kind.INVITATION and payload.session == self.session and not self._begun:
            self._begun = True
            return self._responder.begin()
        return self._responder.answer(data)


class _OfHome:
    """A party that stores what it remembers."""

    finished = False  # its home does not tell

    def __init__(self, home: Home) -> None:
        self.session = NO_SESSION
        self._home = home
        self._joined = False  # that round: it has an answer of this party

    def respond(self, data: bytes, train: Train) -> bytes:
        payload = read_payload(data)
        if payload.kind is Kind.OVER:
            if self.session == NO_SESSION and self._takes_part(payload.session):
                self.session = payload.session
            return answer(self._home, data, train)
        if self._joined and payload.session != self.session:
            reason = "this client takes part in one round, which is another"
            return seal(Refusal(payload.session, Code.REFUSED, reason))
        known = self.session != NO_SESSION and payload.kind is not Kind.INVITATION
        if not known or self._takes_part(payload.session):
            self.session = payload.session
        reply = answer(self._home, data, train)
        if reply and not is_envelope(reply):
            self.session, self._joined = payload.session, True
        return reply

    def _takes_part(self, session: bytes) -> bool:
        """Returns whether the home has something of a round, which began over another link."""
        try:
            return self._home.load(session) is not None
        except UselessStateError:
            return True
