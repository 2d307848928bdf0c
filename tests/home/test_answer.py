"""`answer` and `Responder`: every phase, twice, killed, and with trainings that fail in any way."""

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import pytest
from harness import CONTEXT, MODES, integers
from home.world import ResidentWorld, Train, World, code_of, home_of, sum_of, train
from levels import runs_at

import secagg
from secagg import (
    Assignment,
    Code,
    MemoryLedger,
    MemoryStore,
    Mode,
    Once,
    Phase,
    StateError,
)
from secagg.drivers.envelope import Ask, Over, Rejection

either_mode = pytest.mark.parametrize("mode", MODES, ids=str)
either_kind = pytest.mark.parametrize("world", [World, ResidentWorld])
SECRET = "patient 4711"  # noqa: S105


def steps(world: World) -> Iterator[Phase]:
    """Yields each phase while the payloads that open it are on their way."""
    world.begin()
    for phase in world.params.mode.phases:
        assert world.conductor.phase is phase
        yield phase
        if world.conductor.phase is phase:
            world.step()


@either_mode
@either_kind
def test_a_payload_that_comes_again_gets_the_same_bytes(mode: Mode, world: type[World]) -> None:
    """The last one; an earlier one gets nothing. `train` runs once, and the sum is exact."""
    trained: list[int] = []

    def counted(assignment: Assignment) -> np.ndarray:
        trained.append(assignment.index)
        return train(assignment)

    one = world(mode, trains=dict.fromkeys(range(3), counted))
    before: list[bytes] = []
    for _ in steps(one):
        answers = {}
        for party in range(3):
            payload = one.payload(party)
            answers[party] = one.answer(party, payload)
            assert [one.answer(party, payload) for _ in range(2)] == [answers[party]] * 2
            if party == 0:
                assert [one.answer(0, each) for each in before] == [b""] * len(before)
                before.append(payload)
        one.step(answers)
    assert one.total == sum_of(range(3))
    assert trained == [0, 1, 2]
    assert one.conductor.faults == {}


def test_answers_are_not_kept_where_the_transport_keeps_them() -> None:
    """`keep_last=False`: no masked input is stored, and what comes again gets nothing."""
    store = MemoryStore()
    homes = {0: home_of(Mode.SEMI_HONEST, 0, keep_last=False, store=store)}
    one = World(homes=homes, params=integers(3, 1000))
    for phase in steps(one):
        mine = one.answer(0, one.payload(0))
        assert one.answer(0, one.payload(0)) == b""
        if phase is Phase.MASKED_INPUT:
            (stored,) = map(store.get, store.sessions())
            assert len(stored) < len(mine) - 100
        one.step({0: mine})
    assert one.total == sum_of(range(3), 1000)


# ---- trainings that give no input ---------------------------------------------------------


def raises(_: Assignment) -> None:
    raise ValueError(SECRET)


def raises_ours(_: Assignment) -> None:
    raise secagg.Aborted(SECRET, Code.QUORUM)


def chunks(_: Assignment) -> Iterator[np.ndarray]:
    yield np.zeros(2, np.int64)
    raise StateError(SECRET)


def chunks_abort(_: Assignment) -> Iterator[np.ndarray]:
    yield np.zeros(2, np.int64)
    raise secagg.Aborted(SECRET, Code.QUORUM)


def another(assignment: Assignment) -> None:
    assignment.expect(bytes(32))


FAILURES: list[tuple[Train, Code]] = [
    (lambda _: None, Code.NO_INPUT),
    (raises, Code.TRAINING),
    (raises_ours, Code.TRAINING),
    (chunks, Code.TRAINING),
    (chunks_abort, Code.TRAINING),
    (lambda _: np.array([1.0, 2.0, np.nan, 4.0]), Code.TRAINING),
    (lambda _: np.zeros(5, np.int64), Code.TRAINING),
    (lambda _: np.full(4, 4711), Code.TRAINING),
    (lambda _: (np.zeros(4, np.int64), 0), Code.TRAINING),
    (lambda _: (np.zeros(4, np.int64), None), Code.TRAINING),
    (lambda _: (np.zeros(4, np.int64), 1, SECRET), Code.TRAINING),
    (lambda _: SECRET, Code.TRAINING),
    (another, Code.POLICY_CONTEXT),
    (lambda _: np.zeros(4, np.int64), Code.NO_CONTEXT),
]


