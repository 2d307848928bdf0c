"""A budget is charged before an input leaves, once, and is never overspent, whatever is killed."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
from levels import amount, runs_at
from refusals import refused

import secagg
from secagg import (
    Aborted,
    Client,
    Code,
    InputNeeded,
    MemoryLedger,
    ParameterError,
    Params,
    Policy,
    Server,
    StateError,
)
from secagg.machine.claims import require_no_contribution
from secagg.noise import Demand, MemoryBudget, Release, SqliteBudget, calibrate
from secagg.pairwise.transitions import ClientState
from secagg.simulate import Cohort, introduce

pytestmark = pytest.mark.skipif(
    not find_spec("dp_accounting"), reason="dp-accounting is not installed: the extra `dp`"
)

PLAN = calibrate(
    **{"epsilon": 4, "delta": 1e-5, "rounds": 3, "clip": 1.0, "length": 8, "cohort": 4},
    **{"corrupt": 0.0, "dropout": 0.25},
)
PARAMS = PLAN.params
LIMIT = {"epsilon": 4, "delta": 1e-5}
KEY = bytes(range(32))


def asked(budget: Any, params: Params = PARAMS) -> Client:
    """A client that waits for its input; the others of its round have no budget."""
    agreed = params.round()
    clients = {party: Client(agreed, party) for party in range(1, params.cohort)}
    clients[0] = Client(agreed, 0, budget=budget)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cohort(Server(agreed), clients, dict.fromkeys(clients, stop)).play()
    assert clients[0].resend() == [InputNeeded()]
    return clients[0]


def gives(client: Client) -> bool:
    """Returns whether its input leaves; if not, the round is over for it."""
    try:
        client.submit(np.full(client.round.params.length, 0.1))
    except Aborted as unsafe:
        code = unsafe.code
    else:
        return True
    assert code is Code.BUDGET
    assert client.state is ClientState.ABORTED
    assert client.resend() == []
    return False


@pytest.fixture(params=["memory", "sqlite"])
def budget(request: pytest.FixtureRequest, memory_path: Path) -> Any:
    if request.param == "memory":
        return MemoryBudget(**LIMIT)
    return SqliteBudget(memory_path / "budget.db", **LIMIT)


def test_each_round_is_charged_until_it_is_spent(budget: Any) -> None:
    """Four clients of a party at a time: the last one is refused when its input would leave."""
    assert (budget.spent, budget.rounds_left(PARAMS)) == (0.0, 3)
    waiting = [asked(budget) for _ in range(4)]
    assert budget.spent == 0.0
    assert [gives(client) for client in waiting] == [True, True, True, False]
    assert budget.spent == pytest.approx(PLAN.epsilon(), rel=1e-12)
    assert budget.rounds_left(PARAMS) == 0
    with refused(ParameterError, Code.BUDGET, match="the privacy budget of this client's data"):
        Client(PARAMS.round(), 0, budget=budget)


def test_a_round_costs_once(budget: Any) -> None:
    """However often the client is stored, and its message sent again; a failed round as well."""
    client = asked(budget)
    ledger = MemoryLedger()
    client = Client.resume(client.suspend(KEY), KEY, ledger, budget=budget)
    assert gives(client)
    spent = budget.spent
    first = client.resend()
    client = Client.resume(client.suspend(KEY), KEY, ledger, budget=budget)
    assert client.resend() == first
    assert budget.spent == spent > 0
    budget.charge(client._payer, PARAMS)
    budget.check(client._payer, PARAMS)
    assert budget.spent == spent
    client.wipe()
    assert budget.spent == spent


def test_the_same_session_again_costs_again(budget: Any) -> None:
    """A server that repeats its offer gets a second sum, with other noise."""
    agreed = PARAMS.round()
    one, other = (Client(agreed, 0, budget=budget) for _ in range(2))
    budget.charge(one._payer, PARAMS)
    budget.charge(other._payer, PARAMS)
    assert budget.rounds_left(PARAMS) == 1


def test_rounds_of_other_parameters_add_up(budget: Any) -> None:
    other = calibrate(
        **{"epsilon": 2, "delta": 1e-5, "rounds": 1, "clip": 1.0, "length": 99, "cohort": 5},
        **{"corrupt": 0.2, "dropout": 0.2, "mechanism": "discrete_gaussian"},
    ).params
    assert other.colluders == 1  # whose noise is not counted
    assert gives(asked(budget))
    assert gives(asked(budget, other))
    assert budget.spent == pytest.approx(
        secagg.noise.epsilon(
            [(secagg.noise.Release.of(PARAMS), 1), (secagg.noise.Release.of(other), 1)], 1e-5
        )
    )
    assert 0 <= budget.rounds_left(PARAMS) < 2


def test_no_round_is_paid_for_that_is_a_little_too_much(budget: Any) -> None:
    """The third of three with 1 % less variance than they need."""
    form: Any = PARAMS.format
    less = replace(form, variance_steps=form.variance_steps * 99 // 100)
    for number, paid in enumerate((True, True, False)):
        with nullcontext() if paid else refused(Aborted, Code.BUDGET):
            budget.charge(bytes([number]) * 32, replace(PARAMS, format=less))
    assert len(charged(budget)) == 1


def test_all_that_privacy_depends_on_is_kept(budget: Any) -> None:
    """Also how exact the noise is, and what a sparse graph may tell."""
    one = Release.of(PARAMS)
    kinds = [one, replace(one, exposure=2.0**-40), replace(one, shortfall=0.0)]
    with budget._charges() as charges:
        for number in range(6):
            charges.add(bytes([number]) * 32, kinds[min(number, 2)])
    assert dict(charged(budget)) == dict(zip(kinds, (1, 1, 4), strict=True))


def charged(budget: Any) -> list[tuple[Release, int]]:
    """Returns the charges that a budget has."""
    with budget._charges() as charges:
        return list(charges.all())


def test_a_charge_made_meanwhile_counts(budget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epsilon is computed while others may charge: then it is computed again."""
    real, calls = budget._why_not, list[int]()

    def meanwhile(*about: Any) -> Any:
        refusal = real(*about)
        calls.append(1)
        if len(calls) == 1:
            for number in range(3):
                budget.charge(bytes([number]) * 32, PARAMS)
        return refusal

    monkeypatch.setattr(budget, "_why_not", meanwhile)
    with refused(Aborted, Code.BUDGET):
        budget.charge(bytes([9]) * 32, PARAMS)
    assert charged(budget) == [(Release.of(PARAMS), 3)]


