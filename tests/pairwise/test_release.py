"""Before a sum is opened each party's own function is asked, and its word is the last one."""

from collections.abc import Callable
from typing import Any

import pytest
from harness import (
    CONTEXT,
    SESSION,
    SteppedRound,
    client_of,
    directory_of,
    identity_of,
    input_of,
    integers,
    locals_kept,
    secrets_of,
    server_of,
)
from refusals import refused

import secagg
from secagg import Code, MemoryLedger, Mode, Phase, Policy, Server, StateError
from secagg.simulate import Cohort

KEY = bytes(32)


class Asked:
    """Notes what it is asked, and answers with a text, or raises an exception."""

    def __init__(self, answer: Any = "") -> None:
        self.answer = answer
        self.sets: list[tuple[int, ...]] = []

    def __call__(self, survivors: tuple[int, ...]) -> Any:
        self.sets.append(survivors)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def at_survivors(mode: Mode, release: Callable[..., Any]) -> SteppedRound:
    """A round in which the survivors have been told, party 3 not among them."""
    policy = Policy(allow_repeats=True, release=release)
    stepped = SteppedRound(integers(5, mode=mode), policy)
    messages = stepped.until(Phase.MASKED_INPUT)
    del messages[3]
    stepped.to_server(messages)
    stepped.deadline(Phase.MASKED_INPUT)
    return stepped


@pytest.mark.parametrize("mode", Mode)
def test_it_is_asked_once_and_last(mode: Mode) -> None:
    """With all indices, ascending; not for a set that is refused anyway, nor when asked again."""
    asked = Asked()
    stepped = at_survivors(mode, asked)
    client, message = stepped.clients[1], stepped.outbox[1]
    with pytest.raises(secagg.RemoteProtocolError):
        client.receive(message[:-1])
    assert asked.sets == []
    (answer, *_) = client.receive(message)
    assert asked.sets == [(0, 1, 2, 4)]
    assert client.receive(message)[0] == answer
    assert len(asked.sets) == 1
    never = Asked()
    other = at_survivors(mode, never)
    with refused(secagg.Aborted, Code.EXCLUDED):
        other.clients[3].receive(other.outbox[1])
    assert never.sets == []


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (
            "without 3:\ntells it",
            secagg.Aborted,
            "without 3: tells it",
        ),
        ("\n\u200b", secagg.Aborted, "a reason that cannot be printed"),
        (None, secagg.Aborted, "release returned None in place of a text"),
        (1, secagg.Aborted, "release returned 1 in place of a text"),
        (ValueError("no file"), ValueError, "no file"),
        (secagg.LocalProtocolError("busy", Code.BUSY), secagg.LocalProtocolError, "busy"),
        (
            secagg.RemoteProtocolError(2, "late", Code.OUT_OF_ORDER),
            secagg.RemoteProtocolError,
            "late",
        ),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
)
def test_a_client_that_is_told_no_answers_nothing(mode: Mode, answer, kind, text) -> None:
    """It has neither signed nor given a share, and has no secret any more."""
    stepped = at_survivors(mode, Asked(answer))
    client, message = stepped.clients[1], stepped.outbox[1]
    with pytest.raises(kind, match=text) as caught:
        client.receive(message)
    if kind is secagg.Aborted:
        assert caught.value.code is Code.POLICY_RELEASE
    assert client.state.value == "aborted"
    assert secrets_of(client) == []
    assert locals_kept(caught.value) == []
    assert client.resend() == []
    with pytest.raises(secagg.SecAggError):
        client.receive(message)


