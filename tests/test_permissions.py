"""Files on which security rests: what another user of the machine could do to them is refused.

Each attack is played against the files that it could hurt, through the public names; its control
shows that the same file is fine without it.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from refusals import refused

from secagg import Code, Directory, Identity, IdentityError, Once, SqliteLedger, StateError
from secagg.ledger import sqlite
from secagg.permissions import PINS, why_unsafe
from secagg.primitives.sign import verify_key

STRANGER = 12345
KEY = bytes(32)
NAMES = ("identity", "pins", "ledger")
GUARDED = ("pins", "ledger")


@pytest.fixture
def home(memory_path: Path) -> Path:
    """A folder with a file of each kind, a folder below others that an attack may open up."""
    home = memory_path / "outer" / "home"
    home.mkdir(parents=True)
    Identity.generate().save(home / "identity")
    Directory.of([("anna", verify_key(KEY))]).save(home / "pins")
    SqliteLedger(home / "ledger")
    return home


@pytest.fixture
def give_away(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a file or folder somebody else's; who is not root becomes somebody else instead."""
    me = os.geteuid()

    def give(path: Path) -> None:
        if me == 0:
            os.chown(path, STRANGER, -1, follow_symlinks=False)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: me + 1)

    return give


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Mounts every file system read-only, as the library sees it."""
    return lambda: monkeypatch.setattr(
        os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY)
    )


def use(path: Path, name: str) -> None:
    """Opens a file as what its name says."""
    if name == "identity":
        Identity.load(path)
    elif name == "pins":
        Directory.load(path)
    else:
        SqliteLedger(path).claim(Once.RESUMPTION, os.urandom(32))


def refuses(path: Path, name: str, match: str) -> None:
    """Checks that a file is refused, with its path and a command for what is wrong."""
    error = StateError if name == "ledger" else IdentityError
    with refused(error, Code.PERMISSIONS, match=match) as caught:
        use(path, name)
    assert str(caught.value).startswith(f"{path}: ")
    assert "`" in str(caught.value)


# ---- the file itself ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o660, 0o666, 0o664])
def test_a_file_that_others_may_write(home: Path, name: str, mode: int) -> None:
    use(home / name, name)
    (home / name).chmod(mode)
    refuses(home / name, name, f"mode {mode:04o}.*`chmod (600|go-w) {home / name}`")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_somebody_else(home: Path, name: str, give_away: Callable[[Path], None]) -> None:
    give_away(home / name)
    refuses(home / name, name, "belongs to another user.*`chown")


@pytest.mark.parametrize("name", ["identity", "pins"])
def test_a_file_of_root_is_trusted(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read and write everything as it is."""
    if os.geteuid():
        pytest.skip("only root can make files of root")
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    use(home / name, name)


def test_the_open_file_is_judged(home: Path) -> None:
    """Not the one that has its name by then."""
    (home / "pins").chmod(0o666)
    with (home / "pins").open() as stream:
        (home / "pins").rename(home / "away")
        (home / "pins").touch(0o644)
        assert why_unsafe(home / "pins", PINS, home / "pins") is None
        assert why_unsafe(home / "pins", PINS, stream.fileno()) is not None


def test_a_path_with_a_blank_is_quoted(home: Path) -> None:
    """The command can be copied from the message."""
    odd = home / "my pins; rm x"
    (home / "pins").rename(odd)
    odd.chmod(0o666)
    refuses(odd, "pins", f"`chmod go-w '{odd}'`")


# ---- the folders on the way ---------------------------------------------------------------


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("folder", ["outer/home", "outer"])
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_in_which_others_may_replace_the_file(
    home: Path, name: str, folder: str, mode: int
) -> None:
    """At once, or by a folder of theirs in the place of the file's: they own nothing that is there,
    and need not, to rename it away."""
    open_folder = home.parent.parent / folder
    open_folder.chmod(mode)
    refuses(home / name, name, f"folder {open_folder} .mode {mode:04o}.*`chmod go-w {open_folder}`")
    use(home / "identity", "identity")
    open_folder.chmod(0o755)
    use(home / name, name)


def test_nothing_is_written_where_it_would_be_refused(home: Path) -> None:
    """Pins, or a ledger, in a folder where others could replace them. A key may lie there."""
    home.chmod(0o777)
    with refused(IdentityError, Code.PERMISSIONS, match=f"chmod go-w {home}"):
        Directory().save(home / "new")
    refuses(home / "new", "ledger", f"chmod go-w {home}")
    assert sorted(path.name for path in home.iterdir()) == sorted(NAMES)
    Identity.generate().save(home / "new")
    use(home / "new", "identity")


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("folder", ["outer/home", "outer"])
def test_a_folder_of_somebody_else(
    home: Path, name: str, folder: str, give_away: Callable[[Path], None]
) -> None:
    """Its owner may write to it, or make it so."""
    give_away(home.parent.parent / folder)
    refuses(home / name, name, "its folder .* belongs to another user")


