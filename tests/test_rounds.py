"""Rounds: a number of an attempt is used once, whatever fails or dies; cohorts are of the present.

Rounds are carried out by `lockstep`, which stands for every driver.
"""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from harness import MODES, directory_of, identity_of
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import amount
from refusals import refused

import secagg
from secagg import (
    Assignment,
    AttemptsExhaustedError,
    Client,
    Code,
    Completed,
    Directory,
    Dropped,
    Failed,
    FixedPoint,
    Home,
    IdentityError,
    InputNeeded,
    Integers,
    Layout,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    ModelLayout,
    Once,
    ParameterError,
    Phase,
    Plan,
    Policy,
    RangeError,
    RoundRecord,
    Rounds,
    Send,
    Server,
    StateError,
    aio,
    digest,
)
from secagg.drivers.conductor import Observer, PhaseEnded, RoundEnded, Snapshots
from secagg.drivers.envelope import Invitation, Refusal, seal
from secagg.files import locked_folder
from secagg.identity.files import write_file
from secagg.rounds.record import listed

WORD = "trial 7"
PINS = directory_of(6)
NAMES = [entry.name for entry in PINS.entries]
FORMAT = Integers(-100, 100)
LEDGER = MemoryLedger()
MODEL = {"w": np.arange(3.0), "b": [0.5]}


def home_in(folder: Path) -> Home:
    """A coordinator's home; its ledger is in memory, as files of SQLite take a while to make."""
    return Home(folder, ledger=LEDGER)


def of(mode: Mode, **more: Any) -> Rounds:
    """Rounds in a mode, of small cohorts."""
    directory = PINS if mode is Mode.MALICIOUS else None
    return Rounds(WORD, FORMAT, directory=directory, **more)


def own_number(name: str) -> int:
    """Returns the number that a party adds."""
    return NAMES.index(name) + 1


