"""`answer` and `Responder`: every phase, twice, killed, and with trainings that fail in any way."""

import asyncio
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

import numpy as np
import pytest
from harness import CONTEXT, MODES, WILLING, integers
from home.world import ResidentWorld, Train, World, code_of, home_of, sum_of, train
from levels import amount, runs_at
from refusals import refused

import secagg
from secagg import (
    Assignment,
    ClippingWarning,
    Code,
    FixedPoint,
    Home,
    MemoryLedger,
    MemoryStore,
    Mode,
    ModelLayout,
    Once,
    ParameterError,
    Phase,
    StateError,
    answer,
)
from secagg.drivers.assignment import AbandonedError
from secagg.drivers.envelope import Ask, Hello, Over, Rejection, hello_in
from secagg.drivers.inputs import NoInputError, ask
from secagg.home.records import Kind, key_of, write_record

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


def cancels(_: Assignment) -> NoReturn:
    """As `asyncio.run` in a training, whose own task was cancelled."""
    raise asyncio.CancelledError(SECRET)


def chunks_cancel(_: Assignment) -> Iterator[np.ndarray]:
    yield np.zeros(2, np.int64)
    raise asyncio.CancelledError(SECRET)


def another(assignment: Assignment) -> None:
    assignment.expect("another")


def no_context(assignment: Assignment) -> np.ndarray:
    assignment.context = SECRET  # type: ignore[assignment]
    return np.zeros(4, np.int64)


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
    (no_context, Code.TRAINING),
    (lambda _: np.zeros(4, np.int64), Code.NO_CONTEXT),
    (cancels, Code.TRAINING),
    (chunks_cancel, Code.TRAINING),
]


@either_kind
def test_a_training_without_an_input_costs_its_party_the_round(
    world: type[World], caplog: pytest.LogCaptureFixture
) -> None:
    """The server is told at once, and nothing of the data; the same refusal comes again, and the
    training is not asked a second time. The party takes part in the next round."""
    caplog.set_level(logging.INFO)
    homes = {party: home_of(Mode.MALICIOUS, party, 4, failures=9) for party in range(4)}
    cases = iter(FAILURES)
    for number in itertools.count():
        failing = dict(enumerate(itertools.islice(cases, 4 if number else 1)))
        calls: list[int] = []

        def once(
            assignment: Assignment,
            failing: dict[int, tuple[Train, Code]] = failing,
            calls: list[int] = calls,
        ) -> object:
            how, code = failing[assignment.index]
            calls.append(assignment.index)
            if code is Code.TRAINING:  # so that this is what it fails for
                assignment.context = assignment.round.context
            return how(assignment)

        trains = dict.fromkeys(failing, once)
        one = world(Mode.MALICIOUS, 4, homes, trains, bytes([number]) * 32)
        one.until(Phase.MASKED_INPUT)
        if isinstance(one, ResidentWorld):
            clients = {party: one.responders[party]._client for party in failing}
        told = {party: one.answer(party, one.payload(party)) for party in failing}
        assert {party: code_of(each) for party, each in told.items()} == {
            party: code for party, (_, code) in failing.items()
        }
        for party, each in told.items():
            assert SECRET.encode() not in each
            assert b"4711" not in each
            assert one.answer(party, one.payload(party)) == each
        assert calls == list(failing)
        assert not isinstance(one, ResidentWorld) or all(
            clients[party].state.value == "withdrawn" for party in failing
        )
        one.step(told).finish()
        assert one.conductor.refusals.keys() == failing.keys()
        if len(failing) < 2:
            assert one.total == sum_of(one.survivors)
            assert one.survivors == tuple({*range(4)} - failing.keys())
        if not failing:
            break
    assert SECRET not in caplog.text
    assert "ValueError" in caplog.text


LAYOUT = secagg.ModelLayout.of(
    {"w": np.zeros(2)},
    secagg.FixedPoint(1.0),
    cohort=3,
    metrics={"loss": secagg.Range(0.0, 1.0)},
)
W, NEW = {"w": np.zeros(2)}, {"w": np.ones(2)}


