"""The payload of secagg in a message of Flower, beside the records of the application."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flwr.app import Array, ArrayRecord, Message, RecordDict

from ..common import show_log_beside, wrong

KEY: Final = "secagg"  # of the payload, an ArrayRecord
OPTIONS: Final = "secagg-options"  # of the server's options, a ConfigRecord
log: Final = show_log_beside("flwr")


def packed(payload: bytes) -> ArrayRecord:
    """Returns a payload as an array of bytes, which Flower sends in chunks: it has any size."""
    return ArrayRecord({KEY: Array("uint8", (len(payload),), "bytes", payload)})


def arrays_of(model: Mapping[str, Any], names: Iterable[str]) -> ArrayRecord:
    """Returns the arrays of a model in the order of the names."""
    return ArrayRecord({name: Array(model[name]) for name in names})


def payload_in(message: Message) -> bytes | ConnectionError:
    """Returns the payload of a message, as bytes that nothing was made of, or what is there."""
    if message.has_error():
        return ConnectionError(f"node error {message.error.code}: {message.error.reason}")
    record = message.content.array_records.get(KEY, {})
    if KEY in record:
        return bytes(record[KEY].data)
    return ConnectionError("no payload of secagg: the app of the node needs mods=[secagg_mod]")


def told_in(message: Message, run_config: Mapping[str, Any]) -> str:
    """Returns all that a node is told beside the model, as a text that is equal where that is."""
    records = message.content.items()
    said = {key: dict(each) for key, each in records if not isinstance(each, ArrayRecord)}
    told = [message.metadata.message_type, said, dict(run_config)]
    return json.dumps(told, sort_keys=True, default=bytes.hex)


def kind_of(message: Message) -> str:
    """Returns "train", "evaluate" or "query", without the name of an action."""
    return str(message.metadata.message_type.split(".")[0])


def like(message: Message, content: Mapping[str, Any], seconds: float) -> Message:
    """Returns a message to the same node, of the same type and group, valid for so long."""
    to, record = message.metadata, RecordDict(dict(content))
    return Message(record, to.dst_node_id, to.message_type, ttl=seconds, group_id=to.group_id)


def only(records: Mapping[str, Any], what: str) -> tuple[str, Any]:
    """Returns key and value of the one record of a kind; raises ParameterError if it is not one."""
    found = [item for item in records.items() if item[0] not in (KEY, OPTIONS)]
    if len(found) != 1:
        raise wrong(f"secagg needs exactly one {what} in a message, not {len(found)}")
    return found[0]
