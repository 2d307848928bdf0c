"""A grid of Flower within one process: its real ClientApps, strategies and serialization."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.serde import (
    context_from_proto,
    context_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
)
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1

Fault = Callable[[int, int, Message], str]  # node, number of the exchange from 1, message -> fault


class LocalGrid(Grid):
    """Nodes 1..n, each of which answers a message at once; contexts are stored as in a SuperNode.

    Args:
        app: of all nodes, or by node.
        configs: the node configurations, by node.
        fault: what happens to a message: "silent", "error", "twice", "late", "" for nothing.
        names: what the SuperLink knows of the nodes.
    """

    def __init__(
        self,
        app: Any,
        configs: Mapping[int, dict[str, Any]],
        fault: Fault = lambda *_: "",
        names: Mapping[int, str] | None = None,
    ) -> None:
        self.app, self.fault, self.names = app, fault, names or {}
        self.contexts = {
            node: context_to_proto(
                Context(1, node, node_config=dict(config), state=RecordDict(), run_config={})
            )
            for node, config in configs.items()
        }
        self.exchanges = self.bytes = 0
        self.seen: list[tuple[int, str, list[str]]] = []  # node, type and records of each message
        self.replies: list[tuple[int, RecordDict]] = []
        self._inbox: dict[str, list[Message]] = {}
        self._count = 0

    run = None

    def set_run(self, run: Any) -> None: ...

    def create_message(self, *_: Any, **__: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> list[int]:
        return list(self.contexts)

    def get_nodes(self) -> list[NodeInfo]:
        return [NodeInfo(node_id=n, name=self.names.get(n, "")) for n in self.contexts]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        ids: list[str] = []
        messages = list(messages)
        self.exchanges += bool(messages)
        for message in messages:
            self._count += 1
            message.metadata.__dict__["_message_id"] = f"message-{self._count}"
            ids.append(f"message-{self._count}")
            self._handle(message)
        return ids

    def _handle(self, message: Message) -> None:
        node = message.metadata.dst_node_id
        fault = self.fault(node, self.exchanges, message)
        self.seen.append((node, message.metadata.message_type, sorted(message.content)))
        if fault == "silent":
            return
        wire = recorddict_to_proto(message.content)
        self.bytes += wire.ByteSize()
        fresh = Message(recorddict_from_proto(wire), node, message.metadata.message_type)
        context = context_from_proto(self.contexts[node])
        app = self.app[node] if isinstance(self.app, Mapping) else self.app
        try:
            reply = app(fresh, context)
        except Exception as error:
            reply = Message(Error(2, f"{type(error)}:<'{error}'>"), reply_to=message)
        else:
            self.contexts[node] = context_to_proto(context)
        if fault == "error":
            reply = Message(Error(0, "lost"), reply_to=message)
        if reply.has_error():
            reply = Message(reply.error, reply_to=message)
        else:
            back = recorddict_to_proto(reply.content)
            self.bytes += back.ByteSize()
            self.replies.append((node, recorddict_from_proto(back)))
            reply = Message(recorddict_from_proto(back), reply_to=message)
        self._inbox[message.metadata.message_id] = [reply] * (2 if fault == "twice" else 1)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [reply for each in list(message_ids) for reply in self._inbox.pop(each, [])]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        ids = self.push_messages(list(messages))
        time.sleep(0)
        return self.pull_messages(ids)
