"""The part that drivers of a server share: counts, stored phases, parties that come and go."""

import gc
import logging
import re
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from types import SimpleNamespace

import pytest
from drivers.responders import (
    Responder,
    Transport,
    new_server,
    responders_of,
    survivors_of,
)
from harness import CONTEXT, MODES, SESSION, client_of, integers, server_of
from levels import amount, runs_at
from refusals import refused

from secagg import (
    Code,
    Completed,
    Failed,
    Integers,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    Params,
    Phase,
    PhaseEnded,
    RoundEnded,
    Send,
    Server,
    StateError,
    lockstep,
)
from secagg.drivers.conductor import RESEND_SECONDS, RESENDS, Conductor
from secagg.drivers.envelope import NO_SESSION, Hello, Invitation, Over, Refusal, Rejection, seal
from secagg.drivers.log_quota import MOST_LINES
from secagg.drivers.per_object import PerObject

FOUR = integers(4, threshold=3)
A, S, M, U = Mode.SEMI_HONEST.phases


class Played:
    """A round that a test moves by hand: what its conductor said, and what is on its way."""

    def __init__(self, mode: Mode = Mode.SEMI_HONEST, server: Server | None = None) -> None:
        self.params = integers(4, threshold=3, mode=mode, colluders=1)
        self.clients = responders_of(self.params)
        self.events: list[PhaseEnded | RoundEnded] = []
        self.conductor = Conductor(server or new_server(self.params), observe=self.events.append)
        self.outbox = {one.to: one.payload for one in self.conductor.begin()}

    def answers(self) -> dict[int, bytes]:
        """Returns the answers of the parties that were sent something."""
        return {party: self.clients[party].answer(sent) for party, sent in self.outbox.items()}

    def take(self, party: int, answer: bytes | BaseException, **more: bool) -> list[Send]:
        """Hands an answer over."""
        return self.note(self.conductor.take(party, answer, **more))

    def note(self, sends: list[Send]) -> list[Send]:
        """Keeps what is on its way."""
        if sends:
            self.outbox = {one.to: one.payload for one in sends}
        return sends

    def until(self, phase: Phase) -> None:
        """Plays honestly up to this phase."""
        while self.conductor.phase is not phase:
            for party, answer in self.answers().items():
                self.take(party, answer)

    def finish(self) -> tuple[int, ...]:
        """Plays to the end; returns whose inputs are in the sum."""
        while self.conductor.outcome is None:
            at = self.conductor.phase
            for party, answer in self.answers().items():
                self.take(party, answer)
            if self.conductor.phase is at and at is not None:
                self.note(self.conductor.deadline(at))
        return survivors_of(self.conductor.outcome)

    def phases(self) -> list[Phase]:
        """The phases that were reported."""
        return [one.phase for one in self.events if isinstance(one, PhaseEnded)]


# ---- what is told -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_counts_are_exact(mode: Mode) -> None:
    """Bytes in both directions, answers and drops of each phase; and then the round."""
    params = integers(4, threshold=3, mode=mode, colluders=1)
    silent = {(mode.phases[1], 3): lambda answer: []}
    transport = Transport(responders_of(params), silent)
    told: list[PhaseEnded | RoundEnded] = []
    outcome = lockstep(new_server(params), transport, observe=told.append)
    *phases, end = told
    assert [one.phase for one in phases] == list(mode.phases)  # type: ignore[union-attr]
    for (phase, messages), one in zip(transport.calls, phases, strict=True):
        assert isinstance(one, PhaseEnded)
        up = [len(said) for at, _, said in transport.said if at is phase]  # type: ignore[arg-type]
        assert (one.session, one.bytes_up, one.answered) == (SESSION, sum(up), len(up))
        assert one.bytes_down == sum(map(len, messages.values()))
        assert one.dropped == (((3, Code.TIMEOUT),) if phase is mode.phases[1] else ())
    assert isinstance(end, RoundEnded)
    assert end.outcome is outcome
    assert (end.session, end.refusals, sorted(end.drops)) == (SESSION, {}, [3])
    assert 0 < sum(one.seconds for one in phases) <= end.seconds < 60


