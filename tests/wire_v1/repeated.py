"""Messages that arrive once more: scripts for a receiver in each of its states."""

from collections.abc import Iterable, Mapping
from typing import Any

from .forge import ABORTED, LATE, PLAIN, REFUSED, SIGNED, Forge
from .play import STEPS, U

ANSWERED, IGNORED = "answered", "ignored"
OFFER = 0  # the number of its message in a round
TO_CLIENTS = ("roster", "delivery", "survivors", "signatures")
Step = dict[str, Any]


def repeated_to_clients(forges: Mapping[str, Forge]) -> list[dict[str, Any]]:
    """To client 0, in each of its states."""
    return [
        *_to_a_client(forges[PLAIN]),
        *_to_a_client(forges[SIGNED]),
        _to_one_that_aborted(forges[PLAIN]),
    ]


def _to_a_client(on: Forge) -> Iterable[dict[str, Any]]:
    got, sent = _numbers(on, TO_CLIENTS, 0), _numbers(on, STEPS, 0)
    kinds, answers = list(got), list(sent.values())[1:]
    refused = {"message": OFFER, "expected": REFUSED}
    note = "a client that has sent its keys refuses every offer, the same one, too"
    yield _script(on, "before the roster", got["roster"], [refused, refused], note)
    for at, kind in enumerate(kinds):
        last = {"message": got[kind], "expected": ANSWERED, "answer": answers[at]}
        earlier = [_ignored(got[one]) for one in kinds[:at]]
        if kind == "delivery":
            note = "the input is not there yet, so that there is no answer to the delivery"
            steps = [_ignored(got[kind]), *earlier] * 2
            yield _script(on, "before its masked input", answers[at], steps, note)
        name, before = "after the end", len(on.run.messages)
        if at + 1 < len(kinds):
            name, before = f"before the {kinds[at + 1]}", got[kinds[at + 1]]
        note = "the last accepted message is answered as often as it comes, an earlier one never"
        yield _script(on, name, before, [last, *earlier, refused, last, *earlier, last], note)


def _to_one_that_aborted(on: Forge) -> dict[str, Any]:
    at = on.run.index("survivors", 0)
    wrong = on.survivors([1, 2, 3, 4])
    got = _numbers(on, ("delivery", "roster"), 0)
    steps = [{"bytes": wrong.hex(), "expected": ABORTED}, *map(_ignored, got.values())]
    note = "survivors without the receiver end the round for it: it answers nothing any more"
    return _script(on, "after an abort", at, steps, note)


def repeated_to_the_server(forges: Mapping[str, Forge]) -> list[dict[str, Any]]:
    """By party 1, after each of its messages and at the end; by one that dropped out."""
    scripts = []
    for on in (forges[PLAIN], forges[SIGNED]):
        sent = _numbers(on, STEPS, 1)
        places = list(sent.values())
        for count, kind in enumerate(sent, 1):
            steps = [_ignored(at) for at in reversed(places[:count])] * 2
            note = "it counts once, and nothing is sent for it"
            scripts.append(_script(on, f"after '{kind}'", sent[kind] + 1, steps, note, 1))
        steps = [_ignored(at) for at in places]
        note = "the result stays"
        scripts.append(_script(on, "after the result", len(on.run.messages), steps, note, 1))
    late = forges[LATE]
    steps = [_ignored(at) for at in _numbers(late, STEPS, 2).values()]
    note = "party 2 has dropped out, and its earlier messages do not bring it back"
    scripts.append(_script(late, "by a dropout", late.run.index(U, 1), steps, note, 2))
    return scripts


def _numbers(on: Forge, kinds: Iterable[str], party: int) -> dict[str, int]:
    """The numbers of the messages of these types from, or to, a client."""
    there = {one.type for one in on.run.messages if one.sender == party or party in one.receivers}
    return {kind: on.run.index(kind, party) for kind in kinds if kind in there}


def _ignored(number: int) -> Step:
    return {"message": number, "expected": IGNORED}


def _script(
    on: Forge, name: str, before: int, steps: list[Step], note: str, sender: int | None = None
) -> dict[str, Any]:
    """`sender`: the client that sends to the server; without it the server sends to client 0."""
    return {
        "name": f"{on.name}: {name}",
        "note": note,
        "round": on.name,
        "from": "server" if sender is None else sender,
        "to": 0 if sender is None else "server",
        "before": before,
        "steps": steps,
    }
