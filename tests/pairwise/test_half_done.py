"""Whatever interrupts a step (out of memory, a signal), no half of it is acted on afterwards."""

from collections.abc import Callable
from typing import NoReturn

import numpy as np
import pytest
from harness import MODES, SteppedRound, expected_sum, integers, logged, secrets_of, seeded
from pairwise.restarts import KEY, resumed_client
from refusals import refused

import secagg
from secagg import (
    Client,
    Code,
    FixedPoint,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    NativeError,
    Params,
    Phase,
    Server,
)
from secagg.arithmetic.field import Field
from secagg.machine.expansion import ExpandJob
from secagg.machine.wire import MessageType
from secagg.pairwise.server_steps import ServerSteps
from secagg.pairwise.transitions import PHASES, ClientState, ServerState
from secagg.pairwise.unmasking import Unmasking
from secagg.primitives.secret import Secret

Patch = pytest.MonkeyPatch
STEPS = {  # what a client is told -> the secret that is wiped last in that step
    Phase.ADVERTISE_KEYS: "channel_secret",
    Phase.SHARE_KEYS: "mask_secret",
}


def staged(mode: Mode, phase: Phase) -> SteppedRound:
    """Up to the server's answer to a phase."""
    stepped = SteppedRound(integers(4, threshold=3, mode=mode))
    messages = stepped.until(phase)
    stepped.to_server(messages)
    return stepped


def interrupted(patch: Patch, which: Secret) -> None:
    """The next time that this secret is wiped memory is out, half-way."""
    true = Secret.wipe

    def wipe(self: Secret) -> None:
        if self is which and which:
            self._data[:] = bytes(len(self._data))
            patch.setattr(Secret, "wipe", true)
            raise MemoryError
        true(self)

    patch.setattr(Secret, "wipe", wipe)


@pytest.mark.parametrize("phase", STEPS)
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_client_that_was_interrupted_is_dead(
    mode: Mode, phase: Phase, monkeypatch: Patch
) -> None:
    """A secret of zeros must not serve for the repeated message: the round is over for it."""
    stepped = staged(mode, phase)
    client = stepped.clients[0]
    interrupted(monkeypatch, getattr(client._memory, STEPS[phase]))
    with pytest.raises(MemoryError):
        client.receive(stepped.outbox[0])
    assert client.state is ClientState.ABORTED
    assert secrets_of(client) == []
    with pytest.raises(secagg.RemoteProtocolError):
        client.receive(stepped.outbox[0])


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_an_interrupted_input_is_not_masked_again(mode: Mode, monkeypatch: Patch) -> None:
    """The input that left, or may have left, is the only one under these masks."""
    stepped = staged(mode, Phase.SHARE_KEYS)
    client = stepped.clients[0]
    client.receive(stepped.outbox[0])
    interrupted(monkeypatch, client._memory.mask_keys[0])
    with pytest.raises(MemoryError):
        client.submit(np.arange(4))
    (said,) = client.resend()
    with pytest.raises(LocalProtocolError):
        client.submit(np.arange(4) + 1)
    assert client.resend() == [said]
    again = resumed_client(client.suspend(KEY), client, MemoryLedger(), seeded("again"))
    assert again.resend() == [said]


def refuses_another_context(client: Client) -> None:
    with pytest.raises(secagg.Aborted):
        client.expect(bytes(32))


ENDS: dict[str, tuple[Callable[[Client], object], ClientState]] = {
    "withdraw": (Client.withdraw, ClientState.WITHDRAWN),
    "wipe": (Client.wipe, ClientState.ABORTED),
    "expect": (refuses_another_context, ClientState.ABORTED),
    "suspend": (lambda client: client.suspend(KEY), ClientState.SUSPENDED),
}


@pytest.mark.parametrize("cause", ["the log", "memory"])
@pytest.mark.parametrize("name", ENDS)
def test_a_client_whose_end_was_interrupted_has_no_secret(
    name: str, cause: str, monkeypatch: Patch
) -> None:
    """By a log handler that raises, as by Ctrl-C within it; or when half of them are wiped."""
    stepped = staged(Mode.SEMI_HONEST, Phase.SHARE_KEYS)
    client = stepped.clients[0]
    client.receive(stepped.outbox[0])
    end, state = ENDS[name]
    if (name, cause) == ("suspend", "the log"):  # it is written first: the bytes are not lost
        state = client.state
    if cause == "memory":
        interrupted(monkeypatch, client._memory.mask_keys[0])
    with logged(raises if cause == "the log" else bool), pytest.raises(MemoryError):
        end(client)
    assert client.state is state
    if state is ClientState.AWAITING_INPUT:
        assert client.suspend(KEY)
    assert secrets_of(client) == []
    assert state is ClientState.AWAITING_INPUT or client.resend() == []


def raises() -> NoReturn:
    raise MemoryError


def test_a_log_that_raises_loses_no_message() -> None:
    """It is written last in a call: the message that was made can be had again."""
    stepped = SteppedRound(integers(4, threshold=3))
    client = stepped.clients[0]
    with logged(raises), pytest.raises(MemoryError):
        client.start()
    (hello,) = client.resend()
    stepped.to_server({0: hello.payload, **stepped.advertise([1, 2, 3])})  # type: ignore[union-attr]
    stepped.to_server(stepped.answers())
    with logged(raises), pytest.raises(MemoryError):
        client.receive(stepped.outbox[0])
    assert client.resend() == [secagg.InputNeeded()]
    with logged(raises), pytest.raises(MemoryError):
        client.submit(np.arange(4))
    assert not any(client._memory.mask_keys)
    (masked,) = client.resend()
    assert masked.payload[3] == MessageType.MASKED_INPUT  # type: ignore[union-attr]


