"""Ledgers: what was claimed once is never given again, whoever asks and whatever dies in between.

One suite for both ledgers, then what only a file can do: survive a process, be shared by several,
be unusable.
"""

import gc
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import children
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from levels import amount, runs_at
from refusals import refused
from support import collected

from secagg import Code, Ledger, MemoryLedger, Once, ParameterError, SqliteLedger, StateError
from secagg.ledger import sqlite_file as sqlite
from secagg.ledger.sqlite import _CLAIM, _KIND

KEY = bytes(range(32))
KINDS = list(Once)


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    """A connection that was left open warns when it is collected, and a warning is an error."""
    with collected():
        yield


@pytest.fixture(params=["memory", "sqlite"])
def ledger(request: pytest.FixtureRequest, memory_path: Path) -> Ledger:
    """An empty ledger of either kind."""
    return MemoryLedger() if request.param == "memory" else SqliteLedger(memory_path / "ledger")


@pytest.fixture
def path(memory_path: Path) -> Path:
    """Where an SQLite ledger may be."""
    return memory_path / "ledger"


@pytest.fixture
def disk_path(tmp_path: Path) -> Path:
    """Where one may be that processes share, or that must outlive one."""
    return tmp_path / "ledger"


# ---- what every ledger does ---------------------------------------------------------------


@pytest.mark.parametrize("what", KINDS)
def test_a_claim_is_given_once(ledger: Ledger, what: Once) -> None:
    """True the first time, False ever after; the answers are booleans."""
    assert ledger.claim(what, KEY) is True
    assert [ledger.claim(what, KEY) for _ in range(3)] == [False] * 3


def test_kinds_and_keys_are_apart(ledger: MemoryLedger | SqliteLedger) -> None:
    """The same key for something else, and another key for the same, are other claims."""
    keys = [b"", b"\0", b"\0\0", KEY, KEY + b"\0", KEY[:-1], KEY.hex().encode(), b"contribution"]
    claims = [(what, key) for what in KINDS for key in keys]
    for claim in claims:
        assert not ledger.has(*claim)  # which claims nothing
        assert ledger.claim(*claim)
        assert ledger.has(*claim)
    assert not any(ledger.claim(*claim) for claim in claims)


@settings(
    max_examples=amount("sequences of claims"),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.binary(max_size=2)), max_size=12))
def test_any_sequence_is_answered_like_a_set(
    memory_path: Path, claims: list[tuple[Once, bytes]]
) -> None:
    """Both kinds agree with a plain set."""
    with tempfile.TemporaryDirectory(dir=memory_path) as folder:
        ledgers: list[Ledger] = [MemoryLedger(), SqliteLedger(Path(folder) / "ledger")]
        known: set[tuple[Once, bytes]] = set()
        for claim in claims:
            fresh = claim not in known
            known.add(claim)
            assert [ledger.claim(*claim) for ledger in ledgers] == [fresh, fresh]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_one_thread_wins(kind: str, disk_path: Path) -> None:
    """Eight threads want each of 20 keys at the same moment; one gets it."""
    ledger: Ledger = MemoryLedger() if kind == "memory" else SqliteLedger(disk_path)
    together = threading.Barrier(8)

    def race(_: int) -> list[bool]:
        won = []
        for number in range(20):
            together.wait(30)
            won.append(ledger.claim(Once.CONTRIBUTION, bytes([number])))
        return won

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert [sum(column) for column in zip(*won, strict=True)] == [1] * 20


# ---- files: other processes, and processes that die ---------------------------------------


