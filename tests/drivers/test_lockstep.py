"""A round over a transport that asks and is answered: the same bytes, and no fault costs more."""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drivers.responders import (
    KEY,
    Fault,
    Transport,
    new_server,
    responders_of,
    survivors_of,
)
from harness import MODES, SESSION, client_of, directory_of, input_of, integers, server_of
from levels import amount
from refusals import refused

import secagg
from secagg import (
    SERVER,
    Code,
    Completed,
    Dropped,
    Failed,
    Integers,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    Once,
    ParameterError,
    Params,
    Phase,
    PhaseEnded,
    PhaseStarted,
    Result,
    RoundEnded,
    Rounds,
    Send,
    Server,
    StateError,
    lockstep,
)
from secagg.drivers.envelope import Hello, Refusal, seal
from secagg.machine.wire import MessageType
from secagg.simulate import Cohort

SPARSE = Params(6, 4, secagg.Integers(-1000, 1000), 4, min_survivors=6, colluders=0, degree=4)
EVERYBODY = (0, 1, 2, 3)


def four(mode: Mode = Mode.SEMI_HONEST) -> Params:
    """Four parties, of which three are enough."""
    return integers(4, threshold=3, mode=mode, colluders=1)


either_mode = pytest.mark.parametrize("mode", MODES, ids=str)

# ---- the round ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [four(), four(Mode.MALICIOUS), SPARSE], ids=["semi-honest", "malicious", "sparse"]
)
def test_the_bytes_are_those_of_a_round_by_hand(params: Params) -> None:
    """Both directions, in every phase, and nothing else is sent."""
    clients = responders_of(params)
    agreed = clients[0].client.round
    cohort = Cohort(
        server_of(agreed),
        {party: client_of(agreed, party) for party in clients},
        {party: lambda party=party: (input_of(party), 1) for party in clients},
        keep_transcript=True,
    )
    known = {(one.phase, one.sender, one.receiver, one.payload) for one in cohort.play().transcript}
    transport = Transport(clients)
    outcome = lockstep(server_of(agreed), transport)
    assert survivors_of(outcome) == tuple(clients)
    down = {
        (phase, SERVER, to, sent) for phase, all_ in transport.calls for to, sent in all_.items()
    }
    offers = {one for one in down if one[3] == agreed.encode()}
    # `Cohort` counts a message of the server to the phase that it ends.
    order = dict(zip(params.mode.phases[1:], params.mode.phases[:-1], strict=True))
    down = {(order[phase], *one) for phase, *one in down - offers}
    up = {(phase, party, SERVER, answer) for phase, party, answer in transport.said}
    assert up | down == known
    assert len(offers) == params.cohort
    assert [phase for phase, _ in transport.calls] == list(params.mode.phases)
    assert transport.closed == len(transport.calls)


@dataclass
class Greeter:
    """A server of another protocol, which speaks first, and adds numbers in the clear."""

    cohort: int
    session: bytes = SESSION
    context: bytes = bytes(32)
    offer: bytes = b"offer"
    largest_message: int = 8
    phases: tuple[Phase, ...] = (Phase.UNMASK, Phase.MASKED_INPUT)
    phase: Phase | None = None
    left: dict[int, bytes] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    numbers: dict[int, int] = field(default_factory=dict)
    failures: int = 1  # of its ledger

    @property
    def status(self) -> SimpleNamespace:
        return SimpleNamespace(awaited=tuple(self.left), dropped=())

    def awaits(self, party: int) -> bool:
        return party in self.left

    def start(self) -> Sequence[object]:
        return self._open(Phase.UNMASK, b"begin", range(self.cohort))

    def receive(self, party: int, data: bytes) -> Sequence[object]:
        if self.phase is Phase.MASKED_INPUT:
            self.numbers[party] = int(data)
        self.left.pop(party)
        return [] if self.left or self.phase is None else self.deadline(self.phase)

    def drop(self, party: int, reason: str, code: Code = Code.GONE) -> Sequence[object]:
        self.gone.add(party)
        self.left.pop(party, None)
        return [] if self.left or self.phase is None else self.deadline(self.phase)

    def deadline(self, phase: Phase) -> Sequence[object]:
        if self.failures:
            self.failures -= 1
            raise StateError("the disk is full")
        silent = [Dropped(party, "silent", Code.TIMEOUT) for party in sorted(self.left.keys())]
        if phase is Phase.UNMASK:
            there = [party for party in range(self.cohort) if party not in {*self.left, *self.gone}]
            return [*silent, *self._open(Phase.MASKED_INPUT, b"give", there)]
        self.phase = None
        total = np.array([sum(self.numbers.values())])
        parties = tuple(sorted(self.numbers))
        return [*silent, Completed(Result(total, len(parties), total / 1.0, parties))]

    def resend(self, party: int | None = None) -> Sequence[object]:
        return [Send(to, data) for to, data in self.left.items() if party in (None, to)]

    def _open(self, phase: Phase, payload: bytes, parties: Sequence[int]) -> Sequence[object]:
        self.phase, self.left = phase, dict.fromkeys(parties, payload)
        return [*self.resend(), PhaseStarted(phase)]