def test_a_server_whose_end_was_interrupted_has_no_sum() -> None:
    """The log handler raises once more when the failure is logged."""
    stepped = SteppedRound(integers(4, threshold=3))
    messages = stepped.until(Phase.MASKED_INPUT)
    for party in range(3):
        stepped.server.receive(party, messages[party])
    with logged(raises), pytest.raises(MemoryError):
        stepped.server.receive(3, messages[3])
    assert stepped.server.state is ServerState.FAILED
    assert stepped.server._memory.total.size == 0


def test_a_wiped_secret_is_not_zeros(monkeypatch: Patch) -> None:
    """Wiping that stops half-way leaves nothing that looks like a secret."""

    class Stuck(bytearray):
        def clear(self) -> None:
            raise MemoryError

    secret = Secret(bytes(range(32)))
    secret._data = Stuck(secret._data)
    secret.wipe()
    assert not secret
    with pytest.raises(ValueError, match="wiped"):
        secret.expose()


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_server_counts_no_vector_twice(mode: Mode, monkeypatch: Patch) -> None:
    """One that was added when the call was interrupted: the round ends, rather than guess."""
    stepped = SteppedRound(integers(4, threshold=3, mode=mode))
    messages = stepped.until(Phase.MASKED_INPUT)
    true = Field.unpack_add

    def unpack_add(self: Field, acc: np.ndarray, data: bytes) -> None:
        true(self, acc, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(Field, "unpack_add", unpack_add)
    with pytest.raises(KeyboardInterrupt):
        stepped.server.receive(0, messages[0])
    monkeypatch.undo()
    assert stepped.server.state is ServerState.FAILED
    assert stepped.server._memory.total.size == 0
    with pytest.raises(secagg.RemoteProtocolError):
        stepped.server.receive(0, messages[0])


def test_a_server_takes_no_mask_off_twice(monkeypatch: Patch) -> None:
    """The value of a job that was interrupted after it was taken from the sum."""
    stepped = SteppedRound(integers(4, threshold=3))
    messages = stepped.until(Phase.UNMASK)
    events = [
        event for party in range(4) for event in stepped.server.receive(party, messages[party])
    ]
    (first,) = [event for event in events if isinstance(event, secagg.Work)]
    (work,) = stepped.server.complete(first.job, first.job.run())
    assert isinstance(work, secagg.Work)
    assert isinstance(work.job, ExpandJob)
    true = Unmasking.take

    def take(self: Unmasking, job: object, value: object) -> None:
        true(self, job, value)  # type: ignore[arg-type]
        raise MemoryError

    monkeypatch.setattr(Unmasking, "take", take)
    with pytest.raises(MemoryError):
        stepped.server.complete(work.job, work.job.run())
    monkeypatch.undo()
    assert stepped.server.state is ServerState.FAILED
    assert stepped.server._unmasking is None
    assert stepped.server.resend() == []
    assert stepped.server.complete(work.job, work.job.run()) == []


@pytest.mark.parametrize("given", [b"", bytes(31), bytes(33), bytearray(32), None])
@pytest.mark.parametrize("asked", range(5))
def test_short_randomness_is_refused(asked: int, given: object) -> None:
    """The native core reads 32 bytes, whatever a source gives: it must give them."""
    params = Params(4, 4, FixedPoint(clip=1.0), threshold=3)
    stepped = SteppedRound(params)
    source = seeded("source")
    calls = 0

    def random(size: int) -> bytes:
        nonlocal calls
        calls += 1
        return given if calls == asked + 1 else source(size)  # type: ignore[return-value]

    def play() -> None:
        stepped.clients[0] = Client(stepped.round, 0, random=random)
        stepped.to_server(stepped.advertise())
        stepped.to_server(stepped.answers())
        stepped.answers([0])

    with refused(secagg.ParameterError, Code.RANDOMNESS):
        play()
    assert calls == asked + 1


@pytest.mark.parametrize("step", ["rebuild", "result"])
def test_a_server_that_cannot_go_on_fails(step: str, monkeypatch: Patch) -> None:
    """The core reports a status that should be impossible: no unmasked sum stays in memory."""
    stepped = SteppedRound(integers(4, threshold=3))
    messages = stepped.until(Phase.UNMASK)

    def broken(self: ServerSteps, *_: object) -> NoReturn:
        raise NativeError("status -9", Code.NATIVE)

    monkeypatch.setattr(ServerSteps, step, broken)

    def play() -> None:
        for party in range(4):
            events = stepped.server.receive(party, messages[party])
            while events:
                (event,) = events
                assert isinstance(event, secagg.Work)
                events = stepped.server.complete(event.job, event.job.run())

    with pytest.raises(NativeError):
        play()
    assert stepped.server.state is ServerState.FAILED
    assert stepped.server._memory.total.size == 0
    assert not stepped.server._memory.answers


@pytest.mark.parametrize("party", [True, 1.0, "1", None, b"1"])
def test_a_party_is_an_int(party: object) -> None:
    """Anything that equals one would be kept beside it."""
    stepped = SteppedRound(integers(4, threshold=3))
    message = stepped.clients[1].start()
    with refused(LocalProtocolError, Code.ARGUMENT):
        stepped.server.receive(party, message)  # type: ignore[arg-type]
    assert PHASES[stepped.server.state] is Phase.ADVERTISE_KEYS
    assert isinstance(stepped.server, Server)
    assert stepped.finish({1: message, **stepped.advertise([0, 2, 3])}).result is not None
    assert stepped.events[-1].result.total.tolist() == expected_sum(range(4))  # type: ignore[attr-defined]