def carry(
    plan: Plan,
    observe: Observer | None,
    gone: Mapping[str, Phase] | None = None,
    store: Snapshots | None = None,
    ledgers: Mapping[str, MemoryLedger] | None = None,
    *about: Any,
    refusing: Collection[str] = (),
) -> Completed | Failed:
    """Carries a round out with honest clients that compute the context by themselves."""
    gone, malicious = gone or {}, plan.params.mode is Mode.MALICIOUS
    agreed = plan.server.round
    pins = Directory(tuple(PINS.entries[at] for at in plan.members)) if malicious else None
    clients = {}
    for index, name in enumerate(plan.names):
        own = {}
        if malicious:
            own = {
                "identity": identity_of(NAMES.index(name)),
                "directory": pins,
                "ledger": ledgers[name] if ledgers else MemoryLedger(),
            }
        clients[index] = Client(agreed, index, Policy(), **own)
        clients[index].expect(digest(WORD, *about, plan.attempt))

    def exchange(phase: Phase, asked: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        for index, payload in asked.items():
            if gone.get(plan.names[index]) is not phase:
                yield from (
                    (index, each) for each in replies(plan, clients[index], payload, refusing)
                )

    return secagg.lockstep(plan.server, exchange, None, store, observe=observe)


def begin_and_die(plan: Plan, home: Home) -> None:
    """Stores the first phase of a round, and then the transport raises."""

    def exchange(phase: Phase, asked: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        secagg.lockstep(plan.server, exchange, None, home)


def replies(plan: Plan, client: Client, payload: bytes, refusing: Collection[str]) -> list[bytes]:
    """Returns the messages that a client sends when it gets one."""
    if payload == plan.server.offer:
        return [client.start()]
    sent = []
    for event in client.receive(payload):
        if isinstance(event, Send):
            sent.append(event.payload)
        elif isinstance(event, InputNeeded) and plan.names[client.index] in refusing:
            refusal = Refusal(client.session, str(Code.NO_INPUT), "nothing to give")
            sent.append(seal(refusal))
        elif isinstance(event, InputNeeded):
            sent.append(client.submit([own_number(plan.names[client.index])] * 2))
    return sent


EARLY = dict.fromkeys(NAMES[:4], Phase.ADVERTISE_KEYS)
LATE = dict.fromkeys(NAMES[:4], Phase.MASKED_INPUT)


# ---- a training ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_training(mode: Mode, memory_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It sums those present, tries again with those present then, and keeps a history by names.

    The log says who is in a round, who was dropped, and why.
    """
    caplog.set_level(logging.INFO, "secagg.rounds")
    seen: list[PhaseEnded | RoundEnded] = []
    rounds = of(mode, attempts=2, home=home_in(memory_path), observe=seen.append)
    layout = Layout.of([0.0, 0.0])

    first = rounds.plan(["party-4", "party-0", "party-2", "party-3"], layout, 0, MODEL)
    assert first.context == digest(WORD, 0, MODEL, 0) == first.server.context
    assert not rounds.close(first, carry(first, rounds.observe, {}, None, None, 0, MODEL))

    lost = rounds.plan(NAMES, 2, 1, MODEL)
    assert lost.params.cohort == 6
    assert rounds.close(lost, carry(lost, rounds.observe, LATE, None, None, 1, MODEL))
    again = rounds.plan(NAMES[2:], 2, 1, MODEL)
    assert again.attempt == 1
    assert again.context == digest(WORD, 1, MODEL, 1)
    refuses = {"party-5"}
    outcome = carry(again, rounds.observe, {}, None, None, 1, MODEL, refusing=refuses)
    assert not rounds.close(again, outcome)

    malicious = mode is Mode.MALICIOUS
    order = "party-0 party-2 party-3 party-4" if malicious else "party-4 party-0 party-2 party-3"
    assert first.names == tuple(order.split())
    assert first.members == ((0, 2, 3, 4) if malicious else ())
    records = rounds.history
    assert [record.outcome for record in records] == ["completed", "quorum", "completed"]
    assert [record.number for record in records] == [0, 1, 2]
    assert [record.survivors for record in records] == [first.names, (), tuple(NAMES[2:5])]
    assert records[1].dropped == dict.fromkeys(LATE, "timeout")
    assert records[2].dropped == {"party-5": "refused"}
    assert records[2].refused == {"party-5": "no_input"}
    assert sum(isinstance(each, RoundEnded) for each in seen) == 3
    check_record(records[0], first)
    told = [each.getMessage() for each in caplog.records if each.name == "secagg.rounds"]
    cohort = ", ".join(f"{at} {name}" for at, name in enumerate(NAMES[2:]))
    session = again.server.session.hex()
    assert told[-2:] == [
        f"{session}: round 2, attempt 1 of 'trial 7': {cohort}",
        f"{session}: round 2: a sum of 3; dropped: party-5 (no_input)",
    ]
    assert told[-3].endswith("[quorum]; dropped: " + ", ".join(f"{n} (timeout)" for n in LATE))


class Line:
    """One end of a connection in memory."""

    def __init__(self, mine: asyncio.Queue[bytes | None], other: asyncio.Queue[bytes | None]):
        self.mine, self.other = mine, other

    async def send(self, data: bytes) -> None:
        await self.other.put(data)

    async def receive(self) -> bytes:
        data = await self.mine.get()
        if data is None:
            raise EOFError
        return data


class Training:
    """A training as in `docs/DRIVERS.md`: parties with homes, a round that fails, restarts.

    The parties add 1 to the model in each round; in the first attempt of round 1 too few do.
    """

    def __init__(self, mode: Mode, folder: Path) -> None:
        malicious = mode is Mode.MALICIOUS
        self.pins, self.home = PINS if malicious else None, home_in(folder)
        self.model, self.attempts = np.zeros(2), list[int]()
        self.parties = {
            name: Home.in_memory(
                policy=Policy(min_survivors=3),
                identity=identity_of(NAMES.index(name)) if malicious else None,
                directory=self.pins,
                ledger=MemoryLedger() if malicious else None,
                attempts=2,
            )
            for name in NAMES
        }

    def rounds(self) -> Rounds:
        """As a new process makes them."""
        form = FixedPoint(10.0)
        return Rounds(WORD, form, directory=self.pins, home=self.home, attempts=2, least=4)

    def task(self, number: int) -> bytes:
        """The model; the number of the round is for the test, and in no context."""
        return bytes([number]) + self.model.tobytes()

    @staticmethod
    def train(assignment: Assignment) -> np.ndarray | None:
        number, model = assignment.task[0], np.frombuffer(assignment.task[1:])
        assignment.expect(WORD, model)
        fails = (number, assignment.attempt) == (1, 0) and assignment.index > 1
        return None if fails else model + 1

    def step(self, outcome: Completed | Failed) -> None:
        assert isinstance(outcome, Completed), outcome
        self.model = self.model + outcome.result.mean

    def check(self) -> None:
        assert self.attempts == [0, 0, 1, 0]
        np.testing.assert_allclose(self.model, [7.0, 7.0], atol=1e-4)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_loop_of_a_training_in_lockstep(mode: Mode, memory_path: Path) -> None:
    """Over a framework that calls its clients."""
    training = Training(mode, memory_path)

    def exchange_for(plan: Plan, task: bytes) -> Callable[..., Iterator[tuple[int, bytes]]]:
        def exchange(_: Phase, asked: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
            for index, payload in asked.items():
                invited = Invitation(plan.server.offer, index, plan.members, plan.attempt)
                message = seal(invited) if payload == plan.server.offer else payload
                home = training.parties[plan.names[index]]
                yield index, secagg.answer(home, message, training.train, task=task)

        return exchange

    for number in range(3):
        rounds, again = training.rounds(), True
        while again:
            plan = rounds.plan(NAMES[number:], 2, training.model)
            exchange = exchange_for(plan, training.task(number))
            outcome = secagg.lockstep(
                plan.server, exchange, store=training.home, observe=rounds.observe
            )
            training.attempts.append(plan.attempt)
            again = rounds.close(plan, outcome)
        training.step(outcome)
    training.check()


def test_the_simulation_of_the_document() -> None:
    """Three sites in one process come to the mean of what they learn from."""
    document = (Path(__file__).parents[1] / "docs" / "DRIVERS.md").read_text()
    [block] = [each for each in document.split("```python\n") if "Home.in_memory() for" in each]
    names: dict[str, Any] = {}
    exec(block.partition("```")[0], names)  # noqa: S102
    np.testing.assert_allclose(names["model"]["w"], [0.35] * 3, atol=1e-4)
    assert [each.outcome for each in names["rounds"].history] == ["completed"] * 3


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_the_loop_of_a_training_over_asyncio(mode: Mode, memory_path: Path) -> None:
    """With clients that stay connected."""
    training = Training(mode, memory_path)

    async def play() -> None:
        hub = aio.Hub()

        def connect_as(name: str) -> Callable[..., Any]:
            @asynccontextmanager
            async def connect() -> AsyncIterator[Line]:
                up, down = asyncio.Queue[bytes | None](), asyncio.Queue[bytes | None]()
                served = asyncio.ensure_future(hub.attach(name, Line(up, down)))
                yield Line(down, up)
                await up.put(None)
                await served

            return connect

        clients = [
            asyncio.ensure_future(aio.attend(home, connect_as(name), training.train))
            for name, home in training.parties.items()
        ]
        for number in range(3):
            rounds, again = training.rounds(), True
            while again:
                present = await hub.wait_for(6, timeout=60)
                plan = rounds.plan(sorted(present)[number:], 2, training.model)
                outcome = await aio.serve(
                    plan.server,
                    hub.net(plan.names),
                    store=training.home,
                    task=training.task(number),
                    members=plan.members,
                    attempt=plan.attempt,
                    observe=rounds.observe,
                )
                training.attempts.append(plan.attempt)
                again = rounds.close(plan, outcome)
            training.step(outcome)
        await hub.close()
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    asyncio.run(asyncio.wait_for(play(), 60))
    training.check()


def test_a_server_that_lies_about_numbers_gets_no_second_update(memory_path: Path) -> None:
    """The number of the round is in the task and in no context: one model, one update."""
    training = Training(Mode.MALICIOUS, memory_path)

    def exchange(_: Phase, asked: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        for index, payload in asked.items():
            invited = Invitation(plan.server.offer, index, plan.members, plan.attempt)
            message = seal(invited) if payload == plan.server.offer else payload
            home, task = training.parties[plan.names[index]], training.task(number)
            yield index, secagg.answer(home, message, training.train, task=task)

    for number in (0, 7):
        training.home = Home.in_memory()  # the server says that it has lost its counts
        rounds = training.rounds()
        plan = rounds.plan(NAMES, 2, training.model)
        rounds.close(plan, secagg.lockstep(plan.server, exchange, observe=rounds.observe))
        refusals = set() if number == 0 else {"repeated_contribution"}
        assert set(rounds.history[-1].refused.values()) == refusals
        assert rounds.history[-1].outcome == ("quorum" if refusals else "completed")


def check_record(record: RoundRecord, plan: Plan) -> None:
    """Checks the record of a good round, also in JSON, under names that stay."""
    shown = json.loads(json.dumps(record.as_dict()))
    assert list(shown) == [
        *("number", "attempt", "session", "cohort", "survivors", "dropped", "refused"),
        *("disputes", "outcome", "reason", "inputs_left", "seconds", "phases"),
    ]
    assert shown["session"] == plan.server.session.hex()
    assert [each["phase"] for each in shown["phases"]] == list(map(str, plan.server.phases))
    assert list(shown["phases"][0]) == ["phase", "seconds", "bytes_up", "bytes_down", "answered"]
    assert shown["phases"][0]["answered"] == len(plan.names)
    assert sum(each["bytes_up"] for each in shown["phases"]) == plan.server.status.bytes_received
    assert 0 < sum(each["seconds"] for each in shown["phases"]) <= shown["seconds"] * 1.01


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize(
    ("gone", "observed", "left"), [(EARLY, True, False), (EARLY, False, True), (LATE, True, True)]
)
def test_an_attempt_is_used_unless_inputs_are_known_to_have_stayed(
    mode: Mode, gone: Mapping[str, Phase], observed: bool, left: bool
) -> None:
    """The driver's reports decide; without a report they may have left."""
    rounds = of(mode, attempts=2)
    ledgers = {name: MemoryLedger() for name in NAMES}
    plan = rounds.plan(NAMES, 2, MODEL)
    outcome = carry(plan, rounds.observe if observed else None, gone, None, ledgers, MODEL)
    assert rounds.close(plan, outcome)
    assert rounds.history[-1].inputs_left is left
    second = rounds.plan(NAMES, 2, MODEL)
    assert second.attempt == int(left)
    assert isinstance(carry(second, None, {}, None, ledgers, MODEL), Completed)
    assert not rounds.close(second, Failed("disputed", Code.SHARES), inputs_left=False)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_tries_and_attempts_run_out(mode: Mode) -> None:
    """After so many failures in turn, or when clients give no more, no other try is advised."""
    failed, early = Failed("too few", Code.QUORUM), {"inputs_left": False}
    rounds = of(mode, tries=2)
    advice = [rounds.close(rounds.plan(NAMES, 2, 0), failed, **early) for _ in range(4)]
    assert advice == [True, False, True, False]  # a caller that goes on begins to count anew
    assert not rounds.close(rounds.plan(NAMES, 2, 0), failed)
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, "1 of 1.*dropout rate"):
        rounds.plan(NAMES, 2, 0)
    rounds.close(rounds.plan(NAMES, 2, 1), result_of(6), inputs_left=False)
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, "1 of 1.*converged.*new word"):
        rounds.plan(NAMES, 2, 1)


