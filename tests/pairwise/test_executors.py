"""`run_jobs`: the serial sum on every executor, whatever its workers do.

One process of a pool, of a Dask cluster and of Ray is really killed in the middle of a round.
"""

import itertools
import os
import runpy
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor
from concurrent.futures import ThreadPoolExecutor as Threads
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
from documents import programs
from harness import MODES, SteppedRound, expected_sum, state_of
from levels import runs_at
from pairwise.workers import AnyOrder, Silent, Through, asleep, deadly, first, plainly, void
from refusals import refused

import secagg
from secagg import Code, Integers, Mode, ParameterError, Params, Phase, Send, Server, Work, run_jobs
from secagg.drivers.executors import ATTEMPTS
from secagg.machine import expansion
from secagg.machine.expansion import ExpandJob, SignedKeys
from secagg.pairwise import unmasking
from secagg.pairwise.transitions import ServerState
from secagg.sharing import recovery
from secagg.sharing.rebuild_job import Recovered

COHORT, GONE, LENGTH = 8, (1, 4), 3000
STAYED = tuple(party for party in range(COHORT) if party not in GONE)
# 8 seeds by two, 12 agreements by four, 18 masks by two and three ranges
STAGES = (4, 3, 9 * 3)
JOBS = sum(STAGES)

either_mode = pytest.mark.parametrize("mode", MODES, ids=str)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many jobs: of two seeds, of four agreements, of two masks and 1000 elements."""
    monkeypatch.setattr(recovery, "PIECE_SHARES", 2 * len(STAYED))
    monkeypatch.setattr(unmasking, "PIECE_AGREEMENTS", 4)
    monkeypatch.setattr(expansion, "PIECE_MAX_KEYS", 2)
    monkeypatch.setattr(expansion, "PIECE_ELEMENTS", 2048)


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """Two of them."""
    with children.pool() as pool:
        yield pool


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    """Two of them."""
    with Threads(2) as pool:
        yield pool


def unmask(mode: Mode = Mode.SEMI_HONEST) -> tuple[Server, list[Any]]:
    """A server that has just handed out its first jobs, and the events that hold them."""
    stepped = SteppedRound(Params(COHORT, LENGTH, Integers(-4000, 4000), threshold=6, mode=mode))
    messages = stepped.advertise()
    for phase in mode.phases:
        if phase is Phase.MASKED_INPUT:
            for party in GONE:
                messages.pop(party)
                stepped.outbox.pop(party)
        given = [stepped.server.receive(*message) for message in messages.items()]
        events = [event for each in given for event in each] + stepped.server.deadline(phase)
        stepped.outbox.update({event.to: event.payload for event in events if type(event) is Send})
        if phase is not Phase.UNMASK:
            messages = stepped.answers()
    assert stepped.server.state is ServerState.UNMASKING
    return stepped.server, events


def counted(server: Server, patch: pytest.MonkeyPatch) -> Counter[int]:
    """Counts how often each job is handed back, by id."""
    counts: Counter[int] = Counter()
    true = server.complete

    def complete(job: Any, value: object) -> list[Any]:
        events = true(job, value)
        counts[id(job)] += 1
        return events

    patch.setattr(server, "complete", complete)
    return counts


def assert_right(server: Server, events: list[Any]) -> None:
    """The serial result, bit for bit, and nothing else among the events."""
    (completed,) = events
    assert isinstance(completed, secagg.Completed)
    assert server.state is ServerState.COMPLETED
    assert server._unmasking is None, "jobs, and keys in them, are let go of"
    assert completed.result.survivors == STAYED
    assert completed.result.total.tolist() == expected_sum(STAYED, LENGTH)
    serial = run_jobs(*unmask(server.round.params.mode))[0].result  # type: ignore[union-attr]
    assert completed.result.total.dtype == serial.total.dtype
    assert np.array_equal(completed.result.total, serial.total)
    assert np.array_equal(completed.result.mean, serial.mean)


# ---- executors that do what they should ----------------------------------------------------


@either_mode
@pytest.mark.parametrize("kind", ["here", "threads", "processes"])
def test_the_serial_sum(mode: Mode, kind: str, request: pytest.FixtureRequest) -> None:
    """In this process, on threads, on processes: the plain sum, in both modes."""
    executor = None if kind == "here" else Through(request.getfixturevalue(kind), as_it_is)
    server, events = unmask(mode)
    assert sum(type(event) is Work for event in events) == STAGES[0]
    assert_right(server, run_jobs(server, events, executor))
    assert executor is None or executor.calls == JOBS


def as_it_is(_number: int) -> Callable[..., Any]:
    """For `Through`: workers without faults."""
    return plainly


@pytest.mark.parametrize("seed", range(5))
def test_values_come_in_any_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is taken, once."""
    server, events = unmask()
    counts = counted(server, monkeypatch)
    with AnyOrder(seed) as executor:
        assert_right(server, run_jobs(server, events, executor))
    assert list(counts.values()) == [1] * JOBS


