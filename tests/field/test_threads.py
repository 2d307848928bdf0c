"""Threads in the core change how long a call takes, and nothing else.

How many it makes, and what becomes of a call if the system refuses them, is tested in C
(tests/native/selftest.c).
"""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from levels import runs_at
from refusals import refused
from support import every_cipher, implementations

from secagg import (
    Client,
    Code,
    Field,
    Integers,
    MemoryLedger,
    ParameterError,
    Params,
    RangeError,
    Server,
    Suite,
    secure_sum,
)
from secagg.arithmetic.threads import VARIABLE, default_threads
from secagg.machine.expansion import ExpandJob, SignedKeys

COUNTS = (1, 2, 3, 7)
LANES = (31, 61)
KEYS = [bytes([number]) * 32 for number in range(1, 40)]
SIGNS = [-1 if number % 3 else 1 for number in range(len(KEYS))]
# Enough for seven threads, and neither a piece nor a chunk long at either end.
START, LENGTH = 12_345, 60_013


@pytest.fixture
def unread() -> Iterator[None]:
    """The variable as if it had not been read yet, before and after."""
    default_threads.cache_clear()
    yield
    default_threads.cache_clear()


def masked(bits: int, suite: Suite, threads: int | None, length: int = LENGTH) -> bytes:
    """The same sum of masks, over a vector that is not zero."""
    field = Field(bits)
    acc = field.vector(np.arange(length, dtype=field.dtype))
    return field.accumulate(acc, KEYS, SIGNS, suite.generator, START, threads).tobytes()


def check(suite: Suite) -> None:
    """Every number of threads gives what one gives, in either lane and at odd lengths."""
    for bits in LANES:
        for length in (LENGTH, LENGTH - 1000, 1):
            one = masked(bits, suite, 1, length)
            for threads in COUNTS[1:]:
                assert masked(bits, suite, threads, length) == one


@every_cipher()
def test_masks(cipher: Suite) -> None:
    check(cipher)


@implementations("field")
@pytest.mark.parametrize("suite", Suite)
def test_field(implementation: str, suite: Suite) -> None:
    check(suite)


def test_many_python_threads_at_once() -> None:
    """Calls that make threads do not meet."""
    work = [(bits, suite, threads) for bits in LANES for suite in Suite for threads in COUNTS]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda each: masked(*each), work * 3))
    assert found == [masked(bits, suite, 1) for bits, suite, _ in work] * 3


def test_no_thread_stays() -> None:
    """All that a call makes is gone when it returns: there is nothing that a fork could lose."""
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        pytest.skip("threads are counted in /proc")
    before = len(list(tasks.iterdir()))
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, len(list(tasks.iterdir())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    deadline = time.monotonic() + 20  # on a busy machine the watcher may come too late for a call
    while most <= before + 1 and time.monotonic() < deadline:
        masked(31, Suite.CHACHA20, 3)
    done.set()
    watcher.join()
    assert most > before + 1  # the watcher saw others than itself
    deadline = time.monotonic() + 10  # the system takes a moment to forget a joined thread
    while len(list(tasks.iterdir())) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(list(tasks.iterdir())) == before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork() -> None:
    """A child of a process that has used threads uses them too."""
    one = masked(31, Suite.AES256CTR, 1)
    assert masked(31, Suite.AES256CTR, 2) == one
    fork = multiprocessing.get_context("fork")
    with fork.Pool(2) as pool:
        children = [pool.apply_async(masked, (31, Suite.AES256CTR, threads)) for threads in COUNTS]
        assert [child.get(60) for child in children] == [one] * len(COUNTS)


def test_jobs_use_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of jobs that run side by side is up to whoever runs them."""
    asked = []
    accumulate = Field.accumulate

    def spy(*arguments: object, threads: int | None = None) -> object:
        asked.append(threads)
        return accumulate(*arguments, threads=threads)

    monkeypatch.setattr(Field, "accumulate", spy)
    ExpandJob(SignedKeys(tuple(KEYS[:1]), (1,)), 31, Suite.AES256CTR.generator, 0, 10).run()
    assert asked == [1]


@pytest.mark.parametrize("threads", [0, -1])
def test_too_few(threads: int) -> None:
    field = Field(31)
    acc = field.zeros(3)
    with refused(RangeError, Code.ARGUMENT, match=f"not {threads}"):
        field.accumulate(acc, KEYS, SIGNS, Suite.AES256CTR.generator, 0, threads)
    assert not acc.any()


def test_more_than_there_can_be() -> None:
    assert masked(31, Suite.AES256CTR, 10**30) == masked(31, Suite.AES256CTR, 1)


@pytest.mark.parametrize(
    ("text", "count"), [("1", 1), ("3", 3), ("000000007", 7), ("1" * 9, 111_111_111)]
)
def test_the_variable(text: str, count: int, unread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    one = masked(61, Suite.CHACHA20, 1)
    monkeypatch.setenv(VARIABLE, text)
    assert default_threads() == count
    assert masked(61, Suite.CHACHA20, None) == one


@pytest.mark.parametrize(
    "text",
    ["0", "-2", "+2", "2.0", " 2", "two", "1_0", "٣", "1" * 10, "0" * 9, "0" * 5000 + "1"],
)
def test_a_bad_variable(text: str, unread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which variable it is, each time, and before a round can begin."""
    monkeypatch.setenv(VARIABLE, text)
    agreed = Params(3, 1, Integers(0, 1)).round()
    needs: list[Callable[[], object]] = [
        lambda: masked(31, Suite.AES256CTR, None),
        *(lambda: Client(agreed, 0), lambda: Server(agreed)),
        lambda: Client.resume(b"", bytes(32), MemoryLedger()),
        lambda: Server.resume(b"", bytes(32), MemoryLedger()),
        lambda: secure_sum([[0]] * 3, agreed.params.format),
    ]
    for need in needs:
        with refused(ParameterError, Code.ARGUMENT, match=f"{VARIABLE} must be a positive integer"):
            need()
    assert masked(31, Suite.AES256CTR, 2)


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_an_empty_variable_is_not_set(
    text: str, unread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As shells and containers leave it."""
    monkeypatch.setenv(VARIABLE, text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert default_threads() == 3


def test_the_default(unread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One a CPU that the process may use, but no more than eight."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(3)), raising=False)
    assert default_threads() == 3
    default_threads.cache_clear()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(100)), raising=False)
    assert default_threads() == 8
    default_threads.cache_clear()
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_threads() == 1


@runs_at("programs")
def test_the_variable_rules_a_round() -> None:
    """Clients mask with as many threads as it says; the sum is the same."""
    program = (
        "import secagg, numpy as np\n"
        "values = [np.full(70_000, n) for n in range(20)]\n"
        "print(secagg.secure_sum(values, secagg.Integers(0, 100)).total.sum())"
    )
    for text, wanted in (("1", "13300000"), ("2", "13300000"), ("none", None)):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, VARIABLE: text},
            capture_output=True,
            text=True,
            check=False,
        )
        if wanted is None:
            assert ran.returncode != 0
            assert f"{VARIABLE} must be a positive integer, not 'none'" in ran.stderr
        else:
            assert ran.stdout.strip() == wanted
