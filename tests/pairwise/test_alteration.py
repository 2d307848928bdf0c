"""No altered byte of any message of a recorded run ever gives a wrong sum.

A round of five parties (t = 3, one vanishes before its masked input; in malicious mode t = 4 and
nobody vanishes) is recorded, with a copy of
every state machine before each message. Then each byte of each message is altered, one at a time,
and the real state machines go on from there. Either the sum
is exact over the survivors that the result names, or the round fails. A message that is refused
must leave its receiver exactly as it was: then the rest is that of a lost message, which is played
once for each message. Messages are also cut and extended by a byte.

The field is `tight`: the decoder's range check hides nothing. No byte is left out: each is altered
by xor 1, every third also by xor 0x80 or a random value; at CI_LEVEL=full all in all three ways.
Below that level malicious mode alters every byte of consistency messages, every third of signatures
and every fifth of the others.
"""

import dataclasses
import os
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from harness import (
    CONTEXT,
    MODES,
    SESSION,
    Message,
    Network,
    directory_of,
    identity_of,
    seeded,
    state_of,
    tight,
)
from pairwise.attacks import cohort, verdict

import secagg
from secagg import SERVER, Client, Mode, Phase, Policy
from secagg.pairwise.transitions import PHASES
from secagg.wire import HEADER_BYTES, MessageType

pytestmark = pytest.mark.exhaustive

PARAMS = {
    Mode.SEMI_HONEST: tight(5, 2, threshold=3),
    Mode.MALICIOUS: tight(5, 2, threshold=4, mode=Mode.MALICIOUS),
}
DROPS = {Mode.SEMI_HONEST: {4: Phase.MASKED_INPUT}, Mode.MALICIOUS: {}}
SURVIVORS = {Mode.SEMI_HONEST: (0, 1, 2, 3), Mode.MALICIOUS: (0, 1, 2, 3, 4)}
FULL = os.environ.get("CI_LEVEL") == "full"


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
def recorded(mode: Mode) -> tuple[Moment, ...]:
    """The run, message by message."""
    network = cohort(PARAMS[mode], drops=DROPS[mode])
    moments = []
    while network.server.state in PHASES:
        if not network.queue:
            network._said(network.server.deadline(PHASES[network.server.state]))
            continue
        message = network.queue.pop(0)
        moments.append(Moment(message, network.clone(), state_of(receiver(network, message))))
        network.deliver(message)
    assert verdict(network, SURVIVORS[mode]) == ""
    return tuple(moments)


def names(mode: Mode) -> list[str]:
    """The types that the run has messages of."""
    signatures = ["signatures"] if mode is Mode.MALICIOUS else []
    return ["roster", "delivery", "survivors", *signatures, *(str(phase) for phase in mode.phases)]


def of_type(mode: Mode, name: str) -> list[Moment]:
    """The messages of one type."""
    kind = MessageType[name.upper().replace(" ", "_")]
    return [moment for moment in recorded(mode) if moment.message.payload[3] == kind]


def play_on(moment: Moment, payload: bytes | None) -> tuple[str, bool]:
    """What the round comes to with this in place of the message, and whether it was refused."""
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


@pytest.mark.parametrize(("mode", "name"), [(mode, name) for mode in MODES for name in names(mode)])
def test_no_altered_byte_gives_a_wrong_sum(mode: Mode, name: str) -> None:
    """Every byte of every message of one type, in several ways; and a byte less or more."""
    counts: Counter[str] = Counter()
    moments = of_type(mode, name)
    late = name in ("survivors", "masked input", "unmask") and mode is Mode.SEMI_HONEST
    assert len(moments) == (4 if late else 5)
    step = {"consistency": 1, "signatures": 3}.get(name, 5)
    if FULL or mode is Mode.SEMI_HONEST:
        step = 1
    for number, moment in enumerate(moments):
        assert safe(play_on(moment, None)[0]), "a lost message"
        true = moment.message.payload
        third = seeded((name, number))(len(true))
        variants = [true[:-1], true + b"\0", true[:HEADER_BYTES], b""]
        for place, value in list(enumerate(true))[number % step :: step]:
            random = third[place] or 0x55
            changes = {1, 0x80, random} if FULL else {1, (1, 1, 0x80, 1, 1, random)[place % 6]}
            for change in changes:
                variants.append(true[:place] + bytes([value ^ change]) + true[place + 1 :])
        for variant in variants:
            assert variant != true
            outcome, refused = play_on(moment, variant)
            assert safe(outcome), (moment.message, variant.hex())
            counts["refused" if refused else outcome[:16] or "exact"] += 1
    print(f"\n{name}: {sum(counts.values())} alterations: {dict(counts)}")  # noqa: T201
    assert counts["refused"] > 0


@pytest.mark.parametrize("mode", MODES)
def test_the_true_messages_give_the_exact_sum_from_every_moment(mode: Mode) -> None:
    """What the battery rests on: a copy of any moment plays on to the recorded end."""
    for moment in recorded(mode):
        twin = moment.before.clone()
        twin.deliver(moment.message)
        assert verdict(twin.run(), SURVIVORS[mode]) == ""
        assert twin.refusals == []


@pytest.mark.parametrize("mode", MODES)
def test_an_altered_offer_costs_only_the_one_who_got_it(mode: Mode) -> None:
    """Every byte of the offer to party 3: a typed refusal, or a stray that the server drops."""
    agreed = PARAMS[mode].round(CONTEXT, SESSION)
    given: dict[str, Any] = {}
    if mode is Mode.MALICIOUS:
        given = {"identity": identity_of(3), "directory": directory_of(5)}
        given["ledger"] = secagg.MemoryLedger()
    offer = agreed.encode()
    counts: Counter[str] = Counter()
    for place, value in enumerate(offer):
        for change in (1, 0x80, 0x55):
            altered = offer[:place] + bytes([value ^ change]) + offer[place + 1 :]
            try:
                other = secagg.Round.decode(altered)
                stray = Client(other, 3, Policy(), seeded("stray"), **given)
            except (secagg.DecodeError, secagg.ParameterError):
                counts["refused"] += 1
                continue
            assert other != agreed
            assert other.encode() == altered
            network = cohort(PARAMS[mode])
            network.queue = [message for message in network.queue if message.sender != 3]
            network.clients = {**network.clients, 3: stray}
            network._up(3, stray.start())
            network.run()
            assert verdict(network, (0, 1, 2, 4)) == ""
            assert 3 in network.dropped
            counts["dropped"] += 1
    for altered in (offer[:-1], offer + b"\0", b"", offer[:HEADER_BYTES]):
        with pytest.raises(secagg.DecodeError):
            secagg.Round.decode(altered)
    assert counts["dropped"] > 100
    assert counts["refused"] > 50


@pytest.mark.parametrize(
    ("mode", "name"), [(mode, str(phase)) for mode in MODES for phase in mode.phases]
)
def test_two_altered_messages_at_once(mode: Mode, name: str) -> None:
    """The same byte altered in the messages of two parties: alterations must not cancel."""
    moments = of_type(mode, name)[:2]
    length = min(len(moment.message.payload) for moment in moments)
    for place in range(HEADER_BYTES, length, 7):
        twin = moments[0].before.clone()
        twin.queue.insert(0, moments[0].message)
        for number, message in enumerate(twin.queue[:2]):
            assert message.receiver == SERVER
            data = bytearray(message.payload)
            data[place] ^= 1 << place % 8
            twin.queue[number] = dataclasses.replace(message, payload=bytes(data))
        assert safe(verdict(twin.run()))