def test_no_budget_pays_for_a_sum_without_noise(budget: Any) -> None:
    plain = Params(4, 8, secagg.FixedPoint(clip=1.0))
    with refused(ParameterError, Code.BUDGET, match="FixedPoint adds no noise"):
        Client(plain.round(), 0, budget=budget)
    with refused(Aborted, Code.BUDGET, match="adds no noise"):
        budget.charge(bytes(32), plain)
    with refused(ParameterError, Code.ARGUMENT):
        budget.rounds_left(plain)


def test_an_input_that_is_refused_costs_nothing(budget: Any) -> None:
    client = asked(budget)
    with refused(secagg.RangeError, Code.NOT_FINITE):
        client.submit(np.full(8, np.nan))
    assert budget.spent == 0.0
    client.withdraw()
    assert budget.spent == 0.0


@pytest.mark.parametrize("with_budget", [True, False])
def test_a_client_is_resumed_with_what_it_was_made_with(with_budget: bool) -> None:
    """Or whoever resumes it would get the input for nothing; the stored state is not used up."""
    demand = Policy(privacy=Demand(**LIMIT, rounds=3, clip=1.0))
    made: dict[str, Any] = {"budget": MemoryBudget(**LIMIT)} if with_budget else {"policy": demand}
    client = Client(PARAMS.round(), 0, **made)
    client.start()
    stored, ledger = client.suspend(KEY), MemoryLedger()
    code = Code.BUDGET if with_budget else Code.POLICY_PRIVACY
    for without in ({}, {"policy": Policy()}, {"budget": None}):
        with refused(ParameterError, code):
            Client.resume(stored, KEY, ledger, **without)
    again = Client.resume(stored, KEY, ledger, **made)
    stored = again.suspend(KEY, keep_last=False)
    with refused(ParameterError, code):
        Client.resume(stored, KEY, ledger)
    # Both may be given for the first time, and are needed from then on.
    both = {"budget": MemoryBudget(**LIMIT), "policy": demand}
    stored = Client.resume(stored, KEY, ledger, **both).suspend(KEY)
    for one in ("budget", "policy"):
        with refused(ParameterError, Code.BUDGET if one == "budget" else Code.POLICY_PRIVACY):
            Client.resume(stored, KEY, ledger, **{each: both[each] for each in both if each != one})


