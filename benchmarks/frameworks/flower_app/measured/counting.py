"""Counts exchanges, their seconds and their bytes between a strategy and the grid of the run."""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid


def size_of(message: Message) -> int:
    """Returns the bytes of the records, as Flower's `message_size_mod` counts them."""
    if message.has_error():
        raise RuntimeError(f"a node failed: {message.error.reason}")
    return sum(map(_size_of_record, message.content.values()))


def _size_of_record(record: Any) -> int:
    if isinstance(record, ConfigRecord):  # Flower cannot count an empty list
        record = ConfigRecord({name: value for name, value in record.items() if value != []})
    return int(record.count_bytes())


@dataclass(slots=True)
class Exchange:
    """Messages to all nodes, and their answers.

    Attributes:
        seconds: from the messages to the last answer.
        down, up: bytes of all messages and of all answers.
        nodes: number of messages.
    """

    start: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    down: int = 0
    up: int = 0
    nodes: int = 0


@Grid.register
class Counting:
    """The grid of the run, which counts; `exchanges` are those since it was made."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self.exchanges: list[Exchange] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def push_messages(self, messages: Iterable[Message]) -> Any:
        messages = list(messages)
        self._sent(messages)
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return self._came(self._grid.pull_messages(message_ids))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        messages = list(messages)
        self._sent(messages)
        return self._came(self._grid.send_and_receive(messages, timeout=timeout))

    def _sent(self, messages: list[Message]) -> None:
        if not messages:  # an evaluation of nobody
            return
        down = sum(map(size_of, messages))
        self.exchanges.append(Exchange(down=down, nodes=len(messages)))

    def _came(self, replies: Iterable[Message]) -> list[Message]:
        replies = list(replies)
        if replies:
            exchange = self.exchanges[-1]
            exchange.up += sum(map(size_of, replies))
            exchange.seconds = time.perf_counter() - exchange.start
        return replies

    def found(self) -> list[dict[str, float]]:
        """Returns the exchanges as JSON has them."""
        return [asdict(exchange) for exchange in self.exchanges]