@pytest.mark.parametrize(
    ("codes", "gone", "again"),
    [
        (["policy_colluders"] * 4, 0, False),
        (["no_context", "version", "policy_mode"], 1, False),  # they are too many without the other
        (["policy_context"], 3, True),
        (["no_input", "training", "repeated_contribution", "of_a_newer_version"], 0, True),
    ],
)
def test_refusals_that_would_come_again_are_no_reason_to_try_again(
    codes: list[str], gone: int, again: bool
) -> None:
    """If they alone are too many; who was lost may be there the next time."""
    for seen in (True, False):
        rounds = of(Mode.SEMI_HONEST)
        plan = rounds.plan(NAMES, 2, 0)
        session, failed = plan.server.session, Failed("too few", Code.QUORUM)
        refusals = {at: Refusal(session, code, "x") for at, code in enumerate(codes)}
        drops = {at: Dropped(at, "x", Code.REFUSED) for at in range(len(codes) + gone)}
        if seen:
            rounds.observe(RoundEnded(session, 1.0, failed, drops, refusals))
        assert rounds.close(plan, failed, inputs_left=False) is (again or not seen)
        told = dict.fromkeys(NAMES[: len(drops)], "refused")  # though no phase was seen here
        assert rounds.history[-1].dropped == (told if seen else {})


def result_of(cohort: int) -> Completed:
    """A result of all."""
    total = np.zeros(2, np.int64)
    return Completed(secagg.Result(total, 1, total / 1, tuple(range(cohort))))


def test_rounds_may_overlap_and_end_in_any_order() -> None:
    """Each keeps its own number; one that comes back is used next."""
    rounds = of(Mode.MALICIOUS, attempts=3)
    a, b, c = (rounds.plan(NAMES, 2, MODEL) for _ in range(3))
    assert [plan.attempt for plan in (a, b, c)] == [0, 1, 2]
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, "still open: close it, or go on"):
        rounds.plan(NAMES, 2, MODEL)
    rounds.close(b, Failed("too few", Code.QUORUM), inputs_left=False)
    again = rounds.plan(NAMES, 2, MODEL)
    assert again.attempt == 1
    for plan in (c, again, a):
        assert not rounds.close(plan, None)
    assert [record.number for record in rounds.history] == [1, 2, 3, 0]
    assert {record.outcome for record in rounds.history[1:]} == {"abandoned"}


def test_a_cohort_of_at_most() -> None:
    """Some of those present are drawn, and not always the same; the order stays.

    `most`, or as many as the layout is for.
    """
    layout = ModelLayout.of({"w": [0, 0]}, FORMAT, cohort=3)
    for most, shape in ((3, 2), (None, layout)):
        rounds = of(Mode.MALICIOUS, least=3, most=most)
        drawn = {rounds.plan(NAMES, shape, number).names for number in range(15)}
        assert len(drawn) > 1
        for names in drawn:
            assert len(names) == 3
            assert list(names) == sorted(names, key=NAMES.index)


def test_parameters_by_fractions_or_numbers() -> None:
    """For each cohort its own."""
    by_fractions = of(Mode.SEMI_HONEST, corrupt=0.2, dropout=0.2, least=5)
    for present in (NAMES[:5], NAMES):
        expected = secagg.Params.for_cohort(len(present), 7, FORMAT, corrupt=0.2, dropout=0.2)
        assert by_fractions.plan(present, 7, len(present)).params == expected
    by_numbers = of(Mode.MALICIOUS, threshold=5, colluders=1, least=6)
    for number, shape in enumerate((7, np.int64(7), np.array(7), Layout.of([0.0] * 7))):
        params = by_numbers.plan(NAMES, shape, number).params  # type: ignore[arg-type]
        assert (params.threshold, params.colluders, params.mode) == (5, 1, Mode.MALICIOUS)
        assert (params.length, type(params.length)) == (7, int)


