"""All rounds of a training at a client, over connections that come and go."""

import asyncio
import logging
import math
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from ..codes import Code
from ..drivers.assignment import Train, require_train
from ..drivers.envelope import NO_SESSION, Kind, Refusal, is_envelope, seal
from ..errors import StateError
from ..home.home import Home
from ..params.checks import require_int, require_kind, require_seconds
from ..texts import one_line
from .allowance import Allowance
from .answers import Answers, answer_stored
from .conversation import LARGEST_TASK, USELESS_A_MINUTE, Conversation, LinkError, refusal
from .greeting import hello
from .links import Link, cause_of, require_link
from .payloads import Payload
from .reconnecting import PAUSES, Reconnecting, read_pauses

_log: Final = logging.getLogger("secagg.aio")

Connect = Callable[[], AbstractAsyncContextManager[Link]]

_KNOWN_ROUNDS: Final = 64
_BUSY_PAUSE: Final = 1.0  # seconds until a home that is in use is tried again, beside its `wait`
# What `connect` raises because its code is wrong: to try again does not help.
_MISTAKES: Final = (TypeError, AttributeError, NameError, ImportError, NotImplementedError)


async def attend(
    home: Home,
    connect: Connect,
    train: Train,
    *,
    name: str = "",
    stop: asyncio.Event | None = None,
    pauses: tuple[float, float] = PAUSES,
    give_up: float = math.inf,
    largest_task: int = LARGEST_TASK,
    rounds_a_minute: int = 600,
) -> None:
    """Takes part in all rounds that a party is invited to, until the server has no more.

    As a service should, it tries to connect for ever, unless you give `give_up`. The log warns of
    each new reason for which there is no connection; and a minute after the last connection of use,
    and every ten minutes from then on, that it is still trying, since when and why.

    It connects, answers, and connects again when the connection is lost, also while `train` runs:
    what is computed meanwhile is stored in the home, and the server asks for it again. Between two
    tries it waits, twice as long each time, by a random part less. The pauses begin anew after a
    connection of use: one over which a message of a round was answered, or which lasted for the
    longest pause.

    `train` and all steps run in another thread, one at a time: a long training holds up the
    invitations to other rounds. If this ends while `train` runs, `train` goes on until it returns,
    as Python cannot end a thread; its input is thrown away, and the home is held until then. If
    the server says meanwhile that the round is over, or that there are no more, its input is thrown
    away as well, and asked for no more: in malicious mode another attempt in the same context can
    then have it.

    Args:
        home: of this party.
        connect: returns a context manager that opens a connection and closes it, and whose value
            is the `Link`, such as a function with `contextlib.asynccontextmanager`. It should
            raise if there is no connection in time: it is waited for without end.
        train: returns the input, see `secagg.Assignment`.
        name: what the client calls itself, for logs of the server.
        stop: ends it when it is set. Rounds under way are stored, and go on when it is called
            again.
        pauses: seconds: the first pause before it connects again, and the longest: a server that is
            back has all its clients again after that. More than a few thousand may need a longer
            one.
        give_up: seconds without a connection after which it raises what `connect` raised last; by
            default it never does.
        largest_task: bytes; a larger one is refused.
        rounds_a_minute: more new rounds are refused: each costs keys, and stored state.

    Raises:
        RemoteProtocolError: the server does not deal with this client, for its version say.
        StateError: the home cannot be used. One that is in use, as by a training that was left, is
            waited for.
        ParameterError: an argument is out of its range, or what `connect` gives is no link.
        Exception: what `connect` raised last; or at once if its code is wrong (`TypeError`, ...).
    """
    require_kind("home", home, Home, "`secagg.Home(folder)` makes one")
    require_train(train)
    attendance = _Attendance(
        home,
        connect,
        name,
        read_pauses(pauses),
        require_seconds("give_up", give_up, positive=True, most=math.inf),
        require_int("largest_task", largest_task, 0, sys.maxsize),
        Allowance(require_int("rounds_a_minute", rounds_a_minute, 1, sys.maxsize)),
        Answers(partial(answer_stored, home), train),
    )
    tasks = [asyncio.create_task(attendance.run())]
    if stop is not None:
        tasks.append(asyncio.create_task(_stopped(stop)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        attendance.answers.abandon()  # before anything that waits: it may be cancelled again
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await attendance.answers.close()


async def _stopped(stop: asyncio.Event) -> None:
    await stop.wait()


class _Attendance:
    """One call of `attend`."""

    def __init__(
        self,
        home: Home,
        connect: Connect,
        name: str,
        pauses: tuple[float, float],
        give_up: float,
        largest_task: int,
        allowance: Allowance,
        answers: Answers,
    ) -> None:
        self._connect = connect
        self._hello = hello(name, b"" if home.identity is None else home.identity.verify_key)
        self._largest_task = largest_task
        self._allowance = allowance
        self._useless = Allowance(USELESS_A_MINUTE)
        self.answers = answers
        self._loop = asyncio.get_running_loop()
        self._reconnecting = Reconnecting(pauses, give_up, self._loop.time())
        self._known: OrderedDict[bytes, None] = OrderedDict()  # rounds that were let in
        self._answered = False  # whether a message of a round was, over this connection

    async def run(self) -> None:
        """Connects again and again until the server has no more rounds."""
        while True:
            connected_at: float | None = None
            over = self._answered = False
            failure: Exception | None = None  # of this side: the home, or the server's rejection
            why: Exception
            try:
                async with self._connect() as link:
                    connected_at = self._loop.time()
                    try:
                        require_link(link)
                        await self._converse(link)
                        over = True
                    except LinkError as error:
                        why = error
                    except Exception as error:
                        failure = error
            except Exception as error:  # of whatever class: frameworks have their own
                why = error
                if connected_at is None and isinstance(error, _MISTAKES):
                    raise
            except asyncio.CancelledError as error:
                why = cause_of(error)
            if failure is not None:
                raise failure
            if over:
                return
            await asyncio.sleep(
                self._reconnecting.pause(self._loop.time(), connected_at, self._answered, why)
            )

    async def _converse(self, link: Link) -> None:
        """Answers what comes over one connection, until the server says goodbye."""
        conversation = Conversation(link, self._largest_task, self.answers.end, self._useless)
        try:
            await conversation.send(self._hello)
            _log.info("connected")
            if reply := await conversation.race(self._when_free(self.answers.settle)):
                await conversation.send(reply)  # of the connection before
            while True:
                payload = await conversation.next()
                if payload.kind is Kind.OVER and payload.session == NO_SESSION:
                    return
                reply = refusal(payload, self._largest_task)
                if not reply and self._admits(payload):
                    reply = await conversation.race(
                        self._when_free(partial(self.answers.answer, payload))
                    )
                    self._answered |= bool(reply) and not is_envelope(reply)
                    await conversation.reply(payload, reply)
                elif reply:
                    await conversation.send(reply)
                elif payload.kind is Kind.INVITATION:
                    reason = f"invited to more than {self._allowance.per_minute} rounds a minute"
                    await conversation.send(seal(Refusal(payload.session, Code.LIMIT, reason)))
        except LinkError:
            if not conversation.goodbye:  # which came while an answer was made
                raise
        finally:
            await conversation.close()

    async def _when_free(self, step: Callable[[], Awaitable[bytes]]) -> bytes:
        """Returns what a step returns, once nobody else (a training that was left) has the home."""
        warned = False
        while True:
            try:
                return await step()
            except StateError as error:
                if error.code is not Code.BUSY:
                    raise
                if not warned:
                    _log.warning("waiting for the home: %s", one_line(error.reason))
            warned = True
            await asyncio.sleep(_BUSY_PAUSE)

    def _admits(self, payload: Payload) -> bool:
        """Returns whether a payload is answered: one of a round that is new costs allowance."""
        known = self._known
        if payload.session not in known and not self._allowance.take(self._loop.time()):
            return False
        if payload.kind is Kind.OVER:
            known.pop(payload.session, None)
        else:
            known[payload.session] = None
            known.move_to_end(payload.session)
            if len(known) > _KNOWN_ROUNDS:
                known.popitem(last=False)
        return True