def test_a_phase_that_ends_at_once_is_told() -> None:
    """All who answered are gone before the last is: the next phase has nobody to wait for."""
    played = Played()
    for party in (0, 1, 2):
        played.take(party, played.answers()[party])
        played.conductor.drop(party, "gone")
    played.conductor.drop(3, "gone")
    *phases, end = played.events
    assert played.phases() == [A, S]
    assert [one.answered for one in phases] == [3, 0]  # type: ignore[union-attr]
    assert isinstance(played.conductor.outcome, Failed)
    assert isinstance(end, RoundEnded)
    assert (end.outcome, sorted(end.drops)) == (played.conductor.outcome, [0, 1, 2, 3])


def test_the_last_phase_is_over_before_masks_are_removed() -> None:
    """Its time is that of the parties, and it is told when they are done."""
    order: list[object] = []

    class Pool(ThreadPoolExecutor):
        def submit(self, function: object, /, *args: object, **more: object) -> object:  # type: ignore[override]
            order.append("job")
            return super().submit(function, *args, **more)  # type: ignore[arg-type]

    with Pool(1) as pool:
        transport = Transport(responders_of(FOUR))
        lockstep(new_server(FOUR), transport, pool, observe=lambda one: order.append(type(one)))
    assert order[:5] == [PhaseEnded] * 4 + ["job"]
    assert order[-1] is RoundEnded


def test_each_phase_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """With its session, and nothing that was sent."""
    caplog.set_level(logging.INFO, "secagg.drivers")
    transport = Transport(
        responders_of(FOUR), {(S, 1): lambda answer: [seal(Refusal(SESSION, "training", "failed"))]}
    )
    lockstep(new_server(FOUR), transport)
    lines = [one.getMessage() for one in caplog.records if one.name == "secagg.drivers"]
    counts = r"(\d) answered, (\d) dropped, \d+ bytes up, \d+ bytes down"
    shape = rf"{SESSION.hex()}: (.+) over after \d\.\d{{3}} s: {counts}"
    found = [match.groups() for line in lines if (match := re.fullmatch(shape, line))]
    dropped = {"share keys": ("3", "1"), "advertise keys": ("4", "0")}
    assert found == [(str(each), *dropped.get(str(each), ("3", "0"))) for each in (A, S, M, U)]
    assert re.fullmatch(rf"{SESSION.hex()}: over after \d\.\d{{3}} s: a sum of 3 inputs", lines[-1])
    assert len(lines) == 5
    said = [answer for _, _, answer in transport.said if isinstance(answer, bytes)]
    assert not any(answer[20:28].hex() in caplog.text for answer in said)