@pytest.mark.parametrize("wrong", [5, object(), "budget.db", MemoryLedger()])
def test_what_is_no_budget_is_refused(wrong: Any) -> None:
    with refused(ParameterError, Code.BUDGET, match="budget must have plain methods"):
        Client(PARAMS.round(), 0, budget=wrong)
    with refused(ParameterError, Code.BUDGET, match="budget"):
        secagg.Home.in_memory(budget=wrong)


class Later(MemoryBudget):
    """A budget that would be charged after the input has left."""

    async def charge(self, client: bytes, params: Params) -> None:  # type: ignore[override]
        """Charges when somebody awaits it."""


@pytest.mark.parametrize("wrong", [MemoryBudget, Later(**LIMIT)])
def test_a_budget_has_spent_when_it_returns(wrong: Any) -> None:
    with refused(ParameterError, Code.BUDGET, match="plain methods"):
        Client(PARAMS.round(), 0, budget=wrong)
    with refused(ParameterError, Code.ARGUMENT, match="plain method `check`"):
        Policy(privacy=Demand)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", ["fails once", "fails once, repeats", "is spent"])
def test_a_budget_that_fails_costs_no_contribution(case: str) -> None:
    """In malicious mode: the same client tries again, though its claim was made.

    One that is spent costs none, either; and contributions that may be repeated are not free.
    """
    plan = calibrate(
        **{"epsilon": 4, "delta": 1e-5, "rounds": 3, "clip": 1.0, "length": 8, "cohort": 4},
        **{"corrupt": 0.0, "dropout": 0.0, "mode": secagg.Mode.MALICIOUS},
    )

    class Locked(MemoryBudget):
        """A budget whose disk is full, once."""

        full = True

        def charge(self, client: bytes, params: Params) -> None:
            if self.full:
                self.full = False
                raise StateError("the disk is full", Code.IO)
            super().charge(client, params)

    identities, directory = introduce(4)
    agreed, ledger, budget = plan.params.round(), MemoryLedger(), Locked(**LIMIT)
    clients = {
        party: Client(
            *(agreed, party, Policy(context=agreed.context, allow_repeats="repeats" in case)),
            identity=identities[party],
            directory=directory,
            ledger=ledger,
            budget=None if party else budget,
        )
        for party in range(4)
    }

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Cohort(Server(agreed, directory), clients, dict.fromkeys(clients, stop)).play()
    if case == "is spent":
        budget.full = False
        for number in range(3):
            budget.charge(bytes([number]) * 32, plan.params)
        assert not gives(clients[0])
        require_no_contribution(ledger, identities[0].verify_key, agreed.context)
        return
    with refused(StateError, Code.IO):
        clients[0].submit(np.full(8, 0.1))
    assert budget.spent == 0.0
    assert clients[0].submit(np.full(8, 0.1))
    assert budget.spent > 0.0