class Unreadable:
    """An array that its own library does not give, for a reason that quotes it."""

    shape, dtype = (2,), np.dtype(float)

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise ValueError(SECRET)


@pytest.mark.parametrize(
    ("how", "line"),
    [
        (lambda _: LAYOUT.pack(NEW, W), "train raised: metric 'loss' is missing [layout]"),
        (lambda _: LAYOUT.pack({}, W), "arrays of another layout: array 'w' is missing [layout]"),
        (
            lambda a: a.expect(a.round.context),
            "and adds the attempt itself; not a digest of it [argument]",
        ),
        (lambda a: a.expect(), "and adds the attempt itself; not nothing [argument]"),
        (lambda _: LAYOUT.pack(NEW, W, {"loss": SECRET}), "number, not of type str [dtype]"),
        (lambda _: LAYOUT.pack(NEW, W, [SECRET]), "must be a dict, not of type list [layout]"),
        (
            lambda _: LAYOUT.take({"w": Unreadable()}),
            "train raised: RangeError (text and traceback",
        ),
        (lambda _: secagg.Range(4711, 0), "train raised: ParameterError (text and traceback"),
        (raises, "train raised: ValueError (text and traceback at level DEBUG of secagg.drivers)"),
        (raises_ours, "train raised: Aborted (text and traceback"),
        (lambda _: (1, 2, 3), "train returned a tuple of 3, not (values, weight)"),
    ],
)
def test_the_log_says_why_there_is_no_input(
    how: Train, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In words of this library where these show no data; the server is told one fixed phrase."""
    with refused(NoInputError, Code.TRAINING, match="^the training of this party gave no usable"):
        ask(how, Assignment(integers(3).round(CONTEXT), 0))  # type: ignore[arg-type]
    assert line in caplog.text
    assert SECRET not in caplog.text


def test_an_unusable_input_is_logged_with_its_code(caplog: pytest.LogCaptureFixture) -> None:
    """Not with the name of a class after the text."""
    one = asked_for_an_input(
        home_of(Mode.SEMI_HONEST, 0), lambda _: np.zeros(5, np.int64), 0, Mode.SEMI_HONEST
    )
    assert code_of(one.answer(0, one.payload(0))) == Code.TRAINING
    assert ": the input is unusable: an input must have 4 values, not 5 [shape]\n" in caplog.text


def test_clipping_is_logged_in_every_round(caplog: pytest.LogCaptureFixture) -> None:
    """Once, with names and counts, no values; also where Python shows a warning no more."""
    layout = ModelLayout.of([np.zeros(4)], FixedPoint(1.0), cohort=3)
    params = secagg.Params(3, 4, FixedPoint(1.0))

    def packs(a: Assignment) -> np.ndarray:
        for far in (4711.0, 4712.0):  # a training may try more than once
            given = layout.pack([np.array([far, 0.0, 0.0, 0.0])], [np.zeros(4)])
        return given

    def submits(a: Assignment) -> np.ndarray:
        return np.full(4, 4711.0)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ClippingWarning)
        for how, line in (
            (packs, "1 of 4 values (25.0%) of array '0' outside of -1..1 were clipped"),
            (submits, "4 of 4 values (100.0%) were outside of -1..1 and were clipped"),
        ):
            for _ in range(2):
                caplog.clear()
                trains = {0: how, **dict.fromkeys((1, 2), lambda _: np.zeros(4))}
                world = World(params=params, trains=trains).until(Phase.UNMASK)
                told = [each for each in caplog.messages if "clipped" in each]
                assert told == [each for each in told if each.startswith(world.round.session.hex())]
                assert [line in each for each in told] == [True]
                assert "471" not in caplog.text.replace(world.round.session.hex(), "")
    caplog.clear()
    with pytest.warns(ClippingWarning):
        layout.pack([np.full(4, 2.0)], [np.zeros(4)])
    assert not caplog.messages, "without a driver, the warning is enough"


class Asynchronous:
    async def __call__(self, _: Assignment) -> int:
        return 1


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (None, "train must be a function, not of type NoneType"),
        (Asynchronous().__call__, "`async`"),
        (Asynchronous(), "`async`"),
        (lambda: 1, "with one argument, an Assignment: too many"),
    ],
)
def test_a_training_that_cannot_be_called_is_refused_at_once(how: Train, text: str) -> None:
    """By `answer` and `Responder`, as is what is no home."""
    with refused(ParameterError, Code.ARGUMENT, match=text):
        answer(home_of(Mode.SEMI_HONEST, 0), b"", how)  # type: ignore[arg-type]
    client = secagg.Client(integers(3).round(CONTEXT), 0, WILLING)
    with refused(ParameterError, Code.ARGUMENT, match=text):
        secagg.Responder(client, how)  # type: ignore[arg-type]
    secagg.Responder(client, max)  # takes whatever it is given, as far as one can know
    with refused(ParameterError, Code.ARGUMENT, match=r"home must be a Home.*`secagg\.Home\("):
        answer("path", b"", train)  # type: ignore[arg-type]


def stored_home(store: MemoryStore, key: bytes = b"", **more: object) -> Home:
    """The home of party 0 as another process opens it."""
    home = home_of(Mode.MALICIOUS, 0, store=store, **more)
    if key:
        object.__setattr__(home, "key", key)
    return home


def asked_for_an_input(home: Home, how: Train, number: int, mode: Mode = Mode.MALICIOUS) -> World:
    """A round of its own in which party 0 is asked for its input."""
    return World(mode, 3, {0: home}, {0: how}, bytes([number]) * 32).until(Phase.MASKED_INPUT)


def test_a_context_that_is_used_up_is_refused_before_the_training() -> None:
    """If the ledger can tell; not where repeats are allowed. A ledger that fails is raised."""

    class Asked(MemoryLedger):
        answers: list[object]

        def has(self, what: Once, key: bytes) -> bool:
            assert what is Once.CONTRIBUTION
            found = self.answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return found  # type: ignore[return-value]

    trained: list[int] = []

    def counted(assignment: Assignment) -> object:
        trained.append(1)
        return train(assignment)

    ledger = Asked()
    home = home_of(Mode.MALICIOUS, 0, ledger=ledger)
    one = asked_for_an_input(home, counted, 0)
    ledger.answers = [StateError("the disk is full"), 1, False]
    for _ in range(2):
        with pytest.raises(StateError):
            one.answer(0, one.payload(0))
    assert not trained
    assert one.finish().total == sum_of(range(3))
    ledger.answers = [True]
    again = asked_for_an_input(home, counted, 0)
    assert code_of(again.answer(0, again.payload(0))) == Code.REPEATED_CONTRIBUTION
    assert trained == [1]
    willing = replace(WILLING, allow_repeats=True)
    repeats = home_of(Mode.MALICIOUS, 0, ledger=ledger, policy=willing)
    more = asked_for_an_input(repeats, counted, 0)
    assert code_of(more.answer(0, more.payload(0))) == ""
    ledger.has = None  # type: ignore[assignment]
    last = asked_for_an_input(home, counted, 0)
    assert code_of(last.answer(0, last.payload(0))) == Code.REPEATED_CONTRIBUTION
    assert trained == [1, 1, 1]


def test_a_training_that_fails_too_often_ends_the_part_of_a_party() -> None:
    """A server that lies could choose models on which it fails for certain data only.

    It counts across processes, and in rounds that go on at the same time; not what gives an input
    after all, has none to give, or is not wanted any more; and not in semi-honest mode.
    """
    store, fails = MemoryStore(), iter([SystemExit, None, AbandonedError])

    def how(assignment: Assignment) -> object:
        if error := next(fails, ValueError):
            raise error
        return train(assignment)

    home = stored_home(store, failures=2)
    first = asked_for_an_input(home, how, 0)
    with pytest.raises(SystemExit):  # the process is killed
        first.answer(0, first.payload(0))
    first.homes[0] = home = stored_home(store, home.key, failures=2)
    assert code_of(first.answer(0, first.payload(0))) == ""
    given_up = asked_for_an_input(home, how, 1)
    with pytest.raises(AbandonedError):
        given_up.answer(0, given_up.payload(0))
    nothing = asked_for_an_input(home, lambda _: None, 2)
    assert code_of(nothing.answer(0, nothing.payload(0))) == Code.NO_INPUT
    rounds = [asked_for_an_input(home, how, 3 + each) for each in range(3)]
    told = [each.answer(0, each.payload(0)) for each in rounds]
    assert [code_of(each) for each in told] == [Code.TRAINING] * 3
    assert [b"clear_failures()" in each for each in told] == [False, False, True]
    home = stored_home(store, home.key, failures=2, max_age=0.0)
    offer = integers(3, mode=Mode.MALICIOUS).round(bytes(32)).encode()
    for _ in range(2):
        refusal = answer(home, offer, train)
        assert code_of(refusal) == Code.TRAINING
        assert b"has failed in 2 rounds" in refusal
        home.resume_server()  # removes what is old, but not this
    assert code_of(answer(stored_home(store, failures=2), offer, train)) == Code.WRONG_KEY
    home.clear_failures()
    assert code_of(answer(home, offer, train)) == ""
    semi_honest = home_of(Mode.SEMI_HONEST, 0, failures=1)
    for number in range(3):
        one = asked_for_an_input(semi_honest, raises, number, Mode.SEMI_HONEST)
        assert code_of(one.answer(0, one.payload(0))) == Code.TRAINING


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
        self.left, self.dead, self.passed, self.dead_in = left, False, 0, ""

    def _moment(self, where: str) -> None:
        if self.passed == self.left:
            self.dead, self.dead_in = True, where
        self.passed += 1
        if self.dead:
            raise Killed

    def __getattr__(self, name: str) -> Callable[..., object]:
        action = getattr(self.ledger if name == "claim" else self.store, name)

        def tried(*args: object) -> object:
            self._moment(name)
            result = action(*args)
            self._moment(name)
            return result

        return tried

    def training(self, how: Train) -> Train:
        """A training in the same process."""

        def tried(assignment: Assignment) -> object:
            self._moment("training")
            given = how(assignment)
            self._moment("training")
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
            killed, where = fate.dead, fate.dead_in
            fate.revive()
            key, one.homes[0] = home.key, home_of(mode, 0, 4, store=fate, ledger=fate)
            object.__setattr__(one.homes[0], "key", key)  # as read from its folder
            answer = one.answer(0, payload)
            codes.append(code_of(answer))
            assert where != "training" or not codes[-1]
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
        assignment.context = CONTEXT
        raise KeyboardInterrupt

    def in_chunks(assignment: Assignment) -> Iterator[np.ndarray]:
        yield np.zeros(2, np.int64)
        raise KeyboardInterrupt

    def given(assignment: Assignment) -> Iterator[np.ndarray]:
        assignment.context = CONTEXT
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
            bad = [payload[:-1], payload + b"x", payload[:19], b"SD", b"SD\x01\x7f"]
            bad += [payload[:2] + b"\x02" + payload[3:], late, secagg.seal(Ask(b"", b"nothing"))]
            claims = [*one.homes[0].ledger._claims]  # type: ignore[attr-defined]
            for data in bad:
                assert code_of(one.answer(0, data)) in {
                    *(Code.MALFORMED, Code.VERSION, Code.OUT_OF_ORDER)
                }, data
            assert [*one.homes[0].ledger._claims] == claims  # type: ignore[attr-defined]
            foreign = one.answer(0, payload[:4] + bytes(16) + payload[20:])
            assert foreign == b"" if world is ResidentWorld else code_of(foreign)
            for harmless in (Over(bytes(16)), Rejection(bytes(16), "version", "x")):
                assert one.answer(0, secagg.seal(harmless)) == b""
            if world is ResidentWorld:
                assert one.answer(0, other.payload(0)) == b""
            else:  # asked who it is
                key = one.homes[0].identity.verify_key if mode is Mode.MALICIOUS else b""
                assert hello_in(one.answer(0, b"")) == Hello(verify_key=key)
    assert one.total == sum_of(range(3))
    assert one.conductor.faults == {}


# ---- stores and ledgers that fail once ----------------------------------------------------


class Faulty:
    """Store and ledger of a home, of whose calls one fails, before or after its effect."""

    def __init__(self, at: int = -1, *, after: bool = False) -> None:
        self.store, self.ledger = MemoryStore(), MemoryLedger()
        self.at, self.after, self.passed, self.failed = at, after, 0, ""
        self.next = ""  # the name of a call that fails the next time

    def __getattr__(self, name: str) -> Callable[..., object]:
        action = getattr(self.ledger if name in {"claim", "has"} else self.store, name)

        def tried(*args: object) -> object:
            fails = self.passed == self.at or name == self.next
            self.passed += 1
            found = action(*args) if self.after or not fails else None
            if fails:
                self.failed, self.next = name, ""
                raise StateError("full") if name in {"claim", "has"} else OSError("full")
            return found

        return tried


def with_a_fault(mode: Mode, faulty: Faulty, *, keep_last: bool) -> tuple[World, list[bytes], int]:
    """Plays a round, in which party 0 gets what failed once more; returns its refusals, and how
    often it trained. Its home has something old to remove."""
    trained: list[int] = []

    def counted(asked: Assignment) -> object:
        trained.append(1)
        return train(asked)

    home = home_of(mode, 0, 4, store=faulty, ledger=faulty, keep_last=keep_last)
    faulty.store.put(key_of(Kind.PARTY, bytes(16)), write_record(Kind.PARTY, bytes(16), 0, b""))
    one, raised, told = World(mode, 4, {0: home}, {0: counted}).begin(), 0, []
    while one.conductor.outcome is None:
        answers = {}
        if any(send.to == 0 for send in one.sends):
            try:
                answers[0] = one.answer(0, one.payload(0))
            except (OSError, StateError):
                raised += 1
                answers[0] = one.answer(0, one.payload(0))
            told += [answers[0]] if code_of(answers[0]) else []
        one.step(answers)
        if not one.sends and (phase := one.conductor.phase) is not None:
            one.sends = one.conductor.deadline(phase)
    assert raised <= bool(faulty.failed)
    return one, told, len(trained)


@either_mode
@pytest.mark.parametrize("keep_last", [True, False])
def test_a_store_that_fails_once_costs_nothing(mode: Mode, keep_last: bool) -> None:
    """In each phase the same payload goes on in the same process, with the bytes that were not
    stored, and without another training; so it does if a ledger fails before it claims. What it
    has claimed in spite of its failure is refused."""
    last = Faulty()
    with_a_fault(mode, last, keep_last=keep_last)
    step = amount("step between failures of a store")
    claims = {*(Code.REPEATED_PARTICIPATION, Code.REPEATED_RESUMPTION, Code.REPEATED_CONTRIBUTION)}
    failed = set()
    for case in range(0, 2 * last.passed, step):
        faulty = Faulty(case // 2, after=bool(case % 2))
        one, told, trained = with_a_fault(mode, faulty, keep_last=keep_last)
        failed.add((faulty.failed, faulty.after))
        if faulty.failed == "claim" and faulty.after:
            assert {code_of(each) for each in told} <= claims
            continue
        assert one.total == sum_of(range(4)), (case, faulty.failed)
        assert trained == 1 or faulty.failed == "claim"
    names = {"get", "put", "delete", "sessions", "claim"} | ({"has"} if mode else set())
    assert step > 1 or failed == {(name, after) for name in names for after in (False, True)}


@either_mode
@pytest.mark.parametrize("who", ["the same process", "another one"])
def test_the_latest_state_counts(mode: Mode, who: str) -> None:
    """Whoever goes on after a store that failed: what it has taken although it failed stays, and
    what it has not is stored later, unless another process has begun the round meanwhile."""
    for phase in mode.phases[:-1]:
        first, other = phase is Phase.ADVERTISE_KEYS, who == "another one"
        if first and other and mode is Mode.MALICIOUS:
            continue  # nobody can begin after a claim of another process
        faulty = Faulty(after=first is not other)
        # Another process has no other way to the answer than what is stored.
        mine = home_of(mode, 0, store=faulty, ledger=faulty, keep_last=other)
        one = World(mode, homes={0: mine}).until(phase)
        faulty.next = "put"
        with pytest.raises(OSError, match="full"):
            one.answer(0, one.payload(0))
        if other:
            one.homes[0] = home_of(mode, 0, store=faulty, ledger=faulty)
            object.__setattr__(one.homes[0], "key", mine.key)
        one.step().homes[0] = mine
        assert one.finish().total == sum_of(range(3)), phase


@either_mode
def test_a_store_that_fails_after_a_training_costs_no_input(mode: Mode) -> None:
    """The state before is used up by then, and the training is not called again."""
    faulty, trained = Faulty(), []

    def how(asked: Assignment) -> object:
        trained.append(asked)
        faulty.next = "put"
        return train(asked)

    home = home_of(mode, 0, store=faulty, ledger=faulty, keep_last=False)
    one = World(mode, 3, {0: home}, {0: how}).until(Phase.MASKED_INPUT)
    with pytest.raises(OSError, match="full"):
        one.answer(0, one.payload(0))
    assert one.finish().total == sum_of(range(3))
    assert len(trained) == 1


def test_what_could_not_be_stored_is_remembered_of_some_rounds() -> None:
    """It remembers as many as are stored, the latest, none that is over; another process's counts.

    A server that offers many rounds meanwhile pushes out none that goes on.
    """
    faulty = Faulty()
    home = home_of(Mode.MALICIOUS, 0, most_rounds=3, store=faulty, ledger=faulty)
    one = World(Mode.MALICIOUS, 3, {0: home}).begin().step()
    faulty.next = "put"
    with pytest.raises(OSError, match="full"):
        one.answer(0, one.payload(0))
    offers = [integers(3, mode=Mode.MALICIOUS).round(bytes([each]) * 32) for each in range(4)]
    for offer in offers:
        faulty.next = "put"
        with pytest.raises(OSError, match="full"):
            answer(home, offer.encode(), train)
    answer(home, secagg.seal(Over(offers[2].session, "", "")), train)
    codes = [code_of(answer(home, offer.encode(), train)) for offer in offers]
    assert codes == [Code.REPEATED_PARTICIPATION] * 3 + [""]
    faulty.store.put(key_of(Kind.PARTY, offers[3].session), b"of another process")
    assert code_of(answer(home, offers[3].encode(), train)) == Code.FOREIGN_FILE
    assert one.finish().total == sum_of(range(3))


def test_a_damaged_count_of_failed_trainings_costs_no_round_past_its_input(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Others are refused, and told how to go on; a round whose own training is counted goes on, and
    what could not be stored of it is not counted in this process."""
    faulty = Faulty()
    home = home_of(Mode.MALICIOUS, 0, store=faulty, ledger=faulty, failures=1)
    fails = iter([SystemExit])

    def how(asked: Assignment) -> object:
        if error := next(fails, None):
            raise error
        faulty.next = "delete"
        return train(asked)

    one, other = (asked_for_an_input(home, how, number) for number in range(2))
    with pytest.raises(SystemExit):
        one.answer(0, one.payload(0))
    one.step()
    assert "its training counts as failed in the store, and has not: OSError" in caplog.text
    told = other.answer(0, other.payload(0))
    assert not code_of(told)
    other.step({0: told})
    faulty.store.put(key_of(Kind.FAILURES, bytes(16)), b"damaged")
    refusal = answer(home, integers(3, mode=Mode.MALICIOUS).round(CONTEXT).encode(), train)
    assert code_of(refusal) == Code.FOREIGN_FILE
    assert b"`clear_failures()`" in refusal
    home.clear_failures()
    for each in (one, other):
        assert each.finish().total == sum_of(range(3))
    third = asked_for_an_input(home, train, 2)
    third.trains[0] = lambda asked: (
        faulty.store.put(key_of(Kind.FAILURES, bytes(16)), b"damaged") or train(asked)
    )
    assert third.finish().total == sum_of(range(3))
    assert "clear_failures()" in caplog.text


def test_a_training_that_was_given_up_counts_when_it_fails_later() -> None:
    """Also if the store did not take that it had not failed the first time."""
    faulty, fails = Faulty(), iter([AbandonedError, ValueError])

    def how(_: Assignment) -> None:
        faulty.next = "delete"
        raise next(fails)

    home = home_of(Mode.MALICIOUS, 0, store=faulty, ledger=faulty, failures=1)
    one = asked_for_an_input(home, how, 0)
    with pytest.raises(AbandonedError):
        one.answer(0, one.payload(0))
    assert code_of(one.answer(0, one.payload(0))) == Code.TRAINING
    offer = integers(3, mode=Mode.MALICIOUS).round(CONTEXT).encode()
    assert code_of(answer(home, offer, train)) == Code.TRAINING


def test_the_end_of_a_round_waits_for_the_home() -> None:
    """As every other payload does: a training may be under way in another thread."""
    home = home_of(Mode.SEMI_HONEST, 0, wait=0.0)
    for over in (Over(bytes(16), "", ""), Rejection(bytes(16), "version", "x")):
        with home.lock(), refused(StateError, Code.BUSY):
            answer(home, secagg.seal(over), train)


def test_a_ledger_that_answers_no_bool_is_the_operators_matter() -> None:
    """It raises, in every phase, and costs no round: a coroutine would count as True."""
    faulty = Faulty()
    one = World(homes={0: home_of(Mode.SEMI_HONEST, 0, store=faulty, ledger=faulty)})
    one.until(Phase.SHARE_KEYS)
    claim, faulty.ledger.claim = faulty.ledger.claim, lambda *_: None  # type: ignore[method-assign,assignment]
    with refused(StateError, Code.NO_LEDGER):
        one.answer(0, one.payload(0))
    faulty.ledger.claim = claim  # type: ignore[method-assign]
    assert one.finish().total == sum_of(range(3))


# ---- what an input is for -----------------------------------------------------------------


def test_a_party_says_what_its_input_is_for() -> None:
    """In the parts of the context, without the attempt; the round's format and length are those of
    its layout, or the server is told so, and nothing of the layout."""
    params = secagg.Params(3, LAYOUT.length, LAYOUT.format, mode=Mode.MALICIOUS)
    context = secagg.digest("trial", LAYOUT, W, 2)
    for params_, parts, code in (
        (params, ("trial", LAYOUT, W), ""),
        (params, ("trial", LAYOUT, NEW), Code.POLICY_CONTEXT),
        (params, ("trial", LAYOUT, W, 2), Code.POLICY_CONTEXT),
        (replace(params, format=secagg.FixedPoint(1e-9)), ("trial", LAYOUT, W), Code.POLICY_FORMAT),
        (replace(params, length=4711), ("trial", LAYOUT, W), Code.POLICY_LENGTH),
    ):
        asked = Assignment(params_.round(context), 0, 2)

        def how(asked: Assignment, parts: tuple[object, ...] = parts) -> np.ndarray:
            asked.expect(*parts)  # type: ignore[arg-type]
            return np.zeros(3)

        if not code:
            ask(how, asked)
            assert asked.context == context
            continue
        with refused(NoInputError, code, match="^refused by this client: the round ") as caught:
            ask(how, asked)
        assert "4711" not in str(caught.value)
        assert asked.context is None
