"""No altered byte of any message of a recorded run ever gives a wrong sum.

A round of five parties (t = 3, one vanishes before its masked input; in malicious mode t = 4 and
nobody vanishes; on a sparse graph t = 2, two neighbours, one vanishes) is recorded, with a copy of
every state machine before each message. Then each byte of each message is altered, one at a time,
and the real state machines go on from there. Either the sum
is exact over the survivors that the result names, or the round fails. A message that is refused
must leave its receiver exactly as it was: then the rest is that of a lost message, which is played
once for each message. Messages are also cut and extended by a byte.

The field is `tight`: the decoder's range check hides nothing. The table of levels says which bytes
are altered, and in how many ways. `long` alters every byte of the semi-honest round and of
consistency messages, every third of signatures and every fifth of the rest by xor 1, and every
third of these also by xor 0x80 or a random value. `full` alters all in all three ways, `quick` a
few of each message.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from harness import (
    CONTEXT,
    SESSION,
    WILLING,
    Message,
    Network,
    directory_of,
    identity_of,
    seeded,
    state_of,
    tight,
)
from levels import amount
from pairwise.attacks import started_network, verdict

import secagg
from secagg import SERVER, Client, Mode, Params, Phase
from secagg.machine.wire import HEADER_BYTES, MessageType
from secagg.pairwise.transitions import PHASES

STEP = amount("step between altered bytes")
OTHER_STEP = amount("step in signed and sparse rounds")
WAYS = amount("ways to alter a byte")


@dataclass(frozen=True)
class Case:
    """A round: who vanishes before its masked input, and every which byte is altered."""

    params: Params
    drops: tuple[int, ...] = ()
    step: int = OTHER_STEP

    @property
    def survivors(self) -> tuple[int, ...]:
        """U3."""
        return tuple(party for party in range(5) if party not in self.drops)


CASES = {
    "semi-honest": Case(tight(5, 2, threshold=3), (4,), STEP),
    "malicious": Case(tight(5, 2, threshold=4, mode=Mode.MALICIOUS)),
    "sparse": Case(tight(5, 2, threshold=2, min_survivors=4, colluders=0, degree=2), (4,)),
}


@dataclass
class Moment:
    """One message of the recorded run, and everything as it was before its delivery."""

    message: Message
    before: Network
    receiver_state: object = field(repr=False)


def receiver(network: Network, message: Message) -> Client | secagg.Server:
    """Whom a message is for."""
    return network.server if message.receiver == SERVER else network.clients[message.receiver]


@cache
def recorded(case: str) -> tuple[Moment, ...]:
    """The run, message by message."""
    drops = dict.fromkeys(CASES[case].drops, Phase.MASKED_INPUT)
    network = started_network(CASES[case].params, drops=drops)
    moments = []
    while network.server.state in PHASES:
        if not network.queue:
            network.take_events(network.server.deadline(PHASES[network.server.state]))
            continue
        message = network.queue.pop(0)
        moments.append(Moment(message, network.clone(), state_of(receiver(network, message))))
        network.deliver(message)
    assert verdict(network, CASES[case].survivors) == ""
    return tuple(moments)


def names(case: str) -> list[str]:
    """The types that the run has messages of."""
    mode = CASES[case].params.mode
    signatures = ["signatures"] if mode is Mode.MALICIOUS else []
    return ["roster", "delivery", "survivors", *signatures, *(str(phase) for phase in mode.phases)]


def of_type(case: str, name: str) -> list[Moment]:
    """The messages of one type."""
    kind = MessageType[name.upper().replace(" ", "_")]
    return [moment for moment in recorded(case) if moment.message.payload[3] == kind]


def play_on(moment: Moment, payload: bytes | None) -> tuple[str, bool]:
    """Returns what comes of the round with this in place of the message, and if it was refused."""
    twin = moment.before.clone()
    if payload is None:
        twin.run()
        return verdict(twin), True
    twin.deliver(dataclasses.replace(moment.message, payload=payload))
    if twin.refusals:
        assert twin.refusals[0].party == moment.message.sender
        assert state_of(receiver(twin, moment.message)) == moment.receiver_state
        return "", True
    twin.run()
    return verdict(twin), False


def safe(outcome: str) -> bool:
    """The exact sum over those whom it names, or none."""
    return outcome == "" or outcome.startswith("the round failed")


@pytest.mark.parametrize(("case", "name"), [(case, name) for case in CASES for name in names(case)])
def test_no_altered_byte_gives_a_wrong_sum(case: str, name: str) -> None:
    """Every byte of every message of one type, in several ways; and a byte less or more."""
    counts: Counter[str] = Counter()
    moments = of_type(case, name)
    late = name in ("survivors", "masked input", "unmask")
    assert len(moments) == (len(CASES[case].survivors) if late else 5)
    step = CASES[case].step
    step = {"consistency": STEP, "signatures": min(step, 3 * STEP)}.get(name, step)
    for number, moment in enumerate(moments):
        assert safe(play_on(moment, None)[0]), "a lost message"
        true = moment.message.payload
        third = seeded((name, number))(len(true))
        variants = [true[:-1], true + b"\0", true[:HEADER_BYTES], b""]
        for place, value in list(enumerate(true))[number * step // 5 :: step]:
            random = third[place] or 0x55
            changes = {1: {1}, 2: {1, (1, 1, 0x80, 1, 1, random)[place % 6]}}.get(
                WAYS, {1, 0x80, random}
            )
            for change in changes:
                variants.append(true[:place] + bytes([value ^ change]) + true[place + 1 :])
        for variant in variants:
            assert variant != true
            outcome, refused = play_on(moment, variant)
            assert safe(outcome), (moment.message, variant.hex())
            counts["refused" if refused else outcome[:16] or "exact"] += 1
    print(f"\n{name}: {sum(counts.values())} alterations: {dict(counts)}")  # noqa: T201
    assert counts["refused"] > 0


@pytest.mark.parametrize("case", CASES)
def test_the_true_messages_give_the_exact_sum_from_every_moment(case: str) -> None:
    """The battery rests on it: a copy of any moment plays on to the recorded end."""
    for moment in recorded(case):
        twin = moment.before.clone()
        twin.deliver(moment.message)
        assert verdict(twin.run(), CASES[case].survivors) == ""
        assert twin.refusals == []


@pytest.mark.parametrize("case", CASES)
def test_an_altered_offer_costs_only_the_one_who_got_it(case: str) -> None:
    """Every byte of the offer to party 3: a typed refusal, or a stray that the server drops."""
    agreed = CASES[case].params.round(CONTEXT, SESSION)
    given: dict[str, Any] = {}
    if agreed.params.mode is Mode.MALICIOUS:
        given = {"identity": identity_of(3), "directory": directory_of(5)}
    offer = agreed.encode()
    counts: Counter[str] = Counter()
    every = amount("step in offers")
    for place, value in list(enumerate(offer))[::every]:
        for change in (1, 0x80, 0x55):
            altered = offer[:place] + bytes([value ^ change]) + offer[place + 1 :]
            try:
                other = secagg.Round.decode(altered)
                ledger = {"ledger": secagg.MemoryLedger()} if given else {}
                stray = Client(other, 3, WILLING, seeded("stray"), **given, **ledger)
                stray.expect(other.context)
            except (secagg.DecodeError, secagg.ParameterError):
                counts["refused"] += 1
                continue
            assert other != agreed
            assert other.encode() == altered
            network = started_network(agreed.params)
            network.queue = [message for message in network.queue if message.sender != 3]
            network.clients = {**network.clients, 3: stray}
            network.send_up(3, stray.start())
            network.run()
            assert verdict(network, (0, 1, 2, 4)) == ""
            assert 3 in network.dropped
            counts["dropped"] += 1
    for altered in (offer[:-1], offer + b"\0", b"", offer[:HEADER_BYTES]):
        with pytest.raises(secagg.DecodeError):
            secagg.Round.decode(altered)
    assert counts["dropped"] > 100 / every
    assert counts["refused"] > 50 / every


@pytest.mark.parametrize(
    ("case", "name"),
    [(case, str(phase)) for case in CASES for phase in CASES[case].params.mode.phases],
)
def test_two_altered_messages_at_once(case: str, name: str) -> None:
    """The same byte altered in the messages of two parties: alterations must not cancel."""
    moments = of_type(case, name)[:2]
    length = min(len(moment.message.payload) for moment in moments)
    for place in range(HEADER_BYTES, length, amount("step in two messages at once")):
        twin = moments[0].before.clone()
        twin.queue.insert(0, moments[0].message)
        for number, message in enumerate(twin.queue[:2]):
            assert message.receiver == SERVER
            data = bytearray(message.payload)
            data[place] ^= 1 << place % 8
            twin.queue[number] = dataclasses.replace(message, payload=bytes(data))
        assert safe(verdict(twin.run()))
