"""The rule for files on which security rests: who else may read, write or replace them.

This user and root are trusted. Kinds of files differ in what others could gain:

| kind | others must not | otherwise |
|---|---|---|
| `SECRET` | read it | they sign as this party |
| `PINS` | write or replace it | their key is pinned as somebody else's |
| `LEDGER` | write or replace it, make files beside it | a planted journal undoes claims |

Whoever may write to a folder can replace what lies in it; in a sticky folder, such as /tmp, only
what is their own. So each folder on the way to a file counts, and on the way of each link. A secret
need not be guarded from being replaced: the other file must be this user's own as well.

Root's group may write to folders, like root: it has no other members on most systems, and where
containers run under any user id (OpenShift), it is the group of the program itself. The files
themselves are for one user: nobody needs to open them to a group.

A group may read a secret that Kubernetes or systemd mounted: a file of root, at most 0640, on a
read-only mount, of root's group or one of this process. Whoever else is in that group can read it,
as root decided; systemd names this user in an access control list, for which the bits of the group
stand. That the mount is read-only tells such a file from one left open by mistake; it protects
nothing, since others may be able to write to the same file system elsewhere. All may read what
Docker mounts by default (0444), like a file of any image: that is refused.

In a user namespace (a rootless container) an id may stand for another one outside. There 0 is not
root's group, and a group counts as one of this process only where the namespace has a range of
groups in which it lies: an ordinary user can map one group of his own, shared with others outside,
and all groups without an id look alike.

In a user namespace the owner of a folder may have no id. If root has none either (Apptainer,
bubblewrap), such a folder is taken for root's, as nearly all folders above one's own are, unless
group or others may write to it.

Windows has neither owners nor bits that Python can see: there only names count (`alone`), and the
access lists of the folder, usually the user's profile, must keep others out.
"""