def test_a_layout_of_other_rounds_is_refused() -> None:
    """Of another format, or for fewer parties than are invited; one for more is right."""
    rounds = of(Mode.SEMI_HONEST, least=6)
    for form, cohort in ((Integers(-9, 9), 6), (FORMAT, 5)):
        with refused(ParameterError, Code.LAYOUT):
            rounds.plan(NAMES, ModelLayout.of({"w": [0, 0]}, form, cohort=cohort), 0)
    plan = rounds.plan(NAMES, ModelLayout.of({"w": [0, 0]}, FORMAT, cohort=7), 0)
    assert (plan.params.length, plan.number, plan.attempt) == (2, 0, 0)


def test_a_layout_is_part_of_what_a_round_is_about() -> None:
    """By itself, once; so clients with another layout refuse, and no server can leave it out."""
    rounds = of(Mode.MALICIOUS)
    layout, other = (ModelLayout.of({"w": [0, 0]}, FORMAT, cohort=n) for n in (6, 7))
    wider = ModelLayout.of({"v": [0, 0]}, FORMAT, cohort=6)
    for about in ((layout, MODEL), (MODEL, other)):
        with refused(ParameterError, Code.LAYOUT, "leave it out"):
            rounds.plan(NAMES, layout, *about)
    plan = rounds.plan(NAMES, layout, MODEL)
    assert plan.context == digest(WORD, layout, MODEL, 0) == plan.server.round.context
    assert rounds.plan(NAMES, wider, MODEL).context == digest(WORD, wider, MODEL, 0)
    assert rounds.plan(NAMES, wider).context == digest(WORD, wider, 0)
    with refused(secagg.Aborted, Code.POLICY_CONTEXT):
        carry(plan, rounds.observe, {}, None, None, MODEL)
    rounds.close(plan, carry(plan, rounds.observe, {}, None, None, layout, MODEL))
    assert rounds.converged(layout, MODEL)
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED):
        rounds.plan(NAMES, other, MODEL)  # the same layout, for more parties


def test_arrays_of_any_library_are_a_subject() -> None:
    """As for `digest`: equal numbers in one structure are one subject."""

    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.arange(3.0)

    rounds = of(Mode.MALICIOUS, attempts=2)
    assert rounds.plan(NAMES, 2, np.arange(3.0)).attempt == 0
    assert rounds.plan(NAMES, 2, np.arange(3.0)[::-1][::-1]).attempt == 1
    for other in ([np.arange(3.0)], np.arange(3.0, dtype=np.float32), np.arange(3)):
        assert rounds.plan(NAMES, 2, other).attempt == 0
    with refused(RangeError, Code.NOT_FINITE):
        rounds.plan(NAMES, 2, np.array([np.nan]))


# ---- wrong use ----------------------------------------------------------------------------