def test_jobs_that_are_given_twice_count_once(threads: Executor) -> None:
    """The server takes a value once: a second one changes nothing."""
    server, events = unmask()
    events = [*events, *events]
    assert_right(server, run_jobs(server, events, Through(threads, as_it_is)))


@pytest.mark.parametrize("most", [1, 2, 7, 100])
def test_few_are_in_flight(most: int, threads: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more than was said are with the executor, or wait to be taken."""
    server, events = unmask()
    counts = counted(server, monkeypatch)
    there: list[int] = []

    def look(number: int) -> Callable[..., Any]:
        there.append(number - counts.total())
        return plainly

    assert_right(server, run_jobs(server, events, Through(threads, look), in_flight=most))
    assert max(there) == min(most, STAGES[-1])


class Counted(Through):
    """Of a length: its calls so far."""

    def __len__(self) -> int:
        return self.calls


def test_an_executor_that_is_empty(threads: Executor) -> None:
    """One of length 0 is an executor all the same."""
    server, events = unmask()
    executor = Counted(threads, as_it_is)
    assert_right(server, run_jobs(server, events, executor))
    assert executor.calls == JOBS


def test_other_events_come_out_in_order(threads: Executor) -> None:
    """An event that is no job is given back as it came, before what follows from the jobs."""
    server, events = unmask()
    one, two = secagg.Dropped(7, "late", Code.TIMEOUT), secagg.PhaseStarted(Phase.UNMASK)
    done = run_jobs(server, [one, *events, two], threads)
    assert done[:2] == [one, two]
    assert_right(server, done[2:])
    assert run_jobs(server, [], threads) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"in_flight": 0},
        {"in_flight": -1},
        {"patience": 0},
        {"patience": -1.0},
        {"patience": float("nan")},
        {"patience": float("inf")},
    ],
)
def test_bounds_are_positive(bad: dict[str, Any]) -> None:
    """And finite; nothing was run."""
    server, events = unmask()
    with refused(ParameterError, Code.ARGUMENT):
        run_jobs(server, events, **bad)
    assert server.state is ServerState.UNMASKING


def test_a_whole_round_on_threads(threads: Executor) -> None:
    """`secure_sum` hands its jobs on."""
    executor = Through(threads, as_it_is)
    inputs = [np.arange(50) * party for party in range(5)]
    drops = {2: Phase.MASKED_INPUT}
    done = secagg.secure_sum(inputs, Integers(0, 1000), drops=drops, executor=executor)
    assert np.array_equal(done.total, sum(inputs) - inputs[2])
    assert executor.calls > 1


# ---- lost pieces ------------------------------------------------------------------------------


@either_mode
def test_a_worker_process_is_killed(mode: Mode, tmp_path: Path) -> None:
    """Its pool breaks, as Python's does; the round comes to its sum."""
    server, events = unmask(mode)
    with children.pool() as pool:
        assert_right(server, run_jobs(server, events, deadly(pool, tmp_path / "killed")))
        with pytest.raises(BrokenProcessPool):
            pool.submit(os.getpid)


@runs_at("programs")
@pytest.mark.filterwarnings("default")
def test_dask_workers_are_killed(tmp_path: Path) -> None:
    """A real cluster of two processes: its own retries serve, or else those of `run_jobs`."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    with children.cluster(tmp_path, silence_logs="CRITICAL", **options) as (cluster, client):
        for deaths_allowed, pure in ((3, False), (0, True)):
            cluster.scheduler.allowed_failures = deaths_allowed
            client.wait_for_workers(2)
            before = set(client.run(os.getpid).values())
            server, events = unmask()
            executor = deadly(client.get_executor(pure=pure), tmp_path / f"killed-{deaths_allowed}")
            assert_right(server, run_jobs(server, events, executor))
            assert len(set(client.run(os.getpid).values()) & before) == 1
            lost = sum(future.exception() is not None for future in executor.out)
            assert bool(lost) is (deaths_allowed == 0)
            assert len(executor.out) - lost == JOBS, "some were done here, not by another worker"


@runs_at("programs")
@pytest.mark.filterwarnings("default")
def test_ray_workers_are_killed(tmp_path: Path) -> None:
    """The executor that docs/INTEGRATE.md prints, on a real cluster of two processes."""
    (tmp_path / "ray_executor.py").write_text(programs("INTEGRATE.md")["ray_executor.py"])
    with children.ray_cluster():
        executor = runpy.run_path(str(tmp_path / "ray_executor.py"))["RayExecutor"]()
        server, events = unmask()
        dying = deadly(executor, tmp_path / "killed")
        assert_right(server, run_jobs(server, events, dying))
        lost = sum(future.exception() is not None for future in dying.out)
        assert lost >= 1
        assert len(dying.out) - lost == JOBS, "some were done here, not by another worker"

        lying = Through(executor, lambda number: void if number % 2 else plainly)
        server, events = unmask()
        assert_right(server, run_jobs(server, events, lying))
        assert lying.calls == JOBS

        flags = [tmp_path / f"asleep-{number}" for number in range(3)]
        futures = [executor.submit(asleep, flag) for flag in flags]
        end = time.monotonic() + 30
        while sum(flag.exists() for flag in flags) < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert all(future.cancel() for future in futures)
        assert executor.submit(os.getpid).result(30), "both workers are still asleep"
        assert sum(flag.exists() for flag in flags) == 2, "a job that was cancelled was begun"
    server, events = unmask()
    with pytest.raises(RuntimeError, match=r"call ray\.init"):
        executor.submit(os.getpid)
    assert_right(server, run_jobs(server, events, executor))


FAILURES: dict[str, BaseException] = {
    "an error": OSError("the connection is gone"),
    "out of memory": MemoryError(),
    "cancelled": CancelledError(),
    "an exit": SystemExit(1),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_lost_piece_is_tried_again(
    name: str, tmp_path: Path, threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every job fails once: each is done by the executor all the same, and counts once."""

    def fail(function: Callable[..., Any], job: Any, *args: Any) -> Any:
        if first(tmp_path / str(id(job))):
            raise FAILURES[name]
        assert threading.current_thread() is not threading.main_thread()
        return function(job, *args)

    server, events = unmask()
    counts = counted(server, monkeypatch)
    executor = Through(threads, lambda _: fail)
    assert_right(server, run_jobs(server, events, executor))
    assert list(counts.values()) == [1] * JOBS
    assert executor.calls == 2 * JOBS


def test_cancelled_futures() -> None:
    """Somebody else cancels what waits behind the first job."""
    gate = threading.Event()

    def wait(number: int) -> Callable[..., Any]:
        if number == 3:
            executor.out[1].cancel()
            gate.set()
        return gated

    def gated(function: Callable[..., Any], *args: Any) -> Any:
        gate.wait(30)
        return function(*args)

    server, events = unmask()
    with Threads(1) as pool:
        executor = Through(pool, wait)
        assert_right(server, run_jobs(server, events, executor))
    assert [future.cancelled() for future in executor.out[:3]] == [False, True, False]
    assert executor.calls == JOBS + 1


def test_what_never_succeeds_is_done_here(
    threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker has the library, say: so many attempts, then this process."""

    def fail(*_: Any) -> Any:
        raise ModuleNotFoundError("secagg")

    server, events = unmask()
    counts = counted(server, monkeypatch)
    executor = Through(threads, lambda _: fail)
    assert_right(server, run_jobs(server, events, executor))
    assert list(counts.values()) == [1] * JOBS
    assert executor.calls == ATTEMPTS * JOBS


def test_a_job_that_fails_by_itself_is_seen(
    threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug is not tried for ever: its exception comes out, and nothing is left running."""
    runs = 0

    def run(self: ExpandJob) -> Any:
        nonlocal runs
        runs += 1
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(ExpandJob, "run", run)
    server, events = unmask()
    with Threads(2) as pool:
        executor = Through(pool, as_it_is)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            run_jobs(server, events, executor)
    assert ATTEMPTS < runs <= ATTEMPTS * JOBS + 1
    assert all(future.done() for future in executor.out)


@pytest.mark.parametrize("number", [1, 4, 5, 7, 8, 17, JOBS])
def test_what_an_interruption_leaves(
    number: int, threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception ends `run_jobs`, not the round: the server gives what is still out once more."""

    def stop(call: int) -> Callable[..., Any]:
        if call == number:
            raise KeyboardInterrupt
        return plainly

    server, events = unmask()
    counts = counted(server, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_jobs(server, events, Through(threads, stop), in_flight=2)
    left = server.resend()
    handed_out = next(out for out in itertools.accumulate(STAGES) if number <= out)
    assert len(left) == handed_out - counts.total() > 0
    assert all(type(event) is Work for event in left)
    assert server.resend() == left
    assert_right(server, run_jobs(server, left, threads))
    assert list(counts.values()) == [1] * JOBS
    assert server.resend() == []


def test_an_interruption_recalls_what_waits() -> None:
    """Jobs that nobody has begun are not begun any more."""

    def stop(call: int) -> Callable[..., Any]:
        if call == 3:
            raise KeyboardInterrupt
        return plainly

    server, events = unmask()
    executor = Through(Silent(), stop)
    with pytest.raises(KeyboardInterrupt):
        run_jobs(server, events, executor)
    assert [future.cancelled() for future in executor.out] == [False, True]


# ---- executors that are gone ----------------------------------------------------------------


def test_an_executor_that_was_shut_down() -> None:
    """Before the round: it takes no job."""
    pool = Threads(1)
    pool.shutdown()
    server, events = unmask()
    assert_right(server, run_jobs(server, events, pool))


def test_an_executor_that_is_shut_down_meanwhile() -> None:
    """With jobs on it, which are cancelled."""
    pool = Threads(1)

    def shut(number: int) -> Callable[..., Any]:
        if number == 6:
            pool.shutdown(cancel_futures=True)
        return plainly

    server, events = unmask()
    executor = Through(pool, shut)
    assert_right(server, run_jobs(server, events, executor))
    assert executor.calls == 6


@pytest.mark.parametrize("answers", [0, 2, 10])
def test_an_executor_that_falls_silent(answers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for no longer than was said; what it says later changes nothing."""
    server, events = unmask()
    counts = counted(server, monkeypatch)
    executor = Silent(answers)
    assert_right(server, run_jobs(server, events, executor, patience=0.05))
    assert executor.held
    assert all(future.cancelled() for future, *_ in executor.held[1::2])
    before = state_of(server)
    executor.speak()
    assert state_of(server) == before
    assert list(counts.values()) == [1] * JOBS


# ---- workers that give back junk --------------------------------------------------------------

JUNK: dict[str, Callable[[Any], object]] = {
    "nothing": lambda value: None,
    "an exception": lambda value: ValueError("not raised"),
    "text": lambda value: "text",
    "keys": lambda value: SignedKeys((), ()),
    "too short": lambda value: value[:-1] if isinstance(value, np.ndarray) else None,
    "outside the field": lambda value: np.full(1000, 2**63, np.uint64),
    "negative": lambda value: np.full(1000, -1),
    "objects": lambda value: np.full(1000, None),
    "other seeds": lambda value: Recovered((bytes(16),) * 2, bytes(2)),
    "other keys": lambda value: SignedKeys((b"",) * 4, (1,) * 4),
}


@pytest.mark.parametrize("name", JUNK)
def test_junk_is_refused_and_done_here(
    name: str, threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From every second job."""

    def lie(function: Callable[..., Any], *args: Any) -> Any:
        return JUNK[name](function(*args))

    server, events = unmask()
    counts = counted(server, monkeypatch)
    executor = Through(threads, lambda number: lie if number % 2 else plainly)
    assert_right(server, run_jobs(server, events, executor))
    assert executor.calls == JOBS
    assert list(counts.values()) == [1] * JOBS


def test_log_lines_carry_the_session(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong with an executor: whose round it was can be seen."""

    def fail(*_: Any) -> Any:
        raise OSError("the connection is gone")

    def lie(*_: Any) -> Any:
        return None

    def shut(number: int) -> Callable[..., Any]:
        if number == 3:
            pool.shutdown()
        return (fail, lie, plainly)[number - 1]

    server, events = unmask()
    pool = Threads(1)
    caplog.clear()
    run_jobs(server, events, Through(pool, shut))
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 3
    assert all(line.startswith(f"{server.round.session.hex()}: ") for line in lines)