def test_a_budget_in_memory_is_of_one_process() -> None:
    """Or each of its children would spend it again."""
    budget = MemoryBudget(**LIMIT)
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            budget.charge(bytes(32), PARAMS)
        except StateError as error:
            os.write(writer, error.code.encode())
        finally:
            os._exit(0)
    os.close(writer)  # or there would be no end if the child says nothing
    assert os.read(reader, 99) == b"forked"
    os.waitpid(child, 0)
    os.close(reader)


def test_the_server_is_not_told_what_was_spent(caplog: pytest.LogCaptureFixture) -> None:
    budget = MemoryBudget(**LIMIT)
    for number in range(3):
        budget.charge(bytes([number]) * 32, PARAMS)
    with refused(ParameterError, Code.BUDGET) as refusal:
        Client(PARAMS.round(), 0, budget=budget)
    assert not any(map(str.isdigit, refusal.value.reason))
    assert "epsilon would be 4." in caplog.text


@pytest.mark.parametrize("name", ["epsilon", "delta"])
@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "8", None])
def test_impossible_budgets_are_refused(name: str, wrong: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT, match=name):
        MemoryBudget(**LIMIT | {name: wrong})


def test_a_home_pays(memory_path: Path) -> None:
    """Each round of `answer`, whatever process answers; a spent budget is a refusal."""
    path = memory_path / "budget.db"
    homes = [
        secagg.Home.in_memory(attempts=9, budget=None if at else SqliteBudget(path, **LIMIT))
        for at in range(4)
    ]
    form, layout = PARAMS.format, 8
    rounds = secagg.Rounds("t", form, corrupt=0.0, dropout=0.25, least=4, attempts=9, tries=1)

    def ask(phase: Any, payloads: Any) -> Any:
        for name, payload in payloads.items():
            yield name, secagg.answer(homes[int(name)], payload, lambda _: np.full(8, 0.1))

    for taken in (4, 4, 4, 3):
        outcome = secagg.run_round(rounds, ask, list("0123"), layout, "about")
        assert isinstance(outcome, secagg.Completed)
        assert len(outcome.result.survivors) == taken
    assert rounds.history[-1].refused == {"0": "budget"}
    assert SqliteBudget(path, **LIMIT).rounds_left(PARAMS) == 0


# -- the file --------------------------------------------------------------------------------------


def test_threads_and_processes_share_a_budget(memory_path: Path) -> None:
    """Of eight that charge at once three are paid for."""
    path, start = memory_path / "budget.db", threading.Barrier(8)

    def charge(number: int) -> bool:
        start.wait(30)
        try:
            SqliteBudget(path, **LIMIT).charge(bytes([number]) * 32, PARAMS)
        except Aborted:
            return False
        return True

    SqliteBudget(path, **LIMIT)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(charge, range(8))) == 3
    assert SqliteBudget(path, **LIMIT).spent == pytest.approx(PLAN.epsilon())


