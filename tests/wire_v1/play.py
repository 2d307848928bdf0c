"""Playing one round with the reference model, with every message written down in order."""

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from reference.protocol import (
    ANNOUNCEMENTS,
    STEPS,
    FixedPoint,
    Input,
    Parameters,
    Party,
    Server,
    Session,
    failure,
    verify_key,
)

A, S, M, C, U = STEPS
Key = tuple[str, int]  # a type of message and the client that sends it, or that receives it
Change = Callable[["Played", int, bytes], bytes]


def expanded(label: str, size: int) -> bytes:
    """Bytes that look random and are the same in every run: SHAKE-256 of a label."""
    return hashlib.shake_256(f"secagg wire format v1: {label}".encode()).digest(size)


class Tape:
    """The randomness of one party, which remembers what was drawn."""

    def __init__(self, label: str) -> None:
        self.data, self.drawn = expanded(label, 1024), list[bytes]()

    def __call__(self, size: int) -> bytes:
        """The next bytes."""
        taken, self.data = self.data[:size], self.data[size:]
        self.drawn.append(taken)
        return taken


def tape_of(case: "Case", party: int) -> Tape:
    """The randomness of a party of a round."""
    return Tape(f"{case.name} {case.salt}, party {party}")


@dataclass(frozen=True)
class Case:
    """One round to be played.

    `drops` names the message that a party no longer sends. `changed` are messages that arrive
    otherwise than they were sent, by type and client. `inputs` makes other inputs than usual.
    """

    name: str
    note: str
    parameters: Parameters
    drops: Mapping[int, str] = field(default_factory=dict)
    changed: Mapping[Key, Change] = field(default_factory=dict)
    salt: int = 0
    inputs: Callable[["Case"], dict[int, Input]] | None = None


@dataclass
class Message:
    """One message of a round; `delivered` is what arrived, if that is something else."""

    type: str
    sender: int | None  # None: the server
    receivers: tuple[int, ...]  # empty: the server
    data: bytes
    delivered: bytes | None = None

    @property
    def arrived(self) -> bytes:
        """The bytes that the receiver got."""
        return self.data if self.delivered is None else self.delivered


@dataclass
class Played:
    """One round as the reference model played it."""

    case: Case
    session: Session
    identities: list[bytes]
    inputs: dict[int, Input]
    tapes: dict[int, Tape]
    server: Server
    parties: dict[int, Party] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    sets: list[list[int]] = field(default_factory=list)  # U1, U2, U3, the signers
    failed: str | None = None
    field_sum: list[int] | None = None

    def index(self, kind: str, party: int) -> int:
        """Where in `messages` the one of this type from, or to, this client stands."""
        return next(
            i
            for i, one in enumerate(self.messages)
            if one.type == kind and (one.sender == party or party in one.receivers)
        )

    def message(self, kind: str, party: int) -> bytes:
        """The one of this type from, or to, this client, as it was sent."""
        return self.messages[self.index(kind, party)].data


def inputs_of(case: Case) -> dict[int, Input]:
    """The inputs of a round: corners first, then numbers without a pattern."""
    if case.inputs is not None:
        return case.inputs(case)
    p, form = case.parameters, case.parameters.format
    inputs: dict[int, Input] = {}
    for u in range(p.cohort):
        raw = expanded(f"{case.name}, input {u}", 8 * p.length + 8)
        drawn = [x for (x,) in struct.iter_unpack("<Q", raw)]
        if isinstance(form, FixedPoint):
            corners = [form.clip, -form.clip, -0.0, 2.0 * form.clip, -1e300, 5e-324, form.clip / 3]
            values = [(x / 2.0**63 - 1.0) * 1.25 * form.clip for x in drawn[: p.length]]
            if p.length > 2:
                values[u % 3] = corners[u % 7]
            inputs[u] = values, 1 + drawn[-1] % form.max_weight
        else:
            numbers = [form.low + x % (form.high - form.low + 1) for x in drawn[: p.length]]
            if p.length > 2:
                numbers[u % 3] = (form.low, form.high)[u % 2]
            inputs[u] = numbers, 1
    return inputs


def session_of(case: Case, identities: Sequence[bytes] = ()) -> Session:
    """Returns what both sides of a round know."""
    label = f"{case.name} {case.salt}"
    return Session(
        case.parameters,
        expanded(f"{label}, session", 16),
        expanded(f"{label}, context", 32),
        [verify_key(seed) for seed in identities],
    )


def play(case: Case) -> Played:
    """The round, by the reference model.

    The order of messages is that of the file: step by step, within a step by party, and a message
    that is the same for all stands once.
    """
    p, label = case.parameters, f"{case.name} {case.salt}"
    n = p.cohort
    identities = [expanded(f"{label}, identity {u}", 32) for u in range(n)] if p.malicious else []
    session = session_of(case, identities)
    tapes = {u: tape_of(case, u) for u in range(n)}
    server = Server(session)
    run = Played(case, session, identities, inputs_of(case), tapes, server)
    run.parties = {
        u: Party(session, u, tapes[u], identities[u] if identities else None) for u in range(n)
    }
    run.messages.append(Message("offer", None, tuple(range(n)), server.offer()))
    got = dict.fromkeys(range(n), b"")
    for name, announcement in zip(STEPS, (*ANNOUNCEMENTS, None), strict=True):
        if name == C and not p.malicious:
            continue
        there = [u for u in got if STEPS.index(case.drops.get(u, U)) > STEPS.index(name)]
        there += [u for u in got if name == U and u not in case.drops]
        for u in there:
            one = Message(name, u, (), answer(run, name, u, got[u]))
            if (name, u) in case.changed:
                one.delivered = case.changed[name, u](run, u, one.data)
            run.messages.append(one)
            server.accept(name, u, one.arrived)
        if announcement is None:
            break
        run.sets.append(there)
        sent = server.announce(announcement)
        if not sent:
            run.failed = failure(server, len(run.sets))
            return run
        got = announce(run, announcement, sent)
    if server.too_few_shares():
        run.failed = "unmask"
    else:
        try:
            run.field_sum = server.aggregate()
        except ValueError:
            run.failed = "seed"
    return run


def answer(run: Played, name: str, u: int, got: bytes) -> bytes:
    """The message of party u, which has been sent `got`."""
    party = run.parties[u]
    if name == A:
        return party.advertise_keys()
    if name == S:
        return party.share_keys(got)
    if name == M:
        return party.masked_input(got, *run.inputs[u])
    return party.consistency(got) if name == C else party.unmask(got)


def announce(run: Played, name: str, sent: Mapping[int, bytes]) -> dict[int, bytes]:
    """Writes down what the server sends, once if it is the same for all; what each is delivered."""
    if name == "delivery" or (name == "roster" and run.case.parameters.sparse):
        new = [Message(name, None, (v,), data) for v, data in sent.items()]
    else:
        new = [Message(name, None, tuple(sent), next(iter(sent.values())))]
        if set(sent.values()) != {new[0].data}:
            raise ValueError("not the same for all")
    for one in new:
        for v in one.receivers:
            if (name, v) in run.case.changed:
                one.delivered = run.case.changed[name, v](run, v, one.data)
    run.messages += new
    return {v: one.arrived for one in new for v in one.receivers}