MALICIOUS = {"directory": PINS}
WRONG: dict[str, tuple[dict[str, Any], Code]] = {
    "no word": ({"training": ""}, Code.ARGUMENT),
    "no text": ({"training": 7}, Code.ARGUMENT),
    "no directory": ({"mode": Mode.MALICIOUS}, Code.NO_DIRECTORY),
    "a directory for nothing": ({**MALICIOUS, "mode": Mode.SEMI_HONEST}, Code.DOWNGRADE),
    "something else as directory": ({"directory": NAMES}, Code.ARGUMENT),
    "half of the fractions": ({"corrupt": 0.1}, Code.ARGUMENT),
    "fractions and numbers": ({"corrupt": 0.1, "dropout": 0.1, "colluders": 1}, Code.ARGUMENT),
    "fractions beyond": ({"corrupt": 0.2, "dropout": 0.6, "least": 5}, Code.UNSAFE_FRACTIONS),
    "unsafe numbers": ({"colluders": 2}, Code.UNSAFE_SUM),
    "unsafe for the largest cohort": ({"threshold": 3, "most": 6}, Code.UNSAFE_THRESHOLD),
    "a cohort of one": ({"least": 1}, Code.ARGUMENT),
    "more than are pinned": ({**MALICIOUS, "least": 7}, Code.ARGUMENT),
    "at most fewer than least": ({"least": 4, "most": 3}, Code.ARGUMENT),
    "no attempt": ({"attempts": 0}, Code.ARGUMENT),
    "more attempts than an invitation can say": ({"attempts": 2**32}, Code.ARGUMENT),
    "no try": ({"tries": 0}, Code.ARGUMENT),
    "a folder as home": ({"home": "/tmp"}, Code.ARGUMENT),  # noqa: S108
    "no observer": ({"observe": 3}, Code.ARGUMENT),
    "no format": ({"format": "float"}, Code.ARGUMENT),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_refused_before_the_first_round(name: str) -> None:
    arguments, code = WRONG[name]
    with refused(ParameterError, code):
        Rounds(**{"training": WORD, "format": FORMAT, **arguments})


PRESENT: dict[str, tuple[Any, Code]] = {
    "twice": ([*NAMES, "party-1"], Code.DUPLICATE_NAME),
    "a stranger": ([*NAMES, "mallory"], Code.UNKNOWN_NAME),
    "too few": (NAMES[:2], Code.QUORUM),
    "nobody": ([], Code.QUORUM),
    "a name": ("party-1", Code.ARGUMENT),
    "numbers": ([0, 1, 2], Code.ARGUMENT),
    "how many": (6, Code.ARGUMENT),
}


@pytest.mark.parametrize("name", PRESENT)
def test_a_wrong_list_of_those_present_plans_nothing(name: str) -> None:
    present, code = PRESENT[name]
    rounds = of(Mode.MALICIOUS)
    with refused(ParameterError, code):
        rounds.plan(present, 2, 0)
    for shape in (0, -1, None, "2", 2.0, True, [2], MODEL):
        with refused(ParameterError, Code.ARGUMENT):
            rounds.plan(NAMES, shape, 0)  # type: ignore[arg-type]
    plan = rounds.plan(NAMES, 2, 0)
    assert (plan.number, plan.attempt) == (0, 0)


def test_only_an_open_plan_of_these_rounds_is_closed() -> None:
    """Not twice, not one of other rounds, and not with what no driver returns."""
    rounds, others = of(Mode.SEMI_HONEST), of(Mode.SEMI_HONEST)
    plan, other = rounds.plan(NAMES, 2, 0), others.plan(NAMES, 2, 0)
    with refused(ParameterError, Code.ARGUMENT):
        rounds.close(plan, result_of(6).result)  # type: ignore[arg-type]
    with refused(ParameterError, Code.ARGUMENT):
        rounds.close("plan", None)  # type: ignore[arg-type]
    rounds.close(plan, None)
    for wrong in (plan, other):
        with refused(LocalProtocolError, Code.OUT_OF_ORDER):
            rounds.close(wrong, None)
    assert len(rounds.history) == 1
    rounds.observe(RoundEnded(plan.server.session, 1.0, result_of(6)))  # late: nobody's
    assert rounds.history[0].seconds is None


# ---- restarts -----------------------------------------------------------------------------


def test_a_round_whose_end_nobody_saw_has_used_its_attempt() -> None:
    """A driver that raised has told of the phases before inputs; what came after it did not see."""
    rounds = of(Mode.SEMI_HONEST, attempts=2)
    plan = rounds.plan(NAMES, 2, 0)
    clients = [Client(plan.server.round, party, Policy()) for party in range(6)]

    def exchange(phase: Phase, asked: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        for party, payload in asked.items():
            for answer in replies(plan, clients[party], payload, ()):
                if phase is Phase.MASKED_INPUT:  # it has left, to whoever listens
                    raise ConnectionError
                yield party, answer

    with pytest.raises(ConnectionError):
        secagg.lockstep(plan.server, exchange, observe=rounds.observe)
    outcome = secagg.lockstep(plan.server, lambda phase, asked: [])
    assert isinstance(outcome, Failed)
    assert rounds.close(plan, outcome)
    assert rounds.history[-1].inputs_left
    assert rounds.plan(NAMES, 2, 0).attempt == 1


def test_a_round_that_was_left_is_taken_up_again(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the rounds of this process, all of them or those about one thing; and closed ones not.

    If the disk fails none is lost.
    """
    rounds = of(Mode.MALICIOUS, attempts=3, home=home_in(memory_path))
    one, two, closed = (rounds.plan(NAMES, 2, about) for about in (1, 2, 2))
    for plan in (one, two, closed):
        rounds.leave(plan)
    rounds.close(closed, None)
    assert rounds.resume(3) == []
    assert rounds.resume(1) == [one]
    assert rounds.resume(1) == []
    rounds.leave(one)
    rounds.leave(one)
    with monkeypatch.context() as patch:
        patch.setattr("secagg.rounds.keeping.write_file", Mock(side_effect=OSError))
        with refused(StateError, Code.IO):
            rounds.resume()
    assert rounds.resume() == [two, one]
    rounds.close(one, None)
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        rounds.leave(one)
    begin_and_die(two, home_in(memory_path))
    del rounds
    gc.collect()  # what was raised holds it
    after = of(Mode.MALICIOUS, attempts=3, home=home_in(memory_path))
    assert after.resume(1) == []
    [plan] = after.resume(2)
    assert plan.context == two.context


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_round_goes_on_in_another_process(mode: Mode, memory_path: Path) -> None:
    """From what was stored, under the same plan; what was not stored is over, its number used."""
    home = home_in(memory_path)
    before = of(mode, attempts=3, home=home)
    closed, lost, kept = (before.plan(NAMES[number:], 2, MODEL) for number in range(3))
    before.close(closed, Failed("too few", Code.QUORUM), inputs_left=False)
    begin_and_die(kept, home)
    del before
    gc.collect()

    after = of(mode, attempts=3, home=home)
    [plan] = after.resume()
    assert [record.outcome for record in after.history] == ["abandoned"]
    assert after.history[0].session == lost.server.session.hex()
    assert (plan.number, plan.names, plan.members) == (kept.number, kept.names, kept.members)
    assert (plan.attempt, plan.context, plan.params) == (kept.attempt, kept.context, kept.params)
    with refused(LocalProtocolError, Code.OUT_OF_ORDER):
        after.close(kept, None)
    assert after.resume() == []  # what is under way here is not taken up again
    outcome = carry(plan, after.observe, {}, home, None, MODEL)
    assert not after.close(plan, outcome)
    assert isinstance(outcome, Completed)
    assert outcome.result.total.tolist() == [3 + 4 + 5 + 6] * 2
    assert (after.resume(), list(home.store.sessions())) == ([], [])
    last = after.plan(NAMES, 2, MODEL)
    assert (last.number, last.attempt) == (3, 0)
    begin_and_die(last, home)
    after.close(last, None)
    assert not list(home.store.sessions())


def test_counts_outlive_the_process(memory_path: Path) -> None:
    """Also that a round on a subject succeeded; two processes by mistake use no number twice."""
    home = home_in(memory_path)
    one, other = of(Mode.MALICIOUS, home=home), of(Mode.MALICIOUS, home=home)
    one.close(one.plan(NAMES, 2, 1), None)  # given up: no result leads back to it
    assert not one.converged(1)
    assert not one.converged(0)
    one.close(one.plan(NAMES, 2, 0), result_of(6))
    for rounds in (one, other, of(Mode.MALICIOUS, home=home)):
        assert rounds.converged(0)
        assert not rounds.converged(1)
        with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, "1 of 1.*converged"):
            rounds.plan(NAMES, 2, 0)


def test_a_round_of_another_directory_is_not_taken_up(memory_path: Path) -> None:
    """The indices of its members mean other parties now."""
    home = home_in(memory_path)
    plan = of(Mode.MALICIOUS, home=home).plan(NAMES[2:], 2, MODEL)
    begin_and_die(plan, home)
    fewer = Rounds(WORD, FORMAT, directory=PINS.leave("party-0"), home=home)
    for _ in range(2):
        with refused(StateError, Code.WRONG_DIRECTORY):
            fewer.resume()
    home.forget(plan.server.session)
    assert fewer.resume() == []
    assert [each.session for each in fewer.history] == [plan.server.session.hex()]
    assert of(Mode.MALICIOUS, home=home).resume() == []


def test_without_a_home_nothing_is_resumed() -> None:
    """Not even the rounds of this process."""
    rounds = of(Mode.SEMI_HONEST, home=Home.in_memory())
    rounds.plan(NAMES, 2, 0)
    assert rounds.resume() == []
    assert of(Mode.SEMI_HONEST).resume() == []


def spoiled(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    """Returns what changes one thing in the file's content."""

    def spoil(data: bytes) -> bytes:
        content = json.loads(data)
        return json.dumps(change(content) or content).encode()

    return spoil


def subject(content: dict[str, Any]) -> dict[str, Any]:
    """The only subject in the file."""
    [entry] = content["subjects"].values()
    return entry


def opened(content: dict[str, Any]) -> dict[str, Any]:
    """The only open round in the file."""
    [entry] = content["open"].values()
    return entry


SPOILED: dict[str, tuple[Callable[[bytes], bytes], Code]] = {
    "emptied": (lambda data: b"", Code.CORRUPT),
    "cut short": (lambda data: data[:-5], Code.CORRUPT),
    "deep": (lambda data: b"[" * 10**5, Code.CORRUPT),
    "not text": (lambda data: b"\xff" + data, Code.CORRUPT),
    "a list": (spoiled(lambda content: [content]), Code.FOREIGN_FILE),
    "of another program": (spoiled(lambda content: {"kind": "else"}), Code.FOREIGN_FILE),
    "of another training": (
        spoiled(lambda content: content.update(training="other")),
        Code.FOREIGN_FILE,
    ),
    "of another version": (spoiled(lambda content: content.update(version=2)), Code.VERSION),
    "without subjects": (
        spoiled(lambda content: content.pop("subjects") and content),
        Code.CORRUPT,
    ),
    "no count": (spoiled(lambda content: content.update(planned=True)), Code.CORRUPT),
    "an attempt below zero": (spoiled(lambda c: subject(c).update(used=[-1])), Code.CORRUPT),
    "a subject too short": (
        spoiled(lambda c: c.update(subjects={"00": subject(c)})),
        Code.CORRUPT,
    ),
    "a name that is none": (spoiled(lambda c: opened(c).update(names=[1])), Code.CORRUPT),
    "an open round of nothing": (
        spoiled(lambda c: opened(c).pop("subject") and c),
        Code.CORRUPT,
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_file_is_refused(name: str, memory_path: Path) -> None:
    """By new rounds, and by those that are under way, which then plan nothing."""
    spoil, code = SPOILED[name]
    rounds = of(Mode.MALICIOUS, home=home_in(memory_path))
    plan = rounds.plan(NAMES, 2, 0)
    [file] = (memory_path / "rounds").glob("*.json")
    good = file.read_bytes()
    file.write_bytes(spoil(good))
    for use in (
        lambda: of(Mode.MALICIOUS, home=home_in(memory_path)),
        lambda: rounds.plan(NAMES, 2, 1),
        lambda: rounds.close(plan, None),
    ):
        with refused(StateError, code, match=file.name):
            use()
    file.write_bytes(good)
    rounds.close(plan, None)
    assert len(rounds.history) == 1


def test_a_number_that_was_given_back_is_not_given_back_again(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if the disk failed in between, so that the round is closed twice."""
    rounds = of(Mode.MALICIOUS, home=home_in(memory_path))
    plan = rounds.plan(NAMES, 2, 0)
    failed = Failed("too few", Code.QUORUM)

    def written_but_not_synced(*args: Any, **more: Any) -> None:
        write_file(*args, **more)
        raise IdentityError("cannot write the file", Code.IO)

    with monkeypatch.context() as patch:
        patch.setattr("secagg.rounds.keeping.write_file", written_but_not_synced)
        with refused(StateError, Code.IO):
            rounds.close(plan, failed, inputs_left=False)
    assert rounds.plan(NAMES, 2, 0).attempt == 0
    rounds.close(plan, failed, inputs_left=False)
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED):
        rounds.plan(NAMES, 2, 0)


def test_each_training_has_a_file_of_its_own(memory_path: Path) -> None:
    """In one home; and nobody else may write to it."""
    home = home_in(memory_path)
    for word in ("trial 8", "trial 9"):
        assert Rounds(word, FORMAT, home=home).plan(NAMES, 2, 0).attempt == 0
    files = list((memory_path / "rounds").glob("*.json"))
    assert len(files) == 2
    files[0].chmod(0o666)
    with refused(StateError, Code.PERMISSIONS):
        for word in ("trial 8", "trial 9"):
            Rounds(word, FORMAT, home=home)


# ---- properties ---------------------------------------------------------------------------

ENDS: list[tuple[Any, bool | None]] = [
    (result_of(3), None),
    (Failed("too few", Code.QUORUM), False),
    (Failed("too few", Code.QUORUM), True),
    (Failed("disputed", Code.SHARES), None),
    (None, None),
]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("plan"),
            st.integers(0, 1),
            st.lists(st.sampled_from(NAMES), min_size=3, max_size=6, unique=True),
        ),
        st.tuples(st.just("close"), st.integers(0, 5), st.sampled_from(ENDS)),
        st.just(("die", 0, None)),
    ),
    max_size=25,
)


class History:
    """The knowledge of an onlooker: rounds, their numbers, and how they ended."""

    def __init__(self, mode: Mode, home: Home) -> None:
        self.mode, self.home = mode, home
        self.rounds = of(mode, attempts=3, home=home)
        self.open: list[tuple[int, Plan]] = []
        self.used: set[tuple[int, int]] = set()  # subject, attempt

    def plan(self, subject: int, present: Sequence[str]) -> None:
        try:
            plan = self.rounds.plan(present, 2, subject, MODEL)
        except AttemptsExhaustedError:
            taken = {attempt for about, attempt in self.used if about == subject}
            assert taken == {0, 1, 2}
            return
        assert (subject, plan.attempt) not in self.used
        assert plan.context == digest(WORD, subject, MODEL, plan.attempt)
        assert set(plan.names) == set(present)
        assert len(plan.names) == plan.params.cohort
        assert plan.attempt < 3
        if self.mode is Mode.MALICIOUS:
            assert tuple(NAMES[at] for at in plan.members) == plan.names
            assert plan.members == tuple(sorted(plan.members))
        self.used.add((subject, plan.attempt))
        self.open.append((subject, plan))

    def close(self, which: int, end: tuple[Any, bool | None]) -> None:
        if which >= len(self.open):
            return
        subject, plan = self.open.pop(which)
        outcome, left = end
        self.rounds.close(plan, outcome, left)
        if outcome is None or left is False:
            self.used.remove((subject, plan.attempt))

    def die(self, *_: object) -> None:
        """Nothing was sent of the open rounds, so the next process gets their numbers back."""
        self.rounds = of(self.mode, attempts=3, home=self.home)
        assert self.rounds.resume() == []
        self.used -= {(subject, plan.attempt) for subject, plan in self.open}
        self.open = []


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_number_is_never_used_twice(
    mode: Mode, tmp_path_factory: pytest.TempPathFactory, memory_path: Path
) -> None:
    """Whatever is planned, closed, overlaps or dies: the context is that of honest clients."""
    made = iter(range(10**6))

    @given(STEPS)
    @settings(max_examples=amount("examples of a property"), deadline=None, database=None)
    def holds(steps: list[tuple[str, int, Any]]) -> None:
        folder = memory_path / str(next(made))
        folder.mkdir()
        history = History(mode, home_in(folder))
        for name, which, what in steps:
            getattr(history, name)(which, what)

    holds()


# ---- what a process leaves behind ----------------------------------------------------------


class Forgetful:
    """A ledger that cannot tell what was claimed."""

    def claim(self, what: Once, key: bytes) -> bool:
        """See `Ledger`."""
        return LEDGER.claim(what, key)


def clients_of(plan: Plan) -> list[Client]:
    """The clients of a round in semi-honest mode."""
    return [Client(plan.server.round, party, Policy()) for party in range(len(plan.names))]


def run_to(plan: Plan, phase: Phase, store: Snapshots | None, clients: Sequence[Client]) -> None:
    """Carries a round out until a phase begins, and dies then."""

    def exchange(at: Phase, asked: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        if at is phase:
            raise KeyboardInterrupt
        for party, payload in asked.items():
            yield from ((party, each) for each in replies(plan, clients[party], payload, ()))

    with pytest.raises(KeyboardInterrupt):
        secagg.lockstep(plan.server, exchange, None, store)


# What the ledger of the home is, how far the round comes, with which store, and the next attempt.
LEFT: dict[str, tuple[Any, Phase | None, bool, int]] = {
    "only planned": (LEDGER, None, False, 0),
    "before inputs, not stored": (LEDGER, Phase.SHARE_KEYS, False, 0),
    "before inputs, by a driver with a store": (LEDGER, Phase.SHARE_KEYS, True, 0),
    "inputs asked for, not stored": (LEDGER, Phase.MASKED_INPUT, False, 1),
    "inputs asked for, by a driver with a store": (LEDGER, Phase.MASKED_INPUT, True, 1),
    "planned, with a ledger that cannot tell": (Forgetful(), None, False, 1),
    "planned, with a ledger that is lost": (None, None, False, 1),
}


@pytest.mark.parametrize("name", LEFT)
def test_an_attempt_is_free_again_only_if_surely_no_input_has_left(
    name: str, memory_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the ledger's word, whoever drove the round, and also if its server was resumed by hand."""
    ledger, phase, stored, attempt = LEFT[name]
    home = Home(memory_path, ledger=ledger or MemoryLedger())
    plan = of(Mode.SEMI_HONEST, home=home).plan(NAMES, 2, MODEL)
    if phase is not None:
        run_to(plan, phase, home if stored else None, clients_of(plan))
    if stored:
        by_hand = home.resume_server()
        assert by_hand is not None
        assert by_hand.session == plan.server.session
        home.forget(by_hand.session)
    after = of(
        Mode.SEMI_HONEST, attempts=2, home=Home(memory_path, ledger=ledger or MemoryLedger())
    )
    assert after.resume() == []
    assert [record.inputs_left for record in after.history] == [bool(attempt)]
    again = after.plan(NAMES, 2, MODEL)
    assert again.attempt == attempt
    after.close(again, None)
    assert ("its attempt counts as used" in caplog.text) is bool(attempt)
    if attempt:  # which is why none is left
        used_up = of(Mode.SEMI_HONEST, home=home)
        with refused(
            AttemptsExhaustedError,
            Code.ATTEMPTS_EXHAUSTED,
            "could not go on: if `keep` did not.*one attempt",
        ):
            used_up.plan(NAMES, 2, MODEL)


def test_a_round_that_was_given_up_elsewhere_gets_no_inputs(memory_path: Path) -> None:
    """Its number may be in use again: it fails before clients are asked for their inputs."""
    home = home_in(memory_path)
    plan = of(Mode.SEMI_HONEST, home=home).plan(NAMES, 2, MODEL)
    other = of(Mode.SEMI_HONEST, home=home)
    assert other.resume() == []
    assert other.plan(NAMES, 2, MODEL).context == plan.context
    seen: list[Any] = []
    outcome = carry(plan, seen.append, {}, None, None, MODEL)
    assert isinstance(outcome, Failed)
    assert outcome.code is Code.ROLLED_BACK
    assert [each.phase for each in seen[:-1]] == [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS]


def test_a_number_is_used_if_any_driver_of_the_round_got_so_far(memory_path: Path) -> None:
    """Also one that had no store, so that the round was resumed in an earlier phase."""
    home = home_in(memory_path)
    plan = of(Mode.SEMI_HONEST, home=home).plan(NAMES, 2, MODEL)
    clients = clients_of(plan)
    run_to(plan, Phase.SHARE_KEYS, home, clients)
    run_to(plan, Phase.MASKED_INPUT, None, clients)
    after = of(Mode.SEMI_HONEST, attempts=2, home=home)
    [again] = after.resume()
    outcome = secagg.lockstep(again.server, lambda phase, asked: [], observe=after.observe)
    assert after.close(again, outcome)
    assert after.history[-1].inputs_left
    last = after.plan(NAMES, 2, MODEL)
    assert last.attempt == 1
    after.close(last, Failed("an older snapshot", Code.ROLLED_BACK))
    with refused(
        AttemptsExhaustedError,
        Code.ATTEMPTS_EXHAUSTED,
        "could not go on: if `keep` did not.*one attempt",
    ):
        after.plan(NAMES, 2, MODEL)


def test_an_end_without_phases_is_no_proof() -> None:
    """An observer that saw the end alone does not know whether inputs have left."""
    rounds = of(Mode.SEMI_HONEST, attempts=2)
    plan, failed = rounds.plan(NAMES, 2, 0), Failed("too few", Code.QUORUM)
    rounds.observe(RoundEnded(plan.server.session, 1.0, failed))
    rounds.close(plan, failed)
    assert rounds.history[-1].inputs_left
    assert rounds.plan(NAMES, 2, 0).attempt == 1


def test_another_process_at_the_same_time_is_refused(memory_path: Path) -> None:
    """In one line, for as long as the first has its rounds; then it may go on."""
    home = home_in(memory_path)
    rounds = of(Mode.SEMI_HONEST, attempts=2, home=home)
    plan = rounds.plan(NAMES, 2, 0)
    [lock] = (memory_path / "rounds").glob("*.lock")
    with pytest.raises(TimeoutError), locked_folder(lock, 0.0):
        pytest.fail("it is not held")
    rounds.close(plan, None)
    del rounds
    gc.collect()
    waiting = of(Mode.SEMI_HONEST, attempts=2, home=home)
    with locked_folder(lock, 0.0):
        for use in (lambda: waiting.plan(NAMES, 2, 0), waiting.resume):
            with refused(StateError, Code.BUSY, "another process plans the rounds of 'trial 7'"):
                use()
        assert not waiting.converged(0)
    assert waiting.resume() == []
    assert waiting.plan(NAMES, 2, 0).number == 1


def test_long_lists_of_names_are_cut() -> None:
    """In a line of the log, which is one line whatever the names are."""
    assert listed(["a\nb", "c"]) == "a b, c"
    assert listed(["x"] * 103).endswith("x, x, and 3 more")


def test_a_round_whose_inputs_are_asked_for_is_not_given_up(memory_path: Path) -> None:
    """Nobody can resume it, so it only loses its place in the list; it can go on where it runs."""

    class Late:
        """The server of the other process delivers between two looks of this one."""

        has = staticmethod(LEDGER.has)

        def claim(self, what: Once, key: bytes) -> bool:
            if what is Once.SURVIVOR_SET:
                assert LEDGER.claim(Once.DELIVERY, key)
            return LEDGER.claim(what, key)

    home = home_in(memory_path)
    plan = of(Mode.SEMI_HONEST, attempts=3, home=home).plan(NAMES, 2, MODEL)
    clients = clients_of(plan)
    run_to(plan, Phase.MASKED_INPUT, None, clients)
    other = of(Mode.SEMI_HONEST, attempts=3, home=home)
    assert other.resume() == []

    def exchange(_: Phase, asked: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
        for party, payload in asked.items():
            yield from ((party, each) for each in replies(plan, clients[party], payload, ()))

    assert isinstance(secagg.lockstep(plan.server, exchange), Completed)
    assert other.plan(NAMES, 2, MODEL).attempt == 1
    del other
    gc.collect()
    late = of(Mode.SEMI_HONEST, attempts=3, home=Home(memory_path, ledger=Late()))
    assert late.resume() == []
    assert [record.inputs_left for record in late.history] == [True]


CLOSED: dict[str, tuple[Any, bool, bool | None]] = {  # ledger, whether it failed, inputs_left
    "failed before inputs": (LEDGER, True, None),
    "failed before inputs, by word": (LEDGER, True, False),
    "given up": (LEDGER, False, None),
    "given up, by word": (LEDGER, False, False),
    "failed, and the ledger cannot tell": (Forgetful(), True, None),
    "failed, by word, and the ledger cannot tell": (Forgetful(), True, False),
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_round_whose_number_is_free_again_can_get_no_inputs(name: str, memory_path: Path) -> None:
    """Whoever has an older state of its server: the ledger says that it was given up."""
    ledger, failed, inputs_left = CLOSED[name]
    home = Home(memory_path, ledger=ledger)
    rounds = of(Mode.SEMI_HONEST, attempts=2, home=home)
    plan = rounds.plan(NAMES, 2, MODEL)
    clients = clients_of(plan)
    run_to(plan, Phase.SHARE_KEYS, home, clients)
    older = home.resume_server()
    assert older is not None
    outcome = secagg.lockstep(plan.server, lambda phase, asked: [], observe=rounds.observe)
    assert isinstance(outcome, Failed)
    rounds.close(plan, outcome if failed else None, inputs_left)
    again = rounds.plan(NAMES, 2, MODEL)
    assert again.attempt == int(ledger is not LEDGER)
    if again.attempt == 0:

        def exchange(phase: Phase, asked: Mapping[int, bytes]) -> Iterator[tuple[int, bytes]]:
            assert phase is Phase.SHARE_KEYS
            for party, payload in asked.items():
                yield from ((party, each) for each in replies(plan, clients[party], payload, ()))

        ended = secagg.lockstep(older, exchange)
        assert isinstance(ended, Failed)
        assert ended.code is Code.ROLLED_BACK


def test_a_server_is_stored_only_where_its_claims_are_seen(memory_path: Path) -> None:
    """Resumed with another ledger it would go on after it was given up, or ask for a second sum."""
    home, other = home_in(memory_path), Home.in_memory()
    rounds = of(Mode.SEMI_HONEST, home=home)
    plan = rounds.plan(NAMES, 2, MODEL)
    by_hand = Server(plan.params.round(), None, MemoryLedger())
    for server in (plan.server, by_hand):
        with refused(StateError, Code.NO_LEDGER, "another ledger.*home.ledger"):
            secagg.lockstep(server, lambda phase, asked: [], store=other)
        assert other.resume_server() is None
    outcome = carry(plan, rounds.observe, {}, home_in(memory_path), None, MODEL)
    assert isinstance(outcome, Completed)
    assert not rounds.close(plan, outcome)


def test_a_home_that_is_opened_twice_has_one_ledger(tmp_path: Path) -> None:
    """So another object than that which planned a round may store its server."""
    plan = of(Mode.SEMI_HONEST, home=Home(tmp_path)).plan(NAMES, 2, MODEL)
    assert isinstance(carry(plan, None, {}, Home(tmp_path), None, MODEL), Completed)


def test_another_object_of_the_process_leaves_a_round_alone(memory_path: Path) -> None:
    """While it is under way: planned only or stored, until it is left or its object is gone."""
    home = home_in(memory_path)
    one, other = (of(Mode.SEMI_HONEST, home=home) for _ in range(2))
    planned, stored, gone = (one.plan(NAMES, 2, about) for about in range(3))
    begin_and_die(stored, home)
    assert other.resume() == []
    outcome = carry(planned, one.observe, {}, home, None, 0)
    assert isinstance(outcome, Completed)
    one.close(planned, outcome)
    one.leave(stored)
    assert [plan.context for plan in other.resume()] == [stored.context]
    one.leave(gone)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secagg.rounds.keeping.write_file", Mock(side_effect=OSError))
        with refused(StateError, Code.IO):
            one.resume()
    assert one.resume(2) == [gone]
    assert other.resume() == []
    del one
    gc.collect()
    assert other.resume() == []
    assert other.history[-1].session == gone.server.session.hex()


def test_only_an_attempt_that_is_used_is_lost(memory_path: Path) -> None:
    """A round that was given up before inputs could leave says nothing of others."""
    home = home_in(memory_path)
    one, other = (of(Mode.SEMI_HONEST, home=home) for _ in range(2))
    plan = one.plan(NAMES, 2, MODEL)
    one.leave(plan)
    assert other.resume() == []
    outcome = carry(plan, one.observe, {}, None, None, MODEL)
    assert isinstance(outcome, Failed)
    assert outcome.code is Code.ROLLED_BACK
    again = other.plan(NAMES, 2, MODEL)
    one.close(plan, outcome)
    other.close(again, Failed("too few", Code.QUORUM), inputs_left=True)
    with refused(AttemptsExhaustedError, Code.ATTEMPTS_EXHAUSTED, "higher dropout rate"):
        other.plan(NAMES, 2, MODEL)