def test_a_server_of_another_protocol_that_speaks_first() -> None:
    """The offer and its first message are two exchanges of one phase; to the offer none answers.

    A ledger that fails after the last greeting leaves nobody to ask.
    """
    calls = []
    words = {b"offer": b"", b"begin": b"hello"}

    def exchange(phase: Phase, messages: Mapping[int, bytes]) -> Iterator[tuple[int, object]]:
        calls.append((phase, messages))
        for party, message in messages.items():
            lost = (party, message) in {(3, b"offer"), (2, b"begin")}
            yield party, OSError() if lost else words.get(message, b"%d" % (party + 1))

    server = Greeter(4)
    with refused(StateError, Code.LEDGER):
        lockstep(server, exchange)  # type: ignore[arg-type]
    outcome = lockstep(server, exchange)  # type: ignore[arg-type]
    assert isinstance(outcome, Completed)
    assert outcome.result.total.tolist() == [3]
    assert calls == [
        (Phase.UNMASK, dict.fromkeys(range(4), b"offer")),
        (Phase.UNMASK, dict.fromkeys(range(3), b"begin")),
        (Phase.MASKED_INPUT, dict.fromkeys(range(2), b"give")),
    ]


# ---- faults of parties --------------------------------------------------------------------


def _altered(answer: bytes) -> bytes:
    """Another message of the same party and step, which is well-formed."""
    return answer[:-1] + bytes([answer[-1] ^ 1])