@either_kind
def test_a_training_without_an_input_costs_its_party_the_round(
    world: type[World], caplog: pytest.LogCaptureFixture
) -> None:
    """The server is told at once, and nothing of the data; the same refusal comes again. The party
    takes part in the next round, and its training is not asked a second time in this one."""
    caplog.set_level(logging.INFO)
    homes = {party: home_of(Mode.MALICIOUS, party, 4) for party in range(4)}
    for number, (how, code) in enumerate(FAILURES):
        calls: list[int] = []

        def once(
            assignment: Assignment, how: Train = how, code: Code = code, calls: list[int] = calls
        ) -> object:
            calls.append(assignment.index)
            if code is Code.TRAINING:  # so that this is what it fails for
                assignment.expect(assignment.round.context)
            return how(assignment)

        one = world(Mode.MALICIOUS, 4, homes, {0: once}, bytes([number]) * 32)
        one.until(Phase.MASKED_INPUT)
        told = one.answer(0, one.payload(0))
        assert code_of(told) == code
        assert SECRET.encode() not in told
        assert b"4711" not in told
        assert one.answer(0, one.payload(0)) == told
        assert calls == [0]
        if number < 3:
            one.step({0: told}).finish()
            assert (one.survivors, one.total) == ((1, 2, 3), sum_of((1, 2, 3)))
            assert one.conductor.refusals[0].code == code
    assert SECRET not in caplog.text
    assert "ValueError" in caplog.text
    assert world(Mode.MALICIOUS, 4, homes, {}, bytes([99]) * 32).begin().finish().survivors == (
        *range(4),
    )


# ---- processes that die -------------------------------------------------------------------


class Killed(BaseException):
    """The process was killed: it comes to nothing any more."""


class Fate:
    """Kills a process before or after one of its calls of store, ledger and training."""

    def __init__(self) -> None:
        self.store, self.ledger = MemoryStore(), MemoryLedger()
        self.revive()

    def revive(self, left: int | None = None) -> None:
        """Begins a process, which is killed at this moment, counted from 0, if it comes to it."""
        self.left, self.dead, self.passed = left, False, 0

    def _moment(self) -> None:
        self.dead |= self.passed == self.left
        self.passed += 1
        if self.dead:
            raise Killed

    def __getattr__(self, name: str) -> Callable[..., object]:
        action = getattr(self.ledger if name == "claim" else self.store, name)

        def tried(*args: object) -> object:
            self._moment()
            result = action(*args)
            self._moment()
            return result

        return tried

    def training(self, how: Train) -> Train:
        """A training in the same process."""

        def tried(assignment: Assignment) -> object:
            self._moment()
            given = how(assignment)
            self._moment()
            return given

        return tried


