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

Nobody changes what lies on a file system that is mounted read-only. This is how Kubernetes mounts
the volumes of secrets, whose files belong to root and may be readable for a group of the process.
"""

import errno
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS: Final = 40  # as in Linux


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold for one kind of file.

    Attributes:
        mode: permissions of a new file.
        closed: permission bits that a file must not have.
        chmod: the argument of `chmod` that removes them.
        secret: on a read-only mount it still must be closed, but to root's group and this
            process's groups.
        guarded: others must not be able to put another file in its place.
        alone: others must not be able to make files beside it, and it has no other name.
        companions: endings of the names of files beside it that count like the file.
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
        path: its name; links are followed.
        rule: the kind of file.
        file: what to examine: the open file, if it is open, as it cannot be exchanged; otherwise
            its name. None if it does not exist yet; then only the folders are examined.

    Raises:
        OSError: something cannot be examined.
    """
    if rule.guarded and (reason := _why_replaceable(path, rule)):
        return reason
    if file is None:
        return None
    found = file.stat() if isinstance(file, Path) else os.fstat(file)
    if reason := _why_open(path, file, found, rule):
        return f"the file {reason}"
    if rule.alone and stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        return (
            f"the file has {found.st_nlink} names (hard links), and a journal for each; find them "
            f"with `find / -xdev -samefile {_quoted(path)}` and remove all but this one"
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


def _trusted() -> tuple[int, int]:
    return os.geteuid(), 0


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _mounted_read_only(file: Path | int) -> bool:
    return bool(os.statvfs(file).f_flag & os.ST_RDONLY)


def _foreign(found: os.stat_result, path: Path) -> str:
    return (
        f"belongs to another user ({found.st_uid}), not to this one or root; if you trust what is "
        f"in it, run `chown {os.geteuid()} {_quoted(path)}` as root"
    )


def _why_open(path: Path, file: Path | int, found: os.stat_result, rule: Rule) -> str | None:
    """Returns what is wrong with owner and permissions of one file, wherever it lies."""
    mode = stat.S_IMODE(found.st_mode)
    bad, foreign = mode & rule.closed, found.st_uid not in _trusted()
    if not (bad or foreign):
        return None
    fixed = _mounted_read_only(file)
    if fixed and not rule.secret:
        return None
    if foreign:
        return _foreign(found, path)
    if fixed and found.st_gid in (0, os.getegid(), *os.getgroups()):
        bad &= ~stat.S_IRWXG
        if not bad:
            return None
    can = "read it" if rule.secret else "write to it"
    if fixed:
        return (
            f"has mode {mode:04o}, so other users may {can}; it is mounted read-only, so set the "
            "mode where it comes from (Kubernetes: `defaultMode: 0440`)"
        )
    return (
        f"has mode {mode:04o}, so other users may {can}; run `chmod {rule.chmod} {_quoted(path)}`"
    )


class _Step(NamedTuple):
    """A folder on the way to a file, and what is looked up in it; `last` if that is the file."""

    folder: Path
    name: str
    owner: int
    last: bool


def _way(path: Path) -> Iterator[_Step]:
    """Yields the steps from the root to a file, or to the first that is missing; follows links."""
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
            yield _Step(folder, name, os.geteuid(), last=not left)
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


def _why_replaceable(path: Path, rule: Rule) -> str | None:
    """Returns how others could put another file in the place of this one, or beside it."""
    for step in _way(path):
        found, folder = step.folder.stat(), _quoted(step.folder)
        mode, foreign = stat.S_IMODE(found.st_mode), found.st_uid not in _trusted()
        if not (foreign or mode & _OTHERS_WRITE) or _mounted_read_only(step.folder):
            continue
        if foreign:
            return f"its folder {step.folder} {_foreign(found, step.folder)}"
        danger = f"other users may write to its folder {step.folder} (mode {mode:04o})"
        if not mode & stat.S_ISVTX:
            return f"{danger}; run `chmod go-w {folder}`"
        if rule.alone and step.last:
            own = _quoted(step.folder / "secagg")
            return f"{danger}; make a folder of your own, `mkdir -m 700 {own}`, and use that"
        if step.owner not in _trusted():
            entry = step.folder / step.name
            return f"{danger}, and {entry} there {_foreign(entry.lstat(), entry)}"
    return None