def test_an_observer_that_raises_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, without its text, which may show anything."""
    outcome = lockstep(
        new_server(FOUR), Transport(responders_of(FOUR)), observe=lambda one: {}["a password"]
    )
    assert survivors_of(outcome) == (0, 1, 2, 3)
    assert caplog.text.count("the observer raised KeyError") == 5
    assert "password" not in caplog.text


def test_a_round_ends_once() -> None:
    """Whatever comes after it."""
    played = Played()
    played.until(U)
    answers = played.answers()
    played.finish()
    told, store = len(played.events), played.conductor
    for late in (
        answers[0],
        b"junk",
        seal(Hello()),
        seal(Refusal(SESSION, "policy", "")),
        OSError(),
    ):
        assert store.take(0, late) == []
    assert store.deadline(U) == []
    assert len(played.events) == told
    assert isinstance(store.outcome, Completed)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_repetition_is_no_answer(mode: Mode) -> None:
    """Of this phase or an earlier one: it is neither counted nor taken for what is awaited."""
    played = Played(mode)
    first = played.answers()
    for party in range(4):
        played.take(party, first[party])
    second = played.answers()
    for answer in (first[0], second[1], second[1], first[1]):
        played.take(0 if answer == first[0] else 1, answer)
    assert played.conductor.answered == {1}
    assert played.conductor.server.status.awaited == (0, 2, 3)
    # A new process knows no message of before.
    played.conductor = Conductor(played.conductor.server)
    played.conductor.begin()
    for answer, answered in ((first[2], set()), (second[2], {2}), (first[2], {2})):
        played.take(2, answer)
        assert played.conductor.answered == answered
    played.take(3, first[3])
    played.take(3, ConnectionError("gone"))
    assert played.conductor.answered == {2}
    assert played.conductor.gone == {3}
    played.take(0, second[0])
    assert played.conductor.phase is not S  # it did not wait for party 3
    assert played.finish() == (0, 1, 2)


def test_a_message_that_drops_its_sender_is_no_answer() -> None:
    """It is well-formed, and for another round."""
    played = Played()
    answers = played.answers()
    played.take(0, answers[0][:20] + bytes(32) + answers[0][52:])
    assert played.conductor.answered == set()
    assert played.conductor.drops[0].code is Code.CONTEXT
    assert played.finish() == (1, 2, 3)


def test_no_message_costs_the_status_of_all() -> None:
    """It lists the parties awaited, which would make a phase quadratic in the cohort."""
    calls: list[int] = []

    class Counting(Server):
        @property
        def status(self) -> object:  # type: ignore[override]
            calls.append(1)
            return super().status

    params = integers(8)
    server = Counting(params.round(CONTEXT, SESSION))
    outcome = lockstep(server, Transport(responders_of(params)))
    assert survivors_of(outcome) == tuple(range(8))
    assert len(calls) == 1


# ---- what parties say ------------------------------------------------------------------------


def test_a_greeting_is_answered_with_what_was_missed() -> None:
    """A few times in each phase, and never more: messages are large, and a greeting is small."""
    played = Played()
    played.until(S)
    missed = played.outbox[2]
    got = [played.conductor.take(2, seal(Hello())) for _ in range(100)]
    assert got == [[Send(2, missed)]] * RESENDS + [[]] * (100 - RESENDS)
    played.conductor.drop(2, "the connection is closed")
    assert played.conductor.take(2, seal(Hello())) == []  # it has the message, and is awaited again
    assert played.conductor.server.status.awaited == (0, 1, 2, 3)
    assert played.conductor.take(1, seal(Hello())) == [Send(1, played.outbox[1])]
    played.until(M)
    assert played.conductor.take(2, seal(Hello())) == [Send(2, played.outbox[2])]
    played.take(2, played.answers()[2])
    assert played.conductor.take(2, seal(Hello())) == []  # has answered
    ended = [one for one in played.events if isinstance(one, PhaseEnded)][1]
    sent = {party: len(payload) for party, payload in {2: missed}.items()}
    assert ended.bytes_down == 4 * sent[2] + (RESENDS + 1) * sent[2]
    assert ended.bytes_up > 102 * len(seal(Hello()))


def test_a_party_that_comes_back_is_awaited_again() -> None:
    """By its greeting, or by the message itself: the next phase counts on it."""
    played = Played()
    played.until(S)
    answers = played.answers()
    for party in (0, 1):
        played.conductor.drop(party, "the connection is closed")
    assert played.conductor.gone == {0, 1}
    assert played.conductor.take(0, seal(Hello())) == [Send(0, played.outbox[0])]
    for party in (0, 1, 2, 3):
        played.take(party, answers[party])
    assert played.conductor.phase is M
    assert sorted(played.outbox) == [0, 1, 2, 3]
    assert played.conductor.server.status.awaited == (0, 1, 2, 3)
    assert played.finish() == (0, 1, 2, 3)


def test_nothing_is_sent_to_a_party_that_is_gone() -> None:
    """Its message still counts, but the next one is not for it."""
    played = Played()
    answers = played.answers()
    played.take(0, answers[0])
    played.conductor.drop(0, "the connection is closed")
    for party in (1, 2, 3):
        played.take(party, answers[party])
    assert sorted(played.outbox) == [1, 2, 3]
    assert played.finish() == (1, 2, 3)
    assert played.conductor.drops[0].code is Code.GONE


def test_what_the_transport_says_is_one_line() -> None:
    """As the reason of a drop, at a bounded length, also of an exception without a text to show."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    played = Played()
    played.take(0, ConnectionError("reset\n\x1b[31m" + "x" * 1000))
    played.take(1, OSError())
    played.take(2, MuteError())
    played.conductor.deadline(A)
    reasons = {party: drop.reason for party, drop in played.conductor.drops.items()}
    assert reasons[0].startswith("the transport lost it: ConnectionError: reset [31mxxx")
    assert reasons[0].isprintable()
    assert len(reasons[0]) < 350
    assert reasons[1] == "the transport lost it: OSError"
    assert reasons[2] == "the transport lost it: MuteError"