def other_process(
    script: str, path: Path, *more: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    """Starts another interpreter with `ledger` opened on the path, and `more` in sys.argv[2:]."""
    begin = "import os, sys, time, signal, sqlite3\nfrom secagg import Once, SqliteLedger\n"
    begin += "ledger = SqliteLedger(sys.argv[1])\n"
    return children.started(
        [sys.executable, "-c", begin + children.WATCH + textwrap.dedent(script), str(path), *more],
        stdout=subprocess.PIPE,
    )


RACE = """
    print("ready", flush=True)
    while not os.path.exists(sys.argv[2]):
        watch()
        time.sleep(0.001)
    print("".join("01"[ledger.claim(Once.CONTRIBUTION, bytes([i]))] for i in range(20)))
"""


def test_claims_survive_reopening(disk_path: Path) -> None:
    """Another object knows them."""
    assert SqliteLedger(disk_path).claim(Once.RESUMPTION, KEY)
    assert not SqliteLedger(str(disk_path)).claim(Once.RESUMPTION, KEY)


def test_one_process_wins(disk_path: Path) -> None:
    """Three processes want the same 20 keys at the same time: each key is given once."""
    go = disk_path.with_name("go")
    with ExitStack() as stack:
        racing = [stack.enter_context(other_process(RACE, disk_path, str(go))) for _ in range(3)]
        for child in racing:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        go.touch()
        won = [child.communicate()[0].strip() for child in racing]
    assert [sum(map(int, column)) for column in zip(*won, strict=True)] == [1] * 20


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("os._exit(7)", marks=runs_at("programs")),
        "os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_a_killed_process_keeps_its_claim(disk_path: Path, end: str) -> None:
    """A claim that was answered is on disk: nothing is flushed on the way out."""
    claim = f"assert ledger.claim(Once.SURVIVOR_SET, b'session'); {end}"
    with other_process(claim, disk_path) as child:
        child.communicate()
        assert child.returncode == (7 if "exit" in end else -signal.SIGKILL)
    assert not SqliteLedger(disk_path).claim(Once.SURVIVOR_SET, b"session")
    assert SqliteLedger(disk_path).claim(Once.SURVIVOR_SET, b"another")


def test_a_claim_is_on_the_disk_before_it_is_answered(
    disk_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every commit waits for the disk and the folder of the journal (`synchronous = EXTRA`)."""
    found: list[int] = []

    class Watched(sqlite3.Connection):
        """Notes how each commit is made."""

        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            """Looks first, where it is a commit."""
            if sql == "COMMIT":
                found.extend(super().execute("PRAGMA synchronous").fetchone())
            return super().execute(sql, *values)

    connect = partial(sqlite3.connect, factory=Watched)
    module = SimpleNamespace(**{**vars(sqlite3), "connect": connect})
    monkeypatch.setitem(sys.modules, "sqlite3", module)
    assert SqliteLedger(disk_path).claim(Once.CONTRIBUTION, b"key")
    assert found == [3, 3, 3]  # of making the file, of looking at it, and of the claim


def test_a_claim_that_was_never_answered_is_free(disk_path: Path) -> None:
    """Killed in the middle of the transaction: nobody was told, and the next one gets it."""
    script = """
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        connection.execute("PRAGMA cache_spill = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO claims (what, key) VALUES ('resumption', x'00')")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with other_process(script, disk_path) as child:
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    assert SqliteLedger(disk_path).claim(Once.RESUMPTION, b"\0")


# ---- files: rights and names --------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_the_file_is_its_owners_alone(path: Path, umask: int) -> None:
    """0600 from the first moment, whatever the umask; its folder holds nothing else."""
    before = os.umask(umask)
    try:
        SqliteLedger(path).claim(Once.RESUMPTION, KEY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    [
        "two words",
        "100%",
        "%41",
        "what?",
        "a#b",
        "a&mode=ro",
        "'\"",
        "schl\u00fcssel \u2192",
        ":memory:",
    ],
)
def test_any_name_will_do(memory_path: Path, name: str) -> None:
    """The name is no part of a URI: the file is where it was asked for, and nowhere else."""
    for _ in range(2):
        ledger = SqliteLedger(memory_path / name)
    assert ledger.claim(Once.RESUMPTION, KEY)
    assert not SqliteLedger(memory_path / name).claim(Once.RESUMPTION, KEY)
    assert [each.name for each in memory_path.iterdir()] == [name]
    assert name in repr(ledger).replace("\\'", "'").replace("\\u2192", "\u2192")


def test_a_relative_path_stays_the_same_file(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that changes its folder does not change its ledger."""
    monkeypatch.chdir(memory_path)
    ledger = SqliteLedger("ledger")
    (memory_path / "elsewhere").mkdir()
    monkeypatch.chdir(memory_path / "elsewhere")
    assert ledger.claim(Once.RESUMPTION, KEY)
    assert not SqliteLedger(memory_path / "ledger").claim(Once.RESUMPTION, KEY)
    for address in (":memory:", "file:ledger?mode=memory"):
        with refused(ParameterError, Code.ARGUMENT, match="of the class MemoryLedger"):
            SqliteLedger(address)
    assert list((memory_path / "elsewhere").iterdir()) == []


# ---- files: what cannot be used -----------------------------------------------------------


def complaint_about(path: Path) -> Code:
    """The code of the complaint about a path, which it names."""
    with pytest.raises(StateError) as raised:
        SqliteLedger(path).claim(Once.RESUMPTION, KEY)
    assert str(raised.value).startswith(f"{path}: ")
    assert raised.value.__cause__ is None
    return raised.value.code


def test_a_folder_that_is_missing(memory_path: Path) -> None:
    """Folders are not made."""
    assert complaint_about(memory_path / "no" / "ledger") is Code.IO
    assert list(memory_path.iterdir()) == []


def test_a_directory(memory_path: Path) -> None:
    """A folder is no file, not even the uppermost."""
    (memory_path / "folder").mkdir()
    for folder in (memory_path / "folder", Path("/")):
        with refused(StateError, Code.IO, match=f"^{folder}: this is a folder"):
            SqliteLedger(folder)


def test_a_folder_that_fails_to_be_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said, and the ledger is not taken away: another process may have claimed in it. The
    call can be repeated."""
    others: list[SqliteLedger] = []

    def fail(_: int) -> None:
        monkeypatch.undo()
        others.append(SqliteLedger(path))
        assert others[0].claim(Once.RESUMPTION, KEY)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    assert complaint_about(path) is Code.IO
    assert not SqliteLedger(path).claim(Once.RESUMPTION, KEY)
    assert not others[0].claim(Once.RESUMPTION, KEY)


def test_a_file_system_without_permissions(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a mounted folder of Windows, where all may write to each file: no ledger is made there."""
    real = os.open

    def open_to_all(name: str, flags: int, mode: int = 0o777) -> int:
        file = real(name, flags, mode)
        os.fchmod(file, 0o777)
        return file

    monkeypatch.setattr(os, "open", open_to_all)
    with refused(StateError, Code.PERMISSIONS, match="file system does not keep"):
        SqliteLedger(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("left", [4096, 5000, 8000, 8191])
def test_a_file_that_was_cut_short(path: Path, left: int) -> None:
    """SQLite reads zeros in place of what is missing of the last page, and claims are forgotten."""
    held = SqliteLedger(path)
    assert held.claim(Once.RESUMPTION, KEY)
    with path.open("r+b") as stream:
        stream.truncate(left)
    for action in (partial(SqliteLedger, path), partial(held.claim, Once.RESUMPTION, KEY)):
        with refused(StateError, Code.CORRUPT):
            action()
    assert path.stat().st_size == left


def test_a_pipe_is_no_ledger(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with refused(StateError, Code.IO, "not a regular file"):
        SqliteLedger(path)


@pytest.mark.parametrize("path", [None, 7, ["ledger"]])
def test_what_is_no_path(path: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT):
        SqliteLedger(path)


@pytest.mark.parametrize("content", [b"no database at all, but long enough\n" * 9, b"SQLite form"])
def test_something_that_is_no_database(path: Path, content: bytes) -> None:
    """Left as it is."""
    path.write_bytes(content)
    assert complaint_about(path) is Code.FOREIGN_FILE
    assert path.read_bytes() == content


def test_a_database_with_other_columns(path: Path) -> None:
    """A table of this name that is another one."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE claims (who TEXT)")
    complaint_about(path)


def test_a_table_that_forgets(path: Path) -> None:
    """One with the right columns in which nothing is unique would give every claim twice."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE claims (what TEXT, key BLOB, at TEXT)")
    complaint_about(path)


def test_the_database_of_something_else(path: Path) -> None:
    """Nothing is put into it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE cookies (host TEXT)")
    before = path.read_bytes()
    assert complaint_about(path) is Code.FOREIGN_FILE
    assert path.read_bytes() == before


def test_a_damaged_file(path: Path) -> None:
    """Its pages are noise behind an intact header."""
    SqliteLedger(path)
    content = bytearray(path.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    path.write_bytes(content)
    complaint_about(path)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of the user that the test then is: file rights mean nothing to root."""
    with tempfile.TemporaryDirectory() as name:
        folder, user = Path(name), os.geteuid()
        if user == 0:
            os.chown(folder, 65534, -1)
            os.seteuid(65534)
        try:
            yield folder
        finally:
            folder.chmod(0o700)
            os.seteuid(user)


def test_a_file_that_may_only_be_read(unprivileged: Path) -> None:
    """Refused when it is opened; and where it became so since, when it is claimed."""
    path = unprivileged / "ledger"
    ledger = SqliteLedger(path)
    path.chmod(0o400)
    assert complaint_about(path) is Code.IO
    with refused(StateError, Code.IO):
        ledger.claim(Once.RESUMPTION, KEY)
    path.chmod(0o600)
    assert ledger.claim(Once.RESUMPTION, KEY), "nothing was claimed"


def test_a_folder_in_which_nothing_can_be_made(unprivileged: Path) -> None:
    """Without its journal a claim is not durable."""
    ledger = SqliteLedger(unprivileged / "ledger")
    unprivileged.chmod(0o500)
    with refused(StateError, Code.IO):
        ledger.claim(Once.RESUMPTION, KEY)
    unprivileged.chmod(0o700)
    assert ledger.claim(Once.RESUMPTION, KEY), "nothing was claimed"


def test_a_file_that_vanished(path: Path) -> None:
    """It is not made anew: it would have forgotten everything."""
    ledger = SqliteLedger(path)
    assert ledger.claim(Once.RESUMPTION, KEY)
    path.unlink()
    with refused(StateError, Code.IO):
        ledger.claim(Once.RESUMPTION, KEY)
    assert not path.exists()


def test_a_file_in_the_place_of_one_that_vanished(disk_path: Path) -> None:
    """It may not get the number of the other one, by which it would pass for it."""
    ledger = SqliteLedger(disk_path)
    assert ledger.claim(Once.RESUMPTION, KEY)
    disk_path.unlink()
    SqliteLedger(disk_path)
    with refused(StateError, Code.LEDGER, match="another file has replaced"):
        ledger.claim(Once.RESUMPTION, KEY)


def test_a_ledger_leaves_no_file_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    ledger = SqliteLedger(path)
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208
    del ledger
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_file_that_was_emptied(path: Path) -> None:
    """No table, no claim."""
    ledger = SqliteLedger(path)
    path.write_bytes(b"")
    with refused(StateError, Code.CORRUPT, match="no such table: claims; put back a whole copy"):
        ledger.claim(Once.RESUMPTION, KEY)


def test_a_file_that_somebody_else_holds(disk_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waited for, not for ever; then nothing is claimed."""
    monkeypatch.setattr(sqlite, "_SECONDS_TO_WAIT", 0.05)
    ledger = SqliteLedger(disk_path)
    with closing(sqlite3.connect(disk_path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with refused(StateError, Code.LEDGER):
            ledger.claim(Once.RESUMPTION, KEY)
        other.execute("ROLLBACK")
    assert ledger.claim(Once.RESUMPTION, KEY)


def test_a_claim_waits_for_its_turn(disk_path: Path) -> None:
    """The default patience is enough for a short transaction of another process."""
    ledger = SqliteLedger(disk_path)
    with (
        closing(sqlite3.connect(disk_path, isolation_level=None, check_same_thread=False)) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute("BEGIN EXCLUSIVE")
        claim = pool.submit(ledger.claim, Once.RESUMPTION, KEY)
        with pytest.raises(TimeoutError):
            claim.result(0.1)
        other.execute("COMMIT")
        assert claim.result(30)


def test_a_path_that_no_file_has(memory_path: Path) -> None:
    """A zero byte, half a character, or a name that is too long."""
    for name in ("n" * 300, "zero\0byte", "half\ud800"):
        assert complaint_about(memory_path / name) is Code.IO


@pytest.mark.parametrize(
    ("folder_bytes", "name_bytes", "excess"), [(479, 24, 0), (479, 25, 1), (482, 1, 3)]
)
def test_a_path_that_is_too_long_for_sqlite(
    memory_path: Path, folder_bytes: int, name_bytes: int, excess: int
) -> None:
    """SQLite has a limit of its own, 504 bytes for the file and for its draft, and hides it."""
    left = folder_bytes - len(os.fsencode(memory_path))
    parts = [100] * (left // 101 - 1)
    folder = memory_path.joinpath(*("d" * size for size in [*parts, left - 101 * len(parts) - 1]))
    folder.mkdir(parents=True)
    assert len(os.fsencode(folder)) == folder_bytes
    path = folder / ("n" * name_bytes)
    if not excess:
        assert SqliteLedger(path).claim(Once.RESUMPTION, KEY)
        return
    assert complaint_about(path) is Code.IO
    with refused(StateError, Code.IO, match=f"too long for SQLite; shorten it by {excess} bytes"):
        SqliteLedger(path)


def test_a_row_is_what_was_claimed_and_when(path: Path) -> None:
    """Nothing else is in the file."""
    SqliteLedger(path).claim(Once.CONTRIBUTION, KEY)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT what, key FROM claims").fetchall() == [
            ("contribution", KEY)
        ]
        columns = connection.execute("PRAGMA table_info(claims)").fetchall()
    assert [column[1] for column in columns] == ["what", "key", "at"]


def test_a_second_ledger_leaves_the_locks_of_the_first(
    disk_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing any descriptor of a file drops all POSIX locks that its process has on it.

    So a ledger that is constructed while a thread of the same process is in a claim must not open
    the file by other means than SQLite's: another process would get in between.
    """
    SqliteLedger(disk_path)
    monkeypatch.setattr(sqlite, "_SECONDS_TO_WAIT", 0.05)
    other = (
        "import sys; from secagg.ledger import sqlite_file as s; s._SECONDS_TO_WAIT = 0.05\n"
        "import secagg; print(secagg.SqliteLedger(sys.argv[1]).claim('contribution', b'key'))"
    )
    with sqlite._transaction(disk_path, _KIND) as connection:
        assert connection.execute(_CLAIM, ("contribution", b"key")).rowcount == 1
        with refused(StateError, Code.LEDGER), ThreadPoolExecutor(1) as pool:
            pool.submit(SqliteLedger, disk_path).result()
        done = children.run([sys.executable, "-c", other, str(disk_path)])
        assert "database is locked" in done.stderr
    assert not SqliteLedger(disk_path).claim(Once.CONTRIBUTION, b"key")


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o620])
def test_a_file_that_others_may_write_to(path: Path, mode: int) -> None:
    """They could make it forget."""
    SqliteLedger(path)
    path.chmod(mode)
    assert complaint_about(path) is Code.PERMISSIONS


def test_a_link_that_is_turned_later(memory_path: Path) -> None:
    """A ledger stays with the file that it began with."""
    SqliteLedger(memory_path / "one")
    SqliteLedger(memory_path / "two")
    link = memory_path / "link"
    link.symlink_to("one")
    ledger = SqliteLedger(link)
    assert ledger.claim(Once.RESUMPTION, KEY)
    link.unlink()
    link.symlink_to("two")
    assert not ledger.claim(Once.RESUMPTION, KEY)


def test_an_emptied_file_is_not_made_anew(path: Path) -> None:
    """It would have forgotten everything, too."""
    SqliteLedger(path)
    path.write_bytes(b"")
    assert complaint_about(path) is Code.FOREIGN_FILE


@pytest.mark.skipif(sys.platform != "linux", reason="holds its file on Linux only")
def test_a_ledger_lets_go_of_its_own_file_only(tmp_path: Path) -> None:
    """A program that became a daemon may have closed all files, and opened others."""
    path = tmp_path / "ledger"
    ledger = SqliteLedger(path)
    (held,) = (
        int(entry.name)
        for entry in Path("/proc/self/fd").iterdir()
        if os.path.exists(entry) and os.path.samefile(entry, path)  # noqa: PTH110, PTH121
    )
    with (tmp_path / "other").open("w") as other:
        os.dup2(other.fileno(), held)
    del ledger
    assert os.fstat(held)
    os.close(held)
    ledger = SqliteLedger(path)
    del ledger
    links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    assert str(path) not in [str(link.readlink()) for link in links if link.is_symlink()]
