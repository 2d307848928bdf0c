"""Tells the processes apart that an object is in, also after a fork."""

import os
from typing import Final

# Grows by one entry at each fork: process ids alone do not tell, as the system reuses them.
_forks: Final[list[None]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _forks.append(None))


def this_process() -> tuple[int, int]:
    """Returns a value that differs between a process and each child that it forks."""
    return os.getpid(), len(_forks)
