"""Files on which security rests: what another user of the machine could do to them is refused.

Each attack is played against the files that it could hurt, through the public names; its control
shows that the same file is fine without it.
"""

import os
import shutil
import sqlite3
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import children
import pytest
from refusals import refused

from secagg import (
    Code,
    Directory,
    Identity,
    IdentityError,
    Once,
    SqliteLedger,
    StateError,
    permissions,
)
from secagg.ledger import sqlite_file as sqlite
from secagg.permissions import PINS, SECRET, why_unsafe
from secagg.primitives.sign import verify_key

STRANGER = 12345
GROUP = 2000
UNKNOWN = 65534
KEY = bytes(32)
NAMES = ("identity", "pins", "ledger")
GUARDED = ("pins", "ledger")
OWN_FOLDER = "`mkdir -m 700 ~/secagg`.*`install -d "


@pytest.fixture
def home(memory_path: Path) -> Path:
    """A folder with a file of each kind, a folder below others that an attack may open up."""
    home = memory_path / "outer" / "home"
    home.mkdir(parents=True)
    Identity.generate().save(home / "identity")
    Directory.of([("anna", verify_key(KEY))]).save(home / "pins")
    SqliteLedger(home / "ledger")
    if os.geteuid() == 0:  # root's group may write to folders
        for path in (home.parent, home):
            os.chown(path, -1, STRANGER)
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


def maps(monkeypatch: pytest.MonkeyPatch, uid: str = "0 0 1", gid: str = "0 0 1") -> None:
    """Puts the process into a user namespace, as the library sees it."""
    text = {"/proc/self/uid_map": f"{uid}\n", "/proc/self/gid_map": f"{gid}\n"}
    real = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path: text.get(str(path)) or real(path))


def allow(path: Path, mode: int, name: int = STRANGER, kind: int = 2) -> None:
    """Sets an access control list that gives a user (kind 2) or a group (8) what the bits of the
    group say."""
    bits = mode >> 6, mode >> 3 & 7, mode & 7
    entries = sorted([(1, bits[0], -1), (kind, bits[1], name), (4, bits[1], -1), (16, bits[1], -1)])
    packed = [struct.pack("<HHi", *entry) for entry in (*entries, (32, bits[2], -1))]
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(packed))
    assert stat.S_IMODE(path.stat().st_mode) == mode


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
    refuses(home / name, name, "belongs to another user.*`(chown|mkdir)")


