"""Messages of Flower: what is said in them beside the model, and others to the same node."""

import json
from collections.abc import Mapping
from typing import Any, Final

from flwr.app import Message, RecordDict

from ..common import show_log_beside

OPTIONS: Final = "secagg-options"  # of the server's options, a ConfigRecord
log: Final = show_log_beside("flwr")


def in_order(content: RecordDict) -> RecordDict:
    """Returns copies of the records, and what is in them but for arrays, in the order of names."""
    sorted_in = {key: [*each.items()] for key, each in sorted(content.items())}
    for key in sorted_in.keys() - content.array_records.keys():
        sorted_in[key].sort()
    return RecordDict({key: type(content[key])(dict(each)) for key, each in sorted_in.items()})


def told_in(message: Message, run_config: Mapping[str, Any]) -> str:
    """Returns all that a node is told beside the numbers of the model, as text.

    Nobody can tell two contents with one text apart, once they are `in_order`.
    """
    to, arrays = message.metadata, message.content.array_records
    records = in_order(message.content).items()
    said = [(k, type(r).__name__, () if k in arrays else [*r.items()]) for k, r in records]
    about = [to.message_type, to.group_id, sorted(run_config.items()), said]
    return json.dumps(about, default=lambda data: {"bytes": data.hex()})


def like(message: Message, content: Mapping[str, Any], seconds: float) -> Message:
    """Returns a message to the same node, of the same type and group, valid for so long."""
    to, record = message.metadata, RecordDict(dict(content))
    return Message(record, to.dst_node_id, to.message_type, ttl=seconds, group_id=to.group_id)
