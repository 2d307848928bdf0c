"""The rounds of a training that are planned and not closed, in this process and on its disk."""

import logging
from dataclasses import dataclass
from typing import Final

from ..codes import Code
from ..drivers.conductor import PhaseEnded, RoundEnded
from ..errors import LocalProtocolError, StateError
from ..home.home import Home
from ..home.records import Kind, key_of
from ..machine.claims import give_up_plan
from ..pairwise.server import Server
from ..params.checks import require_kind
from .cohorts import Cohorts
from .keeping import Keeper, OpenRound
from .plan import Plan
from .record import Course, RoundRecord

_log: Final = logging.getLogger("secagg.rounds")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Running:
    """A round that is planned and not closed, and what is known of its course."""

    plan: Plan
    subject: bytes
    course: Course


class OpenRounds:
    """The rounds that are open; `Rounds` calls it under its lock.

    Args:
        cohorts: of the training.
        keeper: of its counts, which list the rounds that other processes have left.
        home: has their servers; None for memory only.
        history: takes the record of a round that was left and is lost.
    """

    def __init__(
        self, cohorts: Cohorts, keeper: Keeper, home: Home | None, history: list[RoundRecord]
    ) -> None:
        self._cohorts = cohorts
        self._keeper = keeper
        self._home = home
        self._history = history
        self._shared = keeper.shared
        self._running: dict[bytes, Running] = {}
        self._left: list[Plan] = []  # open, and nobody's: see `Rounds.leave`

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, plan: Plan, subject: bytes) -> None:
        """Adds a round."""
        course = Course(self._cohorts.mode.phases)
        session, running = plan.server.session, Running(plan, subject, course)
        self._running[session] = self._shared.running[session] = running

    def note(self, happened: PhaseEnded | RoundEnded) -> None:
        """Adds a report to the course of its round, if that is one of these."""
        running = self._running.get(happened.session)
        if running is not None:
            running.course.note(happened)

    def running(self, plan: Plan) -> Running:
        """Returns a round that is open; raises LocalProtocolError if it is not."""
        require_kind("plan", plan, Plan, "`Rounds.plan` makes one")
        session = plan.server.session
        running = self._running.get(session)
        if running is None or running.plan is not plan:
            raise LocalProtocolError(
                f"round {plan.number} (session {session.hex()}) is not open here: it was closed "
                "before, or planned by other rounds",
                Code.OUT_OF_ORDER,
            )
        return running

    def end(self, session: bytes) -> None:
        """Removes a round that is closed."""
        del self._running[session]
        self._shared.running.pop(session, None)

    def leave(self, plan: Plan) -> None:
        """See `Rounds.leave`."""
        self.running(plan)
        self._shared.running.pop(plan.server.session, None)
        if plan not in self._left:
            self._left.append(plan)

    def resume(self, subject: str) -> list[Plan]:
        """Returns the rounds that were left open, all or those about a subject.

        Raises:
            StateError: as for `Rounds.resume`.
        """
        plans = self._take_left(subject)
        try:
            self._take_stored(subject, plans)
        except BaseException:
            for plan in plans:  # the next call returns them
                self.leave(plan)
            raise
        for plan in plans:
            self._shared.running[plan.server.session] = self._running[plan.server.session]
        return plans

    def _take_left(self, subject: str) -> list[Plan]:
        """Takes the rounds that were left in this process."""
        plans, self._left = self._left, []
        for plan in plans.copy():
            open_round = self._running.get(plan.server.session)
            if open_round is None:  # closed meanwhile
                plans.remove(plan)
            elif subject not in ("", open_round.subject.hex()):
                plans.remove(plan)
                self._left.append(plan)
        return plans

    def _take_stored(self, subject: str, plans: list[Plan]) -> None:
        """Adds to the plans those of the rounds that other processes have left."""
        with self._keeper.change() as counts:
            left = {
                session: one
                for session, one in counts.open.items()
                if session not in self._running
                and session not in self._shared.running
                and subject in ("", one.subject)
            }
        servers = {session: self._stored_server(session, one) for session, one in left.items()}
        self._drop({session: one for session, one in left.items() if servers[session] is None})
        for session, one in left.items():
            server = servers[session]
            if server is None:
                continue
            agreed = server.round
            plan = Plan(
                number=one.number,
                names=one.names,
                members=one.members,
                params=agreed.params,
                context=agreed.context,
                attempt=one.attempt,
                server=server,
            )
            self.begin(plan, bytes.fromhex(one.subject))
            plans.append(plan)

    def _drop(self, gone: dict[bytes, OpenRound]) -> None:
        """Drops rounds that are not stored; their attempts are free if surely no input has left."""
        if not gone:
            return
        used = {session: not self._never_delivered(session) for session in gone}
        with self._keeper.change() as counts:
            for session, one in gone.items():
                subject = bytes.fromhex(one.subject)
                if counts.open.pop(session, None) is None:
                    continue
                if used[session]:
                    counts.attempts.lost.add(subject)
                else:
                    counts.attempts.give_back(subject, one.attempt)
        for session, one in gone.items():
            if used[session]:
                _log.warning(
                    "%s: round %d was left open and is not stored: its attempt counts as used",
                    *(session.hex(), one.number),
                )
            else:
                _log.info(
                    "%s: round %d was left open before inputs could leave: its attempt is free",
                    *(session.hex(), one.number),
                )
            record = Course(self._cohorts.mode.phases).record(
                one.number, one.attempt, session, one.names, None, used[session]
            )
            self._history.append(record)

    def _never_delivered(self, session: bytes) -> bool:
        return self._home is not None and give_up_plan(self._home.ledger, session)

    def _stored_server(self, session: bytes, one: OpenRound) -> Server | None:
        if self._home is None or self._home.store.get(key_of(Kind.SERVER, session)) is None:
            return None
        if not self._cohorts.have_members(one.names, one.members):
            raise StateError(
                f"round {one.number} (session {session.hex()}) was planned with another directory: "
                "use that one, or give the round up with `Home.forget(session)`",
                Code.WRONG_DIRECTORY,
            )
        return self._home.resume_server(session, self._cohorts.select(one.members))
