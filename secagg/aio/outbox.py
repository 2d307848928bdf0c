"""Holds what waits to be sent to one party, so that a slow one holds up nobody else."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Seal = Callable[[bytes], bytes]


class Outbox:
    """Sends messages to one party, in order, in a task that lives while there are any.

    A round has a handful of messages per party, and one that waits already is not added again: that
    bounds what waits.

    Args:
        send: sends one message.
        failed: called with what `send` raised. What else waited is then forgotten: the party gets
            it again when it is back.
    """

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._send = send
        self._failed = failed
        self._waiting: deque[tuple[bytes, Seal | None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.tasks: set[asyncio.Task[None]] = set()  # those that have not ended

    def put(self, message: bytes, seal: Seal | None = None) -> None:
        """Adds a message, unless it waits already.

        Args:
            message: what is sent.
            seal: makes it what is sent, in another thread when its turn comes, as that is large.
        """
        if any(message == other for other, _ in self._waiting):
            return
        self._waiting.append((message, seal))
        if self._task is None or self._task.done():  # a loop may run a task as it is made
            self._task = asyncio.create_task(self._drain())
            self.tasks.add(self._task)
            self._task.add_done_callback(self.tasks.discard)

    def clear(self) -> None:
        """Forgets what waits: the connection for which it waited is gone."""
        self._waiting = deque()
        if self._task is not None:
            self._task.cancel()
            self._task = None  # it may take a while to end

    async def _drain(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                message, seal = waiting[0]
                await self._send(
                    message if seal is None else await asyncio.to_thread(seal, message)
                )
                waiting.popleft()
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            if waiting is self._waiting:  # not cleared meanwhile
                self._waiting = deque()
                self._failed(error)