ENVELOPES = {
    "an invitation": (seal(Invitation(b"offer", 0)), Code.MALFORMED, "only servers send"),
    "the end": (seal(Over(SESSION)), Code.MALFORMED, "only servers send"),
    "a rejection": (seal(Rejection(SESSION, "version", "")), Code.MALFORMED, "only servers send"),
    "no envelope": (b"SD", Code.MALFORMED, "ends too early"),
    "too long": (b"SD\1\1" + bytes(3000), Code.MALFORMED, "at most 2048"),
    "another version": (b"SD\2\1", Code.VERSION, "version 2.*version 1"),
    "another session": (seal(Refusal(b"s" * 16, "policy", "")), Code.SESSION, "another session"),
}


@pytest.mark.parametrize("kind", ENVELOPES)
def test_an_envelope_that_says_nothing_here(kind: str) -> None:
    """It changes nothing, and the party can still answer."""
    data, code, text = ENVELOPES[kind]
    played = Played()
    assert played.take(1, data) == []
    fault = played.conductor.faults[1]
    assert (fault.party, fault.code) == (1, code)
    assert re.search(text, fault.reason)
    assert played.conductor.refusals == {}
    assert played.finish() == (0, 1, 2, 3)


@pytest.mark.parametrize("session", [SESSION, NO_SESSION], ids=["this", "none"])
def test_a_refusal_counts_at_once(session: bytes) -> None:
    """The first is kept, and neither a message nor a greeting after it brings the party back."""
    played = Played()
    answers = played.answers()
    said = Refusal(session, "policy_cohort", "too small")
    played.take(0, seal(said))
    played.take(0, seal(Refusal(session, "other", "changed my mind")))
    played.take(0, answers[0])
    assert played.take(0, seal(Hello())) == []
    assert played.conductor.refusals == {0: said}
    for party in (1, 2, 3):
        played.take(party, answers[party])
    assert played.conductor.phase is S
    [ended] = played.events
    assert (ended.answered, ended.dropped) == (3, ((0, Code.REFUSED),))  # type: ignore[union-attr]
    assert sorted(played.outbox) == [1, 2, 3]
    assert played.finish() == (1, 2, 3)
    drop = played.conductor.drops[0]
    assert (drop.code, drop.reason) == (Code.REFUSED, "refused: too small [policy_cohort]")


@pytest.mark.parametrize("before", [False, True])
def test_who_refused_is_in_the_sum_only_if_its_input_came_before(before: bool) -> None:
    """A message that a party sends after its refusal is not even looked at."""
    played = Played()
    played.until(M)
    answers, refusal = played.answers(), seal(Refusal(SESSION, "policy_context", "no"))
    for said in (answers[0], refusal, b"junk") if before else (refusal, answers[0], b"junk"):
        played.take(0, said)
    assert played.conductor.faults == {}
    for party in (1, 2, 3):
        played.take(party, answers[party])
    assert played.finish() == ((0, 1, 2, 3) if before else (1, 2, 3))
    assert sorted(played.conductor.refusals) == [0]
    assert sorted(played.conductor.drops) == ([] if before else [0])