import errno
import os
import shlex
import stat
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40  # as in Linux
_EVERY_ID: Final[list[tuple[int, ...]]] = [(0, 0, 2**32 - 1)]
_NO_ID: Final = 65534  # shown for a user or group without an id in a user namespace
_ACL_USER: Final = 2  # tag of an entry that names a user
_ACL_GROUP: Final = 8  # tag of an entry that names a group
NOT_KEPT: Final = (
    "this file system does not keep owner and permissions of a file, so other users could use it; "
    "take another one, or have this one mounted for this user alone (`umask=077`)"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule for one kind of file.

    Attributes:
        mode: permissions of a new file.
        closed: permission bits that a file must not have.
        chmod: the argument of `chmod` that removes them.
        secret: others must not read it, but for a group for which root mounted the file.
        guarded: others must not be able to put another file in its place.
        alone: others must not be able to make files beside it, and it has no other name, neither
            by a hard link nor by a mount.
        companions: endings of the names of files beside such a file that count like it.
    """

    mode: int
    closed: int
    chmod: str
    secret: bool = False
    guarded: bool = True
    alone: bool = False
    companions: tuple[str, ...] = ()


SECRET: Final = Rule(0o600, stat.S_IRWXG | stat.S_IRWXO, "600", secret=True, guarded=False)
PINS: Final = Rule(0o644, _OTHERS_WRITE, "go-w")
LEDGER: Final = Rule(
    0o600, _OTHERS_WRITE, "go-w", alone=True, companions=("-journal", "-wal", "-shm")
)  # the companions are SQLite's


def why_unsafe(path: Path, rule: Rule, file: Path | int | None = None) -> str | None:
    """Returns why security must not rest on a file, and how to fix that; None if it may.

    Args:
        path: its name; links are followed. Where the rule has `alone`, the name of a file that
            exists must have none.
        rule: the kind of file.
        file: what to examine: the open file, if it is open, as it cannot be exchanged; otherwise
            its name. None if it does not exist yet; then only the folders are examined.

    Raises:
        OSError: something cannot be examined.
    """
    if rule.guarded and (reason := _why_replaceable(path, rule, exists=file is not None)):
        return reason
    if file is None:
        return None
    found = os.fstat(file) if isinstance(file, int) else file.stat()
    if reason := _why_open(path, file, found, rule):
        return f"the file {reason}"
    if rule.guarded and not os.path.samestat(found, path.stat()):
        return "another file has taken its name since it was opened; try again"
    return _why_not_alone(path, found, rule) if rule.alone else None


def _why_not_alone(path: Path, found: os.stat_result, rule: Rule) -> str | None:
    """Returns which other name a file has, or what is wrong with a companion."""
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        return (
            f"the file has {found.st_nlink} names (hard links), and a journal for each; find them "
            f"with `find / -xdev -samefile {_quoted(path)}` and remove all but this one"
        )
    if _is_mount_point(path):
        return (
            "the file is mounted by itself, so it has another name elsewhere, and a journal for "
            "each; mount its folder instead (Docker: no `-v FILE:FILE`, Kubernetes: no `subPath` "
            "of a file)"
        )
    for ending in rule.companions:
        beside = path.with_name(path.name + ending)
        try:
            found = beside.lstat()
        except FileNotFoundError:
            continue
        if reason := _why_open(beside, beside, found, rule):
            return f"{beside.name}, a file beside it that can undo claims, {reason}"
    return None


def _has_owners() -> bool:
    """Returns whether the system shows to whom a file belongs; Windows does not."""
    return hasattr(os, "geteuid")


def _trusted() -> tuple[int, int]:
    return os.geteuid(), 0


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _ids(kind: str) -> list[tuple[int, ...]]:
    """Returns the `uid` or `gid` ids of this user namespace: first here, first outside, number."""
    try:
        lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
    except FileNotFoundError:  # not Linux
        return _EVERY_ID
    return [tuple(map(int, line.split())) for line in lines]


def _has_id(user: int) -> bool:
    """Returns whether a user has an id here; the system shows others as an id that nobody has."""
    return any(here <= user < here + count for here, _, count in _ids("uid"))


def _is_roots_or_ours(group: int) -> bool:
    """Returns whether a group is surely root's, or one of this process."""
    if _ids("gid") == _EVERY_ID:
        return group in (0, os.getegid(), *os.getgroups())
    return group in {os.getegid(), *os.getgroups()} - {0, _NO_ID} and any(
        count > 1 and here <= group < here + count for here, _, count in _ids("gid")
    )


def _others_may_write(folder: Path, found: os.stat_result) -> bool:
    """Returns whether others than the owner, root and root's group may write to a folder."""
    if found.st_mode & stat.S_IWOTH:
        return True
    roots_group = (
        found.st_gid == 0
        and _ids("gid") == _EVERY_ID  # otherwise 0 may stand for any group
        and not _acl_names_others(folder)
    )
    return bool(found.st_mode & stat.S_IWGRP) and not roots_group


def _acl_names_others(file: Path | int) -> bool:
    """Returns whether the bits for the group are those of other users or groups as well."""
    if sys.platform != "linux":
        return False
    try:
        acl = os.getxattr(file, "system.posix_acl_access")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
    return any(
        tag == _ACL_GROUP or (tag == _ACL_USER and user not in _trusted())
        for tag, _, user in struct.iter_unpack("<HHI", acl[4:])  # behind the version
    )


def _is_mount_point(path: Path) -> bool:
    """Returns whether something is mounted at a name without links, such as a single file."""
    mounts = [_mount(path), _mount(path.parent)]
    if None in mounts:
        mounts = [path.stat().st_dev, path.parent.stat().st_dev]
    return mounts[0] != mounts[1]


def _mount(path: Path) -> int | None:
    """Returns the number of the mount that a file lies on; None if the system does not tell."""
    if sys.platform != "linux":
        return None
    file = os.open(path, os.O_PATH)  # closing any other kind would drop SQLite's locks
    try:
        lines = Path(f"/proc/self/fdinfo/{file}").read_text().splitlines()
    except FileNotFoundError:
        return None
    finally:
        os.close(file)
    return next((int(line[7:]) for line in lines if line.startswith("mnt_id:")), None)


def _where_mounted() -> str:
    """Returns how to mount a key so that it is accepted: it cannot be changed where it lies."""
    group = "runAsGroup: 0` for the process" if _ids("gid") == _EVERY_ID else "fsGroup` above 0"
    return (
        "it is mounted read-only, so change this where it comes from (Kubernetes: `defaultMode: "
        f"0440`, and `{group}; Docker: `uid` and `mode: 0400`), or pass its content to "
        "`Identity.decode`"
    )


def _foreign(found: os.stat_result) -> str:
    if not _has_id(found.st_uid):
        return (
            f"belongs to a user without an id in this user namespace (shown as {found.st_uid}), as "
            "root's do in Apptainer, bubblewrap or a rootless container, so this may be anybody"
        )
    return (
        f"belongs to another user ({found.st_uid}; group {found.st_gid}, mode "
        f"{stat.S_IMODE(found.st_mode):04o}), not to this one ({os.geteuid()}) or root"
    )


def _own_folder() -> str:
    """Returns how to come by a safe folder; that of somebody else is not for this user to mend."""
    return (
        "use a folder of your own: `mkdir -m 700 ~/secagg`, or have root make one with `install -d "
        f"-m 700 -o {os.geteuid()} /var/lib/secagg`"
    )


def _why_open(path: Path, file: Path | int, found: os.stat_result, rule: Rule) -> str | None:
    """Returns what is wrong with owner and permissions of one file, wherever it lies."""
    if not _has_owners():
        return None
    mode, mine = stat.S_IMODE(found.st_mode), os.geteuid() in (0, found.st_uid)
    chmod = f"`chmod {rule.chmod} {_quoted(path)}`"
    chown = f"`chown {os.geteuid()} {_quoted(path)}`"
    if found.st_uid not in _trusted():
        remedy = f"if you trust what is in it, run {chown} as root"
        mounted = rule.secret and is_read_only(file)
        return f"{_foreign(found)}; {_where_mounted() if mounted else remedy}"
    if not mode & rule.closed:
        return None
    state = f"has mode {mode:04o}, owner {found.st_uid} and group {found.st_gid}"
    if not rule.secret:
        return f"{state}, so other users may write to it; {'' if mine else 'as root, '}run {chmod}"
    remedy = f"run {chmod}" if mine else f"as root, run {chown} and {chmod}"
    if is_read_only(file):
        if _is_for_this_group(file, found):
            return None
        remedy = _where_mounted()
    return f"{state}, so other users may read it; {remedy}"


def _is_for_this_group(file: Path | int, found: os.stat_result) -> bool:
    """Returns whether a file is root's, and of others only root's group or one of ours reads it."""
    readable = not stat.S_IMODE(found.st_mode) & ~0o640
    trusted = found.st_uid == 0 and _is_roots_or_ours(found.st_gid)
    return trusted and readable and not _acl_names_others(file)


def is_read_only(file: Path | int) -> bool:
    """Returns whether a file lies on a mount that is read-only, where the system tells."""
    return hasattr(os, "statvfs") and bool(os.statvfs(file).f_flag & os.ST_RDONLY)


class _Step(NamedTuple):
    """A folder on the way to a file, and what is looked up in it; `last` if that is the file."""

    folder: Path
    name: str
    owner: int
    last: bool


def _way(path: Path, *, exists: bool) -> Iterator[_Step]:
    """Yields the steps from the root to a file; follows links.

    Raises:
        FileNotFoundError: a step is missing. The last one may be, unless the file exists: then
            somebody removed what it was found through.
    """
    path = path.absolute()
    folder, left, links = Path(path.anchor), [*reversed(path.parts[1:])], 0
    while left:
        name = left.pop()
        if name == "..":
            folder = folder.parent
            continue
        try:
            found = (folder / name).lstat()
        except FileNotFoundError:
            if exists or left:
                raise
            yield _Step(folder, name, os.geteuid(), last=True)
            return
        is_link = stat.S_ISLNK(found.st_mode)
        yield _Step(folder, name, found.st_uid, last=not (left or is_link))
        if not is_link:
            folder /= name
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target = (folder / name).readlink()
        if target.is_absolute():
            folder = Path(target.anchor)
        left += reversed(target.parts[target.is_absolute() :])


def _why_replaceable(path: Path, rule: Rule, *, exists: bool) -> str | None:
    """Returns how others could put another file in the place of this one, or beside it."""
    if not _has_owners():
        return None
    for step in _way(path, exists=exists):
        found, folder = step.folder.stat(), step.folder
        writable = _others_may_write(folder, found)
        if found.st_uid not in _trusted():
            taken_for_root = not (writable or _has_id(found.st_uid) or _has_id(0))
            if not taken_for_root:
                return f"its folder {folder} {_foreign(found)}; {_own_folder()}"
        if not writable:
            continue
        mode = stat.S_IMODE(found.st_mode)
        danger = f"other users may write to its folder {folder} (mode {mode:04o})"
        if not mode & stat.S_ISVTX:
            mine = os.geteuid() in (0, found.st_uid)
            return f"{danger}; {f'run `chmod go-w {_quoted(folder)}`' if mine else _own_folder()}"
        if rule.alone and step.last:
            own = _quoted(folder / "secagg")
            return f"{danger}; make a folder of your own, `mkdir -m 700 {own}`, and use that"
        if step.owner not in _trusted():
            entry = folder / step.name
            return f"{danger}, and {entry} there {_foreign(entry.lstat())}; {_own_folder()}"
    return None
