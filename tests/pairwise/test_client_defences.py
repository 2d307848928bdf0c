"""A lying server against real clients: no attack gains anything, and no refusal costs anything.

The attacks are in `attacks`; `test_planted_bugs.py` proves for each that it can succeed. Below
them: what callers do wrong, what policies refuse, and when secrets are gone.
"""

import copy
import dataclasses
import logging
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from harness import (
    CONTEXT,
    SESSION,
    Message,
    Network,
    SteppedRound,
    client_of,
    clone,
    expected_sum,
    input_of,
    integers,
    secrets_of,
    seeded,
    state_of,
)
from pairwise.attacks import CLIENT_ATTACKS, Liar, attacker_keys, refuses, started_network
from refusals import refused

import secagg
from secagg import SERVER, Client, Code, FixedPoint, Params, Phase, Policy
from secagg.machine.wire import HEADER_BYTES
from secagg.pairwise.transitions import ClientState


@pytest.mark.parametrize("name", CLIENT_ATTACKS)
def test_attack_gains_nothing(name: str) -> None:
    """Each ends in `Aborted` with wiped secrets, or in an error that changed nothing."""
    assert CLIENT_ATTACKS[name]() == ""


# -- malformed, repeated, out of order -------------------------------------------------------------


def malformed(message: bytes, cohort_size: int) -> dict[str, bytes]:
    """Variants of a message that are none."""
    other_type = message[:3] + bytes([message[3] ^ 0x40]) + message[4:]
    variants = {
        "empty": b"",
        "one byte": message[:1],
        "half a header": message[: HEADER_BYTES // 2],
        "a header": message[:HEADER_BYTES],
        "cut by a byte": message[:-1],
        "a byte more": message + b"\0",
        "twice": message + message,
        "other magic": b"sa" + message[2:],
        "other version": message[:2] + b"\2" + message[3:],
        "other type": other_type,
        "other session": message[:4] + bytes(16) + message[20:],
    }
    if message[3] in (0x11, 0x12, 0x13, 0x05) and cohort_size % 8:
        padded = bytearray(message)
        padded[HEADER_BYTES + cohort_size // 8] |= 0x80
        variants["padding of a bitmap"] = bytes(padded)
    return variants


@pytest.mark.parametrize("drops", [{}, {2: Phase.MASKED_INPUT}], ids=["all", "one drops"])
def test_malformed_messages_cost_nothing(drops: dict[int, Phase]) -> None:
    """Before each message of a round, in both directions, all its malformed variants arrive.

    Each is a typed error that names the sender and leaves the receiver exactly as it was; the
    round goes on to the exact sum.
    """
    network = started_network(integers(4, threshold=3), drops=drops)
    count = 0
    while network.server.state.name not in ("COMPLETED", "FAILED"):
        if not network.queue:
            network.take_events(network.server.deadline(Phase(network.server.state.value)))
            continue
        message = network.queue.pop(0)
        receiver = (
            network.server if message.receiver == SERVER else network.clients[message.receiver]
        )
        before = state_of(receiver)
        for name, payload in malformed(message.payload, 4).items():
            network.deliver(dataclasses.replace(message, payload=payload))
            assert network.refusals.pop().party == message.sender
            assert network.aborts == {}
            assert state_of(receiver) == before, name
            count += 1
        network.deliver(message)
    assert count > 200
    assert network.result is not None
    assert network.result.survivors == ((0, 1, 3) if drops else (0, 1, 2, 3))
    assert network.result.total.tolist() == expected_sum(network.result.survivors)


def test_repeated_messages_change_nothing_and_different_ones_are_refused() -> None:
    """The server repeats each message at every later time: the last one gets the bytes that it
    got before, an earlier one nothing; another one is refused.
    """
    liar = Liar(integers(4, threshold=3))
    liar.share([1, 2, 3])
    victim = liar.clients[0]
    seen: list[tuple[bytes, bytes]] = []

    def repeat(said: bytes) -> None:
        before = state_of(victim)
        again = [secagg.Send(SERVER, said)] if said else []
        for old, other in seen:
            assert victim.receive(old) == (again if old is seen[-1][0] else [])
            with pytest.raises(secagg.RemoteProtocolError):
                victim.receive(other)
        assert state_of(victim) == before

    liar.share([0])
    seen.append((liar.roster(), liar.roster(liar.altered(1, mask=liar.entries[2].mask))))
    repeat(victim._memory.last_reply)
    assert victim._memory.last_reply[3] == 0x02
    victim.receive(liar.delivery(0, liar.everybody))
    seen.append((liar.delivery(0, liar.everybody), liar.delivery(0, [0, 1, 2])))
    repeat(b"")  # its input is on the way: it is not asked for twice
    repeat(victim.submit(input_of(0)))
    (answer, _) = victim.receive(liar.survivors(liar.everybody))
    assert isinstance(answer, secagg.Send)
    seen.append((liar.survivors(liar.everybody), liar.survivors([0, 1, 2])))
    repeat(answer.payload)
    assert victim.state is ClientState.FINISHED


def test_an_aborted_client_ignores_repeats_and_refuses_the_rest() -> None:
    """After an abort the messages that were fine before do not revive anything."""
    liar = Liar(integers(4, threshold=3)).share()
    victim = liar.clients[0]
    assert refuses(victim, liar.delivery(0, [0]))
    before = state_of(victim)
    assert victim.receive(liar.roster()) == []
    for message in (liar.delivery(0, liar.everybody), liar.survivors(liar.everybody)):
        with refused(secagg.RemoteProtocolError, Code.OUT_OF_ORDER):
            victim.receive(message)
    assert state_of(victim) == before


def test_replay_of_a_whole_earlier_session() -> None:
    """Every server message of an earlier session, to a client of the next one, in each state."""
    old = Liar(integers(3, threshold=2), session=bytes(16)).share()
    old.deliver(old.everybody)
    replay = [old.roster(), old.delivery(0, old.everybody), old.survivors(old.everybody)]
    liar = Liar(integers(3, threshold=2)).share([1, 2])
    victim = liar.clients[0]

    def refuses_all() -> None:
        before = state_of(victim)
        for message in replay:
            with refused(secagg.RemoteProtocolError, Code.SESSION):
                victim.receive(message)
        assert state_of(victim) == before

    refuses_all()
    liar.share([0])
    refuses_all()
    victim.receive(liar.delivery(0, liar.everybody))
    refuses_all()
    liar.submit(0)
    refuses_all()


def test_replay_under_the_new_session_id() -> None:
    """The same with the session id rewritten: old ciphertexts and rosters bind the old round."""
    old = Liar(integers(4, threshold=3), label="old", session=bytes(16)).share()
    liar = Liar(integers(4, threshold=3), label="new").share()

    def renamed(message: bytes) -> bytes:
        return message[:4] + SESSION + message[20:]

    assert refuses(liar.clients[0], renamed(old.delivery(0, old.everybody)))
    fresh = Liar(integers(4, threshold=3), label="new")
    assert refuses(fresh.clients[0], renamed(old.roster()))


def test_a_split_view_of_the_roster_ends_before_any_input() -> None:
    """The victim sees another (strong) key of one peer than everybody else: nothing opens."""
    liar = Liar(integers(4, threshold=3)).share([1, 2, 3])
    other = attacker_keys("other")[1]
    liar.clients[0].receive(liar.roster(liar.altered(1, mask=other)))
    with refused(secagg.Aborted, Code.SHARES):
        liar.clients[0].receive(liar.delivery(0, liar.everybody))
    assert secrets_of(liar.clients[0]) == []


def test_no_client_gives_both_shares_of_any_party() -> None:
    """Whatever survivor sets a server asks for, one client answers one of them."""
    for first in ((0, 1, 2, 3), (0, 1, 2), (0, 2, 3)):
        for second in ((0, 1, 2, 3), (0, 1, 2), (0, 1, 3)):
            liar = Liar(integers(4, threshold=3)).share()
            liar.deliver(liar.everybody)
            answer = liar.answer(0, first)
            assert answer is not None
            again = liar.answer(0, second)
            assert (again is not None) == (second == first)
            if again is not None:  # a repeat: the same shares
                assert again.dealers == answer.dealers
                assert (again.shares == answer.shares).all()


# -- the caller ------------------------------------------------------------------------------------


def test_calls_out_of_order_change_nothing() -> None:
    """start() twice, submit() before its time, twice, or after the end: `LocalProtocolError`."""
    liar = Liar(integers(3, threshold=2))
    fresh = client_of(liar.round, 0)
    values = input_of(0)

    def refused(client: Client, *calls: Callable[[], object]) -> None:
        before = state_of(client)
        for call in calls:
            with pytest.raises(secagg.LocalProtocolError):
                call()
        assert state_of(client) == before

    refused(fresh, lambda: fresh.submit(values))
    victim = liar.clients[0]
    both = (victim.start, lambda: victim.submit(values))
    refused(victim, *both)
    liar.share()
    refused(victim, *both)
    victim.receive(liar.delivery(0, liar.everybody))
    refused(victim, victim.start)
    liar.submit(0)
    refused(victim, *both)
    assert liar.answer(0, liar.everybody) is not None
    refused(victim, *both)


def test_a_message_that_is_no_bytes_is_the_callers_fault() -> None:
    """`LocalProtocolError`, and bytes-like objects are taken."""
    liar = Liar(integers(3, threshold=2))
    for data in ("text", 5, None, [1, 2]):
        with pytest.raises(secagg.LocalProtocolError):
            liar.clients[0].receive(data)  # type: ignore[arg-type]
    assert liar.clients[0].receive(memoryview(bytearray(liar.roster()))) != []


def asked(params: Params, label: object = "") -> Client:
    """A client that was just asked for its input."""
    liar = Liar(params, label=label).share()
    liar.clients[0].receive(liar.delivery(0, liar.everybody))
    return liar.clients[0]


REAL = Params(3, 4, FixedPoint(clip=2.0, bits=16, max_weight=5), threshold=2)
BAD_REALS: dict[str, tuple[object, object]] = {
    "NaN": ([0.0, 1.0, float("nan"), 0.0], 1),
    "infinity": ([0.0, float("inf"), 0.0, 0.0], 1),
    "minus infinity": (np.array([0, 0, 0, -np.inf], np.float32), 1),
    "NaN in float32": (np.array([np.nan, 0, 0, 0], np.float32), 1),
    "too short": ([0.0] * 3, 1),
    "too long": ([0.0] * 5, 1),
    "empty": ([], 1),
    "two dimensions": (np.zeros((1, 4)), 1),
    "a scalar": (0.0, 1),
    "complex": (np.zeros(4, np.complex128), 1),
    "text": (["a", "b", "c", "d"], 1),
    "masked": (np.ma.zeros(4), 1),
    "objects": (np.array([None] * 4), 1),
    "none": (None, 1),
    "ragged": ([[0.0], [0.0, 1.0], 0.0, 0.0], 1),
    "weight 0": ([0.0] * 4, 0),
    "weight 6": ([0.0] * 4, 6),
    "weight -1": ([0.0] * 4, -1),
    "weight 1.0": ([0.0] * 4, 1.0),
    "weight True": ([0.0] * 4, True),
    "weight None": ([0.0] * 4, None),
}


@pytest.mark.parametrize("name", BAD_REALS)
def test_an_unusable_input_leaves_state_masks_and_randomness(name: str) -> None:
    """`RangeError`; afterwards the client sends exactly what one that never saw it sends."""
    client, twin = asked(REAL), asked(REAL)
    values, weight = BAD_REALS[name]
    before = state_of(client)
    with pytest.raises(secagg.RangeError):
        client.submit(values, weight)  # type: ignore[arg-type]
    assert state_of(client) == before
    good = [0.5, -1.0, 3.0, 0.0]
    with pytest.warns(secagg.ClippingWarning):
        assert client.submit(good, 2) == twin.submit(good, 2)
    assert client.clipped == 1


@pytest.mark.parametrize(
    "values",
    [
        [0, 0, 0, 1001],
        [-1001, 0, 0, 0],
        [0.0, 0.0, 0.0, 0.0],
        [2**63, 0, 0, 0],
        [2**70, 0, 0, 0],
        np.array([2**64 - 1, 0, 0, 0], np.uint64),
        [[1], [2, 3]],
        [0, 0, 0],
    ],
    ids=str,
)
def test_an_unusable_integer_input_leaves_everything(values: object) -> None:
    """The same for integers."""
    client, twin = asked(integers(3, threshold=2)), asked(integers(3, threshold=2))
    before = state_of(client)
    with pytest.raises(secagg.RangeError):
        client.submit(values)  # type: ignore[arg-type]
    assert state_of(client) == before
    assert client.submit(input_of(0)) == twin.submit(input_of(0))


def test_inputs_are_read_whatever_their_layout_and_never_written_to() -> None:
    """Strided, byte-swapped, read-only, misaligned and narrow arrays give the same message."""
    true = input_of(0)
    strided = np.zeros(8, np.int64)
    strided[::2] = true
    locked = true.copy()
    locked.flags.writeable = False
    misaligned = np.frombuffer(b"\0" + true.tobytes(), np.int64, offset=1)
    layouts = [true, strided[::2], true.astype(">i8"), locked, misaligned, true.astype(np.int16),
               true[::-1].copy()[::-1]]  # fmt: skip
    sent = set()
    for layout in layouts:
        before = layout.copy()
        sent.add(asked(integers(3, threshold=2)).submit(layout))
        assert np.array_equal(layout, before)
    assert len(sent) == 1


# -- secrets ---------------------------------------------------------------------------------------


def test_secrets_live_as_long_as_they_are_needed() -> None:
    """Which secrets a client holds, step by step; none in the end."""
    liar = Liar(integers(3, threshold=2))
    client = liar.clients[0]
    keys_and_seeds = ["channel_secret", "mask_seed", "self_seed", "mask_secret"]
    assert secrets_of(client) == keys_and_seeds
    liar.share()
    assert secrets_of(client) == [*keys_and_seeds[1:], "inbound", "held"]
    client.receive(liar.delivery(0, liar.everybody))
    assert secrets_of(client) == ["mask_keys", "held"]
    liar.submit(0)
    assert secrets_of(client) == ["held"]
    rows = list(client._memory.held.values())
    assert liar.answer(0, liar.everybody) is not None
    assert secrets_of(client) == []
    assert not any(row.any() for row in rows), "shares are overwritten, not only let go"


def test_a_client_is_neither_copied_nor_pickled() -> None:
    """A copy could answer twice. Nor is a server: a second one could ask for other survivors."""
    agreed = integers(3, threshold=2).round()
    for machine in (client_of(agreed, 0), secagg.Server(agreed)):
        for copied in (pickle.dumps, copy.deepcopy, copy.copy):
            with pytest.raises(TypeError, match="neither copied nor pickled"):
                copied(machine)


@pytest.mark.parametrize("steps", range(4))
def test_a_client_that_its_caller_wiped_answers_with_typed_errors(steps: int) -> None:
    """`wipe()` at any time: whatever comes afterwards, only the library's own errors leave."""
    liar = Liar(integers(3, threshold=2))
    client = liar.clients[0]
    liar.share([1, 2])
    if steps > 0:
        liar.share([0])
    if steps > 1:
        client.receive(liar.delivery(0, liar.everybody))
    if steps > 2:
        liar.submit(0)
    true = [
        liar.roster(),
        liar.delivery(0, liar.everybody) if steps else b"",
        b"",
        liar.survivors(liar.everybody),
    ][steps]
    client.wipe()
    assert secrets_of(client) == []
    with pytest.raises(secagg.SecAggError):
        _ = client.submit(input_of(0)) if steps == 2 else client.receive(true)


def test_logs_and_representations_tell_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """No drawn randomness, key, seed, share or input value in the log or in a repr."""
    caplog.set_level(logging.DEBUG, "secagg")
    drawn: list[bytes] = []

    def recording(party: int) -> Callable[[int], bytes]:
        source = seeded(party)

        def random(size: int) -> bytes:
            drawn.append(source(size))
            return drawn[-1]

        return random

    agreed = integers(4, threshold=3).round(CONTEXT, SESSION)
    clients = {party: Client(agreed, party, Policy(), recording(party)) for party in range(4)}
    network = Network(secagg.Server(agreed), clients, {3: Phase.MASKED_INPUT}).start()
    texts = []
    while network.queue:
        network.deliver(network.queue.pop(0))
        texts += [repr(vars(client)) for client in network.clients.values()]
    network.run()
    texts += [repr(event) for event in network.events if not isinstance(event, secagg.Send)]
    texts.append(caplog.text)
    everything = "\n".join(texts)
    assert "party 3 dropped" in caplog.text
    assert len(drawn) == 16
    for secret in drawn:
        assert secret.hex() not in everything
        assert repr(secret)[2:-1] not in everything


# -- policies --------------------------------------------------------------------------------------

FIVE = integers(5, threshold=3, colluders=1)
REFUSED: dict[str, tuple[Params, Policy]] = {
    "a pair": (integers(2, threshold=2), Policy()),
    "a sum of two": (integers(3, threshold=2, colluders=0), Policy()),
    "another threshold": (FIVE, Policy(params=integers(5, threshold=4))),
    "another length": (FIVE, Policy(params=dataclasses.replace(FIVE, length=5))),
    "other colluders": (FIVE, Policy(params=integers(5, threshold=3, colluders=0))),
    "another suite": (FIVE, Policy(params=dataclasses.replace(FIVE, suite=secagg.Suite.CHACHA20))),
    "another context": (FIVE, Policy(context=bytes(32))),
    "too large a cohort": (FIVE, Policy(max_cohort=4)),
    "too long an input": (FIVE, Policy(max_length=3)),
    "too few for its minimum": (FIVE, Policy(min_survivors=6)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_policy_refuses_before_a_secret_exists(name: str) -> None:
    """`ParameterError`, and no randomness was drawn."""
    params, policy = REFUSED[name]

    def random(size: int) -> bytes:
        raise AssertionError("drew randomness")

    with pytest.raises(secagg.ParameterError) as caught:
        Client(params.round(CONTEXT, SESSION), 0, policy, random)
    assert caught.value.code.startswith("policy_")


def test_policy_accepts_what_it_asks_for() -> None:
    """The same policies, met."""
    most = FIVE.quorum
    policy = Policy(params=FIVE, context=CONTEXT, min_survivors=most, max_cohort=5, max_length=4)
    Client(FIVE.round(CONTEXT, SESSION), 4, policy)
    Client(integers(2, threshold=2).round(), 1, Policy(allow_pair=True))


@pytest.mark.parametrize("index", [-1, 5, 2**40, 1.0, "1", None, True])
def test_an_index_outside_the_cohort_is_refused(index: object) -> None:
    """At construction."""
    with pytest.raises(secagg.ParameterError):
        Client(FIVE.round(), index)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cohort_size", "more"),
    [
        (1, {}),
        (2**16 + 1, {}),
        (5, {"threshold": 2}),
        (4, {"threshold": 2}),
        (5, {"threshold": 6}),
        (5, {"min_survivors": 6}),
        (5, {"threshold": 3, "colluders": 2}),
        (5, {"threshold": 3, "colluders": 3, "min_survivors": 5}),
        (3, {"threshold": 2, "colluders": 1}),
        (5, {"colluders": -2}),
        (5, {"threshold": 3.0}),
        (5, {"threshold": True}),
    ],
    ids=str,
)
def test_unsafe_parameters_cannot_be_made(cohort_size: int, more: dict[str, object]) -> None:
    """Thresholds of half and less, a sum of one honest input, and impossible numbers."""
    with pytest.raises(secagg.ParameterError):
        integers(cohort_size, **more)


def test_unsafe_offers_are_refused_when_read() -> None:
    """The server cannot offer what could not be constructed: each u32 of the offer, varied."""
    true = integers(5, threshold=3, colluders=1).round(CONTEXT, SESSION)
    offer = true.encode()
    assert secagg.Round.decode(offer) == true
    place = HEADER_BYTES + 32 + 2
    for field, values in {
        0: (0, 1, 6, 7, 2**16 + 1, 2**32 - 1),  # cohort: 6 and 7 make a threshold of 3 too low
        1: (0, 1, 2, 6, 2**32 - 1),  # threshold
        2: (0, 6, 2**32 - 1),  # min_survivors
        3: (2, 3, 5, 2**32 - 1),  # colluders
    }.items():
        for value in values:
            data = bytearray(offer)
            data[place + 4 * field : place + 4 * field + 4] = value.to_bytes(4, "little")
            with pytest.raises(secagg.DecodeError):
                secagg.Round.decode(bytes(data))


def test_the_harness_copies_are_true_copies() -> None:
    """These batteries rest on it: a clone equals its original and shares nothing with it."""
    stepped = SteppedRound(integers(3, threshold=2))
    messages = stepped.until(Phase.MASKED_INPUT)
    assert state_of(clone(stepped.server)) == state_of(stepped.server)
    assert state_of(clone(stepped.clients[0])) == state_of(stepped.clients[0])
    twin_round = stepped.clone()
    before = [state_of(client) for client in stepped.clients.values()]
    twin_round.finish(messages)
    assert twin_round.result is not None
    assert [state_of(client) for client in stepped.clients.values()] == before
    assert stepped.finish(messages).result is not None
    assert Message(0, SERVER, b"") == Message(0, SERVER, b"")