def test_a_sticky_folder(home: Path, give_away: Callable[[Path], None]) -> None:
    """As /tmp: others replace only what is theirs, but they may plant a journal beside a ledger."""
    home.chmod(0o1777)
    use(home / "pins", "pins")
    refuses(home / "ledger", "ledger", f"`mkdir -m 700 {home}/secagg`")
    home.chmod(0o700)
    home.parent.chmod(0o1777)
    for name in GUARDED:
        use(home / name, name)
    give_away(home)
    for name in GUARDED:
        refuses(home / name, name, f"{home}.* belongs to another user")


@pytest.mark.parametrize("name", GUARDED)
def test_a_link_into_a_folder_of_others(home: Path, name: str) -> None:
    """It lies in a safe folder, what it leads to does not; also by a link on the way."""
    theirs = home.parent / "theirs"
    home.rename(theirs)
    theirs.chmod(0o777)
    home.mkdir()
    (home / name).symlink_to(f"../theirs/{name}")
    (home.parent / "way").symlink_to(theirs)
    refuses(home / name, name, f"chmod go-w {theirs}")
    refuses(home.parent / "way" / name, name, f"chmod go-w {theirs}")
    theirs.chmod(0o755)
    use(home / name, name)
    use(home.parent / "way" / name, name)


@pytest.mark.parametrize("name", GUARDED)
def test_a_link_that_others_may_replace(
    home: Path, name: str, give_away: Callable[[Path], None]
) -> None:
    """It leads to a safe folder, for now."""
    public = home.parent.parent / "public"
    public.mkdir()
    (public / "link").symlink_to(home / name)
    use(public / "link", name)
    public.chmod(0o777)
    refuses(public / "link", name, f"chmod go-w {public}")
    public.chmod(0o1777)
    use(public / "link", name)
    give_away(public / "link")
    refuses(public / "link", name, f"{public}.* belongs to another user")


@pytest.mark.parametrize("name", NAMES)
def test_links_in_a_circle(home: Path, name: str) -> None:
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    with refused(StateError if name == "ledger" else IdentityError, Code.IO):
        use(home / "a", name)