def test_more_may_be_allowed_later(memory_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says when nothing is spent yet: the file may be another one than was meant."""
    caplog.set_level("INFO", "secagg")
    path = memory_path / "budget.db"
    for number in range(3):
        SqliteBudget(path, **LIMIT).charge(bytes([number]) * 32, PARAMS)
    with refused(Aborted, Code.BUDGET):
        SqliteBudget(path, **LIMIT).charge(bytes([3]) * 32, PARAMS)
    SqliteBudget(path, epsilon=5, delta=1e-5).charge(bytes([3]) * 32, PARAMS)
    assert 4 < SqliteBudget(path, **LIMIT).spent <= 5
    assert caplog.text.count("of which nothing is spent yet") == 1


def test_a_file_of_another_kind_is_refused(memory_path: Path) -> None:
    secagg.SqliteLedger(memory_path / "ledger.db")
    with refused(StateError, Code.FOREIGN_FILE, match="choose another name for the budget"):
        SqliteBudget(memory_path / "ledger.db", **LIMIT)
    SqliteBudget(memory_path / "budget.db", **LIMIT)
    with refused(StateError, Code.FOREIGN_FILE, match="choose another name for the ledger"):
        secagg.SqliteLedger(memory_path / "budget.db")
    (memory_path / "budget.db").chmod(0o666)
    with refused(StateError, Code.PERMISSIONS):
        SqliteBudget(memory_path / "budget.db", **LIMIT)


def test_a_charge_that_was_altered_is_noticed(memory_path: Path) -> None:
    import sqlite3

    budget = SqliteBudget(memory_path / "budget.db", **LIMIT)
    budget.charge(bytes(32), PARAMS)
    for column, value in (("variance", "'x'"), ("noise", "7"), ("bound", "'1/0'"), ("honest", "0")):
        with sqlite3.connect(memory_path / "budget.db") as connection:
            before = connection.execute(f"SELECT {column} FROM charges").fetchone()[0]  # noqa: S608
            connection.execute(f"UPDATE charges SET {column} = {value}")  # noqa: S608
        connection.close()
        with refused(StateError, Code.CORRUPT, match="a charge of the budget was altered"):
            budget.check(bytes(31) + b"1", PARAMS)
        with sqlite3.connect(memory_path / "budget.db") as connection:
            connection.execute(f"UPDATE charges SET {column} = ?", (before,))  # noqa: S608
        connection.close()
    budget.check(bytes(31) + b"1", PARAMS)


KILLED = """
import os, signal, sys, sqlite3
sys.path.insert(0, sys.argv[4])
from noise.test_budget import LIMIT, SqliteBudget, asked, gives
budget, ticks, last = SqliteBudget(sys.argv[1], **LIMIT), 0, int(sys.argv[2])
clients = [asked(budget) for _ in range(int(sys.argv[3]))]
real = sqlite3.connect

def tick():
    global ticks
    ticks += 1
    if ticks == last:
        os.kill(os.getpid(), signal.SIGKILL)

def connect(*args, **options):
    connection = real(*args, **options)
    connection.set_progress_handler(tick, 1)
    return connection

sqlite3.connect = connect
for client in clients:
    if gives(client):
        print("left", flush=True)
print("ticks", ticks, flush=True)
"""


@runs_at("kills of a budget")
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_whatever_is_killed_nothing_leaves_that_was_not_paid_for(memory_path: Path) -> None:
    """At any step of SQLite's, in a process that gives two inputs."""
    here = str(Path(__file__).resolve().parents[1])

    def run(path: Path, last: int) -> str:
        SqliteBudget(path, **LIMIT)
        return children.run([sys.executable, "-c", KILLED, str(path), str(last), "2", here]).stdout

    whole = run(memory_path / "whole", 0)
    assert whole.count("left") == 2
    ticks = int(whole.split()[-1])
    assert ticks > 50
    step = max(1, ticks // amount("kills of a budget"))
    for last in range(1, ticks + 1, step):
        path = memory_path / f"budget-{last}"
        left = run(path, last).count("left")
        budget = SqliteBudget(path, **LIMIT)
        paid = 3 - budget.rounds_left(PARAMS)
        assert left <= paid <= left + 1, last
        with refused(Aborted, Code.BUDGET):
            for number in range(4):
                budget.charge(bytes([number]) * 32, PARAMS)
        assert budget.spent <= 4


def test_a_smaller_bound_is_another_charge(budget: Any) -> None:
    """The row tells all that epsilon depends on: parameters that differ are not taken together."""
    larger = replace(PARAMS, format=replace(PARAMS.format, bound=PARAMS.format.bound * 2))  # type: ignore[union-attr]
    budget.charge(bytes(32), PARAMS)
    before = budget.spent
    budget.charge(bytes(31) + b"1", larger)
    one, other = (secagg.noise.Release.of(each) for each in (PARAMS, larger))
    assert budget.spent > before
    assert budget.spent == pytest.approx(secagg.noise.epsilon([(one, 1), (other, 1)], 1e-5))
