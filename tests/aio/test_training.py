"""`run_round`: one call is one sum, whatever fails, is cancelled, or was left by a process."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aio.loopback import linked, play, until
from aio.skipping import play_ahead
from harness import identity_of
from refusals import refused

from secagg import (
    Assignment,
    AttemptsExhaustedError,
    Code,
    Completed,
    Directory,
    Failed,
    Home,
    Integers,
    MemoryLedger,
    ModelLayout,
    ParameterError,
    Plan,
    Rounds,
    StateError,
    digest,
)
from secagg.aio import Hub, attend, run_round
from secagg.aio.greeting import hello
from secagg.drivers.conductor import PhaseEnded, RoundEnded
from secagg.drivers.envelope import Over, is_envelope

WORD, FORM = "trial 7", Integers(-100, 100)
NAMES = ("ada", "bell", "curie", "dirac")
QUICK: dict[str, Any] = {"settle": 0.0, "wait": 30.0, "timeouts": 30.0}
Train = Callable[[Assignment], Any]


def gives(assignment: Assignment) -> np.ndarray:
    """The training of a party: 1, and its index."""
    assignment.expect(WORD, "model")
    return np.array([1, assignment.index])


class Cohort:
    """A hub, and parties that take part in all rounds from memory."""

    def __init__(self, names: Sequence[str] = NAMES, train: Train = gives) -> None:
        self.hub = Hub()
        self._train = train
        self._names, self._tasks = names, list[asyncio.Task[None]]()
        self._sent: list[list[bytes]] = []

    async def __aenter__(self) -> "Cohort":
        for name in self._names:
            self.join(name)
        await self.hub.wait_for(len(self._names), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hub.close()
        await asyncio.gather(*self._tasks)

    def train_with(self, train: Train) -> None:
        """Lets all parties do something else from now on."""
        self._train = train

    def told(self) -> int:
        """Returns how many connections were told of the end of a round."""
        ends = bytes((Over.kind,))
        return sum(any(is_envelope(e) and e[3:4] == ends for e in sent) for sent in self._sent)

    def join(self, name: str) -> None:
        """Lets a party attend."""

        @asynccontextmanager
        async def connect() -> AsyncIterator[Any]:
            theirs, ours = linked()
            self._sent.append(ours.sent)
            served = asyncio.create_task(self.hub.attach(name, ours))
            try:
                yield theirs
            finally:
                theirs.close()
                await served

        home = Home.in_memory(attempts=3)
        self._tasks.append(asyncio.create_task(attend(home, connect, self._trained)))

    def _trained(self, assignment: Assignment) -> Any:
        return self._train(assignment)


def total(outcome: Completed | Failed) -> list[int]:
    """The sum of a round, which must have one."""
    assert isinstance(outcome, Completed), outcome
    return outcome.result.total.tolist()


def ends(rounds: Rounds) -> list[tuple[str, int]]:
    """Outcome and attempt of each round that was closed."""
    return [(record.outcome, record.attempt) for record in rounds.history]


def test_one_call_tries_until_there_is_a_sum() -> None:
    """With the next attempt, after too few were left; then the next call says what has happened."""

    def train(assignment: Assignment) -> np.ndarray | None:
        few = assignment.attempt == 0 and assignment.index > 1
        return None if few else gives(assignment)

    async def scenario() -> None:
        rounds = Rounds(WORD, FORM, attempts=2)
        async with Cohort(train=train) as cohort:
            outcome = await run_round(rounds, cohort.hub, 2, "model", **QUICK)
            assert total(outcome) == [4, 6]
            assert ends(rounds) == [("quorum", 0), ("completed", 1)]
            assert rounds.history[0].refused == {"curie": "no_input", "dirac": "no_input"}
            assert len(rounds.history[0].phases) == 3
            assert rounds.converged("model")
            with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, "converged"):
                await run_round(rounds, cohort.hub, 2, "model", **QUICK)

    play(scenario)


def test_a_failure_is_returned_when_no_try_is_left() -> None:
    """The reason says how many did not go on, and for what most of them; it has not converged."""
    reasons: dict[int, Exception | None] = {0: ValueError("secret"), 1: None, 2: OSError("secret")}

    def train(assignment: Assignment) -> np.ndarray | None:
        reason = reasons.get(assignment.index)
        if reason is not None:
            raise reason
        return None

    async def scenario() -> None:
        rounds = Rounds(WORD, FORM)
        async with Cohort(NAMES[:3], train) as cohort:
            outcome = await run_round(rounds, cohort.hub, 2, "model", **QUICK)
            assert isinstance(outcome, Failed)
            assert outcome.code is Code.QUORUM
            assert "; 3 did not go on, 2 of them: refused: the training of" in outcome.reason
            assert "[training]" in outcome.reason
            assert "secret" not in outcome.reason
            assert not rounds.converged("model")
            with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, "dropout rate"):
                await run_round(rounds, cohort.hub, 2, "model", **QUICK)

    play(scenario)


def test_it_waits_for_those_who_come() -> None:
    """For `least` parties as long as it may, and then a little for more; for nobody for ever."""

    async def scenario() -> None:
        rounds = Rounds(WORD, FORM, attempts=3)
        async with Cohort(NAMES[:2]) as cohort:
            with refused(ParameterError, Code.QUORUM):
                await run_round(rounds, cohort.hub, 2, "model", wait=0.01, settle=0.0)
            assert rounds.history == []
            more = QUICK | {"settle": 20.0, "wait": 600.0}
            waiting = asyncio.create_task(run_round(rounds, cohort.hub, 2, "model", **more))
            await asyncio.sleep(30)
            theirs, ours = linked()  # one that comes, and goes while it waits for more
            going = asyncio.create_task(cohort.hub.attach("babbage", ours))
            await theirs.send(hello())
            await cohort.hub.wait_for(3, 30)
            theirs.close()
            await going
            await asyncio.sleep(30)
            cohort.join("curie")
            await cohort.hub.wait_for(3, 30)
            cohort.join("dirac")  # while it waits for more
            assert total(await waiting) == [4, 6]
            assert ends(rounds) == [("completed", 0)]

    play_ahead(scenario)


def test_who_cannot_be_invited_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is connected: names that are not in the directory, more than the layout is for."""
    directory = Directory.of([(name, identity_of(i).verify_key) for i, name in enumerate(NAMES)])

    async def scenario() -> None:
        nonlocal asked
        rounds = Rounds(WORD, FORM, directory=directory)
        eligible = rounds.eligible

        def counted(names: Any) -> list[str]:
            nonlocal asked
            asked += 1
            return eligible(names)

        rounds.eligible = counted  # type: ignore[method-assign]
        async with Cohort([*NAMES[:2], "eve", "mallory"]) as cohort:
            for _ in range(2):
                with refused(ParameterError, Code.QUORUM, "2 parties are present"):
                    await run_round(rounds, cohort.hub, 2, "model", wait=0.01, settle=0.0)
            assert 0 < asked < 20  # it slept meanwhile
        assert caplog.text.count("'eve' is not in the directory") == 1
        rounds = Rounds(WORD, FORM, attempts=2)
        layout = ModelLayout.of({"w": [0, 0]}, FORM, cohort=3)

        def train(assignment: Assignment) -> np.ndarray:
            assignment.expect(WORD, layout, "model")
            return np.array([1, assignment.index])

        async with Cohort(train=train) as cohort:
            outcome = await run_round(rounds, cohort.hub, layout, "model", **QUICK)
            assert total(outcome) == [3, 3]

    asked = 0
    play(scenario)


