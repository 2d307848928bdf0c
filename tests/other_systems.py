"""Other systems, as the library sees them: Windows, file systems that can do less, their files."""

import codecs
import errno
import os
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

POSIX_MODULES = ("fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios", "tty", "pty")
# Of `os`, what Windows lacks in some version of Python that is supported.
POSIX_NAMES = (
    *("chown", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid", "getgroups"),
    *("getloadavg", "getpgid", "getuid", "getxattr", "killpg", "lchown", "listxattr"),
    *("mkfifo", "mknod", "nice", "openpty", "posix_fadvise", "pread", "pwrite", "register_at_fork"),
    *("removexattr", "sched_getaffinity", "set_blocking", "setegid", "seteuid", "setsid", "setuid"),
    *("setxattr", "statvfs", "fstatvfs", "sysconf", "uname", "wait", "ST_RDONLY", "O_CLOEXEC"),
    *("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_PATH", "O_SYNC", "WNOHANG", "pathconf"),
)

# What editors and stores of secrets do to a text; it says the same.
ENDS_OF_LINES: tuple[Callable[[bytes], bytes], ...] = (
    lambda text: text.removesuffix(b"\n"),
    lambda text: text.replace(b"\n", b"\r\n"),
    lambda text: text.replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
    lambda text: text + b"\n",
    lambda text: text + b"\r\n \t\r\n",
    lambda text: text.replace(b"\n", b" \t \n"),
    lambda text: codecs.BOM_UTF8 + text,
)


def become_windows(patch: pytest.MonkeyPatch) -> list[str]:
    """Hides what Windows lacks; returns what is then done to locks, as names of functions.

    Folders cannot be opened there. That names are otherwise those of POSIX remains.
    """
    locks, real = list[str](), os.open

    def no_folder(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        if os.path.isdir(path):  # noqa: PTH112
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, mode, **options)

    def rename(source: Any, target: Any, **options: Any) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.replace(source, target, **options)  # noqa: PTH105

    def locking(file: int, mode: int, count: int) -> None:
        assert (os.fstat(file).st_size, count) == (0, 1)
        locks.append({1: "LK_NBLCK", 0: "LK_UNLCK"}[mode])

    patch.setattr(os, "open", no_folder)
    patch.setattr(os, "rename", rename)
    for name in POSIX_NAMES:
        patch.delattr(os, name, raising=False)
    for name in POSIX_MODULES:
        patch.setitem(sys.modules, name, None)
    msvcrt = SimpleNamespace(LK_NBLCK=1, LK_UNLCK=0, locking=locking)
    patch.setitem(sys.modules, "msvcrt", msvcrt)
    patch.setattr(sys, "platform", "win32")
    return locks


def without_hard_links(patch: pytest.MonkeyPatch, number: int = errno.EPERM) -> None:
    """Makes every file system one like FAT."""

    def link(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    patch.setattr(os, "link", link)
