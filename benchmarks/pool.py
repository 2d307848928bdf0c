"""Process pools whose workers end when their parent process ends."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor


def pool(workers: int, method: str) -> ProcessPoolExecutor:
    """Makes a pool of processes; in a plain pool they would wait forever if this one is killed.

    Args:
        workers: number of processes.
        method: how they are started, "spawn" or "forkserver".
    """
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, context, initializer=end_with_parent)


def end_with_parent() -> None:
    """Ends this process when its parent process has ended."""
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