@pytest.mark.parametrize("call", ["plan", "resume"])
def test_what_was_planned_meanwhile_is_not_lost(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is cancelled, also twice, while another thread plans: the next takes it up."""

    async def scenario() -> None:
        rounds, called = Rounds(WORD, FORM), threading.Event()
        real = getattr(rounds, call)
        if call == "resume":
            rounds.leave(rounds.plan(NAMES, 2, "model"))

        def slow(*args: Any, **more: Any) -> Any:
            planned = real(*args, **more)
            called.set()
            time.sleep(0.05)
            return planned

        async with Cohort() as cohort:
            monkeypatch.setattr(rounds, call, slow)
            running = asyncio.create_task(run_round(rounds, cohort.hub, 2, "model", **QUICK))
            await asyncio.to_thread(called.wait, 30)
            for _ in range(2):
                running.cancel()
                await asyncio.sleep(0.01)
            with pytest.raises(asyncio.CancelledError):
                await running
            monkeypatch.undo()
            assert total(await run_round(rounds, cohort.hub, 2, "model", **QUICK)) == [4, 6]
            assert ends(rounds) == [("completed", 0)]

    play(scenario)


@pytest.mark.parametrize("process", ["the same", "another"])
def test_a_call_that_was_cancelled_goes_on_in_the_next(process: str, memory_path: Path) -> None:
    """In the same round, which is closed once: no attempt is lost, and nobody trains twice."""
    trains, may_go_on = threading.Event(), threading.Event()
    trained: list[int] = []

    def train(assignment: Assignment) -> np.ndarray:
        assignment.expect(WORD, layout, "model")
        trained.append(assignment.index)
        trains.set()
        may_go_on.wait(30)
        return np.array([1, assignment.index])

    def new() -> Rounds:
        return Rounds(WORD, FORM, home=Home(memory_path, ledger=LEDGER))

    async def scenario() -> None:
        rounds = new()
        async with Cohort(train=train) as cohort:
            call = asyncio.create_task(run_round(rounds, cohort.hub, layout, "model", **QUICK))
            await asyncio.to_thread(trains.wait, 30)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert rounds.history == []
            rounds = rounds if process == "the same" else new()
            may_go_on.set()
            assert total(await run_round(rounds, cohort.hub, layout, "model", **QUICK)) == [4, 6]
            assert ends(rounds) == [("completed", 0)]
            assert sorted(trained) == [0, 1, 2, 3]
            assert rounds.resume() == []

    LEDGER = MemoryLedger()  # noqa: N806
    layout = ModelLayout.of({"w": [0, 0]}, FORM, cohort=4)
    play(scenario)


def test_a_round_that_was_left_is_a_try() -> None:
    """Also where no attempt is left for another one."""

    def train(assignment: Assignment) -> np.ndarray | None:
        return gives(assignment) if assignment.attempt else None

    async def scenario() -> None:
        rounds = Rounds(WORD, FORM, attempts=2)
        for _ in range(2):
            rounds.leave(rounds.plan(NAMES, 2, "model"))
        async with Cohort(train=train) as cohort:
            assert total(await run_round(rounds, cohort.hub, 2, "model", **QUICK)) == [4, 6]
            assert ends(rounds) == [("quorum", 0), ("completed", 1)]

    play(scenario)


def test_one_round_that_was_left_is_enough() -> None:
    """Others about the same are given up once there is a sum; those about another thing are not."""

    async def scenario() -> None:
        rounds = Rounds(WORD, FORM, attempts=3)
        for about in ("model", "model", "another"):
            rounds.leave(rounds.plan(NAMES, 2, about))
        async with Cohort() as cohort:
            outcome = await run_round(rounds, cohort.hub, 2, "model", **QUICK)
            assert total(outcome) == [4, 6]
            assert ends(rounds) == [("completed", 0), ("abandoned", 1)]
            assert [plan.context for plan in rounds.resume()] == [digest(WORD, "another", 0)]

    play(scenario)


def test_a_sum_is_not_lost_with_the_disk(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The attempt is used anyway. A failure that cannot be noted is an error."""

    def fails(*_: object) -> bool:
        raise StateError("the disk is full", Code.IO)

    def fails_later(plan: Plan, outcome: object) -> bool:
        return close(plan, outcome) if outcome else fails()

    async def scenario() -> None:
        nonlocal close
        rounds = Rounds(WORD, FORM, attempts=2)
        for _ in range(2):  # of which one is then given up
            rounds.leave(rounds.plan(NAMES, 2, "model"))
        close = rounds.close
        monkeypatch.setattr(rounds, "close", fails_later)
        async with Cohort() as cohort:
            assert total(await run_round(rounds, cohort.hub, 2, "model", **QUICK)) == [4, 6]
            assert "given up was not noted: the disk is full" in caplog.text
            assert [plan.attempt for plan in rounds.resume()] == [1]
        rounds = Rounds(WORD, FORM, attempts=3)
        monkeypatch.setattr(rounds, "close", fails)
        async with Cohort() as cohort:
            assert total(await run_round(rounds, cohort.hub, 2, "model", **QUICK)) == [4, 6]
            assert "was not noted: the disk is full" in caplog.text
            cohort.train_with(lambda assignment: None)
            assert total(await run_round(rounds, cohort.hub, 2, "model", **QUICK)) == [4, 6]
            with refused(StateError, Code.IO):
                await run_round(rounds, cohort.hub, 2, "another", **QUICK)
            monkeypatch.undo()
            assert rounds.plan(NAMES, 2, "another").attempt == 1

    close: Any = None
    play(scenario)


async def _keeps_later(*_: object) -> None:
    """Stores nothing until somebody awaits it."""


WRONG: dict[str, tuple[dict[str, Any], Code]] = {
    "another format": (
        {"shape": ModelLayout.of({"w": [0, 0]}, Integers(-9, 9), cohort=9)},
        Code.LAYOUT,
    ),
    "a smaller cohort": ({"shape": ModelLayout.of({"w": [0, 0]}, FORM, cohort=2)}, Code.LAYOUT),
    "no shape": ({"shape": None}, Code.ARGUMENT),
    "a wait below zero": ({"wait": -1}, Code.ARGUMENT),
    "a wait that is no number": ({"wait": float("nan")}, Code.ARGUMENT),
    "an endless pause": ({"settle": float("inf")}, Code.ARGUMENT),
    "no pause": ({"settle": None}, Code.ARGUMENT),
    "no timeout": ({"timeouts": 0}, Code.ARGUMENT),
    "a timeout of no phase": ({"timeouts": {"unmask": 1}}, Code.ARGUMENT),
    "a task that is text": ({"task": "model"}, Code.ARGUMENT),
    "a grace below zero": ({"grace": -1}, Code.ARGUMENT),
    "no executor": ({"executor": 4}, Code.ARGUMENT),
    "nothing to keep with": ({"keep": "model"}, Code.ARGUMENT),
    "a keep that nobody awaits": ({"keep": _keeps_later}, Code.ARGUMENT),
    "a part of one": ({"keep": partial(_keeps_later, "model")}, Code.ARGUMENT),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_cost_no_attempt(name: str) -> None:
    """They are refused, and the next call has the first attempt."""
    wrong, code = WRONG[name]

    async def scenario() -> None:
        rounds = Rounds(WORD, FORM)
        async with Cohort() as cohort:
            arguments = QUICK | {"shape": 2} | wrong
            with refused(ParameterError, code):
                await run_round(rounds, cohort.hub, arguments.pop("shape"), "model", **arguments)
            assert rounds.resume() == []  # nothing was planned
            assert total(await run_round(rounds, cohort.hub, 2, "model", **QUICK)) == [4, 6]
            assert ends(rounds) == [("completed", 0)]

    play(scenario)


@pytest.mark.parametrize("process", ["the same", "another"])
def test_a_sum_that_was_not_kept_is_not_lost(process: str, memory_path: Path) -> None:
    """It is kept before clients hear of the end and before anything is forgotten."""
    trained: list[int] = []
    kept: list[list[int]] = []
    full = True

    def train(assignment: Assignment) -> np.ndarray:
        trained.append(assignment.index)
        return gives(assignment)

    def keep(outcome: Completed) -> None:
        assert threading.current_thread() is not threading.main_thread()
        kept.append(total(outcome))
        if full:
            raise OSError("the disk is full")

    def new() -> Rounds:
        return Rounds(WORD, FORM, home=Home(memory_path, ledger=ledger))

    async def scenario() -> None:
        nonlocal full
        rounds = new()
        async with Cohort(train=train) as cohort:
            for _ in range(2):
                with pytest.raises(OSError, match="the disk is full"):
                    await run_round(rounds, cohort.hub, 2, "model", keep=keep, **QUICK)
                assert not rounds.converged("model")
                rounds = rounds if process == "the same" else new()
            full = False
            outcome = await run_round(rounds, cohort.hub, 2, "model", keep=keep, **QUICK)
            assert [total(outcome), *kept] == [[4, 6]] * 4
            assert sorted(trained) == [0, 1, 2, 3]
            assert ends(rounds) == [("completed", 0)]
            assert rounds.home is not None
            assert list(rounds.home.store.sessions()) == []
            assert new().resume() == []

    ledger = MemoryLedger()
    play(scenario)


def test_a_sum_that_is_kept_ends_the_round(memory_path: Path) -> None:
    """Also if the call is cancelled meanwhile; and a round that fails keeps nothing."""
    keeps, may_go_on = threading.Event(), threading.Event()

    def keep(outcome: Completed) -> None:
        keeps.set()
        may_go_on.wait(30)

    async def scenario() -> None:
        rounds = Rounds(WORD, FORM, home=Home(memory_path, ledger=MemoryLedger()), attempts=2)
        async with Cohort() as cohort:
            call = asyncio.create_task(
                run_round(rounds, cohort.hub, 2, "model", keep=keep, **QUICK)
            )
            await asyncio.to_thread(keeps.wait, 30)
            call.cancel()
            may_go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert ends(rounds) == [("completed", 0)]
            assert rounds.resume() == []
            await until(lambda: cohort.told() == 4)  # none waits for what does not come
            keeps.clear()
            cohort.train_with(lambda assignment: None)
            outcome = await run_round(rounds, cohort.hub, 2, "model", keep=keep, **QUICK)
            assert isinstance(outcome, Failed)
            assert not keeps.is_set()
            assert list(rounds.home.store.sessions()) == []  # type: ignore[union-attr]

    play(scenario)


def test_the_log_says_who_is_missing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name if there is a directory; at once, and as a warning after a minute, then seldom."""
    directory = Directory.of([(name, identity_of(i).verify_key) for i, name in enumerate(NAMES)])
    caplog.set_level("INFO", "secagg.rounds")
    monkeypatch.setattr("secagg.aio.training._TELL_AGAIN", 0.0)
    only = {"wait": 0.02, "settle": 0.0}

    async def scenario() -> None:
        async with Cohort(NAMES[:2]) as cohort:
            for rounds in (Rounds(WORD, FORM), Rounds(WORD, FORM, directory=directory)):
                with refused(ParameterError, Code.QUORUM):
                    await run_round(rounds, cohort.hub, 2, "model", **only)

    play(scenario)
    told = [(each.levelname, each.getMessage()) for each in caplog.records]
    line = "waiting for 3 parties, 2 are here: ada, bell"
    named = line + "; not here: curie, dirac"
    assert told == [(how, text) for text in (line, named) for how in ("INFO", "WARNING")]


def test_nobody_is_told_before_the_sum_is_kept(
    memory_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often `keep` fails, and whatever observer and store do; afterwards all are told."""

    def observe(happened: PhaseEnded | RoundEnded) -> None:
        if isinstance(happened, RoundEnded):
            raise RuntimeError("no metrics today")

    def fails(_: bytes) -> None:
        raise OSError("the disk is read-only")

    async def scenario() -> None:
        told: list[int] = []

        def keep(_: Completed) -> None:
            told.append(cohort.told())
            if len(told) < 3:
                raise OSError("the disk is full")

        home = Home(memory_path, ledger=MemoryLedger())
        monkeypatch.setattr(home.store, "delete", fails)
        rounds = Rounds(WORD, FORM, home=home, observe=observe)
        async with Cohort() as cohort:
            for _ in range(2):
                with pytest.raises(OSError, match="the disk is full"):
                    await run_round(rounds, cohort.hub, 2, "model", keep=keep, **QUICK)
            assert total(await run_round(rounds, cohort.hub, 2, "model", keep=keep, **QUICK)) == [
                4,
                6,
            ]
            await until(lambda: cohort.told() == 4)
        assert told == [0, 0, 0]
        assert "was not removed: OSError: the disk is read-only" in caplog.text

    play_ahead(scenario)


def test_a_sum_that_would_be_kept_later_is_not_kept() -> None:
    """If `keep` returns an awaitable the round stays open, and its sum can still be kept."""

    async def scenario() -> None:
        rounds, kept = Rounds(WORD, FORM), list[Completed]()
        async with Cohort() as cohort:
            made = asyncio.get_running_loop().create_future()
            for late in (lambda outcome: _keeps_later("model"), lambda outcome: made):
                with refused(ParameterError, Code.ARGUMENT, "keep must .*asyncio.run"):
                    await run_round(rounds, cohort.hub, 2, "model", keep=late, **QUICK)
                assert cohort.told() == 0
            await run_round(rounds, cohort.hub, 2, "model", keep=kept.append, **QUICK)
        assert [total(each) for each in kept] == [[4, 6]]

    play_ahead(scenario)
