"""The jobs that a machine has handed out, and which of their values are still missing."""

from collections.abc import Iterable

from ..codes import Code
from ..errors import LocalProtocolError
from ..events import Job


class JobBoard:
    """The jobs of one machine, told apart by object identity: equal jobs are different jobs."""

    def __init__(self) -> None:
        self._pending: dict[int, Job] = {}
        self._done: list[Job] = []  # kept, so that no new job gets the `id` of an old one

    @property
    def pending(self) -> list[Job]:
        """The jobs whose value is missing, in the order in which they were handed out."""
        return list(self._pending.values())

    def hand_out(self, jobs: Iterable[Job]) -> list[Job]:
        """Adds new jobs and returns them."""
        new = list(jobs)
        self._pending.update((id(job), job) for job in new)
        return new

    def is_pending(self, job: Job) -> bool:
        """Returns whether the value of a job is missing; False if it was handed back before.

        Raises:
            LocalProtocolError: the job was never handed out here.
        """
        if id(job) in self._pending:
            return True
        if any(job is done for done in self._done):
            return False
        raise LocalProtocolError(
            "complete() got a job that this server did not hand out: pass the job of one of its "
            "`Work` events",
            Code.UNKNOWN_JOB,
        )

    def finish(self, job: Job) -> bool:
        """Marks a pending job as done and returns whether it was the last one."""
        self._done.append(self._pending.pop(id(job)))
        return not self._pending

    def clear(self) -> None:
        """Forgets all jobs; the secrets in them are not overwritten."""
        self._pending.clear()
        self._done.clear()
