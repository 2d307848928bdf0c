"""The node: the app of the system that a message is of."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from .inputs import trained, weight_of

PLUS = "secaggplus_configs"  # the record of Flower's own SecAgg+


class _ByMessage(ClientApp):  # type: ignore[misc]
    """Calls the app that a message is for. Flower starts a process for each message: it imports
    what this one needs, as an app of that system alone would.
    """

    def __call__(self, message: Message, context: Context) -> Message:
        if message.metadata.message_type == "query":
            return _echo(message)
        records = message.content.config_records
        if PLUS in records:
            return _plus(context)(message, context)
        # Only in malicious mode is a node asked for its name, in a message with nothing else.
        system = records["config"]["system"] if "config" in records else "malicious"
        return _APPS[str(system)](context)(message, context)


def _echo(message: Message) -> Message:
    """Answers with as many bytes as the server asks for."""
    size = int(message.content.config_records["config"]["answer"])
    answer = Array("uint8", (size,), "bytes", os.urandom(size))
    return Message(RecordDict({"arrays": ArrayRecord({"bytes": answer})}), reply_to=message)


def _train(message: Message, context: Context) -> Message:
    node, clip, most = _about(context)
    model = message.content.array_records["arrays"]["w"].numpy()
    content = {
        "arrays": ArrayRecord({"w": Array(trained(node, model, clip))}),
        "metrics": MetricRecord({"num-examples": weight_of(node, most)}),
    }
    return Message(RecordDict(content), reply_to=message)


def _about(context: Context) -> tuple[int, float, int]:
    config = context.run_config
    return int(context.node_config["node"]), float(config["clip"]), int(config["max-weight"])


def _plain(_context: Context) -> ClientApp:
    plain = ClientApp()
    plain.train()(_train)
    return plain


def _secret(context: Context) -> ClientApp:
    from secagg.integrations.flower import secagg_mod  # noqa: PLC0415

    return _with_home(context, "semi-honest", secagg_mod)


def _malicious(context: Context) -> ClientApp:
    from secagg.integrations.flower import SecAggMod  # noqa: PLC0415

    config = context.run_config
    model = {"w": np.zeros(int(config["length"]), np.float32)}
    options = {"clip": config["clip"], "bits": config["bits"], "max_weight": config["max-weight"]}
    return _with_home(context, "malicious", SecAggMod(model, **options))


def _with_home(context: Context, mode: str, mod: Any) -> ClientApp:
    context.node_config["secagg-home"] = str(Path(str(context.node_config["homes"]), mode))
    secret = ClientApp(mods=[mod])
    secret.train()(_train)
    return secret


def _plus(context: Context) -> ClientApp:
    from flwr.client import NumPyClient  # noqa: PLC0415
    from flwr.client.mod import secaggplus_mod  # noqa: PLC0415

    node, clip, most = _about(context)

    class Node(NumPyClient):  # type: ignore[misc]
        def fit(self, parameters: Any, config: Any) -> Any:
            return [trained(node, parameters[0], clip)], weight_of(node, most), {}

    return ClientApp(lambda _context: Node().to_client(), mods=[secaggplus_mod])


_APPS: dict[str, Callable[[Context], ClientApp]] = {
    "plain": _plain,
    "secret": _secret,
    "malicious": _malicious,
}
app = _ByMessage()