@pytest.mark.parametrize("mode", Mode)
def test_a_stored_client_is_not_resumed_without_it(mode: Mode) -> None:
    """The attempt uses nothing up; with the function it is asked as before."""
    asked = Asked("no")
    stepped = at_survivors(mode, asked)
    client, message = stepped.clients[1], stepped.outbox[1]
    stored, ledger = client.suspend(KEY), MemoryLedger()
    keys: dict[str, Any] = {}
    if mode is Mode.MALICIOUS:
        keys = {"identity": identity_of(1), "directory": directory_of(5)}
    for policy in (None, Policy(allow_repeats=True)):
        with refused(secagg.ParameterError, Code.POLICY_RELEASE, "asked before a sum is opened"):
            secagg.Client.resume(stored, KEY, ledger, policy=policy, **keys)
    policy = Policy(allow_repeats=True, release=asked)
    again = secagg.Client.resume(stored, KEY, ledger, policy=policy, **keys)
    with refused(secagg.Aborted, Code.POLICY_RELEASE, "no"):
        again.receive(message)
    assert asked.sets == [(0, 1, 2, 4)]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    "answer", ["no", "", 5, ValueError("no file"), StateError("full", Code.IO)]
)
def test_a_server_asks_before_it_tells_the_survivors(mode: Mode, answer: Any) -> None:
    """Else the round has failed, and nobody is told who is in the sum."""
    asked = Asked(answer)
    stepped = SteppedRound(integers(5, mode=mode))
    directory = directory_of(5) if mode is Mode.MALICIOUS else None
    stepped.server = Server(stepped.round, directory, release=asked)
    stepped.server.start()
    messages = stepped.until(Phase.MASKED_INPUT)
    del messages[3]
    stepped.to_server(messages)
    stepped.outbox.clear()
    assert asked.sets == []
    if isinstance(answer, Exception):
        with pytest.raises(type(answer), match=answer.args[0]):
            stepped.deadline(Phase.MASKED_INPUT)
    else:
        stepped.deadline(Phase.MASKED_INPUT)
    assert asked.sets == [(0, 1, 2, 4)]
    if answer == "":
        assert stepped.outbox.keys() == {0, 1, 2, 4}
        return
    assert not stepped.outbox
    assert stepped.server.state.value == "failed"
    if not isinstance(answer, Exception):
        (failed,) = (each for each in stepped.events if isinstance(each, secagg.Failed))
        assert failed.code is Code.POLICY_RELEASE
        assert str(answer) in failed.reason
    assert stepped.server.deadline(Phase.MASKED_INPUT) == []
    assert len(asked.sets) == 1


def test_a_stored_server_is_not_resumed_without_it() -> None:
    """With the function it is asked when the survivors are known."""
    asked, ledger = Asked(), MemoryLedger()
    stepped = SteppedRound(integers(5))
    stepped.server = Server(stepped.round, None, ledger, release=asked)
    stepped.server.start()
    messages = stepped.until(Phase.MASKED_INPUT)
    stepped.to_server({0: messages.pop(0)})
    stored = stepped.server.snapshot(KEY)
    with refused(secagg.ParameterError, Code.POLICY_RELEASE, "give it again"):
        Server.resume(stored, KEY, ledger)
    stepped.server = Server.resume(stored, KEY, ledger, release=asked)
    stepped.to_server(messages)
    assert asked.sets == [(0, 1, 2, 3, 4)]


def test_it_is_no_part_of_what_a_policy_is() -> None:
    """Two policies with other functions are equal, and anything but a function is refused."""
    assert Policy(release=Asked()) == Policy(release=Asked()) == Policy()
    assert hash(Policy(release=Asked())) == hash(Policy())
    for wrong in ("no", 5, ()):
        with refused(secagg.ParameterError, Code.ARGUMENT, "release must be a function"):
            Policy(release=wrong)
        with refused(secagg.ParameterError, Code.ARGUMENT, "release must be a function"):
            Server(integers(3).round(), release=wrong)


@pytest.mark.parametrize("mode", Mode)
def test_one_party_that_says_no_costs_its_own_answer_only(mode: Mode) -> None:
    """The others have a quorum; if too many say no, there is no sum."""
    params = integers(5, mode=mode)
    for refusing in (1, 3):
        agreed = params.round(CONTEXT, SESSION)
        policies = {
            party: Policy(release=Asked("no" if party < refusing else "")) for party in range(5)
        }
        clients = {party: client_of(agreed, party, policies[party]) for party in range(5)}
        inputs = {party: lambda party=party: (input_of(party), 1) for party in range(5)}
        run = Cohort(server_of(agreed), clients, inputs).play()
        assert run.refusals == dict.fromkeys(range(refusing), "no")
        assert set(run.refusal_codes.values()) == {Code.POLICY_RELEASE}
        assert (run.result is None) == (refusing == 3)
