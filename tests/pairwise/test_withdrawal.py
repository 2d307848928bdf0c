"""A client with nothing to give sits the round out: the others go on, and it says nothing more."""

import pytest
from harness import (
    CONTEXT,
    MODES,
    SteppedRound,
    client_of,
    clone,
    expected_sum,
    identity_of,
    integers,
    secrets_of,
)
from pairwise.test_transitions import PARAMS, recorded
from refusals import refused

import secagg
from secagg import Client, Code, LocalProtocolError, MemoryLedger, Mode, Phase
from secagg.ledger.ledger import Once
from secagg.pairwise.transitions import ClientState

BEFORE_INPUT = list(ClientState)[: list(ClientState).index(ClientState.AWAITING_INPUT) + 1]


def asked(mode: Mode) -> SteppedRound:
    """A round in which every client has been asked for its input."""
    stepped = SteppedRound(integers(4, threshold=3, mode=mode))
    stepped.to_server(stepped.until(Phase.SHARE_KEYS))
    return stepped


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("state", BEFORE_INPUT, ids=lambda state: state.value)
def test_nothing_leaves_a_client_that_withdrew(mode: Mode, state: ClientState) -> None:
    """At any moment before its input: no secret is left, no message is answered, none repeated."""
    clients, _, messages = recorded(mode)
    client = clone(clients[state])
    client.withdraw()
    assert client.state is ClientState.WITHDRAWN
    assert not client.finished
    assert secrets_of(client) == []
    assert client.resend() == []
    for _, to, payload in messages:
        if to != 0:
            continue
        if payload[3] in clients[state]._memory.accepted:  # a repetition
            assert client.receive(payload) == []
        else:
            with refused(secagg.RemoteProtocolError, Code.OUT_OF_ORDER):
                client.receive(payload)
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        client.expect(CONTEXT)
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        client.suspend(bytes(32))  # so it cannot be resumed either


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_others_get_their_sum(mode: Mode) -> None:
    """To the server the party is silent; without a quorum the round fails as with any dropout."""
    for gone in ([2], [1, 2]):
        stepped = asked(mode)
        messages = {}
        for party in range(4):
            if party in gone:
                (event,) = stepped.clients[party].receive(stepped.outbox[party])
                assert isinstance(event, secagg.InputNeeded)
                stepped.clients[party].withdraw()
            else:
                messages |= stepped.answers([party])
        stepped.finish(messages)
        assert stepped.dropped == dict.fromkeys(gone, Code.TIMEOUT)
        if len(gone) == 1:
            assert stepped.result is not None
            assert stepped.result.survivors == (0, 1, 3)
            assert stepped.result.total.tolist() == expected_sum((0, 1, 3))
        else:
            assert stepped.failure is not None
            assert stepped.failure.code is Code.QUORUM


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_an_input_that_may_have_left_is_not_withdrawn(mode: Mode) -> None:
    """Nothing changes then; the client answers as before."""
    stepped = asked(mode)
    (masked,) = stepped.answers([0]).values()
    client = stepped.clients[0]
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        client.withdraw()
    (said,) = client.resend()
    assert isinstance(said, secagg.Send)
    assert said.payload == masked


def test_only_the_participation_is_used_up() -> None:
    """In malicious mode the same input may be given in another session, but not in this one."""
    ledger, agreed = MemoryLedger(), PARAMS[Mode.MALICIOUS].round(CONTEXT, bytes(16))
    client: Client = client_of(agreed, 0, ledger=ledger)
    client.start()
    client.withdraw()
    key = identity_of(0).verify_key
    assert not ledger.claim(Once.PARTICIPATION, key + bytes(16)), "claimed before"
    assert ledger.claim(Once.CONTRIBUTION, key + CONTEXT)
    with refused(secagg.Aborted, Code.REPEATED_PARTICIPATION):
        client_of(agreed, 0, ledger=ledger).start()