@pytest.mark.parametrize("name", GUARDED)
def test_a_relative_path_is_checked_as_well(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    use(Path("..") / "home" / name, name)
    home.parent.chmod(0o777)
    refuses(Path(name), name, f"chmod go-w {home.parent}")


# ---- read-only mounts ---------------------------------------------------------------------


@pytest.fixture
def volume(home: Path) -> Path:
    """The files as in a Kubernetes volume: each a link, to a link to a folder with a date."""
    volume = home.parent / "volume"
    dated = volume / "..2026_11_27_09_00_00.1234"
    dated.mkdir(parents=True)
    (volume / "..data").symlink_to(dated.name)
    for name in ("identity", "pins"):
        shutil.copy(home / name, dated / name)
        (volume / name).symlink_to(f"..data/{name}")
    volume.chmod(0o1777)
    dated.chmod(0o2777)
    return volume


def test_a_secret_volume(volume: Path, read_only: Callable[[], None]) -> None:
    """The group of the process may read the key, others may not; pins are public."""
    for mode in (0o440, 0o640, 0o400):
        (volume / "identity").chmod(mode)
        if mode & 0o077:
            refuses(volume / "identity", "identity", "chmod 600")
    for mode in (0o444, 0o440, 0o666):
        (volume / "pins").chmod(mode)
        refuses(volume / "pins", "pins", "chmod go-w")
    read_only()
    for mode in (0o444, 0o440, 0o666):
        (volume / "pins").chmod(mode)
        use(volume / "pins", "pins")
    for mode in (0o440, 0o640, 0o400):
        (volume / "identity").chmod(mode)
        use(volume / "identity", "identity")
    for mode in (0o444, 0o644, 0o404):
        (volume / "identity").chmod(mode)
        refuses(volume / "identity", "identity", f"mode {mode:04o}.*`defaultMode: 0440`")


def test_a_key_for_another_group(
    volume: Path, read_only: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its members are others. Root's group is trusted like root."""
    read_only()
    (volume / "identity").chmod(0o440)
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "getgroups", lambda: [])
        monkeypatch.setattr(os, "getegid", lambda: STRANGER + 1)
        use(volume / "identity", "identity")
        os.chown(volume / "identity", -1, STRANGER)
    group = (volume / "identity").stat().st_gid
    monkeypatch.setattr(os, "getegid", lambda: group + 1)
    monkeypatch.setattr(os, "getgroups", lambda: [group + 2, group])
    use(volume / "identity", "identity")
    monkeypatch.setattr(os, "getgroups", lambda: [group + 2])
    refuses(volume / "identity", "identity", "mode 0440")


def test_a_foreign_key_on_a_read_only_mount(
    volume: Path, read_only: Callable[[], None], give_away: Callable[[Path], None]
) -> None:
    """Somebody else knows it; somebody else's pins cannot be changed under the reader."""
    read_only()
    (volume / "identity").chmod(0o400)
    for name in ("identity", "pins"):
        give_away((volume / name).resolve())
    use(volume / "pins", "pins")
    refuses(volume / "identity", "identity", "belongs to another user")


# ---- ledgers: what may lie beside them, and what may happen later --------------------------


def hot_journal(folder: Path) -> bytes:
    """A journal that takes a ledger back to where it was empty, made with one of the attacker's."""
    SqliteLedger(folder / "attacker")
    with closing(sqlite3.connect(folder / "attacker", isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        for number in range(400):
            connection.execute(
                "INSERT INTO claims (what, key) VALUES ('x', ?)", (number.to_bytes(4) * 16,)
            )
        journal = (folder / "attacker-journal").read_bytes()
        connection.execute("ROLLBACK")
    return journal


@pytest.mark.parametrize("defended", [False, True])
def test_a_planted_journal(
    home: Path, defended: bool, monkeypatch: pytest.MonkeyPatch, give_away: Callable[[Path], None]
) -> None:
    """Without the rule a claim is given twice; with it the folder is refused, and the journal that
    was planted before the folder was mended."""
    journal = hot_journal(home)
    ledger = SqliteLedger(home / "ledger")
    assert ledger.claim(Once.CONTRIBUTION, KEY)
    home.chmod(0o1777)
    (home / "ledger-journal").write_bytes(journal)
    (home / "ledger-journal").chmod(0o644)
    if not defended:
        monkeypatch.setattr(sqlite, "why_unsafe", lambda *_: None)
        assert ledger.claim(Once.CONTRIBUTION, KEY), "the attack does not work"
        return
    for _ in range(2):
        with refused(StateError, Code.PERMISSIONS):
            ledger.claim(Once.CONTRIBUTION, KEY)
        refuses(home / "ledger", "ledger", "journal|mkdir|belongs")
        give_away(home / "ledger-journal")
        home.chmod(0o700)
    (home / "ledger-journal").unlink()
    monkeypatch.undo()
    assert SqliteLedger(home / "ledger").claim(Once.CONTRIBUTION, KEY) is False


@pytest.mark.parametrize("ending", ["-journal", "-wal", "-shm"])
def test_companions_count_like_the_file(home: Path, ending: str) -> None:
    beside = home / f"ledger{ending}"
    beside.touch(0o600)
    beside.chmod(0o666)
    refuses(home / "ledger", "ledger", f"{beside.name}, .*`chmod go-w {beside}`")


@pytest.mark.parametrize("what", ["ledger", "", ".."])
def test_a_claim_checks_again(home: Path, what: str) -> None:
    """File and folders may have changed since the ledger was opened."""
    ledger = SqliteLedger(home / "ledger")
    (home / what).chmod(0o777)
    with refused(StateError, Code.PERMISSIONS):
        ledger.claim(Once.CONTRIBUTION, KEY)
    (home / what).chmod(0o700)
    assert ledger.claim(Once.CONTRIBUTION, KEY)


def test_a_ledger_that_is_replaced(home: Path) -> None:
    """Say, by a copy of before: it is refused until the program is started again."""
    shutil.copy(home / "ledger", home / "copy")
    ledger = SqliteLedger(home / "ledger")
    assert ledger.claim(Once.CONTRIBUTION, KEY)
    (home / "ledger").rename(home / "kept")
    (home / "copy").rename(home / "ledger")
    with refused(StateError, Code.LEDGER, match="another file has replaced"):
        ledger.claim(Once.CONTRIBUTION, KEY)
    (home / "kept").rename(home / "ledger")
    assert not ledger.claim(Once.CONTRIBUTION, KEY)


def test_a_ledger_with_two_names(home: Path) -> None:
    """A journal is found under one of them only. A draft that a crash left is no second name."""
    ledger = SqliteLedger(home / "ledger")
    (home / "second").hardlink_to(home / "ledger")
    refuses(home / "ledger", "ledger", "2 names")
    with refused(StateError, Code.PERMISSIONS):
        ledger.claim(Once.CONTRIBUTION, KEY)
    (home / "second").rename(home / ".secagg-0123456789abcdef")
    (home / ".secagg-other").touch()
    assert SqliteLedger(home / "ledger").claim(Once.CONTRIBUTION, KEY)
    assert not (home / ".secagg-0123456789abcdef").exists()
    assert (home / ".secagg-other").exists()