@pytest.mark.parametrize(
    "mode", [pytest.param(Mode.SEMI_HONEST, marks=runs_at("programs")), Mode.MALICIOUS], ids=str
)
def test_a_process_that_is_killed_at_any_moment(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one sends the same bytes or refuses, and never masks two inputs with one mask.

    Each phase of a party is played with the process killed before and after each call of store,
    ledger and training; the training gives something else each time it is asked.
    """
    masked: set[bytes] = set()
    submit = secagg.Client.submit

    def watched(client: secagg.Client, *args: object) -> bytes:
        message = submit(client, *args)
        masked.add(message)
        return message

    monkeypatch.setattr(secagg.Client, "submit", watched)
    for phase in mode.phases:
        codes: list[str] = []
        for moment in itertools.count():
            masked.clear()
            fate, given = Fate(), itertools.count()
            how = fate.training(lambda asked, given=given: train(asked) + next(given))
            home = home_of(mode, 0, 4, store=fate, ledger=fate)
            one = World(mode, 4, {0: home}, {0: how}).until(phase)
            before, payload = len(masked), one.payload(0)
            fate.revive(moment)
            with suppress(Killed):
                one.answer(0, payload)
            killed = fate.dead
            fate.revive()
            answer = one.answer(0, payload)
            codes.append(code_of(answer))
            assert one.answer(0, payload) == answer
            assert len(masked) - before <= (phase is Phase.MASKED_INPUT)
            if phase is Phase.MASKED_INPUT:
                assert answer in masked or codes[-1]
                one.step({0: answer}).finish()
                assert (0 in one.survivors) is not bool(codes[-1])
            if not killed:
                break
        claims = {Code.REPEATED_RESUMPTION, Code.REPEATED_PARTICIPATION}
        assert set(codes) <= {"", *claims}
        assert codes[0] == codes[-1] == ""
        assert len(codes) > 5


@either_kind
def test_a_training_that_is_interrupted_is_asked_again(world: type[World]) -> None:
    """Ctrl-C passes through, also out of chunks; so does a ledger that fails. Then it goes on."""

    class Full(MemoryLedger):
        full = False

        def claim(self, what: Once, key: bytes) -> bool:
            if self.full and what is Once.CONTRIBUTION:
                raise StateError("the disk is full")
            return super().claim(what, key)

    def interrupted(assignment: Assignment) -> object:
        assignment.expect(CONTEXT)
        raise KeyboardInterrupt

    def in_chunks(assignment: Assignment) -> Iterator[np.ndarray]:
        yield np.zeros(2, np.int64)
        raise KeyboardInterrupt

    def given(assignment: Assignment) -> Iterator[np.ndarray]:
        assignment.expect(CONTEXT)
        return in_chunks(assignment)

    ledger = Full()
    trains: list[tuple[Train, type[BaseException]]] = [
        (interrupted, KeyboardInterrupt),
        (given, KeyboardInterrupt),
        (train, StateError),
    ]
    current: list[Train] = []
    homes = {0: home_of(Mode.MALICIOUS, 0, ledger=ledger)}
    one = world(
        Mode.MALICIOUS,
        3,
        homes,
        {0: lambda asked: current[0](asked)},  # noqa: PLW0108
    )
    one.until(Phase.MASKED_INPUT)
    for how, error in trains:
        current[:], ledger.full = [how], error is StateError
        with pytest.raises(error):
            one.answer(0, one.payload(0))
    current[:], ledger.full = [train], False
    assert one.finish().total == sum_of(range(3))


# ---- bytes that are no payload, or not of this round --------------------------------------


@either_mode
@either_kind
def test_malformed_payloads_change_nothing(mode: Mode, world: type[World]) -> None:
    """In no phase; they are refused, and the right ones are answered after them."""
    one, other = world(mode), World(mode).begin()
    for phase in steps(one):
        payload = one.payload(0)
        if phase is not Phase.ADVERTISE_KEYS:
            late = bytes(payload[:3]) + bytes([0x13 if payload[3] == 0x11 else 0x11]) + payload[4:]
            bad = [payload[:-1], payload + b"x", payload[:19], b"", b"SD", b"SD\x01\x7f"]
            bad += [payload[:2] + b"\x02" + payload[3:], late, secagg.seal(Ask(b"", b"nothing"))]
            for data in bad:
                assert code_of(one.answer(0, data)) in {
                    *(Code.MALFORMED, Code.VERSION, Code.OUT_OF_ORDER)
                }, data
            foreign = one.answer(0, payload[:4] + bytes(16) + payload[20:])
            assert foreign == b"" if world is ResidentWorld else code_of(foreign)
            for harmless in (Over(bytes(16)), Rejection(bytes(16), "version", "x")):
                assert one.answer(0, secagg.seal(harmless)) == b""
            if world is ResidentWorld:
                assert one.answer(0, other.payload(0)) == b""
    assert one.total == sum_of(range(3))
    assert one.conductor.faults == {}
