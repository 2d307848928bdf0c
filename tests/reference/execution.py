"""One honest execution with dropouts, and every byte of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .parameters import Parameters
from .party import Party
from .primitives import Random, verify_key
from .server import Server
from .session import Session

STEPS = ("advertise keys", "share keys", "masked input", "consistency", "unmask")
ANNOUNCEMENTS = ("roster", "delivery", "survivors", "signatures")  # each ends a step but the last
FAILURES = ("u1", "u2", "u3", "consistency", "unmask")  # by step; and "graph", of a U3
Input = tuple[Sequence[float] | Sequence[int], int]


@dataclass
class Run:
    """Every byte of one execution and its outcome; what was not reached is None."""

    offer: bytes
    h0: bytes
    sent: dict[tuple[int, str], bytes] = field(default_factory=dict)
    received: dict[tuple[int, str], bytes] = field(default_factory=dict)
    u1: list[int] | None = None
    u2: list[int] | None = None
    u3: list[int] | None = None
    h1: bytes | None = None
    h2: bytes | None = None
    h3: bytes | None = None
    encoded: dict[int, list[int]] = field(default_factory=dict)  # x_u of each masked input
    pairwise: dict[int, dict[int, list[int]]] = field(default_factory=dict)
    aborts: dict[int, str] = field(default_factory=dict)  # clients that refused to go on
    failed: str | None = None  # what was too small: one of FAILURES
    field_sum: list[int] | None = None
    total: list[float] | list[int] | None = None
    mean: list[float] | None = None


def failure(server: Server, sets: int) -> str:
    """Returns why nothing is announced behind the last of so many sets."""
    return FAILURES[sets - 1] if server.too_few(ANNOUNCEMENTS[sets - 1]) else "graph"


def run(
    parameters: Parameters,
    session: bytes,
    context: bytes,
    inputs: Mapping[int, Input],
    randomness: Mapping[int, Random],
    drops: Mapping[int, str],
    identities: Mapping[int, bytes] | None = None,
) -> Run:
    """One honest execution in which party i vanishes before it sends the message drops[i].

    Malicious mode needs `identities`: the Ed25519 seed of each of the parties 0 .. n-1.
    """
    keys = (identities or {}) if parameters.malicious else {}
    pinned = [verify_key(keys[u]) for u in range(parameters.cohort)] if parameters.malicious else []
    s = Session(parameters, session, context, pinned)
    server = Server(s)
    result = Run(server.offer(), s.h0())

    got = dict.fromkeys(range(parameters.cohort), result.offer)
    parties: dict[int, Party] = {}
    answers: dict[str, Callable[[int, bytes], bytes]] = {
        "advertise keys": lambda u, _: parties[u].advertise_keys(),
        "share keys": lambda u, message: parties[u].share_keys(message),
        "masked input": lambda u, message: parties[u].masked_input(message, *inputs[u]),
        "consistency": lambda u, message: parties[u].consistency(message),
        "unmask": lambda u, message: parties[u].unmask(message),
    }
    sets: list[list[int]] = []
    for name, announcement in zip(STEPS, (*ANNOUNCEMENTS, None), strict=True):
        if name == "consistency" and not parameters.malicious:
            continue
        there = [u for u in got if u not in drops or STEPS.index(drops[u]) > STEPS.index(name)]
        if name == "advertise keys":
            parties = {u: Party(s, u, randomness[u], keys.get(u)) for u in there}
        for u in there:
            try:
                result.sent[u, name] = answers[name](u, got[u])
            except ValueError as error:
                result.aborts[u] = str(error)
                continue
            server.accept(name, u, result.sent[u, name])
        if announcement is None:
            break
        sets.append([u for u in there if u not in result.aborts])
        got = server.announce(announcement)
        result.received.update({(u, announcement): message for u, message in got.items()})
        if not got:
            break
    result.u1, result.u2, result.u3 = (*sets, None, None, None)[:3]
    result.h1, result.h2, result.h3 = server.h1 or None, server.h2 or None, server.h3 or None
    result.encoded = {u: parties[u].encoded for u in server.masked}
    result.pairwise = {u: parties[u].pairwise for u in server.masked}
    if not got:
        result.failed = failure(server, len(sets))
    elif server.too_few_shares():
        result.failed = "unmask"
    else:
        result.field_sum = server.aggregate()
        survivors = len(server.masked)
        decoded = parameters.decode_sum(result.field_sum, survivors, session)
        result.total, result.mean = decoded
    return result