@pytest.mark.parametrize("name", ["identity", "pins"])
def test_a_file_of_root_is_trusted(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read and write everything as it is."""
    if os.geteuid():
        pytest.skip("only root can make files of root")
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    use(home / name, name)


def test_the_open_file_is_judged(home: Path) -> None:
    """Not the one that has its name by then. Where the folders count, it must have its name still:
    it may have been found through others that are gone."""
    for name, rule, mode in (("identity", SECRET, 0o640), ("pins", PINS, 0o644)):
        path = home / name
        path.chmod(mode)
        with path.open() as stream:
            path.rename(home / "away")
            if rule is PINS:
                with pytest.raises(FileNotFoundError):
                    why_unsafe(path, rule, stream.fileno())
            path.touch(rule.mode)
            assert why_unsafe(path, rule, path) is None
            assert why_unsafe(path, rule, stream.fileno()) is not None


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("of_a_folder", [False, True])
def test_a_link_that_vanishes(
    home: Path, name: str, of_a_folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's link in a sticky folder leads to an older file of this user, and is away only
    while the way is examined: it must not count as one that this user may make."""
    public = home.parent.parent / "public"
    public.mkdir()
    public.chmod(0o1777)
    link, real, target = public / "link", permissions._way, home if of_a_folder else home / name
    link.symlink_to(target)

    def way(path: Path, **options: bool) -> Iterator[permissions._Step]:
        link.unlink()
        try:
            return iter([*real(path, **options)])
        finally:
            link.symlink_to(target)

    monkeypatch.setattr(permissions, "_way", way)
    with pytest.raises((StateError, IdentityError)) as caught:
        use(link / name if of_a_folder else link, name)
    assert caught.value.code in (Code.IO, Code.PERMISSIONS)
    if of_a_folder:
        with refused(IdentityError, Code.IO):
            Directory().save(link / "new")


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
    """Its owner may write to it, or make it so. It is not this user's to repair."""
    give_away(home.parent.parent / folder)
    refuses(home / name, name, f"its folder .* belongs to another user.*{OWN_FOLDER}")


@pytest.mark.parametrize("name", GUARDED)
def test_an_open_folder_of_root(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody but root can close it."""
    if os.geteuid():
        pytest.skip("only root can make folders of root")
    home.parent.chmod(0o777)
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    refuses(home / name, name, f"folder {home.parent} .mode 0777.*{OWN_FOLDER}")


@pytest.mark.parametrize("name", GUARDED)
def test_roots_group_may_write_to_folders(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in OpenShift, where HOME is root's, 0775. Not where it stands for another group: in a user
    namespace, or where the bits of the group are those of other users as well. Nor to files."""
    if os.geteuid():
        pytest.skip("only root can give folders to root's group")
    os.chown(home, -1, 0)
    home.chmod(0o775)
    use(home / name, name)
    (home / name).chmod(0o620)
    refuses(home / name, name, "mode 0620")
    (home / name).chmod(0o600)
    maps(monkeypatch, gid="0 1000 1")
    refuses(home / name, name, "mode 0775")
    monkeypatch.undo()
    allow(home, 0o775)
    refuses(home / name, name, "mode 0775")
    os.removexattr(home, "system.posix_acl_access")
    home.chmod(0o775)
    use(home / name, name)


@pytest.mark.parametrize("name", GUARDED)
def test_a_namespace_without_root(home: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders above are root's, who has no id there, as in Apptainer: they are taken for root's
    while nobody else may write to them. The file itself is not."""
    if os.geteuid():
        pytest.skip("only root can give files away")
    home.parent.chmod(0o755)
    for path in (home, *home.iterdir()):
        os.chown(path, STRANGER, STRANGER)
    os.chown(home.parent, UNKNOWN, UNKNOWN)
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    refuses(home / name, name, f"folder {home.parent} belongs to another user")
    maps(monkeypatch, uid=f"{STRANGER} {STRANGER} 1\n0 0 1")
    refuses(home / name, name, f"{home.parent} belongs to a user without an id.*{OWN_FOLDER}")
    maps(monkeypatch, uid=f"{STRANGER} {STRANGER} 1")
    use(home / name, name)
    for mode in (0o775, 0o757, 0o1777):
        home.parent.chmod(mode)
        refuses(home / name, name, f"folder {home.parent} belongs to a user without an id")
    home.parent.chmod(0o755)
    os.chown(home / name, UNKNOWN, -1)
    refuses(home / name, name, "the file belongs to a user without an id.*`chown")


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
        refuses(home / name, name, f"{home}.* belongs to another user.*`mkdir -m 700 ~/secagg`")


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


# ---- read-only mounts, and volumes of Kubernetes -------------------------------------------


@pytest.fixture
def volume(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Secret volume of Kubernetes for a process that is not root: a file system in memory, in
    which each file is a link, to a link to a folder with a date; all of it root's."""
    if os.geteuid():
        pytest.skip("only root can make files of root")
    home.parent.chmod(0o755)
    volume = home.parent / "volume"
    dated = volume / "..2026_11_27_09_00_00.1234"
    dated.mkdir(parents=True)
    (volume / "..data").symlink_to(dated.name)
    for name in ("identity", "pins"):
        shutil.copy(home / name, dated / name)
        (volume / name).symlink_to(f"..data/{name}")
    volume.chmod(0o1777)
    dated.chmod(0o2755)
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    monkeypatch.setattr(os, "getegid", lambda: STRANGER)
    monkeypatch.setattr(os, "getgroups", lambda: [GROUP + 1, GROUP])
    return volume


def test_pins_in_a_secret_volume(volume: Path, read_only: Callable[[], None]) -> None:
    """The general rule holds for them, whatever the mount: it may be another one elsewhere."""
    read_only()
    for group in (0, GROUP):
        os.chown((volume / "pins").resolve(), -1, group)
        for mode in (0o444, 0o644, 0o440):
            (volume / "pins").chmod(mode)
            use(volume / "pins", "pins")
    (volume / "pins").chmod(0o664)
    refuses(volume / "pins", "pins", "mode 0664")
    (volume / "pins").chmod(0o644)
    (volume / "..data").chmod(0o777)
    refuses(volume / "pins", "pins", f"mode 0777.*{OWN_FOLDER}")


@pytest.mark.parametrize("name", GUARDED)
def test_a_read_only_mount_protects_nothing(
    home: Path, name: str, read_only: Callable[[], None], give_away: Callable[[Path], None]
) -> None:
    """A service for which the system mounts everything read-only sees what others write."""
    read_only()
    home.chmod(0o777)
    refuses(home / name, name, "mode 0777")
    home.chmod(0o755)
    (home / name).chmod(0o666)
    refuses(home / name, name, "mode 0666")
    (home / name).chmod(0o600)
    give_away(home / name)
    refuses(home / name, name, "belongs to another user")


def test_a_key_in_a_secret_volume(volume: Path, read_only: Callable[[], None]) -> None:
    """Root's group may read it, or one of this process; on a read-only mount only. For systemd an
    access control list names this user."""
    path, key = volume / "identity", (volume / "identity").resolve()
    for group in (0, GROUP, STRANGER):
        os.chown(key, 0, group)
        path.chmod(0o440)
        refuses(path, "identity", "mode 0440, owner 0.*as root.*`chown 12345.*`chmod 600")
    read_only()
    for group in (0, GROUP, STRANGER):
        os.chown(key, 0, group)
        for mode in (0o440, 0o640, 0o040, 0o400, 0o600):
            path.chmod(mode)
            use(path, "identity")
        for mode in (0o460, 0o660, 0o670, 0o450, 0o540, 0o444, 0o644, 0o404, 0o2640):
            path.chmod(mode)
            refuses(
                path, "identity", f"mode {mode:04o}, owner 0 and group {group}.*`defaultMode: 0440`"
            )
    path.chmod(0o440)
    for name, kind in ((STRANGER + 1, 2), (GROUP, 8), (GROUP + 2, 8)):
        allow(key, 0o440, name, kind)
        refuses(path, "identity", "mode 0440")
        os.removexattr(key, "system.posix_acl_access")
    for name in (STRANGER, 0):
        allow(key, 0o440, name)
        use(path, "identity")
        os.removexattr(key, "system.posix_acl_access")
    path.chmod(0o440)
    os.chown(key, 0, GROUP + 2)
    refuses(path, "identity", f"group {GROUP + 2}.*`runAsGroup: 0`")
    os.chown(key, STRANGER, GROUP)
    refuses(path, "identity", "mode 0440")
    os.chown(key, STRANGER + 1, GROUP)
    refuses(path, "identity", "another user .12346; group 2000, mode 0440.*`Identity.decode`")


@pytest.mark.parametrize(
    ("gid_map", "groups"),
    [
        ("0 0 4294967295", {0, GROUP, UNKNOWN}),
        ("0 100000 65536", {GROUP}),  # other groups than these are shown as UNKNOWN as well
        (f"0 100 1\n{GROUP} 101 1\n{UNKNOWN} 102 1", set()),
        ("0 100 1\n1 100000 1000", set()),
    ],
)
def test_a_group_in_a_user_namespace(
    volume: Path,
    read_only: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    gid_map: str,
    groups: set[int],
) -> None:
    """It may be another one outside: `0`, one that is mapped by itself, or any without an id."""
    read_only()
    monkeypatch.setattr(os, "getegid", lambda: 0)
    monkeypatch.setattr(os, "getgroups", lambda: [GROUP, UNKNOWN])
    maps(monkeypatch, gid=gid_map)
    path = volume / "identity"
    path.chmod(0o440)
    for group in (0, GROUP, UNKNOWN):
        os.chown(path.resolve(), 0, group)
        if group in groups:
            use(path, "identity")
        else:
            refuses(path, "identity", f"mode 0440, owner 0 and group {group}")


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


MOUNTS = """
import ctypes, sys
from pathlib import Path
from secagg import SecAggError, SqliteLedger
libc = ctypes.CDLL(None, use_errno=True)
home = Path(sys.argv[1])
def mount(source, target, flags):
    if libc.mount(str(source).encode(), str(target).encode(), None, flags, None):
        sys.exit(7)
if libc.unshare(0x20000):
    sys.exit(7)
mount("/", "/", 0x44000)  # private: nothing that is mounted here is seen outside
mount(home, home / "folder", 0x1000)
SqliteLedger(home / "folder" / "ledger")
mount(home / "ledger", home / "other", 0x1000)
opened = SqliteLedger(home / "ledger")
for use in (lambda: SqliteLedger(home / "other"), lambda: SqliteLedger(home / "link")):
    try:
        use()
    except SecAggError as error:
        print(error)
mount(home / "ledger", home / "ledger", 0x1000)
try:
    opened.claim("resumption", b"key")
except SecAggError as error:
    print(error)
"""


def test_a_ledger_that_is_mounted_by_itself(home: Path) -> None:
    """A file that is bind-mounted has a second name, though no second hard link, and a journal for
    each: one that a crash leaves at one name undoes claims at the other. A folder has not."""
    (home / "folder").mkdir(0o700)
    (home / "other").touch(0o600)
    (home / "link").symlink_to("other")
    done = children.run([sys.executable, "-c", MOUNTS, str(home)])
    if done.returncode == 7:
        pytest.skip("mounting needs rights that this process does not have")
    assert done.stderr == ""
    assert done.stdout.count("the file is mounted by itself") == 3, done.stdout


def test_without_numbers_of_mounts_the_device_counts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where /proc is missing."""
    monkeypatch.setattr(permissions, "_mount", lambda _: None)
    use(home / "ledger", "ledger")
    real = Path.stat

    def moved(path: Path, **options: bool) -> os.stat_result:
        found = real(path, **options)
        if path.name != "ledger":
            return found
        return os.stat_result([*found[:2], found.st_dev + 1, *found[3:]])

    monkeypatch.setattr(Path, "stat", moved)
    refuses(home / "ledger", "ledger", "mounted by itself")