@pytest.mark.parametrize(
    "code", ["malformed", "session", "unknown_session", "out_of_order", "equivocation"]
)
@pytest.mark.parametrize("greets", [False, True])
def test_a_refusal_of_one_payload_is_taken_back(code: str, greets: bool) -> None:
    """A message that was cut off on its way costs nothing, if the right answer comes in time."""
    played = Played()
    played.until(S)
    answers = played.answers()
    played.take(0, seal(Refusal(SESSION, code, "ends too early")))
    assert (played.conductor.refusals, played.conductor.gone) == ({}, {0})
    assert played.conductor.server.status.awaited == (1, 2, 3)
    if greets:
        assert played.conductor.take(0, seal(Hello())) == [Send(0, played.outbox[0])]
        assert played.conductor.server.status.awaited == (0, 1, 2, 3)
    for party in (0, 1, 2, 3):
        played.take(party, answers[party])
    assert sorted(played.outbox) == [0, 1, 2, 3]
    assert played.finish() == (0, 1, 2, 3)
    assert played.conductor.drops == {}


def test_refusals_of_one_payload_and_greetings_in_turn_have_an_end() -> None:
    """Each greeting costs the server a message: who has had that many of a phase has refused."""
    made: list[int] = []

    class Counting(Server):
        def resend(self, party: int | None = None) -> list[object]:  # type: ignore[override]
            made.append(1)
            return super().resend(party)  # type: ignore[return-value]

    played = Played(server=Counting(FOUR.round(CONTEXT, SESSION)))
    made.clear()
    for _ in range(5 * RESENDS):
        played.take(0, seal(Refusal(SESSION, "malformed", "ends too early")))
        played.take(0, seal(Hello()))
    assert len(made) == RESENDS
    assert sorted(played.conductor.refusals) == [0]


def test_a_refusal_of_one_payload_ends_the_waiting() -> None:
    """Nobody waits for an answer that may never come."""
    played = Played()
    answers = played.answers()
    played.take(0, seal(Refusal(SESSION, "malformed", "ends too early")))
    for party in (1, 2, 3):
        played.take(party, answers[party])
    assert played.finish() == (1, 2, 3)
    drop = played.conductor.drops[0]
    assert (drop.code, drop.reason) == (Code.REFUSED, "refused: ends too early [malformed]")


