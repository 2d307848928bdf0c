"""Attacks of lying clients on a server: masked inputs, deadlines and the quorum."""

import dataclasses

import numpy as np
from harness import SESSION, SteppedRound, state_of
from pairwise.attacks.lying_clients import (
    read_masked_input,
    started_network,
    tampered_round,
    verdict,
)
from pairwise.attacks.lying_server import with_proof
from pairwise.attacks.registry import MODE, on_server, tight

import secagg
from secagg import Phase
from secagg.arithmetic.field import Field
from secagg.machine.wire import HEADER_BYTES, MessageType
from secagg.pairwise.transitions import PHASES


@on_server
def input_for_other_sets() -> str:
    """A masked input under another h2, with a checksum or signature that fits the server's."""
    params = tight(4, threshold=3)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        packed = Field(params.field_bits).pack(np.array([12345], np.uint32))
        fitting = with_proof(params, read_masked_input(messages[3], params).h2, 3, packed)
        lie = dataclasses.replace(fitting, h2=bytes(32))
        return {**messages, 3: lie.encode(SESSION)}

    return verdict(tampered_round(params, MessageType.MASKED_INPUT, change), (0, 1, 2))


@on_server
def corrupted_input() -> str:
    """One bit of a masked input flips on its way."""
    params = tight(4, threshold=3)

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        data = bytearray(messages[3])
        data[HEADER_BYTES + 32] ^= 1
        return {**messages, 3: bytes(data)}

    return verdict(tampered_round(params, MessageType.MASKED_INPUT, change), (0, 1, 2))


@on_server
def input_of_another_party() -> str:
    """Party 3 sends the masked input of party 2 as its own."""

    def change(messages: dict[int, bytes]) -> dict[int, bytes]:
        return {**messages, 3: messages[2]}

    params = tight(4, threshold=3)
    return verdict(tampered_round(params, MessageType.MASKED_INPUT, change), (0, 1, 2))


@on_server
def two_inputs() -> str:
    """A party sends a second, different masked input after its first."""
    stepped = SteppedRound(tight(4, threshold=3))
    messages = stepped.until(Phase.MASKED_INPUT)
    stepped.to_server({3: messages.pop(3)})
    before = state_of(stepped.server)
    true_h2 = read_masked_input(messages[0], stepped.params).h2
    packed = Field(stepped.params.field_bits).pack(np.array([777], np.uint32))
    lie = with_proof(stepped.params, true_h2, 3, packed).encode(SESSION)
    try:
        stepped.server.receive(3, lie)
    except secagg.RemoteProtocolError:
        assert state_of(stepped.server) == before
    return verdict(stepped.finish(messages), (0, 1, 2, 3))


@on_server
def elements_outside_the_field() -> str:
    """A packed element >= p, under a right checksum or signature: malformed, the sum untouched."""
    stepped = SteppedRound(tight(4, threshold=3))
    messages = stepped.until(Phase.MASKED_INPUT)
    bits = stepped.params.field_bits
    h2 = read_masked_input(messages[0], stepped.params).h2
    before = state_of(stepped.server)
    for value in (Field(bits).modulus, 2**bits - 1):
        packed = value.to_bytes(2, "little")
        lie = with_proof(stepped.params, h2, 3, packed).encode(SESSION)
        try:
            stepped.server.receive(3, lie)
        except secagg.RemoteProtocolError:
            assert state_of(stepped.server) == before
            continue
        return f"took the element {value}"
    return verdict(stepped.finish(messages), range(4))


@on_server
def input_of_a_party_that_is_gone() -> str:
    """A party sends its input, and then the transport says that it is gone: it is a survivor."""
    stepped = SteppedRound(tight(4, threshold=3))
    messages = stepped.until(Phase.MASKED_INPUT)
    stepped.to_server({3: messages.pop(3)})
    stepped._take(stepped.server.drop(3, "it is gone"))
    stepped.to_server(messages)
    return verdict(stepped.finish(stepped.answers([0, 1, 2])), range(4))


# -- lateness, and too few -------------------------------------------------------------------------


@on_server
def late_input() -> str:
    """A masked input in any step after the deadline: its party is not among the survivors."""
    stepped = SteppedRound(tight(4, threshold=3))
    messages = stepped.until(Phase.MASKED_INPUT)
    late = messages.pop(3)
    stepped.to_server(messages)
    stepped.deadline(Phase.MASKED_INPUT)
    while True:
        before = state_of(stepped.server)
        try:
            stepped.server.receive(3, late)
        except secagg.RemoteProtocolError:
            assert state_of(stepped.server) == before
        answers = stepped.answers([0, 1, 2])
        if PHASES[stepped.server.state] is Phase.UNMASK:
            return verdict(stepped.finish(answers), (0, 1, 2))
        stepped.to_server(answers)


@on_server
def stale_deadline() -> str:
    """The timer of an old phase runs out in the next one."""
    steps = MODE.get().phases
    for phase in steps[1:]:
        for old in steps:
            stepped = SteppedRound(tight(4, threshold=3))
            messages = stepped.until(phase)
            stepped.to_server({0: messages.pop(0)})
            before = state_of(stepped.server)
            if old is not phase:
                stepped.deadline(old)
            if state_of(stepped.server) != before:
                return f"the deadline of {old} cut {phase} short"
    return ""


@on_server
def too_few_for_the_quorum() -> str:
    """Below the quorum the server must not even announce the set."""
    for phase in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT):
        params = tight(4, threshold=3, min_survivors=4)
        network = started_network(params, drops={0: phase})
        while network.queue:
            network.deliver(network.queue.pop(0))
        events = network.server.deadline(phase)
        if any(isinstance(event, secagg.Send) for event in events):
            return f"a set below the quorum was announced after {phase}"
        assert any(isinstance(event, secagg.Failed) for event in events)
    return ""
