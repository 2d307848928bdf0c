"""The payload of secagg in a message of Flower, beside the records of the application."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from flwr.app import Array, ArrayRecord, Message

from ..common import wrong

KEY: Final = "secagg"  # of the payload, an ArrayRecord


def packed(payload: bytes) -> ArrayRecord:
    """Returns a payload as an array of bytes, which Flower sends in chunks: it has any size."""
    return ArrayRecord({KEY: Array("uint8", (len(payload),), "bytes", payload)})


def payload_in(message: Message) -> bytes | ConnectionError:
    """Returns the payload of a message, as bytes that nothing was made of, or what is there."""
    if message.has_error():
        return ConnectionError(f"node error {message.error.code}: {message.error.reason}")
    record = message.content.array_records.get(KEY, {})
    if KEY in record:
        return bytes(record[KEY].data)
    return ConnectionError("no payload of secagg: the app of the node needs mods=[secagg_mod]")


def answer_in(reply: Message) -> tuple[str, bytes | ConnectionError]:
    """Returns the id of the message that a reply is to, and its payload."""
    return reply.metadata.reply_to_message_id, payload_in(reply)


def numbers(record: ArrayRecord) -> dict[str, Any]:
    """Returns the arrays of a record by name; raises ParameterError for what would be unpacked."""
    if not all(each.data.startswith(b"\x93NUMPY") for each in record.values()):
        raise wrong("secagg needs arrays in the format .npy, as `Array(ndarray)` has them")
    return {name: each.numpy() for name, each in record.items()}


def arrays_of(model: Mapping[str, Any], names: Iterable[str]) -> ArrayRecord:
    """Returns the arrays of a model in the order of the names."""
    return ArrayRecord({name: Array(model[name]) for name in names})


def only(records: Mapping[str, Any], what: str) -> tuple[str, Any]:
    """Returns key and value of the one record of a kind; raises ParameterError if it is not one."""
    if len(records) != 1:
        raise wrong(f"secagg needs exactly one {what} in a message, not {len(records)}")
    return next(iter(records.items()))