REFUSAL = Refusal(SESSION, "policy", "no")
# What comes in place of an answer: how, the code with which its party is dropped, if it is.
FAULTS: dict[str, tuple[Fault, Code | None]] = {
    "lost": (lambda answer: [ConnectionError("reset")], Code.GONE),
    "timed out": (lambda answer: [TimeoutError()], Code.TIMEOUT),
    "nothing": (lambda answer: [b""], Code.GONE),
    "malformed": (lambda answer: [answer[:-1]], Code.MALFORMED),
    "of another type": (lambda answer: [answer.hex()], Code.MALFORMED),  # type: ignore[list-item]
    "of another version": (lambda answer: [answer[:2] + b"\2" + answer[3:]], Code.VERSION),
    "a server's envelope": (lambda answer: [seal(secagg.Invitation(b"o", 0))], Code.MALFORMED),
    "refused": (lambda answer: [seal(REFUSAL)], Code.REFUSED),
    "of another session": (lambda answer: [answer[:4] + bytes(16) + answer[20:]], Code.TIMEOUT),
    "another session refused": (
        lambda answer: [seal(replace(REFUSAL, session=b"s" * 16))],
        Code.TIMEOUT,
    ),
    "a greeting": (lambda answer: [seal(Hello())], Code.TIMEOUT),
    "twice": (lambda answer: [answer, answer], None),
    "two different": (lambda answer: [answer, _altered(answer)], None),
    "then lost": (lambda answer: [answer, ConnectionError()], None),
    "then malformed": (lambda answer: [answer, b"junk"], None),
    "then nothing": (lambda answer: [answer, b""], None),
    "lost, then there": (lambda answer: [ConnectionError(), answer], None),
    "malformed, then right": (lambda answer: [answer[:-1], answer], None),
}
KINDS = [*FAULTS, "late", "silent"]
STEPS = [
    (mode, phase)
    for mode in MODES
    for phase in mode.phases
    if mode is Mode.SEMI_HONEST
    or phase is Phase.CONSISTENCY
    or amount("every fault of a transport in both modes")
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mode", "phase"), STEPS, ids=str)
def test_a_fault_costs_at_most_that_contribution(mode: Mode, phase: Phase, kind: str) -> None:
    """The others get their exact sum, and all that was said later changes nothing.

    The faulty party comes first, so that the others are asked after its fault.
    """
    fault, code = FAULTS.get(kind, (None, Code.TIMEOUT))
    phases: list[PhaseEnded] = []
    ends: list[RoundEnded] = []

    def observe(event: PhaseEnded | RoundEnded) -> None:
        (phases if isinstance(event, PhaseEnded) else ends).append(event)  # type: ignore[arg-type]

    step = (phase, 0)
    transport = Transport(
        responders_of(four(mode)),
        {step: fault or (lambda answer: [])},
        {step} if kind == "late" else set(),
    )
    outcome = lockstep(new_server(four(mode)), transport, observe=observe)
    counted = phase in (Phase.CONSISTENCY, Phase.UNMASK)  # its input is in the sum by then
    assert survivors_of(outcome) == (EVERYBODY if counted or code is None else (1, 2, 3))
    assert [one.phase for one in phases] == list(mode.phases)
    ended = phases[mode.phases.index(phase)]
    if phase is not Phase.UNMASK:  # nobody is dropped in it
        assert ended.dropped == (((0, code),) if code else ())
        assert {party: drop.code for party, drop in ends[0].drops.items()} == dict(ended.dropped)
    assert ended.answered == (4 if code is None else 3)
    assert ends[0].refusals == ({0: REFUSAL} if kind == "refused" else {})
    assert len(ends) == 1
    later = mode.phases[mode.phases.index(phase) + 1 :]
    asked = [sorted(messages) for at, messages in transport.calls if at in later]
    assert asked == [list(EVERYBODY) if code is None else [1, 2, 3]] * len(later)
    assert transport.closed == len(transport.calls)


def test_an_answer_of_an_unknown_party_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """As is an exception about one; it is logged, and the round goes on."""
    transport = Transport(responders_of(four()))

    def exchange(phase: Phase, messages: Mapping[int, bytes]) -> Iterator[tuple[int, object]]:
        yield 7, b"?"
        yield -1, OSError()
        for party, answer in transport(phase, messages):
            yield np.int64(party), answer  # type: ignore[misc]

    assert survivors_of(lockstep(new_server(four()), exchange)) == EVERYBODY  # type: ignore[arg-type]
    assert [one.getMessage() for one in caplog.records if "left out" in one.getMessage()] == [
        f"{SESSION.hex()}: an answer was left out: there is no party 7, only 0..3"
    ] * 4


def test_a_party_that_was_not_asked_changes_nothing() -> None:
    """One that was dropped answers in every later phase; that it is lost is no news."""
    transport = Transport(responders_of(four()), {(Phase.SHARE_KEYS, 3): lambda answer: []})

    def exchange(phase: Phase, messages: Mapping[int, bytes]) -> Iterator[tuple[int, object]]:
        if phase is Phase.UNMASK:
            yield 3, transport.clients[3].first
            yield 3, transport.clients[0].first
            yield 3, b"junk"
            yield 3, OSError()
        yield from transport(phase, messages)

    assert survivors_of(lockstep(new_server(four()), exchange)) == (0, 1, 2)  # type: ignore[arg-type]


# ---- an exchange that is none ---------------------------------------------------------------


async def coroutine(phase: Phase, messages: Mapping[int, bytes]) -> list[object]:
    """Answers as somebody would write it who has asyncio in mind."""
    return []


WRONG: dict[str, tuple[Callable[..., object], Code, str]] = {
    "nothing": (lambda phase, messages: None, Code.ARGUMENT, "returned NoneType"),
    "a coroutine": (coroutine, Code.ARGUMENT, "returned coroutine.*asyncio"),
    "a dict": (lambda phase, messages: messages, Code.ARGUMENT, "not int"),
    "texts": (lambda phase, messages: ["ab"], Code.ARGUMENT, "not str"),
    "names": (
        lambda phase, messages: [("site-1", b"")],
        Code.ARGUMENT,
        "not an index of type str",
    ),
    "keys of JSON": (lambda phase, messages: [("0", b"")], Code.ARGUMENT, "index of type str"),
    "numbers of nodes": (
        lambda phase, messages: [(2**40, answer) for answer in messages.values()],
        Code.UNKNOWN_PARTY,
        "answered for party 1099511627776.*keys of the mapping",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_exchange_is_a_typed_error(kind: str) -> None:
    """The server stays as it was, and the round goes on with a right one."""
    exchange, code, text = WRONG[kind]
    server = new_server(four())
    with refused(LocalProtocolError, code, text):
        lockstep(server, exchange)  # type: ignore[arg-type]
    assert server.phase is Phase.ADVERTISE_KEYS
    assert survivors_of(lockstep(server, Transport(responders_of(four())))) == EVERYBODY


def test_a_wrong_server_exchange_or_observer_is_a_typed_error() -> None:
    """Which says what to pass."""
    plan = Rounds("trial", Integers(0, 9)).plan(["a", "b", "c"], 2, 0)
    server, exchange = new_server(four()), Transport({})
    for wrong, text in (
        (lambda: lockstep(None, exchange), "server must be .* not of type NoneType"),  # type: ignore[arg-type]
        (lambda: lockstep(plan, exchange), r"not of type Plan; .* `plan\.server`"),  # type: ignore[arg-type]
        (lambda: lockstep(server, None), "exchange must be a function"),  # type: ignore[arg-type]
        (lambda: lockstep(server, exchange, observe=3), "observe must be a function"),  # type: ignore[arg-type]
    ):
        with refused(ParameterError, Code.ARGUMENT, match=text):
            wrong()


def test_the_lines_of_the_document_as_json() -> None:
    """A line about a connection has no session: a peer's name stands at its beginning."""
    document = (Path(__file__).parents[2] / "docs" / "DRIVERS.md").read_text()
    [block] = re.findall(r"```python\n(class Json.*?)```", document, re.DOTALL)
    names: dict[str, Any] = {"json": json, "logging": logging, "re": re}
    exec(block, names)  # noqa: S102
    for line, session in ((f"{SESSION.hex()}: over", SESSION.hex()), ("site-a: is here", None)):
        record = logging.LogRecord("secagg.aio", logging.INFO, "", 0, line, None, None)
        written = json.loads(names["Json"]().format(record))
        assert (written["session"], written["text"]) == (session, line)


def test_a_round_that_is_over_is_refused() -> None:
    """And so is a server without an outcome that is in no phase: no call runs for ever."""
    server = new_server(four())
    lockstep(server, Transport(responders_of(four())))
    with refused(LocalProtocolError, Code.OUT_OF_ORDER, "completed"):
        lockstep(server, Transport({}))
    broken = Greeter(2)
    broken.start = lambda: []  # type: ignore[method-assign]
    with refused(LocalProtocolError, Code.OUT_OF_ORDER, "no phase"):
        lockstep(broken, Transport({}))  # type: ignore[arg-type]


@either_mode
@pytest.mark.parametrize("after", [0, 2])
def test_an_exchange_that_raises_can_be_followed_by_another(mode: Mode, after: int) -> None:
    """Its exception passes unchanged, and nobody who has answered is asked again."""
    server, transport = new_server(four(mode)), Transport(responders_of(four(mode)))
    error, left = OSError("the network is down"), set(mode.phases)

    def exchange(phase: Phase, messages: Mapping[int, bytes]) -> Iterator[tuple[int, object]]:
        for said, answer in enumerate(transport(phase, messages)):
            if said == after and phase in left:
                left.remove(phase)
                raise error
            yield answer  # type: ignore[misc]

    for phase in mode.phases:
        with pytest.raises(OSError, match="down") as caught:
            lockstep(server, exchange)  # type: ignore[arg-type]
        assert caught.value is error
        assert (server.phase, server.status.awaited) == (phase, EVERYBODY[after:])
    assert survivors_of(lockstep(server, exchange)) == EVERYBODY  # type: ignore[arg-type]
    asked = [(phase, tuple(messages)) for phase, messages in transport.calls]
    assert asked == [(at, who) for at in mode.phases for who in (EVERYBODY, EVERYBODY[after:])]


def test_a_message_that_was_cut_off_on_its_way_costs_nothing() -> None:
    """A client refuses it, is asked again by its transport, and gives the right answer."""
    params = integers(4, threshold=3)
    cut = seal(Refusal(SESSION, "malformed", "ends too early"))
    transport = Transport(responders_of(params), {(Phase.SHARE_KEYS, 0): lambda one: [cut, one]})
    told: list[object] = []
    outcome = lockstep(new_server(params), transport, observe=told.append)
    assert survivors_of(outcome) == (0, 1, 2, 3)
    assert (told[-1].drops, told[-1].refusals) == ({}, {})  # type: ignore[attr-defined]


def test_a_phase_ends_as_soon_as_all_have_answered() -> None:
    """A generator that never ends is closed, and so is one that still has answers."""
    transport, closed = Transport(responders_of(four())), []

    def exchange(phase: Phase, messages: Mapping[int, bytes]) -> Iterator[tuple[int, object]]:
        try:
            yield from transport(phase, messages)
            while True:
                yield 0, b"and again"
        finally:
            closed.append(phase)

    assert survivors_of(lockstep(new_server(four()), exchange)) == EVERYBODY  # type: ignore[arg-type]
    assert closed == list(Mode.SEMI_HONEST.phases)


@pytest.mark.parametrize("phase", Mode.SEMI_HONEST.phases, ids=str)
def test_an_exchange_that_raises_when_it_is_closed(phase: Phase) -> None:
    """Before the end that passes unchanged, and the round can go on; it takes no sum away."""
    server, transport = new_server(four()), Transport(responders_of(four()))

    def exchange(at: Phase, messages: Mapping[int, bytes]) -> Iterator[tuple[int, object]]:
        try:
            yield from transport(at, messages)
        finally:
            if at is phase:
                raise OSError("while closing")

    if phase is Phase.UNMASK:
        outcome = lockstep(server, exchange)  # type: ignore[arg-type]
    else:
        with pytest.raises(OSError, match="while closing"):
            lockstep(server, exchange)  # type: ignore[arg-type]
        outcome = lockstep(server, transport)
    assert survivors_of(outcome) == EVERYBODY


def test_a_list_is_an_exchange_too() -> None:
    """All answers at once, as of a call that gathers them; the mapping is its own."""
    told: list[PhaseEnded] = []
    lost = {(Phase.SHARE_KEYS, 3): FAULTS["lost"][0]}
    transport = Transport(responders_of(four()), lost)

    def exchange(phase: Phase, messages: dict[int, bytes]) -> list[object]:
        answers: list[object] = list(transport(phase, messages))
        messages.clear()
        return answers

    outcome = lockstep(new_server(four()), exchange, observe=told.append)  # type: ignore[arg-type]
    assert survivors_of(outcome) == (0, 1, 2)
    assert told[1].dropped == ((3, Code.GONE),)


def test_the_mailbox_of_the_document() -> None:
    """The exchange for clients that poll carries a round, and one of them leaves it.

    A request that comes twice takes no message away; what nobody asked for is not kept.
    """
    document = (Path(__file__).parents[2] / "docs" / "DRIVERS.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    names: dict[str, Any] = {}
    exec(next(block for block in blocks if "class Mailbox" in block), names)  # noqa: S102
    mailbox, over = names["Mailbox"](seconds=60), Event()
    clients = responders_of(four())

    def poll(party: int) -> None:
        last = b""
        while not over.wait(0.001):
            message = mailbox.get(party)
            if message and last:
                mailbox.post(party, last)
                assert mailbox.get(party)
            if message and party == 3 and message[3] == MessageType.DELIVERY:
                mailbox.post(party, seal(REFUSAL))
                return
            if message:
                last = clients[party].answer(message)
                mailbox.post(party, last)

    with ThreadPoolExecutor(4) as pool:
        polls = [pool.submit(poll, party) for party in clients]
        try:
            assert survivors_of(lockstep(new_server(four()), mailbox)) == (0, 1, 2)
        finally:
            over.set()
        for one in polls:
            one.result()
    for answer in (b"1", b"2"):
        mailbox.post(0, answer)
    assert mailbox.answers.empty()
    mailbox = names["Mailbox"](seconds=0.01)
    assert isinstance(lockstep(new_server(four()), mailbox), Failed)


# ---- jobs, ledger and store ------------------------------------------------------------------


def test_jobs_run_on_an_executor() -> None:
    """With the same sum."""
    with ThreadPoolExecutor(2) as pool:
        outcome = lockstep(new_server(four()), Transport(responders_of(four())), pool)
    assert survivors_of(outcome) == EVERYBODY


def test_a_job_that_raises_is_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exception passes, and the next call needs nobody's answer."""
    from secagg.sharing.rebuild_job import RebuildJob

    server, transport = new_server(four()), Transport(responders_of(four()))
    with monkeypatch.context() as patch:
        patch.setattr(RebuildJob, "run", lambda job: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            lockstep(server, transport)
    assert server.phase is None
    assert survivors_of(lockstep(server, Transport({}))) == EVERYBODY


class Killed(BaseException):
    """The process is gone."""


@dataclass
class Steps:
    """A coordinator's steps, at one of which something happens; also its store.

    Attributes:
        at: the step.
        error: what is raised then.
        repeat: whether a step is repeated after that, so that it happens once only.
    """

    at: int
    error: Callable[[], BaseException] = Killed
    count: int = 0
    stored: bytes = b""
    phase: Phase | None = None
    where: str = ""

    def step(self, where: str) -> None:
        """Happens."""
        self.count += 1
        if self.count == self.at:
            self.where = where
            raise self.error()

    def keep_server(self, server: Server) -> None:
        """See `Snapshots`."""
        self.step(f"before {server.phase} is stored")
        self.stored, self.phase = server.snapshot(KEY), server.phase
        self.step(f"after {server.phase} is stored")

    def forget(self, session: bytes) -> None:
        """See `Snapshots`."""
        assert session == SESSION
        self.step("before all is removed")
        self.stored = b""
        self.step("after all is removed")

    def exchange(self, transport: Transport) -> Callable[..., Iterator[tuple[int, object]]]:
        """A transport with a step after each answer."""

        def exchange(phase: Phase, messages: Mapping[int, bytes]) -> Iterator[tuple[int, object]]:
            assert self.phase is phase, "sent before it was stored"
            for answer in transport(phase, messages):
                self.step(f"an answer of {phase}")
                yield answer

        return exchange


@either_mode
def test_a_coordinator_that_is_killed_at_any_step(mode: Mode) -> None:
    """A new process goes on from what is stored: with all inputs in an exact sum, or typed.

    There is no sum if it dies between the claim of the survivor set and its storage: then the
    ledger knows of a set that nobody may have got.
    """
    lost = []
    for at in range(1, 1000, amount("step between kills of a coordinator")):
        clients, ledger, steps = responders_of(four(mode)), MemoryLedger(), Steps(at)
        transport = Transport(clients)
        try:
            lockstep(new_server(four(mode), ledger), steps.exchange(transport), store=steps)  # type: ignore[arg-type]
        except Killed:
            pass
        else:
            assert steps.stored == b""
            break
        if not steps.stored:
            assert transport.calls == [] or steps.where == "after all is removed"
            continue
        directory = directory_of(4) if mode is Mode.MALICIOUS else None
        server = Server.resume(steps.stored, KEY, ledger, directory)
        outcome = lockstep(server, steps.exchange(Transport(clients)), store=steps)  # type: ignore[arg-type]
        if isinstance(outcome, Failed):
            assert outcome.code is Code.ROLLED_BACK
            lost.append(steps.where)
        else:
            assert survivors_of(outcome) == EVERYBODY
        assert steps.stored == b""
    assert set(lost) <= {f"before {mode.phases[3]} is stored"}
    assert amount("step between kills of a coordinator") > 1 or len(lost) == 1


@either_mode
def test_a_store_that_fails_once_at_any_step(mode: Mode) -> None:
    """Nothing is sent that is not stored; the round goes on with the next call."""
    for at in range(1, 1000, amount("step between kills of a coordinator")):
        steps = Steps(at, lambda: StateError("the disk is full"))
        server, transport = new_server(four(mode)), Transport(responders_of(four(mode)))
        exchange = steps.exchange(transport)
        try:
            outcome = lockstep(server, exchange, store=steps)  # type: ignore[arg-type]
        except StateError:
            outcome = lockstep(server, exchange, store=steps)  # type: ignore[arg-type]
        assert survivors_of(outcome) == EVERYBODY
        if steps.count < at:
            break


def test_a_store_that_cannot_forget_takes_no_sum_away(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it raises; the log says that something is left."""
    store = Steps(10**6)
    store.forget = lambda session: 1 // 0  # type: ignore[method-assign,assignment,return-value]
    transport = Transport(responders_of(four()))
    outcome = lockstep(new_server(four()), store.exchange(transport), store=store)  # type: ignore[arg-type]
    assert survivors_of(outcome) == EVERYBODY
    assert "was not removed: ZeroDivisionError" in caplog.text


def test_a_store_needs_a_ledger() -> None:
    """Else a resumed server could send a second survivor set."""
    server = server_of(responders_of(four())[0].client.round)
    with refused(LocalProtocolError, Code.NO_LEDGER, match=r"`Rounds\(home=\.\.\.\)`"):
        lockstep(server, Transport({}), store=Steps(10**6))


class FlakyLedger(MemoryLedger):
    """Fails a number of times for each kind of claims."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = dict.fromkeys(Once, times)

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`."""
        self.times[what] -= 1
        if self.times[what] >= 0:
            raise StateError("the disk is full")
        return super().claim(what, key)


@either_mode
@pytest.mark.parametrize("silent", [(), (1,)])
def test_a_ledger_that_fails(mode: Mode, silent: tuple[int, ...]) -> None:
    """All have answered, so the next calls ask nobody until it works."""
    faults = dict.fromkeys(((Phase.MASKED_INPUT, party) for party in silent), lambda answer: [])
    server = new_server(four(mode), FlakyLedger(2))
    transport = Transport(responders_of(four(mode)), faults)
    phases: list[PhaseEnded] = []
    for phase in (Phase.SHARE_KEYS, Phase.MASKED_INPUT):
        for _ in range(2):
            with refused(StateError, Code.LEDGER):
                lockstep(server, transport)
            assert server.phase is phase
    outcome = lockstep(server, transport, observe=phases.append)  # type: ignore[arg-type]
    assert survivors_of(outcome) == tuple(party for party in range(4) if party not in silent)
    assert [phase for phase, _ in transport.calls] == list(mode.phases)
    assert phases[0].dropped == tuple((party, Code.TIMEOUT) for party in silent)