def test_a_greeting_counts_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each `RESEND_SECONDS` of the phase, and for no part of it."""
    played = Played()
    began = played.conductor._phase_began

    def answered_at(seconds: float) -> int:
        monkeypatch.setattr(
            "secagg.drivers.conductor.time", SimpleNamespace(monotonic=lambda: began + seconds)
        )
        return sum(bool(played.conductor.take(2, seal(Hello()))) for _ in range(2 * RESENDS))

    assert answered_at(0) == RESENDS
    assert answered_at(RESEND_SECONDS * 0.99) == 0
    assert answered_at(RESEND_SECONDS * 3.5) == 3
    played.conductor.drop(2, "the connection is closed")
    assert answered_at(RESEND_SECONDS * 3.5) == 0  # it is awaited again, and has the message
    assert played.conductor.server.status.awaited == (0, 1, 2, 3)


@pytest.mark.parametrize("final", [False, True])
def test_what_is_malformed_drops_only_where_nothing_else_can_come(final: bool) -> None:
    """As over a transport that asks once."""
    played = Played()
    for answer in (b"", b"junk", None, "text", 3):
        played.take(2, answer, final=final)  # type: ignore[arg-type]
        assert played.conductor.faults[2].code is Code.MALFORMED
    assert (played.conductor.server.status.awaited == (0, 1, 3)) is final


def test_a_party_that_does_not_exist() -> None:
    """A typed error, and nothing has changed."""
    played = Played()
    refusal = seal(Refusal(SESSION, "policy", ""))
    for answer in (played.answers()[0], b"junk", OSError(), seal(Hello()), refusal):
        with refused(LocalProtocolError, Code.UNKNOWN_PARTY):
            played.take(9, answer)
    assert played.conductor.refusals == {}
    assert played.finish() == (0, 1, 2, 3)


# ---- interruptions ----------------------------------------------------------------------------


def test_a_job_that_raises_is_left_to_the_next_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same conductor: no phase is told twice, and the end is told once."""
    from secagg.sharing.rebuild_job import RebuildJob

    played = Played()
    played.until(U)
    with monkeypatch.context() as patch:
        patch.setattr(RebuildJob, "run", lambda job: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            played.finish()
    assert played.conductor.begin() == []
    assert survivors_of(played.conductor.outcome) == (0, 1, 2, 3)  # type: ignore[arg-type]
    assert played.phases() == [A, S, M, U]
    assert isinstance(played.events[-1], RoundEnded)
    assert len(played.events) == 5


def test_a_ledger_that_fails_takes_no_answer_away() -> None:
    """The one that ended the phase is counted, and `begin` or `deadline` goes on."""

    failed: list[object] = []

    class Flaky:
        def claim(self, what: object, key: bytes) -> bool:
            if what not in failed:
                failed.append(what)
                raise StateError("the disk is full")
            return True

    played = Played(server=new_server(FOUR, Flaky()))
    for phase, following in ((S, M), (M, U)):
        played.until(phase)
        with refused(StateError, Code.LEDGER):
            played.until(following)
        assert played.conductor.answered == {0, 1, 2, 3}
        played.note(played.conductor.deadline(phase))
    assert played.finish() == (0, 1, 2, 3)
    ended = [one for one in played.events if isinstance(one, PhaseEnded)][1:3]
    assert [(one.phase, one.answered, one.dropped) for one in ended] == [(S, 4, ()), (M, 4, ())]


def test_a_store_that_fails_takes_no_message_away() -> None:
    """`begin` stores again, and returns what nobody has got; its bytes are counted once."""
    kept: list[Phase | None] = []

    class Store:
        def keep_server(self, server: Server) -> None:
            kept.append(server.phase)
            if kept.count(server.phase) == 1:
                raise OSError("the disk is full")

        def forget(self, session: bytes) -> None:
            kept.append(None)

    played = Played()
    told: list[PhaseEnded] = []
    conductor = Conductor(new_server(FOUR), store=Store(), observe=told.append)  # type: ignore[arg-type]
    played.conductor = conductor
    with pytest.raises(OSError, match="full"):
        conductor.begin()
    played.note(conductor.begin())
    down = [sum(map(len, played.outbox.values()))]
    for _ in (S, M, U):
        with pytest.raises(OSError, match="full"):
            played.until(U)
        played.note(conductor.begin())
        down.append(sum(map(len, played.outbox.values())))
    assert played.finish() == (0, 1, 2, 3)
    assert kept == [A, A, S, S, M, M, U, U, None]
    assert [one.bytes_down for one in told[:4]] == down


# ---- many rounds in one process ------------------------------------------------------------------


@runs_at("sessions at once")
def test_many_sessions_at_once_cost_what_they_are() -> None:
    """Time and memory of one session are the same among fifty as among ten."""
    params = Params(5, 10_000, Integers(-(10**6), 10**6))

    def play(sessions: int) -> None:
        here = Barrier(sessions, timeout=60)

        def round_of(number: int) -> None:
            agreed = params.round(CONTEXT, number.to_bytes(16, "big"))
            clients = {party: Responder(client_of(agreed, party)) for party in range(5)}
            transport = Transport(clients)

            def exchange(
                phase: Phase, messages: Mapping[int, bytes]
            ) -> Iterator[tuple[int, bytes | BaseException]]:
                here.wait()  # all are in the same phase, with all that it takes
                for party, answer in transport(phase, messages):
                    transport.said.clear()
                    yield party, answer
                transport.calls.clear()

            assert survivors_of(lockstep(server_of(agreed), exchange)) == tuple(range(5))

        with ThreadPoolExecutor(sessions) as pool:
            list(pool.map(round_of, range(sessions)))

    def seconds(sessions: int) -> float:
        start = time.process_time()
        play(sessions)
        return (time.process_time() - start) / sessions

    def peak(sessions: int) -> float:
        tracemalloc.start()
        play(sessions)
        most = tracemalloc.get_traced_memory()[1] / sessions
        tracemalloc.stop()
        return most

    play(2)
    few, many = 10, amount("sessions at once")
    ratios = [seconds(many) / seconds(few)]
    while ratios[-1] >= 1.5:  # other work on the machine came in between, or it is too dear
        assert len(ratios) < 3, ratios
        ratios.append(seconds(many) / seconds(few))
    assert peak(many) < 1.2 * peak(few)


def test_a_driver_that_goes_on_knows_who_has_refused() -> None:
    """Another conductor of the same server: no message takes a refusal back, and the end has it."""
    played = Played()
    played.until(M)
    late = played.answers()
    refusal = Refusal(SESSION, Code.POLICY_CONTEXT, "no")
    played.take(0, seal(refusal))
    server = played.conductor.server
    played.conductor = Conductor(server, observe=played.events.append)
    assert {one.to for one in played.conductor.begin()} == {1, 2, 3}
    assert played.take(0, late[0]) == []
    for party in (1, 2, 3):
        played.take(party, late[party])
    played.outbox.pop(0, None)
    assert played.finish() == (1, 2, 3)
    end = played.events[-1]
    assert isinstance(end, RoundEnded)
    assert (end.refusals, sorted(end.drops)) == ({0: refusal}, [0])


def test_a_process_that_goes_on_knows_who_was_dropped() -> None:
    """The server has the codes: a driver tells the parties at the end."""
    ledger = MemoryLedger()
    agreed = integers(4, threshold=3, colluders=1).round(CONTEXT, SESSION)
    played = Played(server=Server(agreed, ledger=ledger))
    for party in (0, 1, 2):
        played.take(party, played.answers()[party])
    played.note(played.conductor.deadline(A))
    snapshot = played.conductor.server.snapshot(bytes(32))
    conductor = Conductor(Server.resume(snapshot, bytes(32), ledger=ledger))
    conductor.begin()
    assert [(one.party, one.code) for one in conductor.drops.values()] == [(3, Code.TIMEOUT)]


def test_a_message_of_another_version_ends_the_waiting() -> None:
    """Nothing else will come: nobody waits for the time of the phase, unless it has answered."""
    played = Played()
    answers = played.answers()
    newer = answers[0][:2] + b"\x09" + answers[0][3:]
    played.take(1, answers[1])
    for party in (0, 1):
        assert played.take(party, newer) == []
    assert played.conductor.gone == {0}
    for party in (2, 3):
        played.take(party, answers[party])
    assert played.phases() == [A]
    assert played.conductor.drops[0].code is Code.VERSION


def test_a_party_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each has a number of lines in a round; at its end one more line counts the rest."""
    caplog.set_level(logging.INFO, "secagg.drivers")
    played = Played()
    for party in (0, 0, 0, 1):
        for _ in range(MOST_LINES):
            played.take(party, b"junk")
    assert len(caplog.records) == 2 * MOST_LINES
    played.finish()
    texts = [each.getMessage() for each in caplog.records]
    left = f"{SESSION.hex()}: party 0: {2 * MOST_LINES} more lines about it were left out"
    assert [text for text in texts if "left out" in text] == [left]


def test_what_is_remembered_of_an_object_goes_with_it() -> None:
    """Of any object, by identity; and of one that cannot be referenced weakly nothing."""

    @dataclass
    class Equal:
        number: int = 1

    memory: PerObject[str] = PerObject()
    one, other = Equal(), Equal()
    memory.put(one, "one")
    memory.put(one, "again")
    memory.put(7, "a number")
    assert (memory.get(one), memory.get(other), memory.get(7)) == ("again", None, None)
    del one
    gc.collect()
    assert memory._values == {}
