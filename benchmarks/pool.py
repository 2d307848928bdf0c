"""Processes that work, and that end when the one that they work for is gone."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def pool(workers: int, method: str) -> ProcessPoolExecutor:
    """Makes a pool of processes; when this one is killed, those of a plain pool wait for ever.

    Args:
        workers: how many.
        method: how they are started, "spawn" or "forkserver".
    """
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, context, initializer=end_with_parent)


def end_with_parent() -> None:
    """Ends this process once the one that started it is gone."""
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
