"""Attacks of a lying server on a client: wrong headers, and offers that it must decline."""

from collections.abc import Callable
from dataclasses import replace

from harness import CONTEXT, SESSION, WILLING, client_of, seeded
from pairwise.attacks.lying_server import Liar, body, only_message, refuses
from pairwise.attacks.registry import integers, least_threshold, on_client

import secagg
from secagg import Policy
from secagg.machine.wire import MessageType
from secagg.pairwise.messages import Consistency, ShareKeys
from secagg.pairwise.transitions import CLIENT, ClientState


def _in_every_state(change: Callable[[bytes], bytes], gain: str) -> str:
    """Tries a changed message in each state that waits for one; the client must refuse it.

    Afterwards the true message must do, so the refusal cost nothing.
    """
    liar = Liar(integers(3, threshold=least_threshold(3)))
    victim, everybody = liar.clients[0], liar.everybody
    signatures: dict[int, bytes] = {}
    for state, row in CLIENT[liar.params.mode].items():
        if not any(isinstance(cause, MessageType) for cause in row):
            continue
        assert victim.state is state
        if state is ClientState.AWAITING_ROSTER:
            message = liar.share(everybody[1:]).roster()
        elif state is ClientState.AWAITING_DELIVERY:
            message = liar.delivery(0, everybody)
        elif state is ClientState.AWAITING_SURVIVORS:
            message = liar.survivors(everybody)
        else:
            message = liar.signatures(signatures)
        if not refuses(victim, change(message)):
            return f"{gain}, {state.value}"
        events = victim.receive(message)
        if state is ClientState.AWAITING_ROSTER:
            liar.shared[0] = ShareKeys.read(body(only_message(events)), [1, 2])
        elif state is ClientState.AWAITING_DELIVERY:
            liar.submit(0)
        elif victim.state is ClientState.AWAITING_SIGNATURES:
            liar.deliver(everybody, everybody[1:])
            signatures = {party: liar.sign(party, everybody) or b"" for party in everybody[1:]}
            signatures[0] = Consistency.read(body(only_message(events))).signature
    assert victim.state is ClientState.FINISHED
    return ""


@on_client
def message_of_another_session() -> str:
    """The right message with the header of another session."""
    return _in_every_state(
        lambda data: data[:4] + bytes([data[4] ^ 1]) + data[5:], "took a message of another session"
    )


@on_client
def message_of_another_version() -> str:
    """The right message with another version byte."""
    for version in (0, 2, 255):

        def change(data: bytes, version: int = version) -> bytes:
            return data[:2] + bytes([version]) + data[3:]

        if gain := _in_every_state(change, f"took a message of version {version}"):
            return gain
    return ""


@on_client
def message_with_another_magic() -> str:
    """The right message behind another magic."""
    return _in_every_state(lambda data: b"SB" + data[2:], "took a message of another format")


@on_client
def message_with_more_bytes() -> str:
    """The right message and a byte."""
    return _in_every_state(lambda data: data + b"\0", "took a message with a byte too many")


# -- offers ----------------------------------------------------------------------------------------


@on_client
def pair_without_consent() -> str:
    """A round of two, in which each party learns the other's input, without being asked."""
    agreed = integers(2, threshold=2).round(CONTEXT, SESSION)
    try:
        client_of(agreed, 0, Policy(), seeded(0))
    except secagg.ParameterError:
        return ""
    return "joined a cohort of two"


@on_client
def other_context_than_wanted() -> str:
    """An offer about another model than the client insists on."""
    agreed = integers(3, threshold=least_threshold(3)).round(bytes(32), SESSION)
    try:
        client_of(agreed, 0, replace(WILLING, context=CONTEXT), seeded(0))
    except secagg.ParameterError:
        return ""
    return "joined a round about something else"


@on_client
def other_parameters_than_wanted() -> str:
    """An offer with a lower threshold than the client insists on."""
    offered, wanted = (
        integers(5, threshold=least_threshold(5)),
        integers(5, threshold=least_threshold(5) + 1),
    )
    try:
        client_of(offered.round(CONTEXT, SESSION), 0, Policy(params=wanted), seeded(0))
    except secagg.ParameterError:
        return ""
    return "joined a round with other parameters"
